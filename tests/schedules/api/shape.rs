//! From what is sent to an object in the form that is stored, for each kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::{metadata, schema};

/// Brings an object into the form in which it is validated and stored, or says why it is no object
/// of the kind. What is empty stays until [`settle`].
pub(super) fn read(kind: Kind, mut value: Value) -> Result<Value, String> {
    metadata::normalize(&mut value)?;
    if kind.is_custom() {
        schema::of(kind).complete(&mut value);
        return Ok(value);
    }
    let Some(fields) = value.as_object_mut() else {
        return Err("an object was expected".to_owned());
    };
    let known = fields_of(kind);
    fields.retain(|name, value| {
        let is_known = known.contains(&name.as_str())
            || ["apiVersion", "kind", "metadata"].contains(&name.as_str());
        is_known && !value.is_null()
    });
    match kind {
        Kind::Secret => secret(fields)?,
        Kind::ConfigMap => config_map(fields)?,
        Kind::Lease => lease(fields)?,
        Kind::Event => event(fields)?,
        Kind::Namespace => {
            let name = metadata::text(&value, "name").to_owned();
            if !name.is_empty() {
                value["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
            }
        }
        Kind::CertificateRequest | Kind::ClusterIssuer | Kind::Issuer => {}
    }
    Ok(value)
}

/// Leaves out what storing an object leaves out.
pub(super) fn settle(kind: Kind, value: &mut Value) {
    if !matches!(kind, Kind::ConfigMap | Kind::Secret) {
        return;
    }
    if let Some(fields) = value.as_object_mut() {
        for name in ["data", "binaryData"] {
            if fields.get(name).and_then(Value::as_object).is_some_and(Map::is_empty) {
                fields.remove(name);
            }
        }
    }
}

fn fields_of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Secret => &["data", "immutable", "stringData", "type"],
        Kind::ConfigMap => &["binaryData", "data", "immutable"],
        Kind::Lease => &["spec"],
        Kind::Namespace => &["spec", "status"],
        Kind::Event => &[
            "action",
            "eventTime",
            "note",
            "reason",
            "regarding",
            "related",
            "reportingController",
            "reportingInstance",
            "series",
            "type",
        ],
        Kind::CertificateRequest | Kind::ClusterIssuer | Kind::Issuer => &[],
    }
}

fn secret(fields: &mut Map<String, Value>) -> Result<(), String> {
    if let Some(data) = fields.get_mut("data") {
        bytes(data)?;
    }
    if let Some(mut texts) = fields.remove("stringData") {
        metadata::texts(&mut texts)?;
        let texts = texts.as_object().cloned().unwrap_or_default();
        if !texts.is_empty() {
            let data = fields.entry("data").or_insert_with(|| json!({}));
            for (key, text) in texts {
                data[key] = STANDARD.encode(text.as_str().unwrap_or_default()).into();
            }
        }
    }
    check(fields, "immutable", Value::is_boolean)?;
    check(fields, "type", Value::is_string)?;
    let kind = fields.entry("type").or_insert_with(|| json!(""));
    if *kind == "" {
        *kind = json!("Opaque");
    }
    Ok(())
}

fn config_map(fields: &mut Map<String, Value>) -> Result<(), String> {
    if let Some(data) = fields.get_mut("data") {
        metadata::texts(data)?;
        // Texts that are empty are as none, other than bytes that are empty.
        if data.as_object().is_some_and(Map::is_empty) {
            fields.remove("data");
        }
    }
    if let Some(data) = fields.get_mut("binaryData") {
        bytes(data)?;
    }
    check(fields, "immutable", Value::is_boolean)
}

/// Checks a map of bytes, and writes them as the API server does.
fn bytes(data: &mut Value) -> Result<(), String> {
    metadata::texts(data)?;
    let entries = data.as_object_mut().ok_or("a map was expected")?;
    for value in entries.values_mut() {
        let text = value.as_str().unwrap_or_default();
        let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        let bytes = STANDARD.decode(text).map_err(|error| format!("illegal base64: {error}"))?;
        *value = STANDARD.encode(bytes).into();
    }
    Ok(())
}

fn lease(fields: &mut Map<String, Value>) -> Result<(), String> {
    let spec = fields.entry("spec").or_insert_with(|| json!({}));
    let spec = spec.as_object_mut().ok_or("spec must be an object")?;
    let known = [
        "acquireTime",
        "holderIdentity",
        "leaseDurationSeconds",
        "leaseTransitions",
        "preferredHolder",
        "renewTime",
        "strategy",
    ];
    spec.retain(|name, value| known.contains(&name.as_str()) && !value.is_null());
    check(spec, "holderIdentity", Value::is_string)?;
    check(spec, "leaseDurationSeconds", Value::is_i64)?;
    check(spec, "leaseTransitions", Value::is_i64)?;
    micro_time(spec.get_mut("acquireTime"))?;
    micro_time(spec.get_mut("renewTime"))
}

fn event(fields: &mut Map<String, Value>) -> Result<(), String> {
    micro_time(fields.get_mut("eventTime"))?;
    micro_time(fields.get_mut("series").and_then(|series| series.get_mut("lastObservedTime")))?;
    fields.entry("eventTime").or_insert(Value::Null);
    fields.entry("regarding").or_insert_with(|| json!({}));
    // Of old Events; they are there all the same.
    fields.insert("deprecatedSource".to_owned(), json!({}));
    fields.insert("deprecatedFirstTimestamp".to_owned(), Value::Null);
    fields.insert("deprecatedLastTimestamp".to_owned(), Value::Null);
    Ok(())
}

/// A time with exactly six digits after the point is taken, and none with more or less.
fn micro_time(value: Option<&mut Value>) -> Result<(), String> {
    let Some(value) = value else { return Ok(()) };
    let text = value.as_str().ok_or("a time must be a text")?;
    let digits = text.split_once('.').map_or("", |(_, rest)| rest);
    let digits = digits.bytes().take_while(u8::is_ascii_digit).count();
    let parsed: Result<Timestamp, _> = text.parse();
    let time = parsed.ok().filter(|_| digits == 6);
    let time = time.ok_or_else(|| format!("parsing time {text:?}: cannot parse"))?;
    *value = time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into();
    Ok(())
}

fn check(
    fields: &Map<String, Value>,
    name: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<(), String> {
    match fields.get(name) {
        Some(value) if !fits(value) => Err(format!("cannot unmarshal {value} into {name}")),
        Some(_) | None => Ok(()),
    }
}

/// Changes a document as RFC 7396 says.
pub(super) fn merge(document: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *document = patch.clone();
        return;
    };
    if !document.is_object() {
        *document = json!({});
    }
    let Some(fields) = document.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}
