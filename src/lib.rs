//! Chancery: a Kubernetes operator that obtains X.509 certificates from certificate authorities
//! outside the cluster.
//!
//! ```text
//! watch ─▶ reconcile ─▶ observe ─▶ decide ─▶ perform ─▶ describe
//!                       plain      pure,      one        pure: status + requeue
//!                       values     one Step   effect
//! ```
//!
//! Dependencies point one way: `api ← issuance ← controller`, `pki ← outside ← ca ← controller`.
//! The core in [`issuance`] decides and knows neither Kubernetes client nor clock; [`controller`]
//! acts and decides nothing.

pub mod api;
pub mod ca;
pub mod cli;
pub mod clock;
pub mod controller;
pub mod decode;
pub mod issuance;
pub mod metrics;
pub mod mutant;
pub mod namespaces;
pub mod outside;
pub mod pki;
pub mod pulse;
pub mod reason;
pub mod server;
pub mod sight;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod terminal;
pub mod turns;
