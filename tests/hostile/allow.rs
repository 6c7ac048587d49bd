//! Ordering what only others may.

use serde_json::json;

use crate::tenant::Tenant;
use crate::world::assert_says;

/// A ClusterIssuer serves the namespaces that its owner says, and a tenant changes no label of a
/// namespace.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_from_a_namespace_that_is_not_served_gets_nothing() {
    let tenant = Tenant::new("hostile-allow").await;
    let mut issuer = tenant.test.issuer().await;
    issuer["kind"] = json!("ClusterIssuer");
    issuer["metadata"] = json!({"name": "hostile-allow"});
    issuer["spec"]["onlineCa"].as_object_mut().expect("fields").remove("credentialsSecretRef");
    issuer["spec"]["allow"] = json!({"namespaces": {"matchLabels": {"team": "bank"}}});
    tenant.test.apply(issuer);
    let mut request = tenant.test.request("greedy");
    request["spec"]["issuerRef"] = json!({"kind": "ClusterIssuer", "name": "hostile-allow"});
    tenant.test.put(request).await;
    let message = tenant.test.until_issuing("greedy", "NamespaceNotAllowed").await;
    assert_says(&message, &["does not serve namespace hostile-allow"]);
    assert!(!message.contains("bank"), "nobody is told of others: {message}");
    let label = json!({"metadata": {"labels": {"team": "bank"}}});
    let refused = tenant.test.try_patch("Namespace", "hostile-allow", label).await;
    assert_says(&refused.expect_err("a tenant's rights"), &["forbidden"]);
    assert_eq!(tenant.test.certificate_calls().await, 0);
    tenant.neighbour_is_served().await;
    tenant.test.kubectl(&["delete", "clusterissuers.chancery.dev", "hostile-allow"]);
}

/// A CSR that asks to be a CA goes to none.
#[tokio::test(flavor = "multi_thread")]
async fn a_csr_for_the_certificate_of_a_ca_is_not_sent() {
    let tenant = Tenant::new("hostile-csr").await;
    let written = std::process::Command::new("openssl")
        .args("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout".split(' '))
        .args("/dev/null -subj /CN=a -addext basicConstraints=critical,CA:TRUE".split(' '))
        .output()
        .expect("openssl runs");
    let csr = String::from_utf8(written.stdout).expect("PEM");
    assert!(csr.contains("BEGIN CERTIFICATE REQUEST"), "{csr}");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": "own", "namespace": tenant.test.namespace,
            "labels": {"chancery.dev/credentials": "true"},
        },
        "stringData": {"tls.csr": csr},
    });
    tenant.test.put(secret).await;
    let mut request = tenant.test.request("authority");
    request["spec"]["csrSecretRef"] = json!({"name": "own"});
    request["spec"].as_object_mut().expect("fields").remove("privateKey");
    tenant.test.put(request).await;
    let message = tenant.test.until_issuing("authority", "CsrUnusable").await;
    assert_says(&message, &["CA:TRUE"]);
    assert_eq!(tenant.test.certificate_calls().await, 0);
    tenant.neighbour_is_served().await;
}
