//! The one gate that everything passes which may end in a submit.

use super::{Withheld, churn};
use crate::issuance::observation::Observation;
use crate::issuance::order::record::{OrderState, Record, RecordRead};
use crate::issuance::step::{Rest, Step};
use jiff::Timestamp;

/// The step, or what has to come before it, or the limit that stands in its way.
pub(in crate::issuance) fn gate(seen: &Observation, step: Step) -> Step {
    // What was looked for long enough, and would be made again: until the limit admits that, it is
    // told of the limit, and not of both by turns.
    if matches!(step, Step::Rest(Rest::LookedFor { .. }))
        && seen.previous.waits_for_limit()
        && let Some(withheld) = seen.churn().or_else(|| seen.quota.withheld.clone())
    {
        return Step::Rest(Rest::Withheld(withheld));
    }
    if writes_record(seen, &step)
        && let Some(withheld) = seen.churn()
    {
        return seen.held_back(withheld);
    }
    if !leads_to_submit(seen, &step) || !seen.quota.limits.need_grant() || seen.quota.granted {
        return step;
    }
    match &seen.quota.withheld {
        Some(withheld) => seen.held_back(withheld.clone()),
        None => Step::Reserve,
    }
}

/// What is known before anything is read: a request that waits is looked at for nothing.
pub(in crate::issuance) fn early(seen: &Observation) -> Option<Step> {
    let withheld = seen.quota.withheld.clone().filter(|_| !seen.quota.granted)?;
    Some(seen.held_back(withheld))
}

/// The step makes an order, or leads to one before anything else is known.
fn writes_record(seen: &Observation, step: &Step) -> bool {
    match step {
        Step::Prepare(..) | Step::WriteRecord(_) => true,
        // What the CA refused is the same order still.
        Step::Claim => seen.record().is_some_and(|one| {
            one.mark.state != OrderState::Refused && !seen.has_unused_claim(one)
        }),
        Step::Announce
        | Step::Deliver(_)
        | Step::Find
        | Step::FindBefore
        | Step::Mark(_)
        | Step::OpenAccount
        | Step::Order
        | Step::ReadCsr
        | Step::ReadRecord
        | Step::ReadServedRoots
        | Step::ReadTarget
        | Step::Reserve
        | Step::Resolve(_)
        | Step::Rest(_)
        | Step::Submit(..) => false,
    }
}

/// Nothing but the limits stands between the step and a submit.
pub(in crate::issuance) fn leads_to_submit(seen: &Observation, step: &Step) -> bool {
    match step {
        Step::Announce
        | Step::Claim
        | Step::Order
        | Step::Prepare(..)
        | Step::Submit(..)
        | Step::WriteRecord(_) => true,
        // The look before a submit; one for an order that may be at the CA only follows it.
        Step::Find => {
            seen.order.progress.is_none()
                && seen.record().is_some_and(|record| seen.has_unused_claim(record))
        }
        Step::Deliver(_)
        | Step::FindBefore
        | Step::Mark(_)
        | Step::OpenAccount
        | Step::ReadCsr
        | Step::ReadRecord
        | Step::ReadServedRoots
        | Step::ReadTarget
        | Step::Reserve
        | Step::Resolve(_)
        | Step::Rest(_) => false,
    }
}

impl Observation {
    /// When orders were made, once the order in the record is claimed. The own claim that was not used
    /// and is won again makes none.
    #[must_use]
    pub fn made_with_claim(&self, record: &Record) -> Vec<Timestamp> {
        if self.has_unused_claim(record) {
            return record.mark.made.clone();
        }
        record.mark.made_again(self.now)
    }

    fn churn(&self) -> Option<Withheld> {
        let made = match &self.order.record {
            Some(RecordRead::Present(record)) => &record.mark.made,
            Some(RecordRead::Absent) => return None,
            Some(_) | None => self.quota.made.as_ref()?,
        };
        churn(self.quota.limits.per_request, made, self.now)
    }

    /// A record that nobody has read may hold an order to go on with: it comes first.
    fn held_back(&self, withheld: Withheld) -> Step {
        if self.quota.made.is_some() && self.order.record.is_none() {
            return Step::ReadRecord;
        }
        Step::Rest(Rest::Withheld(withheld))
    }
}
