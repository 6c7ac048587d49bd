//! Which issuer.

use kube::ResourceExt as _;

use crate::api::{CertificateRequest, IssuerKind};

/// An issuer by kind, namespace and name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(in crate::controller) struct IssuerKey {
    pub(in crate::controller) kind: IssuerKind,
    pub(in crate::controller) namespace: Option<String>,
    pub(in crate::controller) name: String,
}

impl IssuerKey {
    /// The issuer that a request names.
    pub(in crate::controller) fn of(request: &CertificateRequest) -> Self {
        let reference = &request.spec.issuer_ref;
        let namespace = match reference.kind {
            IssuerKind::Issuer => request.namespace(),
            IssuerKind::ClusterIssuer => None,
        };
        Self { kind: reference.kind, namespace, name: reference.name.clone() }
    }
}
