//! The kinds of CA that this version knows, and which of them an object means.

use super::Blocks;
use super::kind::{AccountSettings, Kind};
use crate::api::{CertificateRequestSpec, IssuerSpec};
use crate::outside::{Disposition, Error};
use crate::reason::Reason;

/// All of them.
#[rustfmt::skip] // One line each.
pub const KINDS: &[&dyn Kind] = &[
    super::online_ca::KIND,
    super::ssl_purchase::KIND,
    super::swisssign::KIND,
];

/// The account that an Issuer describes.
///
/// # Errors
/// When it describes none, which admission refuses: the object is from another version.
pub fn account(spec: &IssuerSpec) -> Result<&dyn AccountSettings, Error> {
    KINDS.iter().find_map(|kind| kind.account(spec)).ok_or_else(|| {
        let fields: Vec<String> =
            KINDS.iter().map(|kind| format!("spec.{}", kind.field())).collect();
        Error {
            disposition: Disposition::BlameIssuer,
            reason: Reason::KindUnknown,
            message: format!(
                "spec names no kind of CA that this version knows: set {}",
                fields.join(" or ")
            ),
        }
    })
}

/// Every Secret with credentials that an Issuer refers to, in its block for the CA or for the way
/// there. When one of them changes, the account is opened anew.
#[must_use]
pub fn secrets(spec: &IssuerSpec) -> Vec<&str> {
    let proxy = spec.proxy.as_ref().and_then(|proxy| proxy.credentials_secret_ref.as_ref());
    let account = KINDS.iter().find_map(|kind| kind.account(spec));
    let mut secrets = account.map(|account| account.secrets()).unwrap_or_default();
    secrets.extend(proxy.map(|secret| secret.name.as_str()));
    secrets
}

/// The field of the kind of CA that an Issuer describes, in its spec and in that of a request; empty
/// where it describes none.
#[must_use]
pub fn field(spec: &IssuerSpec) -> &'static str {
    KINDS.iter().find(|kind| kind.account(spec).is_some()).map_or("", |kind| kind.field())
}

/// What a request says to one kind of CA only.
#[must_use]
pub fn blocks(spec: &CertificateRequestSpec) -> Blocks {
    KINDS.iter().fold(Blocks::default(), |blocks, kind| match kind.asked(spec).block {
        Some(block) => blocks.with(kind.field(), block),
        None => blocks,
    })
}

/// Secret with the request's own credentials, in its block for the kind of CA whose field is `field`;
/// in any block where that is not known.
#[must_use]
pub fn own_credentials<'a>(
    spec: &'a CertificateRequestSpec,
    field: Option<&str>,
) -> Option<&'a str> {
    let mut kinds = KINDS.iter().filter(|kind| field.is_none_or(|field| field == kind.field()));
    kinds.find_map(|kind| kind.asked(spec).credentials)
}

/// The product that a request names, in whatever block, with the field in which it does.
#[must_use]
pub fn own_product(spec: &CertificateRequestSpec) -> Option<(String, String)> {
    KINDS.iter().find_map(|kind| {
        let words = kind.asked(spec).product?;
        Some((format!("spec.{}.{}", kind.field(), kind.product_field()), words))
    })
}

/// The field in which a request names a person or a company for the CA to ask, in whatever block.
#[must_use]
pub fn own_contact(spec: &CertificateRequestSpec) -> Option<String> {
    KINDS.iter().find_map(|kind| {
        let field = kind.asked(spec).contact?;
        Some(format!("spec.{}.{field}", kind.field()))
    })
}

/// The field of the block in which a request names credentials of its own.
#[must_use]
pub fn names_credentials(spec: &CertificateRequestSpec) -> Option<&'static str> {
    let mut kinds = KINDS.iter().filter(|kind| kind.asked(spec).credentials.is_some());
    kinds.next().map(|kind| kind.field())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_two_kinds_share_a_field_or_a_name() {
        for (at, kind) in KINDS.iter().enumerate() {
            let rest = &KINDS[at + 1..];
            assert!(rest.iter().all(|other| other.field() != kind.field()), "{}", kind.field());
            assert!(rest.iter().all(|other| other.name() != kind.name()), "{}", kind.name());
        }
    }

    /// A kind that is listed and has no field in the API could never be named.
    #[test]
    fn every_kind_has_its_field_in_the_api() {
        for (name, crd) in crate::api::crds() {
            let schema = serde_json::to_value(&crd).unwrap();
            let spec =
                &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
            for kind in KINDS.iter().filter(|_| name != "certificaterequests.yaml") {
                assert!(!spec["properties"][kind.field()].is_null(), "{name}: {}", kind.field());
            }
        }
    }

    #[test]
    fn an_issuer_without_a_kind_is_told_what_to_set() {
        let error = account(&serde_json::from_value(json!({})).unwrap()).err().unwrap();
        assert_eq!(error.reason, Reason::KindUnknown);
        for kind in KINDS {
            assert!(error.message.contains(&format!("spec.{}", kind.field())), "{error}");
        }
    }
}
