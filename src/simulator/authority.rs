//! Keys and certificates: what every certificate authority of the simulator is made of.
//!
//! It turns a template into signed DER and decides nothing else: which extensions a certificate
//! carries, how long it lives and whether its request deserves one is the business of the system
//! that issues it. Certificates are assembled by hand because the real systems issue shapes that a
//! helpful library will not (serial 0, no key identifiers, an issuer that expired long ago).

use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256,
};
use aws_lc_rs::{digest, rand, rsa};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::simulator::der;
use crate::simulator::lock;
use crate::simulator::name::{self, Name};

const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
const SHA256_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// A day of validity.
pub(crate) const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What a simulated certificate authority failed to do. None of it depends on what a client sends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cryptographic library did not generate a key.
    #[error("the simulator could not generate a key")]
    GenerateKey,
    /// The cryptographic library did not sign.
    #[error("the simulator could not sign a certificate")]
    Sign,
    /// The name of a certificate authority does not fit X.509.
    #[error("the simulator could not name a certificate authority: {0}")]
    Name(String),
    /// The TLS library refused the key or the certificate.
    #[error("the simulator could not set up TLS: {0}")]
    Tls(String),
}

impl From<name::Error> for Error {
    fn from(error: name::Error) -> Self {
        Self::Name(error.to_string())
    }
}

/// The kind of key a certificate authority signs with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// RSA-2048 with SHA-256, as the real service is set up.
    #[default]
    #[serde(rename = "RSA")]
    Rsa,
    /// ECDSA P-256 with SHA-256, so that a benchmark measures its client and not the simulator's
    /// signatures.
    #[serde(rename = "ECDSA")]
    Ecdsa,
}

/// A private key of the simulator.
#[derive(Debug)]
pub(crate) enum Key {
    Rsa(rsa::KeyPair),
    Ecdsa(EcdsaKeyPair),
}

impl Key {
    /// Generates a key; RSA takes tens of milliseconds, so call it from a thread that may block.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<Self, Error> {
        match algorithm {
            KeyAlgorithm::Rsa => rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map(Self::Rsa),
            KeyAlgorithm::Ecdsa => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Self::Ecdsa)
            }
        }
        .map_err(|_| Error::GenerateKey)
    }

    /// The SubjectPublicKeyInfo.
    pub(crate) fn spki_der(&self) -> Result<Vec<u8>, Error> {
        let encoded: Result<PublicKeyX509Der<'_>, _> = match self {
            Self::Rsa(key) => key.public_key().as_der(),
            Self::Ecdsa(key) => key.public_key().as_der(),
        };
        Ok(encoded.map_err(|_| Error::GenerateKey)?.as_ref().to_vec())
    }

    /// The private key as PKCS#8.
    pub(crate) fn pkcs8_der(&self) -> Result<Vec<u8>, Error> {
        let encoded: Result<Pkcs8V1Der<'_>, _> = match self {
            Self::Rsa(key) => key.as_der(),
            Self::Ecdsa(key) => {
                return key
                    .to_pkcs8v1()
                    .map(|document| document.as_ref().to_vec())
                    .map_err(|_| Error::GenerateKey);
            }
        };
        Ok(encoded.map_err(|_| Error::GenerateKey)?.as_ref().to_vec())
    }

    fn signature_algorithm(&self) -> Vec<u8> {
        match self {
            Self::Rsa(_) => {
                der::sequence(&[&der::element(der::OBJECT_IDENTIFIER, SHA256_WITH_RSA), &[5, 0]])
            }
            Self::Ecdsa(_) => {
                der::sequence(&[&der::element(der::OBJECT_IDENTIFIER, ECDSA_WITH_SHA256)])
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map_err(|_| Error::Sign)?;
                Ok(signature)
            }
            Self::Ecdsa(key) => {
                Ok(key.sign(&random, message).map_err(|_| Error::Sign)?.as_ref().to_vec())
            }
        }
    }
}

/// Where certificate authorities get their keys: a fresh one each, or by turns out of a few.
///
/// Sharing is for tests that create sites by the dozen; shared keys never mean shared names.
#[derive(Debug)]
pub(crate) struct KeyPool {
    limit: Option<usize>,
    keys: Mutex<Vec<(KeyAlgorithm, Arc<Key>)>>,
    turn: Mutex<usize>,
}

impl KeyPool {
    /// With a limit, no more than so many keys of each algorithm are generated.
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self { limit, keys: Mutex::default(), turn: Mutex::default() }
    }

    /// `N` keys, different ones as long as the limit is not below `N`.
    pub(crate) fn take<const N: usize>(
        &self,
        algorithm: KeyAlgorithm,
    ) -> Result<[Arc<Key>; N], Error> {
        let mut taken = Vec::with_capacity(N);
        for _ in 0..N {
            taken.push(self.take_one(algorithm)?);
        }
        taken.try_into().map_err(|_| Error::GenerateKey)
    }

    fn take_one(&self, algorithm: KeyAlgorithm) -> Result<Arc<Key>, Error> {
        let Some(limit) = self.limit else {
            return Key::generate(algorithm).map(Arc::new);
        };
        let mut keys = lock(&self.keys);
        let of_kind: Vec<Arc<Key>> = keys
            .iter()
            .filter(|(kind, _)| *kind == algorithm)
            .map(|(_, key)| Arc::clone(key))
            .collect();
        if of_kind.len() < limit.max(1) {
            let key = Arc::new(Key::generate(algorithm)?);
            keys.push((algorithm, Arc::clone(&key)));
            return Ok(key);
        }
        let mut turn = lock(&self.turn);
        *turn = turn.wrapping_add(1);
        Ok(Arc::clone(&of_kind[*turn % of_kind.len()]))
    }
}

/// Everything a certificate says, before it is signed.
pub(crate) struct Template<'a> {
    /// The serial number's big-endian magnitude; empty means 0.
    pub(crate) serial: &'a [u8],
    pub(crate) issuer: &'a Name,
    pub(crate) subject: &'a Name,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) spki_der: &'a [u8],
    /// Encoded extensions, see [`extension`].
    pub(crate) extensions: &'a [Vec<u8>],
}

/// Signs a version 3 certificate.
pub(crate) fn certificate(template: &Template<'_>, signer: &Key) -> Result<Vec<u8>, Error> {
    let algorithm = signer.signature_algorithm();
    let tbs = der::sequence(&[
        &der::element(der::CONTEXT_0, &der::integer(&[2])),
        &der::integer(template.serial),
        &algorithm,
        template.issuer.der(),
        &der::sequence(&[&time(template.not_before), &time(template.not_after)]),
        template.subject.der(),
        template.spki_der,
        &der::element(der::CONTEXT_3, &der::element(der::SEQUENCE, &template.extensions.concat())),
    ]);
    let signature = signer.sign(&tbs)?;
    Ok(der::sequence(&[&tbs, &algorithm, &der::bit_string(&signature)]))
}

/// UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280, section 4.1.2.5).
fn time(moment: Timestamp) -> Vec<u8> {
    let utc = moment.to_zoned(TimeZone::UTC);
    if (1950..2050).contains(&utc.year()) {
        der::element(der::UTC_TIME, utc.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        der::element(der::GENERALIZED_TIME, utc.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

/// One extension from the encoding of its value.
pub(crate) fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[der::BOOLEAN, 1, 0xff] } else { &[] };
    der::sequence(&[
        &der::element(der::OBJECT_IDENTIFIER, oid),
        critical,
        &der::element(der::OCTET_STRING, value),
    ])
}

/// basicConstraints, critical, CA:FALSE: an empty SEQUENCE, as OpenSSL encodes it.
pub(crate) fn not_an_authority() -> Vec<u8> {
    extension(BASIC_CONSTRAINTS, true, &der::sequence(&[]))
}

/// subjectAltName from DNS names and IP addresses, and extendedKeyUsage serverAuth.
pub(crate) fn server_extensions(names: &[String]) -> [Vec<u8>; 2] {
    let alternatives: Vec<u8> = names
        .iter()
        .flat_map(|name| match name.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(address)) => der::element(0x87, &address.octets()),
            Ok(std::net::IpAddr::V6(address)) => der::element(0x87, &address.octets()),
            Err(_) => der::element(0x82, name.as_bytes()),
        })
        .collect();
    let purposes = der::sequence(&[&der::element(der::OBJECT_IDENTIFIER, SERVER_AUTH)]);
    [
        extension(SUBJECT_ALTERNATIVE_NAME, false, &der::element(der::SEQUENCE, &alternatives)),
        extension(EXTENDED_KEY_USAGE, false, &purposes),
    ]
}

/// What a certificate for a server or a mailbox carries: basicConstraints, keyUsage
/// digitalSignature, extendedKeyUsage, both key identifiers and these subjectAltName elements,
/// critical where the subject is empty (RFC 5280, section 4.2.1.6).
pub(crate) fn end_entity_extensions(
    spki_der: &[u8],
    issuer: &CertificateAuthority,
    alternatives: &[Vec<u8>],
    is_subject_empty: bool,
) -> Result<Vec<Vec<u8>>, Error> {
    let purposes = der::sequence(&[
        &der::element(der::OBJECT_IDENTIFIER, SERVER_AUTH),
        &der::element(der::OBJECT_IDENTIFIER, CLIENT_AUTH),
    ]);
    let own = der::element(der::OCTET_STRING, &key_identifier(spki_der));
    let above = der::element(0x80, &key_identifier(&issuer.key.spki_der()?));
    let mut extensions = vec![
        not_an_authority(),
        extension(KEY_USAGE, true, &[der::BIT_STRING, 2, 7, 0x80]),
        extension(EXTENDED_KEY_USAGE, false, &purposes),
        extension(SUBJECT_KEY_IDENTIFIER, false, &own),
        extension(AUTHORITY_KEY_IDENTIFIER, false, &der::sequence(&[&above])),
    ];
    if !alternatives.is_empty() {
        let names = der::element(der::SEQUENCE, &alternatives.concat());
        extensions.push(extension(SUBJECT_ALTERNATIVE_NAME, is_subject_empty, &names));
    }
    Ok(extensions)
}

/// A certificate authority: its key, its name and its certificate.
#[derive(Debug)]
pub(crate) struct CertificateAuthority {
    pub(crate) key: Arc<Key>,
    pub(crate) name: Name,
    pub(crate) der: Vec<u8>,
}

impl CertificateAuthority {
    /// A self-signed root, valid for these days before and after `now`.
    pub(crate) fn root(
        key: Arc<Key>,
        name: Name,
        validity: (Timestamp, Timestamp),
    ) -> Result<Self, Error> {
        let der = authority_certificate(&key, &name, &key, &name, validity)?;
        Ok(Self { key, name, der })
    }

    /// An authority below this one.
    pub(crate) fn subordinate(
        &self,
        key: Arc<Key>,
        name: Name,
        validity: (Timestamp, Timestamp),
    ) -> Result<Self, Error> {
        let der = authority_certificate(&key, &name, &self.key, &self.name, validity)?;
        Ok(Self { key, name, der })
    }

    /// The certificate as PEM.
    pub(crate) fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }
}

fn authority_certificate(
    key: &Key,
    name: &Name,
    signer: &Key,
    issuer: &Name,
    validity: (Timestamp, Timestamp),
) -> Result<Vec<u8>, Error> {
    let spki_der = key.spki_der()?;
    let key_identifier = key_identifier(&spki_der);
    let issuer_identifier = self::key_identifier(&signer.spki_der()?);
    let extensions = [
        extension(BASIC_CONSTRAINTS, true, &der::sequence(&[&[der::BOOLEAN, 1, 0xff]])),
        // keyCertSign and cRLSign.
        extension(KEY_USAGE, true, &[der::BIT_STRING, 2, 1, 0x06]),
        extension(SUBJECT_KEY_IDENTIFIER, false, &der::element(der::OCTET_STRING, &key_identifier)),
        extension(
            AUTHORITY_KEY_IDENTIFIER,
            false,
            &der::sequence(&[&der::element(0x80, &issuer_identifier)]),
        ),
    ];
    let template = Template {
        serial: &random_serial()?,
        issuer,
        subject: name,
        not_before: validity.0,
        not_after: validity.1,
        spki_der: &spki_der,
        extensions: &extensions,
    };
    certificate(&template, signer)
}

/// SHA-1 of the SubjectPublicKeyInfo: RFC 5280 leaves the method open as long as it is the same on
/// both sides.
fn key_identifier(spki_der: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, spki_der).as_ref().to_vec()
}

/// Fifteen random octets: unique enough, and never negative or too long.
pub(crate) fn random_serial() -> Result<[u8; 15], Error> {
    let mut serial = [0; 15];
    rand::fill(&mut serial).map_err(|_| Error::GenerateKey)?;
    Ok(serial)
}

/// A moment so far away from `now`; the end of time if there is no such moment.
pub(crate) fn shifted(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_add(by).unwrap_or(now)
}

/// PEM with lines of 64 characters, as OpenSSL writes it.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let mut out = format!("-----BEGIN {label}-----\n");
    for (index, character) in STANDARD.encode(der).chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            out.push('\n');
        }
        out.push(character);
    }
    out.push_str(&format!("\n-----END {label}-----\n"));
    out
}

/// SHA-256 in lower case hexadecimal.
pub(crate) fn sha256_hex(octets: &[u8]) -> String {
    name::hex(digest::digest(&digest::SHA256, octets).as_ref())
}
