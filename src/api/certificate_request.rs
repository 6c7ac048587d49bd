//! `CertificateRequest`: the certificate a workload wants, kept fresh for as long as the object
//! exists.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::challenge::OrderChallenge;
use super::issuer::IssuerKind;
use super::key::KeyAlgorithm;
use super::names::{KeyUsage, Subject};
use super::online_ca::OnlineCaIdentity;
use super::ssl_purchase::SslPurchaseOrder;
use super::swiss_sign::SwissSignOrder;

/// The certificate a workload wants: from whom, for whom, with which key, into which Secret.
#[expect(clippy::duplicated_attributes, reason = "columns of a table look alike")]
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "chancery.dev",
    version = "v1alpha1",
    kind = "CertificateRequest",
    namespaced,
    status = "CertificateRequestStatus",
    shortname = "chreq",
    category = "chancery",
    doc = "A CertificateRequest is the certificate a workload wants. Chancery obtains it, writes key, chain and trust anchor into a Secret and renews it for as long as the object exists. (The kind of the same name in the group cert-manager.io asks for one certificate once; this one is long-lived.)",
    derive = "PartialEq",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(
        name = "Issuing",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Issuing')].reason"
    ),
    printcolumn(name = "Issuer", type_ = "string", json_path = ".spec.issuerRef.name"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.secretName"),
    printcolumn(
        name = "Common name",
        type_ = "string",
        json_path = ".status.certificate.commonName"
    ),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.certificate.notAfter"),
    printcolumn(name = "Renews", type_ = "string", json_path = ".status.renewalTime"),
    printcolumn(name = "Order", type_ = "string", json_path = ".status.order.id"),
    printcolumn(
        name = "Waits for",
        type_ = "string",
        json_path = ".status.order.waitingFor",
        priority = 1
    ),
    printcolumn(
        name = "Revision",
        type_ = "integer",
        json_path = ".status.revision",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("has(self.onlineCa) || has(self.csrSecretRef) || has(self.commonName) || has(self.subject) || has(self.dnsNames) || has(self.ipAddresses) || has(self.uris) || has(self.emailAddresses)").message("say who the certificate is for: commonName, subject, dnsNames, ipAddresses, uris, emailAddresses, csrSecretRef, or onlineCa (also empty, {}) for a CA that issues to a user"),
    validation = Rule::new("!has(self.onlineCa) || !(has(self.commonName) || has(self.subject) || has(self.dnsNames) || has(self.ipAddresses) || has(self.uris) || has(self.emailAddresses))").message("an Online CA issues to a user and ignores names: remove commonName, subject, dnsNames, ipAddresses, uris and emailAddresses, or remove onlineCa"),
    validation = Rule::new("!has(self.csrSecretRef) || !(has(self.commonName) || has(self.subject) || has(self.dnsNames) || has(self.ipAddresses) || has(self.uris) || has(self.emailAddresses) || has(self.usages) || has(self.privateKey))").message("the CSR that csrSecretRef names says names, usages and key: remove commonName, subject, dnsNames, ipAddresses, uris, emailAddresses, usages and privateKey, or remove csrSecretRef"),
    validation = Rule::new("!has(self.csrSecretRef) || self.csrSecretRef.name != self.secretName").message("csrSecretRef.name and secretName name the same Secret: keep the CSR in another, for the certificate is delivered into a Secret of Chancery's own"),
    validation = Rule::new("!has(self.renewBefore) || !has(self.renewBeforePercentage)").message("set renewBefore or renewBeforePercentage, not both"),
)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRequestSpec {
    /// Who issues the certificate.
    pub issuer_ref: IssuerReference,
    /// Secret of type `kubernetes.io/tls` (`Opaque` for a CSR without its key) in which the
    /// certificate is delivered: `tls.key`, `tls.crt` (the certificate, then its intermediates, no
    /// root) and `ca.crt` (the trust anchor its chain was verified to). Created by Chancery; a
    /// Secret of that name that is not ours is never touched. It stays when the request is deleted.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')").message("secretName must be the name of a Secret: lower-case letters, digits, '-' and '.', such as shop-tls"),
        validation = Rule::new("!self.endsWith('.order')").message("names that end with .order are those of the records of orders: choose another secretName"),
        validation = Rule::new("self == oldSelf").message("secretName cannot be changed: create another request for another Secret"),
    )]
    pub secret_name: String,
    /// Common name (CN) of the subject, at most 64 characters. The name of a server goes among the
    /// alternative names too, where alone TLS clients look for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub common_name: Option<String>,
    /// The rest of the subject, such as organization and country. What a CA has not validated it
    /// leaves out or replaces: that is no reason to refuse the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// DNS names the certificate must be valid for; `*.` may stand in front. International names
    /// may be written as they are, such as `müller.example`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new(r"self.all(name, name.matches('^(\\*\\.)?([\\pL\\pN_]([-\\pL\\pM\\pN_]*[\\pL\\pM\\pN_])?\\.)*[\\pL\\pN_]([-\\pL\\pM\\pN_]*[\\pL\\pM\\pN_])?$'))").message("each of dnsNames must be a DNS name such as shop.example.org or *.example.org"))]
    pub dns_names: Option<Vec<String>>,
    /// IP addresses the certificate must be valid for, such as `192.0.2.1` or `2001:db8::1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 2, max = 45)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(address, isIP(address))").message("each of ipAddresses must be an IP address such as 192.0.2.1 or 2001:db8::1"))]
    pub ip_addresses: Option<Vec<String>>,
    /// URIs the certificate must be valid for, such as `spiffe://example.org/shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 3, max = 1024)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(uri, uri.matches('^[a-zA-Z][-a-zA-Z0-9+.]*:[!-~]+$'))").message("each of uris must be a URI with a scheme such as spiffe://example.org/shop, with what is not ASCII in percent-encoding"))]
    pub uris: Option<Vec<String>>,
    /// E-mail addresses the certificate must be valid for, such as `shop@example.org`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 3, max = 254)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new(r"self.all(address, address.matches('^[!-+\\--:=?A-~]+@[-\\pL\\pM\\pN_.]+$'))").message("each of emailAddresses must be an e-mail address such as shop@example.org"))]
    pub email_addresses: Option<Vec<String>>,
    /// What the key is for, in cert-manager's words. The CSR asks for it, and the CA's profile
    /// decides. Unset, the CSR asks for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 19), extend("x-kubernetes-list-type" = "set"))]
    pub usages: Option<Vec<KeyUsage>>,
    /// Lifetime to ask for, an hour or more, such as `2160h`, at a CA that takes such a wish. The
    /// CA may grant less, and renewal goes by what it granted. Unset, the CA decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$') && duration(self) >= duration('1h')").message("duration must be an hour or more in hours, minutes and seconds, such as 2160h"))]
    pub duration: Option<String>,
    /// For an Online CA, which issues to a user and takes no names. Leave it empty, `{}`, to use
    /// the credentials of the Issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online_ca: Option<OnlineCaIdentity>,
    /// For the SSL purchase API: what an order says beside the names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_purchase: Option<SslPurchaseOrder>,
    /// For SwissSign: what an order says beside the names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swiss_sign: Option<SwissSignOrder>,
    /// A certification request (CSR) of your own, in a Secret in the namespace of the request: it
    /// says the names, the usages and the key. Chancery then makes no key: each renewal is for the
    /// key in the CSR. Where the Secret also holds that key as `tls.key`, the pair is delivered as
    /// `kubernetes.io/tls`; where it does not, the target is of type `Opaque` and holds `tls.crt`
    /// and `ca.crt` only. A CSR for another key is noticed when the Secret changes, and a
    /// certificate for it is obtained at once; other names in a CSR for the same key show with the
    /// next renewal, or at once with the annotation `chancery.dev/renew`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr_secret_ref: Option<CsrSecretReference>,
    /// The private key. Unset, Chancery takes what the CA prefers and says so in
    /// `status.certificate.privateKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PrivateKeySpec>,
    /// How long before its end a certificate is renewed, such as `720h` or `90m`. Default: when a
    /// third of its real lifetime is left. A value at or above the real lifetime makes no sense:
    /// the default then applies, and the `Ready` message says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$') && duration(self) >= duration('1m')").message("renewBefore must be a duration of a minute or more in hours, minutes and seconds, such as 720h or 90m"))]
    pub renew_before: Option<String>,
    /// The same as a percentage of the real lifetime: the share that is left at renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 90))]
    pub renew_before_percentage: Option<i32>,
    /// Labels and annotations for the delivered Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_template: Option<SecretTemplate>,
    /// While true, nothing new is asked of the CA. What is delivered stays, and an order that is
    /// open is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Refers to an issuer.
#[derive(KubeSchema, Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerReference {
    /// `Issuer` (in the same namespace; the default) or `ClusterIssuer`.
    #[serde(default)]
    pub kind: IssuerKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A CSR in a Secret.
#[derive(KubeSchema, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CsrSecretReference {
    /// Name of the Secret. It must carry the label `chancery.dev/credentials: "true"`, so that the
    /// right to create a request is not the right to have any Secret of the namespace read and its
    /// key copied.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its data under which the CSR is, as PEM.
    #[serde(default = "tls_csr")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn tls_csr() -> String {
    "tls.csr".to_owned()
}

/// The private key of a certificate.
#[derive(KubeSchema, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("!has(self.size) || (self.algorithm == 'RSA' && self.size in [2048, 3072, 4096]) || (self.algorithm == 'ECDSA' && self.size in [256, 384, 521])").message("size must be 2048, 3072 or 4096 for RSA, 256, 384 or 521 for ECDSA; Ed25519 has only one size: leave it out"))]
#[serde(rename_all = "camelCase")]
pub struct PrivateKeySpec {
    /// `RSA`, `ECDSA` or `Ed25519`.
    pub algorithm: KeyAlgorithm,
    /// Bits: 2048 (default), 3072 or 4096 for RSA; 256 (default), 384 or 521 for ECDSA. Ed25519 has
    /// only one size: leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i32>,
    /// `Always` makes a new key for each certificate; `Never` keeps the key in the Secret as long
    /// as it is of the kind asked for here.
    #[serde(default)]
    pub rotation_policy: RotationPolicy,
}

/// Whether a renewal makes a new key.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RotationPolicy {
    /// Each certificate gets a key of its own.
    #[default]
    Always,
    /// The key in the Secret is used again.
    Never,
}

/// Metadata for the delivered Secret.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// Labels; keys under `chancery.dev/` are ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 64,
        "additionalProperties" = {
            "type": "string",
            "maxLength": 63,
            "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        },
    ))]
    #[x_kube(validation = Rule::new(r"self.all(key, key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))").message("keys of labels must be such as app or example.org/app: letters, digits, '-', '_' and '.', at most 63 after the '/'"))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('chancery.dev/'))").message("labels under chancery.dev/ belong to Chancery: choose another key"))]
    pub labels: BTreeMap<String, String>,
    /// Annotations; keys under `chancery.dev/` are ours. A Secret has 256 KiB of them in all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 64,
        "additionalProperties" = {"type": "string", "maxLength": 16384},
    ))]
    #[x_kube(validation = Rule::new(r"self.all(key, key.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))").message("keys of annotations must be such as owner or example.org/owner: letters, digits, '-', '_' and '.', at most 63 after the '/'"))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('chancery.dev/'))").message("annotations under chancery.dev/ belong to Chancery: choose another key"))]
    pub annotations: BTreeMap<String, String>,
}

/// Where the certificate stands.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRequestStatus {
    /// Generation of the spec that this status speaks of; -1 before the first look.
    #[serde(default)]
    pub observed_generation: i64,
    /// `Ready`: a valid certificate for what is asked for is delivered. `Issuing`: whether one is being obtained, and
    /// what that waits for. `Stalled`: a person must act first, or (`RunPanicked`)
    /// Chancery failed by a fault of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Counts the certificates delivered, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// The delivered certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<DeliveredCertificate>,
    /// The order that is open at the CA, or the last one if a person has to look at it; absent
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderStatus>,
    /// Counts the orders made for this request, those that came to nothing included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<i64>,
    /// When the certificate will be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Time>,
    /// When the last attempt to obtain a certificate failed; absent after a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<Time>,
    /// Failed attempts since the last success. The next attempt waits longer with each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_attempts: Option<i32>,
    /// When the next attempt is due, after a failed one. Absent where it would fail again: then
    /// only a change of what is in `lastAttempt` leads to another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,
    /// What the last failed attempt was made with. When any of it changes, the next attempt is made
    /// at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<AttemptInputs>,
    /// What the request waits for, as the operator remembers it; the conditions say it in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
}

/// What a request waits for.
#[derive(KubeSchema, Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// What it waits for.
    #[serde(rename = "for")]
    pub on: WaitsFor,
    /// A person must act first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_person: bool,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum WaitsFor {
    /// The next attempt: what came of the last one stands until then.
    Attempt,
    /// An order whose answer may have been lost: it is looked for.
    Search,
    /// The target Secret, which is somebody else's or cannot be written.
    Secret,
    /// A person's word on an order, or on its record.
    // What it was called when statuses were written that are still there.
    #[serde(alias = "Person")]
    Order,
    /// Another request, which has the same target Secret.
    SecretName,
    /// `ordersPerDay` of the issuer: another day.
    OrdersPerDay,
    /// `ordersPerNamespacePerDay` of the issuer: another day.
    OrdersPerNamespacePerDay,
    /// `openOrders` of the issuer: the end of another order.
    OpenOrders,
    /// `ordersPerRequestPerDay` of the issuer.
    OrdersPerRequestPerDay,
    /// `allow` or `suspend` of the issuer: what is asked for is not allowed, or nothing is now.
    Permission,
}

impl WaitsFor {
    /// It is a limit that the request shares with others.
    #[must_use]
    pub fn is_shared_limit(self) -> bool {
        matches!(self, Self::OpenOrders | Self::OrdersPerDay)
    }

    /// The field of the issuer's `spec.limits` that the request waits for, if it is one.
    #[must_use]
    pub fn limit(self) -> Option<&'static str> {
        match self {
            Self::OrdersPerDay => Some("ordersPerDay"),
            Self::OrdersPerNamespacePerDay => Some("ordersPerNamespacePerDay"),
            Self::OpenOrders => Some("openOrders"),
            Self::OrdersPerRequestPerDay => Some("ordersPerRequestPerDay"),
            Self::Attempt
            | Self::Order
            | Self::Permission
            | Self::Search
            | Self::Secret
            | Self::SecretName => None,
        }
    }
}

/// The delivered certificate, as read from the certificate itself.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveredCertificate {
    /// Subject in the notation of RFC 4514. A text of a certificate that is longer than 1 KiB is cut
    /// here and ends with `…`.
    pub subject: String,
    /// Common name of the subject, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// The DNS names that it is valid for, the first hundred. Absent, as the lists after it, where a
    /// version delivered it that did not note them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub dns_names: Option<Vec<String>>,
    /// The same of its IP addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub ip_addresses: Option<Vec<String>>,
    /// The same of its URIs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub uris: Option<Vec<String>>,
    /// The same of its e-mail addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub email_addresses: Option<Vec<String>>,
    /// Issuer in the notation of RFC 4514.
    pub issuer: String,
    /// Serial number, hexadecimal.
    pub serial_number: String,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// SHA-256 over the DER certificate, hexadecimal.
    pub fingerprint_sha256: String,
    /// Kind of the private key, such as `RSA 2048`.
    pub private_key: String,
    /// Which TLS clients refuse its chain although it is right, and why; absent where none is known
    /// to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<String>,
    /// The request asks for something else since it was edited. Until it does not, or nobody knows any
    /// more, `Ready` is False.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outdated: bool,
    /// When it was delivered.
    pub delivered_at: Time,
    /// resourceVersion of the Secret as delivered. While the Secret has it, nothing is read again.
    pub secret_resource_version: String,
}

/// An order at a CA.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderStatus {
    /// Its reference, `chancery-<uid>-<number>`: its name at the CA, which never changes. Its key
    /// is in the Secret `<request>.order`.
    pub reference: String,
    /// Its id at the CA, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `Submitting`, `Pending`, `Issued`, `Failed`, or `Unknown` where an answer was lost.
    pub phase: OrderPhase,
    /// The CA's own word for its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Who must act next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// The same in one word: `Ca`, `Approver` or `Owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<OrderActor>,
    /// What the CA says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What has to be shown to the CA for each domain, where it says so: what is left to do first, a
    /// hundred at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub challenges: Vec<OrderChallenge>,
    /// The account it was made at.
    #[serde(default)]
    pub account: String,
    /// When it was first submitted. Absent where nothing of it was ever sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_at: Option<Time>,
    /// How often it was submitted: more than once only where an earlier submit provably ordered
    /// nothing.
    #[serde(default)]
    pub attempt: i64,
    /// The process that submitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<String>,
    /// The last generation of the request that asks for what was ordered. Where the request has a
    /// later one, another order may follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
}

/// Who must act next for an order to move.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OrderActor {
    /// The CA works on it.
    Ca,
    /// A person at the CA or the registration authority.
    Approver,
    /// The owner of a domain or a mailbox.
    Owner,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum OrderPhase {
    /// It is about to be submitted, or was by a process that ended.
    #[default]
    Submitting,
    /// An answer was lost: it is being looked for.
    Unknown,
    /// The CA has it.
    Pending,
    /// The CA issued the certificate.
    Issued,
    /// It came to nothing.
    Failed,
}

/// What an attempt was made with.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptInputs {
    /// Generation of the request.
    pub generation: i64,
    /// Uid and generation of the issuer.
    pub issuer_version: String,
    /// Value of the annotation `chancery.dev/renew`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew: Option<String>,
    /// resourceVersion of the request's own credentials Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_resource_version: Option<String>,
    /// resourceVersion of the Secret that `csrSecretRef` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr_resource_version: Option<String>,
}
