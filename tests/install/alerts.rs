//! The alerts: judged by promtool, named in the runbook, and of metrics that the operator has.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::helm::{one, rendered};
use crate::installed::Cluster;
use crate::support::root;

/// The rules that the chart brings.
pub fn rules() -> Vec<Value> {
    let objects = rendered(&["--set", "metrics.prometheusRule.enabled=true"]).expect("rendered");
    let spec = &one(&objects, "PrometheusRule")["spec"];
    spec["groups"][0]["rules"].as_array().expect("rules").clone()
}

fn promtool(args: &[&str]) {
    let output = Command::new("promtool").args(args).current_dir(root()).output();
    let output = output.expect("promtool is missing: apt-get install -y prometheus");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn each_fires_when_it_should_and_not_before() {
    promtool(&["check", "rules", "charts/chancery/files/alerts.yaml"]);
    promtool(&["test", "rules", "tests/install/alerts_test.yaml"]);
    let tests = std::fs::read_to_string(root().join("tests/install/alerts_test.yaml")).expect("it");
    for rule in rules() {
        let name = rule["alert"].as_str().expect("a name");
        let of_it = tests.split("alertname: ").filter(|test| test.starts_with(name));
        let fires = of_it.clone().filter(|test| test.contains("exp_labels")).count();
        assert!(fires > 0, "nobody shows when {name} fires");
        assert!(of_it.count() > fires, "nobody shows when {name} does not fire");
    }
}

#[test]
fn each_has_its_lines_in_the_runbook() {
    let runbook = std::fs::read_to_string(root().join("docs/alerts.md")).expect("the runbook");
    let told: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let rules = rules();
    let names: BTreeSet<_> = rules.iter().filter_map(|rule| rule["alert"].as_str()).collect();
    assert_eq!(told, names);
    for rule in &rules {
        let name = rule["alert"].as_str().expect("a name");
        let at = format!("docs/alerts.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], at.as_str());
    }
}

/// Names of our metrics in an expression.
pub fn metrics_in(expression: &str) -> impl Iterator<Item = &str> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = expression.split(move |character: char| !is_part(character));
    words.filter(|word| word.starts_with("chancery_"))
}

/// Of what has not happened there is no series.
const NOT_HERE: [&str; 2] = ["chancery_panics", "chancery_unreadable_objects"];

/// Whether the operator has a metric, by its page.
pub fn is_exported(page: &str, metric: &str) -> bool {
    let suffixes = ["_total", "_bucket", "_count", "_sum"];
    let family = suffixes.iter().find_map(|suffix| metric.strip_suffix(suffix)).unwrap_or(metric);
    let name = family.strip_prefix("chancery_").expect("ours");
    let source = std::fs::read_to_string(root().join("src/metrics.rs")).expect("the source");
    page.contains(&format!("# TYPE {family} "))
        || NOT_HERE.contains(&family) && source.contains(&format!("\"{name}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_has_every_metric_that_they_look_at() {
    let cluster = Cluster::new();
    cluster.install(&["--set", "watchNamespaces={shop}"]);
    let operator = cluster.pod();
    cluster.order().await;
    let (_, page) = operator.get("/metrics").expect("its page");
    for rule in rules() {
        for metric in metrics_in(rule["expr"].as_str().expect("an expression")) {
            assert!(is_exported(&page, metric), "{metric} is on no page:\n{page}");
        }
    }
}
