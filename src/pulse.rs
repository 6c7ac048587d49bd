//! Whether the threads that work still get on with it.
//!
//! Probes and the lease have a thread of their own, so that neither waits for work. What is left for
//! them to notice is work that never ends: a process whose threads all stand still for a minute gives
//! up the lease, and says at `/livez` that it is to be started again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Honest work keeps no thread for so long, however busy the machine is.
const LONGEST: Duration = Duration::from_secs(60);
const BETWEEN_BEATS: Duration = Duration::from_secs(1);

/// When the threads that work last said that they do. Clones are the same one.
#[derive(Clone, Default)]
pub struct Pulse(Option<Arc<Mutex<Instant>>>);

impl Pulse {
    /// One that [`Self::beat`] has to keep up.
    #[must_use]
    pub fn watched() -> Self {
        Self(Some(Arc::new(Mutex::new(Instant::now()))))
    }

    /// One that is taken for granted.
    #[must_use]
    pub fn steady() -> Self {
        Self::default()
    }

    /// Beats for ever, on the threads that are watched.
    #[expect(clippy::disallowed_methods, reason = "the rhythm of the pulse, which no object wakes")]
    pub async fn beat(self) {
        let Some(last) = self.0 else { return };
        loop {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            tokio::time::sleep(BETWEEN_BEATS).await;
        }
    }

    /// Whether it has beaten within the last minute.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let last = self.0.as_ref().map(|last| *last.lock().unwrap_or_else(PoisonError::into_inner));
        last.is_none_or(|last| last.elapsed() < LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pulse_is_missed_after_a_minute_and_not_before() {
        let pulse = Pulse::watched();
        let beating = tokio::spawn(pulse.clone().beat());
        for _ in 0..300 {
            tokio::task::yield_now().await;
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(pulse.is_there());
        beating.abort();
        tokio::time::advance(Duration::from_secs(58)).await;
        assert!(pulse.is_there(), "a busy machine");
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(!pulse.is_there());
        tokio::spawn(pulse.clone().beat());
        tokio::task::yield_now().await;
        assert!(pulse.is_there(), "it goes on");
        assert!(Pulse::steady().is_there());
    }
}
