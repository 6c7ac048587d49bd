//! Why a call fails, and the failure that says so.
//!
//! The public clients show the envelope and one code, `request_validation_failed`. The other codes
//! and all statuses are assumed; the texts for 401 and 404 are those of the API that may stand
//! behind this one.

use axum::body::Body;
use http::header::ALLOW;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::call::JSON;
use super::settings::{Envelope, Messages, SiteSettings};
use crate::simulator::answer;

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) field: String,
    pub(super) text: String,
    pub(super) code: &'static str,
}

impl Wrong {
    pub(super) fn new(field: &str, text: impl Into<String>, code: &'static str) -> Self {
        Self { field: field.to_owned(), text: text.into(), code }
    }
}

/// A call that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A code and a sentence.
    Plain { status: u16, code: String, message: String },
    /// The fields that are wrong.
    Fields(Vec<Wrong>),
    /// The path takes these verbs.
    WrongVerb(&'static str),
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self::Plain { status, code: code.to_owned(), message: message.into() }
    }

    /// One field is wrong.
    pub(super) fn field(field: &str, text: impl Into<String>, code: &'static str) -> Self {
        Self::Fields(vec![Wrong::new(field, text, code)])
    }

    pub(super) fn credentials() -> Self {
        Self::new(401, "authentication_failed", "Account credentials are invalid.")
    }

    pub(super) fn forbidden() -> Self {
        Self::new(403, "permission_denied", "You are not allowed to do this.")
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "not_found", "Resource not found.")
    }

    /// The order is not in a state for this.
    pub(super) fn state(message: impl Into<String>) -> Self {
        Self::new(409, "invalid_state", message)
    }

    /// What the cryptographic library never does.
    pub(super) fn uncaught() -> Self {
        Self::new(500, "internal_error", "Unexpected error.")
    }

    /// The response.
    pub(super) fn answer(&self, settings: &SiteSettings) -> Response<Body> {
        let (status, code, message) = match self {
            Self::Plain { status, code, message } => (*status, code.as_str(), json!(message)),
            Self::Fields(wrong) => (
                settings.validation_status,
                "request_validation_failed",
                message(wrong, settings.messages),
            ),
            Self::WrongVerb(_) => (405, "method_not_allowed", json!("Method not allowed.")),
        };
        let error = json!({ "code": code, "message": message });
        let body = match settings.envelope {
            Envelope::Success => json!({ "success": false, "error": error }),
            Envelope::Status => json!({ "status": "error", "error": error }),
            Envelope::Bare => error,
        };
        let status = if settings.failures_with_200 { 200 } else { status };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let response = answer::with_body(status, JSON, body.to_string());
        match self {
            Self::WrongVerb(allowed) => answer::with_header(response, ALLOW, allowed),
            Self::Plain { .. } | Self::Fields(_) => response,
        }
    }
}

fn message(wrong: &[Wrong], form: Messages) -> Value {
    if form == Messages::Sentence {
        let parts: Vec<String> =
            wrong.iter().map(|one| format!("{}: {}", one.field, one.text)).collect();
        return json!(parts.join(" "));
    }
    let mut fields = Map::new();
    for one in wrong {
        let entry = match form {
            Messages::Plain => json!(one.text),
            Messages::Coded | Messages::Nested | Messages::Sentence => {
                json!({ "message": one.text, "code": one.code })
            }
        };
        let list = fields.entry(one.field.clone()).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(entry);
        }
    }
    match form {
        Messages::Nested => json!({ "ssl_certificate": fields }),
        Messages::Coded | Messages::Plain | Messages::Sentence => Value::Object(fields),
    }
}
