//! What each operation comes to once its request has been let in.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::admit::{self, Admitted};
use super::call::{Call, Outcome};
use super::issue::Authorities;
use super::order::{Order, Revocation, duration};
use super::refusal::{Code, Refusal};
use super::settings::{Offer, Product, SiteSettings};
use super::wire::{RevocationRequest, Search};
use super::{Operation, Site, search, settle, token};
use crate::simulator::authority::shifted;
use crate::simulator::faults::{Kind, Moment};
use crate::simulator::{csr, id, lock};

/// How long `synchrone` holds a connection at most.
const SYNCHRONE_LIMIT: Duration = Duration::from_secs(60);
/// How often `synchrone` looks.
const SYNCHRONE_PACE: Duration = Duration::from_millis(50);

/// What every operation but `jwt` has at hand.
pub(super) struct Context {
    pub(super) settings: SiteSettings,
    pub(super) offers: Vec<Offer>,
    authorities: Arc<Authorities>,
    pub(super) account: String,
    pub(super) now: Timestamp,
}

impl Context {
    pub(super) fn unknown(&self, code: Code, what: &str) -> Refusal {
        Refusal::with(self.settings.unknown_id_status, code, format!("Not found: {what}"))
    }
}

impl Site {
    /// Steps 3 and 4 of the module's list.
    pub(super) async fn operate(
        &self,
        operation: Operation,
        call: &Call,
    ) -> Result<Outcome, Refusal> {
        if call.method != Method::POST {
            return Err(Refusal::WrongVerb);
        }
        if operation == Operation::Jwt {
            return self.jwt(call);
        }
        let account = self.authenticate(call)?;
        let settings = lock(&self.0.settings).clone();
        let offers = settings.offers(&self.0.name);
        let authorities = self
            .authorities_ready(settings.key_algorithm)
            .await
            .map_err(|_| Refusal::uncaught())?;
        let context = Context { settings, offers, authorities, account, now: self.0.shared.now() };
        match operation {
            Operation::Jwt => self.jwt(call),
            Operation::Clients => clients(&context, call),
            Operation::ClientsPaged => clients_paged(&context, call),
            Operation::Client => client(&context, call),
            Operation::Issue => self.issue(&context, call).await,
            Operation::IssueCsr => self.issue_csr(&context, call),
            Operation::Validate => {
                admit::json(&context, call, Operation::Validate).map(|_| Outcome::nothing())
            }
            Operation::Order => self.with_order(&context, call, |order| {
                Ok(order.document(context.settings.lowercase_status, false, false))
            }),
            Operation::Status => self.with_order(&context, call, |order| {
                Ok(json!(order.status(context.settings.lowercase_status)))
            }),
            Operation::Chain => self.with_order(&context, call, |order| {
                let chain = chain(&context, order)?;
                let fault = self.0.faults.take(Operation::Chain, Moment::Issuing);
                Ok(json!(spoiled(&context, chain, fault)))
            }),
            Operation::Tasks => self.with_order(&context, call, |order| Ok(json!(order.tasks()))),
            Operation::Tags => self.replace_tags(&context, call),
            Operation::Orders => self.search(&context, call),
            Operation::OrdersPaged => self.search_paged(&context, call),
            Operation::Revoke => self.revoke(&context, call),
        }
    }

    /// `/v2/jwt/{userName}`.
    fn jwt(&self, call: &Call) -> Result<Outcome, Refusal> {
        call.must_be("application/x-www-form-urlencoded")?;
        if !call.accepts("text/plain") {
            return Err(Refusal::Bare(StatusCode::NOT_ACCEPTABLE));
        }
        let settings = lock(&self.0.settings).clone();
        // A path is percent-encoded as a form is, but for what has a meaning in forms alone.
        let path = call.parameter.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
        let user = form_urlencoded::parse(path.as_bytes())
            .next()
            .map_or_else(String::new, |(user, _)| user.into_owned());
        let secret = form_urlencoded::parse(&call.body)
            .find(|(name, _)| name == "userSecret")
            .map(|(_, value)| value.into_owned())
            .ok_or_else(|| Refusal::bad(Code::NullValue, "userSecret is missing"))?;
        let expected = settings
            .accounts
            .get(&user)
            .ok_or_else(|| Refusal::with(404, Code::Authentication, "Unknown user"))?;
        if *expected != secret {
            return Err(Refusal::with(401, Code::Authentication, "Authentication failed"));
        }
        let key = self.token_key().map_err(|_| Refusal::uncaught())?;
        let now = self.0.shared.now();
        let token = token::issue(&key, &user, settings.token_lifetime_seconds, now)
            .ok_or_else(Refusal::uncaught)?;
        Ok(Outcome::text(if settings.quoted_token { format!("\"{token}\"") } else { token }))
    }

    /// The account a token is for.
    fn authenticate(&self, call: &Call) -> Result<String, Refusal> {
        let refused = |code, message: &str| Err(Refusal::with(401, code, message));
        let token = call
            .authorization
            .as_deref()
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let Some(token) = token else {
            return refused(Code::Authentication, "Full authentication is required");
        };
        let accounts = {
            let mut settings = lock(&self.0.settings);
            if std::mem::take(&mut settings.reject_next_token) {
                return refused(Code::Jwt, "The token was rejected");
            }
            settings.accounts.clone()
        };
        let key = self.token_key().map_err(|_| Refusal::uncaught())?;
        token::account(token, &key, &accounts, self.0.shared.now())
            .or_else(|bad| refused(Code::Jwt, &bad.to_string()))
    }

    /// `/v2/issue`.
    async fn issue(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let (admitted, request) = admit::json(context, call, Operation::Issue)?;
        let id = self.submit(context, admitted)?;
        if request.synchrone {
            self.wait_until_settled(context, &id).await?;
        }
        let with_chain = request.synchrone && request.include_certificate_chain;
        self.submitted(context, &id, with_chain)
    }

    /// `/v2/issue/csr/{pma}`.
    fn issue_csr(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let product = call.id("pma-")?;
        call.must_be("text/plain")?;
        let text = std::str::from_utf8(&call.body)
            .map_err(|_| Refusal::bad(Code::FailedParsingCsr, "The CSR is not text"))?;
        let csr = admit::readable(csr::read(text, true))?;
        let admitted = admit::admit(context, Operation::IssueCsr, product, csr, None)?;
        let id = self.submit(context, admitted)?;
        self.submitted(context, &id, false)
    }

    /// Records an order, or two of them. The first one's id is the answer.
    fn submit(&self, context: &Context, admitted: Admitted) -> Result<String, Refusal> {
        let Admitted { mut ordered, life } = admitted;
        let is_doubled = {
            let mut settings = lock(&self.0.settings);
            std::mem::take(&mut settings.duplicate_next)
        };
        if context.settings.drop_tags {
            ordered.tags.clear();
        }
        ordered.fault = self.0.faults.take(ordered.operation, Moment::Issuing);
        let ids = [id::random("ord-"), id::random("ord-")];
        let mut ledger = lock(&self.0.ledger);
        let mut first = None;
        for id in ids.into_iter().take(if is_doubled { 2 } else { 1 }) {
            let id = id.map_err(|_| Refusal::uncaught())?;
            let order = Order::new(id.clone(), ordered.clone(), life.clone(), context.now);
            ledger.add(order);
            first.get_or_insert(id);
        }
        first.ok_or_else(Refusal::uncaught)
    }

    /// The order that was made, as the answer to its submission.
    fn submitted(&self, context: &Context, id: &str, with_chain: bool) -> Result<Outcome, Refusal> {
        let now = self.0.shared.now();
        let mut ledger = lock(&self.0.ledger);
        let order = ledger.get_mut(id).ok_or_else(Refusal::uncaught)?;
        settle(order, &context.settings, &context.authorities, now)
            .map_err(|_| Refusal::uncaught())?;
        let document = order.document(context.settings.lowercase_status, false, with_chain);
        Ok(Outcome { submitted: Some(id.to_owned()), ..Outcome::json(&document) })
    }

    /// Waits for the end of an order, for a while.
    async fn wait_until_settled(&self, context: &Context, id: &str) -> Result<(), Refusal> {
        const ENDS: [&str; 4] = ["ISSUED", "FAILED", "REJECTED", "REVOKED"];
        let until = tokio::time::Instant::now() + SYNCHRONE_LIMIT;
        while tokio::time::Instant::now() < until {
            let now = self.0.shared.now();
            let has_ended =
                self.known(context, id, now, |order| Ok(ENDS.iter().any(|end| order.is_in(end))))?;
            if has_ended {
                break;
            }
            tokio::time::sleep(SYNCHRONE_PACE).await;
        }
        Ok(())
    }

    /// An operation on one order that takes no body.
    fn with_order(
        &self,
        context: &Context,
        call: &Call,
        answer: impl FnOnce(&mut Order) -> Result<Value, Refusal>,
    ) -> Result<Outcome, Refusal> {
        let id = call.id("ord-")?;
        call.no_body()?;
        self.known(context, id, context.now, answer).map(|value| Outcome::json(&value))
    }

    fn known<T>(
        &self,
        context: &Context,
        id: &str,
        now: Timestamp,
        answer: impl FnOnce(&mut Order) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut ledger = lock(&self.0.ledger);
        let order = ledger
            .get_mut(id)
            .filter(|order| !order.is_forgotten)
            .ok_or_else(|| context.unknown(Code::Validation, id))?;
        settle(order, &context.settings, &context.authorities, now)
            .map_err(|_| Refusal::uncaught())?;
        answer(order)
    }

    /// `/v2/order/{ord}/tags`: the whole set is replaced.
    fn replace_tags(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let id = call.id("ord-")?;
        let tags: Vec<String> = call.json()?;
        self.known(context, id, context.now, |order| {
            order.tags = tags;
            Ok(Outcome::json(&order.document(context.settings.lowercase_status, false, false)))
        })
    }

    /// All hits, in an order that means nothing, and the number of all orders.
    fn found(&self, context: &Context, call: &Call) -> Result<(Vec<Value>, usize), Refusal> {
        let search: Search = call.json()?;
        let references = search.client_references.iter().flatten().map(|id| ("cli-", id));
        let mut ids = references.chain(search.order_reference.iter().map(|id| ("ord-", id)));
        if let Some((_, bad)) = ids.find(|(prefix, id)| !id::is(prefix, id)) {
            return Err(Refusal::bad(Code::Validation, format!("Invalid reference: {bad}")));
        }
        let ledger = self
            .settled(&context.settings, &context.authorities)
            .map_err(|_| Refusal::uncaught())?;
        let indexed = ledger
            .orders
            .iter()
            .filter(|order| search::is_indexed(&context.settings, order, context.now));
        let mut total = 0;
        let mut hits: Vec<&Order> = indexed
            .inspect(|_| total += 1)
            .filter(|order| search::matches(&context.settings, &search, order))
            .collect();
        // No order is documented. Random ids make one that stays the same and means nothing.
        hits.sort_by(|left, right| left.uuid.cmp(&right.uuid));
        let with_chain = search.include_certificate_chain == Some(true);
        let lowercase = context.settings.lowercase_status;
        Ok((hits.iter().map(|order| order.document(lowercase, true, with_chain)).collect(), total))
    }

    /// `/v2/orders`.
    fn search(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let (mut hits, _) = self.found(context, call)?;
        hits.truncate(context.settings.max_page_length as usize);
        Ok(Outcome::json(&json!(hits)))
    }

    /// `/v2/orders/paged`.
    fn search_paged(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let (hits, total) = self.found(context, call)?;
        page(context, call, hits, total)
    }

    /// `/v2/revoke`: one after the other, up to the first that fails.
    fn revoke(&self, context: &Context, call: &Call) -> Result<Outcome, Refusal> {
        let requests: Vec<RevocationRequest> = call.json()?;
        let mut ledger = self
            .settled(&context.settings, &context.authorities)
            .map_err(|_| Refusal::uncaught())?;
        for request in requests {
            revoke_one(context, &mut ledger.orders, request)?;
        }
        Ok(Outcome::nothing())
    }
}

fn product_document(id: &str, product: &Product) -> Value {
    let mut document = json!({
        "uuid": id,
        "productName": product.name,
        "productDescription": product.description,
        "keyGenerationType": product.key_generation_type,
        "keyType": product.key_type,
        "authorization": product.authorization,
        "isCABDNSValidationRequired": product.is_cab_dns_validation_required,
        "isCABDNSEmailLinkValidationRequired": product.is_cab_dns_email_link_validation_required,
        "isEmailBoxValidationRequired": product.is_email_box_validation_required,
        "requiresRegistrationDocuments": product.requires_registration_documents,
        "requiresRegistrationDocumentsOnRegister":
            product.requires_registration_documents_on_register,
        "expirationDate": product.expiration_date,
    });
    if let Some(validity) = &product.product_validity {
        document["productValidity"] = json!(validity);
    }
    for absent in [
        "allowRegistrationDocumentsPDF",
        "allowRegistrationDocumentsJPG",
        "issuanceNotification",
        "revocationNotification",
        "renewalRule",
        "publishCertificate",
        "clientPublishCertificateOverride",
        "clientPublishCertificateOverrideDefault",
        "isGenerateRevocationCode",
        "allowAdditionalIssuanceNotificationRecipients",
        "allowAdditionalRevocationNotificationRecipients",
        "allowAdditionalRenewalNotificationRecipients",
        "allowAdditionalAuthorizationNotificationRecipients",
        "allowAdditionalAuthorizationAcceptedNotificationRecipients",
        "allowAdditionalAuthorizationRejectedNotificationRecipients",
        "allowAdditionalCABDNSNotificationRecipients",
    ] {
        document[absent] = Value::Bool(false);
    }
    document
}

fn client_document(offer: &Offer) -> Value {
    let products: Vec<Value> =
        offer.products.iter().map(|(id, product)| product_document(id, product)).collect();
    json!({
        "uuid": offer.client_id,
        "name": offer.client_name,
        "description": offer.client_description,
        "products": products,
    })
}

fn found_clients(context: &Context, call: &Call) -> Result<Vec<Value>, Refusal> {
    call.no_body()?;
    let wanted = call.query("search").filter(|text| !text.is_empty());
    let is_found =
        |offer: &&Offer| wanted.is_none_or(|text| search::finds_client(text, &offer.client_name));
    Ok(context.offers.iter().filter(is_found).map(client_document).collect())
}

/// `/v2/clients`.
fn clients(context: &Context, call: &Call) -> Result<Outcome, Refusal> {
    let mut found = found_clients(context, call)?;
    found.truncate(context.settings.max_page_length as usize);
    Ok(Outcome::json(&json!(found)))
}

/// `/v2/clients/paged`.
fn clients_paged(context: &Context, call: &Call) -> Result<Outcome, Refusal> {
    let found = found_clients(context, call)?;
    page(context, call, found, context.offers.len())
}

/// `/v2/client/{cli}`.
fn client(context: &Context, call: &Call) -> Result<Outcome, Refusal> {
    let id = call.id("cli-")?;
    call.no_body()?;
    let offer = context.offers.iter().find(|offer| offer.client_id == id);
    let offer = offer.ok_or_else(|| context.unknown(Code::InvalidClient, id))?;
    Ok(Outcome::json(&client_document(offer)))
}

/// The page object: a longer page than the maximum is clamped.
fn page(
    context: &Context,
    call: &Call,
    hits: Vec<Value>,
    total: usize,
) -> Result<Outcome, Refusal> {
    let most = context.settings.max_page_length as usize;
    let start = call.number("start")?.unwrap_or(0);
    let length = call.number("length")?.unwrap_or(most).min(most);
    let filtered = hits.len();
    let data: Vec<Value> = hits.into_iter().skip(start).take(length).collect();
    Ok(Outcome::json(&json!({
        "draw": 0,
        "recordsFiltered": filtered,
        "recordsTotal": total,
        "data": data,
    })))
}

/// `/v2/order/{ord}/certificate/chain`.
fn chain(context: &Context, order: &Order) -> Result<Vec<String>, Refusal> {
    let settings = &context.settings;
    let missing = || {
        Refusal::with(settings.chain_missing_status, Code::Validation, "No certificate available")
    };
    let is_issued = order.is_in("ISSUED") || order.is_in("REVOKED");
    let since = order.issued_on.filter(|_| is_issued).ok_or_else(missing)?;
    let visible = shifted(since, duration(settings.chain_missing_seconds));
    let certificate =
        order.certificate.as_ref().filter(|_| visible <= context.now).ok_or_else(missing)?;
    Ok(certificate.chain.clone())
}

/// The chain as a fault of this operation has it.
fn spoiled(context: &Context, mut chain: Vec<String>, fault: Option<Kind>) -> Vec<String> {
    match fault {
        Some(Kind::WrongChainOrder) => chain.reverse(),
        Some(Kind::UnrelatedChain) => {
            chain.truncate(1);
            chain.push(STANDARD.encode(&context.authorities.unrelated.der));
        }
        Some(_) | None => {}
    }
    chain
}

/// Accepts the revocation of one certificate.
fn revoke_one(
    context: &Context,
    orders: &mut [Order],
    request: RevocationRequest,
) -> Result<(), Refusal> {
    if !request.revocation_reason.is_requestable() {
        return Err(Refusal::bad(Code::Validation, "This reason cannot be requested"));
    }
    let requestor = request.revocation_requestor.filter(|name| !name.trim().is_empty());
    if context.settings.needs_requestor && requestor.is_none() {
        return Err(Refusal::bad(Code::Validation, "revocationRequestor is mandatory"));
    }
    let significant = |serial: &str| serial.trim_start_matches('0').to_ascii_uppercase();
    let wanted = significant(&request.serial_number);
    let ours = orders.iter_mut().filter(|order| !order.is_forgotten).find(|order| {
        order.certificate.as_ref().is_some_and(|found| significant(&found.serial) == wanted)
    });
    let Some(order) = ours else {
        return Err(match context.authorities.have_serial(&wanted) {
            true => Refusal::bad(Code::CertificateIsCa, "This is the certificate of a CA"),
            false => Refusal::bad(Code::InvalidSerialNumber, "Unknown serial number"),
        });
    };
    let certificate = order.certificate.as_ref().ok_or_else(Refusal::uncaught)?;
    let objection = if certificate.issuer != request.issuer_name {
        Some((Code::InvalidIssuerName, "The issuer is another"))
    } else if order.revocation.is_some() {
        Some((Code::AlreadyRevoked, "The certificate is revoked already"))
    } else if certificate.not_after <= context.now {
        Some((Code::CertificateExpired, "The certificate has expired"))
    } else {
        None
    };
    if let Some((code, message)) = objection {
        return Err(Refusal::bad(code, message));
    }
    // A product that needs a person for orders needs one for revocations too.
    let needs_person = context
        .offers
        .iter()
        .flat_map(|offer| &offer.products)
        .any(|(id, product)| *id == order.ordered.product_id && product.authorization);
    let due = context
        .settings
        .revocation_seconds
        .filter(|_| !needs_person)
        .map(|seconds| shifted(context.now, duration(seconds)));
    order.revocation = Some(Revocation {
        reason: request.revocation_reason,
        revoked_by: format!("{}@ra.example", context.account),
        requestor,
        due,
        revoked_on: None,
    });
    settle(order, &context.settings, &context.authorities, context.now)
        .map_err(|_| Refusal::uncaught())
}
