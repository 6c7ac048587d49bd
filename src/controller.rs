//! The shell: watches, reconcilers and the few named effects.
//!
//! ```text
//! watch ─▶ reconcile ─▶ observe ─▶ decide ─▶ perform ─▶ describe
//!                       plain      pure,      one        pure: status + requeue
//!                       values     one Step   effect
//! ```
//!
//! All effects on the cluster are in `perform`, `orders`, `quota`, `secret`, `cluster` and `lease`; all effects on CAs go
//! through `accounts`. What to do is never decided here but in [`crate::issuance`].

mod beside;
mod caught;
mod certificate_request;
mod cluster;
mod context;
mod issuer;
mod memory;
mod places;
mod process;
mod purchases;
mod stall;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt as _, Stream};
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource as _};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use self::beside::Beside;
use self::cluster::Cluster;
use self::cluster::events::{Events, Publisher};
use self::cluster::stores::{Guarded, Stores};
use self::cluster::wakers::Wakers;
use self::cluster::watches::{self, Gone, GoneOrder, Watches};
use self::context::{Context, Never};
use self::issuer::accounts::Accounts;
use self::issuer::checks::Checks;
use self::issuer::key::IssuerKey;
use self::issuer::limits;
use self::issuer::object::IssuerObject;
use self::issuer::order_poller::OrderPoller;
use self::issuer::quota::Quotas;
use self::memory::Memory;
use self::places::{Entry, OF_ISSUERS, OF_REQUESTS, Places};
#[cfg(any(test, feature = "simulator"))]
pub use self::process::executor::Inline;
pub use self::process::executor::{Executor, Threads, Work};
pub use self::process::incarnation::{NoRandomness, new_incarnation};
pub use self::process::keys::{Generator, KeySource};
use self::process::leadership::Leadership;
pub(crate) use self::process::lease::NAME as LEASE;
use self::process::lease::{Candidate, Election};
pub use self::process::{Process, Within};
pub use self::purchases::Purchases;
use self::stall::{Stallable, panicked};
use crate::api::{CertificateRequest, ClusterIssuer, Issuer, IssuerKind, annotation};
use crate::clock::Clock;
use crate::issuance::TemplateKeys;
use crate::metrics::Metrics;
use crate::outside::reach::Reach;
use crate::outside::transport::Connector;
use crate::pulse::Pulse;
use crate::sight::Sight;
use crate::turns::queue::Name;

/// Where the lease is renewed: apart from the runs, so that whatever keeps their threads busy does not
/// hold it up.
pub struct Apart {
    /// Access to the API server, by connections of that runtime.
    pub client: Client,
    /// Its runtime.
    pub runtime: Handle,
    /// Whether the runs get on.
    pub pulse: Pulse,
}

/// What the operator is started with.
pub struct Operator {
    /// Access to the API server.
    pub client: Client,
    /// Namespace in which the references of ClusterIssuers resolve, and in which the Lease is.
    pub namespace: String,
    /// What of the namespaces it is to see, and sees.
    pub sight: Sight,
    /// Who this process is, as [`new_incarnation`] drew it: holder of the lease, and of claims.
    pub incarnation: String,
    /// How long the lease lasts, in whole seconds; `None` for the one process that needs none.
    pub lease_duration: Option<Duration>,
    /// Where the lease is renewed.
    pub apart: Apart,
    /// How CAs are reached.
    pub connector: Arc<dyn Connector>,
    /// How far the issuers of namespaces reach.
    pub tenants_reach: Reach,
    /// The keys that `secretTemplate` of requests may carry.
    pub template_keys: TemplateKeys,
    /// The wall clock.
    pub clock: Clock,
    /// Makes private keys.
    pub keys: Arc<dyn KeySource>,
    /// Does longer computation.
    pub executor: Arc<dyn Executor>,
    /// Longest time for one request to a CA.
    pub ca_timeout: Duration,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// Where the log of purchases goes.
    pub purchases: Purchases,
    /// The process that all of it runs in.
    pub process: Process,
}

/// What ends with the operator, in this order.
struct Parts {
    context: Arc<Context>,
    requests: BoxStream<'static, ObjectRef<Guarded<CertificateRequest>>>,
    issuers: BoxStream<'static, ObjectRef<Guarded<Issuer>>>,
    cluster_issuers: BoxStream<'static, ObjectRef<Guarded<ClusterIssuer>>>,
    watches: JoinSet<()>,
    publisher: Publisher,
    election: Option<Election>,
    /// Where the election is held.
    elsewhere: Handle,
}

/// Runs until `shutdown` completes; runs that are under way then end first.
///
/// `ready` is told once all watches have their first answer: a standby is ready too.
pub async fn run(
    operator: Operator,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
    ready: impl FnOnce() + Send,
) {
    let parts = assemble(operator);
    let context = parts.context;
    let stopping = Arc::clone(&context.stopping);
    let shutdown =
        shutdown.inspect(move |()| stopping.store(true, Ordering::Release)).boxed().shared();
    // Without the first answer of a watch, "not in the cache" would be taken for "does not exist".
    tokio::select! {
        biased;
        () = shutdown.clone() => return,
        () = context.stores.wait_until_ready() => ready(),
    }
    let (end_election, election_ends) = oneshot::channel::<()>();
    let mut elected = elect(&context, (parts.election, &parts.elsewhere), election_ends);
    tokio::join!(
        reconcile_requests(&context, parts.requests, shutdown.clone()),
        reconcile_issuers(&context, &context.stores.issuers, parts.issuers, shutdown.clone()),
        reconcile_issuers(
            &context,
            &context.stores.cluster_issuers,
            parts.cluster_issuers,
            shutdown
        ),
    );
    drop(parts.watches);
    // With the last run the last notice is left.
    context.order_poller.stop();
    drop(context);
    parts.publisher.finish().await;
    // Nothing of this process acts any more: the next may.
    drop(end_election);
    while elected.join_next().await.is_some() {}
}

/// Starts the watches, and puts together what the reconcilers use.
fn assemble(operator: Operator) -> Parts {
    let beside = Arc::new(Beside::new(operator.executor));
    let accounts = Arc::new(Accounts::new(
        (operator.connector, Arc::clone(&beside)),
        operator.ca_timeout,
        operator.clock.clone(),
        operator.tenants_reach,
    ));
    let (memory, checks) = (Arc::<Memory>::default(), Arc::<Checks>::default());
    let quotas = Arc::<Quotas>::default();
    let process = operator.process;
    let (events, publisher) = {
        let namespaces = operator.sight.namespaces().clone();
        Events::start(operator.client.clone(), &process, Arc::clone(&operator.metrics), namespaces)
    };
    let Apart { client, runtime: elsewhere, pulse } = operator.apart;
    let (leadership, election) = Candidate {
        client,
        pulse,
        namespace: operator.namespace.clone(),
        incarnation: operator.incarnation.clone(),
        duration: operator.lease_duration,
        clock: operator.clock.clone(),
    }
    .stand();
    let cluster = Cluster::new(operator.client.clone(), leadership.clone());
    let prepared = watches::prepare(operator.sight);
    let (request_places, issuer_places) = places(&prepared.stores, &prepared.wakers);
    let Watches { stores, wakers, requests, issuers, cluster_issuers, tasks } = prepared.start(
        &operator.client,
        &operator.namespace,
        (&process, &operator.incarnation, &operator.metrics),
        &quotas,
        forget(
            &accounts,
            &memory,
            (&checks, &quotas),
            (&request_places, &issuer_places),
            (cluster, &process),
            &operator.metrics,
        ),
    );
    observe(&operator.metrics, &stores, &operator.clock, &leadership);
    let context = Arc::new(Context {
        cluster: Cluster::new(operator.client, leadership.clone()),
        namespace: operator.namespace,
        accounts,
        order_poller: OrderPoller::default(),
        quotas,
        events,
        memory,
        keys: operator.keys,
        beside,
        clock: operator.clock,
        template_keys: operator.template_keys,
        metrics: operator.metrics,
        purchases: operator.purchases,
        checks,
        stopping: Arc::new(AtomicBool::new(false)),
        wake: wakers,
        stores,
        leadership,
        process,
        request_places,
        issuer_places,
    });
    let watches = tasks;
    Parts { context, requests, issuers, cluster_issuers, watches, publisher, election, elsewhere }
}

type RequestPlaces = Places<Name>;

/// Places for the runs: who waits for one is woken when it is free.
fn places(stores: &Stores, wakers: &Wakers) -> (Arc<RequestPlaces>, Arc<Places<IssuerKey>>) {
    let (wake, there) = (wakers.clone(), stores.clone());
    let requests = Places::new(
        OF_REQUESTS,
        move |(namespace, name): &Name| wake.request(namespace, name),
        move |(namespace, name)| there.request(namespace, name).is_some(),
    );
    let (wake, there) = (wakers.clone(), stores.clone());
    let issuers = Places::new(
        OF_ISSUERS,
        move |key: &IssuerKey| wake.issuer(key.kind, key.namespace.as_deref(), &key.name),
        move |key| there.has_issuer(key.kind, key.namespace.as_deref(), &key.name),
    );
    (Arc::new(requests), Arc::new(issuers))
}

/// Forgets what is remembered of objects that are gone, and keeps what people ask for.
fn forget(
    accounts: &Arc<Accounts>,
    memory: &Arc<Memory>,
    (checks, quotas): (&Arc<Checks>, &Arc<Quotas>),
    (requests, issuers): (&Arc<RequestPlaces>, &Arc<Places<IssuerKey>>),
    (cluster, process): (Cluster, &Process),
    metrics: &Arc<Metrics>,
) -> impl Fn(Gone) + Clone + Send + 'static + use<> {
    let (accounts, memory) = (Arc::clone(accounts), Arc::clone(memory));
    let (checks, quotas) = (Arc::clone(checks), Arc::clone(quotas));
    let (requests, issuers) = (Arc::clone(requests), Arc::clone(issuers));
    let metrics = Arc::clone(metrics);
    let (cluster, process) = (Arc::new(cluster), process.clone());
    move |gone: Gone| match gone {
        Gone::Issuer(key) => {
            accounts.close(&key);
            checks.forget(&key);
            quotas.forget(&key);
            issuers.forget(&key);
            metrics.forget();
        }
        Gone::Request { uid, name } => {
            memory.forget(&uid);
            requests.forget(&name);
        }
        Gone::Order(order) => {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(process.within(async move { keep_id(&cluster, &order).await }));
        }
    }
}

/// Notes the id of an order on its record, for people: the CA finds the order by its name. Where that
/// fails, or the record has moved, nothing depends on it.
async fn keep_id(cluster: &Cluster, order: &GoneOrder) {
    let (uid, version) = &order.version;
    let patch = json!({
        "metadata": {
            "uid": uid, "resourceVersion": version,
            "annotations": { annotation::ORDER_ID: order.id },
        },
    });
    if let Err(error) = cluster.patch_secret(&order.namespace, &order.record, &patch).await {
        tracing::info!(record = order.record, order.id = order.id, %error, "the id of the order was not kept");
    }
}

/// What the gauges show.
fn observe(metrics: &Metrics, stores: &Stores, clock: &Clock, leadership: &Leadership) {
    let sight = stores.sight.clone();
    let is_seen = move |namespace: &str| sight.has(namespace);
    metrics.observe_requests(stores.requests.clone(), stores.records.clone(), is_seen);
    metrics.observe_issuers({
        let stores = stores.clone();
        move |one| {
            let is_near = one.kind == IssuerKind::Issuer.to_string();
            let kind = if is_near { IssuerKind::Issuer } else { IssuerKind::ClusterIssuer };
            stores.has_issuer(kind, Some(&one.namespace), &one.issuer)
        }
    });
    metrics.observe_request_namespaces({
        let namespaces = stores.namespaces.clone();
        // Where they cannot be listed, nobody knows that one is gone.
        move |name| namespaces.is_empty() || namespaces.get(&ObjectRef::new(name)).is_some()
    });
    metrics.observe_issuer_figures({
        let (stores, clock) = (stores.clone(), clock.clone());
        move || limits::figures(&stores, clock.now())
    });
    metrics.observe_namespaces({
        let sight = stores.sight.clone();
        move || sight.lacking().into_iter().map(|(name, what)| (name, what.is_empty())).collect()
    });
    metrics.observe_unreadable({
        let stores = stores.clone();
        move || stores.unreadable()
    });
    metrics.observe_leader({
        let leadership = leadership.clone();
        move || leadership.is_held()
    });
}

/// Stands for the lease until `ends`, elsewhere: no run, however busy, holds up a renewal.
fn elect(
    context: &Context,
    (election, elsewhere): (Option<Election>, &Handle),
    ends: oneshot::Receiver<()>,
) -> JoinSet<()> {
    let mut elected = JoinSet::new();
    if let Some(election) = election {
        let (wakers, stores) = (context.wake.clone(), context.stores.clone());
        let election = election.run(ends.map(drop), move || wakers.everything(&stores));
        elected.spawn_on(context.process.within(election), elsewhere);
    }
    elected
}

/// kube looks at all that it has begun whenever one of them ends. Runs wait in `places`, where it is
/// decided who is next; this is more than have a place there, so that who is told to wait is so at once.
const BEGUN: u16 = 1024;

async fn reconcile_requests(
    context: &Arc<Context>,
    woken: impl Stream<Item = ObjectRef<Guarded<CertificateRequest>>> + Send + 'static,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let store = context.stores.requests.clone();
    let runs = Controller::for_shared_stream(futures::stream::pending(), store)
        .with_config(Config::default().concurrency(BEGUN))
        .reconcile_on(woken)
        .graceful_shutdown_on(shutdown)
        .run(
            |request, context: Arc<Context>| {
                let places = Arc::clone(&context.request_places);
                let entry = certificate_request::entry(&request, context.clock.now());
                let run =
                    certificate_request::reconcile(Arc::clone(&request), Arc::clone(&context));
                leading(context, request, (places, entry), run)
            },
            certificate_request::error_policy,
            Arc::clone(context),
        );
    drain(runs).await;
}

async fn reconcile_issuers<K: IssuerObject>(
    context: &Arc<Context>,
    store: &Store<Guarded<K>>,
    woken: impl Stream<Item = ObjectRef<Guarded<K>>> + Send + 'static,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let runs = Controller::for_shared_stream(futures::stream::pending(), store.clone())
        .with_config(Config::default().concurrency(BEGUN))
        .reconcile_on(woken)
        .graceful_shutdown_on(shutdown)
        .run(
            |issuer, context: Arc<Context>| {
                let places = Arc::clone(&context.issuer_places);
                let entry = issuer::entry::<K>(&issuer);
                let run = issuer::reconcile::<K>(Arc::clone(&issuer), Arc::clone(&context));
                leading(context, issuer, (places, entry), run)
            },
            issuer::error_policy,
            Arc::clone(context),
        );
    drain(runs).await;
}

/// Runs `reconcile` if this process acts and has a place for it. What a standby is woken for is looked
/// at when it gets the lease, with everything else; what is in a namespace that is not seen yet when
/// that is; who finds no place is woken when there is one, or when
/// its renewal becomes due.
///
/// In a task of its own: the runs of one kind would otherwise share one core, and be looked at in an
/// order that no two processes have in common. A run that panics ends alone, and its object is left
/// alone for a while.
async fn leading<K, W>(
    context: Arc<Context>,
    object: Arc<Guarded<K>>,
    (places, entry): (Arc<Places<W>>, Entry<W>),
    reconcile: impl Future<Output = Result<Action, Never>> + Send + 'static,
) -> Result<Action, Never>
where
    K: Stallable,
    W: Clone + Ord + Send + 'static,
{
    // In a namespace that is not seen whole, what is missing from the caches may be there.
    let is_seen = |namespace: &String| context.stores.sight.has(namespace);
    if !context.leadership.is_held() || !object.meta().namespace.as_ref().is_none_or(is_seen) {
        places.forget(&entry.who);
        return Ok(Action::await_change());
    }
    if let Some(wait) = context.memory.panics.leaves(object.meta()) {
        places.forget(&entry.who);
        return Ok(Action::requeue(wait));
    }
    let place = match places.enter(entry) {
        Ok(place) => place,
        Err(wait) => return Ok(wait.map_or_else(Action::await_change, Action::requeue)),
    };
    let run = async move {
        let _place = place;
        reconcile.await
    };
    match tokio::spawn(context.process.within(run)).await {
        Ok(ended) => {
            object.meta().uid.iter().for_each(|uid| context.memory.panics.forget(uid));
            ended
        }
        Err(error) if error.is_panic() => Ok(stalled(&context, object).await),
        // Cancelled at the end of the process only.
        Err(_) => Ok(Action::await_change()),
    }
}

/// In a task of its own too: where telling of it panics as well, it is told with the next try.
async fn stalled<K: Stallable>(context: &Arc<Context>, object: Arc<Guarded<K>>) -> Action {
    let telling = {
        let (context, object) = (Arc::clone(context), Arc::clone(&object));
        async move { panicked(&context, &object).await }
    };
    let told = tokio::spawn(context.process.within(telling)).await;
    told.unwrap_or_else(|_| {
        let wait = context.memory.panics.leaves(object.meta());
        wait.map_or_else(Action::await_change, Action::requeue)
    })
}

/// Errors were told where they happened; a stream only has to be read to its end.
async fn drain<T>(stream: impl Stream<Item = T>) {
    futures::StreamExt::for_each(stream, |_| std::future::ready(())).await;
}
