//! Bearer tokens that are obtained with credentials (RFC 6750), and how long one is used.
//!
//! # Invariants
//! - One token is obtained at a time; whoever waits meanwhile shares what came of it, a refusal too,
//!   so that wrong credentials are sent once and not once for each request that waits.
//! - How long a token lives is taken as a length of time, so that clocks that differ do no harm.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use crate::clock::Clock;

/// No token is used for longer, whatever it says.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// How long tokens of one kind live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// What is used where a token does not say how long it lives.
    pub usual: SignedDuration,
    /// So long before its end a token is replaced, and no more than a tenth of its lifetime.
    pub margin: SignedDuration,
}

impl Lifetimes {
    /// How long a token is used that lives so long: a day at the most.
    #[must_use]
    pub fn used_for(self, lifetime: Option<SignedDuration>) -> SignedDuration {
        let lifetime = lifetime.unwrap_or(self.usual).clamp(SignedDuration::ZERO, LONGEST);
        lifetime - self.margin.min(lifetime / 10)
    }
}

/// A token with the number that tells it from its successor.
#[derive(Clone)]
pub struct Bearer {
    text: Arc<SecretString>,
    number: u64,
    lapses: Timestamp,
}

impl Bearer {
    /// The value of the header `Authorization`, marked as sensitive.
    #[must_use]
    pub fn header(&self) -> Option<http::HeaderValue> {
        let value = zeroize::Zeroizing::new(format!("Bearer {}", self.text.expose_secret()));
        let mut header = http::HeaderValue::from_str(&value).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// `text` without the token, should a server repeat it.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        text.replace(self.text.expose_secret(), "[…]")
    }
}

/// A token as it came, and how long it lives where that is told.
pub type Fresh = (SecretString, Option<SignedDuration>);

/// The token of an account. `E` says why there is none.
pub struct Tokens<E> {
    clock: Clock,
    lifetimes: Lifetimes,
    state: tokio::sync::Mutex<State<E>>,
    /// How many attempts to obtain one have ended; read without the lock.
    attempts: AtomicU64,
    /// The one that was obtained last, which no message repeats.
    last: std::sync::Mutex<Option<Bearer>>,
}

struct State<E> {
    token: Option<Bearer>,
    refusal: Option<E>,
}

impl<E> State<E> {
    const NOTHING: Self = Self { token: None, refusal: None };
}

impl<E: Clone> Tokens<E> {
    /// None was obtained yet.
    #[must_use]
    pub fn new(clock: Clock, lifetimes: Lifetimes) -> Self {
        Self {
            clock,
            lifetimes,
            state: tokio::sync::Mutex::new(State::NOTHING),
            attempts: 0.into(),
            last: std::sync::Mutex::default(),
        }
    }

    /// `text` without the token that was obtained last.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        self.last().as_ref().map_or_else(|| text.to_owned(), |token| token.scrub(text))
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Bearer>> {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The token that is used now; `obtain` makes one where there is none that will do. `refused` is
    /// one that the API has not accepted.
    ///
    /// # Errors
    /// When none could be obtained.
    pub async fn get<F>(
        &self,
        refused: Option<&Bearer>,
        obtain: impl FnOnce() -> F,
    ) -> Result<Bearer, E>
    where
        F: Future<Output = Result<Fresh, E>>,
    {
        let before = self.attempts.load(Acquire);
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let is_good = |token: &&Bearer| {
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
        *state = State::NOTHING;
        let obtained = obtain().await;
        let number = self.attempts.fetch_add(1, AcqRel) + 1;
        match obtained {
            Ok((text, lifetime)) => {
                let lapses = self.clock.now() + self.lifetimes.used_for(lifetime);
                let token = Bearer { text: Arc::new(text), number, lapses };
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

    /// Has the next request obtain another token than this one.
    pub async fn drop(&self, refused: &Bearer) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_some_and(|token| token.number == refused.number) {
            *state = State::NOTHING;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LIFETIMES: Lifetimes =
        Lifetimes { usual: SignedDuration::from_mins(5), margin: SignedDuration::from_mins(1) };

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
            let lifetime = seconds.map(SignedDuration::from_secs);
            assert_eq!(LIFETIMES.used_for(lifetime).as_secs(), expected, "{seconds:?}");
        }
    }

    #[tokio::test]
    async fn one_token_serves_until_it_lapses_or_is_refused() {
        let tokens = Tokens::<&str>::new(Clock::new(now), LIFETIMES);
        let made = Cell::new(0);
        let make = || async {
            made.set(made.get() + 1);
            Ok((SecretString::from("t".to_owned()), Some(SignedDuration::from_secs(600))))
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
        let tokens = Tokens::<&str>::new(Clock::new(now), LIFETIMES);
        let made = Cell::new(0);
        let refuse = || async {
            made.set(made.get() + 1);
            tokio::task::yield_now().await;
            Err("no")
        };
        let all = futures::future::join_all((0..20).map(|_| tokens.get(None, refuse))).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(made.get(), 1);
        assert!(tokens.get(None, refuse).await.is_err());
        assert_eq!(made.get(), 2);
    }
}
