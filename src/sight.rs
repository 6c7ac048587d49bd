//! What of the chosen namespaces the operator sees: which of its watches have had an answer, and which
//! are refused.
//!
//! # Guarantees
//! - A namespace counts as seen once each of its watches has had its first list. Before that, "not in
//!   the cache" may mean "not listed yet", and nothing is done in it.
//! - One that is not seen holds up no other, and nobody waits for it for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::namespaces::Namespaces;

/// What the operator is to see, and what of it it sees. Where it sees all namespaces, its watches are of
/// the whole cluster, and nothing is noted here.
#[derive(Clone, Default)]
pub struct Sight {
    namespaces: Arc<Namespaces>,
    /// ClusterIssuers are left to another installation.
    leaves_cluster_issuers: bool,
    watches: Arc<Mutex<BTreeMap<String, Watches>>>,
    changed: Arc<Notify>,
}

/// The watches of one namespace, by what they watch.
#[derive(Default)]
struct Watches {
    all: BTreeMap<&'static str, Standing>,
    /// Somebody was told that it is refused.
    is_told: bool,
}

#[derive(Clone, Copy, Default)]
struct Standing {
    /// It has had its first list.
    is_listed: bool,
    /// The API server refused it, and it has had no list since.
    is_refused: bool,
}

impl Watches {
    fn is_seen(&self) -> bool {
        self.all.values().all(|one| one.is_listed)
    }
}

impl Sight {
    /// Of these namespaces, none of which is seen yet.
    #[must_use]
    pub fn of(namespaces: Namespaces) -> Self {
        Self { namespaces: Arc::new(namespaces), ..Self::default() }
    }

    /// The same, where ClusterIssuers are left to another installation unless this one `serves` them.
    #[must_use]
    pub fn with_cluster_issuers(self, serves: bool) -> Self {
        Self { leaves_cluster_issuers: !serves, ..self }
    }

    /// Whether ClusterIssuers are watched, checked and asked.
    #[must_use]
    pub fn has_cluster_issuers(&self) -> bool {
        !self.leaves_cluster_issuers
    }

    /// What the operator is to see.
    #[must_use]
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Notes that a watch of `what` begins. All of a namespace are noted before one has an answer.
    pub(crate) fn begins(&self, namespace: &str, what: &'static str) {
        let mut watches = self.watches();
        watches.entry(namespace.to_owned()).or_default().all.insert(what, Standing::default());
    }

    /// Notes that a watch has had a list. Whether the namespace is seen by that, and was not before.
    pub(crate) fn listed(&self, namespace: &str, what: &str) -> bool {
        let mut watches = self.watches();
        let Some(of_namespace) = watches.get_mut(namespace) else { return false };
        let was_seen = of_namespace.is_seen();
        if let Some(one) = of_namespace.all.get_mut(what) {
            *one = Standing { is_listed: true, is_refused: false };
        }
        of_namespace.is_told &= of_namespace.all.values().any(|one| one.is_refused);
        self.changed.notify_waiters();
        !was_seen && of_namespace.is_seen()
    }

    /// Notes that the API server refuses a watch. Whether that is to be told: by the first in the
    /// namespace that `can_tell`, since all of it was seen.
    pub(crate) fn refused(&self, namespace: &str, what: &str, can_tell: bool) -> bool {
        let mut watches = self.watches();
        let Some(of_namespace) = watches.get_mut(namespace) else { return false };
        if let Some(one) = of_namespace.all.get_mut(what) {
            one.is_refused = true;
        }
        self.changed.notify_waiters();
        can_tell && !std::mem::replace(&mut of_namespace.is_told, true)
    }

    /// Whether the caches can be taken for what is in this namespace.
    pub(crate) fn has(&self, namespace: &str) -> bool {
        match &*self.namespaces {
            Namespaces::All => true,
            Namespaces::These(names) => {
                names.contains(namespace)
                    && self.watches().get(namespace).is_some_and(Watches::is_seen)
            }
        }
    }

    /// Each namespace with a watch, and what of it is not listed, or not any more.
    pub(crate) fn lacking(&self) -> BTreeMap<String, BTreeSet<&'static str>> {
        let lacks = |one: &Standing| !one.is_listed || one.is_refused;
        let of = |watches: &Watches| {
            watches.all.iter().filter(|(_, one)| lacks(one)).map(|(what, _)| *what).collect()
        };
        self.watches().iter().map(|(name, watches)| (name.clone(), of(watches))).collect()
    }

    /// What is lacking, for people: a line for each namespace.
    pub(crate) fn tell_lacking(&self) -> String {
        let lacking = self.lacking().into_iter().filter(|(_, what)| !what.is_empty());
        let lines = lacking.map(|(namespace, what)| {
            let what: Vec<&str> = what.into_iter().collect();
            format!("namespace {namespace} is not served: no list of {}\n", what.join(", "))
        });
        lines.collect()
    }

    /// Waits until each watch has had an answer, be it a refusal.
    pub(crate) async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Before the look: what changes right after it wakes as well.
            changed.as_mut().enable();
            let is_settled = self
                .watches()
                .values()
                .flat_map(|watches| watches.all.values())
                .all(|one| one.is_listed || one.is_refused);
            if is_settled {
                return;
            }
            changed.await;
        }
    }

    fn watches(&self) -> MutexGuard<'_, BTreeMap<String, Watches>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sight() -> Sight {
        let sight = Sight::of("shop,web".parse().expect("names"));
        for namespace in ["shop", "web"] {
            sight.begins(namespace, "requests");
            sight.begins(namespace, "secrets");
        }
        sight
    }

    #[test]
    fn a_namespace_is_seen_once_all_of_it_was_listed() {
        let sight = sight();
        assert!(!sight.has("shop"), "nothing was listed");
        assert!(!sight.listed("shop", "requests"), "a part of it");
        assert!(!sight.has("shop"), "its Secrets are not known");
        assert!(sight.listed("shop", "secrets"), "that is news");
        assert!(!sight.listed("shop", "secrets"), "once");
        assert!(sight.has("shop") && !sight.has("web"), "each by itself");
        assert!(!sight.has("other"), "and no other");
        assert_eq!(
            sight.tell_lacking(),
            "namespace web is not served: no list of requests, secrets\n"
        );
        assert!(Sight::default().has("other"), "where all are watched, all are seen");
    }

    #[test]
    fn a_refusal_is_told_once_until_all_is_well_again() {
        let sight = sight();
        assert!(!sight.refused("shop", "requests", false), "nobody knows yet how to mend it");
        assert!(sight.refused("shop", "requests", true), "the first");
        assert!(!sight.refused("shop", "secrets", true), "the next of the same namespace");
        assert!(sight.refused("web", "secrets", true), "of another");
        sight.listed("shop", "requests");
        assert!(!sight.refused("shop", "secrets", true), "a part is still refused");
        sight.listed("shop", "secrets");
        assert!(sight.has("shop"));
        assert!(sight.refused("shop", "secrets", true), "taken away once more");
        assert!(sight.has("shop"), "what was seen is not unseen");
        assert!(sight.tell_lacking().contains("namespace shop is not served: no list of secrets"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_an_answer_and_silence_is_none() {
        let sight = sight();
        let settles =
            async || tokio::time::timeout(Duration::from_secs(1), sight.settled()).await.is_ok();
        assert!(!settles().await, "nobody answered");
        sight.listed("shop", "requests");
        sight.listed("shop", "secrets");
        sight.refused("web", "requests", true);
        assert!(!settles().await, "one is silent");
        let waiting = sight.clone();
        let waiting = tokio::spawn(async move { waiting.settled().await });
        tokio::task::yield_now().await;
        sight.refused("web", "secrets", true);
        tokio::time::timeout(Duration::from_secs(1), waiting).await.expect("woken").expect("ends");
        let nothing = Sight::default();
        let at_once = tokio::time::timeout(Duration::from_secs(1), nothing.settled()).await;
        assert!(at_once.is_ok(), "nothing to wait for");
    }
}
