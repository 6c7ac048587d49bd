//! An HTTP proxy of the tests' own: it opens tunnels (CONNECT), or does what proxies do instead.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the proxy does about a connection.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Opens the tunnel that is asked for.
    Opens,
    /// Opens it to whoever shows this value of `Proxy-Authorization`, and answers 407 to others.
    Asks(String),
    /// Answers this status line.
    Refuses(&'static str),
    /// Ends the connection after the request.
    HangsUp,
    /// Answers with a head that has no end.
    Babbles,
    /// Reads and says nothing.
    Hangs,
}

/// The proxy, on loopback. It ends when it is dropped.
pub struct TestProxy {
    pub port: u16,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    manner: Mutex<Manner>,
    /// Where tunnels really lead; where nothing is said, where they are asked to.
    far: Option<SocketAddr>,
    heads: Mutex<Vec<String>>,
    /// What came through the tunnels first, of each.
    within: Mutex<Vec<u8>>,
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestProxy {
    pub async fn start(manner: Manner) -> Self {
        Self::leading_to(manner, None).await
    }

    /// All tunnels lead to `far`, whatever they are asked to.
    pub async fn leading_to(manner: Manner, far: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State {
            manner: Mutex::new(manner),
            far,
            heads: Mutex::default(),
            within: Mutex::default(),
        });
        let served = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let state = Arc::clone(&served);
                connections.spawn(async move { state.serve(stream).await });
            }
        });
        Self { port, state, task }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, manner: Manner) {
        *lock(&self.state.manner) = manner;
    }

    /// The heads of the requests that came so far.
    pub fn heads(&self) -> Vec<String> {
        lock(&self.state.heads).clone()
    }

    /// Where tunnels were asked to.
    pub fn asked(&self) -> Vec<String> {
        let target = |head: &String| head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.heads().iter().map(target).collect()
    }

    /// The first byte that came through each tunnel.
    pub fn within(&self) -> Vec<u8> {
        lock(&self.state.within).clone()
    }
}

impl State {
    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let head = head(&mut stream).await?;
        lock(&self.heads).push(head.clone());
        let manner = lock(&self.manner).clone();
        let shown = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("proxy-authorization").then_some(value)
        });
        match manner {
            Manner::Opens => {}
            Manner::Asks(expected) if shown == Some(expected.as_str()) => {}
            Manner::Asks(_) => {
                let answer = "HTTP/1.1 407 Proxy Authentication Required\r\n\
                    Proxy-Authenticate: Basic realm=\"proxy\"\r\nContent-Length: 0\r\n\r\n";
                return stream.write_all(answer.as_bytes()).await.ok();
            }
            Manner::Refuses(status) => {
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                return stream.write_all(answer.as_bytes()).await.ok();
            }
            Manner::HangsUp => return None,
            Manner::Babbles => loop {
                stream.write_all(b"HTTP/1.1 200 OK\r\nX-More: more\r\n").await.ok()?;
                stream.write_all(&[b'x'; 16 * 1024]).await.ok()?;
            },
            Manner::Hangs => std::future::pending().await,
        }
        let mut far = match self.far {
            Some(far) => TcpStream::connect(far).await.ok()?,
            None => TcpStream::connect(head.split(' ').nth(1)?).await.ok()?,
        };
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
        let first = stream.read_u8().await.ok()?;
        lock(&self.within).push(first);
        far.write_u8(first).await.ok()?;
        tokio::io::copy_bidirectional(&mut stream, &mut far).await.ok()?;
        Some(())
    }
}

/// A request's head; nothing is read beyond it.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
