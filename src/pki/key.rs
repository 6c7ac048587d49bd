//! Private keys: generated here, kept in Secrets, read back from PEM.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
};
use const_oid::db::rfc5912::{
    ID_EC_PUBLIC_KEY, RSA_ENCRYPTION, SECP_256_R_1, SECP_384_R_1, SECP_521_R_1,
};
use const_oid::db::rfc8410::ID_ED_25519;
use der::asn1::{AnyRef, UintRef};
use der::{Decode as _, Reader as _, SliceReader};
use rcgen::{PublicKeyData as _, RsaKeySize, SigningKey as _};
use rustls_pki_types::PrivatePkcs8KeyDer;
use secrecy::SecretString;
use x509_cert::spki::SubjectPublicKeyInfoRef;
use zeroize::{Zeroize as _, Zeroizing};

use super::pem;

/// The kinds of key that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    Rsa4096,
    /// ECDSA on the curve P-256 (secp256r1, prime256v1).
    EcdsaP256,
    /// ECDSA on the curve P-384 (secp384r1).
    EcdsaP384,
    /// ECDSA on the curve P-521 (secp521r1).
    EcdsaP521,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl KeyKind {
    /// Making one takes as long as a search for primes does.
    #[must_use]
    pub const fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }

    /// Returns every kind, RSA first and the smaller first.
    pub const fn all() -> [Self; 7] {
        [
            Self::Rsa2048,
            Self::Rsa3072,
            Self::Rsa4096,
            Self::EcdsaP256,
            Self::EcdsaP384,
            Self::EcdsaP521,
            Self::Ed25519,
        ]
    }

    /// Returns the kind of a public key, from the DER of its SubjectPublicKeyInfo: `None` for bytes
    /// that are none and for keys of another kind.
    #[must_use]
    pub fn of_spki(spki_der: &[u8]) -> Option<Self> {
        let spki = SubjectPublicKeyInfoRef::from_der(spki_der).ok()?;
        let curve = || spki.algorithm.parameters.and_then(|curve| curve.decode_as().ok());
        match spki.algorithm.oid {
            ID_EC_PUBLIC_KEY => match curve()? {
                SECP_256_R_1 => Some(Self::EcdsaP256),
                SECP_384_R_1 => Some(Self::EcdsaP384),
                SECP_521_R_1 => Some(Self::EcdsaP521),
                _ => None,
            },
            ID_ED_25519 => Some(Self::Ed25519),
            RSA_ENCRYPTION => Self::of_rsa(spki.subject_public_key.raw_bytes()),
            _ => None,
        }
    }

    /// From `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }`, RFC 8017
    /// appendix A.1.1.
    fn of_rsa(public_key: &[u8]) -> Option<Self> {
        let modulus = AnyRef::from_der(public_key)
            .and_then(|sequence| SliceReader::new(sequence.value())?.decode::<UintRef<'_>>());
        match modulus.ok()?.as_bytes().len() {
            256 => Some(Self::Rsa2048),
            384 => Some(Self::Rsa3072),
            512 => Some(Self::Rsa4096),
            _ => None,
        }
    }

    const fn algorithm(self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
            Self::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::EcdsaP521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rsa2048 => "RSA 2048",
            Self::Rsa3072 => "RSA 3072",
            Self::Rsa4096 => "RSA 4096",
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::EcdsaP521 => "ECDSA P-521",
            Self::Ed25519 => "Ed25519",
        })
    }
}

/// Why a private key could not be made, read or used. No text quotes any part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cryptographic library failed, which means the machine has no randomness or no memory.
    #[error("an {kind} key could not be generated")]
    Generate {
        /// What was asked for.
        kind: KeyKind,
    },
    /// There is no block whose label ends in `PRIVATE KEY`.
    #[error("there is no private key in the PEM text")]
    NotFound,
    /// There are several, and nothing says which one is meant.
    #[error("there are {count} private keys in the PEM text, and one is expected")]
    Several {
        /// How many there are.
        count: usize,
    },
    /// The key needs a passphrase, and there is nobody to type it.
    #[error("the private key is encrypted; store it without a passphrase")]
    Encrypted,
    /// The block has no END line of its own, or is not base64.
    #[error("block {block} of the PEM text is truncated or damaged")]
    Damaged {
        /// Its place among all blocks of the text, from 1.
        block: usize,
    },
    /// The bytes are not a key in PKCS#8, PKCS#1 or SEC 1 form, its halves do not belong together, or
    /// its algorithm is not known here at all.
    #[error("the private key cannot be decoded or is of an unknown algorithm")]
    Malformed,
    /// This is a key, but not one of [`KeyKind::all`].
    #[error(
        "{found} are not supported; use RSA 2048, 3072 or 4096, ECDSA P-256, P-384 or P-521, or \
         Ed25519"
    )]
    Unsupported {
        /// What it is, for example `RSA keys of this size`.
        found: &'static str,
    },
    /// The cryptographic library refused to sign.
    #[error("the private key could not sign")]
    Sign,
}

/// A private key with its public half.
///
/// Not `Clone`, so that there is one copy to overwrite; share it in an `Arc`. `Debug` shows the kind
/// only.
pub struct PrivateKey {
    kind: KeyKind,
    /// Its serialized form is always PKCS#8 version 1, whatever was read.
    pair: rcgen::KeyPair,
    spki_der: Vec<u8>,
}

impl PrivateKey {
    /// Generates a key.
    ///
    /// Blocks: on one quiet core about 50 ms for RSA 2048, 0.2 s for RSA 3072 and 0.5 s for RSA 4096
    /// on average, with outliers of two to three times that and more on a busy machine; below 1 ms
    /// for the others. Call it from a thread that may block, and bound how many run at once.
    ///
    /// # Errors
    /// [`Error::Generate`] if the cryptographic library fails.
    pub fn generate(kind: KeyKind) -> Result<Self, Error> {
        let failed = Error::Generate { kind };
        let rsa = |size| rcgen::KeyPair::generate_rsa_for(kind.algorithm(), size);
        let pair = match kind {
            KeyKind::Rsa2048 => rsa(RsaKeySize::_2048),
            KeyKind::Rsa3072 => rsa(RsaKeySize::_3072),
            KeyKind::Rsa4096 => rsa(RsaKeySize::_4096),
            KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => {
                rcgen::KeyPair::generate_for(kind.algorithm())
            }
            // rcgen would write version 2, which OpenSSL 3.0 does not read.
            KeyKind::Ed25519 => {
                let pair = Ed25519KeyPair::generate().map_err(|_| failed.clone())?;
                let (_, pkcs8) = ed25519_to_pkcs8(&pair).ok_or_else(|| failed.clone())?;
                return Self::from_pkcs8(kind, &pkcs8).map_err(|_| failed);
            }
        };
        pair.map(|pair| Self::new(kind, pair)).map_err(|_| failed)
    }

    /// Reads the one private key of a PEM text: PKCS#8 of version 1 or 2 (RFC 5958), PKCS#1 (RFC
    /// 8017 appendix A.1.2) or SEC 1 (RFC 5915).
    ///
    /// Other blocks (certificates, `EC PARAMETERS`) are passed over, and the form is found from the
    /// contents rather than from the label, which tools get wrong.
    ///
    /// # Errors
    /// Says what is wrong without quoting the text: none or several keys, encrypted, damaged, or of a
    /// kind that [`KeyKind`] does not have.
    pub fn from_pem(text: &[u8]) -> Result<Self, Error> {
        let block = the_private_key(text)?;
        if block.is_encrypted() {
            return Err(Error::Encrypted);
        }
        let damaged = Error::Damaged { block: block.number };
        let (kind, pkcs8) = to_pkcs8(&block.decode().ok_or(damaged)?)?;
        Self::from_pkcs8(kind, &pkcs8)
    }

    fn from_pkcs8(kind: KeyKind, pkcs8: &[u8]) -> Result<Self, Error> {
        let der = PrivatePkcs8KeyDer::from(pkcs8);
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, kind.algorithm())
            .map_err(|_| Error::Malformed)?;
        Ok(Self::new(kind, pair))
    }

    fn new(kind: KeyKind, pair: rcgen::KeyPair) -> Self {
        let spki_der = pair.subject_public_key_info();
        Self { kind, pair, spki_der }
    }

    /// Returns the algorithm and size.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Writes the key as PKCS#8 PEM, the form that every server reads.
    pub fn to_pkcs8_pem(&self) -> SecretString {
        pem::encode("PRIVATE KEY", self.pair.serialized_der()).into()
    }

    /// Returns the public key as DER of a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// Signs `message` as certification requests are signed: RSA with PKCS#1 v1.5 and SHA-256, ECDSA
    /// in ASN.1 form with SHA-256 on P-256, SHA-384 on P-384 and SHA-512 on P-521, Ed25519 without
    /// prehash.
    ///
    /// # Errors
    /// [`Error::Sign`] if the cryptographic library fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.pair.sign(message).map_err(|_| Error::Sign)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

fn the_private_key(text: &[u8]) -> Result<pem::Block<'_>, Error> {
    let mut keys = Vec::new();
    for block in pem::blocks(text) {
        let block = block.map_err(|truncated| Error::Damaged { block: truncated.number })?;
        if block.is_private_key() {
            keys.push(block);
        }
    }
    let count = keys.len();
    let first = keys.into_iter().next().ok_or(Error::NotFound)?;
    if count > 1 {
        return Err(Error::Several { count });
    }
    Ok(first)
}

/// Finds out what kind of key these bytes are, and rewrites them as PKCS#8 version 1.
///
/// rcgen would keep the bytes as they came, and call PKCS#1 bytes PKCS#8 when asked to write them.
fn to_pkcs8(der: &[u8]) -> Result<(KeyKind, Zeroizing<Vec<u8>>), Error> {
    for rsa in [rsa::KeyPair::from_pkcs8(der), rsa::KeyPair::from_der(der)] {
        match rsa {
            Ok(pair) => return rsa_to_pkcs8(&pair),
            Err(rejected) if rejected.to_string() == "TooSmall" => {
                return Err(Error::Unsupported { found: "RSA keys shorter than 2048 bits" });
            }
            Err(_) => {}
        }
    }
    let curves = [
        (KeyKind::EcdsaP256, &ECDSA_P256_SHA256_ASN1_SIGNING),
        (KeyKind::EcdsaP384, &ECDSA_P384_SHA384_ASN1_SIGNING),
        (KeyKind::EcdsaP521, &ECDSA_P521_SHA512_ASN1_SIGNING),
    ];
    for (kind, curve) in curves {
        if let Some(pkcs8) = ecdsa_to_pkcs8(curve, der) {
            return Ok((kind, pkcs8));
        }
    }
    let ed25519 = Ed25519KeyPair::from_pkcs8(der).ok();
    ed25519.as_ref().and_then(ed25519_to_pkcs8).ok_or(Error::Malformed)
}

fn rsa_to_pkcs8(pair: &rsa::KeyPair) -> Result<(KeyKind, Zeroizing<Vec<u8>>), Error> {
    let kind = match pair.public_modulus_len() * 8 {
        2048 => KeyKind::Rsa2048,
        3072 => KeyKind::Rsa3072,
        4096 => KeyKind::Rsa4096,
        _ => {
            return Err(Error::Unsupported { found: "RSA keys of this size" });
        }
    };
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Error::Malformed)?;
    Ok((kind, Zeroizing::new(der.as_ref().to_vec())))
}

fn ecdsa_to_pkcs8(curve: &'static EcdsaSigningAlgorithm, der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let pair = EcdsaKeyPair::from_private_key_der(curve, der).ok()?;
    let document = pair.to_pkcs8v1().ok()?;
    Some(Zeroizing::new(document.as_ref().to_vec()))
}

fn ed25519_to_pkcs8(pair: &Ed25519KeyPair) -> Option<(KeyKind, Zeroizing<Vec<u8>>)> {
    let document = pair.to_pkcs8v1().ok()?;
    Some((KeyKind::Ed25519, Zeroizing::new(document.as_ref().to_vec())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn generate_pem(kind: KeyKind) -> String {
        let key = PrivateKey::generate(kind).unwrap();
        key.to_pkcs8_pem().expose_secret().to_owned()
    }

    #[test]
    fn a_key_of_every_kind_survives_its_pem() {
        for kind in KeyKind::all() {
            let key = PrivateKey::generate(kind).unwrap();
            assert_eq!(KeyKind::of_spki(key.spki_der()), Some(kind));
            let pem = key.to_pkcs8_pem();
            let read = PrivateKey::from_pem(pem.expose_secret().as_bytes()).unwrap();
            assert_eq!(read.kind(), kind);
            assert_eq!(read.spki_der(), key.spki_der());
            assert_eq!(read.to_pkcs8_pem().expose_secret(), pem.expose_secret(), "{kind}");
        }
    }

    #[test]
    fn debug_shows_nothing_but_the_kind() {
        let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey { kind: EcdsaP256, .. }");
        assert!(!format!("{:?}", key.to_pkcs8_pem()).contains("BEGIN"));
    }

    #[test]
    fn kinds_read_as_people_write_them() {
        let names: Vec<String> = KeyKind::all().iter().map(KeyKind::to_string).collect();
        let expected = [
            "RSA 2048",
            "RSA 3072",
            "RSA 4096",
            "ECDSA P-256",
            "ECDSA P-384",
            "ECDSA P-521",
            "Ed25519",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn unreadable_keys_are_refused_with_a_reason_and_without_their_text() {
        let good = generate_pem(KeyKind::EcdsaP256);
        let body = good.lines().nth(1).unwrap();
        let escaped = good.replace('\n', "\\n");
        let encrypted = good.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let encrypted_pkcs1 = good.replace(
            "KEY-----\nM",
            "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nM",
        );
        let twice = format!("{good}{good}");
        let cases = [
            ("empty", String::new(), Error::NotFound),
            ("a certificate", good.replace("PRIVATE KEY", "CERTIFICATE"), Error::NotFound),
            ("escaped line breaks", escaped, Error::Damaged { block: 1 }),
            ("truncated", good[..good.len() - 30].to_owned(), Error::Damaged { block: 1 }),
            ("encrypted", encrypted, Error::Encrypted),
            ("encrypted PKCS#1", encrypted_pkcs1, Error::Encrypted),
            ("two keys", twice, Error::Several { count: 2 }),
            ("a line lost", good.replace(body, ""), Error::Malformed),
        ];
        for (name, text, expected) in cases {
            let error = PrivateKey::from_pem(text.as_bytes()).unwrap_err();
            assert_eq!(error, expected, "{name}");
            assert!(!format!("{error} {error:?}").contains(&body[..8]), "{name}");
        }
    }

    #[test]
    fn an_ed25519_key_of_version_2_is_read_and_written_as_version_1() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let version_2 = key.serialize_der();
        assert_eq!(version_2[..5], [0x30, 0x51, 0x02, 0x01, 0x01], "of RFC 5958, with public key");
        let read = PrivateKey::from_pem(key.serialize_pem().as_bytes()).unwrap();
        assert_eq!(read.kind(), KeyKind::Ed25519);
        assert_eq!(read.spki_der(), key.subject_public_key_info());
        let ours = read.to_pkcs8_pem();
        let blocks = pem::blocks(ours.expose_secret().as_bytes()).next().unwrap().unwrap();
        assert_eq!(blocks.decode().unwrap()[..5], [0x30, 0x2e, 0x02, 0x01, 0x00]);
    }

    #[test]
    fn public_keys_of_other_kinds_have_none() {
        let p521 = PrivateKey::generate(KeyKind::EcdsaP521).unwrap();
        let mut unknown_curve = p521.spki_der().to_vec();
        // The last arc of the curve's identifier.
        let arc = unknown_curve.windows(5).position(|w| w == [0x2b, 0x81, 0x04, 0x00, 0x23]);
        unknown_curve[arc.unwrap() + 4] = 0x0a;
        assert_eq!(KeyKind::of_spki(&unknown_curve), None);
        assert_eq!(KeyKind::of_spki(b""), None);
        assert_eq!(KeyKind::of_spki(&[0x30, 0x00]), None);
    }

    #[test]
    fn a_key_is_found_among_other_blocks() {
        let key = generate_pem(KeyKind::EcdsaP384);
        let text = format!(
            "\u{feff}Bag Attributes\n-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n\
             -----END EC PARAMETERS-----\n{key}-----BEGIN CERTIFICATE-----\n\n\
             -----END CERTIFICATE-----\n"
        );
        let read = PrivateKey::from_pem(text.as_bytes()).unwrap();
        assert_eq!(read.kind(), KeyKind::EcdsaP384);
    }

    proptest! {
        #[test]
        fn no_bytes_make_from_pem_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = PrivateKey::from_pem(&bytes);
            let framed = pem::encode("PRIVATE KEY", &bytes);
            let _ = PrivateKey::from_pem(framed.as_bytes());
            let _ = KeyKind::of_spki(&bytes);
        }

        #[test]
        fn no_mutated_key_makes_from_pem_panic(at in any::<prop::sample::Index>(), byte: u8) {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut der = key.serialize_der();
            let at = at.index(der.len());
            der[at] = byte;
            let _ = PrivateKey::from_pem(pem::encode("PRIVATE KEY", &der).as_bytes());
            der.truncate(at);
            let _ = PrivateKey::from_pem(pem::encode("PRIVATE KEY", &der).as_bytes());
            let mut text = key.serialize_pem().into_bytes();
            text[at] = byte;
            let _ = PrivateKey::from_pem(&text);
        }
    }
}
