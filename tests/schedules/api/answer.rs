//! Answers, and the words of refusals.

use serde_json::{Value, json};

use super::kind::Kind;

/// What the API server says to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// One cause of a refusal.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    reason: &'static str,
    message: String,
    pub(super) field: String,
}

impl Cause {
    fn new(reason: &'static str, message: String, field: impl Into<String>) -> Self {
        Self { reason, message, field: field.into() }
    }

    pub(super) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self::new("FieldValueInvalid", format!("Invalid value: {value}: {why}"), field)
    }

    pub(super) fn wrong_type(field: impl Into<String>, value: &str, why: &str) -> Self {
        Self::new("FieldValueTypeInvalid", format!("Invalid value: {value:?}: {why}"), field)
    }

    pub(super) fn required(field: impl Into<String>) -> Self {
        Self::new("FieldValueRequired", "Required value".to_owned(), field)
    }

    pub(super) fn forbidden(field: impl Into<String>, why: &str) -> Self {
        Self::new("FieldValueForbidden", format!("Forbidden: {why}"), field)
    }

    pub(super) fn unsupported(field: impl Into<String>, value: &Value, known: &[Value]) -> Self {
        let known: Vec<_> = known.iter().map(Value::to_string).collect();
        let why = format!("Unsupported value: {value}: supported values: {}", known.join(", "));
        Self::new("FieldValueNotSupported", why, field)
    }

    pub(super) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueDuplicate", format!("Duplicate value: {value}"), field)
    }

    pub(super) fn too_many(field: impl Into<String>, found: usize, most: u64) -> Self {
        let why = format!("Too many: {found}: must have at most {most} items");
        Self::new("FieldValueTooMany", why, field)
    }

    pub(super) fn too_long(field: impl Into<String>, most: u64) -> Self {
        let why = format!("Too long: may not be more than {most} bytes");
        Self::new("FieldValueTooLong", why, field)
    }

    /// Whether the rules in CEL are not even looked at.
    pub(super) fn keeps_from_rules(&self) -> bool {
        let reasons = ["NotSupported", "Required", "TooLong", "TooMany", "TypeInvalid"];
        reasons.iter().any(|reason| self.reason.strip_prefix("FieldValue") == Some(reason))
    }

    fn json(&self) -> Value {
        let mut cause = json!({"message": self.message});
        if !self.reason.is_empty() {
            cause["reason"] = self.reason.into();
        }
        if !self.field.is_empty() {
            cause["field"] = self.field.as_str().into();
        }
        cause
    }
}

impl Answer {
    pub(super) fn ok(body: Value) -> Self {
        Self { status: 200, body }
    }

    pub(super) fn created(body: Value) -> Self {
        Self { status: 201, body }
    }

    /// A deletion that is done.
    pub(super) fn deleted(kind: Kind, name: &str, uid: &str) -> Self {
        let mut details = details(kind.plural(), kind.group(), name);
        details["uid"] = uid.into();
        Self::ok(json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": details,
        }))
    }

    fn failure(status: u16, reason: &str, message: String, details: Option<Value>) -> Self {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "code": status,
        });
        if !reason.is_empty() {
            body["reason"] = reason.into();
        }
        if let Some(details) = details {
            body["details"] = details;
        }
        Self { status, body }
    }

    pub(super) fn bad_request(message: String) -> Self {
        Self::failure(400, "BadRequest", message, None)
    }

    pub(super) fn no_route() -> Self {
        let message = "the server could not find the requested resource".to_owned();
        Self::failure(404, "NotFound", message, Some(json!({})))
    }

    pub(super) fn not_found(kind: Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", kind.qualified_resource());
        Self::failure(404, "NotFound", message, Some(details(kind.plural(), kind.group(), name)))
    }

    pub(super) fn already_exists(kind: Kind, name: &str, is_being_deleted: bool) -> Self {
        let prefix = if is_being_deleted { "object is being deleted: " } else { "" };
        let message = format!("{prefix}{} {name:?} already exists", kind.qualified_resource());
        let details = details(kind.plural(), kind.group(), name);
        Self::failure(409, "AlreadyExists", message, Some(details))
    }

    pub(super) fn conflict(kind: Kind, name: &str, why: &str) -> Self {
        let resource = kind.qualified_resource();
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::failure(409, "Conflict", message, Some(details(kind.plural(), kind.group(), name)))
    }

    /// A precondition of a deletion does not hold. It speaks of the kind, not of the resource.
    pub(super) fn delete_conflict(kind: Kind, name: &str, why: &str) -> Self {
        let of = kind.qualified_kind();
        let message = format!("Operation cannot be fulfilled on {of} {name:?}: {why}");
        let details = details(kind.name(), kind.kind_group(), name);
        Self::failure(409, "Conflict", message, Some(details))
    }

    pub(super) fn invalid(kind: Kind, name: &str, causes: &[Cause]) -> Self {
        let named = details(kind.name(), kind.kind_group(), name);
        Self::invalid_as(&kind.qualified_kind(), name, named, causes)
    }

    /// A write without a resourceVersion. It speaks of the resource, not of the kind.
    pub(super) fn unversioned(kind: Kind, name: &str) -> Self {
        let why = "must be specified for an update";
        let cause = Cause::invalid("metadata.resourceVersion", &json!(0), why);
        let named = details(kind.plural(), kind.group(), name);
        Self::invalid_as(&kind.qualified_resource(), name, named, &[cause])
    }

    /// A patch that makes something that is no object of the kind.
    pub(super) fn invalid_patch(patched: &Value, why: &str) -> Self {
        let cause = Cause::invalid("patch", &json!(patched.to_string()), why);
        Self::invalid_as("", "", json!({}), &[cause])
    }

    fn invalid_as(of: &str, name: &str, mut details: Value, causes: &[Cause]) -> Self {
        let mut told: Vec<String> = Vec::new();
        for Cause { message, field, .. } in causes {
            let one = format!("{field}: {message}");
            if !told.contains(&one) {
                told.push(one);
            }
        }
        let why = match &told[..] {
            [one] => one.clone(),
            more => format!("[{}]", more.join(", ")),
        };
        details["causes"] = causes.iter().map(Cause::json).collect();
        let message = format!("{of} {name:?} is invalid: {why}");
        Self::failure(422, "Invalid", message, Some(details))
    }

    pub(super) fn forbidden(kind: Kind, name: &str, why: &str) -> Self {
        let resource = kind.qualified_resource();
        let named = if name.is_empty() { resource } else { format!("{resource} {name:?}") };
        let message = format!("{named} is forbidden: {why}");
        let mut details = details(kind.plural(), kind.group(), name);
        if name.is_empty()
            && let Some(details) = details.as_object_mut()
        {
            details.remove("name");
        }
        Self::failure(403, "Forbidden", message, Some(details))
    }

    /// Refused by a ValidatingAdmissionPolicy.
    pub(super) fn denied(kind: Kind, name: &str, policy: &str, why: &str) -> Self {
        let why = format!(
            "ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {why}"
        );
        let mut answer = Self::forbidden(kind, name, &why);
        answer.body["details"]["causes"] = json!([Cause::new("", why, "").json()]);
        answer
    }

    pub(super) fn terminating(kind: Kind, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let told = format!("namespace {namespace} is being terminated");
        let cause = Cause::new("NamespaceTerminating", told, "metadata.namespace");
        let mut answer = Self::forbidden(kind, name, &why);
        answer.body["details"]["causes"] = json!([cause.json()]);
        answer
    }

    pub(super) fn versioned_creation() -> Self {
        let message = "resourceVersion should not be set on objects to be created".to_owned();
        Self::failure(500, "", message, None)
    }

    pub(super) fn expired(message: String) -> Self {
        Self::failure(410, "Expired", message, None)
    }

    pub(super) fn version_too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let cause =
            Cause::new("ResourceVersionTooLarge", "Too large resource version".to_owned(), "");
        let details = json!({"causes": [cause.json()], "retryAfterSeconds": 1});
        Self::failure(504, "Timeout", message, Some(details))
    }

    pub(super) fn not_a_version(text: &str) -> Self {
        let message = format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        );
        Self::failure(500, "", message, None)
    }
}

fn details(kind: &str, group: &str, name: &str) -> Value {
    let mut details = json!({"name": name, "kind": kind});
    if !group.is_empty() {
        details["group"] = group.into();
    }
    details
}
