//! Every right that the chart grants is used, and none is missing: by the API server's audit log.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::helm::rendered;
use crate::installed::Cluster;

/// A verb on a resource of a group.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
struct Right {
    group: String,
    resource: String,
    verb: String,
}

impl fmt::Debug for Right {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {}/{}", self.verb, self.group, self.resource)
    }
}

fn texts(value: &Value) -> impl Iterator<Item = String> {
    let all = value.as_array().into_iter().flatten();
    all.map(|text| text.as_str().expect("a text").to_owned())
}

fn granted(objects: &[Value]) -> BTreeSet<Right> {
    let is_role = |object: &&Value| object["kind"] == "ClusterRole" || object["kind"] == "Role";
    let rules = objects.iter().filter(is_role).flat_map(|role| role["rules"].as_array());
    let mut all = BTreeSet::new();
    for rule in rules.flatten() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                all.extend(texts(&rule["verbs"]).map(|verb| {
                    let (group, resource) = (group.clone(), resource.clone());
                    Right { group, resource, verb }
                }));
            }
        }
    }
    all
}

fn used(events: &[Value]) -> BTreeSet<Right> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |event: &Value| {
        let object = &event["objectRef"];
        let (mut resource, part) = (text(&object["resource"]), text(&object["subresource"]));
        if !part.is_empty() {
            resource = format!("{resource}/{part}");
        }
        Right { group: text(&object["apiGroup"]), resource, verb: text(&event["verb"]) }
    };
    events.iter().filter(|event| event["objectRef"].is_object()).map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_that_is_granted_is_used_and_none_is_missing() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let operator = cluster.pod();
    cluster.order().await;
    cluster.approve().await;
    cluster.until_reason("shop", "Issued");
    put_aside(&cluster).await;
    cluster_issuer(&cluster).await;
    for (kind, resource) in [("Issuer", "issuers"), ("ClusterIssuer", "clusterissuers")] {
        orders_while_the_issuer_is_edited(&cluster, kind, resource);
    }
    // A watch is written down when it ends.
    assert_eq!(operator.process.stop(), Some(0));
    let is_watched = || used(&cluster.audited()).iter().filter(|one| one.verb == "watch").count();
    let until = Instant::now() + Duration::from_secs(20);
    while is_watched() < 6 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
    }
    let events = cluster.audited();
    // The policies are asked for a refusal, in a dry run.
    let is_missing =
        |event: &&Value| event["responseStatus"]["code"] == 403 && !uri(event).contains("dryRun");
    let missing: Vec<_> = events.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    let (granted, used) = (granted(&rendered(&[]).expect("it is rendered")), used(&events));
    granted.iter().for_each(|right| println!("granted and used: {right:?}"));
    let unused: Vec<_> = granted.difference(&used).collect();
    assert!(unused.is_empty(), "granted and never used: {unused:?}");
    let missing: Vec<_> = used.difference(&granted).collect();
    assert!(missing.is_empty(), "used and never granted: {missing:?}");
    only_names_and_labels_are_read(&events);
}

fn uri(event: &Value) -> &str {
    event["requestURI"].as_str().unwrap_or_default()
}

/// Contents of Secrets and ConfigMaps are read by name; what is listed and watched is limited to
/// Chancery's labels.
fn only_names_and_labels_are_read(events: &[Value]) {
    let mut count = 0;
    for event in events {
        let resource = &event["objectRef"]["resource"];
        let is_list = event["verb"] == "list" || event["verb"] == "watch";
        if is_list && (resource == "secrets" || resource == "configmaps") {
            assert!(uri(event).contains("labelSelector=chancery.dev%2F"), "{}", uri(event));
            count += 1;
        }
    }
    assert!(count >= 8, "{count} lists and watches");
}

/// What an order brought that nobody wants any more is put aside.
async fn put_aside(cluster: &Cluster) {
    let ra = cluster.simulator.swisssign("shop");
    let annotate = ["annotate", "chreq", "--namespace", "shop", "shop", "chancery.dev/renew=1"];
    cluster.plane.kubectl(annotate).expect("a renewal");
    let issuing = "jsonpath={.status.conditions[?(@.type==\"Issuing\")].reason}";
    cluster.until(&["chreq", "--namespace", "shop", "shop", "-o", issuing], "AwaitingApproval");
    let edit = json!({"spec": {"dnsNames": ["new.example.ch"]}}).to_string();
    let patch = ["patch", "chreq", "--namespace", "shop", "shop", "--type=merge", "-p", &edit];
    cluster.plane.kubectl(patch).expect("an edit");
    ra.change(json!({"states": [{"state": "ISSUED"}]})).await;
    cluster.approve().await;
    cluster.until_reason("shop", "Issued");
}

/// The same CA for all namespaces, with its root in a ConfigMap.
async fn cluster_issuer(cluster: &Cluster) {
    let ra = cluster.simulator.swisssign("shop");
    let [mut credentials, mut issuer] = ra.issuer("chancery").await;
    credentials["metadata"]["name"] = json!("cluster-api-key");
    issuer["kind"] = json!("ClusterIssuer");
    issuer["metadata"] = json!({"name": "ca"});
    issuer["spec"]["swissSign"]["credentialsSecretRef"]["name"] = json!("cluster-api-key");
    issuer["spec"]["trust"]["bundle"] = json!({"configMapRef": {"name": "roots"}});
    issuer["spec"]["allow"] =
        json!({"namespaces": {}, "dnsNames": ["*.example.ch"], "keyTypes": ["ECDSA P-256"]});
    let roots = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "roots", "namespace": "chancery", "labels": {"chancery.dev/trust": "true"},
        },
        "data": {"ca.crt": ra.root_pem().await},
    });
    [roots, credentials, issuer].iter().for_each(|object| cluster.apply(object));
}

/// A part of the day's orders is reserved while somebody else changes the issuer all the time: it is
/// read then.
fn orders_while_the_issuer_is_edited(cluster: &Cluster, kind: &str, resource: &str) {
    let until = Instant::now() + Duration::from_secs(120);
    let is_read = || {
        let is_get =
            |event: &Value| event["verb"] == "get" && event["objectRef"]["resource"] == resource;
        cluster.audited().iter().any(is_get)
    };
    let (over, name) = (AtomicBool::new(false), kind.to_lowercase());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let place = if kind == "Issuer" { "namespaces/shop/" } else { "" };
            let path = format!("/apis/chancery.dev/v1alpha1/{place}{resource}/ca");
            for number in 0.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                edit(cluster, &path, number);
            }
        });
        let mut number = 0;
        while !is_read() && Instant::now() < until {
            for _ in 0..12 {
                number += 1;
                let name = format!("{name}{number}");
                let request = json!({
                    "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
                    "metadata": {"name": name, "namespace": "shop"},
                    "spec": {
                        "issuerRef": {"kind": kind, "name": "ca"},
                        "secretName": format!("{name}-tls"),
                        "dnsNames": [format!("{name}.example.ch")],
                        "privateKey": {"algorithm": "ECDSA"},
                    },
                });
                cluster.plane.put(request).expect("it is taken");
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(is_read(), "no {kind} was read");
}

fn edit(cluster: &Cluster, path: &str, number: u32) {
    let patch = json!({
        "metadata": {"labels": {"edit": number.to_string()}},
        "spec": {"limits": {"ordersPerDay": 1000}},
    });
    let request = http::Request::patch(path)
        .header("content-type", "application/merge-patch+json")
        .body(patch.to_string().into_bytes())
        .expect("a request");
    let edited = cluster.plane.ask(async move |client| {
        client.request_text(request).await.map(drop).map_err(|error| error.to_string())
    });
    edited.expect("an edit");
}
