//! A TLS server that follows a script, for what no well-behaved server does.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chancery::pki::Certificate;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What the server does about the connection or request whose turn it is.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// These bytes, as they are; the connection stays open.
    Answer(String),
    /// These bytes, then an orderly end.
    AnswerAndClose(String),
    /// These bytes again and again, as fast as they are taken.
    Flood(String, &'static str),
    /// These bytes, then one more every twenty milliseconds.
    Trickle(String),
    /// Nothing, and the connection stays open.
    Silence,
    /// An end without an answer.
    Close,
    /// Bytes on the connection that are no TLS.
    BreakTls,
}

/// A complete answer in plain HTTP/1.1.
pub(crate) fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

/// Who the server says it is.
pub(crate) struct Identity {
    pub(crate) root: Certificate,
    chain: Vec<CertificateDer<'static>>,
    key_der: Vec<u8>,
}

impl Identity {
    pub(crate) fn good() -> Self {
        Self::named(vec!["localhost".to_owned()], 2040)
    }

    /// A certificate for these names that ends with this year, under a root of its own.
    pub(crate) fn named(names: Vec<String>, until: i32) -> Self {
        Self::of(CertificateParams::new(names).unwrap(), until)
    }

    /// The same for a certificate with these parameters.
    pub(crate) fn of(leaf: CertificateParams, until: i32) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Names of their own: a root of the same name would be taken for the issuer.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("Peer Root {number}"));
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2045, 1, 1);
        let root_key = KeyPair::generate().unwrap();
        let root = params.self_signed(&root_key).unwrap();
        let issuer = rcgen::Issuer::new(params, root_key);
        let mut params = leaf;
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        Self {
            root: Certificate::from_der(root.der()).unwrap(),
            chain: vec![leaf.der().clone()],
            key_der: key.serialize_der(),
        }
    }

    /// The configuration of a server.
    pub(crate) fn config(&self, version: &'static SupportedProtocolVersion) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth();
        let key = PrivatePkcs8KeyDer::from(self.key_der.clone());
        builder.with_single_cert(self.chain.clone(), key.into()).unwrap()
    }
}

/// A server on loopback that does one act for each request in turn, and the last one from then on.
/// It ends when it is dropped.
pub(crate) struct Peer {
    pub(crate) port: u16,
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: Mutex<usize>,
    requests: Mutex<Vec<String>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// TLS 1.3 as `identity`.
    pub(crate) async fn start(identity: &Identity, acts: &[Act]) -> Self {
        Self::with(identity.config(&rustls::version::TLS13), acts).await
    }

    pub(crate) async fn with(config: ServerConfig, acts: &[Act]) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let acts = acts.to_vec();
        Self::raw(move |stream, seen| {
            let (acceptor, acts) = (acceptor.clone(), acts.clone());
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    converse(stream, &acts, &seen).await;
                }
            }
        })
        .await
    }

    /// Bytes in answer to whatever comes first, without TLS; the connection stays open.
    pub(crate) async fn without_tls(answer: &'static [u8]) -> Self {
        Self::raw(move |mut stream, _| async move {
            let mut first = [0; 4096];
            if stream.read(&mut first).await.is_ok() && stream.write_all(answer).await.is_ok() {
                std::future::pending::<()>().await;
            }
        })
        .await
    }

    /// Connections are accepted and closed at once.
    pub(crate) async fn hanging_up() -> Self {
        Self::raw(|stream, _| async move { drop(stream) }).await
    }

    /// Connections are accepted and left alone.
    pub(crate) async fn deaf() -> Self {
        Self::raw(|stream, _| async move {
            std::future::pending::<()>().await;
            drop(stream);
        })
        .await
    }

    async fn raw<F>(serve: impl Fn(TcpStream, Arc<Seen>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *noted.connections.lock().unwrap() += 1;
                connections.spawn(serve(stream, Arc::clone(&noted)));
            }
        });
        Self { port, seen, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/certificate/", self.port)
    }

    /// Connections that were accepted.
    pub(crate) fn connections(&self) -> usize {
        *self.seen.connections.lock().unwrap()
    }

    /// Requests that came in whole, head and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }
}

async fn converse(mut stream: TlsStream<TcpStream>, acts: &[Act], seen: &Seen) {
    while let Some(request) = request(&mut stream).await {
        let turn = {
            let mut requests = seen.requests.lock().unwrap();
            requests.push(request);
            requests.len() - 1
        };
        if perform(&mut stream, &acts[turn.min(acts.len() - 1)]).await.is_err() {
            return;
        }
    }
}

/// An error ends the connection.
async fn perform(stream: &mut TlsStream<TcpStream>, act: &Act) -> std::io::Result<()> {
    let over = || std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
    match act {
        Act::Answer(bytes) => {
            stream.write_all(bytes.as_bytes()).await?;
            stream.flush().await
        }
        Act::AnswerAndClose(bytes) => {
            stream.write_all(bytes.as_bytes()).await?;
            stream.shutdown().await?;
            Err(over())
        }
        Act::Flood(head, piece) => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(piece.as_bytes()).await?;
            }
        }
        Act::Trickle(head) => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.write_all(b"A").await?;
            }
        }
        Act::Silence => {
            std::future::pending::<()>().await;
            Ok(())
        }
        Act::Close => Err(over()),
        Act::BreakTls => {
            let tcp = stream.get_mut().0;
            tcp.write_all(b"this is not TLS at all, and was never meant to be").await?;
            // Long enough for the client to see the bytes before the end.
            tokio::time::sleep(Duration::from_millis(200)).await;
            Err(over())
        }
    }
}

/// One request, head and body, or `None` at the end of the connection.
async fn request(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        text.extend_from_slice(&chunk[..read]);
        let so_far = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = so_far.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(so_far);
        }
    }
}
