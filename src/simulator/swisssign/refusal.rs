//! Why a call fails, and the APIError that says so.
//!
//! The specification gives codes and names and leaves open which HTTP status goes with which;
//! here it is 400 unless an operation declares a better one.

use axum::body::Body;
use http::header::ALLOW;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::simulator::answer;
use crate::simulator::id;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The numbered errors that the site comes to by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Authentication,
    AccessDenied,
    Runtime,
    Validation,
    Jwt,
    NullValue,
    InvalidSerialNumber,
    InvalidClient,
    CertificateExpired,
    AlreadyRevoked,
    InvalidProductMapping,
    CertificateIsCa,
    FailedParsingDn,
    InvalidIssuerName,
    FailedValidatingRequest,
    FailedParsingCsr,
    InvalidProductType,
    ProductApiDisabled,
    ProductRetired,
    ProductExpired,
}

impl Code {
    /// Module, section and error, in angle brackets, as the examples show them.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Authentication => "<009.353.0223>",
            Self::AccessDenied => "<011.352.0224>",
            Self::Runtime => "<011.354.0225>",
            Self::Validation => "<011.351.0226>",
            Self::Jwt => "<009.250.0228>",
            Self::NullValue => "<011.350.0229>",
            Self::InvalidSerialNumber => "<011.350.0230>",
            Self::InvalidClient => "<011.350.0231>",
            Self::CertificateExpired => "<011.350.0232>",
            Self::AlreadyRevoked => "<011.350.0233>",
            Self::InvalidProductMapping => "<011.350.0234>",
            Self::CertificateIsCa => "<011.350.0235>",
            Self::FailedParsingDn => "<011.350.0237>",
            Self::InvalidIssuerName => "<011.350.0238>",
            Self::FailedValidatingRequest => "<011.350.0240>",
            Self::FailedParsingCsr => "<011.350.0241>",
            Self::InvalidProductType => "<011.350.0244>",
            Self::ProductApiDisabled => "<011.350.0245>",
            Self::ProductRetired => "<011.350.0246>",
            Self::ProductExpired => "<011.350.0247>",
        }
    }
}

/// A call that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An APIError.
    Api { status: u16, code: Code, message: String },
    /// A bare status: what the web server says before the API is reached.
    Bare(StatusCode),
    /// Another verb than POST.
    WrongVerb,
}

impl Refusal {
    /// 400 with this code.
    pub(super) fn bad(code: Code, message: impl Into<String>) -> Self {
        Self::Api { status: 400, code, message: message.into() }
    }

    /// This status with this code.
    pub(super) fn with(status: u16, code: Code, message: impl Into<String>) -> Self {
        Self::Api { status, code, message: message.into() }
    }

    /// What the cryptographic library never does.
    pub(super) fn uncaught() -> Self {
        Self::with(500, Code::Runtime, "Unexpected error")
    }

    /// The response.
    pub(super) fn answer(&self) -> Response<Body> {
        match self {
            Self::Api { status, code, message } => {
                api_error(*status, code.text(), std::slice::from_ref(message))
            }
            Self::Bare(status) => answer::empty(*status),
            Self::WrongVerb => {
                answer::with_header(answer::empty(StatusCode::METHOD_NOT_ALLOWED), ALLOW, "POST")
            }
        }
    }
}

/// An APIError; its `uuid` is bare.
pub(super) fn api_error(status: u16, code: &str, messages: &[String]) -> Response<Body> {
    let uuid = id::random("").unwrap_or_default();
    let body = json!({ "uuid": uuid, "errorCode": code, "errorMessages": messages });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer::with_body(status, JSON, body.to_string())
}
