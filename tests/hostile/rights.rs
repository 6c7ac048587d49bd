//! What a tenant of these tests can do at all.

use serde_json::json;

use crate::tenant::Tenant;

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_acts_in_one_namespace_alone() {
    let tenant = Tenant::new("rights").await;
    let secret = |namespace: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "mine", "namespace": namespace},
        })
    };
    tenant.test.create(secret("rights")).await.expect("in its own");
    let refused = tenant.test.create(secret("rights-neighbour")).await;
    assert!(refused.unwrap_err().contains("forbidden"));
    tenant.neighbour_is_served().await;
}
