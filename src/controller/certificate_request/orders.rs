//! The effects on an order: its record, and what is said to the CA. One per step, as in
//! [`crate::controller::certificate_request::perform`].

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::api::{CertificateRequest, annotation};
use crate::ca::tenant::{self, Relation};
use crate::ca::{Found, Lookup, Order, OrderKind, Permit, Preparation, Submitted};
use crate::controller::certificate_request::perform::{
    csr, disclosed, examine, is_still_allowed, key_trouble, opened_for, purchase, refused,
    uncounted,
};
use crate::controller::cluster::{Error, ErrorKind};
use crate::controller::context::Context;
use crate::controller::issuer::accounts::{Account, IssuerNow};
use crate::controller::issuer::quota::Allowance;
use crate::controller::process::failpoint::failpoint;
use crate::issuance::allow::Stage;
use crate::issuance::{
    KeyPlan, Mark, Observation, OrderDraft, OrderState, Outcome, Prepared, RawRecord, Read, Record,
    RecordRead, Request, Sent, Slot, Trouble, adopt, others, record,
};
use crate::outside::credentials::Credentials;
use crate::outside::{self, Disposition};
use crate::pki::KeyKind;
use crate::reason::Reason;

/// Reads the record.
pub(in crate::controller) async fn read_record(context: &Context, seen: &Observation) -> Outcome {
    let read = read(context, seen).await;
    failpoint("after-read-record");
    Outcome::RecordRead(read)
}

async fn read(context: &Context, seen: &Observation) -> RecordRead {
    match context.cluster.secret(&seen.request.namespace, &seen.record_name()).await {
        Read::Absent => RecordRead::Absent,
        Read::Unreadable(why) => RecordRead::Unreadable(why),
        Read::Present(secret) => RecordRead::parse(&raw(secret)),
    }
}

fn raw(secret: Secret) -> RawRecord {
    RawRecord {
        uid: secret.uid().unwrap_or_default(),
        resource_version: secret.resource_version().unwrap_or_default(),
        labels: secret.labels().clone(),
        annotations: secret.annotations().clone(),
        data: secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect(),
    }
}

/// Makes a key and a CSR, and has the CA translate and examine the order. Costs nothing.
pub(in crate::controller) async fn prepare(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerNow<'_>,
    (plan, kind): (KeyPlan, OrderKind),
) -> Outcome {
    let (key, csr_der, csr_names) = match csr(context, seen, plan).await {
        Ok(csr) => csr,
        Err(trouble) => return Outcome::Failed(trouble),
    };
    let names = csr_names.unwrap_or_else(|| seen.request.names.clone());
    let Some(key_kind) = KeyKind::of_spki(key.spki_der()) else {
        return Outcome::Failed(key_trouble(&"its kind is not known"));
    };
    let account = match open(context, seen, issuer).await {
        Ok(account) => account,
        Err(outcome) => return outcome,
    };
    // Other credentials may have been put in place while the key was made.
    if seen.account.as_ref().is_none_or(|seen| !account.is(&seen.name)) {
        return Outcome::Abandoned;
    }
    let _permit = account.permits.turn().await;
    let order = Order {
        kind: &kind,
        key: disclosed(account.ca.capabilities(), key.private()),
        credentials: own_credentials(seen),
        ..Order::unnamed(&csr_der, &serde_json::Value::Null)
    };
    let start = tokio::time::Instant::now();
    let examined = examine(&account, seen, (&names, key_kind), &order).await;
    let disposition = examined.as_ref().map_or_else(|error| error.disposition.label(), |_| "ok");
    context.metrics.ca_request(&issuer.key.labels(), "prepare", disposition, start.elapsed());
    failpoint("after-prepare");
    match examined {
        Ok(Preparation { kind, parameters }) => {
            let purchase = purchase(seen, &account, &parameters);
            Outcome::Prepared(Prepared { kind, key, names, csr_der, parameters, purchase })
        }
        Err(error) => Outcome::Failed(refused(context, seen, issuer, error)),
    }
}

fn own_credentials(seen: &Observation) -> Option<&Credentials> {
    seen.account.as_ref().and_then(|account| account.credentials.as_ref())
}

async fn open(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerNow<'_>,
) -> Result<Arc<Account>, Outcome> {
    if let Some(error) = context.accounts.blamed(issuer) {
        return Err(Outcome::Failed(uncounted(issuer, error)));
    }
    let opened = context.accounts.open(&context.cluster, issuer).await;
    let account = opened.map_err(|error| Outcome::Failed(uncounted(issuer, error)))?;
    opened_for(context, seen, issuer, account).map_err(|outcome| *outcome)
}

/// Stores an order before it is made; who stores it has the claim.
pub(in crate::controller) async fn write_record(
    context: &Context,
    seen: &Observation,
    draft: &OrderDraft,
) -> Outcome {
    let (namespace, name) = (&seen.request.namespace, seen.record_name());
    if !is_as_seen(context, &seen.request) {
        return Outcome::Abandoned;
    }
    let mark = Mark {
        attempt: 1,
        claim: context.leadership.claimant().to_owned(),
        made: draft.made.clone(),
        ..Mark::default()
    };
    failpoint("before-record");
    let written = put(context, namespace, &name, draft, &mark).await;
    failpoint("after-record");
    match stored(seen, written) {
        Ok(record) => claimed(context, seen, record),
        Err(NotStored::Conflict) => Outcome::RecordConflict,
        // Whether it was written nobody knows, until it is looked at.
        Err(NotStored::Failed(trouble)) => match read(context, seen).await {
            RecordRead::Present(found)
                // The very same, key and all: an earlier one of this process may have its name.
                if found.next.order == draft.next.order && found.mark == mark =>
            {
                claimed(context, seen, found)
            }
            RecordRead::Absent
            | RecordRead::Damaged(..)
            | RecordRead::Foreign(_)
            | RecordRead::Newer(_)
            | RecordRead::Present(_)
            | RecordRead::Unreadable(_) => Outcome::Failed(trouble),
        },
    }
}

async fn put(
    context: &Context,
    namespace: &str,
    name: &str,
    draft: &OrderDraft,
    mark: &Mark,
) -> Result<Secret, Error> {
    let (uid, version) = match &draft.base {
        Some((uid, version)) => (uid.as_str(), version.as_str()),
        None => {
            let secret = created(namespace, name, draft, mark);
            return context.cluster.create_secret(namespace, name, &secret).await;
        }
    };
    let patch = displaced(uid, version, draft, mark);
    context.cluster.patch_secret(namespace, name, &patch).await
}

/// Whether the request asks for what it did when the run began. A run that stood still must not put
/// an order that nobody wants any more in place of what the record tells of the last.
fn is_as_seen(context: &Context, request: &Request) -> bool {
    let cached = context.stores.request(&request.namespace, &request.name);
    cached.is_some_and(|cached| cached.0.as_ref().is_ok_and(|cached| asks_for(cached, request)))
}

pub(super) async fn stored_request(
    context: &Context,
    request: &Request,
) -> Read<CertificateRequest> {
    let api = Api::namespaced(context.cluster.client(), &request.namespace);
    let place = (request.namespace.as_str(), request.name.as_str());
    context.cluster.object(api, "certificaterequests", place).await
}

fn not_written(message: String) -> Trouble {
    Trouble {
        disposition: Disposition::Retry { after: None },
        reason: Reason::OrderRecordNotWritten,
        message,
        counts: true,
    }
}

fn asks_for(now: &CertificateRequest, request: &Request) -> bool {
    let annotation = |key: &str| now.annotations().get(key);
    now.uid().as_deref() == Some(&request.uid)
        && now.metadata.generation == Some(request.generation)
        && annotation(annotation::RENEW) == request.renew.as_ref()
        && annotation(annotation::RELEASE) == request.release.as_ref()
}

/// Claims the order that is stored, on the condition that nobody else wrote the record.
pub(in crate::controller) async fn claim(context: &Context, seen: &Observation) -> Outcome {
    let Some(record) = seen.record() else {
        return Outcome::RecordConflict;
    };
    let mark = Mark {
        attempt: record.mark.attempt.saturating_add(1),
        claim: context.leadership.claimant().to_owned(),
        id: record.mark.id.clone(),
        made: seen.made_with_claim(record),
        ..Mark::default()
    };
    failpoint("before-claim");
    let written = patch_mark(context, seen, record, &mark).await;
    failpoint("after-claim");
    match stored(seen, written) {
        Ok(record) => claimed(context, seen, record),
        Err(not_stored) => not_stored.into(),
    }
}

/// Notes on the record what became of the order.
pub(in crate::controller) async fn mark(
    context: &Context,
    seen: &Observation,
    mark: &Mark,
) -> Outcome {
    let Some(record) = seen.record() else {
        return Outcome::RecordConflict;
    };
    // By what is wanted now the order is of no use: that must be so, and not have been so once. A cache
    // that lags would have what was ordered for the newest wish thrown away.
    if mark.state == OrderState::Superseded {
        match stored_request(context, &seen.request).await {
            Read::Present(stored) if asks_for(&stored, &seen.request) => {}
            // What it has become wakes the next run.
            Read::Present(_) | Read::Absent => return Outcome::Abandoned,
            Read::Unreadable(why) => return Outcome::Failed(not_written(why)),
        }
    }
    failpoint("before-mark");
    let written = patch_mark(context, seen, record, mark).await;
    failpoint("after-mark");
    match stored(seen, written) {
        Ok(record) => Outcome::Marked(record),
        Err(not_stored) => not_stored.into(),
    }
}

async fn patch_mark(
    context: &Context,
    seen: &Observation,
    record: &Record,
    mark: &Mark,
) -> Result<Secret, Error> {
    let patch = json!({
        "metadata": {
            "uid": record.uid,
            "resourceVersion": record.resource_version,
            "annotations": mark.annotations(),
        },
    });
    context.cluster.patch_secret(&seen.request.namespace, &seen.record_name(), &patch).await
}

fn claimed(context: &Context, seen: &Observation, record: Box<Record>) -> Outcome {
    let request = &seen.request;
    let claim = seen.order.won(&record);
    let window = seen.account.as_ref().map(|account| account.capabilities.settle_window);
    let window = window.unwrap_or_default();
    context.memory.claims.keep(&request.namespace, &request.name, claim, window);
    context.memory.searches.forget(&request.uid);
    // Now, because a run that panics tells no more of it.
    context.quotas.note_order((&request.namespace, &request.name), &record);
    Outcome::Claimed(record)
}

/// Why a write to the record is not known to have come about.
enum NotStored {
    /// Somebody else wrote it in between.
    Conflict,
    /// It failed, or its answer was lost.
    Failed(Trouble),
}

impl From<NotStored> for Outcome {
    fn from(not_stored: NotStored) -> Self {
        match not_stored {
            NotStored::Conflict => Self::RecordConflict,
            NotStored::Failed(trouble) => Self::Failed(trouble),
        }
    }
}

/// The record as the API server has stored it.
fn stored(seen: &Observation, written: Result<Secret, Error>) -> Result<Box<Record>, NotStored> {
    let failed = |message: String| NotStored::Failed(not_written(message));
    let secret = written.map_err(|error| match error.kind {
        ErrorKind::Conflict | ErrorKind::NotFound => NotStored::Conflict,
        ErrorKind::Forbidden | ErrorKind::Other => failed(error.to_string()),
    })?;
    if let RecordRead::Present(record) = RecordRead::parse(&raw(secret)) {
        return Ok(record);
    }
    Err(failed(format!(
        "Secret {} came back from the API server different from what was written: find out what changes it on the way",
        seen.record_name()
    )))
}

fn created(namespace: &str, name: &str, draft: &OrderDraft, mark: &Mark) -> Secret {
    let data = draft
        .data()
        .iter()
        .map(|(key, value)| ((*key).to_owned(), ByteString(value.expose_secret().to_vec())))
        .collect();
    let mut secret =
        Secret { type_: Some("Opaque".to_owned()), data: Some(data), ..Secret::default() };
    secret.metadata.namespace = Some(namespace.to_owned());
    secret.metadata.name = Some(name.to_owned());
    let labels = [(annotation::ORDER_LABEL, "true"), annotation::MADE_BY];
    secret.metadata.labels =
        Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let digest = (annotation::ORDER_DIGEST, Some(draft.digest()));
    let reference = (annotation::ORDER_REFERENCE, Some(draft.next.order.reference.clone()));
    secret.metadata.annotations = Some(
        mark.annotations()
            .into_iter()
            .chain([digest, reference])
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect(),
    );
    secret
}

/// The merge patch that puts a new order in place of the last one.
fn displaced(uid: &str, version: &str, draft: &OrderDraft, mark: &Mark) -> serde_json::Value {
    use base64::Engine as _;
    let mut data = json!(BTreeMap::from(record::EMPTY));
    for (key, value) in draft.data() {
        data[key] = base64::engine::general_purpose::STANDARD.encode(value.expose_secret()).into();
    }
    let mut annotations = json!(mark.annotations());
    annotations[annotation::ORDER_DIGEST] = draft.digest().into();
    annotations[annotation::ORDER_REFERENCE] = draft.next.order.reference.clone().into();
    annotations[annotation::RELEASE] = serde_json::Value::Null;
    json!({
        "metadata": { "uid": uid, "resourceVersion": version, "annotations": annotations },
        "data": data,
    })
}

/// Which of the two orders in a record.
#[derive(Clone, Copy)]
pub(in crate::controller) enum Which {
    /// The one made last.
    Next,
    /// The one before.
    Before,
}

/// The order as it is stored, which makes it the same each time.
fn stored_order<'a>(
    seen: &'a Observation,
    account: &Account,
    slot: &'a Slot,
    csr_der: &'a [u8],
) -> Order<'a> {
    Order {
        reference: &slot.order.reference,
        kind: &slot.kind,
        key: disclosed(account.ca.capabilities(), slot.private.as_ref()),
        credentials: own_credentials(seen),
        since: Some(slot.order.since),
        ..Order::unnamed(csr_der, &slot.order.parameters)
    }
}

/// Searches the CA for an order in the record.
pub(in crate::controller) async fn find(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerNow<'_>,
    which: Which,
) -> Outcome {
    let Some(record) = seen.record() else {
        return Outcome::RecordConflict;
    };
    let account = match open(context, seen, issuer).await {
        Ok(account) => account,
        Err(outcome) => return outcome,
    };
    let slot = match which {
        Which::Next => &record.next,
        Which::Before => record.issued.as_ref().unwrap_or(&record.next),
    };
    // Other credentials may have been put in place since the record was read.
    let relation = tenant::relation(&slot.order.account, &account.name());
    if !matches!(relation, Relation::Same | Relation::Moved) {
        return Outcome::Abandoned;
    }
    // Whoever has just won the first claim knows that nothing was submitted.
    let has_claim = matches!(which, Which::Next) && seen.has_unused_claim(record);
    let csr_der = slot.order.csr_der();
    let id = seen.order_id();
    let order = Order {
        id: id.as_deref().filter(|_| matches!(which, Which::Next)),
        may_exist: matches!(which, Which::Before) || seen.may_exist(record),
        ..stored_order(seen, &account, slot, &csr_der)
    };
    let _permit = account.permits.turn().await;
    let start = tokio::time::Instant::now();
    let answer = account.ca.find(&order).await;
    context.metrics.ca_request(&issuer.key.labels(), "find", label(&answer), start.elapsed());
    if let Ok(Lookup::Found(found)) = &answer {
        // Found by its name, and not by its key or its id.
        if account.ca.has_found_orders() {
            context.prove(issuer, &account);
        }
        tell_of_others(&slot.order.reference, found);
        // What is there needs no submit.
        if matches!(which, Which::Next) && adopt(found).is_some() {
            context.memory.claims.forget(&seen.request.namespace, &seen.request.name);
        }
    }
    failpoint("after-find");
    let is_absent = matches!(answer, Ok(Lookup::Absent { complete: true, .. }));
    let answer = answer.map_err(|error| refused(context, seen, issuer, error));
    if matches!(which, Which::Before) {
        return Outcome::SearchedBefore(answer);
    }
    let sought = if has_claim {
        seen.order.sought.clone()
    } else {
        let (uid, window) = (&seen.request.uid, account.ca.capabilities().settle_window);
        context.memory.searches.note(uid, &record.claim_id(), window, is_absent)
    };
    Outcome::Searched(answer, sought)
}

/// The word for metrics.
fn label(answer: &Result<Lookup, outside::Error>) -> &'static str {
    match answer {
        Ok(Lookup::Absent { .. }) => "absent",
        Ok(Lookup::Found(_)) => "found",
        Ok(Lookup::Unchanged) => "unchanged",
        Ok(Lookup::Unsupported) => "unsupported",
        Err(error) => error.disposition.label(),
    }
}

fn tell_of_others(reference: &str, found: &[Found]) {
    let others = others(found);
    if !others.is_empty() {
        tracing::error!(
            order.reference = reference,
            order.ids = ?others,
            "the CA has several orders of this name; one is followed, look at the others"
        );
    }
}

/// Submits the order that is stored. The claim is used up, whatever comes of it.
pub(in crate::controller) async fn submit(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerNow<'_>,
    allowance: &mut Allowance,
) -> Outcome {
    let Some(record) = seen.record() else {
        return Outcome::RecordConflict;
    };
    let account = match open(context, seen, issuer).await {
        Ok(account) => account,
        Err(outcome) => return outcome,
    };
    let stored = &record.next.order;
    let csr_der = stored.csr_der();
    let order = Order {
        may_exist: seen.may_exist(record),
        ..stored_order(seen, &account, &record.next, &csr_der)
    };
    let _permit = account.permits.turn().await;
    // Before a grant and the claim are used up.
    if let Err(error) = account.turn().await {
        return Outcome::Failed(error.into());
    }
    let is_blamed = context.accounts.blamed(issuer).is_some();
    // Other credentials may have been put in place since the record was read.
    if context.is_stopping()
        || is_blamed
        || !is_still_allowed(context, seen, issuer, Stage::Stored)
        || !context.accounts.stand_for(issuer, &account, &stored.account)
    {
        return Outcome::Abandoned;
    }
    let Some(grant) = allowance.take(seen.quota.limits, context.clock.now()) else {
        return Outcome::Lapsed;
    };
    let request = &seen.request;
    let claims = &context.memory.claims;
    let Some(claim) = claims.take(&request.namespace, &request.name, &stored.reference) else {
        return Outcome::RecordConflict;
    };
    failpoint("before-order");
    let start = tokio::time::Instant::now();
    let submitted = account.submit(&order, Permit::Claimed(claim), grant.spend()).await;
    failpoint("after-order");
    let disposition = match &submitted {
        Submitted::Accepted(_) => "accepted",
        Submitted::Refused(error) => error.disposition.label(),
        Submitted::Unknown(_) => "unknown",
    };
    context.metrics.ca_request(&issuer.key.labels(), "submit", disposition, start.elapsed());
    answered(context, seen, issuer, &stored.reference, submitted)
}

/// What the CA's answer to a submit means.
fn answered(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerNow<'_>,
    reference: &str,
    submitted: Submitted,
) -> Outcome {
    match submitted {
        Submitted::Accepted(progress) => {
            tracing::info!(
                order.reference = reference,
                order.id = progress.id,
                "the CA took the order"
            );
            Outcome::Ordered(progress)
        }
        Submitted::Refused(error) => {
            Outcome::NotOrdered(Sent::Refused, refused(context, seen, issuer, error))
        }
        Submitted::Unknown(error) => {
            tracing::warn!(
                order.reference = reference,
                %error,
                "nobody knows whether the CA took the order: it is looked for"
            );
            Outcome::NotOrdered(Sent::Unknown, error.into())
        }
    }
}
