//! What every test starts from.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use chancery::api::{CertificateRequest, Issuer, condition};
use chancery::pki::{Certificate, parse_pem};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use serde_json::{Value, json};

use crate::support::control_plane::ControlPlane;
use crate::support::judges::Delivered;
use crate::support::operator::{self, Operator};
use crate::support::simulator::{Simulator, Site};
use crate::support::watch;

/// The shared world.
pub struct World {
    pub plane: ControlPlane,
    pub simulator: Simulator,
    pub operator: Operator,
}

/// Longer than the API server, the operator and a CA that answers need, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// Many tests look at the same API server.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// How long the operator of these tests waits for a CA.
pub const CA_TIMEOUT: &str = "4s";

/// What templates of these tests may carry.
const TEMPLATE_KEYS: &str = "a*,tier,example.org/*";

/// The world, made by whoever needs it first.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let plane = ControlPlane::start();
        let simulator = Simulator::start(plane.dir());
        operator::install(&plane);
        let env =
            [("CHANCERY_CA_TIMEOUT", CA_TIMEOUT), ("CHANCERY_SECRET_TEMPLATE_KEYS", TEMPLATE_KEYS)];
        let operator = Operator::start(&plane, &env);
        World { plane, simulator, operator }
    })
}

/// One test: a namespace and a CA of its own.
pub struct Test {
    pub world: &'static World,
    pub namespace: String,
    pub site: Site<'static>,
    pub client: kube::Client,
}

impl Test {
    /// A namespace with `name`, and a CA that nobody else uses.
    pub async fn new(name: &str) -> Self {
        let world = world();
        let test = Self {
            world,
            namespace: name.to_owned(),
            site: world.simulator.online_ca(name),
            client: world.plane.client().await,
        };
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        test.create(namespace).await.expect("a new namespace");
        test
    }

    /// The same with an Issuer `ca` that is ready, with credentials in Secret `credentials`.
    pub async fn with_issuer(name: &str) -> Self {
        let test = Self::new(name).await;
        test.put(test.credentials("credentials", "testuser", "changeme")).await;
        test.put(test.issuer().await).await;
        test.until_issuer_ready("ca").await;
        test
    }

    /// The same with an issuer that also signs elliptic curve keys, which are made faster.
    pub async fn with_fast_issuer(name: &str) -> Self {
        let test = Self::new(name).await;
        test.site.configure(json!({"minKeyBits": 256})).await;
        test.put(test.credentials("credentials", "testuser", "changeme")).await;
        let mut issuer = test.issuer().await;
        issuer["spec"]["onlineCa"]["keyAlgorithms"] = json!(["ECDSA", "RSA"]);
        test.put(issuer).await;
        test.until_issuer_ready("ca").await;
        test
    }

    /// Applies an object as controllers do: what it says is so afterwards, the rest stays.
    pub async fn put(&self, object: Value) -> Value {
        let url = format!(
            "{}/{}?fieldManager=test&force=true",
            self.collection(&object),
            text(&object["metadata"]["name"])
        );
        let request = http::Request::patch(url)
            .header("content-type", "application/apply-patch+yaml")
            .body(object.to_string().into_bytes())
            .expect("a request");
        self.send(request).await.expect("the object is taken")
    }

    /// Creates an object, which may be refused: with what then.
    pub async fn create(&self, object: Value) -> Result<Value, String> {
        self.post(&object, "").await
    }

    /// What the API server would answer if the object were created.
    pub async fn dry_run(&self, object: &Value) -> Result<Value, String> {
        self.post(object, "?dryRun=All&fieldValidation=Strict").await
    }

    async fn post(&self, object: &Value, query: &str) -> Result<Value, String> {
        let request = http::Request::post(format!("{}{query}", self.collection(object)))
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())
            .expect("a request");
        self.send(request).await
    }

    /// Changes an object by a merge patch, which may be refused.
    pub async fn try_patch(&self, kind: &str, name: &str, patch: Value) -> Result<Value, String> {
        let request = http::Request::patch(self.path(kind, name))
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string().into_bytes())
            .expect("a request");
        self.send(request).await
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) -> Value {
        self.try_patch(kind, name, patch).await.expect("the change is taken")
    }

    /// Sets the renewal nonce of a request.
    pub async fn renew(&self, name: &str, nonce: &str) {
        let patch = json!({"metadata": {"annotations": {"chancery.dev/renew": nonce}}});
        self.patch("CertificateRequest", name, patch).await;
    }

    /// Deletes an object.
    pub async fn delete(&self, kind: &str, name: &str) {
        let request =
            http::Request::delete(self.path(kind, name)).body(Vec::new()).expect("a request");
        self.send(request).await.expect("the object goes");
    }

    /// An object, or nothing where there is none.
    pub async fn read(&self, kind: &str, name: &str) -> Option<Value> {
        let request =
            http::Request::get(self.path(kind, name)).body(Vec::new()).expect("a request");
        self.send(request).await.ok()
    }

    fn collection(&self, object: &Value) -> String {
        collection(text(&object["kind"]), object["metadata"]["namespace"].as_str())
    }

    fn path(&self, kind: &str, name: &str) -> String {
        format!("{}/{name}", collection(kind, Some(&self.namespace)))
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<Value, String> {
        self.client.request(request).await.map_err(|error| {
            let kube::Error::Api(status) = error else {
                panic!("the API server does not answer: {error}");
            };
            status.message.clone()
        })
    }

    /// How many requests for a certificate the CA has answered, in whatever way.
    pub async fn certificate_calls(&self) -> u64 {
        let requests = self.site.requests().await;
        requests["operations"]["certificate"]
            .as_object()
            .map_or(0, |outcomes| outcomes.values().filter_map(Value::as_u64).sum())
    }

    /// A moment in which what must not happen would happen.
    pub async fn a_moment_passes(&self) {
        tokio::time::sleep(Duration::from_millis(700)).await;
    }

    /// Waits until the Issuer works.
    pub async fn until_issuer_ready(&self, name: &str) -> String {
        self.issuer_condition(name, |status, _, _| status == "True").await
    }

    /// Waits until the Issuer does not work for that reason; returns the message.
    pub async fn until_issuer_fails(&self, name: &str, reason: &str) -> String {
        self.issuer_condition(name, |status, is, _| status == "False" && is == reason).await
    }

    /// Whether the Issuer says that a person must act.
    pub async fn issuer_is_stalled(&self, name: &str) -> bool {
        let issuer = self.read("Issuer", name).await.expect("the issuer");
        issuer["status"]["conditions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Stalled"))
    }

    /// Applies an object as users do.
    pub fn apply(&self, object: Value) {
        self.try_apply(object).expect("the object is taken");
    }

    /// Applies an object that may be refused.
    pub fn try_apply(&self, object: Value) -> Result<String, String> {
        self.world.plane.apply(&object.to_string())
    }

    /// `kubectl -n <namespace>`, which must work.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let all = ["-n", &self.namespace].into_iter().chain(args.iter().copied());
        self.world.plane.kubectl(all).unwrap_or_else(|error| panic!("kubectl {args:?}: {error}"))
    }

    /// A Secret with credentials that opted in.
    pub fn credentials(&self, name: &str, username: &str, password: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": name, "namespace": self.namespace,
                "labels": {"chancery.dev/credentials": "true"},
                "annotations": self.world.simulator.opt_in(),
            },
            "stringData": {"username": username, "password": password},
        })
    }

    /// Issuer `ca`, with everything right.
    pub async fn issuer(&self) -> Value {
        let [_, mut issuer] = self.site.issuer(&self.namespace).await;
        issuer["spec"]["onlineCa"]["keyAlgorithms"] = json!(["RSA"]);
        issuer
    }

    /// A request for the user of the issuer, delivered to `<name>-tls`.
    pub fn request(&self, name: &str) -> Value {
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

    pub fn requests(&self) -> Api<CertificateRequest> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The request as it is.
    pub async fn get(&self, name: &str) -> CertificateRequest {
        self.requests().get(name).await.expect("the request")
    }

    /// A Secret as it is.
    pub async fn secret(&self, name: &str) -> Secret {
        self.secrets().get(name).await.expect("the Secret")
    }

    /// One entry of a Secret, as text.
    pub async fn entry(&self, secret: &str, key: &str) -> String {
        let data = self.secret(secret).await.data.unwrap_or_default();
        String::from_utf8(data.get(key).map(|value| value.0.clone()).unwrap_or_default())
            .expect("PEM is text")
    }

    /// Waits until the request is as wished.
    pub async fn until(
        &self,
        name: &str,
        wish: &str,
        is_so: impl Fn(&CertificateRequest) -> bool,
    ) -> CertificateRequest {
        let found = watch::until(self.requests(), name, PATIENCE, is_so).await;
        found.unwrap_or_else(|last| {
            let status = last.map(|last| serde_json::to_string_pretty(&last.status));
            panic!("{name} never was {wish}: {status:#?}\n{}", self.operator_log());
        })
    }

    /// Waits until the request is Ready, in a status that speaks of its present spec.
    pub async fn until_ready(&self, name: &str) -> CertificateRequest {
        let request = self
            .until(name, "Ready", |request| {
                let status = request.status.clone().unwrap_or_default();
                request.metadata.generation == Some(status.observed_generation)
                    && condition::is_true(&status.conditions, "Ready")
            })
            .await;
        self.judged(&request).await;
        request
    }

    /// Shows what is delivered to TLS clients. What the test has put into the Secret since is its own.
    async fn judged(&self, request: &CertificateRequest) {
        let status = request.status.as_ref().and_then(|status| status.certificate.as_ref());
        let secret = &request.spec.secret_name;
        let (tls_crt, ca_crt) =
            (self.entry(secret, "tls.crt").await, self.entry(secret, "ca.crt").await);
        let leaf = parse_pem(tls_crt.as_bytes()).ok().and_then(|chain| chain.into_iter().next());
        let fingerprint = leaf.as_ref().map(Certificate::fingerprint_sha256);
        if fingerprint != status.map(|known| known.fingerprint_sha256.as_str()) || leaf.is_none() {
            return;
        }
        let what = format!("{}/{secret}", self.namespace);
        let now = jiff::Timestamp::now().as_second();
        let judge = move || Delivered { tls_crt: &tls_crt, ca_crt: &ca_crt, now }.accepted(&what);
        tokio::task::spawn_blocking(judge).await.expect("two of three accept it");
    }

    /// Waits until that revision is delivered.
    pub async fn until_revision(&self, name: &str, revision: i64) -> CertificateRequest {
        let is_there = |request: &CertificateRequest| {
            request.status.as_ref().and_then(|status| status.revision) >= Some(revision)
        };
        let request = self.until(name, &format!("at revision {revision}"), is_there).await;
        self.judged(&request).await;
        request
    }

    /// Waits until the condition `Issuing` has that reason; returns its message.
    pub async fn until_issuing(&self, name: &str, reason: &str) -> String {
        let request = self
            .until(name, &format!("Issuing for reason {reason}"), |request| {
                issuing(request).is_some_and(|(is, _)| is == reason)
            })
            .await;
        issuing(&request).map(|(_, message)| message).unwrap_or_default()
    }

    /// Waits until the condition `Issuing` has that reason and its message says all of that.
    pub async fn until_issuing_says(&self, name: &str, reason: &str, parts: &[&str]) {
        let says = |request: &CertificateRequest| {
            issuing(request).is_some_and(|(is, message)| {
                is == reason && parts.iter().all(|part| message.contains(part))
            })
        };
        self.until(name, &format!("Issuing for reason {reason} saying {parts:?}"), says).await;
    }

    /// Waits until the Issuer's condition `Ready` has a status, reason and message as wished.
    pub async fn issuer_condition(
        &self,
        name: &str,
        is_so: impl Fn(&str, &str, &str) -> bool,
    ) -> String {
        let issuers: Api<Issuer> = Api::namespaced(self.client.clone(), &self.namespace);
        let ready = |issuer: &Issuer| {
            let status = issuer.status.clone().unwrap_or_default();
            let is_current = issuer.metadata.generation == Some(status.observed_generation);
            condition::find(&status.conditions, "Ready").filter(|_| is_current).cloned()
        };
        let is_as_wished = |issuer: &Issuer| {
            ready(issuer).is_some_and(|one| is_so(&one.status, &one.reason, &one.message))
        };
        let found = watch::until(issuers, name, PATIENCE, is_as_wished).await;
        let found = found.unwrap_or_else(|last| {
            let status = last.map(|last| last.status);
            panic!("the issuer never was as wished: {status:#?}\n{}", self.operator_log());
        });
        ready(&found).map(|one| one.message).unwrap_or_default()
    }

    /// Events about an object, by reason.
    pub async fn events(&self, object: &str) -> Vec<String> {
        self.told(object).await.into_iter().map(|(reason, _)| reason).collect()
    }

    /// Events about an object: reason and note.
    pub async fn told(&self, object: &str) -> Vec<(String, String)> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let list = events.list(&kube::api::ListParams::default()).await.expect("a list");
        list.items
            .into_iter()
            .filter(|event| event.involved_object.name.as_deref() == Some(object))
            .map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default()))
            .collect()
    }

    /// Waits until an Event of that reason says that.
    pub async fn until_told(&self, object: &str, reason: &str, part: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let told = self.told(object).await;
            if told.iter().any(|(is, note)| is == reason && note.contains(part)) {
                return;
            }
            assert!(Instant::now() < until, "no Event {reason} says {part}: {told:#?}");
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Audit events of the operator in this namespace, apart from those about Events: verb and
    /// resource with subresource.
    pub fn audited(&self) -> Vec<String> {
        self.world
            .plane
            .audit_log()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["user"]["username"] == "system:serviceaccount:chancery:chancery")
            .filter(|event| event["objectRef"]["namespace"] == self.namespace.as_str())
            .filter(|event| event["objectRef"]["resource"] != "events")
            .map(|event| {
                let of =
                    |key: &str| event["objectRef"][key].as_str().unwrap_or_default().to_owned();
                let sub = of("subresource");
                let slash = if sub.is_empty() { "" } else { "/" };
                format!(
                    "{} {}{slash}{sub}",
                    event["verb"].as_str().unwrap_or_default(),
                    of("resource")
                )
            })
            .collect()
    }

    /// The end of the operator's log, for messages.
    pub fn operator_log(&self) -> String {
        let log = self.world.operator.process.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&self.namespace)).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Where objects of a kind are.
fn collection(kind: &str, namespace: Option<&str>) -> String {
    let in_namespace = |group: &str, plural: &str| {
        let namespace = namespace.unwrap_or_else(|| panic!("{kind} needs a namespace"));
        format!("/{group}/namespaces/{namespace}/{plural}")
    };
    match kind {
        "CertificateRequest" => in_namespace("apis/chancery.dev/v1alpha1", "certificaterequests"),
        "ClusterIssuer" => "/apis/chancery.dev/v1alpha1/clusterissuers".to_owned(),
        "ConfigMap" => in_namespace("api/v1", "configmaps"),
        "Issuer" => in_namespace("apis/chancery.dev/v1alpha1", "issuers"),
        "Namespace" => "/api/v1/namespaces".to_owned(),
        "Secret" => in_namespace("api/v1", "secrets"),
        other => panic!("no test uses {other}"),
    }
}

/// The text that a value is.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Status, reason and message of a condition of a request.
pub fn condition(request: &CertificateRequest, kind: &str) -> Option<(String, String, String)> {
    let found = condition::find(&request.status.as_ref()?.conditions, kind)?;
    Some((found.status.clone(), found.reason.clone(), found.message.clone()))
}

/// Fails where a part is missing, and shows the whole.
#[track_caller]
pub fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "\"{part}\" is not in: {message}");
    }
}

/// Reason and message of the condition `Issuing`.
pub fn issuing(request: &CertificateRequest) -> Option<(String, String)> {
    let status = request.status.as_ref()?;
    let issuing = condition::find(&status.conditions, "Issuing")?;
    Some((issuing.reason.clone(), issuing.message.clone()))
}
