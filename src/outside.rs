//! What the clients of outside systems share: certificate authorities, and whatever else is called
//! beyond the cluster.
//!
//! [`transport`] sends requests, through a [`proxy`] where there is one; [`pace`] spaces them out,
//! [`pause`] holds them back where the other side asked for it, [`credentials`] sign them
//! where their owner [opted in](opt_in), [`reach`] keeps them out of the inside,
//! [`remote_text`] makes what comes back fit for a condition, [`capped`] reads its lists,
//! [`in_flight`] bounds how much of it is held at once, and an [`Error`] says what happens next. Nothing here knows what the other side is for.

use crate::reason::Reason;
use std::time::Duration;

pub mod capped;
pub mod credentials;
pub mod in_flight;
pub mod opt_in;
pub mod pace;
pub mod pause;
pub mod proxy;
pub mod reach;
pub mod remote_text;
pub mod tokens;
pub mod transport;

/// What happens after an error: the only thing the rest of the system needs to know of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disposition {
    /// It passes by itself: try again, not before `after` where the other side said so.
    Retry {
        /// The other side's own word on when to come back.
        after: Option<Duration>,
    },
    /// The credentials are at fault: whoever owns them must change them first.
    BlameCredentials,
    /// The Issuer is at fault (address, trust): it must change first.
    BlameIssuer,
    /// The other side refuses this request: it must change first.
    Reject,
    /// The answer makes no sense: a fault of the other side or of ours. Tried again, slowly.
    Internal,
}

impl Disposition {
    /// The word for metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::BlameCredentials => "blame_credentials",
            Self::BlameIssuer => "blame_issuer",
            Self::Internal => "internal",
            Self::Reject => "reject",
            Self::Retry { .. } => "retry",
        }
    }
}

/// A refusal or a failure of an outside system, in words for a condition.
///
/// The message is already bounded and scrubbed; it never holds credentials or key material.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What happens next.
    pub disposition: Disposition,
    /// One word in camel case, for the condition's reason.
    pub reason: Reason,
    /// What was tried and what came of it.
    pub message: String,
}
