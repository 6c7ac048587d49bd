//! An API server that does not have what the operator needs: definitions that are missing, older or
//! newer, and no admission policies.

use std::time::Duration;

use serde_json::json;

use crate::installed::Cluster;
use crate::support::control_plane::ControlPlane;
use crate::support::operator::Operator;

const DEFINITION: &str = "certificaterequests.chancery.dev";
/// Where the fields of the status are in a definition.
const STATUS: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";

impl Cluster {
    /// Has the API server take the definition of requests for another.
    fn change_definition(&self, patch: &serde_json::Value) {
        let patch = patch.to_string();
        let change = ["patch", "crd", DEFINITION, "--type=json", "-p", patch.as_str()];
        self.plane.kubectl(change).expect("the definition is changed");
    }

    /// As if it were of a version without orders.
    fn make_older(&self) {
        self.change_definition(&json!([{"op": "remove", "path": format!("{STATUS}/order")}]));
    }

    fn make_ours(&self) {
        let replace = ["replace", "-f", "crds/certificaterequests.yaml"];
        self.plane.kubectl(replace).expect("the definition is ours");
    }
}

/// It has told why it waits, in its log and on its page.
fn waits(operator: &Operator, why: &str) {
    operator.wait_until_it_says(why);
    let (status, page) = operator.get("/readyz").expect("it answers");
    assert!(status == 503 && page.contains(why), "{status}: {page}");
    let (status, _) = operator.get("/livez").expect("it answers");
    assert_eq!(status, 200, "nobody starts it anew");
    println!("/readyz says: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_definitions_it_waits_and_goes_on_by_itself_once_they_are_there() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    cluster.plane.kubectl(["delete", "-f", "crds/"]).expect("they are gone");
    let operator = cluster.starting_pod(&[]);
    waits(&operator, "does not know CertificateRequest, ClusterIssuer, Issuer of");
    cluster.plane.kubectl(["apply", "-f", "crds/issuers.yaml"]).expect("one is there");
    waits(&operator, "does not know CertificateRequest, ClusterIssuer of");
    cluster.plane.kubectl(["apply", "-f", "crds/"]).expect("they are there");
    operator.wait_until_ready();
    operator.wait_until_it_acts();
    // Taken away while it runs.
    cluster.plane.kubectl(["delete", "-f", "crds/"]).expect("they are gone");
    cluster.plane.kubectl(["apply", "-f", "crds/"]).expect("they are there again");
    cluster.plane.wait_until_it_serves();
    cluster.order().await;
    cluster.approve().await;
    cluster.until_reason("shop", "Issued");
    assert_eq!(operator.process.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_an_older_definition_nothing_is_bought_before_it_is_replaced() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    cluster.make_older();
    let operator = cluster.starting_pod(&[]);
    waits(&operator, "of CertificateRequest in the API server is older than this program");
    waits(&operator, "such as status.order: apply those of version");
    cluster.ask().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let log = cluster.plane.audit_log();
    let is_unchanged = |line: &str| {
        line.contains("/openapi/v3/apis/chancery.dev/") && line.contains("\"code\":304")
    };
    assert!(log.lines().any(is_unchanged), "each look has the document sent again");
    assert_eq!(cluster.orders().await, 0);
    assert_eq!(cluster.shop("{.status.conditions}"), "");
    cluster.make_ours();
    operator.wait_until_ready();
    cluster.until_reason("shop", "AwaitingApproval");
    assert_eq!(cluster.orders().await, 1);

    // Set back while it runs, as by a rollback of the definitions alone.
    cluster.make_older();
    let mut operator = operator;
    let annotate = ["annotate", "chreq", "--namespace", "shop", "shop", "note=looked-at"];
    cluster.plane.kubectl(annotate).expect("it is looked at");
    assert_eq!(operator.process.wait(Duration::from_secs(90)), Some(1));
    let log = operator.process.log();
    let last = log.lines().last().unwrap_or_default();
    println!("it ends with: {last}");
    assert!(last.starts_with("chancery: the definition of CertificateRequest in the API"), "{log}");
    let operator = cluster.starting_pod(&[]);
    waits(&operator, "is older than this program");
    cluster.make_ours();
    operator.wait_until_ready();
    operator.wait_until_it_acts();
    cluster.until_reason("shop", "AwaitingApproval");
    cluster.approve().await;
    cluster.until_reason("shop", "Issued");
    assert_eq!(cluster.orders().await, 1);
    assert_eq!(operator.process.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_newer_definition_it_says_so_and_goes_on_and_buys_once() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let novel = json!({"type": "string"});
    cluster.change_definition(&json!([
        {"op": "add", "path": format!("{STATUS}/novel"), "value": novel},
        {"op": "add", "path": format!("{STATUS}/order/properties/novel"), "value": novel},
    ]));
    let operator = cluster.starting_pod(&[]);
    let newer = "newer than this program, which does not know status.novel, status.order.novel";
    operator.wait_until_it_says(newer);
    operator.wait_until_ready();
    operator.wait_until_it_acts();
    // While it runs, one that is later still and has taken something out.
    let taken_out = format!("{STATUS}/failedAttempts");
    cluster.change_definition(&json!([{"op": "remove", "path": taken_out}]));
    operator.wait_until_it_says(&format!("{newer}, and lacks status.failedAttempts"));
    cluster.order().await;
    let (succeeded, printed) = cluster.check(&operator);
    assert!(succeeded && printed.contains("newer than this program"), "{printed}");
    // What a later version would write.
    let later = json!({"status": {"novel": "a", "order": {"novel": "b"}}}).to_string();
    let patch = ["patch", "chreq", "--namespace", "shop", "shop", "--subresource=status"];
    let answer = ["--type=merge", "-p", later.as_str(), "-o", "jsonpath={.status.order.novel}"];
    let written = cluster.plane.kubectl([&patch[..], &answer].concat()).expect("it is written");
    assert_eq!(written, "b", "the definition knows it");
    cluster.approve().await;
    cluster.until_reason("shop", "Issued");
    // It writes the whole status, as it knows it.
    assert_eq!(cluster.shop("{.status.novel}{.status.order.novel}"), "");
    assert_eq!(cluster.orders().await, 1);
    assert_eq!(operator.process.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_without_admission_policies_is_told_of_with_what_to_change() {
    let off = [
        "--runtime-config=admissionregistration.k8s.io/v1=false",
        "--disable-admission-plugins=MutatingAdmissionPolicy,MutatingAdmissionWebhook,ValidatingAdmissionPolicy,ValidatingAdmissionWebhook",
    ];
    let cluster = Cluster::of(ControlPlane::start_with_arguments(&off));
    let refused = cluster.helm(&[
        "install",
        "chancery",
        "charts/chancery",
        "--create-namespace",
        "--set",
        crate::helm::IMAGE,
    ]);
    let refused = refused.expect_err("it has no such kind");
    assert!(refused.contains("ValidatingAdmissionPolicy"), "{refused}");
    cluster.install(&["--set", "admissionPolicies.enabled=false"]);
    let operator = cluster.pod();
    operator.wait_until_it_says("the API server has no admission policies");
    operator.wait_until_it_says("--runtime-config");
    let (succeeded, printed) = cluster.check(&operator);
    let line = "NOT OK own-secrets.chancery.dev: the API server has no admission policies";
    assert!(!succeeded && printed.contains(line), "{printed}");
}
