//! What is stored, at which version, and every change that led there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use super::kind::Kind;
use super::metadata;

/// An object as it was at one version. It never changes.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) value: Value,
    /// It was created without a status, and is read with the one that the schema gives. The first
    /// write stores that status, whether or not it changes anything else.
    pub(super) lacks_status: bool,
    text: OnceLock<String>,
    metadata_text: OnceLock<String>,
}

impl Object {
    fn new(value: Value, lacks_status: bool) -> Arc<Self> {
        let (text, metadata_text) = (OnceLock::new(), OnceLock::new());
        Arc::new(Self { value, lacks_status, text, metadata_text })
    }

    /// As JSON, made once however many watches tell of it.
    pub(super) fn text(&self, is_metadata: bool) -> &str {
        if is_metadata {
            self.metadata_text.get_or_init(|| metadata_of(&self.value).to_string())
        } else {
            self.text.get_or_init(|| self.value.to_string())
        }
    }
}

/// An object without its contents.
pub(super) fn metadata_of(value: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": value["metadata"],
    })
}

/// One write.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) key: String,
    pub(super) before: Option<Arc<Object>>,
    pub(super) after: Option<Arc<Object>>,
    /// What was there before, at the version of this change: so a deletion is told.
    gone: OnceLock<Arc<Object>>,
}

impl Change {
    /// The object that is gone, or gone from a selection.
    pub(super) fn gone(&self) -> Option<&Object> {
        let before = self.before.as_ref()?;
        Some(self.gone.get_or_init(|| {
            let mut value = before.value.clone();
            metadata::set_version(&mut value, self.version);
            Object::new(value, before.lacks_status)
        }))
    }
}

type Objects = BTreeMap<String, Arc<Object>>;

/// The store of the API server. A clone shares everything until one of the two is written to.
#[derive(Clone)]
pub(super) struct Store {
    /// Of the last write.
    version: u64,
    /// Changes up to this version are forgotten.
    compacted: u64,
    objects: [Arc<Objects>; Kind::ALL.len()],
    changes: [Arc<Vec<Arc<Change>>>; Kind::ALL.len()],
    /// Shared with all clones: an object that is made after the store was set back has a new uid.
    uids: Arc<AtomicU64>,
}

impl Store {
    pub(super) fn new() -> Self {
        Self {
            version: 1,
            compacted: 1,
            objects: Default::default(),
            changes: Default::default(),
            uids: Arc::default(),
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets all changes so far.
    pub(super) fn compact(&mut self) {
        self.compacted = self.version;
        self.changes = Default::default();
    }

    pub(super) fn next_uid(&self) -> String {
        let number = self.uids.fetch_add(1, Ordering::Relaxed) + 1;
        format!("00000000-0000-4000-8000-{number:012x}")
    }

    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.objects(kind).get(&key(kind, namespace, name))
    }

    pub(super) fn objects(&self, kind: Kind) -> &Objects {
        &self.objects[kind as usize]
    }

    /// The changes of a kind after a version, oldest first.
    pub(super) fn changes_after(&self, kind: Kind, version: u64) -> &[Arc<Change>] {
        let changes = &self.changes[kind as usize];
        &changes[changes.partition_point(|change| change.version <= version)..]
    }

    /// The objects of a kind as they were at a version that is not compacted.
    pub(super) fn objects_at(&self, kind: Kind, version: u64) -> Objects {
        let mut objects = self.objects(kind).clone();
        for change in self.changes_after(kind, version).iter().rev() {
            match &change.before {
                Some(before) => objects.insert(change.key.clone(), Arc::clone(before)),
                None => objects.remove(&change.key),
            };
        }
        objects
    }

    /// Stores an object at the next version, and returns it as it is stored.
    pub(super) fn put(
        &mut self,
        kind: Kind,
        key: String,
        mut value: Value,
        lacks_status: bool,
    ) -> Arc<Object> {
        self.version += 1;
        metadata::set_version(&mut value, self.version);
        let object = Object::new(value, lacks_status);
        let objects = Arc::make_mut(&mut self.objects[kind as usize]);
        let before = objects.insert(key.clone(), Arc::clone(&object));
        self.note(kind, key, before, Some(Arc::clone(&object)));
        object
    }

    /// Removes an object, at a version of its own.
    pub(super) fn remove(&mut self, kind: Kind, key: &str) {
        let Some(before) = Arc::make_mut(&mut self.objects[kind as usize]).remove(key) else {
            return;
        };
        self.version += 1;
        self.note(kind, key.to_owned(), Some(before), None);
    }

    fn note(
        &mut self,
        kind: Kind,
        key: String,
        before: Option<Arc<Object>>,
        after: Option<Arc<Object>>,
    ) {
        let (version, gone) = (self.version, OnceLock::new());
        let change = Arc::new(Change { version, key, before, after, gone });
        Arc::make_mut(&mut self.changes[kind as usize]).push(change);
    }
}

/// Where an object is kept. Lists are in the order of these keys.
pub(super) fn key(kind: Kind, namespace: &str, name: &str) -> String {
    if kind.is_namespaced() { format!("{namespace}/{name}") } else { name.to_owned() }
}
