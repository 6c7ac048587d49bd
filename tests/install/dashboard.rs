//! The dashboard: each panel says what to do, and shows something on a real Prometheus that reads a real
//! operator.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::alerts::{is_exported, metrics_in, rules};
use crate::helm::{one, rendered};
use crate::installed::Cluster;
use crate::support::process::Process;
use crate::support::root;

const ASKED_FOR: &str = "metrics.dashboard.enabled=true";

fn dashboard() -> Value {
    let file = root().join("charts/chancery/files/dashboard.json");
    serde_json::from_str(&std::fs::read_to_string(file).expect("the dashboard")).expect("JSON")
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The panels that show something.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = array(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row");
    let panels: Vec<_> = panels.collect();
    assert!(panels.len() >= 20, "{}", panels.len());
    panels
}

fn expressions(panel: &Value) -> impl Iterator<Item = &str> {
    array(&panel["targets"]).iter().map(|target| text(&target["expr"]))
}

#[test]
fn it_is_delivered_when_asked_for_and_where_it_is_looked_for() {
    let is_it = |object: &&Value| object["kind"] == "ConfigMap";
    assert!(!rendered(&[]).expect("rendered").iter().any(|object| is_it(&object)));
    let objects = rendered(&["--set", ASKED_FOR]).expect("rendered");
    let map = one(&objects, "ConfigMap");
    assert_eq!(map["metadata"]["namespace"], "chancery");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let delivered: Value = serde_json::from_str(text(&map["data"]["chancery.json"])).expect("JSON");
    assert_eq!(delivered, dashboard());
    let elsewhere = "metrics.dashboard.namespace=grafana,metrics.dashboard.labels.found=here,\
        metrics.dashboard.annotations.grafana_folder=Certificates";
    let objects = rendered(&["--set", ASKED_FOR, "--set", elsewhere]).expect("rendered");
    let metadata = &one(&objects, "ConfigMap")["metadata"];
    assert_eq!(metadata["namespace"], "grafana");
    assert_eq!(metadata["labels"]["found"], "here");
    assert_eq!(metadata["annotations"], json!({"grafana_folder": "Certificates"}));
}

#[test]
fn each_panel_says_what_it_shows_and_what_to_do() {
    let (dashboard, mut titles) = (dashboard(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let (title, description) = (text(&panel["title"]), text(&panel["description"]));
        assert!(titles.insert(title), "{title} is there twice");
        let is_a_text = description.len() > 60 && description.ends_with('.');
        assert!(is_a_text, "{title}: {description}");
    }
}

#[test]
fn for_each_alert_there_is_a_panel_that_leads_to_its_runbook() {
    let dashboard = dashboard();
    let descriptions = panels(&dashboard).into_iter().map(|panel| text(&panel["description"]));
    let words = descriptions.flat_map(str::split_whitespace);
    let told: BTreeSet<_> = words
        .filter_map(|word| word.trim_end_matches('.').strip_prefix("docs/alerts.md#"))
        .map(str::to_owned)
        .collect();
    let rules = rules();
    let alerts: BTreeSet<_> =
        rules.iter().map(|rule| text(&rule["alert"]).to_lowercase()).collect();
    assert_eq!(told, alerts);
}

#[test]
fn no_panel_lies_on_another() {
    let dashboard = dashboard();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in array(&dashboard["panels"]) {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title} has another's id");
        let [x, y, w, h] = ["x", "y", "w", "h"]
            .map(|side| panel["gridPos"][side].as_u64().expect("a number of cells"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} has no place");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{title} lies on another at {cell:?}");
        }
    }
}

/// Debian's Prometheus, which reads one operator as the chart's ServiceMonitor says.
struct Prometheus {
    process: Process,
    url: String,
    http: reqwest::Client,
}

/// Of Prometheus, and what Grafana is told of it.
const SCRAPE: Duration = Duration::from_secs(1);

impl Prometheus {
    async fn start(dir: &Path, operator: &str) -> Self {
        let monitor = rendered(&["--set", "metrics.serviceMonitor.enabled=true"]).expect("it");
        let endpoint = one(&monitor, "ServiceMonitor")["spec"]["endpoints"][0].clone();
        let config = json!({"scrape_configs": [{
            "job_name": "chancery",
            "scrape_interval": format!("{}s", SCRAPE.as_secs()),
            "scrape_timeout": format!("{}s", SCRAPE.as_secs()),
            "honor_labels": endpoint["honorLabels"].as_bool().unwrap_or(false),
            "static_configs": [{
                "targets": [operator],
                // What Prometheus Operator puts on each pod's metrics.
                "labels": {"namespace": "chancery", "pod": "chancery-0", "container": "chancery"},
            }],
        }]});
        let file = dir.join("prometheus.yaml");
        std::fs::write(&file, config.to_string()).expect("written");
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a loopback port")
            .port();
        let args = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", dir.join("prometheus").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let process = Process::start(dir, "prometheus", Path::new("prometheus"), args, &[]);
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let prometheus = Self { process, url: format!("http://127.0.0.1:{port}/api/v1"), http };
        prometheus.until("up == 1").await;
        prometheus
    }

    /// What the API answers, or what it complains of.
    async fn get(&self, path: &str, arguments: &[(&str, &str)]) -> Result<Value, String> {
        let url = format!("{}/{path}", self.url);
        let url = url::Url::parse_with_params(&url, arguments).expect("an address");
        let answer = self.http.get(url).send().await.map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|_| text)?;
        let is_told = answer["status"] == "success";
        if is_told { Ok(answer["data"].clone()) } else { Err(answer["error"].to_string()) }
    }

    /// The numbers that an expression comes to now.
    async fn numbers(&self, expression: &str) -> Result<Vec<f64>, String> {
        let data = self.get("query", &[("query", expression)]).await?;
        let samples = array(&data["result"]).iter();
        let numbers = samples.map(|sample| text(&sample["value"][1]).parse().expect("a number"));
        Ok(numbers.filter(|number: &f64| number.is_finite()).collect())
    }

    /// Waits until an expression comes to something.
    async fn until(&self, expression: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let numbers = self.numbers(expression).await;
            if numbers.as_ref().is_ok_and(|numbers| !numbers.is_empty()) {
                return;
            }
            let log = || self.process.log();
            assert!(Instant::now() < until, "{expression}: {numbers:?}\n{}", log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The choices of a variable, as Grafana finds them.
    async fn choices(&self, variable: &Value, namespace: &str) -> Vec<String> {
        let query = text(&variable["query"]["query"]).replace("$namespace", namespace);
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (series, label) = inner.and_then(|inner| inner.rsplit_once(", ")).expect("two of them");
        let path = format!("label/{label}/values");
        let values = self.get(&path, &[("match[]", series)]).await.expect("values");
        array(&values).iter().map(|value| text(value).to_owned()).collect()
    }
}

/// An expression as Grafana sends it for the last 24 hours, which come to a point in a minute.
fn sent(expression: &str, panel: &Value, namespace: &str, issuer: &str) -> String {
    let step = match panel["interval"].as_str() {
        Some(least) => 60 * least.strip_suffix('m').expect("minutes").parse::<u64>().expect("it"),
        None => 60,
    };
    let rate = (step + SCRAPE.as_secs()).max(4 * SCRAPE.as_secs());
    let sent = expression
        .replace("$__rate_interval", &format!("{rate}s"))
        .replace("$__range", "86400s")
        .replace("$namespace", namespace)
        .replace("$issuer", issuer);
    assert!(!sent.contains('$'), "{sent}");
    sent
}

fn request(name: &str, issuer: &str) -> Value {
    json!({
        "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "issuerRef": {"name": issuer}, "secretName": format!("{name}-tls"),
            "privateKey": {"algorithm": "ECDSA"},
        },
    })
}

/// Certificates of a CA that issues at once, an issuer whose credentials are refused, an order that
/// waits for an approval, one that was rejected, and a request for which there is no room.
async fn much_happens(cluster: &Cluster, prometheus: &Prometheus) {
    let site = cluster.simulator.online_ca("shop");
    site.configure(json!({"minKeyBits": 256})).await;
    for (name, password) in [("free", "changeme"), ("closed", "wrong")] {
        let [mut credentials, mut issuer] = site.issuer("shop").await;
        credentials["metadata"]["name"] = json!(name);
        credentials["stringData"]["password"] = json!(password);
        issuer["metadata"]["name"] = json!(name);
        issuer["spec"]["onlineCa"]["credentialsSecretRef"]["name"] = json!(name);
        cluster.apply(&credentials);
        cluster.apply(&issuer);
    }
    let ask = |name: &str, issuer: &str| {
        let mut request = request(name, issuer);
        request["spec"]["onlineCa"] = json!({});
        cluster.apply(&request);
    };
    ask("refused", "closed");
    // A rate is that of what was there before.
    for (count, name) in [(1, "portal"), (2, "billing")] {
        ask(name, "free");
        cluster.until_reason(name, "Issued");
        let calls = "chancery_ca_requests_total{issuer=\"free\",step=\"submit\"}";
        prometheus.until(&format!("{calls} == {count}")).await;
    }
    cluster.order().await;
    // The key of an order that nobody asks for any more.
    let mut gone = request("gone", "ca");
    gone["spec"]["dnsNames"] = json!(["gone.example.ch"]);
    cluster.apply(&gone);
    cluster.until_reason("gone", "AwaitingApproval");
    cluster.plane.kubectl(["delete", "chreq", "gone", "-n", "shop"]).expect("it goes");
    prometheus.until("chancery_order_records_without_request == 1").await;
    let rejected = json!({"states": [{"state": "REJECTED"}]});
    cluster.simulator.swisssign("shop").change(rejected).await;
    let order = |name: &str| {
        let mut request = request(name, "ca");
        request["spec"]["dnsNames"] = json!([format!("{name}.example.ch")]);
        cluster.apply(&request);
    };
    order("declined");
    prometheus.until("chancery_requests_waiting_for_person{reason=\"OrderRejected\"} == 1").await;
    let patch = r#"{"spec": {"limits": {"openOrders": 1}}}"#;
    let patch = ["patch", "issuers.chancery.dev", "ca", "-n", "shop", "--type=merge", "-p", patch];
    cluster.plane.kubectl(patch).expect("it is limited");
    prometheus.until("chancery_issuer_limit{limit=\"openOrders\"} == 1").await;
    order("next");
    prometheus.until("chancery_issuer_requests_withheld{limit=\"openOrders\"} == 1").await;
    prometheus.until("chancery_issuer_ready{issuer=\"closed\"} == 0").await;
}

/// Panels of what is not the case here. They are asked without thresholds, and for other orders.
const QUIET: [&str; 5] = [
    "Orders of which nobody knows",
    "Certificates not renewed in time",
    "Certificates by days left",
    "Renewals that are due and not done",
    "Namespaces that are not watched",
];

fn in_any_case(expression: &str) -> String {
    let rows = [
        (" > ", " > bool "),
        (" <= ", " <= bool "),
        (" == ", " == bool "),
        ("phase=\"Unknown\"", "phase=\"Pending\""),
    ];
    rows.into_iter().fold(expression.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Panels of what has no series before it happens, and the labels that it has then in src/metrics.rs.
const UNSEEN: [(&str, &str); 2] =
    [("Faults of Chancery itself", "Panicked"), ("Objects that cannot be read", "OfKind")];

fn has_the_labels_of_an_unseen_one(title: &str, expression: &str) -> bool {
    let Some((_, labels)) = UNSEEN.iter().find(|(panel, _)| *panel == title) else { return false };
    let source = std::fs::read_to_string(root().join("src/metrics.rs")).expect("the source");
    let labels = source.split_once(&format!("struct {labels} {{")).expect("it is there").1;
    let labels = labels.split_once('}').expect("an end").0;
    let within = |begin: &'static str, end: &'static str| {
        expression.split(begin).skip(1).filter_map(move |rest| rest.split(end).next())
    };
    let used = within("by (", ")").chain(within("{", "}")).flat_map(|list| list.split(','));
    let mut used = used.filter_map(|label| label.trim().split(['=', '!']).next());
    used.all(|label| labels.contains(&format!("    {label}: ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_panel_shows_something() {
    let cluster = Cluster::new();
    cluster.install(&["--set", "watchNamespaces={shop}", "--set", ASKED_FOR]);
    let operator = cluster.pod();
    let prometheus = Prometheus::start(cluster.plane.dir(), operator.address()).await;
    much_happens(&cluster, &prometheus).await;
    let get = ["get", "configmap", "--namespace", "chancery", "chancery-dashboard", "-o", "json"];
    let map: Value =
        serde_json::from_str(&cluster.plane.kubectl(get).expect("the ConfigMap")).expect("JSON");
    let dashboard: Value = serde_json::from_str(text(&map["data"]["chancery.json"])).expect("JSON");
    let [_, namespace, issuer] = array(&dashboard["templating"]["list"]) else {
        panic!("other variables: {}", dashboard["templating"]);
    };
    let all = text(&namespace["allValue"]);
    assert_eq!(prometheus.choices(namespace, all).await, ["shop"]);
    assert_eq!(prometheus.choices(issuer, all).await, ["ca", "closed", "free"]);
    assert_eq!(prometheus.choices(issuer, "shop").await, ["ca", "closed", "free"]);
    let mut empty = Vec::new();
    for panel in panels(&dashboard) {
        for (expression, namespace) in
            expressions(panel).flat_map(|expression| [(expression, all), (expression, "shop")])
        {
            // What is shown where there is nothing does not count.
            let alone = expression.strip_suffix(" or vector(0)").unwrap_or(expression);
            let sent = sent(alone, panel, namespace, all);
            let title = text(&panel["title"]);
            let mut numbers = prometheus.numbers(&sent).await;
            if numbers.as_ref().is_ok_and(Vec::is_empty) && QUIET.contains(&title) {
                numbers = prometheus.numbers(&in_any_case(&sent)).await;
            }
            let shows = numbers.as_ref().is_ok_and(|numbers| !numbers.is_empty());
            if !shows && !has_the_labels_of_an_unseen_one(title, alone) {
                empty.push(format!("{title}: {numbers:?}: {sent}"));
            }
        }
    }
    assert!(empty.is_empty(), "{empty:#?}");
    let (_, page) = operator.get("/metrics").expect("its page");
    follows_its_variables(&dashboard, &page);
}

/// What is of an issuer or a namespace is asked for by what is chosen, and each metric is one of ours.
fn follows_its_variables(dashboard: &Value, page: &str) {
    for expression in panels(dashboard).into_iter().flat_map(expressions) {
        for metric in metrics_in(expression) {
            assert!(is_exported(page, metric), "{metric} is on no page:\n{page}");
            let mut lines = page.lines();
            let Some(series) = lines.find(|line| line.starts_with(&format!("{metric}{{"))) else {
                continue;
            };
            for rest in expression.split(metric).skip(1) {
                let selector = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
                for name in ["namespace", "issuer"] {
                    let has_it = series.contains(&format!("{name}=\""));
                    let chosen = selector.is_some_and(|text| text.contains(&format!("${name}")));
                    assert_eq!(chosen, has_it, "{name} of {metric}: {expression}");
                }
            }
        }
    }
}
