//! The simulator as its own process, and its management API.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::Process;
use super::program;

/// A running simulator.
pub struct Simulator {
    pub process: Process,
    /// `https://localhost:PORT`.
    pub url: String,
    tls_root: String,
    http: reqwest::Client,
}

impl Simulator {
    /// Starts it on a port of its own.
    pub fn start(dir: &Path) -> Self {
        let tls_dir = dir.join("simulator");
        let args = [
            "--listen=127.0.0.1:0".to_owned(),
            format!("--tls-dir={}", tls_dir.display()),
            // RSA keys for each site would take longer than the tests.
            "--key-pool=4".to_owned(),
        ];
        let program = program("chancery-simulator");
        let process = Process::start(dir, "simulator", &program, args, &[]);
        let address = wait_for(&tls_dir.join("address"), &process);
        let port = address.trim().rsplit_once(':').map_or("", |(_, port)| port).to_owned();
        let tls_root = std::fs::read_to_string(tls_dir.join("tls-root.crt")).expect("written");
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let root = reqwest::Certificate::from_pem(tls_root.as_bytes()).expect("a certificate");
        // A kept connection lives in the runtime of the test that opened it, and dies with it.
        let http = reqwest::Client::builder()
            .tls_certs_only([root])
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client");
        Self { process, url: format!("https://localhost:{port}"), tls_root, http }
    }

    /// The annotations by which credentials opt in to be sent to it.
    pub fn opt_in(&self) -> Value {
        let root = &chancery::pki::parse_pem(self.tls_root.as_bytes()).expect("a root")[0];
        let host = self.url.strip_prefix("https://").expect("an address");
        json!({
            "chancery.dev/hosts": host,
            "chancery.dev/trust-anchors": root.fingerprint_sha256(),
        })
    }

    /// The root that clients of the server must trust, PEM.
    pub fn tls_root(&self) -> &str {
        &self.tls_root
    }

    /// A site of the Online CA.
    pub fn online_ca(&self, name: &str) -> Site<'_> {
        Site { simulator: self, name: name.to_owned() }
    }

    /// A site of the SwissSign RA API.
    pub fn swisssign(&self, name: &str) -> SwissSign<'_> {
        SwissSign { simulator: self, name: name.to_owned() }
    }

    /// A site of the SSL purchase API.
    pub fn ssl_purchase(&self, name: &str) -> SslPurchase<'_> {
        SslPurchase { simulator: self, name: name.to_owned() }
    }

    /// One call of the management API.
    async fn manage(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}/management/{path}", self.url);
        let mut request = self.http.request(method, &url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.expect("the simulator answers");
        let status = response.status();
        let text = response.text().await.expect("a whole answer");
        assert!(status.is_success(), "{url}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_else(|_| json!(text))
    }
}

/// One Online CA in the simulator.
pub struct Site<'a> {
    simulator: &'a Simulator,
    pub name: String,
}

impl Site<'_> {
    /// URL of "get certificate".
    pub fn certificate_url(&self) -> String {
        format!("{}/online-ca/{}/certificate/", self.simulator.url, self.name)
    }

    /// URL of "get trust roots".
    pub fn trust_roots_url(&self) -> String {
        format!("{}/online-ca/{}/trustroots/", self.simulator.url, self.name)
    }

    /// Sets the site up.
    pub async fn configure(&self, settings: Value) -> Value {
        self.call(reqwest::Method::PUT, "", Some(settings)).await
    }

    /// The settings in force.
    pub async fn settings(&self) -> Value {
        self.call(reqwest::Method::GET, "", None).await["settings"].clone()
    }

    /// Root of the certificates it issues, PEM.
    pub async fn root_pem(&self) -> String {
        let document = self.call(reqwest::Method::GET, "", None).await;
        document["rootPem"].as_str().expect("a root").to_owned()
    }

    /// Issuer `ca` at the site, for elliptic curve keys, with its credentials in Secret `credentials`.
    pub async fn issuer(&self, namespace: &str) -> [Value; 2] {
        let credentials = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": "credentials", "namespace": namespace,
                "labels": {"chancery.dev/credentials": "true"},
                "annotations": self.simulator.opt_in(),
            },
            "stringData": {"username": "testuser", "password": "changeme"},
        });
        let issuer = json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "Issuer",
            "metadata": {"name": "ca", "namespace": namespace},
            "spec": {
                "onlineCa": {
                    "certificateUrl": self.certificate_url(),
                    "trustRootsUrl": self.trust_roots_url(),
                    "credentialsSecretRef": {"name": "credentials"},
                    "keyAlgorithms": ["ECDSA"],
                },
                "tls": {"caBundle": {"pem": self.simulator.tls_root()}},
                "trust": {"bundle": {"pem": self.root_pem().await}},
            },
        });
        [credentials, issuer]
    }

    /// Has requests answered in another way.
    pub async fn fault(&self, fault: Value) {
        self.call(reqwest::Method::POST, "/faults", Some(fault)).await;
    }

    /// Has requests answered as usual again.
    pub async fn clear_faults(&self) {
        self.call(reqwest::Method::DELETE, "/faults", None).await;
    }

    /// The certificates it issued.
    pub async fn issued(&self) -> Vec<Value> {
        let answer = self.call(reqwest::Method::GET, "/issued", None).await;
        let list = if answer.is_array() { answer } else { answer["issued"].clone() };
        list.as_array().expect("a list").clone()
    }

    /// The requests it saw.
    pub async fn requests(&self) -> Value {
        self.call(reqwest::Method::GET, "/requests", None).await
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        self.simulator.manage(method, &format!("online-ca/{}{path}", self.name), body).await
    }
}

/// One site of the SwissSign RA API in the simulator.
pub struct SwissSign<'a> {
    simulator: &'a Simulator,
    pub name: String,
}

impl SwissSign<'_> {
    /// What an Issuer has as its URL: operations are `<url>/v2/…`.
    pub fn url(&self) -> String {
        format!("{}/swisssign/{}", self.simulator.url, self.name)
    }

    /// Sets the site up; what is not given gets its default. The answer has the ids of clients and
    /// products under `settings.clients`.
    pub async fn configure(&self, settings: Value) -> Value {
        self.call(reqwest::Method::PUT, "", Some(settings)).await
    }

    /// The settings in force, with the ids of clients and products.
    pub async fn settings(&self) -> Value {
        self.call(reqwest::Method::GET, "", None).await["settings"].clone()
    }

    /// Changes these settings and leaves the others.
    pub async fn change(&self, further: Value) {
        let mut settings = self.settings().await;
        for (name, value) in further.as_object().expect("settings by name") {
            settings[name] = value.clone();
        }
        self.configure(settings).await;
    }

    /// Root of the certificates it issues, PEM.
    pub async fn root_pem(&self) -> String {
        let document = self.call(reqwest::Method::GET, "", None).await;
        document["rootPem"].as_str().expect("a root").to_owned()
    }

    /// Issuer `ca` at the first client and product of the site, with its credentials in Secret `api-key`.
    pub async fn issuer(&self, namespace: &str) -> [Value; 2] {
        let client = &self.settings().await["clients"][0];
        let credentials = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": "api-key", "namespace": namespace,
                "labels": {"chancery.dev/credentials": "true"},
                "annotations": self.simulator.opt_in(),
            },
            "stringData": {"username": "MPKI0000001.AutoRAO", "apiKey": "changeme"},
        });
        let issuer = json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "Issuer",
            "metadata": {"name": "ca", "namespace": namespace},
            "spec": {
                "swissSign": {
                    "url": self.url(),
                    "credentialsSecretRef": {"name": "api-key"},
                    "client": {"name": client["name"]},
                    "product": {"name": client["products"][0]["name"]},
                    "acceptTermsAndConditions": true,
                },
                "tls": {"caBundle": {"pem": self.simulator.tls_root()}},
                "trust": {"bundle": {"pem": self.root_pem().await}},
            },
        });
        [credentials, issuer]
    }

    /// Has requests answered in another way.
    pub async fn fault(&self, fault: Value) {
        self.call(reqwest::Method::POST, "/faults", Some(fault)).await;
    }

    /// Has requests answered as usual again.
    pub async fn clear_faults(&self) {
        self.call(reqwest::Method::DELETE, "/faults", None).await;
    }

    /// The faults that are still to come.
    pub async fn faults(&self) -> Vec<Value> {
        let answer = self.call(reqwest::Method::GET, "/faults", None).await;
        answer["faults"].as_array().expect("a list").clone()
    }

    /// Orders as a client does, with the body of `/v2/issue`; the id of the order.
    pub async fn submit(&self, body: &Value) -> String {
        let post = |path: &str| self.simulator.http.post(format!("{}/v2/{path}", self.url()));
        let token = post("jwt/MPKI0000001.AutoRAO")
            .header("content-type", "application/x-www-form-urlencoded")
            .body("userSecret=changeme");
        let token = token.send().await.expect("an answer").text().await.expect("a token");
        let order = post("issue")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", token.trim_matches('"')))
            .body(body.to_string());
        let answer = order.send().await.expect("an answer").text().await.expect("a whole one");
        let order: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
        order["uuid"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Every order that was ever made, oldest first.
    pub async fn orders(&self) -> Vec<Value> {
        let answer = self.call(reqwest::Method::GET, "/orders", None).await;
        answer["orders"].as_array().expect("a list").clone()
    }

    /// What a person does with an order: `{"action": "approve"}`, `advance`, `revoke`, `forget`,
    /// `reject` or `fail` with an `error`, `set` with a `state`. The answer is the order.
    pub async fn act(&self, order: &str, action: Value) -> Value {
        self.call(reqwest::Method::POST, &format!("/orders/{order}"), Some(action)).await
    }

    /// How many orders were made with this tag.
    pub async fn bought(&self, tag: &str) -> u64 {
        let answer = self.call(reqwest::Method::GET, "/references", None).await;
        answer["references"][tag].as_u64().unwrap_or(0)
    }

    /// How many orders were made at all.
    pub async fn total(&self) -> u64 {
        let answer = self.call(reqwest::Method::GET, "/references", None).await;
        answer["total"].as_u64().expect("a number")
    }

    /// How often this operation was called, however it ended.
    pub async fn calls(&self, operation: &str) -> u64 {
        let requests = self.requests().await;
        let outcomes = requests["operations"][operation].as_object().cloned().unwrap_or_default();
        outcomes.values().filter_map(Value::as_u64).sum()
    }

    /// The requests it saw.
    pub async fn requests(&self) -> Value {
        self.call(reqwest::Method::GET, "/requests", None).await
    }

    /// Makes the tokens it has handed out void.
    pub async fn restart(&self) {
        self.call(reqwest::Method::POST, "/restart", None).await;
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        self.simulator.manage(method, &format!("swisssign/{}{path}", self.name), body).await
    }
}

/// One site of the SSL purchase API in the simulator.
pub struct SslPurchase<'a> {
    simulator: &'a Simulator,
    pub name: String,
}

impl SslPurchase<'_> {
    /// What stands before `/ssl-certificate`, and before `/token`.
    pub fn url(&self) -> String {
        format!("{}/ssl-purchase/{}", self.simulator.url, self.name)
    }

    /// Sets the site up; what is not given gets its default. The answer has the ids of plans under
    /// `settings.plans`.
    pub async fn configure(&self, settings: Value) -> Value {
        self.call(reqwest::Method::PUT, "", Some(settings)).await
    }

    /// The settings in force, with the ids of plans.
    pub async fn settings(&self) -> Value {
        self.call(reqwest::Method::GET, "", None).await["settings"].clone()
    }

    /// Changes these settings and leaves the others.
    pub async fn change(&self, further: Value) {
        let mut settings = self.settings().await;
        for (name, value) in further.as_object().expect("settings by name") {
            settings[name] = value.clone();
        }
        self.configure(settings).await;
    }

    /// Root of the certificates it issues, PEM.
    pub async fn root_pem(&self) -> String {
        let document = self.call(reqwest::Method::GET, "", None).await;
        document["rootPem"].as_str().expect("a root").to_owned()
    }

    /// Has requests answered in another way.
    pub async fn fault(&self, fault: Value) {
        self.call(reqwest::Method::POST, "/faults", Some(fault)).await;
    }

    /// Has requests answered as usual again.
    pub async fn clear_faults(&self) {
        self.call(reqwest::Method::DELETE, "/faults", None).await;
    }

    /// Every order that was ever made, oldest first.
    pub async fn orders(&self) -> Vec<Value> {
        let answer = self.call(reqwest::Method::GET, "/orders", None).await;
        answer["orders"].as_array().expect("a list").clone()
    }

    /// What a person does with an order: `{"action": "meet"}`, with a `domain` or for all checks,
    /// `advance`, `forget`, `fail` or `cancel` with a `message`, `set` with a `state`. The answer is
    /// the order.
    pub async fn act(&self, order: &str, action: Value) -> Value {
        self.call(reqwest::Method::POST, &format!("/orders/{order}"), Some(action)).await
    }

    /// How many orders were made under this reference.
    pub async fn bought(&self, reference: &str) -> u64 {
        let answer = self.call(reqwest::Method::GET, "/references", None).await;
        answer["references"][reference]["creates"].as_u64().unwrap_or(0)
    }

    /// How many orders and renewals were made at all.
    pub async fn paid(&self) -> u64 {
        let answer = self.call(reqwest::Method::GET, "/references", None).await;
        answer["paid"].as_u64().expect("a number")
    }

    /// How often this operation was called, however it ended.
    pub async fn calls(&self, operation: &str) -> u64 {
        let requests = self.call(reqwest::Method::GET, "/requests", None).await;
        let outcomes = requests["operations"][operation].as_object().cloned().unwrap_or_default();
        outcomes.values().filter_map(Value::as_u64).sum()
    }

    /// Makes the tokens it has handed out void.
    pub async fn restart(&self) {
        self.call(reqwest::Method::POST, "/restart", None).await;
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        self.simulator.manage(method, &format!("ssl-purchase/{}{path}", self.name), body).await
    }
}

fn wait_for(file: &PathBuf, process: &Process) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if let Ok(text) = std::fs::read_to_string(file) {
            return text;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the simulator did not start:\n{}", process.log());
}
