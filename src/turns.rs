//! Whose turn it is, wherever several ask for something of which there is not enough at once: calls
//! to a CA, the making of keys, the orders of a day.
//!
//! Turns go by namespace ([`mod@line`]), so that nobody waits longer because somebody else asks for more.
//! What an issuer does for itself, polls and checks, counts as a namespace of its own. Who asks is
//! known from the task ([`asking`]): a call to a CA passes through clients that know no Kubernetes.
//!
//! # Guarantees
//! - A place that is free is never left idle while somebody waits.
//! - One turn in ten is for the renewal of a certificate that ends on this day, where one waits;
//!   among those too the turns go by namespace, so that nobody has them all by claiming it.
//! - Who is dropped while it waits, or with its turn, leaves no place behind that nobody has.

pub mod line;
pub mod queue;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tokio::sync::oneshot;

use self::line::{Line, Rank};

/// One of so many is kept for what cannot wait.
pub const KEPT: u32 = 10;
/// And no more than so many of these for one namespace.
const KEPT_FOR_ONE: u32 = 4;

tokio::task_local! {
    static ASKING: Asking;
}

/// Who asks for a turn.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asking {
    /// Its namespace; for an issuer that asks for itself, no namespace has the name.
    namespace: String,
    rank: Rank,
    /// What ends before this cannot wait.
    midnight: Timestamp,
}

impl Asking {
    /// A request of a namespace whose certificate, where it has one, ends at `end`.
    #[must_use]
    pub fn request(namespace: &str, end: Option<Timestamp>, now: Timestamp) -> Self {
        Self { namespace: namespace.to_owned(), rank: Rank::of(end), midnight: midnight_after(now) }
    }

    /// An issuer, for itself.
    #[must_use]
    pub fn issuer() -> Self {
        Self { namespace: String::new(), rank: Rank::New, midnight: Timestamp::MIN }
    }

    /// Whoever the task asks for; an issuer where nobody said.
    fn current() -> Self {
        ASKING.try_with(Self::clone).unwrap_or_else(|_| Self::issuer())
    }
}

/// Does `work` in the name of `who`: all turns it needs are theirs.
pub async fn asking<F: Future>(who: Asking, work: F) -> F::Output {
    ASKING.scope(who, work).await
}

/// When the UTC day of `now` ends.
#[must_use]
pub fn midnight_after(now: Timestamp) -> Timestamp {
    end_of_day(now.to_zoned(TimeZone::UTC).date())
}

/// When a UTC day ends.
#[must_use]
pub fn end_of_day(day: Date) -> Timestamp {
    let midnight = day.tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC));
    midnight.map_or(Timestamp::MAX, |midnight| midnight.timestamp())
}

/// So many of `limit` are kept for renewals that cannot wait, of which `known` are known: a tenth, at
/// least one, never all, and nothing that none of them needs.
#[must_use]
pub fn kept(limit: u32, known: u32) -> u32 {
    share(limit).min(known)
}

fn share(limit: u32) -> u32 {
    (limit / KEPT).max(1).min(limit.saturating_sub(1))
}

/// So much of what is kept of `limit` is for one namespace, on one day: half of it at most, and at
/// least one. When certificates end is read in statuses, and who may write those of one namespace must
/// not have what is kept for all.
#[must_use]
pub fn kept_for_one(limit: u32) -> u32 {
    (share(limit) / 2).clamp(1, KEPT_FOR_ONE)
}

/// A number of places that are taken by turns. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    line: Line<u64>,
    /// Those who wait, by number.
    waiting: BTreeMap<u64, oneshot::Sender<Turn>>,
    number: u64,
    /// So many turns were given to somebody who waited.
    given: u32,
    /// What ends before this cannot wait.
    midnight: Timestamp,
}

/// A place, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Turn(Option<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.take().iter().for_each(Turns::give_back);
    }
}

/// Who waits leaves the line when it is dropped.
struct Waits<'a>(&'a Turns, u64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.line.leave(&self.1);
        state.waiting.remove(&self.1);
    }
}

impl Turns {
    /// So many at once, at least one.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: places.max(1),
            line: Line::default(),
            waiting: BTreeMap::new(),
            number: 0,
            given: 0,
            midnight: Timestamp::MIN,
        })))
    }

    /// Waits for a turn of whoever this task asks for.
    pub async fn turn(&self) -> Turn {
        self.turn_of(&Asking::current()).await
    }

    /// Waits for a turn of `who`.
    pub async fn turn_of(&self, who: &Asking) -> Turn {
        let (number, told) = match self.enter(who) {
            Ok(turn) => return turn,
            Err(waits) => waits,
        };
        let waits = Waits(self, number);
        match told.await {
            Ok(turn) => turn,
            // Only who waits itself leaves the line.
            Err(_) => {
                drop(waits);
                std::future::pending().await
            }
        }
    }

    /// So many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state().line.len()
    }

    /// A turn at once, or a place in the line.
    fn enter(&self, who: &Asking) -> Result<Turn, (u64, oneshot::Receiver<Turn>)> {
        let mut state = self.state();
        if state.free > 0 {
            state.free -= 1;
            return Ok(Turn(Some(self.clone())));
        }
        let (told, tells) = oneshot::channel();
        state.number += 1;
        let number = state.number;
        state.midnight = state.midnight.max(who.midnight);
        state.line.enter(&number, &who.namespace, who.rank);
        state.waiting.insert(number, told);
        Err((number, tells))
    }

    /// Gives a place to whoever is next.
    fn give_back(&self) {
        let mut turn = Turn(Some(self.clone()));
        while let Some(told) = self.state().next() {
            match told.send(turn) {
                Ok(()) => return,
                // It has just gone: the turn is for the next.
                Err(back) => turn = back,
            }
        }
        turn.0 = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whoever is next. Where nobody is, the place is free.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let midnight = self.midnight;
        let is_kept = self.given % KEPT == KEPT - 1;
        let urgent = is_kept.then(|| self.line.next(|_, rank| rank.is_urgent(midnight))).flatten();
        let Some(number) = urgent.or_else(|| self.line.next(|_, _| true)) else {
            self.free += 1;
            return None;
        };
        self.given = self.given.wrapping_add(1);
        self.waiting.remove(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-06-01T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn who(namespace: &str, end: Option<&str>) -> Asking {
        Asking::request(namespace, end.map(at), at(NOW))
    }

    /// Has all of them wait behind one, and says in which order they have their turn.
    async fn order(all: Vec<Asking>) -> Vec<usize> {
        let (turns, told) = (Turns::new(1), Arc::new(Mutex::new(Vec::new())));
        let first = turns.turn().await;
        let mut tasks = Vec::new();
        for (number, who) in all.into_iter().enumerate() {
            let (turns, told) = (turns.clone(), Arc::clone(&told));
            tasks.push(tokio::spawn(asking(who, async move {
                let _turn = turns.turn().await;
                told.lock().unwrap().push(number);
            })));
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.waiting(), tasks.len());
        drop(first);
        for task in tasks {
            task.await.expect("it had its turn");
        }
        let told = told.lock().unwrap();
        told.clone()
    }

    #[tokio::test]
    async fn a_greedy_namespace_takes_turns_with_others() {
        let mut all = vec![who("greedy", None); 200];
        all.push(who("neighbour", None));
        all.push(Asking::issuer());
        let order = order(all).await;
        assert_eq!(order[..4], [0, 200, 201, 1]);
    }

    #[tokio::test]
    async fn one_turn_in_ten_is_for_what_ends_today() {
        let mut all: Vec<_> = (0..100).map(|of| who(&format!("n-{of}"), None)).collect();
        all.push(who("late", Some("2026-06-02T00:00:00Z")));
        all.push(who("soon", Some("2026-06-01T23:59:59Z")));
        let order = order(all).await;
        assert_eq!(order.iter().position(|one| *one == 101), Some(9));
        assert_eq!(order.iter().position(|one| *one == 100), Some(101), "it can wait");
    }

    #[tokio::test]
    async fn who_is_dropped_leaves_no_place_behind_that_nobody_has() {
        let turns = Turns::new(1);
        let first = turns.turn().await;
        let wait = || {
            let turns = turns.clone();
            tokio::spawn(async move { turns.turn().await })
        };
        let (gone, told, last) = (wait(), wait(), wait());
        tokio::task::yield_now().await;
        assert_eq!(turns.waiting(), 3);
        gone.abort();
        assert!(gone.await.is_err(), "it waits no more");
        assert_eq!(turns.waiting(), 2);
        drop(first);
        // It has its turn, and is dropped before it knows.
        told.abort();
        drop(told.await);
        let last = last.await.expect("the turn went on");
        drop(last);
        let again = tokio::time::timeout(std::time::Duration::from_secs(5), turns.turn()).await;
        assert!(again.is_ok(), "the place is free");
    }

    #[test]
    fn a_share_is_kept_only_for_those_who_are_known_to_need_it() {
        let rows = [
            ("a tenth", 100, 50, 10),
            ("no more than need it", 100, 3, 3),
            ("nothing where none does", 100, 0, 0),
            ("at least one", 5, 9, 1),
            ("never all", 1, 9, 0),
        ];
        for (name, limit, known, expected) in rows {
            assert_eq!(kept(limit, known), expected, "{name}");
        }
        let rows = [
            ("four", 100, 4),
            ("however much is kept", 1000, 4),
            ("no more than half", 50, 2),
            ("at least one", 5, 1),
        ];
        for (name, limit, expected) in rows {
            assert_eq!(kept_for_one(limit), expected, "for one namespace: {name}");
        }
        assert_eq!(midnight_after(at(NOW)), at("2026-06-02T00:00:00Z"));
    }
}
