//! What happens to a delivered Secret that somebody else changes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use crate::world::{Test, assert_says, condition, issuing};

/// An issued request `portal` whose certificate is old enough to be repaired at once.
async fn delivered(name: &str) -> (Test, Secret) {
    let test = Test::with_fast_issuer(name).await;
    test.put(test.request("portal")).await;
    let status = test.until_ready("portal").await.status.expect("a status");
    let delivered = status.certificate.expect("a certificate").delivered_at.0;
    // Only then is an alteration not taken for the work of somebody who keeps doing it.
    let age = jiff::Timestamp::now().duration_since(delivered);
    let wait = Duration::from_secs(11).saturating_sub(age.unsigned_abs());
    tokio::time::sleep(wait).await;
    let secret = test.secret("portal-tls").await;
    (test, secret)
}

fn data(secret: &Secret, key: &str) -> String {
    let data = secret.data.as_ref().and_then(|data| data.get(key)).expect("an entry");
    String::from_utf8(data.0.clone()).expect("PEM is text")
}

async fn change(test: &Test, entries: &[(&str, &str)]) {
    let data: Value = entries
        .iter()
        .map(|(key, text)| ((*key).to_owned(), json!(STANDARD.encode(text))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    test.patch("Secret", "portal-tls", json!({"data": data})).await;
}

/// Waits until the Secret is as wished.
async fn until_secret(test: &Test, wish: &str, is_so: impl Fn(&Secret) -> bool) -> Secret {
    for _ in 0..400 {
        if let Ok(Some(secret)) = test.secrets().get_opt("portal-tls").await
            && is_so(&secret)
        {
            return secret;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the Secret never was {wish}:\n{}", test.operator_log());
}

#[tokio::test]
async fn a_deleted_secret_is_made_again() {
    let (test, before) = delivered("secret-deleted").await;
    test.delete("Secret", "portal-tls").await;
    test.until_revision("portal", 2).await;
    let after = test.secret("portal-tls").await;
    assert_ne!(after.metadata.uid, before.metadata.uid);
    assert_ne!(data(&after, "tls.key"), data(&before, "tls.key"));
    assert_eq!(test.site.issued().await.len(), 2);
}

#[tokio::test]
async fn an_altered_anchor_is_put_right_without_the_ca() {
    let test = Test::with_fast_issuer("anchor-altered").await;
    test.put(test.request("portal")).await;
    test.until_ready("portal").await;
    let before = test.secret("portal-tls").await;
    let calls = test.certificate_calls().await;
    change(&test, &[("ca.crt", test.world.simulator.tls_root())]).await;
    until_secret(&test, "repaired", |secret| secret.data == before.data).await;
    test.until_told("portal", "Repaired", "Secret portal-tls was repaired").await;
    // The next repair follows at a distance.
    test.patch("Secret", "portal-tls", json!({"data": {"ca.crt": null}})).await;
    until_secret(&test, "whole again", |secret| secret.data == before.data).await;
    let status = test.until_ready("portal").await.status.expect("a status");
    assert_eq!(status.revision, Some(1));
    assert_eq!(test.certificate_calls().await, calls);
}

#[tokio::test]
async fn another_pair_in_its_place_is_replaced() {
    let (test, before) = delivered("pair-replaced").await;
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut own =
        rcgen::CertificateParams::new(vec!["portal.example.org".to_owned()]).expect("a name");
    own.not_after = rcgen::date_time_ymd(2099, 1, 1);
    let certificate = own.self_signed(&key).expect("a certificate").pem();
    change(&test, &[("tls.key", &key.serialize_pem()), ("tls.crt", &certificate)]).await;
    let status = test.until_revision("portal", 2).await.status.expect("a status");
    let after = test.secret("portal-tls").await;
    assert_ne!(data(&after, "tls.crt"), certificate);
    assert_ne!(data(&after, "tls.crt"), data(&before, "tls.crt"));
    assert_eq!(status.certificate.and_then(|one| one.common_name).as_deref(), Some("testuser"));
    assert_eq!(test.site.issued().await.len(), 2);
    let secret = test.read("Secret", "portal-tls").await.expect("there").to_string();
    assert!(!secret.contains(&STANDARD.encode(&certificate)));
}

#[tokio::test]
async fn the_pair_of_another_request_is_replaced_however_good_its_chain() {
    let (test, before) = delivered("pair-of-another").await;
    test.put(test.request("other")).await;
    test.until_ready("other").await;
    let other = test.secret("other-tls").await;
    change(&test, &[("tls.key", &data(&other, "tls.key")), ("tls.crt", &data(&other, "tls.crt"))])
        .await;
    test.until_revision("portal", 2).await;
    let after = test.secret("portal-tls").await;
    assert_ne!(data(&after, "tls.crt"), data(&other, "tls.crt"));
    assert_ne!(data(&after, "tls.crt"), data(&before, "tls.crt"));
    assert_eq!(test.site.issued().await.len(), 3);
}

#[tokio::test]
async fn an_emptied_certificate_and_a_broken_key_are_replaced() {
    let (test, before) = delivered("entries-broken").await;
    change(&test, &[("tls.crt", "")]).await;
    test.until_revision("portal", 2).await;
    // So soon after a delivery the next repair waits, and says for how long.
    change(&test, &[("tls.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")])
        .await;
    let message = test.until_issuing("portal", "SecretAltered").await;
    assert_says(
        &message,
        &["tls.key is missing or cannot be read", "will be repaired at", "find out who changes it"],
    );
    assert_eq!(condition(&test.get("portal").await, "Ready").expect("a condition").0, "False");
    test.until_revision("portal", 3).await;
    let after = test.secret("portal-tls").await;
    assert_eq!(after.metadata.uid, before.metadata.uid, "the object stays");
    assert_eq!(test.site.issued().await.len(), 3);
}

#[tokio::test]
async fn a_foreign_label_is_nobodys_business() {
    let test = Test::with_fast_issuer("label-foreign").await;
    test.put(test.request("portal")).await;
    test.until_ready("portal").await;
    let patch = json!({"metadata": {"labels": {"theirs": "x"}, "annotations": {"theirs": "y"}}});
    let changed = test.patch("Secret", "portal-tls", patch).await;
    test.a_moment_passes().await;
    let after = test.read("Secret", "portal-tls").await.expect("there");
    assert_eq!(
        after["metadata"]["resourceVersion"], changed["metadata"]["resourceVersion"],
        "nobody wrote"
    );
    assert_eq!(test.certificate_calls().await, 1);
    assert_eq!(test.events("portal").await, ["Issued"]);
    let request = test.until_ready("portal").await;
    assert_eq!(issuing(&request).expect("a condition").0, "Issued");
    assert_eq!(request.status.expect("a status").revision, Some(1));
}

#[tokio::test]
async fn our_label_and_marker_are_put_back() {
    let test = Test::with_fast_issuer("marker-altered").await;
    test.put(test.request("portal")).await;
    test.until_ready("portal").await;
    test.patch(
        "Secret",
        "portal-tls",
        json!({"metadata": {"annotations": {"chancery.dev/requested": null}}}),
    )
    .await;
    until_secret(&test, "marked again", |secret| {
        secret
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|all| all.contains_key("chancery.dev/requested"))
    })
    .await;
    test.patch(
        "Secret",
        "portal-tls",
        json!({"metadata": {"labels": {"chancery.dev/managed": null}}}),
    )
    .await;
    until_secret(&test, "labelled again", |secret| {
        secret.metadata.labels.as_ref().is_some_and(|all| all.contains_key("chancery.dev/managed"))
    })
    .await;
    assert_eq!(test.certificate_calls().await, 1);
}

#[tokio::test]
async fn a_marker_taken_away_makes_the_secret_somebody_elses() {
    let test = Test::with_fast_issuer("marker-gone").await;
    test.put(test.request("portal")).await;
    test.until_ready("portal").await;
    let patch = json!({"metadata": {"annotations": {"chancery.dev/certificate-request": null}}});
    let changed = test.patch("Secret", "portal-tls", patch).await;
    test.renew("portal", "1").await;
    let message = test.until_issuing("portal", "SecretNotOurs").await;
    assert_says(&message, &["Secret portal-tls exists and is not Chancery's"]);
    let after = test.read("Secret", "portal-tls").await.expect("there");
    assert_eq!(after["metadata"]["resourceVersion"], changed["metadata"]["resourceVersion"]);
    assert_eq!(test.certificate_calls().await, 1);
}

#[tokio::test]
async fn who_keeps_deleting_it_is_not_followed_at_full_speed() {
    let test = Test::with_fast_issuer("secret-storm").await;
    test.put(test.request("portal")).await;
    test.until_ready("portal").await;
    let start = std::time::Instant::now();
    let mut deletions = 0;
    while start.elapsed() < Duration::from_secs(12) {
        if test.read("Secret", "portal-tls").await.is_some() {
            test.delete("Secret", "portal-tls").await;
            deletions += 1;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if test.read("Secret", "portal-tls").await.is_some() {
        test.delete("Secret", "portal-tls").await;
    }
    // One each ten seconds at most, after the first.
    let issued = test.site.issued().await.len();
    assert!((2..=3).contains(&issued), "{issued} certificates for {deletions} deletions");
    let message = test.until_issuing("portal", "SecretMissing").await;
    assert_says(
        &message,
        &["the Secret was deleted", "seconds after it was delivered", "find out who changes it"],
    );
}
