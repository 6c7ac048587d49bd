//! The watches, their caches, and which change wakes which reconcile.
//!
//! Each cache is changed before anything is woken by the change. A change that lands in a cache
//! only after its wake-up would be missed for good, which is why the wake-ups come from here and
//! not from watches of the controllers' own.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, store};
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher as watch;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt as _};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use crate::api::{
    CertificateRequest, ClusterIssuer, Issuer, IssuerKind, IssuerSpec, IssuerStatus, WaitsFor,
    annotation,
};
use crate::ca::registry;
use crate::controller::caught::caught_at_once;
use crate::controller::cluster::by_name;
use crate::controller::cluster::chosen::{Chosen, refusal};
use crate::controller::cluster::part::{Part, Watched, shared};
use crate::controller::cluster::stores::{
    ConfigMapMeta, Guarded, NamespaceMeta, SecretMeta, Stores, in_order,
};
use crate::controller::cluster::wakers::Wakers;
use crate::controller::issuer::key::IssuerKey;
use crate::controller::issuer::object::IssuerObject;
use crate::controller::issuer::quota::Quotas;
use crate::controller::memory::expectations::number;
use crate::controller::process::Process;
use crate::issuance::quota;
use crate::issuance::record::{record_name, request_of};
use crate::issuance::renewal::jitter;
use crate::issuance::waits_for;
use crate::metrics::Metrics;
use crate::namespaces::Namespaces;
use crate::sight::Sight;

/// An object that was deleted, and of which nothing is worth remembering.
pub(in crate::controller) enum Gone {
    /// An issuer.
    Issuer(IssuerKey),
    /// A request.
    Request {
        /// Its uid.
        uid: String,
        /// Its namespace and name.
        name: (String, String),
    },
    /// A request whose order the CA has: its id is in no other object.
    Order(GoneOrder),
}

/// The order of a request that is gone, and the record that is to keep its id.
pub(in crate::controller) struct GoneOrder {
    pub(in crate::controller) namespace: String,
    /// Name of the record.
    pub(in crate::controller) record: String,
    /// uid and resourceVersion of the record.
    pub(in crate::controller) version: (String, String),
    /// Id of the order at the CA.
    pub(in crate::controller) id: String,
}

/// The caches, empty, and who can be woken: [`Prepared::start`] begins to fill them.
pub(in crate::controller) struct Prepared {
    pub(in crate::controller) stores: Stores,
    pub(in crate::controller) wakers: Wakers,
    writers: Writers,
    woken: Woken,
}

/// Everything that [`Prepared::start`] starts.
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

/// Prepares the watches of what there is to see, and starts none.
pub(in crate::controller) fn prepare(sight: Sight) -> Prepared {
    let (stores, writers) = caches(sight);
    let (wakers, woken) = wakers();
    Prepared { stores, wakers, writers, woken }
}

impl Prepared {
    /// Starts all watches.
    ///
    /// `gone` is told of each issuer and each request that was deleted.
    pub(in crate::controller) fn start(
        self,
        client: &Client,
        operator_namespace: &str,
        (process, incarnation, metrics): (&Process, &str, &Arc<Metrics>),
        quotas: &Arc<Quotas>,
        gone: impl Fn(Gone) + Clone + Send + 'static,
    ) -> Watches {
        let tasks = JoinSet::new();
        let (stores, wakers) = (self.stores.clone(), self.wakers.clone());
        let own = operator_namespace;
        let watching =
            Watching { client, process, incarnation, metrics, own, stores, wakers, tasks };
        start(self, watching, operator_namespace, quotas, gone)
    }
}

fn start(
    Prepared { stores, wakers, writers, woken }: Prepared,
    mut watching: Watching<'_>,
    operator_namespace: &str,
    quotas: &Arc<Quotas>,
    gone: impl Fn(Gone) + Clone + Send + 'static,
) -> Watches {
    let quotas = Arc::clone(quotas);
    let routes = Routes { stores: stores.clone(), wakers: wakers.clone(), quotas };
    let labelled = |label: &str| watcher::Config::default().labels(&format!("{label}=true"));

    watching.begin();
    let (to, told) = (routes.clone(), gone.clone());
    watching.each(
        watcher::Config::default(),
        "requests",
        writers.requests,
        move |request, is_gone| {
            if let (true, Some(uid)) = (is_gone, request.uid()) {
                let name = (request.namespace().unwrap_or_default(), request.name_any());
                told(Gone::Request { uid, name });
                if let Some(order) = to.gone_order(request) {
                    told(Gone::Order(order));
                }
            }
            to.request(request, is_gone);
        },
    );
    let issuers = routes.of_issuers(gone.clone());
    watching.each(watcher::Config::default(), "issuers", writers.issuers, issuers);
    let news = Arc::new(Notify::new());
    let (changed, told) = (routes.of_issuers(gone), Arc::clone(&news));
    let changed = move |issuer: &_, is_gone| {
        told.notify_one();
        changed(issuer, is_gone);
    };
    let part = Part::telling(writers.cluster_issuers, &news);
    watching.cluster_issuers(part, changed);
    let to = routes.clone();
    let config = labelled(annotation::MANAGED_LABEL);
    watching.each(config, "targets", writers.targets, move |secret, gone| to.target(secret, gone));
    let to = routes.clone();
    let config = labelled(annotation::ORDER_LABEL);
    watching.each(config, "records", writers.records, move |secret, gone| to.record(secret, gone));
    let bundle_routes = routes.clone();
    let to = routes.clone();
    watching.all("namespaces", writers.namespaces, move |namespace: &NamespaceMeta, _| {
        to.namespace(&namespace.name_any());
    });
    let namespace = operator_namespace.to_owned();
    let config = labelled(annotation::CREDENTIALS_LABEL);
    watching.credentials(config, writers.credentials, news, move |secret, _| {
        routes.credentials(secret, &namespace);
    });
    let namespace = operator_namespace.to_owned();
    let config = labelled(annotation::TRUST_LABEL);
    watching.each(config, "bundles", writers.bundles, move |map, _| {
        bundle_routes.bundle(map, &namespace);
    });
    let Woken { requests, issuers, cluster_issuers } = woken;
    Watches { stores, wakers, requests, issuers, cluster_issuers, tasks: watching.tasks }
}

/// Fills the caches.
struct Writers {
    requests: Writer<Guarded<CertificateRequest>>,
    issuers: Writer<Guarded<Issuer>>,
    cluster_issuers: Writer<Guarded<ClusterIssuer>>,
    targets: Writer<SecretMeta>,
    credentials: Writer<SecretMeta>,
    records: Writer<SecretMeta>,
    bundles: Writer<ConfigMapMeta>,
    namespaces: Writer<NamespaceMeta>,
}

fn caches(sight: Sight) -> (Stores, Writers) {
    let (requests, requests_writer) = store();
    let (issuers, issuers_writer) = store();
    let (cluster_issuers, cluster_issuers_writer) = store();
    let (targets, targets_writer) = store();
    let (credentials, credentials_writer) = store();
    let (records, records_writer) = store();
    let (bundles, bundles_writer) = store();
    let (namespaces, namespaces_writer) = store();
    let writers = Writers {
        requests: requests_writer,
        issuers: issuers_writer,
        cluster_issuers: cluster_issuers_writer,
        targets: targets_writer,
        credentials: credentials_writer,
        records: records_writer,
        bundles: bundles_writer,
        namespaces: namespaces_writer,
    };
    let stores = Stores {
        requests,
        issuers,
        cluster_issuers,
        targets,
        credentials,
        records,
        bundles,
        namespaces,
        sight,
        targets_reached: Arc::default(),
    };
    (stores, writers)
}

/// What the wakers have woken.
struct Woken {
    requests: BoxStream<'static, ObjectRef<Guarded<CertificateRequest>>>,
    issuers: BoxStream<'static, ObjectRef<Guarded<Issuer>>>,
    cluster_issuers: BoxStream<'static, ObjectRef<Guarded<ClusterIssuer>>>,
}

fn wakers() -> (Wakers, Woken) {
    let (requests, woken_requests) = unbounded_channel();
    let (issuers, woken_issuers) = unbounded_channel();
    let (cluster_issuers, woken_cluster_issuers) = unbounded_channel();
    let woken = Woken {
        requests: wakes(woken_requests),
        issuers: wakes(woken_issuers),
        cluster_issuers: wakes(woken_cluster_issuers),
    };
    (Wakers { requests, issuers, cluster_issuers }, woken)
}

/// The watches as they are started.
struct Watching<'a> {
    client: &'a Client,
    process: &'a Process,
    incarnation: &'a str,
    metrics: &'a Arc<Metrics>,
    /// The operator's own namespace.
    own: &'a str,
    stores: Stores,
    wakers: Wakers,
    tasks: JoinSet<()>,
}

/// What is watched in each chosen namespace.
const WITHIN: [&str; 6] = ["requests", "issuers", "targets", "records", "credentials", "bundles"];
/// What is watched, or looked at by name, in the operator's own, where that is none of them: what
/// ClusterIssuers refer to.
const WITHIN_OWN: [&str; 2] = ["credentials", "bundles"];

impl Watching<'_> {
    /// Notes what is to be seen of chosen namespaces.
    fn begin(&self) {
        let sight = &self.stores.sight;
        let Namespaces::These(names) = sight.namespaces() else { return };
        for name in names {
            WITHIN.iter().for_each(|what| sight.begins(name, what));
        }
        if self.looks_into_its_own(names) {
            WITHIN_OWN.iter().for_each(|what| sight.begins(self.own, what));
        }
    }

    /// Whether what ClusterIssuers refer to is looked at beside the chosen namespaces.
    fn looks_into_its_own(&self, names: &BTreeSet<String>) -> bool {
        self.stores.sight.has_cluster_issuers() && !names.contains(self.own)
    }

    /// Watches ClusterIssuers. Where they are left to another installation, the cache stays empty.
    fn cluster_issuers(
        &mut self,
        mut part: Part<ClusterIssuer>,
        changed: impl Fn(&Guarded<ClusterIssuer>, bool) + Send + 'static,
    ) {
        if !self.stores.sight.has_cluster_issuers() {
            part.apply(&Event::Init);
            part.apply(&Event::InitDone);
            return;
        }
        let api = Api::all(self.client.clone());
        self.follow(api, watcher::Config::default(), "cluster_issuers", part, changed);
    }

    /// Watches all objects of a kind.
    fn all<K: Watched>(
        &mut self,
        what: &'static str,
        writer: Writer<Guarded<K>>,
        changed: impl Fn(&Guarded<K>, bool) + Send + 'static,
    ) {
        let (api, part) = (Api::all(self.client.clone()), Part::whole(writer));
        self.follow(api, watcher::Config::default(), what, part, changed);
    }

    /// Watches the objects of a kind that `config` selects, in each namespace that the operator is to
    /// see; with trust bundles also in its own.
    fn each<K>(
        &mut self,
        config: watcher::Config,
        what: &'static str,
        writer: Writer<Guarded<K>>,
        changed: impl Fn(&Guarded<K>, bool) + Clone + Send + 'static,
    ) where
        K: Watched + Resource<Scope = NamespaceResourceScope>,
    {
        let sight = self.stores.sight.clone();
        let Namespaces::These(names) = sight.namespaces() else {
            let api = Api::all(self.client.clone());
            return self.follow(api, config, what, Part::whole(writer), changed);
        };
        let own = (what == "bundles" && self.looks_into_its_own(names)).then_some(self.own);
        let writer = shared(writer);
        for name in names.iter().map(String::as_str).chain(own) {
            let api = Api::namespaced(self.client.clone(), name);
            self.follow(api, config.clone(), what, Part::of(&writer, name), changed.clone());
        }
    }

    /// Watches the Secrets with credentials. Those of ClusterIssuers are looked at by name where the
    /// operator has no right to list Secrets beside them.
    fn credentials(
        &mut self,
        config: watcher::Config,
        writer: Writer<SecretMeta>,
        news: Arc<Notify>,
        changed: impl Fn(&SecretMeta, bool) + Clone + Send + 'static,
    ) {
        const WHAT: &str = "credentials";
        let sight = self.stores.sight.clone();
        let Namespaces::These(names) = sight.namespaces() else {
            return self.each(config, WHAT, writer, changed);
        };
        let writer = shared(writer);
        for name in names {
            let api = Api::namespaced(self.client.clone(), name);
            self.follow(api, config.clone(), WHAT, Part::of(&writer, name), changed.clone());
        }
        if self.looks_into_its_own(names) {
            let api = Api::namespaced(self.client.clone(), self.own);
            let (part, chosen) = (Part::of(&writer, self.own), self.chosen(self.own, WHAT));
            let changed = self.caught(changed);
            let looking = by_name::look(api, part, chosen, news, changed);
            self.tasks.spawn(self.process.within(looking));
        }
    }

    fn chosen(&self, namespace: &str, what: &'static str) -> Chosen {
        Chosen {
            namespace: namespace.to_owned(),
            what,
            operator_namespace: self.own.to_owned(),
            stores: self.stores.clone(),
            wakers: self.wakers.clone(),
            was_refused: AtomicBool::new(false),
        }
    }

    fn follow<K: Watched>(
        &mut self,
        api: Api<Guarded<K>>,
        config: watcher::Config,
        what: &'static str,
        part: Part<K>,
        changed: impl Fn(&Guarded<K>, bool) + Send + 'static,
    ) {
        let place = part.namespace().map(|namespace| format!("/{namespace}")).unwrap_or_default();
        let pauses = Pauses::of(format!("{}/{what}{place}", self.incarnation));
        let chosen = part.namespace().map(|namespace| self.chosen(namespace, what));
        let following = follow((api, config), (part, chosen), pauses, self.caught(changed));
        self.tasks.spawn(self.process.within(following));
    }

    /// A watch that ended would leave its cache behind, and nobody would know.
    fn caught<K: Watched>(
        &self,
        changed: impl Fn(&Guarded<K>, bool) + Send + 'static,
    ) -> impl Fn(&Guarded<K>, bool) + Send + 'static {
        let metrics = Arc::clone(self.metrics);
        move |object: &Guarded<K>, is_gone| {
            let told = caught_at_once(&metrics, "watch", || changed(object, is_gone));
            if told.is_none() {
                let (namespace, name) = (object.namespace(), object.name_any());
                tracing::error!(namespace, name, "what follows from its change was not looked at");
            }
        }
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
/// A watch that stood for so long begins anew with the shortest, though it told of nothing.
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

/// Keeps a cache, or the part of one, up to date, and calls `changed` after each change with whether
/// the object is gone.
async fn follow<K: Watched>(
    (api, config): (Api<Guarded<K>>, watcher::Config),
    (mut part, chosen): (Part<K>, Option<Chosen>),
    mut pauses: ResetTimerBackoff<Pauses>,
    changed: impl Fn(&Guarded<K>, bool) + Send,
) {
    let mut events = std::pin::pin!(watch(api.clone(), config.clone()));
    // What is missing from a new list was deleted while nobody watched; nothing else tells.
    let mut before: Vec<Arc<Guarded<K>>> = Vec::new();
    while let Some(event) = events.next().await {
        // A list that has come to its end, and what a watch tells, are progress. That a list begins is
        // none: one that fails each time would be asked for again at once, for ever.
        if matches!(event, Ok(Event::Apply(_) | Event::Delete(_) | Event::InitDone)) {
            pauses.reset();
        }
        if let Ok(event) = &event {
            part.apply(event);
        }
        match event {
            Ok(Event::Apply(object)) => {
                tell_unreadable(&object);
                changed(&object, false);
            }
            Ok(Event::Delete(object)) => changed(&object, true),
            // The cache takes the new list at once, at its end.
            Ok(Event::InitDone) => {
                let now = part.state();
                let uids: HashSet<_> = now.iter().map(|object| object.uid()).collect();
                let told: HashSet<_> = before.iter().map(|old| version(old)).collect();
                now.iter()
                    .filter(|new| !told.contains(&version(new)))
                    .for_each(|new| tell_unreadable(new));
                before
                    .drain(..)
                    .filter(|old| !uids.contains(&old.uid()))
                    .for_each(|old| changed(&old, true));
                now.iter().for_each(|object| changed(object, false));
                chosen.iter().for_each(Chosen::listed);
            }
            Ok(Event::Init) => before = part.state(),
            Ok(Event::InitApply(_)) => {}
            Err(error) => {
                match (&chosen, refusal(&error)) {
                    (Some(chosen), Some(why)) => {
                        chosen.refused(&K::plural(&()), why);
                        // It begins anew with a list, which shows that the right is back.
                        events.set(watch(api.clone(), config.clone()));
                    }
                    (None, _) | (_, None) => tracing::warn!(
                        resource = %K::plural(&()),
                        namespace = part.namespace(),
                        %error,
                        "the watch failed and is tried again"
                    ),
                }
                pass(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            }
        }
    }
}

fn version<K: Watched>(object: &Guarded<K>) -> (Option<String>, Option<String>) {
    (object.uid(), object.resource_version())
}

/// Once for each version: what cannot be read is left alone, and somebody has to know.
fn tell_unreadable<K: Watched>(object: &Guarded<K>) {
    if let Err(unreadable) = &object.0 {
        tracing::error!(
            object.kind = %K::kind(&()),
            object.namespace = object.namespace(),
            object.name = object.name_any(),
            object.version = object.resource_version(),
            "this object cannot be read and is left alone: {unreadable}"
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "the pause before a watch is tried again")]
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The request waits for what a day's orders leave, to the issuer's requests or to its namespace's.
fn waits_for_the_day(request: &CertificateRequest) -> bool {
    let wait = request.status.as_ref().and_then(waits_for);
    wait.is_some_and(|wait| {
        matches!(wait.on, WaitsFor::OrdersPerDay | WaitsFor::OrdersPerNamespacePerDay)
    })
}

/// What a watch has told of each issuer, as far as requests go by it.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Versions>>);

/// By namespace and name.
type Versions = HashMap<(Option<String>, String), Version>;

/// uid and generation, which stand for the spec, and the status.
type Version = (Option<String>, Option<i64>, IssuerStatus);

impl Told {
    /// What has changed. Each block of the day's orders is written there, and would wake thousands.
    fn change<K: IssuerObject>(&self, issuer: &Guarded<K>, is_gone: bool) -> Change {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (issuer.namespace(), issuer.name_any());
        let before = told.remove(&at);
        let Some(issuer) = issuer.0.as_ref().ok().filter(|_| !is_gone) else { return Change::Any };
        let status = issuer.status().cloned().unwrap_or_default();
        let now = (issuer.uid(), issuer.meta().generation, status);
        let of_day = before.and_then(|(uid, generation, mut status)| {
            let budget = std::mem::replace(&mut status.budget, now.2.budget.clone());
            let is_of_day = budget != now.2.budget && (uid, generation, status) == now;
            is_of_day.then(|| quota::frees(budget.as_ref(), now.2.budget.as_ref()))
        });
        told.insert(at, now);
        of_day.map_or(Change::Any, |frees| Change::OfDay { frees })
    }
}

/// What of an issuer has changed.
#[derive(Clone, Copy)]
enum Change {
    /// What is reserved of the day alone; whether somebody may have an order who had none left.
    OfDay { frees: bool },
    /// Anything.
    Any,
}

impl Change {
    /// Whether it bears on a request of the issuer.
    fn bears_on(self, request: &CertificateRequest) -> bool {
        match self {
            Self::Any => true,
            Self::OfDay { frees } => frees && waits_for_the_day(request),
        }
    }
}

#[derive(Clone)]
struct Routes {
    stores: Stores,
    wakers: Wakers,
    quotas: Arc<Quotas>,
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
        let next = self.quotas.note(request, is_gone);
        self.wake(request);
        if let (true, Ok(gone)) = (is_gone, &request.0) {
            self.wake_where(gone.metadata.namespace.as_deref(), |other| {
                other.spec.secret_name == gone.spec.secret_name
            });
        }
        // With a request its place among the open orders of its issuer is free.
        self.wakers.requests(next);
    }

    /// The order of a request that is gone, where its record lacks the id that the status knew.
    fn gone_order(&self, request: &Guarded<CertificateRequest>) -> Option<GoneOrder> {
        let request = request.0.as_ref().ok()?;
        let order = request.status.as_ref()?.order.as_ref()?;
        let namespace = request.namespace()?;
        let name = record_name(&request.name_any());
        let record = self.stores.records.get(&ObjectRef::new(&name).within(&namespace))?;
        let noted = record.annotations();
        let is_its = noted.get(annotation::ORDER_REFERENCE) == Some(&order.reference);
        let id =
            order.id.clone().filter(|_| is_its && !noted.contains_key(annotation::ORDER_ID))?;
        let version = (record.uid()?, record.resource_version()?);
        Some(GoneOrder { namespace, record: name, version, id })
    }

    /// Wakes the requests of an issuer that hang on what has changed.
    fn issuer(
        &self,
        (kind, namespace, name): (IssuerKind, Option<&str>, &str),
        hangs: impl Fn(&CertificateRequest) -> bool,
    ) {
        self.wake_where(namespace, |request| {
            let reference = &request.spec.issuer_ref;
            reference.kind == kind && reference.name == name && hangs(request)
        });
    }

    /// An issuer wakes itself and its requests: all of them, unless a block of the day's orders is all
    /// that is new.
    fn of_issuers<K: IssuerObject>(
        &self,
        gone: impl Fn(Gone) + Clone + Send + 'static,
    ) -> impl Fn(&Guarded<K>, bool) + Clone + Send + 'static {
        let (to, told) = (self.clone(), Told::default());
        move |issuer: &Guarded<K>, is_gone| {
            let (namespace, name) = (issuer.namespace(), issuer.name_any());
            let change = told.change(issuer, is_gone);
            if is_gone {
                let (namespace, name) = (namespace.clone(), name.clone());
                gone(Gone::Issuer(IssuerKey { kind: K::KIND, namespace, name }));
            }
            to.wakers.issuer(K::KIND, namespace.as_deref(), &name);
            to.issuer((K::KIND, namespace.as_deref(), &name), |request| change.bears_on(request));
        }
    }

    fn target(&self, secret: &SecretMeta, is_gone: bool) {
        self.wakers.requests(self.quotas.note_target(secret, is_gone));
        let version = number(secret.meta().resource_version.as_deref());
        let namespace = secret.namespace().unwrap_or_default();
        self.stores.target_reached(&namespace, version.unwrap_or_default());
        if let (Some(namespace), Some(request)) =
            (secret.namespace(), secret.annotations().get(annotation::REQUEST))
        {
            let _ = self.wakers.requests.send(ObjectRef::new(request).within(&namespace));
        }
    }

    /// A record that somebody put back, or took away, is looked at by its request.
    fn record(&self, secret: &SecretMeta, is_gone: bool) {
        self.wakers.requests(self.quotas.note_record(secret, is_gone));
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

    /// ClusterIssuers go by the labels of namespaces.
    fn namespace(&self, name: &str) {
        self.wake_where(Some(name), |request| {
            request.spec.issuer_ref.kind == IssuerKind::ClusterIssuer
        });
    }

    /// Trust anchors in a ConfigMap have changed.
    fn bundle(&self, map: &ConfigMapMeta, operator_namespace: &str) {
        let (Some(namespace), name) = (map.namespace(), map.name_any()) else {
            return;
        };
        let refers = |spec: &IssuerSpec| spec.config_maps().contains(&name.as_str());
        self.issuers_that(&namespace, operator_namespace, refers);
    }

    /// Wakes the issuers that refer to something in this namespace.
    fn issuers_that(
        &self,
        namespace: &str,
        operator_namespace: &str,
        refers: impl Fn(&IssuerSpec) -> bool,
    ) {
        for issuer in in_order(self.stores.issuers.state()) {
            let is_near = issuer.meta().namespace.as_deref() == Some(namespace);
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
    }

    fn credentials(&self, secret: &SecretMeta, operator_namespace: &str) {
        let (Some(namespace), name) = (secret.namespace(), secret.name_any()) else {
            return;
        };
        let refers = |spec: &IssuerSpec| registry::secrets(spec).contains(&name.as_str());
        self.issuers_that(&namespace, operator_namespace, refers);
        self.wake_where(Some(&namespace), |request| {
            registry::own_credentials(&request.spec, None) == Some(&name)
                || request.spec.csr_secret_ref.as_ref().is_some_and(|csr| csr.name == name)
        });
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::FutureExt as _;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// Follows requests for a minute where each call is answered so; how many lists were asked for.
    async fn lists_in_a_minute(answer: &'static str) -> u32 {
        let lists = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&lists);
        let server = tower::service_fn(move |request: http::Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            counted.fetch_add(u32::from(!query.contains("watch=")), Ordering::Relaxed);
            async move {
                Ok::<_, Infallible>(http::Response::new(Body::from(answer.as_bytes().to_vec())))
            }
        });
        let api: Api<Guarded<CertificateRequest>> = Api::all(kube::Client::new(server, "shop"));
        let (_reader, writer) = store();
        let pauses = Pauses::of("me/requests".to_owned());
        let (api, part) = ((api, watcher::Config::default()), (Part::whole(writer), None));
        let following = follow(api, part, pauses, |_, _| ());
        let _elapsed = tokio::time::timeout(Duration::from_secs(60), following).await;
        lists.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_fails_each_time_is_asked_for_more_and_more_slowly() {
        let lists = lists_in_a_minute(r#"{"metadata":{"resourceVersion":[]},"items":[]}"#).await;
        assert!((4..=8).contains(&lists), "{lists} in a minute");
    }

    fn request(name: &str, waits_for: Option<&str>) -> CertificateRequest {
        let wait = waits_for.map(|on| json!({ "wait": { "for": on, "needsPerson": false } }));
        serde_json::from_value(json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": { "issuerRef": { "name": "ca" }, "secretName": name },
            "status": wait,
        }))
        .expect("a request")
    }

    fn issuer((uid, generation, account, reserved): (&str, i64, &str, u32)) -> Guarded<Issuer> {
        serde_json::from_value(json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "Issuer",
            "metadata": { "name": "ca", "namespace": "shop", "uid": uid, "generation": generation },
            "spec": {},
            "status": { "account": account, "budget": { "day": "2026-06-01", "reserved": reserved } },
        }))
        .expect("an issuer")
    }

    #[test]
    fn what_is_reserved_of_the_day_wakes_those_that_wait_for_the_day_where_it_is_less() {
        let stores = Stores::of_requests(vec![
            request("at-rest", None),
            request("day", Some("OrdersPerDay")),
            request("namespace", Some("OrdersPerNamespacePerDay")),
            request("open", Some("OpenOrders")),
        ]);
        let (wakers, mut woken) = wakers();
        let routes = Routes { stores, wakers, quotas: Arc::default() };
        let changed = routes.of_issuers::<Issuer>(|_| ());
        let all: &[_] = &["at-rest", "day", "namespace", "open"];
        let rows = [
            ("it is new", ("u", 1, "a", 10), all),
            ("a block", ("u", 1, "a", 20), &[]),
            ("one more", ("u", 1, "a", 30), &[]),
            ("less", ("u", 1, "a", 15), &["day", "namespace"]),
            ("nothing that is looked at here", ("u", 1, "a", 15), all),
            ("a block and an edit", ("u", 2, "a", 40), all),
            ("a block and another account", ("u", 2, "b", 50), all),
            ("another of its name", ("v", 2, "b", 60), all),
        ];
        for (name, version, expected) in rows {
            changed(&issuer(version), false);
            let mut names = Vec::new();
            while let Some(Some(request)) = woken.requests.next().now_or_never() {
                names.push(request.name);
            }
            assert_eq!(names, expected, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_refused_begins_anew_with_a_list() {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        // A list, a watch that is refused, another list, and a watch that stays open.
        let server = tower::service_fn(move |request: http::Request<Body>| {
            let is_watch = request.uri().query().unwrap_or_default().contains("watch=");
            let number = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                let refused =
                    r#"{"status":"Failure","message":"no","reason":"Forbidden","code":403}"#;
                let (code, text) = match (is_watch, number) {
                    (false, _) => (200, r#"{"metadata":{"resourceVersion":"5"},"items":[]}"#),
                    (true, 1) => (403, refused),
                    (true, _) => std::future::pending().await,
                };
                let answer = http::Response::builder().status(code);
                let answer = answer.body(Body::from(text.as_bytes().to_vec()));
                Ok::<_, Infallible>(answer.expect("an answer"))
            }
        });
        let api: Api<Guarded<CertificateRequest>> = Api::all(kube::Client::new(server, "shop"));
        let sight = Sight::of("shop".parse().expect("a name"));
        sight.begins("shop", "requests");
        let (stores, writers) = caches(sight.clone());
        let (wakers, _woken) = wakers();
        let chosen = Chosen {
            namespace: "shop".to_owned(),
            what: "requests",
            operator_namespace: "chancery".to_owned(),
            stores,
            wakers,
            was_refused: AtomicBool::new(false),
        };
        let part = (Part::of(&shared(writers.requests), "shop"), Some(chosen));
        let pauses = Pauses::of("me/requests/shop".to_owned());
        let following = follow((api, watcher::Config::default()), part, pauses, |_, _| ());
        let mut following = std::pin::pin!(following);
        let refused = tokio::time::timeout(Duration::from_millis(400), &mut following);
        assert!(refused.await.is_err(), "it goes on");
        assert!(!sight.tell_lacking().is_empty(), "it is refused");
        let again = tokio::time::timeout(Duration::from_secs(60), following);
        assert!(again.await.is_err(), "it goes on");
        assert_eq!(sight.tell_lacking(), "", "the right is back");
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn where_cluster_issuers_are_left_to_another_nothing_of_theirs_is_asked_for() {
        let asked = async |serves: bool| {
            let paths = Arc::new(Mutex::new(BTreeSet::new()));
            let noted = Arc::clone(&paths);
            let server = tower::service_fn(move |request: http::Request<Body>| {
                let path = request.uri().path().to_owned();
                noted.lock().expect("no panic").insert(path);
                let is_watch = request.uri().query().unwrap_or_default().contains("watch=");
                async move {
                    if is_watch {
                        std::future::pending::<()>().await;
                    }
                    let list = r#"{"metadata":{"resourceVersion":"5"},"items":[]}"#;
                    Ok::<_, Infallible>(http::Response::new(Body::from(list.as_bytes().to_vec())))
                }
            });
            let sight = Sight::of("shop".parse().expect("a name")).with_cluster_issuers(serves);
            let prepared = prepare(sight.clone());
            let client = kube::Client::new(server, "own");
            let process = (&Process::default(), "me", &Arc::default());
            let watches = prepared.start(&client, "own", process, &Arc::default(), |_| ());
            let ready = watches.stores.wait_until_ready();
            tokio::time::timeout(Duration::from_secs(60), ready).await.expect("it is ready");
            assert_eq!(sight.tell_lacking(), "", "nothing is waited for");
            let paths = paths.lock().expect("no panic");
            paths.iter().filter(|path| !path.contains("/namespaces/shop/")).cloned().collect()
        };
        let all: Vec<String> = asked(true).await;
        let expected = [
            "/api/v1/namespaces",
            "/api/v1/namespaces/own/configmaps",
            "/apis/chancery.dev/v1alpha1/clusterissuers",
        ];
        assert_eq!(all, expected);
        let without: Vec<String> = asked(false).await;
        assert_eq!(without, expected[..1]);
    }

    #[test]
    fn odd_objects_are_counted_by_kind_and_namespace() {
        let (stores, mut writers) = caches(Sight::default());
        let odd: Guarded<CertificateRequest> = serde_json::from_value(json!({
            "metadata": {"name": "odd", "namespace": "shop", "uid": "u", "resourceVersion": "7"},
            "spec": {"secretName": 7},
        }))
        .expect("an object");
        writers.requests.apply_watcher_event(&Event::Apply(odd));
        let secret: SecretMeta = serde_json::from_value(json!({
            "metadata": {"name": "odd", "namespace": "shop", "creationTimestamp": "never"},
        }))
        .expect("an object");
        writers.targets.apply_watcher_event(&Event::Apply(secret.clone()));
        writers.credentials.apply_watcher_event(&Event::Apply(secret));
        let count = |kind: &str| ((kind.to_owned(), "shop".to_owned()), 1);
        let counted: Vec<_> = stores.unreadable().into_iter().collect();
        assert_eq!(counted, [count("CertificateRequest"), count("Secret")], "each once");
    }
}
