//! The limits of all issuers and what is used of them, for metrics.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::controller::cluster::stores::Stores;
use crate::controller::issuer::key::IssuerKey;
use crate::controller::issuer::object::IssuerObject;
use crate::controller::issuer::quota::{has_records, is_of, limits_of, tally};
use crate::controller::issuer::tally::Tally;
use crate::issuance::quota::{self, Reserved};
use crate::issuance::waits_for;
use crate::metrics::LimitFigures;

/// The limits of all issuers and what is used of them, as the caches tell.
pub(in crate::controller) fn figures(stores: &Stores, now: Timestamp) -> Vec<LimitFigures> {
    let (mut all, tally) = (Vec::new(), tally(stores));
    for issuer in stores.issuers.state() {
        all.extend(issuer.0.as_ref().ok().map(|issuer| figures_of((stores, &tally), issuer, now)));
    }
    for issuer in stores.cluster_issuers.state() {
        all.extend(issuer.0.as_ref().ok().map(|issuer| figures_of((stores, &tally), issuer, now)));
    }
    all
}

fn figures_of<K: IssuerObject>(
    (stores, tally): (&Stores, &Tally),
    issuer: &K,
    now: Timestamp,
) -> LimitFigures {
    let key = IssuerKey { kind: K::KIND, namespace: issuer.namespace(), name: issuer.name_any() };
    let limits = limits_of(issuer.spec());
    let pace = issuer.spec().limits.as_ref().and_then(|limits| limits.requests_per_second);
    let stored = issuer.status().and_then(|status| status.budget.as_ref());
    let reserved = limits.per_day.map(|_| Reserved::known(quota::day_of(now), stored, None));
    let mut withheld = BTreeMap::new();
    for guarded in stores.requests.state() {
        let Ok(request) = &guarded.0 else { continue };
        let wait = request.status.as_ref().and_then(waits_for);
        let limit = wait.and_then(|wait| wait.on.limit());
        if let Some(field) = limit.filter(|_| is_of(&key, request)) {
            *withheld.entry(field).or_default() += 1;
        }
    }
    LimitFigures {
        limits: [
            ("ordersPerDay", limits.per_day),
            ("ordersPerNamespacePerDay", limits.per_namespace),
            ("openOrders", limits.open),
            ("ordersPerRequestPerDay", limits.per_request),
            ("requestsPerSecond", pace),
        ]
        .into_iter()
        .filter_map(|(field, limit)| Some((field, limit?)))
        .collect(),
        reserved: reserved.map(|reserved| reserved.reserved),
        open: has_records(issuer.spec()).then(|| tally.open(&key, &(String::new(), String::new()))),
        withheld: withheld.into_iter().collect(),
        kind: K::KIND.to_string(),
        namespace: key.namespace.unwrap_or_default(),
        issuer: key.name,
    }
}
