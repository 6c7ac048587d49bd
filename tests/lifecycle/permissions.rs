//! Rights on Secrets are taken away and given back while the operator runs.

use jiff::SignedDuration;

use crate::world::{Test, is_ready, issuing};

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

    let begun = std::time::Instant::now();
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
    let failure = |request: &chancery::api::CertificateRequest| {
        request.status.as_ref().and_then(|status| status.last_failure_time.clone()).expect("a time")
    };
    let next = second.status.as_ref().and_then(|status| status.next_attempt_time.clone());
    let next = next.expect("a next attempt");
    let pause = failure(&second).0.duration_since(failure(&first).0);
    let next_pause = next.0.duration_since(failure(&second).0);
    println!("paused {} s, then {} s", pause.as_secs(), next_pause.as_secs());
    assert!(pause >= SignedDuration::from_secs(4), "{pause:?}");
    assert!(next_pause >= SignedDuration::from_secs(9), "{next_pause:?}");
    // Until that second pause is half over nothing more may happen.
    while chancery::controller::system_clock().duration_since(failure(&second).0) < next_pause / 2 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(test.issued().await, 2, "one certificate for each attempt in 10 s, and no loop");

    test.allow_everything();
    test.until_ready(&operator, "portal").await;
    test.good_pair("portal").await;
    test.until_idle(&operator);
    assert_eq!(test.issued().await, 3);
}
