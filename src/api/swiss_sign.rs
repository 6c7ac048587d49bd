//! The blocks for SwissSign: `spec.swissSign` of an issuer and of a request.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reference::SecretReference;

/// An account at SwissSign's RA API, version 2 (OpenAPI 3.5.0).
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("self.acceptTermsAndConditions").message("acceptTermsAndConditions must be true: each order declares that SwissSign's terms are accepted"))]
#[serde(rename_all = "camelCase")]
pub struct SwissSign {
    /// Address of the API without `/v2`: `https://api.ra.swisssign.ch`, or
    /// `https://api.ra.pre.swisssign.ch` for pre-production. Where it is changed, delivered
    /// certificates stay until they are renewed, and an open order waits until the API at the new
    /// address shows it, or another order of ours.
    #[schemars(length(max = 1024))]
    #[x_kube(
        validation = Rule::new("self.matches('^https://[^/?#@ ]+(/[^?# ]*[^/?# ])?$') && !self.endsWith('/v2')").message("url must be an https URL without /v2, user, query, fragment or a slash at its end, such as https://api.ra.swisssign.ch"),
    )]
    pub url: String,
    /// Secret with the keys `username` (the name of the account, such as `MPKI0000001.AutoRAO`) and
    /// `apiKey`. It must carry the label `chancery.dev/credentials: "true"` and list the API's host
    /// in the annotation `chancery.dev/hosts`, with its port where that is not 443; and in
    /// `chancery.dev/trust-anchors` the root of `spec.tls.caBundle`, where there is one. User name and
    /// key may be changed at any time: whoever may order for a client does it for that client.
    pub credentials_secret_ref: SecretReference,
    /// The client (customer) the certificates are for. Where it is changed, delivered certificates
    /// stay until they are renewed, and an open order waits until the first one is back.
    pub client: SwissSignClient,
    /// The product that is ordered where a request names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<SwissSignProduct>,
    /// Must be true: each order declares that SwissSign's terms and conditions are accepted. (The
    /// API takes silence for consent.)
    pub accept_terms_and_conditions: bool,
    /// How the API key becomes a token. `Exchange` (default) asks the API for one; `SelfSigned`
    /// signs one with the key itself, for installations that allow it.
    #[serde(default)]
    pub authentication: SwissSignAuthentication,
    /// How orders are submitted. `Named` (default) sends a name with each order, so that an order
    /// whose answer was lost is found again. `CsrOnly` is for accounts that allow nothing but the
    /// bare CSR: an order whose answer was lost then waits for a person.
    #[serde(default)]
    pub submission: SwissSignSubmission,
    /// Has the API examine each order before it is made (default: true), which costs nothing. It
    /// has no effect where `submission` is `CsrOnly`.
    #[serde(default = "yes")]
    pub preflight: bool,
    /// How long an order whose answer was lost is looked for before it is submitted again (default:
    /// `15m`). It must be longer than the time a new order takes to show up in SwissSign's search,
    /// which is documented nowhere, plus any pause of a process: too short a window may buy twice.
    /// It is at least twice the time that the operator gives a call (`--ca-timeout`).
    #[serde(default = "settle_window")]
    #[schemars(length(min = 2, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$') && duration(self) >= duration('3s')").message("settleWindow must be a duration in hours, minutes and seconds, such as 15m"))]
    pub settle_window: String,
}

fn yes() -> bool {
    true
}

fn settle_window() -> String {
    "15m".to_owned()
}

/// A client of SwissSign, by id or by name.
#[derive(KubeSchema, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("has(self.id) != has(self.name)").message("give the client by id or by name, not both"))]
#[serde(rename_all = "camelCase")]
pub struct SwissSignClient {
    /// Its id: `cli-` and a UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^cli-[0-9a-f-]{36}$')").message("id must be cli- and a lower-case UUID"))]
    #[schemars(length(max = 40))]
    pub id: Option<String>,
    /// Its name, which only one client may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
}

/// A product of SwissSign, by id or by name.
#[derive(KubeSchema, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("has(self.id) != has(self.name)").message("give the product by id or by name, not both"))]
#[serde(rename_all = "camelCase")]
pub struct SwissSignProduct {
    /// Its id: `pma-` and a UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^pma-[0-9a-f-]{36}$')").message("id must be pma- and a lower-case UUID"))]
    #[schemars(length(max = 40))]
    pub id: Option<String>,
    /// Its name, which only one product of the client may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
}

/// How an API key becomes a token.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SwissSignAuthentication {
    /// By `/v2/jwt`.
    #[default]
    Exchange,
    /// By HMAC-SHA256 with the API key.
    SelfSigned,
}

/// How orders are submitted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SwissSignSubmission {
    /// By `/v2/issue`, with the order's reference among its tags.
    #[default]
    Named,
    /// By `/v2/issue/csr`, which takes no name.
    CsrOnly,
}

/// What an order at SwissSign says beside the names.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SwissSignOrder {
    /// The product, in place of the one the Issuer names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<SwissSignProduct>,
}
