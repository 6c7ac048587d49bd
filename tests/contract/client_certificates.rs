//! Servers that demand a certificate of their clients, in TLS 1.2 and 1.3: what they see, and what a
//! refusal proves.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use bytes::Bytes;
use chancery::outside::Disposition;
use chancery::outside::credentials::{ClientCertificate, Kind};
use chancery::outside::reach::Reach;
use chancery::outside::transport::{
    Call, Connector as _, Failure, Network, Roots, Route, Transport,
};
use chancery::pki::{Certificate, parse_pem};
use http::Request;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A root with an intermediate that issues.
struct Authority {
    root: rcgen::Certificate,
    intermediate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, in PEM, without what is above it.
struct Issued {
    certificate: String,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let ca = |name: String| {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            (params, KeyPair::generate().unwrap())
        };
        let (params, key) = ca(format!("Root {number}"));
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let (params, key) = ca(format!("Intermediate {number}"));
        let intermediate = params.signed_by(&key, &issuer).unwrap();
        Self { root, intermediate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> Issued {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Issued { certificate: params.signed_by(&key, &self.issuer).unwrap().pem(), key }
    }

    /// As an operator would read it from a Secret, the intermediate first.
    fn identity(&self, name: &str) -> ClientCertificate {
        let issued = self.issue(name);
        identity(&(self.intermediate.pem() + &issued.certificate), &issued.key)
    }

    fn trusted(&self) -> Certificate {
        parse_pem(self.root.pem().as_bytes()).unwrap().remove(0)
    }
}

fn identity(chain: &str, key: &KeyPair) -> ClientCertificate {
    let key = key.serialize_pem();
    let entry = |name: &str| match name {
        "tls.crt" => Some(chain.as_bytes()),
        "tls.key" => Some(key.as_bytes()),
        _ => None,
    };
    let credentials = Kind::ClientCertificate.read("shop/client", entry).unwrap();
    credentials.client_certificate().unwrap().clone()
}

/// A request as the server saw it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Seen {
    connection: usize,
    /// The certificate of the client.
    client: Certificate,
}

/// A server that demands a certificate under the root of `authority`, and answers everything.
///
/// What a client sends takes a while to arrive, so that in TLS 1.3 the request is under way before the
/// server has looked at the certificate.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(authority: &Authority, version: &'static SupportedProtocolVersion) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config(authority, version)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tasks.spawn(serve(slow(stream), acceptor.clone(), connection, Arc::clone(&noted)));
            }
        });
        Self { url, seen, task }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn config(authority: &Authority, version: &'static SupportedProtocolVersion) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.root.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let server = authority.issue("server");
    let chain: Vec<CertificateDer<'static>> = [&server.certificate, &authority.intermediate.pem()]
        .into_iter()
        .map(|pem| parse_pem(pem.as_bytes()).unwrap()[0].der().to_vec().into())
        .collect();
    let key = PrivatePkcs8KeyDer::from(server.key.serialize_der());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key.into())
        .unwrap()
}

/// The same bytes, those of the client late; they are read to their end, so that no reset overtakes
/// an alert.
fn slow(stream: TcpStream) -> tokio::io::DuplexStream {
    let (near, far) = duplex(64 * 1024);
    let (mut from_client, mut to_client) = stream.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(far);
    tokio::spawn(async move {
        let mut chunk = [0; 16 * 1024];
        while let Ok(length @ 1..) = from_client.read(&mut chunk).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = to_server.write_all(&chunk[..length]).await;
        }
        let _ = to_server.shutdown().await;
    });
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    near
}

async fn serve(
    stream: tokio::io::DuplexStream,
    acceptor: TlsAcceptor,
    connection: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let client = &stream.get_ref().1.peer_certificates().unwrap()[0];
    let client = Certificate::from_der(client).unwrap();
    let mut lines = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(lines.read_line(&mut head).await, Ok(1..)) {
                return;
            }
        }
        seen.lock().unwrap().push(Seen { connection, client: client.clone() });
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        lines.write_all(answer).await.unwrap();
        lines.flush().await.unwrap();
    }
}

fn settings(server: &Authority, identity: Option<ClientCertificate>) -> Route {
    Route {
        roots: Roots::Bundle(vec![server.trusted()]),
        identity,
        proxy: None,
        reach: Reach::Anywhere,
    }
}

const DEADLINE: Duration = Duration::from_secs(20);

fn connect(tls: &Route) -> Arc<dyn Transport> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
    Network::for_calls_within(DEADLINE).connect(tls).unwrap()
}

async fn ask(transport: &dyn Transport, url: &str, fresh_connection: bool) -> Result<u16, Failure> {
    let request = Request::get(url).body(Bytes::new()).unwrap();
    let call = Call { request, deadline: DEADLINE, body_limit: 100_000, fresh_connection };
    transport.send(call).await.map(|response| response.status().as_u16())
}

#[tokio::test]
async fn the_right_certificate_is_shown_and_its_connections_are_kept() {
    let authority = Authority::new();
    for version in VERSIONS {
        let server = Server::start(&authority, version).await;
        let identity = authority.identity("client");
        let transport = connect(&settings(&authority, Some(identity.clone())));
        for fresh in [false, false, true] {
            assert_eq!(ask(&*transport, &server.url, fresh).await, Ok(200), "{version:?}");
        }
        let client = identity.certificate().clone();
        let seen = [0, 0, 1].map(|connection| Seen { connection, client: client.clone() });
        assert_eq!(server.seen(), seen, "{version:?}");
    }
}

#[tokio::test]
async fn after_a_rotation_the_next_call_shows_the_new_certificate_on_a_connection_of_its_own() {
    let authority = Authority::new();
    for version in VERSIONS {
        let server = Server::start(&authority, version).await;
        let before = settings(&authority, Some(authority.identity("client")));
        let after = settings(&authority, Some(authority.identity("client")));
        assert_ne!(before, after, "the same names, another certificate");
        assert_eq!(before, before.clone());
        for tls in [&before, &after] {
            let transport = connect(tls);
            for _ in 0..2 {
                assert_eq!(ask(&*transport, &server.url, false).await, Ok(200));
            }
        }
        let client = |tls: &Route| tls.identity.as_ref().unwrap().certificate().clone();
        let expected = [(0, &before), (0, &before), (1, &after), (1, &after)]
            .map(|(connection, tls)| Seen { connection, client: client(tls) });
        assert_eq!(server.seen(), expected, "{version:?}");
    }
}

/// In TLS 1.3 the request is written before the server objects: only where nothing was on the
/// connection before is the objection a proof.
#[tokio::test]
async fn a_refused_certificate_proves_that_nothing_was_done_where_it_can() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let bare = authority.issue("client");
    let without_intermediate = identity(&bare.certificate, &bare.key);
    let cases = [
        ("none", None, "the server demands a client certificate (CertificateRequired)"),
        (
            "of another root",
            Some(stranger.identity("client")),
            "the server did not accept the client certificate (UnknownCA): replace it",
        ),
        (
            "without its intermediate",
            Some(without_intermediate),
            "the server did not accept the client certificate (UnknownCA): replace it",
        ),
    ];
    for version in VERSIONS {
        let server = Server::start(&authority, version).await;
        for (name, identity, says) in &cases {
            let transport = connect(&settings(&authority, identity.clone()));
            for fresh in [true, false] {
                let mut failure = ask(&*transport, &server.url, fresh).await.unwrap_err();
                if fresh || *version == rustls::version::TLS12 {
                    let error = failure.told("ca.example", "/path");
                    assert!(matches!(failure, Failure::ClientRefused(_)), "{name}: {failure:?}");
                    assert!(error.message.contains(says), "{name}: {error}");
                    assert_eq!(error.disposition, Disposition::BlameCredentials);
                } else {
                    // On a machine that stalls, the objection may be there before the request.
                    for _ in 0..20 {
                        if failure.is_unknown() {
                            break;
                        }
                        failure = ask(&*transport, &server.url, fresh).await.unwrap_err();
                    }
                    assert!(failure.is_unknown(), "{name}: {failure:?}");
                    let alert = says.split(['(', ')']).nth(1).unwrap();
                    assert!(failure.to_string().contains(alert), "{name}: {failure}");
                }
            }
        }
        assert_eq!(server.seen(), []);
    }
}

/// What is lost in a race is lost: whichever of alert and reset comes first, a request that was not
/// answered is never called a distrust of the server, and the server saw none.
#[tokio::test]
async fn a_server_that_hangs_up_on_a_client_is_told_for_what_can_be_known() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let acceptor = TlsAcceptor::from(Arc::new(config(&authority, &rustls::version::TLS13)));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            assert!(acceptor.accept(stream).await.is_err(), "nobody has the right certificate");
        }
    });
    let transport = connect(&settings(&authority, Some(stranger.identity("client"))));
    for attempt in 0..20 {
        let failure = ask(&*transport, &url, attempt % 2 == 0).await.unwrap_err();
        assert!(!matches!(failure, Failure::Untrusted(_)), "{failure:?}");
    }
    assert!(!server.is_finished());
    server.abort();
}

/// The HTTP client says so by the text of its error alone: this notices where it says it otherwise.
/// Which of the two is faster is chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_ends_before_it_took_the_request_sent_nothing() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(Arc::new(config(&authority, &rustls::version::TLS12)));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let _ = stream.shutdown().await;
            let mut received = Vec::new();
            let _ = stream.read_to_end(&mut received).await;
            tell.send(received.len()).unwrap();
        }
    });
    let transport = connect(&settings(&authority, Some(authority.identity("client"))));
    let (mut unsent, mut attempts) = (0, 0);
    while unsent < 3 {
        let failure = ask(&*transport, &url, true).await.unwrap_err();
        let received = told.recv().await.unwrap();
        match failure {
            Failure::NotSent(why) => {
                assert!(why.contains("before it was sent anything"), "{why}");
                assert_eq!(received, 0);
                unsent += 1;
            }
            // Where the request was faster.
            Failure::Unknown(_) => {}
            other @ (Failure::Blocked(_) | Failure::ClientRefused(_) | Failure::Untrusted(_)) => {
                panic!("{other:?}")
            }
        }
        attempts += 1;
        assert!(attempts < 20_000, "it was never told from an answer that is missed");
    }
    server.abort();
}

/// Another implementation of TLS says it in its own way.
#[tokio::test]
async fn openssl_takes_the_right_certificate_and_no_other() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let issued = authority.issue("server");
    let certificate = write("server.crt", issued.certificate.clone());
    let chain = write("chain.crt", authority.intermediate.pem());
    let key = write("server.key", issued.key.serialize_pem());
    let root = write("root.crt", authority.root.pem());
    for version in ["-tls1_2", "-tls1_3"] {
        let mut server = tokio::process::Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-www", version, "-cert"])
            .arg(&certificate)
            .arg("-cert_chain")
            .arg(&chain)
            .arg("-key")
            .arg(&key)
            .args(["-Verify", "3", "-verify_return_error", "-CAfile"])
            .arg(&root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("openssl is installed");
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next_line().await.unwrap().expect("openssl listens");
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.rsplit(':').next().unwrap().trim().to_owned();
            }
        };
        let drain = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let url = format!("https://localhost:{port}/");
        let right = connect(&settings(&authority, Some(authority.identity("client"))));
        assert_eq!(ask(&*right, &url, true).await, Ok(200), "{version}");
        for identity in [None, Some(stranger.identity("client"))] {
            let is_none = identity.is_none();
            let transport = connect(&settings(&authority, identity));
            let failure = ask(&*transport, &url, true).await.unwrap_err();
            let fits = match failure {
                // It says no more than that there is no handshake.
                Failure::Untrusted(_) => is_none && version == "-tls1_2",
                Failure::ClientRefused(_) => !is_none || version == "-tls1_3",
                // It closes on what it has not read, and the alert may be lost.
                Failure::Unknown(_) | Failure::NotSent(_) => version == "-tls1_3",
                Failure::Blocked(_) => false,
            };
            assert!(fits, "{version}, none: {is_none}: {failure:?}");
        }
        drain.abort();
    }
}
