//! Lists without end, and lists that are long for a reason.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chancery::api::{SwissSignClient, SwissSignProduct};
use chancery::ca::CertificateAuthority;
use chancery::outside::transport::{Call, Failure, Transport};
use chancery::simulator::swisssign::{Client, Product, SiteSettings};

use crate::bench::{API_KEY, Bench, REFERENCE, Stored, quick};

/// Answers to every list with the same page, and to the rest as the site does.
struct Listing {
    next: Arc<dyn Transport>,
    page: Bytes,
}

#[async_trait]
impl Transport for Listing {
    async fn send(&self, call: Call) -> Result<http::Response<Bytes>, Failure> {
        let is_list = call.request.uri().path().ends_with("/paged");
        assert!(!is_list || self.page.len() <= call.body_limit, "no transport lets it through");
        if is_list {
            return Ok(http::Response::new(self.page.clone()));
        }
        self.next.send(call).await
    }
}

fn listing(bench: &Bench, page: String) -> Arc<dyn CertificateAuthority> {
    let mut spec = bench.spec();
    spec.client = SwissSignClient { id: None, name: Some("Demo Client".to_owned()) };
    let transport = Listing { next: bench.wire(), page: page.into() };
    bench.open_over(Arc::new(transport), spec, API_KEY)
}

/// The most memory that this process has had at once, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes / 1024
}

/// Eight megabytes of what takes three bytes on the wire and two hundred in memory.
#[tokio::test]
async fn a_page_of_nothing_in_millions_is_refused_where_it_becomes_too_long() {
    let full = |element: &str| element.repeat(8 * 1000 * 1000 / element.len());
    let many = "a list in it has more than 300 elements";
    let pages = [
        ("orders or clients", format!("[{}{{}}]", full("{},")), many),
        ("products", format!("[{{\"products\":[{}{{}}]}}]", full("{},")), many),
        ("tags", format!("[{{\"tags\":[{}\"\"],\"products\":1}}]", full("\"\",")), "answered 200"),
        ("what nobody reads", format!("[{{\"other\":[{}0]}}]", full("0,")), "no client of"),
    ];
    for (name, data, says) in pages {
        let bench = Bench::new();
        let page = format!("{{\"recordsFiltered\":1,\"data\":{data}}}");
        let ca = listing(&bench, page);
        let before = peak();
        let told = ca.check().await.unwrap_err().to_string();
        assert!(told.contains(says), "{name}: {told}");
        let more = peak() - before;
        assert!(more < 64, "{name}: {more} MiB");
    }
}

/// The same page again and again, of another client each time as far as anybody can tell.
#[tokio::test]
async fn pages_together_are_kept_to_a_bound() {
    let bench = Bench::new();
    let name = "x".repeat(25_000);
    let clients: Vec<String> =
        (0..300).map(|n| format!("{{\"uuid\":\"{n}\",\"name\":\"{name}\"}}")).collect();
    let few = clients.join(",");
    let ca = listing(&bench, format!("{{\"recordsFiltered\":9999999,\"data\":[{few}]}}"));
    let told = ca.check().await.unwrap_err().to_string();
    assert!(told.contains("no client of"), "{told}");

    struct Growing(Arc<dyn Transport>, String, std::sync::atomic::AtomicUsize);
    #[async_trait]
    impl Transport for Growing {
        async fn send(&self, call: Call) -> Result<http::Response<Bytes>, Failure> {
            if !call.request.uri().path().ends_with("/paged") {
                return self.0.send(call).await;
            }
            let page = self.2.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let data = self.1.replace("\"uuid\":\"", &format!("\"uuid\":\"{page}-"));
            let body = format!("{{\"recordsFiltered\":9999999,\"data\":[{data}]}}");
            Ok(http::Response::new(body.into()))
        }
    }
    let mut spec = bench.spec();
    spec.client = SwissSignClient { id: None, name: Some("Demo Client".to_owned()) };
    let ca = bench.open_over(Arc::new(Growing(bench.wire(), few, 0.into())), spec, API_KEY);
    let told = ca.check().await.unwrap_err().to_string();
    assert!(told.contains("/v2/clients/paged lists more than 16 MiB"), "{told}");
}

#[tokio::test]
async fn a_ca_with_three_hundred_clients_works() {
    let mut settings: SiteSettings = quick();
    let product = || Product { name: "DV".to_owned(), ..Product::default() };
    let client = |name: String| Client { name, products: vec![product()], ..Client::default() };
    settings.clients.extend((0..300).map(|number| client(format!("Client {number:03}"))));
    let bench = Bench::with(settings);
    let mut spec = bench.spec();
    spec.client = SwissSignClient { id: None, name: Some("Client 299".to_owned()) };
    spec.product = Some(SwissSignProduct { id: None, name: Some("DV".to_owned()) });
    let ca = bench.open_with(spec);
    ca.check().await.unwrap();
    let stored = Stored::new(&*ca, REFERENCE).await;
    assert!(matches!(stored.submit(&*ca).await, chancery::ca::Submitted::Accepted(_)));
}
