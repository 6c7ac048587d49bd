//! Pairs that were obtained elsewhere, and are taken over without an order.

use serde_json::{Value, json};

use crate::orders::Paid;
use crate::world::assert_says;

/// The pair of `shop` as a Secret that somebody made by hand.
async fn by_hand(paid: &Paid, name: &str, annotations: Value) -> Value {
    let entry = |key| paid.test.entry("shop-tls", key);
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {
            "name": format!("{name}-tls"), "namespace": paid.test.namespace,
            "annotations": annotations,
        },
        "stringData": {"tls.key": entry("tls.key").await, "tls.crt": entry("tls.crt").await},
    })
}

async fn bought(name: &str) -> Paid {
    let paid = Paid::new(name, json!({})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    paid.test.until_ready("shop").await;
    paid
}

#[tokio::test]
async fn a_pair_that_fits_is_taken_over_and_nothing_is_bought() {
    let paid = bought("adopt").await;
    let offered = by_hand(&paid, "moved", json!({"chancery.dev/adopt": "moved"})).await;
    paid.test.create(offered).await.expect("taken");
    paid.order("moved", &["shop.example.ch"]).await;
    paid.test.until_ready("moved").await;
    paid.is_pair("moved").await;
    let secret = paid.test.secret("moved-tls").await;
    let annotations = secret.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(
        annotations.get("chancery.dev/certificate-request").map(String::as_str),
        Some("moved")
    );
    assert!(!annotations.contains_key("chancery.dev/adopt"), "{annotations:?}");
    let serial = |request: &chancery::api::CertificateRequest| {
        let status = request.status.clone().expect("a status");
        status.certificate.expect("a certificate").serial_number
    };
    assert_eq!(serial(&paid.test.get("moved").await), serial(&paid.test.get("shop").await));
    assert!(!paid.test.entry("moved-tls", "ca.crt").await.is_empty());
    // What is asked for later is one order, as for any other.
    let more = json!({"spec": {"dnsNames": ["shop.example.ch", "more.example.ch"]}});
    paid.test.patch("CertificateRequest", "moved", more).await;
    paid.test.until_revision("moved", 2).await;
    assert_eq!(paid.ra.total().await, 2);
}

#[tokio::test]
async fn a_renamed_request_keeps_its_secret() {
    let paid = bought("adopt-renamed").await;
    paid.test.delete("CertificateRequest", "shop").await;
    let offer = json!({"metadata": {"annotations": {"chancery.dev/adopt": "store"}}});
    paid.test.patch("Secret", "shop-tls", offer).await;
    let mut request = paid.request("store", &["shop.example.ch"]);
    request["spec"]["secretName"] = json!("shop-tls");
    paid.test.put(request).await;
    paid.test.until_ready("store").await;
    paid.test.a_moment_passes().await;
    assert_eq!(paid.ra.total().await, 1);
}

/// Name of the request, the Secret, how the request differs, and what is said.
type Unfit<'a> = (&'a str, Value, &'a dyn Fn(&mut Value), &'a str);

#[tokio::test]
async fn a_pair_that_does_not_fit_is_left_alone_and_nothing_is_bought() {
    let paid = bought("adopt-unfit").await;
    let offer = |name: &str| json!({"chancery.dev/adopt": name});
    let mut foreign_key = by_hand(&paid, "key", offer("key")).await;
    let other = chancery::pki::PrivateKey::generate(chancery::pki::KeyKind::EcdsaP256);
    let pem = other.expect("a key").to_pkcs8_pem();
    foreign_key["stringData"]["tls.key"] = secrecy::ExposeSecret::expose_secret(&pem).into();
    let mut unreadable = by_hand(&paid, "broken", offer("broken")).await;
    unreadable["stringData"]["tls.key"] = "none".into();
    let owned = json!({"chancery.dev/adopt": "owned", "cert-manager.io/certificate-name": "web"});
    let rsa = |request: &mut Value| request["spec"]["privateKey"] = json!({"algorithm": "RSA"});
    let other_name = |request: &mut Value| {
        request["spec"]["dnsNames"] = json!(["other.example.ch"]);
    };
    let nothing = |_: &mut Value| ();
    let rows: [Unfit<'_>; 6] = [
        ("names", by_hand(&paid, "names", offer("names")).await, &other_name, "other.example.ch"),
        ("key", foreign_key, &nothing, "none of the"),
        ("broken", unreadable, &nothing, "its tls.key cannot be read"),
        ("kind", by_hand(&paid, "kind", offer("kind")).await, &rsa, "spec.privateKey asks for RSA"),
        ("owned", by_hand(&paid, "owned", owned).await, &nothing, "its Certificate web"),
        (
            "unasked",
            by_hand(&paid, "unasked", offer("somebody")).await,
            &nothing,
            "is not Chancery's",
        ),
    ];
    for (name, secret, change, part) in rows {
        paid.test.create(secret).await.expect("taken");
        let before = paid.test.secret(&format!("{name}-tls")).await.metadata.resource_version;
        let mut request = paid.request(name, &["shop.example.ch"]);
        change(&mut request);
        paid.test.put(request).await;
        let reason = if name == "unasked" { "SecretNotOurs" } else { "SecretNotAdopted" };
        let message = paid.test.until_issuing(name, reason).await;
        assert_says(&message, &[part]);
        let after = paid.test.secret(&format!("{name}-tls")).await.metadata.resource_version;
        assert_eq!(before, after, "{name}: the Secret is left alone");
    }
    // Another CA's, by what the issuer trusts.
    let elsewhere = Paid::new("adopt-elsewhere", json!({})).await;
    let foreign = by_hand(&paid, "chain", offer("chain")).await;
    let mut foreign = foreign;
    foreign["metadata"]["namespace"] = elsewhere.test.namespace.clone().into();
    elsewhere.test.create(foreign).await.expect("taken");
    elsewhere.order("chain", &["shop.example.ch"]).await;
    let message = elsewhere.test.until_issuing("chain", "SecretNotAdopted").await;
    assert_says(&message, &["trusted"]);
    assert_eq!((paid.ra.total().await, elsewhere.ra.total().await), (1, 0));
}
