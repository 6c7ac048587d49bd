//! An authority that certifies whatever key it is given.

use std::sync::OnceLock;

use chancery::pki::csr::Csr;
use chancery::pki::{Certificate, Names};
use der::Decode as _;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData, SerialNumber,
    SignatureAlgorithm,
};
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// One for all tests.
pub(crate) fn root() -> &'static Root {
    static ROOT: OnceLock<Root> = OnceLock::new();
    ROOT.get_or_init(|| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2036, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let certificate = Certificate::from_der(certificate.der()).unwrap();
        Root { certificate, issuer: Issuer::new(params, key) }
    })
}

pub(crate) struct Root {
    pub(crate) certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// How the next certificate is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bend {
    /// It is for a key of somebody else.
    WrongKey,
    /// The root comes before it.
    WrongOrder,
}

impl Root {
    /// The chain for a request, as PEM texts.
    pub(crate) fn issue(&self, csr: &Csr, serial: u64, bend: Option<Bend>) -> Vec<String> {
        let key = if bend == Some(Bend::WrongKey) {
            PublicKeyData::subject_public_key_info(&KeyPair::generate().unwrap())
        } else {
            csr.spki_der.clone()
        };
        let leaf = self.certify(&key, &csr.names, serial);
        let mut chain = vec![leaf, self.certificate.to_pem()];
        if bend == Some(Bend::WrongOrder) {
            chain.reverse();
        }
        chain
    }

    fn certify(&self, spki_der: &[u8], names: &Names, serial: u64) -> String {
        let mut params = CertificateParams::new(names.dns_names.clone()).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        params.serial_number = Some(SerialNumber::from(serial));
        params.signed_by(&Public::of(spki_der), &self.issuer).unwrap().pem()
    }
}

/// A certificate that a client shows in TLS, and its key, both in PEM and the same for all tests.
pub(crate) fn client() -> (&'static str, &'static str) {
    static CLIENT: OnceLock<(String, String)> = OnceLock::new();
    let (certificate, key) = CLIENT.get_or_init(|| {
        let key = KeyPair::generate().unwrap();
        let names = Names { dns_names: vec!["client.example.org".to_owned()], ..Names::default() };
        let spki_der = PublicKeyData::subject_public_key_info(&key);
        (root().certify(&spki_der, &names, 1), key.serialize_pem())
    });
    (certificate, key)
}

/// The public half of an ECDSA key on P-256.
struct Public(Vec<u8>);

impl Public {
    fn of(spki_der: &[u8]) -> Self {
        let spki = SubjectPublicKeyInfoRef::from_der(spki_der).unwrap();
        Self(spki.subject_public_key.raw_bytes().to_vec())
    }
}

impl PublicKeyData for Public {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}
