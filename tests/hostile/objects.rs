//! Objects that cannot be read, and such as make no sense.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::operator::Operator;
use crate::support::program;
use crate::tenant::Tenant;
use crate::world::world;

/// The API server takes it, and the operator's calendar ends the day before.
const BEYOND: &str = "9999-12-31T23:59:59Z";

/// With an entry in `metadata.managedFields` whose time no calendar has, and whose fields are deep.
fn managed_beyond(mut object: Value) -> Value {
    let api_version = object["apiVersion"].clone();
    object["metadata"]["managedFields"] = json!([{
        "manager": "somebody", "operation": "Update", "apiVersion": api_version,
        "time": BEYOND, "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}},
    }]);
    object
}

fn labelled(kind: &str, namespace: &str, name: &str, label: &str) -> Value {
    managed_beyond(json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {
            "name": name, "namespace": namespace, "labels": {label: "true"},
            "annotations": {"chancery.dev/certificate-request": "odd"},
        },
        "data": {"marker": if kind == "Secret" { "bTRyazNy" } else { "m4rk3r" }},
    }))
}

/// A fresh operator, with all that is in the cluster before it begins; it stands by.
fn fresh_operator() -> Operator {
    let env = [("CHANCERY_LOG", "trace"), ("CHANCERY_LOG_FORMAT", "json")];
    Operator::spawn(&world().plane, &program("chancery"), &env)
}

/// Whether what the API server keeps of the object has the time in it.
async fn is_kept(tenant: &Tenant, kind: &str, name: &str) -> bool {
    tenant.test.read(kind, name).await.is_some_and(|object| object.to_string().contains(BEYOND))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_time_in_an_object_of_each_watched_kind_costs_that_object_alone() {
    let tenant = Tenant::new("odd-times").await;
    let test = &tenant.test;
    let issuer = |kind: &str, namespace: Option<&str>| {
        let mut issuer = json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": kind, "metadata": {"name": "odd"},
            "spec": {"onlineCa": {
                "certificateUrl": "https://localhost:1/certificate",
                "trustRootsUrl": "https://localhost:1/roots",
                "credentialsSecretRef": {"name": "nobody"},
            }},
        });
        if let Some(namespace) = namespace {
            issuer["metadata"]["namespace"] = namespace.into();
        } else {
            issuer["spec"]["allow"] = json!({"namespaces": {}});
        }
        managed_beyond(issuer)
    };
    let managed = labelled("Secret", "odd-times", "odd-target", "chancery.dev/managed");
    let objects = [
        managed_beyond(test.request("odd")),
        issuer("Issuer", Some("odd-times")),
        managed,
        labelled("Secret", "odd-times", "odd-credentials", "chancery.dev/credentials"),
        labelled("ConfigMap", "odd-times", "odd-bundle", "chancery.dev/trust"),
    ];
    for object in objects {
        let (kind, name) = (object["kind"].clone(), object["metadata"]["name"].clone());
        let (kind, name) = (kind.as_str().expect("a kind"), name.as_str().expect("a name"));
        test.create(object.clone()).await.expect(kind);
        assert!(is_kept(&tenant, kind, name).await, "{kind}: the API server keeps it");
    }
    world().plane.apply(&issuer("ClusterIssuer", None).to_string()).expect("an administrator may");
    // Its status is the tenant's to write, and has times of its own.
    let status = json!({"status": {"renewalTime": BEYOND}});
    write_status(&tenant, "certificaterequests", "odd", &status).await;
    let condition = json!({
        "type": "Odd", "status": "True", "reason": "Odd", "message": "m4rk3r",
        "lastTransitionTime": BEYOND,
    });
    let status = json!({"status": {"observedGeneration": 1, "conditions": [condition]}});
    write_status(&tenant, "issuers", "odd", &status).await;
    tenant.neighbour_is_served().await;

    let fresh = fresh_operator();
    fresh.wait_until_ready();
    tenant.neighbour_is_served().await;
    let (_, metrics) = fresh.get("/metrics").expect("metrics");
    for kind in ["CertificateRequest", "Issuer"] {
        let line =
            format!("chancery_unreadable_objects{{kind=\"{kind}\",namespace=\"odd-times\"}} 1");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let log = fresh.process.log();
    assert!(log.contains("status.renewalTime"), "the field is named: {log}");
    for marker in ["m4rk3r", "bTRyazNy"] {
        assert!(!log.contains(marker), "and nothing of what is in it");
    }
    world().plane.kubectl(["delete", "clusterissuer", "odd"]).expect("it goes");
}

async fn write_status(tenant: &Tenant, plural: &str, name: &str, patch: &Value) {
    let path = format!("/apis/chancery.dev/v1alpha1/namespaces/odd-times/{plural}/{name}/status");
    let request = http::Request::patch(path)
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string().into_bytes())
        .expect("a request");
    let written: Value = tenant.test.client.request(request).await.expect("the status is taken");
    assert!(written.to_string().contains(BEYOND), "{plural}: {written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_before_it_begins_ends_no_operator() {
    let tenant = Tenant::new("odd-dates").await;
    let test = &tenant.test;
    let mut asked = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
    asked.not_before = rcgen::date_time_ymd(2040, 1, 1);
    asked.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = asked.self_signed(&key).expect("a certificate");
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {
            "name": "odd-tls", "namespace": "odd-dates",
            "labels": {"chancery.dev/managed": "true"},
            "annotations": {
                "chancery.dev/certificate-request": "odd",
                "chancery.dev/certificate-sha256": chancery::pki::sha256_hex(certificate.der()),
            },
        },
        "data": {"tls.crt": encode(certificate.pem()), "tls.key": encode(key.serialize_pem())},
    });
    test.create(secret).await.expect("a Secret");
    let mut request = test.request("odd");
    // No issuer is needed.
    request["spec"]["issuerRef"] = json!({"name": "nobody"});
    test.create(request).await.expect("a request");
    let is_told = |request: &chancery::api::CertificateRequest| {
        request.status.as_ref().is_some_and(|status| status.observed_generation > 0)
    };
    let told = crate::support::watch::until(test.requests(), "odd", crate::tenant::SOON, is_told);
    told.await.expect("it is looked at, and its status says so");
    tenant.neighbour_is_served().await;
    let fresh = fresh_operator();
    fresh.wait_until_ready();
    tenant.neighbour_is_served().await;
    let log = world().operator.process.log();
    assert!(!log.contains("panic"), "{log}");
}
