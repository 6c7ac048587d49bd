//! What is known of a request when a run begins: from the caches and from memory, without a call.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use super::asked;
use crate::api::{CertificateRequest, CertificateRequestSpec, OrderStatus, annotation};
use crate::ca::registry;
use crate::controller::cluster::stores::SecretMeta;
use crate::controller::context::Context;
use crate::controller::issuer::found::FoundIssuer;
use crate::controller::issuer::quota::Limited;
use crate::issuance::allow::Overrides;
use crate::issuance::record::is_own;
use crate::issuance::{
    CachedTarget, CsrReference, Observation, OrderSeen, Previous, QuotaSeen, RenewBefore, Request,
    Template, record_name,
};

/// Whether the caches have what the last run wrote. If not, the time to wait at most.
pub(super) fn caught_up(context: &Context, request: &CertificateRequest) -> Result<(), Duration> {
    let uid = request.uid().unwrap_or_default();
    let version = request.resource_version();
    let namespace = request.namespace().unwrap_or_default();
    let targets = context.stores.targets_reached(&namespace);
    context.memory.expectations.are_met(&uid, version.as_deref(), targets)
}

pub(super) fn observe(
    context: &Context,
    request: &CertificateRequest,
    previous: Previous,
    issuer: &FoundIssuer,
    cached: Option<CachedTarget>,
    now: jiff::Timestamp,
) -> Observation {
    let values = values(context, request);
    // Whoever has the target has it; looking through all requests is for those without.
    let rival = if cached.is_none() { rival(context, request) } else { None };
    let order = order_seen(context, &values, &previous, issuer);
    let quota = issuer
        .limited(context.leadership.claimant())
        .map(|issuer| quota_seen(context, request, &previous, &issuer, now));
    let stands_for = issuer.stands_for();
    let allowed = issuer.allowed(context, &values.namespace);
    let issuer = issuer.state(&values);
    Observation {
        stands_for,
        rival,
        repaired: context.memory.repairs.last(request),
        order,
        quota: quota.unwrap_or_default(),
        allowed,
        template_keys: context.template_keys.clone(),
        ..Observation::at_start(now, values, issuer, previous, cached)
    }
}

/// What this process knows of the request's order.
fn order_seen(
    context: &Context,
    request: &Request,
    previous: &Previous,
    issuer: &FoundIssuer,
) -> OrderSeen {
    let claim = context.memory.claims.unused(&request.namespace, &request.name);
    let mut seen = OrderSeen {
        incarnation: context.leadership.claimant().to_owned(),
        claim,
        sought: context.memory.searches.recall(&request.uid),
        recorded: record(context, &request.namespace, &request.name)
            .and_then(|record| record.annotations().get(annotation::ORDER_REFERENCE).cloned()),
        ..OrderSeen::default()
    };
    if let FoundIssuer::Found { key, status, .. } = issuer {
        let account = status.account.as_ref();
        let found_at = [status.order_found_at.clone(), context.accounts.proven(key)];
        seen.found_at = found_at.into_iter().flatten().collect();
        seen.proven = account.is_some_and(|account| seen.is_proven_at(account));
        let recorded = seen.recorded.as_deref();
        let own = |hint: &&OrderStatus| is_own(&hint.reference, &request.uid, recorded);
        seen.progress = previous.order.as_ref().filter(own).and_then(|hint| {
            let polled = context.order_poller.progress(key, &hint.reference);
            polled.or_else(|| context.memory.undelivered.ordered(&request.uid, &hint.reference))
        });
    }
    seen
}

/// What the limits of the issuer leave to the request, as far as the caches and this process know.
fn quota_seen(
    context: &Context,
    request: &CertificateRequest,
    previous: &Previous,
    issuer: &Limited<'_>,
    now: jiff::Timestamp,
) -> QuotaSeen {
    let mut called = Vec::new();
    let withheld = previous
        .waits_for_limit()
        .then(|| context.quotas.withheld(&context.stores, issuer, request, now, &mut called));
    context.wake.requests(called);
    let namespace = request.namespace().unwrap_or_default();
    let made = record(context, &namespace, &request.name_any()).map(|record| {
        // What is damaged is told of where the record is read.
        let text = record.annotations().get(annotation::ORDERS_MADE);
        text.and_then(|text| crate::issuance::quota::made::read(text)).unwrap_or_default()
    });
    QuotaSeen { limits: issuer.limits, granted: false, withheld: withheld.flatten(), made }
}

/// The metadata of the record of a request's order.
fn record(context: &Context, namespace: &str, request: &str) -> Option<Arc<SecretMeta>> {
    context.stores.records.get(&ObjectRef::new(&record_name(request)).within(namespace))
}

pub(super) fn cached_target(
    context: &Context,
    request: &CertificateRequest,
) -> Option<CachedTarget> {
    let namespace = request.namespace().unwrap_or_default();
    let at = ObjectRef::new(&request.spec.secret_name).within(&namespace);
    let cached = context.stores.targets.get(&at)?;
    Some(CachedTarget {
        resource_version: cached.resource_version().unwrap_or_default(),
        metadata: Template {
            labels: cached.labels().clone(),
            annotations: cached.annotations().clone(),
        },
    })
}

/// The oldest request has the Secret; of two made in the same second, the first by name.
fn rival(context: &Context, request: &CertificateRequest) -> Option<String> {
    let rank = |request: &CertificateRequest| {
        (request.metadata.creation_timestamp.as_ref().map(|time| time.0), request.name_any())
    };
    let is_rival = |other: &CertificateRequest| {
        other.spec.secret_name == request.spec.secret_name
            && other.metadata.namespace == request.metadata.namespace
            && rank(other) < rank(request)
    };
    let requests = &context.stores.requests;
    let found = requests.state_filter(|other| other.0.as_ref().is_ok_and(is_rival));
    let first =
        found.iter().filter_map(|other| other.0.as_ref().ok()).min_by_key(|one| rank(one))?;
    Some(first.name_any())
}

pub(super) fn values(context: &Context, request: &CertificateRequest) -> Request {
    let spec = &request.spec;
    let namespace = request.namespace().unwrap_or_default();
    let credentials = registry::own_credentials(spec, FoundIssuer::field(context, request));
    let template = spec.secret_template.clone().unwrap_or_default();
    Request {
        name: request.name_any(),
        uid: request.uid().unwrap_or_default(),
        generation: request.metadata.generation.unwrap_or_default(),
        deleting: request.metadata.deletion_timestamp.is_some(),
        secret_name: spec.secret_name.clone(),
        issuer: format!("{} {}", spec.issuer_ref.kind, spec.issuer_ref.name),
        names: asked::names(spec),
        misread: asked::misread(spec),
        duration: asked::duration(spec),
        csr: spec.csr_secret_ref.as_ref().map(|reference| CsrReference {
            secret: reference.name.clone(),
            entry: reference.key.clone(),
            version: context.stores.credentials_version(&namespace, &reference.name),
        }),
        key_kind: spec.private_key.as_ref().map(asked::key_kind),
        rotation: spec.private_key.as_ref().map(|key| key.rotation_policy).unwrap_or_default(),
        renew_before: renew_before(spec.renew_before.as_deref(), spec.renew_before_percentage),
        template: Template { labels: template.labels, annotations: template.annotations },
        suspended: spec.suspend.unwrap_or(false),
        renew: request.annotations().get(annotation::RENEW).cloned(),
        blocks: registry::blocks(spec),
        overrides: overrides(spec),
        release: request.annotations().get(annotation::RELEASE).cloned(),
        credentials_version: credentials
            .and_then(|name| context.stores.credentials_version(&namespace, name)),
        credentials: credentials.map(str::to_owned),
        namespace,
    }
}

/// What makes a request somebody else, or something else, at the CA.
fn overrides(spec: &CertificateRequestSpec) -> Overrides {
    let product = registry::own_product(spec).map(|(field, words)| (words, field));
    let credentials =
        registry::names_credentials(spec).map(|field| format!("spec.{field}.credentialsSecretRef"));
    Overrides { product, credentials, contact: registry::own_contact(spec) }
}

/// Admission let only durations of hours, minutes and seconds pass.
fn renew_before(duration: Option<&str>, percentage: Option<i32>) -> RenewBefore {
    match (duration.and_then(|text| text.parse().ok()), percentage) {
        (Some(duration), _) => RenewBefore::Duration(duration),
        (None, Some(percentage)) => RenewBefore::Percentage(percentage),
        (None, None) => RenewBefore::AThird,
    }
}
