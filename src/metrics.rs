//! Prometheus metrics. Names of objects are labels only where an alert needs them: on expiry and
//! renewal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, MetricEncoder,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::CertificateRequest;
use crate::api::condition::{self, ISSUING, READY, STALLED};
use crate::decode::Guarded;
use crate::issuance::record::request_of;
use crate::reason::Reason;

/// All metrics of the operator.
pub struct Metrics {
    registry: Mutex<Registry>,
    ca_requests: Family<CaRequest, Counter>,
    ca_latency: Family<CaOperation, Histogram, fn() -> Histogram>,
    time_to_issue: Family<OneIssuer, Histogram, fn() -> Histogram>,
    order_events: Family<EventOfOrder, Counter>,
    events_dropped: Counter,
    panics: Family<Panicked, Counter>,
    admission_policies: Family<OfPolicy, Gauge>,
    /// Of which issuers something was counted, and which calls.
    counted: Mutex<BTreeMap<OneIssuer, Calls>>,
    counted_events: Mutex<BTreeSet<EventOfOrder>>,
    is_there: Mutex<Option<IsThere>>,
    has_namespace: Mutex<Option<HasNamespace>>,
}

/// Step and outcome.
type Calls = BTreeSet<(&'static str, &'static str)>;
type IsThere = Box<dyn Fn(&OneIssuer) -> bool + Send + Sync>;
type HasNamespace = Box<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Panicked {
    kind: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CaRequest {
    #[prometheus(flatten)]
    issuer: OneIssuer,
    step: &'static str,
    disposition: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CaOperation {
    #[prometheus(flatten)]
    issuer: OneIssuer,
    step: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct EventOfOrder {
    #[prometheus(flatten)]
    requests: RequestsOf,
    event: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfPolicy {
    policy: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("chancery");
        let ca_requests = Family::default();
        registry.register(
            "ca_requests",
            "Calls to certificate authorities, by outcome",
            ca_requests.clone(),
        );
        // From 10 ms to 40 s, past the default deadline of a request.
        let ca_latency: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 13)));
        registry.register(
            "ca_request_duration_seconds",
            "Time from a call to a certificate authority to its complete answer",
            ca_latency.clone(),
        );
        // From 50 ms to five days: approvals take that long.
        let time_to_issue: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.05, 3.0, 15)));
        registry.register(
            "time_to_issue_seconds",
            "Time from the creation of a request to its first delivered certificate",
            time_to_issue.clone(),
        );
        let order_events = Family::default();
        registry.register(
            "order_events",
            "Events of orders that cost money, as the log of purchases has them: submitted and found are purchases",
            order_events.clone(),
        );
        let events_dropped = Counter::default();
        registry.register(
            "events_dropped",
            "Events that were not written: too many waited, or the API server did not take them",
            events_dropped.clone(),
        );
        let panics = Family::default();
        registry.register(
            "panics",
            "Runs for objects of a kind, or steps of a part of the operator, that ended by a fault of the program",
            panics.clone(),
        );
        let admission_policies = Family::default();
        registry.register(
            "admission_policy",
            "Whether an admission policy of deploy/admission.yaml is in force for this operator",
            admission_policies.clone(),
        );
        let registry = Mutex::new(registry);
        Self {
            registry,
            ca_requests,
            ca_latency,
            time_to_issue,
            order_events,
            events_dropped,
            panics,
            admission_policies,
            counted: Mutex::default(),
            counted_events: Mutex::default(),
            is_there: Mutex::default(),
            has_namespace: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Counts one request to a CA.
    pub fn ca_request(
        &self,
        issuer: &OneIssuer,
        step: &'static str,
        disposition: &'static str,
        took: Duration,
    ) {
        self.note(issuer, Some((step, disposition)));
        let issuer = issuer.clone();
        self.ca_requests
            .get_or_create(&CaRequest { issuer: issuer.clone(), step, disposition })
            .inc();
        self.ca_latency.get_or_create(&CaOperation { issuer, step }).observe(took.as_secs_f64());
    }

    /// Counts an Event that nobody will see.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// Counts a run for an object of this kind, or a step of this part of the operator, that panicked.
    pub fn panicked(&self, kind: &str) {
        self.panics.get_or_create(&Panicked { kind: kind.to_owned() }).inc();
    }

    /// Notes how long a first issuance took, in seconds.
    pub fn time_to_issue(&self, issuer: &OneIssuer, seconds: f64) {
        self.note(issuer, None);
        self.time_to_issue.get_or_create(issuer).observe(seconds);
    }

    /// Counts an event of an order for a request in this namespace.
    pub fn order_event(&self, issuer: &OneIssuer, request_namespace: &str, event: &'static str) {
        let (issuer, request_namespace) = (issuer.clone(), request_namespace.to_owned());
        let labels = EventOfOrder { requests: RequestsOf { issuer, request_namespace }, event };
        self.order_events.get_or_create(&labels).inc();
        lock(&self.counted_events).insert(labels);
    }

    fn note(&self, issuer: &OneIssuer, call: Option<(&'static str, &'static str)>) {
        lock(&self.counted).entry(issuer.clone()).or_default().extend(call);
    }

    /// Says which issuers there are: what was counted of others is forgotten with each scrape, and by
    /// [`Self::forget`].
    pub fn observe_issuers(&self, is_there: impl Fn(&OneIssuer) -> bool + Send + Sync + 'static) {
        *lock(&self.is_there) = Some(Box::new(is_there));
    }

    /// Says which namespaces there are: what was counted of requests in others is forgotten likewise.
    pub fn observe_request_namespaces(&self, has: impl Fn(&str) -> bool + Send + Sync + 'static) {
        *lock(&self.has_namespace) = Some(Box::new(has));
    }

    /// Forgets what was counted of issuers and namespaces that are gone.
    pub fn forget(&self) {
        let (is_there, has_namespace) = (lock(&self.is_there), lock(&self.has_namespace));
        let Some(is_there) = &*is_there else { return };
        lock(&self.counted_events).retain(|labels| {
            let requests = &labels.requests;
            let has_namespace = has_namespace.as_ref();
            let stays = has_namespace.is_none_or(|has| has(&requests.request_namespace))
                && is_there(&requests.issuer);
            if !stays {
                self.order_events.remove(labels);
            }
            stays
        });
        lock(&self.counted).retain(|issuer, calls| {
            let stays = is_there(issuer);
            if !stays {
                self.remove(issuer, calls);
            }
            stays
        });
    }

    fn remove(&self, issuer: &OneIssuer, calls: &Calls) {
        for (step, disposition) in calls {
            let (step, disposition) = (*step, *disposition);
            self.ca_requests.remove(&CaRequest { issuer: issuer.clone(), step, disposition });
            self.ca_latency.remove(&CaOperation { issuer: issuer.clone(), step });
        }
        self.time_to_issue.remove(issuer);
    }

    /// Notes whether an admission policy is in force.
    pub fn admission_policy(&self, policy: &'static str, is_in_force: bool) {
        self.admission_policies.get_or_create(&OfPolicy { policy }).set(i64::from(is_in_force));
    }

    /// Reports on the requests and the records of orders in the caches with each scrape. Where a
    /// namespace is not seen whole, nobody knows whether the request of a record is gone.
    pub fn observe_requests(
        &self,
        requests: Store<Guarded<CertificateRequest>>,
        records: Store<Guarded<PartialObjectMeta<Secret>>>,
        is_seen: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) {
        let is_seen = Box::new(is_seen);
        self.registry().register_collector(Box::new(Requests { requests, records, is_seen }));
    }

    /// Reports with each scrape on the issuers and their limits.
    pub fn observe_issuer_figures(
        &self,
        figures: impl Fn() -> Vec<IssuerFigures> + Send + Sync + 'static,
    ) {
        self.registry().register_collector(Box::new(Issuers(figures)));
    }

    /// Reports with each scrape on the objects that cannot be read, by kind and namespace.
    pub fn observe_unreadable(
        &self,
        count: impl Fn() -> BTreeMap<(String, String), u64> + Send + Sync + 'static,
    ) {
        self.registry().register_collector(Box::new(UnreadableObjects(count)));
    }

    /// Reports with each scrape on the chosen namespaces, and whether each is seen whole.
    pub fn observe_namespaces(
        &self,
        seen: impl Fn() -> Vec<(String, bool)> + Send + Sync + 'static,
    ) {
        self.registry().register_collector(Box::new(WatchedNamespaces(seen)));
    }

    /// Reports with each scrape whether this process acts.
    pub fn observe_leader(&self, is_leader: impl Fn() -> bool + Send + Sync + 'static) {
        self.registry().register_collector(Box::new(Leader(is_leader)));
    }

    /// The exposition in OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        self.forget();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry());
        text
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A gauge that is asked for at the moment: what was set at the last renewal would outlive it.
struct Leader<F>(F);

impl<F> std::fmt::Debug for Leader<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Leader")
    }
}

impl<F: Fn() -> bool + Send + Sync + 'static> Collector for Leader<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(i64::from((self.0)()));
        let help = "Whether this process holds the lease and acts (1), or stands by (0)";
        gauge.encode(encoder.encode_descriptor("leader", help, None, gauge.metric_type())?)
    }
}

/// What the operator sees now.
struct WatchedNamespaces<F>(F);

impl<F> std::fmt::Debug for WatchedNamespaces<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("WatchedNamespaces")
    }
}

impl<F> Collector for WatchedNamespaces<F>
where
    F: Fn() -> Vec<(String, bool)> + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        gauges(
            &mut encoder,
            "namespace_watched",
            "Whether all that is watched in a chosen namespace (--watch-namespaces), or in the operator's own, could be listed and is not refused: the log says how to mend it",
            (self.0)().into_iter().map(|(namespace, is_seen)| {
                (OfNamespace { namespace }, f64::from(u8::from(is_seen)))
            }),
        )
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfKind {
    kind: String,
    namespace: String,
}

/// Read off the caches too.
struct UnreadableObjects<F>(F);

impl<F> std::fmt::Debug for UnreadableObjects<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("UnreadableObjects")
    }
}

impl<F> Collector for UnreadableObjects<F>
where
    F: Fn() -> BTreeMap<(String, String), u64> + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        gauges(
            &mut encoder,
            "unreadable_objects",
            "Objects that this version cannot read, and leaves alone: the log names each",
            (self.0)()
                .into_iter()
                .map(|((kind, namespace), count)| (OfKind { kind, namespace }, count as f64)),
        )
    }
}

/// An issuer: whether it takes requests, its limits, and what is used of them.
#[derive(Clone, Debug)]
pub struct IssuerFigures {
    /// `Issuer` or `ClusterIssuer`.
    pub kind: String,
    /// Its namespace; empty for a `ClusterIssuer`.
    pub namespace: String,
    /// Its name.
    pub issuer: String,
    /// Its condition `Ready` is True.
    pub is_ready: bool,
    /// Each limit by its field.
    pub limits: Vec<(&'static str, u32)>,
    /// Orders that are reserved today, where the day's orders are limited.
    pub reserved: Option<u32>,
    /// Open orders, where certificates are ordered.
    pub open: Option<u32>,
    /// Requests that wait, by the field of the limit.
    pub withheld: Vec<(&'static str, u32)>,
}

/// An issuer as labels.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct OneIssuer {
    /// `Issuer` or `ClusterIssuer`.
    pub kind: String,
    /// Its namespace; empty for a `ClusterIssuer`.
    pub namespace: String,
    /// Its name.
    pub issuer: String,
}

impl OneIssuer {
    /// The issuer that a request names.
    fn of(request: &CertificateRequest) -> Self {
        let reference = &request.spec.issuer_ref;
        let namespace = reference.kind.namespace(request.namespace()).unwrap_or_default();
        Self { kind: reference.kind.to_string(), namespace, issuer: reference.name.clone() }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OneLimit {
    kind: String,
    namespace: String,
    issuer: String,
    limit: &'static str,
}

impl IssuerFigures {
    fn one(&self) -> OneIssuer {
        OneIssuer {
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            issuer: self.issuer.clone(),
        }
    }

    fn by_limit(&self, values: &[(&'static str, u32)]) -> Vec<(OneLimit, f64)> {
        let labels = |limit| {
            let OneIssuer { kind, namespace, issuer } = self.one();
            OneLimit { kind, namespace, issuer, limit }
        };
        values.iter().map(|(limit, value)| (labels(*limit), f64::from(*value))).collect()
    }
}

/// Read off the caches too.
struct Issuers<F>(F);

impl<F> std::fmt::Debug for Issuers<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Issuers")
    }
}

impl<F: Fn() -> Vec<IssuerFigures> + Send + Sync + 'static> Collector for Issuers<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let all = (self.0)();
        gauges(
            &mut encoder,
            "issuer_limit",
            "Limits of an issuer, by their fields in spec.limits; the default of a field that is not set, where it has one",
            all.iter().flat_map(|one| one.by_limit(&one.limits)),
        )?;
        let single = |value: fn(&IssuerFigures) -> Option<u32>| {
            all.iter().filter_map(move |one| Some((one.one(), f64::from(value(one)?))))
        };
        gauges(
            &mut encoder,
            "issuer_ready",
            "Whether an issuer takes requests (1): its condition Ready is True",
            all.iter().map(|one| (one.one(), f64::from(u8::from(one.is_ready)))),
        )?;
        gauges(
            &mut encoder,
            "issuer_orders_reserved",
            "Orders reserved on this UTC day out of those that ordersPerDay allows: at least as many as were submitted",
            single(|one| one.reserved),
        )?;
        gauges(
            &mut encoder,
            "issuer_open_orders",
            "Open orders of an issuer, as openOrders counts them",
            single(|one| one.open),
        )?;
        gauges(
            &mut encoder,
            "issuer_requests_withheld",
            "Requests that wait for a limit of their issuer, by the limit's field in spec.limits",
            all.iter().flat_map(|one| one.by_limit(&one.withheld)),
        )
    }
}

/// Gauges that are read off the cache: they cannot be wrong after a restart.
struct Requests {
    requests: Store<Guarded<CertificateRequest>>,
    records: Store<Guarded<PartialObjectMeta<Secret>>>,
    is_seen: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Requests")
    }
}

/// The requests of one namespace at one issuer.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct RequestsOf {
    #[prometheus(flatten)]
    issuer: OneIssuer,
    /// That of the issuer says nothing of it where it is a `ClusterIssuer`.
    request_namespace: String,
}

impl RequestsOf {
    /// Those that this one is among.
    fn like(request: &CertificateRequest) -> Self {
        let request_namespace = request.namespace().unwrap_or_default();
        Self { issuer: OneIssuer::of(request), request_namespace }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Phase {
    #[prometheus(flatten)]
    requests: RequestsOf,
    ready: String,
    phase: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct OrderPhase {
    #[prometheus(flatten)]
    requests: RequestsOf,
    phase: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct OfPerson {
    #[prometheus(flatten)]
    requests: RequestsOf,
    reason: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct OfNamespace {
    namespace: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OfRequest {
    namespace: String,
    name: String,
    kind: String,
    issuer: String,
}

impl Requests {
    /// Records whose request is gone.
    fn orphans(&self) -> BTreeMap<OfNamespace, u64> {
        let mut orphans = BTreeMap::<OfNamespace, u64>::new();
        for record in self.records.state() {
            let (name, namespace) = (record.name_any(), record.namespace().unwrap_or_default());
            let request = ObjectRef::new(request_of(&name).unwrap_or_default()).within(&namespace);
            if (self.is_seen)(&namespace) && self.requests.get(&request).is_none() {
                *orphans.entry(OfNamespace { namespace }).or_default() += 1;
            }
        }
        orphans
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut phases = BTreeMap::<Phase, u64>::new();
        let mut orders = BTreeMap::<OrderPhase, u64>::new();
        let mut waiting = BTreeMap::<OfPerson, u64>::new();
        let mut expiry = Vec::new();
        let mut renewal = Vec::new();
        for guarded in self.requests.state() {
            let Ok(request) = &guarded.0 else { continue };
            *phases.entry(phase(request)).or_default() += 1;
            let Some(status) = &request.status else {
                continue;
            };
            if let Some(stalled) = condition::find(&status.conditions, STALLED)
                && stalled.status == "True"
            {
                let requests = RequestsOf::like(request);
                let reason = known(&stalled.reason).to_owned();
                *waiting.entry(OfPerson { requests, reason }).or_default() += 1;
            }
            if let Some(order) = &status.order {
                let requests = RequestsOf::like(request);
                let phase = format!("{:?}", order.phase);
                *orders.entry(OrderPhase { requests, phase }).or_default() += 1;
            }
            if let Some(certificate) = &status.certificate {
                expiry.push((of(request), certificate.not_after.0));
            }
            if let Some(time) = &status.renewal_time {
                renewal.push((of(request), time.0));
            }
        }
        let orders = orders.into_iter().map(|(labels, count)| (labels, count as f64));
        gauges(
            &mut encoder,
            "orders",
            "Orders that are open or need a person, by issuer, namespace of the request and phase",
            orders,
        )?;
        gauges(
            &mut encoder,
            "requests_waiting_for_person",
            "Requests in which nothing goes on until a person does something, by issuer, namespace of the request and reason",
            waiting.into_iter().map(|(labels, count)| (labels, count as f64)),
        )?;
        gauges(
            &mut encoder,
            "order_records_without_request",
            "Secrets with the key of an order whose request is gone",
            self.orphans().into_iter().map(|(labels, count)| (labels, count as f64)),
        )?;
        let counted = phases.into_iter().map(|(labels, count)| (labels, count as f64));
        gauges(
            &mut encoder,
            "certificate_requests",
            "Requests by issuer, namespace of the request, readiness and phase",
            counted,
        )?;
        gauges(
            &mut encoder,
            "certificate_not_after_timestamp_seconds",
            "End of validity of the delivered certificate, in seconds since 1970",
            expiry.into_iter().map(in_seconds),
        )?;
        gauges(
            &mut encoder,
            "certificate_renewal_timestamp_seconds",
            "When the certificate is renewed, in seconds since 1970",
            renewal.into_iter().map(in_seconds),
        )
    }
}

fn in_seconds((labels, time): (OfRequest, Timestamp)) -> (OfRequest, f64) {
    (labels, time.as_second() as f64)
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (L, f64)>,
) -> Result<(), std::fmt::Error> {
    let mut family: MetricEncoder<'_> = encoder.encode_descriptor(
        name,
        help,
        None,
        prometheus_client::metrics::MetricType::Gauge,
    )?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn of(request: &CertificateRequest) -> OfRequest {
    OfRequest {
        namespace: request.namespace().unwrap_or_default(),
        name: request.name_any(),
        kind: request.spec.issuer_ref.kind.to_string(),
        issuer: request.spec.issuer_ref.name.clone(),
    }
}

/// A reason that we write. Others write statuses too, and no series is to come of each of their words.
fn known(reason: &str) -> &str {
    if Reason::has(reason) { reason } else { "Other" }
}

fn phase(request: &CertificateRequest) -> Phase {
    let conditions = request.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let phase =
        condition::find(conditions, ISSUING).map_or("New", |issuing| known(&issuing.reason));
    Phase {
        requests: RequestsOf::like(request),
        ready: condition::is_true(conditions, READY).to_string(),
        phase: phase.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(namespace: &str) -> OneIssuer {
        let (kind, issuer) = ("Issuer".to_owned(), "ca".to_owned());
        OneIssuer { kind, namespace: namespace.to_owned(), issuer }
    }

    #[test]
    fn issuers_are_ready_or_not() {
        let metrics = Metrics::default();
        let figures = |namespace: &str, is_ready| {
            let OneIssuer { kind, namespace, issuer } = issuer(namespace);
            let (limits, withheld) = (Vec::new(), Vec::new());
            let (reserved, open) = (None, None);
            IssuerFigures { kind, namespace, issuer, is_ready, limits, reserved, open, withheld }
        };
        metrics.observe_issuer_figures(move || vec![figures("a", true), figures("b", false)]);
        let page = metrics.encode();
        for (namespace, value) in [("a", 1), ("b", 0)] {
            let labels = format!("{{kind=\"Issuer\",namespace=\"{namespace}\",issuer=\"ca\"}}");
            let line = format!("chancery_issuer_ready{labels} {value}.0\n");
            assert!(page.contains(&line), "{line}{page}");
        }
    }

    #[test]
    fn only_what_is_stalled_waits_for_a_person() {
        let (requests, mut writer) = kube::runtime::reflector::store();
        let rows = [("a", "True"), ("b", "True"), ("c", "False")];
        for (name, status) in rows {
            let request = serde_json::from_value(serde_json::json!({
                "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"issuerRef": {"name": "ca"}, "secretName": name},
                "status": {"conditions": [{
                    "type": "Stalled", "status": status, "reason": "OrderOutcomeUnknown",
                    "message": "", "lastTransitionTime": "2026-06-01T12:00:00Z",
                }]},
            }));
            let request = Guarded(Ok(request.expect("a request")));
            writer.apply_watcher_event(&kube::runtime::watcher::Event::Apply(request));
        }
        let (records, _writer) = kube::runtime::reflector::store();
        let metrics = Metrics::default();
        metrics.observe_requests(requests, records, |_| true);
        let page = metrics.encode();
        let labels = "kind=\"Issuer\",namespace=\"shop\",issuer=\"ca\",request_namespace=\"shop\"";
        let line = format!(
            "chancery_requests_waiting_for_person{{{labels},reason=\"OrderOutcomeUnknown\"}} 2.0\n"
        );
        assert!(page.contains(&line), "{line}{page}");
    }

    #[test]
    fn a_word_that_is_none_of_ours_makes_no_series() {
        assert_eq!([known("Issued"), known("made-up-7")], ["Issued", "Other"]);
    }

    #[test]
    fn what_was_counted_of_an_issuer_ends_with_it_and_stays_with_its_namesake() {
        let metrics = Metrics::default();
        for namespace in ["gone", "here"] {
            metrics.ca_request(&issuer(namespace), "submit", "issued", Duration::from_secs(1));
            metrics.time_to_issue(&issuer(namespace), 2.0);
        }
        assert!(metrics.encode().contains("namespace=\"gone\""));
        metrics.observe_issuers(|issuer| issuer.namespace == "here");
        metrics.forget();
        // A run that was under way tells afterwards.
        metrics.ca_request(&issuer("gone"), "submit", "issued", Duration::from_secs(1));
        let page = metrics.encode();
        assert!(!page.contains("gone"), "{page}");
        let kept = "chancery_ca_requests_total{kind=\"Issuer\",namespace=\"here\",issuer=\"ca\",step=\"submit\",disposition=\"issued\"} 1\n";
        assert!(page.contains(kept), "{page}");
    }

    #[test]
    fn events_of_orders_are_counted_by_namespace_and_end_with_it() {
        let metrics = Metrics::default();
        let paid = OneIssuer { kind: "ClusterIssuer".to_owned(), ..issuer("") };
        for namespace in ["here", "here", "gone"] {
            metrics.order_event(&paid, namespace, "submitted");
        }
        metrics.order_event(&issuer("nobody"), "here", "submitted");
        let of = |namespace: &str, count| {
            format!(
                "chancery_order_events_total{{kind=\"ClusterIssuer\",namespace=\"\",issuer=\"ca\",request_namespace=\"{namespace}\",event=\"submitted\"}} {count}\n"
            )
        };
        let page = metrics.encode();
        assert!(page.contains(&of("here", 2)) && page.contains(&of("gone", 1)), "{page}");
        metrics.observe_issuers(|issuer| issuer.kind == "ClusterIssuer");
        metrics.observe_request_namespaces(|namespace| namespace == "here");
        let page = metrics.encode();
        assert!(page.contains(&of("here", 2)), "{page}");
        assert!(!page.contains("gone") && !page.contains("nobody"), "{page}");
    }
}
