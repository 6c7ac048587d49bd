//! What every outside system keeps, certificate authority or not, whatever it speaks.
//!
//! [`client_certificates`] is about the transport that all share, against real TLS servers.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests play the world outside, with its clocks, and tell by failing"
)]

mod client_certificates;
