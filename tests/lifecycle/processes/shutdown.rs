//! SIGTERM lets what is under way end.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::{Test, is_ready};

#[tokio::test]
async fn a_submit_under_way_is_brought_to_its_end() {
    let test = Test::new("shutdown").await;
    let mut operator = test.start();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.site
        .fault(json!({"operation": "certificate", "times": 0, "kind": "delay", "seconds": 3.0}))
        .await;
    test.apply(test.request("portal"));
    until_in_flight(&test).await;
    operator.process.signal("TERM");
    let begun = Instant::now();
    // Told to end, it takes nothing new.
    test.apply(test.request("late"));
    let code = operator.process.wait(Duration::from_secs(20));
    let log = operator.process.log();
    println!("ended {:.1} s after SIGTERM", begun.elapsed().as_secs_f64());
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("shutting down: no new work is started"), "{log}");
    assert!(!log.contains("some work was not finished in time"), "{log}");
    test.good_pair("portal").await;
    assert!(is_ready(&test.get("portal").await), "the status was written too");
    assert_eq!(test.issued().await, 1);
    assert!(test.pair("late").await.is_none());
    assert!(test.get("late").await.status.is_none_or(|status| status.conditions.is_empty()));

    test.site.clear_faults().await;
    let operator = test.start();
    test.until_ready(&operator, "late").await;
    assert_eq!(test.issued().await, 2);
}

async fn until_in_flight(test: &Test) {
    while test.site.requests().await["inFlight"] == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_ca_that_never_answers_holds_it_no_longer_than_its_deadline() {
    let test = Test::new("shutdown-hang").await;
    let mut operator = test.spawn(&[("CHANCERY_CA_TIMEOUT", "2s")]);
    operator.wait_until_ready();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.site.fault(json!({"operation": "certificate", "times": 0, "kind": "hang"})).await;
    test.apply(test.request("portal"));
    until_in_flight(&test).await;
    operator.process.signal("TERM");
    assert_eq!(operator.process.wait(Duration::from_secs(20)), Some(0), "SIGTERM");
    let log = operator.process.log();
    assert!(!log.contains("some work was not finished in time"), "{log}");
    // What came of it is in the status: the next process knows of the attempt.
    let status = test.get("portal").await.status.unwrap_or_default();
    assert_eq!(status.failed_attempts, Some(1), "{status:#?}");
    assert_eq!(test.issued().await, 0);
}
