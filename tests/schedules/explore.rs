//! Many schedules: all with one or two things that go wrong, and as many by chance as one likes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::check::Finding;
use crate::plan::{self, Happening, Peer, Plan, Setting, Source};
use crate::run::{Outcome, run};

/// What many schedules came to.
#[derive(Default)]
pub struct Sum {
    pub schedules: usize,
    /// What was found that must not be, by kind.
    pub found: BTreeMap<&'static str, usize>,
    pub beyond_promise: usize,
    /// What happened and what was found beyond the promise.
    pub beyond: BTreeMap<&'static str, usize>,
    /// How schedules ended, by reason.
    pub ends: BTreeMap<String, usize>,
    /// The first few that must not be.
    pub failed: Vec<(String, Plan)>,
    pub happenings: usize,
    /// The same for the same schedules, in whatever order they were run.
    pub digest: u64,
    pub hours: f64,
    pub effects: usize,
}

impl Sum {
    fn add(&mut self, label: &str, plan: &Plan, outcome: &Outcome) {
        self.schedules += 1;
        self.happenings += outcome.happened.len();
        self.digest = self.digest.wrapping_add(outcome.digest);
        self.hours += outcome.seconds as f64 / 3600.0;
        self.effects += outcome.effects.len();
        for end in &outcome.ends {
            *self.ends.entry(reason(end)).or_default() += 1;
        }
        self.beyond_promise += usize::from(!outcome.beyond.is_empty());
        for what in &outcome.beyond {
            *self.beyond.entry(what).or_default() += 1;
        }
        for finding in &outcome.excused {
            *self.beyond.entry(finding.kind()).or_default() += 1;
        }
        for finding in &outcome.findings {
            *self.found.entry(finding.kind()).or_default() += 1;
        }
        if !outcome.findings.is_empty() && self.failed.len() < 20 {
            self.failed.push((label.to_owned(), plan.clone()));
        }
    }

    /// Whether nothing was found that must not be.
    pub fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    /// The line for machines.
    pub fn json(&self, seed: Option<u64>, took: Duration) -> String {
        let mut line = json!({
            "schedules": self.schedules,
            "beyond_promise": self.beyond_promise,
            "found_beyond_promise": self.beyond,
            "happenings": self.happenings,
            "effects": self.effects,
            "hours_in_the_world": self.hours.round(),
            "digest": format!("{:016x}", self.digest),
            "ends": self.ends,
            "seed": seed,
            "seconds": took.as_secs(),
        });
        for kind in Finding::KINDS {
            line[kind] = self.found.get(kind).copied().unwrap_or_default().into();
        }
        line.to_string()
    }
}

/// `Ready` or the reason of the hold.
fn reason(end: &str) -> String {
    let part = |kind: &str| {
        let (_, rest) = end.split_once(kind)?;
        Some(rest.split(':').next().unwrap_or_default().to_owned())
    };
    part("Stalled=True ").or_else(|| part("Ready=True ")).unwrap_or_else(|| "other".to_owned())
}

type Plans<'a> = &'a (dyn Fn(usize) -> Option<(String, Plan)> + Sync);

/// Runs all of these on all cores, with a line now and then.
pub fn all(what: &str, plans: Plans<'_>) -> Sum {
    all_with(what, plans, &|_, _| ())
}

/// The same; each outcome is shown around.
fn all_with(what: &str, plans: Plans<'_>, seen: &(dyn Fn(usize, &Outcome) + Sync)) -> Sum {
    let next = AtomicUsize::new(0);
    let sum = Mutex::new(Sum::default());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let begun = Instant::now();
    let told = Mutex::new(begun);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((label, plan)) = plans(number) else { return };
                    let started = Instant::now();
                    let outcome = run(&plan, false);
                    if started.elapsed() > Duration::from_secs(2) {
                        println!(
                            "slow: {label}, {} effects, {} s",
                            outcome.effects.len(),
                            outcome.seconds
                        );
                    }
                    seen(number, &outcome);
                    let mut sum = sum.lock().expect("no panic");
                    sum.add(&label, &plan, &outcome);
                    let mut told = told.lock().expect("no panic");
                    if told.elapsed() > Duration::from_secs(5) {
                        *told = Instant::now();
                        let rate = sum.schedules as f64 / begun.elapsed().as_secs_f64();
                        println!("{what}: {} schedules, {rate:.0} a second", sum.schedules);
                        let _ = std::io::stdout().flush();
                    }
                }
            });
        }
    });
    sum.into_inner().expect("no panic")
}

/// `count` schedules of the seeds from `seed`.
pub fn random(seed: u64, count: usize) -> Sum {
    all("by chance", &|number| {
        let seed = seed.wrapping_add(u64::try_from(number).ok()?);
        (number < count).then(|| (format!("SEED={seed}"), Plan::of(seed)))
    })
}

/// What can go wrong at one effect.
fn faults(peer: Peer) -> [Happening; 4] {
    let fourth = match peer {
        Peer::Write => Happening::Conflict,
        Peer::Ca | Peer::Lease | Peer::Read | Peer::Person => Happening::Refused { status: 503 },
    };
    [
        Happening::Crash { carried_out: false },
        Happening::Crash { carried_out: true },
        Happening::Lost { carried_out: true },
        fourth,
    ]
}

/// At an effect of a run, that run may panic: alone, for pairs of everything take long enough.
fn panics(name: &str, peer: Peer) -> Vec<Happening> {
    let is_of_a_run = peer == Peer::Ca || plan::is_of_a_run(name);
    let both = [false, true].map(|carried_out| Happening::Panic { carried_out });
    both.into_iter().filter(|_| is_of_a_run).collect()
}

pub fn given(setting: &Setting, happenings: &BTreeMap<String, Happening>) -> Plan {
    Plan { setting: setting.clone(), source: Source::Given(happenings.clone()) }
}

fn label(happenings: &BTreeMap<String, Happening>) -> String {
    happenings.iter().map(|(name, what)| format!("{name}: {what}")).collect::<Vec<_>>().join("; ")
}

/// Every schedule in which one thing goes wrong, and one in `share` of those in which two do: each
/// fault at each effect of what `script` does otherwise.
pub fn exhaust(
    what: &str,
    setting: &Setting,
    script: &BTreeMap<String, Happening>,
    share: usize,
) -> (Sum, Sum) {
    let plain = run(&given(setting, &BTreeMap::new()), false).effects;
    let effects = run(&given(setting, script), false).effects;
    let firsts: Vec<(usize, BTreeMap<String, Happening>)> = effects
        .iter()
        .enumerate()
        // Of a script only what it adds.
        .filter(|(place, _)| script.is_empty() || *place >= plain.len())
        .flat_map(|(place, (name, peer))| {
            faults(*peer).into_iter().chain(panics(name, *peer)).map(move |fault| {
                let mut happenings = script.clone();
                happenings.insert(name.clone(), fault);
                (place, happenings)
            })
        })
        .collect();
    let pairs = Mutex::new(BTreeMap::new());
    let singles = {
        let place = |number: usize| firsts.get(number).map(|(place, _)| *place);
        all_with(
            what,
            &|number| {
                let (_, happenings) = firsts.get(number)?;
                Some((label(happenings), given(setting, happenings)))
            },
            &|number, outcome| {
                // What comes after the first fault; what came before is the first of another pair.
                let (Some(place), Some((_, first))) = (place(number), firsts.get(number)) else {
                    return;
                };
                if first.values().any(|fault| matches!(fault, Happening::Panic { .. })) {
                    return;
                }
                for (name, peer) in outcome.effects.iter().skip(place + 1) {
                    for fault in faults(*peer) {
                        let mut pair = first.clone();
                        if pair.insert(name.clone(), fault).is_none() {
                            pairs.lock().expect("no panic").insert(label(&pair), pair);
                        }
                    }
                }
            },
        )
    };
    let pairs: Vec<_> = pairs.into_inner().expect("no panic").into_iter().step_by(share).collect();
    let pairs = all(&format!("{what}, {} pairs", pairs.len()), &|number| {
        let (label, happenings) = pairs.get(number)?;
        Some((label.clone(), given(setting, happenings)))
    });
    (singles, pairs)
}

/// What may be left out of a setting.
const SIMPLER: [fn(&mut Setting); 18] = [
    |setting| setting.requests = 1,
    |setting| setting.replicas = 1,
    |setting| setting.is_proven = true,
    |setting| setting.pending = Setting::default().pending,
    |setting| setting.drops_tags = false,
    |setting| setting.ignores_tags = false,
    |setting| setting.omits_open_orders = false,
    |setting| setting.lifetime = None,
    |setting| setting.lag = 0,
    |setting| setting.limits.orders_per_day = 0,
    |setting| setting.limits.open_orders = 0,
    |setting| setting.limits.orders_per_request_per_day = 0,
    |setting| setting.limits.requests_per_second = 0,
    |setting| setting.is_near_midnight = false,
    |setting| setting.is_long = false,
    |setting| setting.shares_target = false,
    |setting| setting.is_renewable = true,
    |setting| {
        setting.greedy = None;
        setting.limits.orders_per_namespace_per_day = 0;
    },
];

/// The same finding with as little as possible going wrong.
pub fn shrunk(plan: &Plan) -> Plan {
    let first = run(plan, false);
    let wanted: BTreeSet<&str> = first.findings.iter().map(Finding::kind).collect();
    let fails = |plan: &Plan| {
        let outcome = run(plan, false);
        outcome.findings.iter().any(|one| wanted.contains(one.kind()))
    };
    let mut happenings: BTreeMap<String, Happening> = first.happened.iter().cloned().collect();
    let mut setting = plan.setting.clone();
    let fixed =
        |setting: &Setting, happenings: &BTreeMap<String, Happening>| given(setting, happenings);
    if !fails(&fixed(&setting, &happenings)) {
        // It depends on what did not happen.
        return plan.clone();
    }
    loop {
        let mut is_smaller = false;
        for name in happenings.keys().cloned().collect::<Vec<_>>() {
            let mut fewer = happenings.clone();
            fewer.remove(&name);
            if fails(&fixed(&setting, &fewer)) {
                happenings = fewer;
                is_smaller = true;
            }
        }
        for simplify in SIMPLER {
            let mut simpler = setting.clone();
            simplify(&mut simpler);
            if simpler != setting && fails(&fixed(&simpler, &happenings)) {
                setting = simpler;
                is_smaller = true;
            }
        }
        if !is_smaller {
            return fixed(&setting, &happenings);
        }
    }
}

/// Tells a schedule from beginning to end.
pub fn tell(label: &str, plan: &Plan) {
    let outcome = run(plan, true);
    println!("\n{label}: {:?}", plan.setting);
    for line in &outcome.trace {
        println!("{line}");
    }
    for (name, happening) in &outcome.happened {
        println!("  ✱ {name}: {happening}");
    }
    for end in &outcome.ends {
        println!("  at the end: {end}");
    }
    println!("  orders, and those of the greedy namespace: {:?}", outcome.orders);
    for finding in &outcome.findings {
        println!("  FOUND {finding:?}");
    }
    for finding in &outcome.excused {
        println!("  beyond the promise ({}): {finding:?}", outcome.beyond.join(", "));
    }
}
