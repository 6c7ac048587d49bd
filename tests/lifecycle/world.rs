//! What every test starts from.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chancery::api::{CertificateRequest, Issuer, condition};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::support::control_plane::ControlPlane;
use crate::support::judges::Delivered;
use crate::support::operator::{self, Operator};
use crate::support::process::fed;
use crate::support::simulator::{Simulator, Site};
use crate::support::{program, watch};

/// The shared world.
pub struct World {
    pub plane: ControlPlane,
    pub simulator: Simulator,
    /// Log and page of an operator that met the API server before its definitions were there.
    pub without_definitions: (String, String),
}

/// Longer than the API server, the operator and a CA that answers need, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Who the operator is for the API server.
pub const OPERATOR: &str = "system:serviceaccount:chancery:chancery";
/// How long the lease of these operators lasts: many are killed, and the next waits for its end.
pub const LEASE_SECONDS: u64 = 2;

/// So many tests at once, each with a world to itself: they wait more than they work.
const WORLDS: usize = 4;
static WORLD: [OnceLock<World>; WORLDS] = [const { OnceLock::new() }; WORLDS];
static TURNS: Semaphore = Semaphore::const_new(WORLDS);
static FREE: std::sync::Mutex<[bool; WORLDS]> = std::sync::Mutex::new([true; WORLDS]);

/// The turn of a test: one of the worlds is its own, or would be.
pub struct Turn {
    world: usize,
    _permit: SemaphorePermit<'static>,
}

impl Turn {
    async fn next() -> Self {
        let permit = TURNS.acquire().await.expect("it is never closed");
        let mut free = FREE.lock().expect("nobody failed with it");
        let world = free.iter().position(|is_free| *is_free).expect("as many as permits");
        free[world] = false;
        Self { world, _permit: permit }
    }

    fn world(&self) -> &'static World {
        WORLD[self.world].get_or_init(World::new)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        FREE.lock().expect("nobody failed with it")[self.world] = true;
    }
}

impl World {
    fn new() -> Self {
        let plane = ControlPlane::start();
        let simulator = Simulator::start(plane.dir());
        let rights = ["apply", "-f", "deploy/namespace.yaml", "-f", "deploy/rbac.yaml"];
        plane.kubectl(rights).expect("the shipped RBAC");
        let early = Operator::spawn(&plane, &program("chancery"), &[]);
        early.wait_until_it_says("nothing is done");
        let page = early.get("/readyz").map(|(status, text)| format!("{status} {text}"));
        operator::install(&plane);
        early.wait_until_it_acts();
        let without_definitions = (early.process.log(), page.unwrap_or_default());
        assert_eq!(early.process.stop(), Some(0));
        Self { plane, simulator, without_definitions }
    }
}

/// The turn of a test that needs the machine, and no world.
pub fn turn() -> Turn {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(Turn::next())
}

/// One test: its turn, a namespace and a CA.
pub struct Test {
    pub world: &'static World,
    pub namespace: String,
    pub site: Site<'static>,
    pub client: kube::Client,
    /// The operator was left without some right.
    is_forbidden: AtomicBool,
    // Let go last.
    _turn: Turn,
}

/// A call of the operator to the API server.
#[derive(Clone, Debug)]
pub struct Call {
    pub verb: String,
    /// With the subresource.
    pub resource: String,
    pub namespace: String,
    pub code: i64,
}

impl Call {
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// What a Secret holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pair {
    pub key: String,
    pub chain: String,
    pub anchors: String,
}

impl Test {
    /// Waits for its turn; then a namespace with `name`, and a CA that takes and makes ECDSA keys
    /// and that nobody else uses.
    pub async fn new(name: &str) -> Self {
        let turn = Turn::next().await;
        let world = turn.world();
        // What an earlier test left behind would be work for the operators of this one.
        let client = world.plane.client().await;
        let left: Api<CertificateRequest> = Api::all(client.clone());
        let left = left.list(&ListParams::default()).await.expect("a list").items;
        assert!(left.is_empty(), "an earlier test left something behind: {left:#?}");
        world.plane.kubectl(["create", "namespace", name]).expect("a new namespace");
        let site = world.simulator.online_ca(name);
        site.configure(json!({"minKeyBits": 256, "keyAlgorithm": "ECDSA"})).await;
        let is_forbidden = AtomicBool::new(false);
        Self { world, namespace: name.to_owned(), site, client, is_forbidden, _turn: turn }
    }

    /// An operator that acts.
    pub fn start(&self) -> Operator {
        let operator = self.spawn(&[]);
        operator.wait_until_ready();
        operator.wait_until_it_acts();
        operator
    }

    /// An operator with further environment variables, not waited for.
    pub fn spawn(&self, env: &[(&str, &str)]) -> Operator {
        let lease = format!("{LEASE_SECONDS}s");
        let mut all = vec![("CHANCERY_LEASE_DURATION", lease.as_str())];
        all.extend_from_slice(env);
        Operator::spawn(&self.world.plane, &program("chancery"), &all)
    }

    /// Makes Issuer `ca` with its credentials, and waits until it is ready.
    pub async fn with_issuer(&self, key_algorithms: &[&str]) {
        let root = self.site.root_pem().await;
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": "credentials", "namespace": self.namespace,
                "labels": {"chancery.dev/credentials": "true"},
                "annotations": self.world.simulator.opt_in(),
            },
            "stringData": {"username": "testuser", "password": "changeme"},
        }));
        self.apply(json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "Issuer",
            "metadata": {"name": "ca", "namespace": self.namespace},
            "spec": {
                "onlineCa": {
                    "certificateUrl": self.site.certificate_url(),
                    "trustRootsUrl": self.site.trust_roots_url(),
                    "credentialsSecretRef": {"name": "credentials"},
                    "keyAlgorithms": key_algorithms,
                },
                "tls": {"caBundle": {"pem": self.world.simulator.tls_root()}},
                "trust": {"bundle": {"pem": root}},
            },
        }));
        let issuers: Api<Issuer> = Api::namespaced(self.client.clone(), &self.namespace);
        let is_so = |issuer: &Issuer| {
            let status = issuer.status.clone().unwrap_or_default();
            condition::is_true(&status.conditions, "Ready")
        };
        let found = watch::until(issuers, "ca", PATIENCE, is_so).await;
        found.unwrap_or_else(|last| panic!("the issuer never was ready: {last:#?}"));
    }

    /// A request for an ECDSA key, delivered to `<name>-tls`.
    pub fn request(&self, name: &str) -> Value {
        let mut request = self.request_for_any_key(name);
        request["spec"]["privateKey"] = json!({"algorithm": "ECDSA"});
        request
    }

    /// A request for whatever key the issuer prefers.
    pub fn request_for_any_key(&self, name: &str) -> Value {
        json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "issuerRef": {"name": "ca"},
                "secretName": format!("{name}-tls"),
                "onlineCa": {},
            },
        })
    }

    /// Applies an object: what it says is so afterwards, the rest stays.
    pub fn apply(&self, object: Value) {
        self.world.plane.put(object).expect("the object is taken");
    }

    /// Creates many requests, faster than kubectl does.
    pub async fn create(&self, requests: impl IntoIterator<Item = Value>) {
        let kind = kube::core::ApiResource::erase::<CertificateRequest>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let creations = requests.into_iter().map(|request| {
            let api = api.clone();
            async move {
                let object: DynamicObject = serde_json::from_value(request).expect("an object");
                api.create(&Default::default(), &object).await.expect("the request is taken");
            }
        });
        futures::future::join_all(creations).await;
    }

    /// `kubectl -n <namespace>`, which must work.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let all = ["-n", &self.namespace].into_iter().chain(args.iter().copied());
        self.world.plane.kubectl(all).unwrap_or_else(|error| panic!("kubectl {args:?}: {error}"))
    }

    pub fn requests(&self) -> Api<CertificateRequest> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The request as it is.
    pub async fn get(&self, name: &str) -> CertificateRequest {
        self.requests().get(name).await.expect("the request")
    }

    /// Waits until the request is as wished.
    pub async fn until(
        &self,
        operator: &Operator,
        name: &str,
        wish: &str,
        is_so: impl Fn(&CertificateRequest) -> bool,
    ) -> CertificateRequest {
        let found = watch::until(self.requests(), name, PATIENCE, is_so).await;
        found.unwrap_or_else(|last| {
            let status = last.map(|last| serde_json::to_string_pretty(&last.status));
            panic!("{name} never was {wish}: {status:#?}\n{}", operator.process.log());
        })
    }

    /// Waits until the request is Ready.
    pub async fn until_ready(&self, operator: &Operator, name: &str) -> CertificateRequest {
        self.until(operator, name, "Ready", is_ready).await
    }

    /// Waits until that many requests are Ready and no other is left.
    pub async fn until_all_ready(&self, operator: &Operator, count: usize) {
        let until = Instant::now() + PATIENCE;
        loop {
            // An API server that has just started may turn a list away.
            let list = self.requests().list(&ListParams::default()).await;
            let list = list.map(|list| list.items).unwrap_or_default();
            let ready = list.iter().filter(|request| is_ready(request)).count();
            if ready == count && list.len() == count {
                return;
            }
            assert!(
                Instant::now() < until,
                "{ready} of {} are ready, not {count}:\n{}",
                list.len(),
                operator.process.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the operator has used no processor time to speak of for a while.
    pub fn until_idle(&self, operator: &Operator) {
        let (mut used, mut since) = (operator.process.usage().0, Instant::now());
        until("the operator has nothing to do", || {
            let now = operator.process.usage().0;
            // One tick of the clock is housekeeping.
            if now - used > 0.015 {
                (used, since) = (now, Instant::now());
            }
            since.elapsed() > Duration::from_millis(700)
        });
    }

    /// The pair in the target of a request, if there is one.
    pub async fn pair(&self, name: &str) -> Option<Pair> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret = secrets.get_opt(&format!("{name}-tls")).await.expect("an answer")?;
        let data = secret.data.unwrap_or_default();
        let text = |key: &str| {
            let value = data.get(key).map(|value| value.0.clone()).unwrap_or_default();
            String::from_utf8(value).expect("PEM is text")
        };
        Some(Pair { key: text("tls.key"), chain: text("tls.crt"), anchors: text("ca.crt") })
    }

    /// The pair in the target of a request, which OpenSSL takes for one that ends at the CA's root.
    pub async fn good_pair(&self, name: &str) -> Pair {
        let pair = self.pair(name).await.unwrap_or_else(|| panic!("{name} has no Secret"));
        let root = self.site.root_pem().await;
        pair.check(name, &root);
        pair
    }

    /// How many delivered Secrets there are.
    pub async fn delivered(&self) -> usize {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let managed = ListParams::default().labels("chancery.dev/managed=true");
        secrets.list_metadata(&managed).await.expect("a list").items.len()
    }

    /// How many certificates the CA issued.
    pub async fn issued(&self) -> usize {
        self.site.issued().await.len()
    }

    /// How many calls the CA saw in all, whatever came of them.
    pub async fn ca_calls(&self) -> u64 {
        let seen = self.site.requests().await;
        let operations = seen["operations"].as_object().expect("operations");
        let outcomes = operations.values().filter_map(Value::as_object).flatten();
        let ended: u64 = outcomes.filter_map(|(_, count)| count.as_u64()).sum();
        ended + seen["inFlight"].as_u64().expect("a number")
    }

    /// The calls of the operator from now on.
    pub fn watch_calls(&self) -> Calls<'_> {
        let before = audited(self).map(|(id, _)| id).collect();
        Calls { test: self, since: Instant::now(), before }
    }

    /// Changes the rules of the operator's ClusterRole, and waits until the API server acts by it.
    pub fn forbid(&self, verbs: &[&str], resource: &str) {
        let role = self.kubectl(&["get", "clusterrole", "chancery", "-o", "json"]);
        let mut role: Value = serde_json::from_str(&role).expect("JSON");
        for rule in role["rules"].as_array_mut().expect("rules") {
            if rule["resources"].as_array().is_some_and(|all| all.contains(&json!(resource))) {
                rule["verbs"]
                    .as_array_mut()
                    .expect("verbs")
                    .retain(|known| known.as_str().is_some_and(|known| !verbs.contains(&known)));
            }
        }
        // A rule without verbs is not valid.
        role["rules"].as_array_mut().expect("rules").retain(|rule| rule["verbs"] != json!([]));
        let role = role.to_string();
        self.world.plane.kubectl_stdin(&["replace", "-f", "-"], &role).expect("a smaller role");
        for verb in verbs {
            let group = if resource == "secrets" { "" } else { ".chancery.dev" };
            let (plural, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            self.until_allowed(verb, &format!("{plural}{group}/{subresource}"), false);
        }
    }

    /// Gives back the shipped RBAC.
    pub fn allow_everything(&self) {
        self.world.plane.kubectl(["apply", "-f", "deploy/rbac.yaml"]).expect("the shipped RBAC");
        for verb in ["create", "get", "list", "patch", "watch"] {
            self.until_allowed(verb, "secrets", true);
        }
        self.until_allowed("update", "certificaterequests.chancery.dev/status", true);
    }

    pub fn until_allowed(&self, verb: &str, resource: &str, is_allowed: bool) {
        if !is_allowed {
            self.is_forbidden.store(true, Ordering::Relaxed);
        }
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let review: SubjectAccessReview = serde_json::from_value(json!({
            "metadata": {},
            "spec": {
                "user": OPERATOR,
                "groups": ["system:serviceaccounts", "system:serviceaccounts:chancery", "system:authenticated"],
                "resourceAttributes": {
                    "verb": verb, "group": group, "resource": plural, "subresource": subresource,
                    "namespace": self.namespace,
                },
            },
        }))
        .expect("a review");
        until(&format!("{verb} {resource} is allowed: {is_allowed}"), || {
            let review = review.clone();
            let answer = self.world.plane.ask(async move |client| {
                Api::<SubjectAccessReview>::all(client).create(&Default::default(), &review).await
            });
            let status = answer.expect("an answer").status;
            status.is_some_and(|status| status.allowed) == is_allowed
        });
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        let namespace = self.namespace.clone();
        self.world.plane.ask(async move |client| clear(&client, &namespace).await);
        // A test may have left the operator without rights.
        if self.is_forbidden.load(Ordering::Relaxed) {
            let _ = self.world.plane.kubectl(["apply", "-f", "deploy/rbac.yaml"]);
        }
    }
}

/// Takes away what the operators of later tests would work on, faster than to wait for the end of the
/// namespace.
pub async fn clear(client: &kube::Client, namespace: &str) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let orders = ListParams::default().labels("chancery.dev/order=true");
    let release =
        json!({"metadata": {"annotations": {"chancery.dev/release": "the-test-is-over"}}});
    for record in secrets.list_metadata(&orders).await.map(|list| list.items).unwrap_or_default() {
        let name = record.metadata.name.unwrap_or_default();
        let _ = secrets.patch(&name, &PatchParams::default(), &Patch::Merge(&release)).await;
    }
    for collection in [
        "apis/chancery.dev/v1alpha1/namespaces/{}/certificaterequests",
        "apis/chancery.dev/v1alpha1/namespaces/{}/issuers",
        "api/v1/namespaces/{}/secrets",
    ] {
        let path = format!("/{}", collection.replace("{}", namespace));
        let request = http::Request::delete(path).body(Vec::new()).expect("a request");
        let _ = client.request_text(request).await;
    }
}

/// Calls of the operator since some moment.
pub struct Calls<'a> {
    test: &'a Test,
    since: Instant,
    before: HashSet<String>,
}

/// What they were about.
#[derive(Default)]
pub struct Counted {
    /// All but the following.
    pub calls: Vec<Call>,
    /// How many were about Events.
    pub events: usize,
    /// Those about the lease, which go on for as long as the operator lives.
    pub leases: Vec<Call>,
    /// For how long they were counted.
    pub since: Duration,
}

impl Counted {
    /// The lease costs one write for each of its renewals, and a read or two at a beginning.
    pub fn check_lease(&self, lease_seconds: u32) {
        let renewals = self.since.as_secs_f64() / (f64::from(lease_seconds) * 2.0 / 15.0);
        let most = renewals.ceil() as usize + 3;
        println!("{} requests about the lease, {most} at most", self.leases.len());
        assert!(self.leases.len() <= most, "{} of {most}", self.leases.len());
        for call in &self.leases {
            assert!(["get", "create", "update"].contains(&call.verb.as_str()), "{call:?}");
            assert_eq!(call.namespace, "chancery", "{call:?}");
        }
    }
}

impl Calls<'_> {
    /// All of them, in all namespaces.
    pub fn so_far(&self) -> Counted {
        let mut seen = self.before.clone();
        let mut counted = Counted { since: self.since.elapsed(), ..Counted::default() };
        for (_, call) in audited(self.test).filter(|(id, _)| seen.insert(id.clone())) {
            match call.resource.as_str() {
                "events" => counted.events += 1,
                "leases" => counted.leases.push(call),
                _ => counted.calls.push(call),
            }
        }
        counted
    }

    /// Those about objects in the namespace of the test, Events apart.
    pub fn in_namespace(&self) -> Vec<Call> {
        let mut calls = self.so_far().calls;
        calls.retain(|call| call.namespace == self.test.namespace);
        calls
    }
}

/// Audited calls of the operator: id and call. A watch has one entry at its start and one at its
/// end, with the same id.
fn audited(test: &Test) -> impl Iterator<Item = (String, Call)> + use<> {
    let log = test.world.plane.audit_log();
    let events: Vec<Value> =
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    // A dry run writes nothing: with some the operator looks for the admission policies.
    let is_dry = |event: &Value| {
        event["requestURI"].as_str().is_some_and(|address| address.contains("dryRun=All"))
    };
    let is_counted = move |event: &Value| event["user"]["username"] == OPERATOR && !is_dry(event);
    events.into_iter().filter(is_counted).map(|event| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        let resource = match object["subresource"].as_str() {
            Some(subresource) => format!("{}/{subresource}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        let call = Call {
            verb: text(&event["verb"]),
            resource,
            namespace: text(&object["namespace"]),
            code: event["responseStatus"]["code"].as_i64().unwrap_or_default(),
        };
        (text(&event["auditID"]), call)
    })
}

impl Pair {
    /// Has OpenSSL, which shares no code with us, check that key and leaf belong together and that
    /// the chain ends at `root`.
    pub fn check(&self, name: &str, root: &str) {
        // The anchor of the chain comes first, and after it what else the issuer trusts.
        assert!(self.anchors.starts_with(root), "ca.crt of {name}: {}", self.anchors);
        let of_key = openssl(&["pkey", "-pubout"], &self.key);
        let of_leaf = openssl(&["x509", "-noout", "-pubkey"], &self.chain);
        assert_eq!(of_key, of_leaf, "key and leaf of {name}");
        let dir = tempfile::tempdir().expect("a directory");
        let at = |file: &str, text: &str| {
            let path = dir.path().join(file);
            std::fs::write(&path, text).expect("writes");
            path.display().to_string()
        };
        let (root, chain) = (at("root", root), at("chain", &self.chain));
        openssl(&["verify", "-CAfile", &root, "-untrusted", &chain, &chain], "");
        let now = jiff::Timestamp::now().as_second();
        Delivered { tls_crt: &self.chain, ca_crt: &self.anchors, now }.accepted(name);
    }
}

/// Runs OpenSSL, which must succeed.
pub fn openssl(args: &[&str], input: &str) -> String {
    let printed = fed(std::process::Command::new("openssl").args(args), input);
    printed.unwrap_or_else(|error| panic!("openssl {args:?}: {error}"))
}

/// Ready, in a status that speaks of the present spec.
pub fn is_ready(request: &CertificateRequest) -> bool {
    let status = request.status.clone().unwrap_or_default();
    request.metadata.generation == Some(status.observed_generation)
        && condition::is_true(&status.conditions, "Ready")
}

/// Reason and message of the condition `Issuing`.
pub fn issuing(request: &CertificateRequest) -> (String, String) {
    let conditions = request.status.clone().unwrap_or_default().conditions;
    let issuing = condition::find(&conditions, "Issuing").cloned();
    issuing.map(|issuing| (issuing.reason, issuing.message)).unwrap_or_default()
}

/// The revision in the status.
pub fn revision(request: &CertificateRequest) -> i64 {
    request.status.as_ref().and_then(|status| status.revision).unwrap_or_default()
}

/// Waits for something outside of the cluster.
pub fn until(wish: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it never came true that {wish}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
