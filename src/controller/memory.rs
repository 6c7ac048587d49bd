//! What one process remembers of each request, between runs. All of it can be lost.

use super::gate::Gate;
use super::repairs::Repairs;
use super::undelivered::Undelivered;
use super::unwritten::Unwritten;

#[derive(Default)]
pub(super) struct Memory {
    pub(super) gate: Gate,
    pub(super) repairs: Repairs,
    pub(super) undelivered: Undelivered,
    pub(super) unwritten: Unwritten,
}

impl Memory {
    /// Forgets a request that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.gate.forget(uid);
        self.repairs.forget(uid);
        self.undelivered.forget(uid);
        self.unwritten.forget(uid);
    }
}
