//! The reconciler of `CertificateRequest`.

mod asked;
mod decided;
#[cfg(feature = "mutants")]
mod mutants;
mod observe;
mod orders;
mod perform;
mod take;
mod tell;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use tracing::Instrument as _;

use self::decided::decided;
#[cfg(feature = "mutants")]
use self::mutants::{caught_up, take};
#[cfg(not(feature = "mutants"))]
use self::observe::caught_up;
use self::observe::{cached_target, observe};
#[cfg(not(feature = "mutants"))]
use self::take::take;
use self::tell::{finish, purchase};
use super::cluster::stores::Guarded;
use super::context::{Context, Never};
use super::issuer::found::FoundIssuer;
use super::issuer::key::IssuerKey;
use super::issuer::quota::Allowance;
use super::issuer::tally::end_of;
use super::issuer::{note_verified, poll};
use super::places::{Entry, Share};
use crate::api::{CertificateRequest, CertificateRequestStatus, IssuerKind};
use crate::ca::OpenOrder;
use crate::issuance::{
    Following, Notice, Observation, Previous, Request, Rest, Step, following, purchases,
};
use crate::turns::queue::Name;
use crate::turns::{Asking, asking};

/// One run for one request.
pub(super) async fn reconcile(
    guarded: Arc<Guarded<CertificateRequest>>,
    context: Arc<Context>,
) -> Result<Action, Never> {
    // The watch has told of one that cannot be read.
    let Ok(request) = &guarded.0 else { return Ok(Action::await_change()) };
    let span = tracing::info_span!(
        "certificate_request",
        certificate_request.namespace = request.namespace(),
        certificate_request.name = request.name_any(),
        certificate_request.uid = request.uid(),
    );
    let who = turns_of(request, context.clock.now());
    Ok(asking(who, run(&context, request).instrument(span)).await)
}

/// In whose name the run asks for turns.
fn turns_of(request: &CertificateRequest, now: jiff::Timestamp) -> Asking {
    Asking::request(&request.namespace().unwrap_or_default(), end_of(request), now)
}

/// What a run for it counts against.
pub(super) fn entry(guarded: &Guarded<CertificateRequest>, now: Timestamp) -> Entry<Name> {
    let namespace = guarded.namespace().unwrap_or_default();
    let who = (namespace.clone(), guarded.name_any());
    let Ok(request) = &guarded.0 else {
        // Nothing is done for it, at no issuer.
        let issuer = IssuerKey { kind: IssuerKind::Issuer, namespace: None, name: String::new() };
        return Entry { who, share: Share { namespace, issuer }, due: None, due_in: None };
    };
    let share = Share { namespace, issuer: IssuerKey::of(request) };
    let status = request.status.as_ref();
    let renewal = status.and_then(|status| status.renewal_time.as_ref()).map(|time| time.0);
    let (Some(renewal), Some(end)) = (renewal, end_of(request)) else {
        return Entry { who, share, due: None, due_in: None };
    };
    // Ahead of it there is time to wait, and behind it there is none.
    let ahead = Duration::try_from(renewal.duration_since(now)).ok().filter(|wait| !wait.is_zero());
    Entry { who, share, due: ahead.is_none().then_some(end), due_in: ahead }
}

pub(super) fn error_policy(
    _: Arc<Guarded<CertificateRequest>>,
    error: &Never,
    _: Arc<Context>,
) -> Action {
    match *error {}
}

async fn run(context: &Arc<Context>, request: &CertificateRequest) -> Action {
    if let Err(wait) = caught_up(context, request) {
        return Action::requeue(wait);
    }
    let issuer = FoundIssuer::of(context, request);
    let (known, owed) = known(context, request);
    let begun = Run {
        seen: begin(context, request, known.as_ref(), &issuer),
        written: request.clone(),
        allowance: Allowance::default(),
    };
    let (Run { seen, mut written, allowance }, rest) = steps(context, &issuer, begun).await;
    context.memory.undelivered.keep(&seen, &rest);
    if rest.doubts_account() {
        issuer.now(context).iter().for_each(|issuer| context.accounts.reopen(&issuer.key));
    }
    let known = if seen.order.is_announced() { written.status.clone() } else { known };
    let finished =
        finish(context, &mut written, known.unwrap_or_default(), owed, &seen, &rest).await;
    if let Some(issuer) = issuer.limited(context.leadership.claimant()) {
        // A status that is not known to be written may say that the order is open.
        let after = finished.is_ok().then_some(&written);
        let waits = matches!(&rest, Rest::Withheld(withheld) if withheld.is_shared());
        let (stores, left) = (&context.stores, (request, after));
        let name = (seen.request.namespace.as_str(), seen.request.name.as_str());
        seen.record().iter().for_each(|record| context.quotas.note_order(name, record));
        context.wake.requests(context.quotas.settle(stores, &issuer, left, waits, allowance));
    }
    follow(context, &issuer, &seen, &rest);
    note_verified(context, &issuer, &seen);
    if is_gone(context, &seen.request) {
        context.memory.forget(&seen.request.uid);
    }
    finished.unwrap_or_else(|action| action)
}

/// A run under way.
struct Run {
    seen: Observation,
    /// The object as this run has last written it.
    written: CertificateRequest,
    allowance: Allowance,
}

/// The status so far, and the notices of a run whose status was not written.
fn known(
    context: &Context,
    request: &CertificateRequest,
) -> (Option<CertificateRequestStatus>, Vec<Notice>) {
    match context.memory.unwritten.recall(request) {
        Some(untold) => (Some(untold.status), untold.notices),
        None => (request.status.clone(), Vec::new()),
    }
}

fn begin(
    context: &Context,
    request: &CertificateRequest,
    known: Option<&CertificateRequestStatus>,
    issuer: &FoundIssuer,
) -> Observation {
    let target = cached_target(context, request);
    let now = context.clock.now();
    let previous = known.map(Previous::from).unwrap_or_default();
    let mut seen = observe(context, request, previous, issuer, target, now);
    seen.obtained = context.memory.undelivered.take(&seen);
    seen
}

/// Takes step after step until there is nothing more to do now.
async fn steps(context: &Context, issuer: &FoundIssuer, mut run: Run) -> (Run, Rest) {
    let mut is_repair = false;
    let key = IssuerKey::of(&run.written);
    let rest = loop {
        let step;
        (run.seen, step) = decided(context, &key, run.seen).await;
        if matches!(step, Step::Submit(..) | Step::Deliver(_)) {
            is_repair |= run.seen.is_repair();
        }
        let Run { seen, written, allowance } = &mut run;
        purchase(context, &key, seen, purchases::before(seen, &step));
        let outcome = match take(context, issuer, seen, written, allowance, step).await {
            Ok(outcome) => outcome,
            Err(rest) => break rest,
        };
        purchase(context, &key, seen, purchases::after(seen, &outcome));
        // Time passes while a CA thinks: dates are judged by what the clock says then.
        run.seen.now = context.clock.now();
        run.seen = run.seen.after(outcome);
    };
    if run.seen.delivered.is_some() && is_repair {
        context.memory.repairs.note(&run.seen);
    }
    (run, rest)
}

/// Has the CA asked about an order it has, or about it no more.
fn follow(context: &Arc<Context>, issuer: &FoundIssuer, seen: &Observation, rest: &Rest) {
    match (following(seen, rest), issuer) {
        (Some(Following::Ask { open, account }), FoundIssuer::Found { key, .. }) => {
            let request = (seen.request.namespace.clone(), seen.request.name.clone());
            let progress = seen.order.progress.clone();
            poll::follow(context, key, (open, account), request, progress);
        }
        (Some(Following::Ask { open: OpenOrder { reference, .. }, .. }), _)
        | (Some(Following::Nothing { reference }), _) => context.order_poller.forget(&reference),
        (Some(Following::AsBefore) | None, _) => {}
    }
}

/// The request was deleted while the run was under way; what the run noted is of no use.
fn is_gone(context: &Context, request: &Request) -> bool {
    context
        .stores
        .request(&request.namespace, &request.name)
        .is_none_or(|cached| cached.uid().as_deref() != Some(&request.uid))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_is_placed_by_its_renewal_where_that_is_due_and_comes_again_where_it_is_ahead() {
        let now = "2026-06-01T12:00:00Z".parse().expect("a time");
        let end = "2026-06-02T00:00:00Z";
        let hour = Some(Duration::from_secs(3600));
        let rows = [
            ("it is ahead", Some("2026-06-01T13:00:00Z"), (None, hour)),
            ("it is due", Some("2026-06-01T12:00:00Z"), (Some(end), None)),
            ("it was due", Some("2026-06-01T11:00:00Z"), (Some(end), None)),
            ("there is none", None, (None, None)),
        ];
        for (name, renewal, (due, due_in)) in rows {
            let request: Guarded<CertificateRequest> = serde_json::from_value(json!({
                "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
                "metadata": { "name": "web", "namespace": "shop" },
                "spec": { "issuerRef": { "name": "ca" }, "secretName": "web" },
                "status": { "renewalTime": renewal, "certificate": {
                    "serialNumber": "1", "issuer": "i", "subject": "s", "fingerprintSha256": "f",
                    "privateKey": "k", "notBefore": end, "notAfter": end, "deliveredAt": end,
                    "secretResourceVersion": "1",
                }},
            }))
            .expect("a request");
            let entry = entry(&request, now);
            let due = due.map(|due| due.parse::<Timestamp>().expect("a time"));
            assert_eq!((entry.due, entry.due_in), (due, due_in), "{name}");
        }
    }
}
