//! Random operations on few objects, so that they get into each other's way.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::api::{ApiServer, Kind, Request, User};

/// SplitMix64: the same seed gives the same operations.
pub struct Random(u64);

impl Random {
    pub fn new(seed: usize) -> Self {
        Self(u64::try_from(seed).expect("64 bits"))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a small number");
        usize::try_from(self.next() % bound).expect("a small number")
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// What is done to both sides.
#[derive(Clone, Debug)]
pub enum Operation {
    Call(Request),
    /// The namespace is made where it is not, and its end begins or goes on where it is.
    Turn(String),
}

pub const NAMESPACES: [&str; 3] = ["model-a", "model-a-b", "model-b"];
const NAMES: [&str; 3] = ["one", "two", "two.order"];
/// A version that no object has.
const STALE: &str = "1";
const STRANGER: &str = "00000000-0000-4000-8000-00000000dead";
pub const JSON: &str = "application/json";
pub const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
pub const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Makes operations that fit what is there, or used to be.
pub struct Generator {
    random: Random,
    /// Objects as they once were, by path.
    past: BTreeMap<String, Vec<Value>>,
}

impl Generator {
    pub fn new(seed: usize) -> Self {
        Self { random: Random::new(seed), past: BTreeMap::new() }
    }

    /// Remembers an object as it is now.
    pub fn remember(&mut self, object: &Value) {
        let past = self.past.entry(identity(object)).or_default();
        if past.last() != Some(object) {
            past.push(object.clone());
        }
    }

    pub fn next(&mut self, model: &ApiServer) -> Operation {
        let namespace = self.random.pick(&NAMESPACES);
        // A namespace that is not there, or ends, is of little use.
        let patience = match model.object(Kind::Namespace, "", namespace) {
            None => 10,
            Some(found) if found["metadata"].get("deletionTimestamp").is_some() => 20,
            Some(_) => 150,
        };
        if self.random.once_in(patience) {
            return Operation::Turn(namespace.to_owned());
        }
        if patience == 20
            && self.random.once_in(6)
            && let Some(free) = self.free(namespace, model)
        {
            return Operation::Call(free);
        }
        let kinds = [
            (Kind::Secret, 10),
            (Kind::CertificateRequest, 8),
            (Kind::Lease, 3),
            (Kind::ConfigMap, 2),
            (Kind::Issuer, 2),
            (Kind::ClusterIssuer, 2),
            (Kind::Event, 1),
            (Kind::Namespace, 1),
        ];
        let all: Vec<_> =
            kinds.iter().flat_map(|(kind, weight)| std::iter::repeat_n(*kind, *weight)).collect();
        let kind = self.random.pick(&all);
        let namespace = if !kind.is_namespaced() {
            ""
        } else if self.random.once_in(25) {
            "model-nowhere"
        } else {
            namespace
        };
        let name = if kind == Kind::Namespace {
            self.random.pick(&["model-a", "model-b", "model-nowhere", "default"])
        } else {
            self.random.pick(&NAMES)
        };
        Operation::Call(self.call(kind, namespace, name, model))
    }

    /// Frees something that keeps a namespace from being gone.
    fn free(&mut self, namespace: &str, model: &ApiServer) -> Option<Request> {
        let keeps = |object: &&Value| {
            let metadata = &object["metadata"];
            metadata["namespace"] == namespace && metadata.get("finalizers").is_some()
        };
        let kept = |kind| model.objects(kind).filter(keeps).map(move |object| (kind, object));
        let (kind, object) = Kind::ALL.into_iter().find_map(|kind| kept(kind).next())?;
        let name = object["metadata"]["name"].as_str()?;
        let path = format!("{}/{name}", kind.collection(namespace));
        let patch = json!({"metadata": {"finalizers": null}});
        let user = self.random.pick(&[User::Operator, User::Person]);
        Some(request(user, Method::PATCH, &path, Some(&patch)))
    }

    fn call(&mut self, kind: Kind, namespace: &str, name: &str, model: &ApiServer) -> Request {
        let collection = kind.collection(namespace);
        let path = format!("{collection}/{name}");
        let now = model.object(kind, namespace, name).cloned();
        let user = self.random.pick(&[User::Operator, User::Person]);
        let request =
            |method: Method, path: &str, body: Option<&Value>| request(user, method, path, body);
        // An object that is not there is mostly created.
        let is_deleted =
            now.as_ref().is_some_and(|now| now["metadata"].get("deletionTimestamp").is_some());
        let choice = if kind == Kind::Namespace {
            // What is made here is made by turns.
            if now.is_none() {
                self.random.pick(&[1, 8, 9])
            } else {
                self.random.pick(&[0, 1, 7, 8, 9])
            }
        } else if now.is_none() && !self.random.once_in(3) {
            0
        } else if kind == Kind::Event {
            self.random.pick(&[0, 7, 8, 9])
        } else if is_deleted && self.random.once_in(2) {
            10
        } else {
            self.random.pick(&[0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 7, 7, 8, 9])
        };
        let mut request = match choice {
            0 => {
                let object = self.new_object(kind, namespace, name);
                request(Method::POST, &collection, Some(&object))
            }
            1 => {
                let patch = self.patch(kind, name, now.as_ref());
                request(Method::PATCH, &path, Some(&patch))
            }
            2 => {
                let object = self.put(kind, namespace, name, now);
                request(Method::PUT, &path, Some(&object))
            }
            3 if kind.is_custom() => {
                let mut object = self.put(kind, namespace, name, now.clone());
                // What is not looked at must have the right shape, as in `good_status`.
                let mut spec = now.map_or(Value::Null, |mut now| now["spec"].take());
                if spec.is_object() && self.random.once_in(3) {
                    spec["suspend"] = true.into();
                }
                object["spec"] = spec;
                if self.random.once_in(12) {
                    remove(&mut object, "status");
                } else {
                    object["status"] = self.status();
                }
                request(Method::PUT, &format!("{path}/status"), Some(&object))
            }
            4 if kind.is_custom() => {
                let mut patch = json!({"status": self.status()});
                if self.random.once_in(2) {
                    merge(&mut patch, &self.identity(now.as_ref()));
                }
                request(Method::PATCH, &format!("{path}/status"), Some(&patch))
            }
            3 | 4 => {
                let patch = self.patch(kind, name, now.as_ref());
                request(Method::PATCH, &path, Some(&patch))
            }
            7 => {
                let options = self.delete_options(now.as_ref());
                request(Method::DELETE, &path, options.as_ref())
            }
            8 => request(Method::GET, &path, None),
            10 => {
                let patch = json!({"metadata": {"finalizers": null}});
                request(Method::PATCH, &path, Some(&patch))
            }
            _ => {
                let place = if self.random.once_in(3) { kind.collection("") } else { collection };
                let mut list = request(Method::GET, &place, None);
                list.query = self.list_query();
                list
            }
        };
        if self.random.once_in(8) {
            let is_list = request.method == Method::GET && request.path != path;
            request.accept = if is_list { METADATA_LIST } else { METADATA }.to_owned();
        }
        request
    }

    fn list_query(&mut self) -> String {
        let selectors = [
            "",
            "labelSelector=chancery.dev/managed%3Dtrue",
            "labelSelector=chancery.dev/order%3Dtrue,team",
            "labelSelector=chancery.dev/credentials!%3Dtrue",
            "labelSelector=!team",
        ];
        // Not `resourceVersion=0`: that list may be some milliseconds old.
        let pages = ["limit=500", ""];
        let (selector, page) = (self.random.pick(&selectors), self.random.pick(&pages));
        [selector, page].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("&")
    }

    fn new_object(&mut self, kind: Kind, namespace: &str, name: &str) -> Value {
        let mut object = plain(kind, namespace);
        object["metadata"] = json!({"name": name});
        if self.random.once_in(2) && kind.is_namespaced() {
            let other = if self.random.once_in(12) { "default" } else { namespace };
            object["metadata"]["namespace"] = other.into();
        }
        let mut changes = vec![self.metadata()];
        match kind {
            Kind::Secret => changes.push(self.secret()),
            Kind::ConfigMap => changes.push(self.config_map()),
            Kind::Lease => changes.push(self.lease()),
            Kind::Event => changes.push(self.event()),
            Kind::CertificateRequest => {
                let name = json!({"spec": {"secretName": format!("{name}-tls")}});
                changes.push(name);
                changes.extend(self.random.once_in(3).then(|| self.request_spec()));
            }
            Kind::Issuer | Kind::ClusterIssuer => {
                changes.extend(self.random.once_in(3).then(|| self.issuer_spec()));
            }
            Kind::Namespace => {}
        }
        if kind.is_custom() && self.random.once_in(6) {
            changes.push(json!({"status": self.good_status()}));
        }
        if self.random.once_in(30) {
            changes.push(json!({"metadata": {"uid": STRANGER, "generation": 7}}));
        }
        if self.random.once_in(40) {
            changes.push(json!({"metadata": {"resourceVersion": STALE}}));
        }
        if self.random.once_in(60) {
            changes.push(json!({"metadata": {"name": "Not_A_Name"}}));
        }
        if kind == Kind::Event {
            // Nothing here changes an Event, so that it would stay for good.
            changes.push(json!({"metadata": {"finalizers": null}}));
        }
        for change in changes {
            // Null in a map is an empty text, and nobody is said to manage it until the next write:
            // the one reason why a write that changes nothing here may move the version there.
            if kind.is_custom() && change.get("spec").is_some() {
                merge_with_nulls(&mut object, &change);
            } else {
                merge(&mut object, &change);
            }
        }
        object
    }

    fn patch(&mut self, kind: Kind, name: &str, now: Option<&Value>) -> Value {
        let mut patch = json!({});
        if self.random.once_in(2) {
            merge_with_nulls(&mut patch, &self.metadata());
        }
        if self.random.once_in(3) {
            merge_with_nulls(&mut patch, &self.identity(now));
        }
        if !self.random.once_in(3) {
            let change = match kind {
                Kind::Secret => self.secret(),
                Kind::ConfigMap => self.config_map(),
                Kind::Lease => self.lease(),
                Kind::CertificateRequest => self.request_spec(),
                Kind::Issuer | Kind::ClusterIssuer => self.issuer_spec(),
                Kind::Event | Kind::Namespace => json!({}),
            };
            merge_with_nulls(&mut patch, &change);
        }
        if kind.is_custom() && self.random.once_in(8) {
            patch["status"] = self.good_status();
        }
        if kind == Kind::Namespace
            && let Some(metadata) = patch.get_mut("metadata")
        {
            remove(metadata, "finalizers");
        }
        if self.random.once_in(60) {
            let name = self.random.pick(&[json!("other"), json!(name), Value::Null]);
            patch["metadata"]["name"] = name;
        }
        patch
    }

    /// An object to be put: as it is, was, or might be.
    fn put(&mut self, kind: Kind, namespace: &str, name: &str, now: Option<Value>) -> Value {
        let key = format!("{} {namespace}/{name}", kind.name());
        let past = self.past.get(&key).filter(|past| !past.is_empty()).cloned();
        let old = past.map(|past| self.random.pick(&past));
        let base =
            if self.random.once_in(4) { old.or_else(|| now.clone()) } else { now.clone().or(old) };
        let mut object = base.unwrap_or_else(|| self.new_object(kind, namespace, name));
        if !self.random.once_in(3) {
            let patch = self.patch(kind, name, now.as_ref());
            merge(&mut object, &patch);
        }
        if self.random.once_in(8) {
            remove(&mut object["metadata"], "resourceVersion");
        }
        if self.random.once_in(4) {
            remove(&mut object["metadata"], "uid");
        }
        object
    }

    /// Uid and version, right or wrong.
    fn identity(&mut self, now: Option<&Value>) -> Value {
        let mut metadata = json!({});
        let of_now = |field: &str| now.map_or(Value::Null, |now| now["metadata"][field].clone());
        if self.random.once_in(2) {
            let right = of_now("uid");
            metadata["uid"] = if self.random.once_in(4) { STRANGER.into() } else { right };
        }
        if self.random.once_in(2) {
            let right = of_now("resourceVersion");
            metadata["resourceVersion"] = if self.random.once_in(4) { STALE.into() } else { right };
        }
        json!({"metadata": metadata})
    }

    fn delete_options(&mut self, now: Option<&Value>) -> Option<Value> {
        if self.random.once_in(3) {
            return None;
        }
        let mut preconditions = self.identity(now)["metadata"].take();
        if let Some(fields) = preconditions.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        let is_empty = preconditions.as_object().is_none_or(serde_json::Map::is_empty);
        Some(if is_empty { json!({}) } else { json!({"preconditions": preconditions}) })
    }

    fn metadata(&mut self) -> Value {
        let mut metadata = json!({});
        for _ in 0..self.random.below(3) {
            let change = match self.random.below(16) {
                0 | 1 => json!({"labels": {"chancery.dev/managed": "true"}}),
                2 | 3 => json!({"labels": {"chancery.dev/order": "true"}}),
                4 => {
                    json!({"labels": {"chancery.dev/order": self.random.pick(&[json!("false"), Value::Null])}})
                }
                5 => json!({"labels": {"chancery.dev/managed": null}}),
                6 => {
                    json!({"labels": {"chancery.dev/credentials": self.random.pick(&[json!("true"), Value::Null])}})
                }
                7 => {
                    json!({"labels": {"team": self.random.pick(&[json!("web"), json!("shop"), Value::Null])}})
                }
                8 => json!({"labels": null}),
                9 => {
                    json!({"annotations": {"chancery.dev/attempt": self.random.pick(&[json!("1"), json!("2"), Value::Null])}})
                }
                10 => json!({"annotations": {"chancery.dev/release": "done"}}),
                11 => {
                    json!({"annotations": {"note": self.random.pick(&[json!("a"), json!("b"), Value::Null])}})
                }
                12 => json!({"annotations": self.random.pick(&[Value::Null, json!({})])}),
                13 => {
                    json!({"finalizers": self.random.pick(&[json!(["example.org/held"]), json!(["example.org/held", "example.org/two"])])})
                }
                _ => json!({"finalizers": self.random.pick(&[Value::Null, json!([])])}),
            };
            merge_with_nulls(&mut metadata, &change);
        }
        json!({"metadata": metadata})
    }

    fn secret(&mut self) -> Value {
        match self.random.below(20) {
            0..=4 => json!({"data": {"entry": self.random.pick(&["bmV3", "b2xk"])}}),
            5 | 6 => {
                json!({"data": {"more": self.random.pick(&[json!("YQ=="), json!("b25l\nbW9yZQ=="), Value::Null])}})
            }
            7 | 8 => json!({"stringData": {"entry": self.random.pick(&["new", "old"])}}),
            9 => json!({"stringData": {"more": "text"}, "data": {"entry": null}}),
            10 => json!({"data": self.random.pick(&[Value::Null, json!({})])}),
            11 => json!({"data": {"absent": null}}),
            12 => {
                json!({"type": self.random.pick(&[json!("Opaque"), json!("example.org/other"), Value::Null])})
            }
            13 => json!({"type": "kubernetes.io/tls"}),
            14 => {
                json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "YQ==", "tls.key": "YQ=="}})
            }
            15 => {
                json!({"data": {"tls.crt": "YQ==", "tls.key": self.random.pick(&[json!("YQ=="), Value::Null])}})
            }
            16 => json!({"immutable": self.random.pick(&[json!(true), json!(false), Value::Null])}),
            17 => json!({"data": {"not/a/key": "YQ=="}}),
            18 => json!({"data": {"entry": "not base64!"}}),
            _ => json!({"unknown": {"field": 1}}),
        }
    }

    fn config_map(&mut self) -> Value {
        match self.random.below(9) {
            0..=2 => json!({"data": {"entry": self.random.pick(&["new", "old"])}}),
            3 => json!({"data": {"more": self.random.pick(&[json!("a"), Value::Null])}}),
            4 => json!({"data": null}),
            5 => json!({"binaryData": {"bytes": self.random.pick(&[json!("YQ=="), Value::Null])}}),
            6 => json!({"binaryData": {"entry": "YQ=="}}),
            7 => json!({"immutable": self.random.pick(&[json!(true), Value::Null])}),
            _ => json!({"data": {"not/a/key": "a"}}),
        }
    }

    fn lease(&mut self) -> Value {
        let holder = self.random.pick(&[json!("a"), json!("b"), json!(""), Value::Null]);
        let times = ["2026-01-01T00:00:00.000001Z", "2026-01-01T01:00:00.500000+01:00"];
        match self.random.below(8) {
            0..=3 => json!({"spec": {
                "holderIdentity": holder, "renewTime": self.random.pick(&times),
                "leaseDurationSeconds": 15, "leaseTransitions": self.random.below(3),
            }}),
            4 => json!({"spec": {"renewTime": self.random.pick(&["2026-01-01T00:00:00Z", "x"])}}),
            5 => json!({"spec": {"leaseDurationSeconds": self.random.pick(&[0, 7])}}),
            6 => json!({"spec": {"leaseTransitions": self.random.pick(&[-1, 7])}}),
            _ => json!({"spec": {"acquireTime": null, "unknown": 1}}),
        }
    }

    fn event(&mut self) -> Value {
        match self.random.below(12) {
            0 => json!({"note": "n".repeat(1025)}),
            1 => json!({"type": "Other"}),
            2 => json!({"regarding": {"namespace": null}}),
            3 => json!({"eventTime": null}),
            4 => json!({"eventTime": "2026-01-01T00:00:00Z"}),
            5 => json!({"action": ""}),
            _ => json!({}),
        }
    }

    fn request_spec(&mut self) -> Value {
        let spec = match self.random.below(18) {
            0 | 1 => {
                json!({"suspend": self.random.pick(&[json!(true), json!(false), Value::Null])})
            }
            2 | 3 => json!({"issuerRef": {"name": self.random.pick(&["x", "y"])}}),
            4 => {
                json!({"issuerRef": {"kind": self.random.pick(&[json!("ClusterIssuer"), json!("Issuer"), Value::Null])}})
            }
            5 => json!({"privateKey": {"algorithm": "RSA", "rotationPolicy": null}}),
            6 => {
                json!({"privateKey": self.random.pick(&[Value::Null, json!({"algorithm": "RSA", "size": 3072})])})
            }
            7 => {
                json!({"duration": self.random.pick(&[json!("2160h"), json!("24h"), Value::Null])})
            }
            8 => json!({"onlineCa": null, "dnsNames": ["a.example.org", "b.example.org"]}),
            9 => json!({"onlineCa": {}, "dnsNames": null}),
            10 => {
                json!({"secretTemplate": {"labels": {"a": "b"}, "annotations": self.random.pick(&[Value::Null, json!({})])}})
            }
            11 => json!({"unknown": {"a": 1}, "issuerRef": {"unknown": null}}),
            12 => json!({"suspend": "yes"}),
            13 => {
                json!({"issuerRef": self.random.pick(&[Value::Null, json!({"name": ""}), json!({"kind": "Other"})])})
            }
            14 => json!({"secretName": self.random.pick(&[json!("other"), Value::Null])}),
            15 => {
                json!({"renewBeforePercentage": self.random.pick(&[json!(95), json!(30), Value::Null, json!("a")])})
            }
            16 => json!({"onlineCa": null, "dnsNames": ["a.example.org", "a.example.org"]}),
            _ => json!({"privateKey": {"rotationPolicy": "Never"}}),
        };
        json!({"spec": spec})
    }

    fn issuer_spec(&mut self) -> Value {
        let spec = match self.random.below(8) {
            0 | 1 => {
                json!({"preflight": self.random.pick(&[json!(false), json!(true), Value::Null])})
            }
            2 => json!({"settleWindow": self.random.pick(&[json!("30m"), Value::Null])}),
            3 => {
                json!({"submission": self.random.pick(&[json!("CsrOnly"), json!("Named"), json!("Other"), Value::Null])})
            }
            4 => {
                json!({"url": self.random.pick(&["https://other.example.org", "https://api.example.org"])})
            }
            5 => json!({"client": self.random.pick(&[Value::Null, json!({"name": "d"})])}),
            6 => json!({"unknown": 1}),
            _ => json!({"product": self.random.pick(&[Value::Null, json!({"name": "p"})])}),
        };
        json!({"spec": {"swissSign": spec}})
    }

    /// A status that is not looked at must have the right shape all the same: who manages which
    /// field cannot be told where it has not, and to forget that is a write.
    fn good_status(&mut self) -> Value {
        json!({"observedGeneration": self.random.below(3), "revision": self.random.below(3)})
    }

    fn status(&mut self) -> Value {
        let condition = |kind: &str, status: &str| {
            json!({
                "type": kind, "status": status, "reason": "Because", "message": "so it is",
                "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
            })
        };
        let mut status = json!({"observedGeneration": self.random.below(3)});
        match self.random.below(12) {
            0..=2 => {}
            3..=6 => {
                let is = self.random.pick(&["True", "False"]);
                status["conditions"] =
                    json!([condition("Ready", is), condition("Issuing", "False")]);
            }
            7 => status["unknown"] = json!(1),
            8 => remove(&mut status, "observedGeneration"),
            9 => status["observedGeneration"] = self.random.pick(&[json!("x"), Value::Null]),
            10 => {
                status["conditions"] =
                    json!([condition("Ready", "True"), condition("Ready", "False")])
            }
            _ => status["conditions"] = json!([{"type": "Ready"}]),
        }
        status
    }
}

/// Which object it is, whatever became of it.
fn identity(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    format!("{} {namespace}/{name}", text(&object["kind"]))
}

/// A request in the form of the model.
pub fn request(user: User, method: Method, path: &str, body: Option<&Value>) -> Request {
    let content_type =
        if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    Request {
        user,
        method,
        path: path.to_owned(),
        query: String::new(),
        content_type: content_type.to_owned(),
        accept: JSON.to_owned(),
        body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
    }
}

/// An object with nothing wrong in it.
pub fn plain(kind: Kind, namespace: &str) -> Value {
    let mut object = match kind {
        Kind::Secret => json!({"data": {"entry": "b2xk"}}),
        Kind::CertificateRequest => json!({"spec": {
            "issuerRef": {"name": "x"}, "secretName": "one-tls", "onlineCa": {},
        }}),
        Kind::Issuer | Kind::ClusterIssuer => json!({"spec": {"swissSign": {
            "url": "https://api.example.org", "client": {"name": "c"},
            "credentialsSecretRef": {"name": "x"}, "acceptTermsAndConditions": true,
        }}}),
        Kind::Event => json!({
            "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Issuing", "reason": "Issued",
            "note": "done", "type": "Normal", "reportingController": "chancery",
            "reportingInstance": "chancery",
            "regarding": {
                "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
                "name": "one", "namespace": namespace, "uid": "u", "resourceVersion": "3",
            },
        }),
        Kind::ConfigMap | Kind::Lease | Kind::Namespace => json!({}),
    };
    if kind == Kind::ClusterIssuer {
        object["spec"]["allow"] = json!({"namespaces": {}});
    }
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.name().into();
    object["metadata"] = json!({"name": "one"});
    object
}

fn remove(value: &mut Value, field: &str) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove(field);
    }
}

/// Changes a document; null takes away.
fn merge(document: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *document = patch.clone();
        return;
    };
    if !document.is_object() {
        *document = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            remove(document, name);
        } else {
            merge(&mut document[name], value);
        }
    }
}

/// Changes a document; null is written into it.
fn merge_with_nulls(document: &mut Value, patch: &Value) {
    let (true, Some(patch)) = (document.is_object(), patch.as_object()) else {
        *document = patch.clone();
        return;
    };
    for (name, value) in patch {
        merge_with_nulls(&mut document[name], value);
    }
}
