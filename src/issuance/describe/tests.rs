//! What each rest says of itself: conditions with their messages, counters, notices, next look.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::ready::unseen_by_clients;
use super::*;
use crate::api::condition::READY;
use crate::api::{AttemptInputs, CertificateRequestStatus, Wait, WaitsFor, annotation};
use crate::issuance::Reissue;
use crate::issuance::certificate::renewal::RenewBefore;
use crate::issuance::decide::decide;
use crate::issuance::fixtures::{
    account, altered, at, cached, days, delivered_target, described, fresh, kept, now, obtained,
    opened, previous, request, stored, with,
};
use crate::issuance::observation::{IssuerState, Outcome, Read, Request};
use crate::issuance::quota::Withheld;
use crate::issuance::step::Step;
use crate::issuance::trouble::Trouble;
use crate::outside::Disposition;
use crate::pki::KeyKind;
use crate::pki::names::Usage;
use crate::reason::Reason;

const READY_MESSAGE: &str = "CN=a.example.org from CN=Issuing, valid until 2026-07-01T12:00:00Z, renews at 2026-06-20T04:49:33Z";

fn lines(conditions: &[Condition]) -> Vec<String> {
    let line =
        |one: &Condition| format!("{} {} {}: {}", one.type_, one.status, one.reason, one.message);
    conditions.iter().map(line).collect()
}

fn trouble(disposition: Disposition) -> Trouble {
    Trouble {
        disposition,
        reason: Reason::UnexpectedAnswer,
        message: "what was that".to_owned(),
        counts: true,
    }
}

/// The conditions that stand in the status of [`kept`].
fn ready_before() -> Vec<Condition> {
    let delivered = with(obtained(), |seen| {
        *seen = seen.clone().after(Outcome::Delivered {
            target: delivered_target(),
            added_roots: vec![],
            renewed: true,
            adopted: false,
        });
    });
    described(&delivered).status.conditions
}

#[test]
fn every_rest_says_what_holds_and_who_moves_next() {
    let until = at("2026-06-11T12:05:00Z");
    let renewal = Requeue::At(at("2026-06-20T04:49:33Z"));
    let end = Requeue::At(at("2026-07-01T12:00:00Z"));
    let ready = format!("Ready True Issued: {READY_MESSAGE}");
    let failed_before = with(kept(), |seen| {
        seen.previous.next_attempt = Some(until);
        seen.previous.wait = Some(Wait { on: WaitsFor::Attempt, needs_person: true });
        seen.previous.said = Some(("ServerError".to_owned(), "500 (failed attempt 1)".to_owned()));
    });
    let cases: [(Rest, Observation, &[&str], Requeue); 17] = [
        (Rest::Kept, kept(), &["Issuing False Issued: the certificate is delivered"], renewal),
        (
            Rest::Suspended(Reissue::NearingExpiry),
            kept(),
            &[
                "Issuing False Suspended: the renewal time has come; nothing is asked of the CA while spec.suspend is true",
            ],
            end,
        ),
        (
            Rest::IssuerMissing,
            kept(),
            &[
                "Issuing True IssuerNotFound: Issuer house does not exist in namespace shop: create it, or correct spec.issuerRef",
            ],
            end,
        ),
        (
            Rest::IssuerMissing,
            with(kept(), |seen| {
                seen.request.issuer = "ClusterIssuer house".to_owned();
                let cached = seen.cached.as_mut().expect("a target");
                let requested = cached.metadata.annotations.get_mut(annotation::REQUESTED);
                let requested = requested.expect("what was requested");
                *requested = requested.replace("Issuer house", "ClusterIssuer house");
            }),
            &[
                "Issuing True IssuerNotFound: ClusterIssuer house does not exist: create it, or correct spec.issuerRef",
            ],
            end,
        ),
        (
            Rest::IssuerMissing,
            with(kept(), |seen| {
                seen.request.issuer = "ClusterIssuer house".to_owned();
                seen.issuer = IssuerState::NotServed;
                let cached = seen.cached.as_mut().expect("a target");
                let requested = cached.metadata.annotations.get_mut(annotation::REQUESTED);
                let requested = requested.expect("what was requested");
                *requested = requested.replace("Issuer house", "ClusterIssuer house");
            }),
            &[
                "Issuing True IssuerNotServed: ClusterIssuer house is not asked: the Chancery of this namespace serves no ClusterIssuers; name an Issuer of namespace shop in spec.issuerRef, or ask the platform team",
            ],
            end,
        ),
        (
            Rest::IssuerNotReady("no answer".to_owned()),
            kept(),
            &["Issuing True IssuerNotReady: Issuer house is not ready: no answer"],
            end,
        ),
        (
            Rest::AwaitingChange,
            failed_before.clone(),
            &[
                "Stalled True ServerError: 500 (failed attempt 1)",
                "Issuing False ServerError: 500 (failed attempt 1)",
            ],
            end,
        ),
        (
            Rest::AwaitingChange,
            kept(),
            &[
                "Stalled True Pending: the last attempt was refused, and the next one would be too: change the request or its issuer",
                "Issuing False Pending: the last attempt was refused, and the next one would be too: change the request or its issuer",
            ],
            end,
        ),
        (
            Rest::BackingOff { until, reissue: Some(Reissue::NearingExpiry) },
            failed_before.clone(),
            &[
                "Stalled True ServerError: 500 (failed attempt 1)",
                "Issuing True ServerError: 500 (failed attempt 1)",
            ],
            Requeue::At(until),
        ),
        (
            Rest::BackingOff { until, reissue: None },
            with(failed_before, |seen| {
                seen.previous.wait = None;
                seen.previous.said = Some(("IssuerNotReady".to_owned(), "no longer so".to_owned()));
            }),
            &[
                "Issuing True Pending: the last attempt failed; the next is at 2026-06-11T12:05:00Z, or when something changes",
            ],
            Requeue::At(until),
        ),
        (
            Rest::BackingOff { until, reissue: Some(Reissue::SecretAltered("tls.key is gone")) },
            kept(),
            &[
                "Issuing True SecretAltered: the Secret was altered: tls.key is gone, seconds after it was delivered: it will be repaired at 2026-06-11T12:05:00Z; find out who changes it",
            ],
            Requeue::At(until),
        ),
        (
            Rest::SecretNameTaken("elder".to_owned()),
            kept(),
            &[
                "Stalled True SecretNameTaken: CertificateRequest elder already has spec.secretName web-tls: choose another in a new request, or delete one of the two",
                "Issuing False SecretNameTaken: CertificateRequest elder already has spec.secretName web-tls: choose another in a new request, or delete one of the two",
            ],
            end,
        ),
        (
            Rest::Failed(trouble(Disposition::Retry { after: None })),
            kept(),
            &[
                "Issuing True UnexpectedAnswer: what was that (failed attempt 1; the next is at 2026-06-11T12:00:05Z, or when something changes)",
            ],
            Requeue::At(at("2026-06-11T12:00:05Z")),
        ),
        (
            Rest::Failed(trouble(Disposition::Internal)),
            kept(),
            &[
                "Issuing True UnexpectedAnswer: what was that (failed attempt 1; the next is at 2026-06-11T12:01:08Z, or when something changes)",
            ],
            Requeue::At(at("2026-06-11T12:01:08Z")),
        ),
        (
            Rest::Failed(trouble(Disposition::BlameIssuer)),
            kept(),
            &[
                "Stalled True UnexpectedAnswer: what was that (failed attempt 1; the next is at 2026-06-11T12:01:08Z, or when something changes)",
                "Issuing True UnexpectedAnswer: what was that (failed attempt 1; the next is at 2026-06-11T12:01:08Z, or when something changes)",
            ],
            Requeue::At(at("2026-06-11T12:01:08Z")),
        ),
        (
            Rest::Failed(trouble(Disposition::Reject)),
            kept(),
            &[
                "Stalled True UnexpectedAnswer: what was that (not tried again before the request or its issuer changes)",
                "Issuing False UnexpectedAnswer: what was that (not tried again before the request or its issuer changes)",
            ],
            end,
        ),
        (
            Rest::Failed(Trouble { counts: false, ..trouble(Disposition::BlameCredentials) }),
            kept(),
            &[
                "Stalled True UnexpectedAnswer: what was that",
                "Issuing True UnexpectedAnswer: what was that",
            ],
            Requeue::At(at("2026-06-11T13:00:00Z")),
        ),
    ];
    for (rest, seen, expected, requeue) in cases {
        let description = describe(&seen, &ready_before(), &rest);
        let mut all = vec![ready.clone()];
        all.extend(expected.iter().map(|line| (*line).to_owned()));
        assert_eq!(lines(&description.status.conditions), all, "{rest:?}");
        assert_eq!(description.requeue, requeue, "{rest:?}");
        assert!(
            description.status.conditions.iter().all(|one| one.observed_generation == Some(3)),
            "{rest:?}"
        );
    }
}

#[test]
fn without_a_certificate_ready_says_why_in_the_same_words() {
    let foreign = "Secret web-tls exists and is not Chancery's".to_owned();
    let cases = [
        (opened(), Rest::IssuerMissing, "IssuerNotFound", Requeue::AwaitChange),
        (opened(), Rest::IssuerNotReady("x".to_owned()), "IssuerNotReady", Requeue::AwaitChange),
        (opened(), Rest::Suspended(Reissue::NeverIssued), "Suspended", Requeue::AwaitChange),
        (
            opened(),
            Rest::SecretNameTaken("elder".to_owned()),
            "SecretNameTaken",
            Requeue::AwaitChange,
        ),
        (
            opened(),
            Rest::Failed(trouble(Disposition::Reject)),
            "UnexpectedAnswer",
            Requeue::AwaitChange,
        ),
        (
            with(opened(), |seen| seen.target = Some(Read::Unreadable("403".to_owned()))),
            Rest::TargetUnreadable("403".to_owned()),
            "SecretUnreadable",
            Requeue::At(now() + SignedDuration::from_secs(15)),
        ),
        (
            altered(|target| target.metadata.annotations.clear()),
            Rest::SecretNotOurs(foreign),
            "SecretNotOurs",
            Requeue::At(now() + days(10) + SignedDuration::from_secs(15)),
        ),
        (
            with(kept(), |seen| seen.target = Some(Read::Absent)),
            Rest::Suspended(Reissue::SecretMissing),
            "Suspended",
            Requeue::AwaitChange,
        ),
    ];
    for (seen, rest, reason, requeue) in cases {
        let description = describe(&seen, &ready_before(), &rest);
        let conditions = &description.status.conditions;
        let ready = condition::find(conditions, READY).expect("Ready");
        let issuing = condition::find(conditions, ISSUING).expect("Issuing");
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", reason), "{rest:?}");
        assert_eq!(ready.message, issuing.message, "{rest:?}");
        assert_eq!(description.requeue, requeue, "{rest:?}");
    }
    let unreadable = describe(
        &with(opened(), |seen| seen.target = Some(Read::Unreadable("403".to_owned()))),
        &[],
        &Rest::TargetUnreadable("get secrets web-tls: 403".to_owned()),
    );
    assert_eq!(
        lines(&unreadable.status.conditions)[1],
        "Issuing True SecretUnreadable: get secrets web-tls: 403; nothing is asked of the CA before it can be read"
    );
}

fn issuer_for(account: &str) -> IssuerState {
    IssuerState::Ready { version: "7".to_owned(), account: Some(account.to_owned()), anchors: None }
}

/// Status, reason and message of Ready after a run that ended with `rest`.
fn ready_after(seen: &Observation, rest: &Rest) -> (bool, String, String) {
    let conditions = describe(seen, &ready_before(), rest).status.conditions;
    let ready = condition::find(&conditions, READY).expect("Ready");
    (ready.status == "True", ready.reason.clone(), ready.message.clone())
}

#[test]
fn what_was_edited_since_is_outdated_and_what_is_due_is_not() {
    type Change = fn(&mut Observation);
    let edits: [(&str, Change, &str); 8] = [
        (
            "a further name",
            |seen| seen.request.names.dns_names.push("c.example.org".to_owned()),
            "DNS name c.example.org is not in it",
        ),
        (
            "other names",
            |seen| seen.request.names.dns_names = vec!["other.example.org".to_owned()],
            "DNS name other.example.org is not in it, DNS name a.example.org is no longer asked for, DNS name b.example.org is no longer asked for",
        ),
        (
            "a name and an address",
            |seen| {
                seen.request.names.dns_names.push("c.example.org".to_owned());
                seen.request.names.ip_addresses = vec!["192.0.2.1".parse().expect("an address")];
            },
            "DNS name c.example.org is not in it, IP address 192.0.2.1 is not in it",
        ),
        (
            "many names",
            |seen| {
                let more = (0..8).map(|n| format!("{n}.example.org"));
                seen.request.names.dns_names.extend(more);
            },
            "DNS name 0.example.org is not in it, DNS name 1.example.org is not in it, DNS name 2.example.org is not in it, DNS name 3.example.org is not in it, DNS name 4.example.org is not in it, and 3 more",
        ),
        (
            "a lifetime",
            |seen| seen.request.duration = Some(days(1)),
            "duration differs from what the certificate was requested with",
        ),
        (
            "a key",
            |seen| seen.request.key_kind = Some(KeyKind::EcdsaP384),
            "another kind of private key is asked for",
        ),
        (
            "an issuer for another user",
            |seen| {
                seen.request.issuer = "Issuer other".to_owned();
                seen.issuer = issuer_for("https://ca.example/ as other");
            },
            "issuerRef now names another issuer",
        ),
        (
            "a name, and nobody noted what the certificate has",
            |seen| {
                seen.request.names.dns_names.push("c.example.org".to_owned());
                let known = seen.previous.certificate.as_mut().expect("a certificate");
                known.dns_names = None;
            },
            "DNS name c.example.org is not in it",
        ),
    ];
    let rests = [
        (Rest::Suspended(Reissue::InputsDiffer("dnsNames")), "spec.suspend is true"),
        (Rest::IssuerNotReady("no answer".to_owned()), "is not ready: no answer"),
        (Rest::Kept, "another is obtained next"),
    ];
    for (name, change, what) in edits {
        let seen = with(kept(), change);
        for (rest, next) in &rests {
            let (holds, reason, message) = ready_after(&seen, rest);
            assert_eq!((holds, reason.as_str()), (false, "Outdated"), "{name}");
            let start = format!(
                "CN=a.example.org from CN=Issuing, valid until 2026-07-01T12:00:00Z; the request asks for something else since: {what}; "
            );
            assert!(message.starts_with(&start), "{name}: {message}");
            assert!(message.ends_with(next), "{name}: {message}");
        }
    }
    let no_edits: [(&str, Change); 7] = [
        ("nothing", |_| ()),
        ("an issuer of another name", |seen| seen.request.issuer = "Issuer other".to_owned()),
        ("another user of the issuer", |seen| {
            seen.issuer = issuer_for("https://ca.example/ as other");
        }),
        ("a renewal by hand", |seen| seen.request.renew = Some("1".to_owned())),
        ("the time", |seen| seen.now = now() + days(25)),
        ("a label", |seen| seen.request.template.labels.clear()),
        ("the same names in other words", |seen| {
            seen.request.names.dns_names =
                vec!["B.example.org.".to_owned(), "a.example.org".to_owned()];
        }),
    ];
    for (name, change) in no_edits {
        let seen = with(kept(), change);
        for (rest, _) in &rests {
            let (holds, reason, _) = ready_after(&seen, rest);
            assert_eq!((holds, reason.as_str()), (true, "Issued"), "{name}");
        }
    }
    // Whether another issuer is another CA is not known in each run.
    let moved = with(kept(), |seen| {
        seen.request.issuer = "Issuer other".to_owned();
        seen.issuer = issuer_for("https://ca.example/ as other");
    });
    let told = describe(&moved, &ready_before(), &Rest::Submitting).status;
    assert!(told.certificate.as_ref().is_some_and(|certificate| certificate.outdated));
    let unknown = with(moved, |seen| {
        seen.previous = previous(&told);
        seen.issuer = IssuerState::NotReady("no answer".to_owned());
    });
    let rest = Rest::IssuerNotReady("no answer".to_owned());
    assert_eq!(ready_after(&unknown, &rest).1, "Outdated", "as it was found out before");
    let taken_back = with(unknown, |seen| seen.request.issuer = "Issuer house".to_owned());
    assert_eq!(ready_after(&taken_back, &rest).1, "Issued");
    let unreadable = with(kept(), |seen| {
        seen.request.names.dns_names.clear();
        seen.target = Some(Read::Unreadable("403".to_owned()));
    });
    let rest = Rest::TargetUnreadable("403".to_owned());
    assert_eq!(ready_after(&unreadable, &rest).1, "Outdated", "by what the watch shows");
    let expired = with(kept(), |seen| {
        seen.request.names.dns_names.clear();
        seen.now = at("2026-07-01T12:00:00Z");
    });
    assert_eq!(ready_after(&expired, &Rest::Kept).1, "Expired");
}

#[test]
fn ready_speaks_of_the_names_in_the_certificate() {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let nameless = |change: fn(&mut DeliveredCertificate)| {
        with(kept(), |seen| {
            let certificate = seen.previous.certificate.as_mut().expect("a certificate");
            certificate.subject.clear();
            certificate.common_name = None;
            change(certificate);
        })
    };
    let delivered = kept().previous.certificate.expect("a certificate");
    assert_eq!(delivered.dns_names, Some(texts(&["a.example.org", "b.example.org"])));
    assert_eq!(delivered.ip_addresses, Some(vec![]));
    let edited = |mut seen: Observation| {
        seen.request.names.dns_names = texts(&["late.example.org"]);
        seen
    };
    let cases = [
        ("its names", nameless(|_| ()), "a.example.org and 1 more from "),
        ("after an edit", edited(nameless(|_| ())), "a.example.org and 1 more from "),
        (
            "more than was asked for",
            nameless(|one| one.uris = Some(vec!["urn:uuid:1".to_owned()])),
            "a.example.org and 2 more from ",
        ),
        ("not noted", nameless(|one| one.dns_names = None), "a.example.org and 1 more from "),
        (
            "not noted, after an edit",
            edited(nameless(|one| one.dns_names = None)),
            "a.example.org and 1 more from ",
        ),
        (
            "none",
            nameless(|one| one.dns_names = Some(vec![])),
            "a certificate without a subject from ",
        ),
    ];
    for (name, seen, start) in cases {
        let (_, _, message) = ready_after(&seen, &Rest::Suspended(Reissue::NearingExpiry));
        assert!(message.starts_with(start), "{name}: {message}");
    }
}

#[test]
fn what_tls_clients_refuse_is_said() {
    let refused = |change: fn(&mut Request, &mut DeliveredCertificate)| {
        let (mut request, mut certificate) = (request(), kept().previous.certificate?);
        certificate.dns_names = Some(vec!["b.example.org".to_owned()]);
        change(&mut request, &mut certificate);
        unseen_by_clients(&request, &certificate).map(str::to_owned)
    };
    let cn = Some("a.example.org".to_owned());
    assert_eq!(refused(|_, _| ()), cn, "a name in the common name alone");
    assert_eq!(
        refused(|_, one| one.common_name = Some("192.0.2.1".to_owned())).as_deref(),
        Some("192.0.2.1")
    );
    assert_eq!(refused(|_, one| one.dns_names = Some(vec!["A.example.org".to_owned()])), None);
    assert_eq!(refused(|_, one| one.dns_names = None), None, "nobody noted its names");
    assert_eq!(refused(|_, one| one.common_name = Some("jdoe".to_owned())), None, "a user");
    let called_by_the_ca = refused(|request, _| request.names.common_name = None);
    assert_eq!(called_by_the_ca, None, "what a CA calls a user");
    let client = refused(|request, _| request.names.usages = vec![Usage::ClientAuth]);
    assert_eq!(client, None, "a client");

    let seen = with(kept(), |seen| {
        let certificate = seen.previous.certificate.as_mut().expect("a certificate");
        certificate.dns_names = Some(vec!["b.example.org".to_owned()]);
    });
    let (holds, _, message) = ready_after(&seen, &Rest::Kept);
    assert!(holds, "{message}");
    assert!(
        message.contains("; TLS clients refuse it for a.example.org, which the CA"),
        "{message}"
    );
}

#[test]
fn suspended_is_stalled_where_ready_would_never_come() {
    let stalled = |seen: &Observation| {
        let rest = Rest::Suspended(Reissue::NearingExpiry);
        let conditions = describe(seen, &[], &rest).status.conditions;
        condition::find(&conditions, STALLED).map(|stalled| stalled.reason.clone())
    };
    assert_eq!(stalled(&opened()).as_deref(), Some("Suspended"));
    let edited = with(kept(), |seen| seen.request.names.dns_names.clear());
    assert_eq!(stalled(&edited).as_deref(), Some("Suspended"));
    assert_eq!(stalled(&kept()), None, "what is delivered is valid");
}

#[test]
fn a_valid_certificate_stays_ready_and_an_expired_one_does_not() {
    let rests = [
        Rest::IssuerMissing,
        Rest::Suspended(Reissue::NearingExpiry),
        Rest::AwaitingChange,
        Rest::Failed(trouble(Disposition::Reject)),
    ];
    for rest in rests {
        let just_before = with(kept(), |seen| seen.now = at("2026-07-01T11:59:59Z"));
        let description = describe(&just_before, &ready_before(), &rest);
        assert!(condition::is_true(&description.status.conditions, READY), "{rest:?}");
        let end = at("2026-07-01T12:00:00Z");
        assert_eq!(description.requeue, Requeue::At(end), "it is looked at when it ends");

        let then = with(kept(), |seen| seen.now = end);
        let description = describe(&then, &ready_before(), &rest);
        let conditions = description.status.conditions;
        let (ready, issuing) = (&conditions[0], conditions.last().expect("Issuing"));
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "Expired"));
        let words = format!("the certificate expired at 2026-07-01T12:00:00Z; {}", issuing.message);
        assert_eq!(ready.message, words);
    }
}

#[test]
fn what_cannot_be_looked_at_is_as_it_was() {
    let unreadable = with(kept(), |seen| seen.target = Some(Read::Unreadable("403".to_owned())));
    let seen = unreadable;
    let description = describe(&seen, &ready_before(), &super::super::fixtures::rest(&seen));
    let status = description.status;
    assert_eq!(
        lines(&status.conditions)[0],
        "Ready True Issued: CN=a.example.org from CN=Issuing, valid until 2026-07-01T12:00:00Z"
    );
    assert_eq!(status.certificate, seen.previous.certificate, "only what is known for sure");
    assert_ne!(description.requeue, Requeue::AwaitChange, "it will end all the same");

    assert_eq!(status.renewal_time.map(|time| time.0), seen.previous.renewal);
    assert!(seen.previous.renewal.is_some());

    let was_not_there = with(seen, |seen| seen.previous.has_certificate = false);
    let rest = super::super::fixtures::rest(&was_not_there);
    let description = describe(&was_not_there, &ready_before(), &rest);
    assert!(!condition::is_true(&description.status.conditions, READY), "nor does it get better");
}

#[test]
fn pauses_grow_with_each_failure() {
    let after = |seconds| Disposition::Retry { after: Some(Duration::from_secs(seconds)) };
    let retry = Disposition::Retry { after: None };
    let cases = [
        (retry, 1, Some(5)),
        (retry, 2, Some(10)),
        (retry, 3, Some(20)),
        (retry, 7, Some(320)),
        (retry, 8, Some(600)),
        (retry, 1000, Some(600)),
        (after(3), 1, Some(5)),
        (after(60), 1, Some(60)),
        (after(60), 5, Some(80)),
        (after(3600), 20, Some(3600)),
        (Disposition::Internal, 1, Some(60)),
        (Disposition::Internal, 2, Some(120)),
        (Disposition::Internal, 6, Some(1920)),
        (Disposition::Internal, 7, Some(3600)),
        (Disposition::BlameIssuer, 1, Some(60)),
        (Disposition::BlameIssuer, 40, Some(3600)),
        (Disposition::BlameCredentials, 1, Some(3600)),
        (Disposition::BlameCredentials, 9, Some(3600)),
        (Disposition::Reject, 1, None),
        (Disposition::Reject, 9, None),
    ];
    for (disposition, failed, pause) in cases {
        let seen = with(opened(), |seen| {
            seen.previous.failed_attempts = failed - 1;
            seen.previous.last_failure = Some(now() - days(1));
            seen.previous.next_attempt = Some(now() - days(1));
            seen.previous.last_attempt = Some(seen.attempt());
        });
        let description = describe(&seen, &[], &Rest::Failed(trouble(disposition)));
        let status = description.status;
        // A fifth at most comes on top, so that not all come back together.
        let due = status.next_attempt_time.as_ref().map(|due| due.0);
        let waits = due.map(|due| due.duration_since(now()).as_secs());
        let name = format!("{disposition:?}, {failed}");
        assert_eq!(status.failed_attempts, Some(failed), "{name}");
        assert_eq!(waits.is_some(), pause.is_some(), "{name}");
        assert!(
            waits.zip(pause).is_none_or(|(waits, pause)| (pause..=pause * 6 / 5).contains(&waits)),
            "{name}: {waits:?}"
        );
        assert_eq!(status.last_failure_time, Some(Time(now())), "{name}");
        assert_eq!(status.last_attempt, Some(seen.attempt()), "{name}");
        assert_eq!(description.requeue, due.map_or(Requeue::AwaitChange, Requeue::At), "{name}");
    }
    let most = with(opened(), |seen| {
        seen.previous.failed_attempts = i32::MAX;
        seen.previous.last_attempt = Some(seen.attempt());
    });
    let status = describe(&most, &[], &Rest::Failed(trouble(retry))).status;
    assert_eq!(status.failed_attempts, Some(i32::MAX));
}

#[test]
fn the_count_starts_again_with_other_inputs_and_ends_with_a_success() {
    let failed = with(kept(), |seen| {
        seen.previous.failed_attempts = 4;
        seen.previous.last_failure = Some(now());
        seen.previous.next_attempt = Some(now());
        seen.previous.last_attempt = Some(AttemptInputs::default());
    });
    let rest = Rest::Failed(trouble(Disposition::Internal));
    let status = describe(&failed, &[], &rest).status;
    assert_eq!(status.failed_attempts, Some(1), "it was another attempt");

    let uncounted =
        Rest::Failed(Trouble { counts: false, ..trouble(Disposition::BlameCredentials) });
    for rest in [uncounted, Rest::IssuerMissing, Rest::Suspended(Reissue::NearingExpiry)] {
        let status = describe(&failed, &[], &rest).status;
        assert_eq!(status.failed_attempts, Some(4), "{rest:?} is no attempt");
        assert_eq!(status.last_attempt, Some(AttemptInputs::default()), "{rest:?}");
    }

    let status = describe(&failed, &[], &Rest::Kept).status;
    assert_eq!(
        (
            status.failed_attempts,
            status.last_failure_time,
            status.next_attempt_time,
            status.last_attempt
        ),
        (None, None, None, None)
    );
}

#[test]
fn a_failure_before_the_next_attempt_is_due_was_only_a_look() {
    let seen = with(kept(), |seen| {
        seen.previous.failed_attempts = 2;
        seen.previous.last_failure = Some(now());
        seen.previous.next_attempt = Some(seen.now + SignedDuration::from_secs(1));
        seen.previous.last_attempt = Some(seen.attempt());
    });
    let description = describe(&seen, &[], &Rest::Failed(trouble(Disposition::Internal)));
    let status = description.status;
    assert_eq!(status.failed_attempts, Some(2));
    assert_eq!(status.last_failure_time, Some(Time(now())));
    assert_eq!(status.next_attempt_time.map(|at| at.0), seen.previous.next_attempt);
    assert_eq!(description.requeue, Requeue::At(seen.now + SignedDuration::from_secs(1)));
}

#[test]
fn times_in_messages_are_whole_seconds_as_in_the_fields() {
    let seen = with(opened(), |seen| seen.now = at("2026-06-01T12:00:00.987654321Z"));
    let status = describe(&seen, &[], &Rest::Failed(trouble(Disposition::Internal))).status;
    let due = stored(&status).next_attempt_time.expect("a time").0;
    assert_eq!(due, at("2026-06-01T12:01:08Z"));
    assert!(status.conditions[0].message.contains(&format!("the next is at {due},")));
}

#[test]
fn the_next_look_is_never_at_once() {
    let due = with(kept(), |seen| seen.now = now() + days(29));
    assert_eq!(
        describe(&due, &[], &Rest::Kept).requeue,
        Requeue::At(due.now + SignedDuration::from_secs(1))
    );
    assert_eq!(describe(&kept(), &[], &Rest::Deleted).requeue, Requeue::AwaitChange);
}

#[test]
fn a_wish_that_cannot_be_met_is_said() {
    let seen = with(kept(), |seen| seen.request.renew_before = RenewBefore::Duration(days(30)));
    let message = &described(&seen).status.conditions[0].message;
    assert_eq!(
        *message,
        format!(
            "{READY_MESSAGE}; spec.renewBefore is not shorter than the certificate's lifetime, so a third of the lifetime is used instead"
        )
    );
}

#[test]
fn clients_that_refuse_the_chain_are_told_as_long_as_it_is_there() {
    let clients = "clients built on rustls refuse this chain";
    let seen = with(kept(), |seen| {
        let certificate = seen.previous.certificate.as_mut().expect("a certificate");
        certificate.refused_by = Some(clients.to_owned());
    });
    let status = described(&seen).status;
    assert_eq!(status.conditions[0].message, format!("{READY_MESSAGE}; {clients}"));
    let certificate = status.certificate.expect("a certificate");
    assert_eq!(certificate.refused_by.as_deref(), Some(clients));
}

fn delivered_now(added_roots: &[&str], is_renewal: bool) -> Observation {
    let start = if is_renewal { with(kept(), |_| ()) } else { obtained() };
    let mut target = delivered_target();
    target.resource_version = "200".to_owned();
    if is_renewal {
        target.key = Some(crate::issuance::fixtures::key(1));
        target.chain =
            crate::issuance::fixtures::issued(&crate::issuance::fixtures::key(1), start.now);
    }
    let added_roots = added_roots.iter().map(|root| (*root).to_owned()).collect();
    start.after(Outcome::Delivered { target, added_roots, renewed: true, adopted: false })
}

#[test]
fn the_status_tells_of_the_certificate_as_it_is() {
    let status = describe(&delivered_now(&[], true), &[], &Rest::Kept).status;
    assert_eq!(status.revision, Some(2));
    assert_eq!(status.observed_generation, 3);
    let certificate = status.certificate.expect("a certificate");
    assert_eq!(certificate.subject, "CN=a.example.org");
    assert_eq!(certificate.common_name.as_deref(), Some("a.example.org"));
    assert_eq!(certificate.issuer, "CN=Issuing");
    assert_eq!(certificate.private_key, "ECDSA P-256");
    assert_eq!(certificate.not_before.0, at("2026-06-11T12:00:00Z"));
    assert_eq!(certificate.not_after.0, at("2026-07-11T12:00:00Z"));
    assert_eq!(certificate.delivered_at.0, at("2026-06-11T12:00:00Z"));
    assert_eq!(certificate.secret_resource_version, "200");
    assert_eq!(status.renewal_time.map(|time| time.0), Some(at("2026-06-30T04:49:33Z")));
}

#[test]
fn the_version_that_saves_the_read_is_kept_only_where_all_was_looked_at() {
    let recorded = |seen: &Observation, rest: &Rest| {
        let status = describe(seen, &[], rest).status;
        status.certificate.expect("a certificate").secret_resource_version
    };
    let opened = with(altered(|_| ()), |seen| seen.account = Some(account()));
    let repaired = with(altered(|_| ()), |seen| seen.delivered = Some(vec![]));
    assert_eq!(recorded(&opened, &Rest::Kept), "101");
    assert_eq!(recorded(&repaired, &Rest::Kept), "101");
    let rests = [
        Rest::Failed(trouble(Disposition::Internal)),
        Rest::Suspended(Reissue::RenewalRequested),
        Rest::BackingOff { until: now() + days(11), reissue: None },
    ];
    for rest in rests {
        assert_eq!(recorded(&opened, &rest), "100", "{rest:?}");
    }
    let closed = with(altered(|target| target.anchors.clear()), |seen| {
        seen.issuer = IssuerState::NotReady("no answer".to_owned());
    });
    let status = described(&closed).status;
    assert_eq!(recorded(&closed, &Rest::Kept), "100", "the account was not open");
    let later = with(closed, |seen| {
        seen.previous = previous(&status);
        seen.issuer = fresh().issuer;
        seen.target = None;
    });
    assert!(matches!(decide(&later), Step::ReadTarget), "what was altered meanwhile is repaired");
}

#[test]
fn notices_tell_of_transitions_only() {
    let reasons = |seen: &Observation, before: &[Condition], rest: &Rest| {
        let notices = describe(seen, before, rest).notices;
        let reason = |notice: Notice| (notice.reason.into_owned(), notice.warning);
        notices.into_iter().map(reason).collect::<Vec<_>>()
    };
    let ready = ready_before();
    let failed = Rest::Failed(trouble(Disposition::Internal));
    let failing = describe(&kept(), &ready, &failed).status.conditions;
    let repaired = with(altered(|_| ()), |seen| seen.delivered = Some(vec![]));
    let waiting = Rest::BackingOff { until: now() + days(11), reissue: None };
    let remembering = with(kept(), |seen| {
        seen.previous.wait = Some(Wait { on: WaitsFor::Attempt, needs_person: false });
        seen.previous.said = Some(("UnexpectedAnswer".to_owned(), "what was that".to_owned()));
        seen.previous.next_attempt = Some(now() + days(11));
    });
    let cases = [
        (
            "a first issuance",
            delivered_now(&[], false),
            vec![],
            Rest::Kept,
            vec![("Issued", false)],
        ),
        ("a renewal", delivered_now(&[], true), ready.clone(), Rest::Kept, vec![("Issued", false)]),
        ("nothing", kept(), ready.clone(), Rest::Kept, vec![]),
        ("a repair", repaired, ready.clone(), Rest::Kept, vec![("Repaired", false)]),
        (
            "trust from the network",
            delivered_now(&["CN=Stranger"], true),
            ready.clone(),
            Rest::Kept,
            vec![("Issued", false), ("ServedRootsAdded", true)],
        ),
        ("a failure", kept(), ready.clone(), failed.clone(), vec![("UnexpectedAnswer", true)]),
        ("the same failure again", kept(), failing.clone(), failed.clone(), vec![]),
        ("waiting after a failure", remembering, failing.clone(), waiting, vec![]),
        (
            "the end of a failure by a delivery",
            delivered_now(&[], true),
            failing.clone(),
            Rest::Kept,
            vec![("Issued", false)],
        ),
        ("another failure", kept(), failing, Rest::IssuerMissing, vec![("IssuerNotFound", true)]),
        (
            "suspended, which somebody wanted",
            kept(),
            ready,
            Rest::Suspended(Reissue::NearingExpiry),
            vec![("Suspended", false)],
        ),
    ];
    for (name, seen, before, rest, expected) in cases {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(reason, is_warning)| (reason.to_owned(), is_warning))
            .collect();
        assert_eq!(reasons(&seen, &before, &rest), expected, "{name}");
    }
    let first = describe(&delivered_now(&["CN=Stranger"], false), &[], &Rest::Kept).notices;
    assert_eq!(first[0].message, "revision 1 delivered to Secret web-tls: CN=a.example.org");
    assert_eq!(
        first[1].message,
        "ca.crt of Secret web-tls also trusts what the CA serves, by spec.trust.addServedRoots: CN=Stranger"
    );
}

#[test]
fn a_process_that_died_before_the_status_leaves_the_notice_to_the_next() {
    let target = delivered_target();
    let seen = with(fresh(), |seen| {
        seen.cached = Some(cached(&target));
        seen.target = Some(Read::Present(target));
        seen.account = Some(account());
    });
    let description = described(&seen);
    assert_eq!(description.notices.len(), 1);
    assert_eq!(description.notices[0].reason, "Issued");
    assert_eq!(description.status.revision, Some(1));
    let delivered_at = description.status.certificate.expect("a certificate").delivered_at.0;
    assert_eq!(delivered_at, now(), "nobody knows better than its notBefore");
}

#[test]
fn transition_times_move_with_the_status_only() {
    let failed = Rest::Failed(trouble(Disposition::BlameIssuer));
    let time = |conditions: &[Condition], kind| {
        condition::find(conditions, kind).map(|one| one.last_transition_time.0)
    };
    let first = describe(&kept(), &ready_before(), &failed).status.conditions;
    assert_eq!(time(&first, READY), Some(now()), "since the delivery");
    assert_eq!(time(&first, ISSUING), Some(now() + days(10)));
    let later = with(kept(), |seen| seen.now = now() + days(11));
    let other =
        Rest::Failed(Trouble { reason: Reason::NoAnswer, ..trouble(Disposition::BlameIssuer) });
    let second = describe(&later, &first, &other).status.conditions;
    for kind in [READY, ISSUING, STALLED] {
        assert_eq!(time(&second, kind), time(&first, kind), "{kind}");
    }
    let third = describe(&later, &second, &Rest::Kept).status.conditions;
    assert_eq!(time(&third, ISSUING), Some(now() + days(11)));
    assert_eq!(time(&third, STALLED), None, "what does not hold is not there");
}

/// States to describe, reachable or not.
fn any_observation() -> impl Strategy<Value = Observation> {
    let states: Vec<Observation> = vec![
        fresh(),
        opened(),
        obtained(),
        kept(),
        with(kept(), |seen| seen.target = Some(Read::Absent)),
        with(kept(), |seen| seen.target = Some(Read::Unreadable("403".to_owned()))),
        altered(|_| ()),
        altered(|target| target.key = None),
        altered(|target| target.metadata.annotations.clear()),
        with(altered(|_| ()), |seen| seen.account = Some(account())),
        delivered_now(&[], false),
        delivered_now(&["CN=Stranger"], true),
        with(altered(|_| ()), |seen| seen.previous = Default::default()),
    ];
    let hours = prop_oneof![Just(0_i64), 0..24_i64 * 40];
    let attempts = prop::option::of((0..2_u8, prop::option::of(-100_i64..4000), 1..9_i32));
    (prop::sample::select(states), hours, 0..1_000_000_000_i32, attempts, any::<bool>()).prop_map(
        |(state, hours, nanos, attempts, suspended)| {
            with(state, |seen| {
                seen.now += SignedDuration::new(hours * 3600, nanos);
                seen.request.suspended = suspended;
                if let Some((same, due, failed)) = attempts {
                    seen.previous.failed_attempts = failed;
                    seen.previous.last_failure = Some(now());
                    seen.previous.next_attempt = due.map(|due| {
                        Timestamp::from_second(seen.now.as_second() + due).expect("near")
                    });
                    seen.previous.last_attempt = Some(match same {
                        0 => seen.attempt(),
                        _ => AttemptInputs::default(),
                    });
                    let told = ("NoAnswer".to_owned(), "no answer within 30 s".to_owned());
                    seen.previous.wait = Some(Wait { on: WaitsFor::Attempt, needs_person: false });
                    seen.previous.said = Some(told);
                }
            })
        },
    )
}

fn any_rest() -> impl Strategy<Value = Rest> {
    let failures = [
        Disposition::Retry { after: None },
        Disposition::Retry { after: Some(Duration::from_secs(77)) },
        Disposition::BlameCredentials,
        Disposition::BlameIssuer,
        Disposition::Internal,
        Disposition::Reject,
    ];
    let mut rests = vec![
        Rest::Kept,
        Rest::Suspended(Reissue::NearingExpiry),
        Rest::IssuerMissing,
        Rest::IssuerNotReady("no answer".to_owned()),
        Rest::AwaitingChange,
        Rest::TargetUnreadable("403".to_owned()),
        Rest::NotAdopted("for other names".to_owned()),
        Rest::SecretNotOurs("not ours".to_owned()),
        Rest::SecretNameTaken("elder".to_owned()),
        Rest::BackingOff { until: now() + days(99), reissue: Some(Reissue::SecretMissing) },
        Rest::Withheld(Withheld::Open { limit: 2, open: 2 }),
        Rest::Withheld(Withheld::Churn { limit: 2, made: 3, until: now() + days(1) }),
    ];
    for counts in [true, false] {
        let failed = |disposition| Rest::Failed(Trouble { counts, ..trouble(disposition) });
        rests.extend(failures.map(failed));
    }
    prop::sample::select(rests)
}

/// What the next run comes to, where nothing has changed: a failed attempt is waited out.
fn rest_after(rest: &Rest, status: &CertificateRequestStatus) -> Rest {
    match rest {
        Rest::Failed(trouble) if trouble.counts => match &status.next_attempt_time {
            Some(until) => Rest::BackingOff { until: until.0, reissue: None },
            None => Rest::AwaitingChange,
        },
        Rest::Failed(_)
        | Rest::Abandoned
        | Rest::AwaitingChange
        | Rest::BackingOff { .. }
        | Rest::Deleted
        | Rest::Held(_)
        | Rest::IssuerMissing
        | Rest::IssuerNotReady(_)
        | Rest::Kept
        | Rest::LookedFor { .. }
        | Rest::NotAdopted(_)
        | Rest::NotAllowed(_)
        | Rest::Ordered
        | Rest::RecordUnreadable(_)
        | Rest::SecretNameTaken(_)
        | Rest::SecretNotOurs(_)
        | Rest::Submitting
        | Rest::Suspended(_)
        | Rest::TargetUnreadable(_)
        | Rest::Withheld(_) => rest.clone(),
    }
}

proptest! {
    #[test]
    fn what_was_written_is_described_in_the_same_words_again(
        seen in any_observation(), rest in any_rest(), was_ready: bool,
    ) {
        let before = if was_ready { ready_before() } else { vec![] };
        let first = stored(&describe(&seen, &before, &rest).status);
        let next = with(seen, |seen| {
            seen.previous = previous(&first);
            // The next run has delivered nothing.
            seen.delivered = None;
            seen.renewed = false;
            seen.adopted = false;
        });
        let second = describe(&next, &first.conditions, &rest_after(&rest, &first));
        prop_assert_eq!(stored(&second.status), first);
        prop_assert_eq!(second.notices, vec![]);
    }
}
