//! What a check says of an account, and what is refused before it costs anything.

use chancery::ca::{Blocks, OrderKind, Wanted};
use chancery::outside::Disposition;
use chancery::pki::{KeyKind, Names};
use chancery::reason::Reason;
use chancery::simulator::Kind;
use chancery::simulator::ssl_purchase::Operation;
use serde_json::json;

use crate::bench::{Bench, OTHER_PLAN, PLAN, names, wanted};

#[tokio::test]
async fn a_plan_is_meant_by_its_id_or_by_a_name_of_its_own() {
    let bench = Bench::new();
    let ca = bench.open();
    assert_eq!(ca.check().await.unwrap().product.as_deref(), Some(PLAN));
    let named = |name: &str| bench.open_with(json!({ "plan": { "name": name } }));
    let report = named("Demo DV").check().await.unwrap();
    assert_eq!(report.product.as_deref(), Some(PLAN), "not that whose name begins so too");
    let ca = named("Demo DV other");
    assert_eq!(ca.product(Blocks::none()).await.unwrap().as_deref(), Some(OTHER_PLAN));
    bench.requests();
    ca.product(Blocks::none()).await.unwrap();
    assert!(bench.lines().is_empty(), "it is asked for once");
    let error = named("DV").check().await.unwrap_err();
    assert_eq!(
        (error.disposition, error.reason),
        (Disposition::BlameIssuer, Reason::ProductNotFound)
    );
    assert!(error.message.contains("Demo DV other"), "{error}");
    bench.set(|site| site.plans[1].name = "Demo DV".to_owned());
    let error = named("Demo DV").check().await.unwrap_err();
    assert!(error.message.contains(PLAN) && error.message.contains(OTHER_PLAN), "{error}");
}

#[tokio::test]
async fn an_account_that_may_not_list_plans_orders_by_id() {
    let bench = Bench::with(|site| site.plans_forbidden = true);
    let report = bench.open().check().await.unwrap();
    assert_eq!(report.product.as_deref(), Some(PLAN));
    let remarks = report.remarks.join("; ");
    assert!(remarks.contains("renewalWindow"), "{remarks}");
    let error = bench.open_with(json!({ "plan": { "name": "Demo DV" } })).check().await;
    let error = error.unwrap_err();
    assert!(
        error.message.contains("give the id in spec.sslPurchase.plan of the issuer"),
        "{error}"
    );
    bench.fault(
        Operation::Plans,
        Kind::Status { status: 403, body: None, retry_after: None, html: true },
    );
    let error = bench.open().check().await.unwrap_err();
    assert_eq!(error.reason, Reason::AccessDenied, "a firewall says nothing of plans");
}

#[test]
fn what_it_can_do_is_said() {
    let bench = Bench::new();
    let ca = bench.open_with(json!({ "settleWindow": "3s", "allowEcdsa": false }));
    let can = ca.capabilities();
    assert!(can.billable && can.asynchronous && can.searchable && !can.duration);
    assert_eq!(can.key_kinds, [KeyKind::Rsa2048, KeyKind::Rsa3072, KeyKind::Rsa4096]);
    assert_eq!(can.key_kinds_field, Some("spec.sslPurchase.allowEcdsa"));
    assert!(can.kinds.renew && !can.kinds.reissue && !can.kinds.update_key);
    assert_eq!(can.settle_window.as_secs(), 60, "twice what a call is given");
    let ca = bench.open_with(json!({ "settleWindow": "1h", "reissuePolicy": "Always" }));
    let can = ca.capabilities();
    assert_eq!(can.settle_window.as_secs(), 3600);
    assert!(can.kinds.reissue && can.key_kinds.contains(&KeyKind::EcdsaP384));
    let header = json!({ "authentication": { "header": { "name": "X-APIKEY" } } });
    let ca = bench.try_open(header, &[("apiKey", "x")]).unwrap();
    assert!(!ca.capabilities().searchable, "nothing tells whose orders are listed");
}

#[tokio::test]
async fn a_check_remarks_on_what_is_not_known() {
    let bench = Bench::new();
    let remarks = |more| {
        let ca = bench.open_with(more);
        async move { ca.check().await.unwrap().remarks.join("; ") }
    };
    let all = remarks(json!({})).await;
    assert!(all.contains("set spec.sslPurchase.multiDomain"), "{all}");
    assert!(all.contains("set spec.sslPurchase.wildcard"), "{all}");
    let said = json!({ "multiDomain": true, "wildcard": false });
    assert_eq!(remarks(said).await, "");
    let strict = remarks(json!({ "strictNames": true })).await;
    assert!(strict.contains("are refused before"), "{strict}");
    let mail = |address: &str| json!({ "dcvType": "EMAIL", "contact": { "emailAddress": address }, "multiDomain": true, "wildcard": true });
    assert_eq!(remarks(mail("Hostmaster@example.org")).await, "");
    assert!(remarks(mail("john.doe@example.org")).await.contains("orders may wait for good"));
    let other = json!({ "plan": { "id": "11111111-2222-4333-8444-777777777777" } });
    assert!(remarks(other).await.contains("does not show plan 11111111"));
}

#[tokio::test]
async fn a_check_without_a_plan_tries_the_credentials_all_the_same() {
    let bench = Bench::new();
    let ca = bench.open_with(json!({ "plan": null }));
    assert_eq!(ca.check().await.unwrap().product, None);
    assert_eq!(bench.lines(), ["GET ssl-certificate?client_reference"]);
    let names = names();
    let error = ca.prepare(&wanted(&names, &OrderKind::New)).await.unwrap_err();
    assert_eq!(error.reason, Reason::ProductMissing);
}

#[tokio::test]
async fn what_cannot_be_bought_is_refused_and_nothing_is_sent() {
    let bench = Bench::new();
    let rows = [
        (json!({ "allowEcdsa": false }), names(), KeyKind::EcdsaP256, "allowEcdsa"),
        (json!({}), names(), KeyKind::Ed25519, "no key of the kind Ed25519"),
        (
            json!({ "plan": { "name": "Demo DV" }, "validationLevel": "OV" }),
            names(),
            KeyKind::Rsa2048,
            "contact.firstName",
        ),
        (
            json!({ "plan": { "name": "Demo DV" } }),
            Names::default(),
            KeyKind::Rsa2048,
            "are for DNS names",
        ),
    ];
    for (more, names, key_kind, says) in rows {
        let ca = bench.open_with(more);
        let wanted = Wanted { key_kind, ..wanted(&names, &OrderKind::New) };
        let error = ca.prepare(&wanted).await.unwrap_err();
        assert_eq!(error.disposition, Disposition::Reject, "{error}");
        assert!(error.message.contains(says), "{error}");
    }
    assert!(bench.lines().is_empty());
}

#[tokio::test]
async fn a_request_names_another_plan_and_another_contact() {
    let bench = Bench::new();
    let ca = bench.open_with(json!({ "contact": { "firstName": "Ann", "lastName": "Bee" } }));
    let blocks = Blocks::none().clone().with(
        "sslPurchase",
        json!({
            "product": { "name": "Demo DV other" },
            "contact": { "person": { "lastName": "Cee" } },
            "how": { "dcvType": "FILE" },
        }),
    );
    assert_eq!(ca.product(&blocks).await.unwrap().as_deref(), Some(OTHER_PLAN));
    let names = names();
    let wanted = Wanted { blocks: &blocks, ..wanted(&names, &OrderKind::New) };
    let prepared = ca.prepare(&wanted).await.unwrap().parameters;
    assert_eq!(ca.product_in(&prepared).as_deref(), Some(OTHER_PLAN));
    assert_eq!(prepared["contact"], json!({ "firstName": "Ann", "lastName": "Cee" }));
    assert_eq!(prepared["dcvType"], "FILE");
}
