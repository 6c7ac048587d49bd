//! A request as the service reads it, and the answer before any damage.

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_DISPOSITION;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::refusal::Refusal;
use super::settings::{Envelope, SiteSettings};
use crate::simulator::BODY_LIMIT;
use crate::simulator::answer;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A request as the service sees it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    headers: HeaderMap,
    query: Vec<(String, String)>,
    /// The id of the path.
    pub(super) id: String,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) async fn read(id: &str, request: Request<Body>) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, BODY_LIMIT)
            .await
            .map_err(|_| Refusal::new(413, "request_too_large", "The request is too large."))?;
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self {
            headers: parts.headers,
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            id: id.to_owned(),
            body,
        })
    }

    /// A header's value, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A parameter of the query; an empty one counts as absent.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter of the query that counts something.
    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, Refusal> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| Refusal::field(name, "A valid integer is required.", "invalid"))
        };
        self.query(name).map(parse).transpose()
    }
}

/// The answer to a request before any damage: the body apart, so that half of it can be sent.
pub(super) struct Outcome {
    pub(super) response: Response<Body>,
    pub(super) body: Bytes,
    /// The order that this answer makes known, and which of its purchases.
    pub(super) made: Option<(String, usize)>,
}

impl Outcome {
    /// JSON as it stands.
    pub(super) fn json(value: &Value) -> Self {
        Self::of(Bytes::from(value.to_string()), JSON)
    }

    /// A result in its envelope.
    pub(super) fn result(settings: &SiteSettings, result: Value) -> Self {
        Self::json(&match settings.envelope {
            Envelope::Success => json!({ "success": true, "result": result }),
            Envelope::Status => json!({ "status": "success", "result": result }),
            Envelope::Bare => result,
        })
    }

    /// A page in its envelope.
    pub(super) fn page(
        settings: &SiteSettings,
        call: &Call,
        hits: Vec<Value>,
    ) -> Result<Self, Refusal> {
        let most = settings.page_limit as usize;
        let limit = call.number("limit")?.unwrap_or(most).clamp(1, most);
        let offset = call.number("offset")?.unwrap_or(0);
        let skipped = if settings.ignores_offset { 0 } else { offset };
        let total = hits.len();
        let mut items: Vec<Value> = hits.into_iter().skip(skipped).take(limit).collect();
        let result = match items.len() {
            1 if settings.lone_item_bare => items.remove(0),
            _ => Value::Array(items),
        };
        let paging = json!({ "total": total, "limit": limit, "offset": offset });
        let mut page = match settings.envelope {
            Envelope::Success => json!({ "success": true, "result": result }),
            Envelope::Status => json!({ "status": "success", "result": result }),
            Envelope::Bare => return Ok(Self::json(&result)),
        };
        if let (Some(page), Value::Object(paging)) = (page.as_object_mut(), paging) {
            page.extend(paging);
        }
        Ok(Self::json(&page))
    }

    /// A file to be saved under this name.
    pub(super) fn file(name: &str, content: Vec<u8>) -> Self {
        let mut outcome = Self::of(Bytes::from(content), OCTETS);
        let disposition = format!("attachment; filename=\"{name}\"");
        outcome.response = answer::with_header(outcome.response, CONTENT_DISPOSITION, &disposition);
        outcome
    }

    fn of(body: Bytes, content_type: HeaderValue) -> Self {
        let response = answer::with_body(StatusCode::OK, content_type, body.clone());
        Self { response, body, made: None }
    }
}
