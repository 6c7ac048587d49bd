//! What comes after an order: renewal, reissue, deletion.

use chancery::simulator::ssl_purchase::{
    Action, Deed, LaterReference, PendingCsr, RenewalWindow, Step, Validation,
};
use rcgen::KeyPair;
use serde_json::{Value, json};
use x509_cert::Certificate;

use crate::bench::{Bench, Reply, csr_for, is_for, key, names, with};

async fn renew(bench: &Bench, id: &str, key: &KeyPair, further: Value) -> Reply {
    let body = bench.body(key, &["example.org"], further);
    bench.post(&format!("ssl-certificate/{id}/renew"), &body).await
}

async fn reissue(bench: &Bench, id: &str, key: &KeyPair, further: Value) -> Reply {
    let mut body = bench.body(key, &["example.org"], further);
    body.as_object_mut().unwrap().remove("plan");
    bench.post(&format!("ssl-certificate/{id}/reissue"), &body).await
}

fn serial(certificate: &Certificate) -> String {
    certificate.tbs_certificate().serial_number().to_string()
}

#[tokio::test]
async fn ssl_purchase_renewal_waits_for_its_window_and_goes_through_pending() {
    let bench = Bench::new();
    let id = bench.active("a").await;
    let (old, new) = (bench.leaf(&id).await, key());
    bench.pass_days(334);
    let early = renew(&bench, &id, &new, json!({})).await;
    assert_eq!(early.failure(), (400, "renewal_not_possible".to_owned()));
    bench.pass_days(1);
    let given = json!({"client_reference": "b"});
    let order = renew(&bench, &id, &new, given.clone()).await.result();
    assert_eq!((&order["id"], &order["status"]), (&json!(id), &json!("pending")));
    assert_eq!(order["client_reference"], "a", "the order's own");
    assert_eq!(order["csr"], json!(csr_for_shown(&bench, &id).await));
    assert_eq!(serial(&bench.leaf(&id).await), serial(&old), "still the old one");
    assert_eq!(renew(&bench, &id, &new, json!({})).await.failure().0, 409, "one at a time");
    assert_eq!(reissue(&bench, &id, &new, json!({})).await.failure().0, 409);
    bench.pass(1.0);
    let order = bench.order(&id).await;
    assert_eq!(order["status"], "active");
    assert_eq!(order["subscription_expires"], "2028-11-24T20:00:00Z", "another 12 months");
    let leaf = bench.leaf(&id).await;
    assert!(is_for(&leaf, &new) && serial(&leaf) != serial(&old));

    let record = bench.record(0);
    assert_eq!((record.purchases.len(), record.certificates.len()), (2, 2));
    assert_eq!(record.purchases[1].deed, Deed::Renew);
    assert_eq!(record.purchases[1].submitted_reference.as_deref(), Some("b"));
    assert_eq!(record.purchases[1].spki_sha256, record.certificates[1].spki_sha256);
    assert_ne!(record.certificates[0].spki_sha256, record.certificates[1].spki_sha256);
    assert_eq!(record.certificates[0].void_since, None);
    let references = bench.site.references();
    assert_eq!((references.of("a").renews, references.of("b").renews), (1, 0));
    assert_eq!(references.paid, 2);
}

async fn csr_for_shown(bench: &Bench, id: &str) -> String {
    bench.order(id).await["csr"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn ssl_purchase_the_window_may_count_from_the_end_of_the_certificate() {
    let bench = Bench::new();
    let id = bench.active("a").await;
    bench.pass_days(171);
    assert_eq!(renew(&bench, &id, &key(), json!({})).await.failure().0, 400);
    bench.change(|settings| settings.renewal_window = RenewalWindow::Certificate);
    renew(&bench, &id, &key(), json!({})).await.result();
    bench.pass(1.0);
    let order = bench.order(&id).await;
    assert_eq!(order["subscription_expires"], "2028-11-24T20:00:00Z", "no day is lost");
}

#[tokio::test]
async fn ssl_purchase_renewals_may_be_unseen_and_files_old() {
    let bench = Bench::with(with(|settings| {
        settings.renewal_unseen_seconds = 10.0;
        settings.old_files_seconds = 20.0;
    }));
    let id = bench.active("a").await;
    bench.pass_days(340);
    let (old, new) = (bench.leaf(&id).await, key());
    let order = renew(&bench, &id, &new, json!({})).await.result();
    assert_eq!(order["status"], "active", "the state at that moment");
    assert_eq!(bench.site.references().of("a").renews, 1);
    bench.pass(9.0);
    assert_eq!(bench.status(&id).await, "active");
    bench.pass(1.0);
    assert_eq!(bench.status(&id).await, "pending");
    bench.pass(1.0);
    assert_eq!(bench.status(&id).await, "active");
    assert_eq!(serial(&bench.leaf(&id).await), serial(&old), "the files lag");
    bench.pass(20.0);
    assert!(is_for(&bench.leaf(&id).await, &new));
}

#[tokio::test]
async fn ssl_purchase_who_repeats_a_renewal_may_pay_twice() {
    let bench = Bench::with(with(|settings| {
        settings.renews_while_pending = true;
        settings.renewal_unseen_seconds = 10.0;
    }));
    let id = bench.active("a").await;
    bench.pass_days(340);
    let (first, second) = (key(), key());
    assert_eq!(renew(&bench, &id, &first, json!({})).await.result()["status"], "active");
    assert_eq!(renew(&bench, &id, &second, json!({})).await.result()["status"], "active");
    bench.pass(11.0);
    assert!(is_for(&bench.leaf(&id).await, &second), "the first came to nothing");
    let order = bench.order(&id).await;
    assert_eq!(order["subscription_expires"], "2028-11-24T20:00:00Z", "for the price of two");
    assert_eq!((bench.site.references().of("a").renews, bench.site.references().paid), (2, 3));
    assert_eq!(bench.record(0).certificates.len(), 2);
}

#[tokio::test]
async fn ssl_purchase_the_csr_of_a_pending_order_may_be_new_old_or_missing() {
    let bench = Bench::new();
    let id = bench.ordered("a").await;
    let first = csr_for_shown(&bench, &id).await;
    let found = async || {
        let reply = bench.file(&id, "csr").await;
        (reply.status == 200).then(|| reply.text().to_owned())
    };
    let compact = |text: &str| text.split_whitespace().collect::<String>();
    let is = |found: Option<String>, wanted: &str| {
        found.is_some_and(|found| compact(&found) == compact(wanted))
    };
    assert!(is(found().await, &first));
    for pending in [PendingCsr::Old, PendingCsr::Missing] {
        bench.change(|settings| settings.pending_csr = pending);
        assert_eq!(found().await, None, "there is no older one");
    }
    bench.pass(1.0);
    assert!(is(found().await, &first), "it is active");
    bench.pass_days(340);
    renew(&bench, &id, &key(), json!({})).await.result();
    assert_eq!(found().await, None);
    bench.change(|settings| settings.pending_csr = PendingCsr::Old);
    assert!(is(found().await, &first));
    bench.change(|settings| settings.pending_csr = PendingCsr::New);
    let second = csr_for_shown(&bench, &id).await;
    assert!(second != first && is(found().await, &second));
}

#[tokio::test]
async fn ssl_purchase_a_renewal_that_fails_leaves_the_old_certificate() {
    let bench = Bench::new();
    let id = bench.active("a").await;
    bench.pass_days(340);
    let old = bench.leaf(&id).await;
    bench.change(|settings| {
        settings.renewal_states =
            Some(vec![Step::passing("pending", 1.0), Step::waiting("failed")]);
    });
    renew(&bench, &id, &key(), json!({})).await.result();
    bench.pass(5.0);
    assert_eq!(bench.status(&id).await, "failed");
    assert_eq!(serial(&bench.leaf(&id).await), serial(&old));
    bench.change(|settings| settings.renewal_states = None);
    renew(&bench, &id, &key(), json!({})).await.result();
    bench.pass(1.0);
    assert_eq!(bench.status(&id).await, "active", "it can be tried again");
    assert_eq!(bench.record(0).certificates[1].purchase, 2);
}

#[tokio::test]
async fn ssl_purchase_subscriptions_come_to_an_end() {
    let bench = Bench::new();
    let id = bench.active("a").await;
    bench.pass_days(366);
    assert_eq!(bench.status(&id).await, "expired");
    assert_eq!(renew(&bench, &id, &key(), json!({})).await.failure().0, 409);
}

#[tokio::test]
async fn ssl_purchase_a_reissue_counts_at_once_and_makes_the_certificate_before_void() {
    let bench = Bench::new();
    let id = bench.active("a").await;
    let (old, new) = (bench.leaf(&id).await, key());
    bench.pass_days(100);
    let order = reissue(&bench, &id, &new, json!({})).await.result();
    assert_eq!(order["status"], "active");
    let leaf = bench.leaf(&id).await;
    assert!(is_for(&leaf, &new) && serial(&leaf) != serial(&old));
    assert_eq!(order["subscription_expires"], "2027-11-24T20:00:00Z", "the same subscription");
    let record = bench.record(0);
    assert_eq!(record.certificates[0].void_since, Some(bench.now()));
    assert_eq!(record.certificates[1].void_since, None);
    let references = bench.site.references();
    assert_eq!((references.of("a").reissues, references.paid), (1, 1), "nothing was paid");

    bench.pass_days(200);
    reissue(&bench, &id, &new, json!({})).await.result();
    let end = bench.record(0).certificates[2].not_after;
    assert_eq!(end.to_string(), "2027-11-24T20:00:00Z", "the subscription cuts it short");
    let with_plan = bench.body(&new, &["example.org"], json!({}));
    let reply = bench.post(&format!("ssl-certificate/{id}/reissue"), &with_plan).await;
    assert!(reply.json()["error"]["message"]["plan"].is_array(), "there is no plan to choose");
}

#[tokio::test]
async fn ssl_purchase_a_reissue_may_take_its_time_and_checks_new_domains() {
    let bench = Bench::with(with(|settings| settings.reissue_seconds = 30.0));
    let plan = bench.plan(1);
    let order = bench.create(&["a.org", "b.org"], json!({ "plan": plan })).await.result();
    let id = order["id"].as_str().unwrap();
    bench.pass(1.0);
    let csr = |names: &[&str]| json!({"csr": csr_for(&key(), names)});
    let order = reissue(&bench, id, &key(), csr(&["a.org", "b.org"])).await.result();
    assert_eq!(order["status"], "pending");
    assert!(bench.record(0).certificates[0].void_since.is_some(), "from the order on");
    bench.pass(30.0);
    assert_eq!(bench.status(id).await, "active");
    bench.change(|settings| settings.validation = Validation::Manual);
    reissue(&bench, id, &key(), csr(&["a.org", "c.org"])).await.result();
    bench.pass(60.0);
    assert_eq!(bench.status(id).await, "pending");
    let record = bench.site.act(id, &Action::Meet { domain: Some("c.org".to_owned()) }).unwrap();
    assert_eq!(record.checks.len(), 1, "a.org was validated before");
    bench.pass(30.0);
    assert_eq!(names(&bench.leaf(id).await), ["a.org", "c.org"]);
}

#[tokio::test]
async fn ssl_purchase_later_references_may_replace_the_first() {
    let bench = Bench::with(with(|s| s.later_reference = LaterReference::Stored));
    let id = bench.active("a").await;
    let order = reissue(&bench, &id, &key(), json!({"client_reference": "b"})).await.result();
    assert_eq!(order["client_reference"], "b");
    assert_eq!(bench.get("ssl-certificate?client_reference=a").await.result(), json!([]));
    assert_eq!(bench.site.references().of("a").reissues, 1, "counted under the first");
}

#[tokio::test]
async fn ssl_purchase_a_deletion_disables_and_gives_money_back_for_a_while() {
    let bench = Bench::new();
    let (early, late) = (bench.active("a").await, bench.active("b").await);
    assert_eq!(bench.delete(&early).await.result(), Value::Null);
    assert_eq!(bench.status(&early).await, "deleted");
    assert_eq!(bench.file(&early, "crt").await.status, 404);
    assert_eq!(bench.delete(&early).await.failure(), (409, "invalid_state".to_owned()));
    assert_eq!(reissue(&bench, &early, &key(), json!({})).await.failure().0, 409);
    bench.pass_days(30);
    bench.delete(&late).await.result();
    let references = bench.site.references();
    assert_eq!((references.of("a").deletes, references.of("a").refunds), (1, 1));
    assert_eq!((references.of("b").deletes, references.of("b").refunds), (1, 0));
    assert!(bench.record(0).is_refunded && !bench.record(1).is_refunded);

    let pending = bench.ordered("c").await;
    bench.change(|settings| settings.deleted_state = "terminated".to_owned());
    bench.delete(&pending).await.result();
    bench.pass(5.0);
    assert_eq!(bench.status(&pending).await, "terminated", "it never becomes active");
    bench.change(|settings| settings.deleted_are_gone = true);
    assert_eq!(bench.delete(&pending).await.failure(), (404, "not_found".to_owned()));
    assert_eq!(bench.get("ssl-certificate").await.result(), json!([]));
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

#[tokio::test]
async fn ssl_purchase_books_are_right_after_any_calls() {
    for seed in 0..12 {
        let bench = Bench::with(with(|settings| {
            settings.renewal_window = RenewalWindow::Certificate;
            settings.renews_while_pending = seed % 2 == 1;
            settings.old_files_seconds = (seed % 4) as f64 * 20.0;
            settings.renewal_unseen_seconds = (seed % 3) as f64 * 30.0;
            settings.reissue_seconds = (seed % 2) as f64 * 10.0;
        }));
        let mut dice = Dice(seed);
        let own = key();
        let mut ids = vec![bench.ordered_with(&own, "a").await];
        let (mut creates, mut renews, mut reissues) = (1, 0, 0);
        for _ in 0..60 {
            let id = ids[dice.below(ids.len() as u64) as usize].clone();
            match dice.below(8) {
                0 => {
                    ids.push(bench.ordered_with(&own, "a").await);
                    creates += 1;
                }
                1 | 2 => {
                    renews += u64::from(renew(&bench, &id, &own, json!({})).await.status == 200)
                }
                3 => {
                    reissues += u64::from(reissue(&bench, &id, &own, json!({})).await.status == 200)
                }
                4 => drop(bench.delete(&id).await),
                5 => bench.pass_days(100),
                _ => bench.pass(7.0),
            }
            let order = bench.get(&format!("ssl-certificate/{id}")).await.result();
            let reply = bench.file(&id, "crt").await;
            assert!([200, 404].contains(&reply.status), "{seed}: {}", reply.text());
            if order["status"] == "active" {
                let leaf = bench.leaf(&id).await;
                assert!(is_for(&leaf, &own));
            }
        }
        let tally = bench.site.references().of("a");
        assert_eq!((tally.creates, tally.renews, tally.reissues), (creates, renews, reissues));
        assert_eq!(bench.site.references().paid, creates + renews);
        for record in bench.site.orders().unwrap() {
            let bought: Vec<usize> = record.certificates.iter().map(|one| one.purchase).collect();
            assert!(bought.is_sorted_by(|left, right| left < right), "{seed}: {bought:?}");
            assert!(bought.iter().all(|of| *of < record.purchases.len()), "{seed}");
            let entered: Vec<_> = record.history.iter().map(|past| past.entered).collect();
            assert!(entered.is_sorted(), "{seed}: {:?}", record.history);
            for issued in &record.certificates {
                assert!(issued.not_before < issued.not_after, "{seed}: {issued:?}");
                assert!(Some(issued.not_after) <= record.subscription_ends, "{seed}");
            }
        }
    }
}
