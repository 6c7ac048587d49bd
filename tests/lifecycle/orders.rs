//! Orders that cost money, while processes die, stop, hand over, and lose the API server: one order
//! for each intent, and none without its key.

pub mod limits;
mod losses;
mod pauses;
mod restarts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chancery::api::CertificateRequest;
use chancery::pki::{PrivateKey, sha256_hex};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::processes::failpoints::dies;
use crate::processes::lease::Wire;
use crate::support::operator::Operator;
use crate::support::simulator::SwissSign;
use crate::world::{Test, revision, until};

/// Long enough for three looks and a busy machine.
const SETTLE_WINDOW: &str = "4s";

/// One test of orders at a site of SwissSign of its own.
pub struct Paid {
    pub test: Test,
    pub ra: SwissSign<'static>,
}

impl Paid {
    /// Issuer `ca` at an account whose search has found an order, that of request `proof`; and the
    /// operator that ordered it.
    pub async fn new(name: &str) -> (Self, Operator) {
        let test = Test::new(name).await;
        let ra = test.world.simulator.swisssign(name);
        ra.configure(json!({"keyAlgorithm": "ECDSA"})).await;
        let paid = Self { test, ra };
        let operator = paid.start();
        let [credentials, mut issuer] = paid.ra.issuer(&paid.test.namespace).await;
        issuer["spec"]["swissSign"]["settleWindow"] = json!(SETTLE_WINDOW);
        // Many processes die here, and each takes the rest of its block along.
        issuer["spec"]["limits"] = json!({"ordersPerDay": 100_000});
        paid.test.apply(credentials);
        paid.test.apply(issuer);
        paid.order("proof");
        paid.test.until_ready(&operator, "proof").await;
        until("the search has found an order", || {
            let found =
                ["get", "issuers.chancery.dev", "ca", "-o", "jsonpath={.status.orderFoundAt}"];
            !paid.test.kubectl(&found).is_empty()
        });
        paid.test.until_idle(&operator);
        (paid, operator)
    }

    /// An operator that acts.
    pub fn start(&self) -> Operator {
        let operator = self.spawn(&[]);
        operator.wait_until_ready();
        operator.wait_until_it_acts();
        operator
    }

    /// An operator that waits for a call of the CA shorter than usual: twice that is the least for
    /// which a lost answer is looked for.
    pub fn spawn(&self, env: &[(&str, &str)]) -> Operator {
        let mut all = vec![("CHANCERY_CA_TIMEOUT", "3s")];
        all.extend_from_slice(env);
        self.test.spawn(&all)
    }

    pub fn order(&self, name: &str) {
        self.test.apply(self.request(name));
    }

    pub fn request(&self, name: &str) -> Value {
        json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": name, "namespace": self.test.namespace},
            "spec": {
                "issuerRef": {"name": "ca"},
                "secretName": format!("{name}-tls"),
                "dnsNames": [format!("{name}.example.ch")],
                "privateKey": {"algorithm": "ECDSA"},
            },
        })
    }

    /// Nobody was charged twice, and every order has its key in some Secret of the namespace.
    pub async fn check(&self, orders: u64) {
        assert_eq!(
            self.ra.total().await,
            orders,
            "orders at the CA: {:#?}",
            self.ra.orders().await
        );
        let secrets: Api<Secret> = Api::namespaced(self.test.client.clone(), &self.test.namespace);
        let mut keys = BTreeSet::new();
        for secret in secrets.list(&ListParams::default()).await.expect("a list") {
            for (entry, value) in secret.data.unwrap_or_default() {
                if entry.ends_with(".key") {
                    let key = PrivateKey::from_pem(&value.0).expect("a key");
                    keys.insert(sha256_hex(key.spki_der()));
                }
            }
        }
        for order in self.ra.orders().await {
            let spki = order["spkiSha256"].as_str().expect("a digest");
            assert!(keys.contains(spki), "the key of this order is lost: {order:#}");
        }
    }

    /// The logs of all processes together tell of the one order of a request, in whatever format and
    /// level they were written: that it was bought, and that it was issued. Repeats are known as such.
    async fn is_told_of(&self, name: &str) {
        let orders = self.ra.orders().await;
        let names = json!([format!("dns:{name}.example.ch")]);
        let order = orders.iter().find(|order| order["requestedNames"] == names);
        let order = order.unwrap_or_else(|| panic!("no order for {name}: {orders:#?}"));
        let status = self.test.get(name).await.status.expect("a status");
        let serial = status.certificate.expect("a certificate").serial_number;
        let entries = std::fs::read_dir(self.test.world.plane.dir()).expect("the logs");
        let logs = entries.map(|entry| entry.expect("an entry").path());
        let logs = logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        let (mut bought, mut issued) = (Vec::new(), Vec::new());
        for log in logs {
            let text = std::fs::read_to_string(log).expect("a log");
            for line in text.lines().filter(|line| line.contains("chancery::purchases")) {
                let line: Value = serde_json::from_str(line).expect("JSON");
                if line["namespace"] != self.test.namespace.as_str() || line["request"] != name {
                    continue;
                }
                match line["event"].as_str() {
                    Some("submitted" | "found") => bought.push(line["id"].clone()),
                    Some("issued") => issued.push(line["serial"].clone()),
                    _ => {}
                }
            }
        }
        assert!(bought.len() <= 2 && issued.len() <= 2, "{name}: {bought:?} {issued:?}");
        bought.dedup();
        issued.dedup();
        assert_eq!(bought, [order["uuid"].clone()], "{name}");
        assert_eq!(issued, [json!(serial)], "{name}");
    }

    /// The pair that is delivered, checked by OpenSSL.
    pub async fn good_pair(&self, name: &str) {
        let pair = self.test.pair(name).await.unwrap_or_else(|| panic!("{name} has no Secret"));
        pair.check(name, &self.ra.root_pem().await);
    }

    pub async fn until_taken(&self, operator: &Operator, name: &str) -> String {
        let taken = |request: &CertificateRequest| id_of(request).is_some();
        let request = self.test.until(operator, name, "taken by the CA", taken).await;
        id_of(&request).expect("an id")
    }

    /// Changes how the next orders live: they wait for a person.
    pub async fn let_orders_wait(&self) {
        self.ra.change(json!({"states": [{"state": "PENDING_AUTH"}, {"state": "ISSUED"}]})).await;
    }

    pub async fn approve(&self, id: &str) {
        self.ra.act(id, json!({"action": "approve"})).await;
    }

    /// Waits until a submit is at the CA and has no answer.
    pub async fn until_submit_hangs(&self) {
        let mut since = Instant::now();
        // What is not a submit is answered by then.
        while since.elapsed() < Duration::from_millis(300) {
            if self.ra.requests().await["inFlight"] == 0 {
                since = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn id_of(request: &CertificateRequest) -> Option<String> {
    request.status.as_ref()?.order.as_ref()?.id.clone()
}

/// Places in the sources on the way of an order that is taken at once.
const ON_THE_WAY: [&str; 13] = [
    "after-read-target",
    "after-prepare",
    "before-record",
    "after-record",
    "before-announce",
    "after-announce",
    "after-find",
    "before-order",
    "after-order",
    "after-read-record",
    "before-deliver",
    "after-deliver",
    "after-status",
];
/// Those that a lost answer leads to.
const AFTER_A_LOST_ANSWER: [&str; 2] = ["before-claim", "after-claim"];
/// Those that a refusal leads to.
const AFTER_A_REFUSAL: [&str; 2] = ["before-mark", "after-mark"];

/// Every failpoint that has its test here.
pub fn tested() -> impl Iterator<Item = &'static str> {
    ON_THE_WAY.into_iter().chain(AFTER_A_LOST_ANSWER).chain(AFTER_A_REFUSAL)
}

#[tokio::test]
async fn killed_at_any_effect_of_a_first_order_it_buys_once() {
    let (paid, operator) = Paid::new("paid-kill-first").await;
    assert_eq!(operator.process.stop(), Some(0));
    for (number, point) in ON_THE_WAY.into_iter().enumerate() {
        let name = format!("r{number}");
        paid.order(&name);
        let text = ("CHANCERY_LOG_FORMAT", "text");
        dies(paid.spawn(&[("CHANCERY_KILL_AT", point), text]), point);
        let operator = paid.spawn(&[("CHANCERY_LOG", "off")]);
        operator.wait_until_ready();
        operator.wait_until_it_acts();
        paid.test.until_ready(&operator, &name).await;
        paid.test.until_idle(&operator);
        paid.good_pair(&name).await;
        assert_eq!(revision(&paid.test.get(&name).await), 1, "{point}");
        paid.check(2 + number as u64).await;
        assert_eq!(operator.process.stop(), Some(0));
        paid.is_told_of(&name).await;
        println!("first order, {point}: 1 order");
    }
}

#[tokio::test]
async fn killed_at_any_effect_of_a_renewal_it_buys_once() {
    let (paid, operator) = Paid::new("paid-kill-renewal").await;
    // One request is renewed at each of them, within minutes.
    let limits = r#"{"spec":{"limits":{"ordersPerRequestPerDay":100}}}"#;
    paid.test.kubectl(&["patch", "issuers.chancery.dev", "ca", "--type=merge", "-p", limits]);
    paid.test.until_idle(&operator);
    assert_eq!(operator.process.stop(), Some(0));
    for (number, point) in ON_THE_WAY.into_iter().enumerate() {
        let nonce = format!("chancery.dev/renew={number}");
        paid.test.kubectl(&["annotate", "--overwrite", "certificaterequest", "proof", &nonce]);
        dies(paid.spawn(&[("CHANCERY_KILL_AT", point)]), point);
        paid.good_pair("proof").await;
        let operator = paid.start();
        let wanted = 2 + number as i64;
        let wish = format!("at revision {wanted}");
        paid.test.until(&operator, "proof", &wish, |request| revision(request) == wanted).await;
        paid.test.until_idle(&operator);
        paid.good_pair("proof").await;
        assert_eq!(paid.ra.total().await, 2 + number as u64, "{point}");
        assert_eq!(operator.process.stop(), Some(0));
        println!("renewal, {point}: 1 order");
    }
}

#[tokio::test]
async fn killed_while_it_looks_for_a_lost_answer_or_notes_a_refusal_it_buys_once() {
    let (paid, operator) = Paid::new("paid-kill-lost").await;
    assert_eq!(operator.process.stop(), Some(0));
    let lost = json!({"operation": "issue", "kind": "dropBeforeCommit"});
    let refused = json!({
        "operation": "issue", "kind": "apiError", "code": "<011.110.0240>", "status": 400,
    });
    let rows = AFTER_A_LOST_ANSWER.map(|point| (point, &lost)).into_iter();
    for (number, (point, fault)) in
        rows.chain(AFTER_A_REFUSAL.map(|point| (point, &refused))).enumerate()
    {
        paid.ra.fault(fault.clone()).await;
        let name = format!("r{number}");
        paid.order(&name);
        dies(paid.spawn(&[("CHANCERY_KILL_AT", point)]), point);
        let operator = paid.start();
        paid.test.until_ready(&operator, &name).await;
        paid.test.until_idle(&operator);
        paid.good_pair(&name).await;
        paid.check(2 + number as u64).await;
        assert_eq!(operator.process.stop(), Some(0));
        println!("{point}: 1 order");
    }
}

#[tokio::test]
async fn killed_at_random_it_buys_each_once() {
    use std::hash::{BuildHasher as _, RandomState};
    const ORDERS: usize = 10;
    let (paid, operator) = Paid::new("paid-kill-random").await;
    assert_eq!(operator.process.stop(), Some(0));
    paid.ra
        .fault(json!({
            "operation": "issue", "times": 0, "kind": "delay", "seconds": 0.3, "afterCommit": true,
        }))
        .await;
    paid.test.create((0..ORDERS).map(|at| paid.request(&format!("r{at}")))).await;
    for round in 0..6 {
        let mut operator = paid.start();
        let moment = 100 + RandomState::new().hash_one(round) % 2000;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        operator.process.signal("KILL");
        operator.process.wait(Duration::from_secs(10)).expect("it is gone");
        println!("killed after {moment} ms: {} orders", paid.ra.total().await - 1);
    }
    let operator = paid.start();
    paid.test.until_all_ready(&operator, ORDERS + 1).await;
    paid.test.until_idle(&operator);
    for at in 0..ORDERS {
        paid.good_pair(&format!("r{at}")).await;
    }
    paid.check(ORDERS as u64 + 1).await;
    println!("{ORDERS} requests, 6 kills: {ORDERS} orders");
}

/// How the one that acts loses the lease: by a signal, or cut off from the API server, though not
/// from the CA.
const HAND_OVERS: [&str; 4] = ["TERM", "KILL", "STOP", "cut off"];

// The wire runs beside a test that waits without yielding.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handed_over_during_a_hanging_submit_it_buys_once() {
    let (paid, operator) = Paid::new("paid-hand-over").await;
    assert_eq!(operator.process.stop(), Some(0));
    let kubeconfig = paid.test.world.plane.kubeconfig_of("chancery", "chancery");
    let path = paid.test.world.plane.dir().join("hand-over.kubeconfig");
    let mut bought = 1;
    for after_commit in [true, false] {
        for how in HAND_OVERS {
            let name = format!("{}-{after_commit}", how.to_lowercase().replace(' ', "-"));
            let wire = Wire::start(&kubeconfig).await;
            std::fs::write(&path, &wire.kubeconfig).expect("writes");
            let mut first = paid.spawn(&[("KUBECONFIG", &path.display().to_string())]);
            first.wait_until_ready();
            first.wait_until_it_acts();
            let second = paid.spawn(&[]);
            second.wait_until_ready();
            paid.ra
                .fault(json!({
                    "operation": "issue", "kind": "delay", "seconds": 2.5,
                    "afterCommit": after_commit,
                }))
                .await;
            paid.order(&name);
            paid.until_submit_hangs().await;
            match how {
                "cut off" => wire.cut(),
                signal => first.process.signal(signal),
            }
            until("the other takes over", || second.acts() == Some(true));
            match how {
                "cut off" => wire.mend(),
                "STOP" => first.process.signal("CONT"),
                _ => {}
            }
            paid.test.until_ready(&second, &name).await;
            paid.test.until_idle(&second);
            paid.good_pair(&name).await;
            bought += 1;
            paid.check(bought).await;
            println!("{how} while a submit hangs (committed: {after_commit}): 1 order");
            first.process.signal("KILL");
            first.process.wait(Duration::from_secs(10)).expect("it is gone");
            drop(second);
        }
    }
}

#[tokio::test]
async fn an_order_outlives_an_outage_of_the_api_server() {
    let (paid, operator) = Paid::new("paid-outage").await;
    paid.let_orders_wait().await;
    paid.order("shop");
    let id = paid.until_taken(&operator, "shop").await;
    paid.test.world.plane.kill_api_server();
    paid.approve(&id).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    paid.test.world.plane.restart_api_server();
    paid.test.until_ready(&operator, "shop").await;
    paid.good_pair("shop").await;
    paid.check(2).await;
}

#[tokio::test]
async fn without_rights_nothing_is_bought_and_nothing_taken_for_absent() {
    let (paid, operator) = Paid::new("paid-forbidden").await;
    paid.test.forbid(&["create"], "secrets");
    paid.order("shop");
    let says = |part: &'static str| {
        move |request: &CertificateRequest| {
            let status = request.status.clone().unwrap_or_default();
            status.conditions.iter().any(|one| one.message.contains(part))
        }
    };
    let wish = "told what it must not do";
    paid.test.until(&operator, "shop", wish, says("cannot create secrets")).await;
    paid.check(1).await;
    paid.let_orders_wait().await;
    paid.test.allow_everything();
    let id = paid.until_taken(&operator, "shop").await;
    // Taken, and then the record cannot be read: it is not for that gone.
    paid.test.forbid(&["get"], "secrets");
    paid.approve(&id).await;
    paid.test.until(&operator, "shop", wish, says("cannot get secrets")).await;
    assert_eq!(paid.ra.total().await, 2);
    paid.test.allow_everything();
    paid.test.until_ready(&operator, "shop").await;
    paid.good_pair("shop").await;
    paid.check(2).await;
}

#[tokio::test]
async fn a_restart_with_open_orders_writes_nothing_and_reads_no_secret() {
    const OPEN: usize = 50;
    let (paid, operator) = Paid::new("paid-restart").await;
    paid.let_orders_wait().await;
    paid.test.create((0..OPEN).map(|at| paid.request(&format!("r{at}")))).await;
    for at in 0..OPEN {
        let wish = "awaited";
        let name = format!("r{at}");
        let awaited = |request: &CertificateRequest| {
            let order = request.status.as_ref().and_then(|status| status.order.as_ref());
            // With the reason, which the first poll brings.
            let message = order.and_then(|order| order.message.as_deref());
            message.is_some_and(|message| message.contains("not approved yet"))
        };
        paid.test.until(&operator, &name, wish, awaited).await;
    }
    paid.test.until_idle(&operator);
    assert_eq!(operator.process.stop(), Some(0));
    let before = paid.ra.requests().await;
    let status = paid.test.get("r0").await.status;
    let calls = paid.test.watch_calls();
    let operator = paid.start();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let counted = calls.so_far();
    assert_eq!(paid.test.get("r0").await.status, status, "the same in the same words");
    let secrets = |call: &&crate::world::Call| call.resource == "secrets" && call.verb == "get";
    // The account is opened once, for which its credentials are read.
    let reads = counted.calls.iter().filter(secrets).count();
    assert!(reads <= 1, "{:?}", counted.calls);
    let writes: Vec<_> = counted.calls.iter().filter(|call| call.is_write()).collect();
    assert!(writes.is_empty(), "{writes:?}");
    let after = paid.ra.requests().await;
    let count = |seen: &Value, operation: &str| -> u64 {
        let outcomes = seen["operations"][operation].as_object();
        outcomes.into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
    };
    let operations = after["operations"].as_object().expect("operations");
    let made: BTreeMap<&String, u64> = operations
        .keys()
        .map(|operation| (operation, count(&after, operation) - count(&before, operation)))
        .filter(|(_, made)| *made > 0)
        .collect();
    println!(
        "{OPEN} open orders, restarted: {} API requests, {reads} read of a Secret, CA calls {made:?}",
        counted.calls.len(),
    );
    assert_eq!(count(&after, "issue"), count(&before, "issue"), "nothing is ordered");
    assert!(count(&after, "ordersPaged") > count(&before, "ordersPaged"), "polling goes on");
    // Why each waits is asked once by each process, and the rest a few times for all of them.
    assert!(made.values().sum::<u64>() <= OPEN as u64 + 10, "{made:?}");
    paid.check(OPEN as u64 + 1).await;
    for at in 0..OPEN {
        let id = id_of(&paid.test.get(&format!("r{at}")).await).expect("an id");
        paid.approve(&id).await;
    }
    paid.test.until_all_ready(&operator, OPEN + 1).await;
    paid.check(OPEN as u64 + 1).await;
}

#[tokio::test]
async fn uninstalled_with_an_open_order_nothing_hangs_and_installed_again_it_goes_on() {
    let (paid, operator) = Paid::new("paid-uninstall").await;
    paid.let_orders_wait().await;
    paid.order("shop");
    let id = paid.until_taken(&operator, "shop").await;
    assert_eq!(operator.process.stop(), Some(0));
    let plane = &paid.test.world.plane;
    let delete = ["delete", "-k", "deploy", "--wait", "--timeout=60s"];
    plane.kubectl(delete).expect("nothing hangs");
    // With the definitions all requests are gone. The record stays, and so does what was delivered.
    paid.test.kubectl(&["get", "secret", "shop.order", "proof-tls"]);
    crate::support::operator::install(plane);
    for plural in ["certificaterequests", "issuers", "clusterissuers"] {
        let path = format!("/apis/chancery.dev/v1alpha1/{plural}");
        until("the API server serves them again", || {
            plane.kubectl(["get", "--raw", &path]).is_ok()
        });
    }
    let operator = paid.start();
    for object in paid.ra.issuer(&paid.test.namespace).await {
        paid.test.apply(object);
    }
    paid.order("proof");
    paid.order("shop");
    assert_eq!(paid.until_taken(&operator, "shop").await, id, "the order is found again");
    paid.approve(&id).await;
    paid.test.until_ready(&operator, "shop").await;
    paid.test.until_ready(&operator, "proof").await;
    paid.good_pair("shop").await;
    paid.check(2).await;
}
