//! Orders that cost money: bought once, followed, delivered, or held for a person. The CA counts what
//! was bought.

use std::time::Duration;

use chancery::api::{CertificateRequest, OrderPhase};
use chancery::pki::{KeyKind, Names, PrivateKey, csr};
use serde_json::{Value, json};

use crate::support::program;
use crate::support::simulator::SwissSign;
use crate::world::{Test, assert_says, condition, issuing, text};

/// A namespace with Issuer `ca` at a site of SwissSign that nobody else uses.
pub struct Paid {
    pub test: Test,
    pub ra: SwissSign<'static>,
}

/// Long enough for three looks, and short enough to be waited for.
const SETTLE_WINDOW: &str = "6s";

impl Paid {
    pub async fn new(name: &str, settings: Value) -> Self {
        let paid = Self::without_issuer(name, settings).await;
        paid.put_issuer(|_| {}).await;
        paid.test.until_issuer_ready("ca").await;
        paid
    }

    async fn without_issuer(name: &str, mut settings: Value) -> Self {
        let test = Test::new(name).await;
        let ra = test.world.simulator.swisssign(name);
        settings["keyAlgorithm"] = json!("ECDSA");
        ra.configure(settings).await;
        Self { test, ra }
    }

    async fn put_issuer(&self, change: impl FnOnce(&mut Value)) {
        let [credentials, mut issuer] = self.ra.issuer(&self.test.namespace).await;
        issuer["spec"]["swissSign"]["settleWindow"] = json!(SETTLE_WINDOW);
        change(&mut issuer["spec"]["swissSign"]);
        self.test.put(credentials).await;
        self.test.put(issuer).await;
    }

    /// An account whose search has found an order: only there is absence believed.
    async fn proven(name: &str) -> Self {
        let paid = Self::new(name, json!({})).await;
        paid.ra.fault(json!({"operation": "issue", "kind": "dropAfterCommit"})).await;
        paid.order("proof", &["proof.example.ch"]).await;
        paid.test.until_ready("proof").await;
        assert_eq!(paid.ra.total().await, 1, "found, and not bought again");
        paid
    }

    pub fn request(&self, name: &str, dns_names: &[&str]) -> Value {
        json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": name, "namespace": self.test.namespace},
            "spec": {
                "issuerRef": {"name": "ca"},
                "secretName": format!("{name}-tls"),
                "dnsNames": dns_names,
                "privateKey": {"algorithm": "ECDSA"},
            },
        })
    }

    pub async fn order(&self, name: &str, dns_names: &[&str]) {
        self.test.put(self.request(name, dns_names)).await;
    }

    /// Waits until the CA has the order of a request; its id and reference.
    pub async fn until_taken(&self, name: &str) -> (String, String) {
        let request = self
            .test
            .until(name, "taken by the CA", |request| {
                order_of(request).is_some_and(|order| order.id.is_some())
            })
            .await;
        let order = order_of(&request).expect("an order").clone();
        (order.id.expect("an id"), order.reference)
    }

    pub async fn act(&self, id: &str, action: &str) {
        self.ra.act(id, json!({"action": action})).await;
    }

    /// The one order of this CA was bought once, and its certificate is delivered with its key.
    async fn is_delivered_once(&self, name: &str) {
        self.test.until_ready(name).await;
        self.is_pair(name).await;
        let orders = self.ra.orders().await;
        assert_eq!(orders.len(), 1, "{orders:#?}");
    }

    /// The delivered key belongs to the delivered certificate, which is one of the CA's orders.
    pub async fn is_pair(&self, name: &str) {
        let secret = format!("{name}-tls");
        let key = self.test.entry(&secret, "tls.key").await;
        let key = PrivateKey::from_pem(key.as_bytes()).expect("a key");
        let spki = chancery::pki::sha256_hex(key.spki_der());
        let orders = self.ra.orders().await;
        let known = orders.iter().any(|order| order["spkiSha256"] == spki.as_str());
        assert!(known, "no order is for the delivered key: {orders:#?}");
        let chain = self.test.entry(&secret, "tls.crt").await;
        let leaf = chancery::pki::parse_pem(chain.as_bytes()).expect("PEM").remove(0);
        assert_eq!(leaf.spki_der(), key.spki_der());
    }

    pub async fn release(&self, name: &str, reference: &str) {
        let patch = json!({"metadata": {"annotations": {"chancery.dev/release": reference}}});
        self.test.patch("CertificateRequest", name, patch).await;
    }
}

fn order_of(request: &CertificateRequest) -> Option<&chancery::api::OrderStatus> {
    request.status.as_ref()?.order.as_ref()
}

pub fn is_stalled(request: &CertificateRequest) -> bool {
    condition(request, "Stalled").is_some_and(|(status, ..)| status == "True")
}

/// An order that a person approves.
pub fn approved() -> Value {
    json!({"states": [{"state": "PENDING_AUTH"}, {"state": "ISSUED"}]})
}

#[tokio::test]
async fn an_order_waits_is_approved_and_delivered() {
    let paid = Paid::new("paid-approved", approved()).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let message = paid.test.until_issuing("shop", "AwaitingApproval").await;
    assert_says(&message, &["ord-", "chancery-", "PENDING_AUTH", "an approver at the CA"]);
    let (id, reference) = paid.until_taken("shop").await;
    let request = paid.test.get("shop").await;
    let order = order_of(&request).expect("an order");
    assert_eq!(order.phase, OrderPhase::Pending);
    assert_eq!(order.attempt, 1);
    let columns = paid.test.kubectl(&["get", "chreq", "-o", "wide"]);
    assert_says(&columns, &["AwaitingApproval", &id, "an approver at the CA"]);
    // The first poll may bring the reason of the wait; after it waiting costs nothing at the API server.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let before = paid.test.audited().len();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(paid.test.audited().len(), before);
    paid.act(&id, "approve").await;
    paid.is_delivered_once("shop").await;
    assert_eq!(paid.ra.bought(&reference).await, 1);
    let request = paid.test.get("shop").await;
    assert_eq!(order_of(&request), None, "nothing is open any more");
    assert_eq!(request.status.expect("a status").orders, Some(1));
    assert_eq!(paid.test.events("shop").await, ["AwaitingApproval", "Issued"]);
    // What was paid for is kept with its key, so that it can be delivered again.
    let record = paid.test.secret("shop.order").await;
    assert_eq!(record.metadata.labels.expect("labels")["chancery.dev/order"], "true");
    assert_eq!(record.metadata.owner_references, None);
}

#[tokio::test]
async fn an_order_costs_seven_requests_and_one_event() {
    let life = json!({"states": [{"state": "NEW", "seconds": 3}, {"state": "ISSUED"}]});
    let paid = Paid::new("paid-budget", life).await;
    // The day's block costs one request more, and is shared by the orders of it.
    paid.order("first", &["first.example.ch"]).await;
    paid.test.until_ready("first").await;
    paid.test.a_moment_passes().await;
    let issuer = paid.test.read("Issuer", "ca").await.expect("the issuer");
    assert_eq!(issuer["status"]["ordersPerDay"], 100, "where nothing is said");
    assert_eq!(issuer["status"]["budget"]["reserved"], 10, "0.1 requests an order");
    let all = paid.test.audited();
    assert!(!all.contains(&"get issuers".to_owned()), "{all:?}");
    let before = all.len();
    paid.order("shop", &["shop.example.ch"]).await;
    paid.test.until_ready("shop").await;
    paid.is_pair("shop").await;
    assert_eq!(paid.ra.total().await, 2);
    paid.test.a_moment_passes().await;
    let mut calls = paid.test.audited().split_off(before);
    // Once for the account: its search finds orders.
    calls.retain(|call| call != "update issuers/status");
    assert_eq!(
        calls,
        [
            "get secrets",
            "create secrets",
            "update certificaterequests/status",
            "update certificaterequests/status",
            "get secrets",
            "create secrets",
            "update certificaterequests/status",
        ]
    );
    assert_eq!(paid.test.events("shop").await, ["Issued"]);
}

#[tokio::test]
async fn an_answer_lost_after_the_ca_took_the_order_is_found() {
    let faults = [
        json!({"kind": "dropAfterCommit"}),
        json!({"kind": "truncatedBody"}),
        json!({"kind": "emptyBody"}),
        json!({"kind": "delay", "seconds": 8.0, "afterCommit": true}),
        json!({"kind": "apiError", "code": "<011.110.0239>", "status": 500, "afterCommit": true}),
    ];
    let paid = Paid::new("paid-lost-after", json!({})).await;
    for (number, mut fault) in faults.into_iter().enumerate() {
        fault["operation"] = json!("issue");
        paid.ra.fault(fault.clone()).await;
        let name = format!("r{number}");
        paid.order(&name, &["shop.example.ch"]).await;
        paid.test.until_ready(&name).await;
        paid.is_pair(&name).await;
        assert_eq!(paid.ra.total().await, number as u64 + 1, "{fault}");
    }
    // The status says that absence means something at this account.
    let issuer = paid.test.read("Issuer", "ca").await.expect("the issuer");
    assert_eq!(issuer["status"]["orderFoundAt"], issuer["status"]["account"]);
}

#[tokio::test]
async fn an_answer_lost_before_the_ca_took_the_order_is_made_again_with_the_same_key() {
    let paid = Paid::proven("paid-lost-before").await;
    paid.ra.fault(json!({"operation": "issue", "kind": "dropBeforeCommit"})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let message = paid.test.until_issuing("shop", "OrderLookedFor").await;
    assert_says(&message, &["with the same key and CSR"]);
    let record = paid.test.secret("shop.order").await;
    let key = record.data.expect("data")["next.key"].clone();
    paid.test.until_ready("shop").await;
    let delivered = paid.test.entry("shop-tls", "tls.key").await;
    assert_eq!(delivered.as_bytes(), key.0, "the key that was stored first");
    assert_eq!(paid.ra.total().await, 2, "the proof and this one");
}

#[tokio::test]
async fn where_no_search_ever_found_an_order_absence_proves_nothing() {
    let paid = Paid::new("paid-unproven", json!({})).await;
    paid.ra.fault(json!({"operation": "issue", "kind": "dropBeforeCommit"})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let message = paid.test.until_issuing("shop", "OrderOutcomeUnknown").await;
    assert_says(&message, &["proves nothing", "chancery.dev/release=chancery-"]);
    let request = paid.test.get("shop").await;
    assert!(is_stalled(&request));
    assert_eq!(paid.ra.total().await, 0);
    // Somebody looked at the CA, found nothing, and gives the order up.
    let reference = order_of(&request).expect("an order").reference.clone();
    paid.release("shop", &reference).await;
    paid.is_delivered_once("shop").await;
    assert_eq!(paid.ra.bought(&reference).await, 0, "the new order has a name of its own");
}

#[tokio::test]
async fn a_search_that_lags_or_ignores_the_name_buys_nothing_twice() {
    let lags = json!({"searchLagSeconds": 4.0});
    let ignores = json!({"searchIgnoresTags": true});
    for (name, settings) in [("paid-search-lags", lags), ("paid-search-ignores", ignores)] {
        let paid = Paid::new(name, settings).await;
        paid.ra.fault(json!({"operation": "issue", "kind": "dropAfterCommit"})).await;
        paid.order("shop", &["shop.example.ch"]).await;
        paid.is_delivered_once("shop").await;
        paid.ra.fault(json!({"operation": "issue", "kind": "dropAfterCommit"})).await;
        paid.order("next", &["next.example.ch"]).await;
        paid.test.until_ready("next").await;
        assert_eq!(paid.ra.total().await, 2, "{name}");
    }
}

#[tokio::test]
async fn two_orders_for_one_submit_are_told_and_the_oldest_is_followed() {
    let paid = Paid::new("paid-twice", json!({"duplicateNext": true})).await;
    paid.ra.fault(json!({"operation": "issue", "kind": "dropAfterCommit"})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    paid.test.until_ready("shop").await;
    paid.is_pair("shop").await;
    paid.test.a_moment_passes().await;
    assert_eq!(paid.ra.total().await, 2, "the CA's doing");
    assert_says(&paid.test.operator_log(), &["several orders of this name"]);
    // Taken in the same moment, either of them is the oldest.
    paid.test
        .until_told("shop", "SeveralOrders", "one is followed, and nobody asked for ord-")
        .await;
}

#[tokio::test]
async fn an_order_that_loses_its_name_is_followed_by_its_id() {
    let mut settings = approved();
    settings["dropTags"] = json!(true);
    let paid = Paid::new("paid-no-tags", settings).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let (id, _) = paid.until_taken("shop").await;
    let record = paid.test.secret("shop.order").await;
    let annotations = record.metadata.annotations.expect("annotations");
    assert_eq!(annotations["chancery.dev/order-id"], id, "nothing else would find it");
    paid.test.until_told("shop", "OrderNotNamed", &id).await;
    paid.act(&id, "approve").await;
    paid.is_delivered_once("shop").await;
}

#[tokio::test]
async fn an_order_that_lost_its_name_and_its_answer_waits_for_a_person() {
    let paid = Paid::proven("paid-no-tags-lost").await;
    paid.ra.change(json!({"dropTags": true, "states": [{"state": "PENDING_AUTH"}]})).await;
    paid.ra.fault(json!({"operation": "issue", "kind": "dropAfterCommit"})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let message = paid.test.until_issuing("shop", "OrderOutcomeUnknown").await;
    assert_says(&message, &["ord-", "look for it at the CA"]);
    assert_eq!(paid.ra.total().await, 2, "the proof and this one");
}

/// A 503 says nothing of the order, with or without a time to come back.
#[tokio::test]
async fn a_pause_that_the_ca_asks_for_at_a_submit_proves_nothing_and_delays_the_search() {
    let paid = Paid::proven("paid-pause").await;
    let busy = json!({"operation": "issue", "kind": "status", "status": 503, "retryAfter": 5});
    paid.ra.fault(busy).await;
    paid.order("shop", &["shop.example.ch"]).await;
    paid.test
        .until("shop", "looked for", |request| {
            order_of(request).is_some_and(|order| order.phase == OrderPhase::Unknown)
        })
        .await;
    let calls = paid.ra.calls("ordersPaged").await;
    paid.test.a_moment_passes().await;
    assert_eq!(paid.ra.calls("ordersPaged").await, calls, "the whole account rests");
    assert_eq!(paid.ra.total().await, 1, "the proof alone");
    paid.test.until_ready("shop").await;
    assert_eq!(paid.ra.total().await, 2, "made once, after nobody had found it");
}

#[tokio::test]
async fn an_order_for_another_key_is_not_taken_for_ours() {
    let paid = Paid::new("paid-foreign", json!({})).await;
    paid.ra.fault(json!({"operation": "issue", "kind": "dropBeforeCommit"})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let request = paid
        .test
        .until("shop", "looked for", |request| {
            order_of(request).is_some_and(|order| order.phase == OrderPhase::Unknown)
        })
        .await;
    let reference = order_of(&request).expect("an order").reference.clone();
    order_as_another_cluster(&paid, &reference).await;
    let message = paid.test.until_issuing("shop", "OrderForForeignKey").await;
    assert_says(&message, &["is for another key", "another cluster"]);
    assert_eq!(paid.ra.total().await, 1, "theirs");
}

/// Orders under `reference` with another key, as a cloned cluster would.
async fn order_as_another_cluster(paid: &Paid, reference: &str) {
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let names = Names { dns_names: vec!["shop.example.ch".to_owned()], ..Names::default() };
    let csr_der = csr::build(&key, &names).expect("a CSR");
    let root = reqwest::Certificate::from_pem(paid.test.world.simulator.tls_root().as_bytes());
    let http = reqwest::Client::builder()
        .tls_certs_only([root.expect("a root")])
        .no_proxy()
        .build()
        .expect("a client");
    let token = http
        .post(format!("{}/v2/jwt/MPKI0000001.AutoRAO", paid.ra.url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("userSecret=changeme")
        .send()
        .await
        .expect("an answer")
        .text()
        .await
        .expect("a token");
    let order: Value = {
        let settings = paid.ra.settings().await;
        let answer = http
            .post(format!("{}/v2/issue", paid.ra.url()))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(
                json!({
                    "productReference": settings["clients"][0]["products"][0]["id"],
                    "csr": csr::to_pem(&csr_der),
                    "tags": [reference, "spki-0123456789abcdef"],
                    "acceptTandC": true,
                })
                .to_string(),
            )
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("text");
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"))
    };
    assert!(text(&order["uuid"]).starts_with("ord-"), "{order}");
}

#[tokio::test]
async fn what_came_to_nothing_is_not_bought_again_by_itself() {
    let paid = Paid::new("paid-ended", approved()).await;
    let ends = [
        ("reject", "OrderRejected", "was rejected by a person"),
        ("fail", "OrderFailed", "came to nothing"),
        ("revoke", "OrderRevoked", "was issued and then revoked"),
    ];
    for (number, (action, reason, words)) in ends.into_iter().enumerate() {
        let bought = 2 * number as u64;
        let name = format!("r{number}");
        paid.order(&name, &["shop.example.ch"]).await;
        let (id, reference) = paid.until_taken(&name).await;
        if action == "revoke" {
            paid.ra.act(&id, json!({"action": "set", "state": "REVOKED"})).await;
        } else {
            paid.act(&id, action).await;
        }
        let message = paid.test.until_issuing(&name, reason).await;
        assert_says(&message, &[words, &reference, &id, "chancery.dev/renew"]);
        assert!(is_stalled(&paid.test.get(&name).await));
        paid.test.a_moment_passes().await;
        assert_eq!(paid.ra.total().await, bought + 1, "{action}");
        // Asked for once more, it is ordered once more.
        paid.test.renew(&name, "again").await;
        let (next, _) = {
            let wanted = format!("{reference} is over");
            let request = paid
                .test
                .until(&name, &wanted, |request| {
                    order_of(request)
                        .is_some_and(|order| order.reference != reference && order.id.is_some())
                })
                .await;
            let order = order_of(&request).expect("an order").clone();
            (order.id.expect("an id"), order.reference)
        };
        paid.act(&next, "approve").await;
        paid.test.until_ready(&name).await;
        paid.is_pair(&name).await;
        assert_eq!(paid.ra.total().await, bought + 2, "{action}");
    }
}

#[tokio::test]
async fn states_in_lower_case_and_unknown_ones_are_waited_for() {
    let life = json!({
        "lowercaseStatus": true,
        "states": [{"state": "QUANTUM_VALIDATION"}, {"state": "ISSUED"}],
    });
    let paid = Paid::new("paid-unknown-state", life).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let (id, _) = paid.until_taken("shop").await;
    let message = paid.test.until_issuing("shop", "OrderPending").await;
    assert_says(&message.to_uppercase(), &["QUANTUM_VALIDATION"]);
    paid.act(&id, "advance").await;
    paid.is_delivered_once("shop").await;
}

#[tokio::test]
async fn a_chain_that_is_not_served_yet_is_waited_for() {
    let paid = Paid::new("paid-chain-late", json!({"chainMissingSeconds": 5.0})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    paid.test.until_issuing_says("shop", "OrderPending", &["chain"]).await;
    paid.is_delivered_once("shop").await;
}

#[tokio::test]
async fn a_certificate_without_a_name_is_held_and_not_bought_again() {
    let paid = Paid::new("paid-san-dropped", json!({"dropSans": [1]})).await;
    paid.order("shop", &["shop.example.ch", "www.example.ch"]).await;
    let message = paid.test.until_issuing("shop", "CertificateUnusable").await;
    assert_says(&message, &["www.example.ch", "chancery.dev/release"]);
    paid.test.a_moment_passes().await;
    assert_eq!(paid.ra.total().await, 1);
    // The product was mended, and somebody decides to pay once more.
    paid.ra.change(json!({"dropSans": []})).await;
    let reference = order_of(&paid.test.get("shop").await).expect("an order").reference.clone();
    paid.release("shop", &reference).await;
    paid.test.until_ready("shop").await;
    assert_eq!(paid.ra.total().await, 2);
}

#[tokio::test]
async fn a_certificate_for_another_key_is_held() {
    let paid = Paid::new("paid-wrong-key", json!({})).await;
    paid.ra.fault(json!({"operation": "issue", "kind": "wrongKey"})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    paid.test.until_issuing("shop", "OrderForForeignKey").await;
    assert!(paid.test.read("Secret", "shop-tls").await.is_none());
    assert_eq!(paid.ra.total().await, 1);
}

#[tokio::test]
async fn a_name_that_the_ca_adds_does_no_harm() {
    let paid = Paid::new("paid-www", json!({"addWww": true})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    paid.is_delivered_once("shop").await;
    paid.test.a_moment_passes().await;
    paid.is_delivered_once("shop").await;
}

#[tokio::test]
async fn another_user_of_the_same_client_buys_nothing_and_goes_on_with_what_is_open() {
    let mut settings = approved();
    settings["accounts"] = json!({"MPKI0000001.AutoRAO": "changeme", "Other": "secret"});
    let paid = Paid::new("paid-rotated", settings).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let (id, _) = paid.until_taken("shop").await;
    let rotated = json!({"stringData": {"username": "Other", "apiKey": "secret"}});
    paid.test.patch("Secret", "api-key", rotated).await;
    paid.test.a_moment_passes().await;
    paid.test.until_issuing("shop", "AwaitingApproval").await;
    paid.act(&id, "approve").await;
    paid.is_delivered_once("shop").await;
    let back = json!({"stringData": {"username": "MPKI0000001.AutoRAO", "apiKey": "changeme"}});
    paid.test.patch("Secret", "api-key", back).await;
    paid.test.a_moment_passes().await;
    paid.is_delivered_once("shop").await;
}

#[tokio::test]
async fn an_edit_in_the_middle_waits_for_the_end_of_the_order() {
    let paid = Paid::new("paid-edited", approved()).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let (id, reference) = paid.until_taken("shop").await;
    paid.order("shop", &["shop.example.ch", "new.example.ch"]).await;
    paid.test.a_moment_passes().await;
    assert_eq!(paid.ra.total().await, 1, "one open order per request");
    paid.act(&id, "approve").await;
    // What was paid for is delivered, for nothing better is there; then comes what is wanted now.
    paid.test.until_revision("shop", 1).await;
    let request = paid
        .test
        .until("shop", "ordered anew", |request| {
            order_of(request)
                .is_some_and(|order| order.reference != reference && order.id.is_some())
        })
        .await;
    let next = order_of(&request).expect("an order").id.clone().expect("an id");
    paid.act(&next, "approve").await;
    paid.test.until_revision("shop", 2).await;
    paid.is_pair("shop").await;
    assert_eq!(paid.ra.total().await, 2);
}

#[tokio::test]
async fn a_request_made_again_finds_its_order() {
    let paid = Paid::new("paid-recreated", approved()).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let (id, reference) = paid.until_taken("shop").await;
    paid.test.delete("CertificateRequest", "shop").await;
    paid.test.a_moment_passes().await;
    let noted = paid.test.secret("shop.order").await.metadata.annotations.unwrap_or_default();
    assert_eq!(noted.get("chancery.dev/order-id"), Some(&id), "the record keeps its id for people");
    paid.order("shop", &["shop.example.ch"]).await;
    let (again, found) = paid.until_taken("shop").await;
    assert_eq!((again, found), (id.clone(), reference), "the order outlives the request");
    paid.act(&id, "approve").await;
    paid.is_delivered_once("shop").await;
}

#[tokio::test]
async fn a_secret_that_goes_is_delivered_again_and_not_bought() {
    let paid = Paid::new("paid-redelivered", json!({})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    paid.test.until_ready("shop").await;
    let before = paid.test.entry("shop-tls", "tls.crt").await;
    paid.test.delete("Secret", "shop-tls").await;
    paid.test
        .until("shop", "delivered again", |request| {
            issuing(request).is_some_and(|(reason, _)| reason == "Issued")
                && order_of(request).is_none()
                && request.status.as_ref().is_some_and(|status| status.revision == Some(1))
        })
        .await;
    let secret = || async { paid.test.read("Secret", "shop-tls").await };
    let until = std::time::Instant::now() + Duration::from_secs(40);
    while secret().await.is_none() {
        assert!(std::time::Instant::now() < until, "it never came back");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(paid.test.entry("shop-tls", "tls.crt").await, before);
    paid.is_delivered_once("shop").await;
}

#[tokio::test]
async fn an_older_secret_put_back_is_replaced_by_what_was_paid_for() {
    let paid = Paid::new("paid-restored", json!({})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    paid.test.until_ready("shop").await;
    let mut old = paid.test.read("Secret", "shop-tls").await.expect("the Secret");
    paid.test.renew("shop", "1").await;
    paid.test.until_revision("shop", 2).await;
    let new = paid.test.entry("shop-tls", "tls.crt").await;
    for field in ["resourceVersion", "uid", "creationTimestamp", "managedFields"] {
        old["metadata"].as_object_mut().expect("metadata").remove(field);
    }
    paid.test.delete("Secret", "shop-tls").await;
    // It may be delivered before the backup is put back.
    let _ = paid.test.create(old.clone()).await;
    paid.test.a_moment_passes().await;
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let there = paid.test.read("Secret", "shop-tls").await;
        let is_new = there.is_some() && paid.test.entry("shop-tls", "tls.crt").await == new;
        if is_new {
            break;
        }
        assert!(std::time::Instant::now() < until, "the older one stays");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(paid.ra.total().await, 2, "one each, and none for the backup");
}

#[tokio::test]
async fn a_record_that_is_edited_or_lost_is_a_hold() {
    let paid = Paid::new("paid-record", approved()).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let (id, reference) = paid.until_taken("shop").await;
    let record = paid.test.read("Secret", "shop.order").await.expect("the record");
    // As the operator, for nobody else may.
    let operator = "--as=system:serviceaccount:chancery:chancery";
    let edit = r#"{"data":{"next.json":"e30="}}"#;
    let patch = ["patch", "secret", "shop.order", operator, "--type=merge", "-p", edit];
    paid.test.kubectl(&patch);
    paid.act(&id, "approve").await;
    let message = paid.test.until_issuing("shop", "OrderRecordEdited").await;
    assert_says(&message, &["shop.order", "put it back from a backup"]);
    // Gone altogether.
    let annotate = ["annotate", "secret", "shop.order", "chancery.dev/release=yes"];
    paid.test.kubectl(&annotate);
    paid.test.delete("Secret", "shop.order").await;
    let message = paid.test.until_issuing("shop", "OrderRecordLost").await;
    assert_says(&message, &[&reference, &id]);
    assert_eq!(paid.ra.total().await, 1);
    // Put back, the order goes on.
    let mut record = record;
    for field in ["resourceVersion", "uid", "creationTimestamp", "managedFields"] {
        record["metadata"].as_object_mut().expect("metadata").remove(field);
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), record.to_string()).expect("written");
    let path = file.path().display().to_string();
    paid.test.kubectl(&["create", operator, "-f", &path]);
    paid.is_delivered_once("shop").await;
}

#[tokio::test]
async fn an_account_that_takes_a_bare_csr_only_is_served_with_care() {
    let paid = Paid::without_issuer("paid-csr-only", json!({"allowIssue": false})).await;
    paid.put_issuer(|settings| settings["submission"] = json!("CsrOnly")).await;
    paid.test.until_issuer_ready("ca").await;
    paid.order("shop", &["shop.example.ch"]).await;
    paid.is_delivered_once("shop").await;
    paid.ra.change(json!({"states": [{"state": "PENDING_AUTH"}]})).await;
    paid.ra.fault(json!({"operation": "issueCsr", "kind": "dropAfterCommit"})).await;
    paid.order("next", &["next.example.ch"]).await;
    paid.test.until_issuing("next", "OrderOutcomeUnknown").await;
    assert_eq!(paid.ra.total().await, 2);
}

#[tokio::test]
async fn names_of_all_kinds_and_a_lifetime_are_ordered() {
    let paid = Paid::new("paid-names", json!({})).await;
    let mut request = paid.request("shop", &["shop.example.ch", "müller.example.ch"]);
    request["spec"]["commonName"] = json!("shop.example.ch");
    request["spec"]["subject"] = json!({
        "countries": ["CH"], "organizations": ["Example AG"], "organizationalUnits": ["A", "B"],
    });
    request["spec"]["ipAddresses"] = json!(["192.0.2.7", "2001:db8::7"]);
    request["spec"]["uris"] = json!(["spiffe://example.ch/shop"]);
    request["spec"]["emailAddresses"] = json!(["shop@example.ch"]);
    request["spec"]["usages"] = json!(["digital signature", "server auth"]);
    request["spec"]["duration"] = json!("720h");
    request["spec"]["privateKey"] = json!({"algorithm": "ECDSA", "size": 521});
    paid.test.put(request).await;
    paid.is_delivered_once("shop").await;
    let certificate = paid.test.get("shop").await.status.expect("a status").certificate;
    let certificate = certificate.expect("a certificate");
    assert_eq!(certificate.private_key, "ECDSA P-521");
    let lifetime = certificate.not_after.0.duration_since(certificate.not_before.0);
    assert!(lifetime.as_hours() <= 721, "{lifetime:?}");
    assert_says(&certificate.subject, &["O=Example AG", "OU=A", "OU=B", "C=CH"]);
    let order = paid.ra.orders().await.remove(0);
    let names = order["certificate"]["names"].to_string();
    assert_says(
        &names,
        &["xn--mller-kva.example.ch", "192.0.2.7", "spiffe://example.ch/shop", "shop@example.ch"],
    );
}

#[tokio::test]
async fn a_csr_of_ones_own_is_ordered_and_delivered_without_its_key() {
    let paid = Paid::new("paid-csr", json!({})).await;
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let names = Names { dns_names: vec!["own.example.ch".to_owned()], ..Names::default() };
    let csr_der = csr::build(&key, &names).expect("a CSR");
    paid.test
        .put(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": "csr", "namespace": paid.test.namespace,
                "labels": {"chancery.dev/credentials": "true"},
            },
            "stringData": {"tls.csr": csr::to_pem(&csr_der)},
        }))
        .await;
    let mut request = paid.request("own", &[]);
    let spec = request["spec"].as_object_mut().expect("a spec");
    spec.remove("dnsNames");
    spec.remove("privateKey");
    spec.insert("csrSecretRef".to_owned(), json!({"name": "csr"}));
    paid.test.put(request).await;
    paid.test.until_ready("own").await;
    let secret = paid.test.secret("own-tls").await;
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    assert!(!secret.data.expect("data").contains_key("tls.key"));
    let chain = paid.test.entry("own-tls", "tls.crt").await;
    let leaf = chancery::pki::parse_pem(chain.as_bytes()).expect("PEM").remove(0);
    assert_eq!(leaf.spki_der(), key.spki_der());
    assert!(!paid.test.secret("own.order").await.data.expect("data").contains_key("next.key"));
    assert_eq!(paid.ra.total().await, 1);
}

#[tokio::test]
async fn suspend_stops_new_orders_and_not_open_ones() {
    let paid = Paid::new("paid-suspended", approved()).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let (id, _) = paid.until_taken("shop").await;
    paid.test.patch("CertificateRequest", "shop", json!({"spec": {"suspend": true}})).await;
    paid.act(&id, "approve").await;
    paid.is_delivered_once("shop").await;
    paid.test.renew("shop", "1").await;
    paid.test.until_issuing("shop", "Suspended").await;
    assert_eq!(paid.ra.total().await, 1);
}

#[tokio::test]
async fn what_was_edited_is_not_ready_before_it_is_delivered() {
    let paid = Paid::new("paid-outdated", json!({})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let names = |request: &CertificateRequest| {
        let certificate = request.status.as_ref().and_then(|status| status.certificate.clone());
        certificate.and_then(|certificate| certificate.dns_names).unwrap_or_default()
    };
    assert_eq!(names(&paid.test.until_ready("shop").await), ["shop.example.ch"]);
    paid.ra.change(approved()).await;
    paid.order("shop", &["shop.example.ch", "www.shop.example.ch"]).await;
    let (first, _) = paid.until_taken("shop").await;
    let outdated = |parts: &'static [&'static str]| {
        paid.test.until("shop", "outdated", move |request| {
            condition(request, "Ready").is_some_and(|(status, reason, message)| {
                status == "False"
                    && reason == "Outdated"
                    && parts.iter().all(|part| message.contains(part))
            })
        })
    };
    let request = outdated(&[
        "shop.example.ch from CN=",
        "DNS name www.shop.example.ch is not in it",
        "waits for an approver at the CA",
    ])
    .await;
    assert_eq!(names(&request), ["shop.example.ch"], "what the certificate has");
    // The order is for what was asked for then, and says so.
    paid.order("shop", &["late.example.ch"]).await;
    outdated(&["DNS name late.example.ch is not in it", "another order follows"]).await;
    let earlier = "it was made before the request was edited";
    paid.test.until_issuing_says("shop", "AwaitingApproval", &[earlier]).await;
    paid.act(&first, "approve").await;
    let request = paid
        .test
        .until("shop", "ordered anew", |request| {
            order_of(request).is_some_and(|order| order.id.as_ref().is_some_and(|id| *id != first))
        })
        .await;
    let second = order_of(&request).and_then(|order| order.id.clone()).expect("an id");
    paid.act(&second, "approve").await;
    assert_eq!(names(&paid.test.until_ready("shop").await), ["late.example.ch"]);
    assert_eq!(paid.ra.total().await, 3, "one for each that was asked for");
}

#[tokio::test]
async fn the_name_of_a_server_that_stands_in_the_common_name_alone_is_an_alternative_name_too() {
    let paid = Paid::new("paid-common-name", json!({})).await;
    let mut request = paid.request("shop", &[]);
    request["spec"].as_object_mut().expect("a spec").remove("dnsNames");
    request["spec"]["commonName"] = json!("shop.example.ch");
    paid.test.put(request).await;
    let status = paid.test.until_ready("shop").await.status.expect("a status");
    let certificate = status.certificate.expect("a certificate");
    assert_eq!(certificate.dns_names, Some(vec!["shop.example.ch".to_owned()]));
}

#[tokio::test]
async fn suspended_without_a_certificate_is_stalled() {
    let paid = Paid::new("paid-suspended-first", json!({})).await;
    let mut request = paid.request("shop", &["shop.example.ch"]);
    request["spec"]["suspend"] = json!(true);
    paid.test.put(request).await;
    paid.test.until_issuing("shop", "Suspended").await;
    let is_now = paid.test.get("shop").await;
    assert!(is_stalled(&is_now), "{:#?}", is_now.status);
    paid.test.patch("CertificateRequest", "shop", json!({"spec": {"suspend": false}})).await;
    assert!(!is_stalled(&paid.test.until_ready("shop").await));
}

#[tokio::test]
async fn a_trust_bundle_that_nothing_was_verified_against_is_told_of_once() {
    let paid = Paid::new("paid-untested", json!({})).await;
    let message = paid.test.until_issuer_ready("ca").await;
    assert_says(&message, &["no chain was verified against spec.trust.bundle yet"]);
    paid.order("shop", &["shop.example.ch"]).await;
    paid.test.until_ready("shop").await;
    let is_silent = |_: &str, _: &str, message: &str| !message.contains("no chain was verified");
    paid.test.issuer_condition("ca", is_silent).await;
    let issuer = paid.test.read("Issuer", "ca").await.expect("the issuer");
    assert!(issuer["status"]["trustVerified"].is_string(), "{issuer:#}");
}

#[tokio::test]
async fn refusals_cost_nothing_and_are_not_repeated_before_something_changes() {
    let paid = Paid::new("paid-refused", json!({})).await;
    let refused = json!({
        "operation": "issue", "kind": "apiError", "code": "<011.110.0240>", "status": 400,
        "messages": ["the name is reserved"],
    });
    paid.ra.fault(refused).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let request = paid
        .test
        .until("shop", "refused", |request| {
            issuing(request).is_some_and(|(_, message)| message.contains("the name is reserved"))
        })
        .await;
    assert!(is_stalled(&request));
    assert_eq!(order_of(&request), None, "nothing was ordered");
    paid.test.a_moment_passes().await;
    assert_eq!(paid.ra.calls("issue").await, 1);
    paid.order("shop", &["other.example.ch"]).await;
    paid.is_delivered_once("shop").await;
}

#[tokio::test]
async fn orders_are_listed_shown_and_released_from_the_command_line() {
    let paid = Paid::new("paid-cli", approved()).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let (id, reference) = paid.until_taken("shop").await;
    let chancery = |args: &[&str]| {
        let output = std::process::Command::new(program("chancery"))
            .args(args)
            .env("KUBECONFIG", paid.test.world.plane.kubeconfig())
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    };
    let namespace = paid.test.namespace.as_str();
    let list = chancery(&["orders", "list", "-n", namespace]).expect("a list");
    assert_says(&list, &["REFERENCE", &reference, &id, "Pending"]);
    paid.act(&id, "reject").await;
    paid.test.until_issuing("shop", "OrderRejected").await;
    let shown = chancery(&["orders", "show", "shop", "-n", namespace]).expect("shown");
    assert_says(&shown, &[&reference, &id, "OrderRejected", "orders release"]);
    let warned = chancery(&["orders", "release", "shop", "-n", namespace]).expect_err("a warning");
    assert_says(&warned, &["will be lost", &format!("--order {reference}")]);
    let release = ["orders", "release", "shop", "-n", namespace, "--order", &reference];
    let released = chancery(&release).expect("released");
    assert_says(&released, &["is given up"]);
    let request = paid
        .test
        .until("shop", "ordered anew", |request| {
            order_of(request)
                .is_some_and(|order| order.reference != reference && order.id.is_some())
        })
        .await;
    let order = order_of(&request).expect("an order");
    paid.act(order.id.as_deref().expect("an id"), "approve").await;
    paid.test.until_ready("shop").await;
    // A record whose request is gone is listed, and goes on request.
    paid.test.delete("CertificateRequest", "shop").await;
    let list = chancery(&["orders", "list", "-n", namespace]).expect("a list");
    assert_says(&list, &["RequestGone", "delivered", &order.reference]);
    let shown = chancery(&["orders", "show", "shop", "-n", namespace]).expect("shown");
    assert_says(&shown, &["the request is gone", &order.reference, "delivered"]);
    let uid = paid.test.secret("shop.order").await.metadata.uid.expect("a uid");
    let release = ["orders", "release", "shop", "-n", namespace, "--order", &uid];
    assert_says(&chancery(&release).expect("released"), &["was deleted"]);
    assert!(paid.test.read("Secret", "shop.order").await.is_none());
}

#[tokio::test]
async fn a_namespace_with_open_orders_can_be_deleted() {
    let paid = Paid::new("paid-namespace", approved()).await;
    paid.order("shop", &["shop.example.ch"]).await;
    paid.until_taken("shop").await;
    let namespace = paid.test.namespace.as_str();
    let delete = ["delete", "namespace", namespace, "--timeout=60s"];
    paid.test.world.plane.kubectl(delete).expect("it goes");
}

#[tokio::test]
async fn clients_and_products_must_fit_exactly_one() {
    let product = json!({"name": "Silver"});
    let clients = json!([
        {"name": "Twice", "products": [product]},
        {"name": "Twice", "products": [product]},
        {"name": "Once", "products": [product, {"name": "Gold"}, {"name": "Gold"}]},
    ]);
    let paid = Paid::without_issuer("paid-products", json!({"clients": clients})).await;
    let rows = [
        ("Nobody", "Silver", "ClientNotFound", "spec.swissSign.client"),
        ("Twice", "Silver", "ClientNotFound", "spec.swissSign.client"),
        ("Once", "Bronze", "ProductNotFound", "spec.swissSign.product"),
        ("Once", "Gold", "ProductNotFound", "spec.swissSign.product"),
    ];
    for (number, (client, product, reason, field)) in rows.into_iter().enumerate() {
        let [credentials, mut issuer] = paid.ra.issuer(&paid.test.namespace).await;
        let name = format!("ca{number}");
        issuer["metadata"]["name"] = json!(name);
        issuer["spec"]["swissSign"]["client"] = json!({"name": client});
        issuer["spec"]["swissSign"]["product"] = json!({"name": product});
        paid.test.put(credentials).await;
        paid.test.put(issuer).await;
        let message = paid.test.until_issuer_fails(&name, reason).await;
        assert_says(&message, &[field]);
    }
}

#[tokio::test]
async fn a_wrong_api_key_is_told_on_the_issuer_and_sent_once() {
    let paid = Paid::without_issuer("paid-wrong-key-of-api", json!({})).await;
    let [mut credentials, issuer] = paid.ra.issuer(&paid.test.namespace).await;
    credentials["stringData"]["apiKey"] = json!("not-this-one");
    paid.test.put(credentials).await;
    paid.test.put(issuer).await;
    let message = paid.test.until_issuer_fails("ca", "CredentialsRefused").await;
    assert_says(&message, &["check username and apiKey in Secret paid-wrong-key-of-api/api-key;"]);
    assert!(!message.contains("not-this-one"), "{message}");
    let calls = paid.ra.calls("jwt").await;
    assert!(calls <= 2, "{calls} attempts");
    paid.test.patch("Secret", "api-key", json!({"stringData": {"apiKey": "changeme"}})).await;
    paid.test.until_issuer_ready("ca").await;
}
