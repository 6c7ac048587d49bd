//! How orders stand: what is asked, in how many calls, and what is made of what comes back.

use std::collections::BTreeSet;

use chancery::ca::{Actor, Phase, Proof, Waiting};
use chancery::outside::Disposition;
use chancery::simulator::Kind;
use chancery::simulator::ssl_purchase::{
    Action, DetailsShape, Files, Operation, StatusForm, Step, Validation,
};
use serde_json::json;

use crate::bench::{Bench, REFERENCE, Stored, key, pass, placed, polled, told};

#[tokio::test]
async fn a_certificate_is_fetched_in_whatever_form_it_is_served() {
    let forms = [
        Files::default(),
        Files { crt_der: true, ..Files::default() },
        Files { crt_chain: true, ..Files::default() },
        Files { root: false, ..Files::default() },
        Files { root_first: true, crlf: true, byte_order_mark: true, ..Files::default() },
        Files { no_final_newline: true, ..Files::default() },
    ];
    for files in forms {
        let bench = Bench::with(|site| site.files = files);
        let ca = bench.open();
        let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
        let open = stored.open(&stored.submit(&*ca).await);
        assert!(matches!(polled(&*ca, &open).await, Phase::Pending(_)));
        bench.act(&Action::Advance);
        let Phase::Issued(chain) = polled(&*ca, &open).await else { panic!("{files:?}") };
        assert!(stored.has(&chain), "{files:?}");
        assert!(chain.iter().any(chancery::pki::Certificate::is_ca), "{files:?}");
    }
}

#[tokio::test]
async fn the_other_forms_stand_in_for_one_that_is_no_use() {
    let page = || Kind::HtmlBody;
    let rows: [(&str, Vec<Operation>, bool, bool); 4] = [
        ("PKCS #7", vec![Operation::DownloadCrt], false, true),
        ("PKCS #7 in DER", vec![Operation::DownloadCrt], true, true),
        ("a zip file", vec![Operation::DownloadCrt, Operation::DownloadPkcs7], false, true),
        (
            "none",
            vec![Operation::DownloadCrt, Operation::DownloadPkcs7, Operation::DownloadZip],
            false,
            false,
        ),
    ];
    for (name, spoilt, pkcs7_der, is_there) in rows {
        let bench = Bench::with(|site| site.files.pkcs7_der = pkcs7_der);
        let ca = bench.open();
        let open = placed(&*ca, 1).await;
        bench.act(&Action::Advance);
        for operation in spoilt {
            bench.fault(operation, page());
        }
        let answer = ca.poll(std::slice::from_ref(&open)).await.remove(0).1;
        match answer {
            Ok(progress) => assert!(is_there && progress.is_issued(), "{name}"),
            Err(error) => {
                assert!(!is_there && error.disposition == Disposition::Internal, "{name}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_form_that_fails_hides_none_of_the_others() {
    for status in [403, 404, 405, 500, 501] {
        for operation in [Operation::DownloadCrt, Operation::DownloadCa] {
            let bench = Bench::new();
            let ca = bench.open();
            let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
            let open = stored.open(&stored.submit(&*ca).await);
            bench.act(&Action::Advance);
            let fault = || Kind::Status { status, body: None, retry_after: None, html: true };
            bench.fault(operation, fault());
            let Phase::Issued(chain) = polled(&*ca, &open).await else { panic!("{status}") };
            assert!(stored.has(&chain), "{status} {operation:?}");
            let has_chain = chain.iter().any(chancery::pki::Certificate::is_ca);
            assert!(has_chain, "{status} {operation:?}: the other forms have it");
        }
        // Where no form is served, the first failure is told.
        let bench = Bench::new();
        let ca = bench.open();
        let open = placed(&*ca, 1).await;
        bench.act(&Action::Advance);
        let page = |status| Kind::Status { status, body: None, retry_after: None, html: true };
        bench.fault(Operation::DownloadCrt, page(status));
        bench.fault(Operation::DownloadPkcs7, page(405));
        bench.fault(Operation::DownloadZip, page(405));
        match ca.poll(std::slice::from_ref(&open)).await.remove(0).1 {
            Err(error) => {
                assert!(error.message.contains(&format!("answered {status}")), "{error}");
            }
            Ok(progress) => {
                assert_eq!(status, 404, "it may come yet");
                assert!(!progress.is_issued());
            }
        }
    }
}

#[tokio::test]
async fn files_that_are_not_there_yet_are_waited_for() {
    for status in [404, 400, 409] {
        let bench = Bench::with(|site| {
            site.files_lag_seconds = 60.0;
            site.files_missing_status = status;
        });
        let ca = bench.open();
        let open = placed(&*ca, 1).await;
        bench.act(&Action::Advance);
        let phase = polled(&*ca, &open).await;
        assert!(told(&phase).contains("its files are not served yet"), "{status}: {phase:?}");
        pass(61);
        assert!(matches!(polled(&*ca, &open).await, Phase::Issued(_)), "{status}");
    }
}

#[tokio::test]
async fn states_are_told_in_words_and_those_that_are_not_known_wait() {
    let own = json!({ "statusWords": { "waiting": ["rejected"], "failed": ["on-hold"] } });
    let rows = [
        ("pending", "pending Ca: the reseller works on the order"),
        ("wait_for_approval", "wait_for_approval Ca: the reseller works on the order"),
        ("frobnicated", "frobnicated Ca: the reseller reports a state that is in no list"),
        ("rejected", "rejected Ca: the reseller works on the order"),
        ("on hold", "on_hold Failed: the order has ended"),
        ("declined", "declined Rejected: the order was declined"),
        ("revoked", "revoked Revoked: the certificate was issued and then revoked"),
        ("suspended", "suspended Failed: the order was suspended"),
        ("expired", "expired Failed: the order has expired"),
    ];
    for form in [StatusForm::Text, StatusForm::Name, StatusForm::Code] {
        let bench = Bench::with(|site| site.status_form = form);
        let ca = bench.open_with(own.clone());
        let open = placed(&*ca, 1).await;
        for (state, says) in rows {
            bench.act(&Action::Set { state: state.to_owned() });
            let phase = polled(&*ca, &open).await;
            assert!(told(&phase).starts_with(says), "{state}: {}", told(&phase));
        }
        bench.act(&Action::Fail { message: Some("No <b>such</b> company".to_owned()) });
        let phase = polled(&*ca, &open).await;
        assert_eq!(told(&phase), "failed Failed: the order failed: No such company");
    }
}

fn waiting(phase: Phase) -> Waiting {
    let Phase::Pending(waiting) = phase else { panic!("{phase:?}") };
    waiting
}

#[tokio::test]
async fn what_has_to_be_shown_is_told_as_soon_as_the_api_tells_it() {
    for (dcv_type, shape) in [
        ("DNS", DetailsShape::Snake),
        ("DNS", DetailsShape::Camel),
        ("FILE", DetailsShape::Snake),
        ("EMAIL", DetailsShape::Camel),
        ("DNS", DetailsShape::Steps),
    ] {
        let bench = Bench::with(|site| {
            site.validation = Validation::Manual;
            site.details_shape = shape;
            site.states = Some(vec![Step::passing("pending", 0.0), Step::waiting("active")]);
            site.counts_when_asked = true;
            site.no_twin = true;
        });
        let ca = bench.open_with(json!({
            "dcvType": dcv_type, "contact": { "emailAddress": "hostmaster@shop.example.org" },
        }));
        let open = placed(&*ca, 1).await;
        let before = waiting(polled(&*ca, &open).await);
        if shape == DetailsShape::Steps {
            assert!(before.challenges.is_empty(), "nobody understands that, and it goes on");
            assert_eq!(before.actor, Actor::Ca);
            continue;
        }
        assert_eq!(before.actor, Actor::Owner);
        let challenge = &before.challenges[0];
        assert_eq!((before.challenges.len(), challenge.is_met), (1, false));
        assert_eq!(challenge.domain, "shop.example.org");
        match &challenge.proof {
            Proof::Dns { kind, name, value } => {
                assert_eq!((kind.as_str(), dcv_type), ("CNAME", "DNS"));
                assert!(name.ends_with(".shop.example.org") && !value.is_empty());
            }
            Proof::File { url, content } => {
                assert_eq!(dcv_type, "FILE");
                assert!(url.starts_with("http://shop.example.org/.well-known/"), "{url}");
                assert!(content.contains('\n'), "{content}");
            }
            Proof::Mailbox { address } => {
                assert_eq!((address.as_str(), dcv_type), ("hostmaster@shop.example.org", "EMAIL"));
            }
        }
        bench.act(&Action::Meet { domain: None });
        bench.requests();
        let advanced = ca.advance(&open, &before.challenges).await.unwrap();
        let chancery::ca::Answer::Done(progress) = advanced else { panic!("it can") };
        assert!(progress.is_issued(), "{progress:?}");
        let asked = bench.requests().remove(0);
        assert_eq!(asked.line(), "POST ssl-certificate/{id}/validate");
        assert!(!asked.fresh_connection, "it buys nothing");
        assert_eq!(asked.json()["dcv_type"], dcv_type);
        assert_eq!(asked.json()["domain"], "shop.example.org");
        let email = asked.json().get("email_address").is_some();
        assert_eq!(email, dcv_type == "EMAIL");
        // Nothing is left to look at.
        assert!(ca.advance(&open, &before.challenges).await.is_ok());
    }
}

#[tokio::test]
async fn details_are_asked_for_less_and_less_often() {
    let bench = Bench::new();
    let ca = bench.open();
    let open = placed(&*ca, 1).await;
    bench.requests();
    let mut asked = Vec::new();
    for poll in 1..=16 {
        polled(&*ca, &open).await;
        if bench.lines().iter().any(|line| line.ends_with("/validation-details")) {
            asked.push(poll);
        }
    }
    assert_eq!(asked, [1, 2, 4, 8, 16]);
}

#[tokio::test]
async fn many_orders_are_looked_up_by_the_list() {
    let bench = Bench::new();
    let ca = bench.open();
    let mut open = Vec::new();
    for number in 1..=20 {
        open.push(placed(&*ca, number).await);
    }
    ca.poll(&open).await;
    bench.requests();
    let answers = ca.poll(&open).await;
    let lines = bench.lines();
    let of = |end: &str| lines.iter().filter(|line| line.as_str() == end).count();
    assert_eq!((of("GET ssl-certificate"), of("GET ssl-certificate/{id}")), (1, 0), "{lines:?}");
    let references: BTreeSet<_> = answers.iter().map(|(reference, _)| reference).collect();
    assert_eq!(references.len(), 20);
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()));
    // A list that does not show what is open is left alone for a while.
    bench.set(|site| site.list_omits_pending = true);
    for _ in 0..2 {
        let answers = ca.poll(&open).await;
        assert!(answers.iter().all(|(_, answer)| answer.is_ok()));
    }
    bench.requests();
    ca.poll(&open).await;
    let lines = bench.lines();
    assert!(!lines.contains(&"GET ssl-certificate".to_owned()), "{lines:?}");
    // One whose orders carry no state is no use either.
    let bench = Bench::with(|site| site.list_omits = ["status".to_owned()].into());
    let ca = bench.open();
    let open = [placed(&*ca, 1).await, placed(&*ca, 2).await];
    for order in bench.orders() {
        bench.site.act(&order.id, &Action::Advance).unwrap();
    }
    let answers = ca.poll(&open).await;
    assert!(answers.iter().all(|(_, answer)| answer.as_ref().unwrap().is_issued()));
}

#[tokio::test]
async fn an_order_that_is_gone_counts_as_forgotten_after_a_while() {
    let bench = Bench::with(|site| site.missing_seconds = 60.0);
    let ca = bench.open();
    let open = placed(&*ca, 1).await;
    // The list has it, whatever a look at its id says.
    assert!(told(&polled(&*ca, &open).await).starts_with("pending Ca"));
    bench.set(|site| site.list_forgets = true);
    assert!(told(&polled(&*ca, &open).await).contains("not visible at the reseller yet"));
    pass(61);
    assert!(told(&polled(&*ca, &open).await).starts_with("pending Ca"));
    bench.act(&Action::Forget);
    pass(3600);
    for _ in 0..2 {
        assert!(told(&polled(&*ca, &open).await).contains("does not know the order"));
    }
    let phase = polled(&*ca, &open).await;
    assert!(told(&phase).starts_with("not found Forgotten"), "{}", told(&phase));
    // A gateway that has lost its way is no API.
    bench.fault(
        Operation::Read,
        Kind::Status { status: 404, body: None, retry_after: None, html: true },
    );
    let error = ca.poll(&[open]).await.remove(0).1.unwrap_err();
    assert_eq!(error.disposition, Disposition::BlameIssuer, "{error}");
}

#[tokio::test]
async fn the_search_by_name_is_tried_while_an_order_is_there() {
    let bench = Bench::new();
    let ca = bench.open();
    let open = placed(&*ca, 1).await;
    polled(&*ca, &open).await;
    assert!(ca.has_found_orders());
    let bench = Bench::with(|site| site.list_forgets = true);
    let ca = bench.open();
    let open = placed(&*ca, 1).await;
    polled(&*ca, &open).await;
    assert!(!ca.has_found_orders());
    bench.requests();
    polled(&*ca, &open).await;
    let tried = |bench: &Bench| {
        bench.lines().iter().filter(|line| line.ends_with("?client_reference")).count()
    };
    assert_eq!(tried(&bench), 0, "not before some time has passed");
    pass(5);
    bench.set(|site| site.list_forgets = false);
    polled(&*ca, &open).await;
    assert_eq!(tried(&bench), 1);
    assert!(ca.has_found_orders());
}

#[tokio::test]
async fn an_answer_for_another_order_is_not_taken() {
    let bench = Bench::new();
    let ca = bench.open();
    let one = placed(&*ca, 1).await;
    let two = placed(&*ca, 2).await;
    let mixed = chancery::ca::OpenOrder { id: two.id, ..one };
    let error = ca.poll(&[mixed]).await.remove(0).1.unwrap_err();
    assert!(error.message.contains("does not carry client_reference"), "{error}");
    assert_eq!(error.disposition, Disposition::Internal);
}
