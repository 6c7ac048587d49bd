//! Many certificates: what the first issuance costs, and that a restart costs nothing.

use std::time::Instant;

use crate::support::operator::Operator;
use crate::world::{Call, Test};

const MANY: usize = 200;
/// As by default: a short one could be lost for a moment on a busy machine, and what was under way
/// would be counted twice.
const LEASE_SECONDS: u32 = 15;

fn start(test: &Test) -> Operator {
    let operator = test.spawn(&[("CHANCERY_LEASE_DURATION", &format!("{LEASE_SECONDS}s"))]);
    operator.wait_until_ready();
    operator.wait_until_it_acts();
    operator
}

/// An operator that has delivered to all of them.
async fn issue_all(test: &Test) -> Operator {
    let operator = start(test);
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.create((0..MANY).map(|at| test.request(&format!("r{at}")))).await;
    test.until_all_ready(&operator, MANY).await;
    test.until_idle(&operator);
    operator
}

fn count(calls: &[Call], verb: &str, resource: &str) -> usize {
    calls.iter().filter(|call| call.verb == verb && call.resource == resource).count()
}

#[tokio::test]
async fn a_first_issuance_costs_three_requests_and_one_certificate() {
    let test = Test::new("first-issuance").await;
    let operator = start(&test);
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.until_idle(&operator);
    let calls = test.watch_calls();
    let begun = Instant::now();
    test.create((0..MANY).map(|at| test.request(&format!("r{at}")))).await;
    test.until_all_ready(&operator, MANY).await;
    let took = begun.elapsed();
    test.until_idle(&operator);
    let counted = calls.so_far();
    counted.check_lease(LEASE_SECONDS);
    let (all, events) = (counted.calls, counted.events);
    println!(
        "{MANY} first issuances: {:.1} s, {} requests ({:.2} each), {events} about Events, \
         {:.2} CPU s and {} MiB of a debug build",
        took.as_secs_f64(),
        all.len(),
        all.len() as f64 / MANY as f64,
        operator.process.usage().0,
        operator.process.usage().1 / 1024
    );
    for call in all.iter().filter(|call| call.verb == "watch") {
        println!("the API server ended a watch that did not keep up: {}", call.resource);
    }
    let conflicts: Vec<&Call> = all.iter().filter(|call| call.code == 409).collect();
    assert!(conflicts.is_empty(), "{conflicts:?}");
    assert_eq!(count(&all, "get", "secrets"), MANY, "reads of targets");
    assert_eq!(count(&all, "create", "secrets"), MANY);
    assert_eq!(count(&all, "update", "certificaterequests/status"), MANY);
    assert_eq!(count(&all, "patch", "secrets"), 0);
    // The API server ends a watch that does not keep up on a busy machine; it is opened again.
    let others: Vec<&Call> = all
        .iter()
        .filter(|call| !matches!(call.resource.as_str(), "certificaterequests/status" | "secrets"))
        .filter(|call| call.verb != "watch")
        .collect();
    // The issuer notes once that a chain was verified against its bundle.
    let (noted, others): (Vec<&Call>, Vec<&Call>) =
        others.into_iter().partition(|call| call.resource == "issuers/status");
    assert!(noted.len() <= 1, "{noted:?}");
    assert!(others.is_empty(), "nothing else is asked: {others:?}");
    assert_eq!(events, MANY, "one Event each");
    assert_eq!(test.issued().await, MANY, "certificates at the CA");
    assert_eq!(test.delivered().await, MANY);
}

#[tokio::test]
async fn a_restart_writes_nothing_reads_no_secret_and_asks_no_ca() {
    let test = Test::new("restart").await;
    let operator = issue_all(&test).await;
    let (before_cpu, before_memory) = operator.process.usage();
    let ca_calls = test.ca_calls().await;
    let begun = Instant::now();
    assert_eq!(operator.process.stop(), Some(0), "SIGTERM ends it well");
    let stopped_after = begun.elapsed();
    assert!(stopped_after.as_secs() < 5, "it had nothing to wait for: {stopped_after:?}");

    let calls = test.watch_calls();
    let begun = Instant::now();
    let operator = start(&test);
    let acts_after = begun.elapsed();
    test.until_idle(&operator);
    let counted = calls.so_far();
    counted.check_lease(LEASE_SECONDS);
    let (all, events) = (counted.calls, counted.events);
    let (cpu, memory) = operator.process.usage();
    println!(
        "restart with {MANY} certificates: stopped in {:.2} s; acts after {:.2} s, {} requests, \
         {cpu:.2} CPU s, {} MiB (a debug build; the first process: {before_cpu:.2} CPU s, {} MiB)",
        stopped_after.as_secs_f64(),
        acts_after.as_secs_f64(),
        all.len(),
        memory / 1024,
        before_memory / 1024
    );
    let writes: Vec<&Call> = all.iter().filter(|call| call.is_write()).collect();
    assert!(writes.is_empty(), "{writes:?}");
    assert_eq!(count(&all, "get", "secrets"), 0, "no Secret is read");
    assert_eq!(events, 0, "nothing happened");
    assert_eq!(test.ca_calls().await, ca_calls, "the CA is not asked");
    assert_eq!(count(&all, "list", "certificaterequests"), 1, "{all:?}");

    // It did look at all of them: the next change of any is acted on.
    test.kubectl(&["annotate", "certificaterequest", "r7", "chancery.dev/renew=now"]);
    test.until(&operator, "r7", "renewed", |request| crate::world::revision(request) == 2).await;
    test.good_pair("r7").await;
    assert_eq!(test.issued().await, MANY + 1);
}
