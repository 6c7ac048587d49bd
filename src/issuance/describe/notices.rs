//! What is worth an Event.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::issuing::Issuing;
use super::ready::named;
use crate::api::condition::{self, ISSUING};
use crate::issuance::certificate::standing::Held;
use crate::issuance::observation::Observation;
use crate::reason::{Reason, Word};

/// Something for an Event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// Something is wrong.
    pub warning: bool,
    /// One word in camel case.
    pub reason: Word,
    /// Sentences for a person.
    pub message: String,
}

/// What happens to each order, and is worth no Event.
const ORDINARY: [Reason; 3] = [Reason::Issued, Reason::OrderPending, Reason::Submitting];

/// Waits that somebody wants, and that are nothing to warn of.
const ON_PURPOSE: [Reason; 5] = [
    Reason::AwaitingApproval,
    Reason::AwaitingOwner,
    Reason::IssuerSuspended,
    Reason::OpenOrdersLimitReached,
    Reason::Suspended,
];

impl Notice {
    fn told(reason: Reason, message: String) -> Self {
        Self { warning: false, reason: reason.into(), message }
    }

    pub(in crate::issuance) fn warning(reason: Reason, message: String) -> Self {
        Self { warning: true, reason: reason.into(), message }
    }
}

/// What happened in the run, and what has changed since `before`.
pub(super) fn notices(
    seen: &Observation,
    held: Option<&Held>,
    before: &[Condition],
    issuing: &Issuing,
) -> Vec<Notice> {
    [
        delivered(seen, held),
        added_roots(seen),
        nameless(seen),
        several(seen),
        transition(before, issuing),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The certificate is another than the status knew: this run delivered it, or one that died before
/// it could tell.
pub(super) fn is_new(seen: &Observation, held: Option<&Held>) -> bool {
    let known = seen.previous.certificate.as_ref().map(|known| &known.fingerprint_sha256);
    held.is_some_and(|held| known != Some(&held.certificate.fingerprint_sha256))
}

fn delivered(seen: &Observation, held: Option<&Held>) -> Option<Notice> {
    let secret = &seen.request.secret_name;
    let asked = &seen.request.names;
    let subject = held.map(|held| named(&held.certificate, asked, None)).unwrap_or_default();
    if seen.adopted {
        let message = format!("Secret {secret} was taken over without an order: {subject}");
        return Some(Notice::told(Reason::Adopted, message));
    }
    if is_new(seen, held) {
        let revision = seen.previous.revision.saturating_add(1);
        let refusal = held.and_then(|held| held.certificate.refused_by.as_ref());
        let refusal = refusal.map(|clients| format!("; {clients}")).unwrap_or_default();
        return Some(Notice::told(
            Reason::Issued,
            format!("revision {revision} delivered to Secret {secret}: {subject}{refusal}"),
        ));
    }
    seen.delivered.as_ref()?;
    Some(Notice::told(Reason::Repaired, format!("Secret {secret} was repaired")))
}

fn added_roots(seen: &Observation) -> Option<Notice> {
    let added = seen.delivered.as_ref().filter(|added| !added.is_empty())?;
    Some(Notice::warning(
        Reason::ServedRootsAdded,
        format!(
            "ca.crt of Secret {} also trusts what the CA serves, by spec.trust.addServedRoots: {}",
            seen.request.secret_name,
            added.join("; ")
        ),
    ))
}

/// An order was just taken, and a CA that finds orders by name will not find it.
fn nameless(seen: &Observation) -> Option<Notice> {
    let can = &seen.account.as_ref()?.capabilities;
    let progress = seen.order.progress.as_ref().filter(|progress| !progress.named)?;
    let is_news = seen.previous.order.as_ref().is_none_or(|hint| hint.id.is_none());
    let id = progress.id.as_deref().filter(|_| can.searchable && is_news)?;
    Some(Notice::warning(
        Reason::OrderNotNamed,
        format!(
            "the CA took order {id} and did not keep its name: it is followed by its id, and could not be found again if an answer were lost; ask the CA to keep the tags of orders"
        ),
    ))
}

fn several(seen: &Observation) -> Option<Notice> {
    let others = seen.order.others();
    (!others.is_empty()).then(|| {
        Notice::warning(
            Reason::SeveralOrders,
            format!(
                "the CA has several orders named {}: one is followed, and nobody asked for {}; look at it at the CA",
                seen.hinted_or_stored().unwrap_or_default(),
                others.join(", ")
            ),
        )
    })
}

/// `Issuing` has another reason than before.
fn transition(before: &[Condition], issuing: &Issuing) -> Option<Notice> {
    let is_of = |reasons: &[Reason]| reasons.iter().any(|reason| issuing.reason == *reason);
    let is_same = condition::find(before, ISSUING).is_some_and(|old| old.reason == issuing.reason);
    (!is_same && !is_of(&ORDINARY)).then(|| Notice {
        warning: !is_of(&ON_PURPOSE),
        reason: issuing.reason.clone(),
        message: issuing.message.clone(),
    })
}
