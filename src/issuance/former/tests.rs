//! What the versions before wrote is understood as what this one writes.

use jiff::civil::date;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::*;
use crate::issuance::certificate::reissue::Reissue;
use crate::issuance::describe::describe;
use crate::issuance::fixtures::{at, days, fresh, kept, now, previous, with};
use crate::issuance::order::hold::Hold;
use crate::issuance::previous::credentials_refused;
use crate::issuance::quota::Withheld;
use crate::issuance::step::Rest;
use crate::issuance::trouble::Trouble;
use crate::outside::Disposition;

fn condition(kind: &str, status: &str, reason: &str) -> Condition {
    serde_json::from_value(serde_json::json!({
        "type": kind, "status": status, "reason": reason, "message": "as it was said",
        "lastTransitionTime": "2026-06-01T12:00:00Z",
    }))
    .expect("a condition")
}

fn of_reason(reason: &str, is_stalled: bool) -> CertificateRequestStatus {
    let mut conditions = vec![condition(ISSUING, "True", reason)];
    if is_stalled {
        conditions.push(condition(STALLED, "True", reason));
    }
    CertificateRequestStatus { conditions, ..CertificateRequestStatus::default() }
}

#[test]
fn a_wait_is_read_from_the_reason_where_there_is_no_field() {
    use WaitsFor::{
        Attempt, OpenOrders, Order, OrdersPerDay, OrdersPerRequestPerDay, Search, Secret,
        SecretName,
    };
    let rows = [
        ("NoAnswer", false, Some(Attempt)),
        ("ChainNotTrusted", true, Some(Attempt)),
        ("CertificateUnusable", true, Some(Attempt)),
        ("OrderLookedFor", false, Some(Search)),
        ("OrderOutcomeUnknown", true, Some(Search)),
        ("OrderForForeignKey", true, Some(Search)),
        ("SecretNotOurs", true, Some(Secret)),
        ("SecretNameTaken", true, Some(SecretName)),
        ("OrderRecordLost", true, Some(Order)),
        ("Pending", true, Some(Attempt)),
        ("Pending", false, None),
        ("OrderBudgetSpent", false, Some(OrdersPerDay)),
        ("OpenOrdersLimitReached", false, Some(OpenOrders)),
        ("ChurnLimitReached", false, Some(OrdersPerRequestPerDay)),
        ("OrderPending", false, None),
        ("IssuerNotReady", false, None),
        ("Issued", false, None),
        ("AWordOfANewerVersion", false, None),
        ("AWordOfANewerVersion", true, Some(Order)),
    ];
    for (reason, is_stalled, on) in rows {
        let read = previous(&of_reason(reason, is_stalled)).wait;
        assert_eq!(read, on.map(|on| Wait { on, needs_person: is_stalled }), "{reason}");
    }
}

#[test]
fn the_field_counts_where_there_is_one() {
    let wait = Wait { on: WaitsFor::Search, needs_person: false };
    let status = CertificateRequestStatus { wait: Some(wait), ..of_reason("NoAnswer", true) };
    assert_eq!(previous(&status).wait, Some(wait));
}

/// Rests whose wait a status of the versions before tells by its reason.
#[test]
fn reasons_and_the_field_say_the_same() {
    let failed = |disposition, reason| {
        Rest::Failed(Trouble { disposition, reason, message: String::new(), counts: true })
    };
    let rests = [
        failed(Disposition::Retry { after: None }, Reason::NoAnswer),
        failed(Disposition::Reject, Reason::Refused),
        Rest::Held(Hold::ForeignKey { id: None }),
        Rest::Held(Hold::OutcomeUnknown(String::new())),
        Rest::Held(Hold::RecordLost),
        Rest::Held(Hold::Unusable(String::new())),
        Rest::IssuerMissing,
        Rest::Kept,
        Rest::LookedFor { until: now() + days(30), why: None },
        Rest::Ordered,
        Rest::SecretNameTaken("elder".to_owned()),
        Rest::SecretNotOurs("not ours".to_owned()),
        Rest::Submitting,
        Rest::Withheld(Withheld::Open { limit: 1, open: 1 }),
        Rest::Withheld(Withheld::Churn { limit: 1, made: 1, until: now() + days(30) }),
        Rest::Withheld(Withheld::Day { limit: 1, day: date(2026, 6, 1), until: now() + days(1) }),
        Rest::Abandoned,
        Rest::BackingOff { until: now() + days(30), reissue: None },
        Rest::Deleted,
        Rest::IssuerNotReady("it is checked".to_owned()),
        Rest::RecordUnreadable("forbidden".to_owned()),
        Rest::Suspended(Reissue::NeverIssued),
        Rest::TargetUnreadable("forbidden".to_owned()),
    ];
    for rest in rests {
        let mut status = describe(&kept(), &[], &rest).status;
        let written = status.wait.take();
        assert_eq!(wait(&status), written, "{rest:?}");
    }
}

/// What is said again tells the same wait as the run before.
#[test]
fn reasons_that_are_said_again_and_the_field_say_the_same() {
    for disposition in [Disposition::Retry { after: None }, Disposition::Reject] {
        let trouble =
            Trouble { disposition, reason: Reason::Refused, message: String::new(), counts: true };
        let failed = describe(&kept(), &[], &Rest::Failed(trouble)).status;
        let later = with(kept(), |seen| seen.previous = previous(&failed));
        let rest = match later.previous.next_attempt {
            Some(until) => Rest::BackingOff { until, reissue: None },
            None => Rest::AwaitingChange,
        };
        let mut status = describe(&later, &[], &rest).status;
        let written = status.wait.take();
        assert!(written.is_some(), "{rest:?}");
        assert_eq!(wait(&status), written, "{rest:?}");
    }
}

#[test]
fn all_reasons_of_failures_are_remembered() {
    for reason in FAILURES {
        let wait = wait(&of_reason(reason.word(), false)).map(|wait| wait.on);
        assert_eq!(wait, Some(WaitsFor::Attempt), "{reason}");
    }
}

#[test]
fn who_has_to_act_is_read_from_words_where_there_is_no_field() {
    let rows = [
        (Some("an approver at the CA"), Some(OrderActor::Approver)),
        (Some("the owner of the domain or mailbox"), Some(OrderActor::Owner)),
        (Some("the CA"), Some(OrderActor::Ca)),
        (Some("somebody at the CA"), None),
        (None, None),
    ];
    for (words, expected) in rows {
        let waiting_for = words.map(str::to_owned);
        let order = OrderStatus { waiting_for, ..OrderStatus::default() };
        let status =
            CertificateRequestStatus { order: Some(order), ..CertificateRequestStatus::default() };
        let read = previous(&status).order.expect("an order").actor;
        assert_eq!(read, expected, "{words:?}");
    }
}

#[test]
fn a_certificate_was_there_where_ready_said_so() {
    for (status, reason, expected) in
        [("True", "Issued", true), ("False", "Expired", true), ("False", "NoAnswer", false)]
    {
        let conditions = vec![condition(READY, status, reason)];
        let status = CertificateRequestStatus { conditions, ..Default::default() };
        assert_eq!(previous(&status).has_certificate, expected, "{reason}");
    }
}

#[test]
fn refused_credentials_are_read_from_the_reason_where_there_is_no_field() {
    let of = |reason: &str| IssuerStatus {
        conditions: vec![condition(READY, "False", reason)],
        ..IssuerStatus::default()
    };
    let refused = at("2026-06-01T12:00:00Z");
    assert_eq!(credentials_refused(&of("CredentialsRefused")), Some(refused));
    assert_eq!(credentials_refused(&of("Unreachable")), None);
    let own = with(fresh(), |seen| seen.request.credentials = Some("own".to_owned())).request;
    assert!(own.needs_not(&of("CredentialsRefused")), "it has its own");
    assert!(!own.needs_not(&of("Unreachable")));
    assert!(!fresh().request.needs_not(&of("CredentialsRefused")));
}
