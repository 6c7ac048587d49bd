//! What is written into the target Secret.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::annotation;
use crate::issuance::certificate::key::Key;
use crate::issuance::certificate::renewal::jitter;
use crate::issuance::certificate::requested::Requested;
use crate::issuance::certificate::standing::requested;
use crate::issuance::certificate::template::template_keys;
use crate::issuance::observation::{Account, IssuerState, Observation, Target, Template};
use crate::issuance::trust::trust;
use crate::pki::Certificate;
use crate::pki::chain::VerifiedChain;

/// So many trust anchors of a bundle go into `ca.crt` at most, and as many that the CA serves.
const MOST_ANCHORS: usize = 32;
/// So many bytes `ca.crt` has at most, where it holds more than the one anchor that the chain ends at: a
/// Secret holds a megabyte.
const MOST_OF_ANCHORS: usize = 256 * 1024;
/// Over so many seconds the Secrets of an issuer follow its trust anchors.
const SPREAD: i64 = 120;

/// What is written into the target Secret.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// uid and resourceVersion of the Secret to change; `None` creates it.
    pub base: Option<(String, String)>,
    /// The key.
    pub key: Key,
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
    /// The pair was obtained elsewhere.
    pub adopted: bool,
}

/// What a new certificate was asked for with.
pub(in crate::issuance) struct New {
    pub(in crate::issuance) requested: Requested,
    /// Reference of its order, where it was one that costs money.
    pub(in crate::issuance) order: Option<String>,
    /// Its id at the CA, where later orders go by it.
    pub(in crate::issuance) id: Option<String>,
}

impl Observation {
    pub(in crate::issuance) fn delivery(
        &self,
        account: &Account,
        chain: &VerifiedChain,
        key: Key,
        new: Option<New>,
    ) -> Delivery {
        let is_another = |root: &&Certificate| {
            root.der() != chain.anchor.der()
                && root.not_before() <= self.now
                && self.now < root.not_after()
        };
        let added: Vec<Certificate> = self
            .served
            .iter()
            .flatten()
            .filter(|root| account.add_served_roots && root.is_self_issued())
            .filter(is_another)
            .cloned()
            .collect();
        let base = self.live_target();
        let follows = account.is_bundle && (new.is_some() || self.follows_anchors());
        let others = account.anchors.iter().filter(|_| follows).filter(is_another);
        let mut anchors: Vec<Certificate> =
            [&chain.anchor].into_iter().chain(others).take(MOST_ANCHORS).cloned().collect();
        for root in added.iter().take(MOST_ANCHORS) {
            if !anchors.iter().any(|anchor| anchor.der() == root.der()) {
                anchors.push(root.clone());
            }
        }
        let anchors = within(anchors, MOST_OF_ANCHORS);
        let old = base.map(|target| &target.metadata);
        let renewed = new.is_some();
        let (requested, order, id) = match new {
            Some(New { requested, order, id }) => (requested, order, id),
            None => {
                let noted = old.and_then(requested).unwrap_or_else(|| self.wanted());
                (self.in_other_words(&noted).unwrap_or(noted), None, None)
            }
        };
        let mut metadata =
            self.metadata(old, &requested.to_annotation(), chain.leaf.fingerprint_sha256());
        metadata
            .annotations
            .extend(order.map(|order| (annotation::ORDER_REFERENCE.to_owned(), order)));
        let digest = follows.then(|| trust(&account.anchors));
        metadata
            .annotations
            .extend(digest.map(|digest| (annotation::TRUST_ANCHORS.to_owned(), digest)));
        metadata.annotations.extend(id.map(|id| (annotation::ORDER_ID.to_owned(), id)));
        let gone = |kind: &str, now: &BTreeMap<String, String>| {
            let mut keys = old.map(|old| template_keys(old, kind)).unwrap_or_default();
            keys.retain(|key| !now.contains_key(key));
            keys
        };
        let mut removed_annotations = gone("annotations", &metadata.annotations);
        // The id of the order before is not that of this one.
        let has_old_id = old.is_some_and(|old| old.annotations.contains_key(annotation::ORDER_ID));
        if renewed && has_old_id && !metadata.annotations.contains_key(annotation::ORDER_ID) {
            removed_annotations.push(annotation::ORDER_ID.to_owned());
        }
        Delivery {
            base: base.map(|target| (target.uid.clone(), target.resource_version.clone())),
            chain: [&chain.leaf].into_iter().chain(&chain.intermediates).cloned().collect(),
            added_roots: added.iter().map(|root| root.subject().to_owned()).collect(),
            anchors,
            removed_labels: gone("labels", &metadata.labels),
            removed_annotations,
            metadata,
            key,
            renewed,
            adopted: false,
        }
    }

    /// Whether `ca.crt` of the target holds, or is to hold, all anchors of the bundle.
    fn follows_anchors(&self) -> bool {
        let IssuerState::Ready { anchors: Some(now), .. } = &self.issuer else { return false };
        self.noted_anchors().is_some() || now.since.is_some()
    }

    /// The trust anchors that the target was made from, in one word.
    fn noted_anchors(&self) -> Option<&String> {
        let cached = self.cached.as_ref().map(|cached| &cached.metadata);
        let metadata = self.live_target().map(|target| &target.metadata).or(cached)?;
        metadata.annotations.get(annotation::TRUST_ANCHORS)
    }

    /// When `ca.crt` of the target is to follow the trust anchors of the issuer, which have changed.
    /// Not all Secrets of an issuer at once.
    pub(in crate::issuance) fn follows_anchors_at(&self) -> Option<Timestamp> {
        let IssuerState::Ready { anchors: Some(now), .. } = &self.issuer else { return None };
        let since = now.since.as_ref().map(|since| since.0);
        let from = match self.noted_anchors() {
            Some(noted) if *noted == now.sha256 => return None,
            Some(_) => since.unwrap_or(Timestamp::UNIX_EPOCH),
            None => since?,
        };
        let spread = SignedDuration::from_secs(jitter(&self.request.uid, SPREAD));
        from.checked_add(spread).ok()
    }

    /// What the certificate for `key` was requested with.
    pub(in crate::issuance) fn requested_for(&self, key: &Key) -> Requested {
        let requested = self.wanted().with(Requested::PRIVATE_KEY, Some(key.kind()));
        match &self.request.csr {
            Some(csr) => {
                requested.with_csr_key(key.spki_der()).with_csr_version(csr.version.as_deref())
            }
            None => requested,
        }
    }

    /// Template, marker and what was requested, in the metadata of a target that is `there`.
    pub(in crate::issuance) fn metadata(
        &self,
        there: Option<&Template>,
        requested: &str,
        fingerprint: &str,
    ) -> Template {
        let request = &self.request;
        let mut metadata = self.template_on(there);
        let keys = serde_json::json!({
            "labels": metadata.labels.keys().collect::<Vec<_>>(),
            "annotations": metadata.annotations.keys().collect::<Vec<_>>(),
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
    pub(in crate::issuance) fn has_template(&self, metadata: &Template) -> bool {
        let now = |key: &str| metadata.annotations.get(key).map_or("", String::as_str);
        let (requested_with, fingerprint) =
            (now(annotation::REQUESTED), now(annotation::FINGERPRINT));
        let wanted = self.metadata(Some(metadata), requested_with, fingerprint);
        requested(metadata).is_some()
            && contains(&metadata.labels, &wanted.labels)
            && contains(&metadata.annotations, &wanted.annotations)
    }
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
    pub(in crate::issuance) fn is_in(&self, target: &Target) -> bool {
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

/// The first of `anchors` in any case, and of the others as many as fit.
fn within(anchors: Vec<Certificate>, most: usize) -> Vec<Certificate> {
    let mut length = 0;
    let mut taken = Vec::new();
    for anchor in anchors {
        length += anchor.to_pem().len();
        if length > most && !taken.is_empty() {
            break;
        }
        taken.push(anchor);
    }
    taken
}

fn contains(all: &BTreeMap<String, String>, some: &BTreeMap<String, String>) -> bool {
    some.iter().all(|(key, value)| all.get(key) == Some(value))
}

fn same(one: &[Certificate], other: &[Certificate]) -> bool {
    one.iter().map(Certificate::der).eq(other.iter().map(Certificate::der))
}
