//! An order that the CA has.

use super::facts::is_searchable;
use super::hold::Hold;
use super::record::{Mark, OrderState, Record};
use super::start::start;
use crate::ca::{FailedKind, OrderKind, Phase, Previous, Progress};
use crate::issuance::attempt::{contended, unfit_trouble};
use crate::issuance::certificate::delivery::New;
use crate::issuance::certificate::key::Key;
use crate::issuance::certificate::reissue::Reissue;
use crate::issuance::certificate::standing::{Held, Standing};
use crate::issuance::observation::{Account, Observation};
use crate::issuance::step::{Rest, Step};
use crate::issuance::trouble::Trouble;
use crate::outside::Disposition;
use crate::pki::Certificate;
use crate::pki::chain::{Unfit, VerifiedChain};
use crate::reason::Reason;

/// The CA has the order.
pub(super) fn follow(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
    record: &Record,
    progress: &Progress,
) -> Step {
    let ended = |state| Step::Mark(Mark { state, ..record.mark.clone() });
    if record.next.kind.previous().is_some_and(|previous| shows_only(progress, previous)) {
        return Step::Rest(Rest::Ordered);
    }
    match &progress.phase {
        Phase::Pending(_) if !progress.named && record.mark.id != progress.id => {
            Step::Mark(Mark { id: progress.id.clone(), ..record.mark.clone() })
        }
        Phase::Pending(_) => Step::Rest(Rest::Ordered),
        // What the CA does not know by its id it may know by its name.
        Phase::Failed(failed)
            if failed.kind == FailedKind::Forgotten
                && seen.order.lookup().is_none()
                && is_searchable(account) =>
        {
            Step::Find
        }
        Phase::Failed(failed) => ended(match failed.kind {
            FailedKind::Failed => OrderState::Failed,
            FailedKind::Forgotten => OrderState::Forgotten,
            FailedKind::Rejected => OrderState::Rejected,
            FailedKind::Revoked => OrderState::Revoked,
        }),
        Phase::Issued(candidates) => {
            issued(seen, standing, due.as_ref(), account, record, candidates)
        }
    }
}

/// The CA shows what is to be replaced, which is under the same id: the order is under way.
fn shows_only(progress: &Progress, previous: &Previous) -> bool {
    match &progress.phase {
        Phase::Issued(candidates) => {
            let mut leaves = candidates.iter().filter(|one| !one.is_ca()).peekable();
            leaves.peek().is_some() && leaves.all(|one| *one == previous.certificate)
        }
        Phase::Failed(_) | Phase::Pending(_) => false,
    }
}

/// The CA issued: does it fit, and is it better than what is there?
fn issued(
    seen: &Observation,
    standing: &Standing,
    due: Option<&Reissue>,
    account: &Account,
    record: &Record,
    candidates: &[Certificate],
) -> Step {
    let (order, held) = (&record.next.order, standing.held());
    if held.is_some_and(|held| is_among(held, candidates)) {
        // Delivered, and somebody took the reference off the Secret.
        return start(seen, standing, due.cloned(), account, Some(record));
    }
    let key = match key_with_room(seen, held, account, record) {
        Ok(key) => key,
        Err(step) => return step,
    };
    let chain = match seen.verified(candidates, key.spki_der(), &order.names, account) {
        Ok(chain) => chain,
        Err(unfit) => return misfit(seen, record, unfit),
    };
    // A reissue may have ended the certificate that is there: what came of it is better, whatever it
    // says.
    let is_reissue = matches!(record.next.kind, OrderKind::Reissue(_));
    let valid = held.filter(|held| !is_reissue && held.certificate.not_after.0 > seen.now);
    if let Some(held) = valid {
        let names = &seen.request.names;
        let fits = seen.verified(candidates, key.spki_der(), names, account).is_ok();
        if let Some(step) = no_gain(seen, due, record, held, fits.then_some(&chain)) {
            return step;
        }
    }
    let new = New {
        requested: order.requested(),
        order: Some(order.reference.clone()),
        // What a later order may have to name.
        id: seen.order_id().filter(|_| account.capabilities.kinds.go_by_id()),
    };
    Step::Deliver(Box::new(seen.delivery(account, &chain, key, Some(new))))
}

fn is_among(held: &Held, candidates: &[Certificate]) -> bool {
    let there = &held.certificate.fingerprint_sha256;
    candidates.iter().any(|one| one.fingerprint_sha256() == there)
}

fn superseded(record: &Record) -> Step {
    Step::Mark(Mark { state: OrderState::Superseded, ..record.mark.clone() })
}

/// The key of the order, once the target was looked at and has room for it.
fn key_with_room(
    seen: &Observation,
    held: Option<&Held>,
    account: &Account,
    record: &Record,
) -> Result<Key, Step> {
    if held.is_some() && seen.target.is_none() {
        return Err(Step::ReadTarget);
    }
    if let Some(rest) = seen.fixed() {
        return Err(Step::Rest(rest));
    }
    if let Some(trouble) = contended(seen) {
        return Err(Step::Rest(Rest::Failed(trouble)));
    }
    let no_key = || Step::hold(Hold::RecordEdited("it holds no key".to_owned()));
    let key = record.next.key().ok_or_else(no_key)?;
    if let Some(rest) = seen.no_room(&key) {
        return Err(Step::Rest(rest));
    }
    if account.add_served_roots && seen.served.is_none() {
        return Err(Step::ReadServedRoots);
    }
    Ok(key)
}

/// What was issued cannot be delivered as it is.
fn misfit(seen: &Observation, record: &Record, unfit: Unfit) -> Step {
    match unfit {
        Unfit::NoPath { .. } if seen.served.is_none() => Step::ReadServedRoots,
        Unfit::NoLeaf { .. } => Step::hold(Hold::ForeignKey { id: seen.order_id() }),
        // It was delivered, and has had its time: what is wanted now is ordered.
        Unfit::Expired { .. } if seen.has_come_through(&record.next.order) => superseded(record),
        // Bought, and never of use: buying another may help as little (a clock that is wrong).
        Unfit::Expired { .. } => Step::hold(Hold::Unusable(format!("{unfit}; compare the clocks"))),
        Unfit::NotYetValid { .. } => {
            let later = || Trouble {
                disposition: Disposition::Retry { after: None },
                reason: Reason::CertificateNotYetValid,
                message: format!("the certificate was issued and will be delivered later: {unfit}"),
                counts: true,
            };
            Step::Rest(Rest::Failed(seen.valid_soon(&unfit).unwrap_or_else(later)))
        }
        Unfit::LeafIsCa { .. } | Unfit::NamesMissing(_) => {
            Step::hold(Hold::Unusable(unfit.to_string()))
        }
        Unfit::AnchorNotValid { .. }
        | Unfit::NoAnchors { .. }
        | Unfit::NoPath { .. }
        | Unfit::Refused { .. } => Step::Rest(Rest::Failed(unfit_trouble(&unfit))),
    }
}

/// What to do where the certificate that is there, and valid, is as good. `chain` is what was issued,
/// where it fits what is wanted now.
fn no_gain(
    seen: &Observation,
    due: Option<&Reissue>,
    record: &Record,
    held: &Held,
    chain: Option<&VerifiedChain>,
) -> Option<Step> {
    let Some(chain) = chain else {
        return Some(superseded(record));
    };
    let is_no_later = chain.leaf.not_after() <= held.certificate.not_after.0;
    match due {
        // What is there is what is wanted: another is taken where it is better, and would be no
        // reason for the next order.
        None if is_no_later || seen.is_new_intent(&record.next.order) => Some(superseded(record)),
        Some(Reissue::NearingExpiry) if is_no_later => Some(Step::hold(Hold::Unusable(format!(
            "it ends at {}, no later than the one it was to replace",
            chain.leaf.not_after()
        )))),
        Some(_) | None => None,
    }
}
