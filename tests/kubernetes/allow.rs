//! Who may order what, on a real API server.

use serde_json::json;

use crate::world::{Test, assert_says, condition, text};

/// A ClusterIssuer at the CA of the test, for namespaces with the label `team: <name>`.
async fn cluster_issuer(test: &Test, name: &str) -> serde_json::Value {
    let mut credentials = test.credentials(&format!("{name}-user"), "testuser", "changeme");
    credentials["metadata"]["namespace"] = json!("chancery");
    test.put(credentials).await;
    let mut issuer = test.issuer().await;
    issuer["kind"] = json!("ClusterIssuer");
    issuer["metadata"] = json!({"name": name});
    issuer["spec"]["onlineCa"]["credentialsSecretRef"]["name"] = json!(format!("{name}-user"));
    issuer["spec"]["allow"] = json!({
        "namespaces": {"matchLabels": {"team": name}},
        "keyTypes": ["RSA 2048", "ECDSA P-256"],
    });
    issuer
}

async fn label(test: &Test, team: serde_json::Value) {
    let patch = json!({"metadata": {"labels": {"team": team}}});
    test.patch("Namespace", &test.namespace, patch).await;
}

#[tokio::test]
async fn a_namespace_that_is_not_allowed_makes_no_key_and_no_call() {
    let name = "allow-namespaces";
    let test = Test::new(name).await;
    test.put(cluster_issuer(&test, name).await).await;
    let mut request = test.request("portal");
    request["spec"]["issuerRef"] = json!({"kind": "ClusterIssuer", "name": name});
    request["spec"]["privateKey"] = json!({"algorithm": "RSA"});
    test.put(request).await;
    let message = test.until_issuing("portal", "NamespaceNotAllowed").await;
    assert_says(&message, &["ClusterIssuer allow-namespaces does not serve namespace", "allow"]);
    let stalled = condition(&test.get("portal").await, "Stalled").expect("a person must act");
    assert_eq!(stalled.0, "True");
    test.a_moment_passes().await;
    assert_eq!(test.certificate_calls().await, 0);
    assert!(test.read("Secret", "portal-tls").await.is_none());

    // The label alone lets it go on, and without it what is delivered stays.
    label(&test, json!(name)).await;
    test.until_ready("portal").await;
    label(&test, json!(null)).await;
    let calls = test.certificate_calls().await;
    test.renew("portal", "1").await;
    let message = test.until_issuing("portal", "NamespaceNotAllowed").await;
    assert_says(&message, &["the certificate that is delivered stays"]);
    assert_eq!(condition(&test.get("portal").await, "Ready").expect("told").0, "True");
    assert_eq!(test.certificate_calls().await, calls);

    // It goes on where the issuer is suspended only once it is not.
    test.patch("ClusterIssuer", name, json!({"spec": {"suspend": true}})).await;
    label(&test, json!(name)).await;
    let message = test.until_issuing("portal", "IssuerSuspended").await;
    assert_says(&message, &["spec.suspend"]);
    test.a_moment_passes().await;
    assert_eq!(test.certificate_calls().await, calls);
    let issuer = test.read("ClusterIssuer", name).await.expect("it is there");
    let ready = issuer["status"]["conditions"].as_array().expect("conditions");
    let ready = ready.iter().find(|one| one["type"] == "Ready").expect("Ready");
    assert_eq!((text(&ready["status"]), text(&ready["reason"])), ("True", "Suspended"));
    test.patch("ClusterIssuer", name, json!({"spec": {"suspend": null}})).await;
    test.until_revision("portal", 2).await;
    test.delete("ClusterIssuer", name).await;
}
