//! The main job: from YAML to a verified Secret.

use serde_json::json;

use crate::world::Test;

#[tokio::test]
async fn yaml_becomes_a_verified_secret_with_three_requests() {
    let test = Test::with_issuer("main-job").await;
    test.apply(test.request("portal"));
    let request = test.until_ready("portal").await;
    let status = request.status.expect("a status");
    let certificate = status.certificate.expect("a certificate");
    assert_eq!(certificate.common_name.as_deref(), Some("testuser"));
    assert_eq!(certificate.private_key, "RSA 2048");
    assert_eq!(status.revision, Some(1));
    let secret = test.secret("portal-tls").await;
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    assert_eq!(
        test.audited().into_iter().filter(|call| !call.contains("issuers")).collect::<Vec<_>>(),
        ["get secrets", "get secrets", "create secrets", "update certificaterequests/status"],
        "the credentials of the issuer once, then three requests"
    );
    assert_eq!(test.events("portal").await, ["Issued"]);
    let _ = json!({});
}
