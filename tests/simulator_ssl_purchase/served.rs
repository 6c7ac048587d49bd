//! The simulator as a program, with curl and openssl as its clients.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{program, simulator::Simulator};

/// What the lines of a shell print; they must not fail.
async fn shell(directory: &Path, variables: &[(&str, &str)], lines: &str) -> String {
    let output = tokio::process::Command::new("bash")
        .args(["-euo", "pipefail", "-c", lines])
        .current_dir(directory)
        .envs(variables.iter().copied())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{lines}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn ssl_purchase_lines_of_the_vendors_document_work() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(directory.path());
    let site = simulator.ssl_purchase("shop");
    let document = site.configure(json!({})).await;
    let plan = document["settings"]["plans"][0]["id"].as_str().unwrap();
    fs::write(directory.path().join("tls.crt"), simulator.tls_root()).unwrap();
    fs::write(directory.path().join("root.crt"), site.root_pem().await).unwrap();
    let url = site.url();
    // The CSR of the vendor's document: RSA, no alternative names, an organisation.
    let lines = r##"
        ask() { curl -sS --fail --cacert tls.crt -u demo-reseller:changeme "$@"; }
        openssl req -new -newkey rsa:2048 -nodes -keyout u.key -out u.csr 2>/dev/null \
          -subj '/C=NL/ST=Some-State/O=Internet Widgits Pty Ltd/CN=example.com'
        CSR=$(awk '{printf "%s\\n", $0}' u.csr)
        ID=$(ask -X POST "$URL/ssl-certificate" -d "{\"plan\": \"$PLAN\", \"csr\": \"$CSR\",
            \"dcv_type\": \"EMAIL\", \"approver_email_address\": \"john.doe@example.com\",
            \"approver_phone_number\": \"+31.612345678\", \"client_reference\": \"#123\"}" \
          | grep -o '"id":"[0-9a-f-]*","iss' | cut -d'"' -f4)
        ask -G "$URL/ssl-certificate" --data-urlencode 'client_reference=#123' | grep -q "$ID"
        until ask "$URL/ssl-certificate/$ID" | grep -q '"status":"active"'; do sleep 0.05; done
        for file in crt ca pkcs7 zip csr; do
          ask -OJ "$URL/ssl-certificate/$ID/download-$file"
        done
        ls example_com.*
        openssl verify -x509_strict -purpose sslserver -verify_hostname www.example.com \
          -CAfile root.crt -untrusted example_com.ca-bundle example_com.crt
        cmp <(openssl x509 -in example_com.crt -noout -pubkey) <(openssl pkey -in u.key -pubout)
        cmp <(openssl req -in example_com.csr -outform DER) <(openssl req -in u.csr -outform DER)
        ask -X DELETE "$URL/ssl-certificate/$ID""##;
    let printed = shell(directory.path(), &[("URL", &url), ("PLAN", plan)], lines).await;
    assert_eq!(
        printed,
        "example_com.ca-bundle\nexample_com.crt\nexample_com.csr\nexample_com.p7b\n\
         example_com.zip\nexample_com.crt: OK\n{\"result\":null,\"success\":true}"
    );
    let orders = site.orders().await;
    assert_eq!(orders[0]["purchases"][0]["delivery"], "delivered");
    assert_eq!((site.bought("#123").await, site.paid().await), (1, 1));
    assert_eq!((site.calls("delete").await, site.calls("renew").await), (1, 0));
}

#[tokio::test]
async fn ssl_purchase_sites_can_be_driven_in_a_process_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(directory.path());
    let site = simulator.ssl_purchase("shop");
    site.configure(json!({"keyAlgorithm": "ECDSA", "validation": {"how": "manual"}})).await;
    site.change(json!({"failuresWith200": true})).await;
    let settings = site.settings().await;
    assert_eq!(settings["validation"]["how"], "manual", "the rest stays");
    fs::write(directory.path().join("tls.crt"), simulator.tls_root()).unwrap();
    site.fault(json!({"operation": "plans", "kind": "dropAfterCommit"})).await;
    let url = site.url();
    let lines = r#"
        ask() { curl -sS -o /dev/null -w '%{http_code} ' --cacert tls.crt "$@" || echo "curl:$?"; }
        ask "$URL/ssl-certificate"
        ask -u demo-reseller:changeme "$URL/ssl-certificate-plan" 2>/dev/null"#;
    let printed = shell(directory.path(), &[("URL", &url)], lines).await;
    assert_eq!(printed, "200 000 curl:52\n");
    site.clear_faults().await;
    site.restart().await;

    let run = |site: &str| {
        let output = Command::new(program("chancery-simulator"))
            .args(["--site", site])
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(r#"ssl-purchase/a={"states": []}"#).contains("states must not be empty"));
}
