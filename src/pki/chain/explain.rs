//! What to tell a person where no path was found: which rule is broken, and in which certificate.
//!
//! A chain is followed by names from the leaf upwards, and each link is looked at once more. That costs
//! a few signatures, whatever was received.

use super::super::Certificate;
use super::search::{Bound, INTERMEDIATES, LONGEST, NoPath, SIGNATURES, Search};
use super::{Unfit, flaw, identified, signature, unusable};

/// So many roots of one name are tried before none is proposed.
const PINS: usize = 16;
/// So many issuers of one name are looked at.
const SAME_NAME: usize = 8;

impl<'a> Search<'a> {
    /// Finds out what to tell after `error`, with the `anchors` that are valid and those that are not.
    pub(super) fn explain(
        &self,
        error: &NoPath,
        anchors: &[&'a Certificate],
        not_valid: &[&'a Certificate],
    ) -> Unfit {
        let links = self.links(anchors);
        let pin = self.pin(&links, anchors, not_valid);
        if anchors.is_empty() && not_valid.is_empty() {
            return Unfit::NoAnchors { pin };
        }
        if let NoPath::TooMany(bound) = error {
            let (most, what) = match bound {
                Bound::Signatures => (SIGNATURES, "claim to be"),
                Bound::Intermediates => (INTERMEDIATES, "are"),
            };
            let reason = format!(
                "{} certificates are at hand, of which more than {most} {what} issued by a trusted \
                 root or below it: no more are looked at, and among those there is no path",
                self.others.len() + 1
            );
            return Unfit::Refused { reason, pin };
        }
        if !not_valid.is_empty()
            && let Ok(chain) = self.path_to(not_valid)
        {
            return Unfit::AnchorNotValid { anchor: chain.anchor, pin };
        }
        if let NoPath::Purpose(intermediate) = error {
            let reason = format!(
                "the intermediate {intermediate} is not for TLS, by its extended key usage, and the \
                 certificate is"
            );
            return Unfit::Refused { reason, pin };
        }
        if let Some(reason) = self.broken(&links, anchors, error) {
            return Unfit::Refused { reason, pin };
        }
        let last = links.last().copied().unwrap_or(self.leaf);
        Unfit::NoPath { issuer: last.issuer().to_owned(), anchors_not_valid: not_valid.len(), pin }
    }

    /// Follows the issuers' names from the leaf upwards to an anchor, or to where they end. Of several
    /// certificates of one name, one that is right is followed before others.
    fn links(&self, anchors: &[&'a Certificate]) -> Vec<&'a Certificate> {
        let mut links: Vec<&Certificate> = Vec::new();
        while links.len() <= LONGEST {
            let last = links.last().copied().unwrap_or(self.leaf);
            let above = self.above.iter().copied().filter(|one| {
                one.subject_der() == last.issuer_der()
                    && !one.is_self_issued()
                    && !links.iter().any(|link| link.subject_der() == one.subject_der())
            });
            let rank = |one: &&Certificate| {
                (signature::check(last, one).is_ok(), one.is_valid_at(self.instant))
            };
            // The first of the best.
            let best = above
                .take(SAME_NAME)
                .map(|one| (rank(&one), one))
                .reduce(|best, one| if one.0 > best.0 { one } else { best });
            let mut named = issuers(last, anchors);
            match best {
                Some(((true, _), next))
                    if named.all(|one| signature::check(last, one).is_err()) =>
                {
                    links.push(next);
                }
                Some((_, next)) if issuers(last, anchors).next().is_none() => links.push(next),
                _ => break,
            }
        }
        links
    }

    /// Finds a root at hand that is not trusted, but would complete the path if it were.
    fn pin(
        &self,
        links: &[&'a Certificate],
        anchors: &[&'a Certificate],
        not_valid: &[&'a Certificate],
    ) -> Option<Certificate> {
        let last = links.last().copied().unwrap_or(self.leaf);
        let roots = self.others.iter().copied().filter(|other| {
            other.subject_der() == last.issuer_der()
                && other.is_self_issued()
                && other.is_valid_at(self.instant)
                && !anchors.contains(other)
                && !not_valid.contains(other)
        });
        let root = roots.take(PINS).find(|root| signature::check(last, root).is_ok())?;
        self.path_to(&[root]).is_ok().then(|| root.clone())
    }

    /// Names the first certificate from the leaf upwards that breaks a rule. `None` where the chain
    /// ends below any anchor, and is right as far as it goes.
    fn broken(
        &self,
        links: &[&'a Certificate],
        anchors: &[&'a Certificate],
        error: &NoPath,
    ) -> Option<String> {
        if let Err(error) = webpki::EndEntityCert::try_from(&self.leaf.der().into()) {
            return Some(format!(
                "the certificate itself, {}, {}",
                identified(self.leaf),
                flaw(&error)
            ));
        }
        let signed = std::iter::once(&self.leaf).chain(links).copied();
        for (certificate, issuer) in signed.zip(links.iter().copied()) {
            if let Err(flaw) = signature::check(certificate, issuer) {
                return Some(format!("{} {flaw}", identified(certificate)));
            }
            if !issuer.is_valid_at(self.instant) {
                return Some(format!(
                    "the intermediate {} is valid from {} to {} and not now",
                    identified(issuer),
                    issuer.not_before(),
                    issuer.not_after()
                ));
            }
        }
        let last = links.last().copied().unwrap_or(self.leaf);
        let checked: Vec<_> = issuers(last, anchors)
            .take(SAME_NAME)
            .map(|anchor| (anchor, signature::check(last, anchor)))
            .collect();
        let Some((anchor, _)) = checked.iter().find(|(_, checked)| checked.is_ok()) else {
            let flaw = checked.iter().find_map(|(_, checked)| checked.as_ref().err());
            return match flaw {
                Some(flaw) => Some(format!("{} {flaw}", identified(last))),
                None => self.unusable_issuer(last),
            };
        };
        // What was too much for webpki is not tried again.
        if let NoPath::Refused(error) = error
            && *error == webpki::Error::MaximumNameConstraintComparisonsExceeded
        {
            return Some(format!("a certificate in it {}", flaw(error)));
        }
        self.rule_broken(links, anchor, 0).or_else(|| match error {
            NoPath::Refused(webpki::Error::UnknownIssuer)
            | NoPath::Purpose(_)
            | NoPath::TooMany(_) => None,
            NoPath::Refused(error) => Some(format!("a certificate in it {}", flaw(error))),
        })
    }

    fn unusable_issuer(&self, last: &Certificate) -> Option<String> {
        let named = |other: &&&Certificate| {
            other.subject_der() == last.issuer_der() && !other.is_self_issued()
        };
        let issuers = self.others.iter().filter(named).take(SAME_NAME);
        let mut flaws = issuers.filter_map(|issuer| Some((issuer, unusable(issuer)?)));
        let (issuer, flaw) = flaws.next()?;
        Some(format!("the issuer's certificate {}, {flaw}", identified(issuer)))
    }
}

/// The anchors that have the name of the issuer.
fn issuers<'a>(
    certificate: &Certificate,
    anchors: &[&'a Certificate],
) -> impl Iterator<Item = &'a Certificate> {
    anchors.iter().copied().filter(|anchor| anchor.subject_der() == certificate.issuer_der())
}
