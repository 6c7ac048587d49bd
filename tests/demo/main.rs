//! The main job, shown: `make demo` brings up a real control plane, the simulator and the
//! operator, applies `deploy/examples/`, watches until everything is Ready, verifies what was
//! delivered with openssl, waits for one renewal, and cleans up. `make demo CONTEXT=…` does it in a
//! cluster that is there.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it is there to be watched, in real time"
)]

mod place;
#[path = "../support/mod.rs"]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde_json::Value;

use place::Place;
use support::simulator::Simulator;

type Failure = Box<dyn std::error::Error>;

/// Renewed when a third is left: soon enough to be watched.
const LIFETIME_SECONDS: u32 = 45;

fn main() -> ExitCode {
    let start = Instant::now();
    match show() {
        Ok(()) => {
            step(&format!(
                "Done in {} s. Everything that was started is stopped.",
                start.elapsed().as_secs()
            ));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("\nThe demo failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<(), Failure> {
    let mut place = match std::env::var("CHANCERY_DEMO_CONTEXT") {
        Ok(context) if !context.is_empty() => {
            step(&format!("Looking at the cluster of context {context}"));
            Place::of(&context)?
        }
        _ => {
            step("Starting etcd and kube-apiserver");
            Place::own()
        }
    };
    // What starts a process and waits for it tells by a panic that it did not come.
    let shown = catch_unwind(AssertUnwindSafe(|| show_in(&mut place)));
    step("Cleaning up");
    place.clean_up()?;
    shown.unwrap_or_else(|panic| resume_unwind(panic))
}

fn show_in(place: &mut Place) -> Result<(), Failure> {
    step("Installing definitions and rights");
    place.install()?;
    let place = &*place;
    step(
        "Starting the simulator, which plays an Online CA, a reseller and SwissSign outside the cluster",
    );
    let simulator = Simulator::start(place.dir());
    let [root, resold_root, paid_root] = prepare(&simulator)?;
    step("Starting the operator, as its own ServiceAccount with no more rights than it needs");
    let _operator = place.operator()?;
    for namespace in place.namespaces() {
        let tls = format!("--from-literal=tls.crt={}", simulator.tls_root());
        let ca = format!("--from-literal=ca.crt={root}");
        place.kubectl(["create", "configmap", "-n", namespace, "online-ca-roots", &tls, &ca])?;
        let paid = [("ssl-purchase-roots", &resold_root), ("swisssign-roots", &paid_root)];
        for (name, root) in paid {
            let ca = format!("--from-literal=ca.crt={root}");
            place.kubectl(["create", "configmap", "-n", namespace, name, &ca])?;
        }
    }
    step("Applying deploy/examples/");
    for file in examples()? {
        let opt_in = simulator.opt_in();
        let [host, anchors] = ["chancery.dev/hosts", "chancery.dev/trust-anchors"]
            .map(|key| opt_in[key].as_str().unwrap_or_default());
        let yaml = std::fs::read_to_string(&file)?
            .replace("localhost:9443", host)
            .replace("trust-anchors: \"\"", &format!("trust-anchors: {anchors}"));
        print!("{}", place.apply(&yaml)?);
    }
    watch(place, |request| is_waited_for(request) || is_ready(request))?;
    order(place, &simulator)?;
    watch(place, is_ready)?;
    step("kubectl get chancery");
    print!("{}", place.kubectl(["get", "chancery"])?);
    for name in requests(place)?.iter().filter_map(|request| request["spec"]["secretName"].as_str())
    {
        verify(place, name)?;
    }
    renewal(place)?;
    step("kubectl get chreq");
    print!("{}", place.kubectl(["get", "chreq"])?);
    Ok(())
}

fn step(what: &str) {
    println!("\n==> {what}");
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// The CAs of the examples: users and lifetimes short enough to watch a renewal at the free one, and
/// an order that a person has to approve at one of the paid ones. Returns the roots of all, the free
/// one's first and that one's last.
fn prepare(simulator: &Simulator) -> Result<[String; 3], Failure> {
    let (site, paid) = (simulator.online_ca("demo"), simulator.swisssign("demo"));
    let resold = simulator.ssl_purchase("demo");
    Ok(runtime()?.block_on(async {
        site.configure(serde_json::json!({
            "users": {"testuser": "changeme", "ada": "lovelace"},
            "lifetimeSeconds": LIFETIME_SECONDS,
            "minKeyBits": 256,
        }))
        .await;
        paid.configure(serde_json::json!({
            "states": [
                {"state": "PRE_VALIDATION", "seconds": 3},
                {"state": "PENDING_AUTH"},
                {"state": "ISSUE", "seconds": 2},
                {"state": "ISSUED"},
            ],
        }))
        .await;
        [site.root_pem().await, resold.root_pem().await, paid.root_pem().await]
    }))
}

/// The paid order, looked at as people do, and approved.
fn order(place: &Place, simulator: &Simulator) -> Result<(), Failure> {
    step("kubectl get chreq: one order waits for a person at the CA");
    print!("{}", place.kubectl(["get", "chreq"])?);
    step("chancery orders show shop");
    let chancery = |args: &[&str]| -> Result<String, Failure> {
        let output = Command::new(support::program("chancery"))
            .args(args)
            .env("KUBECONFIG", place.kubeconfig())
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    };
    print!("{}", chancery(&["orders", "show", "shop"])?);
    let requests = requests(place)?;
    let id = requests
        .iter()
        .filter(|request| is_waited_for(request))
        .find_map(|request| request["status"]["order"]["id"].as_str())
        .ok_or("no order has an id")?;
    step(&format!("The person at the CA approves {id}"));
    let site = simulator.swisssign("demo");
    let counted = runtime()?.block_on(async {
        site.act(id, serde_json::json!({"action": "approve"})).await;
        site.total().await
    });
    println!("orders made at the CA so far: {counted}");
    Ok(())
}

fn is_ready(request: &Value) -> bool {
    condition(request, "Ready").is_some_and(|ready| ready["status"] == "True")
}

fn is_waited_for(request: &Value) -> bool {
    condition(request, "Issuing").is_some_and(|issuing| issuing["reason"] == "AwaitingApproval")
}

fn examples() -> Result<Vec<std::path::PathBuf>, Failure> {
    let mut files: Vec<_> = std::fs::read_dir(support::root().join("deploy/examples"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}

fn requests(place: &Place) -> Result<Vec<Value>, Failure> {
    let list: Value = serde_json::from_str(&place.kubectl(["get", "chreq", "-o", "json"])?)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn condition<'a>(request: &'a Value, kind: &str) -> Option<&'a Value> {
    request["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// One line per change, until all are as wished.
fn watch(place: &Place, is_so: impl Fn(&Value) -> bool) -> Result<(), Failure> {
    step("Waiting for the CertificateRequests");
    let start = Instant::now();
    let mut told = std::collections::BTreeMap::new();
    loop {
        let requests = requests(place)?;
        let mut ready = 0;
        for request in &requests {
            let name = request["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let state = condition(request, "Ready");
            let text =
                |key: &str| state.and_then(|state| state[key].as_str()).unwrap_or("").to_owned();
            ready += usize::from(is_so(request));
            let line = match state {
                Some(_) => {
                    format!("Ready={} {}: {}", text("status"), text("reason"), text("message"))
                }
                None => "not looked at yet".to_owned(),
            };
            if told.insert(name.clone(), line.clone()).as_ref() != Some(&line) {
                println!("{:5.1} s  {name}: {line}", start.elapsed().as_secs_f64());
            }
        }
        if ready == requests.len() && ready > 0 {
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(60) {
            return Err("not everything became Ready within a minute".into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Chain and key of a delivered Secret, judged by openssl.
fn verify(place: &Place, secret: &str) -> Result<(), Failure> {
    step(&format!("openssl on Secret {secret}"));
    let dir = place.dir().join(secret);
    std::fs::create_dir_all(&dir)?;
    let object: Value =
        serde_json::from_str(&place.kubectl(["get", "secret", secret, "-o", "json"])?)?;
    use base64::Engine as _;
    for key in ["tls.key", "tls.crt", "ca.crt"] {
        let text = object["data"][key].as_str().ok_or_else(|| format!("{key} is missing"))?;
        std::fs::write(dir.join(key), base64::engine::general_purpose::STANDARD.decode(text)?)?;
    }
    let openssl = |args: &[&str]| -> Result<String, Failure> {
        let output = Command::new("openssl").args(args).current_dir(&dir).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    };
    print!("{}", openssl(&["verify", "-CAfile", "ca.crt", "-untrusted", "tls.crt", "tls.crt"])?);
    print!(
        "{}",
        openssl(&["x509", "-in", "tls.crt", "-noout", "-subject", "-issuer", "-enddate"])?
    );
    let of_certificate = openssl(&["x509", "-in", "tls.crt", "-noout", "-pubkey"])?;
    let of_key = openssl(&["pkey", "-in", "tls.key", "-pubout"])?;
    if of_certificate != of_key {
        return Err(format!("the key in {secret} is not the certificate's").into());
    }
    println!("key matches certificate");
    Ok(())
}

/// Waits until a certificate was renewed by itself.
fn renewal(place: &Place) -> Result<(), Failure> {
    let find = || -> Result<(i64, String, String), Failure> {
        let requests = requests(place)?;
        let portal = requests
            .iter()
            .find(|request| request["metadata"]["name"] == "portal")
            .ok_or("portal is gone")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let status = &portal["status"];
        Ok((
            status["revision"].as_i64().unwrap_or_default(),
            text(&status["certificate"]["fingerprintSha256"]),
            text(&status["renewalTime"]),
        ))
    };
    let (revision, before, due) = find()?;
    step(&format!(
        "Certificates of this CA live {LIFETIME_SECONDS} s: waiting for the renewal of portal, due at {due}"
    ));
    let start = Instant::now();
    loop {
        let (now, after, _) = find()?;
        if now > revision {
            println!("revision {revision}: {before}\nrevision {now}: {after}");
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(u64::from(LIFETIME_SECONDS) + 30) {
            return Err("the certificate was not renewed in time".into());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
