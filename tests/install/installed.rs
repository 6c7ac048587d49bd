//! A cluster in which the chart is installed, and the operator as its Deployment says.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::helm::{IMAGE, documents, helm, one};
use crate::support::control_plane::ControlPlane;
use crate::support::operator::Operator;
use crate::support::program;
use crate::support::simulator::Simulator;

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cluster {
    pub plane: ControlPlane,
    pub simulator: Simulator,
}

impl Cluster {
    /// One that has nothing yet but namespace `shop`.
    pub fn new() -> Self {
        Self::of(ControlPlane::start())
    }

    /// The same of this control plane.
    pub fn of(plane: ControlPlane) -> Self {
        let simulator = Simulator::start(plane.dir());
        plane.kubectl(["create", "namespace", "shop"]).expect("a namespace");
        Self { plane, simulator }
    }

    pub fn helm(&self, args: &[&str]) -> Result<String, String> {
        let namespace = ["--namespace", "chancery"];
        helm(Some(&self.plane.kubeconfig()), &[args, &namespace].concat())
    }

    /// Installs or upgrades the release. The CA of the tests is on this machine.
    pub fn install(&self, values: &[&str]) -> String {
        let install = ["upgrade", "--install", "chancery", "charts/chancery", "--create-namespace"];
        let always = ["--set", IMAGE, "--set", "tenantIssuersMayReach={loopback}"];
        let told = self.helm(&[&install, &always[..], values].concat()).expect("it is installed");
        self.plane.wait_until_it_serves();
        told
    }

    /// Starts what a pod of the Deployment would be, and waits until it acts.
    pub fn pod(&self) -> Operator {
        self.pod_with(&[])
    }

    /// The same, with variables beside those of the Deployment.
    pub fn pod_with(&self, further: &[(&str, &str)]) -> Operator {
        let operator = self.starting_pod(further);
        operator.wait_until_ready();
        operator.wait_until_it_acts();
        operator
    }

    /// The same, without waiting.
    pub fn starting_pod(&self, further: &[(&str, &str)]) -> Operator {
        let environment = self.environment();
        let all = [&pairs(&environment)[..], further].concat();
        Operator::spawn_as(&self.account(), self.plane.dir(), &program("chancery"), &all)
    }

    /// The kubeconfig of the ServiceAccount that the pod has.
    pub fn account(&self) -> PathBuf {
        let name = &self.deployment()["spec"]["template"]["spec"]["serviceAccountName"];
        self.plane.kubeconfig_of("chancery", name.as_str().expect("a name"))
    }

    /// Starts what a pod of another release would be, and waits until it acts.
    pub fn pod_of(&self, namespace: &str, name: &str) -> Operator {
        let pod = &self.deployment_of(namespace, name)["spec"]["template"]["spec"];
        let mut environment = environment(&pod["containers"][0], namespace);
        environment.retain(|(name, _)| name != "CHANCERY_HTTP_ADDRESS");
        let account = pod["serviceAccountName"].as_str().expect("a name");
        let account = self.plane.kubeconfig_of(namespace, account);
        let dir = self.plane.dir();
        let operator =
            Operator::spawn_as(&account, dir, &program("chancery"), &pairs(&environment));
        operator.wait_until_ready();
        operator.wait_until_it_acts();
        operator
    }

    pub fn deployment(&self) -> Value {
        self.deployment_of("chancery", "chancery")
    }

    fn deployment_of(&self, namespace: &str, name: &str) -> Value {
        let get = ["get", "deployment", name, "--namespace", namespace, "-o", "json"];
        serde_json::from_str(&self.plane.kubectl(get).expect("the Deployment")).expect("JSON")
    }

    /// The environment of the container, without the address: pods have one of their own each.
    pub fn environment(&self) -> Vec<(String, String)> {
        let container = &self.deployment()["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["args"], json!(["operator"]));
        let mut all = environment(container, "chancery");
        all.retain(|(name, _)| name != "CHANCERY_HTTP_ADDRESS");
        all
    }

    /// Runs what the pod of `helm test` would run, as its account: whether it succeeded, and what it
    /// printed. `operator` is where the Service would lead.
    pub fn check(&self, operator: &Operator) -> (bool, String) {
        let hooks = self.helm(&["get", "hooks", "chancery"]).expect("the hooks");
        let hooks = documents(&hooks);
        let pod = &one(&hooks, "Pod")["spec"];
        let container = &pod["containers"][0];
        let args = container["args"].as_array().expect("arguments").iter();
        let account = pod["serviceAccountName"].as_str().expect("an account");
        let ran = Command::new(program("chancery"))
            .args(args.map(|arg| arg.as_str().expect("a text")))
            .envs(environment(container, "chancery"))
            .env("KUBECONFIG", self.plane.kubeconfig_of("chancery", account))
            .env("CHANCERY_URL", format!("http://{}", operator.address()))
            .output()
            .expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (ran.status.success(), text(&ran.stdout) + &text(&ran.stderr))
    }

    pub fn apply(&self, object: &Value) {
        self.plane.apply(&object.to_string()).expect("it is taken");
    }

    /// Waits until `kubectl get` prints this.
    pub fn until(&self, get: &[&str], expected: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let printed = self.plane.kubectl([&["get"], get].concat()).unwrap_or_default();
            if printed.trim() == expected {
                return;
            }
            assert!(Instant::now() < until, "{get:?}: {printed:?}, and not {expected:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a request of namespace `shop` is Ready, or is not for this reason.
    pub fn until_reason(&self, request: &str, reason: &str) {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}";
        self.until(&["chreq", "--namespace", "shop", request, "-o", path], reason);
    }

    /// The CA that costs money, and a request at it whose order waits for a person there.
    pub async fn order(&self) {
        self.ask().await;
        self.until_reason("shop", "AwaitingApproval");
    }

    /// The same, without anybody to look after it yet.
    pub async fn ask(&self) {
        let ra = self.simulator.swisssign("shop");
        ra.configure(json!({"keyAlgorithm": "ECDSA", "states": waiting()})).await;
        for object in ra.issuer("shop").await {
            self.apply(&object);
        }
        self.apply(&json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {
                "issuerRef": {"name": "ca"}, "secretName": "shop-tls",
                "dnsNames": ["shop.example.ch"], "privateKey": {"algorithm": "ECDSA"},
            },
        }));
    }

    /// Has the order of that request approved.
    pub async fn approve(&self) {
        let ra = self.simulator.swisssign("shop");
        ra.act(&self.shop("{.status.order.id}"), json!({"action": "approve"})).await;
    }

    /// A part of that request.
    pub fn shop(&self, path: &str) -> String {
        let path = format!("jsonpath={path}");
        let get = ["get", "chreq", "--namespace", "shop", "shop", "-o", &path];
        self.plane.kubectl(get).expect("the request")
    }

    /// So many orders were made.
    pub async fn orders(&self) -> u64 {
        self.simulator.swisssign("shop").total().await
    }

    /// What the operator wrote into Secrets so far, by the API server's audit log: verb and name.
    pub fn secret_writes(&self) -> Vec<String> {
        let events = self.audited().into_iter().filter(is_secret_write);
        let told = |event: Value| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!("{} {}", text(&event["verb"]), text(&event["objectRef"]["name"]))
        };
        events.map(told).collect()
    }

    /// What the operator asked of the API server. A watch is told of at its begin and at its end.
    pub fn audited(&self) -> Vec<Value> {
        let log = self.plane.audit_log();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = |event: &Value| {
            let user = event["user"]["username"].as_str().unwrap_or_default();
            user == "system:serviceaccount:chancery:chancery" && event["stage"] != "ResponseStarted"
        };
        events.filter(ours).collect()
    }
}

/// The life of an order that waits for a person.
pub fn waiting() -> Value {
    json!([{"state": "PENDING_AUTH"}, {"state": "ISSUED"}])
}

fn is_secret_write(event: &Value) -> bool {
    let verb = event["verb"].as_str().unwrap_or_default();
    let is_tried = event["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun"));
    event["objectRef"]["resource"] == "secrets"
        && matches!(verb, "create" | "update" | "patch" | "delete")
        && !is_tried
}

/// What a container in this namespace is started with.
fn environment(container: &Value, namespace: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let value = |variable: &Value| match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
        Some("metadata.namespace") => namespace.to_owned(),
        Some(other) => panic!("nobody here knows {other}"),
        None => text(&variable["value"]),
    };
    let variables = container["env"].as_array().expect("an environment").iter();
    variables.map(|variable| (text(&variable["name"]), value(variable))).collect()
}

fn pairs(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
