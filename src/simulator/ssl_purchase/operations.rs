//! What each operation comes to once its request has been let in.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::call::{Call, Outcome};
use super::issue::Authorities;
use super::operation::Operation;
use super::order::{Bought, Deed, Delivery, Order, duration};
use super::refusal::Refusal;
use super::request::{self, Asked};
use super::settings::{
    LaterReference, PendingCsr, Plan, ReferenceFilter, RenewalWindow, SiteSettings,
};
use super::{Site, document, files, settle};
use crate::simulator::authority::{DAY, shifted};
use crate::simulator::faults::Moment;
use crate::simulator::{id, lock};

/// What every operation but `token` has at hand.
struct Context {
    settings: SiteSettings,
    offers: Vec<(String, Plan)>,
    authorities: Arc<Authorities>,
    reseller: String,
    now: Timestamp,
}

impl Site {
    /// Steps 3 and 4 of the module's list.
    pub(super) async fn operate(
        &self,
        operation: Operation,
        call: &Call,
    ) -> Result<Outcome, Refusal> {
        let settings = lock(&self.0.settings).clone();
        if operation == Operation::Token {
            return self.token(&settings, call);
        }
        let reseller = self.authenticate(&settings, call)?;
        let offers = settings.offers(&self.0.name);
        let authorities = self
            .authorities_ready(settings.key_algorithm)
            .await
            .map_err(|_| Refusal::uncaught())?;
        let now = self.0.shared.now();
        let context = Context { settings, offers, authorities, reseller, now };
        match operation {
            Operation::Token => Err(Refusal::uncaught()),
            Operation::List => self.list(&context, call),
            Operation::Create => self.create(&context, call),
            Operation::Read => self.with_order(&context, call, |order| {
                Ok(document::order(&context.settings, order, false))
            }),
            Operation::Renew => self.renew(&context, call),
            Operation::Reissue => self.reissue(&context, call),
            Operation::Validate => self.validate(&context, call),
            Operation::Delete => self.delete(&context, call),
            Operation::DownloadZip
            | Operation::DownloadPkcs7
            | Operation::DownloadCrt
            | Operation::DownloadCa => self.download(&context, call, operation),
            Operation::DownloadCsr => self.download_csr(&context, call),
            Operation::ValidationDetails => self.with_order(&context, call, |order| {
                Ok(document::details(&context.settings, order))
            }),
            Operation::Plans => self.plans(&context, call),
            Operation::Plan => self.plan(&context, call),
            Operation::WritePlan => Err(Refusal::forbidden()),
        }
    }

    /// `GET /ssl-certificate`.
    fn list(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let settings = &context.settings;
        let plan = call.query("plan");
        if plan.is_some_and(|plan| !id::is("", plan)) {
            return Err(Refusal::field("plan", "This is no UUID.", "invalid"));
        }
        let reference = call.query("client_reference");
        let ledger =
            self.settled(settings, &context.authorities).map_err(|_| Refusal::uncaught())?;
        let mut hits: Vec<&Order> = ledger
            .orders
            .iter()
            .filter(|order| is_listed(context, order))
            .filter(|order| {
                plan.is_none_or(|plan| order.shown().is_some_and(|shown| shown.plan_id == plan))
            })
            .filter(|order| reference.is_none_or(|wanted| is_meant(settings, order, wanted)))
            .collect();
        // No order is documented. Random ids make one that stays the same and means nothing.
        hits.sort_by(|left, right| left.id.cmp(&right.id));
        let hits = hits.into_iter().map(|order| document::order(settings, order, true)).collect();
        Outcome::page(settings, call, hits)
    }

    /// `POST /ssl-certificate`.
    fn create(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let settings = &context.settings;
        let (plan_id, plan, asked) =
            request::for_plan(settings, &context.offers, &call.body, false)?;
        let reference = asked.field("client_reference").map(str::to_owned);
        // Held until the order is in it: two requests at once are one after the other.
        let mut ledger = lock(&self.0.ledger);
        if settings.refuses_known_references
            && reference.is_some()
            && ledger
                .orders
                .iter()
                .any(|order| order.reseller == context.reseller && order.reference == reference)
        {
            return Err(Refusal::new(409, "conflict", "There is an order with this reference."));
        }
        let copies = match std::mem::take(&mut lock(&self.0.settings).duplicate_next) {
            true => 2,
            false => 1,
        };
        self.pay(context, copies)?;
        let bought = self.bought(context, Deed::Create, Operation::Create, (plan_id, plan), asked);
        let mut first = None;
        for _ in 0..copies {
            let id = id::random("").map_err(|_| Refusal::uncaught())?;
            let number = 100_001 + ledger.orders.len() as u64;
            let reseller = context.reseller.clone();
            ledger.add(Order::new(settings, (id.clone(), number), reseller, bought.clone()));
            first.get_or_insert(id);
        }
        let id = first.ok_or_else(Refusal::uncaught)?;
        let order = ledger.get_mut(&id).ok_or_else(Refusal::uncaught)?;
        settle(order, settings, &context.authorities, context.now)
            .map_err(|_| Refusal::uncaught())?;
        let mut document = document::order(settings, order, false);
        if let Some(fields) = document.as_object_mut().filter(|_| settings.answers_without_id) {
            let name = settings.renames.get("id").map_or("id", String::as_str);
            fields.remove(name);
        }
        Ok(Outcome { made: Some((id, 0)), ..Outcome::result(settings, document) })
    }

    /// `POST /ssl-certificate/{id}/renew`.
    fn renew(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let settings = &context.settings;
        self.known(context, call, |order| {
            let (plan_id, plan, asked) =
                request::for_plan(settings, &context.offers, &call.body, true)?;
            let ends = is_open_to_change(order, settings.renews_while_pending)?;
            let certificate_ends = order.certificates.last().map(|found| found.not_after);
            let ends = match settings.renewal_window {
                RenewalWindow::Subscription => ends,
                RenewalWindow::Certificate => certificate_ends.unwrap_or(ends).min(ends),
            };
            let days = i32::try_from(plan.renew_days_before_expiration).unwrap_or(i32::MAX);
            if context.now < shifted(ends, -(DAY * days)) {
                let text = "The certificate cannot be renewed yet.";
                return Err(Refusal::new(400, "renewal_not_possible", text));
            }
            self.pay(context, 1)?;
            self.change(context, order, Deed::Renew, (plan_id, plan), asked)
        })
    }

    /// `POST /ssl-certificate/{id}/reissue`.
    fn reissue(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        self.known(context, call, |order| {
            let last = order.bought.last().ok_or_else(Refusal::uncaught)?;
            let offer = (last.plan_id.clone(), last.plan.clone());
            let asked = request::for_reissue(&context.settings, &offer.1, &call.body)?;
            is_open_to_change(order, false)?;
            self.change(context, order, Deed::Reissue, offer, asked)
        })
    }

    /// Buys something more under an order, and shows the order as it is at this moment.
    fn change(
        &self,
        context: &Context,
        order: &mut Order,
        deed: Deed,
        offer: (String, Plan),
        asked: Asked,
    ) -> Result<Outcome, Refusal> {
        let settings = &context.settings;
        let operation = if deed == Deed::Renew { Operation::Renew } else { Operation::Reissue };
        let given = asked.field("client_reference").map(str::to_owned);
        if settings.later_reference == LaterReference::Stored && given.is_some() {
            order.reference = given;
        }
        let bought = self.bought(context, deed, operation, offer, asked);
        match deed {
            Deed::Create | Deed::Renew => order.renew(settings, bought),
            Deed::Reissue => order.reissue(settings, bought),
        }
        settle(order, settings, &context.authorities, context.now)
            .map_err(|_| Refusal::uncaught())?;
        let document = document::order(settings, order, false);
        let made = Some((order.id.clone(), order.bought.len() - 1));
        Ok(Outcome { made, ..Outcome::result(settings, document) })
    }

    fn bought(
        &self,
        context: &Context,
        deed: Deed,
        operation: Operation,
        (plan_id, plan): (String, Plan),
        asked: Asked,
    ) -> Bought {
        let fault = self.0.faults.take(operation, Moment::Issuing);
        Bought { deed, on: context.now, asked, plan_id, plan, fault, delivery: Delivery::Dropped }
    }

    /// Takes the price of so many orders from the reseller's credit.
    fn pay(&self, context: &Context, orders: u32) -> Result<(), Refusal> {
        let mut settings = lock(&self.0.settings);
        let credit = settings
            .resellers
            .get_mut(&context.reseller)
            .and_then(|reseller| reseller.credit.as_mut());
        if let Some(credit) = credit {
            *credit = credit.checked_sub(orders).ok_or_else(|| {
                Refusal::new(402, "insufficient_funds", "Your credit is used up.")
            })?;
        }
        Ok(())
    }

    /// `POST /ssl-certificate/{id}/validate`.
    fn validate(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        self.with_order(context, call, |order| {
            let domains: Vec<String> =
                order.checks.iter().map(|check| check.domain.clone()).collect();
            let retry = request::retry(&context.settings, &domains, &call.body)?;
            let is_open = order.checks.iter().any(|check| check.counts_since().is_none());
            if !order.is_busy() || !is_open {
                return Err(Refusal::state("There is nothing to validate."));
            }
            order.ask_again(&retry, context.now);
            settle(order, &context.settings, &context.authorities, context.now)
                .map_err(|_| Refusal::uncaught())?;
            Ok(document::order(&context.settings, order, false))
        })
    }

    /// `DELETE /ssl-certificate/{id}`.
    fn delete(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        self.with_order(context, call, |order| {
            if order.deleted_on.is_some() {
                return Err(Refusal::state("The certificate is disabled already."));
            }
            if order.is_refundable(context.now) {
                order.is_refunded = true;
                let mut settings = lock(&self.0.settings);
                let reseller = settings.resellers.get_mut(&context.reseller);
                if let Some(credit) = reseller.and_then(|reseller| reseller.credit.as_mut()) {
                    *credit = credit.saturating_add(1);
                }
            }
            order.delete(&context.settings.deleted_state, context.now);
            Ok(Value::Null)
        })
    }

    /// `GET /ssl-certificate/{id}/download-{zip|pkcs7|crt|ca}`.
    fn download(
        &self,
        context: &Context,
        call: &Call,
        operation: Operation,
    ) -> Result<Outcome, Refusal> {
        let settings = &context.settings;
        self.known(context, call, |order| {
            let certificate = order
                .served(settings, context.now)
                .filter(|_| order.deleted_on.is_none())
                .ok_or_else(|| missing(settings))?;
            let bought = order.bought.get(certificate.of).ok_or_else(Refusal::uncaught)?;
            let (name, content) = files::of_certificate(settings, operation, bought, certificate)
                .ok_or_else(Refusal::uncaught)?;
            Ok(Outcome::file(&name, content))
        })
    }

    /// `GET /ssl-certificate/{id}/download-csr`.
    fn download_csr(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let settings = &context.settings;
        self.known(context, call, |order| {
            let before = order.certificates.last().and_then(|last| order.bought.get(last.of));
            let bought = match (order.is_busy(), settings.pending_csr) {
                (false, _) | (true, PendingCsr::New) => order.shown(),
                (true, PendingCsr::Old) => before,
                (true, PendingCsr::Missing) => None,
            };
            let bought =
                bought.filter(|_| order.deleted_on.is_none()).ok_or_else(|| missing(settings))?;
            let (name, content) = files::of_request(settings, bought);
            Ok(Outcome::file(&name, content))
        })
    }

    /// `GET /ssl-certificate-plan`.
    fn plans(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let settings = &context.settings;
        if settings.plans_forbidden {
            return Err(Refusal::forbidden());
        }
        let ids: Option<Vec<&str>> = call.query("id").map(|ids| ids.split(',').collect());
        if ids.iter().flatten().any(|one| !id::is("", one)) {
            return Err(Refusal::field("id", "This is no UUID.", "invalid"));
        }
        let name = call.query("name").map(str::to_lowercase);
        let hits = context
            .offers
            .iter()
            .filter(|(id, _)| ids.as_ref().is_none_or(|ids| ids.contains(&id.as_str())))
            .filter(|(_, plan)| {
                name.as_ref().is_none_or(|name| plan.name.to_lowercase().contains(name))
            })
            .map(|(id, plan)| document::plan(settings, &self.0.name, id, plan))
            .collect();
        Outcome::page(settings, call, hits)
    }

    /// `GET /ssl-certificate-plan/{id}`.
    fn plan(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let settings = &context.settings;
        if settings.plans_forbidden {
            return Err(Refusal::forbidden());
        }
        let found = context.offers.iter().find(|(id, _)| *id == call.id);
        let (id, plan) = found.ok_or_else(Refusal::not_found)?;
        Ok(Outcome::result(settings, document::plan(settings, &self.0.name, id, plan)))
    }

    /// An operation on one order whose answer is a result.
    fn with_order(
        &self,
        context: &Context,
        call: &Call,
        answer: impl FnOnce(&mut Order) -> Result<Value, Refusal>,
    ) -> Result<Outcome, Refusal> {
        self.known(context, call, |order| {
            answer(order).map(|result| Outcome::result(&context.settings, result))
        })
    }

    /// An operation on the order that the path names, if the API knows it.
    fn known<T>(
        &self,
        context: &Context,
        call: &Call,
        answer: impl FnOnce(&mut Order) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let settings = &context.settings;
        let mut ledger = lock(&self.0.ledger);
        let order = ledger
            .get_mut(&call.id)
            .filter(|order| order.reseller == context.reseller && !is_gone(settings, order))
            .filter(|order| has_passed(order, settings.missing_seconds, context.now))
            .ok_or_else(Refusal::not_found)?;
        settle(order, settings, &context.authorities, context.now)
            .map_err(|_| Refusal::uncaught())?;
        answer(order)
    }
}

fn missing(settings: &SiteSettings) -> Refusal {
    let text = "The file is not available.";
    Refusal::new(settings.files_missing_status, "not_available", text)
}

fn is_gone(settings: &SiteSettings, order: &Order) -> bool {
    order.is_forgotten || settings.deleted_are_gone && order.deleted_on.is_some()
}

fn has_passed(order: &Order, seconds: f64, now: Timestamp) -> bool {
    shifted(order.created_on, duration(seconds)) <= now
}

/// Whether lists have the order at all at this time.
fn is_listed(context: &Context, order: &Order) -> bool {
    let settings = &context.settings;
    let is_omitted = settings.list_omits_pending && order.certificates.is_empty();
    let is_hidden = is_gone(settings, order) || settings.list_forgets || is_omitted;
    order.reseller == context.reseller
        && !is_hidden
        && has_passed(order, settings.list_lag_seconds, context.now)
}

/// Whether a list filtered by this reference has the order.
fn is_meant(settings: &SiteSettings, order: &Order, wanted: &str) -> bool {
    let reference = order.reference.as_deref().unwrap_or_default();
    match settings.reference_filter {
        ReferenceFilter::Exact => reference == wanted,
        ReferenceFilter::Prefix => reference.starts_with(wanted),
        ReferenceFilter::Ignored => true,
    }
}

/// Whether the order can be renewed or reissued, and when its subscription ends.
fn is_open_to_change(order: &Order, while_pending: bool) -> Result<Timestamp, Refusal> {
    let state = order.state();
    if order.is_busy() && !while_pending {
        return Err(Refusal::state(format!("The certificate is {state}.")));
    }
    order
        .subscription_ends
        .filter(|_| order.deleted_on.is_none() && state != "expired")
        .ok_or_else(|| Refusal::state(format!("The certificate is {state}.")))
}
