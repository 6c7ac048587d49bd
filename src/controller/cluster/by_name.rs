//! The credentials of ClusterIssuers where the operator sees chosen namespaces only: of the Secrets in
//! its own it may read each by name and list none. So they are looked at by name now and then, and what
//! has changed is told as a watch would.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::Event;
use kube::{Api, ResourceExt as _};
use tokio::sync::Notify;

use crate::api::annotation;
use crate::ca::registry;
use crate::controller::cluster::chosen::Chosen;
use crate::controller::cluster::part::Part;
use crate::controller::cluster::stores::{SecretMeta, Stores};

/// So long a change of credentials takes to be seen.
const INTERVAL: Duration = Duration::from_secs(30);
/// The API server answers within milliseconds or is in trouble.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Looks for ever; at once when there is news of ClusterIssuers. `changed` is called after each change
/// with whether the Secret is gone.
pub(super) async fn look(
    api: Api<SecretMeta>,
    mut part: Part<PartialObjectMeta<Secret>>,
    chosen: Chosen,
    news: Arc<Notify>,
    changed: impl Fn(&SecretMeta, bool) + Send,
) {
    // Before ClusterIssuers are listed, nobody knows what to look at.
    news.notified().await;
    loop {
        let names = referred_to(&chosen.stores);
        for old in part.state().iter().filter(|old| !names.contains(&old.name_any())) {
            part.apply(&Event::Delete(SecretMeta::clone(old)));
        }
        let mut is_known = true;
        for name in names {
            match tokio::time::timeout(TIMEOUT, api.get(&name)).await {
                Ok(Ok(secret)) => note(&mut part, &name, Some(secret), &changed),
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                    note(&mut part, &name, None, &changed);
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                    is_known = false;
                    chosen.refused("secrets", &status.message);
                }
                // Unreadable is not absent.
                Ok(Err(error)) => {
                    is_known = false;
                    tracing::warn!(namespace = chosen.namespace, name, %error, "the Secret of a ClusterIssuer was not looked at");
                }
                Err(_elapsed) => is_known = false,
            }
        }
        if is_known {
            chosen.listed();
        }
        let _ = tokio::time::timeout(INTERVAL, news.notified()).await;
    }
}

fn referred_to(stores: &Stores) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for issuer in stores.cluster_issuers.state() {
        let Ok(issuer) = &issuer.0 else { continue };
        names.extend(registry::secrets(&issuer.spec.issuer).into_iter().map(str::to_owned));
    }
    names
}

/// Takes a Secret as it is now into the cache. One without the label is none to a watch either.
fn note(
    part: &mut Part<PartialObjectMeta<Secret>>,
    name: &str,
    now: Option<SecretMeta>,
    changed: &impl Fn(&SecretMeta, bool),
) {
    let is_labelled = |secret: &SecretMeta| {
        secret.labels().get(annotation::CREDENTIALS_LABEL).is_some_and(|label| label == "true")
    };
    let before = part.state().into_iter().find(|one| one.name_any() == name);
    match (before, now.filter(is_labelled)) {
        (Some(before), Some(now)) if before.resource_version() == now.resource_version() => {}
        (_, Some(now)) => {
            part.apply(&Event::Apply(now.clone()));
            changed(&now, false);
        }
        (Some(before), None) => {
            part.apply(&Event::Delete(SecretMeta::clone(&before)));
            changed(&before, true);
        }
        (None, None) => {}
    }
}
