//! What is secret gets into no log, no Event and no status.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::world::Test;

/// Nothing else in the run looks like it.
const PASSWORD: &str = "Sw0rdf1sh <&> of  the day";

#[tokio::test]
async fn a_ca_that_repeats_what_it_was_sent_gives_nothing_away() {
    let basic = STANDARD.encode(format!("testuser:{PASSWORD}"));
    let escaped = PASSWORD.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let page = |text: &str| json!({"kind": "status", "status": 500, "html": true, "body": format!("<html><body>{text}</body></html>")});
    let status = |code: u16, text: String| json!({"kind": "status", "status": code, "body": text});
    let key = "-----BEGIN PRIVATE KEY-----\nMIIEsecretsecret\n-----END PRIVATE KEY-----";
    let cases = [
        ("s-plain", status(400, format!("wrong password {PASSWORD}."))),
        ("s-header", status(500, format!("Authorization: Basic {basic} was refused"))),
        ("s-pair", status(500, format!("testuser:{PASSWORD} was refused"))),
        ("s-escaped", page(&format!("The password was {escaped}!"))),
        // Where the excerpt ends, half a password is half a secret.
        ("s-edge", status(500, format!("{}{PASSWORD} more", "word ".repeat(37)))),
        ("s-edge-header", status(500, format!("{}Basic {basic} more", "word ".repeat(37)))),
        ("s-key", status(500, format!("my key is {key}"))),
        ("s-refused", status(401, format!("{PASSWORD} is wrong for testuser ({basic})"))),
        ("s-body", status(200, format!("no certificate for {PASSWORD} {basic}"))),
    ];
    join_all(cases.map(async |(name, mut fault)| {
        let test = Test::new(name).await;
        test.site.configure(json!({"minKeyBits": 256, "users": {"testuser": PASSWORD}})).await;
        fault["operation"] = json!("certificate");
        fault["times"] = json!(0);
        test.site.fault(fault).await;
        let mut issuer = test.issuer().await;
        issuer["spec"]["onlineCa"]["keyAlgorithms"] = json!(["ECDSA", "RSA"]);
        test.put(test.credentials("credentials", "testuser", PASSWORD)).await;
        test.put(test.credentials("mine", "testuser", PASSWORD)).await;
        test.put(issuer).await;
        test.until_issuer_ready("ca").await;
        test.put(test.request("portal")).await;
        let mut own = test.request("own");
        own["spec"]["onlineCa"] = json!({"credentialsSecretRef": {"name": "mine"}});
        test.put(own).await;
        for request in ["portal", "own"] {
            test.until(request, "failed", |request| {
                request.status.as_ref().is_some_and(|status| {
                    status.conditions.iter().any(|one| {
                        one.type_ == "Ready" && one.reason != "IssuerNotReady"
                            || one.message.contains("401")
                    })
                })
            })
            .await;
        }
        test.until("own", "told", |request| {
            request.status.as_ref().is_some_and(|status| status.failed_attempts.is_some())
        })
        .await;
        test.a_moment_passes().await;
        let objects = test.kubectl(&["get", "chreq,chiss,events", "-o", "json"]);
        let objects: Value = serde_json::from_str(&objects).expect("JSON");
        let count = objects["items"].as_array().map_or(0, Vec::len);
        assert!(count >= 5, "two requests, an issuer and Events: {count}");
        check(name, "an object", &objects.to_string(), &basic);
        let log: Vec<String> = test
            .world
            .operator
            .process
            .log()
            .lines()
            .filter(|line| line.contains(&format!("\"{name}\"")))
            .map(str::to_owned)
            .collect();
        assert!(!log.is_empty(), "{name}: the operator said something");
        check(name, "the log", &log.join("\n"), &basic);
    }))
    .await;
    // Whatever the other tests of this run have done so far.
    let log = crate::world::world().operator.process.log();
    check("all", "the log", &log, &basic);
}

fn check(name: &str, place: &str, text: &str, basic: &str) {
    let squeezed = PASSWORD.split_whitespace().collect::<Vec<_>>().join(" ");
    let changeme = STANDARD.encode("testuser:changeme");
    for secret in [
        PASSWORD,
        &squeezed,
        "Sw0rdf1sh",
        "MIIEsecret",
        "BEGIN PRIVATE KEY",
        "MIIEv",
        &basic[..16],
        &changeme,
    ] {
        let at = text.find(secret);
        let near = at.map(|at| {
            let start = text.floor_char_boundary(at.saturating_sub(80));
            &text[start..text.ceil_char_boundary((at + 80).min(text.len()))]
        });
        assert!(at.is_none(), "{name}: {place} holds {secret}: {near:?}");
    }
}
