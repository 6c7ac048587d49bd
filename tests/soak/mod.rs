//! Many orders at a CA that costs money, with two replicas on a real API server, while processes are
//! killed at random; then a count.
//!
//! # How intents are counted
//! The users of [`users`] change a request only when the CA has all the orders that it is to have so
//! far, open or not. Then it is certain what each deed allows:
//!
//! - a new request: one order;
//! - a new value of `chancery.dev/renew`, or other names, also in the middle of an order: one more;
//! - deleted and made again, also in the middle of an order: none;
//! - a certificate that comes to its renewal time: one that replaces it. An order that is made
//!   earlier has no intent.
//!
//! Orders are counted at the simulator, by request and names; keys and certificates are read from
//! Secrets by the administrator, with other libraries than the operator's and with OpenSSL. A key has
//! to be in some Secret for as long as its order is open, and until its certificate was delivered
//! and replaced by the next; or, where the names were edited while a valid certificate was there,
//! until the order for the new names.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "it is there to be watched, in real time, and tells by failing"
)]

mod kills;
mod random;
mod snapshot;
mod users;
mod verdict;
mod weather;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use serde::Serialize;
use serde_json::{Value, json};

use self::kills::{Kills, Stage};
use self::random::Random;
use self::snapshot::{Seen, Snapshot};
use self::users::{Bought, Users, Wanted, Wants};
use self::verdict::{Verdict, wrong_deliveries};
use crate::support::control_plane::ControlPlane;
use crate::support::operator;
use crate::support::root;
use crate::support::simulator::{Simulator, SwissSign};

const NAMESPACE: &str = "soak";
/// The issuer of certificates that live long.
const LONG_LIVED: &str = "ca";
/// The issuer of those that are renewed by themselves every minute or two.
const SHORT_LIVED: &str = "ca-short";
/// How long the lease lasts, in seconds.
const LEASE: u64 = 3;
/// How long a call of the CA may take, in seconds.
const CA_TIMEOUT: u64 = 3;
/// Three quarters of it are longer than a stop, a submit and the lag of the search together.
const SETTLE_WINDOW: &str = "16s";
/// From this length on there is time for what a person is told of and what is repeated by itself ten
/// minutes later.
const LONG: Duration = Duration::from_secs(300);

/// How much of it.
pub struct Plan {
    /// How long processes are killed; what is under way then comes to its end.
    pub faults: Duration,
    pub requests: usize,
    /// Decides who does what when. What comes of it is up to the machine, too.
    pub seed: u64,
}

impl Plan {
    fn is_long(&self) -> bool {
        self.faults >= LONG
    }

    /// How long certificates live that are renewed by themselves.
    fn short_life(&self) -> u64 {
        if self.is_long() { 150 } else { 60 }
    }

    /// How long everything may take to come to its end.
    fn patience(&self) -> Duration {
        Duration::from_secs(if self.is_long() { 15 * 60 } else { 5 * 60 })
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Summary {
    minutes: f64,
    requests: usize,
    intents: usize,
    orders: usize,
    duplicate_orders: usize,
    lost_keys: usize,
    wrong_deliveries: usize,
    stuck: usize,
    operator_kills: u64,
    api_server_kills: u64,
    etcd_kills: u64,
    leader_changes: i32,
    ca_calls: u64,
    api_requests: usize,
    seed: u64,
}

impl Summary {
    /// None bought twice, no key lost, nothing wrong delivered, nobody left behind.
    pub fn is_good(&self) -> bool {
        let Self { duplicate_orders, lost_keys, wrong_deliveries, stuck, .. } = self;
        [duplicate_orders, lost_keys, wrong_deliveries, stuck].into_iter().all(|count| *count == 0)
    }

    /// As one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain values")
    }
}

/// Everything that goes on together.
struct Soak<'a> {
    plan: &'a Plan,
    begun: Instant,
    plane: &'a ControlPlane,
    client: Client,
    ra: SwissSign<'a>,
    kills: &'a Kills,
    seen: Seen,
    bought: Bought,
}

/// Lets everybody end who waits for it, also where a check fails.
struct EndOf<'a>(&'a Stage);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.reach(Stage::OVER);
    }
}

/// Runs it, with a control plane and a simulator of its own.
pub fn run(plan: &Plan) -> Summary {
    println!(
        "soak: {} requests, faults for {:.1} min, seed {}",
        plan.requests,
        plan.faults.as_secs_f64() / 60.0,
        plan.seed
    );
    let plane = ControlPlane::start();
    operator::install(&plane);
    plane.kubectl(["create", "namespace", NAMESPACE]).expect("a new namespace");
    let simulator = Simulator::start(plane.dir());
    let kubeconfig = plane.kubeconfig_of("chancery", "chancery");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (stage, kills) = (Stage::default(), Kills::default());
    // From one event to the next, in seconds: long enough for a leader to do something.
    let (replicas, control_plane) =
        if plan.is_long() { ((5.0, 18.0), (15.0, 40.0)) } else { ((3.0, 9.0), (10.0, 16.0)) };
    let random = |sequence| Random::new(plan.seed, sequence);
    let (soak, (wants, stuck)) = std::thread::scope(|scope| {
        let end = EndOf(&stage);
        let (plane, kubeconfig, both) = (&plane, &kubeconfig, (&stage, &kills));
        let harmed = scope.spawn(move || {
            kills::replicas(plane, kubeconfig, both, (random(1), replicas));
        });
        scope.spawn(move || kills::control_plane(plane, both, (random(2), control_plane)));
        let done = runtime.block_on(async {
            let mut soak = Soak {
                plan,
                begun: Instant::now(),
                plane,
                client: plane.client().await,
                ra: simulator.swisssign("soak"),
                kills: &kills,
                seen: Seen::default(),
                bought: Bought::new(),
            };
            let came_to = soak.go_on(&stage).await;
            (soak, came_to)
        });
        drop(end);
        harmed.join().expect("the replicas ended");
        done
    });
    runtime.block_on(soak.summary(&wants, stuck))
}

impl Soak<'_> {
    /// All but the count. Returns what is wanted, and what is stuck.
    async fn go_on(&mut self, stage: &Stage) -> (Wants, Vec<String>) {
        let mut random = Random::new(self.plan.seed, 3);
        self.set_up().await;
        let mut users = Users::new(self.client.clone());
        // Every tenth renews itself; the first two are for the search to be seen to find something,
        // for each issuer.
        let wanted = |at| Wanted::new(at, at % 10 == 1);
        let mut made = 2;
        for (at, issuer) in [(0, LONG_LIVED), (1, SHORT_LIVED)] {
            users.create(wanted(at)).await;
            self.until_proven(issuer).await;
        }
        println!("[{:4.0} s] the first orders are delivered: faults begin", self.seconds());
        stage.reach(Stage::FAULTS);
        let begun = Instant::now();
        let is_over = || begun.elapsed() >= self.plan.faults;
        let mut told = Instant::now();
        let (mut next_fault, mut next_change, mut next_deed) = (begun, begun, begun);
        // Deeds go on for as long as the faults do, so that all get their share of them.
        let pause = self.plan.faults.as_secs_f64() / self.plan.requests as f64;
        while !is_over() {
            // All are made by the time half of the faults are over.
            let share = begun.elapsed().as_secs_f64() / self.plan.faults.as_secs_f64();
            let due = (2.0 * share * self.plan.requests as f64).ceil() as usize;
            while made < due.min(self.plan.requests) {
                users.create(wanted(made)).await;
                made += 1;
            }
            if next_fault <= Instant::now() {
                weather::worsen(&self.ra, self.plan.is_long(), &mut random).await;
                next_fault = Instant::now() + random.duration(0.3, 1.5);
            }
            if next_change <= Instant::now() {
                weather::change(&self.ra, &mut random).await;
                next_change = Instant::now() + random.duration(4.0, 12.0);
            }
            self.look(&users.wants, &mut told).await;
            if next_deed <= Instant::now() {
                users.change_something(&self.bought, &mut random).await;
                next_deed = Instant::now() + random.duration(0.0, 2.0 * pause);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        println!("[{:4.0} s] faults cease; {:?}", self.seconds(), users.deeds);
        stage.reach(Stage::MENDED);
        weather::mend(&self.ra).await;
        let mended = Instant::now();
        loop {
            let stuck = match self.look(&users.wants, &mut told).await {
                Some(verdict) => verdict.stuck,
                None => vec!["the API server does not answer".to_owned()],
            };
            if stuck.is_empty() {
                println!("[{:4.0} s] everything has come to its end", self.seconds());
                return (users.wants, stuck);
            }
            if mended.elapsed() > self.plan.patience() {
                return (users.wants, stuck);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// The CA, and an issuer for each of its products.
    async fn set_up(&self) {
        self.ra
            .configure(json!({
                "keyAlgorithm": "ECDSA",
                "clients": [{"name": "Soak", "products": [
                    {"name": "Long"},
                    {"name": "Short", "productValidity": {
                        "validityType": "SECONDS", "validity": self.plan.short_life(),
                    }},
                ]}],
            }))
            .await;
        let [credentials, mut issuer] = self.ra.issuer(NAMESPACE).await;
        issuer["spec"]["swissSign"]["settleWindow"] = json!(SETTLE_WINDOW);
        // What is renewed every few seconds would be taken for a loop, and soon spends what a day has.
        issuer["spec"]["limits"] =
            json!({"ordersPerDay": 1_000_000, "ordersPerRequestPerDay": 1000});
        let mut short = issuer.clone();
        short["metadata"]["name"] = json!(SHORT_LIVED);
        short["spec"]["swissSign"]["product"] = json!({"name": "Short"});
        for object in [credentials, issuer, short] {
            self.plane.apply(&object.to_string()).expect("the object is taken");
        }
    }

    /// Waits until the search has found an order of the issuer: before that, absence proves nothing.
    async fn until_proven(&self, issuer: &str) {
        let until = Instant::now() + Duration::from_secs(90);
        let found =
            ["get", "issuers.chancery.dev", issuer, "-o", "jsonpath={.status.orderFoundAt}"];
        let found = ["-n", NAMESPACE].into_iter().chain(found);
        while self.plane.kubectl(found.clone()).expect("an answer").is_empty() {
            assert!(Instant::now() < until, "no search has found an order");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Takes a snapshot, and says every quarter of a minute how it stands.
    async fn look(&mut self, wants: &Wants, told: &mut Instant) -> Option<Verdict> {
        let snapshot = Snapshot::take(&self.client, &self.ra).await;
        let verdict = snapshot.as_ref().map(|snapshot| {
            self.seen.note(snapshot);
            self.bought = snapshot.bought();
            Verdict::of(wants, &self.seen, snapshot)
        });
        if told.elapsed() >= Duration::from_secs(15) {
            *told = Instant::now();
            let kills = self.kills.told();
            match (&snapshot, &verdict) {
                (Some(snapshot), Some(verdict)) => println!(
                    "[{:4.0} s] {} of {} ready, {} orders at the CA ({} too many); kills: {kills}",
                    self.seconds(),
                    snapshot.requests.values().filter(|request| request.is_ready).count(),
                    snapshot.requests.len(),
                    snapshot.orders.len(),
                    verdict.duplicates.len(),
                ),
                _ => println!("[{:4.0} s] the API server is away; kills: {kills}", self.seconds()),
            }
        }
        verdict
    }

    /// Counts, now that nobody changes anything any more.
    async fn summary(mut self, wants: &Wants, stuck: Vec<String>) -> Summary {
        let snapshot = Snapshot::take(&self.client, &self.ra).await.expect("all is up again");
        self.seen.note(&snapshot);
        let verdict = Verdict::of(wants, &self.seen, &snapshot);
        let root = self.ra.root_pem().await;
        let wrong = wrong_deliveries(&self.seen, &snapshot, (&root, self.plane.dir()));
        let summary = Summary {
            minutes: (self.seconds() / 6.0).round() / 10.0,
            requests: self.plan.requests,
            intents: verdict.intents,
            orders: snapshot.orders.len(),
            duplicate_orders: verdict.duplicates.len(),
            lost_keys: verdict.lost_keys.len(),
            wrong_deliveries: wrong.len(),
            stuck: stuck.len(),
            operator_kills: self.kills.operators(),
            api_server_kills: self.kills.api_server(),
            etcd_kills: self.kills.etcd(),
            leader_changes: self.leader_changes().await,
            ca_calls: self.ca_calls().await,
            api_requests: self.api_requests(),
            seed: self.plan.seed,
        };
        for (message, names) in &self.seen.stalled {
            let some: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
            println!("told to a person of {} requests, such as {some:?}: {message}", names.len());
        }
        let told = [
            ("made twice", &verdict.duplicates),
            ("key lost", &verdict.lost_keys),
            ("wrong delivery", &wrong),
            ("stuck", &stuck),
        ];
        for (what, cases) in told {
            cases.iter().for_each(|case| println!("{what}: {case}"));
        }
        if !summary.is_good() {
            let kept = self.keep_traces(&json!(self.ra.orders().await));
            println!("logs, audit log and orders are kept in {kept}");
        }
        summary
    }

    async fn leader_changes(&self) -> i32 {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "chancery");
        let lease = leases.get("chancery").await.expect("the lease");
        lease.spec.and_then(|spec| spec.lease_transitions).unwrap_or_default()
    }

    async fn ca_calls(&self) -> u64 {
        let seen = self.ra.requests().await;
        let operations = seen["operations"].as_object().expect("operations");
        let outcomes = operations.values().filter_map(Value::as_object).flatten();
        outcomes.filter_map(|(_, count)| count.as_u64()).sum()
    }

    /// Requests of the operators that the API server has noted. One that was killed may not have come
    /// to it.
    fn api_requests(&self) -> usize {
        let log = self.plane.audit_log();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = events
            .filter(|event| event["user"]["username"] == "system:serviceaccount:chancery:chancery");
        // A watch has two entries.
        let ids: BTreeSet<String> =
            ours.filter_map(|event| event["auditID"].as_str().map(str::to_owned)).collect();
        ids.len()
    }

    fn keep_traces(&self, orders: &Value) -> String {
        let kept = root().join("target/soak").join(self.plan.seed.to_string());
        std::fs::create_dir_all(&kept).expect("a directory");
        std::fs::write(kept.join("orders.json"), format!("{orders:#}")).expect("writes");
        for entry in std::fs::read_dir(self.plane.dir()).expect("a directory") {
            let path = entry.expect("an entry").path();
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            if let Some(name) = path.file_name().map(Path::new).filter(|_| is_log) {
                std::fs::copy(&path, kept.join(name)).expect("copies");
            }
        }
        kept.display().to_string()
    }
}
