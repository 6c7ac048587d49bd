//! The watches, their caches, and which change wakes which reconcile.
//!
//! Each cache is changed before anything is woken by the change. A change that lands in a cache
//! only after its wake-up would be missed for good, which is why the wake-ups come from here and
//! not from watches of the controllers' own.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, reflector, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::api::{
    CertificateRequest, ClusterIssuer, Issuer, IssuerKind, IssuerSpec, WaitsFor, annotation,
};
use crate::ca::registry;
use crate::controller::issuer::accounts::IssuerKey;
use crate::controller::memory::expectations::number;
use crate::controller::process::Process;
use crate::issuance::record::request_of;
use crate::issuance::renewal::jitter;
use crate::issuance::waits_for;

/// An object that may have been written for another version of its type: it must not stop a watch.
pub(in crate::controller) type Guarded<K> = DeserializeGuard<K>;
/// A Secret without its contents.
pub(in crate::controller) type SecretMeta = PartialObjectMeta<Secret>;

/// The caches.
#[derive(Clone)]
pub(in crate::controller) struct Stores {
    pub(in crate::controller) requests: Store<Guarded<CertificateRequest>>,
    pub(in crate::controller) issuers: Store<Guarded<Issuer>>,
    pub(in crate::controller) cluster_issuers: Store<Guarded<ClusterIssuer>>,
    pub(in crate::controller) targets: Store<SecretMeta>,
    pub(in crate::controller) credentials: Store<SecretMeta>,
    pub(in crate::controller) records: Store<SecretMeta>,
    /// Newest version that the watch of the targets has told of, deletions included.
    targets_reached: Arc<AtomicU64>,
}

/// Wakes reconciles from inside the operator.
#[derive(Clone)]
pub(in crate::controller) struct Wakers {
    requests: UnboundedSender<ObjectRef<Guarded<CertificateRequest>>>,
    issuers: UnboundedSender<ObjectRef<Guarded<Issuer>>>,
    cluster_issuers: UnboundedSender<ObjectRef<Guarded<ClusterIssuer>>>,
}

/// An object that was deleted, and of which nothing is worth remembering.
pub(in crate::controller) enum Gone {
    /// An issuer.
    Issuer(IssuerKey),
    /// A request, by uid.
    Request(String),
}

/// Everything that [`start`] starts.
pub(in crate::controller) struct Watches {
    pub(in crate::controller) stores: Stores,
    pub(in crate::controller) wakers: Wakers,
    pub(in crate::controller) requests: BoxStream<'static, ObjectRef<Guarded<CertificateRequest>>>,
    pub(in crate::controller) issuers: BoxStream<'static, ObjectRef<Guarded<Issuer>>>,
    pub(in crate::controller) cluster_issuers:
        BoxStream<'static, ObjectRef<Guarded<ClusterIssuer>>>,
    /// The watches end when this is dropped.
    pub(in crate::controller) tasks: JoinSet<()>,
}

/// Starts all watches.
///
/// `gone` is told of each issuer and each request that was deleted.
pub(in crate::controller) fn start(
    client: &Client,
    operator_namespace: &str,
    (process, incarnation): (&Process, &str),
    gone: impl Fn(Gone) + Clone + Send + 'static,
) -> Watches {
    let (requests, requests_writer) = store();
    let (issuers, issuers_writer) = store();
    let (cluster_issuers, cluster_issuers_writer) = store();
    let (targets, targets_writer) = store();
    let (credentials, credentials_writer) = store();
    let (records, records_writer) = store();
    let targets_reached = Arc::default();
    let stores = Stores {
        requests,
        issuers,
        cluster_issuers,
        targets,
        credentials,
        records,
        targets_reached,
    };
    let (wake_requests, request_wakes) = unbounded_channel();
    let (wake_issuers, issuer_wakes) = unbounded_channel();
    let (wake_cluster_issuers, cluster_issuer_wakes) = unbounded_channel();
    let wakers = Wakers {
        requests: wake_requests,
        issuers: wake_issuers,
        cluster_issuers: wake_cluster_issuers,
    };
    let all = watcher::Config::default();
    let labelled = |label: &str| watcher::Config::default().labels(&format!("{label}=true"));
    let pauses = |what: &str| Pauses::of(format!("{incarnation}/{what}"));
    let mut tasks = JoinSet::new();

    let routes = Routes { stores: stores.clone(), wakers: wakers.clone() };
    tasks.spawn(process.within(follow(
        Api::all(client.clone()),
        all.clone(),
        requests_writer,
        pauses("requests"),
        {
            let (routes, gone) = (routes.clone(), gone.clone());
            move |request: &Guarded<CertificateRequest>, is_gone| {
                if let (true, Some(uid)) = (is_gone, request.uid()) {
                    gone(Gone::Request(uid));
                }
                routes.request(request, is_gone);
            }
        },
    )));
    tasks.spawn(process.within(follow(
        Api::all(client.clone()),
        all.clone(),
        issuers_writer,
        pauses("issuers"),
        {
            let (routes, gone) = (routes.clone(), gone.clone());
            move |issuer: &Guarded<Issuer>, is_gone| {
                if is_gone {
                    gone(Gone::Issuer(IssuerKey {
                        kind: IssuerKind::Issuer,
                        namespace: issuer.namespace(),
                        name: issuer.name_any(),
                    }));
                }
                let _ = routes.wakers.issuers.send(ObjectRef::from_obj(issuer));
                routes.issuer(
                    IssuerKind::Issuer,
                    issuer.meta().namespace.as_deref(),
                    &issuer.name_any(),
                );
            }
        },
    )));
    tasks.spawn(process.within(follow(
        Api::all(client.clone()),
        all,
        cluster_issuers_writer,
        pauses("cluster_issuers"),
        {
            let routes = routes.clone();
            move |issuer: &Guarded<ClusterIssuer>, is_gone| {
                if is_gone {
                    gone(Gone::Issuer(IssuerKey {
                        kind: IssuerKind::ClusterIssuer,
                        namespace: None,
                        name: issuer.name_any(),
                    }));
                }
                let _ = routes.wakers.cluster_issuers.send(ObjectRef::from_obj(issuer));
                routes.issuer(IssuerKind::ClusterIssuer, None, &issuer.name_any());
            }
        },
    )));
    tasks.spawn(process.within(follow(
        Api::all(client.clone()),
        labelled(annotation::MANAGED_LABEL),
        targets_writer,
        pauses("targets"),
        {
            let routes = routes.clone();
            move |secret: &SecretMeta, _| {
                let version = number(secret.metadata.resource_version.as_deref());
                let reached = &routes.stores.targets_reached;
                reached.fetch_max(version.unwrap_or_default(), Ordering::AcqRel);
                routes.target(secret);
            }
        },
    )));
    tasks.spawn(process.within(follow(
        Api::all(client.clone()),
        labelled(annotation::ORDER_LABEL),
        records_writer,
        pauses("records"),
        {
            let routes = routes.clone();
            move |secret, is_gone| routes.record(secret, is_gone)
        },
    )));
    let operator_namespace = operator_namespace.to_owned();
    tasks.spawn(process.within(follow(
        Api::all(client.clone()),
        labelled(annotation::CREDENTIALS_LABEL),
        credentials_writer,
        pauses("credentials"),
        move |secret, _| routes.credentials(secret, &operator_namespace),
    )));
    Watches {
        stores,
        wakers,
        requests: wakes(request_wakes),
        issuers: wakes(issuer_wakes),
        cluster_issuers: wakes(cluster_issuer_wakes),
        tasks,
    }
}

fn wakes<T: Send + 'static>(receiver: UnboundedReceiver<T>) -> BoxStream<'static, T> {
    futures::stream::unfold(receiver, |mut receiver| async move {
        let next = receiver.recv().await?;
        Some((next, receiver))
    })
    .boxed()
}

/// The pauses between attempts at a watch: each about twice the last, and not the same for all
/// processes. They hang on nothing but who waits for what, so that what a process does can be repeated.
struct Pauses {
    of: String,
    attempts: u32,
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(800);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A watch that stood for so long begins anew with the shortest.
const STOOD: Duration = Duration::from_secs(120);

impl Pauses {
    fn of(of: String) -> ResetTimerBackoff<Self> {
        ResetTimerBackoff::new(Self { of, attempts: 0 }, STOOD)
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = SHORTEST_PAUSE.saturating_mul(1 << self.attempts.min(6)).min(LONGEST_PAUSE);
        self.attempts += 1;
        let most = i64::try_from(pause.as_millis()).unwrap_or_default();
        let more = jitter(&format!("{}/{}", self.of, self.attempts), most);
        Some(pause + Duration::from_millis(more.unsigned_abs()))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// Keeps one cache up to date, and calls `changed` after each change with whether the object is
/// gone.
async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    writer: reflector::store::Writer<K>,
    pauses: ResetTimerBackoff<Pauses>,
    changed: impl Fn(&K, bool) + Send,
) where
    K: Resource<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let cache = writer.as_reader();
    let events = watch(api, config).backoff(pauses).modify(|object: &mut K| {
        // A third of each object, and of no use here.
        object.meta_mut().managed_fields = None;
    });
    let mut events = std::pin::pin!(reflector(writer, events));
    // What is missing from a new list was deleted while nobody watched; nothing else tells.
    let mut before = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object)) => changed(&object, false),
            Ok(Event::Delete(object)) => changed(&object, true),
            // The cache takes the new list at once, at its end.
            Ok(Event::InitDone) => {
                let now = in_order(cache.state());
                let uids: HashSet<_> = now.iter().map(|object| object.uid()).collect();
                before
                    .drain(..)
                    .filter(|old: &Arc<K>| !uids.contains(&old.uid()))
                    .for_each(|old| changed(&old, true));
                now.iter().for_each(|object| changed(object, false));
            }
            Ok(Event::Init) => before = in_order(cache.state()),
            Ok(Event::InitApply(_)) => {}
            Err(error) => {
                tracing::warn!(resource = %K::plural(&()), %error, "the watch failed and is tried again");
            }
        }
    }
}

/// By namespace and name: a cache has no order of its own, and what follows is to be the same each
/// time.
fn in_order<K: Resource>(mut objects: Vec<Arc<K>>) -> Vec<Arc<K>> {
    let place = |object: &K| {
        let meta = object.meta();
        (meta.namespace.clone(), meta.name.clone())
    };
    objects.sort_by_cached_key(|object| place(object));
    objects
}

impl Stores {
    /// Caches that have seen these requests and nothing else.
    #[cfg(test)]
    pub(in crate::controller) fn of_requests(requests: Vec<CertificateRequest>) -> Self {
        let (reader, mut writer) = store();
        for request in requests {
            writer.apply_watcher_event(&Event::Apply(DeserializeGuard(Ok(request))));
        }
        Self {
            requests: reader,
            issuers: store().0,
            cluster_issuers: store().0,
            targets: store().0,
            credentials: store().0,
            records: store().0,
            targets_reached: Arc::default(),
        }
    }

    /// Waits until every watch had its first answer.
    pub(in crate::controller) async fn wait_until_ready(&self) {
        // An error means that the watches have ended, which they do at shutdown only.
        let _ = tokio::join!(
            self.requests.wait_until_ready(),
            self.issuers.wait_until_ready(),
            self.cluster_issuers.wait_until_ready(),
            self.targets.wait_until_ready(),
            self.credentials.wait_until_ready(),
            self.records.wait_until_ready(),
        );
    }

    /// The request as the cache has it now.
    pub(in crate::controller) fn request(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Guarded<CertificateRequest>>> {
        self.requests.get(&ObjectRef::new(name).within(namespace))
    }

    /// Newest version of any target that has arrived. A Secret that was deleted right after it was
    /// written has no version in the cache; that its deletion arrived says the same.
    pub(in crate::controller) fn targets_reached(&self) -> u64 {
        self.targets_reached.load(Ordering::Acquire)
    }

    /// resourceVersion of a credentials Secret.
    pub(in crate::controller) fn credentials_version(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<String> {
        self.credentials.get(&ObjectRef::new(name).within(namespace))?.resource_version()
    }
}

impl Wakers {
    /// Has everything looked at that is in the caches.
    pub(in crate::controller) fn everything(&self, stores: &Stores) {
        // A receiver is gone at shutdown only.
        for issuer in in_order(stores.issuers.state()) {
            let _ = self.issuers.send(ObjectRef::from_obj(&*issuer));
        }
        for issuer in in_order(stores.cluster_issuers.state()) {
            let _ = self.cluster_issuers.send(ObjectRef::from_obj(&*issuer));
        }
        for request in in_order(stores.requests.state()) {
            let _ = self.requests.send(ObjectRef::from_obj(&*request));
        }
    }

    /// Has a request looked at again.
    pub(in crate::controller) fn request(&self, namespace: &str, name: &str) {
        // A receiver is gone at shutdown only.
        let _ = self.requests.send(ObjectRef::new(name).within(namespace));
    }

    /// Has an issuer looked at again.
    pub(in crate::controller) fn issuer(
        &self,
        kind: IssuerKind,
        namespace: Option<&str>,
        name: &str,
    ) {
        // A receiver is gone at shutdown only.
        let _ = match kind {
            IssuerKind::Issuer => self
                .issuers
                .send(ObjectRef::new(name).within(namespace.unwrap_or_default()))
                .is_ok(),
            IssuerKind::ClusterIssuer => self.cluster_issuers.send(ObjectRef::new(name)).is_ok(),
        };
    }
}

#[derive(Clone)]
struct Routes {
    stores: Stores,
    wakers: Wakers,
}

impl Routes {
    fn wake(&self, request: &Guarded<CertificateRequest>) {
        let _ = self.wakers.requests.send(ObjectRef::from_obj(request));
    }

    fn wake_where(&self, namespace: Option<&str>, fits: impl Fn(&CertificateRequest) -> bool) {
        let woken = self.stores.requests.state_filter(|request| {
            let is_near = namespace.is_none() || request.meta().namespace.as_deref() == namespace;
            is_near && request.0.as_ref().is_ok_and(&fits)
        });
        in_order(woken).iter().for_each(|request| self.wake(request));
    }

    /// A request wakes itself; one that goes wakes those that waited for its Secret.
    fn request(&self, request: &Guarded<CertificateRequest>, is_gone: bool) {
        self.wake(request);
        if let (true, Ok(gone)) = (is_gone, &request.0) {
            self.wake_where(gone.metadata.namespace.as_deref(), |other| {
                other.spec.secret_name == gone.spec.secret_name
            });
            self.order_is_gone(gone);
        }
    }

    /// With a request its place among the open orders of its issuer is free.
    fn order_is_gone(&self, gone: &CertificateRequest) {
        let issuer = &gone.spec.issuer_ref;
        if gone.status.as_ref().is_none_or(|status| status.order.is_none()) {
            return;
        }
        let namespace = match issuer.kind {
            IssuerKind::Issuer => gone.metadata.namespace.as_deref(),
            IssuerKind::ClusterIssuer => None,
        };
        self.wake_where(namespace, |other| {
            let wait = other.status.as_ref().and_then(waits_for);
            other.spec.issuer_ref == *issuer
                && wait.is_some_and(|wait| wait.on == WaitsFor::OpenOrders)
        });
    }

    fn issuer(&self, kind: IssuerKind, namespace: Option<&str>, name: &str) {
        self.wake_where(namespace, |request| {
            request.spec.issuer_ref.kind == kind && request.spec.issuer_ref.name == name
        });
    }

    fn target(&self, secret: &SecretMeta) {
        if let (Some(namespace), Some(request)) =
            (secret.namespace(), secret.annotations().get(annotation::REQUEST))
        {
            let _ = self.wakers.requests.send(ObjectRef::new(request).within(&namespace));
        }
    }

    /// A record that somebody put back, or took away, is looked at by its request.
    fn record(&self, secret: &SecretMeta, is_gone: bool) {
        let name = secret.name_any();
        if is_gone {
            tracing::warn!(
                record.namespace = secret.namespace(),
                record.name = name,
                order.reference = secret.annotations().get(annotation::ORDER_REFERENCE),
                order.state = secret.annotations().get(annotation::ORDER_STATE),
                order.id = secret.annotations().get(annotation::ORDER_ID),
                "the record of an order is gone, and with it the key"
            );
        }
        if let (Some(namespace), Some(request)) = (secret.namespace(), request_of(&name)) {
            self.wakers.request(&namespace, request);
        }
    }

    fn credentials(&self, secret: &SecretMeta, operator_namespace: &str) {
        let (Some(namespace), name) = (secret.namespace(), secret.name_any()) else {
            return;
        };
        let refers = |spec: &IssuerSpec| {
            registry::account(spec).is_ok_and(|account| account.secrets().contains(&name.as_str()))
        };
        for issuer in in_order(self.stores.issuers.state()) {
            let is_near = issuer.meta().namespace.as_deref() == Some(&namespace);
            if is_near && issuer.0.as_ref().is_ok_and(|issuer| refers(&issuer.spec)) {
                let _ = self.wakers.issuers.send(ObjectRef::from_obj(&*issuer));
            }
        }
        for issuer in in_order(self.stores.cluster_issuers.state()) {
            let is_near = namespace == operator_namespace;
            if is_near && issuer.0.as_ref().is_ok_and(|issuer| refers(&issuer.spec.issuer)) {
                let _ = self.wakers.cluster_issuers.send(ObjectRef::from_obj(&*issuer));
            }
        }
        self.wake_where(Some(&namespace), |request| {
            registry::own_credentials(&request.spec) == Some(&name)
                || request.spec.csr_secret_ref.as_ref().is_some_and(|csr| csr.name == name)
        });
    }
}
