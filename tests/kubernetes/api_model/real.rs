//! The real API server's side.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use kube::client::Body;
use serde_json::Value;

use super::api::{Answer, Request};
use crate::world::PATIENCE;

/// Sends a request as its user, with every right or with those that the user was given.
pub async fn call(client: &kube::Client, request: &Request, has_every_right: bool) -> Answer {
    let request = http_request(request, has_every_right);
    let answer = client.send(request.map(Body::from)).await.expect("the API server answers");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect_bytes().await.expect("a whole answer");
    let body = serde_json::from_slice(&body).unwrap_or_else(|error| {
        panic!("{status} {error}: {}", String::from_utf8_lossy(&body));
    });
    Answer { status, body }
}

/// Opens a watch, and keeps what it tells.
pub async fn follow(client: &kube::Client, request: &Request) -> Arc<Mutex<Vec<Value>>> {
    let until = Instant::now() + PATIENCE;
    let stream = loop {
        match client.request_stream(http_request(request, true)).await {
            Ok(stream) => break stream,
            // It still fills its caches of what was defined a moment ago.
            Err(kube::Error::Api(status)) if status.code == 429 && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("the watch does not open: {error}"),
        }
    };
    let told: Arc<Mutex<Vec<Value>>> = Arc::default();
    let keep = Arc::clone(&told);
    tokio::spawn(async move {
        let mut lines = std::pin::pin!(stream.lines());
        while let Ok(Some(line)) = lines.try_next().await {
            let event = serde_json::from_str(&line).expect("an event is JSON");
            keep.lock().expect("nobody failed with it").push(event);
        }
    });
    told
}

fn http_request(request: &Request, has_every_right: bool) -> http::Request<Vec<u8>> {
    let question = if request.query.is_empty() { "" } else { "?" };
    let mut builder = http::Request::builder()
        .method(request.method.clone())
        .uri(format!("{}{question}{}", request.path, request.query))
        .header("content-type", &request.content_type)
        .header("accept", &request.accept)
        .header("impersonate-user", request.user.name());
    if has_every_right {
        builder = builder.header("impersonate-group", "system:masters");
    }
    builder.body(request.body.clone()).expect("a request")
}
