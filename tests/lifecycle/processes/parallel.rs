//! A slow CA is asked for many certificates at once.

use std::time::Instant;

use serde_json::{Value, json};

use crate::world::Test;

const REQUESTS: usize = 20;

async fn twenty(name: &str, request: impl Fn(&Test, &str) -> Value) {
    let test = Test::new(name).await;
    let operator = test.start();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.site
        .fault(json!({"operation": "certificate", "times": 0, "kind": "delay", "seconds": 2.0}))
        .await;
    let begun = Instant::now();
    test.create((0..REQUESTS).map(|at| request(&test, &format!("r{at}")))).await;
    test.until_all_ready(&operator, REQUESTS).await;
    let took = begun.elapsed();
    let peak = test.site.requests().await["peakInFlight"].as_u64().expect("a number");
    println!(
        "{name}: {REQUESTS} requests at a CA that takes 2 s: {:.2} s, {peak} at once",
        took.as_secs_f64()
    );
    assert!(peak >= 10, "only {peak} were under way at once");
    assert_eq!(test.issued().await, REQUESTS);
}

#[tokio::test]
async fn a_ca_that_takes_two_seconds_is_asked_for_twenty_at_once() {
    twenty("slow-ca-ecdsa", Test::request).await;
}

#[tokio::test]
async fn also_with_the_rsa_keys_that_are_the_default() {
    twenty("slow-ca-rsa", Test::request_for_any_key).await;
}
