//! What the API server refuses of the kinds that it defines itself. Names and values of labels are
//! not looked at.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::answer::Cause;
use super::kind::Kind;
use super::{metadata, schema};

/// Contents of a Secret or ConfigMap.
const MAX_SIZE: u64 = 1024 * 1024;
const NO_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const NO_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const IMMUTABLE: &str = "field is immutable when `immutable` is set";

/// What is wrong with an object that is new.
pub(super) fn faults(kind: Kind, object: &Value) -> Vec<Cause> {
    let name = metadata::text(object, "name");
    if name.is_empty() {
        // The names in `generateName` are random, which nothing here is.
        let cause = "name or generateName is required";
        return vec![Cause::required("metadata.name"), Cause::invalid("name", &json!(""), cause)];
    }
    let mut causes = if kind == Kind::Event { old_event_faults(object) } else { Vec::new() };
    causes.extend(name_faults(kind, name));
    if kind.is_custom() {
        causes.extend(schema::of(kind).faults(object, None));
    } else {
        causes.extend(content_faults(kind, object));
    }
    causes
}

/// What is wrong with an object in place of another.
pub(super) fn update_faults(kind: Kind, new: &Value, old: &Value, is_status: bool) -> Vec<Cause> {
    let mut causes = if is_status { Vec::new() } else { metadata::update_faults(new, old) };
    if kind.is_custom() {
        causes.extend(schema::of(kind).faults(new, Some(old)));
        return causes;
    }
    if kind == Kind::Secret && new["type"] != old["type"] {
        causes.push(Cause::invalid("type", &new["type"], "field is immutable"));
    }
    if old["immutable"] == true {
        if new["immutable"] != true {
            causes.push(Cause::forbidden("immutable", IMMUTABLE));
        }
        let fields: &[&str] =
            if kind == Kind::Secret { &["data"] } else { &["data", "binaryData"] };
        for field in fields {
            // A map without entries is another thing here than none.
            if new.get(field) != old.get(field) {
                causes.push(Cause::forbidden(*field, IMMUTABLE));
            }
        }
    }
    causes.extend(content_faults(kind, new));
    causes
}

fn name_faults(kind: Kind, name: &str) -> Vec<Cause> {
    let is_label = |label: &str| {
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(edge)
            && label.ends_with(edge)
            && label.chars().all(|c| edge(c) || c == '-')
    };
    let (fits, why) = if kind == Kind::Namespace {
        (name.len() <= 63 && is_label(name), NO_LABEL)
    } else {
        (name.len() <= 253 && name.split('.').all(is_label), NO_SUBDOMAIN)
    };
    if fits { Vec::new() } else { vec![Cause::invalid("metadata.name", &json!(name), why)] }
}

fn content_faults(kind: Kind, object: &Value) -> Vec<Cause> {
    match kind {
        Kind::Secret => secret_faults(object),
        Kind::ConfigMap => config_map_faults(object),
        Kind::Lease => lease_faults(&object["spec"]),
        Kind::Event => event_faults(object),
        Kind::CertificateRequest | Kind::ClusterIssuer | Kind::Issuer | Kind::Namespace => {
            Vec::new()
        }
    }
}

fn secret_faults(secret: &Value) -> Vec<Cause> {
    let none = Map::new();
    let data = secret["data"].as_object().unwrap_or(&none);
    let mut causes = key_faults("data", data);
    let size: u64 = data.values().map(size_of).sum();
    if size > MAX_SIZE {
        causes.push(Cause::too_long("data", MAX_SIZE));
    }
    let missing = |key: &&str| !data.contains_key(*key);
    let required = |key: &str| Cause::required(format!("data[{key}]"));
    match secret["type"].as_str().unwrap_or_default() {
        "kubernetes.io/tls" => {
            causes.extend(
                ["tls.crt", "tls.key"].iter().filter(|key| missing(key)).map(|key| required(key)),
            );
        }
        "kubernetes.io/basic-auth" => {
            let keys = ["username", "password"];
            if keys.iter().all(missing) {
                causes.extend(keys.map(required));
            }
        }
        other => assert!(
            !other.starts_with("kubernetes.io/") && !other.starts_with("bootstrap."),
            "the model does not know Secrets of type {other}"
        ),
    }
    causes
}

fn config_map_faults(map: &Value) -> Vec<Cause> {
    let none = Map::new();
    let [data, binary] =
        ["data", "binaryData"].map(|field| map[field].as_object().unwrap_or(&none));
    let mut causes = key_faults("data", data);
    causes.extend(key_faults("binaryData", binary));
    for key in data.keys().filter(|key| binary.contains_key(*key)) {
        let why = "duplicate of key present in binaryData";
        causes.push(Cause::invalid(format!("data[{key}]"), &json!(key), why));
    }
    let texts: usize = data.values().filter_map(Value::as_str).map(str::len).sum();
    if texts as u64 + binary.values().map(size_of).sum::<u64>() > MAX_SIZE {
        causes.push(Cause::too_long("[]", MAX_SIZE));
    }
    causes
}

fn size_of(encoded: &Value) -> u64 {
    STANDARD.decode(encoded.as_str().unwrap_or_default()).map_or(0, |bytes| bytes.len() as u64)
}

fn key_faults(field: &str, entries: &Map<String, Value>) -> Vec<Cause> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    let bad = |key: &&String| key.is_empty() || !key.chars().all(fits);
    let fault = |key: &String| Cause::invalid(format!("{field}[{key}]"), &json!(key), why);
    entries.keys().filter(bad).map(fault).collect()
}

fn lease_faults(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let duration = &spec["leaseDurationSeconds"];
    if duration.as_i64().is_some_and(|seconds| seconds <= 0) {
        let field = "spec.leaseDurationSeconds";
        causes.push(Cause::invalid(field, duration, "must be greater than 0"));
    }
    let transitions = &spec["leaseTransitions"];
    if transitions.as_i64().is_some_and(|count| count < 0) {
        let field = "spec.leaseTransitions";
        causes.push(Cause::invalid(field, transitions, "must be greater than or equal to 0"));
    }
    causes
}

/// What is asked of Events since they were there.
fn old_event_faults(event: &Value) -> Vec<Cause> {
    if event["eventTime"].is_null() {
        return Vec::new();
    }
    let mut causes = Vec::new();
    let empty = json!("");
    let namespace = metadata::text(event, "namespace");
    let about = event["regarding"]["namespace"].as_str().unwrap_or_default();
    if about.is_empty() && namespace != "default" && namespace != "kube-system" {
        let why = "does not match event.namespace";
        causes.push(Cause::invalid("involvedObject.namespace", &empty, why));
    }
    if event["reportingController"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required("reportingController"));
    }
    let limits = [("reportingInstance", 128), ("action", 128), ("reason", 128), ("note", 1024)];
    for (field, most) in limits {
        let size = event[field].as_str().unwrap_or_default().len();
        let told = if field == "note" { "message" } else { field };
        if size == 0 && field != "note" {
            causes.push(Cause::required(told));
        }
        if size > most {
            let why = format!("can have at most {most} characters");
            causes.push(Cause::invalid(told, &empty, &why));
        }
    }
    causes
}

/// What is asked of them since they have a group of their own.
fn event_faults(event: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if event["eventTime"].is_null() {
        causes.push(Cause::required("eventTime"));
    }
    let kind = event["type"].as_str().unwrap_or_default();
    if kind != "Normal" && kind != "Warning" {
        let why = format!("has invalid value: {kind}");
        causes.push(Cause::invalid("type", &json!(""), &why));
    }
    causes
}
