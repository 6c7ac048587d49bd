//! The client of SwissSign's RA API, in process against the simulator's router. What an answer
//! means is tabled beside the code; here is what comes of it between the two.
//! What every certificate authority must keep is in `tests/contract`.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests play the world outside, with its clocks, and tell by failing"
)]

mod bench;
mod bounds;
mod checking;
mod finding;
mod polling;
mod submitting;
mod tokens;
mod wire;
