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
}

/// What openssl says: its exit and its output.
fn openssl(args: &[&str]) -> (bool, String) {
    let output = std::process::Command::new("openssl").args(args).output().expect("openssl starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn openssl_finds_the_delivered_secret_in_order() {
    let test = Test::with_issuer("openssl").await;
    test.site.configure(json!({"minKeyBits": 256})).await;
    let patch = json!({"spec": {"onlineCa": {"keyAlgorithms": ["RSA", "ECDSA"]}}});
    test.patch("Issuer", "ca", patch).await;
    test.until_issuer_ready("ca").await;
    let kinds = [("RSA", 2048), ("RSA", 3072), ("ECDSA", 256), ("ECDSA", 384)];
    for (algorithm, size) in kinds {
        let name = format!("{}-{size}", algorithm.to_lowercase());
        let mut request = test.request(&name);
        request["spec"]["privateKey"] = json!({"algorithm": algorithm, "size": size});
        test.put(request).await;
    }
    for (algorithm, size) in kinds {
        let name = format!("{}-{size}", algorithm.to_lowercase());
        test.until_ready(&name).await;
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str| dir.path().join(name).display().to_string();
        let write = |name: &str, text: &str| std::fs::write(file(name), text).expect("writes");
        let secret = format!("{name}-tls");
        let chain = test.entry(&secret, "tls.crt").await;
        let end = "-----END CERTIFICATE-----\n";
        let (leaf, rest) = chain.split_at(chain.find(end).expect("a block") + end.len());
        assert_eq!(
            rest.matches("BEGIN CERTIFICATE").count(),
            1,
            "{name}: one intermediate, no root"
        );
        write("leaf.pem", leaf);
        write("rest.pem", rest);
        write("ca.crt", &test.entry(&secret, "ca.crt").await);
        write("tls.key", &test.entry(&secret, "tls.key").await);
        let verified = openssl(&[
            "verify",
            "-no-CAfile",
            "-no-CApath",
            "-CAfile",
            &file("ca.crt"),
            "-untrusted",
            &file("rest.pem"),
            &file("leaf.pem"),
        ]);
        assert!(verified.0, "{name}: {verified:?}");
        let of_key = openssl(&["pkey", "-in", &file("tls.key"), "-pubout"]);
        let of_leaf = openssl(&["x509", "-in", &file("leaf.pem"), "-noout", "-pubkey"]);
        assert!(of_key.0 && of_key == of_leaf, "{name}: key and certificate belong together");
        // The anchor alone does not do: without the intermediate the chain must not verify.
        let alone = openssl(&[
            "verify",
            "-no-CAfile",
            "-no-CApath",
            "-CAfile",
            &file("ca.crt"),
            &file("leaf.pem"),
        ]);
        assert!(!alone.0, "{name}: {alone:?}");
        for part in ["leaf.pem", "rest.pem"] {
            let names = openssl(&["x509", "-in", &file(part), "-noout", "-subject", "-issuer"]).1;
            let mut names =
                names.lines().filter_map(|line| line.split_once('=')).map(|(_, name)| name);
            assert_ne!(names.next(), names.next(), "{name}: {part} is no root");
        }
    }
}
