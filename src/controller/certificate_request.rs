//! The reconciler of `CertificateRequest`.

mod asked;
#[cfg(feature = "mutants")]
mod mutants;
mod orders;
mod perform;

use std::sync::Arc;

use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource as _, ResourceExt as _};
use tracing::Instrument as _;

#[cfg(feature = "mutants")]
use self::mutants::take as perform_step;
use self::orders::Which;
#[cfg(not(feature = "mutants"))]
use self::take as perform_step;
use super::cluster::ErrorKind;
use super::cluster::watches::Guarded;
use super::issuer::IssuerObject;
use super::issuer::accounts::{IssuerKey, IssuerNow};
use super::issuer::quota::{self, Allowance, Limited};
use super::memory::unwritten::Untold;
use super::process::failpoint::failpoint;
use super::{Context, Never};
use crate::api::condition::{self, ISSUING, READY};
use crate::api::{
    CertificateRequest, CertificateRequestStatus, IssuerKind, IssuerSpec, IssuerStatus, annotation,
};
use crate::ca::{OpenOrder, registry};
use crate::issuance::{
    CachedTarget, CsrReference, Description, Following, IssuerState, Notice, Observation,
    OrderSeen, Outcome, Previous, QuotaSeen, RenewBefore, Request, Requeue, Rest, Step, Template,
    Trouble, UnusedClaim, decide, describe, following, record_name,
};
use crate::outside::Disposition;
use crate::reason::Reason;

/// One run for one request.
pub(super) async fn reconcile(
    guarded: Arc<Guarded<CertificateRequest>>,
    context: Arc<Context>,
) -> Result<Action, Never> {
    let request = match &guarded.0 {
        Ok(request) => request,
        Err(error) => {
            tracing::error!(name = guarded.name_any(), %error, "the request cannot be read by this version");
            return Ok(Action::await_change());
        }
    };
    let span = tracing::info_span!(
        "certificate_request",
        certificate_request.namespace = request.namespace(),
        certificate_request.name = request.name_any(),
        certificate_request.uid = request.uid(),
    );
    Ok(run(&context, request).instrument(span).await)
}

pub(super) fn error_policy(
    _: Arc<Guarded<CertificateRequest>>,
    error: &Never,
    _: Arc<Context>,
) -> Action {
    match *error {}
}

async fn run(context: &Arc<Context>, request: &CertificateRequest) -> Action {
    let uid = request.uid().unwrap_or_default();
    let version = request.resource_version();
    let targets = context.stores.targets_reached();
    if let Err(wait) = context.memory.expectations.are_met(&uid, version.as_deref(), targets) {
        return Action::requeue(wait);
    }
    let target = cached_target(context, request);
    let issuer = FoundIssuer::of(context, request);
    let now = context.clock.now();
    let (known, owed) = match context.memory.unwritten.recall(request) {
        Some(untold) => (Some(untold.status), untold.notices),
        None => (request.status.clone(), Vec::new()),
    };
    let previous = known.as_ref().map(Previous::from).unwrap_or_default();
    let mut seen = observe(context, request, previous, &issuer, target, now);
    let mut allowance = Allowance::default();
    seen.obtained = context.memory.undelivered.take(&seen);
    let mut is_repair = false;
    // The object as this run has last written it.
    let mut written = request.clone();
    let rest = loop {
        let step = decide(&seen);
        if matches!(step, Step::Submit(..) | Step::Deliver(_)) {
            is_repair |= seen.is_repair();
        }
        let outcome =
            match perform_step(context, &issuer, &seen, &mut written, &mut allowance, step).await {
                Ok(outcome) => outcome,
                Err(rest) => break rest,
            };
        // Time passes while a CA thinks: dates are judged by what the clock says then.
        seen.now = context.clock.now();
        seen = seen.after(outcome);
    };
    context.memory.undelivered.keep(&seen, &rest);
    if seen.delivered.is_some() && is_repair {
        context.memory.repairs.note(&seen);
    }
    if rest.doubts_account() {
        issuer.now(context).iter().for_each(|issuer| context.accounts.reopen(&issuer.key));
    }
    let known = if seen.order.is_announced() { written.status.clone() } else { known };
    let finished =
        finish(context, &mut written, known.unwrap_or_default(), owed, &seen, &rest).await;
    if let Some(issuer) = issuer.limited() {
        // A status that is not known to be written may say that the order is open.
        let after = finished.is_ok().then_some(&written);
        for (namespace, name) in context.quotas.settle(&issuer, request, after, allowance) {
            context.wake.request(&namespace, &name);
        }
    }
    follow(context, &issuer, &seen, &rest);
    if is_gone(context, &seen.request) {
        context.memory.forget(&seen.request.uid);
    }
    finished.unwrap_or_else(|action| action)
}

/// Performs one step. The run rests where that is the step, or where its issuer is gone.
async fn take(
    context: &Context,
    issuer: &FoundIssuer,
    seen: &Observation,
    written: &mut CertificateRequest,
    allowance: &mut Allowance,
    step: Step,
) -> Result<Outcome, Rest> {
    let needed = || issuer.now(context).ok_or(Rest::IssuerMissing);
    Ok(match step {
        Step::Rest(rest) => return Err(rest),
        Step::ReadTarget => perform::read_target(context, seen).await,
        Step::OpenAccount => perform::open_account(context, seen, &needed()?).await,
        Step::ReadCsr => perform::read_csr(context, seen).await,
        Step::Submit(plan, kind) => {
            perform::submit(context, seen, &needed()?, (plan, kind), allowance).await
        }
        Step::ReadServedRoots => match issuer.now(context) {
            Some(issuer) => perform::read_served_roots(context, &issuer).await,
            None => Outcome::Served(Vec::new()),
        },
        Step::Deliver(delivery) => perform::deliver(context, seen, &delivery).await,
        Step::ReadRecord => orders::read_record(context, seen).await,
        Step::Prepare(plan, kind) => orders::prepare(context, seen, &needed()?, (plan, kind)).await,
        Step::WriteRecord(draft) => orders::write_record(context, seen, &draft).await,
        Step::Claim => orders::claim(context, seen).await,
        Step::Announce => announce(context, written, seen).await,
        Step::Find => orders::find(context, seen, &needed()?, Which::Next).await,
        Step::FindBefore => orders::find(context, seen, &needed()?, Which::Before).await,
        Step::Reserve => {
            let issuer = issuer.limited().ok_or(Rest::IssuerMissing)?;
            quota::reserve(context, &issuer, written, allowance).await
        }
        Step::Order => orders::submit(context, seen, &needed()?, allowance).await,
        Step::Mark(mark) => orders::mark(context, seen, &mark).await,
    })
}

/// Writes the status that says who submits what. It fails where the request moved: what is in it
/// now is decided on before anything is sent.
async fn announce(
    context: &Context,
    request: &mut CertificateRequest,
    seen: &Observation,
) -> Outcome {
    let before = request.status.clone().unwrap_or_default();
    let status = describe(seen, &before.conditions, &Rest::Submitting).status;
    failpoint("before-announce");
    let written = put_status(context, request, status).await;
    failpoint("after-announce");
    match written {
        Ok(object) => {
            let version = object.resource_version();
            context.memory.expectations.expect(&seen.request.uid, version.as_deref(), None);
            let status = object.status.clone().unwrap_or_default();
            *request = object;
            context.memory.unwritten.forget(&seen.request.uid);
            Outcome::Announced(Box::new(status))
        }
        Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => {
            Outcome::Abandoned
        }
        Err(error) => Outcome::Failed(Trouble {
            disposition: Disposition::Retry { after: None },
            reason: Reason::OrderNotAnnounced,
            message: format!(
                "nothing was ordered, because the order could not be announced: {error}"
            ),
            counts: true,
        }),
    }
}

/// Has the CA asked about an order it has, or about it no more.
fn follow(context: &Arc<Context>, issuer: &FoundIssuer, seen: &Observation, rest: &Rest) {
    match (following(seen, rest), issuer) {
        (Some(Following::Ask { open, account }), FoundIssuer::Found { key, .. }) => {
            let request = (seen.request.namespace.clone(), seen.request.name.clone());
            let progress = seen.order.progress.clone();
            context.order_poller.follow(context, key, (open, account), request, progress);
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

/// Writes the status if it differs, tells of transitions, and says when to look again.
///
/// `before` is the status so far; `owed` are the notices of a run whose status was not written. An
/// error is what follows where the status is not known to be written.
async fn finish(
    context: &Context,
    request: &mut CertificateRequest,
    before: CertificateRequestStatus,
    mut owed: Vec<Notice>,
    seen: &Observation,
    rest: &Rest,
) -> Result<Action, Action> {
    if matches!(rest, Rest::Deleted | Rest::Abandoned) {
        return Ok(Action::await_change());
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

/// A status that the API server does not take is offered again so often.
const UNWRITABLE: std::time::Duration = std::time::Duration::from_secs(5);
/// A status that could not be written is written again, or decided anew where the object moved.
const RETRY: std::time::Duration = std::time::Duration::from_secs(2);

async fn put_status(
    context: &Context,
    request: &CertificateRequest,
    status: CertificateRequestStatus,
) -> Result<CertificateRequest, super::cluster::Error> {
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
        context.metrics.time_to_issue(&request.spec.issuer_ref.name, took.as_secs_f64());
    }
}

/// The issuer of a request, from the caches.
pub(super) enum FoundIssuer {
    Missing,
    Unreadable(String),
    Found {
        key: IssuerKey,
        uid: String,
        spec: Box<IssuerSpec>,
        status: Box<IssuerStatus>,
        generation: i64,
    },
}

impl FoundIssuer {
    fn of(context: &Context, request: &CertificateRequest) -> Self {
        let reference = &request.spec.issuer_ref;
        let namespace = match reference.kind {
            IssuerKind::Issuer => request.namespace(),
            IssuerKind::ClusterIssuer => None,
        };
        let name = reference.name.clone();
        Self::by_key(context, &IssuerKey { kind: reference.kind, namespace, name })
    }

    pub(super) fn by_key(context: &Context, key: &IssuerKey) -> Self {
        let at = key.namespace.as_deref().unwrap_or_default();
        match key.kind {
            IssuerKind::Issuer => {
                Self::from(context.stores.issuers.get(&ObjectRef::new(&key.name).within(at)))
            }
            IssuerKind::ClusterIssuer => {
                Self::from(context.stores.cluster_issuers.get(&ObjectRef::new(&key.name)))
            }
        }
    }

    fn from<K: IssuerObject>(found: Option<Arc<Guarded<K>>>) -> Self {
        let Some(found) = found else { return Self::Missing };
        match &found.0 {
            Err(error) => Self::Unreadable(error.to_string()),
            Ok(issuer) => Self::Found {
                key: IssuerKey {
                    kind: K::KIND,
                    namespace: issuer.namespace(),
                    name: issuer.name_any(),
                },
                uid: issuer.uid().unwrap_or_default(),
                spec: Box::new(issuer.spec().clone()),
                status: Box::new(issuer.status().cloned().unwrap_or_default()),
                generation: issuer.meta().generation.unwrap_or_default(),
            },
        }
    }

    fn state(&self, request: &Request) -> IssuerState {
        match self {
            Self::Missing => IssuerState::Missing,
            Self::Unreadable(why) => {
                IssuerState::NotReady(format!("this version of Chancery cannot read it: {why}"))
            }
            Self::Found { uid, status, generation, .. } => {
                let ready = condition::find(&status.conditions, READY);
                match ready {
                    Some(ready)
                        if status.observed_generation == *generation
                            && (ready.status == "True" || request.needs_not(status)) =>
                    {
                        IssuerState::Ready {
                            version: format!("{uid}/{generation}"),
                            account: status.account.clone(),
                        }
                    }
                    Some(ready) if status.observed_generation == *generation => {
                        IssuerState::NotReady(ready.message.clone())
                    }
                    _ => IssuerState::NotReady("it has not been checked yet".to_owned()),
                }
            }
        }
    }

    /// As far as its limits bear on its requests.
    fn limited(&self) -> Option<Limited<'_>> {
        let Self::Found { key, uid, spec, status, .. } = self else {
            return None;
        };
        let limits = quota::limits_of(spec);
        Some(Limited { key, uid, limits, budget: status.budget.as_ref() })
    }

    pub(super) fn now<'a>(&'a self, context: &'a Context) -> Option<IssuerNow<'a>> {
        let Self::Found { key, uid, spec, generation, .. } = self else {
            return None;
        };
        Some(super::issuer::now(context, key.clone(), uid, spec, *generation))
    }
}

fn observe(
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
    let quota =
        issuer.limited().map(|issuer| quota_seen(context, request, &previous, &issuer, now));
    let issuer = issuer.state(&values);
    Observation {
        rival,
        repaired: context.memory.repairs.last(request),
        order,
        quota: quota.unwrap_or_default(),
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
    let claim = claim.map(|(reference, is_old)| UnusedClaim { reference, is_old });
    let mut seen = OrderSeen {
        incarnation: context.leadership.claimant().to_owned(),
        claim,
        sought: context.memory.searches.recall(&request.uid),
        ..OrderSeen::default()
    };
    if let FoundIssuer::Found { key, status, .. } = issuer {
        let account = status.account.as_ref();
        seen.proven = account.is_some()
            && (status.order_found_at.as_ref() == account
                || context.accounts.proven(key).as_ref() == account);
        seen.progress = previous.order.as_ref().and_then(|hint| {
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
    let withheld = previous
        .waits_for_limit()
        .then(|| context.quotas.withheld(&context.stores, issuer, request, now));
    let record = record_name(&request.name_any());
    let record = ObjectRef::new(&record).within(&request.namespace().unwrap_or_default());
    let made = context.stores.records.get(&record).map(|record| {
        // What is damaged is told of where the record is read.
        let text = record.annotations().get(annotation::ORDERS_MADE);
        text.and_then(|text| crate::issuance::quota::made::read(text)).unwrap_or_default()
    });
    QuotaSeen { limits: issuer.limits, granted: false, withheld: withheld.flatten(), made }
}

fn cached_target(context: &Context, request: &CertificateRequest) -> Option<CachedTarget> {
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

fn values(context: &Context, request: &CertificateRequest) -> Request {
    let spec = &request.spec;
    let namespace = request.namespace().unwrap_or_default();
    let credentials = registry::own_credentials(spec);
    let template = spec.secret_template.clone().unwrap_or_default();
    Request {
        name: request.name_any(),
        uid: request.uid().unwrap_or_default(),
        generation: request.metadata.generation.unwrap_or_default(),
        deleting: request.metadata.deletion_timestamp.is_some(),
        secret_name: spec.secret_name.clone(),
        issuer: format!("{} {}", spec.issuer_ref.kind, spec.issuer_ref.name),
        names: asked::names(spec),
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
        release: request.annotations().get(annotation::RELEASE).cloned(),
        credentials_version: credentials
            .and_then(|name| context.stores.credentials_version(&namespace, name)),
        credentials: credentials.map(str::to_owned),
        namespace,
    }
}

/// Admission let only durations of hours, minutes and seconds pass.
fn renew_before(duration: Option<&str>, percentage: Option<i32>) -> RenewBefore {
    match (duration.and_then(|text| text.parse().ok()), percentage) {
        (Some(duration), _) => RenewBefore::Duration(duration),
        (None, Some(percentage)) => RenewBefore::Percentage(percentage),
        (None, None) => RenewBefore::AThird,
    }
}
