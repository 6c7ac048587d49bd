//! Installed, upgraded, rolled back and uninstalled with the real helm, with an order that costs money
//! in the middle of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::helm::helm;
use crate::installed::Cluster;
use crate::support::operator::Operator;
use crate::support::program;

#[tokio::test(flavor = "multi_thread")]
async fn with_an_open_order_it_is_upgraded_rolled_back_and_uninstalled_and_buys_once() {
    let cluster = Cluster::new();
    let told = cluster.install(&[]);
    assert!(told.contains("kubectl -n chancery rollout status deployment/chancery"), "{told}");
    let operator = cluster.pod();
    cluster.order().await;
    let writes = cluster.secret_writes();
    // Each time the operator starts anew, as its pod would.
    assert_eq!(operator.process.stop(), Some(0));
    let told = cluster.install(&["--set", "replicas=3", "--set", "log.format=text"]);
    assert!(told.contains("REVISION: 2"), "{told}");
    assert_eq!(cluster.deployment()["spec"]["replicas"], 3);
    let operator = cluster.pod();
    cluster.until_reason("shop", "AwaitingApproval");
    assert_eq!(operator.process.stop(), Some(0));
    cluster.helm(&["rollback", "chancery", "1"]).expect("it is rolled back");
    assert_eq!(cluster.deployment()["spec"]["replicas"], 2);
    let operator = cluster.pod();
    cluster.until_reason("shop", "AwaitingApproval");
    assert_eq!((cluster.orders().await, cluster.secret_writes()), (1, writes));
    // Uninstalled with the order open: all that people asked for stays.
    assert_eq!(operator.process.stop(), Some(0));
    cluster.helm(&["uninstall", "chancery", "--wait", "--timeout=60s"]).expect("nothing hangs");
    let kept = ["get", "chreq,issuers.chancery.dev", "--namespace", "shop", "-o", "name"];
    let kept = cluster.plane.kubectl(kept).expect("the definitions stay");
    assert_eq!(kept.lines().count(), 2, "{kept}");
    let record = ["get", "secret", "--namespace", "shop", "shop.order", "-o", "name"];
    cluster.plane.kubectl(record).expect("its key stays");
    cluster.install(&[]);
    let operator = cluster.pod();
    cluster.approve().await;
    cluster.until_reason("shop", "Issued");
    assert_eq!(cluster.orders().await, 1);
    assert_eq!(operator.process.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_with_an_open_order_ends_when_it_is_deleted() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let operator = cluster.pod();
    cluster.order().await;
    let delete = ["delete", "namespace", "shop", "--timeout=60s"];
    cluster.plane.kubectl(delete).expect("nothing hangs");
    assert_eq!(cluster.orders().await, 1);
    assert_eq!(operator.process.stop(), Some(0));
    // The same after an uninstall, when nobody is there to let go of anything.
    cluster.plane.kubectl(["create", "namespace", "shop"]).expect("a new one");
    let operator = cluster.pod();
    cluster.order().await;
    drop(operator);
    cluster.helm(&["uninstall", "chancery", "--wait", "--timeout=60s"]).expect("nothing hangs");
    cluster.plane.kubectl(delete).expect("nothing hangs");
}

/// Installs a second release, in namespace `second`.
fn second(cluster: &Cluster, release: &str, values: &[&str]) -> Result<String, String> {
    let always = ["--set", crate::helm::IMAGE, "--set", "tenantIssuersMayReach={loopback}"];
    let install = ["install", release, "charts/chancery", "--namespace", "second"];
    let all = [&install[..], &["--create-namespace"], &always, values].concat();
    helm(Some(&cluster.plane.kubeconfig()), &all)
}

#[test]
fn a_second_installation_is_refused_unless_it_is_for_other_namespaces() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let second = |values: &[&str]| second(&cluster, "chancery", values);
    let refused = second(&[]).expect_err("one for all namespaces is there");
    assert!(refused.contains("chancery is installed in namespace chancery already"), "{refused}");
    assert!(refused.contains("watchNamespaces"), "{refused}");
    let _ = helm(
        Some(&cluster.plane.kubeconfig()),
        &["uninstall", "chancery", "--namespace", "second"],
    );
    cluster.helm(&["uninstall", "chancery"]).expect("it goes");
    // The definitions that it left behind are its own still, until they are taken over.
    second(&["--take-ownership"]).expect("they are taken over");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_installations_for_namespaces_of_their_own_leave_each_other_alone() {
    let cluster = Cluster::new();
    let kubectl = |line: &str| cluster.plane.kubectl(line.split(' ')).expect(line);
    kubectl("create namespace blog");
    let may_write = "admissionPolicies.operators={system:serviceaccount:second:second-chancery}";
    cluster.install(&["--set", "watchNamespaces={shop}", "--set", may_write]);
    let shared = ["--set", "crds.install=false,admissionPolicies.enabled=false"];
    let second =
        |values: &str| second(&cluster, "second", &[&shared[..], &["--set", values]].concat());
    let rows = [
        ("clusterIssuers=false", "installed in namespace chancery already"),
        (
            "watchNamespaces={blog,shop},clusterIssuers=false",
            "chancery in namespace chancery watches namespace shop already, and two would act on the same requests. Take shop out of watchNamespaces here, or there first",
        ),
        ("watchNamespaces={blog}", "chancery in namespace chancery serves ClusterIssuers already"),
    ];
    for (values, says) in rows {
        let refused = second(values).expect_err(values);
        assert!(refused.contains(says), "{values}: {refused}");
    }
    // One of before says of neither; that it serves ClusterIssuers is what all did.
    kubectl("label clusterrolebinding chancery chancery.dev/cluster-issuers-");
    let refused = second("watchNamespaces={blog}").expect_err("it serves them");
    assert!(refused.contains("Set clusterIssuers=false here, or there first"), "{refused}");
    let told = second("watchNamespaces={blog},clusterIssuers=false").expect("it is installed");
    assert!(told.contains("ClusterIssuers are left to another installation"), "{told}");
    cluster.install(&["--set", "watchNamespaces={shop}", "--set", may_write]);

    let (first, other) = (cluster.pod(), cluster.pod_of("second", "second-chancery"));
    let ra = cluster.simulator.swisssign("shop");
    ra.configure(json!({"keyAlgorithm": "ECDSA", "states": [{"state": "ISSUED"}]})).await;
    // Its credentials are where the first is, and nowhere else.
    let [mut credentials, mut issuer] = ra.issuer("chancery").await;
    credentials["metadata"]["name"] = json!("cluster-api-key");
    issuer["kind"] = json!("ClusterIssuer");
    issuer["metadata"] = json!({"name": "ca"});
    issuer["spec"]["swissSign"]["credentialsSecretRef"]["name"] = json!("cluster-api-key");
    issuer["spec"]["allow"] = json!({"namespaces": {}, "dnsNames": ["*.example.ch"]});
    let [own_credentials, own] = ra.issuer("blog").await;
    [credentials, issuer, own_credentials, own].iter().for_each(|object| cluster.apply(object));
    let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}";
    cluster.until(&["clusterissuers.chancery.dev", "ca", "-o", ready], "Checked");
    for (name, kind) in [("of-all", "ClusterIssuer"), ("own", "Issuer")] {
        cluster.apply(&json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": name, "namespace": "blog"},
            "spec": {
                "issuerRef": {"kind": kind, "name": "ca"}, "secretName": format!("{name}-tls"),
                "dnsNames": [format!("{name}.example.ch")], "privateKey": {"algorithm": "ECDSA"},
            },
        }));
    }
    let blog = ["chreq", "--namespace", "blog"];
    let issuing = "jsonpath={.status.conditions[?(@.type==\"Issuing\")].message}";
    cluster.until(
        &[&blog[..], &["of-all", "-o", issuing]].concat(),
        "ClusterIssuer ca is not asked: the Chancery of this namespace serves no ClusterIssuers; name an Issuer of namespace blog in spec.issuerRef, or ask the platform team",
    );
    cluster.until(&[&blog[..], &["own", "-o", ready]].concat(), "Issued");
    assert_eq!(cluster.orders().await, 1, "nothing is bought at the ClusterIssuer");
    let version = || {
        let path = "jsonpath={.metadata.resourceVersion} {.status.conditions[?(@.type==\"Ready\")].reason}";
        cluster.plane.kubectl(["get", "clusterissuers.chancery.dev", "ca", "-o", path])
    };
    let before = version().expect("the ClusterIssuer");
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(250));
        assert_eq!(version().expect("the ClusterIssuer"), before, "nobody else writes it");
    }
    // Nor does the second run into a right that it lacks.
    let account = "system:serviceaccount:second:second-chancery";
    let log = cluster.plane.audit_log();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let its: Vec<Value> = events.filter(|event| event["user"]["username"] == account).collect();
    let is_refused = |event: &&Value| {
        let is_tried = event["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun"));
        event["responseStatus"]["code"] == 403 && !is_tried
    };
    let refused: Vec<&Value> = its.iter().filter(is_refused).collect();
    assert!(!its.is_empty() && refused.is_empty(), "{refused:#?}");
    assert!(its.iter().all(|event| event["objectRef"]["resource"] != "clusterissuers"));
    assert_eq!((first.process.stop(), other.process.stop()), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_operator_that_helm_does_not_know_of_is_told_so_and_buys_nothing() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let kubectl = |line: &str| cluster.plane.kubectl(line.split(' ')).expect(line);
    kubectl("create namespace second");
    kubectl("create serviceaccount chancery -n second");
    let account = "--serviceaccount=second:chancery";
    kubectl(&format!("create clusterrolebinding second --clusterrole=chancery {account}"));
    kubectl(
        "create role chancery -n second --verb=create,get,update --resource=leases.coordination.k8s.io",
    );
    kubectl(&format!("create rolebinding chancery -n second --role=chancery {account}"));
    let second = Operator::spawn_as(
        &cluster.plane.kubeconfig_of("second", "chancery"),
        cluster.plane.dir(),
        &program("chancery"),
        &[("CHANCERY_NAMESPACE", "second")],
    );
    second.wait_until_ready();
    second.wait_until_it_acts();
    second.wait_until_it_says("or names another account than this operator's");
    // Alone it cannot store what has to be stored before an order.
    cluster.ask().await;
    second.wait_until_it_says("cannot create secrets shop/shop.order");
    assert_eq!(cluster.orders().await, 0);
    let first = cluster.pod();
    cluster.until_reason("shop", "AwaitingApproval");
    cluster.approve().await;
    cluster.until_reason("shop", "Issued");
    assert_eq!(cluster.orders().await, 1);
    drop(second);
    assert_eq!(first.process.stop(), Some(0));
}
