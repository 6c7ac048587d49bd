//! What a candidate does about the Lease it sees: values in, one step out. No client, no clock.
//!
//! The rules are those of client-go's `tools/leaderelection`, so that everything which reads or
//! edits such Leases understands ours:
//!
//! | seen | step |
//! |---|---|
//! | no Lease | create it |
//! | nobody holds it (released) | take it |
//! | we hold it | renew it |
//! | another holds it, and its record did not change for the duration written in it | take it |
//! | another holds it | wait for the rest of that duration |
//!
//! Whether a record is old is told by how long *we* have seen it unchanged. The times in it are for
//! people: clocks of two machines are never compared.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// The times that follow from how long a lease lasts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Timing {
    /// Others wait so long after the last change they saw.
    pub(super) duration: Duration,
    /// The holder acts for so long after it sent its last renewal that was taken. The third that is
    /// left is for what was under way and for clocks that run at different speeds.
    pub(super) deadline: Duration,
    /// Between two renewals.
    pub(super) retry: Duration,
    /// Between two looks of a standby: it reads only, and a release should not lie about.
    pub(super) look: Duration,
}

impl Timing {
    /// In the proportions of client-go's defaults: 15 s, 10 s and 2 s; a look each second.
    pub(super) fn of(duration: Duration) -> Self {
        Self { duration, deadline: duration * 2 / 3, retry: duration * 2 / 15, look: duration / 15 }
    }

    /// One try takes no longer, so that there is time for another before the deadline.
    pub(super) fn patience(&self) -> Duration {
        self.deadline / 2
    }
}

/// What is written on a Lease.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Record {
    /// Incarnation of the holder; empty where nobody holds it.
    pub(super) holder: String,
    /// How long the record has to stay unchanged before others may take the lease.
    pub(super) duration: Duration,
    acquired_at: Option<Timestamp>,
    renewed_at: Option<Timestamp>,
    transitions: i32,
}

impl Record {
    /// Reads a spec. A duration that is missing or negative is none: the lease is free at once.
    pub(super) fn read(spec: &LeaseSpec) -> Self {
        let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or_default());
        let time = |time: &Option<MicroTime>| time.as_ref().map(|time| time.0);
        Self {
            holder: spec.holder_identity.clone().unwrap_or_default(),
            duration: Duration::from_secs(seconds.unwrap_or_default()),
            acquired_at: time(&spec.acquire_time),
            renewed_at: time(&spec.renew_time),
            transitions: spec.lease_transitions.unwrap_or_default(),
        }
    }

    /// Writes it into a spec, and leaves what else is there.
    pub(super) fn write(&self, spec: &mut LeaseSpec) {
        let seconds = i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX);
        spec.holder_identity = Some(self.holder.clone());
        spec.lease_duration_seconds = Some(seconds);
        spec.acquire_time = self.acquired_at.map(MicroTime);
        spec.renew_time = self.renewed_at.map(MicroTime);
        spec.lease_transitions = Some(self.transitions);
    }

    /// The record by which `identity` takes or renews the lease, after `before`.
    pub(super) fn claimed(
        before: Option<&Self>,
        identity: &str,
        duration: Duration,
        now: Timestamp,
    ) -> Self {
        let (acquired_at, transitions) = match before {
            None => (Some(now), 0),
            Some(before) if before.holder == identity => (before.acquired_at, before.transitions),
            Some(before) => (Some(now), before.transitions.saturating_add(1)),
        };
        let holder = identity.to_owned();
        Self { holder, duration, acquired_at, renewed_at: Some(now), transitions }
    }

    /// The record by which its holder gives the lease back.
    pub(super) fn released(&self, now: Timestamp) -> Self {
        Self {
            holder: String::new(),
            // The shortest the API server takes.
            duration: Duration::from_secs(1),
            acquired_at: Some(now),
            renewed_at: Some(now),
            transitions: self.transitions,
        }
    }
}

/// A Lease as one observer knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Sighting<'a> {
    pub(super) record: &'a Record,
    /// Since the observer first saw this very record, by its own monotonic clock.
    pub(super) unchanged_for: Duration,
}

/// What to do about the Lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Create it with us as its holder.
    Create,
    /// Write us into it as its holder.
    Take,
    /// Write that we are still there.
    Renew,
    /// Another holds it; it is free after this time unless its record changes.
    Wait(Duration),
}

/// The step of the candidate `identity`.
pub(super) fn decide(identity: &str, seen: Option<&Sighting<'_>>) -> Step {
    let Some(Sighting { record, unchanged_for }) = seen else { return Step::Create };
    if record.holder == identity {
        return Step::Renew;
    }
    let left = record.duration.saturating_sub(*unchanged_for);
    if record.holder.is_empty() || left.is_zero() {
        return Step::Take;
    }
    Step::Wait(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn held_by(holder: &str) -> Record {
        Record {
            holder: holder.to_owned(),
            duration: Duration::from_secs(15),
            acquired_at: Some(at(100)),
            renewed_at: Some(at(200)),
            transitions: 3,
        }
    }

    #[test]
    fn one_step_for_each_sight() {
        let seconds = Duration::from_secs;
        let far_ahead = Record { renewed_at: Some(at(4_000_000_000)), ..held_by("other") };
        let long_ago = Record { renewed_at: Some(at(0)), ..held_by("other") };
        let short = Record { duration: seconds(2), ..held_by("other") };
        let endless = Record { duration: Duration::ZERO, ..held_by("other") };
        let cases = [
            ("creates a Lease that is not there", None, Step::Create),
            ("takes one that was released, however lately", Some((held_by(""), 0)), Step::Take),
            ("renews its own", Some((held_by("me"), 1)), Step::Renew),
            (
                "renews its own that nobody took when it was late",
                Some((held_by("me"), 60)),
                Step::Renew,
            ),
            (
                "waits for the holder it has just seen",
                Some((held_by("other"), 0)),
                Step::Wait(seconds(15)),
            ),
            ("waits for the rest only", Some((held_by("other"), 14)), Step::Wait(seconds(1))),
            (
                "takes what did not change for its duration",
                Some((held_by("other"), 15)),
                Step::Take,
            ),
            ("goes by the duration in the record", Some((short, 2)), Step::Take),
            ("takes one without a duration", Some((endless, 0)), Step::Take),
            (
                "does not believe a clock that is behind",
                Some((long_ago, 1)),
                Step::Wait(seconds(14)),
            ),
            ("does not believe a clock that is ahead", Some((far_ahead, 15)), Step::Take),
        ];
        for (name, seen, step) in cases {
            let seen = seen.as_ref().map(|(record, unchanged_for)| Sighting {
                record,
                unchanged_for: seconds(*unchanged_for),
            });
            assert_eq!(decide("me", seen.as_ref()), step, "{name}");
        }
    }

    #[test]
    fn what_is_written_says_who_since_when_and_how_often_it_changed_hands() {
        let duration = Duration::from_secs(15);
        let first = Record::claimed(None, "me", duration, at(500));
        assert_eq!((first.acquired_at, first.transitions), (Some(at(500)), 0), "a new Lease");
        let renewed = Record::claimed(Some(&first), "me", duration, at(502));
        assert_eq!(renewed, Record { renewed_at: Some(at(502)), ..first.clone() }, "a renewal");
        let taken = Record::claimed(Some(&held_by("other")), "me", duration, at(500));
        assert_eq!((taken.acquired_at, taken.transitions), (Some(at(500)), 4), "a takeover");
        let released = renewed.released(at(503));
        assert_eq!((released.holder.as_str(), released.transitions), ("", 0), "a release");
        let again = Record::claimed(Some(&released), "me", duration, at(504));
        assert_eq!((again.acquired_at, again.transitions), (Some(at(504)), 1), "after a release");
        let last = Record { transitions: i32::MAX, ..held_by("other") };
        assert_eq!(Record::claimed(Some(&last), "me", duration, at(1)).transitions, i32::MAX);
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_the_rest_of_the_spec_stays() {
        let record = held_by("other");
        let mut spec = LeaseSpec { strategy: Some("Kept".to_owned()), ..LeaseSpec::default() };
        record.write(&mut spec);
        assert_eq!(Record::read(&spec), record);
        assert_eq!(spec.strategy.as_deref(), Some("Kept"));
        assert_eq!(Record::read(&LeaseSpec::default()), Record::default());
        let negative = LeaseSpec { lease_duration_seconds: Some(-1), ..LeaseSpec::default() };
        assert_eq!(Record::read(&negative).duration, Duration::ZERO);
    }

    #[test]
    fn the_times_are_in_client_gos_proportions() {
        let timing = Timing::of(Duration::from_secs(15));
        let seconds = |time: Duration| time.as_secs_f64();
        let all = [timing.deadline, timing.retry, timing.look, timing.patience()].map(seconds);
        assert_eq!(all, [10.0, 2.0, 1.0, 5.0]);
        for seconds in 1..120 {
            let timing = Timing::of(Duration::from_secs(seconds));
            assert!(timing.retry + timing.patience() < timing.deadline, "a second try: {timing:?}");
            assert!(timing.deadline < timing.duration, "it stops before others start: {timing:?}");
        }
    }
}
