//! What a request can ask for, and what happens when it changes.

use std::collections::BTreeSet;

use chancery::pki::{KeyKind, Names, PrivateKey, csr, parse_pem};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::world::{Test, assert_says, condition};

/// A request with credentials of its own.
fn of(test: &Test, name: &str, secret: &str) -> Value {
    let mut request = test.request(name);
    request["spec"]["onlineCa"] = json!({"credentialsSecretRef": {"name": secret}});
    request
}

fn ecdsa(test: &Test, name: &str) -> Value {
    let mut request = test.request(name);
    request["spec"]["privateKey"] = json!({"algorithm": "ECDSA"});
    request
}

async fn version(test: &Test, secret: &str) -> String {
    test.secret(secret).await.metadata.resource_version.expect("a version")
}

async fn key(test: &Test, secret: &str) -> Vec<u8> {
    let pem = test.entry(secret, "tls.key").await;
    PrivateKey::from_pem(pem.as_bytes()).expect("a key").spki_der().to_vec()
}

#[tokio::test]
async fn one_issuer_serves_two_users_and_the_table_tells_them_apart() {
    let test = Test::with_issuer("users").await;
    test.site.configure(json!({"users": {"ada": "lovelace", "alan": "turing"}})).await;
    test.put(test.credentials("ada-credentials", "ada", "lovelace")).await;
    test.put(test.credentials("alan-credentials", "alan", "turing")).await;
    test.put(of(&test, "ada", "ada-credentials")).await;
    test.put(of(&test, "alan", "alan-credentials")).await;
    test.until_ready("ada").await;
    test.until_ready("alan").await;
    let table = test.kubectl(&["get", "chreq", "--no-headers"]);
    for (line, user) in table.lines().zip(["ada", "alan"]) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((cells[0], cells[6]), (user, user), "{table}");
        let leaf = &parse_pem(test.entry(&format!("{user}-tls"), "tls.crt").await.as_bytes())
            .expect("certificates")[0];
        assert_eq!(leaf.common_name(), Some(user));
    }
    let users: BTreeSet<String> = test
        .site
        .issued()
        .await
        .iter()
        .map(|issued| issued["username"].as_str().expect("a user").to_owned())
        .collect();
    assert_eq!(users, BTreeSet::from(["ada".to_owned(), "alan".to_owned()]));
}

#[tokio::test]
async fn own_credentials_that_are_wrong_blame_the_request_alone() {
    let test = Test::with_issuer("own-wrong").await;
    test.put(test.credentials("mine", "testuser", "wrong-one")).await;
    test.put(of(&test, "mine", "mine")).await;
    let message = test.until_issuing("mine", "CredentialsRefused").await;
    assert_says(
        &message,
        &["/online-ca/own-wrong/certificate/", "401", "check username and password"],
    );
    assert!(!message.contains("wrong-one"));
    let request = test.get("mine").await;
    assert_eq!(condition(&request, "Stalled").expect("a person must act").0, "True");
    assert_eq!(condition(&request, "Ready").expect("a condition").0, "False");
    // Everybody else goes on.
    test.put(test.request("others")).await;
    test.until_ready("others").await;
    test.until_issuer_ready("ca").await;
    // A refused password is not tried again by itself, nor because something else changes.
    let calls = test.certificate_calls().await;
    test.patch("CertificateRequest", "mine", json!({"metadata": {"labels": {"a": "b"}}})).await;
    test.a_moment_passes().await;
    assert_eq!(test.certificate_calls().await, calls);
    test.put(test.credentials("mine", "testuser", "changeme")).await;
    let status = test.until_ready("mine").await.status.expect("a status");
    assert_eq!(status.failed_attempts, None);
    assert_eq!(status.last_attempt, None);
}

#[tokio::test]
async fn own_credentials_that_did_not_opt_in_are_not_used() {
    let test = Test::with_issuer("own-opt-in").await;
    let mut secret = test.credentials("mine", "testuser", "changeme");
    secret["metadata"]["labels"] = json!({});
    test.put(secret).await;
    test.put(of(&test, "mine", "mine")).await;
    let message = test.until_issuing("mine", "CredentialsUnusable").await;
    assert_says(
        &message,
        &[
            "kubectl label secret -n own-opt-in mine chancery.dev/credentials=true",
            "failed attempt 1",
        ],
    );
    assert_eq!(test.certificate_calls().await, 0);
    test.kubectl(&["label", "secret", "mine", "chancery.dev/credentials=true"]);
    test.until_ready("mine").await;
}

#[tokio::test]
async fn nobodys_credentials_are_asked_for_by_name_of_the_field() {
    let test = Test::new("no-credentials").await;
    let mut issuer = test.issuer().await;
    issuer["spec"]["onlineCa"].as_object_mut().expect("fields").remove("credentialsSecretRef");
    test.put(issuer).await;
    test.put(test.request("portal")).await;
    let message = test.until_issuing("portal", "CredentialsMissing").await;
    assert_says(&message, &["spec.onlineCa.credentialsSecretRef", "not tried again before"]);
    assert_eq!(test.certificate_calls().await, 0);
    test.put(test.credentials("credentials", "testuser", "changeme")).await;
    test.put(of(&test, "portal", "credentials")).await;
    test.until_ready("portal").await;
}

#[tokio::test]
async fn a_kind_of_key_the_issuer_does_not_admit_is_refused_before_the_ca_is_asked() {
    let test = Test::with_issuer("ecdsa").await;
    test.site.configure(json!({"minKeyBits": 256})).await;
    test.put(ecdsa(&test, "portal")).await;
    let message = test.until_issuing("portal", "NotSupportedByCa").await;
    assert_says(
        &message,
        &["ECDSA", "spec.privateKey", "spec.onlineCa.keyAlgorithms of the issuer"],
    );
    assert_eq!(condition(&test.get("portal").await, "Stalled").expect("stalled").0, "True");
    assert_eq!(test.certificate_calls().await, 0);
    let patch = json!({"spec": {"onlineCa": {"keyAlgorithms": ["RSA", "ECDSA"]}}});
    test.patch("Issuer", "ca", patch).await;
    let status = test.until_ready("portal").await.status.expect("a status");
    let kind = status.certificate.expect("a certificate").private_key;
    assert!(kind.starts_with("ECDSA"), "{kind}");
}

#[tokio::test]
async fn keys_on_p521_and_ed25519_are_refused_until_the_issuer_admits_them() {
    let test = Test::with_issuer("odd-keys").await;
    test.site.configure(json!({"minKeyBits": 256})).await;
    let kinds = [
        ("p521", json!({"algorithm": "ECDSA", "size": 521}), "ECDSA P-521"),
        ("ed25519", json!({"algorithm": "Ed25519"}), "Ed25519"),
    ];
    for (name, key, kind) in &kinds {
        let mut request = test.request(name);
        request["spec"]["privateKey"] = key.clone();
        test.put(request).await;
        let message = test.until_issuing(name, "NotSupportedByCa").await;
        assert_says(&message, &[&format!("Online CA does not sign {kind} keys"), "keyAlgorithms"]);
    }
    assert_eq!(test.certificate_calls().await, 0);
    let patch = json!({"spec": {"onlineCa": {"keyAlgorithms": ["ECDSA", "Ed25519"]}}});
    test.patch("Issuer", "ca", patch).await;
    for (name, _, kind) in kinds {
        let status = test.until_ready(name).await.status.expect("a status");
        assert_eq!(status.certificate.expect("a certificate").private_key, kind);
        key(&test, &format!("{name}-tls")).await;
    }
}

#[tokio::test]
async fn another_issuer_of_the_same_name_is_another_issuer() {
    let test = Test::with_issuer("issuer-again").await;
    test.site.configure(json!({"minKeyBits": 256})).await;
    test.put(ecdsa(&test, "portal")).await;
    test.until_issuing("portal", "NotSupportedByCa").await;
    // Its first generation again: the number alone does not tell.
    test.delete("Issuer", "ca").await;
    let mut issuer = test.issuer().await;
    issuer["spec"]["onlineCa"]["keyAlgorithms"] = json!(["ECDSA"]);
    test.put(issuer).await;
    test.until_ready("portal").await;
}

#[tokio::test]
async fn names_are_refused_where_the_ca_issues_to_a_user() {
    let test = Test::with_issuer("names").await;
    let mut request = test.request("portal");
    let spec = request["spec"].as_object_mut().expect("fields");
    spec.remove("onlineCa");
    spec.insert("dnsNames".to_owned(), json!(["portal.example.org"]));
    test.create(request).await.expect("taken");
    let message = test.until_issuing("portal", "NotSupportedByCa").await;
    assert_says(&message, &["ignores names", "remove spec.dnsNames and write spec.onlineCa: {}"]);
    assert_eq!(test.certificate_calls().await, 0);
    let patch = json!({"spec": {"dnsNames": null, "onlineCa": {}}});
    test.patch("CertificateRequest", "portal", patch).await;
    test.until_ready("portal").await;
}

#[tokio::test]
async fn whatever_else_an_online_ca_would_ignore_is_refused_by_name_of_the_field() {
    let test = Test::with_issuer("more-names").await;
    let cases = [
        ("subject", json!({"organizations": ["A"]}), "remove spec.subject and write"),
        ("ipAddresses", json!(["192.0.2.1"]), "remove spec.ipAddresses and write"),
        ("uris", json!(["spiffe://example.org/shop"]), "remove spec.uris and write"),
        ("emailAddresses", json!(["a@example.org"]), "remove spec.emailAddresses and write"),
        ("usages", json!(["server auth"]), "remove spec.usages"),
        ("duration", json!("24h"), "remove spec.duration"),
    ];
    for (field, value, says) in cases {
        let name = field.to_lowercase();
        let mut request = test.request(&name);
        let is_name = !["usages", "duration"].contains(&field);
        let spec = request["spec"].as_object_mut().expect("fields");
        if is_name {
            spec.remove("onlineCa");
        }
        spec.insert(field.to_owned(), value);
        test.create(request).await.expect("taken");
        let message = test.until_issuing(&name, "NotSupportedByCa").await;
        assert_says(&message, &["Online CA", says, "not tried again before"]);
    }
    assert_eq!(test.certificate_calls().await, 0);
}

/// A Secret with a CSR for `key`, that opted in.
fn csr_secret(test: &Test, name: &str, key: &PrivateKey) -> Value {
    let pem = csr::to_pem(&csr::build(key, &Names::default()).expect("a CSR"));
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": name, "namespace": test.namespace,
            "labels": {"chancery.dev/credentials": "true"},
        },
        "stringData": {"tls.csr": pem},
    })
}

fn for_csr(test: &Test, name: &str, secret: &str) -> Value {
    let mut request = test.request(name);
    request["spec"].as_object_mut().expect("fields").remove("onlineCa");
    request["spec"]["csrSecretRef"] = json!({"name": secret});
    request
}

fn rsa() -> PrivateKey {
    PrivateKey::generate(KeyKind::Rsa2048).expect("a key")
}

async fn certified_key(test: &Test, secret: &str) -> Vec<u8> {
    let chain = parse_pem(test.entry(secret, "tls.crt").await.as_bytes()).expect("a chain");
    chain[0].spki_der().to_vec()
}

#[tokio::test]
async fn a_csr_of_ones_own_is_signed_and_delivered_without_a_key() {
    let test = Test::with_issuer("csr").await;
    let (key, next) = (rsa(), rsa());
    test.put(csr_secret(&test, "mine", &key)).await;
    test.put(for_csr(&test, "portal", "mine")).await;
    let status = test.until_ready("portal").await.status.expect("a status");
    assert_eq!(status.certificate.expect("a certificate").private_key, "RSA 2048");
    let secret = test.secret("portal-tls").await;
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let entries: Vec<String> = secret.data.unwrap_or_default().into_keys().collect();
    assert_eq!(entries, ["ca.crt", "tls.crt"]);
    assert_eq!(certified_key(&test, "portal-tls").await, key.spki_der());
    // It is kept in order as any other.
    let anchor = test.entry("portal-tls", "ca.crt").await;
    test.patch("Secret", "portal-tls", json!({"stringData": {"ca.crt": "somebody's"}})).await;
    let mut looks = 0;
    while test.entry("portal-tls", "ca.crt").await != anchor {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        looks += 1;
        assert!(looks < 300, "never repaired\n{}", test.operator_log());
    }
    // A change that changes no key is none, and is not asked about again and again.
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    test.patch("Secret", "mine", label).await;
    test.a_moment_passes().await;
    assert_eq!(test.site.issued().await.len(), 1);
    test.put(csr_secret(&test, "mine", &next)).await;
    test.until_revision("portal", 2).await;
    assert_eq!(certified_key(&test, "portal-tls").await, next.spki_der());
    test.renew("portal", "1").await;
    test.until_revision("portal", 3).await;
    assert_eq!(certified_key(&test, "portal-tls").await, next.spki_der(), "there is no other key");
    test.a_moment_passes().await;
    assert_eq!(test.site.issued().await.len(), 3);
    // From here on with a key that Chancery makes: another Secret is needed for it.
    let patch = json!({"spec": {"csrSecretRef": null, "onlineCa": {}}});
    test.patch("CertificateRequest", "portal", patch).await;
    let message = test.until_issuing("portal", "SecretNotOurs").await;
    assert_says(&message, &["Secret portal-tls exists with type Opaque", "delete it"]);
}

#[tokio::test]
async fn a_key_that_lies_beside_the_csr_is_delivered_with_the_certificate() {
    let test = Test::with_issuer("csr-pair").await;
    let pair = rsa();
    let mut secret = csr_secret(&test, "mine", &pair);
    secret["stringData"]["tls.key"] = json!(pair.to_pkcs8_pem().expose_secret());
    test.put(secret.clone()).await;
    test.put(for_csr(&test, "portal", "mine")).await;
    test.until_ready("portal").await;
    assert_eq!(test.secret("portal-tls").await.type_.as_deref(), Some("kubernetes.io/tls"));
    assert_eq!(key(&test, "portal-tls").await, pair.spki_der());
    assert_eq!(certified_key(&test, "portal-tls").await, pair.spki_der());
    // Without its key a new certificate would have no room in that Secret.
    test.patch("Secret", "mine", json!({"data": {"tls.key": null}})).await;
    test.renew("portal", "1").await;
    let message = test.until_issuing("portal", "SecretNotOurs").await;
    assert_says(&message, &["Secret portal-tls is of type kubernetes.io/tls", "Secret mine"]);
    assert_eq!(condition(&test.get("portal").await, "Ready").expect("a condition").0, "True");
    assert_eq!(test.site.issued().await.len(), 1);
    test.put(secret).await;
    test.until_revision("portal", 2).await;
}

#[tokio::test]
async fn a_csr_that_cannot_be_used_is_named_with_what_to_do() {
    let test = Test::with_issuer("csr-unfit").await;
    let key = rsa();
    let good = csr_secret(&test, "mine", &key);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut secret = good.clone();
        secret["metadata"]["name"] = json!("unfit");
        change(&mut secret);
        secret
    };
    let set = |entry: &'static str, text: String| {
        move |secret: &mut Value| secret["stringData"][entry] = json!(text)
    };
    let other = rsa().to_pkcs8_pem().expose_secret().to_owned();
    let cases = [
        (
            with(&|secret| secret["metadata"]["labels"] = json!({})),
            "does not allow its use for a CSR: kubectl label secret -n csr-unfit unfit chancery.dev/credentials=true",
        ),
        (
            with(&|secret| secret["stringData"] = json!({"other": "x"})),
            "key tls.csr of Secret csr-unfit/unfit (spec.csrSecretRef) does not exist: add it",
        ),
        (with(&set("tls.csr", other.clone())), "there is no certification request"),
        (with(&set("tls.key", other)), "is not the key of the CSR beside it"),
        (with(&set("tls.key", "no key".to_owned())), "there is no private key"),
    ];
    test.put(for_csr(&test, "portal", "unfit")).await;
    let says = "Secret csr-unfit/unfit (spec.csrSecretRef) does not exist: create it";
    test.until_issuing_says("portal", "CsrUnusable", &[says]).await;
    for (secret, says) in cases {
        if test.read("Secret", "unfit").await.is_some() {
            test.delete("Secret", "unfit").await;
        }
        test.create(secret).await.expect("taken");
        // Nobody tells of a Secret without the label; an edit of the request does.
        test.renew("portal", says).await;
        test.until_issuing_says("portal", "CsrUnusable", &[says]).await;
    }
    let elliptic = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
    test.delete("Secret", "unfit").await;
    test.put(csr_secret(&test, "unfit", &elliptic)).await;
    let says = ["key in the CSR of Secret unfit, which is Ed25519", "keyAlgorithms of the issuer"];
    test.until_issuing_says("portal", "NotSupportedByCa", &says).await;
    assert_eq!(test.certificate_calls().await, 0);
    // The Secret is watched: mended, the next attempt is made at once.
    test.put(csr_secret(&test, "unfit", &key)).await;
    test.until_ready("portal").await;
}

#[tokio::test]
async fn of_two_requests_for_one_secret_the_older_has_it() {
    let test = Test::with_fast_issuer("rivals").await;
    test.put(test.request("first")).await;
    test.until_ready("first").await;
    let before = version(&test, "first-tls").await;
    let mut second = test.request("second");
    second["spec"]["secretName"] = json!("first-tls");
    test.put(second).await;
    let message = test.until_issuing("second", "SecretNotOurs").await;
    assert_says(&message, &["Secret first-tls", "CertificateRequest first", "spec.secretName"]);
    assert_eq!(condition(&test.get("second").await, "Stalled").expect("stalled").0, "True");
    assert_eq!(version(&test, "first-tls").await, before);
    assert_eq!(test.site.issued().await.len(), 1);
    // The Secret stays with the name of the first: it has to be cleared away too.
    test.delete("CertificateRequest", "first").await;
    test.delete("Secret", "first-tls").await;
    test.until_ready("second").await;
    assert_eq!(test.site.issued().await.len(), 2);
}

#[tokio::test]
async fn of_two_requests_that_wait_for_one_secret_the_younger_is_told_which() {
    let test = Test::new("rivals-waiting").await;
    test.put(test.request("a-first")).await;
    test.until_issuing("a-first", "IssuerNotFound").await;
    let mut second = test.request("b-second");
    second["spec"]["secretName"] = json!("a-first-tls");
    test.put(second).await;
    let message = test.until_issuing("b-second", "SecretNameTaken").await;
    assert_says(
        &message,
        &[
            "CertificateRequest a-first already has spec.secretName a-first-tls",
            "delete one of the two",
        ],
    );
    assert_eq!(condition(&test.get("b-second").await, "Stalled").expect("stalled").0, "True");
    test.delete("CertificateRequest", "a-first").await;
    test.until_issuing("b-second", "IssuerNotFound").await;
    test.put(test.credentials("credentials", "testuser", "changeme")).await;
    test.put(test.issuer().await).await;
    test.until_ready("b-second").await;
    assert_eq!(test.site.issued().await.len(), 1);
}

#[tokio::test]
async fn a_secret_that_is_not_ours_is_never_touched() {
    let test = Test::with_fast_issuer("foreign").await;
    let foreign = |name: &str, kind: &str, annotations: Value, immutable: bool| {
        let mut secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": {"name": format!("{name}-tls"), "namespace": test.namespace, "annotations": annotations},
            "stringData": {"tls.key": "a", "tls.crt": "b"},
        });
        if immutable {
            secret["immutable"] = json!(true);
        }
        secret
    };
    let ours = |name: &str| json!({"chancery.dev/certificate-request": name});
    let cases = [
        (
            "tls",
            foreign("tls", "kubernetes.io/tls", json!({}), false),
            "Secret tls-tls exists and is not Chancery's",
        ),
        (
            "opaque",
            foreign("opaque", "Opaque", ours("opaque"), false),
            "Secret opaque-tls exists with type Opaque, not kubernetes.io/tls",
        ),
        (
            "fixed",
            foreign("fixed", "kubernetes.io/tls", ours("fixed"), true),
            "Secret fixed-tls is immutable",
        ),
        (
            "other",
            foreign("other", "kubernetes.io/tls", ours("somebody"), false),
            "holds the certificate of CertificateRequest somebody",
        ),
    ];
    let advice = "it was not touched; delete it, or choose another spec.secretName";
    for (name, secret, part) in cases {
        test.create(secret).await.expect("taken");
        let before = version(&test, &format!("{name}-tls")).await;
        test.put(test.request(name)).await;
        let message = test.until_issuing(name, "SecretNotOurs").await;
        assert_says(
            &message,
            &[part, if name == "fixed" { "delete it, and it is created again" } else { advice }],
        );
        let request = test.get(name).await;
        assert_eq!(condition(&request, "Stalled").expect("stalled").0, "True");
        assert_eq!(condition(&request, "Ready").expect("a condition").0, "False");
        assert_eq!(version(&test, &format!("{name}-tls")).await, before, "{name}");
    }
    assert_eq!(test.certificate_calls().await, 0);
    // The message says what to do, and doing it is enough.
    test.delete("Secret", "tls-tls").await;
    test.until_ready("tls").await;
}

#[tokio::test]
async fn a_request_deleted_while_the_ca_thinks_leaves_no_secret() {
    let test = Test::with_fast_issuer("deleted").await;
    let delay =
        json!({"operation": "certificate", "kind": "delay", "seconds": 2.0, "afterCommit": true});
    test.site.fault(delay).await;
    test.put(test.request("portal")).await;
    let mut waited = 0;
    while test.site.issued().await.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        waited += 1;
        assert!(waited < 400, "the CA was never asked");
    }
    test.delete("CertificateRequest", "portal").await;
    // Until the answer has been given and dealt with.
    while test.site.requests().await["inFlight"] != 0 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    test.a_moment_passes().await;
    assert!(test.read("Secret", "portal-tls").await.is_none());
    assert_eq!(test.site.issued().await.len(), 1);
}

#[tokio::test]
async fn the_secret_outlives_its_request_and_is_taken_up_again() {
    let test = Test::with_fast_issuer("adopted").await;
    test.put(test.request("portal")).await;
    let certificate = test.until_ready("portal").await.status.and_then(|status| status.certificate);
    let before = test.secret("portal-tls").await;
    assert_eq!(before.metadata.owner_references, None);
    assert_eq!(before.metadata.finalizers, None);
    test.delete("CertificateRequest", "portal").await;
    test.a_moment_passes().await;
    assert_eq!(test.secret("portal-tls").await, before, "nobody touched it");
    test.put(test.request("portal")).await;
    let status = test.until_ready("portal").await.status.expect("a status");
    assert_eq!(test.site.issued().await.len(), 1, "the CA was not asked again");
    let found = status.certificate.expect("a certificate");
    assert_eq!(Some(found.fingerprint_sha256), certificate.map(|one| one.fingerprint_sha256));
    assert_eq!(status.revision, Some(1));
    assert_eq!(test.secret("portal-tls").await.data, before.data);
}

#[tokio::test]
async fn a_suspended_request_asks_nothing_and_keeps_what_it_has() {
    let test = Test::with_fast_issuer("suspended").await;
    let suspend = |suspend: Value| json!({"spec": {"suspend": suspend}});
    let mut request = test.request("portal");
    request["spec"]["suspend"] = json!(true);
    test.create(request).await.expect("taken");
    let message = test.until_issuing("portal", "Suspended").await;
    assert_says(&message, &["there is no certificate yet", "spec.suspend is true"]);
    let request = test.get("portal").await;
    assert_eq!(condition(&request, "Ready").expect("a condition").0, "False");
    assert_eq!(condition(&request, "Issuing").expect("a condition").0, "False");
    let stalled = condition(&request, "Stalled").expect("or who waits for Ready waits for ever");
    assert_eq!((stalled.0.as_str(), stalled.1.as_str()), ("True", "Suspended"));
    assert_eq!(test.certificate_calls().await, 0);
    test.patch("CertificateRequest", "portal", suspend(Value::Null)).await;
    test.until_ready("portal").await;
    test.patch("CertificateRequest", "portal", suspend(json!(true))).await;
    test.renew("portal", "1").await;
    let message = test.until_issuing("portal", "Suspended").await;
    assert_says(&message, &["a renewal was requested", "spec.suspend is true"]);
    let request = test.get("portal").await;
    assert_eq!(condition(&request, "Ready").expect("a condition").0, "True");
    assert_eq!(condition(&request, "Stalled"), None, "what is delivered is valid");
    assert_eq!(test.site.issued().await.len(), 1);
    test.patch("CertificateRequest", "portal", suspend(json!(false))).await;
    test.until_revision("portal", 2).await;
}

#[tokio::test]
async fn each_new_nonce_renews_once() {
    let test = Test::with_fast_issuer("nonce").await;
    test.put(test.request("portal")).await;
    test.until_revision("portal", 1).await;
    test.renew("portal", "1").await;
    test.until_revision("portal", 2).await;
    test.renew("portal", "1").await;
    test.patch("CertificateRequest", "portal", json!({"metadata": {"labels": {"a": "b"}}})).await;
    test.patch(
        "CertificateRequest",
        "portal",
        json!({"metadata": {"annotations": {"chancery.dev/renew": null}}}),
    )
    .await;
    test.a_moment_passes().await;
    test.renew("portal", "1").await;
    test.a_moment_passes().await;
    assert_eq!(
        test.site.issued().await.len(),
        2,
        "it was used up, and taking it away asks nothing"
    );
    test.renew("portal", "2").await;
    test.until_revision("portal", 3).await;
    assert_eq!(test.site.issued().await.len(), 3);
    for revision in 1..=3 {
        let part = format!("revision {revision} delivered to Secret portal-tls");
        test.until_told("portal", "Issued", &part).await;
    }
}

#[tokio::test]
async fn the_key_rotates_unless_it_is_told_not_to() {
    let test = Test::with_fast_issuer("rotation").await;
    let mut never = ecdsa(&test, "never");
    never["spec"]["privateKey"]["rotationPolicy"] = json!("Never");
    test.put(never).await;
    test.put(ecdsa(&test, "always")).await;
    test.until_ready("never").await;
    test.until_ready("always").await;
    let (never, always) = (key(&test, "never-tls").await, key(&test, "always-tls").await);
    test.renew("never", "1").await;
    test.renew("always", "1").await;
    test.until_revision("never", 2).await;
    test.until_revision("always", 2).await;
    assert_eq!(key(&test, "never-tls").await, never);
    assert_ne!(key(&test, "always-tls").await, always);
    // A key of another kind than asked for cannot be kept.
    let patch = json!({"spec": {"privateKey": {"size": 384}}});
    test.patch("CertificateRequest", "never", patch).await;
    let status = test.until_revision("never", 3).await.status.expect("a status");
    assert_ne!(key(&test, "never-tls").await, never);
    assert_says(&status.certificate.expect("a certificate").private_key, &["384"]);
}

#[tokio::test]
async fn an_edit_of_what_the_certificate_says_issues_another_for_that_reason() {
    let test = Test::with_fast_issuer("edits").await;
    let mut other = test.issuer().await;
    other["metadata"]["name"] = json!("other");
    other["spec"]["onlineCa"]["keyAlgorithms"] = json!(["ECDSA", "RSA"]);
    test.put(other).await;
    test.put(test.credentials("mine", "testuser", "changeme")).await;
    test.put(test.request("portal")).await;
    test.until_revision("portal", 1).await;
    let edits = [
        (
            json!({"privateKey": {"algorithm": "ECDSA", "size": 384}}),
            "KeyKindChanged",
            "another kind of private key",
        ),
        (
            json!({"onlineCa": {"credentialsSecretRef": {"name": "mine"}}}),
            "InputsDiffer",
            "credentials",
        ),
    ];
    // Suspended, the reason stands still for a look.
    for (edit, _, part) in edits {
        let revision =
            test.get("portal").await.status.and_then(|status| status.revision).expect("one");
        test.patch("CertificateRequest", "portal", json!({"spec": {"suspend": true}})).await;
        test.until("portal", "resting", |request| {
            request.status.as_ref().is_some_and(|status| {
                Some(status.observed_generation) == request.metadata.generation
            })
        })
        .await;
        test.patch("CertificateRequest", "portal", json!({"spec": edit})).await;
        test.until_issuing_says("portal", "Suspended", &[part]).await;
        test.patch("CertificateRequest", "portal", json!({"spec": {"suspend": null}})).await;
        test.until_revision("portal", revision + 1).await;
    }
    test.patch("CertificateRequest", "portal", json!({"spec": {"issuerRef": {"name": "other"}}}))
        .await;
    test.a_moment_passes().await;
    assert_eq!(test.site.issued().await.len(), 3, "one for each edit, none for another issuer");
    // Which user the issuer speaks for is part of the certificate too.
    test.site
        .configure(json!({"minKeyBits": 256, "users": {"testuser": "changeme", "ada": "lovelace"}}))
        .await;
    test.put(test.request("account")).await;
    test.until_ready("account").await;
    test.put(test.credentials("credentials", "ada", "lovelace")).await;
    let status = test.until_revision("account", 2).await.status.expect("a status");
    assert_eq!(status.certificate.and_then(|one| one.common_name).as_deref(), Some("ada"));
}

#[tokio::test]
async fn the_template_follows_its_edits_and_leaves_foreign_labels_alone() {
    let test = Test::with_fast_issuer("template").await;
    let mut request = test.request("portal");
    request["spec"]["secretTemplate"] =
        json!({"labels": {"app": "a", "tier": "web"}, "annotations": {"example.org/owner": "ada"}});
    test.put(request.clone()).await;
    test.until_ready("portal").await;
    let data = test.secret("portal-tls").await.data;
    test.patch(
        "Secret",
        "portal-tls",
        json!({"metadata": {"labels": {"theirs": "x"}, "annotations": {"theirs": "y"}}}),
    )
    .await;
    let is_so = async |wish: &str, fits: &dyn Fn(&Value, &Value) -> bool| {
        let mut looks = 0;
        loop {
            let secret = test.read("Secret", "portal-tls").await.expect("the Secret");
            let (labels, annotations) =
                (&secret["metadata"]["labels"], &secret["metadata"]["annotations"]);
            if fits(labels, annotations) {
                assert_eq!(labels["theirs"], "x");
                assert_eq!(annotations["theirs"], "y");
                assert_eq!(labels["chancery.dev/managed"], "true");
                return;
            }
            looks += 1;
            assert!(looks < 200, "never {wish}: {labels} {annotations}\n{}", test.operator_log());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    is_so("as asked", &|labels, annotations| {
        labels["app"] == "a" && labels["tier"] == "web" && annotations["example.org/owner"] == "ada"
    })
    .await;
    let edit = json!({"spec": {"secretTemplate": {"labels": {"app": "b", "tier": null}, "annotations": {"example.org/team": "c"}}}});
    test.patch("CertificateRequest", "portal", edit).await;
    is_so("as edited", &|labels, annotations| {
        labels["app"] == "b" && labels["tier"].is_null() && annotations["example.org/team"] == "c"
    })
    .await;
    test.patch("CertificateRequest", "portal", json!({"spec": {"secretTemplate": null}})).await;
    is_so("without a template", &|labels, annotations| {
        labels["app"].is_null()
            && annotations["example.org/owner"].is_null()
            && annotations["example.org/team"].is_null()
    })
    .await;
    let status = test.until_ready("portal").await.status.expect("a status");
    assert_eq!(status.revision, Some(1));
    assert_eq!(test.site.issued().await.len(), 1, "labels are no reason to ask the CA");
    assert_eq!(test.secret("portal-tls").await.data, data);
}

#[tokio::test]
async fn a_renewal_time_beyond_the_lifetime_falls_back_and_says_so() {
    let test = Test::with_fast_issuer("fallback").await;
    let mut request = test.request("portal");
    request["spec"]["renewBefore"] = json!("8760h");
    test.put(request).await;
    let request = test.until_ready("portal").await;
    let (_, _, message) = condition(&request, "Ready").expect("a condition");
    assert_says(
        &message,
        &[
            "spec.renewBefore is not shorter than the certificate's lifetime",
            "a third of the lifetime is used instead",
        ],
    );
    let status = request.status.expect("a status");
    let certificate = status.certificate.expect("a certificate");
    let (start, end) = (certificate.not_before.0.as_second(), certificate.not_after.0.as_second());
    let renews = status.renewal_time.expect("a time").0.as_second();
    let left = (end - renews) as f64 / (end - start) as f64;
    assert!((0.33..0.39).contains(&left), "{left} of the lifetime is left");
    test.patch("CertificateRequest", "portal", json!({"spec": {"renewBefore": "1h"}})).await;
    let request = test
        .until("portal", "renewing an hour before", |request| {
            condition(request, "Ready")
                .is_some_and(|(_, _, message)| !message.contains("renewBefore"))
        })
        .await;
    let renews =
        request.status.and_then(|status| status.renewal_time).expect("a time").0.as_second();
    assert!((3600..3600 + (end - start) / 20 + 1).contains(&(end - renews)));
    assert_eq!(test.site.issued().await.len(), 1);
}

#[tokio::test]
async fn a_certificate_that_ends_while_suspended_is_no_longer_ready() {
    let test = Test::with_fast_issuer("expired").await;
    test.site.configure(json!({"minKeyBits": 256, "lifetimeSeconds": 6})).await;
    test.put(test.request("portal")).await;
    test.until_ready("portal").await;
    test.patch("CertificateRequest", "portal", json!({"spec": {"suspend": true}})).await;
    let request = test
        .until("portal", "Expired", |request| {
            condition(request, "Ready").is_some_and(|(_, reason, _)| reason == "Expired")
        })
        .await;
    let (holds, _, message) = condition(&request, "Ready").expect("a condition");
    assert_eq!(holds, "False");
    assert_says(&message, &["the certificate expired at", "spec.suspend is true"]);
    test.site.configure(json!({"minKeyBits": 256})).await;
    test.patch("CertificateRequest", "portal", json!({"spec": {"suspend": false}})).await;
    test.until_ready("portal").await;
}

#[tokio::test]
async fn renewals_come_before_the_end_and_never_without_a_pair() {
    let test = Test::with_fast_issuer("renewals").await;
    test.site.configure(json!({"minKeyBits": 256, "lifetimeSeconds": 9})).await;
    let mut request = test.request("portal");
    request["spec"]["renewBeforePercentage"] = json!(60);
    test.put(request).await;
    test.until_ready("portal").await;
    let mut seen = BTreeSet::new();
    let mut looks = 0;
    while seen.len() < 3 {
        let secret = test.secret("portal-tls").await;
        let data = secret.data.expect("data");
        let key = PrivateKey::from_pem(&data["tls.key"].0).expect("a key");
        let chain = parse_pem(&data["tls.crt"].0).expect("a chain");
        assert_eq!(chain[0].spki_der(), key.spki_der(), "certificate and key belong together");
        assert!(chain[0].not_after() > jiff::Timestamp::now(), "it is valid still");
        assert!(!data["ca.crt"].0.is_empty());
        let request = test.get("portal").await;
        assert_eq!(condition(&request, "Ready").expect("a condition").0, "True");
        seen.insert(chain[0].fingerprint_sha256().to_owned());
        looks += 1;
        assert!(looks < 600, "it was never renewed: {seen:?}\n{}", test.operator_log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let status = test.until_revision("portal", 3).await.status.expect("a status");
    assert!(status.revision <= Some(4));
    let issued = test.site.issued().await.len();
    assert!((3..=4).contains(&issued), "{issued} certificates for 3 revisions");
}
