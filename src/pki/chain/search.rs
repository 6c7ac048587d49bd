//! The search for paths from a leaf to the anchors.
//!
//! rustls-webpki builds the paths and judges them. It limits how many steps it takes and not what each
//! costs, which grows with the number of certificates it is given: so it is given those alone that a
//! chain of verified signatures connects with an anchor, and that stand between it and the leaf by
//! their names. What anybody can make in any number, certificates that nobody trusted has signed, costs
//! no more than [`SIGNATURES`] checks.
//!
//! # Beside webpki
//! Two kinds of certificates it refuses that OpenSSL takes: those that constrain other names than DNS
//! names and IP addresses, and those with NULL for the parameters of ECDSA. Where no path is found
//! without them, the search is done again: NULL is let through by algorithms of that name
//! ([`signature::lenient`]), and a certificate with such constraints is an anchor of its own, with what
//! webpki can judge of them. From there upwards every signature has been verified by the library, and
//! path lengths and constraints are judged here.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::{
    CertificateDer, Der, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

use super::super::Certificate;
use super::constraints::Constraints;
use super::{Expected, VerifiedChain, is_root, purposes, signature, unusable};

/// So many intermediates webpki takes in one path.
pub(super) const LONGEST: usize = 6;
/// So many signatures are verified to find out which certificates belong to the anchors. A few suffice
/// for every real answer; these take some hundredths of a second.
pub(super) const SIGNATURES: usize = 128;
/// So many intermediates that belong to the anchors are handed to webpki: six steps with ten cross
/// certificates for each.
pub(super) const INTERMEDIATES: usize = 64;

/// Takes any extended key usage: whether the leaf suits its purpose is the business of the person who
/// chose the certificate profile, and the rest is judged by [`purposes::shared`].
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, _purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// The certificates between which a path is looked for.
pub(super) struct Search<'a> {
    pub(super) leaf: &'a Certificate,
    /// All certificates at hand but the leaf, each once.
    pub(super) others: Vec<&'a Certificate>,
    /// Those of them that can be intermediates and stand above the leaf by their names.
    pub(super) above: Vec<&'a Certificate>,
    /// What the certificate authority returned.
    served: HashSet<&'a str>,
    /// The time for which everything is verified.
    pub(super) instant: Timestamp,
    preferred_root: Option<&'a str>,
}

/// Intermediates from the leaf's issuer upwards, and the anchor.
struct Path<'a> {
    intermediates: Vec<&'a Certificate>,
    anchor: &'a Certificate,
}

/// A certificate whose signature, and those above it, lead to an anchor.
struct Vouched<'a> {
    certificate: &'a Certificate,
    /// Its issuer among the vouched; `None` where that is an anchor.
    issuer: Option<usize>,
    anchor: &'a Certificate,
}

/// Where a path may end for webpki.
struct End<'a> {
    certificate: &'a Certificate,
    /// Its place among the vouched, where it is no anchor.
    vouched: Option<usize>,
    /// What it constrains, for webpki.
    constraints: Option<Vec<u8>>,
}

/// Why no path was found.
pub(super) enum NoPath {
    /// webpki's last word.
    Refused(webpki::Error),
    /// There are paths, and this certificate on the first of them is not for TLS, as the leaf is.
    Purpose(String),
    /// There is more than is looked at.
    TooMany(Bound),
}

/// Where a search ends that certificates without end are handed to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Bound {
    /// More than [`SIGNATURES`] certificates claim to be issued by those that belong to the anchors.
    Signatures,
    /// More than [`INTERMEDIATES`] are.
    Intermediates,
}

impl<'a> End<'a> {
    /// `None` where the constraints cannot be read.
    fn new(certificate: &'a Certificate, vouched: Option<usize>) -> Option<Self> {
        let constraints = match Constraints::of(certificate) {
            None => None,
            Some(constraints) => constraints.ok()?.for_webpki(),
        };
        Some(Self { certificate, vouched, constraints })
    }
}

impl<'a> Search<'a> {
    pub(super) fn new(
        leaf: &'a Certificate,
        candidates: &'a [Certificate],
        expected: &Expected<'a>,
        preferred_root: Option<&'a str>,
    ) -> Self {
        let mut seen = HashSet::from([leaf.fingerprint_sha256()]);
        let mut others: Vec<&Certificate> =
            candidates.iter().chain(expected.further_intermediates).collect();
        others.retain(|other| seen.insert(other.fingerprint_sha256()));
        let served = candidates.iter().map(Certificate::fingerprint_sha256).collect();
        let above = above(leaf, &others);
        Self { leaf, others, above, served, instant: expected.now, preferred_root }
    }

    /// Finds the best path to one of `anchors`.
    pub(super) fn path_to(&self, anchors: &[&'a Certificate]) -> Result<VerifiedChain, NoPath> {
        let (vouched, bound) = self.vouched(anchors);
        let path = self.plain(anchors, &vouched).or_else(|error| {
            let error = bound.map_or(error, NoPath::TooMany);
            let mut all = anchors.iter().copied().chain(vouched.iter().map(|one| one.certificate));
            let is_odd = signature::has_null_parameters(self.leaf)
                || all.any(|one| signature::has_null_parameters(one) || is_beyond_webpki(one));
            is_odd.then(|| self.beside(anchors, &vouched)).flatten().ok_or(error)
        })?;
        let signed: Vec<&Certificate> =
            std::iter::once(self.leaf).chain(path.intermediates.iter().copied()).collect();
        Ok(VerifiedChain {
            rustls_refusal: rustls_refusal(&signed, path.anchor),
            leaf: self.leaf.clone(),
            intermediates: path.intermediates.into_iter().cloned().collect(),
            anchor: path.anchor.clone(),
        })
    }

    /// Follows the signatures from the anchors downwards, and says what ended that, where not all were
    /// looked at.
    fn vouched(&self, anchors: &[&'a Certificate]) -> (Vec<Vouched<'a>>, Option<Bound>) {
        let mut by_issuer: HashMap<&[u8], Vec<&Certificate>> = HashMap::new();
        for certificate in self.above.iter().filter(|one| one.is_valid_at(self.instant)) {
            by_issuer.entry(certificate.issuer_der()).or_default().push(certificate);
        }
        let mut vouched: Vec<Vouched<'a>> = Vec::new();
        let mut signatures = 0;
        let mut issuers: VecDeque<(Option<usize>, &Certificate, usize)> =
            anchors.iter().map(|anchor| (None, *anchor, 0)).collect();
        while let Some((place, issuer, depth)) = issuers.pop_front() {
            let Some(below) = by_issuer.get_mut(issuer.subject_der()).filter(|_| depth < LONGEST)
            else {
                continue;
            };
            let anchor = place.map_or(issuer, |place| vouched[place].anchor);
            let mut left = Vec::new();
            for certificate in std::mem::take(below) {
                // The anchor itself, or one with its name and key, is no step.
                if is_same_authority(certificate, issuer) {
                    left.push(certificate);
                    continue;
                }
                signatures += 1;
                if signatures > SIGNATURES {
                    return (vouched, Some(Bound::Signatures));
                }
                match signature::check(certificate, issuer) {
                    Ok(()) if vouched.len() == INTERMEDIATES => {
                        return (vouched, Some(Bound::Intermediates));
                    }
                    Ok(()) => {
                        issuers.push_back((Some(vouched.len()), certificate, depth + 1));
                        vouched.push(Vouched { certificate, issuer: place, anchor });
                    }
                    Err(_) => left.push(certificate),
                }
            }
            below.extend(left);
        }
        (vouched, None)
    }

    /// As webpki does it alone.
    fn plain(
        &self,
        anchors: &[&'a Certificate],
        vouched: &[Vouched<'a>],
    ) -> Result<Path<'a>, NoPath> {
        let intermediates: Vec<_> = vouched.iter().map(|one| one.certificate).collect();
        let trusted = trusted(anchors);
        let found = self.webpki(webpki::ALL_VERIFICATION_ALGS, &intermediates, &trusted)?;
        let paths = found.into_iter().map(|(steps, end)| Path {
            intermediates: steps.into_iter().map(|step| intermediates[step]).collect(),
            anchor: trusted[end].0,
        });
        let mut forbidding = None;
        let paths = paths.inspect(|path| {
            let one = || purposes::forbidding(self.leaf, &path.intermediates);
            forbidding = forbidding.or_else(one);
        });
        let best = self.best(paths);
        best.ok_or_else(|| match forbidding {
            Some(one) => NoPath::Purpose(super::identified(one)),
            None => NoPath::Refused(webpki::Error::UnknownIssuer),
        })
    }

    /// With certificates that webpki refuses.
    fn beside(&self, anchors: &[&'a Certificate], vouched: &[Vouched<'a>]) -> Option<Path<'a>> {
        let mut intermediates = Vec::new();
        let mut ends = Vec::new();
        for anchor in anchors {
            ends.extend(End::new(anchor, None));
        }
        for (place, one) in vouched.iter().enumerate() {
            if is_beyond_webpki(one.certificate) {
                ends.extend(End::new(one.certificate, Some(place)));
            } else {
                intermediates.push(one.certificate);
            }
        }
        let ders: Vec<CertificateDer<'_>> =
            ends.iter().map(|end| end.certificate.der().into()).collect();
        let trusted: Vec<(&Certificate, TrustAnchor<'_>)> = ends
            .iter()
            .zip(&ders)
            .filter_map(|(end, der)| {
                let anchor = webpki::anchor_from_trusted_cert(der).ok()?;
                let name_constraints = end.constraints.as_deref().map(Der::from_slice);
                Some((end.certificate, TrustAnchor { name_constraints, ..anchor }))
            })
            .collect();
        let found = self.webpki(signature::lenient(), &intermediates, &trusted).ok()?;
        let paths = found.into_iter().filter_map(|(steps, end)| {
            let steps = steps.into_iter().map(|step| intermediates[step]).collect();
            let end = ends.iter().find(|one| one.certificate == trusted[end].0)?;
            self.completed(steps, end, vouched)
        });
        self.best(paths)
    }

    /// Continues a path to `end`, with those who vouch for that, and judges what webpki has not.
    fn completed(
        &self,
        steps: Vec<&'a Certificate>,
        end: &End<'a>,
        vouched: &[Vouched<'a>],
    ) -> Option<Path<'a>> {
        let judged = steps.len();
        let mut path = Path { intermediates: steps, anchor: end.certificate };
        let mut next = end.vouched;
        while let Some(one) = next.and_then(|place| vouched.get(place)) {
            path.intermediates.push(one.certificate);
            path.anchor = one.anchor;
            next = one.issuer;
        }
        self.rule_broken(&path.intermediates, path.anchor, judged).is_none().then_some(path)
    }

    /// Which of `paths` is delivered? One that as many purposes as possible are left of, then the one
    /// to the preferred root, then the one with the most of what the certificate authority returned,
    /// which meant it to be sent, and with the least of what comes from elsewhere.
    fn best(&self, paths: impl Iterator<Item = Path<'a>>) -> Option<Path<'a>> {
        let usable = paths.filter_map(|path| {
            let purposes = purposes::shared(self.leaf, &path.intermediates)?;
            let is_preferred = self.preferred_root.is_some_and(|root| is_root(path.anchor, root));
            let is_served = |one: &&&Certificate| self.served.contains(one.fingerprint_sha256());
            let served = path.intermediates.iter().filter(is_served).count();
            let further = path.intermediates.len() - served;
            Some(((purposes, is_preferred, served, Reverse(further)), path))
        });
        // Of several as good, the first that webpki finds.
        usable.reduce(|best, one| if one.0 > best.0 { one } else { best }).map(|(_, path)| path)
    }

    /// All paths that webpki finds, as places among `intermediates` and `trusted`.
    fn webpki(
        &self,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
        intermediates: &[&'a Certificate],
        trusted: &[(&'a Certificate, TrustAnchor<'_>)],
    ) -> Result<Vec<(Vec<usize>, usize)>, NoPath> {
        let leaf_der = CertificateDer::from(self.leaf.der());
        let leaf = EndEntityCert::try_from(&leaf_der).map_err(NoPath::Refused)?;
        let ders: Vec<CertificateDer<'_>> = intermediates.iter().map(|c| c.der().into()).collect();
        let anchors: Vec<TrustAnchor<'_>> =
            trusted.iter().map(|(_, anchor)| anchor.clone()).collect();
        let found = RefCell::new(Vec::new());
        // Refuses every path, so that webpki goes on to the next.
        let note = |path: &webpki::VerifiedPath<'_>| {
            let end = anchors.iter().position(|anchor| std::ptr::eq(anchor, path.anchor()));
            let steps: Option<Vec<usize>> = path
                .intermediate_certificates()
                .map(|one| ders.iter().position(|der| *der == one.der()))
                .collect();
            if let (Some(steps), Some(end)) = (steps, end) {
                let anchor = trusted[end].0;
                let is_detour =
                    steps.iter().any(|step| is_same_authority(intermediates[*step], anchor));
                if !is_detour {
                    found.borrow_mut().push((steps, end));
                }
            }
            Err(webpki::Error::UnknownIssuer)
        };
        let refusal = leaf.verify_for_usage(
            algorithms,
            &anchors,
            &ders,
            unix_time(self.instant),
            AnyPurpose,
            None,
            Some(&note),
        );
        let found = found.borrow().clone();
        match refusal {
            Err(error) if found.is_empty() => Err(NoPath::Refused(error)),
            Ok(_) | Err(_) => Ok(found),
        }
    }

    /// Says which rule a path breaks whose signatures verify, and in which certificate: path lengths
    /// of the intermediates from `judged` on, name constraints of those and of the anchor.
    pub(super) fn rule_broken(
        &self,
        intermediates: &[&'a Certificate],
        anchor: &'a Certificate,
        judged: usize,
    ) -> Option<String> {
        if intermediates.len() > LONGEST {
            return Some(format!(
                "it has {} intermediates, and TLS clients take {LONGEST}",
                intermediates.len()
            ));
        }
        let below = |place: usize| &intermediates[..place];
        for (place, one) in intermediates.iter().enumerate().skip(judged) {
            let length = below(place).iter().filter(|below| !below.is_self_issued()).count();
            if purposes::path_length(one).is_some_and(|most| length > most) {
                return Some(format!(
                    "{} allows fewer intermediates below it than there are",
                    super::identified(one)
                ));
            }
        }
        let constraining = intermediates.iter().copied().enumerate().skip(judged);
        let mut constraining = constraining.chain([(intermediates.len(), anchor)]);
        constraining.find_map(|(place, one)| self.name_refused(one, below(place)))
    }

    /// Says which name of the leaf, or of one of the certificates `below`, `authority` does not allow.
    fn name_refused(
        &self,
        authority: &'a Certificate,
        below: &[&'a Certificate],
    ) -> Option<String> {
        let whose = super::identified(authority);
        let Ok(constraints) = Constraints::of(authority)? else {
            return Some(format!("{whose} has name constraints that cannot be read"));
        };
        let lowest = below.first().copied();
        // Those of a certificate authority that has changed its key are not judged (RFC 5280 section
        // 6.1.3), except at the end of a path.
        let below = below.iter().copied().filter(|one| !one.is_self_issued());
        let mut named = below.chain([self.leaf]);
        let own = named.find_map(|one| Some((one, constraints.violation(one)?)));
        if let Some((one, name)) = own {
            return Some(format!(
                "{whose} does not allow, by its name constraints, {name} in {}",
                super::identified(one)
            ));
        }
        let issuer = lowest.unwrap_or(authority);
        let refused = constraints.for_webpki().is_some_and(|all| !self.allows(issuer, &all));
        refused.then(|| {
            format!(
                "{whose} does not allow, by its name constraints, a DNS name or IP address of the \
                 certificate"
            )
        })
    }

    /// Asks webpki whether constraints allow the DNS names and IP addresses of the leaf, as if its
    /// issuer were the anchor that has them.
    fn allows(&self, issuer: &Certificate, constraints: &[u8]) -> bool {
        let (leaf_der, issuer_der) = (self.leaf.der().into(), issuer.der().into());
        let (Ok(leaf), Ok(anchor)) =
            (EndEntityCert::try_from(&leaf_der), webpki::anchor_from_trusted_cert(&issuer_der))
        else {
            return false;
        };
        let name_constraints = Some(Der::from_slice(constraints));
        let anchor = TrustAnchor { name_constraints, ..anchor };
        let verified = leaf.verify_for_usage(
            signature::lenient(),
            std::slice::from_ref(&anchor),
            &[],
            unix_time(self.instant),
            AnyPurpose,
            None,
            None,
        );
        // What cannot be compared is not allowed.
        verified.is_ok()
    }
}

/// What do TLS clients that are built on rustls refuse of a chain, from the leaf upwards, that is right?
pub(super) fn rustls_refusal(chain: &[&Certificate], anchor: &Certificate) -> Option<String> {
    if let Some(one) = chain.iter().find(|one| signature::has_null_parameters(one)) {
        return Some(format!(
            "clients built on rustls refuse this chain, because {} is signed with ECDSA and has NULL \
             for the parameters of that; those built on OpenSSL and Go take it",
            super::identified(one)
        ));
    }
    let above = chain.iter().copied().chain([anchor]).enumerate().skip(1);
    let mut constraining = above.filter(|(place, one)| {
        let constraints = Constraints::of(one).and_then(Result::ok);
        constraints.is_some_and(|constraints| constraints.are_refused_by_webpki(&chain[..*place]))
    });
    let (_, one) = constraining.next()?;
    Some(format!(
        "clients built on rustls, and some built on Go, refuse this chain, because {} constrains names \
         that they do not judge, such as directory names; those built on OpenSSL take it",
        super::identified(one)
    ))
}

/// The certificates that can be intermediates and that names connect with the leaf, in no more steps
/// than a path may have.
fn above<'a>(leaf: &'a Certificate, others: &[&'a Certificate]) -> Vec<&'a Certificate> {
    let mut by_subject: HashMap<&[u8], Vec<&Certificate>> = HashMap::new();
    for other in others {
        by_subject.entry(other.subject_der()).or_default().push(other);
    }
    let mut above = Vec::new();
    let mut names = vec![leaf.issuer_der()];
    for _ in 0..LONGEST {
        let found = names.iter().filter_map(|name| by_subject.remove(name)).flatten();
        let usable: Vec<&Certificate> = found.filter(|one| unusable(one).is_none()).collect();
        names = usable.iter().map(|one| one.issuer_der()).collect();
        above.extend(usable);
    }
    above
}

/// Does it constrain names of kinds that webpki does not judge?
fn is_beyond_webpki(certificate: &Certificate) -> bool {
    let constraints = Constraints::of(certificate).and_then(Result::ok);
    constraints.is_some_and(|constraints| constraints.are_beyond_webpki())
}

/// One name and one key: certificates of one authority, whoever issued them.
fn is_same_authority(one: &Certificate, other: &Certificate) -> bool {
    one.subject_der() == other.subject_der() && one.spki_der() == other.spki_der()
}

/// Anchors as webpki has them. Those that it cannot read are left out where a bundle is read.
fn trusted<'a>(anchors: &[&'a Certificate]) -> Vec<(&'a Certificate, TrustAnchor<'static>)> {
    let read = |anchor: &'a Certificate| {
        let der = CertificateDer::from(anchor.der());
        Some((anchor, webpki::anchor_from_trusted_cert(&der).ok()?.to_owned()))
    };
    anchors.iter().filter_map(|anchor| read(anchor)).collect()
}

fn unix_time(instant: Timestamp) -> UnixTime {
    let seconds = u64::try_from(instant.as_second()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
