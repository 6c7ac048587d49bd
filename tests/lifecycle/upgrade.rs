//! Objects that an earlier version wrote are read as they are: an upgrade buys nothing and writes no
//! Secret.
//!
//! `upgrade/objects.json` holds what that version left in a cluster: one issued certificate of each
//! kind, and twenty open orders. It was written by [`write_down_what_a_version_leaves`], which runs
//! the operator of that version. Keys, accounts and certificates in it are those of the simulator.
//! `upgrade/definitions.json` are the definitions under which they were stored, without descriptions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery::api::CertificateRequest;
use chancery::pki::{KeyKind, Names, PrivateKey, csr, sha256_hex};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::operator::Operator;
use crate::support::root;
use crate::support::simulator::SwissSign;
use crate::world::{OPERATOR, Test, is_ready, issuing, openssl};

/// Certificates of the upgraded cluster.
const ISSUED: usize = 1000;
/// Orders that are open when it is upgraded.
const OPEN: usize = 20;
/// As by default.
const LEASE: (&str, &str) = ("CHANCERY_LEASE_DURATION", "15s");
/// Namespace of the objects, and name of the simulator's sites.
const HERE: &str = "upgrade";
/// The certificates in the file are still valid when this test is old.
const YEARS: u32 = 45;
const YEAR_SECONDS: u32 = 365 * 86_400;
/// Orders for it wait for an approver.
const APPROVED: &str = "Approved server";
/// A ClusterIssuer of the version before, which did not have to say whom it serves.
const PAID_FOR_ALL: &str = "upgrade-swisssign";
const CLUSTER_ISSUERS: &str = "clusterissuers.chancery.dev";

fn file() -> PathBuf {
    root().join("tests/lifecycle/upgrade/objects.json")
}

fn definitions() -> PathBuf {
    root().join("tests/lifecycle/upgrade/definitions.json")
}

#[tokio::test]
async fn what_the_version_before_wrote_is_kept_and_nothing_is_bought_or_written() {
    let begun = Instant::now();
    let stored: Value =
        serde_json::from_slice(&std::fs::read(file()).expect("the file")).expect("JSON");
    let test = Test::new(HERE).await;
    let ra = test.world.simulator.swisssign(HERE);
    test.site.configure(stored["sites"]["onlineCa"].clone()).await;
    ra.configure(stored["sites"]["swissSign"].clone()).await;
    let orders = make_orders(&ra, &stored["orders"]).await;
    let cluster = Cluster::new(&test, &ra, stored, &orders).await;
    let names = cluster.create().await;
    let (issued, open) = (names.issued, names.open);
    assert_eq!((issued.len(), open.len()), (ISSUED, OPEN));
    let bought = ra.total().await;
    println!("{:.1} s: the objects are in the cluster", begun.elapsed().as_secs_f64());

    let (before, secrets) = (requests(&test).await, versions(&test).await);
    let calls = test.watch_calls();
    let operator = start(&test);
    let counted = loop {
        let calls_before = calls.so_far().calls.len();
        test.until_idle(&operator);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let counted = calls.so_far();
        // On a busy machine it may have had no turn.
        if counted.calls.len() == calls_before {
            break counted;
        }
    };
    counted.check_lease(15);
    let mut by_kind: BTreeMap<String, usize> = BTreeMap::new();
    for call in &counted.calls {
        *by_kind.entry(format!("{} {}", call.verb, call.resource)).or_default() += 1;
    }
    println!(
        "{:.1} s: at rest after {by_kind:#?} and {} Events",
        begun.elapsed().as_secs_f64(),
        counted.events
    );
    let writes = |resource: &str| {
        counted.calls.iter().filter(|call| call.is_write() && call.resource == resource).count()
    };
    assert_eq!(writes("secrets"), 0, "writes of Secrets");
    // When a certificate is renewed depends on the uid of its request, which is another one here.
    // What is said of an order that waits for a person is said again until the CA was asked, and then
    // in the words of this version: its command names our kind in full.
    let held = names.reasons.values().filter(|reason| *reason == "CertificateUnusable").count();
    assert_eq!(held, 1);
    let most = ISSUED + names.reasons.len() + held;
    assert!(writes("certificaterequests/status") <= most, "one each");
    assert_eq!(ra.total().await, bought, "orders");
    assert_eq!(test.issued().await, 0, "free certificates");

    let now = requests(&test).await;
    // What the status knows of a certificate saves the look at it.
    let reads = by_kind.get("get secrets").copied().unwrap_or_default();
    assert!(reads <= 2 * names.reasons.len(), "{reads} reads of Secrets");
    for name in &issued {
        assert_eq!(facts(&now[name]), facts(&before[name]), "{name}");
        assert!(is_ready(&now[name]), "{name}: {:#?}", now[name].status);
        assert_eq!(issuing(&now[name]).0, "Issued", "{name}");
    }
    for (name, order) in &open {
        let status = now[name].status.clone().unwrap_or_default();
        let is = status.order.and_then(|order| order.id);
        assert_eq!(is.as_deref(), Some(order.as_str()), "{name} follows its order");
    }
    for (name, reason) in &names.reasons {
        assert_eq!(&issuing(&now[name]).0, reason, "{name}: {:#?}", now[name].status);
    }

    // It follows all of them: what is approved while no operator runs is delivered by the next.
    assert_eq!(operator.process.stop(), Some(0));
    let mut approved = Vec::new();
    for (name, order) in &open {
        if names.reasons[name] == "AwaitingApproval" {
            ra.act(order, json!({"action": "approve"})).await;
            approved.push(name);
        }
    }
    assert_eq!(approved.len(), OPEN - 1, "one was issued and is held");
    let operator = start(&test);
    for name in &approved {
        test.until(&operator, name, "delivered", |request| {
            is_ready(request) && issuing(request).0 == "Issued"
        })
        .await;
    }
    for name in &approved {
        check_pair(&test, name, &ra.root_pem().await).await;
    }
    // A ClusterIssuer that does not say whom it serves can be edited in other fields, and stays so.
    cluster.edit_cluster_issuer();
    // And it has looked at those that were issued: each acts on the next change, and that issuer goes
    // on renewing what it delivered.
    let renewed = ["free-0", "paid-names-0", "paid-cluster-0"];
    for name in renewed {
        assert!(issued.iter().any(|one| one == name), "{name}");
        let before = crate::world::revision(&test.get(name).await);
        test.kubectl(&["annotate", "--overwrite", "chreq", name, "chancery.dev/renew=upgraded"]);
        test.until(&operator, name, "renewed", |request| {
            crate::world::revision(request) == before + 1
        })
        .await;
    }
    let renewals = ra.total().await - bought + test.issued().await as u64;
    assert_eq!(renewals, 3, "those that were asked for just now");
    cluster.is_refused_anew();
    println!("{:.1} s: delivered what was approved", begun.elapsed().as_secs_f64());
    let now = versions(&test).await;
    for name in issued.iter().filter(|name| !renewed.contains(&name.as_str())) {
        for secret in [format!("{name}-tls"), format!("{name}.order")] {
            assert_eq!(now.get(&secret), secrets.get(&secret), "{secret} was written");
        }
    }
    cluster.clean_up();
}

fn start(test: &Test) -> Operator {
    let operator = test.spawn(&[LEASE]);
    operator.wait_until_ready();
    operator.wait_until_it_acts();
    operator
}

async fn requests(test: &Test) -> BTreeMap<String, CertificateRequest> {
    let list = test.requests().list(&Default::default()).await.expect("a list");
    list.into_iter()
        .map(|request| (request.metadata.name.clone().unwrap_or_default(), request))
        .collect()
}

/// resourceVersions of all Secrets, by name.
async fn versions(test: &Test) -> BTreeMap<String, Option<String>> {
    let secrets: Api<Secret> = Api::namespaced(test.client.clone(), &test.namespace);
    let list = secrets.list_metadata(&Default::default()).await.expect("a list");
    list.into_iter().map(|secret| (secret.name_any(), secret.metadata.resource_version)).collect()
}

/// What a status says that is no text and no plan.
fn facts(request: &CertificateRequest) -> Value {
    let status = json!(request.status);
    json!([status["revision"], status["orders"], status["certificate"], status["order"]])
}

/// Key and certificate of a target belong together, and the chain ends at the CA's root.
async fn check_pair(test: &Test, name: &str, root: &str) {
    let pair = test.pair(name).await.unwrap_or_else(|| panic!("{name} has no Secret"));
    if pair.key.is_empty() {
        // The request brought a CSR and kept its key.
        openssl(&["x509", "-noout"], &pair.chain);
    } else {
        pair.check(name, root);
    }
}

/// Makes the stored orders at the CA again, as the version before submitted them. Old id to new.
async fn make_orders(ra: &SwissSign<'_>, orders: &Value) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    for order in orders.as_array().expect("orders") {
        let id = ra.submit(&order["body"]).await;
        match order["state"].as_str().expect("a state") {
            "PENDING_AUTH" => {}
            "REJECTED" => {
                ra.act(&id, json!({"action": "reject", "error": order["error"]})).await;
            }
            "ISSUED" => {
                // The certificate lacked a name.
                ra.change(json!({"dropSans": [0]})).await;
                ra.act(&id, json!({"action": "approve"})).await;
                ra.change(json!({"dropSans": []})).await;
            }
            other => panic!("no order was left in {other}"),
        }
        ids.insert(order["id"].as_str().expect("an id").to_owned(), id);
    }
    ids
}

/// The stored objects, fitted to the cluster and the CA of this run, and where they go.
struct Cluster<'a> {
    test: &'a Test,
    objects: Vec<Value>,
}

/// Names of requests.
struct Created {
    issued: Vec<String>,
    /// With the id of the order.
    open: Vec<(String, String)>,
    /// Why those that are not issued are not.
    reasons: BTreeMap<String, String>,
}

impl<'a> Cluster<'a> {
    /// Fits the objects: the address of the CA, the ids of its orders, and its roots beside those
    /// that the stored chains end at.
    async fn new(
        test: &'a Test,
        ra: &SwissSign<'_>,
        stored: Value,
        orders: &BTreeMap<String, String>,
    ) -> Self {
        let address = stored["address"].as_str().expect("an address").to_owned();
        let mut fit: Vec<(String, String)> = vec![(address, test.world.simulator.url.clone())];
        fit.extend(orders.clone());
        let roots = test.site.root_pem().await + &ra.root_pem().await;
        let mut objects = stored["objects"].as_array().expect("objects").clone();
        for object in &mut objects {
            if object["kind"] == "Secret" {
                fit_secret(object, &fit);
                // What each of them is told of after the upgrade, and until then they are not sent.
                let annotations = &mut object["metadata"]["annotations"];
                if !annotations["chancery.dev/hosts"].is_null() {
                    for (key, value) in test.world.simulator.opt_in().as_object().expect("both") {
                        annotations[key] = value.clone();
                    }
                }
                continue;
            }
            *object = serde_json::from_str(&replaced(&object.to_string(), &fit)).expect("JSON");
            if object["spec"]["trust"]["bundle"]["pem"].is_string() {
                let old = object["spec"]["trust"]["bundle"]["pem"].as_str().unwrap_or_default();
                object["spec"]["trust"]["bundle"]["pem"] = json!(format!("{old}{roots}"));
                let tls = test.world.simulator.tls_root();
                object["spec"]["tls"]["caBundle"]["pem"] = json!(tls);
            }
        }
        Self { test, objects }
    }

    /// Creates all of them, and those that are issued so often that there are [`ISSUED`].
    async fn create(&self) -> Created {
        // They were stored under the definitions of that version.
        self.define(&definitions()).await;
        // What the API server gives anew, by what it was: uids and resourceVersions.
        let mut anew = BTreeMap::new();
        let of_requests = self.owned_by_requests();
        let others = self.objects.iter().filter(|object| {
            object["kind"] != "CertificateRequest" && !of_requests.contains(&name_of(object))
        });
        for object in others.clone().filter(|object| object["kind"] == "Secret") {
            self.create_one(object, &mut anew).await;
        }
        for object in others.filter(|object| object["kind"] != "Secret") {
            self.create_one(object, &mut anew).await;
        }
        let all = self.objects.iter().filter(|object| object["kind"] == "CertificateRequest");
        let (issued, waiting): (Vec<&Value>, Vec<&Value>) =
            all.partition(|request| reason(request) == "Issued");
        let copies = (0..ISSUED).map(|at| (issued[at % issued.len()], at / issued.len()));
        let issued: Vec<String> = futures::stream::iter(copies)
            .map(|(request, copy)| self.create_request(request, Some(copy), anew.clone()))
            .buffer_unordered(16)
            .collect()
            .await;
        let (mut open, mut reasons) = (Vec::new(), BTreeMap::new());
        for request in waiting {
            let name = self.create_request(request, None, anew.clone()).await;
            reasons.insert(name.clone(), reason(request));
            let order = &request["status"]["order"];
            if let Some(id) = order["id"].as_str().filter(|_| order["phase"] != "Failed") {
                open.push((name, id.to_owned()));
            }
        }
        self.define(&root().join("crds")).await;
        Created { issued, open, reasons }
    }

    /// Has the API server serve other definitions.
    async fn define(&self, path: &Path) {
        let path = path.display().to_string();
        self.test.world.plane.kubectl(["replace", "-f", &path]).expect("replaced");
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.test.world.plane.wait_until_it_serves();
    }

    /// Names of the targets and records of the stored requests.
    fn owned_by_requests(&self) -> Vec<String> {
        let requests = self.objects.iter().filter(|one| one["kind"] == "CertificateRequest");
        requests.flat_map(|request| [target_of(request), record_of(request)]).collect()
    }

    /// Creates a request with its target and its record, as they are or under another name.
    async fn create_request(
        &self,
        request: &Value,
        copy: Option<usize>,
        mut anew: BTreeMap<String, String>,
    ) -> String {
        let mut request = request.clone();
        let (target, record) = (target_of(&request), record_of(&request));
        let name = match copy {
            Some(copy) => format!("{}-{copy}", name_of(&request)),
            None => name_of(&request),
        };
        request["metadata"]["name"] = json!(name);
        request["spec"]["secretName"] = json!(format!("{name}-tls"));
        for (old, new) in [(target, target_of(&request)), (record, record_of(&request))] {
            let found =
                self.objects.iter().find(|one| one["kind"] == "Secret" && name_of(one) == old);
            if let Some(mut secret) = found.cloned() {
                secret["metadata"]["name"] = json!(new);
                if secret["metadata"]["annotations"]["chancery.dev/certificate-request"].is_string()
                {
                    secret["metadata"]["annotations"]["chancery.dev/certificate-request"] =
                        json!(name);
                }
                with_present_csr(&mut secret, &anew);
                self.create_one(&secret, &mut anew).await;
            }
        }
        self.create_one(&request, &mut anew).await;
        name
    }

    /// Creates an object and its status, in which the versions of other objects are the present
    /// ones.
    async fn create_one(&self, object: &Value, anew: &mut BTreeMap<String, String>) {
        let mut fresh = object.clone();
        let metadata = &mut fresh["metadata"];
        let mut of_old = |field: &str| {
            let removed = metadata.as_object_mut().and_then(|all| all.remove(field));
            removed.and_then(|value| value.as_str().map(str::to_owned))
        };
        let (uid, version) = (of_old("uid"), of_old("resourceVersion"));
        let path = collection(object);
        let made = self.send("POST", &path, &fresh).await;
        for (old, field) in [(uid, "uid"), (version, "resourceVersion")] {
            if let (Some(old), Some(new)) = (old, made["metadata"][field].as_str()) {
                anew.insert(old, new.to_owned());
            }
        }
        if object["status"].is_object() {
            let mut with_status = made.clone();
            with_status["status"] = renewed(&object["status"], "", anew);
            let path = format!("{path}/{}/status", name_of(&made));
            self.send("PUT", &path, &with_status).await;
        }
    }

    /// Records as the operator's ServiceAccount, or nobody could create them; by the administrator, so
    /// that the call is not counted as one of the operator.
    async fn send(&self, method: &str, path: &str, object: &Value) -> Value {
        let mut request = http::Request::builder().method(method).uri(path);
        request = request.header("content-type", "application/json");
        if object["metadata"]["labels"]["chancery.dev/order"] == "true" {
            request = request.header("impersonate-user", OPERATOR);
        }
        let request = request.body(object.to_string().into_bytes()).expect("a request");
        let sent = self.test.client.request(request).await;
        sent.unwrap_or_else(|error| panic!("{method} {path} {}: {error}", name_of(object)))
    }

    /// Has another field of the ClusterIssuer changed, as an administrator does.
    fn edit_cluster_issuer(&self) {
        let plane = &self.test.world.plane;
        let patch = json!({"spec": {"limits": {"ordersPerDay": 90}}}).to_string();
        let patched = ["patch", CLUSTER_ISSUERS, PAID_FOR_ALL, "--type=merge", "-p", &patch];
        plane.kubectl(patched).expect("it can be edited");
        let stored = plane.kubectl(["get", CLUSTER_ISSUERS, PAID_FOR_ALL, "-o", "json"]);
        let stored: Value = serde_json::from_str(&stored.expect("it is there")).expect("JSON");
        assert_eq!(stored["spec"]["limits"]["ordersPerDay"], 90);
        assert!(stored["spec"]["allow"].is_null(), "{stored}");
    }

    /// The very same is refused where it is new.
    fn is_refused_anew(&self) {
        let is_it = |one: &&Value| one["kind"] == "ClusterIssuer" && name_of(one) == PAID_FOR_ALL;
        let stored = self.objects.iter().find(is_it).expect("it is stored");
        let new = json!({
            "apiVersion": stored["apiVersion"], "kind": "ClusterIssuer",
            "metadata": {"name": "upgrade-new"}, "spec": stored["spec"],
        });
        let refused = self.test.world.plane.apply(&new.to_string()).expect_err("it says nothing");
        let says = "say whom this ClusterIssuer serves: set allow.namespaces";
        assert!(refused.contains(says), "{refused}");
    }

    /// Takes away what is outside of the namespace.
    fn clean_up(&self) {
        for object in &self.objects {
            let plane = &self.test.world.plane;
            let name = name_of(object);
            if object["kind"] == "ClusterIssuer" {
                plane.kubectl(["delete", CLUSTER_ISSUERS, &name]).expect("it goes");
            } else if object["metadata"]["namespace"] != HERE {
                plane.kubectl(["delete", "-n", "chancery", "secret", &name]).expect("it goes");
            }
        }
    }
}

/// The status with present uids, versions and generations: every object here is new.
fn renewed(value: &Value, field: &str, anew: &BTreeMap<String, String>) -> Value {
    match value {
        Value::Object(all) => {
            let all = all.iter().map(|(name, one)| (name.clone(), renewed(one, name, anew)));
            Value::Object(all.collect())
        }
        Value::Array(all) => all.iter().map(|one| renewed(one, field, anew)).collect(),
        Value::Number(_) if field == "observedGeneration" || field == "generation" => json!(1),
        Value::String(text) if field.ends_with("esourceVersion") => {
            json!(anew.get(text).unwrap_or(text))
        }
        // A uid and a generation.
        Value::String(text) if field == "issuerVersion" => {
            let uid = text.split('/').next().unwrap_or_default();
            let present = anew.get(uid).map_or(uid, String::as_str);
            json!(format!("{present}/1"))
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            other.clone()
        }
    }
}

/// Which version of the Secret with its CSR a target was made with is the present one.
fn with_present_csr(target: &mut Value, anew: &BTreeMap<String, String>) {
    let requested = &mut target["metadata"]["annotations"]["chancery.dev/requested"];
    let Some(text) = requested.as_str() else { return };
    let mut inputs: Value = serde_json::from_str(text).expect("JSON");
    if let Some(new) = inputs["csrVersion"].as_str().and_then(|old| anew.get(old)) {
        inputs["csrVersion"] = json!(new);
        *requested = json!(inputs.to_string());
    }
}

/// Replaces texts in the data of a Secret and in its annotations, and in a record the digest of its
/// data, which was right before.
fn fit_secret(secret: &mut Value, fit: &[(String, String)]) {
    let digest = |secret: &Value| {
        let data = secret["data"].as_object().cloned().unwrap_or_default();
        digest_of(&data.into_iter().map(|(key, value)| (key, decoded(&value))).collect())
    };
    let at = "chancery.dev/order-digest";
    let is_record = secret["metadata"]["annotations"][at].is_string();
    if is_record {
        let said = secret["metadata"]["annotations"][at].as_str();
        assert_eq!(said, Some(digest(secret).as_str()), "{}", name_of(secret));
    }
    for value in secret["data"].as_object_mut().into_iter().flatten().map(|(_, value)| value) {
        if let Ok(text) = String::from_utf8(decoded(value)) {
            *value = json!(STANDARD.encode(replaced(&text, fit)));
        }
    }
    let annotations = secret["metadata"]["annotations"].clone();
    if annotations.is_object() {
        let text = replaced(&annotations.to_string(), fit);
        secret["metadata"]["annotations"] = serde_json::from_str(&text).expect("JSON");
    }
    if is_record {
        secret["metadata"]["annotations"][at] = json!(digest(secret));
    }
}

/// The digest that the version before wrote beside the data of a record.
fn digest_of(data: &BTreeMap<String, Vec<u8>>) -> String {
    let mut bytes = Vec::new();
    for part in data.iter().flat_map(|(key, value)| [key.as_bytes(), value]) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    sha256_hex(&bytes)
}

fn replaced(text: &str, fit: &[(String, String)]) -> String {
    fit.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().expect("base64")).expect("base64")
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").to_owned()
}

fn target_of(request: &Value) -> String {
    request["spec"]["secretName"].as_str().expect("a name").to_owned()
}

fn record_of(request: &Value) -> String {
    format!("{}.order", name_of(request))
}

fn reason(request: &Value) -> String {
    let request: CertificateRequest = serde_json::from_value(request.clone()).expect("a request");
    issuing(&request).0
}

/// Where the API server keeps objects of this kind.
fn collection(object: &Value) -> String {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let ours = format!("/apis/chancery.dev/v1alpha1/namespaces/{namespace}");
    match object["kind"].as_str().expect("a kind") {
        "ClusterIssuer" => "/apis/chancery.dev/v1alpha1/clusterissuers".to_owned(),
        "Issuer" => format!("{ours}/issuers"),
        "CertificateRequest" => format!("{ours}/certificaterequests"),
        "Secret" => format!("/api/v1/namespaces/{namespace}/secrets"),
        other => panic!("{other} is not stored"),
    }
}

/// Writes `upgrade/objects.json` anew, with the operator whose program `CHANCERY_VERSION` names:
///
/// ```text
/// CHANCERY_VERSION=…/target/debug/chancery cargo test --all-features --test lifecycle -- \
///     --ignored write_down_what_a_version_leaves
/// ```
///
/// The definitions of that version go beside it:
///
/// ```text
/// git show REVISION:deploy/definitions.yaml | kubectl create --dry-run=client -o json -f - |
///     jq -cS 'walk(if type == "object" and (.description | type) == "string" then del(.description) else . end)'
/// ```
#[tokio::test]
#[ignore = "changes the repository: CHANCERY_VERSION is the program whose objects are to be stored"]
async fn write_down_what_a_version_leaves() {
    let program = std::env::var("CHANCERY_VERSION").expect("CHANCERY_VERSION names a program");
    let test = Test::new(HERE).await;
    let ra = test.world.simulator.swisssign(HERE);
    let lifetime = json!({"validityType": "DAYS", "validity": YEARS * 365});
    test.site
        .configure(json!({
            "minKeyBits": 256, "keyAlgorithm": "ECDSA", "lifetimeSeconds": YEARS * YEAR_SECONDS,
            "users": {"testuser": "changeme", "ada": "lovelace"},
        }))
        .await;
    ra.configure(json!({
        "keyAlgorithm": "ECDSA",
        "clients": [{"name": "Demo Client", "products": [
            {"name": "Server", "productValidity": lifetime},
            {
                "name": APPROVED, "productValidity": lifetime,
                "states": [{"state": "PENDING_AUTH"}, {"state": "ISSUED"}],
            },
        ]}],
    }))
    .await;
    let operator = Operator::spawn(&test.world.plane, Path::new(&program), &[LEASE]);
    operator.wait_until_ready();
    operator.wait_until_it_acts();
    let scene = Scene { test: &test, ra: &ra, operator: &operator };
    scene.issuers().await;
    scene.issue().await;
    scene.leave_open().await;
    test.until_idle(&operator);
    assert_eq!(operator.process.stop(), Some(0));
    let stored = written(&test, &ra).await;
    let text = serde_json::to_string_pretty(&stored).expect("JSON");
    std::fs::write(file(), text + "\n").expect("writes");
    for object in stored["objects"].as_array().expect("objects") {
        if object["kind"] == "ClusterIssuer" {
            let delete = ["delete", CLUSTER_ISSUERS, &name_of(object)];
            test.world.plane.kubectl(delete).expect("it goes");
        }
    }
}

/// What a version is asked for.
struct Scene<'a> {
    test: &'a Test,
    ra: &'a SwissSign<'a>,
    operator: &'a Operator,
}

impl Scene<'_> {
    async fn issuers(&self) {
        let [mut api_key, paid] = self.ra.issuer(HERE).await;
        let mut free = json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "Issuer",
            "metadata": {"name": "online", "namespace": HERE},
            "spec": {
                "onlineCa": {
                    "certificateUrl": self.test.site.certificate_url(),
                    "trustRootsUrl": self.test.site.trust_roots_url(),
                    "credentialsSecretRef": {"name": "credentials"},
                    "keyAlgorithms": ["RSA", "ECDSA"],
                },
                "tls": paid["spec"]["tls"],
                "trust": {"bundle": {"pem": self.test.site.root_pem().await}},
            },
        });
        for (name, username, password) in
            [("credentials", "testuser", "changeme"), ("ada", "ada", "lovelace")]
        {
            let mut credentials = api_key.clone();
            credentials["metadata"]["name"] = json!(name);
            credentials["stringData"] = json!({"username": username, "password": password});
            self.test.apply(credentials);
        }
        self.test.apply(api_key.clone());
        api_key["metadata"]["namespace"] = json!("chancery");
        self.test.apply(api_key);
        self.test.apply(free.clone());
        free["metadata"]["name"] = json!("online-limited");
        free["spec"]["limits"] = json!({"ordersPerDay": 50, "requestsPerSecond": 50});
        self.test.apply(free.clone());
        free["kind"] = json!("ClusterIssuer");
        free["metadata"] = json!({"name": "upgrade-online"});
        let mut allow = json!({
            "namespaces": {}, "ownCredentials": true, "keyTypes": ["RSA 2048", "ECDSA P-256"],
        });
        free["spec"]["allow"] = allow.clone();
        free["spec"].as_object_mut().expect("fields").remove("limits");
        free["spec"]["onlineCa"].as_object_mut().expect("fields").remove("credentialsSecretRef");
        self.test.apply(free);
        let mut paid = paid;
        paid["metadata"]["name"] = json!("swisssign");
        self.test.apply(paid.clone());
        paid["kind"] = json!("ClusterIssuer");
        paid["metadata"] = json!({"name": "upgrade-swisssign"});
        allow["dnsNames"] = json!(["**"]);
        paid["spec"]["allow"] = allow;
        self.test.apply(paid.clone());
        paid["spec"].as_object_mut().expect("fields").remove("allow");
        paid["kind"] = json!("Issuer");
        paid["metadata"] = json!({"name": "swisssign-limited", "namespace": HERE});
        paid["spec"]["limits"] = json!({
            "ordersPerDay": 50, "openOrders": 30, "requestsPerSecond": 50,
            "ordersPerRequestPerDay": 9,
        });
        self.test.apply(paid);
    }

    /// A Secret with a CSR, and with the key if that is said.
    fn csr(&self, name: &str, dns_name: &str, has_key: bool) {
        let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
        let names = Names { dns_names: vec![dns_name.to_owned()], ..Names::default() };
        let der = csr::build(&key, &names).expect("a CSR");
        let mut data = json!({"tls.csr": csr::to_pem(&der)});
        if has_key {
            data["tls.key"] = json!(key.to_pkcs8_pem().expose_secret());
        }
        self.test.apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": name, "namespace": HERE, "labels": {"chancery.dev/credentials": "true"},
            },
            "stringData": data,
        }));
    }

    fn request(&self, issuer: &str, name: &str, further: Value) {
        let kind = if issuer.starts_with("upgrade-") { "ClusterIssuer" } else { "Issuer" };
        let mut request = json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": name, "namespace": HERE},
            "spec": {
                "issuerRef": {"kind": kind, "name": issuer},
                "secretName": format!("{name}-tls"),
            },
        });
        for (field, value) in further.as_object().expect("fields") {
            request["spec"][field] = value.clone();
        }
        self.test.apply(request);
    }

    async fn until_issued(&self, name: &str, revision: i64) {
        let is_issued = |request: &CertificateRequest| {
            is_ready(request)
                && issuing(request).0 == "Issued"
                && crate::world::revision(request) == revision
        };
        self.test.until(self.operator, name, "issued", is_issued).await;
    }

    async fn until_waiting(&self, name: &str, reason: &str) -> String {
        let waits = |request: &CertificateRequest| {
            let order = request.status.as_ref().and_then(|status| status.order.as_ref());
            issuing(request).0 == reason
                && (reason == "Suspended" || order.is_some_and(|order| order.id.is_some()))
        };
        let request = self.test.until(self.operator, name, reason, waits).await;
        let order = request.status.unwrap_or_default().order.unwrap_or_default();
        order.id.unwrap_or_default()
    }

    fn renew(&self, name: &str) {
        self.test.kubectl(&["annotate", "--overwrite", "chreq", name, "chancery.dev/renew=1"]);
    }

    /// Certificates of every kind.
    async fn issue(&self) {
        let ecdsa = json!({"algorithm": "ECDSA"});
        self.request("online", "free", json!({"onlineCa": {}}));
        let kept = json!({"algorithm": "ECDSA", "rotationPolicy": "Never"});
        self.request("online", "free-renewed", json!({"onlineCa": {}, "privateKey": kept}));
        self.request(
            "upgrade-online",
            "free-user",
            json!({
                "onlineCa": {"credentialsSecretRef": {"name": "ada"}}, "privateKey": ecdsa,
                "renewBeforePercentage": 20,
                "secretTemplate": {"labels": {"app": "notebook"}, "annotations": {"team": "a"}},
            }),
        );
        self.request(
            "online-limited",
            "free-limited",
            json!({"onlineCa": {}, "privateKey": ecdsa}),
        );
        let names = json!({"dnsNames": ["shop.example.ch"], "privateKey": ecdsa});
        for (issuer, name) in [
            ("swisssign", "paid"),
            ("swisssign", "paid-renewed"),
            ("swisssign-limited", "paid-limited"),
            ("upgrade-swisssign", "paid-cluster"),
        ] {
            self.request(issuer, name, names.clone());
        }
        self.request(
            "swisssign",
            "paid-names",
            json!({
                "commonName": "shop.example.ch",
                "subject": {"organizations": ["Example AG"], "countries": ["CH"]},
                "dnsNames": ["shop.example.ch", "*.shop.example.ch", "bücher.example.ch"],
                "ipAddresses": ["192.0.2.1", "2001:db8::1"],
                "uris": ["spiffe://example.ch/shop"],
                "emailAddresses": ["shop@example.ch"],
                "usages": ["digital signature", "server auth", "client auth"],
                "duration": format!("{}h", YEARS * 365 * 24),
                "renewBefore": "720h",
                "privateKey": {"algorithm": "RSA", "size": 3072},
            }),
        );
        self.csr("csr", "csr.example.ch", false);
        self.csr("csr-with-key", "csr.example.ch", true);
        self.request("swisssign", "paid-csr", json!({"csrSecretRef": {"name": "csr"}}));
        let with_key = json!({"csrSecretRef": {"name": "csr-with-key"}});
        self.request("swisssign", "paid-csr-with-key", with_key);
        for name in ["free-renewed", "paid-renewed"] {
            self.until_issued(name, 1).await;
            self.renew(name);
            self.until_issued(name, 2).await;
        }
        for name in [
            "free",
            "free-user",
            "free-limited",
            "paid",
            "paid-limited",
            "paid-cluster",
            "paid-names",
            "paid-csr",
            "paid-csr-with-key",
        ] {
            self.until_issued(name, 1).await;
        }
    }

    /// Twenty open orders, one of which is issued and held; one that was rejected, one for which no
    /// order was made.
    async fn leave_open(&self) {
        let product = json!({"product": {"name": APPROVED}});
        let kinds = ["swisssign", "swisssign-limited", "upgrade-swisssign"];
        let mut open = Vec::new();
        for number in 0..15 {
            let name = format!("open-{number}");
            let key = match number % 5 {
                4 => json!({"algorithm": "RSA"}),
                _ => json!({"algorithm": "ECDSA"}),
            };
            let names = [format!("{name}.example.ch"), format!("www.{name}.example.ch")];
            let further = json!({"dnsNames": names, "privateKey": key, "swissSign": product});
            self.request(kinds[number % 3], &name, further);
            open.push(name);
        }
        let csr = json!({"csrSecretRef": {"name": "csr"}, "swissSign": product});
        self.request("swisssign", "open-csr", csr);
        open.push("open-csr".to_owned());
        let ecdsa = json!({"algorithm": "ECDSA"});
        let further =
            |name: &str| json!({"dnsNames": [name], "privateKey": ecdsa, "swissSign": product});
        for name in ["open-renewal-0", "open-renewal-1"] {
            self.request("swisssign", name, further("renewal.example.ch"));
            let order = self.until_waiting(name, "AwaitingApproval").await;
            self.ra.act(&order, json!({"action": "approve"})).await;
            self.until_issued(name, 1).await;
            self.renew(name);
            open.push(name.to_owned());
        }
        self.request("swisssign", "open-again", further("again.example.ch"));
        self.until_waiting("open-again", "AwaitingApproval").await;
        self.test.kubectl(&["delete", "chreq", "open-again"]);
        self.request("swisssign", "open-again", further("again.example.ch"));
        open.push("open-again".to_owned());
        for name in &open {
            self.until_waiting(name, "AwaitingApproval").await;
        }
        for name in ["open-0", "open-1", "open-2"] {
            let patch = r#"{"spec":{"suspend":true}}"#;
            self.test.kubectl(&["patch", "chreq", name, "--type=merge", "-p", patch]);
        }

        let two = json!({
            "dnsNames": ["held.example.ch", "www.held.example.ch"], "privateKey": ecdsa,
            "swissSign": product,
        });
        self.request("swisssign", "held", two);
        let order = self.until_waiting("held", "AwaitingApproval").await;
        self.ra.change(json!({"dropSans": [0]})).await;
        self.ra.act(&order, json!({"action": "approve"})).await;
        self.ra.change(json!({"dropSans": []})).await;
        self.until_waiting("held", "CertificateUnusable").await;

        self.request("swisssign", "rejected", further("rejected.example.ch"));
        let order = self.until_waiting("rejected", "AwaitingApproval").await;
        self.ra.act(&order, json!({"action": "reject", "error": "no such owner"})).await;
        self.until_waiting("rejected", "OrderRejected").await;

        let mut suspended = further("suspended.example.ch");
        suspended["suspend"] = json!(true);
        self.request("swisssign", "suspended", suspended);
        self.until_waiting("suspended", "Suspended").await;
    }
}

/// Everything that is in the cluster, and what the CA was sent for the orders that are open or
/// held.
async fn written(test: &Test, ra: &SwissSign<'_>) -> Value {
    let mut objects = Vec::new();
    for (kind, args) in [
        ("Secret", vec!["secrets", "-n", HERE]),
        ("Secret", vec!["secrets", "-n", "chancery", "-l", "chancery.dev/credentials=true"]),
        ("Issuer", vec!["issuers.chancery.dev", "-n", HERE]),
        ("ClusterIssuer", vec![CLUSTER_ISSUERS]),
        ("CertificateRequest", vec!["chreq", "-n", HERE]),
    ] {
        let get = ["get", "-o", "json"].into_iter().chain(args);
        let list = test.world.plane.kubectl(get).expect("a list");
        let list: Value = serde_json::from_str(&list).expect("JSON");
        for mut object in list["items"].as_array().expect("items").clone() {
            let metadata = object["metadata"].as_object_mut().expect("metadata");
            metadata.remove("managedFields");
            metadata.remove("creationTimestamp");
            metadata.remove("generation");
            if let Some(all) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                all.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
            object["kind"] = json!(kind);
            objects.push(object);
        }
    }
    let bodies = bodies(ra, &objects).await;
    json!({
        "address": test.world.simulator.url,
        "sites": {
            "onlineCa": test.site.settings().await,
            "swissSign": ra.settings().await,
        },
        "orders": bodies,
        "objects": objects,
    })
}

async fn bodies(ra: &SwissSign<'_>, objects: &[Value]) -> Vec<Value> {
    let made = ra.orders().await;
    let mut bodies = Vec::new();
    for request in objects.iter().filter(|one| one["status"]["order"]["id"].is_string()) {
        let id = &request["status"]["order"]["id"];
        let order = made.iter().find(|order| &order["uuid"] == id).expect("it was made");
        let record = objects.iter().find(|one| name_of(one) == record_of(request));
        let next = decoded(&record.expect("a record")["data"]["next.json"]);
        let next: Value = serde_json::from_slice(&next).expect("JSON");
        let mut body = json!({
            "productReference": order["product"],
            "csr": csr::to_pem(&decoded(&next["csr"])),
            "tags": order["submittedTags"],
            "synchrone": false,
            "acceptTandC": true,
        });
        if let Some(validity) = next["parameters"]["validity"].as_i64() {
            body["overrides"] = json!({"validity": validity});
        }
        let error = (order["state"] == "REJECTED").then_some("no such owner");
        let state = &order["state"];
        bodies.push(json!({"id": id, "state": state, "error": error, "body": body}));
    }
    bodies
}
