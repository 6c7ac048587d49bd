//! What tests, the demo and the benches share: a real control plane, the operator as a process
//! with the rights that `deploy/rbac.yaml` gives it, and the simulator.

#![allow(dead_code, reason = "each user of this module takes what it needs")]

pub mod control_plane;
pub mod operator;
pub mod process;
pub mod simulator;

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
