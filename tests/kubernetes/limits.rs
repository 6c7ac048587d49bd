//! The limits of an issuer: what is over one waits, says so, and goes on. The CA counts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::orders::{Paid, approved, is_stalled};
use crate::world::{PATIENCE, Test, assert_says, condition, text};

impl Test {
    /// Sets the limits of Issuer `ca` and waits until it is ready with them.
    async fn limit(&self, limits: Value) {
        self.patch("Issuer", "ca", json!({"spec": {"limits": limits}})).await;
        self.until_issuer_ready("ca").await;
    }

    /// Has a request looked at.
    async fn touch(&self, name: &str, value: &str) {
        let patch = json!({"metadata": {"labels": {"touched": value}}});
        self.patch("CertificateRequest", name, patch).await;
    }

    /// The value of a metric of the operator for Issuer `ca` here; `label` tells limits apart.
    fn metric(&self, name: &str, label: &str) -> Option<f64> {
        let (_, page) = self.world.operator.get("/metrics").expect("the metrics");
        let here = format!("namespace=\"{}\"", self.namespace);
        page.lines()
            .filter(|line| line.starts_with(&format!("chancery_{name}{{")))
            .find(|line| line.contains(&here) && line.contains(label))
            .and_then(|line| line.rsplit(' ').next()?.parse().ok())
    }

    async fn until_metric(&self, name: &str, label: &str, expected: Option<f64>) {
        let until = Instant::now() + PATIENCE;
        while self.metric(name, label) != expected {
            assert!(Instant::now() < until, "{name} {label} is {:?}", self.metric(name, label));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Paid {
    /// Nothing of a request that is held reaches the CA, or is made here.
    async fn is_held_back(&self, name: &str) {
        let before = self.calls_for_new_orders().await;
        for value in ["a", "b"] {
            self.test.touch(name, value).await;
            self.test.a_moment_passes().await;
        }
        assert_eq!(self.calls_for_new_orders().await, before, "the CA was asked for {name}");
        let record = self.test.read("Secret", &format!("{name}.order")).await;
        assert_eq!(record, None, "a key was made for {name}");
        assert!(!is_stalled(&self.test.get(name).await), "it passes by itself");
    }

    /// Calls that no order which is open already needs.
    async fn calls_for_new_orders(&self) -> [u64; 3] {
        let calls = |operation| self.ra.calls(operation);
        [calls("clientsPaged").await, calls("validate").await, calls("issue").await]
    }

    async fn until_bought(&self, orders: u64) {
        let until = Instant::now() + PATIENCE;
        while self.ra.total().await < orders {
            assert!(Instant::now() < until, "{orders} were never ordered");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Orders that the CA has and has not decided on.
    async fn pending(&self) -> Vec<Value> {
        let mut orders = self.ra.orders().await;
        orders.retain(|order| order["state"] != "ISSUED");
        orders
    }
}

#[tokio::test]
async fn a_day_s_orders_are_spent_and_the_next_waits_until_there_are_more() {
    let paid = Paid::new("limits-day", json!({})).await;
    let test = &paid.test;
    test.limit(json!({"ordersPerDay": 2})).await;
    for name in ["a", "b"] {
        paid.order(name, &[&format!("{name}.example.ch")]).await;
        test.until_ready(name).await;
    }
    paid.order("c", &["c.example.ch"]).await;
    let message = test.until_issuing("c", "OrderBudgetSpent").await;
    assert_says(&message, &["Issuer ca", "2 orders", "spec.limits.ordersPerDay", "at 20"]);
    let ready = condition(&test.get("c").await, "Ready").expect("Ready");
    assert_eq!((ready.0.as_str(), ready.1.as_str()), ("False", "OrderBudgetSpent"));
    paid.is_held_back("c").await;
    assert_eq!(paid.ra.total().await, 2);
    assert!(test.events("c").await.contains(&"OrderBudgetSpent".to_owned()));

    let issuer = test.read("Issuer", "ca").await.expect("the issuer");
    assert_eq!(issuer["status"]["budget"]["reserved"], 2, "{issuer:#}");
    let columns = test.kubectl(&["get", "chiss", "-o", "wide"]);
    assert_says(&columns, &["PER DAY", "RESERVED"]);
    test.until_metric("issuer_limit", "limit=\"ordersPerDay\"", Some(2.0)).await;
    test.until_metric("issuer_limit", "limit=\"ordersPerRequestPerDay\"", Some(10.0)).await;
    test.until_metric("issuer_orders_reserved", "", Some(2.0)).await;
    test.until_metric("issuer_requests_withheld", "limit=\"ordersPerDay\"", Some(1.0)).await;

    test.limit(json!({"ordersPerDay": 3})).await;
    test.until_ready("c").await;
    paid.is_pair("c").await;
    assert_eq!(paid.ra.total().await, 3);
    test.until_metric("issuer_requests_withheld", "limit=\"ordersPerDay\"", None).await;
}

#[tokio::test]
async fn a_block_of_the_day_s_orders_costs_one_request() {
    // By the limit in docs/swisssign.md, and by the default.
    for (limit, block) in [(50, 5), (100, 10)] {
        let paid = Paid::new(&format!("limits-block-{limit}"), json!({})).await;
        let test = &paid.test;
        test.limit(json!({"ordersPerDay": limit})).await;
        paid.order("first", &["first.example.ch"]).await;
        test.until_ready("first").await;
        test.a_moment_passes().await;
        let asked = || -> [usize; 2] {
            let all = test.audited();
            ["get issuers", "update issuers/status"]
                .map(|call| all.iter().filter(|one| *one == call).count())
        };
        let [reads, writes] = asked();
        assert_eq!(reads, 0, "the cache is enough for the first");
        // They take what is left of the first block, and the first of another.
        for number in 0..block {
            let name = format!("r{number}");
            paid.order(&name, &[&format!("{name}.example.ch")]).await;
        }
        for number in 0..block {
            test.until_ready(&format!("r{number}")).await;
        }
        test.a_moment_passes().await;
        let issuer = test.read("Issuer", "ca").await.expect("the issuer");
        assert_eq!(issuer["status"]["budget"]["reserved"], 2 * block, "{issuer:#}");
        assert_eq!(asked(), [0, writes + 1], "{limit}: one request for {block} orders");
    }
}

#[tokio::test]
async fn one_open_order_at_a_time_is_served_one_after_another() {
    let paid = Paid::new("limits-open", approved()).await;
    let test = &paid.test;
    test.limit(json!({"openOrders": 1})).await;
    for name in ["a", "b", "c"] {
        paid.order(name, &[&format!("{name}.example.ch")]).await;
    }
    let mut held = Vec::new();
    for served in 1..=3_u64 {
        paid.until_bought(served).await;
        test.until_metric("issuer_open_orders", "", Some(1.0)).await;
        let withheld = (served < 3).then(|| f64::from(3 - u8::try_from(served).expect("small")));
        test.until_metric("issuer_requests_withheld", "limit=\"openOrders\"", withheld).await;
        test.a_moment_passes().await;
        assert_eq!(paid.ra.total().await, served, "no more than one is open");
        let pending = paid.pending().await;
        assert_eq!(pending.len(), 1, "{pending:#?}");
        if served == 1 {
            for name in ["a", "b", "c"] {
                let request = test.get(name).await;
                let issuing = condition(&request, "Issuing").expect("Issuing");
                if issuing.1 == "OpenOrdersLimitReached" {
                    // Who asked before the first had its place was told that it is another's turn.
                    let says = match issuing.2.contains("turn") {
                        true => ["the 1 orders that spec.limits.openOrders", "before this one's"],
                        false => ["Issuer ca has 1 open", "openOrders allows 1"],
                    };
                    assert_says(&issuing.2, &says);
                    held.push(name);
                }
            }
            assert_eq!(held.len(), 2, "two wait");
        }
        paid.act(text(&pending[0]["uuid"]), "approve").await;
    }
    for name in ["a", "b", "c"] {
        test.until_ready(name).await;
        paid.is_pair(name).await;
    }
    // An order that takes the place of the request's own last one does not wait for itself.
    test.renew("a", "1").await;
    paid.until_bought(4).await;
    paid.act(text(&paid.pending().await[0]["uuid"]), "approve").await;
    test.until_revision("a", 2).await;
}

#[tokio::test]
async fn a_place_that_a_deleted_request_leaves_is_taken_and_a_raised_limit_admits_more() {
    let paid = Paid::new("limits-open-gone", approved()).await;
    let test = &paid.test;
    test.limit(json!({"openOrders": 1})).await;
    paid.order("a", &["a.example.ch"]).await;
    paid.until_bought(1).await;
    for name in ["b", "c"] {
        paid.order(name, &[&format!("{name}.example.ch")]).await;
        test.until_issuing(name, "OpenOrdersLimitReached").await;
        paid.is_held_back(name).await;
    }
    test.delete("CertificateRequest", "a").await;
    paid.until_bought(2).await;
    test.a_moment_passes().await;
    assert_eq!(paid.ra.total().await, 2);
    test.limit(json!({"openOrders": 2})).await;
    paid.until_bought(3).await;
}

#[tokio::test]
async fn what_makes_a_request_again_and_again_is_stopped() {
    let paid = Paid::new("limits-churn", json!({})).await;
    let test = &paid.test;
    test.limit(json!({"ordersPerRequestPerDay": 2})).await;
    for number in 1..=2 {
        if number > 1 {
            test.delete("CertificateRequest", "shop").await;
        }
        paid.order("shop", &[&format!("shop-{number}.example.ch")]).await;
        test.until_ready("shop").await;
        paid.until_bought(number).await;
    }
    test.until("shop", "at rest", |request| {
        condition(request, "Issuing").is_some_and(|(_, reason, _)| reason == "Issued")
    })
    .await;
    let delivered = test.entry("shop-tls", "tls.crt").await;
    let record = test.secret("shop.order").await;
    let made = &record.metadata.annotations.expect("annotations")["chancery.dev/orders-made"];
    assert_eq!(made.split(' ').count(), 2, "{made}");

    test.delete("CertificateRequest", "shop").await;
    paid.order("shop", &["shop-3.example.ch"]).await;
    let message = test.until_issuing("shop", "ChurnLimitReached").await;
    let parts = [
        "2 orders were made for request shop",
        "spec.limits.ordersPerRequestPerDay of Issuer ca allows 2",
        "find out what changes the request",
        "the certificate that is delivered is valid until",
    ];
    assert_says(&message, &parts);
    test.until_told("shop", "ChurnLimitReached", "find out what changes").await;
    assert!(!is_stalled(&test.get("shop").await), "it passes by itself");
    let before = paid.ra.requests().await;
    for value in ["a", "b"] {
        test.touch("shop", value).await;
        test.a_moment_passes().await;
    }
    assert_eq!(paid.ra.requests().await, before, "nothing is asked of the CA");
    assert_eq!(test.entry("shop-tls", "tls.crt").await, delivered, "what is there stays");
    test.until_metric("issuer_requests_withheld", "ordersPerRequestPerDay", Some(1.0)).await;

    test.limit(json!({"ordersPerRequestPerDay": 3})).await;
    paid.until_bought(3).await;
    test.until("shop", "at rest", |request| {
        condition(request, "Issuing").is_some_and(|(_, reason, _)| reason == "Issued")
    })
    .await;
    assert_ne!(test.entry("shop-tls", "tls.crt").await, delivered);
    assert_eq!(paid.ra.total().await, 3);
}

#[tokio::test]
async fn a_request_made_again_finds_its_order_though_the_day_s_orders_are_spent() {
    let paid = Paid::new("limits-found", approved()).await;
    let test = &paid.test;
    test.limit(json!({"ordersPerDay": 1, "openOrders": 1})).await;
    paid.order("shop", &["shop.example.ch"]).await;
    paid.until_bought(1).await;
    let id = text(&paid.pending().await[0]["uuid"]).to_owned();
    test.until("shop", "taken", |request| {
        let order = request.status.as_ref().and_then(|status| status.order.as_ref());
        order.is_some_and(|order| order.id.is_some())
    })
    .await;
    test.delete("CertificateRequest", "shop").await;
    paid.order("shop", &["shop.example.ch"]).await;
    test.until("shop", "waiting for its order", |request| {
        let order = request.status.as_ref().and_then(|status| status.order.as_ref());
        order.is_some_and(|order| order.id.as_ref() == Some(&id))
    })
    .await;
    paid.act(&id, "approve").await;
    test.until_ready("shop").await;
    assert_eq!(paid.ra.total().await, 1);
}

#[tokio::test]
async fn a_ca_that_issues_at_once_has_a_day_s_orders_too() {
    let test = Test::with_fast_issuer("limits-free").await;
    test.limit(json!({"ordersPerDay": 1})).await;
    test.put(test.request("a")).await;
    test.until_ready("a").await;
    test.put(test.request("b")).await;
    test.until_issuing("b", "OrderBudgetSpent").await;
    test.touch("b", "a").await;
    test.a_moment_passes().await;
    assert_eq!(test.certificate_calls().await, 1);
    // The first ends today: of two one would be kept for its renewal.
    test.limit(json!({"ordersPerDay": 3})).await;
    test.until_ready("b").await;
    assert_eq!(test.certificate_calls().await, 2);
}

#[tokio::test]
async fn calls_keep_their_pace() {
    let test = Test::with_fast_issuer("limits-pace").await;
    test.limit(json!({"requestsPerSecond": 2})).await;
    let start = Instant::now();
    for number in 0..8 {
        test.put(test.request(&format!("r{number}"))).await;
    }
    for number in 0..8 {
        test.until_ready(&format!("r{number}")).await;
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(3), "six of eight wait half a second each: {took:?}");
    assert_eq!(test.certificate_calls().await, 8);
}
