//! Who waits for what is left of limits, and whose turn it is. Plain values, no clock.
//!
//! Whoever needs something asks. Where there is enough for all who wait, it is their turn at once. Where
//! there is not, the first in the [`Line`] are called, and what is left is theirs for as long as it
//! takes them to come: who asks in between does not go before them.
//!
//! # Guarantees
//! - No more are called than there is room for, and nothing is left while somebody waits who may.
//! - The share that is kept ([`kept`]) goes to renewals of certificates that end on this day.
//! - Who was called and does not come loses its turn.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::kept;
use super::line::{Line, Rank};

/// Namespace and name.
pub type Name = (String, String);

/// Who was called comes within this time: it is woken, and asks before it does anything slow.
const LAPSES: SignedDuration = SignedDuration::from_secs(60);

/// What a limit leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Left {
    /// The limit.
    pub limit: u32,
    /// So much of it is left.
    pub left: u32,
}

/// What there is to give.
#[derive(Clone, Debug)]
pub struct Room {
    /// Of each limit that counts.
    pub limits: Vec<Left>,
    /// So many certificates are known that end on this day and are not being renewed.
    pub urgent: u32,
    /// When this day ends.
    pub midnight: Timestamp,
}

impl Room {
    /// Whether there is any for one more, beside those that are called.
    fn is_for(&self, rank: Rank, called: u32, called_urgent: u32) -> bool {
        let outstanding = self.urgent.saturating_sub(called_urgent);
        self.limits.iter().all(|one| {
            let kept = if rank.is_urgent(self.midnight) { 0 } else { kept(one.limit, outstanding) };
            one.left > called.saturating_add(kept)
        })
    }
}

/// Those who wait, and those who are called.
#[derive(Debug, Default)]
pub struct Queue {
    line: Line<Name>,
    called: BTreeMap<Name, Called>,
    /// In the order in which they were called, also such as are gone.
    order: VecDeque<(Timestamp, Name)>,
    urgent: u32,
}

#[derive(Clone, Copy, Debug)]
struct Called {
    at: Timestamp,
    is_urgent: bool,
}

impl Queue {
    /// Has a request wait.
    pub fn wait(&mut self, name: &Name, rank: Rank) {
        self.uncall(name);
        self.line.enter(name, &name.0, rank);
    }

    /// Has a request wait no more; whether it did, or was called.
    pub fn leave(&mut self, name: &Name) -> bool {
        let was_called = self.uncall(name);
        self.line.leave(name) || was_called
    }

    /// Whether it is the turn of a request. All who are called from now on are added to `called`.
    pub fn ask(
        &mut self,
        name: &Name,
        rank: Rank,
        room: &Room,
        now: Timestamp,
        called: &mut Vec<Name>,
    ) -> bool {
        self.forget_late(now);
        if !self.called.contains_key(name) {
            self.line.enter(name, &name.0, rank);
        }
        while let Some((next, is_urgent)) = self.next(room) {
            self.urgent += u32::from(is_urgent);
            self.called.insert(next.clone(), Called { at: now, is_urgent });
            self.order.push_back((now, next.clone()));
            if next != *name {
                called.push(next);
            }
        }
        self.called.contains_key(name)
    }

    /// Whoever is next, as the line stands.
    #[must_use]
    pub fn first(&self) -> Option<Name> {
        self.line.first_few(1).pop()
    }

    fn next(&mut self, room: &Room) -> Option<(Name, bool)> {
        let called = u32::try_from(self.called.len()).unwrap_or(u32::MAX);
        // The same for all of a kind: asked once, and not for each who waits.
        let for_urgent = room.is_for(Rank::Ends(Timestamp::MIN), called, self.urgent);
        let for_others = room.is_for(Rank::New, called, self.urgent);
        if !for_urgent {
            return None;
        }
        let was_urgent = std::cell::Cell::new(false);
        let next = self.line.next(|_, rank| {
            was_urgent.set(rank.is_urgent(room.midnight));
            for_others || was_urgent.get()
        })?;
        Some((next, was_urgent.get()))
    }

    fn uncall(&mut self, name: &Name) -> bool {
        let Some(called) = self.called.remove(name) else { return false };
        self.urgent -= u32::from(called.is_urgent);
        true
    }

    fn forget_late(&mut self, now: Timestamp) {
        // A clock that was set back makes nobody late, and nobody wait for longer than it was.
        let is_late = |at: Timestamp| now.duration_since(at).abs() >= LAPSES;
        while self.order.front().is_some_and(|(at, _)| is_late(*at)) {
            let Some((at, name)) = self.order.pop_front() else { return };
            if self.called.get(&name).is_some_and(|called| called.at == at) {
                self.uncall(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-06-01T{text}Z").parse().expect("a time")
    }

    fn name(namespace: &str, name: impl ToString) -> Name {
        (namespace.to_owned(), name.to_string())
    }

    fn room(left: u32, limit: u32, urgent: u32) -> Room {
        let midnight = "2026-06-02T00:00:00Z".parse().expect("a time");
        Room { limits: vec![Left { limit, left }], urgent, midnight }
    }

    /// Asks for each in turn; who had its turn, as if the room was used up by each.
    fn served(queue: &mut Queue, names: &[(Name, Rank)], mut left: u32, limit: u32) -> Vec<Name> {
        let (mut served, mut asking) = (Vec::new(), VecDeque::from(names.to_vec()));
        while let Some((name, rank)) = asking.pop_front() {
            let mut called = Vec::new();
            if queue.ask(&name, rank, &room(left, limit, 0), at("12:00:00"), &mut called) {
                queue.leave(&name);
                left -= 1;
                served.push(name);
            }
            called.into_iter().for_each(|name| asking.push_front((name, Rank::New)));
        }
        served
    }

    #[test]
    fn where_there_is_enough_whoever_asks_has_its_turn_at_once() {
        let all: Vec<_> = (0..50).map(|n| (name("a", n), Rank::New)).collect();
        let names: Vec<_> = all.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(served(&mut Queue::default(), &all, 50, 50), names);
    }

    #[test]
    fn what_is_scarce_goes_round_the_namespaces_that_wait() {
        let mut queue = Queue::default();
        let mut all: Vec<_> = (0..1000).map(|n| (name("greedy", n), Rank::New)).collect();
        all.push((name("neighbour", 0), Rank::New));
        all.push((name("neighbour", 1), Rank::Ends(at("20:00:00"))));
        all.iter().for_each(|(name, rank)| queue.wait(name, *rank));
        let served = served(&mut queue, &all, 10, 100);
        assert_eq!(served.len(), 10);
        let of = |of: &str| served.iter().filter(|(namespace, _)| namespace == of).count();
        assert_eq!((of("greedy"), of("neighbour")), (8, 2));
    }

    #[test]
    fn a_share_is_kept_for_what_ends_today_where_such_is_known() {
        let now = at("12:00:00");
        let (new, renewal) = (name("greedy", "new"), name("neighbour", "renewal"));
        let ends = Rank::Ends(at("20:00:00"));
        let rows = [
            ("there is room for both", 11, 10, true),
            ("the rest is kept", 10, 10, false),
            ("only for as many as are known", 10, 9, true),
            ("nobody is known to need it", 1, 0, true),
        ];
        for (row, left, urgent, is_turn) in rows {
            let room = room(left, 100, urgent);
            let (mut queue, mut called) = (Queue::default(), Vec::new());
            assert_eq!(queue.ask(&new, Rank::New, &room, now, &mut called), is_turn, "{row}");
            let mut queue = Queue::default();
            assert!(queue.ask(&renewal, ends, &room, now, &mut called), "{row}: the renewal may");
        }
    }

    #[test]
    fn who_is_called_and_does_not_come_loses_its_turn() {
        let (a, b, c) = (name("a", 0), name("b", 0), name("c", 0));
        let (mut queue, mut called) = (Queue::default(), Vec::new());
        queue.wait(&a, Rank::New);
        queue.wait(&b, Rank::New);
        let one = room(1, 10, 0);
        assert!(!queue.ask(&b, Rank::New, &one, at("12:00:00"), &mut called));
        assert_eq!(called, std::slice::from_ref(&a));
        assert!(!queue.ask(&b, Rank::New, &one, at("12:00:59"), &mut called), "it may still come");
        assert!(queue.ask(&b, Rank::New, &one, at("12:01:00"), &mut called));
        assert!(!queue.ask(&a, Rank::New, &one, at("12:01:01"), &mut called), "it waits again");
        assert!(queue.leave(&b) && !queue.leave(&b));
        assert!(!queue.ask(&c, Rank::New, &one, at("12:01:02"), &mut called));
        assert!(queue.ask(&a, Rank::New, &one, at("12:01:03"), &mut called));
    }
}
