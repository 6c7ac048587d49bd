//! Places where a test ends the process, or stops it or one of its threads for a while, to see what
//! others make of what is left.
//!
//! Empty unless built with the feature `failpoints`.

/// Ends the process at once, as SIGKILL would, if the environment variable `CHANCERY_KILL_AT` is
/// `name`; stops it until SIGCONT, the first time, if `CHANCERY_PAUSE_AT` is; keeps the thread, for
/// [`BUSY`] from the first time on, if `CHANCERY_BUSY_AT` is.
#[cfg(feature = "failpoints")]
pub(in crate::controller) fn failpoint(name: &str) {
    use std::sync::atomic::{AtomicBool, Ordering};
    static WAS_PAUSED: AtomicBool = AtomicBool::new(false);
    let is_at = |variable| std::env::var(variable).is_ok_and(|at| at == name);
    if is_at("CHANCERY_KILL_AT") {
        tracing::warn!(name, "failpoint reached");
        std::process::abort();
    }
    if is_at("CHANCERY_BUSY_AT") {
        keep_thread();
    }
    if is_at("CHANCERY_PAUSE_AT") && !WAS_PAUSED.swap(true, Ordering::AcqRel) {
        tracing::warn!(name, "pause point reached");
        let id = std::process::id().to_string();
        // It returns when somebody has sent SIGCONT.
        if let Err(error) = std::process::Command::new("sh").args(["-c", STOP, &id]).status() {
            tracing::error!(%error, "not paused");
        }
    }
}

/// How long threads are kept.
#[cfg(feature = "failpoints")]
const BUSY: std::time::Duration = std::time::Duration::from_secs(30);

/// Keeps this thread until the time is over that begins with the first.
#[cfg(feature = "failpoints")]
#[expect(clippy::disallowed_methods, reason = "as long computation would, and without the heat")]
fn keep_thread() {
    use tokio::time::Instant;
    static SINCE: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let left = BUSY.saturating_sub(SINCE.get_or_init(Instant::now).elapsed());
    if !left.is_zero() {
        tracing::warn!("busy point reached");
        std::thread::sleep(left);
    }
}

/// The kernel gives the signal to one thread, which stops the others once it runs: on a busy machine
/// this one would go on for a while. So who sends it waits until it has stopped the process.
#[cfg(feature = "failpoints")]
const STOP: &str = "kill -STOP $0; for _ in $(seq 500); do grep -q '^State:.T' /proc/$0/status && exit; sleep 0.02; done";

#[cfg(not(feature = "failpoints"))]
pub(in crate::controller) fn failpoint(_name: &str) {}
