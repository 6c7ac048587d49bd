//! What every reconcile may use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::beside::Beside;
use super::cluster::Cluster;
use super::cluster::events::Events;
use super::cluster::stores::Stores;
use super::cluster::wakers::Wakers;
use super::issuer::accounts::{Account, Accounts, IssuerNow};
use super::issuer::checks::Checks;
use super::issuer::key::IssuerKey;
use super::issuer::order_poller::OrderPoller;
use super::issuer::quota::Quotas;
use super::memory::Memory;
use super::places::Places;
use super::process::Process;
use super::process::keys::KeySource;
use super::process::leadership::Leadership;
use super::purchases::Purchases;
use crate::clock::Clock;
use crate::issuance::TemplateKeys;
use crate::metrics::Metrics;
use crate::turns::queue::Name;

/// What every reconcile may use.
pub(super) struct Context {
    pub(super) cluster: Cluster,
    pub(super) namespace: String,
    pub(super) stores: Stores,
    pub(super) accounts: Arc<Accounts>,
    pub(super) order_poller: OrderPoller,
    pub(super) quotas: Arc<Quotas>,
    pub(super) events: Events,
    pub(super) memory: Arc<Memory>,
    pub(super) keys: Arc<dyn KeySource>,
    pub(super) beside: Arc<Beside>,
    pub(super) clock: Clock,
    pub(super) template_keys: TemplateKeys,
    pub(super) metrics: Arc<Metrics>,
    pub(super) purchases: Purchases,
    pub(super) checks: Arc<Checks>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) wake: Wakers,
    pub(super) leadership: Leadership,
    pub(super) process: Process,
    pub(super) request_places: Arc<Places<Name>>,
    pub(super) issuer_places: Arc<Places<IssuerKey>>,
}

impl Context {
    /// Notes that a search of this account has found an order of ours, and has the issuer's status
    /// say so.
    pub(super) fn prove(&self, issuer: &IssuerNow<'_>, account: &Account) {
        if self.accounts.prove(issuer, account) {
            let key = &issuer.key;
            self.wake.issuer(key.kind, key.namespace.as_deref(), &key.name);
        }
    }

    /// The process is ending, or has no lease any more: what is under way is ended, and nothing new
    /// is asked of a CA.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire) || !self.leadership.is_held()
    }
}

/// Nothing here is unexpected: every failure ends in a status and a requeue.
pub(super) type Never = std::convert::Infallible;
