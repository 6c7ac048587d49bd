//! Certificate authorities outside the cluster: the trait they all implement.
//!
//! A CA client translates; it never sleeps, retries, stores or decides. Each CA is one folder here,
//! and [`registry`] is the one place that knows them all.

use std::time::Duration;

use async_trait::async_trait;

use crate::mutant::{self, Mutant};
use crate::outside::{Error, credentials};
use crate::pki::{Certificate, KeyKind, Names};

pub mod online_ca;
pub mod registry;
pub mod swisssign;

/// One account at one CA. Never sleeps, retries or stores; at most one request that makes a
/// certificate per call.
///
/// A free CA that issues at once needs `submit` alone. Where an order costs money or takes its
/// time, it is named by a reference that was stored before the submit, and found again by it.
#[async_trait]
pub trait CertificateAuthority: Send + Sync {
    /// What this CA can do and accepts. Constant for the life of the value.
    fn capabilities(&self) -> &Capabilities;

    /// Whether the CA can be reached. Cheap, and authenticated where the CA has such a call.
    async fn check(&self) -> Result<AccountReport, Error>;

    /// What the CA has to be told beside the CSR, for an order of what is wanted. It is stored with
    /// the order and is [`Parameters::Prepared`] in every later call, so that an order that is made
    /// again is the same to the byte. Sends nothing that costs.
    async fn prepare(&self, wanted: &Wanted<'_>) -> Result<serde_json::Value, Error> {
        let _ = wanted;
        Ok(serde_json::Value::Null)
    }

    /// Refuses an order before money is spent; may ask the CA for a dry run that is free.
    async fn preflight(&self, order: &Order<'_>) -> Result<(), Error> {
        let _ = order;
        Ok(())
    }

    /// Asks for a certificate: the request that cannot be taken back.
    async fn submit(&self, order: &Order<'_>, permit: Permit) -> Submitted;

    /// Every order at the CA that carries this reference.
    async fn find(&self, order: &Order<'_>) -> Result<Lookup, Error> {
        let _ = order;
        Ok(Lookup::Unsupported)
    }

    /// How the orders stand, each with its reference; in few calls where the CA can list. An order
    /// that is missing from the answer was not asked for.
    async fn poll(&self, orders: &[OpenOrder]) -> Vec<(String, Result<Progress, Error>)> {
        let _ = orders;
        Vec::new()
    }

    /// Whether a search of this account has found an order of ours: only then does "there is none"
    /// mean anything.
    fn has_found_orders(&self) -> bool {
        false
    }

    /// The CA certificates that the CA itself serves, obtainable without an issuance. Material to
    /// complete a chain with, not something to trust.
    async fn trust_anchors(&self) -> Result<Vec<Certificate>, Error>;
}

/// What a check found out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccountReport {
    /// Findings that hinder nothing and that somebody should know of.
    pub remarks: Vec<String>,
}

/// What a CA can do and accepts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// What the CA is called in messages, such as `Online CA`.
    pub name: &'static str,
    /// Kinds of key the CA signs, the preferred one first.
    pub key_kinds: Vec<KeyKind>,
    /// Whether certificates carry the names that were asked for.
    pub names: bool,
    /// Whether it can be told in the CSR what the key is for.
    pub usages: bool,
    /// Whether it lets itself be asked for a lifetime.
    pub duration: bool,
    /// The field of the Issuer that would admit further kinds of key, where there is one.
    pub key_kinds_field: Option<&'static str>,
    /// How orders are made; `None` where a certificate costs nothing and comes at once.
    pub orders: Option<Orders>,
}

/// How orders are made at a CA where they cost money or take their time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Orders {
    /// Whether [`CertificateAuthority::find`] can find an order by its reference.
    pub searchable: bool,
    /// So long a lost answer is looked for, before the order is made again. At least as long as a
    /// new order takes to show in a search, with every pause of the process added.
    pub settle_window: Duration,
}

/// What is asked of a CA.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The order's name at the CA: `chancery-<uid>-<number>`, lower case, at most 64 characters.
    /// Empty where orders have no names.
    pub reference: &'a str,
    /// PKCS #10 request, DER.
    pub csr_der: &'a [u8],
    /// What only this kind of CA knows.
    pub parameters: &'a Parameters,
    /// When the order was first prepared; nothing of it can be older at the CA.
    pub since: Option<jiff::Timestamp>,
    /// The order's id at the CA, where it is known.
    pub id: Option<&'a str>,
    /// The answer to a submit of this order may have been lost: what is not found has to be looked
    /// for in every other way too, before it counts as absent.
    pub may_exist: bool,
}

impl<'a> Order<'a> {
    /// An order at a CA that issues at once: it has no name and leaves no trace.
    #[must_use]
    pub fn unnamed(csr_der: &'a [u8], parameters: &'a Parameters) -> Self {
        Self { reference: "", csr_der, parameters, since: None, id: None, may_exist: false }
    }
}

/// What is wanted, in the request's own terms; a CA translates it into its own.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Names for the certificate.
    pub names: &'a Names,
    /// Kind of key.
    pub key_kind: KeyKind,
    /// Lifetime asked for.
    pub duration: Option<jiff::SignedDuration>,
    /// What the request says to this kind of CA only.
    pub block: Option<&'a RequestBlock>,
}

/// The part of a request that is for one kind of CA only.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RequestBlock {
    /// `spec.swissSign`.
    SwissSign(crate::api::SwissSignOrder),
}

/// Parameters of one order that only one kind of CA knows.
#[derive(Clone, Debug)]
pub enum Parameters {
    /// For the Online CA: credentials of the request in place of those of the account.
    OnlineCa {
        /// User name and password.
        credentials: Option<credentials::Basic>,
    },
    /// What the CA's own [`CertificateAuthority::prepare`] made, as it was stored.
    Prepared(serde_json::Value),
}

/// The right to submit one order once.
#[derive(Debug)]
pub enum Permit {
    /// The CA is free: a second certificate costs nothing.
    Free,
    /// The claim on the order was won.
    Claimed(Claim),
}

/// A claim that was won by a compare-and-swap on the order's record, in this incarnation of the
/// process, and has not been used. Not `Clone`: a submit consumes it.
#[derive(Debug)]
pub struct Claim {
    reference: String,
}

impl Claim {
    /// To be called with the answer of the API server to the write that won the claim, and nowhere
    /// else.
    pub(crate) fn won(reference: String) -> Self {
        Self { reference }
    }

    /// For tests of a CA's client, which have no record to win one on.
    #[cfg(feature = "simulator")]
    #[must_use]
    pub fn of_a_test(reference: &str) -> Self {
        Self::won(reference.to_owned())
    }

    /// The order it is for.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.reference
    }
}

/// What became of a submit.
#[derive(Debug)]
pub enum Submitted {
    /// The CA took the order; a CA that issues at once has issued.
    Accepted(Progress),
    /// Provably nothing was ordered.
    Refused(Error),
    /// Nobody knows whether something was ordered.
    Unknown(Error),
}

impl Submitted {
    /// The certificates, where the CA issued at once.
    #[must_use]
    pub fn issued(&self) -> Option<&[Certificate]> {
        match self {
            Self::Accepted(Progress { phase: Phase::Issued(certificates), .. }) => {
                Some(certificates)
            }
            Self::Accepted(_) | Self::Refused(_) | Self::Unknown(_) => None,
        }
    }
}

/// What a search for an order came to.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// There is none.
    Absent {
        /// Every page was read, and nothing else at the CA could be the order.
        complete: bool,
        /// Why not, in words.
        doubt: Option<String>,
    },
    /// These carry the reference.
    Found(Vec<Found>),
    /// This CA, or this account, cannot search by reference.
    Unsupported,
}

impl Lookup {
    /// It, unless a test has every search counted as complete.
    pub(crate) fn or_complete(self) -> Self {
        match self {
            Self::Absent { .. } if mutant::is_removed(Mutant::EveryPage) => {
                Self::Absent { complete: true, doubt: None }
            }
            Self::Absent { .. } | Self::Found(_) | Self::Unsupported => self,
        }
    }
}

/// An order that carries our reference.
#[derive(Clone, Debug)]
pub struct Found {
    /// How it stands.
    pub progress: Progress,
    /// Whether it is for our key.
    pub evidence: KeyEvidence,
    /// When the CA took it.
    pub created: Option<jiff::Timestamp>,
}

/// Whether an order at the CA is for the key of our order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyEvidence {
    /// It is.
    Ours,
    /// It is for another key.
    Foreign,
    /// Nothing tells, before the certificate is there.
    None,
}

/// An order to ask about; no keys in here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenOrder {
    /// Its reference.
    pub reference: String,
    /// Its id at the CA.
    pub id: String,
    /// When the order was taken.
    pub since: jiff::Timestamp,
}

/// How an order stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Its id at the CA, exactly as received.
    pub id: Option<String>,
    /// The CA lets the order be found by its reference. Where it does not, the id is all there is.
    pub named: bool,
    /// Where it stands.
    pub phase: Phase,
}

impl Progress {
    /// Whether the certificate is there.
    #[must_use]
    pub fn is_issued(&self) -> bool {
        matches!(self.phase, Phase::Issued(_))
    }
}

/// Where an order stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// It is under way.
    Pending(Waiting),
    /// The certificates in the order they came, not yet verified.
    Issued(Vec<Certificate>),
    /// It has ended without a certificate, for good.
    Failed(Failed),
}

/// What an order waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// The CA's own word for the state, bounded and scrubbed.
    pub state: String,
    /// Who must act.
    pub actor: Actor,
    /// What they must do, in words for a condition.
    pub message: String,
    /// The CA's own word on when to come back.
    pub retry_after: Option<Duration>,
}

/// Who must act before an order moves on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Actor {
    /// The CA works on it.
    Ca,
    /// A person at the CA or the registration authority, such as an approver.
    Approver,
    /// The owner of a domain or a mailbox.
    Owner,
    /// Nobody knows.
    Unknown,
}

/// How an order ended without a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failed {
    /// The CA's own word for the state, bounded and scrubbed.
    pub state: String,
    /// Why.
    pub kind: FailedKind,
    /// In words for a condition, with the CA's own words where it has some.
    pub message: String,
}

/// Why an order ended without a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailedKind {
    /// Something went wrong.
    Failed,
    /// A person said no.
    Rejected,
    /// The certificate was issued and revoked.
    Revoked,
    /// The CA knew the order and knows it no longer.
    Forgotten,
}

impl Actor {
    /// Who, in a sentence or a status.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Approver => "an approver at the CA",
            Self::Ca => "the CA",
            Self::Owner => "the owner of the domain or mailbox",
            Self::Unknown => "somebody at the CA",
        }
    }
}
