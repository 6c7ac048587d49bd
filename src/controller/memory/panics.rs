//! Objects at which a run panicked, and which are left alone for a while.
//!
//! In memory: a process that starts anew tries each once more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::Instant;

use super::expectations::number;

/// After the first panic; each in a row doubles it.
const PAUSE: Duration = Duration::from_secs(600);
/// And at most this.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// By uid of the object.
#[derive(Default)]
pub(in crate::controller) struct Panics(Mutex<HashMap<String, Left>>);

struct Left {
    /// As far as this version the object is as it was.
    version: Option<u64>,
    until: Instant,
    in_a_row: u32,
}

impl Panics {
    /// How long the object is still left alone: until it changes, or its time has come.
    pub(in crate::controller) fn leaves(&self, object: &ObjectMeta) -> Option<Duration> {
        let entries = self.entries();
        let left = entries.get(object.uid.as_ref()?)?;
        let is_as_it_was = number(object.resource_version.as_deref()) <= left.version;
        left.until
            .checked_duration_since(Instant::now())
            .filter(|wait| is_as_it_was && !wait.is_zero())
    }

    /// Notes that a run for the object panicked. How long it is left alone.
    pub(in crate::controller) fn note(&self, object: &ObjectMeta) -> Duration {
        let mut entries = self.entries();
        let now = Instant::now();
        // Of those that are gone nobody tells.
        entries.retain(|_, left| now < left.until + LONGEST);
        let uid = object.uid.clone().unwrap_or_default();
        let in_a_row = entries.get(&uid).map_or(0, |left| left.in_a_row).saturating_add(1);
        let pause = PAUSE.saturating_mul(1 << (in_a_row - 1).min(8)).min(LONGEST);
        let version = number(object.resource_version.as_deref());
        entries.insert(uid, Left { version, until: now + pause, in_a_row });
        pause
    }

    /// What we wrote ourselves is no change.
    pub(in crate::controller) fn wrote(&self, object: &ObjectMeta) {
        let version = number(object.resource_version.as_deref());
        let mut entries = self.entries();
        if let Some(left) = object.uid.as_ref().and_then(|uid| entries.get_mut(uid)) {
            left.version = left.version.max(version);
        }
    }

    /// A run came to its end, or the object is gone.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.entries().remove(uid);
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<String, Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: u64) -> ObjectMeta {
        ObjectMeta {
            uid: Some("a".to_owned()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_run_panicked_at_is_tried_when_it_changes_and_else_more_and_more_slowly() {
        let panics = Panics::default();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(panics.leaves(&object(7)), None, "nothing has happened");
        assert_eq!(panics.note(&object(7)), minutes(10));
        assert_eq!(panics.leaves(&object(7)), Some(minutes(10)));
        panics.wrote(&object(8));
        assert_eq!(panics.leaves(&object(8)), Some(minutes(10)), "that was ourselves");
        assert_eq!(panics.leaves(&object(9)), None, "somebody has changed it");
        tokio::time::advance(minutes(10)).await;
        assert_eq!(panics.leaves(&object(8)), None, "its time has come");
        assert_eq!(panics.note(&object(8)), minutes(20));
        for _ in 0..40 {
            panics.note(&object(8));
        }
        assert_eq!(panics.note(&object(8)), LONGEST);
        panics.forget("a");
        assert_eq!(panics.note(&object(8)), minutes(10), "it went well in between");
    }
}
