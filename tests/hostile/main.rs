//! What somebody with rights in one namespace, or a CA, may try against everybody else: each test does
//! it on a real API server, with a tenant's rights only, and sees that a neighbour is served within
//! [`tenant::SOON`] during and after it.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    dead_code,
    unreachable_pub,
    reason = "tests wait for real processes in real time and tell by failing; what they start from is shared"
)]

#[path = "../support/mod.rs"]
mod support;
mod tenant;
#[path = "../kubernetes/world.rs"]
mod world;

mod allow;
mod answers;
mod burst;
mod clients;
mod lengths;
mod objects;
mod rights;
mod statuses;
mod template;
mod turns;
mod where_to;
