//! What of a cache one watch fills: all of it, or the objects of one namespace.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::controller::cluster::stores::{Guarded, in_order};

/// What can be watched and kept in a cache.
pub(super) trait Watched:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static
{
}

/// A cache that several watches fill.
pub(super) type Shared<K> = Arc<Mutex<Writer<Guarded<K>>>>;

/// A cache for several watches. It counts as filled: whether its parts are, is for those to tell.
pub(super) fn shared<K: Watched>(mut writer: Writer<Guarded<K>>) -> Shared<K> {
    writer.apply_watcher_event(&Event::Init);
    writer.apply_watcher_event(&Event::InitDone);
    Arc::new(Mutex::new(writer))
}

/// The part of a cache that one watch fills.
pub(super) struct Part<K: Watched> {
    writer: Shared<K>,
    cache: Store<Guarded<K>>,
    /// Its namespace; `None` where it is the whole.
    namespace: Option<String>,
    /// What a list has told of so far.
    listed: Vec<Guarded<K>>,
    /// Who is told when it has taken a list.
    news: Option<Arc<Notify>>,
}

impl<K: Watched> Part<K> {
    /// All of a cache.
    pub(super) fn whole(writer: Writer<Guarded<K>>) -> Self {
        Self::new(Arc::new(Mutex::new(writer)), None)
    }

    /// All of a cache; `news` is told of each list, also of an empty one. A cache itself can be waited for
    /// by one task only.
    pub(super) fn telling(writer: Writer<Guarded<K>>, news: &Arc<Notify>) -> Self {
        Self { news: Some(Arc::clone(news)), ..Self::whole(writer) }
    }

    /// The objects of one namespace.
    pub(super) fn of(writer: &Shared<K>, namespace: &str) -> Self {
        Self::new(Arc::clone(writer), Some(namespace.to_owned()))
    }

    fn new(writer: Shared<K>, namespace: Option<String>) -> Self {
        let cache = lock(&writer).as_reader();
        Self { writer, cache, namespace, listed: Vec::new(), news: None }
    }

    /// Its namespace, where it is not the whole.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// What is in it.
    pub(super) fn state(&self) -> Vec<Arc<Guarded<K>>> {
        let is_its = |object: &Guarded<K>| {
            self.namespace.is_none() || object.meta().namespace == self.namespace
        };
        in_order(self.cache.state_filter(is_its))
    }

    /// Brings the cache up to date. A list takes the place of the part, and of nothing else in it.
    pub(super) fn apply(&mut self, event: &Event<Guarded<K>>) {
        match event {
            Event::Init if self.namespace.is_some() => self.listed = Vec::new(),
            Event::InitApply(object) if self.namespace.is_some() => {
                self.listed.push(object.clone());
            }
            Event::InitDone if self.namespace.is_some() => self.replace(),
            Event::Init
            | Event::InitApply(_)
            | Event::InitDone
            | Event::Apply(_)
            | Event::Delete(_) => lock(&self.writer).apply_watcher_event(event),
        }
        if matches!(event, Event::InitDone) {
            self.news.iter().for_each(|news| news.notify_one());
        }
    }

    fn replace(&mut self) {
        let (before, listed) = (self.state(), std::mem::take(&mut self.listed));
        let names: HashSet<String> = listed.iter().map(ResourceExt::name_any).collect();
        let mut writer = lock(&self.writer);
        for object in listed {
            writer.apply_watcher_event(&Event::Apply(object));
        }
        for gone in before.iter().filter(|old| !names.contains(&old.name_any())) {
            writer.apply_watcher_event(&Event::Delete(Guarded::clone(gone)));
        }
    }
}

fn lock<K: Watched>(writer: &Shared<K>) -> MutexGuard<'_, Writer<Guarded<K>>> {
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::reflector::store;
    use serde_json::json;

    use super::*;

    fn object(namespace: &str, name: &str) -> Guarded<ConfigMap> {
        serde_json::from_value(json!({"metadata": {"namespace": namespace, "name": name}}))
            .expect("an object")
    }

    fn names(objects: &[Arc<Guarded<ConfigMap>>]) -> Vec<String> {
        let name = |object: &Arc<Guarded<ConfigMap>>| {
            format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
        };
        objects.iter().map(name).collect()
    }

    fn list(part: &mut Part<ConfigMap>, objects: &[Guarded<ConfigMap>]) {
        part.apply(&Event::Init);
        objects.iter().for_each(|object| part.apply(&Event::InitApply(object.clone())));
        part.apply(&Event::InitDone);
    }

    #[test]
    fn a_list_of_one_namespace_takes_the_place_of_no_other() {
        let (cache, writer) = store();
        let writer = shared(writer);
        let (mut shop, mut web) = (Part::of(&writer, "shop"), Part::of(&writer, "web"));
        let all = || names(&in_order(cache.state()));
        list(&mut shop, &[object("shop", "a"), object("shop", "b")]);
        list(&mut web, &[object("web", "a")]);
        assert_eq!(all(), ["shop/a", "shop/b", "web/a"]);
        shop.apply(&Event::Apply(object("shop", "c")));
        web.apply(&Event::Delete(object("web", "a")));
        assert_eq!(all(), ["shop/a", "shop/b", "shop/c"]);
        web.apply(&Event::Apply(object("web", "d")));
        // A list that breaks off changes nothing, and is not mixed into the next.
        shop.apply(&Event::Init);
        shop.apply(&Event::InitApply(object("shop", "half")));
        list(&mut shop, &[object("shop", "b")]);
        assert_eq!(all(), ["shop/b", "web/d"]);
        assert_eq!(
            (names(&shop.state()), names(&web.state())),
            (vec!["shop/b".to_owned()], vec!["web/d".to_owned()])
        );
    }

    #[tokio::test]
    async fn a_whole_is_filled_with_its_first_list() {
        let (cache, writer) = store::<Guarded<ConfigMap>>();
        let mut whole = Part::whole(writer);
        let filled = async || {
            let filled = cache.wait_until_ready();
            tokio::time::timeout(std::time::Duration::from_millis(10), filled).await.is_ok()
        };
        assert!(!filled().await);
        list(&mut whole, &[object("shop", "a"), object("web", "a")]);
        assert!(filled().await);
        assert_eq!(names(&whole.state()), ["shop/a", "web/a"]);
    }
}
