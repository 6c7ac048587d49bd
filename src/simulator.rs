//! The outside systems, played with real keys: what Pebble is to ACME.
//!
//! A [`Simulator`] holds all state; [`Simulator::router`] is the same service in process and behind
//! TLS. Each outside system is one module that adds its routes under a path of its own and its
//! sites to the management API:
//!
//! ```text
//!   server ── TLS, client certificates, closed connections
//!     └─ router ─┬─ /online-ca/<site>/…   online_ca    the Contrail online CA service 0.4.0
//!                ├─ /ssl-purchase/<site>/… ssl_purchase the SSL purchase API of a reseller platform
//!                ├─ /swisssign/<site>/…   swisssign    the SwissSign RA REST API 3.5.0
//!                └─ /management/…         management   settings, faults, records
//!   shared by the systems: authority, name and csr (certificates and requests by hand), id, faults,
//!   requests, answer
//! ```
//!
//! *Guarantees.* It reproduces what the real systems do, their mistakes included, and is unkind
//! where they are. Everything it does wrong beyond that was asked for through a fault.
//!
//! *Assumptions.* Time is what the clock in [`Settings`] says; delays follow tokio's clock, so
//! tests may drive both.
//!
//! *Caveats.* It shares no code with the operator's clients and parsers, because a simulator that
//! shares the parser shares its bugs. It holds passwords and private keys in the open and belongs
//! into no cluster that matters.

#![expect(
    clippy::disallowed_methods,
    reason = "it plays the world outside, which has clocks and takes its time"
)]

mod answer;
mod authority;
mod csr;
mod der;
mod faults;
mod id;
mod management;
mod name;
pub mod online_ca;
mod requests;
pub mod server;
pub mod ssl_purchase;
pub mod swisssign;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::authority::{Error, KeyAlgorithm};
pub use self::faults::{Fault, Impossible, Kind};
pub use self::requests::Requests;

use self::authority::{CertificateAuthority, DAY, Key, KeyPool, shifted};
use self::name::Name;

/// The most a request body may have; the largest real request is a few kilobytes.
const BODY_LIMIT: usize = 1024 * 1024;

/// Where the simulator takes the time from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the simulator as a whole can be told.
#[derive(Clone)]
pub struct Settings {
    /// The time that certificates are issued at; the real clock by default.
    pub clock: Clock,
    /// No more than so many keys per algorithm for all certificate authorities together; no limit
    /// by default. Three or more keep the authorities of one site apart. Shared keys save time, and
    /// make sites alike for whoever compares keys: names still differ.
    pub key_pool: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { clock: Arc::new(Timestamp::now), key_pool: None }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Settings").field("key_pool", &self.key_pool).finish_non_exhaustive()
    }
}

/// Marks a response that must not be sent: the server closes the connection instead, and whoever
/// uses the router without sockets takes it for an unknown outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect;

/// The certificate a TLS client presented, as DER: an extension of the request. Nobody has verified
/// its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate(
    /// The DER of the leaf.
    pub Vec<u8>,
);

/// No site can have this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a site is named by 1 to 40 letters, digits, dots, hyphens and underscores, not {0:?}")]
pub struct BadSiteName(String);

/// A site in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteName {
    /// The outside system, as its path names it.
    pub system: String,
    /// The site.
    pub name: String,
}

/// All outside systems. Clones share their state.
#[derive(Clone, Debug)]
pub struct Simulator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    online_ca: Mutex<BTreeMap<String, online_ca::Site>>,
    ssl_purchase: Mutex<BTreeMap<String, ssl_purchase::Site>>,
    swisssign: Mutex<BTreeMap<String, swisssign::Site>>,
}

impl Simulator {
    /// A simulator without any site.
    pub fn new(settings: Settings) -> Self {
        let shared = Arc::new(Shared {
            keys: KeyPool::new(settings.key_pool),
            clock: settings.clock,
            tls_root: Mutex::default(),
        });
        Self(Arc::new(Inner {
            shared,
            online_ca: Mutex::default(),
            ssl_purchase: Mutex::default(),
            swisssign: Mutex::default(),
        }))
    }

    /// The routes of all systems and of the management API. It can be called without sockets, by
    /// `tower::ServiceExt::oneshot`; look for [`Disconnect`] among the extensions of the response
    /// then.
    pub fn router(&self) -> Router {
        online_ca::router(self.clone())
            .merge(ssl_purchase::router(self.clone()))
            .merge(swisssign::router(self.clone()))
            .merge(management::router(self.clone()))
    }

    /// The site of this name of the online CA, with default settings if it was not there.
    ///
    /// # Errors
    /// If no site can have this name.
    pub fn online_ca(&self, site: &str) -> Result<online_ca::Site, BadSiteName> {
        if !is_site_name(site) {
            return Err(BadSiteName(site.chars().take(80).collect()));
        }
        let mut sites = lock(&self.0.online_ca);
        let found = sites
            .entry(site.to_owned())
            .or_insert_with(|| online_ca::Site::new(site, Arc::clone(&self.0.shared)));
        Ok(found.clone())
    }

    /// The site of this name of the SSL purchase API, with default settings if it was not there.
    ///
    /// # Errors
    /// If no site can have this name.
    pub fn ssl_purchase(&self, site: &str) -> Result<ssl_purchase::Site, BadSiteName> {
        if !is_site_name(site) {
            return Err(BadSiteName(site.chars().take(80).collect()));
        }
        let mut sites = lock(&self.0.ssl_purchase);
        let found = sites
            .entry(site.to_owned())
            .or_insert_with(|| ssl_purchase::Site::new(site, Arc::clone(&self.0.shared)));
        Ok(found.clone())
    }

    /// The site of this name of the SwissSign RA API, with default settings if it was not there.
    ///
    /// # Errors
    /// If no site can have this name.
    pub fn swisssign(&self, site: &str) -> Result<swisssign::Site, BadSiteName> {
        if !is_site_name(site) {
            return Err(BadSiteName(site.chars().take(80).collect()));
        }
        let mut sites = lock(&self.0.swisssign);
        let found = sites
            .entry(site.to_owned())
            .or_insert_with(|| swisssign::Site::new(site, Arc::clone(&self.0.shared)));
        Ok(found.clone())
    }

    /// The sites that exist, by system and name.
    pub fn sites(&self) -> Vec<SiteName> {
        let named = |system: &str, name: &String| SiteName {
            system: system.to_owned(),
            name: name.clone(),
        };
        let mut sites: Vec<SiteName> =
            lock(&self.0.online_ca).keys().map(|name| named("online-ca", name)).collect();
        sites.extend(lock(&self.0.ssl_purchase).keys().map(|name| named("ssl-purchase", name)));
        sites.extend(lock(&self.0.swisssign).keys().map(|name| named("swisssign", name)));
        sites
    }

    /// What a TLS server needs: a certificate for `localhost`, `127.0.0.1`, `::1` and these names.
    ///
    /// # Errors
    /// Only if the cryptographic library fails or a name is none.
    pub fn tls(&self, further_names: &[String]) -> Result<server::Tls, Error> {
        server::Tls::issue(&*self.0.shared.tls_root()?, further_names)
    }
}

/// Names that need no escaping in a path and leave room in a common name, whose limit is 64
/// characters.
fn is_site_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// What all systems have in common.
pub(crate) struct Shared {
    clock: Clock,
    keys: KeyPool,
    tls_root: Mutex<Option<Arc<CertificateAuthority>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The root above the simulator's own TLS certificate, made when it is first asked for.
    fn tls_root(&self) -> Result<Arc<CertificateAuthority>, Error> {
        let mut slot = lock(&self.tls_root);
        if let Some(root) = slot.as_ref() {
            return Ok(Arc::clone(root));
        }
        let key = Arc::new(Key::generate(KeyAlgorithm::Ecdsa)?);
        let name = Name::authority("TLS", "Chancery Simulator TLS Root CA")?;
        // The real clock: TLS clients do not know of the injected one.
        let now = Timestamp::now();
        let root = Arc::new(CertificateAuthority::root(
            key,
            name,
            (shifted(now, -DAY), shifted(now, DAY * 3650)),
        )?);
        *slot = Some(Arc::clone(&root));
        Ok(root)
    }
}

/// Locks, also after a thread has panicked: every critical section leaves its value whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
