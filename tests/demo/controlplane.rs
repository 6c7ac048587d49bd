//! A control plane to try things on: `make controlplane` runs until Ctrl-C.

#![allow(clippy::print_stdout, reason = "it tells how to reach what it started")]

#[path = "../support/mod.rs"]
mod support;

use support::control_plane::ControlPlane;
use support::operator;
use support::simulator::Simulator;

fn main() {
    let plane = ControlPlane::start();
    operator::install(&plane);
    let simulator = Simulator::start(plane.dir());
    let kubeconfig = plane.kubeconfig_of("chancery", "chancery");
    let opt_in = simulator.opt_in();
    let annotations = opt_in.as_object().into_iter().flatten();
    let annotations: Vec<_> = annotations.map(|(key, value)| format!("{key}: {value}")).collect();
    println!(
        "A real API server is running, with Chancery's definitions and RBAC, and the simulator.\n\n  \
         export KUBECONFIG={}\n  kubectl get chancery\n\n\
         The operator, with its own rights:\n\n  \
         KUBECONFIG={} cargo run -- operator --http-address 127.0.0.1:8080 --log-format text \\\n    \
         --tenant-issuers-may-reach loopback\n\n\
         The simulator is at {}; its TLS root is in {}.\n\
         Credentials opt in to be sent to it with\n\n  {}\n\nLogs and the audit log are in {}.\n\
         Ctrl-C ends everything.",
        plane.kubeconfig().display(),
        kubeconfig.display(),
        simulator.url,
        plane.dir().join("simulator/tls-root.crt").display(),
        annotations.join("\n  "),
        plane.dir().display(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Ok(runtime) = runtime {
        let _ = runtime.block_on(tokio::signal::ctrl_c());
    }
}
