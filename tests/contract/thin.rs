//! What the thin rows share: a request, an answer, and what each answer means; and the other side, with
//! what the rules have to see of it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chancery::ca::kind::{AccountSettings, Opening};
use chancery::ca::tenant::Tenant;
use chancery::ca::{CertificateAuthority, Claim, Order, Permit, Submitted};
use chancery::outside::credentials::{
    ClientCertificate, ClientCredentials, Credentials, Kind, Token,
};
use chancery::outside::opt_in::host_and_port;
use chancery::outside::pause::retry_after;
use chancery::outside::transport::{Call, Transport};
use chancery::outside::{Disposition, Error, remote_text};
use chancery::pki::{Certificate, csr, parse_pem};
use chancery::reason::Reason;
use http::{HeaderValue, Request, Response};
use serde_json::Value;

use crate::authority::{Bend, root};
use crate::rules::Row;
use crate::wire::{Peer, Played, Trouble, Wire};

const URL: &str = "https://ca.example";

/// The way to the other side, with what is shown there.
pub(crate) struct Way {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) credentials: Credentials,
    pub(crate) deadline: Duration,
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
        let token = match &self.credentials {
            Credentials::ClientCredentials(client) => Some(self.token(client).await?),
            Credentials::ApiKey(_)
            | Credentials::Basic(_)
            | Credentials::Bearer(_)
            | Credentials::ClientCertificate(_) => None,
        };
        let shown = match (&self.credentials, &token) {
            (Credentials::ApiKey(key), _) => Some(("x-api-key", key.header().unwrap())),
            (Credentials::Basic(basic), _) => Some(("authorization", basic.header().unwrap())),
            (Credentials::Bearer(token), _) | (Credentials::ClientCredentials(_), Some(token)) => {
                Some(("authorization", token.bearer().unwrap()))
            }
            (Credentials::ClientCertificate(_) | Credentials::ClientCredentials(_), _) => None,
        };
        let mut request = Request::builder().method(method).uri(format!("{URL}{path}"));
        for (name, value) in shown.into_iter().chain(headers) {
            request = request.header(name, value);
        }
        let request = request.body(Bytes::from(body)).unwrap();
        self.send(request, makes, token.as_ref()).await
    }

    /// A token, of which nothing is kept. Without one nothing was ordered.
    async fn token(&self, client: &ClientCredentials) -> Result<Token, Problem> {
        let known = |error| Problem { error, is_unknown: false };
        let form = Bytes::from(client.form().to_string());
        let request = Request::post(format!("{URL}/token")).body(form).unwrap();
        let given = self.send(request, false, None).await;
        let given = given.map_err(|problem| known(problem.error))?;
        let token = given["access_token"].as_str().and_then(|text| Token::new(text.into()).ok());
        token.ok_or_else(|| {
            known(Error {
                disposition: Disposition::Internal,
                reason: Reason::NoToken,
                message: "ca.example gave no token".to_owned(),
            })
        })
    }

    async fn send(
        &self,
        request: Request<Bytes>,
        makes: bool,
        token: Option<&Token>,
    ) -> Result<Value, Problem> {
        let path = request.uri().path().to_owned();
        let call =
            Call { request, deadline: self.deadline, body_limit: 100_000, fresh_connection: makes };
        let response = self.transport.send(call).await.map_err(|failure| Problem {
            error: failure.told("ca.example", &path),
            is_unknown: failure.is_unknown(),
        })?;
        self.read(&response, token)
    }

    fn read(&self, response: &Response<Bytes>, token: Option<&Token>) -> Result<Value, Problem> {
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
        let words = remote_text::excerpt(response.body(), |text| {
            let text = self.credentials.scrub(text);
            token.map_or_else(|| text.clone(), |token| token.scrub(&text))
        });
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
pub(crate) fn credentials(kind: Kind, entries: &[(&str, &str)]) -> Credentials {
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
    /// What its credentials are.
    const CREDENTIALS: Kind;
    /// Whether its orders are recorded.
    const HAS_RECORDS: bool;
    /// The data of their Secret.
    fn secret() -> Vec<(&'static str, String)>;
    fn client(way: Way) -> Arc<dyn CertificateAuthority>;
    /// The way in, for who shows this.
    fn connect(wire: &Arc<Wire>, identity: Option<&ClientCertificate>) -> Arc<dyn Transport> {
        let _ = identity;
        wire.clone()
    }
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

/// The account at the other side, as an Issuer would describe it.
struct Account<S>(PhantomData<fn() -> S>);

impl<S: Side> AccountSettings for Account<S> {
    fn credentials_kind(&self) -> Kind {
        S::CREDENTIALS
    }

    fn credentials_secret(&self) -> Option<&str> {
        Some("ca")
    }

    fn hosts(&self) -> Vec<String> {
        vec![host_and_port(URL)]
    }

    /// A key or a token does not say whose it is.
    fn tenant(&self, credentials: Option<&Credentials>) -> Tenant {
        Tenant::user(URL, credentials.and_then(Credentials::name))
    }

    fn has_records(&self) -> bool {
        S::HAS_RECORDS
    }

    fn open(&self, with: Opening) -> Result<Arc<dyn CertificateAuthority>, Error> {
        let Opening { credentials, transport, deadline, .. } = with;
        let Some(credentials) = credentials else { panic!("it was opened without credentials") };
        Ok(S::client(Way { transport, credentials, deadline }))
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

    fn settings(&self) -> Box<dyn AccountSettings> {
        Box::new(Account::<S>(PhantomData))
    }

    fn secret() -> Vec<(&'static str, String)> {
        S::secret()
    }

    fn connect(&self, identity: Option<&ClientCertificate>) -> Arc<dyn Transport> {
        S::connect(&self.wire, identity)
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
