//! Whether the API server has the definitions of this program.
//!
//! It drops fields that a definition does not know, and tells nobody. Under a definition that is older
//! than this program, a part of what is written down of an order would be gone. So nothing is done
//! before all that this program reads and writes is kept. What is kept is in the OpenAPI document of
//! the API server, which every account may read.
//!
//! # Which definition is older
//! - One that lacks something of ours, and has nothing that we do not know, is older: nothing is done.
//! - One that has something that we do not know is of a later version, whatever it lacks: it is told
//!   of, and nothing waits for it. A pod that ended under it could not start again.
//! - [`RETIRED`] is known, so that no definition of an earlier version is taken for a later one.
//!
//! # Which definition is missing
//! - A kind that is not in the document, and of which discovery (`GET /apis/…`, other code of the API
//!   server) does not say either that it is served, is missing: nothing is done, however long.
//! - A kind that discovery knows is served, and what is kept of it cannot be seen. A document comes a
//!   moment later than the kinds in it; after [`UNSEEN`] looks it is taken for broken, and the work
//!   begins. What is seen later is judged then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Request, StatusCode};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::START_TIMEOUT;
use crate::api;
use crate::server::Readiness;

/// Fields by their paths, and the words that a field with a closed list of them may have.
type Fields = BTreeSet<String>;

/// What definitions of earlier versions have and ours do not, by kind.
const RETIRED: [(&str, &str); 1] = [
    // It is called `Order` since, and is still read.
    ("CertificateRequest", "status.wait.for=Person"),
];

/// Looks while nothing can be done are as far apart as it takes to publish a definition.
const SOON: Duration = Duration::from_secs(2);
/// Nobody changes definitions often.
const LATER: Duration = Duration::from_secs(30);
/// What keeps the operator from its work is told so often.
const BETWEEN_REMINDERS: Duration = Duration::from_secs(60);
/// So many looks in a row, a minute at least, nothing waits for a document.
const UNSEEN: u32 = 30;

/// What this program reads and writes, by kind.
static OURS: LazyLock<BTreeMap<String, Fields>> = LazyLock::new(|| {
    let of_kind = |(_, definition): (_, CustomResourceDefinition)| {
        let mut versions = definition.spec.versions.into_iter();
        let ours = versions.find(|version| version.name == api::VERSION);
        let ours = ours.and_then(|version| version.schema?.open_api_v3_schema);
        (definition.spec.names.kind, fields(&serde_json::to_value(ours).unwrap_or_default()))
    };
    api::crds().into_iter().map(of_kind).collect()
});

/// How what is served differs from what this program has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Served {
    /// Kinds that are not served.
    missing: BTreeSet<String>,
    /// Kinds that are served, and what is kept of them cannot be seen.
    unseen: BTreeSet<String>,
    /// By kind, what would be dropped of what this program reads and writes.
    dropped: BTreeMap<String, Fields>,
    /// By kind, what this program does not know.
    unknown: BTreeMap<String, Fields>,
}

impl Served {
    /// What an OpenAPI document says of our kinds.
    fn by(document: &Value) -> Self {
        let mut served = Self::default();
        for (kind, ours) in OURS.iter() {
            let Some(mut theirs) = schema(document, kind).map(fields) else {
                served.missing.insert(kind.clone());
                continue;
            };
            theirs.retain(|field| !RETIRED.contains(&(kind.as_str(), field.as_str())));
            let differ =
                [(ours - &theirs, &mut served.dropped), (&theirs - ours, &mut served.unknown)];
            for (fields, of_kind) in differ {
                if !fields.is_empty() {
                    of_kind.insert(kind.clone(), fields);
                }
            }
        }
        served
    }

    /// What discovery says of the kinds that are not in the document.
    fn serves(&mut self, kinds: &BTreeSet<String>) {
        self.unseen = &self.missing & kinds;
        self.missing = &self.missing - kinds;
    }

    /// Why nothing can be done, and what is to be done about it.
    pub(super) fn trouble(&self) -> Option<String> {
        if !self.missing.is_empty() {
            return Some(format!(
                "the API server does not know {} of {}: {}",
                listed(&self.missing),
                version(),
                remedy()
            ));
        }
        self.older().or_else(|| self.blind())
    }

    /// What an older definition would drop.
    fn older(&self) -> Option<String> {
        let mut older = self.dropped.iter().filter(|(kind, _)| !self.unknown.contains_key(*kind));
        let (kind, fields) = older.next()?;
        Some(format!(
            "the definition of {kind} in the API server is older than this program and would drop what is written down, such as {}: {}",
            told(fields),
            remedy()
        ))
    }

    /// What cannot be seen, where nothing worse is seen.
    fn blind(&self) -> Option<String> {
        let is_all = self.missing.is_empty() && self.older().is_none();
        (is_all && !self.unseen.is_empty()).then(|| {
            format!(
                "the API server serves {} of {} and does not tell what it keeps of them: find out with kubectl get --raw {} what keeps its OpenAPI document from being read, such as a proxy or an aggregated API server",
                listed(&self.unseen),
                version(),
                path()
            )
        })
    }

    /// What there is of a later version.
    pub(super) fn news(&self) -> Option<String> {
        let of_kind = |(kind, unknown): (&String, &Fields)| {
            let lacks =
                self.dropped.get(kind).map(|fields| format!(", and lacks {}", told(fields)));
            format!(
                "the definition of {kind} in the API server is newer than this program, which does not know {}{}",
                told(unknown),
                lacks.unwrap_or_default()
            )
        };
        let all: Vec<String> = self.unknown.iter().map(of_kind).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

fn version() -> String {
    format!("{}/{}", api::GROUP, api::VERSION)
}

/// Where the OpenAPI document of our kinds is.
fn path() -> String {
    format!("/openapi/v3/apis/{}", version())
}

fn remedy() -> String {
    format!(
        "apply those of version {} with kubectl apply -f crds/, or helm upgrade with crds.install=true",
        env!("CARGO_PKG_VERSION")
    )
}

fn listed(kinds: &BTreeSet<String>) -> String {
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    kinds.join(", ")
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

/// Looks at what the API server has, again and again.
pub(super) struct Definitions {
    client: Client,
    /// The last document, by the tag that the API server gave it.
    last: Option<(HeaderValue, Served)>,
    /// What was told last of a later version.
    told: Option<String>,
}

impl Definitions {
    pub(super) fn of(client: Client) -> Self {
        Self { client, last: None, told: None }
    }

    /// What the API server says now.
    pub(super) async fn look(&mut self) -> kube::Result<Served> {
        // A document that does not come leaves time for the other question.
        let document = timeout(START_TIMEOUT / 2, self.document()).await.ok().flatten();
        let mut served = document.unwrap_or_else(|| Served::by(&Value::Null));
        if !served.missing.is_empty() {
            match self.client.list_api_group_resources(&version()).await {
                Ok(list) => {
                    served.serves(&list.resources.into_iter().map(|one| one.kind).collect())
                }
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(served)
    }

    /// What the document says, where it can be had.
    async fn document(&mut self) -> Option<Served> {
        let mut request = Request::get(path());
        if let Some((tag, _)) = &self.last {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let answer = self.client.send(request.body(Body::empty()).ok()?).await.ok()?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => {
                return self.last.as_ref().map(|(_, served)| served.clone());
            }
            _ => return None,
        }
        let tag = answer.headers().get(ETAG).cloned();
        let document = answer.into_body().collect_bytes().await.ok()?;
        let served = Served::by(&serde_json::from_slice(&document).ok()?);
        self.last = tag.map(|tag| (tag, served.clone()));
        Some(served)
    }

    /// The same, or nothing where the API server is away, which says nothing of definitions.
    async fn look_again(&mut self) -> Option<Served> {
        timeout(START_TIMEOUT, self.look()).await.ok()?.ok()
    }

    /// Waits until the definitions are there and keep all; it tells why it waits.
    #[expect(clippy::disallowed_methods, reason = "nobody tells when a definition is published")]
    pub(super) async fn await_ours(&mut self, mut served: Served, readiness: &Readiness) {
        let mut told: Option<(String, Instant)> = None;
        let mut unseen = 0;
        while let Some(why) = served.trouble() {
            if unseen == UNSEEN {
                tracing::warn!("{why}; it goes on all the same, as if these were ours");
                break;
            }
            readiness.waits(Some(why.clone()));
            let is_told = |(before, at): &(String, Instant)| {
                *before == why && at.elapsed() < BETWEEN_REMINDERS
            };
            if !told.as_ref().is_some_and(is_told) {
                tracing::warn!("nothing is done, and it goes on by itself once it can: {why}");
                told = Some((why, Instant::now()));
            }
            sleep(SOON).await;
            if let Some(now) = self.look_again().await {
                unseen = if now.blind().is_some() { unseen + 1 } else { 0 };
                served = now;
            }
        }
        readiness.waits(None);
        self.tell_news(&served);
    }

    /// Waits until the definitions are replaced by older ones, and returns what is to be said of that.
    ///
    /// What is not served at all is no reason: an API server that has just started publishes it late.
    #[expect(clippy::disallowed_methods, reason = "nobody tells when a definition is replaced")]
    pub(super) async fn until_older(mut self) -> String {
        let mut seen = 0;
        loop {
            sleep(if seen == 0 { LATER } else { SOON }).await;
            let Some(now) = self.look_again().await else { continue };
            self.tell_news(&now);
            match now.older() {
                // Of several API servers, one may be behind the others for a moment.
                Some(_) if seen < 2 => seen += 1,
                Some(why) => return why,
                None if now.missing.is_empty() && now.unseen.is_empty() => seen = 0,
                None => {}
            }
        }
    }

    /// Once, until there is other news.
    fn tell_news(&mut self, served: &Served) {
        let Some(news) = served.news().filter(|news| self.told.as_ref() != Some(news)) else {
            return;
        };
        tracing::warn!(
            "{news}: it goes on. What only one of the two knows is lost where this program writes; records of orders are Secrets, and none of that"
        );
        self.told = Some(news);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;
    use crate::api::WaitsFor;
    use crate::sight::Sight;

    fn served(changed: impl Fn(&str, &mut Value)) -> Served {
        Served::by(&document(changed))
    }

    /// What an API server with our definitions says, as `changed` makes it.
    fn document(changed: impl Fn(&str, &mut Value)) -> Value {
        let mut schemas = serde_json::Map::new();
        for (_, definition) in api::crds() {
            let kind = definition.spec.names.kind;
            let schema = definition.spec.versions[0].schema.clone().expect("a schema");
            let mut schema = serde_json::to_value(schema.open_api_v3_schema).expect("JSON");
            name(&mut schema, &kind);
            changed(&kind, &mut schema);
            schemas.insert(format!("dev.chancery.v1alpha1.{kind}"), schema);
        }
        json!({"components": {"schemas": schemas}})
    }

    /// Says of which kind a schema is.
    fn name(schema: &mut Value, kind: &str) {
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": api::GROUP, "version": api::VERSION, "kind": kind}]);
    }

    /// Takes out a part of the schema of requests.
    fn without(parent: &'static str, name: &'static str) -> Served {
        Served::by(&document_without(parent, name))
    }

    fn document_without(parent: &'static str, name: &'static str) -> Value {
        document(|kind, schema| {
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

    /// Adds a field to the status of a kind.
    fn add(schema: &mut Value) {
        schema["properties"]["status"]["properties"]["novel"] = json!({"type": "string"});
    }

    /// One that took out a field of requests, and has a field that is new for this kind.
    fn later(of: &'static str) -> Value {
        let mut later = document_without("/properties/status/properties", "order");
        add(&mut later["components"]["schemas"][format!("dev.chancery.v1alpha1.{of}")]);
        later
    }

    #[test]
    fn a_definition_that_lacks_something_and_has_something_new_is_a_later_one() {
        let other = Served::by(&later("CertificateRequest"));
        assert_eq!(other.trouble(), None);
        let news = other.news().expect("both are told");
        assert!(news.ends_with("does not know status.novel, and lacks status.order"), "{news}");
        // What is new in another definition says nothing of this one.
        let older = Served::by(&later("Issuer")).trouble().expect("requests are older");
        assert!(older.contains("of CertificateRequest in the API server is older"), "{older}");
    }

    /// The schemas of an earlier version, by kind.
    fn before() -> Vec<(String, Value)> {
        let all = include_str!("../../tests/lifecycle/upgrade/definitions.json");
        let all: Value = serde_json::from_str(all).expect("JSON");
        let of_kind = |definition: &Value| {
            let kind = definition["spec"]["names"]["kind"].as_str().expect("a kind").to_owned();
            (kind, definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone())
        };
        all["items"].as_array().expect("a list").iter().map(of_kind).collect()
    }

    #[test]
    fn nothing_of_the_definitions_of_an_earlier_version_is_taken_out_but_what_is_retired() {
        let before = before();
        assert_eq!(before.len(), OURS.len());
        for (kind, schema) in before {
            for field in &fields(&schema) - &OURS[&kind] {
                assert!(
                    RETIRED.contains(&(kind.as_str(), field.as_str())),
                    "{kind} had {field}: keep it, or have what was stored with it still be read and put it into RETIRED"
                );
            }
        }
        for (kind, field) in RETIRED {
            assert!(!OURS[kind].contains(field), "{field} of {kind} is not retired");
        }
    }

    #[test]
    fn what_is_retired_is_still_read() {
        let read: WaitsFor = serde_json::from_value(json!("Person")).expect("it is read");
        assert_eq!(read, WaitsFor::Order);
    }

    #[test]
    fn the_definitions_of_an_earlier_version_are_older_although_they_have_what_is_retired() {
        let mut schemas = serde_json::Map::from_iter(before());
        schemas.iter_mut().for_each(|(kind, schema)| name(schema, kind));
        let served = Served::by(&json!({"components": {"schemas": schemas}}));
        let why = served.trouble().expect("they are older");
        assert!(why.contains("of CertificateRequest in the API server is older"), "{why}");
        assert_eq!(served.news(), None);
    }

    /// An answer: its status, and its body.
    type Answer = (u16, String);

    /// An API server, and how often it was asked for its document and by which tags.
    struct Server {
        document: Mutex<Box<dyn FnMut(usize) -> Answer + Send>>,
        discovery: Answer,
        tags: Mutex<Vec<Option<String>>>,
    }

    impl Server {
        /// `document` answers each question for it, counted from 0. Each document has a tag.
        fn new(
            document: impl FnMut(usize) -> Answer + Send + 'static,
            discovery: Answer,
        ) -> Arc<Self> {
            let document = Mutex::new(Box::new(document) as _);
            Arc::new(Self { document, discovery, tags: Mutex::default() })
        }

        fn client(self: &Arc<Self>) -> Client {
            let server = Arc::clone(self);
            let service = tower::service_fn(move |request: Request<Body>| {
                let (code, text) = server.answer(&request);
                let answer = http::Response::builder().status(code).header(ETAG, "\"a tag\"");
                let answer = answer.body(Body::from(text.into_bytes())).expect("an answer");
                async { Ok::<_, Infallible>(answer) }
            });
            Client::new(service, "chancery")
        }

        fn answer(&self, request: &Request<Body>) -> Answer {
            match request.uri().path() {
                "/openapi/v3/apis/chancery.dev/v1alpha1" => {
                    let mut tags = self.tags.lock().expect("whole");
                    let tag = request.headers().get(IF_NONE_MATCH);
                    tags.push(tag.map(|tag| tag.to_str().expect("text").to_owned()));
                    (self.document.lock().expect("whole"))(tags.len() - 1)
                }
                "/apis/chancery.dev/v1alpha1" => self.discovery.clone(),
                other => panic!("{other} is not asked for"),
            }
        }

        fn looks(&self) -> usize {
            self.tags.lock().expect("whole").len()
        }
    }

    fn not_found() -> Answer {
        (404, "404 page not found".to_owned())
    }

    fn discovery(kinds: &[&str]) -> Answer {
        let resource = |kind: &&str| json!({"name": kind.to_lowercase(), "singularName": "", "namespaced": true, "kind": kind, "verbs": []});
        let all: Vec<Value> = kinds.iter().map(resource).collect();
        (200, json!({"groupVersion": "chancery.dev/v1alpha1", "resources": all}).to_string())
    }

    fn all_kinds() -> Answer {
        discovery(&["CertificateRequest", "ClusterIssuer", "Issuer"])
    }

    /// As the one before.
    fn unchanged() -> Answer {
        (304, String::new())
    }

    fn ours() -> Answer {
        (200, document(|_, _| {}).to_string())
    }

    fn older() -> Answer {
        (200, document_without("/properties/status/properties", "order").to_string())
    }

    #[tokio::test]
    async fn a_document_that_has_not_changed_is_not_read_again() {
        let server = Server::new(|look| if look == 0 { older() } else { unchanged() }, not_found());
        let mut definitions = Definitions::of(server.client());
        let first = definitions.look().await.expect("an answer");
        assert!(first.older().is_some());
        assert_eq!(definitions.look().await.expect("an answer"), first);
        assert_eq!(*server.tags.lock().expect("whole"), [None, Some("\"a tag\"".to_owned())]);
    }

    #[tokio::test]
    async fn a_kind_is_missing_where_discovery_does_not_know_it_either() {
        let broken = [not_found(), (503, "away".to_owned()), (200, "<html>".to_owned())];
        let nothing = (200, json!({"components": {}}).to_string());
        for document in [&broken[..], &[(403, "{}".to_owned()), nothing]].concat() {
            let look = async |discovery: Answer| {
                let document = document.clone();
                let server = Server::new(move |_| document.clone(), discovery);
                Definitions::of(server.client()).look().await
            };
            let missing = look(not_found()).await.expect("nothing is there").trouble();
            let missing = missing.expect("nothing is there");
            assert!(
                missing.contains("know CertificateRequest, ClusterIssuer, Issuer"),
                "{missing}"
            );
            let one = look(discovery(&["Issuer"])).await.expect("one is there").trouble();
            let one = one.expect("two are missing");
            assert!(one.contains("know CertificateRequest, ClusterIssuer of"), "{one}");
            let unseen = look(all_kinds()).await.expect("they are there").trouble();
            let unseen = unseen.expect("they are not seen");
            assert!(unseen.contains("does not tell what it keeps"), "{unseen}");
            assert!(unseen.contains("--raw /openapi/v3/apis/chancery.dev/v1alpha1 "), "{unseen}");
            assert!(look((401, "{}".to_owned())).await.is_err(), "nobody knows");
        }
    }

    /// How many looks it took until it went on, or nothing where it waits for ten minutes.
    async fn waits(server: &Arc<Server>) -> Option<usize> {
        let readiness = Readiness::of(Sight::of("shop".parse().expect("a name")));
        let mut definitions = Definitions::of(server.client());
        let served = definitions.look().await.expect("an answer");
        let wait = definitions.await_ours(served, &readiness);
        timeout(Duration::from_secs(600), wait).await.ok().map(|()| server.looks())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_served_and_cannot_be_seen_is_waited_for_a_minute_and_what_is_missing_longer() {
        let unseen = Server::new(|_| not_found(), all_kinds());
        assert_eq!(waits(&unseen).await, Some(31));
        // It comes a moment later than the kinds in it.
        let late = Server::new(|look| if look < 2 { not_found() } else { ours() }, all_kinds());
        assert_eq!(waits(&late).await, Some(3));
        let missing = Server::new(|_| not_found(), discovery(&["Issuer"]));
        assert_eq!(waits(&missing).await, None);
        let is_older =
            Server::new(|look| if look == 0 { older() } else { unchanged() }, all_kinds());
        assert_eq!(waits(&is_older).await, None);
        let other = Server::new(|_| (200, later("CertificateRequest").to_string()), all_kinds());
        assert_eq!(waits(&other).await, Some(1));
    }

    /// Why it ends within ten minutes of these answers, of which the last one stays.
    async fn ends(answers: Vec<Answer>, discovery: Answer) -> Option<String> {
        let answer =
            move |look| answers.get(look).or_else(|| answers.last()).expect("an answer").clone();
        let server = Server::new(answer, discovery);
        let ends = Definitions::of(server.client()).until_older();
        timeout(Duration::from_secs(600), ends).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_operator_ends_under_an_older_definition_and_under_nothing_else() {
        let away = || (503, "away".to_owned());
        let later = (200, later("CertificateRequest").to_string());
        for stays in [ours(), not_found(), away(), later] {
            // Twice is not often enough.
            let twice = vec![older(), older(), ours(), older(), stays];
            assert_eq!(ends(twice, all_kinds()).await, None);
        }
        let why = ends(vec![ours(), older()], not_found()).await.expect("it is older");
        assert!(why.contains("of CertificateRequest in the API server is older"), "{why}");
        for discovery in [not_found(), all_kinds(), away()] {
            let between = vec![older(), away(), older(), not_found(), older(), ours()];
            assert!(ends(between, discovery).await.is_some(), "what says nothing changes nothing");
        }
        let mut partly: Value = serde_json::from_str(&older().1).expect("JSON");
        let schemas = partly["components"]["schemas"].as_object_mut().expect("schemas");
        schemas.remove("dev.chancery.v1alpha1.Issuer").expect("it was there");
        let partly = vec![(200, partly.to_string())];
        assert!(ends(partly, not_found()).await.is_some(), "although one kind is missing");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_within_a_minute() {
        let older = older();
        let server = Server::new(move |_| older.clone(), not_found());
        let ends = Definitions::of(server.client()).until_older();
        assert!(timeout(Duration::from_secs(60), ends).await.is_ok());
    }
}
