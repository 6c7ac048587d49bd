//! The API server in memory that schedules run on, held to the real one: the same operations are
//! done to both, and both must say the same.
//!
//! Uids and versions are other texts on each side. They are compared by what they do: which are the
//! same, which is newer, and whether one moved. Who manages which field is not compared, nor the
//! words of a refusal of what is not of the right shape.
//!
//! `CHANCERY_MODEL_SEED` chooses other operations, `CHANCERY_MODEL_OPERATIONS` how many.

mod agreement;
#[path = "../schedules/api/mod.rs"]
mod api;
mod operations;
mod real;
mod trace;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::agreement::Agreement;
use self::api::{Answer, ApiServer, Kind, Request, User, Watch};
use self::operations::{Generator, JSON, METADATA, METADATA_LIST, NAMESPACES, Operation, request};
use self::trace::Trace;
use crate::support::control_plane::ControlPlane;
use crate::support::operator;
use crate::world::PATIENCE;

const OPERATIONS: usize = 3000;
/// A record in each namespace. It shows whether the policy knows yet that its namespace ends.
const PROBE: &str = "probe.order";
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

#[tokio::test]
async fn the_model_answers_as_the_real_api_server() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed: usize = number("CHANCERY_MODEL_SEED").unwrap_or(1);
    let operations = number("CHANCERY_MODEL_OPERATIONS").unwrap_or(OPERATIONS);
    let began = Instant::now();
    let mut sides = Sides::new().await;
    sides.watch_all().await;
    let ready = began.elapsed();
    let mut generator = Generator::new(seed);
    let mut trace = Trace::default();
    for index in 0..operations {
        let operation = generator.next(&sides.model);
        trace.begin(&operation);
        match sides.perform(&operation, &mut generator).await {
            Ok(outcome) => trace.end(&outcome),
            Err(why) => panic!(
                "operation {index} of seed {seed}: {why}\n\n{}\n\n\
                 again: CHANCERY_MODEL_SEED={seed} CHANCERY_MODEL_OPERATIONS={}",
                trace.of_last(),
                index + 1
            ),
        }
        if index % 500 == 250 {
            sides.watch_some(index).await;
        }
    }
    let events = sides.compare_events().await;
    sides.agreement.assert_same_order();
    sides.compare_pages().await;
    sides.compare_versions().await;
    sides.compare_rights().await;
    println!(
        "seed {seed}: {operations} operations, {} versions and {events} events of {} watches are the same on both sides\n{}\nready after {ready:.1?}, done after {:.1?}",
        sides.agreement.versions(),
        sides.watches.len(),
        trace.summary(),
        began.elapsed()
    );
}

/// The real API server, and the model of it.
struct Sides {
    client: kube::Client,
    model: ApiServer,
    now: Timestamp,
    agreement: Agreement,
    watches: Vec<WatchPair>,
    _plane: ControlPlane,
}

/// One watch on both sides.
struct WatchPair {
    kind: Kind,
    what: String,
    model: Watch,
    real: Arc<Mutex<Vec<Value>>>,
}

impl Sides {
    async fn new() -> Self {
        // Nothing but these operations must change anything.
        let plane = ControlPlane::start_without_controllers();
        operator::install(&plane);
        let mut sides = Self {
            client: plane.client().await,
            model: ApiServer::new(),
            now: "2026-01-01T00:00:00Z".parse().expect("a time"),
            agreement: Agreement::default(),
            watches: Vec::new(),
            _plane: plane,
        };
        // It was there before, and so must be compared before it is spoken of.
        let path = format!("{}/default", Kind::Namespace.collection(""));
        sides.call(&request(User::Person, Method::GET, &path, None)).await.expect("the same");
        for namespace in NAMESPACES {
            sides.make_namespace(namespace).await.expect("a new namespace");
        }
        sides
    }

    /// Returns what came of an operation, in few words.
    async fn perform(
        &mut self,
        operation: &Operation,
        generator: &mut Generator,
    ) -> Result<String, String> {
        self.now += Duration::from_secs(1);
        let request = match operation {
            Operation::Turn(namespace) => return self.turn(namespace).await,
            Operation::Call(request) => request,
        };
        let answer = self.call(request).await?;
        let is_whole = answer.body["metadata"].get("uid").is_some()
            && answer.body["kind"] != "PartialObjectMetadata";
        if is_whole {
            generator.remember(&answer.body);
        }
        if request.method == Method::DELETE && answer.body["kind"] == "Namespace" {
            let name = answer.body["metadata"]["name"].as_str().unwrap_or_default();
            self.until_policy_knows(name, true).await;
        }
        let is_refused = answer.body["kind"] == "Status";
        let reason = answer.body["reason"].as_str().filter(|_| is_refused).unwrap_or_default();
        Ok(format!("{} {reason}", answer.status).trim_end().to_owned())
    }

    /// Makes a request of both sides, which must answer alike.
    async fn call(&mut self, request: &Request) -> Result<Answer, String> {
        let (of_model, of_real) = self.agreement.bodies(&request.body);
        let [of_model, of_real] =
            [of_model, of_real].map(|body| Request { body, ..request.clone() });
        let real = real::call(&self.client, &of_real, true).await;
        let model = self.model.call(&of_model, self.now);
        self.compare(request, &real, &model).map_err(|why| {
            let (is, should) = (&model.body, &real.body);
            format!("{why}\nreal:  {} {should}\nmodel: {} {is}", real.status, model.status)
        })?;
        Ok(model)
    }

    fn compare(&mut self, request: &Request, real: &Answer, model: &Answer) -> Result<(), String> {
        if real.status != model.status {
            return Err("another status".to_owned());
        }
        if model.body.get("items").is_some() {
            return self.compare_lists(request, real, model);
        }
        // Of what is not of the right shape the model does not tell in the same words.
        let with_words = match model.status {
            400 => false,
            422 => {
                let is_custom = request.path.contains("chancery.dev/");
                !is_custom && model.body["details"].get("name").is_some()
            }
            _ => true,
        };
        self.agreement.hold(&real.body, &model.body, with_words)
    }

    /// A list must be as new as the last write. The real one may be newer: others write too.
    fn compare_lists(
        &mut self,
        request: &Request,
        real: &Answer,
        model: &Answer,
    ) -> Result<(), String> {
        let plural = request.path.split('/').next_back();
        let kind = Kind::ALL.into_iter().find(|kind| Some(kind.plural()) == plural);
        let kind = kind.ok_or("a list of what?")?;
        let is_of_all = request.path == kind.collection("");
        let [(real, real_version), (model, model_version)] = [real, model].map(|answer| {
            let mut list = answer.body.clone();
            let version = list["metadata"]["resourceVersion"].take();
            let version = version.as_str().and_then(|text| text.parse::<u64>().ok());
            if let Some(items) = list["items"].as_array_mut() {
                items.retain(|item| is_ours(kind, item));
            } else if is_of_all {
                // Others may have some.
                list["items"] = json!([]);
            }
            (list, version.unwrap_or_default())
        });
        if real_version < self.agreement.newest() || model_version != self.model.version() {
            return Err("the list is not of now".to_owned());
        }
        self.agreement.hold(&real, &model, true)
    }

    /// Makes a namespace, or begins its end, or goes on with it.
    async fn turn(&mut self, namespace: &str) -> Result<String, String> {
        match self.model.object(Kind::Namespace, "", namespace) {
            None => {
                self.make_namespace(namespace).await?;
                Ok("namespace made".to_owned())
            }
            Some(found) if found["metadata"].get("deletionTimestamp").is_none() => {
                let path = format!("{}/{namespace}", Kind::Namespace.collection(""));
                self.call(&request(User::Person, Method::DELETE, &path, None)).await?;
                self.until_policy_knows(namespace, true).await;
                Ok("namespace ends".to_owned())
            }
            Some(_) => self.finish_namespace(namespace).await,
        }
    }

    async fn make_namespace(&mut self, namespace: &str) -> Result<(), String> {
        let body = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
        });
        let path = Kind::Namespace.collection("");
        self.call(&request(User::Person, Method::POST, &path, Some(&body))).await?;
        let create = make_probe(namespace);
        // Admission looks at namespaces that are some milliseconds old.
        self.until(&trial(&create), "the namespace is there", |status| status == 201).await;
        self.call(&create).await?;
        self.until_policy_knows(namespace, false).await;
        Ok(())
    }

    /// Waits until the real policy knows whether a namespace ends.
    async fn until_policy_knows(&self, namespace: &str, ends: bool) {
        let path = format!("{}/{PROBE}", Kind::Secret.collection(namespace));
        let delete = trial(&request(User::Person, Method::DELETE, &path, None));
        // The probe goes with the rest only after the policy knew.
        let is_admitted = |status| matches!(status, 200 | 404);
        self.until(&delete, "the policy knows", |status| is_admitted(status) == ends).await;
    }

    async fn until(&self, request: &Request, wish: &str, is_so: impl Fn(u16) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = real::call(&self.client, request, true).await;
            if is_so(answer.status) {
                return;
            }
            assert!(Instant::now() < until, "never: {wish}: {}", answer.body);
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Does what the namespace controller does, in the order in which the model does it.
    async fn finish_namespace(&mut self, namespace: &str) -> Result<String, String> {
        let mut kept = Vec::new();
        for (kind, name) in self.contents(namespace) {
            let path = format!("{}/{name}", kind.collection(namespace));
            let delete = request(User::Person, Method::DELETE, &path, None);
            let answer = real::call(&self.client, &delete, true).await;
            if answer.body["kind"] != "Status" {
                kept.push((kind, name, answer.body));
            }
        }
        if kept.is_empty() {
            self.finalize(namespace).await;
        }
        self.model.finish_namespace(namespace, self.now);
        for (kind, name, real) in &kept {
            let model = self.model.object(*kind, namespace, name).ok_or("the model keeps less")?;
            self.agreement.hold(real, model, true)?;
        }
        if self.contents(namespace).len() != kept.len() {
            return Err("the model keeps more".to_owned());
        }
        let is_kept = self.model.object(Kind::Namespace, "", namespace).is_some();
        match (is_kept, kept.is_empty()) {
            (false, true) => Ok("namespace gone".to_owned()),
            (true, false) => Ok("namespace kept".to_owned()),
            (is_kept, _) => Err(format!("the namespace is kept by the model: {is_kept}")),
        }
    }

    /// What is in a namespace.
    fn contents(&self, namespace: &str) -> Vec<(Kind, String)> {
        let of = |kind: Kind| {
            let objects = self.model.objects(kind);
            let near = objects.filter(|object| object["metadata"]["namespace"] == namespace);
            let name = |object: &Value| object["metadata"]["name"].as_str().map(str::to_owned);
            near.filter_map(name).map(|name| (kind, name)).collect::<Vec<_>>()
        };
        Kind::ALL.into_iter().filter(|kind| kind.is_namespaced()).flat_map(of).collect()
    }

    /// Takes a namespace away that is empty.
    async fn finalize(&self, namespace: &str) {
        let path = format!("{}/{namespace}", Kind::Namespace.collection(""));
        let get = request(User::Person, Method::GET, &path, None);
        let mut body = real::call(&self.client, &get, true).await.body;
        body["spec"]["finalizers"] = json!([]);
        let put = request(User::Person, Method::PUT, &format!("{path}/finalize"), Some(&body));
        let answer = real::call(&self.client, &put, true).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let create = trial(&make_probe(namespace));
        self.until(&create, "the namespace is gone", |status| status == 404).await;
    }

    /// The watches of the operator, and one on everything of each kind.
    async fn watch_all(&mut self) {
        for kind in Kind::ALL {
            self.open(kind, "", "", JSON, None).await;
        }
        for label in ["managed", "credentials", "order"] {
            let selector = format!("&labelSelector=chancery.dev/{label}%3Dtrue");
            self.open(Kind::Secret, "", &selector, METADATA, None).await;
        }
    }

    /// Watches that begin in the middle: with what is there, and at a version of before.
    async fn watch_some(&mut self, index: usize) {
        let namespace = NAMESPACES[index / 500 % NAMESPACES.len()];
        self.open(Kind::Secret, namespace, "", JSON, None).await;
        self.open(Kind::Secret, "", "&labelSelector=team", METADATA, None).await;
        self.open(Kind::CertificateRequest, "", "", METADATA, None).await;
        let newest = self.model.version().saturating_sub(40);
        let is_known = |version: &u64| self.agreement.real_version(*version).is_some();
        let Some(past) = (2..newest).rev().find(is_known) else { return };
        self.open(Kind::Secret, "", "", JSON, Some(past)).await;
        self.open(Kind::Secret, "", "&labelSelector=!team", METADATA, Some(past)).await;
        self.open(Kind::CertificateRequest, namespace, "", JSON, Some(past)).await;
    }

    /// Opens a watch on both sides: at a version, or with what is there first.
    async fn open(
        &mut self,
        kind: Kind,
        namespace: &str,
        selector: &str,
        accept: &str,
        version: Option<u64>,
    ) {
        let path = kind.collection(namespace);
        let what = format!("{path}{selector} from {version:?} on");
        let at = |version: &str| {
            let bookmarks = if version == "0" { "&allowWatchBookmarks=true" } else { "" };
            let mut request = request(User::Operator, Method::GET, &path, None);
            request.query = format!("watch=true&resourceVersion={version}{bookmarks}{selector}");
            request.accept = accept.to_owned();
            request
        };
        let in_model = version.map_or_else(|| "0".to_owned(), |version| version.to_string());
        let in_real = match version {
            None => "0",
            Some(version) => self.agreement.real_version(version).expect("both know it"),
        };
        if version.is_none() {
            self.until_watches_know(&path).await;
        }
        let model = self.model.watch(&at(&in_model)).expect("it opens");
        let real = real::follow(&self.client, &at(in_real)).await;
        self.watches.push(WatchPair { kind, what, model, real });
    }

    /// Waits until a watch that begins with what is there begins with what is there now: a busy API
    /// server's cache lags behind its store.
    async fn until_watches_know(&self, path: &str) {
        let mut list = request(User::Operator, Method::GET, path, None);
        let newest = self.agreement.newest();
        list.query = format!("resourceVersion={newest}&resourceVersionMatch=NotOlderThan");
        self.until(&list, "the cache is up to date", |status| status == 200).await;
    }

    /// Waits until the real watches have told everything, and compares; returns how many events
    /// were compared.
    async fn compare_events(&mut self) -> usize {
        self.mark_the_end().await;
        let mut count = 0;
        let mut watches = std::mem::take(&mut self.watches);
        for pair in &mut watches {
            let events = self.model.events(&mut pair.model);
            let mut model: Vec<Value> =
                events.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            model.retain(|event| is_compared(pair.kind, event));
            let real = until_told(pair, model.len()).await;
            for (index, (real, model)) in real.iter().zip(&model).enumerate() {
                if let Err(why) = self.agreement.hold(real, model, true) {
                    panic!("event {index} of {}: {why}\nreal:  {real}\nmodel: {model}", pair.what);
                }
            }
            assert_eq!(real.len(), model.len(), "events of {}", pair.what);
            count += model.len();
        }
        self.watches = watches;
        count
    }

    /// Writes what every watch on all namespaces tells of last: when that has come, all has.
    async fn mark_the_end(&mut self) {
        let end = "model-end";
        self.make_namespace(end).await.expect("a new namespace");
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Namespace) {
            for labels in [json!({"team": "web"}), json!({})] {
                let mut mark = operations::plain(kind, end);
                mark["metadata"]["name"] =
                    format!("end-{}", labels.as_object().map_or(0, |labels| labels.len())).into();
                mark["metadata"]["labels"] = labels;
                for label in ["managed", "credentials", "order"] {
                    mark["metadata"]["labels"][format!("chancery.dev/{label}")] = "true".into();
                }
                let namespace = if kind.is_namespaced() { end } else { "" };
                let path = kind.collection(namespace);
                let create = request(User::Operator, Method::POST, &path, Some(&mark));
                let answer = self.call(&create).await.expect("the same");
                assert_eq!(answer.status, 201, "{}", answer.body);
            }
        }
    }
}

fn make_probe(namespace: &str) -> Request {
    let probe = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": PROBE, "labels": {"chancery.dev/order": "true"}},
    });
    request(User::Operator, Method::POST, &Kind::Secret.collection(namespace), Some(&probe))
}

/// The request as one that changes nothing.
fn trial(request: &Request) -> Request {
    Request { query: "dryRun=All".to_owned(), ..request.clone() }
}

impl Sides {
    /// A list in parts is of one moment, whatever is written meanwhile.
    async fn compare_pages(&mut self) {
        let place = "model-pages";
        self.make_namespace(place).await.expect("a new namespace");
        let collection = Kind::ConfigMap.collection(place);
        let named = |name: &str| {
            let mut map = operations::plain(Kind::ConfigMap, place);
            map["metadata"]["name"] = name.into();
            map
        };
        for name in ["a", "b", "b.c", "d", "e"] {
            self.made(&request(User::Person, Method::POST, &collection, Some(&named(name)))).await;
        }
        for accept in [JSON, METADATA_LIST] {
            let list = |query: String| {
                let mut list = request(User::Person, Method::GET, &collection, None);
                list.query = query;
                list.accept = accept.to_owned();
                list
            };
            let mut tokens = [String::new(), String::new()];
            for page in [1, 2] {
                let queries = tokens.map(|token| format!("limit=3&continue={token}"));
                let real = real::call(&self.client, &list(queries[0].clone()), true).await;
                let model = self.model.call(&list(queries[1].clone()), self.now);
                assert_eq!((real.status, model.status), (200, 200), "{} {}", real.body, model.body);
                let [mut real, mut model] = [real.body, model.body];
                tokens = [&mut real, &mut model].map(|list| {
                    list["metadata"]["resourceVersion"].take();
                    let token = list["metadata"]["continue"].take();
                    token.as_str().unwrap_or_default().to_owned()
                });
                self.agreement.hold(&real, &model, true).expect("the same page");
                let have_more = tokens.each_ref().map(|token| !token.is_empty());
                assert_eq!(have_more, [page == 1; 2], "page {page} of {real} {model}");
                // One that is changed, one that goes, and one that comes, each only for now.
                for (method, name) in [
                    (Method::DELETE, "d"),
                    (Method::POST, "d"),
                    (if page == 1 { Method::POST } else { Method::DELETE }, "c"),
                    (if page == 1 { Method::DELETE } else { Method::POST }, "e"),
                ] {
                    let map = named(name);
                    let is_made = method == Method::POST;
                    let path =
                        if is_made { collection.clone() } else { format!("{collection}/{name}") };
                    let body = is_made.then_some(&map);
                    self.made(&request(User::Person, method, &path, body)).await;
                }
            }
        }
    }

    async fn made(&mut self, request: &Request) {
        let answer = self.call(request).await.expect("the same");
        assert!(answer.status < 300, "{}", answer.body);
    }

    /// Versions that are too old, that nobody has yet, and that are none.
    async fn compare_versions(&mut self) {
        let mut compacted = self.model.clone();
        compacted.compact();
        for accept in [JSON, METADATA] {
            // The API server began to keep changes of this kind later than that.
            let path = Kind::CertificateRequest.collection("");
            let mut watch = request(User::Operator, Method::GET, &path, None);
            watch.query = "watch=true&resourceVersion=1&allowWatchBookmarks=true".to_owned();
            watch.accept = accept.to_owned();
            let told = real::follow(&self.client, &watch).await;
            let mut model = compacted.watch(&watch).expect("it opens");
            let events = compacted.events(&mut model);
            assert!(events.len() == 1 && model.is_over(), "{events:?}");
            let event = serde_json::from_str(&events[0]).expect("JSON");
            let until = Instant::now() + PATIENCE;
            while told.lock().expect("nobody failed with it").is_empty() {
                assert!(Instant::now() < until, "the real watch is not too old");
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
            let real = told.lock().expect("nobody failed with it")[0].clone();
            self.agreement.hold(&real, &event, false).expect("the same");
            for message in [&real, &event].map(|event| &event["object"]["message"]) {
                let message = message.as_str().unwrap_or_default();
                assert!(message.starts_with("too old resource version: 1 ("), "{message}");
            }
        }
        for (query, with_words) in [
            ("resourceVersion=1000000000", false),
            ("resourceVersion=x", true),
            ("watch=true&resourceVersion=x", true),
            ("limit=3&continue=x", false),
        ] {
            let mut list =
                request(User::Person, Method::GET, &Kind::Secret.collection("default"), None);
            list.query = query.to_owned();
            let real = real::call(&self.client, &list, true).await;
            let model = if list.is_watch() {
                self.model.watch(&list).expect_err("refused")
            } else {
                self.model.call(&list, self.now)
            };
            assert_eq!(real.status, model.status, "{query}: {} {}", real.body, model.body);
            self.agreement.hold(&real.body, &model.body, with_words).expect("the same");
        }
    }

    /// What RBAC and the router answer.
    async fn compare_rights(&mut self) {
        let of = |method: Method, kind: Kind, namespace: &str, rest: &str| {
            let path = format!("{}{rest}", kind.collection(namespace));
            let body = operations::plain(kind, namespace);
            let has_body = method == Method::POST || method == Method::PUT;
            request(User::Operator, method, &path, has_body.then_some(&body))
        };
        let end = "model-end";
        for request in [
            of(Method::DELETE, Kind::Secret, end, "/one"),
            of(Method::PUT, Kind::Secret, end, "/one"),
            of(Method::GET, Kind::Lease, "", ""),
            of(Method::DELETE, Kind::ConfigMap, end, "/one"),
            of(Method::POST, Kind::CertificateRequest, end, ""),
            of(Method::PATCH, Kind::CertificateRequest, end, "/one/status"),
            of(Method::DELETE, Kind::ClusterIssuer, "", "/one"),
            of(Method::PUT, Kind::Lease, end, "/one"),
            of(Method::GET, Kind::Event, end, "?watch=true"),
        ] {
            let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
            let (path, query) = (path.to_owned(), query.to_owned());
            let request = Request { path, query, ..request };
            let real = real::call(&self.client, &request, false).await;
            let model = ApiServer::forbidden(&request);
            assert_eq!(real.status, model.status, "{request:?}: {}", real.body);
            let held = self.agreement.hold(&real.body, &model.body, true);
            held.unwrap_or_else(|why| panic!("{request:?}: {why}"));
        }
        for path in ["/api/v1/nothing", "/api/v1/namespaces/model-end/secrets/one/status"] {
            let get = request(User::Person, Method::GET, path, None);
            self.call(&get).await.expect("the same");
        }
    }
}

/// What a real watch told, once it has told that much.
async fn until_told(pair: &WatchPair, count: usize) -> Vec<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut told = pair.real.lock().expect("nobody failed with it").clone();
        told.retain(|event| is_compared(pair.kind, event));
        if told.len() >= count {
            return told;
        }
        let last = told.last();
        assert!(Instant::now() < until, "{}: {} of {count}: {last:?}", pair.what, told.len());
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Bookmarks tell the version of the whole store, which others move too.
fn is_compared(kind: Kind, event: &Value) -> bool {
    event["type"] != "BOOKMARK" && is_ours(kind, &event["object"])
}

/// What only these operations change.
fn is_ours(kind: Kind, object: &Value) -> bool {
    if kind == Kind::ClusterIssuer {
        return true;
    }
    let field = if kind == Kind::Namespace { "name" } else { "namespace" };
    object["metadata"][field].as_str().is_some_and(|text| text.starts_with("model-"))
}

/// Operations on the model alone; returns everything that it says.
fn said_by_the_model(seed: usize, operations: usize) -> Vec<String> {
    let mut generator = Generator::new(seed);
    let mut model = ApiServer::new();
    let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let mut watches: Vec<Watch> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let mut watch = request(User::Operator, Method::GET, &kind.collection(""), None);
            watch.query = "watch=true&resourceVersion=0".to_owned();
            model.watch(&watch).expect("it opens")
        })
        .collect();
    let mut said = Vec::new();
    for _ in 0..operations {
        now += Duration::from_secs(1);
        match generator.next(&model) {
            Operation::Call(request) => {
                let answer = model.call(&request, now);
                if answer.body["metadata"].get("uid").is_some() {
                    generator.remember(&answer.body);
                }
                said.push(format!("{} {}", answer.status, answer.body));
            }
            Operation::Turn(namespace) => {
                let found = model.object(Kind::Namespace, "", &namespace);
                let ends = found.map(|found| found["metadata"].get("deletionTimestamp").is_some());
                match ends {
                    None => {
                        let body = json!({"metadata": {"name": namespace}});
                        let path = Kind::Namespace.collection("");
                        let create = request(User::Person, Method::POST, &path, Some(&body));
                        assert_eq!(model.call(&create, now).status, 201);
                    }
                    Some(false) => model.end_namespace(&namespace, now),
                    Some(true) => model.finish_namespace(&namespace, now),
                }
            }
        }
        for watch in &mut watches {
            said.extend(model.events(watch));
        }
    }
    said
}

#[test]
fn the_same_operations_have_the_same_answers() {
    let began = Instant::now();
    let said = said_by_the_model(7, 3000);
    let took = began.elapsed();
    println!("3000 operations and what {} watches tell of them took {took:.1?}", Kind::ALL.len());
    assert!(said.len() > 3000, "{}", said.len());
    assert!(said == said_by_the_model(7, 3000), "the same seed");
    assert!(said != said_by_the_model(8, 3000), "another seed");
}

#[test]
fn a_store_that_is_set_back_forgets_and_gives_no_uid_again() {
    let mut server = ApiServer::new();
    let secret = operations::plain(Kind::Secret, "default");
    let path = Kind::Secret.collection("default");
    let create = |server: &mut ApiServer| -> Answer {
        let create = request(User::Person, Method::POST, &path, Some(&secret));
        let answer = server.call(&create, Timestamp::UNIX_EPOCH);
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer
    };
    let mut all = request(User::Operator, Method::GET, &path, None);
    all.query = format!("watch=true&resourceVersion={}", server.version());
    let mut watch = server.watch(&all).expect("it opens");
    let before = server.clone();
    let first = create(&mut server);
    assert_eq!(server.events(&mut watch).len(), 1);
    server = before;
    assert!(server.object(Kind::Secret, "default", "one").is_none());
    let second = create(&mut server);
    let field = |answer: &Answer, field: &str| answer.body["metadata"][field].clone();
    assert_eq!(field(&first, "resourceVersion"), field(&second, "resourceVersion"));
    assert_ne!(field(&first, "uid"), field(&second, "uid"));
    assert!(server.events(&mut watch).is_empty(), "it has seen that version");
    let delete = request(User::Person, Method::DELETE, &format!("{path}/one"), None);
    assert_eq!(server.call(&delete, Timestamp::UNIX_EPOCH).status, 200);
    let events = server.events(&mut watch);
    assert!(events.len() == 1 && events[0].starts_with(r#"{"type":"DELETED""#), "{events:?}");
}
