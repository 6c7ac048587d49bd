//! The blocks for the SSL purchase API: `spec.sslPurchase` of an issuer and of a request.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reference::SecretReference;

/// An account at a reseller with the SSL purchase API of Resello (`/ssl-certificate`).
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SslPurchase {
    /// Address of the API, without `/ssl-certificate`: the reseller's portal shows it. Where it is
    /// changed, delivered certificates stay until they are renewed, and are then ordered anew.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https://[^/?#@ ]+(/[^?# ]*)?$') && !self.matches('/ssl-certificate/?$')").message("url must be an https URL without /ssl-certificate, user, query or fragment, such as https://reseller.example/api/v1"))]
    pub url: String,
    /// Secret with the keys that `authentication` asks for: `username` and `apiKey`, or `clientId` and
    /// `clientSecret`, or `apiKey` alone. It must carry the label `chancery.dev/credentials: "true"`
    /// and list the API's host in the annotation `chancery.dev/hosts`, and with `oidc` that of
    /// `tokenUrl` too, each with its port where that is not 443; and in `chancery.dev/trust-anchors`
    /// the root of `spec.tls.caBundle`, where there is one. What is in it may be changed at any time
    /// for the same account.
    pub credentials_secret_ref: SecretReference,
    /// Reference of the account at the reseller: whom certificates are bought for. With `basic` it must
    /// be the `username` of the Secret, so that credentials of another account buy nothing by mistake;
    /// with `oidc` it is sent as the header `Realm`. Where it is changed, delivered certificates stay until they are
    /// renewed, and an open order waits until the first one is back.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new("self.matches('^[-A-Za-z0-9._@+]+$')").message("reseller must be letters, digits and any of - . _ @ +"))]
    pub reseller: String,
    /// How requests say who sends them. Default: `basic: {}`.
    #[serde(default)]
    pub authentication: SslPurchaseAuthentication,
    /// The plan that is bought where a request names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<SslPurchasePlan>,
    /// What is examined before a certificate is issued (default: `DV`, domains alone). For `OV` and
    /// `EV` the API asks for `contact.firstName`, `contact.lastName`, `company.chamberOfCommerce`
    /// and `company.department`: an order without them is refused before it is made.
    #[serde(default)]
    pub validation_level: SslPurchaseValidation,
    /// Who approves orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<SslPurchaseContact>,
    /// For whom certificates are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<SslPurchaseCompany>,
    /// How it is shown that a domain is held: by a mail to `contact.emailAddress`, by a file that
    /// is served over plain HTTP, or by a DNS record. File and record are in the message of the
    /// request as soon as the API tells them.
    pub dcv_type: SslPurchaseDcv,
    /// An order of Encryption Everywhere that each first order takes the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub ee_reference_order_id: Option<String>,
    /// Words for the state of an order, beside those that Chancery knows. A word that is in no list
    /// counts as waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_words: Option<SslPurchaseStatusWords>,
    /// Whether certificates of the plan hold several names, apart from a name and its `www` twin. With
    /// `false` a request for more is refused before it costs anything. Left out it is not known: names
    /// are sent as asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_domain: Option<bool>,
    /// Whether certificates of the plan hold wildcard names. With `false` a request for one is refused
    /// before it costs anything. Left out it is not known: they are sent as asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wildcard: Option<bool>,
    /// Refuses several names and wildcard names also where `multiDomain` and `wildcard` do not say
    /// that the plan holds them.
    #[serde(default)]
    pub strict_names: bool,
    /// Refuses requests without a common name. The API takes names from the CSR alone, and some
    /// plans look at nothing else of it.
    #[serde(default)]
    pub require_common_name: bool,
    /// Allows keys on the elliptic curves P-256 and P-384. The API says nothing of them, and every
    /// plan takes RSA.
    #[serde(default)]
    pub allow_ecdsa: bool,
    /// What happens where a certificate ends before its order can be renewed, within the term that is
    /// paid. `Always` has it reissued, which costs nothing and **ends the certificate before at
    /// once**, before the new one is in the Secret. `OnRequest` does so only when somebody asks for
    /// it, by the annotation `chancery.dev/renew` of the request. `Never` does nothing. Where nothing
    /// is done the request says from when on its order can be renewed. A certificate that has expired
    /// is reissued whatever the policy.
    pub reissue_policy: SslPurchaseReissue,
    /// So many days before the end of its term an order can be renewed, where the list of plans does
    /// not tell (default: 30).
    #[serde(default = "renewal_window")]
    #[schemars(range(min = 1, max = 3650))]
    pub renewal_window: u16,
    /// How long an order whose answer was lost is looked for before it is submitted again (default:
    /// `15m`). It must be longer than the time a new order takes to show up in the list, which is
    /// documented nowhere, plus any pause of a process: too short a window may buy twice. It is at
    /// least twice the time that the operator gives a call (`--ca-timeout`).
    #[serde(default = "settle_window")]
    #[schemars(length(min = 2, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$') && duration(self) >= duration('3s')").message("settleWindow must be a duration in hours, minutes and seconds, such as 15m"))]
    pub settle_window: String,
    /// Paths below `url`, where the reseller has others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<SslPurchasePaths>,
}

fn renewal_window() -> u16 {
    30
}

fn settle_window() -> String {
    "15m".to_owned()
}

/// How requests say who sends them: exactly one way.
#[derive(KubeSchema, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("[has(self.basic), has(self.oidc), has(self.header)].filter(given, given).size() == 1").message("authentication must be exactly one of basic, oidc and header"))]
#[serde(rename_all = "camelCase")]
pub struct SslPurchaseAuthentication {
    /// HTTP Basic with `username` and `apiKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<SslPurchaseBasic>,
    /// OpenID Connect: `clientId` and `clientSecret` get a token (client credentials), which goes to
    /// the host of `url` and to no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<SslPurchaseOidc>,
    /// A header of the reseller's own, with `apiKey` in it. It does not say whose key it is, so that a
    /// first order whose answer was lost is not searched for and waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<SslPurchaseHeader>,
}

impl Default for SslPurchaseAuthentication {
    fn default() -> Self {
        Self { basic: Some(SslPurchaseBasic {}), oidc: None, header: None }
    }
}

/// HTTP Basic: there is nothing more to say.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SslPurchaseBasic {}

/// Where tokens are obtained.
#[derive(KubeSchema, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SslPurchaseOidc {
    /// The token endpoint, as the reseller's portal shows it.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https://[^/?#@ ]+(/[^?# ]*)?$')").message("tokenUrl must be an https URL without user, query or fragment, such as https://login.reseller.example/token"))]
    pub token_url: String,
}

/// A header that carries the API key.
#[derive(KubeSchema, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SslPurchaseHeader {
    /// Its name, such as `X-APIKEY`.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9-]+$') && !self.matches('(?i)^(accept|accept-encoding|authorization|connection|content-encoding|content-length|content-type|cookie|expect|forwarded|host|keep-alive|realm|te|trailer|transfer-encoding|upgrade|user-agent|via|proxy-.*|x-forwarded-.*)$')").message("header.name must be the name of a header of the reseller's own, such as X-APIKEY, and none that HTTP has a meaning for"))]
    pub name: String,
}

/// A plan, by id or by name.
#[derive(KubeSchema, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("has(self.id) != has(self.name)").message("give the plan by id or by name, not both"))]
#[serde(rename_all = "camelCase")]
pub struct SslPurchasePlan {
    /// Its id, a UUID. The account need not be allowed to list plans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$')").message("id must be a UUID"))]
    #[schemars(length(max = 40))]
    pub id: Option<String>,
    /// Its name, which only one plan may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
}

/// What is examined before a certificate is issued.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SslPurchaseValidation {
    /// That its domains are held.
    #[default]
    #[serde(rename = "DV")]
    Domain,
    /// And the organization.
    #[serde(rename = "OV")]
    Organization,
    /// And more of the organization.
    #[serde(rename = "EV")]
    Extended,
}

/// Who approves orders.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SslPurchaseContact {
    /// First name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub first_name: Option<String>,
    /// Last name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub last_name: Option<String>,
    /// Address of the mail that is answered where `dcvType` is `EMAIL`. A CA takes `admin`,
    /// `administrator`, `hostmaster`, `postmaster` or `webmaster` at the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 254))]
    #[x_kube(validation = Rule::new("self.matches('^[^@ ]+@[^@ ]+$')").message("emailAddress must be an address such as hostmaster@example.org"))]
    pub email_address: Option<String>,
    /// Telephone number, such as `+31.612345678`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub phone: Option<String>,
}

/// For whom certificates are.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SslPurchaseCompany {
    /// Its name. Left out, the reseller takes the organization of the CSR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
    /// Number at the chamber of commerce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub chamber_of_commerce: Option<String>,
    /// Department.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub department: Option<String>,
    /// Street and number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub address: Option<String>,
    /// Town of its seat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub city: Option<String>,
    /// Postal code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub zip_code: Option<String>,
}

/// How it is shown that a domain is held.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SslPurchaseDcv {
    /// By a mail that somebody answers.
    #[serde(rename = "EMAIL")]
    Email,
    /// By a file.
    #[serde(rename = "FILE")]
    File,
    /// By a record.
    #[serde(rename = "DNS")]
    Dns,
}

/// What happens where a certificate ends before its order can be renewed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SslPurchaseReissue {
    /// Nothing.
    Never,
    /// It is reissued when somebody asks for it.
    OnRequest,
    /// It is reissued.
    Always,
}

/// Words for the state of an order. Letters count without their case, and `-` and blanks as `_`.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SslPurchaseStatusWords {
    /// The certificate is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)))]
    pub issued: Vec<String>,
    /// The order is under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)))]
    pub waiting: Vec<String>,
    /// The order has ended without a certificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)))]
    pub failed: Vec<String>,
}

/// Paths below `url`, each with a slash at its beginning. `{id}` stands for the id of the order.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[x_kube(
    validation = Rule::new("[has(self.list) ? self.list : '/', has(self.plans) ? self.plans : '/'].all(path, path.matches('^(/[-A-Za-z0-9._~]*)+$') && !path.matches('/[.]{1,2}(/|$)'))").message("list and plans must be paths such as /ssl-certificate"),
    validation = Rule::new("[has(self.one) ? self.one : '/{id}', has(self.renew) ? self.renew : '/{id}', has(self.reissue) ? self.reissue : '/{id}', has(self.validate) ? self.validate : '/{id}', has(self.validationDetails) ? self.validationDetails : '/{id}', has(self.downloadCrt) ? self.downloadCrt : '/{id}', has(self.downloadCa) ? self.downloadCa : '/{id}', has(self.downloadPkcs7) ? self.downloadPkcs7 : '/{id}', has(self.downloadZip) ? self.downloadZip : '/{id}', has(self.downloadCsr) ? self.downloadCsr : '/{id}'].all(path, path.matches('^(/[-A-Za-z0-9._~]+)*/[{]id[}](/[-A-Za-z0-9._~]+)*$') && !path.matches('/[.]{1,2}(/|$)'))").message("each path of an order must hold {id} once as a part of its own, such as /ssl-certificate/{id}/renew"),
)]
#[serde(rename_all = "camelCase")]
pub struct SslPurchasePaths {
    /// The list of orders, and where one is bought (default: `/ssl-certificate`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub list: Option<String>,
    /// The list of plans (default: `/ssl-certificate-plan`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub plans: Option<String>,
    /// One order (default: `/ssl-certificate/{id}`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub one: Option<String>,
    /// Its renewal (default: `/ssl-certificate/{id}/renew`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub renew: Option<String>,
    /// Its reissue (default: `/ssl-certificate/{id}/reissue`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reissue: Option<String>,
    /// Another look at its domains (default: `/ssl-certificate/{id}/validate`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub validate: Option<String>,
    /// What is still to be shown (default: `/ssl-certificate/{id}/validation-details`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub validation_details: Option<String>,
    /// Its certificate (default: `/ssl-certificate/{id}/download-crt`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub download_crt: Option<String>,
    /// The certificates of its CA (default: `/ssl-certificate/{id}/download-ca`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub download_ca: Option<String>,
    /// All of them as PKCS #7 (default: `/ssl-certificate/{id}/download-pkcs7`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub download_pkcs7: Option<String>,
    /// All of them in a zip file (default: `/ssl-certificate/{id}/download-zip`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub download_zip: Option<String>,
    /// The CSR that it was ordered with (default: `/ssl-certificate/{id}/download-csr`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub download_csr: Option<String>,
}

/// What an order says beside the names, each in place of what the Issuer says. A plan that changes has
/// the certificate ordered anew; the rest counts from the next order on.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SslPurchaseOrder {
    /// The plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<SslPurchasePlan>,
    /// Who approves the order, field by field. The issuer must allow it (`allow.ownContact`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<SslPurchaseContact>,
    /// For whom the certificate is, field by field. The issuer must allow it (`allow.ownContact`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<SslPurchaseCompany>,
    /// How it is shown that the domain is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dcv_type: Option<SslPurchaseDcv>,
}
