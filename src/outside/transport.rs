//! The one way out: every client of an outside system sends its requests through a [`Transport`].
//!
//! Owns body caps, deadlines, TLS in both directions and the difference between "was not sent" and
//! "nobody knows". The only module that knows reqwest, and the seam where a simulator plugs in without
//! sockets.
//!
//! # Guarantees
//! - One call is at most one request on the wire: no redirect is followed, nothing is repeated.
//! - Of the failures, [`Failure::Unknown`] alone leaves open whether the peer acted on the request.
//! - No proxy is asked that the route does not name: the environment counts for nothing. TLS goes
//!   through a proxy from end to end.
//! - Nothing connects to an address that the route does not reach, by whatever name.
//! - The answer's body is no longer than the cap of the request, and there within its deadline.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::credentials::ClientCertificate;
use super::in_flight::{IsSubmit, ORDINARY, Room, Share};
use super::proxy::Proxy;
use super::reach::{Reach, Refusal};
use super::{Disposition, Error};
use crate::pki::Certificate;
use crate::reason::Reason;
use crate::terminal::is_obeyed;

/// A request with the bounds of its answer.
pub struct Call {
    /// Method, absolute URL, headers and body.
    pub request: http::Request<Bytes>,
    /// Time from the first attempt to connect to the last byte of the answer.
    pub deadline: Duration,
    /// Longest body accepted, in bytes.
    pub body_limit: usize,
    /// Send it on a connection that nothing was sent on before, for what must not happen twice: on
    /// a kept connection that the server ends at the same moment, nobody knows what arrived.
    pub fresh_connection: bool,
}

/// Without the body, which may hold an API key.
impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("method", self.request.method())
            .field("uri", self.request.uri())
            .field("headers", self.request.headers())
            .field("body_bytes", &self.request.body().len())
            .field("deadline", &self.deadline)
            .field("body_limit", &self.body_limit)
            .field("fresh_connection", &self.fresh_connection)
            .finish()
    }
}

/// Sends one request.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The whole answer, or why there is none.
    async fn send(&self, call: Call) -> Result<http::Response<Bytes>, Failure>;
}

/// Makes the transport of an account.
pub trait Connector: Send + Sync {
    /// A transport that goes the way `route` says. It shares no connection with another.
    fn connect(&self, route: &Route) -> Result<Arc<dyn Transport>, Failure>;
}

/// How servers are reached, whom they are taken for, and as whom we come to them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// How servers are verified.
    pub roots: Roots,
    /// What is shown to servers that demand a certificate.
    pub identity: Option<ClientCertificate>,
    /// What lies in between.
    pub proxy: Option<Proxy>,
    /// Where it may lead.
    pub reach: Reach,
}

/// How servers are verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Roots {
    /// By the roots of the operating system.
    System,
    /// By these certificates and no others.
    Bundle(Vec<Certificate>),
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Failure {
    /// Nothing was sent, because the way there is closed: by a proxy, or because the other side asked
    /// to be left alone.
    #[error("{0}")]
    Blocked(Error),
    /// Nothing was sent: the name did not resolve, or no connection came about.
    #[error("{0}")]
    NotSent(String),
    /// Nothing was sent, because the server could not be verified or TLS could not be agreed.
    #[error("{0}")]
    Untrusted(String),
    /// Nothing was acted upon, because the server did not accept the client certificate, or demands
    /// one where there is none.
    #[error("{0}")]
    ClientRefused(String),
    /// Something was sent and no whole answer came back.
    #[error("{0}")]
    Unknown(String),
}

impl Failure {
    /// What happens next, in words for a condition. The call was for `path` of `host`, which is
    /// given with its port; an empty path is not mentioned.
    #[must_use]
    pub fn told(&self, host: &str, path: &str) -> Error {
        let retry = Disposition::Retry { after: None };
        let (disposition, reason, message) = match self {
            Self::Blocked(error) => return error.clone(),
            Self::NotSent(why) => {
                (retry, Reason::Unreachable, format!("{host} could not be reached: {why}"))
            }
            Self::Untrusted(why) => {
                (Disposition::BlameIssuer, Reason::ServerNotTrusted, format!("{host}: {why}"))
            }
            Self::ClientRefused(why) => (
                Disposition::BlameCredentials,
                Reason::CredentialsRefused,
                format!("{host}: {why}"),
            ),
            Self::Unknown(why) => {
                (retry, Reason::NoAnswer, format!("{host}{path} was called, but {why}"))
            }
        };
        Error { disposition, reason, message }
    }

    /// Whether the other side may have acted on the request.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

/// Host and port of an address, as messages name them.
#[must_use]
pub fn authority(uri: &http::Uri) -> String {
    let port = uri
        .port_u16()
        .unwrap_or_else(|| if uri.scheme() == Some(&http::uri::Scheme::HTTP) { 80 } else { 443 });
    format!("{}:{port}", uri.host().unwrap_or_default())
}

/// The real network.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    connect_timeout: Duration,
}

impl Network {
    /// For calls with this deadline. A connection has at most half of it: a dead address, or a proxy
    /// that hangs, is told apart from a server that is slow, and nothing was sent to either.
    #[must_use]
    pub fn for_calls_within(deadline: Duration) -> Self {
        Self { connect_timeout: CONNECT_TIMEOUT.min(deadline / 2) }
    }
}

impl Connector for Network {
    fn connect(&self, route: &Route) -> Result<Arc<dyn Transport>, Failure> {
        let roots = match &route.roots {
            Roots::Bundle(certificates) => certificates.clone(),
            Roots::System => {
                let found = crate::pki::system_roots();
                found.map_err(|error| Failure::Untrusted(error.to_string()))?.anchors
            }
        };
        let roots = roots
            .iter()
            .map(|root| reqwest::Certificate::from_der(root.der()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::Untrusted(innermost(&error)))?;
        let client = |idle: usize| {
            let mut builder = builder(roots.clone())
                .pool_max_idle_per_host(idle)
                .connect_timeout(self.connect_timeout);
            if let Some(proxy) = &route.proxy {
                builder = builder.proxy(through(proxy)?);
            }
            if route.reach.is_limited() {
                builder = builder.dns_resolver(Arc::new(Resolver(route.reach.clone())));
            }
            if let Some(identity) = &route.identity {
                let unusable = |error| {
                    let why = innermost(&error);
                    Failure::ClientRefused(format!("the client certificate is unusable: {why}"))
                };
                let pem = identity.to_pem();
                builder = builder
                    .identity(reqwest::Identity::from_pem(pem.as_bytes()).map_err(unusable)?);
            }
            builder.build().map_err(|error| Failure::Untrusted(innermost(&error)))
        };
        Ok(Arc::new(HttpClient {
            kept: client(usize::MAX)?,
            fresh: client(0)?,
            has_identity: route.identity.is_some(),
            proxy: route.proxy.clone(),
            reach: route.reach.clone(),
            connect_timeout: self.connect_timeout,
        }))
    }
}

/// The proxy, asked for the addresses that it is for.
fn through(proxy: &Proxy) -> Result<reqwest::Proxy, Failure> {
    let decides = proxy.clone();
    let chosen = reqwest::Proxy::custom(move |url| {
        let uri = url.as_str().parse::<http::Uri>().ok()?;
        decides.is_for(&uri).then(|| decides.url().to_owned())
    });
    let Some(credentials) = proxy.credentials() else { return Ok(chosen) };
    let header = credentials.header().map_err(|_| {
        Failure::ClientRefused(format!(
            "{} holds characters that no HTTP header can carry, and the proxy takes no others",
            credentials.place()
        ))
    })?;
    Ok(chosen.custom_http_auth(header))
}

fn builder(roots: Vec<reqwest::Certificate>) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_certs_only(roots)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .user_agent(concat!("chancery/", env!("CARGO_PKG_VERSION")))
}

/// Why a submit was not sent that waited for the answers of others of its owner.
const NO_ROOM: &str = "other submits of this namespace, or of this ClusterIssuer, take all the room that there is for them";

/// The longest that a connection takes to come about, with a proxy's tunnel and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

struct HttpClient {
    /// Keeps connections.
    kept: reqwest::Client,
    /// Keeps none, and finds none to use again.
    fresh: reqwest::Client,
    has_identity: bool,
    proxy: Option<Proxy>,
    reach: Reach,
    connect_timeout: Duration,
}

#[async_trait]
impl Transport for HttpClient {
    async fn send(&self, call: Call) -> Result<http::Response<Bytes>, Failure> {
        let deadline = call.deadline;
        let client = if call.fresh_connection { &self.fresh } else { &self.kept };
        let share = call.request.extensions().get::<Share>().cloned();
        let is_submit = call.request.extensions().get::<IsSubmit>().is_some();
        let request = reqwest::Request::try_from(call.request)
            .map_err(|error| Failure::NotSent(innermost(&error)))?;
        // As it will be connected to: a host has many spellings, and the way to it is decided upon once.
        let uri: http::Uri = request
            .url()
            .as_str()
            .parse()
            .map_err(|_| Failure::NotSent("its address cannot be read".to_owned()))?;
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.is_for(&uri));
        let target = authority(&uri);
        if let Some(proxy) = proxy.filter(|_| target.starts_with('[')) {
            return Err(Failure::Blocked(proxy.unnameable(&target)));
        }
        self.is_reached(request.url(), &target, proxy)?;
        let begun = tokio::time::Instant::now();
        let room = match share.as_ref().filter(|_| is_submit) {
            None => None,
            Some(share) => {
                let taken = tokio::time::timeout(deadline / 2, share.take_for_submit()).await;
                Some(taken.map_err(|_elapsed| Failure::NotSent(NO_ROOM.to_owned()))?)
            }
        };
        // What a submit waited is a part of its time: it must not arrive later than it would have.
        let left = deadline.saturating_sub(begun.elapsed());
        // The time-out lies around the whole exchange: one of the connection's own phases that
        // never ends would otherwise escape it.
        let exchange = exchange(client, request, call.body_limit, (share, room));
        match tokio::time::timeout(left, exchange).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(Broken::Answer(why))) => Err(Failure::Unknown(why)),
            Ok(Err(Broken::Request(error))) => {
                let within = self.connect_timeout;
                let refused = refused(&error).map(|refusal| out_of_reach(refusal, &target, proxy));
                let closed = || proxy.and_then(|proxy| closed(&error, proxy, (&target, within)));
                let refusal = || refusal(&error, call.fresh_connection, self.has_identity);
                let failure = || failure(&error, self.reach.is_limited());
                let told = refused.or_else(closed).or_else(refusal).unwrap_or_else(failure);
                Err(match (told, proxy) {
                    (Failure::Untrusted(why), Some(proxy)) => {
                        Failure::Untrusted(proxy.in_between(&target, &why))
                    }
                    (failure, _) => failure,
                })
            }
            Err(_elapsed) => Err(Failure::Unknown(format!(
                "no complete answer came within {} s",
                deadline.as_secs()
            ))),
        }
    }
}

impl HttpClient {
    /// Whether the route leads there, and to the proxy on the way: names as they are, and addresses.
    fn is_reached(
        &self,
        url: &reqwest::Url,
        target: &str,
        proxy: Option<&Proxy>,
    ) -> Result<(), Failure> {
        let beyond = url.host().and_then(|host| self.reach.refuses(&host, proxy.is_some()));
        if let Some(refusal) = beyond {
            return Err(Failure::Blocked(refusal.told(target)));
        }
        let Some(proxy) = proxy else { return Ok(()) };
        let url = reqwest::Url::parse(proxy.url()).ok();
        let host = url.as_ref().and_then(reqwest::Url::host);
        let refusal = host.and_then(|host| self.reach.refuses(&host, false));
        refusal.map_or(Ok(()), |refusal| Err(out_of_reach(refusal, target, Some(proxy))))
    }
}

/// What was refused is what is connected to: the proxy, where there is one.
fn out_of_reach(refusal: Refusal, target: &str, proxy: Option<&Proxy>) -> Failure {
    let what =
        proxy.map_or_else(|| target.to_owned(), |proxy| format!("the proxy {}", proxy.address()));
    Failure::Blocked(refusal.told(&what))
}

fn refused(error: &reqwest::Error) -> Option<Refusal> {
    let mut layer = error.source();
    while let Some(cause) = layer {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return Some(*refusal);
        }
        layer = cause.source();
    }
    None
}

/// Looks a name up once, and returns what of it may be connected to.
struct Resolver(Reach);

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            let name = reach.looked_up(name.as_str());
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (mut reached, mut refused) = (Vec::new(), None);
            for address in found {
                match reach.refuses_address(address.ip()) {
                    None => reached.push(address),
                    Some(refusal) => refused = Some(refusal),
                }
            }
            match refused {
                Some(refusal) if reached.is_empty() => Err(refusal.into()),
                Some(_) | None => Ok(Box::new(reached.into_iter()) as reqwest::dns::Addrs),
            }
        })
    }
}

/// Where an exchange broke.
enum Broken {
    /// Before the head of an answer was there.
    Request(reqwest::Error),
    /// Within the answer, and why.
    Answer(String),
}

async fn exchange(
    client: &reqwest::Client,
    request: reqwest::Request,
    body_limit: usize,
    (share, mut room): (Option<Share>, Option<Room>),
) -> Result<http::Response<Bytes>, Broken> {
    let mut response = client.execute(request).await.map_err(Broken::Request)?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Broken::Answer(format!("the answer broke off: {}", innermost(&error))))?
    {
        if body.len() + chunk.len() > body_limit {
            return Err(Broken::Answer(format!("the answer is longer than {body_limit} bytes")));
        }
        // All of it at once: who waits for more must not hold what others wait for.
        if room.is_none()
            && body.len() + chunk.len() > ORDINARY
            && let Some(share) = &share
        {
            let announced = response.content_length().and_then(|length| length.try_into().ok());
            room = Some(share.take(announced.unwrap_or(body_limit).min(body_limit)).await);
        }
        body.extend_from_slice(&chunk);
    }
    let body = body.freeze();
    let mut whole = http::Response::new(match room {
        Some(room) => room.hold(body),
        None => body,
    });
    *whole.status_mut() = response.status();
    *whole.headers_mut() = std::mem::take(response.headers_mut());
    Ok(whole)
}

/// Whether the proxy let nothing through. Before there is a tunnel nothing of a request goes anywhere.
///
/// What the HTTP client knows of its talk with the proxy is in the texts of its errors alone; tests
/// with a proxy see to it that they still read like this.
fn closed(
    error: &reqwest::Error,
    proxy: &Proxy,
    (target, within): (&str, Duration),
) -> Option<Failure> {
    let mut said = None;
    let mut layer = error.source();
    while let Some(cause) = layer {
        let text = cause.to_string();
        said = said.or_else(|| text.strip_prefix("tunnel error: ").map(str::to_owned));
        layer = cause.source();
    }
    Some(Failure::Blocked(match said.as_deref() {
        None if error.is_connect() && error.is_timeout() => proxy.silent(target, within),
        None => return None,
        Some("proxy authorization required") => proxy.denied(target),
        Some("unsuccessful") => proxy.refused(target, "it did not answer 200"),
        Some("proxy response headers too long") => proxy.refused(target, "its answer has no end"),
        Some("unexpected end of file") => {
            proxy.refused(target, "it ended the connection without an answer")
        }
        Some(_) => proxy.unreachable(target, &innermost(error)),
    }))
}

/// Whether the server refused our certificate, or misses one, and provably did nothing else.
///
/// In TLS 1.2 it says so while the connection comes about. In TLS 1.3 the client has finished before
/// the server looks at its certificate, and may have written the request by then; the server acts on
/// it only after that look (RFC 8446, section 4.4.2.4), so that an alert about the certificate which
/// is the first thing on a connection ends a handshake. It proves nothing on a connection that had
/// answers before, nor where nothing shows that a certificate was demanded: then a gateway may have
/// passed the request on before it ended the connection.
fn refusal(error: &reqwest::Error, is_first: bool, has_identity: bool) -> Option<Failure> {
    let Some(rustls::Error::AlertReceived(alert)) = tls_error(error) else { return None };
    let ends_a_handshake = is_first && is_about_a_demanded_certificate(*alert, has_identity);
    let is_proof = ends_a_handshake || error.is_connect() || was_taken_back(error);
    (is_proof && is_about_the_client(*alert)).then(|| {
        Failure::ClientRefused(if has_identity {
            format!(
                "the server did not accept the client certificate ({alert:?}): replace it, or have its issuer trusted there"
            )
        } else {
            format!("the server demands a client certificate ({alert:?}), and there is none")
        })
    })
}

/// Whether only a server that demanded a certificate says so. `access_denied` is said of much else.
fn is_about_a_demanded_certificate(alert: rustls::AlertDescription, has_identity: bool) -> bool {
    use rustls::AlertDescription as Alert;
    alert == Alert::CertificateRequired || has_identity && alert != Alert::AccessDenied
}

fn is_about_the_client(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::NoCertificate
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate
    )
}

/// Whether the connection ended before it took the request, which the HTTP client then has back
/// whole. Its error says so by its text alone; a test sees to it that it still does.
fn was_taken_back(error: &reqwest::Error) -> bool {
    let mut layer = error.source();
    while let Some(error) = layer {
        if error.to_string() == "client error (Canceled)" {
            return true;
        }
        layer = error.source();
    }
    false
}

/// What happened before a connection took the request sent nothing; everything later may have.
fn failure(error: &reqwest::Error, is_for_tenant: bool) -> Failure {
    let tls = tls_error(error);
    if was_taken_back(error) {
        return Failure::NotSent(format!(
            "the server ended the connection before it was sent anything ({}); one that demands a client certificate may do so",
            tls.map_or_else(|| innermost(error), |tls| brief(&tls.to_string()))
        ));
    }
    if !error.is_connect() && !error.is_builder() {
        return Failure::Unknown(match tls {
            Some(rustls::Error::AlertReceived(alert)) => {
                format!("the server ended TLS with {alert:?}")
            }
            Some(other) => brief(&format!("TLS broke: {other}")),
            None => innermost(error),
        });
    }
    match tls {
        Some(rustls::Error::InvalidCertificate(reason)) => Failure::Untrusted(format!(
            "the server's certificate was not accepted: {}",
            certificate_fault(reason, is_for_tenant)
        )),
        Some(rustls::Error::AlertReceived(alert @ rustls::AlertDescription::HandshakeFailure)) => {
            Failure::Untrusted(format!(
                "TLS failed, the server says {alert:?}: it takes none of our TLS versions and ciphers, or demands a client certificate"
            ))
        }
        Some(other) => Failure::Untrusted(brief(&format!("TLS failed: {other}"))),
        None => Failure::NotSent(innermost(error)),
    }
}

/// What is wrong with the server's certificate, and what mends it.
#[expect(clippy::wildcard_enum_match_arm, reason = "the errors of rustls are open-ended")]
///
/// A tenant chose the address, and is not told whose certificate is shown there.
fn certificate_fault(reason: &rustls::CertificateError, is_for_tenant: bool) -> String {
    use rustls::CertificateError::{
        BadSignature, ExpiredContext, NotValidForNameContext, NotValidYetContext, UnknownIssuer,
    };
    match reason {
        UnknownIssuer | BadSignature => format!(
            "it does not end at a trusted root ({reason:?}); put the CA's TLS root into spec.tls.caBundle of the issuer, and its fingerprint into chancery.dev/trust-anchors of the Secret with the credentials"
        ),
        ExpiredContext { not_after, .. } => format!(
            "it expired at {}; the operator of the server has to renew it",
            spoken(*not_after)
        ),
        NotValidYetContext { not_before, .. } => {
            format!("it becomes valid only at {}; compare the clocks", spoken(*not_before))
        }
        NotValidForNameContext { expected, .. } if is_for_tenant => {
            format!("it is not for {}; check the addresses in the issuer", expected.to_str())
        }
        NotValidForNameContext { expected, presented } => format!(
            "it is not for {}, but for {}; check the addresses in the issuer",
            expected.to_str(),
            brief(&presented.join(", "))
        ),
        _ if is_for_tenant => "it cannot be used".to_owned(),
        other => brief(&other.to_string()),
    }
}

fn spoken(time: rustls_pki_types::UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "a time far away".to_owned(), |time| time.to_string())
}

/// Such texts may hold what the server sent, names without end among it.
fn brief(text: &str) -> String {
    const LIMIT: usize = 300;
    let mut brief: String =
        text.chars().map(|c| if is_obeyed(c) { ' ' } else { c }).take(LIMIT).collect();
    if text.chars().nth(LIMIT).is_some() {
        brief.push('…');
    }
    brief
}

/// rustls wraps its errors into I/O errors, which hide them from `source`.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The cause at the bottom says what happened; the layers above repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    let mut source = error.source();
    while let Some(cause) = source {
        innermost = cause;
        source = cause.source();
    }
    let text = innermost.to_string();
    // rustls explains some errors by a link, which says nothing to the reader of a condition.
    brief(text.split(": https://docs.rs/").next().unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_named_with_its_port() {
        let rows = [
            ("https://ca.example/x", "ca.example:443"),
            ("https://ca.example:8443/x", "ca.example:8443"),
            ("http://ca.example", "ca.example:80"),
            ("https://[2001:db8::7]/x", "[2001:db8::7]:443"),
        ];
        for (uri, expected) in rows {
            assert_eq!(authority(&uri.parse().unwrap()), expected);
        }
    }

    #[test]
    fn only_who_demanded_a_certificate_proves_by_an_alert_that_nothing_was_done() {
        use rustls::AlertDescription as Alert;
        let cases = [
            ("one is missing", Alert::CertificateRequired, false, true),
            ("ours is from nobody known", Alert::UnknownCA, true, true),
            ("ours is over", Alert::CertificateExpired, true, true),
            (
                "a gateway speaks of a certificate, and none was shown",
                Alert::UnknownCA,
                false,
                false,
            ),
            (
                "a gateway denies access after a look at the request",
                Alert::AccessDenied,
                false,
                false,
            ),
            ("and to who has a certificate", Alert::AccessDenied, true, false),
        ];
        for (name, alert, has_identity, is_proof) in cases {
            assert_eq!(is_about_a_demanded_certificate(alert, has_identity), is_proof, "{name}");
        }
    }
}
