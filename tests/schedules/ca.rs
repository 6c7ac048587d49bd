//! The CA of a world where orders cost money: what it is told, and what was bought there.

mod ssl_purchase;
pub mod swisssign;

use std::sync::Arc;

use bytes::Bytes;
use chancery::simulator::Simulator;
use http::Request;
use jiff::Timestamp;
use serde_json::Value;

use crate::plan::{Paid, Setting};

/// What was bought by one submit.
#[derive(Clone, Debug)]
pub struct Bought {
    /// The order's id at the CA.
    pub id: String,
    /// The name that it was bought under, where the CA was told one of ours for it.
    pub reference: Option<String>,
    /// When it was bought.
    pub on: Timestamp,
    /// The id of the product.
    pub product: String,
    /// SHA-256 of the SubjectPublicKeyInfo of the CSR, lower-case hexadecimal.
    pub spki_sha256: String,
    /// The names that were asked for, such as `dns:example.org`.
    pub requested_names: Vec<String>,
    /// What was issued, if it was.
    pub certificate: Option<Life>,
    /// It ended without a certificate, or the CA knows it no longer.
    pub is_over: bool,
    /// It went by the id of the order before, and not by a name.
    pub follows: bool,
}

/// How long a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub begins: Timestamp,
    pub ends: Timestamp,
}

/// What can be wrong with a CA for a while.
#[derive(Clone, Copy, Debug)]
pub enum Fickle {
    /// Searches find nothing.
    Blind(bool),
    /// New orders show in searches so many seconds later.
    Lag(u64),
    /// Certificates lack their first name, where the CA could do that.
    DropsName(bool),
}

/// What becomes of an order without anybody of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// The CA knows it no longer.
    Forgotten,
    /// A person there says no.
    Rejected,
}

/// A CA where orders cost money, played by the simulator.
pub trait Ca: Send + Sync {
    /// Its root, in PEM.
    fn root(&self) -> String;

    /// All that was bought, in the order in which it was.
    fn bought(&self) -> Vec<Bought>;

    /// Its block in the spec of an issuer, and in that of a request.
    fn field(&self) -> &'static str;

    /// Where it is, at this host.
    fn url(&self, host: &str) -> String;

    /// The block of an issuer that looks for a lost answer for so many seconds.
    fn block(&self, window: u64) -> Value;

    /// What an issuer's Secret holds for an account.
    fn credentials(&self, account: usize) -> Value;

    /// The id of a product.
    fn product_id(&self, number: usize) -> &'static str;

    /// A product in a block, by its id.
    fn product(&self, number: usize) -> Value;

    /// A product in a block that there is not.
    fn no_product(&self) -> Value;

    /// What a call is for, in short: the same in every run. A call that orders something begins with
    /// `ca issue`, one that makes a first order is no longer than that, and one that searches has
    /// `orders` in it.
    fn what(&self, request: &Request<Bytes>) -> String;

    /// The name of the order that is made, or followed, by a submit with this body.
    fn submitted(&self, body: &[u8]) -> Option<String>;

    /// The body of a first order with another name, and for another key.
    fn cloned(&self, body: &[u8], reference: &str, csr: &str, spki: &str) -> Value;

    /// From here on it is so.
    fn becomes(&self, how: Fickle);

    /// It makes two of the next submit.
    fn doubles(&self);

    /// The first product has another name from here on.
    fn renames_product(&self);

    /// The next order is for another key.
    fn takes_another_key(&self);

    /// Something becomes of an order there, if it can.
    fn befall(&self, id: &str, fate: Fate);
}

/// The CA of a world of this setting.
pub fn of(simulator: &Simulator, setting: &Setting) -> Arc<dyn Ca> {
    match setting.paid {
        Paid::SslPurchase => Arc::new(ssl_purchase::SslPurchase::new(simulator, setting)),
        Paid::SwissSign => Arc::new(swisssign::SwissSign::new(simulator, setting)),
    }
}

/// A patch as what it leads to where nothing was before.
pub fn created(patch: &Value) -> Value {
    match patch {
        Value::Object(all) => {
            let set = all.iter().filter(|(_, value)| !value.is_null());
            set.map(|(key, value)| (key.clone(), created(value))).collect()
        }
        other => other.clone(),
    }
}

fn float(seconds: u64) -> f64 {
    f64::from(u32::try_from(seconds).unwrap_or(u32::MAX))
}
