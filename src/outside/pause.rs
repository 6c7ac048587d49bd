//! Pauses that the other side asks for: an answer 429 or 503 with `Retry-After` (RFC 9110, section
//! 10.2.3) holds back every call of the account, and not only the one that it answers.
//!
//! # Guarantees
//! - While a pause lasts nothing is sent. What is held back says until when, and that nothing was.
//! - A pause says nothing of the call that brought it: what its answer means is for whoever asked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use jiff::Timestamp;
use tokio::time::Instant;

use super::transport::{Call, Failure, Transport, authority};
use super::{Disposition, Error};
use crate::clock::Clock;
use crate::reason::Reason;

/// No pause is longer: a typing error of the other side would otherwise stop an account for good.
const LONGEST: Duration = Duration::from_secs(3600);

/// `Retry-After`, in seconds or as a date, at most an hour. A date counts from the answer's own `Date`,
/// so that clocks that differ do no harm; [`Considerate`] sees to it that there is one.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a number has are a long time.
        text.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        let date = |text: &str| httpdate::parse_http_date(text).ok();
        let answered = date(headers.get(DATE)?.to_str().ok()?.trim())?;
        // A date that is over asks for nothing.
        date(text)?.duration_since(answered).unwrap_or_default()
    };
    Some(asked.min(LONGEST))
}

/// The pause of an account: whether it has to be left alone, and until when.
#[derive(Debug, Default)]
pub struct Pause(Mutex<Option<Asked>>);

/// What was asked for last.
#[derive(Debug)]
struct Asked {
    /// By the time of the runtime, which does not jump.
    ends: Instant,
    /// The same by the clock, for people.
    until: Timestamp,
    /// Who asked, and with which status.
    by: String,
}

impl Pause {
    /// Whether the account may be called now.
    ///
    /// # Errors
    /// While it may not: until when.
    pub fn over(&self) -> Result<(), Error> {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &*asked {
            Some(Asked { ends, until, by }) if *ends > now => Err(Error {
                disposition: Disposition::Retry { after: Some(*ends - now) },
                reason: Reason::AccountPaused,
                message: format!(
                    "{by} and asked to be left alone: this account makes no call before {until}"
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes note of what an answer asks for. Of two pauses the one that ends later counts.
    fn note(&self, host: &str, response: &http::Response<Bytes>, now: Timestamp) {
        let status = response.status();
        if !matches!(status.as_u16(), 429 | 503) {
            return;
        }
        let Some(pause) = retry_after(response.headers()).filter(|pause| !pause.is_zero()) else {
            return;
        };
        let ends = Instant::now() + pause;
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.as_ref().is_some_and(|asked| asked.ends >= ends) {
            return;
        }
        // To the second, as the header gives it, and never too early.
        let until = now.checked_add(pause + Duration::from_millis(999)).unwrap_or(now);
        let until = Timestamp::from_second(until.as_second()).unwrap_or(until);
        tracing::warn!(host, %status, %until, "the account is left alone, as the other side asked");
        *asked = Some(Asked { ends, until, by: format!("{host} answered {status}") });
    }
}

/// A transport that keeps to the pauses the other side asks for.
pub struct Considerate {
    /// The transport.
    pub inner: Arc<dyn Transport>,
    /// The pause of the account; longer than the clients.
    pub pause: Arc<Pause>,
    /// The wall clock.
    pub clock: Clock,
}

#[async_trait]
impl Transport for Considerate {
    async fn send(&self, call: Call) -> Result<http::Response<Bytes>, Failure> {
        self.pause.over().map_err(Failure::Blocked)?;
        let host = authority(call.request.uri());
        let mut response = self.inner.send(call).await?;
        let now = self.clock.now();
        dated(response.headers_mut(), now);
        self.pause.note(&host, &response, now);
        Ok(response)
    }
}

/// Adds when an answer came, where it does not say itself when it was made (RFC 9110, section 6.6.1).
fn dated(headers: &mut HeaderMap, now: Timestamp) {
    if headers.contains_key(DATE) {
        return;
    }
    let now = httpdate::fmt_http_date(now.into());
    if let Ok(date) = HeaderValue::from_str(&now) {
        headers.insert(DATE, date);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn now() -> Timestamp {
        "1994-11-06T08:49:37Z".parse().unwrap()
    }

    type Pair<'a> = (http::HeaderName, &'a str);

    fn headers(pairs: &[Pair<'_>]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_wait_is_read_in_seconds_and_as_a_date_up_to_an_hour() {
        let rows = [
            ("seconds", "7", Some(7)),
            ("with white space", " 90 ", Some(90)),
            ("none", "0", Some(0)),
            ("days", "999999999", Some(3600)),
            ("more digits than a number has", "99999999999999999999999", Some(3600)),
            ("less than nothing", "-1", None),
            ("no number", "1.5", None),
            ("nothing", "", None),
            ("words", "soon", None),
            ("a date", "Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("as RFC 850 wrote it", "Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("as C writes it", "Sun Nov  6 08:50:37 1994", Some(60)),
            ("a date that is over", "Sun, 06 Nov 1994 08:49:30 GMT", Some(0)),
            ("a day far away", "Sat, 06 Nov 2094 08:49:37 GMT", Some(3600)),
            ("no date", "Sun, 06 Nov", None),
        ];
        for (name, value, seconds) in rows {
            let headers = headers(&[(RETRY_AFTER, value), (DATE, NOW)]);
            assert_eq!(retry_after(&headers), seconds.map(Duration::from_secs), "{name}");
        }
        let undated = headers(&[(RETRY_AFTER, "Sun, 06 Nov 1994 08:50:37 GMT")]);
        assert_eq!(retry_after(&undated), None, "nobody knows how far away a date is");
    }

    #[test]
    fn an_answer_without_a_date_has_that_of_its_arrival() {
        let mut undated = headers(&[(RETRY_AFTER, "Sun, 06 Nov 1994 08:50:37 GMT")]);
        dated(&mut undated, now());
        assert_eq!(undated[DATE], NOW);
        assert_eq!(retry_after(&undated), Some(Duration::from_secs(60)));
        let mut own = headers(&[(DATE, "Sun, 06 Nov 1994 08:00:00 GMT")]);
        dated(&mut own, now());
        assert_eq!(own[DATE], "Sun, 06 Nov 1994 08:00:00 GMT");
    }

    fn answer(status: u16, pairs: &[Pair<'_>]) -> http::Response<Bytes> {
        let mut response = http::Response::new(Bytes::new());
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
        *response.headers_mut() = headers(pairs);
        response
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_or_503_that_says_when_to_come_back_pauses_until_then() {
        let minute = [(RETRY_AFTER, "60")];
        let rows: [(&str, u16, &[Pair<'_>], bool); 7] = [
            ("too many requests", 429, &minute, true),
            ("unavailable", 503, &minute, true),
            ("without a word", 429, &[], false),
            ("for no time", 503, &[(RETRY_AFTER, "0")], false),
            ("another error", 500, &minute, false),
            ("a success that says when it is worth a look", 202, &minute, false),
            ("a redirect", 301, &minute, false),
        ];
        for (name, status, headers, pauses) in rows {
            let pause = Pause::default();
            pause.note("ca.example:443", &answer(status, headers), now());
            assert_eq!(pause.over().is_err(), pauses, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_says_until_when_and_ends_then_and_none_shortens_another() {
        let pause = Pause::default();
        pause.note("ca.example:443", &answer(429, &[(RETRY_AFTER, "60")]), now());
        pause.note("ca.example:443", &answer(503, &[(RETRY_AFTER, "1")]), now());
        tokio::time::advance(Duration::from_secs(20)).await;
        let error = pause.over().unwrap_err();
        let left = Some(Duration::from_secs(40));
        assert_eq!(error.disposition, Disposition::Retry { after: left });
        assert_eq!(
            error.message,
            "ca.example:443 answered 429 Too Many Requests and asked to be left alone: this account makes no call before 1994-11-06T08:50:37Z"
        );
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(pause.over(), Ok(()));
    }

    /// Answers 503 with a date once, and counts what is sent.
    #[derive(Default)]
    struct Busy(Mutex<u32>);

    #[async_trait]
    impl Transport for Busy {
        async fn send(&self, _: Call) -> Result<http::Response<Bytes>, Failure> {
            let mut sent = self.0.lock().unwrap();
            *sent += 1;
            let date = [(RETRY_AFTER, "Sun, 06 Nov 1994 08:51:07 GMT")];
            Ok(if *sent == 1 { answer(503, &date) } else { answer(200, &[]) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_calls_of_an_account_are_held_back_by_the_answer_to_one() {
        let (busy, pause) = (Arc::new(Busy::default()), Arc::new(Pause::default()));
        let client = || Considerate {
            inner: busy.clone(),
            pause: Arc::clone(&pause),
            clock: Clock::new(now),
        };
        let send = async |client: Considerate| {
            let request = http::Request::get("https://ca.example/x").body(Bytes::new()).unwrap();
            let deadline = Duration::from_secs(1);
            client.send(Call { request, deadline, body_limit: 10, fresh_connection: false }).await
        };
        assert_eq!(send(client()).await.unwrap().status(), 503);
        for _ in 0..3 {
            let failure = send(client()).await.unwrap_err();
            assert!(!failure.is_unknown(), "{failure:?}");
            let told = failure.told("ca.example", "/x");
            let left = Some(Duration::from_secs(90));
            assert_eq!(told.disposition, Disposition::Retry { after: left }, "{told}");
        }
        assert_eq!(*busy.0.lock().unwrap(), 1, "nothing was sent");
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(send(client()).await.unwrap().status(), 200);
        assert_eq!(*busy.0.lock().unwrap(), 2);
    }
}
