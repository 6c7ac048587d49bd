//! Which proxy the API server is reached through: the one that kubectl would take.
//!
//! That is `proxy-url` of the kubeconfig, and without one what the environment names:
//! `HTTPS_PROXY` (`HTTP_PROXY` for a server in plain HTTP) unless `NO_PROXY` lists the server; each
//! may be written in lower case. Of a proxy in the environment, `localhost` and loopback addresses
//! need none. CAs are never reached through these: their proxy is `spec.proxy` of the issuer.

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::Kubeconfig;

/// A proxy, and what names it.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Chosen {
    pub(super) url: Uri,
    /// For messages: the address may hold a password.
    pub(super) named_by: &'static str,
}

const KUBECONFIG: &str = "proxy-url in the kubeconfig";

/// `proxy-url` of the cluster that a kubeconfig is about.
pub(super) fn of_kubeconfig(kubeconfig: &Kubeconfig) -> Option<String> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == *current)?;
    let cluster = &context.context.as_ref()?.cluster;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == *cluster)?;
    cluster.cluster.as_ref()?.proxy_url.clone().filter(|url| !url.trim().is_empty())
}

/// The proxy for `server`, given what the kubeconfig names, and the environment.
///
/// # Errors
/// When it is one that cannot be used, in words that do not quote it.
pub(super) fn choose(
    server: &Uri,
    kubeconfig: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Chosen>, String> {
    if let Some(url) = kubeconfig {
        return read(url, KUBECONFIG).map(Some);
    }
    let set = |names: [&'static str; 2]| {
        names.into_iter().find_map(|name| {
            let value = variable(name).map(|value| value.trim().to_owned());
            Some((name, value.filter(|value| !value.is_empty())?))
        })
    };
    let names = if server.scheme() == Some(&Scheme::HTTP) {
        ["HTTP_PROXY", "http_proxy"]
    } else {
        ["HTTPS_PROXY", "https_proxy"]
    };
    let Some((name, url)) = set(names) else { return Ok(None) };
    let exceptions = set(["NO_PROXY", "no_proxy"]).map(|(_, list)| list).unwrap_or_default();
    // Any proxy will do to ask whether one is needed.
    let matcher = Matcher::builder().all("http://proxy").no(exceptions).build();
    if is_local(server) || matcher.intercept(server).is_none() {
        return Ok(None);
    }
    read(&url, name).map(Some)
}

fn is_local(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn read(url: &str, named_by: &'static str) -> Result<Chosen, String> {
    let spelled = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let parsed = spelled.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    match parsed {
        Some(url) if url.scheme() == Some(&Scheme::HTTP) => Ok(Chosen { url, named_by }),
        Some(_) | None => Err(format!(
            "{named_by} names no proxy that can be used: write http, a host and a port, such as http://proxy.example.org:3128; proxies that are spoken to in TLS or SOCKS are not supported"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "http://proxy.example:3128";

    fn chosen(
        server: &str,
        kubeconfig: Option<&str>,
        environment: &[(&str, &str)],
    ) -> Result<Option<(String, &'static str)>, String> {
        let variable = |name: &str| {
            let set = environment.iter().find(|(variable, _)| *variable == name);
            set.map(|(_, value)| (*value).to_owned())
        };
        let chosen = choose(&server.parse().unwrap(), kubeconfig, variable)?;
        Ok(chosen.map(|Chosen { url, named_by }| (url.to_string(), named_by)))
    }

    #[test]
    fn the_proxy_is_the_one_that_kubectl_would_take() {
        let https = ("HTTPS_PROXY", PROXY);
        let by = |name| Some(("http://proxy.example:3128/", name));
        let far = "https://api.example:6443";
        type Row<'a> = (&'a str, &'a str, Option<&'a str>, &'a [Pair<'a>], Option<Pair<'a>>);
        type Pair<'a> = (&'a str, &'a str);
        let rows: [Row<'_>; 17] = [
            ("none is named", far, None, &[], None),
            ("by the environment", far, None, &[https], by("HTTPS_PROXY")),
            ("in lower case", far, None, &[("https_proxy", PROXY)], by("https_proxy")),
            ("an empty one is none", far, None, &[("HTTPS_PROXY", " ")], None),
            (
                "without a scheme",
                far,
                None,
                &[("HTTPS_PROXY", "proxy.example:3128")],
                by("HTTPS_PROXY"),
            ),
            ("that of plain HTTP is not for TLS", far, None, &[("HTTP_PROXY", PROXY)], None),
            ("nor the other way round", "http://api.example:8080", None, &[https], None),
            (
                "each for its own",
                "http://api.example:8080",
                None,
                &[("HTTP_PROXY", PROXY)],
                by("HTTP_PROXY"),
            ),
            ("a host is excepted", far, None, &[https, ("NO_PROXY", "api.example")], None),
            ("a suffix, in a list", far, None, &[https, ("no_proxy", "a, .example,,")], None),
            (
                "a network",
                "https://10.96.0.1:443",
                None,
                &[https, ("NO_PROXY", "10.0.0.0/8,.svc")],
                None,
            ),
            (
                "another network",
                "https://10.96.0.1:443",
                None,
                &[https, ("NO_PROXY", "192.168.0.0/16")],
                by("HTTPS_PROXY"),
            ),
            ("everything is excepted", far, None, &[https, ("NO_PROXY", "*")], None),
            ("this machine needs none", "https://localhost:6443", None, &[https], None),
            ("nor does its loopback", "https://[::1]:6443", None, &[https], None),
            (
                "the kubeconfig counts for more, and NO_PROXY is not about it",
                far,
                Some("http://other.example:8080"),
                &[https, ("NO_PROXY", "*")],
                Some(("http://other.example:8080/", KUBECONFIG)),
            ),
            ("also for this machine", "https://127.0.0.1:6443", Some(PROXY), &[], by(KUBECONFIG)),
        ];
        for (name, server, kubeconfig, environment, expected) in rows {
            let expected = expected.map(|(url, by)| (url.to_owned(), by));
            assert_eq!(chosen(server, kubeconfig, environment), Ok(expected), "{name}");
        }
    }

    #[test]
    fn a_proxy_of_another_kind_is_refused_by_the_name_of_what_names_it() {
        for url in ["socks5://u:canary@p:1080", "https://u:canary@p:3128", "http://", "://canary"] {
            let told = chosen("https://api.example", None, &[("HTTPS_PROXY", url)]).unwrap_err();
            assert!(told.starts_with("HTTPS_PROXY names no proxy"), "{told}");
            assert!(!told.contains("canary"), "{told}");
        }
    }

    #[test]
    fn the_cluster_of_the_current_context_names_the_proxy() {
        let kubeconfig = |current: &str| -> Kubeconfig {
            serde_json::from_value(serde_json::json!({
                "current-context": current,
                "contexts": [
                    { "name": "near", "context": { "cluster": "near", "user": "me" } },
                    { "name": "far", "context": { "cluster": "far", "user": "me" } },
                ],
                "clusters": [
                    { "name": "near", "cluster": { "server": "https://near.example" } },
                    { "name": "far", "cluster": { "proxy-url": PROXY } },
                ],
            }))
            .unwrap()
        };
        assert_eq!(of_kubeconfig(&kubeconfig("far")).as_deref(), Some(PROXY));
        assert_eq!(of_kubeconfig(&kubeconfig("near")), None);
        assert_eq!(of_kubeconfig(&kubeconfig("nowhere")), None);
    }
}
