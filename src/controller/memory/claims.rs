//! Claims that this process won and has not used.
//!
//! In memory only, because that is what a claim means: a process that ended may have used it. And
//! for a quarter of the settle window only: whoever meets the claim looks for the order for that whole
//! window and then claims it, and what was won long before must not be used after that.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::ca::Claim;
use crate::issuance::UnusedClaim;

/// By namespace and name of the request.
#[derive(Default)]
pub(in crate::controller) struct Claims(Mutex<HashMap<(String, String), Won>>);

struct Won {
    claim: Claim,
    until: Instant,
    is_untouched: bool,
}

impl Won {
    fn is_old(&self) -> bool {
        self.until <= Instant::now()
    }
}

impl Claims {
    /// Keeps the claim on the order of a request, by its namespace and name. An older one that was
    /// not used is given up with it.
    pub(in crate::controller) fn keep(
        &self,
        namespace: &str,
        name: &str,
        won: UnusedClaim,
        settle_window: Duration,
    ) {
        let until = Instant::now() + settle_window / 4;
        let UnusedClaim { reference, is_untouched, .. } = won;
        let won = Won { claim: Claim::won(reference), until, is_untouched };
        self.entries().insert((namespace.to_owned(), name.to_owned()), won);
    }

    /// The claim on the order of a request, where it is unused.
    pub(in crate::controller) fn unused(&self, namespace: &str, name: &str) -> Option<UnusedClaim> {
        let key = (namespace.to_owned(), name.to_owned());
        let entries = self.entries();
        let won = entries.get(&key)?;
        Some(UnusedClaim {
            reference: won.claim.reference().to_owned(),
            is_old: won.is_old(),
            is_untouched: won.is_untouched,
        })
    }

    /// Uses the claim on this order up.
    pub(in crate::controller) fn take(
        &self,
        namespace: &str,
        name: &str,
        reference: &str,
    ) -> Option<Claim> {
        let key = (namespace.to_owned(), name.to_owned());
        let mut entries = self.entries();
        let won = entries.get(&key)?;
        if won.claim.reference() != reference || won.is_old() {
            return None;
        }
        entries.remove(&key).map(|won| won.claim)
    }

    /// Gives a claim up that is not needed any more.
    pub(in crate::controller) fn forget(&self, namespace: &str, name: &str) {
        self.entries().remove(&(namespace.to_owned(), name.to_owned()));
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<(String, String), Won>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(40);

    fn claim(is_old: bool) -> UnusedClaim {
        UnusedClaim { reference: "chancery-a-1".to_owned(), is_old, is_untouched: true }
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_claim_is_not_used() {
        let claims = Claims::default();
        claims.keep("web", "shop", claim(false), WINDOW);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(claims.unused("web", "shop"), Some(claim(false)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(claims.unused("web", "shop"), Some(claim(true)));
        assert!(claims.take("web", "shop", "chancery-a-1").is_none(), "another may be at it");
        claims.forget("web", "shop");
        assert_eq!(claims.unused("web", "shop"), None);
    }

    #[test]
    fn a_claim_is_used_once_and_for_its_order_only() {
        let claims = Claims::default();
        claims.keep("web", "shop", claim(false), WINDOW);
        assert_eq!(claims.unused("web", "shop"), Some(claim(false)));
        assert!(claims.take("web", "shop", "chancery-a-2").is_none(), "another order");
        assert!(claims.take("web", "other", "chancery-a-1").is_none(), "another request");
        assert!(claims.take("web", "shop", "chancery-a-1").is_some());
        assert!(claims.take("web", "shop", "chancery-a-1").is_none(), "used up");
    }
}
