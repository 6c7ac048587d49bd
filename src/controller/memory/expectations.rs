//! Expectations: no decision is made on a past that we ourselves have changed.
//!
//! After a write, the caches lag behind for a moment. A run in that moment would see the world
//! before its own write and do the same again. So each run leaves the versions it wrote here, and
//! the next waits until the caches have them; their arrival wakes it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A version that never arrives (the request was replaced in between) is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A resourceVersion as a number: those of one resource are in order.
pub(in crate::controller) fn number(version: Option<&str>) -> Option<u64> {
    version.and_then(|version| version.parse().ok())
}

#[derive(Default)]
pub(in crate::controller) struct Expectations(Mutex<HashMap<String, Expected>>);

struct Expected {
    request: Option<u64>,
    target: Option<u64>,
    since: Instant,
}

impl Expectations {
    /// Notes the versions that the run for `uid` wrote.
    pub(in crate::controller) fn expect(
        &self,
        uid: &str,
        request: Option<&str>,
        target: Option<&str>,
    ) {
        let expected =
            Expected { request: number(request), target: number(target), since: Instant::now() };
        self.entries().insert(uid.to_owned(), expected);
    }

    /// Whether the caches have reached what was written: `request` is the version of the request in
    /// its cache, `target` the newest that the watch of all targets has told of. If not, the time to
    /// wait at most.
    pub(in crate::controller) fn are_met(
        &self,
        uid: &str,
        request: Option<&str>,
        target: u64,
    ) -> Result<(), Duration> {
        let mut entries = self.entries();
        let Some(expected) = entries.get(uid) else {
            return Ok(());
        };
        let request = number(request).unwrap_or_default();
        let reached =
            |expected: Option<u64>, cached: u64| expected.is_none_or(|expected| cached >= expected);
        let waited = expected.since.elapsed();
        let is_reached = reached(expected.request, request) && reached(expected.target, target);
        if is_reached || waited >= PATIENCE {
            entries.remove(uid);
            return Ok(());
        }
        Err(PATIENCE - waited)
    }

    /// Forgets a request that is gone.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.entries().remove(uid);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<String, Expected>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_run_waits_for_what_the_last_one_wrote() {
        let expectations = Expectations::default();
        assert!(expectations.are_met("a", Some("1"), 0).is_ok(), "nothing was written");
        expectations.expect("a", Some("10"), Some("9"));
        assert!(expectations.are_met("a", Some("8"), 9).is_err(), "the request is old");
        assert!(expectations.are_met("a", Some("10"), 8).is_err(), "the target is not there yet");
        assert!(expectations.are_met("b", Some("1"), 0).is_ok(), "another request does not care");
        assert!(expectations.are_met("a", Some("11"), 9).is_ok(), "both have arrived");
        assert!(expectations.are_met("a", Some("8"), 0).is_ok(), "and are not waited for again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_arrives_is_waited_for_a_little() {
        let expectations = Expectations::default();
        expectations.expect("a", Some("10"), None);
        assert!(expectations.are_met("a", Some("8"), 0).is_err());
        tokio::time::advance(PATIENCE).await;
        assert!(expectations.are_met("a", Some("8"), 0).is_ok());
    }
}
