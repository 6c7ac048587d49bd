//! Whether the API server has the definitions of this program.
//!
//! It drops fields that a definition does not know, and tells nobody. Under a definition that is older
//! than this program, a part of what is written down of an order would be gone. So nothing is done
//! before all that this program reads and writes is kept. What is kept is in the OpenAPI document of
//! the API server, which every account may read.
//!
//! A definition that is newer keeps all that this program knows, and takes nothing from it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::Client;
use serde_json::Value;
use tokio::time::Instant;

use crate::api;
use crate::server::Readiness;

/// Fields by their paths, and the words that a field with a closed list of them may have.
type Fields = BTreeSet<String>;

/// Looks while nothing can be done are as far apart as it takes to publish a definition.
const SOON: Duration = Duration::from_secs(2);
/// Nobody changes definitions often.
const LATER: Duration = Duration::from_secs(30);
/// What keeps the operator from its work is told so often.
const BETWEEN_REMINDERS: Duration = Duration::from_secs(60);

/// How what is served differs from what this program has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Served {
    /// Kinds that are not served.
    missing: BTreeSet<String>,
    /// By kind, what would be dropped of what this program reads and writes.
    dropped: BTreeMap<String, Fields>,
    /// By kind, what this program does not know.
    unknown: BTreeMap<String, Fields>,
}

impl Served {
    /// What an OpenAPI document says of our kinds.
    fn by(document: &Value) -> Self {
        let mut served = Self::default();
        for (_, definition) in api::crds() {
            let kind = definition.spec.names.kind;
            let mut versions = definition.spec.versions.into_iter();
            let ours = versions.find(|version| version.name == api::VERSION);
            let ours = ours.and_then(|version| version.schema?.open_api_v3_schema);
            let ours = fields(&serde_json::to_value(ours).unwrap_or_default());
            let Some(theirs) = schema(document, &kind).map(fields) else {
                served.missing.insert(kind);
                continue;
            };
            let differ =
                [(&ours - &theirs, &mut served.dropped), (&theirs - &ours, &mut served.unknown)];
            for (fields, of_kind) in differ {
                if !fields.is_empty() {
                    of_kind.insert(kind.clone(), fields);
                }
            }
        }
        served
    }

    /// Why nothing can be done, and what is to be done about it.
    pub(super) fn trouble(&self) -> Option<String> {
        let version = format!("{}/{}", api::GROUP, api::VERSION);
        let what = if self.missing.is_empty() {
            let (kind, fields) = self.dropped.first_key_value()?;
            format!(
                "the definition of {kind} in the API server is older than this program and would drop what is written down, such as {}",
                told(fields)
            )
        } else {
            let kinds: Vec<&str> = self.missing.iter().map(String::as_str).collect();
            format!("the API server does not know {} of {version}", kinds.join(", "))
        };
        Some(format!(
            "{what}: apply those of version {} with kubectl apply -f crds/, or helm upgrade with crds.install=true",
            env!("CARGO_PKG_VERSION")
        ))
    }

    /// What there is of a later version.
    pub(super) fn news(&self) -> Option<String> {
        let (kind, fields) = self.unknown.first_key_value()?;
        Some(format!(
            "the definition of {kind} in the API server is newer than this program, which does not know {}",
            told(fields)
        ))
    }
}

/// A few of the fields, without those within others that are told anyway.
fn told(fields: &Fields) -> String {
    let is_within = |field: &str, other: &str| {
        field.strip_prefix(other).is_some_and(|rest| rest.starts_with(['.', '[', '=']))
    };
    let outer = fields.iter().filter(|field| !fields.iter().any(|other| is_within(field, other)));
    let outer: Vec<&str> = outer.map(String::as_str).collect();
    let few = outer.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    match outer.len().saturating_sub(3) {
        0 => few,
        more => format!("{few} and {more} more"),
    }
}

/// The schema of one of our kinds.
fn schema<'a>(document: &'a Value, kind: &str) -> Option<&'a Value> {
    let all = document.pointer("/components/schemas")?.as_object()?;
    all.values().find(|schema| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.into_iter().flatten().any(|one| {
            one["group"] == api::GROUP && one["version"] == api::VERSION && one["kind"] == *kind
        })
    })
}

/// What is kept of an object, beside what all objects have.
fn fields(schema: &Value) -> Fields {
    let mut all = Fields::new();
    for part in ["spec", "status"] {
        collect(&schema["properties"][part], part, &mut all);
    }
    all
}

fn collect(schema: &Value, path: &str, all: &mut Fields) {
    // What is not there, or is nothing but allowed.
    if !schema.is_object() {
        return;
    }
    all.insert(path.to_owned());
    for word in schema["enum"].as_array().into_iter().flatten() {
        let word = word.as_str().map_or_else(|| word.to_string(), str::to_owned);
        all.insert(format!("{path}={word}"));
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        collect(field, &format!("{path}.{name}"), all);
    }
    for each in ["items", "additionalProperties"] {
        collect(&schema[each], &format!("{path}[]"), all);
    }
}

/// What the API server says now.
pub(super) async fn look(client: &Client) -> kube::Result<Served> {
    let path = format!("/openapi/v3/apis/{}/{}", api::GROUP, api::VERSION);
    let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    match client.request::<Value>(request).await {
        Ok(document) => Ok(Served::by(&document)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Served::by(&Value::Null)),
        Err(error) => Err(error),
    }
}

/// Waits until the definitions are there and keep all; it tells why it waits.
#[expect(clippy::disallowed_methods, reason = "nobody tells when a definition is published")]
pub(super) async fn await_ours(client: &Client, mut served: Served, readiness: &Readiness) {
    let mut told: Option<(String, Instant)> = None;
    while let Some(why) = served.trouble() {
        readiness.waits(Some(why.clone()));
        let is_told =
            |(before, at): &(String, Instant)| *before == why && at.elapsed() < BETWEEN_REMINDERS;
        if !told.as_ref().is_some_and(is_told) {
            tracing::warn!("nothing is done, and it goes on by itself once it can: {why}");
            told = Some((why, Instant::now()));
        }
        tokio::time::sleep(SOON).await;
        // An API server that is away for a while says nothing of definitions.
        if let Ok(Ok(now)) = tokio::time::timeout(super::START_TIMEOUT, look(client)).await {
            served = now;
        }
    }
    readiness.waits(None);
    if let Some(news) = served.news() {
        tracing::warn!(
            "{news}: it goes on, and what a later version wrote there is lost where it writes; orders are none of that"
        );
    }
}

/// Waits until the definitions are replaced by older ones, and returns what is to be said of that.
///
/// What is not served at all is no reason: an API server that has just started publishes it late.
#[expect(clippy::disallowed_methods, reason = "nobody tells when a definition is replaced")]
pub(super) async fn until_older(client: Client) -> String {
    let mut seen = 0;
    loop {
        tokio::time::sleep(if seen == 0 { LATER } else { SOON }).await;
        let now = tokio::time::timeout(super::START_TIMEOUT, look(&client)).await;
        let older = now.ok().and_then(Result::ok).filter(|now| now.missing.is_empty());
        match older.and_then(|now| now.trouble()) {
            // Of several API servers, one may be behind the others for a moment.
            None => seen = 0,
            Some(_) if seen < 2 => seen += 1,
            Some(why) => return why,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What an API server with our definitions says, as `changed` makes it.
    fn served(changed: impl Fn(&str, &mut Value)) -> Served {
        let mut schemas = serde_json::Map::new();
        for (_, definition) in api::crds() {
            let kind = definition.spec.names.kind;
            let schema = definition.spec.versions[0].schema.clone().expect("a schema");
            let mut schema = serde_json::to_value(schema.open_api_v3_schema).expect("JSON");
            schema["x-kubernetes-group-version-kind"] =
                json!([{"group": api::GROUP, "version": api::VERSION, "kind": kind}]);
            changed(&kind, &mut schema);
            schemas.insert(format!("dev.chancery.v1alpha1.{kind}"), schema);
        }
        Served::by(&json!({"components": {"schemas": schemas}}))
    }

    /// Takes out a part of the schema of requests.
    fn without(parent: &'static str, name: &'static str) -> Served {
        served(|kind, schema| {
            if kind == "CertificateRequest" {
                let parent = schema.pointer_mut(parent).expect("a part of the schema");
                let gone = if let Value::Array(words) = parent {
                    let before = words.len();
                    words.retain(|word| word != name);
                    before > words.len()
                } else {
                    parent.as_object_mut().is_some_and(|all| all.remove(name).is_some())
                };
                assert!(gone, "{name} was there");
            }
        })
    }

    #[test]
    fn our_own_definitions_are_neither_older_nor_newer() {
        assert_eq!(served(|_, _| {}), Served::default());
    }

    #[test]
    fn each_field_and_each_word_that_would_be_dropped_is_missed() {
        let status = "/properties/status/properties";
        let rows = [
            (without(status, "order"), "such as status.order:"),
            (without("/properties/status/properties/order/properties", "id"), "status.order.id:"),
            (
                without("/properties/status/properties/order/properties/phase/enum", "Unknown"),
                "status.order.phase=Unknown:",
            ),
            (
                without("/properties/status/properties/conditions/items/properties", "reason"),
                "status.conditions[].reason:",
            ),
            (without("/properties/spec/properties", "secretTemplate"), "spec.secretTemplate:"),
        ];
        for (served, expected) in rows {
            let why = served.trouble().expect(expected);
            assert!(why.contains("of CertificateRequest in the API server is older"), "{why}");
            assert!(why.contains(expected), "{why}");
            assert!(why.contains("kubectl apply -f crds/"), "{why}");
            assert_eq!(served.news(), None);
        }
        let many = without("/properties/status", "properties").trouble().expect("all of it");
        assert!(many.contains(" more:"), "{many}");
    }

    #[test]
    fn kinds_that_are_not_served_are_named() {
        let nothing = Served::by(&Value::Null).trouble().expect("nothing is there");
        let all =
            "does not know CertificateRequest, ClusterIssuer, Issuer of chancery.dev/v1alpha1";
        assert!(nothing.contains(all), "{nothing}");
        let other = served(|kind, schema| {
            if kind == "Issuer" {
                schema["x-kubernetes-group-version-kind"][0]["group"] = json!("cert-manager.io");
            }
        });
        let one = other.trouble().expect("one is another group's");
        assert!(one.contains("does not know Issuer of chancery.dev/v1alpha1: "), "{one}");
    }

    #[test]
    fn what_is_newer_is_told_of_and_is_no_trouble() {
        let served = served(|kind, schema| {
            if kind == "ClusterIssuer" {
                schema["properties"]["status"]["properties"]["novel"] =
                    json!({"properties": {"part": {"type": "string"}}});
            }
        });
        assert_eq!(served.trouble(), None);
        let news = served.news().expect("a field");
        assert!(news.contains("ClusterIssuer in the API server is newer"), "{news}");
        assert!(news.ends_with("does not know status.novel"), "{news}");
    }
}
