//! The simulator of the SwissSign RA API against its specification: in process where the wire does
//! not matter, over TLS with curl and openssl where it does.

#![cfg(feature = "simulator")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of a server run in real time, and one that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chancery::simulator::swisssign::{
    Action, Client, Delivery, Operation, Product, ProductValidity, Site, SiteSettings, Step,
    TagSearch, ValidityType,
};
use chancery::simulator::{Disconnect, Fault, KeyAlgorithm, Kind, Settings, Simulator};
use der::{Decode, Encode};
use http::{HeaderMap, Request};
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use serde_json::{Value, json};
use tower::ServiceExt;
use x509_cert::Certificate;

const ACCOUNT: &str = "MPKI0000001.AutoRAO";
const API_KEY: &str = "changeme";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// A simulator with one quick site, a clock that stands, and a token.
struct Bench {
    simulator: Simulator,
    site: Site,
    clock: Arc<Mutex<Timestamp>>,
    token: String,
    product: String,
    client: String,
}

impl Bench {
    async fn new() -> Self {
        Self::with(quick()).await
    }

    async fn with(settings: SiteSettings) -> Self {
        let clock = Arc::new(Mutex::new("2026-11-24T20:00:00Z".parse().unwrap()));
        let standing = Arc::clone(&clock);
        let simulator = Simulator::new(Settings {
            clock: Arc::new(move || *standing.lock().unwrap()),
            key_pool: Some(3),
        });
        let site = simulator.swisssign("demo").unwrap();
        site.configure(settings).unwrap();
        let named = site.settings();
        let client = named.clients[0].id.clone().unwrap();
        let product = named.clients[0].products[0].id.clone().unwrap();
        let mut bench = Self { simulator, site, clock, token: String::new(), product, client };
        bench.token = bench.log_in().await.text().to_owned();
        bench
    }

    /// Time goes by.
    fn pass(&self, seconds: f64) {
        let mut now = self.clock.lock().unwrap();
        *now = *now + SignedDuration::from_secs_f64(seconds);
    }

    /// Changes one thing about the site.
    fn change(&self, change: impl FnOnce(&mut SiteSettings)) {
        let mut settings = self.site.settings();
        change(&mut settings);
        self.site.configure(settings).unwrap();
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.simulator.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let mut stream = body.into_data_stream();
        let (mut body, mut is_whole) = (Vec::new(), true);
        while let Some(chunk) = futures::StreamExt::next(&mut stream).await {
            match chunk {
                Ok(chunk) => body.extend_from_slice(&chunk),
                Err(_) => {
                    is_whole = false;
                    break;
                }
            }
        }
        let is_disconnected = parts.extensions.get::<Disconnect>().is_some();
        let status = parts.status.as_u16();
        Reply { status, headers: parts.headers, body, is_whole, is_disconnected }
    }

    async fn log_in(&self) -> Reply {
        let body = format!("userSecret={API_KEY}");
        self.send(request(&format!("jwt/{ACCOUNT}"), &[("content-type", FORM)], body)).await
    }

    /// A request with a token, JSON if there is a body.
    async fn post(&self, path: &str, body: Option<Value>) -> Reply {
        let authorization = format!("Bearer {}", self.token);
        let mut headers = vec![("authorization", authorization.as_str())];
        if body.is_some() {
            headers.push(("content-type", JSON));
        }
        let body = body.map_or_else(String::new, |body| body.to_string());
        self.send(request(path, &headers, body)).await
    }

    async fn issue(&self, further: Value) -> Reply {
        self.issue_csr_of(&key(), further).await
    }

    async fn issue_csr_of(&self, key: &KeyPair, further: Value) -> Reply {
        self.post("issue", Some(self.order(&csr_for(key), further))).await
    }

    fn order(&self, csr: &str, further: Value) -> Value {
        let mut body = json!({ "productReference": self.product, "csr": csr });
        for (name, value) in further.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    }

    /// The id of a new order.
    async fn ordered(&self, further: Value) -> String {
        let reply = self.issue(further).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["uuid"].as_str().unwrap().to_owned()
    }

    /// The id of an order that has been issued.
    async fn issued(&self, further: Value) -> String {
        let id = self.ordered(further).await;
        self.pass(1.0);
        id
    }

    async fn status(&self, id: &str) -> String {
        self.post(&format!("order/{id}/status"), None).await.text().to_owned()
    }

    async fn chain(&self, id: &str) -> Vec<Certificate> {
        let reply = self.post(&format!("order/{id}/certificate/chain"), None).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let list = reply.json();
        list.as_array().unwrap().iter().map(certificate).collect()
    }

    /// The ids that a search finds.
    async fn found(&self, search: Value) -> Vec<String> {
        let reply = self.post("orders", Some(search)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        ids(&reply.json())
    }
}

fn ids(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|order| order["uuid"].as_str().unwrap().to_owned()).collect()
}

fn certificate(base64: &Value) -> Certificate {
    Certificate::from_der(&STANDARD.decode(base64.as_str().unwrap()).unwrap()).unwrap()
}

/// ECDSA everywhere, so that a test takes milliseconds.
fn quick() -> SiteSettings {
    SiteSettings { key_algorithm: KeyAlgorithm::Ecdsa, ..SiteSettings::default() }
}

/// A site whose only product is this one.
fn selling(product: Product) -> SiteSettings {
    let client = Client { products: vec![product], ..Client::default() };
    SiteSettings { clients: vec![client], ..quick() }
}

/// What came back, with the body as far as it came.
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    is_whole: bool,
    is_disconnected: bool,
}

impl Reply {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some(JSON), "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The last group of the error code.
    fn error(&self) -> String {
        let code = self.json()["errorCode"].as_str().unwrap().to_owned();
        assert!(code.starts_with('<') && code.ends_with('>'), "{code}");
        code[9..13].to_owned()
    }
}

/// A POST to the site `demo`.
fn request(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post(format!("/swisssign/demo/v2/{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn csr_for(key: &KeyPair) -> String {
    let mut params = CertificateParams::new(vec!["www.example.org".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "www.example.org");
    params.serialize_request(key).unwrap().pem().unwrap()
}

#[tokio::test]
async fn an_order_goes_from_new_to_its_chain() {
    let bench = Bench::new().await;
    let key = key();
    let further =
        json!({"tags": ["chancery-1", "spki-2"], "synchrone": false, "acceptTandC": true});
    let reply = bench.issue_csr_of(&key, further).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let order = reply.json();
    let id = order["uuid"].as_str().unwrap();
    assert!(id.starts_with("ord-"));
    assert_eq!(order["status"], "NEW");
    assert_eq!(order["clientReference"], json!(bench.client));
    assert_eq!(order["productReference"], json!(bench.product));
    assert_eq!(order["tags"], json!(["chancery-1", "spki-2"]));
    assert_eq!(order["createdOn"], "2026-11-24T20:00:00Z");
    let fields: Vec<&String> = order.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        ["clientReference", "createdOn", "issuedBy", "productReference", "status", "tags", "uuid"],
        "neither the CSR nor a certificate"
    );
    assert_eq!(bench.status(id).await, "\"NEW\"");
    bench.pass(0.3);
    assert_eq!(bench.status(id).await, "\"ISSUE\"");
    bench.pass(0.5);
    assert_eq!(bench.status(id).await, "\"ISSUED\"");

    let chain = bench.chain(id).await;
    assert_eq!(chain.len(), 3, "the root is there");
    let leaf = chain[0].tbs_certificate();
    assert_eq!(
        leaf.subject_public_key_info().to_der().unwrap(),
        rcgen::PublicKeyData::subject_public_key_info(&key)
    );
    assert_eq!(leaf.issuer(), chain[1].tbs_certificate().subject());
    assert_eq!(chain[1].tbs_certificate().issuer(), chain[2].tbs_certificate().subject());
    let root = chain[2].tbs_certificate();
    assert_eq!(root.issuer(), root.subject());
    let life = leaf.validity().not_after.to_unix_duration()
        - leaf.validity().not_before.to_unix_duration();
    assert_eq!(life.as_secs(), 198 * 86_400);

    let order = bench.post(&format!("order/{id}"), None).await.json();
    let described = &order["certificate"];
    assert_eq!(certificate(&described["certificate"]), chain[0]);
    assert_eq!(described["subject"], "CN=www.example.org");
    assert_eq!(described["issuer"], "CN=demo Issuing CA, OU=SwissSign RA, O=Chancery Simulator");
    assert_eq!(described["startValidity"], "2026-11-24T20:00:00Z");
    assert_eq!(described["serial"].as_str().unwrap().len(), 40);

    let record = &bench.site.orders().unwrap()[0];
    assert_eq!(record.delivery, Delivery::Delivered);
    assert_eq!(record.requested_names, ["dns:www.example.org"]);
    assert_eq!(bench.site.references().references["chancery-1"], 1);
    assert_eq!(bench.site.requests().count("issue", "200"), 1);
}
