use std::sync::LazyLock;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, PublicKeyData as _, SanType, SerialNumber,
    SignatureAlgorithm,
};

use super::*;

const NOW: &str = "2026-06-01T00:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// rcgen's default validity runs from 1975 to 4096, which no certificate here should.
fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params
}

fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = params(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn root(params: CertificateParams) -> Self {
        Self::root_with(params, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    fn root_with(params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(params, key, &self.0).unwrap())
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Certificate {
        read(&params.signed_by(key, &self.0).unwrap())
    }

    fn certificate(&self) -> Certificate {
        Certificate::from_der(self.0.der()).unwrap()
    }
}

fn read(certificate: &rcgen::Certificate) -> Certificate {
    Certificate::from_der(certificate.der()).unwrap()
}

/// A root, two intermediates below each other, and a leaf below those.
struct Pki {
    root: Ca,
    upper: Ca,
    lower: Ca,
    key: KeyPair,
    leaf: Certificate,
    names: Names,
}

impl Pki {
    fn new() -> Self {
        let root = Ca::root(ca_params("Root"));
        let upper = root.below(ca_params("Upper"));
        let lower = upper.below(ca_params("Lower"));
        let key = KeyPair::generate().unwrap();
        let leaf = lower.sign(&params("leaf"), &key);
        Self { root, upper, lower, key, leaf, names: Names::default() }
    }

    fn leaf_without_null(&self) -> Certificate {
        self.lower.sign(&params("leaf"), &self.key)
    }

    /// Replaces the leaf.
    fn with_leaf(params: &CertificateParams) -> Self {
        let mut pki = Self::new();
        pki.leaf = pki.lower.sign(params, &pki.key);
        pki
    }

    fn received(&self) -> Vec<Certificate> {
        vec![self.leaf.clone(), self.lower.certificate(), self.upper.certificate()]
    }

    fn verify(&self, candidates: &[Certificate]) -> Result<VerifiedChain, Unfit> {
        self.verify_with(candidates, &[self.root.certificate()], &[])
    }

    fn verify_with(
        &self,
        candidates: &[Certificate],
        anchors: &[Certificate],
        further_intermediates: &[Certificate],
    ) -> Result<VerifiedChain, Unfit> {
        self.verify_at(NOW, candidates, anchors, further_intermediates)
    }

    fn verify_at(
        &self,
        now: &str,
        candidates: &[Certificate],
        anchors: &[Certificate],
        further_intermediates: &[Certificate],
    ) -> Result<VerifiedChain, Unfit> {
        let expected = Expected {
            spki_der: &self.key.subject_public_key_info(),
            names: &self.names,
            anchors,
            further_intermediates,
            now: at(now),
        };
        verify(candidates, &expected)
    }

    fn assert_missing(&self, missing: &[&str], case: &str) {
        let missing: Vec<String> = missing.iter().map(|&name| name.to_owned()).collect();
        let expected =
            if missing.is_empty() { Ok(self.chain()) } else { Err(Unfit::NamesMissing(missing)) };
        assert_eq!(self.verify(&self.received()), expected, "{case}");
    }

    fn chain(&self) -> VerifiedChain {
        VerifiedChain {
            leaf: self.leaf.clone(),
            intermediates: vec![self.lower.certificate(), self.upper.certificate()],
            anchor: self.root.certificate(),
            rustls_refusal: None,
        }
    }
}

#[test]
fn certificates_are_put_in_order_wherever_they_stand() {
    let pki = Pki::new();
    let [leaf, lower, upper] = <[_; 3]>::try_from(pki.received()).unwrap();
    let root = pki.root.certificate();
    let cases = [
        vec![leaf.clone(), lower.clone(), upper.clone()],
        vec![upper.clone(), lower.clone(), leaf.clone()],
        vec![root.clone(), lower.clone(), leaf.clone(), upper.clone()],
        vec![root, upper.clone(), upper, lower.clone(), lower, leaf],
    ];
    for received in cases {
        assert_eq!(pki.verify(&received), Ok(pki.chain()), "{received:?}");
    }
}

#[test]
fn intermediates_that_the_answer_lacks_are_taken_from_elsewhere() {
    let pki = Pki::new();
    let root = [pki.root.certificate()];
    let further = [pki.upper.certificate(), pki.lower.certificate()];
    let chain = pki.verify_with(std::slice::from_ref(&pki.leaf), &root, &further);
    assert_eq!(chain, Ok(pki.chain()));
}

#[test]
fn the_secrets_texts_hold_the_chain_in_tls_order_and_the_root_apart() {
    let pki = Pki::new();
    let chain = pki.verify(&pki.received()).unwrap();
    let expected: String = pki.received().iter().map(Certificate::to_pem).collect();
    assert_eq!(chain.tls_crt(), expected);
    assert!(chain.tls_crt().ends_with("-----END CERTIFICATE-----\n"));
    assert_eq!(chain.ca_crt(), pki.root.certificate().to_pem());
}

#[test]
fn a_pinned_intermediate_ends_the_path() {
    let pki = Pki::new();
    let upper = pki.upper.certificate();
    let chain = pki.verify_with(&pki.received(), std::slice::from_ref(&upper), &[]).unwrap();
    assert_eq!(chain.anchor, upper);
    assert_eq!(chain.intermediates, [pki.lower.certificate()]);
}

#[test]
fn of_several_certificates_for_our_key_the_longest_valid_is_taken() {
    let mut pki = Pki::new();
    let mut longer = params("leaf");
    longer.not_after = rcgen::date_time_ymd(2026, 12, 31);
    let mut received = pki.received();
    received.push(pki.lower.sign(&longer, &pki.key));
    assert_eq!(pki.verify(&received).unwrap().leaf, pki.leaf);
    longer.not_after = rcgen::date_time_ymd(2027, 2, 1);
    pki.leaf = pki.lower.sign(&longer, &pki.key);
    received.push(pki.leaf.clone());
    assert_eq!(pki.verify(&received).unwrap().leaf, pki.leaf);
}

#[test]
fn a_certificate_for_another_key_is_not_ours() {
    let mut pki = Pki::new();
    pki.key = KeyPair::generate().unwrap();
    let unfit = pki.verify(&pki.received()).unwrap_err();
    assert_eq!(unfit, Unfit::NoLeaf { received: 3 });
    assert_eq!(
        unfit.to_string(),
        "none of the 3 certificates received is for the private key that was used"
    );
    assert_eq!(pki.verify(&[]), Err(Unfit::NoLeaf { received: 0 }));
}

#[test]
fn a_certificate_authority_is_no_leaf() {
    let pki = Pki::with_leaf(&ca_params("leaf"));
    let subject = "CN=leaf".to_owned();
    assert_eq!(pki.verify(&pki.received()), Err(Unfit::LeafIsCa { subject }));
}

#[test]
fn what_is_not_valid_now_is_refused_by_the_second() {
    let pki = Pki::new();
    let root = [pki.root.certificate()];
    let verify_at = |now| pki.verify_at(now, &pki.received(), &root, &[]);
    assert_eq!(verify_at("2026-01-01T00:00:00Z"), Ok(pki.chain()));
    assert_eq!(verify_at("2027-01-01T00:00:00Z"), Ok(pki.chain()));
    let early = verify_at("2025-12-31T23:59:59Z").unwrap_err();
    let not_before = at("2026-01-01T00:00:00Z");
    assert_eq!(early, Unfit::NotYetValid { not_before });
    assert!(early.to_string().contains("only at 2026-01-01T00:00:00Z"));
    let late = verify_at("2027-01-01T00:00:01Z").unwrap_err();
    let not_after = at("2027-01-01T00:00:00Z");
    assert_eq!(late, Unfit::Expired { not_after });
}

#[test]
fn names_asked_for_must_be_there_and_others_may_be() {
    let mut asked = params("A.example.org");
    asked.subject_alt_names =
        ["b.Example.org", "*.c.example.org", "more.example.org", "xn--mller-kva.example"]
            .map(|name| SanType::DnsName(name.try_into().unwrap()))
            .into();
    let mut pki = Pki::with_leaf(&asked);
    let cases: [(Option<&str>, &[&str], &[&str]); 9] = [
        (None, &[], &[]),
        (Some("a.example.org"), &["B.example.org"], &[]),
        (Some("b.example.org"), &["*.c.example.org"], &[]),
        (None, &["b.example.org.", "Müller.example"], &[]),
        (Some("müller.example"), &[], &[]),
        (Some("c.example.org"), &[], &["common name c.example.org"]),
        (None, &["a.example.org"], &["DNS name a.example.org"]),
        (None, &["x.c.example.org"], &["DNS name x.c.example.org"]),
        (Some("d"), &["d", "e"], &["DNS name d", "DNS name e"]),
    ];
    for (common_name, dns_names, missing) in cases {
        pki.names = Names {
            common_name: common_name.map(str::to_owned),
            dns_names: dns_names.iter().map(|&name| name.to_owned()).collect(),
            ..Names::default()
        };
        pki.assert_missing(missing, &format!("{common_name:?} {dns_names:?}"));
    }
}

#[test]
fn a_dropped_name_of_any_kind_is_named_with_its_kind() {
    let mut asked = params("leaf");
    asked.subject_alt_names = vec![
        SanType::IpAddress("192.0.2.1".parse().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
        SanType::URI("SPIFFE://Example.org/shop".try_into().unwrap()),
        SanType::Rfc822Name("shop@Example.org".try_into().unwrap()),
    ];
    let mut pki = Pki::with_leaf(&asked);
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let with = |common_name: Option<&str>, ips: &[&str], uris: &[&str], mails: &[&str]| Names {
        common_name: common_name.map(str::to_owned),
        ip_addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        uris: texts(uris),
        email_addresses: texts(mails),
        ..Names::default()
    };
    let cases: [(Names, &[&str]); 6] = [
        (
            with(
                Some("192.0.2.1"),
                &["2001:DB8:0::1", "192.0.2.1"],
                &["spiffe://example.org/shop"],
                &["shop@example.ORG"],
            ),
            &[],
        ),
        (with(Some("shop@example.org"), &[], &[], &[]), &[]),
        (with(None, &["192.0.2.2"], &[], &[]), &["IP address 192.0.2.2"]),
        // What IPv6 maps is another address here, as it is to TLS clients.
        (with(None, &["::ffff:192.0.2.1"], &[], &[]), &["IP address ::ffff:192.0.2.1"]),
        (with(None, &[], &["spiffe://example.org/Shop"], &[]), &["URI spiffe://example.org/Shop"]),
        (
            with(Some("leaf"), &[], &[], &["Shop@example.org", "shop@example.org"]),
            &["e-mail address Shop@example.org"],
        ),
    ];
    for (names, missing) in cases {
        let case = format!("{names:?}");
        pki.names = names;
        pki.assert_missing(missing, &case);
    }
}

#[test]
fn a_purpose_is_neither_needed_nor_judged() {
    use ExtendedKeyUsagePurpose as Purpose;
    let cases = [
        vec![],
        vec![Purpose::ClientAuth],
        vec![Purpose::ServerAuth],
        vec![Purpose::CodeSigning, Purpose::EmailProtection],
        vec![Purpose::Other(vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 2])],
    ];
    for purposes in cases {
        let mut asked = params("leaf");
        asked.extended_key_usages = purposes;
        let pki = Pki::with_leaf(&asked);
        assert_eq!(pki.verify(&pki.received()), Ok(pki.chain()));
    }
}

#[test]
fn chains_of_every_key_kind_verify() {
    let algorithms = [
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_RSA_SHA512,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_ED25519,
    ];
    for algorithm in algorithms {
        let mut root = ca_params("Root");
        root.serial_number = Some(SerialNumber::from_slice(&[0]));
        let mut pki = Pki::new();
        pki.root = Ca::root_with(root, algorithm);
        pki.key = KeyPair::generate_for(algorithm).unwrap();
        pki.leaf = pki.root.sign(&params("leaf"), &pki.key);
        let chain = pki.verify(std::slice::from_ref(&pki.leaf)).unwrap();
        assert_eq!(chain.anchor.serial_number(), "00");
        assert_eq!(chain.leaf, pki.leaf);
    }
}

#[test]
fn an_unknown_root_is_named_with_what_to_pin() {
    let pki = Pki::new();
    let other = [Ca::root(ca_params("Other")).certificate()];
    let root = pki.root.certificate();
    let mut received = pki.received();
    received.push(root.clone());
    let unfit = pki.verify_with(&received, &other, &[]).unwrap_err();
    assert_eq!(
        unfit.to_string(),
        format!(
            "the chain ends at CN=Root, whose certificate is not among the trusted roots; to \
             trust the root at hand, pin CN=Root (SHA-256 {})",
            root.fingerprint_sha256()
        )
    );
    let pin = Some(root.clone());
    assert_eq!(pki.verify_with(&received, &[], &[]), Err(Unfit::NoAnchors { pin: pin.clone() }));
    assert_eq!(pki.verify_with(&pki.received(), &[], &[root]), Err(Unfit::NoAnchors { pin }));
}

#[test]
fn a_name_without_end_is_cut_in_messages() {
    let mut pki = Pki::new();
    let issuer = Ca::root(ca_params(&"x".repeat(5000)));
    pki.leaf = issuer.sign(&params("leaf"), &pki.key);
    let text = pki.verify(std::slice::from_ref(&pki.leaf)).unwrap_err().to_string();
    assert!(text.contains("xxx…,") && text.len() < 400, "{text}");
}

#[test]
fn a_missing_intermediate_is_named() {
    let pki = Pki::new();
    let received = [pki.lower.certificate(), pki.leaf.clone()];
    let unfit = pki.verify(&received).unwrap_err();
    assert_eq!(
        unfit,
        Unfit::NoPath { issuer: "CN=Upper".to_owned(), anchors_not_valid: 0, pin: None }
    );
    assert_eq!(
        unfit.to_string(),
        "the chain ends at CN=Upper, whose certificate is not among the trusted roots"
    );
}

#[test]
fn a_root_that_only_looks_right_is_neither_trusted_nor_offered() {
    let pki = Pki::new();
    let impostor = Ca::root(ca_params("Root")).certificate();
    let unfit = pki.verify_with(&pki.received(), std::slice::from_ref(&impostor), &[]).unwrap_err();
    assert!(matches!(&unfit, Unfit::Refused { pin: None, .. }));
    assert!(unfit.to_string().contains("of the same name"), "{unfit}");
    let real = pki.root.certificate();
    let offered = [impostor, real.clone()];
    let other = [Ca::root(ca_params("Other")).certificate()];
    let unfit = pki.verify_with(&pki.received(), &other, &offered);
    assert!(matches!(unfit, Err(Unfit::NoPath { pin: Some(pin), .. }) if pin == real));
}

#[test]
fn a_root_outside_of_its_validity_does_not_count() {
    let mut pki = Pki::new();
    let mut expired = ca_params("Root");
    expired.not_after = rcgen::date_time_ymd(2026, 5, 31);
    pki.root = Ca::root(expired);
    pki.leaf = pki.root.sign(&params("leaf"), &pki.key);
    let unfit = pki.verify(std::slice::from_ref(&pki.leaf)).unwrap_err();
    let anchor = pki.root.certificate();
    assert_eq!(
        unfit.to_string(),
        format!(
            "the chain leads to the trusted root CN=Root (SHA-256 {}), which is valid from \
             2026-01-01T00:00:00Z to 2026-05-31T00:00:00Z and not now",
            anchor.fingerprint_sha256()
        )
    );
    let foreign = Pki::new();
    let unfit = foreign.verify_with(&foreign.received(), &[anchor], &[]).unwrap_err();
    assert!(
        unfit.to_string().ends_with("(1 trusted root is not valid now and does not count)"),
        "{unfit}"
    );
}

#[test]
fn an_expired_root_among_those_received_does_not_hide_the_trusted_one() {
    let pki = Pki::new();
    let mut old = ca_params("Root");
    old.not_after = rcgen::date_time_ymd(2026, 5, 31);
    let key = KeyPair::from_pem(&pki.root.0.key().serialize_pem()).unwrap();
    let old_root = read(&old.self_signed(&key).unwrap());
    let mut received = pki.received();
    received.push(old_root);
    assert_eq!(pki.verify(&received), Ok(pki.chain()));
    let other = [Ca::root(ca_params("Other")).certificate()];
    let unfit = pki.verify_with(&received, &other, &[]).unwrap_err();
    assert!(matches!(unfit, Unfit::NoPath { pin: None, .. }), "{unfit}");
}

#[test]
fn a_root_that_changed_its_key_may_vouch_for_itself() {
    let mut pki = Pki::new();
    let old = Ca::root(ca_params("Rollover"));
    let new = old.below(ca_params("Rollover"));
    pki.leaf = new.sign(&params("leaf"), &pki.key);
    let received = [pki.leaf.clone(), new.certificate()];
    let chain = pki.verify_with(&received, &[old.certificate()], &[]).unwrap();
    assert_eq!(chain.intermediates, [new.certificate()]);
    assert_eq!(chain.anchor, old.certificate());
}

#[test]
fn flaws_of_intermediates_are_named() {
    let pki = Pki::new();
    let mut expired = ca_params("Inter");
    expired.not_after = rcgen::date_time_ymd(2026, 5, 31);
    let mut constrained = ca_params("Inter");
    constrained.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let mut critical = ca_params("Inter");
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
    extension.set_criticality(true);
    critical.custom_extensions.push(extension);
    let mut not_for_certificates = ca_params("Inter");
    not_for_certificates.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    let cases = [
        (expired, "to 2026-05-31T00:00:00Z and not now"),
        (not_for_certificates, "may not sign certificates, by its key usage"),
        (params("Inter"), "is not marked as a certificate authority"),
        (critical, "has a critical extension that is not understood"),
    ];
    for (inter, expected) in cases {
        let inter = pki.root.below(inter);
        let leaf = inter.sign(&params("leaf"), &pki.key);
        let unfit = pki.verify(&[leaf, inter.certificate()]).unwrap_err();
        assert!(unfit.to_string().contains(expected), "{unfit}");
        assert!(unfit.to_string().contains("CN=Inter"), "{unfit}");
    }
    let top = pki.root.below(constrained);
    let inter = top.below(ca_params("Below"));
    let leaf = inter.sign(&params("leaf"), &pki.key);
    let received = [leaf, inter.certificate(), top.certificate()];
    let unfit = pki.verify(&received).unwrap_err();
    assert!(unfit.to_string().contains("fewer intermediates"), "{unfit}");
}

/// A second certificate for the key of `ca`, by another.
fn again(ca: &Ca, asked: &CertificateParams, by: &Ca) -> Certificate {
    by.sign(asked, &KeyPair::from_pem(&ca.0.key().serialize_pem()).unwrap())
}

#[test]
fn all_that_was_served_is_delivered_up_to_an_anchor_unless_another_root_is_preferred() {
    let pki = Pki::new();
    let old = Ca::root(ca_params("Old Root"));
    let cross = again(&pki.root, &ca_params("Root"), &old);
    let (root, old_root) = (pki.root.certificate(), old.certificate());
    let served = [pki.received(), vec![cross.clone()]].concat();
    let (short, long) = (2, 3);
    let fingerprint = root.fingerprint_sha256().to_uppercase();
    let colons: Vec<&str> =
        fingerprint.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap()).collect();
    let with_colons = colons.join(":");
    let both = [root.clone(), old_root.clone()];
    let reversed = [old_root.clone(), root.clone()];
    type Row<'a> =
        (&'a str, &'a [Certificate], &'a [Certificate], Option<&'a str>, &'a Certificate, usize);
    let rows: [Row<'_>; 10] = [
        ("both roots", &served, &both, None, &old_root, long),
        ("both, the other first", &served, &reversed, None, &old_root, long),
        ("the new root alone", &served, &both[..1], None, &root, short),
        ("the old root alone", &served, &both[1..], None, &old_root, long),
        ("no cross certificate served", &pki.received(), &both, None, &root, short),
        ("the new root preferred", &served, &both, Some("CN=Root"), &root, short),
        ("by its fingerprint", &served, &both, Some(&fingerprint), &root, short),
        ("with colons", &served, &both, Some(&with_colons), &root, short),
        ("the old root preferred", &served, &both, Some("cn=old root"), &old_root, long),
        ("a root that no path leads to", &served, &both, Some("CN=Else"), &old_root, long),
    ];
    for (name, served, anchors, preferred, anchor, intermediates) in rows {
        let expected = Expected {
            spki_der: &pki.key.subject_public_key_info(),
            names: &pki.names,
            anchors,
            further_intermediates: &[],
            now: at(NOW),
        };
        let chain = verify_preferring(served, &expected, preferred).unwrap();
        assert_eq!(&chain.anchor, anchor, "{name}");
        assert_eq!(chain.intermediates.len(), intermediates, "{name}");
        assert_eq!(chain.intermediates.last() == Some(&cross), intermediates == long, "{name}");
    }
}

#[test]
fn a_root_that_was_served_is_not_delivered_below_itself() {
    let pki = Pki::new();
    let mut other = ca_params("Root");
    other.not_after = rcgen::date_time_ymd(2026, 12, 1);
    let key = KeyPair::from_pem(&pki.root.0.key().serialize_pem()).unwrap();
    for root in [pki.root.certificate(), read(&other.self_signed(&key).unwrap())] {
        let received = [pki.received(), vec![root]].concat();
        assert_eq!(pki.verify(&received), Ok(pki.chain()));
    }
}

#[test]
fn a_path_for_another_purpose_is_taken_by_nobody() {
    use ExtendedKeyUsagePurpose as Purpose;
    let pki = Pki::new();
    let with = |purposes: &[Purpose]| {
        let mut asked = ca_params("Inter");
        asked.extended_key_usages = purposes.to_vec();
        asked
    };
    let inter = pki.root.below(with(&[Purpose::EmailProtection]));
    let for_all = again(&inter, &with(&[Purpose::EmailProtection, Purpose::ServerAuth]), &pki.root);
    let leaf = |purposes: &[Purpose], dns_names: &[&str]| {
        let mut asked = params("leaf");
        asked.extended_key_usages = purposes.to_vec();
        asked.subject_alt_names =
            dns_names.iter().map(|&name| SanType::DnsName(name.try_into().unwrap())).collect();
        inter.sign(&asked, &pki.key)
    };
    let hosts = ["a.example.org"];
    type Row<'a> = (&'a str, Certificate, bool);
    let rows: [Row<'_>; 5] = [
        ("for servers", leaf(&[Purpose::ServerAuth], &[]), false),
        (
            "for clients and servers",
            leaf(&[Purpose::ClientAuth, Purpose::ServerAuth], &hosts),
            false,
        ),
        ("for a host, without purpose", leaf(&[], &hosts), false),
        ("for e-mail", leaf(&[Purpose::EmailProtection], &[]), true),
        ("for nothing that is said", leaf(&[], &[]), true),
    ];
    for (name, leaf, is_fine) in rows {
        let received = [leaf.clone(), inter.certificate(), for_all.clone()];
        let chain = pki.verify(&received).unwrap();
        let is_good = chain.intermediates == [for_all.clone()];
        assert!(is_fine || is_good, "{name}: a good path was at hand");
        match pki.verify(&received[..2]) {
            Ok(_) => assert!(is_fine, "{name}"),
            Err(unfit) => {
                assert!(!is_fine, "{name}: {unfit}");
                let text = unfit.to_string();
                assert!(
                    text.contains("CN=Inter (SHA-256") && text.contains("not for TLS"),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn directory_names_are_held_to_what_a_ca_may_issue_for_and_rustls_is_said_to_refuse_that() {
    use rcgen::{GeneralSubtree, NameConstraints};
    let distinguished = |parts: &[(DnType, &str)]| {
        let mut name = DistinguishedName::new();
        parts.iter().for_each(|(kind, value)| name.push(kind.clone(), *value));
        name
    };
    let (country, organisation) = (DnType::CountryName, DnType::OrganizationName);
    let agency = [(country.clone(), "IT"), (organisation.clone(), "Example Agency")];
    let subtree = |name: &[(DnType, &str)]| GeneralSubtree::DirectoryName(distinguished(name));
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    let of = |organisation_name: &str| {
        let mut asked = params("shop.example.org");
        asked.distinguished_name = distinguished(&[
            (country.clone(), "IT"),
            (organisation.clone(), organisation_name),
            (DnType::CommonName, "shop.example.org"),
        ]);
        asked.subject_alt_names = vec![SanType::DnsName("shop.example.org".try_into().unwrap())];
        asked
    };
    type Row<'a> = (&'a str, Vec<GeneralSubtree>, Vec<GeneralSubtree>, &'a str, Option<&'a str>);
    let rows: [Row<'_>; 8] = [
        ("within", vec![subtree(&agency), dns("example.org")], vec![], "Example Agency", None),
        ("in other letters", vec![subtree(&agency)], vec![], "EXAMPLE  agency", None),
        ("one of two", vec![subtree(&agency[1..]), subtree(&agency[..1])], vec![], "X", None),
        ("not excluded", vec![], vec![subtree(&agency)], "Another", None),
        (
            "outside",
            vec![subtree(&agency)],
            vec![],
            "Another",
            Some("the subject CN=shop.example.org,O=Another,C=IT"),
        ),
        ("excluded", vec![], vec![subtree(&agency)], "Example Agency", Some("the subject CN=shop")),
        (
            "a DNS name outside",
            vec![subtree(&agency), dns("example.net")],
            vec![],
            "Example Agency",
            Some("a DNS name"),
        ),
        (
            "a DNS name excluded",
            vec![subtree(&agency)],
            vec![dns("shop.example.org")],
            "Example Agency",
            Some("a DNS name"),
        ),
    ];
    for (name, permitted_subtrees, excluded_subtrees, organisation, refusal) in rows {
        let mut constrained = ca_params("Constrained");
        constrained.name_constraints =
            Some(NameConstraints { permitted_subtrees, excluded_subtrees });
        // Where it stands is no matter: at the root, above another, or just above the leaf.
        let mut lower = ca_params("Lower");
        lower.distinguished_name = distinguished(&agency);
        lower.distinguished_name.push(DnType::CommonName, "Lower");
        if organisation != "Example Agency" {
            lower.distinguished_name = distinguished(&[(country.clone(), "IT")]);
            lower.distinguished_name.push(DnType::OrganizationName, organisation);
            lower.distinguished_name.push(DnType::CommonName, "Lower");
        }
        let mut pki = Pki::new();
        let middle = pki.root.below(constrained.clone());
        let below = middle.below(lower.clone());
        let constrained_root = Ca::root(constrained);
        let places = [
            (&middle, vec![middle.certificate()], pki.root.certificate()),
            (&below, vec![below.certificate(), middle.certificate()], pki.root.certificate()),
            (&constrained_root, vec![], constrained_root.certificate()),
        ];
        for (place, (issuer, intermediates, anchor)) in places.into_iter().enumerate() {
            pki.leaf = issuer.sign(&of(organisation), &pki.key);
            let received = [vec![pki.leaf.clone()], intermediates.clone()].concat();
            let verified = pki.verify_with(&received, std::slice::from_ref(&anchor), &[]);
            match (verified, refusal) {
                (Ok(chain), None) => {
                    assert_eq!(chain.intermediates, intermediates, "{name}, {place}");
                    let refusal = chain.rustls_refusal.unwrap();
                    assert!(
                        refusal.contains("rustls") && refusal.contains("CN=Constrained"),
                        "{refusal}"
                    );
                }
                (Err(unfit), Some(says)) => {
                    let text = unfit.to_string();
                    // Of a chain that breaks the rule twice, the intermediate is named first.
                    let says_so = text.contains(says) || text.contains("the subject CN=Lower");
                    assert!(says_so && text.contains("CN=Constrained"), "{name}, {place}: {text}");
                }
                (verified, _) => panic!("{name}, {place}: {verified:?}"),
            }
        }
    }
}

/// Names that cannot be compared hide no other from the constraints of a CA further up.
#[test]
fn what_cannot_be_compared_with_constraints_is_not_allowed() {
    use rcgen::{GeneralSubtree, NameConstraints};
    let constrained = |name: &str, permitted: GeneralSubtree| {
        let mut params = ca_params(name);
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![permitted],
            excluded_subtrees: vec![],
        });
        params
    };
    let mut organisation = DistinguishedName::new();
    organisation.push(DnType::OrganizationName, "Shop");
    for (names, is_allowed) in [
        (vec!["a.example.org"], true),
        (vec!["a.example.org", "bank.example"], false),
        (vec!["a b.example.org", "bank.example"], false),
    ] {
        let mut pki = Pki::new();
        let upper = constrained("Upper", GeneralSubtree::DnsName("example.org".to_owned()));
        let upper = pki.root.below(upper);
        let lower = constrained("Lower", GeneralSubtree::DirectoryName(organisation.clone()));
        let lower = upper.below(lower);
        let mut asked = params("leaf");
        asked.distinguished_name = organisation.clone();
        asked.subject_alt_names =
            names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
        pki.leaf = lower.sign(&asked, &pki.key);
        let chain = [pki.leaf.clone(), lower.certificate(), upper.certificate()];
        let verified = pki.verify(&chain);
        assert_eq!(verified.is_ok(), is_allowed, "{names:?}: {:?}", verified.err());
    }
}

#[test]
fn email_addresses_and_uris_are_held_to_constraints_too() {
    // NameConstraints with one permitted subtree of a kind that is a text.
    let permitted = |kind: u8, text: &str| {
        let tlv = |tag: u8, content: &[u8]| {
            [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
        };
        let subtree = tlv(0x30, &tlv(0x80 | kind, text.as_bytes()));
        let mut extension =
            CustomExtension::from_oid_content(&[2, 5, 29, 30], tlv(0x30, &tlv(0xa0, &subtree)));
        extension.set_criticality(true);
        extension
    };
    let mail = |text: &str| SanType::Rfc822Name(text.try_into().unwrap());
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let rows = [
        (1, "example.org", mail("shop@EXAMPLE.org"), None),
        (
            1,
            "example.org",
            mail("shop@a.example.org"),
            Some("the e-mail address shop@a.example.org"),
        ),
        (1, ".example.org", mail("shop@a.example.org"), None),
        (1, ".example.org", mail("shop@example.org"), Some("the e-mail address shop@example.org")),
        (1, "shop@example.org", mail("shop@example.org"), None),
        (1, "shop@example.org", mail("Shop@example.org"), Some("the e-mail address Shop@")),
        (6, "example.org", uri("spiffe://example.org/shop"), None),
        (6, "example.org", uri("https://user@Example.org:8443/shop"), None),
        (6, ".example.org", uri("spiffe://example.org/shop"), Some("the URI spiffe://example.org")),
        (6, ".example.org", uri("spiffe://a.example.org"), None),
        (6, "example.org", uri("urn:shop"), Some("the URI urn:shop")),
        (6, "192.0.2.1", uri("https://192.0.2.1/"), Some("the URI https://192.0.2.1/")),
        // Constraints on names that are not there bind nothing.
        (6, "example.org", mail("shop@example.net"), None),
        (1, "", mail("shop@example.net"), None),
    ];
    for (kind, constraint, name, refusal) in rows {
        let mut constrained = ca_params("Constrained");
        constrained.custom_extensions.push(permitted(kind, constraint));
        let mut pki = Pki::new();
        let inter = pki.root.below(constrained);
        let mut asked = params("leaf");
        asked.subject_alt_names = vec![name];
        pki.leaf = inter.sign(&asked, &pki.key);
        let verified = pki.verify(&[pki.leaf.clone(), inter.certificate()]);
        let text = verified.map_or_else(|unfit| unfit.to_string(), |_| String::new());
        assert_eq!(text.is_empty(), refusal.is_none(), "{constraint}: {text}");
        assert!(text.contains(refusal.unwrap_or_default()), "{constraint}: {text}");
    }
}

/// The same certificate with NULL for the parameters of its ECDSA signature, signed by `key`.
fn with_null(certificate: &Certificate, key: &KeyPair) -> Certificate {
    use der::{Decode as _, Encode as _};
    use rcgen::SigningKey as _;
    let wrap = |content: &[u8]| {
        let any = der::Any::new(der::Tag::Sequence, content).unwrap();
        any.to_der().unwrap()
    };
    const PLAIN: [u8; 12] = *b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    const NULL: [u8; 14] = *b"\x30\x0c\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02\x05\x00";
    let signed = certificate.signed().unwrap().to_be_signed;
    let mut contents = der::AnyRef::from_der(signed).unwrap().value().to_vec();
    let at = contents.windows(PLAIN.len()).position(|window| window == PLAIN).unwrap();
    contents.splice(at..at + PLAIN.len(), NULL);
    let to_be_signed = wrap(&contents);
    let signature = [vec![0], key.sign(&to_be_signed).unwrap()].concat();
    let signature = der::Any::new(der::Tag::BitString, signature).unwrap().to_der().unwrap();
    let whole = wrap(&[to_be_signed, NULL.to_vec(), signature].concat());
    Certificate::from_der(&whole).unwrap()
}

#[test]
fn ecdsa_with_null_parameters_is_verified_and_rustls_is_said_to_refuse_it() {
    let mut pki = Pki::new();
    pki.leaf = with_null(&pki.leaf, pki.lower.0.key());
    let chain = pki.verify(&pki.received()).unwrap();
    assert_eq!(chain.intermediates, pki.chain().intermediates);
    let refusal = chain.rustls_refusal.unwrap();
    assert!(refusal.contains("CN=leaf (SHA-256") && refusal.contains("NULL"), "{refusal}");
    // The signature counts.
    pki.leaf = with_null(&pki.leaf_without_null(), pki.upper.0.key());
    let unfit = pki.verify(&pki.received()).unwrap_err();
    assert!(unfit.to_string().contains("CN=leaf"), "{unfit}");
    assert!(unfit.to_string().contains("of the same name"), "{unfit}");
}

#[test]
fn names_that_no_client_finds_do_not_count() {
    let rows = [
        ("a.example.org.", "a.example.org", false),
        ("A.Example.org", "a.example.org", true),
        ("xn--mller-kva.example", "Müller.example", true),
        ("xn--mller-kva.example", "xn--mller-kva.example.", true),
    ];
    for (there, asked, counts) in rows {
        let mut leaf = params("leaf");
        leaf.subject_alt_names = vec![SanType::DnsName(there.try_into().unwrap())];
        let mut pki = Pki::with_leaf(&leaf);
        pki.names.dns_names = vec![asked.to_owned()];
        assert_eq!(pki.verify(&pki.received()).is_ok(), counts, "{there}");
    }
}

#[test]
fn a_path_length_counts_beside_webpki_as_well() {
    use rcgen::{GeneralSubtree, NameConstraints};
    let pki = Pki::new();
    let mut top = ca_params("Top");
    top.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let mut excluded = DistinguishedName::new();
    excluded.push(DnType::OrganizationName, "Nobody");
    top.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![],
        excluded_subtrees: vec![GeneralSubtree::DirectoryName(excluded)],
    });
    let top = pki.root.below(top);
    let direct = top.sign(&params("leaf"), &pki.key);
    assert!(pki.verify(&[direct, top.certificate()]).is_ok());
    let inter = top.below(ca_params("Below"));
    let leaf = inter.sign(&params("leaf"), &pki.key);
    let unfit = pki.verify(&[leaf, inter.certificate(), top.certificate()]).unwrap_err();
    let text = unfit.to_string();
    assert!(text.contains("CN=Top") && text.contains("fewer intermediates"), "{text}");
}

/// A megabyte of certificates that anybody can make, in the shapes that cost most, is refused at once,
/// and beside it a good chain is found. What it took before was minutes.
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
#[test]
fn a_megabyte_of_certificates_costs_next_to_nothing() {
    let pki = Pki::new();
    /// Subject and issuer of the certificate with that number.
    type Shape = fn(usize) -> (String, String);
    let shapes: [(&str, Shape); 5] = [
        ("roots of one name", |_| ("Lower".into(), "Lower".into())),
        ("issued by the root, they say", |_| ("Lower".into(), "Root".into())),
        ("two that vouch for each other", |i| match i % 2 {
            0 => ("Lower".into(), "Y".into()),
            _ => ("Y".into(), "Lower".into()),
        }),
        ("levels", |i| match i % 6 {
            0 => ("Lower".into(), "L1".into()),
            level => (format!("L{level}"), format!("L{}", level + 1)),
        }),
        ("levels below the root", |i| match i % 6 {
            0 => ("Lower".into(), "L1".into()),
            5 => ("L5".into(), "Root".into()),
            level => (format!("L{level}"), format!("L{}", level + 1)),
        }),
    ];
    for (name, shape) in shapes {
        let mut received = vec![pki.leaf.clone()];
        let mut size = 0;
        let key = KeyPair::generate().unwrap();
        while size < 1 << 20 {
            let (subject, issuer) = shape(received.len() - 1);
            let own = KeyPair::generate().unwrap();
            let issuer = rcgen::Issuer::new(ca_params(&issuer), &key);
            let made = read(&ca_params(&subject).signed_by(&own, &issuer).unwrap());
            size += made.to_pem().len();
            received.push(made);
        }
        let begun = std::time::Instant::now();
        let refused = pki.verify(&received);
        let took = begun.elapsed();
        println!("{name}: {} certificates, {took:?}", received.len());
        assert!(refused.is_err(), "{name}");
        assert!(took < std::time::Duration::from_secs(2), "{name}: {took:?}");
        received.extend([pki.lower.certificate(), pki.upper.certificate()]);
        let is_flood = name.ends_with("they say") || name.ends_with("the root");
        match pki.verify(&received) {
            Ok(chain) => assert_eq!(chain, pki.chain(), "{name}"),
            Err(unfit) => {
                assert!(is_flood && unfit.to_string().contains("more than 128"), "{unfit}")
            }
        }
    }
}

/// What a certificate authority can make that is trusted: six levels of names, each of whose
/// certificates is genuine, so that they stand above each other in tens of thousands of ways, and the
/// leaf's signature by none of them; strangers of the same names; and several roots.
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
#[test]
fn a_trusted_ca_that_means_harm_costs_next_to_nothing() {
    let mut pki = Pki::new();
    let stranger = Ca::root(ca_params("L1"));
    pki.leaf = stranger.sign(&params("leaf"), &pki.key);
    let mut roots = vec![pki.root.certificate()];
    roots.extend((0..2).map(|_| Ca::root(ca_params("Root")).certificate()));
    for (name, width, algorithm) in [
        ("six of each", 6, &rcgen::PKCS_ECDSA_P256_SHA256),
        ("ten of each", 10, &rcgen::PKCS_ECDSA_P256_SHA256),
        ("twenty of each", 20, &rcgen::PKCS_ECDSA_P256_SHA256),
        ("six of each, on P-384", 6, &rcgen::PKCS_ECDSA_P384_SHA384),
    ] {
        let mut received = vec![pki.leaf.clone()];
        let mut issuer = &pki.root.0;
        let levels: Vec<Ca> = (1..=6)
            .map(|level| Ca::root_with(ca_params(&format!("L{}", 7 - level)), algorithm))
            .collect();
        for (at, level) in levels.iter().enumerate() {
            for number in 0..width {
                let own = KeyPair::generate_for(algorithm).unwrap();
                let key = if number == 0 { level.0.key() } else { &own };
                let asked = ca_params(&format!("L{}", 6 - at));
                received.push(read(&asked.signed_by(key, issuer).unwrap()));
            }
            issuer = &level.0;
        }
        for number in 0..300 {
            let own = KeyPair::generate().unwrap();
            let asked = ca_params(&format!("L{}", number % 6 + 1));
            received.push(read(&asked.signed_by(&own, &stranger.0).unwrap()));
        }
        let begun = std::time::Instant::now();
        let refused = pki.verify_with(&received, &roots, &[]).unwrap_err();
        let took = begun.elapsed();
        println!("{name}: {} certificates, {took:?}, {refused}", received.len());
        assert!(took < std::time::Duration::from_secs(2), "{name}: {took:?}");
    }
}

#[test]
fn a_chain_of_six_is_found_among_ten_cross_certificates_for_each() {
    let mut pki = Pki::new();
    let others: Vec<Ca> = (0..10).map(|n| Ca::root(ca_params(&format!("Other {n}")))).collect();
    let mut levels: Vec<Ca> = Vec::new();
    let mut received = Vec::new();
    for at in 0..6 {
        let issuer = levels.last().unwrap_or(&pki.root);
        let level = issuer.below(ca_params(&format!("Level {at}")));
        received.push(level.certificate());
        let key = || KeyPair::from_pem(&level.0.key().serialize_pem()).unwrap();
        // Of the same name and key, by the same authority and by ten that nobody here trusts.
        received.extend((0..9).map(|n| {
            let mut asked = ca_params(&format!("Level {at}"));
            asked.serial_number = Some(SerialNumber::from(n as u64 + 1));
            issuer.sign(&asked, &key())
        }));
        let cross = |other: &Ca| other.sign(&ca_params(&format!("Level {at}")), &key());
        received.extend(others.iter().map(cross));
        levels.push(level);
    }
    pki.leaf = levels.last().unwrap().sign(&params("leaf"), &pki.key);
    received.push(pki.leaf.clone());
    let chain = pki.verify(&received).unwrap();
    assert_eq!(chain.intermediates.len(), 6);
    // One way alone, with ten cross certificates.
    let mut few: Vec<Certificate> = levels.iter().map(Ca::certificate).collect();
    let key = KeyPair::from_pem(&levels[5].0.key().serialize_pem()).unwrap();
    few.extend(others.iter().map(|other| other.sign(&ca_params("Level 5"), &key)));
    few.push(pki.leaf.clone());
    assert_eq!(pki.verify(&few).unwrap().intermediates.len(), 6);
}

#[test]
fn more_intermediates_than_are_looked_at_are_told_with_the_bound() {
    let mut pki = Pki::new();
    let other = Ca::root(ca_params("Lower"));
    pki.leaf = other.sign(&params("leaf"), &pki.key);
    let made = |_| pki.root.sign(&ca_params("Lower"), &KeyPair::generate().unwrap());
    let mut received: Vec<Certificate> = (0..65).map(made).collect();
    received.push(pki.leaf.clone());
    let text = pki.verify(&received).unwrap_err().to_string();
    let says = "66 certificates are at hand, of which more than 64 are issued by a trusted root";
    assert!(text.contains(says), "{text}");
}

#[test]
fn certificates_that_vouch_for_each_other_end_the_search() {
    let mut pki = Pki::new();
    let (a, b) = (Ca::root(ca_params("A")), Ca::root(ca_params("B")));
    let key_of = |ca: &Ca| KeyPair::from_pem(&ca.0.key().serialize_pem()).unwrap();
    let a_by_b = b.sign(&ca_params("A"), &key_of(&a));
    let b_by_a = a.sign(&ca_params("B"), &key_of(&b));
    pki.leaf = a.sign(&params("leaf"), &pki.key);
    let received = [pki.leaf.clone(), a_by_b, b_by_a];
    let unfit = pki.verify(&received).unwrap_err();
    assert!(matches!(unfit, Unfit::NoPath { .. }), "{unfit}");
}

proptest! {
    #[test]
    fn a_certificate_with_a_byte_changed_is_never_verified_and_nothing_panics(
        which in 0..3_usize,
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);
        let mut received = PKI.received();
        let mut der = received[which].der().to_vec();
        let at = at.index(der.len());
        prop_assume!(der[at] != byte);
        der[at] = byte;
        if let Ok(changed) = Certificate::from_der(&der) {
            received[which] = changed;
            prop_assert!(PKI.verify(&received).is_err());
        }
    }
}
