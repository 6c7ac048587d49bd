//! Objects as the API server tells of them: the one place where they are read.
//!
//! # Guarantees
//! - An object that cannot be read costs that object alone: a list, a watch or an answer that holds
//!   it is read all the same, and what can be known of it is kept.
//! - `metadata.managedFields` is not looked at. Whoever writes an object chooses what is in it.
//! - What is said of an object that cannot be read names the field and never what is in it.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// An object, or what can be known of one that this version cannot read.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, Unreadable>);

/// An object that this version cannot read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Unreadable {
    /// As much of its metadata as can be read.
    pub metadata: ObjectMeta,
    /// What cannot be read of it, in words that name the field and not what is in it.
    pub reason: String,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = deserializer.deserialize_map(WithoutManagers)?;
        let typed = serde_path_to_error::deserialize(&object).map_err(|error| Unreadable {
            metadata: metadata(&object),
            reason: reason(&error.path().to_string()),
        });
        Ok(Self(typed))
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unreadable| &unreadable.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|unreadable| &mut unreadable.metadata, K::meta_mut)
    }

    fn metadata_api() -> bool {
        K::metadata_api()
    }
}

/// The longest path that is told.
const PATH: usize = 200;

/// Keys of maps are in a path, and they are somebody's text.
fn reason(path: &str) -> String {
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || "._/-[]".contains(*letter);
    let path: String = path.chars().take(PATH).filter(is_plain).collect();
    if path.is_empty() || path == "." {
        return "it is not what this version expects".to_owned();
    }
    format!("its field {path} is not what this version expects")
}

/// Each field that can be read.
fn metadata(object: &Value) -> ObjectMeta {
    let field = |name: &str| object.get("metadata").and_then(|metadata| metadata.get(name));
    let text = |name: &str| field(name).and_then(Value::as_str).map(str::to_owned);
    let texts = |name: &str| {
        let entries = field(name)?.as_object()?.iter();
        Some(entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))))
    };
    ObjectMeta {
        namespace: text("namespace"),
        name: text("name"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        generation: field("generation").and_then(Value::as_i64),
        labels: texts("labels").map(Iterator::collect),
        annotations: texts("annotations").map(Iterator::collect),
        ..ObjectMeta::default()
    }
}

/// Reads an object without `metadata.managedFields`, which is skipped: it may also be deeper than a
/// reader goes.
struct WithoutManagers;

impl<'de> Visitor<'de> for WithoutManagers {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = match name.as_str() {
                "metadata" => fields.next_value::<Option<Metadata>>()?.map(|metadata| metadata.0),
                _ => Some(fields.next_value()?),
            };
            object.insert(name, value.unwrap_or_default());
        }
        Ok(Value::Object(object))
    }
}

struct Metadata(Value);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MetadataWithoutManagers).map(Self)
    }
}

struct MetadataWithoutManagers;

impl<'de> Visitor<'de> for MetadataWithoutManagers {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut metadata = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if name == "managedFields" {
                fields.next_value::<IgnoredAny>()?;
            } else {
                metadata.insert(name, fields.next_value()?);
            }
        }
        Ok(Value::Object(metadata))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use kube::core::{ObjectList, PartialObjectMeta, WatchEvent};
    use serde_json::json;

    use super::*;
    use crate::api::CertificateRequest;

    const BEYOND: &str = "9999-12-31T23:59:59Z";

    fn request(name: &str) -> Value {
        json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": name, "namespace": "shop", "uid": "u", "resourceVersion": "7"},
            "spec": {"issuerRef": {"name": "ca"}, "secretName": name},
        })
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut object = request("odd");
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        for end in parent.match_indices('/').map(|(at, _)| at).skip(1).chain([parent.len()]) {
            let place = object.pointer(&parent[..end]).cloned();
            if place.is_none() {
                let (above, name) = parent[..end].rsplit_once('/').expect("a pointer");
                object.pointer_mut(above).expect("made before")[name] = json!({});
            }
        }
        object.pointer_mut(parent).expect("a place")[field] = value;
        object
    }

    fn deep(levels: usize) -> String {
        format!(r#"{}1{}"#, r#"{"f:a":"#.repeat(levels), "}".repeat(levels))
    }

    #[test]
    fn what_managers_note_is_not_looked_at() {
        let odd = with("/metadata/managedFields", json!([{"manager": 7, "time": BEYOND}]));
        let read: Guarded<CertificateRequest> = serde_json::from_value(odd).expect("read");
        assert_eq!(read.0.expect("typed").metadata.name.as_deref(), Some("odd"));
        let secret = format!(
            r#"{{"metadata":{{"name":"a","managedFields":[{{"fieldsV1":{}}}]}}}}"#,
            deep(1000)
        );
        let read: Guarded<PartialObjectMeta<Secret>> = serde_json::from_str(&secret).expect("read");
        assert_eq!(read.0.expect("typed").metadata.name.as_deref(), Some("a"));
    }

    #[test]
    fn what_cannot_be_typed_is_named_by_its_field_and_never_by_its_content() {
        let secret = "s3cr3t-marker";
        let rows = [
            ("a creation that no calendar has", "/metadata/creationTimestamp", json!(BEYOND)),
            ("a deletion that no calendar has", "/metadata/deletionTimestamp", json!(BEYOND)),
            ("a label that is no text", "/metadata/labels", json!({"a": 7, "b": "c"})),
            ("a spec of another version", "/spec/secretName", json!([secret])),
            ("a time in the status", "/status/renewalTime", json!(secret)),
            ("a word that is not known", "/spec/issuerRef/kind", json!(secret)),
        ];
        for (name, pointer, value) in rows {
            let odd = with(pointer, value);
            let read: Guarded<CertificateRequest> = serde_json::from_value(odd).expect(name);
            let meta = read.meta().clone();
            assert_eq!(meta.namespace.as_deref(), Some("shop"), "{name}");
            assert_eq!(meta.resource_version.as_deref(), Some("7"), "{name}");
            let unreadable = read.0.expect_err(name);
            let field = pointer[1..].replace('/', ".");
            assert!(unreadable.reason.contains(&field), "{name}: {unreadable}");
            assert!(!format!("{unreadable:?}").contains(secret), "{name}: {unreadable:?}");
        }
        assert_eq!(
            reason("data.\u{1b}[2J a"),
            "its field data.[2Ja is not what this version expects"
        );
    }

    #[test]
    fn one_odd_object_costs_no_other() {
        let odd = with("/metadata/creationTimestamp", json!(BEYOND));
        let list = json!({
            "apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "9"},
            "items": [request("a"), odd, request("b")],
        });
        let list: ObjectList<Guarded<CertificateRequest>> =
            serde_json::from_value(list).expect("a list");
        let readable: Vec<bool> = list.items.iter().map(|item| item.0.is_ok()).collect();
        assert_eq!(readable, [true, false, true]);
        let event = json!({"type": "ADDED", "object": odd}).to_string();
        let event: WatchEvent<Guarded<CertificateRequest>> =
            serde_json::from_str(&event).expect("an event");
        assert!(matches!(event, WatchEvent::Added(Guarded(Err(_)))));
    }
}
