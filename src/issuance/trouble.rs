//! Why a run ends without its certificate.

use crate::outside::{Disposition, Error};
use crate::reason::Reason;

/// Why a run ends without its certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trouble {
    /// What happens next.
    pub disposition: Disposition,
    /// One word in camel case.
    pub reason: Reason,
    /// What was tried and what came of it.
    pub message: String,
    /// Counts as a failed attempt: the next one waits longer.
    pub counts: bool,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self {
            disposition: error.disposition,
            reason: error.reason,
            message: error.message,
            counts: true,
        }
    }
}
