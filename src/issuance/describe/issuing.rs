//! The condition `Issuing`: whether a certificate is being obtained, and what that waits for.

use jiff::Timestamp;

use super::attempt::NextAttempt;
use super::order;
use super::wait::{is_issued, is_looked_for, is_said_again};
use crate::api::WaitsFor;
use crate::issuance::allow::Refusal;
use crate::issuance::certificate::reissue::{Reissue, reissue};
use crate::issuance::observation::{IssuerState, Observation};
use crate::issuance::quota::Withheld;
use crate::issuance::step::Rest;
use crate::issuance::trouble::Trouble;
use crate::outside::Disposition;
use crate::reason::{Reason, Word};

/// The condition `Issuing`.
pub(super) struct Issuing {
    pub(super) holds: bool,
    pub(super) reason: Word,
    pub(super) message: String,
}

fn say(holds: bool, reason: Reason, message: impl Into<String>) -> Issuing {
    Issuing { holds, reason: reason.into(), message: message.into() }
}

/// What the condition says after a run that ended with `rest`.
pub(super) fn issuing(seen: &Observation, rest: &Rest, next: Option<&NextAttempt>) -> Issuing {
    match rest {
        Rest::Abandoned => say(true, Reason::Pending, "the request has moved meanwhile"),
        Rest::AwaitingChange => said_again(seen, false).unwrap_or_else(refused_before),
        Rest::BackingOff { until, reissue } if seen.previous.next_attempt != Some(*until) => {
            repaired_later(seen, *until, reissue.as_ref())
        }
        Rest::BackingOff { until, .. } => {
            said_again(seen, true).unwrap_or_else(|| failed_before(*until))
        }
        Rest::Deleted => say(false, Reason::Deleted, "the request is being deleted"),
        Rest::Failed(trouble) => failed(trouble, next),
        Rest::Held(hold) => say(true, hold.reason(), order::held(seen, hold)),
        Rest::IssuerMissing if seen.issuer == IssuerState::NotServed => {
            say(true, Reason::IssuerNotServed, issuer_not_served(seen))
        }
        Rest::IssuerMissing => say(true, Reason::IssuerNotFound, issuer_missing(seen)),
        Rest::IssuerNotReady(why) => {
            let issuer = &seen.request.issuer;
            say(true, Reason::IssuerNotReady, format!("{issuer} is not ready: {why}"))
        }
        Rest::Kept => match seen.template_refused() {
            Some(refusal) => not_allowed(seen, &refusal),
            None => say(false, Reason::Issued, "the certificate is delivered"),
        },
        Rest::LookedFor { why, .. } => looked_for(seen, why.as_deref()),
        Rest::Ordered => ordered(seen, rest),
        Rest::RecordUnreadable(why) => say(
            true,
            Reason::OrderRecordUnreadable,
            format!("{why}; nothing is ordered before it can be read"),
        ),
        Rest::SecretNameTaken(rival) => name_taken(seen, rival),
        Rest::NotAllowed(refusal) => not_allowed(seen, refusal),
        Rest::NotAdopted(why) => say(false, Reason::SecretNotAdopted, why),
        Rest::SecretNotOurs(why) => say(false, Reason::SecretNotOurs, why),
        Rest::Submitting => submitting(seen),
        Rest::Suspended(reissue) => say(
            false,
            Reason::Suspended,
            format!("{reissue}; nothing is asked of the CA while spec.suspend is true"),
        ),
        Rest::TargetUnreadable(why) => say(
            true,
            Reason::SecretUnreadable,
            format!("{why}; nothing is asked of the CA before it can be read"),
        ),
        Rest::Withheld(withheld) => say(true, withheld.reason(), held_back(seen, withheld)),
    }
}

/// The verdict of the last attempt, in the same words.
fn said_again(seen: &Observation, holds: bool) -> Option<Issuing> {
    let (reason, message) = seen.previous.said.clone().filter(|_| is_said_again(seen))?;
    Some(Issuing { holds, reason: reason.into(), message })
}

fn refused_before() -> Issuing {
    say(
        false,
        Reason::Pending,
        "the last attempt was refused, and the next one would be too: change the request or its issuer",
    )
}

fn failed_before(until: Timestamp) -> Issuing {
    say(
        true,
        Reason::Pending,
        format!("the last attempt failed; the next is at {until}, or when something changes"),
    )
}

/// Somebody keeps changing the Secret.
fn repaired_later(seen: &Observation, until: Timestamp, reissue: Option<&Reissue>) -> Issuing {
    match reissue {
        Some(reissue) => say(
            true,
            reissue.reason(),
            format!(
                "{reissue}, seconds after it was delivered: it will be repaired at {until}; find out who changes it"
            ),
        ),
        None => say(
            true,
            Reason::SecretAltered,
            format!(
                "Secret {} was changed again, seconds after it was repaired: the next repair is at {until}; find out who changes it",
                seen.request.secret_name
            ),
        ),
    }
}

fn failed(trouble: &Trouble, next: Option<&NextAttempt>) -> Issuing {
    let again = match next {
        Some(NextAttempt { failed, at: Some(at), .. }) => {
            format!(" (failed attempt {failed}; the next is at {at}, or when something changes)")
        }
        Some(NextAttempt { at: None, .. }) => {
            " (not tried again before the request or its issuer changes)".to_owned()
        }
        None => String::new(),
    };
    let is_refused = trouble.disposition == Disposition::Reject;
    say(!is_refused, trouble.reason, format!("{}{again}", trouble.message))
}

fn issuer_missing(seen: &Observation) -> String {
    let request = &seen.request;
    let place = if request.issuer.starts_with("ClusterIssuer") {
        String::new()
    } else {
        format!(" in namespace {}", request.namespace)
    };
    format!("{} does not exist{place}: create it, or correct spec.issuerRef", request.issuer)
}

fn issuer_not_served(seen: &Observation) -> String {
    format!(
        "{} is not asked: the Chancery of this namespace serves no ClusterIssuers; name an Issuer of namespace {} in spec.issuerRef, or ask the platform team",
        seen.request.issuer, seen.request.namespace
    )
}

fn name_taken(seen: &Observation, rival: &str) -> Issuing {
    say(
        false,
        Reason::SecretNameTaken,
        format!(
            "CertificateRequest {rival} already has spec.secretName {}: choose another in a new request, or delete one of the two",
            seen.request.secret_name
        ),
    )
}

fn submitting(seen: &Observation) -> Issuing {
    say(
        true,
        Reason::Submitting,
        format!(
            "order {} is being submitted; its key is in Secret {}",
            seen.record().map_or("", |record| &record.next.order.reference),
            seen.record_name()
        ),
    )
}

fn ordered(seen: &Observation, rest: &Rest) -> Issuing {
    if let Some(said) = said_again(seen, true).filter(|_| is_issued(seen)) {
        let is_in_the_way = seen.previous.wait.is_some_and(|wait| wait.on == WaitsFor::Secret);
        return Issuing { holds: !is_in_the_way, ..said };
    }
    let (reason, message) = order::waiting(seen, order::of(seen, rest).as_ref());
    say(true, reason, message)
}

fn looked_for(seen: &Observation, why: Option<&str>) -> Issuing {
    if let Some(said) = said_again(seen, true).filter(|_| is_looked_for(seen)) {
        return said;
    }
    let lost = match (seen.order.not_taken(), why) {
        (Some((_, trouble)), _) => trouble.message.clone(),
        (None, Some(why)) => format!("it may have been submitted, and the search says: {why}"),
        (None, None) => "it may have been submitted by a process that ended".to_owned(),
    };
    say(
        true,
        Reason::OrderLookedFor,
        format!(
            "order {}: {lost}. Chancery looks for it at the CA by this name, and submits it again, with the same key and CSR, only once it is proven not to be there",
            seen.hinted_or_stored().unwrap_or_default()
        ),
    )
}

/// What is not allowed, and what stays nevertheless.
fn not_allowed(seen: &Observation, refusal: &Refusal) -> Issuing {
    let standing = seen.standing();
    let valid = standing.held().filter(|held| held.certificate.not_after.0 > seen.now);
    let stays = valid.map_or_else(String::new, |held| {
        let end = held.certificate.not_after.0;
        format!("; the certificate that is delivered stays, and is valid until {end}")
    });
    let waits = refusal.reason == Reason::NamespaceNotAllowed && !refusal.needs_person;
    say(waits, refusal.reason, format!("{}{stays}", refusal.message))
}

/// Which limit is reached, and what it is that waits for it.
fn held_back(seen: &Observation, withheld: &Withheld) -> String {
    let message = limit_words(seen, withheld);
    let standing = seen.standing();
    let valid = standing.held().filter(|held| held.certificate.not_after.0 > seen.now);
    match (reissue(seen, &standing), valid) {
        (Some(reissue), Some(held)) => format!(
            "{reissue}, and the renewal is held; the certificate that is delivered is valid until {}. {message}",
            held.certificate.not_after.0
        ),
        (Some(_) | None, _) => message,
    }
}

/// The limit, the figures, and how it goes on.
fn limit_words(seen: &Observation, withheld: &Withheld) -> String {
    let issuer = &seen.request.issuer;
    match withheld {
        Withheld::Day { limit, day, until } => format!(
            "{issuer} has used the {limit} orders that its spec.limits.ordersPerDay allows on {day} (UTC): the request goes on by itself at {until}, or when the limit is raised"
        ),
        Withheld::Namespace { limit, day, until } => format!(
            "namespace {} has used the {limit} orders that spec.limits.ordersPerNamespacePerDay of {issuer} allows on {day} (UTC): the request goes on by itself at {until}, or when the limit is raised",
            seen.request.namespace
        ),
        Withheld::Open { limit, open } => format!(
            "{issuer} has {open} open orders, and its spec.limits.openOrders allows {limit}: the request goes on by itself when one of them ends, or when the limit is raised"
        ),
        Withheld::Turn { of_day, limit, .. } => {
            let field = if *of_day { "ordersPerDay" } else { "openOrders" };
            format!(
                "what is left of the {limit} orders that spec.limits.{field} of {issuer} allows is for renewals of certificates that end today, and for requests whose turn is before this one's: the request goes on by itself when its turn comes, or when the limit is raised"
            )
        }
        Withheld::Churn { limit, made, until } => format!(
            "{made} orders were made for request {} within 24 hours, and spec.limits.ordersPerRequestPerDay of {issuer} allows {limit}: find out what changes the request, or deletes and creates it again, then raise the limit or wait; the request goes on by itself at {until}",
            seen.request.name
        ),
    }
}
