//! One schedule, from the first request to the rest at the end.

use std::time::Duration;

use serde_json::Value;

use crate::api::Kind;
use crate::check::Finding;
use crate::plan::{Happening, IssuerEdit, Peer, Plan, Setting};
use crate::world::{NAMESPACE, Planned, World, condition, name, reason};

/// What came of a schedule.
pub struct Outcome {
    /// What happened, with the name of its effect.
    pub happened: Vec<(String, Happening)>,
    /// What must not be.
    pub findings: Vec<Finding>,
    /// What is not promised, for what happened.
    pub excused: Vec<Finding>,
    /// What happened that is beyond the promise.
    pub beyond: Vec<&'static str>,
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
/// Nothing needs as many calls; whoever makes them turns in circles.
const MANY: usize = 3000;
/// So long all is left to itself: what a person has to mend is looked at every ten minutes.
const ALONE: Duration = Duration::from_secs(25 * 60);
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
    PANICS.take();
    let mut outcome = runtime.block_on(schedule(plan, is_traced));
    // Tasks that wait for ever go with it.
    drop(runtime);
    if let Some(panic) = PANICS.take() {
        outcome.findings.push(Finding::Stuck(format!("something panicked: {panic}")));
    }
    outcome
}

std::thread_local! {
    static PANICS: std::cell::Cell<Option<String>> = const { std::cell::Cell::new(None) };
}

/// Has panics noted, which end a task of the runtime and nothing else.
pub fn note_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().is::<Planned>() {
            return;
        }
        PANICS.set(Some(panic.to_string()));
        usual(panic);
    }));
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
    while come_to_rest(&world).await {
        if rounds == ROUNDS {
            leave_alone(&world).await;
            break;
        }
        rounds += 1;
        world.round(rounds);
    }
    let ends = (0..plan.setting.requests).map(|number| end(&world, number)).collect();
    let beyond = world.beyond_promise();
    let seconds = world.second();
    let mut state = world.lock();
    world.examine(&mut state);
    if let [(name, Happening::Panic { .. })] = &state.happened[..]
        && is_of_a_request(name)
        && !state.ledger.has_told_of_panic
    {
        let text = format!("a run panicked at {name}, and its request has not said so");
        state.ledger.add(Finding::Untrue(text));
    }
    let is_excused =
        |finding: &Finding| beyond.iter().any(|(_, excused)| excused.contains(&finding.kind()));
    let (excused, findings) = state.ledger.findings().into_iter().partition(is_excused);
    Outcome {
        happened: std::mem::take(&mut state.happened),
        findings,
        excused,
        beyond: beyond.iter().map(|(what, _)| *what).collect(),
        effects: std::mem::take(&mut state.effects),
        digest: state.digest,
        trace: state.trace.take().unwrap_or_default(),
        seconds,
        ends,
    }
}

/// Whether the run of a request makes this call, and nothing else does.
fn is_of_a_request(name: &str) -> bool {
    name.contains("ca issue") || name.contains("secrets") || name.contains("certificaterequests")
}

/// Waits until all rests; false where it does not, which is noted.
async fn come_to_rest(world: &World) -> bool {
    let begun = world.second();
    let calls = world.lock().calls;
    loop {
        let step = if world.second() < 600 { 1 } else { 10 };
        tokio::time::sleep(Duration::from_secs(step)).await;
        world.keep();
        if rests(world) {
            return true;
        }
        let mut stuck = Vec::new();
        if world.second() > begun.max(world.troubled_until()) + PATIENCE {
            let restless =
                (0..world.plan.setting.requests).filter(|number| !request_rests(world, *number));
            stuck
                .extend(restless.map(|number| format!("{}: {}", name(number), end(world, number))));
        } else if world.lock().calls - calls > MANY {
            stuck.push(format!("busy for nothing: {}", end(world, 0)));
        }
        if !stuck.is_empty() {
            let ledger = &mut world.lock().ledger;
            stuck.into_iter().for_each(|text| ledger.add(Finding::Stuck(text)));
            return false;
        }
    }
}

/// What rests stays as it is: by itself, and when all processes start anew.
async fn leave_alone(world: &World) {
    world.calm();
    let calls = world.lock().calls;
    if world.plan.setting.is_long {
        tokio::time::sleep(ALONE).await;
    }
    world.end_all();
    tokio::time::sleep(Duration::from_secs(10)).await;
    if come_to_rest(world).await && world.lock().calls - calls > MANY {
        let text = format!("busy at rest: {}", end(world, 0));
        world.lock().ledger.add(Finding::Stuck(text));
    }
}

/// Nothing is under way, and nothing that went wrong is still to show.
fn rests(world: &World) -> bool {
    world.second() > world.troubled_until()
        && (0..world.plan.setting.requests).all(|number| request_rests(world, number))
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
    // Another has its Secret.
    if world.plan.setting.shares_target && number > 0 {
        let why = reason(request, "Issuing").unwrap_or_default();
        return matches!(why, "SecretNameTaken" | "SecretNotOurs" | "Suspended");
    }
    if is_true("Stalled") {
        // For no reason it may be for a while, and is no rest.
        let why = reason(request, "Issuing").unwrap_or_default();
        return warrants(&world.plan.setting, &state.happened, why);
    }
    let (setting, limits) = (&world.plan.setting, world.plan.setting.limits);
    match reason(request, "Issuing").unwrap_or_default() {
        // It waits for tomorrow. Ten orders, the default, are enough where certificates do not end after
        // minutes.
        "ChurnLimitReached"
            if limits.orders_per_request_per_day > 0 || setting.lifetime.is_some() =>
        {
            return true;
        }
        "OrderBudgetSpent" if limits.orders_per_day == 0 => {}
        "OrderBudgetSpent" if !setting.is_near_midnight || world.second() > TOMORROW => {
            return true;
        }
        // It waits for another's order, which waits for a person or for tomorrow.
        "OpenOrdersLimitReached" => {
            let mut all = state.api.objects(Kind::CertificateRequest);
            return all.any(|other| {
                let why = reason(other, "Issuing").unwrap_or_default();
                let phase = other["status"]["order"]["phase"].as_str().unwrap_or_default();
                let is_open = matches!(phase, "Pending" | "Submitting" | "Unknown");
                is_open && condition(other, "Stalled") == Some("True")
                    || matches!(why, "ChurnLimitReached" | "OrderBudgetSpent")
            });
        }
        _ => {}
    }
    is_true("Ready") && !is_true("Issuing") && state.ledger.is_served(&state.api, &orders, &name)
}

/// Whether something has happened for which a person is asked in this way.
fn warrants(setting: &Setting, happened: &[(String, Happening)], why: &str) -> bool {
    let has = |kind: fn(&Happening) -> bool| happened.iter().any(|(_, one)| kind(one));
    let is_set_back =
        has(|one| matches!(one, Happening::SetBack { .. } | Happening::NamespaceEnds));
    let is_forgotten = has(|one| matches!(one, Happening::Forgotten));
    let searches_badly = !setting.is_proven
        || setting.drops_tags
        || setting.ignores_tags
        || setting.omits_open_orders;
    let is_searched_in_vain = happened.iter().any(|(name, one)| {
        name.contains("ca ")
            && !matches!(
                one,
                Happening::Crash { .. } | Happening::Panic { .. } | Happening::Pause { .. }
            )
    });
    is_set_back
        || match why {
            "OrderOutcomeUnknown" => {
                let is_endless = has(|one| matches!(one, Happening::Endless { .. }));
                // Another issuer has not seen its search find anything.
                let is_new = has(|one| {
                    one.makes_another_issuer() || matches!(one, Happening::AccountSwitched { .. })
                });
                searches_badly || is_forgotten || is_searched_in_vain || is_endless || is_new
            }
            // It has expired while something else was in the way.
            "CertificateUnusable" => {
                setting.lifetime.is_some()
                    || has(|one| matches!(one, Happening::NameDropped { .. }))
            }
            "OrderForForeignKey" => {
                // What is ordered under a key that somebody threw away is another's ever after.
                let is_foreign = |one: &Happening| {
                    matches!(
                        one,
                        Happening::Cloned { .. } | Happening::Record { .. } | Happening::WrongKey
                    )
                };
                has(is_foreign)
            }
            "OrderRecordEdited" | "OrderRecordLost" => {
                has(|one| matches!(one, Happening::Record { .. }))
            }
            "OrderRejected" => has(|one| matches!(one, Happening::Rejected)),
            // Whether an order that is not there was made and delivered is told by when and how often
            // something was delivered; where that is unclear a person is asked.
            "OrderForgotten" => {
                is_forgotten
                    || has(|one| {
                        matches!(
                            one,
                            Happening::ClockJump { .. }
                                | Happening::TargetDeleted { .. }
                                | Happening::TargetRestored { .. }
                        )
                    })
            }
            // Which product it was for nobody knows any more, or it is found at no address.
            "OrderAccountSwitched" => has(|one| {
                one.makes_another_issuer()
                    || matches!(one, Happening::Issuer { how: IssuerEdit::Moves, .. })
            }),
            "OrderRecordForeign" => {
                has(|one| matches!(one, Happening::Conflict | Happening::Record { .. }))
            }
            "SecretNotOurs" => has(|one| matches!(one, Happening::Conflict | Happening::Taken)),
            _ => false,
        }
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
