//! What is decided of an order, as tables: one base per state, one field changed per row.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::following::Following;
use super::purchases::{Entry, OrderEvent};
use super::record::{NewOrder, OrderDraft, RawRecord, Slot, StoredOrder, reference};
use super::seen::{ABSENT_ENOUGH, OrderStage, Prepared, Sought, UnusedClaim, adopt};
use super::*;
use crate::api::{CertificateRequestStatus, IssuerKind, OrderStatus, Wait, WaitsFor, annotation};
use crate::ca::{
    Actor, Blocks, Challenge, Failed, FailedKind, Found, KeyEvidence, Lookup, OpenOrder, OrderKind,
    OrderKinds, Previous, Proof, Waiting,
};
use crate::issuance::Products;
use crate::issuance::allow::{Allowed, Refusal};
use crate::issuance::certificate::delivery::Delivery;
use crate::issuance::decide::decide;
use crate::issuance::describe::{Requeue, describe};
use crate::issuance::fixtures::{
    absent, account, cached, days, delivered_target, fresh, issued, kept, key, names, now, pki,
    previous, purchase, with,
};
use crate::issuance::observation::{Outcome, Read};
use crate::issuance::quota::gate::leads_to_submit;
use crate::issuance::quota::{Withheld, is_open};
use crate::pki::Names;

const ME: &str = "process-1";
const WINDOW: SignedDuration = SignedDuration::from_mins(15);

type Row = (&'static str, Observation, &'static str);

/// Steps in words, so that tables can be read.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others name themselves")]
fn step(seen: &Observation) -> String {
    match decide(seen) {
        Step::Prepare(..) => "Prepare".to_owned(),
        Step::WriteRecord(draft) => format!("WriteRecord({})", draft.next.order.number),
        Step::Deliver(delivery) => {
            format!(
                "Deliver({})",
                short(&delivery.metadata.annotations[annotation::ORDER_REFERENCE])
            )
        }
        Step::Mark(mark) => format!("Mark({:?}, {:?})", mark.state, mark.id.unwrap_or_default()),
        Step::Rest(Rest::Failed(trouble)) => format!("Failed({})", trouble.reason),
        Step::Rest(Rest::Held(hold)) => format!("Held({})", hold.reason()),
        Step::Rest(Rest::LookedFor { until, why }) => format!(
            "LookedFor(in {} s{})",
            until.duration_since(now()).as_secs(),
            why.map(|why| format!(", {why}")).unwrap_or_default()
        ),
        Step::Rest(rest) => format!("{rest:?}"),
        step => format!("{step:?}"),
    }
}

fn short(reference: &str) -> &str {
    reference.rsplit('-').next().unwrap_or_default()
}

fn check(rows: impl IntoIterator<Item = Row>) {
    for (name, seen, expected) in rows {
        assert_eq!(step(&seen), expected, "{name}");
    }
}

fn paid() -> Account {
    let mut account = account();
    account.capabilities.billable = true;
    account.capabilities.asynchronous = true;
    account.capabilities.searchable = true;
    account
}

/// Nothing was ever ordered; the target is read and the account open.
fn fresh_order() -> Observation {
    with(absent(), |seen| {
        seen.account = Some(paid());
        seen.order.incarnation = ME.to_owned();
        seen.order.proven = true;
    })
}

fn slot(number: i64) -> Slot {
    let seen = fresh_order();
    let key = key(usize::try_from(number).expect("small"));
    let order = StoredOrder::new(NewOrder {
        uid: &seen.request.uid,
        number,
        account: &paid().name,
        since: now() - days(1),
        csr_der: key.spki_der(),
        names: &names(),
        intent: seen.wanted(),
        parameters: serde_json::json!({ "product": "gold" }),
        kind: &OrderKind::New,
    });
    Slot { order, private: Some(key), kind: OrderKind::New }
}

/// Order `number`, which follows another.
fn following(number: i64, kind: OrderKind) -> Slot {
    let seen = fresh_order();
    let key = key(usize::try_from(number).expect("small"));
    let order = StoredOrder::new(NewOrder {
        uid: &seen.request.uid,
        number,
        account: &paid().name,
        since: now() - days(1),
        csr_der: key.spki_der(),
        names: &names(),
        intent: seen.wanted(),
        parameters: serde_json::Value::Null,
        kind: &kind,
    });
    Slot { order, private: Some(key), kind }
}

/// The record of order `number`, claimed by this process.
fn record(number: i64) -> Record {
    Record {
        uid: "record-uid".to_owned(),
        resource_version: "7".to_owned(),
        next: slot(number),
        issued: None,
        mark: Mark { attempt: 1, claim: ME.to_owned(), ..Mark::default() },
    }
}

fn reference_of(number: i64) -> String {
    reference(&fresh().request.uid, number)
}

fn put(seen: &mut Observation, record: Record) {
    seen.order.record = Some(RecordRead::Present(Box::new(record)));
}

/// What the status says of order `number`.
fn hint(number: i64, phase: OrderPhase, id: Option<&str>) -> OrderStatus {
    OrderStatus {
        reference: reference_of(number),
        id: id.map(str::to_owned),
        phase,
        account: paid().name,
        attempt: 1,
        claimed_by: Some(ME.to_owned()),
        ..OrderStatus::default()
    }
}

/// Order 1 is in the record and this process has its claim unused.
fn claimed() -> Observation {
    with(fresh_order(), |seen| {
        *seen = seen.clone().after(Outcome::Claimed(Box::new(record(1))));
    })
}

/// The status that says who submits what was written.
fn announced(seen: Observation) -> Observation {
    let status = describe(&seen, &[], &Rest::Submitting).status;
    seen.after(Outcome::Announced(Box::new(status)))
}

/// Another process has the claim on order 1, or this one has used it.
fn lost_order() -> Observation {
    with(fresh_order(), |seen| {
        put(seen, record(1));
        seen.previous.order = Some(hint(1, OrderPhase::Unknown, None));
        seen.previous.orders = 1;
    })
}

/// It has been looked for, for the whole window.
fn settled() -> Observation {
    with(lost_order(), |seen| {
        seen.order.sought = Sought {
            of: record(1).claim_id(),
            elapsed: Some(WINDOW),
            since_last: SignedDuration::ZERO,
            absent: 3,
        };
        seen.order.searched(Ok(Lookup::Absent { complete: true, doubt: None }));
    })
}

fn waiting() -> Phase {
    Phase::Pending(Waiting {
        state: "waiting_for_approval".to_owned(),
        actor: Actor::Approver,
        message: "the certificate manager has to approve it".to_owned(),
        retry_after: None,
        challenges: Vec::new(),
    })
}

fn failed_as(kind: FailedKind) -> Phase {
    Phase::Failed(Failed { state: "gone".to_owned(), kind, message: "quota used up".to_owned() })
}

fn at_ca(phase: Phase) -> Progress {
    Progress { id: Some("id-1".to_owned()), named: true, phase }
}

/// The CA has order 1, in this phase, and the record was read.
fn progressed(phase: Phase) -> Observation {
    with(lost_order(), |seen| {
        seen.previous.order = Some(hint(1, OrderPhase::Pending, Some("id-1")));
        seen.order.progress = Some(at_ca(phase));
    })
}

fn leaf_for(names: &Names, from: jiff::Timestamp, to: jiff::Timestamp) -> Phase {
    Phase::Issued(vec![pki().issuing.leaf(&key(1), names, from, to), pki().issuing.certificate()])
}

fn fine() -> Phase {
    Phase::Issued(issued(&key(1), now()))
}

/// Order 1 ended like this, by the record.
fn ended(state: OrderState) -> Observation {
    with(lost_order(), |seen| {
        let mut record = record(1);
        record.mark.state = state;
        put(seen, record);
    })
}

fn new_nonce(seen: &mut Observation) {
    seen.request.renew = Some("2".to_owned());
}

/// An order that is made ready and not stored.
fn made_ready() -> Prepared {
    Prepared {
        purchase: purchase(),
        kind: OrderKind::New,
        key: key(1).into(),
        names: names(),
        csr_der: key(1).spki_der().to_vec(),
        parameters: serde_json::Value::Null,
    }
}

#[test]
fn a_first_order_goes_one_step_at_a_time() {
    let prepared = || fresh_order().after(Outcome::Prepared(made_ready()));
    let announced = || announced(claimed());
    let searched = |answer| announced().after(Outcome::Searched(answer, Sought::default()));
    check([
        ("nothing was ordered: the CA translates and examines", fresh_order(), "Prepare"),
        ("it did: the order is stored, with its key", prepared(), "WriteRecord(1)"),
        (
            "a Secret of that name is in the way: what is in it?",
            prepared().after(Outcome::RecordConflict),
            "ReadRecord",
        ),
        ("the claim is won: the status says so, which is the live check", claimed(), "Announce"),
        ("it is announced: is there an order of this name already?", announced(), "Find"),
        (
            "there is none: now it is sent",
            searched(Ok(Lookup::Absent { complete: true, doubt: None })),
            "Order",
        ),
        ("a CA that cannot be searched is not", searched(Ok(Lookup::Unsupported)), "Order"),
        (
            "the search did not come to its end: nothing is sent",
            searched(Ok(Lookup::Absent { complete: false, doubt: None })),
            "Failed(SearchIncomplete)",
        ),
        (
            "the search failed: nothing is sent",
            searched(Err(trouble(Disposition::Retry { after: None }))),
            "Failed(NoAnswer)",
        ),
        (
            "the CA took it: its status is written, and the order poller follows it",
            announced().after(Outcome::Ordered(at_ca(waiting()))),
            "Ordered",
        ),
        (
            "an order that the CA does not let us find has its id written down",
            announced().after(Outcome::Ordered(Progress { named: false, ..at_ca(waiting()) })),
            r#"Mark(Open, "id-1")"#,
        ),
        (
            "the answer was lost: it is looked for",
            announced().after(not_ordered(Sent::Unknown)),
            "LookedFor(in 2 s, no answer)",
        ),
        (
            "it was refused: that is written down",
            announced().after(not_ordered(Sent::Refused)),
            r#"Mark(Refused, "")"#,
        ),
        (
            "refused, and another process has claimed it since: that one may have been taken",
            with(announced().after(not_ordered(Sent::Refused)), |seen| {
                let mut record = record(1);
                record.mark.claim = "process-2".to_owned();
                put(seen, record);
            }),
            "Failed(NoAnswer)",
        ),
        (
            "somebody writes the record each time: not for ever",
            (0..4).fold(prepared(), |seen, _| seen.after(Outcome::RecordConflict)),
            "Failed(OrderRecordContended)",
        ),
    ]);
}

fn trouble(disposition: Disposition) -> Trouble {
    Trouble { disposition, reason: Reason::NoAnswer, message: "no answer".to_owned(), counts: true }
}

fn not_ordered(sent: Sent) -> Outcome {
    Outcome::NotOrdered(sent, trouble(Disposition::Retry { after: None }))
}

/// Order 1, claimed for the second time by this process, after it or another had claimed it.
fn again(before: &str) -> Observation {
    let mut first = record(1);
    first.mark.claim = before.to_owned();
    let mut second = record(1);
    second.mark.attempt = 2;
    let seen = with(claimed(), |seen| put(seen, first));
    seen.after(Outcome::Claimed(Box::new(second)))
}

#[test]
fn what_withdraws_an_order_before_it_is_sent() {
    check([
        (
            "other names: another order takes its place",
            with(claimed(), |seen| seen.request.names.dns_names.truncate(1)),
            "Prepare",
        ),
        (
            "suspended: nothing is sent",
            with(claimed(), |seen| seen.request.suspended = true),
            "Suspended(NeverIssued)",
        ),
        (
            "an order that may have been sent before is made again as it was",
            with(again("process-2"), |seen| seen.request.names.dns_names.truncate(1)),
            "Announce",
        ),
        (
            "claimed once more because the claim grew old, and never sent: another takes its place",
            with(again(ME), |seen| seen.request.names.dns_names.truncate(1)),
            "Prepare",
        ),
        (
            "another process has the claim in the record: ours is worth nothing",
            with(claimed(), |seen| {
                let mut record = record(1);
                record.mark.claim = "process-2".to_owned();
                put(seen, record);
            }),
            "Find",
        ),
        (
            "what stopped it after an announcement is looked at before it is announced again",
            with(claimed(), |seen| {
                seen.previous.order = Some(hint(1, OrderPhase::Submitting, None));
                seen.previous.orders = 1;
            }),
            "Find",
        ),
        (
            "the target became immutable: no money for what cannot be delivered",
            with(claimed(), |seen| {
                let mut target = delivered_target();
                target.immutable = true;
                target.chain.clear();
                seen.target = Some(Read::Present(target));
            }),
            "SecretNotOurs(\"Secret web-tls is immutable and cannot be renewed: delete it, and it is created again with a new certificate\")",
        ),
    ]);
}

#[test]
fn a_lost_order_is_looked_for_before_it_is_made_again() {
    let answered = |answer| with(settled(), |seen| seen.order.searched(answer));
    check([
        ("never looked for: at once", lost_order(), "Find"),
        (
            "looked for a moment ago: later",
            with(settled(), |seen| seen.order.stage = OrderStage::Untouched),
            "LookedFor(in 225 s)",
        ),
        ("absent for the whole window, by a search that can be trusted", settled(), "Claim"),
        (
            "absent, and the window is not over",
            with(settled(), |seen| {
                seen.order.sought.elapsed = Some(WINDOW - SignedDuration::from_secs(1))
            }),
            "LookedFor(in 225 s)",
        ),
        (
            "absent, and not often enough",
            with(settled(), |seen| seen.order.sought.absent = 2),
            "LookedFor(in 225 s)",
        ),
        (
            "absent for long, under the claim of before",
            with(settled(), |seen| seen.order.sought.of = "another".to_owned()),
            "LookedFor(in 2 s)",
        ),
        (
            "absent, by a search that has never found anything",
            with(settled(), |seen| seen.order.proven = false),
            "Held(OrderOutcomeUnknown)",
        ),
        (
            "absent, never announced, and something else is wanted by now",
            with(settled(), |seen| seen.request.names.dns_names.truncate(1)),
            "Prepare",
        ),
        (
            "and once that is made ready, what the search said still counts",
            with(settled(), |seen| {
                seen.request.names.dns_names.truncate(1);
                *seen = seen.clone().after(Outcome::Prepared(made_ready()));
            }),
            "WriteRecord(2)",
        ),
        (
            "absent, announced, and something else is wanted by now: first this, as it was",
            with(settled(), |seen| {
                seen.request.names.dns_names.truncate(1);
                let hint = seen.previous.order.as_mut().expect("a hint");
                hint.submitted_at = Some(Time(now()));
            }),
            "Claim",
        ),
        (
            "absent, while nothing may be sent",
            with(settled(), |seen| seen.request.suspended = true),
            "Suspended(NeverIssued)",
        ),
        (
            "absent, though its certificate was delivered once: the CA has forgotten it",
            with(settled(), |seen| {
                seen.previous.certificate = kept().previous.certificate;
                seen.previous.revision = 1;
            }),
            r#"Mark(Forgotten, "")"#,
        ),
        (
            "absent, prepared in the second in which the certificate before it was delivered",
            with(settled(), |seen| {
                let before = kept().previous.certificate;
                let mut renewal = record(2);
                renewal.next.order.since = before.as_ref().expect("one").delivered_at.0;
                seen.order.sought.of = renewal.claim_id();
                put(seen, renewal);
                seen.previous.order = Some(hint(2, OrderPhase::Unknown, None));
                seen.previous.orders = 2;
                seen.previous.certificate = before;
                seen.previous.revision = 1;
                seen.now = now() + SignedDuration::from_hours(1);
            }),
            "Claim",
        ),
        (
            "half a search at the end of the window proves nothing",
            answered(Ok(Lookup::Absent { complete: false, doubt: None })),
            "Held(OrderOutcomeUnknown)",
        ),
        (
            "half a search within the window",
            with(
                answered(Ok(Lookup::Absent { complete: false, doubt: Some("page 2".to_owned()) })),
                |seen| {
                    seen.order.sought.elapsed = Some(SignedDuration::from_secs(8));
                },
            ),
            "LookedFor(in 4 s, page 2)",
        ),
        (
            "a search that still fails after the window is for a person",
            answered(Err(trouble(Disposition::Retry { after: None }))),
            "Held(OrderOutcomeUnknown)",
        ),
        (
            "an account that cannot be searched",
            answered(Ok(Lookup::Unsupported)),
            "Held(OrderOutcomeUnknown)",
        ),
        (
            "a CA that cannot be searched by name: an issued one may be found by its key",
            with(lost_order(), |seen| {
                let account = seen.account.as_mut().expect("an account");
                account.capabilities.searchable = false;
            }),
            "Find",
        ),
        (
            "it was not: nobody knows",
            with(lost_order(), |seen| {
                let account = seen.account.as_mut().expect("an account");
                account.capabilities.searchable = false;
                seen.order.searched(Ok(Lookup::Unsupported));
            }),
            "Held(OrderOutcomeUnknown)",
        ),
        (
            "an id is known: the CA is asked about it, and nothing is searched",
            with(lost_order(), |seen| {
                seen.previous.order = Some(hint(1, OrderPhase::Pending, Some("id-1")))
            }),
            "Ordered",
        ),
    ]);
    // What the search found is folded in by `after`.
    let found = |evidence| {
        let found = Found { progress: at_ca(waiting()), evidence, created: None };
        lost_order().after(Outcome::Searched(Ok(Lookup::Found(vec![found])), Sought::default()))
    };
    let unnamed = |named| {
        with(progressed(waiting()), |seen| {
            seen.order.record = None;
            seen.order.progress = Some(Progress { named, ..at_ca(waiting()) });
        })
    };
    check([
        ("the CA has it under its name: the record is not read", unnamed(true), "Ordered"),
        ("the CA has it without its name: is its id written down?", unnamed(false), "ReadRecord"),
        (
            "the CA has it, and a person had to look at it: is the record mended?",
            with(unnamed(true), |seen| {
                seen.previous.wait = Some(Wait { on: WaitsFor::Order, needs_person: true });
            }),
            "ReadRecord",
        ),
        ("it is there, and for our key", found(KeyEvidence::Ours), "Ordered"),
        ("it is there, and nothing tells for which key", found(KeyEvidence::None), "Ordered"),
        ("it is there, for another key", found(KeyEvidence::Foreign), "Held(OrderForForeignKey)"),
    ]);
}

#[test]
fn an_order_whose_answer_was_lost_is_looked_for_while_nothing_new_is_allowed() {
    let suspended = |seen: Observation| {
        with(seen, |seen| {
            seen.allowed.suspended = true;
            seen.previous.wait = Some(Wait { on: WaitsFor::Permission, needs_person: false });
        })
    };
    let looks = |seen: &Observation| {
        let Step::Rest(rest) = decide(seen) else { panic!("a rest: {}", step(seen)) };
        assert!(matches!(rest, Rest::NotAllowed(_)), "{rest:?}");
        describe(seen, &[], &rest).requeue
    };
    let then = |pause: SignedDuration| Requeue::At(now() + pause);
    assert_eq!(step(&suspended(lost_order())), "Find", "it is not there so far");
    assert_eq!(looks(&suspended(settled())), then(SignedDuration::from_mins(10)), "nor by now");
    let early = with(suspended(settled()), |seen| {
        seen.order.stage = OrderStage::Untouched;
    });
    assert_eq!(looks(&early), then(SignedDuration::from_secs(225)), "the next look is not due");
    let mine = with(suspended(claimed()), |seen| {
        seen.order.claim.as_mut().expect("a claim").is_untouched = false;
        let mut again = record(1);
        again.mark.attempt = 2;
        put(seen, again);
    });
    let told = with(mine, |seen| {
        let hint = OrderStatus { attempt: 2, ..hint(1, OrderPhase::Submitting, None) };
        seen.previous.order = Some(hint);
    });
    assert_eq!(step(&told), "Find", "an earlier claim on it may have been used");
    let found = |phase| suspended(progressed(phase));
    assert_eq!(step(&found(waiting())), "Ordered", "it is followed");
    assert_eq!(step(&found(fine())), "Deliver(1)", "and delivered");
    let unsent = looks(&suspended(claimed()));
    assert_eq!(unsent, Requeue::AwaitChange, "what was never sent is nowhere");
    let by_request = with(settled(), |seen| seen.request.suspended = true);
    let Step::Rest(rest) = decide(&by_request) else { panic!("a rest") };
    assert!(matches!(rest, Rest::Suspended(_)), "{rest:?}");
    let requeue = describe(&by_request, &[], &rest).requeue;
    assert_eq!(requeue, then(SignedDuration::from_mins(10)), "a request is suspended likewise");
}

#[test]
fn what_was_learned_under_one_claim_is_forgotten_with_the_next() {
    let lose = |change: fn(&mut Record)| {
        let mut record = record(1);
        change(&mut record);
        let read = RecordRead::Present(Box::new(record));
        let seen =
            settled().after(Outcome::RecordRead(RecordRead::Present(Box::new(self::record(1)))));
        seen.after(Outcome::RecordConflict).after(Outcome::RecordRead(read))
    };
    let again = with(lose(|_| ()), |seen| {
        seen.order.searched(Ok(Lookup::Absent { complete: true, doubt: None }));
    });
    check([
        ("a label was changed: the same order and the same claim", again, "Claim"),
        (
            "another process won the claim: its submit is looked for, for the whole window",
            lose(|record| {
                record.mark.attempt = 2;
                record.mark.claim = "process-2".to_owned();
            }),
            "Find",
        ),
    ]);
    let stale = with(progressed(failed_as(FailedKind::Failed)), |seen| {
        seen.order.record = None;
        *seen = seen.clone().after(Outcome::RecordRead(RecordRead::Present(Box::new(record(2)))));
    });
    check([(
        "the word on the order of the status says nothing of the one in the record",
        stale,
        "Find",
    )]);
}

#[test]
fn an_order_is_followed_to_its_end() {
    let second_ago = now() - SignedDuration::from_secs(1);
    let narrower = Names { dns_names: vec!["a.example.org".to_owned()], ..names() };
    check([
        ("pending", progressed(waiting()), "Ordered"),
        (
            "pending, and suspended",
            with(progressed(waiting()), |seen| seen.request.suspended = true),
            "Ordered",
        ),
        (
            "pending, and the names were edited",
            with(progressed(waiting()), |seen| seen.request.names.dns_names.truncate(1)),
            "Ordered",
        ),
        ("failed", progressed(failed_as(FailedKind::Failed)), r#"Mark(Failed, "")"#),
        ("rejected", progressed(failed_as(FailedKind::Rejected)), r#"Mark(Rejected, "")"#),
        ("revoked", progressed(failed_as(FailedKind::Revoked)), r#"Mark(Revoked, "")"#),
        (
            "forgotten by its id: looked for by its name",
            progressed(failed_as(FailedKind::Forgotten)),
            "Find",
        ),
        (
            "its name is another's at the CA: nothing but the end is known of ours",
            progressed(failed_as(FailedKind::Forgotten)).after(Outcome::Searched(
                Ok(Lookup::Found(vec![Found {
                    progress: at_ca(waiting()),
                    evidence: KeyEvidence::Foreign,
                    created: None,
                }])),
                Sought::default(),
            )),
            r#"Mark(Forgotten, "")"#,
        ),
        (
            "and by its name",
            with(progressed(failed_as(FailedKind::Forgotten)), |seen| {
                seen.order.searched(Ok(Lookup::Absent { complete: true, doubt: None }));
            }),
            r#"Mark(Forgotten, "")"#,
        ),
        ("issued", progressed(fine()), "Deliver(1)"),
        (
            "issued, and suspended",
            with(progressed(fine()), |seen| seen.request.suspended = true),
            "Deliver(1)",
        ),
        (
            "issued for another key",
            progressed(Phase::Issued(issued(&key(9), now()))),
            "Held(OrderForForeignKey)",
        ),
        (
            "issued without a name",
            progressed(leaf_for(&narrower, now(), now() + days(30))),
            "Held(CertificateUnusable)",
        ),
        (
            "issued, and already over",
            progressed(leaf_for(&names(), now() - days(2), second_ago)),
            "Held(CertificateUnusable)",
        ),
        (
            "issued for tomorrow",
            progressed(leaf_for(&names(), now() + days(1), now() + days(2))),
            "Failed(CertificateNotYetValid)",
        ),
        (
            "issued below a root that nobody pinned",
            with(
                progressed(Phase::Issued(vec![pki().stranger.leaf(
                    &key(1),
                    &names(),
                    now(),
                    now() + days(30),
                )])),
                |seen| seen.served = Some(Vec::new()),
            ),
            "Failed(ChainNotTrusted)",
        ),
        (
            "issued, and the key was cut from the record",
            with(progressed(fine()), |seen| {
                let mut record = record(1);
                record.next.private = None;
                put(seen, record);
            }),
            "Held(OrderRecordEdited)",
        ),
    ]);
}

#[test]
fn a_delivered_certificate_gives_way_to_a_better_one_only() {
    // Twenty-one days after its delivery, the renewal is due and its order comes in.
    let renewal = |phase: Phase| {
        with(kept(), |seen| {
            seen.now = now() + days(21);
            seen.account = Some(paid());
            seen.target = Some(Read::Present(delivered_target()));
            seen.order.incarnation = ME.to_owned();
            put(seen, record(1));
            seen.previous.order = Some(hint(1, OrderPhase::Pending, Some("id-1")));
            seen.previous.orders = 1;
            seen.order.progress = Some(at_ca(phase));
        })
    };
    let until = |day| leaf_for(&names(), now() + days(20), now() + days(day));
    let early = |seen: &mut Observation| seen.now = now() + days(10);
    let for_another_kind = |seen: &mut Observation| {
        let mut record = record(1);
        record.next.order.intent.insert("privateKey".to_owned(), "RSA 2048".into());
        put(seen, record);
    };
    let from_ten = |day| leaf_for(&names(), now() + days(9), now() + days(day));
    check([
        ("it ends later: delivered", renewal(until(51)), "Deliver(1)"),
        (
            "it ends no later: a person looks at that",
            renewal(until(30)),
            "Held(CertificateUnusable)",
        ),
        (
            "it ends earlier, and nothing new is wanted any more",
            with(renewal(from_ten(20)), early),
            r#"Mark(Superseded, "")"#,
        ),
        (
            "it is for another kind of key, and that edit was taken back",
            with(with(renewal(from_ten(50)), early), for_another_kind),
            r#"Mark(Superseded, "")"#,
        ),
        (
            "it lacks a name that was added meanwhile",
            with(renewal(until(51)), |seen| {
                seen.request.names.dns_names.push("new.example.org".to_owned())
            }),
            r#"Mark(Superseded, "")"#,
        ),
        (
            "it lacks that name, and there is nothing valid",
            with(renewal(until(51)), |seen| {
                seen.request.names.dns_names.push("new.example.org".to_owned());
                seen.target = Some(Read::Absent);
            }),
            "Deliver(1)",
        ),
    ]);
}

#[test]
fn what_came_to_nothing_is_no_reason_to_buy_again() {
    let released = |seen: &mut Observation| seen.request.release = Some(reference_of(1));
    let names_edited = |seen: &mut Observation| seen.request.names.dns_names.truncate(1);
    for (state, reason) in [
        (OrderState::Failed, "Held(OrderFailed)"),
        (OrderState::Rejected, "Held(OrderRejected)"),
        (OrderState::Revoked, "Held(OrderRevoked)"),
        (OrderState::Forgotten, "Held(OrderForgotten)"),
    ] {
        check([
            ("held", ended(state), reason),
            ("asked for once more", with(ended(state), new_nonce), "Prepare"),
            ("something else is wanted", with(ended(state), names_edited), "Prepare"),
            ("given up", with(ended(state), released), "Prepare"),
            (
                "given up, and suspended",
                with(with(ended(state), released), |seen| seen.request.suspended = true),
                "Suspended(NeverIssued)",
            ),
            (
                "another order was given up",
                with(ended(state), |seen| seen.request.release = Some(reference_of(7))),
                reason,
            ),
        ]);
    }
    let with_nonce = |seen: &mut Observation| {
        let mut record = record(1);
        record.mark.state = OrderState::Failed;
        record.next.order.intent.insert("renew".to_owned(), "1".into());
        put(seen, record);
    };
    check([
        (
            "the nonce that it was made for is taken away: that asks for nothing",
            with(ended(OrderState::Failed), with_nonce),
            "Held(OrderFailed)",
        ),
        ("what was refused is made again under its name", ended(OrderState::Refused), "Claim"),
        (
            "what was refused is not what is wanted now",
            with(ended(OrderState::Refused), new_nonce),
            "Prepare",
        ),
        ("what is of no use any more makes room", ended(OrderState::Superseded), "Prepare"),
        (
            "the certificate that is there is the one that is wanted",
            with(kept(), |seen| {
                seen.account = Some(paid());
                let mut record = record(1);
                record.mark.state = OrderState::Failed;
                put(seen, record);
                seen.previous.order = Some(hint(1, OrderPhase::Failed, Some("id-1")));
                seen.previous.orders = 1;
            }),
            "Kept",
        ),
    ]);
}

#[test]
fn a_record_that_is_not_as_it_was_holds_the_order() {
    let read = |read: RecordRead| with(lost_order(), |seen| seen.order.record = Some(read));
    let released = |mut seen: Observation| {
        seen.request.release = Some(reference_of(1));
        seen
    };
    let version = || ("record-uid".to_owned(), "7".to_owned());
    let damaged = || RecordRead::Damaged(version(), "its data were changed".to_owned());
    let older = || {
        with(lost_order(), |seen| {
            seen.previous.order = Some(hint(2, OrderPhase::Pending, Some("id-2")));
            seen.previous.orders = 2;
        })
    };
    let nothing_open = |seen: &mut Observation| {
        seen.previous.order = None;
        seen.order.record = Some(RecordRead::Absent);
    };
    check([
        ("gone", read(RecordRead::Absent), "Held(OrderRecordLost)"),
        ("gone, and the order is given up", released(read(RecordRead::Absent)), "Prepare"),
        ("gone, after the order was refused", with(lost_order(), nothing_open), "Prepare"),
        (
            "gone, with the target: what was bought is not bought again",
            with(with(lost_order(), nothing_open), |seen| {
                seen.previous.certificate = kept().previous.certificate;
            }),
            "Held(OrderRecordLost)",
        ),
        (
            "gone, and the target was set back to before it: likewise",
            with(kept(), |seen| {
                seen.previous.orders = 2;
                new_nonce(seen);
                let mut target = delivered_target();
                let order = (annotation::ORDER_REFERENCE.to_owned(), reference_of(1));
                target.metadata.annotations.extend([order]);
                seen.target = Some(Read::Present(target));
                seen.account = Some(paid());
                seen.order.record = Some(RecordRead::Absent);
            }),
            "Held(OrderRecordLost)",
        ),
        (
            "unreadable is not absent",
            read(RecordRead::Unreadable("403".to_owned())),
            "RecordUnreadable(\"403\")",
        ),
        ("somebody else's", read(RecordRead::Foreign(version())), "Held(OrderRecordForeign)"),
        ("a newer version's", read(RecordRead::Newer(version())), "Held(OrderRecordNewer)"),
        (
            "a newer version's is not given up",
            released(read(RecordRead::Newer(version()))),
            "Held(OrderRecordNewer)",
        ),
        ("edited", read(damaged()), "Held(OrderRecordEdited)"),
        ("edited, and given up", released(read(damaged())), "Prepare"),
        ("an older one was put back", older(), "Held(OrderRecordLost)"),
        (
            "an older one was put back, and the order it lacks is given up",
            with(older(), |seen| seen.request.release = Some(reference_of(2))),
            "Prepare",
        ),
        (
            "an older one was put back, and its own order is given up: that is another",
            released(older()),
            "Held(OrderRecordLost)",
        ),
    ]);
}

/// What nobody can make sense of by now does not keep what was paid for from being followed.
#[test]
fn an_open_order_is_followed_whatever_product_is_named_by_now() {
    let named = with(progressed(fine()), |seen| {
        let block = serde_json::json!({"product": {"name": "None"}});
        seen.request.blocks = Blocks::default().with("houseCa", block);
        seen.previous.last_attempt = Some(seen.attempt());
    });
    assert!(matches!(decide(&named), Step::Resolve(_)), "{:?}", decide(&named));
    let mut products = Products::default();
    products.note(&named.wanted().block(), None);
    products.note(&serde_json::Value::Null, None);
    let step = decide(&named.after(Outcome::Resolved(products)));
    assert!(matches!(step, Step::Deliver(_)), "{step:?}");
}

#[test]
fn a_renewal_is_not_paid_for_that_could_not_be_delivered() {
    let renewal = |change: fn(&mut Observation)| {
        with(kept(), |seen| {
            seen.target = Some(Read::Present(delivered_target()));
            seen.account = Some(paid());
            seen.order.record = Some(RecordRead::Absent);
            seen.now = seen.previous.certificate.as_ref().expect("one").not_after.0 - days(1);
            change(seen);
        })
    };
    let another_root = |seen: &mut Observation| {
        seen.account.as_mut().expect("one").anchors = vec![pki().stranger.certificate()];
    };
    check([
        ("its root is trusted", renewal(|_| ()), "Prepare"),
        ("it is not", renewal(another_root), "Failed(ChainNotTrusted)"),
        (
            "and somebody asks for it all the same",
            with(renewal(another_root), |seen| {
                seen.now = now();
                new_nonce(seen);
            }),
            "Prepare",
        ),
    ]);
}

#[test]
fn an_order_is_followed_at_another_address_once_that_has_shown_one_of_ours() {
    let moved = |seen: &mut Observation| {
        seen.account.as_mut().expect("an account").name =
            "https://new.example/ as house".to_owned();
        seen.order.proven = false;
    };
    let found = |evidence| {
        let found = Found { progress: at_ca(waiting()), evidence, created: None };
        with(with(lost_order(), moved), |seen| seen.order.searched(Ok(Lookup::Found(vec![found]))))
    };
    check([
        ("is it there?", with(lost_order(), moved), "Find"),
        (
            "the status alone tells of it: what is stored counts",
            with(with(lost_order(), moved), |seen| seen.order.record = None),
            "ReadRecord",
        ),
        ("it is", found(KeyEvidence::Ours), "Ordered"),
        (
            "for another's key it is another's",
            found(KeyEvidence::Foreign),
            "Held(OrderAccountSwitched)",
        ),
        (
            "it is not, however often it is looked for: it is not made again",
            with(settled(), moved),
            "Held(OrderAccountSwitched)",
        ),
        (
            "another order of ours was found there: it is the same CA",
            with(settled(), |seen| {
                moved(seen);
                seen.order.proven = true;
            }),
            "Claim",
        ),
        (
            "nothing was sent under the first claim: it is made anew",
            with(claimed(), moved),
            "Prepare",
        ),
    ]);
}

#[test]
fn an_order_belongs_to_the_account_it_was_made_at() {
    let switched = |seen: &mut Observation| {
        seen.account.as_mut().expect("an account").name = "https://other.example/".to_owned();
        seen.issuer = IssuerState::Ready {
            version: "8".to_owned(),
            account: Some("https://other.example/".to_owned()),
            anchors: None,
        };
    };
    check([
        ("open, at another account", with(lost_order(), switched), "Held(OrderAccountSwitched)"),
        (
            "the status alone tells",
            with(with(lost_order(), switched), |seen| seen.order.record = None),
            "Held(OrderAccountSwitched)",
        ),
        (
            "the order was prepared for the account that is open, which the status does not know yet",
            with(fresh_order(), |seen| {
                seen.account.as_mut().expect("an account").name =
                    "https://other.example/".to_owned();
                let mut record = record(1);
                record.next.order = StoredOrder::new(NewOrder {
                    uid: &seen.request.uid,
                    number: 1,
                    account: "https://other.example/",
                    since: now(),
                    csr_der: key(1).spki_der(),
                    names: &names(),
                    intent: seen.wanted(),
                    parameters: serde_json::Value::Null,
                    kind: &OrderKind::New,
                });
                seen.order.claim = Some(UnusedClaim {
                    reference: reference_of(1),
                    is_old: false,
                    is_untouched: true,
                });
                put(seen, record);
            }),
            "Announce",
        ),
        (
            "it is given up there",
            with(with(lost_order(), switched), |seen| seen.request.release = Some(reference_of(1))),
            "Prepare",
        ),
        (
            "what has ended there is asked for here",
            with(ended(OrderState::Failed), switched),
            "Prepare",
        ),
        (
            "the issuer is not ready: nothing is decided",
            with(lost_order(), |seen| seen.issuer = IssuerState::NotReady("no answer".to_owned())),
            "IssuerNotReady(\"no answer\")",
        ),
        (
            "the issuer is left to another installation: the order stays as it is",
            with(lost_order(), |seen| seen.issuer = IssuerState::NotServed),
            "IssuerMissing",
        ),
    ]);
}

#[test]
fn the_order_before_is_delivered_again_while_the_next_is_under_way() {
    let two = |answer: Option<Result<Lookup, Trouble>>| {
        with(lost_order(), |seen| {
            let mut record = record(2);
            record.issued = Some(slot(1));
            put(seen, record);
            seen.previous = kept().previous;
            seen.previous.order = Some(hint(2, OrderPhase::Pending, Some("id-2")));
            seen.previous.orders = 2;
            // Who keeps deleting it is not followed at full speed.
            seen.now = now() + SignedDuration::from_secs(60);
            seen.order.before = answer;
        })
    };
    let found = |phase| {
        Some(Ok(Lookup::Found(vec![Found {
            progress: at_ca(phase),
            evidence: KeyEvidence::Ours,
            created: None,
        }])))
    };
    check([
        (
            "the target is gone: does the CA have the certificate of before?",
            two(None),
            "FindBefore",
        ),
        (
            "the search failed: the next attempt comes",
            two(Some(Err(trouble(Disposition::Retry { after: None })))),
            "Failed(NoAnswer)",
        ),
        ("it has", two(found(fine())), "Deliver(1)"),
        ("it has revoked it", two(found(failed_as(FailedKind::Revoked))), "Ordered"),
        ("it is over", two(found(leaf_for(&names(), now() - days(9), now() - days(1)))), "Ordered"),
        ("it has not", two(Some(Ok(Lookup::Absent { complete: true, doubt: None }))), "Ordered"),
    ]);
}

#[test]
fn the_oldest_order_for_our_key_is_followed() {
    let one = |id: &str, evidence, created: Option<i64>| Found {
        progress: Progress { id: Some(id.to_owned()), named: true, phase: waiting() },
        evidence,
        created: created.map(|day| now() + days(day)),
    };
    use KeyEvidence::{Foreign, None as Untold, Ours};
    let rows = [
        ("none", vec![], None),
        ("one of ours", vec![one("a", Ours, Some(1))], Some("a")),
        ("the older of two", vec![one("a", Ours, Some(2)), one("b", Ours, Some(1))], Some("b")),
        (
            "one without a time comes last",
            vec![one("a", Ours, None), one("b", Ours, Some(9))],
            Some("b"),
        ),
        (
            "ours beats an older one that does not tell",
            vec![one("a", Untold, Some(1)), one("b", Ours, Some(2))],
            Some("b"),
        ),
        (
            "one that does not tell is followed",
            vec![one("a", Foreign, Some(1)), one("b", Untold, Some(2))],
            Some("b"),
        ),
        ("another key's never is", vec![one("a", Foreign, Some(1))], None),
    ];
    for (name, found, expected) in rows {
        assert_eq!(adopt(&found).and_then(|one| one.progress.id.as_deref()), expected, "{name}");
    }
}

#[test]
fn looks_become_rarer_and_never_stop() {
    let seconds = SignedDuration::from_secs;
    let rows = [
        ("at first every two seconds", 0, 2),
        ("then after half of what has passed", 60, 30),
        ("at most a quarter of the window apart", 800, 225),
        ("at the end of the window too", 900, 225),
        ("and after half of what has passed again", 902, 451),
        ("and every ten minutes, for ever", 90_000, 600),
    ];
    for (name, elapsed, expected) in rows {
        let sought = Sought { elapsed: Some(seconds(elapsed)), ..Sought::default() };
        assert_eq!(sought.wait(WINDOW), Some(seconds(expected)), "{name}");
        let due = Sought { since_last: seconds(expected), ..sought };
        assert_eq!(due.wait(WINDOW), None, "{name}: it is due then");
    }
    assert_eq!(Sought::default().wait(WINDOW), None, "the first look is due at once");
    // From the first look on, each when it is due: the answers count at least a quarter apart.
    let (mut elapsed, mut counted, mut absent) = (seconds(0), None, 0);
    while absent < ABSENT_ENOUGH || elapsed < WINDOW {
        if counted.is_none_or(|at| elapsed - at >= WINDOW / 4) {
            counted = Some(elapsed);
            absent += 1;
        }
        elapsed += Sought { elapsed: Some(elapsed), ..Sought::default() }.pause(WINDOW);
    }
    assert!(elapsed <= WINDOW + WINDOW / 4, "an absent order is settled soon after: {elapsed}");
}

#[test]
fn an_order_is_asked_about_while_the_answer_is_of_use() {
    let at_the_ca = || with(progressed(waiting()), |seen| seen.order.record = None);
    let ask = |since| {
        let (reference, id) = (reference_of(1), "id-1".to_owned());
        Some(Following::Ask {
            open: OpenOrder { reference, id, since, replaces: None },
            account: paid().name,
        })
    };
    let nothing = || Some(Following::Nothing { reference: reference_of(1) });
    let as_before = || Some(Following::AsBefore);
    let until = now() + days(1);
    let failed = Rest::Failed(Trouble {
        disposition: Disposition::Internal,
        reason: Reason::NoAnswer,
        message: String::new(),
        counts: true,
    });
    let stored = now() - days(1);
    let rows = [
        ("it is at the CA", progressed(waiting()), Rest::Ordered, ask(stored)),
        ("by the status alone, since nobody knows when", at_the_ca(), Rest::Ordered, ask(now())),
        ("what cannot be delivered now", progressed(fine()), failed, ask(stored)),
        (
            "or is waited with",
            progressed(fine()),
            Rest::BackingOff { until, reissue: None },
            ask(stored),
        ),
        (
            "a chain may verify later",
            progressed(fine()),
            Rest::Held(Hold::Unusable(String::new())),
            ask(stored),
        ),
        (
            "a certificate that nobody may put into the Secret yet",
            progressed(fine()),
            Rest::SecretNotOurs(String::new()),
            ask(stored),
        ),
        ("no issuer, no news", progressed(waiting()), Rest::IssuerMissing, as_before()),
        (
            "an issuer that is not ready stays asked",
            progressed(waiting()),
            Rest::IssuerNotReady(String::new()),
            as_before(),
        ),
        ("a run that was given up", progressed(waiting()), Rest::Abandoned, as_before()),
        ("a request that goes", progressed(waiting()), Rest::Deleted, as_before()),
        ("it was delivered", progressed(fine()), Rest::Kept, nothing()),
        (
            "it has ended",
            progressed(waiting()),
            Rest::Held(Hold::Ended(OrderState::Failed, String::new())),
            nothing(),
        ),
        (
            "without an id there is nothing to ask for",
            lost_order(),
            Rest::LookedFor { until, why: None },
            nothing(),
        ),
        ("nothing was ordered", fresh_order(), Rest::Kept, None),
    ];
    for (name, seen, rest, expected) in rows {
        assert_eq!(super::following::following(&seen, &rest), expected, "{name}");
    }
}

#[test]
fn a_status_that_names_the_order_of_another_is_not_believed() {
    let hinted = |reference: &str, recorded: Option<&str>| {
        with(progressed(waiting()), |seen| {
            seen.order.record = None;
            seen.order.progress = None;
            seen.order.recorded = recorded.map(str::to_owned);
            let hint = seen.previous.order.as_mut().expect("an order");
            (hint.reference, hint.id) = (reference.to_owned(), Some("id-1".to_owned()));
        })
    };
    let own = reference_of(1);
    let rows = [
        ("its own", own.as_str(), None, true),
        ("that of another", "chancery-another-1", None, false),
        ("that of another, and its own is stored", "chancery-another-1", Some(&*own), false),
        ("the one of its record", "chancery-before-1", Some("chancery-before-1"), true),
        ("no reference at all", "", None, false),
        ("its own with something behind it", &format!("{own}x"), None, false),
    ];
    for (name, reference, recorded, is_believed) in rows {
        let seen = hinted(reference, recorded);
        let asked = super::following::following(&seen, &Rest::Ordered);
        assert_eq!(asked.is_some(), is_believed, "{name}: {asked:?}");
        assert_eq!(seen.order_id().is_some(), is_believed, "{name}");
        let is_read = matches!(decide(&seen), Step::ReadRecord);
        assert_eq!(is_read, !is_believed, "{name}: {:?}", decide(&seen));
    }
}

#[test]
fn numbers_of_a_status_make_no_run_fail() {
    for number in [i64::MIN, -1, i64::MAX] {
        let status = CertificateRequestStatus {
            orders: Some(number),
            revision: Some(number),
            failed_attempts: Some(i32::MIN),
            ..CertificateRequestStatus::default()
        };
        let previous = crate::issuance::Previous::from(&status);
        let expected = number.max(0);
        assert_eq!((previous.orders, previous.revision), (expected, expected));
        assert_eq!(previous.failed_attempts, 0);
        let seen = with(fresh_order(), |seen| {
            seen.previous = previous.clone();
            seen.order.record = Some(RecordRead::Absent);
            seen.order.prepared = Some(made_ready());
        });
        assert_eq!(step(&seen), format!("WriteRecord({})", expected.saturating_add(1)));
        let _ = describe(&seen, &[], &Rest::Ordered);
    }
}

fn with_old_claim() -> Observation {
    with(claimed(), |seen| seen.order.claim.as_mut().expect("a claim").is_old = true)
}

#[test]
fn a_claim_that_has_become_old_is_won_again_first() {
    check([
        ("a new one is announced", claimed(), "Announce"),
        ("an old one is not", with_old_claim(), "Claim"),
    ]);
}

#[cfg(feature = "mutants")]
#[test]
fn a_mutant_takes_an_old_claim_for_a_new_one() {
    use crate::mutant::{Mutant, set};
    assert!(matches!(crate::issuance::decide(&with_old_claim()), Step::Claim));
    set(Some(Mutant::ClaimAge));
    let step = crate::issuance::decide(&with_old_claim());
    set(None);
    assert!(matches!(step, Step::Announce), "{step:?}");
}

#[test]
fn an_order_may_be_at_the_ca_unless_its_first_claim_is_unused() {
    let again = |seen: Observation| {
        with(seen, |seen| {
            if let Some(RecordRead::Present(record)) = &mut seen.order.record {
                record.mark.attempt = 2;
            }
        })
    };
    let rows = [
        ("claimed just now", claimed(), false),
        ("and told of", announced(claimed()), false),
        ("claimed again after it was lost", again(claimed()), true),
        ("claimed by another", lost_order(), true),
    ];
    for (name, seen, expected) in rows {
        let record = seen.record().expect("a record");
        assert_eq!(seen.may_exist(record), expected, "{name}");
    }
}

// --- the record ---

/// The Secret as the shell writes it.
fn raw(draft: &OrderDraft, mark: &Mark) -> RawRecord {
    let text = |(key, value): (&str, Option<String>)| Some((key.to_owned(), value?));
    let digest = (annotation::ORDER_DIGEST, Some(draft.digest()));
    RawRecord {
        uid: "uid".to_owned(),
        resource_version: "1".to_owned(),
        labels: BTreeMap::from([(annotation::ORDER_LABEL.to_owned(), "true".to_owned())]),
        annotations: mark.annotations().into_iter().chain([digest]).filter_map(text).collect(),
        data: draft
            .data()
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.expose_secret().to_vec()))
            .collect(),
    }
}

fn stored() -> RawRecord {
    let draft = OrderDraft { base: None, next: slot(2), displaced: Some(slot(1)), made: vec![] };
    let mark = Mark {
        attempt: 3,
        claim: ME.to_owned(),
        state: OrderState::Failed,
        id: Some("id".to_owned()),
        made: vec![now(), now() + days(1)],
    };
    raw(&draft, &mark)
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    let RecordRead::Present(record) = RecordRead::parse(&stored()) else { panic!("a record") };
    assert_eq!(record.next.order, slot(2).order);
    assert_eq!(record.next.order.csr_der(), key(2).spki_der());
    assert_eq!(record.next.key().expect("a key").spki_der(), key(2).spki_der());
    let before = record.issued.expect("the order before");
    assert_eq!(
        (before.order.clone(), before.key().expect("a key").spki_der()),
        (slot(1).order, key(1).spki_der())
    );
    assert_eq!((record.mark.attempt, record.mark.state), (3, OrderState::Failed));
    assert_eq!((record.mark.claim.as_str(), record.mark.id.as_deref()), (ME, Some("id")));
    assert_eq!(record.mark.made, [now(), now() + days(1)]);
    let debug = format!("{:?}", RecordRead::parse(&stored()));
    assert!(!debug.contains("PRIVATE KEY"), "a key in a log");
}

#[test]
fn a_record_keeps_what_its_order_follows() {
    let previous = Previous {
        id: Some("id-0".to_owned()),
        certificate: issued(&key(1), now()).remove(0),
        key: Some(key(1)),
    };
    let kinds = [OrderKind::Renew, OrderKind::Reissue, OrderKind::UpdateKey];
    for kind in kinds.map(|kind| kind(previous.clone().into())) {
        let draft = OrderDraft {
            base: None,
            next: following(2, kind.clone()),
            displaced: Some(following(1, kind.clone())),
            made: Vec::new(),
        };
        let mark = Mark { attempt: 1, claim: ME.to_owned(), ..Mark::default() };
        let mut raw = raw(&draft, &mark);
        let json: serde_json::Value = serde_json::from_slice(&raw.data["next.json"]).expect("JSON");
        assert_eq!(json["format"], 2, "an older version must not take it for a first order");
        assert_eq!(json["follows"]["serial"], previous.serial());
        let RecordRead::Present(record) = RecordRead::parse(&raw) else { panic!("a record") };
        let (read, before) = (record.next.kind, record.issued.expect("the one before").kind);
        assert_eq!((read.word(), before.word()), (kind.word(), kind.word()));
        let read = read.previous().expect("what it follows");
        assert_eq!((&read.id, &read.certificate), (&previous.id, &previous.certificate));
        assert_eq!(read.key.as_ref().expect("the old key").spki_der(), key(1).spki_der());
        let ended = before.previous().expect("what it followed");
        assert!(ended.key.is_none(), "one that has ended is not signed again");
        raw.data.insert("next.old-key".to_owned(), b"x".to_vec());
        assert!(matches!(RecordRead::parse(&raw), RecordRead::Damaged(..)), "{kind:?}");
    }
    // As the version before wrote them, which knew first orders only.
    let json: serde_json::Value =
        serde_json::from_slice(&stored().data["next.json"]).expect("JSON");
    assert_eq!((&json["format"], json.get("follows")), (&1.into(), None));
}

#[test]
fn a_record_that_was_cut_edited_or_is_not_ours_says_so() {
    type Change = fn(&mut RawRecord);
    let rows: [(&str, Change, &str); 15] = [
        ("no label", |raw| raw.labels.clear(), "Foreign"),
        (
            "a label that says no",
            |raw| drop(raw.labels.insert(annotation::ORDER_LABEL.to_owned(), "false".to_owned())),
            "Foreign",
        ),
        ("no order", |raw| drop(raw.data.remove("next.json")), "its key next.json is missing"),
        ("no key", |raw| drop(raw.data.remove("next.key")), "its data were changed"),
        (
            "not the order of before",
            |raw| drop(raw.data.remove("issued.json")),
            "its data were changed",
        ),
        (
            "one more thing",
            |raw| drop(raw.data.insert("x".to_owned(), vec![])),
            "its data were changed",
        ),
        (
            "an order that is no JSON",
            |raw| drop(raw.data.insert("next.json".to_owned(), b"{".to_vec())),
            "its key next.json cannot be read",
        ),
        (
            "a key that is none",
            |raw| drop(raw.data.insert("next.key".to_owned(), b"x".to_vec())),
            "its key next.key cannot be read",
        ),
        (
            "a newer format, whatever else is in it",
            |raw| {
                drop(
                    raw.data.insert("next.json".to_owned(), br#"{"format":3,"order":[]}"#.to_vec()),
                )
            },
            "Newer",
        ),
        (
            "no digest",
            |raw| drop(raw.annotations.remove(annotation::ORDER_DIGEST)),
            "its data were changed",
        ),
        (
            "no attempt",
            |raw| drop(raw.annotations.remove(annotation::ORDER_ATTEMPT)),
            "chancery.dev/order-attempt",
        ),
        (
            "no claim",
            |raw| drop(raw.annotations.remove(annotation::ORDER_CLAIM)),
            "chancery.dev/order-claim",
        ),
        (
            "no state",
            |raw| drop(raw.annotations.remove(annotation::ORDER_STATE)),
            "chancery.dev/order-state",
        ),
        (
            "a state that is none",
            |raw| {
                drop(raw.annotations.insert(annotation::ORDER_STATE.to_owned(), "fine".to_owned()))
            },
            "chancery.dev/order-state",
        ),
        (
            "a time that is none",
            |raw| {
                drop(raw.annotations.insert(annotation::ORDERS_MADE.to_owned(), "today".to_owned()))
            },
            "chancery.dev/orders-made",
        ),
    ];
    for (name, change, expected) in rows {
        let mut raw = stored();
        change(&mut raw);
        let read = format!("{:?}", RecordRead::parse(&raw));
        assert!(read.contains(expected), "{name}: {read}");
    }
    let mut older = stored();
    older.annotations.remove(annotation::ORDERS_MADE);
    let RecordRead::Present(older) = RecordRead::parse(&older) else { panic!("a record") };
    assert_eq!(older.mark.made, [], "from before orders were counted");
    let mut without_id = stored();
    without_id.annotations.remove(annotation::ORDER_ID);
    assert!(
        matches!(RecordRead::parse(&without_id), RecordRead::Present(_)),
        "an id is not needed"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(
        data in prop::collection::btree_map("next.json|next.key|issued.json|issued.key|x", prop::collection::vec(any::<u8>(), 0..64), 0..4),
        json in "\\{\"format\":[0-9]{1,12}(,\"[a-z]{1,9}\":[0-9\"\\[\\]]{0,6}){0,3}\\}",
    ) {
        let mut raw = RawRecord { data, ..stored() };
        let _ = RecordRead::parse(&raw);
        raw.data.insert("next.json".to_owned(), json.into_bytes());
        let _ = RecordRead::parse(&raw);
    }

    #[test]
    fn every_changed_byte_shows(at in any::<prop::sample::Index>(), place in 0_usize..4, flip in 1_u8..) {
        let mut raw = stored();
        let value = raw.data.values_mut().nth(place).expect("four keys");
        let at = at.index(value.len());
        value[at] ^= flip;
        let read = RecordRead::parse(&raw);
        prop_assert!(matches!(read, RecordRead::Damaged(..) | RecordRead::Newer(_)), "{read:?}");
    }
}

// --- what the status says ---

#[test]
fn a_hold_names_the_order_and_the_next_move() {
    let holds = [
        (Hold::ForeignKey { id: Some("id-9".to_owned()) }, "another cluster"),
        (Hold::Unusable("a name is missing".to_owned()), "a name is missing"),
        (Hold::RecordLost, "put it back from a backup"),
        (Hold::RecordEdited("it was cut".to_owned()), "it was cut"),
        (Hold::RecordNewer, "upgrade Chancery"),
        (Hold::RecordForeign, "delete it, or give the request another name"),
        (Hold::OutcomeUnknown("no answer".to_owned()), "look for it at the CA"),
        (
            Hold::AccountSwitched { ordered_at: "there".to_owned(), now: "here".to_owned() },
            "was made at there, and Issuer house now speaks for here",
        ),
        (
            Hold::Ended(OrderState::Failed, "quota used up".to_owned()),
            "came to nothing: quota used up",
        ),
        (Hold::Ended(OrderState::Rejected, String::new()), "was rejected by a person"),
        (Hold::Ended(OrderState::Revoked, String::new()), "was issued and then revoked"),
        (Hold::Ended(OrderState::Forgotten, String::new()), "is no longer known to the CA"),
    ];
    for (hold, words) in holds {
        let seen = progressed(waiting());
        let rest = Rest::Held(hold.clone());
        let told = describe(&seen, &[], &rest);
        let issuing =
            told.status.conditions.iter().find(|one| one.type_ == "Issuing").expect("Issuing");
        let message = &issuing.message;
        assert_eq!(issuing.reason, hold.reason().word());
        assert!(message.contains(words), "{hold:?}: {message}");
        let is_of_the_secret = matches!(hold, Hold::RecordForeign | Hold::RecordNewer);
        if is_of_the_secret {
            assert!(message.contains("Secret web.order"), "{message}");
        } else {
            let command = format!(
                "kubectl annotate certificaterequests.chancery.dev -n shop web --overwrite chancery.dev/release={}",
                reference_of(1)
            );
            assert!(message.contains(&reference_of(1)), "{hold:?}: {message}");
            assert!(message.ends_with(&command), "{hold:?}: {message}");
        }
        let text = serde_json::to_string(&told.status).expect("JSON");
        assert!(!text.contains("PRIVATE KEY"), "a key in the status");
        let is_stalled = told.status.conditions.iter().any(|one| one.type_ == "Stalled");
        assert!(is_stalled, "{hold:?} waits for a person");
        assert!(told.notices.iter().any(|notice| notice.warning), "{hold:?} is worth an Event");
        let looks_again = matches!(told.requeue, Requeue::At(_));
        assert_eq!(looks_again, hold.may_pass(), "{hold:?}");
        let again = describe(
            &Observation { previous: previous(&told.status), ..seen },
            &told.status.conditions,
            &rest,
        );
        assert_eq!(again.notices, [], "{hold:?} is told once");
    }
}

#[test]
fn an_order_is_shown_as_the_ca_tells() {
    let told = describe(&progressed(waiting()), &[], &Rest::Ordered);
    let order = told.status.order.expect("an order");
    assert_eq!((order.reference, order.id.as_deref()), (reference_of(1), Some("id-1")));
    assert_eq!((order.phase, order.attempt), (OrderPhase::Pending, 1));
    assert_eq!(order.account, paid().name);
    assert_eq!(order.state.as_deref(), Some("waiting_for_approval"));
    assert_eq!(order.waiting_for.as_deref(), Some("an approver at the CA"));
    let issuing =
        told.status.conditions.iter().find(|one| one.type_ == "Issuing").expect("Issuing");
    assert_eq!(issuing.reason, "AwaitingApproval");
    assert!(issuing.message.contains("the certificate manager has to approve it"));
    assert_eq!(told.status.orders, Some(1));

    let submitted = announced(claimed()).after(Outcome::Ordered(at_ca(waiting())));
    let told = describe(&submitted, &[], &Rest::Ordered).status.order.expect("an order");
    assert!(told.submitted_at.is_some(), "the time of the submit stays");
    let older = with(lost_order(), |seen| {
        seen.previous.order = Some(hint(2, OrderPhase::Pending, Some("id-2")));
        seen.previous.orders = 2;
    });
    let told = describe(&older, &[], &Rest::Held(Hold::RecordLost)).status.order.expect("an order");
    assert_eq!(told.reference, reference_of(2), "the one that is lost");
    assert_eq!(describe(&lost_order(), &[], &Rest::Kept).status.order, None, "nothing is open");
}

#[test]
fn an_order_that_was_announced_and_never_sent_is_open_no_more_while_nothing_may_be_sent() {
    let suspended = || Rest::Suspended(Reissue::NeverIssued);
    let not_allowed = || {
        let reason = Reason::NotAllowed;
        let message = "nothing of the kind".to_owned();
        Rest::NotAllowed(Refusal { reason, message, needs_person: true, look_again: None })
    };
    let limit = || Rest::Withheld(Withheld::Open { limit: 1, open: 1 });
    // Told of once, by the run that announced it.
    let base = || {
        with(claimed(), |seen| {
            let told = describe(&announced(claimed()), &[], &Rest::Submitting).status;
            *seen = Observation { previous: previous(&told), ..seen.clone() };
        })
    };
    let another = |seen: &mut Observation| {
        let mut another = record(1);
        another.mark.claim = "process-2".to_owned();
        put(seen, another);
    };
    let is_used = |seen: &mut Observation| seen.order.claim = None;
    let had_another = |seen: &mut Observation| {
        seen.order.claim.as_mut().expect("a claim").is_untouched = false;
    };
    let is_there = |seen: &mut Observation| seen.order.progress = Some(at_ca(waiting()));
    let is_unread = |seen: &mut Observation| seen.order.record = None;
    let rows: [(&str, Observation, Rest, bool); 9] = [
        ("it is suspended", base(), suspended(), false),
        ("it is not allowed", base(), not_allowed(), false),
        ("nor was its record read", with(base(), is_unread), not_allowed(), false),
        ("it goes on by itself", base(), limit(), true),
        ("its claim is used", with(base(), is_used), suspended(), true),
        ("an earlier claim may have been", with(base(), had_another), suspended(), true),
        ("another process claimed it", with(base(), another), suspended(), true),
        ("the CA has it", with(base(), is_there), suspended(), true),
        ("nobody holds it up", base(), Rest::Submitting, true),
    ];
    for (name, seen, rest, expected) in rows {
        let order = describe(&seen, &[], &rest).status.order;
        assert_eq!(is_open(order.as_ref()), expected, "{name}: {order:?}");
    }
    // It goes on where that is allowed again.
    let told = describe(&base(), &[], &suspended()).status;
    let seen = Observation { previous: previous(&told), ..base() };
    assert_eq!(step(&seen), "Find", "as any other that was told of");
    let order = describe(&seen, &[], &Rest::Submitting).status.order;
    assert!(is_open(order.as_ref()), "it is announced before it is sent");
}

#[test]
fn an_open_order_for_an_earlier_spec_says_so() {
    let told = |seen: &Observation| {
        let status = describe(seen, &[], &Rest::Ordered).status;
        let issuing = status.conditions.iter().find(|one| one.type_ == "Issuing").expect("Issuing");
        let is_earlier =
            issuing.message.contains("another order follows for what is asked for now");
        (is_earlier, status.order.and_then(|order| order.generation))
    };
    let same = progressed(waiting());
    assert_eq!(told(&same), (false, None), "nobody noted it");
    let submitted = announced(claimed()).after(Outcome::Ordered(at_ca(waiting())));
    assert_eq!(told(&submitted), (false, Some(3)));
    let labelled = with(submitted, |seen| seen.request.generation = 4);
    assert_eq!(told(&labelled), (false, Some(4)), "an edit that asks for nothing else");
    let edited = with(same.clone(), |seen| {
        seen.request.generation = 4;
        seen.request.names.dns_names.push("late.example.org".to_owned());
    });
    assert_eq!(told(&edited), (true, None));
    let renewed = with(same, |seen| seen.request.renew = Some("again".to_owned()));
    assert!(!told(&renewed).0, "no edit of the spec");

    // Without the record: it is read where the spec is another than the one it was made for.
    let pending = |generation: Option<i64>| {
        with(lost_order(), |seen| {
            seen.order.record = None;
            let hint = hint(1, OrderPhase::Pending, Some("id-1"));
            seen.previous.order = Some(OrderStatus { generation, ..hint });
        })
    };
    assert_eq!(step(&pending(Some(3))), "Ordered");
    assert_eq!(step(&pending(None)), "Ordered", "nobody noted it");
    assert_eq!(step(&pending(Some(2))), "ReadRecord");
    assert_eq!(told(&pending(Some(2))), (false, Some(2)));
}

#[test]
fn what_has_to_be_shown_for_a_domain_is_told_until_the_order_moves_on() {
    let proof = Proof::Dns {
        kind: "CNAME".to_owned(),
        name: "_x.shop.example.org".to_owned(),
        value: "y.ca.example".to_owned(),
    };
    let domain = "shop.example.org".to_owned();
    let Phase::Pending(waiting) = waiting() else { panic!("it waits") };
    let challenges = vec![Challenge { domain, proof, is_met: false }];
    let asked = Phase::Pending(Waiting { actor: Actor::Owner, challenges, ..waiting });
    let first = describe(&progressed(asked), &[], &Rest::Ordered).status;
    let order = first.order.as_ref().expect("an order");
    assert_eq!(order.challenges.len(), 1);
    let message = |status: &CertificateRequestStatus| {
        let issuing = status.conditions.iter().find(|one| one.type_ == "Issuing");
        issuing.expect("it is told").message.clone()
    };
    let set = "for shop.example.org, set the CNAME record _x.shop.example.org to y.ca.example";
    assert!(message(&first).contains(set), "{}", message(&first));
    // A process that begins, and has not asked yet, says it again.
    let again = with(lost_order(), |seen| {
        seen.order.record = None;
        seen.previous = previous(&first);
    });
    let told = describe(&again, &first.conditions, &Rest::Ordered);
    assert_eq!((told.status, told.notices), (first.clone(), vec![]));
    let later = with(progressed(self::waiting()), |seen| seen.previous = previous(&first));
    let later = describe(&later, &first.conditions, &Rest::Ordered).status;
    assert_eq!(later.order.as_ref().expect("an order").challenges, []);
    assert!(!message(&later).contains("CNAME"), "{}", message(&later));
}

#[test]
fn what_happens_to_each_order_is_no_event() {
    let events = |seen: &Observation, rest: &Rest| {
        let told = describe(seen, &[], rest);
        told.notices.into_iter().map(|notice| (notice.reason, notice.warning)).collect::<Vec<_>>()
    };
    let plain = Phase::Pending(Waiting {
        state: "in work".to_owned(),
        actor: Actor::Ca,
        message: String::new(),
        retry_after: None,
        challenges: Vec::new(),
    });
    assert_eq!(events(&claimed(), &Rest::Submitting), []);
    assert_eq!(events(&progressed(plain), &Rest::Ordered), []);
    assert_eq!(
        events(&progressed(waiting()), &Rest::Ordered),
        [(Reason::AwaitingApproval.into(), false)]
    );
    let looked_for = Rest::LookedFor { until: now(), why: None };
    assert_eq!(events(&lost_order(), &looked_for), [(Reason::OrderLookedFor.into(), true)]);
}

#[test]
fn what_came_of_an_issued_order_stands_while_the_ca_is_asked_again() {
    let unusable = Rest::Held(Hold::Unusable("a name is missing".to_owned()));
    let first: CertificateRequestStatus = describe(&progressed(fine()), &[], &unusable).status;
    let again = with(lost_order(), |seen| {
        seen.order.record = None;
        seen.previous = previous(&first);
    });
    let told = describe(&again, &first.conditions, &Rest::Ordered);
    assert_eq!(told.status, first);
    assert_eq!(told.notices, []);
}

/// The CA costs money, takes its time, can be searched.
fn at_ca_that_is(
    billable: bool,
    asynchronous: bool,
    searchable: bool,
    seen: Observation,
) -> Observation {
    with(seen, |seen| {
        let can = &mut seen.account.as_mut().expect("an account").capabilities;
        (can.billable, can.asynchronous, can.searchable) = (billable, asynchronous, searchable);
        seen.order.proven = false;
    })
}

#[test]
fn cost_time_and_search_are_three_things() {
    let free_at_once = |seen| at_ca_that_is(false, false, false, seen);
    let free_in_time = |seen| at_ca_that_is(false, true, false, seen);
    let paid_at_once = |seen| at_ca_that_is(true, false, false, seen);
    let sent = |progress| announced(claimed()).after(Outcome::Ordered(progress));
    let unnamed = |phase| Progress { named: false, ..at_ca(phase) };
    let nothing = Progress { id: None, named: false, phase: fine() };
    let after = |elapsed: i64, answer| {
        with(settled(), |seen| {
            seen.order.sought.elapsed = Some(SignedDuration::from_secs(elapsed));
            seen.order.searched(answer);
        })
    };
    let absent = |complete| Ok(Lookup::Absent { complete, doubt: None });
    let lost_record = || with(lost_order(), |seen| seen.order.record = Some(RecordRead::Absent));
    check([
        (
            "free and at once: no record, no claim",
            free_at_once(fresh_order()),
            "Submit(Generate(EcdsaP256), New)",
        ),
        ("free and in time: it is recorded first", free_in_time(fresh_order()), "Prepare"),
        ("its claim is announced like any other", free_in_time(claimed()), "Announce"),
        ("where it cannot be found, it is sent", free_in_time(announced(claimed())), "Order"),
        (
            "where it can, it is looked for",
            at_ca_that_is(false, true, true, announced(claimed())),
            "Find",
        ),
        (
            "the CA takes it: its id is all there is",
            free_in_time(sent(unnamed(waiting()))),
            r#"Mark(Open, "id-1")"#,
        ),
        ("it is issued in time", free_in_time(sent(unnamed(fine()))), "Deliver(1)"),
        (
            "its answer is lost: it is waited for, should it show",
            free_in_time(after(8, Ok(Lookup::Unsupported))),
            "LookedFor(in 4 s)",
        ),
        (
            "it did not: another is made, for two are no harm",
            free_in_time(after(900, Ok(Lookup::Unsupported))),
            "Claim",
        ),
        (
            "it is not there, which a CA that never found one proves to nobody",
            at_ca_that_is(false, true, true, after(900, absent(true))),
            "Claim",
        ),
        ("nobody can tell", at_ca_that_is(false, true, true, after(900, absent(false))), "Claim"),
        (
            "nobody can tell yet",
            at_ca_that_is(false, true, true, after(8, absent(false))),
            "LookedFor(in 4 s)",
        ),
        ("its record is lost: another is made", free_in_time(lost_record()), "Prepare"),
        ("paid and at once: it is recorded first", paid_at_once(fresh_order()), "Prepare"),
        ("it cannot be found before it is sent", paid_at_once(announced(claimed())), "Order"),
        ("it is issued with the answer, and has no id", paid_at_once(sent(nothing)), "Deliver(1)"),
        (
            "its answer is lost: nobody knows, and no second one is bought",
            paid_at_once(after(900, Ok(Lookup::Unsupported))),
            "Held(OrderOutcomeUnknown)",
        ),
        (
            "its record is lost: a person is asked",
            paid_at_once(lost_record()),
            "Held(OrderRecordLost)",
        ),
    ]);
}

#[test]
fn an_order_that_follows_another_is_never_made_twice() {
    let old = delivered_target().chain[0].clone();
    let renewal = || {
        let certificate = old.clone();
        let previous = Previous { id: Some("id-0".to_owned()), certificate, key: None };
        Record { next: following(1, OrderKind::Renew(previous.into())), ..record(1) }
    };
    let claimed = || {
        announced(with(fresh_order(), |seen| {
            *seen = seen.clone().after(Outcome::Claimed(Box::new(renewal())));
        }))
    };
    let lost = |elapsed: i64, answer| {
        with(settled(), |seen| {
            put(seen, renewal());
            seen.order.sought.elapsed = Some(SignedDuration::from_secs(elapsed));
            seen.order.searched(answer);
        })
    };
    let absent = || Ok(Lookup::Absent { complete: true, doubt: None });
    let searched = |answer| claimed().after(Outcome::Searched(answer, Sought::default()));
    let by_name = |is: bool, seen| at_ca_that_is(true, true, is, seen);
    let found = |progress| {
        let found = Found { progress, evidence: KeyEvidence::None, created: None };
        with(fresh_order(), |seen| put(seen, renewal()))
            .after(Outcome::Searched(Ok(Lookup::Found(vec![found])), Sought::default()))
    };
    check([
        ("before it is sent the one before is looked at", by_name(false, claimed()), "Find"),
        ("it is as it was: the renewal is sent", searched(Ok(Lookup::Unchanged)), "Order"),
        (
            "its answer is lost: by the id of the one before it can be looked for",
            by_name(
                false,
                with(lost(900, absent()), |seen| {
                    seen.order.sought = Sought::default();
                    seen.order.stage = OrderStage::Untouched;
                }),
            ),
            "Find",
        ),
        (
            "the old certificate is still there, which may be what was before",
            lost(8, Ok(Lookup::Unchanged)),
            "LookedFor(in 4 s)",
        ),
        (
            "it still is, at the end of the window: that proves nothing",
            lost(900, Ok(Lookup::Unchanged)),
            "Held(OrderOutcomeUnknown)",
        ),
        (
            "nothing is there at all, not even the one before",
            lost(900, absent()),
            "Held(OrderOutcomeUnknown)",
        ),
        (
            "nor is it made twice where it costs nothing: it may end the first",
            at_ca_that_is(false, true, false, lost(900, absent())),
            "Held(OrderOutcomeUnknown)",
        ),
        ("it is under way after all", found(at_ca(waiting())), "Ordered"),
        (
            "the one before is shown under the id of both: that is no end, and no reason for another",
            with(
                found(at_ca(Phase::Issued(vec![old.clone(), pki().issuing.certificate()]))),
                |seen| {
                    seen.now = now() + days(25);
                    seen.previous.certificate = kept().previous.certificate;
                    seen.target = Some(Read::Present(delivered_target()));
                },
            ),
            "Ordered",
        ),
        (
            "the status alone tells of it: whoever is asked has to know what it replaces",
            with(progressed(waiting()), |seen| {
                seen.account.as_mut().expect("an account").capabilities.kinds.renew = true;
                seen.order.progress = None;
                seen.order.record = None;
            }),
            "ReadRecord",
        ),
        ("it was issued after all", found(at_ca(fine())), "Deliver(1)"),
    ]);
}

#[test]
fn the_id_of_an_order_goes_into_the_target_where_the_next_one_goes_by_it() {
    let id_in = |seen: &Observation| {
        let Step::Deliver(delivery) = decide(seen) else { panic!("a delivery was expected") };
        let id = delivery.metadata.annotations.get(annotation::ORDER_ID).cloned();
        (id, delivery.removed_annotations)
    };
    let renews = |seen: &mut Observation| {
        seen.account.as_mut().expect("an account").capabilities.kinds.renew = true;
    };
    let issued = || progressed(fine());
    assert_eq!(id_in(&issued()), (None, vec![]), "nobody needs it");
    assert_eq!(id_in(&with(issued(), renews)), (Some("id-1".to_owned()), vec![]));
    let again = with(progressed(leaf_for(&names(), now(), now() + days(90))), |seen| {
        let mut target = delivered_target();
        target.metadata.annotations.insert(annotation::ORDER_ID.to_owned(), "id-0".to_owned());
        seen.cached = Some(cached(&target));
        seen.target = Some(Read::Present(target));
        seen.previous.certificate = kept().previous.certificate;
    });
    let gone = vec![annotation::ORDER_ID.to_owned()];
    assert_eq!(id_in(&again), (None, gone), "that of the order before is not that of this one");
}

#[test]
fn an_order_that_is_due_says_what_it_follows() {
    // The certificate nears its end, the target was read, and the account is open.
    let due = |change: &dyn Fn(&mut Observation)| {
        with(kept(), |seen| {
            let mut target = delivered_target();
            target.metadata.annotations.insert(annotation::ORDER_ID.to_owned(), "id-0".to_owned());
            seen.target = Some(Read::Present(target));
            seen.account = Some(account());
            seen.now = now() + days(25);
            change(seen);
        })
    };
    let can = |seen: &mut Observation| {
        let can = &mut seen.account.as_mut().expect("an account").capabilities;
        can.kinds = OrderKinds { renew: true, reissue: true, update_key: true };
    };
    let billable = |seen: &mut Observation| {
        let can = &mut seen.account.as_mut().expect("an account").capabilities;
        can.kinds = OrderKinds { renew: true, ..OrderKinds::default() };
        can.billable = true;
        let mut ended = record(1);
        ended.mark.state = OrderState::Superseded;
        ended.next.private = Some(key(0));
        put(seen, ended);
    };
    let kind = |seen: Observation| {
        let (Step::Submit(_, kind) | Step::Prepare(_, kind)) = decide(&seen) else {
            panic!("an order was expected")
        };
        kind
    };
    let update = kind(due(&can));
    let previous = update.previous().expect("what it follows");
    assert_eq!((update.word(), previous.id.as_deref()), ("updateKey", Some("id-0")));
    assert_eq!(previous.certificate, delivered_target().chain[0]);
    assert!(previous.key.is_some(), "the CA is asked with it");
    let renewal = kind(due(&billable));
    assert_eq!(renewal.word(), "renew");
    assert!(renewal.previous().expect("what it follows").key.is_none());
    // Whoever may write Secrets can put another's certificate there, with the id of its order.
    let foreign = |change: fn(&mut Record)| {
        kind(with(due(&billable), |seen| {
            let Some(RecordRead::Present(record)) = &mut seen.order.record else { panic!("one") };
            change(record);
        }))
    };
    assert_eq!(foreign(|record| record.next.private = Some(key(3))).word(), "new");
    let elsewhere = |record: &mut Record| {
        record.next.order.account = "https://other.example/".to_owned();
    };
    assert_eq!(foreign(elsewhere).word(), "new");
    type Change = fn(&mut Observation);
    let rows: [(&str, Change); 3] = [
        ("another tenant", |seen| {
            let other = "https://other.example/".to_owned();
            seen.account.as_mut().expect("an account").name = other;
        }),
        ("credentials of the request", |seen| {
            seen.request.credentials = Some("own".to_owned());
            seen.request.renew = Some("now".to_owned());
        }),
        ("nobody knows the tenant", |seen| {
            let Some(Read::Present(target)) = &mut seen.target else { panic!("a target") };
            target.metadata.annotations.remove(annotation::REQUESTED);
        }),
    ];
    for (name, change) in rows {
        let kind = kind(with(due(&can), change));
        assert_eq!(kind.word(), "new", "{name}");
    }
}

#[test]
fn what_a_reissue_came_to_is_delivered_whatever_is_asked_for_by_now() {
    // What is there is valid and fits, and what was issued ends no later: the CA may have ended the one
    // with the other.
    let delivered = delivered_target();
    let certificate = delivered.chain[0].clone();
    let (from, to) = (now(), certificate.not_after());
    let previous = Arc::new(Previous { id: Some("id-1".to_owned()), certificate, key: None });
    let come = |kind: OrderKind| {
        let issued = leaf_for(&names(), from, to);
        decide(&with(kept(), |seen| {
            seen.account = Some(paid());
            seen.target = Some(Read::Present(delivered_target()));
            let record = Record { next: following(1, kind), ..record(1) };
            put(seen, record);
            seen.previous.order = Some(hint(1, OrderPhase::Pending, Some("id-1")));
            seen.order.progress = Some(at_ca(issued));
        }))
    };
    let step = come(OrderKind::Renew(Arc::clone(&previous)));
    assert!(matches!(&step, Step::Mark(mark) if mark.state == OrderState::Superseded), "{step:?}");
    let step = come(OrderKind::Reissue(previous));
    assert!(matches!(step, Step::Deliver(_)), "{step:?}");
}

#[test]
fn what_the_ca_would_not_issue_again_is_in_hand_until_it_is_delivered() {
    let sent = |progress| announced(claimed()).after(Outcome::Ordered(progress));
    let at_once = |phase| sent(Progress { id: None, named: false, phase });
    let rows = [
        ("nothing was sent", claimed(), None),
        ("it was issued at once", at_once(fine()), Some(reference_of(1))),
        ("an id to ask by", sent(at_ca(fine())), None),
        ("nothing is issued yet", at_once(waiting()), None),
        ("it is delivered", with(at_once(fine()), |seen| seen.delivered = Some(Vec::new())), None),
    ];
    for (name, seen, expected) in rows {
        let in_hand = seen.in_hand().map(|(reference, _)| reference.to_owned());
        assert_eq!(in_hand, expected, "{name}");
    }
    // The next run finds it among what this process remembers.
    let again = with(lost_order(), |seen| {
        seen.order.record = None;
        seen.order.progress = Some(Progress { id: None, named: false, phase: fine() });
    });
    let read = |seen: Observation| {
        seen.after(Outcome::RecordRead(RecordRead::Present(Box::new(record(1)))))
    };
    check([
        ("its key is in the record", again.clone(), "ReadRecord"),
        ("both are there", read(again), "Deliver(1)"),
    ]);
}

// --- what the issuer allows ---

/// Observations from which something may be bought next, or not.
fn before_a_submit() -> Vec<Observation> {
    let first = fresh_order().after(Outcome::Prepared(made_ready()));
    let searched = with(announced(claimed()), |seen| {
        seen.order.searched(Ok(Lookup::Absent { complete: true, doubt: None }));
    });
    vec![
        fresh(),
        absent(),
        kept(),
        fresh_order(),
        first,
        claimed(),
        announced(claimed()),
        searched,
        lost_order(),
        settled(),
        progressed(waiting()),
        progressed(fine()),
        ended(OrderState::Refused),
        ended(OrderState::Failed),
        ended(OrderState::Superseded),
    ]
}

/// What an issuer of either kind may say, each with what says no more than that.
fn narrowed() -> Vec<(Allowed, Allowed)> {
    let says = |kind, allow: serde_json::Value| Allowed {
        kind,
        allow: Some(Arc::new(serde_json::from_value(allow).expect("an allow"))),
        labels: Some(BTreeMap::from([("team".to_owned(), "shop".to_owned())])),
        suspended: false,
    };
    let all = serde_json::json!({"namespaces": {}, "dnsNames": ["**"]});
    let one = serde_json::json!({"namespaces": {}, "dnsNames": ["x.example"]});
    let none = serde_json::json!({"namespaces": {}, "dnsNames": []});
    let team = |team: &str| serde_json::json!({"namespaces": {"matchLabels": {"team": team}}, "dnsNames": ["**"]});
    let silent = Allowed { kind: IssuerKind::ClusterIssuer, ..Allowed::default() };
    let cluster = |allow: &serde_json::Value| says(IssuerKind::ClusterIssuer, allow.clone());
    let own = |names: &[&str]| says(IssuerKind::Issuer, serde_json::json!({"dnsNames": names}));
    let unlabelled = Allowed { labels: None, ..cluster(&team("shop")) };
    let mut pairs = vec![
        (cluster(&all), cluster(&one)),
        (cluster(&all), cluster(&none)),
        (cluster(&all), cluster(&team("another"))),
        (cluster(&team("shop")), cluster(&team("another"))),
        (cluster(&team("shop")), unlabelled),
        (cluster(&all), silent),
        (Allowed::default(), own(&["x.example"])),
        (own(&["**"]), own(&[])),
    ];
    let wide: Vec<Allowed> = pairs.iter().map(|(wide, _)| wide.clone()).collect();
    pairs.extend(wide.into_iter().map(|wide| {
        let suspended = Allowed { suspended: true, ..wide.clone() };
        (wide, suspended)
    }));
    pairs
}

proptest! {
    #[test]
    fn an_issuer_that_allows_less_buys_nothing_that_it_would_not_have_bought(
        seen in prop::sample::select(before_a_submit()),
        (wide, narrow) in prop::sample::select(narrowed()),
        hours in prop_oneof![Just(0_i64), 0..24_i64 * 120],
        is_suspended: bool, is_renewed: bool, is_tried: bool,
    ) {
        let seen = with(seen, |seen| {
            seen.now += SignedDuration::from_hours(hours);
            seen.request.suspended = is_suspended;
            if is_renewed {
                new_nonce(seen);
            }
            if is_tried {
                seen.previous.wait = Some(Wait { on: WaitsFor::Permission, needs_person: true });
            }
        });
        let allowing = |allowed: &Allowed| with(seen.clone(), |seen| seen.allowed = allowed.clone());
        let [wide, narrow] = [allowing(&wide), allowing(&narrow)];
        let buys = |seen: &Observation| {
            let step = decide(seen);
            leads_to_submit(seen, &step).then(|| std::mem::discriminant(&step))
        };
        if let Some(step) = buys(&narrow) {
            prop_assert_eq!(buys(&wide), Some(step));
        }
        if narrow.allowed.suspended {
            prop_assert_eq!(buys(&narrow), None);
        }
    }
}

/// An entry of the log of purchases: event, number of the order, id, and whether it has a serial.
fn told(entry: Option<Entry>) -> String {
    let Some(entry) = entry else { return String::new() };
    let reference = entry.reference.as_deref().map(short).unwrap_or_default();
    let id = entry.id.unwrap_or_default();
    let serial = entry.serial.map(|_| " with a serial").unwrap_or_default();
    format!("{} {reference} {id}{serial}", entry.event.word())
}

#[test]
fn each_change_of_an_order_is_told_of_before_it_is_stored_and_not_after() {
    let narrower = Names { dns_names: vec!["a.example.org".to_owned()], ..names() };
    let unusable = || progressed(leaf_for(&narrower, now(), now() + days(30)));
    let unknown = || with(settled(), |seen| seen.order.proven = false);
    let said = |seen: Observation, reason: Reason| {
        with(seen, |seen| {
            seen.previous.said = Some((reason.word().to_owned(), String::new()));
        })
    };
    let released = || {
        let released = with(ended(OrderState::Rejected), |seen| {
            seen.request.release = Some(reference_of(1));
        });
        released.after(Outcome::Prepared(made_ready()))
    };
    let refused = announced(claimed()).after(not_ordered(Sent::Refused));
    let rows = [
        ("nothing was ordered", fresh_order(), ""),
        ("the claim is won", claimed(), ""),
        ("the CA works on it", progressed(waiting()), ""),
        ("it fits", progressed(fine()), "issued 1 id-1 with a serial"),
        ("a name is missing", unusable(), "unusable 1 id-1 with a serial"),
        ("the status says so already", said(unusable(), Reason::CertificateUnusable), ""),
        ("it was not found", unknown(), "unknown 1 "),
        ("the status says so already", said(unknown(), Reason::OrderOutcomeUnknown), ""),
        ("another key", progressed(Phase::Issued(issued(&key(9), now()))), ""),
        ("refused", refused, "refused 1 "),
        ("failed", progressed(failed_as(FailedKind::Failed)), "failed 1 id-1"),
        ("a person said no", progressed(failed_as(FailedKind::Rejected)), "rejected 1 id-1"),
        ("the record says so already", ended(OrderState::Rejected), ""),
        ("revoked", progressed(failed_as(FailedKind::Revoked)), "revoked 1 id-1"),
        ("a person gave it up", released(), "released 1 "),
        (
            "a new nonce, and nobody gave anything up",
            with(released(), |seen| {
                seen.request.release = None;
                new_nonce(seen);
            }),
            "",
        ),
    ];
    for (name, seen, expected) in rows {
        let step = decide(&seen);
        assert_eq!(told(purchases::before(&seen, &step)), expected, "{name}: {step:?}");
        let free = at_no_cost(seen);
        assert_eq!(purchases::before(&free, &step), None, "{name}, and it costs nothing");
    }
}

fn at_no_cost(seen: Observation) -> Observation {
    with(seen, |seen| {
        seen.account.as_mut().expect("an account").capabilities.billable = false;
    })
}

#[test]
fn an_order_is_told_of_when_the_ca_has_it_and_not_where_that_was_known() {
    let found = |evidence| {
        let found = Found { progress: at_ca(waiting()), evidence, created: None };
        Outcome::Searched(Ok(Lookup::Found(vec![found])), Sought::default())
    };
    let sent = || announced(claimed());
    let absent = Lookup::Absent { complete: true, doubt: None };
    let nameless = with(lost_order(), |seen| {
        seen.previous.order = Some(hint(1, OrderPhase::Pending, None));
    });
    let rows = [
        ("taken", sent(), Outcome::Ordered(at_ca(waiting())), "submitted 1 id-1"),
        (
            "issued at once",
            sent(),
            Outcome::Ordered(at_ca(fine())),
            "submitted 1 id-1 with a serial",
        ),
        ("no answer", sent(), not_ordered(Sent::Unknown), "unknown 1 "),
        ("refused, which is told when it is stored", sent(), not_ordered(Sent::Refused), ""),
        ("found", lost_order(), found(KeyEvidence::Ours), "found 1 id-1"),
        ("found without a key", lost_order(), found(KeyEvidence::None), "found 1 id-1"),
        ("another's", lost_order(), found(KeyEvidence::Foreign), ""),
        ("its id was known", progressed(waiting()), found(KeyEvidence::Ours), ""),
        ("it has no id, and was known", nameless, found(KeyEvidence::Ours), ""),
        ("absent", lost_order(), Outcome::Searched(Ok(absent), Sought::default()), ""),
    ];
    for (name, seen, outcome, expected) in rows {
        assert_eq!(told(purchases::after(&seen, &outcome)), expected, "{name}");
        let free = at_no_cost(seen);
        assert_eq!(purchases::after(&free, &outcome), None, "{name}, and it costs nothing");
    }
}

#[test]
fn what_is_delivered_again_was_told_of_and_what_is_taken_over_has_no_order() {
    let seen = progressed(fine());
    let Step::Deliver(delivery) = decide(&seen) else { panic!("a delivery was expected") };
    let step = |change: fn(&mut Delivery)| {
        let mut delivery = delivery.clone();
        change(&mut delivery);
        Step::Deliver(delivery)
    };
    let serial = delivery.chain[0].serial_number();
    let issued = purchases::before(&seen, &step(|_| {})).expect("it is new");
    assert_eq!((issued.serial.as_deref(), issued.kind), (Some(serial), Some("new")));
    assert_eq!(issued.tenant, paid().name);
    let delivered = with(seen.clone(), |seen| {
        let mut certificate = kept().previous.certificate.expect("a certificate");
        certificate.serial_number = serial.to_owned();
        seen.previous.certificate = Some(certificate);
    });
    assert_eq!(purchases::before(&delivered, &step(|_| {})), None);
    assert_eq!(purchases::before(&seen, &step(|one| one.renewed = false)), None, "put in order");
    let adopted = purchases::before(&seen, &step(|one| one.adopted = true)).expect("told");
    assert_eq!((adopted.event, adopted.reference), (OrderEvent::Adopted, None));
    assert_eq!((adopted.id, adopted.serial.as_deref()), (None, Some(serial)));
}
