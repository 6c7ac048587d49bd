//! How many runs are under way at once, and whose run is next.
//!
//! A run keeps its objects, its key and its connections in memory while it waits, and kube's
//! controller looks at all runs under way whenever one of them ends: both must not grow with what
//! tenants create. So a run has a place, or it does not begin.
//!
//! A place is not a turn (`crate::turns`), so that there are two rings: a run is what may ask for a
//! turn, and a place is what it needs before it begins.
//!
//! # Who has a place at once
//! - A namespace that has only few runs under way ([`Bounds::sure`]), whatever the others do.
//! - Others as long as there is room in all, in their namespace, and at their issuer. A CA that never
//!   answers holds its runs for as long as calls to it may take: that costs the requests of its issuer
//!   their turns, at worst those of its namespace, and nobody else.
//!
//! Together that is at most [`Bounds::all`] runs and the sure ones of each namespace. A run that waits
//! for the pace of its issuer, for one of its few calls or for a key keeps its place, and the bound of
//! the issuer keeps such runs few.
//!
//! # Who waits
//! Who finds no place costs nothing but a line in this table: the run ends, and the object is woken when
//! its place is free. That place is kept for it until it comes, so nobody is overtaken. Namespaces take
//! turns, in each of them its issuers do, and at one issuer renewals that are due go first, by the end
//! of their certificates; others in the order in which they came. Whose renewal becomes due while it
//! waits comes again then. Nothing depends on chance or on the
//! order of a hash table.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::controller::issuer::key::IssuerKey;

/// How many runs may be under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// In all.
    pub(super) all: usize,
    /// For one namespace.
    pub(super) namespace: usize,
    /// For one issuer.
    pub(super) issuer: usize,
    /// So many of each namespace never wait.
    pub(super) sure: usize,
}

/// Of requests. A CA is called by so many at once as an issuer may have here.
pub(super) const OF_REQUESTS: Bounds = Bounds { all: 256, namespace: 128, issuer: 32, sure: 4 };
/// Of issuers: an issuer has one run.
pub(super) const OF_ISSUERS: Bounds = Bounds { all: 64, namespace: 32, issuer: 1, sure: 2 };

/// What a run counts against.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Share {
    /// Of the object; empty where it is in none.
    pub(super) namespace: String,
    pub(super) issuer: IssuerKey,
}

/// An object whose run is to begin.
#[derive(Clone, Debug)]
pub(super) struct Entry<W> {
    pub(super) who: W,
    pub(super) share: Share,
    /// The end of its certificate, where its renewal is due.
    pub(super) due: Option<Timestamp>,
    /// So long until it is due, where that is known and still ahead.
    pub(super) due_in: Option<Duration>,
}

/// Who comes first at an issuer: the end of a certificate whose renewal is due, and when it came.
type Rank = (Timestamp, u64);

/// Where an object is that has no run under way.
#[derive(Clone, Debug)]
enum Standing {
    Waits(Share, Rank),
    /// Its place is counted, and it was woken.
    Called(Share),
}

/// Those of one namespace that wait.
#[derive(Debug)]
struct Line<W> {
    by_issuer: BTreeMap<IssuerKey, BTreeMap<Rank, W>>,
    /// Whose turn it was last.
    last: Option<IssuerKey>,
}

/// Who has a place, and who waits: decisions alone.
#[derive(Debug)]
struct Table<W> {
    bounds: Bounds,
    under_way: usize,
    of_namespaces: BTreeMap<String, usize>,
    of_issuers: BTreeMap<IssuerKey, usize>,
    lines: BTreeMap<String, Line<W>>,
    standing: BTreeMap<W, Standing>,
    /// The namespace whose turn it was last.
    last: String,
    came: u64,
}

impl<W: Clone + Ord> Table<W> {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            under_way: 0,
            of_namespaces: BTreeMap::new(),
            of_issuers: BTreeMap::new(),
            lines: BTreeMap::new(),
            standing: BTreeMap::new(),
            last: String::new(),
            came: 0,
        }
    }

    /// The share that the run of `who` counts against, if it has a place now. Otherwise it waits: as
    /// what it is by now, which may be at another issuer than before, or due. Where it was called to a
    /// place at another issuer, that is given to whoever is next: they are told as well.
    fn enter(
        &mut self,
        Entry { who, share, due, due_in: _ }: Entry<W>,
        is_there: impl Fn(&W) -> bool,
    ) -> (Option<Share>, Vec<W>) {
        let end = due.unwrap_or(Timestamp::MAX);
        let (mut came, mut called) = (None, Vec::new());
        match self.standing.remove(&who) {
            Some(Standing::Called(before)) if before == share => return (Some(share), called),
            Some(Standing::Called(before)) => {
                self.leave(&before);
                called = self.call(is_there);
            }
            Some(Standing::Waits(before, rank)) => {
                self.take(&before.namespace, &before.issuer, rank);
                // At another issuer it is the last that came.
                came = (before == share).then_some(rank.1);
            }
            None => {}
        }
        if self.has_room(&share.namespace, &share.issuer) {
            self.count(&share);
            return (Some(share), called);
        }
        let rank = (end, came.unwrap_or_else(|| self.number()));
        let line = self.lines.entry(share.namespace.clone());
        let line = line.or_insert_with(|| Line { by_issuer: BTreeMap::new(), last: None });
        line.by_issuer.entry(share.issuer.clone()).or_default().insert(rank, who.clone());
        self.standing.insert(who, Standing::Waits(share, rank));
        (None, called)
    }

    fn number(&mut self) -> u64 {
        self.came += 1;
        self.came
    }

    /// A run has ended.
    fn leave(&mut self, share: &Share) {
        self.under_way = self.under_way.saturating_sub(1);
        less(&mut self.of_namespaces, &share.namespace);
        less(&mut self.of_issuers, &share.issuer);
    }

    /// `who` is gone, or nothing is done for it now.
    fn forget(&mut self, who: &W) {
        match self.standing.remove(who) {
            Some(Standing::Waits(share, rank)) => self.take(&share.namespace, &share.issuer, rank),
            Some(Standing::Called(share)) => self.leave(&share),
            None => {}
        }
    }

    /// Gives the places that are free to those whose turn it is, as far as they are still there.
    fn call(&mut self, is_there: impl Fn(&W) -> bool) -> Vec<W> {
        let mut called = Vec::new();
        while let Some((share, rank, who)) = self.next() {
            self.take(&share.namespace, &share.issuer, rank);
            if !is_there(&who) {
                self.standing.remove(&who);
                continue;
            }
            self.last.clone_from(&share.namespace);
            if let Some(line) = self.lines.get_mut(&share.namespace) {
                line.last = Some(share.issuer.clone());
            }
            self.count(&share);
            self.standing.insert(who.clone(), Standing::Called(share));
            called.push(who);
        }
        called
    }

    /// Who waits and has room, by turns.
    fn next(&self) -> Option<(Share, Rank, W)> {
        after(&self.lines, Some(&self.last)).find_map(|(namespace, line)| {
            if !self.has_room_in(namespace) {
                return None;
            }
            let mut issuers = after(&line.by_issuer, line.last.as_ref());
            let (issuer, all) = issuers.find(|(issuer, _)| self.has_room(namespace, issuer))?;
            let (rank, who) = all.first_key_value()?;
            let share = Share { namespace: namespace.clone(), issuer: issuer.clone() };
            Some((share, *rank, who.clone()))
        })
    }

    fn has_room(&self, namespace: &str, issuer: &IssuerKey) -> bool {
        let at_issuer = self.of_issuers.get(issuer).copied().unwrap_or_default();
        self.is_sure(namespace) || self.has_room_in(namespace) && at_issuer < self.bounds.issuer
    }

    /// Whether there is room for a run of the namespace, at whichever issuer.
    fn has_room_in(&self, namespace: &str) -> bool {
        self.is_sure(namespace)
            || self.in_namespace(namespace) < self.bounds.namespace
                && self.under_way < self.bounds.all
    }

    fn is_sure(&self, namespace: &str) -> bool {
        self.in_namespace(namespace) < self.bounds.sure
    }

    fn in_namespace(&self, namespace: &str) -> usize {
        self.of_namespaces.get(namespace).copied().unwrap_or_default()
    }

    fn count(&mut self, share: &Share) {
        self.under_way += 1;
        *self.of_namespaces.entry(share.namespace.clone()).or_default() += 1;
        *self.of_issuers.entry(share.issuer.clone()).or_default() += 1;
    }

    /// Takes somebody out of the line.
    fn take(&mut self, namespace: &str, issuer: &IssuerKey, rank: Rank) {
        let Some(line) = self.lines.get_mut(namespace) else { return };
        if let Some(all) = line.by_issuer.get_mut(issuer) {
            all.remove(&rank);
            if all.is_empty() {
                line.by_issuer.remove(issuer);
            }
        }
        if line.by_issuer.is_empty() {
            self.lines.remove(namespace);
        }
    }
}

/// All entries, from the one behind `last` on, and around.
fn after<'a, K: Ord, V>(
    map: &'a BTreeMap<K, V>,
    last: Option<&K>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let first = last.map_or(Bound::Unbounded, Bound::Excluded);
    let rest = last.map(|last| map.range::<K, _>((Bound::Unbounded, Bound::Included(last))));
    map.range::<K, _>((first, Bound::Unbounded)).chain(rest.into_iter().flatten())
}

fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The places of the runs of one kind of object.
pub(super) struct Places<W> {
    table: Mutex<Table<W>>,
    wake: Box<dyn Fn(&W) + Send + Sync>,
    is_there: Box<dyn Fn(&W) -> bool + Send + Sync>,
}

/// A place of a run. Dropped, it is free.
pub(super) struct Place<W: Clone + Ord> {
    places: Arc<Places<W>>,
    share: Share,
}

impl<W: Clone + Ord> Places<W> {
    /// `wake` has the run of an object begin, if `is_there` still finds it.
    pub(super) fn new(
        bounds: Bounds,
        wake: impl Fn(&W) + Send + Sync + 'static,
        is_there: impl Fn(&W) -> bool + Send + Sync + 'static,
    ) -> Self {
        let table = Mutex::new(Table::new(bounds));
        Self { table, wake: Box::new(wake), is_there: Box::new(is_there) }
    }

    /// A place for a run, unless the object has to wait: then it is woken when there is one. It also
    /// comes again after the time that is returned, where that is known: it goes before others then.
    pub(super) fn enter(self: &Arc<Self>, entry: Entry<W>) -> Result<Place<W>, Option<Duration>> {
        let due_in = entry.due_in;
        // The lock ends with the line: to wake somebody may take it.
        let (share, called) = self.table().enter(entry, &self.is_there);
        called.iter().for_each(&self.wake);
        let share = share.ok_or(due_in)?;
        Ok(Place { places: Arc::clone(self), share })
    }

    /// `who` is gone from the caches, or this process does not act.
    pub(super) fn forget(&self, who: &W) {
        self.then_call(|table| table.forget(who));
    }

    fn then_call(&self, change: impl FnOnce(&mut Table<W>)) {
        let called = {
            let mut table = self.table();
            change(&mut table);
            // Under the lock: who is deleted now is forgotten after it was called, or not called.
            table.call(&self.is_there)
        };
        called.iter().for_each(&self.wake);
    }

    fn table(&self) -> MutexGuard<'_, Table<W>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Clone + Ord> Drop for Place<W> {
    fn drop(&mut self) {
        self.places.then_call(|table| table.leave(&self.share));
    }
}

#[cfg(test)]
mod tests;
