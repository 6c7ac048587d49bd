//! One signature under one key: the check is a library's, the choice of algorithms and the words for
//! what is wrong are here.
//!
//! # Caveats
//! RFC 5758 section 3.2 has the parameters of ECDSA signatures absent. Some certificate authorities
//! write NULL there, which OpenSSL and Go take and rustls does not: [`lenient`] has the library's
//! algorithms once more under those identifiers.

use std::sync::LazyLock;

use const_oid::ObjectIdentifier;
use der::asn1::AnyRef;
use der::{Decode as _, Tag, Tagged as _};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

use super::super::certificate::{Certificate, without_unused_bits};
use super::super::name;

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

/// Shorter RSA keys are refused, as by all clients.
const RSA_BITS: usize = 2048;

/// `ecdsa-with-SHA256`, `-SHA384` and `-SHA512` with NULL for parameters.
const ECDSA_WITH_NULL: [&[u8]; 3] = [
    b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02\x05\x00",
    b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03\x05\x00",
    b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04\x05\x00",
];

/// One of the library's algorithms under another identifier.
#[derive(Debug)]
struct Renamed {
    algorithm: Algorithm,
    id: AlgorithmIdentifier,
}

impl SignatureVerificationAlgorithm for Renamed {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        self.algorithm.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.id
    }
}

static RENAMED: LazyLock<Vec<Renamed>> = LazyLock::new(|| {
    let with_null = |algorithm: &Algorithm| {
        let id = algorithm.signature_alg_id();
        let null = ECDSA_WITH_NULL.iter().find(|null| null.strip_suffix(b"\x05\x00") == Some(&id));
        let id = AlgorithmIdentifier::from_slice(null?);
        Some(Renamed { algorithm: *algorithm, id })
    };
    webpki::ALL_VERIFICATION_ALGS.iter().filter_map(with_null).collect()
});

static LENIENT: LazyLock<Vec<Algorithm>> = LazyLock::new(|| {
    let renamed = RENAMED.iter().map(|renamed| renamed as Algorithm);
    webpki::ALL_VERIFICATION_ALGS.iter().copied().chain(renamed).collect()
});

/// All algorithms that rustls knows, and ECDSA with NULL parameters.
pub(super) fn lenient() -> &'static [Algorithm] {
    &LENIENT
}

/// Is the signature of an algorithm that rustls knows under another identifier only?
pub(super) fn has_null_parameters(certificate: &Certificate) -> bool {
    certificate.signed().is_some_and(|signed| ECDSA_WITH_NULL.contains(&signed.algorithm))
}

/// Why a signature does not count. Completes the sentence "the certificate ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error("is signed with {0}, which is not supported")]
    UnknownAlgorithm(String),
    #[error("is signed by a key of a kind that is not supported: {0}")]
    UnknownKey(String),
    #[error("is signed by an RSA key of {0} bits, and {RSA_BITS} are needed")]
    ShortKey(usize),
    #[error("is signed with {0}, which does not fit the key of its issuer")]
    Unfit(String),
    #[error(
        "has a signature that its issuer's key does not verify: a root or intermediate of the same \
         name but with another key is in use"
    )]
    Wrong,
}

/// Is `certificate` signed by the key of `issuer`? Their names are not looked at.
pub(super) fn check(certificate: &Certificate, issuer: &Certificate) -> Result<(), Flaw> {
    let key = PublicKey::read(issuer.spki_der()).ok_or(Flaw::Wrong)?;
    let signed = certificate.signed().ok_or(Flaw::Wrong)?;
    let has_id = |algorithm: &&Algorithm| *algorithm.signature_alg_id() == *signed.algorithm;
    let algorithms: Vec<&Algorithm> = lenient().iter().filter(has_id).collect();
    let name = || named(signed.algorithm);
    if algorithms.is_empty() {
        return Err(Flaw::UnknownAlgorithm(name()));
    }
    let fits = |algorithm: &&&Algorithm| *algorithm.public_key_alg_id() == *key.algorithm;
    let Some(fitting) = algorithms.iter().find(fits) else {
        let is_known = |algorithm: &Algorithm| *algorithm.public_key_alg_id() == *key.algorithm;
        return Err(match lenient().iter().any(is_known) {
            true => Flaw::Unfit(name()),
            false => Flaw::UnknownKey(named(key.algorithm)),
        });
    };
    match fitting.verify_signature(key.bits, signed.to_be_signed, signed.signature) {
        Ok(()) => Ok(()),
        Err(InvalidSignature) => Err(match key.rsa_bits() {
            Some(bits) if bits < RSA_BITS => Flaw::ShortKey(bits),
            _ => Flaw::Wrong,
        }),
    }
}

/// A SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
struct PublicKey<'a> {
    /// The contents of the AlgorithmIdentifier.
    algorithm: &'a [u8],
    bits: &'a [u8],
}

impl<'a> PublicKey<'a> {
    fn read(spki_der: &'a [u8]) -> Option<Self> {
        let parts = name::elements(AnyRef::from_der(spki_der).ok()?.value()).ok()?;
        let [algorithm, bits] = parts[..] else { return None };
        Some(Self { algorithm: algorithm.value(), bits: without_unused_bits(bits) })
    }

    /// The length of the modulus, of RSA keys (RFC 8017 appendix A.1.1).
    fn rsa_bits(&self) -> Option<usize> {
        const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
        identifiers(self.algorithm).contains(&RSA).then_some(())?;
        let numbers = name::elements(AnyRef::from_der(self.bits).ok()?.value()).ok()?;
        let modulus = numbers.first()?.value();
        let zeros = modulus.iter().take_while(|octet| **octet == 0).count();
        let first = modulus.get(zeros)?;
        Some((modulus.len() - zeros) * 8 - usize::try_from(first.leading_zeros()).unwrap_or(0))
    }
}

/// The object identifiers at the top of the contents of an AlgorithmIdentifier: the algorithm, and for
/// ECDSA keys the curve.
fn identifiers(algorithm: &[u8]) -> Vec<ObjectIdentifier> {
    let parts = name::elements(algorithm).unwrap_or_default();
    let identifiers = parts.iter().filter(|part| part.tag() == Tag::ObjectIdentifier);
    identifiers.filter_map(|part| ObjectIdentifier::from_bytes(part.value()).ok()).collect()
}

/// Those that const-oid's table lacks or names otherwise than people do.
const NAMES: [(&str, &str); 11] = [
    ("1.2.840.10045.2.1", "ECDSA"),
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.113549.1.1.4", "MD5 with RSA"),
    ("1.2.840.113549.1.1.5", "SHA-1 with RSA"),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
    ("1.2.840.10040.4.3", "DSA with SHA-1"),
    ("1.3.101.113", "Ed448"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
    ("1.3.132.0.10", "secp256k1"),
];

/// An algorithm in words, the curve included.
fn named(algorithm: &[u8]) -> String {
    let word = |id: &ObjectIdentifier| {
        let dotted = id.to_string();
        let own = NAMES.iter().find(|(known, _)| *known == dotted).map(|(_, name)| *name);
        own.or_else(|| const_oid::db::DB.by_oid(id)).map_or(dotted, str::to_owned)
    };
    match identifiers(algorithm).iter().map(word).collect::<Vec<_>>() {
        words if words.is_empty() => "an algorithm that cannot be read".to_owned(),
        words => words.join(" on "),
    }
}
