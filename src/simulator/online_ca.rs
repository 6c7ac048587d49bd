//! The online CA: the Contrail service 0.4.0 and its Django successor, as one site or many.
//!
//! It decides what a site answers: who is let in, which subject a certificate gets, what the
//! certificate says and which fault spoils the answer. It goes by what the services
//! themselves do, ContrailOnlineCAService 0.4.0 and cedadev/django-onlineca. It must not share code
//! with the operator's client for the same protocol.
//!
//! A request passes these steps, and every fault belongs to one of them:
//!
//! 1. The body is read, up to a limit.
//! 2. `delay` waits; then `status`, `htmlBody`, `hugeBody`, `repeatedBody`, `redirect`, `hang` and
//!    `dropBeforeCommit` end it.
//! 3. `admit` decides, without touching anything, whether the request deserves a certificate.
//! 4. A certificate is issued and recorded, perhaps the wrong one. From here on it exists.
//! 5. `delay` with `afterCommit` waits; `dropAfterCommit`, `truncatedBody` and `emptyBody` damage
//!    the answer.
//!
//! *Caveats.* As in a real WSGI server a request that has begun is carried out even if its client
//! has gone away. Authentication comes before the verb is looked at, since both services stack it
//! in front: GET without credentials is 401, not 405.

mod refusal;
mod register;
mod request;
mod settings;
mod subject;
mod trust_roots;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::any;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::settings::{Chain, Flavour, Manifest, SiteSettings, TrustRoots};

use self::refusal::Refusal;
use self::request::{Credentials, Csr, Field, NoCsr};
use crate::simulator::answer::{self, TEXT_PLAIN};
use crate::simulator::authority::{
    self, CertificateAuthority, DAY, Error, Key, KeyAlgorithm, Template, shifted,
};
use crate::simulator::faults::{Fault, Impossible, Kind, Moment, Queue};
use crate::simulator::name::Name;
use crate::simulator::requests::{Counter, Requests};
use crate::simulator::{BODY_LIMIT, Disconnect, PeerCertificate, Shared, Simulator, lock};

/// The two operations of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// `POST certificate/`.
    Certificate,
    /// `GET trustroots/`.
    TrustRoots,
}

impl Operation {
    /// The operation as faults and counts name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::TrustRoots => "trustroots",
        }
    }

    /// Trailing slashes count: the real service compares the whole path.
    fn from_path(path: &str) -> Option<Self> {
        match path {
            "certificate/" => Some(Self::Certificate),
            "trustroots/" => Some(Self::TrustRoots),
            _ => None,
        }
    }

    /// How a right answer begins, for bodies that are never one.
    fn opening(self) -> &'static str {
        match self {
            Self::Certificate => "-----BEGIN CERTIFICATE-----\n",
            Self::TrustRoots => "00000000.0=",
        }
    }
}

/// Whether an issued certificate reached its client as far as the simulator can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// A whole answer was handed to the connection.
    Delivered,
    /// The answer was dropped or damaged, or the client had gone away.
    Dropped,
}

/// A certificate the site has issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issued {
    /// The authenticated user.
    pub username: String,
    /// The subject in slash form.
    pub subject: String,
    /// The serial number; it begins at 0 again after each restart.
    pub serial: u64,
    /// SHA-256 of the certificate, lower case hexadecimal.
    pub fingerprint_sha256: String,
    /// SHA-256 of its SubjectPublicKeyInfo, lower case hexadecimal.
    pub spki_sha256: String,
    /// When its validity begins.
    pub not_before: Timestamp,
    /// When its validity ends.
    pub not_after: Timestamp,
    /// Whether the answer was delivered.
    pub delivery: Delivery,
}

/// The certificates of the authorities behind a site, as PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issuers {
    /// The self-signed root.
    pub root_pem: String,
    /// The authority that issues.
    pub intermediate_pem: String,
    /// The authority of the `unrelatedChain` fault and the `unrelated` chain.
    pub unrelated_pem: String,
}

/// The authorities of one site.
#[derive(Debug)]
struct Authorities {
    algorithm: KeyAlgorithm,
    root: CertificateAuthority,
    intermediate: CertificateAuthority,
    unrelated: CertificateAuthority,
    expired: CertificateAuthority,
}

impl Authorities {
    /// Three keys: the unrelated and the expired authority never issue anything that could be mixed
    /// up.
    fn generate(site: &str, algorithm: KeyAlgorithm, shared: &Shared) -> Result<Self, Error> {
        let [root_key, intermediate_key, other_key] = shared.keys.take(algorithm)?;
        let now = shared.now();
        let year = |years: i32| shifted(now, DAY * (365 * years));
        let named = |kind: &str| Name::authority("Online CA", &format!("{site} {kind}"));
        let root = CertificateAuthority::root(root_key, named("Root CA")?, (year(-1), year(60)))?;
        let intermediate =
            root.subordinate(intermediate_key, named("Issuing CA")?, (year(-1), year(50)))?;
        let unrelated = CertificateAuthority::root(
            Arc::clone(&other_key),
            named("Unrelated CA")?,
            (year(-1), year(60)),
        )?;
        let expired =
            CertificateAuthority::root(other_key, named("Expired CA")?, (year(-11), year(-1)))?;
        Ok(Self { algorithm, root, intermediate, unrelated, expired })
    }
}

/// What the service keeps in memory about what it issued.
#[derive(Debug, Default)]
struct Ledger {
    next_serial: u64,
    issued: Vec<Issued>,
}

/// One site: a handle that can be cloned, for the management API and for tests in the same process.
#[derive(Clone, Debug)]
pub struct Site(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    shared: Arc<Shared>,
    settings: Mutex<SiteSettings>,
    authorities: Mutex<Option<Arc<Authorities>>>,
    ledger: Mutex<Ledger>,
    faults: Queue<Operation>,
    requests: Counter,
}

/// The handle is the interface of the management API (the real service has none).
impl Site {
    pub(crate) fn new(name: &str, shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            shared,
            settings: Mutex::default(),
            authorities: Mutex::default(),
            ledger: Mutex::default(),
            faults: Queue::default(),
            requests: Counter::default(),
        }))
    }

    /// The site's name, which is also the segment of its path.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Replaces the settings. Authorities stay the same unless the key algorithm changes.
    pub fn configure(&self, settings: SiteSettings) {
        *lock(&self.0.settings) = settings;
    }

    /// The settings in force.
    pub fn settings(&self) -> SiteSettings {
        lock(&self.0.settings).clone()
    }

    /// The certificates of the site's authorities, which come into being here at the latest. With
    /// RSA that takes a moment of computing: asynchronous callers want
    /// [`tokio::task::spawn_blocking`].
    ///
    /// # Errors
    /// Only if the cryptographic library fails.
    pub fn issuers(&self) -> Result<Issuers, Error> {
        let authorities = self.authorities(self.settings().key_algorithm)?;
        Ok(Issuers {
            root_pem: authorities.root.pem(),
            intermediate_pem: authorities.intermediate.pem(),
            unrelated_pem: authorities.unrelated.pem(),
        })
    }

    /// Adds a fault behind those that wait already.
    ///
    /// # Errors
    /// If the operation cannot go wrong in this way.
    pub fn inject(&self, fault: Fault<Operation>) -> Result<(), Impossible> {
        if fault.operation == Operation::TrustRoots && fault.kind.moment() == Moment::Issuing {
            return Err(Impossible("trustroots issues no certificate"));
        }
        if matches!(fault.kind, Kind::ApiError { .. }) {
            return Err(Impossible("the online CA has no error codes"));
        }
        self.0.faults.inject(fault)
    }

    /// Forgets all faults. Requests that hang already go on hanging.
    pub fn clear_faults(&self) {
        self.0.faults.clear();
    }

    /// The faults that are still to come.
    pub fn faults(&self) -> Vec<Fault<Operation>> {
        self.0.faults.pending()
    }

    /// Every certificate issued so far, in order.
    pub fn issued(&self) -> Vec<Issued> {
        lock(&self.0.ledger).issued.clone()
    }

    /// The requests so far.
    pub fn requests(&self) -> Requests {
        self.0.requests.snapshot()
    }

    /// What a restart of the service does: serial numbers begin at 0 again. The record of
    /// what was issued stays, since it is the simulator's and not the service's.
    pub fn restart(&self) {
        lock(&self.0.ledger).next_serial = 0;
    }

    fn authorities(&self, algorithm: KeyAlgorithm) -> Result<Arc<Authorities>, Error> {
        let mut slot = lock(&self.0.authorities);
        match slot.as_ref() {
            Some(known) if known.algorithm == algorithm => Ok(Arc::clone(known)),
            Some(_) | None => {
                let made =
                    Arc::new(Authorities::generate(&self.0.name, algorithm, &self.0.shared)?);
                *slot = Some(Arc::clone(&made));
                Ok(made)
            }
        }
    }

    /// The authorities, generated on a thread that may block.
    async fn authorities_ready(&self, algorithm: KeyAlgorithm) -> Result<Arc<Authorities>, Error> {
        let ready = lock(&self.0.authorities).clone().filter(|known| known.algorithm == algorithm);
        if let Some(known) = ready {
            return Ok(known);
        }
        let site = self.clone();
        tokio::task::spawn_blocking(move || site.authorities(algorithm))
            .await
            .map_err(|_| Error::GenerateKey)?
    }
}

/// The routes of all sites: `/online-ca/<site>/certificate/` and `/online-ca/<site>/trustroots/`.
pub(crate) fn router(simulator: Simulator) -> Router {
    Router::new().route("/online-ca/{*path}", any(serve)).with_state(simulator)
}

async fn serve(State(simulator): State<Simulator>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let addressed = path.strip_prefix("/online-ca/").and_then(|path| path.split_once('/'));
    let Some((site, rest)) = addressed else {
        return Refusal::UnknownPath.answer(
            Flavour::default(),
            "",
            accept(request.headers()).as_deref(),
        );
    };
    let Ok(site) = simulator.online_ca(site) else {
        return Refusal::UnknownPath.answer(
            Flavour::default(),
            "",
            accept(request.headers()).as_deref(),
        );
    };
    site.handle(Operation::from_path(rest), request).await
}

/// A request as the service sees it.
#[derive(Clone, Debug)]
struct Call {
    method: Method,
    accept: Option<String>,
    authorization: Option<String>,
    content_type: Option<String>,
    peer: Option<PeerCertificate>,
    body: Bytes,
}

impl Call {
    async fn read(request: Request<Body>) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, BODY_LIMIT).await.map_err(|_| Refusal::TooLarge)?;
        Ok(Self {
            accept: accept(&parts.headers),
            authorization: text(&parts.headers, &AUTHORIZATION),
            content_type: text(&parts.headers, &CONTENT_TYPE),
            peer: parts.extensions.get::<PeerCertificate>().cloned(),
            method: parts.method,
            body,
        })
    }
}

fn accept(headers: &HeaderMap) -> Option<String> {
    text(headers, &ACCEPT)
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// A request that deserves a certificate.
struct Admitted {
    username: String,
    subject: Name,
    csr: Csr,
}

/// The answer to a request before any damage: the body apart, so that half of it can be sent.
struct Outcome {
    response: Response<Body>,
    body: Bytes,
    /// Where in the ledger the certificate of this answer stands.
    issued: Option<usize>,
}

impl Outcome {
    fn refused(response: Response<Body>) -> Self {
        Self { response, body: Bytes::new(), issued: None }
    }

    fn text(body: String, issued: Option<usize>) -> Self {
        let body = Bytes::from(body);
        Self { response: answer::with_body(StatusCode::OK, TEXT_PLAIN, body.clone()), body, issued }
    }
}

impl Site {
    /// Counts the request, keeps it hanging if it must hang, and notes whether its certificate was
    /// delivered.
    async fn handle(&self, operation: Option<Operation>, request: Request<Body>) -> Response<Body> {
        let in_flight = self.0.requests.begin(operation.map_or("other", Operation::label));
        let is_head = request.method() == Method::HEAD;
        let accept = accept(request.headers());
        let response = match (operation, Call::read(request).await) {
            (Some(operation), Ok(call)) => self.answer(operation, call).await,
            (None, Ok(_)) => self.refuse(&Refusal::UnknownPath, accept.as_deref()),
            (_, Err(refusal)) => self.refuse(&refusal, accept.as_deref()),
        };
        in_flight.finish(match response.extensions().get::<Disconnect>() {
            Some(Disconnect) => "disconnected".to_owned(),
            None => response.status().as_u16().to_string(),
        });
        if is_head { answer::without_body(response) } else { response }
    }

    async fn answer(&self, operation: Operation, call: Call) -> Response<Body> {
        let delay = self.0.faults.take(operation, Moment::DelayBefore);
        let instead = self.0.faults.take(operation, Moment::Instead);
        if instead == Some(Kind::Hang) {
            wait(delay).await;
            return std::future::pending().await;
        }
        let site = self.clone();
        // In a task of its own: the client may go away, the service goes on.
        let work = tokio::spawn(async move {
            wait(delay).await;
            match instead {
                Some(kind) => (answer::instead(kind, operation.opening()), None),
                None => site.carry_out(operation, &call).await,
            }
        });
        let Ok((response, delivered)) = work.await else {
            return self.refuse(&Refusal::Uncaught, None);
        };
        if let Some(index) = delivered {
            self.mark_delivered(index);
        }
        response
    }

    /// Steps 3 to 5 of the module's list; the index of the certificate comes along if the answer is
    /// whole.
    async fn carry_out(
        &self,
        operation: Operation,
        call: &Call,
    ) -> (Response<Body>, Option<usize>) {
        let outcome = match operation {
            Operation::Certificate => self.certificate(call).await,
            Operation::TrustRoots => self.trust_roots(call).await,
        };
        let outcome = outcome.unwrap_or_else(|refusal| {
            Outcome::refused(self.refuse(&refusal, call.accept.as_deref()))
        });
        if !outcome.response.status().is_success() {
            return (outcome.response, None);
        }
        wait(self.0.faults.take(operation, Moment::DelayAfter)).await;
        match self.0.faults.take(operation, Moment::Answering) {
            None => (outcome.response, outcome.issued),
            Some(Kind::TruncatedBody) => (answer::truncated(outcome.response, &outcome.body), None),
            Some(Kind::EmptyBody) => (answer::without_body(outcome.response), None),
            Some(_) => (answer::disconnect(), None),
        }
    }

    fn mark_delivered(&self, index: usize) {
        if let Some(issued) = lock(&self.0.ledger).issued.get_mut(index) {
            issued.delivery = Delivery::Delivered;
        }
    }

    fn refuse(&self, refusal: &Refusal, accept: Option<&str>) -> Response<Body> {
        let settings = self.settings();
        refusal.answer(settings.flavour, &settings.realm, accept)
    }

    async fn certificate(&self, call: &Call) -> Result<Outcome, Refusal> {
        let settings = self.settings();
        let now = self.0.shared.now();
        let admitted = admit(&settings, call, now)?;
        let authorities =
            self.authorities_ready(settings.key_algorithm).await.map_err(|_| Refusal::Uncaught)?;
        let fault = self.0.faults.take(Operation::Certificate, Moment::Issuing);
        let (certificate_pem, index) = self
            .issue(&settings, &authorities, &admitted, fault.as_ref(), now)
            .map_err(|_| Refusal::Uncaught)?;
        let body = match fault {
            Some(Kind::UnrelatedChain) => certificate_pem + &authorities.unrelated.pem(),
            Some(Kind::WrongChainOrder) => authorities.intermediate.pem() + &certificate_pem,
            Some(_) | None => certificate_pem + &chain_text(&settings, &authorities),
        };
        Ok(Outcome::text(body, Some(index)))
    }

    /// Issues the certificate and records it; the index is its place in the ledger.
    fn issue(
        &self,
        settings: &SiteSettings,
        authorities: &Authorities,
        admitted: &Admitted,
        fault: Option<&Kind>,
        now: Timestamp,
    ) -> Result<(String, usize), Error> {
        let (issuer, signer): (&Name, &Key) = match fault {
            Some(Kind::UnrelatedChain) => (&authorities.unrelated.name, &authorities.unrelated.key),
            Some(Kind::ForgedSignature) => {
                (&authorities.intermediate.name, &authorities.unrelated.key)
            }
            Some(_) | None => (&authorities.intermediate.name, &authorities.intermediate.key),
        };
        let spki_der = match fault {
            Some(Kind::WrongKey) => authorities.unrelated.key.spki_der()?,
            Some(_) | None => admitted.csr.spki_der.clone(),
        };
        let (not_before, not_after) = validity(settings.lifetime_seconds, fault, now);
        let mut ledger = lock(&self.0.ledger);
        let serial = ledger.next_serial;
        let template = Template {
            serial: &serial.to_be_bytes(),
            issuer,
            subject: &admitted.subject,
            not_before,
            not_after,
            spki_der: &spki_der,
            extensions: &[authority::not_an_authority()],
        };
        let der = authority::certificate(&template, signer)?;
        ledger.next_serial += 1;
        ledger.issued.push(Issued {
            username: admitted.username.clone(),
            subject: admitted.subject.slash_form(),
            serial,
            fingerprint_sha256: authority::sha256_hex(&der),
            spki_sha256: authority::sha256_hex(&spki_der),
            not_before,
            not_after,
            delivery: Delivery::Dropped,
        });
        Ok((authority::pem("CERTIFICATE", &der), ledger.issued.len() - 1))
    }

    async fn trust_roots(&self, call: &Call) -> Result<Outcome, Refusal> {
        let settings = self.settings();
        let allow = match (settings.flavour, &call.method) {
            (_, &Method::GET) | (Flavour::Django, &Method::HEAD) => None,
            (Flavour::Contrail, _) => Some("GET"),
            (Flavour::Django, _) => Some("GET, HEAD"),
        };
        if let Some(allow) = allow {
            return Err(Refusal::WrongVerb { verb: call.method.to_string(), allow });
        }
        let authorities =
            self.authorities_ready(settings.key_algorithm).await.map_err(|_| Refusal::Uncaught)?;
        let tls_root = self.0.shared.tls_root().map_err(|_| Refusal::Uncaught)?;
        let wanted = &settings.trust_roots;
        let candidates = [
            (wanted.root, &authorities.root),
            (wanted.intermediate, &authorities.intermediate),
            (wanted.expired, &authorities.expired),
            (wanted.tls_root, &*tls_root),
        ];
        let chosen: Vec<&CertificateAuthority> = candidates
            .iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, authority)| *authority)
            .collect();
        let leaked_key_der = match wanted.leaked_key {
            true => Some(authorities.intermediate.key.pkcs8_der().map_err(|_| Refusal::Uncaught)?),
            false => None,
        };
        let files = trust_roots::files(wanted, &chosen, leaked_key_der.as_deref());
        Ok(Outcome::text(trust_roots::serialise(files, wanted.manifest), None))
    }
}

/// Decides, purely, whether a call deserves a certificate.
fn admit(settings: &SiteSettings, call: &Call, now: Timestamp) -> Result<Admitted, Refusal> {
    let username = authenticate(settings, call, now)?;
    if call.method != Method::POST {
        return Err(Refusal::WrongVerb { verb: call.method.to_string(), allow: "POST" });
    }
    let text = match (request::field(call.content_type.as_deref(), &call.body), settings.flavour) {
        (Field::Text(text), Flavour::Django) if text.is_empty() => {
            return Err(Refusal::MissingField);
        }
        (Field::Text(text), _) => text,
        (Field::File, Flavour::Contrail) => return Err(Refusal::Uncaught),
        (Field::Missing, _) | (Field::File, Flavour::Django) => return Err(Refusal::MissingField),
    };
    let csr = request::csr(&text).map_err(|problem| match problem {
        NoCsr::BadBase64 => Refusal::BadBase64,
        NoCsr::SomethingElse => Refusal::NotACsr,
    })?;
    let subject = subject::subject(settings.flavour, settings.template(), &username)
        .map_err(|_| Refusal::Uncaught)?;
    match request::key_bits(&csr.spki_der) {
        Some(bits) if bits >= settings.min_key_bits => Ok(Admitted { username, subject, csr }),
        Some(_) | None => Err(Refusal::Uncaught),
    }
}

/// The user a call comes from.
fn authenticate(settings: &SiteSettings, call: &Call, now: Timestamp) -> Result<String, Refusal> {
    let credentials = request::credentials(settings.flavour, call.authorization.as_deref());
    match (settings.flavour, &settings.client_register, credentials) {
        (Flavour::Contrail, _, Credentials::Malformed) => Err(Refusal::Uncaught),
        (Flavour::Contrail, Some(register), credentials) => {
            let user = match credentials {
                Credentials::Basic(user, _) => Some(user),
                Credentials::Missing | Credentials::OtherScheme | Credentials::Malformed => None,
            };
            let certificate = call.peer.as_ref().map(|peer| peer.0.as_slice());
            let is_allowed = register::allows(register, certificate, user.as_deref(), now);
            user.filter(|_| is_allowed).ok_or(Refusal::NotRegistered)
        }
        (Flavour::Django, _, Credentials::OtherScheme) => Err(Refusal::NotAuthenticated),
        (_, _, Credentials::Missing | Credentials::OtherScheme) => Err(Refusal::MissingCredentials),
        (_, _, Credentials::Malformed) => Err(Refusal::WrongCredentials),
        (_, _, Credentials::Basic(user, password)) => match settings.users.get(&user) {
            Some(expected) if *expected == password => Ok(user),
            Some(_) | None => Err(Refusal::WrongCredentials),
        },
    }
}

/// From when to when a certificate is valid, in whole seconds and without back-dating.
fn validity(lifetime_seconds: u32, fault: Option<&Kind>, now: Timestamp) -> (Timestamp, Timestamp) {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let lifetime = SignedDuration::from_secs(i64::from(lifetime_seconds));
    let not_before = match fault {
        Some(Kind::Expired) => shifted(now, -lifetime - SignedDuration::from_mins(1)),
        Some(Kind::NotYetValid { seconds }) => {
            shifted(now, SignedDuration::from_secs(i64::from(*seconds)))
        }
        Some(_) | None => now,
    };
    (not_before, shifted(not_before, lifetime))
}

/// The configured chain; Contrail copies files as they are, Django encodes them anew.
fn chain_text(settings: &SiteSettings, authorities: &Authorities) -> String {
    let authority = match settings.chain {
        Chain::Intermediate => &authorities.intermediate,
        Chain::None => return String::new(),
        Chain::Unrelated => &authorities.unrelated,
    };
    let mut text = authority.pem();
    if settings.flavour == Flavour::Django {
        return text;
    }
    if settings.chain_preamble {
        text = format!(
            "subject={}\n# The authority that issues for this site.\n\n{text}",
            authority.name.slash_form()
        );
    }
    if settings.chain_without_final_newline {
        text.truncate(text.trim_end().len());
    }
    if settings.chain_crlf { text.replace('\n', "\r\n") } else { text }
}

/// Waits for as long as a delay says.
async fn wait(delay: Option<Kind>) {
    if let Some(Kind::Delay { seconds, .. }) = delay {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }
}
