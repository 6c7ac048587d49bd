//! When orders were made for a request, as its record holds it.

use jiff::{SignedDuration, Timestamp};

/// What has left the window is remembered a little longer: a clock that was ahead for a while must
/// not make it forgotten.
const MEMORY: SignedDuration = SignedDuration::from_hours(25);

/// When orders were made, with one that is made now. To the second, as an annotation holds them.
#[must_use]
pub fn noted(made: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let mut noted: Vec<_> =
        made.iter().copied().filter(|at| now.duration_since(*at) < MEMORY).collect();
    noted.push(now);
    noted.sort();
    noted
}

/// As the annotation holds it.
pub(in crate::issuance) fn written(made: &[Timestamp]) -> String {
    made.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// From the annotation; `None` where it is not what was written.
#[must_use]
pub fn read(text: &str) -> Option<Vec<Timestamp>> {
    text.split_ascii_whitespace().map(|at| at.parse().ok()).collect()
}
