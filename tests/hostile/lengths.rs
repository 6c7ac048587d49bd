//! Texts without end, where everything that was bought has to be written down.

use chancery::api::condition;
use serde_json::json;

use crate::tenant::Tenant;

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_written_down_is_not_asked_for() {
    let tenant = Tenant::new("lengths").await;
    let test = &tenant.test;
    let long = "x".repeat(250 * 1024);
    let mut nonce = test.request("nonce");
    nonce["metadata"]["annotations"] = json!({"chancery.dev/renew": long});
    let mut annotation = test.request("annotation");
    annotation["spec"]["secretTemplate"] = json!({"annotations": {"a": long}});
    // Each is short enough, and all together are not.
    let mut annotations = test.request("annotations");
    let many: serde_json::Map<String, serde_json::Value> =
        (0..16).map(|n| (format!("a{n}"), json!("x".repeat(16_384)))).collect();
    annotations["spec"]["secretTemplate"] = json!({"annotations": many});

    let refused = test.create(annotation).await.unwrap_err();
    assert!(refused.contains("16384"), "{refused}");
    for (request, name, says) in [
        (nonce, "nonce", "the annotation chancery.dev/renew has 256000 bytes, and at most 1024"),
        (annotations, "annotations", "shorten spec.secretTemplate.annotations"),
    ] {
        test.create(request).await.expect("it can be stored");
        let is_refused = |request: &chancery::api::CertificateRequest| {
            let status = request.status.clone().unwrap_or_default();
            condition::find(&status.conditions, "Issuing").is_some_and(|issuing| {
                issuing.reason == "TooLong" && issuing.message.contains(says)
            })
        };
        test.until(name, "refused", is_refused).await;
    }
    assert_eq!(test.certificate_calls().await, 0, "nothing was asked of the CA");
    assert!(test.read("Secret", "nonce-tls").await.is_none());
    tenant.neighbour_is_served().await;
}
