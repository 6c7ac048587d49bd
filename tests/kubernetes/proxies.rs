//! Proxies on the way to a CA, which an issuer names, and on the way to the API server, which the
//! environment names.

use std::time::Duration;

use serde_json::{Value, json};

use crate::orders::Paid;
use crate::support::program;
use crate::support::proxy::{Manner, TestProxy};
use crate::world::{Test, assert_says, world};

/// `proxy-user` and `proxy-password`, as HTTP Basic writes them.
const SHOWN: &str = "Basic cHJveHktdXNlcjpwcm94eS1wYXNzd29yZA==";

/// Issuer `ca` through this proxy, with the credentials in Secret `proxy`.
async fn behind(test: &Test, proxy: &TestProxy) -> Value {
    let mut issuer = test.issuer().await;
    issuer["spec"]["proxy"] =
        json!({"url": proxy.url(), "credentialsSecretRef": {"name": "proxy"}});
    issuer
}

fn for_hosts(mut credentials: Value, hosts: &str) -> Value {
    credentials["metadata"]["annotations"]["chancery.dev/hosts"] = json!(hosts);
    credentials
}

#[tokio::test]
async fn an_issuer_names_its_proxy_and_the_proxy_s_credentials_opt_in_for_it() {
    let test = Test::new("proxy-issuer").await;
    let proxy = TestProxy::start(Manner::Asks(SHOWN.to_owned())).await;
    test.put(test.credentials("credentials", "testuser", "changeme")).await;
    // Those of a CA are not for the proxy, by the same rule.
    test.put(test.credentials("proxy", "proxy-user", "not-this-one")).await;
    test.put(behind(&test, &proxy).await).await;
    let message = test.until_issuer_fails("ca", "CredentialsUnusable").await;
    assert_says(
        &message,
        &["Secret proxy-issuer/proxy does not allow its content to be sent to 127.0.0.1"],
    );
    assert_eq!(proxy.heads().len(), 0);
    // Each change of the Secret is a new look.
    let place = format!("127.0.0.1:{}", proxy.port);
    let opted_in = |password| for_hosts(test.credentials("proxy", "proxy-user", password), &place);
    test.put(opted_in("not-this-one")).await;
    let message = test.until_issuer_fails("ca", "CredentialsRefused").await;
    assert_says(
        &message,
        &[
            &format!("the proxy 127.0.0.1:{} did not accept the credentials (407)", proxy.port),
            "check username and password in Secret proxy-issuer/proxy (spec.proxy.credentialsSecretRef)",
        ],
    );
    assert!(!message.contains("not-this-one"), "{message}");
    assert!(test.issuer_is_stalled("ca").await);
    assert_eq!(test.site.requests().await["operations"], json!({}), "the CA was not called");
    test.put(opted_in("proxy-password")).await;
    test.until_issuer_ready("ca").await;
    test.put(test.request("portal")).await;
    test.until_ready("portal").await;
    assert_eq!(test.site.issued().await.len(), 1);
    assert!(proxy.within().iter().all(|first| *first == 22), "TLS goes through, and nothing else");

    // Past it, where the issuer says so.
    let before = proxy.heads().len();
    let exception = json!({"spec": {"proxy": {"noProxy": ["localhost"]}}});
    test.patch("Issuer", "ca", exception).await;
    test.until_issuer_ready("ca").await;
    test.renew("portal", "1").await;
    test.until_revision("portal", 2).await;
    assert_eq!(proxy.heads().len(), before, "it was not asked");
}

#[tokio::test]
async fn nothing_is_bought_while_a_proxy_hangs_refuses_or_asks_and_one_order_after() {
    let paid = Paid::new("proxy-paid", json!({})).await;
    let proxy = TestProxy::start(Manner::Opens).await;
    let through = json!({"spec": {"proxy": {"url": proxy.url()}}});
    paid.test.patch("Issuer", "ca", through).await;
    paid.test.until_issuer_ready("ca").await;
    let address = format!("the proxy 127.0.0.1:{}", proxy.port);
    let rows = [
        ("hangs", Manner::Hangs, "ProxyUnreachable", "opened no way there within 2 s"),
        ("refuses", Manner::Refuses("403 Forbidden"), "ProxyRefused", "opens no tunnel there"),
        (
            "asks",
            Manner::Asks(SHOWN.to_owned()),
            "CredentialsMissing",
            "asks for credentials (407)",
        ),
    ];
    for (name, manner, reason, says) in rows {
        proxy.set(manner);
        paid.test.put(paid.request(name, &[&format!("{name}.example.ch")])).await;
        // Looks may go on through a tunnel that is open; a submit takes a connection of its own.
        let message = paid.test.until_issuing(name, reason).await;
        assert_says(&message, &["was not called", &address, says]);
    }
    assert_eq!(paid.ra.total().await, 0, "provably nothing was ordered");
    proxy.set(Manner::Opens);
    for (name, ..) in [("hangs", ()), ("refuses", ()), ("asks", ())] {
        paid.test.renew(name, "1").await;
        paid.test.until_ready(name).await;
    }
    assert_eq!(paid.ra.total().await, 3, "one order for each");
}

#[tokio::test]
async fn a_ca_that_asks_to_be_left_alone_is_for_all_requests_of_the_account() {
    let test = Test::with_fast_issuer("account-pause").await;
    let busy = json!({
        "operation": "certificate", "kind": "status", "status": 429, "retryAfter": 8, "times": 1,
    });
    test.site.fault(busy).await;
    test.put(test.request("first")).await;
    test.until_issuing("first", "TooManyRequests").await;
    let calls = test.certificate_calls().await;
    for name in ["second", "third"] {
        test.put(test.request(name)).await;
        let message = test.until_issuing(name, "AccountPaused").await;
        let says = ["answered 429 Too Many Requests", "asked to be left alone", "no call before"];
        assert_says(&message, &says);
    }
    assert_eq!(test.certificate_calls().await, calls, "nobody was asked in between");
    for name in ["first", "second", "third"] {
        test.until_ready(name).await;
    }
    assert_eq!(test.site.issued().await.len(), 3);
}

/// A kubeconfig for the same API server under a name that only the proxy knows.
fn far_kubeconfig(further: &str) -> (tempfile::NamedTempFile, std::net::SocketAddr) {
    let near = std::fs::read_to_string(world().plane.kubeconfig()).expect("a kubeconfig");
    let address = near.split("server: \"https://").nth(1).and_then(|rest| rest.split('"').next());
    let address = address.expect("an address").to_owned();
    let far = near.replace(
        &format!("server: \"https://{address}\""),
        &format!("server: \"https://api.invalid:6443\", tls-server-name: localhost{further}"),
    );
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), far).expect("writes");
    (file, address.parse().expect("an address"))
}

/// Runs `chancery orders list`, which asks the API server, in this environment.
async fn list(kubeconfig: &std::path::Path, environment: &[(&str, &str)]) -> Result<(), String> {
    let mut command = tokio::process::Command::new(program("chancery"));
    for variable in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(variable);
    }
    command.args(["orders", "list", "-A"]).env("KUBECONFIG", kubeconfig);
    command.envs(environment.iter().copied());
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    let output = output.expect("it ends").expect("it runs");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[tokio::test]
async fn the_api_server_is_reached_through_the_proxy_that_kubectl_would_take() {
    let (far, address) = far_kubeconfig("");
    let proxy = TestProxy::leading_to(Manner::Opens, Some(address)).await;
    let url = proxy.url();
    list(far.path(), &[]).await.expect_err("nobody knows the name");
    list(far.path(), &[("HTTPS_PROXY", &url)]).await.expect("through the proxy");
    assert_eq!(proxy.asked(), ["api.invalid:6443"]);
    list(far.path(), &[("https_proxy", &url)]).await.expect("in lower case");
    assert_eq!(proxy.asked().len(), 2);
    let exception = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "10.0.0.0/8,.invalid")];
    list(far.path(), &exception).await.expect_err("the exception is honoured");
    // kube compares it with the proxy's own address, as kubectl does not.
    let own = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", "127.0.0.1")];
    list(far.path(), &own).await.expect("the exception is about the API server");
    assert_eq!(proxy.asked().len(), 3);
    let list_without_end = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", ".invalid,,")];
    let told = list(far.path(), &list_without_end).await.expect_err("kube takes no such list");
    assert_says(&told, &["write NO_PROXY as hosts", "with one comma between them"]);
    let near = world().plane.kubeconfig();
    list(&near, &[("HTTPS_PROXY", &url)]).await.expect("this machine needs none");
    assert_eq!(proxy.asked().len(), 3);
    // The user's own choice counts for more than the environment.
    let (named, _) = far_kubeconfig(&format!(", proxy-url: \"{url}\""));
    list(named.path(), &[("NO_PROXY", "*")]).await.expect("by the kubeconfig");
    assert_eq!(proxy.asked().len(), 4);
}

#[tokio::test]
async fn a_proxy_that_does_not_lead_to_the_api_server_is_named() {
    let (far, address) = far_kubeconfig("");
    let proxy = TestProxy::leading_to(Manner::Asks(SHOWN.to_owned()), Some(address)).await;
    let with = |user: &str| format!("http://{user}127.0.0.1:{}", proxy.port);
    let environment = with("proxy-user:proxy%2dpassword@");
    list(far.path(), &[("HTTPS_PROXY", &environment)]).await.expect("with its credentials");
    // The operator ends with one line that says why, and holds no password.
    let cases = [
        (with("proxy-user:canary@"), "the proxy of HTTPS_PROXY"),
        ("socks5://u:canary@127.0.0.1:1080".to_owned(), "HTTPS_PROXY names no proxy"),
    ];
    for (proxy, says) in cases {
        let mut command = tokio::process::Command::new(program("chancery"));
        command.env("KUBECONFIG", far.path()).env("HTTPS_PROXY", &proxy);
        command.env("CHANCERY_HTTP_ADDRESS", "127.0.0.1:0");
        for variable in ["https_proxy", "NO_PROXY", "no_proxy"] {
            command.env_remove(variable);
        }
        command.arg("operator").kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
        let output = output.expect("it ends").expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{told}");
        assert!(told.contains(says), "{says}: {told}");
        assert!(!told.contains("canary"), "{told}");
    }
}
