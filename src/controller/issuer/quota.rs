//! Grants: the right to one submit at an issuer with limits, and a place among its open orders.
//!
//! # Guarantees
//! - Who looks at the limits and who takes a grant does so under one lock: no two runs get the same.
//! - What is granted of a day was reserved in the issuer's status before, on the condition of its
//!   resourceVersion. A block whose reservation is not known to be written is not spent.
//! - A submit needs what only a grant, or the absence of limits, makes ([`Spent`]). A grant that a run
//!   did not use goes back.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::civil::Date;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use crate::api::{CertificateRequest, DayBudget, IssuerKind, IssuerSpec, annotation};
use crate::ca::kind::AccountSettings;
use crate::ca::registry;
use crate::controller::cluster::stores::Stores;
use crate::controller::issuer::key::IssuerKey;
use crate::controller::memory::expectations::number;
use crate::issuance::quota::{self, Draw, Reserved};
use crate::issuance::{Limits, Withheld};

/// Namespace and name of a request.
type Name = (String, String);

/// What this process knows of the limits of each issuer.
#[derive(Default)]
pub(in crate::controller) struct Quotas(Mutex<HashMap<IssuerKey, Purse>>);

#[derive(Default)]
struct Purse {
    /// Of the issuer: another of the same name begins anew.
    uid: String,
    reserved: Option<Reserved>,
    /// Where a run of this process knows more than the cache.
    places: BTreeMap<Name, Place>,
    /// Requests that wait for the end of another's order, with the end of their certificates.
    waiting: BTreeMap<Name, Option<Timestamp>>,
    /// One reservation at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Whether a request has an open order.
#[derive(Clone, Copy)]
pub(super) struct Place {
    is_open: bool,
    /// From this version on the cache says so itself; `None` while a run is under way.
    version: Option<u64>,
}

/// An issuer as a run sees it.
pub(in crate::controller) struct Limited<'a> {
    pub(in crate::controller) key: &'a IssuerKey,
    pub(in crate::controller) uid: &'a str,
    pub(in crate::controller) limits: Limits,
    pub(in crate::controller) budget: Option<&'a DayBudget>,
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
}

/// A place among the open orders, for the length of a run. What the run wrote tells afterwards.
struct Taken {
    quotas: Arc<Quotas>,
    key: IssuerKey,
    name: Name,
    /// Version of the request when it was taken.
    version: u64,
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
        let Some(Drawn { quotas, key, uid, day }) = self.0.take() else { return };
        let mut purses = quotas.purses();
        if let Some(reserved) = purses
            .get_mut(&key)
            .filter(|purse| purse.uid == uid)
            .and_then(|purse| purse.reserved.as_mut())
            .filter(|reserved| reserved.day == day)
        {
            reserved.unspent += 1;
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut purses = self.quotas.purses();
        if let Some(purse) = purses.get_mut(&self.key) {
            let is_left = |place: &Place| place.version.is_none();
            if !purse.places.get(&self.name).is_some_and(is_left) {
                return;
            }
            if std::thread::panicking() {
                // The run may have made an order: the next version of the request tells, or its next run.
                let version = Some(self.version.saturating_add(1));
                purse.places.insert(self.name.clone(), Place { is_open: true, version });
            } else {
                purse.places.remove(&self.name);
            }
        }
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
    fn purses(&self) -> MutexGuard<'_, HashMap<IssuerKey, Purse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an issuer that is gone.
    pub(in crate::controller) fn forget(&self, key: &IssuerKey) {
        self.purses().remove(key);
    }

    /// The limit that stands in the way of a request, as far as it is known without asking anybody.
    pub(in crate::controller) fn withheld(
        &self,
        stores: &Stores,
        issuer: &Limited<'_>,
        request: &CertificateRequest,
        now: Timestamp,
    ) -> Option<Withheld> {
        let mut purses = self.purses();
        purse(&mut purses, issuer).check(stores, issuer, request, now).err()
    }

    pub(super) fn turn(&self, issuer: &Limited<'_>) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&purse(&mut self.purses(), issuer).turn)
    }

    /// Takes a grant, and a place where the run has none; whether that came about, or a block has to be
    /// reserved first.
    pub(super) fn take(
        self: &Arc<Self>,
        stores: &Stores,
        issuer: &Limited<'_>,
        request: &CertificateRequest,
        now: Timestamp,
        allowance: &mut Allowance,
    ) -> Result<bool, Withheld> {
        let mut purses = self.purses();
        let purse = purse(&mut purses, issuer);
        let day = match purse.check(stores, issuer, request, now)? {
            None => None,
            Some(Draw::FromBlock(rest)) => {
                purse.reserved = Some(rest);
                Some(rest.day)
            }
            Some(Draw::Reserve(_) | Draw::Spent(_)) => return Ok(false),
        };
        let name = name_of(request);
        purse.waiting.remove(&name);
        // Who has an open order has its place.
        let needs_place = issuer.limits.open.is_some() && !has_open_order(stores, request);
        if needs_place && allowance.place.is_none() {
            purse.places.insert(name.clone(), Place { is_open: true, version: None });
            let (quotas, key) = (Arc::clone(self), issuer.key.clone());
            allowance.place = Some(Taken { quotas, key, name, version: version_of(request) });
        }
        let drawn = day.map(|day| {
            let (key, uid) = (issuer.key.clone(), issuer.uid.to_owned());
            Drawn { quotas: Arc::clone(self), key, uid, day }
        });
        // One from before would want the lock for its end.
        debug_assert!(allowance.grant.is_none());
        allowance.grant = Some(Grant(drawn));
        Ok(true)
    }

    /// Notes what is known to be reserved; `block` of it is new and this process's.
    pub(super) fn note(&self, issuer: &Limited<'_>, known: Reserved) {
        purse(&mut self.purses(), issuer).reserved = Some(known);
    }

    pub(super) fn reserved(&self, issuer: &Limited<'_>) -> Option<Reserved> {
        purse(&mut self.purses(), issuer).reserved
    }

    /// Ends the run of a request, which began with `before` and left `after`; `None` where the status it
    /// left is not known to be written. Whoever waited for its place is returned, whose certificate ends
    /// first first.
    pub(in crate::controller) fn settle(
        &self,
        issuer: &Limited<'_>,
        before: &CertificateRequest,
        after: Option<&CertificateRequest>,
        allowance: Allowance,
    ) -> Vec<Name> {
        if issuer.limits.open.is_none() {
            return Vec::new();
        }
        let has_open = |request: &CertificateRequest| {
            quota::is_open(request.status.as_ref().and_then(|status| status.order.as_ref()))
        };
        let had_place = allowance.place.is_some();
        let mut purses = self.purses();
        let purse = purse(&mut purses, issuer);
        let name = name_of(before);
        let before_it = version_of(before);
        let has_moved = after.is_some_and(|after| version_of(after) != before_it);
        let mut woken = Vec::new();
        match after {
            Some(after) if has_moved => {
                let is_open = has_open(after);
                purse.places.insert(name, Place { is_open, version: Some(version_of(after)) });
                if (has_open(before) || had_place) && !is_open {
                    woken.extend(std::mem::take(&mut purse.waiting));
                }
            }
            Some(after) => {
                purse.places.remove(&name);
                if had_place && !has_open(after) {
                    woken.extend(std::mem::take(&mut purse.waiting));
                }
            }
            // What was written last may have come about: the next version tells, or the next run.
            None if had_place || purse.places.contains_key(&name) => {
                let version = Some(before_it.saturating_add(1));
                purse.places.insert(name, Place { is_open: true, version });
            }
            None => {}
        }
        // Its end takes the lock itself.
        drop(purses);
        drop(allowance);
        woken.sort_by_key(|(_, end)| *end);
        woken.into_iter().map(|(name, _)| name).collect()
    }
}

fn purse<'a>(
    purses: &'a mut MutexGuard<'_, HashMap<IssuerKey, Purse>>,
    issuer: &Limited<'_>,
) -> &'a mut Purse {
    let purse = purses.entry(issuer.key.clone()).or_default();
    if purse.uid != issuer.uid {
        *purse = Purse { uid: issuer.uid.to_owned(), ..Purse::default() };
    }
    purse
}

impl Purse {
    /// What one more submit for `request` would draw on the day, or the limit in its way.
    fn check(
        &mut self,
        stores: &Stores,
        issuer: &Limited<'_>,
        request: &CertificateRequest,
        now: Timestamp,
    ) -> Result<Option<Draw>, Withheld> {
        let draw = issuer.limits.per_day.map(|limit| {
            (limit, Reserved::known(quota::day_of(now), issuer.budget, self.reserved).draw(limit))
        });
        if let Some((limit, Draw::Spent(day))) = draw {
            return Err(quota::spent(limit, day, &request.uid().unwrap_or_default()));
        }
        if let Some(limit) = issuer.limits.open
            && !has_open_order(stores, request)
        {
            let name = name_of(request);
            let open = open_orders(stores, issuer.key, Some(&name), &mut self.places);
            if open >= limit {
                let certificate = request.status.as_ref().and_then(|one| one.certificate.as_ref());
                let end = certificate.map(|certificate| certificate.not_after.0);
                // Before anybody can end one of them unnoticed.
                self.waiting.insert(name, end);
                return Err(Withheld::Open { limit, open });
            }
        }
        Ok(draw.map(|(_, draw)| draw))
    }
}

fn name_of(request: &CertificateRequest) -> Name {
    (request.namespace().unwrap_or_default(), request.name_any())
}

fn version_of(request: &CertificateRequest) -> u64 {
    number(request.metadata.resource_version.as_deref()).unwrap_or_default()
}

/// The cached status tells of an open order. The reference on the target ends it, whatever the status
/// still says.
fn has_open_order(stores: &Stores, request: &CertificateRequest) -> bool {
    let order = request.status.as_ref().and_then(|status| status.order.as_ref());
    let Some(order) = order.filter(|order| quota::is_open(Some(order))) else { return false };
    let namespace = request.namespace().unwrap_or_default();
    let target = ObjectRef::new(&request.spec.secret_name).within(&namespace);
    let target = stores.targets.get(&target);
    let delivered =
        target.as_ref().and_then(|it| it.annotations().get(annotation::ORDER_REFERENCE));
    delivered != Some(&order.reference)
}

/// Open orders of an issuer, that of `except` apart.
pub(super) fn open_orders(
    stores: &Stores,
    key: &IssuerKey,
    except: Option<&Name>,
    places: &mut BTreeMap<Name, Place>,
) -> u32 {
    let mut open = 0;
    for guarded in stores.requests.state() {
        let Ok(request) = &guarded.0 else { continue };
        let name = name_of(request);
        if !is_of(key, request) || except == Some(&name) {
            continue;
        }
        let place = places.get(&name).copied();
        let is_known = |place: &Place| place.version.is_none_or(|at| version_of(request) < at);
        let is_open = match place.filter(is_known) {
            Some(place) => place.is_open,
            None => {
                places.remove(&name);
                has_open_order(stores, request)
            }
        };
        open += u32::from(is_open);
    }
    // Requests that are gone.
    places.retain(|(namespace, name), place| {
        place.version.is_none() || stores.request(namespace, name).is_some()
    });
    open
}

pub(super) fn is_of(key: &IssuerKey, request: &CertificateRequest) -> bool {
    let reference = &request.spec.issuer_ref;
    reference.kind == key.kind
        && reference.name == key.name
        && (key.kind == IssuerKind::ClusterIssuer || request.namespace() == key.namespace)
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
    use crate::api::OrderPhase;

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
        Limited { key, uid: "uid", limits, budget: None }
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

    const FULL: Result<(), Withheld> = Err(Withheld::Open { limit: 1, open: 1 });

    /// A place among the open orders, if there is one.
    fn place(
        quotas: &Arc<Quotas>,
        stores: &Stores,
        issuer: &Limited<'_>,
        request: &CertificateRequest,
    ) -> Result<Allowance, Withheld> {
        let mut allowance = Allowance::default();
        let taken = quotas.take(stores, issuer, request, at(TODAY), &mut allowance);
        taken.map(|_| allowance)
    }

    #[test]
    fn a_grant_that_is_not_used_goes_back_and_one_that_is_does_not() {
        let (quotas, key) = (Arc::new(Quotas::default()), key());
        let issuer = issuer(&key, Limits { per_day: Some(20), ..Limits::default() });
        let (stores, request) = (Stores::of_requests(vec![]), request("a", 1, None));
        let mut allowance = Allowance::default();
        let take = |allowance: &mut Allowance| {
            quotas.take(&stores, &issuer, &request, at(TODAY), allowance).expect("room")
        };
        assert!(!take(&mut allowance), "a block has to be reserved first");
        let day = quota::day_of(at(TODAY));
        quotas.note(&issuer, Reserved { day, reserved: 2, unspent: 2 });
        let unspent = || quotas.reserved(&issuer).expect("noted").unspent;
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
        let announced = request("a", 5, Some(OrderPhase::Submitting));
        let woken = quotas.settle(&issuer, &a, Some(&announced), first.expect("there is room"));
        assert_eq!(woken, Vec::<Name>::new());
        assert_eq!(take(&stores, &b).map(drop), FULL);
        assert!(take(&stores, &announced).is_ok(), "it goes on with its own");
        let stores = Stores::of_requests(vec![announced.clone(), b.clone()]);
        assert_eq!(take(&stores, &b).map(drop), FULL, "now the cache knows");
        // It has ended, and the cache lags behind.
        let ended = request("a", 6, Some(OrderPhase::Failed));
        let woken = quotas.settle(&issuer, &announced, Some(&ended), Allowance::default());
        assert_eq!(woken, [("shop".to_owned(), "b".to_owned())], "who waits is told");
        assert!(take(&stores, &b).is_ok());
    }

    #[test]
    fn a_run_that_panics_keeps_its_place_until_somebody_knows_and_gives_its_grant_back() {
        let (quotas, key) = (Arc::new(Quotas::default()), key());
        let issuer = issuer(&key, Limits { open: Some(1), per_day: Some(20), ..Limits::default() });
        let [a, b] = ["a", "b"].map(|name| request(name, 1, None));
        let stores = Stores::of_requests(vec![a.clone(), b.clone()]);
        quotas.note(&issuer, Reserved { day: quota::day_of(at(TODAY)), reserved: 2, unspent: 2 });
        let run = || {
            let _held = place(&quotas, &stores, &issuer, &a).expect("there is room");
            std::panic::resume_unwind(Box::new("a fault"));
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        assert_eq!(quotas.reserved(&issuer).expect("noted").unspent, 2, "it was not spent");
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
        quotas.settle(&issuer, &a, None, first);
        assert_eq!(take(&stores, &b).map(drop), FULL, "its answer was lost");
        quotas.settle(&issuer, &a, None, Allowance::default());
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
            assert!(quotas.withheld(&stores, &issuer, &waiting, at(TODAY)).is_some());
        }
        let ended = request("open", 2, None);
        let woken = quotas.settle(&issuer, &open, Some(&ended), Allowance::default());
        let names: Vec<_> = woken.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["new", "soon", "late"]);
    }
}
