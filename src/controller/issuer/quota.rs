//! Grants: the right to one submit at an issuer with limits, and a place among its open orders.
//!
//! # Guarantees
//! - Who looks at the limits and who takes a grant does so under one lock: no two runs get the same.
//! - What is granted of a day was reserved in the issuer's status before, on the condition of its
//!   resourceVersion. A block whose reservation is not known to be written is not spent.
//! - A submit needs what only a grant, or the absence of limits, makes ([`Spent`]). A grant that a run
//!   did not use goes back.
//! - Where more ask than there is room for, turns go by namespace ([`Queue`]). No look at the limits
//!   counts all requests.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;
use kube::ResourceExt as _;

use crate::api::{CertificateRequest, DayBudget, IssuerSpec, annotation};
use crate::ca::kind::AccountSettings;
use crate::ca::registry;
use crate::controller::cluster::stores::{Guarded, SecretMeta, Stores, in_order};
use crate::controller::issuer::key::IssuerKey;
use crate::controller::issuer::tally::{Place, Tally, end_of, name_of, version_of};
use crate::controller::memory::expectations::number;
use crate::issuance::quota::namespaces::Shares;
use crate::issuance::quota::{self, Draw, Reserved};
use crate::issuance::record::{Record, request_of};
use crate::issuance::{Limits, Withheld, waits_for};
use crate::turns::line::{Line, Rank};
use crate::turns::queue::{Kind, Left, Name, Queue, Room};
use crate::turns::{Turns, kept, midnight_after};

/// What this process knows of the limits of each issuer.
#[derive(Default)]
pub(in crate::controller) struct Quotas(Mutex<Books>);

#[derive(Default)]
struct Books {
    purses: HashMap<IssuerKey, Purse>,
    tally: Tally,
    /// Grants that went back since somebody asked: at which issuer, and of which namespace.
    returned: BTreeSet<(IssuerKey, String)>,
}

struct Purse {
    /// Of the issuer: another of the same name begins anew.
    uid: String,
    reserved: Option<Reserved>,
    /// What each namespace has of the day, where that is limited.
    shares: Option<Shares>,
    /// Requests that wait for one of the limits.
    queue: Queue,
    /// Requests whose namespace has had its orders of the day.
    held: Line<Name>,
    /// One reservation at a time.
    turn: Turns,
}

/// An issuer as a run sees it.
pub(in crate::controller) struct Limited<'a> {
    pub(in crate::controller) key: &'a IssuerKey,
    pub(in crate::controller) uid: &'a str,
    pub(in crate::controller) limits: Limits,
    pub(in crate::controller) budget: Option<&'a DayBudget>,
    /// The name under which this process reserves.
    pub(in crate::controller) claimant: &'a str,
}

/// What a run may use.
#[derive(Default)]
pub(in crate::controller) struct Allowance {
    grant: Option<Grant>,
    place: Option<Taken>,
}

/// The right to one submit. Dropped, it goes back.
pub(in crate::controller) struct Grant(Option<Drawn>);

/// Drawn on the orders of a day.
struct Drawn {
    quotas: Arc<Quotas>,
    key: IssuerKey,
    uid: String,
    day: Date,
    namespace: String,
    /// How often the status had been told by then.
    as_of: u32,
    /// It is of what is kept of the day for what cannot wait.
    is_kept: bool,
}

/// A place among the open orders, for the length of a run. What the run wrote tells afterwards.
struct Taken {
    quotas: Arc<Quotas>,
    name: Name,
    /// Version of the request when it was taken.
    version: u64,
    /// The run may have used its grant.
    has_sent: bool,
}

/// A grant was used up: what a submit takes.
#[derive(Debug)]
pub(in crate::controller) struct Spent(());

impl Grant {
    /// Uses it up.
    pub(in crate::controller) fn spend(mut self) -> Spent {
        self.0 = None;
        Spent(())
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let Some(drawn) = self.0.take() else { return };
        let Drawn { quotas, key, uid, day, namespace, as_of, is_kept } = drawn;
        let mut books = quotas.books();
        let Books { purses, returned, .. } = &mut *books;
        let purse = purses.get_mut(&key).filter(|purse| purse.uid == uid);
        let Some(Purse { reserved: Some(reserved), shares, queue, .. }) = purse else { return };
        if reserved.day == day {
            reserved.unspent += 1;
            if is_kept {
                queue.give_back(&namespace);
            }
            for shares in shares.iter_mut().filter(|shares| shares.day() == day) {
                shares.give_back(&namespace, as_of != shares.tells());
            }
            returned.insert((key, namespace));
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let tally = &mut self.quotas.books().tally;
        if tally.place(&self.name).is_none_or(|place| place.version.is_some()) {
            return;
        }
        // The run may have made an order: the next version of the request tells, or its next run.
        let version = Some(self.version.saturating_add(1));
        let may_be = Place { is_open: true, version };
        tally.set_place(&self.name, (self.has_sent && std::thread::panicking()).then_some(may_be));
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        // A run that still has its grant has sent nothing: it needs no place, however it ended.
        let has_sent = self.grant.is_none();
        self.place.iter_mut().for_each(|place| place.has_sent = has_sent);
    }
}

impl Allowance {
    /// Gives a grant back that has lapsed and is of no use any more.
    pub(super) fn give_back(&mut self) {
        drop(self.grant.take());
    }

    /// The grant for a submit now; nothing where none was taken, or it was for a day that has ended.
    pub(in crate::controller) fn take(&mut self, limits: Limits, now: Timestamp) -> Option<Grant> {
        if !limits.need_grant() {
            return Some(Grant(None));
        }
        let today = quota::day_of(now);
        let is_good = |grant: &Grant| grant.0.as_ref().is_none_or(|drawn| drawn.day >= today);
        self.grant.take().filter(is_good)
    }
}

impl Quotas {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an issuer that is gone.
    pub(in crate::controller) fn forget(&self, key: &IssuerKey) {
        self.books().purses.remove(key);
    }

    /// Takes a request as the cache has it now. Who waited for what it leaves is returned.
    pub(in crate::controller) fn note(
        &self,
        request: &Guarded<CertificateRequest>,
        is_gone: bool,
    ) -> Vec<Name> {
        let mut books = self.books();
        let name = (request.namespace().unwrap_or_default(), request.name_any());
        let mut next = Vec::new();
        match &request.0 {
            Ok(request) if !is_gone => {
                let before = books.tally.note(request);
                let purse = before.and_then(|before| books.purses.get_mut(&before));
                // Who has gone to another issuer holds up nobody at the one before.
                next.extend(
                    purse.and_then(|purse| purse.leave(&name).then(|| purse.queue.first())?),
                );
            }
            Ok(_) | Err(_) => {
                books.tally.gone(&name);
                for purse in books.purses.values_mut() {
                    purse.leave(&name);
                }
            }
        }
        next.extend(books.next());
        next
    }

    /// Takes the record of a request's order as the cache has it now.
    pub(in crate::controller) fn note_record(
        &self,
        record: &SecretMeta,
        is_gone: bool,
    ) -> Vec<Name> {
        let name = record.name_any();
        let Some(request) = request_of(&name) else { return Vec::new() };
        let name = (record.namespace().unwrap_or_default(), request.to_owned());
        let mut books = self.books();
        if is_gone {
            books.tally.record_gone(&name);
        } else {
            let version = number(record.resource_version().as_deref()).unwrap_or_default();
            let reference = record.annotations().get(annotation::ORDER_REFERENCE);
            books.tally.note_record(&name, version, reference.map(String::as_str));
        }
        books.next()
    }

    /// Takes the record of a request's order as a run has it, before the cache does.
    pub(in crate::controller) fn note_order(
        &self,
        (namespace, name): (&str, &str),
        record: &Record,
    ) {
        let version = number(Some(&record.resource_version)).unwrap_or_default();
        let reference = record.next.order.reference.as_str();
        let name = (namespace.to_owned(), name.to_owned());
        self.books().tally.note_record(&name, version, Some(reference));
    }

    /// Takes a target as the cache has it now.
    pub(in crate::controller) fn note_target(
        &self,
        secret: &SecretMeta,
        is_gone: bool,
    ) -> Vec<Name> {
        let mut books = self.books();
        books.tally.note_target(secret, is_gone);
        books.next()
    }

    /// The limit that stands in the way of a request, as far as it is known without asking anybody.
    /// Whose turn it is beside it is added to `called`.
    pub(in crate::controller) fn withheld(
        &self,
        stores: &Stores,
        issuer: &Limited<'_>,
        request: &CertificateRequest,
        now: Timestamp,
        called: &mut Vec<Name>,
    ) -> Option<Withheld> {
        self.books().check(stores, issuer, request, now, called).err()
    }

    pub(super) fn turn(&self, stores: &Stores, issuer: &Limited<'_>) -> Turns {
        self.books().purse(stores, issuer).turn.clone()
    }

    /// Takes a grant, and a place where the run has none; whether that came about, or a block has to be
    /// reserved first. Whose turn it is beside it is added to `called`.
    pub(super) fn take(
        self: &Arc<Self>,
        stores: &Stores,
        issuer: &Limited<'_>,
        (request, now): (&CertificateRequest, Timestamp),
        allowance: &mut Allowance,
        called: &mut Vec<Name>,
    ) -> Result<bool, Withheld> {
        let mut books = self.books();
        let draw = books.check(stores, issuer, request, now, called)?;
        let (purse, tally) = books.parts(stores, issuer);
        let day = match draw {
            None => None,
            Some(Draw::FromBlock(rest)) => {
                purse.reserved = Some(rest);
                let namespace = request.namespace().unwrap_or_default();
                purse.shares.iter_mut().for_each(|shares| shares.count(&namespace));
                let as_of = purse.shares.as_ref().map_or(0, Shares::tells);
                Some((rest.day, namespace, as_of))
            }
            Some(Draw::Reserve(_) | Draw::Spent(_)) => return Ok(false),
        };
        let name = name_of(request);
        let is_kept = purse.queue.serve(&name);
        // Also who has an open order: the run may put the next in its place, and until that is announced
        // no status tells of it.
        if issuer.limits.open.is_some() && allowance.place.is_none() {
            tally.set_place(&name, Some(Place { is_open: true, version: None }));
            let (quotas, version) = (Arc::clone(self), version_of(request));
            allowance.place = Some(Taken { quotas, name, version, has_sent: true });
        }
        let drawn = day.map(|(day, namespace, as_of)| {
            let (key, uid) = (issuer.key.clone(), issuer.uid.to_owned());
            Drawn { quotas: Arc::clone(self), key, uid, day, namespace, as_of, is_kept }
        });
        // One from before would want the lock for its end.
        debug_assert!(allowance.grant.is_none());
        allowance.grant = Some(Grant(drawn));
        Ok(true)
    }

    /// Notes what is known to be reserved, and that this process has a `block` of it. `stored` is what
    /// the status told before, and `written` what it tells now, where that was written.
    ///
    /// Grants that went back in the meantime stay where they are.
    pub(super) fn note_reserved(
        &self,
        stores: &Stores,
        issuer: &Limited<'_>,
        (known, block): (Reserved, u32),
        stored: Option<&DayBudget>,
        written: Option<&DayBudget>,
    ) {
        let mut books = self.books();
        let purse = books.purse(stores, issuer);
        let own = purse.reserved.filter(|own| own.day == known.day).map_or(0, |own| own.unspent);
        purse.reserved = Some(Reserved { unspent: own + block, ..known });
        purse.shares = issuer.limits.per_namespace.map(|_| {
            let shares = Shares::known(&known, stored, purse.shares.as_ref(), issuer.claimant);
            match written {
                Some(written) => shares.told(written),
                None => shares,
            }
        });
    }

    /// What this process knows to be reserved, and what each namespace has of it.
    pub(super) fn reserved(
        &self,
        stores: &Stores,
        issuer: &Limited<'_>,
    ) -> (Option<Reserved>, Option<Shares>) {
        let mut books = self.books();
        let purse = books.purse(stores, issuer);
        (purse.reserved, purse.shares.clone())
    }

    /// Ends the run of a request, which began with `before` and left `after`; `None` where the status it
    /// left is not known to be written. It waits on where `waits`. Who is next, if there is room for
    /// one more, is returned.
    pub(in crate::controller) fn settle(
        &self,
        stores: &Stores,
        issuer: &Limited<'_>,
        (before, after): (&CertificateRequest, Option<&CertificateRequest>),
        waits: bool,
        mut allowance: Allowance,
    ) -> Vec<Name> {
        if !issuer.limits.need_grant() {
            return Vec::new();
        }
        // Whoever waits is told of what goes back. It takes the lock itself.
        allowance.give_back();
        let name = name_of(before);
        let mut books = self.books();
        let (purse, tally) = books.parts(stores, issuer);
        let left = !waits && purse.queue.leave(&name);
        if issuer.limits.open.is_some() {
            settle_place(tally, &name, before, after, allowance.place.is_some());
        }
        let mut next = books.next();
        if left && next.is_empty() {
            let (purse, _) = books.parts(stores, issuer);
            next.extend(purse.queue.first());
        }
        // Its end takes the lock itself.
        drop(books);
        drop(allowance);
        next
    }
}

/// What a run knows of its own order after its end.
fn settle_place(
    tally: &mut Tally,
    name: &Name,
    before: &CertificateRequest,
    after: Option<&CertificateRequest>,
    had_place: bool,
) {
    let is_open = |request: &CertificateRequest| {
        let order = request.status.as_ref().and_then(|status| status.order.as_ref());
        order.is_some_and(|order| {
            quota::is_open(Some(order)) && tally.is_recorded(name, &order.reference)
        })
    };
    let version = version_of(before);
    match after {
        Some(after) if version_of(after) != version => {
            let is_open = is_open(after);
            let place = Place { is_open, version: Some(version_of(after)) };
            tally.set_place(name, Some(place));
        }
        Some(_) => tally.set_place(name, None),
        // What was written last may have come about: the next version tells, or the next run.
        None if had_place || tally.place(name).is_some() => {
            tally.set_place(
                name,
                Some(Place { is_open: true, version: Some(version.saturating_add(1)) }),
            );
        }
        None => {}
    }
}

impl Books {
    fn purse(&mut self, stores: &Stores, issuer: &Limited<'_>) -> &mut Purse {
        self.parts(stores, issuer).0
    }

    fn parts(&mut self, stores: &Stores, issuer: &Limited<'_>) -> (&mut Purse, &mut Tally) {
        let purse = self
            .purses
            .entry(issuer.key.clone())
            .or_insert_with(|| Purse::new(stores, issuer.key, issuer.uid));
        if purse.uid != issuer.uid {
            *purse = Purse::new(stores, issuer.key, issuer.uid);
        }
        (purse, &mut self.tally)
    }

    /// Who is next where an order has ended, or a grant went back.
    fn next(&mut self) -> Vec<Name> {
        let mut next = BTreeSet::new();
        for key in self.tally.ended() {
            next.extend(self.purses.get(&key).and_then(|purse| purse.queue.first()));
        }
        for (key, namespace) in std::mem::take(&mut self.returned) {
            let Some(purse) = self.purses.get_mut(&key) else { continue };
            next.extend(purse.queue.first());
            next.extend(purse.held.next(|of, _| of == namespace));
        }
        next.into_iter().collect()
    }

    /// What one more submit for `request` would draw on the day, or the limit in its way.
    fn check(
        &mut self,
        stores: &Stores,
        issuer: &Limited<'_>,
        request: &CertificateRequest,
        now: Timestamp,
        called: &mut Vec<Name>,
    ) -> Result<Option<Draw>, Withheld> {
        let (purse, tally) = self.parts(stores, issuer);
        let (name, rank) = (name_of(request), Rank::of(end_of(request)));
        let uid = request.uid().unwrap_or_default();
        purse.held.leave(&name);
        let known = Reserved::known(quota::day_of(now), issuer.budget, purse.reserved);
        let per_namespace = issuer.limits.per_namespace;
        let mut draw = issuer.limits.per_day.map(|limit| (limit, known.draw(limit, per_namespace)));
        if let Some((limit, Draw::Spent(day))) = draw {
            purse.queue.wait(&name, rank);
            return Err(quota::spent(limit, day, &uid));
        }
        purse.shares = per_namespace
            .map(|_| Shares::known(&known, issuer.budget, purse.shares.as_ref(), issuer.claimant));
        if let Some((limit, shares)) = per_namespace.zip(purse.shares.as_ref()) {
            if !shares.may(&name.0, limit) {
                purse.queue.leave(&name);
                purse.held.enter(&name, &name.0, rank);
                called.extend(purse.queue.first());
                return Err(quota::spent_by_namespace(limit, shares.day(), &uid));
            }
            let block = issuer.limits.per_day.map(|day| Reserved::block(day, per_namespace));
            if !shares.is_told(block.unwrap_or(u32::MAX)) {
                draw = draw.map(|(limit, _)| (limit, Draw::Reserve(known)));
            }
        }
        let of_day = |limit| Left { kind: Kind::OfDay, limit, left: known.left(limit) };
        let day = draw.map(|(limit, _)| of_day(limit));
        let draw = draw.map(|(_, draw)| draw);
        if tally.has_open_order(request) {
            // It goes on with its own.
            return Ok(draw);
        }
        let open = issuer.limits.open.map(|limit| (limit, tally.open(issuer.key, &name)));
        if let Some((limit, open)) = open.filter(|(limit, open)| open >= limit) {
            purse.queue.wait(&name, rank);
            return Err(Withheld::Open { limit, open });
        }
        let places = |limit, open| Left { kind: Kind::Places, limit, left: limit - open };
        let open = open.map(|(limit, open)| places(limit, open));
        let limits: Vec<Left> = [day, open].into_iter().flatten().collect();
        let most = limits.iter().map(|one| kept(one.limit, u32::MAX)).max().unwrap_or_default();
        let midnight = midnight_after(now);
        // Its own place, where it still has one, is what it asks for.
        purse.queue.free_places(|held| *held != name && tally.is_open(issuer.key, held));
        let counts = |of: &str| purse.queue.counts(of, &limits, midnight);
        // Those that are called are known as well.
        let urgent = tally.urgent(issuer.key, now, most.saturating_mul(2), counts);
        let room = Room { limits, urgent, midnight };
        if purse.queue.ask(&name, rank, &room, now, called) {
            return Ok(draw);
        }
        let of_day = day.is_some_and(|day| open.is_none_or(|open| day.left <= open.left));
        let scarce = if of_day { day } else { open };
        Err(quota::not_its_turn(of_day, scarce.map_or(0, |left| left.limit), now, &uid))
    }
}

impl Purse {
    /// Those who waited before this process began wait on.
    fn new(stores: &Stores, key: &IssuerKey, uid: &str) -> Self {
        let mut queue = Queue::default();
        let mut waiting = in_order(stores.requests.state());
        waiting.retain(|request| request.0.as_ref().is_ok_and(|it| waits_at(key, it)));
        for request in waiting.iter().filter_map(|request| request.0.as_ref().ok()) {
            queue.wait(&name_of(request), Rank::of(end_of(request)));
        }
        let (uid, held) = (uid.to_owned(), Line::default());
        Self { uid, reserved: None, shares: None, queue, held, turn: Turns::new(1) }
    }

    /// Has a request wait for nothing here; whether its turn is another's now.
    fn leave(&mut self, name: &Name) -> bool {
        self.held.leave(name);
        self.queue.leave(name)
    }
}

/// The request waits for a limit of the issuer, or nobody has looked at it yet.
fn waits_at(key: &IssuerKey, request: &CertificateRequest) -> bool {
    let is_new = request.status.as_ref().is_none_or(|status| status.conditions.is_empty());
    let wait = request.status.as_ref().and_then(waits_for);
    IssuerKey::of(request) == *key
        && (is_new || wait.is_some_and(|wait| wait.on.is_shared_limit()))
        && !request.spec.suspend.unwrap_or(false)
}

/// All requests, as the caches tell.
pub(super) fn tally(stores: &Stores) -> Tally {
    let mut tally = Tally::default();
    for target in stores.targets.state() {
        tally.note_target(&target, false);
    }
    for record in stores.records.state() {
        let name = record.name_any();
        let Some(request) = request_of(&name) else { continue };
        let name = (record.namespace().unwrap_or_default(), request.to_owned());
        let reference = record.annotations().get(annotation::ORDER_REFERENCE);
        tally.note_record(&name, 0, reference.map(String::as_str));
    }
    for request in stores.requests.state() {
        request.0.iter().for_each(|request| drop(tally.note(request)));
    }
    tally
}

/// The limits that bear on the requests of an issuer.
pub(in crate::controller) fn limits_of(spec: &IssuerSpec) -> Limits {
    Limits::of(spec.limits.as_ref(), has_records(spec))
}

pub(super) fn has_records(spec: &IssuerSpec) -> bool {
    registry::account(spec).is_ok_and(AccountSettings::has_records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{IssuerKind, OrderPhase};

    const TODAY: &str = "2026-06-01T12:00:00Z";
    const TOMORROW: &str = "2026-06-02T00:00:01Z";

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn key() -> IssuerKey {
        IssuerKey {
            kind: IssuerKind::Issuer,
            namespace: Some("shop".to_owned()),
            name: "ca".to_owned(),
        }
    }

    fn issuer(key: &IssuerKey, limits: Limits) -> Limited<'_> {
        Limited { key, uid: "uid", limits, budget: None, claimant: "me" }
    }

    fn request(name: &str, version: u64, phase: Option<OrderPhase>) -> CertificateRequest {
        let status = phase.map(|phase| {
            let phase = format!("{phase:?}");
            serde_json::json!({ "order": { "reference": "r", "phase": phase, "submittedAt": TODAY } })
        });
        serde_json::from_value(serde_json::json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {
                "name": name, "namespace": "shop", "uid": name,
                "resourceVersion": version.to_string(),
            },
            "spec": { "issuerRef": { "name": "ca" }, "secretName": name },
            "status": status,
        }))
        .expect("a request")
    }

    /// The record of a request tells of the order that its status tells of.
    fn record(quotas: &Quotas, request: &str) {
        let record = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": format!("{request}.order"), "namespace": "shop", "resourceVersion": "1",
                "annotations": { annotation::ORDER_REFERENCE: "r" },
            },
        });
        let record = Guarded(Ok(serde_json::from_value(record).expect("a record")));
        quotas.note_record(&record, false);
    }

    const FULL: Result<(), Withheld> = Err(Withheld::Open { limit: 1, open: 1 });

    /// A place among the open orders, if there is one.
    fn place(
        quotas: &Arc<Quotas>,
        stores: &Stores,
        issuer: &Limited<'_>,
        request: &CertificateRequest,
    ) -> Result<Allowance, Withheld> {
        let mut allowance = Allowance::default();
        stores.requests.state().iter().for_each(|one| drop(quotas.note(one, false)));
        let asked = (request, at(TODAY));
        let taken = quotas.take(stores, issuer, asked, &mut allowance, &mut Vec::new());
        taken.map(|_| allowance)
    }

    #[test]
    fn a_grant_that_is_not_used_goes_back_and_one_that_is_does_not() {
        let (quotas, key) = (Arc::new(Quotas::default()), key());
        let issuer = issuer(&key, Limits { per_day: Some(20), ..Limits::default() });
        let (stores, request) = (Stores::of_requests(vec![]), request("a", 1, None));
        let mut allowance = Allowance::default();
        let take = |allowance: &mut Allowance| {
            let asked = (&request, at(TODAY));
            quotas.take(&stores, &issuer, asked, allowance, &mut Vec::new()).expect("room")
        };
        assert!(!take(&mut allowance), "a block has to be reserved first");
        let day = quota::day_of(at(TODAY));
        quotas.note_reserved(
            &stores,
            &issuer,
            (Reserved { day, reserved: 2, unspent: 2 }, 2),
            None,
            None,
        );
        let unspent = || quotas.reserved(&stores, &issuer).0.expect("noted").unspent;
        assert!(take(&mut allowance));
        assert_eq!(unspent(), 1);
        drop(std::mem::take(&mut allowance));
        assert_eq!(unspent(), 2, "it went back");
        assert!(take(&mut allowance));
        let grant = allowance.take(issuer.limits, at(TODAY)).expect("a grant");
        let Spent { .. } = grant.spend();
        drop(std::mem::take(&mut allowance));
        assert_eq!(unspent(), 1, "it is used up");
        assert!(allowance.take(issuer.limits, at(TODAY)).is_none(), "no submit without one");
        assert!(take(&mut allowance));
        assert!(allowance.take(issuer.limits, at(TOMORROW)).is_none(), "its day has ended");
        assert!(
            allowance.take(Limits::default(), at(TODAY)).is_some(),
            "without limits it is free"
        );
    }

    #[test]
    fn a_place_is_taken_by_one_and_free_when_it_is_known_to_be() {
        let (quotas, key) = (Arc::new(Quotas::default()), key());
        let issuer = issuer(&key, Limits { open: Some(1), ..Limits::default() });
        let [a, b] = ["a", "b"].map(|name| request(name, 1, None));
        let stores = Stores::of_requests(vec![a.clone(), b.clone()]);
        let take = |stores: &Stores, request: &_| place(&quotas, stores, &issuer, request);
        let first = take(&stores, &a).expect("there is room");
        assert_eq!(take(&stores, &b).map(drop), FULL, "before the cache knows");
        drop(first);
        let first = take(&stores, &b).map(drop).and_then(|()| take(&stores, &a));
        // It was announced, and the cache lags behind.
        record(&quotas, "a");
        let announced = request("a", 5, Some(OrderPhase::Submitting));
        let woken = quotas.settle(
            &stores,
            &issuer,
            (&a, Some(&announced)),
            false,
            first.expect("there is room"),
        );
        assert_eq!(woken, Vec::<Name>::new());
        assert_eq!(take(&stores, &b).map(drop), FULL);
        assert!(take(&stores, &announced).is_ok(), "it goes on with its own");
        let stores = Stores::of_requests(vec![announced.clone(), b.clone()]);
        assert_eq!(take(&stores, &b).map(drop), FULL, "now the cache knows");
        // It has ended, and the cache lags behind.
        let ended = request("a", 6, Some(OrderPhase::Failed));
        let woken = quotas.settle(
            &stores,
            &issuer,
            (&announced, Some(&ended)),
            false,
            Allowance::default(),
        );
        assert_eq!(woken, [("shop".to_owned(), "b".to_owned())], "who waits is told");
        assert!(take(&stores, &b).is_ok());
    }

    #[test]
    fn an_order_that_makes_room_for_the_next_leaves_its_place_to_it() {
        let (quotas, key) = (Arc::new(Quotas::default()), key());
        let issuer = issuer(&key, Limits { open: Some(1), ..Limits::default() });
        let (own, b) = (request("a", 1, Some(OrderPhase::Submitting)), request("b", 1, None));
        let stores = Stores::of_requests(vec![own.clone(), b.clone()]);
        record(&quotas, "a");
        let run = place(&quotas, &stores, &issuer, &own).expect("it has its own");
        // The record tells of the next, and the status does not yet.
        let name = ("shop".to_owned(), "a".to_owned());
        quotas.books().tally.note_record(&name, 2, Some("next"));
        assert_eq!(place(&quotas, &stores, &issuer, &b).map(drop), FULL, "it is being made");
        quotas.settle(&stores, &issuer, (&own, Some(&own)), false, run);
        assert!(place(&quotas, &stores, &issuer, &b).is_ok(), "it was not");
    }

    #[test]
    fn an_order_is_open_where_its_record_tells_of_it_whatever_the_status_says() {
        let (quotas, key) = (Arc::new(Quotas::default()), key());
        let issuer = issuer(&key, Limits { open: Some(1), ..Limits::default() });
        let written = request("a", 1, Some(OrderPhase::Pending));
        let b = request("b", 1, None);
        let stores = Stores::of_requests(vec![]);
        for one in [&written, &b] {
            quotas.note(&Guarded(Ok(one.clone())), false);
        }
        assert!(place(&quotas, &stores, &issuer, &b).is_ok(), "a tenant wrote it");
        // A run that finds it so leaves it so.
        let left = request("a", 2, Some(OrderPhase::Pending));
        let (ended, none) = ((&written, Some(&left)), Allowance::default());
        quotas.settle(&stores, &issuer, ended, false, none);
        assert!(place(&quotas, &stores, &issuer, &b).is_ok(), "and counts nothing either");
        let own = place(&quotas, &stores, &issuer, &b).expect("there is room");
        assert_eq!(place(&quotas, &stores, &issuer, &written).map(drop), FULL, "it has no own");
        drop(own);
        quotas.note(&Guarded(Ok(left)), false);
        record(&quotas, "a");
        assert_eq!(place(&quotas, &stores, &issuer, &b).map(drop), FULL, "it was made");
    }

    #[test]
    fn who_is_at_another_issuer_waits_no_more_at_the_one_before() {
        let (quotas, key) = (Arc::new(Quotas::default()), key());
        let issuer = issuer(&key, Limits { open: Some(1), ..Limits::default() });
        let [a, b, c] = ["a", "b", "c"].map(|name| request(name, 1, None));
        let stores = Stores::of_requests(vec![a.clone(), b.clone(), c.clone()]);
        let held = place(&quotas, &stores, &issuer, &a).expect("there is room");
        for waits in [&b, &c] {
            assert_eq!(place(&quotas, &stores, &issuer, waits).map(drop), FULL);
        }
        let mut moved = request("b", 2, None);
        moved.spec.issuer_ref.name = "another".to_owned();
        let next = quotas.note(&Guarded(Ok(moved)), false);
        assert_eq!(next, [("shop".to_owned(), "c".to_owned())]);
        drop(held);
    }

    #[test]
    fn a_namespace_holds_its_part_of_the_kept_places_however_many_orders_the_day_has() {
        let quotas = Arc::new(Quotas::default());
        let key =
            IssuerKey { kind: IssuerKind::ClusterIssuer, namespace: None, name: "ca".to_owned() };
        let limits = Limits { per_day: Some(1000), open: Some(20), ..Limits::default() };
        let issuer = issuer(&key, limits);
        let of = |namespace: &str, name: &str, ends_today: bool| {
            let mut request = request(name, 1, None);
            request.metadata.namespace = Some(namespace.to_owned());
            request.spec.issuer_ref.kind = IssuerKind::ClusterIssuer;
            let certificate = serde_json::json!({ "certificate": {
                "serialNumber": "1", "issuer": "i", "subject": "s", "fingerprintSha256": "f",
                "privateKey": "k", "notBefore": TODAY, "notAfter": TODAY, "deliveredAt": TODAY,
                "secretResourceVersion": "1",
            }});
            let status = ends_today.then(|| serde_json::from_value(certificate).expect("a status"));
            request.status = status;
            request
        };
        let new: Vec<_> = (0..18).map(|number| of("web", &number.to_string(), false)).collect();
        let [a, b, c] = ["a", "b", "c"].map(|name| of("greedy", name, true));
        let neighbour = of("neighbour", "d", true);
        for one in new.iter().chain([&a, &b, &c, &neighbour]) {
            quotas.note(&Guarded(Ok(one.clone())), false);
        }
        let stores = Stores::of_requests(vec![]);
        let day = quota::day_of(at(TODAY));
        let reserved = Reserved { day, reserved: 100, unspent: 0 };
        quotas.note_reserved(&stores, &issuer, (reserved, 100), None, None);
        let take = |request: &CertificateRequest| place(&quotas, &stores, &issuer, request).ok();
        let held: Vec<_> = new.iter().map(|one| take(one).expect("there is room")).collect();
        let first = take(&a).expect("it is of what is kept");
        assert!(take(&b).is_none(), "it has its part");
        let other = take(&neighbour).expect("the rest is its part");
        drop(first);
        let next = take(&b).expect("a place came back");
        assert!(take(&c).is_none(), "and is held again");
        drop((held, other, next));
    }

    #[test]
    fn a_grant_that_goes_back_calls_one_of_its_namespace_that_had_none_left() {
        let (quotas, key) = (Arc::new(Quotas::default()), key());
        let limits = Limits { per_day: Some(20), per_namespace: Some(1), ..Limits::default() };
        let issuer = issuer(&key, limits);
        let [a, b] = ["a", "b"].map(|name| request(name, 1, None));
        let stores = Stores::of_requests(vec![]);
        let known = Reserved { day: quota::day_of(at(TODAY)), reserved: 2, unspent: 2 };
        let written = known.stored("me");
        quotas.note_reserved(&stores, &issuer, (known, 2), None, Some(&written));
        let held = place(&quotas, &stores, &issuer, &a).expect("there is room");
        let spent = place(&quotas, &stores, &issuer, &b).map(drop);
        assert!(matches!(spent, Err(Withheld::Namespace { .. })), "{spent:?}");
        // While the grant is out, more is reserved; it goes back beside that.
        let woken = quotas.settle(&stores, &issuer, (&a, Some(&a)), false, held);
        assert_eq!(woken, [("shop".to_owned(), "b".to_owned())]);
        assert!(place(&quotas, &stores, &issuer, &b).is_ok());
    }

    #[test]
    fn what_goes_back_while_a_block_is_written_is_not_lost() {
        let (quotas, key) = (Arc::new(Quotas::default()), key());
        let issuer = issuer(&key, Limits { per_day: Some(20), ..Limits::default() });
        let (stores, a) = (Stores::of_requests(vec![]), request("a", 1, None));
        let known = Reserved { day: quota::day_of(at(TODAY)), reserved: 1, unspent: 1 };
        quotas.note_reserved(&stores, &issuer, (known, 1), None, None);
        let held = place(&quotas, &stores, &issuer, &a).expect("there is one");
        let next = Reserved { reserved: 3, unspent: 2, ..known };
        drop(held);
        quotas.note_reserved(&stores, &issuer, (next, 2), None, None);
        let (reserved, _) = quotas.reserved(&stores, &issuer);
        assert_eq!(reserved, Some(Reserved { unspent: 3, ..next }));
    }

    #[test]
    fn a_run_that_panics_keeps_its_place_until_somebody_knows_if_it_may_have_sent_something() {
        let (quotas, key) = (Arc::new(Quotas::default()), key());
        let issuer = issuer(&key, Limits { open: Some(1), per_day: Some(20), ..Limits::default() });
        let [a, b] = ["a", "b"].map(|name| request(name, 1, None));
        let stores = Stores::of_requests(vec![a.clone(), b.clone()]);
        let known = Reserved { day: quota::day_of(at(TODAY)), reserved: 2, unspent: 2 };
        quotas.note_reserved(&stores, &issuer, (known, 2), None, None);
        let run = |sends: bool| {
            let mut held = place(&quotas, &stores, &issuer, &a).expect("there is room");
            if sends {
                let grant = held.take(issuer.limits, at(TODAY)).expect("a grant");
                let Spent { .. } = grant.spend();
            }
            std::panic::resume_unwind(Box::new("a fault"));
        };
        let panics = |sends: bool| {
            let run = std::panic::AssertUnwindSafe(|| run(sends));
            assert!(std::panic::catch_unwind(run).is_err());
            quotas.reserved(&stores, &issuer).0.expect("noted").unspent
        };
        assert_eq!(panics(false), 2, "it was not spent");
        assert!(place(&quotas, &stores, &issuer, &b).is_ok(), "nothing was sent");
        assert_eq!(panics(true), 1, "it was spent");
        assert_eq!(place(&quotas, &stores, &issuer, &b).map(drop), FULL, "it may have an order");
        let stores = Stores::of_requests(vec![request("a", 2, None), b.clone()]);
        assert!(place(&quotas, &stores, &issuer, &b).is_ok(), "its status says that it has none");
    }

    #[test]
    fn a_status_that_may_be_written_keeps_the_place_until_somebody_knows() {
        let (quotas, key) = (Arc::new(Quotas::default()), key());
        let issuer = issuer(&key, Limits { open: Some(1), ..Limits::default() });
        let [a, b] = ["a", "b"].map(|name| request(name, 1, None));
        let stores = Stores::of_requests(vec![a.clone(), b.clone()]);
        let take = |stores: &Stores, request: &_| place(&quotas, stores, &issuer, request);
        let first = take(&stores, &a).expect("there is room");
        quotas.settle(&stores, &issuer, (&a, None), false, first);
        assert_eq!(take(&stores, &b).map(drop), FULL, "its answer was lost");
        quotas.settle(&stores, &issuer, (&a, None), false, Allowance::default());
        assert_eq!(take(&stores, &b).map(drop), FULL, "another run knows no more");
        // It was not announced: stored only.
        let mut stored = request("a", 2, Some(OrderPhase::Submitting));
        if let Some(order) = stored.status.as_mut().and_then(|status| status.order.as_mut()) {
            order.submitted_at = None;
        }
        let stores = Stores::of_requests(vec![stored.clone(), b.clone()]);
        let place = take(&stores, &b).expect("the cache knows that it has none");
        assert_eq!(take(&stores, &stored).map(drop), FULL, "it needs one as any other");
        drop(place);
    }

    #[test]
    fn what_waits_goes_on_in_the_order_in_which_certificates_end() {
        let (quotas, key) = (Arc::new(Quotas::default()), key());
        let issuer = issuer(&key, Limits { open: Some(1), ..Limits::default() });
        let open = request("open", 1, Some(OrderPhase::Pending));
        let stores = Stores::of_requests(vec![open.clone()]);
        record(&quotas, "open");
        stores.requests.state().iter().for_each(|one| drop(quotas.note(one, false)));
        for (name, end) in
            [("late", Some("2026-08-01T00:00:00Z")), ("new", None), ("soon", Some(TOMORROW))]
        {
            let mut waiting = request(name, 1, None);
            waiting.status = end.map(|end| {
                let certificate = serde_json::json!({ "certificate": {
                    "serialNumber": "1", "issuer": "i", "subject": "s", "fingerprintSha256": "f", "privateKey": "k",
                    "notBefore": TODAY, "notAfter": end, "deliveredAt": TODAY,
                    "secretResourceVersion": "1",
                }});
                serde_json::from_value(certificate).expect("a status")
            });
            assert!(
                quotas.withheld(&stores, &issuer, &waiting, at(TODAY), &mut Vec::new()).is_some()
            );
        }
        let ended = request("open", 2, None);
        let woken =
            quotas.settle(&stores, &issuer, (&open, Some(&ended)), false, Allowance::default());
        let names: Vec<_> = woken.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["soon"], "it calls the others, as far as there is room");
    }
}
