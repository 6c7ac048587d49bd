//! That an order whose answer was lost is found again, and that nothing is called absent that may be
//! there.

use chancery::ca::{KeyEvidence, Lookup, Phase, Submitted};
use chancery::simulator::Kind;
use chancery::simulator::ssl_purchase::{
    Action, Envelope, Operation, PendingCsr, ReferenceFilter, SiteSettings,
};

use crate::bench::{Bench, REFERENCE, Stored, key, placed};

fn found(lookup: Lookup) -> Vec<chancery::ca::Found> {
    let Lookup::Found(found) = lookup else { panic!("{lookup:?}") };
    found
}

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_found_whatever_the_list_is_like() {
    type Change = fn(&mut SiteSettings);
    let without = |fields: &[&str]| fields.iter().map(|&field| field.to_owned()).collect();
    let rows: [(&str, Change, KeyEvidence); 11] = [
        ("as it is", |_| {}, KeyEvidence::Ours),
        ("no filter", |site| site.reference_filter = ReferenceFilter::Ignored, KeyEvidence::Ours),
        (
            "a filter by the beginning",
            |site| site.reference_filter = ReferenceFilter::Prefix,
            KeyEvidence::Ours,
        ),
        ("small pages", |site| site.page_limit = 1, KeyEvidence::Ours),
        (
            "small pages without a filter",
            |site| {
                site.page_limit = 2;
                site.reference_filter = ReferenceFilter::Ignored;
            },
            KeyEvidence::Ours,
        ),
        ("one is no list", |site| site.lone_item_bare = true, KeyEvidence::Ours),
        ("bare", |site| site.envelope = Envelope::Bare, KeyEvidence::Ours),
        ("no CSR in it", |site| site.echoes_csr = false, KeyEvidence::Ours),
        (
            "no CSR anywhere",
            |site| {
                site.echoes_csr = false;
                site.pending_csr = PendingCsr::Missing;
            },
            KeyEvidence::None,
        ),
        ("a number for an id", |site| site.numeric_ids = true, KeyEvidence::Ours),
        ("a conflict", |site| site.refuses_known_references = true, KeyEvidence::Ours),
    ];
    for (name, change, evidence) in rows {
        let bench = Bench::with(change);
        let ca = bench.open();
        // Others, one of which begins like ours.
        for number in [10, 2, 3] {
            placed(&*ca, number).await;
        }
        let stored = Stored::new(&*ca, REFERENCE, &key(1)).await;
        assert!(matches!(stored.find(&*ca).await, Lookup::Absent { complete: true, .. }), "{name}");
        assert!(!ca.has_found_orders(), "{name}");
        bench.fault(Operation::Create, Kind::DropAfterCommit);
        assert!(matches!(stored.submit(&*ca).await, Submitted::Unknown(_)), "{name}");
        let found = found(stored.find(&*ca).await);
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(found[0].evidence, evidence, "{name}");
        assert!(found[0].progress.named && found[0].created.is_some(), "{name}");
        assert!(ca.has_found_orders(), "{name}");
    }
    // Where lists show less, each order is looked at by itself.
    for fields in [without(&["client_reference"]), without(&["client_reference", "csr"])] {
        let bench = Bench::with(|site| site.list_omits = fields);
        let ca = bench.open();
        let stored = Stored::new(&*ca, REFERENCE, &key(1)).await;
        stored.submit(&*ca).await;
        assert_eq!(found(stored.find(&*ca).await)[0].evidence, KeyEvidence::Ours);
    }
}

#[tokio::test]
async fn an_order_without_a_name_anywhere_is_told_by_its_key() {
    let bench = Bench::with(|site| {
        site.omits = ["client_reference".to_owned()].into();
        site.reference_filter = ReferenceFilter::Ignored;
    });
    let ca = bench.open();
    placed(&*ca, 2).await;
    let stored = Stored::new(&*ca, REFERENCE, &key(1)).await;
    assert!(matches!(stored.find(&*ca).await, Lookup::Absent { complete: true, .. }));
    stored.submit(&*ca).await;
    let mine = found(stored.find(&*ca).await);
    assert_eq!((mine.len(), mine[0].evidence), (1, KeyEvidence::Ours));
    bench.set(|site| {
        site.echoes_csr = false;
        site.pending_csr = PendingCsr::Missing;
    });
    let Lookup::Absent { complete, doubt } = stored.find(&*ca).await else { panic!("no name") };
    assert!(!complete && doubt.unwrap().contains("neither a client_reference nor its key"));
}

#[tokio::test]
async fn what_could_not_be_read_whole_is_not_absent() {
    type Change = fn(&mut SiteSettings);
    let rows: [(&str, Change); 2] = [
        ("every page is the first", |site| {
            site.page_limit = 1;
            site.ignores_offset = true;
            site.reference_filter = ReferenceFilter::Ignored;
        }),
        ("more pages than are read", |site| {
            site.page_limit = 1;
            site.reference_filter = ReferenceFilter::Ignored;
        }),
    ];
    for (name, change) in rows {
        let bench = Bench::with(change);
        let ca = bench.open();
        for number in 2..60 {
            placed(&*ca, number).await;
        }
        let stored = Stored::new(&*ca, REFERENCE, &key(1)).await;
        let Lookup::Absent { complete, doubt } = stored.find(&*ca).await else { panic!("{name}") };
        assert!(!complete && doubt.is_some(), "{name}");
    }
}

#[tokio::test]
async fn two_of_ours_and_one_for_another_key_are_told_apart() {
    let bench = Bench::with(|site| site.duplicate_next = true);
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE, &key(1)).await;
    stored.submit(&*ca).await;
    let both = found(stored.find(&*ca).await);
    assert_eq!(both.len(), 2);
    assert!(both.iter().all(|one| one.evidence == KeyEvidence::Ours));
    let other = Stored::new(&*ca, REFERENCE, &key(2)).await;
    let foreign = found(other.find(&*ca).await);
    assert!(foreign.iter().all(|one| one.evidence == KeyEvidence::Foreign));
    for order in bench.orders() {
        bench.site.act(&order.id, &Action::Advance).unwrap();
    }
    for one in found(stored.find(&*ca).await) {
        let Phase::Issued(chain) = &one.progress.phase else { panic!("it is issued") };
        assert!(stored.has(chain) && one.evidence == KeyEvidence::Ours);
    }
}

#[tokio::test]
async fn an_order_that_the_list_forgot_is_found_by_its_id() {
    let bench = Bench::new();
    let ca = bench.open();
    let mut stored = Stored::new(&*ca, REFERENCE, &key(1)).await;
    let open = stored.open(&stored.submit(&*ca).await);
    bench.set(|site| site.list_forgets = true);
    assert!(matches!(stored.find(&*ca).await, Lookup::Absent { complete: true, .. }));
    stored.id = Some(open.id);
    assert_eq!(found(stored.find(&*ca).await).len(), 1);
}
