//! Processes that stand still in the middle of an order and go on when another has taken over; and
//! two that act at once. Claims are what is left to prevent a second order.

use std::time::Duration;

use serde_json::json;

use crate::orders::Paid;
use crate::support::operator::Operator;
use crate::world::{revision, until};

/// Where a process stands still that holds the lease, so that each effect has one before and one
/// after it.
const PAUSED: [&str; 9] = [
    "before-record",
    "after-record",
    "after-announce",
    "after-find",
    "before-order",
    "after-order",
    "after-read-record",
    "before-deliver",
    "after-deliver",
];

fn until_stopped(operator: &Operator) {
    until("the process stands still", || operator.process.is_stopped());
}

fn end(mut operator: Operator) {
    operator.process.signal("KILL");
    operator.process.wait(Duration::from_secs(10)).expect("it is gone");
}

#[tokio::test]
async fn paused_until_another_took_over_it_buys_once() {
    let (paid, operator) = Paid::new("paid-paused").await;
    assert_eq!(operator.process.stop(), Some(0));
    for (number, point) in PAUSED.into_iter().enumerate() {
        let name = format!("r{number}");
        let first = paid.spawn(&[("CHANCERY_PAUSE_AT", point)]);
        first.wait_until_ready();
        first.wait_until_it_acts();
        let second = paid.spawn(&[]);
        second.wait_until_ready();
        let submits = paid.ra.calls("issue").await;
        paid.order(&name);
        until_stopped(&first);
        until("the other takes over", || second.acts() == Some(true));
        first.process.signal("CONT");
        paid.test.until_ready(&second, &name).await;
        paid.test.until_idle(&second);
        paid.good_pair(&name).await;
        assert_eq!(revision(&paid.test.get(&name).await), 1, "{point}");
        paid.check(2 + number as u64).await;
        assert_eq!(paid.ra.calls("issue").await, submits + 1, "{point}");
        println!("paused at {point}: 1 order");
        end(first);
        assert_eq!(second.process.stop(), Some(0));
    }
}

/// Without the lease each process acts as if it were alone.
const ALONE: (&str, &str) = ("CHANCERY_LEADER_ELECT", "false");

#[tokio::test]
async fn two_without_a_lease_buy_each_once() {
    const ORDERS: usize = 20;
    let (paid, operator) = Paid::new("paid-no-lease").await;
    assert_eq!(operator.process.stop(), Some(0));
    let both = [(); 2].map(|()| paid.spawn(&[ALONE]));
    both.iter().for_each(Operator::wait_until_ready);
    paid.test.create((0..ORDERS).map(|at| paid.request(&format!("r{at}")))).await;
    paid.test.until_all_ready(&both[0], ORDERS + 1).await;
    both.iter().for_each(|one| paid.test.until_idle(one));
    paid.check(1 + ORDERS as u64).await;
    for at in 0..ORDERS {
        let name = format!("r{at}");
        paid.test.kubectl(&["annotate", "certificaterequest", &name, "chancery.dev/renew=1"]);
    }
    for at in 0..ORDERS {
        let name = format!("r{at}");
        let renewed = |request: &_| revision(request) == 2;
        paid.test.until(&both[0], &name, "renewed", renewed).await;
    }
    both.iter().for_each(|one| paid.test.until_idle(one));
    paid.check(1 + 2 * ORDERS as u64).await;
    for at in 0..ORDERS {
        paid.good_pair(&format!("r{at}")).await;
    }
    let took = |one: &Operator| one.process.log().matches("the CA took the order").count();
    println!("{ORDERS} orders and renewals, bought by {} and {}", took(&both[0]), took(&both[1]));
}

/// Where a process stands still without a lease, for longer than a lost order is looked for, and how
/// many orders there are in the end.
const PAUSED_FOR_LONG: [(&str, u64); 8] = [
    ("before-record", 1),
    ("after-record", 1),
    ("before-announce", 1),
    ("after-announce", 1),
    ("after-find", 1),
    // The promise ends here: the request is as good as on its way, and no clock can call it back.
    ("before-order", 2),
    ("after-order", 1),
    ("before-deliver", 1),
];

#[tokio::test]
async fn paused_for_longer_than_an_order_is_looked_for_it_uses_no_old_claim() {
    let (paid, operator) = Paid::new("paid-paused-long").await;
    assert_eq!(operator.process.stop(), Some(0));
    let mut bought = 1;
    for (number, (point, orders)) in PAUSED_FOR_LONG.into_iter().enumerate() {
        let name = format!("r{number}");
        let first = paid.spawn(&[ALONE, ("CHANCERY_PAUSE_AT", point)]);
        first.wait_until_ready();
        paid.order(&name);
        until_stopped(&first);
        let second = paid.spawn(&[ALONE]);
        second.wait_until_ready();
        paid.test.until_ready(&second, &name).await;
        paid.test.until_idle(&second);
        let pair = paid.test.pair(&name).await;
        first.process.signal("CONT");
        bought += orders;
        until("the first has gone on", || !first.process.is_stopped());
        if point == "before-order" {
            until("the late submit is answered", || {
                first.process.log().contains("the CA took the order")
            });
        }
        paid.test.until_idle(&first);
        // Also where money was lost, no key was: the late order is for the same one.
        paid.check(bought).await;
        paid.good_pair(&name).await;
        assert_eq!(paid.test.pair(&name).await, pair, "{point}: what is delivered stays");
        assert_eq!(revision(&paid.test.get(&name).await), 1, "{point}");
        println!("paused for long at {point}: {orders} order(s)");
        end(first);
        assert_eq!(second.process.stop(), Some(0));
    }
}

#[tokio::test]
async fn an_order_that_the_ca_takes_later_than_it_is_looked_for_loses_no_key() {
    let (paid, operator) = Paid::new("paid-late").await;
    // Beyond the promise: the CA commits after a time longer than twice its deadline.
    let late = json!({"operation": "issue", "kind": "delay", "seconds": 14.0});
    paid.ra.fault(late).await;
    paid.order("shop");
    paid.test.until_ready(&operator, "shop").await;
    let pair = paid.test.pair("shop").await;
    let begun = std::time::Instant::now();
    while paid.ra.total().await < 3 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never came");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    paid.test.until_idle(&operator);
    paid.good_pair("shop").await;
    assert_eq!(paid.test.pair("shop").await, pair, "what is delivered stays");
    paid.check(3).await;
    println!("a CA that takes an order after 14 s: 2 orders for one key");
}

#[tokio::test]
async fn told_to_end_while_a_submit_hangs_it_notes_the_answer_first() {
    let (paid, mut operator) = Paid::new("paid-told-to-end").await;
    paid.let_orders_wait().await;
    let slow = json!({"operation": "issue", "kind": "delay", "seconds": 2.0, "afterCommit": true});
    paid.ra.fault(slow).await;
    let submits = paid.ra.calls("issue").await;
    paid.order("answered");
    paid.until_submit_hangs().await;
    operator.process.signal("TERM");
    assert_eq!(operator.process.wait(Duration::from_secs(20)), Some(0));
    assert!(operator.process.log().contains("the lease is released"));
    // Nobody else runs: it is the one that was told to end that noted it.
    let status = paid.test.get("answered").await.status.expect("a status");
    let id = status.order.and_then(|order| order.id).expect("the id of the order");
    paid.approve(&id).await;
    let mut operator = paid.start();
    paid.test.until_ready(&operator, "answered").await;
    assert_eq!(paid.ra.calls("issue").await, submits + 1);
    paid.check(2).await;

    // A CA that never answers is waited for no longer than its deadline.
    paid.ra.change(json!({"states": [{"state": "ISSUED"}]})).await;
    paid.ra.fault(json!({"operation": "issue", "kind": "hang"})).await;
    paid.order("unanswered");
    paid.until_submit_hangs().await;
    operator.process.signal("TERM");
    assert_eq!(operator.process.wait(Duration::from_secs(20)), Some(0));
    let operator = paid.start();
    paid.test.until_ready(&operator, "unanswered").await;
    paid.good_pair("unanswered").await;
    paid.check(3).await;
}
