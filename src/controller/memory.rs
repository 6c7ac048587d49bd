//! What one process remembers of each request, between runs. All of it can be lost.

pub(in crate::controller) mod claims;
pub(in crate::controller) mod expectations;
pub(in crate::controller) mod panics;
pub(in crate::controller) mod repairs;
pub(in crate::controller) mod searches;
pub(in crate::controller) mod told;
pub(in crate::controller) mod undelivered;
pub(in crate::controller) mod unwritten;

use self::claims::Claims;
use self::expectations::Expectations;
use self::panics::Panics;
use self::repairs::Repairs;
use self::searches::Searches;
use self::told::Told;
use self::undelivered::Undelivered;
use self::unwritten::Unwritten;

#[derive(Default)]
pub(super) struct Memory {
    /// By name and not by uid: the order outlives the request.
    pub(super) claims: Claims,
    pub(super) expectations: Expectations,
    /// Of issuers too.
    pub(super) panics: Panics,
    pub(super) repairs: Repairs,
    pub(super) searches: Searches,
    pub(super) told: Told,
    pub(super) undelivered: Undelivered,
    pub(super) unwritten: Unwritten,
}

impl Memory {
    /// Forgets a request that is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.expectations.forget(uid);
        self.panics.forget(uid);
        self.repairs.forget(uid);
        self.searches.forget(uid);
        self.told.forget(uid);
        self.undelivered.forget(uid);
        self.unwritten.forget(uid);
    }
}
