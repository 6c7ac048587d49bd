//! One function for each operation, over the shared transport.
//!
//! # Invariants
//! - A request is repeated in one case only: the API answered 401, which it does before it looks at
//!   anything, and another token was obtained.
//! - What buys something goes out on a connection of its own.
//! - No id gets into a path before it has been looked at, and credentials go to the host of the API
//!   and, where there is one, of its token endpoint alone.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, Uri, header};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::errors::{self, Origin, Problem, Purpose};
use super::wire::{self, Envelope, Plan, Purchase, Sold, TokenReply, Validate};
use crate::api::condition::shortened;
use crate::api::{SslPurchase as Settings, SslPurchasePaths};
use crate::ca::kind::Opening;
use crate::clock::Clock;
use crate::outside::credentials::{Basic, ClientCredentials, Credentials, Token};
use crate::outside::in_flight::IsSubmit;
use crate::outside::remote_text::{self, Reader};
use crate::outside::tokens::{Bearer, Fresh, Lifetimes, Tokens};
use crate::outside::transport::{Call, Transport};
use crate::outside::{Disposition, Error};
use crate::pki::{Certificate, Download};
use crate::reason::Reason;

/// A page of orders, each with its CSR; a list of plans.
const LIST_LIMIT: usize = 4 * 1024 * 1024;
/// Anything else: one order, a download, an error.
const LIMIT: usize = 1024 * 1024;
/// So many pages of a list are read.
pub(super) const PAGES: usize = 50;
/// What comes on a page where nothing else is said.
pub(super) const PAGE: usize = 100;
/// So much is kept of a list.
const KEPT: usize = 10_000;
/// Of tokens that do not say how long they live.
const LIFETIMES: Lifetimes =
    Lifetimes { usual: SignedDuration::from_mins(5), margin: SignedDuration::from_mins(1) };
/// So often a list is begun that changes while it is read.
const BEGINNINGS: u32 = 3;

/// How requests say who sends them.
enum Access {
    Basic(Basic),
    Oidc(Box<Oidc>),
    Header { name: HeaderName, key: Token },
}

/// A client of OpenID Connect, and whose account it speaks for.
struct Oidc {
    client: ClientCredentials,
    token_url: url::Url,
    tokens: Tokens<Problem>,
    realm: HeaderValue,
}

/// Something that an order is downloaded as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    Crt,
    Ca,
    Pkcs7,
    Zip,
}

/// What came of a download.
#[derive(Debug)]
pub(super) enum Downloaded {
    Certificates(Vec<Certificate>),
    /// It may come yet.
    NotThere,
    /// Why it cannot be used.
    Unreadable(String),
}

/// Everything of a list that was looked for.
#[derive(Debug)]
pub(super) struct Listed<T> {
    /// Each once.
    pub(super) found: Vec<T>,
    /// Why there may be more, in words; `None` where everything was read.
    pub(super) doubt: Option<String>,
    /// How many there are in all, as far as that is known.
    pub(super) total: u64,
}

/// An element of a list.
struct Entry<T> {
    id: String,
    /// It is just what the filter names.
    is_asked: bool,
    /// `None` where it is only counted.
    kept: Option<T>,
}

/// What the list of orders is filtered by, at the API's discretion.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filter<'a> {
    pub(super) plan: Option<&'a str>,
    pub(super) reference: Option<&'a str>,
}

struct Paths {
    list: String,
    plans: String,
    one: String,
    renew: String,
    reissue: String,
    validate: String,
    details: String,
    crt: String,
    ca: String,
    pkcs7: String,
    zip: String,
    csr: String,
}

impl Paths {
    fn new(own: Option<&SslPurchasePaths>) -> Self {
        let own = own.cloned().unwrap_or_default();
        let of = |own: Option<String>, usual: &str| own.unwrap_or_else(|| usual.to_owned());
        let below = |own: Option<String>, part: &str| {
            own.unwrap_or_else(|| format!("/ssl-certificate/{{id}}/{part}"))
        };
        Self {
            list: of(own.list, "/ssl-certificate"),
            plans: of(own.plans, "/ssl-certificate-plan"),
            one: of(own.one, "/ssl-certificate/{id}"),
            renew: below(own.renew, "renew"),
            reissue: below(own.reissue, "reissue"),
            validate: below(own.validate, "validate"),
            details: below(own.validation_details, "validation-details"),
            crt: below(own.download_crt, "download-crt"),
            ca: below(own.download_ca, "download-ca"),
            pkcs7: below(own.download_pkcs7, "download-pkcs7"),
            zip: below(own.download_zip, "download-zip"),
            csr: below(own.download_csr, "download-csr"),
        }
    }
}

pub(super) struct Client {
    base: url::Url,
    host: String,
    /// The host with its port.
    authority: String,
    access: Access,
    paths: Paths,
    transport: Arc<dyn Transport>,
    deadline: Duration,
    clock: Clock,
    reader: Reader,
}

/// An operation with everything but the credentials.
struct Ask<'a> {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Bytes>,
    accept: &'static str,
    body_limit: usize,
    purpose: Purpose,
    /// Of an order, where it is one: for messages.
    id: Option<&'a str>,
    /// What it says of people, which no message repeats.
    personal: Vec<&'a str>,
}

const JSON: &str = "application/json";

impl<'a> Ask<'a> {
    fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            query: Vec::new(),
            body: None,
            accept: JSON,
            body_limit: LIMIT,
            purpose: Purpose::Look,
            id: None,
            personal: Vec::new(),
        }
    }

    fn of(method: Method, template: &str, id: &'a str) -> Result<Self, Problem> {
        if !wire::is_id(id) {
            return Err(ours("the id of an order holds what no id holds"));
        }
        Ok(Self { method, id: Some(id), ..Self::get(&template.replace("{id}", id)) })
    }

    fn with_json(self, body: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(body).map_err(|_| ours("a body could not be written"))?;
        Ok(Self { body: Some(body.into()), ..self })
    }
}

impl Client {
    pub(super) fn new(settings: &Settings, with: Opening) -> Result<Self, Error> {
        let Opening { credentials, transport, deadline, clock, reader } = with;
        let base = address(&settings.url, "url")?;
        let host = base.host_str().unwrap_or_default().to_owned();
        let authority = format!("{host}:{}", base.port_or_known_default().unwrap_or(443));
        let access = access(settings, credentials, &clock)?;
        let paths = Paths::new(settings.paths.as_ref());
        Ok(Self { base, host, authority, access, paths, transport, deadline, clock, reader })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// `text` without what is secret in the credentials, and without addresses and numbers of people.
    pub(super) fn scrub(&self, text: &str) -> String {
        let text = match &self.access {
            Access::Basic(basic) => basic.scrub(text),
            Access::Oidc(oidc) => oidc.tokens.scrub(&oidc.client.scrub(text)),
            Access::Header { key, .. } => key.scrub(text),
        };
        without_people(&text)
    }

    /// The list of plans, to its end.
    pub(super) async fn plans(
        &self,
        filter: (&'static str, &str),
    ) -> Result<Listed<Plan>, Problem> {
        let (key, value) = filter;
        let query = vec![(key, value.to_owned())];
        self.list(&self.paths.plans, query, PAGES, |value| {
            let plan = Plan::read(value)?;
            let own = if key == "id" { Some(plan.id.as_str()) } else { plan.name.as_deref() };
            let is_asked = own.is_some_and(|own| own.eq_ignore_ascii_case(filter.1));
            Some(Entry { id: plan.id.clone(), is_asked, kept: Some(plan) })
        })
        .await
    }

    /// The list of orders, up to so many pages. What is not `wanted` is counted and not kept.
    pub(super) async fn orders(
        &self,
        filter: Filter<'_>,
        pages: usize,
        wanted: impl Fn(&Sold) -> bool,
    ) -> Result<Listed<Sold>, Problem> {
        let mut query = Vec::new();
        query.extend(filter.plan.map(|plan| ("plan", plan.to_owned())));
        query.extend(filter.reference.map(|one| ("client_reference", one.to_owned())));
        self.list(&self.paths.list, query, pages, |value| {
            let sold = Sold::read(value)?;
            let is_asked =
                filter.reference.is_some() && filter.reference == sold.reference.as_deref();
            Some(Entry { id: sold.id.clone(), is_asked, kept: Some(sold).filter(&wanted) })
        })
        .await
    }

    /// In which order the API lists is documented nowhere, so that the number of different elements
    /// alone tells that all were read, where the API tells how many there are. Where that number
    /// changed while pages were read, an element may have moved from one to another: it is begun anew.
    ///
    /// Where it does not tell, how long its pages are is not known either: only an empty page is the
    /// end, or one that shows that the filter is applied, for it holds what was asked for alone.
    async fn list<T>(
        &self,
        path: &str,
        query: Vec<(&'static str, String)>,
        pages: usize,
        read: impl Fn(&Value) -> Option<Entry<T>>,
    ) -> Result<Listed<T>, Problem> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut announced: Option<u64> = None;
        let (mut next, mut nameless, mut begun, mut is_whole): (Option<(u64, u64)>, _, _, _) =
            (None, 0, 1, false);
        for _ in 0..pages {
            let mut query = query.clone();
            if let Some((offset, limit)) = next {
                query.push(("offset", offset.to_string()));
                query.push(("limit", limit.to_string()));
            }
            let ask = Ask { query, body_limit: LIST_LIMIT, ..Ask::get(path) };
            let envelope = self.json(ask).await?;
            let (total, limit) = (envelope.total, envelope.limit);
            let offset = envelope.offset;
            let is_list = envelope.result.is_array() || total == Some(0);
            let Some(elements) = envelope.elements() else {
                return Err(Problem::senseless(format!(
                    "{}{path} answered with something that is no list",
                    self.host
                )));
            };
            if next.is_some() && total != announced && begun < BEGINNINGS {
                (next, nameless) = (None, 0);
                announced = None;
                found.clear();
                seen.clear();
                begun += 1;
                continue;
            }
            announced = total;
            let count = elements.len() as u64;
            let before = seen.len();
            let (mut is_asked_alone, mut begins_anew) = (true, false);
            for (at, element) in elements.iter().enumerate() {
                let Some(entry) = read(element) else {
                    nameless += 1;
                    is_asked_alone = false;
                    continue;
                };
                is_asked_alone &= entry.is_asked;
                if seen.insert(entry.id) {
                    found.extend(entry.kept);
                } else {
                    begins_anew |= at == 0;
                }
            }
            if found.len() > KEPT {
                return Err(Problem::senseless(format!(
                    "{}{path} lists more than {KEPT} of what is looked for, and no more is read",
                    self.host
                )));
            }
            // The next page begins where another did: `offset` is not looked at.
            let is_repeated =
                next.is_some() && (seen.len() == before || total.is_none() && begins_anew);
            let read_to = next.map_or(offset, |(offset, _)| offset) + count;
            let has_more = match total {
                Some(total) => total > read_to,
                None => !is_asked_alone,
            };
            if count == 0 {
                // Nothing at all is no list without entries.
                is_whole = is_list;
                break;
            }
            if is_repeated || !has_more {
                is_whole = !is_repeated;
                break;
            }
            next = Some((read_to, limit.filter(|limit| *limit > 0).unwrap_or(count)));
        }
        let read = seen.len() as u64;
        let is_short = announced.is_some_and(|total| total != read);
        let doubt = (!is_whole || is_short || nameless > 0).then(|| match announced {
            Some(total) => format!("the list announced {total} entries, and {read} could be read"),
            None => format!(
                "whether the list ends after {read} entries is not told, or it holds what cannot be read"
            ),
        });
        Ok(Listed { found, doubt, total: announced.unwrap_or(read) })
    }

    /// One order.
    pub(super) async fn one(&self, id: &str) -> Result<Sold, Problem> {
        let ask = Ask::of(Method::GET, &self.paths.one, id)?;
        let path = ask.path.clone();
        let sold = Sold::read(&self.json(ask).await?.result);
        match sold {
            Some(sold) if sold.id == id => Ok(sold),
            Some(_) => {
                Err(Problem::senseless(format!("{}{path} answers for another order", self.host)))
            }
            None => Err(Problem::senseless(format!(
                "{}{path} answered without an order that has an id",
                self.host
            ))),
        }
    }

    /// Buys a certificate. `None` where the answer tells of no order.
    pub(super) async fn buy(&self, body: &Purchase<'_>) -> Result<Option<Sold>, Problem> {
        let ask = Ask { method: Method::POST, purpose: Purpose::Buy, ..Ask::get(&self.paths.list) };
        self.bought(ask, body).await
    }

    /// Buys another term of an order.
    pub(super) async fn renew(
        &self,
        id: &str,
        body: &Purchase<'_>,
    ) -> Result<Option<Sold>, Problem> {
        let ask = Ask::of(Method::POST, &self.paths.renew, id)?;
        self.bought(Ask { purpose: Purpose::BuyOn, ..ask }, body).await
    }

    /// Has another certificate made within the term of an order.
    pub(super) async fn reissue(
        &self,
        id: &str,
        body: &Purchase<'_>,
    ) -> Result<Option<Sold>, Problem> {
        let ask = Ask::of(Method::POST, &self.paths.reissue, id)?;
        self.bought(Ask { purpose: Purpose::BuyOn, ..ask }, body).await
    }

    async fn bought<'a>(&self, ask: Ask<'a>, body: &Purchase<'a>) -> Result<Option<Sold>, Problem> {
        let id = ask.id.map(str::to_owned);
        let personal = [body.approver_phone_number, body.chamber_of_commerce];
        let ask = Ask { personal: personal.into_iter().flatten().collect(), ..ask };
        let mut result = self.json(ask.with_json(body)?).await?.result;
        // Whoever asks about an order by its id may be told of it without.
        if let (Some(id), Some(object)) = (id, result.as_object_mut())
            && !object.contains_key("id")
            && !object.contains_key("uuid")
            && (object.contains_key("status") || object.contains_key("state"))
        {
            object.insert("id".to_owned(), id.into());
        }
        Ok(Sold::read(&result))
    }

    /// Has a domain looked at again.
    pub(super) async fn validate(&self, id: &str, body: &Validate<'_>) -> Result<(), Problem> {
        let ask = Ask::of(Method::POST, &self.paths.validate, id)?;
        self.done(ask.with_json(body)?).await
    }

    /// Ends an order, with the certificate that it has.
    pub(super) async fn delete(&self, id: &str) -> Result<(), Problem> {
        self.done(Ask::of(Method::DELETE, &self.paths.one, id)?).await
    }

    /// What is done and what is still to be shown.
    pub(super) async fn details(&self, id: &str) -> Result<Value, Problem> {
        Ok(self.json(Ask::of(Method::GET, &self.paths.details, id)?).await?.result)
    }

    /// The CSR that an order was made with; `None` where none can be had.
    pub(super) async fn csr(&self, id: &str) -> Result<Option<Bytes>, Problem> {
        let ask = Ask { accept: "*/*", ..Ask::of(Method::GET, &self.paths.csr, id)? };
        match self.send(&ask).await {
            Ok(response) => Ok(Some(response.into_body())),
            Err(problem) if problem.is_not_there_yet() => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Certificates of an order.
    pub(super) async fn download(&self, id: &str, form: Form) -> Result<Downloaded, Problem> {
        let template = match form {
            Form::Ca => &self.paths.ca,
            Form::Crt => &self.paths.crt,
            Form::Pkcs7 => &self.paths.pkcs7,
            Form::Zip => &self.paths.zip,
        };
        let ask = Ask { accept: "*/*", ..Ask::of(Method::GET, template, id)? };
        match self.send(&ask).await {
            Ok(response) if response.body().trim_ascii().is_empty() => Ok(Downloaded::NotThere),
            Ok(response) => Ok(match Download::read(response.body()) {
                Ok(download) => Downloaded::Certificates(download.certificates),
                Err(why) => Downloaded::Unreadable(format!("{}{}: {why}", self.host, ask.path)),
            }),
            Err(problem) if problem.is_not_there_yet() => Ok(Downloaded::NotThere),
            Err(problem) => Err(problem),
        }
    }

    /// An operation that answers with nothing that is needed.
    async fn done(&self, ask: Ask<'_>) -> Result<(), Problem> {
        let response = self.send(&ask).await?;
        if response.body().trim_ascii().is_empty() {
            return Ok(());
        }
        match wire::json(response.body()) {
            Ok(_) => Ok(()),
            Err(why) => Err(self.unreadable(&ask, &response, why)),
        }
    }

    async fn json(&self, ask: Ask<'_>) -> Result<Envelope, Problem> {
        let response = self.send(&ask).await?;
        match wire::json(response.body()) {
            Ok(value) => Ok(Envelope::open(value)),
            Err(why) => Err(self.unreadable(&ask, &response, why)),
        }
    }

    fn unreadable(&self, ask: &Ask<'_>, response: &Response<Bytes>, why: &str) -> Problem {
        let scrub = |text: &str| self.scrub(text);
        let quoted = remote_text::quoted(response.body(), self.reader, false, scrub);
        Problem::senseless(format!(
            "{}{} answered {}, but {why}{quoted}: check spec.sslPurchase.url",
            self.host,
            ask.path,
            response.status()
        ))
    }

    /// Sends it, and once more with another token if that was what it failed for.
    async fn send(&self, ask: &Ask<'_>) -> Result<Response<Bytes>, Problem> {
        let Access::Oidc(oidc) = &self.access else {
            return self.send_with(ask, None).await;
        };
        let Oidc { client, token_url, tokens, realm } = &**oidc;
        let obtain = || self.token(client, token_url);
        let token = tokens.get(None, obtain).await.map_err(Problem::without_token)?;
        match self.send_with(ask, Some((&token, realm))).await {
            Err(problem) if problem.blames_token() => {
                let other = tokens.get(Some(&token), obtain).await;
                let other = other.map_err(Problem::without_token)?;
                self.send_with(ask, Some((&other, realm))).await
            }
            answer => answer,
        }
    }

    async fn send_with(
        &self,
        ask: &Ask<'_>,
        bearer: Option<(&Bearer, &HeaderValue)>,
    ) -> Result<Response<Bytes>, Problem> {
        let mut url = self.base.clone();
        {
            let mut path = url.path_segments_mut().map_err(|()| ours("url has no path"))?;
            path.pop_if_empty().extend(ask.path.trim_start_matches('/').split('/'));
        }
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        let uri: Uri = url.as_str().parse().map_err(|_| ours("an address could not be built"))?;
        let mut request = http::Request::new(ask.body.clone().unwrap_or_default());
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static(ask.accept));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        let unfit = || ours("the credentials do not fit into a header");
        match (&self.access, bearer) {
            (Access::Basic(basic), _) => {
                headers.insert(header::AUTHORIZATION, basic.header().map_err(|_| unfit())?);
            }
            (Access::Header { name, key }, _) => {
                headers.insert(name.clone(), key.header().map_err(|_| unfit())?);
            }
            (Access::Oidc(_), Some((token, realm))) => {
                headers.insert(header::AUTHORIZATION, token.header().ok_or_else(unfit)?);
                headers.insert(HeaderName::from_static("realm"), realm.clone());
            }
            (Access::Oidc(_), None) => return Err(unfit()),
        }
        let is_purchase = ask.purpose != Purpose::Look;
        if is_purchase {
            request.extensions_mut().insert(IsSubmit);
        }
        let call = Call {
            request,
            deadline: self.deadline,
            body_limit: ask.body_limit,
            fresh_connection: is_purchase,
        };
        let response = match self.transport.send(call).await {
            Ok(response) => response,
            Err(failure) => return Err(Problem::unanswered(&self.authority, &ask.path, &failure)),
        };
        let api = errors::of_api(&response);
        if response.status().is_success() && api.is_none() {
            return Ok(response);
        }
        let scrub = |text: &str| {
            let text = self.scrub(text);
            let text = bearer.map_or_else(|| text.clone(), |(token, _)| token.scrub(&text));
            ask.personal.iter().fold(text, |text, one| text.replace(one, "[…]"))
        };
        let place = match &self.access {
            Access::Basic(basic) => basic.place(),
            Access::Oidc(_) | Access::Header { .. } => {
                "the Secret of spec.sslPurchase.credentialsSecretRef".to_owned()
            }
        };
        let from = Origin {
            host: &self.host,
            path: &ask.path,
            credentials: &place,
            reader: self.reader,
            purpose: ask.purpose,
        };
        Err(Problem::answered(from, &response, api.as_ref(), &scrub))
    }

    /// A token, for the client's own credentials.
    async fn token(
        &self,
        client: &ClientCredentials,
        token_url: &url::Url,
    ) -> Result<Fresh, Problem> {
        let unbuilt = |_| ours("the address of the token endpoint could not be built");
        let uri: Uri = token_url.as_str().parse().map_err(unbuilt)?;
        let authority = crate::outside::transport::authority(&uri);
        let host = token_url.host_str().unwrap_or_default();
        let mut request = http::Request::new(Bytes::from(client.form().as_bytes().to_vec()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static(JSON));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
        let call =
            Call { request, deadline: self.deadline, body_limit: LIMIT, fresh_connection: false };
        let path = token_url.path();
        let response = match self.transport.send(call).await {
            Ok(response) => response,
            Err(failure) => return Err(Problem::unanswered(&authority, path, &failure)),
        };
        let scrub = |text: &str| client.scrub(text);
        if response.status().is_success() {
            let reply: Option<TokenReply> = serde_json::from_slice(response.body()).ok();
            return match reply {
                Some(reply) => {
                    let lifetime = reply.lifetime().map(SignedDuration::from_secs);
                    Ok((reply.access_token.clone(), lifetime))
                }
                // What it holds may be a token in another form.
                None => Err(Problem::senseless(format!(
                    "{host}{path} answered {}, but its body holds no access_token: check spec.sslPurchase.authentication.oidc.tokenUrl",
                    response.status()
                ))),
            };
        }
        // An OAuth 2.0 server refuses a client with 400 (RFC 6749, section 5.2).
        let is_refused = matches!(response.status().as_u16(), 400 | 401 | 403);
        let from = Origin {
            host,
            path,
            credentials: "the Secret of spec.sslPurchase.credentialsSecretRef",
            reader: self.reader,
            purpose: Purpose::Look,
        };
        let mut problem = Problem::answered(from, &response, None, &scrub);
        if is_refused {
            problem.error.disposition = Disposition::BlameCredentials;
            problem.error.reason = Reason::CredentialsRefused;
        }
        Err(problem)
    }
}

/// `text` without mail addresses, and without telephone numbers in the form in which the API takes
/// them: whose they are is not looked at.
fn without_people(text: &str) -> String {
    let is_mark = |c: char| c.is_ascii_punctuation() && c != '+';
    let is_mail = |word: &str| {
        word.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'))
    };
    let is_number = |word: &str| {
        let rest = word.strip_prefix('+').unwrap_or_default();
        rest.bytes().filter(u8::is_ascii_digit).count() >= 7
            && rest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'))
    };
    let one = |part: &str| {
        let word = part.trim().trim_matches(is_mark);
        let is_of_people = is_mail(word) || is_number(word);
        if is_of_people { part.replace(word, "[…]") } else { part.to_owned() }
    };
    text.split_inclusive(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '<' | '>' | ':'))
        .map(one)
        .collect()
}

/// What the Secret comes to, for how requests say who sends them.
fn access(
    settings: &Settings,
    credentials: Option<Credentials>,
    clock: &Clock,
) -> Result<Access, Error> {
    let unusable = |what: &str| Error {
        disposition: Disposition::BlameCredentials,
        reason: Reason::CredentialsUnusable,
        message: format!(
            "the Secret of spec.sslPurchase.credentialsSecretRef {what}: write it there"
        ),
    };
    let authentication = &settings.authentication;
    match (credentials, &authentication.oidc, &authentication.header) {
        (Some(Credentials::ClientCredentials(client)), Some(oidc), _) => {
            Ok(Access::Oidc(Box::new(Oidc {
                client,
                token_url: address(&oidc.token_url, "authentication.oidc.tokenUrl")?,
                tokens: Tokens::new(clock.clone(), LIFETIMES),
                realm: HeaderValue::from_str(&settings.reseller).map_err(|_| Error {
                    disposition: Disposition::BlameIssuer,
                    reason: Reason::SettingsInvalid,
                    message: "spec.sslPurchase.reseller holds what no header can carry".to_owned(),
                })?,
            })))
        }
        (Some(Credentials::ApiKey(key)), None, Some(own)) => {
            let name = HeaderName::from_bytes(own.name.as_bytes()).map_err(|_| Error {
                disposition: Disposition::BlameIssuer,
                reason: Reason::SettingsInvalid,
                message: "spec.sslPurchase.authentication.header.name is no name of a header"
                    .to_owned(),
            })?;
            Ok(Access::Header { name, key })
        }
        (Some(Credentials::Basic(basic)), None, None) => {
            if basic.password().trim().is_empty() {
                return Err(unusable("holds no apiKey"));
            }
            if basic.username().is_empty() || basic.username().contains(':') {
                return Err(unusable("holds no username, or one with a colon"));
            }
            // Another reseller has none of our orders, and would be taken for having lost them.
            if basic.username() != settings.reseller {
                return Err(Error {
                    disposition: Disposition::BlameCredentials,
                    reason: Reason::CredentialsUnusable,
                    message: format!(
                        "the Secret of spec.sslPurchase.credentialsSecretRef is of the account {}, and spec.sslPurchase.reseller is {}: put the credentials of that account back, or change spec.sslPurchase.reseller, and what is bought from then on is bought for the other account",
                        shortened(basic.username().to_owned(), 128),
                        settings.reseller
                    ),
                });
            }
            Ok(Access::Basic(basic))
        }
        _ => Err(unusable("does not hold what spec.sslPurchase.authentication asks for")),
    }
}

fn address(text: &str, field: &str) -> Result<url::Url, Error> {
    let invalid = |why: String| Error {
        disposition: Disposition::BlameIssuer,
        reason: Reason::AddressInvalid,
        message: format!("spec.sslPurchase.{field} is not a URL: {why}"),
    };
    let url: url::Url =
        text.parse().map_err(|error: url::ParseError| invalid(error.to_string()))?;
    if url.host_str().is_none() {
        return Err(invalid("it has no host".to_owned()));
    }
    if url.scheme() != "https" {
        return Err(invalid("it is not https".to_owned()));
    }
    Ok(url)
}

/// Nothing was sent, for a reason that lies here.
fn ours(why: &str) -> Problem {
    Problem::before_sending(Error {
        disposition: Disposition::Internal,
        reason: Reason::RequestNotMade,
        message: format!("the request to the SSL purchase API could not be built: {why}"),
    })
}
