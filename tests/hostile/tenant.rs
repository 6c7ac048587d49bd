//! Somebody with rights in one namespace, and a neighbour.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::control_plane;
use crate::support::watch;
use crate::world::{Test, world};

/// Within this time a neighbour has the certificate asked for, whatever a tenant does.
pub const SOON: Duration = Duration::from_secs(5);

/// A tenant: `test` acts with the rights of one namespace, and has an Issuer `ca` that is ready.
pub struct Tenant {
    pub test: Test,
    neighbour: Test,
    served: AtomicU32,
}

impl Tenant {
    /// A namespace with `name`, and one of a neighbour.
    pub async fn new(name: &str) -> Self {
        let mut test = Test::with_fast_issuer(name).await;
        test.client = client_of_a_tenant(name).await;
        let neighbour = Test::with_fast_issuer(&format!("{name}-neighbour")).await;
        Self { test, neighbour, served: AtomicU32::new(0) }
    }

    /// A new request of the neighbour is served soon.
    pub async fn neighbour_is_served(&self) {
        let name = format!("n{}", self.served.fetch_add(1, Ordering::Relaxed));
        let mut request = self.neighbour.request(&name);
        request["spec"]["privateKey"] = json!({"algorithm": "ECDSA"});
        let begun = Instant::now();
        self.neighbour.put(request).await;
        let is_ready = |request: &chancery::api::CertificateRequest| {
            let status = request.status.clone().unwrap_or_default();
            chancery::api::condition::is_true(&status.conditions, "Ready")
        };
        let found = watch::until(self.neighbour.requests(), &name, SOON * 4, is_ready).await;
        let took = begun.elapsed();
        let log = || self.neighbour.operator_log();
        assert!(found.is_ok(), "the neighbour is not served: {found:#?}\n{}", log());
        assert!(took < SOON, "the neighbour is served after {took:?}\n{}", log());
    }
}

/// Whoever has all rights on what is in one namespace, and none beyond it.
async fn client_of_a_tenant(namespace: &str) -> kube::Client {
    let plane = &world().plane;
    let meta = json!({"name": "tenant", "namespace": namespace});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta,
        "rules": [
            {"apiGroups": ["chancery.dev"], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": [""], "resources": ["configmaps", "events", "secrets"], "verbs": ["*"]},
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenant"},
        "subjects": [{"kind": "ServiceAccount", "name": "tenant", "namespace": namespace}],
    });
    for object in [account, role, binding] {
        plane.put(object).expect("the tenant's rights");
    }
    control_plane::client(&plane.kubeconfig_of(namespace, "tenant")).await
}
