//! The peer: cert-manager's controllers and an external issuer made with issuer-lib, as one
//! process with an account of its own. `main.go` says what it is and why it is built that way.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::json;

use crate::support::control_plane::ControlPlane;
use crate::support::process::Process;
use crate::support::root;

/// Whom the audit log names.
pub(crate) const USER: &str = "system:serviceaccount:peer:peer";

/// Whether it was asked for.
pub(crate) fn is_wanted() -> bool {
    std::env::var("CHANCERY_BENCH_PEER").is_ok_and(|value| value == "1")
}

/// Directory of the program and of cert-manager's definitions; builds what is missing, once.
pub(crate) fn assets() -> PathBuf {
    let output = Command::new(root().join("benches/peer/build"))
        .stderr(Stdio::inherit())
        .output()
        .expect("benches/peer/build starts");
    assert!(output.status.success(), "benches/peer/build failed: see above");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// The running peer.
pub(crate) struct Peer {
    pub(crate) process: Process,
}

impl Peer {
    /// Puts definitions and account into the cluster, starts it, and waits until its issuer `ca` in
    /// `namespace` is Ready, which it is when all of the peer has seen the cluster.
    pub(crate) fn start(plane: &ControlPlane, assets: &Path, namespace: &str) -> Self {
        let crds = assets.join("crds").display().to_string();
        let files = ["-f", &crds, "-f", "benches/peer/peer.yaml"];
        let apply = ["apply", "--server-side"];
        plane.kubectl(apply.into_iter().chain(files)).expect("definitions and account");
        let wait = ["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"];
        plane.kubectl(wait).expect("the definitions are established");
        let kubeconfig = plane.kubeconfig_of("peer", "peer");
        let process = Process::start(
            plane.dir(),
            &format!("peer-{namespace}"),
            &assets.join("chancery-bench-peer"),
            [format!("--kubeconfig={}", kubeconfig.display())],
            &[],
        );
        let issuer = json!({
            "apiVersion": "bench.chancery.dev/v1alpha1", "kind": "PeerIssuer",
            "metadata": {"name": "ca", "namespace": namespace},
        });
        plane.apply(&issuer.to_string()).expect("an issuer");
        let wait = ["wait", "-n", namespace, "--for=condition=Ready", "--timeout=60s"];
        plane
            .kubectl(wait.into_iter().chain(["peerissuers.bench.chancery.dev/ca"]))
            .unwrap_or_else(|error| panic!("the peer is not ready: {error}\n{}", process.log()));
        Self { process }
    }

    /// Ends it: how many certificates its CA signed.
    pub(crate) fn stop(mut self) -> usize {
        self.process.signal("TERM");
        self.process.wait(Duration::from_secs(60));
        let log = self.process.log();
        let count = log.lines().find_map(|line| line.strip_prefix("signatures: ")?.parse().ok());
        count.unwrap_or_else(|| panic!("the peer did not end well:\n{log}"))
    }
}

/// cert-manager's Certificates.
pub(crate) fn certificates(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate");
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind))
}

/// What a user of cert-manager writes for what `request` asks of Chancery.
pub(crate) fn certificate(number: usize) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": format!("r{number}")},
        "spec": {
            "issuerRef": {"group": "bench.chancery.dev", "kind": "PeerIssuer", "name": "ca"},
            "secretName": format!("r{number}-tls"),
            // cert-manager accepts no Certificate without any name.
            "dnsNames": [format!("r{number}.example.com")],
            "privateKey": {"algorithm": "ECDSA", "size": 256},
        },
    }))
    .expect("a certificate")
}

/// Whether a Certificate is Ready.
pub(crate) fn is_ready(certificate: &DynamicObject) -> bool {
    let conditions = certificate.data["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    })
}
