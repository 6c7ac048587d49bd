//! Certification requests that somebody else made, as leniently read as certificates are.

use std::collections::BTreeSet;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::COMMON_NAME;
use const_oid::db::rfc5280::{
    ID_CE_BASIC_CONSTRAINTS, ID_CE_EXT_KEY_USAGE, ID_CE_KEY_USAGE, ID_CE_SUBJECT_ALT_NAME,
    ID_CE_SUBJECT_KEY_IDENTIFIER,
};
use const_oid::db::rfc5912::ID_EXTENSION_REQ;
use der::asn1::{AnyRef, BitStringRef};
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages};

use super::super::names::{AlternativeNames, Attribute, AttributeType, Names, Usage, UsageCode};
use super::super::{name, pem};

/// The extension request of Microsoft's tools, which others read as the one of PKCS#9.
const MICROSOFT_EXTENSION_REQ: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.14");
/// Attributes by which Microsoft's tools say where a request was made: no CA goes by them.
const ORIGINS: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.13.2.2"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.13.2.3"),
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.21.20"),
];

/// So many bytes a PEM text may have that a certification request is read from: as many names as a
/// request of ours may have fit in, each as long as it may be. Each of them is compared with every
/// pattern that an issuer allows.
const LONGEST: usize = 256 * 1024;

/// Why a certification request cannot be used. No text quotes the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is longer than any that a CA takes.
    #[error(
        "it has {length} bytes, and a certification request has at most {LONGEST}: make one with fewer \
         or shorter names"
    )]
    TooLong {
        /// So many bytes it has.
        length: usize,
    },
    /// There is no block with the label `CERTIFICATE REQUEST`.
    #[error("there is no certification request in the PEM text")]
    NotFound,
    /// There are several, and nothing says which one is meant.
    #[error("there are {count} certification requests in the PEM text, and one is expected")]
    Several {
        /// How many there are.
        count: usize,
    },
    /// The block has no END line of its own, or is not base64.
    #[error("block {block} of the PEM text is truncated or damaged")]
    Damaged {
        /// Its place among all blocks of the text, from 1.
        block: usize,
    },
    /// The bytes are not a certification request.
    #[error("the certification request cannot be decoded")]
    Malformed,
    /// Whoever made the request has not shown that the key is theirs.
    #[error(
        "the certification request is not signed by the key in it, or with an algorithm that is no \
         longer accepted"
    )]
    Signature,
    /// A part that a CA may read is not readable here.
    #[error("{0} in the certification request cannot be read: make it anew")]
    Unreadable(&'static str),
    /// Two certificate authorities may read two things in it.
    #[error(
        "the certification request asks more than once for {0}, and nobody knows which one a CA \
         takes: leave one"
    )]
    Twice(&'static str),
    /// It asks for the certificate of a CA.
    #[error("the certification request asks for the certificate of a CA (CA:TRUE): leave that out")]
    Authority,
}

/// All that a certification request asks for, as far as a CA may go by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// All common names of the subject.
    pub common_names: Vec<String>,
    /// The other attributes of the subject.
    pub subject: Vec<Attribute>,
    /// The alternative names.
    pub names: Names,
    /// What the key is for.
    pub usages: Vec<Usage>,
    /// What has no field in a request, in words.
    pub others: Vec<String>,
}

/// A certification request that somebody else made, with a signature that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr {
    /// Its DER.
    pub der: Vec<u8>,
    /// The public key, as DER of a SubjectPublicKeyInfo.
    pub spki_der: Vec<u8>,
    /// The common name, the most specific if there are several, and the alternative names.
    pub names: Names,
}

impl Csr {
    /// Reads the one certification request of a PEM text, whatever else is in it.
    ///
    /// # Errors
    /// Says what is wrong without quoting the text.
    pub fn from_pem(text: &[u8]) -> Result<Self, ReadError> {
        if text.len() > LONGEST {
            return Err(ReadError::TooLong { length: text.len() });
        }
        let mut found = Vec::new();
        for block in pem::blocks(text) {
            let block =
                block.map_err(|truncated| ReadError::Damaged { block: truncated.number })?;
            // "NEW" is what Microsoft's tools write.
            if [&b"CERTIFICATE REQUEST"[..], b"NEW CERTIFICATE REQUEST"].contains(&block.label) {
                found.push(block);
            }
        }
        match &found[..] {
            [] => Err(ReadError::NotFound),
            [block] => {
                let damaged = ReadError::Damaged { block: block.number };
                Self::from_der(&block.decode().ok_or(damaged)?)
            }
            several => Err(ReadError::Several { count: several.len() }),
        }
    }

    /// Reads a certification request (RFC 2986 section 4) and verifies its signature.
    ///
    /// # Errors
    /// [`ReadError::Malformed`] and [`ReadError::Signature`].
    pub fn from_der(der: &[u8]) -> Result<Self, ReadError> {
        let parts = Parts::read(der).map_err(|_| ReadError::Malformed)?;
        let csr = parts.contents(der).map_err(|_| ReadError::Malformed)?;
        if !is_signed(&parts, &csr.spki_der) {
            return Err(ReadError::Signature);
        }
        Ok(csr)
    }

    /// All that it asks for.
    ///
    /// Nothing is left out: whoever is asked for less than the CA is asked for has decided on
    /// something else.
    ///
    /// # Errors
    /// Where a CA might read something else in it, or it asks for the certificate of a CA.
    pub fn asked(&self) -> Result<Asked, ReadError> {
        let malformed = |_| ReadError::Malformed;
        let info_der = Parts::read(&self.der).map_err(malformed)?.info_der;
        let info = AnyRef::from_der(info_der).and_then(sequence).map_err(malformed)?;
        let parts = name::elements(info).map_err(malformed)?;
        let (subject, attributes) = match parts[..] {
            [_, subject, _] => (subject, None),
            [_, subject, _, attributes] => (subject, Some(attributes)),
            _ => return Err(ReadError::Malformed),
        };
        let mut asked = Asked::default();
        asked.read_subject(subject)?;
        if let Some(attributes) = attributes {
            if !attributes.tag().is_context_specific() || !attributes.tag().is_constructed() {
                return Err(ReadError::Unreadable("an attribute"));
            }
            asked.read_attributes(attributes)?;
        }
        Ok(asked)
    }
}

impl Asked {
    fn read_subject(&mut self, subject: AnyRef<'_>) -> Result<(), ReadError> {
        let unreadable = ReadError::Unreadable("the subject");
        for (oid, value) in name::attributes(subject).map_err(|_| unreadable.clone())? {
            let value = value.ok_or_else(|| unreadable.clone())?;
            let kind = AttributeType::ALL.into_iter().find(|kind| kind.oid() == oid);
            match kind {
                Some(kind) => self.subject.push(Attribute { kind, value }),
                None if oid == COMMON_NAME => self.common_names.push(value),
                None => self.others.push(format!("the attribute {oid} of the subject")),
            }
        }
        Ok(())
    }

    fn read_attributes(&mut self, attributes: AnyRef<'_>) -> Result<(), ReadError> {
        let unreadable = |_| ReadError::Unreadable("an attribute");
        let mut is_asked = false;
        for attribute in name::elements(attributes.value()).map_err(unreadable)? {
            let parts = sequence(attribute).and_then(name::elements).map_err(unreadable)?;
            let [kind, values] = parts[..] else {
                return Err(ReadError::Unreadable("an attribute"));
            };
            let kind: ObjectIdentifier = kind.decode_as().map_err(unreadable)?;
            if ORIGINS.contains(&kind) {
                continue;
            }
            if ![ID_EXTENSION_REQ, MICROSOFT_EXTENSION_REQ].contains(&kind) {
                self.others.push(format!("the attribute {kind}"));
                continue;
            }
            values.tag().assert_eq(Tag::Set).map_err(unreadable)?;
            let values = name::elements(values.value()).map_err(unreadable)?;
            let [extensions] = values[..] else { return Err(ReadError::Twice("extensions")) };
            if std::mem::replace(&mut is_asked, true) {
                return Err(ReadError::Twice("extensions"));
            }
            self.read_extensions(sequence(extensions).map_err(unreadable)?)?;
        }
        Ok(())
    }

    fn read_extensions(&mut self, extensions: &[u8]) -> Result<(), ReadError> {
        let unreadable = |_| ReadError::Unreadable("an extension");
        let mut seen = BTreeSet::new();
        for extension in name::elements(extensions).map_err(unreadable)? {
            let parts = sequence(extension).and_then(name::elements).map_err(unreadable)?;
            let (id, value) = match parts[..] {
                [id, value] => (id, value),
                [id, critical, value] if critical.tag() == Tag::Boolean => (id, value),
                _ => return Err(ReadError::Unreadable("an extension")),
            };
            let id: ObjectIdentifier = id.decode_as().map_err(unreadable)?;
            if !seen.insert(id) {
                return Err(ReadError::Twice("one extension"));
            }
            value.tag().assert_eq(Tag::OctetString).map_err(unreadable)?;
            self.read_extension(id, value.value())?;
        }
        Ok(())
    }

    fn read_extension(&mut self, id: ObjectIdentifier, value: &[u8]) -> Result<(), ReadError> {
        let unreadable = |_| ReadError::Unreadable("an extension");
        match id {
            ID_CE_SUBJECT_ALT_NAME => {
                let read = AlternativeNames::read_all(value);
                let (names, others) = read.ok_or(ReadError::Unreadable("an alternative name"))?;
                self.names.dns_names = names.dns_names;
                self.names.ip_addresses = names.ip_addresses;
                self.names.uris = names.uris;
                self.names.email_addresses = names.email_addresses;
                self.others.extend(others);
            }
            ID_CE_BASIC_CONSTRAINTS => {
                let constraints = AnyRef::from_der(value).and_then(sequence).map_err(unreadable)?;
                let parts = name::elements(constraints).map_err(unreadable)?;
                // Any octet but zero is true in BER.
                if parts.iter().any(|part| part.tag() == Tag::Boolean && part.value() != [0]) {
                    return Err(ReadError::Authority);
                }
            }
            ID_CE_KEY_USAGE => {
                let bits = KeyUsage::from_der(value).map_err(unreadable)?.0;
                self.take_usages(|code| matches!(code, UsageCode::Bit(bit) if bits.contains(*bit)));
                let of_authorities = [
                    (KeyUsages::KeyCertSign, "the key usage keyCertSign"),
                    (KeyUsages::CRLSign, "the key usage cRLSign"),
                ];
                let asked = of_authorities.iter().filter(|(bit, _)| bits.contains(*bit));
                self.others.extend(asked.map(|(_, words)| (*words).to_owned()));
            }
            ID_CE_EXT_KEY_USAGE => {
                let purposes = ExtendedKeyUsage::from_der(value).map_err(unreadable)?.0;
                for asked in purposes {
                    let is_it =
                        |code: &UsageCode| matches!(code, UsageCode::Purpose(one) if *one == asked);
                    if !self.take_usages(is_it) {
                        self.others.push(format!("the extended key usage {asked}"));
                    }
                }
            }
            ID_CE_SUBJECT_KEY_IDENTIFIER => {}
            other => self.others.push(format!("the extension {other}")),
        }
        Ok(())
    }

    /// Whether there is one that fits.
    fn take_usages(&mut self, fits: impl Fn(&UsageCode) -> bool) -> bool {
        let before = self.usages.len();
        self.usages.extend(Usage::ALL.into_iter().filter(|usage| fits(&usage.code())));
        self.usages.len() > before
    }
}

struct Parts<'a> {
    info_der: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(der: &'a [u8]) -> der::Result<Self> {
        let outermost = sequence(AnyRef::from_der(der)?)?;
        let mut reader = SliceReader::new(outermost)?;
        let info_der = reader.tlv_bytes()?;
        let algorithm = sequence(reader.decode()?)?;
        let signature: BitStringRef<'_> = reader.decode()?;
        reader.finish()?;
        let signature = signature.as_bytes().ok_or(der::ErrorKind::Failed)?;
        Ok(Self { info_der, algorithm, signature })
    }

    /// Reads `SEQUENCE { version, subject, subjectPKInfo, [0] attributes }`; the attributes are
    /// left out by some although they must be there.
    fn contents(&self, der: &[u8]) -> der::Result<Csr> {
        let mut reader = SliceReader::new(sequence(AnyRef::from_der(self.info_der)?)?)?;
        let _version: AnyRef<'_> = reader.decode()?;
        let subject_der = reader.tlv_bytes()?;
        let spki_der = reader.tlv_bytes()?;
        let alternative = match reader.decode::<AnyRef<'_>>() {
            Ok(attributes) if attributes.tag().is_context_specific() => {
                requested_names(attributes.value()).unwrap_or_default()
            }
            _ => AlternativeNames::default(),
        };
        Ok(Csr {
            der: der.to_vec(),
            spki_der: spki_der.to_vec(),
            names: Names {
                common_name: name::common_names(subject_der).pop(),
                dns_names: alternative.dns_names,
                ip_addresses: alternative.ip_addresses,
                uris: alternative.uris,
                email_addresses: alternative.email_addresses,
                ..Names::default()
            },
        })
    }
}

fn sequence(any: AnyRef<'_>) -> der::Result<&[u8]> {
    any.tag().assert_eq(Tag::Sequence)?;
    Ok(any.value())
}

/// Finds the alternative names among `SET OF SEQUENCE { type, SET OF value }`.
fn requested_names(attributes: &[u8]) -> der::Result<AlternativeNames> {
    for attribute in name::elements(attributes)? {
        let parts = name::elements(attribute.value())?;
        let [kind, values] = parts[..] else { continue };
        if kind.decode_as::<ObjectIdentifier>() != Ok(ID_EXTENSION_REQ) {
            continue;
        }
        for extensions in name::elements(values.value())? {
            for extension in name::elements(extensions.value())? {
                let parts = name::elements(extension.value())?;
                if let (Some(id), Some(value)) = (parts.first(), parts.last())
                    && id.decode_as::<ObjectIdentifier>() == Ok(ID_CE_SUBJECT_ALT_NAME)
                {
                    return Ok(AlternativeNames::read(value.value()));
                }
            }
        }
    }
    Ok(AlternativeNames::default())
}

/// Does the key of the request sign it? With what webpki accepts in certificates.
fn is_signed(parts: &Parts<'_>, spki_der: &[u8]) -> bool {
    let Ok([key_algorithm, key]) = AnyRef::from_der(spki_der)
        .and_then(|spki| name::elements(spki.value()))
        .and_then(|parts| <[_; 2]>::try_from(parts).map_err(|_| der::ErrorKind::Failed.into()))
    else {
        return false;
    };
    let Ok(key) = key.decode_as::<BitStringRef<'_>>() else { return false };
    webpki::ALL_VERIFICATION_ALGS
        .iter()
        .filter(|algorithm| algorithm.signature_alg_id().as_ref() == parts.algorithm)
        .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key_algorithm.value())
        .any(|algorithm| {
            let message = parts.info_der;
            algorithm.verify_signature(key.raw_bytes(), message, parts.signature).is_ok()
        })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::{build, to_pem};
    use super::*;
    use crate::pki::{KeyKind, PrivateKey};

    fn asked() -> Names {
        Names {
            common_name: Some("shop".to_owned()),
            dns_names: vec!["shop.example.org".to_owned()],
            ip_addresses: vec!["192.0.2.1".parse().unwrap()],
            uris: vec!["urn:uuid:1".to_owned()],
            email_addresses: vec!["shop@example.org".to_owned()],
            ..Names::default()
        }
    }

    #[test]
    fn what_is_longer_than_any_request_is_not_looked_at() {
        let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
        let mut text = to_pem(&build(&key, &asked()).unwrap());
        text.push_str(&"\n".repeat(LONGEST - text.len()));
        assert!(Csr::from_pem(text.as_bytes()).is_ok());
        text.push('\n');
        let length = LONGEST + 1;
        assert_eq!(Csr::from_pem(text.as_bytes()), Err(ReadError::TooLong { length }));
        // All that a request of ours may hold at once.
        let dns_name = |n| format!("a{n}.{0}.{0}.{0}.example", "a".repeat(60));
        let uri = |n| format!("urn:{n:03}{}", "a".repeat(1017));
        let most = Names {
            dns_names: (0..100).map(dns_name).collect(),
            uris: (0..100).map(uri).collect(),
            ..Names::default()
        };
        let text = to_pem(&build(&key, &most).unwrap());
        assert!(text.len() > LONGEST / 2 && Csr::from_pem(text.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_built_with_every_kind_of_key_is_read() {
        for kind in KeyKind::all() {
            let key = PrivateKey::generate(kind).unwrap();
            let der = build(&key, &asked()).unwrap();
            let csr = Csr::from_pem(to_pem(&der).as_bytes()).unwrap();
            assert_eq!(csr, Csr { der, spki_der: key.spki_der().to_vec(), names: asked() });
        }
        let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
        let nobody = Csr::from_der(&build(&key, &Names::default()).unwrap()).unwrap();
        assert_eq!(nobody.names, Names::default());
    }

    #[test]
    fn what_is_none_is_refused_with_a_reason() {
        let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
        let der = build(&key, &asked()).unwrap();
        let good = to_pem(&der);
        let mut forged = der.clone();
        let at = forged.windows(4).position(|window| window == b"shop").unwrap();
        forged[at] = b'S';
        let microsoft = good.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST");
        assert!(Csr::from_pem(microsoft.as_bytes()).is_ok());
        let cases = [
            ("nothing", String::new(), ReadError::NotFound),
            ("a key", key_pem(&key), ReadError::NotFound),
            ("two", format!("{good}{good}"), ReadError::Several { count: 2 }),
            ("half", good[..good.len() - 40].to_owned(), ReadError::Damaged { block: 1 }),
            (
                "a certificate by its label",
                pem::encode("CERTIFICATE REQUEST", &[0x30, 0x00]),
                ReadError::Malformed,
            ),
            ("another name", to_pem(&forged), ReadError::Signature),
        ];
        for (name, text, expected) in cases {
            assert_eq!(Csr::from_pem(text.as_bytes()), Err(expected), "{name}");
        }
    }

    /// What stands in a SET of attributes, signed by a new key.
    fn with_attributes(attributes: &[u8]) -> Csr {
        let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
        let subject =
            tlv(0x30, &tlv(0x31, &tlv(0x30, &[&[6, 3, 85, 4, 3][..], &tlv(12, b"a")].concat())));
        let version = tlv(2, &[0]);
        let info = [&version[..], &subject, key.spki_der(), &tlv(0xa0, attributes)].concat();
        let info = tlv(0x30, &info);
        let signature = key.sign(&info).unwrap();
        let algorithm = tlv(0x30, &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        let signature = tlv(3, &[&[0][..], &signature].concat());
        Csr::from_der(&tlv(0x30, &[info, algorithm, signature].concat())).unwrap()
    }

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &length, content].concat().into_iter().collect::<Vec<u8>>().shortened()
    }

    trait Shortened {
        fn shortened(self) -> Self;
    }

    impl Shortened for Vec<u8> {
        /// The length in as few octets as DER wants.
        fn shortened(self) -> Self {
            match (self[2], self[3]) {
                (0, length @ 0..128) => [&[self[0], length][..], &self[4..]].concat(),
                (0, length) => [&[self[0], 0x81, length][..], &self[4..]].concat(),
                _ => self,
            }
        }
    }

    fn extension(last: u8, value: &[u8]) -> Vec<u8> {
        tlv(0x30, &[&[6, 3, 85, 29, last][..], &tlv(4, value)].concat())
    }

    /// An attribute with extension requests, each a value of its own.
    fn requests(oid: &[u8], values: &[Vec<u8>]) -> Vec<u8> {
        let values: Vec<u8> = values.iter().flat_map(|value| tlv(0x30, value)).collect();
        tlv(0x30, &[tlv(6, oid), tlv(0x31, &values)].concat())
    }

    #[test]
    fn whatever_a_ca_might_read_otherwise_is_refused() {
        const PKCS9: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
        const MICROSOFT: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 14];
        let san = |name: &str| extension(17, &tlv(0x30, &tlv(0x82, name.as_bytes())));
        let one = |extension: Vec<u8>| requests(PKCS9, &[extension]);
        let authority = |value: &[u8]| one(extension(19, &tlv(0x30, value)));
        let twice = ReadError::Twice("extensions");
        let unreadable = ReadError::Unreadable;
        let cases = [
            (
                "two attributes",
                [one(san("a.example")), one(san("b.example"))].concat(),
                twice.clone(),
            ),
            (
                "one of them in Microsoft's words",
                [one(san("a.example")), requests(MICROSOFT, &[san("b.example")])].concat(),
                twice.clone(),
            ),
            (
                "two values in one attribute",
                requests(PKCS9, &[san("a.example"), san("b.example")]),
                twice,
            ),
            (
                "two lists of names in one value",
                one([san("a.example"), san("b.example")].concat()),
                ReadError::Twice("one extension"),
            ),
            ("an attribute that is none", vec![4, 1, 0], unreadable("an attribute")),
            ("half an attribute", vec![0x30, 9, 6], unreadable("an attribute")),
            ("an extension that is none", one(vec![4, 1, 0]), unreadable("an extension")),
            ("a name with a NUL", one(san("a.example\0.b")), unreadable("an alternative name")),
            ("a name that is not ASCII", one(san("ä.example")), unreadable("an alternative name")),
            (
                "an address of five octets",
                one(extension(17, &tlv(0x30, &tlv(0x87, &[1; 5])))),
                unreadable("an alternative name"),
            ),
            ("a CA", authority(&[1, 1, 0xff]), ReadError::Authority),
            ("a CA as BER may write it", authority(&[1, 1, 1]), ReadError::Authority),
        ];
        for (name, attributes, expected) in cases {
            assert_eq!(with_attributes(&attributes).asked(), Err(expected), "{name}");
        }
        let harmless = [authority(&[]), authority(&[1, 1, 0]), one(san("a.example"))];
        for attributes in harmless {
            assert!(with_attributes(&attributes).asked().is_ok());
        }
        let microsoft = with_attributes(&requests(MICROSOFT, &[san("b.example")])).asked();
        assert_eq!(microsoft.unwrap().names.dns_names, ["b.example"]);
    }

    #[test]
    fn what_a_request_has_no_field_for_is_named() {
        const PKCS9: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
        let upn = extension(17, &tlv(0x30, &tlv(0xa0, &[])));
        let usages = extension(15, &[3, 2, 1, 0b1000_0110]);
        let policies = extension(32, &tlv(0x30, &[]));
        let request = requests(PKCS9, &[[upn, usages, policies].concat()]);
        let password = requests(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 7], &[]);
        let asked = with_attributes(&[request, password].concat()).asked().unwrap();
        assert_eq!(asked.common_names, ["a"]);
        assert_eq!(asked.usages, [Usage::DigitalSignature]);
        let others = [
            "an alternative name of kind 0",
            "the key usage keyCertSign",
            "the key usage cRLSign",
            "the extension 2.5.29.32",
            "the attribute 1.2.840.113549.1.9.7",
        ];
        assert_eq!(asked.others, others);
    }

    #[test]
    fn what_is_built_is_read_back_whole() {
        let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
        let subject = vec![Attribute { kind: AttributeType::Organization, value: "O".to_owned() }];
        let usages = Usage::ALL.to_vec();
        let names = Names { subject: subject.clone(), usages: usages.clone(), ..asked() };
        let read = Csr::from_der(&build(&key, &names).unwrap()).unwrap().asked().unwrap();
        assert_eq!((read.subject, read.others), (subject, vec![]));
        assert_eq!(read.usages.iter().collect::<HashSet<_>>(), usages.iter().collect());
        assert_eq!(read.common_names, ["shop"]);
        assert_eq!(read.names, Names { common_name: None, ..asked() });
    }

    fn key_pem(key: &PrivateKey) -> String {
        secrecy::ExposeSecret::expose_secret(&key.to_pkcs8_pem()).to_owned()
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Csr::from_pem(&bytes);
            let _ = Csr::from_der(&bytes);
            let _ = with_attributes(&bytes).asked();
        }

        #[test]
        fn no_changed_byte_passes(at in any::<prop::sample::Index>(), byte: u8) {
            let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
            let mut der = build(&key, &asked()).unwrap();
            let at = at.index(der.len());
            prop_assume!(der[at] != byte);
            der[at] = byte;
            prop_assert!(Csr::from_der(&der).is_err());
            der.truncate(at);
            prop_assert!(Csr::from_der(&der).is_err());
        }
    }
}
