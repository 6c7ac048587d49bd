//! Is this the certificate we asked for, and does it lead to a root we trust?
//!
//! The path is found and every signature checked by rustls-webpki with aws-lc-rs. What that library
//! leaves to its caller, or does for browsers only, is done here: finding our certificate among those
//! received, comparing names, the validity of roots, and saying what is wrong in words that a person
//! can act on.
//!
//! # Guarantees
//! A [`VerifiedChain`] holds a certificate with our key that is valid, carries every name asked for,
//! is no certificate authority, and leads to one of the anchors through signatures that verify, with
//! basic constraints, path lengths and name constraints respected (RFC 5280 section 6).
//!
//! # Caveats
//! - Names of issuers and subjects are compared byte by byte, as webpki does. A certificate authority
//!   that writes the same name in another string type breaks its own chain here, as in every TLS
//!   client built on rustls or Go.
//! - RSA keys of the signers need 2048 bits; SHA-1 and MD5 signatures are refused, except on the
//!   anchor itself, whose own signature says nothing.
//! - Revocation is not looked at.

use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

use super::{Certificate, Names};

/// How far in the future a certificate's notBefore may lie: some certificate authorities do not
/// backdate, and their clock may be ahead of ours by the five minutes that Kerberos, too, allows.
const CLOCK_SKEW_SECONDS: i64 = 5 * 60;

/// What the certificate must be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The SubjectPublicKeyInfo of our key, in DER ([`super::PrivateKey::spki_der`]).
    pub spki_der: &'a [u8],
    /// The names that were asked for.
    pub names: &'a Names,
    /// The certificates at one of which a path must end: usually roots, but a pinned intermediate
    /// will do.
    pub anchors: &'a [Certificate],
    /// Intermediates that the certificate authority may have left out of its answer.
    pub further_intermediates: &'a [Certificate],
    /// The current time.
    pub now: Timestamp,
}

/// A certificate with the path that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    /// The certificate with our key.
    pub leaf: Certificate,
    /// The intermediates from the leaf's issuer upwards, without the anchor.
    pub intermediates: Vec<Certificate>,
    /// The trusted certificate at which the path ends.
    pub anchor: Certificate,
}

impl VerifiedChain {
    /// Writes leaf and intermediates as PEM in the order in which TLS sends them.
    pub fn tls_crt(&self) -> String {
        std::iter::once(&self.leaf).chain(&self.intermediates).map(Certificate::to_pem).collect()
    }

    /// Writes the anchor as PEM.
    pub fn ca_crt(&self) -> String {
        self.anchor.to_pem()
    }
}

/// Why the certificates received are not what was asked for.
///
/// Where a field is called `pin`, it holds a self-issued certificate from among those at hand that
/// would complete the path if it were an anchor. Nothing vouches for it: a person has to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// None of the candidates has our key.
    #[error("none of the {received} certificates received is for the private key that was used")]
    NoLeaf {
        /// How many candidates there were.
        received: usize,
    },
    /// The certificate with our key could sign others.
    #[error("the certificate received for {} is marked as a certificate authority", named(.subject))]
    LeafIsCa {
        /// Its subject.
        subject: String,
    },
    /// The certificate becomes valid more than five minutes from now.
    #[error(
        "the certificate received becomes valid only at {not_before}; compare the certificate \
         authority's clock with this one"
    )]
    NotYetValid {
        /// From when on it is valid.
        not_before: Timestamp,
    },
    /// The certificate is no longer valid.
    #[error("the certificate received expired at {not_after}")]
    Expired {
        /// Until when it was valid.
        not_after: Timestamp,
    },
    /// Names that were asked for are not in the certificate.
    #[error("the certificate received lacks names that were asked for: {}", .0.join(", "))]
    NamesMissing(
        /// The names as they were asked for, each with its kind, such as `DNS name a.example.org`.
        Vec<String>,
    ),
    /// There is nothing that a path could end at.
    #[error("no trusted root is configured{}", advice(.pin.as_ref()))]
    NoAnchors {
        /// What could be trusted.
        pin: Option<Certificate>,
    },
    /// The path ends before it reaches an anchor.
    #[error(
        "the chain ends at {}, whose certificate is not among the trusted roots{}{}",
        named(.issuer), left_out(*.anchors_not_valid), advice(.pin.as_ref())
    )]
    NoPath {
        /// The issuer for which neither an intermediate nor an anchor is at hand.
        issuer: String,
        /// How many anchors did not count because they are not yet or no longer valid.
        anchors_not_valid: usize,
        /// What could be trusted.
        pin: Option<Certificate>,
    },
    /// The path reaches an anchor that is not yet or no longer valid.
    #[error(
        "the chain leads to the trusted root {}, which is valid from {} to {} and not now{}",
        identified(.anchor), .anchor.not_before(), .anchor.not_after(), advice(.pin.as_ref())
    )]
    AnchorNotValid {
        /// The anchor.
        anchor: Certificate,
        /// What could be trusted instead.
        pin: Option<Certificate>,
    },
    /// Certificates with the right names are there, but something else is wrong with them.
    #[error("the chain cannot be trusted: {reason}{}", advice(.pin.as_ref()))]
    Refused {
        /// What is wrong.
        reason: String,
        /// What could be trusted instead.
        pin: Option<Certificate>,
    },
}

fn named(name: &str) -> &str {
    if name.is_empty() { "an empty name" } else { name }
}

fn identified(certificate: &Certificate) -> String {
    let subject = named(certificate.subject());
    format!("{subject} (SHA-256 {})", certificate.fingerprint_sha256())
}

fn advice(pin: Option<&Certificate>) -> String {
    pin.map(|root| format!("; to trust the root at hand, pin {}", identified(root)))
        .unwrap_or_default()
}

fn left_out(anchors: usize) -> String {
    match anchors {
        0 => String::new(),
        1 => " (1 trusted root is not valid now and does not count)".to_owned(),
        _ => format!(" ({anchors} trusted roots are not valid now and do not count)"),
    }
}

/// Finds the certificate for our key among `candidates`, wherever it stands, and verifies it.
///
/// Of several with our key, the one that is valid longest is taken. Intermediates are taken from the
/// other candidates first, then from [`Expected::further_intermediates`], in any order. What the
/// certificate is for (extended key usage) is not judged.
///
/// # Errors
/// Everything is wrong with the answer rather than with the asking; see [`Unfit`].
pub fn verify(candidates: &[Certificate], expected: &Expected<'_>) -> Result<VerifiedChain, Unfit> {
    let leaf = find_leaf(candidates, expected.spki_der)?;
    check_leaf(leaf, expected)?;
    let search = Search::new(leaf, candidates, expected);
    let (anchors, not_valid): (Vec<_>, Vec<_>) =
        expected.anchors.iter().partition(|anchor| anchor.is_valid_at(search.instant));
    search.path_to(&anchors).map_err(|error| search.explain(&error, expected.anchors, &not_valid))
}

fn find_leaf<'a>(candidates: &'a [Certificate], spki_der: &[u8]) -> Result<&'a Certificate, Unfit> {
    candidates
        .iter()
        .filter(|candidate| candidate.spki_der() == spki_der)
        .max_by_key(|candidate| candidate.not_after())
        .ok_or(Unfit::NoLeaf { received: candidates.len() })
}

fn check_leaf(leaf: &Certificate, expected: &Expected<'_>) -> Result<(), Unfit> {
    if leaf.is_ca() {
        let subject = leaf.subject().to_owned();
        return Err(Unfit::LeafIsCa { subject });
    }
    let not_before = leaf.not_before();
    if not_before.as_second() - expected.now.as_second() > CLOCK_SKEW_SECONDS {
        return Err(Unfit::NotYetValid { not_before });
    }
    let not_after = leaf.not_after();
    if not_after < expected.now {
        return Err(Unfit::Expired { not_after });
    }
    let missing = expected.names.missing_from(leaf);
    if !missing.is_empty() {
        return Err(Unfit::NamesMissing(missing));
    }
    Ok(())
}

/// Takes any extended key usage, or none: whether the certificate suits its purpose is the business
/// of the person who chose the certificate profile, and every purpose there is occurs.
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// The certificates between which a path is looked for.
struct Search<'a> {
    leaf: &'a Certificate,
    /// All certificates at hand but the leaf, each once.
    others: Vec<&'a Certificate>,
    /// Those that webpki can take as intermediates. It tries to decode each before it compares
    /// names, and would report the first that it cannot decode rather than the missing issuer.
    intermediates: Vec<&'a Certificate>,
    /// The time for which everything is verified: now, or the leaf's notBefore if that is later by
    /// no more than the clock skew.
    instant: Timestamp,
}

impl<'a> Search<'a> {
    fn new(leaf: &'a Certificate, candidates: &'a [Certificate], expected: &Expected<'a>) -> Self {
        let mut others: Vec<&Certificate> = Vec::new();
        for other in candidates.iter().chain(expected.further_intermediates) {
            if other != leaf && !others.contains(&other) {
                others.push(other);
            }
        }
        let intermediates =
            others.iter().copied().filter(|other| unusable(other).is_none()).collect();
        Self { leaf, others, intermediates, instant: expected.now.max(leaf.not_before()) }
    }

    /// Looks for a path to one of `anchors`.
    ///
    /// A root that came along may have expired while its successor is trusted, and would then be
    /// reported in place of what is really wrong. So self-issued certificates, which as intermediates
    /// occur only where a certificate authority has changed its key, are tried last.
    fn path_to(&self, anchors: &[&Certificate]) -> Result<VerifiedChain, webpki::Error> {
        let (self_issued, others): (Vec<_>, Vec<_>) = self
            .intermediates
            .iter()
            .copied()
            .partition(|intermediate| intermediate.is_self_issued());
        self.path_through(&others, anchors).or_else(|error| {
            if self_issued.is_empty() {
                return Err(error);
            }
            self.path_through(&self.intermediates, anchors).map_err(|_| error)
        })
    }

    fn path_through(
        &self,
        intermediates: &[&Certificate],
        anchors: &[&Certificate],
    ) -> Result<VerifiedChain, webpki::Error> {
        let leaf_der = CertificateDer::from(self.leaf.der());
        let end_entity = EndEntityCert::try_from(&leaf_der)?;
        let intermediate_ders: Vec<_> = intermediates.iter().map(|c| c.der().into()).collect();
        let anchor_ders: Vec<CertificateDer<'_>> =
            anchors.iter().map(|anchor| anchor.der().into()).collect();
        let (anchors, trusted): (Vec<&Certificate>, Vec<TrustAnchor<'_>>) = anchors
            .iter()
            .zip(&anchor_ders)
            .filter_map(|(anchor, der)| {
                Some((*anchor, webpki::anchor_from_trusted_cert(der).ok()?))
            })
            .unzip();
        let path = end_entity.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &trusted,
            &intermediate_ders,
            unix_time(self.instant),
            AnyPurpose,
            None,
            None,
        )?;

        let anchor = trusted
            .iter()
            .position(|anchor| std::ptr::eq(anchor, path.anchor()))
            .ok_or(webpki::Error::UnknownIssuer)?;
        let used = path.intermediate_certificates().filter_map(|used| {
            let der = used.der();
            intermediates.iter().find(|c| c.der() == der.as_ref())
        });
        Ok(VerifiedChain {
            leaf: self.leaf.clone(),
            intermediates: used.copied().cloned().collect(),
            anchor: anchors[anchor].clone(),
        })
    }

    /// Finds out what to tell a person after `error`.
    fn explain(
        &self,
        error: &webpki::Error,
        anchors: &[Certificate],
        not_valid: &[&Certificate],
    ) -> Unfit {
        let pin = self.pin(anchors);
        if anchors.is_empty() {
            return Unfit::NoAnchors { pin };
        }
        if let Ok(VerifiedChain { anchor, .. }) = self.path_to(not_valid) {
            return Unfit::AnchorNotValid { anchor, pin };
        }
        let links = self.links_by_name();
        if *error != webpki::Error::UnknownIssuer {
            let reason = self.reason(error, &links);
            return Unfit::Refused { reason, pin };
        }
        let last = links.last().copied().unwrap_or(self.leaf);
        if let Some(reason) = self.unusable_issuer(last) {
            return Unfit::Refused { reason, pin };
        }
        Unfit::NoPath { issuer: last.issuer().to_owned(), anchors_not_valid: not_valid.len(), pin }
    }

    /// Finds a root at hand that is not trusted, but would complete the path if it were.
    fn pin(&self, anchors: &[Certificate]) -> Option<Certificate> {
        // Where the path ends, by name: a search from each of thousands of roots would take minutes.
        let links = self.links_by_name();
        let missing = links.last().unwrap_or(&self.leaf).issuer_der();
        let mut roots = self.others.iter().copied().filter(|other| {
            other.subject_der() == missing
                && other.is_self_issued()
                && other.is_valid_at(self.instant)
                && !anchors.contains(other)
        });
        roots.find(|root| self.path_to(&[*root]).is_ok()).cloned()
    }

    /// Follows the issuers' names from the leaf upwards through the intermediates at hand.
    fn links_by_name(&self) -> Vec<&'a Certificate> {
        let mut links: Vec<&Certificate> = Vec::new();
        while let Some(next) = {
            let issuer = links.last().unwrap_or(&self.leaf).issuer_der();
            self.intermediates.iter().find(|intermediate| {
                intermediate.subject_der() == issuer
                    && !intermediate.is_self_issued()
                    && !links.contains(intermediate)
            })
        } {
            links.push(next);
        }
        links
    }

    fn unusable_issuer(&self, last: &Certificate) -> Option<String> {
        let issuer = self
            .others
            .iter()
            .find(|other| other.subject_der() == last.issuer_der() && !other.is_self_issued())?;
        let flaw = unusable(issuer)?;
        Some(format!("the issuer's certificate {}, {flaw}", identified(issuer)))
    }

    fn reason(&self, error: &webpki::Error, links: &[&Certificate]) -> String {
        let outdated = links.iter().find(|link| !link.is_valid_at(self.instant));
        match (error, outdated) {
            (
                webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. },
                Some(link),
            ) => format!(
                "the intermediate {} is valid from {} to {} and not now",
                identified(link),
                link.not_before(),
                link.not_after()
            ),
            _ => format!("a certificate in it {}", flaw(error)),
        }
    }
}

/// Says why webpki would not take this certificate as an intermediate, if so.
fn unusable(certificate: &Certificate) -> Option<String> {
    if let Err(error) = EndEntityCert::try_from(&CertificateDer::from(certificate.der())) {
        return Some(flaw(&error));
    }
    (!certificate.is_ca()).then(|| "is not marked as a certificate authority".to_owned())
}

/// Completes the sentence "a certificate in the chain ...".
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is open, and what is left cannot happen here or has no better words"
)]
fn flaw(error: &webpki::Error) -> String {
    use webpki::Error as E;
    let words = match error {
        E::InvalidSignatureForPublicKey => {
            "has a signature that its issuer's key does not verify: a root or intermediate of the \
             same name but with another key is in use, or the issuer's RSA key is shorter than 2048 \
             bits"
        }
        E::UnsupportedSignatureAlgorithmContext(_) => {
            "is signed with an algorithm that is no longer accepted, such as SHA-1"
        }
        E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "is signed with an algorithm that does not fit its issuer's key"
        }
        E::SignatureAlgorithmMismatch => "names two different signature algorithms",
        E::CertExpired { .. } => "has expired",
        E::CertNotValidYet { .. } => "is not valid yet",
        E::InvalidCertValidity => "expires before it becomes valid",
        E::CaUsedAsEndEntity => "is marked as a certificate authority and is not used as one",
        E::EndEntityUsedAsCa => "has signed another and is not marked as a certificate authority",
        E::PathLenConstraintViolated => "allows fewer intermediates below it than there are",
        E::NameConstraintViolation => "has names that a certificate above it does not allow",
        E::UnsupportedCriticalExtension => "has a critical extension that is not understood",
        E::UnsupportedCertVersion => "is not of X.509 version 3",
        E::EmptyEkuExtension => "has an extended key usage extension without any purpose",
        E::MaximumPathDepthExceeded => "lies more than six intermediates away from a root",
        other => return format!("is refused by the verifier: {other:?}"),
    };
    words.to_owned()
}

fn unix_time(instant: Timestamp) -> UnixTime {
    let seconds = u64::try_from(instant.as_second()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
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
            let expected = if missing.is_empty() {
                Ok(self.chain())
            } else {
                Err(Unfit::NamesMissing(missing))
            };
            assert_eq!(self.verify(&self.received()), expected, "{case}");
        }

        fn chain(&self) -> VerifiedChain {
            VerifiedChain {
                leaf: self.leaf.clone(),
                intermediates: vec![self.lower.certificate(), self.upper.certificate()],
                anchor: self.root.certificate(),
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
    fn validity_is_judged_with_five_minutes_for_a_clock_ahead_of_ours() {
        let pki = Pki::new();
        let root = [pki.root.certificate()];
        let verify_at = |now| pki.verify_at(now, &pki.received(), &root, &[]);
        assert_eq!(verify_at("2025-12-31T23:55:00Z"), Ok(pki.chain()));
        assert_eq!(verify_at("2027-01-01T00:00:00Z"), Ok(pki.chain()));
        let early = verify_at("2025-12-31T23:54:59Z").unwrap_err();
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
            (
                with(None, &[], &["spiffe://example.org/Shop"], &[]),
                &["URI spiffe://example.org/Shop"],
            ),
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
        assert_eq!(
            pki.verify_with(&received, &[], &[]),
            Err(Unfit::NoAnchors { pin: pin.clone() })
        );
        assert_eq!(pki.verify_with(&pki.received(), &[], &[root]), Err(Unfit::NoAnchors { pin }));
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
        let unfit =
            pki.verify_with(&pki.received(), std::slice::from_ref(&impostor), &[]).unwrap_err();
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
        let cases = [
            (expired, "to 2026-05-31T00:00:00Z and not now"),
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
}
