//! Which issuer.

use crate::api::IssuerKind;

/// An issuer by kind, namespace and name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(in crate::controller) struct IssuerKey {
    pub(in crate::controller) kind: IssuerKind,
    pub(in crate::controller) namespace: Option<String>,
    pub(in crate::controller) name: String,
}
