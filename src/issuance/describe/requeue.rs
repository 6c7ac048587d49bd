//! When to look again without being told of a change.

use jiff::{SignedDuration, Timestamp};

use super::attempt::{NextAttempt, pause_after};
use crate::api::DeliveredCertificate;
use crate::issuance::certificate::standing::Held;
use crate::issuance::observation::Observation;
use crate::issuance::step::Rest;

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
/// An order that is at the CA is looked at so often, though the poller tells of it.
const ORDERED_PAUSE: SignedDuration = SignedDuration::from_mins(30);

/// The next look after a run that ended with `rest`.
pub(super) fn requeue(
    seen: &Observation,
    held: Option<&Held>,
    delivered: Option<&DeliveredCertificate>,
    rest: &Rest,
    next: Option<&NextAttempt>,
) -> Requeue {
    // Ready has to turn False at the end, whatever is waited for.
    let end = delivered
        .map(|certificate| certificate.not_after.0)
        .filter(|end| *end > seen.now && *rest != Rest::Deleted);
    let due = [due(seen, held, rest, next), end].into_iter().flatten().min();
    let earliest = seen.now.checked_add(SHORTEST_PAUSE).unwrap_or(seen.now);
    due.map_or(Requeue::AwaitChange, |due| Requeue::At(due.max(earliest)))
}

fn due(
    seen: &Observation,
    held: Option<&Held>,
    rest: &Rest,
    next: Option<&NextAttempt>,
) -> Option<Timestamp> {
    let later = |pause: SignedDuration| seen.now.checked_add(pause).ok();
    match rest {
        Rest::Kept => {
            let renewal = held.map(|held| held.renewal(&seen.request).time);
            let follows = seen.follows_anchors_at().filter(|at| *at > seen.now);
            [renewal, follows].into_iter().flatten().min()
        }
        Rest::BackingOff { until, .. } | Rest::LookedFor { until, .. } => Some(*until),
        Rest::Failed(trouble) => match next {
            Some(next) => next.at,
            None => pause_after(trouble.disposition, 1).and_then(later),
        },
        Rest::NotAdopted(_)
        | Rest::RecordUnreadable(_)
        | Rest::SecretNotOurs(_)
        | Rest::TargetUnreadable(_) => later(UNREADABLE_PAUSE),
        // The end of an order wakes who waits for it; this is for one that nobody told of.
        Rest::Withheld(withheld) => withheld.until().or_else(|| later(WITHHELD_PAUSE)),
        Rest::Held(hold) if hold.may_pass() => later(HELD_PAUSE),
        // The poller wakes who waits; this is for an order that it was not told of.
        Rest::Ordered => later(ORDERED_PAUSE),
        Rest::Submitting => later(SHORTEST_PAUSE),
        // What may be at the CA is looked for and delivered, though nothing new is asked for.
        Rest::NotAllowed(refusal) if refusal.look_again.is_some() => refusal.look_again,
        Rest::NotAllowed(_) | Rest::Suspended(_) if seen.has_order_at_large() => later(HELD_PAUSE),
        Rest::Abandoned
        | Rest::AwaitingChange
        | Rest::Deleted
        | Rest::Held(_)
        | Rest::IssuerMissing
        | Rest::IssuerNotReady(_)
        // Issuers and namespaces wake whom they concern.
        | Rest::NotAllowed(_)
        | Rest::SecretNameTaken(_)
        | Rest::Suspended(_) => None,
    }
}
