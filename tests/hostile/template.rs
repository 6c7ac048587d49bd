//! Secrets with the annotations of other controllers: one that copies Secrets into other namespaces does
//! so for whoever may write those.

use std::collections::BTreeMap;

use serde_json::json;

use crate::tenant::Tenant;
use crate::world::{Test, assert_says, condition};

const COPIED: &str = "reflector.example.com/reflection-allowed";

async fn annotations(test: &Test, secret: &str) -> BTreeMap<String, String> {
    test.secret(secret).await.metadata.annotations.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_controller_gets_on_no_secret() {
    let tenant = Tenant::new("template").await;
    let test = &tenant.test;
    let with = |name: &str, key: &str, value: &str| {
        let mut request = test.request(name);
        request["spec"]["privateKey"] = json!({"algorithm": "ECDSA"});
        request["spec"]["secretTemplate"] = json!({"annotations": {key: value}});
        request
    };
    test.put(with("copied", COPIED, "true")).await;
    let message = test.until_issuing("copied", "TemplateNotAllowed").await;
    let field = format!("spec.secretTemplate.annotations has the key {COPIED}");
    assert_says(&message, &[&field, "--secret-template-keys"]);
    test.a_moment_passes().await;
    assert_eq!(test.certificate_calls().await, 0, "nothing was asked of the CA");
    assert!(test.read("Secret", "copied-tls").await.is_none());
    tenant.neighbour_is_served().await;

    // One that is delivered does not get it either, and is not renewed with it.
    test.put(with("portal", "example.org/owner", "ada")).await;
    test.until_ready("portal").await;
    let (calls, before) = (test.certificate_calls().await, test.secret("portal-tls").await);
    let both = json!({"example.org/owner": "ada", COPIED: "true"});
    let patch = json!({"spec": {"secretTemplate": {"annotations": both}}});
    test.patch("CertificateRequest", "portal", patch).await;
    test.until_issuing("portal", "TemplateNotAllowed").await;
    test.renew("portal", "1").await;
    test.until_issuing_says("portal", "TemplateNotAllowed", &["is delivered stays"]).await;
    test.a_moment_passes().await;
    assert_eq!(condition(&test.get("portal").await, "Ready").expect("it is told").0, "True");
    assert_eq!(test.certificate_calls().await, calls, "nothing was asked of the CA");
    assert_eq!(test.secret("portal-tls").await, before, "it stays as it was");
    tenant.neighbour_is_served().await;

    // Without it, all goes on.
    let patch = json!({"spec": {"secretTemplate": {"annotations": {COPIED: null}}}});
    for name in ["portal", "copied"] {
        test.patch("CertificateRequest", name, patch.clone()).await;
    }
    test.until_revision("portal", 2).await;
    test.until_ready("copied").await;
    for secret in ["portal-tls", "copied-tls"] {
        assert!(!annotations(test, secret).await.contains_key(COPIED), "{secret}");
    }
    assert_eq!(annotations(test, "portal-tls").await["example.org/owner"], "ada");
    tenant.neighbour_is_served().await;
}
