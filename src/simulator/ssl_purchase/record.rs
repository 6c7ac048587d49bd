//! What the management API shows of a site, and what a person can do to an order.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::order::{Deed, Delivery, Order, Past, Subject};
use crate::simulator::authority::{self, Error};
use crate::simulator::csr::AltName;

/// An order as the management API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// A UUID.
    pub id: String,
    /// The id where ids are numbers.
    pub number: u64,
    /// Whose it is.
    pub reseller: String,
    /// When it was made.
    pub created_on: Timestamp,
    /// Its status, as the script spells it.
    pub state: String,
    /// Every status so far, the present one last.
    pub history: Vec<Past>,
    /// The reference that the API shows.
    pub reference: Option<String>,
    /// What was bought: the order itself, renewals and reissues, in order.
    pub purchases: Vec<Purchase>,
    /// What was issued, in order.
    pub certificates: Vec<Issued>,
    /// What must be shown for the purchase that is worked on.
    pub checks: Vec<CheckRecord>,
    /// When the subscription ends, once it has begun.
    pub subscription_ends: Option<Timestamp>,
    /// When it was deleted.
    pub deleted_on: Option<Timestamp>,
    /// Whether the deletion gave money back.
    pub is_refunded: bool,
    /// Whether the API has forgotten it.
    pub is_forgotten: bool,
}

/// One purchase as the management API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Purchase {
    /// What it is.
    pub deed: Deed,
    /// When it was made.
    pub on: Timestamp,
    /// The id of the plan.
    pub plan: String,
    /// The reference that came with it.
    pub submitted_reference: Option<String>,
    /// Every field of the request but the CSR.
    pub fields: BTreeMap<String, String>,
    /// SHA-256 of the SubjectPublicKeyInfo of the CSR, lower-case hexadecimal.
    pub spki_sha256: String,
    /// SHA-256 of the CSR, lower-case hexadecimal.
    pub csr_sha256: String,
    /// The names in subjectAltName of the CSR: kind and value, such as `dns:example.org`.
    pub requested_names: Vec<String>,
    /// Whether the answer was delivered.
    pub delivery: Delivery,
}

/// A certificate as the management API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issued {
    /// The serial number, lower-case hexadecimal.
    pub serial: String,
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub fingerprint_sha256: String,
    /// SHA-256 of its SubjectPublicKeyInfo, lower-case hexadecimal.
    pub spki_sha256: String,
    /// The place of its purchase among those of the order, from 0.
    pub purchase: usize,
    /// The names it is valid for.
    pub names: Vec<String>,
    /// When its validity begins.
    pub not_before: Timestamp,
    /// When its validity ends.
    pub not_after: Timestamp,
    /// Since when a reissue has made it void.
    pub void_since: Option<Timestamp>,
}

/// A check as the management API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckRecord {
    /// What is checked.
    pub subject: Subject,
    /// The domain; empty unless one is checked.
    pub domain: String,
    /// `EMAIL`, `FILE` or `DNS`.
    pub dcv_type: String,
    /// Whether what must be shown is there.
    pub is_met: bool,
    /// Whether the authority has noticed.
    pub counts: bool,
}

/// What happened under one reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Orders that were made.
    pub creates: u64,
    /// Renewals of them.
    pub renews: u64,
    /// Reissues of them.
    pub reissues: u64,
    /// Calls of `validate`.
    pub validates: u64,
    /// Deletions.
    pub deletes: u64,
    /// Deletions that gave money back.
    pub refunds: u64,
}

/// What happened under each reference: that of the order when it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct References {
    /// Reference to what happened; orders without one are under the empty reference.
    pub references: BTreeMap<String, Tally>,
    /// All orders and renewals ever made: what was paid for.
    pub paid: u64,
}

impl References {
    /// What happened under this reference.
    pub fn of(&self, reference: &str) -> Tally {
        self.references.get(reference).copied().unwrap_or_default()
    }
}

/// What a person at the vendor's or the authority's side does with an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// The next state of the script, whatever the checks say.
    Advance,
    /// Meets the check of this domain, or all checks.
    Meet {
        /// The domain.
        #[serde(default)]
        domain: Option<String>,
    },
    /// `failed`, with what `status_message` says.
    Fail {
        /// The text.
        #[serde(default)]
        message: Option<String>,
    },
    /// `cancelled`, with what `status_message` says.
    Cancel {
        /// The text.
        #[serde(default)]
        message: Option<String>,
    },
    /// Any status, sent as it stands; the script goes on behind it when it is advanced.
    Set {
        /// The status.
        state: String,
    },
    /// From now on the API does not know the order, and lists do not have it.
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
    let purchases = order.bought.iter().map(|bought| {
        let mut fields = bought.asked.fields.clone();
        fields.remove("csr");
        Purchase {
            deed: bought.deed,
            on: bought.on,
            plan: bought.plan_id.clone(),
            submitted_reference: bought.asked.field("client_reference").map(str::to_owned),
            fields,
            spki_sha256: authority::sha256_hex(&bought.asked.csr.spki_der),
            csr_sha256: authority::sha256_hex(&bought.asked.csr_der),
            requested_names: bought.asked.csr.names.iter().map(AltName::label).collect(),
            delivery: bought.delivery,
        }
    });
    let certificates = order.certificates.iter().map(|certificate| Issued {
        serial: certificate.serial.clone(),
        fingerprint_sha256: certificate.fingerprint_sha256.clone(),
        spki_sha256: certificate.spki_sha256.clone(),
        purchase: certificate.of,
        names: order
            .bought
            .get(certificate.of)
            .map(|bought| bought.asked.names.certified.clone())
            .unwrap_or_default(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        void_since: certificate.void_since,
    });
    let checks = order.checks.iter().map(|check| CheckRecord {
        subject: check.subject,
        domain: check.domain.clone(),
        dcv_type: check.dcv_type.text().to_owned(),
        is_met: check.is_met(),
        counts: check.counts_since().is_some(),
    });
    Record {
        id: order.id.clone(),
        number: order.number,
        reseller: order.reseller.clone(),
        created_on: order.created_on,
        state: order.state().to_owned(),
        history: order.history(),
        reference: order.reference.clone(),
        purchases: purchases.collect(),
        certificates: certificates.collect(),
        checks: checks.collect(),
        subscription_ends: order.subscription_ends,
        deleted_on: order.deleted_on,
        is_refunded: order.is_refunded,
        is_forgotten: order.is_forgotten,
    }
}

/// What happened under each reference.
pub(super) fn references(orders: &[Order]) -> References {
    let mut references = References::default();
    for order in orders {
        let submitted = order.bought.first().and_then(|b| b.asked.field("client_reference"));
        let tally =
            references.references.entry(submitted.unwrap_or_default().to_owned()).or_default();
        for bought in &order.bought {
            match bought.deed {
                Deed::Create => tally.creates += 1,
                Deed::Renew => tally.renews += 1,
                Deed::Reissue => tally.reissues += 1,
            }
            references.paid += u64::from(bought.deed != Deed::Reissue);
        }
        tally.validates += order.validations;
        tally.deletes += order.deletions;
        tally.refunds += u64::from(order.is_refunded);
    }
    references
}
