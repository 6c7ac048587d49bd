//! Open accounts: one client per issuer, made anew when the issuer or its credentials change.
//!
//! # Guarantees
//! - An account is opened at most once at a time; a slow issuer delays nobody but its own requests.
//! - Credentials are held in memory only, and for as long as the account is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::api::{self, CertificateBundle, IssuerKind, IssuerSpec, IssuerStatus, Tls, Trust};
use crate::ca::kind::Opening;
use crate::ca::registry;
use crate::ca::tenant::{self, Relation, Tenant};
use crate::ca::{CertificateAuthority, Order, Permit, Submitted};
use crate::clock::Clock;
use crate::controller::beside::Beside;
use crate::controller::cluster::Cluster;
use crate::controller::cluster::secret::{self, Way};
use crate::controller::issuer::key::IssuerKey;
use crate::controller::issuer::quota::Spent;
use crate::issuance::trust::apart;
use crate::outside::credentials::{self, Credentials};
use crate::outside::in_flight::{InFlight, Sharing};
use crate::outside::opt_in::{OptIn, host_and_port};
use crate::outside::pace::{Pace, Paced};
use crate::outside::pause::{Considerate, Pause};
use crate::outside::proxy::Proxy;
use crate::outside::reach::Reach;
use crate::outside::remote_text::Reader;
use crate::outside::transport::{Connector, Failure, Roots, Route, Transport};
use crate::outside::{Disposition, Error};
use crate::pki::chain::is_root;
use crate::pki::{self, Bundle, Certificate};
use crate::reason::Reason;
use crate::turns::Turns;

/// Bundles in ConfigMaps and Secrets change without telling anybody: they are read again after
/// this time. The client stays where they have not, with its token and with what it has learned of
/// open orders.
const LIFETIME: Duration = Duration::from_secs(600);
/// What was read so long ago is as good as now.
const JUST_NOW: Duration = Duration::from_secs(10);
/// A CA refuses a password at once; one that has not answered after this time is slow, and the others
/// need not wait for it.
const TRIAL: Duration = Duration::from_secs(1);
/// So many requests are under way to one CA at once.
const PARALLEL: usize = 32;

/// An issuer as it is now: everything an open account depends on.
pub(in crate::controller) struct IssuerNow<'a> {
    pub(in crate::controller) key: IssuerKey,
    pub(in crate::controller) spec: &'a IssuerSpec,
    /// Its uid with the generation of its spec.
    pub(in crate::controller) version: String,
    /// Namespace in which its references resolve.
    pub(in crate::controller) namespace: String,
    /// resourceVersion of each Secret it refers to, from the watch.
    pub(in crate::controller) credentials_version: Option<String>,
    /// resourceVersion of each ConfigMap it refers to, where the watch knows it.
    pub(in crate::controller) bundles_version: Option<String>,
    /// The account in one line, as the status has it of this generation of the spec.
    pub(in crate::controller) account: Option<String>,
    /// The account whose search has found an order of ours, as the status has it.
    pub(in crate::controller) order_found_at: Option<String>,
}

/// An open account.
pub(in crate::controller) struct Account {
    pub(in crate::controller) ca: Arc<dyn CertificateAuthority>,
    /// Whom certificates are for, as far as the settings tell and an earlier check has found out.
    tenant: Tenant,
    /// How credentials lie in their Secret, those of a request too.
    pub(in crate::controller) credentials_kind: credentials::Kind,
    /// Hosts of the CA, with their ports: where credentials are sent.
    hosts: Vec<String>,
    /// The roots that the issuer brings for TLS: those that its credentials opted in to are used.
    bundle: Option<Vec<Certificate>>,
    pub(in crate::controller) anchors: Vec<Certificate>,
    pub(in crate::controller) preferred_root: Option<String>,
    pub(in crate::controller) add_served_roots: bool,
    /// What is odd about the certificates that the issuer trusts, and hinders nothing.
    pub(in crate::controller) remarks: Vec<String>,
    /// Turns for requests to the CA.
    pub(in crate::controller) permits: Turns,
    /// Pace of the calls, where the issuer limits it.
    pace: Option<Arc<Pace>>,
    /// Whether the CA asked to be left alone.
    pause: Arc<Pause>,
    served: tokio::sync::Mutex<Option<Vec<Certificate>>>,
    /// How the CA's server is reached and verified, and what it is shown.
    route: Route,
}

impl Account {
    /// In one line, without secrets.
    pub(in crate::controller) fn name(&self) -> String {
        self.tenant.clone().with_client(self.ca.client().as_ref()).to_string()
    }

    /// Whether this stands for the tenant that something was meant for.
    pub(in crate::controller) fn is(&self, name: &str) -> bool {
        tenant::is_same(name, &self.name())
    }

    /// Where credentials go.
    pub(in crate::controller) fn way(&self) -> Way<'_> {
        Way { hosts: &self.hosts, bundle: self.bundle.as_deref() }
    }

    /// Waits until a submit may be sent. Before the last look at what admits it: [`Self::submit`]
    /// waits for nothing. Not for the end of a pause that the CA asked for either: that may be an
    /// hour away.
    ///
    /// # Errors
    /// While such a pause lasts. Nothing was sent, and no grant is to be spent on it.
    pub(in crate::controller) async fn turn(&self) -> Result<(), Error> {
        self.pause.over()?;
        if let Some(pace) = &self.pace {
            pace.turn().await;
        }
        self.pause.over()
    }

    /// Submits, at the cost of a grant where the issuer has limits.
    pub(in crate::controller) async fn submit(
        &self,
        order: &Order<'_>,
        permit: Permit,
        Spent { .. }: Spent,
    ) -> Submitted {
        match &self.pace {
            Some(pace) => pace.paid(self.ca.submit(order, permit)).await,
            None => self.ca.submit(order, permit).await,
        }
    }

    /// The certificates the CA serves, asked for once.
    pub(in crate::controller) async fn served_roots(&self) -> Result<Vec<Certificate>, Error> {
        let mut served = self.served.lock().await;
        if let Some(served) = &*served {
            return Ok(served.clone());
        }
        let fresh = self.ca.trust_anchors().await?;
        Ok(served.insert(fresh).clone())
    }

    /// Refuses what would be paid for and not delivered: a chain to a root that is not trusted. Where
    /// the CA serves no roots, or they cannot be read now, nobody knows, and nothing is refused.
    pub(in crate::controller) async fn can_be_trusted(&self) -> Result<(), Error> {
        let served = self.served_roots().await.unwrap_or_default();
        match apart(&served, &self.anchors) {
            None => Ok(()),
            Some(why) => Err(Error {
                disposition: Disposition::BlameIssuer,
                reason: Reason::ChainNotTrusted,
                message: format!("nothing was ordered: {why}"),
            }),
        }
    }
}

/// What an account was opened with.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Basis {
    version: String,
    credentials_version: Option<String>,
}

struct Entry {
    basis: Basis,
    /// resourceVersion of the ConfigMaps that its anchors are from.
    bundles_version: Option<String>,
    opened_at: Instant,
    account: Arc<Account>,
}

impl Entry {
    fn is_good_for(&self, issuer: &IssuerNow<'_>, oldest: Duration) -> bool {
        self.basis == issuer.basis()
            && self.bundles_version == issuer.bundles_version
            && self.opened_at.elapsed() < oldest
    }
}

type Slot = Arc<tokio::sync::Mutex<Option<Entry>>>;

/// All open accounts.
pub(in crate::controller) struct Accounts {
    connector: Arc<dyn Connector>,
    beside: Arc<Beside>,
    deadline: Duration,
    clock: Clock,
    /// How far the issuers of namespaces reach.
    tenants_reach: Reach,
    slots: Mutex<HashMap<IssuerKey, Slot>>,
    blamed: Mutex<HashMap<IssuerKey, (Basis, Error)>>,
    trials: Mutex<HashMap<IssuerKey, (Basis, Arc<Trial>)>>,
    /// Longer than the clients: one that is opened anew does not begin with a full second.
    paces: Mutex<HashMap<IssuerKey, Arc<Pace>>>,
    in_flight: InFlight,
    /// By the account in one line: several issuers may speak for one.
    pauses: Mutex<HashMap<String, Arc<Pause>>>,
    /// Accounts whose search has found an order of ours, in one line each.
    proven: Mutex<HashMap<IssuerKey, String>>,
    /// Trust anchors against which a chain was verified last.
    verified: Mutex<HashMap<IssuerKey, String>>,
}

/// Credentials that the CA has not accepted yet are tried by one request alone: CAs lock accounts
/// after a few wrong passwords, and one for each request that waits would be too many.
#[derive(Default)]
pub(in crate::controller) struct Trial {
    turn: tokio::sync::Mutex<()>,
    passed: AtomicBool,
}

impl Trial {
    /// Waits until the credentials may be sent; while they are on trial, nobody else may send them
    /// before the guard is gone, or before [`TRIAL`] is over.
    pub(in crate::controller) async fn turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if self.passed.load(Ordering::Acquire) {
            return None;
        }
        let guard = tokio::time::timeout(TRIAL, self.turn.lock()).await.ok()?;
        Some(guard).filter(|_| !self.passed.load(Ordering::Acquire))
    }

    /// The CA issued for these credentials.
    pub(in crate::controller) fn passed(&self) {
        self.passed.store(true, Ordering::Release);
    }
}

impl Accounts {
    pub(in crate::controller) fn new(
        (connector, beside): (Arc<dyn Connector>, Arc<Beside>),
        deadline: Duration,
        clock: Clock,
        tenants_reach: Reach,
    ) -> Self {
        Self {
            connector,
            beside,
            deadline,
            clock,
            tenants_reach,
            slots: Mutex::default(),
            blamed: Mutex::default(),
            trials: Mutex::default(),
            paces: Mutex::default(),
            in_flight: InFlight::default(),
            pauses: Mutex::default(),
            proven: Mutex::default(),
            verified: Mutex::default(),
        }
    }

    /// The account of `issuer`, opened if it is not open.
    pub(in crate::controller) async fn open(
        &self,
        cluster: &Cluster,
        issuer: &IssuerNow<'_>,
    ) -> Result<Arc<Account>, Error> {
        self.open_within(cluster, issuer, LIFETIME).await
    }

    /// The same, with bundles and credentials as they are now.
    pub(in crate::controller) async fn look(
        &self,
        cluster: &Cluster,
        issuer: &IssuerNow<'_>,
    ) -> Result<Arc<Account>, Error> {
        self.open_within(cluster, issuer, JUST_NOW).await
    }

    async fn open_within(
        &self,
        cluster: &Cluster,
        issuer: &IssuerNow<'_>,
        oldest: Duration,
    ) -> Result<Arc<Account>, Error> {
        let slot = Arc::clone(lock(&self.slots).entry(issuer.key.clone()).or_default());
        let mut slot = slot.lock().await;
        let basis = issuer.basis();
        let open = slot.as_ref().filter(|entry| entry.is_good_for(issuer, oldest));
        if let Some(entry) = open {
            return Ok(Arc::clone(&entry.account));
        }
        let before = slot.as_ref().filter(|entry| entry.basis == basis);
        let before = before.map(|entry| Arc::clone(&entry.account));
        let account = Arc::new(self.connect(cluster, issuer, before.as_deref()).await?);
        *slot = Some(Entry {
            basis,
            bundles_version: issuer.bundles_version.clone(),
            opened_at: Instant::now(),
            account: Arc::clone(&account),
        });
        Ok(account)
    }

    /// Whether a watched ConfigMap has changed since the account was opened.
    pub(in crate::controller) fn has_other_bundles(&self, issuer: &IssuerNow<'_>) -> bool {
        let slot = lock(&self.slots).get(&issuer.key).cloned();
        // While it is being opened it takes what there is.
        let slot = slot.as_ref().and_then(|slot| slot.try_lock().ok());
        let entry = slot.as_ref().and_then(|slot| slot.as_ref());
        entry.is_some_and(|entry| entry.bundles_version != issuer.bundles_version)
    }

    /// The trial of the credentials that `issuer` has now.
    pub(in crate::controller) fn trial(&self, issuer: &IssuerNow<'_>) -> Arc<Trial> {
        let mut trials = lock(&self.trials);
        let (basis, trial) = trials.entry(issuer.key.clone()).or_default();
        if *basis != issuer.basis() {
            *basis = issuer.basis();
            *trial = Arc::default();
        }
        Arc::clone(trial)
    }

    /// Has the account opened anew: what it was opened with may have been mended since.
    pub(in crate::controller) fn reopen(&self, key: &IssuerKey) {
        lock(&self.slots).remove(key);
    }

    /// Notes that the CA refused the credentials of `issuer`: they are not sent again before they
    /// change.
    pub(in crate::controller) fn blame(&self, issuer: &IssuerNow<'_>, error: Error) {
        lock(&self.blamed).insert(issuer.key.clone(), (issuer.basis(), error));
    }

    /// The refusal that still stands.
    pub(in crate::controller) fn blamed(&self, issuer: &IssuerNow<'_>) -> Option<Error> {
        let mut blamed = lock(&self.blamed);
        let (basis, error) = blamed.get(&issuer.key)?;
        if *basis == issuer.basis() {
            return Some(error.clone());
        }
        blamed.remove(&issuer.key);
        None
    }

    /// Notes that a search of this account has found an order of ours; whether that is news.
    pub(in crate::controller) fn prove(&self, issuer: &IssuerNow<'_>, account: &Account) -> bool {
        let name = account.name();
        let before = lock(&self.proven).insert(issuer.key.clone(), name.clone());
        before != Some(name)
    }

    /// Whether this account stands for the tenant that something was meant for: at the same address, or
    /// at another that has shown an order of ours.
    pub(in crate::controller) fn stand_for(
        &self,
        issuer: &IssuerNow<'_>,
        account: &Account,
        name: &str,
    ) -> bool {
        match tenant::relation(name, &account.name()) {
            Relation::Same => true,
            Relation::Moved => [self.proven(&issuer.key), issuer.order_found_at.clone()]
                .iter()
                .flatten()
                .any(|found| tenant::is_same_login(found, &account.name())),
            Relation::Other | Relation::Unknown => false,
        }
    }

    /// The account whose search has found an order of ours.
    pub(in crate::controller) fn proven(&self, key: &IssuerKey) -> Option<String> {
        lock(&self.proven).get(key).cloned()
    }

    /// Notes that a chain was verified against these trust anchors.
    pub(in crate::controller) fn verify(&self, key: &IssuerKey, trust: String) {
        lock(&self.verified).insert(key.clone(), trust);
    }

    /// The trust anchors against which a chain was verified last.
    pub(in crate::controller) fn verified(&self, key: &IssuerKey) -> Option<String> {
        lock(&self.verified).get(key).cloned()
    }

    /// Lets the credentials be tried once more.
    pub(in crate::controller) fn forgive(&self, key: &IssuerKey) {
        lock(&self.blamed).remove(key);
    }

    /// Forgets an issuer that is gone.
    pub(in crate::controller) fn close(&self, key: &IssuerKey) {
        self.reopen(key);
        self.forgive(key);
        lock(&self.trials).remove(key);
        lock(&self.paces).remove(key);
        lock(&self.proven).remove(key);
        lock(&self.verified).remove(key);
    }

    /// The pace of an issuer; the same one until its limit is another.
    fn pace(&self, issuer: &IssuerNow<'_>) -> Option<Arc<Pace>> {
        let limit = issuer.spec.limits.as_ref().and_then(|limits| limits.requests_per_second);
        let mut paces = lock(&self.paces);
        let Some(limit) = limit else {
            paces.remove(&issuer.key);
            return None;
        };
        let pace = paces.entry(issuer.key.clone()).or_insert_with(|| Arc::new(Pace::new(limit)));
        if pace.per_second() != limit {
            *pace = Arc::new(Pace::new(limit));
        }
        Some(Arc::clone(pace))
    }

    /// The pause of an account, for as long as somebody has it or it lasts.
    fn pause(&self, name: &str) -> Arc<Pause> {
        let mut pauses = lock(&self.pauses);
        pauses.retain(|_, pause| Arc::strong_count(pause) > 1 || pause.over().is_err());
        Arc::clone(pauses.entry(name.to_owned()).or_default())
    }

    /// A way to the CA, at the pace of its issuer and with the pauses that the CA asks for.
    fn transport(
        &self,
        key: &IssuerKey,
        route: &Route,
        pace: Option<Arc<Pace>>,
        pause: &Arc<Pause>,
    ) -> Result<Arc<dyn Transport>, Error> {
        let inner = self.connector.connect(route).map_err(|failure| no_transport(&failure))?;
        let owner = match &key.namespace {
            Some(namespace) => format!("namespace {namespace}"),
            None => key.name.clone(),
        };
        let inner = Arc::new(Sharing { inner, share: self.in_flight.share(&owner) });
        let (pause, clock) = (Arc::clone(pause), self.clock.clone());
        // Within the pace: who waited for a turn looks again.
        let inner = Arc::new(Considerate { inner, pause, clock });
        Ok(match pace {
            Some(pace) => Arc::new(Paced { inner, pace }),
            None => inner,
        })
    }

    /// The account as credentials that a request brings may use it: by way of those of the issuer's
    /// roots alone that they opted in to. `None` where they did not opt in to it at all.
    pub(in crate::controller) fn opened_for(
        &self,
        issuer: &IssuerNow<'_>,
        account: Arc<Account>,
        opt_in: Option<&OptIn>,
    ) -> Result<Option<Arc<Account>>, Error> {
        let Some(opt_in) = opt_in else { return Ok(Some(account)) };
        if !account.way().is_open_to(opt_in) {
            return Ok(None);
        }
        let roots = roots(account.bundle.as_deref(), Some(opt_in));
        if roots == account.route.roots {
            return Ok(Some(account));
        }
        let route = Route { roots, ..account.route.clone() };
        let ca = registry::account(issuer.spec)?.open(Opening {
            credentials: None,
            transport: self.transport(&issuer.key, &route, account.pace.clone(), &account.pause)?,
            deadline: self.deadline,
            clock: self.clock.clone(),
            reader: reader(&issuer.key),
        })?;
        Ok(Some(Arc::new(Account {
            ca,
            route,
            tenant: account.tenant.clone(),
            credentials_kind: account.credentials_kind,
            hosts: account.hosts.clone(),
            bundle: account.bundle.clone(),
            anchors: account.anchors.clone(),
            preferred_root: account.preferred_root.clone(),
            add_served_roots: account.add_served_roots,
            remarks: account.remarks.clone(),
            permits: account.permits.clone(),
            pace: account.pace.clone(),
            pause: Arc::clone(&account.pause),
            served: tokio::sync::Mutex::default(),
        })))
    }

    /// How far an issuer reaches: those of the cluster are the platform team's.
    fn reach(&self, key: &IssuerKey) -> Reach {
        match key.kind {
            IssuerKind::ClusterIssuer => Reach::Anywhere,
            IssuerKind::Issuer => self.tenants_reach.clone(),
        }
    }

    /// Opens an account; the client of the same account `before` is kept where it would be the same.
    async fn connect(
        &self,
        cluster: &Cluster,
        issuer: &IssuerNow<'_>,
        before: Option<&Account>,
    ) -> Result<Account, Error> {
        let spec = issuer.spec;
        let settings = registry::account(spec)?;
        let hosts = settings.hosts();
        let credentials_kind = settings.credentials_kind();
        let (bundle, mut remarks) = match &spec.tls {
            None => (None, Vec::new()),
            Some(Tls { ca_bundle }) => {
                let field = "spec.tls.caBundle";
                let bundle = self.bundle(cluster, issuer, field, ca_bundle).await?;
                (Some(bundle.anchors), bundle.remarks)
            }
        };
        let (credentials, opt_in) = match settings.credentials_secret() {
            None => (None, None),
            Some(name) => {
                let place = (issuer.namespace.as_str(), name);
                let way = Way { hosts: &hosts, bundle: bundle.as_deref() };
                let read = secret::credentials(cluster, place, credentials_kind, &way).await?;
                (Some(read.0), Some(read.1))
            }
        };
        let identity = credentials.as_ref().and_then(Credentials::client_certificate).cloned();
        let proxy = match &spec.proxy {
            None => None,
            Some(proxy) => Some(through(cluster, &issuer.namespace, proxy).await?),
        };
        let roots = roots(bundle.as_deref(), opt_in.as_ref());
        let route = Route { roots, identity, proxy, reach: self.reach(&issuer.key) };
        let tenant = settings.tenant(credentials.as_ref());
        // As the settings tell: what a check finds out must not end a pause.
        let pause = self.pause(&pausing(&issuer.key, &tenant));
        let tenant = match &issuer.account {
            Some(known) => tenant.with_client_of(known),
            None => tenant,
        };
        let pace = self.pace(issuer);
        let trust = spec.trust.clone().unwrap_or_default();
        let (ca, permits) = match before.filter(|before| before.route == route) {
            Some(before) => (Arc::clone(&before.ca), before.permits.clone()),
            None => {
                let ca = settings.open(Opening {
                    credentials,
                    transport: self.transport(&issuer.key, &route, pace.clone(), &pause)?,
                    deadline: self.deadline,
                    clock: self.clock.clone(),
                    reader: reader(&issuer.key),
                })?;
                (ca, Turns::new(PARALLEL))
            }
        };
        let trusted = self.anchors(cluster, issuer, &trust).await?;
        remarks.extend(trusted.remarks);
        Ok(Account {
            tenant,
            ca,
            credentials_kind,
            hosts,
            bundle,
            anchors: trusted.anchors,
            preferred_root: trust.preferred_root,
            remarks,
            add_served_roots: trust.add_served_roots.unwrap_or(false),
            permits,
            pace,
            pause,
            served: tokio::sync::Mutex::new(None),
            route,
        })
    }

    /// What chains must end at: the given bundle, the system roots, or both. System roots alone where
    /// nothing is given.
    async fn anchors(
        &self,
        cluster: &Cluster,
        issuer: &IssuerNow<'_>,
        trust: &Trust,
    ) -> Result<Bundle, Error> {
        let mut anchors = match &trust.bundle {
            Some(bundle) => self.bundle(cluster, issuer, "spec.trust.bundle", bundle).await?,
            None => Bundle::default(),
        };
        if trust.system_roots.unwrap_or_else(|| trust.bundle.is_none()) {
            // They are many, and read from files.
            match self.beside.compute(&issuer.key, pki::system_roots).await {
                Ok(roots) => {
                    anchors.anchors.extend(roots.anchors);
                    anchors.remarks.extend(roots.remarks);
                }
                Err(error) if anchors.anchors.is_empty() => {
                    return Err(Error {
                        disposition: Disposition::BlameIssuer,
                        reason: Reason::BundleUnusable,
                        message: format!("{error}; or pin the CA's root in spec.trust.bundle"),
                    });
                }
                Err(error) => tracing::warn!(%error, "spec.trust.systemRoots adds nothing"),
            }
        }
        let preferred = trust.preferred_root.as_deref();
        anchors.remarks.extend(preference_remark(preferred, &anchors.anchors));
        Ok(anchors)
    }

    /// The certificates in a bundle that the issuer names in `field`.
    async fn bundle(
        &self,
        cluster: &Cluster,
        issuer: &IssuerNow<'_>,
        field: &str,
        bundle: &CertificateBundle,
    ) -> Result<Bundle, Error> {
        let text = secret::bundle(cluster, &issuer.namespace, field, bundle).await?;
        if text.is_short() {
            return text.read();
        }
        self.beside.compute(&issuer.key, move || text.read()).await
    }
}

impl<'a> IssuerNow<'a> {
    /// With what `credentials_version` says of the Secrets it refers to, and `bundle_version` of the
    /// ConfigMaps: those that nobody has labelled change without telling.
    pub(in crate::controller) fn new(
        key: IssuerKey,
        version: String,
        (spec, status): (&'a IssuerSpec, &IssuerStatus),
        operator_namespace: &str,
        credentials_version: impl Fn(&str, &str) -> Option<String>,
        bundle_version: impl Fn(&str, &str) -> Option<String>,
    ) -> Self {
        let namespace = key.namespace.clone().unwrap_or_else(|| operator_namespace.to_owned());
        let secrets = registry::secrets(spec);
        let versions = secrets.iter().map(|name| credentials_version(&namespace, name));
        let credentials_version = joined(versions.collect());
        let maps = spec.config_maps();
        let bundles_version =
            joined(maps.iter().map(|map| bundle_version(&namespace, map)).collect());
        Self {
            key,
            version,
            spec,
            namespace,
            credentials_version,
            bundles_version,
            account: status.account.clone(),
            order_found_at: status.order_found_at.clone(),
        }
    }

    fn basis(&self) -> Basis {
        Basis {
            version: self.version.clone(),
            credentials_version: self.credentials_version.clone(),
        }
    }
}

/// Whom servers are taken for: where the issuer brings roots and credentials, only by those that the
/// credentials opted in to.
fn roots(bundle: Option<&[Certificate]>, opt_in: Option<&OptIn>) -> Roots {
    match (bundle, opt_in) {
        (None, _) => Roots::System,
        (Some(bundle), None) => Roots::Bundle(bundle.to_vec()),
        (Some(bundle), Some(opt_in)) => Roots::Bundle(opt_in.trusted(bundle)),
    }
}

/// Who reads what the CA of an issuer says.
fn reader(key: &IssuerKey) -> Reader {
    match key.kind {
        IssuerKind::ClusterIssuer => Reader::Platform,
        IssuerKind::Issuer => Reader::Tenant,
    }
}

/// Whose pause it is: of whoever owns the issuers, at one address as one user. Both are in the hands of
/// whoever writes an issuer, who must not be able to pause others.
fn pausing(issuer: &IssuerKey, tenant: &Tenant) -> String {
    format!("{} {}", issuer.namespace.as_deref().unwrap_or_default(), tenant.caller())
}

/// The versions of several Secrets as one: it is another where any of them is. That of a single one
/// is what it is.
fn joined(versions: Vec<Option<String>>) -> Option<String> {
    if versions.iter().all(Option::is_none) {
        return None;
    }
    let versions: Vec<String> = versions.into_iter().map(Option::unwrap_or_default).collect();
    Some(versions.join(","))
}

/// The proxy of an issuer, with what it is shown.
async fn through(
    cluster: &Cluster,
    namespace: &str,
    settings: &api::Proxy,
) -> Result<Proxy, Error> {
    let credentials = match &settings.credentials_secret_ref {
        None => None,
        Some(secret) => {
            let place = (namespace, secret.name.as_str());
            let kind = credentials::Kind::Basic { password: "password" };
            let hosts = [host_and_port(&settings.url)];
            // Plain HTTP: no root vouches for it.
            let way = Way { hosts: &hosts, bundle: None };
            let (credentials, _) = secret::credentials(cluster, place, kind, &way).await?;
            credentials.basic().cloned()
        }
    };
    Proxy::new(&settings.url, credentials, &settings.no_proxy)
}

/// A preference for a root that is not trusted changes nothing.
fn preference_remark(preferred: Option<&str>, anchors: &[Certificate]) -> Option<String> {
    let named = preferred?;
    let is_there = anchors.iter().any(|anchor| is_root(anchor, named));
    (!is_there).then(|| {
        "spec.trust.preferredRoot is neither the subject nor the SHA-256 fingerprint of a trusted root: compare it with openssl x509 -noout -subject -nameopt RFC2253 -fingerprint -sha256".to_owned()
    })
}

fn no_transport(failure: &Failure) -> Error {
    let (disposition, reason, message) = match failure {
        Failure::Blocked(error) => return error.clone(),
        Failure::ClientRefused(why) => {
            (Disposition::BlameCredentials, Reason::CredentialsUnusable, why.clone())
        }
        Failure::NotSent(why) | Failure::Unknown(why) | Failure::Untrusted(why) => (
            Disposition::BlameIssuer,
            Reason::ServerNotTrusted,
            format!("{why}; or put the CA's TLS root into spec.tls.caBundle of the issuer"),
        ),
    };
    Error { disposition, reason, message }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

    use super::*;
    use crate::api::IssuerKind;
    use crate::ca::{AccountReport, Capabilities};

    /// A CA that serves these roots, or none that can be read.
    struct Serves(Option<Vec<Certificate>>, Capabilities);

    #[async_trait]
    impl CertificateAuthority for Serves {
        fn capabilities(&self) -> &Capabilities {
            &self.1
        }

        async fn check(&self) -> Result<AccountReport, Error> {
            Ok(AccountReport::default())
        }

        async fn submit(&self, _: &Order<'_>, _: Permit) -> Submitted {
            unreachable!("nothing is submitted here")
        }

        async fn trust_anchors(&self) -> Result<Vec<Certificate>, Error> {
            let away = || Error {
                disposition: Disposition::Retry { after: None },
                reason: Reason::Unreachable,
                message: "no route".to_owned(),
            };
            self.0.clone().ok_or_else(away)
        }
    }

    fn root(name: &str) -> Certificate {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a root");
        Certificate::from_der(root.der()).expect("a certificate")
    }

    #[tokio::test]
    async fn nothing_is_paid_for_that_cannot_be_trusted() {
        let (ours, another) = (root("ours"), root("another"));
        let cases = [
            ("the root that is served", Some(vec![ours.clone()]), None),
            ("another root", Some(vec![another]), Some(Reason::ChainNotTrusted)),
            ("none is served", Some(vec![]), None),
            ("none can be read", None, None),
        ];
        for (name, served, refused) in cases {
            let account = Account {
                ca: Arc::new(Serves(served, Capabilities::default())),
                tenant: Tenant::parse("https://ca.example/ as house"),
                credentials_kind: credentials::Kind::ApiKey,
                hosts: Vec::new(),
                bundle: None,
                anchors: vec![ours.clone()],
                preferred_root: None,
                add_served_roots: false,
                remarks: Vec::new(),
                permits: Turns::new(1),
                pace: None,
                served: tokio::sync::Mutex::new(None),
                pause: Arc::default(),
                route: Route {
                    roots: Roots::System,
                    identity: None,
                    proxy: None,
                    reach: Reach::Anywhere,
                },
            };
            let told = account.can_be_trusted().await.err();
            assert_eq!(told.as_ref().map(|error| error.reason), refused, "{name}: {told:?}");
        }
    }

    #[test]
    fn a_preference_for_a_root_that_is_not_trusted_is_told() {
        let root = rcgen::CertificateParams::default();
        let root = root.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let root = Certificate::from_der(root.der()).unwrap();
        let anchors = [root.clone()];
        let fingerprint = Some(root.fingerprint_sha256());
        let rows = [
            ("none", None, false),
            ("its subject", Some(root.subject()), false),
            ("its fingerprint", fingerprint, false),
            ("another", Some("CN=Another"), true),
        ];
        for (name, preferred, is_told) in rows {
            assert_eq!(preference_remark(preferred, &anchors).is_some(), is_told, "{name}");
        }
    }

    #[test]
    fn nobody_pauses_the_issuers_of_others() {
        let key = |kind, namespace: Option<&str>, name: &str| IssuerKey {
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        let house = Tenant::parse("https://ca.example/ as house");
        let (cluster, own) = (IssuerKind::ClusterIssuer, IssuerKind::Issuer);
        let platform = pausing(&key(cluster, None, "ca"), &house);
        assert_eq!(platform, pausing(&key(cluster, None, "again"), &house), "one account");
        let tenant = pausing(&key(own, Some("shop"), "ca"), &house);
        assert_eq!(tenant, pausing(&key(own, Some("shop"), "again"), &house), "one account");
        assert_ne!(tenant, platform, "a tenant says whose account it is");
        assert_ne!(tenant, pausing(&key(own, Some("bank"), "ca"), &house));
    }

    #[test]
    fn a_change_of_any_secret_is_a_change() {
        let version = |text: &str| Some(text.to_owned());
        let cases = [
            ("none", vec![], None),
            ("one that the watch does not know", vec![None], None),
            ("one", vec![version("7")], Some("7")),
            ("two", vec![version("7"), version("8")], Some("7,8")),
            ("the second of two", vec![None, version("8")], Some(",8")),
        ];
        for (name, versions, expected) in cases {
            assert_eq!(joined(versions).as_deref(), expected, "{name}");
        }
    }
}
