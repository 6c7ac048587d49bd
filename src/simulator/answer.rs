//! Answers that any outside system may give: plain ones and the damaged ones that faults ask for.
//!
//! It builds responses and knows nothing of certificates. A response that must not arrive carries
//! [`Disconnect`]; a body that breaks off is a stream that ends in an error.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::simulator::Disconnect;
use crate::simulator::faults::Kind;

/// `text/plain` without a character set, as the WSGI services send it.
pub(crate) const TEXT_PLAIN: HeaderValue = HeaderValue::from_static("text/plain");
/// `text/html` without a character set.
pub(crate) const TEXT_HTML: HeaderValue = HeaderValue::from_static("text/html");
/// `text/html` as Django labels it.
pub(crate) const TEXT_HTML_UTF8: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

const MAINTENANCE_PAGE: &str = "<!DOCTYPE html>\n\
    <html><head><title>Scheduled maintenance</title></head>\n\
    <body><h1>We will be back soon</h1><p>This service is being upgraded.</p></body></html>\n";
const CHUNK: usize = 64 * 1024;

/// A response with a body and its type.
pub(crate) fn with_body(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = empty(status);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    *response.body_mut() = Body::from(body.into());
    response
}

/// A response without a body and a type.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The response with one more header; a value that is no header value is left out.
pub(crate) fn with_header(
    mut response: Response<Body>,
    name: HeaderName,
    value: &str,
) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// The response to HEAD: the same without its body.
pub(crate) fn without_body(mut response: Response<Body>) -> Response<Body> {
    *response.body_mut() = Body::empty();
    response
}

/// No response: the connection closes.
pub(crate) fn disconnect() -> Response<Body> {
    let mut response = empty(StatusCode::BAD_GATEWAY);
    response.extensions_mut().insert(Disconnect);
    response
}

/// The answer that this kind of fault puts in place of the right one. `opening` is how a right body
/// would begin.
pub(crate) fn instead(kind: Kind, opening: &'static str) -> Response<Body> {
    match kind {
        Kind::Status { status, body, retry_after, html } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let body =
                body.unwrap_or_else(|| "The simulator was asked to answer like this.\n".to_owned());
            let response = with_body(status, if html { TEXT_HTML } else { TEXT_PLAIN }, body);
            match retry_after {
                Some(seconds) => with_header(response, RETRY_AFTER, &seconds.to_string()),
                None => response,
            }
        }
        Kind::HtmlBody => with_body(StatusCode::OK, TEXT_HTML, MAINTENANCE_PAGE),
        Kind::HugeBody { bytes } => huge(bytes, opening),
        Kind::RepeatedBody { begin, text, repeats, end } => repeated(begin, &text, repeats, end),
        Kind::Redirect { location } => with_header(empty(StatusCode::FOUND), LOCATION, &location),
        Kind::Delay { .. }
        | Kind::DropBeforeCommit
        | Kind::DropAfterCommit
        | Kind::TruncatedBody
        | Kind::EmptyBody
        | Kind::Hang
        | Kind::WrongKey
        | Kind::WrongChainOrder
        | Kind::UnrelatedChain
        | Kind::ForgedSignature
        | Kind::Expired
        | Kind::NotYetValid { .. }
        | Kind::ApiError { .. } => disconnect(),
    }
}

/// So many bytes without a Content-Length; they are made while they are sent.
fn huge(bytes: u64, opening: &'static str) -> Response<Body> {
    let chunk = Bytes::from(vec![b'A'; CHUNK]);
    let filler = stream::unfold(bytes.saturating_sub(opening.len() as u64), move |left| {
        let size = left.min(CHUNK as u64);
        let next =
            (size > 0).then(|| (Ok::<_, io::Error>(chunk.slice(..size as usize)), left - size));
        std::future::ready(next)
    });
    let opening = stream::iter([Ok(Bytes::from_static(opening.as_bytes()))]);
    let mut response = empty(StatusCode::OK);
    response.headers_mut().insert(CONTENT_TYPE, TEXT_PLAIN);
    *response.body_mut() = Body::from_stream(opening.chain(filler));
    response
}

/// The same text so many times between two others; it is made while it is sent.
fn repeated(begin: String, text: &str, repeats: u64, end: String) -> Response<Body> {
    let at_once = (CHUNK / text.len().max(1)).max(1);
    let chunk = Bytes::from(text.repeat(at_once));
    let length = text.len();
    let filler = stream::unfold(repeats, move |left| {
        let now = left.min(at_once as u64);
        let next = (now > 0)
            .then(|| (Ok::<_, io::Error>(chunk.slice(..now as usize * length)), left - now));
        std::future::ready(next)
    });
    let ends = |text: String| stream::iter([Ok(Bytes::from(text))]);
    let mut response = empty(StatusCode::OK);
    response.headers_mut().insert(CONTENT_TYPE, TEXT_PLAIN);
    *response.body_mut() = Body::from_stream(ends(begin).chain(filler).chain(ends(end)));
    response
}

/// The body announced in full and sent in half.
pub(crate) fn truncated(mut response: Response<Body>, body: &[u8]) -> Response<Body> {
    let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
    let broken = async {
        // The server flushes only when the body has nothing to offer for once; without this pause
        // the half that was to arrive would be lost with the connection.
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    };
    let stream = stream::iter([Ok(half)]).chain(stream::once(broken));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = Body::from_stream(stream);
    response
}
