//! `deploy/admission.yaml`: nobody but the operator changes the record of a paid order, and nobody
//! deletes one that was not released, whatever RBAC lets them do.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::support::control_plane::client;
use crate::world::{PATIENCE, Test, assert_says};

const ORDER: &str = "chancery.dev/order";
const RELEASE: &str = "chancery.dev/release";

/// A namespace with somebody who may do everything with its Secrets.
struct Records {
    test: Test,
    user: Api<Secret>,
    operator: Api<Secret>,
}

impl Records {
    async fn new(namespace: &str) -> Self {
        let test = Test::new(namespace).await;
        let plane = &test.world.plane;
        test.kubectl(&["create", "serviceaccount", "user"]);
        test.kubectl(&["create", "role", "all-of-secrets", "--verb=*", "--resource=secrets"]);
        let subject = format!("--serviceaccount={namespace}:user");
        test.kubectl(&["create", "rolebinding", "user", "--role=all-of-secrets", &subject]);
        let of = |client: Client| Api::namespaced(client, namespace);
        let user = of(client(&plane.kubeconfig_of(namespace, "user")).await);
        let operator = of(client(&plane.kubeconfig_of("chancery", "chancery")).await);
        let records = Self { test, user, operator };
        records.until_in_force().await;
        records
    }

    /// A policy works some moments after it was applied, and so does RBAC.
    async fn until_in_force(&self) {
        let until = Instant::now() + PATIENCE;
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        loop {
            let plain = self.user.create(&dry_run, &secret("plain", &json!({}))).await;
            let record = self.user.create(&dry_run, &record("shop.order")).await;
            let unmarked = self.operator.create(&dry_run, &secret("plain", &json!({}))).await;
            if plain.is_ok() && record.is_err() && unmarked.is_err() {
                return;
            }
            assert!(Instant::now() < until, "not in force: {plain:?} {record:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Has the operator write a record.
    async fn write(&self, name: &str) {
        self.operator.create(&PostParams::default(), &record(name)).await.expect("its own record");
    }

    async fn patch(&self, name: &str, patch: &Value) -> Result<Secret, String> {
        patched(&self.user, name, patch).await
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        let deleted = self.user.delete(name, &DeleteParams::default()).await;
        deleted.map(drop).map_err(|error| refusal(&error))
    }
}

async fn patched(api: &Api<Secret>, name: &str, patch: &Value) -> Result<Secret, String> {
    let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(|error| refusal(&error))
}

/// What the API server says of a request that it forbids.
fn refusal(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else { panic!("the API server does not answer: {error}") };
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"), "{}", status.message);
    status.message.clone()
}

fn secret(name: &str, labels: &Value) -> Secret {
    let secret = json!({
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"chancery.dev/attempt": "1", "note": "before"},
        },
        "data": {"tls.key": "a2V5"},
    });
    serde_json::from_value(secret).expect("a Secret")
}

fn record(name: &str) -> Secret {
    secret(name, &json!({ORDER: "true", "team": "web"}))
}

#[tokio::test]
async fn only_the_operator_makes_a_record() {
    let records = Records::new("records-made").await;
    records.write("shop.order").await;
    let params = PostParams::default();
    let error = records.user.create(&params, &record("mine.order")).await.expect_err("refused");
    let message = refusal(&error);
    println!("create: {message}");
    assert_says(&message, &["record of a paid order", "only Chancery", "without this label"]);
    // The label with another value marks nothing.
    let unmarked = secret("unmarked", &json!({ORDER: "false"}));
    records.user.create(&params, &unmarked).await.expect("taken");
    // Nor does the administrator.
    let admin = Api::<Secret>::namespaced(records.test.client.clone(), "records-made");
    admin.create(&params, &record("mine.order")).await.expect_err("refused too");
}

#[tokio::test]
async fn somebody_else_changes_nothing_that_counts() {
    let records = Records::new("records-changed").await;
    records.write("shop.order").await;
    let label = |key: &str, value: Value| json!({"metadata": {"labels": {key: value}}});
    let annotation = |key: &str, value: Value| json!({"metadata": {"annotations": {key: value}}});
    let refused = [
        ("an entry changed", json!({"data": {"tls.key": "b3RoZXI="}})),
        ("an entry added", json!({"data": {"more": "b3RoZXI="}})),
        ("an entry added as text", json!({"stringData": {"more": "text"}})),
        ("an entry removed", json!({"data": {"tls.key": null}})),
        ("made immutable, which binds the operator", json!({"immutable": true})),
        ("the label removed", label(ORDER, Value::Null)),
        ("the label set to something else", label(ORDER, json!("false"))),
        ("another label of ours", label("chancery.dev/managed", json!("true"))),
        ("an annotation of ours changed", annotation("chancery.dev/attempt", json!("2"))),
        ("an annotation of ours removed", annotation("chancery.dev/attempt", Value::Null)),
        ("an annotation of ours added", annotation("chancery.dev/state", json!("new"))),
        (
            "a release and an entry at once",
            json!({
                "metadata": {"annotations": {RELEASE: "done"}}, "data": {"tls.key": "b3RoZXI="},
            }),
        ),
        ("everything removed", json!({"metadata": {"labels": null, "annotations": null}})),
    ];
    let mut wrong = Vec::new();
    for (name, patch) in refused {
        match records.patch("shop.order", &patch).await {
            Ok(_) => wrong.push(name),
            Err(message) => assert_says(
                &message,
                &[
                    "Secret records-changed/shop.order is the record of a paid order",
                    "holds its private key",
                    "kubectl annotate secret -n records-changed shop.order chancery.dev/release=",
                ],
            ),
        }
    }
    assert!(wrong.is_empty(), "taken: {wrong:?}");
    let as_made = records.operator.get("shop.order").await.expect("the record");
    assert_eq!(as_made.data, record("shop.order").data);

    // A Secret of another type under the same name is another Secret, which has to be deleted first.
    let mut typed = as_made.clone();
    typed.type_ = Some("kubernetes.io/tls".to_owned());
    let params = PostParams::default();
    records.user.replace("shop.order", &params, &typed).await.expect_err("refused");
}

#[tokio::test]
async fn other_labels_and_annotations_are_free_and_a_release_can_be_added_once() {
    let records = Records::new("records-free").await;
    records.write("shop.order").await;
    let free = [
        json!({"metadata": {"labels": {"team": "shop", "more": "x"}}}),
        json!({"metadata": {"labels": {"team": null}}}),
        json!({"metadata": {"annotations": {"note": "after", "more": "x"}}}),
        json!({"metadata": {"annotations": {"note": null}}}),
        // A name that only looks like ours.
        json!({"metadata": {"annotations": {"my-chancery.dev/note": "x"}}}),
        json!({"metadata": {"annotations": {RELEASE: "no longer needed"}}}),
    ];
    for patch in free {
        records.patch("shop.order", &patch).await.unwrap_or_else(|why| panic!("{patch}: {why}"));
    }
    for value in [json!("other"), Value::Null] {
        let patch = json!({"metadata": {"annotations": {RELEASE: value}}});
        records.patch("shop.order", &patch).await.expect_err("a release stays");
    }
}

#[tokio::test]
async fn the_operator_changes_what_it_wrote() {
    let records = Records::new("records-operator").await;
    records.write("shop.order").await;
    for patch in [
        json!({"metadata": {"annotations": {"chancery.dev/attempt": "2"}}}),
        json!({"data": {"next": "bmV3"}}),
        json!({"metadata": {"labels": {ORDER: null}}}),
    ] {
        patched(&records.operator, "shop.order", &patch).await.expect("its own record");
    }
    // What is no record any more is anybody's.
    records.delete("shop.order").await.expect("it goes");
}

#[tokio::test]
async fn a_record_is_deleted_after_its_release_and_not_before() {
    let records = Records::new("records-deleted").await;
    records.write("shop.order").await;
    records.write("portal.order").await;
    records.user.create(&PostParams::default(), &secret("plain", &json!({}))).await.expect("taken");
    let message = records.delete("shop.order").await.expect_err("refused");
    println!("delete: {message}");
    assert_says(
        &message,
        &[
            "Secret records-deleted/shop.order is the record of a paid order",
            "holds its private key",
            "then delete it",
            "kubectl annotate secret -n records-deleted shop.order chancery.dev/release=",
        ],
    );
    // A release by the very hand that deletes is what the message asks for, in two steps.
    let release = json!({"metadata": {"annotations": {RELEASE: "cancelled at the CA"}}});
    records.patch("shop.order", &release).await.expect("a release");
    let all =
        records.test.world.plane.kubectl(["-n", "records-deleted", "delete", "secret", "--all"]);
    let message = all.expect_err("one is refused");
    assert_says(&message, &["portal.order is the record of a paid order"]);
    let left = records.operator.list_metadata(&ListParams::default()).await.expect("a list").items;
    let names: Vec<_> = left.iter().filter_map(|left| left.metadata.name.as_deref()).collect();
    assert_eq!(names, ["portal.order"], "kubectl delete --all leaves what is not released");
}

#[tokio::test]
async fn a_foreign_secret_is_not_made_a_record_and_never_looked_at() {
    let records = Records::new("records-foreign").await;
    let params = PostParams::default();
    records.user.create(&params, &secret("plain", &json!({}))).await.expect("taken");
    let mark = json!({"metadata": {"labels": {ORDER: "true"}}});
    let message = records.patch("plain", &mark).await.expect_err("refused");
    println!("label: {message}");
    assert_says(&message, &["only Chancery makes", "records-foreign/plain without this label"]);
    for patch in [
        json!({"data": {"tls.key": "b3RoZXI="}}),
        json!({"metadata": {"annotations": {"chancery.dev/attempt": "7"}}}),
        json!({"metadata": {"labels": {"chancery.dev/credentials": "true"}}}),
    ] {
        records.patch("plain", &patch).await.expect("nothing of ours");
    }
    records.delete("plain").await.expect("it goes");
}

#[tokio::test]
async fn the_end_of_a_namespace_takes_its_records_along() {
    let records = Records::new("records-end").await;
    records.write("shop.order").await;
    records.delete("shop.order").await.expect_err("refused before");
    records.test.delete("Namespace", "records-end").await;
    let until = Instant::now() + PATIENCE;
    while records.test.read("Namespace", "records-end").await.is_some() {
        assert!(Instant::now() < until, "the namespace does not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_operator_writes_no_secret_that_is_not_its_own() {
    let records = Records::new("records-own").await;
    let params = PostParams::default();
    let delivered = |name: &str, key: &str| {
        let mut secret = secret(name, &json!({}));
        let annotations = secret.metadata.annotations.get_or_insert_default();
        annotations.insert(key.to_owned(), "shop".to_owned());
        secret
    };
    let foreign = secret("foreign", &json!({"chancery.dev/credentials": "true"}));
    let message = refusal(&records.operator.create(&params, &foreign).await.expect_err("refused"));
    println!("create: {message}");
    let says = ["own-secrets.chancery.dev", "records-own/foreign is none of them"];
    assert_says(&message, &says);
    let adopted = delivered("adopted", "chancery.dev/adopt");
    records.operator.create(&params, &adopted).await.expect_err("it makes none of those");
    for (secret, is_its) in [
        (foreign, false),
        (adopted, true),
        (delivered("delivered", "chancery.dev/certificate-request"), true),
    ] {
        let name = secret.metadata.name.clone().expect("a name");
        records.user.create(&params, &secret).await.expect("it is the user's");
        // A mark of its own does not help it.
        let marks = json!({
            "metadata": {"annotations": {"chancery.dev/certificate-request": "shop"}},
            "data": {"tls.key": "b3RoZXI="},
        });
        let patched = patched(&records.operator, &name, &marks).await;
        assert_eq!(patched.is_ok(), is_its, "{name}: {patched:?}");
    }
    // Others are not kept from anything.
    let patch = json!({"data": {"tls.key": "b3RoZXI="}});
    records.patch("foreign", &patch).await.expect("the user's own");
    records.delete("foreign").await.expect("it goes");
}

#[tokio::test]
async fn the_operator_finds_out_that_the_policies_are_in_force() {
    let records = Records::new("records-policies").await;
    let until = Instant::now() + PATIENCE;
    for policy in ["order-records.chancery.dev", "own-secrets.chancery.dev"] {
        let line = format!("chancery_admission_policy{{policy=\"{policy}\"}} 1");
        let mut page = String::new();
        while !page.contains(&line) {
            assert!(Instant::now() < until, "{policy}:\n{page}");
            tokio::time::sleep(Duration::from_millis(200)).await;
            page = records.test.world.operator.get("/metrics").map_or(page, |(_, page)| page);
        }
    }
}
