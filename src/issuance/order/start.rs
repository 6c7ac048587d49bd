//! Towards a new order.

use super::facts::has_delivered;
use super::record::{NewOrder, OrderDraft, Record, RecordRead, Slot, StoredOrder};
use crate::api::annotation;
use crate::issuance::attempt::{examined, pause};
use crate::issuance::certificate::reissue::Reissue;
use crate::issuance::certificate::standing::Standing;
use crate::issuance::observation::{Account, Observation};
use crate::issuance::quota::made;
use crate::issuance::step::{Rest, Step};
use crate::issuance::trouble::Trouble;
use crate::outside::Disposition;
use crate::pki::Names;
use crate::pki::chain::Unfit;
use crate::reason::Reason;

/// What would submit now, unless it has to wait.
pub(super) fn again(seen: &Observation, due: Option<Reissue>, step: Step) -> Step {
    match due {
        Some(due) if seen.is_suspended() => Step::Rest(Rest::Suspended(due)),
        Some(due) => match pause(seen, due) {
            Some(rest) => Step::Rest(rest),
            // A target that nothing can be put into is refused before money is spent.
            None if seen.target.is_none() => Step::ReadTarget,
            None => seen.fixed().map_or(step, Step::Rest),
        },
        None => Step::Rest(Rest::Kept),
    }
}

/// Towards a new order, in place of the one in `displaced`.
pub(super) fn start(
    seen: &Observation,
    standing: &Standing,
    due: Option<Reissue>,
    account: &Account,
    displaced: Option<&Record>,
) -> Step {
    let Some(due) = due else {
        return Step::Rest(Rest::Kept);
    };
    if seen.delivered.is_some() || seen.submitted {
        return Step::Rest(Rest::Kept);
    }
    let Some(prepared) = &seen.order.prepared else {
        if let Some(trouble) = is_not_to_be_trusted(seen, &due, account) {
            return Step::Rest(Rest::Failed(trouble));
        }
        let plan = match examined(seen, standing, account) {
            Ok(plan) => plan,
            Err(step) => return again(seen, Some(due), step),
        };
        let kind = seen.order_kind(standing, &due, account);
        // The order before was at another issuer; this one issues at once.
        let step = if account.capabilities.has_records() {
            Step::Prepare(plan, kind)
        } else {
            Step::Submit(plan, kind)
        };
        return again(seen, Some(due), step);
    };
    let number = displaced
        .map_or(0, |record| record.next.order.number)
        .max(seen.previous.orders)
        .max(seen.previous.revision)
        .saturating_add(1);
    let order = StoredOrder::new(NewOrder {
        uid: &seen.request.uid,
        number,
        account: &prepared.purchase.account,
        since: seen.now,
        csr_der: &prepared.csr_der,
        names: &prepared.names,
        intent: prepared.purchase.noted_in(seen.requested_for(&prepared.key)),
        parameters: prepared.parameters.clone(),
        kind: &prepared.kind,
    });
    Step::WriteRecord(Box::new(OrderDraft {
        base: seen.order.record.as_ref().and_then(RecordRead::base),
        next: Slot { order, private: prepared.key.private().cloned(), kind: prepared.kind.clone() },
        displaced: displaced.and_then(|record| worth_keeping(standing, record)),
        made: made::noted(displaced.map_or(&[], |record| &record.mark.made), seen.now),
    }))
}

/// A renewal is not paid for where the chain of the certificate that is there, from the same CA, ends
/// at no anchor of now: the next one would not be delivered either. Whoever knows better asks for it.
fn is_not_to_be_trusted(seen: &Observation, due: &Reissue, account: &Account) -> Option<Trouble> {
    if *due != Reissue::NearingExpiry || !account.capabilities.billable {
        return None;
    }
    let target = seen.live_target()?;
    let key = seen.key_in(target)?;
    let unfit = seen.verified(&target.chain, key.spki_der(), &Names::default(), account).err()?;
    matches!(unfit, Unfit::NoPath { .. }).then(|| Trouble {
        disposition: Disposition::BlameIssuer,
        reason: Reason::ChainNotTrusted,
        message: format!(
            "nothing is ordered: {unfit}, and that is the chain of the certificate that was delivered before; add its root to spec.trust.bundle of the issuer, or, if the CA has another root by now, set a new value of {} on the request",
            annotation::RENEW
        ),
        counts: true,
    })
}

/// Of the two orders in a record, the one whose certificate was delivered last.
fn worth_keeping(standing: &Standing, record: &Record) -> Option<Slot> {
    if has_delivered(standing, record) || record.issued.is_none() {
        return Some(record.next.clone());
    }
    record.issued.clone()
}
