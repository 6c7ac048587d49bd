//! The operator's processes: how they start, serve, hand over, end and are killed.

mod busy;
pub mod failpoints;
mod kill_at_random;
pub mod lease;
mod pages;
mod parallel;
mod restart;
mod shutdown;
mod soak_in_short;
mod startup;
