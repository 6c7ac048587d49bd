//! From the release before to this one, back and forth again: other definitions, another version, and
//! values that the older chart does not have.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::helm::IMAGE;
use crate::installed::Cluster;
use crate::support::operator::Operator;
use crate::support::root;

/// Files of the chart are few and small.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("a copy");
        }
    }
}

/// The chart as the version before would have it: with its definitions, and without a budget for
/// evictions.
fn older_chart() -> TempDir {
    let chart = tempfile::tempdir().expect("a directory");
    let at = |name: &str| chart.path().join(name);
    copy(&root().join("charts/chancery"), chart.path());
    std::fs::remove_dir_all(at("definitions")).expect("they go");
    std::fs::create_dir(at("definitions")).expect("a directory");
    let before = std::fs::read(root().join("tests/lifecycle/upgrade/definitions.json"));
    let before: Value = serde_json::from_slice(&before.expect("the file")).expect("JSON");
    for definition in before["items"].as_array().expect("a list") {
        let name = definition["metadata"]["name"].as_str().expect("a name");
        let file = at(&format!("definitions/{name}.yaml"));
        std::fs::write(file, definition.to_string()).expect("writes");
    }
    let replace = |name: &str, change: &dyn Fn(&mut Value)| {
        let text = std::fs::read_to_string(at(name)).expect(name);
        let mut value: Value = serde_yaml::from_str(&text).expect("YAML");
        change(&mut value);
        std::fs::write(at(name), value.to_string()).expect("writes");
    };
    replace("Chart.yaml", &|about| {
        about["version"] = json!("0.0.9");
        about["appVersion"] = json!("0.0.9");
    });
    replace("values.yaml", &|values| {
        let values = values.as_object_mut().expect("values");
        values.remove("podDisruptionBudget").expect("this version has it");
    });
    std::fs::remove_file(at("templates/poddisruptionbudget.yaml")).expect("it goes");
    chart
}

const THIS: &str = "charts/chancery";

impl Cluster {
    /// As docs/install.md says.
    fn upgrade(&self, chart: &str) {
        let upgrade = ["upgrade", "chancery", chart, "--reset-then-reuse-values"];
        self.helm(&upgrade).unwrap_or_else(|error| panic!("{chart}: {error}"));
    }

    fn version(&self) -> Value {
        let deployment = self.deployment();
        assert_eq!(deployment["spec"]["replicas"], 3, "what was set is kept");
        deployment["metadata"]["labels"]["app.kubernetes.io/version"].clone()
    }

    /// The operator of now, as a pod of the older release.
    fn waiting_pod(&self) -> Operator {
        assert_eq!(self.version(), "0.0.9");
        let operator = self.starting_pod(&[]);
        let why = "in the API server is older than this program";
        operator.wait_until_it_says(why);
        operator.wait_until_it_says("helm upgrade with crds.install=true");
        let (status, page) = operator.get("/readyz").expect("it answers");
        assert!(status == 503 && page.contains(why), "{status}: {page}");
        operator
    }

    fn goes_on(&self, operator: &Operator) {
        assert_eq!(self.version(), env!("CARGO_PKG_VERSION"));
        operator.wait_until_ready();
        operator.wait_until_it_acts();
        self.until_reason("shop", "AwaitingApproval");
        self.until_reason("portal", "Issued");
    }

    /// Somebody writes both requests, as the definitions of now have it.
    fn touch(&self, note: &str) {
        let note = format!("note={note}");
        let annotate = ["annotate", "chreq", "--all", "--namespace", "shop", "--overwrite", &note];
        self.plane.kubectl(annotate).expect("they are written");
    }

    /// A certificate that costs nothing.
    async fn free_certificate(&self) {
        let site = self.simulator.online_ca("shop");
        site.configure(json!({"keyAlgorithm": "ECDSA", "minKeyBits": 256})).await;
        let [mut credentials, mut issuer] = site.issuer("shop").await;
        credentials["metadata"]["name"] = json!("free");
        issuer["metadata"]["name"] = json!("free");
        issuer["spec"]["onlineCa"]["credentialsSecretRef"]["name"] = json!("free");
        self.apply(&credentials);
        self.apply(&issuer);
        self.apply(&json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": "portal", "namespace": "shop"},
            "spec": {
                "issuerRef": {"name": "free"}, "secretName": "portal-tls",
                "privateKey": {"algorithm": "ECDSA"}, "onlineCa": {},
            },
        }));
        self.until_reason("portal", "Issued");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn between_two_releases_with_other_definitions_it_goes_back_and_forth_and_buys_once() {
    let cluster = Cluster::new();
    let older = older_chart();
    let older = older.path().display().to_string();
    let set = ["--set", IMAGE, "--set", "tenantIssuersMayReach={loopback},replicas=3"];
    let install = ["install", "chancery", &older, "--create-namespace"];
    cluster.helm(&[&install[..], &set].concat()).expect("the older one is installed");
    cluster.plane.wait_until_it_serves();
    let operator = cluster.waiting_pod();
    cluster.ask().await;
    assert_eq!(cluster.shop("{.status.conditions}"), "");
    assert_eq!((cluster.orders().await, cluster.secret_writes()), (0, vec![]));

    // Forward, while the operator waits.
    cluster.upgrade(THIS);
    let budget = ["get", "poddisruptionbudget", "--namespace", "chancery", "chancery"];
    cluster.plane.kubectl(budget).expect("what is new in the chart has the new chart's value");
    operator.wait_until_ready();
    cluster.until_reason("shop", "AwaitingApproval");
    cluster.free_certificate().await;
    let writes = cluster.secret_writes();
    println!("written: {writes:?}");

    // Back, while it works; and forward.
    cluster.helm(&["rollback", "chancery", "1"]).expect("it is rolled back");
    let mut operator = operator;
    assert_eq!(operator.process.wait(Duration::from_secs(90)), Some(1));
    let operator = cluster.waiting_pod();
    // What the older definitions do not know is gone from both.
    cluster.touch("rolled-back");
    cluster.helm(&["rollback", "chancery", "2"]).expect("it is rolled forward");
    cluster.goes_on(&operator);
    assert_eq!((cluster.orders().await, cluster.secret_writes()), (1, writes.clone()));

    // The same with the older chart, by an upgrade, while no operator runs.
    assert_eq!(operator.process.stop(), Some(0));
    cluster.upgrade(&older);
    cluster.touch("older");
    let operator = cluster.waiting_pod();
    cluster.upgrade(THIS);
    cluster.goes_on(&operator);
    assert_eq!((cluster.orders().await, cluster.secret_writes()), (1, writes.clone()));

    cluster.approve().await;
    cluster.until_reason("shop", "Issued");
    assert_eq!(operator.process.stop(), Some(0));
    assert_eq!(cluster.orders().await, 1);
    let all = cluster.secret_writes();
    assert_eq!(all[writes.len()..], ["create shop-tls"], "{all:?}");
}
