//! From what goes wrong at the CA to what a person reads in the request's conditions: the pure core
//! in a loop with the real client, a Secret in memory and a clock that stands.

use std::sync::Arc;

use chancery::api::condition::{self, ISSUING, READY, STALLED};
use chancery::api::{self, BasicSplit, CertificateRequestStatus, RotationPolicy};
use chancery::ca::kind::AccountSettings as _;
use chancery::ca::{Order, Permit, Phase, Progress, Submitted};
use chancery::issuance::{
    self, CachedTarget, IssuerState, KeyPlan, Observation, Obtained, Outcome, Previous, Purchase,
    Read, RenewBefore, Request, Requeue, Step, Target, Template, Trouble, decide, describe,
};
use chancery::outside::credentials::Credentials;
use chancery::outside::transport::{Failure, Transport};
use chancery::pki::{Certificate, KeyKind, Names, csr};
use chancery::simulator::Kind;
use chancery::simulator::online_ca::{Chain, Flavour};

use crate::bench::{Bench, PASSWORD, USER, basic, key, opening, settings};
use crate::router_transport::Canned;

/// A request with credentials of its own, its issuer, its target and its status.
struct World {
    bench: Bench,
    spec: api::OnlineCa,
    credentials: Option<Credentials>,
    credentials_version: u32,
    generation: i64,
    names: Names,
    key_kind: Option<KeyKind>,
    anchors: Vec<Certificate>,
    add_served_roots: bool,
    target: Option<Target>,
    status: CertificateRequestStatus,
    /// What the network does in place of passing requests on.
    outage: Option<Failure>,
}

impl World {
    fn new(flavour: Flavour) -> Self {
        let bench = Bench::with(settings(flavour));
        Self {
            spec: bench.spec(),
            anchors: vec![bench.root()],
            bench,
            credentials: Some(basic(USER, PASSWORD)),
            credentials_version: 1,
            generation: 1,
            names: Names::default(),
            key_kind: None,
            add_served_roots: false,
            target: None,
            status: CertificateRequestStatus {
                observed_generation: -1,
                ..CertificateRequestStatus::default()
            },
            outage: None,
        }
    }

    fn sign_in(&mut self, user: &str, password: &str) {
        self.credentials = Some(basic(user, password));
        self.credentials_version += 1;
    }

    /// One run of the loop, as the shell does it.
    async fn run(&mut self) -> Requeue {
        let mut seen = self.observe();
        let rest = loop {
            let outcome = match decide(&seen) {
                Step::Rest(rest) => break rest,
                Step::ReadTarget => {
                    Outcome::TargetRead(self.target.clone().map_or(Read::Absent, Read::Present))
                }
                Step::OpenAccount => self.open_account(),
                Step::Resolve(_) => unreachable!("it has no products"),
                Step::ReadCsr => unreachable!("this request brings no CSR"),
                Step::Submit(plan, _) => self.submit(plan).await,
                Step::ReadServedRoots => {
                    Outcome::Served(self.ca().trust_anchors().await.unwrap_or_default())
                }
                Step::Deliver(delivery) => self.deliver(&delivery),
                Step::Announce
                | Step::Claim
                | Step::Find
                | Step::FindBefore
                | Step::Mark(_)
                | Step::Order
                | Step::Prepare(..)
                | Step::ReadRecord
                | Step::Reserve
                | Step::WriteRecord(_) => panic!("no effect of a free CA"),
            };
            seen = seen.after(outcome);
        };
        let description = describe(&seen, &self.status.conditions, &rest);
        self.status = description.status;
        description.requeue
    }

    fn ca(&self) -> Arc<dyn chancery::ca::CertificateAuthority> {
        crate::bench::open(self.spec.clone(), None, self.transport())
    }

    fn transport(&self) -> Arc<dyn Transport> {
        match &self.outage {
            Some(failure) => Arc::new(Canned(Err(failure.clone()))),
            None => self.bench.transport(),
        }
    }

    fn open_account(&self) -> Outcome {
        let ca = match self.spec.open(opening(None, self.transport())) {
            Ok(ca) => ca,
            Err(error) => return Outcome::Failed(Trouble { counts: false, ..error.into() }),
        };
        Outcome::Opened(issuance::Account {
            name: "the account".to_owned(),
            capabilities: ca.capabilities().clone(),
            anchors: self.anchors.clone(),
            is_bundle: false,
            preferred_root: None,
            add_served_roots: self.add_served_roots,
            credentials: self.credentials.clone(),
            opt_in: None,
        })
    }

    async fn submit(&self, plan: KeyPlan) -> Outcome {
        let key = match plan {
            KeyPlan::Generate(kind) => key(kind),
            KeyPlan::Reuse(key) => key,
            KeyPlan::Brought(_) => unreachable!("this request brings no CSR"),
        };
        let csr_der = csr::build(&key, &self.names).unwrap();
        let order = Order {
            credentials: self.credentials.as_ref(),
            ..Order::unnamed(&csr_der, &serde_json::Value::Null)
        };
        match self.ca().submit(&order, Permit::Free).await {
            Submitted::Accepted(Progress { phase: Phase::Issued(candidates), .. }) => {
                Outcome::Issued(Obtained {
                    key: key.into(),
                    csr_names: None,
                    candidates,
                    purchase: Purchase { account: "the account".to_owned(), product: None },
                })
            }
            Submitted::Accepted(other) => panic!("not at once: {other:?}"),
            Submitted::Refused(error) | Submitted::Unknown(error) => Outcome::Failed(error.into()),
        }
    }

    fn deliver(&mut self, delivery: &issuance::Delivery) -> Outcome {
        let version = self.target.as_ref().map_or(0, |old| old.resource_version.parse().unwrap());
        let target = Target {
            uid: "secret-uid".to_owned(),
            resource_version: (version + 1_u32).to_string(),
            kind: "kubernetes.io/tls".to_owned(),
            immutable: false,
            owners: vec![],
            metadata: delivery.metadata.clone(),
            key: delivery.key.private().map(Arc::clone),
            chain: delivery.chain.clone(),
            anchors: delivery.anchors.clone(),
        };
        self.target = Some(target.clone());
        Outcome::Delivered {
            target,
            added_roots: delivery.added_roots.clone(),
            renewed: delivery.renewed,
            adopted: delivery.adopted,
        }
    }

    fn observe(&self) -> Observation {
        let cached = self.target.as_ref().map(|target| CachedTarget {
            resource_version: target.resource_version.clone(),
            metadata: target.metadata.clone(),
        });
        let issuer = IssuerState::Ready { version: "1".to_owned(), account: None, anchors: None };
        let previous = Previous::from(&self.status);
        Observation::at_start(self.bench.clock.now(), self.request(), issuer, previous, cached)
    }

    fn request(&self) -> Request {
        Request {
            misread: None,
            overrides: chancery::issuance::allow::Overrides::default(),
            namespace: "team".to_owned(),
            name: "web".to_owned(),
            uid: "6f1c0a2e-7f4b-4f0e-9a54-1f5b4d1f0c11".to_owned(),
            generation: self.generation,
            deleting: false,
            secret_name: "web-tls".to_owned(),
            issuer: "Issuer ceda".to_owned(),
            names: self.names.clone(),
            duration: None,
            csr: None,
            key_kind: self.key_kind,
            rotation: RotationPolicy::default(),
            renew_before: RenewBefore::default(),
            template: Template::default(),
            suspended: false,
            renew: None,
            blocks: chancery::ca::Blocks::default(),
            release: None,
            credentials: Some("mine".to_owned()),
            credentials_version: Some(self.credentials_version.to_string()),
        }
    }

    fn reason(&self, kind: &str) -> &str {
        condition::find(&self.status.conditions, kind).map_or("", |found| &found.reason)
    }

    fn message(&self, kind: &str) -> &str {
        condition::find(&self.status.conditions, kind).map_or("", |found| &found.message)
    }

    fn is(&self, kind: &str) -> bool {
        condition::is_true(&self.status.conditions, kind)
    }
}

/// What a request shows after one run.
struct Expected {
    reason: &'static str,
    stalled: bool,
    /// Seconds to the next attempt by itself.
    next: Option<i64>,
    says: &'static [&'static str],
    /// Requests for a certificate that reached the CA.
    asked: u64,
}

const fn passes(reason: &'static str, next: i64, says: &'static [&'static str]) -> Expected {
    Expected { reason, stalled: false, next: Some(next), says, asked: 1 }
}

const fn stalls(reason: &'static str, next: i64, says: &'static [&'static str]) -> Expected {
    Expected { reason, stalled: true, next: Some(next), says, asked: 1 }
}

const fn ends(reason: &'static str, says: &'static [&'static str]) -> Expected {
    Expected { reason, stalled: true, next: None, says, asked: 1 }
}

const fn unasked(expected: Expected) -> Expected {
    Expected { asked: 0, ..expected }
}

/// What a request shows while it fails, what it still shows when it is looked at again before its
/// time, and that it is issued once `mend` has been done and its time has come.
async fn fails(name: &str, world: &mut World, expected: &Expected, mend: fn(&mut World)) {
    world.run().await;
    shows(name, world, expected);
    let first = world.status.clone();
    let requeue = world.run().await;
    assert_eq!(world.bench.asked(), expected.asked, "{name}: asked again before its time");
    assert_eq!(world.status, first, "{name}: a second look changes nothing");
    let due = first.next_attempt_time.as_ref().map(|due| due.0);
    assert_eq!(requeue, due.map_or(Requeue::AwaitChange, Requeue::At), "{name}");
    world.bench.site.clear_faults();
    mend(world);
    match due {
        Some(due) => world.bench.clock.set(due),
        None => world.generation += 1,
    }
    world.run().await;
    is_issued(name, world);
    assert!(world.bench.asked() <= expected.asked + 1, "{name}");
}

fn shows(name: &str, world: &World, expected: &Expected) {
    let issuing = world.message(ISSUING);
    assert_eq!(world.reason(ISSUING), expected.reason, "{name}: {issuing}");
    assert!(!world.is(READY), "{name}");
    assert_eq!((world.reason(READY), world.message(READY)), (expected.reason, issuing), "{name}");
    assert_eq!(world.is(STALLED), expected.stalled, "{name}: {issuing}");
    assert_eq!(world.is(ISSUING), expected.next.is_some(), "{name}: {issuing}");
    let next = world.status.next_attempt_time.as_ref();
    let seconds = next.map(|next| next.0.duration_since(world.bench.clock.now()).as_secs());
    assert_eq!(seconds.is_some(), expected.next.is_some(), "{name}: {issuing}");
    // A fifth at most comes on top, so that not all come back together.
    let is_due = |(got, wished): (i64, i64)| (wished..=wished * 6 / 5).contains(&got);
    assert!(seconds.zip(expected.next).is_none_or(is_due), "{name}: {issuing}");
    for words in expected.says {
        assert!(issuing.contains(words), "{name} does not say {words:?}: {issuing}");
    }
    let what_next = match next {
        Some(next) => {
            format!("(failed attempt 1; the next is at {}, or when something changes)", next.0)
        }
        None => "(not tried again before the request or its issuer changes)".to_owned(),
    };
    assert!(issuing.contains(&what_next), "{name} does not say what is next: {issuing}");
    assert!(
        !issuing.contains(PASSWORD) && !issuing.contains(char::is_control),
        "{name}: {issuing}"
    );
    assert_eq!(world.bench.asked(), expected.asked, "{name}");
    assert_eq!(world.status.failed_attempts, Some(1), "{name}");
}

fn is_issued(name: &str, world: &World) {
    assert!(world.is(READY), "{name}: {}", world.message(READY));
    assert_eq!((world.reason(READY), world.reason(ISSUING)), ("Issued", "Issued"), "{name}");
    assert!(!world.is(STALLED) && world.status.failed_attempts.is_none(), "{name}");
    assert_eq!(world.status.revision, Some(1), "{name}");
    let target = world.target.as_ref().unwrap();
    assert_eq!(target.chain[0].spki_der(), target.key.as_ref().unwrap().spki_der(), "{name}");
    assert_eq!(target.chain[1..], [world.bench.intermediate()], "{name}");
    assert_eq!(target.anchors[0], world.bench.root(), "{name}");
}

async fn table(cases: Vec<(&str, Kind, Expected)>) {
    for (name, kind, expected) in cases {
        for flavour in [Flavour::Contrail, Flavour::Django] {
            let mut world = World::new(flavour);
            world.bench.fault(kind.clone());
            fails(&format!("{name}, {flavour:?}"), &mut world, &expected, |_| {}).await;
        }
    }
}

fn status(status: u16, retry_after: Option<u64>) -> Kind {
    Kind::Status {
        status,
        body: Some("the server's own words".to_owned()),
        retry_after,
        html: false,
    }
}

#[tokio::test]
async fn each_status_becomes_its_condition() {
    const WORDS: &str = "(\"the server's own words\")";
    const AGAIN: &str = "tried again later";
    let credentials = |says| stalls("CredentialsRefused", 3600, says);
    let address = |says| stalls("AddressUnknown", 60, says);
    table(vec![
        (
            "400",
            status(400, None),
            ends("Refused", &["answered 400 Bad Request", WORDS, "does not accept this request"]),
        ),
        (
            "401",
            status(401, None),
            credentials(&["401 Unauthorized", WORDS, "check username and password"]),
        ),
        ("403", status(403, None), credentials(&["403 Forbidden", "check username and password"])),
        (
            "404",
            status(404, None),
            address(&["404 Not Found", "spec.onlineCa", "the trailing slash counts"]),
        ),
        ("405", status(405, None), ends("Refused", &["405 Method Not Allowed"])),
        ("408", status(408, None), passes("NoAnswer", 5, &["408 Request Timeout", AGAIN])),
        ("410", status(410, None), address(&["410 Gone"])),
        ("413", status(413, None), ends("Refused", &["413 Payload Too Large"])),
        ("422", status(422, None), ends("Refused", &["422 Unprocessable Entity"])),
        ("425", status(425, None), passes("NoAnswer", 5, &["425 Too Early", AGAIN])),
        ("429", status(429, None), passes("TooManyRequests", 5, &["429 Too Many Requests", AGAIN])),
        ("429 with a time", status(429, Some(120)), passes("TooManyRequests", 120, &[AGAIN])),
        ("429 with a long time", status(429, Some(999_999)), passes("TooManyRequests", 3600, &[])),
        ("429 with a short time", status(429, Some(1)), passes("TooManyRequests", 5, &[])),
        (
            "500",
            status(500, None),
            passes("ServerError", 5, &["500 Internal Server Error", WORDS, AGAIN]),
        ),
        ("502", status(502, None), passes("ServerError", 5, &["502 Bad Gateway"])),
        (
            "503 with a time",
            status(503, Some(30)),
            passes("ServerError", 30, &["503 Service Unavailable"]),
        ),
        ("504", status(504, None), passes("ServerError", 5, &["504 Gateway Timeout"])),
        (
            "202",
            status(202, None),
            passes("UnexpectedAnswer", 60, &["202 Accepted", "its body holds no certificate"]),
        ),
        (
            "206",
            status(206, None),
            passes("UnexpectedAnswer", 60, &["206 Partial Content", "should answer 200"]),
        ),
        (
            "302",
            Kind::Redirect { location: "https://elsewhere.example/".to_owned() },
            stalls("Redirected", 60, &["302 Found", "write the final address into spec.onlineCa"]),
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn each_damaged_answer_becomes_its_condition() {
    let silent = |says| passes("NoAnswer", 5, says);
    let odd = |says| passes("UnexpectedAnswer", 60, says);
    table(vec![
        (
            "a page",
            Kind::HtmlBody,
            odd(&["200 OK, but its body holds no certificate", "We will be back soon"]),
        ),
        (
            "half a body",
            Kind::TruncatedBody,
            silent(&["ca.example:443 was called, but the answer broke off"]),
        ),
        ("no body", Kind::EmptyBody, odd(&["200 OK, but its body holds no certificate"])),
        (
            "a huge body",
            Kind::HugeBody { bytes: 2 * 1024 * 1024 },
            silent(&["longer than 1048576 bytes"]),
        ),
        (
            "silence",
            Kind::Hang,
            silent(&["ca.example:443 was called, but no complete answer came within 30 s"]),
        ),
        (
            "closed before",
            Kind::DropBeforeCommit,
            silent(&["was called, but the connection was closed"]),
        ),
        (
            "closed after",
            Kind::DropAfterCommit,
            silent(&["was called, but the connection was closed"]),
        ),
        (
            "slower than the deadline",
            Kind::Delay { seconds: 31.0, after_commit: true },
            silent(&["no complete answer came within 30 s"]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn each_unfit_certificate_becomes_its_condition() {
    let unfit = |says| passes("CertificateUnfit", 60, says);
    let untrusted = |says| stalls("ChainNotTrusted", 60, says);
    const BUNDLE: &str = "pins go into spec.trust.bundle of the issuer";
    table(vec![
        (
            "wrong key",
            Kind::WrongKey,
            unfit(&[
                "was not delivered",
                "none of the 2 certificates received is for the private key",
            ]),
        ),
        ("expired", Kind::Expired, unfit(&["was not delivered", "expired at 2026-05-28T"])),
        (
            "not yet valid",
            Kind::NotYetValid { seconds: 3600 },
            unfit(&["becomes valid only at", "clock"]),
        ),
        (
            "an unrelated chain",
            Kind::UnrelatedChain,
            untrusted(&["demo Unrelated CA", "pin ", BUNDLE]),
        ),
        (
            "a forged signature",
            Kind::ForgedSignature,
            untrusted(&[
                "the chain cannot be trusted: CN=",
                "only the CA can mend its certificates",
            ]),
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_the_network_does_becomes_its_condition() {
    let cases = [
        (
            "no connection",
            Failure::NotSent("Connection refused (os error 111)".to_owned()),
            passes("Unreachable", 5, &["ca.example:443 could not be reached: Connection refused"]),
        ),
        (
            "another server",
            Failure::Untrusted("the server's certificate was not accepted".to_owned()),
            stalls(
                "ServerNotTrusted",
                60,
                &["ca.example:443: the server's certificate was not accepted"],
            ),
        ),
    ];
    for (name, failure, expected) in cases {
        let mut world = World::new(Flavour::Contrail);
        world.outage = Some(failure);
        fails(name, &mut world, &unasked(expected), |world| world.outage = None).await;
    }
}

/// What is delivered all the same.
#[tokio::test(start_paused = true)]
async fn what_is_only_odd_is_delivered() {
    type Change = fn(&mut World);
    let cases: [(&str, Change, u64); 9] = [
        ("the right answer", |_| {}, 0),
        ("the leaf last", |world| world.bench.fault(Kind::WrongChainOrder), 0),
        (
            "a clock two minutes ahead",
            |world| world.bench.fault(Kind::NotYetValid { seconds: 120 }),
            0,
        ),
        (
            "an answer just in time",
            |world| world.bench.fault(Kind::Delay { seconds: 29.0, after_commit: false }),
            0,
        ),
        (
            "no chain: from the served roots",
            |world| world.bench.set(|site| site.chain = Chain::None),
            1,
        ),
        (
            "another chain: from the served roots",
            |world| world.bench.set(|site| site.chain = Chain::Unrelated),
            1,
        ),
        (
            "a chain as files are",
            |world| {
                world.bench.set(|site| {
                    site.chain_preamble = true;
                    site.chain_crlf = true;
                    site.chain_without_final_newline = true;
                });
            },
            0,
        ),
        (
            "ECDSA where the issuer admits it and the server does",
            |world| {
                world.bench.set(|site| site.min_key_bits = 256);
                world.spec.key_algorithms.push(api::KeyAlgorithm::Ecdsa);
                world.key_kind = Some(KeyKind::EcdsaP256);
            },
            0,
        ),
        ("served roots by opt-in", |world| world.add_served_roots = true, 1),
    ];
    for (name, change, looks) in cases {
        let mut world = World::new(Flavour::Contrail);
        change(&mut world);
        world.run().await;
        is_issued(name, &world);
        assert_eq!((world.bench.asked(), world.bench.site.issued().len()), (1, 1), "{name}");
        assert_eq!(world.bench.site.requests().total("trustroots"), looks, "{name}");
        let before = world.status.clone();
        world.run().await;
        assert_eq!((world.bench.asked(), &world.status), (1, &before), "{name}: a second look");
    }
}

#[tokio::test]
async fn a_chain_that_nobody_serves_whole_is_told() {
    let mut world = World::new(Flavour::Contrail);
    world.bench.set(|site| {
        site.chain = Chain::None;
        site.trust_roots.intermediate = false;
    });
    let expected = stalls(
        "ChainNotTrusted",
        60,
        &["the chain ends at", "demo Issuing CA", "spec.trust.bundle"],
    );
    let mend = |world: &mut World| world.bench.set(|site| site.chain = Chain::Intermediate);
    fails("no intermediate anywhere", &mut world, &expected, mend).await;
}

#[tokio::test]
async fn wrong_credentials_wait_for_others() {
    for flavour in [Flavour::Contrail, Flavour::Django] {
        let mut world = World::new(flavour);
        world.sign_in(USER, "wrong");
        world.run().await;
        let expected = stalls(
            "CredentialsRefused",
            3600,
            &["401 Unauthorized", "check username and password"],
        );
        shows("a wrong password", &world, &expected);
        // Without waiting for the hour: the Secret changed.
        world.sign_in(USER, PASSWORD);
        world.run().await;
        is_issued("the right password", &world);
    }
}

#[tokio::test]
async fn what_the_server_would_misread_is_never_sent() {
    type Case = (
        &'static str,
        Flavour,
        BasicSplit,
        &'static str,
        &'static str,
        Option<&'static [&'static str]>,
    );
    let cases: [Case; 6] = [
        (
            "a colon in the password, cut at the last",
            Flavour::Contrail,
            BasicSplit::LastColon,
            USER,
            "a:b",
            Some(&[
                "password holds a ':'",
                "spec.onlineCa.basicSplit: LastColon",
                "change the password",
            ]),
        ),
        (
            "a colon in the user, cut at the last",
            Flavour::Contrail,
            BasicSplit::LastColon,
            "https://id.example/jdoe",
            "ab",
            None,
        ),
        (
            "a colon in the user, cut at the first",
            Flavour::Django,
            BasicSplit::FirstColon,
            "https://id.example/jdoe",
            "ab",
            Some(&["username holds a ':'", "spec.onlineCa.basicSplit: FirstColon"]),
        ),
        (
            "a colon in the password, cut at the first",
            Flavour::Django,
            BasicSplit::FirstColon,
            USER,
            "a:b",
            None,
        ),
        (
            "no user",
            Flavour::Contrail,
            BasicSplit::LastColon,
            "",
            "ab",
            Some(&["username is empty"]),
        ),
        (
            "letters beyond ASCII",
            Flavour::Django,
            BasicSplit::FirstColon,
            "jürgen",
            "Pässwört",
            None,
        ),
    ];
    for (name, flavour, split, user, password, refused) in cases {
        let mut world = World::new(flavour);
        world.spec.basic_split = split;
        world.bench.set(|site| {
            site.users.insert(user.to_owned(), password.to_owned());
            site.users.insert("another".to_owned(), PASSWORD.to_owned());
            // An OpenID is no value for a slash form.
            site.subject_template = Some("/O=NDG/CN=somebody".to_owned());
        });
        world.sign_in(user, password);
        match refused {
            Some(says) => {
                let expected = unasked(stalls("CredentialsUnusable", 3600, says));
                fails(name, &mut world, &expected, |world| world.sign_in("another", PASSWORD))
                    .await;
            }
            None => {
                world.run().await;
                is_issued(name, &world);
            }
        }
    }
    let mut world = World::new(Flavour::Contrail);
    world.credentials = None;
    let expected = unasked(ends("CredentialsMissing", &["set spec.onlineCa.credentialsSecretRef"]));
    fails("no credentials", &mut world, &expected, |world| world.sign_in(USER, PASSWORD)).await;
}

#[tokio::test]
async fn keys_and_names_the_server_does_not_take_are_refused_before_anything_is_sent() {
    let mut world = World::new(Flavour::Contrail);
    world.key_kind = Some(KeyKind::EcdsaP256);
    let says: &[&str] =
        &["Online CA does not sign ECDSA P-256 keys", "spec.onlineCa.keyAlgorithms of the issuer"];
    let expected = unasked(ends("NotSupportedByCa", says));
    fails("ECDSA without the opt-in", &mut world, &expected, |world| world.key_kind = None).await;

    let names = [
        Names { common_name: Some("web.example".to_owned()), ..Names::default() },
        Names { dns_names: vec!["web.example".to_owned()], ..Names::default() },
    ];
    for names in names {
        let mut world = World::new(Flavour::Contrail);
        world.names = names;
        let says: &[&str] = &["ignores names", "remove spec."];
        let expected = unasked(ends("NotSupportedByCa", says));
        fails("names", &mut world, &expected, |world| world.names = Names::default()).await;
    }
}

#[tokio::test]
async fn keys_the_server_refuses_against_the_issuers_word_are_told_in_its_words() {
    for (flavour, words) in
        [(Flavour::Contrail, "Internal Server Error"), (Flavour::Django, "Server Error (500)")]
    {
        let mut world = World::new(flavour);
        world.spec.key_algorithms.push(api::KeyAlgorithm::Ecdsa);
        world.key_kind = Some(KeyKind::EcdsaP256);
        world.run().await;
        shows(
            "ECDSA against minKeyBits 2048",
            &world,
            &passes("ServerError", 5, &["500 Internal Server Error"]),
        );
        assert!(world.message(ISSUING).contains(words), "{}", world.message(ISSUING));
    }
}

#[tokio::test]
async fn failures_in_a_row_wait_longer_and_one_success_forgets_them() {
    let mut world = World::new(Flavour::Contrail);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        world.bench.fault(status(503, None));
        world.run().await;
        let next = world.status.next_attempt_time.as_ref().unwrap().0;
        pauses.push(next.duration_since(world.bench.clock.now()).as_secs());
        world.bench.clock.set(next);
    }
    for (waited, pause) in pauses.iter().zip([5, 10, 20, 40, 80, 160, 320, 600, 600]) {
        assert!((pause..=pause * 6 / 5).contains(waited), "{pauses:?}");
    }
    assert_eq!(world.status.failed_attempts, Some(9));
    world.run().await;
    is_issued("in the end", &world);
}

/// A failing renewal leaves the delivered certificate Ready.
#[tokio::test]
async fn a_renewal_that_fails_leaves_the_certificate_ready_until_it_expires() {
    let mut world = World::new(Flavour::Contrail);
    world.run().await;
    is_issued("the first", &world);
    let renewal = world.status.renewal_time.as_ref().unwrap().0;
    let end = world.status.certificate.as_ref().unwrap().not_after.0;
    world.bench.clock.set(renewal);
    world.bench.fault(status(401, None));
    world.run().await;
    assert!(world.is(READY) && world.is(STALLED), "{}", world.message(READY));
    assert_eq!((world.reason(READY), world.reason(ISSUING)), ("Issued", "CredentialsRefused"));
    world.bench.clock.set(end);
    world.bench.fault(status(401, None));
    world.run().await;
    assert_eq!((world.is(READY), world.reason(READY)), (false, "Expired"));
    assert_eq!(world.bench.site.issued().len(), 1);
}
