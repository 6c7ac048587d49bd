//! A simulator with one quick site, an account at it, every request that goes between them, and a
//! clock that tests move.

use std::cell::Cell;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use chancery::api::IssuerSpec;
use chancery::ca::kind::{AccountSettings, Opening};
use chancery::ca::registry;
use chancery::ca::{
    Blocks, CertificateAuthority, Claim, Lookup, OpenOrder, Order, OrderKind, Permit, Phase,
    Preparation, Previous, Progress, Submitted, Wanted,
};
use chancery::clock::Clock;
use chancery::outside::Error;
use chancery::outside::remote_text::Reader;
use chancery::outside::transport::{Call, Failure, Transport};
use chancery::pki::{Certificate, KeyKind, Names, PrivateKey, csr};
use chancery::simulator::ssl_purchase::{
    Action, Authentication, Operation, Plan, Record, Site, SiteSettings, Step, Validation,
};
use chancery::simulator::{Disconnect, Fault, KeyAlgorithm, Kind, Settings, Simulator};
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const RESELLER: &str = "demo-reseller";
pub(crate) const API_KEY: &str = "Xq7pK2mW9vB4nT6rY8sD1fG3hJ5kL0zC";
pub(crate) const REFERENCE: &str = "chancery-0f0e0d0c-0b0a-4908-8706-050403020100-1";
pub(crate) const PLAN: &str = "11111111-2222-4333-8444-555555555555";
pub(crate) const OTHER_PLAN: &str = "11111111-2222-4333-8444-666666666666";
/// When every test begins.
pub(crate) const START: i64 = 1_780_000_000;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(START) };
}

/// The wall clock of client and simulator: each test has a thread of its own.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(NOW.get()).unwrap()
}

pub(crate) fn pass(seconds: i64) {
    NOW.set(NOW.get() + seconds);
}

pub(crate) fn pass_days(days: i64) {
    pass(days * 86_400);
}

/// Keeps every request and calls the router.
#[derive(Clone)]
pub(crate) struct Wire {
    router: Router,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

/// A request as it was handed to the transport.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) request: Request<Bytes>,
    pub(crate) fresh_connection: bool,
}

impl Recorded {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.request.body()).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.request.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Verb and path below the site, with ids shortened.
    pub(crate) fn line(&self) -> String {
        let path = self.request.uri().path();
        let path = path.split_once("/demo/").map_or(path, |(_, rest)| rest);
        let short = |part: &str| match part.len() == 36 && part.contains('-') {
            true => "{id}".to_owned(),
            false => part.to_owned(),
        };
        let path = path.split('/').map(short).collect::<Vec<_>>().join("/");
        let filter = self.request.uri().query().unwrap_or_default().contains("client_reference");
        let filter = if filter { "?client_reference" } else { "" };
        format!("{} {path}{filter}", self.request.method())
    }
}

#[async_trait]
impl Transport for Wire {
    async fn send(&self, call: Call) -> Result<Response<Bytes>, Failure> {
        let Call { request, deadline, body_limit, fresh_connection } = call;
        let recorded = Recorded { request: request.clone(), fresh_connection };
        self.requests.lock().unwrap().push(recorded);
        let exchange = exchange(self.router.clone(), request, body_limit);
        tokio::time::timeout(deadline, exchange)
            .await
            .unwrap_or_else(|_| Err(Failure::Unknown("no complete answer came".to_owned())))
    }
}

async fn exchange(
    router: Router,
    request: Request<Bytes>,
    body_limit: usize,
) -> Result<Response<Bytes>, Failure> {
    let Ok(response) = router.oneshot(request.map(Body::from)).await;
    let (parts, body) = response.into_parts();
    if parts.extensions.get::<Disconnect>().is_some() {
        return Err(Failure::Unknown("the connection was closed".to_owned()));
    }
    let whole = axum::body::to_bytes(body, body_limit).await;
    let whole = whole.map_err(|_| Failure::Unknown("the answer broke off".to_owned()))?;
    Ok(Response::from_parts(parts, whole))
}

/// A simulator with one site.
pub(crate) struct Bench {
    pub(crate) site: Site,
    pub(crate) wire: Wire,
}

/// A site whose authorities cost no time. Orders stay pending until they are moved.
pub(crate) fn quick() -> SiteSettings {
    let plan = |id: &str, name: &str| Plan {
        id: Some(id.to_owned()),
        name: name.to_owned(),
        multi_domain: true,
        ..Plan::default()
    };
    let mut settings = SiteSettings {
        key_algorithm: KeyAlgorithm::Ecdsa,
        plans: vec![plan(PLAN, "Demo DV"), plan(OTHER_PLAN, "Demo DV other")],
        states: Some(vec![Step::waiting("pending"), Step::waiting("active")]),
        validation: Validation::Nothing,
        authentication: [Authentication::Basic, Authentication::Oidc, Authentication::Header]
            .into(),
        ..SiteSettings::default()
    };
    let reseller = settings.resellers.get_mut(RESELLER).unwrap();
    reseller.api_key = API_KEY.to_owned();
    settings
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut SiteSettings)) -> Self {
        let simulator = Simulator::new(Settings { clock: Arc::new(now), key_pool: None });
        let site = simulator.ssl_purchase("demo").unwrap();
        let mut settings = quick();
        change(&mut settings);
        site.configure(settings).unwrap();
        site.issuers().unwrap();
        let wire = Wire { router: simulator.router(), requests: Arc::default() };
        Self { site, wire }
    }

    /// Changes one thing or another of the site.
    pub(crate) fn set(&self, change: impl FnOnce(&mut SiteSettings)) {
        let mut settings = self.site.settings();
        change(&mut settings);
        self.site.configure(settings).unwrap();
    }

    pub(crate) fn fault(&self, operation: Operation, kind: Kind) {
        self.site.inject(Fault::next(operation, kind)).unwrap();
    }

    pub(crate) fn open(&self) -> Arc<dyn CertificateAuthority> {
        self.open_with(json!({}))
    }

    /// As the operator does it: through the registry.
    pub(crate) fn open_with(&self, more: Value) -> Arc<dyn CertificateAuthority> {
        self.try_open(more, &[("username", RESELLER), ("apiKey", API_KEY)]).unwrap()
    }

    pub(crate) fn try_open(
        &self,
        more: Value,
        secret: &[(&str, &str)],
    ) -> Result<Arc<dyn CertificateAuthority>, Error> {
        self.open_over(Arc::new(self.wire.clone()), more, secret)
    }

    pub(crate) fn open_over(
        &self,
        transport: Arc<dyn Transport>,
        more: Value,
        secret: &[(&str, &str)],
    ) -> Result<Arc<dyn CertificateAuthority>, Error> {
        let spec = spec(more);
        let account: &dyn AccountSettings = registry::account(&spec).unwrap();
        let entry = |key: &str| {
            let found = secret.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| value.as_bytes())
        };
        account.open(Opening {
            credentials: Some(account.credentials_kind().read("shop/ca", entry)?),
            transport,
            deadline: Duration::from_secs(30),
            clock: Clock::new(now),
            reader: Reader::default(),
        })
    }

    /// Requests since this was last asked.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.wire.requests.lock().unwrap())
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Recorded::line).collect()
    }

    pub(crate) fn orders(&self) -> Vec<Record> {
        self.site.orders().unwrap()
    }

    /// What was bought, renewed and reissued.
    pub(crate) fn bought(&self) -> usize {
        self.orders().iter().map(|order| order.purchases.len()).sum()
    }

    /// Moves the only order.
    pub(crate) fn act(&self, action: &Action) {
        let orders = self.orders();
        assert_eq!(orders.len(), 1);
        self.site.act(&orders[0].id, action).unwrap();
    }

    /// An order whose certificate is there, with what is known of it.
    pub(crate) async fn issued(&self, ca: &dyn CertificateAuthority) -> (Stored, Arc<Previous>) {
        let stored = Stored::new(ca, REFERENCE, &key(0)).await;
        let submitted = stored.submit(ca).await;
        let open = stored.open(&submitted);
        self.act(&Action::Advance);
        let Phase::Issued(chain) = polled(ca, &open).await else { panic!("it is issued") };
        let leaf = chain.into_iter().find(|one| !one.is_ca()).unwrap();
        let previous = Previous { id: Some(open.id), certificate: leaf, key: None };
        (stored, Arc::new(previous))
    }
}

/// An issuer that says so.
pub(crate) fn spec(more: Value) -> IssuerSpec {
    let mut block = json!({
        "url": "https://ca.example/ssl-purchase/demo",
        "credentialsSecretRef": { "name": "reseller" },
        "reseller": RESELLER,
        "plan": { "id": PLAN },
        "dcvType": "DNS",
        "reissuePolicy": "Never",
        "allowEcdsa": true,
    });
    block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(json!({ "sslPurchase": block })).unwrap()
}

/// An order as the operator has stored it.
pub(crate) struct Stored {
    pub(crate) reference: String,
    pub(crate) kind: OrderKind,
    pub(crate) csr_der: Vec<u8>,
    pub(crate) spki_der: Vec<u8>,
    pub(crate) parameters: Value,
    pub(crate) since: Timestamp,
    pub(crate) id: Option<String>,
}

impl Stored {
    pub(crate) async fn new(
        ca: &dyn CertificateAuthority,
        reference: &str,
        key: &PrivateKey,
    ) -> Self {
        Self::of(ca, reference, key, &OrderKind::New).await.unwrap()
    }

    pub(crate) async fn of(
        ca: &dyn CertificateAuthority,
        reference: &str,
        key: &PrivateKey,
        wanted_kind: &OrderKind,
    ) -> Result<Self, Error> {
        let names = names();
        let prepared = ca.prepare(&wanted(&names, wanted_kind)).await?;
        let Preparation { kind, parameters } = prepared;
        assert!(kind.may_replace(wanted_kind));
        let stored = Self {
            reference: reference.to_owned(),
            kind,
            csr_der: csr::build(key, &names).unwrap(),
            spki_der: key.spki_der().to_vec(),
            parameters,
            since: now(),
            id: None,
        };
        ca.preflight(&stored.order()).await?;
        Ok(stored)
    }

    pub(crate) fn order(&self) -> Order<'_> {
        Order {
            reference: &self.reference,
            kind: &self.kind,
            since: Some(self.since),
            id: self.id.as_deref(),
            may_exist: true,
            ..Order::unnamed(&self.csr_der, &self.parameters)
        }
    }

    pub(crate) async fn submit(&self, ca: &dyn CertificateAuthority) -> Submitted {
        let claim = Claim::of_a_test(&self.reference);
        ca.submit(&self.order(), Permit::Claimed(claim)).await
    }

    pub(crate) async fn find(&self, ca: &dyn CertificateAuthority) -> Lookup {
        ca.find(&self.order()).await.unwrap()
    }

    /// What is polled for it after it was taken.
    pub(crate) fn open(&self, submitted: &Submitted) -> OpenOrder {
        let Submitted::Accepted(Progress { id: Some(id), .. }) = submitted else {
            panic!("not accepted: {submitted:?}");
        };
        OpenOrder {
            reference: self.reference.clone(),
            id: id.clone(),
            since: self.since,
            replaces: self.kind.previous().map(|previous| previous.serial().to_owned()),
        }
    }

    /// Whether one of these is for its key.
    pub(crate) fn has(&self, certificates: &[Certificate]) -> bool {
        certificates.iter().any(|one| one.spki_der() == self.spki_der)
    }
}

pub(crate) fn names() -> Names {
    Names { dns_names: vec!["shop.example.org".to_owned()], ..Names::default() }
}

pub(crate) fn wanted<'a>(names: &'a Names, kind: &'a OrderKind) -> Wanted<'a> {
    Wanted {
        names,
        key_kind: KeyKind::EcdsaP256,
        duration: None,
        kind,
        blocks: Blocks::none(),
        is_requested: false,
    }
}

/// Keys for all tests.
pub(crate) fn key(number: usize) -> Arc<PrivateKey> {
    static KEYS: [OnceLock<Arc<PrivateKey>>; 3] =
        [OnceLock::new(), OnceLock::new(), OnceLock::new()];
    let make = || Arc::new(PrivateKey::generate(KeyKind::EcdsaP256).unwrap());
    Arc::clone(KEYS[number].get_or_init(make))
}

/// Submits an order of its own and returns what to poll for.
pub(crate) async fn placed(ca: &dyn CertificateAuthority, number: usize) -> OpenOrder {
    let reference = format!("chancery-0f0e0d0c-0b0a-4908-8706-050403020100-{number}");
    let stored = Stored::new(ca, &reference, &key(0)).await;
    let submitted = stored.submit(ca).await;
    stored.open(&submitted)
}

/// The one answer to a poll for one order.
pub(crate) async fn polled(ca: &dyn CertificateAuthority, order: &OpenOrder) -> Phase {
    let mut answers = ca.poll(std::slice::from_ref(order)).await;
    assert_eq!(answers.len(), 1);
    let (reference, answer) = answers.remove(0);
    assert_eq!(reference, order.reference);
    answer.unwrap().phase
}

/// The words of a phase that waits or has failed.
pub(crate) fn told(phase: &Phase) -> String {
    match phase {
        Phase::Pending(waiting) => {
            format!("{} {:?}: {}", waiting.state, waiting.actor, waiting.message)
        }
        Phase::Failed(failed) => format!("{} {:?}: {}", failed.state, failed.kind, failed.message),
        Phase::Issued(chain) => format!("issued: {}", chain.len()),
    }
}
