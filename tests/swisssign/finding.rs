//! Orders found again, and what it takes to say that there is none.

use std::sync::Arc;

use chancery::api::SwissSignSubmission;
use chancery::ca::{CertificateAuthority, KeyEvidence, Lookup, Phase, Submitted};
use chancery::outside::Disposition;
use chancery::pki::{KeyKind, PrivateKey};
use chancery::simulator::Kind;
use chancery::simulator::swisssign::{Action, Operation, SiteSettings};

use crate::bench::{Bench, REFERENCE, Stored, pass, placed};

/// What a search came to, in a word and the doubt.
fn came_to(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Absent { complete, doubt } => {
            format!("absent, complete {complete}, {}", doubt.as_deref().unwrap_or("no doubt"))
        }
        Lookup::Found(all) => {
            let evidence: Vec<String> =
                all.iter().map(|one| format!("{:?}", one.evidence)).collect();
            format!("found {}", evidence.join(" "))
        }
        Lookup::Unchanged => "unchanged".to_owned(),
        Lookup::Unsupported => "unsupported".to_owned(),
    }
}

const ABSENT: &str = "absent, complete true, no doubt";
const DOUBTFUL: &str = "of the same product carries no name and was made in that time";

/// An order whose answer was lost, at a site that is like this.
async fn lost(
    change: impl FnOnce(&mut SiteSettings),
) -> (Bench, Arc<dyn CertificateAuthority>, Stored) {
    let bench = Bench::new();
    bench.set(change);
    let ca = bench.open();
    let mut stored = Stored::new(&*ca, REFERENCE).await;
    bench.fault(Operation::Issue, Kind::DropAfterCommit);
    assert!(matches!(stored.submit(&*ca).await, Submitted::Unknown(_)));
    stored.may_exist = true;
    bench.requests();
    (bench, ca, stored)
}

#[tokio::test]
async fn a_lost_order_is_found_by_its_name() {
    let (bench, ca, stored) = lost(|_| {}).await;
    assert_eq!(came_to(&stored.find(&*ca).await), "found Ours");
    assert_eq!(bench.paths(), ["orders/paged"]);
    bench.act(&Action::Advance);
    let Lookup::Found(found) = stored.find(&*ca).await else { panic!("not found") };
    assert!(matches!(&found[0].progress.phase, Phase::Issued(chain) if chain.len() == 3));
    assert_eq!(bench.paths(), ["orders/paged", "order/ord-/certificate/chain"]);
}

#[tokio::test]
async fn a_search_that_does_not_look_at_tags_finds_it_among_others() {
    let (bench, ca, stored) = lost(|site| {
        site.search_ignores_tags = true;
        site.max_page_length = 3;
    })
    .await;
    for number in 2..12 {
        placed(&*ca, number).await;
    }
    bench.requests();
    assert_eq!(came_to(&stored.find(&*ca).await), "found Ours");
    assert_eq!(bench.paths().len(), 4, "eleven orders on four pages");
    let never = Stored { reference: REFERENCE.replace("-1", "-99"), ..stored };
    assert_eq!(came_to(&never.find(&*ca).await), ABSENT);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_grows_while_it_is_read_is_read_anew() {
    let bench = Bench::new();
    bench.set(|site| site.max_page_length = 2);
    let ca = bench.open();
    for number in 2..6 {
        placed(&*ca, number).await;
    }
    let mut never = Stored::new(&*ca, REFERENCE).await;
    never.may_exist = true;
    bench.requests();
    // The search by name, the first page, and the second, which waits.
    for seconds in [0.0, 0.0, 1.0] {
        bench.fault(Operation::OrdersPaged, Kind::Delay { seconds, after_commit: false });
    }
    let mut pages = 0;
    let grown = async {
        while pages < 3 {
            pages += bench.paths().iter().filter(|path| *path == "orders/paged").count();
            tokio::task::yield_now().await;
        }
        placed(&*ca, 6).await;
    };
    let (found, ()) = tokio::join!(never.find(&*ca), grown);
    assert_eq!(came_to(&found), ABSENT, "each of five orders was read");
    pages += bench.paths().iter().filter(|path| *path == "orders/paged").count();
    assert_eq!(pages, 3 + 3, "after the second page of two, the three of now");
}

#[tokio::test]
async fn an_order_that_is_not_in_the_search_yet_is_absent_and_then_found() {
    let (_, ca, stored) = lost(|site| site.search_lag_seconds = 60.0).await;
    assert_eq!(came_to(&stored.find(&*ca).await), ABSENT, "hence the settle window");
    pass(61);
    assert_eq!(came_to(&stored.find(&*ca).await), "found Ours");
}

#[tokio::test]
async fn without_tags_an_open_order_makes_it_doubtful_and_its_certificate_tells() {
    let (bench, ca, stored) = lost(|site| site.drop_tags = true).await;
    let told = came_to(&stored.find(&*ca).await);
    assert!(told.starts_with("absent, complete false, order ord-"), "{told}");
    assert!(told.ends_with(DOUBTFUL), "{told}");
    let first = Stored { may_exist: false, ..stored };
    assert_eq!(came_to(&first.find(&*ca).await), ABSENT, "nothing was ever sent for that one");
    bench.act(&Action::Advance);
    let stored = Stored { may_exist: true, ..first };
    let Lookup::Found(found) = stored.find(&*ca).await else { panic!("not found") };
    assert_eq!(found[0].evidence, KeyEvidence::Ours);
    assert!(!found[0].progress.named);
}

#[tokio::test]
async fn orders_of_others_are_no_doubt() {
    let bench = Bench::new();
    let ca = bench.open();
    let other = Arc::new(PrivateKey::generate(KeyKind::EcdsaP256).unwrap());
    // One of Chancery's own, one without a name that is issued, one that is old.
    placed(&*ca, 7).await;
    bench.set(|site| site.drop_tags = true);
    let stranger = Stored::for_key(&*ca, &REFERENCE.replace("-1", "-8"), &other).await;
    stranger.submit(&*ca).await;
    pass(2 * 3600);
    let unnamed = Stored::for_key(&*ca, &REFERENCE.replace("-1", "-9"), &other).await;
    let submitted = unnamed.submit(&*ca).await;
    let id = unnamed.open(&submitted).id;
    let mut stored = Stored::new(&*ca, REFERENCE).await;
    stored.may_exist = true;
    let told = came_to(&stored.find(&*ca).await);
    assert!(told.contains(&id) && told.ends_with(DOUBTFUL), "{told}");
    bench.site.act(&id, &Action::Advance).unwrap();
    assert_eq!(came_to(&stored.find(&*ca).await), ABSENT);
}

#[tokio::test]
async fn another_key_under_our_name_is_told() {
    let bench = Bench::new();
    let ca = bench.open();
    let other = Arc::new(PrivateKey::generate(KeyKind::EcdsaP256).unwrap());
    Stored::for_key(&*ca, REFERENCE, &other).await.submit(&*ca).await;
    let stored = Stored::new(&*ca, REFERENCE).await;
    assert_eq!(came_to(&stored.find(&*ca).await), "found Foreign");
    bench.act(&Action::Advance);
    assert_eq!(came_to(&stored.find(&*ca).await), "found Foreign");
}

#[tokio::test]
async fn of_two_orders_the_older_comes_first() {
    let bench = Bench::new();
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE).await;
    let first = stored.submit(&*ca).await;
    pass(10);
    stored.submit(&*ca).await;
    let Lookup::Found(found) = stored.find(&*ca).await else { panic!("not found") };
    let first = stored.open(&first).id;
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].progress.id, Some(first));
}

#[tokio::test]
async fn an_order_that_is_known_by_its_id_needs_no_search() {
    let (bench, ca, mut stored) = lost(|site| site.index_forgets = true).await;
    assert_eq!(came_to(&stored.find(&*ca).await), ABSENT);
    stored.id = Some(bench.site.orders().unwrap()[0].uuid.clone());
    assert_eq!(came_to(&stored.find(&*ca).await), "found Ours");
    bench.act(&Action::Forget);
    assert_eq!(came_to(&stored.find(&*ca).await), ABSENT);
}

#[tokio::test]
async fn bare_csrs_are_found_once_issued_and_never_called_absent() {
    let bench = Bench::new();
    let mut spec = bench.spec();
    spec.submission = SwissSignSubmission::CsrOnly;
    let ca = bench.open_with(spec);
    let mut stored = Stored::new(&*ca, REFERENCE).await;
    assert_eq!(came_to(&stored.find(&*ca).await), "unsupported");
    bench.fault(Operation::IssueCsr, Kind::DropAfterCommit);
    assert!(matches!(stored.submit(&*ca).await, Submitted::Unknown(_)));
    stored.may_exist = true;
    assert_eq!(came_to(&stored.find(&*ca).await), "unsupported");
    bench.act(&Action::Advance);
    assert_eq!(came_to(&stored.find(&*ca).await), "found Ours");
    let id = bench.site.orders().unwrap()[0].uuid.clone();
    let known = Stored { id: Some(id), may_exist: false, ..stored };
    assert_eq!(came_to(&known.find(&*ca).await), "found Ours");
}

#[tokio::test(start_paused = true)]
async fn a_search_that_fails_is_an_error_and_no_absence() {
    let (bench, ca, stored) = lost(|site| site.drop_tags = true).await;
    let status = |status| Kind::Status { status, body: None, retry_after: Some(7), html: false };
    let validation = Kind::ApiError {
        code: "<011.351.0226>".to_owned(),
        status: 400,
        messages: Vec::new(),
        after_commit: false,
    };
    let kinds = [
        status(400),
        status(403),
        status(404),
        status(500),
        status(503),
        Kind::EmptyBody,
        Kind::TruncatedBody,
        Kind::HtmlBody,
        Kind::Hang,
        validation,
    ];
    for kind in kinds {
        bench.fault(Operation::OrdersPaged, kind.clone());
        let error = ca.find(&stored.order()).await.unwrap_err();
        assert_ne!(error.disposition, Disposition::Reject, "{kind:?}: {error}");
    }
    let body = Some(r#"{"draw":1,"recordsFiltered":5,"recordsTotal":5,"data":[]}"#.to_owned());
    let short = Kind::Status { status: 200, body, retry_after: None, html: false };
    bench.fault(Operation::OrdersPaged, short);
    let told = came_to(&stored.find(&*ca).await);
    let says = "absent, complete false, the search announced 5 orders, but 0 could be read";
    assert_eq!(told, says);
}

#[tokio::test]
async fn a_chain_that_cannot_be_read_now_hides_no_order() {
    let (bench, ca, stored) = lost(|_| {}).await;
    bench.act(&Action::Advance);
    let trouble = Kind::Status { status: 503, body: None, retry_after: None, html: false };
    bench.fault(Operation::Chain, trouble);
    let Lookup::Found(found) = stored.find(&*ca).await else { panic!("not found") };
    assert_eq!(found[0].evidence, KeyEvidence::Ours, "the search shows the certificate");
    assert!(matches!(&found[0].progress.phase, Phase::Pending(_)));
}
