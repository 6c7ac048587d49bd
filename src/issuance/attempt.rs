//! What stands before every attempt at a certificate, ordered or not: pauses, what the CA would
//! refuse, and whether there is room for it in the target.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::certificate::key::{BroughtCsr, CsrReference, Key};
use super::certificate::reissue::Reissue;
use super::certificate::room::csr_too_long;
use super::certificate::standing::{Standing, TLS};
use super::observation::{Account, Observation, Request};
use super::step::{KeyPlan, Rest, Step};
use super::trouble::Trouble;
use crate::api::RotationPolicy;
use crate::ca::Capabilities;
use crate::outside::Disposition;
use crate::pki::chain::{self, Expected, Unfit, VerifiedChain};
use crate::pki::{Certificate, KeyKind, Names, csr};
use crate::reason::Reason;

/// A Secret that somebody else keeps changing back is repaired after this time at the earliest; each
/// repair in a row doubles it, up to [`LONGEST_REPAIR_PAUSE`].
const REPAIR_PAUSE: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_REPAIR_PAUSE: SignedDuration = SignedDuration::from_hours(1);
/// So far a certificate's notBefore may lie ahead: some certificate authorities do not backdate, and
/// their clock may be ahead of ours by the five minutes that Kerberos, too, allows.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);
/// So often a delivery may lose to another writer before the run ends.
const CONFLICTS: u8 = 3;

/// Refuses first, and with a reason, what the CA would refuse or what could not be delivered. Where
/// nothing speaks against it, where the key comes from.
pub(super) fn examined(
    seen: &Observation,
    standing: &Standing,
    account: &Account,
) -> Result<KeyPlan, Step> {
    let reject = |reason, message| {
        let disposition = Disposition::Reject;
        Step::Rest(Rest::Failed(Trouble { disposition, reason, message, counts: true }))
    };
    if let Some(misread) = &seen.request.misread {
        return Err(reject(Reason::NamesUnfit, format!("nothing is asked of the CA: {misread}")));
    }
    if let Some(message) = refusal(&seen.request, account) {
        return Err(reject(Reason::NotSupportedByCa, message));
    }
    if let Some(message) = seen.too_long() {
        return Err(reject(Reason::TooLong, message));
    }
    if let Some(reference) = &seen.request.csr {
        let Some(csr) = &seen.csr else { return Err(Step::ReadCsr) };
        if let Some(message) = csr_too_long(csr, &reference.secret) {
            return Err(reject(Reason::TooLong, message));
        }
        if let Some(message) = csr_refusal(csr, reference, account) {
            return Err(reject(Reason::NotSupportedByCa, message));
        }
        return match seen.no_room(&csr.key) {
            Some(rest) => Err(Step::Rest(rest)),
            None => Ok(KeyPlan::Brought(Arc::clone(csr))),
        };
    }
    match csr::check(&seen.request.names) {
        Err(unfit) => {
            Err(reject(Reason::NamesUnfit, format!("nothing is asked of the CA: {unfit}")))
        }
        Ok(()) => Ok(key_plan(seen, standing, account)),
    }
}

/// Whether the next attempt has to wait.
pub(super) fn pause(seen: &Observation, reissue: Reissue) -> Option<Rest> {
    let previous = &seen.previous;
    if previous.next_attempt.is_none() && seen.is_last_attempt() {
        return Some(Rest::AwaitingChange);
    }
    if let Some(until) = seen.backs_off_until() {
        return Some(Rest::BackingOff { until, reissue: Some(reissue) });
    }
    let delivered = previous.certificate.as_ref().filter(|_| reissue.is_repair())?;
    let first = delivered.delivered_at.0.checked_add(REPAIR_PAUSE).unwrap_or(seen.now);
    let until = seen.next_repair().map_or(first, |next| next.max(first));
    (until > seen.now).then_some(Rest::BackingOff { until, reissue: Some(reissue) })
}

/// What the CA would refuse, refused first and with a reason.
fn refusal(request: &Request, account: &Account) -> Option<String> {
    let can = &account.capabilities;
    if !can.names && !request.names.is_empty() {
        return Some(format!(
            "{} issues to a user and ignores names: remove {}{}",
            can.name,
            request.name_fields().join(" and "),
            can.instead_of_names
                .map(|instead| format!(" and write {instead} instead"))
                .unwrap_or_default()
        ));
    }
    if !can.usages && !request.names.usages.is_empty() {
        return Some(format!(
            "{} decides itself what its certificates are for: remove spec.usages",
            can.name
        ));
    }
    if !can.duration && request.duration.is_some() {
        return Some(format!(
            "{} decides itself how long its certificates are valid: remove spec.duration",
            can.name
        ));
    }
    let kind = request.key_kind?;
    (!can.key_kinds.contains(&kind)).then(|| {
        format!("{} does not sign {kind} keys: change spec.privateKey{}", can.name, admitted(can))
    })
}

/// The same for the key of a CSR.
fn csr_refusal(csr: &BroughtCsr, reference: &CsrReference, account: &Account) -> Option<String> {
    let can = &account.capabilities;
    if can.needs_private_key && csr.key.private().is_none() {
        return Some(format!(
            "{} needs the private key to ask for a certificate: add it as tls.key to Secret {}",
            can.name, reference.secret
        ));
    }
    let kind = KeyKind::of_spki(csr.key.spki_der());
    (!kind.is_some_and(|kind| can.key_kinds.contains(&kind))).then(|| {
        format!(
            "{} does not sign the key in the CSR of Secret {}, which is {}: bring a CSR for another{}",
            can.name,
            reference.secret,
            csr.key.kind(),
            admitted(can)
        )
    })
}

/// The other way on, where the issuer can admit further kinds of key.
fn admitted(can: &Capabilities) -> String {
    let field = can.key_kinds_field;
    field
        .map(|field| format!(", or admit them in {field} of the issuer if the server does"))
        .unwrap_or_default()
}

fn key_plan(seen: &Observation, standing: &Standing, account: &Account) -> KeyPlan {
    let preferred = account.capabilities.key_kinds.first().copied().unwrap_or(KeyKind::Rsa2048);
    let kind = seen.request.key_kind.unwrap_or(preferred);
    if seen.request.rotation == RotationPolicy::Always || standing.held().is_none() {
        return KeyPlan::Generate(kind);
    }
    match seen.live_target().and_then(|target| target.key.clone()) {
        Some(key) if seen.request.key_kind.is_none_or(|kind| kind == key.kind()) => {
            KeyPlan::Reuse(key)
        }
        _ => KeyPlan::Generate(kind),
    }
}

/// Somebody else writes the target as often as we do.
pub(super) fn contended(seen: &Observation) -> Option<Trouble> {
    (seen.conflicts > CONFLICTS).then(|| Trouble {
        disposition: Disposition::Retry { after: None },
        reason: Reason::SecretContended,
        message: format!(
            "Secret {} was changed by somebody else {} times while it was written: find out who writes it",
            seen.request.secret_name, seen.conflicts
        ),
        counts: true,
    })
}

pub(super) fn unfit_trouble(unfit: &Unfit) -> Trouble {
    let (disposition, reason, advice) = match unfit {
        Unfit::AnchorNotValid { .. } | Unfit::NoAnchors { .. } | Unfit::NoPath { .. } => (
            Disposition::BlameIssuer,
            Reason::ChainNotTrusted,
            " (pins go into spec.trust.bundle of the issuer)",
        ),
        Unfit::Refused { .. } => (
            Disposition::BlameIssuer,
            Reason::ChainNotTrusted,
            " (only the CA can mend its certificates; a root that it has changed goes into spec.trust.bundle of the issuer)",
        ),
        Unfit::Expired { .. }
        | Unfit::LeafIsCa { .. }
        | Unfit::NamesMissing(_)
        | Unfit::NoLeaf { .. }
        | Unfit::NotYetValid { .. } => (Disposition::Internal, Reason::CertificateUnfit, ""),
    };
    Trouble {
        disposition,
        reason,
        message: format!("the CA issued a certificate that was not delivered: {unfit}{advice}"),
        counts: true,
    }
}

/// The pause after so many repairs in a row.
#[must_use]
pub fn repair_pause(in_a_row: u32) -> SignedDuration {
    let doublings = in_a_row.saturating_sub(1).min(16);
    (REPAIR_PAUSE * (1_i32 << doublings)).min(LONGEST_REPAIR_PAUSE)
}

impl Observation {
    /// Nothing new may be asked of the CA.
    pub(super) fn is_suspended(&self) -> bool {
        self.request.suspended
    }

    /// When the target may be put in order again.
    pub(super) fn next_repair(&self) -> Option<Timestamp> {
        let (last, in_a_row) = self.repaired?;
        last.checked_add(repair_pause(in_a_row)).ok()
    }

    /// The last failed attempt was made with what there is now.
    fn is_last_attempt(&self) -> bool {
        self.previous.last_attempt.as_ref() == Some(&self.attempt())
    }

    /// When the next attempt is due, where the last one failed with what there is now.
    pub(super) fn backs_off_until(&self) -> Option<Timestamp> {
        self.previous.next_attempt.filter(|until| *until > self.now && self.is_last_attempt())
    }

    /// The type of a Secret cannot be changed, and one of type `kubernetes.io/tls` has a key.
    pub(super) fn no_room(&self, key: &Key) -> Option<Rest> {
        let is_tls = self.live_target().is_some_and(|target| target.kind == TLS);
        let csr = self.request.csr.as_ref().map_or("", |csr| csr.secret.as_str());
        (key.private().is_none() && is_tls).then(|| {
            Rest::SecretNotOurs(format!(
                "Secret {} is of type {TLS} and the CSR in Secret {csr} comes without its key: delete the former, and it is created again without one, or add tls.key to the latter",
                self.request.secret_name
            ))
        })
    }

    /// The target is ours and somebody made it immutable: what is in it counts, and nothing new can
    /// be put there.
    pub(super) fn fixed(&self) -> Option<Rest> {
        let is_fixed = self.live_target().is_some_and(|target| target.immutable);
        is_fixed.then(|| {
            Rest::SecretNotOurs(format!(
                "Secret {} is immutable and cannot be renewed: delete it, and it is created again with a new certificate",
                self.request.secret_name
            ))
        })
    }

    pub(super) fn verified(
        &self,
        candidates: &[Certificate],
        spki_der: &[u8],
        names: &Names,
        account: &Account,
    ) -> Result<VerifiedChain, Unfit> {
        let verified_at = |now| {
            let expected = Expected {
                spki_der,
                names,
                anchors: &account.anchors,
                further_intermediates: self.served.as_deref().unwrap_or_default(),
                now,
            };
            chain::verify_preferring(candidates, &expected, account.preferred_root.as_deref())
        };
        match verified_at(self.now) {
            // A pair that clients refuse for a few minutes yet is better than none, and worse than
            // one that is valid.
            Err(Unfit::NotYetValid { not_before })
                if self.is_soon(not_before) && !self.has_valid_pair() =>
            {
                verified_at(not_before)
            }
            verified => verified,
        }
    }

    fn has_valid_pair(&self) -> bool {
        self.standing().held().is_some_and(|held| {
            let certificate = &held.certificate;
            certificate.not_before.0 <= self.now && self.now < certificate.not_after.0
        })
    }

    fn is_soon(&self, not_before: Timestamp) -> bool {
        not_before.duration_since(self.now) <= CLOCK_SKEW
    }

    /// The certificate replaces the one that is valid when it is valid itself. `None` where that is so
    /// far ahead that a clock is wrong.
    pub(super) fn valid_soon(&self, unfit: &Unfit) -> Option<Trouble> {
        let Unfit::NotYetValid { not_before } = unfit else { return None };
        let wait = not_before.duration_since(self.now).unsigned_abs();
        self.is_soon(*not_before).then(|| Trouble {
            disposition: Disposition::Retry { after: Some(wait) },
            reason: Reason::CertificateNotYetValid,
            message: format!("the certificate was issued and will be delivered later: {unfit}"),
            counts: true,
        })
    }
}
