//! Selections of objects, and the watches on them.

use serde_json::{Value, json};

use super::answer::Answer;
use super::kind::Kind;
use super::metadata;
use super::store::{Change, Object, Store};

/// What a label selector selects.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector(Vec<(String, Wish)>);

#[derive(Clone, Debug)]
enum Wish {
    Is(String),
    IsNot(String),
    Exists,
    ExistsNot,
}

impl Selector {
    /// Equality and existence; the operator and the harness use nothing else.
    pub(super) fn parse(text: &str) -> Self {
        let known = |text: &str| !text.is_empty() && !text.contains([' ', '(', ')', '<', '>', '!']);
        let parts = text.split(',').filter(|part| !part.is_empty()).map(|part| {
            let (key, wish) = if let Some((key, value)) = part.split_once("!=") {
                (key, Wish::IsNot(value.to_owned()))
            } else if let Some((key, value)) = part.split_once("==") {
                (key, Wish::Is(value.to_owned()))
            } else if let Some((key, value)) = part.split_once('=') {
                (key, Wish::Is(value.to_owned()))
            } else if let Some(key) = part.strip_prefix('!') {
                (key, Wish::ExistsNot)
            } else {
                (part, Wish::Exists)
            };
            assert!(known(key), "the model does not know the label selector {text}");
            (key.to_owned(), wish)
        });
        Self(parts.collect())
    }

    pub(super) fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn selects(&self, value: &Value) -> bool {
        self.0.iter().all(|(key, wish)| {
            let found = metadata::entry(value, "labels", key);
            match wish {
                Wish::Is(value) => found == Some(value),
                Wish::IsNot(value) => found != Some(value),
                Wish::Exists => found.is_some(),
                Wish::ExistsNot => found.is_none(),
            }
        })
    }
}

/// The objects that a list or a watch is about.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) kind: Kind,
    /// Empty for all.
    pub(super) namespace: String,
    pub(super) selector: Selector,
    pub(super) is_metadata: bool,
}

impl Scope {
    fn has(&self, object: &Object) -> bool {
        self.is_near(object) && self.selector.selects(&object.value)
    }

    pub(super) fn is_near(&self, object: &Object) -> bool {
        self.namespace.is_empty() || metadata::text(&object.value, "namespace") == self.namespace
    }
}

/// A watch that is open. It holds no events, only how far it has come.
#[derive(Clone, Debug)]
pub struct Watch {
    scope: Scope,
    /// Everything up to this version was told.
    at: u64,
    first: Vec<String>,
    wants_bookmarks: bool,
    is_over: bool,
    /// Whoever opened it wants it to be closed after this time.
    pub timeout_seconds: Option<u64>,
}

impl Watch {
    /// Opens a watch at a version, or with the objects of now first where there is none.
    pub(super) fn open(
        store: &Store,
        scope: Scope,
        version: Option<u64>,
        wants_bookmarks: bool,
        timeout_seconds: Option<u64>,
    ) -> Self {
        let mut watch = Self {
            scope,
            at: version.unwrap_or_else(|| store.version()),
            first: Vec::new(),
            wants_bookmarks,
            is_over: false,
            timeout_seconds,
        };
        if version.is_none() {
            let objects = store.objects(watch.scope.kind).values();
            let events = objects
                .filter(|object| watch.scope.has(object))
                .map(|object| event("ADDED", object.text(watch.scope.is_metadata)));
            watch.first = events.collect();
            if wants_bookmarks {
                watch.first.push(watch.bookmark(true));
            }
        }
        watch
    }

    /// Whether the API server has closed it.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The version up to which everything was told.
    pub fn version(&self) -> u64 {
        self.at
    }

    /// What happened since the last call. A watch that is too far behind is told so, and is over.
    pub(super) fn take(&mut self, store: &Store) -> Vec<String> {
        if self.is_over {
            return Vec::new();
        }
        let mut events = std::mem::take(&mut self.first);
        if self.at < store.compacted() {
            self.is_over = true;
            let (at, oldest) = (self.at, store.compacted());
            let message = format!("too old resource version: {at} ({oldest})");
            events.push(event("ERROR", &Answer::expired(message).body.to_string()));
            return events;
        }
        let changes = store.changes_after(self.scope.kind, self.at);
        events.extend(changes.iter().filter_map(|change| self.told(change)));
        // A store that was set back is behind the watch, which goes on where it was.
        self.at = self.at.max(store.version());
        events
    }

    /// What a change means to whoever sees the selection only.
    fn told(&self, change: &Change) -> Option<String> {
        let has = |object: &Option<_>| {
            object.as_ref().is_some_and(|object: &std::sync::Arc<Object>| self.scope.has(object))
        };
        let (kind, object) = match (has(&change.before), has(&change.after)) {
            (false, false) => return None,
            (false, true) => ("ADDED", change.after.as_deref()?),
            (true, true) => ("MODIFIED", change.after.as_deref()?),
            (true, false) => ("DELETED", change.gone()?),
        };
        Some(event(kind, object.text(self.scope.is_metadata)))
    }

    /// A bookmark at the version up to which everything was told, where bookmarks are wanted.
    pub(super) fn marked(&self) -> Option<String> {
        (self.wants_bookmarks && !self.is_over && self.first.is_empty())
            .then(|| self.bookmark(false))
    }

    fn bookmark(&self, ends_first: bool) -> String {
        let kind = self.scope.kind;
        let (name, version) = if self.scope.is_metadata {
            ("PartialObjectMetadata", "meta.k8s.io/v1")
        } else {
            (kind.name(), kind.api_version())
        };
        let mut object = json!({
            "kind": name, "apiVersion": version,
            "metadata": {"resourceVersion": self.at.to_string()},
        });
        if ends_first {
            let mark = json!({"k8s.io/initial-events-end": "true"});
            object["metadata"]["annotations"] = mark;
        }
        event("BOOKMARK", &object.to_string())
    }
}

fn event(kind: &str, object: &str) -> String {
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}
