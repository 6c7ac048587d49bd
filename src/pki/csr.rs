//! Certification requests (PKCS#10, RFC 2986).
//!
//! Built with x509-cert's types rather than with rcgen, whose subject is a map with one value for
//! each attribute type: a second organizational unit would silently replace the first.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::COMMON_NAME;
use const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
use const_oid::db::rfc5912::{ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, SHA_256_WITH_RSA_ENCRYPTION};
use der::asn1::{Any, BitString, Ia5String, OctetString, SetOfVec};
use der::{Decode as _, Encode as _, Tag};
use serde::{Deserialize, Serialize};
use x509_cert::attr::{Attribute, AttributeTypeAndValue};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::key::{self, KeyKind, PrivateKey};
use super::pem;

/// The names that a certificate is asked to carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Names {
    /// The common name of the subject, or `None` for an empty subject.
    pub common_name: Option<String>,
    /// DNS names for the subject alternative name extension, in ASCII (internationalised names as
    /// A-labels), `*.example.org` among them.
    pub dns_names: Vec<String>,
}

/// Why a certification request could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A DNS name is empty or not ASCII.
    #[error("\"{name}\" is not a DNS name in ASCII; write international names as A-labels (xn--)")]
    DnsName {
        /// The name as it was asked for.
        name: String,
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

/// Builds a certification request for `names`, signed by `key`, and returns its DER.
///
/// The extension request is there only if there are DNS names, and is never critical: it is for the
/// certificate authority to mark it so (RFC 5280 section 4.2.1.6). The common name is written as
/// UTF8String and not copied to the alternative names.
///
/// # Errors
/// [`Error::DnsName`] and [`Error::EmptyCommonName`] for names that no certificate can carry.
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
    let alternative_names = alternative_names(&names.dns_names)?;
    if names.common_name.as_deref() == Some("") {
        return Err(Error::EmptyCommonName);
    }
    let encoded = || -> der::Result<CertReqInfo> {
        Ok(CertReqInfo {
            version: Version::V1,
            subject: subject(names)?,
            public_key: SubjectPublicKeyInfoOwned::from_der(key.spki_der())?,
            attributes: attributes(alternative_names)?,
        })
    };
    encoded().map_err(|source| Error::Encode { source })
}

fn subject(names: &Names) -> der::Result<Name> {
    let common_name = names.common_name.iter().map(|name| (COMMON_NAME, name));
    let relative_names =
        common_name.map(|(oid, value)| attribute(oid, value)).collect::<der::Result<Vec<_>>>()?;
    Ok(Name::hazmat_from_rdn_sequence(RdnSequence::from(relative_names)))
}

fn attribute(oid: ObjectIdentifier, value: &str) -> der::Result<RelativeDistinguishedName> {
    let value = Any::new(Tag::Utf8String, value.as_bytes())?;
    let pair = AttributeTypeAndValue { oid, value };
    Ok(RelativeDistinguishedName::from(SetOfVec::try_from(vec![pair])?))
}

fn alternative_names(dns_names: &[String]) -> Result<Vec<GeneralName>, Error> {
    dns_names
        .iter()
        .map(|name| {
            let unfit = || Error::DnsName { name: name.clone() };
            let encoded = Ia5String::new(name).map_err(|_| unfit())?;
            (!name.is_empty()).then_some(GeneralName::DnsName(encoded)).ok_or_else(unfit)
        })
        .collect()
}

fn attributes(alternative_names: Vec<GeneralName>) -> der::Result<SetOfVec<Attribute>> {
    if alternative_names.is_empty() {
        return Ok(SetOfVec::new());
    }
    let extension = Extension {
        extn_id: ID_CE_SUBJECT_ALT_NAME,
        critical: false,
        extn_value: OctetString::new(SubjectAltName(alternative_names).to_der()?)?,
    };
    SetOfVec::try_from(vec![Attribute::try_from(ExtensionReq(vec![extension]))?])
}

/// The identifiers of RFC 4055 section 5, which wants NULL parameters, and RFC 5758 section 3.2,
/// which wants none.
fn signature_algorithm(kind: KeyKind) -> AlgorithmIdentifierOwned {
    let (oid, parameters) = match kind {
        KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => {
            (SHA_256_WITH_RSA_ENCRYPTION, Some(Any::null()))
        }
        KeyKind::EcdsaP256 => (ECDSA_WITH_SHA_256, None),
        KeyKind::EcdsaP384 => (ECDSA_WITH_SHA_384, None),
    };
    AlgorithmIdentifierOwned { oid, parameters }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::generate(KeyKind::EcdsaP256).unwrap()
    }

    fn names(common_name: Option<&str>, dns_names: &[&str]) -> Names {
        Names {
            common_name: common_name.map(str::to_owned),
            dns_names: dns_names.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn names_and_key_are_found_in_the_request() {
        let key = key();
        let asked = names(Some("a.example.org"), &["a.example.org", "*.example.org"]);
        let request = CertReq::from_der(&build(&key, &asked).unwrap()).unwrap();
        assert_eq!(request.info.subject.to_string(), "CN=a.example.org");
        assert_eq!(request.info.public_key.to_der().unwrap(), key.spki_der());
        let attribute = request.info.attributes.get(0).unwrap();
        let value = attribute.values.get(0).unwrap();
        let extensions = ExtensionReq::from_der(&value.to_der().unwrap()).unwrap();
        let found = SubjectAltName::from_der(extensions.0[0].extn_value.as_bytes()).unwrap();
        let expected: Vec<GeneralName> = ["a.example.org", "*.example.org"]
            .map(|name| GeneralName::DnsName(Ia5String::new(name).unwrap()))
            .into();
        assert_eq!(found.0, expected);
        assert!(!extensions.0[0].critical);
    }

    #[test]
    fn without_dns_names_there_is_no_extension_request() {
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
    fn names_that_no_certificate_can_carry_are_refused() {
        for unfit in ["", "müller.example.org"] {
            let error = build(&key(), &names(None, &["a.example.org", unfit])).unwrap_err();
            assert!(matches!(error, Error::DnsName { name } if name == unfit));
        }
        let error = build(&key(), &names(Some(""), &[])).unwrap_err();
        assert!(matches!(error, Error::EmptyCommonName));
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
