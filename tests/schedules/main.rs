//! The proof by schedules: the whole operator, several processes of it, in a world where everything
//! goes wrong that can, with time that stands still while anybody has something to do.
//!
//! ```text
//!  plan ── what goes wrong at which effect: by a seed, or one by one
//!   └─ run ── one schedule in one runtime ── explore: many, on all cores; shrinks what fails
//!       └─ world ── api: the API server    ┐ real: `controller::run`, stores, CA clients
//!                ── the simulator's router ┘ ledger (check): what the CA and the store hold
//! ```
//!
//! Without arguments: all single faults, a share of the pairs, all stories, and some twice.
//! `exhaust [SHARE]`: all pairs, or one in so many; `random SEED COUNT`: by chance; `replay SEED`: one
//! of them, told; `edits`: what each edit of an object costs; `stories`: those that are given; `story NAME [MUTANT]`: one of them, told; `mutants`:
//! whether the loss of each safeguard is still noticed by the schedule in `mutants.txt`; `hunt COUNT
//! [NAME]`: finds such seeds; `without SEED NAME`: tells one.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "a test plays the world outside and tells by failing"
)]

mod api;
mod ca;
mod check;
mod dice;
mod doctored;
mod edits;
mod explore;
mod mutants;
mod permission;
mod plan;
mod run;
mod stories;
mod world;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use crate::explore::Sum;
use crate::plan::{Happening, Plan, Setting};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize| arguments.get(place).and_then(|text| text.parse::<u64>().ok());
    // What the operator logs, among what happens in the world.
    if let Ok(filter) = std::env::var("CHANCERY_SCHEDULES_LOG") {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        tracing_subscriber::fmt().without_time().with_env_filter(filter).init();
    }
    run::note_panics();
    match arguments.first().map(String::as_str) {
        Some("replay") => replay(number(1).unwrap_or_default(), arguments.get(2).is_some()),
        Some("random") => {
            let (seed, count) = (number(1).unwrap_or(1), number(2).unwrap_or(1000));
            let begun = Instant::now();
            let sum = explore::random(seed, usize::try_from(count).unwrap_or(usize::MAX));
            finished(&sum, Some(seed), begun)
        }
        Some("hunt") => {
            mutants::hunt(number(1).unwrap_or(2000), arguments.get(2).map(String::as_str))
        }
        Some("mutants") => mutants::check(number(1).unwrap_or(1000)),
        Some("story") => {
            let all = stories::all();
            let name = arguments.get(1).map(String::as_str).unwrap_or_default();
            let Some(story) = all.iter().find(|story| story.name == name) else {
                return ExitCode::FAILURE;
            };
            chancery::mutant::set(arguments.get(2).and_then(|name| mutants::by_name(name)));
            explore::tell(story.name, &story.plan());
            ExitCode::SUCCESS
        }
        Some("without") => match arguments.get(2).and_then(|name| mutants::by_name(name)) {
            Some(mutant) => {
                chancery::mutant::set(Some(mutant));
                replay(number(1).unwrap_or_default(), false)
            }
            None => ExitCode::FAILURE,
        },
        Some("exhaust") => exhaust(usize::try_from(number(1).unwrap_or(1)).unwrap_or(1).max(1)),
        Some("edits") if edits::all_come_to_what_they_say() => ExitCode::SUCCESS,
        Some("edits") => ExitCode::FAILURE,
        Some("stories") if stories_end_well() => ExitCode::SUCCESS,
        Some("stories") => ExitCode::FAILURE,
        _ => everything(),
    }
}

fn replay(seed: u64, is_whole: bool) -> ExitCode {
    let plan = Plan::of(seed);
    if std::env::var("CHANCERY_SCHEDULES_LOG").is_ok() {
        run::run(&plan, true);
    }
    let plan = if is_whole { plan } else { explore::shrunk(&plan) };
    explore::tell(&format!("SEED={seed}"), &plan);
    ExitCode::SUCCESS
}

fn finished(sum: &Sum, seed: Option<u64>, begun: Instant) -> ExitCode {
    for (label, plan) in sum.failed.iter().take(3) {
        explore::tell(label, &explore::shrunk(plan));
    }
    for (label, _) in &sum.failed {
        println!("failed: {label}");
    }
    println!("{}", sum.json(seed, begun.elapsed()));
    if sum.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What `make test` runs beside some by chance: all single faults and a share of the pairs.
fn everything() -> ExitCode {
    let is_clean = exhaust(SHARE) == ExitCode::SUCCESS;
    let end_well = stories_end_well();
    if is_the_same_again() && is_clean && end_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One pair in so many; `make exhaustion` runs them all. No multiple of the four faults of an effect.
const SHARE: usize = 5;

fn exhaust(share: usize) -> ExitCode {
    let mut is_clean = true;
    let scripts = [
        ("a first order", BTreeMap::new()),
        ("a renewal", [("person #1".to_owned(), Happening::Renew { request: 0 })].into()),
    ];
    for (what, script) in scripts {
        let begun = Instant::now();
        let (singles, pairs) = explore::exhaust(what, &Setting::default(), &script, share);
        for (count, sum) in [("single faults", singles), ("pairs of faults", pairs)] {
            println!("{what}, {count}:");
            is_clean &= finished(&sum, None, begun) == ExitCode::SUCCESS;
        }
    }
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is given happens, and nothing comes of it.
fn stories_end_well() -> bool {
    let begun = Instant::now();
    let stories = stories::all();
    let sum = explore::all("stories", &|number| {
        let story = stories.get(number)?;
        Some((story.name.to_owned(), story.plan()))
    });
    println!("{} stories:", stories.len());
    let mut is_whole = true;
    for story in &stories {
        let outcome = run::run(&story.plan(), false);
        let missed = story.missed(&outcome.happened);
        if story.has_other_orders(outcome.orders) {
            println!("failed: story {}: it comes to {:?} orders", story.name, outcome.orders);
            is_whole = false;
        }
        if !missed.is_empty() {
            println!("failed: story {}: there is no {}", story.name, missed.join(", "));
            is_whole = false;
        }
    }
    finished(&sum, None, begun) == ExitCode::SUCCESS && is_whole
}

/// A seed that fails is of use only if it fails again.
fn is_the_same_again() -> bool {
    const SEEDS: usize = 50;
    let (once, again) = (explore::random(1, SEEDS), explore::random(1, SEEDS));
    println!("{SEEDS} seeds twice: {:016x}, {:016x}", once.digest, again.digest);
    once.digest == again.digest && once.is_clean()
}
