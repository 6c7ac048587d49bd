//! The blocks for an Online CA: `spec.onlineCa` of an issuer and of a request.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key::KeyAlgorithm;
use super::reference::SecretReference;

/// The Online CA web service of Contrail and CEDA.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnlineCa {
    /// Full URL of the operation "get certificate", including the trailing slash where the server
    /// has one, such as `https://slcs.example.org/certificate/`. Where it is
    /// changed, delivered certificates stay until they are renewed.
    #[schemars(length(max = 1024))]
    #[x_kube(
        validation = Rule::new("self.matches('^https://[^/?#@ ]+/[^?# ]*$')").message("certificateUrl must be an https URL with a path and without user, query or fragment, such as https://ca.example.org/certificate/"),
    )]
    pub certificate_url: String,
    /// Full URL of the operation "get trust roots", such as `https://slcs.example.org/trustroots/`.
    /// It is called without credentials, to find out whether the CA can be reached and to get
    /// intermediates that complete a chain. What it serves is not trusted because it serves it.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https://[^/?#@ ]+/[^?# ]*$')").message("trustRootsUrl must be an https URL with a path and without user, query or fragment, such as https://ca.example.org/trustroots/"))]
    pub trust_roots_url: String,
    /// Secret with the keys `username` and `password`, for all requests that bring no credentials
    /// of their own. It must carry the label `chancery.dev/credentials: "true"` and list the CA's
    /// host in the annotation `chancery.dev/hosts`, with its port where that is not 443; and in
    /// `chancery.dev/trust-anchors` the root of `spec.tls.caBundle`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
    /// Kinds of key that this server signs. As shipped, the server refuses every elliptic curve
    /// key, because it compares the bare number of bits with 2048: add `ECDSA` and `Ed25519` only
    /// where the server's `ca_class.min_key_nbits` was lowered to 256 or less.
    #[serde(default = "rsa_only")]
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub key_algorithms: Vec<KeyAlgorithm>,
    /// Where this server splits `username:password`. The Contrail service splits at the last colon,
    /// so that a password cannot contain one; the Django service splits at the first, so that a
    /// user name cannot contain one.
    #[serde(default)]
    pub basic_split: BasicSplit,
}

fn rsa_only() -> Vec<KeyAlgorithm> {
    vec![KeyAlgorithm::Rsa]
}

/// Where a server separates the user name from the password in HTTP Basic credentials.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum BasicSplit {
    /// At the first colon (RFC 7617; the Django service).
    FirstColon,
    /// At the last colon (the Contrail service).
    #[default]
    LastColon,
}

/// The user an Online CA issues the certificate to.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnlineCaIdentity {
    /// Secret in the namespace of the request with the keys `username` and `password`, used in
    /// place of the credentials of the Issuer, so that one Issuer serves many users. It must carry
    /// the label `chancery.dev/credentials: "true"` and list the CA's host in the annotation
    /// `chancery.dev/hosts`, with its port where that is not 443, and the Issuer's root for TLS in
    /// `chancery.dev/trust-anchors`, where it brings one. It is read when a certificate is asked for: another user in it takes
    /// effect with the next renewal, or at once with the annotation `chancery.dev/renew`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
}
