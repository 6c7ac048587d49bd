//! The states of an order and the steps it goes through, in words for people.
//!
//! The official meanings are in a handbook that is not public; these are read from the names.

use super::wire::Task;
use crate::ca::{Actor, FailedKind};
use crate::outside::remote_text;

/// What a state means for an order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// It is under way.
    Open {
        actor: Actor,
        words: &'static str,
        /// The steps of the order say more.
        has_more_to_say: bool,
    },
    /// The certificate is there.
    Issued,
    /// It has ended without.
    Failed(FailedKind, &'static str),
}

const fn works(words: &'static str) -> Stage {
    Stage::Open { actor: Actor::Ca, words, has_more_to_say: false }
}

/// All states but `UNKNOWN`, which is like one that is in no table. `ISSUE` is not the end.
const STATES: [(&str, Stage); 14] = [
    ("NEW", works("SwissSign has taken the order")),
    ("KEY_VALIDATION", works("SwissSign examines the key")),
    (
        "PRE_VALIDATION",
        Stage::Open {
            actor: Actor::Ca,
            words: "SwissSign examines names, domains and policy",
            has_more_to_say: true,
        },
    ),
    ("GENERATE_TBS", works("SwissSign makes the certificate")),
    (
        "PENDING_AUTH",
        Stage::Open {
            actor: Actor::Approver,
            words: "an operator of the registration authority has to approve the order",
            has_more_to_say: true,
        },
    ),
    ("PRE_ISSUE", works("SwissSign examines the certificate before it is signed")),
    ("ISSUE", works("SwissSign signs the certificate")),
    ("POST_VALIDATION", works("SwissSign examines the signed certificate")),
    ("FINALIZE_ISSUANCE", works("SwissSign finishes the order")),
    (
        "PENDING_CSR_RENEWAL",
        Stage::Open {
            actor: Actor::Approver,
            words: "the registration authority waits for the CSR of a renewal of its own",
            has_more_to_say: false,
        },
    ),
    ("ISSUED", Stage::Issued),
    ("REVOKED", Stage::Failed(FailedKind::Revoked, "the certificate was issued and then revoked")),
    ("FAILED", Stage::Failed(FailedKind::Failed, "the order failed at SwissSign")),
    (
        "REJECTED",
        Stage::Failed(
            FailedKind::Rejected,
            "a person at the registration authority rejected the order",
        ),
    ),
];

/// Every state in which an order is under way, as the search takes them.
pub(super) const OPEN: [&str; 11] = [
    "NEW",
    "KEY_VALIDATION",
    "PRE_VALIDATION",
    "GENERATE_TBS",
    "PENDING_AUTH",
    "PRE_ISSUE",
    "ISSUE",
    "POST_VALIDATION",
    "FINALIZE_ISSUANCE",
    "PENDING_CSR_RENEWAL",
    "UNKNOWN",
];

/// A state as the API spells it, and what it means. Versions before 2.2.1 spelt it in lower case.
pub(super) fn read(text: &str) -> (String, Stage) {
    let upper = text.trim().to_ascii_uppercase();
    if let Some((word, stage)) = STATES.iter().find(|(word, _)| *word == upper) {
        return ((*word).to_owned(), *stage);
    }
    let word = remote_text::excerpt(upper.as_bytes(), str::to_owned);
    let unknown = Stage::Open {
        actor: Actor::Unknown,
        words: "SwissSign reports a state that says nothing; ask SwissSign if it lasts",
        has_more_to_say: true,
    };
    (word.unwrap_or_else(|| "UNKNOWN".to_owned()), unknown)
}

/// The first step that has not succeeded, in words, and who must act for it where that is clear.
///
/// A step that failed and is tried again can stand in an order that goes on: the state of the order
/// alone decides.
pub(super) fn reason(tasks: &[Task], scrub: impl Fn(&str) -> String) -> (Option<Actor>, String) {
    let is_open =
        |task: &&Task| !task.status.as_deref().unwrap_or_default().eq_ignore_ascii_case("SUCCESS");
    let Some(task) = tasks.iter().find(is_open) else {
        return (None, String::new());
    };
    let kind = task.kind.as_deref().unwrap_or_default().to_ascii_uppercase();
    let kind = kind.strip_suffix("_JOB").unwrap_or(&kind);
    let kind = kind.strip_prefix("ISSUE_").unwrap_or(kind);
    let (actor, words) = match kind {
        "AUTHORIZATION" => (Some(Actor::Approver), "the order is not approved yet".to_owned()),
        "CAA_CHECK_VALIDATION" => {
            (Some(Actor::Owner), "the CAA records of a domain do not allow it yet".to_owned())
        }
        "DOMAIN_OWNER_CHECK_VALIDATION" => {
            (Some(Actor::Owner), "a domain is not validated yet".to_owned())
        }
        "END_USER_EMAIL_VALIDATION" => (
            Some(Actor::Owner),
            "the owner of the mailbox has to follow the link that was mailed".to_owned(),
        ),
        "KEY_VALIDATION" => (None, "the key is examined".to_owned()),
        "POLICY_VALIDATION" => (None, "the order is being checked against the policy".to_owned()),
        "" => (None, "a step is open".to_owned()),
        other => {
            let step = remote_text::excerpt(other.as_bytes(), &scrub).unwrap_or_default();
            (None, format!("step {}", step.to_ascii_lowercase().replace('_', " ")))
        }
    };
    let error =
        task.error.as_deref().and_then(|text| remote_text::excerpt(text.as_bytes(), &scrub));
    (actor, error.map_or_else(|| words.clone(), |error| format!("{words} (\"{error}\")")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fifteen_states_are_understood_in_either_case() {
        use FailedKind::{Failed, Rejected, Revoked};
        let cases = [
            ("NEW", Ok(Actor::Ca)),
            ("KEY_VALIDATION", Ok(Actor::Ca)),
            ("PRE_VALIDATION", Ok(Actor::Ca)),
            ("GENERATE_TBS", Ok(Actor::Ca)),
            ("PENDING_AUTH", Ok(Actor::Approver)),
            ("PRE_ISSUE", Ok(Actor::Ca)),
            ("ISSUE", Ok(Actor::Ca)),
            ("POST_VALIDATION", Ok(Actor::Ca)),
            ("FINALIZE_ISSUANCE", Ok(Actor::Ca)),
            ("ISSUED", Err(None)),
            ("REVOKED", Err(Some(Revoked))),
            ("FAILED", Err(Some(Failed))),
            ("REJECTED", Err(Some(Rejected))),
            ("PENDING_CSR_RENEWAL", Ok(Actor::Approver)),
            ("UNKNOWN", Ok(Actor::Unknown)),
            ("SOMETHING_NEW", Ok(Actor::Unknown)),
        ];
        for (text, expected) in cases {
            for spelling in [text.to_owned(), text.to_lowercase(), format!(" {text}\n")] {
                let (word, stage) = read(&spelling);
                assert_eq!(word, text);
                let told = match stage {
                    Stage::Open { actor, .. } => Ok(actor),
                    Stage::Issued => Err(None),
                    Stage::Failed(kind, _) => Err(Some(kind)),
                };
                assert_eq!(told, expected, "{spelling}");
            }
            let is_asked_for = OPEN.contains(&text);
            assert_eq!(is_asked_for, expected.is_ok() && text != "SOMETHING_NEW", "{text}");
        }
        assert_eq!(read("").0, "UNKNOWN");
        assert!(read(&"x".repeat(1000)).0.len() <= 200);
    }

    fn task(status: &str, kind: &str, error: Option<&str>) -> Task {
        Task {
            status: Some(status.to_owned()),
            kind: Some(kind.to_owned()),
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn the_first_step_that_has_not_succeeded_gives_the_reason() {
        let done = || task("SUCCESS", "ISSUE_KEY_VALIDATION_JOB", None);
        let owner = Some(Actor::Owner);
        let cases = [
            ("all done", vec![done()], None, ""),
            ("none", vec![], None, ""),
            (
                "a domain, with the API's own words",
                vec![
                    done(),
                    task(
                        "RETRY",
                        "ISSUE_DOMAIN_OWNER_CHECK_VALIDATION_JOB",
                        Some("<b>no</b> TXT\nrecord"),
                    ),
                    task("WAITING", "ISSUE_AUTHORIZATION_JOB", None),
                ],
                owner,
                "a domain is not validated yet (\"no TXT record\")",
            ),
            (
                "CAA",
                vec![task("FAILED", "ISSUE_CAA_CHECK_VALIDATION_JOB", None)],
                owner,
                "the CAA records",
            ),
            (
                "a mailbox",
                vec![task("PENDING", "ISSUE_END_USER_EMAIL_VALIDATION_JOB", None)],
                owner,
                "the owner of the mailbox",
            ),
            (
                "an approval",
                vec![task("PENDING", "ISSUE_AUTHORIZATION_JOB", None)],
                Some(Actor::Approver),
                "the order is not approved yet",
            ),
            (
                "policy",
                vec![task("FAILED", "issue_policy_validation_job", Some("too long"))],
                None,
                "the order is being checked against the policy (\"too long\")",
            ),
            (
                "another step",
                vec![task("PENDING", "ISSUE_CT_LOG_PUBLICATION_JOB", None)],
                None,
                "step ct log publication",
            ),
            ("an unknown one", vec![Task::default()], None, "a step is open"),
        ];
        for (name, tasks, actor, says) in cases {
            let (told, words) = reason(&tasks, str::to_owned);
            assert_eq!(told, actor, "{name}");
            assert!(
                words.starts_with(says) && words.is_empty() == says.is_empty(),
                "{name}: {words}"
            );
        }
    }
}
