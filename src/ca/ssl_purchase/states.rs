//! The states of an order, in words for people.
//!
//! The documentation has two, `pending` and `active`. The others are known from another product of
//! the same platform, or are what such words usually mean. What is in no table waits and is shown.

use crate::api::SslPurchaseStatusWords;
use crate::ca::FailedKind;
use crate::outside::remote_text;

/// What a state means for an order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// It is under way.
    Open(&'static str),
    /// The certificate is there.
    Issued,
    /// It has ended without.
    Failed(FailedKind, &'static str),
    /// Somebody has stopped it, perhaps for a while.
    Suspended,
}

/// What is said of a state that is in no list.
pub(super) const UNKNOWN: &str = "the reseller reports a state that is in no list; if it lasts, ask what it means and add it to spec.sslPurchase.statusWords";

const ISSUED: [&str; 4] = ["active", "completed", "issued", "valid"];

const WAITING: [&str; 8] = [
    "new",
    "requested",
    "processing",
    "in_progress",
    "scheduled",
    "validating",
    "renewing",
    "reissuing",
];

const WAITING_BEGIN: [&str; 3] = ["pending", "wait_", "awaiting_"];

const FAILED: [(&str, FailedKind, &str); 14] = [
    ("failed", FailedKind::Failed, "the order failed"),
    ("error", FailedKind::Failed, "the order failed"),
    ("rejected", FailedKind::Rejected, "the order was rejected"),
    ("declined", FailedKind::Rejected, "the order was declined"),
    ("canceled", FailedKind::Failed, "the order was cancelled"),
    ("cancelled", FailedKind::Failed, "the order was cancelled"),
    ("revoked", FailedKind::Revoked, "the certificate was issued and then revoked"),
    ("deleted", FailedKind::Failed, "the order was deleted"),
    ("removed", FailedKind::Failed, "the order was deleted"),
    ("terminated", FailedKind::Failed, "the order was ended"),
    ("disabled", FailedKind::Failed, "the order was ended"),
    ("inactive", FailedKind::Failed, "the order was ended"),
    ("expired", FailedKind::Failed, "the order has expired"),
    ("suspended", FailedKind::Failed, "the order was suspended"),
];

/// The words of an Issuer, which win over those that are known.
#[derive(Debug, Default)]
pub(super) struct Words {
    issued: Vec<String>,
    waiting: Vec<String>,
    failed: Vec<String>,
}

impl Words {
    pub(super) fn new(settings: Option<&SslPurchaseStatusWords>) -> Self {
        let plain = |words: &[String]| words.iter().map(|word| plain(word)).collect();
        settings.map_or_else(Self::default, |words| Self {
            issued: plain(&words.issued),
            waiting: plain(&words.waiting),
            failed: plain(&words.failed),
        })
    }

    /// A state as the API spells it, made fit to be shown, and what it means.
    pub(super) fn read(&self, text: &str) -> (String, Stage) {
        let word = plain(text);
        let shown = remote_text::excerpt(word.as_bytes(), str::to_owned);
        (shown.unwrap_or_else(|| "unknown".to_owned()), self.stage(&word))
    }

    fn stage(&self, word: &str) -> Stage {
        const WORKS: Stage = Stage::Open("the reseller works on the order");
        let has = |words: &[String]| words.iter().any(|one| one == word);
        if has(&self.issued) {
            return Stage::Issued;
        }
        if has(&self.waiting) {
            return WORKS;
        }
        let known = FAILED.iter().find(|(one, ..)| *one == word);
        if has(&self.failed) {
            return known.map_or(
                Stage::Failed(FailedKind::Failed, "the order has ended"),
                |(_, kind, words)| Stage::Failed(*kind, words),
            );
        }
        if word == "suspended" {
            return Stage::Suspended;
        }
        if let Some((_, kind, words)) = known {
            return Stage::Failed(*kind, words);
        }
        if ISSUED.contains(&word) {
            return Stage::Issued;
        }
        if WAITING.contains(&word) || WAITING_BEGIN.iter().any(|start| word.starts_with(start)) {
            return WORKS;
        }
        Stage::Open(UNKNOWN)
    }
}

/// Whatever the case, and whatever stands between words.
fn plain(text: &str) -> String {
    let text = text.trim().to_lowercase();
    text.chars().map(|c| if c == '-' || c.is_whitespace() { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_one_meaning_and_unknown_ones_wait() {
        let own = SslPurchaseStatusWords {
            issued: vec!["Ready To-Go".to_owned(), "expired".to_owned()],
            waiting: vec!["failed".to_owned()],
            failed: vec!["active".to_owned(), "rejected".to_owned(), "suspended".to_owned()],
        };
        let own = Words::new(Some(&own));
        let known = Words::new(None);
        let rows = [
            (&known, "active", "issued"),
            (&known, " Active ", "issued"),
            (&known, "completed", "issued"),
            (&known, "issued", "issued"),
            (&known, "valid", "issued"),
            (&known, "pending", "open"),
            (&known, "Pending Validation", "open"),
            (&known, "pending-approval", "open"),
            (&known, "new", "open"),
            (&known, "requested", "open"),
            (&known, "processing", "open"),
            (&known, "in progress", "open"),
            (&known, "scheduled", "open"),
            (&known, "wait_for_approval", "open"),
            (&known, "awaiting-payment", "open"),
            (&known, "validating", "open"),
            (&known, "renewing", "open"),
            (&known, "reissuing", "open"),
            (&known, "", "open"),
            (&known, "frobnicated", "open"),
            (&known, "failed", "Failed"),
            (&known, "error", "Failed"),
            (&known, "rejected", "Rejected"),
            (&known, "declined", "Rejected"),
            (&known, "canceled", "Failed"),
            (&known, "cancelled", "Failed"),
            (&known, "revoked", "Revoked"),
            (&known, "deleted", "Failed"),
            (&known, "removed", "Failed"),
            (&known, "terminated", "Failed"),
            (&known, "disabled", "Failed"),
            (&known, "inactive", "Failed"),
            (&known, "expired", "Failed"),
            (&known, "suspended", "suspended"),
            (&own, "ready to go", "issued"),
            (&own, "expired", "issued"),
            (&own, "failed", "open"),
            (&own, "active", "Failed"),
            (&own, "rejected", "Rejected"),
            (&own, "suspended", "Failed"),
            (&own, "pending", "open"),
            (&own, "revoked", "Revoked"),
        ];
        for (words, text, expected) in rows {
            let told = match words.read(text).1 {
                Stage::Issued => "issued".to_owned(),
                Stage::Open(_) => "open".to_owned(),
                Stage::Failed(kind, _) => format!("{kind:?}"),
                Stage::Suspended => "suspended".to_owned(),
            };
            assert_eq!(told, expected, "{text:?}");
        }
        let (shown, stage) = known.read("<b>Odd One</b>");
        assert_eq!(shown, "odd_one");
        assert!(matches!(stage, Stage::Open(words) if words.contains("statusWords")), "{stage:?}");
        assert_eq!(known.read("").0, "unknown");
    }
}
