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

mod in_hand;
mod kind;
pub mod record;

use jiff::{SignedDuration, Timestamp};

use super::certificate::delivery::New;
use super::certificate::key::Key;
use super::certificate::reissue::Reissue;
use super::certificate::requested::Requested;
use super::certificate::standing::{Held, Standing};
use super::decide::{Rest, Step, contended, examined, pause, unfit_trouble};
use super::observation::{Account, IssuerState, Observation, Trouble};
use super::order::record::{
    Mark, NewOrder, OrderDraft, OrderState, Record, RecordRead, Slot, StoredOrder, reference,
};
use super::quota;
use crate::api::{DeliveredCertificate, OrderPhase};
use crate::ca::{FailedKind, Found, KeyEvidence, Lookup, OrderKind, Phase, Previous, Progress};
use crate::mutant::{self, Mutant};
use crate::outside::Disposition;
use crate::pki::chain::Unfit;
use crate::pki::{Certificate, Names};
use crate::reason::Reason;

/// What is known of the request's order in this run.
#[derive(Clone, Debug, Default)]
pub struct OrderSeen {
    /// The process that runs.
    pub incarnation: String,
    /// The record, once read in this run.
    pub record: Option<RecordRead>,
    /// The order that `progress` speaks of, and the claim that `lookup` does
    /// ([`Record::claim_id`]), where the record was read in this run.
    pub about: Option<(String, String)>,
    /// uid and resourceVersion of the Secret of its name, where there is one.
    pub base: Option<(String, String)>,
    /// What the search for the order before came to, whose certificate is to be delivered again.
    pub before: Option<Result<Lookup, Trouble>>,
    /// What was prepared in this run and is not stored.
    pub prepared: Option<Prepared>,
    /// Reference of the order whose claim this process won and has not used.
    pub claim: Option<String>,
    /// It was won long ago, and has to be won again before it is used.
    pub is_claim_old: bool,
    /// The status that says who submits was written in this run.
    pub announced: bool,
    /// What the search of this run came to.
    pub lookup: Option<Result<Lookup, Trouble>>,
    /// How the order stands, by the CA's latest word.
    pub progress: Option<Progress>,
    /// Ids of further orders that the search of this run found under the same name.
    pub others: Vec<String>,
    /// A submit of this run was refused or lost.
    pub submitted: Option<(Sent, Trouble)>,
    /// Since when the order is looked for, where its answer was lost.
    pub sought: Sought,
    /// A search of this account has found an order of ours before.
    pub proven: bool,
    /// How often somebody else wrote the record in this run.
    pub conflicts: u8,
}

/// What became of a submit without an answer that says "taken".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sent {
    /// Provably nothing was ordered.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// A key with everything an order needs.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Whether it follows another order.
    pub kind: OrderKind,
    /// The key.
    pub key: Key,
    /// Names in the CSR.
    pub names: Names,
    /// PKCS #10 request, DER.
    pub csr_der: Vec<u8>,
    /// What the CA's client made of the request.
    pub parameters: serde_json::Value,
}

/// How long an order has been looked for, by the process's own monotonic clock.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sought {
    /// The claim whose answer is lost ([`Record::claim_id`]).
    pub of: String,
    /// Since the first look; `None` before it.
    pub elapsed: Option<SignedDuration>,
    /// Since the last look.
    pub since_last: SignedDuration,
    /// Answers "there is none", at least a quarter of the settle window apart.
    pub absent: u32,
}

/// So many answers "there is none", spread over the settle window, make an order absent.
pub(super) const ABSENT_ENOUGH: u32 = 3;
/// An order is not looked for more often than this, where the settle window allows.
const SHORTEST_LOOK: SignedDuration = SignedDuration::from_secs(2);
/// An order that was not found within the settle window is looked for at least so often.
const LONGEST_LOOK: SignedDuration = SignedDuration::from_mins(10);
/// So often the record may be written by somebody else before the run ends.
const CONFLICTS: u8 = 3;

impl Sought {
    /// It is about this claim.
    #[must_use]
    pub fn is_of(&self, claim: &str) -> bool {
        self.of == claim || mutant::is_removed(Mutant::SearchPerClaim)
    }

    /// How long after the last look the next one comes.
    fn pause(&self, window: SignedDuration) -> SignedDuration {
        let quarter = window / 4;
        // As of the last look: or one that is due at the end of the window would be put off by it.
        let elapsed = self.elapsed.unwrap_or_default() - self.since_last;
        let longest = if elapsed > window { quarter.max(LONGEST_LOOK) } else { quarter };
        (elapsed / 2).max(SHORTEST_LOOK.min(window / 8)).min(longest)
    }

    /// How long until the next look; `None` where it is due.
    fn wait(&self, window: SignedDuration) -> Option<SignedDuration> {
        self.elapsed?;
        let wait = self.pause(window) - self.since_last;
        wait.is_positive().then_some(wait)
    }

    fn is_settled(&self, window: SignedDuration) -> bool {
        let is_over = self.elapsed.is_some_and(|elapsed| elapsed >= window);
        self.absent >= ABSENT_ENOUGH && is_over
    }
}

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

/// The next step for an order. `due` is what a new certificate would be for, where one is due.
pub(super) fn step(seen: &Observation, standing: &Standing, due: Option<Reissue>) -> Step {
    match &seen.issuer {
        IssuerState::Missing => return Step::Rest(Rest::IssuerMissing),
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
        Some(RecordRead::Foreign) => hold(Hold::RecordForeign),
        Some(RecordRead::Newer) => hold(Hold::RecordNewer),
        // Whoever gives the order up gives the damaged record up too.
        Some(RecordRead::Damaged(_))
            if seen.released_by().is_some_and(|one| seen.is_released(&one)) =>
        {
            start(seen, standing, due, account, None)
        }
        Some(RecordRead::Damaged(why)) => hold(Hold::RecordEdited(why.clone())),
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

fn hold(hold: Hold) -> Step {
    Step::Rest(Rest::Held(hold))
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
    if is_elsewhere(&hint.account, account) {
        return hold(switched(&hint.account, account));
    }
    let is_taken = hint.id.is_some()
        && hint.phase == OrderPhase::Pending
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

/// An order was made at another account than the one the issuer speaks for now.
fn is_elsewhere(ordered_at: &str, account: &Account) -> bool {
    ordered_at != account.name
}

fn switched(ordered_at: &str, account: &Account) -> Hold {
    Hold::AccountSwitched { ordered_at: ordered_at.to_owned(), now: account.name.clone() }
}

/// There is no record: nothing was ordered, or its key is lost.
fn absent(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
) -> Step {
    let is_repair = due.as_ref().is_some_and(Reissue::is_repair);
    // The only copy of the key is gone: buying another certificate is for a person to decide.
    let is_lost = seen.previous.order.is_some() || is_repair && seen.previous.orders > 0;
    match seen.hinted().filter(|_| account.capabilities.billable) {
        Some(last) if is_lost && !seen.is_released(&last) => hold(Hold::RecordLost),
        Some(_) | None => start(seen, standing, due, account, None),
    }
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
            return hold(Hold::RecordLost);
        }
        return start(seen, standing, due, account, Some(record));
    }
    if seen.is_released(&order.reference) || has_delivered(standing, record) {
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
        OrderState::Refused => match &seen.order.submitted {
            Some((_, trouble)) => Step::Rest(Rest::Failed(trouble.clone())),
            None if due.is_none() => Step::Rest(Rest::Kept),
            None => again(seen, due, Step::Claim),
        },
        state @ (OrderState::Failed
        | OrderState::Rejected
        | OrderState::Revoked
        | OrderState::Forgotten) => match due {
            Some(_) => hold(Hold::Ended(state, seen.last_words())),
            // What it was made for is no longer wanted.
            None => Step::Rest(Rest::Kept),
        },
    }
}

/// The target is gone or altered, and the order made last has no certificate yet: the one of the
/// order before is delivered again.
fn deliver_again(
    seen: &Observation,
    due: Option<&Reissue>,
    account: &Account,
    record: &Record,
) -> Option<Step> {
    let slot = record.issued.as_ref().filter(|slot| !is_elsewhere(&slot.order.account, account))?;
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

/// The target holds the certificate of the order: the order has ended well.
fn has_delivered(standing: &Standing, record: &Record) -> bool {
    standing.held().and_then(|held| held.order.as_deref()) == Some(&record.next.order.reference)
}

/// What would submit now, unless it has to wait.
fn again(seen: &Observation, due: Option<Reissue>, step: Step) -> Step {
    match due {
        Some(due) if seen.is_suspended() => Step::Rest(Rest::Suspended(due)),
        Some(due) => match pause(seen, due) {
            Some(rest) => Step::Rest(rest),
            // A target that nothing can be put into is refused before money is spent.
            None if seen.target.is_none() => Step::ReadTarget,
            None => seen.fixed().map_or(step, Step::Rest),
        },
        None => Step::Rest(Rest::Kept),
    }
}

/// Towards a new order, in place of the one in `displaced`.
fn start(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
    displaced: Option<&Record>,
) -> Step {
    let Some(due) = due else {
        return Step::Rest(Rest::Kept);
    };
    if seen.delivered.is_some() || seen.submitted {
        return Step::Rest(Rest::Kept);
    }
    let Some(prepared) = &seen.order.prepared else {
        let plan = match examined(seen, standing, account) {
            Ok(plan) => plan,
            Err(step) => return again(seen, Some(due), step),
        };
        let kind = seen.order_kind(standing, &due, account);
        // The order before was at another issuer; this one issues at once.
        let step = if account.capabilities.has_records() {
            Step::Prepare(plan, kind)
        } else {
            Step::Submit(plan, kind)
        };
        return again(seen, Some(due), step);
    };
    let number = displaced
        .map_or(0, |record| record.next.order.number)
        .max(seen.previous.orders)
        .max(seen.previous.revision)
        + 1;
    let order = StoredOrder::new(NewOrder {
        uid: &seen.request.uid,
        number,
        account: &account.name,
        since: seen.now,
        csr_der: &prepared.csr_der,
        names: &prepared.names,
        intent: seen.requested_for(&prepared.key),
        parameters: prepared.parameters.clone(),
        kind: &prepared.kind,
    });
    Step::WriteRecord(Box::new(OrderDraft {
        base: seen.order.base.clone(),
        next: Slot { order, private: prepared.key.private().cloned(), kind: prepared.kind.clone() },
        displaced: displaced.and_then(|record| worth_keeping(standing, record)),
        made: quota::noted(displaced.map_or(&[], |record| &record.mark.made), seen.now),
    }))
}

/// Of the two orders in a record, the one whose certificate was delivered last.
fn worth_keeping(standing: &Standing, record: &Record) -> Option<Slot> {
    if has_delivered(standing, record) || record.issued.is_none() {
        return Some(record.next.clone());
    }
    record.issued.clone()
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
    if is_elsewhere(&order.account, account) {
        // Nothing was sent under the first claim.
        return if is_ours && record.mark.attempt == 1 {
            start(seen, standing, due, account, Some(record))
        } else {
            hold(switched(&order.account, account))
        };
    }
    if let Some(progress) = &seen.order.progress {
        return follow(seen, standing, due, account, record, progress);
    }
    match &seen.order.submitted {
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

fn window(account: &Account) -> SignedDuration {
    let window = account.capabilities.settle_window.try_into();
    window.unwrap_or(SignedDuration::from_mins(15))
}

fn is_searchable(account: &Account) -> bool {
    account.capabilities.has_records() && account.capabilities.searchable
}

/// One that follows another is looked for by the id of that one.
fn can_be_found(account: &Account, slot: &Slot) -> bool {
    is_searchable(account) || slot.kind.follows()
}

/// The claim is ours and unused: announce, look once more, submit.
fn submit(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
    record: &Record,
) -> Step {
    let is_untouched = record.mark.attempt == 1;
    if is_untouched && (due.is_none() || seen.is_new_intent(&record.next.order)) {
        // The request changed before anything was sent.
        return start(seen, standing, due, account, Some(record));
    }
    let is_told = seen.previous.order.as_ref().is_some_and(|hint| {
        hint.reference == record.next.order.reference && hint.attempt == record.mark.attempt
    });
    let finds_first = can_be_found(account, &record.next);
    let found_nothing = match &seen.order.lookup {
        // One that follows another is claimed again only where provably nothing was sent.
        None
        | Some(Ok(
            Lookup::Unsupported | Lookup::Unchanged | Lookup::Absent { complete: true, .. },
        )) => true,
        // Two of what costs nothing are no harm.
        Some(Ok(Lookup::Absent { complete: false, .. })) => !account.capabilities.billable,
        Some(Ok(Lookup::Found(_)) | Err(_)) => false,
    };
    match &seen.order.lookup {
        // An earlier run announced it and then did not submit: what held it up is looked at before
        // the status is written again, or the two would take turns for ever.
        None if is_told && !seen.order.announced && finds_first => again(seen, due, Step::Find),
        _ if found_nothing && !seen.order.announced => {
            // Somebody may be about to take the order for lost: whoever writes first has it.
            let is_old = seen.order.is_claim_old;
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
            hold(Hold::OutcomeUnknown(doubted(doubt.as_deref())))
        }
        Some(Ok(Lookup::Found(found))) => hold(foreign(found)),
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
fn lost(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
    record: &Record,
) -> Step {
    if seen.order_id().is_some() {
        return Step::Rest(Rest::Ordered);
    }
    let can = &account.capabilities;
    if can.billable && !can_be_found(account, &record.next) {
        // An issued one may still be found by its key.
        return match &seen.order.lookup {
            None => Step::Find,
            Some(Ok(Lookup::Found(found))) => hold(foreign(found)),
            Some(Ok(_)) => hold(Hold::OutcomeUnknown(format!(
                "{} cannot be searched for it",
                account.capabilities.name
            ))),
            Some(Err(trouble)) => hold(Hold::OutcomeUnknown(trouble.message.clone())),
        };
    }
    let window = window(account);
    // What was looked for under an earlier claim says nothing of this one.
    let known = Some(&seen.order.sought).filter(|sought| sought.is_of(&record.claim_id()));
    let sought = known.cloned().unwrap_or_default();
    let is_over = sought.elapsed.is_some_and(|elapsed| elapsed >= window);
    let later =
        |why: Option<String>| looked_for(seen, sought.wait(window).unwrap_or(SHORTEST_LOOK), why);
    let follows = record.next.kind.follows();
    // Two of what costs nothing are no harm; two that follow the same one may be.
    let unknown = |why: String| {
        if can.billable || follows {
            hold(Hold::OutcomeUnknown(why))
        } else {
            again(seen, due.clone(), Step::Claim)
        }
    };
    match &seen.order.lookup {
        None => match sought.wait(window) {
            Some(wait) => looked_for(seen, wait, None),
            None => Step::Find,
        },
        Some(Err(trouble)) if is_over => unknown(trouble.message.clone()),
        Some(Err(trouble)) => later(Some(trouble.message.clone())),
        Some(Ok(Lookup::Unsupported)) if can.billable || is_over => {
            unknown("this account cannot be searched for it".to_owned())
        }
        Some(Ok(Lookup::Unsupported)) => later(None),
        Some(Ok(Lookup::Found(found))) => hold(foreign(found)),
        Some(Ok(Lookup::Absent { complete: false, doubt })) if is_over => {
            unknown(doubted(doubt.as_deref()))
        }
        Some(Ok(Lookup::Absent { complete: false, doubt })) => later(doubt.clone()),
        // What the CA shows may lag behind, so that this proves nothing, however often it is said.
        Some(Ok(Lookup::Unchanged)) if is_over => hold(Hold::OutcomeUnknown(format!(
            "for {window:#} the CA shows the certificate that was to be replaced, which may be the state before the order"
        ))),
        Some(Ok(Lookup::Unchanged)) => later(None),
        Some(Ok(Lookup::Absent { complete: true, .. })) if !sought.is_settled(window) => {
            later(None)
        }
        Some(Ok(Lookup::Absent { .. })) if follows => hold(Hold::OutcomeUnknown(format!(
            "for {window:#} the CA shows nothing of the order that was to be followed"
        ))),
        Some(Ok(Lookup::Absent { .. })) if can.billable && !seen.order.proven => {
            hold(Hold::OutcomeUnknown(format!(
                "the search found nothing for {window:#}, but it has never found an order of this account, so this proves nothing"
            )))
        }
        // Its certificate was delivered once: the CA has forgotten it, and knew it.
        Some(Ok(Lookup::Absent { .. })) if seen.has_come_through(&record.next.order) => {
            Step::Mark(Mark { state: OrderState::Forgotten, ..record.mark.clone() })
        }
        // It was withdrawn before anybody announced it, and is not there: nobody asked for it.
        Some(Ok(Lookup::Absent { .. }))
            if due.is_some()
                && seen.is_new_intent(&record.next.order)
                && !seen.may_be_announced(&record.next.order) =>
        {
            start(seen, standing, due, account, Some(record))
        }
        // What was ordered is made again as it was, and only then what is wanted now.
        Some(Ok(Lookup::Absent { .. })) => again(seen, due, Step::Claim),
    }
}

fn looked_for(seen: &Observation, wait: SignedDuration, why: Option<String>) -> Step {
    let until = seen.now.checked_add(wait).unwrap_or(seen.now);
    Step::Rest(Rest::LookedFor { until, why })
}

/// The CA has the order.
fn follow(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
    record: &Record,
    progress: &Progress,
) -> Step {
    let ended = |state| Step::Mark(Mark { state, ..record.mark.clone() });
    if record.next.kind.previous().is_some_and(|previous| shows_only(progress, previous)) {
        return Step::Rest(Rest::Ordered);
    }
    match &progress.phase {
        Phase::Pending(_) if !progress.named && record.mark.id != progress.id => {
            Step::Mark(Mark { id: progress.id.clone(), ..record.mark.clone() })
        }
        Phase::Pending(_) => Step::Rest(Rest::Ordered),
        // What the CA does not know by its id it may know by its name.
        Phase::Failed(failed)
            if failed.kind == FailedKind::Forgotten
                && seen.order.lookup.is_none()
                && is_searchable(account) =>
        {
            Step::Find
        }
        Phase::Failed(failed) => ended(match failed.kind {
            FailedKind::Failed => OrderState::Failed,
            FailedKind::Forgotten => OrderState::Forgotten,
            FailedKind::Rejected => OrderState::Rejected,
            FailedKind::Revoked => OrderState::Revoked,
        }),
        Phase::Issued(candidates) => {
            issued(seen, standing, due.as_ref(), account, record, candidates)
        }
    }
}

/// The CA shows what is to be replaced, which is under the same id: the order is under way.
fn shows_only(progress: &Progress, previous: &Previous) -> bool {
    match &progress.phase {
        Phase::Issued(candidates) => {
            let mut leaves = candidates.iter().filter(|one| !one.is_ca()).peekable();
            leaves.peek().is_some() && leaves.all(|one| *one == previous.certificate)
        }
        Phase::Failed(_) | Phase::Pending(_) => false,
    }
}

/// The CA issued: does it fit, and is it better than what is there?
fn issued(
    seen: &Observation,
    standing: &Standing,
    due: Option<&Reissue>,
    account: &Account,
    record: &Record,
    candidates: &[Certificate],
) -> Step {
    let superseded = || Step::Mark(Mark { state: OrderState::Superseded, ..record.mark.clone() });
    let held = standing.held();
    let is_there = |held: &Held| {
        let there = &held.certificate.fingerprint_sha256;
        candidates.iter().any(|one| one.fingerprint_sha256() == there)
    };
    if held.is_some_and(is_there) {
        // Delivered, and somebody took the reference off the Secret.
        return start(seen, standing, due.cloned(), account, Some(record));
    }
    if held.is_some() && seen.target.is_none() {
        return Step::ReadTarget;
    }
    if let Some(rest) = seen.fixed() {
        return Step::Rest(rest);
    }
    if let Some(trouble) = contended(seen) {
        return Step::Rest(Rest::Failed(trouble));
    }
    let order = &record.next.order;
    let Some(key) = record.next.key() else {
        return hold(Hold::RecordEdited("it holds no key".to_owned()));
    };
    if let Some(rest) = seen.no_room(&key) {
        return Step::Rest(rest);
    }
    if account.add_served_roots && seen.served.is_none() {
        return Step::ReadServedRoots;
    }
    let spki_der = key.spki_der();
    let chain = match seen.verified(candidates, spki_der, &order.names, account) {
        Ok(chain) => chain,
        Err(Unfit::NoPath { .. }) if seen.served.is_none() => return Step::ReadServedRoots,
        Err(Unfit::NoLeaf { .. }) => return hold(Hold::ForeignKey { id: seen.order_id() }),
        // It was delivered, and has had its time: what is wanted now is ordered.
        Err(Unfit::Expired { .. }) if seen.has_come_through(order) => return superseded(),
        // Bought, and never of use: buying another may help as little (a clock that is wrong).
        Err(unfit @ Unfit::Expired { .. }) => {
            return hold(Hold::Unusable(format!("{unfit}; compare the clocks")));
        }
        Err(unfit @ Unfit::NotYetValid { .. }) => {
            return Step::Rest(Rest::Failed(Trouble {
                disposition: Disposition::Retry { after: None },
                reason: Reason::CertificateNotYetValid,
                message: format!("the certificate was issued and will be delivered later: {unfit}"),
                counts: true,
            }));
        }
        Err(unfit @ (Unfit::LeafIsCa { .. } | Unfit::NamesMissing(_))) => {
            return hold(Hold::Unusable(unfit.to_string()));
        }
        Err(
            unfit @ (Unfit::AnchorNotValid { .. }
            | Unfit::NoAnchors { .. }
            | Unfit::NoPath { .. }
            | Unfit::Refused { .. }),
        ) => return Step::Rest(Rest::Failed(unfit_trouble(&unfit))),
    };
    if let Some(held) = held.filter(|held| held.certificate.not_after.0 > seen.now) {
        let fits = seen.verified(candidates, spki_der, &seen.request.names, account).is_ok();
        let is_no_later = chain.leaf.not_after() <= held.certificate.not_after.0;
        match due {
            _ if !fits => return superseded(),
            // What is there is what is wanted: another is taken where it is better, and would be no
            // reason for the next order.
            None if is_no_later || seen.is_new_intent(order) => return superseded(),
            Some(Reissue::NearingExpiry) if is_no_later => {
                return hold(Hold::Unusable(format!(
                    "it ends at {}, no later than the one it was to replace",
                    chain.leaf.not_after()
                )));
            }
            Some(_) | None => {}
        }
    }
    let new = New {
        requested: order.requested(),
        order: Some(order.reference.clone()),
        // What a later order may have to name.
        id: seen.order_id().filter(|_| account.capabilities.kinds.go_by_id()),
    };
    Step::Deliver(Box::new(seen.delivery(account, &chain, key, Some(new))))
}

impl Observation {
    /// Name of the Secret with the record.
    #[must_use]
    pub fn record_name(&self) -> String {
        super::order::record::record_name(&self.request.name)
    }

    /// The record, where it was read and is one.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match &self.order.record {
            Some(RecordRead::Present(record)) => Some(record),
            Some(_) | None => None,
        }
    }

    /// The claim in the record is this process's, and was not used.
    #[must_use]
    pub fn has_unused_claim(&self, record: &Record) -> bool {
        record.mark.claim == self.order.incarnation
            && self.order.claim.as_ref() == Some(&record.next.order.reference)
    }

    /// The reference of the order made last, as far as the status knows.
    #[must_use]
    pub fn hinted(&self) -> Option<String> {
        let previous = &self.previous;
        match &previous.order {
            Some(hint) => Some(hint.reference.clone()),
            None => (previous.orders > 0).then(|| reference(&self.request.uid, previous.orders)),
        }
    }

    /// The reference of the order made last: the one in the record, or the one the status knows.
    pub(super) fn hinted_or_stored(&self) -> Option<String> {
        let record = self.record().filter(|record| !self.is_older(record));
        let stored = record.map(|record| record.next.order.reference.clone());
        stored.or_else(|| self.hinted())
    }

    /// What the release annotation has to name: the order, or the uid of the record where nothing else
    /// is known of it.
    #[must_use]
    pub fn released_by(&self) -> Option<String> {
        self.hinted_or_stored().or_else(|| self.order.base.as_ref().map(|(uid, _)| uid.clone()))
    }

    /// The id of the order at the CA, by the CA's latest word, the record or the status.
    #[must_use]
    pub fn order_id(&self) -> Option<String> {
        let record = self.record().filter(|record| !self.is_older(record));
        let hint = self.previous.order.as_ref().filter(|hint| {
            record.is_none_or(|record| record.next.order.reference == hint.reference)
        });
        self.order
            .progress
            .as_ref()
            .and_then(|progress| progress.id.clone())
            .or_else(|| record.and_then(|record| record.mark.id.clone()))
            .or_else(|| hint.and_then(|hint| hint.id.clone()))
    }

    /// A certificate was delivered after the order was prepared: at that time it was its own, or
    /// there would be another order by now.
    ///
    /// Both times are of whole seconds: in the second in which the order was prepared, the
    /// certificate before it may have been delivered. Deliveries are counted too, and the number of
    /// an order is higher than their count when it is prepared.
    fn has_come_through(&self, order: &StoredOrder) -> bool {
        let previous = &self.previous;
        let is_later = |delivered: &DeliveredCertificate| delivered.delivered_at.0 > order.since;
        previous.orders >= order.number
            && (previous.revision >= order.number
                || previous.certificate.as_ref().is_some_and(is_later))
    }

    /// Only the announcement says when an order was submitted; that of a request which was deleted
    /// since nobody knows.
    fn may_be_announced(&self, order: &StoredOrder) -> bool {
        let hint = self.previous.order.as_ref().filter(|hint| hint.reference == order.reference);
        order.reference != reference(&self.request.uid, order.number)
            || hint.is_some_and(|hint| hint.submitted_at.is_some())
    }

    /// It was there before the order made last.
    pub(super) fn is_older(&self, record: &Record) -> bool {
        self.previous.orders > record.next.order.number
    }

    fn is_released(&self, reference: &str) -> bool {
        self.request.release.as_deref() == Some(reference)
    }

    /// What is wanted now is not what the order was made for. Taking the annotation that asks for a
    /// renewal away asks for nothing.
    pub(super) fn is_new_intent(&self, order: &StoredOrder) -> bool {
        let mut made_for = order.intent.clone();
        if self.request.renew.is_none() {
            made_for.remove(Requested::RENEW);
        }
        Requested::from_map(made_for).differs_anywhere(&self.wanted())
    }

    fn last_words(&self) -> String {
        match &self.order.progress {
            Some(Progress { phase: Phase::Failed(failed), .. }) => failed.message.clone(),
            Some(_) | None => self
                .previous
                .order
                .as_ref()
                .and_then(|hint| hint.message.clone())
                .unwrap_or_default(),
        }
    }
}

/// The ids of those under our name and not for another's key that are not the one to follow.
#[must_use]
pub fn others(found: &[Found]) -> Vec<String> {
    let followed = adopt(found).and_then(|one| one.progress.id.as_ref());
    found
        .iter()
        .filter(|one| one.evidence != KeyEvidence::Foreign)
        .filter_map(|one| one.progress.id.as_ref())
        .filter(|id| Some(*id) != followed)
        .cloned()
        .collect()
}

/// The one to follow of what a search found: the oldest for our key; where no key is known yet, the
/// oldest; never one for another key.
#[must_use]
pub fn adopt(found: &[Found]) -> Option<&Found> {
    let oldest = |evidence| {
        found
            .iter()
            .filter(|one| one.evidence == evidence)
            // One that came to nothing is no reason to leave one that did not.
            .min_by_key(|one| {
                let has_failed = matches!(one.progress.phase, Phase::Failed(_));
                (has_failed, one.created.unwrap_or(Timestamp::MAX))
            })
    };
    oldest(KeyEvidence::Ours).or_else(|| oldest(KeyEvidence::None))
}

#[cfg(test)]
mod tests;
