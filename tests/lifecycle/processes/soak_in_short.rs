//! A minute of what `make soak` does in ten, on a control plane of its own.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use crate::soak::{self, Plan};
use crate::world::turn;

#[test]
fn through_a_minute_of_random_kills_it_buys_each_once() {
    let _turn = turn();
    let summary = soak::run(&Plan {
        faults: Duration::from_secs(60),
        requests: 40,
        seed: RandomState::new().hash_one(0) % 1_000_000,
    });
    println!("{}", summary.json());
    assert!(summary.is_good(), "{}", summary.json());
}
