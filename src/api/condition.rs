//! Condition types, reasons and the one rule by which conditions change.
//!
//! Conditions are for people and for tools that wait: nothing here reads one back to go on from it.
//! What a later run needs is a field of its own in the status.
//!
//! Types and polarity follow the kstatus conventions, reasons use cert-manager's words where it
//! has one. A transition time moves only when a condition's status flips.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::reason::Word;

/// A valid certificate is delivered (requests), or requests can be submitted (issuers).
pub const READY: &str = "Ready";
/// A certificate is being obtained.
pub const ISSUING: &str = "Issuing";
/// Nothing moves before a person acts.
pub const STALLED: &str = "Stalled";

/// Longest message written into a condition, in bytes; the API server's own limit is 32,768.
pub const MESSAGE_LIMIT: usize = 2048;

/// Longest text of a certificate or of a CA in a field of the status, in bytes.
pub const TEXT_LIMIT: usize = 1024;

/// One condition as decided, before it is merged with what is already in the status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// `Ready`, `Issuing` or `Stalled`.
    pub kind: &'static str,
    /// True or False.
    pub holds: bool,
    /// One word in camel case.
    pub reason: Word,
    /// Sentences for a person.
    pub message: String,
}

impl Verdict {
    /// A condition with everything it needs.
    #[must_use]
    pub fn new(kind: &'static str, holds: bool, reason: impl Into<Word>, message: String) -> Self {
        Self { kind, holds, reason: reason.into(), message }
    }
}

/// The conditions after `verdicts`, replacing all of `before`; the transition time of an unchanged
/// status is kept.
#[must_use]
pub fn merge(
    before: &[Condition],
    verdicts: Vec<Verdict>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    verdicts
        .into_iter()
        .map(|verdict| {
            let status = if verdict.holds { "True" } else { "False" };
            let last_transition_time = before
                .iter()
                .find(|old| old.type_ == verdict.kind && old.status == status)
                .map_or_else(|| Time(now), |old| old.last_transition_time.clone());
            Condition {
                last_transition_time,
                message: shortened(verdict.message, MESSAGE_LIMIT),
                observed_generation: Some(generation),
                reason: verdict.reason.into_owned(),
                status: status.to_owned(),
                type_: verdict.kind.to_owned(),
            }
        })
        .collect()
}

/// The condition of that type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition of that type is True.
#[must_use]
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

/// A text for the status, cut where it has more than so many bytes. The sign of that is its last
/// letter, `…`.
#[must_use]
pub fn shortened(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit.saturating_sub('…'.len_utf8())));
        text.push('…');
    }
    text
}
