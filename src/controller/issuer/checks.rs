//! When each issuer is checked next.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::controller::issuer::key::IssuerKey;

/// When each issuer is checked next. In memory: a restart believes the status.
#[derive(Default)]
pub(in crate::controller) struct Checks(Mutex<HashMap<IssuerKey, (Timestamp, u32)>>);

impl Checks {
    pub(super) fn get(&self, key: &IssuerKey) -> Option<(Timestamp, u32)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    /// Has an issuer checked with the next look.
    pub(in crate::controller) fn due(&self, key: &IssuerKey, now: Timestamp) {
        let failures = self.get(key).map_or(0, |(_, failures)| failures);
        self.set(key.clone(), now, failures);
    }

    /// Forgets an issuer that is gone.
    pub(in crate::controller) fn forget(&self, key: &IssuerKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    pub(super) fn set(&self, key: IssuerKey, next: Timestamp, failures: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (next, failures));
    }
}
