//! Certificates in hand that could not be delivered: kept for the next run, so that trouble at the
//! API server does not cost a second certificate.
//!
//! In memory only. What a process takes with it when it dies, a free CA issues again. What was paid
//! for is found again by its reference or its id; where it has neither, a person is asked.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::api::AttemptInputs;
use crate::ca::Progress;
use crate::issuance::{IssuerState, Observation, Obtained, Rest};
use crate::reason::Reason;

#[derive(Default)]
pub(in crate::controller) struct Undelivered(Mutex<Entries>);

/// By uid of the request.
#[derive(Default)]
struct Entries {
    obtained: HashMap<String, (Basis, Obtained)>,
    /// With the reference of the order.
    ordered: HashMap<String, (String, Progress)>,
}

/// What a certificate was obtained with, and after which revision: where another replica has
/// delivered meanwhile, the one in hand is of no use.
#[derive(PartialEq)]
struct Basis {
    inputs: AttemptInputs,
    revision: i64,
}

impl Basis {
    fn of(seen: &Observation) -> Self {
        Self { inputs: seen.attempt(), revision: seen.previous.revision }
    }
}

impl Undelivered {
    /// What an earlier run for this request obtained with the same inputs, once the next attempt is
    /// due and the issuer can be asked whom to trust.
    pub(in crate::controller) fn take(&self, seen: &Observation) -> Option<Obtained> {
        let is_due = seen.previous.next_attempt.is_none_or(|due| due <= seen.now);
        if !is_due || !matches!(seen.issuer, IssuerState::Ready { .. }) {
            return None;
        }
        let (basis, obtained) = self.entries().obtained.remove(&seen.request.uid)?;
        (basis == Basis::of(seen)).then_some(obtained)
    }

    /// Keeps what a run obtained and could not deliver because an effect failed or the target could
    /// not be read, or does not deliver yet because it is valid a little later; a certificate that does
    /// not fit is not kept.
    pub(in crate::controller) fn keep(&self, seen: &Observation, rest: &Rest) {
        let is_early = matches!(
            rest,
            Rest::Failed(trouble) if trouble.reason == Reason::CertificateNotYetValid
        );
        let may_still_be =
            seen.trouble.is_some() || is_early || matches!(rest, Rest::TargetUnreadable(_));
        if let Some(obtained) = seen.obtained.as_ref().filter(|_| may_still_be) {
            let entry = (Basis::of(seen), obtained.clone());
            self.entries().obtained.insert(seen.request.uid.clone(), entry);
        }
        let uid = &seen.request.uid;
        match seen.in_hand() {
            Some((reference, progress)) => {
                let entry = (reference.to_owned(), progress.clone());
                self.entries().ordered.insert(uid.clone(), entry);
            }
            None if seen.delivered.is_some() => drop(self.entries().ordered.remove(uid)),
            None => {}
        }
    }

    /// What the CA issued with its answer to the submit of this order, and would not issue again.
    pub(in crate::controller) fn ordered(&self, uid: &str, reference: &str) -> Option<Progress> {
        let entries = self.entries();
        let (ordered, progress) = entries.ordered.get(uid)?;
        (ordered == reference).then(|| progress.clone())
    }

    /// Forgets a request that is gone.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        let mut entries = self.entries();
        entries.obtained.remove(uid);
        entries.ordered.remove(uid);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
