//! The small HTTP server for probes and Prometheus. Whoever reaches it may ask, so what one asker can
//! take is bounded: time for a request and its answer, connections, and scrapes.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::pulse::Pulse;
use crate::sight::Sight;

/// Whether the operator has seen the cluster.
#[derive(Clone, Default)]
pub struct Readiness {
    is_reached: Arc<AtomicBool>,
    waits: Arc<Mutex<Option<String>>>,
    sight: Sight,
}

impl Readiness {
    /// Of an operator that is to see so much.
    #[must_use]
    pub fn of(sight: Sight) -> Self {
        Self { sight, ..Self::default() }
    }

    /// What it waits for before it looks at anything, where it does.
    pub fn waits(&self, why: Option<String>) {
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// All watches have had their first answer. A namespace that was chosen and cannot be listed is not
    /// waited for: the others are served, and the page names it.
    pub fn reached(&self) {
        self.is_reached.store(true, Ordering::Release);
    }
}

/// Listens at an address. `[::]` serves IPv4 too, whatever the machine's default is; where there is no
/// IPv6 it means 0.0.0.0.
///
/// # Errors
/// When the address cannot be had.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    listen_by(address, bind)
}

fn listen_by<T>(
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> Result<T, Error>,
) -> Result<T, Error> {
    match bind(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && may_be_without_ipv6(&error) => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    }
}

/// Kernels without IPv6, and those where it is switched off, each have an error of their own for it.
/// A port that is taken or forbidden is so in both families.
fn may_be_without_ipv6(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied)
}

fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A process that is started again takes the port of the one before at once, as tokio has it.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Time for the head of a request.
    pub head: Duration,
    /// Time for a connection, which is for one request.
    pub whole: Duration,
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address.
    pub of_one: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            whole: Duration::from_secs(30),
            connections: 64,
            of_one: 16,
        }
    }
}

/// Serves for ever. Where there are too many connections, the oldest of whoever has most makes way for
/// the new one: a probe is answered however many others hold theirs open.
pub async fn serve(listener: TcpListener, routes: Router, bounds: Bounds) {
    let mut tasks = JoinSet::new();
    let mut open: Vec<(IpAddr, AbortHandle)> = Vec::new();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                pause().await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        open.retain(|(_, task)| !task.is_finished());
        let peer = peer.ip().to_canonical();
        let peers: Vec<IpAddr> = open.iter().map(|(peer, _)| *peer).collect();
        if let Some(place) = in_the_way(&peers, peer, bounds) {
            open.remove(place).1.abort();
        }
        open.push((peer, tasks.spawn(answer(stream, routes.clone(), bounds))));
    }
}

/// Which of the open connections, the oldest first, makes way for one of `peer`.
fn in_the_way(open: &[IpAddr], peer: IpAddr, bounds: Bounds) -> Option<usize> {
    let mut counts = BTreeMap::<IpAddr, usize>::new();
    open.iter().for_each(|one| *counts.entry(*one).or_default() += 1);
    let of_peer = counts.get(&peer).copied().unwrap_or_default();
    let who = if of_peer >= bounds.of_one {
        peer
    } else if open.len() >= bounds.connections {
        *counts.iter().max_by_key(|(_, count)| **count)?.0
    } else {
        return None;
    };
    open.iter().position(|one| *one == who)
}

async fn answer(stream: TcpStream, routes: Router, bounds: Bounds) {
    let answered = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // Whoever is cut off, or goes away, knows it.
    let _ = tokio::time::timeout(bounds.whole, answered).await;
}

/// Where the process has no file left for a connection, there is one when another ends.
#[expect(clippy::disallowed_methods, reason = "nothing tells when a file is free")]
async fn pause() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(metrics: Arc<Metrics>, readiness: Readiness, pulse: Pulse) -> Router {
    let scrapes = Arc::new(Scrapes { metrics, last: tokio::sync::Mutex::default() });
    Router::new()
        .route("/livez", get(move || std::future::ready(live(&pulse))))
        .route("/readyz", get(move || std::future::ready(ready(&readiness))))
        .route("/metrics", get(move || exposition(Arc::clone(&scrapes))))
}

fn live(pulse: &Pulse) -> impl IntoResponse + use<> {
    if pulse.is_there() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "all threads have stood still for a minute\n")
    }
}

fn ready(readiness: &Readiness) -> impl IntoResponse + use<> {
    let waits = readiness.waits.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(why) = waits {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    }
    let lacking = readiness.sight.tell_lacking();
    if readiness.is_reached.load(Ordering::Acquire) {
        (StatusCode::OK, format!("ok\n{lacking}"))
    } else {
        let waits = "the watches have no first answer yet: the log names those that fail\n";
        (StatusCode::SERVICE_UNAVAILABLE, format!("{waits}{lacking}"))
    }
}

/// The page for Prometheus. One is made at a time, and shown for ten times as long as it took: however
/// many ask, that is a tenth of a thread.
struct Scrapes {
    metrics: Arc<Metrics>,
    last: tokio::sync::Mutex<Option<Page>>,
}

struct Page {
    /// One for all who ask.
    text: Bytes,
    until: Instant,
}

impl Scrapes {
    async fn page(&self) -> Bytes {
        let mut last = self.last.lock().await;
        if let Some(page) = last.as_ref().filter(|page| Instant::now() < page.until) {
            return page.text.clone();
        }
        let begun = Instant::now();
        let metrics = Arc::clone(&self.metrics);
        // Beside the thread that answers probes.
        let made = tokio::task::spawn_blocking(move || metrics.encode()).await;
        let text = Bytes::from(made.unwrap_or_default());
        *last = Some(Page { text: text.clone(), until: Instant::now() + begun.elapsed() * 10 });
        text
    }
}

async fn exposition(scrapes: Arc<Scrapes>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    // In a task of its own: whoever asks and goes away must not leave a page behind half made, and
    // have the next one begun beside it.
    let page = tokio::spawn(async move { scrapes.page().await }).await;
    ([(header::CONTENT_TYPE, kind)], page.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everywhere() -> SocketAddr {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    }

    #[tokio::test]
    async fn the_default_address_serves_both_families() {
        let listener = listen(everywhere()).unwrap();
        let local = listener.local_addr().unwrap();
        let reach = |ip: std::net::IpAddr| tokio::net::TcpStream::connect((ip, local.port()));
        reach(Ipv4Addr::LOCALHOST.into()).await.unwrap();
        // Where the machine has no IPv6, it is the other family alone.
        let has_ipv6 = bind((Ipv6Addr::LOCALHOST, 0).into()).is_ok();
        assert_eq!(reach(Ipv6Addr::LOCALHOST.into()).await.is_ok(), has_ipv6);
        assert_eq!(local.is_ipv6(), has_ipv6);
    }

    #[test]
    fn ipv4_takes_the_place_of_ipv6_where_there_is_none() {
        // EAFNOSUPPORT, EADDRNOTAVAIL, EADDRINUSE, EACCES.
        let rows = [(97, true), (99, true), (98, false), (13, false)];
        for (code, falls_back) in rows {
            let without_ipv6 = |address: SocketAddr| {
                if address.is_ipv6() { Err(Error::from_raw_os_error(code)) } else { Ok(address) }
            };
            let bound = listen_by(everywhere(), without_ipv6);
            assert_eq!(bound.is_ok(), falls_back, "{code}");
            let one = (Ipv6Addr::LOCALHOST, 8080).into();
            assert!(listen_by(one, without_ipv6).is_err(), "one address is that address");
        }
    }

    /// A name, who has connections, who comes, and which makes way.
    type Row<'a> = (&'a str, &'a [[u8; 4]], [u8; 4], Option<usize>);

    #[test]
    fn the_oldest_connection_of_whoever_has_most_makes_way() {
        let bounds = Bounds { connections: 4, of_one: 3, ..Bounds::default() };
        let (a, b, c) = ([10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]);
        let cases: [Row<'_>; 5] = [
            ("there is room", &[a, a, b], c, None),
            ("nobody has more than its part", &[b, a, a, a], a, Some(1)),
            ("also where there is room", &[a, a, a], a, Some(0)),
            ("whoever has most makes way", &[b, a, b, b], c, Some(0)),
            ("and not who has few", &[a, b, b, b], c, Some(1)),
        ];
        for (name, open, peer, expected) in cases {
            let open: Vec<IpAddr> = open.iter().map(|ip| (*ip).into()).collect();
            assert_eq!(in_the_way(&open, peer.into(), bounds), expected, "{name}");
        }
    }

    async fn get_page(address: SocketAddr, path: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    async fn served(bounds: Bounds) -> SocketAddr {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Readiness::default();
        let routes = router(Arc::default(), readiness, Pulse::steady());
        tokio::spawn(serve(listener, routes, bounds));
        address
    }

    #[tokio::test]
    async fn pages_are_served_one_for_each_connection() {
        let address = served(Bounds::default()).await;
        assert!(get_page(address, "/livez").await.ends_with("\r\n\r\nok\n"));
        assert!(get_page(address, "/readyz").await.starts_with("HTTP/1.1 503 "));
        let page = get_page(address, "/metrics").await;
        assert!(page.contains("application/openmetrics-text") && page.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn slow_clients_are_cut_off_and_probes_get_through_beside_any_number_of_them() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let soon = Duration::from_millis(500);
        let address = served(Bounds { head: soon, ..Bounds::default() }).await;
        let begun = Instant::now();
        let mut slow = Vec::new();
        for _ in 0..500 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost:").await.unwrap();
            slow.push(stream);
        }
        assert!(get_page(address, "/livez").await.contains("200 OK"));
        for mut stream in slow {
            // Cut off: with an answer that says so, or without.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        assert!(begun.elapsed() < 20 * soon, "{:?}", begun.elapsed());
    }
}
