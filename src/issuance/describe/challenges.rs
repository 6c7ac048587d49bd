//! What an order waits to be shown, in a status and in a sentence.

use crate::api::condition::{TEXT_LIMIT, shortened};
use crate::api::{ChallengeKind, OrderChallenge};
use crate::ca::{Challenge, Proof};

/// So many are told; an order with more has hundreds of names, and each would be in the status.
const MOST: usize = 100;

/// The challenges of an order, those that are left to do first.
pub(super) fn told(challenges: &[Challenge]) -> Vec<OrderChallenge> {
    let (done, left): (Vec<_>, Vec<_>) = challenges.iter().partition(|one| one.is_met);
    left.into_iter().chain(done).filter_map(one).take(MOST).collect()
}

/// `None` where something of it is too long to be what it says: a value that was cut is a wrong one.
fn one(challenge: &Challenge) -> Option<OrderChallenge> {
    let Challenge { domain, proof, is_met } = challenge;
    let told = OrderChallenge {
        domain: domain.clone(),
        kind: ChallengeKind::Dns,
        done: *is_met,
        record_type: None,
        record_name: None,
        record_value: None,
        url: None,
        content: None,
        mailbox: None,
    };
    let told = match proof.clone() {
        Proof::Dns { kind, name, value } => OrderChallenge {
            record_type: Some(kind),
            record_name: Some(name),
            record_value: Some(value),
            ..told
        },
        Proof::File { url, content } => OrderChallenge {
            kind: ChallengeKind::File,
            url: Some(url),
            content: Some(content),
            ..told
        },
        Proof::Mailbox { address } => {
            OrderChallenge { kind: ChallengeKind::Email, mailbox: Some(address), ..told }
        }
    };
    let texts = [
        Some(&told.domain),
        told.record_type.as_ref(),
        told.record_name.as_ref(),
        told.record_value.as_ref(),
        told.url.as_ref(),
        told.content.as_ref(),
        told.mailbox.as_ref(),
    ];
    let fits = texts.into_iter().flatten().all(|text| text.len() <= TEXT_LIMIT);
    fits.then_some(told)
}

/// The next one that is left, for a condition; `None` where nothing is.
pub(super) fn next(challenges: &[OrderChallenge]) -> Option<String> {
    let mut left = challenges.iter().filter(|one| !one.done);
    let first = left.next()?;
    let domain = &first.domain;
    let said = |text: &Option<String>| text.clone().unwrap_or_default();
    let what = match first.kind {
        ChallengeKind::Dns => format!(
            "set the {} record {} to {}",
            said(&first.record_type),
            said(&first.record_name),
            said(&first.record_value)
        ),
        ChallengeKind::File => {
            format!("serve {} with the content of status.order.challenges", said(&first.url))
        }
        ChallengeKind::Email => {
            format!("answer the mail of the CA to {}", said(&first.mailbox))
        }
    };
    let more = match left.count() {
        0 => String::new(),
        count => format!(" ({count} more in status.order.challenges)"),
    };
    Some(shortened(format!("for {domain}, {what}{more}"), TEXT_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(domain: &str, is_met: bool) -> Challenge {
        let proof = Proof::Dns {
            kind: "CNAME".to_owned(),
            name: format!("_x.{domain}"),
            value: "y.example.net".to_owned(),
        };
        Challenge { domain: domain.to_owned(), proof, is_met }
    }

    #[test]
    fn what_is_left_to_do_comes_first_and_in_a_sentence() {
        let file = Challenge {
            domain: "b.example".to_owned(),
            proof: Proof::File {
                url: "http://b.example/f.txt".to_owned(),
                content: "1\n2".to_owned(),
            },
            is_met: false,
        };
        let mail = Challenge {
            domain: "c.example".to_owned(),
            proof: Proof::Mailbox { address: "admin@c.example".to_owned() },
            is_met: false,
        };
        let done = dns("a.example", true);
        let rows: [(&str, Vec<Challenge>, Option<&str>); 5] = [
            ("none", vec![], None),
            ("all done", vec![done.clone()], None),
            (
                "a record",
                vec![done.clone(), dns("d.example", false)],
                Some("for d.example, set the CNAME record _x.d.example to y.example.net"),
            ),
            (
                "a file, and more",
                vec![file, done, mail.clone()],
                Some(
                    "for b.example, serve http://b.example/f.txt with the content of status.order.challenges (1 more in status.order.challenges)",
                ),
            ),
            (
                "a mail",
                vec![mail],
                Some("for c.example, answer the mail of the CA to admin@c.example"),
            ),
        ];
        for (name, challenges, expected) in rows {
            let told = told(&challenges);
            assert_eq!(told.len(), challenges.len(), "{name}");
            assert!(told.is_sorted_by_key(|one| one.done), "{name}");
            assert_eq!(next(&told).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_status_holds_a_hundred_and_none_that_would_have_to_be_cut() {
        let many: Vec<Challenge> =
            (0..200).map(|at| dns(&format!("{at}.example"), at < 150)).collect();
        let all = told(&many);
        assert_eq!((all.len(), all.iter().filter(|one| !one.done).count()), (MOST, 50));
        assert_eq!(told(&[dns(&"a".repeat(TEXT_LIMIT), false)]), []);
    }
}
