//! Two operators and one lease: one acts, the other takes over.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::operator::Operator;
use crate::world::{Call, LEASE_SECONDS, OPERATOR, Test, revision, until};

const DURATION: Duration = Duration::from_secs(LEASE_SECONDS);
/// What the leader has of it without a renewal.
const DEADLINE: Duration = Duration::from_millis(LEASE_SECONDS * 2000 / 3);
const RETRY: Duration = Duration::from_millis(LEASE_SECONDS * 2000 / 15);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_millis(700);

pub async fn lease(test: &Test) -> Option<LeaseSpec> {
    let api: Api<Lease> = Api::namespaced(test.client.clone(), "chancery");
    let lease = api.get_opt("chancery").await.expect("an answer")?;
    Some(lease.spec.expect("a spec"))
}

/// A second operator, which is ready and stands by.
fn standby(test: &Test, env: &[(&str, &str)]) -> Operator {
    let operator = test.spawn(env);
    operator.wait_until_ready();
    assert_eq!(operator.acts(), Some(false), "the lease is taken");
    operator
}

/// Waits until the operator acts, and says since when it had not.
fn until_it_acts(operator: &Operator, begun: Instant) -> Duration {
    until("the standby acts", || operator.acts() == Some(true));
    begun.elapsed()
}

/// How many certificates this process tells that it issued.
fn told(operator: &Operator) -> usize {
    operator.process.log().matches("\"reason\":\"Issued\"").count()
}

#[tokio::test]
async fn of_two_only_one_acts_and_the_other_takes_over_at_once_when_the_first_is_told_to_end() {
    let test = Test::new("lease-released").await;
    // As it is by default: nobody waits for the end of 15 s.
    let usual = [("CHANCERY_LEASE_DURATION", "15s")];
    let mut first = test.spawn(&usual);
    first.wait_until_it_acts();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    let second = standby(&test, &usual);
    test.create((0..10).map(|at| test.request(&format!("r{at}")))).await;
    test.until_all_ready(&first, 10).await;
    test.until_idle(&first);
    assert_eq!((told(&first), told(&second)), (10, 0), "{}", second.process.log());
    assert_eq!(test.issued().await, 10);
    let held = lease(&test).await.expect("a Lease");
    let holder = held.holder_identity.clone().unwrap_or_default();
    assert!(first.process.log().contains(&format!("\"incarnation\":\"{holder}\"")), "{held:?}");
    assert_eq!(held.lease_duration_seconds, Some(15));
    assert!(second.process.log().contains(&format!("standing by for the lease: {holder} has it")));

    // What is under way ends first, and the lease is kept until then.
    test.site
        .fault(json!({"operation": "certificate", "times": 1, "kind": "delay", "seconds": 2.0}))
        .await;
    test.apply(test.request("under-way"));
    while test.site.requests().await["inFlight"] == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    first.process.signal("TERM");
    until("the first has ended", || {
        let has_ended = first.process.has_ended();
        assert!(has_ended || second.acts() == Some(false) || told(&first) == 11);
        has_ended
    });
    let took = until_it_acts(&second, Instant::now());
    println!("released: the standby acts {:.2} s after the leader's end", took.as_secs_f64());
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(first.process.log().contains("the lease is released"), "{}", first.process.log());
    assert_eq!(first.process.wait(Duration::from_secs(1)), Some(0));
    let now = lease(&test).await.expect("a Lease");
    assert_ne!(now.holder_identity, held.holder_identity);
    assert_eq!(now.lease_transitions, held.lease_transitions.map(|count| count + 1));

    test.apply(test.request("after"));
    test.until_ready(&second, "after").await;
    test.until_idle(&second);
    assert_eq!(told(&second), 1, "{}", second.process.log());
    assert_eq!(test.issued().await, 12);
    test.good_pair("under-way").await;
    test.good_pair("after").await;
}

#[tokio::test]
async fn who_is_killed_is_followed_when_its_lease_ends_and_not_before() {
    let test = Test::new("lease-killed").await;
    let mut first = test.start();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.apply(test.request("before"));
    test.until_ready(&first, "before").await;
    let second = standby(&test, &[]);
    let begun = Instant::now();
    first.process.signal("KILL");
    first.process.wait(Duration::from_secs(10)).expect("it is gone");
    // What is asked for in between is not forgotten.
    test.apply(test.request("between"));
    let took = until_it_acts(&second, begun);
    println!("killed: the standby acts {:.2} s later", took.as_secs_f64());
    assert!(took <= DURATION + RETRY + SLACK, "{took:?}");
    assert!(took >= DEADLINE, "the leader may have been alive: {took:?}");
    test.until_ready(&second, "between").await;
    test.until_idle(&second);
    test.good_pair("before").await;
    test.good_pair("between").await;
    assert_eq!(test.issued().await, 2, "nothing is issued anew");
}

#[tokio::test]
async fn who_is_frozen_past_its_lease_wakes_up_without_it() {
    let test = Test::new("lease-frozen").await;
    let first = test.start();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    let second = standby(&test, &[]);
    // It is frozen with work at hand: some at the CA, some that waits for its turn.
    test.site
        .fault(json!({"operation": "certificate", "times": 40, "kind": "delay", "seconds": 1.0}))
        .await;
    test.create((0..40).map(|at| test.request(&format!("r{at}")))).await;
    while test.site.requests().await["inFlight"] == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    first.process.signal("STOP");
    until_it_acts(&second, Instant::now());
    test.until_all_ready(&second, 40).await;
    test.until_idle(&second);
    let asked = test.ca_calls().await;
    let calls = test.watch_calls();
    first.process.signal("CONT");
    until("it answers again", || first.acts().is_some());
    assert_eq!((first.acts(), second.acts()), (Some(false), Some(true)));
    test.until_idle(&first);
    assert_eq!(test.ca_calls().await, asked, "it asks the CA for nothing");
    let writes = calls.so_far().calls.into_iter().filter(Call::is_write).collect::<Vec<_>>();
    assert!(writes.is_empty(), "it writes nothing: {writes:?}");
    for at in 0..40 {
        let name = format!("r{at}");
        assert_eq!(revision(&test.get(&name).await), 1, "{name}");
        test.good_pair(&name).await;
    }
}

// The wire runs beside a test that waits without yielding.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_reach_the_api_server_stops_before_another_begins() {
    let test = Test::new("lease-cut-off").await;
    let wire = Wire::start(&test.world.plane.kubeconfig_of("chancery", "chancery")).await;
    let path = test.world.plane.dir().join("wire.kubeconfig");
    std::fs::write(&path, &wire.kubeconfig).expect("writes");
    let first = test.spawn(&[("KUBECONFIG", &path.display().to_string())]);
    first.wait_until_ready();
    first.wait_until_it_acts();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    let second = standby(&test, &[]);

    // One order is under way, at a CA that answers after the lease is gone.
    let delay = json!({"operation": "certificate", "times": 1, "kind": "delay", "seconds": 4.0});
    test.site.fault(delay).await;
    test.apply(test.request("under-way"));
    while test.site.requests().await["inFlight"] == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    wire.cut();
    let begun = Instant::now();
    let (mut stopped, mut began) = (None, None);
    while began.is_none() {
        // In this order: who has just stopped is seen to have stopped.
        let (second_acts, first_acts) = (second.acts(), first.acts());
        assert!(first_acts != Some(true) || second_acts != Some(true), "both act");
        if first_acts == Some(false) {
            stopped.get_or_insert_with(|| begun.elapsed());
        }
        began = (second_acts == Some(true)).then(|| begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody acts");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (stopped, began) = (stopped.expect("it stopped"), began.expect("it began"));
    println!(
        "cut off: the leader stops after {:.2} s, the standby acts after {:.2} s",
        stopped.as_secs_f64(),
        began.as_secs_f64()
    );
    assert!(stopped < began && stopped <= DEADLINE + SLACK, "{stopped:?} {began:?}");
    assert!(began <= DURATION + RETRY + SLACK, "{began:?}");

    test.apply(test.request("after"));
    test.until_ready(&second, "after").await;
    test.until_ready(&second, "under-way").await;
    let pair = test.good_pair("under-way").await;
    // The order of the first is answered meanwhile, and delivered by nobody.
    while test.site.requests().await["inFlight"] != 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    test.until_idle(&first);
    assert_eq!(told(&first), 0, "{}", first.process.log());
    assert_eq!(test.issued().await, 3, "one each, and the one that was under way");

    // Back again, it stands by, and it takes over with caches that are up to date.
    wire.mend();
    until("it knows that another has the lease", || {
        let log = first.process.log();
        log.rfind(" has it").is_some_and(|at| log.rfind("is lost").is_some_and(|lost| lost < at))
    });
    assert_eq!(first.get("/readyz").map(|(status, _)| status), Some(200));
    assert_eq!((first.acts(), second.acts()), (Some(false), Some(true)));
    test.kubectl(&["annotate", "certificaterequest", "after", "chancery.dev/renew=now"]);
    test.until(&second, "after", "renewed", |request| revision(request) == 2).await;
    test.until_idle(&second);
    assert_eq!(second.process.stop(), Some(0));
    until_it_acts(&first, Instant::now());
    test.apply(test.request("last"));
    test.until_ready(&first, "last").await;
    test.until_idle(&first);
    assert_eq!(test.pair("under-way").await, Some(pair), "what it had in hand is of no use now");
    assert_eq!((revision(&test.get("after").await), test.issued().await), (2, 5));
}

#[tokio::test]
async fn who_alone_loses_the_api_server_for_long_keeps_what_it_has_and_goes_on() {
    let test = Test::new("lease-outage").await;
    let operator = test.start();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.site
        .fault(json!({"operation": "certificate", "times": 3, "kind": "delay", "seconds": 2.0}))
        .await;
    test.create((0..3).map(|at| test.request(&format!("r{at}")))).await;
    while test.site.requests().await["inFlight"] != 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    test.world.plane.kill_api_server();
    operator.wait_until_it_says("the lease is lost");
    assert_eq!(operator.acts(), Some(false));
    while test.issued().await < 3 || test.site.requests().await["inFlight"] != 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until("it holds back what it obtained", || {
        operator.process.log().contains("this process does not hold the lease")
    });
    test.world.plane.restart_api_server();
    operator.wait_until_it_acts();
    test.until_all_ready(&operator, 3).await;
    test.until_idle(&operator);
    assert_eq!(test.issued().await, 3, "no certificate is lost");
    for at in 0..3 {
        test.good_pair(&format!("r{at}")).await;
    }
}

#[tokio::test]
async fn a_lease_that_somebody_deletes_or_takes_has_one_holder_soon_again() {
    let test = Test::new("lease-edited").await;
    let first = test.start();
    let second = standby(&test, &[]);
    let kubectl = |args: &[&str]| {
        let all = ["-n", "chancery"].into_iter().chain(args.iter().copied());
        test.world.plane.kubectl(all).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    };
    let one_acts = || {
        let both = [first.acts(), second.acts()];
        both == [Some(true), Some(false)] || both == [Some(false), Some(true)]
    };

    kubectl(&["delete", "lease", "chancery"]);
    let begun = Instant::now();
    while lease(&test).await.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let back = begun.elapsed();
    assert!(back <= RETRY + SLACK, "{back:?}");
    tokio::time::sleep(RETRY + SLACK).await;
    assert!(one_acts(), "one of them, whichever was first");
    println!("deleted: there is a holder again after {:.2} s", back.as_secs_f64());

    // A stranger who does not renew is waited for as long as its record says, and no longer.
    let stranger = json!({"spec": {"holderIdentity": "stranger", "leaseDurationSeconds": 3}});
    let begun = Instant::now();
    kubectl(&["patch", "lease", "chancery", "--type=merge", "-p", &stranger.to_string()]);
    until("neither acts", || [first.acts(), second.acts()] == [Some(false), Some(false)]);
    let stopped = begun.elapsed();
    until("both know of the stranger", || {
        [&first, &second].iter().all(|one| one.process.log().contains("stranger has it"))
    });
    until("one acts", one_acts);
    let again = begun.elapsed();
    println!(
        "taken: nobody acts after {:.2} s, one again after {:.2} s",
        stopped.as_secs_f64(),
        again.as_secs_f64()
    );
    assert!(stopped <= RETRY + SLACK, "{stopped:?}");
    let due = Duration::from_secs(3);
    assert!(again >= due - SLACK && again <= due + RETRY + SLACK, "{again:?}");

    // What else is written on it stays, and is no sign of life.
    kubectl(&["label", "lease", "chancery", "team=pki"]);
    tokio::time::sleep(2 * RETRY).await;
    assert!(one_acts());
    assert!(kubectl(&["get", "lease", "chancery", "-o", "yaml"]).contains("team: pki"));
    assert_eq!(first.process.stop(), Some(0));
    until("the second acts", || second.acts() == Some(true));
}

#[tokio::test]
async fn who_is_alone_needs_no_lease() {
    let test = Test::new("lease-alone").await;
    let calls = test.watch_calls();
    let operator = test.spawn(&[("CHANCERY_LEADER_ELECT", "false")]);
    operator.wait_until_ready();
    operator.wait_until_it_acts();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.apply(test.request("portal"));
    test.until_ready(&operator, "portal").await;
    let leases = calls.so_far().leases;
    assert!(leases.is_empty(), "{leases:?}");
}

#[tokio::test]
async fn the_shipped_rights_are_for_this_lease_alone() {
    let test = Test::new("lease-rights").await;
    let who = format!("--as={OPERATOR}");
    for (verb, resource, namespace, is_allowed) in [
        ("create", "leases", "chancery", true),
        ("get", "leases/chancery", "chancery", true),
        ("update", "leases/chancery", "chancery", true),
        ("delete", "leases/chancery", "chancery", false),
        ("list", "leases", "chancery", false),
        ("update", "leases/another", "chancery", false),
        ("get", "leases/chancery", "default", false),
        ("create", "leases", "kube-system", false),
    ] {
        let args = ["auth", "can-i", verb, resource, "-n", namespace, &who];
        let answer = test.world.plane.kubectl(args).is_ok();
        assert_eq!(answer, is_allowed, "{verb} {resource} in {namespace}");
    }
}

/// A way to the API server that can be cut.
pub struct Wire {
    pub kubeconfig: String,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    Whole,
    /// Nothing gets through, and nobody is told.
    Cut,
    /// Requests get through; instead of an answer comes the end of the connection.
    Answerless,
}

impl Wire {
    /// A way for whoever `kubeconfig` speaks as.
    pub async fn start(kubeconfig: &Path) -> Self {
        let text = std::fs::read_to_string(kubeconfig).expect("a kubeconfig");
        let port = text.split("https://127.0.0.1:").nth(1).and_then(|rest| rest.split('"').next());
        let behind = format!("127.0.0.1:{}", port.expect("a port"));
        let behind: SocketAddr = behind.parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let here = listener.local_addr().expect("bound");
        let (state, seen) = watch::channel(State::Whole);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, behind, seen.clone()));
            }
        });
        let kubeconfig = text.replace(&behind.to_string(), &here.to_string());
        Self { kubeconfig, state }
    }

    /// Nothing gets through any more, and nobody is told.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// What is asked for from now on is done, and the answer lost.
    pub fn lose_answers(&self) {
        self.state.send_replace(State::Answerless);
    }

    pub fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

async fn carry(mut near: TcpStream, behind: SocketAddr, mut state: watch::Receiver<State>) {
    let mut far = TcpStream::connect(behind).await.expect("the API server");
    let is_whole = *state.borrow_and_update() == State::Whole;
    if is_whole {
        let both = tokio::io::copy_bidirectional(&mut near, &mut far);
        tokio::select! {
            _ = both => return,
            _ = state.wait_for(|state| *state != State::Whole) => {}
        }
    }
    let is_cut = *state.borrow() == State::Cut;
    if is_cut {
        drop(far);
        // Kept open in silence until the wire is mended: what was lost on it stays lost.
        let _ = state.wait_for(|state| *state == State::Whole).await;
        return;
    }
    let (mut asks, _unanswered) = near.split();
    let (mut answers, mut asked) = far.split();
    let mut first = [0];
    tokio::select! {
        _ = tokio::io::copy(&mut asks, &mut asked) => {}
        _ = answers.peek(&mut first) => {}
    }
}
