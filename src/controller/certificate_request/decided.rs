//! Where a step is decided.

use crate::controller::context::Context;
use crate::controller::issuer::key::IssuerKey;
use crate::issuance::{Observation, Step, decide};

/// The next step, and what it was decided by: in place, for a change of threads costs more, or beside
/// the runs where it may take long.
pub(super) async fn decided(
    context: &Context,
    issuer: &IssuerKey,
    seen: Observation,
) -> (Observation, Step) {
    if !seen.may_take_long() {
        let step = decide(&seen);
        return (seen, step);
    }
    let work = move || {
        let step = decide(&seen);
        (seen, step)
    };
    context.beside.compute(issuer, work).await
}
