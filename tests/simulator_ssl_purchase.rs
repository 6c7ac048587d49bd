//! The simulator of the SSL purchase API against what is known of it: in process, with every
//! setting that plays something unknown, and as a program with curl and openssl.

#![cfg(feature = "simulator")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "simulator_ssl_purchase/bench.rs"]
mod bench;
#[path = "simulator_ssl_purchase/files.rs"]
mod files;
#[path = "simulator_ssl_purchase/later.rs"]
mod later;
#[path = "simulator_ssl_purchase/lists.rs"]
mod lists;
#[path = "simulator_ssl_purchase/orders.rs"]
mod orders;
#[path = "simulator_ssl_purchase/served.rs"]
mod served;
mod support;
#[path = "simulator_ssl_purchase/wire.rs"]
mod wire;
