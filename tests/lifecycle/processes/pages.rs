//! `/livez`, `/readyz` and `/metrics`.

use std::collections::BTreeMap;

use crate::world::{Test, openssl, until};

#[tokio::test]
async fn it_is_ready_once_all_watches_have_answered() {
    let test = Test::new("readiness").await;
    test.forbid(&["list"], "secrets");
    let operator = test.spawn(&[]);
    until("the log names the watch that fails", || {
        let log = operator.process.log();
        log.contains("the watch failed") && log.contains("secrets is forbidden")
    });
    assert_eq!(operator.get("/livez").map(|(status, _)| status), Some(200));
    let (status, body) = operator.get("/readyz").expect("an answer");
    assert_eq!(status, 503);
    println!("/readyz says: {}", body.trim());
    assert!(body.contains("the log names"), "{body}");
    assert_eq!(operator.get("/nothing").map(|(status, _)| status), Some(404));

    let begun = std::time::Instant::now();
    test.allow_everything();
    until("it is ready", || operator.get("/readyz").is_some_and(|(status, _)| status == 200));
    println!("ready {:.1} s after the rights were given", begun.elapsed().as_secs_f64());
}

#[tokio::test]
async fn metrics_tell_what_happened() {
    let test = Test::new("metrics").await;
    let operator = test.start();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    for name in ["one", "two"] {
        test.apply(test.request(name));
        test.until_ready(&operator, name).await;
    }
    test.apply({
        let mut request = test.request("lost");
        request["spec"]["issuerRef"]["name"] = "elsewhere".into();
        request
    });
    test.until(&operator, "lost", "without an issuer", |request| {
        crate::world::issuing(request).0 == "IssuerNotFound"
    })
    .await;
    test.site
        .fault(serde_json::json!({"operation": "certificate", "kind": "status", "status": 503}))
        .await;
    test.apply(test.request("three"));
    test.until(&operator, "three", "refused once", |request| {
        request.status.as_ref().and_then(|status| status.failed_attempts) == Some(1)
    })
    .await;
    // The gauges are read off a cache, which follows in a moment.
    until("the page shows it", || {
        page(&operator).contains("phase=\"ServerError\"")
            && page(&operator).contains("IssuerNotFound")
    });
    let text = page(&operator);
    let metrics = parse(&text);
    let value = |name: &str, labels: &[(&str, &str)]| value(&metrics, name, labels);

    let requests = |issuer, ready, phase| {
        let of = ("request_namespace", test.namespace.as_str());
        let labels = of_issuer(issuer, &[of, ("ready", ready), ("phase", phase)]);
        value("chancery_certificate_requests", &labels)
    };
    assert_eq!(requests("ca", "true", "Issued"), Some(2.0), "{text}");
    assert_eq!(requests("ca", "false", "ServerError"), Some(1.0), "{text}");
    assert_eq!(requests("elsewhere", "false", "IssuerNotFound"), Some(1.0), "{text}");

    assert_eq!(value("chancery_leader", &[]), Some(1.0), "{text}");
    let calls = |step, disposition| {
        let labels = of_issuer("ca", &[("step", step), ("disposition", disposition)]);
        value("chancery_ca_requests_total", &labels)
    };
    assert_eq!(calls("submit", "issued"), Some(2.0), "{text}");
    assert_eq!(calls("submit", "retry"), Some(1.0), "{text}");
    assert_eq!(calls("check", "ok"), Some(1.0), "{text}");
    let submits = of_issuer("ca", &[("step", "submit")]);
    assert_eq!(value("chancery_ca_request_duration_seconds_count", &submits), Some(3.0));
    let sum = value("chancery_ca_request_duration_seconds_sum", &submits).expect("a sum");
    assert!(sum > 0.0 && sum < 60.0, "{sum}");
    let issued = value("chancery_time_to_issue_seconds_count", &of_issuer("ca", &[]));
    assert_eq!(issued, Some(2.0), "{text}");

    for name in ["one", "two"] {
        let labels = of_issuer("ca", &[("name", name)]);
        let not_after = value("chancery_certificate_not_after_timestamp_seconds", &labels);
        let pair = test.good_pair(name).await;
        let end = openssl(&["x509", "-noout", "-enddate", "-dateopt", "iso_8601"], &pair.chain);
        let end = end.trim().trim_start_matches("notAfter=").replace(' ', "T");
        let end: jiff::Timestamp = end.parse().expect("a time");
        assert_eq!(not_after, Some(end.as_second() as f64), "{text}");
        let status = test.get(name).await.status.expect("a status");
        let renewal = value("chancery_certificate_renewal_timestamp_seconds", &labels);
        let renewal_time = status.renewal_time.expect("a time").0;
        assert_eq!(renewal, Some(renewal_time.as_second() as f64), "{text}");
        assert!(renewal < not_after);
    }
    promtool(&text);

    // What is gone is no longer told of.
    test.kubectl(&["delete", "certificaterequest", "two"]);
    until("the page has forgotten it", || !page(&operator).contains("name=\"two\""));
}

/// Labels of an Issuer of this test, and further ones.
fn of_issuer<'a>(name: &'a str, further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let issuer = [("kind", "Issuer"), ("namespace", "metrics"), ("issuer", name)];
    issuer.iter().chain(further).copied().collect()
}

fn page(operator: &crate::support::operator::Operator) -> String {
    let (status, text) = operator.get("/metrics").expect("an answer");
    assert_eq!(status, 200);
    text
}

/// A sample's name with its labels.
type Sample = (String, BTreeMap<String, String>);

fn value(metrics: &BTreeMap<Sample, f64>, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    metrics.get(&(name.to_owned(), labels.collect())).copied()
}

/// Reads the exposition as OpenMetrics 1.0 wants it: families announced once and not mixed up,
/// suffixes that fit their type, buckets that grow up to `+Inf`, no sample twice, an end.
fn parse(text: &str) -> BTreeMap<Sample, f64> {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut samples = BTreeMap::new();
    let mut types = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (kind, name) = (words.next().expect("a word"), words.next().expect("a name"));
            let what = words.next().expect("a text");
            assert!(matches!(kind, "HELP" | "TYPE" | "UNIT"), "{line}");
            if kind == "TYPE" {
                let old = types.insert(name.to_owned(), what.to_owned());
                assert_eq!(old, None, "announced twice: {line}");
            }
            family = name.to_owned();
            continue;
        }
        let (name_and_labels, value) = line.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
        let (name, labels) = match name_and_labels.split_once('{') {
            None => (name_and_labels, ""),
            Some((name, rest)) => (name, rest.strip_suffix('}').expect("closed")),
        };
        let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("stray: {line}"));
        let fits = match types.get(&family).map(String::as_str) {
            Some("counter") => matches!(suffix, "_total" | "_created"),
            Some("histogram") => matches!(suffix, "_bucket" | "_count" | "_sum" | "_created"),
            Some("gauge") => suffix.is_empty(),
            other => panic!("{family} has type {other:?}"),
        };
        assert!(fits, "not a sample of its type: {line}");
        // No label here holds a comma or a quote.
        let labels: BTreeMap<String, String> = labels
            .split(',')
            .filter(|label| !label.is_empty())
            .map(|label| {
                let (key, value) = label.split_once('=').expect("a label");
                (key.to_owned(), value.trim_matches('"').to_owned())
            })
            .collect();
        let old = samples.insert((name.to_owned(), labels), value);
        assert_eq!(old, None, "twice: {line}");
    }
    check_buckets(&samples);
    samples
}

fn check_buckets(samples: &BTreeMap<Sample, f64>) {
    for ((name, labels), count) in samples {
        let Some(family) = name.strip_suffix("_count") else { continue };
        let mut buckets: Vec<(f64, f64)> = samples
            .iter()
            .filter(|((name, _), _)| name.strip_suffix("_bucket") == Some(family))
            .filter_map(|((_, bucket), value)| {
                let mut bucket = bucket.clone();
                let end = bucket.remove("le")?;
                (bucket == *labels).then(|| (end.parse().expect("a number"), *value))
            })
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(buckets.is_sorted_by_key(|(_, value)| *value), "{name} {labels:?}: {buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{name} {labels:?}");
    }
}

/// What Prometheus itself thinks of it. `promtool` reads the older text format, in which a counter
/// is announced under its whole name.
fn promtool(text: &str) {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let counters = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let counters = counters.filter_map(|line| line.strip_suffix(" counter"));
    let older = counters.fold(text.to_owned(), |text, counter| {
        text.replace(&format!("# HELP {counter} "), &format!("# HELP {counter}_total "))
            .replace(&format!("# TYPE {counter} "), &format!("# TYPE {counter}_total "))
    });
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        println!("promtool is not on PATH (Debian: apt-get install prometheus): not checked by it");
        return;
    };
    child.stdin.take().expect("piped").write_all(older.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("promtool: {} {said}", output.status);
    assert!(output.status.success(), "{said}\n{older}");
}
