//! Whether what was bought is what is asked for: the same tenant and product at the CA, as resolved
//! ids, and what the request says.
//!
//! Words are not what they name. The name of an issuer, the address of a CA, a product by name or by
//! id: where they are others, the ids they stand for are compared. Unknown is never a difference. And
//! only an edit of the *request* asks for another certificate: what an issuer stands for now shows at
//! the next issuance.

use serde_json::Value;

use super::reissue::Reissue;
use super::requested::Requested;
use super::standing::Standing;
use crate::ca::tenant::{Relation, Tenant};
use crate::issuance::observation::{IssuerState, Observation, StandsFor};
use crate::issuance::step::Step;

impl Observation {
    /// Why what was requested with `stored` is for something else than what is wanted now, by the
    /// ids of tenant and product.
    pub(in crate::issuance) fn bought_for_another(&self, stored: &Requested) -> Option<Reissue> {
        let wanted = self.wanted();
        let tenants = tenants(stored, &wanted);
        let relation = tenants.as_ref().map(|(one, other)| one.relation(other));
        let are_users =
            tenants.as_ref().is_some_and(|(one, other)| one.is_user() && other.is_user());
        let is_another_issuer = stored.differs(&wanted, Requested::ISSUER);
        if are_users && relation == Some(Relation::Other) {
            // The user is whom it is for.
            let is_moved =
                if is_another_issuer { Reissue::IssuerChanged } else { Reissue::AccountChanged };
            return Some(is_moved);
        }
        if !stored.names_otherwise(&wanted) {
            return None;
        }
        let is_free = self.account.as_ref().is_some_and(|account| !account.capabilities.billable);
        let is_another_tenant = match relation {
            Some(Relation::Other) => true,
            Some(Relation::Moved) => are_users,
            Some(Relation::Same) => false,
            // One too many costs nothing there, and one too few would be another CA's.
            Some(Relation::Unknown) | None => is_free,
        };
        if is_another_issuer && is_another_tenant {
            return Some(Reissue::IssuerChanged);
        }
        let is_another_product = match (self.product_of(stored), self.product_of(&wanted)) {
            (Some(one), Some(other)) => one != other,
            _ => false,
        };
        match (is_another_product, is_another_issuer) {
            (true, true) => Some(Reissue::IssuerChanged),
            (true, false) => Some(Reissue::InputsDiffer(Requested::PRODUCT)),
            (false, _) => None,
        }
    }

    /// Whether what was requested with `stored` is not what is wanted now. Taking the annotation that
    /// asks for a renewal away asks for nothing.
    pub(in crate::issuance) fn asks_for_another(&self, stored: &Requested) -> bool {
        let wanted = self.wanted();
        let renews =
            wanted.text(Requested::RENEW).is_some() && stored.differs(&wanted, Requested::RENEW);
        renews || stored.differs_in_itself(&wanted) || self.bought_for_another(stored).is_some()
    }

    /// The step that finds out what the words of the request stand for, where they are others than
    /// before and nobody knows yet.
    pub(in crate::issuance) fn unresolved(&self, standing: &Standing) -> Option<Step> {
        let IssuerState::Ready { .. } = self.issuer else { return None };
        let wanted = self.wanted();
        let held = standing.held().and_then(|held| held.requested.clone());
        let ordered = self.record().map(|record| record.next.order.requested());
        let others: Vec<Requested> = [held, ordered]
            .into_iter()
            .flatten()
            .filter(|stored| {
                stored.names_otherwise(&wanted)
                    // What differs anyhow needs no answer.
                    && !stored.differs_in_itself(&wanted)
                    && self.bought_for_another(stored).is_none()
            })
            .collect();
        if others.is_empty() {
            return None;
        }
        if self.account.is_none() {
            return Some(Step::OpenAccount);
        }
        let stored = others.iter().filter(|one| one.text(Requested::PRODUCT).is_none());
        let mut unknown: Vec<Value> = [&wanted]
            .into_iter()
            .chain(stored)
            .map(Requested::block)
            .filter(|words| !self.products.has(words))
            .collect();
        unknown.dedup();
        (!unknown.is_empty()).then_some(Step::Resolve(unknown))
    }

    /// What the certificate is noted to be requested with, in the words of now, where those name the
    /// same as before.
    pub(in crate::issuance) fn in_other_words(&self, stored: &Requested) -> Option<Requested> {
        let wanted = self.wanted();
        if !stored.names_otherwise(&wanted) {
            return None;
        }
        let (before, now) = tenants(stored, &wanted)?;
        let is_same_tenant = match before.relation(&now) {
            Relation::Same => true,
            // A client's id is one and the same wherever it is known.
            Relation::Moved => !now.is_user(),
            Relation::Other | Relation::Unknown => false,
        };
        let product = self.product_of(&wanted);
        let is_same_product =
            self.products.has(&wanted.block()) && product == self.product_of(stored);
        (is_same_tenant && is_same_product)
            .then(|| stored.clone().in_words_of(&wanted).with_product(product.as_deref()))
    }

    /// What the issuer stands for now, where that is not what the certificate was bought for: it
    /// shows at the next issuance.
    #[must_use]
    pub(in crate::issuance) fn waits_for_renewal(&self, stored: &Requested) -> Option<String> {
        let StandsFor { account, product } = &self.stands_for;
        let wanted = self.wanted();
        if stored.names_otherwise(&wanted) || self.bought_for_another(stored).is_some() {
            return None;
        }
        // Whoever brings credentials of their own has an account of their own.
        let account = account.as_deref().filter(|_| self.request.credentials.is_none())?;
        let (before, now) = (stored.text(Requested::ACCOUNT)?, Tenant::parse(account));
        if Tenant::parse(before).relation(&now) == Relation::Other {
            return Some(now.to_string());
        }
        let before = stored.text(Requested::PRODUCT)?;
        let now = product.as_deref().filter(|_| wanted.names_no_product())?;
        (before != now).then(|| format!("product {now} in place of {before}"))
    }

    fn product_of(&self, requested: &Requested) -> Option<String> {
        let noted = requested.text(Requested::PRODUCT);
        noted.or_else(|| self.products.get(&requested.block())).map(str::to_owned)
    }
}

fn tenants(stored: &Requested, wanted: &Requested) -> Option<(Tenant, Tenant)> {
    let tenant = |one: &Requested| one.text(Requested::ACCOUNT).map(Tenant::parse);
    Some((tenant(stored)?, tenant(wanted)?))
}
