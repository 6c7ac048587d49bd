//! Calls of the API server: bounded in time, never repeated by themselves, and with errors that
//! name verb, resource and object. Nothing is written without the lease.

pub(in crate::controller) mod events;
pub(in crate::controller) mod secret;
pub(in crate::controller) mod stores;
pub(in crate::controller) mod wakers;
pub(in crate::controller) mod watches;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::process::leadership::Leadership;
use crate::issuance::Read;
use crate::turns::Turns;

/// The API server answers within milliseconds or is in trouble.
const TIMEOUT: Duration = Duration::from_secs(15);
/// So many calls are under way at once. More gain nothing, and make the API server turn some away.
const PARALLEL: usize = 48;
/// A call that was turned away (429) was not carried out: it is made again after this time, which
/// is what the API server's own `Retry-After` says.
const TURNED_AWAY: Duration = Duration::from_secs(1);

/// A failed call of the API server.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {resource} {object}: {cause}")]
pub(super) struct Error {
    verb: &'static str,
    resource: &'static str,
    object: String,
    /// What kind of failure it is.
    pub(super) kind: ErrorKind,
    cause: String,
}

/// Failures that mean different things to a writer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ErrorKind {
    /// 404.
    NotFound,
    /// 409: somebody else wrote in between.
    Conflict,
    /// 403.
    Forbidden,
    /// Anything else, no answer included.
    Other,
}

/// The API server.
pub(super) struct Cluster {
    client: Client,
    permits: Turns,
    leadership: Leadership,
}

impl Cluster {
    /// Writes while `leadership` is held; reads always.
    pub(super) fn new(client: Client, leadership: Leadership) -> Self {
        Self { client, permits: Turns::new(PARALLEL), leadership }
    }

    /// A Secret, live.
    pub(super) async fn secret(&self, namespace: &str, name: &str) -> Read<Secret> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        read(self.call("get", "secrets", namespace, name, || api.get(name)).await)
    }

    /// A ConfigMap, live.
    pub(super) async fn config_map(&self, namespace: &str, name: &str) -> Read<ConfigMap> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        read(self.call("get", "configmaps", namespace, name, || api.get(name)).await)
    }

    /// Creates a Secret that must not exist.
    pub(super) async fn create_secret(
        &self,
        namespace: &str,
        name: &str,
        secret: &Secret,
    ) -> Result<Secret, Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let params =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.call("create", "secrets", namespace, name, || api.create(&params, secret)).await
    }

    /// Changes a Secret by a merge patch; uid and resourceVersion in `patch` make it conditional.
    pub(super) async fn patch_secret(
        &self,
        namespace: &str,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<Secret, Error> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let params =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(patch);
        self.call("patch", "secrets", namespace, name, || api.patch(name, &params, &patch)).await
    }

    /// Writes the whole status of `object` on the condition of its resourceVersion. PUT, because an
    /// apply to `/status` ignores a wrong uid; PUT refuses another uid, a stale version and a
    /// missing object.
    pub(super) async fn put_status<K>(
        &self,
        api: Api<K>,
        resource: &'static str,
        object: &K,
    ) -> Result<K, Error>
    where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + Serialize
            + DeserializeOwned
            + std::fmt::Debug,
    {
        use kube::ResourceExt as _;
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let params =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let put = || api.replace_status(&name, &params, object);
        self.call("update", resource, &namespace, &name, put).await
    }

    /// An object of ours, live; `name` is its namespace and name.
    pub(super) async fn object<K>(
        &self,
        api: Api<K>,
        resource: &'static str,
        (namespace, name): (&str, &str),
    ) -> Read<K>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        read(self.call("get", resource, namespace, name, || api.get(name)).await)
    }

    /// A Lease, or nothing where there is none.
    pub(super) async fn lease(&self, namespace: &str, name: &str) -> Result<Option<Lease>, Error> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        match self.call("get", "leases", namespace, name, || api.get(name)).await {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a Lease that must not exist.
    pub(super) async fn create_lease(
        &self,
        namespace: &str,
        name: &str,
        lease: &Lease,
    ) -> Result<Lease, Error> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let params =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.call("create", "leases", namespace, name, || api.create(&params, lease)).await
    }

    /// Writes a whole Lease on the condition of the uid and resourceVersion in it. The uid is what
    /// keeps a PUT from creating a Lease that is gone.
    pub(super) async fn put_lease(
        &self,
        namespace: &str,
        name: &str,
        lease: &Lease,
    ) -> Result<Lease, Error> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let params =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.call("update", "leases", namespace, name, || api.replace(name, &params, lease)).await
    }

    async fn call<T, F: Future<Output = kube::Result<T>>>(
        &self,
        verb: &'static str,
        resource: &'static str,
        namespace: &str,
        name: &str,
        request: impl Fn() -> F,
    ) -> Result<T, Error> {
        let _permit = self.permits.turn().await;
        let answer = self.admitted(verb, request);
        let (kind, cause) = match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(why)) => why,
            Err(_elapsed) => {
                (ErrorKind::Other, format!("no answer within {} s", TIMEOUT.as_secs()))
            }
        };
        let object =
            if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
        Err(Error { verb, resource, object, kind, cause })
    }

    /// The first answer that is not 429.
    #[expect(clippy::disallowed_methods, reason = "the wait that the API server asks for")]
    async fn admitted<T, F: Future<Output = kube::Result<T>>>(
        &self,
        verb: &'static str,
        request: impl Fn() -> F,
    ) -> Result<T, (ErrorKind, String)> {
        loop {
            // Before each try: much may have happened while this call waited.
            if verb != "get" && !self.leadership.is_held() {
                let why = "this process does not hold the lease".to_owned();
                return Err((ErrorKind::Other, why));
            }
            match request().await {
                Ok(answer) => return Ok(answer),
                Err(kube::Error::Api(status)) if status.code == 429 => {
                    tokio::time::sleep(TURNED_AWAY).await;
                }
                Err(error) => return Err(explain(&error)),
            }
        }
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }
}

/// Field manager of everything Chancery writes.
const MANAGER: &str = "chancery";

/// Only 404 says that there is none.
fn read<T>(answer: Result<T, Error>) -> Read<T> {
    match answer {
        Ok(object) => Read::Present(object),
        Err(error) if error.kind == ErrorKind::NotFound => Read::Absent,
        Err(error) => Read::Unreadable(error.to_string()),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(400).collect()
}

fn explain(error: &kube::Error) -> (ErrorKind, String) {
    let kube::Error::Api(status) = error else {
        return (ErrorKind::Other, shortened(&error.to_string()));
    };
    let kind = match status.code {
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        _ => ErrorKind::Other,
    };
    // A 400 or 422 may repeat the object that was sent, with all that is in it.
    let cause = match status.code {
        403 | 404 | 409 => shortened(&status.message),
        code => format!("{code} {}", status.reason),
    };
    (kind, cause)
}
