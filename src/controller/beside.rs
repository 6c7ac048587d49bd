//! Longer computation, beside the runs: what people and CAs wrote may be large, and whoever computes
//! on the threads of the runs holds up the others.
//!
//! # Guarantees
//! - Of one issuer only a few are computed at a time, and never so many that none of another issuer
//!   could be. Where several wait, turns go by namespace.
//! - A place is taken until the computation has ended, even where nobody waits for it any more: it
//!   cannot be interrupted.
//! - A computation that panics gives its place back, and ends the run that waits for it
//!   (`src/controller/stall.rs`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::oneshot;

use super::issuer::key::IssuerKey;
use super::process::executor::Executor;
use crate::turns::Turns;

/// So many of one issuer at a time.
const OF_AN_ISSUER: usize = 2;

/// So many in all at a time, at least: one issuer does not have them all.
const AT_LEAST: usize = 2 * OF_AN_ISSUER;

/// Texts and answers up to this length are read in place: a change of threads costs more.
pub(super) const SHORT: usize = 16 * 1024;

/// Computes beside the runs.
pub(super) struct Beside {
    executor: Arc<dyn Executor>,
    all: Turns,
    /// Of those issuers for which something is computed, or waits.
    issuers: Mutex<HashMap<IssuerKey, Weak<Turns>>>,
}

impl Beside {
    pub(super) fn new(executor: Arc<dyn Executor>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { executor, all: Turns::new(cores.max(AT_LEAST)), issuers: Mutex::default() }
    }

    /// What `work` makes, computed beside the runs when it is the turn of the issuer.
    ///
    /// # Panics
    /// As `work` does.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        issuer: &IssuerKey,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let turns = self.turns(issuer);
        // First that of the issuer: who waits for it takes none from the others.
        let places = (turns.turn().await, self.all.turn().await, turns);
        let (made, makes) = oneshot::channel();
        let span = tracing::Span::current();
        let work = move || {
            let _places = places;
            // Whoever waited may be gone.
            let _ = made.send(span.in_scope(work));
        };
        self.executor.execute(Box::new(work)).await;
        match makes.await {
            Ok(made) => made,
            // It has panicked, and whoever waits with it.
            Err(_) => std::future::pending().await,
        }
    }

    /// The turns of an issuer, for as long as somebody has them.
    fn turns(&self, issuer: &IssuerKey) -> Arc<Turns> {
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = issuers.get(issuer).and_then(Weak::upgrade) {
            return turns;
        }
        issuers.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Turns::new(OF_AN_ISSUER));
        issuers.insert(issuer.clone(), Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;
    use crate::api::IssuerKind;
    use crate::controller::process::executor::{Inline, Threads};

    fn issuer(name: &str) -> IssuerKey {
        IssuerKey { kind: IssuerKind::ClusterIssuer, namespace: None, name: name.to_owned() }
    }

    fn threads() -> Arc<Beside> {
        Arc::new(Beside::new(Arc::new(Threads)))
    }

    async fn soon<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(30), work).await.expect("it is not held up")
    }

    /// Computations of an issuer that last until the sender is dropped.
    struct Long {
        ends: Vec<mpsc::Sender<()>>,
        tasks: Vec<tokio::task::JoinHandle<()>>,
        begun: Arc<AtomicUsize>,
    }

    impl Long {
        fn begin(beside: &Arc<Beside>, name: &str, number: usize) -> Self {
            let begun = Arc::<AtomicUsize>::default();
            let (mut ends, mut tasks) = (Vec::new(), Vec::new());
            for _ in 0..number {
                let (end, ended) = mpsc::channel::<()>();
                let (beside, key, begins) = (Arc::clone(beside), issuer(name), Arc::clone(&begun));
                ends.push(end);
                tasks.push(tokio::spawn(async move {
                    let work = move || {
                        begins.fetch_add(1, Ordering::SeqCst);
                        let _ = ended.recv();
                    };
                    beside.compute(&key, work).await;
                }));
            }
            Self { ends, tasks, begun }
        }

        async fn until_begun(&self, number: usize) {
            let begun = async {
                while self.begun.load(Ordering::SeqCst) < number {
                    tokio::task::yield_now().await;
                }
            };
            soon(begun).await;
        }
    }

    #[tokio::test]
    async fn an_issuer_whose_computations_are_long_holds_up_no_other() {
        let beside = threads();
        let long = Long::begin(&beside, "greedy", 20);
        long.until_begun(OF_AN_ISSUER).await;
        for number in 0..20 {
            let made = soon(beside.compute(&issuer("neighbour"), move || number)).await;
            assert_eq!(made, number);
        }
        assert_eq!(long.begun.load(Ordering::SeqCst), OF_AN_ISSUER, "a few at a time");
        assert_eq!(beside.issuers.lock().unwrap().len(), 2, "who has nothing to do is forgotten");
        drop(long.ends);
        for task in long.tasks {
            soon(task).await.expect("all of them have their turn");
        }
        assert_eq!(long.begun.load(Ordering::SeqCst), 20);
        beside.compute(&issuer("another"), || ()).await;
        assert_eq!(beside.issuers.lock().unwrap().len(), 1, "nothing is kept of those before");
    }

    #[tokio::test]
    async fn who_waits_no_more_has_its_place_until_the_computation_ends() {
        let beside = threads();
        let long = Long::begin(&beside, "greedy", OF_AN_ISSUER);
        long.until_begun(OF_AN_ISSUER).await;
        for task in long.tasks {
            task.abort();
            assert!(task.await.is_err(), "nobody waits for it");
        }
        let key = issuer("greedy");
        let mut next = std::pin::pin!(beside.compute(&key, || ()));
        assert!(next.as_mut().now_or_never().is_none());
        assert_eq!(beside.turns(&key).waiting(), 1, "both are still computed");
        drop(long.ends);
        soon(next).await;
    }

    #[tokio::test]
    async fn a_panic_ends_who_waits_and_leaves_its_place_to_the_next() {
        let executors: [(&str, Arc<dyn Executor>); 2] =
            [("on a thread", Arc::new(Threads)), ("in place", Arc::new(Inline))];
        for (name, executor) in executors {
            let beside = Arc::new(Beside::new(executor));
            for _ in 0..100 {
                let beside = Arc::clone(&beside);
                let run = async move {
                    beside.compute(&issuer("odd"), || panic!("a fault of the program")).await
                };
                let ended: Result<(), _> = soon(tokio::spawn(run)).await;
                let payload = ended.expect_err(name).into_panic();
                let text = payload.downcast_ref::<&str>();
                assert_eq!(text, Some(&"a fault of the program"), "{name}");
            }
            assert_eq!(soon(beside.compute(&issuer("odd"), || 7)).await, 7, "{name}");
        }
    }

    #[test]
    fn what_is_computed_in_place_is_there_at_once() {
        let beside = Beside::new(Arc::new(Inline));
        let here = std::thread::current().id();
        let key = issuer("one");
        let made = beside.compute(&key, || std::thread::current().id()).now_or_never();
        assert_eq!(made, Some(here));
    }
}
