//! What the log of purchases says of an order: the closed list of events, and when each is told.
//!
//! Each is told before the change that it stands for is stored, and where that change is stored
//! already it is not told again. A process that dies in between therefore leaves a line too many, and
//! none too few: the one that comes after it finds the order as it was, and tells again. Only the
//! answer to a submit cannot be had again; whoever looks for the order tells that it was found.

use super::hold::Hold;
use super::record::{Mark, OrderState, Slot};
use super::seen::{Sent, adopt};
use crate::api::{OrderPhase, annotation};
use crate::ca::{Lookup, Phase, Progress};
use crate::issuance::certificate::delivery::Delivery;
use crate::issuance::certificate::requested::Requested;
use crate::issuance::observation::{Account, Observation, Outcome};
use crate::issuance::step::{Rest, Step};
use crate::pki::Certificate;

/// What happens to an order that costs money: the closed list.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum OrderEvent {
    /// The CA took it.
    Submitted,
    /// The CA has it, as a search shows: the answer to its submit was lost.
    Found,
    /// Nobody knows whether the CA took it.
    Unknown,
    /// Its certificate is verified, and about to be delivered.
    Issued,
    /// Its certificate was issued, and cannot be delivered.
    Unusable,
    /// Its certificate was issued, and is not needed any more.
    Superseded,
    /// The CA refused it: provably nothing was bought.
    Refused,
    /// It ended at the CA without a certificate.
    Failed,
    /// A person at the CA said no.
    Rejected,
    /// Its certificate was revoked.
    Revoked,
    /// The CA does not know it any more.
    Forgotten,
    /// A person gave it up, and another order takes its place.
    Released,
    /// A pair that was obtained elsewhere is taken over, without an order.
    Adopted,
}

impl OrderEvent {
    /// Its word in the log and in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Adopted => "adopted",
            Self::Failed => "failed",
            Self::Forgotten => "forgotten",
            Self::Found => "found",
            Self::Issued => "issued",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Released => "released",
            Self::Revoked => "revoked",
            Self::Submitted => "submitted",
            Self::Superseded => "superseded",
            Self::Unknown => "unknown",
            Self::Unusable => "unusable",
        }
    }

    /// By this event the order counts as bought.
    #[must_use]
    pub fn is_purchase(self) -> bool {
        matches!(self, Self::Found | Self::Submitted)
    }

    fn of_mark(state: OrderState) -> Option<Self> {
        match state {
            OrderState::Failed => Some(Self::Failed),
            OrderState::Forgotten => Some(Self::Forgotten),
            OrderState::Open => None,
            OrderState::Refused => Some(Self::Refused),
            OrderState::Rejected => Some(Self::Rejected),
            OrderState::Revoked => Some(Self::Revoked),
            OrderState::Superseded => Some(Self::Superseded),
        }
    }
}

/// One event of one order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// What happened.
    pub event: OrderEvent,
    /// Our name of the order; `None` where there was none.
    pub reference: Option<String>,
    /// Whether it follows another order, in the word of [`OrderKind`](crate::ca::OrderKind).
    pub kind: Option<&'static str>,
    /// The account at the CA, in one line.
    pub tenant: String,
    /// Id of the product, where it is known.
    pub product: Option<String>,
    /// The order's id at the CA, where it is known.
    pub id: Option<String>,
    /// Serial number of its certificate, where that was issued.
    pub serial: Option<String>,
}

/// What is to be told before a step is taken.
#[must_use]
pub fn before(seen: &Observation, step: &Step) -> Option<Entry> {
    let account = paid(seen)?;
    if let Step::Mark(mark) = step {
        return marked(seen, account, mark);
    }
    if let Step::Deliver(delivery) = step {
        return delivered(seen, account, delivery);
    }
    if let Step::Rest(Rest::Held(hold)) = step {
        return held(seen, account, hold);
    }
    let given_up = seen.released_by().filter(|one| seen.is_released(one));
    let reference = given_up.filter(|_| matches!(step, Step::WriteRecord(_)))?;
    Some(entry(seen, account, OrderEvent::Released, &reference))
}

/// What is to be told of what came of a step.
#[must_use]
pub fn after(seen: &Observation, outcome: &Outcome) -> Option<Entry> {
    let account = paid(seen)?;
    let of_next = |event| {
        let record = seen.record()?;
        Some(entry(seen, account, event, &record.next.order.reference))
    };
    let with = |event, progress: &Progress| {
        let serial = leaf_of(seen, Some(progress)).map(|leaf| leaf.serial_number().to_owned());
        Some(Entry { id: progress.id.clone(), serial, ..of_next(event)? })
    };
    if let Outcome::Ordered(progress) = outcome {
        return with(OrderEvent::Submitted, progress);
    }
    if let Outcome::NotOrdered(Sent::Unknown, _) = outcome {
        return of_next(OrderEvent::Unknown);
    }
    if let Outcome::Searched(Ok(Lookup::Found(found)), _) = outcome
        && !is_known_to_be_there(seen)
    {
        return with(OrderEvent::Found, &adopt(found)?.progress);
    }
    None
}

/// The account, where what it orders costs money.
fn paid(seen: &Observation) -> Option<&Account> {
    seen.account.as_ref().filter(|account| account.capabilities.billable)
}

/// The record or the status says so.
fn is_known_to_be_there(seen: &Observation) -> bool {
    let of_next = seen.record().map(|record| record.next.order.reference.as_str());
    let hint = seen.own_hint().filter(|hint| Some(hint.reference.as_str()) == of_next);
    let is_taken = |phase| matches!(phase, OrderPhase::Issued | OrderPhase::Pending);
    seen.order_id().is_some() || hint.is_some_and(|hint| is_taken(hint.phase))
}

fn marked(seen: &Observation, account: &Account, mark: &Mark) -> Option<Entry> {
    let record = seen.record()?;
    let event = OrderEvent::of_mark(mark.state).filter(|_| record.mark.state != mark.state)?;
    Some(entry(seen, account, event, &record.next.order.reference))
}

fn delivered(seen: &Observation, account: &Account, delivery: &Delivery) -> Option<Entry> {
    let serial = delivery.chain.first()?.serial_number();
    if delivery.adopted {
        let nameless = entry(seen, account, OrderEvent::Adopted, "");
        return Some(Entry { reference: None, serial: Some(serial.to_owned()), ..nameless });
    }
    let known = seen.previous.certificate.as_ref();
    // What is delivered once more was told of when it was new.
    if !delivery.renewed || known.is_some_and(|known| known.serial_number == serial) {
        return None;
    }
    let reference = delivery.metadata.annotations.get(annotation::ORDER_REFERENCE)?;
    let issued = entry(seen, account, OrderEvent::Issued, reference);
    Some(Entry { serial: Some(serial.to_owned()), ..issued })
}

fn held(seen: &Observation, account: &Account, hold: &Hold) -> Option<Entry> {
    let event = match hold {
        Hold::OutcomeUnknown(_) => OrderEvent::Unknown,
        Hold::Unusable(_) => OrderEvent::Unusable,
        // The mark has told of those that ended, and the others are about records.
        Hold::AccountSwitched { .. }
        | Hold::Ended(..)
        | Hold::ForeignKey { .. }
        | Hold::RecordEdited(_)
        | Hold::RecordForeign
        | Hold::RecordLost
        | Hold::RecordNewer => return None,
    };
    let said = seen.previous.said.as_ref().map(|(reason, _)| reason.as_str());
    if said == Some(hold.reason().word()) {
        return None;
    }
    Some(entry(seen, account, event, &seen.hinted_or_stored()?))
}

/// An event of the order of this name, with what is stored of it.
fn entry(seen: &Observation, account: &Account, event: OrderEvent, reference: &str) -> Entry {
    let record = seen.record();
    let slots = record.map(|record| [Some(&record.next), record.issued.as_ref()]);
    let mut slots = slots.into_iter().flatten().flatten();
    let slot: Option<&Slot> = slots.find(|slot| slot.order.reference == reference);
    let is_next = record.is_some_and(|record| record.next.order.reference == reference);
    let has_certificate = matches!(event, OrderEvent::Superseded | OrderEvent::Unusable);
    let leaf = leaf_of(seen, seen.order.progress.as_ref().filter(|_| has_certificate));
    let product = slot.map(|slot| slot.order.requested());
    Entry {
        event,
        reference: Some(reference.to_owned()),
        kind: slot.map(|slot| slot.kind.word()),
        tenant: slot.map_or(&account.name, |slot| &slot.order.account).clone(),
        product: product.and_then(|asked| asked.text(Requested::PRODUCT).map(str::to_owned)),
        id: seen.order_id().filter(|_| is_next || record.is_none()),
        serial: leaf.map(|leaf| leaf.serial_number().to_owned()),
    }
}

/// The certificate that was issued for the key of the order made last.
fn leaf_of<'a>(seen: &Observation, progress: Option<&'a Progress>) -> Option<&'a Certificate> {
    let Phase::Issued(candidates) = &progress?.phase else { return None };
    let key = seen.record()?.next.key()?;
    candidates.iter().find(|one| one.spki_der() == key.spki_der())
}
