//! What the operator is shown, and what becomes of what it says, where one of its safeguards is taken
//! away that lies in the calls it makes: the operator is the same, the world lies to it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chancery::api::annotation;
use chancery::issuance::record;
use chancery::mutant::{Mutant, is_removed, removed};
use chancery::outside::transport::Failure;
use chancery::pki::{self, KeyKind, Names, PrivateKey, csr};
use http::{Method, Response};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::api::{Answer, Request, User};
use crate::world::everything;

type Answered = Result<Response<Bytes>, Failure>;

/// The record of an order that is made is written after the CA has answered.
pub fn is_held_back(request: &Request) -> bool {
    is_removed(Mutant::WriteAhead) && is_of_record(request) && !body(request)["data"].is_null()
}

/// What reaches the API server of a request; `stored` is the object it is for, if there is one.
pub fn sent(request: &Request, stored: Option<&Value>) -> Request {
    let mut request = request.clone();
    let (Some(mutant), Some(stored)) = (removed(), stored) else { return request };
    let is_patch = request.method == Method::PATCH;
    let claims = is_patch && claims(&body(&request), stored);
    match mutant {
        Mutant::ClaimCompareAndSwap if is_of_record(&request) && request.method == Method::POST => {
            put_over(&mut request);
        }
        Mutant::ClaimCompareAndSwap if is_of_record(&request) && is_patch && claims => {
            without_conditions(&mut request);
        }
        Mutant::MarkVersion if is_of_record(&request) && is_patch && !claims => {
            without_conditions(&mut request);
        }
        // Admission would refuse it in its place.
        Mutant::ForeignTarget if is_patch && name(&request).ends_with("-tls") => {
            request.user = User::Person;
        }
        Mutant::TargetVersion if is_patch && name(&request).ends_with("-tls") => {
            without_conditions(&mut request);
            request.user = User::Person;
        }
        Mutant::SameCsr if is_of_record(&request) && claims => {
            put_another_key(&mut request, stored);
        }
        _ => {}
    }
    request
}

/// What the operator hears of an answer.
pub fn answered(request: &Request, answer: &mut Answer) {
    let is_read = request.method == Method::GET && request.path.contains("/secrets/");
    match removed() {
        Some(Mutant::ForbiddenIsAbsent) if is_read && answer.status == 403 => {
            answer.status = 404;
            answer.body["code"] = 404.into();
            answer.body["reason"] = "NotFound".into();
        }
        Some(Mutant::RecordDigest) if is_read && is_of_record(request) => {
            let digest = digest(&answer.body["data"]);
            answer.body["metadata"]["annotations"][annotation::ORDER_DIGEST] = digest.into();
        }
        Some(Mutant::ForeignTarget) if is_read && answer.status == 200 => {
            if let Some(name) = name(request).strip_suffix("-tls") {
                answer.body["type"] = "kubernetes.io/tls".into();
                answer.body["metadata"]["annotations"][annotation::REQUEST] = name.into();
            }
        }
        Some(Mutant::DayBudget) => forget_budget(&mut answer.body),
        Some(Mutant::Permission) => match answer.body["items"].as_array_mut() {
            Some(items) => items.iter_mut().for_each(serve_everybody),
            None => serve_everybody(&mut answer.body),
        },
        _ => {}
    }
}

/// What the operator hears of a change, one line of JSON.
pub fn told(event: String) -> String {
    let change: fn(&mut Value) = match removed() {
        Some(Mutant::DayBudget) => forget_budget,
        Some(Mutant::Permission) => serve_everybody,
        _ => return event,
    };
    let mut told: Value = serde_json::from_str(&event).expect("an event is JSON");
    change(&mut told["object"]);
    told.to_string()
}

/// What an issuer says of whom it serves is not looked at.
fn serve_everybody(object: &mut Value) {
    let allow = match object["kind"].as_str() {
        Some("ClusterIssuer") => everything(),
        Some("Issuer") => Value::Null,
        _ => return,
    };
    object["spec"]["suspend"] = Value::Null;
    object["spec"]["allow"] = allow;
}

/// What the operator hears of the CA's answer to a request whose body was `asked`.
pub fn heard(what: &str, asked: &Bytes, answered: Answered) -> Answered {
    let Some(mutant) = removed() else { return answered };
    let is_search = what.contains("orders");
    match (mutant, answered) {
        (Mutant::UnknownIsRefused, Err(Failure::Unknown(why))) if what.contains("ca issue") => {
            Err(Failure::NotSent(why))
        }
        (Mutant::UnknownIsRefused, Ok(answer))
            if what.contains("ca issue") && answer.status().is_server_error() =>
        {
            Err(Failure::NotSent("the CA is in trouble".to_owned()))
        }
        (Mutant::KeyEvidence, Ok(answer)) => Ok(changed(answer, without_keys)),
        (Mutant::EveryPage, Ok(answer)) if is_search => Ok(changed(answer, |found| {
            let count = found["data"].as_array().map(Vec::len);
            found["recordsFiltered"] = count.into();
        })),
        (Mutant::UnnamedOrders, Ok(answer)) if is_search => {
            let filter: Value = serde_json::from_slice(asked).unwrap_or_default();
            let is_for_all = filter["tags"].is_null();
            Ok(changed(answer, |found| {
                if is_for_all {
                    empty(found)
                }
            }))
        }
        (_, answered) => answered,
    }
}

/// The answer of a search that says how much there is and shows none of it.
pub fn cut_short(answer: Response<Bytes>) -> Response<Bytes> {
    changed(answer, |found| {
        for list in ["data", "result"] {
            if found[list].is_array() {
                found[list] = json!([]);
            }
        }
    })
}

fn empty(found: &mut Value) {
    found["data"] = json!([]);
    found["recordsFiltered"] = 0.into();
}

fn without_keys(value: &mut Value) {
    match value {
        Value::Array(all) => {
            all.retain(|one| !one.as_str().is_some_and(|text| text.starts_with("spki-")));
            all.iter_mut().for_each(without_keys);
        }
        Value::Object(all) => all.values_mut().for_each(without_keys),
        _ => {}
    }
}

fn changed(answer: Response<Bytes>, change: impl FnOnce(&mut Value)) -> Response<Bytes> {
    let (parts, body) = answer.into_parts();
    let Ok(mut value) = serde_json::from_slice::<Value>(&body) else {
        return Response::from_parts(parts, body);
    };
    change(&mut value);
    Response::from_parts(parts, value.to_string().into())
}

/// The Secret that a request is for.
pub fn name(request: &Request) -> String {
    let is_create = request.method == Method::POST && request.path.ends_with("/secrets");
    let created = is_create.then(|| body(request)["metadata"]["name"].as_str().map(str::to_owned));
    let (_, named) = request.path.rsplit_once("/secrets/").unwrap_or_default();
    created.flatten().unwrap_or_else(|| named.to_owned())
}

fn is_of_record(request: &Request) -> bool {
    name(request).ends_with(".order")
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

/// A patch of the record that makes an order or claims it, and does not only note what became of it.
fn claims(patch: &Value, stored: &Value) -> bool {
    let attempt = |object: &Value| {
        let text = object["metadata"]["annotations"][annotation::ORDER_ATTEMPT].as_str()?;
        text.parse::<i64>().ok()
    };
    !patch["data"].is_null() || attempt(patch) > attempt(stored)
}

fn without_conditions(request: &mut Request) {
    let mut patch = body(request);
    if let Some(metadata) = patch["metadata"].as_object_mut() {
        metadata.remove("uid");
        metadata.remove("resourceVersion");
    }
    request.body = patch.to_string().into_bytes();
}

/// Makes a request that creates one that changes what is there.
fn put_over(request: &mut Request) {
    let created = body(request);
    let mut data = json!(BTreeMap::from(record::EMPTY));
    for (key, value) in created["data"].as_object().into_iter().flatten() {
        data[key] = value.clone();
    }
    let metadata = &created["metadata"];
    let patch = json!({
        "metadata": {"labels": metadata["labels"], "annotations": metadata["annotations"]},
        "data": data,
    });
    let name = metadata["name"].as_str().unwrap_or_default();
    request.path = format!("{}/{name}", request.path);
    request.method = Method::PATCH;
    request.content_type = "application/merge-patch+json".to_owned();
    request.body = patch.to_string().into_bytes();
}

/// Gives the order that is claimed once more another key.
fn put_another_key(request: &mut Request, stored: &Value) {
    let mut patch = body(request);
    if !patch["data"].is_null() {
        return;
    }
    let text = stored["data"]["next.json"].as_str().unwrap_or_default();
    let order = STANDARD.decode(text).unwrap_or_default();
    let Ok(mut order) = serde_json::from_slice::<Value>(&order) else { return };
    let names: Names = serde_json::from_value(order["names"].clone()).unwrap_or_default();
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    order["csr"] = STANDARD.encode(csr::build(&key, &names).expect("a CSR")).into();
    let mut data = stored["data"].clone();
    data["next.json"] = STANDARD.encode(order.to_string()).into();
    data["next.key"] = STANDARD.encode(key.to_pkcs8_pem().expose_secret()).into();
    patch["metadata"]["annotations"][annotation::ORDER_DIGEST] = digest(&data).into();
    patch["data"] = data;
    request.body = patch.to_string().into_bytes();
}

/// What the operator writes beside the data of a record: SHA-256 over keys and values, each with its
/// length before it.
fn digest(data: &Value) -> String {
    let mut bytes = Vec::new();
    for (key, value) in data.as_object().into_iter().flatten() {
        let value = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
        for part in [key.as_bytes(), &value] {
            bytes.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
    }
    pki::sha256_hex(&bytes)
}

/// Takes what was reserved of the day's orders out of issuers.
fn forget_budget(value: &mut Value) {
    if let Some(status) = value.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("budget");
    }
    let items = value.get_mut("items").and_then(Value::as_array_mut);
    items.into_iter().flatten().for_each(forget_budget);
}
