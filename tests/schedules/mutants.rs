//! Whether the schedules notice when a safeguard is taken away: a proof that finds nothing may just
//! not look.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use chancery::mutant::{Mutant, set};

use crate::check::Finding;
use crate::plan::{Happening, Plan, Tampering};
use crate::run::run;
use crate::stories::{self, Story};

/// Safeguard, schedule (a seed or a story) and what that finds without it; or why none does.
const TABLE: &str = include_str!("mutants.txt");

/// What a schedule finds, and what of it is beyond the promise.
fn found(plan: &Plan, mutant: Option<Mutant>) -> [BTreeSet<&'static str>; 2] {
    set(mutant);
    let outcome = run(plan, false);
    set(None);
    [outcome.findings, outcome.excused].map(|all| all.iter().map(Finding::kind).collect())
}

/// What a schedule finds because a safeguard is taken away; what is beyond the promise is marked so.
fn found_without(plan: &Plan, mutant: Mutant) -> Vec<String> {
    let [without, excused] = found(plan, Some(mutant));
    if without.is_empty() && excused.is_empty() {
        return Vec::new();
    }
    let [with, excused_with] = found(plan, None);
    let plain = without.difference(&with).map(|kind| (*kind).to_owned());
    let beyond = excused.difference(&excused_with).map(|kind| format!("{kind}(beyond)"));
    plain.chain(beyond).collect()
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

/// Without this safeguard things may come to rest late or never, and of two processes that write one
/// status the slower may tell what is so no more: nothing worse.
fn survivable(mutant: Mutant, what: &str, seeds: u64) -> String {
    let name = mutant.name();
    for seed in 1..=seeds {
        let plan = Plan::of(seed);
        let found = found_without(&plan, mutant);
        let is_harmless =
            |one: &str| matches!(one, "stuck" | "untrue_statements") || one.ends_with("(beyond)");
        // Of a record that is taken away only the memory of the one process that acts tells.
        if found.iter().any(|one| !is_harmless(one)) && !takes_record_away(&plan, mutant) {
            return format!(
                "FAILED  {name}: SEED={seed} finds {found:?}: it is more than liveness"
            );
        }
    }
    format!("harmless {name}: {seeds} seeds find nothing worse than stuck or late words: {what}")
}

/// Whether somebody takes a record away in that schedule, or puts an older one in its place.
fn takes_record_away(plan: &Plan, mutant: Mutant) -> bool {
    set(Some(mutant));
    let outcome = run(plan, false);
    set(None);
    let takes = |how: Tampering| matches!(how, Tampering::Deletes | Tampering::Restores);
    let is_it = |one: &Happening| matches!(one, Happening::Record { how, .. } if takes(*how));
    outcome.happened.iter().any(|(_, happening)| is_it(happening))
}

/// The text of a test, given its file and its name.
fn test_named(by: &str) -> Result<String, String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (path, test) = by.split_once(' ').ok_or_else(|| format!("{by} is no file and test"))?;
    let text = std::fs::read_to_string(root.join(path)).map_err(|why| why.to_string())?;
    let rest = text.split_once(&format!("fn {test}(")).map(|(_, rest)| rest);
    let body = rest.and_then(|rest| rest.split("test]").next());
    body.map(str::to_owned).ok_or_else(|| format!("there is no test {by}"))
}

/// Whether the unit test takes the safeguard away. `make mutants` runs it by a part of its name.
fn is_taken_away(mutant: Mutant, by: &str) -> Result<(), String> {
    let takes = test_named(by)?.contains(&format!("set(Some(Mutant::{mutant:?}))"));
    match takes && by.contains("_mutant_") {
        true => Ok(()),
        false => {
            Err(format!("the test {by} does not take it away, or is not named after a mutant"))
        }
    }
}

/// The safeguard of this name.
pub fn by_name(name: &str) -> Option<Mutant> {
    Mutant::ALL.iter().copied().find(|mutant| mutant.name() == name)
}

/// Looks among `count` seeds for one that notices each loss, within the promise and worse
/// than stuck if there is one.
pub fn hunt(count: u64, name: Option<&str>) -> ExitCode {
    let all_stories = stories::all();
    let all = Mutant::ALL.iter().copied();
    let wanted: Vec<Mutant> =
        all.filter(|mutant| name.is_none_or(|name| name == mutant.name())).collect();
    each(&wanted, &|mutant| {
        let mut second = [None, None];
        let stories = all_stories.iter().map(|story| (story.name.to_owned(), story.plan()));
        let seeds = (1..=count).map(|seed| (seed.to_string(), Plan::of(seed)));
        for (schedule, plan) in stories.chain(seeds) {
            let found = found_without(&plan, mutant);
            let line = || format!("{:<24}{schedule:<8} {}", mutant.name(), found.join(","));
            let is_stuck = |one: &String| one.starts_with("stuck");
            if found.iter().any(|one| !one.ends_with("(beyond)") && !is_stuck(one)) {
                return line();
            }
            let place = usize::from(found.iter().all(is_stuck));
            if second[place].is_none() && !found.is_empty() {
                second[place] = Some(line());
            }
        }
        let [beyond, stuck] = second;
        beyond
            .or(stuck)
            .unwrap_or_else(|| format!("{:<24}-       none of {count} seeds", mutant.name()))
    });
    ExitCode::SUCCESS
}

/// Whether the table is complete, and every seed in it still finds what it says, and not where the
/// safeguard is in place. What is harmless to lose is shown so by as many `seeds`.
pub fn check(seeds: u64) -> ExitCode {
    let rows: Vec<(&str, &str, &str)> = TABLE
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .filter_map(|line| {
            let (name, rest) = line.split_once(char::is_whitespace)?;
            let (seed, what) = rest.trim().split_once(char::is_whitespace)?;
            Some((name, seed, what.trim()))
        })
        .collect();
    let stories = stories::all();
    let lines = each(Mutant::ALL, &|mutant| {
        let name = mutant.name();
        let Some((_, seed, what)) = rows.iter().find(|row| row.0 == name) else {
            return format!("FAILED  {name}: it is not in mutants.txt");
        };
        if seed == &"liveness" {
            return survivable(mutant, what, seeds);
        }
        if seed == &"unit" || seed == &"-" {
            let found = match seed == &"unit" {
                true => is_taken_away(mutant, what),
                false => test_named(what).map(drop),
            };
            return match found {
                Ok(()) => format!("elsewhere {name}: {what}"),
                Err(why) => format!("FAILED  {name}: {why}"),
            };
        }
        let story = stories.iter().find(|story| story.name == *seed).map(Story::plan);
        let Some(plan) = story.or_else(|| Some(Plan::of(seed.parse().ok()?))) else {
            return format!("FAILED  {name}: there is no story {seed}");
        };
        let found = found_without(&plan, mutant);
        if what.split(',').all(|one| found.iter().any(|found| found == one)) {
            format!("caught  {name} by {seed}: {what}")
        } else {
            format!("FAILED  {name}: {seed} finds {found:?} because of it, not {what}")
        }
    });
    let of = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
    println!(
        "{} caught, {} harmless, {} noticed elsewhere, {} failed",
        of("caught"),
        of("harmless"),
        of("elsewhere"),
        of("FAILED")
    );
    if of("FAILED") == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
