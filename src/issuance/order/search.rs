//! An order that may be submitted, or may have been: it is looked for at the CA first.

use jiff::SignedDuration;

use super::facts::{can_be_found, window};
use super::hold::Hold;
use super::record::{Mark, OrderState, Record};
use super::seen::SHORTEST_LOOK;
use super::start::{again, start};
use crate::ca::{Found, Lookup};
use crate::issuance::certificate::reissue::Reissue;
use crate::issuance::certificate::standing::Standing;
use crate::issuance::observation::{Account, Observation};
use crate::issuance::step::{Rest, Step};
use crate::issuance::trouble::Trouble;
use crate::outside::Disposition;
use crate::reason::Reason;

/// The claim is ours and unused: announce, look once more, submit.
pub(super) fn submit(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
    record: &Record,
) -> Step {
    let is_untouched = seen.is_untouched();
    if is_untouched && (due.is_none() || seen.is_new_intent(&record.next.order)) {
        // The request changed before anything was sent.
        return start(seen, standing, due, account, Some(record));
    }
    let is_told = seen.previous.order.as_ref().is_some_and(|hint| {
        hint.reference == record.next.order.reference && hint.attempt == record.mark.attempt
    });
    let finds_first = can_be_found(account, &record.next);
    let found_nothing = match seen.order.lookup() {
        // One that follows another is claimed again only where provably nothing was sent.
        None
        | Some(Ok(
            Lookup::Unsupported | Lookup::Unchanged | Lookup::Absent { complete: true, .. },
        )) => true,
        // Two of what costs nothing are no harm.
        Some(Ok(Lookup::Absent { complete: false, .. })) => !account.capabilities.billable,
        Some(Ok(Lookup::Found(_)) | Err(_)) => false,
    };
    match seen.order.lookup() {
        // An earlier run announced it and then did not submit: what held it up is looked at before
        // the status is written again, or the two would take turns for ever.
        None if is_told && !seen.order.is_announced() && finds_first => {
            again(seen, due, Step::Find)
        }
        _ if found_nothing && !seen.order.is_announced() => {
            // Somebody may be about to take the order for lost: whoever writes first has it.
            let is_old = seen.order.claim.as_ref().is_some_and(|claim| claim.is_old);
            again(seen, due, if is_old { Step::Claim } else { Step::Announce })
        }
        None if finds_first => Step::Find,
        None | Some(Ok(Lookup::Unsupported | Lookup::Unchanged)) => Step::Order,
        Some(Ok(Lookup::Absent { .. })) if found_nothing => Step::Order,
        // Nothing was sent under the first claim: the search is tried again.
        Some(Ok(Lookup::Absent { doubt, .. })) if is_untouched => {
            Step::Rest(Rest::Failed(Trouble {
                disposition: Disposition::Retry { after: None },
                reason: Reason::SearchIncomplete,
                message: format!("nothing was ordered yet: {}", doubted(doubt.as_deref())),
                counts: true,
            }))
        }
        Some(Ok(Lookup::Absent { doubt, .. })) => {
            Step::hold(Hold::OutcomeUnknown(doubted(doubt.as_deref())))
        }
        Some(Ok(Lookup::Found(found))) => Step::hold(foreign(found)),
        Some(Err(trouble)) => Step::Rest(Rest::Failed(trouble.clone())),
    }
}

fn doubted(doubt: Option<&str>) -> String {
    doubt.unwrap_or("the search at the CA was not complete").to_owned()
}

fn foreign(found: &[Found]) -> Hold {
    Hold::ForeignKey { id: found.iter().find_map(|one| one.progress.id.clone()) }
}

/// Another process has the claim, or this one has used it: the order may have been submitted.
pub(super) fn lost(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
    record: &Record,
) -> Step {
    if seen.order_id().is_some() {
        return Step::Rest(Rest::Ordered);
    }
    if account.capabilities.billable && !can_be_found(account, &record.next) {
        return unsearchable(seen, account);
    }
    let window = window(account);
    // What was looked for under an earlier claim says nothing of this one.
    let known = Some(&seen.order.sought).filter(|sought| sought.is_of(&record.claim_id()));
    let sought = known.cloned().unwrap_or_default();
    let is_over = sought.elapsed.is_some_and(|elapsed| elapsed >= window);
    let later =
        |why: Option<String>| looked_for(seen, sought.wait(window).unwrap_or(SHORTEST_LOOK), why);
    let is_paid = account.capabilities.billable;
    // Two of what costs nothing are no harm; two that follow the same one may be.
    let given_up = |why: &str| match is_paid || record.next.kind.follows() {
        true => unknown(why),
        false => again(seen, due.clone(), Step::Claim),
    };
    match seen.order.lookup() {
        None => match sought.wait(window) {
            Some(wait) => looked_for(seen, wait, None),
            None => Step::Find,
        },
        Some(Err(trouble)) if is_over => given_up(&trouble.message),
        Some(Err(trouble)) => later(Some(trouble.message.clone())),
        Some(Ok(Lookup::Unsupported)) if is_paid || is_over => {
            given_up("this account cannot be searched for it")
        }
        Some(Ok(Lookup::Unsupported)) => later(None),
        Some(Ok(Lookup::Found(found))) => Step::hold(foreign(found)),
        Some(Ok(Lookup::Absent { complete: false, doubt })) if is_over => {
            given_up(&doubted(doubt.as_deref()))
        }
        Some(Ok(Lookup::Absent { complete: false, doubt })) => later(doubt.clone()),
        // What the CA shows may lag behind, so that this proves nothing, however often it is said.
        Some(Ok(Lookup::Unchanged)) if is_over => unknown(&format!(
            "for {window:#} the CA shows the certificate that was to be replaced, which may be the state before the order"
        )),
        Some(Ok(Lookup::Unchanged)) => later(None),
        Some(Ok(Lookup::Absent { .. })) if !sought.is_settled(window) => later(None),
        Some(Ok(Lookup::Absent { .. })) => absent(seen, standing, due, account, record),
    }
}

/// An issued one may still be found by its key.
fn unsearchable(seen: &Observation, account: &Account) -> Step {
    match seen.order.lookup() {
        None => Step::Find,
        Some(Ok(Lookup::Found(found))) => Step::hold(foreign(found)),
        Some(Ok(_)) => unknown(&format!("{} cannot be searched for it", account.capabilities.name)),
        Some(Err(trouble)) => unknown(&trouble.message),
    }
}

/// Every search of the settle window said that there is no such order.
fn absent(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
    record: &Record,
) -> Step {
    let order = &record.next.order;
    let window = window(account);
    if record.next.kind.follows() {
        return unknown(&format!(
            "for {window:#} the CA shows nothing of the order that was to be followed"
        ));
    }
    if account.capabilities.billable && !seen.order.proven {
        return unknown(&format!(
            "the search found nothing for {window:#}, but it has never found an order of this account, so this proves nothing"
        ));
    }
    // Its certificate was delivered once: the CA has forgotten it, and knew it.
    if seen.has_come_through(order) {
        return Step::Mark(Mark { state: OrderState::Forgotten, ..record.mark.clone() });
    }
    // It was withdrawn before anybody announced it, and is not there: nobody asked for it.
    if due.is_some() && seen.is_new_intent(order) && !seen.may_be_announced(order) {
        return start(seen, standing, due, account, Some(record));
    }
    // What was ordered is made again as it was, and only then what is wanted now.
    again(seen, due, Step::Claim)
}

fn unknown(why: &str) -> Step {
    Step::hold(Hold::OutcomeUnknown(why.to_owned()))
}

pub(super) fn looked_for(seen: &Observation, wait: SignedDuration, why: Option<String>) -> Step {
    let until = seen.now.checked_add(wait).unwrap_or(seen.now);
    Step::Rest(Rest::LookedFor { until, why })
}
