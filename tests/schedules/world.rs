//! The world of one schedule: an API server, a CA, and the operator's processes, in one runtime whose
//! time stands still while anybody has something to do.
//!
//! What a process has sent belongs to the world: it is carried out whether or not its sender is still
//! there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use chancery::api::annotation;
use chancery::clock::Clock;
use chancery::controller::{self, Apart, Inline, KeySource, Operator, Process, Purchases};
use chancery::metrics::Metrics;
use chancery::mutant::{Mutant, is_removed};
use chancery::outside::transport::{Call, Connector, Failure, Route, Transport};
use chancery::pki::{self, KeyError, KeyKind, Names, PrivateKey, csr};
use chancery::pulse::Pulse;
use chancery::sight::Sight;
use chancery::simulator::online_ca::{Site as FreeSite, SiteSettings as FreeSettings};
use chancery::simulator::{Disconnect, KeyAlgorithm, Settings, Simulator};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::api::{self, ApiServer, Kind, User};
use crate::ca::{self, Bought, Ca, Fate, Fickle};
use crate::check::{Finding, Ledger};
use crate::dice::Dice;
use crate::doctored;
use crate::permission::Permissions;
use crate::plan::{Asks, Greed, Happening, IssuerEdit, Limits, Peer, Plan, Refusing, Tampering};

/// Where everything is that the schedules order.
pub const NAMESPACE: &str = "shop";
/// Who wants more than is its own. The names of its requests begin with it.
pub const GREEDY: &str = "greedy";
/// The label by which a ClusterIssuer selects both.
const SERVED: &str = "served";
/// Where the operator is, and the credentials of a ClusterIssuer.
pub const OPERATOR: &str = "chancery-system";
pub const CLUSTER_ISSUERS: &str = "/apis/chancery.dev/v1alpha1/clusterissuers";
/// When schedules begin: in the evening, or two minutes before midnight.
const EVENING: i64 = 1_780_000_000;
const NEAR_MIDNIGHT: i64 = 1_780_012_680;
/// Longest time for one request to the CA.
const CA_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the lease lasts where there are two replicas.
const LEASE: Duration = Duration::from_secs(30);
/// Findings of orders that should not be.
const ORDERS: [&str; 2] = ["duplicate_orders", "unasked_orders"];

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Line = Result<http_body::Frame<Bytes>, Infallible>;
type Stream = StreamBody<futures::stream::BoxStream<'static, Line>>;

/// A world. Clones are the same one.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    /// Told of each change at the API server.
    changed: watch::Sender<u64>,
    router: Router,
    ca: Arc<dyn Ca>,
    free: FreeSite,
    pub plan: Arc<Plan>,
    begun: Instant,
    /// Second of the epoch at which the schedule begins.
    start: i64,
}

/// Everything that changes.
pub struct State {
    pub api: ApiServer,
    pub ledger: Ledger,
    permissions: Permissions,
    replicas: Vec<Replica>,
    /// How often each effect was there.
    counts: BTreeMap<String, u32>,
    /// What happened, with the name of its effect.
    pub happened: Vec<(String, Happening)>,
    /// The effects of the processes that can go wrong, in order.
    pub effects: Vec<(String, Peer)>,
    /// How many calls the processes have made.
    pub calls: usize,
    /// From here on things go wrong.
    has_begun: bool,
    /// What went wrong shows no more after this.
    troubled_until: Instant,
    /// What somebody may want to read, if so.
    pub trace: Option<Vec<String>>,
    /// A fingerprint of all of it.
    pub digest: u64,
    snapshots: Vec<(Instant, ApiServer)>,
    /// Longest time for which a process stood still, and for which the CA lagged.
    stood_still: u64,
    lagged: u64,
    /// The CA has forgotten an order whose id nobody had written down.
    has_forgotten_unknown: bool,
    /// For how long searches were blind, weighed as a lag.
    blinded: u64,
    edits: u64,
    /// The greedy namespace has asked.
    has_asked: bool,
    /// Who had the lease last.
    leader: String,
    /// The product that each request names, where it names one.
    products: BTreeMap<usize, Value>,
    /// The names before the last edit.
    names_before: BTreeMap<usize, String>,
    first_targets: BTreeMap<usize, Value>,
    first_records: BTreeMap<usize, Value>,
    /// Searches do not come to their end before this.
    endless_until: Option<Instant>,
    /// The last submit of an order, to be made again with another key.
    submit: Option<Request<Bytes>>,
    /// Records that are to be written once the CA has answered, by the process that is to.
    held_back: Vec<(usize, api::Request)>,
}

struct Replica {
    process: Process,
    terminate: Option<oneshot::Sender<()>>,
    is_over: bool,
    /// It ended while things went wrong, and not at rest.
    ended_at_work: bool,
    skew: SignedDuration,
    stopped_since: Instant,
    stopped_until: Option<Instant>,
    cut_off_until: Option<Instant>,
    no_rights_until: Option<Instant>,
    stale_until: Option<Instant>,
    /// Watches that began before have ended.
    watches: u64,
}

impl State {
    /// So many of the day's orders may be lost, at most: with each thing that went wrong a block, with
    /// each process that ended the rest of one, and with each that ended at work those that the runs
    /// of so many requests had drawn and not used.
    pub fn lost(&self, requests: usize, block: u64) -> u64 {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let count = |is_it: fn(&Replica) -> bool| {
            self.replicas.iter().filter(|replica| is_it(replica)).count()
        };
        let (ended, at_work) = (count(|one| one.is_over), count(|one| one.ended_at_work));
        number(self.happened.len() + ended) * block + number(at_work * requests)
    }
}

fn is_before(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long a call takes to arrive: few at the same instant, because which of two futures that are
/// ready is seen first hangs on maps of the libraries, which nobody can seed.
fn latency(least: u64, choices: u64, name: &str) -> Duration {
    Duration::from_millis(least + Dice(0).below(choices, name))
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

impl World {
    /// A world without objects and processes.
    pub fn new(plan: &Plan, is_traced: bool) -> Self {
        let begun = Instant::now();
        let start = if plan.setting.is_near_midnight { NEAR_MIDNIGHT } else { EVENING };
        let clock: chancery::simulator::Clock = Arc::new(move || wall(start, begun));
        let simulator = Simulator::new(Settings { clock, key_pool: Some(3) });
        let ca = ca::of(&simulator, &plan.setting);
        let free = simulator.online_ca("free").expect("a name");
        free.configure(free_settings());
        let state = State {
            api: ApiServer::new(),
            ledger: Ledger::new(&plan.setting),
            permissions: Permissions::default(),
            replicas: Vec::new(),
            counts: BTreeMap::new(),
            happened: Vec::new(),
            effects: Vec::new(),
            calls: 0,
            has_begun: false,
            troubled_until: begun,
            trace: is_traced.then(Vec::new),
            digest: 0,
            snapshots: Vec::new(),
            stood_still: 0,
            lagged: plan.setting.lag,
            has_forgotten_unknown: false,
            blinded: 0,
            edits: 0,
            has_asked: false,
            leader: String::new(),
            products: BTreeMap::new(),
            names_before: BTreeMap::new(),
            first_targets: BTreeMap::new(),
            first_records: BTreeMap::new(),
            endless_until: None,
            submit: None,
            held_back: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            changed: watch::channel(0).0,
            router: simulator.router(),
            ca,
            free,
            plan: Arc::new(plan.clone()),
            begun,
            start,
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic before")
    }

    /// The time of day in the world.
    pub fn now(&self) -> Timestamp {
        wall(self.start, self.begun)
    }

    pub fn second(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }

    /// The CA where orders cost money.
    pub fn ca(&self) -> &dyn Ca {
        &*self.ca
    }

    /// All that was bought, each by the name that we have for it.
    pub fn bought(&self, state: &State) -> Vec<Bought> {
        state.ledger.named(self.ca.bought())
    }

    /// The CA that is free.
    pub fn free(&self) -> &FreeSite {
        &self.free
    }

    /// Notes a line for whoever reads the trace.
    pub fn note(&self, state: &mut State, who: &str, text: &str) {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let at = self.begun.elapsed();
        let mut hasher = DefaultHasher::new();
        (at.as_millis(), who, text).hash(&mut hasher);
        // The same whichever of two lines of one instant comes first.
        state.digest = state.digest.wrapping_add(hasher.finish());
        if let Some(trace) = &mut state.trace {
            trace.push(format!("{:>9.3} s  {who:<6} {text}", at.as_secs_f64()));
        }
        tracing::debug!(target: "world", "{:>9.3} s  {who:<6} {text}", at.as_secs_f64());
    }

    // --- The cluster -------------------------------------------------------------------------

    /// Sends a request as the person whose cluster it is.
    pub fn person(&self, method: http::Method, path: &str, body: &Value) -> api::Answer {
        let mut state = self.lock();
        let answer = self.carried_out(&mut state, &request(method, path, body, User::Person));
        self.note(&mut state, "person", &format!("{path} → {}", answer.status));
        answer
    }

    /// Carries a request out, and looks at what it has changed.
    fn carried_out(&self, state: &mut State, request: &api::Request) -> api::Answer {
        let before = state.api.version();
        let answer = state.api.call(request, self.now());
        if state.api.version() != before {
            self.examine(state);
            let version = state.api.version();
            self.changed.send_replace(version);
        }
        answer
    }

    /// Has the ledger look at what is there now.
    pub fn examine(&self, state: &mut State) {
        let (stood_still, lagged, blinded) = (state.stood_still, state.lagged, state.blinded);
        let State { api, ledger, permissions, leader, .. } = state;
        permissions.look(api);
        let lease = api.object(Kind::Lease, OPERATOR, "chancery");
        let holder = lease.and_then(|lease| lease["spec"]["holderIdentity"].as_str());
        if let Some(holder) = holder.filter(|holder| !holder.is_empty() && holder != leader) {
            // The first of all takes over from nobody.
            if !std::mem::replace(leader, holder.to_owned()).is_empty() {
                ledger.handed_over();
            }
        }
        for kind in [Kind::Issuer, Kind::ClusterIssuer] {
            for issuer in api.objects(kind) {
                let by = issuer["status"]["budget"]["by"].as_str();
                let name = issuer["metadata"]["name"].as_str().unwrap_or_default();
                by.iter().for_each(|by| ledger.reserves(&format!("{kind:?} {name}"), by));
            }
        }
        ledger.note_names(api);
        let orders = ledger.named(self.ca.bought());
        // A search takes its time, and so does what follows it.
        let unseen = 30 + stood_still + lagged + blinded;
        ledger.look(api, &orders, self.now(), unseen);
    }

    /// Creates the issuer, its credentials and the requests.
    pub fn furnish(&self) {
        for name in [NAMESPACE, GREEDY] {
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"team": name, SERVED: "yes"}},
            });
            self.person(http::Method::POST, "/api/v1/namespaces", &namespace);
        }
        self.put_credentials(0);
        let (kind, path) = self.issuers();
        self.person(http::Method::POST, &path, &self.issuer(kind));
        self.put_odd_objects();
    }

    /// Of which kind the issuer is, and where its like are.
    fn issuers(&self) -> (&'static str, String) {
        match self.plan.setting.greedy {
            Some(_) => ("ClusterIssuer", CLUSTER_ISSUERS.to_owned()),
            None => ("Issuer", resources("issuers")),
        }
    }

    /// Where the issuer is.
    fn issuer_path(&self) -> String {
        format!("{}/ca", self.issuers().1)
    }

    /// The issuer as it is stored.
    fn stored_issuer<'a>(&self, state: &'a State) -> Option<&'a Value> {
        match self.plan.setting.greedy {
            Some(_) => state.api.object(Kind::ClusterIssuer, "", "ca"),
            None => state.api.object(Kind::Issuer, NAMESPACE, "ca"),
        }
    }

    /// The names of all requests that were made.
    pub fn requests(&self) -> Vec<String> {
        let greedy = self.plan.setting.greedy.filter(|_| self.lock().has_asked);
        let mut names: Vec<String> = (0..self.plan.setting.requests).map(name).collect();
        names.extend((0..greedy.map_or(0, |greedy| greedy.requests)).map(greedy_name));
        names
    }

    /// What [`poisoned`] makes unreadable: one of each kind that is watched and that a person may make.
    fn put_odd_objects(&self) {
        let odd = |mut object: Value, label: &str| {
            object["metadata"]["name"] = ODD.into();
            if !label.is_empty() {
                object["metadata"]["labels"] = json!({label: "true"});
            }
            object
        };
        let request = json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"namespace": NAMESPACE},
            "spec": {"issuerRef": {"name": "ca"}, "secretName": ODD, "dnsNames": ["odd.example.ch"]},
        });
        let plain = |kind: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": NAMESPACE}});
        let core = |plural: &str| format!("/api/v1/namespaces/{NAMESPACE}/{plural}");
        let objects = [
            (resources("certificaterequests"), odd(request, "")),
            (resources("issuers"), odd(self.issuer("Issuer"), "")),
            (CLUSTER_ISSUERS.to_owned(), odd(self.issuer("ClusterIssuer"), "")),
            (core("secrets"), odd(plain("Secret"), annotation::MANAGED_LABEL)),
            (core("configmaps"), odd(plain("ConfigMap"), annotation::TRUST_LABEL)),
        ];
        for (path, object) in objects {
            let answer = self.person(http::Method::POST, &path, &object);
            assert!(answer.status < 300, "{answer:?}");
        }
    }

    /// An issuer for the account, of this kind.
    pub fn issuer(&self, kind: &str) -> Value {
        let mut issuer = json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": kind,
            "metadata": {"name": "ca", "namespace": NAMESPACE},
            "spec": {
                self.ca.field(): self.ca.block(self.plan.setting.window),
                "trust": {"bundle": {"pem": self.ca.root()}},
                "limits": limits(self.plan.setting.limits),
            },
        });
        if kind == "ClusterIssuer" {
            issuer["metadata"].as_object_mut().expect("an object").remove("namespace");
            issuer["spec"]["allow"] = everything();
            if self.plan.setting.greedy.is_some() {
                issuer["spec"]["allow"]["namespaces"] = json!({"matchLabels": {SERVED: "yes"}});
            }
        }
        issuer
    }

    /// Somebody edits the issuer, or has a request name another for the same.
    fn edit_issuer(&self, how: IssuerEdit, time: u64) {
        let path = self.issuer_path();
        let field = self.ca.field();
        let edit = |block: Value| {
            self.person(http::Method::PATCH, &path, &json!({"spec": {field: block}}));
        };
        let at = |host: &str| json!({"url": self.ca.url(host)});
        match how {
            IssuerEdit::Product => edit(self.ca.product(1)),
            IssuerEdit::ById => edit(self.ca.product(0)),
            IssuerEdit::Spelling => edit(at("RA.example:443")),
            IssuerEdit::Moves => {
                edit(at("ra2.example"));
                self.later(time, move |world| {
                    let block = json!({"url": world.ca.url("ra.example")});
                    let patch = json!({"spec": {field: block}});
                    let path = world.issuer_path();
                    world.person(http::Method::PATCH, &path, &patch);
                });
            }
            IssuerEdit::Recreates => {
                self.person(http::Method::DELETE, &path, &Value::Null);
                let (kind, path) = self.issuers();
                self.person(http::Method::POST, &path, &self.issuer(kind));
            }
            // It serves everybody already.
            IssuerEdit::Widens if self.plan.setting.greedy.is_some() => {}
            IssuerEdit::Widens => {
                let namespace = json!({
                    "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR},
                });
                self.person(http::Method::POST, "/api/v1/namespaces", &namespace);
                self.put_credentials_in(OPERATOR, 0);
                // For the same product, which may have been edited.
                let mut wider = self.issuer("ClusterIssuer");
                if let Some(narrow) = self.lock().api.object(Kind::Issuer, NAMESPACE, "ca") {
                    wider["spec"][field] = narrow["spec"][field].clone();
                }
                self.person(http::Method::POST, CLUSTER_ISSUERS, &wider);
                let request = format!("{}/{}", resources("certificaterequests"), name(0));
                let patch = json!({"spec": {"issuerRef": {"kind": "ClusterIssuer"}}});
                self.person(http::Method::PATCH, &request, &patch);
            }
        }
    }

    /// Somebody has the issuer serve nobody, and so long later whom it served before.
    fn refuse(&self, how: Refusing, time: u64) {
        // Where two namespaces share one, there is none.
        let issuer = |spec: &Value| {
            let patch = json!({"spec": spec});
            let path = format!("{}/ca", resources("issuers"));
            self.person(http::Method::PATCH, &path, &patch);
        };
        let cluster_issuer = |spec: &Value| {
            let patch = json!({"spec": spec});
            self.person(http::Method::PATCH, &format!("{CLUSTER_ISSUERS}/ca"), &patch);
        };
        let selects = |labels: Value| json!({"allow": {"namespaces": {"matchLabels": labels}}});
        match how {
            Refusing::Suspends => {
                issuer(&json!({"suspend": true}));
                cluster_issuer(&json!({"suspend": true}));
            }
            Refusing::Names => {
                issuer(&json!({"allow": {"dnsNames": []}}));
                cluster_issuer(&json!({"allow": {"dnsNames": []}}));
            }
            Refusing::Selector => {
                self.edit_issuer(IssuerEdit::Widens, time);
                cluster_issuer(&selects(json!({"team": "another"})));
            }
            Refusing::Labels => {
                self.edit_issuer(IssuerEdit::Widens, time);
                cluster_issuer(&selects(json!({"team": NAMESPACE})));
                self.label_namespace(NAMESPACE, &json!({"team": null}));
            }
            Refusing::Greedy => self.label_namespace(GREEDY, &json!({SERVED: null})),
        }
        self.later(time, move |world| world.serve_again(how));
    }

    /// Takes back what had the issuer serve nobody.
    fn serve_again(&self, how: Refusing) {
        let selects_any_team = json!({"allow": {"namespaces": {"matchLabels": {"team": null}}}});
        let (of_issuer, of_cluster_issuer) = match how {
            Refusing::Suspends => (json!({"suspend": null}), json!({"suspend": null})),
            Refusing::Names => {
                let names = &everything()["dnsNames"];
                (json!({"allow": null}), json!({"allow": {"dnsNames": names}}))
            }
            Refusing::Selector => (json!({}), selects_any_team),
            Refusing::Labels => {
                self.label_namespace(NAMESPACE, &json!({"team": NAMESPACE}));
                if self.plan.setting.greedy.is_none() {
                    return;
                }
                (json!({}), selects_any_team)
            }
            Refusing::Greedy => return self.label_namespace(GREEDY, &json!({SERVED: "yes"})),
        };
        let path = format!("{}/ca", resources("issuers"));
        self.person(http::Method::PATCH, &path, &json!({"spec": of_issuer}));
        let path = format!("{CLUSTER_ISSUERS}/ca");
        self.person(http::Method::PATCH, &path, &json!({"spec": of_cluster_issuer}));
    }

    fn label_namespace(&self, namespace: &str, labels: &Value) {
        let patch = json!({"metadata": {"labels": labels}});
        self.person(http::Method::PATCH, &format!("/api/v1/namespaces/{namespace}"), &patch);
    }

    /// As if the account's search had found an order in earlier times.
    pub fn prove(&self) {
        let mut state = self.lock();
        let Some(issuer) = self.stored_issuer(&state).cloned() else { return };
        let mut proven = issuer;
        let Some(account) = proven["status"]["account"].as_str().map(str::to_owned) else { return };
        proven["status"]["orderFoundAt"] = account.into();
        let path = format!("{}/status", self.issuer_path());
        self.carried_out(&mut state, &request(http::Method::PUT, &path, &proven, User::Operator));
    }

    pub fn is_issuer_ready(&self) -> bool {
        let state = self.lock();
        let issuer = self.stored_issuer(&state);
        issuer.is_some_and(|issuer| condition(issuer, "Ready") == Some("True"))
    }

    fn put_credentials(&self, account: usize) {
        let is_shared = self.plan.setting.greedy.is_some();
        self.put_credentials_in(if is_shared { OPERATOR } else { NAMESPACE }, account);
    }

    fn put_credentials_in(&self, namespace: &str, account: usize) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {
                "name": "api-key", "namespace": namespace,
                "labels": {"chancery.dev/credentials": "true"},
                "annotations": {"chancery.dev/hosts": "ra.example,ra2.example"},
            },
            "stringData": self.ca.credentials(account),
        });
        let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
        if self.person(http::Method::POST, &secrets, &secret).status == 409 {
            self.person(http::Method::PATCH, &format!("{secrets}/api-key"), &secret);
        }
    }

    fn create_request(&self, number: usize) {
        self.create_named(&name(number), number);
    }

    /// The greedy namespace asks for all of its certificates.
    fn ask_greedily(&self) {
        self.lock().has_asked = true;
        let count = self.plan.setting.greedy.map_or(0, |greedy| greedy.requests);
        (0..count).for_each(|number| self.create_named(&greedy_name(number), number));
    }

    fn create_named(&self, name: &str, number: usize) {
        let namespace = namespace_of(name);
        let mut state = self.lock();
        let dns_name = state.ledger.wanted(name, number);
        state.ledger.suspended(name, None);
        let is_greedy = namespace == GREEDY;
        let product = state.products.get(&number).filter(|_| !is_greedy).cloned();
        let target =
            if is_greedy { format!("{name}-tls") } else { self.plan.setting.target(number) };
        let mut object = json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "issuerRef": {"name": "ca", "kind": self.issuers().0},
                "secretName": target,
                "dnsNames": [dns_name],
                "privateKey": {"algorithm": "ECDSA"},
            },
        });
        if let Some(product) = product {
            object["spec"][self.ca.field()] = ca::created(&product);
        }
        let path = resources_in(namespace, "certificaterequests");
        let answer = self
            .carried_out(&mut state, &request(http::Method::POST, &path, &object, User::Person));
        assert!(answer.status < 300 || answer.status == 403, "{answer:?}");
        self.note(&mut state, "person", &format!("creates {name}"));
    }

    // --- The processes -----------------------------------------------------------------------

    /// Starts a process; it is a new one, whatever ended before.
    pub fn start_replica(&self) {
        let process = Process::for_a_test();
        let (terminate, terminated) = oneshot::channel();
        let number = {
            let mut state = self.lock();
            state.replicas.push(Replica {
                process: process.clone(),
                terminate: Some(terminate),
                is_over: false,
                ended_at_work: false,
                skew: SignedDuration::ZERO,
                stopped_since: Instant::now(),
                stopped_until: None,
                cut_off_until: None,
                no_rights_until: None,
                stale_until: None,
                watches: 0,
            });
            let number = state.replicas.len() - 1;
            self.note(&mut state, &format!("r{number}"), "starts");
            number
        };
        let clock = {
            let world = self.clone();
            Clock::new(move || world.now() + world.lock().replicas[number].skew)
        };
        let client = self.client(number);
        let operator = Operator {
            sight: self.sight(),
            client: client.clone(),
            namespace: OPERATOR.to_owned(),
            incarnation: format!("{number:032x}"),
            lease_duration: (self.plan.setting.replicas > 1 && !is_removed(Mutant::LeaseCheck))
                .then_some(LEASE),
            apart: Apart { client, runtime: Handle::current(), pulse: Pulse::steady() },
            connector: Arc::new(Wire { world: self.clone(), replica: number }),
            tenants_reach: chancery::outside::reach::Reach::Anywhere,
            template_keys: chancery::issuance::TemplateKeys::default(),
            clock,
            keys: Arc::new(Keys),
            executor: Arc::new(Inline),
            ca_timeout: CA_TIMEOUT,
            metrics: Arc::new(Metrics::default()),
            purchases: self.purchases(),
            process: process.clone(),
        };
        let running = controller::run(operator, terminated.map(drop), || ());
        let world = self.clone();
        let whole = process.within(running);
        tokio::spawn(async move {
            whole.await;
            world.ended(number);
        });
    }

    /// Where the log of purchases is written to.
    fn purchases(&self) -> Purchases {
        let world = self.clone();
        Purchases::new(move |line| world.lock().ledger.told(&line))
    }

    /// What a process is to see: all namespaces, or each of those that there are, its own apart.
    fn sight(&self) -> Sight {
        if !self.plan.setting.chooses_namespaces {
            return Sight::default();
        }
        let state = self.lock();
        let names =
            state.api.objects(Kind::Namespace).filter_map(|it| it["metadata"]["name"].as_str());
        let names: Vec<&str> = names.filter(|name| *name != OPERATOR).collect();
        Sight::of(names.join(",").parse().expect("names"))
    }

    /// A process has ended: another one takes its place.
    fn ended(&self, number: usize) {
        {
            let mut state = self.lock();
            let has_begun = state.has_begun;
            let replica = &mut state.replicas[number];
            if std::mem::replace(&mut replica.is_over, true) {
                return;
            }
            replica.ended_at_work = has_begun;
            replica.process.end();
            // Where there are more, the lease tells.
            if self.plan.setting.replicas == 1 {
                state.ledger.handed_over();
            }
            self.note(&mut state, &format!("r{number}"), "has ended");
        }
        let world = self.clone();
        tokio::spawn(async move {
            pass(seconds(3)).await;
            world.start_replica();
        });
    }

    fn stand_still(&self, number: usize, time: u64) {
        {
            let mut state = self.lock();
            let now = Instant::now();
            let replica = &mut state.replicas[number];
            // One that stands still already does so for longer.
            if !is_before(replica.stopped_until) {
                replica.stopped_since = now;
            }
            replica.stopped_until = replica.stopped_until.max(Some(now + seconds(time)));
            replica.process.stop();
            let whole = replica.stopped_until.unwrap_or(now) - replica.stopped_since;
            state.stood_still = state.stood_still.max(whole.as_secs());
        }
        let world = self.clone();
        tokio::spawn(async move {
            pass(seconds(time)).await;
            let state = world.lock();
            let replica = &state.replicas[number];
            if !is_before(replica.stopped_until) {
                let process = replica.process.clone();
                drop(state);
                process.go_on();
            }
        });
    }

    /// A process sends an order: it must not if it had to know that the issuer does not serve it.
    fn submits(&self, replica: usize, order: &Bytes) {
        let mut state = self.lock();
        let reference = self.ca.submitted(order).unwrap_or_default();
        let Some(request) = state.ledger.request_named(&reference) else { return };
        let awake = state.replicas[replica].stopped_until;
        if state.permissions.had_to_know(&request, replica, awake) {
            let text = format!("{request}: {reference} was submitted though it is not allowed");
            state.ledger.add(Finding::Unasked(text));
        }
    }

    /// The CA has answered a process that is still there.
    fn write_what_was_held_back(&self, replica: usize) {
        let mut state = self.lock();
        let (mine, others) =
            std::mem::take(&mut state.held_back).into_iter().partition(|(one, _)| *one == replica);
        state.held_back = others;
        for (_, request) in mine {
            self.carried_out(&mut state, &request);
        }
    }

    // --- What goes wrong -----------------------------------------------------------------------

    /// Names an effect, and says what happens there.
    fn effect(&self, replica: usize, peer: Peer, what: &str) -> (String, Option<Happening>) {
        let mut state = self.lock();
        let name = format!("r{replica} {what}");
        state.calls += usize::from(peer != Peer::Lease);
        if !state.has_begun || state.replicas[replica].is_over {
            return (name, None);
        }
        let count = state.counts.entry(name.clone()).or_default();
        *count += 1;
        let name = format!("{name} #{count}");
        if peer != Peer::Lease {
            state.effects.push((name.clone(), peer));
        }
        let happening = self.plan.at(&name, peer, self.second(), state.happened.len());
        if let Some(happening) = happening {
            state.happened.push((name.clone(), happening));
            let end = Instant::now() + seconds(happening.lasts() + 5);
            state.troubled_until = state.troubled_until.max(end);
            self.note(&mut state, &format!("r{replica}"), &format!("✱ {name}: {happening}"));
        }
        (name, happening)
    }

    /// From here on things go wrong.
    pub fn begin(&self) {
        self.lock().has_begun = true;
        let asks = self.plan.setting.greedy.map(|greedy| greedy.asks);
        if asks == Some(Asks::First) {
            self.ask_greedily();
        }
        for number in 0..self.plan.setting.requests {
            self.create_request(number);
        }
        if asks == Some(Asks::Last) {
            self.ask_greedily();
        }
    }

    /// From here on nothing goes wrong any more.
    pub fn calm(&self) {
        self.lock().has_begun = false;
    }

    /// Ends all processes; others take their place.
    pub fn end_all(&self) {
        let count = self.lock().replicas.len();
        (0..count).for_each(|number| self.ended(number));
    }

    /// All is quiet; a person looks, and may do something.
    pub fn round(&self, number: u32) {
        let name = format!("person #{number}");
        let happening = {
            let mut state = self.lock();
            let before = state.happened.len();
            let happening = self.plan.at(&name, Peer::Person, self.second(), before);
            if let Some(happening) = happening {
                state.happened.push((name.clone(), happening));
                let end = Instant::now() + seconds(happening.lasts() + 5);
                state.troubled_until = state.troubled_until.max(end);
                self.note(&mut state, "person", &format!("✱ {name}: {happening}"));
            }
            happening
        };
        if let Some(happening) = happening {
            let newest = self.lock().replicas.len() - 1;
            self.befall(newest, happening);
        }
    }

    /// Second until which what went wrong may still show.
    pub fn troubled_until(&self) -> u64 {
        self.lock().troubled_until.duration_since(self.begun).as_secs()
    }

    /// What somebody does, or what befalls the surroundings, right before an effect.
    fn befall(&self, replica: usize, happening: Happening) {
        let in_seconds = |time| Some(Instant::now() + seconds(time));
        match happening {
            Happening::Terminate => {
                let terminate = self.lock().replicas[replica].terminate.take();
                if let Some(terminate) = terminate {
                    let _ = terminate.send(());
                }
            }
            Happening::CutOff { seconds } => {
                self.lock().replicas[replica].cut_off_until = in_seconds(seconds);
            }
            Happening::RightsLost { seconds } => {
                self.lock().replicas[replica].no_rights_until = in_seconds(seconds);
            }
            Happening::Stale { seconds } => {
                self.lock().replicas[replica].stale_until = in_seconds(seconds);
            }
            Happening::Compacted => {
                let mut state = self.lock();
                state.api.compact();
                state.replicas[replica].watches += 1;
                drop(state);
                self.changed.send_modify(|_| {});
            }
            Happening::ClockJump { seconds } => {
                let skew = &mut self.lock().replicas[replica].skew;
                *skew = (*skew + SignedDuration::from_secs(seconds))
                    .clamp(SignedDuration::from_secs(-600), SignedDuration::from_secs(600));
            }
            Happening::Edit { request } => {
                let name = name(request);
                let dns_name = {
                    let mut state = self.lock();
                    state.edits += 1;
                    let before = state.ledger.wanted(&name, request);
                    state.names_before.insert(request, before);
                    format!("{name}-edit-{}.example.ch", state.edits)
                };
                self.edit(&name, dns_name);
            }
            Happening::EditedBack { request } => {
                let before = self.lock().names_before.remove(&request);
                if let Some(before) = before {
                    self.edit(&name(request), before);
                }
            }
            Happening::Suspended { request, seconds: time } => {
                let name = name(request);
                if self.suspend(&name, true) {
                    let world = self.clone();
                    tokio::spawn(async move {
                        pass(seconds(time)).await;
                        world.suspend(&name, false);
                    });
                }
            }
            Happening::Released { request } => self.release(&name(request)),
            Happening::Record { request, how } => self.tamper(request, how),
            Happening::Cloned { request } => self.clone_order(&name(request)),
            Happening::Blind { seconds: time } => {
                self.lock().blinded += self.plan.setting.window / 3;
                self.ca.becomes(Fickle::Blind(true));
                self.later(time, |world| world.ca.becomes(Fickle::Blind(false)));
            }
            Happening::Endless { seconds } => self.lock().endless_until = in_seconds(seconds),
            Happening::WrongKey => self.ca.takes_another_key(),
            Happening::NameDropped { seconds: time } => {
                self.ca.becomes(Fickle::DropsName(true));
                self.later(time, |world| world.ca.becomes(Fickle::DropsName(false)));
            }
            Happening::Renew { request } => {
                let name = name(request);
                let nonce = self.lock().happened.len();
                let path = format!("{}/{name}", resources("certificaterequests"));
                let patch =
                    json!({"metadata": {"annotations": {"chancery.dev/renew": nonce.to_string()}}});
                if self.person(http::Method::PATCH, &path, &patch).status < 300 {
                    self.lock().ledger.wished(&name);
                }
            }
            Happening::Recreate { request } => {
                let name = name(request);
                let path = format!("{}/{name}", resources("certificaterequests"));
                if self.person(http::Method::DELETE, &path, &Value::Null).status < 300 {
                    self.create_request(request);
                }
            }
            Happening::TargetDeleted { request } => {
                let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets/{}-tls", name(request));
                self.lock().ledger.meddled(&name(request));
                self.person(http::Method::DELETE, &path, &Value::Null);
            }
            Happening::TargetRestored { request } => self.restore_target(request),
            Happening::AccountSwitched { seconds: time } => {
                self.put_credentials(1);
                self.later(time, |world| world.put_credentials(0));
            }
            Happening::Product { request, exists, seconds: time } => {
                let name = name(request);
                let path = format!("{}/{name}", resources("certificaterequests"));
                let field = self.ca.field();
                if exists {
                    // Each other time the one that the issuer names.
                    let number = self.lock().happened.len() % 2;
                    let block = self.ca.product(number);
                    let named = json!({"spec": {field: block}});
                    if self.person(http::Method::PATCH, &path, &named).status < 300 {
                        let mut state = self.lock();
                        state.ledger.wished(&name);
                        state.ledger.chose(&name, self.ca.product_id(number));
                        state.products.insert(request, block);
                    }
                } else {
                    let block = self.ca.no_product();
                    let named = json!({"spec": {field: block}});
                    if self.person(http::Method::PATCH, &path, &named).status < 300 {
                        self.lock().products.insert(request, block);
                        self.later(time, move |world| {
                            let none = json!({"spec": {field: null}});
                            world.person(http::Method::PATCH, &path, &none);
                            let mut state = world.lock();
                            state.ledger.wished(&name);
                            state.products.remove(&request);
                        });
                    }
                }
            }
            Happening::Greedy { how } => self.be_greedy(how),
            Happening::Issuer { how, seconds } => self.edit_issuer(how, seconds),
            Happening::Refuses { how, seconds } => self.refuse(how, seconds),
            Happening::SearchLag { seconds: time } => {
                let time = time.max(self.plan.setting.lag);
                self.ca.becomes(Fickle::Lag(time));
                let mut state = self.lock();
                state.lagged = state.lagged.max(time);
            }
            Happening::Doubled => {
                self.ca.doubles();
                self.lock().ledger.doubled();
            }
            Happening::Forgotten | Happening::Rejected => {
                let orders = self.ca.bought();
                if let Some(newest) = orders.last() {
                    let mut state = self.lock();
                    if happening == Happening::Forgotten {
                        let knows =
                            |request: &Value| request["status"]["order"]["id"] == *newest.id;
                        let is_known = state.api.objects(Kind::CertificateRequest).any(knows)
                            || state.ledger.has_delivered(&newest.spki_sha256);
                        state.has_forgotten_unknown |= !is_known;
                    } else if self.plan.setting.omits_open_orders {
                        // No search ever shows it.
                        state.lagged = state.lagged.max(self.plan.setting.window);
                    }
                    drop(state);
                    let fate = match happening {
                        Happening::Forgotten => Fate::Forgotten,
                        _ => Fate::Rejected,
                    };
                    if fate == Fate::Forgotten || newest.certificate.is_none() {
                        self.ca.befall(&newest.id, fate);
                    }
                }
            }
            Happening::NamespaceEnds => {
                let now = self.now();
                let mut state = self.lock();
                state.api.end_namespace(NAMESPACE, now);
                drop(state);
                self.changed.send_modify(|_| {});
                let world = self.clone();
                tokio::spawn(async move {
                    pass(seconds(5)).await;
                    let now = world.now();
                    world.lock().api.finish_namespace(NAMESPACE, now);
                    world.changed.send_modify(|_| {});
                });
            }
            Happening::SetBack { seconds: time } => self.set_back(time),
            Happening::Late { .. }
            | Happening::Conflict
            | Happening::Taken
            | Happening::Crash { .. }
            | Happening::LateAnswer { .. }
            | Happening::Lost { .. }
            | Happening::NotSent
            | Happening::Panic { .. }
            | Happening::Pause { .. }
            | Happening::Refused { .. }
            | Happening::Silence { .. } => {}
        }
    }

    /// Does something so long later.
    fn later(&self, time: u64, what: impl FnOnce(&Self) + Send + 'static) {
        let world = self.clone();
        tokio::spawn(async move {
            pass(seconds(time)).await;
            what(&world);
        });
    }

    /// A person has a request ask for this name.
    fn edit(&self, name: &str, dns_name: String) {
        let path = format!("{}/{name}", resources("certificaterequests"));
        let patch = json!({"spec": {"dnsNames": [dns_name]}});
        if self.person(http::Method::PATCH, &path, &patch).status < 300 {
            let now = self.now();
            self.lock().ledger.edited(name, dns_name, now);
        }
    }

    /// Sets `suspend`, or takes it away; whether that was done.
    fn suspend(&self, name: &str, is_suspended: bool) -> bool {
        let path = format!("{}/{name}", resources("certificaterequests"));
        let patch = json!({"spec": {"suspend": is_suspended}});
        let answer = self.person(http::Method::PATCH, &path, &patch);
        let is_done = answer.status < 300;
        if is_done {
            let announced = answer.body["status"]["order"]["reference"].as_str();
            self.lock().ledger.suspended(name, is_suspended.then_some(announced));
        }
        is_done
    }

    /// The greedy namespace does what its rights allow.
    fn be_greedy(&self, how: Greed) {
        let path = |name: &str| format!("{}/{name}", resources_in(GREEDY, "certificaterequests"));
        let lie = |names: &[String], status: &Value| {
            for name in names {
                self.lock().ledger.lies(name);
                let patch = json!({"status": status});
                self.person(http::Method::PATCH, &format!("{}/status", path(name)), &patch);
            }
        };
        let names: Vec<String> =
            self.requests().into_iter().filter(|name| namespace_of(name) == GREEDY).collect();
        match how {
            Greed::Asks => self.ask_greedily(),
            Greed::EndsToday => {
                let (now, midnight) = (self.now(), self.midnight());
                let certificate = json!({
                    "subject": "CN=greedy", "issuer": "CN=greedy", "serialNumber": "1",
                    "fingerprintSha256": "1", "privateKey": "ECDSA P-256", "notBefore": now,
                    "notAfter": midnight, "deliveredAt": now, "secretResourceVersion": "1",
                });
                lie(&names, &json!({"certificate": certificate}));
            }
            Greed::NamesAnothers => {
                let order = {
                    let state = self.lock();
                    let neighbour = state.api.object(Kind::CertificateRequest, NAMESPACE, "a");
                    let uid = neighbour.and_then(|it| it["metadata"]["uid"].as_str());
                    let order = neighbour.map(|it| it["status"]["order"].clone());
                    let mut order = order.filter(Value::is_object).unwrap_or_else(
                        || json!({"reference": format!("chancery-{}-1", uid.unwrap_or_default())}),
                    );
                    order["phase"] = "Pending".into();
                    order["submittedAt"] = json!(self.now());
                    order
                };
                lie(&names, &json!({"order": order}));
            }
            Greed::MakesAgain => {
                for name in &names {
                    self.person(http::Method::DELETE, &path(name), &Value::Null);
                }
                self.ask_greedily();
            }
        }
    }

    /// The last second of the day.
    fn midnight(&self) -> Timestamp {
        const DAY: i64 = 24 * 3600;
        let now = self.now().as_second();
        Timestamp::from_second(now - now.rem_euclid(DAY) + DAY - 1).expect("a time")
    }

    /// A person gives the order up that the record is of, or else the one that the status knows.
    fn release(&self, name: &str) {
        let reference = {
            let state = self.lock();
            let record = state.api.object(Kind::Secret, NAMESPACE, &format!("{name}.order"));
            let request = state.api.object(Kind::CertificateRequest, NAMESPACE, name);
            record
                .and_then(|it| it["metadata"]["annotations"][annotation::ORDER_REFERENCE].as_str())
                .or_else(|| request?["status"]["order"]["reference"].as_str())
                .map(str::to_owned)
        };
        let Some(reference) = reference else { return };
        let path = format!("{}/{name}", resources("certificaterequests"));
        let patch = json!({"metadata": {"annotations": {annotation::RELEASE: reference}}});
        if self.person(http::Method::PATCH, &path, &patch).status < 300 {
            self.lock().ledger.released(name, reference);
        }
    }

    /// Somebody whom admission does not keep from it changes the record.
    fn tamper(&self, number: usize, how: Tampering) {
        let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
        let record = format!("{}.order", name(number));
        let path = format!("{secrets}/{record}");
        let mut state = self.lock();
        let stored = state.api.object(Kind::Secret, NAMESPACE, &record).cloned();
        // What somebody else has put there is none.
        let is_record =
            |stored: &Value| stored["metadata"]["labels"][annotation::ORDER_LABEL] == "true";
        let Some(before) = stored.filter(is_record) else { return };
        let patch = |body: Value| request(http::Method::PATCH, &path, &body, User::Operator);
        let delete = [
            patch(json!({"metadata": {"annotations": {annotation::RELEASE: "yes"}}})),
            request(http::Method::DELETE, &path, &Value::Null, User::Operator),
        ];
        let calls = match how {
            Tampering::CutsKey => vec![patch(json!({"data": {"next.key": null}}))],
            Tampering::Empties => vec![patch(json!({"data": {"next.json": "e30="}}))],
            Tampering::Unlabels => {
                vec![patch(json!({"metadata": {"labels": {annotation::ORDER_LABEL: null}}}))]
            }
            Tampering::Deletes => delete.into(),
            Tampering::Restores => {
                let first = state.first_records.get(&number).cloned().map(anew).unwrap_or_default();
                let create = request(http::Method::POST, &secrets, &first, User::Operator);
                delete.into_iter().chain([create]).collect()
            }
        };
        state.ledger.is_tampering = true;
        for call in calls {
            let answer = self.carried_out(&mut state, &call);
            self.note(&mut state, "person", &format!("{path} → {}", answer.status));
        }
        state.ledger.is_tampering = false;
        let after = state.api.object(Kind::Secret, NAMESPACE, &record).cloned();
        state.ledger.tampered(&name(number), &before, after.as_ref());
        self.examine(&mut state);
    }

    /// Another cluster with the same objects and the same account orders next.
    fn clone_order(&self, name: &str) {
        let (submit, reference) = {
            let state = self.lock();
            let request = state.api.object(Kind::CertificateRequest, NAMESPACE, name);
            let reference = request.and_then(|request| {
                let number = request["status"]["orders"].as_i64().unwrap_or_default() + 1;
                Some(format!("chancery-{}-{number}", request["metadata"]["uid"].as_str()?))
            });
            (state.submit.clone(), reference)
        };
        let (Some(submit), Some(reference)) = (submit, reference) else { return };
        let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
        let spki = pki::sha256_hex(key.spki_der());
        let names = Names { dns_names: vec!["clone.example.ch".to_owned()], ..Names::default() };
        let der = csr::build(&key, &names).expect("a CSR");
        let (parts, body) = submit.into_parts();
        let csr = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der));
        let body = self.ca.cloned(&body, &reference, &csr, &spki);
        self.lock().ledger.cloned(spki);
        let body = body.to_string();
        let mut submit = Request::from_parts(parts, axum::body::Body::from(body.clone()));
        submit.headers_mut().insert(http::header::CONTENT_LENGTH, body.len().into());
        let router = self.router.clone();
        tokio::spawn(router.oneshot(submit));
    }

    /// Puts the target back as it was when it was first delivered.
    fn restore_target(&self, number: usize) {
        let name = name(number);
        let Some(first) = self.lock().first_targets.get(&number).cloned() else { return };
        let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
        self.lock().ledger.meddled(&name);
        self.person(http::Method::DELETE, &format!("{secrets}/{name}-tls"), &Value::Null);
        self.person(http::Method::POST, &secrets, &anew(first));
    }

    /// Ends all processes and sets the store back.
    fn set_back(&self, time: u64) {
        let snapshot = {
            let state = self.lock();
            let wanted = Instant::now().checked_sub(seconds(time));
            let found = state.snapshots.iter().rev().find(|(at, _)| Some(*at) <= wanted);
            found.map(|(_, api)| api.clone())
        };
        self.end_all();
        if let Some(snapshot) = snapshot {
            let mut state = self.lock();
            state.api = snapshot;
            state.ledger.set_back();
            drop(state);
            self.changed.send_modify(|_| {});
        }
    }

    /// Keeps what the store holds, for when it is set back; and the first targets and records.
    pub fn keep(&self) {
        let mut state = self.lock();
        let now = Instant::now();
        let copy = state.api.clone();
        state.snapshots.push((now, copy));
        for number in 0..self.plan.setting.requests {
            let target =
                state.api.object(Kind::Secret, NAMESPACE, &format!("{}-tls", name(number)));
            if let Some(target) = target.cloned() {
                state.first_targets.entry(number).or_insert(target);
            }
            let record =
                state.api.object(Kind::Secret, NAMESPACE, &format!("{}.order", name(number)));
            if let Some(record) = record.cloned() {
                state.first_records.entry(number).or_insert(record);
            }
        }
    }

    /// What has happened that is beyond the promise, each with the kinds of findings that it excuses.
    pub fn beyond_promise(&self) -> Vec<(&'static str, &'static [&'static str])> {
        let state = self.lock();
        let window = self.plan.setting.window;
        let has = |kind: fn(&Happening) -> bool| {
            state.happened.iter().any(|(_, happening)| kind(happening))
        };
        // A forgotten order is invisible for ever; only the request's status knows of it, and only
        // where it was told.
        let is_forgotten = state.has_forgotten_unknown
            || has(|one| matches!(one, Happening::Forgotten))
                && has(|one| matches!(one, Happening::Recreate { .. }));
        let is_deleted = has(|one| {
            let how = |how| matches!(how, Tampering::Deletes | Tampering::Restores);
            matches!(one, Happening::Record { how: one, .. } if how(*one))
        });
        let is_recreated = has(|one| matches!(one, Happening::Recreate { .. }));
        let setting = &self.plan.setting;
        let is_another_issuer =
            state.happened.iter().any(|(_, one)| one.makes_another_issuer(setting));
        let all: [(bool, &str, &[&str]); 8] = [
            (
                4 * (state.stood_still + state.lagged + state.blinded) >= 3 * window,
                "pause and lag too long",
                &ORDERS,
            ),
            (is_forgotten, "forgotten before it was known", &ORDERS),
            // Neither by its name nor by its key is it told from another's.
            (
                self.plan.setting.drops_tags && has(|one| matches!(one, Happening::WrongKey)),
                "without a name, and for another key",
                &ORDERS,
            ),
            (
                has(|one| matches!(one, Happening::NamespaceEnds)),
                "the namespace ended",
                &["lost_keys", "stuck"],
            ),
            (
                has(|one| matches!(one, Happening::SetBack { .. })),
                "the store was set back",
                &Finding::KINDS,
            ),
            // The limits are each issuer's own.
            (is_another_issuer, "another issuer for the same account", &["over_limits"]),
            // When orders were made is written there and nowhere else.
            (is_deleted, "the record was taken away", &["over_limits"]),
            (
                is_deleted && is_recreated,
                "record and request were taken away",
                &["duplicate_orders", "over_limits", "unasked_orders", "untrue_statements"],
            ),
        ];
        all.into_iter()
            .filter(|(is_so, ..)| *is_so)
            .map(|(_, what, excused)| (what, excused))
            .collect()
    }

    // --- The way to the API server -------------------------------------------------------------

    fn client(&self, replica: usize) -> kube::Client {
        let world = self.clone();
        let service = tower::service_fn(move |request| world.served(replica, request));
        kube::Client::new(service, "default")
    }

    fn served(
        &self,
        replica: usize,
        request: Request<kube::client::Body>,
    ) -> BoxFuture<'static, Result<Response<Stream>, BoxError>> {
        let request = received(request);
        let world = self.clone();
        if request.query.contains("watch=true") {
            return async move { world.watched(replica, &request).await }.boxed();
        }
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            let done = world.exchanged(replica, &request).await;
            if let Some(done) = done {
                let _ = answer.send(done);
            }
        });
        async move {
            let answered = async {
                match answered.await {
                    Ok(Ok(answer)) => Ok(response(&answer)),
                    // Here it is the task that has made the call.
                    Ok(Err(PANICS)) => std::panic::panic_any(Planned),
                    Ok(Err(lost)) => Err(lost.into()),
                    Err(_) => std::future::pending().await,
                }
            };
            // As the operator's own client.
            tokio::time::timeout(seconds(295), answered)
                .await
                .unwrap_or_else(|_| Err("nothing came within 295 s".into()))
        }
        .boxed()
    }

    /// One call; nothing where no answer ever comes.
    async fn exchanged(
        &self,
        replica: usize,
        request: &api::Request,
    ) -> Option<Result<api::Answer, &'static str>> {
        let (what, peer) = described(request);
        if what.contains("events") {
            // Nobody depends on them.
            return Some(Ok(api::Answer { status: 201, body: event() }));
        }
        let (name, happening) = self.effect(replica, peer, &what);
        if let Some(happening) = happening {
            self.befall(replica, happening);
        }
        let (is_cut_off, has_no_rights) = {
            let replica = &self.lock().replicas[replica];
            (is_before(replica.cut_off_until), is_before(replica.no_rights_until))
        };
        if is_cut_off {
            pass(seconds(1)).await;
            return Some(Err("no route to the API server"));
        }
        if has_no_rights && request.path.contains("/secrets") {
            pass(Duration::from_millis(1)).await;
            let mut answer = ApiServer::forbidden(request);
            doctored::answered(request, &mut answer);
            return Some(Ok(answer));
        }
        pass(latency(1, 4, &name)).await;
        let carry_out = || {
            let mut state = self.lock();
            let answer = self.served_to(replica, &mut state, request);
            self.note(&mut state, "api", &format!("{name} → {}", answer.status));
            answer
        };
        Some(match happening {
            Some(Happening::Crash { carried_out }) => {
                if carried_out {
                    carry_out();
                }
                self.ended(replica);
                return None;
            }
            Some(Happening::Panic { carried_out }) => {
                if carried_out {
                    carry_out();
                }
                Err(PANICS)
            }
            Some(Happening::Lost { carried_out }) => {
                if carried_out {
                    carry_out();
                }
                Err("the connection broke")
            }
            Some(Happening::Silence { carried_out }) => {
                if carried_out {
                    carry_out();
                }
                return None;
            }
            Some(Happening::NotSent) => Err("no connection"),
            Some(Happening::Late { seconds: time }) => {
                pass(seconds(time)).await;
                Ok(carry_out())
            }
            Some(Happening::LateAnswer { seconds: time }) => {
                let answer = carry_out();
                pass(seconds(time)).await;
                Ok(answer)
            }
            Some(Happening::Refused { status }) => {
                let body = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
                    "reason": "ServiceUnavailable", "message": "the server is not in the mood",
                });
                Ok(api::Answer { status, body })
            }
            Some(Happening::Conflict) => {
                self.touch(request);
                Ok(carry_out())
            }
            Some(Happening::Taken) => {
                if request.method != http::Method::POST {
                    self.person(http::Method::DELETE, &request.path, &Value::Null);
                }
                self.put_anothers(request);
                Ok(carry_out())
            }
            Some(Happening::Pause { carried_out, seconds: time }) => {
                let early = carried_out.then(&carry_out);
                self.stand_still(replica, time);
                match early {
                    Some(answer) => Ok(answer),
                    None => {
                        pass(seconds(time)).await;
                        Ok(carry_out())
                    }
                }
            }
            _ => Ok(carry_out()),
        })
    }

    /// Carries a request of a process out.
    fn served_to(&self, replica: usize, state: &mut State, request: &api::Request) -> api::Answer {
        if doctored::is_held_back(request) {
            state.held_back.push((replica, request.clone()));
            return state.api.clone().call(request, self.now());
        }
        let named = doctored::name(request);
        let stored = state.api.object(Kind::Secret, namespace_of(&named), &named).cloned();
        let sent = doctored::sent(request, stored.as_ref());
        let mut answer = self.carried_out(state, &sent);
        if request.method == http::Method::GET {
            state.ledger.has_read(replica, &named);
        }
        doctored::answered(request, &mut answer);
        answer
    }

    /// Somebody annotates the object of a write, or creates another of its name.
    fn touch(&self, request: &api::Request) {
        if request.method == http::Method::POST {
            self.put_anothers(request);
            return;
        }
        let object = request.path.strip_suffix("/status").unwrap_or(&request.path);
        let mut state = self.lock();
        let text = state.happened.len().to_string();
        let patch = json!({"metadata": {"annotations": {"example.org/touched": text}}});
        let patch = self::request(http::Method::PATCH, object, &patch, User::Person);
        self.carried_out(&mut state, &patch);
    }

    /// Somebody creates a Secret of the name that a write is for.
    fn put_anothers(&self, request: &api::Request) {
        let (path, name) = if request.method == http::Method::POST {
            let body = serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
            (
                request.path.as_str(),
                body["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            )
        } else {
            let (path, name) = request.path.rsplit_once('/').unwrap_or_default();
            (path, name.to_owned())
        };
        let foreign = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {"somebody": "else"},
        });
        if self.person(http::Method::POST, path, &foreign).status == 201 {
            let mut state = self.lock();
            let created = state.api.object(Kind::Secret, namespace_of(&name), &name).cloned();
            state.ledger.made_by_another(created.unwrap_or_default());
        }
    }

    /// A watch: what has changed, a little later.
    async fn watched(
        &self,
        replica: usize,
        request: &api::Request,
    ) -> Result<Response<Stream>, BoxError> {
        if is_before(self.lock().replicas[replica].cut_off_until) {
            pass(seconds(1)).await;
            return Err("no route to the API server".into());
        }
        let (mut watch, mut changed, number) = {
            let state = self.lock();
            match state.api.watch(request) {
                Ok(watch) => (watch, self.changed.subscribe(), state.replicas[replica].watches),
                Err(answer) => return Ok(response(&answer)),
            }
        };
        let (lines, stream) = futures::channel::mpsc::unbounded::<Line>();
        // Each watch is a little slower or faster than the others.
        let lag = Duration::from_millis(1 + u64::try_from(request.path.len() % 7).unwrap_or(0));
        let (world, path) = (self.clone(), request.path.clone());
        tokio::spawn(async move {
            loop {
                pass(lag).await;
                loop {
                    let silent_until = {
                        let replica = &world.lock().replicas[replica];
                        if replica.is_over || replica.watches != number {
                            return;
                        }
                        replica.stale_until.max(replica.cut_off_until)
                    };
                    match silent_until.filter(|until| is_before(Some(*until))) {
                        Some(until) => tokio::time::sleep_until(until).await,
                        None => break,
                    }
                }
                let events = {
                    let mut state = world.lock();
                    let version = state.api.version();
                    state.permissions.told(replica, &path, version);
                    state.api.events(&mut watch)
                };
                for event in events.into_iter().map(doctored::told) {
                    let mut event = poisoned(&event);
                    event.push('\n');
                    if lines.unbounded_send(Ok(http_body::Frame::data(event.into()))).is_err() {
                        return;
                    }
                }
                if changed.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(StreamBody::new(stream.boxed())))
    }
}

/// What a panic of the plan carries.
pub struct Planned;

/// In place of an answer: whoever waits for it panics.
const PANICS: &str = "the run is to panic";

/// No calendar has it.
const BEYOND: &str = "9999-12-31T23:59:59Z";

/// Objects that nobody can read, in each kind that is watched and that a person may make.
const ODD: &str = "odd";

/// What the API server tells as somebody could have it told: in each object a manager with a time that no
/// calendar has, and objects that make no sense in their metadata.
fn poisoned(text: &str) -> String {
    let managers =
        format!(r#""metadata":{{"managedFields":[{{"manager":"m","time":"{BEYOND}"}}],""#);
    let text = text.replace(r#""metadata":{""#, &managers);
    if !text.contains(&format!(r#""name":"{ODD}""#)) {
        return text;
    }
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    let spoil = |object: &mut Value| {
        if object["metadata"]["name"] == ODD {
            object["metadata"]["creationTimestamp"] = BEYOND.into();
        }
    };
    if value["type"].is_string() && value["object"].is_object() {
        spoil(&mut value["object"]);
        // Whoever reads it looks at the type first.
        return format!(r#"{{"type":{},"object":{}}}"#, value["type"], value["object"]);
    }
    match value["items"].as_array_mut() {
        Some(items) => items.iter_mut().for_each(spoil),
        None => spoil(&mut value),
    }
    value.to_string()
}

fn received(request: Request<kube::client::Body>) -> api::Request {
    let (parts, body) = request.into_parts();
    let header = |name| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    // It is in memory.
    let body = body.collect().now_or_never().and_then(Result::ok).map(|body| body.to_bytes());
    api::Request {
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        content_type: header(http::header::CONTENT_TYPE),
        accept: header(http::header::ACCEPT),
        user: User::Operator,
        body: body.unwrap_or_default().to_vec(),
        method: parts.method,
    }
}

fn request(method: http::Method, path: &str, body: &Value, user: User) -> api::Request {
    let content_type = match method {
        http::Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    api::Request {
        method,
        path: path.to_owned(),
        query: String::new(),
        content_type: content_type.to_owned(),
        accept: "application/json".to_owned(),
        user,
        body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
    }
}

fn response(answer: &api::Answer) -> Response<Stream> {
    let line: Line = Ok(http_body::Frame::data(poisoned(&answer.body.to_string()).into()));
    let mut response = Response::new(StreamBody::new(futures::stream::iter([line]).boxed()));
    *response.status_mut() = StatusCode::from_u16(answer.status).expect("a status");
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

/// `create secrets a.order`, and what kind of call it is.
fn described(request: &api::Request) -> (String, Peer) {
    let verb = match request.method.as_str() {
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        _ => "delete",
    };
    let path = request.path.trim_start_matches("/api/v1/").trim_start_matches("/apis/");
    let mut short = path
        .split_once("namespaces/")
        .map_or(path, |(_, rest)| rest.split_once('/').map_or(rest, |(_, rest)| rest));
    if let Some((_, rest)) = short.split_once("v1alpha1/") {
        short = rest;
    }
    let name = serde_json::from_slice::<Value>(&request.body)
        .ok()
        .and_then(|body| body["metadata"]["name"].as_str().map(str::to_owned))
        .filter(|_| verb == "create")
        .unwrap_or_default();
    let selected = request
        .query
        .split_once("labelSelector=")
        .map(|(_, rest)| rest.split('&').next().unwrap_or_default())
        .unwrap_or_default();
    let what = [verb, short, &name, selected]
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    let peer = if short.starts_with("leases") {
        Peer::Lease
    } else if verb == "get" {
        Peer::Read
    } else {
        Peer::Write
    };
    (what, peer)
}

fn event() -> Value {
    json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "an-event"}})
}

// --- The way to the CA ---------------------------------------------------------------------------

#[derive(Clone)]
struct Wire {
    world: World,
    replica: usize,
}

impl Connector for Wire {
    fn connect(&self, _: &Route) -> Result<Arc<dyn Transport>, Failure> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Transport for Wire {
    async fn send(&self, call: Call) -> Result<Response<Bytes>, Failure> {
        let deadline = call.deadline;
        let what = self.world.ca.what(&call.request);
        let asked = call.request.body().clone();
        let (answer, answered) = oneshot::channel();
        let wire = self.clone();
        let sent = what.clone();
        tokio::spawn(async move {
            if let Some(done) = wire.exchanged(&sent, call.request).await {
                let _ = answer.send(done);
            }
        });
        let whole = async {
            match answered.await {
                Ok(done) => done,
                Err(_) => std::future::pending().await,
            }
        };
        let whole = tokio::time::timeout(deadline, whole).await.unwrap_or_else(|_elapsed| {
            Err(Failure::Unknown(format!(
                "no complete answer came within {} s",
                deadline.as_secs()
            )))
        });
        if what.contains("ca issue") {
            self.world.write_what_was_held_back(self.replica);
        }
        if matches!(&whole, Err(Failure::Unknown(why)) if why == PANICS) {
            std::panic::panic_any(Planned);
        }
        doctored::heard(&what, &asked, whole)
    }
}

impl Wire {
    async fn exchanged(
        &self,
        what: &str,
        request: Request<Bytes>,
    ) -> Option<Result<Response<Bytes>, Failure>> {
        let (world, replica) = (&self.world, self.replica);
        if what.contains("ca issue") {
            world.submits(replica, request.body());
        }
        let (name, happening) = world.effect(replica, Peer::Ca, what);
        if let Some(happening) = happening {
            world.befall(replica, happening);
        }
        if let Some(Happening::Late { seconds }) = happening
            && what.contains("ca issue")
        {
            let mut state = world.lock();
            state.lagged = state.lagged.max(seconds);
        }
        pass(latency(18, 8, &name)).await;
        let carry_out = || async {
            let answer = self.called(request.clone()).await;
            let mut state = world.lock();
            if what.contains("ca issue") {
                state.ledger.submitted(replica);
            }
            if what == "ca issue" {
                state.submit = Some(request.clone());
            }
            let is_endless = what.contains("orders") && is_before(state.endless_until);
            let answer = answer.map(|it| if is_endless { doctored::cut_short(it) } else { it });
            world.examine(&mut state);
            let said = match &answer {
                Ok(answer) => answer.status().as_u16().to_string(),
                Err(failure) => failure.to_string(),
            };
            world.note(&mut state, "ca", &format!("{name} → {said}"));
            answer
        };
        let broken = || Err(Failure::Unknown("the connection broke".to_owned()));
        let answer = match happening {
            Some(Happening::Crash { carried_out }) => {
                if carried_out {
                    let _ = carry_out().await;
                }
                world.ended(replica);
                return None;
            }
            Some(Happening::Panic { carried_out }) => {
                if carried_out {
                    let _ = carry_out().await;
                }
                Err(Failure::Unknown(PANICS.to_owned()))
            }
            Some(Happening::Lost { carried_out }) => {
                if carried_out {
                    let _ = carry_out().await;
                }
                broken()
            }
            Some(Happening::Silence { carried_out }) => {
                if carried_out {
                    let _ = carry_out().await;
                }
                return None;
            }
            Some(Happening::NotSent) => Err(Failure::NotSent("no such host".to_owned())),
            Some(Happening::Late { seconds: time }) => {
                pass(seconds(time)).await;
                carry_out().await
            }
            Some(Happening::LateAnswer { seconds: time }) => {
                let answer = carry_out().await;
                pass(seconds(time)).await;
                answer
            }
            Some(Happening::Refused { status }) => {
                let mut answer = Response::new(Bytes::from_static(b"not in the mood"));
                *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
                Ok(answer)
            }
            Some(Happening::Pause { carried_out: true, seconds: time }) => {
                let answer = carry_out().await;
                world.stand_still(replica, time);
                answer
            }
            Some(Happening::Pause { carried_out: false, seconds: time }) => {
                world.stand_still(replica, time);
                pass(seconds(time)).await;
                carry_out().await
            }
            _ => carry_out().await,
        };
        pass(Duration::from_millis(20)).await;
        Some(answer)
    }

    /// The CA's answer.
    async fn called(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let router = self.world.router.clone();
        let Ok(response) = router.oneshot(request.map(axum::body::Body::from)).await;
        if response.extensions().get::<Disconnect>().is_some() {
            return Err(Failure::Unknown("the connection was closed".to_owned()));
        }
        let (parts, body) = response.into_parts();
        match body.collect().await {
            Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
            Err(_) => Err(Failure::Unknown("the answer broke off".to_owned())),
        }
    }
}

/// Keys of the operator: of the kind that costs least.
struct Keys;

#[async_trait]
impl KeySource for Keys {
    async fn generate(&self, kind: KeyKind) -> Result<Arc<PrivateKey>, KeyError> {
        PrivateKey::generate(kind).map(Arc::new)
    }
}

fn wall(start: i64, begun: Instant) -> Timestamp {
    let passed = SignedDuration::try_from(begun.elapsed()).expect("a schedule is short");
    Timestamp::from_second(start).expect("a time") + passed
}

/// As it is created again.
pub fn anew(mut object: Value) -> Value {
    for server_side in ["uid", "resourceVersion", "creationTimestamp"] {
        object["metadata"].as_object_mut().expect("metadata").remove(server_side);
    }
    object
}

/// The name of a request.
pub fn name(number: usize) -> String {
    ["a", "b", "c", "d"][number].to_owned()
}

/// The name of a request of the greedy namespace.
fn greedy_name(number: usize) -> String {
    format!("{GREEDY}-{number}")
}

/// Where a request of this name is, and the Secrets whose names begin with it.
pub fn namespace_of(name: &str) -> &'static str {
    if name.starts_with(GREEDY) { GREEDY } else { NAMESPACE }
}

pub fn resources(plural: &str) -> String {
    resources_in(NAMESPACE, plural)
}

fn resources_in(namespace: &str, plural: &str) -> String {
    format!("/apis/chancery.dev/v1alpha1/namespaces/{namespace}/{plural}")
}

/// The status of a condition.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    of_condition(object, kind, "status")
}

/// The reason of a condition.
pub fn reason<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    of_condition(object, kind, "reason")
}

/// The message of a condition.
pub fn message<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    of_condition(object, kind, "message")
}

fn of_condition<'a>(object: &'a Value, kind: &str, field: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|one| one["type"] == kind)?[field].as_str()
}

/// As the issuer has them, or is told that it has none of a kind.
fn limits(limits: Limits) -> Value {
    let told = |mutant, limit, none| if is_removed(mutant) { none } else { limit };
    let all = [
        ("ordersPerDay", limits.orders_per_day),
        (
            "ordersPerNamespacePerDay",
            told(Mutant::NamespaceShare, limits.orders_per_namespace_per_day, 0),
        ),
        ("openOrders", told(Mutant::OpenOrders, limits.open_orders, 0)),
        (
            "ordersPerRequestPerDay",
            told(Mutant::ChurnBreaker, limits.orders_per_request_per_day, 1000),
        ),
        ("requestsPerSecond", limits.requests_per_second),
    ];
    let given = all.into_iter().filter(|(_, limit)| *limit > 0);
    given
        .map(|(field, limit)| (field.to_owned(), limit.into()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn free_settings() -> FreeSettings {
    let users = ["jdoe", "ann"].map(|user| (user.to_owned(), "changeme".to_owned()));
    FreeSettings {
        users: users.into(),
        min_key_bits: 256,
        lifetime_seconds: 30 * 24 * 3600,
        key_algorithm: KeyAlgorithm::Ecdsa,
        ..FreeSettings::default()
    }
}

/// `spec.allow` of a ClusterIssuer that serves everybody with everything.
pub fn everything() -> Value {
    json!({
        "namespaces": {}, "ownCredentials": true, "dnsNames": ["**", "[*].**"],
        "keyTypes": ["RSA 2048", "RSA 3072", "RSA 4096", "ECDSA P-256", "ECDSA P-384", "ECDSA P-521", "Ed25519"],
        "commonNames": ["**"], "emailAddresses": ["**"], "uris": ["**"], "products": ["**"],
        "ipAddresses": ["0.0.0.0/0", "::/0"], "maxDuration": "876000h",
        "usages": ["server auth", "client auth", "digital signature", "key encipherment"],
        "subject": {"organizations": ["**"], "countries": ["**"], "organizationalUnits": ["**"]},
    })
}
