//! What a tenant writes into the statuses of its own requests: the order of another, and numbers
//! without end.

use std::time::{Duration, Instant};

use chancery::api::CertificateRequest;
use serde_json::{Value, json};

use crate::support::simulator::SwissSign;
use crate::tenant::{SOON, Tenant};
use crate::world::{Test, issuing, text, world};

const ISSUER: &str = "statuses";
/// So many orders may be open at the issuer: those of the test, and none beside them.
const OPEN: u32 = 3;

/// A ClusterIssuer whose orders cost money and wait for an approver.
async fn paid_issuer(test: &Test) -> SwissSign<'static> {
    let ra = world().simulator.swisssign(ISSUER);
    let states = json!([{"state": "PENDING_AUTH"}, {"state": "ISSUED"}]);
    ra.configure(json!({"keyAlgorithm": "ECDSA", "states": states})).await;
    let [mut credentials, mut issuer] = ra.issuer("chancery").await;
    credentials["metadata"]["name"] = json!("statuses-credentials");
    issuer["kind"] = json!("ClusterIssuer");
    issuer["metadata"] = json!({"name": ISSUER});
    issuer["spec"]["swissSign"]["credentialsSecretRef"] = json!({"name": "statuses-credentials"});
    issuer["spec"]["limits"] = json!({"openOrders": OPEN});
    issuer["spec"]["allow"] =
        json!({"namespaces": {}, "dnsNames": ["*.example.ch"], "keyTypes": ["ECDSA P-256"]});
    test.put(credentials).await;
    test.put(issuer).await;
    ra
}

fn request(test: &Test, name: &str) -> Value {
    let mut request = test.request(name);
    let spec = request["spec"].as_object_mut().expect("fields");
    spec.remove("onlineCa");
    spec.insert("issuerRef".to_owned(), json!({"kind": "ClusterIssuer", "name": ISSUER}));
    spec.insert("dnsNames".to_owned(), json!([format!("{name}.example.ch")]));
    spec.insert("privateKey".to_owned(), json!({"algorithm": "ECDSA"}));
    request
}

/// Asks for a certificate, and waits until the CA has the order: its status.
async fn ordered(test: &Test, name: &str) -> Value {
    test.put(request(test, name)).await;
    let is_taken = |request: &CertificateRequest| {
        let order = request.status.as_ref().and_then(|status| status.order.as_ref());
        order.is_some_and(|order| order.id.is_some())
    };
    json!(test.until(name, "taken by the CA", is_taken).await.status)
}

async fn write_status(test: &Test, name: &str, status: &Value) {
    let path = format!(
        "/apis/chancery.dev/v1alpha1/namespaces/{}/certificaterequests/{name}/status",
        test.namespace
    );
    let request = http::Request::patch(path)
        .header("content-type", "application/merge-patch+json")
        .body(json!({"status": status}).to_string().into_bytes())
        .expect("a request");
    test.client.request::<Value>(request).await.expect("the status is taken");
}

/// With what a tenant would like to be true: the order of another, made, followed and counted without
/// end.
fn with_order_of(another: &Value, reference: &str) -> Value {
    let mut order = another["order"].clone();
    order["reference"] = json!(reference);
    order["attempt"] = json!(i64::MAX);
    order["generation"] = json!(i64::MAX);
    json!({
        "observedGeneration": i64::MAX, "revision": i64::MAX, "failedAttempts": i32::MAX,
        "order": order,
    })
}

/// How often the CA is asked about orders within `time`.
async fn asked_within(ra: &SwissSign<'_>, time: Duration) -> u64 {
    let asked = async || {
        let mut sum = 0;
        for operation in ["order", "ordersPaged", "status", "chain", "issue"] {
            sum += ra.calls(operation).await;
        }
        sum
    };
    let before = asked().await;
    tokio::time::sleep(time).await;
    asked().await - before
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_another_in_a_status_is_nobody_else_s() {
    let tenant = Tenant::new("statuses").await;
    let (thief, owner) = (&tenant.test, Test::new("statuses-owner").await);
    let ra = paid_issuer(&owner).await;
    let theirs = ordered(&owner, "shop").await;
    let reference = text(&theirs["order"]["reference"]);
    // One of the tenant's has an order of its own, and the others never had any.
    let own = ordered(thief, "own").await;
    let mut resting = Vec::new();
    for number in 0..6 {
        let name = format!("resting{number}");
        let mut request = request(thief, &name);
        request["spec"]["suspend"] = json!(true);
        thief.put(request).await;
        let is_told = |request: &CertificateRequest| {
            issuing(request).is_some_and(|(reason, _)| reason == "Suspended")
        };
        thief.until(&name, "suspended", is_told).await;
        resting.push(name);
    }
    assert_eq!(ra.total().await, 2);
    let window = Duration::from_secs(6);
    let before = asked_within(&ra, window).await;
    assert!(before > 0, "the orders are followed");

    for (number, name) in resting.iter().enumerate() {
        let made_up = format!("{reference}{number}");
        let named = if number < 3 { reference } else { &made_up };
        let mut status = with_order_of(&theirs, named);
        status["orders"] = json!(i64::MAX);
        write_status(thief, name, &status).await;
    }
    write_status(thief, "own", &with_order_of(&theirs, reference)).await;
    // Where there is a record, it counts.
    let is_own = |request: &CertificateRequest| {
        json!(request.status)["order"]["reference"] == own["order"]["reference"]
    };
    thief.until("own", "with its own order", is_own).await;
    tenant.neighbour_is_served().await;
    // Orders are asked about less often as they grow older, whoever names them.
    let after = asked_within(&ra, window).await;
    assert!(after <= before + 1, "{after} calls in place of {before}");
    assert_eq!(ra.total().await, 2, "nothing was ordered");

    // Nothing but orders is counted as open: there is room for the third, and none for a fourth.
    ordered(&owner, "second").await;
    owner.put(request(&owner, "third")).await;
    owner.until_issuing("third", "OpenOrdersLimitReached").await;
    assert_eq!(ra.total().await, 3);

    // Whatever becomes of the requests that name it, the order is followed.
    for name in &resting[..2] {
        thief.delete("CertificateRequest", name).await;
    }
    let other_issuer = json!({"spec": {"issuerRef": {"kind": "Issuer", "name": "nobody"}}});
    thief.patch("CertificateRequest", &resting[2], other_issuer).await;
    thief.a_moment_passes().await;
    let begun = Instant::now();
    ra.act(text(&theirs["order"]["id"]), json!({"action": "approve"})).await;
    owner.until_ready("shop").await;
    // As long as an order of this age is left alone, and what it takes to serve somebody.
    let took = begun.elapsed();
    let age = Duration::from_secs(60);
    assert!(took < SOON + age / 15, "the certificate is delivered after {took:?}");
    // It is the owner's, and so is its key.
    for name in resting.iter().map(String::as_str).chain(["own"]) {
        assert!(thief.read("Secret", &format!("{name}-tls")).await.is_none(), "{name}");
    }
    // The tenant's own order is found in its record, and delivered to it.
    ra.act(text(&own["order"]["id"]), json!({"action": "approve"})).await;
    thief.until_ready("own").await;
    assert!(ra.total().await <= 4, "those that were asked for");
    tenant.neighbour_is_served().await;
    owner.delete("ClusterIssuer", ISSUER).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_without_end_in_a_status_stop_no_run() {
    let tenant = Tenant::new("numbers").await;
    let test = &tenant.test;
    let mut request = test.request("many");
    request["spec"]["privateKey"] = json!({"algorithm": "ECDSA"});
    test.put(request).await;
    test.until_ready("many").await;
    for (number, nonce) in [(i64::MAX, "most"), (i64::MIN, "least"), (-1, "below")] {
        let failed = i32::try_from(number).unwrap_or(if number > 0 { i32::MAX } else { i32::MIN });
        let status = json!({
            "observedGeneration": number, "revision": number, "orders": number,
            "failedAttempts": failed,
        });
        write_status(test, "many", &status).await;
        let fingerprint = |request: &CertificateRequest| {
            json!(request.status)["certificate"]["fingerprintSha256"].clone()
        };
        let before = fingerprint(&test.get("many").await);
        test.renew("many", nonce).await;
        let is_renewed = |request: &CertificateRequest| {
            let status = request.status.clone().unwrap_or_default();
            fingerprint(request) != before
                && status.failed_attempts.is_none()
                && status.observed_generation == 1
        };
        test.until("many", "renewed", is_renewed).await;
        let calls = test.certificate_calls().await;
        tenant.neighbour_is_served().await;
        assert_eq!(test.certificate_calls().await, calls, "{nonce}: and not again and again");
    }
    let log = world().operator.process.log();
    assert!(!log.contains("panic"), "{log}");
}
