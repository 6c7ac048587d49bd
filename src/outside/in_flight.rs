//! How many bytes of answers are held at once, over all issuers: from their first byte until what was
//! made of them is done.
//!
//! An answer of ordinary length needs no room of its own: how many of those there are is bounded by how
//! many runs there are. A longer one waits until there is room for all of it, before more of it is
//! read: first among the answers of its owner, then among all. So one that sends slowly, or much, holds
//! up its own issuers alone.
//!
//! What orders something takes its room before it is sent, out of a part that lists never take, and waits
//! for nothing after that: its answer is never given up for want of room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::transport::{Call, Failure, Transport};

/// So long an answer may be that needs no room.
pub(super) const ORDINARY: usize = 64 * 1024;
/// So many bytes all answers have together that are longer, those of submits aside.
const ALL: usize = 64 * 1024 * 1024;
/// So many of them the issuers of one owner.
const OWN: usize = 16 * 1024 * 1024;
/// What a submit takes. An answer that is longer is read to its own cap all the same.
const SUBMIT: usize = 512 * 1024;
/// So many submits of one owner are under way at once: as many as one issuer has runs.
const SUBMITS: usize = 32;
/// Room is given in pieces of so many bytes.
const PIECE: usize = 1024;

/// The room for answers.
pub struct InFlight {
    all: Arc<Semaphore>,
    owners: Mutex<HashMap<String, Weak<Own>>>,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(ALL / PIECE)), owners: Mutex::default() }
    }
}

impl InFlight {
    /// The share of an owner: of all Issuers of a namespace, or of one ClusterIssuer.
    #[must_use]
    pub fn share(&self, owner: &str) -> Share {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.retain(|_, own| own.strong_count() > 0);
        let own = owners.get(owner).and_then(Weak::upgrade);
        let own = own.unwrap_or_default();
        owners.insert(owner.to_owned(), Arc::downgrade(&own));
        Share { own, all: Arc::clone(&self.all) }
    }
}

/// What one owner may take of the room.
#[derive(Clone)]
pub struct Share {
    own: Arc<Own>,
    all: Arc<Semaphore>,
}

/// The room of one owner.
struct Own {
    answers: Arc<Semaphore>,
    /// Apart, so that whoever sends long lists holds up no submit.
    submits: Arc<Semaphore>,
}

impl Default for Own {
    fn default() -> Self {
        let room = |bytes: usize| Arc::new(Semaphore::new(bytes / PIECE));
        Self { answers: room(OWN), submits: room(SUBMITS * SUBMIT) }
    }
}

/// Marks a request whose answer must not be lost: it makes an order.
#[derive(Clone, Copy, Debug)]
pub struct IsSubmit;

/// Room that is taken, until it is dropped.
pub(super) struct Room {
    /// So that the owner is known for as long as it has room taken.
    _of: Arc<Own>,
    own: Option<OwnedSemaphorePermit>,
    all: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Waits for room for so many bytes.
    pub(super) async fn take(&self, bytes: usize) -> Room {
        let pieces = pieces(bytes);
        // In this order: who waits for its own holds nothing of everybody's.
        let own = Arc::clone(&self.own.answers).acquire_many_owned(pieces).await.ok();
        let all = Arc::clone(&self.all).acquire_many_owned(pieces).await.ok();
        Room { _of: Arc::clone(&self.own), own, all }
    }

    /// The same for a submit that is not sent yet. It waits for other submits of its owner alone.
    pub(super) async fn take_for_submit(&self) -> Room {
        let pieces = pieces(SUBMIT);
        let own = Arc::clone(&self.own.submits).acquire_many_owned(pieces).await.ok();
        let all = Arc::clone(&self.all).try_acquire_many_owned(pieces).ok();
        Room { _of: Arc::clone(&self.own), own, all }
    }
}

fn pieces(bytes: usize) -> u32 {
    u32::try_from(bytes.min(OWN).div_ceil(PIECE)).unwrap_or(u32::MAX)
}

impl Room {
    /// Gives back what an answer of so many bytes does not need, and the rest when nobody reads it any
    /// more.
    pub(super) fn hold(mut self, answer: Bytes) -> Bytes {
        let needed = pieces(answer.len()) as usize;
        for permit in [&mut self.own, &mut self.all].into_iter().flatten() {
            drop(permit.split(permit.num_permits().saturating_sub(needed)));
        }
        Bytes::from_owner(Held { answer, _room: self })
    }
}

struct Held {
    answer: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.answer
    }
}

/// A transport whose answers take room of a share. The innermost one takes it, as it reads.
pub struct Sharing {
    /// The transport.
    pub inner: Arc<dyn Transport>,
    /// The share.
    pub share: Share,
}

#[async_trait]
impl Transport for Sharing {
    async fn send(&self, mut call: Call) -> Result<http::Response<Bytes>, Failure> {
        call.request.extensions_mut().insert(self.share.clone());
        self.inner.send(call).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn taken(share: &Share, bytes: usize) -> Option<Room> {
        share.take(bytes).now_or_never()
    }

    #[test]
    fn who_sends_much_holds_up_nobody_else() {
        let all = InFlight::default();
        let (greedy, other) = (all.share("greedy"), all.share("other"));
        let held: Vec<Room> = (0..2).filter_map(|_| taken(&greedy, 8 * MIB)).collect();
        assert_eq!(held.len(), 2);
        assert!(taken(&all.share("greedy"), MIB).is_none(), "an issuer more is no more room");
        let submit = || greedy.take_for_submit().now_or_never();
        let submits: Vec<Room> = std::iter::from_fn(submit).collect();
        assert_eq!(submits.len(), SUBMITS, "long lists hold up no submit");
        assert!(taken(&other, 8 * MIB).is_some());
        drop(held);
        assert!(taken(&greedy, 16 * MIB).is_some());
    }

    #[test]
    fn all_together_end_at_a_bound_that_holds_up_no_submit() {
        let all = InFlight::default();
        let owners: Vec<Share> = (0..5).map(|n| all.share(&n.to_string())).collect();
        let held: Vec<Room> = owners[..4].iter().filter_map(|one| taken(one, 16 * MIB)).collect();
        assert_eq!(held.len(), 4);
        assert!(taken(&owners[4], MIB).is_none());
        assert!(owners[4].take_for_submit().now_or_never().is_some());
        drop(held);
        assert!(taken(&owners[4], MIB).is_some());
    }

    #[test]
    fn an_answer_holds_what_it_needs_for_as_long_as_somebody_reads_it() {
        let all = InFlight::default();
        let share = all.share("one");
        let answer = taken(&share, 16 * MIB).unwrap().hold(Bytes::from(vec![b'x'; MIB]));
        assert!(taken(&share, 15 * MIB).is_some());
        assert!(taken(&share, 16 * MIB).is_none());
        let copy = answer.clone();
        drop(answer);
        assert!(taken(&share, 16 * MIB).is_none());
        assert_eq!(copy.len(), MIB);
        drop(copy);
        assert!(taken(&share, 16 * MIB).is_some());
    }
}
