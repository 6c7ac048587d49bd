//! One schedule, from the first request to the rest at the end.

use std::time::Duration;

use serde_json::Value;

use crate::api::Kind;
use crate::check::Finding;
use crate::plan::{Happening, Peer, Plan};
use crate::world::{NAMESPACE, World, condition, name, reason};

/// What came of a schedule.
pub struct Outcome {
    /// What happened, with the name of its effect.
    pub happened: Vec<(String, Happening)>,
    /// What must not be.
    pub findings: Vec<Finding>,
    /// Nothing is promised for what happened.
    pub is_beyond: bool,
    /// The effects of the processes.
    pub effects: Vec<(String, Peer)>,
    /// The same for the same schedule.
    pub digest: u64,
    /// What happened, to be read.
    pub trace: Vec<String>,
    /// Seconds of the world's time.
    pub seconds: u64,
    /// What the requests wait for at the end.
    pub ends: Vec<String>,
}

/// So long after the last thing that went wrong everything has come to rest, in seconds: refused
/// credentials rest for an hour, and waits double up to that.
const PATIENCE: u64 = 3 * 3600;
/// No schedule needs as many calls; whoever makes them turns in circles.
const MANY: usize = 3000;
/// Where midnight comes soon, it is over by now, whatever a clock says.
const TOMORROW: u64 = 1800;
/// A person looks so often once all is quiet, and may do something.
const ROUNDS: u32 = 4;

/// Runs a schedule.
pub fn run(plan: &Plan, is_traced: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(schedule(plan, is_traced));
    // Tasks that wait for ever go with it.
    drop(runtime);
    outcome
}

async fn schedule(plan: &Plan, is_traced: bool) -> Outcome {
    let world = World::new(plan, is_traced);
    world.furnish();
    for _ in 0..plan.setting.replicas {
        world.start_replica();
    }
    while !world.is_issuer_ready() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(world.second() < 300, "the issuer does not get ready");
    }
    if plan.setting.is_proven {
        world.prove();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.begin();
    let mut rounds = 0;
    loop {
        let step = if world.second() < 600 { 1 } else { 10 };
        tokio::time::sleep(Duration::from_secs(step)).await;
        world.keep();
        if rests(&world, plan) {
            if rounds == ROUNDS {
                break;
            }
            rounds += 1;
            world.round(rounds);
        } else if world.second() > world.troubled_until() + PATIENCE {
            for number in 0..plan.setting.requests {
                if !request_rests(&world, number) {
                    let text = format!("{}: {}", name(number), end(&world, number));
                    world.lock().ledger.add(Finding::Stuck(text));
                }
            }
            break;
        } else if world.lock().effects.len() > MANY {
            let text = format!("busy for nothing: {}", end(&world, 0));
            world.lock().ledger.add(Finding::Stuck(text));
            break;
        }
    }
    let ends = (0..plan.setting.requests).map(|number| end(&world, number)).collect();
    let is_beyond = world.is_beyond_promise();
    let seconds = world.second();
    let mut state = world.lock();
    world.examine(&mut state);
    Outcome {
        happened: std::mem::take(&mut state.happened),
        findings: state.ledger.findings(),
        is_beyond,
        effects: std::mem::take(&mut state.effects),
        digest: state.digest,
        trace: state.trace.take().unwrap_or_default(),
        seconds,
        ends,
    }
}

/// Nothing is under way, and nothing that went wrong is still to show.
fn rests(world: &World, plan: &Plan) -> bool {
    world.second() > world.troubled_until()
        && (0..plan.setting.requests).all(|number| request_rests(world, number))
}

fn request_rests(world: &World, number: usize) -> bool {
    let name = name(number);
    let orders = world.site().orders().expect("orders");
    let mut state = world.lock();
    let state = &mut *state;
    let Some(request) = state.api.object(Kind::CertificateRequest, NAMESPACE, &name) else {
        // Its namespace has ended.
        return state.api.object(Kind::Namespace, "", NAMESPACE).is_none();
    };
    let is_seen = request["status"]["observedGeneration"] == request["metadata"]["generation"];
    let is_true = |kind| condition(request, kind) == Some("True");
    if !is_seen {
        return false;
    }
    if is_true("Stalled") {
        return true;
    }
    match reason(request, "Issuing").unwrap_or_default() {
        // It waits for tomorrow.
        "ChurnLimitReached" => return true,
        "OrderBudgetSpent" if !world.is_near_midnight() || world.second() > TOMORROW => {
            return true;
        }
        // It waits for another's order, which waits for a person or for tomorrow.
        "OpenOrdersLimitReached" => {
            let mut all = state.api.objects(Kind::CertificateRequest);
            return all.any(|other| {
                let why = reason(other, "Issuing").unwrap_or_default();
                condition(other, "Stalled") == Some("True")
                    || matches!(why, "ChurnLimitReached" | "OrderBudgetSpent")
            });
        }
        _ => {}
    }
    is_true("Ready") && !is_true("Issuing") && state.ledger.is_served(&state.api, &orders, &name)
}

/// What a request waits for, in words.
fn end(world: &World, number: usize) -> String {
    let state = world.lock();
    let Some(request) = state.api.object(Kind::CertificateRequest, NAMESPACE, &name(number)) else {
        return "gone".to_owned();
    };
    let conditions = request["status"]["conditions"].as_array();
    let words = conditions.into_iter().flatten().map(|one| {
        let text = |key: &str| one[key].as_str().unwrap_or_default();
        format!("{}={} {}: {}", text("type"), text("status"), text("reason"), text("message"))
    });
    let words: Vec<String> = words.collect();
    let none = Value::Null;
    let generation = request.get("metadata").unwrap_or(&none)["generation"].clone();
    format!("generation {generation}; {}", words.join("; "))
}
