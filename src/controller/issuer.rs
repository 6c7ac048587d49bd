//! The reconciler of `Issuer` and `ClusterIssuer`: the same code for both.

pub(in crate::controller) mod accounts;
pub(in crate::controller) mod order_poller;
pub(in crate::controller) mod quota;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use super::cluster::ErrorKind;
use super::cluster::watches::Guarded;
use super::issuer::accounts::{IssuerKey, IssuerNow};
use super::{Context, Never};
use crate::api::{ClusterIssuer, Issuer, IssuerKind, IssuerSpec, IssuerStatus};
use crate::issuance::Requeue;
use crate::issuance::issuer::{Checked, IssuerObservation, IssuerStep, decide, describe};
use crate::outside::Error;

/// What `Issuer` and `ClusterIssuer` have in common.
pub(super) trait IssuerObject:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
    const KIND: IssuerKind;
    const RESOURCE: &'static str;
    const STATUS_RESOURCE: &'static str;
    fn spec(&self) -> &IssuerSpec;
    fn status(&self) -> Option<&IssuerStatus>;
    fn set_status(&mut self, status: IssuerStatus);
    fn api(client: kube::Client, namespace: Option<&str>) -> Api<Self>;
}

impl IssuerObject for Issuer {
    const KIND: IssuerKind = IssuerKind::Issuer;
    const RESOURCE: &'static str = "issuers";
    const STATUS_RESOURCE: &'static str = "issuers/status";

    fn spec(&self) -> &IssuerSpec {
        &self.spec
    }

    fn status(&self) -> Option<&IssuerStatus> {
        self.status.as_ref()
    }

    fn set_status(&mut self, status: IssuerStatus) {
        self.status = Some(status);
    }

    fn api(client: kube::Client, namespace: Option<&str>) -> Api<Self>
    where
        Self: Resource<Scope = NamespaceResourceScope>,
    {
        Api::namespaced(client, namespace.unwrap_or_default())
    }
}

impl IssuerObject for ClusterIssuer {
    const KIND: IssuerKind = IssuerKind::ClusterIssuer;
    const RESOURCE: &'static str = "clusterissuers";
    const STATUS_RESOURCE: &'static str = "clusterissuers/status";

    fn spec(&self) -> &IssuerSpec {
        &self.spec.issuer
    }

    fn status(&self) -> Option<&IssuerStatus> {
        self.status.as_ref()
    }

    fn set_status(&mut self, status: IssuerStatus) {
        self.status = Some(status);
    }

    fn api(client: kube::Client, _: Option<&str>) -> Api<Self> {
        Api::all(client)
    }
}

/// When each issuer is checked next. In memory: a restart believes the status.
#[derive(Default)]
pub(super) struct Checks(Mutex<HashMap<IssuerKey, (Timestamp, u32)>>);

impl Checks {
    fn get(&self, key: &IssuerKey) -> Option<(Timestamp, u32)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    /// Has an issuer checked with the next look.
    pub(super) fn due(&self, key: &IssuerKey, now: Timestamp) {
        let failures = self.get(key).map_or(0, |(_, failures)| failures);
        self.set(key.clone(), now, failures);
    }

    /// Forgets an issuer that is gone.
    pub(super) fn forget(&self, key: &IssuerKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn set(&self, key: IssuerKey, next: Timestamp, failures: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (next, failures));
    }
}

/// An issuer with what the watches know of its credentials.
pub(super) fn now<'a>(
    context: &'a Context,
    key: IssuerKey,
    uid: &str,
    spec: &'a IssuerSpec,
    generation: i64,
) -> IssuerNow<'a> {
    IssuerNow::new(
        key,
        format!("{uid}/{generation}"),
        spec,
        &context.namespace,
        |namespace, name| context.stores.credentials_version(namespace, name),
    )
}

/// One run for one issuer.
pub(super) async fn reconcile<K: IssuerObject>(
    guarded: Arc<Guarded<K>>,
    context: Arc<Context>,
) -> Result<Action, Never> {
    let issuer = match &guarded.0 {
        Ok(issuer) => issuer,
        Err(error) => {
            tracing::error!(name = guarded.name_any(), %error, "the issuer cannot be read by this version");
            return Ok(Action::await_change());
        }
    };
    let span = tracing::info_span!(
        "issuer",
        issuer.kind = %K::KIND,
        issuer.namespace = issuer.namespace(),
        issuer.name = issuer.name_any(),
    );
    Ok(run(&context, issuer).instrument(span).await)
}

pub(super) fn error_policy<K: IssuerObject>(
    _: Arc<Guarded<K>>,
    error: &Never,
    _: Arc<Context>,
) -> Action {
    match *error {}
}

async fn run<K: IssuerObject>(context: &Context, issuer: &K) -> Action {
    let key = IssuerKey { kind: K::KIND, namespace: issuer.namespace(), name: issuer.name_any() };
    if issuer.meta().deletion_timestamp.is_some() {
        return Action::await_change();
    }
    let generation = issuer.meta().generation.unwrap_or_default();
    let now =
        now(context, key.clone(), &issuer.uid().unwrap_or_default(), issuer.spec(), generation);
    let (next_check, failures) = context.checks.get(&key).unzip();
    let seen = IssuerObservation {
        now: context.clock.now(),
        name: format!("{} {}", K::KIND, issuer.name_any()),
        generation,
        status: issuer.status().cloned().unwrap_or_default(),
        credentials_version: now.credentials_version.clone(),
        blamed: context.accounts.blamed(&now),
        next_check,
        failures: failures.unwrap_or_default(),
        order_found_at: context.accounts.proven(&key),
    };
    let result = match (decide(&seen), &seen.blamed) {
        (IssuerStep::Rest(_), Some(error)) => Err(error.clone()),
        (IssuerStep::Rest(until), None) => {
            if next_check.is_none() {
                context.checks.set(key, until, 0);
            }
            let is_told = match seen.with_found_order() {
                Some(status) => put_status(context, issuer, status).await,
                None => true,
            };
            return if is_told { action(context, until) } else { Action::requeue(RETRY) };
        }
        (IssuerStep::Forgive, _) => {
            context.accounts.forgive(&key);
            check(context, &now).await
        }
        (IssuerStep::Check, _) => check(context, &now).await,
    };
    finish(context, issuer, key, &seen, result).await
}

async fn check(context: &Context, issuer: &IssuerNow<'_>) -> Result<Checked, Error> {
    let account = context.accounts.open(&context.cluster, issuer).await?;
    let start = tokio::time::Instant::now();
    let result = account.ca.check().await;
    if result.is_err() {
        // The next check takes trust bundles and credentials as they are then.
        context.accounts.reopen(&issuer.key);
    }
    let disposition = result.as_ref().map_or_else(|error| error.disposition.label(), |_| "ok");
    context.metrics.ca_request(&issuer.key.name, "check", disposition, start.elapsed());
    Ok(Checked { account: account.name.clone(), remarks: result?.remarks })
}

async fn finish<K: IssuerObject>(
    context: &Context,
    issuer: &K,
    key: IssuerKey,
    seen: &IssuerObservation,
    result: Result<Checked, Error>,
) -> Action {
    let failures = if result.is_ok() { 0 } else { seen.failures.saturating_add(1) };
    if let Err(error) = &result {
        tracing::warn!(reason = error.reason.word(), "{error}");
    }
    let (status, notices, Requeue::At(next)) = describe(seen, result) else {
        return Action::await_change();
    };
    context.checks.set(key, next, failures);
    if status != seen.status {
        if !put_status(context, issuer, status).await {
            return Action::requeue(RETRY);
        }
        context.events.publish(&issuer.object_ref(&()), notices);
    }
    action(context, next)
}

/// Whether the status was written.
async fn put_status<K: IssuerObject>(context: &Context, issuer: &K, status: IssuerStatus) -> bool {
    let mut changed = issuer.clone();
    changed.set_status(status);
    let api = K::api(context.cluster.client(), issuer.namespace().as_deref());
    match context.cluster.put_status(api, K::STATUS_RESOURCE, &changed).await {
        Ok(_) => true,
        Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => false,
        Err(error) => {
            tracing::warn!(%error, "the status was not written");
            false
        }
    }
}

/// A status that could not be written is decided anew.
const RETRY: std::time::Duration = std::time::Duration::from_secs(2);

fn action(context: &Context, until: Timestamp) -> Action {
    let wait = until.duration_since(context.clock.now());
    Action::requeue(wait.try_into().unwrap_or_default())
}
