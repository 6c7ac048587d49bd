//! The wire between a client and the other side, which tests cut where they want.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use chancery::outside::transport::{Call, Failure, Transport};
use chancery::outside::{Disposition, Error};
use chancery::reason::Reason;
use chancery::simulator::Disconnect;
use http::{Request, Response, StatusCode, header};
use tower::ServiceExt as _;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// No connection came about.
    NotSent,
    /// A proxy let nothing through.
    Blocked,
    /// The server could not be verified.
    Untrusted,
    /// The server did not take our certificate.
    ClientRefused,
    /// The request was lost on its way.
    LostBefore,
    /// The answer was lost on its way.
    LostAfter,
    /// No answer comes.
    Hanging,
    /// 500, after all was done.
    ServerError,
    /// 200 with a page for people, after all was done.
    Html,
    /// 200 with nothing, after all was done.
    Empty,
    /// 202, after all was done.
    OtherSuccess,
    /// An answer longer than anybody asked for, after all was done.
    Oversized,
    /// 404 with a page for people.
    NotFound,
    /// To elsewhere.
    Redirect,
    /// 401.
    Unauthorized,
    /// 429 with `Retry-After: 7`.
    TooManyRequests,
    /// What the other side answers where it refuses for good.
    Refusal,
    /// 400, with all that the request held in it.
    Echo,
    /// 500, with all that the request held in it.
    EchoedByError,
}

impl Trouble {
    pub(crate) const ALL: [Self; 19] = [
        Self::NotSent,
        Self::Blocked,
        Self::Untrusted,
        Self::ClientRefused,
        Self::LostBefore,
        Self::LostAfter,
        Self::Hanging,
        Self::ServerError,
        Self::Html,
        Self::Empty,
        Self::OtherSuccess,
        Self::Oversized,
        Self::NotFound,
        Self::Redirect,
        Self::Unauthorized,
        Self::TooManyRequests,
        Self::Refusal,
        Self::Echo,
        Self::EchoedByError,
    ];
}

/// Which request meets with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// The next that makes something.
    Submit,
    /// The next of any other kind.
    Look,
}

/// A transport that keeps the bounds of the real one and does to requests what it was told.
pub(crate) struct Wire {
    far: Arc<dyn Transport>,
    is_submit: fn(&Request<Bytes>) -> bool,
    refusal: (u16, String),
    secrets: Vec<String>,
    ahead: Mutex<VecDeque<(Target, Trouble)>>,
    submits: Mutex<Vec<bool>>,
    requests: Mutex<usize>,
    hosts: Mutex<BTreeSet<String>>,
}

impl Wire {
    pub(crate) fn new(
        far: Arc<dyn Transport>,
        is_submit: fn(&Request<Bytes>) -> bool,
        refusal: (u16, String),
        secrets: Vec<String>,
    ) -> Arc<Self> {
        Arc::new(Self {
            far,
            is_submit,
            refusal,
            secrets,
            ahead: Mutex::default(),
            submits: Mutex::default(),
            requests: Mutex::default(),
            hosts: Mutex::default(),
        })
    }

    pub(crate) fn spoil(&self, target: Target, trouble: Trouble) {
        self.ahead.lock().unwrap().push_back((target, trouble));
    }

    /// Whether all that was to happen has happened.
    pub(crate) fn is_quiet(&self) -> bool {
        self.ahead.lock().unwrap().is_empty()
    }

    pub(crate) fn forget(&self) {
        self.ahead.lock().unwrap().clear();
    }

    /// Requests that make something; of each whether it had a connection of its own.
    pub(crate) fn submits(&self) -> Vec<bool> {
        self.submits.lock().unwrap().clone()
    }

    /// Whom they went to.
    pub(crate) fn hosts(&self) -> BTreeSet<String> {
        self.hosts.lock().unwrap().clone()
    }

    /// Requests of any kind.
    pub(crate) fn requests(&self) -> usize {
        *self.requests.lock().unwrap()
    }

    fn note(&self, call: &Call) -> Option<Trouble> {
        let shown = format!("{call:?} {call:#?}");
        for secret in &self.secrets {
            assert!(!shown.contains(secret), "Debug of a call shows {secret}: {shown}");
        }
        assert!(call.deadline > Duration::ZERO && call.deadline <= Duration::from_secs(120));
        assert!(call.body_limit <= 16 * 1024 * 1024, "{}", call.body_limit);
        *self.requests.lock().unwrap() += 1;
        self.hosts.lock().unwrap().insert(call.request.uri().host().unwrap().to_owned());
        let is_submit = (self.is_submit)(&call.request);
        if is_submit {
            self.submits.lock().unwrap().push(call.fresh_connection);
        }
        let target = if is_submit { Target::Submit } else { Target::Look };
        let mut ahead = self.ahead.lock().unwrap();
        let at = ahead.iter().position(|(of, _)| *of == target)?;
        ahead.remove(at).map(|(_, trouble)| trouble)
    }

    async fn meet(&self, trouble: Trouble, call: Call) -> Result<Response<Bytes>, Failure> {
        let unknown = |why: &str| Err(Failure::Unknown(why.to_owned()));
        let body_limit = call.body_limit;
        let echo = echo(&call.request);
        match trouble {
            Trouble::NotSent => Err(Failure::NotSent("refused".to_owned())),
            Trouble::Blocked => Err(Failure::Blocked(Error {
                disposition: Disposition::Retry { after: None },
                reason: Reason::ProxyRefused,
                message: "ca.example:443 was not called: the proxy opens no tunnel there"
                    .to_owned(),
            })),
            Trouble::Untrusted => Err(Failure::Untrusted("expired".to_owned())),
            Trouble::ClientRefused => Err(Failure::ClientRefused("UnknownCA".to_owned())),
            Trouble::LostBefore => unknown("the connection was closed"),
            Trouble::Hanging => std::future::pending().await,
            Trouble::LostAfter => {
                self.far.send(call).await?;
                unknown("the connection was closed")
            }
            Trouble::ServerError => {
                self.far.send(call).await?;
                Ok(answer(500, "it broke"))
            }
            Trouble::Html => {
                self.far.send(call).await?;
                Ok(answer(200, PAGE))
            }
            Trouble::Empty => {
                self.far.send(call).await?;
                Ok(answer(200, ""))
            }
            Trouble::OtherSuccess => {
                self.far.send(call).await?;
                Ok(answer(202, "we are on it"))
            }
            Trouble::Oversized => {
                self.far.send(call).await?;
                Ok(answer(200, &"x".repeat(body_limit + 1)))
            }
            Trouble::NotFound => Ok(answer(404, PAGE)),
            Trouble::Redirect => {
                let mut answer = answer(307, PAGE);
                let elsewhere = "https://elsewhere.example/".parse().unwrap();
                answer.headers_mut().insert(header::LOCATION, elsewhere);
                Ok(answer)
            }
            Trouble::Unauthorized => Ok(answer(401, "who are you?")),
            Trouble::TooManyRequests => {
                let mut answer = answer(429, "slow down");
                answer.headers_mut().insert(header::RETRY_AFTER, "7".parse().unwrap());
                Ok(answer)
            }
            Trouble::Refusal => Ok(answer(self.refusal.0, &self.refusal.1)),
            Trouble::Echo => Ok(answer(400, &echo)),
            Trouble::EchoedByError => Ok(answer(500, &echo)),
        }
    }
}

#[async_trait]
impl Transport for Wire {
    async fn send(&self, call: Call) -> Result<Response<Bytes>, Failure> {
        let trouble = self.note(&call);
        let (deadline, body_limit) = (call.deadline, call.body_limit);
        let outcome = async {
            match trouble {
                Some(trouble) => self.meet(trouble, call).await,
                None => self.far.send(call).await,
            }
        };
        let response = tokio::time::timeout(deadline, outcome).await.unwrap_or_else(|_| {
            Err(Failure::Unknown(format!(
                "no complete answer came within {} s",
                deadline.as_secs()
            )))
        })?;
        if response.body().len() > body_limit {
            return Err(Failure::Unknown("the answer is too long".to_owned()));
        }
        Ok(response)
    }
}

const PAGE: &str = "<!doctype html><html><body>Welcome</body></html>";

/// All that a request holds.
fn echo(request: &Request<Bytes>) -> String {
    let headers: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    let body = String::from_utf8_lossy(request.body()).into_owned();
    format!("{}\n{}\n\n{body}", request.uri(), headers.join("\n"))
}

pub(crate) fn answer(status: u16, body: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

pub(crate) fn json(status: u16, body: &serde_json::Value) -> Response<Bytes> {
    answer(status, &body.to_string())
}

/// The router of a simulator, called in process.
pub(crate) struct Routed(pub(crate) Router);

#[async_trait]
impl Transport for Routed {
    async fn send(&self, call: Call) -> Result<Response<Bytes>, Failure> {
        let Ok(response) = self.0.clone().oneshot(call.request.map(Body::from)).await;
        let (parts, body) = response.into_parts();
        if parts.extensions.get::<Disconnect>().is_some() {
            return Err(Failure::Unknown("the connection was closed".to_owned()));
        }
        let whole = axum::body::to_bytes(body, usize::MAX).await;
        let whole = whole.map_err(|_| Failure::Unknown("the answer broke off".to_owned()))?;
        Ok(Response::from_parts(parts, whole))
    }
}

/// The other side of a thin client: one answer to each request.
pub(crate) trait Peer: Send + Sync {
    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes>;
}

/// It, at the end of a wire.
pub(crate) struct Played<P>(pub(crate) Arc<P>);

#[async_trait]
impl<P: Peer> Transport for Played<P> {
    async fn send(&self, call: Call) -> Result<Response<Bytes>, Failure> {
        Ok(self.0.answer(&call.request))
    }
}
