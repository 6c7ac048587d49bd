//! Ten minutes of orders while processes are killed at random: `make soak`. Then everything is
//! counted; the last line is JSON, and the exit code says whether an order was made twice, a key
//! lost, something wrong delivered or a request left behind.

#![allow(clippy::panic, clippy::print_stdout, reason = "it is there to be watched")]

#[path = "mod.rs"]
mod soak;
#[path = "../support/mod.rs"]
mod support;

use std::hash::{BuildHasher as _, RandomState};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use soak::Plan;

fn main() -> ExitCode {
    let minutes: f64 = setting("CHANCERY_SOAK_MINUTES").unwrap_or(10.0);
    let summary = soak::run(&Plan {
        faults: Duration::from_secs_f64(minutes * 60.0),
        requests: setting("CHANCERY_SOAK_REQUESTS")
            .unwrap_or_else(|| (minutes * 30.0).clamp(40.0, 300.0) as usize),
        seed: setting("CHANCERY_SOAK_SEED")
            .unwrap_or_else(|| RandomState::new().hash_one(0) % 1_000_000),
    });
    println!("{}", summary.json());
    if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the environment says, where it says anything.
fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(_) => panic!("{name}: {text} is no number"),
    }
}
