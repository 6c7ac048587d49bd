//! Which kind of order is made: a first one, or one that follows the certificate that is there.

use std::sync::Arc;

use crate::api::annotation;
use crate::ca::{Capabilities, OrderKind, Previous};
use crate::issuance::certificate::reissue::{Reissue, reissue};
use crate::issuance::certificate::requested::Requested;
use crate::issuance::certificate::standing::Standing;
use crate::issuance::observation::{Account, Observation};
use crate::issuance::order::record::{Record, Slot};

/// The certificate that is there, as far as an order could follow it.
#[derive(Clone, Debug)]
struct Before {
    /// It was requested of the same tenant, as far as both are known: unknown is another.
    is_same_tenant: bool,
    /// It has not expired: nobody takes its word after that, though its order may go on.
    is_valid: bool,
    /// It is for the key of an order in the record, at the same tenant. What is told of it otherwise
    /// stands on the target, where whoever may write Secrets can write another's.
    is_ordered: bool,
    /// What is known of it.
    previous: Previous,
}

impl Observation {
    /// The kind of order that is due for `due`.
    pub(in crate::issuance) fn order_kind(
        &self,
        standing: &Standing,
        due: &Reissue,
        account: &Account,
    ) -> OrderKind {
        kind(&account.capabilities, due, self.before(standing, account))
    }

    /// Whether somebody asked for another certificate now, and it is not only that the time has come.
    pub fn is_requested(&self) -> bool {
        reissue(self, &self.standing()) == Some(Reissue::RenewalRequested)
    }

    fn before(&self, standing: &Standing, account: &Account) -> Option<Before> {
        let requested = standing.held()?.requested.as_ref();
        let target = self.live_target()?;
        let key = self.key_in(target)?;
        let leaf = target.chain.iter().find(|one| one.spki_der() == key.spki_der())?;
        // Whoever brings credentials of their own has a tenant of their own, that nobody notes.
        let tenant = requested.and_then(|requested| requested.text(Requested::ACCOUNT));
        Some(Before {
            is_same_tenant: self.request.credentials.is_none()
                && tenant.is_some_and(|tenant| !self.is_elsewhere(tenant, account)),
            is_valid: leaf.not_after() > self.now,
            is_ordered: self.is_of_an_order(leaf.spki_der(), account),
            previous: Previous {
                id: target.metadata.annotations.get(annotation::ORDER_ID).cloned(),
                certificate: leaf.clone(),
                key: key.private().cloned(),
            },
        })
    }
}

impl Observation {
    /// Whether the record has an order for this public key, made at the tenant of now.
    fn is_of_an_order(&self, spki_der: &[u8], account: &Account) -> bool {
        let slots = self.record().into_iter().flat_map(|record| {
            let Record { next, issued, .. } = record;
            std::iter::once(next).chain(issued)
        });
        let is_it = |slot: &Slot| slot.key().is_some_and(|key| key.spki_der() == spki_der);
        slots
            .filter(|slot| is_it(slot))
            .any(|slot| !self.is_elsewhere(&slot.order.account, account))
    }
}

/// The kind of order that is due for `due`.
///
/// A certificate that is gone or altered proves nothing, and one of another issuer may be of another
/// product: such an order follows none.
fn kind(can: &Capabilities, due: &Reissue, before: Option<Before>) -> OrderKind {
    let Some(before) = before.filter(|before| before.is_same_tenant) else {
        return OrderKind::New;
    };
    let goes_on = match due {
        Reissue::NearingExpiry | Reissue::RenewalRequested => true,
        Reissue::InputsDiffer(_) | Reissue::KeyKindChanged => false,
        Reissue::AccountChanged
        | Reissue::IssuerChanged
        | Reissue::NeverIssued
        | Reissue::SecretAltered(_)
        | Reissue::SecretMissing => return OrderKind::New,
    };
    let Before { is_valid, is_ordered, previous, .. } = before;
    if can.kinds.update_key && is_valid && previous.key.is_some() {
        return OrderKind::UpdateKey(Arc::new(previous));
    }
    // The old key leaves for a CA that is asked with it, and for no other.
    let previous = Previous { key: None, ..previous };
    if previous.id.is_none() || !is_ordered {
        return OrderKind::New;
    }
    match goes_on {
        true if can.kinds.renew => OrderKind::Renew(Arc::new(previous)),
        false if can.kinds.reissue => OrderKind::Reissue(Arc::new(previous)),
        true | false => OrderKind::New,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::OrderKinds;
    use crate::issuance::fixtures::{self, account, days, issued, kept, key, now};

    const ALL: OrderKinds = OrderKinds { renew: true, reissue: true, update_key: true };
    const BY_ID: OrderKinds = OrderKinds { update_key: false, ..ALL };

    fn before() -> Before {
        let previous = Previous {
            id: Some("id-1".to_owned()),
            certificate: issued(&key(1), now()).remove(0),
            key: Some(key(1)),
        };
        Before { is_same_tenant: true, is_valid: true, is_ordered: true, previous }
    }

    fn with(change: impl FnOnce(&mut Before)) -> Option<Before> {
        let mut before = before();
        change(&mut before);
        Some(before)
    }

    #[test]
    fn a_renewal_is_requested_by_the_annotation_alone() {
        let asked = fixtures::with(kept(), |seen| seen.request.renew = Some("now".to_owned()));
        assert!(asked.is_requested());
        assert!(!kept().is_requested());
        let late = fixtures::with(kept(), |seen| seen.now += days(3650));
        assert!(!late.is_requested());
    }

    #[test]
    fn the_kind_of_an_order_hangs_on_the_ca_the_cause_and_the_certificate_that_is_there() {
        use Reissue::*;
        let renew_only = OrderKinds { renew: true, ..OrderKinds::default() };
        let rows = [
            ("the first", ALL, NeverIssued, None, "new"),
            (
                "a CA that makes first orders only",
                OrderKinds::default(),
                NearingExpiry,
                with(|_| {}),
                "new",
            ),
            ("it ends: it is renewed by its id", BY_ID, NearingExpiry, with(|_| {}), "renew"),
            ("somebody asked", BY_ID, RenewalRequested, with(|_| {}), "renew"),
            (
                "other names within the term",
                BY_ID,
                InputsDiffer("dnsNames"),
                with(|_| {}),
                "reissue",
            ),
            ("another kind of key", BY_ID, KeyKindChanged, with(|_| {}), "reissue"),
            (
                "a CA that renews and does not reissue",
                renew_only,
                KeyKindChanged,
                with(|_| {}),
                "new",
            ),
            ("its key proves who asks", ALL, NearingExpiry, with(|_| {}), "updateKey"),
            ("also for other names", ALL, InputsDiffer("dnsNames"), with(|_| {}), "updateKey"),
            (
                "its key stayed with whoever brought the CSR",
                ALL,
                NearingExpiry,
                with(|before| before.previous.key = None),
                "renew",
            ),
            (
                "its id is not known",
                BY_ID,
                NearingExpiry,
                with(|before| before.previous.id = None),
                "new",
            ),
            (
                "it was not ordered here: its id may be that of another's order",
                BY_ID,
                NearingExpiry,
                with(|before| before.is_ordered = false),
                "new",
            ),
            (
                "it was not ordered here: nothing is ended with its id",
                BY_ID,
                InputsDiffer("dnsNames"),
                with(|before| before.is_ordered = false),
                "new",
            ),
            (
                "another tenant, or nobody knows: neither key nor id goes there",
                ALL,
                NearingExpiry,
                with(|before| before.is_same_tenant = false),
                "new",
            ),
            (
                "an expired one proves nothing, and its order may be paid for longer",
                ALL,
                NearingExpiry,
                with(|before| before.is_valid = false),
                "renew",
            ),
            (
                "an expired one of a CA that goes by keys alone",
                OrderKinds { update_key: true, ..OrderKinds::default() },
                NearingExpiry,
                with(|before| before.is_valid = false),
                "new",
            ),
            ("another account", ALL, AccountChanged, with(|_| {}), "new"),
            ("another issuer", ALL, IssuerChanged, with(|_| {}), "new"),
            ("an altered Secret", ALL, SecretAltered("tls.crt"), with(|_| {}), "new"),
            ("no Secret", ALL, SecretMissing, None, "new"),
        ];
        for (name, kinds, due, before, expected) in rows {
            let can = Capabilities { kinds, ..account().capabilities };
            let kind = kind(&can, &due, before);
            assert_eq!(kind.word(), expected, "{name}");
            let key = kind.previous().and_then(|previous| previous.key.as_ref());
            assert_eq!(key.is_some(), expected == "updateKey", "{name}: the old key");
        }
    }
}
