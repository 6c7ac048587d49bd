//! Orders that are taken back, and certificates that are revoked.

use std::sync::Arc;

use chancery::ca::{Answer, OrderKind, Previous, RevocationReason};
use chancery::outside::Disposition;
use chancery::simulator::ssl_purchase::Action;
use serde_json::json;

use crate::bench::{Bench, Stored, key, pass_days, placed};

const REASON: RevocationReason = RevocationReason::Superseded;

fn deletions(bench: &Bench) -> usize {
    bench.orders().iter().filter(|order| order.deleted_on.is_some()).count()
}

#[tokio::test]
async fn only_what_waits_is_taken_back() {
    let bench = Bench::new();
    let ca = bench.open();
    let open = placed(&*ca, 1).await;
    assert_eq!(ca.cancel(&open).await.unwrap(), Answer::Done(()));
    assert_eq!(ca.cancel(&open).await.unwrap(), Answer::Done(()), "it is done already");
    bench.set(|site| site.deleted_are_gone = true);
    assert_eq!(ca.cancel(&open).await.unwrap(), Answer::Done(()), "it is gone");
    assert_eq!(deletions(&bench), 1);

    let bench = Bench::new();
    let ca = bench.open();
    let open = placed(&*ca, 1).await;
    let other = chancery::ca::OpenOrder { reference: "chancery-x-9".to_owned(), ..open.clone() };
    assert!(ca.cancel(&other).await.is_err(), "it is another's");
    bench.act(&Action::Advance);
    let error = ca.cancel(&open).await.unwrap_err();
    assert!(error.message.contains("was not taken back"), "{error}");
    assert_eq!(error.disposition, Disposition::Reject);
    let follows = chancery::ca::OpenOrder { replaces: Some("01".to_owned()), ..open };
    assert_eq!(ca.cancel(&follows).await.unwrap(), Answer::Unsupported, "the one before would end");
    assert_eq!(deletions(&bench), 0);
}

#[tokio::test]
async fn a_certificate_is_revoked_with_its_order_as_long_as_it_is_that_ones() {
    let bench = Bench::new();
    let ca = bench.open_with(json!({ "reissuePolicy": "Always" }));
    let (_, previous) = bench.issued(&*ca).await;
    pass_days(1);
    let kind = OrderKind::Reissue(Arc::clone(&previous));
    let stored = Stored::of(&*ca, "chancery-x-2", &key(1), &kind).await.unwrap();
    stored.submit(&*ca).await;
    let error = ca.revoke(&previous, REASON).await.unwrap_err();
    assert!(error.message.contains("has another certificate by now"), "{error}");
    assert_eq!(deletions(&bench), 0);

    let bench = Bench::new();
    let ca = bench.open();
    let (_, previous) = bench.issued(&*ca).await;
    let nameless = Previous { id: None, certificate: previous.certificate.clone(), key: None };
    assert_eq!(ca.revoke(&nameless, REASON).await.unwrap(), Answer::Unsupported);
    for _ in 0..2 {
        assert_eq!(ca.revoke(&previous, REASON).await.unwrap(), Answer::Done(()));
    }
    assert_eq!(deletions(&bench), 1);
}
