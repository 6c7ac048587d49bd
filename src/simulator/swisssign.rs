//! SwissSign's registration authority: the RA REST API 3.5.0, as one site or many.
//!
//! It decides what a site answers: whose token is good, which order is accepted, how far an order
//! has come, what its certificate says and which fault spoils the answer. Its specification is the
//! facts sheet on the "SwissSign RA REST API", whose sections the comments cite. It must not share
//! code with the operator's client for the same protocol.
//!
//! A site's URL is `https://…/swisssign/<site>`; every operation is a POST below `/v2`. A request
//! passes these steps, and every fault belongs to one of them:
//!
//! 1. The body is read, up to a limit.
//! 2. `delay` waits; then `status`, `htmlBody`, `hugeBody`, `redirect`, `hang`,
//!    `dropBeforeCommit` and `apiError` end it.
//! 3. Verb, token, content type and body are looked at, in this order.
//! 4. The request is carried out. From here on an order exists, with the fault that will spoil its
//!    certificate.
//! 5. `delay` with `afterCommit` waits; `dropAfterCommit`, `truncatedBody`, `emptyBody` and
//!    `apiError` with `afterCommit` damage the answer.
//!
//! *Guarantees.* An order that was made is recorded for ever under the tags it was submitted with,
//! whatever the API says about it later: [`Site::references`] counts how often a reference was
//! bought.
//!
//! *Assumptions.* Orders age by the clock in [`Settings`](crate::simulator::Settings); they are
//! brought up to date whenever somebody looks.
//!
//! *Caveats.* A request that has begun is carried out even if its client has gone away. Documents,
//! recipients, roles and Microsoft's extensions are taken and have no effect, and the key is never
//! made here. Everything the sheet leaves open is a setting or the unkinder reading.

mod csr;
mod id;
mod issue;
mod order;
mod refusal;
mod search;
mod settings;
mod token;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::any;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::form_urlencoded;

pub use self::order::{Delivery, Past};
pub use self::settings::{
    Client, Product, ProductValidity, SiteSettings, Step, TagSearch, ValidityType,
};

use self::csr::{AltName, Csr, Unusable};
use self::issue::Authorities;
use self::order::{Order, Ordered, Revocation, duration};
use self::refusal::{Code, Refusal};
use self::settings::Offer;
use self::wire::{IssueRequest, Overrides, RevocationRequest, Search};
use crate::simulator::answer::{self, TEXT_PLAIN};
use crate::simulator::authority::{self, Error, KeyAlgorithm, shifted};
use crate::simulator::faults::{Fault, Impossible, Kind, Moment, Queue};
use crate::simulator::requests::{Counter, Requests};
use crate::simulator::{BODY_LIMIT, Disconnect, Shared, Simulator, lock};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How long `synchrone` holds a connection at most.
const SYNCHRONE_LIMIT: Duration = Duration::from_secs(60);
/// How often `synchrone` looks.
const SYNCHRONE_PACE: Duration = Duration::from_millis(50);

/// The operations that are played (facts, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// `/v2/jwt/{userName}`.
    Jwt,
    /// `/v2/clients`.
    Clients,
    /// `/v2/clients/paged`.
    ClientsPaged,
    /// `/v2/client/{cli}`.
    Client,
    /// `/v2/issue`.
    Issue,
    /// `/v2/issue/csr/{pma}`.
    IssueCsr,
    /// `/v2/validate`.
    Validate,
    /// `/v2/order/{ord}`.
    Order,
    /// `/v2/order/{ord}/status`.
    Status,
    /// `/v2/order/{ord}/certificate/chain`.
    Chain,
    /// `/v2/order/{ord}/tasks`.
    Tasks,
    /// `/v2/order/{ord}/tags`.
    Tags,
    /// `/v2/orders`.
    Orders,
    /// `/v2/orders/paged`.
    OrdersPaged,
    /// `/v2/revoke`.
    Revoke,
}

impl Operation {
    /// The operation as faults and counts name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Clients => "clients",
            Self::ClientsPaged => "clientsPaged",
            Self::Client => "client",
            Self::Issue => "issue",
            Self::IssueCsr => "issueCsr",
            Self::Validate => "validate",
            Self::Order => "order",
            Self::Status => "status",
            Self::Chain => "chain",
            Self::Tasks => "tasks",
            Self::Tags => "tags",
            Self::Orders => "orders",
            Self::OrdersPaged => "ordersPaged",
            Self::Revoke => "revoke",
        }
    }

    /// The operation a path names, with the path parameter as it stands there.
    fn from_path(path: &str) -> Option<(Self, &str)> {
        let segments: Vec<&str> = path.split('/').collect();
        Some(match segments[..] {
            ["v2", "jwt", user] if !user.is_empty() => (Self::Jwt, user),
            ["v2", "clients"] => (Self::Clients, ""),
            ["v2", "clients", "paged"] => (Self::ClientsPaged, ""),
            ["v2", "client", id] => (Self::Client, id),
            ["v2", "issue"] => (Self::Issue, ""),
            ["v2", "issue", "csr", id] => (Self::IssueCsr, id),
            ["v2", "validate"] => (Self::Validate, ""),
            ["v2", "order", id] => (Self::Order, id),
            ["v2", "order", id, "status"] => (Self::Status, id),
            ["v2", "order", id, "certificate", "chain"] => (Self::Chain, id),
            ["v2", "order", id, "tasks"] => (Self::Tasks, id),
            ["v2", "order", id, "tags"] => (Self::Tags, id),
            ["v2", "orders"] => (Self::Orders, ""),
            ["v2", "orders", "paged"] => (Self::OrdersPaged, ""),
            ["v2", "revoke"] => (Self::Revoke, ""),
            _ => return None,
        })
    }

    /// How a right answer begins, for bodies that are never one.
    fn opening(self) -> &'static str {
        match self {
            Self::Jwt => "eyJ",
            Self::Clients | Self::Orders | Self::Chain | Self::Tasks => "[",
            Self::Status => "\"",
            Self::Validate | Self::Revoke => "",
            Self::ClientsPaged
            | Self::Client
            | Self::Issue
            | Self::IssueCsr
            | Self::Order
            | Self::Tags
            | Self::OrdersPaged => "{",
        }
    }
}

/// An order as the management API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `ord-` and a UUID.
    pub uuid: String,
    /// When it was submitted.
    pub created_on: Timestamp,
    /// Its status.
    pub state: String,
    /// Every status so far, the present one last.
    pub history: Vec<Past>,
    /// The account that submitted it.
    pub account: String,
    /// `issue` or `issueCsr`.
    pub operation: String,
    /// The client it was ordered for.
    pub client: String,
    /// The product that was ordered.
    pub product: String,
    /// The name of the product.
    pub product_name: String,
    /// The tags it was submitted with.
    pub submitted_tags: Vec<String>,
    /// The tags that are stored.
    pub tags: Vec<String>,
    /// The note, which the API never shows.
    pub note: Option<String>,
    /// SHA-256 of the SubjectPublicKeyInfo of the request, lower-case hexadecimal.
    pub spki_sha256: String,
    /// The subject and the names that were asked for.
    pub requested_subject: String,
    /// Kind and value, such as `dns:example.org`.
    pub requested_names: Vec<String>,
    /// What was issued, if it was.
    pub certificate: Option<Issued>,
    /// Whether the answer to the submission was delivered.
    pub delivery: Delivery,
    /// Whether the API still knows it.
    pub is_forgotten: bool,
}

/// A certificate as the management API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issued {
    /// The serial number as the API spells it.
    pub serial: String,
    /// The issuer as the API spells it.
    pub issuer: String,
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub fingerprint_sha256: String,
    /// Kind and value, such as `dns:example.org`.
    pub names: Vec<String>,
    /// When its validity begins.
    pub not_before: Timestamp,
    /// When its validity ends.
    pub not_after: Timestamp,
}

/// How often each tag was submitted: with a reference among the tags, how often it was bought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct References {
    /// Tag to number of orders.
    pub references: BTreeMap<String, u64>,
    /// All orders ever made.
    pub total: u64,
}

/// The certificates of the authorities behind a site, as PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issuers {
    /// The self-signed root.
    pub root_pem: String,
    /// The authority that issues.
    pub intermediate_pem: String,
    /// The authority of the `unrelatedChain` fault.
    pub unrelated_pem: String,
}

/// What a person at the registration authority does with an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// The next state of the script.
    Advance,
    /// PENDING_AUTH is over: the script goes on, to ISSUED if there is nothing left of it.
    Approve,
    /// REJECTED, with what the task says.
    Reject {
        /// The text of the task.
        #[serde(default)]
        error: Option<String>,
    },
    /// FAILED, with what the task says.
    Fail {
        /// The text of the task.
        #[serde(default)]
        error: Option<String>,
    },
    /// REVOKED: carries out a revocation that waits, or one of the authority's own.
    Revoke,
    /// Any status, sent as it stands; the script goes on behind it when it is advanced.
    Set {
        /// The status.
        state: String,
    },
    /// From now on the API does not know the order, and searches do not find it.
    Forget,
}

/// An action that is not possible.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// No order has this id.
    #[error("there is no order {0}")]
    NoSuchOrder(String),
    /// The order is in another state.
    #[error("the order is in {state}: it cannot be {done}")]
    WrongState {
        /// The state it is in.
        state: String,
        /// What was to be done.
        done: &'static str,
    },
    /// The cryptographic library failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// These settings make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSettings(String);

/// The orders of a site.
#[derive(Debug, Default)]
struct Ledger {
    orders: Vec<Order>,
    by_id: HashMap<String, usize>,
    references: References,
}

impl Ledger {
    fn add(&mut self, order: Order) {
        for tag in &order.ordered.submitted_tags {
            *self.references.references.entry(tag.clone()).or_default() += 1;
        }
        self.references.total += 1;
        self.by_id.insert(order.uuid.clone(), self.orders.len());
        self.orders.push(order);
    }

    fn get_mut(&mut self, id: &str) -> Option<&mut Order> {
        self.orders.get_mut(*self.by_id.get(id)?)
    }

    fn mark_delivered(&mut self, id: &str) {
        if let Some(order) = self.get_mut(id) {
            order.delivery = Delivery::Delivered;
        }
    }
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
    /// What tokens of `/v2/jwt` are signed with, once there was one.
    token_key: Mutex<Vec<u8>>,
    faults: Queue<Operation>,
    requests: Counter,
}

/// The handle is the interface of the management API.
impl Site {
    pub(crate) fn new(name: &str, shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            shared,
            settings: Mutex::default(),
            authorities: Mutex::default(),
            ledger: Mutex::default(),
            token_key: Mutex::default(),
            faults: Queue::default(),
            requests: Counter::default(),
        }))
    }

    /// The site's name, which is also the segment of its path.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Replaces the settings. Orders stay, and so do the authorities unless the key algorithm
    /// changes; orders that exist keep their script.
    ///
    /// # Errors
    /// If the settings contradict themselves.
    pub fn configure(&self, settings: SiteSettings) -> Result<(), BadSettings> {
        match settings.objection() {
            Some(objection) => Err(BadSettings(objection)),
            None => {
                *lock(&self.0.settings) = settings;
                Ok(())
            }
        }
    }

    /// The settings in force; clients and products have their ids.
    pub fn settings(&self) -> SiteSettings {
        let mut settings = lock(&self.0.settings).clone();
        let offers = settings.offers(&self.0.name);
        for (client, offer) in settings.clients.iter_mut().zip(offers) {
            client.id = Some(offer.client_id);
            for (product, (id, _)) in client.products.iter_mut().zip(offer.products) {
                product.id = Some(id);
            }
        }
        settings
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
        let is_of_certificate = fault.kind.moment() == Moment::Issuing;
        let is_possible = match fault.operation {
            Operation::Issue | Operation::IssueCsr => true,
            Operation::Chain => {
                !is_of_certificate
                    || matches!(fault.kind, Kind::WrongChainOrder | Kind::UnrelatedChain)
            }
            Operation::Jwt
            | Operation::Clients
            | Operation::ClientsPaged
            | Operation::Client
            | Operation::Validate
            | Operation::Order
            | Operation::Status
            | Operation::Tasks
            | Operation::Tags
            | Operation::Orders
            | Operation::OrdersPaged
            | Operation::Revoke => !is_of_certificate,
        };
        if !is_possible {
            return Err(Impossible("this operation issues no certificate: inject it for issue"));
        }
        self.0.faults.inject(fault)
    }

    /// Forgets all faults. Requests that hang already go on hanging, and certificates that were
    /// ordered under a fault are spoiled all the same.
    pub fn clear_faults(&self) {
        self.0.faults.clear();
    }

    /// The faults that are still to come.
    pub fn faults(&self) -> Vec<Fault<Operation>> {
        self.0.faults.pending()
    }

    /// The requests so far.
    pub fn requests(&self) -> Requests {
        self.0.requests.snapshot()
    }

    /// Every order ever made, in order; those the API has forgotten too.
    ///
    /// # Errors
    /// Only if the cryptographic library fails.
    pub fn orders(&self) -> Result<Vec<Record>, Error> {
        let settings = lock(&self.0.settings).clone();
        let authorities = self.authorities(settings.key_algorithm)?;
        let mut ledger = self.settled(&settings, &authorities)?;
        Ok(ledger.orders.iter_mut().map(|order| record(order)).collect())
    }

    /// How often each tag was submitted, and how many orders were made.
    pub fn references(&self) -> References {
        lock(&self.0.ledger).references.clone()
    }

    /// Does something to an order.
    ///
    /// # Errors
    /// If there is no such order, or it is in a state that the action does not fit.
    pub fn act(&self, id: &str, action: &Action) -> Result<Record, NotDone> {
        let settings = lock(&self.0.settings).clone();
        let authorities = self.authorities(settings.key_algorithm)?;
        let now = self.0.shared.now();
        let mut ledger = self.settled(&settings, &authorities)?;
        let order = ledger.get_mut(id).ok_or_else(|| NotDone::NoSuchOrder(id.to_owned()))?;
        let wrong = |order: &Order, done| {
            Err(NotDone::WrongState { state: order.state().to_owned(), done })
        };
        let with = |state: &str, error: &Option<String>| Step {
            state: state.to_owned(),
            seconds: None,
            error: error.clone(),
        };
        match action {
            Action::Advance if !order.advance(now) => return wrong(order, "advanced"),
            Action::Approve if !order.approve(now) => return wrong(order, "approved"),
            Action::Revoke if order.certificate.is_none() => return wrong(order, "revoked"),
            Action::Advance | Action::Approve => {}
            Action::Revoke => order.carry_out_revocation(now),
            Action::Reject { error } => order.end(with("REJECTED", error), now),
            Action::Fail { error } => order.end(with("FAILED", error), now),
            Action::Set { state } => order.put(state, now),
            Action::Forget => order.is_forgotten = true,
        }
        settle(order, &settings, &authorities, now)?;
        Ok(record(order))
    }

    /// What a restart of the service does: tokens it has handed out are void. Those that clients
    /// sign themselves stay good, and so do orders.
    pub fn restart(&self) {
        lock(&self.0.token_key).clear();
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

    /// The ledger with every order where it is by now.
    fn settled(
        &self,
        settings: &SiteSettings,
        authorities: &Authorities,
    ) -> Result<std::sync::MutexGuard<'_, Ledger>, Error> {
        let now = self.0.shared.now();
        let mut ledger = lock(&self.0.ledger);
        for order in &mut ledger.orders {
            settle(order, settings, authorities, now)?;
        }
        Ok(ledger)
    }

    fn token_key(&self) -> Result<Vec<u8>, Error> {
        let mut key = lock(&self.0.token_key);
        if key.is_empty() {
            *key = id::random("")?.into_bytes();
        }
        Ok(key.clone())
    }
}

fn settle(
    order: &mut Order,
    settings: &SiteSettings,
    authorities: &Authorities,
    now: Timestamp,
) -> Result<(), Error> {
    order.settle(now, |ordered, at| issue::certificate(settings, authorities, ordered, at))
}

fn record(order: &Order) -> Record {
    let ordered = &order.ordered;
    Record {
        uuid: order.uuid.clone(),
        created_on: order.created_on,
        state: order.state().to_owned(),
        history: order.history(),
        account: ordered.account.clone(),
        operation: ordered.operation.to_owned(),
        client: ordered.client_id.clone(),
        product: ordered.product_id.clone(),
        product_name: ordered.product_name.clone(),
        submitted_tags: ordered.submitted_tags.clone(),
        tags: order.tags.clone(),
        note: ordered.note.clone(),
        spki_sha256: authority::sha256_hex(&ordered.csr.spki_der),
        requested_subject: issue::text(&ordered.csr.subject),
        requested_names: ordered.csr.names.iter().map(AltName::label).collect(),
        certificate: order.certificate.as_ref().map(|certificate| Issued {
            serial: certificate.serial.clone(),
            issuer: certificate.issuer.clone(),
            fingerprint_sha256: certificate.fingerprint_sha256.clone(),
            names: certificate.names.clone(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
        }),
        delivery: order.delivery,
        is_forgotten: order.is_forgotten,
    }
}

/// The routes of all sites: `/swisssign/<site>/v2/…`.
pub(crate) fn router(simulator: Simulator) -> Router {
    Router::new().route("/swisssign/{*path}", any(serve)).with_state(simulator)
}

async fn serve(State(simulator): State<Simulator>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let addressed = path.strip_prefix("/swisssign/").and_then(|path| path.split_once('/'));
    let site = addressed.and_then(|(site, rest)| Some((simulator.swisssign(site).ok()?, rest)));
    match site {
        Some((site, rest)) => site.handle(Operation::from_path(rest), request).await,
        None => answer::empty(StatusCode::NOT_FOUND),
    }
}

/// A request as the service sees it.
#[derive(Clone, Debug)]
struct Call {
    method: Method,
    accept: Option<String>,
    authorization: Option<String>,
    content_type: Option<String>,
    query: Vec<(String, String)>,
    /// The path parameter, still percent-encoded.
    parameter: String,
    body: Bytes,
}

impl Call {
    async fn read(parameter: &str, request: Request<Body>) -> Result<Self, Refusal> {
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

    fn media_type(&self) -> String {
        let content_type = self.content_type.as_deref().unwrap_or_default();
        content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The body must be of this type.
    fn must_be(&self, media_type: &str) -> Result<(), Refusal> {
        match self.media_type() == media_type {
            true => Ok(()),
            false => Err(Refusal::Bare(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        }
    }

    /// A JSON body of this shape.
    fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        self.must_be("application/json")?;
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::bad(Code::Validation, format!("Invalid request: {error}")))
    }

    /// There must be no body (facts, section 2: `{}` is refused).
    fn no_body(&self) -> Result<(), Refusal> {
        match self.body.is_empty() {
            true => Ok(()),
            false => Err(Refusal::bad(Code::Validation, "This operation takes no body")),
        }
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A query parameter that counts something; negative is refused as the schema says.
    fn number(&self, name: &str) -> Result<Option<usize>, Refusal> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Refusal::bad(Code::Validation, format!("{name}: {text}")))
        };
        self.query(name).map(parse).transpose()
    }

    /// The path parameter, which must be an id with this prefix.
    fn id(&self, prefix: &str) -> Result<&str, Refusal> {
        match id::is(prefix, &self.parameter) {
            true => Ok(&self.parameter),
            false => Err(Refusal::bad(
                Code::Validation,
                format!("{} must match {prefix}[0-9a-f-]{{36}}", self.parameter),
            )),
        }
    }

    /// Whether a client takes this type, as far as its Accept header goes.
    fn accepts(&self, media_type: &str) -> bool {
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
struct Outcome {
    response: Response<Body>,
    body: Bytes,
    /// The order that this answer makes known.
    submitted: Option<String>,
}

impl Outcome {
    fn json(value: &Value) -> Self {
        let body = Bytes::from(value.to_string());
        let response = answer::with_body(StatusCode::OK, JSON, body.clone());
        Self { response, body, submitted: None }
    }

    fn text(text: String) -> Self {
        let body = Bytes::from(text);
        let response = answer::with_body(StatusCode::OK, TEXT_PLAIN, body.clone());
        Self { response, body, submitted: None }
    }

    fn nothing() -> Self {
        let response = answer::empty(StatusCode::NO_CONTENT);
        Self { response, body: Bytes::new(), submitted: None }
    }
}

/// What every operation but `jwt` has at hand.
struct Context {
    settings: SiteSettings,
    offers: Vec<Offer>,
    authorities: Arc<Authorities>,
    account: String,
    now: Timestamp,
}

impl Context {
    fn unknown(&self, code: Code, what: &str) -> Refusal {
        Refusal::with(self.settings.unknown_id_status, code, format!("Not found: {what}"))
    }
}

impl Site {
    /// Counts the request, keeps it hanging if it must hang, and notes whether its order became
    /// known.
    async fn handle(
        &self,
        addressed: Option<(Operation, &str)>,
        request: Request<Body>,
    ) -> Response<Body> {
        let label = addressed.map_or("other", |(operation, _)| operation.label());
        let in_flight = self.0.requests.begin(label);
        let is_head = request.method() == Method::HEAD;
        let parameter = addressed.map_or("", |(_, parameter)| parameter);
        let response = match (addressed, Call::read(parameter, request).await) {
            (Some((operation, _)), Ok(call)) => self.answer(operation, call).await,
            (None, Ok(_)) => answer::empty(StatusCode::NOT_FOUND),
            (_, Err(refusal)) => refusal.answer(),
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
                Some(Kind::ApiError { code, status, messages, .. }) => {
                    (refusal::api_error(status, &code, &messages), None)
                }
                Some(kind) => (answer::instead(kind, operation.opening()), None),
                None => site.carry_out(operation, &call).await,
            }
        });
        let Ok((response, submitted)) = work.await else {
            return Refusal::uncaught().answer();
        };
        if let Some(order) = submitted {
            lock(&self.0.ledger).mark_delivered(&order);
        }
        response
    }

    /// Steps 3 to 5 of the module's list; the order's id comes along if the answer is whole.
    async fn carry_out(
        &self,
        operation: Operation,
        call: &Call,
    ) -> (Response<Body>, Option<String>) {
        let outcome = match self.operate(operation, call).await {
            Ok(outcome) => outcome,
            Err(refusal) => return (refusal.answer(), None),
        };
        wait(self.0.faults.take(operation, Moment::DelayAfter)).await;
        match self.0.faults.take(operation, Moment::Answering) {
            None => (outcome.response, outcome.submitted),
            Some(Kind::TruncatedBody) => (answer::truncated(outcome.response, &outcome.body), None),
            Some(Kind::EmptyBody) => (answer::without_body(outcome.response), None),
            Some(Kind::ApiError { code, status, messages, .. }) => {
                (refusal::api_error(status, &code, &messages), None)
            }
            Some(_) => (answer::disconnect(), None),
        }
    }

    async fn operate(&self, operation: Operation, call: &Call) -> Result<Outcome, Refusal> {
        if call.method != Method::POST {
            return Err(Refusal::WrongVerb);
        }
        if operation == Operation::Jwt {
            return self.jwt(call);
        }
        let account = self.authenticate(call)?;
        let settings = lock(&self.0.settings).clone();
        let offers = settings.offers(&self.0.name);
        let authorities = self
            .authorities_ready(settings.key_algorithm)
            .await
            .map_err(|_| Refusal::uncaught())?;
        let context = Context { settings, offers, authorities, account, now: self.0.shared.now() };
        match operation {
            Operation::Jwt => self.jwt(call),
            Operation::Clients => clients(&context, call),
            Operation::ClientsPaged => clients_paged(&context, call),
            Operation::Client => client(&context, call),
            Operation::Issue => self.issue(&context, call).await,
            Operation::IssueCsr => self.issue_csr(&context, call),
            Operation::Validate => {
                admit_json(&context, call, Operation::Validate).map(|_| Outcome::nothing())
            }
            Operation::Order => self.with_order(&context, call, |order| {
                Ok(order.document(context.settings.lowercase_status, false, false))
            }),
            Operation::Status => self.with_order(&context, call, |order| {
                Ok(json!(order.status(context.settings.lowercase_status)))
            }),
            Operation::Chain => {
                let fault = self.0.faults.take(Operation::Chain, Moment::Issuing);
                self.with_order(&context, call, |order| chain(&context, order, fault))
            }
            Operation::Tasks => self.with_order(&context, call, |order| Ok(json!(order.tasks()))),
            Operation::Tags => self.replace_tags(&context, call),
            Operation::Orders => self.search(&context, call),
            Operation::OrdersPaged => self.search_paged(&context, call),
            Operation::Revoke => self.revoke(&context, call),
        }
    }

    /// `/v2/jwt/{userName}` (facts, section 1.1).
    fn jwt(&self, call: &Call) -> Result<Outcome, Refusal> {
        call.must_be("application/x-www-form-urlencoded")?;
        if !call.accepts("text/plain") {
            return Err(Refusal::Bare(StatusCode::NOT_ACCEPTABLE));
        }
        let settings = lock(&self.0.settings).clone();
        // A path is percent-encoded as a form is, but for the plus sign.
        let user = form_urlencoded::parse(call.parameter.replace('+', "%2B").as_bytes())
            .next()
            .map_or_else(String::new, |(user, _)| user.into_owned());
        let secret = form_urlencoded::parse(&call.body)
            .find(|(name, _)| name == "userSecret")
            .map(|(_, value)| value.into_owned())
            .ok_or_else(|| Refusal::bad(Code::NullValue, "userSecret is missing"))?;
        let expected = settings
            .accounts
            .get(&user)
            .ok_or_else(|| Refusal::with(404, Code::Authentication, "Unknown user"))?;
        if *expected != secret {
            return Err(Refusal::with(401, Code::Authentication, "Authentication failed"));
        }
        let key = self.token_key().map_err(|_| Refusal::uncaught())?;
        let now = self.0.shared.now();
        let token = token::issue(&key, &user, settings.token_lifetime_seconds, now)
            .ok_or_else(Refusal::uncaught)?;
        Ok(Outcome::text(if settings.quoted_token { format!("\"{token}\"") } else { token }))
    }

    /// The account a token is for (facts, section 1.3).
    fn authenticate(&self, call: &Call) -> Result<String, Refusal> {
        let refused = |code, message: &str| Err(Refusal::with(401, code, message));
        let token = call
            .authorization
            .as_deref()
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let Some(token) = token else {
            return refused(Code::Authentication, "Full authentication is required");
        };
        let accounts = {
            let mut settings = lock(&self.0.settings);
            if std::mem::take(&mut settings.reject_next_token) {
                return refused(Code::Jwt, "The token was rejected");
            }
            settings.accounts.clone()
        };
        let key = self.token_key().map_err(|_| Refusal::uncaught())?;
        token::account(token, &key, &accounts, self.0.shared.now())
            .or_else(|bad| refused(Code::Jwt, &bad.to_string()))
    }

    /// `/v2/issue` (facts, section 2.2).
    async fn issue(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let (admitted, request) = admit_json(context, call, Operation::Issue)?;
        let id = self.submit(context, admitted)?;
        if request.synchrone {
            self.wait_until_settled(context, &id).await?;
        }
        let with_chain = request.synchrone && request.include_certificate_chain;
        self.submitted(context, &id, with_chain)
    }

    /// `/v2/issue/csr/{pma}` (facts, section 2.2).
    fn issue_csr(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let product = call.id("pma-")?;
        call.must_be("text/plain")?;
        let text = std::str::from_utf8(&call.body)
            .map_err(|_| Refusal::bad(Code::FailedParsingCsr, "The CSR is not text"))?;
        let csr = readable(csr::read(text, true))?;
        let admitted = admit(context, Operation::IssueCsr, product, csr, None)?;
        let id = self.submit(context, admitted)?;
        self.submitted(context, &id, false)
    }

    /// Records an order, or two of them. The first one's id is the answer.
    fn submit(&self, context: &Context, admitted: Admitted) -> Result<String, Refusal> {
        let Admitted { mut ordered, life } = admitted;
        let is_doubled = {
            let mut settings = lock(&self.0.settings);
            std::mem::take(&mut settings.duplicate_next)
        };
        if context.settings.drop_tags {
            ordered.tags.clear();
        }
        let operation = match ordered.operation {
            "issueCsr" => Operation::IssueCsr,
            _ => Operation::Issue,
        };
        ordered.fault = self.0.faults.take(operation, Moment::Issuing);
        let ids = [id::random("ord-"), id::random("ord-")];
        let mut ledger = lock(&self.0.ledger);
        let mut first = None;
        for id in ids.into_iter().take(if is_doubled { 2 } else { 1 }) {
            let id = id.map_err(|_| Refusal::uncaught())?;
            let order = Order::new(id.clone(), ordered.clone(), life.clone(), context.now);
            ledger.add(order);
            first.get_or_insert(id);
        }
        first.ok_or_else(Refusal::uncaught)
    }

    /// The order that was made, as the answer to its submission.
    fn submitted(&self, context: &Context, id: &str, with_chain: bool) -> Result<Outcome, Refusal> {
        let now = self.0.shared.now();
        let mut ledger = lock(&self.0.ledger);
        let order = ledger.get_mut(id).ok_or_else(Refusal::uncaught)?;
        settle(order, &context.settings, &context.authorities, now)
            .map_err(|_| Refusal::uncaught())?;
        let document = order.document(context.settings.lowercase_status, false, with_chain);
        Ok(Outcome { submitted: Some(id.to_owned()), ..Outcome::json(&document) })
    }

    /// Waits for the end of an order, for a while.
    async fn wait_until_settled(&self, context: &Context, id: &str) -> Result<(), Refusal> {
        const ENDS: [&str; 4] = ["ISSUED", "FAILED", "REJECTED", "REVOKED"];
        let until = tokio::time::Instant::now() + SYNCHRONE_LIMIT;
        while tokio::time::Instant::now() < until {
            let now = self.0.shared.now();
            let has_ended =
                self.known(context, id, now, |order| Ok(ENDS.iter().any(|end| order.is_in(end))))?;
            if has_ended {
                break;
            }
            tokio::time::sleep(SYNCHRONE_PACE).await;
        }
        Ok(())
    }

    /// An operation on one order that takes no body.
    fn with_order(
        &self,
        context: &Context,
        call: &Call,
        answer: impl FnOnce(&mut Order) -> Result<Value, Refusal>,
    ) -> Result<Outcome, Refusal> {
        let id = call.id("ord-")?;
        call.no_body()?;
        self.known(context, id, context.now, answer).map(|value| Outcome::json(&value))
    }

    fn known<T>(
        &self,
        context: &Context,
        id: &str,
        now: Timestamp,
        answer: impl FnOnce(&mut Order) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut ledger = lock(&self.0.ledger);
        let order = ledger
            .get_mut(id)
            .filter(|order| !order.is_forgotten)
            .ok_or_else(|| context.unknown(Code::Validation, id))?;
        settle(order, &context.settings, &context.authorities, now)
            .map_err(|_| Refusal::uncaught())?;
        answer(order)
    }

    /// `/v2/order/{ord}/tags`: the whole set is replaced.
    fn replace_tags(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let id = call.id("ord-")?;
        let tags: Vec<String> = call.json()?;
        self.known(context, id, context.now, |order| {
            order.tags = tags;
            Ok(Outcome::json(&order.document(context.settings.lowercase_status, false, false)))
        })
    }

    /// All hits, in an order that means nothing, and the number of all orders.
    fn found(&self, context: &Context, call: &Call) -> Result<(Vec<Value>, usize), Refusal> {
        let search: Search = call.json()?;
        let references = search.client_references.iter().flatten().map(|id| ("cli-", id));
        let mut ids = references.chain(search.order_reference.iter().map(|id| ("ord-", id)));
        if let Some((_, bad)) = ids.find(|(prefix, id)| !id::is(prefix, id)) {
            return Err(Refusal::bad(Code::Validation, format!("Invalid reference: {bad}")));
        }
        let ledger = self
            .settled(&context.settings, &context.authorities)
            .map_err(|_| Refusal::uncaught())?;
        let indexed = ledger
            .orders
            .iter()
            .filter(|order| search::is_indexed(&context.settings, order, context.now));
        let mut total = 0;
        let mut hits: Vec<&Order> = indexed
            .inspect(|_| total += 1)
            .filter(|order| search::matches(&context.settings, &search, order))
            .collect();
        // No order is documented. Random ids make one that stays the same and means nothing.
        hits.sort_by(|left, right| left.uuid.cmp(&right.uuid));
        let with_chain = search.include_certificate_chain == Some(true);
        let lowercase = context.settings.lowercase_status;
        Ok((hits.iter().map(|order| order.document(lowercase, true, with_chain)).collect(), total))
    }

    /// `/v2/orders` (facts, section 2.3).
    fn search(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let (mut hits, _) = self.found(context, call)?;
        hits.truncate(context.settings.max_page_length as usize);
        Ok(Outcome::json(&json!(hits)))
    }

    /// `/v2/orders/paged` (facts, section 2.3).
    fn search_paged(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let (hits, total) = self.found(context, call)?;
        page(context, call, hits, total)
    }

    /// `/v2/revoke` (facts, section 2.5): one after the other, up to the first that fails.
    fn revoke(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let requests: Vec<RevocationRequest> = call.json()?;
        let mut ledger = self
            .settled(&context.settings, &context.authorities)
            .map_err(|_| Refusal::uncaught())?;
        for request in requests {
            revoke_one(context, &mut ledger.orders, request)?;
        }
        Ok(Outcome::nothing())
    }
}

fn product_document(id: &str, product: &Product) -> Value {
    let mut document = json!({
        "uuid": id,
        "productName": product.name,
        "productDescription": product.description,
        "keyGenerationType": product.key_generation_type,
        "keyType": product.key_type,
        "authorization": product.authorization,
        "isCABDNSValidationRequired": product.is_cab_dns_validation_required,
        "isCABDNSEmailLinkValidationRequired": product.is_cab_dns_email_link_validation_required,
        "isEmailBoxValidationRequired": product.is_email_box_validation_required,
        "requiresRegistrationDocuments": product.requires_registration_documents,
        "requiresRegistrationDocumentsOnRegister":
            product.requires_registration_documents_on_register,
        "expirationDate": product.expiration_date,
    });
    if let Some(validity) = &product.product_validity {
        document["productValidity"] = json!(validity);
    }
    for absent in [
        "allowRegistrationDocumentsPDF",
        "allowRegistrationDocumentsJPG",
        "issuanceNotification",
        "revocationNotification",
        "renewalRule",
        "publishCertificate",
        "clientPublishCertificateOverride",
        "clientPublishCertificateOverrideDefault",
        "isGenerateRevocationCode",
        "allowAdditionalIssuanceNotificationRecipients",
        "allowAdditionalRevocationNotificationRecipients",
        "allowAdditionalRenewalNotificationRecipients",
        "allowAdditionalAuthorizationNotificationRecipients",
        "allowAdditionalAuthorizationAcceptedNotificationRecipients",
        "allowAdditionalAuthorizationRejectedNotificationRecipients",
        "allowAdditionalCABDNSNotificationRecipients",
    ] {
        document[absent] = Value::Bool(false);
    }
    document
}

fn client_document(offer: &Offer) -> Value {
    let products: Vec<Value> =
        offer.products.iter().map(|(id, product)| product_document(id, product)).collect();
    json!({
        "uuid": offer.client_id,
        "name": offer.client_name,
        "description": offer.client_description,
        "products": products,
    })
}

fn found_clients(context: &Context, call: &Call) -> Result<Vec<Value>, Refusal> {
    call.no_body()?;
    let wanted = call.query("search").filter(|text| !text.is_empty());
    let is_found =
        |offer: &&Offer| wanted.is_none_or(|text| search::finds_client(text, &offer.client_name));
    Ok(context.offers.iter().filter(is_found).map(client_document).collect())
}

/// `/v2/clients` (facts, section 2.1).
fn clients(context: &Context, call: &Call) -> Result<Outcome, Refusal> {
    let mut found = found_clients(context, call)?;
    found.truncate(context.settings.max_page_length as usize);
    Ok(Outcome::json(&json!(found)))
}

/// `/v2/clients/paged` (facts, section 2.1).
fn clients_paged(context: &Context, call: &Call) -> Result<Outcome, Refusal> {
    let found = found_clients(context, call)?;
    page(context, call, found, context.offers.len())
}

/// `/v2/client/{cli}` (facts, section 2.1).
fn client(context: &Context, call: &Call) -> Result<Outcome, Refusal> {
    let id = call.id("cli-")?;
    call.no_body()?;
    let offer = context.offers.iter().find(|offer| offer.client_id == id);
    let offer = offer.ok_or_else(|| context.unknown(Code::InvalidClient, id))?;
    Ok(Outcome::json(&client_document(offer)))
}

/// The page object (facts, section 2.1): a longer page than the maximum is clamped.
fn page(
    context: &Context,
    call: &Call,
    hits: Vec<Value>,
    total: usize,
) -> Result<Outcome, Refusal> {
    let most = context.settings.max_page_length as usize;
    let start = call.number("start")?.unwrap_or(0);
    let length = call.number("length")?.unwrap_or(most).min(most);
    let filtered = hits.len();
    let data: Vec<Value> = hits.into_iter().skip(start).take(length).collect();
    Ok(Outcome::json(&json!({
        "draw": 0,
        "recordsFiltered": filtered,
        "recordsTotal": total,
        "data": data,
    })))
}

/// `/v2/order/{ord}/certificate/chain` (facts, section 2.4).
fn chain(context: &Context, order: &Order, fault: Option<Kind>) -> Result<Value, Refusal> {
    let settings = &context.settings;
    let missing = || {
        Refusal::with(settings.chain_missing_status, Code::Validation, "No certificate available")
    };
    let is_issued = order.is_in("ISSUED") || order.is_in("REVOKED");
    let since = order.issued_on.filter(|_| is_issued).ok_or_else(missing)?;
    let visible = shifted(since, duration(settings.chain_missing_seconds));
    let certificate =
        order.certificate.as_ref().filter(|_| visible <= context.now).ok_or_else(missing)?;
    let mut chain = certificate.chain.clone();
    match fault {
        Some(Kind::WrongChainOrder) => chain.reverse(),
        Some(Kind::UnrelatedChain) => {
            chain =
                vec![certificate.leaf.clone(), STANDARD.encode(&context.authorities.unrelated.der)];
        }
        Some(_) | None => {}
    }
    Ok(json!(chain))
}

/// An order that will be made.
struct Admitted {
    ordered: Ordered,
    life: Vec<Step>,
}

/// Decides, purely, whether an IssueRequest deserves an order (facts, section 2.2).
fn admit_json(
    context: &Context,
    call: &Call,
    operation: Operation,
) -> Result<(Admitted, IssueRequest), Refusal> {
    let settings = &context.settings;
    if !settings.allow_issue {
        let status = settings.access_denied_status;
        return Err(Refusal::with(status, Code::AccessDenied, "Access denied"));
    }
    let request: IssueRequest = call.json()?;
    if !id::is("pma-", &request.product_reference) {
        return Err(Refusal::bad(Code::Validation, "productReference must match pma-…"));
    }
    if settings.checks_terms && !request.accept_tand_c {
        return Err(Refusal::bad(
            Code::FailedValidatingRequest,
            "The terms and conditions must be accepted",
        ));
    }
    let text = request
        .csr
        .as_deref()
        .ok_or_else(|| Refusal::bad(Code::FailedValidatingRequest, "This product needs a CSR"))?;
    let csr = readable(csr::read(text, false))?;
    let admitted = admit(context, operation, &request.product_reference, csr, Some(&request))?;
    Ok((admitted, request))
}

/// Decides, purely, whether a CSR deserves an order of this product.
fn admit(
    context: &Context,
    operation: Operation,
    product_id: &str,
    mut csr: Csr,
    request: Option<&IssueRequest>,
) -> Result<Admitted, Refusal> {
    let found = context.offers.iter().find_map(|offer| {
        let (_, product) = offer.products.iter().find(|(id, _)| id == product_id)?;
        Some((offer, product))
    });
    let (offer, product) =
        found.ok_or_else(|| context.unknown(Code::InvalidProductMapping, product_id))?;
    let objection = if product.retired {
        Some((Code::ProductRetired, "The product is retired"))
    } else if product.expiration_date.is_some_and(|expires| expires <= context.now) {
        Some((Code::ProductExpired, "The product has expired"))
    } else if product.api_disabled {
        Some((Code::ProductApiDisabled, "The product is not available over the API"))
    } else if !product.key_generation_type.contains("PKCS10") {
        Some((Code::InvalidProductType, "The product takes no CSR"))
    } else {
        None
    };
    if let Some((code, message)) = objection {
        return Err(Refusal::bad(code, message));
    }
    let overrides = request.and_then(|request| request.overrides.clone()).unwrap_or_default();
    let validity = validity(product, &overrides)?;
    apply(&mut csr, overrides)?;
    let tags = request.map(|request| request.tags.clone()).unwrap_or_default();
    let ordered = Ordered {
        account: context.account.clone(),
        operation: operation.label(),
        client_id: offer.client_id.clone(),
        product_id: product_id.to_owned(),
        product_name: product.name.clone(),
        submitted_tags: tags.clone(),
        tags,
        note: request.and_then(|request| request.note.clone()),
        csr,
        validity,
        fault: None,
    };
    Ok(Admitted { ordered, life: context.settings.life(product) })
}

fn readable(csr: Result<Csr, Unusable>) -> Result<Csr, Refusal> {
    csr.map_err(|unusable| match unusable {
        Unusable::Unreadable => Refusal::bad(Code::FailedParsingCsr, "The CSR cannot be parsed"),
        Unusable::NotSigned => {
            Refusal::bad(Code::FailedValidatingRequest, "The signature of the CSR is wrong")
        }
    })
}

/// How long the certificate is to live.
fn validity(product: &Product, overrides: &Overrides) -> Result<(ValidityType, u32), Refusal> {
    let terms = product
        .product_validity
        .clone()
        .unwrap_or(ProductValidity { validity: None, ..ProductValidity::default() });
    let refused = |message: &str| Err(Refusal::bad(Code::FailedValidatingRequest, message));
    let Some(asked) = overrides.validity else {
        return Ok(match terms.validity {
            Some(validity) => (terms.validity_type, validity),
            None => (ValidityType::Days, 90),
        });
    };
    let Ok(asked) = u32::try_from(asked) else {
        return Err(Refusal::bad(Code::Validation, "validity must be at least 1"));
    };
    match asked {
        0 => Err(Refusal::bad(Code::Validation, "validity must be at least 1")),
        _ if !product.allows_validity => refused("The product does not allow a validity"),
        _ if !terms.validity_options.is_empty() && !terms.validity_options.contains(&asked) => {
            refused("The product does not offer this validity")
        }
        _ => Ok((terms.validity_type, asked)),
    }
}

/// Replaces the subject and adds names.
fn apply(csr: &mut Csr, overrides: Overrides) -> Result<(), Refusal> {
    if let Some(text) = &overrides.subject_dn {
        csr.subject = issue::subject(text)
            .ok_or_else(|| Refusal::bad(Code::FailedParsingDn, format!("Invalid DN: {text}")))?;
    }
    let extensions = overrides.request_extensions.unwrap_or_default();
    let mut names: Vec<(String, Option<AltName>)> = Vec::new();
    for host in extensions.request_dns.iter().flat_map(|hosts| &hosts.values) {
        names.push((host.dns.clone(), AltName::dns(&host.dns)));
        let base = host.dns.strip_prefix("*.").unwrap_or(&host.dns);
        if host.include_base_domain_for_wildcard && base != host.dns {
            names.push((base.to_owned(), AltName::dns(base)));
        }
        if host.include_www_domain {
            names.push((host.dns.clone(), AltName::dns(&format!("www.{base}"))));
        }
    }
    let lists: [(_, fn(&str) -> Option<AltName>); 3] = [
        (extensions.request_rfc822, AltName::email),
        (extensions.request_ip, AltName::ip),
        (extensions.request_upn, |user| Some(AltName::upn(user))),
    ];
    for (list, make) in lists {
        names.extend(list.into_iter().flat_map(|list| list.values).map(|name| {
            let made = make(&name);
            (name, made)
        }));
    }
    for (given, name) in names {
        let name = name.ok_or_else(|| {
            Refusal::bad(Code::FailedValidatingRequest, format!("Invalid name: {given}"))
        })?;
        if !csr.names.contains(&name) {
            csr.names.push(name);
        }
    }
    Ok(())
}

/// Accepts the revocation of one certificate.
fn revoke_one(
    context: &Context,
    orders: &mut [Order],
    request: RevocationRequest,
) -> Result<(), Refusal> {
    if !request.revocation_reason.is_requestable() {
        return Err(Refusal::bad(Code::Validation, "This reason cannot be requested"));
    }
    let requestor = request.revocation_requestor.filter(|name| !name.trim().is_empty());
    if context.settings.needs_requestor && requestor.is_none() {
        return Err(Refusal::bad(Code::Validation, "revocationRequestor is mandatory"));
    }
    let significant = |serial: &str| serial.trim_start_matches('0').to_ascii_uppercase();
    let wanted = significant(&request.serial_number);
    let ours = orders.iter_mut().filter(|order| !order.is_forgotten).find(|order| {
        order.certificate.as_ref().is_some_and(|found| significant(&found.serial) == wanted)
    });
    let Some(order) = ours else {
        return Err(match context.authorities.have_serial(&wanted) {
            true => Refusal::bad(Code::CertificateIsCa, "This is the certificate of a CA"),
            false => Refusal::bad(Code::InvalidSerialNumber, "Unknown serial number"),
        });
    };
    let certificate = order.certificate.as_ref().ok_or_else(Refusal::uncaught)?;
    let objection = if certificate.issuer != request.issuer_name {
        Some((Code::InvalidIssuerName, "The issuer is another"))
    } else if order.revocation.is_some() {
        Some((Code::AlreadyRevoked, "The certificate is revoked already"))
    } else if certificate.not_after <= context.now {
        Some((Code::CertificateExpired, "The certificate has expired"))
    } else {
        None
    };
    if let Some((code, message)) = objection {
        return Err(Refusal::bad(code, message));
    }
    // A product that needs a person for orders needs one for revocations too (facts, section 2.1).
    let needs_person = context
        .offers
        .iter()
        .flat_map(|offer| &offer.products)
        .any(|(id, product)| *id == order.ordered.product_id && product.authorization);
    let due = context
        .settings
        .revocation_seconds
        .filter(|_| !needs_person)
        .map(|seconds| shifted(context.now, duration(seconds)));
    order.revocation = Some(Revocation {
        reason: request.revocation_reason,
        revoked_by: format!("{}@ra.example", context.account),
        requestor,
        due,
        revoked_on: None,
    });
    settle(order, &context.settings, &context.authorities, context.now)
        .map_err(|_| Refusal::uncaught())
}

/// Waits for as long as a delay says.
async fn wait(delay: Option<Kind>) {
    if let Some(Kind::Delay { seconds, .. }) = delay {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }
}
