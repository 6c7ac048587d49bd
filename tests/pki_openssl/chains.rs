//! A chain of each kind that certificate authorities issue: what is delivered of it, and what rustls,
//! OpenSSL and Go say to that.

use std::collections::BTreeMap;

use chancery::pki::chain::{self, Expected, VerifiedChain};
use chancery::pki::{Certificate, Names};
use der::{Decode as _, Encode as _};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose as Purpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose,
    NameConstraints, PublicKeyData as _, SanType, SignatureAlgorithm, SigningKey as _,
};

use crate::judges::Delivered;

type Ca = CertifiedIssuer<'static, KeyPair>;

/// 2026-06-01, in the middle of what is made here.
const NOW: i64 = 1_780_272_000;

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example Agency");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params
}

fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = params(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(alternative_names: &[SanType], purposes: &[Purpose]) -> CertificateParams {
    let mut params = params("shop");
    params.subject_alt_names = alternative_names.to_vec();
    params.extended_key_usages = purposes.to_vec();
    params
}

fn constrained(subtree: GeneralSubtree) -> CertificateParams {
    let mut params = ca_params("Inter");
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: vec![subtree], excluded_subtrees: vec![] });
    params
}

fn root(algorithm: &'static SignatureAlgorithm) -> Ca {
    named_root("Root", algorithm)
}

fn named_root(common_name: &str, algorithm: &'static SignatureAlgorithm) -> Ca {
    let key = KeyPair::generate_for(algorithm).unwrap();
    CertifiedIssuer::self_signed(ca_params(common_name), key).unwrap()
}

fn below(ca: &Ca, params: CertificateParams) -> Ca {
    CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), ca).unwrap()
}

fn read(der: &[u8]) -> Certificate {
    Certificate::from_der(der).unwrap()
}

/// The same certificate with NULL for the parameters of its ECDSA signature.
fn with_null(certificate: &[u8], key: &KeyPair) -> Vec<u8> {
    const PLAIN: [u8; 12] = *b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    const NULL: [u8; 14] = *b"\x30\x0c\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02\x05\x00";
    let wrap = |tag, content: Vec<u8>| der::Any::new(tag, content).unwrap().to_der().unwrap();
    let whole = der::AnyRef::from_der(certificate).unwrap();
    let to_be_signed: der::AnyRef<'_> =
        der::Reader::decode(&mut der::SliceReader::new(whole.value()).unwrap()).unwrap();
    let mut contents = to_be_signed.value().to_vec();
    let at = contents.windows(PLAIN.len()).position(|window| window == PLAIN).unwrap();
    contents.splice(at..at + PLAIN.len(), NULL);
    let to_be_signed = wrap(der::Tag::Sequence, contents);
    let signature = [vec![0], key.sign(&to_be_signed).unwrap()].concat();
    let signature = wrap(der::Tag::BitString, signature);
    wrap(der::Tag::Sequence, [to_be_signed, NULL.to_vec(), signature].concat())
}

/// A chain as it was served, and what is trusted.
struct Kind {
    key: KeyPair,
    served: Vec<Certificate>,
    anchors: Vec<Certificate>,
}

impl Kind {
    /// Root, intermediate and leaf.
    fn of(
        algorithm: &'static SignatureAlgorithm,
        inter: CertificateParams,
        leaf: &CertificateParams,
    ) -> Self {
        let root = root(algorithm);
        let inter = below(&root, inter);
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &inter).unwrap();
        Self {
            key,
            served: vec![read(leaf.der()), read(inter.der())],
            anchors: vec![read(root.der())],
        }
    }

    fn delivered(&self) -> VerifiedChain {
        let expected = Expected {
            spki_der: &self.key.subject_public_key_info(),
            names: &Names::default(),
            anchors: &self.anchors,
            further_intermediates: &[],
            now: Timestamp::from_second(NOW).unwrap(),
        };
        chain::verify(&self.served, &expected).unwrap()
    }
}

fn kinds() -> BTreeMap<&'static str, Kind> {
    let host = || SanType::DnsName("shop.example.org".try_into().unwrap());
    let address = || SanType::IpAddress("192.0.2.1".parse().unwrap());
    let mail = || SanType::Rfc822Name("shop@example.org".try_into().unwrap());
    let server = leaf_params(&[host()], &[Purpose::ServerAuth, Purpose::ClientAuth]);
    let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
    let plain = |inter, leaf: &CertificateParams| Kind::of(p256, inter, leaf);
    let mut for_tls = ca_params("Inter");
    for_tls.extended_key_usages = vec![Purpose::ServerAuth, Purpose::ClientAuth];
    let mut agency = DistinguishedName::new();
    agency.push(DnType::OrganizationName, "Example Agency");

    let cross_signed = {
        let (new, old) = (named_root("New Root", p256), named_root("Old Root", p256));
        let inter = below(&new, ca_params("Inter"));
        let key = KeyPair::generate().unwrap();
        let leaf = server.signed_by(&key, &inter).unwrap();
        let new_key = KeyPair::from_pem(&new.key().serialize_pem()).unwrap();
        let cross = ca_params("New Root").signed_by(&new_key, &old).unwrap();
        Kind {
            key,
            served: vec![read(leaf.der()), read(inter.der()), read(cross.der())],
            anchors: vec![read(new.der()), read(old.der())],
        }
    };
    let pinned_intermediate = {
        let kind = plain(ca_params("Inter"), &server);
        Kind { anchors: vec![kind.served[1].clone()], ..kind }
    };
    let null = {
        let root = root(p256);
        let key = KeyPair::generate().unwrap();
        let leaf = server.signed_by(&key, &root).unwrap();
        let served = vec![read(&with_null(leaf.der(), root.key()))];
        Kind { key, served, anchors: vec![read(root.der())] }
    };
    BTreeMap::from([
        ("a server", plain(ca_params("Inter"), &server)),
        ("RSA above", Kind::of(&rcgen::PKCS_RSA_SHA256, ca_params("Inter"), &server)),
        ("an address", plain(ca_params("Inter"), &leaf_params(&[address()], &[]))),
        ("an intermediate for TLS", plain(for_tls, &server)),
        (
            "DNS constraints",
            plain(constrained(GeneralSubtree::DnsName("example.org".into())), &server),
        ),
        (
            "a client without names",
            plain(ca_params("Inter"), &leaf_params(&[], &[Purpose::ClientAuth])),
        ),
        (
            "a client with an address of e-mail",
            plain(
                ca_params("Inter"),
                &leaf_params(&[mail()], &[Purpose::ClientAuth, Purpose::EmailProtection]),
            ),
        ),
        (
            "e-mail constraints",
            plain(
                constrained(GeneralSubtree::Rfc822Name("example.org".into())),
                &leaf_params(&[mail()], &[Purpose::ClientAuth]),
            ),
        ),
        (
            "directory name constraints",
            plain(constrained(GeneralSubtree::DirectoryName(agency)), &server),
        ),
        ("ECDSA with NULL", null),
        ("cross-signed, both roots trusted", cross_signed),
        ("a pinned intermediate", pinned_intermediate),
    ])
}

#[test]
fn what_is_delivered_is_accepted_by_two_of_three_and_who_refuses_it_is_said() {
    for (name, kind) in kinds() {
        let chain = kind.delivered();
        let (tls_crt, ca_crt) = (chain.tls_crt(), chain.ca_crt());
        let delivered = Delivered { tls_crt: &tls_crt, ca_crt: &ca_crt, now: NOW };
        let rustls = delivered.by_rustls();
        assert_eq!(rustls.is_ok(), chain.rustls_refusal.is_none(), "{name}: {rustls:?}");
        let signed = [std::slice::from_ref(&chain.leaf), &chain.intermediates].concat();
        let again = chain::rustls_refusal(&signed, Some(&chain.anchor));
        assert_eq!(again, chain.rustls_refusal, "{name}");
        assert_eq!(delivered.by_openssl(), Ok(()), "{name}");
        let go = delivered.by_go();
        let is_known = go.is_none() || name == "directory name constraints";
        // Critical constraints of that kind Go refuses too, and that is said with the rest.
        assert!(is_known || go == Some(Ok(())), "{name}: {go:?}");
        if name == "directory name constraints" {
            assert!(chain.rustls_refusal.unwrap().contains("some built on Go"));
        } else if go.is_some() || rustls.is_ok() {
            delivered.accepted(name);
        }
    }
}

/// The judges refuse what is wrong, or they would be none.
#[test]
fn what_is_wrong_is_accepted_by_no_judge() {
    let kinds = kinds();
    let (one, other) = (&kinds["a server"], &kinds["RSA above"]);
    let chain = one.delivered();
    let (tls_crt, ca_crt) = (chain.tls_crt(), chain.ca_crt());
    let other = other.delivered().ca_crt();
    let leaf = chain.leaf.to_pem();
    let a_year = 366 * 24 * 3600;
    let cases = [
        ("another root", Delivered { tls_crt: &tls_crt, ca_crt: &other, now: NOW }),
        ("no intermediate", Delivered { tls_crt: &leaf, ca_crt: &ca_crt, now: NOW }),
        ("another time", Delivered { tls_crt: &tls_crt, ca_crt: &ca_crt, now: NOW + a_year }),
    ];
    for (name, wrong) in cases {
        assert!(wrong.by_rustls().is_err(), "{name}");
        assert!(wrong.by_openssl().is_err(), "{name}");
        assert!(wrong.by_go().is_none_or(|verdict| verdict.is_err()), "{name}");
    }
}
