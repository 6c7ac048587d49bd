//! Tells what a run came to: the status, Events, one line of log, and when to look again; and on its
//! way, what becomes of orders that cost money.

use kube::runtime::controller::Action;
use kube::{Api, Resource as _, ResourceExt as _};

use crate::api::condition::{self, ISSUING, READY};
use crate::api::{CertificateRequest, CertificateRequestStatus};
use crate::controller::cluster::{Error, ErrorKind};
use crate::controller::context::Context;
use crate::controller::issuer::key::IssuerKey;
use crate::controller::memory::unwritten::Untold;
use crate::controller::process::failpoint::failpoint;
use crate::issuance::purchases::Entry;
use crate::issuance::{Description, Notice, Observation, Requeue, Rest, describe};

/// Writes the status if it differs, tells of transitions, and says when to look again.
///
/// `before` is the status so far; `owed` are the notices of a run whose status was not written. An
/// error is what follows where the status is not known to be written.
pub(super) async fn finish(
    context: &Context,
    request: &mut CertificateRequest,
    before: CertificateRequestStatus,
    mut owed: Vec<Notice>,
    seen: &Observation,
    rest: &Rest,
) -> Result<Action, Action> {
    if *rest == Rest::Deleted {
        return Ok(Action::await_change());
    }
    if *rest == Rest::Abandoned {
        return Ok(Action::requeue(ABANDONED));
    }
    let Description { status, notices, requeue } = describe(seen, &before.conditions, rest);
    let delivered = status
        .certificate
        .as_ref()
        .filter(|_| seen.delivered.is_some())
        .map(|certificate| certificate.secret_resource_version.clone());
    if Some(&status) == request.status.as_ref() {
        return Ok(action(context, requeue));
    }
    log(&before, &status);
    owed.extend(notices);
    let written = put_status(context, request, status.clone()).await;
    failpoint("after-status");
    match written {
        Ok(written) => *request = written,
        Err(error) => {
            // The object moved on, and what it became wakes the next run; the target is what it is.
            context.memory.expectations.expect(&seen.request.uid, None, delivered.as_deref());
            if error.kind != ErrorKind::Conflict && error.kind != ErrorKind::NotFound {
                tracing::warn!(%error, "the status was not written");
                context.memory.unwritten.keep(request, Untold { status, notices: owed });
                return Err(Action::requeue(UNWRITABLE));
            }
            return Err(Action::requeue(RETRY));
        }
    }
    let version = request.resource_version();
    context.memory.unwritten.forget(&seen.request.uid);
    context.memory.expectations.expect(&seen.request.uid, version.as_deref(), delivered.as_deref());
    if seen.renewed {
        measure(context, request, seen);
    }
    context.events.publish(&request.object_ref(&()), owed);
    Ok(action(context, requeue))
}

/// Tells of an event of an order, where there is one, and counts it: once in a process.
pub(super) fn purchase(
    context: &Context,
    issuer: &IssuerKey,
    seen: &Observation,
    entry: Option<Entry>,
) {
    let request = &seen.request;
    let Some(entry) = entry.filter(|one| context.memory.told.is_new(&request.uid, one)) else {
        return;
    };
    context.metrics.order_event(&issuer.labels(), &request.namespace, entry.event.word());
    context.purchases.write(context.clock.now(), issuer, request, entry);
}

/// What a run was given up for has mostly woken the next one; time alone wakes nobody.
const ABANDONED: std::time::Duration = std::time::Duration::from_mins(1);

/// A status that the API server does not take is offered again so often.
const UNWRITABLE: std::time::Duration = std::time::Duration::from_secs(5);

/// A status that could not be written is written again, or decided anew where the object moved.
const RETRY: std::time::Duration = std::time::Duration::from_secs(2);

pub(super) async fn put_status(
    context: &Context,
    request: &CertificateRequest,
    status: CertificateRequestStatus,
) -> Result<CertificateRequest, Error> {
    let mut next = request.clone();
    next.status = Some(status);
    let namespace = request.namespace().unwrap_or_default();
    let api = Api::namespaced(context.cluster.client(), &namespace);
    context.cluster.put_status(api, "certificaterequests/status", &next).await
}

fn action(context: &Context, requeue: Requeue) -> Action {
    match requeue {
        Requeue::AwaitChange => Action::await_change(),
        Requeue::At(at) => {
            let wait = at.duration_since(context.clock.now());
            Action::requeue(wait.try_into().unwrap_or_default())
        }
    }
}

/// One line for each transition.
fn log(before: &CertificateRequestStatus, after: &CertificateRequestStatus) {
    let reason = |status: &CertificateRequestStatus, kind| {
        condition::find(&status.conditions, kind)
            .map(|one| (one.status.clone(), one.reason.clone()))
    };
    let moved = |kind| reason(before, kind) != reason(after, kind);
    let kind = if moved(READY) || before.revision != after.revision { READY } else { ISSUING };
    if let Some(new) =
        condition::find(&after.conditions, kind).filter(|_| kind == READY || moved(kind))
    {
        tracing::info!(
            condition = kind,
            status = new.status,
            reason = new.reason,
            revision = after.revision,
            "{}",
            new.message
        );
    }
}

/// First issuances count from the creation of the request; a renewal has no such beginning.
fn measure(context: &Context, request: &CertificateRequest, seen: &Observation) {
    let created = request.metadata.creation_timestamp.as_ref();
    if let (0, Some(created)) = (seen.previous.revision, created) {
        let took = seen.now.duration_since(created.0);
        context.metrics.time_to_issue(&IssuerKey::of(request).labels(), took.as_secs_f64());
    }
}
