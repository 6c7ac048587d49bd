//! When each issuer is checked next.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::controller::issuer::key::IssuerKey;
use crate::issuance::issuer::Checked;

/// When each issuer is checked next, and what the last check found out. In memory: a restart believes
/// the status.
#[derive(Default)]
pub(in crate::controller) struct Checks {
    due: Mutex<HashMap<IssuerKey, (Timestamp, u32)>>,
    found: Mutex<HashMap<IssuerKey, Checked>>,
}

impl Checks {
    pub(super) fn get(&self, key: &IssuerKey) -> Option<(Timestamp, u32)> {
        lock(&self.due).get(key).copied()
    }

    /// What the last check found out, where it went well.
    pub(super) fn found(&self, key: &IssuerKey) -> Option<Checked> {
        lock(&self.found).get(key).cloned()
    }

    /// Notes what a check found out.
    pub(super) fn note(&self, key: &IssuerKey, found: Option<Checked>) {
        match found {
            Some(found) => lock(&self.found).insert(key.clone(), found),
            None => lock(&self.found).remove(key),
        };
    }

    /// Has an issuer checked with the next look.
    pub(in crate::controller) fn due(&self, key: &IssuerKey, now: Timestamp) {
        let failures = self.get(key).map_or(0, |(_, failures)| failures);
        self.set(key.clone(), now, failures);
    }

    /// Forgets an issuer that is gone.
    pub(in crate::controller) fn forget(&self, key: &IssuerKey) {
        lock(&self.due).remove(key);
        lock(&self.found).remove(key);
    }

    pub(super) fn set(&self, key: IssuerKey, next: Timestamp, failures: u32) {
        lock(&self.due).insert(key, (next, failures));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
