//! How open orders stand, and how many calls that costs.

use chancery::ca::{Actor, CertificateAuthority, FailedKind, OpenOrder, Phase, Progress};
use chancery::outside::Disposition;
use chancery::simulator::swisssign::{Action, Operation, Step};
use chancery::simulator::{Fault, Kind};

use crate::bench::{Bench, REFERENCE, Stored, now, pass, placed, polled, quick, told};

async fn placed_many(ca: &dyn CertificateAuthority, count: usize) -> Vec<OpenOrder> {
    let mut orders = Vec::new();
    for number in 0..count {
        orders.push(placed(ca, number).await);
    }
    orders
}

/// Paths with how often each was asked for.
fn counted(bench: &Bench) -> Vec<(String, usize)> {
    let mut paths = bench.paths_of_polls();
    paths.sort();
    let mut counts: Vec<(String, usize)> = Vec::new();
    for path in paths {
        match counts.last_mut() {
            Some((last, count)) if *last == path => *count += 1,
            Some(_) | None => counts.push((path, 1)),
        }
    }
    counts
}

#[tokio::test]
async fn twenty_open_orders_cost_one_call_and_each_that_is_issued_two_more() {
    let bench = Bench::new();
    let ca = bench.open();
    let mut orders = placed_many(&*ca, 20).await;
    for _ in 0..5 {
        bench.requests();
        let answers = ca.poll(&orders).await;
        assert_eq!(answers.len(), 20);
        assert!(answers.iter().all(|(_, answer)| matches!(
            answer,
            Ok(Progress { named: true, phase: Phase::Pending(_), .. })
        )));
        assert_eq!(bench.paths_of_polls(), ["orders/paged"]);
    }
    for order in &orders[..3] {
        bench.site.act(&order.id, &Action::Advance).unwrap();
    }
    let answers = ca.poll(&orders).await;
    assert_eq!(answers.len(), 20);
    let chain = "order/ord-/certificate/chain";
    assert_eq!(
        counted(&bench),
        [("order/ord-".to_owned(), 3), (chain.to_owned(), 3), ("orders/paged".to_owned(), 1)]
    );
    for order in &orders[..3] {
        let (_, answer) = answers.iter().find(|(one, _)| *one == order.reference).unwrap();
        assert!(
            matches!(answer, Ok(Progress { phase: Phase::Issued(chain), .. }) if chain.len() == 3)
        );
    }
    orders.drain(..3);
    ca.poll(&orders).await;
    assert_eq!(bench.paths_of_polls(), ["orders/paged"]);
}

#[tokio::test]
async fn one_open_order_costs_one_call_and_one_more_when_it_is_issued() {
    let bench = Bench::new();
    let ca = bench.open();
    let order = placed(&*ca, 1).await;
    bench.requests();
    polled(&*ca, &order).await;
    assert_eq!(bench.paths_of_polls(), ["order/ord-/status"]);
    bench.act(&Action::Advance);
    assert_eq!(told(&polled(&*ca, &order).await), "issued: 3");
    assert_eq!(bench.paths_of_polls(), ["order/ord-/status", "order/ord-/certificate/chain"]);
    assert!(ca.poll(&[]).await.is_empty());
    assert!(bench.requests().is_empty());
}

#[tokio::test]
async fn a_search_without_open_orders_is_left_alone_for_nine_polls() {
    let bench = Bench::new();
    bench.set(|site| site.search_omits_open_orders = true);
    let ca = bench.open();
    let orders = placed_many(&*ca, 4).await;
    bench.requests();
    for poll in 0..21 {
        assert_eq!(ca.poll(&orders).await.len(), 4, "{poll}");
        let calls = counted(&bench);
        if poll % 10 == 0 {
            let expected = [("order/ord-".to_owned(), 4), ("orders/paged".to_owned(), 1)];
            assert_eq!(calls, expected, "{poll}");
        } else {
            assert_eq!(calls, [("order/ord-/status".to_owned(), 4)], "{poll}");
        }
    }
}

#[tokio::test]
async fn a_search_that_takes_no_states_is_done_without() {
    let bench = Bench::new();
    let ca = bench.open();
    let orders = placed_many(&*ca, 3).await;
    let refusal = Kind::ApiError {
        code: "<011.351.0226>".to_owned(),
        status: 400,
        messages: Vec::new(),
        after_commit: false,
    };
    bench.site.inject(Fault::always(Operation::OrdersPaged, refusal)).unwrap();
    assert!(ca.poll(&orders).await.iter().all(|(_, answer)| answer.is_ok()));
    bench.requests();
    assert_eq!(ca.poll(&orders).await.len(), 3);
    assert_eq!(counted(&bench), [("order/ord-/status".to_owned(), 3)]);
}

#[tokio::test]
async fn pages_that_cost_more_than_the_orders_are_not_read() {
    let bench = Bench::new();
    let ca = bench.open();
    let orders = placed_many(&*ca, 12).await;
    bench.set(|site| site.max_page_length = 2);
    bench.requests();
    // The two of them are not on the first two pages.
    assert_eq!(ca.poll(&orders[10..]).await.len(), 2);
    let paged = |calls: &[(String, usize)]| {
        calls.iter().find(|(path, _)| path == "orders/paged").map_or(0, |(_, count)| *count)
    };
    assert!(paged(&counted(&bench)) <= 2);
    assert_eq!(ca.poll(&orders[10..]).await.len(), 2);
    assert!(counted(&bench).iter().map(|(_, count)| count).sum::<usize>() <= 4);
}

#[tokio::test]
async fn every_state_is_told_for_what_it_means() {
    let cases = [
        ("NEW", "Ca: SwissSign has taken the order", 0),
        ("KEY_VALIDATION", "Ca: SwissSign examines the key", 0),
        ("PRE_VALIDATION", "Owner: SwissSign examines names, domains and policy: a domain", 1),
        ("GENERATE_TBS", "Ca: SwissSign makes the certificate", 0),
        ("PENDING_AUTH", "Approver: an operator of the registration authority has to approve", 1),
        ("PRE_ISSUE", "Ca: SwissSign examines the certificate", 0),
        ("ISSUE", "Ca: SwissSign signs the certificate", 0),
        ("POST_VALIDATION", "Ca: SwissSign examines the signed certificate", 0),
        ("FINALIZE_ISSUANCE", "Ca: SwissSign finishes the order", 0),
        ("ISSUED", "issued: 3", 0),
        ("REVOKED", "Revoked: the certificate was issued and then revoked", 0),
        ("FAILED", "Failed: the order failed at SwissSign", 1),
        ("REJECTED", "Rejected: a person at the registration authority rejected", 1),
        ("PENDING_CSR_RENEWAL", "Approver: the registration authority waits for the CSR", 0),
        ("UNKNOWN", "Unknown: SwissSign reports a state that says nothing", 1),
        ("SOMETHING_NEW", "Unknown: SwissSign reports a state that says nothing", 1),
    ];
    for lowercase in [false, true] {
        for (state, says, looks) in cases {
            let bench = Bench::new();
            bench.set(|site| site.lowercase_status = lowercase);
            let ca = bench.open();
            let order = placed(&*ca, 1).await;
            // The certificate comes about where the state says so.
            bench.act(&Action::Set { state: state.to_owned() });
            bench.requests();
            let phase = polled(&*ca, &order).await;
            assert!(told(&phase).starts_with(says), "{state}: {}", told(&phase));
            let tasks =
                bench.paths_of_polls().iter().filter(|path| path.ends_with("tasks")).count();
            assert_eq!(tasks, looks, "{state}");
            match phase {
                Phase::Pending(waiting) => assert_eq!(waiting.state, state),
                Phase::Failed(failed) => assert_eq!(failed.state, state),
                Phase::Issued(_) => {}
            }
        }
    }
}

#[tokio::test]
async fn what_an_order_waits_for_is_asked_once_in_each_state() {
    let step = |state: &str, error: Option<&str>| Step {
        error: error.map(str::to_owned),
        ..Step::waiting(state)
    };
    let mut settings = quick();
    settings.states = Some(vec![
        step("PRE_VALIDATION", Some("no TXT record at shop.example.org")),
        step("PENDING_AUTH", None),
        step("FAILED", Some("linting said no")),
    ]);
    let bench = Bench::with(settings);
    let ca = bench.open();
    let order = placed(&*ca, 1).await;
    bench.requests();
    let first = told(&polled(&*ca, &order).await);
    assert!(first.contains("no TXT record at shop.example.org"), "{first}");
    assert_eq!(bench.paths_of_polls(), ["order/ord-/status", "order/ord-/tasks"]);
    assert_eq!(told(&polled(&*ca, &order).await), first, "it is remembered");
    assert_eq!(bench.paths_of_polls(), ["order/ord-/status"]);
    bench.act(&Action::Advance);
    let second = polled(&*ca, &order).await;
    assert!(matches!(&second, Phase::Pending(waiting) if waiting.actor == Actor::Approver));
    assert_eq!(bench.paths_of_polls(), ["order/ord-/status", "order/ord-/tasks"]);
    bench.act(&Action::Advance);
    let third = told(&polled(&*ca, &order).await);
    assert!(third.starts_with("Failed: ") && third.contains("linting said no"), "{third}");
}

#[tokio::test]
async fn a_failure_of_the_steps_hides_nothing_and_is_asked_for_again() {
    let bench = Bench::new();
    let ca = bench.open();
    let order = placed(&*ca, 1).await;
    bench.act(&Action::Set { state: "PENDING_AUTH".to_owned() });
    let trouble = Kind::Status { status: 503, body: None, retry_after: None, html: false };
    bench.fault(Operation::Tasks, trouble);
    assert!(told(&polled(&*ca, &order).await).starts_with("Approver: "));
    bench.requests();
    polled(&*ca, &order).await;
    assert_eq!(bench.paths_of_polls(), ["order/ord-/status", "order/ord-/tasks"]);
}

#[tokio::test]
async fn an_order_nobody_knows_is_new_and_later_forgotten() {
    let bench = Bench::new();
    let ca = bench.open();
    let order = placed(&*ca, 1).await;
    bench.act(&Action::Forget);
    for _ in 0..5 {
        let new = told(&polled(&*ca, &order).await);
        assert_eq!(new, "Ca: the order is not visible at SwissSign yet");
    }
    pass(601);
    for _ in 1..3 {
        let told = told(&polled(&*ca, &order).await);
        assert!(told.contains("after 3 such answers in a row"), "{told}");
    }
    // A gateway that has lost its way is no word of the API, and no success either.
    let page = Kind::Status { status: 404, body: None, retry_after: None, html: true };
    bench.fault(Operation::Status, page);
    let answers = ca.poll(std::slice::from_ref(&order)).await;
    assert_eq!(answers[0].1.as_ref().unwrap_err().disposition, Disposition::BlameIssuer);
    let Phase::Failed(failed) = polled(&*ca, &order).await else { panic!("not forgotten") };
    assert_eq!(failed.kind, FailedKind::Forgotten);
}

#[tokio::test]
async fn an_order_that_shows_up_again_was_not_forgotten() {
    let bench = Bench::new();
    let ca = bench.open();
    let order = placed(&*ca, 1).await;
    pass(601);
    let absent = Kind::ApiError {
        code: "<011.351.0226>".to_owned(),
        status: 404,
        messages: Vec::new(),
        after_commit: false,
    };
    for _ in 0..4 {
        for _ in 1..3 {
            bench.fault(Operation::Status, absent.clone());
            let told = told(&polled(&*ca, &order).await);
            assert!(told.contains("after 3 such answers in a row"), "{told}");
        }
        assert!(told(&polled(&*ca, &order).await).starts_with("Ca: SwissSign has taken"));
    }
}

#[tokio::test]
async fn a_chain_that_is_not_served_yet_is_waited_for() {
    for status in [404, 400] {
        let bench = Bench::new();
        bench.set(|site| {
            site.chain_missing_seconds = 30.0;
            site.chain_missing_status = status;
        });
        let ca = bench.open();
        let order = placed(&*ca, 1).await;
        bench.act(&Action::Advance);
        let waiting = told(&polled(&*ca, &order).await);
        assert_eq!(waiting, "Ca: issued; the chain is not served yet");
        pass(31);
        assert_eq!(told(&polled(&*ca, &order).await), "issued: 3");
    }
}

#[tokio::test]
async fn an_answer_for_another_order_is_none() {
    let bench = Bench::new();
    let ca = bench.open();
    let orders = placed_many(&*ca, 3).await;
    let mut crossed = orders.clone();
    crossed[0].id.clone_from(&orders[1].id);
    let answers = ca.poll(&crossed).await;
    let (_, answer) = answers.iter().find(|(one, _)| *one == crossed[0].reference).unwrap();
    let error = answer.as_ref().unwrap_err();
    assert_eq!(error.disposition, Disposition::Internal);
    assert!(error.message.contains("another order"), "{error}");
    assert_eq!(answers.iter().filter(|(_, answer)| answer.is_ok()).count(), 2);
}

#[tokio::test]
async fn trouble_with_the_account_ends_a_poll_and_trouble_with_one_order_does_not() {
    let bench = Bench::new();
    bench.set(|site| site.search_omits_open_orders = true);
    let ca = bench.open();
    let orders = placed_many(&*ca, 4).await;
    ca.poll(&orders).await;
    let status = |status| Kind::Status { status, body: None, retry_after: Some(7), html: false };
    bench.requests();
    bench.fault(Operation::Status, status(500));
    let answers = ca.poll(&orders).await;
    assert_eq!(answers.iter().filter(|(_, answer)| answer.is_ok()).count(), 3);
    bench.site.inject(Fault::always(Operation::Status, status(429))).unwrap();
    bench.requests();
    let answers = ca.poll(&orders).await;
    let after = Some(std::time::Duration::from_secs(7));
    assert_eq!(answers.len(), 1);
    let error = answers[0].1.as_ref().unwrap_err();
    assert_eq!(error.disposition, Disposition::Retry { after });
    assert_eq!(bench.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn trouble_with_the_search_is_told_for_each_order_and_costs_one_call() {
    let bench = Bench::new();
    let ca = bench.open();
    let orders = placed_many(&*ca, 3).await;
    let trouble = Kind::Status { status: 503, body: None, retry_after: None, html: false };
    for kind in [trouble, Kind::Hang, Kind::TruncatedBody, Kind::HtmlBody] {
        bench.fault(Operation::OrdersPaged, kind.clone());
        bench.requests();
        let answers = ca.poll(&orders).await;
        assert!(answers.len() == 3 && answers.iter().all(|(_, answer)| answer.is_err()));
        assert_eq!(bench.paths_of_polls(), ["orders/paged"], "{kind:?}");
    }
}

#[tokio::test]
async fn a_client_that_is_known_by_name_is_looked_up_once() {
    let bench = Bench::new();
    let mut spec = bench.spec();
    spec.client.id = None;
    spec.client.name = Some("Demo Client".to_owned());
    let orders = placed_many(&*bench.open(), 2).await;
    let ca = bench.open_with(spec);
    bench.requests();
    ca.poll(&orders).await;
    ca.poll(&orders).await;
    let paths = bench.paths_of_polls();
    assert_eq!(paths[1..], ["clients/paged", "orders/paged", "orders/paged"], "{paths:?}");
    let stored = Stored::new(&*ca, REFERENCE).await;
    assert_eq!(stored.since, now());
    assert!(bench.requests().is_empty(), "nor again for an order");
}

#[tokio::test]
async fn the_first_poll_tries_whether_the_search_by_name_finds_orders() {
    let bench = Bench::new();
    bench.set(|site| site.index_forgets = true);
    let ca = bench.open();
    let order = placed(&*ca, 1).await;
    bench.requests();
    polled(&*ca, &order).await;
    assert!(!ca.has_found_orders());
    assert_eq!(bench.paths(), ["order/ord-/status", "orders/paged"]);
    bench.set(|site| site.index_forgets = false);
    polled(&*ca, &order).await;
    assert!(!ca.has_found_orders(), "a search may lag: the next try takes its time");
    pass(1);
    polled(&*ca, &order).await;
    assert!(ca.has_found_orders());
    bench.requests();
    polled(&*ca, &order).await;
    assert_eq!(bench.paths(), ["order/ord-/status"], "once it is known, no more");
}
