//! Bodies of requests as the specification spells them.
//!
//! A key that the specification does not have is refused: what the real server does with one is not
//! known, and a misspelled option that passes in silence helps nobody.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A field that is absent or has a value; `null` is refused, for it is not declared nullable.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// IssueRequest.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IssueRequest {
    pub(super) product_reference: String,
    #[serde(default)]
    pub(super) csr: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) note: Option<String>,
    #[serde(default)]
    pub(super) synchrone: bool,
    #[serde(default)]
    pub(super) include_certificate_chain: bool,
    /// Leaving it out means yes.
    #[serde(default = "yes")]
    pub(super) accept_tand_c: bool,
    /// No product of ours publishes.
    #[serde(default, deserialize_with = "present", rename = "publishCertificate")]
    pub(super) _publish_certificate: Option<bool>,
    #[serde(default)]
    pub(super) overrides: Option<Overrides>,
    /// Skipped in silence, as for every product that disallows them.
    #[serde(default, rename = "additionalRecipients")]
    pub(super) _additional_recipients: Vec<Recipient>,
    /// Skipped in silence, as for every product that disallows them.
    #[serde(default, rename = "registrationDocuments")]
    pub(super) _registration_documents: Vec<Document>,
}

fn yes() -> bool {
    true
}

/// AdditionalRecipient.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Recipient {
    #[serde(rename = "email")]
    _email: String,
    #[serde(rename = "recipientType")]
    _recipient_type: RecipientType,
    #[serde(rename = "language")]
    _language: Language,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum RecipientType {
    DnsOwnerCheckEmailLink,
    DnsCab,
    Issuance,
    Revocation,
    Renewal,
    Recovery,
    Authorization,
    AuthorizationAccepted,
    AuthorizationRejected,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Language {
    Neutral,
    En,
    Fr,
    De,
}

/// A registration document.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    #[serde(rename = "documentName")]
    _document_name: String,
    #[serde(rename = "document")]
    _document: String,
}

/// What replaces or completes the CSR.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Overrides {
    #[serde(default, rename = "subjectDN")]
    pub(super) subject_dn: Option<String>,
    #[serde(default)]
    pub(super) validity: Option<i64>,
    #[serde(default)]
    pub(super) request_extensions: Option<RequestExtensions>,
}

/// Names beside those of the CSR. The last five are taken and have no effect on our certificates.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RequestExtensions {
    #[serde(default, rename = "requestDNS")]
    pub(super) request_dns: Option<Values<RequestDns>>,
    #[serde(default, rename = "requestRFC822")]
    pub(super) request_rfc822: Option<Values<String>>,
    #[serde(default, rename = "requestUPN")]
    pub(super) request_upn: Option<Values<String>>,
    #[serde(default, rename = "requestIP")]
    pub(super) request_ip: Option<Values<String>>,
    #[serde(default, rename = "requestRole")]
    pub(super) _request_role: Option<Single>,
    #[serde(default, rename = "requestDeviceSerialNumber")]
    pub(super) _request_device_serial_number: Option<Single>,
    #[serde(default, rename = "requestScope")]
    pub(super) _request_scope: Option<Single>,
    #[serde(default, rename = "microsoftSecurityIdentifier")]
    pub(super) _microsoft_security_identifier: Option<String>,
    #[serde(default, rename = "microsoftPolicyTemplateOID")]
    pub(super) _microsoft_policy_template_oid: Option<String>,
}

/// `{ "values": […] }`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Values<T> {
    pub(super) values: Vec<T>,
}

/// `{ "value": … }`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Single {
    #[serde(rename = "value")]
    _value: Option<String>,
}

/// A host name and what goes with it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestDns {
    pub(super) dns: String,
    #[serde(default, rename = "includeBaseDomainForWildcard")]
    pub(super) include_base_domain_for_wildcard: bool,
    #[serde(default, rename = "includeWWWDomain")]
    pub(super) include_www_domain: bool,
}

/// SearchCertificateOrder: every field optional and nullable.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Search {
    pub(super) order_reference: Option<String>,
    pub(super) serial_number: Option<String>,
    pub(super) order_status: Option<Vec<OrderStatus>>,
    pub(super) revocation_reason: Option<Vec<RevocationReason>>,
    pub(super) client_references: Option<Vec<String>>,
    pub(super) start_after: Option<Timestamp>,
    pub(super) start_before: Option<Timestamp>,
    pub(super) attribute: Option<String>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) include_certificate_chain: Option<bool>,
}

/// CertificateOrderStatus: only upper case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum OrderStatus {
    New,
    KeyValidation,
    PreValidation,
    GenerateTbs,
    PendingAuth,
    PreIssue,
    Issue,
    PostValidation,
    FinalizeIssuance,
    Issued,
    Revoked,
    Failed,
    Rejected,
    PendingCsrRenewal,
    Unknown,
}

impl OrderStatus {
    /// Whether a status on the wire is this one. Whatever is none of them counts as unknown.
    pub(super) fn is(self, state: &str) -> bool {
        let upper = Value::String(state.to_ascii_uppercase());
        serde_json::from_value(upper).unwrap_or(Self::Unknown) == self
    }
}

/// RevocationReason of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum RevocationReason {
    Unused,
    KeyCompromise,
    CACompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
    CertificateHold,
    RemoveFromCrl,
    PrivilegeWithdrawn,
    AACompromise,
}

impl RevocationReason {
    /// Whether a request may name it.
    pub(super) fn is_requestable(self) -> bool {
        matches!(
            self,
            Self::Unused
                | Self::KeyCompromise
                | Self::AffiliationChanged
                | Self::Superseded
                | Self::CessationOfOperation
        )
    }
}

/// RevocationRequest.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RevocationRequest {
    pub(super) serial_number: String,
    pub(super) issuer_name: String,
    pub(super) revocation_reason: RevocationReason,
    #[serde(default)]
    pub(super) revocation_requestor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_specification_does_not_know_is_refused() {
        let rows = [
            (r#"{"productReference": "p"}"#, true),
            (r#"{"productReference": "p", "csr": null}"#, true),
            (r#"{"productReference": "p", "synchronous": false}"#, false),
            (r#"{"csr": "x"}"#, false),
            (r#"{"productReference": "p", "acceptTandC": "yes"}"#, false),
            (r#"{"productReference": "p", "acceptTandC": true}"#, true),
            (
                r#"{"productReference": "p", "overrides": {"requestExtensions":
                {"requestDNS": {"values": [{"dns": "a"}]}}}}"#,
                true,
            ),
            (
                r#"{"productReference": "p", "overrides": {"requestExtensions":
                {"requestDNS": {"dnsList": [{"dns": "a"}]}}}}"#,
                false,
            ),
            (
                r#"{"productReference": "p", "additionalRecipients":
                [{"email": "a@b", "recipientType": "ISSUANCE", "language": "EN"}]}"#,
                true,
            ),
            (r#"{"productReference": "p", "additionalRecipients": [{"email": "a@b"}]}"#, false),
        ];
        for (body, is_taken) in rows {
            let parsed = serde_json::from_str::<IssueRequest>(body);
            assert_eq!(parsed.is_ok(), is_taken, "{body}: {parsed:?}");
        }
        let rows = [
            ("{}", true),
            (r#"{"tags": null, "orderStatus": ["ISSUED", "PENDING_CSR_RENEWAL"]}"#, true),
            (r#"{"orderStatus": ["issued"]}"#, false),
            (r#"{"startAfter": "2026-01-01T00:00:00Z"}"#, true),
            (r#"{"startAfter": "2026-01-01"}"#, false),
            (r#"{"revocationReason": ["C_A_COMPROMISE", "A_A_COMPROMISE", "UNUSED"]}"#, true),
            (r#"{"revocationReason": ["superseded"]}"#, false),
            (r#"{"productReference": "p"}"#, false),
        ];
        for (body, is_taken) in rows {
            let parsed = serde_json::from_str::<Search>(body);
            assert_eq!(parsed.is_ok(), is_taken, "{body}: {parsed:?}");
        }
    }
}
