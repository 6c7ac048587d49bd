//! Places where a test ends the process, or stops it for a while, to see what others make of what is
//! left.
//!
//! Empty unless built with the feature `failpoints`.

/// Ends the process at once, as SIGKILL would, if the environment variable `CHANCERY_KILL_AT` is
/// `name`; stops it until SIGCONT, the first time, if `CHANCERY_PAUSE_AT` is.
#[cfg(feature = "failpoints")]
pub(in crate::controller) fn failpoint(name: &str) {
    use std::sync::atomic::{AtomicBool, Ordering};
    static WAS_PAUSED: AtomicBool = AtomicBool::new(false);
    let is_at = |variable| std::env::var(variable).is_ok_and(|at| at == name);
    if is_at("CHANCERY_KILL_AT") {
        tracing::warn!(name, "failpoint reached");
        std::process::abort();
    }
    if is_at("CHANCERY_PAUSE_AT") && !WAS_PAUSED.swap(true, Ordering::AcqRel) {
        tracing::warn!(name, "pause point reached");
        let id = std::process::id().to_string();
        // It returns when somebody has sent SIGCONT.
        if let Err(error) = std::process::Command::new("kill").args(["-STOP", &id]).status() {
            tracing::error!(%error, "not paused");
        }
    }
}

#[cfg(not(feature = "failpoints"))]
pub(in crate::controller) fn failpoint(_name: &str) {}
