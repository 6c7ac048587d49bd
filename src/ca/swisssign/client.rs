//! One function for each operation, over the shared transport. All are POST, reads too.
//!
//! # Invariants
//! - A request is repeated in one case only: the API answered that it does not accept the token, and
//!   another one was obtained. It then has not looked at the request yet. What orders something is
//!   repeated after a 401 alone, and nothing twice.
//! - What orders something goes out on a connection of its own.
//! - No id gets into a path before it has been looked at.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::de::DeserializeOwned;

use super::errors::{Certainty, EXCHANGE, Problem};
use super::token::{self, LIFETIMES};
use super::wire::{self, CLIENT, IssueRequest, MANY, ORDER, PAGE, PRODUCT, Page, SearchOrders};
use crate::api::{SwissSign as Settings, SwissSignAuthentication};
use crate::ca::kind::Opening;
use crate::clock::Clock;
use crate::outside::capped::{self, Capped};
use crate::outside::credentials::Basic;
use crate::outside::in_flight::IsSubmit;
use crate::outside::remote_text::{self, Reader};
use crate::outside::tokens::{Bearer, Tokens};
use crate::outside::transport::{Call, Transport};
use crate::outside::{Disposition, Error};
use crate::pki::{self, Certificate};
use crate::reason::Reason;

/// A page of orders, each with its certificate; a client with all its products.
const LIST_LIMIT: usize = 8 * 1024 * 1024;
/// Anything else: one order, a chain, the steps of an order, an error.
const LIMIT: usize = 1024 * 1024;
/// Clients come with their products, so that fewer fill a page.
const CLIENTS_PAGE: usize = 100;
/// So many pages of anything are read.
pub(super) const PAGES: usize = 50;
/// So many bytes are kept of the pages of one list: some thousands of orders with their certificates,
/// or of clients with their products.
const KEPT: usize = 16 * 1024 * 1024;
/// So often a list is begun that changes while it is read.
const BEGINNINGS: u32 = 3;

pub(super) struct Client {
    base: url::Url,
    host: String,
    /// The host with its port.
    authority: String,
    authentication: SwissSignAuthentication,
    credentials: Basic,
    tokens: Tokens<Problem>,
    transport: Arc<dyn Transport>,
    deadline: Duration,
    clock: Clock,
    reader: Reader,
}

/// An operation with everything but the token.
struct Ask<'a> {
    /// Below `/v2`.
    path: &'a [&'a str],
    query: Vec<(&'static str, String)>,
    body: Option<(&'static str, Bytes)>,
    body_limit: usize,
    purpose: Purpose,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    /// It changes nothing.
    Look,
    /// It has an order examined that is not made.
    Examine,
    /// It makes an order.
    Order,
}

impl<'a> Ask<'a> {
    fn read(path: &'a [&'a str]) -> Self {
        Self { path, query: Vec::new(), body: None, body_limit: LIMIT, purpose: Purpose::Look }
    }

    fn with_json(self, body: &impl serde::Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(body).map_err(|_| ours("a body could not be written"))?;
        Ok(Self { body: Some(("application/json", body.into())), ..self })
    }

    /// As it is called in messages.
    fn label(&self) -> String {
        format!("/v2/{}", self.path.join("/"))
    }
}

/// What a search served.
pub(super) struct Orders {
    /// Each once.
    pub(super) orders: Vec<wire::Order>,
    /// Why there may be more, in words; `None` where everything was read.
    pub(super) doubt: Option<String>,
}

impl Client {
    pub(super) fn new(
        settings: &Settings,
        credentials: Basic,
        with: Opening,
    ) -> Result<Self, Error> {
        let Opening { transport, deadline, clock, reader, .. } = with;
        if matches!(credentials.username(), "" | "." | "..") {
            return Err(Error {
                disposition: Disposition::BlameCredentials,
                reason: Reason::CredentialsUnusable,
                message: "username is not the name of an account: write one such as MPKI0000001.AutoRAO into the Secret of spec.swissSign.credentialsSecretRef".to_owned(),
            });
        }
        let invalid = |why: String| Error {
            disposition: Disposition::BlameIssuer,
            reason: Reason::AddressInvalid,
            message: format!("spec.swissSign.url is not a URL: {why}"),
        };
        let base: url::Url =
            settings.url.parse().map_err(|error: url::ParseError| invalid(error.to_string()))?;
        let host = base.host_str().ok_or_else(|| invalid("it has no host".to_owned()))?.to_owned();
        let authority = format!("{host}:{}", base.port_or_known_default().unwrap_or(443));
        Ok(Self {
            base,
            host,
            authority,
            authentication: settings.authentication,
            credentials,
            tokens: Tokens::new(clock.clone(), LIFETIMES),
            transport,
            deadline,
            clock,
            reader,
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// `text` without the API key.
    pub(super) fn scrub(&self, text: &str) -> String {
        self.credentials.scrub(text)
    }

    /// `POST /v2/client/{cli}`.
    pub(super) async fn client(&self, id: &str) -> Result<wire::Client, Problem> {
        let path = ["client", checked(CLIENT, id)?];
        self.json(Ask { body_limit: LIST_LIMIT, ..Ask::read(&path) }).await
    }

    /// `POST /v2/clients/paged`, to its end. `search` is looked for in names, presumably.
    pub(super) async fn clients(&self, search: Option<&str>) -> Result<Vec<wire::Client>, Problem> {
        let mut clients: Vec<wire::Client> = Vec::new();
        let mut seen = HashSet::new();
        let (mut start, mut kept) = (0, 0);
        for _ in 0..PAGES {
            let mut query = page_query(start, CLIENTS_PAGE);
            query.extend(search.map(|name| ("search", name.to_owned())));
            let path = ["clients", "paged"];
            let ask = Ask { query, body_limit: LIST_LIMIT, ..Ask::read(&path) };
            let page: Page<wire::Client> = self.json(ask).await?;
            let data = page.data.unwrap_or_default();
            start += data.len();
            let is_last =
                data.is_empty() || page.records_filtered.is_none_or(|n| n <= start as u64);
            for client in data.into_vec() {
                if seen.insert(client.uuid.clone()) {
                    kept = self.kept(kept, client.weight(), &path)?;
                    clients.push(client);
                }
            }
            if is_last {
                break;
            }
        }
        Ok(clients)
    }

    /// `POST /v2/validate`: the same as [`Client::issue`], and nothing is made.
    pub(super) async fn validate(&self, request: &IssueRequest<'_>) -> Result<(), Problem> {
        let ask = Ask::read(&["validate"]).with_json(request)?;
        self.send(&Ask { purpose: Purpose::Examine, ..ask }).await.map(drop)
    }

    /// `POST /v2/issue`.
    pub(super) async fn issue(&self, request: &IssueRequest<'_>) -> Result<wire::Order, Problem> {
        let ask = Ask::read(&["issue"]).with_json(request)?;
        self.json(Ask { purpose: Purpose::Order, ..ask }).await
    }

    /// `POST /v2/issue/csr/{pma}`: the bare CSR, which JSON would not be taken for.
    pub(super) async fn issue_csr(
        &self,
        product: &str,
        csr_der: &[u8],
    ) -> Result<wire::Order, Problem> {
        let path = ["issue", "csr", checked(PRODUCT, product)?];
        let body = Bytes::from(pki::csr::to_pem(csr_der));
        let body = Some(("text/plain", body));
        self.json(Ask { body, purpose: Purpose::Order, ..Ask::read(&path) }).await
    }

    /// `POST /v2/order/{ord}`.
    pub(super) async fn order(&self, id: &str) -> Result<wire::Order, Problem> {
        let order: wire::Order = self.json(Ask::read(&["order", checked(ORDER, id)?])).await?;
        if order.id() == Some(id) {
            Ok(order)
        } else {
            Err(Problem::senseless(format!(
                "{}/v2/order/{id} answers for another order",
                self.host
            )))
        }
    }

    /// `POST /v2/order/{ord}/status`.
    pub(super) async fn status(&self, id: &str) -> Result<String, Problem> {
        let path = ["order", checked(ORDER, id)?, "status"];
        let response = self.send(&Ask::read(&path)).await?;
        wire::status(response.body())
            .ok_or_else(|| self.unreadable(&Ask::read(&path), &response, "it is no JSON text"))
    }

    /// `POST /v2/order/{ord}/certificate/chain`; empty where nothing is served.
    pub(super) async fn chain(&self, id: &str) -> Result<Vec<Certificate>, Problem> {
        let path = ["order", checked(ORDER, id)?, "certificate", "chain"];
        let response = self.send(&Ask::read(&path)).await?;
        wire::chain(response.body())
            .map_err(|why| self.unreadable(&Ask::read(&path), &response, &why))
    }

    /// `POST /v2/order/{ord}/tasks`.
    pub(super) async fn tasks(&self, id: &str) -> Result<Vec<wire::Task>, Problem> {
        let tasks: Option<Capped<wire::Task, MANY>> =
            self.json(Ask::read(&["order", checked(ORDER, id)?, "tasks"])).await?;
        Ok(tasks.unwrap_or_default().into_vec())
    }

    /// `POST /v2/orders/paged`, up to so many pages. In which order the API lists is documented
    /// nowhere, so that nothing but the number of different orders tells that all were read.
    /// Where that number changed while pages were read, an order may have moved from one to another: it
    /// is begun anew. What is not `wanted` is counted and not kept.
    pub(super) async fn orders(
        &self,
        filter: &SearchOrders<'_>,
        pages: usize,
        wanted: impl Fn(&wire::Order) -> bool,
    ) -> Result<Orders, Problem> {
        let mut orders = Vec::new();
        let mut seen = HashSet::new();
        let (mut start, mut announced, mut nameless, mut begun, mut kept) = (0, 0, 0, 1, 0);
        for _ in 0..pages {
            let path = ["orders", "paged"];
            let ask = Ask {
                query: page_query(start, PAGE),
                body_limit: LIST_LIMIT,
                ..Ask::read(&path).with_json(filter)?
            };
            let page: Page<wire::Order> = self.json(ask).await?;
            let (Some(total), Some(data)) = (page.records_filtered, page.data) else {
                return Err(Problem::senseless(format!(
                    "{}/v2/orders/paged answered without recordsFiltered or data",
                    self.host
                )));
            };
            if start > 0 && total != announced && begun < BEGINNINGS {
                (start, nameless, kept) = (0, 0, 0);
                orders.clear();
                seen.clear();
                begun += 1;
                continue;
            }
            announced = total;
            start += data.len();
            let is_empty = data.is_empty();
            for order in data.into_vec() {
                let Some(id) = order.id().map(str::to_owned) else {
                    nameless += 1;
                    continue;
                };
                if seen.insert(id) && wanted(&order) {
                    kept = self.kept(kept, order.weight(), &path)?;
                    orders.push(order);
                }
            }
            if is_empty || start as u64 >= announced {
                break;
            }
        }
        let doubt = (seen.len() as u64 != announced || nameless > 0).then(|| {
            format!("the search announced {announced} orders, but {} could be read", seen.len())
        });
        Ok(Orders { orders, doubt })
    }

    async fn json<T: DeserializeOwned>(&self, ask: Ask<'_>) -> Result<T, Problem> {
        let response = self.send(&ask).await?;
        serde_json::from_slice(response.body()).map_err(|error| {
            let why = capped::told(&error);
            let why = why.as_deref().unwrap_or("its body cannot be understood");
            self.unreadable(&ask, &response, why)
        })
    }

    /// What is kept of a list with so many bytes more.
    fn kept(&self, before: usize, more: usize, path: &[&str]) -> Result<usize, Problem> {
        let kept = before + more;
        if kept <= KEPT {
            return Ok(kept);
        }
        Err(Problem::senseless(format!(
            "{}/v2/{} lists more than {} MiB of what is looked for, and no more is read",
            self.host,
            path.join("/"),
            KEPT / (1024 * 1024)
        )))
    }

    fn unreadable(&self, ask: &Ask<'_>, response: &Response<Bytes>, why: &str) -> Problem {
        let scrub = |text: &str| self.credentials.scrub(text);
        let quoted = remote_text::quoted(response.body(), self.reader, false, scrub);
        Problem::senseless(format!(
            "{}{} answered {}, but {why}{quoted}",
            self.host,
            ask.label(),
            response.status()
        ))
    }

    /// Sends it with a token, and once more with another token if that was what it failed for.
    async fn send(&self, ask: &Ask<'_>) -> Result<Response<Bytes>, Problem> {
        let answer = self.send_twice_at_most(ask).await;
        answer.map_err(|problem| match ask.purpose {
            Purpose::Look => problem.of_a_look(),
            Purpose::Examine | Purpose::Order => problem,
        })
    }

    async fn send_twice_at_most(&self, ask: &Ask<'_>) -> Result<Response<Bytes>, Problem> {
        let token = self.token(None).await?;
        let problem = match self.send_with(ask, &token).await {
            Ok(response) => return Ok(response),
            Err(problem) if problem.blames_token() => problem,
            Err(problem) => return Err(problem),
        };
        let is_before_processing = problem.has_status(&[StatusCode::UNAUTHORIZED.as_u16()])
            && problem.certainty == Certainty::NothingDone;
        if ask.purpose == Purpose::Order && !is_before_processing {
            self.tokens.drop(&token).await;
            let retry = Disposition::Retry { after: None };
            return Err(Problem {
                error: Error { disposition: retry, ..problem.error },
                ..problem
            });
        }
        let another = self.token(Some(&token)).await?;
        self.send_with(ask, &another).await
    }

    async fn send_with(&self, ask: &Ask<'_>, token: &Bearer) -> Result<Response<Bytes>, Problem> {
        let authorization =
            token.header().ok_or_else(|| ours("the token does not fit into a header"))?;
        let scrub = |text: &str| token.scrub(&self.credentials.scrub(text));
        let mut url = self.url(&[&["v2"], ask.path].concat());
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        let accept = HeaderValue::from_static("application/json");
        let mut request = request(&url, accept, ask.body.clone())?;
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
        if ask.purpose == Purpose::Order {
            request.extensions_mut().insert(IsSubmit);
        }
        let call = Call {
            request,
            deadline: self.deadline,
            body_limit: ask.body_limit,
            fresh_connection: ask.purpose == Purpose::Order,
        };
        self.exchange(&ask.label(), call, scrub).await
    }

    /// One request, and everything that is no success told for what it is.
    async fn exchange(
        &self,
        path: &str,
        call: Call,
        scrub: impl Fn(&str) -> String,
    ) -> Result<Response<Bytes>, Problem> {
        let response = match self.transport.send(call).await {
            Ok(response) => response,
            Err(failure) => return Err(Problem::unanswered(&self.authority, path, &failure)),
        };
        // 200 is what is documented. What stands in front of the API may say 201 or 202 instead: the
        // body decides.
        match response.status() {
            StatusCode::OK
            | StatusCode::CREATED
            | StatusCode::ACCEPTED
            | StatusCode::NO_CONTENT => Ok(response),
            _ => {
                let place = (self.host.as_str(), path);
                Err(Problem::answered(place, &response, (&self.credentials, self.reader), &scrub))
            }
        }
    }

    /// A token that is not `refused`.
    async fn token(&self, refused: Option<&Bearer>) -> Result<Bearer, Problem> {
        let token = self.tokens.get(refused, || async {
            let token = match self.authentication {
                SwissSignAuthentication::Exchange => self.exchanged_token().await,
                SwissSignAuthentication::SelfSigned => {
                    token::self_signed(&self.credentials, self.now())
                }
            };
            token.map(|token| token::fresh(token, self.now()))
        });
        token.await.map_err(Problem::without_token)
    }

    /// `POST /v2/jwt/{userName}`.
    async fn exchanged_token(&self) -> Result<SecretString, Problem> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("userSecret", self.credentials.password())
            .finish();
        let scrub = |text: &str| {
            let encoded = form.strip_prefix("userSecret=").unwrap_or_default();
            let text = self.credentials.scrub(text);
            if encoded.is_empty() { text } else { text.replace(encoded, "[…]") }
        };
        let url = self.url(&["v2", "jwt", self.credentials.username()]);
        // A success is text, an error JSON.
        let accept = HeaderValue::from_static("text/plain, application/json");
        let body = ("application/x-www-form-urlencoded", Bytes::from(form.clone()));
        let call = Call {
            request: request(&url, accept, Some(body))?,
            deadline: self.deadline,
            body_limit: LIMIT,
            fresh_connection: false,
        };
        let response = self.exchange(EXCHANGE, call, scrub).await?;
        wire::token(response.body()).map(|token| token.to_owned().into()).ok_or_else(|| {
            Problem::before_sending(Error {
                disposition: Disposition::Internal,
                reason: Reason::NoToken,
                message: format!(
                    "{}{EXCHANGE} answered {}, but its body is no token: check spec.swissSign.url",
                    self.host,
                    response.status()
                ),
            })
        })
    }

    /// Each segment is encoded, so that none can lead elsewhere.
    fn url(&self, segments: &[&str]) -> url::Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

fn page_query(start: usize, length: usize) -> Vec<(&'static str, String)> {
    vec![("start", start.to_string()), ("length", length.to_string())]
}

/// Where no body is declared none is sent, and that it has no length is said.
fn request(
    url: &url::Url,
    accept: HeaderValue,
    body: Option<(&'static str, Bytes)>,
) -> Result<http::Request<Bytes>, Problem> {
    let uri: Uri = url.as_str().parse().map_err(|_| ours("an address could not be built"))?;
    let mut request = http::Request::new(Bytes::new());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    request.headers_mut().insert(header::ACCEPT, accept);
    match body {
        Some((content_type, body)) => {
            let content_type = HeaderValue::from_static(content_type);
            request.headers_mut().insert(header::CONTENT_TYPE, content_type);
            *request.body_mut() = body;
        }
        None => {
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    }
    Ok(request)
}

fn checked<'a>(prefix: &str, id: &'a str) -> Result<&'a str, Problem> {
    if wire::is_id(prefix, id) {
        Ok(id)
    } else {
        Err(ours(&format!("an id is not {prefix} and a lower-case UUID")))
    }
}

/// Nothing was sent, for a reason that lies here.
fn ours(why: &str) -> Problem {
    Problem::before_sending(Error {
        disposition: Disposition::Internal,
        reason: Reason::RequestNotMade,
        message: format!("the request to SwissSign could not be built: {why}"),
    })
}
