//! The SSL purchase API of a reseller platform: certificates bought by plan, as one site or many.
//!
//! It decides what a site answers: whose credentials are good, which order is accepted, how far an
//! order has come, what its certificate says and which fault spoils the answer. The vendor's
//! document names operations and fields of requests and leaves every answer empty. What is known
//! from its public clients is played as they show it; the rest is a setting, whose default is what
//! the API that probably stands behind this one does. It must not share code with the operator's
//! client for the same protocol.
//!
//! A site's URL is `https://…/ssl-purchase/<site>`, with [`SiteSettings::base_path`] behind it; the
//! token endpoint is `/token` directly below the site. A request passes these steps, and every
//! fault belongs to one of them:
//!
//! 1. The body is read, up to a limit. Its content type does not matter.
//! 2. `delay` waits; then `status`, `htmlBody`, `hugeBody`, `repeatedBody`, `redirect`, `hang`,
//!    `dropBeforeCommit` and `apiError` end it.
//! 3. Credentials, parameters and body are looked at, in this order.
//! 4. The request is carried out. From here on an order exists, with the fault that will spoil its
//!    certificate.
//! 5. `delay` with `afterCommit` waits; `dropAfterCommit`, `truncatedBody`, `emptyBody` and
//!    `apiError` with `afterCommit` damage the answer.
//!
//! *Guarantees.* An order that was made is recorded for ever, with every renewal and reissue,
//! whatever the API says about it later: [`Site::references`] counts what was bought under which
//! reference.
//!
//! *Assumptions.* Orders age by the clock in [`Settings`](crate::simulator::Settings); they are
//! brought up to date whenever somebody looks. Names come from the CSR.
//!
//! *Caveats.* A request that has begun is carried out even if its client has gone away. Domains are
//! validated by the clock or by the management API and never looked at. Nothing is revoked in public:
//! a certificate that a reissue has made void is marked so in the records alone.

mod access;
mod call;
mod document;
mod files;
mod issue;
mod names;
mod operation;
mod operations;
mod order;
mod record;
mod refusal;
mod request;
mod settings;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::any;
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::operation::Operation;
pub use self::order::{Deed, Delivery, Past, Subject};
pub use self::record::{Action, CheckRecord, Issued, NotDone, Purchase, Record, References, Tally};
pub use self::settings::{
    Authentication, DateForm, DetailsShape, DetailsStatus, Envelope, ExtraNames, Files,
    LaterReference, Messages, PendingCsr, Plan, ReferenceFilter, RenewalWindow, Reseller,
    SiteSettings, StatusForm, Step, Validation, ValidationLevel,
};

use self::access::Token;
use self::call::Call;
use self::issue::Authorities;
use self::operation::{Addressed, addressed};
use self::order::Order;
use self::refusal::Refusal;
use crate::simulator::answer;
use crate::simulator::authority::{Error, KeyAlgorithm};
use crate::simulator::faults::{Fault, Impossible, Kind, Moment, Queue};
use crate::simulator::requests::{Counter, Requests};
use crate::simulator::{Disconnect, Shared, Simulator, lock};

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

/// These settings make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSettings(String);

/// The orders of a site.
#[derive(Debug, Default)]
struct Ledger {
    orders: Vec<Order>,
    /// By either id.
    by_id: HashMap<String, usize>,
}

impl Ledger {
    fn add(&mut self, order: Order) {
        self.by_id.insert(order.id.clone(), self.orders.len());
        self.by_id.insert(order.number.to_string(), self.orders.len());
        self.orders.push(order);
    }

    fn get_mut(&mut self, id: &str) -> Option<&mut Order> {
        self.orders.get_mut(*self.by_id.get(id)?)
    }

    fn mark_delivered(&mut self, id: &str, purchase: usize) {
        let bought = self.get_mut(id).and_then(|order| order.bought.get_mut(purchase));
        if let Some(bought) = bought {
            bought.delivery = Delivery::Delivered;
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
    /// Taken after the ledger where both are needed.
    settings: Mutex<SiteSettings>,
    authorities: Mutex<Option<Arc<Authorities>>>,
    ledger: Mutex<Ledger>,
    tokens: Mutex<HashMap<String, Token>>,
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
            tokens: Mutex::default(),
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

    /// The settings in force; plans have their ids.
    pub fn settings(&self) -> SiteSettings {
        let mut settings = lock(&self.0.settings).clone();
        let offers = settings.offers(&self.0.name);
        for (plan, (id, _)) in settings.plans.iter_mut().zip(offers) {
            plan.id = Some(id);
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
        if fault.kind.moment() == Moment::Issuing && !fault.operation.issues() {
            return Err(Impossible(
                "this operation issues no certificate: inject it for create, renew or reissue",
            ));
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
        let ledger = self.settled(&settings, &authorities)?;
        Ok(ledger.orders.iter().map(record::record).collect())
    }

    /// What was bought, renewed, reissued and deleted under each reference.
    pub fn references(&self) -> References {
        record::references(&lock(&self.0.ledger).orders)
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
        match action {
            Action::Advance if !order.advance(&settings, now) => return wrong(order, "advanced"),
            Action::Meet { domain } if !order.meet(domain.as_deref(), now) => {
                return wrong(order, "validated");
            }
            Action::Advance | Action::Meet { .. } => {}
            Action::Fail { message } => order.end("failed", message.clone(), now),
            Action::Cancel { message } => order.end("cancelled", message.clone(), now),
            Action::Set { state } => order.put(state, now),
            Action::Forget => order.is_forgotten = true,
        }
        settle(order, &settings, &authorities, now)?;
        Ok(record::record(order))
    }

    /// What a restart of the service does: tokens it has handed out are void. Orders stay.
    pub fn restart(&self) {
        lock(&self.0.tokens).clear();
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
    ) -> Result<MutexGuard<'_, Ledger>, Error> {
        let now = self.0.shared.now();
        let mut ledger = lock(&self.0.ledger);
        for order in &mut ledger.orders {
            settle(order, settings, authorities, now)?;
        }
        Ok(ledger)
    }
}

fn settle(
    order: &mut Order,
    settings: &SiteSettings,
    authorities: &Authorities,
    now: Timestamp,
) -> Result<(), Error> {
    order.settle(settings, now, |bought, of, at, ends| {
        issue::certificate(settings, authorities, (bought, of), at, ends)
    })
}

/// The routes of all sites: `/ssl-purchase/<site>/…`.
pub(crate) fn router(simulator: Simulator) -> Router {
    Router::new().route("/ssl-purchase/{*path}", any(serve)).with_state(simulator)
}

async fn serve(State(simulator): State<Simulator>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let addressed = path.strip_prefix("/ssl-purchase/").and_then(|path| path.split_once('/'));
    let site = addressed.and_then(|(site, rest)| Some((simulator.ssl_purchase(site).ok()?, rest)));
    match site {
        Some((site, rest)) => site.handle(rest, request).await,
        None => answer::empty(StatusCode::NOT_FOUND),
    }
}

impl Site {
    /// Counts the request, keeps it hanging if it must hang, and notes whether its order became
    /// known.
    async fn handle(&self, path: &str, request: Request<Body>) -> Response<Body> {
        let settings = lock(&self.0.settings).clone();
        let addressed = addressed(request.method(), path, &settings.base_path);
        let (label, id) = match addressed {
            Addressed::Known(operation, id) => (operation.label(), id),
            Addressed::WrongVerb(_) | Addressed::Nowhere => ("other", ""),
        };
        let in_flight = self.0.requests.begin(label);
        let is_head = request.method() == Method::HEAD;
        let response = match (addressed, Call::read(id, request).await) {
            (Addressed::Known(operation, _), Ok(call)) => self.answer(operation, call).await,
            (Addressed::WrongVerb(allowed), Ok(_)) => Refusal::WrongVerb(allowed).answer(&settings),
            (Addressed::Nowhere, Ok(_)) => Refusal::not_found().answer(&settings),
            (_, Err(refusal)) => refusal.answer(&settings),
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
                    (site.api_error(status, &code, &messages), None)
                }
                Some(kind) => (answer::instead(kind, operation.opening()), None),
                None => site.carry_out(operation, &call).await,
            }
        });
        let Ok((response, made)) = work.await else {
            return Refusal::uncaught().answer(&lock(&self.0.settings));
        };
        if let Some((order, purchase)) = made {
            lock(&self.0.ledger).mark_delivered(&order, purchase);
        }
        response
    }

    /// Steps 3 to 5 of the module's list; the order's id comes along if the answer is whole.
    async fn carry_out(
        &self,
        operation: Operation,
        call: &Call,
    ) -> (Response<Body>, Option<(String, usize)>) {
        let outcome = match self.operate(operation, call).await {
            Ok(outcome) => outcome,
            Err(refusal) => return (refusal.answer(&lock(&self.0.settings)), None),
        };
        wait(self.0.faults.take(operation, Moment::DelayAfter)).await;
        match self.0.faults.take(operation, Moment::Answering) {
            None => (outcome.response, outcome.made),
            Some(Kind::TruncatedBody) => (answer::truncated(outcome.response, &outcome.body), None),
            Some(Kind::EmptyBody) => (answer::without_body(outcome.response), None),
            Some(Kind::ApiError { code, status, messages, .. }) => {
                (self.api_error(status, &code, &messages), None)
            }
            Some(_) => (answer::disconnect(), None),
        }
    }

    /// The failure that a fault asks for.
    fn api_error(&self, status: u16, code: &str, messages: &[String]) -> Response<Body> {
        Refusal::new(status, code, messages.join(" ")).answer(&lock(&self.0.settings))
    }
}

/// Waits for as long as a delay says.
async fn wait(delay: Option<Kind>) {
    if let Some(Kind::Delay { seconds, .. }) = delay {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }
}
