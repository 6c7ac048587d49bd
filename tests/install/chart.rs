//! What the chart takes, what it refuses, and what it promises of the pod.

use serde_json::{Value, json};

use crate::helm::{helm, one, rendered, rendered_without_image};
use crate::support::control_plane::ControlPlane;
use crate::support::root;

#[test]
fn helm_has_nothing_to_complain_of() {
    let lint = ["lint", "--strict", "charts/chancery", "--set", crate::helm::IMAGE];
    helm(None, &lint).expect("no complaint");
}

#[test]
fn values_that_cannot_work_are_refused_and_the_text_says_why() {
    let rows: [(&[&str], &[&str]); 14] = [
        (&["--set", "replica=3"], &["replica"]),
        (&["--set", "image.repo=x"], &["repo"]),
        (&["--set", "image.repository=registry.example/chancery:1"], &["image/repository"]),
        (&["--set", "replicas=-1"], &["replicas"]),
        (&["--set", "leaderElection.leaseDuration=1500ms"], &["leaseDuration"]),
        (&["--set", "tenantIssuersMayReach={everything}"], &["tenantIssuersMayReach"]),
        (&["--set", "watchNamespaces={a,a}"], &["watchNamespaces"]),
        (&["--set", "watchNamespaces={*}"], &["watchNamespaces"]),
        (&["--set-string", "clusterIssuers=false"], &["clusterIssuers"]),
        (&["--set", "clusterNetworks={10.0.0.1}"], &["clusterNetworks"]),
        (&["--set", "networkPolicy.egress[0].cidr=192.0.2.0/24"], &["egress", "ports"]),
        (&["--set", "admissionPolicies.operators={it's}"], &["operators"]),
        (
            &["--set", "leaderElection.enabled=false"],
            &["replicas is more than 1", "leaderElection.enabled", "Set one of the two"],
        ),
        (
            &["--set", "metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true"],
            &["counted twice"],
        ),
    ];
    for (values, parts) in rows {
        let refused = rendered(values).expect_err("it is refused");
        for part in parts {
            assert!(refused.contains(part), "{values:?}: {refused}");
        }
    }
    let refused = rendered_without_image(&[]).expect_err("there is no default");
    assert!(refused.contains("There is no published image"), "{refused}");
    assert!(refused.contains("make image IMAGE="), "{refused}");
}

fn pod(values: &[&str]) -> Value {
    let objects = rendered(values).expect("it is rendered");
    one(&objects, "Deployment")["spec"]["template"].clone()
}

/// The pod of `helm test`.
fn test_pod(values: &[&str]) -> Value {
    one(&rendered(values).expect("it is rendered"), "Pod").clone()
}

/// It has the account of the operator, and is none of its pods.
#[test]
fn the_pod_of_helm_test_gets_no_traffic_and_reaches_the_operator() {
    let values = ["--set", "watchNamespaces={shop,blog},serviceAccount.name=robot"];
    let (objects, pod) = (rendered(&values).expect("it is rendered"), test_pod(&values));
    assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], json!("test"));
    assert_eq!(pod["spec"]["serviceAccountName"], json!("robot"));
    assert_eq!(pod["spec"]["restartPolicy"], json!("Never"));
    let labels = &pod["metadata"]["labels"];
    let is_selected = |selector: &Value| {
        let wished = selector.as_object().expect("labels");
        assert!(!wished.is_empty());
        wished.iter().all(|(key, value)| labels[key] == *value)
    };
    let service = &one(&objects, "Service")["spec"];
    assert!(!is_selected(&service["selector"]), "{labels}");
    assert!(!is_selected(&one(&objects, "Deployment")["spec"]["selector"]["matchLabels"]));
    let policy = &one(&objects, "NetworkPolicy")["spec"];
    assert!(!is_selected(&policy["podSelector"]["matchLabels"]));
    assert!(is_selected(&policy["ingress"][0]["from"][1]["podSelector"]["matchLabels"]));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["check"]));
    let variables = container["env"].as_array().expect("variables");
    let has = |name: &str, value: &str| {
        variables.iter().any(|one| one["name"] == name && one["value"] == value)
    };
    assert!(has("CHANCERY_URL", "http://chancery.chancery.svc:8080"), "{variables:?}");
    assert!(has("CHANCERY_WATCH_NAMESPACES", "shop,blog"), "{variables:?}");
    assert_eq!(service["ports"][0]["port"], json!(8080));
}

#[test]
fn the_pod_of_helm_test_has_what_the_operator_has_and_outlasts_the_lease() {
    let values = [
        "--set",
        "priorityClassName=high,leaderElection.leaseDuration=1h2m3s,\
            extraVolumes[0].name=roots,extraVolumes[0].configMap.name=roots,\
            extraVolumeMounts[0].name=roots,extraVolumeMounts[0].mountPath=/roots",
    ];
    let (operator, test) = (pod(&values)["spec"].clone(), test_pod(&values)["spec"].clone());
    for part in ["/priorityClassName", "/volumes", "/containers/0/volumeMounts"] {
        assert!(operator.pointer(part).is_some(), "{part}");
        assert_eq!(test.pointer(part), operator.pointer(part), "{part}");
    }
    assert_eq!(test["activeDeadlineSeconds"], json!(3723 + 120));
    assert_eq!(test_pod(&[])["spec"]["activeDeadlineSeconds"], json!(15 + 120));
}

#[test]
fn the_image_is_named_as_the_values_say() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let set = format!("image.digest={digest}");
    let rows: [(&[&str], String); 3] = [
        (&[], format!("registry.example/chancery:{}", env!("CARGO_PKG_VERSION"))),
        (&["--set", "image.tag=v2"], "registry.example/chancery:v2".to_owned()),
        (&["--set", &set], format!("registry.example/chancery@{digest}")),
    ];
    for (values, expected) in rows {
        assert_eq!(pod(values)["spec"]["containers"][0]["image"], json!(expected), "{values:?}");
    }
}

#[test]
fn no_key_is_another_thing_than_nothing_said_of_keys() {
    let keys = |values: &[&str]| {
        let pod = pod(values);
        let all = pod["spec"]["containers"][0]["env"].as_array().expect("variables").clone();
        let is_it = |one: &&Value| one["name"] == "CHANCERY_SECRET_TEMPLATE_KEYS";
        all.iter().find(is_it).map(|one| one["value"].clone())
    };
    assert_eq!(keys(&[]), None);
    assert_eq!(keys(&["--set-json", "secretTemplateKeys=[]"]), Some(json!("")));
    let some = ["--set-json", "secretTemplateKeys=[\"team\",\"example.com/*\"]"];
    assert_eq!(keys(&some), Some(json!("team,example.com/*")));
}

/// The chart, the operator in it and the image belong together.
#[test]
fn the_chart_has_the_version_of_the_operator() {
    let chart = std::fs::read_to_string(root().join("charts/chancery/Chart.yaml")).expect("it");
    let chart: Value = serde_yaml::from_str(&chart).expect("YAML");
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], json!(env!("CARGO_PKG_VERSION")), "{field}");
    }
}

/// `make test-oldest` runs on what that file names.
#[test]
fn the_oldest_api_server_that_the_chart_takes_is_the_one_that_is_tried() {
    let chart = std::fs::read_to_string(root().join("charts/chancery/Chart.yaml")).expect("it");
    let chart: Value = serde_yaml::from_str(&chart).expect("YAML");
    let module = root().join("tests/controlplane/oldest.mod");
    let module = std::fs::read_to_string(module).expect("the module");
    let mut words = module.split_whitespace().skip_while(|word| *word != "k8s.io/kubernetes");
    let version = words.nth(1).expect("a version").trim_start_matches('v');
    let (minor, _patch) = version.rsplit_once('.').expect("a patch");
    assert_eq!(chart["kubeVersion"], format!(">={minor}.0-0"));
}

#[test]
fn every_value_is_in_the_schema_and_in_the_readme() {
    let read = |name: &str| {
        std::fs::read_to_string(root().join("charts/chancery").join(name)).expect("a file")
    };
    let (text, schema) = (read("values.yaml"), read("values.schema.json"));
    let values: Value = serde_yaml::from_str(&text).expect("YAML");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let keys = |object: &Value| object.as_object().expect("a map").keys().cloned().collect();
    let mut known: std::collections::BTreeSet<String> = keys(&schema["properties"]);
    // What charts above it pass down.
    known.remove("global");
    assert_eq!(keys(&values), known);
    let told = std::fs::read_to_string(root().join("charts/chancery/README.md")).expect("it");
    assert!(told.contains(&text), "its README is stale: run `make manifests`");
}

/// The API server itself judges: namespaces with this label take no other pods.
#[test]
fn the_pod_may_run_where_pods_are_restricted() {
    let plane = ControlPlane::start();
    plane.kubectl(["apply", "-f", "deploy/namespace.yaml"]).expect("the namespace");
    let rows: [&[&str]; 2] =
        [&[], &["--set", "watchNamespaces={a,b},tenantIssuersMayReach={private}"]];
    let of = |template: &Value| {
        let mut pod = template.clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("judged");
        pod["metadata"]["namespace"] = json!("chancery");
        plane.kubectl_stdin(&["create", "--dry-run=server", "-f", "-"], &pod.to_string())
    };
    for values in rows {
        of(&pod(values)).expect("it may run");
        of(&test_pod(values)).expect("that of `helm test` may run");
    }
    // Each promise alone is missed.
    let security = "/spec/containers/0/securityContext";
    for (path, value) in [
        (format!("{security}/allowPrivilegeEscalation"), json!(true)),
        (format!("{security}/capabilities/drop"), json!([])),
        ("/spec/securityContext/runAsNonRoot".to_owned(), json!(false)),
        ("/spec/securityContext/seccompProfile/type".to_owned(), json!("Unconfined")),
    ] {
        let mut changed = pod(&[]);
        *changed.pointer_mut(&path).unwrap_or_else(|| panic!("{path} is not there")) = value;
        let refused = of(&changed).expect_err("it must not run");
        assert!(refused.contains("violates PodSecurity"), "{path}: {refused}");
    }
}

/// What SECURITY.md says beyond what pod security asks for.
#[test]
fn the_pod_writes_nowhere_and_has_no_rights_but_its_token() {
    let objects = rendered(&[]).expect("it is rendered");
    let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], json!(true));
    assert_eq!(pod["securityContext"]["runAsUser"], json!(65532));
    assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1));
    for absent in ["volumes", "hostNetwork", "hostPID", "hostIPC", "initContainers"] {
        assert_eq!(pod[absent], Value::Null, "{absent}");
    }
    assert_eq!(one(&objects, "ServiceAccount")["automountServiceAccountToken"], json!(false));
    assert_eq!(container["resources"]["limits"]["memory"], json!("256Mi"));
    let policy = &one(&objects, "NetworkPolicy")["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress"]));
    assert_eq!(policy["ingress"].as_array().map(Vec::len), Some(1));
    let objects = rendered(&[
        "--set",
        "networkPolicy.egress[0].cidr=192.0.2.0/24",
        "--set",
        "networkPolicy.egress[0].ports={443}",
    ])
    .expect("it is rendered");
    let policy = &one(&objects, "NetworkPolicy")["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(policy["egress"][1]["to"][0]["ipBlock"]["cidr"], json!("192.0.2.0/24"));
}

#[test]
fn the_policies_know_the_operator_by_its_real_name() {
    let objects = rendered(&[
        "--set",
        "serviceAccount.name=robot",
        "--set",
        "admissionPolicies.operators={restorer}",
    ])
    .expect("it is rendered");
    let text = json!(objects).to_string();
    let operators = "['system:serviceaccount:chancery:robot', 'restorer']";
    assert_eq!(text.matches(operators).count(), 2, "one in each policy");
    let objects = rendered(&["--set", "admissionPolicies.enabled=false"]).expect("it is rendered");
    assert!(objects.iter().all(|object| object["kind"] != "ValidatingAdmissionPolicy"));
}

#[test]
fn with_chosen_namespaces_there_is_no_right_on_secrets_elsewhere() {
    let objects = rendered(&["--set", "watchNamespaces={shop,blog}"]).expect("it is rendered");
    let all = rendered(&[]).expect("it is rendered");
    let named = |objects: &[Value], kind: &str, name: &str| {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        objects.iter().find(is_it).cloned().unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    let rules = named(&objects, "ClusterRole", "chancery")["rules"].clone();
    for resource in ["secrets", "configmaps", "certificaterequests", "\"issuers", "events"] {
        assert!(!rules.to_string().contains(resource), "{resource} in {rules}");
    }
    // Bound in these namespaces alone, and no more than what is granted everywhere otherwise.
    let granted = named(&objects, "ClusterRole", "chancery-certificates")["rules"].clone();
    let everywhere = named(&all, "ClusterRole", "chancery")["rules"].clone();
    let (granted, everywhere) = (granted.as_array().expect("rules"), everywhere);
    let everywhere = everywhere.as_array().expect("rules");
    assert!(granted.iter().all(|rule| everywhere.contains(rule)), "{granted:?}");
    let bound = |kind: &str| {
        let bindings = objects.iter().filter(move |object| object["kind"] == kind);
        let is_it = |binding: &&Value| binding["roleRef"]["name"] == "chancery-certificates";
        let namespaces = bindings.filter(is_it).map(|one| one["metadata"]["namespace"].clone());
        namespaces.collect::<Vec<_>>()
    };
    assert_eq!(bound("RoleBinding"), ["shop", "blog"]);
    assert_eq!(bound("ClusterRoleBinding"), Vec::<Value>::new());
}

#[test]
fn where_cluster_issuers_are_left_to_another_installation_there_is_no_right_on_them() {
    let roles = |values: &[&str]| {
        let objects = rendered(values).expect("it is rendered");
        let is_role = |kind: &Value| kind == "ClusterRole" || kind == "Role";
        let roles = objects.into_iter().filter(|object| is_role(&object["kind"]));
        roles.map(|role| (role["metadata"].to_string(), role["rules"].to_string())).collect()
    };
    let without = ["--set", "clusterIssuers=false,watchNamespaces={shop}"];
    let all: Vec<(String, String)> = roles(&without);
    assert!(all.iter().all(|(_, rules)| !rules.contains("clusterissuers")), "{all:?}");
    let own = all.iter().find(|(metadata, _)| metadata.contains("\"namespace\":\"chancery\""));
    let (_, own) = own.expect("a role in its own namespace");
    assert!(own.contains("leases") && !own.contains("secrets") && !own.contains("configmaps"));
    assert!(
        roles(&["--set", "clusterIssuers=false"])
            .iter()
            .all(|(_, rules): &(String, String)| !rules.contains("clusterissuers"))
    );
    let has = |values: &[&str]| {
        let pod = pod(values);
        let all = pod["spec"]["containers"][0]["env"].as_array().expect("variables").clone();
        all.contains(&json!({"name": "CHANCERY_CLUSTER_ISSUERS", "value": "false"}))
    };
    assert!(has(&without) && !has(&[]));
}
