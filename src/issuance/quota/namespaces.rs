//! What each namespace has of a day's orders.
//!
//! Blocks are reserved before anybody knows which namespaces will have them: a block of its own for
//! each would cost as many writes as there are namespaces. The status therefore tells, with each block,
//! how many orders each namespace had until then, and how many of the blocks are not counted yet.
//!
//! # Guarantees
//! - What is counted for a namespace stays within the limit, whoever reserves next.
//! - What a process had not counted when it ended, or when another took over, is held against no
//!   namespace: held against each, a few hand-overs would stop all of them for the day. A namespace has
//!   at most what its limit says, and one block more for each such hand-over on that day.
//! - A process counts its own block itself, and once the status tells that it is not counted. Where
//!   grants went back it has more than one block: of what it has it draws one block's worth, and then
//!   the status is told again, so that a hand-over forgets no more.

use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// What another process told last, as far as it is known here: it is in these counts.
    heard: Option<Arc<DayBudget>>,
    /// The status tells of all that is left of this process's block.
    is_told: bool,
    /// How often it was told.
    tells: u32,
    /// So many were counted since.
    untold: u32,
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
            (Some(status), Some(memory)) if status.by == me || memory.has_heard(status) => {
                memory.clone()
            }
            (Some(status), memory) => Self::of(known.day, status).beside(memory),
            (None, Some(memory)) => memory.clone(),
            (None, None) => Self::of(known.day, &DayBudget::default()),
        }
    }

    fn of(day: Date, status: &DayBudget) -> Self {
        Self {
            day,
            counted: status.namespaces.clone(),
            others: status.others,
            heard: Some(Arc::new(status.clone())),
            is_told: false,
            tells: 0,
            untold: 0,
        }
    }

    /// What another process told is known here. How much is reserved says nothing of that: who draws
    /// on what went back tells again without a new block.
    fn has_heard(&self, status: &DayBudget) -> bool {
        self.heard.as_deref() == Some(status)
    }

    /// With what this process counted before another one wrote.
    fn beside(mut self, memory: Option<&Self>) -> Self {
        let Some(memory) = memory else { return self };
        self.others = self.others.max(memory.others);
        for (namespace, count) in &memory.counted {
            let known = self.counted.get(namespace).copied().unwrap_or_default();
            self.add(namespace, count.saturating_sub(known));
        }
        // Another has told of what it knew: what this process counted before is told no more.
        let (is_told, untold) = (memory.is_told, memory.untold);
        Self { is_told, untold, tells: memory.tells.saturating_add(1), ..self }
    }

    /// The day it counts.
    #[must_use]
    pub fn day(&self) -> Date {
        self.day
    }

    /// How often the status was told of what this process counted.
    #[must_use]
    pub fn tells(&self) -> u32 {
        self.tells
    }

    /// Whether more may be drawn before the status is written once more, in blocks of this size.
    #[must_use]
    pub fn is_told(&self, block: u32) -> bool {
        self.is_told && self.untold < block
    }

    /// Whether a namespace may have one more.
    #[must_use]
    pub fn may(&self, namespace: &str, limit: u32) -> bool {
        let own = match self.counted.get(namespace) {
            Some(own) => *own,
            None if self.counted.len() < NAMESPACES => 0,
            None => self.others,
        };
        own < limit
    }

    /// Counts one for a namespace, out of the block.
    pub fn count(&mut self, namespace: &str) {
        self.add(namespace, 1);
        self.untold = self.untold.saturating_add(1);
    }

    fn add(&mut self, namespace: &str, more: u32) {
        if self.counted.len() < NAMESPACES || self.counted.contains_key(namespace) {
            *self.counted.entry(namespace.to_owned()).or_default() += more;
        } else {
            self.others += more;
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
        self.untold = self.untold.saturating_sub(u32::from(!is_told));
    }

    /// What is written with a block. Of what is reserved, all that is not counted may be anybody's.
    #[must_use]
    pub fn stored(&self, next: &Reserved, by: &str) -> DayBudget {
        let counted = self.counted.values().fold(self.others, |sum, one| sum.saturating_add(*one));
        DayBudget {
            namespaces: self.counted.clone(),
            others: self.others,
            uncounted: next.reserved.saturating_sub(counted),
            ..next.stored(by)
        }
    }

    /// As it is once that is written. What has gone back in the meantime is yet to be told.
    #[must_use]
    pub fn told(self, written: &DayBudget) -> Self {
        let is_told = self.counted == written.namespaces && self.others == written.others;
        let tells = self.tells.saturating_add(1);
        Self { is_told, tells, untold: 0, ..self }
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
    fn a_namespace_has_what_is_counted_for_it() {
        let rows = [
            ("room", 3, 0, "shop", true),
            ("none", 5, 0, "shop", false),
            ("what dead processes had not counted stops nobody", 3, 17, "shop", true),
            ("whoever it is", 3, 17, "web", true),
            ("another has its own count", 5, 0, "web", true),
        ];
        for (name, shop, uncounted, namespace, may) in rows {
            let status = status(shop, uncounted, "another");
            let shares = Shares::known(&reserved(20, 0), Some(&status), None, "me");
            assert_eq!(shares.may(namespace, 5), may, "{name}");
            assert!(!shares.is_told(1), "{name}: nothing is drawn before it is told");
        }
        let yesterday = DayBudget { day: "2026-05-31".to_owned(), ..status(5, 5, "another") };
        let shares = Shares::known(&reserved(0, 0), Some(&yesterday), None, "me");
        assert!(shares.may("shop", 5), "yesterday is over");
    }

    #[test]
    fn who_was_before_the_other_keeps_its_own_count() {
        let mine = Shares::known(&reserved(20, 5), None, None, "me");
        let mut mine = mine.told(&reserved(20, 5).stored("me"));
        ["shop", "shop", "shop", "web"].iter().for_each(|namespace| mine.count(namespace));
        let theirs = DayBudget { reserved: 25, ..status(2, 18, "another") };
        let known = reserved(25, 1);
        let shares = Shares::known(&known, Some(&theirs), Some(&mine), "me");
        assert!(shares.may("shop", 4) && !shares.may("shop", 3), "{shares:?}");
        let stored = shares.stored(&known, "me");
        assert_eq!((stored.namespaces["web"], stored.uncounted), (1, 21), "all that is reserved");
    }

    #[test]
    fn what_goes_back_while_a_block_is_written_is_told_with_the_next() {
        let mut shares = Shares::known(&reserved(5, 0), None, None, "me");
        shares.count("shop");
        let written = shares.stored(&reserved(10, 5), "me");
        assert!(shares.clone().told(&written).is_told(1));
        shares.give_back("shop", false);
        assert!(!shares.told(&written).is_told(1));
    }

    #[test]
    fn one_block_s_worth_is_drawn_before_the_status_is_told_again() {
        let shares = Shares::known(&reserved(20, 8), None, None, "me");
        let written = shares.stored(&reserved(20, 8), "me");
        let mut shares = shares.told(&written);
        shares.count("shop");
        assert!(shares.is_told(2), "one of two");
        shares.count("shop");
        assert!(!shares.is_told(2), "two of two, though eight went back");
        shares.give_back("shop", false);
        assert!(shares.is_told(2), "what was not told and goes back may be another's");
        shares.count("web");
        let written = shares.stored(&reserved(20, 6), "me");
        assert!(shares.told(&written).is_told(2), "the status has told of both");
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

    /// What a look at the limits of a day comes to.
    enum Looked {
        /// The day, or the namespace's part of it, is spent.
        Stopped { is_of_namespace: bool },
        /// The grant is drawn.
        Drew(Reserved, Shares),
        /// The status has to tell this first.
        Tells(Reserved, Shares),
    }

    /// A day's limit that stops nobody.
    const PER_DAY: u32 = 1000;

    /// One look of the process `me` for a namespace.
    fn look(
        (me, memory): (&str, Option<(Reserved, Shares)>),
        status: Option<&DayBudget>,
        namespace: &str,
        limit: u32,
    ) -> Looked {
        let (own, shares) = memory.unzip();
        let known = Reserved::known(day(), status, own);
        let mut shares = Shares::known(&known, status, shares.as_ref(), me);
        if !shares.may(namespace, limit) {
            return Looked::Stopped { is_of_namespace: true };
        }
        match known.draw(PER_DAY, Some(limit)) {
            Draw::Spent(_) => Looked::Stopped { is_of_namespace: false },
            Draw::FromBlock(rest) if shares.is_told(Reserved::block(PER_DAY, Some(limit))) => {
                shares.count(namespace);
                Looked::Drew(rest, shares)
            }
            Draw::FromBlock(_) => Looked::Tells(known, shares),
            Draw::Reserve(next) => Looked::Tells(next, shares),
        }
    }

    /// Processes that lead one after the other, with what each remembers.
    #[derive(Default)]
    struct Processes {
        status: Option<DayBudget>,
        memories: BTreeMap<&'static str, (Reserved, Shares)>,
    }

    impl Processes {
        /// Draws one for a namespace of 40 at most; as of which word to the status.
        fn draw(&mut self, me: &'static str, namespace: &str) -> Option<u32> {
            loop {
                let memory = self.memories.get(me).cloned();
                match look((me, memory), self.status.as_ref(), namespace, 40) {
                    Looked::Stopped { .. } => return None,
                    Looked::Drew(own, shares) => {
                        let as_of = shares.tells();
                        self.memories.insert(me, (own, shares));
                        return Some(as_of);
                    }
                    Looked::Tells(next, shares) => {
                        let written = shares.stored(&next, me);
                        self.memories.insert(me, (next, shares.told(&written)));
                        self.status = Some(written);
                    }
                }
            }
        }

        fn give_back(&mut self, me: &str, namespace: &str, as_of: u32) {
            let (own, shares) = self.memories.get_mut(me).expect("it has drawn");
            own.unspent += 1;
            shares.give_back(namespace, as_of != shares.tells());
        }

        fn reserved(&self) -> u32 {
            self.status.as_ref().map_or(0, |status| status.reserved)
        }
    }

    #[test]
    fn what_another_told_without_a_new_block_is_known_to_who_leads_again() {
        let mut all = Processes::default();
        let drawn: Vec<_> = (0..32).filter_map(|_| all.draw("a", "shop")).collect();
        drawn.into_iter().for_each(|as_of| all.give_back("a", "shop", as_of));
        assert!(all.draw("a", "web").is_some());
        assert!(all.draw("b", "shop").is_some());
        assert_eq!(all.reserved(), 50);
        let by_a = (0..39).filter(|_| all.draw("a", "shop").is_some()).count();
        assert_eq!((by_a, all.reserved()), (39, 50), "of what had gone back");
        let by_b = (0..100).filter(|_| all.draw("b", "shop").is_some()).count();
        let had = 1 + by_a + by_b;
        assert!(had <= 40 + 2 * 10, "{had} of 40, where a block of 10 was lost twice at most");
    }

    #[test]
    fn what_another_told_is_counted_once() {
        let theirs = status(2, 18, "another");
        let known = reserved(20, 5);
        let mine = Shares::known(&known, Some(&theirs), None, "me");
        let mut mine = mine.told(&DayBudget { by: "me".to_owned(), ..theirs.clone() });
        mine.count("shop");
        mine.give_back("shop", false);
        mine.give_back("shop", true);
        let shares = Shares::known(&known, Some(&theirs), Some(&mine), "me");
        assert_eq!(shares, mine, "the cache is behind, and what went back stays so");
    }

    proptest! {
        /// Leaders that come and go, die with what is left of their blocks, come again with what they
        /// knew, lose answers, and give grants back: a namespace has its limit, and one block more for
        /// each hand-over at most. Only its own orders stop it.
        #[test]
        fn a_namespace_has_its_limit_and_a_block_more_for_each_hand_over_at_most(
            limit in 1_u32..12,
            steps in prop::collection::vec((0_u8..12, 0_usize..3), 1..300),
        ) {
            let names = ["p0", "p1", "p2"];
            let namespaces = ["a", "b", "c"];
            let mut status: Option<DayBudget> = None;
            let mut memories: [Option<(Reserved, Shares)>; 3] = [None, None, None];
            // Grants under way: for a namespace, and as of which word to the status.
            let mut held: Vec<(&str, u32)> = Vec::new();
            let (mut had, mut unused) = (BTreeMap::new(), BTreeMap::new());
            let (mut leader, mut more) = (0, 0);
            let block = Reserved::block(PER_DAY, Some(limit));
            for (what, of) in steps {
                let namespace = namespaces[of];
                let memory = memories[leader].clone();
                match what {
                    // Another leads: the one that was before, or a new process.
                    0 | 1 => {
                        memories[leader] = memory.filter(|_| what == 0);
                        held.drain(..).for_each(|(of, _)| *unused.entry(of).or_insert(0) += 1);
                        more += block;
                        leader = of;
                        continue;
                    }
                    // A grant is used.
                    2 => {
                        held.pop().iter().for_each(|(of, _)| *had.entry(*of).or_insert(0) += 1);
                        continue;
                    }
                    // A grant goes back.
                    3 => {
                        if let (Some((of, as_of)), Some((own, shares))) =
                            (held.pop(), memories[leader].as_mut())
                        {
                            own.unspent += 1;
                            shares.give_back(of, as_of != shares.tells);
                            *unused.entry(of).or_insert(0) += 1;
                        }
                        continue;
                    }
                    _ => {}
                }
                let me = names[leader];
                let (next, shares) = match look((me, memory), status.as_ref(), namespace, limit) {
                    Looked::Stopped { is_of_namespace: false } => continue,
                    Looked::Stopped { is_of_namespace: true } => {
                        let under_way = held.iter().filter(|(of, _)| *of == namespace).count();
                        let of =
                            |sums: &BTreeMap<&str, u32>| sums.get(namespace).copied().unwrap_or(0);
                        let own = of(&had) + of(&unused) + u32::try_from(under_way).expect("few");
                        prop_assert!(own >= limit, "{namespace} has {own} of {limit}: stopped");
                        continue;
                    }
                    Looked::Drew(rest, shares) => {
                        held.push((namespace, shares.tells));
                        memories[leader] = Some((rest, shares));
                        continue;
                    }
                    Looked::Tells(next, shares) => (next, shares),
                };
                let written = shares.stored(&next, me);
                status = Some(written.clone());
                // Or its answer is lost.
                if what != 4 {
                    memories[leader] = Some((next, shares.told(&written)));
                }
            }
            for (namespace, had) in had {
                prop_assert!(had <= limit + more, "{had} of {limit} and {more} for {namespace}");
            }
        }
    }
}
