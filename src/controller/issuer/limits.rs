//! All issuers: whether they are ready, their limits and what is used of them, for metrics.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::condition;
use crate::controller::cluster::stores::Stores;
use crate::controller::issuer::key::IssuerKey;
use crate::controller::issuer::object::IssuerObject;
use crate::controller::issuer::quota::{has_records, limits_of, tally};
use crate::controller::issuer::tally::Tally;
use crate::issuance::quota::{self, Reserved};
use crate::issuance::waits_for;
use crate::metrics::IssuerFigures;

/// The limits of all issuers and what is used of them, as the caches tell.
pub(in crate::controller) fn figures(stores: &Stores, now: Timestamp) -> Vec<IssuerFigures> {
    let (mut all, tally, withheld) = (Vec::new(), tally(stores), withheld(stores));
    let used = (&tally, &withheld);
    for issuer in stores.issuers.state() {
        all.extend(issuer.0.as_ref().ok().map(|issuer| figures_of(used, issuer, now)));
    }
    for issuer in stores.cluster_issuers.state() {
        all.extend(issuer.0.as_ref().ok().map(|issuer| figures_of(used, issuer, now)));
    }
    all
}

/// Requests that wait for a limit, by issuer and field: one pass over all of them.
fn withheld(stores: &Stores) -> Withheld {
    let mut all = Withheld::new();
    for guarded in stores.requests.state() {
        let Ok(request) = &guarded.0 else { continue };
        let wait = request.status.as_ref().and_then(waits_for);
        if let Some(field) = wait.and_then(|wait| wait.on.limit()) {
            *all.entry(IssuerKey::of(request)).or_default().entry(field).or_default() += 1;
        }
    }
    all
}

type Withheld = BTreeMap<IssuerKey, BTreeMap<&'static str, u32>>;

fn figures_of<K: IssuerObject>(
    (tally, withheld): (&Tally, &Withheld),
    issuer: &K,
    now: Timestamp,
) -> IssuerFigures {
    let key = IssuerKey::to::<K>(issuer);
    let limits = limits_of(issuer.spec());
    let pace = issuer.spec().limits.as_ref().and_then(|limits| limits.requests_per_second);
    let stored = issuer.status().and_then(|status| status.budget.as_ref());
    let reserved = limits.per_day.map(|_| Reserved::known(quota::day_of(now), stored, None));
    let withheld = withheld.get(&key).cloned().unwrap_or_default();
    let conditions = issuer.status().map_or(&[][..], |status| &status.conditions);
    IssuerFigures {
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
        is_ready: condition::is_true(conditions, condition::READY),
        kind: K::KIND.to_string(),
        namespace: key.namespace.unwrap_or_default(),
        issuer: key.name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{CertificateRequest, CertificateRequestStatus, IssuerKind, Wait, WaitsFor};

    /// One of several namespaces, at one of two issuers, which waits or does not.
    fn request((number, namespace): (usize, &str), kind: &str, waits: bool) -> CertificateRequest {
        let mut request: CertificateRequest = serde_json::from_value(json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": format!("r{number}"), "namespace": namespace},
            "spec": {"issuerRef": {"kind": kind, "name": "ca"}, "secretName": "x"},
        }))
        .expect("a request");
        let on = WaitsFor::OrdersPerDay;
        let wait = waits.then_some(Wait { on, needs_person: false });
        request.status = Some(CertificateRequestStatus { wait, ..Default::default() });
        request
    }

    #[test]
    fn one_pass_tells_of_each_issuer_what_its_own_requests_come_to() {
        let stores = Stores::of_requests(vec![
            request((1, "a"), "Issuer", true),
            request((2, "a"), "Issuer", false),
            request((3, "b"), "Issuer", true),
            request((4, "a"), "ClusterIssuer", true),
            request((5, "b"), "ClusterIssuer", true),
        ]);
        let all = withheld(&stores);
        let withheld = |kind, namespace: Option<&str>| {
            let namespace = namespace.map(str::to_owned);
            let key = IssuerKey { kind, namespace, name: "ca".to_owned() };
            all[&key].clone().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(withheld(IssuerKind::Issuer, Some("a")), [("ordersPerDay", 1)]);
        assert_eq!(withheld(IssuerKind::Issuer, Some("b")), [("ordersPerDay", 1)]);
        assert_eq!(withheld(IssuerKind::ClusterIssuer, None), [("ordersPerDay", 2)]);
        assert_eq!(all.len(), 3);
    }
}
