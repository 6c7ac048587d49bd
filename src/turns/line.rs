//! Who is next: namespace by namespace, and within one what ends first. Plain values, no clock.
//!
//! # Guarantees
//! - Whoever waits is next after at most one of each other namespace, however many wait there. Who
//!   leaves and comes again is last.
//! - Within a namespace renewals come first, those of certificates that end first before others,
//!   then what is new, in the order in which it came.
//! - Entering, leaving and taking the next cost the logarithm of how many wait, and the number of
//!   namespaces at most.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

/// What comes first within a namespace.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Rank {
    /// The renewal of a certificate that ends then.
    Ends(Timestamp),
    /// There is no certificate yet.
    New,
}

impl Rank {
    /// By the end of the certificate, where there is one.
    #[must_use]
    pub fn of(end: Option<Timestamp>) -> Self {
        end.map_or(Self::New, Self::Ends)
    }

    /// The certificate ends before `before`.
    #[must_use]
    pub fn is_urgent(self, before: Timestamp) -> bool {
        matches!(self, Self::Ends(end) if end < before)
    }
}

/// A place in the line: its rank, and when it came.
type Place = (Rank, u64);

/// Those who wait, each by a name of its own.
#[derive(Debug)]
pub struct Line<Id> {
    /// Namespaces in which somebody waits, the next first.
    ring: VecDeque<String>,
    waiting: BTreeMap<String, BTreeMap<Place, Id>>,
    places: BTreeMap<Id, (String, Place)>,
    came: u64,
}

impl<Id> Default for Line<Id> {
    fn default() -> Self {
        let (ring, waiting) = (VecDeque::new(), BTreeMap::new());
        Self { ring, waiting, places: BTreeMap::new(), came: 0 }
    }
}

impl<Id: Clone + Ord> Line<Id> {
    /// So many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether `id` waits.
    #[must_use]
    pub fn has(&self, id: &Id) -> bool {
        self.places.contains_key(id)
    }

    /// Has `id` wait. Who waits already keeps its place, unless its rank is another.
    pub fn enter(&mut self, id: &Id, namespace: &str, rank: Rank) {
        let before = self.places.get(id).filter(|(at, _)| at == namespace).map(|(_, place)| *place);
        if before.is_none() {
            self.leave(id);
        }
        let place = (rank, before.map_or(self.came, |(_, came)| came));
        self.came += 1;
        let waiting = self.waiting.entry(namespace.to_owned()).or_insert_with(|| {
            self.ring.push_back(namespace.to_owned());
            BTreeMap::new()
        });
        before.iter().for_each(|before| drop(waiting.remove(before)));
        waiting.insert(place, id.clone());
        self.places.insert(id.clone(), (namespace.to_owned(), place));
    }

    /// Has `id` wait no more; whether it did.
    pub fn leave(&mut self, id: &Id) -> bool {
        let Some((namespace, place)) = self.places.remove(id) else { return false };
        let Some(waiting) = self.waiting.get_mut(&namespace) else { return false };
        waiting.remove(&place);
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
            self.ring.retain(|one| *one != namespace);
        }
        true
    }

    /// The next among those that `may`. Its namespace is the last from now on.
    pub fn next(&mut self, may: impl Fn(&str, Rank) -> bool) -> Option<Id> {
        let (at, id) = self.ring.iter().enumerate().find_map(|(at, namespace)| {
            let ((rank, _), id) = self.waiting.get(namespace)?.first_key_value()?;
            may(namespace, *rank).then(|| (at, id.clone()))
        })?;
        let namespace = self.ring.remove(at)?;
        self.ring.push_back(namespace);
        self.leave(&id);
        Some(id)
    }

    /// The first `most` that come next, as they stand now.
    #[must_use]
    pub fn first_few(&self, most: usize) -> Vec<Id> {
        let mut turns: Vec<_> = self
            .ring
            .iter()
            .filter_map(|namespace| Some(self.waiting.get(namespace)?.values()))
            .collect();
        let mut few = Vec::new();
        while few.len() < most {
            let before = few.len();
            few.extend(turns.iter_mut().filter_map(Iterator::next).cloned());
            if few.len() == before {
                break;
            }
        }
        few.truncate(most);
        few
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(day: i64) -> Rank {
        Rank::Ends(Timestamp::from_second(day * 86_400).expect("a time"))
    }

    fn line(rows: &[(&str, &str, Rank)]) -> Line<String> {
        let mut line = Line::default();
        rows.iter()
            .for_each(|(id, namespace, rank)| line.enter(&(*id).to_owned(), namespace, *rank));
        line
    }

    fn drained(mut line: Line<String>) -> Vec<String> {
        std::iter::from_fn(|| line.next(|_, _| true)).collect()
    }

    #[test]
    fn turns_go_by_namespace_and_within_one_by_what_ends_first() {
        let new = Rank::New;
        let rows = [
            ("nobody", vec![], ""),
            ("one namespace, as they came", vec![("b", "x", new), ("a", "x", new)], "b a"),
            (
                "what ends first, then what is new",
                vec![("n", "x", new), ("l", "x", at(9)), ("s", "x", at(1))],
                "s l n",
            ),
            (
                "a few of one and one of another",
                vec![("a", "x", new), ("b", "x", new), ("c", "x", new), ("d", "y", new)],
                "a d b c",
            ),
            (
                "an end in one namespace does not matter in another",
                vec![("a", "x", new), ("b", "x", new), ("c", "y", at(1)), ("d", "y", at(2))],
                "a c b d",
            ),
            (
                "who enters again keeps its place",
                vec![("a", "x", new), ("b", "x", new), ("a", "x", new)],
                "a b",
            ),
            (
                "who has another rank by now has another place",
                vec![("a", "x", new), ("b", "x", new), ("b", "x", at(1))],
                "b a",
            ),
        ];
        for (name, entered, expected) in rows {
            let few = line(&entered).first_few(2);
            let all = drained(line(&entered));
            assert_eq!(all.join(" "), expected, "{name}");
            assert_eq!(few, all[..all.len().min(2)], "{name}");
        }
    }

    #[test]
    fn a_thousand_of_one_namespace_are_not_before_a_renewal_of_another() {
        let mut line = Line::default();
        for n in 0..1000 {
            line.enter(&format!("new-{n}"), "greedy", Rank::New);
        }
        line.enter(&"renewal".to_owned(), "neighbour", at(1));
        let first: Vec<_> = (0..2).filter_map(|_| line.next(|_, _| true)).collect();
        assert_eq!(first, ["new-0", "renewal"]);
        let urgent = line.next(|_, rank| rank != Rank::New);
        assert_eq!((urgent, line.len()), (None, 999), "who may not, waits on");
    }

    #[test]
    fn who_leaves_has_no_turn_and_who_comes_again_is_last() {
        let mut line = line(&[("a", "x", Rank::New), ("b", "y", Rank::New), ("c", "z", Rank::New)]);
        assert!(line.leave(&"a".to_owned()) && !line.leave(&"a".to_owned()));
        line.enter(&"a".to_owned(), "x", Rank::New);
        assert_eq!(drained(line), ["b", "c", "a"]);
    }

    proptest! {
        /// Of namespaces in which somebody waits none is ever more than one turn ahead of another.
        #[test]
        fn no_namespace_is_ahead_of_another_that_waits(
            sizes in proptest::collection::vec(1_usize..40, 1..8),
            turns in 1_usize..200,
        ) {
            let mut line = Line::default();
            for (of, size) in sizes.iter().enumerate() {
                for n in 0..*size {
                    line.enter(&(of, n), &format!("namespace-{of}"), Rank::New);
                }
            }
            let mut had = vec![0; sizes.len()];
            for _ in 0..turns {
                let Some((of, _)) = line.next(|_, _| true) else { break };
                had[of] += 1;
                let least = (0..sizes.len()).filter(|of| had[*of] < sizes[*of]).map(|of| had[of]).min();
                if let Some(least) = least {
                    prop_assert!(had.iter().all(|turns| *turns <= least + 1), "{had:?}");
                }
            }
        }
    }
}
