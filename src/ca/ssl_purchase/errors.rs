//! What an answer that is no success means: for whoever asked, and for whether anything was bought.
//!
//! Which status goes with which failure is documented nowhere, and clients of the same platform take an
//! error with status 200 for one. An answer counts as the API's own where it says so in the API's way:
//! what a gateway or a firewall in front of it says proves nothing of an order.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::wire::{self, ApiError};
use crate::outside::pause::retry_after;
use crate::outside::remote_text::{self, Reader};
use crate::outside::transport::Failure;
use crate::outside::{Disposition, Error};
use crate::reason::Reason;

/// Whether a request that could buy something has done so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Certainty {
    /// Provably nothing was bought.
    NothingDone,
    /// Nobody knows.
    Unknown,
}

/// An operation that came to nothing.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) error: Error,
    pub(super) certainty: Certainty,
    /// Where there was an answer.
    pub(super) status: Option<StatusCode>,
    /// The answer is the API's own.
    pub(super) is_from_api: bool,
    class: Class,
}

/// What a failure is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    Redirected,
    Credentials,
    Access,
    Credit,
    /// The request as it stands.
    Invalid,
    /// There is no such order or plan.
    Missing,
    /// There is nothing at that address.
    Address,
    Conflict,
    Unsupported,
    NoAnswer,
    TooMany,
    Server,
    Other,
}

/// What a failure is about, by the code of the API where it says one, and else by the status.
fn class(status: u16, api: Option<&ApiError>) -> Class {
    // What breaks on the way breaks whatever it calls itself.
    if status >= 500 && status != 501 {
        return Class::Server;
    }
    let code = api.and_then(|api| api.code.as_deref()).unwrap_or_default().to_ascii_lowercase();
    let has = |words: &[&str]| {
        code.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| words.contains(&word))
    };
    let is_missing = ["not_found", "ssl_certificate_not_found"].contains(&code.as_str());
    // An account, or an address: it says nothing of an order.
    let is_other_missing = !is_missing && code.ends_with("not_found");
    let by_code = if has(&["balance", "credit", "credits", "fund", "funds"]) {
        Some(Class::Credit)
    } else if has(&["permission", "permissions", "forbidden"]) {
        Some(Class::Access)
    } else if has(&[
        "auth",
        "authentication",
        "authorization",
        "unauthenticated",
        "unauthorized",
        "credential",
        "credentials",
    ]) {
        Some(Class::Credentials)
    } else if code == "request_validation_failed" {
        Some(Class::Invalid)
    } else if is_missing {
        Some(Class::Missing)
    } else if code == "invalid_state" || has(&["conflict"]) {
        Some(Class::Conflict)
    } else {
        None
    };
    match (status, api.is_some()) {
        (401, _) => Class::Credentials,
        (402, _) => Class::Credit,
        (429, _) => Class::TooMany,
        (408 | 425, _) => Class::NoAnswer,
        (405 | 501, _) => Class::Unsupported,
        (300..=399, _) => Class::Redirected,
        (404 | 410, false) => Class::Address,
        (404 | 410, true) if is_other_missing => Class::Address,
        (404 | 410, true) => Class::Missing,
        _ => by_code.unwrap_or(match status {
            403 => Class::Access,
            409 => Class::Conflict,
            400..=499 => Class::Invalid,
            _ => Class::Other,
        }),
    }
}

/// What was asked for, as far as it matters for what an answer means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// It changes nothing that costs.
    Look,
    /// It buys a first certificate.
    Buy,
    /// It buys on an order that is there.
    BuyOn,
}

/// Whether an answer to a purchase proves that nothing was bought. All else is unknown.
///
/// 400, 402, 403, 404 and 422 count where the API itself says so: a firewall answers them in place of
/// what the API said. 401, 405 and 501 are answered before anything is looked at, and an error that
/// comes with a success is judged by its code.
fn certainty(status: u16, is_from_api: bool, class: Class, purpose: Purpose) -> Certainty {
    let is_refusal = match status {
        401 | 405 | 501 => true,
        400 | 402 | 403 | 422 => is_from_api,
        404 => is_from_api && purpose == Purpose::BuyOn,
        200..=299 => {
            is_from_api
                && match class {
                    Class::Credentials | Class::Access | Class::Credit | Class::Invalid => true,
                    Class::Missing => purpose == Purpose::BuyOn,
                    Class::Redirected
                    | Class::Address
                    | Class::Conflict
                    | Class::Unsupported
                    | Class::NoAnswer
                    | Class::TooMany
                    | Class::Server
                    | Class::Other => false,
                }
        }
        _ => false,
    };
    if is_refusal { Certainty::NothingDone } else { Certainty::Unknown }
}

/// What a failure means, and the next move. `place` is where the credentials are.
fn meaning(
    class: Class,
    is_from_api: bool,
    after: Option<Duration>,
    place: &str,
) -> (Disposition, Reason, String) {
    use Disposition::{BlameCredentials, BlameIssuer, Internal, Reject, Retry};
    let (disposition, reason, advice) = match class {
        Class::Redirected => (
            BlameIssuer,
            Reason::Redirected,
            "redirects are not followed: write the final address into spec.sslPurchase",
        ),
        Class::Credentials => {
            let advice = format!(
                "check what is in {place}, and spec.sslPurchase.authentication and reseller"
            );
            return (BlameCredentials, Reason::CredentialsRefused, advice);
        }
        Class::Access => (
            BlameIssuer,
            Reason::AccessDenied,
            "the account may not do this: have it allowed at the reseller",
        ),
        Class::Credit => (
            BlameIssuer,
            Reason::CreditInsufficient,
            "nothing is bought before the account at the reseller has credit: top it up; it is tried again slowly",
        ),
        Class::Invalid if is_from_api => (
            Reject,
            Reason::Refused,
            "the order was refused as it stands: change the request, or what its issuer says beside it",
        ),
        Class::Invalid => (Internal, Reason::Refused, "the API does not accept this request"),
        Class::Missing => {
            (Internal, Reason::Refused, "the API knows no such order or plan for this account")
        }
        Class::Address => (
            BlameIssuer,
            Reason::AddressUnknown,
            "check spec.sslPurchase.url, which is the address without /ssl-certificate, and paths",
        ),
        Class::Conflict => (
            Retry { after },
            Reason::ServerError,
            "another call is at work there; tried again later",
        ),
        Class::Unsupported => (
            BlameIssuer,
            Reason::NotSupportedByCa,
            "the API has no such operation: check spec.sslPurchase.url and paths, or ask the reseller",
        ),
        Class::NoAnswer => (Retry { after }, Reason::NoAnswer, "tried again later"),
        Class::TooMany => (Retry { after }, Reason::TooManyRequests, "tried again later"),
        Class::Server => (Retry { after }, Reason::ServerError, "tried again later"),
        Class::Other => (Internal, Reason::Refused, "ask the reseller what this means if it lasts"),
    };
    (disposition, reason, advice.to_owned())
}

/// Where an answer came from, and who reads of it.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    /// The host.
    pub(super) host: &'a str,
    /// The path.
    pub(super) path: &'a str,
    /// Where the credentials are, in words.
    pub(super) credentials: &'a str,
    pub(super) reader: Reader,
    pub(super) purpose: Purpose,
}

impl Problem {
    /// A problem on our side of the wire: nothing was sent.
    pub(super) fn before_sending(error: Error) -> Self {
        Self {
            error,
            certainty: Certainty::NothingDone,
            status: None,
            is_from_api: false,
            class: Class::Other,
        }
    }

    /// No answer, or none that was whole.
    pub(super) fn unanswered(host: &str, path: &str, failure: &Failure) -> Self {
        let certainty =
            if failure.is_unknown() { Certainty::Unknown } else { Certainty::NothingDone };
        let error = failure.told(host, path);
        Self { certainty, class: Class::NoAnswer, ..Self::before_sending(error) }
    }

    /// The token that an operation needs was not to be had: the operation itself was not sent.
    pub(super) fn without_token(self) -> Self {
        Self::before_sending(self.error)
    }

    /// An answer that does not say what it should.
    pub(super) fn senseless(message: String) -> Self {
        let disposition = Disposition::Internal;
        let error = Error { disposition, reason: Reason::UnexpectedAnswer, message };
        Self { certainty: Certainty::Unknown, ..Self::before_sending(error) }
    }

    /// Everything that is no success: `api` is what the API itself says.
    pub(super) fn answered(
        from: Origin<'_>,
        response: &Response<Bytes>,
        api: Option<&ApiError>,
        scrub: &impl Fn(&str) -> String,
    ) -> Self {
        let status = response.status();
        let is_from_api = api.is_some();
        let class = class(status.as_u16(), api);
        let after = retry_after(response.headers());
        let (mut disposition, reason, advice) =
            meaning(class, is_from_api, after, from.credentials);
        let is_about_fields =
            api.is_some_and(|api| api.code.as_deref() == Some("request_validation_failed"));
        // What was only looked at cannot be refused for what the order says. And an order that goes on
        // may be refused because it is too early.
        let may_pass = match from.purpose {
            Purpose::Look => true,
            Purpose::BuyOn => !is_about_fields,
            Purpose::Buy => false,
        };
        if may_pass && disposition == Disposition::Reject {
            disposition = Disposition::Internal;
        }
        let Origin { host, path, .. } = from;
        let code = api.and_then(|api| api.code.as_deref()).unwrap_or_default();
        let code = remote_text::excerpt(code.as_bytes(), scrub);
        let code = code.map_or_else(String::new, |code| format!(", error {code}"));
        let quoted = match api {
            Some(api) => remote_text::excerpt(api.words.as_bytes(), scrub)
                .map_or_else(String::new, |words| format!(" (\"{words}\")")),
            None => remote_text::quoted(response.body(), from.reader, false, scrub),
        };
        Self {
            error: Error {
                disposition,
                reason,
                message: format!("{host}{path} answered {status}{code}{quoted}: {advice}"),
            },
            certainty: certainty(status.as_u16(), is_from_api, class, from.purpose),
            status: Some(status),
            is_from_api,
            class,
        }
    }

    /// The answer means that the credentials, or the token, are not accepted.
    pub(super) fn blames_token(&self) -> bool {
        self.status == Some(StatusCode::UNAUTHORIZED)
    }

    /// The API says itself that there is no such thing: no gateway that has lost its way.
    pub(super) fn is_not_found(&self) -> bool {
        self.is_from_api && self.class == Class::Missing
    }

    /// The API says itself that this account, or this API, has no such operation.
    pub(super) fn is_not_offered(&self) -> bool {
        self.is_from_api
            && matches!(self.class, Class::Access | Class::Missing | Class::Unsupported)
    }

    /// The API says itself that it is not the time for it.
    pub(super) fn is_untimely(&self) -> bool {
        self.is_from_api && self.class == Class::Conflict
    }

    /// A file that may come yet.
    pub(super) fn is_not_there_yet(&self) -> bool {
        let is_about_it =
            matches!(self.class, Class::Missing | Class::Invalid | Class::Conflict | Class::Other);
        self.status == Some(StatusCode::NOT_FOUND) || self.is_from_api && is_about_it
    }

    /// The answer is about what is at this address: another may be served all the same.
    pub(super) fn is_of_the_address(&self) -> bool {
        let is_of_more =
            matches!(self.class, Class::Credentials | Class::TooMany | Class::NoAnswer);
        self.status.is_some() && !is_of_more
    }

    /// The server failed, which passes.
    pub(super) fn is_of_the_server(&self) -> bool {
        self.class == Class::Server
    }

    /// Nothing else would come through now either.
    pub(super) fn is_of_the_account(&self) -> bool {
        match self.status {
            None => self.error.reason != Reason::UnexpectedAnswer,
            Some(_) => {
                matches!(self.class, Class::Credentials | Class::Access | Class::TooMany)
                    || self.status == Some(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }
}

/// The API's own failure in an answer, where there is one.
pub(super) fn of_api(response: &Response<Bytes>) -> Option<ApiError> {
    let value = wire::json(response.body()).ok()?;
    ApiError::read(&value, response.status().as_u16() >= 400)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str, purpose: Purpose) -> Problem {
        let mut response = Response::new(Bytes::from(body.to_owned()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let from = Origin {
            host: "ca.example",
            path: "/ssl-certificate",
            credentials: "Secret shop/key",
            reader: Reader::Platform,
            purpose,
        };
        let api = of_api(&response);
        Problem::answered(from, &response, api.as_ref(), &|text: &str| text.replace("k3y", "[…]"))
    }

    fn api(code: &str) -> String {
        format!(r#"{{"success":false,"error":{{"code":"{code}","message":"Because k3y"}}}}"#)
    }

    /// Row by row: what the condition says, what happens next, and whether something can have been
    /// bought.
    #[test]
    fn each_failure_has_one_meaning() {
        use Certainty::{NothingDone, Unknown};
        use Disposition::{BlameCredentials, BlameIssuer, Internal, Reject};
        use Purpose::{Buy, BuyOn};
        let retry = Disposition::Retry { after: None };
        let invalid = api("request_validation_failed");
        let other = api("odd_thing");
        let missing = api("not_found");
        let page = "<html>no</html>".to_owned();
        let rows = [
            (400, &invalid, Buy, Reject, Reason::Refused, NothingDone),
            (422, &invalid, Buy, Reject, Reason::Refused, NothingDone),
            (200, &invalid, Buy, Reject, Reason::Refused, NothingDone),
            (400, &other, Buy, Reject, Reason::Refused, NothingDone),
            (422, &other, BuyOn, Internal, Reason::Refused, NothingDone),
            (422, &invalid, BuyOn, Reject, Reason::Refused, NothingDone),
            (400, &page, Buy, Internal, Reason::Refused, Unknown),
            (422, &page, Buy, Internal, Reason::Refused, Unknown),
            (500, &invalid, Buy, retry, Reason::ServerError, Unknown),
            (401, &page, Buy, BlameCredentials, Reason::CredentialsRefused, NothingDone),
            (401, &other, Buy, BlameCredentials, Reason::CredentialsRefused, NothingDone),
            (
                200,
                &api("authentication_failed"),
                Buy,
                BlameCredentials,
                Reason::CredentialsRefused,
                NothingDone,
            ),
            (
                400,
                &api("invalid_credentials"),
                Buy,
                BlameCredentials,
                Reason::CredentialsRefused,
                NothingDone,
            ),
            (200, &api("certificate_authority_down"), Buy, Internal, Reason::Refused, Unknown),
            (403, &other, Buy, BlameIssuer, Reason::AccessDenied, NothingDone),
            (403, &page, Buy, BlameIssuer, Reason::AccessDenied, Unknown),
            (200, &api("permission_denied"), Buy, BlameIssuer, Reason::AccessDenied, NothingDone),
            (402, &other, Buy, BlameIssuer, Reason::CreditInsufficient, NothingDone),
            (402, &page, Buy, BlameIssuer, Reason::CreditInsufficient, Unknown),
            (
                200,
                &api("insufficient_funds"),
                BuyOn,
                BlameIssuer,
                Reason::CreditInsufficient,
                NothingDone,
            ),
            (
                400,
                &api("balance_too_low"),
                Buy,
                BlameIssuer,
                Reason::CreditInsufficient,
                NothingDone,
            ),
            (
                200,
                &api("not_enough_credit"),
                Buy,
                BlameIssuer,
                Reason::CreditInsufficient,
                NothingDone,
            ),
            (404, &missing, BuyOn, Internal, Reason::Refused, NothingDone),
            (404, &missing, Buy, Internal, Reason::Refused, Unknown),
            (200, &missing, BuyOn, Internal, Reason::Refused, NothingDone),
            (404, &page, BuyOn, BlameIssuer, Reason::AddressUnknown, Unknown),
            (404, &page, Buy, BlameIssuer, Reason::AddressUnknown, Unknown),
            (405, &page, Buy, BlameIssuer, Reason::NotSupportedByCa, NothingDone),
            (501, &other, Buy, BlameIssuer, Reason::NotSupportedByCa, NothingDone),
            (409, &other, Buy, retry, Reason::ServerError, Unknown),
            (408, &page, Buy, retry, Reason::NoAnswer, Unknown),
            (425, &page, Buy, retry, Reason::NoAnswer, Unknown),
            (429, &other, Buy, retry, Reason::TooManyRequests, Unknown),
            (502, &page, Buy, retry, Reason::ServerError, Unknown),
            (503, &page, BuyOn, retry, Reason::ServerError, Unknown),
            (504, &page, Buy, retry, Reason::ServerError, Unknown),
            (302, &page, Buy, BlameIssuer, Reason::Redirected, Unknown),
            (307, &page, Buy, BlameIssuer, Reason::Redirected, Unknown),
            (200, &other, Buy, Internal, Reason::Refused, Unknown),
        ];
        for (status, body, purpose, disposition, reason, certainty) in rows {
            let problem = answered(status, body, purpose);
            let told = (problem.error.disposition, problem.error.reason, problem.certainty);
            assert_eq!(told, (disposition, reason, certainty), "{status} {body} {purpose:?}");
            let message = &problem.error.message;
            assert!(message.starts_with("ca.example/ssl-certificate answered "), "{message}");
            assert!(!message.contains("k3y"), "{message}");
        }
    }

    #[test]
    fn a_look_refuses_no_order() {
        let problem = answered(422, &api("request_validation_failed"), Purpose::Look);
        assert_eq!(problem.error.disposition, Disposition::Internal);
        assert!(
            problem.error.message.contains("error request_validation_failed (\"Because […]\")")
        );
    }

    #[test]
    fn what_is_not_found_is_told_from_a_wrong_address() {
        assert!(answered(404, &api("gone"), Purpose::Look).is_not_found());
        assert!(answered(404, &api("not_found"), Purpose::Look).is_not_found());
        assert!(answered(200, &api("ssl_certificate_not_found"), Purpose::Look).is_not_found());
        for code in ["reseller_not_found", "account_not_found", "route_not_found"] {
            for status in [200, 400, 404] {
                let problem = answered(status, &api(code), Purpose::Look);
                assert!(!problem.is_not_found(), "{status} {code}: {}", problem.error);
            }
        }
        let gateway = r#"{"error":{"code":404,"message":"no such route"}}"#;
        assert!(!answered(404, gateway, Purpose::Look).is_not_found());
        assert!(!answered(404, "<html>", Purpose::Look).is_not_found());
        assert!(!answered(500, &api("not_found"), Purpose::Look).is_not_found());
        assert!(answered(404, "<html>", Purpose::Look).is_not_there_yet());
        assert!(answered(400, &api("not_ready"), Purpose::Look).is_not_there_yet());
        assert!(!answered(401, &api("x"), Purpose::Look).is_not_there_yet());
        assert!(!answered(500, "", Purpose::Look).is_not_there_yet());
    }

    #[test]
    fn who_has_no_credit_is_told_what_to_do() {
        let problem = answered(402, &api("insufficient_credit"), Purpose::Buy);
        let message = &problem.error.message;
        assert!(
            message.contains("insufficient_credit") && message.contains("top it up"),
            "{message}"
        );
    }
}
