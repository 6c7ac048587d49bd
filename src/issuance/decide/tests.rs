//! Every step and every rest, as tables: one base per state, one field changed per row.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::api::{AttemptInputs, RotationPolicy, annotation};
use crate::issuance::certificate::delivery::Delivery;
use crate::issuance::certificate::key::{BroughtCsr, CsrReference};
use crate::issuance::fixtures::{
    absent, account, altered, altered_and_opened, at, cached, days, delivered_target, described,
    fresh, issued, kept, key, larger_key, names, now, obtained, opened, pki, previous, purchase,
    rest, with, written,
};
use crate::issuance::observation::{Outcome, Read, Target, Template};
use crate::issuance::step::KeyPlan;
use crate::issuance::{Products, describe};
use crate::pki::csr::Asked;
use crate::pki::names::{Attribute, AttributeType, Usage};
use crate::pki::{Certificate, KeyKind, Names};

type Row = (&'static str, Observation, &'static str);

/// Steps in words, so that tables can be read.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others name themselves")]
fn step(seen: &Observation) -> String {
    match decide(seen) {
        Step::Submit(KeyPlan::Generate(kind), _) => format!("Submit a new {kind} key"),
        Step::Submit(KeyPlan::Reuse(_), _) => "Submit the old key".to_owned(),
        Step::Submit(KeyPlan::Brought(_), _) => "Submit the CSR".to_owned(),
        Step::Deliver(_) => "Deliver".to_owned(),
        Step::Rest(Rest::Failed(trouble)) => format!("Failed({})", trouble.reason),
        Step::Rest(rest) => format!("{rest:?}"),
        step => format!("{step:?}"),
    }
}

fn check(rows: impl IntoIterator<Item = Row>) {
    for (name, seen, expected) in rows {
        assert_eq!(step(&seen), expected, "{name}");
    }
}

fn delivery(seen: &Observation) -> Delivery {
    let Step::Deliver(delivery) = decide(seen) else { panic!("not {}", step(seen)) };
    *delivery
}

fn trouble() -> Trouble {
    Trouble {
        disposition: Disposition::Internal,
        reason: Reason::UnexpectedAnswer,
        message: "what was that".to_owned(),
        counts: true,
    }
}

#[test]
fn a_first_certificate_goes_one_step_at_a_time() {
    check([
        ("a request nobody looked at: what is in its Secret?", fresh(), "ReadTarget"),
        ("there is none: with whom is it obtained?", absent(), "OpenAccount"),
        ("the account is open: a key, and off it goes", opened(), "Submit a new ECDSA P-256 key"),
        ("the CA issued: it is written", obtained(), "Deliver"),
        (
            "it is written: nothing more",
            with(obtained(), |seen| {
                let target = delivered_target();
                *seen = seen.clone().after(Outcome::Delivered {
                    target,
                    added_roots: vec![],
                    renewed: true,
                    adopted: false,
                });
            }),
            "Kept",
        ),
        (
            "one submit a run, also where the CA gave what is there already",
            with(altered_and_opened(|_| ()), |seen| {
                seen.submitted = true;
                seen.request.renew = Some("again".to_owned());
            }),
            "Failed(CertificateUnfit)",
        ),
        (
            "a request that goes wants nothing",
            with(fresh(), |seen| seen.request.deleting = true),
            "Deleted",
        ),
        (
            "a certificate for a request that went is not delivered",
            obtained().after(Outcome::Abandoned),
            "Abandoned",
        ),
        (
            "trouble ends the run",
            opened().after(Outcome::Failed(trouble())),
            "Failed(UnexpectedAnswer)",
        ),
        (
            "even when something could be delivered",
            obtained().after(Outcome::Failed(trouble())),
            "Failed(UnexpectedAnswer)",
        ),
    ]);
}

/// With `suspend`, the rest names the reason for which something would be submitted.
fn suspended(change: impl FnOnce(&mut Observation)) -> Observation {
    with(with(kept(), |seen| seen.request.suspended = true), change)
}

#[test]
fn every_reason_to_obtain_a_certificate_is_on_the_list_and_nothing_else_is() {
    check([
        ("nothing has changed", suspended(|_| ()), "Kept"),
        (
            "there never was one",
            with(absent(), |seen| seen.request.suspended = true),
            "Suspended(NeverIssued)",
        ),
        (
            "the Secret was deleted",
            suspended(|seen| seen.target = Some(Read::Absent)),
            "Suspended(SecretMissing)",
        ),
        (
            "the key was taken out",
            with(altered(|target| target.key = None), |seen| seen.request.suspended = true),
            r#"Suspended(SecretAltered("tls.key is missing or cannot be read"))"#,
        ),
        (
            "the certificate was taken out",
            with(altered(|target| target.chain.clear()), |seen| seen.request.suspended = true),
            r#"Suspended(SecretAltered("tls.crt holds no certificate for tls.key"))"#,
        ),
        (
            "the key is another",
            with(altered(|target| target.key = Some(key(9))), |seen| seen.request.suspended = true),
            r#"Suspended(SecretAltered("tls.crt holds no certificate for tls.key"))"#,
        ),
        (
            "another common name",
            suspended(|seen| seen.request.names.common_name = Some("c.example.org".to_owned())),
            r#"Suspended(InputsDiffer("commonName"))"#,
        ),
        (
            "no common name",
            suspended(|seen| seen.request.names.common_name = None),
            r#"Suspended(InputsDiffer("commonName"))"#,
        ),
        (
            "one DNS name less",
            suspended(|seen| seen.request.names.dns_names.truncate(1)),
            r#"Suspended(InputsDiffer("dnsNames"))"#,
        ),
        (
            "DNS names in another order and in capitals are the same",
            suspended(|seen| {
                seen.request.names.dns_names =
                    vec!["B.example.org".to_owned(), "a.EXAMPLE.org".to_owned()];
            }),
            "Kept",
        ),
        (
            "a subject",
            suspended(|seen| seen.request.names.subject = vec![unit("a")]),
            r#"Suspended(InputsDiffer("subject"))"#,
        ),
        (
            "an IP address",
            suspended(|seen| seen.request.names.ip_addresses = vec![[192, 0, 2, 1].into()]),
            r#"Suspended(InputsDiffer("ipAddresses"))"#,
        ),
        (
            "a URI",
            suspended(|seen| seen.request.names.uris = vec!["urn:uuid:1".to_owned()]),
            r#"Suspended(InputsDiffer("uris"))"#,
        ),
        (
            "an e-mail address",
            suspended(|seen| seen.request.names.email_addresses = vec!["a@b.example".to_owned()]),
            r#"Suspended(InputsDiffer("emailAddresses"))"#,
        ),
        (
            "a use of the key",
            suspended(|seen| seen.request.names.usages = vec![Usage::ServerAuth]),
            r#"Suspended(InputsDiffer("usages"))"#,
        ),
        (
            "a lifetime",
            suspended(|seen| seen.request.duration = Some(days(90))),
            r#"Suspended(InputsDiffer("duration"))"#,
        ),
        (
            "what an older version did not write down is no reason",
            suspended(|seen| {
                requested_with(seen, r#"{"commonName":"a.example.org"}"#);
                seen.request.names.subject = vec![unit("a")];
                seen.request.duration = Some(days(90));
            }),
            "Kept",
        ),
        (
            "another user",
            suspended(|seen| seen.request.credentials = Some("alice".to_owned())),
            r#"Suspended(InputsDiffer("credentials"))"#,
        ),
        (
            "another password of the same user is no reason",
            suspended(|seen| seen.request.credentials_version = Some("2".to_owned())),
            "Kept",
        ),
        (
            "another kind of key",
            suspended(|seen| seen.request.key_kind = Some(KeyKind::EcdsaP384)),
            "Suspended(KeyKindChanged)",
        ),
        (
            "no kind of key asked for any more",
            suspended(|seen| seen.request.key_kind = None),
            "Kept",
        ),
        (
            "another issuer for another account",
            suspended(|seen| {
                seen.request.issuer = "ClusterIssuer house".to_owned();
                seen.issuer = IssuerState::Ready {
                    version: "7".to_owned(),
                    account: Some("https://ca.example/ as ann".to_owned()),
                    anchors: None,
                };
            }),
            "Suspended(IssuerChanged)",
        ),
        (
            "another issuer, and nobody knows yet whether it names the same product",
            suspended(|seen| seen.request.issuer = "ClusterIssuer house".to_owned()),
            "OpenAccount",
        ),
        (
            "the issuer speaks for another account",
            suspended(|seen| {
                seen.issuer = IssuerState::Ready {
                    version: "7".to_owned(),
                    account: Some("b".to_owned()),
                    anchors: None,
                };
            }),
            "Suspended(AccountChanged)",
        ),
        (
            "the account of the issuer is not known",
            suspended(|seen| {
                seen.issuer =
                    IssuerState::Ready { version: "8".to_owned(), account: None, anchors: None }
            }),
            "Kept",
        ),
        (
            "an issuer that is not ready does not change the account",
            suspended(|seen| seen.issuer = IssuerState::NotReady("no answer".to_owned())),
            "Kept",
        ),
        (
            "a renewal is asked for",
            suspended(|seen| seen.request.renew = Some("1".to_owned())),
            "Suspended(RenewalRequested)",
        ),
        ("the renewal time is near", suspended(|seen| seen.now = now() + days(18)), "Kept"),
        (
            "the renewal time has come",
            suspended(|seen| seen.now = now() + days(20)),
            "Suspended(NearingExpiry)",
        ),
        (
            "the certificate has expired",
            suspended(|seen| seen.now = now() + days(31)),
            "Suspended(NearingExpiry)",
        ),
        (
            "fields that the version before did not write are equal",
            suspended(|seen| {
                requested_with(seen, "{}");
                seen.request.renew = Some("1".to_owned());
                seen.request.issuer = "Issuer other".to_owned();
            }),
            "Kept",
        ),
        (
            "an annotation that cannot be read tells nothing, and is put in order",
            suspended(|seen| {
                requested_with(seen, "[");
                seen.request.issuer = "Issuer other".to_owned();
            }),
            "ReadTarget",
        ),
        (
            "a renewal that was handled is not repeated",
            suspended(|seen| {
                requested_with(seen, r#"{"renew":"1"}"#);
                seen.request.renew = Some("1".to_owned());
            }),
            "Kept",
        ),
        (
            "taking the annotation away asks for nothing",
            suspended(|seen| requested_with(seen, r#"{"renew":"1"}"#)),
            "Kept",
        ),
        (
            "with credentials of its own the account of the issuer is not the request's",
            suspended(|seen| {
                requested_with(seen, r#"{"account":"b","credentials":"alice"}"#);
                seen.request.credentials = Some("alice".to_owned());
            }),
            "Kept",
        ),
    ]);
}

fn requested_with(seen: &mut Observation, requested: &str) {
    let cached = seen.cached.as_mut().expect("a cached target");
    cached.metadata.annotations.insert(annotation::REQUESTED.to_owned(), requested.to_owned());
}

#[test]
fn the_first_reason_that_applies_is_the_one_given() {
    let mut seen = suspended(|seen| {
        seen.now = now() + days(29);
        seen.request.renew = Some("1".to_owned());
        seen.issuer = IssuerState::Ready {
            version: "7".to_owned(),
            account: Some("b".to_owned()),
            anchors: None,
        };
        seen.request.issuer = "Issuer other".to_owned();
        seen.request.key_kind = Some(KeyKind::EcdsaP384);
        seen.request.names = Names::default();
        seen.request.credentials = Some("alice".to_owned());
        seen.target = Some(Read::Absent);
    });
    let known = seen.previous.certificate.take();
    type Undo = Box<dyn Fn(&mut Observation)>;
    let whole = delivered_target();
    let mut without_key = whole.clone();
    without_key.key = None;
    let order: [(&str, Undo); 9] = [
        ("NeverIssued", Box::new(move |seen| seen.previous.certificate.clone_from(&known))),
        (
            "SecretMissing",
            Box::new(move |seen| seen.target = Some(Read::Present(without_key.clone()))),
        ),
        (
            r#"SecretAltered("tls.key is missing or cannot be read")"#,
            Box::new(move |seen| seen.target = Some(Read::Present(whole.clone()))),
        ),
        (r#"InputsDiffer("commonName")"#, Box::new(|seen| seen.request.names = names())),
        (r#"InputsDiffer("credentials")"#, Box::new(|seen| seen.request.credentials = None)),
        ("KeyKindChanged", Box::new(|seen| seen.request.key_kind = Some(KeyKind::EcdsaP256))),
        ("IssuerChanged", Box::new(|seen| seen.request.issuer = "Issuer house".to_owned())),
        ("AccountChanged", Box::new(|seen| seen.issuer = fresh().issuer)),
        ("RenewalRequested", Box::new(|seen| seen.request.renew = None)),
    ];
    for (reason, undo) in order {
        assert_eq!(step(&seen), format!("Suspended({reason})"));
        undo(&mut seen);
    }
    assert_eq!(step(&seen), "Suspended(NearingExpiry)");
}

fn unit(name: &str) -> Attribute {
    Attribute { kind: AttributeType::OrganizationalUnit, value: name.to_owned() }
}

/// The last attempt was made with what there is now, and failed.
fn failed(next_attempt: Option<Timestamp>) -> Observation {
    with(opened(), |seen| {
        seen.request.credentials = Some("alice".to_owned());
        seen.request.credentials_version = Some("1".to_owned());
        seen.request.renew = Some("1".to_owned());
        seen.previous.last_attempt = Some(seen.attempt());
        seen.previous.next_attempt = next_attempt;
        seen.previous.failed_attempts = 1;
    })
}

#[test]
fn nothing_is_submitted_while_something_speaks_against_it() {
    let later = now() + SignedDuration::from_secs(60);
    let submit = "Submit a new ECDSA P-256 key";
    check([
        (
            "suspended",
            with(opened(), |seen| seen.request.suspended = true),
            "Suspended(NeverIssued)",
        ),
        ("no issuer", with(opened(), |seen| seen.issuer = IssuerState::Missing), "IssuerMissing"),
        (
            "an issuer that is left to another installation",
            with(opened(), |seen| seen.issuer = IssuerState::NotServed),
            "IssuerMissing",
        ),
        (
            "an issuer that takes no requests",
            with(opened(), |seen| seen.issuer = IssuerState::NotReady("no answer".to_owned())),
            r#"IssuerNotReady("no answer")"#,
        ),
        (
            "suspended is said first, because the owner of the request can change it",
            with(opened(), |seen| {
                seen.request.suspended = true;
                seen.issuer = IssuerState::Missing;
            }),
            "Suspended(NeverIssued)",
        ),
        ("refused, and nothing has changed", failed(None), "AwaitingChange"),
        (
            "failed, and the next attempt is not due",
            failed(Some(later)),
            "BackingOff { until: 2026-06-01T12:01:00Z, reissue: Some(NeverIssued) }",
        ),
        ("the next attempt is due now", failed(Some(now())), submit),
        ("the next attempt was due", failed(Some(at("2026-06-01T00:00:00Z"))), submit),
    ]);
}

#[test]
fn whatever_an_attempt_was_made_with_lifts_the_wait_when_it_changes() {
    type Change = fn(&mut Observation);
    let changes: [(&str, Change); 6] = [
        ("another generation of the request", |seen| seen.request.generation += 1),
        ("another generation of the issuer", |seen| {
            seen.issuer =
                IssuerState::Ready { version: "8".to_owned(), account: None, anchors: None };
        }),
        ("another renewal nonce", |seen| seen.request.renew = Some("2".to_owned())),
        ("no renewal nonce", |seen| seen.request.renew = None),
        ("other credentials", |seen| seen.request.credentials_version = Some("2".to_owned())),
        ("credentials that are gone", |seen| seen.request.credentials_version = None),
    ];
    for next_attempt in [None, Some(now() + days(1))] {
        for (name, change) in changes {
            let seen = with(failed(next_attempt), change);
            assert_eq!(step(&seen), "Submit a new ECDSA P-256 key", "{name}, {next_attempt:?}");
        }
        let seen = with(failed(next_attempt), |seen| {
            seen.previous.last_attempt = Some(AttemptInputs::default());
        });
        assert_eq!(step(&seen), "Submit a new ECDSA P-256 key", "quite another attempt");
        let seen = with(failed(next_attempt), |seen| seen.request.template = Template::default());
        assert_ne!(step(&seen), "Submit a new ECDSA P-256 key", "the template alone, same spec");
    }
}

#[test]
fn what_the_ca_would_refuse_is_not_submitted() {
    let nameless = |change: fn(&mut Observation)| {
        with(opened(), |seen| {
            seen.account = Some(Account {
                name: "https://ca.example/ as house".to_owned(),
                capabilities: crate::ca::Capabilities {
                    names: false,
                    usages: false,
                    duration: false,
                    key_kinds: vec![KeyKind::EcdsaP384],
                    ..account().capabilities
                },
                ..account()
            });
            seen.request.key_kind = None;
            seen.request.names = Names::default();
            change(seen);
        })
    };
    check([
        (
            "a user, and the kind of key the CA prefers",
            nameless(|_| ()),
            "Submit a new ECDSA P-384 key",
        ),
        (
            "a common name",
            nameless(|seen| seen.request.names.common_name = Some("a".to_owned())),
            "Failed(NotSupportedByCa)",
        ),
        (
            "a DNS name",
            nameless(|seen| seen.request.names.dns_names = vec!["a.example".to_owned()]),
            "Failed(NotSupportedByCa)",
        ),
        (
            "a subject",
            nameless(|seen| seen.request.names.subject = vec![unit("a")]),
            "Failed(NotSupportedByCa)",
        ),
        (
            "an IP address",
            nameless(|seen| seen.request.names.ip_addresses = vec![[192, 0, 2, 1].into()]),
            "Failed(NotSupportedByCa)",
        ),
        (
            "a URI",
            nameless(|seen| seen.request.names.uris = vec!["urn:uuid:1".to_owned()]),
            "Failed(NotSupportedByCa)",
        ),
        (
            "an e-mail address",
            nameless(|seen| seen.request.names.email_addresses = vec!["a@b.example".to_owned()]),
            "Failed(NotSupportedByCa)",
        ),
        (
            "a use of the key",
            nameless(|seen| seen.request.names.usages = vec![Usage::ServerAuth]),
            "Failed(NotSupportedByCa)",
        ),
        (
            "a lifetime",
            nameless(|seen| seen.request.duration = Some(days(90))),
            "Failed(NotSupportedByCa)",
        ),
        (
            "a kind of key it does not sign",
            nameless(|seen| seen.request.key_kind = Some(KeyKind::EcdsaP256)),
            "Failed(NotSupportedByCa)",
        ),
        (
            "a kind of key it signs",
            nameless(|seen| seen.request.key_kind = Some(KeyKind::EcdsaP384)),
            "Submit a new ECDSA P-384 key",
        ),
    ]);
    check([
        (
            "a name that no certificate can carry",
            with(opened(), |seen| seen.request.names.dns_names = vec!["xn--a.example".to_owned()]),
            "Failed(NamesUnfit)",
        ),
        (
            "an address that is none",
            with(opened(), |seen| seen.request.misread = Some("192.0.2.x".to_owned())),
            "Failed(NamesUnfit)",
        ),
    ]);
    check([(
        "a nonce that would be bought for and could not be written down",
        with(opened(), |seen| seen.request.renew = Some("x".repeat(250 * 1024))),
        "Failed(TooLong)",
    )]);
    let refused = |seen: &Observation| {
        let Rest::Failed(trouble) = rest(seen) else { panic!("a refusal was expected") };
        trouble
    };
    let named = refused(&nameless(|seen| seen.request.names = names()));
    assert_eq!((named.disposition, named.counts), (Disposition::Reject, true));
    assert_eq!(
        named.message,
        "House CA issues to a user and ignores names: remove spec.commonName and spec.dnsNames and write spec.houseCa: {} instead"
    );
    let kind = refused(&nameless(|seen| seen.request.key_kind = Some(KeyKind::Rsa2048)));
    assert_eq!(
        kind.message,
        "House CA does not sign RSA 2048 keys: change spec.privateKey, or admit them in spec.houseCa.keyAlgorithms of the issuer if the server does"
    );
}

#[test]
fn a_secret_that_is_broken_right_after_its_delivery_is_repaired_a_little_later() {
    let early = |secs, change: fn(&mut Observation)| {
        with(altered(|target| target.key = None), |seen| {
            seen.now = now() + SignedDuration::from_secs(secs);
            change(seen);
        })
    };
    check([
        (
            "altered",
            early(9, |_| ()),
            r#"BackingOff { until: 2026-06-01T12:00:10Z, reissue: Some(SecretAltered("tls.key is missing or cannot be read")) }"#,
        ),
        (
            "deleted",
            early(0, |seen| seen.target = Some(Read::Absent)),
            "BackingOff { until: 2026-06-01T12:00:10Z, reissue: Some(SecretMissing) }",
        ),
        ("ten seconds are enough", early(10, |_| ()), "OpenAccount"),
        (
            "a wish is no repair",
            early(1, |seen| {
                seen.target = Some(Read::Present(delivered_target()));
                seen.request.renew = Some("1".to_owned());
            }),
            "OpenAccount",
        ),
        (
            "a first certificate is no repair",
            early(1, |seen| {
                seen.target = Some(Read::Absent);
                seen.previous.certificate = None;
            }),
            "OpenAccount",
        ),
    ]);
}

#[test]
fn a_target_that_is_not_ours_is_left_alone() {
    let not_ours = |change: fn(&mut Target)| {
        let seen = altered_and_opened(change);
        with(seen, |seen| seen.request.renew = Some("1".to_owned()))
    };
    let advice =
        "it was not touched; delete it, or choose another spec.secretName in a new request";
    let cases = [
        (
            "without our marker",
            not_ours(|target| drop(target.metadata.annotations.remove(annotation::REQUEST))),
            "Secret web-tls exists and is not Chancery's",
        ),
        (
            "with the marker of another request",
            not_ours(|target| {
                let marker = (annotation::REQUEST.to_owned(), "shop".to_owned());
                target.metadata.annotations.extend([marker]);
            }),
            "Secret web-tls holds the certificate of CertificateRequest shop",
        ),
        (
            "of another type",
            not_ours(|target| target.kind = "Opaque".to_owned()),
            "Secret web-tls exists with type Opaque, not kubernetes.io/tls",
        ),
    ];
    for (name, seen, why) in cases {
        let expected = Rest::SecretNotOurs(format!("{why}: {advice}"));
        assert_eq!(rest(&seen), expected, "{name}");
        let late = with(seen, |seen| seen.obtained = obtained().obtained);
        assert_eq!(rest(&late), expected, "{name}, even with a certificate in hand");
    }
    let fixed = "Secret web-tls is immutable and cannot be renewed: delete it, and it is created again with a new certificate";
    let immutable = not_ours(|target| target.immutable = true);
    assert_eq!(rest(&immutable), Rest::SecretNotOurs(fixed.to_owned()), "a renewal is due");
    let late = with(immutable, |seen| seen.obtained = obtained().obtained);
    assert_eq!(rest(&late), Rest::SecretNotOurs(fixed.to_owned()), "a certificate is in hand");
    let unreadable = Some(Read::Unreadable("get secrets web-tls: 403".to_owned()));
    check([
        (
            "an immutable one is as good as any while nothing new is needed",
            altered_and_opened(|target| {
                target.immutable = true;
                target.anchors.clear();
            }),
            "Kept",
        ),
        (
            "unreadable is not absent",
            with(opened(), |seen| seen.target.clone_from(&unreadable)),
            r#"TargetUnreadable("get secrets web-tls: 403")"#,
        ),
        (
            "not even for a repair",
            with(kept(), |seen| seen.target.clone_from(&unreadable)),
            r#"TargetUnreadable("get secrets web-tls: 403")"#,
        ),
        (
            "an older request has the name",
            with(opened(), |seen| seen.rival = Some("elder".to_owned())),
            r#"SecretNameTaken("elder")"#,
        ),
        (
            "the marker beats age",
            with(altered_and_opened(|_| ()), |seen| {
                seen.rival = Some("elder".to_owned());
                seen.request.renew = Some("1".to_owned());
            }),
            "Submit a new ECDSA P-256 key",
        ),
        (
            "even where the Secret is broken",
            with(altered_and_opened(|target| target.key = None), |seen| {
                seen.rival = Some("elder".to_owned());
            }),
            "Submit a new ECDSA P-256 key",
        ),
        (
            "and where the watch alone shows it",
            with(kept(), |seen| seen.rival = Some("elder".to_owned())),
            "Kept",
        ),
    ]);
}

#[test]
fn the_key_is_kept_only_on_request_and_only_if_it_is_of_the_right_kind() {
    let renewing = |change: fn(&mut Observation)| {
        with(altered_and_opened(|_| ()), |seen| {
            seen.request.renew = Some("1".to_owned());
            change(seen);
        })
    };
    let never = RotationPolicy::Never;
    check([
        ("each certificate has a key of its own", renewing(|_| ()), "Submit a new ECDSA P-256 key"),
        (
            "the same key again",
            with(renewing(|_| ()), |seen| seen.request.rotation = never),
            "Submit the old key",
        ),
        (
            "of another kind",
            with(renewing(|_| ()), |seen| {
                seen.request.rotation = never;
                seen.request.key_kind = Some(KeyKind::EcdsaP384);
            }),
            "Submit a new ECDSA P-384 key",
        ),
        (
            "of whatever kind",
            with(renewing(|_| ()), |seen| {
                seen.request.rotation = never;
                seen.request.key_kind = None;
            }),
            "Submit the old key",
        ),
        (
            "a new one of the kind the CA prefers",
            renewing(|seen| seen.request.key_kind = None),
            "Submit a new ECDSA P-256 key",
        ),
        (
            "there is none to keep",
            with(opened(), |seen| seen.request.rotation = never),
            "Submit a new ECDSA P-256 key",
        ),
        (
            "a key that somebody else put there is not ours to use",
            with(altered_and_opened(foreign_pair), |seen| seen.request.rotation = never),
            "Submit a new ECDSA P-256 key",
        ),
    ]);
    let Step::Submit(KeyPlan::Reuse(old), _) =
        decide(&with(renewing(|_| ()), |seen| seen.request.rotation = never))
    else {
        panic!("the old key was expected");
    };
    assert_eq!(old.spki_der(), key(0).spki_der());
}

/// The pair of another request: the chain is as good as ours.
fn another_of_ours(target: &mut Target) {
    target.key = Some(key(9));
    target.chain = issued(&key(9), now());
}

/// A key and a certificate that belong together, and which no CA of ours has signed.
fn foreign_pair(target: &mut Target) {
    let leaf = pki().stranger.leaf(&key(9), &names(), now(), now() + days(90));
    target.key = Some(key(9));
    target.chain = vec![leaf];
    target.anchors = vec![pki().stranger.certificate()];
}

#[test]
fn what_is_delivered_is_verified_first() {
    let got = |change: fn(&mut Obtained)| {
        with(obtained(), |seen| change(seen.obtained.as_mut().expect("a certificate")))
    };
    let leaf = |ca: fn() -> &'static crate::issuance::fixtures::Ca, from, to| {
        vec![ca().leaf(&key(0), &names(), from, to), pki().issuing.certificate()]
    };
    let house = || &pki().issuing;
    let replaced = |candidates: Vec<Certificate>| {
        with(obtained(), |seen| {
            seen.obtained = Some(Obtained {
                key: key(0).into(),
                csr_names: None,
                candidates,
                purchase: purchase(),
            });
        })
    };
    let unfit = "Failed(CertificateUnfit)";
    check([
        ("a fine one", got(|_| ()), "Deliver"),
        ("in any order", got(|obtained| obtained.candidates.reverse()), "Deliver"),
        ("for another key", got(|obtained| obtained.key = key(1).into()), unfit),
        ("nothing at all", got(|obtained| obtained.candidates.clear()), unfit),
        ("expired", replaced(leaf(house, now() - days(30), now() - days(1))), unfit),
        ("not yet valid", replaced(leaf(house, now() + days(1), now() + days(30))), unfit),
        (
            "without a name that was asked for",
            with(got(|_| ()), |seen| seen.request.names.dns_names.push("c.example.org".to_owned())),
            unfit,
        ),
        (
            "a chain that is not complete may be completed by what the CA serves",
            got(|obtained| obtained.candidates.truncate(1)),
            "ReadServedRoots",
        ),
        (
            "which it is",
            with(got(|obtained| obtained.candidates.truncate(1)), |seen| {
                seen.served = Some(vec![pki().issuing.certificate()]);
            }),
            "Deliver",
        ),
        (
            "or is not",
            with(got(|obtained| obtained.candidates.truncate(1)), |seen| {
                seen.served = Some(vec![])
            }),
            "Failed(ChainNotTrusted)",
        ),
        (
            "a root that only the CA vouches for is not trusted",
            with(
                replaced(vec![pki().stranger.leaf(&key(0), &names(), now(), now() + days(9))]),
                |seen| {
                    seen.served = Some(vec![pki().stranger.certificate()]);
                },
            ),
            "Failed(ChainNotTrusted)",
        ),
        (
            "nothing is pinned",
            with(got(|_| ()), |seen| seen.account.as_mut().expect("an account").anchors.clear()),
            "Failed(ChainNotTrusted)",
        ),
        (
            "roots that the CA serves are added by opt-in, so they are read first",
            with(got(|_| ()), |seen| {
                seen.account.as_mut().expect("an account").add_served_roots = true;
            }),
            "ReadServedRoots",
        ),
        (
            "and then delivered",
            with(got(|_| ()), |seen| {
                seen.account.as_mut().expect("an account").add_served_roots = true;
                seen.served = Some(vec![]);
            }),
            "Deliver",
        ),
    ]);
    let troubles = [
        (
            got(|obtained| obtained.candidates.clear()),
            Disposition::Internal,
            "none of the 0 certificates received",
        ),
        (
            with(got(|obtained| obtained.candidates.truncate(1)), |seen| {
                seen.served = Some(vec![])
            }),
            Disposition::BlameIssuer,
            "(pins go into spec.trust.bundle of the issuer)",
        ),
    ];
    for (seen, disposition, words) in troubles {
        let Rest::Failed(trouble) = rest(&seen) else { panic!("a failure was expected") };
        assert_eq!((trouble.disposition, trouble.counts), (disposition, true));
        assert!(trouble.message.contains(words), "{}", trouble.message);
        assert!(
            trouble.message.starts_with("the CA issued a certificate that was not delivered: ")
        );
    }
}

#[test]
fn the_chain_that_is_served_is_delivered_up_to_the_anchor_that_is_preferred() {
    let cross = pki().stranger.cross(&pki().root, "Root");
    let (root, stranger) = (pki().root.certificate(), pki().stranger.certificate());
    let served = with(obtained(), |seen| {
        seen.obtained.as_mut().expect("a certificate").candidates.push(cross.clone());
    });
    let rows = [
        ("both are trusted", vec![&root, &stranger], None, &stranger, true),
        ("the root alone", vec![&root], None, &root, false),
        ("the root is preferred", vec![&root, &stranger], Some("CN=Root"), &root, false),
    ];
    for (name, anchors, preferred, anchor, is_long) in rows {
        let seen = with(served.clone(), |seen| {
            let account = seen.account.as_mut().expect("an account");
            account.anchors = anchors.into_iter().cloned().collect();
            account.preferred_root = preferred.map(str::to_owned);
        });
        let delivery = delivery(&seen);
        assert_eq!(delivery.anchors.first(), Some(anchor), "{name}");
        assert_eq!(delivery.chain.contains(&cross), is_long, "{name}");
        assert_eq!(delivery.chain.len(), if is_long { 3 } else { 2 }, "{name}");
    }
}

/// Some CAs do not backdate, and their clocks are ahead.
#[test]
fn a_certificate_from_the_future_waits_while_there_is_one_that_is_valid() {
    let renewal = |from: Timestamp| {
        with(altered_and_opened(|_| ()), |seen| {
            seen.submitted = true;
            seen.obtained = Some(Obtained {
                key: key(1).into(),
                csr_names: None,
                purchase: purchase(),
                candidates: issued(&key(1), from),
            });
        })
    };
    let seconds = SignedDuration::from_secs;
    // What is delivered is ten days old.
    let later = kept().now;
    let first = |from: Timestamp| {
        with(obtained(), |seen| {
            let obtained = seen.obtained.as_mut().expect("a certificate");
            obtained.candidates = issued(&key(0), from);
        })
    };
    let waits = "Failed(CertificateNotYetValid)";
    check([
        ("a renewal that is valid now", renewal(later), "Deliver"),
        ("a second ahead", renewal(later + seconds(1)), waits),
        ("five minutes ahead", renewal(later + seconds(300)), waits),
        ("more than that", renewal(later + seconds(301)), "Failed(CertificateUnfit)"),
        ("the first, five minutes ahead", first(now() + seconds(300)), "Deliver"),
        ("more than that", first(now() + seconds(301)), "Failed(CertificateUnfit)"),
    ]);
    let Rest::Failed(trouble) = rest(&renewal(later + seconds(90))) else {
        panic!("a wait was expected")
    };
    let after = Some(std::time::Duration::from_secs(90));
    assert_eq!(trouble.disposition, Disposition::Retry { after });
    assert!(trouble.message.contains("will be delivered later"), "{}", trouble.message);
}

#[test]
fn a_delivery_says_what_it_writes_over_what() {
    let first = delivery(&obtained());
    assert_eq!(first.base, None, "there is nothing to change");
    assert!(first.renewed);
    assert_eq!(first.key.spki_der(), key(0).spki_der());
    assert_eq!(first.chain, issued_chain());
    assert_eq!(first.anchors, [pki().root.certificate()]);
    assert_eq!(first.tls_crt().matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(first.ca_crt(), pki().root.certificate().to_pem());
    let metadata = &first.metadata;
    assert_eq!(metadata.labels["team"], "shop");
    assert_eq!(metadata.labels[annotation::MANAGED_LABEL], "true");
    assert_eq!(metadata.annotations[annotation::REQUEST], "web");
    assert_eq!(
        metadata.annotations[annotation::REQUESTED],
        r#"{"account":"https://ca.example/ as house","ca":null,"commonName":"a.example.org","credentials":null,"csrSecretRef":null,"dnsNames":["a.example.org","b.example.org"],"duration":null,"emailAddresses":[],"ipAddresses":[],"issuer":"Issuer house","privateKey":"ECDSA P-256","renew":null,"subject":[],"uris":[],"usages":[]}"#
    );
    assert_eq!(
        metadata.annotations[annotation::TEMPLATE_KEYS],
        r#"{"annotations":[],"labels":["team"]}"#
    );
    assert_eq!((first.removed_labels, first.removed_annotations), (vec![], vec![]));

    let renewal = delivery(&with(altered_and_opened(|_| ()), |seen| {
        seen.request.renew = Some("1".to_owned());
        seen.request.key_kind = None;
        seen.request.credentials = Some("alice".to_owned());
        seen.request.template.labels.clear();
        seen.request.template.annotations.insert("note".to_owned(), "x".to_owned());
        seen.obtained = Some(Obtained {
            purchase: purchase(),
            key: key(1).into(),
            csr_names: None,
            candidates: issued(&key(1), now()),
        });
    }));
    assert_eq!(renewal.base, Some(("uid-100".to_owned(), "101".to_owned())));
    assert_eq!(renewal.removed_labels, ["team"], "what left the template leaves the Secret");
    assert_eq!(
        renewal.metadata.annotations[annotation::REQUESTED],
        r#"{"account":"https://ca.example/ as house","ca":null,"commonName":"a.example.org","credentials":"alice","csrSecretRef":null,"dnsNames":["a.example.org","b.example.org"],"duration":null,"emailAddresses":[],"ipAddresses":[],"issuer":"Issuer house","privateKey":"ECDSA P-256","renew":"1","subject":[],"uris":[],"usages":[]}"#
    );
}

fn issued_chain() -> Vec<Certificate> {
    delivered_target().chain
}

#[test]
fn served_roots_are_added_after_the_anchor_and_only_roots_that_are_valid() {
    let seen = with(obtained(), |seen| {
        seen.account.as_mut().expect("an account").add_served_roots = true;
        seen.served = Some(vec![
            pki().root.certificate(),
            pki().issuing.certificate(),
            pki().stranger.certificate(),
        ]);
    });
    let delivery = delivery(&seen);
    assert_eq!(delivery.anchors, [pki().root.certificate(), pki().stranger.certificate()]);
    assert_eq!(delivery.added_roots, ["CN=Stranger"]);
}

#[test]
fn a_delivery_that_lost_is_repeated_on_what_is_there_now_but_not_for_ever() {
    // The watch still shows what this run began with: that is as old as what was read.
    let renewing = with(altered_and_opened(|_| ()), |seen| {
        seen.target = Some(Read::Present(delivered_target()));
        seen.cached = Some(cached(&delivered_target()));
        seen.submitted = true;
        seen.obtained = Some(Obtained {
            purchase: purchase(),
            key: key(1).into(),
            csr_names: None,
            candidates: issued(&key(1), now()),
        });
    });
    assert_eq!(step(&renewing), "Deliver");
    let mut seen = renewing.after(Outcome::Conflict);
    assert_eq!(step(&seen), "ReadTarget", "the other one's version is read");
    for version in 102..105 {
        let mut target = delivered_target();
        target.resource_version = version.to_string();
        seen = seen.after(Outcome::TargetRead(Read::Present(target)));
        let base = delivery(&seen).base;
        assert_eq!(base, Some(("uid-100".to_owned(), version.to_string())));
        seen = seen.after(Outcome::Conflict);
    }
    seen = seen.after(Outcome::TargetRead(Read::Present(delivered_target())));
    assert_eq!(step(&seen), "Failed(SecretContended)");

    let gone = obtained().after(Outcome::Conflict).after(Outcome::TargetRead(Read::Absent));
    assert_eq!(delivery(&gone).base, None, "it was deleted: it is created");
}

#[test]
fn a_repair_that_loses_does_not_go_on_for_ever_either() {
    let mut seen = altered_and_opened(|target| target.anchors.clear());
    let mut conflicts = 0;
    while step(&seen) == "Deliver" {
        conflicts += 1;
        assert!(conflicts < 10, "the run does not end");
        let mut target = delivered_target();
        target.anchors.clear();
        target.resource_version = (200 + conflicts).to_string();
        seen = seen.after(Outcome::Conflict);
        assert_eq!(step(&seen), "ReadTarget");
        seen = seen.after(Outcome::TargetRead(Read::Present(target)));
    }
    assert_eq!(step(&seen), "Failed(SecretContended)");
}

#[test]
fn what_is_delivered_is_kept_in_order() {
    let orderly = delivered_target();
    check([
        ("while its version is the delivered one, nothing is read", kept(), "Kept"),
        (
            "whether or not the issuer is ready",
            with(kept(), |seen| seen.issuer = IssuerState::Missing),
            "Kept",
        ),
        (
            "another version is read",
            with(kept(), |seen| seen.cached.as_mut().expect("one").resource_version = "101".into()),
            "ReadTarget",
        ),
        (
            "one that the watch does not show is read",
            with(kept(), |seen| seen.cached = None),
            "ReadTarget",
        ),
        (
            "a label that is missing",
            with(kept(), |seen| drop(seen.request.template.labels.insert("x".into(), "y".into()))),
            "ReadTarget",
        ),
        (
            "a label too many",
            with(kept(), |seen| seen.request.template.labels.clear()),
            "ReadTarget",
        ),
        ("what was read is judged with the account", altered(|_| ()), "OpenAccount"),
        (
            "or not, while there is none to be had",
            with(altered(|_| ()), |seen| seen.issuer = IssuerState::Missing),
            "Kept",
        ),
        ("another version of the same is in order", altered_and_opened(|_| ()), "Kept"),
        (
            "labels of others do not matter",
            altered_and_opened(|target| {
                target.metadata.labels.insert("other".to_owned(), "x".to_owned());
                target.metadata.annotations.insert("other".to_owned(), "x".to_owned());
            }),
            "Kept",
        ),
        ("ca.crt was emptied", altered_and_opened(|target| target.anchors.clear()), "Deliver"),
        (
            "somebody added a root",
            altered_and_opened(|target| target.anchors.push(pki().stranger.certificate())),
            "Deliver",
        ),
        (
            "the root was added to tls.crt",
            altered_and_opened(|target| target.chain.push(pki().root.certificate())),
            "Deliver",
        ),
        (
            "a label of the template was changed",
            altered_and_opened(|target| {
                target.metadata.labels.insert("team".into(), "x".into()).map_or((), drop)
            }),
            "Deliver",
        ),
        (
            "the watch's label was taken away",
            altered_and_opened(|target| {
                target.metadata.labels.remove(annotation::MANAGED_LABEL).map_or((), drop)
            }),
            "Deliver",
        ),
        (
            "the record of what it was requested with was taken away",
            altered_and_opened(|target| {
                target.metadata.annotations.remove(annotation::REQUESTED).map_or((), drop)
            }),
            "Deliver",
        ),
        (
            "the intermediate was cut off: perhaps the CA serves it",
            altered_and_opened(|target| target.chain.truncate(1)),
            "ReadServedRoots",
        ),
        (
            "which it does",
            with(altered_and_opened(|target| target.chain.truncate(1)), |seen| {
                seen.served = Some(vec![pki().issuing.certificate()]);
            }),
            "Deliver",
        ),
        (
            "anchors that have moved on are no alteration",
            with(altered_and_opened(|_| ()), |seen| {
                seen.account.as_mut().expect("one").anchors = vec![pki().stranger.certificate()];
                seen.served = Some(vec![]);
            }),
            "Kept",
        ),
        (
            "and the issuer has another name by now: that alone is noted",
            with(altered_and_opened(|_| ()), |seen| {
                seen.request.issuer = "Issuer other".to_owned();
                let mut products = Products::default();
                products.note(&seen.wanted().block(), None);
                seen.products = products;
                seen.account.as_mut().expect("one").anchors = vec![pki().stranger.certificate()];
                seen.served = Some(vec![]);
            }),
            "Deliver",
        ),
        (
            "anchors that have moved on, and those of before are in ca.crt no more: nobody wrote since",
            with(altered_and_opened(|target| target.anchors.clear()), |seen| {
                let known = seen.previous.certificate.as_mut().expect("one");
                known.secret_resource_version = "101".to_owned();
                seen.account.as_mut().expect("one").anchors = vec![pki().stranger.certificate()];
                seen.served = Some(vec![]);
            }),
            "Kept",
        ),
        (
            "and where somebody has",
            with(altered_and_opened(|target| target.anchors.clear()), |seen| {
                seen.account.as_mut().expect("one").anchors = vec![pki().stranger.certificate()];
                seen.served = Some(vec![]);
            }),
            "Submit a new ECDSA P-256 key",
        ),
        (
            "served roots are needed to judge where they are added",
            with(altered_and_opened(|_| ()), |seen| {
                seen.account.as_mut().expect("one").add_served_roots = true;
            }),
            "ReadServedRoots",
        ),
        (
            "and are in ca.crt then",
            with(altered_and_opened(|_| ()), |seen| {
                seen.account.as_mut().expect("one").add_served_roots = true;
                seen.served = Some(vec![pki().stranger.certificate()]);
            }),
            "Deliver",
        ),
        (
            "a repair that failed is not tried again at once",
            with(altered(|target| target.anchors.clear()), |seen| {
                seen.previous.last_attempt = Some(seen.attempt());
                seen.previous.next_attempt = Some(at("2026-06-11T12:00:05Z"));
            }),
            "BackingOff { until: 2026-06-11T12:00:05Z, reissue: None }",
        ),
        (
            "nor is a template brought in",
            with(kept(), |seen| {
                seen.request.template.labels.clear();
                seen.previous.last_attempt = Some(seen.attempt());
                seen.previous.next_attempt = Some(at("2026-06-11T12:00:05Z"));
            }),
            "BackingOff { until: 2026-06-11T12:00:05Z, reissue: None }",
        ),
        (
            "nor is a pair that somebody put there replaced before",
            with(altered(foreign_pair), |seen| {
                seen.previous.last_attempt = Some(seen.attempt());
                seen.previous.next_attempt = Some(at("2026-06-11T12:00:05Z"));
            }),
            "BackingOff { until: 2026-06-11T12:00:05Z, reissue: Some(SecretAltered(\"tls.crt is not the certificate that was delivered\")) }",
        ),
        (
            "but later it is",
            with(altered(|target| target.anchors.clear()), |seen| {
                seen.previous.last_attempt = Some(seen.attempt());
                seen.previous.next_attempt = Some(at("2026-06-11T12:00:00Z"));
            }),
            "OpenAccount",
        ),
        (
            "a repair needs no leave from suspend",
            with(altered_and_opened(|target| target.anchors.clear()), |seen| {
                seen.request.suspended = true;
            }),
            "Deliver",
        ),
        ("a pair that somebody else put there is looked at", altered(foreign_pair), "OpenAccount"),
        ("and replaced", altered_and_opened(foreign_pair), "Submit a new ECDSA P-256 key"),
        (
            "one that bears our stamp was delivered by a process that could not tell",
            altered_and_opened(|target| {
                another_of_ours(target);
                let stamp = target.chain[0].fingerprint_sha256().to_owned();
                target.metadata.annotations.insert(annotation::FINGERPRINT.to_owned(), stamp);
            }),
            "Kept",
        ),
        (
            "after a repair there is nothing more",
            altered_and_opened(|target| target.anchors.clear()).after(Outcome::Delivered {
                target: orderly,
                added_roots: vec![],
                renewed: false,
                adopted: false,
            }),
            "Kept",
        ),
    ]);
}

#[test]
fn a_repair_writes_the_same_pair_and_says_nothing_new_of_its_origin() {
    let seen = with(altered_and_opened(|target| target.anchors.clear()), |seen| {
        // Learnt since, without being a reason to issue anew.
        seen.request.key_kind = None;
        seen.request.template.labels.clear();
    });
    let delivery = delivery(&seen);
    let old = delivered_target();
    assert!(!delivery.renewed);
    assert_eq!(delivery.base, Some(("uid-100".to_owned(), "101".to_owned())));
    assert_eq!(delivery.key.spki_der(), key(0).spki_der());
    assert_eq!(delivery.chain, old.chain);
    assert_eq!(delivery.anchors, old.anchors);
    assert_eq!(
        delivery.metadata.annotations[annotation::REQUESTED],
        old.metadata.annotations[annotation::REQUESTED]
    );
    assert_eq!(delivery.removed_labels, ["team"]);
    let repaired = written(seen.live_target(), &delivery, 102);
    let after = seen.after(Outcome::TargetRead(Read::Present(repaired)));
    assert_eq!(step(&after), "Kept", "the repair is what was wanted");
}

/// The process died after the delivery: the Secret is there, and the status knows nothing of it.
fn died() -> Observation {
    let target = delivered_target();
    Observation {
        now: now() + SignedDuration::from_secs(3),
        cached: Some(cached(&target)),
        target: Some(Read::Present(target)),
        ..fresh()
    }
}

#[test]
fn after_a_process_died_between_delivery_and_status_only_the_status_is_written() {
    let seen = died();
    assert_eq!(step(&seen), "OpenAccount", "it is ours by its stamp; is all of it in order?");
    let seen = seen.after(Outcome::Opened(account()));
    assert_eq!(step(&seen), "Kept");
    let status = describe(&seen, &[], &Rest::Kept).status;
    assert_eq!(status.revision, Some(1));
    let certificate = status.certificate.clone().expect("a certificate");
    assert_eq!(certificate.secret_resource_version, "100");
    let next = with(fresh(), |seen| {
        seen.now = now() + days(1);
        seen.previous = previous(&status);
        seen.cached = Some(cached(&delivered_target()));
    });
    assert_eq!(step(&next), "Kept", "and the next run reads nothing");
}

#[test]
fn what_was_delivered_is_known_without_the_issuer() {
    check([
        (
            "the issuer is not ready",
            with(died(), |seen| seen.issuer = IssuerState::NotReady("no answer".to_owned())),
            "Kept",
        ),
        ("there is no issuer", with(died(), |seen| seen.issuer = IssuerState::Missing), "Kept"),
        ("it is another's", with(died(), |seen| seen.issuer = IssuerState::NotServed), "Kept"),
        (
            "a pair that somebody put there is not ours, however good",
            with(altered(another_of_ours), |seen| seen.issuer = IssuerState::Missing),
            "IssuerMissing",
        ),
        (
            "nor with the issuer",
            altered_and_opened(another_of_ours),
            "Submit a new ECDSA P-256 key",
        ),
        (
            "nor is one of a stranger",
            with(altered(foreign_pair), |seen| seen.issuer = IssuerState::Missing),
            "IssuerMissing",
        ),
    ]);
}

#[test]
fn a_larger_key_in_the_target_is_told_by_its_kind() {
    let target = with(died(), |seen| {
        let Some(Read::Present(target)) = &mut seen.target else { panic!("a target") };
        target.key = Some(larger_key());
        target.chain = issued(&larger_key(), now());
        let stamp = target.chain[0].fingerprint_sha256().to_owned();
        target.metadata.annotations.insert(annotation::FINGERPRINT.to_owned(), stamp);
    });
    let held = target.standing();
    assert_eq!(held.held().expect("a pair").certificate.private_key, "ECDSA P-384");
}

/// What an earlier run obtained and could not deliver, in the hands of a new run.
fn in_hand(change: impl FnOnce(&mut Observation)) -> Observation {
    let earlier = obtained();
    with(Observation { obtained: earlier.obtained, ..absent() }, change)
}

#[test]
fn what_was_obtained_is_delivered_later_and_not_asked_for_again() {
    check([
        ("the account tells whom to trust", in_hand(|_| {}), "OpenAccount"),
        ("then it is delivered", in_hand(|seen| seen.account = Some(account())), "Deliver"),
        (
            "unless it is there already, because only the answer was lost",
            in_hand(|seen| {
                seen.account = Some(account());
                seen.target = Some(Read::Present(delivered_target()));
            }),
            "Kept",
        ),
    ]);
}

#[cfg(feature = "mutants")]
#[test]
fn a_mutant_asks_for_another_certificate_while_it_has_one() {
    use crate::mutant::{Mutant, set};
    let seen = in_hand(|seen| seen.account = Some(account()));
    assert!(matches!(crate::issuance::decide(&seen), Step::Deliver(_)));
    set(Some(Mutant::Undelivered));
    let step = crate::issuance::decide(&seen);
    set(None);
    assert!(matches!(step, Step::Submit(..)), "{step:?}");
}

#[test]
fn a_fight_over_a_target_is_fought_slowly() {
    let seen = altered_and_opened(|target| target.anchors.clear());
    let at = seen.now;
    let waits =
        format!("BackingOff {{ until: {}, reissue: None }}", at + SignedDuration::from_secs(1));
    let repaired =
        |before: SignedDuration| with(seen.clone(), |seen| seen.repaired = Some((at - before, 1)));
    check([
        ("the first repair comes at once", seen.clone(), "Deliver"),
        ("the second once the pause is over", repaired(SignedDuration::from_secs(10)), "Deliver"),
    ]);
    assert_eq!(step(&repaired(SignedDuration::from_secs(9))), waits, "and not before");
}

/// A request that brings a CSR without its key.
fn brings_csr(change: impl FnOnce(&mut Observation)) -> Observation {
    with(opened(), |seen| {
        seen.request.names = Names::default();
        seen.request.key_kind = None;
        seen.request.csr = Some(CsrReference {
            secret: "mine".to_owned(),
            entry: "tls.csr".to_owned(),
            version: Some("5".to_owned()),
        });
        change(seen);
    })
}

fn brought(key: Key) -> Option<Arc<BroughtCsr>> {
    Some(Arc::new(BroughtCsr { der: Vec::new(), key, names: names(), asked: Asked::default() }))
}

/// The n-th key, of which only the public half is at hand.
fn public(n: usize) -> Key {
    Key::Public(key(n).spki_der().into())
}

/// The certificate for the CSR is delivered, and nothing has been looked at since.
fn kept_for_csr(change: impl FnOnce(&mut Observation)) -> Observation {
    let start = brings_csr(|seen| {
        let candidates = issued(&key(0), now());
        seen.obtained =
            Some(Obtained { key: public(0), csr_names: None, candidates, purchase: purchase() });
    });
    let target = written(None, &delivery(&start), 100);
    let outcome = Outcome::Delivered {
        target: target.clone(),
        added_roots: vec![],
        renewed: true,
        adopted: false,
    };
    let status = described(&start.clone().after(outcome)).status;
    let seen = Observation {
        previous: previous(&status),
        cached: Some(cached(&target)),
        account: None,
        target: None,
        obtained: None,
        ..start
    };
    with(seen, change)
}

#[test]
fn a_csr_that_is_brought_is_read_submitted_and_delivered_without_a_key() {
    check([
        ("it is read before anything is asked", brings_csr(|_| ()), "ReadCsr"),
        (
            "and submitted as it is",
            brings_csr(|seen| seen.csr = brought(public(0))),
            "Submit the CSR",
        ),
        (
            "with the key that lay beside it",
            brings_csr(|seen| seen.csr = brought(key(0).into())),
            "Submit the CSR",
        ),
        (
            "but not for a key the CA does not sign",
            brings_csr(|seen| {
                seen.csr = brought(public(0));
                let account = seen.account.as_mut().expect("an account");
                account.capabilities.key_kinds = vec![KeyKind::Rsa2048];
            }),
            "Failed(NotSupportedByCa)",
        ),
        (
            "nor without its key, where the CA itself signs with it",
            brings_csr(|seen| {
                let account = seen.account.as_mut().expect("an account");
                account.capabilities.needs_private_key = true;
                seen.csr = brought(public(0));
            }),
            "Failed(NotSupportedByCa)",
        ),
        (
            "nor where the target has a key of ours",
            with(altered_and_opened(|_| ()), |seen| {
                seen.request = brings_csr(|_| ()).request;
                seen.csr = brought(public(0));
            }),
            r#"SecretNotOurs("Secret web-tls is of type kubernetes.io/tls and the CSR in Secret mine comes without its key: delete the former, and it is created again without one, or add tls.key to the latter")"#,
        ),
        (
            "a certificate without the names of the CSR, at a CA that goes by them",
            brings_csr(|seen| {
                let names = Names { uris: vec!["urn:uuid:1".to_owned()], ..names() };
                let candidates = issued(&key(0), now());
                let csr_names = Some(names);
                seen.obtained =
                    Some(Obtained { key: public(0), csr_names, candidates, purchase: purchase() });
            }),
            "Failed(CertificateUnfit)",
        ),
        (
            "a certificate for another key",
            brings_csr(|seen| {
                let candidates = issued(&key(1), now());
                seen.obtained = Some(Obtained {
                    key: public(0),
                    csr_names: None,
                    candidates,
                    purchase: purchase(),
                });
            }),
            "Failed(CertificateUnfit)",
        ),
    ]);
}

#[test]
fn a_certificate_for_a_csr_is_kept_until_the_csr_is_for_another_key() {
    let changed = |change: fn(&mut Observation)| {
        kept_for_csr(|seen| {
            seen.request.csr.as_mut().expect("a CSR").version = Some("6".to_owned());
            change(seen);
        })
    };
    check([
        ("nothing has changed", kept_for_csr(|_| ()), "Kept"),
        (
            "the Secret with the CSR is gone",
            kept_for_csr(|seen| seen.request.csr.as_mut().expect("a CSR").version = None),
            "Kept",
        ),
        ("the Secret with the CSR has changed", changed(|_| ()), "ReadCsr"),
        ("and the key is the same", changed(|seen| seen.csr = brought(public(0))), "Kept"),
        (
            "and the key is another",
            changed(|seen| {
                seen.request.suspended = true;
                seen.csr = brought(public(1));
            }),
            r#"Suspended(InputsDiffer("csrSecretRef"))"#,
        ),
        (
            "and it could not be used",
            changed(|seen| {
                seen.previous.last_attempt = Some(seen.attempt());
                seen.previous.next_attempt = Some(now() + SignedDuration::from_secs(60));
            }),
            r#"BackingOff { until: 2026-06-01T12:01:00Z, reissue: Some(InputsDiffer("csrSecretRef")) }"#,
        ),
        (
            "and the CA does not sign its key",
            changed(|seen| seen.previous.last_attempt = Some(seen.attempt())),
            "AwaitingChange",
        ),
        (
            "the CSR of another Secret",
            kept_for_csr(|seen| {
                seen.request.suspended = true;
                seen.request.csr.as_mut().expect("a CSR").secret = "other".to_owned();
            }),
            r#"Suspended(InputsDiffer("csrSecretRef"))"#,
        ),
        (
            "a key of ours in place of a CSR",
            kept_for_csr(|seen| {
                seen.request.suspended = true;
                seen.request.csr = None;
            }),
            r#"Suspended(InputsDiffer("csrSecretRef"))"#,
        ),
    ]);
}

#[test]
fn a_pair_is_taken_over_once_and_only_by_who_has_had_none() {
    let offered = |change: fn(&mut Observation, &mut Target)| {
        with(opened(), |seen| {
            seen.previous.certificate = None;
            let mut target = delivered_target();
            target.metadata.annotations.clear();
            let offer = (annotation::ADOPT.to_owned(), seen.request.name.clone());
            target.metadata.annotations.extend([offer]);
            change(seen, &mut target);
            seen.target = Some(Read::Present(target));
        })
    };
    let cases = [
        ("it fits", offered(|_, _| ()), "Deliver"),
        ("the account is not open", offered(|seen, _| seen.account = None), "OpenAccount"),
        (
            "the request has had a certificate: it does not give way to an older one",
            offered(|seen, _| seen.previous.certificate = kept().previous.certificate),
            "SecretNotOurs",
        ),
        (
            "it is the request's already: what somebody put back is no offer",
            offered(|seen, target| {
                let marker = (annotation::REQUEST.to_owned(), seen.request.name.clone());
                target.metadata.annotations.extend([marker]);
            }),
            "Submit",
        ),
        (
            "it was obtained for other names",
            offered(|seen, target| {
                let mut noted = seen.wanted();
                noted = noted.with(Requested::USAGES, Some("other"));
                let noted = (annotation::REQUESTED.to_owned(), noted.to_annotation());
                target.metadata.annotations.extend([noted]);
            }),
            "NotAdopted",
        ),
        (
            "cert-manager owns it",
            offered(|_, target| target.owners.push("Certificate.cert-manager.io web".to_owned())),
            "NotAdopted",
        ),
        ("it is immutable", offered(|_, target| target.immutable = true), "NotAdopted"),
        (
            "for other names",
            offered(|seen, _| seen.request.names.dns_names.push("more.example.org".to_owned())),
            "NotAdopted",
        ),
    ];
    for (name, seen, expected) in cases {
        let step = step(&seen);
        assert!(step.starts_with(expected), "{name}: {step}");
    }
}

/// A Secret that somebody filled: `from` and `to` are the dates of its certificate.
fn filled(from: Timestamp, to: Timestamp) -> Observation {
    altered_and_opened(|target| {
        let leaf = pki().issuing.leaf(&key(0), &names(), from, to);
        let stamp = (annotation::FINGERPRINT.to_owned(), leaf.fingerprint_sha256().to_owned());
        target.metadata.annotations.extend([stamp]);
        target.chain = vec![leaf, pki().issuing.certificate()];
    })
}

#[test]
fn a_certificate_that_ends_before_it_begins_is_none() {
    let first = |from, to| {
        let seen = filled(from, to);
        reissue(&seen, &seen.standing()).map(|reissue| format!("{reissue:?}"))
    };
    let broken = r#"SecretAltered("the certificate in tls.crt ends before it begins")"#;
    assert_eq!(first(now() + days(1), now()).as_deref(), Some(broken));
    assert_eq!(first(now(), now() + days(100)), None, "the other way round it is one");
    // The status says the same of it: it is not believed, and the Secret is read.
    let seen = with(kept(), |seen| {
        let certificate = seen.previous.certificate.as_mut().expect("a certificate");
        std::mem::swap(&mut certificate.not_before, &mut certificate.not_after);
    });
    assert_eq!(step(&seen), "ReadTarget");
}

/// Any time that an object can hold.
fn any_time() -> impl proptest::strategy::Strategy<Value = Timestamp> {
    use proptest::prelude::*;
    let at = |second| Timestamp::from_second(second).expect("within the calendar");
    let near = now().as_second();
    prop_oneof![
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
        Just(now()),
        (near - 10_000_000..near + 10_000_000).prop_map(at),
        (Timestamp::MIN.as_second()..=Timestamp::MAX.as_second()).prop_map(at),
    ]
}

proptest::proptest! {
    #[test]
    fn whatever_times_objects_hold_a_run_comes_to_its_end(
        times in proptest::collection::vec(any_time(), 12),
        numbers in proptest::collection::vec(proptest::sample::select(vec![0, 1, i64::MAX, i64::MIN]), 3),
        is_read in proptest::bool::ANY, is_repaired in proptest::bool::ANY,
    ) {
        use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
        // X.509 cannot say more than this.
        let in_x509 = |at: Timestamp| at.clamp(Timestamp::UNIX_EPOCH, now() + days(365_000));
        let base = if is_read { filled(in_x509(times[0]), in_x509(times[1])) } else { kept() };
        let seen = with(base, |seen| {
            let previous = &mut seen.previous;
            let certificate = previous.certificate.as_mut().expect("a certificate");
            certificate.not_before = Time(times[2]);
            certificate.not_after = Time(times[3]);
            certificate.delivered_at = Time(times[4]);
            previous.last_failure = Some(times[5]);
            previous.next_attempt = Some(times[6]);
            previous.renewal = Some(times[7]);
            previous.revision = numbers[0];
            previous.orders = numbers[1];
            previous.failed_attempts = i32::try_from(numbers[2] >> 32).expect("its upper half");
            seen.repaired = is_repaired.then(|| (times[8], u32::MAX));
            seen.quota.made = Some(vec![times[9], times[10]]);
            seen.quota.limits.per_request = Some(1);
            if let IssuerState::Ready { anchors, .. } = &mut seen.issuer {
                let since = Some(Time(times[11]));
                *anchors = Some(crate::api::TrustAnchors { sha256: "0".repeat(64), since });
            }
        });
        if let Step::Rest(rest) = decide(&seen) {
            let _told = describe(&seen, &[], &rest);
        }
        // Told of as it is, whatever is to be done.
        for rest in [Rest::Kept, Rest::Failed(trouble()), Rest::AwaitingChange] {
            let _told = describe(&seen, &[], &rest);
        }
    }
}
