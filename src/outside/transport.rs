//! The one way out: every client of an outside system sends its requests through a [`Transport`].
//!
//! Owns body caps, deadlines, TLS roots and the difference between "was not sent" and "nobody
//! knows". The only module that knows reqwest, and the seam where a simulator plugs in without
//! sockets.
//!
//! # Guarantees
//! - One call is at most one request on the wire: no redirect is followed, nothing is repeated.
//! - [`Failure::NotSent`] means that no byte of the request left: the peer cannot have acted on it.
//! - The answer's body is no longer than the cap of the request, and there within its deadline.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use crate::pki::Certificate;

/// A request with the bounds of its answer.
pub struct Call {
    /// Method, absolute URL, headers and body.
    pub request: http::Request<Bytes>,
    /// Time from the first attempt to connect to the last byte of the answer.
    pub deadline: Duration,
    /// Longest body accepted, in bytes.
    pub body_limit: usize,
    /// Send it on a connection that nothing was sent on before, for what must not happen twice: on
    /// a kept connection that the server ends at the same moment, nobody knows what arrived.
    pub fresh_connection: bool,
}

/// Without the body, which may hold an API key.
impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("method", self.request.method())
            .field("uri", self.request.uri())
            .field("headers", self.request.headers())
            .field("body_bytes", &self.request.body().len())
            .field("deadline", &self.deadline)
            .field("body_limit", &self.body_limit)
            .field("fresh_connection", &self.fresh_connection)
            .finish()
    }
}

/// Sends one request.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The whole answer, or why there is none.
    async fn send(&self, call: Call) -> Result<http::Response<Bytes>, Failure>;
}

/// Makes the transport of an account.
pub trait Connector: Send + Sync {
    /// A transport that trusts what `tls` says.
    fn connect(&self, tls: &TlsSettings) -> Result<Arc<dyn Transport>, Failure>;
}

/// How servers are verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TlsSettings {
    /// By the roots of the operating system.
    SystemRoots,
    /// By these certificates and no others.
    Bundle(Vec<Certificate>),
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failure {
    /// Nothing was sent: the name did not resolve, or no connection came about.
    #[error("{0}")]
    NotSent(String),
    /// Nothing was sent, because the server could not be verified or TLS could not be agreed.
    #[error("{0}")]
    Untrusted(String),
    /// Something was sent and no whole answer came back.
    #[error("{0}")]
    Unknown(String),
}

/// The real network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Network;

impl Connector for Network {
    fn connect(&self, tls: &TlsSettings) -> Result<Arc<dyn Transport>, Failure> {
        let roots = match tls {
            TlsSettings::Bundle(certificates) => certificates.clone(),
            TlsSettings::SystemRoots => {
                crate::pki::system_roots().map_err(|error| Failure::Untrusted(error.to_string()))?
            }
        };
        let roots = roots
            .iter()
            .map(|root| reqwest::Certificate::from_der(root.der()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::Untrusted(innermost(&error)))?;
        let client = |idle: usize| {
            builder(roots.clone())
                .pool_max_idle_per_host(idle)
                .build()
                .map_err(|error| Failure::Untrusted(innermost(&error)))
        };
        Ok(Arc::new(HttpClient { kept: client(usize::MAX)?, fresh: client(0)? }))
    }
}

fn builder(roots: Vec<reqwest::Certificate>) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_certs_only(roots)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("chancery/", env!("CARGO_PKG_VERSION")))
}

/// Shorter than any deadline of a call, so that a dead address is told apart from a slow CA.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

struct HttpClient {
    /// Keeps connections.
    kept: reqwest::Client,
    /// Keeps none, and finds none to use again.
    fresh: reqwest::Client,
}

#[async_trait]
impl Transport for HttpClient {
    async fn send(&self, call: Call) -> Result<http::Response<Bytes>, Failure> {
        let deadline = call.deadline;
        let client = if call.fresh_connection { &self.fresh } else { &self.kept };
        let request = reqwest::Request::try_from(call.request)
            .map_err(|error| Failure::NotSent(innermost(&error)))?;
        // The time-out lies around the whole exchange: one of the connection's own phases that
        // never ends would otherwise escape it.
        match tokio::time::timeout(deadline, exchange(client, request, call.body_limit)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => {
                Err(Failure::Unknown(format!("no whole answer within {} s", deadline.as_secs())))
            }
        }
    }
}

async fn exchange(
    client: &reqwest::Client,
    request: reqwest::Request,
    body_limit: usize,
) -> Result<http::Response<Bytes>, Failure> {
    let mut response = client.execute(request).await.map_err(|error| failure(&error))?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Failure::Unknown(format!("the answer broke off: {}", innermost(&error))))?
    {
        if body.len() + chunk.len() > body_limit {
            return Err(Failure::Unknown(format!("the answer is longer than {body_limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    let mut whole = http::Response::new(body.freeze());
    *whole.status_mut() = response.status();
    *whole.headers_mut() = std::mem::take(response.headers_mut());
    Ok(whole)
}

/// What happened before there was a connection sent nothing; everything later may have.
fn failure(error: &reqwest::Error) -> Failure {
    let tls = tls_error(error);
    if !error.is_connect() && !error.is_builder() {
        // Alerts about our own certificate arrive after the request was written.
        return Failure::Unknown(match tls {
            Some(rustls::Error::AlertReceived(alert)) => {
                format!("the server ended TLS with {alert:?}")
            }
            Some(other) => brief(&format!("TLS broke: {other}")),
            None => innermost(error),
        });
    }
    match tls {
        Some(rustls::Error::InvalidCertificate(reason)) => Failure::Untrusted(format!(
            "the server's certificate was not accepted: {}",
            certificate_fault(reason)
        )),
        Some(other) => Failure::Untrusted(brief(&format!("TLS failed: {other}"))),
        None => Failure::NotSent(innermost(error)),
    }
}

/// What is wrong with the server's certificate, and what mends it.
#[expect(clippy::wildcard_enum_match_arm, reason = "the errors of rustls are open-ended")]
fn certificate_fault(reason: &rustls::CertificateError) -> String {
    use rustls::CertificateError::{
        BadSignature, ExpiredContext, NotValidForNameContext, NotValidYetContext, UnknownIssuer,
    };
    match reason {
        UnknownIssuer | BadSignature => format!(
            "it does not end at a trusted root ({reason:?}); put the CA's TLS root into spec.tls.caBundle of the issuer"
        ),
        ExpiredContext { not_after, .. } => format!(
            "it expired at {}; the operator of the server has to renew it",
            spoken(*not_after)
        ),
        NotValidYetContext { not_before, .. } => {
            format!("it becomes valid only at {}; compare the clocks", spoken(*not_before))
        }
        NotValidForNameContext { expected, presented } => format!(
            "it is not for {}, but for {}; check the addresses in the issuer",
            expected.to_str(),
            brief(&presented.join(", "))
        ),
        other => brief(&other.to_string()),
    }
}

fn spoken(time: rustls_pki_types::UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "a time far away".to_owned(), |time| time.to_string())
}

/// Such texts may hold what the server sent, names without end among it.
fn brief(text: &str) -> String {
    const LIMIT: usize = 300;
    let mut brief: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LIMIT).collect();
    if text.chars().nth(LIMIT).is_some() {
        brief.push('…');
    }
    brief
}

/// rustls wraps its errors into I/O errors, which hide them from `source`.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The cause at the bottom says what happened; the layers above repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    let mut source = error.source();
    while let Some(cause) = source {
        innermost = cause;
        source = cause.source();
    }
    brief(&innermost.to_string())
}
