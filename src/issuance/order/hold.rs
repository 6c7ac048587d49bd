//! Why an order waits for a person: the closed list.

use super::record::OrderState;
use crate::reason::Reason;

/// Why an order waits for a person: the closed list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Hold {
    /// The order at the CA that carries our reference is for another key.
    ForeignKey {
        /// Its id.
        id: Option<String>,
    },
    /// The certificate was issued and cannot be used.
    Unusable(String),
    /// The record of an order that was made is gone.
    RecordLost,
    /// The record was edited, or cut.
    RecordEdited(String),
    /// A newer version of Chancery wrote the record.
    RecordNewer,
    /// A Secret that is no record has its name.
    RecordForeign,
    /// Nobody knows whether the order was made.
    OutcomeUnknown(String),
    /// The issuer speaks for another account than the one the order was made at.
    AccountSwitched {
        /// The account it was made at.
        ordered_at: String,
        /// The account of now.
        now: String,
    },
    /// The order came to nothing.
    Ended(OrderState, String),
}

impl Hold {
    /// The reason in a condition.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::AccountSwitched { .. } => Reason::OrderAccountSwitched,
            Self::Ended(OrderState::Forgotten, _) => Reason::OrderForgotten,
            Self::Ended(OrderState::Rejected, _) => Reason::OrderRejected,
            Self::Ended(OrderState::Revoked, _) => Reason::OrderRevoked,
            Self::Ended(_, _) => Reason::OrderFailed,
            Self::ForeignKey { .. } => Reason::OrderForForeignKey,
            Self::OutcomeUnknown(_) => Reason::OrderOutcomeUnknown,
            Self::RecordEdited(_) => Reason::OrderRecordEdited,
            Self::RecordForeign => Reason::OrderRecordForeign,
            Self::RecordLost => Reason::OrderRecordLost,
            Self::RecordNewer => Reason::OrderRecordNewer,
            Self::Unusable(_) => Reason::CertificateUnusable,
        }
    }

    /// Whether giving the order up with the release annotation is a way on.
    #[must_use]
    pub fn can_be_released(&self) -> bool {
        !matches!(self, Self::RecordForeign | Self::RecordNewer)
    }

    /// Whether looking again may change something without anybody telling us.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::ForeignKey { .. }
                | Self::OutcomeUnknown(_)
                | Self::RecordEdited(_)
                | Self::RecordForeign
                | Self::RecordLost
        )
    }
}
