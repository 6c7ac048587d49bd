//! Whether trust anchors can be the right ones for a CA, as far as that is known before it issues.

use crate::pki::{self, Certificate};

/// Trust anchors in one word, whatever their order.
#[must_use]
pub fn trust(anchors: &[Certificate]) -> String {
    let mut all: Vec<&str> = anchors.iter().map(Certificate::fingerprint_sha256).collect();
    all.sort_unstable();
    all.dedup();
    pki::sha256_hex(all.join("\n").as_bytes())
}

/// Says so where none of the CA certificates that a CA serves is an anchor, or could lead to one.
///
/// One that another CA has signed may lead to an anchor of that one's name, and an anchor may be an
/// intermediate below one that is served: names are enough for that, because a chain is verified
/// before it is delivered anyway. Where nothing is served, nothing is known.
#[must_use]
pub fn apart(served: &[Certificate], anchors: &[Certificate]) -> Option<String> {
    let roots: Vec<&Certificate> = served.iter().filter(|one| one.is_ca()).collect();
    let is_related = |root: &&Certificate| anchors.iter().any(|anchor| leads_to(root, anchor));
    if roots.is_empty() || roots.iter().any(is_related) {
        return None;
    }
    let named =
        |root: &&Certificate| format!("{} (SHA-256 {})", root.subject(), root.fingerprint_sha256());
    let mut names: Vec<String> = roots.iter().take(TOLD).map(named).collect();
    if let Some(more) = roots.len().checked_sub(TOLD).filter(|more| *more > 0) {
        names.push(format!("{more} more"));
    }
    Some(format!(
        "none of the roots that the CA serves is trusted, or leads to one that is: {}; compare spec.trust of the issuer with what the CA publishes",
        names.join(", ")
    ))
}

/// So many roots are told by name.
const TOLD: usize = 3;

fn leads_to(served: &Certificate, anchor: &Certificate) -> bool {
    let is_same =
        served.subject_der() == anchor.subject_der() && served.spki_der() == anchor.spki_der();
    let is_above = !served.is_self_issued() && served.issuer_der() == anchor.subject_der();
    let is_below = !anchor.is_self_issued() && anchor.issuer_der() == served.subject_der();
    is_same || is_above || is_below
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuance::fixtures::{issued, key, now, pki};

    #[test]
    fn anchors_are_the_same_in_any_order() {
        let one = pki().root.certificate();
        let other = pki().stranger.certificate();
        let both = trust(&[one.clone(), other.clone()]);
        assert_eq!(both, trust(&[other, one.clone(), one.clone()]));
        assert_ne!(both, trust(&[one]));
    }

    #[test]
    fn anchors_that_cannot_be_the_right_ones_are_told_apart() {
        let (root, issuing) = (pki().root.certificate(), pki().issuing.certificate());
        let stranger = pki().stranger.certificate();
        let leaf = issued(&key(1), now()).remove(0);
        let cases = [
            ("the root itself", vec![root.clone()], vec![root.clone()], false),
            (
                "the root among others",
                vec![stranger.clone(), root.clone()],
                vec![root.clone()],
                false,
            ),
            ("an intermediate of a trusted root", vec![issuing.clone()], vec![root.clone()], false),
            ("the root of a trusted intermediate", vec![root.clone()], vec![issuing], false),
            ("another root", vec![stranger.clone()], vec![root.clone()], true),
            ("nothing is served", vec![], vec![root.clone()], false),
            ("no CA is served", vec![leaf], vec![root.clone()], false),
            ("nothing is trusted", vec![root.clone()], vec![], true),
        ];
        for (name, served, anchors, is_apart) in cases {
            let told = apart(&served, &anchors);
            assert_eq!(told.is_some(), is_apart, "{name}: {told:?}");
        }
        let told = apart(std::slice::from_ref(&stranger), &[root]).expect("another root");
        assert!(
            told.contains("CN=Stranger") && told.contains(stranger.fingerprint_sha256()),
            "{told}"
        );
        let many = vec![stranger; 5];
        assert!(apart(&many, &[]).is_some_and(|told| told.contains(", 2 more;")));
    }
}
