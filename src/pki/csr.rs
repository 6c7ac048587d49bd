//! Certification requests (PKCS#10, RFC 2986).
//!
//! Built with x509-cert's types rather than with rcgen, whose subject is a map with one value for
//! each attribute type: a second organizational unit would silently replace the first.

mod read;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::COMMON_NAME;
use const_oid::db::rfc5280::{ID_CE_EXT_KEY_USAGE, ID_CE_KEY_USAGE, ID_CE_SUBJECT_ALT_NAME};
use const_oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, SHA_256_WITH_RSA_ENCRYPTION,
};
use const_oid::db::rfc8410::ID_ED_25519;
use der::asn1::{
    Any, BitString, Ia5String, Ia5StringRef, OctetString, PrintableStringRef, SetOfVec,
};
use der::flagset::FlagSet;
use der::{Decode as _, Encode as _, Tag};
use x509_cert::attr::{Attribute, AttributeTypeAndValue};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

pub use self::read::{Asked, Csr, ReadError};
use super::key::{self, KeyKind, PrivateKey};
use super::names::{self, AttributeType, Names, Usage, UsageCode};
use super::pem;

/// Why a certification request could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What should be a DNS name is none.
    #[error("\"{name}\" is not a DNS name that a certificate can carry, such as shop.example.org")]
    DnsName {
        /// The name as it was asked for.
        name: String,
    },
    /// What should be a URI is none.
    #[error(
        "\"{uri}\" is not a URI that a certificate can carry: it needs a scheme, as in \
         spiffe://example.org/shop, and what is not ASCII in percent-encoding"
    )]
    Uri {
        /// The URI as it was asked for.
        uri: String,
    },
    /// What should be an e-mail address is none.
    #[error(
        "\"{address}\" is not an e-mail address that a certificate can carry, such as \
         shop@example.org"
    )]
    EmailAddress {
        /// The address as it was asked for.
        address: String,
    },
    /// An attribute of the subject is empty, or has characters that its string type has not.
    #[error("\"{value}\" cannot be the attribute {attribute} of a subject{}", advice(*.attribute))]
    Subject {
        /// The type of the attribute.
        attribute: AttributeType,
        /// The value as it was asked for.
        value: String,
    },
    /// The common name is there, but empty.
    #[error("the common name is empty; leave it out instead")]
    EmptyCommonName,
    /// The key could not sign the request.
    #[error("the certification request could not be signed")]
    Sign {
        /// What the key says.
        #[source]
        source: key::Error,
    },
    /// A value is too long for DER or otherwise cannot be encoded.
    #[error("the certification request could not be encoded")]
    Encode {
        /// What the encoder says.
        #[source]
        source: der::Error,
    },
}

fn advice(attribute: AttributeType) -> &'static str {
    if attribute.string_type() == Tag::PrintableString {
        ": it takes letters, digits, spaces and '()+,-./:=? only"
    } else if attribute.string_type() == Tag::Ia5String {
        ": it takes ASCII only"
    } else {
        ""
    }
}

/// Can a certificate carry these names at all?
///
/// # Errors
/// Names the first that none can carry, and says what would do.
pub fn check(names: &Names) -> Result<(), Error> {
    subject(names)?;
    alternative_names(names).map(drop)
}

/// Builds a certification request for `names`, signed by `key`, and returns its DER.
///
/// The extension request is there only if there are alternative names or usages. Alternative names
/// are never critical: it is for the certificate authority to mark them so (RFC 5280 section
/// 4.2.1.6). The common name is written last, as UTF8String, and copied to the alternative names
/// where it is the name of a server ([`Names::server_name_alone`]).
///
/// # Errors
/// Those of [`check`], and [`Error::Sign`].
pub fn build(key: &PrivateKey, names: &Names) -> Result<Vec<u8>, Error> {
    let info = request_info(key, names)?;
    let encode = |source| Error::Encode { source };
    let signed = info.to_der().map_err(encode)?;
    let signature = key.sign(&signed).map_err(|source| Error::Sign { source })?;
    let request = CertReq {
        info,
        algorithm: signature_algorithm(key.kind()),
        signature: BitString::from_bytes(&signature).map_err(encode)?,
    };
    request.to_der().map_err(encode)
}

/// Writes a certification request as PEM: label `CERTIFICATE REQUEST`, lines of 64 columns that end
/// with LF.
pub fn to_pem(csr_der: &[u8]) -> String {
    pem::encode("CERTIFICATE REQUEST", csr_der)
}

fn request_info(key: &PrivateKey, names: &Names) -> Result<CertReqInfo, Error> {
    let subject = subject(names)?;
    let alternative_names = alternative_names(names)?;
    let encoded = || -> der::Result<CertReqInfo> {
        Ok(CertReqInfo {
            version: Version::V1,
            subject,
            public_key: SubjectPublicKeyInfoOwned::from_der(key.spki_der())?,
            attributes: attributes(extensions(alternative_names, &names.usages)?)?,
        })
    };
    encoded().map_err(|source| Error::Encode { source })
}

fn subject(names: &Names) -> Result<Name, Error> {
    if names.common_name.as_deref() == Some("") {
        return Err(Error::EmptyCommonName);
    }
    let attributes = names.subject.iter().map(|one| attribute(one.kind, &one.value));
    let common_name = names.common_name.iter().map(|value| {
        relative_name(COMMON_NAME, Tag::Utf8String, value)
            .map_err(|source| Error::Encode { source })
    });
    let relative_names = attributes.chain(common_name).collect::<Result<Vec<_>, Error>>()?;
    Ok(Name::hazmat_from_rdn_sequence(RdnSequence::from(relative_names)))
}

fn attribute(kind: AttributeType, value: &str) -> Result<RelativeDistinguishedName, Error> {
    let fits = if kind.string_type() == Tag::PrintableString {
        PrintableStringRef::new(value).is_ok()
    } else {
        kind.string_type() != Tag::Ia5String || Ia5StringRef::new(value).is_ok()
    };
    if !fits || value.is_empty() {
        return Err(Error::Subject { attribute: kind, value: value.to_owned() });
    }
    relative_name(kind.oid(), kind.string_type(), value).map_err(|source| Error::Encode { source })
}

fn relative_name(
    oid: ObjectIdentifier,
    string_type: Tag,
    value: &str,
) -> der::Result<RelativeDistinguishedName> {
    let value = Any::new(string_type, value.as_bytes())?;
    let pair = AttributeTypeAndValue { oid, value };
    Ok(RelativeDistinguishedName::from(SetOfVec::try_from(vec![pair])?))
}

fn alternative_names(names: &Names) -> Result<Vec<GeneralName>, Error> {
    let ascii = |text: &str| Ia5String::new(text).map_err(|source| Error::Encode { source });
    let alone = names.server_name_alone();
    let dns_names = names.dns_names.iter().chain(&alone).map(|name| {
        let written = names::dns_name_to_ascii(name);
        let written = written.ok_or_else(|| Error::DnsName { name: name.clone() })?;
        ascii(&written).map(GeneralName::DnsName)
    });
    let ip_addresses = names.ip_addresses.iter().map(|address| Ok(GeneralName::from(*address)));
    let uris = names.uris.iter().map(|uri| {
        let written = names::absolute_uri(uri).ok_or_else(|| Error::Uri { uri: uri.clone() })?;
        ascii(written).map(GeneralName::UniformResourceIdentifier)
    });
    let email_addresses = names.email_addresses.iter().map(|address| {
        let written = names::email_address_to_ascii(address);
        let written = written.ok_or_else(|| Error::EmailAddress { address: address.clone() })?;
        ascii(&written).map(GeneralName::Rfc822Name)
    });
    dns_names.chain(ip_addresses).chain(uris).chain(email_addresses).collect()
}

fn extensions(
    alternative_names: Vec<GeneralName>,
    usages: &[Usage],
) -> der::Result<Vec<Extension>> {
    let mut bits: FlagSet<KeyUsages> = FlagSet::default();
    let mut purposes = Vec::new();
    for usage in usages {
        match usage.code() {
            UsageCode::Bit(bit) => bits |= bit,
            UsageCode::Purpose(purpose) => purposes.push(purpose),
        }
    }
    let mut extensions = Vec::new();
    let mut push = |extn_id, critical, value: Vec<u8>| -> der::Result<()> {
        extensions.push(Extension { extn_id, critical, extn_value: OctetString::new(value)? });
        Ok(())
    };
    // "When present, conforming CAs SHOULD mark this extension as critical", section 4.2.1.3.
    if !bits.is_empty() {
        push(ID_CE_KEY_USAGE, true, KeyUsage(bits).to_der()?)?;
    }
    if !purposes.is_empty() {
        push(ID_CE_EXT_KEY_USAGE, false, ExtendedKeyUsage(purposes).to_der()?)?;
    }
    if !alternative_names.is_empty() {
        push(ID_CE_SUBJECT_ALT_NAME, false, SubjectAltName(alternative_names).to_der()?)?;
    }
    Ok(extensions)
}

fn attributes(extensions: Vec<Extension>) -> der::Result<SetOfVec<Attribute>> {
    if extensions.is_empty() {
        return Ok(SetOfVec::new());
    }
    SetOfVec::try_from(vec![Attribute::try_from(ExtensionReq(extensions))?])
}

/// The identifiers of RFC 4055 section 5, which wants NULL parameters, of RFC 5758 section 3.2 and
/// of RFC 8410 section 3, which want none.
fn signature_algorithm(kind: KeyKind) -> AlgorithmIdentifierOwned {
    let (oid, parameters) = match kind {
        KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => {
            (SHA_256_WITH_RSA_ENCRYPTION, Some(Any::null()))
        }
        KeyKind::EcdsaP256 => (ECDSA_WITH_SHA_256, None),
        KeyKind::EcdsaP384 => (ECDSA_WITH_SHA_384, None),
        KeyKind::EcdsaP521 => (ECDSA_WITH_SHA_512, None),
        KeyKind::Ed25519 => (ID_ED_25519, None),
    };
    AlgorithmIdentifierOwned { oid, parameters }
}

#[cfg(test)]
mod tests {
    use super::super::name;
    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::generate(KeyKind::EcdsaP256).unwrap()
    }

    fn names(common_name: Option<&str>, dns_names: &[&str]) -> Names {
        Names {
            common_name: common_name.map(str::to_owned),
            dns_names: dns_names.iter().map(|&name| name.to_owned()).collect(),
            ..Names::default()
        }
    }

    fn attribute(kind: AttributeType, value: &str) -> names::Attribute {
        names::Attribute { kind, value: value.to_owned() }
    }

    fn requested(request: &CertReq) -> Vec<Extension> {
        let value = request.info.attributes.get(0).unwrap().values.get(0).unwrap();
        ExtensionReq::from_der(&value.to_der().unwrap()).unwrap().0
    }

    #[test]
    fn names_and_key_are_found_in_the_request() {
        let key = key();
        let asked = names(Some("a.example.org"), &["a.example.org", "*.example.org"]);
        let request = CertReq::from_der(&build(&key, &asked).unwrap()).unwrap();
        assert_eq!(request.info.subject.to_string(), "CN=a.example.org");
        assert_eq!(request.info.public_key.to_der().unwrap(), key.spki_der());
        let extensions = requested(&request);
        let found = SubjectAltName::from_der(extensions[0].extn_value.as_bytes()).unwrap();
        let expected: Vec<GeneralName> = ["a.example.org", "*.example.org"]
            .map(|name| GeneralName::DnsName(Ia5String::new(name).unwrap()))
            .into();
        assert_eq!(found.0, expected);
        assert!(!extensions[0].critical);
    }

    #[test]
    fn a_server_named_by_the_common_name_alone_stands_among_the_alternative_names() {
        let der = build(&key(), &names(Some("a.example.org"), &["b.example.org"])).unwrap();
        let read = Csr::from_der(&der).unwrap().names;
        assert_eq!(read.common_name.as_deref(), Some("a.example.org"));
        assert_eq!(read.dns_names, ["b.example.org", "a.example.org"]);
    }

    #[test]
    fn without_alternative_names_and_usages_there_is_no_extension_request() {
        let der = build(&key(), &names(Some("only a name"), &[])).unwrap();
        let request = CertReq::from_der(&der).unwrap();
        assert!(request.info.attributes.is_empty());
    }

    #[test]
    fn the_subject_may_be_empty() {
        let der = build(&key(), &names(None, &["a.example.org"])).unwrap();
        let request = CertReq::from_der(&der).unwrap();
        assert!(request.info.subject.is_empty());
    }

    #[test]
    fn a_subject_keeps_its_order_and_what_is_repeated_and_each_has_its_string_type() {
        use AttributeType as Type;
        let subject = [
            (Type::DomainComponent, "org"),
            (Type::DomainComponent, "example"),
            (Type::Country, "CH"),
            (Type::Organization, "Müller & Söhne"),
            (Type::OrganizationalUnit, "one"),
            (Type::OrganizationalUnit, "two"),
            (Type::OrganizationalUnit, "one"),
            (Type::SerialNumber, "CHE-123"),
            (Type::JurisdictionCountry, "CH"),
            (Type::EmailAddress, "a@example.org"),
        ];
        let subject = subject.map(|(kind, value)| attribute(kind, value)).into();
        let asked = Names { subject, ..names(Some("shop"), &[]) };
        let der = build(&key(), &asked).unwrap();
        let subject_der = CertReq::from_der(&der).unwrap().info.subject.to_der().unwrap();
        assert_eq!(
            name::to_rfc4514(&subject_der),
            "CN=shop,emailAddress=a@example.org,jurisdictionC=CH,serialNumber=CHE-123,OU=one,\
             OU=two,OU=one,O=Müller & Söhne,C=CH,DC=example,DC=org"
        );
        let tags: Vec<Tag> = CertReq::from_der(&der)
            .unwrap()
            .info
            .subject
            .iter_rdn()
            .map(|relative_name| der::Tagged::tag(&relative_name.iter().next().unwrap().value))
            .collect();
        let (utf8, printable, ia5) = (Tag::Utf8String, Tag::PrintableString, Tag::Ia5String);
        let expected =
            [ia5, ia5, printable, utf8, utf8, utf8, utf8, printable, printable, ia5, utf8];
        assert_eq!(tags, expected);
    }

    #[test]
    fn every_kind_of_alternative_name_is_asked_for() {
        let asked = Names {
            ip_addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            uris: vec!["spiffe://example.org/shop".to_owned()],
            email_addresses: vec!["shop@Müller.example".to_owned()],
            ..names(None, &["Müller.example."])
        };
        let request = CertReq::from_der(&build(&key(), &asked).unwrap()).unwrap();
        let value = requested(&request)[0].extn_value.as_bytes().to_vec();
        let expected = names::AlternativeNames {
            dns_names: vec!["xn--mller-kva.example".to_owned()],
            ip_addresses: asked.ip_addresses.clone(),
            uris: asked.uris.clone(),
            email_addresses: vec!["shop@xn--mller-kva.example".to_owned()],
        };
        assert_eq!(names::AlternativeNames::read(&value), expected);
    }

    #[test]
    fn usages_are_asked_for_in_the_extension_they_belong_to() {
        let usages = vec![Usage::DigitalSignature, Usage::ServerAuth, Usage::KeyEncipherment];
        let request =
            CertReq::from_der(&build(&key(), &Names { usages, ..names(Some("x"), &[]) }).unwrap())
                .unwrap();
        let extensions = requested(&request);
        let ids: Vec<_> = extensions.iter().map(|one| (one.extn_id, one.critical)).collect();
        assert_eq!(ids, [(ID_CE_KEY_USAGE, true), (ID_CE_EXT_KEY_USAGE, false)]);
        // Bits 0 and 2 of eight, of which five are not used.
        assert_eq!(extensions[0].extn_value.as_bytes(), [0x03, 0x02, 0x05, 0xa0]);
    }

    #[test]
    fn names_that_no_certificate_can_carry_are_refused() {
        for unfit in ["", "a b.example.org", "*", "http://example.org"] {
            let error = build(&key(), &names(None, &["a.example.org", unfit])).unwrap_err();
            assert!(matches!(error, Error::DnsName { name } if name == unfit));
        }
        let error = build(&key(), &names(Some(""), &[])).unwrap_err();
        assert!(matches!(error, Error::EmptyCommonName));
        let uris = vec!["example.org/shop".to_owned()];
        let error = build(&key(), &Names { uris, ..Names::default() }).unwrap_err();
        assert!(matches!(error, Error::Uri { .. }));
        let email_addresses = vec!["example.org".to_owned()];
        let error = build(&key(), &Names { email_addresses, ..Names::default() }).unwrap_err();
        assert!(matches!(error, Error::EmailAddress { .. }));
        use AttributeType as Type;
        let cases = [
            (Type::Country, "Österreich", "C"),
            (Type::SerialNumber, "a@b", "serialNumber"),
            (Type::DomainComponent, "müller", "DC"),
            (Type::Organization, "", "O"),
        ];
        for (kind, value, keyword) in cases {
            let subject = vec![attribute(kind, value)];
            let error = build(&key(), &Names { subject, ..Names::default() }).unwrap_err();
            let start = format!("\"{value}\" cannot be the attribute {keyword} of a subject");
            assert!(error.to_string().starts_with(&start), "{error}");
        }
    }

    #[test]
    fn pem_has_the_label_that_certificate_authorities_expect() {
        let der = build(&key(), &names(Some("x"), &[])).unwrap();
        let text = to_pem(&der);
        assert!(text.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"));
        assert!(text.ends_with("\n-----END CERTIFICATE REQUEST-----\n"));
        assert!(!text.contains('\r'));
    }
}
