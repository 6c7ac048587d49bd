//! The management API: settings, faults and records of every site, as JSON under `/management/`.
//!
//! It translates between HTTP and the methods of the sites and decides nothing. No real system has
//! such an API; it stands on a path that no real system uses.

mod ssl_purchase;
mod swisssign;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::simulator::online_ca::{Issuers, Site, SiteSettings};
use crate::simulator::{Simulator, answer};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The routes of the management API.
pub(crate) fn router(simulator: Simulator) -> Router {
    Router::new()
        .route("/management/sites", get(sites))
        .route("/management/online-ca/{site}", get(read_site).put(configure_site))
        .route(
            "/management/online-ca/{site}/faults",
            get(read_faults).post(inject_fault).delete(clear_faults),
        )
        .route("/management/online-ca/{site}/issued", get(read_issued))
        .route("/management/online-ca/{site}/requests", get(read_requests))
        .route("/management/online-ca/{site}/restart", post(restart))
        .merge(ssl_purchase::router())
        .merge(swisssign::router())
        .with_state(simulator)
}

/// What a handler comes to.
type Answer = Result<Response<Body>, Failure>;

/// Why a call of the management API fails: a status and a sentence.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        json_body(self.0, &json!({ "error": self.1 }))
    }
}

fn refused(reason: impl ToString) -> Failure {
    Failure(StatusCode::BAD_REQUEST, reason.to_string())
}

fn broken(reason: impl ToString) -> Failure {
    Failure(StatusCode::INTERNAL_SERVER_ERROR, reason.to_string())
}

async fn sites(State(simulator): State<Simulator>) -> Response<Body> {
    json_body(StatusCode::OK, &json!({ "sites": simulator.sites() }))
}

/// A site as the management API shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    settings: SiteSettings,
    #[serde(flatten)]
    issuers: Issuers,
}

async fn read_site(State(simulator): State<Simulator>, Path(name): Path<String>) -> Answer {
    document(site(&simulator, &name)?).await
}

async fn configure_site(
    State(simulator): State<Simulator>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let site = site(&simulator, &name)?;
    site.configure(parse(&body)?);
    document(site).await
}

async fn read_faults(State(simulator): State<Simulator>, Path(name): Path<String>) -> Answer {
    Ok(json_body(StatusCode::OK, &json!({ "faults": site(&simulator, &name)?.faults() })))
}

async fn inject_fault(
    State(simulator): State<Simulator>,
    Path(name): Path<String>,
    body: Bytes,
) -> Answer {
    let site = site(&simulator, &name)?;
    site.inject(parse(&body)?).map_err(refused)?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

async fn clear_faults(State(simulator): State<Simulator>, Path(name): Path<String>) -> Answer {
    site(&simulator, &name)?.clear_faults();
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

async fn read_issued(State(simulator): State<Simulator>, Path(name): Path<String>) -> Answer {
    Ok(json_body(StatusCode::OK, &json!({ "issued": site(&simulator, &name)?.issued() })))
}

async fn read_requests(State(simulator): State<Simulator>, Path(name): Path<String>) -> Answer {
    Ok(json_body(StatusCode::OK, &site(&simulator, &name)?.requests()))
}

async fn restart(State(simulator): State<Simulator>, Path(name): Path<String>) -> Answer {
    site(&simulator, &name)?.restart();
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

fn site(simulator: &Simulator, name: &str) -> Result<Site, Failure> {
    simulator.online_ca(name).map_err(refused)
}

async fn document(site: Site) -> Answer {
    let settings = site.settings();
    let issuers = tokio::task::spawn_blocking(move || site.issuers())
        .await
        .map_err(broken)?
        .map_err(broken)?;
    Ok(json_body(StatusCode::OK, &Document { settings, issuers }))
}

/// What may make keys or sign, on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(broken)
}

/// Reads JSON whatever its content type says, so that plain curl lines work.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(refused)
}

fn json_body(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => answer::with_body(status, JSON, body),
        Err(_) => answer::empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
