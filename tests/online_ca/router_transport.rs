//! Transports without sockets: the simulator's router called in process, and two that tests put
//! around or in place of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use chancery::outside::transport::{Call, Failure, Transport};
use chancery::simulator::Disconnect;
use futures::StreamExt as _;
use http::{Request, Response};
use tower::ServiceExt as _;

/// Calls a router with the bounds that the real transport keeps: deadline on tokio's clock, cap on
/// the body, and an answer that breaks off is one nobody knows.
#[derive(Clone, Debug)]
pub(crate) struct RouterTransport(pub(crate) Router);

#[async_trait]
impl Transport for RouterTransport {
    async fn send(&self, call: Call) -> Result<Response<Bytes>, Failure> {
        let Call { request, deadline, body_limit, .. } = call;
        let exchange = exchange(self.0.clone(), request, body_limit);
        tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_| {
            Err(Failure::Unknown(format!(
                "no complete answer came within {} s",
                deadline.as_secs()
            )))
        })
    }
}

async fn exchange(
    router: Router,
    request: Request<Bytes>,
    body_limit: usize,
) -> Result<Response<Bytes>, Failure> {
    let Ok(response) = router.oneshot(request.map(Body::from)).await;
    let (parts, body) = response.into_parts();
    if parts.extensions.get::<Disconnect>().is_some() {
        return Err(Failure::Unknown("the connection was closed".to_owned()));
    }
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Failure::Unknown("the answer broke off".to_owned()))?;
        if whole.len() + chunk.len() > body_limit {
            return Err(Failure::Unknown(format!("the answer is longer than {body_limit} bytes")));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Response::from_parts(parts, whole.freeze()))
}

/// Keeps every request, then passes it on.
#[derive(Clone)]
pub(crate) struct Recorder {
    next: Arc<dyn Transport>,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

/// A request as it was handed to the transport.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) request: Request<Bytes>,
    pub(crate) deadline: Duration,
    pub(crate) body_limit: usize,
}

impl Recorder {
    pub(crate) fn new(next: impl Transport + 'static) -> Self {
        Self { next: Arc::new(next), requests: Arc::default() }
    }

    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap().clone()
    }
}

#[async_trait]
impl Transport for Recorder {
    async fn send(&self, call: Call) -> Result<Response<Bytes>, Failure> {
        let recorded = Recorded {
            request: call.request.clone(),
            deadline: call.deadline,
            body_limit: call.body_limit,
        };
        self.requests.lock().unwrap().push(recorded);
        self.next.send(call).await
    }
}

/// A gateway that has another word for success.
pub(crate) struct Restated(pub(crate) RouterTransport, pub(crate) u16);

#[async_trait]
impl Transport for Restated {
    async fn send(&self, call: Call) -> Result<Response<Bytes>, Failure> {
        let mut response = self.0.send(call).await?;
        if response.status() == 200 {
            *response.status_mut() = http::StatusCode::from_u16(self.1).unwrap();
        }
        Ok(response)
    }
}

/// Gives the same answer to everything.
#[derive(Clone, Debug)]
pub(crate) struct Canned(pub(crate) Result<Response<Bytes>, Failure>);

#[async_trait]
impl Transport for Canned {
    async fn send(&self, _: Call) -> Result<Response<Bytes>, Failure> {
        self.0.clone()
    }
}

/// The transport must itself be right before anything that passes through it means something.
mod tests {
    use chancery::simulator::online_ca::Operation;
    use chancery::simulator::{Fault, Kind};

    use super::*;
    use crate::bench::Bench;

    async fn get(bench: &Bench, body_limit: usize) -> Result<Response<Bytes>, Failure> {
        let request = Request::get(bench.url("trustroots/")).body(Bytes::new()).unwrap();
        let deadline = Duration::from_secs(30);
        let call = Call { request, deadline, body_limit, fresh_connection: false };
        RouterTransport(bench.simulator.router()).send(call).await
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_cap_and_broken_answers_are_those_of_a_network() {
        let bench = Bench::new();
        let limit = 1024 * 1024;
        let whole = get(&bench, limit).await.unwrap().body().len();
        assert!(get(&bench, whole).await.is_ok(), "a body as long as the cap passes");
        let mut told = vec![get(&bench, whole - 1).await.unwrap_err().to_string()];
        for kind in [Kind::DropBeforeCommit, Kind::TruncatedBody, Kind::Hang] {
            bench.site.inject(Fault::next(Operation::TrustRoots, kind)).unwrap();
            let failure = get(&bench, limit).await.unwrap_err();
            assert!(matches!(failure, Failure::Unknown(_)), "{failure:?}");
            told.push(failure.to_string());
        }
        let expected = [
            format!("the answer is longer than {} bytes", whole - 1),
            "the connection was closed".to_owned(),
            "the answer broke off".to_owned(),
            "no complete answer came within 30 s".to_owned(),
        ];
        assert_eq!(told, expected);
    }
}
