//! `deploy/` and `crds/`: rendered from the chart, and taken by kubectl as they are.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::helm::documents;
use crate::support::control_plane::ControlPlane;
use crate::support::root;

/// All files below a directory, by their path in it.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let name = path.strip_prefix(dir).expect("below it").display().to_string();
            all.insert(name, std::fs::read_to_string(&path).expect("text"));
        }
    }
    all
}

#[test]
fn what_is_installed_without_helm_is_what_the_chart_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let render = Command::new(root().join("deploy/render")).arg(dir.path()).output();
    let render = render.expect("deploy/render starts");
    assert!(render.status.success(), "{}", String::from_utf8_lossy(&render.stderr));
    let (fresh, kept) = (files(dir.path()), files(&root().join("deploy")));
    assert!(fresh.len() >= 8, "{:?}", fresh.keys());
    for (name, text) in &fresh {
        assert!(kept.get(name) == Some(text), "deploy/{name} is stale: run `make manifests`");
    }
}

#[test]
fn the_definitions_in_the_chart_are_those_in_crds() {
    let [chart, crds] = ["charts/chancery/definitions", "crds"].map(|dir| files(&root().join(dir)));
    assert_eq!(crds.len(), 3);
    assert!(chart == crds, "charts/chancery/definitions is stale: run `make manifests`");
}

#[test]
fn kubectl_takes_each_way_to_install() {
    let plane = ControlPlane::start();
    plane.kubectl(["apply", "-f", "crds/"]).expect("kubectl apply -f crds/");
    plane.kubectl(["apply", "-k", "deploy"]).expect("kubectl apply -k deploy");
    let file = ["apply", "-f", "deploy/chancery.yaml"];
    let told = plane.kubectl(file).expect("kubectl apply -f deploy/chancery.yaml");
    assert!(told.lines().all(|line| line.ends_with("unchanged") || line.contains("configured")));
    let objects = documents(&std::fs::read_to_string(root().join(file[2])).expect("it"));
    assert_eq!(told.lines().count(), objects.len(), "{told}");
    plane.kubectl(["delete", "-f", "deploy/chancery.yaml", "--wait=false"]).expect("it goes");
}

#[test]
fn components_of_kustomize_go_together() {
    let plane = ControlPlane::start();
    // Kustomize takes no absolute paths.
    let dir = tempfile::tempdir_in(root().join("target")).expect("a directory");
    let kustomization = "resources: [../../deploy]\n\
        components:\n\
        - ../../deploy/components/high-availability\n\
        - ../../deploy/components/one-namespace\n\
        images: [{name: chancery, newName: registry.example/team/chancery}]\n";
    std::fs::write(dir.path().join("kustomization.yaml"), kustomization).expect("writes");
    let at = dir.path().display().to_string();
    let built = documents(&plane.kubectl(["kustomize", at.as_str()]).expect("it is built"));
    let deployment = crate::helm::one(&built, "Deployment");
    assert_eq!(deployment["spec"]["replicas"], 3);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let image = format!("registry.example/team/chancery:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(container["image"], image.as_str());
    let is_it = |object: &&serde_json::Value| {
        object["kind"] == "ClusterRole" && object["metadata"]["name"] == "chancery"
    };
    let cluster = built.iter().find(is_it).expect("a role")["rules"].to_string();
    assert!(!cluster.contains("secrets"), "{cluster}");
    let watched = container["env"].as_array().expect("variables").last().expect("one").clone();
    assert_eq!(watched["name"], "CHANCERY_WATCH_NAMESPACES");
    plane.kubectl(["apply", "-k", at.as_str()]).expect("the API server takes it");
}
