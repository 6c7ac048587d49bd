//! The API server goes away and comes back; its store stays.

use std::time::Instant;

use serde_json::json;

use crate::world::{Test, is_ready, revision, until};

#[tokio::test]
async fn what_is_asked_for_after_an_outage_is_issued_and_nothing_twice() {
    let test = Test::new("outage").await;
    // The outage is shorter than this one acts without a renewal.
    let operator = test.spawn(&[("CHANCERY_LEASE_DURATION", "60s")]);
    operator.wait_until_it_acts();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.create((0..5).map(|at| test.request(&format!("before{at}")))).await;
    test.until_all_ready(&operator, 5).await;
    test.until_idle(&operator);
    assert_eq!(test.issued().await, 5);

    // Three more are at the CA when the API server goes.
    test.site
        .fault(json!({"operation": "certificate", "times": 3, "kind": "delay", "seconds": 2.0}))
        .await;
    test.create((0..3).map(|at| test.request(&format!("during{at}")))).await;
    while test.site.requests().await["inFlight"] != 3 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    test.world.plane.kill_api_server();
    // The answers come, and for some seconds nothing can be done with them.
    while test.issued().await < 8 || test.site.requests().await["inFlight"] != 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    until("the operator tries", || {
        let log = operator.process.log();
        (0..3).all(|at| log.contains(&format!("cannot create secrets outage/during{at}-tls")))
    });
    let tried = operator.process.log().matches("the status was not written").count();
    until("it tries again", || {
        operator.process.log().matches("the status was not written").count() >= tried + 3
    });
    let begun = Instant::now();
    test.world.plane.restart_api_server();
    println!("the API server was back after {:.1} s", begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    test.create((0..5).map(|at| test.request(&format!("after{at}")))).await;
    test.until_all_ready(&operator, 13).await;
    println!(
        "all Ready {:.1} s after it was back, {} certificates for 13 requests",
        begun.elapsed().as_secs_f64(),
        test.issued().await
    );
    test.until_idle(&operator);
    for request in test.requests().list(&Default::default()).await.expect("a list") {
        assert!(is_ready(&request) && revision(&request) == 1, "{:#?}", request.status);
        test.good_pair(request.metadata.name.as_deref().expect("a name")).await;
    }
    // Those that were at the CA are not lost with the answer that could not be stored.
    let issued = test.issued().await;
    assert_eq!(issued, 13, "certificates for 13 requests");

    // The caches follow again: a Secret that is deleted is missed.
    test.kubectl(&["delete", "secret", "after0-tls"]);
    test.until(&operator, "after0", "brought back", |request| revision(request) == 2).await;
    test.good_pair("after0").await;
    assert_eq!(test.issued().await, issued + 1);
    let (status, _) = operator.get("/livez").expect("an answer");
    assert_eq!(status, 200, "it never ended");
}
