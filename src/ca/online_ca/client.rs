//! The two operations over the shared transport, and what each answer means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};

use super::wire::{self, TrustRoots};
use crate::api::OnlineCa as Settings;
use crate::ca::{Phase, Progress, Submitted};
use crate::outside::credentials::Basic;
use crate::outside::in_flight::IsSubmit;
use crate::outside::pause::retry_after;
use crate::outside::remote_text::{self, Reader};
use crate::outside::transport::{Call, Failure, Transport, authority};
use crate::outside::{Disposition, Error};
use crate::reason::Reason;

/// A leaf and a few CA certificates; grid chains stay far below.
const CERTIFICATE_LIMIT: usize = 1024 * 1024;
/// Grid trust directories hold hundreds of files of a few kilobytes.
const TRUST_ROOTS_LIMIT: usize = 4 * 1024 * 1024;

pub(super) struct Client {
    certificate_url: http::Uri,
    trust_roots_url: http::Uri,
    transport: Arc<dyn Transport>,
    deadline: Duration,
    reader: Reader,
}

impl Client {
    pub(super) fn new(
        settings: &Settings,
        transport: Arc<dyn Transport>,
        deadline: Duration,
        reader: Reader,
    ) -> Result<Self, Error> {
        let parse = |field: &str, url: &str| {
            url.parse::<http::Uri>().map_err(|error| Error {
                disposition: Disposition::BlameIssuer,
                reason: Reason::AddressInvalid,
                message: format!("spec.onlineCa.{field} is not a URL: {error}"),
            })
        };
        Ok(Self {
            certificate_url: parse("certificateUrl", &settings.certificate_url)?,
            trust_roots_url: parse("trustRootsUrl", &settings.trust_roots_url)?,
            transport,
            deadline,
            reader,
        })
    }

    /// "Get certificate". Renewal is the same call again.
    pub(super) async fn certificate(&self, csr_der: &[u8], credentials: &Basic) -> Submitted {
        let Ok(authorization) = credentials.header() else {
            return Submitted::Refused(Error {
                disposition: Disposition::BlameCredentials,
                reason: Reason::CredentialsUnusable,
                message: "the credentials hold characters that no HTTP header can carry".to_owned(),
            });
        };
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(&self.certificate_url)
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            // Contrail's errors are HTML pages unless text is asked for.
            .header(header::ACCEPT, "text/plain")
            .extension(IsSubmit)
            .body(Bytes::from(wire::certificate_form(csr_der)));
        match self.send(request, CERTIFICATE_LIMIT).await {
            Ok(response) => {
                read_certificate(&response, &self.certificate_url, (credentials, self.reader))
            }
            Err(failure) => {
                let error = failure.told(&authority(&self.certificate_url), "");
                if failure.is_unknown() {
                    Submitted::Unknown(error)
                } else {
                    Submitted::Refused(error)
                }
            }
        }
    }

    /// "Get trust roots", without credentials.
    pub(super) async fn trust_roots(&self) -> Result<TrustRoots, Error> {
        let request = http::Request::builder()
            .method(Method::GET)
            .uri(&self.trust_roots_url)
            .header(header::ACCEPT, "text/plain")
            .body(Bytes::new());
        let response = self
            .send(request, TRUST_ROOTS_LIMIT)
            .await
            .map_err(|failure| failure.told(&authority(&self.trust_roots_url), ""))?;
        if !is_success(response.status()) {
            return Err(answered(&response, &self.trust_roots_url, (None, self.reader)));
        }
        wire::trust_roots(response.body()).ok_or_else(|| Error {
            disposition: Disposition::BlameIssuer,
            reason: Reason::UnexpectedAnswer,
            message: format!(
                "{} did not answer with trust roots (lines of name=base64){}: check spec.onlineCa.trustRootsUrl",
                self.trust_roots_url,
                quoted(&response, (None, self.reader))
            ),
        })
    }

    async fn send(
        &self,
        request: http::Result<http::Request<Bytes>>,
        body_limit: usize,
    ) -> Result<http::Response<Bytes>, Failure> {
        let request = request.map_err(|error| Failure::NotSent(error.to_string()))?;
        let deadline = self.deadline;
        self.transport.send(Call { request, deadline, body_limit, fresh_connection: false }).await
    }
}

fn read_certificate(
    response: &http::Response<Bytes>,
    url: &http::Uri,
    (credentials, reader): (&Basic, Reader),
) -> Submitted {
    let status = response.status();
    if !is_success(status) {
        let error = answered(response, url, (Some(credentials), reader));
        // A server error may come after the certificate was made, and a success of another kind
        // proves nothing either.
        return if status.is_redirection() || status.is_client_error() {
            Submitted::Refused(error)
        } else {
            Submitted::Unknown(error)
        };
    }
    match wire::certificates(response.body()) {
        Ok(certificates) => Submitted::Accepted(Progress {
            id: None,
            named: false,
            phase: Phase::Issued(certificates),
        }),
        Err(why) => Submitted::Unknown(Error {
            disposition: Disposition::Internal,
            reason: Reason::UnexpectedAnswer,
            message: format!(
                "{url} answered {status}, but {why}{}",
                quoted(response, (Some(credentials), reader))
            ),
        }),
    }
}

/// 200 is what the services answer. What stands in front of them may say 201 or 202 instead: the body
/// decides.
fn is_success(status: StatusCode) -> bool {
    matches!(status, StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED)
}

/// Everything that is no success.
fn answered(
    response: &http::Response<Bytes>,
    url: &http::Uri,
    (sent, reader): (Option<&Basic>, Reader),
) -> Error {
    let status = response.status();
    let disposition = disposition(status, response.headers());
    let place = sent.map_or_else(|| "the Secret with the credentials".to_owned(), Basic::place);
    let credentials_advice = format!("check username and password in {place}");
    let (reason, advice) = match status.as_u16() {
        300..=399 => (
            Reason::Redirected,
            "redirects are not followed: write the final address into spec.onlineCa of the issuer",
        ),
        401 | 403 => (Reason::CredentialsRefused, credentials_advice.as_str()),
        404 | 410 => (
            Reason::AddressUnknown,
            "check the addresses in spec.onlineCa of the issuer; the trailing slash counts",
        ),
        408 | 425 => (Reason::NoAnswer, "tried again later"),
        429 => (Reason::TooManyRequests, "tried again later"),
        500..=599 => (Reason::ServerError, "tried again later"),
        400..=499 => (Reason::Refused, "the CA does not accept this request"),
        _ => (Reason::UnexpectedAnswer, "the service should answer 200, or say why not"),
    };
    Error {
        disposition,
        reason,
        message: format!("{url} answered {status}{}: {advice}", quoted(response, (sent, reader))),
    }
}

/// What each status means for the request.
///
/// Contrail answers 405 for a wrong method only, which this client cannot send; the vendor's page
/// gives 405 for a bad CSR. Either way the request is at fault.
fn disposition(status: StatusCode, headers: &HeaderMap) -> Disposition {
    match status.as_u16() {
        300..=399 | 404 | 410 => Disposition::BlameIssuer,
        401 | 403 => Disposition::BlameCredentials,
        408 | 425 | 429 | 500..=599 => Disposition::Retry { after: retry_after(headers) },
        400..=499 => Disposition::Reject,
        _ => Disposition::Internal,
    }
}

/// What the answer says. The service's own errors are plain text, which is what it is asked for.
fn quoted(response: &http::Response<Bytes>, (sent, reader): (Option<&Basic>, Reader)) -> String {
    let scrub =
        |text: &str| sent.map_or_else(|| text.to_owned(), |credentials| credentials.scrub(text));
    let kind =
        response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let status = response.status();
    let is_error =
        kind.starts_with(b"text/plain") && (status.is_client_error() || status.is_server_error());
    remote_text::quoted(response.body(), reader, is_error, scrub)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_one_disposition() {
        let retry = Disposition::Retry { after: None };
        for code in 100..=599_u16 {
            let expected = match code {
                100..=299 => Disposition::Internal,
                300..=399 => Disposition::BlameIssuer,
                401 | 403 => Disposition::BlameCredentials,
                404 | 410 => Disposition::BlameIssuer,
                408 | 425 | 429 => retry,
                500..=599 => retry,
                _ => Disposition::Reject,
            };
            let status = StatusCode::from_u16(code).expect("100 to 599 are codes");
            assert_eq!(disposition(status, &HeaderMap::new()), expected, "{code}");
        }
    }
}
