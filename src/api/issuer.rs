//! `Issuer` and `ClusterIssuer`: one account at one certificate authority outside the cluster.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::allow::Allow;
use super::online_ca::OnlineCa;
use super::proxy::Proxy;
use super::ssl_purchase::SslPurchase;
use super::swiss_sign::SwissSign;

/// An account at one certificate authority outside the cluster.
///
/// Exactly one block names the kind of CA; the rest says whom to trust. Secrets and ConfigMaps it
/// refers to are in the namespace of the Issuer.
#[expect(clippy::duplicated_attributes, reason = "columns of a table look alike")]
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "chancery.dev",
    version = "v1alpha1",
    kind = "Issuer",
    namespaced,
    status = "IssuerStatus",
    shortname = "chiss",
    category = "chancery",
    doc = "An Issuer is one account at one certificate authority outside the cluster, for the requests of its namespace.",
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
    printcolumn(name = "Account", type_ = "string", json_path = ".status.account"),
    printcolumn(
        name = "Per Day",
        type_ = "integer",
        json_path = ".status.ordersPerDay",
        priority = 1
    ),
    printcolumn(
        name = "Reserved",
        type_ = "integer",
        json_path = ".status.budget.reserved",
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
    validation = Rule::new("[has(self.onlineCa), has(self.sslPurchase), has(self.swissSign)].filter(given, given).size() == 1").message("name the kind of CA with exactly one block: onlineCa, sslPurchase or swissSign"),
    validation = Rule::new("!has(self.onlineCa) || !has(self.limits) || !has(self.limits.openOrders)").message("an Online CA issues at once and has no open orders: remove limits.openOrders; limits.ordersPerDay and limits.requestsPerSecond hold for it"),
    validation = Rule::new("!has(self.onlineCa) || !has(self.limits) || !has(self.limits.ordersPerNamespacePerDay) || has(self.limits.ordersPerDay)").message("limits.ordersPerNamespacePerDay is reserved together with limits.ordersPerDay, which an Online CA has only where it is set: set it too"),
    validation = Rule::new("!has(self.onlineCa) || !has(self.limits) || !has(self.limits.ordersPerRequestPerDay)").message("an Online CA issues at once and keeps no record of orders to count in: remove limits.ordersPerRequestPerDay; limits.ordersPerDay and limits.requestsPerSecond hold for it"),
)]
#[serde(rename_all = "camelCase")]
pub struct IssuerSpec {
    /// A Contrail or CEDA "Online CA": a free web service that issues short-lived certificates to
    /// a user at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online_ca: Option<OnlineCa>,
    /// The SSL purchase API of a reseller of Resello: certificates of several CAs, which cost money
    /// and are renewed by the id of their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl_purchase: Option<SslPurchase>,
    /// SwissSign's registration authority (RA) API: a commercial CA whose orders cost money and may
    /// wait for an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swiss_sign: Option<SwissSign>,
    /// How the TLS certificate of the CA's own server is verified. Default: by the system roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The proxy that the CA is reached through. Default: none, whatever the environment of the
    /// operator says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// What the chain of an issued certificate must end at. Default: the system roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// How much this Issuer may ask of the CA. What is over a limit waits and says so; nothing is
    /// given up. The limits are this Issuer's own: where several Issuers speak for one account,
    /// their limits add up, and an Issuer that is deleted and created again begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Who may order what. What is open is followed and delivered, and what is delivered stays,
    /// whatever is allowed by now; nothing else is asked of the CA. An edit of it buys nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Allow>,
    /// While true, no request of this Issuer has anything new asked of the CA. What is delivered
    /// stays, and an order that is open is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

impl IssuerSpec {
    /// The trust anchors that are given, where some are.
    #[must_use]
    pub fn trust_bundle(&self) -> Option<&CertificateBundle> {
        self.trust.as_ref()?.bundle.as_ref()
    }

    /// The ConfigMaps it takes certificates from.
    #[must_use]
    pub fn config_maps(&self) -> Vec<&str> {
        let tls = self.tls.as_ref().map(|tls| &tls.ca_bundle);
        let bundles = [tls, self.trust_bundle()].into_iter().flatten();
        bundles.filter_map(|bundle| Some(bundle.config_map_ref.as_ref()?.name.as_str())).collect()
    }
}

/// How much an Issuer may ask of the CA.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The most orders submitted on one UTC day (default: 100 where orders cost money, no limit
    /// elsewhere). Every submit counts, also one
    /// that the CA refuses or that is repeated after a lost answer. The limit holds across restarts
    /// and changes of the leader: orders are reserved in `status.budget` before they are submitted,
    /// in blocks of a tenth of the limit, or of five where these are a quarter of it at most; of one at
    /// least, and of ten at most. A process that dies loses the rest of its block, so that a day may
    /// have fewer orders, never more. What was submitted before the limit was set is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub orders_per_day: Option<u32>,
    /// The most orders submitted on one UTC day for the requests of one namespace (default: no limit
    /// but `ordersPerDay`). For a ClusterIssuer. It is counted in `status.budget`, for this day and
    /// for 500 namespaces; all further ones share one count. It is reserved with `ordersPerDay`, in
    /// blocks of at most half of it, at least one. What a process had not counted when another took
    /// over is held against no namespace: on that day a namespace may have one block more for each
    /// such hand-over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub orders_per_namespace_per_day: Option<u32>,
    /// The most orders open at once (default: no limit). An order is open when it was submitted, or
    /// is about to be, and has neither been issued nor ended. Requests that have an open order go
    /// on with it. An order whose request was deleted is not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub open_orders: Option<u32>,
    /// The most HTTP calls to the CA in one second, on average (default: no limit). Calls for
    /// tokens, searches, polls and checks of the account count as well. One second's worth may be
    /// made at once. Calls wait for their turn; the wait is no part of the time the CA is given to
    /// answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub requests_per_second: Option<u32>,
    /// The most orders made for one request, by namespace and name, within 24 hours (default: 10).
    /// It stops whatever changes a request in a loop, or deletes it and creates it again. An order
    /// that is submitted again after a lost answer counts once more; one that is submitted again
    /// after the CA refused it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub orders_per_request_per_day: Option<u32>,
}

/// How the TLS certificate of the CA's own server is verified.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Certificates the server's chain must end at, in place of the system roots. Where credentials are
    /// sent, only those count whose SHA-256 fingerprints their Secret lists in the annotation
    /// `chancery.dev/trust-anchors`.
    pub ca_bundle: CertificateBundle,
}

/// What the chain of an issued certificate must end at. The anchor a chain was verified to is
/// delivered as `ca.crt`.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("has(self.bundle) || (has(self.systemRoots) && self.systemRoots)").message("trust must name anchors: set bundle, or systemRoots: true, or both"))]
#[serde(rename_all = "camelCase")]
pub struct Trust {
    /// Trust anchors of this CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<CertificateBundle>,
    /// Also accept chains that end at a root of the operating system (default: only where no
    /// `trust` is given at all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_roots: Option<bool>,
    /// Which trust anchor to take where chains to several of them verify, as with cross-signed roots:
    /// its subject, such as `CN=Example Root X2,O=Example,C=US`, or its SHA-256 fingerprint. By
    /// default it is the one at which the chain ends that the CA serves, cross certificates included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub preferred_root: Option<String>,
    /// Adds the roots that the CA serves to `ca.crt`, after the anchor of the chain. They come from
    /// the network: whoever can answer as the CA decides what the readers of `ca.crt` trust. An
    /// Event says which were added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_served_roots: Option<bool>,
}

impl Trust {
    /// Whether the anchors are those of a given bundle, and none of the system's.
    #[must_use]
    pub fn has_bundle_alone(&self) -> bool {
        self.bundle.is_some() && self.system_roots != Some(true)
    }
}

/// PEM certificates, given in exactly one of three ways.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("[has(self.pem), has(self.secretRef), has(self.configMapRef)].filter(given, given).size() == 1").message("give the certificates exactly once: as pem, secretRef or configMapRef"))]
#[serde(rename_all = "camelCase")]
pub struct CertificateBundle {
    /// One or more certificates in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    #[x_kube(validation = Rule::new("self.contains('-----BEGIN CERTIFICATE-----')").message("pem must hold at least one block BEGIN CERTIFICATE"))]
    pub pem: Option<String>,
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyReference>,
    /// A key of a ConfigMap. With the label `chancery.dev/trust: "true"` a change of it is noticed at
    /// once, without it within minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyReference>,
}

/// One key of a Secret or ConfigMap.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyReference {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its data. Default: `ca.crt`.
    #[serde(default = "ca_crt")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn ca_crt() -> String {
    "ca.crt".to_owned()
}

/// What Chancery found out about the account.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerStatus {
    /// Generation of the spec that this status speaks of; -1 before the first look.
    #[serde(default)]
    pub observed_generation: i64,
    /// `Ready` says whether requests can be submitted, `Stalled` whether a person must act first, or
    /// (`RunPanicked`) Chancery failed by a fault of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The account in one line: address of the CA, and whom certificates are for, by id where the CA
    /// has ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Id of the product that is ordered where a request names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// The account whose search has found an order of ours. Only there does an order that is not
    /// found count as absent, and only there is it submitted again after a lost answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_found_at: Option<String>,
    /// The trust anchors of `trust.bundle`, and since when they are these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_anchors: Option<TrustAnchors>,
    /// The trust anchors against which the chain of a certificate was verified last, where
    /// `trust.bundle` is given: SHA-256 over their fingerprints. Where they are others now, or none
    /// were yet, `Ready` says that nobody knows whether they are the right ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_verified: Option<String>,
    /// resourceVersion of the credentials Secret that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_resource_version: Option<String>,
    /// When the CA refused the credentials; absent where it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_refused_at: Option<Time>,
    /// The most orders submitted on one UTC day: `limits.ordersPerDay`, or what holds where it is not
    /// set; absent where nothing limits them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders_per_day: Option<u32>,
    /// What is reserved of `limits.ordersPerDay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<DayBudget>,
}

/// The trust anchors of an issuer. When they change, `ca.crt` of what it delivered follows.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustAnchors {
    /// SHA-256 over their fingerprints.
    #[schemars(length(max = 64))]
    pub sha256: String,
    /// When they took the place of others; absent as long as they are the first that were noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// The part of a day's orders that is reserved. What a process reserved and had not submitted when
/// it ended is lost for that day.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DayBudget {
    /// The UTC day, such as `2026-11-28`.
    #[schemars(length(max = 16))]
    pub day: String,
    /// Orders reserved on this day: at least as many as were submitted.
    pub reserved: u32,
    /// The process that made the last reservation.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub by: String,
    /// Orders of this day by namespace, where `limits.ordersPerNamespacePerDay` is set: 500 namespaces
    /// at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 500))]
    pub namespaces: BTreeMap<String, u32>,
    /// Orders of all further namespaces together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub others: u32,
    /// Orders that are reserved and not counted by namespace. Where the process that reserved them is
    /// gone, whose they were is not known, and they are held against no namespace.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uncounted: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The same as an `Issuer`, for the requests of all namespaces. Secrets and ConfigMaps it refers to
/// are in the namespace of the operator.
///
/// A type of its own because the derive ties one spec to one kind; its definition is made from the
/// one of `Issuer`, so that the two cannot part.
#[derive(CustomResource, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "chancery.dev",
    version = "v1alpha1",
    kind = "ClusterIssuer",
    status = "IssuerStatus",
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(transparent)]
pub struct ClusterIssuerSpec {
    /// The fields of an `Issuer`.
    pub issuer: IssuerSpec,
}

/// Which kind of issuer a request refers to.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
)]
pub enum IssuerKind {
    /// An `Issuer` in the namespace of the request.
    #[default]
    Issuer,
    /// A `ClusterIssuer`.
    ClusterIssuer,
}

impl IssuerKind {
    /// The namespace in which a request of this namespace finds it.
    #[must_use]
    pub fn namespace(self, of_request: Option<String>) -> Option<String> {
        match self {
            Self::Issuer => of_request,
            Self::ClusterIssuer => None,
        }
    }
}

impl std::fmt::Display for IssuerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ClusterIssuer => "ClusterIssuer",
            Self::Issuer => "Issuer",
        })
    }
}
