//! Under Argo CD and Flux: what they see of our objects, what they could take for a change of somebody
//! else, and what they could prune.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::helm::{IMAGE, documents, rendered};
use crate::installed::{Cluster, waiting};
use crate::support::control_plane::ControlPlane;
use crate::support::process::fed;
use crate::support::root;

const HEALTH: &str = "deploy/gitops/argo-cd/health.yaml";

/// A value as Lua writes it. What is null in an object is absent in a table.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => {
            let bytes: String = text.bytes().map(|byte| format!("\\{byte:03}")).collect();
            format!("\"{bytes}\"")
        }
        Value::Array(items) => {
            format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(","))
        }
        Value::Object(fields) => {
            let field =
                |(key, value): (&String, &Value)| format!("[{}]={}", lua(&json!(key)), lua(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
        }
    }
}

/// What Argo CD makes of an object: its health and the message.
fn health(object: &Value) -> (String, String) {
    let file = std::fs::read_to_string(root().join(HEALTH)).expect(HEALTH);
    let file: Value = serde_yaml::from_str(&file).expect("YAML");
    let kind = object["kind"].as_str().expect("a kind");
    let key = format!("resource.customizations.health.chancery.dev_{kind}");
    let script = file["data"][&key].as_str().unwrap_or_else(|| panic!("no {key}"));
    let text = format!(
        "obj = {}\nlocal hs = (function()\n{script}\nend)()\nio.write(hs.status, '\\n', hs.message)",
        lua(object)
    );
    let printed = fed(Command::new("lua5.1").arg("-"), &text);
    let printed = printed.expect("lua5.1 runs it (apt-get install -y lua5.1)");
    let (health, message) = printed.split_once('\n').expect("two lines");
    (health.to_owned(), message.to_owned())
}

/// An object of namespace `shop`.
fn get(cluster: &Cluster, kind: &str, name: &str) -> Value {
    let get = ["get", kind, "--namespace", "shop", name, "-o", "json"];
    serde_json::from_str(&cluster.plane.kubectl(get).expect(name)).expect("JSON")
}

fn patch(cluster: &Cluster, spec: &Value) {
    let patch = json!({"spec": spec}).to_string();
    let args = ["patch", "chreq", "--namespace", "shop", "shop", "--type=merge", "-p", &patch];
    cluster.plane.kubectl(args).expect("it is patched");
}

fn request(name: &str, further: Value) -> Value {
    let mut request = json!({
        "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "issuerRef": {"name": "ca"}, "secretName": format!("{name}-tls"),
            "dnsNames": [format!("{name}.example.ch")], "privateKey": {"algorithm": "ECDSA"},
        },
    });
    merge(&mut request, further);
    request
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// The issuer at the CA that costs money, where orders wait for a person.
async fn issuer(cluster: &Cluster) {
    let ra = cluster.simulator.swisssign("shop");
    ra.configure(json!({"keyAlgorithm": "ECDSA", "states": waiting()})).await;
    for object in ra.issuer("shop").await {
        cluster.apply(&object);
    }
}

async fn act(cluster: &Cluster, action: Value) {
    let ra = cluster.simulator.swisssign("shop");
    ra.act(&cluster.shop("{.status.order.id}"), action).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cd_tells_the_health_of_what_the_operator_wrote() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    issuer(&cluster).await;
    cluster.apply(&request("shop", json!({})));
    let of = |kind: &str, name: &str| health(&get(&cluster, kind, name));
    let shop = || of("chreq", "shop");
    let unseen = ("Progressing".to_owned(), "Chancery has not looked at it yet".to_owned());
    assert_eq!(shop(), unseen, "no status yet");
    assert_eq!(of("issuers.chancery.dev", "ca"), unseen, "an issuer without a status");

    let operator = cluster.pod();
    cluster.until_reason("shop", "AwaitingApproval");
    let (told, message) = shop();
    assert!(told == "Progressing" && message.contains("approve"), "{told}: {message}");
    let (told, message) = of("issuers.chancery.dev", "ca");
    assert!(told == "Healthy" && !message.is_empty(), "{told}: {message}");
    act(&cluster, json!({"action": "approve"})).await;
    cluster.until_reason("shop", "Issued");
    let (told, message) = shop();
    assert!(told == "Healthy" && message.contains("valid until"), "{told}: {message}");

    assert_eq!(operator.process.stop(), Some(0));
    patch(&cluster, &json!({"dnsNames": ["shop.example.ch", "www.shop.example.ch"]}));
    assert_eq!(shop(), unseen, "the status is that of the generation before");
    let operator = cluster.pod();
    cluster.until_reason("shop", "Outdated");
    let (told, message) = shop();
    assert!(told == "Progressing" && message.contains("www.shop.example.ch"), "{told}: {message}");

    let waits = "jsonpath={.status.conditions[?(@.type==\"Issuing\")].reason}";
    cluster.until(&["chreq", "--namespace", "shop", "shop", "-o", waits], "AwaitingApproval");
    act(&cluster, json!({"action": "reject", "error": "no"})).await;
    let stalled = "jsonpath={.status.conditions[?(@.type==\"Stalled\")].status}";
    cluster.until(&["chreq", "--namespace", "shop", "shop", "-o", stalled], "True");
    let (told, message) = shop();
    assert!(told == "Degraded" && message.contains("chancery.dev/"), "{told}: {message}");

    patch(&cluster, &json!({"suspend": true}));
    let seen = "jsonpath={.metadata.generation}";
    let generation = cluster.shop("{.metadata.generation}");
    let observed = "jsonpath={.status.observedGeneration}";
    cluster.until(&["chreq", "--namespace", "shop", "shop", "-o", observed], &generation);
    cluster.until(&["chreq", "--namespace", "shop", "shop", "-o", seen], &generation);
    assert_eq!(shop().0, "Suspended");
    assert_eq!(operator.process.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_is_degraded_and_no_progress() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let site = cluster.simulator.online_ca("shop");
    site.configure(json!({"keyAlgorithm": "ECDSA", "minKeyBits": 256, "lifetimeSeconds": 8})).await;
    for object in site.issuer("shop").await {
        cluster.apply(&object);
    }
    let operator = cluster.pod();
    let mut portal = request("portal", json!({"spec": {"onlineCa": {}}}));
    portal["spec"].as_object_mut().expect("a spec").remove("dnsNames");
    cluster.apply(&portal);
    cluster.until_reason("portal", "Issued");
    let fault = json!({"operation": "certificate", "times": 0, "kind": "status", "status": 503});
    site.fault(fault).await;
    cluster.until_reason("portal", "Expired");
    let portal = get(&cluster, "chreq", "portal");
    let conditions = portal["status"]["conditions"].as_array().expect("conditions").iter();
    let stalled = conditions.filter(|one| one["type"] == "Stalled" && one["status"] == "True");
    assert_eq!(stalled.count(), 0, "it goes on by itself");
    assert_eq!(health(&portal).0, "Degraded");
    assert_eq!(operator.process.stop(), Some(0));
}

/// All of `wanted` is in `there`.
fn has(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            // An empty list or map need not be kept.
            let is_empty = value == &json!([]) || value == &json!({}) || value.is_null();
            there.get(key).map_or(is_empty, |there| has(there, value))
        }),
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len()
                && there.iter().zip(wanted).all(|(there, wanted)| has(there, wanted))
        }
        _ => there == wanted,
    }
}

/// So that Argo CD needs no `ignoreDifferences`, and Flux corrects nothing again and again.
#[tokio::test(flavor = "multi_thread")]
async fn neither_the_api_server_nor_the_operator_changes_what_git_says() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let operator = cluster.pod();
    issuer(&cluster).await;
    cluster.apply(&request("shop", json!({})));
    cluster.until_reason("shop", "AwaitingApproval");
    act(&cluster, json!({"action": "approve"})).await;
    cluster.until_reason("shop", "Issued");
    let values = ["--set", IMAGE, "--set", "tenantIssuersMayReach={loopback}"];
    let objects = rendered(&values).expect("it is rendered");
    // What `helm test` makes is not installed.
    let is_kept = |object: &&Value| object["metadata"]["annotations"]["helm.sh/hook"].is_null();
    for object in objects.iter().filter(is_kept) {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/'));
        let kind = object["kind"].as_str().expect("a kind");
        let kind = group.map_or(kind.to_owned(), |(group, _)| format!("{kind}.{group}"));
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("chancery");
        let get = ["get", &kind, name, "--namespace", namespace, "-o", "json"];
        let there = cluster.plane.kubectl(get).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let there: Value = serde_json::from_str(&there).expect("JSON");
        assert!(has(&there, object), "{kind} {name} is\n{there}\nand not\n{object}");
    }
    for (kind, name) in [("chreq", "shop"), ("issuers.chancery.dev", "ca")] {
        let get = ["get", kind, name, "--namespace", "shop", "-o", "json", "--show-managed-fields"];
        let there = cluster.plane.kubectl(get).expect("it");
        let there: Value = serde_json::from_str(&there).expect("JSON");
        let writers = there["metadata"]["managedFields"].as_array().expect("writers").iter();
        let writers: Vec<_> =
            writers.map(|one| (one["manager"].as_str(), one["subresource"].as_str())).collect();
        let spec = writers.iter().filter(|(_, part)| part.is_none()).count();
        let status = writers.iter().filter(|(_, part)| *part == Some("status")).count();
        assert_eq!((spec, status, writers.len()), (1, 1, 2), "{kind}: {writers:?}");
    }
    assert_eq!(operator.process.stop(), Some(0));
}

/// helm waits with kstatus, which Flux has too.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_kstatus_waits_until_the_certificate_is_there() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let operator = cluster.pod();
    issuer(&cluster).await;
    let chart = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        std::fs::write(chart.path().join(name), text).expect("writes");
    };
    std::fs::create_dir(chart.path().join("templates")).expect("a directory");
    write("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 0.1.0\n");
    write("templates/request.yaml", &request("shop", json!({})).to_string());
    let path = chart.path().display().to_string();
    let wait = |timeout: &str| {
        let install = ["upgrade", "--install", "shop", &path, "--wait", "--timeout", timeout];
        cluster.helm(&install)
    };
    let refused = wait("5s").expect_err("the order waits for a person");
    assert!(refused.contains("CertificateRequest/shop/shop not ready"), "{refused}");
    cluster.until_reason("shop", "AwaitingApproval");
    act(&cluster, json!({"action": "approve"})).await;
    wait("60s").expect("the certificate is there");
    cluster.until_reason("shop", "Issued");
    assert_eq!(operator.process.stop(), Some(0));
}

/// What both tools write on what they apply, and select by.
fn tracked() -> Value {
    json!({
        "labels": {
            "app.kubernetes.io/instance": "shop",
            "kustomize.toolkit.fluxcd.io/name": "shop",
            "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        },
        "annotations": {
            "argocd.argoproj.io/tracking-id": "shop:chancery.dev/CertificateRequest:shop/shop",
        },
    })
}

fn labels(cluster: &Cluster, secret: &str) -> BTreeMap<String, String> {
    let secret = get(cluster, "secret", secret);
    assert_eq!(secret["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"], Value::Null);
    serde_json::from_value(secret["metadata"]["labels"].clone()).expect("labels")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_writes_carries_a_mark_of_argo_cd_or_flux_only_by_its_template() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let operator = cluster.pod();
    issuer(&cluster).await;
    cluster.apply(&request("shop", json!({"metadata": tracked()})));
    cluster.until_reason("shop", "AwaitingApproval");
    let ours = |key: &str| {
        let rows = [(key, "true"), ("app.kubernetes.io/managed-by", "chancery")];
        rows.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    };
    let expected: BTreeMap<String, String> = ours("chancery.dev/order");
    assert_eq!(labels(&cluster, "shop.order"), expected);
    act(&cluster, json!({"action": "approve"})).await;
    cluster.until_reason("shop", "Issued");
    let mut expected: BTreeMap<String, String> = ours("chancery.dev/managed");
    assert_eq!(labels(&cluster, "shop-tls"), expected);

    // By the template it comes there, with what keeps Argo CD from pruning it.
    let kept = json!({
        "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
        "argocd.argoproj.io/sync-options": "Prune=false",
    });
    let label = json!({"app.kubernetes.io/instance": "shop"});
    patch(&cluster, &json!({"secretTemplate": {"labels": label, "annotations": kept}}));
    let path = "jsonpath={.metadata.labels.app\\.kubernetes\\.io/instance}";
    cluster.until(&["secret", "--namespace", "shop", "shop-tls", "-o", path], "shop");
    expected.insert("app.kubernetes.io/instance".to_owned(), "shop".to_owned());
    assert_eq!(labels(&cluster, "shop-tls"), expected);
    let annotations = get(&cluster, "secret", "shop-tls")["metadata"]["annotations"].clone();
    assert!(has(&annotations, &kept), "{annotations}");

    // A template that says who makes the Secret is right.
    let label_of_theirs = json!({"app.kubernetes.io/managed-by": "us"});
    let further = json!({"spec": {"secretTemplate": {"labels": label_of_theirs}}});
    cluster.apply(&request("own", further));
    cluster.until_reason("own", "AwaitingApproval");
    let own = get(&cluster, "chreq", "own")["status"]["order"]["id"].clone();
    let ra = cluster.simulator.swisssign("shop");
    ra.act(own.as_str().expect("an id"), json!({"action": "approve"})).await;
    cluster.until_reason("own", "Issued");
    assert_eq!(labels(&cluster, "own-tls")["app.kubernetes.io/managed-by"], "us");

    // Where the operator does not let it, it neither comes there nor is anything new delivered.
    assert_eq!(operator.process.stop(), Some(0));
    cluster.install(&["--set", "secretTemplateKeys={team}"]);
    let operator = cluster.pod();
    cluster.apply(&request("blog", json!({"spec": {"secretTemplate": {"labels": label}}})));
    let issuing = "jsonpath={.status.conditions[?(@.type==\"Issuing\")].reason}";
    cluster.until(&["chreq", "--namespace", "shop", "blog", "-o", issuing], "TemplateNotAllowed");
    assert_eq!(cluster.orders().await, 2);
    assert_eq!(operator.process.stop(), Some(0));
}

/// Has a cluster know the objects of Argo CD and Flux, by the definitions that both publish.
pub fn install(cluster: &Cluster) {
    let fetch = Command::new(root().join("tests/install/gitops/definitions"))
        .stderr(Stdio::inherit())
        .output()
        .expect("tests/install/gitops/definitions starts");
    assert!(fetch.status.success(), "tests/install/gitops/definitions failed: see above");
    let directory = String::from_utf8_lossy(&fetch.stdout).trim().to_owned();
    let apply = ["apply", "--server-side", "-f", &directory];
    cluster.plane.kubectl(apply).expect("the definitions are taken");
    let established = ["wait", "--for=condition=Established", "--timeout=30s", "-f", &directory];
    cluster.plane.kubectl(established).expect("the definitions are established");
    for namespace in ["argocd", "flux-system"] {
        cluster.plane.kubectl(["create", "namespace", namespace]).expect("a namespace");
    }
}

#[test]
fn what_argo_cd_and_flux_do_not_know_in_an_example_is_noticed() {
    let cluster = Cluster::new();
    install(&cluster);
    let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    for (file, field, wrong) in [
        ("argo-cd/application.yaml", "targetRevision:", "targetRevison:"),
        ("flux/chancery.yaml", "dependsOn:", "dependOn:"),
        ("flux/chancery.yaml", "newName:", "newname:"),
    ] {
        let text = std::fs::read_to_string(root().join("deploy/gitops").join(file)).expect(file);
        cluster.plane.kubectl_stdin(&create, &text).expect("as it is it is taken");
        let refused = cluster.plane.kubectl_stdin(&create, &text.replacen(field, wrong, 1));
        let refused = refused.expect_err("a field of that name is in no definition");
        assert!(refused.contains("unknown field"), "{refused}");
    }
}

#[test]
fn definitions_that_cannot_be_fetched_are_told_with_the_reason() {
    let cache = tempfile::tempdir().expect("a directory");
    let fetch = Command::new(root().join("tests/install/gitops/definitions"))
        .env("XDG_CACHE_HOME", cache.path())
        .env("GOMODCACHE", cache.path().join("modules"))
        .env("GOPROXY", "off")
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&fetch.stderr);
    assert_eq!((fetch.status.code(), fetch.stdout.len()), (Some(1), 0), "{told}");
    assert!(told.contains("cannot be fetched: ") && told.contains("GOPROXY=off"), "{told}");
}

/// The objects with an annotation, by kind.
fn marked(objects: &[Value], key: &str, value: &str) -> BTreeMap<String, usize> {
    let mut marked = BTreeMap::new();
    for object in objects.iter().filter(|one| one["metadata"]["annotations"][key] == value) {
        *marked.entry(object["kind"].as_str().expect("a kind").to_owned()).or_default() += 1;
    }
    marked
}

#[test]
fn neither_tool_prunes_the_definitions_or_the_namespace() {
    let file = root().join("deploy/gitops/flux/chancery.yaml");
    let objects = documents(&std::fs::read_to_string(file).expect("the file"));
    let is_it = |object: &&Value| object["spec"]["path"] == "./deploy";
    let spec = &objects.iter().find(is_it).expect("the Kustomization")["spec"];
    assert_eq!(spec["prune"], true);
    // What Flux makes of it. Kustomize takes no absolute paths.
    let dir = tempfile::tempdir_in(root().join("target")).expect("a directory");
    let built_of = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": ["../../deploy"], "patches": spec["patches"], "images": spec["images"],
    });
    std::fs::write(dir.path().join("kustomization.yaml"), built_of.to_string()).expect("writes");
    let at = dir.path().display().to_string();
    let built = ControlPlane::start().kubectl(["kustomize", at.as_str()]).expect("it is built");
    let kept = marked(&documents(&built), "kustomize.toolkit.fluxcd.io/prune", "disabled");
    let definitions = ("CustomResourceDefinition".to_owned(), 3);
    assert_eq!(kept, [definitions.clone(), ("Namespace".to_owned(), 1)].into());

    let objects = rendered(&[]).expect("it is rendered");
    let kept = marked(&objects, "argocd.argoproj.io/sync-options", "Prune=false");
    assert_eq!(kept, [definitions].into());
}
