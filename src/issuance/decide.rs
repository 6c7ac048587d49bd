//! From an observation to the one next step.

use super::allow::rules as allow;
use super::attempt::{contended, examined, pause, unfit_trouble};
use super::certificate::adoption;
use super::certificate::delivery::{Delivery, New};
use super::certificate::key::Key;
use super::certificate::reissue::{Reissue, reissue};
use super::certificate::requested::Requested;
use super::certificate::standing::Standing;
use super::observation::{Account, IssuerState, Observation, Obtained, Target};
use super::order;
use super::quota::gate;
use super::step::{Rest, Step};
use super::trouble::Trouble;
use crate::outside::Disposition;
use crate::pki::chain::{Unfit, VerifiedChain};
use crate::reason::Reason;

/// The next step.
#[must_use]
#[cfg_attr(feature = "mutants", expect(unreachable_pub, reason = "`mutants` stands before it"))]
pub fn decide(seen: &Observation) -> Step {
    gate::gate(seen, allow::gate(seen, next(seen)))
}

/// The next step, as far as the limits of the issuer admit it.
fn next(seen: &Observation) -> Step {
    if seen.request.deleting {
        return Step::Rest(Rest::Deleted);
    }
    if seen.abandoned {
        return Step::Rest(Rest::Abandoned);
    }
    if let Some(trouble) = &seen.trouble {
        return Step::Rest(Rest::Failed(trouble.clone()));
    }
    let standing = seen.standing();
    match (&standing, &seen.rival) {
        (Standing::Unread, _) => {
            // As far as anybody knows nothing was delivered or ordered: nothing is to be put in order,
            // and nothing to be followed.
            let is_first = seen.cached.is_none()
                && seen.previous.certificate.is_none()
                && seen.quota.made.is_none()
                && seen.order.record.is_none();
            let held_back = || allow::early(seen).or_else(|| gate::early(seen));
            return is_first.then(held_back).flatten().unwrap_or(Step::ReadTarget);
        }
        (Standing::Unreadable(why), _) => {
            return Step::Rest(Rest::TargetUnreadable(why.clone()));
        }
        (Standing::Foreign(why), _) => return Step::Rest(Rest::SecretNotOurs(why.clone())),
        (Standing::Offered, _) => return adoption::step(seen),
        // Once the marker names us, it beats age.
        (Standing::Absent, Some(rival)) => {
            return Step::Rest(Rest::SecretNameTaken(rival.clone()));
        }
        (Standing::Absent, None) | (Standing::Broken(_) | Standing::Held(_), _) => {}
    }
    // A delivery whose answer was lost is there already.
    if let Some(obtained) = seen.obtained.as_ref().filter(|obtained| !standing.holds(obtained)) {
        if let Some(rest) = seen.fixed() {
            return Step::Rest(rest);
        }
        return match &seen.account {
            Some(account) => deliver(seen, obtained, account),
            None => Step::OpenAccount,
        };
    }
    if seen.csr_may_be_another(&standing) {
        let rest = pause(seen, Reissue::InputsDiffer(Requested::CSR));
        return rest.map_or(Step::ReadCsr, Step::Rest);
    }
    if let Some(step) = seen.unresolved(&standing) {
        // What is open is followed to its end, whatever is asked for by now.
        let rest = pause(seen, Reissue::InputsDiffer(Requested::PRODUCT));
        return rest.filter(|_| !seen.has_open_order(&standing)).map_or(step, Step::Rest);
    }
    let due = reissue(seen, &standing);
    if seen.has_open_order(&standing) {
        return order::step(seen, &standing, due);
    }
    match due {
        Some(reissue) => issue(seen, &standing, reissue),
        None => keep(seen, &standing),
    }
}

/// Towards a new certificate.
fn issue(seen: &Observation, standing: &Standing, reissue: Reissue) -> Step {
    if seen.delivered.is_some() {
        return Step::Rest(Rest::Kept);
    }
    if seen.submitted {
        return Step::Rest(Rest::Failed(unfit(
            "the CA issued the certificate that is there already".to_owned(),
        )));
    }
    // What was paid for is delivered again, whatever is suspended.
    let is_paid = reissue.is_repair() && seen.previous.orders > 0;
    if seen.is_suspended() && !is_paid {
        return Step::Rest(Rest::Suspended(reissue));
    }
    match &seen.issuer {
        IssuerState::Missing | IssuerState::NotServed => {
            return Step::Rest(Rest::IssuerMissing);
        }
        IssuerState::NotReady(why) => return Step::Rest(Rest::IssuerNotReady(why.clone())),
        IssuerState::Ready { .. } => {}
    }
    if let Some(step) = allow::early(seen).filter(|_| !is_paid) {
        return step;
    }
    if let Some(rest) = pause(seen, reissue.clone()) {
        return Step::Rest(rest);
    }
    if let Some(step) = gate::early(seen).filter(|_| !is_paid) {
        return step;
    }
    if seen.target.is_none() {
        return Step::ReadTarget;
    }
    if let Some(rest) = seen.fixed() {
        return Step::Rest(rest);
    }
    let Some(account) = &seen.account else {
        return Step::OpenAccount;
    };
    match examined(seen, standing, account) {
        Err(step) => step,
        Ok(_) if account.capabilities.has_records() => order::step(seen, standing, Some(reissue)),
        Ok(plan) => Step::Submit(plan, seen.order_kind(standing, &reissue, account)),
    }
}

/// From what the CA issued to the Secret.
fn deliver(seen: &Observation, obtained: &Obtained, account: &Account) -> Step {
    if let Some(trouble) = contended(seen) {
        return Step::Rest(Rest::Failed(trouble));
    }
    if account.add_served_roots && seen.served.is_none() {
        return Step::ReadServedRoots;
    }
    let names = obtained.csr_names.as_ref().unwrap_or(&seen.request.names);
    match seen.verified(&obtained.candidates, obtained.key.spki_der(), names, account) {
        Ok(chain) if seen.is_no_better(&chain) => Step::Rest(Rest::Failed(unfit(format!(
            "the CA issued a certificate that ends at {}, no later than the one it was to replace",
            chain.leaf.not_after()
        )))),
        Ok(chain) => {
            let key = obtained.key.clone();
            let requested = obtained.purchase.noted_in(seen.requested_for(&key));
            let new = New { requested, order: None, id: None };
            Step::Deliver(Box::new(seen.delivery(account, &chain, key, Some(new))))
        }
        // The server may keep the missing intermediate among the roots it serves.
        Err(Unfit::NoPath { .. }) if seen.served.is_none() => Step::ReadServedRoots,
        Err(unfit) => {
            let trouble = seen.valid_soon(&unfit).unwrap_or_else(|| unfit_trouble(&unfit));
            Step::Rest(Rest::Failed(trouble))
        }
    }
}

fn unfit(message: String) -> Trouble {
    Trouble {
        disposition: Disposition::Internal,
        reason: Reason::CertificateUnfit,
        message,
        counts: true,
    }
}

/// Nothing new is needed: is what is there in order?
fn keep(seen: &Observation, standing: &Standing) -> Step {
    if seen.delivered.is_some() {
        return Step::Rest(Rest::Kept);
    }
    let drifted = seen.cached.as_ref().is_some_and(|cached| !seen.has_template(&cached.metadata));
    let noted = standing.held().and_then(|held| held.requested.as_ref());
    let reworded = noted.is_some_and(|noted| seen.in_other_words(noted).is_some());
    let follows = seen.follows_anchors_at().is_some_and(|at| at <= seen.now);
    if seen.target.is_none() && !drifted && !reworded && !follows {
        return Step::Rest(Rest::Kept);
    }
    // Each failed repair changes the status, and that wakes the next run at once.
    if let Some(until) = seen.backs_off_until() {
        return Step::Rest(Rest::BackingOff { until, reissue: None });
    }
    if let Some(trouble) = contended(seen) {
        return Step::Rest(Rest::Failed(trouble));
    }
    let Some(target) = seen.live_target() else {
        return Step::ReadTarget;
    };
    let (Some(_), Some(key)) = (standing.held(), seen.key_in(target)) else {
        return Step::Rest(Rest::Kept);
    };
    let Some(account) = &seen.account else {
        return match &seen.issuer {
            IssuerState::Ready { .. } => Step::OpenAccount,
            IssuerState::Missing | IssuerState::NotServed | IssuerState::NotReady(_) => {
                Step::Rest(Rest::Kept)
            }
        };
    };
    if account.add_served_roots && seen.served.is_none() {
        return Step::ReadServedRoots;
    }
    let names = &seen.request.names;
    let chain = match seen.verified(&target.chain, key.spki_der(), names, account) {
        Ok(chain) => chain,
        // Somebody may have cut the intermediate off, and the server may keep it.
        Err(Unfit::NoPath { .. }) if seen.served.is_none() => return Step::ReadServedRoots,
        // Where the anchors have moved on, the old chain still ends at those delivered with it: that
        // is no alteration.
        Err(_) if seen.hangs_together(target, &key) => {
            // The words alone are put right, or an edit of the issuer would later count as one of the
            // request.
            return match seen.as_delivered(target, &key).filter(|_| reworded && !target.immutable) {
                Some((account, chain)) => {
                    let delivery = seen.delivery(&account, &chain, key, None);
                    Step::Deliver(Box::new(Delivery {
                        anchors: target.anchors.clone(),
                        ..delivery
                    }))
                }
                None => Step::Rest(Rest::Kept),
            };
        }
        // Nobody has touched it since it was in order: what is trusted has changed, or the rules have.
        Err(_) if seen.is_as_it_was(target) => return Step::Rest(Rest::Kept),
        Err(_) => {
            return issue(seen, standing, Reissue::SecretAltered("its chain does not verify"));
        }
    };
    let delivery = seen.delivery(account, &chain, key, None);
    if target.immutable || delivery.is_in(target) {
        return Step::Rest(Rest::Kept);
    }
    match seen.next_repair().filter(|until| *until > seen.now) {
        Some(until) => Step::Rest(Rest::BackingOff { until, reissue: None }),
        None => Step::Deliver(Box::new(delivery)),
    }
}

impl Observation {
    /// An order was made, or is about to be, and the target does not hold its certificate.
    fn has_open_order(&self, standing: &Standing) -> bool {
        let delivered = standing.held().and_then(|held| held.order.as_deref());
        self.order.claim.is_some()
            || self
                .previous
                .order
                .as_ref()
                .is_some_and(|hint| delivered != Some(hint.reference.as_str()))
            || self.order.record.is_some()
    }

    /// Whether the certificate still ends at the anchors that were delivered with it.
    fn hangs_together(&self, target: &Target, key: &Key) -> bool {
        self.as_delivered(target, key).is_some()
    }

    /// The chain to the anchors that were delivered with it, and the account as if it trusted those.
    fn as_delivered(&self, target: &Target, key: &Key) -> Option<(Account, VerifiedChain)> {
        let anchors = target.anchors.clone();
        let account = Account { anchors, is_bundle: false, ..self.account.clone()? };
        let names = &self.request.names;
        let chain = self.verified(&target.chain, key.spki_der(), names, &account).ok()?;
        Some((account, chain))
    }

    /// Nobody has written the target since it was looked at and found in order.
    fn is_as_it_was(&self, target: &Target) -> bool {
        let known = self.previous.certificate.as_ref();
        known.is_some_and(|known| known.secret_resource_version == target.resource_version)
    }

    /// The Secret with the CSR is not the version that the certificate was requested with.
    fn csr_may_be_another(&self, standing: &Standing) -> bool {
        let version = self.request.csr.as_ref().and_then(|csr| csr.version.as_deref());
        let requested = standing.held().and_then(|held| held.requested.as_ref());
        match (version, requested) {
            (Some(version), Some(requested)) => {
                self.csr.is_none() && requested.has_other_csr_version(version)
            }
            _ => false,
        }
    }

    /// A renewal that gains no time is none: a CA that repeats itself would be asked for ever.
    fn is_no_better(&self, chain: &VerifiedChain) -> bool {
        let standing = self.standing();
        let is_renewal = reissue(self, &standing) == Some(Reissue::NearingExpiry);
        is_renewal
            && standing
                .held()
                .is_some_and(|held| chain.leaf.not_after() <= held.certificate.not_after.0)
    }
}

#[cfg(test)]
mod tests;
