//! How many orders are open at each issuer, and which certificates end when: kept up to date with each
//! change, so that nobody who waits has to count all the others.
//!
//! What the caches say counts, except where a run of this process knows more ([`Place`]).
//!
//! An order is open where the status of the request says so and the record tells of the same order:
//! whoever may write statuses has nothing counted that was never made. Of when certificates end the
//! status alone tells, so that a tenant can say that its own end today: of each namespace only a few
//! count ([`kept_for_one`](crate::turns::kept_for_one)), however many they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;
use kube::ResourceExt as _;

use crate::api::{CertificateRequest, annotation};
use crate::controller::cluster::stores::SecretMeta;
use crate::controller::issuer::key::IssuerKey;
use crate::controller::memory::expectations::number;
use crate::issuance::quota;
use crate::turns::queue::Name;

/// Whether a request has an open order.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) is_open: bool,
    /// From this version on the cache says so itself; `None` while a run is under way.
    pub(super) version: Option<u64>,
}

/// All requests, as far as limits go.
#[derive(Default)]
pub(super) struct Tally {
    cached: HashMap<Name, Cached>,
    /// Requests by the name of their target.
    targets: HashMap<Name, BTreeSet<Name>>,
    /// The order made last for each request, as its record tells, and the version that told it.
    recorded: HashMap<Name, (u64, String)>,
    /// The order that each target was delivered from.
    delivered: HashMap<Name, String>,
    places: BTreeMap<Name, Place>,
    sums: HashMap<IssuerKey, Sums>,
    /// Issuers at which an order has ended since somebody asked.
    ended: BTreeSet<IssuerKey>,
}

struct Cached {
    issuer: IssuerKey,
    target: Name,
    version: u64,
    /// Reference of the order that is open by the status.
    order: Option<String>,
    /// End of a certificate that is to be renewed.
    end: Option<Timestamp>,
    /// As it is counted.
    is_open: bool,
}

#[derive(Default)]
struct Sums {
    open: u32,
    /// Whose certificates end on which day, by namespace.
    ends: BTreeMap<Date, BTreeMap<String, BTreeSet<Name>>>,
}

impl Sums {
    fn ends(&mut self, day: Date, name: &Name) {
        let of_day = self.ends.entry(day).or_default();
        of_day.entry(name.0.clone()).or_default().insert(name.clone());
    }

    fn ends_no_more(&mut self, day: Date, name: &Name) {
        let Some(of_day) = self.ends.get_mut(&day) else { return };
        if let Some(all) = of_day.get_mut(&name.0) {
            all.remove(name);
            if all.is_empty() {
                of_day.remove(&name.0);
            }
        }
        if of_day.is_empty() {
            self.ends.remove(&day);
        }
    }
}

pub(super) fn name_of(request: &CertificateRequest) -> Name {
    (request.namespace().unwrap_or_default(), request.name_any())
}

pub(super) fn version_of(request: &CertificateRequest) -> u64 {
    number(request.metadata.resource_version.as_deref()).unwrap_or_default()
}

/// When the certificate of a request ends, where it has one.
pub(in crate::controller) fn end_of(request: &CertificateRequest) -> Option<Timestamp> {
    Some(request.status.as_ref()?.certificate.as_ref()?.not_after.0)
}

impl Tally {
    /// Takes a request as the cache has it now. The issuer that it was at, where it is at another now,
    /// is returned.
    pub(super) fn note(&mut self, request: &CertificateRequest) -> Option<IssuerKey> {
        let name = name_of(request);
        let at = self.cached.get(&name).map(|cached| cached.issuer.clone());
        let before = self.forget(&name);
        let order = request.status.as_ref().and_then(|status| status.order.as_ref());
        let order = order.filter(|order| quota::is_open(Some(order)));
        let rests =
            request.spec.suspend.unwrap_or(false) || request.metadata.deletion_timestamp.is_some();
        let target = (name.0.clone(), request.spec.secret_name.clone());
        self.targets.entry(target.clone()).or_default().insert(name.clone());
        let cached = Cached {
            issuer: IssuerKey::of(request),
            target,
            version: version_of(request),
            order: order.map(|order| order.reference.clone()),
            end: end_of(request).filter(|_| !rests),
            is_open: false,
        };
        let sums = self.sums.entry(cached.issuer.clone()).or_default();
        cached.end.iter().for_each(|end| sums.ends(quota::day_of(*end), &name));
        self.cached.insert(name.clone(), cached);
        self.count(&name);
        let is_open = self.cached.get(&name).is_some_and(|cached| cached.is_open);
        self.ended.extend(before.filter(|_| !is_open));
        at.filter(|at| *at != IssuerKey::of(request))
    }

    /// A request is gone, or cannot be read.
    pub(super) fn gone(&mut self, name: &Name) {
        let before = self.forget(name);
        self.ended.extend(before);
        if self.place(name).is_some_and(|place| place.version.is_some()) {
            self.places.remove(name);
        }
    }

    /// The issuer at which it had an open order.
    fn forget(&mut self, name: &Name) -> Option<IssuerKey> {
        let cached = self.cached.remove(name)?;
        if let Some(requests) = self.targets.get_mut(&cached.target) {
            requests.remove(name);
            if requests.is_empty() {
                self.targets.remove(&cached.target);
            }
        }
        self.set_open(&cached, false);
        if let Some(sums) = self.sums.get_mut(&cached.issuer) {
            if let Some(end) = cached.end {
                sums.ends_no_more(quota::day_of(end), name);
            }
            if sums.open == 0 && sums.ends.is_empty() {
                self.sums.remove(&cached.issuer);
            }
        }
        cached.is_open.then_some(cached.issuer)
    }

    /// Takes a target as the cache has it now.
    pub(super) fn note_target(&mut self, secret: &SecretMeta, is_gone: bool) {
        let target = (secret.namespace().unwrap_or_default(), secret.name_any());
        let reference = secret.annotations().get(annotation::ORDER_REFERENCE);
        match reference.filter(|_| !is_gone) {
            Some(reference) => self.delivered.insert(target.clone(), reference.clone()),
            None => self.delivered.remove(&target),
        };
        for name in self.targets.get(&target).cloned().unwrap_or_default() {
            self.count(&name);
        }
    }

    /// Takes the record of a request as its cache has it now, or as a run has it.
    pub(super) fn note_record(&mut self, name: &Name, version: u64, reference: Option<&str>) {
        if self.recorded.get(name).is_some_and(|(at, _)| *at > version) {
            return;
        }
        match reference {
            Some(reference) => {
                self.recorded.insert(name.clone(), (version, reference.to_owned()));
            }
            None => drop(self.recorded.remove(name)),
        }
        self.count(name);
    }

    /// The record of a request is gone.
    pub(super) fn record_gone(&mut self, name: &Name) {
        self.recorded.remove(name);
        self.count(name);
    }

    /// The record of a request tells of this order.
    pub(super) fn is_recorded(&self, name: &Name, reference: &str) -> bool {
        self.recorded.get(name).is_some_and(|(_, recorded)| recorded == reference)
    }

    /// Takes what a run knows, or has it forgotten.
    pub(super) fn set_place(&mut self, name: &Name, place: Option<Place>) {
        match place {
            Some(place) => self.places.insert(name.clone(), place),
            None => self.places.remove(name),
        };
        self.count(name);
    }

    pub(super) fn place(&self, name: &Name) -> Option<Place> {
        self.places.get(name).copied()
    }

    /// The cached status tells of an open order, and so does its record. The reference on the target
    /// ends it, whatever the status still says.
    pub(super) fn has_open_order(&self, request: &CertificateRequest) -> bool {
        let order = request.status.as_ref().and_then(|status| status.order.as_ref());
        let target = (request.namespace().unwrap_or_default(), request.spec.secret_name.clone());
        order.is_some_and(|order| {
            quota::is_open(Some(order))
                && self.is_recorded(&name_of(request), &order.reference)
                && self.delivered.get(&target) != Some(&order.reference)
        })
    }

    /// Open orders of an issuer, that of `except` apart.
    pub(super) fn open(&self, issuer: &IssuerKey, except: &Name) -> u32 {
        let open = self.sums.get(issuer).map_or(0, |sums| sums.open);
        let own = self.cached.get(except).filter(|cached| cached.issuer == *issuer);
        open - u32::from(own.is_some_and(|cached| cached.is_open))
    }

    /// A request has an open order at an issuer.
    pub(super) fn is_open(&self, issuer: &IssuerKey, name: &Name) -> bool {
        self.cached.get(name).is_some_and(|cached| cached.is_open && cached.issuer == *issuer)
    }

    /// Certificates that end on the UTC day of `now` and are not being renewed, by namespace: as many
    /// of each as count, and `most` at most.
    pub(super) fn urgent(
        &self,
        issuer: &IssuerKey,
        now: Timestamp,
        most: u32,
        counts: impl Fn(&str) -> u32,
    ) -> BTreeMap<String, u32> {
        let today = self.sums.get(issuer).and_then(|sums| sums.ends.get(&quota::day_of(now)));
        let is_open = |name: &Name| self.cached.get(name).is_some_and(|cached| cached.is_open);
        let (mut urgent, mut left) = (BTreeMap::new(), most);
        for (namespace, names) in today.into_iter().flatten() {
            let counted = usize::try_from(counts(namespace).min(left)).unwrap_or(usize::MAX);
            let known = names.iter().filter(|name| !is_open(name)).take(counted).count();
            let known = u32::try_from(known).unwrap_or(u32::MAX);
            left = left.saturating_sub(known);
            urgent.extend((known > 0).then(|| (namespace.clone(), known)));
            if left == 0 {
                break;
            }
        }
        urgent
    }

    /// Issuers at which an order has ended since this was asked.
    pub(super) fn ended(&mut self) -> BTreeSet<IssuerKey> {
        std::mem::take(&mut self.ended)
    }

    /// Counts a request as what is known of it by now.
    fn count(&mut self, name: &Name) {
        let Some(cached) = self.cached.remove(name) else { return };
        let is_known = |place: &Place| place.version.is_none_or(|at| cached.version < at);
        let is_open = match self.places.get(name).copied().filter(is_known) {
            Some(place) => place.is_open,
            None => {
                self.places.remove(name);
                let delivered = self.delivered.get(&cached.target);
                let order = cached.order.as_ref();
                order.is_some_and(|order| self.is_recorded(name, order) && delivered != Some(order))
            }
        };
        self.set_open(&cached, is_open);
        if cached.is_open && !is_open {
            self.ended.insert(cached.issuer.clone());
        }
        self.cached.insert(name.clone(), Cached { is_open, ..cached });
    }

    fn set_open(&mut self, cached: &Cached, is_open: bool) {
        let sums = self.sums.entry(cached.issuer.clone()).or_default();
        match (cached.is_open, is_open) {
            (false, true) => sums.open += 1,
            (true, false) => sums.open -= 1,
            (false, false) | (true, true) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::IssuerKind;

    const TODAY: &str = "2026-06-01T12:00:00Z";

    fn ends(namespace: &str, name: &str, end: &str) -> CertificateRequest {
        serde_json::from_value(json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": { "name": name, "namespace": namespace, "resourceVersion": "1" },
            "spec": { "issuerRef": { "kind": "ClusterIssuer", "name": "ca" }, "secretName": name },
            "status": { "certificate": {
                "serialNumber": "1", "issuer": "i", "subject": "s", "fingerprintSha256": "f",
                "privateKey": "k", "notBefore": TODAY, "notAfter": end, "deliveredAt": TODAY,
                "secretResourceVersion": "1",
            }},
        }))
        .expect("a request")
    }

    #[test]
    fn of_each_namespace_a_few_certificates_count_that_end_today() {
        let mut tally = Tally::default();
        for number in 0..50 {
            tally.note(&ends("greedy", &format!("r{number}"), "2026-06-01T23:59:59Z"));
        }
        let open = Some(Place { is_open: true, version: None });
        for (name, end) in [
            ("today", "2026-06-01T00:00:00Z"),
            ("ordered", "2026-06-01T20:00:00Z"),
            ("yesterday", "2026-05-31T23:59:59Z"),
            ("tomorrow", "2026-06-02T00:00:00Z"),
        ] {
            tally.note(&ends("shop", name, end));
        }
        tally.set_place(&("shop".to_owned(), "ordered".to_owned()), open);
        let key = IssuerKey { kind: IssuerKind::ClusterIssuer, namespace: None, name: "ca".into() };
        let urgent = |tally: &Tally, most, of_greedy| {
            let counts = |of: &str| if of == "greedy" { of_greedy } else { 4 };
            let urgent = tally.urgent(&key, TODAY.parse().expect("a time"), most, counts);
            let of = |of: &str| urgent.get(of).copied();
            (of("greedy"), of("shop"))
        };
        let rows = [
            ("four of one, and what is true of another", 20, 4, (Some(4), Some(1))),
            ("one that has had its part", 20, 0, (None, Some(1))),
            ("no more than anybody asks for", 3, 4, (Some(3), None)),
        ];
        for (name, most, of_greedy, expected) in rows {
            assert_eq!(urgent(&tally, most, of_greedy), expected, "{name}");
        }
        tally.gone(&("shop".to_owned(), "today".to_owned()));
        assert_eq!(urgent(&tally, 20, 4), (Some(4), None), "it is gone");
    }
}
