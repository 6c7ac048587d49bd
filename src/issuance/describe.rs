//! From the end of a run to the whole status, the notices worth an Event, and the next look.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::certificate::reissue::reissue;
use super::certificate::renewal;
use super::certificate::standing::Held;
use super::decide::Rest;
use super::observation::{Observation, Trouble};
use super::order::status;
use super::quota::Withheld;
use crate::api::condition::{self, ISSUING, READY, STALLED, Verdict};
use crate::api::{CertificateRequestStatus, DeliveredCertificate, OrderPhase};
use crate::outside::Disposition;

/// What a run leaves behind.
#[derive(Clone, Debug)]
pub struct Description {
    /// The whole status.
    pub status: CertificateRequestStatus,
    /// What happened that somebody may want to know of; empty where nothing changed.
    pub notices: Vec<Notice>,
    /// The next look.
    pub requeue: Requeue,
}

/// Something for an Event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// Something is wrong.
    pub warning: bool,
    /// One word in camel case.
    pub reason: &'static str,
    /// Sentences for a person.
    pub message: String,
}

/// When to look again without being told of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Requeue {
    /// Only after a change.
    AwaitChange,
    /// Then.
    At(Timestamp),
}

/// No run follows another by itself faster than this.
const SHORTEST_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// A Secret that cannot be read, or that is in the way, is looked at again so often: nobody tells
/// when it can be read again, or when one without our label goes away.
const UNREADABLE_PAUSE: SignedDuration = SignedDuration::from_secs(15);

/// An order that waits for a person is looked at so often, where something may change by itself.
const HELD_PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// A request that waits for the end of another's order looks by itself so often.
const WITHHELD_PAUSE: SignedDuration = SignedDuration::from_mins(2);
const ORDERED_PAUSE: SignedDuration = SignedDuration::from_mins(30);

/// The status after a run that ended with `rest`. `before` are the conditions so far.
#[must_use]
pub fn describe(seen: &Observation, before: &[Condition], rest: &Rest) -> Description {
    let standing = seen.standing();
    let held = standing.held();
    let next = next_attempt(seen, rest);
    let delivered = delivered(seen, held, before, rest);
    let verdicts = verdicts(seen, held, delivered, rest, next.as_ref());
    let notices = notices(seen, held, before, &verdicts);
    let conditions = condition::merge(before, verdicts, seen.request.generation, seen.now);
    Description {
        status: status(seen, held, rest, next.as_ref(), conditions),
        notices,
        requeue: requeue(seen, held, delivered, rest, next.as_ref()),
    }
}

/// When the next attempt follows a failed one, and how many failed.
struct NextAttempt {
    failed: i32,
    failed_at: Timestamp,
    at: Option<Timestamp>,
}

fn next_attempt(seen: &Observation, rest: &Rest) -> Option<NextAttempt> {
    let Rest::Failed(trouble) = rest else {
        return None;
    };
    if !trouble.counts {
        return None;
    }
    let previous = &seen.previous;
    let is_same = previous.last_attempt.as_ref() == Some(&seen.attempt());
    // What fails before the next attempt is due was only a look: counting it would change the
    // status, and that would wake the next look at once.
    let due = previous.next_attempt.filter(|at| is_same && *at > seen.now);
    if let (Some(at), Some(failed_at)) = (due, previous.last_failure)
        && trouble.disposition != Disposition::Reject
    {
        return Some(NextAttempt { failed: previous.failed_attempts, failed_at, at: Some(at) });
    }
    let failed = if is_same { previous.failed_attempts.saturating_add(1) } else { 1 };
    let at = pause_after(trouble.disposition, failed)
        .map(|pause| pause + spread(&seen.request.uid, failed, pause))
        .map(|pause| seen.now.checked_add(pause).unwrap_or(seen.now))
        // To the second, as the status can hold it: message and field name the same time.
        .map(|at| Timestamp::from_second(at.as_second()).unwrap_or(at));
    Some(NextAttempt { failed, failed_at: seen.now, at })
}

/// Up to a fifth of the pause on top: what failed together, because a CA was away, does not come back
/// together.
fn spread(uid: &str, failed: i32, pause: SignedDuration) -> SignedDuration {
    SignedDuration::from_secs(renewal::jitter(&format!("{uid}/{failed}"), pause.as_secs() / 5))
}

/// How long to wait after the `failed`-th failure in a row; `None`: until something changes.
///
/// What passes by itself is tried soon and at most ten minutes apart; what a person must mend, or
/// what a CA answers in a way that makes no sense, a minute to an hour apart, so that nothing is
/// given up and no account gets locked.
fn pause_after(disposition: Disposition, failed: i32) -> Option<SignedDuration> {
    let doubled = |first: i64, most: i64| {
        let exponent = u32::try_from(failed.clamp(1, 20) - 1).unwrap_or(0);
        SignedDuration::from_secs(first.saturating_mul(1_i64 << exponent).min(most))
    };
    match disposition {
        Disposition::Retry { after } => {
            let asked = after.and_then(|after| SignedDuration::try_from(after).ok());
            Some(doubled(5, 600).max(asked.unwrap_or_default()))
        }
        Disposition::BlameIssuer | Disposition::Internal => Some(doubled(60, 3600)),
        Disposition::BlameCredentials => Some(SignedDuration::from_hours(1)),
        Disposition::Reject => None,
    }
}

fn verdicts(
    seen: &Observation,
    held: Option<&Held>,
    delivered: Option<&DeliveredCertificate>,
    rest: &Rest,
    next: Option<&NextAttempt>,
) -> Vec<Verdict> {
    let issuing = issuing(seen, rest, next);
    let mut verdicts = vec![ready(seen, held, delivered, &issuing)];
    if is_stalled(seen, rest) {
        verdicts.push(Verdict::new(STALLED, true, issuing.reason, issuing.message.clone()));
    }
    verdicts.push(Verdict::new(ISSUING, issuing.holds, issuing.reason, issuing.message));
    verdicts
}

struct Issuing {
    holds: bool,
    reason: &'static str,
    message: String,
}

fn issuing(seen: &Observation, rest: &Rest, next: Option<&NextAttempt>) -> Issuing {
    let request = &seen.request;
    let say = |holds, reason, message| Issuing { holds, reason, message };
    match rest {
        Rest::Deleted => say(false, "Deleted", "the request is being deleted".to_owned()),
        Rest::Kept => say(false, "Issued", "the certificate is delivered".to_owned()),
        Rest::Suspended(reissue) => say(
            false,
            "Suspended",
            format!("{reissue}; nothing is asked of the CA while spec.suspend is true"),
        ),
        Rest::Withheld(withheld) => say(true, withheld.reason(), held_back(seen, withheld)),
        Rest::IssuerMissing => say(
            true,
            "IssuerNotFound",
            format!(
                "{} does not exist{}: create it, or correct spec.issuerRef",
                request.issuer,
                if request.issuer.starts_with("ClusterIssuer") {
                    String::new()
                } else {
                    format!(" in namespace {}", request.namespace)
                }
            ),
        ),
        Rest::IssuerNotReady(why) => {
            say(true, "IssuerNotReady", format!("{} is not ready: {why}", request.issuer))
        }
        Rest::AwaitingChange => remembered(seen, false).unwrap_or_else(|| {
            say(
                false,
                "Pending",
                "the last attempt was refused and the next would be too: change the request or its issuer"
                    .to_owned(),
            )
        }),
        Rest::BackingOff { until, reissue: Some(reissue) }
            if seen.previous.next_attempt != Some(*until) =>
        {
            say(
                true,
                reissue.reason(),
                format!(
                    "{reissue}, seconds after it was delivered: repaired at {until}; find out who changes it"
                ),
            )
        }
        Rest::BackingOff { until, reissue: None } if seen.previous.next_attempt != Some(*until) => say(
            true,
            "SecretAltered",
            format!(
                "Secret {} is changed again, seconds after it was put in order: the next time is at {until}; find out who changes it",
                request.secret_name
            ),
        ),
        Rest::BackingOff { until, .. } => remembered(seen, true).unwrap_or_else(|| {
            say(
                true,
                "Pending",
                format!("the last attempt failed; the next is at {until}, or when something changes"),
            )
        }),
        Rest::TargetUnreadable(why) => say(
            true,
            "SecretUnreadable",
            format!("{why}; nothing is asked of the CA before it can be read"),
        ),
        Rest::SecretNotOurs(why) => say(false, "SecretNotOurs", why.clone()),
        Rest::SecretNameTaken(rival) => say(
            false,
            "SecretNameTaken",
            format!(
                "CertificateRequest {rival} already has spec.secretName {}: choose another in a new request, or delete one of the two",
                request.secret_name
            ),
        ),
        Rest::Failed(trouble) => failed(trouble, next),
        Rest::Held(hold) => say(true, hold.reason(), status::held(seen, hold)),
        Rest::LookedFor { why, .. } => remembered(seen, true)
            .filter(|_| is_looked_for(seen))
            .unwrap_or_else(|| say(true, LOOKED_FOR, looked_for(seen, why.as_deref()))),
        Rest::Ordered => remembered_of_issued(seen).unwrap_or_else(|| {
            let (reason, message) = status::waiting(status::of(seen, rest).as_ref());
            say(true, reason, message)
        }),
        Rest::RecordUnreadable(why) => say(
            true,
            "OrderRecordUnreadable",
            format!("{why}; nothing is ordered before it can be read"),
        ),
        Rest::Submitting => say(
            true,
            "Submitting",
            format!(
                "order {} is being submitted; its key is in Secret {}",
                seen.record().map_or("", |record| &record.next.order.reference),
                seen.record_name()
            ),
        ),
    }
}

/// Which limit is reached, and what it is that waits for it.
fn held_back(seen: &Observation, withheld: &Withheld) -> String {
    let message = withheld.message(seen);
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

/// Reason while the answer to a submit may have been lost.
const LOOKED_FOR: &str = "OrderLookedFor";

/// The CA has issued, and what came of it stands until it is looked at again: otherwise what the
/// order poller asks and what the reconciler says of the answer would take turns for ever.
fn is_issued(seen: &Observation) -> bool {
    let phase = seen.order.progress.as_ref().map(|progress| &progress.phase);
    phase.is_none()
        && seen.previous.order.as_ref().is_some_and(|hint| hint.phase == OrderPhase::Issued)
}

fn remembered_of_issued(seen: &Observation) -> Option<Issuing> {
    let mut issuing = remembered(seen, true).filter(|_| is_issued(seen))?;
    issuing.holds = issuing.reason != "SecretNotOurs";
    Some(issuing)
}

/// The same as it was: each search leaves the status alone, and a hold stays one between searches.
fn is_looked_for(seen: &Observation) -> bool {
    let reason = seen.previous.issuing.as_ref().map(|(reason, _)| reason.as_str());
    matches!(reason, Some(LOOKED_FOR | "OrderForForeignKey" | "OrderOutcomeUnknown"))
}

fn looked_for(seen: &Observation, why: Option<&str>) -> String {
    let lost = match (&seen.order.submitted, why) {
        (Some((_, trouble)), _) => trouble.message.clone(),
        (None, Some(why)) => format!("it may have been submitted, and the search says: {why}"),
        (None, None) => "it may have been submitted by a process that ended".to_owned(),
    };
    format!(
        "order {}: {lost}. It is looked for at the CA by this name, and made again, with the same key and CSR, only once it provably is not there",
        seen.hinted_or_stored().unwrap_or_default()
    )
}

fn failed(trouble: &Trouble, next: Option<&NextAttempt>) -> Issuing {
    let again = match next {
        Some(NextAttempt { failed, at: Some(at), .. }) => {
            format!(" (failed attempt {failed}; the next is at {at}, or when something changes)")
        }
        Some(NextAttempt { at: None, .. }) => {
            " (not asked again before the request or its issuer changes)".to_owned()
        }
        None => String::new(),
    };
    Issuing {
        holds: trouble.disposition != Disposition::Reject,
        reason: trouble.reason,
        message: format!("{}{again}", trouble.message),
    }
}

/// The verdict of the last attempt stands until the next, unless something else has been said in
/// between that no longer holds.
fn remembered(seen: &Observation, holds: bool) -> Option<Issuing> {
    let (reason, message) = seen.previous.issuing.clone()?;
    let reason = REASONS.iter().find(|known| **known == reason)?;
    Some(Issuing { holds, reason, message })
}

/// Reasons of failed attempts, to be found again in a status.
const REASONS: [&str; 50] = [
    "AccessDenied",
    "AddressInvalid",
    "AddressUnknown",
    "BundleUnreadable",
    "BundleUnusable",
    "CertificateNotYetValid",
    "CertificateUnfit",
    "CertificateUnusable",
    "ChainNotTrusted",
    "ClientInvalid",
    "ClientNotFound",
    "CredentialsMissing",
    "CredentialsRefused",
    "CredentialsUnreadable",
    "CredentialsUnusable",
    "CsrUnreadable",
    "CsrUnusable",
    "DurationRefused",
    "KeyFailed",
    "KindUnknown",
    "NamesMissing",
    "NamesUnfit",
    "NoAnswer",
    "NoToken",
    "NotSupportedByCa",
    "OrderBudgetNotReserved",
    "OrderForForeignKey",
    LOOKED_FOR,
    "OrderNotAnnounced",
    "OrderOutcomeUnknown",
    "OrderRecordContended",
    "OrderRecordNotWritten",
    "OrderUnusable",
    "ProductInvalid",
    "ProductMissing",
    "ProductNotFound",
    "ProductUnusable",
    "Redirected",
    "Refused",
    "RequestNotMade",
    "SearchIncomplete",
    "SecretContended",
    "SecretNotOurs",
    "SecretNotWritten",
    "ServerError",
    "ServerNotTrusted",
    "SettingsInvalid",
    "TooManyRequests",
    "UnexpectedAnswer",
    "Unreachable",
];

fn is_stalled(seen: &Observation, rest: &Rest) -> bool {
    let needs_a_person = |disposition| {
        matches!(
            disposition,
            Disposition::BlameCredentials | Disposition::BlameIssuer | Disposition::Reject
        )
    };
    match rest {
        Rest::AwaitingChange | Rest::SecretNameTaken(_) | Rest::SecretNotOurs(_) => true,
        Rest::Failed(trouble) => needs_a_person(trouble.disposition),
        Rest::BackingOff { until, .. } => {
            seen.previous.stalled && seen.previous.next_attempt == Some(*until)
        }
        Rest::Held(_) => true,
        Rest::LookedFor { .. } => seen.previous.stalled && is_looked_for(seen),
        Rest::Ordered => seen.previous.stalled && is_issued(seen),
        Rest::RecordUnreadable(_)
        | Rest::Submitting
        | Rest::Deleted
        | Rest::IssuerMissing
        | Rest::IssuerNotReady(_)
        | Rest::Kept
        | Rest::Suspended(_)
        | Rest::TargetUnreadable(_)
        | Rest::Withheld(_) => false,
    }
}

/// The certificate that `Ready` speaks of.
fn delivered<'a>(
    seen: &'a Observation,
    held: Option<&'a Held>,
    before: &[Condition],
    rest: &Rest,
) -> Option<&'a DeliveredCertificate> {
    let is_unclear = matches!(rest, Rest::TargetUnreadable(_));
    let was_there = || {
        condition::find(before, READY)
            .is_some_and(|ready| ready.status == "True" || ready.reason == EXPIRED)
    };
    match held {
        Some(held) => Some(&held.certificate),
        // What cannot be looked at is as it was: nobody took the certificate away.
        None if is_unclear && was_there() => seen.previous.certificate.as_ref(),
        None => None,
    }
}

/// Reason of `Ready` for a certificate that is delivered and no longer valid.
const EXPIRED: &str = "Expired";

/// The subject, or the names that were asked for where it is empty.
fn named(seen: &Observation, certificate: &DeliveredCertificate) -> String {
    let names = &seen.request.names;
    let addresses = names.ip_addresses.iter().map(ToString::to_string);
    let mut all = names
        .dns_names
        .iter()
        .chain(&names.uris)
        .chain(&names.email_addresses)
        .cloned()
        .chain(addresses);
    match (certificate.subject.as_str(), all.next()) {
        ("", Some(first)) => match all.count() {
            0 => first,
            more => format!("{first} and {more} more"),
        },
        ("", None) => "a certificate without a subject".to_owned(),
        (subject, _) => subject.to_owned(),
    }
}

fn ready(
    seen: &Observation,
    held: Option<&Held>,
    delivered: Option<&DeliveredCertificate>,
    issuing: &Issuing,
) -> Verdict {
    let Some(certificate) = delivered else {
        return Verdict::new(READY, false, issuing.reason, issuing.message.clone());
    };
    if certificate.not_after.0 <= seen.now {
        let message =
            format!("the certificate expired at {}; {}", certificate.not_after.0, issuing.message);
        return Verdict::new(READY, false, EXPIRED, message);
    }
    let mut message = format!(
        "{} from {}, valid until {}",
        named(seen, certificate),
        certificate.issuer,
        certificate.not_after.0
    );
    if let Some(renewal) = held.map(|held| held.renewal(&seen.request)) {
        message.push_str(&format!(", renews at {}", renewal.time));
        if renewal.fell_back {
            message.push_str("; spec.renewBefore is not shorter than the certificate's lifetime: a third of it is used instead");
        }
    }
    if Withheld::REASONS.iter().any(|(reason, _)| *reason == issuing.reason) {
        message.push_str(&format!("; the renewal is held ({})", issuing.reason));
    }
    Verdict::new(READY, true, "Issued", message)
}

fn status(
    seen: &Observation,
    held: Option<&Held>,
    rest: &Rest,
    next: Option<&NextAttempt>,
    conditions: Vec<Condition>,
) -> CertificateRequestStatus {
    let previous = &seen.previous;
    let revision = previous.revision + i64::from(is_new(seen, held));
    let mut status = CertificateRequestStatus {
        observed_generation: seen.request.generation,
        conditions,
        revision: (revision > 0).then_some(revision),
        order: status::of(seen, rest),
        orders: status::count(seen),
        certificate: held
            .map(|held| recorded(seen, held, rest))
            .or_else(|| previous.certificate.clone()),
        renewal_time: held.map(|held| Time(held.renewal(&seen.request).time)),
        last_failure_time: previous.last_failure.map(Time),
        failed_attempts: (previous.failed_attempts > 0).then_some(previous.failed_attempts),
        next_attempt_time: previous.next_attempt.map(Time),
        last_attempt: previous.last_attempt.clone(),
    };
    if let Some(next) = next {
        status.last_failure_time = Some(Time(next.failed_at));
        status.failed_attempts = Some(next.failed);
        status.next_attempt_time = next.at.map(Time);
        status.last_attempt = Some(seen.attempt());
    }
    if *rest == Rest::Kept {
        status.last_failure_time = None;
        status.failed_attempts = None;
        status.next_attempt_time = None;
        status.last_attempt = None;
    }
    status
}

/// The certificate with the resourceVersion that lets later runs skip the read: the present one only
/// where all of the target has been looked at, for what else was altered would stay so.
fn recorded(seen: &Observation, held: &Held, rest: &Rest) -> DeliveredCertificate {
    let is_looked_at = seen.target.is_none()
        || seen.delivered.is_some()
        || seen.account.is_some() && *rest == Rest::Kept;
    let mut certificate = held.certificate.clone();
    if !is_looked_at {
        certificate.secret_resource_version = seen
            .previous
            .certificate
            .as_ref()
            .map(|known| known.secret_resource_version.clone())
            .unwrap_or_default();
    }
    certificate
}

/// The certificate is another than the status knew: this run delivered it, or one that died before
/// it could tell.
fn is_new(seen: &Observation, held: Option<&Held>) -> bool {
    let known = seen.previous.certificate.as_ref().map(|known| &known.fingerprint_sha256);
    held.is_some_and(|held| known != Some(&held.certificate.fingerprint_sha256))
}

/// What happens to each order, and is worth no Event.
const ORDINARY: [&str; 3] = ["Issued", "OrderPending", "Submitting"];

/// Waits that somebody wants, and that are nothing to warn of.
const ON_PURPOSE: [&str; 4] = ["AwaitingApproval", "AwaitingOwner", Withheld::OPEN, "Suspended"];

/// The id of an order that was just taken, and that a CA which finds orders by name will not find.
fn nameless(seen: &Observation) -> Option<&str> {
    let can = &seen.account.as_ref()?.capabilities;
    let progress = seen.order.progress.as_ref().filter(|progress| !progress.named)?;
    let is_news = seen.previous.order.as_ref().is_none_or(|hint| hint.id.is_none());
    progress.id.as_deref().filter(|_| can.searchable && is_news)
}

fn notices(
    seen: &Observation,
    held: Option<&Held>,
    before: &[Condition],
    verdicts: &[Verdict],
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let subject = held.map(|held| named(seen, &held.certificate)).unwrap_or_default();
    match &seen.delivered {
        _ if is_new(seen, held) => notices.push(Notice {
            warning: false,
            reason: "Issued",
            message: format!(
                "revision {} delivered to Secret {}: {subject}",
                seen.previous.revision + 1,
                seen.request.secret_name
            ),
        }),
        Some(_) => notices.push(Notice {
            warning: false,
            reason: "Repaired",
            message: format!("Secret {} brought back in order", seen.request.secret_name),
        }),
        None => {}
    }
    if let Some(added) = seen.delivered.as_ref().filter(|added| !added.is_empty()) {
        notices.push(Notice {
            warning: true,
            reason: "ServedRootsAdded",
            message: format!(
                "ca.crt of Secret {} also trusts what the CA serves, by spec.trust.addServedRoots: {}",
                seen.request.secret_name,
                added.join("; ")
            ),
        });
    }
    if let Some(id) = nameless(seen) {
        notices.push(Notice {
            warning: true,
            reason: "OrderNotNamed",
            message: format!(
                "the CA took order {id} and did not keep its name: it is followed by its id, and could not be found again if an answer were lost; ask the CA to keep the tags of orders"
            ),
        });
    }
    if !seen.order.others.is_empty() {
        notices.push(Notice {
            warning: true,
            reason: "SeveralOrders",
            message: format!(
                "the CA has several orders named {}: one is followed, and nobody asked for {}; look at it at the CA",
                seen.hinted_or_stored().unwrap_or_default(),
                seen.order.others.join(", ")
            ),
        });
    }
    let transition = verdicts
        .iter()
        .find(|verdict| verdict.kind == ISSUING && !ORDINARY.contains(&verdict.reason))
        .filter(|verdict| {
            condition::find(before, ISSUING).is_none_or(|old| old.reason != verdict.reason)
        });
    if let Some(verdict) = transition {
        notices.push(Notice {
            warning: !ON_PURPOSE.contains(&verdict.reason),
            reason: verdict.reason,
            message: verdict.message.clone(),
        });
    }
    notices
}

fn requeue(
    seen: &Observation,
    held: Option<&Held>,
    delivered: Option<&DeliveredCertificate>,
    rest: &Rest,
    next: Option<&NextAttempt>,
) -> Requeue {
    let later = |pause: SignedDuration| seen.now.checked_add(pause).ok();
    let due = match rest {
        Rest::Kept => held.map(|held| held.renewal(&seen.request).time),
        Rest::BackingOff { until, .. } => Some(*until),
        Rest::Failed(trouble) => match next {
            Some(next) => next.at,
            None => pause_after(trouble.disposition, 1).and_then(later),
        },
        Rest::RecordUnreadable(_) | Rest::SecretNotOurs(_) | Rest::TargetUnreadable(_) => {
            later(UNREADABLE_PAUSE)
        }
        Rest::LookedFor { until, .. } => Some(*until),
        // The end of an order wakes who waits for it; this is for one that nobody told of.
        Rest::Withheld(withheld) => withheld.until().or_else(|| later(WITHHELD_PAUSE)),
        Rest::Held(hold) if hold.may_pass() => later(HELD_PAUSE),
        // The poller wakes who waits; this is for an order that it was not told of.
        Rest::Ordered => later(ORDERED_PAUSE),
        Rest::Submitting => later(SHORTEST_PAUSE),
        Rest::AwaitingChange
        | Rest::Deleted
        | Rest::Held(_)
        | Rest::IssuerMissing
        | Rest::IssuerNotReady(_)
        | Rest::SecretNameTaken(_)
        | Rest::Suspended(_) => None,
    };
    // Ready has to turn False at the end, whatever is waited for.
    let end = delivered
        .map(|certificate| certificate.not_after.0)
        .filter(|end| *end > seen.now && *rest != Rest::Deleted);
    match (due, end) {
        (None, None) => Requeue::AwaitChange,
        (Some(one), Some(other)) => Requeue::At(one.min(other).max(earliest(seen.now))),
        (Some(at), None) | (None, Some(at)) => Requeue::At(at.max(earliest(seen.now))),
    }
}

fn earliest(now: Timestamp) -> Timestamp {
    now.checked_add(SHORTEST_PAUSE).unwrap_or(now)
}

#[cfg(test)]
mod tests;
