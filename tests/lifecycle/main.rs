//! The life of the operator's process on a real API server: started, stopped, killed, cut off and
//! brought back. One control plane and one simulator for the whole run; the tests take turns, each
//! with operators, a namespace and a CA of its own.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests wait for real processes in real time, print what they measure and tell by failing"
)]

#[path = "../soak/mod.rs"]
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod world;

mod cluster;
mod orders;
mod processes;
mod upgrade;
