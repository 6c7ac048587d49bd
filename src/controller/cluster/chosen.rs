//! What becomes of the watches of a chosen namespace: when all of it is seen its objects are looked
//! at, and a refusal is told once, with the line that mends it.

use std::sync::atomic::{AtomicBool, Ordering};

use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;

use crate::controller::cluster::stores::Stores;
use crate::controller::cluster::wakers::Wakers;

/// One watch of a namespace that was chosen, or of the operator's own.
pub(super) struct Chosen {
    pub(super) namespace: String,
    /// What is watched.
    pub(super) what: &'static str,
    pub(super) operator_namespace: String,
    pub(super) stores: Stores,
    pub(super) wakers: Wakers,
    /// It was refused before.
    pub(super) was_refused: AtomicBool,
}

impl Chosen {
    /// It has had a list.
    pub(super) fn listed(&self) {
        if self.stores.sight.listed(&self.namespace, self.what) {
            tracing::info!(namespace = self.namespace, "the namespace is seen");
            // What was woken before was left alone.
            self.wakers.namespace(&self.stores, &self.namespace);
        }
    }

    /// The API server does not allow it: whoever administers the cluster has to act.
    pub(super) fn refused(&self, resource: &str, refusal: &str) {
        let (sight, namespaces) = (&self.stores.sight, &self.stores.namespaces);
        // At the start their list is on its way; where they cannot be listed, nobody waits for it.
        let are_known = !namespaces.state().is_empty();
        let can_tell = self.was_refused.swap(true, Ordering::AcqRel) || are_known;
        if !sight.refused(&self.namespace, self.what, can_tell) {
            tracing::debug!(namespace = self.namespace, resource, "still refused: {refusal}");
            return;
        }
        let exists = !are_known || namespaces.get(&ObjectRef::new(&self.namespace)).is_some();
        let mend =
            sight.namespaces().mend(&self.namespace, exists, &self.operator_namespace, refusal);
        let missing = if exists { "" } else { "it does not exist; " };
        tracing::warn!(
            namespace = self.namespace,
            resource,
            "the namespace is not served, or not all of it, until this is mended: {missing}{refusal}: {mend}"
        );
    }
}

/// What the API server says where it does not allow a list or a watch.
pub(super) fn refusal(error: &watcher::Error) -> Option<&str> {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status,
        watcher::Error::WatchError(status) => status,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => return None,
    };
    (status.code == 403).then_some(status.message.as_str())
}
