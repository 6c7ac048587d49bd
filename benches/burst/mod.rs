//! Many requests at once, with `make bench ONLY=burst`.
//!
//! *burst*: the requests are there before the operator is, as after an outage or a first
//! installation: nothing paces it. Counted from its start to the last one Ready, and memory once
//! more after a minute of rest. Each size has a control plane of its own.
//!
//! *scrape*: how long a new page of metrics takes where there are many issuers, each with a request.

use std::collections::HashSet;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use chancery::api::{CertificateRequest, Issuer};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::support::control_plane::ControlPlane;
use super::support::operator::{self, Operator};
use super::support::simulator::Simulator;
use super::{USER, count, is_ready, request, set_up_issuer};

const SIZES: [usize; 2] = [5_000, 10_000];
const ISSUERS: usize = 1_000;
const SCRAPES: usize = 7;
const REST: Duration = Duration::from_secs(60);
/// Without news for so long, nothing more is to come.
const PATIENCE: Duration = Duration::from_secs(180);

/// Measures all of it; the part of the summary.
pub(crate) fn measure(runtime: &tokio::runtime::Runtime) -> Value {
    let scrape = with_control_plane(runtime, async |plane, simulator| {
        println!("scrape: {ISSUERS} issuers, each with a request");
        scrape(plane, simulator).await
    });
    let mut bursts = Vec::new();
    for size in SIZES {
        bursts.push(with_control_plane(runtime, async |plane, simulator| {
            println!("burst: {size} requests at once");
            burst(plane, simulator, size).await
        }));
    }
    json!({"scrape": scrape, "bursts": bursts})
}

fn with_control_plane(
    runtime: &tokio::runtime::Runtime,
    part: impl AsyncFnOnce(&ControlPlane, &Simulator) -> Value,
) -> Value {
    let plane = ControlPlane::start();
    operator::install(&plane);
    let simulator = Simulator::start(plane.dir());
    let figures = runtime.block_on(part(&plane, &simulator));
    println!("{figures:#}");
    figures
}

async fn burst(plane: &ControlPlane, simulator: &Simulator, size: usize) -> Value {
    let client = plane.client().await;
    let namespace = "burst";
    let site = simulator.online_ca("bench-burst");
    site.configure(json!({"minKeyBits": 256, "keyAlgorithm": "ECDSA"})).await;
    plane.kubectl(["create", "namespace", namespace]).expect("a namespace");
    let first = Operator::start(plane, &[]);
    set_up_issuer(plane, &site, namespace).await;
    first.process.stop();
    let issued_before = site.issued().await.len();
    let requests: Api<CertificateRequest> = Api::namespaced(client, namespace);
    create(&requests, (0..size).map(|number| request(namespace, number)).collect()).await;

    let start = Instant::now();
    let operator = Operator::start(plane, &[]);
    until_ready(&requests, size, &operator).await;
    let seconds = start.elapsed().as_secs_f64();
    tokio::time::sleep(REST).await;
    let (cpu_seconds, resident_kib) = operator.process.usage();
    let counts = count(&plane.audit_log(), USER, namespace);
    println!("{:?}", counts.by_call);
    json!({
        "requests": size,
        "certificates_at_ca": site.issued().await.len() - issued_before,
        "seconds": seconds,
        "rate_per_s": size as f64 / seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mib": peak_kib(&operator) / 1024,
        "mib_after_a_minute": resident_kib / 1024,
        "requests_per_certificate": counts.requests as f64 / size as f64,
        "conflicts": counts.conflicts,
        "events": counts.events,
        // Nothing where the operator does not count them.
        "events_dropped": figure(&operator, "chancery_events_dropped_total"),
    })
}

async fn scrape(plane: &ControlPlane, simulator: &Simulator) -> Value {
    let client = plane.client().await;
    let namespace = "scrape";
    let site = simulator.online_ca("bench-scrape");
    site.configure(json!({"minKeyBits": 256, "keyAlgorithm": "ECDSA"})).await;
    plane.kubectl(["create", "namespace", namespace]).expect("a namespace");
    let operator = Operator::start(plane, &[]);
    set_up_issuer(plane, &site, namespace).await;
    let issuers: Api<Issuer> = Api::namespaced(client.clone(), namespace);
    let spec = issuers.get("ca").await.expect("it is there").spec;
    let named = |number: usize| Issuer::new(&format!("ca-{number}"), spec.clone());
    create(&issuers, (0..ISSUERS).map(named).collect()).await;
    let requests: Api<CertificateRequest> = Api::namespaced(client, namespace);
    let of_its_own = |number: usize| {
        let mut request = request(namespace, number);
        request.spec.issuer_ref.name = format!("ca-{number}");
        request
    };
    create(&requests, (0..ISSUERS).map(of_its_own).collect()).await;
    until_ready(&requests, ISSUERS, &operator).await;

    let mut milliseconds = Vec::new();
    let (cpu_before, _) = operator.process.usage();
    for _ in 0..SCRAPES {
        let start = Instant::now();
        operator.get("/metrics").expect("a page");
        let took = start.elapsed();
        milliseconds.push(took.as_secs_f64() * 1_000.0);
        // A page is shown for ten times as long as it took to make: the next one is a new one.
        tokio::time::sleep(took * 11).await;
    }
    let (cpu_after, _) = operator.process.usage();
    milliseconds.sort_by(f64::total_cmp);
    let (_, page) = operator.get("/metrics").expect("a page");
    json!({
        "issuers": ISSUERS,
        "requests": ISSUERS,
        "series": page.lines().filter(|line| !line.starts_with('#')).count(),
        "kib": page.len() / 1024,
        "median_ms": milliseconds[SCRAPES / 2],
        "cpu_ms": (cpu_after - cpu_before) * 1_000.0 / SCRAPES as f64,
        "worst_ms": milliseconds[SCRAPES - 1],
        "peak_mib": peak_kib(&operator) / 1024,
    })
}

async fn create<K>(api: &Api<K>, all: Vec<K>)
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize,
{
    let params = PostParams::default();
    futures::stream::iter(&all)
        .map(|one| api.create(&params, one))
        .buffer_unordered(super::IN_FLIGHT)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await
        .expect("all are created");
}

/// Waits for so many requests to be Ready.
async fn until_ready(api: &Api<CertificateRequest>, wanted: usize, operator: &Operator) {
    let events = watcher(api.clone(), watcher::Config::default()).applied_objects();
    let mut events = std::pin::pin!(events);
    let mut ready = HashSet::new();
    while ready.len() < wanted {
        let next = tokio::time::timeout(PATIENCE, events.next()).await;
        let Ok(Some(Ok(one))) = next else {
            panic!("{} of {wanted} are Ready: {}", ready.len(), operator.process.log())
        };
        if is_ready(&one) {
            ready.insert(one.metadata.name);
        }
    }
}

/// The most memory it ever had.
fn peak_kib(operator: &Operator) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", operator.process.pid()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// One figure of its page of metrics.
fn figure(operator: &Operator, name: &str) -> Option<u64> {
    let (_, page) = operator.get("/metrics")?;
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}
