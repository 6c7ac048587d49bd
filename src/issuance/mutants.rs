//! The core without one of its safeguards: what goes into [`decide()`] and what comes out of it is
//! doctored. For tests; the core itself knows nothing of it.

use jiff::SignedDuration;

use super::certificate::delivery::New;
use super::decide::{self};
use super::observation::Observation;
use super::order::hold::Hold;
use super::order::record::{Mark, OrderState, Record, RecordRead};
use super::order::seen::{ABSENT_ENOUGH, UnusedClaim};
use super::step::{Rest, Step};
use crate::ca::{Lookup, Phase};
use crate::mutant::{self, Mutant};

/// The next step, as the core without the safeguard that is taken away sees it.
#[must_use]
pub fn decide(seen: &Observation) -> Step {
    let Some(mutant) = mutant::removed() else { return decide::decide(seen) };
    let mut doctored = seen.clone();
    show(mutant, &mut doctored);
    let step = decide::decide(&doctored);
    take(mutant, doctored, step)
}

/// What the core is shown.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others are taken away elsewhere")]
fn show(mutant: Mutant, seen: &mut Observation) {
    match mutant {
        Mutant::ClaimAge => {
            if let Some(claim) = &mut seen.order.claim {
                claim.is_old = false;
            }
        }
        Mutant::EndedHold if !seen.order.is_announced() => {
            if let Some(record) = record_mut(seen).filter(|one| has_failed(one.mark.state)) {
                record.mark.state = OrderState::Superseded;
            }
        }
        Mutant::IncarnationId => take_for_own(seen),
        Mutant::LostRecord => {
            let is_older = seen.record().is_some_and(|record| seen.is_older(record));
            if is_older || matches!(seen.order.record, Some(RecordRead::Absent)) {
                seen.request.release = seen.hinted();
            }
        }
        Mutant::PositiveControl => seen.order.proven = true,
        Mutant::ReleaseByName
            if seen.request.release.is_some()
                && !seen.order.is_announced()
                && seen.order.claim.is_none() =>
        {
            seen.request.release = seen.released_by();
        }
        Mutant::Rival => seen.rival = None,
        Mutant::SearchPerClaim if seen.order.sought.elapsed.is_some() => {
            if let Some(record) = seen.record() {
                seen.order.sought.of = record.claim_id();
            }
        }
        Mutant::SettleWindow if is_absent(seen) && seen.order.sought.absent >= ABSENT_ENOUGH => {
            seen.order.sought.elapsed = Some(SignedDuration::from_hours(1000));
        }
        Mutant::Suspend => seen.request.suspended = false,
        Mutant::TerminalCheck => {
            let is_wanted = |record: &Record| {
                record.mark.state == OrderState::Open && seen.is_new_intent(&record.next.order)
            };
            if seen.record().is_some_and(is_wanted)
                && let Some(record) = record_mut(seen)
            {
                record.mark.state = OrderState::Superseded;
            }
        }
        Mutant::ThreeAnswers if is_absent(seen) && seen.order.sought.absent > 0 => {
            seen.order.sought.absent = u32::MAX;
        }
        // In hand since an earlier run.
        Mutant::Undelivered if !seen.submitted => seen.obtained = None,
        _ => {}
    }
}

/// What comes of the core's step.
fn take(mutant: Mutant, mut seen: Observation, step: Step) -> Step {
    match (mutant, step) {
        (Mutant::Announcement, Step::Announce) => {
            seen.order.announced();
            decide::decide(&seen)
        }
        (Mutant::FindFirst, Step::Find)
            if seen.record().is_some_and(|record| seen.has_unused_claim(record)) =>
        {
            seen.order.searched(Ok(Lookup::Absent { complete: true, doubt: None }));
            decide::decide(&seen)
        }
        (Mutant::DeliveredOnce, Step::Mark(Mark { state: OrderState::Forgotten, .. }))
            if seen.order.progress.is_none() =>
        {
            Step::Claim
        }
        (Mutant::UnusableHold, Step::Rest(Rest::Held(Hold::Unusable(_))))
            if !seen.order.is_announced() =>
        {
            let mark = seen.record().map(|record| record.mark.clone()).unwrap_or_default();
            Step::Mark(Mark { state: OrderState::Superseded, ..mark })
        }
        (Mutant::NeverWorse, step @ Step::Mark(Mark { state: OrderState::Superseded, .. }))
        | (Mutant::IssuedKey, step @ Step::Rest(Rest::Held(Hold::ForeignKey { .. }))) => {
            delivered_anyway(&seen).unwrap_or(step)
        }
        (_, step) => step,
    }
}

fn has_failed(state: OrderState) -> bool {
    match state {
        OrderState::Failed | OrderState::Forgotten | OrderState::Rejected | OrderState::Revoked => {
            true
        }
        OrderState::Open | OrderState::Refused | OrderState::Superseded => false,
    }
}

/// The search of this run says that there is no such order.
fn is_absent(seen: &Observation) -> bool {
    matches!(seen.order.lookup(), Some(Ok(Lookup::Absent { complete: true, .. })))
}

fn record_mut(seen: &mut Observation) -> Option<&mut Record> {
    match &mut seen.order.record {
        Some(RecordRead::Present(record)) => Some(record),
        Some(_) | None => None,
    }
}

/// Where all processes have one name, what another of them claimed was won by this one.
fn take_for_own(seen: &mut Observation) {
    let Some(record) = seen.record() else { return };
    let (claim, reference) = (record.mark.claim.clone(), record.next.order.reference.clone());
    if !mutant::has_submitted(&seen.order.incarnation, &reference) {
        seen.order.incarnation = claim;
        seen.order.claim = Some(UnusedClaim { reference, is_old: false, is_untouched: false });
    }
}

/// What was issued goes into the target, whatever its key is and whatever is there.
fn delivered_anyway(seen: &Observation) -> Option<Step> {
    let (record, account) = (seen.record()?, seen.account.as_ref()?);
    let Phase::Issued(candidates) = &seen.order.progress.as_ref()?.phase else { return None };
    let leaf = candidates.iter().find(|one| !one.is_ca())?;
    let order = &record.next.order;
    let chain = seen.verified(candidates, leaf.spki_der(), &order.names, account).ok()?;
    let new = New {
        requested: order.requested(),
        order: Some(order.reference.clone()),
        id: seen.order_id().filter(|_| account.capabilities.kinds.go_by_id()),
    };
    let delivery = seen.delivery(account, &chain, record.next.key()?, Some(new));
    Some(Step::Deliver(Box::new(delivery)))
}
