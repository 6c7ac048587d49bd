//! More requests than there is room for: of a day's orders, of turns at the CA, and of keys.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::tenant::{SOON, Tenant};
use crate::world::{Test, issuing};

/// A ClusterIssuer of that name and with these limits, at the CA of `test`.
async fn cluster_issuer(test: &Test, name: &str, limits: Value) {
    let mut secret = test.credentials(&format!("{name}-credentials"), "testuser", "changeme");
    secret["metadata"]["namespace"] = json!("chancery");
    test.put(secret).await;
    let mut issuer = test.issuer().await;
    issuer["kind"] = json!("ClusterIssuer");
    issuer["metadata"] = json!({"name": name});
    issuer["spec"]["onlineCa"]["credentialsSecretRef"]["name"] =
        json!(format!("{name}-credentials"));
    issuer["spec"]["onlineCa"]["keyAlgorithms"] = json!(["ECDSA", "RSA"]);
    issuer["spec"]["limits"] = limits;
    issuer["spec"]["allow"] = json!({"namespaces": {}, "keyTypes": ["ECDSA P-256"]});
    test.put(issuer).await;
    let until = Instant::now() + Duration::from_secs(20);
    while test.read("ClusterIssuer", name).await.is_none_or(|issuer| {
        let conditions = issuer["status"]["conditions"].as_array().cloned().unwrap_or_default();
        !conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    }) {
        assert!(Instant::now() < until, "ClusterIssuer {name} is not ready");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn at(test: &Test, issuer: &str, name: &str) -> Value {
    let mut request = test.request(name);
    request["spec"]["issuerRef"] = json!({"kind": "ClusterIssuer", "name": issuer});
    request["spec"]["privateKey"] = json!({"algorithm": "ECDSA"});
    request
}

/// Has a tenant ask for `many` certificates.
async fn asks_for(test: &Test, many: usize, request: impl Fn(&str) -> Value) {
    let ask = |number: usize| test.create(request(&format!("greedy{number}")));
    let create = futures::stream::iter(0..many).map(ask).buffer_unordered(32);
    create.for_each(|created| async { created.map(drop).expect("it is taken") }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_at_one_cluster_issuer_hold_up_no_neighbour() {
    let tenant = Tenant::new("turns").await;
    let (greedy, neighbour) = (&tenant.test, Test::new("turns-beside").await);
    let issuer = Test::with_fast_issuer("turns-issuer").await;
    let limits = json!({"ordersPerDay": 100, "ordersPerNamespacePerDay": 20});
    cluster_issuer(&issuer, "turns", limits).await;
    let asks = asks_for(greedy, 1000, |name| at(greedy, "turns", name));
    let served = async {
        for number in 0..5 {
            let (name, begun) = (format!("n{number}"), Instant::now());
            neighbour.put(at(&neighbour, "turns", &name)).await;
            neighbour.until_ready(&name).await;
            let took = begun.elapsed();
            assert!(took < SOON, "the neighbour is served after {took:?}");
        }
    };
    tokio::join!(asks, served);
    tenant.neighbour_is_served().await;
    // The tenant has what is its own of the day, and not one order more.
    let until = Instant::now() + Duration::from_secs(30);
    let count = || async {
        let page = greedy.requests().list(&kube::api::ListParams::default()).await.expect("a list");
        let spent = |request: &&chancery::api::CertificateRequest| {
            issuing(request).is_some_and(|(reason, _)| reason == "NamespaceBudgetSpent")
        };
        page.items.iter().filter(spent).count()
    };
    while count().await < 980 {
        assert!(Instant::now() < until, "{} of 980 are withheld", count().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Twenty of the tenant and five of the neighbour; some may still be on their way.
    while issuer.certificate_calls().await < 25 {
        let calls = issuer.certificate_calls().await;
        assert!(Instant::now() < until, "{calls} of 25 were asked for");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    issuer.a_moment_passes().await;
    assert_eq!(issuer.certificate_calls().await, 25);
    let stored = issuer.read("ClusterIssuer", "turns").await.expect("the issuer");
    let budget = &stored["status"]["budget"];
    let told = |namespace: &str| budget["namespaces"][namespace].as_u64().unwrap_or_default();
    let sum = told("turns") + told("turns-beside") + budget["uncounted"].as_u64().unwrap_or(0);
    assert_eq!(Some(sum), budget["reserved"].as_u64(), "{budget}");
    assert!(told("turns") <= 20, "{budget}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_slow_keys_hold_up_no_neighbour() {
    let tenant = Tenant::new("turns-keys").await;
    let test = &tenant.test;
    let asks = asks_for(test, 200, |name| {
        let mut request = test.request(name);
        request["spec"]["privateKey"] = json!({"algorithm": "RSA", "size": 4096});
        request
    });
    asks.await;
    for _ in 0..4 {
        tenant.neighbour_is_served().await;
    }
    // Such keys are made, one after the other, and there are more to make all the while.
    let is_made = |request: &chancery::api::CertificateRequest| {
        let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
        certificate.is_some_and(|one| one.private_key == "RSA 4096")
    };
    let until = Instant::now() + Duration::from_secs(30);
    let made = async || {
        let page = test.requests().list(&kube::api::ListParams::default()).await.expect("a list");
        page.items.iter().filter(|request| is_made(request)).count()
    };
    while made().await < 4 {
        assert!(Instant::now() < until, "{} keys are made", made().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tenant.neighbour_is_served().await;
    assert!(made().await < 200, "all keys are made: they were no hindrance");
    let delete = kube::api::DeleteParams::default();
    let gone = test.requests().delete_collection(&delete, &kube::api::ListParams::default()).await;
    gone.expect("they are gone");
}
