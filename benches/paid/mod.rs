//! Orders that cost money and take their time.
//!
//! *paid*: 20 orders that stay pending for 30 seconds, from the first `POST` of a CertificateRequest
//! to the last one Ready. *paid_many*: 500 orders that are open at once, watched for a minute in
//! which nothing changes.

use std::time::{Duration, Instant};

use chancery::api::CertificateRequest;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::support::control_plane::ControlPlane;
use super::support::operator::Operator;
use super::support::simulator::{Simulator, SwissSign};
use super::{USER, count, is_ready, until_all_are_ready};

const ORDERS: usize = 20;
const PENDING_SECONDS: u32 = 30;
const MANY: usize = 500;
/// While nothing changes, and after the orders are older than the shortest interval is made for.
const WATCHED: Duration = Duration::from_secs(60);

/// Measures both; the two parts of the summary.
pub(crate) async fn measure(plane: &ControlPlane, simulator: &Simulator) -> (Value, Value) {
    let client = plane.client().await;
    println!("paid: {ORDERS} orders that are pending for {PENDING_SECONDS} s");
    let paid = paid(plane, simulator, &client).await;
    println!("paid_many: {MANY} orders open at once, watched for {} s", WATCHED.as_secs());
    let many = many(plane, simulator, &client).await;
    (paid, many)
}

async fn paid(plane: &ControlPlane, simulator: &Simulator, client: &Client) -> Value {
    let site = simulator.swisssign("bench-paid");
    site.configure(json!({
        "keyAlgorithm": "ECDSA",
        "states": [{"state": "NEW", "seconds": PENDING_SECONDS}, {"state": "ISSUED"}],
    }))
    .await;
    let namespace = "paid";
    let operator = set_up(plane, &site, namespace).await;
    let calls_before = calls(&site).await;
    let api: Api<CertificateRequest> = Api::namespaced(client.clone(), namespace);
    let requests = (0..ORDERS).map(|number| request(namespace, number)).collect();
    let seconds = until_all_are_ready(api, requests, is_ready).await;
    // Events follow the status they speak of.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let ca_calls = calls(&site).await - calls_before;
    let counts = count(&plane.audit_log(), USER, namespace);
    println!("{:?}", counts.by_call);
    println!("calls of the CA: {}", site.requests().await["operations"]);
    let orders_at_ca = site.orders().await.len();
    drop(operator);
    plane.kubectl(["delete", "namespace", namespace]).expect("it goes");
    let per = |count: usize| count as f64 / ORDERS as f64;
    json!({
        "orders": ORDERS,
        "pending_seconds": PENDING_SECONDS,
        "seconds": seconds,
        "ca_calls": ca_calls,
        "api_requests_per_order": per(counts.requests),
        "api_writes_per_order": per(counts.writes),
        "events_per_order": per(counts.events),
        "conflicts": counts.conflicts,
        "orders_at_ca": orders_at_ca,
    })
}

async fn many(plane: &ControlPlane, simulator: &Simulator, client: &Client) -> Value {
    let site = simulator.swisssign("bench-many");
    site.configure(json!({
        "keyAlgorithm": "ECDSA",
        "states": [{"state": "PENDING_AUTH"}, {"state": "ISSUED"}],
    }))
    .await;
    let namespace = "paid-many";
    let operator = set_up(plane, &site, namespace).await;
    let api: Api<CertificateRequest> = Api::namespaced(client.clone(), namespace);
    let creations = (0..MANY).map(|number| {
        let api = api.clone();
        async move { api.create(&PostParams::default(), &request(namespace, number)).await }
    });
    for created in futures::future::join_all(creations).await {
        created.expect("created");
    }
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let list = api.list(&Default::default()).await.expect("a list");
        let waiting = list.items.iter().filter(|request| is_awaited(request)).count();
        if waiting == MANY {
            break;
        }
        assert!(Instant::now() < until, "{waiting} of {MANY} wait: {}", operator.process.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (calls_before, before) =
        (calls(&site).await, count(&plane.audit_log(), USER, namespace).writes);
    tokio::time::sleep(WATCHED).await;
    let ca_calls = calls(&site).await - calls_before;
    let writes = count(&plane.audit_log(), USER, namespace).writes - before;
    let (cpu_seconds, memory_kib) = operator.process.usage();
    println!("operator: {cpu_seconds:.2} CPU s, {} MiB", memory_kib / 1024);
    let orders_at_ca = site.orders().await.len();
    drop(operator);
    plane.kubectl(["delete", "namespace", namespace]).expect("it goes");
    json!({
        "orders": MANY,
        "ca_calls_per_minute": ca_calls * 60 / WATCHED.as_secs(),
        "api_writes_while_waiting": writes,
        "orders_at_ca": orders_at_ca,
        "resident_mib": memory_kib / 1024,
    })
}

fn is_awaited(request: &CertificateRequest) -> bool {
    let order = request.status.as_ref().and_then(|status| status.order.as_ref());
    order.is_some_and(|order| order.id.is_some() && order.state.as_deref() == Some("PENDING_AUTH"))
}

/// How many calls the CA saw in all, whatever came of them.
async fn calls(site: &SwissSign<'_>) -> u64 {
    let seen = site.requests().await;
    let operations = seen["operations"].as_object().expect("operations");
    operations
        .values()
        .filter_map(Value::as_object)
        .flatten()
        .filter_map(|(_, count)| count.as_u64())
        .sum()
}

async fn set_up(plane: &ControlPlane, site: &SwissSign<'_>, namespace: &str) -> Operator {
    plane.kubectl(["create", "namespace", namespace]).expect("a namespace");
    let operator = Operator::start(plane, &[]);
    let [credentials, mut issuer] = site.issuer(namespace).await;
    // More than the hundred a day that hold where nothing is said.
    issuer["spec"]["limits"] = json!({"ordersPerDay": 10_000});
    for object in [credentials, issuer] {
        plane.apply(&object.to_string()).expect("taken");
    }
    let timeout = "--timeout=30s";
    let ready =
        ["wait", "-n", namespace, "--for=condition=Ready", timeout, "issuers.chancery.dev/ca"];
    plane.kubectl(ready).expect("ready");
    operator
}

fn request(namespace: &str, number: usize) -> CertificateRequest {
    serde_json::from_value(json!({
        "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
        "metadata": {"name": format!("r{number}"), "namespace": namespace},
        "spec": {
            "issuerRef": {"kind": "Issuer", "name": "ca"},
            "secretName": format!("r{number}-tls"),
            "dnsNames": [format!("r{number}.example.org")],
            "privateKey": {"algorithm": "ECDSA"},
        },
    }))
    .expect("a request")
}
