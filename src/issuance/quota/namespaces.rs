//! What each namespace has of a day's orders.
//!
//! Blocks are reserved before anybody knows which namespaces will have them: a block of its own for
//! each would cost as many writes as there are namespaces. The status therefore tells, with each block,
//! how many orders each namespace had until then, and how many of the blocks are not counted yet.
//!
//! # Guarantees
//! - A namespace has at most as many orders as are counted for it, and all that are not counted: that
//!   sum stays within the limit, whatever dies, and whoever reserves next.
//! - A process counts its own block itself, and once the status tells that it is not counted.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::Reserved;
use crate::api::DayBudget;

/// So many namespaces are counted one by one. All further ones share one count.
const NAMESPACES: usize = 500;

/// The orders of one day, by namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shares {
    day: Date,
    counted: BTreeMap<String, u32>,
    others: u32,
    /// Orders of blocks that others reserved and have not counted: whoever's they are.
    foreign: u32,
    /// What was reserved by all when the status told of this process's block last.
    reserved: u32,
    /// The status tells of all that is left of this process's block.
    is_told: bool,
}

impl Shares {
    /// What the status says, and what this process knows beyond it. `known` is what is reserved, and
    /// `me` the name under which this process reserves.
    #[must_use]
    pub fn known(
        known: &Reserved,
        status: Option<&DayBudget>,
        memory: Option<&Self>,
        me: &str,
    ) -> Self {
        let is_today =
            |budget: &&DayBudget| budget.day.parse().ok().is_none_or(|day: Date| day == known.day);
        let status = status.filter(is_today);
        let memory = memory.filter(|memory| memory.day == known.day);
        match (status, memory) {
            (Some(status), Some(memory))
                if status.by == me || status.reserved <= memory.reserved =>
            {
                memory.clone()
            }
            // What others have not counted has in it what this process had not, when they looked.
            (Some(status), memory) => Self {
                day: known.day,
                counted: status.namespaces.clone(),
                others: status.others,
                foreign: status.uncounted,
                reserved: status.reserved,
                is_told: memory.is_some_and(|memory| memory.is_told),
            },
            (None, Some(memory)) => memory.clone(),
            (None, None) => Self {
                day: known.day,
                counted: BTreeMap::new(),
                others: 0,
                foreign: 0,
                reserved: 0,
                is_told: false,
            },
        }
    }

    /// The day it counts.
    #[must_use]
    pub fn day(&self) -> Date {
        self.day
    }

    /// What was reserved by all when the status told of this process's block last.
    #[must_use]
    pub fn reserved(&self) -> u32 {
        self.reserved
    }

    /// Whether the block may be drawn on before the status is written once more.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.is_told
    }

    /// Whether a namespace may have one more.
    #[must_use]
    pub fn may(&self, namespace: &str, limit: u32) -> bool {
        let own = match self.counted.get(namespace) {
            Some(own) => *own,
            None if self.counted.len() < NAMESPACES => 0,
            None => self.others,
        };
        own.saturating_add(self.foreign) < limit
    }

    /// Counts one for a namespace, out of the block.
    pub fn count(&mut self, namespace: &str) {
        if self.counted.len() < NAMESPACES || self.counted.contains_key(namespace) {
            *self.counted.entry(namespace.to_owned()).or_default() += 1;
        } else {
            self.others += 1;
        }
    }

    /// Takes one back that was not submitted. `is_told`: the status has told since that it was counted,
    /// so that it has to tell again before anybody else may have it.
    pub fn give_back(&mut self, namespace: &str, is_told: bool) {
        match self.counted.get_mut(namespace) {
            Some(own) => *own = own.saturating_sub(1),
            None => self.others = self.others.saturating_sub(1),
        }
        self.is_told &= !is_told;
    }

    /// What is written with a block.
    #[must_use]
    pub fn stored(&self, next: &Reserved, by: &str) -> DayBudget {
        DayBudget {
            namespaces: self.counted.clone(),
            others: self.others,
            uncounted: self.foreign.saturating_add(next.unspent),
            ..next.stored(by)
        }
    }

    /// As it is once that is written.
    #[must_use]
    pub fn told(self, next: &Reserved) -> Self {
        Self { reserved: next.reserved, is_told: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::issuance::quota::Draw;

    fn day() -> Date {
        "2026-06-01".parse().expect("a day")
    }

    fn reserved(reserved: u32, unspent: u32) -> Reserved {
        Reserved { day: day(), reserved, unspent }
    }

    fn status(shop: u32, uncounted: u32, by: &str) -> DayBudget {
        let namespaces = [("shop".to_owned(), shop)].into();
        DayBudget { namespaces, uncounted, ..reserved(20, 0).stored(by) }
    }

    #[test]
    fn a_namespace_has_what_is_counted_for_it_and_all_that_is_not_counted() {
        let rows = [
            ("room", 3, 0, "shop", true),
            ("none", 5, 0, "shop", false),
            ("what a dead process had may have been its own", 3, 2, "shop", false),
            ("or anybody's", 3, 5, "web", false),
            ("another has its own count", 5, 0, "web", true),
        ];
        for (name, shop, uncounted, namespace, may) in rows {
            let status = status(shop, uncounted, "another");
            let shares = Shares::known(&reserved(20, 0), Some(&status), None, "me");
            assert_eq!(shares.may(namespace, 5), may, "{name}");
            assert!(!shares.is_told(), "{name}: nothing is drawn before it is told");
        }
        let yesterday = DayBudget { day: "2026-05-31".to_owned(), ..status(5, 5, "another") };
        let shares = Shares::known(&reserved(0, 0), Some(&yesterday), None, "me");
        assert!(shares.may("shop", 5), "yesterday is over");
    }

    #[test]
    fn the_namespaces_beyond_five_hundred_share_one_count() {
        let mut shares = Shares::known(&reserved(0, 0), None, None, "me");
        (0..600).for_each(|n| shares.count(&format!("n{n}")));
        let stored = shares.stored(&reserved(600, 0), "me");
        assert_eq!((stored.namespaces.len(), stored.others), (500, 100));
        assert!(shares.may("n0", 2) && !shares.may("n599", 100) && !shares.may("new", 100));
        shares.give_back("n599", false);
        assert!(shares.may("new", 100));
    }

    proptest! {
        /// Processes that come and go, die with what is left of their blocks, lose answers, and give
        /// grants back: none of the namespaces has more than its limit.
        #[test]
        fn no_namespace_has_more_than_its_limit_whoever_dies(
            limit in 2_u32..12,
            steps in prop::collection::vec((0_usize..3, 0_u8..12, 0_usize..3), 1..300),
        ) {
            let names = ["p0", "p1", "p2"];
            let namespaces = ["a", "b", "c"];
            let mut status: Option<DayBudget> = None;
            let mut memories: [Option<(Reserved, Shares)>; 3] = [None, None, None];
            // Grants under way: of a process, for a namespace, and as of which reservation.
            let mut held: Vec<(usize, &str, u32)> = Vec::new();
            let mut had = BTreeMap::<&str, u32>::new();
            for (process, what, of) in steps {
                let namespace = namespaces[of];
                let memory = memories[process].clone();
                if what == 0 {
                    memories[process] = None;
                    held.retain(|(holder, ..)| *holder != process);
                    continue;
                }
                if what == 11 {
                    // A grant is used.
                    if let Some(at) = held.iter().position(|(holder, ..)| *holder == process) {
                        *had.entry(held.remove(at).1).or_default() += 1;
                    }
                    continue;
                }
                let (own, shares) = memory.unzip();
                if what == 1 {
                    // A grant goes back.
                    let at = held.iter().position(|(holder, ..)| *holder == process);
                    if let (Some(at), Some(mut own), Some(mut shares)) = (at, own, shares) {
                        let (_, namespace, as_of) = held.remove(at);
                        own.unspent += 1;
                        shares.give_back(namespace, as_of != shares.reserved);
                        memories[process] = Some((own, shares));
                    }
                    continue;
                }
                let known = Reserved::known(day(), status.as_ref(), own);
                let mut shares = Shares::known(&known, status.as_ref(), shares.as_ref(), names[process]);
                if !shares.may(namespace, limit) {
                    continue;
                }
                let next = match known.draw(60, Some(limit)) {
                    Draw::Spent(_) => continue,
                    Draw::FromBlock(rest) if shares.is_told() => {
                        shares.count(namespace);
                        held.push((process, namespace, shares.reserved));
                        memories[process] = Some((rest, shares));
                        if what > 3 {
                            // It is submitted.
                            held.pop();
                            *had.entry(namespace).or_default() += 1;
                        }
                        continue;
                    }
                    Draw::FromBlock(_) => known,
                    Draw::Reserve(next) => next,
                };
                status = Some(shares.stored(&next, names[process]));
                if what != 2 {
                    memories[process] = Some((next, shares.told(&next)));
                }
            }
            for (namespace, had) in had {
                prop_assert!(had <= limit, "{had} of {limit} for {namespace}");
            }
        }
    }
}
