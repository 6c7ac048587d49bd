//! Orders that cost money or take their time: from what is known of one to the next step.
//!
//! # The argument
//! Four things are kept apart: *what* is ordered (the record, written before the CA hears of it),
//! *who* may order it (the claim, won by a compare-and-swap on the record), *whether* it was ordered
//! (the CA's own answer, looked up by the reference), and *what is wanted now* (the request).
//!
//! Effects in order, and what a process that dies after each leaves behind:
//!
//! 1. *Prepare*: key, CSR, the CA's translation and dry run. Nothing is left.
//! 2. *Write the record*, with the first claim. It is found by its name: by the next run of this
//!    process, which still holds the claim; by another, which takes the order for maybe submitted.
//! 3. *Announce*: the status says who submits what. It fails where the request moved: the live
//!    check. Left behind as after 2.
//! 4. *Find.* Nothing changes.
//! 5. *Submit.* The order is at the CA, or it is not: whoever comes next looks for it by its
//!    reference, for the settle window, before claiming it again. It then sends the same bytes.
//! 6. *Mark* what the CA cannot tell later: an id it cannot find, a refusal, an end. Where it is
//!    lost, looking for the order repairs it, or a person is asked.
//! 7. *Write the status* (id and phase): a hint; the CA has the truth.
//! 8. *Deliver*, as for free CAs; the target then carries the reference, which ends the order.
//!
//! What must never happen, and what prevents it:
//! - *Two orders for one intent*: 2 is a create, or a change of exactly the version that was read, and
//!   only where the order before has ended; a submit takes the claim, and a claim is used once.
//! - *An order without its key*: 2 precedes 5, and the record outlives the request.
//! - *A failure that buys again*: what came to nothing is [`Hold`], until what is wanted differs.

mod facts;
mod follow;
pub mod following;
pub mod hold;
mod in_hand;
mod kind;
pub mod purchases;
pub mod record;
mod redeliver;
mod search;
pub mod seen;
mod start;

use self::facts::{can_be_found, has_delivered, relation, switched};
use self::follow::follow;
use self::hold::Hold;
use self::record::{Mark, OrderState, Record, RecordRead};
use self::redeliver::deliver_again;
use self::search::{looked_for, lost, submit};
use self::seen::{SHORTEST_LOOK, Sent};
use self::start::{again, start};
use super::certificate::reissue::Reissue;
use super::certificate::standing::Standing;
use super::observation::{Account, IssuerState, Observation};
use super::step::{Rest, Step};
use super::trouble::Trouble;
use crate::api::OrderPhase;
use crate::ca::tenant::Relation;
use crate::ca::{Found, KeyEvidence, Lookup, Phase, Progress};
use crate::outside::Disposition;
use crate::reason::Reason;

/// So often the record may be written by somebody else before the run ends.
const CONFLICTS: u8 = 3;

/// The next step for an order. `due` is what a new certificate would be for, where one is due.
pub(super) fn step(seen: &Observation, standing: &Standing, due: Option<Reissue>) -> Step {
    match &seen.issuer {
        IssuerState::Missing | IssuerState::NotServed => {
            return Step::Rest(Rest::IssuerMissing);
        }
        IssuerState::NotReady(why) => return Step::Rest(Rest::IssuerNotReady(why.clone())),
        IssuerState::Ready { .. } => {}
    }
    let Some(account) = &seen.account else {
        return Step::OpenAccount;
    };
    if seen.order.conflicts > CONFLICTS {
        return Step::Rest(Rest::Failed(contended_record(seen)));
    }
    match &seen.order.record {
        None => unread(seen, standing, due, account),
        Some(RecordRead::Absent) => absent(seen, standing, due, account),
        Some(RecordRead::Unreadable(why)) => Step::Rest(Rest::RecordUnreadable(why.clone())),
        Some(RecordRead::Foreign(_)) => Step::hold(Hold::RecordForeign),
        Some(RecordRead::Newer(_)) => Step::hold(Hold::RecordNewer),
        // Whoever gives the order up gives the damaged record up too.
        Some(RecordRead::Damaged(..))
            if seen.released_by().is_some_and(|one| seen.is_released(&one)) =>
        {
            start(seen, standing, due, account, None)
        }
        Some(RecordRead::Damaged(_, why)) => Step::hold(Hold::RecordEdited(why.clone())),
        Some(RecordRead::Present(record)) => with_record(seen, standing, due, account, record),
    }
}

/// Somebody else writes the record as often as we do.
fn contended_record(seen: &Observation) -> Trouble {
    Trouble {
        disposition: Disposition::Retry { after: None },
        reason: Reason::OrderRecordContended,
        message: format!(
            "Secret {} was changed by somebody else {} times while it was written: find out who writes it",
            seen.record_name(),
            seen.order.conflicts
        ),
        counts: true,
    }
}

/// Without the record: an order that the CA has is waited for by its id alone.
fn unread(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
) -> Step {
    let previous = &seen.previous;
    let Some(hint) = &previous.order else {
        // A record that is in the way of the first is read: an earlier request of this name may
        // have left it, or a process that died before it could tell.
        let is_first =
            previous.orders == 0 && due == Some(Reissue::NeverIssued) && seen.order.conflicts == 0;
        return if is_first && seen.order.claim.is_none() {
            start(seen, standing, due, account, None)
        } else {
            Step::ReadRecord
        };
    };
    if seen.is_released(&hint.reference) {
        return Step::ReadRecord;
    }
    if seen.is_elsewhere(&hint.account, account) {
        return match relation(&hint.account, account) {
            // Whether it is the same CA shows where the order is found there.
            Relation::Moved => Step::ReadRecord,
            Relation::Other | Relation::Same | Relation::Unknown => {
                Step::hold(switched(&hint.account, account))
            }
        };
    }
    let is_taken = seen.own_hint().is_some()
        && hint.id.is_some()
        && hint.phase == OrderPhase::Pending
        && !seen.is_edited_since(hint)
        // What a person has to mend is looked at, or it would be told of by turns.
        && !previous.wait.is_some_and(|wait| wait.needs_person)
        && !due.as_ref().is_some_and(Reissue::is_repair);
    match &seen.order.progress {
        // Whoever is asked about one that follows another by its id has to know what it replaces.
        None if is_taken && !account.capabilities.kinds.go_by_id() => Step::Rest(Rest::Ordered),
        // Without a name at the CA the id is all there is: it has to be in the record.
        Some(Progress { named: true, phase: Phase::Pending(_), .. }) if is_taken => {
            Step::Rest(Rest::Ordered)
        }
        None | Some(_) => Step::ReadRecord,
    }
}

/// There is no record: nothing was ordered, or its key is lost.
fn absent(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
) -> Step {
    let is_repair = due.as_ref().is_some_and(Reissue::is_repair);
    // The only copy of the key is gone: buying another certificate is for a person to decide. So it is
    // where an older Secret was put back: what was paid for is neither there nor in the record.
    let is_lost = seen.previous.order.is_some()
        || seen.previous.orders > 0 && (is_repair || is_set_back(seen, standing));
    match seen.hinted().filter(|_| account.capabilities.billable) {
        Some(last) if is_lost && !seen.is_released(&last) => Step::hold(Hold::RecordLost),
        Some(_) | None => start(seen, standing, due, account, None),
    }
}

/// The target holds the certificate of an earlier order than the last.
fn is_set_back(seen: &Observation, standing: &Standing) -> bool {
    let there = standing.held().and_then(|held| held.order.as_ref());
    there.is_some() && there != seen.hinted().as_ref()
}

fn with_record(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
    record: &Record,
) -> Step {
    let order = &record.next.order;
    if seen.is_older(record) {
        // Somebody put an older record back: the key of the order is not in it. Where the target
        // has it, or the order was given up, nobody needs it.
        let last = seen.hinted();
        let held = standing.held().and_then(|held| held.order.as_ref());
        if account.capabilities.billable
            && last.as_ref() != held
            && !last.is_some_and(|one| seen.is_released(&one))
        {
            return Step::hold(Hold::RecordLost);
        }
        return start(seen, standing, due, account, Some(record));
    }
    // What was delivered and then altered is delivered again, and not bought again.
    let is_repair = due.as_ref().is_some_and(Reissue::is_repair);
    if seen.is_released(&order.reference) || has_delivered(standing, record) && !is_repair {
        return start(seen, standing, due, account, Some(record));
    }
    if let Some(step) = deliver_again(seen, due.as_ref(), account, record) {
        return step;
    }
    let is_new_intent = due.is_some() && seen.is_new_intent(order);
    match record.mark.state {
        OrderState::Open => open(seen, standing, due, account, record),
        OrderState::Superseded => start(seen, standing, due, account, Some(record)),
        _ if is_new_intent => start(seen, standing, due, account, Some(record)),
        OrderState::Refused => match seen.order.not_taken() {
            Some((_, trouble)) => Step::Rest(Rest::Failed(trouble.clone())),
            None if due.is_none() => Step::Rest(Rest::Kept),
            None => again(seen, due, Step::Claim),
        },
        state @ (OrderState::Failed
        | OrderState::Rejected
        | OrderState::Revoked
        | OrderState::Forgotten) => match due {
            Some(_) => Step::hold(Hold::Ended(state, seen.last_words())),
            // What it was made for is no longer wanted.
            None => Step::Rest(Rest::Kept),
        },
    }
}

/// The order may be at the CA.
fn open(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
    record: &Record,
) -> Step {
    let order = &record.next.order;
    let is_ours = seen.has_unused_claim(record);
    if seen.is_elsewhere(&order.account, account) && !shows(seen, account, record) {
        return match (is_ours && seen.is_untouched(), seen.order.lookup()) {
            (true, _) => start(seen, standing, due, account, Some(record)),
            (false, None) if may_show(account, record) => Step::Find,
            (false, _) => Step::hold(switched(&order.account, account)),
        };
    }
    if let Some(progress) = &seen.order.progress {
        return follow(seen, standing, due, account, record, progress);
    }
    match seen.order.not_taken() {
        // Only under the claim that was refused: another's may have been taken.
        Some((Sent::Refused, _)) if record.mark.claim == seen.order.incarnation => {
            return Step::Mark(Mark { state: OrderState::Refused, ..record.mark.clone() });
        }
        Some((Sent::Refused, trouble)) => return Step::Rest(Rest::Failed(trouble.clone())),
        Some((Sent::Unknown, trouble)) => {
            return looked_for(seen, SHORTEST_LOOK, Some(trouble.message.clone()));
        }
        None => {}
    }
    if is_ours {
        return submit(seen, standing, due, account, record);
    }
    lost(seen, standing, due, account, record)
}

/// The order was made at another address, where the same CA may be: it is the same if it shows the
/// order.
fn may_show(account: &Account, record: &Record) -> bool {
    let is_moved = relation(&record.next.order.account, account) == Relation::Moved;
    is_moved && can_be_found(account, &record.next)
}

fn shows(seen: &Observation, account: &Account, record: &Record) -> bool {
    let is_ours = |found: &Found| found.evidence == KeyEvidence::Ours;
    matches!(seen.order.lookup(), Some(Ok(Lookup::Found(found)))
        if may_show(account, record) && found.iter().any(is_ours))
}

#[cfg(test)]
mod tests;
