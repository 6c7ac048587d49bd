//! One schedule, from the first request to the rest at the end.

use std::time::Duration;

use serde_json::Value;

use crate::api::Kind;
use crate::ca::Bought;
use crate::check::Finding;
use crate::plan::{Happening, IssuerEdit, Paid, Peer, Plan, Setting};
use crate::world::{GREEDY, NAMESPACE, Planned, World, condition, name, namespace_of, reason};

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
    /// How many orders there are, those of the greedy namespace aside, and how many of those.
    pub orders: [usize; 2],
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
    let ends = (0..plan.setting.requests).map(|number| end(&world, &name(number))).collect();
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
    let orders = world.bought(&state);
    let untold = state.ledger.untold(&state.api, &orders);
    for untold in untold {
        state.ledger.add(Finding::Untrue(format!("nothing tells that {untold} was bought")));
    }
    let of = |namespace| {
        let name = |order| state.ledger.request_of(order).unwrap_or_default();
        orders.iter().filter(|order| namespace_of(&name(order)) == namespace).count()
    };
    let orders = [NAMESPACE, GREEDY].map(of);
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
        orders,
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
            let orders = world.bought(&world.lock());
            let all = world.requests().into_iter();
            let restless = all.filter(|name| !request_rests(world, &orders, name));
            stuck.extend(restless.map(|name| format!("{name}: {}", end(world, &name))));
        } else if world.lock().calls - calls > MANY {
            stuck.push(format!("busy for nothing: {}", end(world, &name(0))));
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
        let text = format!("busy at rest: {}", end(world, &name(0)));
        world.lock().ledger.add(Finding::Stuck(text));
    }
}

/// Nothing is under way, and nothing that went wrong is still to show.
fn rests(world: &World) -> bool {
    if world.second() <= world.troubled_until() {
        return false;
    }
    let orders = world.bought(&world.lock());
    world.requests().iter().all(|name| request_rests(world, &orders, name))
}

fn request_rests(world: &World, orders: &[Bought], name: &str) -> bool {
    let namespace = namespace_of(name);
    let mut state = world.lock();
    let state = &mut *state;
    let Some(request) = state.api.object(Kind::CertificateRequest, namespace, name) else {
        // Its namespace has ended.
        return state.api.object(Kind::Namespace, "", namespace).is_none();
    };
    let is_seen = request["status"]["observedGeneration"] == request["metadata"]["generation"];
    let is_true = |kind| condition(request, kind) == Some("True");
    if !is_seen {
        return false;
    }
    // Another has its Secret.
    if world.plan.setting.shares_target && name != self::name(0) {
        let why = reason(request, "Issuing").unwrap_or_default();
        return matches!(why, "SecretNameTaken" | "SecretNotOurs" | "Suspended");
    }
    if is_true("Stalled") {
        // For no reason it may be for a while, and is no rest. Who lies about itself may have to wait.
        let why = reason(request, "Issuing").unwrap_or_default();
        return state.ledger.has_lied(name) || warrants(&world.plan.setting, &state.happened, why);
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
        "NamespaceBudgetSpent" if limits.orders_per_namespace_per_day == 0 => {}
        why @ ("OrderBudgetSpent" | "NamespaceBudgetSpent")
            if !setting.is_near_midnight || world.second() > TOMORROW =>
        {
            let of = (why == "NamespaceBudgetSpent").then_some(namespace);
            let greedy = setting.greedy.map_or(0, |greedy| greedy.requests);
            let requests = match of {
                Some(GREEDY) => greedy,
                Some(_) => setting.requests,
                None => setting.requests + greedy,
            };
            let lost = state.lost(requests, limits.block());
            return setting.is_near_midnight || state.ledger.is_spent(orders, of, lost);
        }
        // What was to be followed is not there, and says so until a person has looked.
        "SearchIncomplete" | "OrderForgotten" | "OrderNotFound"
            if setting.paid == Paid::SslPurchase
                && state.happened.iter().any(|(_, one)| *one == Happening::Forgotten) =>
        {
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
    is_true("Ready") && !is_true("Issuing") && state.ledger.is_served(&state.api, orders, name)
}

/// Whether something has happened for which a person is asked in this way.
fn warrants(setting: &Setting, happened: &[(String, Happening)], why: &str) -> bool {
    let has = |kind: fn(&Happening) -> bool| happened.iter().any(|(_, one)| kind(one));
    let is_set_back =
        has(|one| matches!(one, Happening::SetBack { .. } | Happening::NamespaceEnds));
    let is_forgotten = has(|one| matches!(one, Happening::Forgotten));
    let is_another_issuer = happened.iter().any(|(_, one)| one.makes_another_issuer(setting));
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
                let is_new = is_another_issuer
                    || has(|one| matches!(one, Happening::AccountSwitched { .. }));
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
                // The order that was given up goes on at the CA, under the id of the one it followed.
                let is_given_up = setting.paid == Paid::SslPurchase
                    && has(|one| matches!(one, Happening::Released { .. }));
                has(is_foreign) || is_given_up
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
            "OrderAccountSwitched" => {
                let moves = |one: &Happening| {
                    matches!(one, Happening::Issuer { how: IssuerEdit::Moves, .. })
                };
                is_another_issuer || has(moves)
            }
            "OrderRecordForeign" => {
                has(|one| matches!(one, Happening::Conflict | Happening::Record { .. }))
            }
            "SecretNotOurs" => has(|one| matches!(one, Happening::Conflict | Happening::Taken)),
            _ => false,
        }
}

/// What a request waits for, in words.
fn end(world: &World, name: &str) -> String {
    let state = world.lock();
    let found = state.api.object(Kind::CertificateRequest, namespace_of(name), name);
    let Some(request) = found else {
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
