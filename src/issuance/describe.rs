//! From the end of a run to the whole status, the notices worth an Event, and the next look.

mod attempt;
mod challenges;
mod edit;
mod issuing;
pub(super) mod notices;
mod order;
mod ready;
pub(super) mod requeue;
mod wait;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use self::attempt::{NextAttempt, next_attempt};
use self::edit::Edit;
use self::issuing::{Issuing, issuing};
pub use self::notices::Notice;
use self::notices::{is_new, notices};
use self::ready::{delivered, ready};
pub use self::requeue::Requeue;
use self::requeue::requeue;
use self::wait::wait;
use super::allow::Refusal;
use super::certificate::standing::Held;
use super::observation::Observation;
use super::step::Rest;
use crate::api::condition::{self, ISSUING, STALLED, Verdict};
use crate::api::{CertificateRequestStatus, DeliveredCertificate};
use crate::reason::Reason;

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

/// The status after a run that ended with `rest`. `before` are the conditions so far.
#[must_use]
pub fn describe(seen: &Observation, before: &[Condition], rest: &Rest) -> Description {
    let standing = seen.standing();
    let held = standing.held();
    let delivered = delivered(seen, held, rest);
    let next = next_attempt(seen, rest);
    let wait = wait(seen, rest);
    let issuing = issuing(seen, rest, next.as_ref());
    let notices = notices(seen, held, before, &issuing);
    let requeue = requeue(seen, held, delivered, rest, next.as_ref());
    let edit = delivered.and_then(|certificate| Edit::of(seen, held, certificate));
    let ready = ready(seen, held, delivered, edit.as_ref(), &issuing, rest);
    // Whoever waits for Ready would wait for ever: only a person can go on.
    let is_put_off = is_suspended(rest) && !ready.holds;
    let is_stalled = is_put_off || wait.is_some_and(|wait| wait.needs_person);
    let verdicts = verdicts(ready, is_stalled, issuing);
    let conditions = condition::merge(before, verdicts, seen.request.generation, seen.now);
    let status = CertificateRequestStatus {
        conditions,
        wait,
        certificate: held
            .map(|held| recorded(seen, held, rest))
            .or_else(|| seen.previous.certificate.clone())
            .map(|certificate| DeliveredCertificate { outdated: edit.is_some(), ..certificate }),
        renewal_time: match (held, delivered) {
            (Some(held), _) => Some(Time(held.renewal(&seen.request).time)),
            // What cannot be looked at is as it was.
            (None, Some(_)) => seen.previous.renewal.map(Time),
            (None, None) => None,
        },
        ..status(seen, held, rest, next.as_ref())
    };
    Description { status, notices, requeue }
}

/// A person has said so.
fn is_suspended(rest: &Rest) -> bool {
    let is_of_issuer = |refusal: &Refusal| refusal.reason == Reason::IssuerSuspended;
    matches!(rest, Rest::Suspended(_))
        || matches!(rest, Rest::NotAllowed(refusal) if is_of_issuer(refusal))
}

fn verdicts(ready: Verdict, is_stalled: bool, issuing: Issuing) -> Vec<Verdict> {
    let Issuing { holds, reason, message } = issuing;
    let stalled = is_stalled.then(|| Verdict::new(STALLED, true, reason.clone(), message.clone()));
    [Some(ready), stalled, Some(Verdict::new(ISSUING, holds, reason, message))]
        .into_iter()
        .flatten()
        .collect()
}

/// What is counted, and what is noted of orders and attempts.
fn status(
    seen: &Observation,
    held: Option<&Held>,
    rest: &Rest,
    next: Option<&NextAttempt>,
) -> CertificateRequestStatus {
    let previous = &seen.previous;
    let revision = previous.revision.saturating_add(i64::from(is_new(seen, held)));
    let status = CertificateRequestStatus {
        observed_generation: seen.request.generation,
        revision: (revision > 0).then_some(revision),
        order: order::of(seen, rest),
        orders: order::count(seen),
        ..CertificateRequestStatus::default()
    };
    match next {
        _ if *rest == Rest::Kept => status,
        Some(next) => CertificateRequestStatus {
            last_failure_time: Some(Time(next.failed_at)),
            failed_attempts: Some(next.failed),
            next_attempt_time: next.at.map(Time),
            last_attempt: Some(seen.attempt()),
            ..status
        },
        None => CertificateRequestStatus {
            last_failure_time: previous.last_failure.map(Time),
            failed_attempts: (previous.failed_attempts > 0).then_some(previous.failed_attempts),
            next_attempt_time: previous.next_attempt.map(Time),
            last_attempt: previous.last_attempt.clone(),
            ..status
        },
    }
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

#[cfg(test)]
mod tests;
