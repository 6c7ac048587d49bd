//! Issuers that do not work, what they say, and how they come to work.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::world::{Test, assert_says, condition, issuing, world};

/// A port on which nobody listens.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a loopback port")
        .port()
}

/// The command in a message, as somebody would copy it.
fn command(message: &str) -> Vec<String> {
    let start = message.find("kubectl ").unwrap_or_else(|| panic!("no command in: {message}"));
    let line = message[start..].split(" (tried again").next().unwrap_or_default();
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

/// Runs the command that a message prints.
fn obey(message: &str) {
    let command = command(message);
    world()
        .plane
        .kubectl(command.iter().map(String::as_str))
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
}

#[tokio::test]
async fn a_bundle_that_cannot_be_the_right_one_is_told_of_before_anything_is_issued() {
    let test = Test::new("issuer-apart").await;
    test.put(test.credentials("credentials", "testuser", "changeme")).await;
    let right = test.issuer().await;
    let mut wrong = right.clone();
    let another = test.world.simulator.online_ca("issuer-apart-from");
    wrong["spec"]["trust"]["bundle"]["pem"] = json!(another.root_pem().await);
    test.put(wrong).await;
    let message = test.until_issuer_ready("ca").await;
    let parts = ["none of the roots that the CA serves is trusted", "SHA-256", "spec.trust"];
    assert_says(&message, &parts);
    test.put(right).await;
    let is_silent = |status: &str, _: &str, message: &str| {
        status == "True" && !message.contains("none of the roots")
    };
    test.issuer_condition("ca", is_silent).await;
}

#[tokio::test]
async fn a_request_for_an_unknown_issuer_waits_for_it() {
    let test = Test::new("issuer-unknown").await;
    test.put(test.request("portal")).await;
    let message = test.until_issuing("portal", "IssuerNotFound").await;
    assert_says(&message, &["Issuer ca does not exist", "create it", "spec.issuerRef"]);
    let request = test.get("portal").await;
    let ready = condition(&request, "Ready").expect("a condition");
    assert_eq!((ready.0.as_str(), ready.1.as_str()), ("False", "IssuerNotFound"));
    assert_eq!(condition(&request, "Stalled"), None, "it moves on by itself");
    assert_eq!(test.site.requests().await["operations"], json!({}), "nobody was asked");
    test.put(test.credentials("credentials", "testuser", "changeme")).await;
    test.put(test.issuer().await).await;
    let request = test.until_ready("portal").await;
    assert_eq!(request.status.expect("a status").revision, Some(1));
    assert_eq!(test.site.issued().await.len(), 1);
}

#[tokio::test]
async fn a_ca_that_does_not_answer_as_it_should_is_waited_for() {
    let status = |status: u16| json!({"kind": "status", "status": status, "body": "sorry"});
    let cases = [
        (
            "roots-500",
            status(500),
            "ServerError",
            false,
            vec!["500 Internal Server Error", "\"sorry\""],
        ),
        (
            "roots-404",
            status(404),
            "AddressUnknown",
            true,
            vec!["404 Not Found", "spec.onlineCa", "trailing slash"],
        ),
        (
            "roots-html",
            json!({"kind": "htmlBody"}),
            "UnexpectedAnswer",
            true,
            vec!["name=base64", "spec.onlineCa.trustRootsUrl"],
        ),
        (
            "roots-hang",
            json!({"kind": "hang"}),
            "NoAnswer",
            false,
            vec!["localhost", "no complete answer came within 4 s"],
        ),
        (
            "roots-moved",
            json!({"kind": "redirect", "location": "https://elsewhere.example/"}),
            "Redirected",
            true,
            vec!["302 Found", "redirects are not followed"],
        ),
        (
            "roots-huge",
            json!({"kind": "hugeBody", "bytes": 5_000_000}),
            "NoAnswer",
            false,
            vec!["longer than"],
        ),
    ];
    join_all(cases.map(async |(name, mut fault, reason, needs_a_person, parts)| {
        let test = Test::new(name).await;
        fault["operation"] = json!("trustroots");
        fault["times"] = json!(0);
        test.site.fault(fault).await;
        test.put(test.credentials("credentials", "testuser", "changeme")).await;
        test.put(test.issuer().await).await;
        test.put(test.request("portal")).await;
        let message = test.until_issuer_fails("ca", reason).await;
        assert_says(&message, &parts);
        assert_says(
            &message,
            &["tried again within 5 seconds, or when issuer or credentials change"],
        );
        assert_eq!(test.issuer_is_stalled("ca").await, needs_a_person, "{name}: {message}");
        test.until_issuing_says("portal", "IssuerNotReady", &["Issuer ca is not ready: "]).await;
        test.until_issuing_says("portal", "IssuerNotReady", &parts).await;
        assert_eq!(condition(&test.get("portal").await, "Stalled"), None);
        assert_eq!(test.certificate_calls().await, 0, "{name}: nothing was asked for");
        test.site.clear_faults().await;
        test.until_ready("portal").await;
        assert_eq!(test.site.issued().await.len(), 1, "{name}");
        assert!(!test.issuer_is_stalled("ca").await, "{name}");
    }))
    .await;
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_told_and_corrected() {
    let test = Test::new("issuer-closed").await;
    let mut issuer = test.issuer().await;
    let port = closed_port();
    let closed = format!("https://localhost:{port}/roots/");
    issuer["spec"]["onlineCa"]["trustRootsUrl"] = json!(closed);
    test.put(test.credentials("credentials", "testuser", "changeme")).await;
    test.put(issuer).await;
    test.put(test.request("portal")).await;
    let message = test.until_issuer_fails("ca", "Unreachable").await;
    assert_says(&message, &[&format!("localhost:{port} could not be reached"), "refused"]);
    assert!(!test.issuer_is_stalled("ca").await, "it may pass by itself");
    let roots = test.site.trust_roots_url();
    test.patch("Issuer", "ca", json!({"spec": {"onlineCa": {"trustRootsUrl": roots}}})).await;
    test.until_ready("portal").await;
}

#[tokio::test]
async fn a_certificate_url_where_nobody_listens_keeps_its_reason() {
    let test = Test::new("certificate-closed").await;
    let mut issuer = test.issuer().await;
    let port = closed_port();
    let closed = format!("https://localhost:{port}/certificate/");
    issuer["spec"]["onlineCa"]["certificateUrl"] = json!(closed);
    let mut credentials = test.credentials("credentials", "testuser", "changeme");
    let place = format!("localhost:{port}");
    credentials["metadata"]["annotations"]["chancery.dev/hosts"] = json!(place);
    test.put(credentials).await;
    test.put(issuer).await;
    test.until_issuer_ready("ca").await;
    test.put(test.request("portal")).await;
    test.until_issuing("portal", "Unreachable").await;
    // Its own status wakes it, and what it then says must be the same.
    test.patch("CertificateRequest", "portal", json!({"metadata": {"labels": {"a": "b"}}})).await;
    test.a_moment_passes().await;
    let request = test.get("portal").await;
    let (_, reason, message) = condition(&request, "Issuing").expect("a condition");
    assert_eq!(reason, "Unreachable");
    let unreachable = format!("localhost:{port} could not be reached");
    assert_says(&message, &[&unreachable, "the next is at"]);
    assert!(request.status.expect("a status").next_attempt_time.is_some());
}

#[tokio::test]
async fn a_server_that_the_system_does_not_trust_needs_its_root() {
    let test = Test::new("issuer-tls").await;
    let mut issuer = test.issuer().await;
    let tls = issuer["spec"]["tls"].take();
    issuer["spec"].as_object_mut().expect("a spec").remove("tls");
    test.put(test.credentials("credentials", "testuser", "changeme")).await;
    test.put(issuer).await;
    test.put(test.request("portal")).await;
    let message = test.until_issuer_fails("ca", "ServerNotTrusted").await;
    assert_says(&message, &["TLS root", "spec.tls.caBundle of the issuer"]);
    assert!(test.issuer_is_stalled("ca").await, "a person must act");
    test.until_issuing_says(
        "portal",
        "IssuerNotReady",
        &["Issuer ca is not ready", "spec.tls.caBundle"],
    )
    .await;
    test.patch("Issuer", "ca", json!({"spec": {"tls": tls}})).await;
    test.until_ready("portal").await;
}

#[tokio::test]
async fn credentials_that_are_missing_are_named_one_after_the_other() {
    let test = Test::new("credentials-steps").await;
    test.put(test.issuer().await).await;
    test.put(test.request("portal")).await;
    let fails = async |part: &str| {
        test.issuer_condition("ca", |status, reason, message| {
            status == "False" && reason == "CredentialsUnusable" && message.contains(part)
        })
        .await
    };
    let message = fails("does not exist").await;
    assert_says(
        &message,
        &[
            "Secret credentials-steps/credentials does not exist: create it with the keys username and password",
        ],
    );
    assert!(test.issuer_is_stalled("ca").await);
    let mut secret = test.credentials("credentials", "testuser", "changeme");
    secret["stringData"] = json!({"username": "testuser"});
    test.put(secret.clone()).await;
    assert_says(
        &fails("has no key password").await,
        &["Secret credentials-steps/credentials", "add it"],
    );
    secret["stringData"]["password"] = json!("changeme\n");
    test.put(secret).await;
    test.until_ready("portal").await;
    assert_eq!(test.site.issued().await.len(), 1, "the line end is no part of the password");
}

#[tokio::test]
async fn a_secret_opts_in_by_the_commands_that_the_condition_prints() {
    let test = Test::new("credentials-opt-in").await;
    test.put(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "credentials", "namespace": test.namespace},
        "stringData": {"username": "testuser", "password": "changeme"},
    }))
    .await;
    test.put(test.issuer().await).await;
    test.put(test.request("portal")).await;
    let message = test
        .issuer_condition("ca", |_, reason, message| {
            reason == "CredentialsUnusable" && message.contains("kubectl label")
        })
        .await;
    assert_says(
        &message,
        &["Secret credentials-opt-in/credentials does not allow its use as credentials"],
    );
    obey(&message);
    let message = test
        .issuer_condition("ca", |_, reason, message| {
            reason == "CredentialsUnusable" && message.contains("kubectl annotate")
        })
        .await;
    assert_says(&message, &["does not allow its content to be sent to localhost"]);
    test.until_issuing_says("portal", "IssuerNotReady", &["kubectl annotate"]).await;
    assert_eq!(test.certificate_calls().await, 0);
    obey(&message);
    test.until_ready("portal").await;
}

#[tokio::test]
async fn a_secret_for_another_host_keeps_that_host_when_ours_is_added() {
    let test = Test::new("credentials-hosts").await;
    let mut secret = test.credentials("credentials", "testuser", "changeme");
    secret["metadata"]["annotations"]["chancery.dev/hosts"] =
        json!("ca.example.org, localhost.example.org, $(reboot)");
    test.put(secret).await;
    test.put(test.issuer().await).await;
    test.put(test.request("portal")).await;
    let message = test.until_issuer_fails("ca", "CredentialsUnusable").await;
    obey(&message);
    test.until_ready("portal").await;
    let hosts = test.secret("credentials").await.metadata.annotations.expect("annotations");
    let hosts: Vec<&str> = hosts["chancery.dev/hosts"].split(',').map(str::trim).collect();
    let here = test.world.simulator.opt_in();
    let here = here["chancery.dev/hosts"].as_str().expect("a host");
    assert_eq!(hosts, ["ca.example.org", "localhost.example.org", here]);
}

#[tokio::test]
async fn wrong_credentials_are_sent_once_and_not_for_each_request() {
    let test = Test::new("credentials-wrong").await;
    test.site.configure(json!({"minKeyBits": 256})).await;
    test.put(test.credentials("credentials", "testuser", "not-this-one")).await;
    let mut issuer = test.issuer().await;
    issuer["spec"]["onlineCa"]["keyAlgorithms"] = json!(["ECDSA", "RSA"]);
    test.put(issuer).await;
    // The check sends no password, and claims nothing of it.
    let answers = test.until_issuer_ready("ca").await;
    assert_says(&answers, &["the CA of ", "credentials are not tried before"]);
    let all: Vec<String> = (1..=12).map(|number| format!("r{number}")).collect();
    join_all(all.iter().map(|name| test.put(test.request(name)))).await;
    let message = test.until_issuer_fails("ca", "CredentialsRefused").await;
    assert_says(
        &message,
        &[
            "/online-ca/credentials-wrong/certificate/",
            "401",
            "check username and password in Secret credentials-wrong/credentials",
        ],
    );
    assert!(!message.contains("not-this-one"), "{message}");
    assert!(test.issuer_is_stalled("ca").await);
    for name in &all {
        test.until_issuing_says(name, "IssuerNotReady", &["Issuer ca is not ready", "401"]).await;
    }
    // Accounts are locked after few wrong passwords.
    assert_eq!(test.certificate_calls().await, 1, "the first to try tries for all");
    // Who brings credentials of their own is not held up.
    test.put(test.credentials("mine", "testuser", "changeme")).await;
    let mut own = test.request("own");
    own["spec"]["onlineCa"] = json!({"credentialsSecretRef": {"name": "mine"}});
    test.put(own).await;
    test.until_ready("own").await;
    test.put(test.request("late")).await;
    test.until_issuing("late", "IssuerNotReady").await;
    test.renew("r1", "now").await;
    test.a_moment_passes().await;
    assert_eq!(test.certificate_calls().await, 2, "the refused password is not sent again");
    test.put(test.credentials("credentials", "testuser", "changeme")).await;
    for name in all.iter().map(String::as_str).chain(["late"]) {
        test.until_ready(name).await;
    }
    assert_eq!(test.site.issued().await.len(), 14);
    assert!(!test.issuer_is_stalled("ca").await);
}

#[tokio::test]
async fn a_password_the_server_would_misread_is_not_sent() {
    let test = Test::new("credentials-colon").await;
    test.site.configure(json!({"flavour": "django", "users": {"testuser": "a:b"}})).await;
    test.put(test.credentials("credentials", "testuser", "a:b")).await;
    test.put(test.issuer().await).await;
    test.put(test.request("portal")).await;
    let message = test.until_issuer_fails("ca", "CredentialsUnusable").await;
    assert_says(
        &message,
        &["password holds a ':'", "spec.onlineCa.basicSplit: LastColon", "FirstColon"],
    );
    test.until_issuing("portal", "IssuerNotReady").await;
    assert_eq!(test.site.requests().await["operations"], json!({}), "nothing was sent");
    test.patch("Issuer", "ca", json!({"spec": {"onlineCa": {"basicSplit": "FirstColon"}}})).await;
    test.until_ready("portal").await;
}

/// A root that the TLS stack cannot take: its two AlgorithmIdentifiers differ.
fn odd_root() -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Odd Root");
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut der = params.self_signed(&key).expect("a root").der().to_vec();
    let ecdsa_with_sha256 = b"\x2a\x86\x48\xce\x3d\x04\x03\x02";
    let length = ecdsa_with_sha256.len();
    let outer = der.windows(length).rposition(|window| window == ecdsa_with_sha256);
    der[outer.expect("the outer one") + length - 1] = 3;
    chancery::pki::Certificate::from_der(&der).expect("a certificate").to_pem()
}

#[tokio::test]
async fn an_odd_root_is_left_out_of_both_bundles_with_a_remark() {
    let test = Test::new("odd-root").await;
    let (odd, root) = (odd_root(), test.site.root_pem().await);
    let tls_root = world().simulator.tls_root();
    let mut issuer = test.issuer().await;
    issuer["spec"]["tls"] = json!({"caBundle": {"pem": format!("{odd}{tls_root}")}});
    issuer["spec"]["trust"] = json!({
        "bundle": {"pem": format!("# below -----BEGIN CERTIFICATE----- is base64\n{root}{odd}")},
        "preferredRoot": "CN=Nobody",
    });
    test.put(test.credentials("credentials", "testuser", "changeme")).await;
    test.put(issuer).await;
    test.put(test.request("portal")).await;
    test.until_ready("portal").await;
    assert_eq!(test.entry("portal-tls", "ca.crt").await, root);
    let message = test.until_issuer_ready("ca").await;
    assert_says(
        &message,
        &[
            "spec.tls.caBundle.pem (spec.tls.caBundle): block 1, CN=Odd Root, is left out: it names",
            "spec.trust.bundle.pem (spec.trust.bundle): block 2, CN=Odd Root, is left out: it names",
            "spec.trust.preferredRoot is neither",
        ],
    );
    let mut spoiled = test.issuer().await;
    spoiled["spec"]["trust"] = json!({"bundle": {"pem": odd}});
    test.patch("Issuer", "ca", json!({"spec": {"trust": spoiled["spec"]["trust"].clone()}})).await;
    let message = test.until_issuer_fails("ca", "BundleUnusable").await;
    assert_says(&message, &["holds no certificate that can be used", "CN=Odd Root"]);
}

#[tokio::test]
async fn a_cluster_issuer_finds_its_secrets_where_the_operator_is() {
    let test = Test::new("cluster-issuer").await;
    let root = test.site.root_pem().await;
    let at_operator = |mut object: Value| {
        object["metadata"]["namespace"] = json!("chancery");
        object
    };
    // The same name, with a password that is wrong: it must not be this one.
    test.put(test.credentials("of-all", "testuser", "wrong")).await;
    test.put(at_operator(test.credentials("of-all", "testuser", "changeme"))).await;
    test.put(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "roots-of-all", "namespace": "chancery"},
        "data": {"tls.crt": world().simulator.tls_root(), "ca.crt": root},
    }))
    .await;
    let mut issuer = test.issuer().await;
    issuer["kind"] = json!("ClusterIssuer");
    issuer["metadata"] = json!({"name": "all"});
    issuer["spec"]["allow"] = json!({
        "namespaces": {}, "ownCredentials": true, "keyTypes": ["RSA 2048", "ECDSA P-256"],
    });
    issuer["spec"]["onlineCa"]["credentialsSecretRef"]["name"] = json!("of-all");
    issuer["spec"]["tls"] =
        json!({"caBundle": {"configMapRef": {"name": "roots-of-all", "key": "tls.crt"}}});
    issuer["spec"]["trust"] = json!({"bundle": {"configMapRef": {"name": "roots-of-all"}}});
    test.put(issuer).await;
    let mut request = test.request("portal");
    request["spec"]["issuerRef"] = json!({"kind": "ClusterIssuer", "name": "all"});
    test.put(request).await;
    test.until_ready("portal").await;
    assert_eq!(test.entry("portal-tls", "ca.crt").await, root);
    // Those of a request are where the request is.
    test.site.configure(json!({"users": {"testuser": "changeme", "ada": "lovelace"}})).await;
    test.put(test.credentials("hers", "ada", "lovelace")).await;
    let mut request = test.request("ada");
    request["spec"]["issuerRef"] = json!({"kind": "ClusterIssuer", "name": "all"});
    request["spec"]["onlineCa"] = json!({"credentialsSecretRef": {"name": "hers"}});
    test.put(request).await;
    let status = test.until_ready("ada").await.status.expect("a status");
    assert_eq!(status.certificate.and_then(|one| one.common_name).as_deref(), Some("ada"));
    let mut request = test.request("lost");
    request["spec"]["issuerRef"] = json!({"kind": "ClusterIssuer", "name": "none"});
    test.put(request).await;
    let message = test.until_issuing("lost", "IssuerNotFound").await;
    assert_says(&message, &["ClusterIssuer none does not exist: create it"]);
}

#[tokio::test]
async fn bundles_that_cannot_be_used_are_named_and_never_repeated() {
    // What a slip of the hand would put there; enough like a key to be told apart.
    let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LW1hdGVyaWFs\n-----END PRIVATE KEY-----\n";
    let cases = [
        (
            "bundle-none",
            "ConfigMap",
            None,
            "key ca.crt of ConfigMap bundle-none/roots does not exist: create it",
        ),
        (
            "bundle-none-secret",
            "Secret",
            None,
            "key ca.crt of Secret bundle-none-secret/roots does not exist: create it",
        ),
        (
            "bundle-no-key",
            "ConfigMap",
            Some(json!({"other": "x"})),
            "key ca.crt of ConfigMap bundle-no-key/roots does not exist: add it",
        ),
        (
            "bundle-no-key-secret",
            "Secret",
            Some(json!({"other": "x"})),
            "key ca.crt of Secret bundle-no-key-secret/roots does not exist: add it",
        ),
        (
            "bundle-words",
            "ConfigMap",
            Some(json!({"ca.crt": "c2VjcmV0LW1hdGVyaWFs"})),
            "(spec.trust.bundle) holds no certificate",
        ),
        (
            "bundle-garbage",
            "Secret",
            Some(
                json!({"ca.crt": "-----BEGIN CERTIFICATE-----\nc2VjcmV0LW1hdGVyaWFs\n-----END CERTIFICATE-----\n"}),
            ),
            "(spec.trust.bundle) holds no certificate that can be used: block 1",
        ),
        (
            "bundle-cut",
            "ConfigMap",
            Some(json!({"ca.crt": "-----BEGIN CERTIFICATE-----\nc2VjcmV0LW1hdGVyaWFs"})),
            "(spec.trust.bundle) holds no certificate that can be used: block 1",
        ),
        ("bundle-key", "Secret", Some(json!({"ca.crt": key})), "(spec.trust.bundle)"),
    ];
    join_all(cases.map(async |(name, kind, data, part)| {
        let test = Test::new(name).await;
        let field = if kind == "Secret" { "stringData" } else { "data" };
        let bundle = |data: Value| {
            let mut object = json!({
                "apiVersion": "v1", "kind": kind,
                "metadata": {"name": "roots", "namespace": name},
            });
            object[field] = data;
            object
        };
        if let Some(data) = data {
            test.put(bundle(data)).await;
        }
        let mut issuer = test.issuer().await;
        let reference = if kind == "Secret" { "secretRef" } else { "configMapRef" };
        issuer["spec"]["trust"] = json!({"bundle": {reference: {"name": "roots"}}});
        test.put(test.credentials("credentials", "testuser", "changeme")).await;
        test.put(issuer).await;
        test.put(test.request("portal")).await;
        let message = test.until_issuer_fails("ca", "BundleUnusable").await;
        assert_says(&message, &[part, "/roots"]);
        assert!(test.issuer_is_stalled("ca").await, "{name}");
        test.until_issuing_says("portal", "IssuerNotReady", &[part]).await;
        let (_, waiting) = issuing(&test.get("portal").await).expect("a condition");
        for message in [&message, &waiting] {
            assert!(!message.contains("c2VjcmV0LW1hdGVyaWFs"), "{name}: {message}");
            assert!(!message.contains("secret-material"), "{name}: {message}");
        }
        // Nothing watches bundles: the next check finds it.
        test.put(bundle(json!({"ca.crt": test.site.root_pem().await}))).await;
        test.until_ready("portal").await;
    }))
    .await;
}
