//! Which issuer.

use kube::ResourceExt as _;

use crate::api::{CertificateRequest, IssuerKind};
use crate::controller::issuer::object::IssuerObject;
use crate::metrics::OneIssuer;
use crate::outside::Error;

/// An issuer by kind, namespace and name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(in crate::controller) struct IssuerKey {
    pub(in crate::controller) kind: IssuerKind,
    pub(in crate::controller) namespace: Option<String>,
    pub(in crate::controller) name: String,
}

impl IssuerKey {
    /// As metrics have it.
    pub(in crate::controller) fn labels(&self) -> OneIssuer {
        OneIssuer {
            kind: self.kind.to_string(),
            namespace: self.namespace.clone().unwrap_or_default(),
            issuer: self.name.clone(),
        }
    }

    /// The issuer that an object of that kind is.
    pub(in crate::controller) fn to<K: IssuerObject>(object: &impl kube::ResourceExt) -> Self {
        Self { kind: K::KIND, namespace: object.namespace(), name: object.name_any() }
    }

    /// The issuer that a request names.
    pub(in crate::controller) fn of(request: &CertificateRequest) -> Self {
        let reference = &request.spec.issuer_ref;
        let namespace = reference.kind.namespace(request.namespace());
        Self { kind: reference.kind, namespace, name: reference.name.clone() }
    }

    /// What requests are told of the issuer: those of a ClusterIssuer are others' than who reads its
    /// Secrets, so that they get the reason, and the way to the details.
    pub(in crate::controller) fn tell(&self, reason: &str, message: String) -> String {
        match self.kind {
            IssuerKind::Issuer => message,
            IssuerKind::ClusterIssuer => format!(
                "{reason}: whoever looks after the ClusterIssuer is told the details: kubectl describe clusterissuers.chancery.dev {}",
                self.name
            ),
        }
    }

    /// An error of the issuer, as requests are told of it.
    pub(in crate::controller) fn told(&self, error: Error) -> Error {
        if self.kind == IssuerKind::ClusterIssuer {
            tracing::warn!(issuer = self.name, reason = error.reason.word(), "{error}");
        }
        Error { message: self.tell(error.reason.word(), error.message), ..error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::Disposition;
    use crate::reason::Reason;

    #[test]
    fn requests_of_a_cluster_issuer_are_told_no_details() {
        let error = || Error {
            disposition: Disposition::BlameCredentials,
            reason: Reason::CredentialsUnusable,
            message: "Secret chancery/root-password has no key apiKey".to_owned(),
        };
        let key = |kind| IssuerKey { kind, namespace: None, name: "paid".to_owned() };
        let told = key(IssuerKind::ClusterIssuer).told(error());
        assert_eq!((told.disposition, told.reason), (error().disposition, error().reason));
        assert!(!told.message.contains("root-password"), "{told}");
        let says = "CredentialsUnusable: whoever looks after the ClusterIssuer";
        assert!(told.message.starts_with(says), "{told}");
        assert!(told.message.ends_with("clusterissuers.chancery.dev paid"), "{told}");
        assert_eq!(key(IssuerKind::Issuer).told(error()), error());
    }
}
