//! When the next attempt follows a failed one.

use jiff::{SignedDuration, Timestamp};

use crate::issuance::certificate::renewal::jitter;
use crate::issuance::observation::Observation;
use crate::issuance::step::Rest;
use crate::outside::Disposition;

/// When the next attempt follows a failed one, and how many failed.
pub(super) struct NextAttempt {
    pub(super) failed: i32,
    pub(super) failed_at: Timestamp,
    pub(super) at: Option<Timestamp>,
}

pub(super) fn next_attempt(seen: &Observation, rest: &Rest) -> Option<NextAttempt> {
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
    SignedDuration::from_secs(jitter(&format!("{uid}/{failed}"), pause.as_secs() / 5))
}

/// How long to wait after the `failed`-th failure in a row; `None`: until something changes.
///
/// What passes by itself is tried soon and at most ten minutes apart; what a person must mend, or
/// what a CA answers in a way that makes no sense, a minute to an hour apart, so that nothing is
/// given up and no account gets locked.
pub(super) fn pause_after(disposition: Disposition, failed: i32) -> Option<SignedDuration> {
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
