//! The SSL purchase API of a reseller (Resello, `/ssl-certificate`): certificates cost money, come
//! about in time, and are renewed and reissued by the id of their order.
//!
//! The API has no idempotency key. The one value of ours that it stores with an order, and filters its
//! list by, is `client_reference`. Its documentation leaves all answers and all errors empty: what they
//! hold is known from public clients of the same platform, or not at all. Where it is not known, any
//! form is understood, what matters is told from the certificate itself, and what cannot be told is
//! waited for. It was never tried against the real service.
//!
//! # Invariants
//! - One submit makes one request that can buy something. It is repeated after a 401 alone, which
//!   precedes all processing, and then once.
//! - A submit counts as accepted only with the id of an order, and as refused only where `errors` has a
//!   reason why nothing can have been bought.
//! - A first order is absent only if the whole list was read. One that follows another is never absent:
//!   the order it follows has moved on, or nobody knows.
//! - Nothing is bought for what is paid already.
//!
//! # Caveats
//! - A reissue ends the certificate before at once.

mod challenges;
mod client;
mod errors;
mod follow;
mod kind;
mod plans;
mod prepared;
mod search;
mod states;
mod wire;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize as _;

use self::client::{Client, Filter, PAGES};
use self::errors::{Certainty, Problem};
use self::follow::{Follower, Memory};
pub(super) use self::kind::KIND;
use self::plans::{ChosenBy, Standing, Way};
use self::prepared::{Block, Prepared};
use self::search::Likeness;
use self::states::{Stage, Words};
use self::wire::{Plan, Sold, Validate};
use super::kind::Opening;
use super::{
    AccountReport, Answer, Blocks, Capabilities, CertificateAuthority, Challenge, Found,
    KeyEvidence, Lookup, OpenOrder, Order, OrderKind, OrderKinds, Permit, Phase, Preparation,
    Previous, Progress, Proof, RevocationReason, Submitted, Wanted,
};
use crate::api::{SslPurchase as Settings, SslPurchaseDcv, SslPurchasePlan, SslPurchaseReissue};
use crate::outside::{Disposition, Error};
use crate::pki::csr::Csr;
use crate::pki::{self, Certificate, KeyKind, Names};
use crate::reason::Reason;

/// Its block in the spec of an Issuer, and in that of a request.
const FIELD: &str = "sslPurchase";
/// What it is called in messages.
const NAME: &str = "SSL purchase API";
/// Beginning of every name that Chancery gives to an order.
const NAME_TAG: &str = "chancery-";
/// So often the search by name is tried, until it has found an order; twelve tries take an hour.
const SEARCH_TRIES: u32 = 12;
/// So many orders without a name are looked at one by one.
const LOOKS: usize = 20;
/// An order that is paid is looked at again so often: a person may allow more.
const PAID_PAUSE: Duration = Duration::from_secs(3600);

/// One account at a reseller.
pub struct SslPurchase {
    settings: Settings,
    client: Client,
    capabilities: Capabilities,
    words: Words,
    /// Plans that were asked for by their names.
    plans: Mutex<HashMap<String, Plan>>,
    memory: Memory,
    /// A search by name has found an order.
    has_found: AtomicBool,
    search_tries: AtomicU32,
}

impl SslPurchase {
    /// The account that `settings` names.
    ///
    /// # Errors
    /// When there are no credentials, or an address is not a URL.
    pub fn new(settings: &Settings, with: Opening) -> Result<Self, Error> {
        let deadline = with.deadline;
        let window: Option<jiff::SignedDuration> = settings.settle_window.parse().ok();
        let window = window.and_then(|window| Duration::try_from(window).ok());
        let settle_window = window.ok_or_else(|| Error {
            disposition: Disposition::BlameIssuer,
            reason: Reason::SettingsInvalid,
            message: "spec.sslPurchase.settleWindow is not a duration such as 15m".to_owned(),
        })?;
        let mut key_kinds = vec![KeyKind::Rsa2048, KeyKind::Rsa3072, KeyKind::Rsa4096];
        if settings.allow_ecdsa {
            key_kinds.extend([KeyKind::EcdsaP256, KeyKind::EcdsaP384]);
        }
        Ok(Self {
            client: Client::new(settings, with)?,
            capabilities: Capabilities {
                name: NAME,
                key_kinds,
                key_kinds_field: Some("spec.sslPurchase.allowEcdsa"),
                duration: false,
                billable: true,
                asynchronous: true,
                // Nothing but the header says whose orders a list shows: those of another account
                // would make ours absent.
                searchable: settings.authentication.header.is_none(),
                // A submit may take as long as a call may before the order is there, and so may the
                // search.
                settle_window: settle_window.max(deadline * 2),
                kinds: OrderKinds {
                    renew: true,
                    reissue: settings.reissue_policy == SslPurchaseReissue::Always,
                    update_key: false,
                },
                ..Capabilities::default()
            },
            words: Words::new(settings.status_words.as_ref()),
            plans: Mutex::default(),
            memory: Memory::default(),
            has_found: AtomicBool::new(false),
            search_tries: AtomicU32::new(0),
            settings: settings.clone(),
        })
    }

    fn follower(&self) -> Follower<'_> {
        let plan = self.settings.plan.as_ref().and_then(|plan| plan.id.as_deref());
        Follower { client: &self.client, memory: &self.memory, words: &self.words, plan }
    }

    fn known_plans(&self) -> std::sync::MutexGuard<'_, HashMap<String, Plan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plan that is bought, in the words of the request or else of the Issuer.
    fn wanted_plan(&self, block: &Block) -> Result<(SslPurchasePlan, ChosenBy), Error> {
        let own = block.product.clone().map(|plan| (plan, ChosenBy::Request));
        let issuers = || Some((self.settings.plan.clone()?, ChosenBy::Issuer));
        own.or_else(issuers).ok_or_else(|| {
            reject(
                Reason::ProductMissing,
                "neither the request nor its issuer names a plan: set spec.sslPurchase.plan in one of them",
            )
        })
    }

    /// Its id: as it is written, and by its name from the list of plans.
    async fn plan_id(
        &self,
        wanted: &SslPurchasePlan,
        chosen_by: ChosenBy,
    ) -> Result<String, Error> {
        let (name, id) = (wanted.name.as_deref(), wanted.id.as_deref());
        if let Some(id) = id {
            return Ok(id.to_owned());
        }
        let name = name.unwrap_or_default();
        if let Some(plan) = self.known_plans().get(name) {
            return Ok(plan.id.clone());
        }
        Ok(self.plan_named(name, chosen_by).await?.id)
    }

    /// The plan of this name, from the API.
    async fn plan_named(&self, name: &str, chosen_by: ChosenBy) -> Result<Plan, Error> {
        let listed = match self.client.plans(("name", name)).await {
            Ok(listed) => listed,
            Err(problem) if problem.is_not_offered() => {
                return Err(Error {
                    disposition: chosen_by.disposition(),
                    reason: Reason::ProductNotFound,
                    message: format!(
                        "{}; without the list of plans none is found by its name: give the id in {}",
                        problem.error.message,
                        chosen_by.field()
                    ),
                });
            }
            Err(problem) => return Err(problem.error),
        };
        let plan = plans::named(&listed.found, name, chosen_by)?.clone();
        if let Some(doubt) = listed.doubt {
            return Err(Error {
                disposition: Disposition::Internal,
                reason: Reason::ProductNotFound,
                message: format!(
                    "whether another plan is called the same is not known, for {doubt}: give the id in {}",
                    chosen_by.field()
                ),
            });
        }
        self.known_plans().insert(name.to_owned(), plan.clone());
        Ok(plan)
    }

    /// The plan with this id, where the API tells of it.
    async fn plan_with(&self, id: &str) -> Result<Option<Plan>, Problem> {
        match self.client.plans(("id", id)).await {
            Ok(listed) => {
                Ok(listed.found.into_iter().find(|plan| plan.id.eq_ignore_ascii_case(id)))
            }
            Err(problem) if problem.is_not_offered() => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Which order follows the one before, with the name that that one has, and the plan that it is
    /// of then.
    async fn way(
        &self,
        (kind, is_requested): (&OrderKind, bool),
        previous: &Arc<Previous>,
        plan: &str,
    ) -> Result<(OrderKind, Option<String>, String), Error> {
        let wanted = match kind {
            OrderKind::Reissue(_) => plans::Wanted::Reissue,
            OrderKind::New | OrderKind::Renew(_) | OrderKind::UpdateKey(_) => {
                plans::Wanted::Renewal { is_requested }
            }
        };
        let id = previous.id.as_deref().unwrap_or_default();
        let sold = match self.client.one(id).await {
            Ok(sold) => Some(sold),
            // What is still valid may be paid for months, and one answer is no proof that it is gone.
            Err(problem) if problem.is_not_found() => {
                if previous.certificate.not_after() > self.client.now() {
                    return Err(unknown_order(id, &problem));
                }
                None
            }
            Err(problem) => return Err(problem.error),
        };
        let of = sold.as_ref().and_then(|sold| sold.plan.clone());
        let of = of.filter(|of| wire::is_id(of)).unwrap_or_else(|| plan.to_owned());
        let told = match sold {
            Some(_) => self.plan_with(&of).await.map_err(|problem| problem.error)?,
            None => None,
        };
        let now = self.client.now();
        let told_end = sold.as_ref().and_then(|sold| sold.paid_until);
        let months = told.as_ref().and_then(|plan| plan.months);
        let first_end = sold.as_ref().and_then(|sold| plans::later(sold.created?, months?));
        let not_after = previous.certificate.not_after();
        let order = Standing {
            stage: sold.as_ref().map(|sold| self.words.read(&sold.status).1),
            is_of_plan: of.eq_ignore_ascii_case(plan),
            paid_until: plans::paid_until(not_after, [told_end, first_end]),
            certificate_ends: not_after,
            window: told.and_then(|plan| plan.renew_days).unwrap_or(self.settings.renewal_window),
        };
        let reference = sold.as_ref().and_then(|sold| sold.reference.clone());
        match plans::way(wanted, &order, self.settings.reissue_policy, now) {
            Way::Anew => Ok((OrderKind::New, None, plan.to_owned())),
            Way::Renew => Ok((OrderKind::Renew(Arc::clone(previous)), reference, plan.to_owned())),
            // It stays with the plan that it was bought for.
            Way::Reissue => Ok((OrderKind::Reissue(Arc::clone(previous)), reference, of)),
            Way::Busy => {
                let status = sold.map(|sold| sold.status).unwrap_or_default();
                let (state, stage) = self.words.read(&status);
                let move_on = match stage {
                    Stage::Open(states::UNKNOWN) => format!(
                        ", a state that is in no list: nothing was bought; ask the reseller what {state} means, and add it to spec.sslPurchase.statusWords of the issuer"
                    ),
                    Stage::Open(_) | Stage::Issued | Stage::Failed(..) | Stage::Suspended => {
                        ", which Chancery did not start: nothing was bought; see there what it waits for".to_owned()
                    }
                };
                Err(Error {
                    disposition: Disposition::Retry { after: None },
                    reason: Reason::Refused,
                    message: format!("order {id} is {state} at the reseller{move_on}"),
                })
            }
            Way::TooEarly { opens } => {
                let until = order.paid_until;
                let wait = Duration::try_from(opens.duration_since(now)).unwrap_or(PAID_PAUSE);
                Err(Error {
                    disposition: Disposition::Retry { after: Some(wait.min(PAID_PAUSE)) },
                    reason: Reason::RenewalTooEarly,
                    message: format!(
                        "order {id} is paid until {until} and can be renewed from {opens} on: nothing was bought; {}",
                        match self.settings.reissue_policy {
                            SslPurchaseReissue::Always =>
                                "its certificate lasts as long, so that another one of this term would gain nothing; set spec.renewBefore of the request to less to hear of it later",
                            SslPurchaseReissue::Never | SslPurchaseReissue::OnRequest =>
                                "to have its certificate reissued before, which ends the one that is there at once, set spec.sslPurchase.reissuePolicy of the issuer to Always, or to OnRequest and the annotation chancery.dev/renew of the request to a new value",
                        }
                    ),
                })
            }
        }
    }

    /// Looks once for an order that is there, so that it is known whether the search by name finds
    /// orders, before one has to be looked for whose answer was lost.
    async fn try_search(&self, orders: &[OpenOrder]) {
        if self.has_found_orders() {
            return;
        }
        // The oldest, after twice the time with each try: a list may lag for minutes.
        let tries = self.search_tries.load(Ordering::Acquire);
        let now = self.client.now();
        let is_due = |order: &&OpenOrder| {
            now.duration_since(order.since).as_secs() >= (1_i64 << tries.min(SEARCH_TRIES)) - 1
        };
        let firsts = orders.iter().filter(|order| order.replaces.is_none());
        let oldest = firsts.min_by_key(|order| order.since).filter(is_due);
        let Some(order) = oldest.filter(|_| tries < SEARCH_TRIES) else {
            return;
        };
        self.search_tries.fetch_add(1, Ordering::AcqRel);
        let filter = Filter { plan: None, reference: Some(&order.reference) };
        let is_it = |one: &Sold| search::likeness(one, &order.reference) == Likeness::Named;
        let found = self.client.orders(filter, 1, is_it).await;
        if found.is_ok_and(|found| !found.found.is_empty()) {
            self.has_found.store(true, Ordering::Release);
        }
    }

    /// All orders that carry our name or, where the API shows no name, are for our key.
    async fn candidates(
        &self,
        order: &Order<'_>,
        spki_der: &[u8],
    ) -> Result<(Vec<Sold>, Option<String>), Problem> {
        let filter = Filter { plan: None, reference: Some(order.reference) };
        let may_be = |one: &Sold| search::likeness(one, order.reference) != Likeness::Another;
        let listed = self.client.orders(filter, PAGES, may_be).await?;
        let mut doubt = listed.doubt;
        let mut candidates = Vec::new();
        for (at, sold) in listed.found.into_iter().enumerate() {
            if search::likeness(&sold, order.reference) == Likeness::Named {
                candidates.push(sold);
                continue;
            }
            if at >= LOOKS {
                doubt.get_or_insert_with(|| {
                    format!("the list shows more than {LOOKS} orders without a client_reference")
                });
                break;
            }
            let whole = match self.client.one(&sold.id).await {
                Ok(whole) => whole,
                Err(problem) if problem.is_not_found() => {
                    doubt.get_or_insert_with(|| {
                        format!("order {} is in the list and cannot be looked at", sold.id)
                    });
                    continue;
                }
                Err(problem) => return Err(problem),
            };
            match search::likeness(&whole, order.reference) {
                Likeness::Named => candidates.push(whole),
                Likeness::Another => {}
                Likeness::Nameless => match self.evidence(&whole, spki_der, None).await? {
                    KeyEvidence::Ours => candidates.push(whole),
                    KeyEvidence::Foreign => {}
                    KeyEvidence::None => {
                        doubt.get_or_insert_with(|| {
                            format!(
                                "order {} shows neither a client_reference nor its key",
                                sold.id
                            )
                        });
                    }
                },
            }
        }
        if !candidates.is_empty() {
            self.has_found.store(true, Ordering::Release);
        } else if let Some(id) = order.id.filter(|id| wire::is_id(id)) {
            match self.client.one(id).await {
                Ok(one) if search::likeness(&one, order.reference) == Likeness::Named => {
                    candidates.push(one);
                }
                Ok(one) => match self.evidence(&one, spki_der, None).await? {
                    KeyEvidence::Ours => candidates.push(one),
                    KeyEvidence::Foreign | KeyEvidence::None => {
                        doubt.get_or_insert_with(|| {
                            format!("order {id} is there and does not carry our client_reference")
                        });
                    }
                },
                Err(problem) if problem.is_not_found() => {}
                Err(problem) => return Err(problem),
            }
        }
        Ok((candidates, doubt))
    }

    /// Whose key an order is for, by the CSR that the API shows. `before` is the key of the certificate
    /// that it follows.
    async fn evidence(
        &self,
        sold: &Sold,
        spki_der: &[u8],
        before: Option<&[u8]>,
    ) -> Result<KeyEvidence, Problem> {
        if let Some(csr) = &sold.csr {
            let told = search::by_csr(csr.as_bytes(), spki_der, before);
            if told != KeyEvidence::None {
                return Ok(told);
            }
        }
        Ok(match self.client.csr(&sold.id).await? {
            Some(csr) => search::by_csr(&csr, spki_der, before),
            None => KeyEvidence::None,
        })
    }

    /// An order that was found. That it exists counts for more than what cannot be read of it now.
    async fn found(&self, sold: &Sold, spki_der: &[u8], previous: Option<&Previous>) -> Found {
        let serial = previous.map(Previous::serial);
        let phase = match self.follower().phase(sold, serial).await {
            Ok(phase) => phase,
            Err(_) => self.plain_phase(sold),
        };
        let evidence = match &phase {
            Phase::Issued(certificates) => search::by_certificates(certificates, spki_der),
            Phase::Pending(_) | Phase::Failed(_) => {
                let before = previous.map(|previous| previous.certificate.spki_der());
                let told = self.evidence(sold, spki_der, before).await;
                told.unwrap_or(KeyEvidence::None)
            }
        };
        let progress = Progress { id: Some(sold.id.clone()), named: true, phase };
        Found { progress, evidence, created: sold.created }
    }

    fn plain_phase(&self, sold: &Sold) -> Phase {
        follow::plain_phase(&self.words, sold, |text| self.client.scrub(text))
    }

    /// Whether an order that was to be renewed or reissued has moved on.
    async fn moved_on(&self, previous: &Previous, spki_der: &[u8]) -> Result<Lookup, Problem> {
        let id = previous_id(previous).map_err(Problem::before_sending)?;
        let sold = match self.client.one(id).await {
            Ok(sold) => sold,
            Err(problem) if problem.is_not_found() => {
                return Ok(Lookup::Absent {
                    complete: false,
                    doubt: Some(format!("the reseller does not know order {id} any more")),
                });
            }
            Err(problem) => return Err(problem),
        };
        if self.words.read(&sold.status).1 == Stage::Issued {
            let Some(certificates) = follow::certificates(&self.client, id).await? else {
                return Ok(Lookup::Absent {
                    complete: false,
                    doubt: Some(format!("the files of order {id} are not served now")),
                });
            };
            if search::is_before(&certificates, &previous.certificate) {
                return Ok(Lookup::Unchanged);
            }
            let evidence = search::by_certificates(&certificates, spki_der);
            let phase = Phase::Issued(certificates);
            let progress = Progress { id: Some(sold.id), named: true, phase };
            return Ok(Lookup::Found(vec![Found { progress, evidence, created: None }]));
        }
        let found = self.found(&sold, spki_der, Some(previous)).await;
        // When it was renewed is not told.
        Ok(Lookup::Found(vec![Found { created: None, ..found }]))
    }

    /// What the answer to a submit proves.
    fn accepted(&self, order: &Order<'_>, taken: Option<Sold>) -> Submitted {
        let unclear = |message: String| {
            Submitted::Unknown(Error {
                disposition: Disposition::Internal,
                reason: Reason::UnexpectedAnswer,
                message,
            })
        };
        let Some(taken) = taken else {
            return unclear(format!(
                "{} took the order but gave it no id that can be read",
                self.settings.url
            ));
        };
        let followed = order.kind.previous().and_then(|previous| previous.id.as_deref());
        if followed.is_some_and(|id| id != taken.id) {
            return unclear(format!(
                "the reseller answered with order {} where order {} was to go on: see there what was bought",
                taken.id,
                followed.unwrap_or_default()
            ));
        }
        // The API may store our name in another form: our key tells as much.
        let has_our_key = || {
            let csr = taken.csr.as_deref().unwrap_or_default();
            let ours = Csr::from_der(order.csr_der);
            ours.is_ok_and(|ours| {
                search::by_csr(csr.as_bytes(), &ours.spki_der, None) == KeyEvidence::Ours
            })
        };
        let is_another = search::likeness(&taken, order.reference) == Likeness::Another;
        let named = followed.is_some() || !is_another || has_our_key();
        let phase = match self.plain_phase(&taken) {
            // It may be the state before.
            Phase::Failed(failed) if followed.is_some() => {
                let told = Sold { status: String::new(), ..taken.clone() };
                match self.plain_phase(&told) {
                    Phase::Pending(waiting) => {
                        Phase::Pending(super::Waiting { state: failed.state, ..waiting })
                    }
                    phase @ (Phase::Failed(_) | Phase::Issued(_)) => phase,
                }
            }
            phase @ (Phase::Failed(_) | Phase::Issued(_) | Phase::Pending(_)) => phase,
        };
        Submitted::Accepted(Progress { id: Some(taken.id), named, phase })
    }

    /// What hinders nothing and somebody should know of.
    fn remarks(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut remarks = Vec::new();
        let unknown = [
            (settings.multi_domain, "several names", "multiDomain"),
            (settings.wildcard, "wildcard names", "wildcard"),
        ];
        for (_, what, field) in unknown.iter().filter(|(held, ..)| held.is_none()) {
            remarks.push(if settings.strict_names {
                format!("requests for {what} are refused before spec.sslPurchase.{field} is true")
            } else {
                format!(
                    "nobody says whether the plan holds {what}: they are ordered as asked for; set spec.sslPurchase.{field}"
                )
            });
        }
        let address = settings.contact.as_ref().and_then(|one| one.email_address.as_deref());
        if let Some(address) = address.filter(|_| settings.dcv_type == SslPurchaseDcv::Email) {
            const TAKEN: [&str; 5] =
                ["admin", "administrator", "hostmaster", "postmaster", "webmaster"];
            let mailbox = address.split('@').next().unwrap_or_default();
            if !TAKEN.iter().any(|taken| mailbox.eq_ignore_ascii_case(taken)) {
                remarks.push(
                    "contact.emailAddress is none that CAs take for a domain (admin, administrator, hostmaster, postmaster or webmaster there): orders may wait for good".to_owned(),
                );
            }
        }
        remarks
    }

    async fn ends(&self, id: &str) -> Result<Answer<()>, Error> {
        match self.client.delete(id).await {
            Ok(()) => {}
            Err(problem) if problem.is_not_found() => {}
            Err(problem) => return Err(problem.error),
        }
        Ok(Answer::Done(()))
    }
}

#[async_trait]
impl CertificateAuthority for SslPurchase {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn check(&self) -> Result<AccountReport, Error> {
        let mut remarks = self.remarks();
        let product = match &self.settings.plan {
            Some(SslPurchasePlan { id: Some(id), .. }) => {
                match self.client.plans(("id", id)).await {
                    Ok(listed) => {
                        if !listed.found.iter().any(|plan| plan.id.eq_ignore_ascii_case(id)) {
                            remarks.push(format!(
                                "the list of plans does not show plan {id}: only the first order will show whether it can be bought"
                            ));
                        }
                    }
                    Err(problem) if problem.is_not_offered() => {
                        // The list of orders takes the same credentials.
                        let filter = Filter { plan: Some(id), reference: Some(NAME_TAG) };
                        let orders = self.client.orders(filter, 1, |_| false).await;
                        orders.map_err(|problem| problem.error)?;
                        remarks.push(format!(
                            "the account may not list plans: orders count as renewable {} days before their end (spec.sslPurchase.renewalWindow)",
                            self.settings.renewal_window
                        ));
                    }
                    Err(problem) => return Err(problem.error),
                }
                Some(id.clone())
            }
            Some(plan) => {
                let name = plan.name.as_deref().unwrap_or_default();
                Some(self.plan_named(name, ChosenBy::Issuer).await?.id)
            }
            None => {
                let filter = Filter { plan: None, reference: Some(NAME_TAG) };
                let orders = self.client.orders(filter, 1, |_| false).await;
                orders.map_err(|problem| problem.error)?;
                None
            }
        };
        Ok(AccountReport { remarks, product, ..AccountReport::default() })
    }

    async fn product(&self, blocks: &Blocks) -> Result<Option<String>, Error> {
        let block = blocks.read::<Block>(FIELD).unwrap_or_default();
        let (plan, chosen_by) = self.wanted_plan(&block)?;
        self.plan_id(&plan, chosen_by).await.map(Some)
    }

    fn product_in(&self, parameters: &serde_json::Value) -> Option<String> {
        Prepared::deserialize(parameters).ok().map(|prepared| prepared.plan)
    }

    async fn prepare(&self, wanted: &Wanted<'_>) -> Result<Preparation, Error> {
        let block = wanted.blocks.read::<Block>(FIELD).unwrap_or_default();
        let (plan, chosen_by) = self.wanted_plan(&block)?;
        if !self.capabilities.key_kinds.contains(&wanted.key_kind) {
            return Err(reject(
                Reason::NotSupportedByCa,
                &format!(
                    "the issuer takes no key of the kind {}: ask for RSA, or have spec.sslPurchase.allowEcdsa set in it",
                    wanted.key_kind
                ),
            ));
        }
        let id = match &plan.id {
            Some(id) => id.clone(),
            // Refused before the list is asked for.
            None => String::new(),
        };
        let mut prepared = Prepared::new(&self.settings, block, (id, chosen_by));
        prepared.is_complete(self.settings.validation_level)?;
        prepared.holds(&self.settings, wanted.names)?;
        prepared.plan = self.plan_id(&plan, chosen_by).await?;
        if !wire::is_id(&prepared.plan) {
            return Err(reject(
                Reason::ProductNotFound,
                &format!("{} is no id of a plan: check {}", plans::words(&plan), chosen_by.field()),
            ));
        }
        let kind = match wanted.kind.previous().filter(|previous| previous.id.is_some()) {
            None => OrderKind::New,
            Some(previous) => {
                let (kind, reference, plan) =
                    self.way((wanted.kind, wanted.is_requested), previous, &prepared.plan).await?;
                prepared.reference_at_ca = reference;
                prepared.plan = plan;
                kind
            }
        };
        let parameters = serde_json::to_value(&prepared);
        let parameters = parameters.map_err(|_| ours("the order could not be serialised"))?;
        Ok(Preparation { kind, parameters })
    }

    async fn preflight(&self, order: &Order<'_>) -> Result<(), Error> {
        let prepared = prepared(order)?;
        let unusable = |error: pki::csr::ReadError| reject(Reason::CsrUnusable, &error.to_string());
        let csr = Csr::from_der(order.csr_der).map_err(unusable)?;
        let asked = csr.asked().map_err(unusable)?;
        let common_name = asked.common_names.into_iter().next_back();
        prepared.holds(&self.settings, &Names { common_name, ..asked.names })
    }

    async fn submit(&self, order: &Order<'_>, permit: Permit) -> Submitted {
        let read = is_permitted(order, &permit).and_then(|()| prepared(order));
        let prepared = match read {
            Ok(prepared) => prepared,
            Err(error) => return Submitted::Refused(error),
        };
        let csr = pki::csr::to_pem(order.csr_der);
        let taken = match order.kind {
            OrderKind::New => self.client.buy(&prepared.first(&csr, order.reference)).await,
            OrderKind::Renew(previous) => match previous_id(previous) {
                Ok(id) => self.client.renew(id, &prepared.renewal(&csr)).await,
                Err(error) => return Submitted::Refused(error),
            },
            OrderKind::Reissue(previous) => match previous_id(previous) {
                Ok(id) => self.client.reissue(id, &prepared.reissue(&csr)).await,
                Err(error) => return Submitted::Refused(error),
            },
            OrderKind::UpdateKey(_) => {
                return Submitted::Refused(ours("no order here goes on with its old key"));
            }
        };
        match taken {
            Ok(taken) => self.accepted(order, taken),
            Err(problem) => match problem.certainty {
                Certainty::NothingDone => Submitted::Refused(problem.error),
                Certainty::Unknown => Submitted::Unknown(problem.error),
            },
        }
    }

    async fn find(&self, order: &Order<'_>) -> Result<Lookup, Error> {
        let spki_der = Csr::from_der(order.csr_der);
        let spki_der = spki_der.map_err(|_| ours("the CSR cannot be read"))?.spki_der;
        if let Some(previous) = order.kind.previous() {
            let moved_on = self.moved_on(previous, &spki_der).await;
            return moved_on.map_err(|problem| problem.error);
        }
        let candidates = self.candidates(order, &spki_der).await;
        let (candidates, doubt) = candidates.map_err(|problem| problem.error)?;
        if candidates.is_empty() {
            return Ok(Lookup::Absent { complete: doubt.is_none(), doubt });
        }
        let mut all = Vec::new();
        for sold in &candidates {
            all.push(self.found(sold, &spki_der, None).await);
        }
        all.sort_by_key(|found| (found.created.is_none(), found.created));
        Ok(Lookup::Found(all))
    }

    async fn poll(&self, orders: &[OpenOrder]) -> Vec<(String, Result<Progress, Error>)> {
        let answers = self.follower().poll(orders).await;
        // Where nothing comes through, a trial would only be one more call that does not.
        if answers.iter().any(|(_, answer)| answer.is_ok()) {
            self.try_search(orders).await;
        }
        answers
    }

    async fn advance(
        &self,
        order: &OpenOrder,
        met: &[Challenge],
    ) -> Result<Answer<Progress>, Error> {
        for Challenge { domain, proof, .. } in met.iter().filter(|one| !one.is_met) {
            let (dcv_type, email_address) = match proof {
                Proof::Dns { .. } => (SslPurchaseDcv::Dns, None),
                Proof::File { .. } => (SslPurchaseDcv::File, None),
                Proof::Mailbox { address } => (SslPurchaseDcv::Email, Some(address.as_str())),
            };
            let dcv_type = prepared::dcv_word(dcv_type);
            let body = Validate { dcv_type, domain, email_address };
            match self.client.validate(&order.id, &body).await {
                Ok(()) => {}
                // Nothing is left to look at.
                Err(problem) if problem.is_untimely() => {}
                Err(problem) => return Err(problem.error),
            }
        }
        let follower = self.follower();
        follower.forget(&order.id);
        match follower.ask(order).await {
            Ok(progress) => Ok(Answer::Done(progress)),
            Err(problem) => Err(problem.error),
        }
    }

    /// Only what waits is taken back: an order with a certificate would lose it.
    async fn cancel(&self, order: &OpenOrder) -> Result<Answer<()>, Error> {
        if order.replaces.is_some() {
            return Ok(Answer::Unsupported);
        }
        let sold = match self.client.one(&order.id).await {
            Ok(sold) => sold,
            Err(problem) if problem.is_not_found() => return Ok(Answer::Done(())),
            Err(problem) => return Err(problem.error),
        };
        match self.words.read(&sold.status).1 {
            Stage::Failed(..) => Ok(Answer::Done(())),
            Stage::Open(_) | Stage::Suspended
                if search::likeness(&sold, &order.reference) != Likeness::Another =>
            {
                self.ends(&order.id).await
            }
            Stage::Open(_) | Stage::Suspended | Stage::Issued => Err(reject(
                Reason::Refused,
                &format!(
                    "order {} was not taken back: it is issued already, or does not carry client_reference {}",
                    order.id, order.reference
                ),
            )),
        }
    }

    /// The order goes with its certificate, so that it must still have this one.
    async fn revoke(
        &self,
        certificate: &Previous,
        _: RevocationReason,
    ) -> Result<Answer<()>, Error> {
        let Some(id) = certificate.id.as_deref() else { return Ok(Answer::Unsupported) };
        let sold = match self.client.one(id).await {
            Ok(sold) => sold,
            Err(problem) if problem.is_not_found() => return Ok(Answer::Done(())),
            Err(problem) => return Err(problem.error),
        };
        let is_another = match self.words.read(&sold.status).1 {
            Stage::Failed(..) => return Ok(Answer::Done(())),
            Stage::Open(_) | Stage::Suspended => true,
            Stage::Issued => {
                let served = follow::certificates(&self.client, id).await;
                let served = served.map_err(|problem| problem.error)?.unwrap_or_default();
                !search::is_before(&served, &certificate.certificate)
            }
        };
        if is_another {
            return Err(reject(
                Reason::Refused,
                &format!(
                    "nothing was revoked: order {id} has another certificate by now than {}, or is about to have one, and would end with it",
                    certificate.serial()
                ),
            ));
        }
        self.ends(id).await
    }

    fn has_found_orders(&self) -> bool {
        self.has_found.load(Ordering::Acquire)
    }

    /// The API serves none by themselves.
    async fn trust_anchors(&self) -> Result<Vec<Certificate>, Error> {
        Ok(Vec::new())
    }
}

/// Money is spent with a claim on this very order, and under a name that a search can find.
fn is_permitted(order: &Order<'_>, permit: &Permit) -> Result<(), Error> {
    let Permit::Claimed(claim) = permit else {
        return Err(ours("an order that costs money needs a claim"));
    };
    if claim.reference() != order.reference {
        return Err(ours("the claim is for another order"));
    }
    let is_name = order.reference.len() <= 64
        && order.reference.starts_with(NAME_TAG)
        && order.reference.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if is_name { Ok(()) } else { Err(ours("the order's reference is no name")) }
}

/// The id of the order that is followed.
fn previous_id(previous: &Previous) -> Result<&str, Error> {
    let id = previous.id.as_deref().filter(|id| wire::is_id(id));
    id.ok_or_else(|| ours("the order before has no id"))
}

/// The order that is followed is not found while its certificate is valid.
fn unknown_order(id: &str, problem: &Problem) -> Error {
    Error {
        disposition: Disposition::Retry { after: Some(PAID_PAUSE) },
        reason: Reason::OrderForgotten,
        message: format!(
            "order {id} is not known, and its certificate is still valid: nothing was bought; check spec.sslPurchase.paths and the credentials; if the order is really gone, remove the annotation {} from the target Secret, and the next order is a first one ({})",
            crate::api::annotation::ORDER_ID,
            problem.error.message
        ),
    }
}

fn prepared(order: &Order<'_>) -> Result<Prepared, Error> {
    let prepared = Prepared::deserialize(order.parameters)
        .map_err(|_| ours("what was stored with the order cannot be read"))?;
    if wire::is_id(&prepared.plan) {
        Ok(prepared)
    } else {
        Err(ours("what was stored with the order names no plan"))
    }
}

fn reject(reason: Reason, message: &str) -> Error {
    Error { disposition: Disposition::Reject, reason, message: message.to_owned() }
}

fn ours(why: &str) -> Error {
    Error {
        disposition: Disposition::Internal,
        reason: Reason::OrderUnusable,
        message: format!("nothing was sent to the SSL purchase API: {why}"),
    }
}
