//! Whoever reaches the port of probes and metrics, and takes its time there.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::tenant::Tenant;
use crate::world::world;

/// So many clients of each kind.
const MANY: usize = 100;
/// The operator's own bounds: time for the head of a request, and for all of a connection.
const HEAD: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(30);
/// So many connections it has at once, with what a test holds beside them.
const CONNECTIONS: usize = 64 + 16;
/// What a busy machine adds.
const SLACK: Duration = Duration::from_secs(3);

/// What a client sends, and what it does then.
#[derive(Clone, Copy, Debug)]
enum Slow {
    /// Nothing.
    Silent,
    /// Half a head, and then nothing.
    HalfAHead,
    /// One letter after the other.
    Dripping,
    /// A head that announces a body, and then nothing.
    NoBody,
    /// A whole request, whose answer it does not read.
    Deaf,
}

impl Slow {
    /// How long the operator bears with it.
    fn longest(self) -> Duration {
        match self {
            Self::Silent | Self::HalfAHead | Self::Dripping => HEAD,
            Self::NoBody | Self::Deaf => WHOLE,
        }
    }

    /// Goes on until it is cut off. How long that took.
    async fn last(self, mut stream: TcpStream) -> Duration {
        let begun = Instant::now();
        match self {
            Self::Silent | Self::Dripping => {}
            Self::HalfAHead => drop(stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await),
            Self::NoBody => {
                let head = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n";
                drop(stream.write_all(head).await);
            }
            Self::Deaf => {
                let head = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
                drop(stream.write_all(head).await);
                tokio::time::sleep(WHOLE / 2).await;
            }
        }
        if matches!(self, Self::Dripping) {
            let letters = b"GET /livez HTTP/1.1\r\nHost: ".iter().chain(std::iter::repeat(&b'x'));
            for letter in letters {
                if stream.write_all(&[*letter]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        // Cut off: with an answer that says so, or without.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        begun.elapsed()
    }
}

/// A connection from an address of its own on this machine: what one address may have is bounded apart.
async fn connect(to: SocketAddr, number: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let host = u8::try_from(2 + number % 250).expect("an address");
    socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into()).expect("an address of this machine");
    socket.connect(to).await.expect("a connection")
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_keep_no_probe_and_no_neighbour_from_being_served() {
    let tenant = Tenant::new("clients").await;
    let operator = &world().operator;
    let address: SocketAddr = operator.address().parse().expect("an address");
    let files = open_files(operator.process.pid());
    let kinds = [Slow::Silent, Slow::HalfAHead, Slow::Dripping, Slow::NoBody, Slow::Deaf];
    let mut slow = tokio::task::JoinSet::new();
    let probed = |when: &'static str| async move {
        for page in ["/livez", "/readyz", "/metrics"] {
            let begun = Instant::now();
            let (status, body) = tokio::task::spawn_blocking(move || world().operator.get(page))
                .await
                .expect("it is asked")
                .unwrap_or_default();
            let took = begun.elapsed();
            assert_eq!(status, 200, "{when}: {page} {body}");
            assert!(took < Duration::from_secs(1), "{when}: {page} after {took:?}");
        }
    };
    for number in 0..MANY * kinds.len() {
        let kind = kinds[number % kinds.len()];
        let stream = connect(address, number).await;
        slow.spawn(async move { (kind, kind.last(stream).await) });
        if number % 100 == 99 {
            probed("while they come").await;
        }
    }
    let more = open_files(operator.process.pid()).saturating_sub(files);
    assert!(more < CONNECTIONS, "{more} connections are open");
    tenant.neighbour_is_served().await;
    probed("while they are there").await;
    while let Some(ended) = slow.join_next().await {
        let (kind, took) = ended.expect("it ends");
        assert!(took < kind.longest() + SLACK, "{kind:?} was there for {took:?}");
    }
    probed("afterwards").await;
    tenant.neighbour_is_served().await;
}
