//! A run that panics ends alone.
//!
//! # Guarantees
//! - The process, its lease and the runs of other objects go on. What the run held goes back as its
//!   future unwinds: permits and turns are free, a grant that was not spent can be drawn again. What it
//!   had used up stays so: a claim that was taken and a grant that was spent are as after a crash.
//! - The object says so: `Stalled` is True, and what was told before stays. `Ready` stays what it was,
//!   for what is delivered is there; it is False where nothing was told yet.
//! - It is tried again when it changes, and by itself more and more slowly.
//! - What a panic says is in no log and no status, unless it is a text of the program: it may hold what
//!   the run was about.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cluster::stores::Guarded;
use super::context::Context;
use super::issuer::key::IssuerKey;
use super::issuer::object::IssuerObject;
use crate::api::CertificateRequest;
use crate::issuance::Read;
use crate::issuance::stalled::{notice, stalled};

/// An object that runs are for.
pub(super) trait Stallable:
    Resource<DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// What it is called in calls of the API server, and its status.
    const RESOURCES: (&'static str, &'static str);

    fn api_of(client: kube::Client, namespace: Option<&str>) -> Api<Guarded<Self>>;

    fn conditions(&self) -> &[Condition];

    fn set_conditions(&mut self, conditions: Vec<Condition>);

    /// What was found out before is found out anew by the next run.
    fn doubt(&self, context: &Context);
}

impl Stallable for CertificateRequest {
    const RESOURCES: (&'static str, &'static str) =
        ("certificaterequests", "certificaterequests/status");

    fn api_of(client: kube::Client, namespace: Option<&str>) -> Api<Guarded<Self>> {
        Api::namespaced(client, namespace.unwrap_or_default())
    }

    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }

    fn set_conditions(&mut self, conditions: Vec<Condition>) {
        self.status.get_or_insert_default().conditions = conditions;
    }

    fn doubt(&self, _: &Context) {}
}

impl<K: IssuerObject> Stallable for K {
    const RESOURCES: (&'static str, &'static str) = (K::RESOURCE, K::STATUS_RESOURCE);

    fn api_of(client: kube::Client, namespace: Option<&str>) -> Api<Guarded<Self>> {
        K::api(client, namespace)
    }

    fn conditions(&self) -> &[Condition] {
        self.status().map_or(&[], |status| &status.conditions)
    }

    fn set_conditions(&mut self, conditions: Vec<Condition>) {
        let mut status = self.status().cloned().unwrap_or_default();
        status.conditions = conditions;
        self.set_status(status);
    }

    fn doubt(&self, context: &Context) {
        context.checks.due(&IssuerKey::to::<K>(self), context.clock.now());
    }
}

/// Notes that a run for `object` panicked, and tells of it on the object.
pub(super) async fn panicked<K: Stallable>(context: &Context, object: &Guarded<K>) -> Action {
    let (namespace, name) = (object.namespace(), object.name_any());
    context.metrics.panicked(&K::kind(&()));
    let pause = context.memory.panics.note(object.meta());
    tracing::error!(
        object.kind = %K::kind(&()),
        object.namespace = namespace,
        object.name = name,
        again_in_s = pause.as_secs(),
        "a run for this object panicked: it alone is stalled"
    );
    if let Ok(object) = &object.0 {
        object.doubt(context);
        tell(context, object).await;
    }
    Action::requeue(pause)
}

/// What cannot be told now is told with the next try.
async fn tell<K: Stallable>(context: &Context, object: &K) {
    let (namespace, name) = (object.namespace(), object.name_any());
    let (resource, status) = K::RESOURCES;
    let api = || K::api_of(context.cluster.client(), namespace.as_deref());
    let place = (namespace.as_deref().unwrap_or_default(), name.as_str());
    // The run may have written since.
    let mut live = match context.cluster.object(api(), resource, place).await {
        Read::Present(live) if live.uid() == object.uid() => live,
        Read::Present(_) | Read::Absent => return,
        Read::Unreadable(why) => {
            tracing::warn!("that it is stalled cannot be told: {why}");
            return;
        }
    };
    let generation = live.meta().generation.unwrap_or_default();
    let before = live.conditions();
    let conditions = stalled(before, &K::kind(&()), generation, context.clock.now());
    if conditions == before {
        context.memory.panics.wrote(live.meta());
        return;
    }
    live.set_conditions(conditions);
    match context.cluster.put_status(api(), status, &live).await {
        Ok(written) => {
            context.memory.panics.wrote(written.meta());
            context.events.publish(&written.object_ref(&()), vec![notice(&K::kind(&()))]);
        }
        Err(error) => tracing::warn!(%error, "that it is stalled was not told"),
    }
}
