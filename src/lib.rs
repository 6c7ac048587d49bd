//! Skeleton.

pub mod pki;
