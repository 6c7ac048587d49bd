//! The demo in a cluster that somebody has: it leaves nothing of its own and touches nothing of others.

use std::process::{Command, Output};

use crate::helm::{IMAGE, helm};
use crate::support::control_plane::ControlPlane;
use crate::support::{program, root};

/// As `make demo CONTEXT=test`. Nothing stays on this machine: there are credentials in it.
fn demo(plane: &ControlPlane) -> Output {
    let here = tempfile::tempdir().expect("a directory");
    let kubectl = plane.kubectl_command();
    let tools = std::path::Path::new(kubectl.get_program()).parent().expect("a directory");
    let path = std::env::var("PATH").expect("a path");
    let shown = Command::new(program("examples/demo"))
        .current_dir(root())
        .env("CHANCERY_DEMO_CONTEXT", "test")
        .env("KUBECONFIG", plane.kubeconfig())
        .env("PATH", format!("{}:{path}", tools.display()))
        .env("TMPDIR", here.path())
        .output()
        .expect("the demo starts");
    let left: Vec<_> = std::fs::read_dir(here.path()).expect("a directory").collect();
    assert!(left.is_empty(), "{left:?}");
    shown
}

/// What is there, of what the demo may make.
fn objects(plane: &ControlPlane) -> String {
    let kinds = "namespaces,clusterroles,clusterrolebindings,crds,validatingadmissionpolicies";
    plane.kubectl(["get", kinds, "-o", "name"]).expect("a list")
}

#[test]
fn in_a_cluster_that_is_there_it_shows_all_and_leaves_nothing() {
    let plane = ControlPlane::start();
    let before = objects(&plane);
    let shown = demo(&plane);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{text}\n{}", String::from_utf8_lossy(&shown.stderr));
    for said in ["orders made at the CA so far: 1", "key matches certificate", "revision 2: "] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(objects(&plane), before);
    // Where the definitions are somebody's, they stay.
    plane.kubectl(["apply", "-f", "crds/"]).expect("definitions");
    plane.kubectl(["create", "namespace", "chancery-demo"]).expect("somebody's");
    let refused = demo(&plane);
    let text = String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success(), "{text}");
    assert!(text.contains("namespace chancery-demo is there and is not the demo's"), "{text}");
    plane.kubectl(["delete", "namespace", "chancery-demo"]).expect("it goes");
    // Nor does it run beside an operator that would act on what it asks for.
    plane.kubectl(["delete", "-f", "crds/"]).expect("they go");
    let install = ["install", "chancery", "charts/chancery", "--namespace", "chancery"];
    let all = [&install[..], &["--create-namespace", "--set", IMAGE]].concat();
    helm(Some(&plane.kubeconfig()), &all).expect("it is installed");
    let refused = demo(&plane);
    let text = String::from_utf8_lossy(&refused.stdout);
    assert!(text.contains("Chancery is installed in this cluster (clusterrolebinding"), "{text}");
}
