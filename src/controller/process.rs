//! The process that the operator's tasks belong to, so that a test can run several in one runtime:
//! stop one in the middle of whatever it does, let it go on, and end it as SIGKILL would.
//!
//! The operator in its image has [`Process::default`], which does nothing of all that.

pub(in crate::controller) mod executor;
pub(in crate::controller) mod failpoint;
pub(in crate::controller) mod incarnation;
pub(in crate::controller) mod keys;
pub(in crate::controller) mod leadership;
pub(in crate::controller) mod lease;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A process. Clones are the same one.
#[derive(Clone, Default)]
pub struct Process(Option<Arc<Mutex<Control>>>);

/// What a test has decided on a process, and who waits for that to change.
#[derive(Default)]
struct Control {
    state: State,
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

#[derive(Clone, Copy, Default, Eq, PartialEq)]
#[cfg_attr(not(feature = "simulator"), expect(dead_code, reason = "only a test changes it"))]
enum State {
    #[default]
    Runs,
    Stopped,
    Ended,
}

impl Process {
    /// One that a test can stop and end.
    #[cfg(feature = "simulator")]
    #[must_use]
    pub fn for_a_test() -> Self {
        Self(Some(Arc::default()))
    }

    /// None of its tasks does anything, as after SIGSTOP.
    #[cfg(feature = "simulator")]
    pub fn stop(&self) {
        self.turn(State::Stopped);
    }

    /// Its tasks go on, as after SIGCONT.
    #[cfg(feature = "simulator")]
    pub fn go_on(&self) {
        self.turn(State::Runs);
    }

    /// Its tasks are gone where they are, as after SIGKILL. What they have sent stays sent.
    #[cfg(feature = "simulator")]
    pub fn end(&self) {
        self.turn(State::Ended);
    }

    #[cfg(feature = "simulator")]
    fn turn(&self, state: State) {
        let Some(control) = &self.0 else { return };
        let woken = {
            let mut control = lock(control);
            if control.state != State::Ended {
                control.state = state;
            }
            std::mem::take(&mut control.waiting)
        };
        // In the order in which the tasks were made, so that each run is the same.
        woken.into_values().for_each(Waker::wake);
    }

    /// A part of the operator that belongs to this process. Once the process has ended it never
    /// completes.
    pub fn within<F: Future>(&self, part: F) -> Within<F> {
        let number = self.0.as_ref().map_or(0, |control| {
            let mut control = lock(control);
            control.next += 1;
            control.next
        });
        Within { process: self.clone(), number, part: Some(Box::pin(part)) }
    }
}

/// A future of a process.
pub struct Within<F> {
    process: Process,
    number: u64,
    part: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if let Some(control) = &self.process.0 {
            let mut control = lock(control);
            let state = control.state;
            if state != State::Ended {
                control.waiting.insert(self.number, context.waker().clone());
            }
            drop(control);
            match state {
                State::Runs => {}
                State::Stopped => return Poll::Pending,
                State::Ended => {
                    self.part = None;
                    return Poll::Pending;
                }
            }
        }
        match &mut self.part {
            Some(part) => part.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Within<F> {
    fn drop(&mut self) {
        if let Some(control) = &self.process.0 {
            lock(control).waiting.remove(&self.number);
        }
    }
}

fn lock(control: &Mutex<Control>) -> MutexGuard<'_, Control> {
    control.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, feature = "simulator"))]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    /// Counts up once a second.
    async fn count(counter: Arc<AtomicU32>) {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        loop {
            seconds.tick().await;
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stopped_goes_on_and_what_has_ended_does_not() {
        let process = Process::for_a_test();
        let counter = Arc::new(AtomicU32::new(0));
        let counted = || counter.load(Ordering::Relaxed);
        let seconds = |n: u32| tokio::time::advance(Duration::from_secs(1) * n);
        let task = tokio::spawn(process.within(count(Arc::clone(&counter))));
        tokio::task::yield_now().await;
        assert_eq!(counted(), 1);
        process.stop();
        seconds(1).await;
        seconds(1).await;
        assert_eq!(counted(), 1, "it is stopped");
        process.go_on();
        tokio::task::yield_now().await;
        assert_eq!(counted(), 3, "it goes on, and finds what it has missed");
        assert_eq!(Arc::strong_count(&counter), 2);
        process.end();
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&counter), 1, "what it held is gone");
        process.go_on();
        seconds(2).await;
        assert_eq!(counted(), 3, "and it stays so");
        assert!(!task.is_finished());
    }

    #[tokio::test]
    async fn the_process_of_the_image_is_not_in_the_way() {
        assert_eq!(Process::default().within(async { 7 }).await, 7);
    }
}
