//! Lists without end, and lists of which nobody knows where they end.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chancery::ca::Lookup;
use chancery::outside::transport::{Call, Failure, Transport};
use serde_json::json;

use crate::bench::{API_KEY, Bench, REFERENCE, RESELLER, Stored, key};

/// Answers to every list with the same page.
struct Listing(Bytes);

#[async_trait]
impl Transport for Listing {
    async fn send(&self, call: Call) -> Result<http::Response<Bytes>, Failure> {
        assert!(self.0.len() <= call.body_limit, "no transport lets it through");
        Ok(http::Response::new(self.0.clone()))
    }
}

/// The most memory that this process has had at once, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes / 1024
}

/// Four megabytes of what takes two bytes on the wire and a hundred times as many in memory.
#[tokio::test]
async fn a_page_of_nothing_in_millions_is_not_read() {
    let full = |element: &str| element.repeat(4_000_000 / element.len());
    let pages = [
        ("numbers", format!("[{}1]", full("1,"))),
        ("objects", format!("{{\"success\":true,\"result\":[{}{{}}]}}", full("{},"))),
        ("lists in lists", full("[")),
        ("one of one", format!("{{\"result\":[{{\"id\":\"a\",\"x\":[{}1]}}]}}", full("1,"))),
    ];
    for (name, page) in pages {
        let bench = Bench::new();
        let secret = [("username", RESELLER), ("apiKey", API_KEY)];
        let more = json!({ "plan": { "name": "DV" } });
        let transport = Arc::new(Listing(page.into()));
        let ca = bench.open_over(transport, more, &secret).unwrap();
        let before = peak();
        let told = ca.check().await.unwrap_err().to_string();
        assert!(told.contains("more values than are read"), "{name}: {told}");
        let more = peak() - before;
        assert!(more < 64, "{name}: {more} MiB");
    }
}

/// The same page again and again, which announces more than there is.
#[tokio::test]
async fn a_list_that_announces_more_than_it_has_is_left_off() {
    let bench = Bench::new();
    let stored = Stored::new(&*bench.open(), REFERENCE, &key(0)).await;
    let orders: Vec<_> = (0..100).map(|n| json!({ "id": n, "client_reference": "x" })).collect();
    let page = json!({ "success": true, "result": orders, "total": 1_000_000, "limit": 100 });
    let secret = [("username", RESELLER), ("apiKey", API_KEY)];
    let transport = Arc::new(Listing(page.to_string().into()));
    let ca = bench.open_over(transport, json!({}), &secret).unwrap();
    let Lookup::Absent { complete, doubt } = stored.find(&*ca).await else {
        panic!("none is ours")
    };
    assert!(!complete && doubt.unwrap().contains("announced 1000000 entries, and 100"));
}

async fn lookup(transport: Arc<dyn Transport>) -> Lookup {
    let bench = Bench::new();
    let stored = Stored::new(&*bench.open(), REFERENCE, &key(0)).await;
    let secret = [("username", RESELLER), ("apiKey", API_KEY)];
    let ca = bench.open_over(transport, json!({}), &secret).unwrap();
    stored.find(&*ca).await
}

#[tokio::test]
async fn only_a_list_that_is_one_tells_that_an_order_is_absent() {
    let others: Vec<_> = (0..20).map(|n| json!({ "id": n, "client_reference": "x" })).collect();
    let rows = [
        ("an empty list", json!([]), true),
        ("an empty list in an envelope", json!({ "success": true, "result": [] }), true),
        ("none of none", json!({ "success": true, "result": null, "total": 0 }), true),
        ("nothing", json!(null), false),
        ("success", json!({ "success": true }), false),
        ("success with nothing", json!({ "success": true, "result": null }), false),
        ("none of some", json!({ "success": true, "result": [], "total": 1 }), false),
        ("others, whatever is asked for", json!(others), false),
        (
            "others, with their number on the page",
            json!({ "success": true, "result": others, "count": 20 }),
            false,
        ),
        ("others, all of them", json!({ "success": true, "result": others, "total": 20 }), true),
    ];
    for (name, page, expected) in rows {
        let page = Listing(page.to_string().into());
        let Lookup::Absent { complete, doubt } = lookup(Arc::new(page)).await else {
            panic!("{name}: none is ours")
        };
        assert_eq!((complete, doubt.is_none()), (expected, expected), "{name}: {doubt:?}");
    }
}

/// A list of orders of which each page holds so many, and which says of no page that it is the last.
/// No order can be looked at by itself.
struct Paged {
    orders: Vec<serde_json::Value>,
    page: usize,
}

#[async_trait]
impl Transport for Paged {
    async fn send(&self, call: Call) -> Result<http::Response<Bytes>, Failure> {
        let uri = call.request.uri();
        if !uri.path().ends_with("/ssl-certificate") {
            let error = json!({ "code": "not_found", "message": "Resource not found." });
            let body = json!({ "success": false, "error": error }).to_string();
            return Ok(http::Response::builder().status(404).body(body.into()).unwrap());
        }
        let offset = uri.query().unwrap_or_default().split('&').find_map(|one| {
            one.strip_prefix("offset=").map(|offset| offset.parse::<usize>().unwrap())
        });
        let page: Vec<_> =
            self.orders.iter().skip(offset.unwrap_or_default()).take(self.page).collect();
        let body = json!({ "success": true, "result": page }).to_string();
        Ok(http::Response::new(body.into()))
    }
}

#[tokio::test]
async fn short_pages_are_read_until_one_is_empty() {
    let order = |id: usize, reference: &str| json!({ "id": id, "client_reference": reference });
    let mut orders: Vec<_> = (0..45).map(|id| order(id, "x")).collect();
    let absent = lookup(Arc::new(Paged { orders: orders.clone(), page: 20 })).await;
    assert!(matches!(absent, Lookup::Absent { complete: true, .. }), "{absent:?}");
    orders.push(order(45, REFERENCE));
    let found = lookup(Arc::new(Paged { orders, page: 20 })).await;
    assert!(matches!(&found, Lookup::Found(found) if found.len() == 1), "{found:?}");
}

#[tokio::test]
async fn an_order_of_the_list_that_cannot_be_looked_at_may_be_ours() {
    let orders = vec![json!({ "id": 1, "status": "pending" })];
    let Lookup::Absent { complete, doubt } = lookup(Arc::new(Paged { orders, page: 20 })).await
    else {
        panic!("it is not known whose it is")
    };
    assert!(!complete && doubt.unwrap().contains("order 1 is in the list"));
}

#[tokio::test]
async fn a_plan_is_the_one_that_is_named_whatever_the_case_of_its_id() {
    let bench = Bench::new();
    let plan = "aaaaaaaa-2222-4333-8444-555555555555";
    let page = json!({ "success": true, "result": [{ "id": plan, "name": "DV" }], "total": 1 });
    let more = json!({ "plan": { "id": plan.to_uppercase() } });
    let secret = [("username", RESELLER), ("apiKey", API_KEY)];
    let transport = Arc::new(Listing(page.to_string().into()));
    let report = bench.open_over(transport, more, &secret).unwrap().check().await.unwrap();
    assert!(!report.remarks.join("; ").contains("does not show plan"), "{:?}", report.remarks);
}
