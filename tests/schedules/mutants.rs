//! Whether the schedules notice when a safeguard is taken away: a proof that finds nothing may just
//! not look.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use chancery::mutant::{Mutant, set};

use crate::check::Finding;
use crate::plan::Plan;
use crate::run::run;

/// Safeguard, seed and what that seed finds without it; or why none does.
const TABLE: &str = include_str!("mutants.txt");

/// What a seed finds, and whether nothing is promised for it.
fn found(seed: u64, mutant: Option<Mutant>) -> (BTreeSet<&'static str>, bool) {
    set(mutant);
    let outcome = run(&Plan::of(seed), false);
    set(None);
    let kind = |finding: &Finding| match finding {
        Finding::Duplicate(_) => "duplicate-order",
        Finding::LostKey(_) => "lost-key",
        Finding::WrongDelivery(_) => "wrong-delivery",
        Finding::Stuck(_) => "stuck",
        Finding::OverLimit(_) => "over-limit",
    };
    (outcome.findings.iter().map(kind).collect(), outcome.is_beyond)
}

/// What a seed finds because a safeguard is taken away, and whether nothing is promised for it: there
/// too less may be found with it.
fn found_without(seed: u64, mutant: Mutant) -> (BTreeSet<&'static str>, bool) {
    let (without, is_beyond) = found(seed, Some(mutant));
    if without.is_empty() {
        return (without, is_beyond);
    }
    let (with, is_beyond_with) = found(seed, None);
    (without.difference(&with).copied().collect(), is_beyond || is_beyond_with)
}

/// For each mutant, by as many threads as there are cores.
fn each(mutants: &[Mutant], work: &(dyn Fn(Mutant) -> String + Sync)) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let line = work(*mutant);
                    println!("{line}");
                    lines.lock().expect("no panic").push(line);
                }
            });
        }
    });
    lines.into_inner().expect("no panic")
}

/// Without this safeguard things may come to rest late or never, and nothing worse.
fn survivable(mutant: Mutant, what: &str) -> String {
    const SEEDS: u64 = 300;
    let name = mutant.name();
    let mut noticed = None;
    for seed in 1..=SEEDS {
        let (found, is_beyond) = found_without(seed, mutant);
        if is_beyond {
            continue;
        }
        if found.iter().any(|one| *one != "stuck") {
            return format!(
                "FAILED  {name}: SEED={seed} finds {found:?}: it is more than liveness"
            );
        }
        noticed = noticed.or_else(|| (!found.is_empty()).then_some(seed));
    }
    match noticed {
        Some(seed) => {
            format!("caught  {name} by SEED={seed}, stuck; in {SEEDS} nothing worse: {what}")
        }
        None => format!("FAILED  {name}: none of {SEEDS} seeds notices that it is gone"),
    }
}

/// The safeguard of this name.
pub fn by_name(name: &str) -> Option<Mutant> {
    Mutant::ALL.iter().copied().find(|mutant| mutant.name() == name)
}

/// Looks among `count` seeds for one that notices each loss, within the promise if there is one.
pub fn hunt(count: u64, name: Option<&str>) -> ExitCode {
    let all = Mutant::ALL.iter().copied();
    let wanted: Vec<Mutant> =
        all.filter(|mutant| name.is_none_or(|name| name == mutant.name())).collect();
    each(&wanted, &|mutant| {
        let mut beyond = None;
        for seed in 1..=count {
            let (found, is_beyond) = found_without(seed, mutant);
            let found = found.into_iter().collect::<Vec<_>>().join(",");
            let line = || format!("{:<24}{seed:<8}{found}", mutant.name());
            match (found.is_empty(), is_beyond) {
                (true, _) => {}
                (false, false) => return line(),
                (false, true) => beyond = beyond.or_else(|| Some(line() + " (beyond)")),
            }
        }
        beyond.unwrap_or_else(|| format!("{:<24}-       none of {count} seeds", mutant.name()))
    });
    ExitCode::SUCCESS
}

/// Whether the table is complete, and every seed in it still finds what it says, and not where the
/// safeguard is in place.
pub fn check() -> ExitCode {
    let rows: Vec<(&str, &str, &str)> = TABLE
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .filter_map(|line| {
            let (name, rest) = line.split_once(char::is_whitespace)?;
            let (seed, what) = rest.trim().split_once(char::is_whitespace)?;
            Some((name, seed, what.trim()))
        })
        .collect();
    let lines = each(Mutant::ALL, &|mutant| {
        let name = mutant.name();
        let Some((_, seed, what)) = rows.iter().find(|row| row.0 == name) else {
            return format!("FAILED  {name}: it is not in mutants.txt");
        };
        if seed == &"liveness" {
            return survivable(mutant, what);
        }
        let Ok(seed) = seed.parse::<u64>() else {
            return format!("left    {name}: {what}");
        };
        let (found, _) = found_without(seed, mutant);
        if what.split(',').all(|one| found.contains(one)) {
            format!("caught  {name} by SEED={seed}: {what}")
        } else {
            format!("FAILED  {name}: SEED={seed} finds {found:?} because of it, not {what}")
        }
    });
    let of = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
    println!("{} caught, {} left, {} failed", of("caught"), of("left"), of("FAILED"));
    if of("FAILED") == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
