//! Orders where several things go wrong at once: answers of the API server or the CA are lost, and
//! processes die, one after the other.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::json;

use crate::orders::Paid;
use crate::processes::failpoints::dies;
use crate::processes::lease::Wire;
use crate::world::{PATIENCE, is_ready, revision, until};

/// Where the process dies that looks for orders whose answer was lost, in the order of their turns:
/// those first that leave orders for the next, however long each takes. What is to be claimed is so
/// only after the settle window; what is found is delivered meanwhile, but never what is still to be
/// ordered.
const ON_THE_WAY_BACK: [&str; 11] = [
    "after-read-record",
    "after-find",
    "after-status",
    "before-claim",
    "after-claim",
    "before-announce",
    "after-announce",
    "before-order",
    "after-order",
    "before-deliver",
    "after-deliver",
];
/// So many submits are lost on the way there, and so many on the way back.
const LOST: usize = 6;

#[tokio::test]
async fn killed_again_and_again_while_it_looks_for_first_orders_it_buys_each_once() {
    let (paid, operator) = Paid::new("paid-kills-first").await;
    lose_submits(&paid).await;
    let before = paid.ra.calls("issue").await;
    paid.test.create((0..2 * LOST).map(|at| paid.request(&format!("r{at}")))).await;
    until_submitted(&paid, before).await;
    assert_eq!(operator.process.stop(), Some(0));
    die_on_the_way_back(&paid).await;
    let operator = paid.start();
    paid.test.until_all_ready(&operator, 2 * LOST + 1).await;
    is_bought_once(&paid, 1, 1 + 2 * LOST).await;
}

#[tokio::test]
async fn killed_again_and_again_while_it_looks_for_renewals_it_buys_each_once() {
    let (paid, operator) = Paid::new("paid-kills-renewal").await;
    paid.test.create((0..2 * LOST).map(|at| paid.request(&format!("r{at}")))).await;
    paid.test.until_all_ready(&operator, 2 * LOST + 1).await;
    lose_submits(&paid).await;
    let before = paid.ra.calls("issue").await;
    for at in 0..2 * LOST {
        let name = format!("r{at}");
        paid.test.kubectl(&["annotate", "certificaterequest", &name, "chancery.dev/renew=1"]);
    }
    until_submitted(&paid, before).await;
    assert_eq!(operator.process.stop(), Some(0));
    die_on_the_way_back(&paid).await;
    let operator = paid.start();
    for at in 0..2 * LOST {
        let renewed = |request: &_| revision(request) == 2;
        paid.test.until(&operator, &format!("r{at}"), "renewed", renewed).await;
    }
    is_bought_once(&paid, 2, 1 + 4 * LOST).await;
}

/// Half of the next submits do not reach the CA, and the answers to the other half do not come back.
async fn lose_submits(paid: &Paid) {
    for kind in ["dropBeforeCommit", "dropAfterCommit"] {
        paid.ra.fault(json!({"operation": "issue", "kind": kind, "times": LOST})).await;
    }
}

async fn until_submitted(paid: &Paid, before: u64) {
    let begun = Instant::now();
    while paid.ra.calls("issue").await < before + 2 * LOST as u64 {
        assert!(begun.elapsed() < PATIENCE, "not all were submitted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn die_on_the_way_back(paid: &Paid) {
    for point in ON_THE_WAY_BACK {
        let begun = Instant::now();
        dies(paid.spawn(&[("CHANCERY_KILL_AT", point)]), point);
        println!(
            "killed at {point} after {:.1} s: {} orders",
            begun.elapsed().as_secs_f64(),
            paid.ra.total().await
        );
    }
}

async fn is_bought_once(paid: &Paid, wanted: i64, orders: usize) {
    for at in 0..2 * LOST {
        let name = format!("r{at}");
        let request = paid.test.get(&name).await;
        assert!(is_ready(&request), "{:#?}", request.status);
        assert_eq!(revision(&request), wanted, "{name}");
        paid.good_pair(&name).await;
    }
    paid.check(orders as u64).await;
}

#[tokio::test]
async fn killed_at_random_at_a_ca_that_loses_answers_it_buys_each_once() {
    const ORDERS: usize = 10;
    let (paid, operator) = Paid::new("paid-random-losses").await;
    assert_eq!(operator.process.stop(), Some(0));
    for (operation, kind, times) in [
        ("issue", json!({"kind": "dropBeforeCommit"}), 4),
        ("issue", json!({"kind": "dropAfterCommit"}), 4),
        ("issue", json!({"kind": "truncatedBody"}), 2),
        ("issue", json!({"kind": "delay", "seconds": 0.2}), 0),
        ("ordersPaged", json!({"kind": "delay", "seconds": 0.2}), 0),
        ("ordersPaged", json!({"kind": "dropAfterCommit"}), 3),
        // Each ends a poll, after which all are asked about half as often.
        ("chain", json!({"kind": "dropAfterCommit"}), 2),
    ] {
        let mut fault = kind;
        fault["operation"] = json!(operation);
        fault["times"] = json!(times);
        paid.ra.fault(fault).await;
    }
    paid.test.create((0..ORDERS).map(|at| paid.request(&format!("r{at}")))).await;
    let (begun, mut kills) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(25) {
        let mut operator = paid.spawn(&[]);
        // Three times as often short as long enough to give an order up for lost.
        let longest = if kills % 4 == 3 { 12_000 } else { 4000 };
        let moment = 300 + RandomState::new().hash_one(kills) % longest;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        operator.process.signal("KILL");
        operator.process.wait(Duration::from_secs(10)).expect("it is gone");
        kills += 1;
        println!("killed after {moment} ms: {} orders", paid.ra.total().await - 1);
    }
    let operator = paid.start();
    paid.test.until_all_ready(&operator, ORDERS + 1).await;
    paid.test.until_idle(&operator);
    for at in 0..ORDERS {
        paid.good_pair(&format!("r{at}")).await;
    }
    paid.check(1 + ORDERS as u64).await;
    println!("{ORDERS} requests, {kills} kills: {ORDERS} orders");
}

/// The write before which the process stands still while the answers begin to be lost, and what it
/// says of it.
const UNANSWERED: [(&str, &str); 3] = [
    ("before-record", "cannot create secrets"),
    ("before-announce", "cannot update certificaterequests/status"),
    ("before-deliver", "cannot create secrets"),
];

// The wire runs beside a test that waits without yielding.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_write_was_done_and_its_answer_lost_it_buys_once() {
    let (paid, operator) = Paid::new("paid-unanswered").await;
    assert_eq!(operator.process.stop(), Some(0));
    let kubeconfig = paid.test.world.plane.kubeconfig_of("chancery", "chancery");
    for (number, (point, says)) in UNANSWERED.into_iter().enumerate() {
        let name = format!("r{number}");
        let wire = Wire::start(&kubeconfig).await;
        let path = paid.test.world.plane.dir().join("order-wire.kubeconfig");
        std::fs::write(&path, &wire.kubeconfig).expect("writes");
        let path = path.display().to_string();
        let operator = paid.spawn(&[
            ("KUBECONFIG", &path),
            ("CHANCERY_LEADER_ELECT", "false"),
            ("CHANCERY_PAUSE_AT", point),
        ]);
        operator.wait_until_ready();
        paid.order(&name);
        until("the process stands still", || operator.process.is_stopped());
        let before = versions(&paid, &name).await;
        wire.lose_answers();
        operator.process.signal("CONT");
        operator.wait_until_it_says(says);
        assert_ne!(versions(&paid, &name).await, before, "{point}: the write was done");
        wire.mend();
        paid.test.until_ready(&operator, &name).await;
        paid.test.until_idle(&operator);
        paid.good_pair(&name).await;
        assert_eq!(revision(&paid.test.get(&name).await), 1, "{point}");
        paid.check(2 + number as u64).await;
        println!("{point}, with the answer lost: 1 order");
        assert_eq!(operator.process.stop(), Some(0));
    }
}

/// Versions of all that is written for a request.
async fn versions(paid: &Paid, name: &str) -> [Option<String>; 3] {
    let secrets: Api<Secret> = Api::namespaced(paid.test.client.clone(), &paid.test.namespace);
    let version = async |secret: &str| {
        secrets.get_opt(secret).await.expect("an answer")?.metadata.resource_version
    };
    [
        version(&format!("{name}.order")).await,
        version(&format!("{name}-tls")).await,
        paid.test.get(name).await.metadata.resource_version,
    ]
}

/// What is under way at the CA when the API server goes, and whether it comes before the submit.
const UNDER_WAY: [(&str, bool, bool); 4] = [
    ("validate", false, true),
    ("ordersPaged", false, false),
    ("issue", false, false),
    ("issue", true, false),
];

#[tokio::test]
async fn without_the_api_server_nothing_is_bought_that_is_not_recorded() {
    let (paid, operator) = Paid::new("paid-outages").await;
    assert_eq!(operator.process.stop(), Some(0));
    for (number, (operation, after_commit, is_unrecorded)) in UNDER_WAY.into_iter().enumerate() {
        // The lease outlives the outage: it is not the lease that holds the writes back.
        let mut operator = paid.spawn(&[("CHANCERY_LEASE_DURATION", "60s")]);
        operator.wait_until_ready();
        operator.wait_until_it_acts();
        let bought = paid.ra.total().await;
        let fault = json!({
            "operation": operation, "kind": "delay", "seconds": 2.0, "afterCommit": after_commit,
        });
        paid.ra.fault(fault).await;
        let name = format!("r{number}");
        paid.order(&name);
        paid.until_submit_hangs().await;
        paid.test.world.plane.kill_api_server();
        while paid.ra.requests().await["inFlight"] != 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        operator.wait_until_it_says("the status was not written");
        // A claim that grew old while the search took its time is not used.
        let most = bought + u64::from(!is_unrecorded);
        assert!(paid.ra.total().await <= most, "{operation}: orders while it is away");
        // The process dies with what it knows, and the next finds the API server back.
        let is_killed = number % 2 == 1;
        if is_killed {
            operator.process.signal("KILL");
            operator.process.wait(Duration::from_secs(10)).expect("it is gone");
        }
        paid.test.world.plane.restart_api_server();
        if is_killed {
            // Nobody has to wait for the end of its lease.
            let lease = ["delete", "lease", "chancery", "-n", "chancery"];
            paid.test.world.plane.kubectl(lease).expect("the lease goes");
            operator = paid.start();
        }
        paid.test.until_ready(&operator, &name).await;
        paid.test.until_idle(&operator);
        paid.good_pair(&name).await;
        paid.check(2 + number as u64).await;
        println!(
            "{operation} (committed: {after_commit}) when the API server went, process killed: \
             {is_killed}: 1 order"
        );
        assert_eq!(operator.process.stop(), Some(0));
    }
}
