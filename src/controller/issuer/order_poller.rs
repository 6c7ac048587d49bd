//! The order poller: how the open orders of each account stand, by the CA's latest word, and when it is
//! asked again. [`super::poll`] asks.
//!
//! # Guarantees
//! - A CA that hangs delays the orders of its own account only.
//! - An order is asked about every two seconds at first, later after a fifteenth of its age, and every
//!   five minutes at last; those that are nearly due come along with one that is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::ca::{OpenOrder, Phase, Progress};
use crate::controller::issuer::key::IssuerKey;

const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(300);
/// An order that has ended is asked about again after this time, should nobody have acted on it: a
/// chain that did not verify may be another by then.
const ENDED: Duration = Duration::from_secs(600);

#[derive(Default)]
pub(in crate::controller) struct OrderPoller(Mutex<BTreeMap<IssuerKey, Polled>>);

/// The open orders of one account, and the task that asks about them.
#[derive(Default)]
struct Polled {
    /// In order, so that it is always the same one that is asked about first.
    orders: BTreeMap<String, Entry>,
    changed: Arc<Notify>,
    task: Option<AbortHandle>,
}

struct Entry {
    open: OpenOrder,
    /// The account it was made at: no other is asked about it.
    account: String,
    /// Polls in a row that brought no answer.
    errors: u32,
    /// Those among them that failed at this order.
    own_errors: u32,
    /// Namespace and name of the request.
    request: (String, String),
    progress: Option<Progress>,
    due: Instant,
    interval: Duration,
}

impl Entry {
    /// Takes what a run knows of the order.
    fn learn(&mut self, open: &OpenOrder, progress: Option<&Progress>) {
        // Where nobody knows when it was taken, each run says that it was just now.
        let since = open.since.min(self.open.since);
        // A run that has not read the record does not know it.
        let replaces = open.replaces.clone().or_else(|| self.open.replaces.take());
        self.open = OpenOrder { since, replaces, ..open.clone() };
        // That it was issued is newer than what a slow run has seen. Other ends are the CA's word on
        // its id, and a run may know better by its name.
        let is_issued = self.progress.as_ref().is_some_and(Progress::is_issued);
        if let Some(progress) = progress.filter(|_| !is_issued) {
            self.progress = Some(progress.clone());
        }
    }
}

/// Why a poll says nothing of an order.
pub(super) enum Unanswered {
    /// Asking about it failed; how long the CA wants to be left alone.
    Failed(Option<Duration>),
    /// The poll ended before it was asked about; how long the CA wants to be left alone.
    NotAsked(Option<Duration>),
}

impl OrderPoller {
    /// The CA's latest word on an order.
    pub(in crate::controller) fn progress(
        &self,
        issuer: &IssuerKey,
        reference: &str,
    ) -> Option<Progress> {
        self.accounts().get(issuer)?.orders.get(reference)?.progress.clone()
    }

    /// Notes that the CA is to be asked about `open` until [`Self::forget`]; `progress` is what was learned
    /// otherwise. Where nobody asks this account yet, `start` has somebody do it, who is told of
    /// changes: once, however many runs come here at the same time.
    pub(super) fn put(
        &self,
        issuer: &IssuerKey,
        (open, account): (OpenOrder, String),
        request: (String, String),
        progress: Option<Progress>,
        now: Timestamp,
        start: impl FnOnce(Arc<Notify>) -> AbortHandle,
    ) {
        let mut accounts = self.accounts();
        let polled = accounts.entry(issuer.clone()).or_default();
        let interval = interval(&open, now);
        polled
            .orders
            .entry(open.reference.clone())
            .and_modify(|entry| {
                entry.request.clone_from(&request);
                entry.account.clone_from(&account);
                entry.learn(&open, progress.as_ref());
            })
            .or_insert_with(|| {
                // What nobody has asked about yet is asked about at once.
                let wait = if progress.is_some() { interval } else { Duration::ZERO };
                Entry {
                    open,
                    account,
                    errors: 0,
                    own_errors: 0,
                    request,
                    progress,
                    due: Instant::now() + wait,
                    interval,
                }
            });
        polled.changed.notify_one();
        if polled.task.as_ref().is_none_or(AbortHandle::is_finished) {
            polled.task = Some(start(Arc::clone(&polled.changed)));
        }
    }

    /// Asks no more about the orders of requests that are gone: nobody would take the answer.
    pub(super) fn keep(&self, issuer: &IssuerKey, is_there: impl Fn(&str, &str) -> bool) {
        if let Some(polled) = self.accounts().get_mut(issuer) {
            polled.orders.retain(|_, entry| is_there(&entry.request.0, &entry.request.1));
        }
    }

    /// The account that an order was made at, in one line.
    pub(super) fn made_at(&self, issuer: &IssuerKey, reference: &str) -> Option<String> {
        Some(self.accounts().get(issuer)?.orders.get(reference)?.account.clone())
    }

    /// Asks no more about an order.
    pub(in crate::controller) fn forget(&self, reference: &str) {
        for polled in self.accounts().values_mut() {
            polled.orders.remove(reference);
        }
    }

    /// Ends all tasks.
    pub(in crate::controller) fn stop(&self) {
        for polled in std::mem::take(&mut *self.accounts()).into_values() {
            polled.task.iter().for_each(AbortHandle::abort);
        }
    }

    /// The orders that are due, or when the next one is; `None` where there are none.
    pub(super) fn due(&self, issuer: &IssuerKey) -> Option<Result<Vec<OpenOrder>, Instant>> {
        let mut accounts = self.accounts();
        let polled = accounts.get_mut(issuer)?;
        let Some(first) = polled.orders.values().map(|entry| entry.due).min() else {
            // The next order starts another task, also while this one is still ending.
            polled.task = None;
            return None;
        };
        let orders = &polled.orders;
        let now = Instant::now();
        if first > now {
            return Some(Err(first));
        }
        let nearly = |entry: &&Entry| entry.due <= now + entry.interval / 2;
        let mut due: Vec<&Entry> = orders.values().filter(nearly).collect();
        // A poll may end at the first call that does not come through: an order at which it did
        // must not keep the others from being asked about.
        due.sort_by_key(|entry| entry.own_errors);
        Some(Ok(due.into_iter().map(|entry| entry.open.clone()).collect()))
    }

    /// Notes an answer. Returns the request to wake, where it says something new.
    pub(super) fn note(
        &self,
        issuer: &IssuerKey,
        reference: &str,
        answer: Result<Progress, Unanswered>,
        now: Timestamp,
    ) -> Option<(String, String)> {
        let mut accounts = self.accounts();
        let entry = accounts.get_mut(issuer)?.orders.get_mut(reference)?;
        (entry.errors, entry.own_errors) = match &answer {
            Ok(_) => (0, 0),
            Err(Unanswered::NotAsked(_)) => (entry.errors.saturating_add(1), entry.own_errors),
            Err(Unanswered::Failed(_)) => {
                (entry.errors.saturating_add(1), entry.own_errors.saturating_add(1))
            }
        };
        let pace = interval(&entry.open, now);
        entry.interval = pace.saturating_mul(1 << entry.errors.min(8)).min(LONGEST);
        let asked = match &answer {
            Ok(progress) => match &progress.phase {
                Phase::Pending(waiting) => waiting.retry_after,
                Phase::Failed(_) | Phase::Issued(_) => Some(ENDED),
            },
            Err(Unanswered::Failed(after) | Unanswered::NotAsked(after)) => *after,
        };
        entry.due = Instant::now() + entry.interval.max(asked.unwrap_or_default());
        let progress = answer.ok()?;
        if entry.progress.as_ref() == Some(&progress) {
            return None;
        }
        entry.progress = Some(progress);
        Some(entry.request.clone())
    }

    fn accounts(&self) -> std::sync::MutexGuard<'_, BTreeMap<IssuerKey, Polled>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long until an order of this age is asked about again.
fn interval(open: &OpenOrder, now: Timestamp) -> Duration {
    let age = Duration::try_from(now.duration_since(open.since)).unwrap_or_default();
    (age / 15).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::IssuerKind;
    use crate::ca::{Actor, Failed, FailedKind, Waiting};

    const ORDERS: [&str; 5] = ["a", "b", "bad", "c", "d"];

    fn issuer() -> IssuerKey {
        IssuerKey { kind: IssuerKind::ClusterIssuer, namespace: None, name: "ca".to_owned() }
    }

    fn entry(reference: &str) -> Entry {
        Entry {
            open: OpenOrder {
                reference: reference.to_owned(),
                id: format!("id-{reference}"),
                since: Timestamp::UNIX_EPOCH,
                replaces: None,
            },
            account: "account".to_owned(),
            errors: 0,
            own_errors: 0,
            request: ("web".to_owned(), reference.to_owned()),
            progress: None,
            due: Instant::now(),
            interval: SHORTEST,
        }
    }

    fn poller() -> OrderPoller {
        let orders = ORDERS.into_iter().map(|name| (name.to_owned(), entry(name))).collect();
        let polled = Polled { orders, changed: Arc::default(), task: None };
        OrderPoller(Mutex::new([(issuer(), polled)].into()))
    }

    fn pending(open: &OpenOrder) -> Progress {
        Progress {
            id: Some(open.id.clone()),
            named: true,
            phase: Phase::Pending(Waiting {
                state: "NEW".to_owned(),
                actor: Actor::Ca,
                message: String::new(),
                retry_after: None,
                challenges: Vec::new(),
            }),
        }
    }

    #[test]
    fn an_order_does_not_grow_younger_and_is_issued_once() {
        let mut entry = entry("a");
        let open = entry.open.clone();
        let later = OpenOrder { since: "2026-06-01T00:00:00Z".parse().expect("a time"), ..open };
        let pending = pending(&later);
        let of = |phase| Some(Progress { phase, ..pending.clone() });
        let forgotten = || {
            let message = String::new();
            let kind = FailedKind::Forgotten;
            Phase::Failed(Failed { state: "not found".to_owned(), kind, message })
        };
        let issued = || of(Phase::Issued(Vec::new()));
        let rows = [
            ("nothing is learned", None, None, None),
            ("the first word", None, Some(&pending), Some(pending.clone())),
            ("no word leaves what is known", issued(), None, issued()),
            ("a slow run has not seen that it was issued", issued(), Some(&pending), issued()),
            (
                "what is forgotten by its id may be found by its name",
                of(forgotten()),
                Some(&pending),
                Some(pending.clone()),
            ),
        ];
        for (name, known, learned, expected) in rows {
            entry.progress = known;
            entry.learn(&later, learned);
            assert_eq!(entry.progress, expected, "{name}");
            assert_eq!(entry.open.since, Timestamp::UNIX_EPOCH, "{name}");
        }
        entry.learn(&OpenOrder { replaces: Some("0a".to_owned()), ..later.clone() }, None);
        entry.learn(&later, None);
        assert_eq!(entry.open.replaces.as_deref(), Some("0a"), "what it replaces stays known");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_ca_asked_for_holds_for_orders_that_were_not_reached_too() {
        let poller = poller();
        let after = Some(Duration::from_secs(1800));
        for (at, reference) in ORDERS.into_iter().enumerate() {
            let why = if at == 0 { Unanswered::Failed(after) } else { Unanswered::NotAsked(after) };
            poller.note(&issuer(), reference, Err(why), Timestamp::UNIX_EPOCH);
        }
        tokio::time::advance(Duration::from_secs(1799)).await;
        assert!(matches!(poller.due(&issuer()), Some(Err(_))), "the account is left alone");
        tokio::time::advance(Duration::from_secs(1)).await;
        let Some(Ok(due)) = poller.due(&issuer()) else { panic!("the pause is over") };
        assert_eq!(due.len(), ORDERS.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_at_which_polls_end_does_not_keep_the_others_from_being_asked_about() {
        let poller = poller();
        let mut answered = std::collections::BTreeSet::new();
        for _ in 0..2 {
            tokio::time::advance(LONGEST).await;
            let Some(Ok(due)) = poller.due(&issuer()) else { panic!("all are due") };
            assert_eq!(due.len(), ORDERS.len());
            let asked = due.iter().position(|open| open.reference == "bad").expect("it is due");
            for (at, open) in due.iter().enumerate() {
                let answer = match at.cmp(&asked) {
                    std::cmp::Ordering::Less => Ok(pending(open)),
                    std::cmp::Ordering::Equal => Err(Unanswered::Failed(None)),
                    std::cmp::Ordering::Greater => Err(Unanswered::NotAsked(None)),
                };
                if answer.is_ok() {
                    answered.insert(open.reference.clone());
                }
                poller.note(&issuer(), &open.reference, answer, Timestamp::UNIX_EPOCH);
            }
        }
        assert_eq!(answered.into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }
}
