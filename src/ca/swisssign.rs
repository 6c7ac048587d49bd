//! SwissSign's registration authority (RA) API, version 2 (OpenAPI 3.5.0): a commercial CA whose
//! orders cost money, come about in steps and may wait for a person.
//!
//! The API has neither an idempotency key nor a cancellation. The one value of ours that it stores
//! with an order, gives back and searches for is a tag, and `/v2/issue` alone sets it together with
//! the order. Each order carries two: its reference, and the beginning of the hash of its key. What
//! the specification leaves open is told from public clients and earlier versions, and was never
//! tried against the real service; where it matters, both readings are provided for.
//!
//! # Invariants
//! - One submit makes one request that can order something. It is repeated after a 401 alone, which
//!   precedes all processing, and then once.
//! - A submit counts as accepted only with the id of an order of our client and product, and as
//!   refused only where `errors` has a reason why nothing can have been ordered.
//! - An order is absent only if every page of the search was read. Where an answer may have been
//!   lost, orders without a name that could be ours make it doubtful.
//!
//! # Caveats
//! - `CsrOnly` orders carry no name. Such an order is found again by its id, or once issued by its
//!   key; before that nothing tells it from others, and it is never called absent.

mod client;
mod errors;
mod follow;
mod kind;
mod products;
mod search;
mod states;
mod token;
mod wire;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use self::client::{Client, Orders as Listed, PAGES};
use self::errors::{Certainty, Problem};
use self::follow::{Follower, Memory};
pub(super) use self::kind::KIND;
use self::products::ChosenBy;
use self::search::{Likeness, Ours};
use self::wire::{CLIENT, IssueRequest, MANY, NAME_TAG, Overrides, SearchOrders};
use super::kind::Opening;
use super::tenant;
use super::{
    AccountReport, Blocks, Capabilities, CertificateAuthority, Found, KeyEvidence, Lookup,
    OpenOrder, Order, Permit, Phase, Preparation, Progress, Submitted, Wanted,
};
use crate::api::{SwissSign as Settings, SwissSignOrder, SwissSignProduct, SwissSignSubmission};
use crate::outside::capped::Capped;
use crate::outside::credentials::Credentials;
use crate::outside::{Disposition, Error};
use crate::pki::{self, Certificate, KeyKind, Names};
use crate::reason::Reason;

/// Its block in the spec of an Issuer, and in that of a request.
const FIELD: &str = "swissSign";
/// What it is called in messages.
const NAME: &str = "SwissSign";
/// So often the search by name is tried, until it has found an order; twelve tries take an hour.
const SEARCH_TRIES: u32 = 12;
/// Issued orders whose certificate has to be fetched to tell whether they are ours.
const LOOKS: usize = 20;

/// One account at SwissSign: a user, and one client of the user's.
pub struct SwissSign {
    settings: Settings,
    client: Client,
    capabilities: Capabilities,
    account: Mutex<Option<Arc<Resolved>>>,
    memory: Memory,
    /// A search by name has found an order.
    has_found: AtomicBool,
    search_tries: AtomicU32,
}

/// The client that the Issuer means, as the API told it last.
struct Resolved {
    client: String,
    name: Option<String>,
    /// Where the API lists them.
    products: Option<Capped<wire::Product, MANY>>,
}

/// What is stored with an order: all that goes into its request beside the CSR and the tags.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Prepared {
    client: String,
    product: String,
    chosen_by: ChosenBy,
    /// In the product's own unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    validity: Option<i64>,
    submission: SwissSignSubmission,
}

impl SwissSign {
    /// The account that `settings` names.
    ///
    /// # Errors
    /// When there are no credentials, or an address is not a URL.
    pub fn new(settings: &Settings, with: Opening) -> Result<Self, Error> {
        let deadline = with.deadline;
        let credentials = with.credentials.as_ref().and_then(Credentials::basic).cloned();
        let credentials = credentials.filter(|basic| !basic.password().trim().is_empty());
        let credentials = credentials.ok_or_else(|| Error {
            disposition: Disposition::BlameCredentials,
            reason: Reason::CredentialsUnusable,
            message: "the Secret of spec.swissSign.credentialsSecretRef holds no apiKey: write the API key of the account into it".to_owned(),
        })?;
        let window: Option<jiff::SignedDuration> = settings.settle_window.parse().ok();
        let window = window.and_then(|window| Duration::try_from(window).ok());
        let settle_window = window.ok_or_else(|| Error {
            disposition: Disposition::BlameIssuer,
            reason: Reason::SettingsInvalid,
            message: "spec.swissSign.settleWindow is not a duration such as 15m".to_owned(),
        })?;
        // A submit may take as long as a call may before the CA commits it, and so may the search.
        let settle_window = settle_window.max(deadline * 2);
        Ok(Self {
            client: Client::new(settings, credentials, with)?,
            capabilities: Capabilities {
                name: NAME,
                // Whether the keyType of a product constrains the keys of CSRs is stated nowhere:
                // what the API knows and is usual for servers; the CA refuses the rest.
                key_kinds: vec![
                    KeyKind::Rsa2048,
                    KeyKind::Rsa3072,
                    KeyKind::Rsa4096,
                    KeyKind::EcdsaP256,
                    KeyKind::EcdsaP384,
                    KeyKind::EcdsaP521,
                ],
                billable: true,
                asynchronous: true,
                searchable: settings.submission == SwissSignSubmission::Named,
                settle_window,
                ..Capabilities::default()
            },
            settings: settings.clone(),
            account: Mutex::default(),
            memory: Memory::default(),
            has_found: AtomicBool::new(false),
            search_tries: AtomicU32::new(0),
        })
    }

    /// The client, from the API where it is not known yet.
    async fn resolved(&self) -> Result<Arc<Resolved>, Error> {
        let known = self.account.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(known) => Ok(known),
            None => self.resolve().await,
        }
    }

    /// Asks the API which client is meant, and which products it has.
    async fn resolve(&self) -> Result<Arc<Resolved>, Error> {
        let wanted = &self.settings.client;
        let found = match (&wanted.id, &wanted.name) {
            (Some(id), _) => self.client_of(id).await?,
            (None, Some(name)) => self.client_called(name).await?,
            (None, None) => return Err(no_client(&products::client_words(wanted))),
        };
        let client = found.uuid.filter(|id| wire::is_id(CLIENT, id));
        let client = client.ok_or_else(|| no_client(&products::client_words(wanted)))?;
        // It becomes a part of one line of text.
        let name = found.name.filter(|name| !name.contains(char::is_control) && name.len() <= 256);
        let resolved = Arc::new(Resolved { client, name, products: found.products });
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        *account = Some(Arc::clone(&resolved));
        Ok(resolved)
    }

    async fn client_of(&self, id: &str) -> Result<wire::Client, Error> {
        match self.client.client(id).await {
            Ok(found) if found.uuid.as_deref() == Some(id) => Ok(found),
            Err(problem) if !problem.is_not_found() => Err(problem.error),
            Ok(_) | Err(_) => Err(no_client(id)),
        }
    }

    /// By a search for the name, and where that finds none in the list of all: what the search
    /// looks at is documented nowhere.
    async fn client_called(&self, name: &str) -> Result<wire::Client, Error> {
        let found = self.client.clients(Some(name)).await.map_err(|problem| problem.error)?;
        let found = match products::client_named(&found, name) {
            Ok(client) => client.clone(),
            Err(error) if found.iter().any(|one| one.name.as_deref() == Some(name)) => {
                return Err(error);
            }
            Err(_) => {
                let all = self.client.clients(None).await.map_err(|problem| problem.error)?;
                products::client_named(&all, name)?.clone()
            }
        };
        match (&found.products, &found.uuid) {
            (None, Some(id)) => self.client_of(id).await,
            (Some(_), _) | (None, None) => Ok(found),
        }
    }

    /// The id of the client; costs no call where the Issuer gives it.
    async fn resolved_client(&self) -> Result<String, Error> {
        match &self.settings.client.id {
            Some(id) => Ok(id.clone()),
            None => Ok(self.resolved().await?.client.clone()),
        }
    }

    /// The product, from what is known of the client, and where it is not among that from the API.
    async fn known_product(
        &self,
        wanted: &SwissSignProduct,
        chosen_by: ChosenBy,
    ) -> Result<(String, wire::Product), Error> {
        let known = self.resolved().await?;
        match product_of(&known, wanted, chosen_by) {
            Ok(product) => Ok((known.client.clone(), product)),
            Err(_) => {
                let fresh = self.resolve().await?;
                Ok((fresh.client.clone(), product_of(&fresh, wanted, chosen_by)?))
            }
        }
    }

    /// The product that is ordered, in the words of the request or else of the Issuer.
    fn wanted_product(&self, blocks: &Blocks) -> Result<(SwissSignProduct, ChosenBy), Error> {
        let own = blocks.read::<SwissSignOrder>(FIELD).and_then(|block| block.product);
        let own = own.map(|product| (product, ChosenBy::Request));
        let issuers = || Some((self.settings.product.clone()?, ChosenBy::Issuer));
        own.or_else(issuers).ok_or_else(|| {
            reject(
                Reason::ProductMissing,
                "neither the request nor its issuer names a product of SwissSign: set spec.swissSign.product in one of them",
            )
        })
    }

    /// The body of an order: the same to the byte each time.
    fn request<'a>(
        &self,
        prepared: &'a Prepared,
        csr: &'a str,
        tags: Vec<&'a str>,
    ) -> IssueRequest<'a> {
        IssueRequest {
            product_reference: &prepared.product,
            csr,
            tags,
            synchrone: false,
            accept_terms: self.settings.accept_terms_and_conditions,
            overrides: prepared.validity.map(|validity| Overrides { validity }),
        }
    }

    /// Looks once for an order that is there, so that it is known whether the search by name finds
    /// orders, before one has to be looked for whose answer was lost.
    async fn try_search(&self, client: &str, orders: &[OpenOrder]) {
        if self.has_found_orders() {
            return;
        }
        // The oldest, after twice the time with each try: a search may lag for minutes.
        let tries = self.search_tries.load(Ordering::Acquire);
        let now = self.client.now();
        let is_due = |order: &&OpenOrder| {
            now.duration_since(order.since).as_secs() >= (1_i64 << tries.min(SEARCH_TRIES)) - 1
        };
        let oldest = orders.iter().min_by_key(|order| order.since).filter(is_due);
        let Some(order) = oldest.filter(|_| tries < SEARCH_TRIES) else {
            return;
        };
        self.search_tries.fetch_add(1, Ordering::AcqRel);
        let filter = SearchOrders {
            client_references: [client],
            tags: Some([order.reference.as_str()]),
            order_status: None,
        };
        let is_it = |one: &wire::Order| one.has_tag(&order.reference);
        let found = self.client.orders(&filter, 1, is_it).await;
        if found.is_ok_and(|found| !found.orders.is_empty()) {
            self.has_found.store(true, Ordering::Release);
        }
    }

    fn follower(&self) -> Follower<'_> {
        Follower {
            client: &self.client,
            memory: &self.memory,
            are_named: self.settings.submission == SwissSignSubmission::Named,
        }
    }

    /// All orders of the client that may be ours, with what makes it doubtful that there are no more.
    async fn candidates(
        &self,
        order: &Order<'_>,
        prepared: &Prepared,
        ours: &Ours<'_>,
    ) -> Result<(Vec<wire::Order>, Option<String>), Problem> {
        let mut doubt = None;
        let mut candidates = Vec::new();
        if prepared.submission == SwissSignSubmission::Named {
            let filter = SearchOrders {
                client_references: [&prepared.client],
                tags: Some([order.reference]),
                order_status: None,
            };
            let is_named = |one: &wire::Order| ours.carries_name(one);
            let listed = self.client.orders(&filter, PAGES, is_named).await?;
            doubt = listed.doubt;
            candidates = listed.orders;
            if !candidates.is_empty() {
                self.has_found.store(true, Ordering::Release);
            }
        }
        if candidates.is_empty()
            && let Some(id) = order.id.filter(|id| wire::is_id(wire::ORDER, id))
        {
            match self.client.order(id).await {
                Ok(one) => {
                    is_ours_by_id(&one, ours, prepared)?;
                    candidates.push(one);
                }
                Err(problem) if problem.is_not_found() => {}
                Err(problem) => return Err(problem),
            }
        }
        if candidates.is_empty() && order.may_exist {
            let (found, unsure) = self.unnamed(prepared, ours).await?;
            candidates = found;
            doubt = doubt.or(unsure);
        }
        Ok((candidates, doubt))
    }

    /// Looks through all orders of the client for one that is ours without carrying our name.
    async fn unnamed(
        &self,
        prepared: &Prepared,
        ours: &Ours<'_>,
    ) -> Result<(Vec<wire::Order>, Option<String>), Problem> {
        let filter =
            SearchOrders { client_references: [&prepared.client], tags: None, order_status: None };
        let may_be = |one: &wire::Order| ours.likeness(one) != Likeness::Another;
        let Listed { orders, mut doubt } = self.client.orders(&filter, PAGES, may_be).await?;
        let mut found = Vec::new();
        let mut looks = 0;
        for mut order in orders {
            let id = order.id().unwrap_or_default().to_owned();
            let mut likeness = ours.likeness(&order);
            if likeness == Likeness::TellsByItsCertificate && looks < LOOKS {
                looks += 1;
                order = self.client.order(&id).await?;
                likeness = ours.likeness(&order);
            }
            match likeness {
                Likeness::Ours => found.push(order),
                Likeness::Another => {}
                Likeness::Doubtful | Likeness::TellsByItsCertificate => {
                    doubt.get_or_insert_with(|| {
                        format!("order {id} of the same product carries no name and was made in that time")
                    });
                }
            }
        }
        Ok((found, doubt))
    }

    /// An order that was found. That it exists counts for more than what cannot be read of it now.
    async fn found(&self, one: wire::Order, ours: &Ours<'_>) -> Found {
        let id = one.id().unwrap_or_default().to_owned();
        let phase = match self.follower().phase(&id, &one).await {
            Ok(phase) => phase,
            Err(_) => follow::plain_phase(one.status.as_deref()),
        };
        let chain: &[Certificate] = match &phase {
            Phase::Issued(chain) => chain,
            Phase::Pending(_) | Phase::Failed(_) => &[],
        };
        let evidence = ours.evidence(&one, chain);
        let named = one.has_tag(ours.reference);
        let created = one.created();
        Found { progress: Progress { id: Some(id), named, phase }, evidence, created }
    }

    /// What the answer to a submit proves.
    fn accepted(&self, order: &Order<'_>, prepared: &Prepared, taken: &wire::Order) -> Submitted {
        let unclear = |message: String| {
            Submitted::Unknown(Error {
                disposition: Disposition::Internal,
                reason: Reason::UnexpectedAnswer,
                message,
            })
        };
        let Some(id) = taken.id() else {
            return unclear(format!(
                "{} took the order but gave it no id that can be read",
                self.settings.url
            ));
        };
        let differs =
            |told: &Option<String>, asked: &str| told.as_deref().is_some_and(|told| told != asked);
        if differs(&taken.client_reference, &prepared.client)
            || differs(&taken.product_reference, &prepared.product)
        {
            return unclear(format!(
                "SwissSign took order {id} for another client or product than it was asked for: compare it with client {} and product {}",
                prepared.client, prepared.product
            ));
        }
        Submitted::Accepted(Progress {
            id: Some(id.to_owned()),
            named: taken.has_tag(order.reference),
            phase: follow::plain_phase(taken.status.as_deref()),
        })
    }
}

#[async_trait]
impl CertificateAuthority for SwissSign {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn check(&self) -> Result<AccountReport, Error> {
        let resolved = self.resolve().await?;
        let Some(wanted) = &self.settings.product else {
            return Ok(AccountReport::default());
        };
        let product = product_of(&resolved, wanted, ChosenBy::Issuer)?;
        let now = self.client.now();
        products::is_orderable(&product, ChosenBy::Issuer, now)?;
        let mut remarks = products::remarks(&product, now);
        if resolved.products.is_none() {
            remarks.push("the API lists no products for the client: only the first order will show whether the one that is named can be ordered".to_owned());
        }
        Ok(AccountReport { remarks, product: product.uuid, ..AccountReport::default() })
    }

    fn client(&self) -> Option<tenant::Client> {
        let known = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map(|known| tenant::Client {
            id: Some(known.client.clone()),
            name: known.name.clone(),
        })
    }

    async fn product(&self, blocks: &Blocks) -> Result<Option<String>, Error> {
        let (product, chosen_by) = self.wanted_product(blocks)?;
        Ok(self.known_product(&product, chosen_by).await?.1.uuid)
    }

    fn product_in(&self, parameters: &serde_json::Value) -> Option<String> {
        Prepared::deserialize(parameters).ok().map(|prepared| prepared.product)
    }

    async fn prepare(&self, wanted: &Wanted<'_>) -> Result<Preparation, Error> {
        let (product, chosen_by) = self.wanted_product(wanted.blocks)?;
        // The CSR carries the names: the API has overrides for them, and they are not needed.
        if *wanted.names == Names::default() {
            return Err(reject(
                Reason::NamesMissing,
                "SwissSign issues for names: set commonName or dnsNames",
            ));
        }
        let (client, product) = self.known_product(&product, chosen_by).await?;
        products::is_orderable(&product, chosen_by, self.client.now())?;
        let validity = match wanted.duration {
            Some(duration) => products::validity(&product, duration)?,
            None => None,
        };
        let product = product.uuid.unwrap_or_default();
        let submission = self.settings.submission;
        let prepared = Prepared { client, product, chosen_by, validity, submission };
        let parameters = serde_json::to_value(prepared);
        let parameters = parameters.map_err(|_| ours("the order could not be serialised"))?;
        Ok(Preparation { kind: wanted.kind.clone(), parameters })
    }

    async fn preflight(&self, order: &Order<'_>) -> Result<(), Error> {
        let prepared = prepared(order)?;
        // An account that may submit nothing but a bare CSR may not have a whole order examined.
        if !self.settings.preflight || prepared.submission == SwissSignSubmission::CsrOnly {
            return Ok(());
        }
        let (csr, key_tag) = csr_and_tag(order)?;
        let request = self.request(&prepared, &csr, vec![order.reference, &key_tag]);
        match self.client.validate(&request).await {
            Ok(()) => Ok(()),
            // An installation that has no such operation.
            Err(problem) if problem.code.is_none() && problem.has_status(&[404, 405, 406, 415]) => {
                Ok(())
            }
            Err(problem) => Err(blamed(problem, prepared.chosen_by)),
        }
    }

    async fn submit(&self, order: &Order<'_>, permit: Permit) -> Submitted {
        if let Err(error) = is_permitted(order, &permit) {
            return Submitted::Refused(error);
        }
        let read = prepared(order).and_then(|prepared| Ok((prepared, csr_and_tag(order)?)));
        let (prepared, (csr, key_tag)) = match read {
            Ok(read) => read,
            Err(error) => return Submitted::Refused(error),
        };
        let taken = match prepared.submission {
            SwissSignSubmission::Named => {
                let tags = vec![order.reference, key_tag.as_str()];
                self.client.issue(&self.request(&prepared, &csr, tags)).await
            }
            SwissSignSubmission::CsrOnly => {
                self.client.issue_csr(&prepared.product, order.csr_der).await
            }
        };
        match taken {
            Ok(taken) => self.accepted(order, &prepared, &taken),
            Err(problem) => match problem.certainty {
                Certainty::NothingDone => Submitted::Refused(blamed(problem, prepared.chosen_by)),
                Certainty::Unknown => Submitted::Unknown(problem.error),
            },
        }
    }

    async fn find(&self, order: &Order<'_>) -> Result<Lookup, Error> {
        let prepared = prepared(order)?;
        let spki_der = spki(order)?;
        let ours = Ours {
            reference: order.reference,
            client: &prepared.client,
            product: &prepared.product,
            spki_der: &spki_der,
            since: order.since,
        };
        let searched = self.candidates(order, &prepared, &ours).await;
        let (candidates, doubt) = searched.map_err(|problem| problem.error)?;
        if candidates.is_empty() {
            return Ok(match prepared.submission {
                SwissSignSubmission::Named => Lookup::Absent { complete: doubt.is_none(), doubt },
                SwissSignSubmission::CsrOnly => Lookup::Unsupported,
            });
        }
        let mut all = Vec::new();
        for one in candidates {
            all.push(self.found(one, &ours).await);
        }
        all.sort_by_key(|found| (found.created.is_none(), found.created));
        Ok(Lookup::Found(all))
    }

    async fn poll(&self, orders: &[OpenOrder]) -> Vec<(String, Result<Progress, Error>)> {
        let client = match self.resolved_client().await {
            Ok(client) => client,
            Err(error) => {
                let all = orders.iter();
                return all.map(|open| (open.reference.clone(), Err(error.clone()))).collect();
            }
        };
        let answers = self.follower().poll(&client, orders).await;
        // Where nothing comes through, a trial would only be one more call that does not.
        let comes_through = answers.iter().any(|(_, answer)| answer.is_ok());
        if comes_through && self.settings.submission == SwissSignSubmission::Named {
            self.try_search(&client, orders).await;
        }
        answers
    }

    fn has_found_orders(&self) -> bool {
        self.has_found.load(Ordering::Acquire)
    }

    /// The API serves none by themselves.
    async fn trust_anchors(&self) -> Result<Vec<Certificate>, Error> {
        Ok(Vec::new())
    }
}

/// The product, as far as the API tells of it.
fn product_of(
    resolved: &Resolved,
    wanted: &SwissSignProduct,
    chosen_by: ChosenBy,
) -> Result<wire::Product, Error> {
    match (&resolved.products, &wanted.id) {
        (Some(products), _) => products::product(products, wanted, chosen_by).cloned(),
        (None, Some(id)) => Ok(wire::Product { uuid: Some(id.clone()), ..Default::default() }),
        (None, None) => Err(Error {
            disposition: chosen_by.disposition(),
            reason: Reason::ProductNotFound,
            message: format!(
                "the API lists no products for client {}: give the id instead of the name in {}",
                resolved.client,
                chosen_by.field()
            ),
        }),
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
    if is_name {
        Ok(())
    } else {
        Err(ours("SwissSign does not take the order's reference as a name"))
    }
}

/// An order that is known by its id alone must not be another's.
fn is_ours_by_id(one: &wire::Order, ours: &Ours<'_>, prepared: &Prepared) -> Result<(), Problem> {
    let is_another = prepared.submission == SwissSignSubmission::Named
        && !one.tags().is_empty()
        && !one.has_tag(ours.reference)
        && ours.evidence(one, &[]) != KeyEvidence::Ours;
    if is_another {
        return Err(Problem::senseless(format!(
            "order {} at SwissSign does not carry the tag {}; if somebody removed it, add it again",
            one.id().unwrap_or_default(),
            ours.reference
        )));
    }
    Ok(())
}

fn prepared(order: &Order<'_>) -> Result<Prepared, Error> {
    let prepared = Prepared::deserialize(order.parameters)
        .map_err(|_| ours("what was stored with the order cannot be read"))?;
    let are_ids =
        wire::is_id(CLIENT, &prepared.client) && wire::is_id(wire::PRODUCT, &prepared.product);
    if are_ids {
        Ok(prepared)
    } else {
        Err(ours("what was stored with the order names no product"))
    }
}

fn spki(order: &Order<'_>) -> Result<Vec<u8>, Error> {
    wire::spki_of_csr(order.csr_der).ok_or_else(|| ours("the CSR cannot be read"))
}

/// The CSR in PEM, and the tag for its key.
fn csr_and_tag(order: &Order<'_>) -> Result<(String, String), Error> {
    Ok((pki::csr::to_pem(order.csr_der), wire::key_tag(&spki(order)?)))
}

/// A product that will not do is the fault of whoever chose it.
fn blamed(problem: Problem, chosen_by: ChosenBy) -> Error {
    let error = problem.error;
    if error.reason != Reason::ProductInvalid {
        return error;
    }
    Error { disposition: chosen_by.disposition(), ..error }
}

fn no_client(wanted: &str) -> Error {
    Error {
        disposition: Disposition::BlameIssuer,
        reason: Reason::ClientNotFound,
        message: format!(
            "SwissSign shows the account no client {wanted}: check spec.swissSign.client"
        ),
    }
}

fn reject(reason: Reason, message: &str) -> Error {
    Error { disposition: Disposition::Reject, reason, message: message.to_owned() }
}

fn ours(why: &str) -> Error {
    Error {
        disposition: Disposition::Internal,
        reason: Reason::OrderUnusable,
        message: format!("nothing was sent to SwissSign: {why}"),
    }
}
