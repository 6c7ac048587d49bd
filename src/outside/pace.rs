//! The pace of the calls to an outside system: so many in a second on the average, with one
//! second's worth at once.
//!
//! A call waits for its turn before its deadline begins. A submit is paid for before it is decided
//! upon for good ([`Pace::turn`]), and then made without a wait ([`Pace::paid`]): between the last
//! look at lease, account and claim and the call itself nothing waits.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::transport::{Call, Failure, Transport};
use crate::turns::Turns;

tokio::task_local! {
    /// So many calls of this task are paid for; further ones are booked and not waited for.
    static PAID: Cell<u32>;
}

/// A token bucket in the form of the time at which it would be full again.
#[derive(Debug)]
pub struct Pace {
    per_second: u32,
    /// Who waits for the next token. The others wait for their turn to do that.
    turns: Turns,
    full_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// So many calls in a second, at least one.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second: per_second.max(1), turns: Turns::new(1), full_at: Mutex::new(None) }
    }

    /// Calls in a second.
    #[must_use]
    pub fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Waits until one more call may be made. Turns go by namespace.
    pub async fn turn(&self) {
        let _turn = self.turns.turn().await;
        tokio::time::sleep_until(self.book()).await;
    }

    /// Makes the calls of `submit` without a wait: one was paid for by [`Self::turn`], what it needs
    /// beside that is at the cost of later calls.
    pub async fn paid<F: Future>(&self, submit: F) -> F::Output {
        PAID.scope(Cell::new(1), submit).await
    }

    async fn call(&self) {
        let is_paid = PAID.try_with(|paid| {
            let left = paid.get();
            paid.set(left.saturating_sub(1));
            left > 0
        });
        match is_paid {
            Ok(true) => {}
            Ok(false) => drop(self.book()),
            Err(_) => self.turn().await,
        }
    }

    /// Takes one token, and says when it is there.
    fn book(&self) -> Instant {
        let now = Instant::now();
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let one = Duration::from_secs(1) / self.per_second;
        let next = full_at.map_or(now, |at| at.max(now)) + one;
        *full_at = Some(next);
        // A full bucket holds a second's worth.
        next.checked_sub(one * self.per_second).map_or(now, |at| at.max(now))
    }
}

/// A transport whose calls keep a pace.
pub struct Paced {
    /// The transport.
    pub inner: Arc<dyn Transport>,
    /// The pace.
    pub pace: Arc<Pace>,
}

#[async_trait]
impl Transport for Paced {
    async fn send(&self, call: Call) -> Result<http::Response<Bytes>, Failure> {
        self.pace.call().await;
        self.inner.send(call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_at_once_and_then_one_after_the_other() {
        let (pace, start) = (Pace::new(4), Instant::now());
        let mut waited = Vec::new();
        for _ in 0..8 {
            pace.turn().await;
            waited.push(start.elapsed().as_millis());
        }
        assert_eq!(waited, [0, 0, 0, 0, 250, 500, 750, 1000]);
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..5 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed().as_millis(), 250, "what was not used is not saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_paid_for_does_not_wait_and_is_at_the_cost_of_later_calls() {
        let pace = Pace::new(1);
        pace.turn().await;
        let start = Instant::now();
        pace.turn().await;
        assert_eq!(start.elapsed().as_millis(), 1000, "the turn of the submit");
        let start = Instant::now();
        let both = async {
            pace.call().await;
            pace.call().await;
        };
        pace.paid(both).await;
        assert_eq!(start.elapsed().as_millis(), 0);
        pace.call().await;
        assert_eq!(start.elapsed().as_millis(), 2000, "the submit needed one more");
    }
}
