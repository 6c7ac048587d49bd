//! Which orders the poller asks the CA about, and which of them may be at the CA.

use super::record::{OrderState, Record};
use crate::ca::OpenOrder;
use crate::issuance::observation::Observation;
use crate::issuance::order::hold::Hold;
use crate::issuance::step::Rest;

/// What is asked of a CA about the order of a request, after a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Following {
    /// How it stands.
    Ask {
        /// The order.
        open: OpenOrder,
        /// The account it was made at.
        account: String,
    },
    /// What was asked before.
    AsBefore,
    /// Nothing.
    Nothing {
        /// Its reference.
        reference: String,
    },
}

/// What is to be asked about the order after a run that ended with `rest`; `None` where there is none.
#[must_use]
pub fn following(seen: &Observation, rest: &Rest) -> Option<Following> {
    // What is stored counts; the status is a hint.
    let (reference, account, since, replaces) = match (seen.record(), seen.own_hint()) {
        (Some(record), _) => {
            let order = &record.next.order;
            let replaces = record.next.kind.previous().map(|previous| previous.serial().to_owned());
            (&order.reference, &order.account, Some(order.since), replaces)
        }
        (None, Some(hint)) => {
            let since = hint.submitted_at.as_ref().map(|time| time.0);
            (&hint.reference, &hint.account, since, None)
        }
        (None, None) => return None,
    };
    let reference = reference.clone();
    let is_no_news = matches!(
        rest,
        Rest::Abandoned | Rest::Deleted | Rest::IssuerMissing | Rest::IssuerNotReady(_)
    );
    Some(match seen.order_id() {
        Some(id) if is_of_use(rest) => {
            let since = since.unwrap_or(seen.now);
            Following::Ask {
                open: OpenOrder { reference, id, since, replaces },
                account: account.clone(),
            }
        }
        _ if is_no_news => Following::AsBefore,
        Some(_) | None => Following::Nothing { reference },
    })
}

/// Whether the CA's word on an order that it has is still of use: what cannot be acted on now is
/// kept for when it can, and not asked for and forgotten by turns.
fn is_of_use(rest: &Rest) -> bool {
    matches!(
        rest,
        Rest::BackingOff { .. }
            | Rest::Failed(_)
            | Rest::Held(Hold::ForeignKey { .. } | Hold::Unusable(_))
            | Rest::Ordered
            | Rest::RecordUnreadable(_)
            | Rest::NotAdopted(_)
            | Rest::SecretNotOurs(_)
            | Rest::TargetUnreadable(_)
    )
}

impl Observation {
    /// Whether an order in the record may be at the CA though nobody has seen it there. Whoever has
    /// just won the first claim knows that nothing was submitted.
    #[must_use]
    pub fn may_exist(&self, record: &Record) -> bool {
        record.mark.attempt > 1 || !self.has_unused_claim(record)
    }

    /// Whether the order in the record is open, and may be at the CA.
    pub(in crate::issuance) fn has_order_at_large(&self) -> bool {
        self.record().is_some_and(|one| one.mark.state == OrderState::Open && self.may_exist(one))
    }
}
