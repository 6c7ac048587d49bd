//! When each target was last put in order, so that a fight over a Secret is fought slowly.
//!
//! In memory: after a restart one repair comes early.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::api::CertificateRequest;
use crate::issuance::Observation;

#[derive(Default)]
pub(super) struct Repairs(Mutex<HashMap<String, Timestamp>>);

impl Repairs {
    /// When the target of `request` was last put in order.
    pub(super) fn last(&self, request: &CertificateRequest) -> Option<Timestamp> {
        self.entries().get(&request.uid()?).copied()
    }

    /// Notes a repair of the run.
    pub(super) fn note(&self, seen: &Observation) {
        if seen.delivered.is_some() && !seen.renewed {
            self.entries().insert(seen.request.uid.clone(), seen.now);
        }
    }

    /// Forgets a request that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.entries().remove(uid);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<String, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
