//! The client of the Online CA, in process: against the simulator's router where sockets do not
//! matter, through the real transport where they do.
//!
//! What every certificate authority must keep is in `tests/contract`; this is the Online CA's own.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests play the world outside, with its clocks, and tell by failing"
)]

mod bench;
mod bodies;
mod conditions;
mod network;
mod peer;
mod proxy;
mod router_transport;
#[expect(unreachable_pub, reason = "tests on an API server use it too")]
#[path = "../support/proxy.rs"]
mod test_proxy;
mod trust_roots;
mod wire;
