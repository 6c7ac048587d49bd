//! Calls of the API server: bounded in time, never repeated by themselves, and with errors that
//! name verb, resource and object. Nothing is written without the lease.

mod by_name;
mod chosen;
pub(in crate::controller) mod events;
mod part;
pub(in crate::controller) mod secret;
pub(in crate::controller) mod stores;
pub(in crate::controller) mod wakers;
pub(in crate::controller) mod watches;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::process::leadership::Leadership;
use crate::decode::Guarded;
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
        let api = Api::namespaced(self.client.clone(), namespace);
        self.object(api, "secrets", (namespace, name)).await
    }

    /// A ConfigMap, live.
    pub(super) async fn config_map(&self, namespace: &str, name: &str) -> Read<ConfigMap> {
        let api = Api::namespaced(self.client.clone(), namespace);
        self.object(api, "configmaps", (namespace, name)).await
    }

    /// Creates a Secret that must not exist.
    pub(super) async fn create_secret(
        &self,
        namespace: &str,
        name: &str,
        secret: &Secret,
    ) -> Result<Secret, Error> {
        let api = Api::namespaced(self.client.clone(), namespace);
        let answer = self.create(api, "secrets", (namespace, name), secret).await?;
        typed(answer, ("create", "secrets"), (namespace, name))
    }

    /// Changes a Secret by a merge patch; uid and resourceVersion in `patch` make it conditional.
    pub(super) async fn patch_secret(
        &self,
        namespace: &str,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<Secret, Error> {
        let api: Api<Guarded<Secret>> = Api::namespaced(self.client.clone(), namespace);
        let params =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(patch);
        let write = || api.patch(name, &params, &patch);
        let answer = self.call("patch", "secrets", namespace, name, write).await?;
        typed(answer, ("patch", "secrets"), (namespace, name))
    }

    /// Writes the whole status of `object` on the condition of its resourceVersion. PUT, because an
    /// apply to `/status` ignores a wrong uid; PUT refuses another uid, a stale version and a
    /// missing object.
    pub(super) async fn put_status<K>(
        &self,
        api: Api<Guarded<K>>,
        resource: &'static str,
        object: &K,
    ) -> Result<K, Error>
    where
        K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned,
    {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let url = Request::new(api.resource_url());
        let write = || async {
            let put = url.replace_subresource("status", &name, &posted(), body(object)?);
            self.client.request(put.map_err(kube::Error::BuildRequest)?).await
        };
        let answer = self.call("update", resource, &namespace, &name, write).await?;
        written(object, answer, ("update", resource), (&namespace, &name))
    }

    /// An object, live; `name` is its namespace and name. What cannot be typed is there, and is not
    /// absent.
    pub(super) async fn object<K>(
        &self,
        api: Api<Guarded<K>>,
        resource: &'static str,
        (namespace, name): (&str, &str),
    ) -> Read<K>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let answer = self.call("get", resource, namespace, name, || api.get(name)).await;
        let object = answer.and_then(|one| typed(one, ("get", resource), (namespace, name)));
        match object {
            Ok(object) => Read::Present(object),
            // Only 404 says that there is none.
            Err(error) if error.kind == ErrorKind::NotFound => Read::Absent,
            Err(error) => Read::Unreadable(error.to_string()),
        }
    }

    /// A Lease, or nothing where there is none.
    pub(super) async fn lease(&self, namespace: &str, name: &str) -> Result<Option<Lease>, Error> {
        let api: Api<Guarded<Lease>> = Api::namespaced(self.client.clone(), namespace);
        match self.call("get", "leases", namespace, name, || api.get(name)).await {
            Ok(lease) => typed(lease, ("get", "leases"), (namespace, name)).map(Some),
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
        let api = Api::namespaced(self.client.clone(), namespace);
        let answer = self.create(api, "leases", (namespace, name), lease).await?;
        written(lease, answer, ("create", "leases"), (namespace, name))
    }

    /// Writes a whole Lease on the condition of the uid and resourceVersion in it. The uid is what
    /// keeps a PUT from creating a Lease that is gone.
    pub(super) async fn put_lease(
        &self,
        namespace: &str,
        name: &str,
        lease: &Lease,
    ) -> Result<Lease, Error> {
        let api: Api<Guarded<Lease>> = Api::namespaced(self.client.clone(), namespace);
        let url = Request::new(api.resource_url());
        let write = || async {
            let put = url.replace(name, &posted(), body(lease)?);
            self.client.request(put.map_err(kube::Error::BuildRequest)?).await
        };
        let answer = self.call("update", "leases", namespace, name, write).await?;
        written(lease, answer, ("update", "leases"), (namespace, name))
    }

    async fn create<K: Resource + Serialize + DeserializeOwned>(
        &self,
        api: Api<Guarded<K>>,
        resource: &'static str,
        (namespace, name): (&str, &str),
        object: &K,
    ) -> Result<Guarded<K>, Error> {
        let url = Request::new(api.resource_url());
        let write = || async {
            let post = url.create(&posted(), body(object)?);
            self.client.request(post.map_err(kube::Error::BuildRequest)?).await
        };
        self.call("create", resource, namespace, name, write).await
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
        Err(Error { verb, resource, object: placed((namespace, name)), kind, cause })
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

/// How everything is created and replaced.
fn posted() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

fn body<K: Serialize>(object: &K) -> kube::Result<Vec<u8>> {
    serde_json::to_vec(object).map_err(kube::Error::SerdeError)
}

/// The object of an answer, where this version can read it.
fn typed<K>(
    answer: Guarded<K>,
    (verb, resource): (&'static str, &'static str),
    place: (&str, &str),
) -> Result<K, Error> {
    answer.0.map_err(|unreadable| {
        let cause = match verb {
            "get" => unreadable.reason,
            // It is looked at before anything else is done.
            _ => format!("it was carried out, and the object cannot be read: {unreadable}"),
        };
        Error { verb, resource, object: placed(place), kind: ErrorKind::Other, cause }
    })
}

/// What was written is there, also where what the API server made of it cannot be read: as it was
/// sent, and in the version that the answer tells. Without a version the answer tells nothing.
fn written<K: Resource + Clone>(
    sent: &K,
    answer: Guarded<K>,
    how: (&'static str, &'static str),
    place: (&str, &str),
) -> Result<K, Error> {
    if answer.0.is_ok() || answer.meta().resource_version.is_none() {
        return typed(answer, how, place);
    }
    let (mut written, told) = (sent.clone(), answer.meta());
    let meta = written.meta_mut();
    meta.resource_version.clone_from(&told.resource_version);
    meta.uid.clone_from(&told.uid);
    meta.generation = told.generation;
    Ok(written)
}

fn placed((namespace, name): (&str, &str)) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
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
        403 if lacks_right(&status.message) => {
            format!(
                "{}; `chancery check` as that user says what grants it",
                shortened(&status.message)
            )
        }
        403 | 404 | 409 => shortened(&status.message),
        code => format!("{code} {}", status.reason),
    };
    (kind, cause)
}

/// In the words of RBAC. Policies, quotas and namespaces that end refuse with the same code.
fn lacks_right(message: &str) -> bool {
    message.contains("User \"") && message.contains("\" cannot ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(value: Value) -> Guarded<Lease> {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn a_right_that_is_missing_is_told_with_the_next_move_and_another_refusal_without_it() {
        let told = |message: &str| {
            let status = json!({
                "status": "Failure", "code": 403, "reason": "Forbidden", "message": message,
            });
            let status: kube::core::Status = serde_json::from_value(status).expect("a status");
            explain(&kube::Error::Api(Box::new(status))).1
        };
        let refused = "secrets is forbidden: User \"system:serviceaccount:chancery:chancery\" cannot create resource \"secrets\" in API group \"\" in the namespace \"shop\"";
        let next = "; `chancery check` as that user says what grants it";
        assert_eq!(told(refused), format!("{refused}{next}"));
        let ends = "secrets \"a\" is forbidden: unable to create new content in namespace shop because it is being terminated";
        assert_eq!(told(ends), ends);
    }

    #[test]
    fn what_was_written_counts_as_written_also_where_the_answer_cannot_be_read() {
        let sent: Lease = serde_json::from_value(json!({
            "metadata": {"name": "chancery", "uid": "u", "resourceVersion": "7"},
            "spec": {"holderIdentity": "me"},
        }))
        .expect("a lease");
        let (how, place) = (("update", "leases"), ("chancery", "chancery"));
        let odd = |version: Value| {
            answer(json!({
                "metadata": {"name": "chancery", "uid": "u", "resourceVersion": version},
                "spec": {"renewTime": "9999-12-31T23:59:59Z", "holderIdentity": "s3cr3t"},
            }))
        };
        let known = written(&sent, odd(json!("8")), how, place).expect("it is written");
        assert_eq!(known.metadata.resource_version.as_deref(), Some("8"), "in the new version");
        assert_eq!(known.spec, sent.spec, "as it was sent");
        let error = written(&sent, odd(json!(8)), how, place).expect_err("no version");
        assert_eq!(error.kind, ErrorKind::Other, "whether it came about has to be looked at");
        let text = typed(odd(json!("8")), ("get", "leases"), place).expect_err("odd").to_string();
        assert_eq!(
            text,
            "cannot get leases chancery/chancery: its field spec.renewTime is not what this version expects"
        );
    }
}
