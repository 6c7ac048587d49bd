//! The process is killed again and again at moments that nobody chose.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use crate::world::{Test, is_ready, revision};

const ROUNDS: usize = 6;
const A_ROUND: usize = 10;

#[tokio::test]
async fn killed_six_times_under_load_it_loses_only_what_was_in_flight() {
    let test = Test::new("kill-at-random").await;
    let operator = test.start();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    assert_eq!(operator.process.stop(), Some(0));
    // Long enough that a kill meets many at the CA, short enough that some get past it.
    test.site
        .fault(serde_json::json!({
            "operation": "certificate", "times": 0, "kind": "delay", "seconds": 0.25,
        }))
        .await;

    let (mut lost, mut asked) = (0, 0);
    for round in 0..ROUNDS {
        let mut operator = test.start();
        let requests = (asked..asked + A_ROUND).map(|at| test.request(&format!("r{at}")));
        asked += A_ROUND;
        let moment = Duration::from_millis(RandomState::new().hash_one(round) % 1000);
        tokio::join!(test.create(requests), tokio::time::sleep(moment));
        operator.process.signal("KILL");
        operator.process.wait(Duration::from_secs(10)).expect("it is gone");

        // The CA carries out what it has begun, whoever is still there to hear of it.
        until_settled(&test).await;
        let (issued, delivered) = (test.issued().await, test.delivered().await);
        let now_lost = issued - delivered;
        println!(
            "kill {} after {} ms: {issued} issued, {delivered} of {asked} delivered, {} in flight",
            round + 1,
            moment.as_millis(),
            now_lost - lost
        );
        // Each request has one submit under way at most.
        assert!(now_lost - lost <= asked - delivered, "more lost than was in flight");
        lost = now_lost;
    }

    let operator = test.start();
    test.until_all_ready(&operator, asked).await;
    test.until_idle(&operator);
    let issued = test.issued().await;
    println!("{asked} requests, {ROUNDS} kills: {issued} certificates, {lost} of them lost");
    assert_eq!(issued, asked + lost, "the last process issued each missing one exactly once");
    for at in 0..asked {
        let name = format!("r{at}");
        test.good_pair(&name).await;
        let request = test.get(&name).await;
        assert!(is_ready(&request) && revision(&request) == 1, "{:#?}", request.status);
    }
}

/// Waits until every submit that the CA took has become a certificate.
async fn until_settled(test: &Test) {
    let begun = std::time::Instant::now();
    loop {
        let seen = test.site.requests().await;
        let ended = &seen["operations"]["certificate"];
        let count = |outcome: &str| ended[outcome].as_u64().unwrap_or_default();
        let taken = count("200") + count("abandoned");
        if seen["inFlight"] == 0 && test.issued().await as u64 == taken {
            return;
        }
        // One that was cut off while it was read is counted and never carried out.
        if begun.elapsed() > Duration::from_secs(3) {
            println!("the CA is at rest: {seen}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
