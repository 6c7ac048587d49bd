//! Installed, upgraded, rolled back and uninstalled with the real helm, with an order that costs money
//! in the middle of it.

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

#[test]
fn a_second_installation_is_refused_unless_it_is_for_other_namespaces() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let second = |values: &[&str]| {
        let image = ["--set", crate::helm::IMAGE];
        let install = ["install", "chancery", "charts/chancery", "--namespace", "second"];
        let all = [&install[..], &["--create-namespace"], &image, values].concat();
        helm(Some(&cluster.plane.kubeconfig()), &all)
    };
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
