//! What the API server lets in, how the definitions look to a user, and what it says otherwise.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::{Value, json};

use crate::support::{program, root};
use crate::world::{Test, assert_says, text, world};

/// In a patch: the field goes.
const GONE: &str = "(gone)";

/// `base` with `patch` merged in; null is a value here.
fn with(base: &Value, patch: &Value) -> Value {
    let (Value::Object(fields), Value::Object(changes)) = (base, patch) else {
        return patch.clone();
    };
    let mut fields = fields.clone();
    for (key, change) in changes {
        if change == GONE {
            fields.remove(key);
        } else {
            let old = fields.get(key).cloned().unwrap_or_else(|| json!({}));
            fields.insert(key.clone(), with(&old, change));
        }
    }
    Value::Object(fields)
}

fn request(namespace: &str, spec: &Value) -> Value {
    let base = json!({"issuerRef": {"name": "ca"}, "secretName": "portal-tls", "onlineCa": {}});
    json!({
        "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
        "metadata": {"name": "portal", "namespace": namespace},
        "spec": with(&base, spec),
    })
}

fn issuer(kind: &str, namespace: &str, spec: &Value) -> Value {
    let base = json!({"onlineCa": {
        "certificateUrl": "https://ca.example.org/certificate/",
        "trustRootsUrl": "https://ca.example.org/trustroots/",
    }});
    let mut metadata = json!({"name": "ca"});
    let mut base = base;
    if kind == "Issuer" {
        metadata["namespace"] = json!(namespace);
    } else {
        base["allow"] = json!({"namespaces": {}});
    }
    json!({
        "apiVersion": "chancery.dev/v1alpha1", "kind": kind,
        "metadata": metadata,
        "spec": with(&base, spec),
    })
}

/// Fails with all rows that are not as they should be: `None` is taken, text is in the refusal.
async fn check(
    test: &Test,
    rows: &[(&str, Value, Option<&str>)],
    object: impl Fn(&Value) -> Value,
) {
    let mut wrong = Vec::new();
    for (name, spec, expected) in rows {
        let answer = test.dry_run(&object(spec)).await;
        match (answer, expected) {
            (Ok(_), None) => {}
            (Err(message), Some(part)) if message.contains(part) => {}
            (answer, _) => wrong.push(format!("{name}: expected {expected:?}, got {answer:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_with_what_to_write_instead() {
    let identity = Some("say who the certificate is for: commonName, subject, dnsNames");
    let ignores = Some("an Online CA issues to a user and ignores names");
    let dns = Some("each of dnsNames must be a DNS name such as shop.example.org");
    let secret = Some("secretName must be the name of a Secret");
    let duration = Some("renewBefore must be a duration of a minute or more");
    let size =
        Some("size must be 2048, 3072 or 4096 for RSA, 256, 384 or 521 for ECDSA; Ed25519 has");
    let address = Some("each of ipAddresses must be an IP address such as 192.0.2.1");
    let uri = Some("each of uris must be a URI with a scheme such as spiffe://");
    let email = Some("each of emailAddresses must be an e-mail address such as");
    let lifetime = Some("duration must be an hour or more in hours, minutes and seconds");
    let addresses = |addresses: &[&str]| json!({"onlineCa": GONE, "ipAddresses": addresses});
    let uris = |uris: &[&str]| json!({"onlineCa": GONE, "uris": uris});
    let emails = |emails: &[&str]| json!({"onlineCa": GONE, "emailAddresses": emails});
    let subject = |field: &str, value: Value| json!({"onlineCa": GONE, "subject": {field: value}});
    let brought = Some("the CSR that csrSecretRef names says names, usages and key: remove");
    let csr = |reference: Value| json!({"onlineCa": GONE, "csrSecretRef": reference});
    let names = |names: &[&str]| json!({"onlineCa": GONE, "dnsNames": names});
    let renew = |before: &str| json!({"renewBefore": before});
    let key =
        |algorithm: &str, size: i32| json!({"privateKey": {"algorithm": algorithm, "size": size}});
    let label = |key: &str, value: &str| json!({"secretTemplate": {"labels": {key: value}}});
    let many: Vec<String> = (0..101).map(|n| format!("{n}.example")).collect();
    let labels: serde_json::Map<String, Value> =
        (0..65).map(|n| (format!("l{n}"), json!("x"))).collect();
    let rows = [
        ("the least", json!({}), None),
        ("nobody", json!({"onlineCa": GONE}), identity),
        ("a common name alone", json!({"onlineCa": GONE, "commonName": "a"}), None),
        ("a DNS name alone", names(&["shop.example.org"]), None),
        ("a user and a common name", json!({"commonName": "a"}), ignores),
        ("a user and a DNS name", json!({"dnsNames": ["a.example"]}), ignores),
        (
            "an empty common name",
            json!({"onlineCa": GONE, "commonName": ""}),
            Some("spec.commonName"),
        ),
        ("64 characters", json!({"onlineCa": GONE, "commonName": "x".repeat(64)}), None),
        (
            "65 characters",
            json!({"onlineCa": GONE, "commonName": "x".repeat(65)}),
            Some("may not be more than 64"),
        ),
        ("no names", names(&[]), Some("should have at least 1 items")),
        (
            "101 names",
            json!({"onlineCa": GONE, "dnsNames": many}),
            Some("must have at most 100 items"),
        ),
        ("the same name twice", names(&["a.example", "a.example"]), Some("Duplicate value")),
        ("an empty name", names(&[""]), Some("spec.dnsNames[0]")),
        ("a wildcard", names(&["*.example.org", "_acme.example.org", "Shop.example.org"]), None),
        ("a star alone", names(&["*"]), dns),
        ("a star inside", names(&["a.*.example"]), dns),
        ("an empty label", names(&["a..example"]), dns),
        ("a hyphen first", names(&["-a.example"]), dns),
        ("a hyphen last", names(&["a-.example"]), dns),
        ("a space", names(&["a b.example"]), dns),
        ("a URL", names(&["https://a.example/"]), dns),
        ("one good and one bad name", names(&["a.example", "b_/.example"]), dns),
        ("a name as people write it", names(&["müller.example", "*.例え.テスト"]), None),
        ("an umlaut and a space", names(&["müll er.example"]), dns),
        ("IP addresses", addresses(&["192.0.2.1", "2001:db8::1"]), None),
        ("an IP address with a leading zero", addresses(&["192.0.2.01"]), address),
        ("a network", addresses(&["192.0.2.0/24"]), address),
        ("a name for an IP address", addresses(&["a.example"]), address),
        ("a zone", addresses(&["fe80::1%eth0"]), address),
        ("the same address twice", addresses(&["::1", "::1"]), Some("Duplicate value")),
        ("URIs", uris(&["spiffe://example.org/shop", "urn:uuid:1"]), None),
        ("a URI without a scheme", uris(&["example.org/shop"]), uri),
        ("a URI beyond ASCII", uris(&["https://müller.example/"]), uri),
        ("a URI with a space", uris(&["https://a b/"]), uri),
        ("a URI of a scheme alone", uris(&["spiffe:"]), uri),
        ("e-mail addresses", emails(&["a.b+c@example.org", "a@müller.example"]), None),
        ("an e-mail address with a name", emails(&["Ada <ada@example.org>"]), email),
        ("an e-mail address without a host", emails(&["ada@"]), email),
        ("an e-mail address beyond ASCII", emails(&["jürg@example.org"]), email),
        ("two at signs", emails(&["a@b@example.org"]), email),
        ("a user and an IP address", json!({"ipAddresses": ["192.0.2.1"]}), ignores),
        ("a user and a URI", json!({"uris": ["urn:uuid:1"]}), ignores),
        ("a user and an e-mail address", json!({"emailAddresses": ["a@b.example"]}), ignores),
        ("a user and a subject", json!({"subject": {"organizations": ["A"]}}), ignores),
        ("a subject alone", subject("organizations", json!(["A"])), None),
        ("the same unit twice", subject("organizationalUnits", json!(["a", "b", "a"])), None),
        (
            "an empty subject",
            json!({"onlineCa": GONE, "subject": {}}),
            Some("spec.subject in body should have at least 1 properties"),
        ),
        (
            "an organization of 65",
            subject("organizations", json!(["x".repeat(65)])),
            Some("spec.subject.organizations[0]"),
        ),
        ("an empty organization", subject("organizations", json!([""])), Some("organizations[0]")),
        ("no organization", subject("organizations", json!([])), Some("at least 1 items")),
        ("a country", subject("countries", json!(["CH"])), None),
        (
            "a country in words",
            subject("countries", json!(["ch"])),
            Some("each of subject.countries must be the two capital letters of a country"),
        ),
        (
            "a jurisdiction in lower case",
            subject("jurisdictionCountry", json!("ch")),
            Some("subject.jurisdictionCountry must be the two capital letters"),
        ),
        (
            "a serial number that no certificate can carry",
            subject("serialNumber", json!("a@b")),
            Some("subject.serialNumber takes letters, digits, spaces and '()+,-./:=? only"),
        ),
        ("every sign of a serial number", subject("serialNumber", json!("A-1 '()+,./:=?")), None),
        (
            "a domain component beyond ASCII",
            subject("domainComponents", json!(["müller"])),
            Some("each of subject.domainComponents must be one label"),
        ),
        (
            "an e-mail address in the subject that is none",
            subject("emailAddresses", json!(["ada"])),
            Some("each of subject.emailAddresses must be an address"),
        ),
        (
            "an attribute that does not exist",
            subject("organisations", json!(["A"])),
            Some("unknown field \"spec.subject.organisations\""),
        ),
        (
            "every usage of an end entity",
            json!({"usages": [
                "signing", "digital signature", "content commitment", "key encipherment",
                "key agreement", "data encipherment", "encipher only", "decipher only", "any",
                "server auth", "client auth", "code signing", "email protection", "s/mime",
                "ipsec end system", "ipsec tunnel", "ipsec user", "timestamping", "ocsp signing",
            ]}),
            None,
        ),
        ("a usage of a CA", json!({"usages": ["cert sign"]}), Some("Unsupported value")),
        ("no usage", json!({"usages": []}), Some("should have at least 1 items")),
        (
            "a usage twice",
            json!({"usages": ["server auth", "server auth"]}),
            Some("Duplicate value"),
        ),
        ("a CSR alone", csr(json!({"name": "mine"})), None),
        ("a CSR under another key", csr(json!({"name": "mine", "key": "csr.pem"})), None),
        ("a CSR and a user", json!({"csrSecretRef": {"name": "mine"}}), None),
        (
            "a CSR and a lifetime",
            with(&csr(json!({"name": "a"})), &json!({"duration": "24h"})),
            None,
        ),
        (
            "a CSR and a name",
            with(&csr(json!({"name": "a"})), &json!({"commonName": "a"})),
            brought,
        ),
        (
            "a CSR and usages",
            with(&csr(json!({"name": "a"})), &json!({"usages": ["client auth"]})),
            brought,
        ),
        (
            "a CSR and a kind of key",
            with(&csr(json!({"name": "a"})), &json!({"privateKey": {"algorithm": "RSA"}})),
            brought,
        ),
        (
            "a CSR in the target",
            csr(json!({"name": "portal-tls"})),
            Some("csrSecretRef.name and secretName name the same Secret"),
        ),
        ("a CSR without a Secret", csr(json!({"name": ""})), Some("spec.csrSecretRef.name")),
        ("a lifetime", json!({"duration": "2160h"}), None),
        ("a lifetime of an hour", json!({"duration": "60m"}), None),
        ("a lifetime below an hour", json!({"duration": "59m"}), lifetime),
        ("a lifetime in days", json!({"duration": "90d"}), lifetime),
        ("an upper case secretName", json!({"secretName": "Portal"}), secret),
        ("a secretName with a path", json!({"secretName": "a/b"}), secret),
        ("a secretName that ends in a hyphen", json!({"secretName": "a-"}), secret),
        ("a secretName no Secret can have", json!({"secretName": "a..b"}), secret),
        ("another secretName no Secret can have", json!({"secretName": "a.-b"}), secret),
        ("an empty secretName", json!({"secretName": ""}), Some("spec.secretName")),
        (
            "a secretName of 254",
            json!({"secretName": "a".repeat(254)}),
            Some("may not be more than 253"),
        ),
        ("no secretName", json!({"secretName": GONE}), Some("spec.secretName: Required value")),
        ("a secretName with dots", json!({"secretName": "a-1.b.c"}), None),
        ("hours", renew("720h"), None),
        ("hours and minutes", renew("1h30m"), None),
        ("a minute in seconds", renew("60s"), None),
        ("days", renew("30d"), duration),
        ("less than a minute", renew("59s"), duration),
        ("a bare number", renew("720"), duration),
        ("a negative time", renew("-1h"), duration),
        ("an order nobody reads", renew("30m1h"), duration),
        ("longer than time itself", renew("9999999999999h"), duration),
        ("an empty time", renew(""), Some("spec.renewBefore")),
        ("a percentage", json!({"renewBeforePercentage": 40}), None),
        ("none left", json!({"renewBeforePercentage": 0}), Some("spec.renewBeforePercentage")),
        ("all left", json!({"renewBeforePercentage": 91}), Some("spec.renewBeforePercentage")),
        (
            "a time and a percentage",
            json!({"renewBefore": "1h", "renewBeforePercentage": 40}),
            Some("set renewBefore or renewBeforePercentage, not both"),
        ),
        ("RSA 2048", key("RSA", 2048), None),
        ("RSA 3072", key("RSA", 3072), None),
        ("RSA 4096", key("RSA", 4096), None),
        ("ECDSA 256", key("ECDSA", 256), None),
        ("ECDSA 384", key("ECDSA", 384), None),
        ("RSA 1024", key("RSA", 1024), size),
        ("RSA with a size of ECDSA", key("RSA", 256), size),
        ("ECDSA with a size of RSA", key("ECDSA", 2048), size),
        ("ECDSA 521", key("ECDSA", 521), None),
        ("Ed25519", json!({"privateKey": {"algorithm": "Ed25519"}}), None),
        ("Ed25519 with a size", key("Ed25519", 256), size),
        ("ECDSA 512", key("ECDSA", 512), size),
        (
            "an unknown algorithm",
            json!({"privateKey": {"algorithm": "DSA"}}),
            Some("supported values: \"RSA\", \"ECDSA\", \"Ed25519\""),
        ),
        (
            "no algorithm",
            json!({"privateKey": {"size": 2048}}),
            Some("spec.privateKey.algorithm: Required value"),
        ),
        (
            "an unknown policy",
            json!({"privateKey": {"algorithm": "RSA", "rotationPolicy": "Sometimes"}}),
            Some("supported values: \"Always\", \"Never\""),
        ),
        (
            "a label",
            json!({"secretTemplate": {"labels": {"app": "a"}, "annotations": {"example.org/a": "b"}}}),
            None,
        ),
        (
            "a label no Secret can have",
            label("a b", "x"),
            Some("keys of labels must be such as app"),
        ),
        (
            "a prefix in upper case",
            label("A.example/b", "x"),
            Some("keys of labels must be such as"),
        ),
        ("a long key", label(&"k".repeat(64), "x"), Some("keys of labels must be such as")),
        ("a value no label can have", label("app", "a b"), Some("spec.secretTemplate.labels.app")),
        ("a long value", label("app", &"v".repeat(64)), Some("spec.secretTemplate.labels.app")),
        ("an empty value", label("app", ""), None),
        ("a full key", label("example.org/a-b_c.d", "V.1_2-x"), None),
        (
            "an annotation no Secret can have",
            json!({"secretTemplate": {"annotations": {"a b": "x"}}}),
            Some("keys of annotations must be such as owner"),
        ),
        (
            "any words in an annotation",
            json!({"secretTemplate": {"annotations": {"example.org/a": "some words: {}"}}}),
            None,
        ),
        (
            "a label of ours",
            json!({"secretTemplate": {"labels": {"chancery.dev/managed": "false"}}}),
            Some("labels under chancery.dev/ belong to Chancery"),
        ),
        (
            "an annotation of ours",
            json!({"secretTemplate": {"annotations": {"chancery.dev/x": "y"}}}),
            Some("annotations under chancery.dev/ belong to Chancery"),
        ),
        (
            "too many labels",
            json!({"secretTemplate": {"labels": labels}}),
            Some("must have at most 64"),
        ),
        (
            "an unknown kind of issuer",
            json!({"issuerRef": {"kind": "AwsIssuer"}}),
            Some("supported values: \"Issuer\", \"ClusterIssuer\""),
        ),
        ("a ClusterIssuer", json!({"issuerRef": {"kind": "ClusterIssuer"}}), None),
        (
            "an issuer without a name",
            json!({"issuerRef": {"name": ""}}),
            Some("spec.issuerRef.name"),
        ),
        ("no issuer", json!({"issuerRef": GONE}), Some("spec.issuerRef: Required value")),
        (
            "credentials without a name",
            json!({"onlineCa": {"credentialsSecretRef": {"name": ""}}}),
            Some("spec.onlineCa.credentialsSecretRef.name"),
        ),
        (
            "a field that does not exist",
            json!({"username": "ada"}),
            Some("unknown field \"spec.username\""),
        ),
    ];
    let test = Test::new("admission-requests").await;
    check(&test, &rows, |spec| request("admission-requests", spec)).await;
}

#[tokio::test]
async fn a_request_leaves_room_in_its_name_for_that_of_its_secrets() {
    let test = Test::new("admission-long-names").await;
    for (length, is_taken) in [(247, true), (248, false), (253, false)] {
        let mut long = request("admission-long-names", &json!({}));
        long["metadata"]["name"] = json!("n".repeat(length));
        match test.dry_run(&long).await {
            Ok(_) => assert!(is_taken, "{length}"),
            Err(refusal) => {
                assert!(!is_taken, "{length}: {refusal}");
                assert_says(&refusal, &["metadata.name must have at most 247 characters"]);
            }
        }
    }
}

#[tokio::test]
async fn issuers_that_make_no_sense_are_refused_with_what_to_write_instead() {
    let certificate = Some("certificateUrl must be an https URL with a path");
    let roots = Some("trustRootsUrl must be an https URL with a path");
    let proxy = Some("proxy.url must be http, a host and a port");
    let trust = Some("trust must name anchors: set bundle, or systemRoots: true, or both");
    let once = Some("give the certificates exactly once: as pem, secretRef or configMapRef");
    let pem = "-----BEGIN CERTIFICATE-----\n";
    let ca = |field: &str, value: Value| json!({"onlineCa": {field: value}});
    let rows = [
        ("the least", json!({}), None),
        (
            "no CA",
            json!({"onlineCa": GONE}),
            Some("name the kind of CA with exactly one block: onlineCa"),
        ),
        ("a port", ca("certificateUrl", json!("https://ca.example.org:8443/certificate/")), None),
        ("no encryption", ca("certificateUrl", json!("http://ca.example.org/c/")), certificate),
        (
            "a user in the URL",
            ca("certificateUrl", json!("https://u:p@ca.example.org/c/")),
            certificate,
        ),
        ("a query", ca("certificateUrl", json!("https://ca.example.org/c/?a=b")), certificate),
        ("a fragment", ca("certificateUrl", json!("https://ca.example.org/c/#a")), certificate),
        ("no path", ca("certificateUrl", json!("https://ca.example.org")), certificate),
        ("a space", ca("certificateUrl", json!("https://ca.example.org/a b")), certificate),
        ("no host", ca("certificateUrl", json!("https:///certificate/")), certificate),
        (
            "an endless URL",
            ca("certificateUrl", json!(format!("https://a/{}", "x".repeat(1024)))),
            Some("may not be more than 1024"),
        ),
        ("trust roots without encryption", ca("trustRootsUrl", json!("http://a/")), roots),
        ("trust roots with a query", ca("trustRootsUrl", json!("https://a/?b")), roots),
        ("trust roots without a path", ca("trustRootsUrl", json!("https://a")), roots),
        (
            "no trust roots",
            ca("trustRootsUrl", json!(GONE)),
            Some("spec.onlineCa.trustRootsUrl: Required value"),
        ),
        ("two algorithms", ca("keyAlgorithms", json!(["RSA", "ECDSA"])), None),
        ("three algorithms", ca("keyAlgorithms", json!(["RSA", "ECDSA", "Ed25519"])), None),
        ("no algorithm", ca("keyAlgorithms", json!([])), Some("should have at least 1 items")),
        (
            "one algorithm twice",
            ca("keyAlgorithms", json!(["RSA", "RSA"])),
            Some("Duplicate value"),
        ),
        (
            "an unknown algorithm",
            ca("keyAlgorithms", json!(["DSA"])),
            Some("supported values: \"RSA\", \"ECDSA\""),
        ),
        ("the first colon", ca("basicSplit", json!("FirstColon")), None),
        (
            "some colon",
            ca("basicSplit", json!("Middle")),
            Some("supported values: \"FirstColon\", \"LastColon\""),
        ),
        (
            "credentials without a name",
            ca("credentialsSecretRef", json!({"name": ""})),
            Some("spec.onlineCa.credentialsSecretRef.name"),
        ),
        ("a proxy", json!({"proxy": {"url": "http://proxy.example.org:3128"}}), None),
        (
            "a proxy by its address, with exceptions",
            json!({"proxy": {
                "url": "http://[2001:db8::7]:3128/",
                "noProxy": [".example.org", "ca.example", "10.0.0.0/8", "fd00::/8", "192.0.2.1"],
            }}),
            None,
        ),
        ("a proxy in TLS", json!({"proxy": {"url": "https://proxy.example.org:3128"}}), proxy),
        ("a proxy in SOCKS", json!({"proxy": {"url": "socks5://proxy.example.org:1080"}}), proxy),
        (
            "a password in its URL",
            json!({"proxy": {"url": "http://u:p@proxy.example:3128"}}),
            proxy,
        ),
        ("a proxy without a port", json!({"proxy": {"url": "http://proxy.example.org"}}), proxy),
        (
            "a proxy with a path",
            json!({"proxy": {"url": "http://proxy.example.org:3128/a"}}),
            proxy,
        ),
        (
            "exceptions in one entry",
            json!({"proxy": {"url": "http://p.example:3128", "noProxy": ["a.example,b.example"]}}),
            Some("each an entry of its own"),
        ),
        (
            "a wildcard",
            json!({"proxy": {"url": "http://p.example:3128", "noProxy": ["*.example"]}}),
            Some("without port, brackets or wildcard"),
        ),
        ("empty trust", json!({"trust": {}}), trust),
        ("trust in nothing", json!({"trust": {"systemRoots": false}}), trust),
        ("served roots alone", json!({"trust": {"addServedRoots": true}}), trust),
        ("system roots", json!({"trust": {"systemRoots": true}}), None),
        ("a bundle", json!({"trust": {"bundle": {"pem": pem}}}), None),
        (
            "both",
            json!({"trust": {"systemRoots": true, "bundle": {"secretRef": {"name": "a"}}}}),
            None,
        ),
        ("an empty bundle", json!({"trust": {"bundle": {}}}), once),
        (
            "two bundles",
            json!({"trust": {"bundle": {"pem": pem, "secretRef": {"name": "a"}}}}),
            once,
        ),
        (
            "two more",
            json!({"tls": {"caBundle": {"configMapRef": {"name": "b"}, "secretRef": {"name": "a"}}}}),
            once,
        ),
        (
            "a bundle that is no PEM",
            json!({"tls": {"caBundle": {"pem": "ca.crt"}}}),
            Some("pem must hold at least one block BEGIN CERTIFICATE"),
        ),
        (
            "a huge bundle",
            json!({"tls": {"caBundle": {"pem": format!("{pem}{}", "x".repeat(65536))}}}),
            Some("65536"),
        ),
        (
            "a bundle without a name",
            json!({"tls": {"caBundle": {"configMapRef": {"name": ""}}}}),
            Some("configMapRef.name"),
        ),
        ("empty tls", json!({"tls": {}}), Some("spec.tls.caBundle: Required value")),
        ("no limits", json!({"limits": {}}), None),
        (
            "limits that hold everywhere",
            json!({"limits": {"ordersPerDay": 1, "requestsPerSecond": 1}}),
            None,
        ),
        ("no orders", json!({"limits": {"ordersPerDay": 0}}), Some("greater than or equal to 1")),
        (
            "a limit for each namespace without one for all",
            json!({"limits": {"ordersPerNamespacePerDay": 5}}),
            Some("limits.ordersPerNamespacePerDay is reserved together with limits.ordersPerDay"),
        ),
        (
            "no calls",
            json!({"limits": {"requestsPerSecond": 0}}),
            Some("greater than or equal to 1"),
        ),
        (
            "half a call",
            json!({"limits": {"requestsPerSecond": 0.5}}),
            Some("must be of type integer"),
        ),
        (
            "open orders where there are none",
            json!({"limits": {"openOrders": 5}}),
            Some("an Online CA issues at once and has no open orders: remove limits.openOrders"),
        ),
        (
            "a count that nobody keeps",
            json!({"limits": {"ordersPerRequestPerDay": 5}}),
            Some(
                "an Online CA issues at once and keeps no record of orders to count in: remove limits.ordersPerRequestPerDay",
            ),
        ),
    ];
    let paid = |limits: Value| {
        json!({
            "onlineCa": GONE,
            "swissSign": {
                "url": "https://api.ra.swisssign.ch",
                "credentialsSecretRef": {"name": "a"},
                "client": {"name": "Example AG"},
                "acceptTermsAndConditions": true,
            },
            "limits": limits,
        })
    };
    let paid_rows = [
        (
            "all limits",
            paid(json!({
                "ordersPerDay": 50, "openOrders": 5, "requestsPerSecond": 4,
                "ordersPerRequestPerDay": 3,
            })),
            None,
        ),
        ("none open", paid(json!({"openOrders": 0})), Some("greater than or equal to 1")),
        (
            "no order for a request",
            paid(json!({"ordersPerRequestPerDay": 0})),
            Some("greater than or equal to 1"),
        ),
        (
            "more orders for a request than an annotation can tell of",
            paid(json!({"ordersPerRequestPerDay": 1001})),
            Some("less than or equal to 1000"),
        ),
    ];
    let test = Test::new("admission-issuers").await;
    for kind in ["Issuer", "ClusterIssuer"] {
        check(&test, &rows, |spec| issuer(kind, "admission-issuers", spec)).await;
        check(&test, &paid_rows, |spec| issuer(kind, "admission-issuers", spec)).await;
    }
    let each = paid(json!({"ordersPerDay": 50, "ordersPerNamespacePerDay": 5}));
    let of_one = "an Issuer serves one namespace, and limits.ordersPerDay holds for it: remove limits.ordersPerNamespacePerDay";
    for (kind, refused) in [("Issuer", Some(of_one)), ("ClusterIssuer", None)] {
        let rows = [("a limit for each namespace", each.clone(), refused)];
        check(&test, &rows, |spec| issuer(kind, "admission-issuers", spec)).await;
    }
}

#[tokio::test]
async fn an_issuer_of_ssl_purchase_says_what_can_be_bought_as_whom() {
    let with = |more: Value| {
        let mut block = json!({
            "url": "https://reseller.example/api/v1",
            "credentialsSecretRef": {"name": "a"},
            "reseller": "rp-1",
            "dcvType": "DNS",
            "reissuePolicy": "Never",
        });
        block.as_object_mut().expect("a block").extend(more.as_object().expect("more").clone());
        json!({"onlineCa": GONE, "sslPurchase": block})
    };
    let url = |url: &str| with(json!({"url": url}));
    let authentication = |one: Value| with(json!({"authentication": one}));
    let header = |name: &str| authentication(json!({"header": {"name": name}}));
    let paths = |field: &str, path: &str| with(json!({"paths": {field: path}}));
    let (https, one_way) = ("url must be an https URL", "authentication must be exactly one of");
    let own = "header.name must be the name of a header of the reseller's own";
    let (list, of_order) = ("list and plans must be paths", "each path of an order must hold {id}");
    let id = "11111111-2222-4333-8444-555555555555";
    let rows = [
        ("the least", with(json!({})), None),
        ("a slash at the end", url("https://reseller.example/api/v1/"), None),
        ("no path", url("https://reseller.example:8443"), None),
        ("no TLS", url("http://reseller.example/api"), Some(https)),
        ("a query", url("https://reseller.example/api?x=1"), Some(https)),
        ("a user", url("https://a@reseller.example/api"), Some(https)),
        ("the list of orders", url("https://reseller.example/ssl-certificate"), Some(https)),
        ("tokens", authentication(json!({"oidc": {"tokenUrl": "https://a.example/token"}})), None),
        (
            "tokens without TLS",
            authentication(json!({"oidc": {"tokenUrl": "http://a.example/token"}})),
            Some("tokenUrl must be an https URL"),
        ),
        ("no way", authentication(json!({})), Some(one_way)),
        (
            "two ways",
            authentication(json!({"basic": {}, "header": {"name": "X-KEY"}})),
            Some(one_way),
        ),
        ("a header", header("X-APIKEY"), None),
        ("one that HTTP has", header("authorization"), Some(own)),
        ("one of proxies", header("Proxy-Authorization"), Some(own)),
        ("one that is none", header("X KEY"), Some(own)),
        ("a plan by id", with(json!({"plan": {"id": id}})), None),
        ("a plan by name", with(json!({"plan": {"name": "DV"}})), None),
        (
            "a plan by both",
            with(json!({"plan": {"id": id, "name": "DV"}})),
            Some("give the plan by id or by name, not both"),
        ),
        ("no UUID", with(json!({"plan": {"id": "../x"}})), Some("id must be a UUID")),
        ("a reseller with a blank", with(json!({"reseller": "a b"})), Some("reseller must be")),
        ("no such way to show it", with(json!({"dcvType": "dns"})), Some("supported values")),
        ("a level", with(json!({"validationLevel": "OV"})), None),
        (
            "no address",
            with(json!({"contact": {"emailAddress": "me"}})),
            Some("emailAddress must be an address"),
        ),
        ("a path", paths("list", "/certificates"), None),
        ("a path of an order", paths("renew", "/certificates/{id}/renew-it"), None),
        ("a path that leads away", paths("plans", "/../x"), Some(list)),
        ("a path with a query", paths("list", "/x?y"), Some(list)),
        ("a path without an order", paths("renew", "/renew"), Some(of_order)),
        ("a path of two orders", paths("one", "/{id}/{id}"), Some(of_order)),
        ("no window", with(json!({"renewalWindow": 0})), Some("greater than or equal to 1")),
        ("no duration", with(json!({"settleWindow": "1s"})), Some("settleWindow must be")),
    ];
    let test = Test::new("admission-ssl-purchase").await;
    for kind in ["Issuer", "ClusterIssuer"] {
        check(&test, &rows, |spec| issuer(kind, "admission-ssl-purchase", spec)).await;
    }
}

#[tokio::test]
async fn what_names_the_target_cannot_be_changed_and_what_names_the_ca_can() {
    let test = Test::new("admission-immutable").await;
    // One that nothing answers for: the rules are looked at, not the CA.
    let url = "https://localhost:1/certificate/";
    test.create(issuer("Issuer", &test.namespace, &json!({"onlineCa": {"certificateUrl": url}})))
        .await
        .expect("taken");
    test.create(request(&test.namespace, &json!({}))).await.expect("taken");
    let refusal = test
        .try_patch("CertificateRequest", "portal", json!({"spec": {"secretName": "other"}}))
        .await
        .expect_err("secretName stays");
    assert_says(&refusal, &["secretName cannot be changed: create another request"]);
    test.patch(
        "Issuer",
        "ca",
        json!({"spec": {"onlineCa": {"certificateUrl": "https://b.example/c/"}}}),
    )
    .await;
    test.patch(
        "Issuer",
        "ca",
        json!({"spec": {"onlineCa": {"trustRootsUrl": "https://localhost:1/roots/"}}}),
    )
    .await;
    test.patch("CertificateRequest", "portal", json!({"spec": {"issuerRef": {"name": "b"}}})).await;
}

#[tokio::test]
async fn an_explicit_null_is_an_absent_field() {
    let test = Test::new("admission-nulls").await;
    let at = |spec: Value| request("admission-nulls", &spec);
    let refusal = test.dry_run(&at(json!({"onlineCa": null}))).await.expect_err("nobody");
    assert_says(&refusal, &["say who the certificate is for"]);
    let taken = [
        json!({"onlineCa": null, "commonName": "a", "dnsNames": null}),
        json!({"renewBefore": null, "renewBeforePercentage": 40}),
        json!({"commonName": null, "dnsNames": null, "privateKey": null, "secretTemplate": null}),
        json!({"suspend": null, "issuerRef": {"kind": null}}),
        json!({"privateKey": {"algorithm": "RSA", "size": null, "rotationPolicy": null}}),
        json!({"onlineCa": {"credentialsSecretRef": null}}),
        json!({"secretTemplate": {"labels": null, "annotations": null}}),
    ];
    for spec in taken {
        let object = test.dry_run(&at(spec.clone())).await;
        let object = object.unwrap_or_else(|refusal| panic!("{spec}: {refusal}"));
        let kept = object["spec"].to_string();
        assert!(!kept.contains("null"), "{spec} became {kept}");
        assert_eq!(object["spec"]["issuerRef"]["kind"], "Issuer");
    }
    let spec = json!({
        "onlineCa": {"keyAlgorithms": null, "basicSplit": null, "credentialsSecretRef": null},
        "tls": null, "trust": {"bundle": null, "systemRoots": true, "addServedRoots": null},
    });
    let object =
        test.dry_run(&issuer("Issuer", "admission-nulls", &spec)).await.expect("it is taken");
    assert_eq!(object["spec"]["onlineCa"]["keyAlgorithms"], json!(["RSA"]));
    assert_eq!(object["spec"]["onlineCa"]["basicSplit"], "LastColon");
    assert_eq!(object["spec"]["trust"], json!({"systemRoots": true}));
}

#[tokio::test]
async fn a_fresh_object_counts_as_not_yet_looked_at() {
    let test = Test::new("admission-fresh").await;
    let fresh = test.create(request(&test.namespace, &json!({}))).await.expect("taken");
    assert_eq!(fresh["status"], json!({"observedGeneration": -1}));
    let spec = json!({"onlineCa": {"certificateUrl": "https://localhost:1/c/"}});
    let fresh = test.create(issuer("Issuer", &test.namespace, &spec)).await.expect("taken");
    assert_eq!(fresh["status"], json!({"observedGeneration": -1}));
    // What a user writes into the status is not believed.
    let mut forged = request(&test.namespace, &json!({"secretName": "forged-tls"}));
    forged["metadata"]["name"] = json!("forged");
    forged["status"] = json!({"observedGeneration": 1, "revision": 7});
    let fresh = test.create(forged).await.expect("taken");
    assert_eq!(fresh["status"], json!({"observedGeneration": -1}));
}

#[test]
fn the_definitions_in_the_repository_are_those_of_the_types() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = std::process::Command::new(program("chancery"))
        .args(["crds", "--dir"])
        .arg(dir.path())
        .output()
        .expect("chancery starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |path: std::path::PathBuf| {
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    };
    let mut names = BTreeSet::new();
    for (name, _) in chancery::api::crds() {
        let (kept, made) = (read(root().join("crds").join(name)), read(dir.path().join(name)));
        assert!(kept == made, "crds/{name} is stale: run `make crds` and commit what it wrote");
        names.insert(name.to_owned());
    }
    for entry in std::fs::read_dir(root().join("crds")).expect("a directory") {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        assert!(names.contains(&name), "crds/{name} belongs to no kind: delete it");
    }
}

#[test]
fn each_definition_fits_into_an_annotation_and_describes_every_field() {
    for (name, crd) in chancery::api::crds() {
        let size = serde_json::to_string(&crd).expect("JSON").len();
        assert!(size < 262_144, "{name} has {size} bytes: kubectl apply cannot store them");
        let mut silent = Vec::new();
        for version in &crd.spec.versions {
            let schema =
                version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
            collect_silent(schema.expect("a schema"), "", &mut silent);
        }
        assert!(silent.is_empty(), "{name}: no description of {silent:?}");
    }
}

fn collect_silent(schema: &JSONSchemaProps, path: &str, silent: &mut Vec<String>) {
    for (name, property) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        // metadata is described by Kubernetes itself.
        if property.description.as_ref().is_none_or(|text| text.trim().len() < 8)
            && path != ".metadata"
        {
            silent.push(path.clone());
        }
        collect_silent(property, &path, silent);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        collect_silent(items, &format!("{path}[]"), silent);
    }
}

#[tokio::test]
async fn short_names_and_the_category_work_and_are_nobody_elses() {
    let test = Test::new("admission-names").await;
    test.create(request(&test.namespace, &json!({}))).await.expect("taken");
    let spec = json!({"onlineCa": {"certificateUrl": "https://localhost:1/c/"}});
    test.create(issuer("Issuer", &test.namespace, &spec)).await.expect("taken");
    assert_says(
        &test.kubectl(&["get", "chreq", "-o", "name"]),
        &["certificaterequest.chancery.dev/portal"],
    );
    assert_says(&test.kubectl(&["get", "chiss", "-o", "name"]), &["issuer.chancery.dev/ca"]);
    test.kubectl(&["get", "chciss", "-o", "name"]);
    assert_says(
        &test.kubectl(&["get", "chancery", "-o", "name"]),
        &["certificaterequest.chancery.dev/portal", "issuer.chancery.dev/ca"],
    );
    // Short names and categories of cert-manager 1.18.
    let theirs = ["cert", "certs", "cr", "crs", "iss", "ciss", "cert-manager", "cert-manager-acme"];
    let builtin = test.kubectl(&["api-resources", "--no-headers", "-o", "wide"]);
    for (_, crd) in chancery::api::crds() {
        let names = crd.spec.names;
        assert_eq!(names.categories, Some(vec!["chancery".to_owned()]));
        for short in names.short_names.expect("short names") {
            assert!(!theirs.contains(&short.as_str()), "{short} is cert-manager's");
            let takers = builtin
                .lines()
                .filter(|line| {
                    let second = line.split_whitespace().nth(1).unwrap_or_default();
                    second.split(',').any(|name| name == short)
                })
                .count();
            assert_eq!(takers, 1, "{short} is taken once:\n{builtin}");
        }
    }
}

#[tokio::test]
async fn the_columns_tell_who_when_and_why() {
    let test = Test::with_fast_issuer("admission-columns").await;
    test.put(test.request("portal")).await;
    let mut waiting = test.request("waiting");
    waiting["spec"]["issuerRef"]["name"] = json!("nobody");
    test.put(waiting).await;
    test.until_issuing("waiting", "IssuerNotFound").await;
    let status = test.until_ready("portal").await.status.expect("a status");
    let table = test.kubectl(&["get", "chreq"]);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(
        rows[0],
        [
            "NAME",
            "READY",
            "REASON",
            "ISSUING",
            "ISSUER",
            "SECRET",
            "COMMON NAME",
            "EXPIRES",
            "RENEWS",
            "ORDER",
            "AGE"
        ]
    );
    let time = |time: jiff::Timestamp| time.to_string()[..19].to_owned();
    let certificate = status.certificate.expect("a certificate");
    assert_eq!(
        rows[1][..7],
        ["portal", "True", "Issued", "Issued", "ca", "portal-tls", "testuser"]
    );
    assert!(rows[1][7].starts_with(&time(certificate.not_after.0)), "{table}");
    assert!(rows[1][8].starts_with(&time(status.renewal_time.expect("a time").0)), "{table}");
    assert_eq!(
        rows[2][..6],
        ["waiting", "False", "IssuerNotFound", "IssuerNotFound", "nobody", "waiting-tls"]
    );
    let wide = test.kubectl(&["get", "chreq", "-o", "wide"]);
    assert_says(
        &wide,
        &[
            "REVISION",
            "MESSAGE",
            "Issuer nobody does not exist in namespace admission-columns: create it",
            "valid until",
        ],
    );
    let issuers = test.kubectl(&["get", "chiss", "-o", "wide"]);
    assert_says(
        &issuers,
        &[
            "NAME",
            "READY",
            "REASON",
            "ACCOUNT",
            "PER DAY",
            "RESERVED",
            "MESSAGE",
            "AGE",
            "Checked",
            " as testuser answers",
        ],
    );
}

#[test]
fn explain_lists_every_field() {
    let explain = |what: &str| {
        world()
            .plane
            .kubectl(["explain", what, "--api-version=chancery.dev/v1alpha1"])
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    let (_, crd) = chancery::api::crds()
        .into_iter()
        .find(|(name, _)| *name == "certificaterequests.yaml")
        .expect("there");
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).expect("JSON");
    for part in ["spec", "status"] {
        let shown = explain(&format!("certificaterequest.{part}"));
        let fields = schema["openAPIV3Schema"]["properties"][part]["properties"]
            .as_object()
            .expect("fields");
        for field in fields.keys() {
            assert_says(&shown, &[&format!("  {field}\t<")]);
        }
    }
    let secret_name = explain("certificaterequest.spec.secretName");
    // Where a line ends is kubectl's affair.
    let secret_name = secret_name.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_says(&secret_name, &["It stays when the request is deleted"]);
    assert_says(&explain("certificaterequest"), &["this one is long-lived"]);
    assert_says(&explain("clusterissuer"), &["in the namespace of the operator"]);
}

#[test]
fn the_definitions_can_be_applied_by_an_ordinary_kubectl() {
    let plane = &world().plane;
    for (name, _) in chancery::api::crds() {
        let file = format!("crds/{name}");
        plane.kubectl(["apply", "-f", &file]).unwrap_or_else(|error| panic!("{name}: {error}"));
        // As an API server that has never seen them: that is where the annotation gets too long.
        let shown = plane.kubectl(["create", "--dry-run=server", "--save-config", "-f", &file]);
        let refusal = shown.expect_err("it exists already");
        assert_says(&refusal, &["already exists"]);
    }
    let yaml = plane.kubectl(["get", "crd", "issuers.chancery.dev", "-o", "json"]).expect("there");
    let crd: Value = serde_json::from_str(&yaml).expect("JSON");
    let kept =
        text(&crd["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]);
    assert!(kept.len() < 262_144);
    let established = crd["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .any(|one| one["type"] == "Established" && one["status"] == "True");
    assert!(established);
}

#[test]
fn the_examples_are_taken_as_they_are() {
    let plane = &world().plane;
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("deploy/examples")).expect("a directory") {
        let file = entry.expect("an entry").path().display().to_string();
        let args = ["apply", "--dry-run=server", "--validate=strict", "-f", file.as_str()];
        plane.kubectl(args).unwrap_or_else(|error| panic!("{file}: {error}"));
        count += 1;
    }
    assert!(count >= 4, "{count} examples");
}

#[tokio::test]
async fn whom_an_issuer_serves_is_said_so_that_it_can_be_read_in_one_way() {
    let test = Test::new("admission-allow").await;
    let allow = |field: &str, value: Value| json!({"allow": {field: value}});
    let names = Some("each of allow.dnsNames must be a DNS name such as");
    let rows = [
        ("nothing", json!({"allow": {}}), None),
        ("hosts", allow("dnsNames", json!(["a.example", "*.b.example", "**.c.example"])), None),
        ("wildcards", allow("dnsNames", json!(["[*].example.org", "[*].**"])), None),
        ("a wildcard inside", allow("dnsNames", json!(["a.[*].example"])), names),
        ("a URL", allow("dnsNames", json!(["https://a.example"])), names),
        ("networks", allow("ipAddresses", json!(["192.0.2.0/24", "2001:db8::1"])), None),
        (
            "half a network",
            allow("ipAddresses", json!(["192.0.2/24"])),
            Some("each of allow.ipAddresses must be an IP address or a network"),
        ),
        ("a subject", allow("subject", json!({"organizations": ["Example AG"]})), None),
        (
            "a field that subjects have not",
            allow("subject", json!({"organisation": ["Example AG"]})),
            Some("allow.subject takes the fields of spec.subject of a request"),
        ),
        ("kinds of key", allow("keyTypes", json!(["RSA 2048", "Ed25519"])), None),
        ("a kind that is none", allow("keyTypes", json!(["RSA"])), Some("supported values")),
        (
            "a lifetime in days",
            allow("maxDuration", json!("90d")),
            Some("allow.maxDuration must be an hour or more"),
        ),
        ("suspend", json!({"suspend": true}), None),
        ("a contact", json!({"allow": {"ownContact": true}}), None),
    ];
    for kind in ["Issuer", "ClusterIssuer"] {
        check(&test, &rows, |spec| issuer(kind, "admission-allow", spec)).await;
    }
    let whom = Some("say whom this ClusterIssuer serves: set allow.namespaces");
    let selector = |one: Value| json!({"allow": {"namespaces": {"matchExpressions": [one]}}});
    let rows = [
        ("everybody", json!({}), None),
        ("nobody is named", json!({"allow": GONE}), whom),
        ("nor with names", json!({"allow": {"namespaces": GONE, "dnsNames": ["**"]}}), whom),
        ("a requirement", selector(json!({"key": "a", "operator": "In", "values": ["b"]})), None),
        (
            "a requirement without values",
            selector(json!({"key": "a", "operator": "In"})),
            Some("give values for the operators In and NotIn"),
        ),
    ];
    check(&test, &rows, |spec| issuer("ClusterIssuer", "admission-allow", spec)).await;
    let own = [(
        "of an Issuer",
        json!({"allow": {"namespaces": {}}}),
        Some("an Issuer serves its own namespace only"),
    )];
    check(&test, &own, |spec| issuer("Issuer", "admission-allow", spec)).await;
}
