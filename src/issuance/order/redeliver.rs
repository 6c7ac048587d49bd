//! What was paid for is delivered again.

use super::facts::is_searchable;
use super::record::{OrderState, Record};
use super::seen::adopt;
use crate::api::OrderPhase;
use crate::ca::{Lookup, Phase};
use crate::issuance::attempt::{contended, pause};
use crate::issuance::certificate::delivery::New;
use crate::issuance::certificate::reissue::Reissue;
use crate::issuance::observation::{Account, Observation};
use crate::issuance::step::{Rest, Step};

/// The target is gone or altered, and the order made last has no certificate yet: the one of the
/// order before is delivered again.
pub(super) fn deliver_again(
    seen: &Observation,
    due: Option<&Reissue>,
    account: &Account,
    record: &Record,
) -> Option<Step> {
    let slot =
        record.issued.as_ref().filter(|slot| !seen.is_elsewhere(&slot.order.account, account))?;
    // The order made last comes first, where it may have a certificate.
    let is_open = match &seen.order.progress {
        Some(progress) => !progress.is_issued(),
        None => seen.previous.order.as_ref().is_some_and(|hint| {
            hint.reference == record.next.order.reference && hint.phase == OrderPhase::Pending
        }),
    };
    let has_ended = !matches!(record.mark.state, OrderState::Open | OrderState::Superseded);
    let has_none = is_open || has_ended;
    let due = due.filter(|due| due.is_repair()).filter(|_| has_none && is_searchable(account))?;
    if let Some(rest) = pause(seen, due.clone()).or_else(|| seen.fixed()) {
        return Some(Step::Rest(rest));
    }
    if let Some(trouble) = contended(seen) {
        return Some(Step::Rest(Rest::Failed(trouble)));
    }
    match &seen.order.before {
        None => Some(Step::FindBefore),
        Some(Ok(Lookup::Found(found))) => {
            let progress = &adopt(found)?.progress;
            let Phase::Issued(candidates) = &progress.phase else {
                return None;
            };
            let key = slot.key()?;
            if let Some(rest) = seen.no_room(&key) {
                return Some(Step::Rest(rest));
            }
            let chain =
                seen.verified(candidates, key.spki_der(), &slot.order.names, account).ok()?;
            let new = New {
                requested: slot.order.requested(),
                order: Some(slot.order.reference.clone()),
                id: progress.id.clone().filter(|_| account.capabilities.kinds.go_by_id()),
            };
            let delivery = seen.delivery(account, &chain, key, Some(new));
            Some(Step::Deliver(Box::new(delivery)))
        }
        Some(Err(trouble)) => Some(Step::Rest(Rest::Failed(trouble.clone()))),
        Some(Ok(Lookup::Absent { .. } | Lookup::Unchanged | Lookup::Unsupported)) => None,
    }
}
