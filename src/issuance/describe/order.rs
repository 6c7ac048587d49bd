//! What a status says of an order, and in which words.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::challenges;
use crate::api::condition::{TEXT_LIMIT, shortened};
use crate::api::{OrderActor, OrderPhase, OrderStatus, annotation};
use crate::ca::{Actor, Phase};
use crate::issuance::observation::Observation;
use crate::issuance::order::hold::Hold;
use crate::issuance::order::record::OrderState;
use crate::issuance::step::Rest;
use crate::reason::Reason;

/// The order as the status shows it; `None` where none is open and none has to be looked at.
pub(super) fn of(seen: &Observation, rest: &Rest) -> Option<OrderStatus> {
    if *rest == Rest::Kept {
        return None;
    }
    let mut order = last(seen)?;
    // What was delivered is no open order, whatever comes next has to wait for.
    let standing = seen.standing();
    let delivered = standing.held().and_then(|held| held.order.as_ref());
    if matches!(rest, Rest::Withheld(_)) && delivered == Some(&order.reference) {
        return None;
    }
    order.id = seen.order_id().or(order.id);
    if *rest == Rest::Submitting {
        order.submitted_at.get_or_insert(Time(seen.now));
    }
    order.phase = phase(rest, order.phase);
    if matches!(rest, Rest::NotAllowed(_) | Rest::Suspended(_)) && is_unsent(seen, &order) {
        // It is open no more, and somebody else has its place among those that are. Whoever goes on
        // with it announces it anew before anything is sent.
        order.submitted_at = None;
    }
    // An order of a version that did not note it is told of once more only where something changes.
    let is_noted = order.generation.is_some() || *rest == Rest::Submitting;
    if is_noted && seen.is_for_what_is_asked(&order.reference) == Some(true) {
        order.generation = Some(seen.request.generation);
    }
    Some(match seen.order.progress.as_ref().map(|progress| &progress.phase) {
        Some(phase) => told(order, phase),
        None => order,
    })
}

/// Nothing of it was ever sent: this process has had every claim on it, and has the last unused. One
/// whose process has ended may have been sent, as far as anybody knows.
fn is_unsent(seen: &Observation, order: &OrderStatus) -> bool {
    let claim = seen.order.claim.as_ref();
    claim.is_some_and(|claim| claim.is_untouched && claim.reference == order.reference)
        && order.claimed_by.as_deref() == Some(&seen.order.incarnation)
        && order.phase == OrderPhase::Submitting
        && order.id.is_none()
        && seen.order.progress.is_none()
}

/// The order made last, unless it is over.
fn last(seen: &Observation) -> Option<OrderStatus> {
    let hint = seen.previous.order.clone();
    // A record that is older than the order made last tells nothing of it.
    let Some(record) = seen.record().filter(|record| !seen.is_older(record)) else {
        return hint;
    };
    if matches!(record.mark.state, OrderState::Refused | OrderState::Superseded) {
        return None;
    }
    let order = &record.next.order;
    let same = hint.filter(|hint| hint.reference == order.reference);
    Some(OrderStatus {
        reference: order.reference.clone(),
        account: order.account.clone(),
        attempt: record.mark.attempt,
        claimed_by: Some(record.mark.claim.clone()),
        ..same.unwrap_or_default()
    })
}

/// Where the order stands, as far as the end of a run tells.
fn phase(rest: &Rest, before: OrderPhase) -> OrderPhase {
    match rest {
        Rest::Submitting => OrderPhase::Submitting,
        Rest::LookedFor { .. } | Rest::Held(Hold::OutcomeUnknown(_)) => OrderPhase::Unknown,
        Rest::Held(Hold::Ended(..)) => OrderPhase::Failed,
        Rest::Ordered if before != OrderPhase::Issued => OrderPhase::Pending,
        // What is said of it otherwise does not move it.
        Rest::Abandoned
        | Rest::AwaitingChange
        | Rest::BackingOff { .. }
        | Rest::Deleted
        | Rest::Failed(_)
        | Rest::Held(_)
        | Rest::IssuerMissing
        | Rest::IssuerNotReady(_)
        | Rest::Kept
        | Rest::Ordered
        | Rest::RecordUnreadable(_)
        | Rest::SecretNameTaken(_)
        | Rest::NotAdopted(_)
        | Rest::NotAllowed(_)
        | Rest::SecretNotOurs(_)
        | Rest::Suspended(_)
        | Rest::TargetUnreadable(_)
        | Rest::Withheld(_) => before,
    }
}

/// The order with the CA's latest word on it.
fn told(order: OrderStatus, phase: &Phase) -> OrderStatus {
    let silent = OrderStatus {
        state: None,
        waiting_for: None,
        actor: None,
        message: None,
        challenges: Vec::new(),
        ..order
    };
    match phase {
        Phase::Pending(waiting) => OrderStatus {
            phase: OrderPhase::Pending,
            state: Some(text(&waiting.state)),
            waiting_for: Some(waiting.actor.words().to_owned()),
            actor: actor(waiting.actor),
            message: Some(text(&waiting.message)).filter(|text| !text.is_empty()),
            challenges: challenges::told(&waiting.challenges),
            ..silent
        },
        Phase::Issued(_) => OrderStatus { phase: OrderPhase::Issued, ..silent },
        Phase::Failed(failed) => OrderStatus {
            phase: OrderPhase::Failed,
            state: Some(text(&failed.state)),
            message: Some(text(&failed.message)),
            ..silent
        },
    }
}

/// What a CA says, which its client has scrubbed, at the length of a field.
fn text(said: &str) -> String {
    shortened(said.to_owned(), TEXT_LIMIT)
}

fn actor(actor: Actor) -> Option<OrderActor> {
    match actor {
        Actor::Approver => Some(OrderActor::Approver),
        Actor::Ca => Some(OrderActor::Ca),
        Actor::Owner => Some(OrderActor::Owner),
        Actor::Unknown => None,
    }
}

/// Number of the order made last.
pub(super) fn count(seen: &Observation) -> Option<i64> {
    let stored = seen.record().map_or(0, |record| record.next.order.number);
    let number = stored.max(seen.previous.orders);
    (number > 0).then_some(number)
}

/// Reason and message while the CA has the order.
pub(super) fn waiting(seen: &Observation, order: Option<&OrderStatus>) -> (Reason, String) {
    let Some(order) = order else {
        return (Reason::OrderPending, "the CA has the order".to_owned());
    };
    let reason = match order.actor {
        Some(OrderActor::Approver) => Reason::AwaitingApproval,
        Some(OrderActor::Owner) => Reason::AwaitingOwner,
        Some(OrderActor::Ca) | None => Reason::OrderPending,
    };
    let mut message = format!("order {} is with the CA", named(order));
    if let Some(state) = &order.state {
        message.push_str(&format!(" in state {state}"));
    }
    if let Some(who) = &order.waiting_for {
        message.push_str(&format!(" and waits for {who}"));
    }
    if let Some(words) = &order.message {
        message.push_str(&format!(": {words}"));
    }
    if let Some(next) = challenges::next(&order.challenges) {
        message.push_str(&format!("; {next}"));
    }
    if seen.is_for_what_is_asked(&order.reference) == Some(false) {
        message.push_str(
            "; it was made before the request was edited: when it has ended, another order follows for what is asked for now",
        );
    }
    message.push_str(
        "; Chancery keeps asking the CA, every few seconds at first and every five minutes later",
    );
    (reason, message)
}

fn named(order: &OrderStatus) -> String {
    match &order.id {
        Some(id) => format!("{id} ({})", order.reference),
        None => order.reference.clone(),
    }
}

/// Why an order waits for a person, what to look at, and how to go on.
pub(super) fn held(seen: &Observation, hold: &Hold) -> String {
    let reference = seen.hinted_or_stored().unwrap_or_default();
    let id = seen.order_id().map(|id| format!(" ({id} at the CA)")).unwrap_or_default();
    let order = format!("order {reference}{id}");
    let record = seen.record_name();
    let why = match hold {
        Hold::ForeignKey { id } => format!(
            "{order}: what the CA has under this name{} is for another key than the one in Secret {record}; find out whether another cluster with the same objects ordered it",
            id.as_ref().map(|id| format!(", {id},")).unwrap_or_default()
        ),
        Hold::Unusable(why) => format!(
            "{order}: the certificate was issued and was not delivered: {why}; compare the request with the product at the CA"
        ),
        Hold::RecordLost => format!(
            "{order} was made, and the Secret {record} that held its key is gone or older than the order; put it back from a backup"
        ),
        Hold::RecordEdited(why) => format!(
            "Secret {record} holds the key of an order and is not as Chancery wrote it: {why}; put it back from a backup"
        ),
        Hold::RecordNewer => format!(
            "Secret {record} was written by a newer version of Chancery, and this one leaves it alone: upgrade Chancery"
        ),
        Hold::RecordForeign => format!(
            "Secret {record} exists and is not Chancery's: nothing is ordered, because there is no place to keep the key; delete it, or give the request another name"
        ),
        Hold::OutcomeUnknown(why) => format!(
            "nobody knows whether {order} was made: {why}; look for it at the CA (its key is in Secret {record})"
        ),
        Hold::AccountSwitched { ordered_at, now } => format!(
            "{order} was made at {ordered_at}, and {} now speaks for {now}: put the account back, and the order goes on",
            seen.request.issuer
        ),
        Hold::Ended(state, words) => {
            let what = match state {
                OrderState::Rejected => "was rejected by a person at the CA",
                OrderState::Revoked => "was issued and then revoked",
                OrderState::Forgotten => "is no longer known to the CA",
                OrderState::Open
                | OrderState::Refused
                | OrderState::Failed
                | OrderState::Superseded => "came to nothing",
            };
            let words = if words.is_empty() { String::new() } else { format!(": {words}") };
            format!(
                "{order} {what}{words}; no other is made by itself: change the request, or ask for another with the annotation {}=<new value>",
                annotation::RENEW
            )
        }
    };
    let Some(name) = seen.released_by().filter(|_| hold.can_be_released()) else {
        return why;
    };
    format!(
        "{why}. To give this order up and allow a new one: kubectl annotate certificaterequests.chancery.dev -n {} {} --overwrite {}={name}",
        seen.request.namespace,
        seen.request.name,
        annotation::RELEASE
    )
}
