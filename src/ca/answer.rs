//! What a CA answers: to a submit, to a search, to a poll.

use std::time::Duration;

use crate::outside::Error;
use crate::pki::Certificate;

/// What came of something that not every CA can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer<T> {
    /// It is done, with this.
    Done(T),
    /// This CA, or this account, cannot do it.
    Unsupported,
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
    /// The order that was to be renewed is there, with the certificate it had: as far as the CA shows
    /// it, nothing was renewed. That proves nothing, for what it shows may lag behind.
    Unchanged,
    /// This CA, or this account, cannot search by reference.
    Unsupported,
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
    /// What has to be shown to the CA, where it says so.
    pub challenges: Vec<Challenge>,
}

/// What has to be shown to the CA before it issues for a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    /// The domain, as the CA writes it.
    pub domain: String,
    /// Where the CA looks for what.
    pub proof: Proof,
    /// The CA has seen it.
    pub is_met: bool,
}

/// How control of a domain is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Proof {
    /// A DNS record.
    Dns {
        /// Its type, such as `CNAME` or `TXT`.
        kind: String,
        /// Its full name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A file that is served over plain HTTP.
    File {
        /// Where.
        url: String,
        /// Its content, to the byte.
        content: String,
    },
    /// A mail that somebody answers.
    Mailbox {
        /// To whom it goes.
        address: String,
    },
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
