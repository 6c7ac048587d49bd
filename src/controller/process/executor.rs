//! Where longer computation is done.

use async_trait::async_trait;

/// A computation. What it takes it owns, and what comes of it it hands over itself.
pub type Work = Box<dyn FnOnce() + Send>;

/// Does longer computation.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Does `work`, and completes when that is done.
    ///
    /// # Panics
    /// As `work` does.
    async fn execute(&self, work: Work);
}

/// Does each computation on a thread that may block, so that those of the runs stay free.
pub struct Threads;

#[async_trait]
impl Executor for Threads {
    async fn execute(&self, work: Work) {
        match tokio::task::spawn_blocking(work)
            .await
            .map_err(tokio::task::JoinError::try_into_panic)
        {
            Ok(()) => {}
            Err(Ok(payload)) => std::panic::resume_unwind(payload),
            // The runtime ends, and with it whoever waits.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

/// Does each computation at once and in place: threads of their own end in real time, which is not
/// the time of a test.
#[cfg(any(test, feature = "simulator"))]
pub struct Inline;

#[cfg(any(test, feature = "simulator"))]
#[async_trait]
impl Executor for Inline {
    async fn execute(&self, work: Work) {
        work();
    }
}
