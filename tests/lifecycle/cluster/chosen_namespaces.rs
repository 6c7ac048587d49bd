//! An operator that works in chosen namespaces, with rights in these alone.

use std::collections::BTreeSet;

use chancery::api::{CertificateRequest, ClusterIssuer, Issuer, condition};
use kube::Api;
use serde_json::{Value, json};

use crate::support::operator::Operator;
use crate::support::watch;
use crate::world::{OPERATOR, PATIENCE, Test, clear, is_ready, issuing, until};

/// A test with the rights of `deploy/overlays/chosen-namespaces`, and more namespaces.
struct Chosen {
    test: Test,
    others: Vec<String>,
    /// Lines of the audit log that are not its own.
    before: usize,
}

impl Chosen {
    /// In namespaces that begin with `name`: `name` itself and those with these ends.
    async fn new(name: &str, ends: &[&str]) -> Self {
        let test = Test::new(name).await;
        let others: Vec<String> = ends.iter().map(|end| format!("{name}-{end}")).collect();
        let kubectl = |args: &[&str]| test.world.plane.kubectl(args.iter().copied());
        for other in &others {
            kubectl(&["create", "namespace", other]).expect("a namespace");
        }
        kubectl(&["apply", "-k", "deploy/overlays/chosen-namespaces"]).expect("the rights");
        test.until_allowed("list", "secrets", false);
        let before = test.world.plane.audit_log().lines().count();
        Self { test, others, before }
    }

    /// Gives the operator its rights in a namespace, as the documents say.
    fn bind(&self, namespace: &str) {
        self.run(&bind(namespace));
    }

    /// Runs a line as whoever reads it would.
    fn run(&self, line: &str) {
        for command in line.split(" && ") {
            let words = command.strip_prefix("kubectl ").expect("a line for kubectl").split(' ');
            self.test.world.plane.kubectl(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    fn spawn(&self, namespaces: &str) -> Operator {
        self.test.spawn(&[("CHANCERY_WATCH_NAMESPACES", namespaces)])
    }

    /// An Issuer with credentials, and a request of it.
    async fn ask(&self, namespace: &str, name: &str) {
        self.test.apply(self.credentials(namespace, "changeme"));
        let mut issuer = self.issuer().await;
        issuer["metadata"] = json!({"name": "ca", "namespace": namespace});
        self.test.apply(issuer);
        self.test.apply(self.request(namespace, name));
    }

    fn request(&self, namespace: &str, name: &str) -> Value {
        let mut request = self.test.request(name);
        request["metadata"]["namespace"] = json!(namespace);
        request
    }

    fn credentials(&self, namespace: &str, password: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": "credentials", "namespace": namespace,
                "labels": {"chancery.dev/credentials": "true"},
                "annotations": self.test.world.simulator.opt_in(),
            },
            "stringData": {"username": "testuser", "password": password},
        })
    }

    async fn issuer(&self) -> Value {
        let (site, simulator) = (&self.test.site, &self.test.world.simulator);
        json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "Issuer",
            "spec": {
                "onlineCa": {
                    "certificateUrl": site.certificate_url(),
                    "trustRootsUrl": site.trust_roots_url(),
                    "credentialsSecretRef": {"name": "credentials"},
                    "keyAlgorithms": ["RSA", "ECDSA"],
                },
                "tls": {"caBundle": {"pem": simulator.tls_root()}},
                "trust": {"bundle": {"pem": site.root_pem().await}},
            },
        })
    }

    async fn until(
        &self,
        operator: &Operator,
        (namespace, name): (&str, &str),
        wish: &str,
        is_so: impl Fn(&CertificateRequest) -> bool,
    ) {
        let api = Api::namespaced(self.test.client.clone(), namespace);
        let found = watch::until(api, name, PATIENCE, is_so).await;
        found.unwrap_or_else(|last| {
            let status = last.map(|last| last.status);
            panic!("{namespace}/{name} never was {wish}: {status:#?}\n{}", operator.process.log())
        });
    }

    async fn until_ready(&self, operator: &Operator, namespace: &str, name: &str) {
        self.until(operator, (namespace, name), "Ready", is_ready).await;
    }

    /// Each audit event of the operator.
    fn audited(&self) -> Vec<Value> {
        let log = self.test.world.plane.audit_log();
        let events =
            log.lines().skip(self.before).filter_map(|line| serde_json::from_str(line).ok());
        events.filter(|event: &Value| event["user"]["username"] == OPERATOR).collect()
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        let others = self.others.clone();
        self.test.world.plane.ask(async move |client| {
            for other in &others {
                clear(&client, other).await;
            }
            // What was in the namespace of the operator is no other test's.
            let issuers: Api<ClusterIssuer> = Api::all(client.clone());
            let _ = issuers.delete_collection(&Default::default(), &Default::default()).await;
        });
    }
}

fn bind(namespace: &str) -> String {
    format!(
        "kubectl create rolebinding chancery-certificates -n {namespace} --clusterrole=chancery-certificates --serviceaccount=chancery:chancery"
    )
}

/// Whether the metric says that the namespace is seen.
fn is_watched(operator: &Operator, namespace: &str) -> Option<bool> {
    let (_, page) = operator.get("/metrics")?;
    let label = format!("chancery_namespace_watched{{namespace=\"{namespace}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&label)).map(|value| value.starts_with('1'))
}

/// The lines of the log that say of a namespace that it is refused.
fn refusals(operator: &Operator, namespace: &str) -> Vec<Value> {
    let log = operator.process.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["namespace"] == namespace)
        .filter(|line| {
            line["message"]
                .as_str()
                .is_some_and(|text| text.contains("the namespace is not served"))
        })
        .collect()
}

#[tokio::test]
async fn with_rights_in_two_namespaces_it_serves_these_and_asks_for_nothing_else() {
    let chosen = Chosen::new("chosen", &["too", "not"]).await;
    let (here, too, not) = ("chosen", "chosen-too", "chosen-not");
    chosen.bind(here);
    chosen.bind(too);
    let operator = chosen.spawn("chosen-too, chosen");
    operator.wait_until_ready();
    operator.wait_until_it_acts();
    operator.wait_until_it_says("\"namespaces\":\"chosen,chosen-too\"");
    assert_eq!(operator.get("/readyz"), Some((200, "ok\n".to_owned())));

    for namespace in [not, here, too] {
        chosen.ask(namespace, "portal").await;
    }
    // An issuer of the cluster, whose credentials are in the operator's namespace, and wrong at first.
    chosen.test.apply(chosen.credentials("chancery", "wrong"));
    let root = chosen.test.site.root_pem().await;
    chosen.test.apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "roots", "namespace": "chancery", "labels": {"chancery.dev/trust": "true"},
        },
        "data": {"ca.crt": root},
    }));
    let mut issuer = chosen.issuer().await;
    issuer["kind"] = json!("ClusterIssuer");
    issuer["metadata"] = json!({"name": "all"});
    issuer["spec"]["allow"] = json!({"namespaces": {}, "keyTypes": ["ECDSA P-256"]});
    issuer["spec"]["trust"] = json!({"bundle": {"configMapRef": {"name": "roots"}}});
    chosen.test.apply(issuer);
    for namespace in [not, too] {
        let mut request = chosen.request(namespace, "of-all");
        request["spec"]["issuerRef"] = json!({"kind": "ClusterIssuer", "name": "all"});
        chosen.test.apply(request);
    }
    chosen.until_ready(&operator, here, "portal").await;
    chosen.until_ready(&operator, too, "portal").await;
    let refused = |request: &CertificateRequest| issuing(request).1.contains("CredentialsRefused");
    chosen.until(&operator, (too, "of-all"), "refused", refused).await;
    // Nobody may watch them, and they are seen all the same.
    chosen.test.apply(chosen.credentials("chancery", "changeme"));
    chosen.until_ready(&operator, too, "of-all").await;
    chosen.test.until_idle(&operator);

    let issuers: Api<Issuer> = Api::namespaced(chosen.test.client.clone(), not);
    let untouched = issuers.get("ca").await.expect("the issuer").status.unwrap_or_default();
    assert!(untouched.conditions.is_empty(), "{untouched:#?}");
    let requests: Api<CertificateRequest> = Api::namespaced(chosen.test.client.clone(), not);
    for name in ["portal", "of-all"] {
        let untouched = requests.get(name).await.expect("the request").status.unwrap_or_default();
        assert!(untouched.conditions.is_empty(), "{name}: {untouched:#?}");
    }
    let cluster_issuers: Api<ClusterIssuer> = Api::all(chosen.test.client.clone());
    let status = cluster_issuers.get("all").await.expect("the issuer").status.expect("a status");
    assert!(condition::is_true(&status.conditions, "Ready"), "{status:#?}");
    assert_eq!(chosen.test.issued().await, 3);

    let audited = chosen.audited();
    let mut asked = BTreeSet::new();
    for event in &audited {
        let decision = &event["annotations"]["authorization.k8s.io/decision"];
        assert_eq!(decision, "allow", "{event:#}");
        let text = |key: &str| event["objectRef"][key].as_str().unwrap_or_default().to_owned();
        let (verb, namespace) = (event["verb"].as_str().unwrap_or_default(), text("namespace"));
        asked.insert((text("resource"), verb.to_owned(), namespace));
    }
    println!("asked for: {asked:#?}");
    for (resource, verb, namespace) in &asked {
        let is_chosen = [here, too].contains(&namespace.as_str());
        let is_right = match (resource.as_str(), namespace.as_str()) {
            // The question which kinds there are.
            ("", "") => verb == "get",
            ("clusterissuers", "") => ["get", "list", "update", "watch"].contains(&verb.as_str()),
            ("namespaces", _) => ["list", "watch"].contains(&verb.as_str()),
            ("leases" | "configmaps", "chancery") => true,
            ("secrets", "chancery") => verb == "get",
            _ => is_chosen,
        };
        assert!(is_right, "{verb} {resource} in {namespace:?}");
    }
    let has = |resource: &str, verb: &str, namespace: &str| {
        asked.contains(&(resource.to_owned(), verb.to_owned(), namespace.to_owned()))
    };
    for namespace in [here, too] {
        for resource in ["certificaterequests", "configmaps", "issuers", "secrets"] {
            assert!(has(resource, "watch", namespace), "{resource} in {namespace}");
        }
        assert!(has("events", "create", namespace), "Events in {namespace}");
    }
    assert!(has("configmaps", "watch", "chancery") && has("secrets", "get", "chancery"));
}

#[tokio::test]
async fn a_namespace_without_rights_holds_up_no_other_and_is_served_once_it_has_them() {
    let mut chosen = Chosen::new("rights", &["half"]).await;
    let (good, bad, half) = ("rights", "rights-later", "rights-half");
    chosen.others.push(bad.to_owned());
    chosen.bind(good);
    // Here it may do all that it does but list Secrets: what it has made it would not see.
    let role = "kubectl create role half -n rights-half --verb=get,list,watch,update,create,patch --resource=issuers.chancery.dev,issuers.chancery.dev/status,certificaterequests.chancery.dev,certificaterequests.chancery.dev/status,configmaps,events.events.k8s.io";
    chosen.run(role);
    chosen.run(
        "kubectl create role secrets -n rights-half --verb=create,get,patch --resource=secrets",
    );
    for role in ["half", "secrets"] {
        chosen.run(&format!("kubectl create rolebinding {role} -n rights-half --role={role} --serviceaccount=chancery:chancery"));
    }
    chosen.ask(half, "zeroth").await;
    let operator = chosen.spawn("rights,rights-later,rights-half");
    operator.wait_until_ready();
    operator.wait_until_it_acts();
    let (status, page) = operator.get("/readyz").expect("an answer");
    println!("/readyz says: {page}");
    assert_eq!(status, 200);
    assert!(page.starts_with("ok\n"), "{page}");
    assert!(
        page.contains("namespace rights-later is not served: no list of bundles, cred"),
        "{page}"
    );
    let lacking = "namespace rights-half is not served: no list of credentials, records, targets\n";
    assert!(page.contains(lacking), "{page}");
    assert!(!page.contains("namespace rights is"), "{page}");
    assert_eq!(is_watched(&operator, good), Some(true));
    assert_eq!(is_watched(&operator, bad), Some(false));
    assert_eq!(is_watched(&operator, "chancery"), Some(true), "its own");
    chosen.ask(good, "first").await;
    chosen.until_ready(&operator, good, "first").await;
    let requests: Api<CertificateRequest> = Api::namespaced(chosen.test.client.clone(), half);
    let untouched = requests.get("zeroth").await.expect("the request").status.unwrap_or_default();
    assert!(untouched.conditions.is_empty(), "{untouched:#?}");
    chosen.bind(half);
    chosen.until_ready(&operator, half, "zeroth").await;

    // The log says the line, once.
    until("the log says it", || !refusals(&operator, bad).is_empty());
    let told = refusals(&operator, bad);
    assert_eq!(told.len(), 1, "{told:#?}");
    let message = told[0]["message"].as_str().expect("text");
    println!("the log says: {message}");
    let line = message.rsplit_once(": ").expect("a line at the end").1;
    assert_eq!(line, format!("kubectl create namespace {bad} && {}", bind(bad)));
    assert!(message.contains("it does not exist"), "{message}");
    chosen.run(line);
    chosen.ask(bad, "second").await;
    chosen.until_ready(&operator, bad, "second").await;
    assert_eq!(operator.get("/readyz"), Some((200, "ok\n".to_owned())));
    assert_eq!(is_watched(&operator, bad), Some(true));

    // Taken away while it runs: watches that are open stay open, until they have to begin anew.
    chosen
        .test
        .world
        .plane
        .kubectl(["delete", "rolebinding", "-n", bad, "chancery-certificates"])
        .expect("it is gone");
    chosen.test.world.plane.kill_api_server();
    chosen.test.world.plane.restart_api_server();
    until("the log says that it is refused", || refusals(&operator, bad).len() == 2);
    let told = refusals(&operator, bad);
    let message = told[1]["message"].as_str().expect("text");
    println!("the log says: {message}");
    assert!(message.ends_with(&format!(": {}", bind(bad))), "it exists: {message}");
    assert_eq!(is_watched(&operator, bad), Some(false));
    chosen.test.apply(chosen.request(bad, "third"));
    chosen.test.apply(chosen.request(good, "fourth"));
    chosen.until_ready(&operator, good, "fourth").await;
    let (status, page) = operator.get("/readyz").expect("an answer");
    assert!(status == 200 && page.contains("namespace rights-later is not served"), "{page}");
    let requests: Api<CertificateRequest> = Api::namespaced(chosen.test.client.clone(), bad);
    let untouched = requests.get("third").await.expect("the request").status.unwrap_or_default();
    assert!(untouched.conditions.is_empty(), "{untouched:#?}");
    chosen.bind(bad);
    chosen.until_ready(&operator, bad, "third").await;
    until("all of it is seen", || is_watched(&operator, bad) == Some(true));

    // A namespace that is made again is served again.
    chosen.test.world.plane.kubectl(["delete", "namespace", bad]).expect("it is gone");
    chosen.run(line);
    chosen.ask(bad, "fifth").await;
    chosen.until_ready(&operator, bad, "fifth").await;
    chosen.test.until_idle(&operator);
    assert_eq!(chosen.test.issued().await, 6);
}

#[tokio::test]
async fn its_own_namespace_may_be_one_of_them() {
    let chosen = Chosen::new("own-too", &[]).await;
    chosen.bind("own-too");
    chosen.run(&bind("chancery"));
    let operator = chosen.spawn("own-too,chancery,own-too");
    operator.wait_until_ready();
    assert_eq!(operator.get("/readyz"), Some((200, "ok\n".to_owned())));
    operator.wait_until_it_says("\"namespaces\":\"chancery,own-too\"");
    let audited = chosen.audited();
    let watches_secrets = |event: &&Value| {
        let object = &event["objectRef"];
        event["verb"] == "watch"
            && object["resource"] == "secrets"
            && object["namespace"] == "chancery"
    };
    assert!(audited.iter().any(|event| watches_secrets(&event)), "{audited:#?}");
    chosen.run("kubectl delete rolebinding chancery-certificates -n chancery");
}
