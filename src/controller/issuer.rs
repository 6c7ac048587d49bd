//! The reconciler of `Issuer` and `ClusterIssuer`: the same code for both.

pub(in crate::controller) mod accounts;
pub(in crate::controller) mod checks;
pub(in crate::controller) mod found;
pub(in crate::controller) mod key;
pub(in crate::controller) mod limits;
pub(in crate::controller) mod object;
pub(in crate::controller) mod order_poller;
pub(in crate::controller) mod poll;
pub(in crate::controller) mod quota;
pub(in crate::controller) mod reserve;
pub(in crate::controller) mod tally;

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use tracing::Instrument as _;

use self::accounts::IssuerNow;
use self::found::{FoundIssuer, now};
use self::key::IssuerKey;
use self::object::IssuerObject;
use self::quota::limits_of;
use super::cluster::ErrorKind;
use super::cluster::stores::Guarded;
use super::context::{Context, Never};
use super::places::{Entry, Share};
use crate::api::{IssuerKind, IssuerStatus, Trust};
use crate::ca::AccountReport;
use crate::issuance::issuer::{Checked, IssuerObservation, IssuerStep, decide, describe};
use crate::issuance::trust::{apart, trust};
use crate::issuance::{Observation, Requeue};
use crate::outside::Error;

/// One run for one issuer.
pub(super) async fn reconcile<K: IssuerObject>(
    guarded: Arc<Guarded<K>>,
    context: Arc<Context>,
) -> Result<Action, Never> {
    // The watch has told of one that cannot be read.
    let Ok(issuer) = &guarded.0 else { return Ok(Action::await_change()) };
    let span = tracing::info_span!(
        "issuer",
        issuer.kind = %K::KIND,
        issuer.namespace = issuer.namespace(),
        issuer.name = issuer.name_any(),
    );
    Ok(run(&context, issuer).instrument(span).await)
}

/// What a run for it counts against.
pub(super) fn entry<K: IssuerObject>(guarded: &Guarded<K>) -> Entry<IssuerKey> {
    let who = IssuerKey::to::<K>(guarded);
    let share = Share { namespace: who.namespace.clone().unwrap_or_default(), issuer: who.clone() };
    Entry { who, share, due: None, due_in: None }
}

pub(super) fn error_policy<K: IssuerObject>(
    _: Arc<Guarded<K>>,
    error: &Never,
    _: Arc<Context>,
) -> Action {
    match *error {}
}

async fn run<K: IssuerObject>(context: &Context, issuer: &K) -> Action {
    let key = IssuerKey::to::<K>(issuer);
    if issuer.meta().deletion_timestamp.is_some() {
        return Action::await_change();
    }
    let generation = issuer.meta().generation.unwrap_or_default();
    let status = issuer.status().cloned().unwrap_or_default();
    let uid = issuer.uid().unwrap_or_default();
    let now = now(context, key.clone(), &uid, (issuer.spec(), &status), generation);
    let (next_check, failures) = context.checks.get(&key).unzip();
    let seen = IssuerObservation {
        now: context.clock.now(),
        name: format!("{} {}", K::KIND, issuer.name_any()),
        generation,
        has_certificates: status.trust_verified.is_none() && has_certificates(context, &key),
        status,
        credentials_version: now.credentials_version.clone(),
        has_other_bundles: context.accounts.has_other_bundles(&now),
        blamed: context.accounts.blamed(&now),
        next_check,
        failures: failures.unwrap_or_default(),
        order_found_at: context.accounts.proven(&key),
        trust_verified: context.accounts.verified(&key),
        orders_per_day: limits_of(issuer.spec()).per_day,
        suspended: issuer.spec().suspend == Some(true),
        names_nobody: K::KIND == IssuerKind::ClusterIssuer
            && issuer.spec().allow.as_ref().is_none_or(|allow| allow.namespaces.is_none()),
    };
    let result = match (decide(&seen), &seen.blamed) {
        (IssuerStep::Rest(_), Some(error)) => Err(error.clone()),
        (IssuerStep::Rest(until), None) => {
            // The last check is told anew, without another.
            let found = context.checks.found(&key).filter(|_| seen.has_verified_trust());
            if let Some(found) = found {
                return finish(context, issuer, key, &seen, Ok(found)).await;
            }
            if next_check.is_none() {
                context.checks.set(key, until, 0);
            }
            let is_told = match seen.with_news() {
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
    let account = context.accounts.look(&context.cluster, issuer).await?;
    let start = tokio::time::Instant::now();
    let result = account.ca.check().await;
    if result.is_err() {
        // The next check takes trust bundles and credentials as they are then.
        context.accounts.reopen(&issuer.key);
    }
    let disposition = result.as_ref().map_or_else(|error| error.disposition.label(), |_| "ok");
    context.metrics.ca_request(&issuer.key.labels(), "check", disposition, start.elapsed());
    let trust = issuer.spec.trust_bundle().map(|_| trust(&account.anchors));
    let AccountReport { credentials_tried, remarks, product, roots } = result?;
    let apart = apart(&roots, &account.anchors);
    let remarks = account.remarks.iter().cloned().chain(remarks).chain(apart).collect();
    let follows = issuer.spec.trust.as_ref().is_some_and(Trust::has_bundle_alone);
    Ok(Checked { account: account.name(), credentials_tried, remarks, product, trust, follows })
}

/// Whether a request of the issuer has a certificate.
fn has_certificates(context: &Context, key: &IssuerKey) -> bool {
    context.stores.requests.state().iter().filter_map(|one| one.0.as_ref().ok()).any(|request| {
        let reference = &request.spec.issuer_ref;
        let is_near = key.namespace.is_none() || key.namespace == request.namespace();
        let is_its = reference.kind == key.kind && reference.name == key.name && is_near;
        is_its && request.status.as_ref().is_some_and(|status| status.certificate.is_some())
    })
}

/// Has the issuer told that a chain was verified against its trust anchors, where that is news.
pub(super) fn note_verified(context: &Context, issuer: &FoundIssuer, seen: &Observation) {
    let FoundIssuer::Found { key, spec, status, .. } = issuer else { return };
    let is_new = spec.trust_bundle().is_some() && seen.delivered.is_some();
    let Some(account) = seen.account.as_ref().filter(|_| is_new) else { return };
    let verified = trust(&account.anchors);
    if status.trust_verified.as_ref() != Some(&verified) {
        context.accounts.verify(key, verified);
        context.wake.issuer(key.kind, key.namespace.as_deref(), &key.name);
    }
}

async fn finish<K: IssuerObject>(
    context: &Context,
    issuer: &K,
    key: IssuerKey,
    seen: &IssuerObservation,
    result: Result<Checked, Error>,
) -> Action {
    let failures = if result.is_ok() { 0 } else { seen.failures.saturating_add(1) };
    context.checks.note(&key, result.as_ref().ok().cloned());
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
