//! The log of purchases, read as finance reads it: off the operator's own log.

use chancery::api::CertificateRequest;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::orders::{Paid, approved, is_stalled};
use crate::world::text;

/// The lines about a request, in order.
fn lines(paid: &Paid, request: &str) -> Vec<Value> {
    let is_one = |line: &Value| {
        line["target"] == "chancery::purchases"
            && line["namespace"] == paid.test.namespace.as_str()
            && line["request"] == request
    };
    let log = paid.test.world.operator.process.log();
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(is_one).collect()
}

fn events(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| text(&line["event"])).collect()
}

fn serial(request: &CertificateRequest) -> String {
    let status = request.status.clone().expect("a status");
    status.certificate.expect("a certificate").serial_number
}

#[tokio::test]
async fn an_order_is_told_of_when_it_is_taken_and_when_it_is_issued_once_each() {
    let paid = Paid::new("purchases", approved()).await;
    let before = Timestamp::now();
    paid.order("shop", &["shop.example.ch"]).await;
    let (id, reference) = paid.until_taken("shop").await;
    let order = paid.test.get("shop").await.status.and_then(|status| status.order);
    let tenant = order.expect("an order").account;
    let submitted = lines(&paid, "shop");
    assert_eq!(events(&submitted), ["submitted"]);
    // It is polled meanwhile, and nothing changes.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(lines(&paid, "shop"), submitted);
    paid.act(&id, "approve").await;
    let request = paid.test.until_ready("shop").await;
    let all = lines(&paid, "shop");
    assert_eq!(events(&all), ["submitted", "issued"]);
    let product = paid.ra.orders().await[0]["product"].clone();
    for (line, serial) in all.iter().zip([None, Some(serial(&request))]) {
        let time: Timestamp = text(&line["time"]).parse().expect("a time");
        assert!(before <= time && time <= Timestamp::now(), "{line}");
        let mut expected = json!({
            "target": "chancery::purchases", "time": line["time"], "event": line["event"],
            "namespace": "purchases", "request": "shop",
            "issuer": {"kind": "Issuer", "name": "ca"},
            "tenant": tenant, "product": product, "kind": "new",
            "reference": reference, "id": id,
        });
        if let Some(serial) = serial {
            expected["serial"] = json!(serial);
        }
        assert_eq!(*line, expected);
    }
    let secrets = ["changeme", "Bearer", "eyJ", "PRIVATE KEY"];
    let holds = |secret: &&&str| all.iter().any(|line| line.to_string().contains(**secret));
    assert_eq!(secrets.iter().find(holds), None, "{all:#?}");
    // What is delivered once more was not bought once more.
    let delivered_at = |request: &CertificateRequest| {
        let status = request.status.clone().unwrap_or_default();
        status.certificate.map(|certificate| certificate.secret_resource_version)
    };
    let before = delivered_at(&request);
    paid.test.delete("Secret", "shop-tls").await;
    paid.test.until("shop", "delivered again", |now| delivered_at(now) != before).await;
    paid.test.until_ready("shop").await;
    assert_eq!(lines(&paid, "shop"), all);
    let (_, page) = paid.test.world.operator.get("/metrics").expect("the page");
    for event in ["submitted", "issued"] {
        let series = format!(
            "chancery_order_events_total{{kind=\"Issuer\",namespace=\"purchases\",issuer=\"ca\",request_namespace=\"purchases\",event=\"{event}\"}} 1\n"
        );
        assert!(page.contains(&series), "{series}");
    }
}

#[tokio::test]
async fn an_order_whose_answer_is_lost_is_told_of_when_it_is_found() {
    let paid = Paid::new("purchases-lost", json!({})).await;
    paid.ra.fault(json!({"operation": "issue", "kind": "dropAfterCommit"})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let request = paid.test.until_ready("shop").await;
    let all = lines(&paid, "shop");
    assert_eq!(events(&all), ["unknown", "found", "issued"]);
    let orders = paid.ra.orders().await;
    assert_eq!(orders.len(), 1);
    assert_eq!(all[0].get("id"), None, "nobody knew it");
    assert_eq!(all[1]["id"], orders[0]["uuid"]);
    assert_eq!(all[2]["id"], orders[0]["uuid"]);
    assert_eq!(all[2]["serial"], json!(serial(&request)));
    assert!(all.iter().all(|line| line["reference"] == all[0]["reference"]), "{all:#?}");
}

#[tokio::test]
async fn orders_that_come_to_nothing_are_given_up_or_are_not_needed_are_told_of() {
    let paid = Paid::new("purchases-ends", approved()).await;
    paid.order("shop", &["shop.example.ch"]).await;
    let (id, reference) = paid.until_taken("shop").await;
    paid.act(&id, "reject").await;
    paid.test.until_issuing("shop", "OrderRejected").await;
    assert_eq!(events(&lines(&paid, "shop")), ["submitted", "rejected"]);
    paid.release("shop", &reference).await;
    let is_another = |request: &CertificateRequest| {
        let order = request.status.as_ref().and_then(|status| status.order.as_ref());
        order.is_some_and(|order| order.id.as_ref().is_some_and(|other| *other != id))
    };
    let request = paid.test.until("shop", "ordered anew", is_another).await;
    let all = lines(&paid, "shop");
    assert_eq!(events(&all), ["submitted", "rejected", "released", "submitted"]);
    let [rejected, released] = [&all[1], &all[2]];
    assert_eq!([&rejected["id"], &released["id"]], [id.as_str(), id.as_str()]);
    assert_eq!(released["reference"], reference.as_str());
    assert_ne!(all[3]["reference"], reference.as_str());
    let order = request.status.and_then(|status| status.order).expect("an order");
    paid.act(&order.id.expect("an id"), "approve").await;
    paid.test.until_ready("shop").await;
    // What is refused costs nothing, and is told of as that.
    paid.ra
        .fault(json!({
            "operation": "issue", "kind": "apiError", "code": "<011.110.0240>", "status": 400,
        }))
        .await;
    paid.order("other", &["other.example.ch"]).await;
    paid.test.until("other", "refused", is_stalled).await;
    paid.order("other", &["more.example.ch"]).await;
    paid.until_taken("other").await;
    assert_eq!(events(&lines(&paid, "other")), ["refused", "submitted"]);
}
