//! What one process remembers of each request, between runs. All of it can be lost.

use super::claims::Claims;
use super::gate::Gate;
use super::repairs::Repairs;
use super::searches::Searches;
use super::undelivered::Undelivered;
use super::unwritten::Unwritten;

#[derive(Default)]
pub(super) struct Memory {
    /// By name and not by uid: the order outlives the request.
    pub(super) claims: Claims,
    pub(super) gate: Gate,
    pub(super) repairs: Repairs,
    pub(super) searches: Searches,
    pub(super) undelivered: Undelivered,
    pub(super) unwritten: Unwritten,
}

impl Memory {
    /// Forgets a request that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.gate.forget(uid);
        self.repairs.forget(uid);
        self.searches.forget(uid);
        self.undelivered.forget(uid);
        self.unwritten.forget(uid);
    }
}
