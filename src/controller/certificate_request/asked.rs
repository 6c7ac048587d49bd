//! What a request asks of the certificate: from the API's fields to plain values.

use std::net::IpAddr;

use jiff::SignedDuration;

use crate::api::{CertificateRequestSpec, KeyAlgorithm, KeyUsage, PrivateKeySpec, Subject};
use crate::issuance::allow::rules::usage;
use crate::pki::names::{Attribute, AttributeType, Usage};
use crate::pki::{KeyKind, Names};

/// The names, and what the key is for.
pub(in crate::controller) fn names(spec: &CertificateRequestSpec) -> Names {
    let listed = |texts: &Option<Vec<String>>| texts.clone().unwrap_or_default();
    Names {
        common_name: spec.common_name.clone(),
        subject: spec.subject.as_ref().map(attributes).unwrap_or_default(),
        dns_names: listed(&spec.dns_names),
        // What is none is told of by `misread`.
        ip_addresses: spec.ip_addresses.iter().flatten().flat_map(|text| text.parse()).collect(),
        uris: listed(&spec.uris),
        email_addresses: listed(&spec.email_addresses),
        usages: usages(spec.usages.as_deref().unwrap_or_default()),
    }
}

/// The first of the IP addresses that is none. Admission let only addresses pass.
pub(in crate::controller) fn misread(spec: &CertificateRequestSpec) -> Option<String> {
    let mut addresses = spec.ip_addresses.iter().flatten();
    let misread = addresses.find(|text| text.parse::<IpAddr>().is_err())?;
    Some(format!("{misread:?} in spec.ipAddresses is no IP address: write one such as 192.0.2.1"))
}

/// The lifetime to ask for. Admission let only durations of hours, minutes and seconds pass.
pub(in crate::controller) fn duration(spec: &CertificateRequestSpec) -> Option<SignedDuration> {
    spec.duration.as_ref().and_then(|text| text.parse().ok())
}

/// From the general to the particular, in the order of the fields.
fn attributes(subject: &Subject) -> Vec<Attribute> {
    use AttributeType as Type;
    let many = |kind, values: &Option<Vec<String>>| -> Vec<Attribute> {
        values.iter().flatten().map(|value| Attribute { kind, value: value.clone() }).collect()
    };
    let one = |kind, value: &Option<String>| -> Vec<Attribute> {
        value.iter().map(|value| Attribute { kind, value: value.clone() }).collect()
    };
    [
        many(Type::DomainComponent, &subject.domain_components),
        many(Type::Country, &subject.countries),
        many(Type::StateOrProvince, &subject.provinces),
        many(Type::Locality, &subject.localities),
        many(Type::PostalCode, &subject.postal_codes),
        many(Type::Street, &subject.street_addresses),
        many(Type::Organization, &subject.organizations),
        one(Type::OrganizationIdentifier, &subject.organization_identifier),
        many(Type::OrganizationalUnit, &subject.organizational_units),
        one(Type::JurisdictionCountry, &subject.jurisdiction_country),
        one(Type::JurisdictionStateOrProvince, &subject.jurisdiction_province),
        one(Type::JurisdictionLocality, &subject.jurisdiction_locality),
        one(Type::BusinessCategory, &subject.business_category),
        one(Type::SerialNumber, &subject.serial_number),
        one(Type::Title, &subject.title),
        one(Type::Surname, &subject.surname),
        one(Type::GivenName, &subject.given_name),
        many(Type::UserId, &subject.user_ids),
        many(Type::EmailAddress, &subject.email_addresses),
    ]
    .concat()
}

/// Each once, in one order, whatever the words.
fn usages(words: &[KeyUsage]) -> Vec<Usage> {
    let mut usages: Vec<Usage> = words.iter().copied().map(usage).collect();
    usages.sort_unstable();
    usages.dedup();
    usages
}

/// The kind of key. Admission let only sizes pass that fit the algorithm.
pub(in crate::controller) fn key_kind(key: &PrivateKeySpec) -> KeyKind {
    match (key.algorithm, key.size) {
        (KeyAlgorithm::Ecdsa, Some(384)) => KeyKind::EcdsaP384,
        (KeyAlgorithm::Ecdsa, Some(521)) => KeyKind::EcdsaP521,
        (KeyAlgorithm::Ecdsa, _) => KeyKind::EcdsaP256,
        (KeyAlgorithm::Ed25519, _) => KeyKind::Ed25519,
        (KeyAlgorithm::Rsa, Some(3072)) => KeyKind::Rsa3072,
        (KeyAlgorithm::Rsa, Some(4096)) => KeyKind::Rsa4096,
        (KeyAlgorithm::Rsa, _) => KeyKind::Rsa2048,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pki::csr;

    fn spec(asked: serde_json::Value) -> CertificateRequestSpec {
        let mut spec = json!({"issuerRef": {"name": "ca"}, "secretName": "tls"});
        spec.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn every_field_of_the_subject_arrives_in_the_order_of_the_schema() {
        let asked = spec(json!({"subject": {
            "emailAddresses": ["t@example.org"], "userIds": ["s"], "givenName": "r", "surname": "q",
            "title": "p", "serialNumber": "o", "businessCategory": "n",
            "jurisdictionLocality": "m", "jurisdictionProvince": "l", "jurisdictionCountry": "KK",
            "organizationalUnits": ["j", "i", "j"], "organizationIdentifier": "h",
            "organizations": ["g"], "streetAddresses": ["f"], "postalCodes": ["e"],
            "localities": ["d"], "provinces": ["c"], "countries": ["BB"],
            "domainComponents": ["a", "a"],
        }}));
        let names = names(&asked);
        let values: Vec<&str> = names.subject.iter().map(|one| one.value.as_str()).collect();
        let expected = [
            "a",
            "a",
            "BB",
            "c",
            "d",
            "e",
            "f",
            "g",
            "h",
            "j",
            "i",
            "j",
            "KK",
            "l",
            "m",
            "n",
            "o",
            "p",
            "q",
            "r",
            "s",
            "t@example.org",
        ];
        assert_eq!(values, expected);
        let written = serde_json::to_value(asked.subject).unwrap();
        assert_eq!(written.as_object().unwrap().len(), 19, "a field is left out here");
        let key = crate::pki::PrivateKey::generate(KeyKind::Ed25519).unwrap();
        csr::build(&key, &names).unwrap();
    }

    #[test]
    fn names_usages_and_lifetime_arrive() {
        let asked = spec(json!({
            "commonName": "shop", "dnsNames": ["a.example"], "ipAddresses": ["192.0.2.1", "::1"],
            "uris": ["urn:uuid:1"], "emailAddresses": ["a@b.example"], "duration": "1h30m",
            "usages": ["signing", "digital signature", "server auth", "s/mime"],
        }));
        let expected = Names {
            common_name: Some("shop".to_owned()),
            dns_names: vec!["a.example".to_owned()],
            ip_addresses: vec!["192.0.2.1".parse().unwrap(), "::1".parse().unwrap()],
            uris: vec!["urn:uuid:1".to_owned()],
            email_addresses: vec!["a@b.example".to_owned()],
            usages: vec![Usage::DigitalSignature, Usage::ServerAuth, Usage::EmailProtection],
            ..Names::default()
        };
        assert_eq!(names(&asked), expected);
        assert_eq!(duration(&asked), Some(SignedDuration::from_mins(90)));
        assert_eq!(duration(&spec(json!({}))), None);
        assert_eq!(misread(&asked), None);
        let none = spec(json!({"ipAddresses": ["192.0.2.1", "192.0.2.x"]}));
        assert!(misread(&none).is_some_and(|why| why.contains("192.0.2.x")));
    }

    /// Whoever adds a field to requests decides whether `spec.allow` of issuers has to know of it.
    #[test]
    fn every_field_of_a_request_is_judged_or_is_nothing_to_the_ca() {
        const JUDGED: [&str; 10] = [
            "commonName",
            "csrSecretRef",
            "dnsNames",
            "duration",
            "emailAddresses",
            "ipAddresses",
            "privateKey",
            "subject",
            "uris",
            "usages",
        ];
        const NOTHING_TO_THE_CA: [&str; 6] = [
            "issuerRef",
            "renewBefore",
            "renewBeforePercentage",
            "secretName",
            "secretTemplate",
            "suspend",
        ];
        // Blocks are taken apart by their kind, field by field.
        let blocks = crate::ca::registry::KINDS.iter().map(|kind| kind.field());
        let known: std::collections::BTreeSet<&str> =
            JUDGED.into_iter().chain(NOTHING_TO_THE_CA).chain(blocks).collect();
        let (_, crd) = crate::api::crds().swap_remove(0);
        let crd = serde_json::to_value(crd).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let fields = spec["properties"].as_object().unwrap().keys().map(String::as_str);
        assert_eq!(fields.collect::<std::collections::BTreeSet<_>>(), known);
    }
}
