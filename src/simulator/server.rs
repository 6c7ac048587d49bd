//! Serves a router on a socket, with or without TLS.
//!
//! It owns connections and decides nothing about requests: a client certificate of any kind passes
//! the handshake and travels on as [`PeerCertificate`], as with Apache's `SSLVerifyClient
//! optional_no_ca`; a response that carries [`Disconnect`] closes the connection.
//!
//! *Guarantees.* Handshakes and requests run in tasks of their own, so that a slow client blocks
//! nobody. After `shutdown` no new connection is accepted, and what is still running has a few
//! seconds to end.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::Service;

use crate::simulator::authority::{
    self, CertificateAuthority, DAY, Error, Key, KeyAlgorithm, Template, shifted,
};
use crate::simulator::name::Name;
use crate::simulator::{Disconnect, PeerCertificate};

/// How long a handshake, or the head of a request, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long running requests have after the shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// The TLS identity of a server.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ServerConfig>,
    root_pem: String,
}

impl Tls {
    /// A server certificate under this root for the local names and these.
    pub(crate) fn issue(
        root: &CertificateAuthority,
        further_names: &[String],
    ) -> Result<Self, Error> {
        let names: Vec<String> = ["localhost", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .into_iter()
            .chain(further_names.iter().cloned())
            .collect();
        let key = Key::generate(KeyAlgorithm::Ecdsa)?;
        let now = Timestamp::now();
        let [alternatives, purposes] = authority::server_extensions(&names);
        let template = Template {
            serial: &authority::random_serial()?,
            issuer: &root.name,
            subject: &Name::authority("TLS", "localhost")?,
            not_before: shifted(now, -DAY),
            not_after: shifted(now, DAY * 365),
            spki_der: &key.spki_der()?,
            extensions: &[authority::not_an_authority(), alternatives, purposes],
        };
        let chain = vec![CertificateDer::from(authority::certificate(&template, &root.key)?)];
        let config = server_config(chain, key.pkcs8_der()?)
            .map_err(|error| Error::Tls(error.to_string()))?;
        Ok(Self { config: Arc::new(config), root_pem: root.pem() })
    }

    /// The certificate that clients must trust.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key_der: Vec<u8>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(Arc::new(AnyClient(provider)))
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key_der).into())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Asks for a client certificate, takes whichever comes, and none as well. That the client holds
/// its key is checked.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Serves until `shutdown` is ready; without TLS if `tls` is `None`.
///
/// # Errors
/// If the listener has no address any more. Failures of single connections are logged and go no
/// further.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let task = connection(stream, tls.clone(), router.clone(), stopped.clone());
                    connections.spawn(task);
                }
                Err(error) => {
                    tracing::warn!(%address, %error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop((listener, stop));
    if tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        tracing::info!(%address, "closing connections that are still busy");
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    tls: Option<Tls>,
    router: Router,
    stopped: watch::Receiver<()>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let Some(tls) = tls else {
        return requests(stream, None, router, stopped).await;
    };
    match tokio::time::timeout(PATIENCE, TlsAcceptor::from(tls.config).accept(stream)).await {
        Ok(Ok(stream)) => {
            let presented = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let peer = presented.map(|certificate| PeerCertificate(certificate.to_vec()));
            requests(stream, peer, router, stopped).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "the TLS handshake failed"),
        Err(_) => tracing::debug!("the TLS handshake took too long"),
    }
}

async fn requests<S>(
    stream: S,
    peer: Option<PeerCertificate>,
    router: Router,
    mut stopped: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service =
        service_fn(move |request: Request<Incoming>| answer(router.clone(), peer.clone(), request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        _ = stopped.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Passes a request to the router; an error closes the connection, which is how [`Disconnect`]
/// becomes true.
async fn answer(
    mut router: Router,
    peer: Option<PeerCertificate>,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let mut request = request.map(Body::new);
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    // A router is always ready, and its error is the type without values.
    let Ok(response) = router.call(request).await;
    match response.extensions().get::<Disconnect>() {
        Some(Disconnect) => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
        None => Ok(response),
    }
}
