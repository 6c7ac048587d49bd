//! What an answer that is no success means: for whoever asked, and for whether anything was done.
//!
//! Error codes decide first, the status only where the body holds none. The specification declares
//! the shape of errors and no code; the table of codes is from the vendor's README, which is gone,
//! and surely incomplete.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::wire::ApiError;
use crate::outside::credentials::Basic;
use crate::outside::pause::retry_after;
use crate::outside::remote_text::{self, Reader};
use crate::outside::transport::Failure;
use crate::outside::{Disposition, Error};
use crate::reason::Reason;

/// The last group of an error code `module.section.error`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Code {
    /// One of the table.
    Known(u16, &'static str),
    /// Another, or one that does not read as a code.
    Other,
}

/// The table of codes, by their last group.
const CODES: [(u16, &str); 26] = [
    (223, "AUTHENTICATION"),
    (224, "ACCESS_DENIED"),
    (225, "RUNTIME"),
    (226, "VALIDATION"),
    (227, "APPLICATION"),
    (228, "JWT"),
    (229, "NULL_VALUE"),
    (230, "INVALID_CERTIFICATE_S/N"),
    (231, "INVALID_CLIENT"),
    (232, "CERTIFICATE_EXPIRED"),
    (233, "CERTIFICATE_ALREADY_REVOKED"),
    (234, "INVALID_PRODUCT_MAPPING"),
    (235, "CERTIFICATE_IS_CA"),
    (236, "CERTIFICATE_IS_ENTITY"),
    (237, "FAILED_PARSING_DN"),
    (238, "INVALID_ISSUER_NAME"),
    (239, "FAILED_SUBMIT_ORDER"),
    (240, "FAILED_VALIDATING_REQUEST"),
    (241, "FAILED_PARSING_CSR"),
    (242, "MISSING_CDP"),
    (243, "INVALID_PRODUCT_ID"),
    (244, "INVALID_PRODUCT_TYPE"),
    (245, "PRODUCT_API_DISABLED"),
    (246, "PRODUCT_RETIRED"),
    (247, "PRODUCT_EXPIRED"),
    (248, "INVALID_CLIENT_PRODUCT"),
];

impl Code {
    /// Reads `003.010.0226`, also in the angle brackets that the examples have.
    fn read(text: &str) -> Self {
        let text = text.trim();
        let text = text.strip_prefix('<').unwrap_or(text);
        let text = text.strip_suffix('>').unwrap_or(text);
        let groups: Vec<&str> = text.split('.').collect();
        let digits = |group: &str, length: usize| {
            group.len() == length && group.bytes().all(|b| b.is_ascii_digit())
        };
        let number = match groups[..] {
            [module, section, error]
                if digits(module, 3) && digits(section, 3) && digits(error, 4) =>
            {
                error.parse().ok()
            }
            _ => None,
        };
        let known = |number: u16| CODES.iter().find(|(code, _)| *code == number);
        number.and_then(known).map_or(Self::Other, |(code, name)| Self::Known(*code, name))
    }

    fn number(self) -> Option<u16> {
        match self {
            Self::Known(number, _) => Some(number),
            Self::Other => None,
        }
    }
}

/// Whether a request that could order something has done so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Certainty {
    /// Provably nothing was ordered.
    NothingDone,
    /// Nobody knows.
    Unknown,
}

/// Where a token is asked for, as it is called in messages.
pub(super) const EXCHANGE: &str = "/v2/jwt";

/// An operation that came to nothing.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) error: Error,
    pub(super) certainty: Certainty,
    /// Where there was an answer.
    pub(super) status: Option<StatusCode>,
    /// Where the answer is an error of the API itself, and no gateway's.
    pub(super) code: Option<Code>,
}

impl Problem {
    /// A problem on our side of the wire: nothing was sent.
    pub(super) fn before_sending(error: Error) -> Self {
        Self { error, certainty: Certainty::NothingDone, status: None, code: None }
    }

    /// No answer, or none that was whole.
    pub(super) fn unanswered(host: &str, path: &str, failure: &Failure) -> Self {
        let certainty =
            if failure.is_unknown() { Certainty::Unknown } else { Certainty::NothingDone };
        let error = failure.told(host, path);
        Self { error, certainty, status: None, code: None }
    }

    /// The token that an operation needs was not to be had: the operation itself was not sent, and
    /// what the API said was not about it.
    pub(super) fn without_token(self) -> Self {
        Self::before_sending(self.error)
    }

    /// What was only looked at cannot be refused for what the order says: it is the question that
    /// the API did not take.
    pub(super) fn of_a_look(mut self) -> Self {
        if self.error.disposition == Disposition::Reject {
            self.error.disposition = Disposition::Internal;
        }
        self
    }

    /// Nothing else would come through now either.
    pub(super) fn is_of_the_account(&self) -> bool {
        match self.status {
            None => self.error.reason != UNEXPECTED,
            Some(_) => self.has_token_code() || self.has_status(&[401, 403, 429, 503]),
        }
    }

    /// An answer that does not say what it should.
    pub(super) fn senseless(message: String) -> Self {
        let disposition = Disposition::Internal;
        let error = Error { disposition, reason: UNEXPECTED, message };
        Self { error, certainty: Certainty::Unknown, status: None, code: None }
    }

    /// Everything that is no success.
    pub(super) fn answered(
        (host, path): (&str, &str),
        response: &Response<Bytes>,
        (credentials, reader): (&Basic, Reader),
        scrub: &impl Fn(&str) -> String,
    ) -> Self {
        let status = response.status();
        let api = ApiError::read(response.body());
        let code = api.as_ref().map(|api| Code::read(api.error_code.as_deref().unwrap_or("")));
        let known = code.and_then(Code::number);
        let after = retry_after(response.headers());
        let (disposition, reason, advice) = match known {
            Some(number) => meaning_of_code(number, after),
            // An account that the API does not know is no address that it does not know.
            None if path == EXCHANGE && code.is_some() && matches!(status.as_u16(), 400 | 404) => {
                (Disposition::BlameCredentials, Reason::CredentialsRefused, CREDENTIALS_ADVICE)
            }
            None => meaning_of_status(status, code.is_some(), after),
        };
        let advice = if reason == Reason::CredentialsRefused {
            format!("check username and apiKey in {}; {advice}", credentials.place())
        } else {
            advice.to_owned()
        };
        let quoted = quoted(api.as_ref(), (response.body(), reader), scrub);
        let named = match (code, &api) {
            (Some(Code::Known(number, name)), _) => format!(", error {number:04} {name}"),
            (Some(Code::Other), Some(ApiError { error_code: Some(text), .. })) => {
                // The brackets of the examples would be taken for those of a tag.
                remote_text::excerpt(text.trim().trim_matches(['<', '>']).as_bytes(), scrub)
                    .map_or_else(String::new, |text| format!(", error {text}"))
            }
            (Some(Code::Other) | None, _) => String::new(),
        };
        let message = format!("{host}{path} answered {status}{named}{quoted}: {advice}");
        Self {
            error: Error { disposition, reason, message },
            certainty: certainty(status, code),
            status: Some(status),
            code,
        }
    }

    /// The answer means that the token is not accepted.
    pub(super) fn blames_token(&self) -> bool {
        self.status == Some(StatusCode::UNAUTHORIZED) || self.has_token_code()
    }

    pub(super) fn has_token_code(&self) -> bool {
        matches!(self.code.and_then(Code::number), Some(223 | 228))
    }

    /// The API says itself that there is no such thing: no gateway that has lost its way.
    pub(super) fn is_not_found(&self) -> bool {
        let is_about_something_else = |code: u16| matches!(code, 223..=225 | 227 | 228 | 239);
        self.has_status(&[404])
            && self.code.is_some_and(|code| !code.number().is_some_and(is_about_something_else))
    }

    /// The answer has this status.
    pub(super) fn has_status(&self, statuses: &[u16]) -> bool {
        self.status.is_some_and(|status| statuses.contains(&status.as_u16()))
    }
}

const UNEXPECTED: Reason = Reason::UnexpectedAnswer;

/// Codes that are found out before an order is made.
fn is_definitive(code: u16) -> bool {
    matches!(code, 223 | 224 | 226 | 228 | 229 | 231 | 234 | 240 | 241 | 243..=248)
}

/// Codes that say that something failed on the way, an order perhaps made already.
fn is_failure_on_the_way(code: u16) -> bool {
    matches!(code, 225 | 227 | 239)
}

/// Whether an answer to `/v2/issue` proves that nothing was ordered.
///
/// The status that goes with a code is documented nowhere, so that a code of the table decides
/// whatever the status of the error is. Without one, a status counts only where nothing behind it can have run: 401 is answered before an order is
/// looked at, 404, 405, 411, 413, 415 and 429 where the request finds no way to its handler, 307
/// and 308 ask to send it elsewhere. Not 400 (also answered by handlers, at any point), not 403
/// (firewalls answer it in place of what the handler said), not 406 (found out after the handler
/// ran, when its answer is written), not 301 to 303 (an answer to a form that was taken). An error
/// of the API with a code that is not known proves nothing beside 401 either.
fn certainty(status: StatusCode, code: Option<Code>) -> Certainty {
    let is_refusal = match (code, status.as_u16()) {
        (Some(Code::Known(number, _)), _) if is_failure_on_the_way(number) => false,
        (Some(Code::Known(number, _)), 400..=599) if is_definitive(number) => true,
        (_, 401) => true,
        (None, 307 | 308 | 404 | 405 | 411 | 413 | 415 | 429) => true,
        _ => false,
    };
    if is_refusal { Certainty::NothingDone } else { Certainty::Unknown }
}

type Meaning = (Disposition, Reason, &'static str);

fn meaning_of_code(number: u16, after: Option<Duration>) -> Meaning {
    use Disposition::{BlameCredentials, BlameIssuer, Reject, Retry};
    match number {
        223 | 228 => (BlameCredentials, Reason::CredentialsRefused, CREDENTIALS_ADVICE),
        224 => (BlameIssuer, Reason::AccessDenied, ACCESS_ADVICE),
        225 | 227 | 239 => (Retry { after }, Reason::ServerError, "tried again later"),
        231 => (BlameIssuer, Reason::ClientInvalid, "check spec.swissSign.client of the issuer"),
        234 | 243..=248 => (BlameIssuer, Reason::ProductInvalid, "check spec.swissSign.product"),
        _ => (Reject, Reason::Refused, "the order was refused as it stands; change the request"),
    }
}

/// After the words that name their Secret.
const CREDENTIALS_ADVICE: &str =
    "where spec.swissSign.authentication is SelfSigned, compare the clocks too";
const ACCESS_ADVICE: &str = "the account may not do this: have it allowed at SwissSign, or choose another client or product in spec.swissSign";

fn meaning_of_status(status: StatusCode, is_from_api: bool, after: Option<Duration>) -> Meaning {
    use Disposition::{BlameCredentials, BlameIssuer, Internal, Retry};
    match status.as_u16() {
        300..=399 => (
            BlameIssuer,
            Reason::Redirected,
            "redirects are not followed: write the final address into spec.swissSign.url",
        ),
        401 => (BlameCredentials, Reason::CredentialsRefused, CREDENTIALS_ADVICE),
        403 => (BlameIssuer, Reason::AccessDenied, ACCESS_ADVICE),
        404 | 405 | 410 if !is_from_api => (
            BlameIssuer,
            Reason::AddressUnknown,
            "check spec.swissSign.url, which is the address without /v2",
        ),
        408 | 425 => (Retry { after }, Reason::NoAnswer, "tried again later"),
        429 => (Retry { after }, Reason::TooManyRequests, "tried again later"),
        500..=599 => (Retry { after }, Reason::ServerError, "tried again later"),
        400..=499 => (Internal, Reason::Refused, "the API does not accept this request"),
        _ => (Internal, UNEXPECTED, "the API should answer 200, or say why not"),
    }
}

/// The API's own words with the id that SwissSign's support asks for, or what can be read of
/// another body.
fn quoted(
    api: Option<&ApiError>,
    (body, reader): (&[u8], Reader),
    scrub: &impl Fn(&str) -> String,
) -> String {
    let Some(api) = api else {
        return remote_text::quoted(body, reader, false, scrub);
    };
    let words = api.error_messages.as_deref().unwrap_or_default().join("; ");
    let words = remote_text::excerpt(words.as_bytes(), scrub).map(|text| format!("\"{text}\""));
    let is_uuid =
        |id: &&str| id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let support = api.uuid.as_deref().filter(is_uuid).map(|id| format!("support id {}", scrub(id)));
    let parts: Vec<String> = words.into_iter().chain(support).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, body: &str) -> Problem {
        let mut response = Response::new(Bytes::from(body.to_owned()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let credentials = Basic::new("MPKI1.Auto".to_owned(), "key".to_owned().into());
        let credentials = credentials.kept_in("shop/key");
        let from = (&credentials, Reader::Platform);
        Problem::answered(("ca.example", "/v2/issue"), &response, from, &str::to_owned)
    }

    fn api_error(code: &str) -> String {
        format!(
            r#"{{"uuid":"0f0e0d0c-0b0a-4908-8706-050403020100","errorCode":"{code}","errorMessages":["no such thing","at all"]}}"#
        )
    }

    #[test]
    fn codes_are_read_with_and_without_brackets() {
        let cases = [
            ("003.010.0226", Code::Known(226, "VALIDATION")),
            ("<003.010.0226>", Code::Known(226, "VALIDATION")),
            (" <011.353.0223> ", Code::Known(223, "AUTHENTICATION")),
            ("011.353.0999", Code::Other),
            ("0226", Code::Other),
            ("003.010.226", Code::Other),
            ("003.010.0226.1", Code::Other),
            ("", Code::Other),
        ];
        for (text, expected) in cases {
            assert_eq!(Code::read(text), expected, "{text:?}");
        }
    }

    /// The codes of the vendor's specification, row by row, each with the status that is likeliest.
    #[test]
    fn each_code_has_one_meaning() {
        use Certainty::{NothingDone, Unknown};
        use Disposition::{BlameCredentials, BlameIssuer, Internal, Reject};
        let retry = Disposition::Retry { after: None };
        let cases = [
            ("0223", 401, BlameCredentials, NothingDone),
            ("0223", 400, BlameCredentials, NothingDone),
            ("0224", 403, BlameIssuer, NothingDone),
            ("0224", 401, BlameIssuer, NothingDone),
            ("0225", 500, retry, Unknown),
            ("0225", 401, retry, Unknown),
            ("0226", 400, Reject, NothingDone),
            ("0226", 500, Reject, NothingDone),
            ("0227", 400, retry, Unknown),
            ("0228", 401, BlameCredentials, NothingDone),
            ("0229", 400, Reject, NothingDone),
            ("0230", 400, Reject, Unknown),
            ("0231", 400, BlameIssuer, NothingDone),
            ("0232", 400, Reject, Unknown),
            ("0233", 400, Reject, Unknown),
            ("0234", 404, BlameIssuer, NothingDone),
            ("0235", 400, Reject, Unknown),
            ("0236", 400, Reject, Unknown),
            ("0237", 400, Reject, Unknown),
            ("0238", 400, Reject, Unknown),
            ("0239", 400, retry, Unknown),
            ("0240", 400, Reject, NothingDone),
            ("0241", 400, Reject, NothingDone),
            ("0242", 400, Reject, Unknown),
            ("0243", 400, BlameIssuer, NothingDone),
            ("0244", 400, BlameIssuer, NothingDone),
            ("0245", 400, BlameIssuer, NothingDone),
            ("0246", 400, BlameIssuer, NothingDone),
            ("0247", 400, BlameIssuer, NothingDone),
            ("0248", 400, BlameIssuer, NothingDone),
            ("0999", 400, Internal, Unknown),
            ("0999", 401, BlameCredentials, NothingDone),
            ("0999", 404, Internal, Unknown),
        ];
        for (code, status, disposition, certainty) in cases {
            let problem = answered(status, &api_error(&format!("<011.350.{code}>")));
            let told = (problem.error.disposition, problem.certainty);
            assert_eq!(told, (disposition, certainty), "{code} with {status}");
            let message = &problem.error.message;
            assert!(message.contains(code), "{message}");
            assert!(message.contains("\"no such thing; at all\""), "{message}");
            let support = "support id 0f0e0d0c-0b0a-4908-8706-050403020100";
            assert!(message.contains(support), "{message}");
            let names_secret = message.contains("check username and apiKey in Secret shop/key;");
            assert_eq!(names_secret, disposition == BlameCredentials, "{message}");
        }
    }

    #[test]
    fn each_status_without_a_code_has_one_meaning() {
        use Disposition::{BlameCredentials, BlameIssuer, Internal};
        let retry = Disposition::Retry { after: None };
        for status in 200..=599_u16 {
            let disposition = match status {
                300..=399 | 403 | 404 | 405 | 410 => BlameIssuer,
                401 => BlameCredentials,
                408 | 425 | 429 | 500..=599 => retry,
                _ => Internal,
            };
            let certainty = match status {
                307 | 308 | 401 | 404 | 405 | 411 | 413 | 415 | 429 => Certainty::NothingDone,
                _ => Certainty::Unknown,
            };
            for body in ["", "<html>no</html>", "{\"status\":1}"] {
                let problem = answered(status, body);
                let told = (problem.error.disposition, problem.certainty);
                assert_eq!(told, (disposition, certainty), "{status}");
                assert!(!problem.is_not_found(), "{status}");
            }
        }
    }

    #[test]
    fn without_an_answer_only_what_was_not_taken_is_known_to_have_done_nothing() {
        let problem = |failure| Problem::unanswered("ca.example:443", "/v2/issue", &failure);
        let why = || "because".to_owned();
        let blocked = || Error {
            disposition: Disposition::Retry { after: None },
            reason: Reason::ProxyRefused,
            message: "the proxy opens no tunnel".to_owned(),
        };
        let cases = [
            (Failure::Blocked(blocked()), Certainty::NothingDone, "the proxy"),
            (
                Failure::NotSent(why()),
                Certainty::NothingDone,
                "ca.example:443 could not be reached",
            ),
            (Failure::Untrusted(why()), Certainty::NothingDone, "ca.example:443: because"),
            (Failure::ClientRefused(why()), Certainty::NothingDone, "ca.example:443: because"),
            (Failure::Unknown(why()), Certainty::Unknown, "ca.example:443/v2/issue was called"),
        ];
        for (failure, certainty, says) in cases {
            let problem = problem(failure);
            assert_eq!(problem.certainty, certainty, "{says}");
            assert!(problem.error.message.contains(says), "{}", problem.error);
        }
    }
}
