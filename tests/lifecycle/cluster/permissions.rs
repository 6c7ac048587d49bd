//! Rights on Secrets are taken away and given back while the operator runs.

use std::time::{Duration, Instant};

use chancery::api::CertificateRequest;
use serde_json::json;

use crate::world::{Call, Calls, Test, is_ready, issuing, until};

#[tokio::test]
async fn a_secret_that_may_not_be_read_costs_no_certificate_and_recovers_by_itself() {
    let test = Test::new("may-not-get").await;
    let operator = test.start();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.apply(test.request("before"));
    test.until_ready(&operator, "before").await;
    let pair = test.good_pair("before").await;
    let ca_calls = test.ca_calls().await;

    test.forbid(&["create", "get", "list", "patch", "watch"], "secrets");
    test.apply(test.request("after"));
    let request = test
        .until(&operator, "after", "unable to read its Secret", |request| {
            issuing(request).0 == "SecretUnreadable"
        })
        .await;
    let (_, message) = issuing(&request);
    println!("the condition says: {message}");
    assert!(message.starts_with("cannot get secrets may-not-get/after-tls: "), "{message}");
    assert!(message.contains("nothing is asked of the CA"), "{message}");
    assert!(!is_ready(&request));
    // One that is delivered is looked at again, and stays as it is.
    test.kubectl(&["annotate", "certificaterequest", "before", "note=looked-at"]);
    test.until_idle(&operator);
    assert!(is_ready(&test.get("before").await));
    assert_eq!(test.pair("before").await, Some(pair));
    // A renewal is not possible, and the certificate is no worse for it.
    test.kubectl(&["annotate", "certificaterequest", "before", "chancery.dev/renew=now"]);
    let request = test
        .until(&operator, "before", "unable to read its Secret", |request| {
            issuing(request).0 == "SecretUnreadable"
        })
        .await;
    assert!(is_ready(&request), "{:#?}", request.status);
    assert_eq!(test.ca_calls().await, ca_calls, "the CA is not asked");

    let begun = Instant::now();
    test.allow_everything();
    test.until_ready(&operator, "after").await;
    println!("issued {:.1} s after the rights came back", begun.elapsed().as_secs_f64());
    test.good_pair("after").await;
    test.until(&operator, "before", "renewed", |request| crate::world::revision(request) == 2)
        .await;
    test.until_idle(&operator);
    assert_eq!(test.issued().await, 3);
}

#[tokio::test]
async fn a_secret_that_may_not_be_created_is_tried_at_growing_distances() {
    let test = Test::new("may-not-create").await;
    let operator = test.start();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.forbid(&["create"], "secrets");
    let calls = test.watch_calls();
    test.apply(test.request("portal"));
    let first = test
        .until(&operator, "portal", "unable to create its Secret", |request| {
            issuing(request).0 == "SecretNotWritten"
        })
        .await;
    let (_, message) = issuing(&first);
    println!("the condition says: {message}");
    assert!(message.starts_with("cannot create secrets may-not-create/portal-tls: "), "{message}");
    assert!(!is_ready(&first));

    let second = test
        .until(&operator, "portal", "tried a second time", |request| {
            request.status.as_ref().and_then(|status| status.failed_attempts) == Some(2)
        })
        .await;
    let pause = times(&second).0.duration_since(times(&first).0);
    let next = times(&second).1.duration_since(times(&second).0);
    println!("paused {} s, then {} s", pause.as_secs(), next.as_secs());
    assert!(pause.as_secs() >= 4 && next.as_secs() >= 9, "{pause:?}, {next:?}");
    // The certificate in hand is kept: no attempt asks the CA for another.
    assert_eq!(test.issued().await, 1);
    let writes = calls.in_namespace().into_iter().filter(Call::is_write);
    let creations = writes.filter(|call| call.resource == "secrets").count();
    assert_eq!(creations, 2, "one for each attempt");

    test.allow_everything();
    test.until_ready(&operator, "portal").await;
    test.good_pair("portal").await;
    test.until_idle(&operator);
    assert_eq!(test.issued().await, 1);
}

/// When the last attempt failed, and when the next is due.
fn times(request: &CertificateRequest) -> (jiff::Timestamp, jiff::Timestamp) {
    let status = request.status.clone().unwrap_or_default();
    let (last, next) = (status.last_failure_time, status.next_attempt_time);
    (last.expect("a failure").0, next.expect("a next attempt").0)
}

#[tokio::test]
async fn without_any_rights_it_asks_no_ca_and_goes_on_once_they_are_back() {
    let test = Test::new("no-rights").await;
    let operator = test.start();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.apply(test.request("before"));
    test.until_ready(&operator, "before").await;
    let ca_calls = test.ca_calls().await;
    let calls = test.watch_calls();

    test.kubectl(&["delete", "clusterrolebinding", "chancery"]);
    test.until_allowed("get", "secrets", false);
    // The watches that are open stay open: it sees the request and can do nothing.
    test.apply(test.request("after"));
    until("the log says what it may not do", || {
        let log = operator.process.log();
        log.contains("cannot update certificaterequests/status no-rights/after")
            && log.contains("in the namespace \\\"no-rights\\\"; `chancery check` as that user")
    });
    until_refused(&calls, 4);
    assert_eq!(test.ca_calls().await, ca_calls, "the CA is not asked");
    assert!(is_ready(&test.get("before").await));

    test.allow_everything();
    test.until_ready(&operator, "after").await;
    test.good_pair("after").await;
    test.until_idle(&operator);
    assert_eq!(test.issued().await, 2);
}

/// Waits until the API server has refused so many writes.
fn until_refused(calls: &Calls<'_>, count: usize) {
    until("writes are refused", || {
        let calls = calls.in_namespace();
        calls.iter().filter(|call| call.code == 403 && call.is_write()).count() >= count
    });
}

#[tokio::test]
async fn a_failure_that_cannot_be_told_is_not_repeated_faster_than_one_that_can() {
    let test = Test::new("mute").await;
    let operator = test.start();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.forbid(&["update"], "certificaterequests/status");
    let calls = test.watch_calls();
    let asked = async || test.site.requests().await["operations"]["certificate"].clone();

    // What passes by itself is tried after 5 s and then after 10 s.
    test.site
        .fault(json!({"operation": "certificate", "times": 0, "kind": "status", "status": 503}))
        .await;
    test.apply(test.request("retried"));
    let begun = Instant::now();
    until_refused(&calls, 1);
    while begun.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let retried = asked().await["503"].as_u64();
    // What the CA refuses is not tried again. The first request goes first: it is due about now.
    test.kubectl(&["delete", "certificaterequest", "retried"]);
    while test.site.requests().await["inFlight"] != 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    test.until_idle(&operator);
    test.site.clear_faults().await;
    test.site
        .fault(json!({"operation": "certificate", "times": 0, "kind": "status", "status": 400}))
        .await;
    test.apply(test.request("refused"));
    let calls = test.watch_calls();
    until_refused(&calls, 4);
    let refused = asked().await["400"].as_u64();
    println!(
        "no status can be written: {retried:?} calls in 10 s after 503, {refused:?} after 400"
    );
    assert!(retried <= Some(2), "{retried:?} calls in 10 s:\n{}", operator.process.log());
    assert_eq!(refused, Some(1), "a refusal stands:\n{}", operator.process.log());

    test.allow_everything();
    test.until(&operator, "refused", "refused", |request| issuing(request).0 == "Refused").await;
    assert_eq!(asked().await["400"].as_u64(), Some(1));
}
