//! What an edit costs: every field of issuers, credentials and requests, changed while a certificate is
//! delivered, and what the CA was asked for because of it.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use chancery::api::annotation;
use chancery::pki::{KeyKind, Names, PrivateKey, csr};
use http::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::api;
use crate::ca::swisssign;
use crate::plan::{self, Plan, Setting, Source};
use crate::world::{self, CLUSTER_ISSUERS, NAMESPACE, OPERATOR, World, resources};

/// What comes of an edit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effect {
    /// One order, which costs money.
    Buys,
    /// One certificate, of a CA that is free.
    Reissues,
    /// Nothing now; the next issuance is for something else, and `Ready` says so.
    WaitsForRenewal,
    /// Nothing.
    Nothing,
    /// Admission does not let it pass.
    Refused,
}

use Effect::{Buys, Nothing, Refused, Reissues, WaitsForRenewal};

impl Effect {
    fn words(self) -> &'static str {
        match self {
            Self::Buys => "buys",
            Self::Reissues => "re-issues for free",
            Self::WaitsForRenewal => "waits for the renewal",
            Self::Nothing => "nothing",
            Self::Refused => "refused",
        }
    }
}

/// Which CA the certificate is from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum From {
    Paid,
    /// Renewed by the id of the order before.
    Resold,
    Free,
}

/// What a person does; whether all of it was admitted.
type Edit = Box<dyn Fn(&World) -> bool>;

struct Row {
    from: From,
    /// Fields as the schema names them, that of the object before the first point.
    fields: &'static [&'static str],
    what: &'static str,
    edit: Edit,
    effect: Effect,
}

/// Goes through the table; whether every edit comes to what it says.
pub fn all_come_to_what_they_say() -> bool {
    let rows = rows();
    let mut is_whole = true;
    println!("| edit | what comes of it |\n| --- | --- |");
    for row in &rows {
        let (found, said) = run(row);
        println!("| {} | {} |", row.what, found);
        if found != row.effect.words() {
            println!("failed: {} should come to: {}; {said}", row.what, row.effect.words());
            is_whole = false;
        }
    }
    // One value alone is admitted, which `tests/kubernetes/admission.rs` shows.
    let fixed = "Issuer.swissSign.acceptTermsAndConditions";
    let covered: BTreeSet<&str> =
        rows.iter().flat_map(|row| row.fields).copied().chain([fixed]).collect();
    let is_covered = |field: &String| covered.iter().any(|one| field.starts_with(one));
    for field in api::fields().iter().filter(|field| !is_covered(field)) {
        println!("failed: no edit of {field}");
        is_whole = false;
    }
    println!("{} edits", rows.len());
    is_whole && anchors_follow()
}

/// `ca.crt` follows the bundle without an order, wherever the bundle is kept: within ten minutes, and
/// within three where it is watched.
fn anchors_follow() -> bool {
    [(None, 600), (Some(annotation::TRUST_LABEL), 180)]
        .into_iter()
        .all(|(label, seconds)| anchors_follow_within(label, seconds))
}

fn anchors_follow_within(labels: Option<&str>, seconds: u64) -> bool {
    in_a_world(async |world| {
        furnish_paid(&world).await;
        let ours = world.ca().root();
        let other = world.free().issuers().expect("authorities").root_pem;
        let both = format!("{ours}{other}");
        let config_map = |pem: &str| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {
                    "name": "roots", "namespace": NAMESPACE,
                    "labels": labels.map_or_else(|| json!({}), |label| json!({label: "true"})),
                },
                "data": {"ca.crt": pem},
            })
        };
        let maps = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
        let bundle = |bundle: Value| json!({"spec": {"trust": {"bundle": bundle}}});
        let refer = bundle(json!({"pem": null, "configMapRef": {"name": "roots"}}));
        let edit =
            |pem: &str| is_done(&world, Method::PATCH, &format!("{maps}/roots"), &config_map(pem));
        let edit_map: [(&str, &dyn Fn() -> bool, usize); 5] = [
            ("old and new", &|| patch_issuer(&world, "ca", bundle(json!({"pem": both}))), 2),
            (
                "in a ConfigMap, the old alone",
                &|| {
                    is_done(&world, Method::POST, &maps, &config_map(&ours))
                        && patch_issuer(&world, "ca", refer.clone())
                },
                1,
            ),
            ("the ConfigMap has both", &|| edit(&both), 2),
            ("the new alone, before the certificate is renewed", &|| edit(&other), 2),
            ("the old again", &|| edit(&ours), 1),
        ];
        let mut is_whole = true;
        for (what, change, expected) in edit_map {
            assert!(change(), "{what}: it is admitted");
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let target = world.lock().api.object(api::Kind::Secret, NAMESPACE, "a-tls").cloned();
            let text = target.expect("a target")["data"]["ca.crt"].as_str().map(str::to_owned);
            let pem = base64::engine::general_purpose::STANDARD.decode(text.unwrap_or_default());
            let found = chancery::pki::parse_pem(&pem.expect("base64")).expect("PEM").len();
            let orders = count(&world, From::Paid);
            println!(
                "| trust.bundle: {what}, after {seconds} s | {found} anchors in ca.crt, {orders} order |"
            );
            if (found, orders) != (expected, 1) {
                println!("failed: {what}: {expected} anchors in ca.crt, and no order");
                is_whole = false;
            }
        }
        is_whole
    })
}

/// Runs in a world of its own.
fn in_a_world<T>(what: impl AsyncFnOnce(World) -> T) -> T {
    in_a_world_of(plan::Paid::SwissSign, what)
}

fn in_a_world_of<T>(paid: plan::Paid, what: impl AsyncFnOnce(World) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let is_renewable = paid == plan::Paid::SslPurchase;
        let setting = Setting { paid, is_renewable, pending: 1, ..Setting::default() };
        let world = World::new(&Plan { setting, source: Source::Given([].into()) }, false);
        world.furnish();
        world.start_replica();
        what(world).await
    })
}

/// The certificate of the paid CA is delivered.
async fn furnish_paid(world: &World) {
    settle(world).await;
    world.begin();
    settle(world).await;
}

/// Does one edit in a world of its own, and says what came of it.
fn run(row: &Row) -> (String, String) {
    let paid = match row.from {
        From::Free | From::Paid => plan::Paid::SwissSign,
        From::Resold => plan::Paid::SslPurchase,
    };
    in_a_world_of(paid, async |world| {
        let name = match row.from {
            From::Paid | From::Resold => {
                furnish_paid(&world).await;
                "a"
            }
            From::Free => {
                furnish_free(&world);
                settle(&world).await;
                "f"
            }
        };
        let before = count(&world, row.from);
        assert_eq!((before, ready(&world, name).0), (1, true), "{}", ready(&world, name).1);
        let is_admitted = (row.edit)(&world);
        settle(&world).await;
        let more = count(&world, row.from) - before;
        let waits = |world: &World| ready(world, name).1.contains("from the renewal on");
        let found = match (is_admitted, more, row.from) {
            (false, 0, _) => "refused".to_owned(),
            (true, 0, _) if waits(&world) => {
                patch(&world, name, json!({"metadata": {"annotations": {annotation::RENEW: "1"}}}));
                settle(&world).await;
                // A CA that issues to users refuses the names: it was asked, and the certificate stays.
                let is_swapped = row.fields.contains(&"Issuer.onlineCa");
                let is_over = match is_swapped {
                    true => issuing(&world, name) == "NotSupportedByCa",
                    false => !waits(&world),
                };
                let is_ready = ready(&world, name).0;
                if is_over && is_ready { "waits for the renewal" } else { "waits for ever" }
                    .to_owned()
            }
            (true, 0, _) => "nothing".to_owned(),
            (true, 1, From::Paid | From::Resold) => "buys".to_owned(),
            (true, 1, From::Free) => "re-issues for free".to_owned(),
            (_, more, _) => format!("{more} orders"),
        };
        (found, ready(&world, name).1)
    })
}

/// Longer than an order takes, and than a Secret is left alone that was put in order before.
async fn settle(_: &World) {
    tokio::time::sleep(Duration::from_secs(150)).await;
}

fn count(world: &World, from: From) -> usize {
    match from {
        From::Paid | From::Resold => world.ca().bought().len(),
        From::Free => world.free().issued().len(),
    }
}

/// Whether a request is ready, and what it says.
fn ready(world: &World, name: &str) -> (bool, String) {
    let state = world.lock();
    let find = |namespace, name| state.api.object(api::Kind::CertificateRequest, namespace, name);
    let request = find(NAMESPACE, name).or_else(|| find("moved", name));
    let request = request.or_else(|| find(NAMESPACE, "renamed"));
    let conditions = request.and_then(|request| request["status"]["conditions"].as_array());
    let ready = conditions.into_iter().flatten().find(|one| one["type"] == "Ready");
    let message = ready.and_then(|ready| ready["message"].as_str()).unwrap_or("nothing");
    (ready.is_some_and(|ready| ready["status"] == "True"), message.to_owned())
}

/// What a request is said to be doing.
fn issuing(world: &World, name: &str) -> String {
    let state = world.lock();
    let request = state.api.object(api::Kind::CertificateRequest, NAMESPACE, name);
    request.and_then(|request| world::reason(request, "Issuing")).unwrap_or_default().to_owned()
}

// --- What a person does ------------------------------------------------------------------------

fn is_done(world: &World, method: Method, path: &str, body: &Value) -> bool {
    world.person(method, path, body).status < 300
}

fn patch(world: &World, name: &str, body: Value) -> bool {
    let path = format!("{}/{name}", resources("certificaterequests"));
    is_done(world, Method::PATCH, &path, &body)
}

fn patch_issuer(world: &World, name: &str, body: Value) -> bool {
    is_done(world, Method::PATCH, &format!("{}/{name}", resources("issuers")), &body)
}

fn secrets(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets")
}

/// The issuer, changed, as a person would write it.
fn issuer(world: &World, kind: &str, name: &str, change: impl Fn(&mut Value)) -> Value {
    let mut issuer = world.issuer(kind);
    issuer["metadata"]["name"] = name.into();
    change(&mut issuer["spec"]);
    issuer
}

fn another_product(spec: &mut Value) {
    spec["swissSign"]["product"] = json!({"name": "Another"});
}

fn another_client(spec: &mut Value) {
    spec["swissSign"]["client"] = json!({"name": "Another Client"});
}

fn free_issuer(kind: &str, name: &str, user: &str) -> Value {
    let mut metadata = json!({"name": name});
    if kind == "Issuer" {
        metadata["namespace"] = NAMESPACE.into();
    }
    json!({
        "apiVersion": "chancery.dev/v1alpha1", "kind": kind, "metadata": metadata,
        "spec": {
            "onlineCa": {
                "certificateUrl": "https://ra.example/online-ca/free/certificate/",
                "trustRootsUrl": "https://ra.example/online-ca/free/trustroots/",
                "credentialsSecretRef": {"name": user},
                "keyAlgorithms": ["RSA", "ECDSA"],
            },
            "trust": {"bundle": {"pem": ""}},
        },
    })
}

fn credentials(namespace: &str, name: &str, user: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"chancery.dev/credentials": "true"},
            "annotations": {"chancery.dev/hosts": "ra.example,rb.example"},
        },
        "stringData": {"username": user, "password": "changeme", "apiKey": "changeme"},
    })
}

fn create_free_issuer(world: &World, kind: &str, name: &str, user: &str) -> bool {
    let mut issuer = free_issuer(kind, name, user);
    issuer["spec"]["trust"]["bundle"]["pem"] =
        world.free().issuers().expect("authorities").root_pem.into();
    let path = if kind == "Issuer" { resources("issuers") } else { CLUSTER_ISSUERS.to_owned() };
    is_done(world, Method::POST, &path, &issuer)
}

fn furnish_free(world: &World) {
    for user in ["jdoe", "ann"] {
        let secret = credentials(NAMESPACE, user, user);
        assert!(is_done(world, Method::POST, &secrets(NAMESPACE), &secret));
    }
    assert!(create_free_issuer(world, "Issuer", "free", "jdoe"));
    let request = json!({
        "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
        "metadata": {"name": "f", "namespace": NAMESPACE},
        "spec": {
            "issuerRef": {"name": "free"}, "secretName": "f-tls",
            "privateKey": {"algorithm": "ECDSA"},
        },
    });
    assert!(is_done(world, Method::POST, &resources("certificaterequests"), &request));
}

/// An object again, as another one.
fn again(object: &Value, namespace: &str) -> Value {
    let mut object = world::anew(object.clone());
    object["metadata"]["namespace"] = namespace.into();
    object
}

/// Moves the request, and with it its Secret and all it refers to, to another namespace.
fn move_to_another_namespace(world: &World) -> bool {
    const TO: &str = "moved";
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TO}});
    let get = |kind, name: &str| {
        world.lock().api.object(kind, NAMESPACE, name).cloned().expect("it is there")
    };
    let request = get(api::Kind::CertificateRequest, "a");
    let mut request = again(&request, TO);
    request.as_object_mut().expect("an object").remove("status");
    let mut issuer = again(&get(api::Kind::Issuer, "ca"), TO);
    issuer.as_object_mut().expect("an object").remove("status");
    let in_it = |plural: &str| resources(plural).replace(NAMESPACE, TO);
    is_done(world, Method::POST, "/api/v1/namespaces", &namespace)
        && ["api-key", "a-tls"].iter().all(|name| {
            let secret = again(&get(api::Kind::Secret, name), TO);
            is_done(world, Method::POST, &secrets(TO), &secret)
        })
        && is_done(
            world,
            Method::DELETE,
            &format!("{}/a", resources("certificaterequests")),
            &Value::Null,
        )
        && is_done(world, Method::POST, &in_it("issuers"), &issuer)
        && is_done(world, Method::POST, &in_it("certificaterequests"), &request)
}

/// Renames the request, and gives its Secret to the new name.
fn rename(world: &World) -> bool {
    let path = resources("certificaterequests");
    let request = world.lock().api.object(api::Kind::CertificateRequest, NAMESPACE, "a").cloned();
    let mut request = again(&request.expect("it is there"), NAMESPACE);
    request.as_object_mut().expect("an object").remove("status");
    request["metadata"]["name"] = "renamed".into();
    let offer = json!({"metadata": {"annotations": {annotation::ADOPT: "renamed"}}});
    is_done(world, Method::DELETE, &format!("{path}/a"), &Value::Null)
        && is_done(world, Method::PATCH, &format!("{}/a-tls", secrets(NAMESPACE)), &offer)
        && is_done(world, Method::POST, &path, &request)
}

fn widen(world: &World) -> bool {
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR}});
    let secret = credentials(OPERATOR, "api-key", swisssign::ACCOUNTS[1]);
    let issuer = issuer(world, "ClusterIssuer", "ca", |_| ());
    // The operator's lease has made it be there.
    is_done(world, Method::POST, "/api/v1/namespaces", &namespace);
    is_done(world, Method::POST, &secrets(OPERATOR), &secret)
        && is_done(world, Method::POST, CLUSTER_ISSUERS, &issuer)
        && patch(world, "a", json!({"spec": {"issuerRef": {"kind": "ClusterIssuer"}}}))
}

/// Points the request to another issuer, changed in this way.
fn point_to_another(world: &World, change: fn(&mut Value)) -> bool {
    let issuer = issuer(world, "Issuer", "other", change);
    is_done(world, Method::POST, &resources("issuers"), &issuer)
        && patch(world, "a", json!({"spec": {"issuerRef": {"name": "other"}}}))
}

fn recreate_issuer(world: &World, change: fn(&mut Value)) -> bool {
    let path = format!("{}/ca", resources("issuers"));
    is_done(world, Method::DELETE, &path, &Value::Null)
        && is_done(
            world,
            Method::POST,
            &resources("issuers"),
            &issuer(world, "Issuer", "ca", change),
        )
}

fn swap_block(world: &World) -> bool {
    let secret = credentials(NAMESPACE, "jdoe", "jdoe");
    let free = free_issuer("Issuer", "ca", "jdoe")["spec"]["onlineCa"].clone();
    is_done(world, Method::POST, &secrets(NAMESPACE), &secret)
        && patch_issuer(
            world,
            "ca",
            json!({"spec": {"swissSign": null, "onlineCa": free, "limits": null}}),
        )
}

fn bring_a_csr(world: &World) -> bool {
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    let names = Names { dns_names: vec!["own.example.ch".to_owned()], ..Names::default() };
    let der = csr::build(&key, &names).expect("a CSR");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": "own", "namespace": NAMESPACE, "labels": {"chancery.dev/credentials": "true"},
        },
        "stringData": {
            "tls.csr": csr::to_pem(&der), "tls.key": key.to_pkcs8_pem().expose_secret(),
        },
    });
    let spec = json!({"dnsNames": null, "privateKey": null, "csrSecretRef": {"name": "own"}});
    is_done(world, Method::POST, &secrets(NAMESPACE), &secret)
        && patch(world, "a", json!({"spec": spec}))
}

/// The issuer goes by the id, and is checked after the product has its new name.
fn rename_product(world: &World) -> bool {
    world.ca().renames_product();
    let block = json!({"product": {"name": null, "id": swisssign::PRODUCTS[0]}});
    patch_issuer(world, "ca", json!({"spec": {"swissSign": block}}))
}

// --- The table ---------------------------------------------------------------------------------

fn paid(
    fields: &'static [&'static str],
    what: &'static str,
    effect: Effect,
    edit: impl Fn(&World) -> bool + 'static,
) -> Row {
    Row { from: From::Paid, fields, what, effect, edit: Box::new(edit) }
}

fn free(
    fields: &'static [&'static str],
    what: &'static str,
    effect: Effect,
    edit: impl Fn(&World) -> bool + 'static,
) -> Row {
    Row { from: From::Free, ..paid(fields, what, effect, edit) }
}

/// An edit of the spec of the request.
fn request(
    fields: &'static [&'static str],
    what: &'static str,
    effect: Effect,
    spec: Value,
) -> Row {
    paid(fields, what, effect, move |world| patch(world, "a", json!({"spec": spec})))
}

/// An edit of the SwissSign issuer's spec.
fn of_issuer(
    fields: &'static [&'static str],
    what: &'static str,
    effect: Effect,
    spec: Value,
) -> Row {
    paid(fields, what, effect, move |world| patch_issuer(world, "ca", json!({"spec": spec})))
}

/// An edit of the Online CA issuer's block.
fn of_free(
    fields: &'static [&'static str],
    what: &'static str,
    effect: Effect,
    block: Value,
) -> Row {
    free(fields, what, effect, move |world| {
        patch_issuer(world, "free", json!({"spec": {"onlineCa": block}}))
    })
}

/// An edit of the block of the issuer of a reseller.
fn of_resold(
    fields: &'static [&'static str],
    what: &'static str,
    effect: Effect,
    block: Value,
) -> Row {
    let edit =
        move |world: &World| patch_issuer(world, "ca", json!({"spec": {"sslPurchase": block}}));
    Row { from: From::Resold, ..paid(fields, what, effect, edit) }
}

/// An edit of the block of a request for a reseller.
fn request_resold(
    fields: &'static [&'static str],
    what: &'static str,
    effect: Effect,
    block: Value,
) -> Row {
    let edit = move |world: &World| patch(world, "a", json!({"spec": {"sslPurchase": block}}));
    Row { from: From::Resold, ..paid(fields, what, effect, edit) }
}

fn rows() -> Vec<Row> {
    [
        rows_of_issuers(),
        rows_of_credentials(),
        rows_of_requests(),
        rows_of_resellers(),
        rows_of_the_free_ca(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn rows_of_issuers() -> Vec<Row> {
    let swiss = |block: Value| json!({"swissSign": block});
    vec![
        paid(
            &["CertificateRequest.issuerRef.name"],
            "issuer renamed, and issuerRef with it",
            Nothing,
            |world| point_to_another(world, |_| ()),
        ),
        paid(
            &["CertificateRequest.issuerRef.kind"],
            "issuerRef: to a ClusterIssuer of the same tenant",
            Nothing,
            widen,
        ),
        paid(&[], "issuer deleted and made again under its name", Nothing, |world| {
            recreate_issuer(world, |_| ())
        }),
        paid(&[], "issuer deleted and made again for another product", WaitsForRenewal, |world| {
            recreate_issuer(world, another_product)
        }),
        paid(&["Issuer.onlineCa"], "CA block swapped", WaitsForRenewal, swap_block),
        of_issuer(
            &["Issuer.swissSign.url"],
            "swissSign.url: the same in other words",
            Nothing,
            swiss(json!({"url": "https://RA.example:443/swisssign/ra"})),
        ),
        of_issuer(
            &["Issuer.swissSign.url"],
            "swissSign.url: another host of the same CA",
            Nothing,
            swiss(json!({"url": "https://ra2.example/swisssign/ra"})),
        ),
        of_issuer(
            &["Issuer.swissSign.client"],
            "swissSign.client: by id instead of by name",
            Nothing,
            swiss(json!({"client": {"name": null, "id": swisssign::CLIENT}})),
        ),
        of_issuer(
            &["Issuer.swissSign.client"],
            "swissSign.client: another",
            WaitsForRenewal,
            swiss(json!({"client": {"name": "Another Client"}})),
        ),
        of_issuer(
            &["Issuer.swissSign.product"],
            "swissSign.product: by id instead of by name",
            Nothing,
            swiss(json!({"product": {"name": null, "id": swisssign::PRODUCTS[0]}})),
        ),
        of_issuer(
            &["Issuer.swissSign.product"],
            "swissSign.product: another",
            WaitsForRenewal,
            swiss(json!({"product": {"name": "Another"}})),
        ),
        paid(&[], "product renamed at the CA", Nothing, rename_product),
        of_issuer(
            &["Issuer.swissSign.authentication"],
            "swissSign.authentication",
            Nothing,
            swiss(json!({"authentication": "SelfSigned"})),
        ),
        of_issuer(
            &["Issuer.swissSign.submission"],
            "swissSign.submission",
            Nothing,
            swiss(json!({"submission": "CsrOnly"})),
        ),
        of_issuer(
            &["Issuer.swissSign.preflight"],
            "swissSign.preflight",
            Nothing,
            swiss(json!({"preflight": false})),
        ),
        of_issuer(
            &["Issuer.swissSign.settleWindow"],
            "swissSign.settleWindow",
            Nothing,
            swiss(json!({"settleWindow": "20m"})),
        ),
        paid(
            &["Issuer.swissSign.credentialsSecretRef"],
            "swissSign.credentialsSecretRef: another Secret with another user",
            Nothing,
            |world| {
                let secret = credentials(NAMESPACE, "other-key", swisssign::ACCOUNTS[1]);
                let block = json!({"credentialsSecretRef": {"name": "other-key"}});
                is_done(world, Method::POST, &secrets(NAMESPACE), &secret)
                    && patch_issuer(world, "ca", json!({"spec": {"swissSign": block}}))
            },
        ),
        paid(&["Issuer.tls"], "tls.caBundle", Nothing, |world| {
            let root = world.ca().root();
            patch_issuer(world, "ca", json!({"spec": {"tls": {"caBundle": {"pem": root}}}}))
        }),
        paid(&["Issuer.proxy"], "proxy, with credentials of its own", Nothing, |world| {
            let mut secret = credentials(NAMESPACE, "proxy", "jdoe");
            secret["metadata"]["annotations"]["chancery.dev/hosts"] = json!("proxy.example:3128");
            let proxy = json!({
                "url": "http://proxy.example:3128",
                "credentialsSecretRef": {"name": "proxy"},
                "noProxy": [".example.org"],
            });
            is_done(world, Method::POST, &secrets(NAMESPACE), &secret)
                && patch_issuer(world, "ca", json!({"spec": {"proxy": proxy}}))
        }),
        paid(&["Issuer.trust.bundle"], "trust.bundle: one root more", Nothing, |world| {
            let root = world.ca().root();
            let more = world.free().issuers().expect("authorities").root_pem;
            let pem = format!("{root}{more}");
            patch_issuer(world, "ca", json!({"spec": {"trust": {"bundle": {"pem": pem}}}}))
        }),
        of_issuer(
            &["Issuer.trust.systemRoots"],
            "trust.systemRoots",
            Nothing,
            json!({"trust": {"systemRoots": true}}),
        ),
        of_issuer(
            &["Issuer.trust.preferredRoot"],
            "trust.preferredRoot",
            Nothing,
            json!({"trust": {"preferredRoot": "CN=Another Root"}}),
        ),
        of_issuer(
            &["Issuer.trust.addServedRoots"],
            "trust.addServedRoots",
            Nothing,
            json!({"trust": {"addServedRoots": true}}),
        ),
        of_issuer(
            &["Issuer.limits"],
            "limits",
            Nothing,
            json!({"limits": {"ordersPerDay": 50, "openOrders": 2, "ordersPerRequestPerDay": 5, "requestsPerSecond": 20}}),
        ),
        of_issuer(
            &["Issuer.allow"],
            "allow: what the request asks for",
            Nothing,
            json!({"allow": {"dnsNames": ["**"]}}),
        ),
        of_issuer(&[], "allow: nothing any more", Nothing, json!({"allow": {"dnsNames": []}})),
        of_issuer(&["Issuer.suspend"], "suspend", Nothing, json!({"suspend": true})),
    ]
}

fn rows_of_credentials() -> Vec<Row> {
    let edit = |what, body: Value| {
        paid(&[], what, Nothing, move |world: &World| {
            is_done(world, Method::PATCH, &format!("{}/api-key", secrets(NAMESPACE)), &body)
        })
    };
    vec![
        edit("credentials: username", json!({"stringData": {"username": swisssign::ACCOUNTS[1]}})),
        edit("credentials: apiKey, refused by the CA", json!({"stringData": {"apiKey": "wrong"}})),
        edit(
            "credentials: chancery.dev/hosts without the host",
            json!({"metadata": {"annotations": {"chancery.dev/hosts": "elsewhere.example"}}}),
        ),
        edit(
            "credentials: label taken away",
            json!({"metadata": {"labels": {"chancery.dev/credentials": null}}}),
        ),
    ]
}

fn rows_of_requests() -> Vec<Row> {
    let mut rows = vec![
        paid(&[], "issuerRef: to an issuer with another default product", Buys, |world| {
            point_to_another(world, another_product)
        }),
        paid(&[], "issuerRef: to an issuer of another client", Buys, |world| {
            point_to_another(world, another_client)
        }),
        request(
            &["CertificateRequest.swissSign"],
            "swissSign.product: the one it has, by name",
            Nothing,
            json!({"swissSign": {"product": {"name": swisssign::PRODUCT_NAME}}}),
        ),
        request(
            &[],
            "swissSign.product: the one it has, by id",
            Nothing,
            json!({"swissSign": {"product": {"id": swisssign::PRODUCTS[0]}}}),
        ),
        request(
            &[],
            "swissSign.product: another",
            Buys,
            json!({"swissSign": {"product": {"name": "Another"}}}),
        ),
        request(&[], "swissSign: an empty block", Nothing, json!({"swissSign": {}})),
        request(
            &["CertificateRequest.onlineCa"],
            "onlineCa: a block for another kind of CA",
            Nothing,
            json!({"onlineCa": {"credentialsSecretRef": {"name": "api-key"}}}),
        ),
        request(
            &["CertificateRequest.secretName"],
            "secretName",
            Refused,
            json!({"secretName": "other"}),
        ),
        request(
            &["CertificateRequest.dnsNames"],
            "dnsNames: one more",
            Buys,
            json!({"dnsNames": ["a-0.example.ch", "b-0.example.ch"]}),
        ),
        request(&[], "dnsNames: in capitals", Nothing, json!({"dnsNames": ["A-0.example.ch"]})),
        request(
            &["CertificateRequest.commonName"],
            "commonName",
            Buys,
            json!({"commonName": "a-0.example.ch"}),
        ),
        request(
            &["CertificateRequest.ipAddresses"],
            "ipAddresses",
            Buys,
            json!({"ipAddresses": ["192.0.2.1"]}),
        ),
        request(
            &["CertificateRequest.uris"],
            "uris",
            Buys,
            json!({"uris": ["urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]}),
        ),
        request(
            &["CertificateRequest.emailAddresses"],
            "emailAddresses",
            Buys,
            json!({"emailAddresses": ["a@example.ch"]}),
        ),
        request(
            &["CertificateRequest.usages"],
            "usages",
            Buys,
            json!({"usages": ["digital signature", "server auth"]}),
        ),
        request(&["CertificateRequest.duration"], "duration", Buys, json!({"duration": "720h"})),
        request(
            &["CertificateRequest.subject"],
            "subject",
            Buys,
            json!({"subject": {"organizations": ["Shop AG"]}}),
        ),
        request(
            &["CertificateRequest.privateKey.algorithm", "CertificateRequest.privateKey.size"],
            "privateKey: another kind",
            Buys,
            json!({"privateKey": {"algorithm": "ECDSA", "size": 384}}),
        ),
        request(
            &["CertificateRequest.privateKey.rotationPolicy"],
            "privateKey.rotationPolicy",
            Nothing,
            json!({"privateKey": {"algorithm": "ECDSA", "rotationPolicy": "Never"}}),
        ),
        paid(
            &["CertificateRequest.csrSecretRef"],
            "csrSecretRef in place of names",
            Buys,
            bring_a_csr,
        ),
        request(
            &["CertificateRequest.renewBefore"],
            "renewBefore",
            Nothing,
            json!({"renewBefore": "240h"}),
        ),
        request(
            &["CertificateRequest.renewBeforePercentage"],
            "renewBeforePercentage",
            Nothing,
            json!({"renewBeforePercentage": 20}),
        ),
        request(
            &["CertificateRequest.secretTemplate"],
            "secretTemplate",
            Nothing,
            json!({"secretTemplate": {"labels": {"team": "web"}, "annotations": {"note": "x"}}}),
        ),
        request(&["CertificateRequest.suspend"], "suspend", Nothing, json!({"suspend": true})),
    ];
    rows.extend([
        paid(&[], "chancery.dev/renew", Buys, |world| {
            patch(world, "a", json!({"metadata": {"annotations": {annotation::RENEW: "1"}}}))
        }),
        paid(&[], "chancery.dev/release of what is delivered", Nothing, |world| {
            patch(
                world,
                "a",
                json!({"metadata": {"annotations": {annotation::RELEASE: "chancery-x-1"}}}),
            )
        }),
        paid(&[], "request deleted and made again", Nothing, |world| {
            let request =
                world.lock().api.object(api::Kind::CertificateRequest, NAMESPACE, "a").cloned();
            let mut request = again(&request.expect("it is there"), NAMESPACE);
            request.as_object_mut().expect("an object").remove("status");
            let path = resources("certificaterequests");
            is_done(world, Method::DELETE, &format!("{path}/a"), &Value::Null)
                && is_done(world, Method::POST, &path, &request)
        }),
        paid(&[], "request renamed, and its Secret given to the new name", Nothing, rename),
        paid(
            &[],
            "request moved to another namespace with its Secret",
            Nothing,
            move_to_another_namespace,
        ),
    ]);
    rows
}

fn rows_of_resellers() -> Vec<Row> {
    let contact = json!({
        "firstName": "Ann", "lastName": "Bee", "emailAddress": "a@example.ch", "phone": "+41.1",
    });
    let company = json!({
        "name": "Bee AG", "chamberOfCommerce": "1", "department": "IT", "address": "Weg 1",
        "city": "Bern", "zipCode": "3000",
    });
    let paths = json!({
        "list": "/certificates", "plans": "/plans", "one": "/certificates/{id}",
        "renew": "/certificates/{id}/renew", "validate": "/certificates/{id}/look",
    });
    vec![
        of_resold(
            &["Issuer.sslPurchase.url"],
            "sslPurchase.url: the same in other words",
            Nothing,
            json!({"url": "https://RA.example:443/ssl-purchase/reseller/"}),
        ),
        of_resold(
            &["Issuer.sslPurchase.url"],
            "sslPurchase.url: another host of the same reseller",
            Nothing,
            json!({"url": "https://ra2.example/ssl-purchase/reseller"}),
        ),
        of_resold(
            &["Issuer.sslPurchase.reseller"],
            "sslPurchase.reseller: another",
            Nothing,
            json!({"reseller": "RS-0002"}),
        ),
        of_resold(
            &["Issuer.sslPurchase.plan"],
            "sslPurchase.plan: by name instead of by id",
            Nothing,
            json!({"plan": {"id": null, "name": "The Plan"}}),
        ),
        of_resold(
            &["Issuer.sslPurchase.plan"],
            "sslPurchase.plan: another",
            WaitsForRenewal,
            json!({"plan": {"id": null, "name": "Another"}}),
        ),
        of_resold(
            &["Issuer.sslPurchase.authentication"],
            "sslPurchase.authentication",
            Nothing,
            json!({"authentication": {"header": {"name": "X-APIKEY"}}}),
        ),
        of_resold(
            &["Issuer.sslPurchase.credentialsSecretRef"],
            "sslPurchase.credentialsSecretRef: a Secret that is not there",
            Nothing,
            json!({"credentialsSecretRef": {"name": "other-key"}}),
        ),
        of_resold(
            &["Issuer.sslPurchase.contact", "Issuer.sslPurchase.company"],
            "sslPurchase.contact and company",
            Nothing,
            json!({"contact": contact, "company": company}),
        ),
        of_resold(
            &["Issuer.sslPurchase.validationLevel", "Issuer.sslPurchase.dcvType"],
            "sslPurchase.validationLevel and dcvType",
            Nothing,
            json!({"validationLevel": "OV", "dcvType": "EMAIL"}),
        ),
        of_resold(
            &["Issuer.sslPurchase.eeReferenceOrderId"],
            "sslPurchase.eeReferenceOrderId",
            Nothing,
            json!({"eeReferenceOrderId": "1"}),
        ),
        of_resold(
            &["Issuer.sslPurchase.statusWords"],
            "sslPurchase.statusWords",
            Nothing,
            json!({"statusWords": {"issued": ["sold"], "waiting": ["active"], "failed": ["x"]}}),
        ),
        of_resold(
            &[
                "Issuer.sslPurchase.multiDomain",
                "Issuer.sslPurchase.wildcard",
                "Issuer.sslPurchase.strictNames",
                "Issuer.sslPurchase.requireCommonName",
            ],
            "sslPurchase: what names it takes",
            Nothing,
            json!({
                "multiDomain": false, "wildcard": false, "strictNames": true,
                "requireCommonName": true,
            }),
        ),
        of_resold(
            &["Issuer.sslPurchase.allowEcdsa"],
            "sslPurchase.allowEcdsa",
            Nothing,
            json!({"allowEcdsa": false}),
        ),
        of_resold(
            &["Issuer.sslPurchase.reissuePolicy", "Issuer.sslPurchase.renewalWindow"],
            "sslPurchase.reissuePolicy and renewalWindow",
            Nothing,
            json!({"reissuePolicy": "Always", "renewalWindow": 60}),
        ),
        of_resold(
            &["Issuer.sslPurchase.settleWindow"],
            "sslPurchase.settleWindow",
            Nothing,
            json!({"settleWindow": "20m"}),
        ),
        of_resold(
            &["Issuer.sslPurchase.paths"],
            "sslPurchase.paths",
            Nothing,
            json!({"paths": paths}),
        ),
        request_resold(
            &["CertificateRequest.sslPurchase.plan"],
            "sslPurchase.plan of the request: the one it has, by name",
            Nothing,
            json!({"plan": {"name": "The Plan"}}),
        ),
        request_resold(
            &[],
            "sslPurchase.plan of the request: another",
            Buys,
            json!({"plan": {"name": "Another"}}),
        ),
        request_resold(
            &["CertificateRequest.sslPurchase.contact", "CertificateRequest.sslPurchase.company"],
            "sslPurchase.contact and company of the request",
            Nothing,
            json!({"contact": contact, "company": company}),
        ),
        request_resold(
            &["CertificateRequest.sslPurchase.dcvType"],
            "sslPurchase.dcvType of the request",
            Nothing,
            json!({"dcvType": "FILE"}),
        ),
        Row {
            from: From::Resold,
            ..request(
                &[],
                "a reseller's: dnsNames, one more",
                Buys,
                json!({"dnsNames": ["a-0.example.ch", "www.a-0.example.ch"]}),
            )
        },
        Row {
            from: From::Resold,
            ..paid(&[], "a reseller's: chancery.dev/renew", Buys, |world| {
                patch(world, "a", json!({"metadata": {"annotations": {annotation::RENEW: "1"}}}))
            })
        },
    ]
}

fn rows_of_the_free_ca() -> Vec<Row> {
    vec![
        free(&[], "Online CA, credentials: another user", Reissues, |world| {
            let user = json!({"stringData": {"username": "ann"}});
            is_done(world, Method::PATCH, &format!("{}/jdoe", secrets(NAMESPACE)), &user)
        }),
        free(
            &["Issuer.onlineCa.credentialsSecretRef"],
            "onlineCa.credentialsSecretRef: another Secret, another user",
            Reissues,
            |world| {
                let block = json!({"credentialsSecretRef": {"name": "ann"}});
                patch_issuer(world, "free", json!({"spec": {"onlineCa": block}}))
            },
        ),
        of_free(
            &["Issuer.onlineCa.certificateUrl"],
            "onlineCa.certificateUrl: the same in other words",
            Nothing,
            json!({"certificateUrl": "https://RA.example:443/online-ca/free/certificate/"}),
        ),
        of_free(
            &["Issuer.onlineCa.certificateUrl"],
            "onlineCa.certificateUrl: another host",
            Nothing,
            json!({"certificateUrl": "https://rb.example/online-ca/free/certificate/"}),
        ),
        of_free(
            &["Issuer.onlineCa.trustRootsUrl"],
            "onlineCa.trustRootsUrl",
            Nothing,
            json!({"trustRootsUrl": "https://rb.example/online-ca/free/trustroots/"}),
        ),
        of_free(
            &["Issuer.onlineCa.keyAlgorithms"],
            "onlineCa.keyAlgorithms",
            Nothing,
            json!({"keyAlgorithms": ["RSA"]}),
        ),
        of_free(
            &["Issuer.onlineCa.basicSplit"],
            "onlineCa.basicSplit",
            Nothing,
            json!({"basicSplit": "FirstColon"}),
        ),
        free(&[], "Online CA, issuerRef: to an issuer of the same user", Nothing, |world| {
            create_free_issuer(world, "Issuer", "free2", "jdoe")
                && patch(world, "f", json!({"spec": {"issuerRef": {"name": "free2"}}}))
        }),
        free(&[], "Online CA, issuerRef: to an issuer of another user", Reissues, |world| {
            create_free_issuer(world, "Issuer", "free2", "ann")
                && patch(world, "f", json!({"spec": {"issuerRef": {"name": "free2"}}}))
        }),
        free(&[], "Online CA, the request's own credentials", Reissues, |world| {
            let own = json!({"credentialsSecretRef": {"name": "ann"}});
            patch(world, "f", json!({"spec": {"onlineCa": own}}))
        }),
    ]
}
