//! Lists without end.

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
