//! What is known of an order, put together from the record, the status and the CA's word.

use jiff::SignedDuration;

use super::hold::Hold;
use super::record::{Record, RecordRead, Slot, StoredOrder, is_own, record_name, reference};
use crate::api::{DeliveredCertificate, OrderStatus};
use crate::ca::tenant::{self, Relation};
use crate::ca::{Phase, Progress};
use crate::issuance::certificate::reissue::edited;
use crate::issuance::certificate::standing::Standing;
use crate::issuance::observation::{Account, Observation};

/// How the tenant that an order was made for stands to the one the issuer speaks for now.
pub(super) fn relation(ordered_at: &str, account: &Account) -> Relation {
    tenant::relation(ordered_at, &account.name)
}

impl Observation {
    /// An order was made for another tenant, or at another address that has not shown any of our
    /// orders: what is told there says nothing of it.
    pub(super) fn is_elsewhere(&self, ordered_at: &str, account: &Account) -> bool {
        match relation(ordered_at, account) {
            Relation::Same => false,
            Relation::Moved => !self.order.proven,
            Relation::Other | Relation::Unknown => true,
        }
    }
}

pub(super) fn switched(ordered_at: &str, account: &Account) -> Hold {
    Hold::AccountSwitched { ordered_at: ordered_at.to_owned(), now: account.name.clone() }
}

pub(super) fn window(account: &Account) -> SignedDuration {
    let window = account.capabilities.settle_window.try_into();
    window.unwrap_or(SignedDuration::from_mins(15))
}

pub(super) fn is_searchable(account: &Account) -> bool {
    account.capabilities.has_records() && account.capabilities.searchable
}

/// One that follows another is looked for by the id of that one.
pub(super) fn can_be_found(account: &Account, slot: &Slot) -> bool {
    is_searchable(account) || slot.kind.follows()
}

/// The target holds the certificate of the order: the order has ended well.
pub(super) fn has_delivered(standing: &Standing, record: &Record) -> bool {
    standing.held().and_then(|held| held.order.as_deref()) == Some(&record.next.order.reference)
}

impl Observation {
    /// Name of the Secret with the record.
    #[must_use]
    pub fn record_name(&self) -> String {
        record_name(&self.request.name)
    }

    /// The record, where it was read and is one.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match &self.order.record {
            Some(RecordRead::Present(record)) => Some(record),
            Some(_) | None => None,
        }
    }

    /// The claim in the record is this process's, and was not used.
    #[must_use]
    pub fn has_unused_claim(&self, record: &Record) -> bool {
        record.mark.claim == self.order.incarnation
            && self
                .order
                .claim
                .as_ref()
                .is_some_and(|claim| claim.reference == record.next.order.reference)
    }

    /// Nothing was ever sent of the order whose claim this process has.
    pub(super) fn is_untouched(&self) -> bool {
        self.order.claim.as_ref().is_some_and(|claim| claim.is_untouched)
    }

    /// The reference of the order made last, as far as the status knows.
    #[must_use]
    pub fn hinted(&self) -> Option<String> {
        let previous = &self.previous;
        match &previous.order {
            Some(hint) => Some(hint.reference.clone()),
            None => (previous.orders > 0).then(|| reference(&self.request.uid, previous.orders)),
        }
    }

    /// What the status says of the order, where it is the request's own: whoever may write the status
    /// could name that of another, whose place among the orders that are asked about it would take.
    #[must_use]
    pub fn own_hint(&self) -> Option<&OrderStatus> {
        let (uid, recorded) = (&self.request.uid, self.order.recorded.as_deref());
        self.previous.order.as_ref().filter(|hint| is_own(&hint.reference, uid, recorded))
    }

    /// The reference of the order made last: the one in the record, or the one the status knows.
    pub(in crate::issuance) fn hinted_or_stored(&self) -> Option<String> {
        let record = self.record().filter(|record| !self.is_older(record));
        let stored = record.map(|record| record.next.order.reference.clone());
        stored.or_else(|| self.hinted())
    }

    /// What the release annotation has to name: the order, or the uid of the record where nothing else
    /// is known of it.
    #[must_use]
    pub fn released_by(&self) -> Option<String> {
        self.hinted_or_stored().or_else(|| self.order.record.as_ref()?.base().map(|(uid, _)| uid))
    }

    /// The id of the order at the CA, by the CA's latest word, the record or the status.
    #[must_use]
    pub fn order_id(&self) -> Option<String> {
        let record = self.record().filter(|record| !self.is_older(record));
        let hint = self.own_hint().filter(|hint| {
            record.is_none_or(|record| record.next.order.reference == hint.reference)
        });
        self.order
            .progress
            .as_ref()
            .and_then(|progress| progress.id.clone())
            .or_else(|| record.and_then(|record| record.mark.id.clone()))
            .or_else(|| hint.and_then(|hint| hint.id.clone()))
    }

    /// A certificate was delivered after the order was prepared: at that time it was its own, or
    /// there would be another order by now.
    ///
    /// Both times are of whole seconds: in the second in which the order was prepared, the
    /// certificate before it may have been delivered. Deliveries are counted too, and the number of
    /// an order is higher than their count when it is prepared.
    pub(super) fn has_come_through(&self, order: &StoredOrder) -> bool {
        let previous = &self.previous;
        let is_later = |delivered: &DeliveredCertificate| delivered.delivered_at.0 > order.since;
        previous.orders >= order.number
            && (previous.revision >= order.number
                || previous.certificate.as_ref().is_some_and(is_later))
    }

    /// Only the announcement says when an order was submitted; that of a request which was deleted
    /// since nobody knows.
    pub(super) fn may_be_announced(&self, order: &StoredOrder) -> bool {
        let hint = self.previous.order.as_ref().filter(|hint| hint.reference == order.reference);
        order.reference != reference(&self.request.uid, order.number)
            || hint.is_some_and(|hint| hint.submitted_at.is_some())
    }

    /// It was there before the order made last.
    pub(in crate::issuance) fn is_older(&self, record: &Record) -> bool {
        self.previous.orders > record.next.order.number
    }

    pub(super) fn is_released(&self, reference: &str) -> bool {
        self.request.release.as_deref() == Some(reference)
    }

    /// What is wanted now is not what the order was made for.
    pub(in crate::issuance) fn is_new_intent(&self, order: &StoredOrder) -> bool {
        self.asks_for_another(&order.requested())
    }

    /// Whether the order of this reference is for what the request asks for now; `None` where its
    /// record was not read.
    pub(in crate::issuance) fn is_for_what_is_asked(&self, reference: &str) -> Option<bool> {
        let record = self.record().filter(|record| record.next.order.reference == reference)?;
        Some(edited(self, &record.next.order.requested()).is_none())
    }

    /// The request was edited since it was known to ask for what was ordered: only the record tells
    /// what that is.
    pub(super) fn is_edited_since(&self, order: &OrderStatus) -> bool {
        order.generation.is_some_and(|generation| generation != self.request.generation)
    }

    pub(super) fn last_words(&self) -> String {
        match &self.order.progress {
            Some(Progress { phase: Phase::Failed(failed), .. }) => failed.message.clone(),
            Some(_) | None => self
                .previous
                .order
                .as_ref()
                .and_then(|hint| hint.message.clone())
                .unwrap_or_default(),
        }
    }
}
