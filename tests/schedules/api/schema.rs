//! What the API server does with the schemas in `crds/`: it prunes, fills in defaults, and refuses.
//!
//! Of the rules in CEL only `self == oldSelf` is known here, and patterns are not.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Cause;
use super::kind::Kind;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Schema {
    #[serde(rename = "type")]
    kind: String,
    properties: BTreeMap<String, Self>,
    additional_properties: Option<Box<Self>>,
    items: Option<Box<Self>>,
    required: Vec<String>,
    default: Option<Value>,
    nullable: bool,
    #[serde(rename = "enum")]
    values: Option<Vec<Value>>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    #[serde(rename = "x-kubernetes-list-type")]
    list_type: Option<String>,
    #[serde(rename = "x-kubernetes-list-map-keys")]
    list_map_keys: Vec<String>,
    #[serde(rename = "x-kubernetes-validations")]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    rule: String,
    #[serde(default)]
    message: String,
}

/// The schema of a kind that is defined in `crds/`.
pub(super) fn of(kind: Kind) -> &'static Schema {
    static REQUESTS: LazyLock<Schema> =
        LazyLock::new(|| read(include_str!("../../../crds/certificaterequests.yaml")));
    static ISSUERS: LazyLock<Schema> =
        LazyLock::new(|| read(include_str!("../../../crds/issuers.yaml")));
    static CLUSTER_ISSUERS: LazyLock<Schema> =
        LazyLock::new(|| read(include_str!("../../../crds/clusterissuers.yaml")));
    match kind {
        Kind::CertificateRequest => &REQUESTS,
        Kind::Issuer => &ISSUERS,
        Kind::ClusterIssuer => &CLUSTER_ISSUERS,
        Kind::ConfigMap | Kind::Event | Kind::Lease | Kind::Namespace | Kind::Secret => {
            panic!("{kind:?} has no schema")
        }
    }
}

/// All fields of the specs of issuers and requests, such as `Issuer.limits.ordersPerDay`.
pub fn fields() -> Vec<String> {
    fn gather(schema: &Schema, path: &str, fields: &mut Vec<String>) {
        let inner = schema.items.as_deref().filter(|items| !items.properties.is_empty());
        let properties = &inner.unwrap_or(schema).properties;
        if properties.is_empty() {
            fields.push(path.to_owned());
        }
        for (name, one) in properties {
            gather(one, &format!("{path}.{name}"), fields);
        }
    }
    let mut fields = Vec::new();
    for (kind, name) in [(Kind::Issuer, "Issuer"), (Kind::CertificateRequest, "CertificateRequest")]
    {
        gather(&of(kind).properties["spec"], name, &mut fields);
    }
    fields
}

fn read(yaml: &str) -> Schema {
    let mut definition: Value = serde_yaml::from_str(yaml).expect("a definition is YAML");
    let version = &mut definition["spec"]["versions"][0];
    assert!(version["subresources"].get("status").is_some(), "the status is a subresource");
    let schema = version["schema"]["openAPIV3Schema"].take();
    serde_json::from_value(schema).expect("a schema")
}

impl Schema {
    /// Whether objects that were created without a status are read with one.
    pub(super) fn has_default_status(&self) -> bool {
        self.properties.get("status").is_some_and(|status| status.default.is_some())
    }

    /// Brings an object that was sent into the form that is stored: no fields that the schema does
    /// not know, no null where none may be, and its defaults. Metadata is left alone.
    pub(super) fn complete(&self, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        let kept = ["apiVersion", "kind", "metadata"]
            .map(|field| fields.remove_entry(field))
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        self.prune(object);
        self.fill_in(object);
        if let Some(fields) = object.as_object_mut() {
            fields.extend(kept);
        }
    }

    fn prune(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, value| {
                    let Some(schema) = self.of_field(name) else { return false };
                    let is_kept = schema.nullable || schema.default.is_some();
                    !value.is_null() || is_kept
                });
                for (name, value) in fields {
                    if let Some(schema) = self.of_field(name) {
                        schema.prune(value);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.prune(item));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn fill_in(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, schema) in &self.properties {
                    let Some(default) = &schema.default else { continue };
                    let value = fields.entry(name).or_insert(Value::Null);
                    if value.is_null() && !schema.nullable {
                        *value = default.clone();
                    }
                }
                for (name, value) in fields {
                    if let Some(schema) = self.of_field(name) {
                        schema.fill_in(value);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.fill_in(item));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn of_field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(self.additional_properties.as_deref())
    }

    /// What is wrong with an object; `old` is what it was before, where it is an update.
    pub(super) fn faults(&self, object: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut faults = Faults::default();
        for name in &self.required {
            if object.get(name).is_none() {
                faults.shape.push(Cause::required(name));
            }
        }
        for (name, schema) in &self.properties {
            if let Some(value) = object.get(name) {
                schema.look(name, value, old.and_then(|old| old.get(name)), &mut faults);
            }
        }
        if faults.shape.iter().any(Cause::keeps_from_rules) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            faults.shape.push(Cause::invalid("<nil>", &Value::Null, why));
            return faults.shape;
        }
        faults.shape.extend(faults.rules);
        faults.shape
    }

    fn look(&self, path: &str, value: &Value, old: Option<&Value>, faults: &mut Faults) {
        if value.is_null() && self.nullable {
            return;
        }
        if let Some(found) = self.wrong_type(value) {
            let why = format!("{path} in body must be of type {}: {found:?}", self.kind);
            faults.shape.push(Cause::wrong_type(path, found, &why));
            return;
        }
        if let Some(values) = &self.values
            && !values.contains(value)
        {
            faults.shape.push(Cause::unsupported(path, value, values));
        }
        self.look_at_size(path, value, faults);
        match value {
            Value::Object(fields) => {
                for name in &self.required {
                    if !fields.contains_key(name) {
                        faults.shape.push(Cause::required(format!("{path}.{name}")));
                    }
                }
                for (name, value) in fields {
                    if let Some(schema) = self.of_field(name) {
                        let old = old.and_then(|old| old.get(name));
                        schema.look(&format!("{path}.{name}"), value, old, faults);
                    }
                }
            }
            Value::Array(items) => {
                self.look_at_list(path, items, faults);
                if let Some(schema) = &self.items {
                    for (index, item) in items.iter().enumerate() {
                        schema.look(&format!("{path}[{index}]"), item, None, faults);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        let is_changed = old.is_some_and(|old| old != value);
        for rule in self.rules.iter().filter(|rule| rule.rule == "self == oldSelf" && is_changed) {
            faults.rules.push(Cause::invalid(path, value, &rule.message));
        }
    }

    /// What the value is called, where it is not of the type that is asked for.
    fn wrong_type(&self, value: &Value) -> Option<&'static str> {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let fits = found == self.kind || (found, self.kind.as_str()) == ("integer", "number");
        (!fits && !self.kind.is_empty()).then_some(found)
    }

    fn look_at_size(&self, path: &str, value: &Value, faults: &mut Faults) {
        let (size, least, most, what) = match value {
            Value::String(text) => {
                (text.chars().count(), self.min_length, self.max_length, "chars long")
            }
            Value::Array(items) => (items.len(), self.min_items, self.max_items, "items"),
            Value::Object(fields) => {
                (fields.len(), self.min_properties, self.max_properties, "properties")
            }
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or_default();
                if self.minimum.is_some_and(|least| number < least) {
                    faults.shape.push(Cause::invalid(path, value, "should be greater"));
                }
                if self.maximum.is_some_and(|most| number > most) {
                    faults.shape.push(Cause::invalid(path, value, "should be less"));
                }
                return;
            }
            Value::Null | Value::Bool(_) => return,
        };
        let count = u64::try_from(size).unwrap_or(u64::MAX);
        if let Some(least) = least.filter(|least| count < *least) {
            let prefix = if value.is_string() { "be" } else { "have" };
            let why = format!("{path} in body should {prefix} at least {least} {what}");
            faults.shape.push(Cause::invalid(path, value, &why));
        }
        if let Some(most) = most.filter(|most| count > *most) {
            faults.shape.push(if value.is_string() {
                Cause::too_long(path, most)
            } else {
                Cause::too_many(path, size, most)
            });
        }
    }

    /// Sets hold nothing twice, and maps no key.
    fn look_at_list(&self, path: &str, items: &[Value], faults: &mut Faults) {
        let key = |item: &Value| match self.list_type.as_deref() {
            Some("set") => Some(item.clone()),
            Some("map") => Some(json!(
                self.list_map_keys
                    .iter()
                    .map(|key| (key.clone(), item[key].clone()))
                    .collect::<BTreeMap<_, _>>()
            )),
            _ => None,
        };
        for (index, item) in items.iter().enumerate() {
            let Some(this) = key(item) else { return };
            if items[..index].iter().any(|before| key(before).as_ref() == Some(&this)) {
                faults.shape.push(Cause::duplicate(format!("{path}[{index}]"), &this));
            }
        }
    }
}

/// Rules are told only where the shape is right enough.
#[derive(Default)]
struct Faults {
    shape: Vec<Cause>,
    rules: Vec<Cause>,
}
