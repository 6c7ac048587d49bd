//! A simulator with one quick site, an account at it, every request that goes between them, and a
//! clock that tests move.

use std::cell::Cell;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use chancery::api::{
    IssuerSpec, SecretReference, SwissSign, SwissSignAuthentication, SwissSignClient,
    SwissSignProduct, SwissSignSubmission,
};
use chancery::ca::kind::Opening;
use chancery::ca::registry;
use chancery::ca::{
    Blocks, CertificateAuthority, Claim, Lookup, OpenOrder, Order, OrderKind, Permit, Phase,
    Progress, Submitted, Wanted,
};
use chancery::clock::Clock;
use chancery::outside::credentials::{Basic, Credentials};
use chancery::outside::remote_text::Reader;
use chancery::outside::transport::{Call, Failure, Transport};
use chancery::pki::{KeyKind, Names, PrivateKey, csr};
use chancery::simulator::swisssign::{
    Action, Client, Operation, Product, Site, SiteSettings, Step,
};
use chancery::simulator::{Disconnect, Fault, KeyAlgorithm, Kind, Settings, Simulator};
use futures::StreamExt as _;
use http::{Request, Response};
use jiff::Timestamp;
use tower::ServiceExt as _;

pub(crate) const USER: &str = "MPKI0000001.AutoRAO";
pub(crate) const API_KEY: &str = "Xq7pK2mW9vB4nT6rY8sD1fG3hJ5kL0zC";
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
pub(crate) const REFERENCE: &str = "chancery-0f0e0d0c-0b0a-4908-8706-050403020100-1";
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

/// Keeps every request and calls the router, with the bounds that the real transport keeps.
#[derive(Clone)]
pub(crate) struct Wire {
    router: Router,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

/// A request as it was handed to the transport.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) request: Request<Bytes>,
    pub(crate) deadline: Duration,
    pub(crate) fresh_connection: bool,
}

impl Recorded {
    /// Below the site.
    pub(crate) fn path(&self) -> &str {
        self.request.uri().path().split_once("/v2/").unwrap().1
    }

    /// The same with ids shortened to their prefix.
    fn short_path(&self) -> String {
        let short = |segment: &str| match segment.split_once('-') {
            Some((prefix, rest)) if rest.len() == 36 => format!("{prefix}-"),
            Some(_) | None => segment.to_owned(),
        };
        self.path().split('/').map(short).collect::<Vec<_>>().join("/")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.request.body()).unwrap()
    }
}

#[async_trait]
impl Transport for Wire {
    async fn send(&self, call: Call) -> Result<Response<Bytes>, Failure> {
        let Call { request, deadline, body_limit, fresh_connection } = call;
        let recorded = Recorded { request: request.clone(), deadline, fresh_connection };
        self.requests.lock().unwrap().push(recorded);
        let exchange = exchange(self.router.clone(), request, body_limit);
        tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_| {
            Err(Failure::Unknown(format!(
                "no complete answer came within {} s",
                deadline.as_secs()
            )))
        })
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
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Failure::Unknown("the answer broke off".to_owned()))?;
        if whole.len() + chunk.len() > body_limit {
            return Err(Failure::Unknown(format!("the answer is longer than {body_limit} bytes")));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Response::from_parts(parts, whole.freeze()))
}

/// A simulator with one site.
pub(crate) struct Bench {
    pub(crate) site: Site,
    wire: Wire,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(quick())
    }

    pub(crate) fn with(settings: SiteSettings) -> Self {
        let simulator = Simulator::new(Settings { clock: Arc::new(now), key_pool: None });
        let site = simulator.swisssign("demo").unwrap();
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

    pub(crate) fn spec(&self) -> SwissSign {
        let client = &self.site.settings().clients[0];
        SwissSign {
            url: "https://ca.example/swisssign/demo".to_owned(),
            credentials_secret_ref: SecretReference { name: "swisssign".to_owned() },
            client: SwissSignClient { id: client.id.clone(), name: None },
            product: Some(SwissSignProduct { id: client.products[0].id.clone(), name: None }),
            accept_terms_and_conditions: true,
            authentication: SwissSignAuthentication::Exchange,
            submission: SwissSignSubmission::Named,
            preflight: true,
            settle_window: "15m".to_owned(),
        }
    }

    pub(crate) fn open(&self) -> Arc<dyn CertificateAuthority> {
        self.open_with(self.spec())
    }

    /// As the operator does it: through the registry.
    pub(crate) fn open_with(&self, spec: SwissSign) -> Arc<dyn CertificateAuthority> {
        self.open_as(spec, API_KEY)
    }

    pub(crate) fn open_as(&self, spec: SwissSign, api_key: &str) -> Arc<dyn CertificateAuthority> {
        self.open_over(Arc::new(self.wire.clone()), spec, api_key)
    }

    /// The way to the site, for a transport that does something to it.
    pub(crate) fn wire(&self) -> Arc<dyn Transport> {
        Arc::new(self.wire.clone())
    }

    pub(crate) fn open_over(
        &self,
        transport: Arc<dyn Transport>,
        spec: SwissSign,
        api_key: &str,
    ) -> Arc<dyn CertificateAuthority> {
        let spec = IssuerSpec { swiss_sign: Some(spec), ..IssuerSpec::default() };
        let opening = Opening {
            credentials: Some(Credentials::Basic(Basic::new(
                USER.to_owned(),
                api_key.to_owned().into(),
            ))),
            transport,
            deadline: DEADLINE,
            clock: Clock::new(now),
            reader: Reader::default(),
        };
        registry::account(&spec).unwrap().open(opening).unwrap()
    }

    /// Requests since this was last asked.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.wire.requests.lock().unwrap())
    }

    /// Their paths, with ids shortened to their prefix.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.requests().iter().map(Recorded::short_path).collect()
    }

    /// The same without what only tries whether the search by name finds orders.
    pub(crate) fn paths_of_polls(&self) -> Vec<String> {
        let is_trial =
            |one: &Recorded| one.path() == "orders/paged" && one.json().get("tags").is_some();
        let requests = self.requests();
        requests.iter().filter(|one| !is_trial(one)).map(Recorded::short_path).collect()
    }

    /// Requests of the kind that makes orders.
    pub(crate) fn submits(&self) -> usize {
        let requests = self.wire.requests.lock().unwrap();
        requests.iter().filter(|one| one.path().starts_with("issue")).count()
    }

    pub(crate) fn orders(&self) -> u64 {
        self.site.references().total
    }

    /// Moves the only order.
    pub(crate) fn act(&self, action: &Action) {
        let orders = self.site.orders().unwrap();
        assert_eq!(orders.len(), 1);
        self.site.act(&orders[0].uuid, action).unwrap();
    }
}

/// A site whose authorities cost no time. Orders stay in NEW until they are moved.
pub(crate) fn quick() -> SiteSettings {
    let id =
        |prefix: &str, number: u8| format!("{prefix}00000000-0000-4000-8000-0000000000{number:02}");
    SiteSettings {
        accounts: [(USER.to_owned(), API_KEY.to_owned())].into(),
        key_algorithm: KeyAlgorithm::Ecdsa,
        clients: vec![Client {
            id: Some(id("cli-", 1)),
            name: "Demo Client".to_owned(),
            products: vec![Product { id: Some(id("pma-", 1)), ..Product::default() }],
            ..Client::default()
        }],
        states: Some(vec![Step::waiting("NEW"), Step::waiting("ISSUED")]),
        ..SiteSettings::default()
    }
}

/// An order as the operator has stored it.
pub(crate) struct Stored {
    pub(crate) reference: String,
    pub(crate) csr_der: Vec<u8>,
    pub(crate) parameters: serde_json::Value,
    pub(crate) since: Timestamp,
    pub(crate) id: Option<String>,
    pub(crate) may_exist: bool,
}

impl Stored {
    pub(crate) async fn new(ca: &dyn CertificateAuthority, reference: &str) -> Self {
        Self::for_key(ca, reference, &key()).await
    }

    pub(crate) async fn for_key(
        ca: &dyn CertificateAuthority,
        reference: &str,
        key: &PrivateKey,
    ) -> Self {
        let names = names();
        let prepared = ca.prepare(&wanted(&names)).await.unwrap().parameters;
        Self {
            reference: reference.to_owned(),
            csr_der: csr::build(key, &names).unwrap(),
            parameters: prepared,
            since: now(),
            id: None,
            may_exist: false,
        }
    }

    pub(crate) fn order(&self) -> Order<'_> {
        Order {
            reference: &self.reference,
            since: Some(self.since),
            id: self.id.as_deref(),
            may_exist: self.may_exist,
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
            since: now(),
            replaces: None,
        }
    }
}

pub(crate) fn names() -> Names {
    Names { dns_names: vec!["shop.example.org".to_owned()], ..Names::default() }
}

pub(crate) fn wanted(names: &Names) -> Wanted<'_> {
    Wanted {
        names,
        key_kind: KeyKind::EcdsaP256,
        duration: None,
        kind: &OrderKind::New,
        blocks: Blocks::none(),
        is_requested: false,
    }
}

/// One key for all tests.
pub(crate) fn key() -> Arc<PrivateKey> {
    static KEY: OnceLock<Arc<PrivateKey>> = OnceLock::new();
    Arc::clone(KEY.get_or_init(|| Arc::new(PrivateKey::generate(KeyKind::EcdsaP256).unwrap())))
}

/// Submits an order of its own and returns what to poll for.
pub(crate) async fn placed(ca: &dyn CertificateAuthority, number: usize) -> OpenOrder {
    let reference = format!("chancery-0f0e0d0c-0b0a-4908-8706-050403020100-{number}");
    let stored = Stored::new(ca, &reference).await;
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
        Phase::Pending(waiting) => format!("{:?}: {}", waiting.actor, waiting.message),
        Phase::Failed(failed) => format!("{:?}: {}", failed.kind, failed.message),
        Phase::Issued(chain) => format!("issued: {}", chain.len()),
    }
}
