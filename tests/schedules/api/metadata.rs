//! The metadata of objects.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::answer::Cause;

/// What is kept of the metadata that is sent. Who manages which field is not.
const FIELDS: [&str; 13] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

/// Brings metadata that was sent into the form in which it is stored.
pub(super) fn normalize(value: &mut Value) -> Result<(), String> {
    let Some(object) = value.as_object_mut() else {
        return Err("an object was expected".to_owned());
    };
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    let Some(metadata) = metadata.as_object_mut() else {
        return Err("metadata must be an object".to_owned());
    };
    metadata.retain(|field, value| FIELDS.contains(&field.as_str()) && !value.is_null());
    for field in ["annotations", "labels"] {
        let Some(entries) = metadata.get_mut(field) else { continue };
        texts(entries).map_err(|why| format!("metadata.{field}: {why}"))?;
    }
    metadata.retain(|_, value| !is_empty(value));
    Ok(())
}

/// Checks that a map holds text only; null stands for the empty text.
pub(super) fn texts(map: &mut Value) -> Result<(), String> {
    let entries = map.as_object_mut().ok_or("a map was expected")?;
    for value in entries.values_mut() {
        match value {
            Value::Null => *value = json!(""),
            Value::String(_) => {}
            Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                return Err(format!("{value} is no text"));
            }
        }
    }
    Ok(())
}

/// Whether a field that says this is left out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A text in the metadata; empty where there is none.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value["metadata"][field].as_str().unwrap_or_default()
}

/// Labels or annotations.
pub(super) fn entries<'a>(value: &'a Value, field: &str) -> Option<&'a Map<String, Value>> {
    value["metadata"][field].as_object()
}

/// A label or an annotation.
pub(super) fn entry<'a>(value: &'a Value, field: &str, key: &str) -> Option<&'a str> {
    value["metadata"][field].get(key)?.as_str()
}

pub(super) fn set_version(value: &mut Value, version: u64) {
    value["metadata"]["resourceVersion"] = version.to_string().into();
}

/// A time as metadata tell it: to the second.
pub(super) fn time(now: Timestamp) -> Value {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
}

pub(super) fn has_finalizers(value: &Value) -> bool {
    value["metadata"].get("finalizers").is_some()
}

pub(super) fn is_being_deleted(value: &Value) -> bool {
    value["metadata"].get("deletionTimestamp").is_some()
}

/// Sets a field to what another object has in it, which may be nothing.
pub(super) fn copy_field(from: &Value, to: &mut Value, field: &str) {
    match from["metadata"].get(field) {
        Some(value) => to["metadata"][field] = value.clone(),
        None => remove_field(to, field),
    }
}

pub(super) fn remove_field(value: &mut Value, field: &str) {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove(field);
    }
}

/// Marks an object that finalizers keep as being deleted. Later marks change nothing.
pub(super) fn mark_deleted(value: &mut Value, now: Timestamp) {
    if is_being_deleted(value) {
        return;
    }
    if let Some(generation) = value["metadata"]["generation"].as_i64() {
        value["metadata"]["generation"] = (generation + 1).into();
    }
    value["metadata"]["deletionTimestamp"] = time(now);
    value["metadata"]["deletionGracePeriodSeconds"] = 0.into();
}

/// What an update must not do to metadata.
pub(super) fn update_faults(new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let finalizers =
        |value: &Value| value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if is_being_deleted(old) {
        let before = finalizers(old);
        let mut added: Vec<_> =
            finalizers(new).into_iter().filter(|one| !before.contains(one)).collect();
        added.sort_by_key(Value::to_string);
        if !added.is_empty() {
            let added: Vec<_> = added.iter().map(Value::to_string).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &why));
        }
    }
    for field in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (new, old) = (&new["metadata"][field], &old["metadata"][field]);
        if new != old {
            causes.push(Cause::invalid(format!("metadata.{field}"), new, "field is immutable"));
        }
    }
    // The API server checks this twice, for all kinds and for each kind, and tells it twice.
    causes.extend(causes.clone());
    causes
}
