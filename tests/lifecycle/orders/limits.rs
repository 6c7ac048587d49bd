//! The day's orders, while processes die: what one reserved and did not submit is lost, and no more
//! is ever submitted than the limit allows.

use chancery::api::CertificateRequest;
use serde_json::Value;

use crate::orders::Paid;
use crate::processes::failpoints::dies;
use crate::world::{issuing, until};

const POINTS: [&str; 2] = ["before-reserve", "after-reserve"];

/// Failpoints that have their tests here.
pub fn tested() -> impl Iterator<Item = &'static str> {
    POINTS.into_iter()
}

fn reserved(paid: &Paid) -> u64 {
    let issuer = paid.test.kubectl(&["get", "issuers.chancery.dev", "ca", "-o", "json"]);
    let issuer: Value = serde_json::from_str(&issuer).expect("JSON");
    issuer["status"]["budget"]["reserved"].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn killed_while_it_reserves_and_started_again_it_submits_no_more_than_the_day_allows() {
    let (paid, operator) = Paid::new("limits-restart").await;
    let patch = r#"{"spec":{"limits":{"ordersPerDay":14}}}"#;
    paid.test.kubectl(&["patch", "issuers.chancery.dev", "ca", "--type=merge", "-p", patch]);
    let observed =
        ["get", "issuers.chancery.dev", "ca", "-o", "jsonpath={.status.observedGeneration}"];
    until("the limit is seen", || paid.test.kubectl(&observed) == "2");
    // The proof has reserved a block of ten.
    paid.order("a");
    paid.test.until_ready(&operator, "a").await;
    assert_eq!(reserved(&paid), 10);
    paid.test.until_idle(&operator);
    assert_eq!(operator.process.stop(), Some(0));

    paid.order("b");
    for (point, expected) in POINTS.into_iter().zip([10, 13]) {
        dies(paid.spawn(&[("CHANCERY_KILL_AT", point)]), point);
        assert_eq!(reserved(&paid), expected, "{point}");
        paid.check(2).await;
    }

    let operator = paid.start();
    paid.test.until_ready(&operator, "b").await;
    assert_eq!(reserved(&paid), 14, "what the process that died had reserved is lost");
    paid.order("c");
    let is_spent = |request: &CertificateRequest| issuing(request).0 == "OrderBudgetSpent";
    paid.test.until(&operator, "c", "held", is_spent).await;
    paid.test.until_idle(&operator);
    assert_eq!(operator.process.stop(), Some(0));

    // A restart grants nothing anew.
    let operator = paid.start();
    paid.test.until_idle(&operator);
    paid.test.until(&operator, "c", "held", is_spent).await;
    assert_eq!(reserved(&paid), 14);
    paid.check(3).await;
}
