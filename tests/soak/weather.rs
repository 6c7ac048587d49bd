//! A CA that is slow, loses answers, shows new orders late, and takes its time over them.

use serde_json::{Value, json};

use super::random::Random;
use crate::support::simulator::SwissSign;

/// A new order is invisible to searches for as long as this at most, in seconds.
const LONGEST_LAG: f64 = 1.5;
/// A submit takes at most so long at the CA, in seconds, and the answer as long again.
const LONGEST_SUBMIT: f64 = 2.0;
/// More faults than this are not kept waiting: at the end of an outage all would come at once.
const MOST_FAULTS: usize = 12;

/// Has the next calls answered badly. Nothing in it puts the CA in the wrong about an order: each
/// fault is one that an honest CA and an honest network have.
///
/// A search that fails at the end of the settle window is told to a person and repeated ten minutes
/// later; who has no time for that leaves searches alone.
pub async fn worsen(ra: &SwissSign<'_>, has_time: bool, random: &mut Random) {
    if ra.faults().await.len() >= MOST_FAULTS {
        ra.clear_faults().await;
    }
    let slow = |seconds: f64, after: bool| json!({"kind": "delay", "seconds": seconds, "afterCommit": after});
    let (operation, mut fault): (&str, Value) = match random.below(if has_time { 24 } else { 22 }) {
        0..3 => ("issue", json!({"kind": "dropBeforeCommit"})),
        3..6 => ("issue", json!({"kind": "dropAfterCommit"})),
        6 => ("issue", json!({"kind": "truncatedBody"})),
        7 => ("issue", json!({"kind": "emptyBody"})),
        8 => ("issue", json!({"kind": "hang"})),
        9 => ("issue", json!({"kind": "status", "status": 503})),
        10 => ("issue", json!({"kind": "status", "status": 429, "retryAfter": 1})),
        11..13 => ("issue", slow(random.seconds(0.2, LONGEST_SUBMIT), false)),
        13..15 => ("issue", slow(random.seconds(0.2, LONGEST_SUBMIT), true)),
        15 => ("validate", json!({"kind": "status", "status": 503})),
        16 => ("validate", slow(random.seconds(0.1, 1.0), false)),
        17 => ("ordersPaged", slow(random.seconds(0.1, 1.5), true)),
        18 => ("chain", json!({"kind": "dropAfterCommit"})),
        19 => ("chain", slow(random.seconds(0.1, 1.5), false)),
        20 => ("jwt", json!({"kind": "status", "status": 503})),
        21 => ("tasks", json!({"kind": "dropAfterCommit"})),
        22 => ("ordersPaged", json!({"kind": "status", "status": 500})),
        _ => ("ordersPaged", json!({"kind": "dropAfterCommit"})),
    };
    fault["operation"] = json!(operation);
    fault["times"] = json!(1 + random.below(2));
    ra.fault(fault).await;
}

/// Another life for the orders that follow, and another lag; now and then the tokens are void.
pub async fn change(ra: &SwissSign<'_>, random: &mut Random) {
    let mut seconds = |from: f64, to: f64| (random.seconds(from, to) * 10.0).round() / 10.0;
    let mut states = vec![json!({"state": "NEW", "seconds": seconds(0.0, 1.0)})];
    let waiting = seconds(0.0, 8.0);
    let lag = seconds(0.0, LONGEST_LAG);
    let missing = seconds(-2.0, 2.0).max(0.0);
    match random.below(4) {
        0 => {}
        1 => states.push(json!({"state": "PRE_VALIDATION", "seconds": waiting})),
        2 => states.push(json!({"state": "PENDING_AUTH", "seconds": waiting})),
        _ => {
            states.push(json!({"state": "PRE_VALIDATION", "seconds": 0.5}));
            states.push(json!({"state": "PENDING_AUTH", "seconds": waiting}));
        }
    }
    states.push(json!({"state": "ISSUE", "seconds": 0.5}));
    states.push(json!({"state": "ISSUED"}));
    ra.change(json!({
        "states": states,
        "searchLagSeconds": lag,
        "chainMissingSeconds": missing,
        "lowercaseStatus": random.is_one_in(3),
    }))
    .await;
    if random.is_one_in(4) {
        ra.restart().await;
    }
}

/// The CA is as it should be.
pub async fn mend(ra: &SwissSign<'_>) {
    ra.clear_faults().await;
    ra.change(json!({
        "states": null,
        "searchLagSeconds": 0.0,
        "chainMissingSeconds": 0.0,
        "lowercaseStatus": false,
    }))
    .await;
}
