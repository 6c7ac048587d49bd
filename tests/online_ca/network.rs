//! The real transport against real sockets on loopback: what was sent, and whether the failure says
//! so.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chancery::api::OnlineCa;
use chancery::ca::{CertificateAuthority, Submitted};
use chancery::outside::in_flight::{InFlight, IsSubmit, Sharing};
use chancery::outside::proxy::Proxy;
use chancery::outside::reach::{Cluster, Inside, Reach};
use chancery::outside::transport::{
    Call, Connector as _, Failure, Network, Roots, Route, Transport,
};
use chancery::outside::{Disposition, Error};
use chancery::pki::Certificate;
use chancery::simulator::online_ca::Operation;
use chancery::simulator::{Fault, Kind, server};
use http::Request;
use tokio::net::TcpListener;

use crate::bench::{Bench, PASSWORD, USER, basic, one_certificate, open, spec, submit};
use crate::peer::{Act, Identity, Peer, http};

/// Short enough to wait for, long enough for a busy machine.
const SHORT: Duration = Duration::from_millis(700);
pub(crate) const LONG: Duration = Duration::from_secs(20);

fn network(root: &Certificate) -> Arc<dyn Transport> {
    network_by(root, None, LONG)
}

/// The network through a proxy, for calls within `deadline`.
pub(crate) fn network_by(
    root: &Certificate,
    proxy: Option<Proxy>,
    deadline: Duration,
) -> Arc<dyn Transport> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
    reaching(root, proxy, deadline, Reach::Anywhere)
}

fn reaching(
    root: &Certificate,
    proxy: Option<Proxy>,
    deadline: Duration,
    reach: Reach,
) -> Arc<dyn Transport> {
    let route = Route { roots: Roots::Bundle(vec![root.clone()]), identity: None, proxy, reach };
    Network::for_calls_within(deadline).connect(&route).unwrap()
}

pub(crate) fn call(url: &str, deadline: Duration) -> Call {
    let request = Request::post(url).body(Bytes::from_static(b"field=value")).unwrap();
    Call { request, deadline, body_limit: 1000, fresh_connection: false }
}

pub(crate) async fn ask(transport: &dyn Transport, url: &str) -> Result<String, Failure> {
    ask_within(transport, url, LONG).await
}

async fn ask_within(
    transport: &dyn Transport,
    url: &str,
    deadline: Duration,
) -> Result<String, Failure> {
    let response = transport.send(call(url, deadline)).await?;
    Ok(format!("{} {}", response.status(), String::from_utf8_lossy(response.body())))
}

fn is_unknown(failure: &Failure, says: &str) {
    assert!(matches!(failure, Failure::Unknown(_)), "{failure:?}");
    assert!(failure.to_string().contains(says), "does not say {says:?}: {failure}");
}

fn is_not_sent(failure: &Failure, says: &str) {
    assert!(matches!(failure, Failure::NotSent(_)), "{failure:?}");
    assert!(failure.to_string().contains(says), "does not say {says:?}: {failure}");
}

fn is_untrusted(failure: &Failure, says: &str) {
    assert!(matches!(failure, Failure::Untrusted(_)), "{failure:?}");
    assert!(failure.to_string().contains(says), "does not say {says:?}: {failure}");
}

#[tokio::test]
async fn an_answer_comes_whole_and_the_request_says_who_asks() {
    let identity = Identity::good();
    let answer = http("403 Forbidden", "retry-after: 7\r\n", "no");
    let peer = Peer::start(&identity, &[Act::Answer(answer)]).await;
    let transport = network(&identity.root);
    let response = transport.send(call(&peer.url(), LONG)).await.unwrap();
    assert_eq!((response.status().as_u16(), response.body().as_ref()), (403, &b"no"[..]));
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(peer.requests().len(), 1);
    let request = peer.requests()[0].to_ascii_lowercase();
    assert!(request.starts_with("post /certificate/ http/1.1\r\n"), "{request}");
    assert!(
        request.contains(concat!("\r\nuser-agent: chancery/", env!("CARGO_PKG_VERSION"), "\r\n")),
        "{request}"
    );
    assert!(request.ends_with("\r\n\r\nfield=value"), "{request}");
    for header in ["cookie", "accept-encoding", "referer"] {
        assert!(!request.contains(header), "{header}: {request}");
    }
}

#[tokio::test]
async fn nothing_connects_to_what_is_not_reached_by_whatever_name() {
    let identity = Identity::good();
    let _ = network(&identity.root);
    let peer = Peer::start(&identity, &[Act::Answer(http("200 OK", "", "yes"))]).await;
    let url = peer.url();
    let rest = format!(":{}/certificate/", peer.port);
    let outside =
        |and: &[Inside]| Reach::Outside { and: and.to_vec(), cluster: Cluster::default() };
    let proxy = Proxy::new(&format!("http://localhost:{}", peer.port), None, &[]).unwrap();
    // By another spelling of the host it would be for it, and by this one not.
    let spelled = ["3221225991".to_owned(), "ca.example.".to_owned()];
    let spelled = Proxy::new(&format!("http://127.0.0.1:{}", peer.port), None, &spelled).unwrap();
    let loopback = "--tenant-issuers-may-reach=loopback";
    for (host, proxy, says) in [
        ("3221225991", Some(spelled), "is an address, which a proxy is not asked for"),
        ("localhost", None, loopback),
        ("127.0.0.1", None, loopback),
        ("2130706433", None, loopback),
        ("0x7f.1", None, loopback),
        ("[::1]", None, loopback),
        ("[::ffff:127.0.0.1]", None, loopback),
        ("ca.localhost", None, loopback),
        // The name is for the proxy, and the proxy is on this machine.
        ("ca.example", Some(proxy), loopback),
    ] {
        let transport = reaching(&identity.root, proxy, LONG, outside(&[Inside::Private]));
        let failure = ask(&*transport, &format!("https://{host}{rest}")).await.unwrap_err();
        let Failure::Blocked(error) = &failure else { panic!("{host}: {failure:?}") };
        assert!(error.message.contains(says), "{host}: {error}");
    }
    assert_eq!(peer.connections(), 0, "nobody connected");
    let transport = reaching(&identity.root, None, LONG, outside(&[Inside::Loopback]));
    assert_eq!(ask(&*transport, &url).await, Ok("200 OK yes".to_owned()));
}

/// The name is allowed here, and what it resolves to is not: so it is with a name that a tenant made.
#[tokio::test]
async fn what_a_name_resolves_to_is_judged() {
    let identity = Identity::good();
    let _ = network(&identity.root);
    let peer = Peer::start(&identity, &[Act::Answer(http("200 OK", "", "yes"))]).await;
    let networks = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    let cluster = Cluster { networks, names: Vec::new() };
    let reach = Reach::Outside { and: vec![Inside::Loopback], cluster };
    let proxy = Proxy::new(&format!("http://localhost:{}", peer.port), None, &[]).unwrap();
    let rows = [
        (None, peer.url(), format!("localhost:{} was not called", peer.port)),
        (
            Some(proxy),
            "https://ca.example/".to_owned(),
            format!("the proxy localhost:{} was not called", peer.port),
        ),
    ];
    for (proxy, url, says) in rows {
        let transport = reaching(&identity.root, proxy, LONG, reach.clone());
        let failure = ask(&*transport, &url).await.unwrap_err();
        let Failure::Blocked(error) = &failure else { panic!("{failure:?}") };
        assert!(error.message.starts_with(&says), "{error}");
        assert!(error.message.contains("--tenant-issuers-may-reach=cluster"), "{error}");
    }
    assert_eq!(peer.connections(), 0, "nobody connected");
}

#[tokio::test]
async fn bodies_end_at_the_cap() {
    let identity = Identity::good();
    let transport = network(&identity.root);
    let body = |length| http("200 OK", "", &"x".repeat(length));
    let endless = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    let cases = [
        ("at the cap", Act::Answer(body(1000)), true),
        ("above it", Act::Answer(body(1001)), false),
        (
            "announced and never sent",
            Act::Answer(
                "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nx".to_owned()
                    + &"x".repeat(2000),
            ),
            false,
        ),
        ("without an end", Act::Flood(endless, "4\r\nxxxx\r\n"), false),
    ];
    for (name, act, passes) in cases {
        let peer = Peer::start(&identity, &[act]).await;
        match ask(&*transport, &peer.url()).await {
            Ok(answer) => assert!(passes && answer.len() == "200 OK ".len() + 1000, "{name}"),
            Err(failure) => {
                assert!(!passes, "{name}: {failure}");
                is_unknown(&failure, "the answer is longer than 1000 bytes");
            }
        }
        assert_eq!(peer.requests().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_long_answer_waits_for_room_and_holds_up_no_submit() {
    let identity = Identity::good();
    let all = InFlight::default();
    let long = || Act::Answer(http("200 OK", "", &"x".repeat(16 * 1024 * 1024)));
    let peer = Peer::start(&identity, &[long(), long()]).await;
    let short = || Act::Answer(http("200 OK", "", "short"));
    let other = Peer::start(&identity, &[short(), short()]).await;
    let sharing = |owner: &str| Sharing { inner: network(&identity.root), share: all.share(owner) };
    let limited = |url: &str| Call { body_limit: 16 * 1024 * 1024, ..call(url, LONG) };
    let whole = sharing("tenant").send(limited(&peer.url())).await.unwrap();
    let second = Call { deadline: SHORT, ..limited(&peer.url()) };
    let failure = sharing("tenant").send(second).await.unwrap_err();
    is_unknown(&failure, "no complete answer came");
    let mut submit = call(&other.url(), SHORT);
    submit.request.extensions_mut().insert(IsSubmit);
    assert!(sharing("tenant").send(submit).await.is_ok(), "room is kept for submits");
    ask(&sharing("neighbour"), &other.url()).await.unwrap();
    drop(whole);
    let free = Peer::start(&identity, &[long()]).await;
    assert!(sharing("tenant").send(limited(&free.url())).await.is_ok());
}

#[tokio::test]
async fn the_deadline_holds_in_every_phase() {
    let identity = Identity::good();
    let transport = network(&identity.root);
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n".to_owned();
    for (name, act) in [
        ("silence after the request", Act::Silence),
        ("half an answer and silence", Act::Answer(head.clone())),
        ("half a head, then byte by byte", Act::Trickle("HTTP/1.1 200 OK\r\nx-".to_owned())),
        ("a body byte by byte", Act::Trickle(head)),
    ] {
        let peer = Peer::start(&identity, &[act]).await;
        let start = Instant::now();
        let failure = ask_within(&*transport, &peer.url(), SHORT).await.unwrap_err();
        is_unknown(&failure, "no complete answer came within");
        let took = start.elapsed();
        assert!(took >= SHORT && took < SHORT * 6, "{name}: {took:?}");
        assert_eq!(peer.requests().len(), 1, "{name}");
    }
    let peer = Peer::deaf().await;
    let start = Instant::now();
    assert!(ask_within(&*transport, &peer.url(), SHORT).await.is_err());
    assert!(start.elapsed() < SHORT * 6);
}

#[tokio::test]
async fn redirects_are_answers() {
    let identity = Identity::good();
    let elsewhere = Peer::start(&identity, &[Act::Answer(http("200 OK", "", "trap"))]).await;
    let transport = network(&identity.root);
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let header = format!("location: {}\r\n", elsewhere.url());
        let peer = Peer::start(&identity, &[Act::Answer(http(status, &header, ""))]).await;
        let answer = ask(&*transport, &peer.url()).await.unwrap();
        assert!(answer.starts_with(status), "{answer}");
        assert_eq!((peer.requests().len(), elsewhere.connections()), (1, 0), "{status}");
    }
}

#[tokio::test]
async fn what_never_reached_a_server_was_not_sent() {
    let identity = Identity::good();
    let transport = network(&identity.root);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let closed = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    drop(listener);
    is_not_sent(&ask(&*transport, &closed).await.unwrap_err(), "refused");
    let failure = ask(&*transport, "https://nowhere.invalid/").await.unwrap_err();
    is_not_sent(&failure, "lookup");
    is_not_sent(&ask(&*transport, "http://localhost:1/").await.unwrap_err(), "");
    let peer = Peer::hanging_up().await;
    is_not_sent(&ask(&*transport, &peer.url()).await.unwrap_err(), "");
}

#[tokio::test]
async fn servers_that_cannot_be_verified_get_nothing_and_the_text_says_why() {
    let good = Identity::good();
    let other_root = Identity::good().root;
    let localhost = || vec!["localhost".to_owned()];
    let expired = Identity::named(localhost(), 2001);
    let elsewhere = Identity::named(vec!["other.example".to_owned()], 2040);
    let cases = [
        ("another root", &good, &other_root, "does not end at a trusted root"),
        ("expired", &expired, &expired.root, "expired"),
        ("another name", &elsewhere, &elsewhere.root, "other.example"),
    ];
    for (name, identity, root, says) in cases {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let answer = [Act::Answer(http("200 OK", "", "trap"))];
            let peer = Peer::with(identity.config(version), &answer).await;
            let failure = ask(&*network(root), &peer.url()).await.unwrap_err();
            is_untrusted(&failure, "the server's certificate was not accepted");
            is_untrusted(&failure, says);
            assert_eq!(peer.requests(), Vec::<String>::new(), "{name}");
        }
    }
}

#[tokio::test]
async fn what_is_no_tls_of_ours_gets_nothing() {
    let transport = network(&Identity::good().root);
    // A fatal alert, protocol_version: what a server says that stops at TLS 1.1.
    let old = Peer::without_tls(b"\x15\x03\x01\x00\x02\x02\x46").await;
    is_untrusted(&ask(&*transport, &old.url()).await.unwrap_err(), "ProtocolVersion");
    let plain = Peer::without_tls(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    is_untrusted(&ask(&*transport, &plain.url()).await.unwrap_err(), "TLS failed");
}

#[tokio::test]
async fn what_breaks_after_the_request_nobody_knows() {
    let identity = Identity::good();
    let transport = network(&identity.root);
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\nhalf".to_owned();
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_owned();
    for (name, act) in [
        ("closed without an answer", Act::Close),
        ("closed within the head", Act::AnswerAndClose("HTTP/1.1 200".to_owned())),
        ("closed within the body", Act::AnswerAndClose(half)),
        ("closed within a chunked body", Act::AnswerAndClose(chunked)),
        ("no HTTP", Act::Answer("220 mail.example ESMTP ready\r\n".to_owned())),
        ("a status that is none", Act::Answer("HTTP/1.1 9 x\r\n\r\n".to_owned())),
        ("bytes that are no TLS", Act::BreakTls),
    ] {
        let peer = Peer::start(&identity, &[act]).await;
        let failure = ask(&*transport, &peer.url()).await.unwrap_err();
        assert!(matches!(failure, Failure::Unknown(_)), "{name}: {failure:?}");
        assert_eq!(peer.requests().len(), 1, "{name}");
        assert_eq!(peer.connections(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_connection_the_server_closed_in_between_does_no_harm() {
    let identity = Identity::good();
    let transport = network(&identity.root);
    let ok = http("200 OK", "", "fine");
    // Kept alive: the second request goes over the same connection.
    let peer = Peer::start(&identity, &[Act::Answer(ok.clone())]).await;
    for _ in 0..2 {
        ask(&*transport, &peer.url()).await.unwrap();
    }
    assert_eq!((peer.connections(), peer.requests().len()), (1, 2));

    // Closed after an answer: seen in time, so the next request takes a new connection.
    let peer = Peer::start(&identity, &[Act::AnswerAndClose(ok.clone())]).await;
    for _ in 0..2 {
        ask(&*transport, &peer.url()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((peer.connections(), peer.requests().len()), (2, 2));

    // Closed when the second request was there: nobody knows, and it is not sent a third time.
    let peer = Peer::start(&identity, &[Act::Answer(ok), Act::Close]).await;
    ask(&*transport, &peer.url()).await.unwrap();
    let failure = ask(&*transport, &peer.url()).await.unwrap_err();
    is_unknown(&failure, "");
    assert_eq!((peer.connections(), peer.requests().len()), (1, 2));
}

/// However often the close and the request cross: what the server saw is never called unsent, and
/// never sent twice.
#[tokio::test]
async fn a_close_that_crosses_a_request_never_makes_a_second_one() {
    let identity = Identity::good();
    let transport = network(&identity.root);
    let ok = http("200 OK", "", "fine");
    for _ in 0..50 {
        let peer = Peer::start(&identity, &[Act::AnswerAndClose(ok.clone())]).await;
        ask(&*transport, &peer.url()).await.unwrap();
        let second = ask(&*transport, &peer.url()).await;
        match &second {
            Ok(_) => assert_eq!(peer.requests().len(), 2),
            Err(failure) => {
                is_unknown(failure, "");
                assert!(peer.requests().len() <= 2);
            }
        }
    }
}

#[tokio::test]
async fn what_a_server_puts_into_its_certificate_does_not_fill_a_condition() {
    let names = (0..300).map(|n| format!("name-{n}.example.org")).collect();
    let identity = Identity::named(names, 2040);
    let peer = Peer::start(&identity, &[Act::Close]).await;
    let failure = ask(&*network(&identity.root), &peer.url()).await.unwrap_err();
    is_untrusted(&failure, "localhost");
    assert!(failure.to_string().len() <= 600, "{failure}");
    assert!(!failure.to_string().contains(char::is_control), "{failure}");
}

/// The process that runs the tests cannot change its own environment: it runs this one again.
#[tokio::test]
async fn proxies_of_the_environment_are_not_asked() {
    const INNER: &str = "CHANCERY_TEST_BEHIND_A_PROXY";
    if std::env::var_os(INNER).is_some() {
        let identity = Identity::good();
        let peer = Peer::start(&identity, &[Act::Answer(http("200 OK", "", "direct"))]).await;
        let answer = ask(&*network(&identity.root), &peer.url()).await;
        assert_eq!(answer.unwrap(), "200 OK direct");
        return;
    }
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "network::proxies_of_the_environment_are_not_asked"]).env(INNER, "1");
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        again.env(variable, &address);
    }
    again.env_remove("NO_PROXY").env_remove("no_proxy");
    let output = tokio::task::spawn_blocking(move || again.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    let asked = tokio::time::timeout(Duration::from_millis(50), proxy.accept()).await;
    assert!(asked.is_err(), "the proxy was asked");
}

/// The simulator behind its TLS server.
pub(crate) struct Served {
    pub(crate) bench: Bench,
    pub(crate) root: Certificate,
    pub(crate) spec: OnlineCa,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Served {
    pub(crate) async fn start() -> Self {
        let bench = Bench::new();
        let tls = bench.simulator.tls(&[]).unwrap();
        let root = one_certificate(tls.root_pem());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let base =
            format!("https://localhost:{}/online-ca/demo", listener.local_addr().unwrap().port());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let router = bench.simulator.router();
        tokio::spawn(server::serve(listener, Some(tls), router, async move {
            let _ = stopped.await;
        }));
        let spec = spec(&format!("{base}/certificate/"), &format!("{base}/trustroots/"));
        Self { bench, root, spec, _stop: stop }
    }

    fn open(&self, root: &Certificate) -> Arc<dyn CertificateAuthority> {
        open(self.spec.clone(), Some(basic(USER, PASSWORD)), network(root))
    }
}

#[tokio::test]
async fn the_client_gets_its_certificate_over_tls() {
    let served = Served::start().await;
    let ca = served.open(&served.root);
    assert_eq!(ca.check().await.unwrap().remarks, Vec::<String>::new());
    assert!(ca.trust_anchors().await.unwrap().contains(&served.bench.root()));
    let submitted = submit(&*ca).await;
    let certificates = submitted.issued().expect("certificates").to_vec();
    assert_eq!(certificates[1], served.bench.intermediate());
    assert_eq!(served.bench.asked(), 1);
}

#[tokio::test]
async fn each_failure_on_the_way_is_told_for_what_it_is() {
    let served = Served::start().await;
    let ca = served.open(&served.root);
    let unknown = [
        Kind::DropBeforeCommit,
        Kind::DropAfterCommit,
        Kind::TruncatedBody,
        Kind::EmptyBody,
        Kind::HtmlBody,
        Kind::HugeBody { bytes: 2 * 1024 * 1024 },
    ];
    for (asked, kind) in (1..).zip(unknown) {
        served.bench.fault(kind.clone());
        let submitted = submit(&*ca).await;
        assert!(matches!(submitted, Submitted::Unknown(_)), "{kind:?}: {submitted:?}");
        assert_eq!(served.bench.asked(), asked, "{kind:?}");
    }
    served.bench.site.inject(Fault::next(Operation::TrustRoots, Kind::TruncatedBody)).unwrap();
    assert_eq!(ca.check().await.unwrap_err().reason, "NoAnswer");
}

/// The client register asks for a certificate of the client, which is not offered to anybody.
#[tokio::test]
async fn no_client_certificate_is_offered() {
    let served = Served::start().await;
    served.bench.set(|site| site.client_register = Some([].into()));
    let Submitted::Refused(error) = submit(&*served.open(&served.root)).await else {
        panic!("the register has nobody in it");
    };
    assert_eq!(error.reason, "CredentialsRefused");
}

fn told(submitted: Submitted) -> Error {
    match submitted {
        Submitted::Refused(error) => error,
        Submitted::Accepted(_) | Submitted::Unknown(_) => panic!("{submitted:?}"),
    }
}

#[tokio::test]
async fn servers_that_are_not_trusted_see_no_credentials_and_the_advice_fits() {
    let served = Served::start().await;
    let stranger = Identity::good().root;
    let error = told(submit(&*served.open(&stranger)).await);
    assert_eq!(
        (error.reason.word(), error.disposition),
        ("ServerNotTrusted", Disposition::BlameIssuer)
    );
    assert!(error.message.contains("spec.tls.caBundle of the issuer"), "{error}");
    let check = served.open(&stranger).check().await.unwrap_err();
    assert_eq!(check.reason, "ServerNotTrusted");
    assert_eq!(served.bench.site.requests().operations, [].into());

    // More trust would mend none of these.
    let expired = Identity::named(vec!["localhost".to_owned()], 2001);
    let elsewhere = Identity::named(vec!["other.example".to_owned()], 2040);
    for identity in [expired, elsewhere] {
        let peer = Peer::start(&identity, &[Act::Close]).await;
        let ca = open(
            spec(&peer.url(), &peer.url()),
            Some(basic(USER, PASSWORD)),
            network(&identity.root),
        );
        let error = told(submit(&*ca).await);
        assert_eq!(error.reason, "ServerNotTrusted");
        assert!(!error.message.contains("caBundle"), "{error}");
    }
}

/// The two operations may live on two hosts.
#[tokio::test]
async fn the_host_that_failed_is_the_one_that_is_named() {
    let transport = network(&Identity::good().root);
    let spec = spec("https://issue.invalid/certificate/", "https://roots.invalid/trustroots/");
    let ca = open(spec, Some(basic(USER, PASSWORD)), transport);
    let check = ca.check().await.unwrap_err();
    assert_eq!(check.reason, "Unreachable");
    assert!(check.message.starts_with("roots.invalid:443 could not be reached"), "{check}");
    let submitted = told(submit(&*ca).await);
    assert!(submitted.message.starts_with("issue.invalid:443 could not be reached"), "{submitted}");
}

#[tokio::test]
async fn what_must_not_happen_twice_gets_a_connection_of_its_own() {
    let identity = Identity::good();
    let peer = Peer::start(&identity, &[Act::Answer(http("200 OK", "", "yes"))]).await;
    let transport = network(&identity.root);
    let send = |fresh_connection| {
        let call = Call { fresh_connection, ..call(&peer.url(), LONG) };
        transport.send(call)
    };
    for (fresh, connections) in [(false, 1), (false, 1), (true, 2), (true, 3), (false, 3)] {
        send(fresh).await.unwrap();
        assert_eq!(peer.connections(), connections, "fresh: {fresh}");
    }
}
