//! The chart and what is rendered from it, with the real helm on a real API server. There is no kubelet:
//! what the Deployment says is started as a process, with its arguments and its environment.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    unreachable_pub,
    reason = "tests wait for real processes in real time and tell by failing"
)]

#[path = "../support/mod.rs"]
mod support;

mod helm;
mod installed;

mod alerts;
mod chart;
mod check;
mod dashboard;
mod definitions;
mod demo;
mod documents;
mod gitops;
mod image;
mod life;
mod manifests;
mod rights;
mod upgrade;
