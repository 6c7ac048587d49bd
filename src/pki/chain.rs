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
//! basic constraints, path lengths and name constraints respected (RFC 5280 section 6). A certificate
//! for TLS stands below no intermediate that is for something else. To find that out, or that it is
//! not so, takes less than a tenth of a second, whatever was received.
//!
//! # Caveats
//! - Names of issuers and subjects are compared byte by byte, as webpki does. A certificate authority
//!   that writes the same name in another string type breaks its own chain here, as in every TLS
//!   client built on rustls or Go.
//! - RSA keys of the signers need 2048 bits; SHA-1 and MD5 signatures are refused, except on the
//!   anchor itself, whose own signature says nothing.
//! - Revocation is not looked at.

mod constraints;
mod explain;
mod purposes;
mod search;
mod signature;

use std::borrow::Cow;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use self::search::Search;
use super::{Certificate, Names};

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
    /// Why TLS clients that are built on rustls refuse this chain, where they do, in a sentence.
    pub rustls_refusal: Option<String>,
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
    /// The certificate becomes valid later than now.
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

/// A subject or issuer in a message. Certificates come from outside, and may have names without end.
pub(super) fn named(name: &str) -> Cow<'_, str> {
    const LONGEST: usize = 200;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None if name.is_empty() => Cow::Borrowed("an empty name"),
        None => Cow::Borrowed(name),
    }
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
/// other candidates first, then from [`Expected::further_intermediates`], in any order: where several
/// paths verify, it is the one with the most of the candidates, cross certificates among them. What
/// the certificate is for (extended key usage) is not judged, except that an intermediate which is for
/// something else than TLS makes a certificate for TLS useless.
///
/// # Errors
/// Everything is wrong with the answer rather than with the asking; see [`Unfit`].
pub fn verify(candidates: &[Certificate], expected: &Expected<'_>) -> Result<VerifiedChain, Unfit> {
    verify_preferring(candidates, expected, None)
}

/// The same, and where paths to several anchors verify, it is one to the anchor that [`is_root`] takes
/// for `preferred_root`.
///
/// # Errors
/// As [`verify`].
pub fn verify_preferring(
    candidates: &[Certificate],
    expected: &Expected<'_>,
    preferred_root: Option<&str>,
) -> Result<VerifiedChain, Unfit> {
    let leaf = find_leaf(candidates, expected.spki_der)?;
    check_leaf(leaf, expected)?;
    let search = Search::new(leaf, candidates, expected, preferred_root);
    let (anchors, not_valid): (Vec<_>, Vec<_>) =
        expected.anchors.iter().partition(|anchor| anchor.is_valid_at(search.instant));
    search.path_to(&anchors).map_err(|error| search.explain(&error, &anchors, &not_valid))
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
    if not_before > expected.now {
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

/// Says why TLS clients that are built on rustls refuse a chain that is right, the leaf first, where
/// they do. `anchor` is the one at which it ends.
#[must_use]
pub fn rustls_refusal(chain: &[Certificate], anchor: Option<&Certificate>) -> Option<String> {
    let chain: Vec<&Certificate> = chain.iter().collect();
    search::rustls_refusal(&chain, anchor?)
}

/// Is this the root that a person means: by its SHA-256 fingerprint, with or without colons, or by its
/// subject as it is shown here?
#[must_use]
pub fn is_root(certificate: &Certificate, named: &str) -> bool {
    let digits: String = named.chars().filter(|digit| *digit != ':').collect();
    let subject = |text: &str| -> Vec<String> {
        text.split(',').map(|part| part.trim().to_lowercase()).collect()
    };
    digits.trim().eq_ignore_ascii_case(certificate.fingerprint_sha256())
        || subject(named) == subject(certificate.subject())
}

/// Says why the TLS stack would not take this certificate as an anchor, if so: completes the sentence
/// "it ...".
pub(super) fn unfit_as_anchor(certificate: &Certificate) -> Option<String> {
    webpki::anchor_from_trusted_cert(&certificate.der().into()).err().map(|error| flaw(&error))
}

/// Says why webpki would not take this certificate as an intermediate, if so.
fn unusable(certificate: &Certificate) -> Option<String> {
    if let Err(error) = EndEntityCert::try_from(&CertificateDer::from(certificate.der())) {
        return Some(flaw(&error));
    }
    let words = if !certificate.is_ca() {
        "is not marked as a certificate authority"
    } else if !purposes::may_sign_certificates(certificate) {
        "may not sign certificates, by its key usage"
    } else {
        return None;
    };
    Some(words.to_owned())
}

/// Completes the sentence "a certificate in the chain ...".
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is open, and what is left cannot happen here or has no better words"
)]
fn flaw(error: &webpki::Error) -> String {
    use webpki::Error as E;
    let words = match error {
        E::SignatureAlgorithmMismatch => "names two different signature algorithms",
        E::CertExpired { .. } => "has expired",
        E::CertNotValidYet { .. } => "is not valid yet",
        E::InvalidCertValidity => "expires before it becomes valid",
        E::CaUsedAsEndEntity => "is marked as a certificate authority and is not used as one",
        E::EndEntityUsedAsCa => "has signed another and is not marked as a certificate authority",
        E::UnsupportedCriticalExtension => "has a critical extension that is not understood",
        E::UnsupportedCertVersion => "is not of X.509 version 3",
        E::EmptyEkuExtension => "has an extended key usage extension without any purpose",
        E::MaximumPathDepthExceeded => "lies more than six intermediates away from a root",
        E::MaximumNameConstraintComparisonsExceeded => {
            "has more names, or constrains more, than anybody compares"
        }
        E::MaximumSignatureChecksExceeded | E::MaximumPathBuildCallsExceeded => {
            "can be reached in more ways than anybody tries"
        }
        other => return format!("is refused by the verifier: {other:?}"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests;
