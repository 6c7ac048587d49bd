//! What an object says at which a run ended by a fault of Chancery itself.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::condition::{self, READY, STALLED, Verdict};
use crate::issuance::Notice;
use crate::reason::Reason;

/// The conditions of an object of this kind after a run for it panicked: what was told before stays,
/// and beside it is said that nothing moves.
#[must_use]
pub fn stalled(
    before: &[Condition],
    kind: &str,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let verdict = |of, holds| Verdict::new(of, holds, Reason::RunPanicked, message(kind));
    let mut verdicts = vec![verdict(STALLED, true)];
    // Where something was told of what is delivered, that is still so.
    if condition::find(before, READY).is_none() {
        verdicts.insert(0, verdict(READY, false));
    }
    let new = condition::merge(before, verdicts, generation, now);
    let is_kept = |old: &&Condition| condition::find(&new, &old.type_).is_none();
    let kept: Vec<Condition> = before.iter().filter(is_kept).cloned().collect();
    kept.into_iter().chain(new).collect()
}

/// The Event beside it.
#[must_use]
pub fn notice(kind: &str) -> Notice {
    Notice::warning(Reason::RunPanicked, message(kind))
}

fn message(kind: &str) -> String {
    format!(
        "Chancery failed at this {kind} by a fault of its own: what is delivered stays, and no other object is concerned. It tries again when the {kind} changes, and by itself after 10 minutes, later more and more slowly. The log of the operator names the place in the program: please report it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(conditions: &[Condition]) -> Vec<String> {
        let word = |one: &Condition| format!("{} {} {}", one.type_, one.status, one.reason);
        conditions.iter().map(word).collect()
    }

    #[test]
    fn what_was_told_stays_and_is_told_once() {
        let now: Timestamp = "2026-06-01T12:00:00Z".parse().expect("a time");
        let later: Timestamp = "2026-06-01T13:00:00Z".parse().expect("a time");
        let first = stalled(&[], "CertificateRequest", 1, now);
        assert_eq!(words(&first), ["Ready False RunPanicked", "Stalled True RunPanicked"]);
        assert_eq!(stalled(&first, "CertificateRequest", 1, later), first, "nothing is new");
        let told = [Verdict::new(READY, true, Reason::Issued, "valid".to_owned())];
        let told = condition::merge(&[], told.into(), 1, now);
        let beside = stalled(&told, "CertificateRequest", 1, later);
        assert_eq!(words(&beside), ["Ready True Issued", "Stalled True RunPanicked"]);
        assert_eq!(beside.first(), told.first(), "it is as it was");
    }
}
