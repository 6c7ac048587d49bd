//! Chancery on a real API server: one control plane, one simulator and one operator for the whole
//! run, one namespace and one CA for each test.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    unreachable_pub,
    reason = "tests wait for real processes in real time and tell by failing"
)]

mod repairs;
mod requests;
mod secrecy;
#[path = "../support/mod.rs"]
mod support;
mod world;

mod admission;
mod adoption;
mod allow;
mod api_contract;
mod api_model;
mod ca_faults;
mod issuers;
mod issuing;
mod limits;
mod orders;
mod proxies;
mod purchases;
mod records_admission;
mod ssl_purchase;
