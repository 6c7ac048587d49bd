//! What is wrong from the start is said in one line, and the process ends; what may come is waited for.

use std::time::{Duration, Instant};

use crate::support::operator::Operator;
use crate::support::program;
use crate::world::Test;

/// It gives up within this time.
const SECONDS: Duration = Duration::from_secs(20);

/// Starts it, and returns the line it ended with.
fn fails(test: &Test, env: &[(&str, &str)]) -> String {
    let mut operator = test.spawn(env);
    let begun = Instant::now();
    let code = operator.process.wait(SECONDS);
    let log = operator.process.log();
    assert!(code.is_some_and(|code| code != 0), "{env:?}: {code:?}\n{log}");
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("chancery: ") || line.starts_with("error: "))
        .collect();
    assert_eq!(lines.len(), 1, "{env:?}: one line that says it:\n{log}");
    println!("{:.1} s, exit code {code:?}: {}", begun.elapsed().as_secs_f64(), lines[0]);
    lines[0].to_owned()
}

fn says(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "does not say {word:?}: {line}");
    }
}

/// A kubeconfig of a server at `url`.
fn kubeconfig(test: &Test, name: &str, url: &str) -> String {
    let path = test.world.plane.dir().join(name);
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters: [{{name: test, cluster: {{server: \"{url}\"}}}}]\nusers: [{{name: test, user: {{token: none}}}}]\ncontexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n"
    );
    std::fs::write(&path, text).expect("writes");
    path.display().to_string()
}

#[tokio::test]
async fn no_kubeconfig() {
    let test = Test::new("no-kubeconfig").await;
    let line = fails(&test, &[("KUBECONFIG", "/nonexistent/kubeconfig")]);
    says(&line, &["no access to a cluster", "/nonexistent/kubeconfig", "set KUBECONFIG"]);
}

#[tokio::test]
async fn an_api_server_that_is_not_there() {
    let test = Test::new("no-api-server").await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", closed.local_addr().expect("bound"));
    drop(closed);
    let kubeconfig = kubeconfig(&test, "closed.kubeconfig", &url);
    let line = fails(&test, &[("KUBECONFIG", &kubeconfig)]);
    says(&line, &[&url, "does not answer", "Connection refused"]);
}

#[tokio::test]
async fn an_api_server_that_never_answers() {
    let test = Test::new("mute-api-server").await;
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", mute.local_addr().expect("bound"));
    let kubeconfig = kubeconfig(&test, "mute.kubeconfig", &url);
    let line = fails(&test, &[("KUBECONFIG", &kubeconfig)]);
    says(&line, &[&url, "does not answer"]);
}

#[tokio::test]
async fn credentials_that_the_api_server_does_not_know() {
    let test = Test::new("no-credentials").await;
    let good = std::fs::read_to_string(test.world.plane.kubeconfig()).expect("a kubeconfig");
    let path = test.world.plane.dir().join("stranger.kubeconfig");
    std::fs::write(&path, good.replace("admin-of-a-test", "stranger")).expect("writes");
    let line = fails(&test, &[("KUBECONFIG", &path.display().to_string())]);
    says(&line, &["https://127.0.0.1:", "refuses to answer", "Unauthorized", "credentials"]);
}

#[tokio::test]
async fn definitions_that_are_not_installed_yet() {
    let test = Test::new("no-definitions").await;
    let (log, page) = &test.world.without_definitions;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("nothing is done")).collect();
    assert!(!lines.is_empty(), "{log}");
    println!("{}\n{page}", lines[0]);
    for told in [lines[0], page] {
        says(told, &["does not know CertificateRequest", "v1alpha1", "kubectl apply -f crds/"]);
    }
    assert!(page.starts_with("503 "), "{page}");
    assert!(log.contains("\"message\":\"ready\""), "it went on when they were there:\n{log}");
}

#[tokio::test]
async fn flags_that_make_no_sense() {
    let test = Test::new("bad-flags").await;
    for (variable, value, words) in [
        ("CHANCERY_CA_TIMEOUT", "soon", ["--ca-timeout", "such as 30s"]),
        ("CHANCERY_CA_TIMEOUT", "0s", ["--ca-timeout", "longer than zero"]),
        ("CHANCERY_CA_TIMEOUT", "-3s", ["--ca-timeout", "longer than zero"]),
        ("CHANCERY_LEASE_DURATION", "0s", ["--lease-duration", "longer than zero"]),
        ("CHANCERY_LEASE_DURATION", "1500ms", ["--lease-duration", "whole seconds"]),
        ("CHANCERY_LEADER_ELECT", "maybe", ["--leader-elect", "maybe"]),
        ("CHANCERY_HTTP_ADDRESS", "8080", ["--http-address", "8080"]),
        ("CHANCERY_LOG", "info,chancery=loud", ["--log", "chancery=loud"]),
        ("CHANCERY_LOG_FORMAT", "xml", ["--log-format", "xml"]),
        ("CHANCERY_WATCH_NAMESPACES", "shop,", ["--watch-namespaces", "a name is empty"]),
        (
            "CHANCERY_WATCH_NAMESPACES",
            "shop,*",
            ["--watch-namespaces", "leave the whole list empty"],
        ),
        (
            "CHANCERY_WATCH_NAMESPACES",
            "Shop",
            ["--watch-namespaces", "Shop is no name of a namespace"],
        ),
    ] {
        says(&fails(&test, &[(variable, value)]), &words);
    }
}

#[tokio::test]
async fn without_a_command_nobody_becomes_an_operator() {
    let test = Test::new("no-command").await;
    let leases = || test.world.plane.kubectl(["get", "leases", "-n", "chancery", "-o", "yaml"]);
    let before = leases();
    let bare = std::process::Command::new(program("chancery"))
        .env("KUBECONFIG", test.world.plane.kubeconfig())
        .env("CHANCERY_HTTP_ADDRESS", "127.0.0.1:0")
        .output()
        .expect("it starts");
    assert_eq!(bare.status.code(), Some(2), "{bare:?}");
    says(&String::from_utf8_lossy(&bare.stderr), &["Usage:", "orders", "operator"]);
    assert_eq!(leases(), before, "it asks for no lease");
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let test = Test::new("port-taken").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let line = fails(&test, &[("CHANCERY_HTTP_ADDRESS", &address)]);
    says(&line, &["--http-address", &address, "Address already in use"]);
}

#[tokio::test]
async fn sigterm_ends_it_also_before_it_is_ready() {
    let test = Test::new("early-sigterm").await;
    test.forbid(&["list"], "secrets");
    let operator: Operator = Operator::spawn(&test.world.plane, &program("chancery"), &[]);
    crate::world::until("it serves", || operator.get("/livez").is_some());
    let begun = Instant::now();
    assert_eq!(operator.process.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
