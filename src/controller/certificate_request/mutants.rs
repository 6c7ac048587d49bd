//! The shell without one of its safeguards: what a step is performed with is doctored, and what is
//! remembered of it. For tests; the shell itself knows nothing of it.

use std::time::Duration;

use kube::ResourceExt as _;

use super::observe::{self, values};
use super::orders::stored_request;
use super::take::{self};
use crate::api::CertificateRequest;
use crate::controller::context::Context;
use crate::controller::issuer::found::FoundIssuer;
use crate::controller::issuer::quota::Allowance;
use crate::issuance::{Mark, Observation, OrderState, Outcome, Read, RecordRead, Rest, Step};
use crate::mutant::{self, Mutant};

/// Whether the caches have what the last run wrote, as [`observe::caught_up`] without the safeguard.
pub(super) fn caught_up(context: &Context, request: &CertificateRequest) -> Result<(), Duration> {
    if mutant::removed() == Some(Mutant::Expectations) {
        context.memory.expectations.forget(&request.uid().unwrap_or_default());
    }
    observe::caught_up(context, request)
}

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
    if matches!(step, Step::Find) && mutant == Some(Mutant::SearchPerClaim) {
        count_for_earlier_claim(&mut seen);
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

/// As if the order were looked for under the claim under which this process looked for it before.
fn count_for_earlier_claim(seen: &mut Observation) {
    if seen.record().is_none_or(|record| seen.has_unused_claim(record)) {
        return;
    }
    let Some(RecordRead::Present(record)) = &mut seen.order.record else { return };
    let before = seen.order.sought.of.strip_prefix(&format!("{}/", record.next.order.reference));
    let Some((attempt, claim)) = before.and_then(|before| before.split_once('/')) else { return };
    record.mark.attempt = attempt.parse().unwrap_or(record.mark.attempt);
    claim.clone_into(&mut record.mark.claim);
}

/// As if the claim on the order had been won just now.
fn keep_claim(context: &Context, seen: &Observation) {
    let (Some(record), Some(account)) = (seen.record(), &seen.account) else { return };
    let window = account.capabilities.settle_window;
    let claim = seen.order.won(record);
    let request = &seen.request;
    context.memory.claims.keep(&request.namespace, &request.name, claim, window);
}
