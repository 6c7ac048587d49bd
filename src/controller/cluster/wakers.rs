//! Wakes reconciles from inside the operator.

use kube::Resource as _;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc::UnboundedSender;

use crate::api::{CertificateRequest, ClusterIssuer, Issuer, IssuerKind};
use crate::controller::cluster::stores::{Guarded, Stores, in_order};

/// Wakes reconciles from inside the operator.
#[derive(Clone)]
pub(in crate::controller) struct Wakers {
    pub(super) requests: UnboundedSender<ObjectRef<Guarded<CertificateRequest>>>,
    pub(super) issuers: UnboundedSender<ObjectRef<Guarded<Issuer>>>,
    pub(super) cluster_issuers: UnboundedSender<ObjectRef<Guarded<ClusterIssuer>>>,
}

impl Wakers {
    /// Has everything looked at that is in the caches.
    pub(in crate::controller) fn everything(&self, stores: &Stores) {
        // A receiver is gone at shutdown only.
        for issuer in in_order(stores.issuers.state()) {
            let _ = self.issuers.send(ObjectRef::from_obj(&*issuer));
        }
        for issuer in in_order(stores.cluster_issuers.state()) {
            let _ = self.cluster_issuers.send(ObjectRef::from_obj(&*issuer));
        }
        for request in in_order(stores.requests.state()) {
            let _ = self.requests.send(ObjectRef::from_obj(&*request));
        }
    }

    /// Has everything looked at that is in the caches of one namespace.
    pub(super) fn namespace(&self, stores: &Stores, namespace: &str) {
        let is_its = |of: Option<&String>| of.is_some_and(|of| of == namespace);
        // A receiver is gone at shutdown only.
        for issuer in in_order(stores.issuers.state()) {
            if is_its(issuer.meta().namespace.as_ref()) {
                let _ = self.issuers.send(ObjectRef::from_obj(&*issuer));
            }
        }
        for request in in_order(stores.requests.state()) {
            if is_its(request.meta().namespace.as_ref()) {
                let _ = self.requests.send(ObjectRef::from_obj(&*request));
            }
        }
    }

    /// Has a request looked at again.
    pub(in crate::controller) fn request(&self, namespace: &str, name: &str) {
        // A receiver is gone at shutdown only.
        let _ = self.requests.send(ObjectRef::new(name).within(namespace));
    }

    /// Has requests looked at again, each by namespace and name.
    pub(in crate::controller) fn requests(&self, names: Vec<(String, String)>) {
        names.iter().for_each(|(namespace, name)| self.request(namespace, name));
    }

    /// Has an issuer looked at again.
    pub(in crate::controller) fn issuer(
        &self,
        kind: IssuerKind,
        namespace: Option<&str>,
        name: &str,
    ) {
        // A receiver is gone at shutdown only.
        let _ = match kind {
            IssuerKind::Issuer => self
                .issuers
                .send(ObjectRef::new(name).within(namespace.unwrap_or_default()))
                .is_ok(),
            IssuerKind::ClusterIssuer => self.cluster_issuers.send(ObjectRef::new(name)).is_ok(),
        };
    }
}
