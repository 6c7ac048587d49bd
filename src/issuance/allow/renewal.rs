//! What an issuer that does not say whom it serves renews.
//!
//! A tenant writes the Secret with all its annotations, and the status of a request too. What
//! counts is what nobody but a CA or the operator makes: a certificate whose chain ends where the
//! issuer's chains end, with its key at hand, and the record of an order.

use jiff::SignedDuration;

use crate::issuance::certificate::requested::Requested;
use crate::issuance::observation::{Account, Observation};
use crate::pki::csr::Asked;
use crate::pki::names::{Attribute, Usage};
use crate::pki::{Certificate, KeyKind, Names};

/// CAs round lifetimes and date certificates back.
const ROUNDED: SignedDuration = SignedDuration::from_hours(1);

/// What of the request is new, in words. `None` where all of it stood in the certificate that is
/// delivered, or was ordered before.
pub(super) fn new(seen: &Observation) -> Option<String> {
    let certificate = || Some("the certificate: what is there is not its CA's".to_owned());
    let (Some(account), Some(target)) = (&seen.account, seen.live_target()) else {
        return certificate();
    };
    let Some(key) = seen.key_in(target) else { return certificate() };
    let request = &seen.request;
    let verified = seen.verified(&target.chain, key.spki_der(), &request.names, account);
    let Ok(chain) = verified else { return certificate() };
    if is_as_ordered(seen) {
        return None;
    }
    beside(&chain.leaf, &request.names.subject, &request.names.usages)
        .or_else(|| by_csr(seen, account, &chain.leaf))
        .or_else(|| by_key(seen, &chain.leaf))
        .or_else(|| longer(seen, &chain.leaf))
        .or_else(|| {
            let product = request.overrides.product.as_ref().map(|(_, field)| field);
            let overrides = &request.overrides;
            let others = overrides.credentials.as_ref().or(overrides.contact.as_ref());
            product.or(others).cloned()
        })
}

/// The record says that the very same was ordered before: the operator alone writes records.
fn is_as_ordered(seen: &Observation) -> bool {
    let Some(record) = seen.record() else { return false };
    let (order, wanted) = (&record.next.order, seen.wanted());
    let stored = order.requested();
    let is_same_user =
        seen.request.credentials.is_none() || !stored.differs(&wanted, Requested::ACCOUNT);
    is_same_user
        && !stored.differs_in_itself(&wanted)
        && !stored.differs(&wanted, Requested::CA_BLOCK)
        && seen.csr.as_ref().is_none_or(|csr| csr.der == order.csr_der())
}

fn beside(leaf: &Certificate, subject: &[Attribute], usages: &[Usage]) -> Option<String> {
    let (shown, purposes) = (leaf.subject_attributes(), leaf.usages());
    let attribute = subject.iter().find(|one| !shown.contains(one));
    let usage = || usages.iter().find(|one| !purposes.contains(one));
    attribute
        .map(|one| format!("{} in the subject", one.kind))
        .or_else(|| usage().map(|usage| format!("usage {usage}")))
}

/// A certificate is public, and whoever shows it need not be the one that it is for: the key has to
/// be the one that signed the CSR.
fn by_csr(seen: &Observation, account: &Account, leaf: &Certificate) -> Option<String> {
    let csr = seen.csr.as_ref()?;
    if csr.key.spki_der() != leaf.spki_der() {
        return Some("the key of the CSR".to_owned());
    }
    if !account.capabilities.names {
        return None;
    }
    let Asked { common_names, subject, names, usages, others } = &csr.asked;
    let with_common_name =
        |name: &String| Names { common_name: Some(name.clone()), ..names.clone() };
    let mut missing = common_names
        .iter()
        .map(with_common_name)
        .chain([names.clone()])
        .flat_map(|names| names.missing_from(leaf));
    missing.next().or_else(|| beside(leaf, subject, usages)).or_else(|| others.first().cloned())
}

fn by_key(seen: &Observation, leaf: &Certificate) -> Option<String> {
    let asked = seen.request.key_kind.filter(|_| seen.csr.is_none())?;
    let is_there = KeyKind::of_spki(leaf.spki_der()) == Some(asked);
    (!is_there).then(|| format!("a key of the kind {asked}"))
}

fn longer(seen: &Observation, leaf: &Certificate) -> Option<String> {
    let asked = seen.request.duration?;
    let lasted = leaf.not_after().duration_since(leaf.not_before());
    (asked > lasted.saturating_add(ROUNDED)).then(|| format!("a lifetime of {asked:#}"))
}
