//! The small HTTP server for probes and Prometheus.

use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// Whether the operator has seen the cluster.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// All watches have had their first answer.
    pub fn reached(&self) {
        self.0.store(true, Ordering::Release);
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

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(metrics: Arc<Metrics>, readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || {
                let readiness = readiness.clone();
                async move { ready(&readiness) }
            }),
        )
        .route(
            "/metrics",
            get(move || {
                let metrics = Arc::clone(&metrics);
                async move { exposition(&metrics) }
            }),
        )
}

fn ready(readiness: &Readiness) -> impl IntoResponse + use<> {
    if readiness.0.load(Ordering::Acquire) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the watches have no first answer yet: the log names those that fail\n",
        )
    }
}

fn exposition(metrics: &Metrics) -> impl IntoResponse + use<> {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.encode())
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
}
