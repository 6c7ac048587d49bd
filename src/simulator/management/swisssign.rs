//! The management API of the SwissSign RA API's sites: as for the online CA, and what a person at
//! the registration authority would do.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::{Answer, Failure, blocking, broken, json_body, parse, refused};
use crate::simulator::swisssign::{Action, Issuers, NotDone, Site, SiteSettings};
use crate::simulator::{Simulator, answer};

/// The routes below `/management/swisssign/<site>`.
pub(super) fn router() -> Router<Simulator> {
    Router::new()
        .route("/management/swisssign/{site}", get(read_site).put(configure_site))
        .route(
            "/management/swisssign/{site}/faults",
            get(read_faults).post(inject_fault).delete(clear_faults),
        )
        .route("/management/swisssign/{site}/orders", get(read_orders))
        .route("/management/swisssign/{site}/orders/{order}", post(act))
        .route("/management/swisssign/{site}/references", get(read_references))
        .route("/management/swisssign/{site}/requests", get(read_requests))
        .route("/management/swisssign/{site}/restart", post(restart))
}

/// A site as the management API shows it; clients and products have their ids.
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
    site.configure(parse(&body)?).map_err(refused)?;
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

async fn read_orders(State(simulator): State<Simulator>, Path(name): Path<String>) -> Answer {
    let site = site(&simulator, &name)?;
    let orders = blocking(move || site.orders()).await?.map_err(broken)?;
    Ok(json_body(StatusCode::OK, &json!({ "orders": orders })))
}

async fn act(
    State(simulator): State<Simulator>,
    Path((name, order)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let site = site(&simulator, &name)?;
    let action: Action = parse(&body)?;
    match blocking(move || site.act(&order, &action)).await? {
        Ok(order) => Ok(json_body(StatusCode::OK, &order)),
        Err(missing @ NotDone::NoSuchOrder(_)) => {
            Err(Failure(StatusCode::NOT_FOUND, missing.to_string()))
        }
        Err(wrong @ NotDone::WrongState { .. }) => {
            Err(Failure(StatusCode::CONFLICT, wrong.to_string()))
        }
        Err(failed @ NotDone::Failed(_)) => Err(broken(failed)),
    }
}

async fn read_references(State(simulator): State<Simulator>, Path(name): Path<String>) -> Answer {
    Ok(json_body(StatusCode::OK, &site(&simulator, &name)?.references()))
}

async fn read_requests(State(simulator): State<Simulator>, Path(name): Path<String>) -> Answer {
    Ok(json_body(StatusCode::OK, &site(&simulator, &name)?.requests()))
}

async fn restart(State(simulator): State<Simulator>, Path(name): Path<String>) -> Answer {
    site(&simulator, &name)?.restart();
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

fn site(simulator: &Simulator, name: &str) -> Result<Site, Failure> {
    simulator.swisssign(name).map_err(refused)
}

async fn document(site: Site) -> Answer {
    let settings = site.settings();
    let issuers = blocking(move || site.issuers()).await?.map_err(broken)?;
    Ok(json_body(StatusCode::OK, &Document { settings, issuers }))
}
