//! What every test starts from.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use chancery::api::{CertificateRequest, Issuer, condition};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use serde_json::{Value, json};

use crate::support::control_plane::ControlPlane;
use crate::support::operator::{self, Operator};
use crate::support::simulator::{Simulator, Site};

/// The shared world.
pub struct World {
    pub plane: ControlPlane,
    pub simulator: Simulator,
    pub operator: Operator,
}

/// Longer than the API server, the operator and a CA that answers need, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// How long the operator of these tests waits for a CA.
pub const CA_TIMEOUT: &str = "4s";

/// The world, made by whoever needs it first.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let plane = ControlPlane::start();
        let simulator = Simulator::start(plane.dir());
        operator::install(&plane);
        let operator = Operator::start(&plane, &[("CHANCERY_CA_TIMEOUT", CA_TIMEOUT)]);
        World { plane, simulator, operator }
    })
}

/// One test: a namespace and a CA of its own.
pub struct Test {
    pub world: &'static World,
    pub namespace: String,
    pub site: Site<'static>,
    pub client: kube::Client,
}

impl Test {
    /// A namespace with `name`, and a CA that nobody else uses.
    pub async fn new(name: &str) -> Self {
        let world = world();
        world.plane.kubectl(["create", "namespace", name]).expect("a new namespace");
        Self {
            world,
            namespace: name.to_owned(),
            site: world.simulator.online_ca(name),
            client: world.plane.client().await,
        }
    }

    /// The same with an Issuer `ca` that is ready, with credentials in Secret `credentials`.
    pub async fn with_issuer(name: &str) -> Self {
        let test = Self::new(name).await;
        test.apply(test.credentials("credentials", "testuser", "changeme"));
        let issuer = test.issuer().await;
        test.apply(issuer);
        test.issuer_condition("ca", |status, _, _| status == "True").await;
        test
    }

    /// Applies an object as users do.
    pub fn apply(&self, object: Value) {
        self.try_apply(object).expect("the object is taken");
    }

    /// Applies an object that may be refused.
    pub fn try_apply(&self, object: Value) -> Result<String, String> {
        self.world.plane.apply(&object.to_string())
    }

    /// `kubectl -n <namespace>`, which must work.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let all = ["-n", &self.namespace].into_iter().chain(args.iter().copied());
        self.world.plane.kubectl(all).unwrap_or_else(|error| panic!("kubectl {args:?}: {error}"))
    }

    /// A Secret with credentials that opted in.
    pub fn credentials(&self, name: &str, username: &str, password: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": name, "namespace": self.namespace,
                "labels": {"chancery.dev/credentials": "true"},
                "annotations": {"chancery.dev/hosts": "localhost"},
            },
            "stringData": {"username": username, "password": password},
        })
    }

    /// Issuer `ca`, with everything right.
    pub async fn issuer(&self) -> Value {
        json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "Issuer",
            "metadata": {"name": "ca", "namespace": self.namespace},
            "spec": {
                "onlineCa": {
                    "certificateUrl": self.site.certificate_url(),
                    "trustRootsUrl": self.site.trust_roots_url(),
                    "credentialsSecretRef": {"name": "credentials"},
                    "keyAlgorithms": ["RSA"],
                },
                "tls": {"caBundle": {"pem": self.world.simulator.tls_root()}},
                "trust": {"bundle": {"pem": self.site.root_pem().await}},
            },
        })
    }

    /// A request for the user of the issuer, delivered to `<name>-tls`.
    pub fn request(&self, name: &str) -> Value {
        json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "issuerRef": {"name": "ca"},
                "secretName": format!("{name}-tls"),
                "onlineCa": {},
            },
        })
    }

    pub fn requests(&self) -> Api<CertificateRequest> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The request as it is.
    pub async fn get(&self, name: &str) -> CertificateRequest {
        self.requests().get(name).await.expect("the request")
    }

    /// A Secret as it is.
    pub async fn secret(&self, name: &str) -> Secret {
        self.secrets().get(name).await.expect("the Secret")
    }

    /// One entry of a Secret, as text.
    pub async fn entry(&self, secret: &str, key: &str) -> String {
        let data = self.secret(secret).await.data.unwrap_or_default();
        String::from_utf8(data.get(key).map(|value| value.0.clone()).unwrap_or_default())
            .expect("PEM is text")
    }

    /// Waits until the request is as wished.
    pub async fn until(
        &self,
        name: &str,
        wish: &str,
        is_so: impl Fn(&CertificateRequest) -> bool,
    ) -> CertificateRequest {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.requests().get_opt(name).await.expect("an answer");
            if let Some(request) = found.as_ref().filter(|request| is_so(request)) {
                return request.clone();
            }
            if Instant::now() > until {
                let status = found.map(|found| serde_json::to_string_pretty(&found.status));
                panic!("{name} never was {wish}: {status:#?}\n{}", self.operator_log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the request is Ready, in a status that speaks of its present spec.
    pub async fn until_ready(&self, name: &str) -> CertificateRequest {
        self.until(name, "Ready", |request| {
            let status = request.status.clone().unwrap_or_default();
            request.metadata.generation == Some(status.observed_generation)
                && condition::is_true(&status.conditions, "Ready")
        })
        .await
    }

    /// Waits until that revision is delivered.
    pub async fn until_revision(&self, name: &str, revision: i64) -> CertificateRequest {
        self.until(name, &format!("at revision {revision}"), |request| {
            request.status.as_ref().and_then(|status| status.revision) >= Some(revision)
        })
        .await
    }

    /// Waits until the condition `Issuing` has that reason; returns its message.
    pub async fn until_issuing(&self, name: &str, reason: &str) -> String {
        let request = self
            .until(name, &format!("Issuing for reason {reason}"), |request| {
                issuing(request).is_some_and(|(is, _)| is == reason)
            })
            .await;
        issuing(&request).map(|(_, message)| message).unwrap_or_default()
    }

    /// Waits until the Issuer's condition `Ready` has a status, reason and message as wished.
    pub async fn issuer_condition(
        &self,
        name: &str,
        is_so: impl Fn(&str, &str, &str) -> bool,
    ) -> String {
        let issuers: Api<Issuer> = Api::namespaced(self.client.clone(), &self.namespace);
        let until = Instant::now() + PATIENCE;
        loop {
            let issuer = issuers.get(name).await.expect("the issuer");
            let status = issuer.status.unwrap_or_default();
            if issuer.metadata.generation == Some(status.observed_generation) {
                if let Some(ready) = condition::find(&status.conditions, "Ready") {
                    if is_so(&ready.status, &ready.reason, &ready.message) {
                        return ready.message.clone();
                    }
                }
            }
            if Instant::now() > until {
                panic!("the issuer never was as wished: {status:#?}\n{}", self.operator_log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Events about an object, by reason.
    pub async fn events(&self, object: &str) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let list = events.list(&kube::api::ListParams::default()).await.expect("a list");
        list.items
            .into_iter()
            .filter(|event| event.involved_object.name.as_deref() == Some(object))
            .filter_map(|event| event.reason)
            .collect()
    }

    /// Audit events of the operator in this namespace, apart from those about Events: verb and
    /// resource with subresource.
    pub fn audited(&self) -> Vec<String> {
        self.world
            .plane
            .audit_log()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["user"]["username"] == "system:serviceaccount:chancery:chancery")
            .filter(|event| event["objectRef"]["namespace"] == self.namespace.as_str())
            .filter(|event| event["objectRef"]["resource"] != "events")
            .map(|event| {
                let of =
                    |key: &str| event["objectRef"][key].as_str().unwrap_or_default().to_owned();
                let sub = of("subresource");
                let slash = if sub.is_empty() { "" } else { "/" };
                format!(
                    "{} {}{slash}{sub}",
                    event["verb"].as_str().unwrap_or_default(),
                    of("resource")
                )
            })
            .collect()
    }

    /// The end of the operator's log, for messages.
    pub fn operator_log(&self) -> String {
        let log = self.world.operator.process.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&self.namespace)).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Reason and message of the condition `Issuing`.
pub fn issuing(request: &CertificateRequest) -> Option<(String, String)> {
    let status = request.status.as_ref()?;
    let issuing = condition::find(&status.conditions, "Issuing")?;
    Some((issuing.reason.clone(), issuing.message.clone()))
}
