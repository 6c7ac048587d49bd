//! What the thin rows share: a request, an answer, and what each answer means; and the other side, with
//! what the rules have to see of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chancery::ca::{CertificateAuthority, Claim, Order, Permit, Submitted};
use chancery::outside::credentials::Credentials;
use chancery::outside::transport::{Call, Transport, retry_after};
use chancery::outside::{Disposition, Error, remote_text};
use chancery::pki::{Certificate, csr, parse_pem};
use chancery::reason::Reason;
use http::{HeaderValue, Request, Response};
use serde_json::Value;

use crate::authority::{Bend, root};
use crate::rules::Row;
use crate::wire::{Peer, Played, Trouble, Wire};

/// The way to the other side, with what is shown there.
pub(crate) struct Way {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) credentials: Credentials,
}

/// Why there is no good answer.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) error: Error,
    /// The other side may have acted.
    pub(crate) is_unknown: bool,
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        problem.error
    }
}

impl From<Problem> for Submitted {
    fn from(problem: Problem) -> Self {
        if problem.is_unknown { Self::Unknown(problem.error) } else { Self::Refused(problem.error) }
    }
}

impl Way {
    /// The JSON of the answer. What makes something takes a connection of its own.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: Vec<(&'static str, HeaderValue)>,
        body: String,
        makes: bool,
    ) -> Result<Value, Problem> {
        let mut request =
            Request::builder().method(method).uri(format!("https://ca.example{path}"));
        for (name, value) in self.authorization().into_iter().chain(headers) {
            request = request.header(name, value);
        }
        let call = Call {
            request: request.body(Bytes::from(body)).unwrap(),
            deadline: Duration::from_secs(30),
            body_limit: 100_000,
            fresh_connection: makes,
        };
        let response = self.transport.send(call).await.map_err(|failure| Problem {
            error: failure.told("ca.example", path),
            is_unknown: failure.is_unknown(),
        })?;
        self.read(&response)
    }

    fn authorization(&self) -> Option<(&'static str, HeaderValue)> {
        match &self.credentials {
            Credentials::ApiKey(key) => Some(("x-api-key", key.header().unwrap())),
            Credentials::Basic(basic) => Some(("authorization", basic.header().unwrap())),
            Credentials::Bearer(token) => Some(("authorization", token.bearer().unwrap())),
            Credentials::ClientCertificate(_) | Credentials::ClientCredentials(_) => None,
        }
    }

    fn read(&self, response: &Response<Bytes>) -> Result<Value, Problem> {
        let after = retry_after(response.headers());
        let status = response.status().as_u16();
        let (disposition, reason, is_unknown) = match status {
            200 => match serde_json::from_slice(response.body()) {
                Ok(value) => return Ok(value),
                Err(_) => (Disposition::Internal, Reason::UnexpectedAnswer, true),
            },
            201..=299 => (Disposition::Internal, Reason::UnexpectedAnswer, true),
            300..=399 => (Disposition::BlameIssuer, Reason::Redirected, true),
            401 | 403 => (Disposition::BlameCredentials, Reason::CredentialsRefused, false),
            429 => (Disposition::Retry { after }, Reason::TooManyRequests, false),
            404 => (Disposition::BlameIssuer, Reason::AddressUnknown, false),
            400..=499 => (Disposition::Reject, Reason::Refused, false),
            _ => (Disposition::Retry { after }, Reason::ServerError, true),
        };
        let words = remote_text::excerpt(response.body(), |text| self.credentials.scrub(text));
        let message = format!("ca.example answered {status} ({})", words.unwrap_or_default());
        Err(Problem { error: Error { disposition, reason, message }, is_unknown })
    }
}

/// Nothing was sent, for this is a fault of ours.
pub(crate) fn unusable(why: &str) -> Submitted {
    Submitted::Refused(Error {
        disposition: Disposition::Internal,
        reason: Reason::OrderUnusable,
        message: format!("the order {why}"),
    })
}

/// Whether the permit is a claim on this order.
pub(crate) fn is_claimed(order: &Order<'_>, permit: &Permit) -> bool {
    let is_ours = |claim: &Claim| claim.reference() == order.reference;
    matches!(permit, Permit::Claimed(claim) if is_ours(claim))
}

pub(crate) fn csr_pem(order: &Order<'_>) -> String {
    csr::to_pem(order.csr_der)
}

pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The certificates in a list of PEM texts.
pub(crate) fn certificates(list: &Value) -> Vec<Certificate> {
    let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.flat_map(|pem| parse_pem(pem.as_bytes()).unwrap_or_default()).collect()
}

/// Credentials as they are read from a Secret.
pub(crate) fn credentials(
    kind: chancery::outside::credentials::Kind,
    entries: &[(&str, &str)],
) -> Credentials {
    let entry = |key: &str| {
        entries.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_bytes())
    };
    kind.read("shop/ca", entry).unwrap()
}

/// The other side of a thin client.
pub(crate) trait Side: Peer + Default + 'static {
    /// How it refuses for good.
    const REFUSAL: (u16, &'static str);
    fn is_submit(request: &Request<Bytes>) -> bool;
    fn client(wire: &Arc<Wire>) -> Arc<dyn CertificateAuthority>;
    fn made(&self) -> usize;
    fn finish(&self) {}
    fn bend(&self, bend: Bend);
    fn secrets() -> Vec<String>;
    fn withdrawn(&self) -> Option<Vec<String>> {
        None
    }
    fn revoked(&self) -> Option<Vec<String>> {
        None
    }
}

/// A thin row.
pub(crate) struct Thin<S> {
    side: Arc<S>,
    wire: Arc<Wire>,
}

impl<S: Side> Row for Thin<S> {
    fn start() -> Self {
        let side = Arc::new(S::default());
        let far = Arc::new(Played(Arc::clone(&side)));
        let (status, body) = S::REFUSAL;
        let wire = Wire::new(far, S::is_submit, (status, body.to_owned()), S::secrets());
        Self { side, wire }
    }

    fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    fn open(&self) -> Arc<dyn CertificateAuthority> {
        S::client(&self.wire)
    }

    fn made(&self) -> usize {
        self.side.made()
    }

    fn finish(&self) {
        self.side.finish();
    }

    fn bend(&self, bend: Bend) {
        self.side.bend(bend);
    }

    fn withdrawn(&self) -> Option<Vec<String>> {
        self.side.withdrawn()
    }

    fn revoked(&self) -> Option<Vec<String>> {
        self.side.revoked()
    }

    fn anchors(&self) -> Vec<Certificate> {
        vec![root().certificate.clone()]
    }

    fn secrets() -> Vec<String> {
        S::secrets()
    }

    fn proves_refusal(trouble: Trouble) -> bool {
        trouble != Trouble::Redirect
    }
}
