//! Waiting for an object to be as wished: told by a watch, not asked again and again.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

/// The object once it is as wished; what it was last, where that does not come about in time. An API
/// server that is away for a while is waited for.
pub async fn until<K>(
    api: Api<K>,
    name: &str,
    patience: Duration,
    is_so: impl Fn(&K) -> bool,
) -> Result<K, Option<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut last = None;
    let mut told = std::pin::pin!(watch_object(api, name).default_backoff());
    let wait = async {
        while let Some(told) = told.next().await {
            let Ok(object) = told else { continue };
            if let Some(object) = object.as_ref().filter(|object| is_so(object)) {
                return Some(object.clone());
            }
            last = object;
        }
        None
    };
    let found = tokio::time::timeout(patience, wait).await;
    found.ok().flatten().ok_or(last)
}
