//! The token of OpenID Connect, and how long it is used.
//!
//! # Invariants
//! - One token is obtained at a time; whoever waits meanwhile shares what came of it, a refusal too.
//! - It is for the host of the API: nothing else is sent with it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use super::errors::Problem;
use crate::clock::Clock;

/// What is used where a token does not say how long it lives.
const USUAL_LIFETIME: SignedDuration = SignedDuration::from_mins(5);
/// So long before its end a token is replaced, and no more than a tenth of its lifetime.
const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// A token with the number that tells it from its successor.
#[derive(Clone)]
pub(super) struct Token {
    text: Arc<SecretString>,
    number: u64,
    lapses: Timestamp,
}

impl Token {
    /// The value of the header `Authorization`, marked as sensitive.
    pub(super) fn header(&self) -> Option<http::HeaderValue> {
        let value = zeroize::Zeroizing::new(format!("Bearer {}", self.text.expose_secret()));
        let mut header = http::HeaderValue::from_str(&value).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// `text` without the token, should a server repeat it.
    pub(super) fn scrub(&self, text: &str) -> String {
        text.replace(self.text.expose_secret(), "[…]")
    }
}

/// A token as it came, and the seconds it lives where that is told.
pub(super) type Fresh = (SecretString, Option<i64>);

/// The token of an account.
pub(super) struct Tokens {
    clock: Clock,
    state: tokio::sync::Mutex<State>,
    /// How many attempts to obtain one have ended; read without the lock.
    attempts: AtomicU64,
    /// The one that was obtained last, which no message repeats.
    last: std::sync::Mutex<Option<Token>>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    refusal: Option<Problem>,
}

impl Tokens {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: tokio::sync::Mutex::default(),
            attempts: 0.into(),
            last: std::sync::Mutex::default(),
        }
    }

    /// `text` without the token that was obtained last.
    pub(super) fn scrub(&self, text: &str) -> String {
        self.last().as_ref().map_or_else(|| text.to_owned(), |token| token.scrub(text))
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Token>> {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The token that is used now; `obtain` makes one where there is none that will do. `refused` is
    /// one that the API has not accepted.
    pub(super) async fn get<F>(
        &self,
        refused: Option<&Token>,
        obtain: impl FnOnce() -> F,
    ) -> Result<Token, Problem>
    where
        F: Future<Output = Result<Fresh, Problem>>,
    {
        let before = self.attempts.load(Acquire);
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let is_good = |token: &&Token| {
            now < token.lapses && refused.is_none_or(|refused| refused.number != token.number)
        };
        if let Some(token) = state.token.as_ref().filter(is_good) {
            return Ok(token.clone());
        }
        if self.attempts.load(Acquire) != before
            && let Some(refusal) = &state.refusal
        {
            return Err(refusal.clone());
        }
        *state = State::default();
        let obtained = obtain().await;
        let number = self.attempts.fetch_add(1, AcqRel) + 1;
        match obtained {
            Ok((text, seconds)) => {
                let lapses = self.clock.now() + used_for(seconds);
                let token = Token { text: Arc::new(text), number, lapses };
                state.token = Some(token.clone());
                *self.last() = Some(token.clone());
                Ok(token)
            }
            Err(problem) => {
                state.refusal = Some(problem.clone());
                Err(problem)
            }
        }
    }
}

/// How long a token is used that lives so many seconds: a day at the most.
fn used_for(seconds: Option<i64>) -> SignedDuration {
    let lifetime = seconds.map_or(USUAL_LIFETIME, SignedDuration::from_secs);
    let lifetime = lifetime.clamp(SignedDuration::ZERO, SignedDuration::from_hours(24));
    lifetime - MARGIN.min(lifetime / 10)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static NOW: Cell<i64> = const { Cell::new(1_780_000_000) };
    }

    fn now() -> Timestamp {
        Timestamp::from_second(NOW.get()).unwrap()
    }

    #[test]
    fn a_token_is_used_until_shortly_before_it_lapses() {
        let rows = [
            (Some(3600), 3540),
            (Some(60), 54),
            (Some(0), 0),
            (Some(-5), 0),
            (Some(i64::MAX), 24 * 3600 - 60),
            (None, 270),
        ];
        for (seconds, expected) in rows {
            assert_eq!(used_for(seconds).as_secs(), expected, "{seconds:?}");
        }
    }

    #[tokio::test]
    async fn one_token_serves_until_it_lapses_or_is_refused() {
        let tokens = Tokens::new(Clock::new(now));
        let made = Cell::new(0);
        let make = || async {
            made.set(made.get() + 1);
            Ok((SecretString::from("t".to_owned()), Some(600)))
        };
        let first = tokens.get(None, make).await.ok().unwrap();
        tokens.get(None, make).await.ok().unwrap();
        assert_eq!(made.get(), 1, "it serves again");
        tokens.get(Some(&first), make).await.ok().unwrap();
        assert_eq!(made.get(), 2, "it was refused");
        tokens.get(Some(&first), make).await.ok().unwrap();
        assert_eq!(made.get(), 2, "and has been replaced meanwhile");
        NOW.set(NOW.get() + 541);
        tokens.get(None, make).await.ok().unwrap();
        assert_eq!(made.get(), 3, "it is near its end");
    }

    #[tokio::test]
    async fn those_who_wait_share_a_refusal_and_later_ones_try_again() {
        let tokens = Tokens::new(Clock::new(now));
        let made = Cell::new(0);
        let refuse = || async {
            made.set(made.get() + 1);
            tokio::task::yield_now().await;
            Err(Problem::senseless("no".to_owned()))
        };
        let all = futures::future::join_all((0..20).map(|_| tokens.get(None, refuse))).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(made.get(), 1);
        assert!(tokens.get(None, refuse).await.is_err());
        assert_eq!(made.get(), 2);
    }
}
