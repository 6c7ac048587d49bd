//! What our safety rests on is how the API server behaves. Each test is one such fact: where a new
//! version of Kubernetes changes it, we hear of it here first. Seen on kube-apiserver 1.36.3.

use std::time::{Duration, Instant};

use chancery::api::{CertificateRequest, CertificateRequestStatus};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{
    DeleteParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams,
};
use kube::core::{Status, response::StatusSummary};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::support::control_plane::client;
use crate::world::{PATIENCE, Test};

/// A version that no object has any more.
const STALE: &str = "1";
const STRANGER: &str = "00000000-0000-4000-8000-000000000000";

/// What the API server refused with.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: kube::Result<T>) -> Box<Status> {
    match answer {
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.status, Some(StatusSummary::Failure));
            status
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// A request that no issuer serves, so that only the operator's first look changes it.
async fn request(test: &Test) -> CertificateRequest {
    test.put(test.request("portal")).await;
    test.until_issuing("portal", "IssuerNotFound").await;
    test.get("portal").await
}

fn put() -> PostParams {
    PostParams { field_manager: Some("contract".to_owned()), ..PostParams::default() }
}

fn apply() -> PatchParams {
    PatchParams::apply("contract")
}

fn with_revision(mut request: CertificateRequest, revision: i64) -> CertificateRequest {
    let status = request.status.get_or_insert_with(CertificateRequestStatus::default);
    status.revision = Some(revision);
    request
}

async fn secret(test: &Test, name: &str) -> Secret {
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": name}, "data": {"entry": "b2xk"},
    }))
    .expect("a Secret");
    test.secrets().create(&put(), &secret).await.expect("created")
}

/// An apply of a Secret with that much of its identity.
fn applied(name: &str, identity: Value) -> Value {
    let mut metadata = identity;
    metadata["name"] = json!(name);
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"entry": "bmV3"},
    })
}

#[tokio::test]
async fn a_put_of_a_status_with_a_stale_version_is_a_conflict() {
    let test = Test::new("contract-put-stale").await;
    let mut stale = with_revision(request(&test).await, 7);
    stale.metadata.resource_version = Some(STALE.to_owned());
    let status = refused(test.requests().replace_status("portal", &put(), &stale).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"), "{}", status.message);
}

#[tokio::test]
async fn a_put_of_a_status_with_another_uid_is_a_conflict() {
    let test = Test::new("contract-put-uid").await;
    let mut other = with_revision(request(&test).await, 7);
    other.metadata.uid = Some(STRANGER.to_owned());
    let status = refused(test.requests().replace_status("portal", &put(), &other).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"), "{}", status.message);
}

#[tokio::test]
async fn a_put_of_a_status_of_a_missing_object_finds_nothing() {
    let test = Test::new("contract-put-missing").await;
    let gone = with_revision(request(&test).await, 7);
    test.delete("CertificateRequest", "portal").await;
    let status = refused(test.requests().replace_status("portal", &put(), &gone).await);
    assert_eq!((status.code, status.reason.as_str()), (404, "NotFound"), "{}", status.message);
}

#[tokio::test]
async fn a_put_of_the_same_status_does_not_move_the_version() {
    let test = Test::new("contract-put-same").await;
    let same = request(&test).await;
    let after = test.requests().replace_status("portal", &put(), &same).await.expect("taken");
    assert_eq!(after.resource_version(), same.resource_version());
    let other = with_revision(same.clone(), 7);
    let after = test.requests().replace_status("portal", &put(), &other).await.expect("taken");
    assert_ne!(after.resource_version(), same.resource_version());
}

#[tokio::test]
async fn an_apply_with_a_stale_version_is_a_conflict_forced_or_not() {
    let test = Test::new("contract-apply-stale").await;
    secret(&test, "target").await;
    let stale = applied("target", json!({"resourceVersion": STALE}));
    for params in [apply(), apply().force()] {
        let status = refused(test.secrets().patch("target", &params, &Patch::Apply(&stale)).await);
        assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"), "{}", status.message);
    }
}

#[tokio::test]
async fn an_apply_with_any_version_creates_an_object_that_is_missing() {
    let test = Test::new("contract-apply-creates").await;
    let version = secret(&test, "target").await.resource_version();
    test.delete("Secret", "target").await;
    let late = applied("target", json!({"resourceVersion": version}));
    let created = test.secrets().patch("target", &apply(), &Patch::Apply(&late)).await;
    assert_eq!(created.expect("it is created").name_any(), "target");
}

#[tokio::test]
async fn an_apply_with_a_uid_does_not_create_an_object_that_is_missing() {
    let test = Test::new("contract-apply-uid").await;
    let old = secret(&test, "target").await;
    test.delete("Secret", "target").await;
    let late = applied("target", json!({"uid": old.uid()}));
    let status = refused(test.secrets().patch("target", &apply(), &Patch::Apply(&late)).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"), "{}", status.message);
    assert!(status.message.contains("uid mismatch"), "{}", status.message);
    assert!(test.read("Secret", "target").await.is_none());
}

#[tokio::test]
async fn an_apply_with_the_uid_of_another_object_is_invalid() {
    let test = Test::new("contract-apply-other").await;
    secret(&test, "target").await;
    let late = applied("target", json!({"uid": STRANGER}));
    let params = apply().force();
    let status = refused(test.secrets().patch("target", &params, &Patch::Apply(&late)).await);
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{}", status.message);
}

#[tokio::test]
async fn an_apply_to_a_status_ignores_a_wrong_uid() {
    let test = Test::new("contract-apply-status").await;
    let before = request(&test).await;
    let late = json!({
        "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
        "metadata": {"name": "portal", "uid": STRANGER},
        "status": {"revision": 7},
    });
    let api = test.requests();
    let params = apply().force();
    let after = api.patch_status("portal", &params, &Patch::Apply(&late)).await.expect("taken");
    assert_eq!(after.uid(), before.uid());
    assert_eq!(after.status.and_then(|status| status.revision), Some(7), "it was written");
}

#[tokio::test]
async fn a_merge_patch_with_a_stale_version_is_a_conflict_and_with_another_uid_invalid() {
    let test = Test::new("contract-merge").await;
    let now = secret(&test, "target").await;
    let patch = |metadata: Value| json!({"metadata": metadata, "data": {"entry": "bmV3"}});
    let stale = patch(json!({"resourceVersion": STALE}));
    let params = PatchParams::default();
    let status = refused(test.secrets().patch("target", &params, &Patch::Merge(&stale)).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"), "{}", status.message);
    let other = patch(json!({"uid": STRANGER, "resourceVersion": now.resource_version()}));
    let status = refused(test.secrets().patch("target", &params, &Patch::Merge(&other)).await);
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{}", status.message);
    // As it is once the object was deleted and created again.
    let both = patch(json!({"uid": STRANGER, "resourceVersion": STALE}));
    let status = refused(test.secrets().patch("target", &params, &Patch::Merge(&both)).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"), "{}", status.message);
    let good = patch(json!({"uid": now.uid(), "resourceVersion": now.resource_version()}));
    test.secrets().patch("target", &params, &Patch::Merge(&good)).await.expect("taken");
}

#[tokio::test]
async fn a_delete_with_a_stale_version_or_another_uid_is_a_conflict() {
    let test = Test::new("contract-delete").await;
    let now = secret(&test, "target").await;
    let only_if = |uid: Option<String>, version: Option<String>| DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version: version }),
        ..DeleteParams::default()
    };
    for params in [only_if(None, Some(STALE.to_owned())), only_if(Some(STRANGER.to_owned()), None)]
    {
        let answer = test.secrets().delete("target", &params).await;
        let status = refused(answer.map(|deleted| deleted.is_left()));
        assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"), "{}", status.message);
    }
    let good = only_if(now.uid(), now.resource_version());
    test.secrets().delete("target", &good).await.expect("it goes");
}

#[tokio::test]
async fn an_event_in_a_namespace_that_ends_is_forbidden_for_that_cause() {
    let test = Test::new("contract-ending").await;
    // Something that keeps the namespace from being gone too soon.
    let mut held = secret(&test, "held").await;
    held.metadata.finalizers = Some(vec!["example.org/held".to_owned()]);
    test.secrets().replace("held", &put(), &held).await.expect("held");
    test.delete("Namespace", "contract-ending").await;
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "late", "namespace": "contract-ending"},
        "involvedObject": {"kind": "Secret", "name": "held", "namespace": "contract-ending"},
        "reason": "Late", "message": "too late", "type": "Normal",
    }))
    .expect("an Event");
    let events: Api<Event> = Api::namespaced(test.client.clone(), "contract-ending");
    let status = refused(events.create(&put(), &event).await);
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"), "{}", status.message);
    let causes = status.details.map(|details| details.causes).unwrap_or_default();
    assert!(causes.iter().any(|cause| cause.reason == "NamespaceTerminating"), "{causes:?}");
    let free = json!({"metadata": {"finalizers": null}});
    test.patch("Secret", "held", free).await;
}

#[tokio::test]
async fn an_object_nobody_looked_at_says_so_by_an_observed_generation_of_minus_one() {
    let test = Test::new("contract-generation").await;
    let created = test.create(test.request("portal")).await.expect("created");
    assert_eq!(created["status"], json!({"observedGeneration": -1}), "of the answer itself");
    assert_eq!(created["metadata"]["generation"], 1);
}

#[tokio::test]
async fn metadata_of_labelled_secrets_cannot_be_had_without_the_rights_to_all_of_it() {
    let test = Test::new("contract-metadata").await;
    for (who, verbs) in [("reader", "get"), ("lister", "list"), ("watcher", "list,watch")] {
        test.kubectl(&["create", "serviceaccount", who]);
        let verbs = verbs.split(',').map(|verb| format!("--verb={verb}")).collect::<Vec<_>>();
        let mut role = vec!["create", "role", who, "--resource=secrets"];
        role.extend(verbs.iter().map(String::as_str));
        test.kubectl(&role);
        let subject = format!("--serviceaccount=contract-metadata:{who}");
        let role = format!("--role={who}");
        test.kubectl(&["create", "rolebinding", who, &role, &subject]);
    }
    let of = async |who: &str| -> Api<Secret> {
        let kubeconfig = test.world.plane.kubeconfig_of("contract-metadata", who);
        Api::namespaced(client(&kubeconfig).await, "contract-metadata")
    };
    let watch = WatchParams::default().labels("chancery.dev/managed=true").timeout(1);
    let begins = async |api: &Api<Secret>| -> kube::Result<()> {
        use futures::TryStreamExt as _;
        let stream = api.watch_metadata(&watch, "0").await?;
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.try_next().await? {
            assert!(!matches!(event, WatchEvent::Error(_)), "{event:?}");
        }
        Ok(())
    };
    let watcher = of("watcher").await;
    let until = Instant::now() + PATIENCE;
    while let Err(error) = begins(&watcher).await {
        assert!(Instant::now() < until, "the rights do not arrive: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for who in ["reader", "lister"] {
        let status = refused(begins(&of(who).await).await);
        assert_eq!(status.code, 403, "{who}: {}", status.message);
    }
    let list = kube::api::ListParams::default().labels("chancery.dev/managed=true");
    let status = refused(of("reader").await.list_metadata(&list).await);
    assert_eq!(status.code, 403, "{}", status.message);
}

#[tokio::test]
async fn a_put_of_a_lease_that_is_gone_creates_it_unless_it_carries_the_uid() {
    let test = Test::new("contract-lease").await;
    let api: Api<Lease> = Api::namespaced(test.client.clone(), "contract-lease");
    let mut lease = Lease::default();
    lease.metadata.name = Some("mine".to_owned());
    let mut old = api.create(&put(), &lease).await.expect("created");
    api.delete("mine", &DeleteParams::default()).await.expect("it goes");
    let status = refused(api.replace("mine", &put(), &old).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"), "{}", status.message);
    old.metadata.uid = None;
    api.replace("mine", &put(), &old).await.expect("its version does not keep it from that");
}
