//! What the limits leave, as tables.

use proptest::prelude::*;

use super::made::{noted, read, written};
use super::*;
use crate::api::condition::{self, ISSUING, READY, STALLED};
use crate::api::{Wait, WaitsFor};
use crate::ca::Lookup;
use crate::issuance::decide::decide;
use crate::issuance::describe::{Requeue, describe};
use crate::issuance::fixtures::{absent, account, at, days, kept, key, names, now, opened, with};
use crate::issuance::observation::{Observation, Outcome};
use crate::issuance::order::record::{
    Mark, NewOrder, OrderState, Record, RecordRead, Slot, StoredOrder,
};
use crate::issuance::step::{Rest, Step};

fn day(text: &str) -> Date {
    text.parse().expect("a day")
}

fn stored(day: &str, reserved: u32) -> DayBudget {
    let by = "somebody".to_owned();
    DayBudget { day: day.to_owned(), reserved, by, ..DayBudget::default() }
}

fn known(text: &str, reserved: u32, unspent: u32) -> Reserved {
    Reserved { day: day(text), reserved, unspent }
}

#[test]
fn what_is_reserved_is_the_most_that_anybody_knows_of() {
    let today = "2026-06-01";
    let rows = [
        ("nothing is known", None, None, known(today, 0, 0)),
        ("the status", Some(stored(today, 7)), None, known(today, 7, 0)),
        ("yesterday is over", Some(stored("2026-05-31", 7)), None, known(today, 0, 0)),
        ("a block of yesterday too", None, Some(known("2026-05-31", 7, 3)), known(today, 0, 0)),
        (
            "the clock was set back a day: the day that has begun stays",
            Some(stored("2026-06-02", 7)),
            None,
            known("2026-06-02", 7, 0),
        ),
        (
            "and its block with it",
            Some(stored("2026-06-02", 7)),
            Some(known("2026-06-02", 7, 2)),
            known("2026-06-02", 7, 2),
        ),
        ("a cache that lags", Some(stored(today, 3)), Some(known(today, 5, 1)), known(today, 5, 1)),
        (
            "another process has reserved more",
            Some(stored(today, 9)),
            Some(known(today, 5, 1)),
            known(today, 9, 1),
        ),
        (
            "another process has begun the next day",
            Some(stored("2026-06-02", 1)),
            Some(known(today, 5, 1)),
            known("2026-06-02", 1, 0),
        ),
        ("a day that is none counts as today", Some(stored("soon", 7)), None, known(today, 7, 0)),
    ];
    for (name, status, memory, expected) in rows {
        assert_eq!(Reserved::known(day(today), status.as_ref(), memory), expected, "{name}");
    }
}

#[test]
fn a_cache_is_behind_where_this_process_knows_of_more() {
    let today = "2026-06-01";
    let rows = [
        ("it has heard of the block", known(today, 7, 2), Some(stored(today, 7)), false),
        ("it has not", known(today, 7, 2), Some(stored(today, 5)), true),
        ("nor of any", known(today, 7, 2), None, true),
        ("another has reserved more", known(today, 7, 2), Some(stored(today, 9)), false),
        ("today has begun", known(today, 1, 1), Some(stored("2026-05-31", 9)), true),
        ("this process knows of yesterday alone", known("2026-05-31", 9, 2), None, false),
        ("nothing was reserved", known(today, 0, 0), None, false),
    ];
    for (name, own, status, expected) in rows {
        assert_eq!(own.is_beyond(day(today), status.as_ref()), expected, "{name}");
    }
}

#[test]
fn a_submit_is_drawn_on_a_block() {
    let today = "2026-06-01";
    let reserve = |reserved, block| Draw::Reserve(known(today, reserved, block));
    let rows = [
        ("a tenth of the limit is reserved", 100, known(today, 0, 0), reserve(10, 10)),
        ("ten at most", 1000, known(today, 0, 0), reserve(10, 10)),
        ("five cost 0.2 requests an order", 50, known(today, 0, 0), reserve(5, 5)),
        ("also where a tenth is less", 20, known(today, 0, 0), reserve(5, 5)),
        ("but no more than a quarter", 12, known(today, 0, 0), reserve(3, 3)),
        ("at least one", 3, known(today, 0, 0), reserve(1, 1)),
        ("at most what is left", 100, known(today, 97, 0), reserve(100, 3)),
        ("a block is spent first", 100, known(today, 10, 2), Draw::FromBlock(known(today, 10, 1))),
        ("to its end", 100, known(today, 10, 1), Draw::FromBlock(known(today, 10, 0))),
        ("then the next is reserved", 100, known(today, 10, 0), reserve(20, 10)),
        ("nothing is left", 100, known(today, 100, 0), Draw::Spent(day(today))),
        ("but the block", 100, known(today, 100, 1), Draw::FromBlock(known(today, 100, 0))),
        ("a limit that was lowered binds at once", 5, known(today, 10, 0), Draw::Spent(day(today))),
        ("and what is left of a block too", 5, known(today, 10, 5), Draw::Spent(day(today))),
        ("not below what was used", 6, known(today, 10, 5), Draw::FromBlock(known(today, 10, 4))),
        (
            "a limit that was raised admits more, ten at a time",
            200,
            known(today, 100, 0),
            reserve(110, 10),
        ),
    ];
    for (name, limit, known, expected) in rows {
        assert_eq!(known.draw(limit, None), expected, "{name}");
    }
    for (per_namespace, block) in [(100, 10), (10, 5), (1, 1)] {
        let draw = known(today, 0, 0).draw(100, Some(per_namespace));
        assert_eq!(draw, reserve(block, block), "half of a namespace's {per_namespace} at most");
    }
}

proptest! {
    /// Processes that come and go, and die with what is left of their blocks, at a clock that jumps.
    #[test]
    fn no_more_is_drawn_than_the_limit_whoever_dies(
        limit in 1_u32..40,
        steps in prop::collection::vec((0_usize..3, 0_u8..10, -36_i64..37), 1..200),
    ) {
        let mut status: Option<DayBudget> = None;
        let mut memories = [None; 3];
        let mut spent = std::collections::BTreeMap::<Date, u32>::new();
        let mut hour = 0;
        for (process, what, jump) in steps {
            if what == 0 {
                memories[process] = None;
                continue;
            }
            if what == 1 {
                hour += jump;
            }
            let today = day_of(now() + SignedDuration::from_hours(hour));
            // What was reserved may be known to the store alone: an answer that was lost.
            let mut known = Reserved::known(today, status.as_ref(), memories[process]);
            if let Draw::Reserve(next) = known.draw(limit, None) {
                status = Some(next.stored("me"));
                if what == 2 {
                    continue;
                }
                known = next;
            }
            if let Draw::FromBlock(rest) = known.draw(limit, None) {
                memories[process] = Some(rest);
                *spent.entry(rest.day).or_default() += 1;
            }
        }
        for (day, spent) in spent {
            prop_assert!(spent <= limit, "{spent} of {limit} on {day}");
        }
    }
}

#[test]
fn the_next_day_begins_at_midnight_and_not_for_all_at_once() {
    let until = |uid: &str| spent(5, day("2026-12-31"), uid).until().expect("a time");
    let midnight = at("2027-01-01T00:00:00Z");
    let times: Vec<_> = ["a", "b", "c", "d"].map(until).into();
    assert!(
        times.iter().all(|at| *at >= midnight && *at < midnight + SignedDuration::from_mins(5))
    );
    assert!(times.iter().any(|at| *at != times[0]), "{times:?}");
    assert_eq!(until("a"), times[0], "the same each time");
}

#[test]
fn orders_for_one_request_are_counted_for_a_day() {
    let hours = |hours: &[i64]| -> Vec<Timestamp> {
        hours.iter().map(|ago| now() - SignedDuration::from_hours(*ago)).collect()
    };
    let minutes = SignedDuration::from_mins;
    let in_hours = |hours| Some(now() + SignedDuration::from_hours(hours));
    let rows = [
        ("none was made", 2, vec![], None),
        ("there is room", 2, hours(&[1]), None),
        ("there is none", 2, hours(&[1, 3]), in_hours(21)),
        ("whatever their order", 2, hours(&[3, 1]), in_hours(21)),
        ("one has left the window", 2, hours(&[1, 24]), None),
        (
            "a limit that was lowered waits for several to leave",
            2,
            hours(&[1, 2, 3, 4]),
            in_hours(22),
        ),
        ("no limit", 0, hours(&[1, 1, 1]), None),
        (
            "what is ahead of a clock that was set back counts",
            1,
            vec![now() + minutes(10)],
            Some(now() + minutes(24 * 60 + 10)),
        ),
    ];
    for (name, limit, made, expected) in rows {
        let withheld = churn(Some(limit).filter(|limit| *limit > 0), &made, now());
        assert_eq!(withheld.and_then(|withheld| withheld.until()), expected, "{name}");
    }
}

#[test]
fn a_clock_that_was_ahead_makes_nothing_forgotten() {
    let minutes = SignedDuration::from_mins;
    let made = noted(&[], now());
    // Ten minutes ahead, the first is out of the window, and is kept.
    let made = noted(&made, now() + days(1) + minutes(5));
    assert_eq!(made, [now(), now() + days(1) + minutes(5)]);
    // Set back, it counts again.
    let back = now() + days(1) - minutes(5);
    assert!(churn(Some(2), &made, back).is_some());
    let much_later = noted(&made, now() + days(3));
    assert_eq!(much_later, [now() + days(3)], "the annotation does not grow for ever");
    assert_eq!(read(&written(&made)), Some(made));
    assert_eq!(read("today"), None);
    assert_eq!(read(""), Some(vec![]));
}

#[test]
fn a_limit_that_is_not_given_has_its_default_where_orders_cost_money() {
    let spec = LimitsSpec {
        orders_per_day: Some(5),
        orders_per_namespace_per_day: Some(4),
        open_orders: Some(6),
        requests_per_second: Some(7),
        orders_per_request_per_day: Some(8),
    };
    let free = Limits { per_day: Some(5), per_namespace: Some(4), ..Limits::default() };
    let all = Limits { open: Some(6), per_request: Some(8), ..free };
    let paid = Limits { per_day: Some(100), per_request: Some(10), ..Limits::default() };
    let rows = [
        ("nothing is given", None, true, paid),
        ("nothing, at a free CA", None, false, Limits::default()),
        ("all", Some(&spec), true, all),
        ("all, at a free CA", Some(&spec), false, free),
    ];
    for (name, spec, has_orders, expected) in rows {
        assert_eq!(Limits::of(spec, has_orders), expected, "{name}");
    }
}

// What is decided.

fn per_day() -> Limits {
    Limits { per_day: Some(5), ..Limits::default() }
}

fn day_spent() -> Withheld {
    spent(5, day("2026-06-01"), "a")
}

/// At a CA where orders cost money; an order is next.
fn about_to_order() -> Observation {
    with(absent(), |seen| {
        let mut account = account();
        account.capabilities.billable = true;
        account.capabilities.asynchronous = true;
        account.capabilities.searchable = true;
        seen.account = Some(account);
        seen.order.incarnation = "me".to_owned();
        seen.quota.limits = Limits { per_request: Some(2), ..per_day() };
    })
}

/// The record of an order that this process has claimed, of orders made at `made`.
fn record(made: Vec<Timestamp>) -> Box<Record> {
    let seen = about_to_order();
    let order = StoredOrder::new(NewOrder {
        uid: &seen.request.uid,
        number: 1,
        account: &account().name,
        since: now(),
        csr_der: key(1).spki_der(),
        names: &names(),
        intent: seen.wanted(),
        parameters: serde_json::Value::Null,
        kind: &crate::ca::OrderKind::New,
    });
    Box::new(Record {
        uid: "record".to_owned(),
        resource_version: "1".to_owned(),
        next: Slot { order, private: Some(key(1)), kind: crate::ca::OrderKind::New },
        issued: None,
        mark: Mark { attempt: 1, claim: "me".to_owned(), made, ..Mark::default() },
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others name themselves")]
fn step(seen: &Observation) -> String {
    match decide(seen) {
        Step::Prepare(..) => "Prepare".to_owned(),
        Step::Submit(..) => "Submit".to_owned(),
        Step::Rest(Rest::Withheld(withheld)) => format!("Withheld({})", withheld.reason()),
        step => format!("{step:?}"),
    }
}

#[test]
fn nothing_that_leads_to_a_submit_happens_without_a_grant() {
    let free = |seen: &mut Observation| seen.quota.limits = per_day();
    let granted = |seen: &mut Observation| *seen = seen.clone().after(Outcome::Granted);
    let withheld = |seen: &mut Observation| {
        *seen = seen.clone().after(Outcome::Withheld(day_spent()));
    };
    let claimed = |seen: &mut Observation| {
        *seen = seen.clone().after(Outcome::Claimed(record(vec![now()])));
    };
    let full = || vec![now() - SignedDuration::from_hours(1), now()];
    let of_record = |made: Vec<Timestamp>| {
        let read = RecordRead::Present(record(made));
        move |seen: &mut Observation| seen.order.record = Some(read.clone())
    };
    let unlimited = with(about_to_order(), |seen| seen.quota.limits = Limits::default());
    let rows = [
        ("no limits, no grant", unlimited, "Prepare"),
        ("a grant is taken before anything is prepared", about_to_order(), "Reserve"),
        ("then it is prepared", with(about_to_order(), granted), "Prepare"),
        ("there is none", with(about_to_order(), withheld), "Withheld(OrderBudgetSpent)"),
        ("at a free CA too", with(opened(), free), "Reserve"),
        ("and then submitted", with(with(opened(), free), granted), "Submit"),
        (
            "what lapsed while it was waited is taken anew",
            with(with(with(opened(), free), granted), |seen| {
                *seen = seen.clone().after(Outcome::Lapsed);
            }),
            "Reserve",
        ),
        (
            "who waits reads nothing",
            with(with(about_to_order(), withheld), |seen| {
                seen.target = None;
                seen.account = None;
            }),
            "Withheld(OrderBudgetSpent)",
        ),
        (
            "but a record that may hold an open order",
            with(with(about_to_order(), withheld), |seen| seen.quota.made = Some(vec![])),
            "ReadRecord",
        ),
        (
            "a claim of an earlier run is announced with a grant",
            with(about_to_order(), claimed),
            "Reserve",
        ),
        (
            "or not at all",
            with(with(about_to_order(), claimed), withheld),
            "Withheld(OrderBudgetSpent)",
        ),
        (
            "so many orders were made for the request, as the cache tells: the record is looked at",
            with(about_to_order(), |seen| seen.quota.made = Some(full())),
            "ReadRecord",
        ),
        (
            "it is gone, and with it the count",
            with(about_to_order(), |seen| {
                seen.quota.made = Some(full());
                seen.order.record = Some(RecordRead::Absent);
            }),
            "Reserve",
        ),
        (
            "the own claim that was not used is won again, and makes no order more",
            with(with(about_to_order(), claimed), |seen| {
                *seen = seen.clone().after(Outcome::Claimed(record(full())));
                seen.order.claim.as_mut().expect("a claim").is_old = true;
            }),
            "Reserve",
        ),
        (
            "what was lost is claimed once more than may be",
            with(with(about_to_order(), of_record(full())), |seen| {
                seen.previous.orders = 1;
                seen.order.proven = true;
                seen.order.searched(Ok(Lookup::Absent { complete: true, doubt: None }));
                seen.order.sought = crate::issuance::order::seen::Sought {
                    of: record(full()).claim_id(),
                    elapsed: Some(SignedDuration::from_hours(1)),
                    since_last: SignedDuration::ZERO,
                    absent: 5,
                };
            }),
            "Withheld(ChurnLimitReached)",
        ),
        (
            "what the CA has is followed, whatever the limits say",
            with(with(with(about_to_order(), of_record(full())), withheld), |seen| {
                seen.order.progress = Some(crate::ca::Progress {
                    id: Some("id".to_owned()),
                    named: true,
                    phase: crate::ca::Phase::Pending(crate::ca::Waiting {
                        state: "NEW".to_owned(),
                        actor: crate::ca::Actor::Ca,
                        message: String::new(),
                        retry_after: None,
                        challenges: Vec::new(),
                    }),
                });
            }),
            "Rest(Ordered)",
        ),
        (
            "and what may be there is looked for",
            with(with(with(about_to_order(), of_record(full())), withheld), |seen| {
                seen.previous.orders = 1;
            }),
            "Find",
        ),
        (
            "who was told of a limit is not told of the search by turns",
            with(with(about_to_order(), of_record(full())), |seen| {
                seen.previous.orders = 1;
                let on = WaitsFor::OrdersPerRequestPerDay;
                seen.previous.wait = Some(Wait { on, needs_person: false });
                seen.order.sought = crate::issuance::order::seen::Sought {
                    of: record(full()).claim_id(),
                    elapsed: Some(SignedDuration::from_hours(1)),
                    since_last: SignedDuration::from_secs(1),
                    absent: 5,
                };
            }),
            "Withheld(ChurnLimitReached)",
        ),
    ];
    for (name, seen, expected) in rows {
        assert_eq!(step(&seen), expected, "{name}");
    }
}

#[test]
fn an_order_that_was_refused_is_tried_again_and_counts_once() {
    let refused = Mark { state: OrderState::Refused, made: vec![now()], ..Mark::default() };
    assert_eq!(refused.made_again(now() + days(0)), [now()]);
    let lost = Mark { state: OrderState::Open, ..refused };
    assert_eq!(lost.made_again(now()).len(), 2);
}

#[test]
fn what_is_held_says_by_what_and_until_when() {
    let churn = Withheld::Churn { limit: 10, made: 11, until: at("2026-06-02T03:00:00Z") };
    let open = Withheld::Open { limit: 3, open: 3 };
    let rows: [(Withheld, &[&str], Option<&str>); 3] = [
        (
            day_spent(),
            &["Issuer house", "5 orders", "spec.limits.ordersPerDay", "2026-06-01", "is raised"],
            None,
        ),
        (
            open,
            &["Issuer house has 3 open orders", "spec.limits.openOrders allows 3", "is raised"],
            Some("2026-06-01T12:02:00Z"),
        ),
        (
            churn,
            &[
                "11 orders",
                "request web",
                "spec.limits.ordersPerRequestPerDay of Issuer house allows 10",
                "find out what changes",
                "at 2026-06-02T03:00:00Z",
            ],
            Some("2026-06-02T03:00:00Z"),
        ),
    ];
    for (withheld, parts, requeue) in rows {
        let rest = Rest::Withheld(withheld.clone());
        let told = describe(&about_to_order(), &[], &rest);
        let ready = condition::find(&told.status.conditions, READY).expect("Ready");
        let reason = withheld.reason().word();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", reason));
        for part in parts {
            assert!(ready.message.contains(part), "\"{part}\" is not in {}", ready.message);
        }
        assert!(!condition::is_true(&told.status.conditions, STALLED), "it passes by itself");
        let at = requeue.map_or_else(|| withheld.until().expect("a time"), at);
        assert_eq!(told.requeue, Requeue::At(at));
        let warns = !matches!(withheld, Withheld::Open { .. });
        assert_eq!((told.notices.len(), told.notices[0].warning), (1, warns));
    }
}

#[test]
fn a_renewal_that_is_held_is_seen_beside_a_valid_certificate() {
    let due = with(kept(), |seen| seen.now = at("2026-06-25T12:00:00Z"));
    let churn = Withheld::Churn { limit: 10, made: 10, until: at("2026-06-26T03:00:00Z") };
    let told = describe(&due, &[], &Rest::Withheld(churn));
    let message = |kind| {
        let condition = condition::find(&told.status.conditions, kind).expect(kind);
        (condition.status.as_str(), condition.reason.as_str(), condition.message.as_str())
    };
    let (status, reason, text) = message(READY);
    assert_eq!((status, reason), ("True", "Issued"));
    assert!(text.ends_with("; the renewal is held (ChurnLimitReached)"), "{text}");
    let (status, reason, text) = message(ISSUING);
    assert_eq!((status, reason), ("True", "ChurnLimitReached"));
    let said = "the renewal time has come, and the renewal is held; the certificate that is delivered is valid until 2026-07-01T12:00:00Z. 10 orders";
    assert!(text.starts_with(said), "{text}");
}

#[test]
fn a_block_frees_nobody_and_whatever_takes_from_what_was_counted_may() {
    let budget = |day: &str, reserved, shop, others| DayBudget {
        day: day.to_owned(),
        reserved,
        namespaces: [("shop".to_owned(), shop)].into(),
        others,
        ..DayBudget::default()
    };
    let today = "2026-06-01";
    let before = budget(today, 20, 5, 3);
    let rows = [
        ("a block", Some(budget(today, 30, 5, 3)), false),
        ("more is counted", Some(budget(today, 20, 6, 4)), false),
        ("another day", Some(budget("2026-06-02", 20, 5, 3)), true),
        ("less is reserved", Some(budget(today, 19, 5, 3)), true),
        ("a namespace has less", Some(budget(today, 30, 4, 3)), true),
        ("a namespace has none", Some(DayBudget { namespaces: [].into(), ..before.clone() }), true),
        ("the others have less", Some(budget(today, 30, 5, 2)), true),
        ("it was removed", None, true),
    ];
    for (name, now, expected) in rows {
        assert_eq!(frees(Some(&before), now.as_ref()), expected, "{name}");
    }
    assert!(!frees(None, Some(&before)), "the first block");
}
