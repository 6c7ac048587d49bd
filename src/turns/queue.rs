//! Who waits for what is left of limits, and whose turn it is. Plain values, no clock.
//!
//! Whoever needs something asks. Where there is enough for all who wait, it is their turn at once. Where
//! there is not, the first in the [`Line`] are called, and what is left is theirs for as long as it
//! takes them to come: who asks in between does not go before them.
//!
//! The ring of `controller::places` is another: it says who may have a run, at what a run costs this
//! process, and this one what those who have one may draw on, which a run alone finds out.
//!
//! # Guarantees
//! - No more are called than there is room for, and nothing is left while somebody waits who may.
//! - The share that is kept of each limit ([`kept`]) goes to renewals of certificates that end on this
//!   day. One namespace counts there, and has of it, no more than its part of that limit
//!   ([`kept_for_one`]): what it has drawn on this day, or the places that it holds now. What is true
//!   of another still finds room.
//! - Who was called and does not come loses its turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::line::{Line, Rank};
use super::{kept, kept_for_one};

/// Namespace and name.
pub type Name = (String, String);

/// Who was called comes within this time: it is woken, and asks before it does anything slow.
const LAPSES: SignedDuration = SignedDuration::from_secs(60);

/// What is limited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// What is drawn on a day: it does not come back on that day.
    OfDay,
    /// Places, which come back.
    Places,
}

/// What a limit leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Left {
    /// What is limited.
    pub kind: Kind,
    /// The limit.
    pub limit: u32,
    /// So much of it is left.
    pub left: u32,
}

impl Left {
    /// Whether there is any for one more beside those that are called, where so many are to come that
    /// cannot wait.
    fn has_one_beside(&self, called: u32, urgent: u32) -> bool {
        self.left > called.saturating_add(kept(self.limit, urgent))
    }
}

/// What there is to give.
#[derive(Clone, Debug)]
pub struct Room {
    /// Of each limit that counts.
    pub limits: Vec<Left>,
    /// So many certificates of each namespace are known that end on this day and are not being
    /// renewed.
    pub urgent: BTreeMap<String, u32>,
    /// When this day ends.
    pub midnight: Timestamp,
}

/// Those who wait, and those who are called.
#[derive(Debug, Default)]
pub struct Queue {
    line: Line<Name>,
    called: BTreeMap<Name, Called>,
    /// In the order in which they were called, also such as are gone.
    order: VecDeque<(Timestamp, Name)>,
    /// So many of each namespace are called that cannot wait.
    urgent: BTreeMap<String, u32>,
    kept: Kept,
    /// Who has a kept place.
    placed: BTreeSet<Name>,
}

#[derive(Clone, Debug)]
struct Called {
    at: Timestamp,
    is_urgent: bool,
    /// There was room for it in what is kept of these alone.
    kept: Vec<Kind>,
}

/// What each namespace has of what is kept, those that are called with it.
#[derive(Debug, Default)]
struct Kept {
    /// On the day that ends then.
    drawn: BTreeMap<String, u32>,
    midnight: Timestamp,
    /// Of places, now.
    places: BTreeMap<String, u32>,
}

impl Kept {
    fn of(&mut self, kind: Kind) -> &mut BTreeMap<String, u32> {
        match kind {
            Kind::OfDay => &mut self.drawn,
            Kind::Places => &mut self.places,
        }
    }

    /// What a namespace may still have of a limit on a day.
    fn left_to(&self, namespace: &str, limit: &Left, midnight: Timestamp) -> u32 {
        let has = match limit.kind {
            Kind::OfDay => self.drawn.get(namespace).filter(|_| self.midnight == midnight),
            Kind::Places => self.places.get(namespace),
        };
        kept_for_one(limit.limit).saturating_sub(has.copied().unwrap_or_default())
    }
}

impl Queue {
    /// Has a request wait.
    pub fn wait(&mut self, name: &Name, rank: Rank) {
        self.uncall(name);
        self.line.enter(name, &name.0, rank);
    }

    /// Has a request wait no more that has what it was called for; whether that is of what is kept of
    /// the day.
    pub fn serve(&mut self, name: &Name) -> bool {
        self.line.leave(name);
        let kept = self.forget_call(name).map(|called| called.kept).unwrap_or_default();
        if kept.contains(&Kind::Places) && !self.placed.insert(name.clone()) {
            less(&mut self.kept.places, &name.0);
        }
        kept.contains(&Kind::OfDay)
    }

    /// What a namespace had of what is kept of the day was not used.
    pub fn give_back(&mut self, namespace: &str) {
        less(&mut self.kept.drawn, namespace);
    }

    /// Kept places are free again, except those of whom this is true.
    pub fn free_places(&mut self, has_place: impl Fn(&Name) -> bool) {
        let Self { placed, kept, .. } = self;
        placed.retain(|name| {
            let stays = has_place(name);
            if !stays {
                less(&mut kept.places, &name.0);
            }
            stays
        });
    }

    /// So many certificates of a namespace count that end today, at most: those that are called, and
    /// what it does not have yet of the limit that leaves it most.
    #[must_use]
    pub fn counts(&self, namespace: &str, limits: &[Left], midnight: Timestamp) -> u32 {
        let called = self.urgent.get(namespace).copied().unwrap_or_default();
        let left = |limit| self.kept.left_to(namespace, limit, midnight);
        called.saturating_add(limits.iter().map(left).max().unwrap_or_default())
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
        if self.kept.midnight != room.midnight {
            self.kept.midnight = room.midnight;
            self.kept.drawn.clear();
        }
        if !self.called.contains_key(name) {
            self.line.enter(name, &name.0, rank);
        }
        while let Some((next, is_urgent, kept)) = self.next(room) {
            if is_urgent {
                *self.urgent.entry(next.0.clone()).or_default() += 1;
            }
            for kind in &kept {
                *self.kept.of(*kind).entry(next.0.clone()).or_default() += 1;
            }
            self.called.insert(next.clone(), Called { at: now, is_urgent, kept });
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

    /// Whoever is next, whether it cannot wait, and of what it has something that is kept.
    fn next(&mut self, room: &Room) -> Option<(Name, bool, Vec<Kind>)> {
        let called = u32::try_from(self.called.len()).unwrap_or(u32::MAX);
        // The same for all of a kind: asked once, and not for each who waits.
        if !room.limits.iter().all(|limit| limit.has_one_beside(called, 0)) {
            return None;
        }
        let is_kept = |limit: &&Left| !limit.has_one_beside(called, self.outstanding(limit, room));
        let scarce: Vec<Left> = room.limits.iter().filter(is_kept).copied().collect();
        let was_urgent = std::cell::Cell::new(false);
        let Self { line, kept, .. } = self;
        let may_have =
            |of: &str| scarce.iter().all(|limit| kept.left_to(of, limit, room.midnight) > 0);
        let next = line.next(|namespace, rank| {
            was_urgent.set(rank.is_urgent(room.midnight));
            scarce.is_empty() || was_urgent.get() && may_have(namespace)
        })?;
        Some((next, was_urgent.get(), scarce.iter().map(|limit| limit.kind).collect()))
    }

    /// So many that cannot wait are still to come, as far as they count for a limit.
    fn outstanding(&self, limit: &Left, room: &Room) -> u32 {
        let of = |(namespace, known): (&String, &u32)| {
            let called = self.urgent.get(namespace).copied().unwrap_or_default();
            let left = self.kept.left_to(namespace, limit, room.midnight);
            known.saturating_sub(called).min(left)
        };
        room.urgent.iter().map(of).fold(0, u32::saturating_add)
    }

    fn uncall(&mut self, name: &Name) -> bool {
        let Some(called) = self.forget_call(name) else { return false };
        for kind in called.kept {
            less(self.kept.of(kind), &name.0);
        }
        true
    }

    fn forget_call(&mut self, name: &Name) -> Option<Called> {
        let called = self.called.remove(name)?;
        if called.is_urgent {
            less(&mut self.urgent, &name.0);
        }
        Some(called)
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

fn less(counts: &mut BTreeMap<String, u32>, namespace: &str) {
    if let Some(count) = counts.get_mut(namespace) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(namespace);
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

    fn room(left: u32, limit: u32, urgent: &[(&str, u32)]) -> Room {
        room_of(vec![Left { kind: Kind::OfDay, limit, left }], urgent)
    }

    fn room_of(limits: Vec<Left>, urgent: &[(&str, u32)]) -> Room {
        let midnight = "2026-06-02T00:00:00Z".parse().expect("a time");
        let urgent = urgent.iter().map(|(of, known)| ((*of).to_owned(), *known)).collect();
        Room { limits, urgent, midnight }
    }

    /// Asks for each in turn; who had its turn, as if the room was used up by each.
    fn served(queue: &mut Queue, names: &[(Name, Rank)], mut left: u32, limit: u32) -> Vec<Name> {
        let (mut served, mut asking) = (Vec::new(), VecDeque::from(names.to_vec()));
        while let Some((name, rank)) = asking.pop_front() {
            let mut called = Vec::new();
            if queue.ask(&name, rank, &room(left, limit, &[]), at("12:00:00"), &mut called) {
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
        let three: &[_] = &[("a", 4), ("b", 4), ("neighbour", 2)];
        let rows = [
            ("there is room for both", 11, three, true),
            ("the rest is kept", 10, three, false),
            ("only for as many as are known", 10, &three[1..], true),
            ("no more than a tenth", 11, &[("a", 4), ("b", 4), ("c", 4)], true),
            ("one namespace does not hold back all of it", 5, &[("greedy", 1000)], true),
            ("but its part", 4, &[("greedy", 1000)], false),
            ("nobody is known to need it", 1, &[], true),
        ];
        for (row, left, urgent, is_turn) in rows {
            let room = room(left, 100, urgent);
            let (mut queue, mut called) = (Queue::default(), Vec::new());
            assert_eq!(queue.ask(&new, Rank::New, &room, now, &mut called), is_turn, "{row}");
            let mut queue = Queue::default();
            assert!(queue.ask(&renewal, ends, &room, now, &mut called), "{row}: the renewal may");
        }
    }

    /// One namespace says of a thousand that they end today; it has what it may before another comes.
    fn drawn_by_greedy(queue: &mut Queue, (limit, left): (u32, u32), neighbours: u32) -> u32 {
        let ends = Rank::Ends(at("20:00:00"));
        let urgent = [("greedy", 1000), ("neighbour", neighbours)];
        (0..left)
            .take_while(|drawn| {
                let (one, room) = (name("greedy", drawn), room(left - drawn, limit, &urgent));
                let is_turn = queue.ask(&one, ends, &room, at("12:00:00"), &mut Vec::new());
                queue.serve(&one);
                is_turn
            })
            .count()
            .try_into()
            .expect("few")
    }

    #[test]
    fn a_namespace_that_says_of_all_that_they_end_today_leaves_room_for_another() {
        let rows = [
            ("one renewal of a neighbour", (100, 10), 1, 9),
            ("three", (100, 10), 3, 7),
            ("as many as count", (100, 10), 4, 6),
            ("a limit of which little is kept", (20, 2), 1, 1),
            ("where one alone is kept, who comes first has it", (5, 1), 1, 1),
            ("nobody else needs it", (100, 10), 0, 10),
        ];
        for (row, room_of, neighbours, expected) in rows {
            let drawn = drawn_by_greedy(&mut Queue::default(), room_of, neighbours);
            assert_eq!(drawn, expected, "{row}");
        }
    }

    #[test]
    fn what_a_namespace_has_of_what_is_kept_is_counted_for_the_day_where_it_is_used() {
        let greedy = |number| name("greedy", number);
        let ends = Rank::Ends(at("20:00:00"));
        let urgent = [("greedy", 1000), ("neighbour", 4), ("another", 4)];
        // All that is left is kept, however much is taken from it.
        let kept = room(8, 100, &urgent);
        let (mut queue, mut called) = (Queue::default(), Vec::new());
        let mut ask = |queue: &mut Queue, number, room: &Room, time| {
            queue.ask(&greedy(number), ends, room, at(time), &mut called)
        };
        for number in 0..4 {
            assert!(ask(&mut queue, number, &kept, "12:00:00"));
            assert!(queue.serve(&greedy(number)), "it is of what is kept");
        }
        assert!(!ask(&mut queue, 4, &kept, "12:00:00"), "it has had its part");
        queue.leave(&greedy(4));
        queue.give_back("greedy");
        assert!(ask(&mut queue, 5, &kept, "12:00:01"), "one was not used");
        assert!(!ask(&mut queue, 6, &kept, "12:00:02"), "that is called for");
        queue.leave(&greedy(5));
        assert!(ask(&mut queue, 6, &kept, "12:00:03"), "and did not come");
        queue.serve(&greedy(6));
        assert!(!ask(&mut queue, 7, &kept, "12:00:04"));
        let tomorrow = "2026-06-03T00:00:00Z".parse().expect("a time");
        let tomorrow = Room { midnight: tomorrow, ..kept };
        assert!(ask(&mut queue, 7, &tomorrow, "12:00:05"), "another day has another share");
    }

    /// Of a day and of places; who of `greedy`, then of a neighbour, has its turn while all who had
    /// theirs keep their places.
    #[test]
    fn what_one_namespace_has_of_what_is_kept_is_judged_by_each_limit() {
        let ends = Rank::Ends(at("20:00:00"));
        // The limit and what is left of it: of the day, and of places.
        let rows = [
            ("places are scarce, of which little is kept", (1000, 900), (20, 2), (1, 1)),
            ("places are scarce, of which more is kept", (1000, 900), (100, 10), (6, 4)),
            ("the day is scarce, of which little is kept", (20, 2), (1000, 900), (1, 1)),
            ("both are, and the less is what counts", (100, 10), (20, 2), (1, 1)),
            ("neither is", (1000, 900), (1000, 900), (9, 9)),
        ];
        for (row, of_day, places, expected) in rows {
            let mut queue = Queue::default();
            let mut had = 0;
            let mut turns = |namespace: &str, count: u32| {
                let mut is_turn = |number: &u32| {
                    let left =
                        |kind, (limit, left): (u32, u32)| Left { kind, limit, left: left - had };
                    let limits = vec![left(Kind::OfDay, of_day), left(Kind::Places, places)];
                    let room = room_of(limits, &[("greedy", 1000), ("neighbour", 4)]);
                    let one = name(namespace, number);
                    let is_turn = queue.ask(&one, ends, &room, at("12:00:00"), &mut Vec::new());
                    if is_turn {
                        queue.serve(&one);
                        had += 1;
                    } else {
                        queue.leave(&one);
                    }
                    is_turn
                };
                (0..count).filter(|number| is_turn(number)).count()
            };
            assert_eq!((turns("greedy", 9), turns("neighbour", 9)), expected, "{row}");
        }
    }

    #[test]
    fn a_kept_place_is_held_until_it_is_free_and_what_is_drawn_of_a_day_for_the_day() {
        let ends = Rank::Ends(at("20:00:00"));
        let urgent = [("greedy", 1000), ("neighbour", 1)];
        let ask = |queue: &mut Queue, number: u32, room: &Room| {
            let one = name("greedy", number);
            let is_turn = queue.ask(&one, ends, room, at("12:00:00"), &mut Vec::new());
            if is_turn {
                queue.serve(&one);
            } else {
                queue.leave(&one);
            }
            is_turn
        };
        for (kind, again) in [(Kind::Places, true), (Kind::OfDay, false)] {
            let room = room_of(vec![Left { kind, limit: 20, left: 1 }], &urgent);
            let mut queue = Queue::default();
            assert!(ask(&mut queue, 0, &room) && !ask(&mut queue, 1, &room), "{kind:?}");
            queue.free_places(|one| *one == name("greedy", 0));
            assert!(!ask(&mut queue, 1, &room), "{kind:?}: it is held");
            let tomorrow = "2026-06-03T00:00:00Z".parse().expect("a time");
            let tomorrow = Room { midnight: tomorrow, ..room.clone() };
            let later = Rank::Ends("2026-06-02T20:00:00Z".parse().expect("a time"));
            let one = name("greedy", 2);
            let is_turn = queue.ask(&one, later, &tomorrow, at("12:00:00"), &mut Vec::new());
            assert_eq!(is_turn, !again, "{kind:?}: on the next day");
            queue.leave(&one);
            if kind == Kind::Places {
                queue.free_places(|_| false);
                assert!(ask(&mut queue, 1, &room), "it has ended");
                assert!(!ask(&mut queue, 3, &room), "and another is held");
            }
        }
    }

    #[test]
    fn who_is_called_and_does_not_come_loses_its_turn() {
        let (a, b, c) = (name("a", 0), name("b", 0), name("c", 0));
        let (mut queue, mut called) = (Queue::default(), Vec::new());
        queue.wait(&a, Rank::New);
        queue.wait(&b, Rank::New);
        let one = room(1, 10, &[]);
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
