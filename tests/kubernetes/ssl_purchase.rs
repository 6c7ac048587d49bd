//! Certificates of a reseller: what has to be shown is told, and they are renewed and reissued by the id
//! of their order. The reseller counts what was bought.

use chancery::api::CertificateRequest;
use serde_json::{Value, json};

use crate::support::simulator::SslPurchase;
use crate::world::{Test, assert_says, condition, text};

/// A namespace with Issuer `ca` at a reseller that nobody else uses.
struct Resold {
    test: Test,
    site: SslPurchase<'static>,
}

impl Resold {
    /// Orders are made in a moment where `settings` say nothing.
    async fn new(name: &str, settings: Value, block: Value) -> Self {
        let test = Test::new(name).await;
        let site = test.world.simulator.ssl_purchase(name);
        let mut all = json!({
            "keyAlgorithm": "ECDSA",
            "validation": {"how": "nothing"},
            "plans": [{"name": "Demo DV", "renewDaysBeforeExpiration": 30}],
        });
        merge(&mut all, settings);
        site.configure(all).await;
        let opt_in = test.world.simulator.opt_in();
        let credentials = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": "api-key", "namespace": test.namespace, "annotations": opt_in,
                "labels": {"chancery.dev/credentials": "true"},
            },
            "stringData": {"username": "demo-reseller", "apiKey": "changeme"},
        });
        let mut issuer = json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "Issuer",
            "metadata": {"name": "ca", "namespace": test.namespace},
            "spec": {
                "sslPurchase": {
                    "url": site.url(),
                    "credentialsSecretRef": {"name": "api-key"},
                    "reseller": "demo-reseller",
                    "plan": {"name": "Demo DV"},
                    "dcvType": "DNS",
                    "reissuePolicy": "Never",
                    "allowEcdsa": true,
                    "settleWindow": "6s",
                },
                "tls": {"caBundle": {"pem": test.world.simulator.tls_root()}},
                "trust": {"bundle": {"pem": site.root_pem().await}},
            },
        });
        merge(&mut issuer["spec"]["sslPurchase"], block);
        test.put(credentials).await;
        test.put(issuer).await;
        test.until_issuer_ready("ca").await;
        Self { test, site }
    }

    async fn order(&self, more: Value) {
        let mut request = json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": "shop", "namespace": self.test.namespace},
            "spec": {
                "issuerRef": {"name": "ca"},
                "secretName": "shop-tls",
                "dnsNames": ["shop.example.ch"],
                "privateKey": {"algorithm": "ECDSA"},
            },
        });
        merge(&mut request["spec"], more);
        self.test.put(request).await;
    }

    /// The delivered certificate is the newest of the only order.
    async fn is_newest_of_one(&self, purchases: usize) {
        let orders = self.site.orders().await;
        assert_eq!(orders.len(), 1, "{orders:#?}");
        let bought = orders[0]["purchases"].as_array().expect("purchases");
        assert_eq!(bought.len(), purchases, "{orders:#?}");
        let newest = orders[0]["certificates"].as_array().and_then(|all| all.last());
        let newest = text(&newest.expect("a certificate")["serial"]);
        let chain = self.test.entry("shop-tls", "tls.crt").await;
        let leaf = chancery::pki::parse_pem(chain.as_bytes()).expect("PEM").remove(0);
        let newest = newest.trim_start_matches("00").to_uppercase();
        assert_eq!(leaf.serial_number(), newest);
        let key = self.test.entry("shop-tls", "tls.key").await;
        let key = chancery::pki::PrivateKey::from_pem(key.as_bytes()).expect("a key");
        assert_eq!(leaf.spki_der(), key.spki_der());
    }
}

fn merge(into: &mut Value, more: Value) {
    let more = more.as_object().expect("an object").clone();
    into.as_object_mut().expect("an object").extend(more);
}

fn challenges(request: &CertificateRequest) -> Value {
    let order = request.status.as_ref().and_then(|status| status.order.as_ref());
    serde_json::to_value(order).expect("JSON")["challenges"].clone()
}

#[tokio::test]
async fn what_has_to_be_shown_to_a_reseller_is_told_and_the_certificate_delivered() {
    let manual = json!({"validation": {"how": "manual"}});
    let resold = Resold::new("resold-shown", manual, json!({})).await;
    resold.order(json!({})).await;
    let message = resold.test.until_issuing("shop", "AwaitingOwner").await;
    assert_says(&message, &["for shop.example.ch", "set the CNAME record _"]);
    let shown = challenges(&resold.test.get("shop").await);
    assert_eq!(
        (&shown[0]["type"], &shown[0]["domain"]),
        (&json!("DNS"), &json!("shop.example.ch"))
    );
    assert!(text(&shown[0]["recordName"]).ends_with(".shop.example.ch"), "{shown}");
    let id = text(&resold.site.orders().await[0]["id"]).to_owned();
    resold.site.act(&id, json!({"action": "meet"})).await;
    resold.test.until_ready("shop").await;
    resold.is_newest_of_one(1).await;
}

#[tokio::test]
async fn an_order_of_a_reseller_whose_answer_was_lost_is_bought_once() {
    let resold = Resold::new("resold-lost", json!({}), json!({})).await;
    resold.site.fault(json!({"operation": "create", "kind": "dropAfterCommit"})).await;
    resold.order(json!({})).await;
    resold.test.until_ready("shop").await;
    resold.is_newest_of_one(1).await;
    assert_eq!(resold.site.paid().await, 1);
}

#[tokio::test]
async fn a_certificate_of_a_reseller_is_renewed_by_its_order_also_where_the_answer_is_lost() {
    let plans = json!({"plans": [{"name": "Demo DV", "renewDaysBeforeExpiration": 3650}]});
    let resold = Resold::new("resold-renewed", plans, json!({})).await;
    resold.order(json!({})).await;
    resold.test.until_ready("shop").await;
    resold.site.fault(json!({"operation": "renew", "kind": "dropAfterCommit"})).await;
    resold.test.renew("shop", "1").await;
    resold.test.until_revision("shop", 2).await;
    resold.is_newest_of_one(2).await;
    assert_eq!(resold.site.paid().await, 2, "the term, and another one");
}

#[tokio::test]
async fn within_a_paid_term_a_reseller_is_asked_for_nothing_that_costs() {
    let resold = Resold::new("resold-paid", json!({}), json!({})).await;
    resold.order(json!({})).await;
    resold.test.until_ready("shop").await;
    resold.test.renew("shop", "1").await;
    let message = resold.test.until_issuing("shop", "RenewalTooEarly").await;
    assert_says(&message, &["is paid until", "nothing was bought", "reissuePolicy"]);
    let request = resold.test.get("shop").await;
    assert!(condition(&request, "Ready").is_some_and(|(status, ..)| status == "True"));
    resold.is_newest_of_one(1).await;
    // Somebody has asked for it, and that is enough now.
    let policy = json!({"spec": {"sslPurchase": {"reissuePolicy": "OnRequest"}}});
    resold.test.patch("Issuer", "ca", policy).await;
    resold.test.until_revision("shop", 2).await;
    resold.is_newest_of_one(2).await;
    assert_eq!(resold.site.paid().await, 1, "a reissue costs nothing");
}

#[tokio::test]
async fn another_contact_or_way_to_show_a_domain_buys_nothing_from_a_reseller() {
    let resold = Resold::new("resold-contact", json!({}), json!({})).await;
    resold.order(json!({"sslPurchase": {"contact": {"phone": "+31.612345678"}}})).await;
    resold.test.until_ready("shop").await;
    let other = json!({"contact": {"phone": "+31.687654321"}, "dcvType": "FILE"});
    let patch = json!({"spec": {"sslPurchase": other}});
    resold.test.patch("CertificateRequest", "shop", patch).await;
    resold
        .test
        .until("shop", "looked at again", |request| {
            let seen = request.status.as_ref().map(|status| status.observed_generation);
            seen == request.metadata.generation
        })
        .await;
    resold.test.a_moment_passes().await;
    resold.is_newest_of_one(1).await;
    let fields = &resold.site.orders().await[0]["purchases"][0]["fields"];
    assert_eq!(fields["approver_phone_number"], "+31.612345678");
}

#[tokio::test]
async fn a_reseller_without_credit_for_us_is_told_of_loudly() {
    let resellers = json!({"resellers": {"demo-reseller": {"apiKey": "changeme", "credit": 0}}});
    let resold = Resold::new("resold-credit", resellers, json!({})).await;
    resold.order(json!({})).await;
    let message = resold.test.until_issuing("shop", "CreditInsufficient").await;
    assert_says(&message, &["top it up"]);
    let request = resold.test.get("shop").await;
    assert!(condition(&request, "Stalled").is_some_and(|(status, ..)| status == "True"));
    assert_eq!(resold.site.paid().await, 0);
}
