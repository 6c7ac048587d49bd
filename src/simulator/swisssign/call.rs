//! A request as the service sees it, and an answer before anything damages it.

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::form_urlencoded;

use super::refusal::{Code, Refusal};
use crate::simulator::BODY_LIMIT;
use crate::simulator::answer::{self, TEXT_PLAIN};
use crate::simulator::id;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A request as the service sees it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) accept: Option<String>,
    pub(super) authorization: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) query: Vec<(String, String)>,
    /// The path parameter, still percent-encoded.
    pub(super) parameter: String,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) async fn read(parameter: &str, request: Request<Body>) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, BODY_LIMIT)
            .await
            .map_err(|_| Refusal::Bare(StatusCode::PAYLOAD_TOO_LARGE))?;
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self {
            accept: text(&parts.headers, &ACCEPT),
            authorization: text(&parts.headers, &AUTHORIZATION),
            content_type: text(&parts.headers, &CONTENT_TYPE),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            parameter: parameter.to_owned(),
            method: parts.method,
            body,
        })
    }

    pub(super) fn media_type(&self) -> String {
        let content_type = self.content_type.as_deref().unwrap_or_default();
        content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The body must be of this type.
    pub(super) fn must_be(&self, media_type: &str) -> Result<(), Refusal> {
        match self.media_type() == media_type {
            true => Ok(()),
            false => Err(Refusal::Bare(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        }
    }

    /// A JSON body of this shape.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        self.must_be("application/json")?;
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::bad(Code::Validation, format!("Invalid request: {error}")))
    }

    /// There must be no body: `{}` is refused.
    pub(super) fn no_body(&self) -> Result<(), Refusal> {
        match self.body.is_empty() {
            true => Ok(()),
            false => Err(Refusal::bad(Code::Validation, "This operation takes no body")),
        }
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A query parameter that counts something; negative is refused as the schema says.
    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, Refusal> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Refusal::bad(Code::Validation, format!("{name}: {text}")))
        };
        self.query(name).map(parse).transpose()
    }

    /// The path parameter, which must be an id with this prefix.
    pub(super) fn id(&self, prefix: &str) -> Result<&str, Refusal> {
        match id::is(prefix, &self.parameter) {
            true => Ok(&self.parameter),
            false => Err(Refusal::bad(
                Code::Validation,
                format!("{} must match {prefix}[0-9a-f-]{{36}}", self.parameter),
            )),
        }
    }

    /// Whether a client takes this type, as far as its Accept header goes.
    pub(super) fn accepts(&self, media_type: &str) -> bool {
        let kind = media_type.split('/').next().unwrap_or_default();
        self.accept.as_deref().is_none_or(|accept| {
            accept.split(',').any(|part| {
                let part = part.split(';').next().unwrap_or_default().trim();
                part == media_type || part == "*/*" || part == format!("{kind}/*")
            })
        })
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The answer to a request before any damage: the body apart, so that half of it can be sent.
pub(super) struct Outcome {
    pub(super) response: Response<Body>,
    pub(super) body: Bytes,
    /// The order that this answer makes known.
    pub(super) submitted: Option<String>,
}

impl Outcome {
    pub(super) fn json(value: &Value) -> Self {
        let body = Bytes::from(value.to_string());
        let response = answer::with_body(StatusCode::OK, JSON, body.clone());
        Self { response, body, submitted: None }
    }

    pub(super) fn text(text: String) -> Self {
        let body = Bytes::from(text);
        let response = answer::with_body(StatusCode::OK, TEXT_PLAIN, body.clone());
        Self { response, body, submitted: None }
    }

    pub(super) fn nothing() -> Self {
        let response = answer::empty(StatusCode::NO_CONTENT);
        Self { response, body: Bytes::new(), submitted: None }
    }
}
