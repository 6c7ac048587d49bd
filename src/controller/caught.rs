//! Parts of the operator that no object's run is, and that go on where one of their steps panics.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt as _;

use crate::metrics::Metrics;

/// Runs a part of the operator that is no object's; nothing where it panics.
pub(super) async fn caught<T>(
    metrics: &Metrics,
    part: &'static str,
    running: impl Future<Output = T>,
) -> Option<T> {
    counted(metrics, part, AssertUnwindSafe(running).catch_unwind().await)
}

/// The same for what does not wait.
pub(super) fn caught_at_once<T>(
    metrics: &Metrics,
    part: &'static str,
    run: impl FnOnce() -> T,
) -> Option<T> {
    counted(metrics, part, catch_unwind(AssertUnwindSafe(run)))
}

fn counted<T>(
    metrics: &Metrics,
    part: &'static str,
    ended: Result<T, Box<dyn Any + Send>>,
) -> Option<T> {
    // What it says may hold what it was about.
    ended
        .map_err(|_payload| {
            metrics.panicked(part);
            tracing::error!(part, "a part of the operator panicked, and is gone on with");
        })
        .ok()
}
