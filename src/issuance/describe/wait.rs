//! What a request waits for after a run, as a field of its status: the next run goes by it, and not
//! by the words of the conditions.

use crate::api::{OrderPhase, Wait, WaitsFor};
use crate::issuance::observation::Observation;
use crate::issuance::order::hold::Hold;
use crate::issuance::quota::Withheld;
use crate::issuance::step::Rest;
use crate::outside::Disposition;

/// What the request waits for.
pub(super) fn wait(seen: &Observation, rest: &Rest) -> Option<Wait> {
    let for_person = |on| Some(Wait { on, needs_person: true });
    let before = seen.previous.wait;
    // The verdict of an earlier run stands.
    let kept = before.filter(|_| is_said_again(seen)).map_or(WaitsFor::Attempt, |wait| wait.on);
    let needed_person = before.is_some_and(|wait| wait.needs_person);
    match rest {
        Rest::Failed(trouble) => {
            Some(Wait { on: WaitsFor::Attempt, needs_person: needs_person(trouble.disposition) })
        }
        Rest::AwaitingChange => for_person(kept),
        Rest::BackingOff { until, .. } if seen.previous.next_attempt == Some(*until) => {
            Some(Wait { on: kept, needs_person: needed_person })
        }
        Rest::Held(Hold::ForeignKey { .. } | Hold::OutcomeUnknown(_)) => {
            for_person(WaitsFor::Search)
        }
        Rest::Held(Hold::Unusable(_)) => for_person(WaitsFor::Attempt),
        Rest::Held(_) => for_person(WaitsFor::Order),
        Rest::LookedFor { .. } => {
            let needs_person = needed_person && is_looked_for(seen);
            Some(Wait { on: WaitsFor::Search, needs_person })
        }
        Rest::Ordered => before.filter(|wait| is_issued(seen) && wait.on.limit().is_none()),
        Rest::SecretNameTaken(_) => for_person(WaitsFor::SecretName),
        Rest::NotAdopted(_) | Rest::SecretNotOurs(_) => for_person(WaitsFor::Secret),
        Rest::NotAllowed(refusal) => {
            Some(Wait { on: WaitsFor::Permission, needs_person: refusal.needs_person })
        }
        Rest::Kept if seen.template_refused().is_some() => for_person(WaitsFor::Permission),
        Rest::Withheld(withheld) => Some(Wait { on: limit(withheld), needs_person: false }),
        Rest::Abandoned
        | Rest::BackingOff { .. }
        | Rest::Deleted
        | Rest::IssuerMissing
        | Rest::IssuerNotReady(_)
        | Rest::Kept
        | Rest::RecordUnreadable(_)
        | Rest::Submitting
        | Rest::Suspended(_)
        | Rest::TargetUnreadable(_) => None,
    }
}

fn limit(withheld: &Withheld) -> WaitsFor {
    match withheld {
        Withheld::Churn { .. } => WaitsFor::OrdersPerRequestPerDay,
        Withheld::Namespace { .. } => WaitsFor::OrdersPerNamespacePerDay,
        Withheld::Day { .. } | Withheld::Turn { of_day: true, .. } => WaitsFor::OrdersPerDay,
        Withheld::Open { .. } | Withheld::Turn { of_day: false, .. } => WaitsFor::OpenOrders,
    }
}

fn needs_person(disposition: Disposition) -> bool {
    match disposition {
        Disposition::BlameCredentials | Disposition::BlameIssuer | Disposition::Reject => true,
        Disposition::Internal | Disposition::Retry { .. } => false,
    }
}

/// What was said last is the verdict of an attempt, or of a search, and stands until the next: nothing
/// else has been said in between that no longer holds.
pub(super) fn is_said_again(seen: &Observation) -> bool {
    seen.previous.wait.is_some_and(|wait| match wait.on {
        WaitsFor::Attempt | WaitsFor::Search | WaitsFor::Secret => true,
        WaitsFor::OpenOrders
        | WaitsFor::Order
        | WaitsFor::OrdersPerDay
        | WaitsFor::OrdersPerNamespacePerDay
        | WaitsFor::OrdersPerRequestPerDay
        | WaitsFor::Permission
        | WaitsFor::SecretName => false,
    })
}

/// The CA has issued, and what came of it stands until it is looked at again: otherwise what the
/// order poller asks and what the reconciler says of the answer would take turns for ever.
pub(super) fn is_issued(seen: &Observation) -> bool {
    let phase = seen.order.progress.as_ref().map(|progress| &progress.phase);
    phase.is_none()
        && seen.previous.order.as_ref().is_some_and(|hint| hint.phase == OrderPhase::Issued)
}

/// The same as it was: each search leaves the status alone, and a hold stays one between searches.
pub(super) fn is_looked_for(seen: &Observation) -> bool {
    seen.previous.wait.is_some_and(|wait| wait.on == WaitsFor::Search)
}
