//! `chancery check`: whether an installation is all right.
//!
//! It asks with the rights of whoever runs it, which are the operator's own in the pod of `helm test`,
//! and needs no others. It changes nothing: what is written is written in a dry run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Duration;

use axum::body::Body;
use clap::Args;
use futures::{StreamExt as _, stream};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::Instant;
use url::Url;

use super::definitions::Definitions;
use super::policies::{self, Seen};
use super::{Fatal, Installation, START_TIMEOUT, innermost, served};
use crate::controller::LEASE;
use crate::namespaces::Namespaces;
use crate::terminal;

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    installation: Installation,
    /// Where the operator's own pages are, such as `http://chancery.chancery.svc:8080`. Where nothing
    /// is said they are not asked for.
    #[arg(long, env = "CHANCERY_URL", value_parser = pages)]
    url: Option<Url>,
}

fn pages(text: &str) -> Result<Url, String> {
    let url = text.parse::<Url>().ok().filter(|url| url.scheme() == "http" && url.has_host());
    url.ok_or_else(|| "not an address such as http://chancery.chancery.svc:8080".to_owned())
}

/// What is all right; or what is not, and the next move.
type Answer = Result<String, String>;

/// Asks everything, and prints each answer as it comes.
pub(super) async fn run(client: Client, api_server: &str, check: Check) -> Result<(), Fatal> {
    let Check { installation, url } = check;
    let own = installation.namespace.as_str();
    let watched = &installation.watch_namespaces;
    let mut wrong = 0;
    let mut tell = |what: &str, answer: Answer| {
        let (word, text) = match &answer {
            Ok(text) => ("ok    ", text),
            Err(text) => ("NOT OK", text),
        };
        wrong += usize::from(answer.is_err());
        // Others wrote a part of it.
        writeln!(std::io::stdout(), "{word} {what}: {}", terminal::line(text))
    };
    tell("definitions", definitions(&client, api_server).await?)?;
    let account = account(&client).await;
    tell("rights", rights(&client, &installation, account.as_deref()).await)?;
    for (policy, seen) in policies::look(&client, &watched.writable(own)).await {
        tell(policy, in_force(seen, account.as_deref()))?;
    }
    if installation.leader_elect {
        tell("leader", leader(&client, own).await)?;
    }
    if let Some(url) = &url {
        for path in ["/livez", "/readyz"] {
            tell(path, page(url, path, own).await)?;
        }
    }
    tell("namespaces", Ok(namespaces(watched, installation.cluster_issuers)))?;
    match wrong {
        0 => Ok(()),
        1 => Err("one thing is not all right: its line says what to do".into()),
        more => Err(format!("{more} things are not all right: their lines say what to do").into()),
    }
}

/// Without an API server there is nothing to ask.
async fn definitions(client: &Client, api_server: &str) -> Result<Answer, Fatal> {
    let served = served(&mut Definitions::of(client.clone()), api_server).await?;
    Ok(match served.trouble() {
        Some(why) => Err(why),
        None => Ok(served
            .news()
            .unwrap_or_else(|| format!("they are those of version {}", env!("CARGO_PKG_VERSION")))),
    })
}

/// Whom the API server takes the caller for.
async fn account(client: &Client) -> Option<String> {
    let api = Api::<SelfSubjectReview>::all(client.clone());
    let asked = SelfSubjectReview::default();
    let review = in_time(api.create(&PostParams::default(), &asked)).await.ok()?;
    review.status?.user_info?.username
}

fn in_force(seen: Seen, account: Option<&str>) -> Answer {
    match seen {
        Seen::InForce => Ok("it is in force".to_owned()),
        Seen::Missing(why) => {
            Err(format!("{why} (asked by {})", account.unwrap_or("nobody knows whom")))
        }
        Seen::Unknown => Err(
            "nobody can tell: whether it works shows where Secrets may be created; see the rights"
                .to_owned(),
        ),
    }
}

/// What is shipped is what is checked.
const RIGHTS_EVERYWHERE: &str = include_str!("../../deploy/rbac.yaml");
const RIGHTS_IN_CHOSEN: &str = include_str!("../../deploy/overlays/chosen-namespaces/rbac.yaml");

/// A role as it is shipped; other objects have no rules.
#[derive(Deserialize)]
struct Role {
    kind: String,
    metadata: Named,
    #[serde(default)]
    rules: Vec<PolicyRule>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// What the operator may do: each with the namespace it is for, or without one.
fn needed(installation: &Installation) -> Vec<ResourceAttributes> {
    let own = [Some(installation.namespace.clone())];
    let (shipped, chosen): (_, Vec<_>) = match &installation.watch_namespaces {
        Namespaces::All => (RIGHTS_EVERYWHERE, Vec::new()),
        Namespaces::These(names) => (RIGHTS_IN_CHOSEN, names.iter().cloned().map(Some).collect()),
    };
    let is_needed = |kind: &str, rule: &PolicyRule| {
        installation.cluster_issuers || !serves_cluster_issuers(kind, rule)
    };
    let objects = shipped.split("\n---\n").filter_map(|text| serde_yaml::from_str(text).ok());
    let of_role = |role: Role| {
        let places: &[Option<String>] = match role.kind.as_str() {
            "Role" => &own,
            _ if role.metadata.name.ends_with("-certificates") => &chosen,
            _ => &[None],
        };
        let rules = role.rules.iter().filter(|rule| is_needed(&role.kind, rule));
        let rights: Vec<_> = rules.flat_map(attributes).collect();
        let at = |place: &Option<String>| {
            let place = place.clone();
            rights
                .clone()
                .into_iter()
                .map(move |right| ResourceAttributes { namespace: place.clone(), ..right })
        };
        places.iter().flat_map(at).collect::<Vec<_>>()
    };
    objects.flat_map(of_role).collect()
}

/// Whether a rule is there for ClusterIssuers alone: it names them, or what they refer to in the
/// operator's own namespace, where nothing else is read.
fn serves_cluster_issuers(kind: &str, rule: &PolicyRule) -> bool {
    let mut resources = rule.resources.iter().flatten();
    resources.any(|resource| match resource.as_str() {
        "clusterissuers" | "clusterissuers/status" => true,
        "secrets" | "configmaps" => kind == "Role",
        _ => false,
    })
}

/// Each thing that a rule allows, by itself.
fn attributes(rule: &PolicyRule) -> Vec<ResourceAttributes> {
    let mut all = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            let (resource, part) = match resource.split_once('/') {
                Some((resource, part)) => (resource, Some(part.to_owned())),
                None => (resource.as_str(), None),
            };
            for verb in &rule.verbs {
                all.push(ResourceAttributes {
                    group: Some(group.clone()),
                    resource: Some(resource.to_owned()),
                    subresource: part.clone(),
                    verb: Some(verb.clone()),
                    name: rule.resource_names.iter().flatten().next().cloned(),
                    ..ResourceAttributes::default()
                });
            }
        }
    }
    all
}

/// So many questions at once.
const PARALLEL: usize = 8;

async fn rights(client: &Client, installation: &Installation, account: Option<&str>) -> Answer {
    let needed = needed(installation);
    let count = needed.len();
    let ask = |right: ResourceAttributes| async move {
        let is_granted = may(client, &right).await;
        (right, is_granted)
    };
    let answers: Vec<_> = stream::iter(needed).map(ask).buffered(PARALLEL).collect().await;
    let account = account.unwrap_or("whoever asks");
    let mut lacking = BTreeMap::<Option<String>, BTreeSet<String>>::new();
    for (right, is_granted) in answers {
        match is_granted {
            Ok(true) => {}
            Ok(false) => {
                lacking.entry(right.namespace.clone()).or_default().insert(told(&right));
            }
            Err(why) => {
                return Err(format!("the API server does not say what {account} may: {why}"));
            }
        }
    }
    if lacking.is_empty() {
        return Ok(format!("{account} may do all that the operator does ({count} verbs)"));
    }
    let own = installation.namespace.as_str();
    let of_place = |(place, rights): (Option<String>, BTreeSet<String>)| {
        let rights: Vec<String> = rights.into_iter().collect();
        let (at, mend) = match &place {
            Some(place) => (
                format!(" in namespace {place}"),
                installation.watch_namespaces.mend(
                    place,
                    true,
                    own,
                    &format!("User \"{account}\""),
                ),
            ),
            None => (String::new(), installation.watch_namespaces.rights().to_owned()),
        };
        format!("{}{at}: {mend}", rights.join(", "))
    };
    let lacking: Vec<String> = lacking.into_iter().map(of_place).collect();
    Err(format!("{account} may not {}", lacking.join("; nor ")))
}

fn told(right: &ResourceAttributes) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let part = right.subresource.as_ref().map(|part| format!("/{part}")).unwrap_or_default();
    let group = right.group.as_ref().filter(|group| !group.is_empty());
    let group = group.map(|group| format!(".{group}")).unwrap_or_default();
    format!("{} {}{group}{part}", text(&right.verb), text(&right.resource))
}

async fn may(client: &Client, right: &ResourceAttributes) -> Result<bool, String> {
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let asked = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(right.clone()),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let review = in_time(api.create(&PostParams::default(), &asked)).await?;
    Ok(review.status.is_some_and(|status| status.allowed))
}

/// A renewal is waited for at least so long. A lease that was just released may be taken any moment.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// Whether the Lease is renewed while it is looked at: clocks of two machines are not compared.
#[expect(clippy::disallowed_methods, reason = "it looks for a moment, and watches nothing")]
async fn leader(client: &Client, namespace: &str) -> Answer {
    let leases = Api::<Lease>::namespaced(client.clone(), namespace);
    let object = format!("{namespace}/{LEASE}");
    let begun = Instant::now();
    let mut first: Option<LeaseSpec> = None;
    loop {
        let found = in_time(leases.get_opt(LEASE)).await;
        let found = found.map_err(|why| format!("the Lease {object} cannot be read: {why}"))?;
        let spec = found.and_then(|lease| lease.spec).unwrap_or_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let is_renewed = first.as_ref().is_some_and(|first| first.renew_time != spec.renew_time);
        if is_renewed && !holder.is_empty() {
            return Ok(format!("{holder} renews the Lease {object}"));
        }
        let lasts = u64::try_from(spec.lease_duration_seconds.unwrap_or_default());
        let patience = PATIENCE.max(Duration::from_secs(lasts.unwrap_or_default()));
        if begun.elapsed() >= patience {
            let next = format!(
                "no operator acts; kubectl get pods -n {namespace}, and the logs of those that are there"
            );
            let seconds = patience.as_secs();
            return Err(if holder.is_empty() {
                format!("nobody holds the Lease {object}: {next}")
            } else {
                format!(
                    "{holder} has the Lease {object} and has not renewed it for {seconds} s: {next}"
                )
            });
        }
        first.get_or_insert(spec);
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// One of the operator's own pages.
async fn page(url: &Url, path: &str, namespace: &str) -> Answer {
    let next = format!(
        "kubectl get pods -n {namespace}, and their logs; a Service leads only to pods that are ready, and a NetworkPolicy may keep this one out"
    );
    let answer = tokio::time::timeout(START_TIMEOUT, get(url, path)).await;
    let answer = answer.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()));
    let (status, text) = answer.map_err(|why| format!("{url}: {why}; {next}"))?;
    let lines: Vec<&str> = text.lines().filter(|line| *line != "ok").collect();
    match (status, lines.as_slice()) {
        (200, []) => Ok(format!("{url} answers")),
        (200, lacking) => Err(lacking.join("; ")),
        (status, why) => Err(format!("{url} answers {status}: {}", why.join("; "))),
    }
}

/// A page is a few lines.
const LONGEST_PAGE: usize = 64 * 1024;

async fn get(url: &Url, path: &str) -> Result<(u16, String), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let place = (host.trim_start_matches('[').trim_end_matches(']'), port);
    let stream = TcpStream::connect(place).await.map_err(|error| text(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
    let request = http::Request::get(path).header(http::header::HOST, format!("{host}:{port}"));
    let request = request.body(Body::empty()).map_err(|error| text(&error))?;
    let answer = async move {
        let answer = sender.send_request(request).await.map_err(|error| text(&error))?;
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(Body::new(answer.into_body()), LONGEST_PAGE).await;
        let body = body.map_err(|error| text(&error))?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    // The connection gets on only while somebody looks at it.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

fn namespaces(watched: &Namespaces, cluster_issuers: bool) -> String {
    let served = match watched {
        Namespaces::All => "requests and issuers of all are served".to_owned(),
        Namespaces::These(names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            format!(
                "requests and issuers of {} are served, and those of no other",
                names.join(", ")
            )
        }
    };
    if cluster_issuers { served } else { format!("{served}; ClusterIssuers are not") }
}

/// What the API server answers, or why it does not.
async fn in_time<T>(answer: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(START_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(status.message),
        Ok(Err(error)) => Err(innermost(&error)),
        Err(_elapsed) => Err(format!("no answer within {} s", START_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(watch_namespaces: &str, cluster_issuers: bool) -> BTreeSet<String> {
        let installation = Installation {
            namespace: "own".to_owned(),
            watch_namespaces: watch_namespaces.parse().expect("names"),
            cluster_issuers,
            leader_elect: true,
        };
        let place = |right: &ResourceAttributes| right.namespace.clone().unwrap_or_default();
        needed(&installation).iter().map(|one| format!("{} @{}", told(one), place(one))).collect()
    }

    #[test]
    fn the_rights_that_are_shipped_are_those_that_are_checked() {
        let all = asked("", true);
        for right in [
            "update certificaterequests.chancery.dev/status @",
            "create secrets @",
            "create events.events.k8s.io @",
            "list namespaces @",
            "update leases.coordination.k8s.io @own",
        ] {
            assert!(all.contains(right), "{right}: {all:#?}");
        }
        let chosen = asked("shop,web", true);
        for right in [
            "get clusterissuers.chancery.dev @",
            "create secrets @shop",
            "create secrets @web",
            "get secrets @own",
        ] {
            assert!(chosen.contains(right), "{right}: {chosen:#?}");
        }
        assert!(!chosen.contains("get secrets @") && !chosen.contains("create secrets @own"));
        assert!(all.len() >= 25 && chosen.len() > all.len(), "{all:#?}");
    }

    #[test]
    fn where_cluster_issuers_are_left_to_another_installation_no_right_on_them_is_asked_for() {
        let (with, without) = (asked("shop", true), asked("shop", false));
        let fewer: Vec<&str> = with.difference(&without).map(String::as_str).collect();
        let on_them = |right: &&str| right.contains("clusterissuers.");
        assert_eq!(fewer.iter().filter(|right| on_them(right)).count(), 4, "{fewer:#?}");
        let others: Vec<&str> = fewer.into_iter().filter(|right| !on_them(right)).collect();
        // What they refer to.
        let expected = [
            "get configmaps @own",
            "get secrets @own",
            "list configmaps @own",
            "watch configmaps @own",
        ];
        assert_eq!(others, expected);
        assert!(without.is_subset(&with) && without.contains("get secrets @shop"), "{without:#?}");
        let (with, without) = (asked("", true), asked("", false));
        let fewer: Vec<&String> = with.difference(&without).collect();
        assert!(fewer.len() == 4 && fewer.iter().all(|one| on_them(&one.as_str())), "{fewer:#?}");
    }

    #[test]
    fn pages_are_asked_for_without_tls() {
        for bad in ["chancery:8080", "https://chancery:8080", "", "http://"] {
            assert!(pages(bad).is_err(), "{bad}");
        }
        assert!(pages("http://chancery.chancery.svc:8080").is_ok());
        assert!(pages("http://[::1]:8080").is_ok());
    }
}
