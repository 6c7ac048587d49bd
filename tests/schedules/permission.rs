//! Whom the issuers serve, by nothing that the operator's own code says, and which process has been
//! told for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::api::{ApiServer, Kind};
use crate::world::namespace_of;

/// What a process is told by watches, and what decides whether a request is served.
const WATCHED: [&str; 4] = ["certificaterequests", "clusterissuers", "issuers", "namespaces"];
/// Between the last look at the caches and the submit there may be calls of the CA for a new session,
/// each of which ends after ten seconds.
const UNDER_WAY: Duration = Duration::from_secs(21);

/// Which requests are not served now.
#[derive(Default)]
pub struct Permissions {
    refused: BTreeMap<String, Refused>,
}

struct Refused {
    /// Version of the store since which it is so.
    since: u64,
    /// When a watch of a process has come to that version.
    told: BTreeMap<(usize, String), Instant>,
}

impl Permissions {
    /// Looks at what the issuers say now.
    pub fn look(&mut self, api: &ApiServer) {
        let refused: Vec<&str> = api
            .objects(Kind::CertificateRequest)
            .filter(|request| is_refused(api, request))
            .filter_map(|request| request["metadata"]["name"].as_str())
            .collect();
        self.refused.retain(|request, _| refused.contains(&request.as_str()));
        for request in refused {
            let none = || Refused { since: api.version(), told: BTreeMap::new() };
            self.refused.entry(request.to_owned()).or_insert_with(none);
        }
    }

    /// A watch of a process, of this path, has told all there was up to this version.
    pub fn told(&mut self, process: usize, path: &str, version: u64) {
        let what = path.rsplit('/').next().unwrap_or_default();
        for (request, refused) in &mut self.refused {
            // The watch of another namespace tells nothing of it.
            let own = format!("/namespaces/{}/", namespace_of(request));
            let is_near = !path.contains("/namespaces/") || path.contains(&own);
            if refused.since > version || !is_near {
                continue;
            }
            refused.told.entry((process, what.to_owned())).or_insert_with(Instant::now);
        }
    }

    /// Whether a process, which does not stand still since then, had to know that nothing is to be
    /// submitted for a request.
    pub fn had_to_know(&self, request: &str, process: usize, awake: Option<Instant>) -> bool {
        let Some(refused) = self.refused.get(request) else { return false };
        WATCHED.iter().all(|what| {
            let told = refused.told.get(&(process, (*what).to_owned())).copied();
            told.is_some_and(|told| awake.unwrap_or(told).max(told) + UNDER_WAY < Instant::now())
        })
    }
}

/// Whether the issuer is suspended, or allows no names, or not the namespace.
fn is_refused(api: &ApiServer, request: &Value) -> bool {
    let reference = &request["spec"]["issuerRef"];
    let is_cluster = reference["kind"] == "ClusterIssuer";
    let namespace = namespace_of(request["metadata"]["name"].as_str().unwrap_or_default());
    let (kind, at) = if is_cluster { (Kind::ClusterIssuer, "") } else { (Kind::Issuer, namespace) };
    let name = reference["name"].as_str().unwrap_or_default();
    let Some(issuer) = api.object(kind, at, name) else { return false };
    let (spec, allow) = (&issuer["spec"], &issuer["spec"]["allow"]);
    let labels = api.object(Kind::Namespace, "", namespace).map(|it| &it["metadata"]["labels"]);
    let selected = allow["namespaces"]["matchLabels"].as_object();
    let is_selected = selected
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.is_some_and(|labels| labels[key] == *value));
    spec["suspend"] == true
        || allow["dnsNames"].as_array().is_some_and(Vec::is_empty)
        || is_cluster && !is_selected
}
