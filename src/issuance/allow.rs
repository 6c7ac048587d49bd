//! Who may order what: what an issuer says of whom it serves, and what of a request that bears on.

pub mod pattern;
mod renewal;
pub mod rules;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::api::{Allow, IssuerKind};
use crate::reason::Reason;

/// What an issuer says of whom it serves.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Its kind: what is left out means nothing of it for the one and all of it for the other.
    pub kind: IssuerKind,
    /// `spec.allow`.
    pub allow: Option<Arc<Allow>>,
    /// The labels of the request's namespace, where they are known.
    pub labels: Option<BTreeMap<String, String>>,
    /// `spec.suspend`.
    pub suspended: bool,
}

/// What a request carries beside names, key and lifetime that makes it somebody else, or something
/// else, at the CA.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overrides {
    /// The product that it names, with its field.
    pub product: Option<(String, String)>,
    /// The field in which it names credentials of its own.
    pub credentials: Option<String>,
    /// The field in which it names a person or a company of its own for the CA to ask.
    pub contact: Option<String>,
}

/// Why nothing is asked of the CA for a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// One word.
    pub reason: Reason,
    /// What is not allowed, and the next move.
    pub message: String,
    /// It does not pass by itself.
    pub needs_person: bool,
    /// When an order whose answer was lost is looked for again: that goes on.
    pub look_again: Option<Timestamp>,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Nothing was read yet.
    Early,
    /// A key, or a submit with one, comes next.
    Submit,
    /// The order that is stored is submitted next.
    Stored,
}
