//! What the management API shows of a site, and what a person can do to an order.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::issue;
use super::order::{Delivery, Order, Past};
use crate::simulator::authority::{self, Error};
use crate::simulator::csr::AltName;

/// An order as the management API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `ord-` and a UUID.
    pub uuid: String,
    /// When it was submitted.
    pub created_on: Timestamp,
    /// Its status.
    pub state: String,
    /// Every status so far, the present one last.
    pub history: Vec<Past>,
    /// The account that submitted it.
    pub account: String,
    /// `issue` or `issueCsr`.
    pub operation: String,
    /// The client it was ordered for.
    pub client: String,
    /// The product that was ordered.
    pub product: String,
    /// The name of the product.
    pub product_name: String,
    /// The tags it was submitted with.
    pub submitted_tags: Vec<String>,
    /// The tags that are stored.
    pub tags: Vec<String>,
    /// The note, which the API never shows.
    pub note: Option<String>,
    /// SHA-256 of the SubjectPublicKeyInfo of the request, lower-case hexadecimal.
    pub spki_sha256: String,
    /// The subject and the names that were asked for.
    pub requested_subject: String,
    /// Kind and value, such as `dns:example.org`.
    pub requested_names: Vec<String>,
    /// What was issued, if it was.
    pub certificate: Option<Issued>,
    /// Whether the answer to the submission was delivered.
    pub delivery: Delivery,
    /// Whether the API still knows it.
    pub is_forgotten: bool,
}

/// A certificate as the management API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issued {
    /// The serial number as the API spells it.
    pub serial: String,
    /// The issuer as the API spells it.
    pub issuer: String,
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub fingerprint_sha256: String,
    /// Kind and value, such as `dns:example.org`.
    pub names: Vec<String>,
    /// When its validity begins.
    pub not_before: Timestamp,
    /// When its validity ends.
    pub not_after: Timestamp,
}

/// How often each tag was submitted: with a reference among the tags, how often it was bought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct References {
    /// Tag to number of orders.
    pub references: BTreeMap<String, u64>,
    /// All orders ever made.
    pub total: u64,
}

/// What a person at the registration authority does with an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// The next state of the script.
    Advance,
    /// PENDING_AUTH is over: the script goes on, to ISSUED if there is nothing left of it.
    Approve,
    /// REJECTED, with what the task says.
    Reject {
        /// The text of the task.
        #[serde(default)]
        error: Option<String>,
    },
    /// FAILED, with what the task says.
    Fail {
        /// The text of the task.
        #[serde(default)]
        error: Option<String>,
    },
    /// REVOKED: carries out a revocation that waits, or one of the authority's own.
    Revoke,
    /// Any status, sent as it stands; the script goes on behind it when it is advanced.
    Set {
        /// The status.
        state: String,
    },
    /// From now on the API does not know the order, and searches do not find it.
    Forget,
}

/// An action that is not possible.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// No order has this id.
    #[error("there is no order {0}")]
    NoSuchOrder(String),
    /// The order is in another state.
    #[error("the order is in {state}: it cannot be {done}")]
    WrongState {
        /// The state it is in.
        state: String,
        /// What was to be done.
        done: &'static str,
    },
    /// The cryptographic library failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// An order as the management API shows it.
pub(super) fn record(order: &Order) -> Record {
    let ordered = &order.ordered;
    Record {
        uuid: order.uuid.clone(),
        created_on: order.created_on,
        state: order.state().to_owned(),
        history: order.history(),
        account: ordered.account.clone(),
        operation: ordered.operation.label().to_owned(),
        client: ordered.client_id.clone(),
        product: ordered.product_id.clone(),
        product_name: ordered.product_name.clone(),
        submitted_tags: ordered.submitted_tags.clone(),
        tags: order.tags.clone(),
        note: ordered.note.clone(),
        spki_sha256: authority::sha256_hex(&ordered.csr.spki_der),
        requested_subject: issue::text(&ordered.csr.subject),
        requested_names: ordered.csr.names.iter().map(AltName::label).collect(),
        certificate: order.certificate.as_ref().map(|certificate| Issued {
            serial: certificate.serial.clone(),
            issuer: certificate.issuer.clone(),
            fingerprint_sha256: certificate.fingerprint_sha256.clone(),
            names: certificate.names.clone(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
        }),
        delivery: order.delivery,
        is_forgotten: order.is_forgotten,
    }
}
