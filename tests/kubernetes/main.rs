//! Chancery on a real API server: one control plane, one simulator and one operator for the whole
//! run, one namespace and one CA for each test.

#![expect(clippy::panic, clippy::print_stderr, reason = "this is how tests fail and tell")]

#[path = "../support/mod.rs"]
mod support;
mod world;

mod issuing;
