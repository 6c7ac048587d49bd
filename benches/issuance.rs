//! What Chancery costs, beside a bare client that does nothing but the same requests.
//!
//! `make bench` prints a table and writes `target/bench/summary.json`. Requests are counted from
//! the API server's audit log, those about the operator's lease apart: they go on at the same rate
//! whether there is work or not. Absolute figures drift between machines: compare within one run.
//!
//! *free*: 500 certificates, ECDSA P-256, from an immediate CA, from the first `POST` of a
//! CertificateRequest to the last one Ready. The bare client does, for each: POST the request, GET
//! the Secret, make key and CSR, ask the CA, POST the Secret, PUT the status; 64 in flight. It keeps
//! nothing in mind, watches nothing, verifies nothing and publishes no Events.
//!
//! *paid* and *paid_many*: orders that stay pending at a paid CA; see the module `paid`. They alone with
//! `make bench ONLY=paid`.
//!
//! *burst* and *scrape*: thousands of requests at once, and the page of metrics of a thousand issuers;
//! see the module `burst`. Only with `make bench ONLY=burst`.
//!
//! *peer*, with `make bench PEER=1`: as many Certificates from cert-manager's controllers and an
//! external issuer made with issuer-lib, in the same rounds, counted in the same way.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench measures real time and prints"
)]

mod burst;
mod paid;
mod peer;
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::{Duration, Instant};

use chancery::api::{CertificateRequest, CertificateRequestStatus, condition};
use chancery::pki::{KeyKind, Names, PrivateKey, csr};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use peer::Peer;
use support::control_plane::ControlPlane;
use support::operator::{self, Operator};
use support::simulator::{Simulator, Site};

const CERTIFICATES: usize = 500;
const ROUNDS: usize = 3;
const IN_FLIGHT: usize = 64;

/// Whom the audit log names.
const USER: &str = "system:serviceaccount:chancery:chancery";

fn main() {
    // `cargo test --benches` and the like only want to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let only = std::env::var("CHANCERY_BENCH_ONLY").unwrap_or_default();
    let summary = if only == "burst" {
        json!({"burst": burst::measure(&runtime)})
    } else {
        free_and_paid(&runtime, &only)
    };
    let dir = support::root().join("target/bench");
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join("summary.json");
    std::fs::write(&file, format!("{summary:#}\n")).expect("written");
    println!("\n{summary:#}\n\nwritten to {}", file.display());
}

fn free_and_paid(runtime: &tokio::runtime::Runtime, only: &str) -> Value {
    let peer_assets = peer::is_wanted().then(peer::assets);
    let plane = ControlPlane::start();
    operator::install(&plane);
    let simulator = Simulator::start(plane.dir());
    let mut summary = json!({});
    if only != "paid" {
        let rounds = runtime.block_on(measure(&plane, &simulator, peer_assets.as_deref()));
        report(&rounds, webhook_calls(&plane), &mut summary);
    }
    if only != "free" {
        (summary["paid"], summary["paid_many"]) =
            runtime.block_on(paid::measure(&plane, &simulator));
    }
    summary
}

/// One measurement of all.
struct Round {
    bare_seconds: f64,
    ours: Side,
    peer: Option<Side>,
}

impl Round {
    fn peer(&self) -> &Side {
        self.peer.as_ref().expect("the peer was measured")
    }
}

/// One measurement of the operator, or of the peer.
struct Side {
    seconds: f64,
    counts: Counts,
    memory_kib: u64,
    cpu_seconds: f64,
}

/// What the audit log says of one user in one namespace.
#[derive(Default)]
struct Counts {
    requests: usize,
    writes: usize,
    events: usize,
    /// About the lease, while the operator lived: one for each renewal.
    leases: usize,
    conflicts: usize,
    issued: usize,
    by_call: BTreeMap<String, usize>,
}

async fn measure(
    plane: &ControlPlane,
    simulator: &Simulator,
    peer_assets: Option<&Path>,
) -> Vec<Round> {
    let client = plane.client().await;
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let site = simulator.online_ca(&format!("bench-{round}"));
        site.configure(json!({"minKeyBits": 256, "keyAlgorithm": "ECDSA"})).await;
        let bare = format!("bare-{round}");
        println!("round {round} of {ROUNDS}: bare client");
        let bare_seconds = bare_client(plane, simulator, &site, &client, &bare).await;
        plane.kubectl(["delete", "namespace", &bare]).expect("it goes");
        println!("round {round} of {ROUNDS}: operator");
        let namespace = format!("ours-{round}");
        plane.kubectl(["create", "namespace", &namespace]).expect("a namespace");
        let leases = about_leases(&plane.audit_log());
        let operator = Operator::start(plane, &[]);
        set_up_issuer(plane, &site, &namespace).await;
        let before = site.issued().await.len();
        let api: Api<CertificateRequest> = Api::namespaced(client.clone(), &namespace);
        let requests = (0..CERTIFICATES).map(|number| request(&namespace, number));
        let seconds = until_all_are_ready(api, requests.collect(), is_ready).await;
        // Events follow the status they speak of.
        tokio::time::sleep(Duration::from_secs(8)).await;
        let (cpu_seconds, memory_kib) = operator.process.usage();
        let mut counts = count(&plane.audit_log(), USER, &namespace);
        counts.issued = site.issued().await.len() - before;
        counts.leases = about_leases(&plane.audit_log()) - leases;
        if counts.issued != CERTIFICATES {
            tell(&operator.process.log());
        }
        drop(operator);
        plane.kubectl(["delete", "namespace", &namespace]).expect("it goes");
        let ours = Side { seconds, counts, memory_kib, cpu_seconds };
        let peer = match peer_assets {
            Some(assets) => {
                println!("round {round} of {ROUNDS}: peer");
                Some(theirs(plane, &client, assets, &format!("peer-{round}")).await)
            }
            None => None,
        };
        rounds.push(Round { bare_seconds, ours, peer });
    }
    rounds
}

/// The same number of certificates from the peer.
async fn theirs(plane: &ControlPlane, client: &Client, assets: &Path, namespace: &str) -> Side {
    plane.kubectl(["create", "namespace", namespace]).expect("a namespace");
    let peer = Peer::start(plane, assets, namespace);
    let api = peer::certificates(client, namespace);
    let certificates = (0..CERTIFICATES).map(peer::certificate).collect();
    let seconds = until_all_are_ready(api, certificates, peer::is_ready).await;
    let counts = when_quiet(plane, peer::USER, namespace).await;
    let (cpu_seconds, memory_kib) = peer.process.usage();
    let counts = Counts { issued: peer.stop(), ..counts };
    plane.kubectl(["delete", "namespace", namespace]).expect("it goes");
    Side { seconds, counts, memory_kib, cpu_seconds }
}

async fn set_up_issuer(plane: &ControlPlane, site: &Site<'_>, namespace: &str) {
    for object in site.issuer(namespace).await {
        plane.apply(&object.to_string()).expect("it is taken");
    }
    plane
        .kubectl([
            "wait",
            "-n",
            namespace,
            "--for=condition=Ready",
            "--timeout=30s",
            "issuers.chancery.dev/ca",
        ])
        .expect("a ready issuer");
}

/// Counts once five seconds went by without a call. The peer removes its temporary keys after the
/// Certificate is Ready, and tries again some seconds later when a write was in conflict.
async fn when_quiet(plane: &ControlPlane, user: &str, namespace: &str) -> Counts {
    let until = Instant::now() + Duration::from_secs(120);
    let mut last = Counts::default();
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let counts = count(&plane.audit_log(), user, namespace);
        let is_quiet = (counts.requests, counts.events) == (last.requests, last.events);
        if is_quiet || Instant::now() > until {
            return counts;
        }
        last = counts;
    }
}

fn request(namespace: &str, number: usize) -> CertificateRequest {
    serde_json::from_value(json!({
        "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
        "metadata": {"name": format!("r{number}"), "namespace": namespace},
        "spec": {
            "issuerRef": {"kind": "Issuer", "name": "ca"},
            "secretName": format!("r{number}-tls"),
            "onlineCa": {},
        },
    }))
    .expect("a request")
}

fn is_ready(request: &CertificateRequest) -> bool {
    let status = request.status.as_ref();
    status.is_some_and(|status| condition::is_true(&status.conditions, "Ready"))
}

/// Creates all of them, and waits for the last one to be Ready.
async fn until_all_are_ready<K>(api: Api<K>, all: Vec<K>, is_ready: fn(&K) -> bool) -> f64
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static,
{
    let events = watcher(api.clone(), watcher::Config::default()).applied_objects();
    let mut events = std::pin::pin!(events);
    let start = Instant::now();
    let wanted = all.len();
    let create = tokio::spawn({
        let api = api.clone();
        async move {
            futures::stream::iter(all)
                .map(|one| {
                    let api = api.clone();
                    async move { api.create(&PostParams::default(), &one).await }
                })
                .buffer_unordered(IN_FLIGHT)
                .try_collect::<Vec<_>>()
                .await
        }
    });
    let mut ready = std::collections::HashSet::new();
    while ready.len() < wanted {
        let next = tokio::time::timeout(Duration::from_secs(120), events.next()).await;
        let Ok(Some(Ok(one))) = next else { panic!("{} of {wanted} are Ready", ready.len()) };
        if is_ready(&one) {
            ready.insert(one.meta().name.clone());
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    create.await.expect("the task").expect("all are created");
    seconds
}

/// The same work without an operator.
async fn bare_client(
    plane: &ControlPlane,
    simulator: &Simulator,
    site: &Site<'_>,
    client: &Client,
    namespace: &str,
) -> f64 {
    plane.kubectl(["create", "namespace", namespace]).expect("a namespace");
    let root = reqwest::Certificate::from_pem(simulator.tls_root().as_bytes()).expect("a root");
    let http =
        reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().expect("a client");
    let url = site.certificate_url();
    // The operator is measured by a watch; this client bears the same one.
    let watched: Api<CertificateRequest> = Api::namespaced(client.clone(), namespace);
    let watch = tokio::spawn(
        watcher(watched, watcher::Config::default()).for_each(|_| std::future::ready(())),
    );
    let start = Instant::now();
    futures::stream::iter(0..CERTIFICATES)
        .map(|number| {
            let (http, url, client) = (http.clone(), url.clone(), client.clone());
            let namespace = namespace.to_owned();
            tokio::spawn(async move { one(&client, &http, &url, &namespace, number).await })
        })
        .buffer_unordered(IN_FLIGHT)
        .for_each(|done| async { done.expect("one certificate") })
        .await;
    let seconds = start.elapsed().as_secs_f64();
    watch.abort();
    let api: Api<CertificateRequest> = Api::namespaced(client.clone(), namespace);
    api.delete_collection(&DeleteParams::default(), &Default::default()).await.expect("they go");
    seconds
}

async fn one(client: &Client, http: &reqwest::Client, url: &str, namespace: &str, number: usize) {
    let requests: Api<CertificateRequest> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let params = PostParams::default();
    let mut request = requests.create(&params, &request(namespace, number)).await.expect("created");
    let name = request.spec.secret_name.clone();
    assert!(secrets.get_opt(&name).await.expect("an answer").is_none());
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let csr_der = csr::build(&key, &Names::default()).expect("a CSR");
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("certificate_request", &csr::to_pem(&csr_der))
        .finish();
    let answer = http
        .post(url)
        .basic_auth("testuser", Some("changeme"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    let chain = answer.bytes().await.expect("a chain");
    let mut secret = Secret { type_: Some("kubernetes.io/tls".to_owned()), ..Secret::default() };
    secret.metadata.name = Some(name);
    secret.data = Some(BTreeMap::from([
        ("tls.crt".to_owned(), ByteString(chain.to_vec())),
        ("tls.key".to_owned(), ByteString(key.to_pkcs8_pem().expose_secret().as_bytes().to_vec())),
    ]));
    secrets.create(&params, &secret).await.expect("created");
    request.status = Some(CertificateRequestStatus { revision: Some(1), ..Default::default() });
    let name = request.metadata.name.clone().unwrap();
    requests.replace_status(&name, &params, &request).await.expect("written");
}

/// What went wrong, from the log: a certificate that nobody asked for needs a reason.
fn tell(log: &str) {
    println!("not exactly one certificate each; from the operator's log:");
    log.lines()
        .filter(|line| !line.contains("\"reason\":\"Issued\""))
        .take(10)
        .for_each(|line| println!("  {line}"));
}

fn count(audit_log: &str, user: &str, namespace: &str) -> Counts {
    let mut counts = Counts::default();
    for line in audit_log.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let is_theirs =
            event["user"]["username"] == user && event["objectRef"]["namespace"] == namespace;
        if !is_theirs {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (verb, resource) = (text(&event["verb"]), text(&event["objectRef"]["resource"]));
        if resource == "events" {
            counts.events += 1;
            continue;
        }
        counts.requests += 1;
        counts.writes +=
            usize::from(matches!(verb.as_str(), "create" | "update" | "patch" | "delete"));
        counts.conflicts += usize::from(event["responseStatus"]["code"] == 409);
        *counts
            .by_call
            .entry(format!("{verb} {resource}/{}", text(&event["objectRef"]["subresource"])))
            .or_default() += 1;
    }
    counts
}

/// Requests of the operator about leases, which are in a namespace of their own.
fn about_leases(audit_log: &str) -> usize {
    audit_log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["user"]["username"] == USER)
        .filter(|event| event["objectRef"]["resource"] == "leases")
        .count()
}

/// Calls of admission webhooks, as the API server counts them itself.
fn webhook_calls(plane: &ControlPlane) -> f64 {
    let metrics = plane.kubectl(["get", "--raw", "/metrics"]).expect("metrics");
    metrics
        .lines()
        .filter(|line| line.starts_with("apiserver_admission_webhook_request_total"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .fold(0.0, |sum, calls| sum + calls)
}

fn report(rounds: &[Round], webhook_calls: f64, summary: &mut Value) {
    let per = |count: usize| count as f64 / CERTIFICATES as f64;
    // A median would hide the one round in which something went wrong.
    let worst = |figure: &dyn Fn(&Round) -> f64| rounds.iter().map(figure).fold(0.0_f64, f64::max);
    let median = |figure: &dyn Fn(&Round) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!(
        "\n{CERTIFICATES} certificates, ECDSA P-256, immediate CA; {ROUNDS} rounds, bare client and operator in turn\n"
    );
    println!("{:<34}{:>12}{:>12}{:>12}", "", "min", "median", "max");
    let row = |name: &str, figure: &dyn Fn(&Round) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        println!(
            "{name:<34}{:>12.3}{:>12.3}{:>12.3}",
            all[0],
            all[all.len() / 2],
            all[all.len() - 1]
        );
    };
    let rate = |seconds: f64| CERTIFICATES as f64 / seconds;
    row("seconds", &|round| round.ours.seconds);
    row("certificates per second", &|round| rate(round.ours.seconds));
    row("bare client, per second", &|round| rate(round.bare_seconds));
    row("share of the bare client", &|round| round.bare_seconds / round.ours.seconds);
    row("API requests per certificate", &|round| per(round.ours.counts.requests));
    row("API writes per certificate", &|round| per(round.ours.counts.writes));
    row("Events per certificate", &|round| per(round.ours.counts.events));
    row("requests about the lease in all", &|round| round.ours.counts.leases as f64);
    row("conflicts (409)", &|round| round.ours.counts.conflicts as f64);
    row("certificates the CA issued", &|round| round.ours.counts.issued as f64);
    row("operator: CPU seconds", &|round| round.ours.cpu_seconds);
    row("operator: resident MiB", &|round| round.ours.memory_kib as f64 / 1024.0);
    let has_peer = rounds.iter().all(|round| round.peer.is_some());
    if has_peer {
        row("peer: seconds", &|round| round.peer().seconds);
        row("peer: certificates per second", &|round| rate(round.peer().seconds));
        row("our rate / the peer's", &|round| round.peer().seconds / round.ours.seconds);
        row("peer: API requests per certificate", &|round| per(round.peer().counts.requests));
        row("peer: API writes per certificate", &|round| per(round.peer().counts.writes));
        row("peer: Events per certificate", &|round| per(round.peer().counts.events));
        row("peer: conflicts (409)", &|round| round.peer().counts.conflicts as f64);
        row("peer: certificates its CA signed", &|round| round.peer().counts.issued as f64);
        row("peer: CPU seconds", &|round| round.peer().cpu_seconds);
        row("peer: resident MiB", &|round| round.peer().memory_kib as f64 / 1024.0);
    }
    println!("\nCalls of the last round: {:?}", rounds[rounds.len() - 1].ours.counts.by_call);
    if has_peer {
        println!("\nThe peer's: {:?}", rounds[rounds.len() - 1].peer().counts.by_call);
    }
    summary["free"] = json!({
        "certificates": CERTIFICATES,
        "seconds": median(&|round| round.ours.seconds),
        "rate_per_s": median(&|round| rate(round.ours.seconds)),
        "requests_per_certificate": median(&|round| per(round.ours.counts.requests)),
        "writes_per_certificate": median(&|round| per(round.ours.counts.writes)),
        "events_per_certificate": median(&|round| per(round.ours.counts.events)),
        "lease_requests": median(&|round| round.ours.counts.leases as f64),
        "conflicts": worst(&|round| round.ours.counts.conflicts as f64),
        "webhook_calls": webhook_calls,
        "bare_client_rate_per_s": median(&|round| rate(round.bare_seconds)),
        "share_of_bare_client": median(&|round| round.bare_seconds / round.ours.seconds),
        "certificates_at_ca": worst(&|round| round.ours.counts.issued as f64),
    });
    if has_peer {
        summary["peer"] = json!({
            "certificates": CERTIFICATES,
            "seconds": median(&|round| round.peer().seconds),
            "rate_per_s": median(&|round| rate(round.peer().seconds)),
            "requests_per_certificate": median(&|round| per(round.peer().counts.requests)),
            "writes_per_certificate": median(&|round| per(round.peer().counts.writes)),
            "events_per_certificate": median(&|round| per(round.peer().counts.events)),
            "conflicts": worst(&|round| round.peer().counts.conflicts as f64),
            "signatures": worst(&|round| round.peer().counts.issued as f64),
        });
    }
}
