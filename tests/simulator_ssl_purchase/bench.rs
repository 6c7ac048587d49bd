//! A simulator with one quick site, a clock that stands, and what its answers are read with.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chancery::simulator::ssl_purchase::{Record, Site, SiteSettings};
use chancery::simulator::{Disconnect, KeyAlgorithm, Settings, Simulator};
use der::{Decode, Encode};
use http::{HeaderMap, Method, Request};
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::{Value, json};
use tower::ServiceExt;
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// What the answer's JSON is read with.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) is_whole: bool,
    pub(crate) is_disconnected: bool,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json", "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The result of a success in its envelope.
    pub(crate) fn result(&self) -> Value {
        let mut body = self.json();
        assert_eq!((self.status, &body["success"]), (200, &json!(true)), "{body}");
        body["result"].take()
    }

    /// Status and code of a failure in its envelope.
    pub(crate) fn failure(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(body["success"], false, "{body}");
        (self.status, body["error"]["code"].as_str().unwrap().to_owned())
    }
}

pub(crate) struct Bench {
    pub(crate) simulator: Simulator,
    pub(crate) site: Site,
    clock: Arc<Mutex<Timestamp>>,
    /// Of the plan that orders are for.
    pub(crate) plan: String,
}

/// ECDSA everywhere, so that a test takes milliseconds.
pub(crate) fn quick() -> SiteSettings {
    SiteSettings { key_algorithm: KeyAlgorithm::Ecdsa, ..SiteSettings::default() }
}

/// Basic authentication.
pub(crate) fn basic(reseller: &str, key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{reseller}:{key}")))
}

pub(crate) fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// A request for these names. The first is the common name unless it is empty.
pub(crate) fn csr_for(key: &KeyPair, names: &[&str]) -> String {
    let alternatives: Vec<String> = names[1..].iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(alternatives).unwrap();
    params.distinguished_name = DistinguishedName::new();
    if !names[0].is_empty() {
        params.distinguished_name.push(DnType::CommonName, names[0]);
    }
    params.distinguished_name.push(DnType::OrganizationName, "Internet Widgits Pty Ltd");
    params.serialize_request(key).unwrap().pem().unwrap()
}

/// The settings with one thing changed.
pub(crate) fn with(change: impl FnOnce(&mut SiteSettings)) -> SiteSettings {
    let mut settings = quick();
    change(&mut settings);
    settings
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(quick())
    }

    pub(crate) fn with(settings: SiteSettings) -> Self {
        let clock = Arc::new(Mutex::new("2026-11-24T20:00:00Z".parse().unwrap()));
        let standing = Arc::clone(&clock);
        let simulator = Simulator::new(Settings {
            clock: Arc::new(move || *standing.lock().unwrap()),
            key_pool: Some(3),
        });
        let site = simulator.ssl_purchase("demo").unwrap();
        site.configure(settings).unwrap();
        let plan = site.settings().plans[0].id.clone().unwrap();
        Self { simulator, site, clock, plan }
    }

    /// Time goes by.
    pub(crate) fn pass(&self, seconds: f64) {
        *self.clock.lock().unwrap() += SignedDuration::from_secs_f64(seconds);
    }

    pub(crate) fn pass_days(&self, days: i64) {
        *self.clock.lock().unwrap() += SignedDuration::from_hours(24 * days);
    }

    pub(crate) fn now(&self) -> Timestamp {
        *self.clock.lock().unwrap()
    }

    /// Changes one thing about the site.
    pub(crate) fn change(&self, change: impl FnOnce(&mut SiteSettings)) {
        let mut settings = self.site.settings();
        change(&mut settings);
        self.site.configure(settings).unwrap();
    }

    pub(crate) fn plan(&self, index: usize) -> String {
        self.site.settings().plans[index].id.clone().unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
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

    /// A request to the site with these headers.
    pub(crate) async fn bare(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Reply {
        let uri = format!("/ssl-purchase/demo/{path}");
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// A request with good credentials. The content type is the one that plain curl sends.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let authorization = basic("demo-reseller", "changeme");
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let body = body.map(Value::to_string).unwrap_or_default();
        self.bare(method, path, &headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, id: &str) -> Reply {
        self.call(Method::DELETE, &format!("ssl-certificate/{id}"), None).await
    }

    /// The body of an order for these names, with further fields; `null` takes a field away.
    pub(crate) fn body(&self, key: &KeyPair, names: &[&str], further: Value) -> Value {
        let mut body = json!({ "plan": self.plan, "csr": csr_for(key, names), "dcv_type": "DNS" });
        for (name, value) in further.as_object().unwrap() {
            if value.is_null() {
                body.as_object_mut().unwrap().remove(name);
            } else {
                body[name] = value.clone();
            }
        }
        body
    }

    pub(crate) async fn create(&self, names: &[&str], further: Value) -> Reply {
        self.post("ssl-certificate", &self.body(&key(), names, further)).await
    }

    /// The id of a new order for example.org.
    pub(crate) async fn ordered(&self, reference: &str) -> String {
        self.ordered_with(&key(), reference).await
    }

    pub(crate) async fn ordered_with(&self, key: &KeyPair, reference: &str) -> String {
        let body = self.body(key, &["example.org"], json!({ "client_reference": reference }));
        let order = self.post("ssl-certificate", &body).await.result();
        order["id"].as_str().unwrap().to_owned()
    }

    /// The id of an order that is active.
    pub(crate) async fn active(&self, reference: &str) -> String {
        let id = self.ordered(reference).await;
        self.pass(1.0);
        id
    }

    pub(crate) async fn order(&self, id: &str) -> Value {
        self.get(&format!("ssl-certificate/{id}")).await.result()
    }

    pub(crate) async fn status(&self, id: &str) -> String {
        self.order(id).await["status"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn details(&self, id: &str) -> Value {
        self.get(&format!("ssl-certificate/{id}/validation-details")).await.result()
    }

    pub(crate) async fn file(&self, id: &str, kind: &str) -> Reply {
        self.get(&format!("ssl-certificate/{id}/download-{kind}")).await
    }

    /// The certificate that is handed out.
    pub(crate) async fn leaf(&self, id: &str) -> Certificate {
        let reply = self.file(id, "crt").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let mut found = Certificate::load_pem_chain(&reply.body).unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    pub(crate) fn record(&self, index: usize) -> Record {
        self.site.orders().unwrap().remove(index)
    }

    /// Checks that the certificate is one of the site's, by way of these, at the present time.
    pub(crate) fn verify(
        &self,
        leaf: &Certificate,
        above: &[Certificate],
    ) -> Result<(), webpki::Error> {
        let root = self.site.issuers().unwrap().root_pem;
        let root = der_of(&Certificate::load_pem_chain(root.as_bytes()).unwrap()[0]);
        let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
        let leaf = der_of(leaf);
        let above: Vec<CertificateDer<'_>> = above.iter().map(der_of).collect();
        let now = Duration::from_secs(u64::try_from(self.now().as_second()).unwrap());
        webpki::EndEntityCert::try_from(&leaf)?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &above,
                UnixTime::since_unix_epoch(now),
                webpki::KeyUsage::server_auth(),
                None,
                None,
            )
            .map(|_| ())
    }
}

fn der_of(certificate: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from(certificate.to_der().unwrap())
}

/// The names of subjectAltName.
pub(crate) fn names(certificate: &Certificate) -> Vec<String> {
    let extensions = certificate.tbs_certificate().extensions().unwrap();
    let found = extensions.iter().find(|one| one.extn_id.to_string() == "2.5.29.17").unwrap();
    let names = SubjectAltName::from_der(found.extn_value.as_bytes()).unwrap();
    let name = |name: &GeneralName| {
        let GeneralName::DnsName(name) = name else { unreachable!("{name:?} is no name of DNS") };
        name.to_string()
    };
    names.0.iter().map(name).collect()
}

/// Whether the certificate is for this key.
pub(crate) fn is_for(certificate: &Certificate, key: &KeyPair) -> bool {
    let spki = certificate.tbs_certificate().subject_public_key_info().to_der().unwrap();
    spki == rcgen::PublicKeyData::subject_public_key_info(key)
}

/// For how many days the certificate is valid.
pub(crate) fn days(certificate: &Certificate) -> u64 {
    let validity = certificate.tbs_certificate().validity();
    let life = validity.not_after.to_unix_duration() - validity.not_before.to_unix_duration();
    life.as_secs() / 86_400
}
