//! Takes one step.

use kube::ResourceExt as _;

use super::orders::{self, Which};
use super::perform;
use super::tell::put_status;
use crate::api::CertificateRequest;
use crate::controller::cluster::ErrorKind;
use crate::controller::context::Context;
use crate::controller::issuer::found::FoundIssuer;
use crate::controller::issuer::key::IssuerKey;
use crate::controller::issuer::quota::Allowance;
use crate::controller::issuer::reserve::reserve;
use crate::controller::process::failpoint::failpoint;
use crate::issuance::{Observation, Outcome, Rest, Step, Trouble, describe};
use crate::outside::Disposition;
use crate::reason::Reason;

/// Performs one step. The run rests where that is the step, or where its issuer is gone.
pub(super) async fn take(
    context: &Context,
    issuer: &FoundIssuer,
    seen: &Observation,
    written: &mut CertificateRequest,
    allowance: &mut Allowance,
    step: Step,
) -> Result<Outcome, Rest> {
    let key = IssuerKey::of(written);
    let needed = || issuer.now(context).ok_or(Rest::IssuerMissing);
    Ok(match step {
        Step::Rest(rest) => return Err(rest),
        Step::ReadTarget => perform::read_target(context, seen, &key).await,
        Step::OpenAccount => perform::open_account(context, seen, &needed()?).await,
        Step::Resolve(words) => perform::resolve(context, seen, &needed()?, &words).await,
        Step::ReadCsr => perform::read_csr(context, seen).await,
        Step::Submit(plan, kind) => {
            perform::submit(context, seen, &needed()?, (plan, kind), allowance).await
        }
        Step::ReadServedRoots => match issuer.now(context) {
            Some(issuer) => perform::read_served_roots(context, &issuer).await,
            None => Outcome::Served(Vec::new()),
        },
        Step::Deliver(delivery) => perform::deliver(context, seen, &key, &delivery).await,
        Step::ReadRecord => orders::read_record(context, seen).await,
        Step::Prepare(plan, kind) => orders::prepare(context, seen, &needed()?, (plan, kind)).await,
        Step::WriteRecord(draft) => orders::write_record(context, seen, &draft).await,
        Step::Claim => orders::claim(context, seen).await,
        Step::Announce => announce(context, written, seen).await,
        Step::Find => orders::find(context, seen, &needed()?, Which::Next).await,
        Step::FindBefore => orders::find(context, seen, &needed()?, Which::Before).await,
        Step::Reserve => {
            let issuer =
                issuer.limited(context.leadership.claimant()).ok_or(Rest::IssuerMissing)?;
            reserve(context, &issuer, written, allowance).await
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
