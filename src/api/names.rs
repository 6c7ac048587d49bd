//! What a request may say of the subject and of the uses of a key, in the words of cert-manager
//! where it has some.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The subject of a certificate, apart from its common name.
///
/// It is written from the general to the particular, in the order of the fields here; values of one
/// field stay in the order given and may repeat.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[schemars(extend("minProperties" = 1))]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Domain components (DC), the top level first, such as `org`, `example`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63)))]
    #[x_kube(validation = Rule::new("self.all(part, part.matches('^[!-~]+$'))").message("each of subject.domainComponents must be one label of a domain in ASCII: write example.org as org, example"))]
    pub domain_components: Option<Vec<String>>,
    /// Countries (C) as two capital letters, such as `CH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4), inner(length(max = 2)))]
    #[x_kube(validation = Rule::new("self.all(country, country.matches('^[A-Z]{2}$'))").message("each of subject.countries must be the two capital letters of a country, such as CH"))]
    pub countries: Option<Vec<String>>,
    /// States or provinces (ST).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 128)))]
    pub provinces: Option<Vec<String>>,
    /// Cities (L).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 128)))]
    pub localities: Option<Vec<String>>,
    /// Postal codes (`postalCode`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 40)))]
    pub postal_codes: Option<Vec<String>>,
    /// Street addresses (`street`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 128)))]
    pub street_addresses: Option<Vec<String>>,
    /// Organizations (O).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 64)))]
    pub organizations: Option<Vec<String>>,
    /// Registered number of the organization (`organizationIdentifier`, ETSI EN 319 412-1), such as
    /// `VATCH-CHE-123.456.789`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub organization_identifier: Option<String>,
    /// Organizational units (OU).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 64)))]
    pub organizational_units: Option<Vec<String>>,
    /// Country in which the organization is registered, as two capital letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Z]{2}$')").message("subject.jurisdictionCountry must be the two capital letters of a country, such as CH"))]
    pub jurisdiction_country: Option<String>,
    /// State or province in which the organization is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub jurisdiction_province: Option<String>,
    /// City in which the organization is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub jurisdiction_locality: Option<String>,
    /// Kind of organization (`businessCategory`), such as `Private Organization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub business_category: Option<String>,
    /// Serial number of the subject, such as a registration number; not that of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[-A-Za-z0-9 \\'()+,./:=?]+$')").message("subject.serialNumber takes letters, digits, spaces and '()+,-./:=? only"))]
    pub serial_number: Option<String>,
    /// Title of a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub title: Option<String>,
    /// Family name of a person (SN).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub surname: Option<String>,
    /// Given name of a person (GN).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub given_name: Option<String>,
    /// User ids (UID).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 256)))]
    pub user_ids: Option<Vec<String>>,
    /// E-mail addresses in the subject, which some old software looks for there. Where the CA has
    /// no such wish, set `emailAddresses` of the request instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 255)))]
    #[x_kube(validation = Rule::new("self.all(address, address.matches('^[!-?A-~]+@[!-?A-~]+$'))").message("each of subject.emailAddresses must be an address in ASCII such as shop@example.org"))]
    pub email_addresses: Option<Vec<String>>,
}

/// A use of the key, in cert-manager's words.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum KeyUsage {
    /// The same as `digital signature`.
    #[serde(rename = "signing")]
    Signing,
    /// Signatures other than on certificates.
    #[serde(rename = "digital signature")]
    DigitalSignature,
    /// Signatures that commit to what is signed (non-repudiation).
    #[serde(rename = "content commitment")]
    ContentCommitment,
    /// Encrypting keys, as TLS 1.2 with RSA does.
    #[serde(rename = "key encipherment")]
    KeyEncipherment,
    /// Agreeing on keys.
    #[serde(rename = "key agreement")]
    KeyAgreement,
    /// Encrypting data.
    #[serde(rename = "data encipherment")]
    DataEncipherment,
    /// Key agreement for encrypting only.
    #[serde(rename = "encipher only")]
    EncipherOnly,
    /// Key agreement for decrypting only.
    #[serde(rename = "decipher only")]
    DecipherOnly,
    /// Every extended use.
    #[serde(rename = "any")]
    Any,
    /// A TLS server.
    #[serde(rename = "server auth")]
    ServerAuth,
    /// A TLS client.
    #[serde(rename = "client auth")]
    ClientAuth,
    /// Signing code.
    #[serde(rename = "code signing")]
    CodeSigning,
    /// E-mail.
    #[serde(rename = "email protection")]
    EmailProtection,
    /// The same as `email protection`.
    #[serde(rename = "s/mime")]
    Smime,
    /// IPsec end system.
    #[serde(rename = "ipsec end system")]
    IpsecEndSystem,
    /// IPsec tunnel.
    #[serde(rename = "ipsec tunnel")]
    IpsecTunnel,
    /// IPsec user.
    #[serde(rename = "ipsec user")]
    IpsecUser,
    /// Time stamps.
    #[serde(rename = "timestamping")]
    Timestamping,
    /// Answers of OCSP.
    #[serde(rename = "ocsp signing")]
    OcspSigning,
}
