//! The API server and the store behind it end and come back in the middle of an order; and the store
//! comes back as it was before the order.

use std::time::Instant;

use chancery::api::condition;
use serde_json::{Value, json};

use crate::orders::Paid;
use crate::support::control_plane::ControlPlane;
use crate::support::operator::Operator;
use crate::world::{issuing, revision, until};

/// Where an order is when it happens.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The process stands still here.
    At(&'static str),
    /// The CA has the submit and has not answered.
    Submitting { is_committed: bool },
    /// The CA has the order, and a person has to approve it.
    Pending,
}

const MOMENTS: [Moment; 6] = [
    Moment::At("after-record"),
    Moment::Submitting { is_committed: false },
    Moment::Submitting { is_committed: true },
    Moment::Pending,
    Moment::At("before-deliver"),
    Moment::At("after-deliver"),
];

#[tokio::test]
async fn the_api_server_is_told_to_end_in_the_middle_of_an_order_and_it_buys_once() {
    in_the_middle_of_an_order("paid-api-term", |plane| {
        plane.end_api_server("TERM");
        plane.restart_api_server();
    })
    .await;
}

#[tokio::test]
async fn the_api_server_is_killed_in_the_middle_of_an_order_and_it_buys_once() {
    in_the_middle_of_an_order("paid-api-kill", |plane| {
        plane.kill_api_server();
        plane.restart_api_server();
    })
    .await;
}

#[tokio::test]
async fn etcd_is_killed_in_the_middle_of_an_order_and_it_buys_once() {
    in_the_middle_of_an_order("paid-etcd-kill", |plane| {
        plane.kill_etcd();
        until("the API server misses it", || plane.kubectl(["get", "--raw", "/readyz"]).is_err());
        plane.restart_etcd();
    })
    .await;
}

async fn in_the_middle_of_an_order(name: &str, restart: impl Fn(&ControlPlane)) {
    let (paid, operator) = Paid::new(name).await;
    assert_eq!(operator.process.stop(), Some(0));
    for (number, moment) in MOMENTS.into_iter().enumerate() {
        let begun = Instant::now();
        let name = format!("r{number}");
        // The lease outlives it: what is under way in this process goes on.
        let mut env = vec![("CHANCERY_LEASE_DURATION", "60s")];
        if let Moment::At(point) = moment {
            env.push(("CHANCERY_PAUSE_AT", point));
        }
        let operator = paid.spawn(&env);
        operator.wait_until_ready();
        operator.wait_until_it_acts();
        reach(&paid, &operator, &name, moment).await;
        restart(&paid.test.world.plane);
        go_on(&paid, &operator, &name, moment).await;
        paid.test.until_ready(&operator, &name).await;
        paid.test.until_idle(&operator);
        paid.good_pair(&name).await;
        assert_eq!(revision(&paid.test.get(&name).await), 1, "{moment:?}");
        paid.check(2 + number as u64).await;
        println!("{moment:?}: 1 order, after {:.1} s", begun.elapsed().as_secs_f64());
        assert_eq!(operator.process.stop(), Some(0));
    }
}

/// Makes the order, and waits until it is there.
async fn reach(paid: &Paid, operator: &Operator, name: &str, moment: Moment) {
    match moment {
        Moment::At(_) => {
            paid.order(name);
            until("the process stands still", || operator.process.is_stopped());
        }
        Moment::Submitting { is_committed } => {
            let slow = json!({
                "operation": "issue", "kind": "delay", "seconds": 2.5, "afterCommit": is_committed,
            });
            paid.ra.fault(slow).await;
            paid.order(name);
            paid.until_submit_hangs().await;
        }
        Moment::Pending => {
            paid.let_orders_wait().await;
            paid.order(name);
            paid.until_taken(operator, name).await;
        }
    }
}

/// Lets it go on from there.
async fn go_on(paid: &Paid, operator: &Operator, name: &str, moment: Moment) {
    match moment {
        Moment::At(_) => operator.process.signal("CONT"),
        Moment::Submitting { .. } => {}
        Moment::Pending => {
            let id = paid.until_taken(operator, name).await;
            paid.approve(&id).await;
            paid.ra.change(json!({"states": null})).await;
        }
    }
}

/// What is ordered after a backup of the store has its key nowhere once the store is set back: a
/// person is told, and nothing is bought again before that person says so. What was ordered before
/// goes on.
#[tokio::test]
async fn set_back_to_before_a_record_nothing_is_adopted_and_nothing_bought_by_itself() {
    let (paid, operator) = Paid::new("paid-set-back").await;
    paid.let_orders_wait().await;
    paid.order("before");
    let before = paid.until_taken(&operator, "before").await;
    assert_eq!(operator.process.stop(), Some(0));
    paid.order("first");
    paid.test.kubectl(&["annotate", "certificaterequest", "proof", "chancery.dev/renew=1"]);
    let old = paid.test.pair("proof").await.expect("a pair");
    let plane = &paid.test.world.plane;
    plane.back_up();

    let operator = paid.start();
    let first = paid.until_taken(&operator, "first").await;
    let renewal = paid.until_taken(&operator, "proof").await;
    for id in [&before, &first, &renewal] {
        paid.approve(id).await;
    }
    paid.test.until(&operator, "proof", "renewed", |request| revision(request) == 2).await;
    // Nothing of this one is in the backup, and somebody keeps its Secret.
    paid.ra.change(json!({"states": null})).await;
    paid.order("after");
    paid.test.until_all_ready(&operator, 4).await;
    let kept = paid.test.kubectl(&["get", "secret", "after-tls", "-o", "json"]);
    let mut kept: Value = serde_json::from_str(&kept).expect("JSON");
    let metadata = kept["metadata"].as_object_mut().expect("metadata");
    metadata
        .retain(|key, _| ["annotations", "labels", "name", "namespace"].contains(&key.as_str()));
    paid.check(5).await;
    // Otherwise a live process would compare with versions that are given out again.
    assert_eq!(operator.process.stop(), Some(0));
    plane.set_back();
    plane.kubectl_stdin(&["create", "-f", "-"], &kept.to_string()).expect("it is put back");
    paid.order("after");

    let submits = paid.ra.calls("issue").await;
    let operator = paid.start();
    paid.test.until_ready(&operator, "before").await;
    paid.test.until_ready(&operator, "after").await;
    paid.good_pair("before").await;
    paid.good_pair("after").await;
    for (name, id) in [("first", &first), ("proof", &renewal)] {
        let is_told = |request: &_| issuing(request).0 == "OrderForForeignKey";
        let request = paid.test.until(&operator, name, "held", is_told).await;
        assert!(issuing(&request).1.contains(id.as_str()), "{:?}", issuing(&request));
        let conditions = request.status.expect("a status").conditions;
        assert!(condition::is_true(&conditions, "Stalled"), "{conditions:#?}");
        assert_eq!(condition::is_true(&conditions, "Ready"), name == "proof", "{conditions:#?}");
    }
    paid.test.until_idle(&operator);
    assert_eq!(paid.test.pair("first").await, None, "a certificate without its key");
    assert_eq!(paid.test.pair("proof").await, Some(old), "what is delivered stays");
    assert_eq!(paid.ra.calls("issue").await, submits, "nothing is submitted");
    assert_eq!(paid.ra.total().await, 5);

    // The person has looked, and pays once more.
    for name in ["first", "proof"] {
        let order = paid.test.get(name).await.status.and_then(|status| status.order);
        let reference = order.expect("an order").reference;
        let release = format!("chancery.dev/release={reference}");
        paid.test.kubectl(&["annotate", "certificaterequest", name, &release]);
    }
    paid.test.until(&operator, "proof", "renewed", |request| revision(request) == 2).await;
    paid.test.until_all_ready(&operator, 4).await;
    paid.test.until_idle(&operator);
    for name in ["before", "first", "proof"] {
        paid.good_pair(name).await;
    }
    assert_eq!(paid.ra.total().await, 7, "one more for each that was released");
}
