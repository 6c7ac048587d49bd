//! Since when orders are looked for whose answer may have been lost, by this process's monotonic
//! clock. In memory: a process that starts anew looks for the whole window again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::issuance::Sought;

#[derive(Default)]
pub(in crate::controller) struct Searches(Mutex<HashMap<String, Search>>);

struct Search {
    /// The claim whose answer is lost.
    of: String,
    first: Instant,
    last: Instant,
    counted: Option<Instant>,
    absent: u32,
}

impl Searches {
    /// How long the order of the request with this uid has been looked for.
    pub(in crate::controller) fn recall(&self, uid: &str) -> Sought {
        self.entries().get(uid).map(Search::sought).unwrap_or_default()
    }

    /// Notes a search for what was submitted under the claim `of`, and whether it said that there is
    /// no such order. Such answers count that are at least a quarter of the `window` apart. With
    /// another claim it begins anew: whoever won that one may have submitted since.
    pub(in crate::controller) fn note(
        &self,
        uid: &str,
        of: &str,
        window: Duration,
        is_absent: bool,
    ) -> Sought {
        let now = Instant::now();
        let mut entries = self.entries();
        entries.retain(|key, search| key != uid || search.sought().is_of(of));
        let search = entries.entry(uid.to_owned()).or_insert_with(|| Search {
            of: of.to_owned(),
            first: now,
            last: now,
            counted: None,
            absent: 0,
        });
        search.last = now;
        if is_absent && search.counted.is_none_or(|counted| now - counted >= window / 4) {
            search.counted = Some(now);
            search.absent += 1;
        }
        search.sought()
    }

    /// The order was claimed or submitted: what was seen before proves nothing.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.entries().remove(uid);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<String, Search>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Search {
    fn sought(&self) -> Sought {
        let signed = |duration: Duration| SignedDuration::try_from(duration).unwrap_or_default();
        Sought {
            of: self.of.clone(),
            elapsed: Some(signed(self.first.elapsed())),
            since_last: signed(self.last.elapsed()),
            absent: self.absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_close_together_count_once() {
        let searches = Searches::default();
        let window = Duration::from_secs(40);
        assert_eq!(searches.recall("a").elapsed, None);
        assert_eq!(searches.note("a", "one", window, true).absent, 1);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(searches.note("a", "one", window, true).absent, 1, "too early");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(searches.note("a", "one", window, false).absent, 1, "no answer is none");
        let sought = searches.note("a", "one", window, true);
        assert_eq!((sought.absent, sought.elapsed), (2, Some(SignedDuration::from_secs(10))));
        let sought = searches.note("a", "two", window, true);
        assert_eq!(sought.elapsed, Some(SignedDuration::ZERO), "somebody else has claimed it");
        assert_eq!(sought.absent, 1);
        searches.forget("a");
        assert_eq!(searches.recall("a"), Sought::default());
    }
}
