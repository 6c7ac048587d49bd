//! Certification requests that somebody else made, as leniently read as certificates are.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
use const_oid::db::rfc5912::ID_EXTENSION_REQ;
use der::asn1::{AnyRef, BitStringRef};
use der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};

use super::super::names::{AlternativeNames, Names};
use super::super::{name, pem};

/// Why a certification request cannot be used. No text quotes the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
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

    fn key_pem(key: &PrivateKey) -> String {
        secrecy::ExposeSecret::expose_secret(&key.to_pkcs8_pem()).to_owned()
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Csr::from_pem(&bytes);
            let _ = Csr::from_der(&bytes);
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
