//! Claims that this process won and has not used.
//!
//! In memory only, because that is what a claim means: a process that ended may have used it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::ca::Claim;

#[derive(Default)]
pub(super) struct Claims(Mutex<HashMap<(String, String), Claim>>);

impl Claims {
    /// Keeps the claim on the order of a request, by its namespace and name. An older one that was
    /// not used is given up with it.
    pub(super) fn keep(&self, namespace: &str, name: &str, claim: Claim) {
        self.entries().insert((namespace.to_owned(), name.to_owned()), claim);
    }

    /// Reference of the order of a request whose claim is unused.
    pub(super) fn unused(&self, namespace: &str, name: &str) -> Option<String> {
        let key = (namespace.to_owned(), name.to_owned());
        self.entries().get(&key).map(|claim| claim.reference().to_owned())
    }

    /// Uses the claim on this order up.
    pub(super) fn take(&self, namespace: &str, name: &str, reference: &str) -> Option<Claim> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut entries = self.entries();
        if entries.get(&key)?.reference() != reference {
            return None;
        }
        entries.remove(&key)
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_used_once_and_for_its_order_only() {
        let claims = Claims::default();
        claims.keep("web", "shop", Claim::won("chancery-a-1".to_owned()));
        assert_eq!(claims.unused("web", "shop").as_deref(), Some("chancery-a-1"));
        assert!(claims.take("web", "shop", "chancery-a-2").is_none(), "another order");
        assert!(claims.take("web", "other", "chancery-a-1").is_none(), "another request");
        assert!(claims.take("web", "shop", "chancery-a-1").is_some());
        assert!(claims.take("web", "shop", "chancery-a-1").is_none(), "used up");
    }
}
