//! The shell without one of its safeguards: what a step is performed with is doctored, and what is
//! remembered of it. For tests; the shell itself knows nothing of it.

use super::observe::values;
use super::orders::stored_request;
use super::take::{self};
use crate::api::CertificateRequest;
use crate::ca::Claim;
use crate::controller::context::Context;
use crate::controller::issuer::found::FoundIssuer;
use crate::controller::issuer::quota::Allowance;
use crate::issuance::{Mark, Observation, OrderState, Outcome, Read, Rest, Step};
use crate::mutant::{self, Mutant};

/// Performs one step, as [`take::take`] without the safeguard that is taken away.
pub(super) async fn take(
    context: &Context,
    issuer: &FoundIssuer,
    seen: &Observation,
    written: &mut CertificateRequest,
    allowance: &mut Allowance,
    step: Step,
) -> Result<Outcome, Rest> {
    let mutant = mutant::removed();
    let mut seen = seen.clone();
    let submits = matches!(step, Step::Order);
    if submits && matches!(mutant, Some(Mutant::ClaimAge | Mutant::IncarnationId)) {
        keep_claim(context, &seen);
    }
    if matches!(step, Step::WriteRecord(_)) && mutant == Some(Mutant::RequestAsSeen) {
        let (namespace, name) = (&seen.request.namespace, &seen.request.name);
        let cached = context.stores.request(namespace, name);
        if let Some(Ok(cached)) = cached.as_ref().map(|cached| cached.0.as_ref()) {
            seen.request = values(context, cached);
        }
    }
    if matches!(step, Step::Mark(Mark { state: OrderState::Superseded, .. }))
        && mutant == Some(Mutant::RequestAsStored)
        && let Read::Present(stored) = stored_request(context, &seen.request).await
    {
        seen.request = values(context, &stored);
    }
    let outcome = take::take(context, issuer, &seen, written, allowance, step).await;
    if submits && let Some(record) = seen.record() {
        mutant::submitted(context.leadership.incarnation(), &record.next.order.reference);
        if mutant == Some(Mutant::ClaimOnce) {
            keep_claim(context, &seen);
        }
    }
    outcome
}

/// As if the claim on the order had been won just now.
fn keep_claim(context: &Context, seen: &Observation) {
    let (Some(record), Some(account)) = (seen.record(), &seen.account) else { return };
    let window = account.capabilities.settle_window;
    let claim = Claim::won(record.next.order.reference.clone());
    let request = &seen.request;
    context.memory.claims.keep(&request.namespace, &request.name, claim, window);
}
