//! Places where a test ends the process, to see what the next one makes of what is left.
//!
//! Empty unless built with the feature `kill-points`.

/// Ends the process at once, as SIGKILL would, if the environment variable `CHANCERY_KILL_AT` is
/// `name`.
#[cfg(feature = "kill-points")]
pub(super) fn kill_point(name: &str) {
    if std::env::var("CHANCERY_KILL_AT").is_ok_and(|at| at == name) {
        tracing::warn!(name, "kill point reached");
        std::process::abort();
    }
}

#[cfg(not(feature = "kill-points"))]
pub(super) fn kill_point(_name: &str) {}
