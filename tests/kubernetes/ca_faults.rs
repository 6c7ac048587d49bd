//! What a CA may answer in place of a certificate, and what comes of it.

use chancery::pki::{Certificate, parse_pem};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::world::{CA_TIMEOUT, Test, assert_says, condition, issuing};

/// How a failed attempt goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    /// By itself, at least so many seconds later; nobody needs to act.
    Later(i64),
    /// Also by itself, in case a person has acted.
    Person(i64),
    /// Only after a change.
    Never,
}

struct Case {
    name: &'static str,
    fault: Value,
    reason: &'static str,
    says: Vec<&'static str>,
    next: Next,
    /// Certificates that the CA makes although none arrives.
    lost: usize,
}

fn case(
    name: &'static str,
    fault: Value,
    reason: &'static str,
    next: Next,
    lost: usize,
    says: &[&'static str],
) -> Case {
    Case { name, fault, reason, says: says.to_vec(), next, lost }
}

fn cases() -> Vec<Case> {
    use Next::{Later, Never, Person};
    let kind = |kind: &str| json!({"kind": kind});
    let status = |code: u16, body: &str| json!({"kind": "status", "status": code, "body": body});
    let limit = "the answer is longer than 1048576 bytes";
    let timeout = "no complete answer came within 4 s";
    assert_eq!(CA_TIMEOUT, "4s", "as the row `hang` has it");
    vec![
        case(
            "f-400",
            status(400, "bad request"),
            "Refused",
            Never,
            0,
            &["400 Bad Request", "\"bad request\"", "not tried again before"],
        ),
        case(
            "f-404",
            status(404, "no"),
            "AddressUnknown",
            Person(60),
            0,
            &["404 Not Found", "spec.onlineCa of the issuer", "trailing slash"],
        ),
        case("f-405", status(405, ""), "Refused", Never, 0, &["405 Method Not Allowed"]),
        case(
            "f-429",
            // Longer than the first pause of its own, and short enough to be waited for: nothing
            // shortens it.
            json!({"kind": "status", "status": 429, "retryAfter": 7}),
            "TooManyRequests",
            Later(7),
            0,
            &["429 Too Many Requests", "the next is at"],
        ),
        case(
            "f-500",
            status(500, "<html><body>Oh <b>no</b></body></html>"),
            "ServerError",
            Later(5),
            0,
            &["500 Internal Server Error", "\"Oh no\"", "failed attempt 1"],
        ),
        case(
            "f-503",
            json!({"kind": "status", "status": 503, "retryAfter": 8}),
            "ServerError",
            Later(8),
            0,
            &["503 Service Unavailable"],
        ),
        case("f-204", status(204, ""), "UnexpectedAnswer", Later(60), 0, &["204 No Content"]),
        case(
            "f-html",
            kind("htmlBody"),
            "UnexpectedAnswer",
            Later(60),
            0,
            &["answered 200 OK, but its body holds no certificate"],
        ),
        case(
            "f-truncated",
            kind("truncatedBody"),
            "NoAnswer",
            Later(5),
            1,
            &["localhost:", " was called, but the answer broke off"],
        ),
        case(
            "f-empty",
            kind("emptyBody"),
            "UnexpectedAnswer",
            Later(60),
            1,
            &["answered 200 OK, but its body holds no certificate"],
        ),
        case(
            "f-huge",
            json!({"kind": "hugeBody", "bytes": 3_000_000}),
            "NoAnswer",
            Later(5),
            0,
            &[" was called", limit],
        ),
        case("f-hang", kind("hang"), "NoAnswer", Later(5), 0, &[" was called", timeout]),
        case(
            "f-before",
            kind("dropBeforeCommit"),
            "NoAnswer",
            Later(5),
            0,
            &["localhost:", " was called, but "],
        ),
        case(
            "f-after",
            kind("dropAfterCommit"),
            "NoAnswer",
            Later(5),
            1,
            &["localhost:", " was called, but "],
        ),
        case(
            "f-redirect",
            json!({"kind": "redirect", "location": "https://localhost:1/"}),
            "Redirected",
            Person(60),
            0,
            &["302 Found", "redirects are not followed", "spec.onlineCa of the issuer"],
        ),
        case(
            "f-wrong-key",
            kind("wrongKey"),
            "CertificateUnfit",
            Later(60),
            1,
            &["none of the 2 certificates received is for the private key"],
        ),
        case(
            "f-expired",
            kind("expired"),
            "CertificateUnfit",
            Later(60),
            1,
            &["not delivered", "expired at"],
        ),
        case(
            "f-future",
            json!({"kind": "notYetValid", "seconds": 3600}),
            "CertificateUnfit",
            Later(60),
            1,
            &["becomes valid only at", "clock"],
        ),
        case(
            "f-unrelated",
            kind("unrelatedChain"),
            "ChainNotTrusted",
            Person(60),
            1,
            &["f-unrelated Unrelated CA", "spec.trust.bundle of the issuer"],
        ),
        case(
            "f-forged",
            kind("forgedSignature"),
            "ChainNotTrusted",
            Person(60),
            1,
            &["not delivered", "spec.trust.bundle of the issuer"],
        ),
    ]
}

impl Case {
    /// The condition `Issuing`, `Stalled` and the times are as this fault wants them.
    async fn check(&self, test: &Test) {
        let name = self.name;
        test.until_issuing(name, self.reason).await;
        let request = test.get(name).await;
        let (holds, _, message) = condition(&request, "Issuing").expect("a condition");
        assert_says(&message, &self.says);
        let stalled = condition(&request, "Stalled").map(|(holds, reason, _)| (holds, reason));
        let status = request.status.expect("a status");
        let gap = status.next_attempt_time.map(|next| {
            next.0.as_second() - status.last_failure_time.expect("a time").0.as_second()
        });
        let expected = ("True".to_owned(), self.reason.to_owned());
        match self.next {
            Next::Later(seconds) => {
                assert_eq!(stalled, None, "{name}");
                assert!(gap >= Some(seconds), "{name}: {gap:?}");
            }
            Next::Person(seconds) => {
                assert_eq!(stalled, Some(expected), "{name}");
                assert!(gap >= Some(seconds), "{name}: {gap:?}");
            }
            Next::Never => {
                assert_eq!(stalled, Some(expected), "{name}");
                assert_eq!(gap, None, "{name}");
            }
        }
        assert_eq!(holds == "True", self.next != Next::Never, "{name}");
        assert!(status.failed_attempts >= Some(1), "{name}");
        assert!(status.last_attempt.is_some(), "{name}");
    }

    async fn inject(&self, test: &Test) {
        let mut fault = self.fault.clone();
        fault["operation"] = json!("certificate");
        fault["times"] = json!(0);
        test.site.fault(fault).await;
    }

    async fn run(&self) {
        let name = self.name;
        let test = Test::with_fast_issuer(name).await;
        self.inject(&test).await;
        test.put(test.request(name)).await;
        self.check(&test).await;
        let request = test.get(name).await;
        let ready = condition(&request, "Ready").expect("a condition");
        assert_eq!((ready.0.as_str(), ready.1.as_str()), ("False", self.reason), "{name}");
        assert!(test.read("Secret", &format!("{name}-tls")).await.is_none(), "{name}");
        // Looked at again without a change, nothing is asked and nothing is said otherwise.
        let (_, before) = issuing(&request).expect("a condition");
        let calls = test.certificate_calls().await;
        let is_long = !matches!(self.next, Next::Later(..30));
        if is_long {
            let touch = json!({"metadata": {"labels": {"touched": "yes"}}});
            test.patch("CertificateRequest", name, touch).await;
            test.a_moment_passes().await;
            assert_eq!(issuing(&test.get(name).await).expect("a condition").1, before, "{name}");
            assert_eq!(test.certificate_calls().await, calls, "{name}");
        }
        test.site.clear_faults().await;
        test.renew(name, "1").await;
        let status = test.until_ready(name).await.status.expect("a status");
        assert_eq!(status.revision, Some(1), "{name}");
        assert_eq!((status.failed_attempts, status.last_attempt.is_none()), (None, true), "{name}");

        // The same once more as a renewal: what is delivered stays, and stays Ready.
        let before = test.secret(&format!("{name}-tls")).await;
        self.inject(&test).await;
        test.renew(name, "2").await;
        self.check(&test).await;
        let request = test.get(name).await;
        let ready = condition(&request, "Ready").expect("a condition");
        assert_eq!((ready.0.as_str(), ready.1.as_str()), ("True", "Issued"), "{name}");
        assert_eq!(test.secret(&format!("{name}-tls")).await, before, "{name}: untouched");
        test.site.clear_faults().await;
        test.renew(name, "3").await;
        let status = test.until_revision(name, 2).await.status.expect("a status");
        assert_eq!(status.revision, Some(2), "{name}");
        let issued = test.site.issued().await.len();
        // Retries of what passes by itself may have come in between.
        let most = if is_long { 2 + 2 * self.lost } else { 2 + 4 * self.lost };
        assert!((2 + 2 * self.lost..=most).contains(&issued), "{name}: {issued} certificates");
    }
}

#[tokio::test]
async fn each_fault_of_a_ca_has_its_reason_and_its_way_on() {
    join_all(cases().iter().map(Case::run)).await;
}

#[tokio::test]
async fn a_forbidden_account_is_the_issuers_trouble() {
    let test = Test::with_fast_issuer("f-403").await;
    test.put(test.request("portal")).await;
    test.until_ready("portal").await;
    let before = test.secret("portal-tls").await;
    test.site
        .fault(json!({"operation": "certificate", "times": 0, "kind": "status", "status": 403}))
        .await;
    test.renew("portal", "1").await;
    let message = test.until_issuer_fails("ca", "CredentialsRefused").await;
    assert_says(&message, &["403 Forbidden", "check username and password", "60 minutes"]);
    test.until_issuing_says("portal", "IssuerNotReady", &["Issuer ca is not ready", "403"]).await;
    let request = test.get("portal").await;
    assert_eq!(condition(&request, "Ready").expect("a condition").0, "True");
    assert_eq!(test.secret("portal-tls").await, before);
    test.site.clear_faults().await;
    // The same password in a Secret that was written anew is tried again.
    test.patch("Secret", "credentials", json!({"metadata": {"annotations": {"touched": "yes"}}}))
        .await;
    test.until_revision("portal", 2).await;
}

fn chain(pem: &str) -> Vec<Certificate> {
    parse_pem(pem.as_bytes()).expect("certificates")
}

#[tokio::test]
async fn what_arrives_in_another_spelling_is_delivered_in_order() {
    let fault = json!({"operation": "certificate", "times": 0, "kind": "wrongChainOrder"});
    let cases = [
        ("c-order", json!({}), Some(fault)),
        ("c-none", json!({"chain": "none"}), None),
        ("c-preamble", json!({"chainPreamble": true}), None),
        (
            "c-crlf",
            json!({"chainPreamble": true, "chainCrlf": true, "chainWithoutFinalNewline": true}),
            None,
        ),
        ("c-django", json!({"flavour": "django"}), None),
        ("c-ecdsa", json!({"keyAlgorithm": "ECDSA"}), None),
        ("c-manifest", json!({"chain": "none", "trustRoots": {"manifest": "plain"}}), None),
    ];
    join_all(cases.map(async |(name, mut settings, fault)| {
        let test = Test::new(name).await;
        settings["minKeyBits"] = json!(256);
        let document = test.site.configure(settings).await;
        if let Some(fault) = fault {
            test.site.fault(fault).await;
        }
        let mut issuer = test.issuer().await;
        issuer["spec"]["onlineCa"]["keyAlgorithms"] = json!(["ECDSA", "RSA"]);
        test.put(test.credentials("credentials", "testuser", "changeme")).await;
        test.put(issuer).await;
        test.put(test.request("portal")).await;
        test.until_ready("portal").await;
        let crt = test.entry("portal-tls", "tls.crt").await;
        let (delivered, anchors) = (chain(&crt), chain(&test.entry("portal-tls", "ca.crt").await));
        assert_eq!(delivered.len(), 2, "{name}: leaf and intermediate, no root");
        assert_eq!(delivered[0].common_name(), Some("testuser"), "{name}");
        assert_eq!(delivered[0].issuer(), delivered[1].subject(), "{name}");
        assert!(delivered.iter().all(|one| !one.is_self_issued()), "{name}");
        let intermediate = document["intermediatePem"].as_str().expect("PEM");
        assert_eq!(delivered[1].der(), chain(intermediate)[0].der(), "{name}");
        assert_eq!(anchors.len(), 1, "{name}");
        assert_eq!(anchors[0].der(), chain(document["rootPem"].as_str().expect("PEM"))[0].der());
        assert!(!crt.contains('\r') && crt.starts_with("-----BEGIN CERTIFICATE-----"), "{name}");
    }))
    .await;
}

#[tokio::test]
async fn where_nothing_is_pinned_the_condition_says_what_to_pin() {
    let test = Test::new("pinning").await;
    test.site.configure(json!({"minKeyBits": 256})).await;
    let root = test.site.root_pem().await;
    let mut issuer = test.issuer().await;
    issuer["spec"].as_object_mut().expect("fields").remove("trust");
    issuer["spec"]["onlineCa"]["keyAlgorithms"] = json!(["ECDSA", "RSA"]);
    test.put(test.credentials("credentials", "testuser", "changeme")).await;
    test.put(issuer).await;
    test.put(test.request("portal")).await;
    let message = test.until_issuing("portal", "ChainNotTrusted").await;
    let fingerprint = chain(&root)[0].fingerprint_sha256().to_owned();
    assert_says(
        &message,
        &[
            "to trust the root at hand, pin",
            "pinning Root CA",
            &fingerprint,
            "spec.trust.bundle of the issuer",
        ],
    );
    assert!(test.read("Secret", "portal-tls").await.is_none());
    assert_eq!(condition(&test.get("portal").await, "Stalled").expect("stalled").0, "True");
    test.patch("Issuer", "ca", json!({"spec": {"trust": {"bundle": {"pem": root}}}})).await;
    test.until_ready("portal").await;
    assert_eq!(test.entry("portal-tls", "ca.crt").await, root);
    assert_eq!(test.site.issued().await.len(), 2);
}

#[tokio::test]
async fn served_roots_are_added_only_where_the_issuer_asks_for_it() {
    let test = Test::with_fast_issuer("served-roots").await;
    test.put(test.request("portal")).await;
    test.until_ready("portal").await;
    let root = test.site.root_pem().await;
    assert_eq!(
        test.entry("portal-tls", "ca.crt").await,
        root,
        "what a server says is not believed"
    );
    test.patch("Issuer", "ca", json!({"spec": {"trust": {"addServedRoots": true}}})).await;
    test.until_issuer_ready("ca").await;
    test.put(test.request("second")).await;
    test.until_ready("second").await;
    let anchors = chain(&test.entry("second-tls", "ca.crt").await);
    assert_eq!(anchors[0].der(), chain(&root)[0].der(), "the anchor of the chain comes first");
    let tls_root = &chain(test.world.simulator.tls_root())[0];
    assert_eq!(
        anchors[1..].iter().map(Certificate::der).collect::<Vec<_>>(),
        [tls_root.der()],
        "not the expired one, and no intermediate"
    );
    test.until_told("second", "ServedRootsAdded", tls_root.subject()).await;
    test.until_told("second", "ServedRootsAdded", "spec.trust.addServedRoots").await;
    let leaves = chain(&test.entry("second-tls", "tls.crt").await);
    assert!(leaves.iter().all(|one| !one.is_self_issued()));
}

#[tokio::test]
async fn a_key_that_a_ca_publishes_is_told_of_and_kept_nowhere() {
    let test = Test::new("leaked-key").await;
    test.site.configure(json!({"minKeyBits": 256, "trustRoots": {"leakedKey": true}})).await;
    let mut issuer = test.issuer().await;
    issuer["spec"]["trust"]["addServedRoots"] = json!(true);
    test.put(test.credentials("credentials", "testuser", "changeme")).await;
    test.put(issuer).await;
    test.put(test.request("portal")).await;
    test.until_ready("portal").await;
    let message = test.until_issuer_ready("ca").await;
    assert_says(&message, &["test-ca.key holds a PRIVATE KEY", "tell the operator of the CA"]);
    let anchors = test.entry("portal-tls", "ca.crt").await;
    let pair = test.entry("portal-tls", "tls.crt").await;
    assert!(!anchors.contains("PRIVATE KEY") && !pair.contains("PRIVATE KEY"));
    let objects = test.kubectl(&["get", "chreq,chiss,events,configmaps", "-o", "yaml"]);
    assert!(!objects.contains("BEGIN PRIVATE KEY") && !objects.contains("MIIE"), "{objects}");
    let secrets = test.kubectl(&["get", "secrets", "-o", "json"]);
    let secrets: Value = serde_json::from_str(&secrets).expect("JSON");
    let keys = secrets["items"].as_array().expect("a list").iter().flat_map(|secret| {
        secret["data"].as_object().into_iter().flatten().map(|(key, _)| key.clone())
    });
    let mut keys: Vec<String> = keys.collect();
    keys.sort();
    assert_eq!(keys, ["ca.crt", "password", "tls.crt", "tls.key", "username"]);
}
