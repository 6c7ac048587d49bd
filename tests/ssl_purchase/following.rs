//! Renewals and reissues: when they are made, that nothing is paid twice, and that they are found by
//! the id of the order before.

use std::sync::Arc;

use chancery::ca::{KeyEvidence, Lookup, OrderKind, Phase, Previous, Submitted, Wanted};
use chancery::outside::Disposition;
use chancery::pki::PrivateKey;
use chancery::reason::Reason;
use chancery::simulator::Kind;
use chancery::simulator::ssl_purchase::{Action, Deed, Operation, PendingCsr, Step};
use serde_json::json;

use crate::bench::{
    Bench, OTHER_PLAN, PLAN, REFERENCE, Stored, key, names, pass, pass_days, polled, told, wanted,
};

const NEXT: &str = "chancery-0f0e0d0c-0b0a-4908-8706-050403020100-2";

fn next_key() -> Arc<PrivateKey> {
    key(1)
}

/// A certificate of a subscription that ends as it does.
fn yearly(bench: &Bench) {
    bench.set(|site| site.certificate_days = 366);
}

async fn renewal(
    ca: &dyn chancery::ca::CertificateAuthority,
    previous: &Arc<Previous>,
) -> Result<Stored, chancery::outside::Error> {
    Stored::of(ca, NEXT, &next_key(), &OrderKind::Renew(Arc::clone(previous))).await
}

#[tokio::test]
async fn a_renewal_goes_on_with_the_order_under_its_first_name() {
    let bench = Bench::new();
    yearly(&bench);
    let ca = bench.open();
    let (_, previous) = bench.issued(&*ca).await;
    pass_days(340);
    let stored = renewal(&*ca, &previous).await.unwrap();
    assert_eq!(stored.kind.word(), "renew");
    assert_eq!(ca.product_in(&stored.parameters).as_deref(), Some(PLAN));
    bench.requests();
    let submitted = stored.submit(&*ca).await;
    let requests = bench.requests();
    assert_eq!(requests[0].line(), "POST ssl-certificate/{id}/renew");
    assert!(requests.len() == 1 && requests[0].fresh_connection);
    let body = requests[0].json();
    assert_eq!(body["client_reference"], REFERENCE, "its name stays");
    assert_eq!(body["plan"], PLAN);
    let open = stored.open(&submitted);
    assert!(matches!(polled(&*ca, &open).await, Phase::Pending(_)));
    bench.act(&Action::Advance);
    let Phase::Issued(chain) = polled(&*ca, &open).await else { panic!("it is renewed") };
    assert!(stored.has(&chain));
    let order = bench.orders().remove(0);
    assert_eq!(order.purchases.len(), 2);
    assert_eq!(order.purchases[1].deed, Deed::Renew);
}

#[tokio::test]
async fn before_its_window_nothing_is_bought_and_until_when_is_said() {
    let bench = Bench::new();
    let ca = bench.open();
    let (_, previous) = bench.issued(&*ca).await;
    // The certificate lives for 200 days, the subscription for a year.
    pass_days(190);
    let error = renewal(&*ca, &previous).await.err().unwrap();
    assert_eq!(error.reason, Reason::RenewalTooEarly);
    assert!(matches!(error.disposition, Disposition::Retry { after: Some(_) }), "{error:?}");
    for says in
        ["is paid until 2027-05-28", "from 2027-04-28", "reissuePolicy", "nothing was bought"]
    {
        assert!(error.message.contains(says), "{says}: {error}");
    }
    assert_eq!(bench.bought(), 1);

    let ca = bench.open_with(json!({ "reissuePolicy": "OnRequest" }));
    assert!(!ca.capabilities().kinds.reissue, "other names are another order");
    assert!(renewal(&*ca, &previous).await.is_err(), "nobody asked");
    let (kind, names) = (OrderKind::Renew(Arc::clone(&previous)), names());
    let asked = Wanted { is_requested: true, ..wanted(&names, &kind) };
    assert_eq!(ca.prepare(&asked).await.unwrap().kind.word(), "reissue");

    let ca = bench.open_with(json!({ "reissuePolicy": "Always" }));
    assert!(ca.capabilities().kinds.reissue);
    let stored = renewal(&*ca, &previous).await.unwrap();
    assert_eq!(stored.kind.word(), "reissue");
    bench.requests();
    let open = stored.open(&stored.submit(&*ca).await);
    let body = bench.requests().remove(0);
    assert_eq!(body.line(), "POST ssl-certificate/{id}/reissue");
    assert_eq!(body.json()["plan"], json!(null), "it has its plan");
    let Phase::Issued(chain) = polled(&*ca, &open).await else { panic!("it is there at once") };
    assert!(stored.has(&chain));
    assert_eq!(bench.site.references().paid, 1, "a reissue costs nothing");
}

#[tokio::test]
async fn a_certificate_that_lasts_as_long_as_its_term_is_not_ended_for_another_that_lasts_no_longer()
 {
    let bench = Bench::new();
    yearly(&bench);
    let ca = bench.open_with(json!({ "reissuePolicy": "Always" }));
    let (_, previous) = bench.issued(&*ca).await;
    pass_days(250);
    let error = renewal(&*ca, &previous).await.err().unwrap();
    assert_eq!(error.reason, Reason::RenewalTooEarly);
    assert!(error.message.contains("would gain nothing") && error.message.contains("renewBefore"));
    pass_days(86);
    assert_eq!(renewal(&*ca, &previous).await.unwrap().kind.word(), "renew");
}

#[tokio::test]
async fn what_has_expired_within_a_paid_term_is_reissued_and_not_bought_again() {
    let bench = Bench::new();
    let ca = bench.open();
    let (_, previous) = bench.issued(&*ca).await;
    pass_days(201);
    let stored = renewal(&*ca, &previous).await.unwrap();
    assert_eq!(stored.kind.word(), "reissue");
    let open = stored.open(&stored.submit(&*ca).await);
    let Phase::Issued(chain) = polled(&*ca, &open).await else { panic!("it is there at once") };
    assert!(stored.has(&chain));
    assert_eq!(bench.site.references().paid, 1);
}

#[tokio::test]
async fn the_first_term_is_known_where_the_api_tells_the_end_of_certificates_alone() {
    let bench = Bench::with(|site| site.omits = ["subscription_expires".to_owned()].into());
    let ca = bench.open();
    let (_, previous) = bench.issued(&*ca).await;
    pass_days(190);
    let error = renewal(&*ca, &previous).await.err().unwrap();
    assert_eq!(error.reason, Reason::RenewalTooEarly);
    // Nobody tells how long a term is: the API says what it thinks of it.
    bench.set(|site| site.plans_forbidden = true);
    let stored = renewal(&*ca, &previous).await.unwrap();
    let Submitted::Refused(error) = stored.submit(&*ca).await else { panic!("it is too early") };
    assert_eq!(error.disposition, Disposition::Internal, "it may be taken later");
    assert!(error.message.contains("cannot be renewed yet"), "{error}");
    assert_eq!(bench.bought(), 1);
}

#[tokio::test]
async fn the_window_is_that_of_the_plan_or_else_of_the_issuer() {
    let bench = Bench::new();
    yearly(&bench);
    let ca = bench.open();
    let (_, previous) = bench.issued(&*ca).await;
    pass_days(300);
    assert!(renewal(&*ca, &previous).await.is_err(), "30 days, says the plan");
    bench.set(|site| site.plans[0].renew_days_before_expiration = 90);
    assert_eq!(renewal(&*ca, &previous).await.unwrap().kind.word(), "renew");
    bench.set(|site| site.plans_forbidden = true);
    assert!(renewal(&*ca, &previous).await.is_err(), "30 days, says the issuer");
    let ca = bench.open_with(json!({ "renewalWindow": 90 }));
    assert_eq!(renewal(&*ca, &previous).await.unwrap().kind.word(), "renew");
}

#[tokio::test]
async fn what_has_ended_is_ordered_anew_and_what_is_at_work_is_left_alone() {
    let bench = Bench::new();
    yearly(&bench);
    let ca = bench.open();
    let (_, previous) = bench.issued(&*ca).await;
    pass_days(340);
    bench.act(&Action::Set { state: "renewing".to_owned() });
    let error = renewal(&*ca, &previous).await.err().unwrap();
    assert!(error.message.contains("is renewing at the reseller"), "{error}");
    assert!(matches!(error.disposition, Disposition::Retry { .. }));
    assert!(!error.message.contains("statusWords"), "{error}");
    bench.act(&Action::Set { state: "frobnicated".to_owned() });
    let error = renewal(&*ca, &previous).await.err().unwrap();
    for says in ["is frobnicated", "in no list", "spec.sslPurchase.statusWords", "nothing was"] {
        assert!(error.message.contains(says), "{says}: {error}");
    }
    for state in ["cancelled", "disabled", "failed"] {
        bench.act(&Action::Set { state: state.to_owned() });
        let stored = renewal(&*ca, &previous).await.unwrap();
        assert_eq!(stored.kind.word(), "new", "{state}");
    }
    bench.act(&Action::Set { state: "active".to_owned() });
    pass_days(40);
    let stored = renewal(&*ca, &previous).await.unwrap();
    assert_eq!(stored.kind.word(), "new", "its term is over");
    bench.act(&Action::Forget);
    let stored = renewal(&*ca, &previous).await.unwrap();
    assert_eq!(stored.kind.word(), "new", "it is gone");
    assert_eq!(bench.bought(), 1, "to prepare buys nothing");
    let submitted = stored.submit(&*ca).await;
    assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
    assert_eq!(bench.orders()[1].reference.as_deref(), Some(NEXT));
}

#[tokio::test]
async fn one_answer_that_an_order_is_not_there_makes_no_renewal_a_purchase() {
    let bench = Bench::new();
    let ca = bench.open_with(json!({ "reissuePolicy": "Always" }));
    let (_, previous) = bench.issued(&*ca).await;
    pass_days(190);
    bench.act(&Action::Forget);
    let names = names();
    for kind in [OrderKind::Renew(Arc::clone(&previous)), OrderKind::Reissue(previous)] {
        let error = ca.prepare(&wanted(&names, &kind)).await.unwrap_err();
        assert_eq!(error.reason, Reason::OrderForgotten, "{error}");
        assert!(matches!(error.disposition, Disposition::Retry { .. }), "{error:?}");
        for says in [
            "is not known",
            "nothing was bought",
            "spec.sslPurchase.paths",
            "credentials",
            "remove the annotation chancery.dev/order-id from the target Secret",
        ] {
            assert!(error.message.contains(says), "{says}: {error}");
        }
    }
    assert_eq!(bench.bought(), 1);
}

#[tokio::test]
async fn an_end_that_is_told_too_early_ends_no_term() {
    let bench = Bench::with(|site| {
        site.omits = ["subscription_expires".to_owned()].into();
        site.renames = [("created_at".to_owned(), "subscription_end_date".to_owned())].into();
    });
    let ca = bench.open();
    let (_, previous) = bench.issued(&*ca).await;
    pass_days(190);
    let stored = renewal(&*ca, &previous).await.unwrap();
    assert_eq!(stored.kind.word(), "renew", "its certificate is valid: so long it is paid");
}

#[tokio::test]
async fn another_plan_is_no_reissue_of_the_one_that_was_paid() {
    let bench = Bench::new();
    let ca = bench.open_with(json!({ "reissuePolicy": "Always" }));
    let (_, previous) = bench.issued(&*ca).await;
    let names = names();
    let kind = OrderKind::Reissue(previous);
    let same = ca.prepare(&wanted(&names, &kind)).await.unwrap();
    assert_eq!(same.kind.word(), "reissue");
    let other = json!({ "reissuePolicy": "Always", "plan": { "id": OTHER_PLAN } });
    let other = bench.open_with(other);
    let other = other.prepare(&wanted(&names, &kind)).await.unwrap();
    assert_eq!(other.kind.word(), "new");
    // What is paid is used up first, and then the other plan is bought.
    let other = json!({ "reissuePolicy": "Always", "plan": { "id": OTHER_PLAN } });
    let other = bench.open_with(other);
    let OrderKind::Reissue(previous) = kind else { panic!("it is one") };
    let stored = renewal(&*other, &previous).await.unwrap();
    assert_eq!(stored.kind.word(), "reissue");
    assert_eq!(other.product_in(&stored.parameters).as_deref(), Some(PLAN));
}

#[tokio::test]
async fn a_renewal_whose_answer_was_lost_is_found_by_its_order() {
    for pending_csr in [PendingCsr::New, PendingCsr::Old, PendingCsr::Missing] {
        let bench = Bench::with(|site| {
            site.pending_csr = pending_csr;
            site.echoes_csr = pending_csr == PendingCsr::New;
        });
        yearly(&bench);
        let ca = bench.open();
        let (_, previous) = bench.issued(&*ca).await;
        pass_days(340);
        let stored = renewal(&*ca, &previous).await.unwrap();
        assert!(matches!(stored.find(&*ca).await, Lookup::Unchanged), "nothing was sent");
        bench.set(|site| site.renewal_unseen_seconds = 60.0);
        bench.fault(Operation::Renew, Kind::DropAfterCommit);
        assert!(matches!(stored.submit(&*ca).await, Submitted::Unknown(_)));
        assert!(matches!(stored.find(&*ca).await, Lookup::Unchanged), "it does not show yet");
        pass(61);
        let Lookup::Found(found) = stored.find(&*ca).await else { panic!("{pending_csr:?}") };
        let expected = match pending_csr {
            PendingCsr::New => KeyEvidence::Ours,
            PendingCsr::Missing | PendingCsr::Old => KeyEvidence::None,
        };
        assert_eq!((found.len(), found[0].evidence), (1, expected), "{pending_csr:?}");
        assert_eq!(found[0].progress.id, previous.id);
        bench.act(&Action::Advance);
        let Lookup::Found(found) = stored.find(&*ca).await else { panic!("it is renewed") };
        assert_eq!(found[0].evidence, KeyEvidence::Ours);
        let Phase::Issued(chain) = &found[0].progress.phase else { panic!("it is there") };
        assert!(stored.has(chain));
        assert_eq!(bench.bought(), 2);
        // Somebody else's, who renewed the same order.
        let other = Stored::of(&*ca, NEXT, &key(2), &OrderKind::New).await.unwrap();
        let other = Stored { kind: OrderKind::Renew(Arc::clone(&previous)), ..other };
        let Lookup::Found(found) = other.find(&*ca).await else { panic!("it moved on") };
        assert_eq!(found[0].evidence, KeyEvidence::Foreign);
    }
}

#[tokio::test]
async fn the_certificate_before_is_not_taken_for_the_new_one() {
    let bench = Bench::with(|site| site.old_files_seconds = 120.0);
    yearly(&bench);
    bench.set(|site| {
        site.renewal_states = Some(vec![Step::waiting("pending"), Step::waiting("active")]);
        site.renewal_unseen_seconds = 30.0;
    });
    let ca = bench.open();
    let (_, previous) = bench.issued(&*ca).await;
    pass_days(340);
    let stored = renewal(&*ca, &previous).await.unwrap();
    let open = stored.open(&stored.submit(&*ca).await);
    let waits = async |says: &str| {
        let phase = polled(&*ca, &open).await;
        assert!(matches!(&phase, Phase::Pending(_)) && told(&phase).contains(says), "{phase:?}");
    };
    waits("still serves the certificate that is to be replaced").await;
    pass(31);
    waits("the reseller works on the order").await;
    bench.act(&Action::Advance);
    waits("still serves the certificate that is to be replaced").await;
    assert!(matches!(stored.find(&*ca).await, Lookup::Unchanged));
    pass(121);
    let Phase::Issued(chain) = polled(&*ca, &open).await else { panic!("it is there") };
    assert!(stored.has(&chain));
}

#[tokio::test]
async fn an_order_that_is_gone_is_neither_absent_nor_unchanged() {
    let bench = Bench::new();
    yearly(&bench);
    let ca = bench.open();
    let (_, previous) = bench.issued(&*ca).await;
    pass_days(340);
    let stored = renewal(&*ca, &previous).await.unwrap();
    bench.act(&Action::Forget);
    let Lookup::Absent { complete: false, doubt } = stored.find(&*ca).await else {
        panic!("nobody knows");
    };
    assert!(doubt.unwrap().contains("does not know order"));
    let Submitted::Refused(error) = stored.submit(&*ca).await else { panic!("it is gone") };
    assert_eq!(error.disposition, Disposition::Internal, "{error}");
}
