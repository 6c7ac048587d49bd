//! Whether this process may act.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether this process may act.
#[derive(Clone)]
pub(in crate::controller) struct Leadership(Arc<State>);

struct State {
    incarnation: String,
    held: Mutex<Held>,
}

#[derive(Clone, Copy)]
enum Held {
    No,
    Until(Instant),
    Always,
}

impl Held {
    fn is_now(self) -> bool {
        match self {
            Self::No => false,
            Self::Until(end) => Instant::now() < end,
            Self::Always => true,
        }
    }
}

impl Leadership {
    /// Of a process that has to be elected first.
    pub(super) fn contested(incarnation: String) -> Self {
        Self(Arc::new(State { incarnation, held: Mutex::new(Held::No) }))
    }

    /// Of a process that nobody contends with.
    pub(super) fn uncontested(incarnation: String) -> Self {
        Self(Arc::new(State { incarnation, held: Mutex::new(Held::Always) }))
    }

    /// Who this process is.
    pub(in crate::controller) fn incarnation(&self) -> &str {
        &self.0.incarnation
    }

    /// Who this process is in the claims that it wins.
    pub(in crate::controller) fn claimant(&self) -> &str {
        self.incarnation()
    }

    /// Whether this process may act at this moment: it has the lease.
    pub(in crate::controller) fn is_held(&self) -> bool {
        self.held().is_now()
    }

    /// Notes a renewal; whether the lease was not held right before.
    pub(super) fn hold(&self, end: Instant) -> bool {
        let mut held = self.held();
        let is_new = !held.is_now();
        *held = Held::Until(end);
        is_new
    }

    pub(super) fn lose(&self) {
        *self.held() = Held::No;
    }

    /// How long it is still held without a renewal, if it is.
    pub(super) fn left(&self) -> Option<Duration> {
        match *self.held() {
            Held::Until(end) => end.checked_duration_since(Instant::now()),
            Held::No | Held::Always => None,
        }
        .filter(|left| !left.is_zero())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
