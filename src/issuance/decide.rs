//! From an observation to the one next step.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::certificate::delivery::{Delivery, New};
use super::certificate::key::{BroughtCsr, CsrReference, Key};
use super::certificate::reissue::{Reissue, reissue};
use super::certificate::requested::Requested;
use super::certificate::standing::{Standing, TLS};
use super::observation::{Account, IssuerState, Observation, Obtained, Request, Target, Trouble};
use super::order::record::{Mark, OrderDraft};
use super::order::{self, Hold};
use super::quota::{self, Withheld};
use crate::api::RotationPolicy;
use crate::ca::{Capabilities, OrderKind};
use crate::outside::Disposition;
use crate::pki::chain::{self, Expected, Unfit, VerifiedChain};
use crate::pki::{Certificate, KeyKind, Names, PrivateKey, csr};
use crate::reason::Reason;

/// A Secret that somebody else keeps changing back is repaired after this time at the earliest; each
/// repair in a row doubles it, up to [`LONGEST_REPAIR_PAUSE`].
const REPAIR_PAUSE: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_REPAIR_PAUSE: SignedDuration = SignedDuration::from_hours(1);
/// So often a delivery may lose to another writer before the run ends.
const CONFLICTS: u8 = 3;

/// The one next step.
#[derive(Clone, Debug)]
pub enum Step {
    /// Read the target Secret.
    ReadTarget,
    /// Open the account at the CA.
    OpenAccount,
    /// Read the CSR that the request brings.
    ReadCsr,
    /// Make or take a key, and submit.
    Submit(KeyPlan, OrderKind),
    /// Ask for the certificates the CA serves.
    ReadServedRoots,
    /// Write the target Secret.
    Deliver(Box<Delivery>),
    /// Read the record of the request's order.
    ReadRecord,
    /// Make a key and a CSR, and have the CA translate and examine the order.
    Prepare(KeyPlan, OrderKind),
    /// Store an order before it is made, and with it the claim.
    WriteRecord(Box<OrderDraft>),
    /// Win the claim on the order that is stored.
    Claim,
    /// Write the status that says who submits what.
    Announce,
    /// Search the CA for the order.
    Find,
    /// Search the CA for the order before.
    FindBefore,
    /// Take a grant, which a submit at a limited issuer uses up.
    Reserve,
    /// Submit the order that is stored.
    Order,
    /// Note on the record what became of the order.
    Mark(Mark),
    /// Nothing now.
    Rest(Rest),
}

/// Where the key of a submit comes from.
#[derive(Clone, Debug)]
pub enum KeyPlan {
    /// A new one.
    Generate(KeyKind),
    /// The one in the target.
    Reuse(Arc<PrivateKey>),
    /// The one of the CSR that the request brings.
    Brought(Arc<BroughtCsr>),
}

/// Why nothing is done now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rest {
    /// The request is gone or going.
    Deleted,
    /// The run was given up: nothing is told, and another follows.
    Abandoned,
    /// A fitting certificate is delivered.
    Kept,
    /// Something would be issued, and `suspend` is set.
    Suspended(Reissue),
    /// Something would be issued, and a limit of the issuer is reached.
    Withheld(Withheld),
    /// The issuer does not exist.
    IssuerMissing,
    /// The issuer takes no requests now.
    IssuerNotReady(String),
    /// The last attempt failed and would fail again with the same inputs.
    AwaitingChange,
    /// The next attempt is due then.
    BackingOff {
        /// When.
        until: Timestamp,
        /// What the attempt is for; `None` where the Secret only has to be put in order.
        reissue: Option<Reissue>,
    },
    /// Nobody knows what is in the target.
    TargetUnreadable(String),
    /// The target belongs to somebody else.
    SecretNotOurs(String),
    /// Another request has the target.
    SecretNameTaken(String),
    /// The attempt of this run failed.
    Failed(Trouble),
    /// The order is about to be submitted; only the announcement says so.
    Submitting,
    /// The CA has the order.
    Ordered,
    /// The answer to a submit may have been lost: the order is looked for.
    LookedFor {
        /// When the next time.
        until: Timestamp,
        /// What the last search came to, where it is worth telling.
        why: Option<String>,
    },
    /// Nobody knows what is in the record.
    RecordUnreadable(String),
    /// The order waits for a person.
    Held(Hold),
}

impl Rest {
    /// Whether the CA's word on an order that it has is still of use: what cannot be acted on now is
    /// kept for when it can, and not asked for and forgotten by turns.
    #[must_use]
    pub fn follows_order(&self) -> bool {
        matches!(
            self,
            Self::BackingOff { .. }
                | Self::Failed(_)
                | Self::Held(Hold::ForeignKey { .. } | Hold::Unusable(_))
                | Self::Ordered
                | Self::RecordUnreadable(_)
                | Self::SecretNotOurs(_)
                | Self::TargetUnreadable(_)
        )
    }
}

/// The next step.
#[must_use]
#[cfg_attr(feature = "mutants", expect(unreachable_pub, reason = "`mutants` stands before it"))]
pub fn decide(seen: &Observation) -> Step {
    quota::gate(seen, next(seen))
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
            return quota::early(seen).filter(|_| is_first).unwrap_or(Step::ReadTarget);
        }
        (Standing::Unreadable(why), _) => {
            return Step::Rest(Rest::TargetUnreadable(why.clone()));
        }
        (Standing::Foreign(why), _) => return Step::Rest(Rest::SecretNotOurs(why.clone())),
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
        IssuerState::Missing => return Step::Rest(Rest::IssuerMissing),
        IssuerState::NotReady(why) => return Step::Rest(Rest::IssuerNotReady(why.clone())),
        IssuerState::Ready { .. } => {}
    }
    if let Some(rest) = pause(seen, reissue.clone()) {
        return Step::Rest(rest);
    }
    if let Some(step) = quota::early(seen).filter(|_| !is_paid) {
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
    if let Some(message) = refusal(&seen.request, account) {
        return Err(reject(Reason::NotSupportedByCa, message));
    }
    if let Some(reference) = &seen.request.csr {
        let Some(csr) = &seen.csr else { return Err(Step::ReadCsr) };
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
            let new = New { requested: seen.requested_for(&key), order: None, id: None };
            Step::Deliver(Box::new(seen.delivery(account, &chain, key, Some(new))))
        }
        // The server may keep the missing intermediate among the roots it serves.
        Err(Unfit::NoPath { .. }) if seen.served.is_none() => Step::ReadServedRoots,
        Err(unfit) => Step::Rest(Rest::Failed(unfit_trouble(&unfit))),
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

fn unfit(message: String) -> Trouble {
    Trouble {
        disposition: Disposition::Internal,
        reason: Reason::CertificateUnfit,
        message,
        counts: true,
    }
}

pub(super) fn unfit_trouble(unfit: &Unfit) -> Trouble {
    let (disposition, reason, advice) = match unfit {
        Unfit::AnchorNotValid { .. }
        | Unfit::NoAnchors { .. }
        | Unfit::NoPath { .. }
        | Unfit::Refused { .. } => (
            Disposition::BlameIssuer,
            Reason::ChainNotTrusted,
            " (pins go into spec.trust.bundle of the issuer)",
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

/// Nothing new is needed: is what is there in order?
fn keep(seen: &Observation, standing: &Standing) -> Step {
    if seen.delivered.is_some() {
        return Step::Rest(Rest::Kept);
    }
    let drifted = seen.cached.as_ref().is_some_and(|cached| !seen.has_template(&cached.metadata));
    if seen.target.is_none() && !drifted {
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
            IssuerState::Missing | IssuerState::NotReady(_) => Step::Rest(Rest::Kept),
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
        Err(_) if seen.hangs_together(target, &key) => return Step::Rest(Rest::Kept),
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

/// The pause after so many repairs in a row.
#[must_use]
pub fn repair_pause(in_a_row: u32) -> SignedDuration {
    let doublings = in_a_row.saturating_sub(1).min(16);
    (REPAIR_PAUSE * (1_i32 << doublings)).min(LONGEST_REPAIR_PAUSE)
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

    /// Nothing new may be asked of the CA.
    pub(super) fn is_suspended(&self) -> bool {
        self.request.suspended
    }

    /// When the target may be put in order again.
    fn next_repair(&self) -> Option<Timestamp> {
        let (last, in_a_row) = self.repaired?;
        last.checked_add(repair_pause(in_a_row)).ok()
    }

    /// The last failed attempt was made with what there is now.
    fn is_last_attempt(&self) -> bool {
        self.previous.last_attempt.as_ref() == Some(&self.attempt())
    }

    /// When the next attempt is due, where the last one failed with what there is now.
    fn backs_off_until(&self) -> Option<Timestamp> {
        self.previous.next_attempt.filter(|until| *until > self.now && self.is_last_attempt())
    }

    /// Whether the certificate still ends at the anchors that were delivered with it.
    fn hangs_together(&self, target: &Target, key: &Key) -> bool {
        let account = self.account.as_ref();
        let delivered =
            account.map(|account| Account { anchors: target.anchors.clone(), ..account.clone() });
        let names = &self.request.names;
        delivered.is_some_and(|account| {
            self.verified(&target.chain, key.spki_der(), names, &account).is_ok()
        })
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

    /// A renewal that gains no time is none: a CA that repeats itself would be asked for ever.
    fn is_no_better(&self, chain: &VerifiedChain) -> bool {
        let standing = self.standing();
        let is_renewal = reissue(self, &standing) == Some(Reissue::NearingExpiry);
        is_renewal
            && standing
                .held()
                .is_some_and(|held| chain.leaf.not_after() <= held.certificate.not_after.0)
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
        chain::verify(
            candidates,
            &Expected {
                spki_der,
                names,
                anchors: &account.anchors,
                further_intermediates: self.served.as_deref().unwrap_or_default(),
                now: self.now,
            },
        )
    }
}

#[cfg(test)]
mod tests;
