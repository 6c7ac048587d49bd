//! The caches of the watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
#[cfg(test)]
use kube::runtime::{reflector::store, watcher::Event};
use kube::{Resource, ResourceExt as _};

use crate::api::{CertificateRequest, ClusterIssuer, Issuer, IssuerKind};
pub(in crate::controller) use crate::decode::Guarded;
use crate::namespaces::Namespaces;
use crate::sight::Sight;

/// A Secret without its contents.
pub(in crate::controller) type SecretMeta = Guarded<PartialObjectMeta<Secret>>;

/// A ConfigMap without its contents.
pub(in crate::controller) type ConfigMapMeta = Guarded<PartialObjectMeta<ConfigMap>>;

/// A Namespace without its contents.
pub(in crate::controller) type NamespaceMeta = Guarded<PartialObjectMeta<Namespace>>;

/// So long nothing begins because namespaces, or what is in the chosen ones, are not listed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The caches.
#[derive(Clone)]
pub(in crate::controller) struct Stores {
    pub(in crate::controller) requests: Store<Guarded<CertificateRequest>>,
    pub(in crate::controller) issuers: Store<Guarded<Issuer>>,
    pub(in crate::controller) cluster_issuers: Store<Guarded<ClusterIssuer>>,
    pub(in crate::controller) targets: Store<SecretMeta>,
    pub(in crate::controller) credentials: Store<SecretMeta>,
    pub(in crate::controller) records: Store<SecretMeta>,
    pub(in crate::controller) bundles: Store<ConfigMapMeta>,
    pub(in crate::controller) namespaces: Store<NamespaceMeta>,
    /// What of the namespaces is in them.
    pub(in crate::controller) sight: Sight,
    /// Newest version that each watch of targets has told of, deletions included.
    pub(super) targets_reached: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Stores {
    /// Caches that have seen these requests and nothing else.
    #[cfg(test)]
    pub(in crate::controller) fn of_requests(requests: Vec<CertificateRequest>) -> Self {
        let (reader, mut writer) = store();
        for request in requests {
            writer.apply_watcher_event(&Event::Apply(Guarded(Ok(request))));
        }
        Self {
            requests: reader,
            issuers: store().0,
            cluster_issuers: store().0,
            targets: store().0,
            credentials: store().0,
            records: store().0,
            bundles: store().0,
            namespaces: store().0,
            sight: Sight::default(),
            targets_reached: Arc::default(),
        }
    }

    /// Waits until every watch had its first answer. That of namespaces only for a while: where they
    /// cannot be listed, the requests that their labels decide on wait, and no others. Those within
    /// chosen namespaces for the same while, and no longer than until they are refused: what is in one
    /// that is not seen waits, and no other.
    pub(in crate::controller) async fn wait_until_ready(&self) {
        // An error means that the watches have ended, which they do at shutdown only.
        let namespaces = tokio::time::timeout(PATIENCE, self.namespaces.wait_until_ready());
        let chosen = tokio::time::timeout(PATIENCE, self.sight.settled());
        let (.., namespaces, _) = tokio::join!(
            self.requests.wait_until_ready(),
            self.issuers.wait_until_ready(),
            self.cluster_issuers.wait_until_ready(),
            self.targets.wait_until_ready(),
            self.credentials.wait_until_ready(),
            self.records.wait_until_ready(),
            self.bundles.wait_until_ready(),
            namespaces,
            chosen,
        );
        if namespaces.is_err() {
            tracing::warn!(
                "namespaces cannot be listed: ClusterIssuers that select namespaces by labels (spec.allow.namespaces) order nothing until they can; {}",
                self.sight.namespaces().rights()
            );
        }
        for missing in self.sight.tell_lacking().lines() {
            tracing::warn!("{missing}: it is served once it can be listed");
        }
    }

    /// Objects of the caches that this version cannot read, by kind and namespace, each once.
    pub(in crate::controller) fn unreadable(&self) -> BTreeMap<(String, String), u64> {
        let mut all = BTreeSet::new();
        note(&self.requests, &mut all);
        note(&self.issuers, &mut all);
        note(&self.cluster_issuers, &mut all);
        note(&self.targets, &mut all);
        note(&self.credentials, &mut all);
        note(&self.records, &mut all);
        note(&self.bundles, &mut all);
        note(&self.namespaces, &mut all);
        let mut counted = BTreeMap::new();
        for (kind, namespace, _) in all {
            *counted.entry((kind, namespace)).or_default() += 1;
        }
        counted
    }

    /// The request as the cache has it now.
    pub(in crate::controller) fn request(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Guarded<CertificateRequest>>> {
        self.requests.get(&ObjectRef::new(name).within(namespace))
    }

    /// Whether the caches have an issuer.
    pub(in crate::controller) fn has_issuer(
        &self,
        kind: IssuerKind,
        namespace: Option<&str>,
        name: &str,
    ) -> bool {
        match kind {
            IssuerKind::Issuer => {
                let at = namespace.unwrap_or_default();
                self.issuers.get(&ObjectRef::new(name).within(at)).is_some()
            }
            IssuerKind::ClusterIssuer => self.cluster_issuers.get(&ObjectRef::new(name)).is_some(),
        }
    }

    /// Newest version of any target that has arrived by the watch of this namespace. A Secret that was
    /// deleted right after it was written has no version in the cache; that its deletion arrived says
    /// the same. What another watch has reached says nothing of this one.
    pub(in crate::controller) fn targets_reached(&self, namespace: &str) -> u64 {
        self.reached().get(self.watch_of(namespace)).copied().unwrap_or_default()
    }

    /// Notes that a version of a target has arrived.
    pub(super) fn target_reached(&self, namespace: &str, version: u64) {
        let mut reached = self.reached();
        let newest = reached.entry(self.watch_of(namespace).to_owned()).or_default();
        *newest = version.max(*newest);
    }

    fn reached(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.targets_reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where all namespaces are seen, one watch tells of all.
    fn watch_of<'a>(&self, namespace: &'a str) -> &'a str {
        match self.sight.namespaces() {
            Namespaces::All => "",
            Namespaces::These(_) => namespace,
        }
    }

    /// resourceVersion of a ConfigMap with trust anchors, where its label has it watched.
    pub(in crate::controller) fn bundle_version(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<String> {
        self.bundles.get(&ObjectRef::new(name).within(namespace))?.resource_version()
    }

    /// Labels of a namespace. `None` where they are not known, which is not to say that it has none.
    pub(in crate::controller) fn namespace_labels(
        &self,
        name: &str,
    ) -> Option<BTreeMap<String, String>> {
        let found = self.namespaces.get(&ObjectRef::new(name))?;
        found.0.as_ref().ok().map(|namespace| namespace.labels().clone())
    }

    /// resourceVersion of a credentials Secret.
    pub(in crate::controller) fn credentials_version(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<String> {
        self.credentials.get(&ObjectRef::new(name).within(namespace))?.resource_version()
    }
}

/// Kind, namespace and name of what cannot be read.
fn note<K>(store: &Store<Guarded<K>>, to: &mut BTreeSet<(String, String, String)>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    for object in store.state_filter(|object| object.0.is_err()) {
        let namespace = object.namespace().unwrap_or_default();
        to.insert((K::kind(&()).into_owned(), namespace, object.name_any()));
    }
}

/// By namespace and name: a cache has no order of its own, and what follows is to be the same each
/// time.
pub(in crate::controller) fn in_order<K: Resource>(mut objects: Vec<Arc<K>>) -> Vec<Arc<K>> {
    let place = |object: &K| {
        let meta = object.meta();
        (meta.namespace.clone(), meta.name.clone())
    };
    objects.sort_by_cached_key(|object| place(object));
    objects
}
