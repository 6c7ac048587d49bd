//! The client of the SSL purchase API against the simulator: what is sent, what is made of what comes
//! back, and that nothing is bought twice or for nothing.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests play the world outside, with its clocks, and tell by failing"
)]

mod bench;
mod bounds;
mod checking;
mod ending;
mod finding;
mod following;
mod polling;
mod submitting;
mod wire;
