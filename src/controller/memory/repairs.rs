//! How often each target was put in order, so that a fight over a Secret is fought slowly.
//!
//! In memory: after a restart one repair comes early.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::api::CertificateRequest;
use crate::issuance::{Observation, repair_pause};

#[derive(Default)]
pub(in crate::controller) struct Repairs(Mutex<HashMap<String, (Timestamp, u32)>>);

impl Repairs {
    /// When the target of `request` was last put in order, and how often in a row.
    pub(in crate::controller) fn last(
        &self,
        request: &CertificateRequest,
    ) -> Option<(Timestamp, u32)> {
        self.entries().get(&request.uid()?).copied()
    }

    /// Notes a repair of the run. A time of peace twice as long as the pause ends the row.
    pub(in crate::controller) fn note(&self, seen: &Observation) {
        let mut entries = self.entries();
        let before = entries.get(&seen.request.uid).filter(|(last, in_a_row)| {
            seen.now.duration_since(*last) < repair_pause(*in_a_row) * 2
        });
        let in_a_row = before.map_or(1, |(_, in_a_row)| in_a_row.saturating_add(1));
        entries.insert(seen.request.uid.clone(), (seen.now, in_a_row));
    }

    /// Forgets a request that is gone.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.entries().remove(uid);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Timestamp, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
