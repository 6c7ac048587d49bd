//! Get and list.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::ApiServer;
use super::answer::Answer;
use super::kind::Target;
use super::store::metadata_of;
use super::watch::{Scope, Selector};

/// The parameters of a request.
#[derive(Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Parameters that change what is answered must be known.
    pub(super) fn parse(query: &str) -> Self {
        let known = [
            "allowWatchBookmarks",
            "continue",
            "fieldManager",
            "labelSelector",
            "limit",
            "pretty",
            "resourceVersion",
            "resourceVersionMatch",
            "timeoutSeconds",
            "watch",
        ];
        let all: BTreeMap<String, String> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let unknown = all.keys().find(|name| !known.contains(&name.as_str()));
        assert!(unknown.is_none(), "the model does not know the parameter {unknown:?}");
        Self(all)
    }

    /// A parameter; empty where it is not given.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self.text(name), "1" | "true")
    }

    /// The version that is asked for; `None` where any is good enough.
    pub(super) fn version(&self) -> Result<Option<u64>, Answer> {
        match self.text("resourceVersion") {
            "" | "0" => Ok(None),
            text => text.parse().map(Some).map_err(|_| Answer::not_a_version(text)),
        }
    }
}

/// Whether only metadata are asked for.
pub(super) fn wants_metadata(accept: &str) -> bool {
    accept.contains("as=PartialObjectMetadata")
}

pub(super) fn scope(at: &Target, query: &Query, accept: &str) -> Scope {
    Scope {
        kind: at.kind,
        namespace: at.namespace.clone(),
        selector: Selector::parse(query.text("labelSelector")),
        is_metadata: wants_metadata(accept),
    }
}

impl ApiServer {
    pub(super) fn get(&self, at: &Target, name: &str) -> Result<Answer, Answer> {
        let found = self.store.get(at.kind, &at.namespace, name);
        let found = found.ok_or_else(|| Answer::not_found(at.kind, name))?;
        Ok(Answer::ok(found.value.clone()))
    }

    pub(super) fn list(&self, at: &Target, query: &Query, accept: &str) -> Result<Answer, Answer> {
        let scope = scope(at, query, accept);
        let limit = query.text("limit").parse().ok().filter(|limit| *limit > 0);
        let mut page = Page { version: self.version(), after: None, limit };
        match query.text("continue") {
            "" => self.is_reached(query, &mut page)?,
            token => page.go_on(token)?,
        }
        if page.version < self.store.compacted() {
            let why =
                "The provided continue parameter is too old to display a consistent list result.";
            return Err(Answer::expired(why.to_owned()));
        }
        Ok(Answer::ok(self.page(&scope, &page)))
    }

    /// A list is as new as it is asked to be.
    fn is_reached(&self, query: &Query, page: &mut Page) -> Result<(), Answer> {
        // A watch says the same as an error of the server's own.
        let refused = |answer: Answer| {
            let why = answer.body["message"].as_str().unwrap_or_default();
            Answer::bad_request(format!("invalid resource version: {why}"))
        };
        let asked = query.version().map_err(refused)?;
        if let Some(asked) = asked.filter(|asked| *asked > self.version()) {
            return Err(Answer::version_too_large(asked, self.version()));
        }
        let is_exact = query.text("resourceVersionMatch") == "Exact"
            || (asked.is_some() && page.limit.is_some());
        match asked {
            Some(asked) if is_exact => page.version = asked,
            // From its caches the API server gives all at once.
            _ if query.text("resourceVersion") == "0" => page.limit = None,
            _ => {}
        }
        Ok(())
    }

    fn page(&self, scope: &Scope, page: &Page) -> Value {
        let past;
        let objects = if page.version == self.version() {
            self.store.objects(scope.kind)
        } else {
            past = self.store.objects_at(scope.kind, page.version);
            &past
        };
        let limit = page.limit.unwrap_or(usize::MAX);
        let mut items = Vec::new();
        let (mut last, mut left) = (String::new(), 0_usize);
        for (key, object) in objects {
            let is_before = page.after.as_ref().is_some_and(|after| key <= after);
            if is_before || !scope.is_near(object) {
                continue;
            }
            if items.len() == limit {
                left += 1;
                continue;
            }
            if scope.selector.selects(&object.value) {
                items.push(item(scope, &object.value));
                last.clone_from(key);
            }
        }
        let mut metadata = json!({"resourceVersion": page.version.to_string()});
        if scope.kind.is_custom() && !scope.is_metadata {
            metadata["continue"] = "".into();
        }
        if left > 0 {
            let token = json!({"v": "meta.k8s.io/v1", "rv": page.version, "start": last});
            metadata["continue"] = URL_SAFE_NO_PAD.encode(token.to_string()).into();
            if scope.selector.is_everything() {
                metadata["remainingItemCount"] = left.into();
            }
        }
        let (kind, version) = if scope.is_metadata {
            ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1")
        } else {
            (format!("{}List", scope.kind.name()), scope.kind.api_version())
        };
        // So it is: a list of metadata that is empty has null in place of its items.
        let items = if items.is_empty() && scope.is_metadata { Value::Null } else { items.into() };
        json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": items})
    }
}

/// A part of a list.
struct Page {
    version: u64,
    after: Option<String>,
    limit: Option<usize>,
}

impl Page {
    /// Goes on where a page ended.
    fn go_on(&mut self, token: &str) -> Result<(), Answer> {
        let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        let token: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let (Some(version), Some(start)) = (token["rv"].as_u64(), token["start"].as_str()) else {
            return Err(Answer::bad_request("continue key is not valid".to_owned()));
        };
        self.version = version;
        self.after = Some(start.to_owned());
        Ok(())
    }
}

/// An object in a list. Kinds of the API server's own do not repeat what they are.
fn item(scope: &Scope, value: &Value) -> Value {
    if scope.is_metadata {
        return metadata_of(value);
    }
    let mut item = value.clone();
    if !scope.kind.is_custom()
        && let Some(fields) = item.as_object_mut()
    {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    item
}

/// What the operator or a person must not do, in the words of RBAC.
pub(super) fn forbidden(verb: &str, user: &str, at: &Target) -> Answer {
    let Target { kind, namespace, name, is_status } = at;
    let name = name.as_deref().unwrap_or_default();
    let slash = if *is_status { "/status" } else { "" };
    let place = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {namespace:?}")
    };
    let why = format!(
        "User {user:?} cannot {verb} resource \"{}{slash}\" in API group {:?} {place}",
        kind.plural(),
        kind.group()
    );
    // A creation names nothing in its path.
    Answer::forbidden(*kind, name, &why)
}
