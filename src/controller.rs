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

mod certificate_request;
mod cluster;
mod issuer;
mod memory;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use kube::Client;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use self::cluster::events::Events;
use self::cluster::watches::{Gone, Stores, Watches};
use self::issuer::accounts::Accounts;
use self::memory::Memory;
pub use self::process::incarnation::{NoRandomness, new_incarnation};
pub use self::process::keys::{Generator, KeySource};
use self::process::lease::{Candidate, Leadership};
pub use self::process::{Process, Within};
use crate::api::{ClusterIssuer, Issuer};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::outside::transport::Connector;

/// What the operator is started with.
pub struct Operator {
    /// Access to the API server.
    pub client: Client,
    /// Namespace in which the references of ClusterIssuers resolve, and in which the Lease is.
    pub namespace: String,
    /// Who this process is, as [`new_incarnation`] drew it: holder of the lease, and of claims.
    pub incarnation: String,
    /// How long the lease lasts, in whole seconds; `None` for the one process that needs none.
    pub lease_duration: Option<Duration>,
    /// How CAs are reached.
    pub connector: Arc<dyn Connector>,
    /// The wall clock.
    pub clock: Clock,
    /// Makes private keys.
    pub keys: Arc<dyn KeySource>,
    /// Longest time for one request to a CA.
    pub ca_timeout: Duration,
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// The process that all of it runs in.
    pub process: Process,
}

/// What every reconcile may use.
struct Context {
    cluster: cluster::Cluster,
    namespace: String,
    stores: Stores,
    accounts: Arc<Accounts>,
    order_poller: issuer::order_poller::OrderPoller,
    quotas: Arc<issuer::quota::Quotas>,
    events: Events,
    memory: Arc<Memory>,
    keys: Arc<dyn KeySource>,
    clock: Clock,
    metrics: Arc<Metrics>,
    checks: Arc<issuer::Checks>,
    stopping: Arc<AtomicBool>,
    wake: cluster::watches::Wakers,
    leadership: Leadership,
    process: Process,
}

impl Context {
    /// Notes that a search of this account has found an order of ours, and has the issuer's status
    /// say so.
    fn prove(&self, issuer: &issuer::accounts::IssuerNow<'_>, account: &issuer::accounts::Account) {
        if self.accounts.prove(issuer, account) {
            let key = &issuer.key;
            self.wake.issuer(key.kind, key.namespace.as_deref(), &key.name);
        }
    }

    /// The process is ending, or has no lease any more: what is under way is ended, and nothing new
    /// is asked of a CA.
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire) || !self.leadership.is_held()
    }
}

/// Nothing here is unexpected: every failure ends in a status and a requeue.
type Never = std::convert::Infallible;

/// Runs until `shutdown` completes; runs that are under way then end first.
///
/// `ready` is told once all watches have their first answer: a standby is ready too.
pub async fn run(
    operator: Operator,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
    ready: impl FnOnce() + Send,
) {
    let accounts =
        Arc::new(Accounts::new(operator.connector, operator.ca_timeout, operator.clock.clone()));
    let memory = Arc::new(Memory::default());
    let checks = Arc::new(issuer::Checks::default());
    let quotas = Arc::new(issuer::quota::Quotas::default());
    let stopping = Arc::new(AtomicBool::new(false));
    let process = operator.process;
    let (events, publisher) = Events::start(operator.client.clone(), &process);
    let forget = {
        let (accounts, memory) = (Arc::clone(&accounts), Arc::clone(&memory));
        let (checks, quotas) = (Arc::clone(&checks), Arc::clone(&quotas));
        move |gone: Gone| match gone {
            Gone::Issuer(key) => {
                accounts.close(&key);
                checks.forget(&key);
                quotas.forget(&key);
            }
            Gone::Request(uid) => memory.forget(&uid),
        }
    };
    let Watches { stores, wakers, requests, issuers, cluster_issuers, tasks } =
        cluster::watches::start(
            &operator.client,
            &operator.namespace,
            (&process, &operator.incarnation),
            forget,
        );
    operator.metrics.observe_requests(stores.requests.clone(), stores.records.clone());
    operator.metrics.observe_limits({
        let (stores, clock) = (stores.clone(), operator.clock.clone());
        move || issuer::quota::figures(&stores, clock.now())
    });
    let (leadership, election) = Candidate {
        client: operator.client.clone(),
        namespace: operator.namespace.clone(),
        incarnation: operator.incarnation,
        duration: operator.lease_duration,
        clock: operator.clock.clone(),
    }
    .stand();
    operator.metrics.observe_leader({
        let leadership = leadership.clone();
        move || leadership.is_held()
    });
    let context = Arc::new(Context {
        cluster: cluster::Cluster::new(operator.client, leadership.clone()),
        namespace: operator.namespace,
        accounts,
        order_poller: issuer::order_poller::OrderPoller::default(),
        quotas,
        events,
        memory,
        keys: operator.keys,
        clock: operator.clock,
        metrics: operator.metrics,
        checks,
        stopping: Arc::clone(&stopping),
        wake: wakers,
        stores,
        leadership,
        process: process.clone(),
    });
    let shutdown =
        shutdown.inspect(move |()| stopping.store(true, Ordering::Release)).boxed().shared();
    // Without the first answer of a watch, "not in the cache" would be taken for "does not exist".
    tokio::select! {
        biased;
        () = shutdown.clone() => return,
        () = context.stores.wait_until_ready() => ready(),
    }
    // A task of its own: no run, however busy, holds up a renewal.
    let mut elected = JoinSet::new();
    let (end_election, election_ends) = oneshot::channel::<()>();
    if let Some(election) = election {
        let (wakers, stores) = (context.wake.clone(), context.stores.clone());
        let election = election.run(election_ends.map(drop), move || wakers.everything(&stores));
        elected.spawn(process.within(election));
    }
    let requests =
        Controller::for_shared_stream(futures::stream::pending(), context.stores.requests.clone())
            .reconcile_on(requests)
            .graceful_shutdown_on(shutdown.clone())
            .run(
                |request, context| leading(context, request, certificate_request::reconcile),
                certificate_request::error_policy,
                Arc::clone(&context),
            );
    let issuers =
        Controller::for_shared_stream(futures::stream::pending(), context.stores.issuers.clone())
            .reconcile_on(issuers)
            .graceful_shutdown_on(shutdown.clone())
            .run(
                |issuer, context| leading(context, issuer, issuer::reconcile::<Issuer>),
                issuer::error_policy,
                Arc::clone(&context),
            );
    let cluster_issuers = Controller::for_shared_stream(
        futures::stream::pending(),
        context.stores.cluster_issuers.clone(),
    )
    .reconcile_on(cluster_issuers)
    .graceful_shutdown_on(shutdown)
    .run(
        |issuer, context| leading(context, issuer, issuer::reconcile::<ClusterIssuer>),
        issuer::error_policy,
        Arc::clone(&context),
    );
    tokio::join!(drain(requests), drain(issuers), drain(cluster_issuers));
    drop(tasks);
    // With the last run the last notice is left.
    context.order_poller.stop();
    drop(context);
    publisher.finish().await;
    // Nothing of this process acts any more: the next may.
    drop(end_election);
    while elected.join_next().await.is_some() {}
}

/// Runs `reconcile` if this process acts. What a standby is woken for is looked at when it gets the
/// lease, with everything else.
///
/// In a task of its own: the runs of one kind would otherwise share one core, and be looked at in an
/// order that no two processes have in common.
async fn leading<K, F>(
    context: Arc<Context>,
    object: Arc<K>,
    reconcile: impl FnOnce(Arc<K>, Arc<Context>) -> F,
) -> Result<Action, Never>
where
    F: Future<Output = Result<Action, Never>> + Send + 'static,
{
    if !context.leadership.is_held() {
        return Ok(Action::await_change());
    }
    let process = context.process.clone();
    match tokio::spawn(process.within(reconcile(object, context))).await {
        Ok(ended) => ended,
        // Cancelled at the end of the process only.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Ok(Action::await_change()),
        },
    }
}

/// Errors were told where they happened; a stream only has to be read to its end.
async fn drain<T>(stream: impl futures::Stream<Item = T>) {
    futures::StreamExt::for_each(stream, |_| std::future::ready(())).await;
}
