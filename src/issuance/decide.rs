//! From an observation to the one next step.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observation::{
    Account, IssuerState, Observation, Obtained, Read, Request, Target, Template, Trouble,
};
use super::reissue::{Reissue, reissue};
use super::renewal::{Renewal, renewal};
use super::requested::Requested;
use crate::api::{DeliveredCertificate, RotationPolicy, annotation};
use crate::ca::Disposition;
use crate::pki::chain::{self, Expected, Unfit, VerifiedChain};
use crate::pki::{Certificate, KeyKind, PrivateKey};

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
    /// Make or take a key, and submit.
    Submit(KeyPlan),
    /// Ask for the certificates the CA serves.
    ReadServedRoots,
    /// Write the target Secret.
    Deliver(Box<Delivery>),
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
}

/// What is written into the target Secret.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// uid and resourceVersion of the Secret to change; `None` creates it.
    pub base: Option<(String, String)>,
    /// The key.
    pub key: Arc<PrivateKey>,
    /// Leaf and intermediates.
    pub chain: Vec<Certificate>,
    /// Trust anchors, the one of the chain first.
    pub anchors: Vec<Certificate>,
    /// Labels and annotations to set.
    pub metadata: Template,
    /// Labels to take away.
    pub removed_labels: Vec<String>,
    /// Annotations to take away.
    pub removed_annotations: Vec<String>,
    /// Subjects of the roots added by opt-in.
    pub added_roots: Vec<String>,
    /// The certificate is a new one.
    pub renewed: bool,
}

/// Why nothing is done now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rest {
    /// The request is gone or going.
    Deleted,
    /// A fitting certificate is delivered.
    Kept,
    /// Something would be issued, and `suspend` is set.
    Suspended(Reissue),
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
}

/// How things stand with the target.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// Not known without a read.
    Unread,
    /// A read failed.
    Unreadable(String),
    /// There is none.
    Absent,
    /// It is not ours, for this reason.
    Foreign(String),
    /// It is ours and does not hold what was delivered.
    Broken(&'static str),
    /// It holds a certificate and its key.
    Held(Box<Held>),
}

/// A delivered certificate.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) certificate: DeliveredCertificate,
    pub(super) requested: Option<Requested>,
}

impl Held {
    pub(super) fn renewal(&self, request: &Request) -> Renewal {
        let certificate = &self.certificate;
        renewal(
            certificate.not_before.0,
            certificate.not_after.0,
            certificate.delivered_at.0,
            request.renew_before,
            &request.uid,
        )
    }
}

impl Standing {
    /// Whether it is what was obtained.
    fn holds(&self, obtained: &Obtained) -> bool {
        self.held().is_some_and(|held| {
            let there = &held.certificate.fingerprint_sha256;
            obtained.candidates.iter().any(|one| one.fingerprint_sha256() == there)
        })
    }

    pub(super) fn held(&self) -> Option<&Held> {
        match self {
            Self::Held(held) => Some(held),
            Self::Absent
            | Self::Broken(_)
            | Self::Foreign(_)
            | Self::Unread
            | Self::Unreadable(_) => None,
        }
    }
}

/// The next step.
#[must_use]
pub fn decide(seen: &Observation) -> Step {
    if seen.request.deleting {
        return Step::Rest(Rest::Deleted);
    }
    if let Some(trouble) = &seen.trouble {
        return Step::Rest(Rest::Failed(trouble.clone()));
    }
    let standing = seen.standing();
    match (&standing, &seen.rival) {
        (Standing::Unread, _) => return Step::ReadTarget,
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
    match reissue(seen, &standing) {
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
    if seen.request.suspended {
        return Step::Rest(Rest::Suspended(reissue));
    }
    match &seen.issuer {
        IssuerState::Missing => return Step::Rest(Rest::IssuerMissing),
        IssuerState::NotReady(why) => return Step::Rest(Rest::IssuerNotReady(why.clone())),
        IssuerState::Ready { .. } => {}
    }
    if let Some(rest) = pause(seen, reissue) {
        return Step::Rest(rest);
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
    match refusal(&seen.request, account) {
        Some(message) => Step::Rest(Rest::Failed(Trouble {
            disposition: Disposition::Reject,
            reason: "NotSupportedByCa",
            message,
            counts: true,
        })),
        None => Step::Submit(key_plan(seen, standing, account)),
    }
}

/// Whether the next attempt has to wait.
fn pause(seen: &Observation, reissue: Reissue) -> Option<Rest> {
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
    if !can.names && (request.names.common_name.is_some() || !request.names.dns_names.is_empty()) {
        return Some(format!(
            "{} issues to a user and ignores names: remove spec.commonName and spec.dnsNames and write spec.onlineCa: {{}} instead",
            can.name
        ));
    }
    let kind = request.key_kind?;
    (!can.key_kinds.contains(&kind)).then(|| {
        format!(
            "{} does not sign {kind} keys: change spec.privateKey, or admit them in {} of the issuer if the server does",
            can.name, can.key_kinds_field
        )
    })
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
    match seen.verified(&obtained.candidates, obtained.key.spki_der(), account) {
        Ok(chain) if seen.is_no_better(&chain) => Step::Rest(Rest::Failed(unfit(format!(
            "the CA issued a certificate that ends at {}, no later than the one it was to replace",
            chain.leaf.not_after()
        )))),
        Ok(chain) => {
            Step::Deliver(Box::new(seen.delivery(account, &chain, Arc::clone(&obtained.key), true)))
        }
        // The server may keep the missing intermediate among the roots it serves.
        Err(Unfit::NoPath { .. }) if seen.served.is_none() => Step::ReadServedRoots,
        Err(unfit) => Step::Rest(Rest::Failed(unfit_trouble(&unfit))),
    }
}

/// Somebody else writes the target as often as we do.
fn contended(seen: &Observation) -> Option<Trouble> {
    (seen.conflicts > CONFLICTS).then(|| Trouble {
        disposition: Disposition::Retry { after: None },
        reason: "SecretContended",
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
        reason: "CertificateUnfit",
        message,
        counts: true,
    }
}

fn unfit_trouble(unfit: &Unfit) -> Trouble {
    let (disposition, reason, advice) = match unfit {
        Unfit::AnchorNotValid { .. }
        | Unfit::NoAnchors { .. }
        | Unfit::NoPath { .. }
        | Unfit::Refused { .. } => (
            Disposition::BlameIssuer,
            "ChainNotTrusted",
            " (pins go into spec.trust.bundle of the issuer)",
        ),
        Unfit::Expired { .. }
        | Unfit::LeafIsCa { .. }
        | Unfit::NamesMissing(_)
        | Unfit::NoLeaf { .. }
        | Unfit::NotYetValid { .. } => (Disposition::Internal, "CertificateUnfit", ""),
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
    let (Some(_), Some(key)) = (standing.held(), &target.key) else {
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
    let chain = match seen.verified(&target.chain, key.spki_der(), account) {
        Ok(chain) => chain,
        // Somebody may have cut the intermediate off, and the server may keep it.
        Err(Unfit::NoPath { .. }) if seen.served.is_none() => return Step::ReadServedRoots,
        // Where the anchors have moved on, the old chain still ends at those delivered with it: that
        // is no alteration.
        Err(_) if seen.hangs_together(target, key) => return Step::Rest(Rest::Kept),
        Err(_) => {
            return issue(seen, standing, Reissue::SecretAltered("its chain does not verify"));
        }
    };
    let delivery = seen.delivery(account, &chain, Arc::clone(key), false);
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
    /// When the target may be put in order again.
    fn next_repair(&self) -> Option<Timestamp> {
        let (last, in_a_row) = self.repaired?;
        last.checked_add(repair_pause(in_a_row)).ok()
    }

    /// How things stand with the target.
    pub(super) fn standing(&self) -> Standing {
        match &self.target {
            None => self.cached_standing(),
            Some(Read::Absent) => Standing::Absent,
            Some(Read::Unreadable(why)) => Standing::Unreadable(why.clone()),
            Some(Read::Present(target)) => self.live_standing(target),
        }
    }

    /// The last failed attempt was made with what there is now.
    fn is_last_attempt(&self) -> bool {
        self.previous.last_attempt.as_ref() == Some(&self.attempt())
    }

    /// When the next attempt is due, where the last one failed with what there is now.
    fn backs_off_until(&self) -> Option<Timestamp> {
        self.previous.next_attempt.filter(|until| *until > self.now && self.is_last_attempt())
    }

    /// While the resourceVersion is the one we delivered, so is the content.
    fn cached_standing(&self) -> Standing {
        match (&self.cached, &self.previous.certificate) {
            (Some(cached), Some(certificate))
                if cached.resource_version == certificate.secret_resource_version =>
            {
                Standing::Held(Box::new(Held {
                    certificate: certificate.clone(),
                    requested: requested(&cached.metadata),
                }))
            }
            _ => Standing::Unread,
        }
    }

    fn live_standing(&self, target: &Target) -> Standing {
        if let Some(why) = self.foreign(target) {
            return Standing::Foreign(why);
        }
        let Some(key) = &target.key else {
            return Standing::Broken("tls.key is missing or cannot be read");
        };
        let Some(leaf) = target.chain.iter().find(|one| one.spki_der() == key.spki_der()) else {
            return Standing::Broken("tls.crt holds no certificate for tls.key");
        };
        let known = self.previous.certificate.as_ref();
        let is_delivered = self.delivered.is_some();
        let is_known =
            known.is_some_and(|known| known.fingerprint_sha256 == leaf.fingerprint_sha256());
        // The status lags behind the Secret when a process died between the two writes.
        let is_stamped =
            target.metadata.annotations.get(annotation::FINGERPRINT).map(String::as_str)
                == Some(leaf.fingerprint_sha256());
        if !is_delivered && !is_known && !is_stamped {
            return Standing::Broken("tls.crt is not the certificate that was delivered");
        }
        let delivered_at = match known {
            Some(known) if is_known => known.delivered_at.clone(),
            _ if is_delivered => Time(self.now),
            _ => Time(leaf.not_before()),
        };
        Standing::Held(Box::new(Held {
            certificate: DeliveredCertificate {
                subject: leaf.subject().to_owned(),
                common_name: leaf.common_name().map(str::to_owned),
                issuer: leaf.issuer().to_owned(),
                serial_number: leaf.serial_number().to_owned(),
                not_before: Time(leaf.not_before()),
                not_after: Time(leaf.not_after()),
                fingerprint_sha256: leaf.fingerprint_sha256().to_owned(),
                private_key: key.kind().to_string(),
                delivered_at,
                secret_resource_version: target.resource_version.clone(),
            },
            requested: requested(&target.metadata),
        }))
    }

    /// Whether the certificate still ends at the anchors that were delivered with it.
    fn hangs_together(&self, target: &Target, key: &PrivateKey) -> bool {
        let account = self.account.as_ref();
        let delivered =
            account.map(|account| Account { anchors: target.anchors.clone(), ..account.clone() });
        delivered
            .is_some_and(|account| self.verified(&target.chain, key.spki_der(), &account).is_ok())
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

    fn foreign(&self, target: &Target) -> Option<String> {
        let name = &self.request.secret_name;
        let advice =
            "it was not touched; delete it, or choose another spec.secretName in a new request";
        let marker = target.metadata.annotations.get(annotation::REQUEST);
        if target.kind != "kubernetes.io/tls" {
            return Some(format!(
                "Secret {name} exists with type {}, not kubernetes.io/tls: {advice}",
                target.kind
            ));
        }
        match marker {
            None => Some(format!("Secret {name} exists and is not Chancery's: {advice}")),
            Some(owner) if *owner != self.request.name => Some(format!(
                "Secret {name} holds the certificate of CertificateRequest {owner}: {advice}"
            )),
            Some(_) => None,
        }
    }

    /// The target is ours and somebody made it immutable: what is in it counts, and nothing new can
    /// be put there.
    fn fixed(&self) -> Option<Rest> {
        let is_fixed = self.live_target().is_some_and(|target| target.immutable);
        is_fixed.then(|| {
            Rest::SecretNotOurs(format!(
                "Secret {} is immutable and cannot be renewed: delete it, and it is created again with a new certificate",
                self.request.secret_name
            ))
        })
    }

    /// The target as read in this run.
    fn live_target(&self) -> Option<&Target> {
        match &self.target {
            Some(Read::Present(target)) => Some(target),
            Some(Read::Absent | Read::Unreadable(_)) | None => None,
        }
    }

    fn verified(
        &self,
        candidates: &[Certificate],
        spki_der: &[u8],
        account: &Account,
    ) -> Result<VerifiedChain, Unfit> {
        chain::verify(
            candidates,
            &Expected {
                spki_der,
                names: &self.request.names,
                anchors: &account.anchors,
                further_intermediates: self.served.as_deref().unwrap_or_default(),
                now: self.now,
            },
        )
    }

    fn delivery(
        &self,
        account: &Account,
        chain: &VerifiedChain,
        key: Arc<PrivateKey>,
        renewed: bool,
    ) -> Delivery {
        let added: Vec<Certificate> = self
            .served
            .iter()
            .flatten()
            .filter(|_| account.add_served_roots)
            .filter(|root| root.is_self_issued() && root.der() != chain.anchor.der())
            .filter(|root| root.not_before() <= self.now && self.now < root.not_after())
            .cloned()
            .collect();
        let base = self.live_target();
        let old = base.map(|target| &target.metadata);
        let requested = if renewed {
            self.wanted().with(Requested::PRIVATE_KEY, Some(key.kind().to_string())).to_annotation()
        } else {
            old.and_then(requested)
                .map_or_else(|| self.wanted().to_annotation(), |kept| kept.to_annotation())
        };
        let metadata = self.metadata(&requested, chain.leaf.fingerprint_sha256());
        let gone = |kind: &str, now: &BTreeMap<String, String>| {
            let mut keys = old.map(|old| template_keys(old, kind)).unwrap_or_default();
            keys.retain(|key| !now.contains_key(key));
            keys
        };
        Delivery {
            base: base.map(|target| (target.uid.clone(), target.resource_version.clone())),
            chain: [&chain.leaf].into_iter().chain(&chain.intermediates).cloned().collect(),
            added_roots: added.iter().map(|root| root.subject().to_owned()).collect(),
            anchors: [chain.anchor.clone()].into_iter().chain(added).collect(),
            removed_labels: gone("labels", &metadata.labels),
            removed_annotations: gone("annotations", &metadata.annotations),
            metadata,
            key,
            renewed,
        }
    }

    /// Template, marker and what was requested, in the target's metadata.
    fn metadata(&self, requested: &str, fingerprint: &str) -> Template {
        let request = &self.request;
        let mut metadata = request.template.clone();
        let keys = serde_json::json!({
            "labels": request.template.labels.keys().collect::<Vec<_>>(),
            "annotations": request.template.annotations.keys().collect::<Vec<_>>(),
        });
        metadata.labels.insert(annotation::MANAGED_LABEL.to_owned(), "true".to_owned());
        metadata.annotations.extend([
            (annotation::FINGERPRINT.to_owned(), fingerprint.to_owned()),
            (annotation::REQUEST.to_owned(), request.name.clone()),
            (annotation::REQUESTED.to_owned(), requested.to_owned()),
            (annotation::TEMPLATE_KEYS.to_owned(), keys.to_string()),
        ]);
        metadata
    }

    /// Whether all of the template is there, and nothing of an older one.
    fn has_template(&self, metadata: &Template) -> bool {
        let now = |key: &str| metadata.annotations.get(key).map_or("", String::as_str);
        let wanted = self.metadata(now(annotation::REQUESTED), now(annotation::FINGERPRINT));
        requested(metadata).is_some()
            && contains(&metadata.labels, &wanted.labels)
            && contains(&metadata.annotations, &wanted.annotations)
    }
}

fn contains(all: &BTreeMap<String, String>, some: &BTreeMap<String, String>) -> bool {
    some.iter().all(|(key, value)| all.get(key) == Some(value))
}

fn requested(metadata: &Template) -> Option<Requested> {
    metadata.annotations.get(annotation::REQUESTED).and_then(|text| Requested::parse(text))
}

fn template_keys(metadata: &Template, kind: &str) -> Vec<String> {
    metadata
        .annotations
        .get(annotation::TEMPLATE_KEYS)
        .and_then(|text| serde_json::from_str::<BTreeMap<String, Vec<String>>>(text).ok())
        .and_then(|mut keys| keys.remove(kind))
        .unwrap_or_default()
}

impl Delivery {
    /// `tls.crt`.
    #[must_use]
    pub fn tls_crt(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }

    /// `ca.crt`.
    #[must_use]
    pub fn ca_crt(&self) -> String {
        self.anchors.iter().map(Certificate::to_pem).collect()
    }

    /// Whether the target already is what this would make it.
    fn is_in(&self, target: &Target) -> bool {
        same(&self.chain, &target.chain)
            && same(&self.anchors, &target.anchors)
            && contains(&target.metadata.labels, &self.metadata.labels)
            && contains(&target.metadata.annotations, &self.metadata.annotations)
            && self.removed_labels.iter().all(|key| !target.metadata.labels.contains_key(key))
            && self
                .removed_annotations
                .iter()
                .all(|key| !target.metadata.annotations.contains_key(key))
    }
}

fn same(one: &[Certificate], other: &[Certificate]) -> bool {
    one.iter().map(Certificate::der).eq(other.iter().map(Certificate::der))
}

#[cfg(test)]
mod tests;
