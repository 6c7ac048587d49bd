//! The simulator of the SwissSign RA API against its specification: in process where the wire does
//! not matter, over TLS with curl and openssl where it does.

#![cfg(feature = "simulator")]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of a server run in real time, and one that cannot go on has failed"
)]

use std::fs;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chancery::simulator::swisssign::{
    Action, Client, Delivery, Operation, Product, ProductValidity, Site, SiteSettings, Step,
    TagSearch, ValidityType,
};
use chancery::simulator::{Disconnect, Fault, KeyAlgorithm, Kind, Settings, Simulator, server};
use der::{Decode, Encode};
use http::{HeaderMap, Request};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
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

#[tokio::test]
async fn tokens_are_handed_out_and_looked_at() {
    let bench = Bench::new().await;
    let reply = bench.log_in().await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some(TEXT)));
    assert_eq!(reply.text().split('.').count(), 3);
    let body = "userSecret=changeme";
    let log_in =
        |path: &str, headers: &[(&str, &str)], body: &str| request(path, headers, body.to_owned());
    let own = format!("jwt/{ACCOUNT}");
    let form = ("content-type", FORM);
    #[rustfmt::skip]
    let rows = [
        ("escaped name", log_in("jwt/MPKI0000001%2EAutoRAO", &[form], body), 200, None),
        ("both types accepted", log_in(&own, &[form, ("accept", "text/plain, application/json")], body), 200, None),
        ("only JSON accepted", log_in(&own, &[form, ("accept", JSON)], body), 406, None),
        ("wrong secret", log_in(&own, &[form], "userSecret=x"), 401, Some("0223")),
        ("no secret", log_in(&own, &[form], ""), 400, Some("0229")),
        ("unknown user", log_in("jwt/nobody", &[form], body), 404, Some("0223")),
        ("JSON body", log_in(&own, &[("content-type", JSON)], r#"{"userSecret":"changeme"}"#), 415, None),
    ];
    for (case, request, status, error) in rows {
        let reply = bench.send(request).await;
        assert_eq!(reply.status, status, "{case}");
        if let Some(error) = error {
            assert_eq!(reply.error(), error, "{case}");
        }
    }

    let token = &bench.token;
    let key = EncodingKey::from_secret(API_KEY.as_bytes());
    let claims = json!({"iss": "SwissPKI", "aud": "REST API", "sub": ACCOUNT,
        "exp": bench.clock.lock().unwrap().as_second() + 60});
    let signed = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
    #[rustfmt::skip]
    let rows = [
        ("the token of the site", Some(format!("Bearer {token}")), 200, ""),
        ("a token of our own", Some(format!("Bearer {signed}")), 200, ""),
        ("no header", None, 401, "0223"),
        ("no scheme", Some(token.clone()), 401, "0223"),
        ("Basic", Some(format!("Basic {token}")), 401, "0223"),
        ("a broken token", Some(format!("Bearer {token}x")), 401, "0228"),
        ("nonsense", Some("Bearer x".to_owned()), 401, "0228"),
    ];
    let ask = async |header: Option<&str>| {
        let headers: Vec<_> = header.map(|header| ("authorization", header)).into_iter().collect();
        bench.send(request("clients", &headers, "")).await
    };
    for (case, header, status, error) in rows {
        let reply = ask(header.as_deref()).await;
        assert_eq!(reply.status, status, "{case}");
        if status != 200 {
            assert_eq!(reply.error(), error, "{case}");
            let uuid = reply.json()["uuid"].as_str().unwrap().to_owned();
            assert_eq!(uuid.len(), 36, "{case}");
        }
    }

    bench.change(|settings| settings.reject_next_token = true);
    assert_eq!(bench.post("clients", None).await.status, 401);
    assert_eq!(bench.post("clients", None).await.status, 200, "only once");
    bench.site.restart();
    assert_eq!(bench.post("clients", None).await.error(), "0228", "void after a restart");
    assert_eq!(ask(Some(&format!("Bearer {signed}"))).await.status, 200, "signed by ourselves");

    bench.change(|settings| {
        settings.token_lifetime_seconds = 60;
        settings.quoted_token = true;
    });
    let quoted = bench.log_in().await;
    assert!(quoted.text().starts_with("\"eyJ") && quoted.text().ends_with('"'));
    let header = format!("Bearer {}", quoted.text().trim_matches('"'));
    assert_eq!(ask(Some(&header)).await.status, 200);
    bench.pass(60.0);
    assert_eq!(ask(Some(&header)).await.error(), "0228", "expired");
}

#[tokio::test]
async fn a_request_must_look_as_the_specification_says() {
    let bench = Bench::new().await;
    let id = bench.ordered(json!({})).await;
    let authorization = format!("Bearer {}", bench.token);
    let unknown = "ord-00000000-0000-4000-8000-000000000000";
    let upper = id.to_uppercase().replace("ORD-", "ord-");
    let auth = ("authorization", authorization.as_str());
    let json = ("content-type", JSON);
    let text = ("content-type", TEXT);
    let form = ("content-type", FORM);
    let order = |id: &str, rest: &str| format!("order/{id}{rest}");
    #[rustfmt::skip]
    let rows = [
        ("an unknown path", "order".to_owned(), vec![auth], "", 404, ""),
        ("a plural that was never right", "client/domains/x/list".to_owned(), vec![auth], "", 404, ""),
        ("a trailing slash", "clients/".to_owned(), vec![auth], "", 404, ""),
        ("an empty body as curl -d '' sends it", "clients".to_owned(), vec![auth, form], "", 200, ""),
        ("an empty object where there is no body", "clients".to_owned(), vec![auth, json], "{}", 400, "0226"),
        ("the same for a status", order(&id, "/status"), vec![auth, json], "{}", 400, "0226"),
        ("an unknown order", order(unknown, ""), vec![auth], "", 404, "0226"),
        ("the status of an unknown order", order(unknown, "/status"), vec![auth], "", 404, "0226"),
        ("an id in upper case", order(&upper, ""), vec![auth], "", 400, "0226"),
        ("an id without its prefix", order(&id[4..], ""), vec![auth], "", 400, "0226"),
        ("an id with another prefix", order(&id.replace("ord", "cli"), ""), vec![auth], "", 400, "0226"),
        ("an unknown client", "client/cli-00000000-0000-4000-8000-000000000000".to_owned(), vec![auth], "", 404, "0231"),
        ("a search without a body", "orders".to_owned(), vec![auth, json], "", 400, "0226"),
        ("a search without a type", "orders".to_owned(), vec![auth], "{}", 415, ""),
        ("the least search", "orders".to_owned(), vec![auth, json], "{}", 200, ""),
        ("a status in lower case", "orders".to_owned(), vec![auth, json], r#"{"orderStatus": ["issued"]}"#, 400, "0226"),
        ("a date without a time", "orders".to_owned(), vec![auth, json], r#"{"startAfter": "2026-01-01"}"#, 400, "0226"),
        ("a bad client", "orders".to_owned(), vec![auth, json], r#"{"clientReferences": ["x"]}"#, 400, "0226"),
        ("a negative length", "orders/paged?length=-1".to_owned(), vec![auth, json], "{}", 400, "0226"),
        ("a start in words", "clients/paged?start=one".to_owned(), vec![auth], "", 400, "0226"),
        ("tags that are an object", order(&id, "/tags"), vec![auth, json], "{}", 400, "0226"),
        ("an order as text", "issue".to_owned(), vec![auth, text], "{}", 415, ""),
        ("an order without anything", "issue".to_owned(), vec![auth, json], "{}", 400, "0226"),
        ("a CSR as JSON", format!("issue/csr/{}", bench.product), vec![auth, json], "\"x\"", 415, ""),
        ("a CSR that is none", format!("issue/csr/{}", bench.product), vec![auth, text], "x", 400, "0241"),
        ("a CSR without armour", format!("issue/csr/{}", bench.product), vec![auth, text], "MIIB", 400, "0241"),
        ("revocations that are no list", "revoke".to_owned(), vec![auth, json], "{}", 400, "0226"),
        ("no token and no body", "issue".to_owned(), vec![], "", 401, "0223"),
    ];
    for (case, path, headers, body, status, error) in rows {
        let reply = bench.send(request(&path, &headers, body)).await;
        assert_eq!(reply.status, status, "{case}: {}", reply.text());
        match error {
            "" if status >= 400 => assert!(reply.body.is_empty(), "{case}"),
            "" => {}
            error => assert_eq!(reply.error(), error, "{case}: {}", reply.text()),
        }
    }
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let uri = "/swisssign/demo/v2/clients";
        let request =
            Request::builder().method(method).uri(uri).header("authorization", &authorization);
        let reply = bench.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")), "{method}");
    }
    let huge = request("issue", &[auth, json], vec![b' '; 2 * 1024 * 1024]);
    assert_eq!(bench.send(huge).await.status, 413);
    bench.change(|settings| settings.unknown_id_status = 400);
    assert_eq!(bench.post(&order(unknown, ""), None).await.status, 400);
}

#[tokio::test]
async fn clients_are_found_with_their_products() {
    let named = |name: &str, products: Vec<Product>| Client {
        name: name.to_owned(),
        products,
        ..Client::default()
    };
    let twice = || vec![Product::default(), Product::default()];
    let clients =
        vec![named("Alpine AG", twice()), named("Alpine AG", vec![]), named("Zug GmbH", vec![])];
    let bench = Bench::with(SiteSettings { clients: clients.clone(), ..quick() }).await;
    let names = async |query: &str| {
        let list = bench.post(&format!("clients{query}"), None).await.json();
        let list = list.as_array().unwrap().iter();
        list.map(|client| client["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let rows = [
        ("", 3),
        ("?search=", 3),
        ("?search=alpine", 2),
        ("?search=AG", 2),
        ("?search=Alpine%20A%3F", 2),
        ("?search=*mb*", 1),
        ("?search=mb*", 0),
        ("?search=nobody", 0),
    ];
    for (query, count) in rows {
        assert_eq!(names(query).await.len(), count, "{query}");
    }

    let all = bench.post("clients", None).await.json();
    let (first, second) = (&all[0], &all[1]);
    assert_ne!(first["uuid"], second["uuid"], "equal names, different ids");
    let products = first["products"].as_array().unwrap();
    assert_ne!(products[0]["uuid"], products[1]["uuid"]);
    assert!(products[0]["uuid"].as_str().unwrap().starts_with("pma-"));
    assert_eq!(products[0]["productName"], "Demo DV SSL Silver Single-Domain");
    assert_eq!(products[0].get("name"), None, "the schema demands it and it does not exist");
    assert_eq!(
        products[0]["productValidity"],
        json!({"validityType": "DAYS", "validity": 198, "validityOptions": []})
    );
    for flag in [
        "authorization",
        "isCABDNSValidationRequired",
        "isCABDNSEmailLinkValidationRequired",
        "isEmailBoxValidationRequired",
        "requiresRegistrationDocuments",
        "requiresRegistrationDocumentsOnRegister",
        "allowRegistrationDocumentsPDF",
        "publishCertificate",
    ] {
        assert_eq!(products[0][flag], false, "{flag}");
    }
    let one = bench.post(&format!("client/{}", first["uuid"].as_str().unwrap()), None).await;
    assert_eq!(&one.json(), first);

    bench.change(|settings| settings.max_page_length = 2);
    assert_eq!(names("").await.len(), 2, "capped");
    let page = bench.post("clients/paged?start=1&length=99&search=*", None).await.json();
    assert_eq!((&page["recordsFiltered"], &page["recordsTotal"]), (&json!(3), &json!(3)));
    assert_eq!(page["data"].as_array().unwrap().len(), 2, "clamped");
    assert_eq!(page["data"][0]["uuid"], second["uuid"]);
    assert!(page["draw"].is_number());

    // Another simulator gives the same ids to the same names.
    let again = Bench::with(SiteSettings { clients, ..quick() }).await;
    assert_eq!((again.client, again.product), (bench.client, bench.product));
}

#[tokio::test]
async fn a_product_says_what_stands_in_its_way() {
    let yesterday: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
    #[rustfmt::skip]
    let rows = [
        ("retired", Product { retired: true, ..Product::default() }, json!({}), "0246"),
        ("expired", Product { expiration_date: Some(yesterday), ..Product::default() }, json!({}), "0247"),
        ("not for the API", Product { api_disabled: true, ..Product::default() }, json!({}), "0245"),
        ("makes the key", Product { key_generation_type: "PKCS12".to_owned(), ..Product::default() }, json!({}), "0244"),
        ("allows no validity", Product { allows_validity: false, ..Product::default() }, json!({"overrides": {"validity": 1}}), "0240"),
        ("offers other validities", Product { product_validity: Some(ProductValidity { validity_options: vec![90], ..ProductValidity::default() }), ..Product::default() }, json!({"overrides": {"validity": 91}}), "0240"),
        ("no validity of zero", Product::default(), json!({"overrides": {"validity": 0}}), "0226"),
        ("terms refused", Product::default(), json!({"acceptTandC": false}), "0240"),
        ("no CSR", Product::default(), json!({"csr": null}), "0240"),
        ("a broken CSR", Product::default(), json!({"csr": "MIIB"}), "0241"),
        ("an unknown product", Product::default(), json!({"productReference": "pma-00000000-0000-4000-8000-000000000000"}), "0234"),
        ("a product id that is none", Product::default(), json!({"productReference": "x"}), "0226"),
        ("a subject that is none", Product::default(), json!({"overrides": {"subjectDN": "nonsense"}}), "0237"),
        ("an address that is none", Product::default(), json!({"overrides": {"requestExtensions": {"requestIP": {"values": ["1.2.3"]}}}}), "0240"),
        ("a key that does not exist", Product::default(), json!({"synchronous": true}), "0226"),
        ("null for a flag", Product::default(), json!({"synchrone": null}), "0226"),
    ];
    for (case, product, further, error) in rows {
        let bench = Bench::with(selling(product)).await;
        for operation in ["issue", "validate"] {
            let body = bench.order(&csr_for(&key()), further.clone());
            let reply = bench.post(operation, Some(body)).await;
            assert!(matches!(reply.status, 400 | 404), "{case}: {}", reply.text());
            assert_eq!(reply.error(), error, "{case}: {}", reply.text());
        }
        assert_eq!(bench.site.references().total, 0, "{case}");
    }
    let bench = Bench::with(SiteSettings { checks_terms: false, ..quick() }).await;
    assert_eq!(bench.issue(json!({"acceptTandC": false})).await.status, 200);
}

#[tokio::test]
async fn validate_creates_nothing() {
    let bench = Bench::new().await;
    let body = bench.order(&csr_for(&key()), json!({"tags": ["t"]}));
    let reply = bench.post("validate", Some(body)).await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    assert_eq!(bench.site.references().total, 0);
}

#[tokio::test]
async fn the_signature_of_a_csr_is_checked() {
    let bench = Bench::new().await;
    let pem = csr_for(&key());
    let mut der = pem::parse(&pem).unwrap().contents().to_vec();
    let bare = STANDARD.encode(&der);
    let order = bench.order(&bare, json!({}));
    assert_eq!(bench.post("issue", Some(order)).await.status, 200, "without armour");
    let middle = der.windows(11).position(|part| part == b"www.example").unwrap();
    der[middle] = b'x';
    let order = bench.order(&STANDARD.encode(&der), json!({}));
    assert_eq!(bench.post("issue", Some(order)).await.error(), "0240");
}

#[tokio::test]
async fn an_account_may_be_confined_to_bare_requests() {
    let bench = Bench::with(SiteSettings { allow_issue: false, ..quick() }).await;
    let refused = bench.issue(json!({})).await;
    assert_eq!((refused.status, refused.error()), (403, "0224".to_owned()));
    bench.change(|settings| settings.access_denied_status = 401);
    assert_eq!(bench.issue(json!({})).await.status, 401);

    let authorization = format!("Bearer {}", bench.token);
    let headers = [("authorization", authorization.as_str()), ("content-type", TEXT)];
    let path = format!("issue/csr/{}", bench.product);
    let reply = bench.send(request(&path, &headers, csr_for(&key()))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json().get("tags"), None);
    bench.pass(1.0);
    assert_eq!(bench.chain(reply.json()["uuid"].as_str().unwrap()).await.len(), 3);
    assert_eq!(bench.site.orders().unwrap()[0].operation, "issueCsr");
}

#[tokio::test]
async fn every_kind_of_name_and_key_is_certified() {
    let bench = Bench::new().await;
    let kinds = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ];
    for kind in kinds {
        let key = KeyPair::generate_for(kind).unwrap();
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.subject_alt_names.extend([
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::URI("https://a.example/x".try_into().unwrap()),
            SanType::Rfc822Name("a@example.org".try_into().unwrap()),
        ]);
        params.distinguished_name = rcgen::DistinguishedName::new();
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        let reply = bench.post("issue", Some(bench.order(&csr, json!({})))).await;
        assert_eq!(reply.status, 200, "{kind:?}: {}", reply.text());
        bench.pass(1.0);
        let chain = bench.chain(reply.json()["uuid"].as_str().unwrap()).await;
        let leaf = chain[0].tbs_certificate();
        assert_eq!(
            leaf.subject_public_key_info().to_der().unwrap(),
            rcgen::PublicKeyData::subject_public_key_info(&key),
            "{kind:?}"
        );
        let names =
            leaf.extensions().unwrap().iter().find(|e| e.extn_id.to_string() == "2.5.29.17");
        assert!(names.unwrap().critical, "there is no subject");
        let record = bench.site.orders().unwrap().pop().unwrap();
        let expected = [
            "dns:a.example",
            "ip:192.0.2.1",
            "ip:2001:db8::1",
            "uri:https://a.example/x",
            "email:a@example.org",
        ];
        assert_eq!(record.certificate.unwrap().names, expected, "{kind:?}");
    }
}

#[tokio::test]
async fn overrides_replace_the_subject_and_add_names() {
    let bench = Bench::new().await;
    let overrides = json!({
        "subjectDN": "c=CH,o=Example AG,cn=déjà.example",
        "validity": 7,
        "requestExtensions": {
            "requestDNS": {"values": [
                {"dns": "www.example.org"},
                {"dns": "déjà.vu.com", "includeWWWDomain": true},
                {"dns": "*.wild.example", "includeBaseDomainForWildcard": true},
            ]},
            "requestRFC822": {"values": ["a@example.org"]},
            "requestIP": {"values": ["192.0.2.7"]},
            "requestUPN": {"values": ["user@example.org"]},
            "requestRole": {"value": null},
            "microsoftSecurityIdentifier": null,
        },
    });
    bench.issued(json!({"overrides": overrides, "note": "for whom"})).await;
    let record = bench.site.orders().unwrap().pop().unwrap();
    assert_eq!(record.note.as_deref(), Some("for whom"));
    assert_eq!(record.requested_subject, "CN=déjà.example, O=Example AG, C=CH");
    let issued = record.certificate.unwrap();
    let names = &issued.names;
    assert_eq!(
        names[..5],
        [
            "dns:www.example.org",
            "dns:xn--dj-kia8a.vu.com",
            "dns:www.xn--dj-kia8a.vu.com",
            "dns:*.wild.example",
            "dns:wild.example"
        ]
    );
    assert_eq!(names[5..7], ["email:a@example.org", "ip:192.0.2.7"]);
    assert!(names[7].starts_with("a0:"), "{names:?}");
    assert_eq!(issued.not_after.duration_since(issued.not_before).as_hours(), 7 * 24);
}

#[tokio::test]
async fn the_life_of_an_order_is_a_script() {
    let script = vec![
        Step::passing("PRE_VALIDATION", 2.0),
        Step { error: Some("domain not validated".to_owned()), ..Step::waiting("PENDING_AUTH") },
        Step::passing("FINALIZE_ISSUANCE", 1.0),
        Step::waiting("ISSUED"),
    ];
    let bench = Bench::with(SiteSettings { states: Some(script), ..quick() }).await;
    let id = bench.ordered(json!({})).await;
    let chain = format!("order/{id}/certificate/chain");
    assert_eq!(bench.status(&id).await, "\"PRE_VALIDATION\"");
    bench.pass(100.0);
    assert_eq!(bench.status(&id).await, "\"PENDING_AUTH\"", "a person is needed");
    assert_eq!(bench.post(&chain, None).await.error(), "0226");
    let tasks = bench.post(&format!("order/{id}/tasks"), None).await.json();
    assert_eq!(
        (&tasks[0]["type"], &tasks[0]["status"]),
        (&json!("ISSUE_DOMAIN_OWNER_CHECK_VALIDATION_JOB"), &json!("SUCCESS"))
    );
    assert_eq!(
        (&tasks[1]["type"], &tasks[1]["status"], &tasks[1]["error"]),
        (&json!("ISSUE_AUTHORIZATION_JOB"), &json!("RETRY"), &json!("domain not validated"))
    );
    assert!(tasks[0]["uuid"].as_str().unwrap().starts_with("job-"));
    assert_eq!(tasks[0]["numberOfExecutions"], 1);

    bench.site.act(&id, &Action::Approve).unwrap();
    assert_eq!(bench.status(&id).await, "\"FINALIZE_ISSUANCE\"");
    let order = bench.post(&format!("order/{id}"), None).await.json();
    assert!(order["certificate"].is_object(), "it exists before it is issued");
    assert_eq!(bench.post(&chain, None).await.status, 404, "and must not be fetched yet");
    bench.pass(1.0);
    assert_eq!(bench.status(&id).await, "\"ISSUED\"");
    assert_eq!(bench.chain(&id).await.len(), 3);
    let states: Vec<String> =
        bench.site.orders().unwrap()[0].history.iter().map(|past| past.state.clone()).collect();
    assert_eq!(states, ["PRE_VALIDATION", "PENDING_AUTH", "FINALIZE_ISSUANCE", "ISSUED"]);
}

#[tokio::test]
async fn a_product_that_needs_a_person_waits_for_one() {
    let bench = Bench::with(selling(Product { authorization: true, ..Product::default() })).await;
    let [yes, no] = [bench.issued(json!({})).await, bench.issued(json!({})).await];
    assert_eq!(bench.status(&yes).await, "\"PENDING_AUTH\"");
    bench.site.act(&yes, &Action::Approve).unwrap();
    let error = Some("not a customer".to_owned());
    bench.site.act(&no, &Action::Reject { error }).unwrap();
    bench.pass(1.0);
    assert_eq!(bench.status(&yes).await, "\"ISSUED\"");
    assert_eq!(bench.status(&no).await, "\"REJECTED\"");
    let tasks = bench.post(&format!("order/{no}/tasks"), None).await.json();
    let last = tasks.as_array().unwrap().last().unwrap();
    assert_eq!((&last["status"], &last["error"]), (&json!("FAILED"), &json!("not a customer")));

    // So does its revocation.
    let reply = bench.post("revoke", Some(json!([revocation(&bench, &yes).await]))).await;
    assert_eq!(reply.status, 204, "{}", reply.text());
    bench.pass(1000.0);
    assert_eq!(bench.status(&yes).await, "\"ISSUED\"");
    bench.site.act(&yes, &Action::Revoke).unwrap();
    assert_eq!(bench.status(&yes).await, "\"REVOKED\"");
}

#[tokio::test]
async fn a_person_can_do_anything_to_an_order() {
    let bench = Bench::with(SiteSettings {
        states: Some(vec![Step::waiting("NEW"), Step::waiting("ISSUE"), Step::waiting("ISSUED")]),
        ..quick()
    })
    .await;
    let id = bench.ordered(json!({"tags": ["t"]})).await;
    let act = |action: Action| bench.site.act(&id, &action).map(|order| order.state);
    assert_eq!(act(Action::Advance).unwrap(), "ISSUE");
    let set = |state: &str| Action::Set { state: state.to_owned() };
    for literal in ["UNKNOWN", "issue", "SOMETHING_NEW", ""] {
        assert_eq!(act(set(literal)).unwrap(), literal);
        assert_eq!(bench.status(&id).await, json!(literal).to_string());
    }
    assert!(act(Action::Approve).is_err(), "nobody waits for it");
    assert!(act(Action::Revoke).is_err(), "there is no certificate");
    assert_eq!(act(Action::Advance).unwrap(), "ISSUED", "the script goes on");
    assert!(act(Action::Advance).is_err(), "it has come to its end");
    assert_eq!(act(Action::Revoke).unwrap(), "REVOKED");
    let order = bench.post(&format!("order/{id}"), None).await.json();
    assert_eq!(order["certificate"]["revocationStatus"]["reason"], "PRIVILEGE_WITHDRAWN");
    assert_eq!(bench.chain(&id).await.len(), 3, "a revoked order has its chain");
    act(Action::Forget).unwrap();
    assert_eq!(bench.post(&format!("order/{id}"), None).await.status, 404);
    assert_eq!(bench.found(json!({})).await, Vec::<String>::new());
    assert!(bench.site.orders().unwrap()[0].is_forgotten, "the record stays");
    assert_eq!(bench.site.references().references["t"], 1);
    assert!(bench.site.act("ord-x", &Action::Advance).is_err());

    let failed = bench.ordered(json!({})).await;
    bench.site.act(&failed, &Action::Fail { error: None }).unwrap();
    assert_eq!(bench.status(&failed).await, "\"FAILED\"");
}

#[tokio::test]
async fn tags_are_replaced_and_not_added() {
    let bench = Bench::new().await;
    let id = bench.ordered(json!({"tags": ["one", "two"]})).await;
    let reply = bench.post(&format!("order/{id}/tags"), Some(json!(["three"]))).await.json();
    assert_eq!((&reply["uuid"], &reply["tags"]), (&json!(id), &json!(["three"])));
    assert!(bench.found(json!({"tags": ["one"]})).await.is_empty());
    assert_eq!(bench.found(json!({"tags": ["three"]})).await, [id]);
    assert_eq!(bench.site.references().references["one"], 1, "what was bought stays bought");
}

#[tokio::test]
async fn searches_find_what_they_are_told_to() {
    let bench = Bench::new().await;
    let first = bench.issued(json!({"tags": ["a", "b"]})).await;
    let second = bench.ordered(json!({"tags": ["b"]})).await;
    let serial = bench.post(&format!("order/{first}"), None).await.json()["certificate"]["serial"]
        .as_str()
        .unwrap()
        .to_owned();
    let created = "2026-11-24T20:00:00Z";
    let both = vec![first.clone(), second.clone()];
    let (one, two, none) = (vec![first.clone()], vec![second.clone()], vec![]);
    #[rustfmt::skip]
    let rows = [
        ("nothing in particular", json!({}), &both),
        ("nulls are nothing", json!({"tags": null, "orderStatus": null, "attribute": null}), &both),
        ("empty lists are nothing", json!({"tags": [], "orderStatus": []}), &both),
        ("the client", json!({"clientReferences": [bench.client]}), &both),
        ("another client", json!({"clientReferences": ["cli-00000000-0000-4000-8000-000000000000"]}), &none),
        ("an order", json!({"orderReference": second}), &two),
        ("a tag", json!({"tags": ["b"]}), &both),
        ("all tags", json!({"tags": ["a", "b"]}), &one),
        ("a part of a tag", json!({"tags": ["*"]}), &none),
        ("a state", json!({"orderStatus": ["ISSUED"]}), &one),
        ("states", json!({"orderStatus": ["ISSUED", "NEW"]}), &both),
        ("a serial number", json!({"serialNumber": serial.to_lowercase()}), &one),
        ("serial numbers", json!({"serialNumber": "*"}), &one),
        ("a common name", json!({"attribute": "www.*"}), &one),
        ("an unknown name", json!({"attribute": "mail.*"}), &none),
        ("a reason", json!({"revocationReason": ["UNUSED"]}), &none),
        ("not after, whatever the name says", json!({"startAfter": created}), &one),
        ("not before, whatever the name says", json!({"startBefore": "2026-11-24T20:00:01Z"}), &two),
        ("with the chain", json!({"includeCertificateChain": true}), &both),
        ("all filters at once", json!({"tags": ["b"], "orderStatus": ["NEW"]}), &two),
    ];
    for (case, search, expected) in rows {
        let mut expected = expected.clone();
        expected.sort();
        assert_eq!(bench.found(search).await, expected, "{case}");
    }
    let list = bench.post("orders", Some(json!({"includeCertificateChain": true}))).await.json();
    let of = |id: &str| list.as_array().unwrap().iter().find(|order| order["uuid"] == id).unwrap();
    assert_eq!(of(&first)["certificateChain"].as_array().unwrap().len(), 3);
    let open = of(&second).as_object().unwrap();
    assert_eq!(open.get("certificate"), Some(&Value::Null), "null in a list, absent elsewhere");
}

#[tokio::test]
async fn a_page_has_three_hundred_rows_at_most() {
    let bench = Bench::new().await;
    let csr = csr_for(&key());
    for number in 0..305 {
        let order = bench.order(&csr, json!({"tags": [format!("t{}", number % 61)]}));
        assert_eq!(bench.post("issue", Some(order)).await.status, 200);
    }
    assert_eq!(bench.found(json!({})).await.len(), 300);
    let page = async |query: &str| {
        bench.post(&format!("orders/paged{query}"), Some(json!({}))).await.json()
    };
    let first = page("").await;
    let second = page("?start=300&length=1000").await;
    assert_eq!((&first["recordsFiltered"], &first["recordsTotal"]), (&json!(305), &json!(305)));
    let mut seen = ids(&first["data"]);
    assert_eq!(seen.len(), 300);
    seen.extend(ids(&second["data"]));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 305);
    let some = bench.post("orders/paged?length=2", Some(json!({"tags": ["t7"]}))).await.json();
    assert_eq!((&some["recordsFiltered"], &some["recordsTotal"]), (&json!(5), &json!(305)));
    assert_eq!(some["data"].as_array().unwrap().len(), 2);
    assert_eq!(bench.site.references().total, 305);
}

#[tokio::test]
async fn a_site_is_as_unkind_as_it_is_told_to_be() {
    let bench = Bench::new().await;
    let tagged = json!({"tags": ["t"]});
    let find = || json!({"tags": ["t"]});

    bench.change(|settings| settings.search_lag_seconds = 60.0);
    let id = bench.issued(tagged.clone()).await;
    assert!(bench.found(find()).await.is_empty(), "not indexed yet");
    assert_eq!(bench.status(&id).await, "\"ISSUED\"", "and there all the same");
    bench.pass(60.0);
    assert_eq!(bench.found(find()).await, [id.clone()]);
    bench.change(|settings| settings.search_lag_seconds = 0.0);

    bench.change(|settings| settings.index_forgets = true);
    assert!(bench.found(json!({})).await.is_empty());
    bench.change(|settings| settings.index_forgets = false);

    bench.change(|settings| settings.search_omits_open_orders = true);
    let open = bench.ordered(json!({"tags": ["t", "u"]})).await;
    assert_eq!(bench.found(find()).await, [id.clone()]);
    bench.pass(1.0);
    assert_eq!(bench.found(find()).await.len(), 2);

    bench.change(|settings| settings.tag_search = TagSearch::AnyOf);
    assert_eq!(bench.found(json!({"tags": ["t", "u"]})).await.len(), 2);
    bench.change(|settings| settings.tag_search = TagSearch::AllOf);
    assert_eq!(bench.found(json!({"tags": ["t", "u"]})).await, [open]);
    bench.change(|settings| settings.tag_wildcards = true);
    assert_eq!(bench.found(json!({"tags": ["?"]})).await.len(), 2);
    bench.change(|settings| settings.search_ignores_tags = true);
    assert_eq!(bench.found(json!({"tags": ["nobody has this"]})).await.len(), 2);
    bench.change(|settings| settings.search_ignores_tags = false);

    bench.change(|settings| settings.drop_tags = true);
    let reply = bench.issue(json!({"tags": ["lost"]})).await;
    assert_eq!(reply.json().get("tags"), None);
    assert!(bench.found(json!({"tags": ["lost"]})).await.is_empty());
    assert_eq!(bench.site.references().references["lost"], 1, "counted as it was submitted");
    bench.change(|settings| settings.drop_tags = false);

    bench.change(|settings| settings.duplicate_next = true);
    let first = bench.issued(json!({"tags": ["double"]})).await;
    bench.issued(json!({"tags": ["single"]})).await;
    let found = bench.found(json!({"tags": ["double"]})).await;
    assert_eq!(found.len(), 2);
    assert!(found.contains(&first));
    assert_eq!(bench.site.references().references["double"], 2);
    assert_eq!(bench.site.references().references["single"], 1, "only once");

    bench.change(|settings| {
        settings.chain_missing_seconds = 30.0;
        settings.chain_missing_status = 400;
    });
    let late = bench.issued(json!({})).await;
    let chain = format!("order/{late}/certificate/chain");
    assert_eq!(bench.status(&late).await, "\"ISSUED\"");
    assert_eq!(bench.post(&chain, None).await.status, 400);
    bench.pass(30.0);
    assert_eq!(bench.chain(&late).await.len(), 3);

    bench.change(|settings| settings.lowercase_status = true);
    assert_eq!(bench.status(&late).await, "\"issued\"");
    assert_eq!(bench.post(&format!("order/{late}"), None).await.json()["status"], "issued");
}

#[tokio::test]
async fn a_certificate_may_say_something_else_than_was_asked_for() {
    let names = json!({"overrides": {"requestExtensions": {"requestDNS": {"values": [
        {"dns": "b.example"}, {"dns": "c.example"}]}}}});
    let issued = async |settings: SiteSettings| {
        let bench = Bench::with(settings).await;
        bench.issued(names.clone()).await;
        bench.site.orders().unwrap().pop().unwrap().certificate.unwrap()
    };
    let (www, b, c) = ("dns:www.example.org", "dns:b.example", "dns:c.example");
    assert_eq!(issued(quick()).await.names, [www, b, c]);
    assert_eq!(issued(SiteSettings { drop_sans: vec![1], ..quick() }).await.names, [www, c]);
    assert_eq!(
        issued(SiteSettings { add_www: true, ..quick() }).await.names,
        [www, b, c, "dns:www.www.example.org"]
    );
    let added = vec!["wwwx.example".to_owned()];
    assert_eq!(
        issued(SiteSettings { add_sans: added, ..quick() }).await.names,
        [www, b, c, "dns:wwwx.example"]
    );
    let clamped = issued(SiteSettings { clamp_validity_days: Some(10), ..quick() }).await;
    assert_eq!(clamped.not_after.duration_since(clamped.not_before).as_hours(), 240);
    let monthly = ProductValidity {
        validity_type: ValidityType::Months,
        validity: Some(1),
        ..ProductValidity::default()
    };
    let product = Product { product_validity: Some(monthly), ..Product::default() };
    assert_eq!(issued(selling(product)).await.not_after.to_string(), "2026-12-24T20:00:00Z");
}

/// A right revocation of an order's certificate.
async fn revocation(bench: &Bench, id: &str) -> Value {
    let order = bench.post(&format!("order/{id}"), None).await.json();
    json!({
        "serialNumber": order["certificate"]["serial"],
        "issuerName": order["certificate"]["issuer"],
        "revocationReason": "SUPERSEDED",
        "revocationRequestor": "Chancery Operator",
    })
}

#[tokio::test]
async fn a_revocation_is_accepted_first_and_carried_out_later() {
    let bench = Bench::new().await;
    let id = bench.issued(json!({})).await;
    let mut body = revocation(&bench, &id).await;
    let serial = body["serialNumber"].as_str().unwrap().trim_start_matches('0').to_lowercase();
    body["serialNumber"] = json!(serial);
    let reply = bench.post("revoke", Some(json!([body]))).await;
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    assert_eq!(bench.status(&id).await, "\"ISSUED\"");
    bench.pass(0.5);
    assert_eq!(bench.status(&id).await, "\"REVOKED\"");
    let order = bench.post(&format!("order/{id}"), None).await.json();
    assert_eq!(
        order["certificate"]["revocationStatus"],
        json!({
            "revokedOn": "2026-11-24T20:00:01.5Z",
            "reason": "SUPERSEDED",
            "revokedBy": "MPKI0000001.AutoRAO@ra.example",
            "revocationRequestor": "Chancery Operator",
        })
    );
    assert_eq!(bench.found(json!({"revocationReason": ["SUPERSEDED"]})).await, [id]);
}

#[tokio::test]
async fn a_wrong_revocation_is_refused() {
    let bench = Bench::new().await;
    let id = bench.issued(json!({})).await;
    let right = revocation(&bench, &id).await;
    let with = |name: &str, value: Value| {
        let mut body = right.clone();
        body[name] = value;
        body
    };
    let mut without = right.clone();
    without.as_object_mut().unwrap().remove("revocationRequestor");
    let issuers = bench.site.issuers().unwrap();
    let intermediate = pem::parse(issuers.intermediate_pem).unwrap();
    let intermediate = Certificate::from_der(intermediate.contents()).unwrap();
    let octets = intermediate.tbs_certificate().serial_number().as_bytes();
    let of_ca: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    #[rustfmt::skip]
    let rows = [
        ("an unknown serial number", with("serialNumber", json!("1234")), "0230"),
        ("the authority's serial number", with("serialNumber", json!(of_ca)), "0235"),
        ("an issuer that is spelled otherwise", with("issuerName", json!("O=Chancery Simulator,OU=SwissSign RA,CN=demo Issuing CA")), "0238"),
        ("a reason in camel case", with("revocationReason", json!("superseded")), "0226"),
        ("a reason that is not for requests", with("revocationReason", json!("C_A_COMPROMISE")), "0226"),
        ("nobody who asks", without.clone(), "0226"),
        ("a blank for whoever asks", with("revocationRequestor", json!(" ")), "0226"),
    ];
    for (case, body, error) in rows {
        let reply = bench.post("revoke", Some(json!([body]))).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, error), "{case}");
    }
    bench.change(|settings| settings.needs_requestor = false);
    assert_eq!(bench.post("revoke", Some(json!([without]))).await.status, 204);
    assert_eq!(bench.post("revoke", Some(json!([right]))).await.error(), "0233", "again");

    bench.site.inject(Fault::next(Operation::Issue, Kind::Expired)).unwrap();
    let expired = bench.issued(json!({})).await;
    let body = revocation(&bench, &expired).await;
    assert_eq!(bench.post("revoke", Some(json!([body]))).await.error(), "0232");
}

#[tokio::test]
async fn synchrone_waits_for_the_end_and_may_bring_the_chain() {
    let simulator = Simulator::new(Settings { key_pool: Some(3), ..Settings::default() });
    let site = simulator.swisssign("demo").unwrap();
    site.configure(quick()).unwrap();
    let product = site.settings().clients[0].products[0].id.clone().unwrap();
    let clock = Arc::new(Mutex::new(Timestamp::now()));
    let client = String::new();
    let mut bench = Bench { simulator, site, clock, token: String::new(), product, client };
    bench.token = bench.log_in().await.text().to_owned();
    let order =
        bench.issue(json!({"synchrone": true, "includeCertificateChain": true})).await.json();
    assert_eq!(order["status"], "ISSUED");
    assert_eq!(order["certificateChain"].as_array().unwrap().len(), 3);
    let order = bench.issue(json!({"includeCertificateChain": true})).await.json();
    assert_eq!(order["status"], "NEW");
    assert_eq!(order.get("certificateChain"), None, "only with synchrone");
}

#[tokio::test]
async fn an_error_of_the_api_comes_before_or_after_the_commit() {
    let bench = Bench::new().await;
    let error = |after_commit| Kind::ApiError {
        code: "<011.350.0239>".to_owned(),
        status: 500,
        messages: vec!["Failed".to_owned(), "to submit".to_owned()],
        after_commit,
    };
    for (after_commit, total) in [(false, 0), (true, 1)] {
        bench.site.inject(Fault::next(Operation::Issue, error(after_commit))).unwrap();
        let reply = bench.issue(json!({"tags": ["t"]})).await;
        assert_eq!((reply.status, reply.error()), (500, "0239".to_owned()));
        assert_eq!(reply.json()["errorMessages"], json!(["Failed", "to submit"]));
        assert_eq!(bench.site.references().total, total);
    }
    assert_eq!(bench.site.orders().unwrap()[0].delivery, Delivery::Dropped);
    assert_eq!(bench.found(json!({"tags": ["t"]})).await.len(), 1);
    // After the commit means: of a request that is carried out.
    bench.site.inject(Fault::next(Operation::Issue, error(true))).unwrap();
    assert_eq!(bench.issue(json!({"csr": "x"})).await.error(), "0241");
    assert_eq!(bench.site.faults().len(), 1);
    bench.site.clear_faults();
    assert!(bench.site.faults().is_empty());

    let bad =
        Kind::ApiError { code: String::new(), status: 200, messages: vec![], after_commit: false };
    assert!(bench.site.inject(Fault::next(Operation::Issue, bad.clone())).is_err());
    let online_ca = bench.simulator.online_ca("demo").unwrap();
    let operation = chancery::simulator::online_ca::Operation::Certificate;
    assert!(online_ca.inject(Fault::next(operation, error(true))).is_err());
}

/// Every operation, with a request for it that succeeds.
async fn each(bench: &Bench) -> Vec<(Operation, Request<Body>)> {
    let id = bench.issued(json!({})).await;
    let order = |rest: &str| format!("order/{id}{rest}");
    let body = bench.order(&csr_for(&key()), json!({}));
    let revocation = revocation(bench, &id).await;
    let authorization = format!("Bearer {}", bench.token);
    let auth = ("authorization", authorization.as_str());
    let plain = |path: &str| request(path, &[auth], "");
    let json =
        |path: &str, body: Value| request(path, &[auth, ("content-type", JSON)], body.to_string());
    vec![
        (
            Operation::Jwt,
            request(&format!("jwt/{ACCOUNT}"), &[("content-type", FORM)], "userSecret=changeme"),
        ),
        (Operation::Clients, plain("clients")),
        (Operation::ClientsPaged, plain("clients/paged")),
        (Operation::Client, plain(&format!("client/{}", bench.client))),
        (Operation::Issue, json("issue", body.clone())),
        (
            Operation::IssueCsr,
            request(
                &format!("issue/csr/{}", bench.product),
                &[auth, ("content-type", TEXT)],
                csr_for(&key()),
            ),
        ),
        (Operation::Validate, json("validate", body)),
        (Operation::Order, plain(&order(""))),
        (Operation::Status, plain(&order("/status"))),
        (Operation::Chain, plain(&order("/certificate/chain"))),
        (Operation::Tasks, plain(&order("/tasks"))),
        (Operation::Tags, json(&order("/tags"), json!(["t"]))),
        (Operation::Orders, json("orders", json!({}))),
        (Operation::OrdersPaged, json("orders/paged", json!({}))),
        (Operation::Revoke, json("revoke", json!([revocation]))),
    ]
}

#[tokio::test]
async fn every_operation_goes_wrong_in_every_way() {
    let status = Kind::Status { status: 503, body: None, retry_after: Some(7), html: true };
    let error = |after_commit| Kind::ApiError {
        code: "<011.354.0225>".to_owned(),
        status: 500,
        messages: Vec::new(),
        after_commit,
    };
    type Check = fn(&Reply) -> bool;
    #[rustfmt::skip]
    let rows: [(Kind, &str, Check); 11] = [
        (Kind::Delay { seconds: 0.01, after_commit: false }, "", |reply| reply.status < 300),
        (Kind::Delay { seconds: 0.01, after_commit: true }, "", |reply| reply.status < 300),
        (Kind::DropBeforeCommit, "disconnected", |reply| reply.is_disconnected),
        (Kind::DropAfterCommit, "disconnected", |reply| reply.is_disconnected),
        (status, "503", |reply| reply.header("retry-after") == Some("7") && reply.header("content-type") == Some("text/html")),
        (Kind::HtmlBody, "", |reply| reply.text().contains("<html>")),
        (Kind::TruncatedBody, "", |reply| !reply.is_whole),
        (Kind::EmptyBody, "", |reply| reply.status < 300 && reply.body.is_empty()),
        (Kind::HugeBody { bytes: 100_000 }, "", |reply| reply.body.len() == 100_000),
        (Kind::Redirect { location: "/x".to_owned() }, "302", |reply| reply.header("location") == Some("/x")),
        (error(false), "500", |reply| reply.error() == "0225"),
    ];
    for (kind, outcome, check) in rows {
        let bench = Bench::new().await;
        for (operation, request) in each(&bench).await {
            bench.site.inject(Fault::next(operation, kind.clone())).unwrap();
            let reply = bench.send(request).await;
            assert!(check(&reply), "{operation:?} {kind:?}");
            assert!(bench.site.faults().is_empty(), "{operation:?} {kind:?} was met");
            if !outcome.is_empty() {
                assert_eq!(bench.site.requests().count(operation.label(), outcome), 1);
            }
        }
    }
    let bench = Bench::new().await;
    for (operation, request) in each(&bench).await {
        bench.site.inject(Fault::next(operation, error(true))).unwrap();
        assert_eq!(bench.send(request).await.error(), "0225", "{operation:?}");
    }
    for (operation, request) in each(&bench).await {
        bench.site.inject(Fault::next(operation, Kind::Hang)).unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(20), bench.send(request));
        assert!(waiting.await.is_err(), "{operation:?}");
        assert_eq!(bench.site.requests().count(operation.label(), "abandoned"), 1);
    }
}

#[tokio::test]
async fn a_damaged_answer_to_a_submission_leaves_an_order_behind() {
    let rows = [
        (Kind::DropBeforeCommit, 0),
        (Kind::HtmlBody, 0),
        (Kind::DropAfterCommit, 1),
        (Kind::TruncatedBody, 1),
        (Kind::EmptyBody, 1),
    ];
    for (kind, total) in rows {
        let bench = Bench::new().await;
        bench.site.inject(Fault::next(Operation::Issue, kind.clone())).unwrap();
        bench.issue(json!({"tags": ["t"]})).await;
        assert_eq!(bench.site.references().total, total, "{kind:?}");
        let orders = bench.site.orders().unwrap();
        assert!(orders.iter().all(|order| order.delivery == Delivery::Dropped), "{kind:?}");
        bench.issue(json!({"tags": ["t"]})).await;
        assert_eq!(bench.site.orders().unwrap().pop().unwrap().delivery, Delivery::Delivered);
    }
}

#[tokio::test]
async fn an_order_may_end_in_the_wrong_certificate() {
    let now: Timestamp = "2026-11-24T20:00:00Z".parse().unwrap();
    let rows = [
        Kind::WrongKey,
        Kind::WrongChainOrder,
        Kind::UnrelatedChain,
        Kind::ForgedSignature,
        Kind::Expired,
        Kind::NotYetValid { seconds: 3600 },
    ];
    for kind in rows {
        let bench = Bench::new().await;
        let issuers = bench.site.issuers().unwrap();
        bench.site.inject(Fault::next(Operation::Issue, kind.clone())).unwrap();
        let key = key();
        let id = bench.issue_csr_of(&key, json!({})).await.json()["uuid"].clone();
        bench.pass(1.0);
        let chain = bench.chain(id.as_str().unwrap()).await;
        let record = bench.site.orders().unwrap().pop().unwrap();
        let issued = record.certificate.unwrap();
        let leaf = if kind == Kind::WrongChainOrder { &chain[2] } else { &chain[0] };
        let is_ours = leaf.tbs_certificate().subject_public_key_info().to_der().unwrap()
            == rcgen::PublicKeyData::subject_public_key_info(&key);
        assert_eq!(is_ours, kind != Kind::WrongKey, "{kind:?}");
        let above = if kind == Kind::UnrelatedChain {
            &issuers.unrelated_pem
        } else {
            &issuers.intermediate_pem
        };
        let is_signed = is_issued_by(&pem_of(leaf), above);
        assert_eq!(is_signed, kind != Kind::ForgedSignature, "{kind:?}");
        assert_eq!(chain.len(), if kind == Kind::UnrelatedChain { 2 } else { 3 }, "{kind:?}");
        assert_eq!(issued.not_after < now, kind == Kind::Expired, "{kind:?}");
        let begins_late = matches!(kind, Kind::NotYetValid { .. });
        assert_eq!(
            issued.not_before >= now + SignedDuration::from_hours(1),
            begins_late,
            "{kind:?}"
        );
    }

    let bench = Bench::new().await;
    let id = bench.issued(json!({})).await;
    let right = bench.chain(&id).await;
    bench.site.inject(Fault::next(Operation::Chain, Kind::WrongChainOrder)).unwrap();
    bench.site.inject(Fault::next(Operation::Chain, Kind::UnrelatedChain)).unwrap();
    let reversed: Vec<Certificate> = right.iter().rev().cloned().collect();
    assert_eq!(bench.chain(&id).await, reversed);
    let unrelated = bench.chain(&id).await;
    assert_eq!((unrelated.len(), &unrelated[0]), (2, &right[0]));
    assert_eq!(bench.chain(&id).await, right);
    for operation in [Operation::Chain, Operation::Status, Operation::Jwt] {
        assert!(bench.site.inject(Fault::next(operation, Kind::WrongKey)).is_err());
    }
}

fn pem_of(certificate: &Certificate) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", certificate.to_der().unwrap()))
}

/// Whether `child` names `parent` as its issuer and its signature is the parent's, in the eyes of
/// OpenSSL.
fn is_issued_by(child_pem: &str, parent_pem: &str) -> bool {
    let directory = TempDir::new().unwrap();
    let (child, parent) = (directory.path().join("child"), directory.path().join("parent"));
    fs::write(&child, child_pem).unwrap();
    fs::write(&parent, parent_pem).unwrap();
    let output = Command::new("openssl")
        .args(["verify", "-partial_chain", "-no_check_time", "-trusted"])
        .args([&parent, &child])
        .output()
        .unwrap();
    output.status.success()
}

/// A call of the management API for the site `demo`.
async fn manage(bench: &Bench, method: &str, path: &str, body: &str) -> (u16, Value) {
    let uri = format!("/management/swisssign/demo{path}");
    let request = Request::builder().method(method).uri(uri).body(Body::from(body.to_owned()));
    let reply = bench.send(request.unwrap()).await;
    let value = if reply.body.is_empty() { Value::Null } else { reply.json() };
    (reply.status, value)
}

#[tokio::test]
async fn a_site_is_driven_over_the_management_api() {
    let bench = Bench::new().await;
    let settings = json!({
        "keyAlgorithm": "ECDSA",
        "accounts": {ACCOUNT: API_KEY},
        "clients": [{"name": "A", "products": [{"name": "P", "authorization": true}]}],
        "states": [{"state": "PENDING_AUTH"}, {"state": "ISSUED"}],
    });
    let (status, document) = manage(&bench, "PUT", "", &settings.to_string()).await;
    assert_eq!(status, 200);
    assert!(document["rootPem"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let product = document["settings"]["clients"][0]["products"][0]["id"].clone();
    assert!(product.as_str().unwrap().starts_with("pma-"));
    // What was read can be put again.
    let again = document["settings"].to_string();
    assert_eq!(manage(&bench, "PUT", "", &again).await, (200, document.clone()));
    assert_eq!(manage(&bench, "GET", "", "").await, (200, document));

    let mut order = bench.order(&csr_for(&key()), json!({"tags": ["chancery-1"]}));
    order["productReference"] = product;
    let id = bench.post("issue", Some(order)).await.json()["uuid"].as_str().unwrap().to_owned();
    let path = format!("/orders/{id}");
    let (_, orders) = manage(&bench, "GET", "/orders", "").await;
    assert_eq!(orders["orders"][0]["state"], "PENDING_AUTH");
    assert_eq!(orders["orders"][0]["delivery"], "delivered");
    assert_eq!(orders["orders"][0]["productName"], "P");
    let (_, references) = manage(&bench, "GET", "/references", "").await;
    assert_eq!(references, json!({"references": {"chancery-1": 1}, "total": 1}));
    let act = async |body: &str| manage(&bench, "POST", &path, body).await;
    assert_eq!(act(r#"{"action": "approve"}"#).await.1["state"], "ISSUED");
    assert_eq!(act(r#"{"action": "approve"}"#).await.0, 409);
    assert_eq!(act(r#"{"action": "set", "state": "odd"}"#).await.1["state"], "odd");
    assert_eq!(act(r#"{"action": "reject", "error": "no"}"#).await.1["state"], "REJECTED");
    assert_eq!(act(r#"{"action": "dance"}"#).await.0, 400);
    assert_eq!(manage(&bench, "POST", "/orders/ord-x", r#"{"action": "advance"}"#).await.0, 404);
    let (_, requests) = manage(&bench, "GET", "/requests", "").await;
    assert_eq!(requests["operations"]["issue"], json!({"200": 1}));

    let fault = r#"{"operation": "status", "times": 2, "kind": "apiError", "code": "<011.354.0225>", "status": 500}"#;
    assert_eq!(manage(&bench, "POST", "/faults", fault).await, (204, Value::Null));
    assert_eq!(bench.post(&format!("order/{id}/status"), None).await.error(), "0225");
    let (_, faults) = manage(&bench, "GET", "/faults", "").await;
    assert_eq!(faults["faults"][0]["operation"], "status");
    assert_eq!(manage(&bench, "DELETE", "/faults", "").await.0, 204);
    assert_eq!(bench.status(&id).await, "\"REJECTED\"");
    assert_eq!(manage(&bench, "POST", "/restart", "").await.0, 204);
    assert_eq!(bench.post("clients", None).await.status, 401);

    let sites = bench.simulator.sites();
    assert!(sites.iter().any(|site| site.system == "swisssign" && site.name == "demo"));
}

#[tokio::test]
async fn nonsense_on_the_management_api_is_refused_with_a_reason() {
    let bench = Bench::new().await;
    let rows = [
        ("", r#"{"tokens": 1}"#, "unknown field `tokens`"),
        ("", r#"{"searchLagSeconds": -1}"#, "searchLagSeconds"),
        ("", r#"{"chainMissingStatus": 200}"#, "chainMissingStatus"),
        ("", r#"{"states": []}"#, "states must not be empty"),
        ("", r#"{"states": [{"state": "NEW", "seconds": -1}]}"#, "seconds of a state"),
        ("", r#"{"clients": [{"id": "cli-1"}]}"#, "cli-1 is not cli-"),
        ("/faults", r#"{"operation": "status", "kind": "wrongKey"}"#, "issues no certificate"),
        ("/faults", r#"{"operation": "nothing", "kind": "hang"}"#, "unknown variant"),
    ];
    for (path, body, reason) in rows {
        let method = if path.is_empty() { "PUT" } else { "POST" };
        let (status, answer) = manage(&bench, method, path, body).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer["error"].as_str().unwrap().contains(reason), "{body}: {answer}");
    }
    let request = Request::get("/management/swisssign/-x").body(Body::empty()).unwrap();
    assert_eq!(bench.send(request).await.status, 400);
    for path in ["/swisssign/-x/v2/clients", "/swisssign/demo", "/swisssign/"] {
        let request = Request::post(path).body(Body::empty()).unwrap();
        assert_eq!(bench.send(request).await.status, 404, "{path}");
    }
}

/// The server as it runs: TLS on a port of its own, with a directory to work in.
struct Served {
    site: Site,
    directory: TempDir,
    url: String,
    _stop: oneshot::Sender<()>,
}

impl Served {
    async fn start(settings: SiteSettings) -> Self {
        let simulator = Simulator::new(Settings { key_pool: Some(3), ..Settings::default() });
        let site = simulator.swisssign("demo").unwrap();
        site.configure(settings).unwrap();
        let tls = simulator.tls(&[]).unwrap();
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("root.crt"), tls.root_pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url =
            format!("https://localhost:{}/swisssign/demo", listener.local_addr().unwrap().port());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { drop(stopped.await) };
        tokio::spawn(server::serve(listener, Some(tls), simulator.router(), shutdown));
        Self { site, directory, url, _stop: stop }
    }

    /// What the lines of a shell print; they must not fail.
    async fn shell(&self, lines: &str) -> String {
        let output = tokio::process::Command::new("bash")
            .args(["-euo", "pipefail", "-c", lines])
            .current_dir(self.directory.path())
            .env("URL", &self.url)
            .env("PRODUCT", self.site.settings().clients[0].products[0].id.clone().unwrap())
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{lines}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_the_real_service_work() {
    let served = Served::start(SiteSettings::default()).await;
    // A certificate for a key of every kind openssl makes, in the names openssl writes.
    let lines = r#"
        ask() { curl -sS --fail --cacert root.crt -H "Authorization: Bearer $TOKEN" -X POST "$@"; }
        TOKEN=$(curl -sS --fail --cacert root.crt -X POST -H 'accept: text/plain' \
            --data-urlencode 'userSecret=changeme' "$URL/v2/jwt/MPKI0000001.AutoRAO")
        ask -d '' "$URL/v2/clients?search=*" | grep -q '"productName":"Demo DV SSL'
        for algorithm in 'RSA -pkeyopt rsa_keygen_bits:2048' 'EC -pkeyopt ec_paramgen_curve:P-256' \
            'EC -pkeyopt ec_paramgen_curve:P-384' 'EC -pkeyopt ec_paramgen_curve:P-521' ED25519; do
          openssl genpkey -algorithm $algorithm -out u.key 2>/dev/null
          openssl req -new -key u.key -subj /C=CH/O=Example/CN=a.example -out u.csr \
            -addext 'subjectAltName=DNS:a.example,IP:192.0.2.1,URI:https://a.example/,email:a@a.example'
          ORDER=$(ask -H 'Content-Type: text/plain' --data-binary @u.csr "$URL/v2/issue/csr/$PRODUCT" \
            | grep -o 'ord-[0-9a-f-]*')
          until [ "$(ask "$URL/v2/order/$ORDER/status")" = '"ISSUED"' ]; do sleep 0.05; done
          ask -d '' "$URL/v2/order/$ORDER/certificate/chain" | tr -d '[]"' | tr ',' '\n' > chain
          n=0
          while IFS= read -r line || [ -n "$line" ]; do
            n=$((n+1)); printf %s "$line" | base64 -d | openssl x509 -inform DER -out "$n.crt"
          done < chain
          test $n = 3
          openssl verify -x509_strict -purpose sslserver -verify_hostname a.example \
            -CAfile 3.crt -untrusted 2.crt 1.crt
          cmp <(openssl x509 -in 1.crt -noout -pubkey) <(openssl pkey -in u.key -pubout)
          openssl x509 -in 1.crt -noout -ext subjectAltName | tail -1
        done"#;
    let printed = served.shell(lines).await;
    assert_eq!(printed.matches("1.crt: OK").count(), 5, "{printed}");
    let names = "DNS:a.example, IP Address:192.0.2.1, URI:https://a.example/, email:a@a.example";
    assert_eq!(printed.matches(names).count(), 5, "{printed}");
    let orders = served.site.orders().unwrap();
    assert!(orders.iter().all(|order| order.delivery == Delivery::Delivered));
    assert_eq!(orders.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_openssls_hmac_is_good_and_a_bad_one_is_not() {
    let served = Served::start(quick()).await;
    let lines = r#"
        url64() { base64 -w0 | tr '+/' '-_' | tr -d '='; }
        now=$(date +%s)
        signed() {
          head=$(printf '{"alg":"HS256","typ":"JWT"}' | url64)
          body=$(printf '{"iss":"SwissPKI","aud":"REST API","sub":"MPKI0000001.AutoRAO","nbf":%d,"exp":%d}' \
            "$1" "$2" | url64)
          printf %s "$head.$body.$(printf %s "$head.$body" | openssl dgst -sha256 -hmac "$3" -binary | url64)"
        }
        ask() {
          curl -sS -o /dev/null -w '%{http_code} ' --cacert root.crt -X POST \
            -H "Authorization: Bearer $(signed "$@")" "$URL/v2/clients"
        }
        ask $((now-10)) $((now+900)) changeme
        ask $((now-10)) $((now+900)) another
        ask $((now-900)) $((now-10)) changeme
        ask $((now+60)) $((now+900)) changeme"#;
    assert_eq!(served.shell(lines).await, "200 401 401 401 ");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_connection_are_seen_by_a_real_client() {
    let served = Served::start(quick()).await;
    let prepare = r#"
        curl -sS --fail --cacert root.crt -d userSecret=changeme "$URL/v2/jwt/MPKI0000001.AutoRAO" > token
        openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout u.key \
          -subj /CN=a.example -out u.csr 2>/dev/null"#;
    served.shell(prepare).await;
    let ask = r#"curl -sS --max-time 1 -o answer -w '%{http_code} ' --cacert root.crt \
        -H "Authorization: Bearer $(cat token)" -H 'Content-Type: text/plain' \
        --data-binary @u.csr "$URL/v2/issue/csr/$PRODUCT" 2>/dev/null || echo "curl:$?""#;
    let rows = [
        (None, "200 ", 1),
        (Some(Kind::DropBeforeCommit), "000 curl:52\n", 0),
        (Some(Kind::DropAfterCommit), "000 curl:52\n", 1),
        (Some(Kind::TruncatedBody), "200 curl:18\n", 1),
        (Some(Kind::EmptyBody), "200 ", 1),
        (Some(Kind::HugeBody { bytes: 300_000 }), "200 ", 0),
        (Some(Kind::Hang), "000 curl:28\n", 0),
        (Some(Kind::Delay { seconds: 3.0, after_commit: true }), "000 curl:28\n", 1),
    ];
    for (kind, printed, orders) in rows {
        let before = served.site.references().total;
        if let Some(kind) = kind.clone() {
            served.site.inject(Fault::next(Operation::IssueCsr, kind)).unwrap();
        }
        assert_eq!(served.shell(ask).await, printed, "{kind:?}");
        assert_eq!(served.site.references().total - before, orders, "{kind:?}");
    }
}

#[test]
fn the_binary_sets_up_a_site_and_refuses_what_makes_no_sense() {
    let directory = TempDir::new().unwrap();
    let tls_dir = directory.path().join("tls");
    let mut simulator = Command::new(env!("CARGO_BIN_EXE_chancery-simulator"))
        .args(["--listen", "127.0.0.1:0", "--tls-dir"])
        .arg(&tls_dir)
        .args([
            "--site",
            r#"swisssign/shop={"accounts": {"me": "secret"}, "keyAlgorithm": "ECDSA"}"#,
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let address = loop {
        match fs::read_to_string(tls_dir.join("address")) {
            Ok(address) => break address,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let output = Command::new("curl")
        .args(["-sS", "--fail", "-d", "userSecret=secret", "--cacert"])
        .arg(tls_dir.join("tls-root.crt"))
        .arg(format!("https://{}/swisssign/shop/v2/jwt/me", address.trim()))
        .output()
        .unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"eyJ"), "{output:?}");
    assert!(Command::new("kill").arg(simulator.id().to_string()).status().unwrap().success());
    assert!(simulator.wait().unwrap().success());

    let run = |site: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_chancery-simulator"))
            .args(["--site", site])
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(r#"swisssign/a={"states": []}"#).contains("states must not be empty"));
    assert!(run("elsewhere/a={}").contains("there is no system elsewhere"));
}
