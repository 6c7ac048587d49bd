//! Statuses that could not be written: the next run goes on from them, so that an API server that
//! refuses them neither shortens the pause before the next attempt nor has a refusal asked for
//! again.
//!
//! In memory: after a restart one attempt comes early.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::ResourceExt as _;

use crate::api::{CertificateRequest, CertificateRequestStatus};
use crate::issuance::Notice;

/// What a run came to and could not tell.
#[derive(Clone)]
pub(in crate::controller) struct Untold {
    pub(in crate::controller) status: CertificateRequestStatus,
    pub(in crate::controller) notices: Vec<Notice>,
}

#[derive(Default)]
pub(in crate::controller) struct Unwritten(Mutex<HashMap<String, (Option<String>, Untold)>>);

impl Unwritten {
    /// What the last run for this version of `request` could not tell.
    pub(in crate::controller) fn recall(&self, request: &CertificateRequest) -> Option<Untold> {
        let (version, untold) = self.entries().get(&request.uid()?)?.clone();
        // The object moved on: what is in it counts.
        (version == request.resource_version()).then_some(untold)
    }

    /// Keeps what could not be written into this version of `request`.
    pub(in crate::controller) fn keep(&self, request: &CertificateRequest, untold: Untold) {
        if let Some(uid) = request.uid() {
            self.entries().insert(uid, (request.resource_version(), untold));
        }
    }

    /// Forgets a request that is gone, or whose status is written.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.entries().remove(uid);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Option<String>, Untold)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
