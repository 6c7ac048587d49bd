//! What a run does next, or why it does nothing now.

use std::sync::Arc;

use jiff::Timestamp;

use super::allow::Refusal;
use super::certificate::delivery::Delivery;
use super::certificate::key::BroughtCsr;
use super::certificate::reissue::Reissue;
use super::order::hold::Hold;
use super::order::record::{Mark, OrderDraft};
use super::quota::Withheld;
use super::trouble::Trouble;
use crate::ca::OrderKind;
use crate::pki::{KeyKind, PrivateKey};
use crate::reason::Reason;

/// The one next step.
#[derive(Clone, Debug)]
pub enum Step {
    /// Read the target Secret.
    ReadTarget,
    /// Open the account at the CA.
    OpenAccount,
    /// Ask the CA what these words for products stand for.
    Resolve(Vec<serde_json::Value>),
    /// Read the CSR that the request brings.
    ReadCsr,
    /// Make or take a key, and submit.
    Submit(KeyPlan, OrderKind),
    /// Ask for the certificates the CA serves.
    ReadServedRoots,
    /// Write the target Secret.
    Deliver(Box<Delivery>),
    /// Read the record of the request's order.
    ReadRecord,
    /// Make a key and a CSR, and have the CA translate and examine the order.
    Prepare(KeyPlan, OrderKind),
    /// Store an order before it is made, and with it the claim.
    WriteRecord(Box<OrderDraft>),
    /// Win the claim on the order that is stored.
    Claim,
    /// Write the status that says who submits what.
    Announce,
    /// Search the CA for the order.
    Find,
    /// Search the CA for the order before.
    FindBefore,
    /// Take a grant, which a submit at a limited issuer uses up.
    Reserve,
    /// Submit the order that is stored.
    Order,
    /// Note on the record what became of the order.
    Mark(Mark),
    /// Nothing now.
    Rest(Rest),
}

impl Step {
    /// Nothing before a person acts.
    pub(super) fn hold(hold: Hold) -> Self {
        Self::Rest(Rest::Held(hold))
    }
}

/// Where the key of a submit comes from.
#[derive(Clone, Debug)]
pub enum KeyPlan {
    /// A new one.
    Generate(KeyKind),
    /// The one in the target.
    Reuse(Arc<PrivateKey>),
    /// The one of the CSR that the request brings.
    Brought(Arc<BroughtCsr>),
}

/// Why nothing is done now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rest {
    /// The request is gone or going.
    Deleted,
    /// The run was given up: nothing is told, and another follows.
    Abandoned,
    /// A fitting certificate is delivered.
    Kept,
    /// Something would be issued, and `suspend` is set.
    Suspended(Reissue),
    /// Something would be issued, and the issuer does not allow it, or nothing now.
    NotAllowed(Refusal),
    /// Something would be issued, and a limit of the issuer is reached.
    Withheld(Withheld),
    /// The issuer does not exist.
    IssuerMissing,
    /// The issuer takes no requests now.
    IssuerNotReady(String),
    /// The last attempt failed and would fail again with the same inputs.
    AwaitingChange,
    /// The next attempt is due then.
    BackingOff {
        /// When.
        until: Timestamp,
        /// What the attempt is for; `None` where the Secret only has to be put in order.
        reissue: Option<Reissue>,
    },
    /// Nobody knows what is in the target.
    TargetUnreadable(String),
    /// The target belongs to somebody else.
    SecretNotOurs(String),
    /// The target is given to the request, and is not what it asks for.
    NotAdopted(String),
    /// Another request has the target.
    SecretNameTaken(String),
    /// The attempt of this run failed.
    Failed(Trouble),
    /// The order is about to be submitted; only the announcement says so.
    Submitting,
    /// The CA has the order.
    Ordered,
    /// The answer to a submit may have been lost: the order is looked for.
    LookedFor {
        /// When the next time.
        until: Timestamp,
        /// What the last search came to, where it is worth telling.
        why: Option<String>,
    },
    /// Nobody knows what is in the record.
    RecordUnreadable(String),
    /// The order waits for a person.
    Held(Hold),
}

impl Rest {
    /// The issuer's bundle may have been mended without a word: the account is to be opened anew.
    #[must_use]
    pub fn doubts_account(&self) -> bool {
        matches!(self, Self::Failed(trouble) if trouble.reason == Reason::ChainNotTrusted)
    }
}
