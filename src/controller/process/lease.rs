//! The lease: of several replicas one acts, and another takes over when it ends.
//!
//! Every replica has its watches and caches; only the holder of the Lease `chancery` in the
//! operator's namespace runs reconcilers. `election` decides, without client and clock; here the
//! Lease is read and written, by create, or by PUT on the condition of uid and resourceVersion. A
//! PUT without the uid would create a Lease that was deleted meanwhile.
//!
//! # Guarantees
//! - Whoever acts has the lease by its own monotonic clock: [`Leadership::is_held`] is asked before
//!   each run, before each try of a write to the API server, and last before an order goes to a CA.
//!   It turns false two thirds of the lease's duration after the last renewal that was taken was
//!   *sent*, whether or not anything here still runs; others wait for the whole duration after they
//!   saw that renewal.
//! - A Lease that is absent or released is taken at once; that of a process that died within its
//!   duration and one retry.
//! - It is renewed on a thread of its own, so that no run holds it up, however long it computes. Where
//!   all threads of the runs stand still for a minute, it is not: they do nothing with it.
//! - At shutdown what is under way ends first, then the Lease is released.
//!
//! # A lost lease does not end the process
//! client-go's users exit. This process would lose certificates that it obtained and could not
//! deliver yet, and an API server that is away for longer than the deadline would restart every
//! replica. Nothing has to be thrown away instead: runs that are under way are checked at their
//! next effect, and end as they do when the API server is away; what they hold is kept in memory
//! and delivered, if it is still of use, should this process get the lease again. Then every object
//! is looked at anew, by caches that were never interrupted.
//!
//! # Caveats
//! **The lease is liveness, not safety.** A process that is stopped right after the check and goes on
//! much later still sends what it was about to send, and so does a request that is being connected.
//! Writes to the API server carry a resourceVersion; an order that costs money takes a claim that is
//! won by compare-and-swap, under this process's incarnation. Correctness depends on these alone.

mod election;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use tokio::time::Instant;

use self::election::{Record, Sighting, Step, Timing, decide};
use crate::clock::Clock;
use crate::controller::cluster::{Cluster, Error, ErrorKind};
use crate::controller::process::leadership::Leadership;
use crate::pulse::Pulse;

/// Name of the Lease, in the operator's namespace.
pub(crate) const NAME: &str = "chancery";

/// What the election needs to know.
pub(in crate::controller) struct Candidate {
    pub(in crate::controller) client: Client,
    pub(in crate::controller) namespace: String,
    pub(in crate::controller) incarnation: String,
    /// How long the lease lasts; `None` where there is no election.
    pub(in crate::controller) duration: Option<Duration>,
    pub(in crate::controller) clock: Clock,
    /// Whether the runs get on: otherwise another process is to have the lease.
    pub(in crate::controller) pulse: Pulse,
}

impl Candidate {
    /// Whether this process may act, and what has to run for it to change.
    pub(in crate::controller) fn stand(self) -> (Leadership, Option<Election>) {
        let Some(duration) = self.duration else {
            return (Leadership::uncontested(self.incarnation), None);
        };
        let leadership = Leadership::contested(self.incarnation.clone());
        let election = Election {
            // Not the one of the reconcilers: a renewal never waits for their calls, nor for the lease.
            cluster: Cluster::new(self.client, Leadership::uncontested(self.incarnation)),
            namespace: self.namespace,
            timing: Timing::of(duration),
            clock: self.clock.clone(),
            pulse: self.pulse,
            leadership: leadership.clone(),
            known: None,
            is_fresh: false,
            told: Told::Nothing,
        };
        (leadership, Some(election))
    }
}

/// One candidate's side of the election.
pub(in crate::controller) struct Election {
    cluster: Cluster,
    namespace: String,
    timing: Timing,
    clock: Clock,
    pulse: Pulse,
    leadership: Leadership,
    known: Option<Known>,
    /// The Lease is, as far as we know, what we last saw: it can be renewed without a look.
    is_fresh: bool,
    told: Told,
}

/// The Lease as last seen.
struct Known {
    lease: Lease,
    record: Record,
    since: Instant,
}

/// What the log said last: each change is told once.
#[derive(Eq, PartialEq)]
enum Told {
    Nothing,
    Holding,
    /// Of a standby: who has the lease, or why it cannot be had.
    Waiting(String),
}

impl Election {
    /// Holds the lease whenever it can be had, until `end` completes; then gives it back.
    ///
    /// `acquired` is called each time after it began to be held.
    pub(in crate::controller) async fn run(
        mut self,
        end: impl Future<Output = ()>,
        acquired: impl Fn(),
    ) {
        tracing::info!(
            lease = %self.object(),
            incarnation = self.leadership.incarnation(),
            duration_s = self.timing.duration.as_secs(),
            "one replica acts, the one that holds the lease"
        );
        let mut end = std::pin::pin!(end);
        loop {
            let pause = self.turn(&acquired).await;
            tokio::select! {
                biased;
                () = &mut end => break,
                () = pass(pause) => {}
            }
        }
        self.release().await;
    }

    /// One try; returns the time until the next.
    async fn turn(&mut self, acquired: &impl Fn()) -> Duration {
        self.tell_of_loss("its renewals did not succeed in time");
        let Timing { retry, look, .. } = self.timing;
        if !self.pulse.is_there() {
            self.tell_of_waiting(
                "all threads of this process have stood still for a minute".to_owned(),
            );
            return retry;
        }
        let tried = tokio::time::timeout(self.timing.patience(), self.attempt()).await;
        let (pause, trouble) = match tried {
            Ok(Ok(Sight::Ours { is_new })) => {
                if is_new {
                    tracing::info!(lease = %self.object(), "holding the lease: this process acts");
                    self.told = Told::Holding;
                    acquired();
                }
                (retry, None)
            }
            Ok(Ok(Sight::Theirs { holder, left })) => {
                (left.min(look), Some(format!("{holder} has it")))
            }
            Ok(Err(error)) => (retry, Some(error.to_string())),
            Err(_elapsed) => {
                let patience = self.timing.patience().as_secs_f32();
                (retry, Some(format!("no answer within {patience:.1} s")))
            }
        };
        if let Some(trouble) = trouble {
            self.tell_of_waiting(trouble);
        }
        // Its end is told of when it comes.
        self.leadership.left().map_or(pause, |left| left.min(pause))
    }

    fn tell_of_loss(&mut self, why: &str) {
        if self.told == Told::Holding && !self.leadership.is_held() {
            tracing::warn!(lease = %self.object(), "the lease is lost: {why}; nothing new is started");
            self.told = Told::Nothing;
        }
    }

    /// A holder whose renewal fails once is told of when the lease is lost.
    fn tell_of_waiting(&mut self, why: String) {
        self.tell_of_loss(&why);
        let told = Told::Waiting(why);
        if self.leadership.is_held() || self.told == told {
            return;
        }
        if let Told::Waiting(why) = &told {
            tracing::info!(lease = %self.object(), "standing by for the lease: {why}");
        }
        self.told = told;
    }

    async fn attempt(&mut self) -> Result<Sight, Error> {
        let incarnation = self.leadership.incarnation();
        let is_ours = self.known.as_ref().is_some_and(|known| known.record.holder == incarnation);
        if self.is_fresh && is_ours {
            match self.claim().await {
                // Somebody changed or deleted it: look at what it became.
                Err(error) if is_outdated(&error) => {}
                answer => return answer,
            }
        }
        self.look().await?;
        let sighting = self
            .known
            .as_ref()
            .map(|known| Sighting { record: &known.record, unchanged_for: known.since.elapsed() });
        match decide(self.leadership.incarnation(), sighting.as_ref()) {
            Step::Create | Step::Take | Step::Renew => self.claim().await,
            Step::Wait(left) => {
                self.leadership.lose();
                let holder = self.known.as_ref().map(|known| known.record.holder.clone());
                Ok(Sight::Theirs { holder: holder.unwrap_or_default(), left })
            }
        }
    }

    /// Reads the Lease. One whose record is the same as before goes on ageing.
    async fn look(&mut self) -> Result<(), Error> {
        self.is_fresh = false;
        let Some(lease) = self.cluster.lease(&self.namespace, NAME).await? else {
            self.known = None;
            return Ok(());
        };
        let record = Record::read(&lease.spec.clone().unwrap_or_default());
        let since = match self.known.take() {
            Some(known) if known.record == record => known.since,
            _ => Instant::now(),
        };
        self.known = Some(Known { lease, record, since });
        self.is_fresh = true;
        Ok(())
    }

    /// Creates, takes or renews the Lease as it is known.
    async fn claim(&mut self) -> Result<Sight, Error> {
        let before = self.known.as_ref().map(|known| &known.record);
        let (identity, duration) = (self.leadership.incarnation(), self.timing.duration);
        let record = Record::claimed(before, identity, duration, self.clock.now());
        // The API server may take it at any moment from now on, and others see it later still.
        let sent = Instant::now();
        self.write(record).await?;
        Ok(Sight::Ours { is_new: self.leadership.hold(sent + self.timing.deadline) })
    }

    async fn write(&mut self, record: Record) -> Result<(), Error> {
        // An answer that is lost leaves a version that we do not know.
        self.is_fresh = false;
        let mut lease =
            self.known.as_ref().map_or_else(Lease::default, |known| known.lease.clone());
        record.write(lease.spec.get_or_insert_default());
        let written = if self.known.is_none() {
            lease.metadata.name = Some(NAME.to_owned());
            self.cluster.create_lease(&self.namespace, NAME, &lease).await?
        } else {
            self.cluster.put_lease(&self.namespace, NAME, &lease).await?
        };
        // What the API server made of it: times have lost what microseconds cannot tell.
        let record = Record::read(&written.spec.clone().unwrap_or_default());
        self.known = Some(Known { lease: written, record, since: Instant::now() });
        self.is_fresh = true;
        Ok(())
    }

    /// Gives the lease back, so that a standby need not wait for its end.
    async fn release(mut self) {
        if !self.leadership.is_held() {
            return;
        }
        self.leadership.lose();
        let answer = tokio::time::timeout(self.timing.deadline, self.give_back()).await;
        let lease = self.object();
        match answer {
            Ok(Ok(())) => tracing::info!(%lease, "the lease is released"),
            Ok(Err(error)) => {
                tracing::warn!(%lease, %error, "the lease was not released; it expires by itself");
            }
            Err(_elapsed) => {
                tracing::warn!(%lease, "the lease was not released in time; it expires by itself");
            }
        }
    }

    async fn give_back(&mut self) -> Result<(), Error> {
        if self.is_fresh {
            match self.write_release().await {
                Err(error) if is_outdated(&error) => {}
                answer => return answer,
            }
        }
        self.look().await?;
        self.write_release().await
    }

    async fn write_release(&mut self) -> Result<(), Error> {
        let record = self.known.as_ref().map(|known| &known.record);
        match record.filter(|record| record.holder == self.leadership.incarnation()) {
            Some(record) => self.write(record.released(self.clock.now())).await,
            // Somebody else's, or gone: nothing of ours is left to give back.
            None => Ok(()),
        }
    }

    fn object(&self) -> String {
        format!("{}/{NAME}", self.namespace)
    }
}

/// What came of one try.
enum Sight {
    /// We have it; newly, if we had it not right before.
    Ours { is_new: bool },
    /// Another has it, for that long unless it renews.
    Theirs { holder: String, left: Duration },
}

/// The Lease is no longer what it was when we saw it.
fn is_outdated(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound)
}

#[expect(clippy::disallowed_methods, reason = "the rhythm of the election, which no object wakes")]
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_lease_ends_by_the_clock_and_whoever_gets_it_again_is_told() {
        let leadership = Leadership::contested("me".to_owned());
        assert!(!leadership.is_held(), "nobody begins with it");
        let seconds = Duration::from_secs;
        assert!(leadership.hold(Instant::now() + seconds(10)), "it is new");
        tokio::time::advance(seconds(9)).await;
        assert_eq!((leadership.is_held(), leadership.left()), (true, Some(seconds(1))));
        assert!(!leadership.hold(Instant::now() + seconds(10)), "a renewal");
        tokio::time::advance(seconds(10)).await;
        assert_eq!((leadership.is_held(), leadership.left()), (false, None), "nothing has to run");
        assert!(leadership.hold(Instant::now() + seconds(10)), "there was a time without");
        leadership.lose();
        assert!(!leadership.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_acts_always() {
        let leadership = Leadership::uncontested("me".to_owned());
        tokio::time::advance(Duration::from_secs(1_000_000)).await;
        assert_eq!((leadership.is_held(), leadership.left()), (true, None));
        assert_eq!(leadership.incarnation(), "me");
    }
}
