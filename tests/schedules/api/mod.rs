//! An API server in memory: a pure state machine, held to the real one by
//! `tests/kubernetes/api_model.rs`.
//!
//! It has no clock, no randomness, no locks and no threads: the same calls give the same answers. It
//! serves the kinds and verbs that the operator and those around it use, and fails loudly on what it
//! does not know.
//!
//! # Guarantees
//! - Each write is one version; the version moves with writes only, and an update that changes
//!   nothing is no write.
//! - An object's uid is never given again, also where the store was set back to a clone of an
//!   earlier time.
//! - A watch tells every change of its selection after its version, in order, once. It may be told
//!   that it is too old instead.
//!
//! # Not here
//! - `managedFields`, server-side apply, strategic merge and JSON patches, `dryRun`, field
//!   selectors, `generateName`, collections that are deleted, owners, RBAC (see
//!   [`ApiServer::forbidden`]).
//! - The rules in CEL and the patterns of `crds/`, other than that a field cannot be changed; the
//!   form of names and values of labels, annotations and finalizers.
//! - What follows from who manages which field: the real API server writes, though nothing else
//!   changes, where an entry of a map was created as null, or where a part of the object that the
//!   request cannot change is of the wrong type.
//! - Delays: a real API server's watches and the namespaces that admission looks at are some
//!   milliseconds old.

#![allow(dead_code, reason = "each user of this module takes what it needs")]
#![allow(
    clippy::panic,
    unreachable_pub,
    reason = "a model that is asked for what it does not know tells by failing"
)]

mod admission;
mod answer;
mod kind;
mod metadata;
mod read;
mod schema;
mod shape;
mod store;
mod validation;
mod watch;
mod write;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

pub use self::answer::Answer;
pub use self::kind::Kind;
use self::kind::Target;
use self::read::Query;
#[allow(unused_imports, reason = "each user of this module takes what it needs")]
pub use self::schema::fields;
use self::store::Store;
pub use self::watch::Watch;
use self::write::{Hand, Proposal};

/// Who asks. The API server's own controllers ask for nothing: what they do are functions here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum User {
    /// Whom `deploy/admission.yaml` lets write records.
    Operator,
    /// Anybody else.
    Person,
}

impl User {
    /// The name by which the API server knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "system:serviceaccount:chancery:chancery",
            Self::Person => "person",
        }
    }
}

/// A request, as far as it matters.
#[derive(Clone, Debug)]
pub struct Request {
    pub user: User,
    pub method: Method,
    pub path: String,
    /// Without the question mark.
    pub query: String,
    /// Of the body.
    pub content_type: String,
    /// What the answer may be.
    pub accept: String,
    pub body: Vec<u8>,
}

impl Request {
    /// Whether it opens a watch.
    pub fn is_watch(&self) -> bool {
        self.method == Method::GET
            && url::form_urlencoded::parse(self.query.as_bytes())
                .any(|(name, value)| name == "watch" && matches!(&*value, "1" | "true"))
    }
}

/// The API server with its store. A clone is what etcd was at that time; put back in place, it sets
/// the store back, versions included.
#[derive(Clone)]
pub struct ApiServer {
    store: Store,
}

impl ApiServer {
    /// An API server with the namespaces `default` and `chancery-system`.
    pub fn new() -> Self {
        let mut server = Self { store: Store::new() };
        for name in ["default", "chancery-system"] {
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
            });
            let request = Request {
                user: User::Person,
                method: Method::POST,
                path: Kind::Namespace.collection(""),
                query: String::new(),
                content_type: "application/json".to_owned(),
                accept: String::new(),
                body: namespace.to_string().into_bytes(),
            };
            let answer = server.call(&request, Timestamp::UNIX_EPOCH);
            assert_eq!(answer.status, 201, "{}", answer.body);
        }
        server
    }

    /// Answers a request that is no watch.
    pub fn call(&mut self, request: &Request, now: Timestamp) -> Answer {
        let answer = match self.answer(request, now) {
            Ok(answer) | Err(answer) => answer,
        };
        let is_object = answer.body["kind"] != "Status" && answer.body.get("items").is_none();
        if is_object && read::wants_metadata(&request.accept) {
            let body = store::metadata_of(&answer.body);
            return Answer { body, ..answer };
        }
        answer
    }

    fn answer(&mut self, request: &Request, now: Timestamp) -> Result<Answer, Answer> {
        assert!(!request.is_watch(), "watches are opened by `watch`");
        let at = Target::parse(&request.path).ok_or_else(Answer::no_route)?;
        let query = Query::parse(&request.query);
        let hand = Hand { user: request.user, now };
        let unknown = || panic!("the model does not know {} {}", request.method, request.path);
        match (&request.method, at.name.as_deref()) {
            (&Method::GET, None) => self.list(&at, &query, &request.accept),
            (&Method::GET, Some(name)) => self.get(&at, name),
            (&Method::POST, None) => self.create(&at, write::decode(at.kind, &request.body)?, hand),
            (&Method::PATCH | &Method::PUT, _) if at.kind == Kind::Event => unknown(),
            (&Method::PUT, Some(name)) => {
                let object = write::decode(at.kind, &request.body)?;
                self.update(&at, name, Proposal::Whole(object), hand)
            }
            (&Method::PATCH, Some(name)) => {
                let content_type = request.content_type.as_str();
                assert_eq!(content_type, "application/merge-patch+json", "of a patch");
                let patch = serde_json::from_slice(&request.body).map_err(|error| {
                    Answer::bad_request(format!("error decoding patch: {error}"))
                })?;
                self.update(&at, name, Proposal::Patch(patch), hand)
            }
            (&Method::DELETE, Some(name)) if !at.is_status => {
                self.delete(&at, name, &request.body, hand)
            }
            _ => unknown(),
        }
    }

    /// Opens a watch. One that begins too early is told so by its first event.
    pub fn watch(&self, request: &Request) -> Result<Watch, Answer> {
        let at = Target::parse(&request.path).ok_or_else(Answer::no_route)?;
        assert!(at.name.is_none(), "the model does not know watches of one object");
        let query = Query::parse(&request.query);
        Ok(Watch::open(
            &self.store,
            read::scope(&at, &query, &request.accept),
            query.version()?,
            query.is("allowWatchBookmarks"),
            query.text("timeoutSeconds").parse().ok(),
        ))
    }

    /// What a watch tells since the last call: events, each in one line.
    pub fn events(&self, watch: &mut Watch) -> Vec<String> {
        watch.take(&self.store)
    }

    /// A bookmark for a watch that wants them, at the version up to which it was told everything.
    pub fn bookmark(&self, watch: &Watch) -> Option<String> {
        watch.marked()
    }

    /// Forgets the changes so far: whoever has not seen them has to begin anew.
    pub fn compact(&mut self) {
        self.store.compact();
    }

    /// The version of the last write.
    pub fn version(&self) -> u64 {
        self.store.version()
    }

    /// An object as it is. `namespace` is ignored for kinds that have none.
    pub fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Value> {
        Some(&self.store.get(kind, namespace, name)?.value)
    }

    /// All objects of a kind, in the order of lists.
    pub fn objects(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        self.store.objects(kind).values().map(|object| &object.value)
    }

    /// The first step of a namespace's end: it takes nothing new.
    pub fn end_namespace(&mut self, name: &str, now: Timestamp) {
        if let Some(found) = self.store.get(Kind::Namespace, "", name).cloned() {
            // The namespaces that cannot end are the API server's own.
            let answer = self.end(name, &found, now);
            assert!(answer.is_ok(), "namespace {name} does not end");
        }
    }

    /// The rest of a namespace's end: what it holds goes, and then itself, unless finalizers keep
    /// something in it. Then this is to be called again.
    pub fn finish_namespace(&mut self, name: &str, now: Timestamp) {
        let mut is_empty = true;
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_namespaced()) {
            let objects: Vec<_> = self.store.objects(kind).values().cloned().collect();
            for object in objects {
                if metadata::text(&object.value, "namespace") != name {
                    continue;
                }
                let at = Target { kind, namespace: name.to_owned(), name: None, is_status: false };
                let named = metadata::text(&object.value, "name");
                is_empty &= self.take_away(&at, named, &object, now).is_none();
            }
        }
        if is_empty {
            self.store.remove(Kind::Namespace, name);
        }
    }

    /// What RBAC answers to whoever may not do that.
    pub fn forbidden(request: &Request) -> Answer {
        let Some(at) = Target::parse(&request.path) else {
            return Answer::no_route();
        };
        let verb = match request.method {
            Method::GET if request.is_watch() => "watch",
            Method::GET if at.name.is_none() => "list",
            Method::GET => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            _ => "delete",
        };
        read::forbidden(verb, request.user.name(), &at)
    }
}
