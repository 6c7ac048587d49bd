//! What tests, the demo and the benches share: a real control plane, the operator as a process
//! with the rights that `deploy/rbac.yaml` gives it, and the simulator.

#![allow(dead_code, reason = "each user of this module takes what it needs")]
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests, demo and benches wait for real processes in real time and tell by failing"
)]

pub mod control_plane;
pub mod judges;
pub mod operator;
pub mod process;
pub mod proxy;
pub mod simulator;
pub mod watch;

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program of this crate, as built beside the running test, demo or bench.
pub fn program(name: &str) -> PathBuf {
    let mut dir = std::env::current_exe().expect("the running program has a path");
    dir.pop();
    while !dir.join(name).is_file() {
        assert!(dir.pop(), "{name} is not built: cargo build --all-features --bins");
    }
    dir.join(name)
}
