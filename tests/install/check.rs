//! `helm test`: what its pod runs, as a process with its arguments and environment.

use std::time::{Duration, Instant};

use crate::installed::Cluster;
use crate::support::operator::Operator;

/// What is found wrong by now, each thing with its line.
fn wrong(cluster: &Cluster, operator: &Operator) -> Vec<(String, String)> {
    let (succeeded, printed) = cluster.check(operator);
    println!("{printed}");
    let lines = printed.lines().filter_map(|line| line.strip_prefix("NOT OK "));
    let lines = lines.filter_map(|line| line.split_once(": "));
    let wrong: Vec<_> = lines.map(|(what, line)| (what.to_owned(), line.to_owned())).collect();
    assert_eq!(succeeded, wrong.is_empty(), "{printed}");
    wrong
}

/// Waits until just these things are wrong, and each line has its words.
fn until_wrong(cluster: &Cluster, operator: &Operator, expected: &[(&str, &[&str])]) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let wrong = wrong(cluster, operator);
        let names: Vec<&str> = wrong.iter().map(|(what, _)| what.as_str()).collect();
        let wished: Vec<&str> = expected.iter().map(|(what, _)| *what).collect();
        if names == wished {
            for ((what, line), (_, words)) in wrong.iter().zip(expected) {
                for word in *words {
                    assert!(line.contains(word), "{what} does not say {word:?}: {line}");
                }
            }
            return;
        }
        assert!(Instant::now() < until, "{names:?} are wrong, and not {wished:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_test_finds_all_right_and_names_what_is_not_with_the_next_move() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let operator = cluster.pod();
    until_wrong(&cluster, &operator, &[]);
    let kubectl = |args: &[&str]| cluster.plane.kubectl(args.iter().copied()).expect("it is done");

    let policies = ["order-records.chancery.dev", "own-secrets.chancery.dev"];
    kubectl(&[&["delete", "validatingadmissionpolicy"], &policies[..]].concat());
    let apply = "; helm upgrade, or where the operator is system:serviceaccount:chancery:chancery kubectl apply -f deploy/admission.yaml";
    until_wrong(
        &cluster,
        &operator,
        &[
            (policies[0], &["is missing", "forge, change and delete", apply]),
            (policies[1], &["is missing", "system:serviceaccount:chancery:chancery", apply]),
        ],
    );
    cluster.install(&[]);

    kubectl(&["delete", "clusterrolebinding", "chancery"]);
    let rights: &[&str] = &[
        "system:serviceaccount:chancery:chancery may not",
        "update certificaterequests.chancery.dev/status",
        "create secrets,",
        ": helm upgrade, or where the operator is system:serviceaccount:chancery:chancery kubectl apply -f deploy/rbac.yaml",
    ];
    let nobody_can_tell: &[&str] = &["nobody can tell"];
    let blind =
        [("rights", rights), (policies[0], nobody_can_tell), (policies[1], nobody_can_tell)];
    until_wrong(&cluster, &operator, &blind);
    cluster.install(&[]);

    kubectl(&["delete", "crd", "issuers.chancery.dev"]);
    let definitions: &[&str] = &["does not know Issuer of", "kubectl apply -f crds/"];
    until_wrong(&cluster, &operator, &[("definitions", definitions)]);
    kubectl(&["apply", "-f", "crds/issuers.yaml"]);
    let older = r#"[{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/order"}]"#;
    kubectl(&["patch", "crd", "certificaterequests.chancery.dev", "--type=json", "-p", older]);
    let definitions: &[&str] = &[
        "of CertificateRequest in the API server is older",
        "such as status.order:",
        "apply those of version",
    ];
    until_wrong(&cluster, &operator, &[("definitions", definitions)]);
    // kubectl has changed it since.
    cluster.install(&["--force-conflicts"]);
    until_wrong(&cluster, &operator, &[]);

    // One that is stopped keeps the lease until it is over, and answers nothing.
    operator.process.signal("STOP");
    let silent: &[&str] = &["no answer", "kubectl get pods -n chancery"];
    let unheard: &[&str] = &["has not renewed it for", "no operator acts"];
    let nobody = [("leader", unheard), ("/livez", silent), ("/readyz", silent)];
    until_wrong(&cluster, &operator, &nobody);
    operator.process.signal("CONT");
    operator.process.signal("TERM");
    let unheard: &[&str] = &["nobody holds the Lease chancery/chancery", "no operator acts"];
    let refused: &[&str] = &["Connection refused", "kubectl get pods -n chancery"];
    let nobody = [("leader", unheard), ("/livez", refused), ("/readyz", refused)];
    until_wrong(&cluster, &operator, &nobody);
}

#[test]
fn helm_test_names_the_chosen_namespace_whose_rights_are_gone() {
    let cluster = Cluster::new();
    cluster.install(&["--set", "watchNamespaces={shop}"]);
    let operator = cluster.pod();
    until_wrong(&cluster, &operator, &[]);
    let (_, printed) = cluster.check(&operator);
    let served = "namespaces: requests and issuers of shop are served, and those of no other";
    assert!(printed.contains(served), "{printed}");
    let delete = ["delete", "rolebinding", "--namespace", "shop", "chancery-certificates"];
    cluster.plane.kubectl(delete).expect("it is gone");
    let bind = "create secrets, get certificaterequests.chancery.dev, get configmaps, get issuers.chancery.dev, get secrets";
    let mend = "in namespace shop: kubectl create rolebinding chancery-certificates -n shop --clusterrole=chancery-certificates --serviceaccount=chancery:chancery";
    let untold: &[&str] = &["nobody can tell"];
    until_wrong(
        &cluster,
        &operator,
        &[
            ("rights", &[bind, mend]),
            ("order-records.chancery.dev", untold),
            ("own-secrets.chancery.dev", untold),
        ],
    );
}
