//! Create, PUT, merge patch and delete.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::admission::Write;
use super::answer::Answer;
use super::kind::{Kind, Target};
use super::store::{Object, key};
use super::{ApiServer, User, metadata, schema, shape, validation};

/// What an update makes of the object that is there.
pub(super) enum Proposal {
    /// This object takes its place.
    Whole(Value),
    /// This is merged into it.
    Patch(Value),
}

/// Who writes, and when.
#[derive(Clone, Copy)]
pub(super) struct Hand {
    pub(super) user: User,
    pub(super) now: Timestamp,
}

/// An object that is sent, as far as it is one.
pub(super) fn decode(kind: Kind, body: &[u8]) -> Result<Value, Answer> {
    let mut object: Value = serde_json::from_slice(body)
        .map_err(|error| Answer::bad_request(format!("the body is not JSON: {error}")))?;
    for (field, expected) in [("apiVersion", kind.api_version()), ("kind", kind.name())] {
        match object.get(field).and_then(Value::as_str).filter(|found| !found.is_empty()) {
            Some(found) if found != expected => {
                return Err(Answer::bad_request(format!(
                    "the {field} in the data ({found}) does not match the expected ({expected})"
                )));
            }
            None if kind.is_custom() => {
                return Err(Answer::bad_request(format!(
                    "the object provided is unrecognized (must be of type {})",
                    kind.name()
                )));
            }
            Some(_) => {}
            None => object[field] = expected.into(),
        }
    }
    shape::read(kind, object).map_err(|why| {
        let (name, version) = (kind.name(), kind.api_version());
        let told = format!("{name} in version {version:?} cannot be handled as a {name}: {why}");
        Answer::bad_request(told)
    })
}

impl ApiServer {
    pub(super) fn create(
        &mut self,
        at: &Target,
        object: Value,
        hand: Hand,
    ) -> Result<Answer, Answer> {
        let mut object = in_namespace(at, object)?;
        // A PUT that creates leaves it: such an object is being deleted from the beginning.
        metadata::remove_field(&mut object, "deletionTimestamp");
        self.create_object(at, object, hand)
    }

    fn create_object(
        &mut self,
        at: &Target,
        mut object: Value,
        hand: Hand,
    ) -> Result<Answer, Answer> {
        let kind = at.kind;
        let name = metadata::text(&object, "name").to_owned();
        if kind.is_namespaced() {
            self.admit_to_namespace(kind, &at.namespace, &name)?;
        }
        let is_versioned = !metadata::text(&object, "resourceVersion").is_empty();
        let mut lacks_status = false;
        if kind.is_custom() {
            object["metadata"]["generation"] = 1.into();
            lacks_status = schema::of(kind).has_default_status();
            let status = object.as_object_mut().and_then(|fields| fields.remove("status"));
            drop(status);
        }
        if kind == Kind::Namespace {
            object["spec"] = json!({"finalizers": ["kubernetes"]});
            object["status"] = json!({"phase": "Active"});
        }
        refuse(kind, &name, &validation::faults(kind, &object))?;
        self.write(at, &name, hand.user, None, Some(&object)).admit()?;
        if is_versioned {
            return Err(Answer::versioned_creation());
        }
        if let Some(found) = self.store.get(kind, &at.namespace, &name) {
            let is_being_deleted = metadata::is_being_deleted(&found.value);
            return Err(Answer::already_exists(kind, &name, is_being_deleted));
        }
        object["metadata"]["uid"] = self.store.next_uid().into();
        object["metadata"]["creationTimestamp"] = metadata::time(hand.now);
        if kind.is_custom() {
            // As it is read: with the status that the schema gives.
            schema::of(kind).complete(&mut object);
        }
        shape::settle(kind, &mut object);
        let key = key(kind, &at.namespace, &name);
        let stored = self.store.put(kind, key, object, lacks_status);
        Ok(Answer::created(stored.value.clone()))
    }

    /// A namespace that is not there, or ends, takes nothing new.
    fn admit_to_namespace(&self, kind: Kind, namespace: &str, name: &str) -> Result<(), Answer> {
        match self.store.get(Kind::Namespace, "", namespace) {
            None => Err(Answer::not_found(Kind::Namespace, namespace)),
            Some(found) if metadata::is_being_deleted(&found.value) => {
                Err(Answer::terminating(kind, name, namespace))
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn update(
        &mut self,
        at: &Target,
        name: &str,
        proposal: Proposal,
        hand: Hand,
    ) -> Result<Answer, Answer> {
        let kind = at.kind;
        let found = self.store.get(kind, &at.namespace, name).cloned();
        let object = match proposal {
            Proposal::Patch(patch) => {
                let found = found.as_ref().ok_or_else(|| Answer::not_found(kind, name))?;
                patched(at, name, &found.value, &patch)?
            }
            Proposal::Whole(object) => {
                let object = in_namespace(at, object)?;
                has_name(&object, name)?;
                if found.is_none() && (!kind.creates_on_update() || at.is_status) {
                    return Err(Answer::not_found(kind, name));
                }
                let here = found.as_ref().map_or("", |found| metadata::text(&found.value, "uid"));
                has_uid(at, name, &object, here)?;
                object
            }
        };
        let Some(found) = found else {
            let mut object = object;
            metadata::remove_field(&mut object, "resourceVersion");
            return self.create_object(at, object, hand);
        };
        has_version(kind, name, &object, &found.value)?;
        let object = prepared(kind, object, &found.value, at.is_status);
        let faults = validation::update_faults(kind, &object, &found.value, at.is_status);
        refuse(kind, name, &faults)?;
        self.write(at, name, hand.user, Some(&found.value), Some(&object)).admit()?;
        Ok(Answer::ok(self.replace(at, name, &found, object)))
    }

    /// Stores an object in place of another; the last finalizer takes it away.
    fn replace(&mut self, at: &Target, name: &str, found: &Object, mut object: Value) -> Value {
        let kind = at.kind;
        shape::settle(kind, &mut object);
        let key = key(kind, &at.namespace, name);
        if metadata::is_being_deleted(&found.value)
            && !metadata::has_finalizers(&object)
            && kind != Kind::Namespace
        {
            self.store.remove(kind, &key);
            return object;
        }
        if object == found.value && !found.lacks_status {
            return object;
        }
        self.store.put(kind, key, object, false).value.clone()
    }

    pub(super) fn delete(
        &mut self,
        at: &Target,
        name: &str,
        body: &[u8],
        hand: Hand,
    ) -> Result<Answer, Answer> {
        let kind = at.kind;
        let options = delete_options(body)?;
        let found = self.store.get(kind, &at.namespace, name).cloned();
        let found = found.ok_or_else(|| Answer::not_found(kind, name))?;
        are_met(kind, name, &options["preconditions"], &found.value)?;
        if kind == Kind::Namespace {
            return self.end(name, &found, hand.now);
        }
        self.write(at, name, hand.user, Some(&found.value), None).admit()?;
        let uid = metadata::text(&found.value, "uid");
        match self.take_away(at, name, &found, hand.now) {
            Some(kept) => Ok(Answer::ok(kept)),
            None => Ok(Answer::deleted(kind, name, uid)),
        }
    }

    /// Removes an object, or marks one that finalizers keep; returns that one.
    pub(super) fn take_away(
        &mut self,
        at: &Target,
        name: &str,
        found: &Object,
        now: Timestamp,
    ) -> Option<Value> {
        let key = key(at.kind, &at.namespace, name);
        if !metadata::has_finalizers(&found.value) {
            self.store.remove(at.kind, &key);
            return None;
        }
        let mut object = found.value.clone();
        metadata::mark_deleted(&mut object, now);
        if object != found.value || found.lacks_status {
            object = self.store.put(at.kind, key, object, false).value.clone();
        }
        Some(object)
    }

    /// The first step of a namespace's end.
    pub(super) fn end(
        &mut self,
        name: &str,
        found: &Arc<Object>,
        now: Timestamp,
    ) -> Result<Answer, Answer> {
        if ["default", "kube-public", "kube-system"].contains(&name) {
            let why = "this namespace may not be deleted";
            return Err(Answer::forbidden(Kind::Namespace, name, why));
        }
        if metadata::is_being_deleted(&found.value) {
            return Ok(Answer::ok(found.value.clone()));
        }
        let mut object = found.value.clone();
        object["metadata"]["deletionTimestamp"] = metadata::time(now);
        object["status"]["phase"] = "Terminating".into();
        let stored = self.store.put(Kind::Namespace, name.to_owned(), object, false);
        Ok(Answer::ok(stored.value.clone()))
    }

    fn write<'a>(
        &self,
        at: &'a Target,
        name: &'a str,
        user: User,
        old: Option<&'a Value>,
        new: Option<&'a Value>,
    ) -> Write<'a> {
        let namespace = self.store.get(Kind::Namespace, "", &at.namespace);
        let namespace_ends =
            namespace.is_some_and(|found| metadata::is_being_deleted(&found.value));
        let (kind, namespace) = (at.kind, at.namespace.as_str());
        Write { kind, user, namespace, name, namespace_ends, old, new }
    }
}

fn refuse(kind: Kind, name: &str, causes: &[super::answer::Cause]) -> Result<(), Answer> {
    if causes.is_empty() { Ok(()) } else { Err(Answer::invalid(kind, name, causes)) }
}

/// The object with the namespace of the path, unless it names another.
fn in_namespace(at: &Target, mut object: Value) -> Result<Value, Answer> {
    let named = metadata::text(&object, "namespace");
    if !named.is_empty() && named != at.namespace {
        let why =
            "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Answer::bad_request(why.to_owned()));
    }
    if at.kind.is_namespaced() {
        object["metadata"]["namespace"] = at.namespace.as_str().into();
    }
    Ok(object)
}

fn has_name(object: &Value, name: &str) -> Result<(), Answer> {
    let named = metadata::text(object, "name");
    if named == name {
        return Ok(());
    }
    Err(Answer::bad_request(if named.is_empty() {
        format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    } else {
        format!("the name of the object ({named}) does not match the name on the URL ({name})")
    }))
}

/// A uid that is sent must be the one of the object.
fn has_uid(at: &Target, name: &str, object: &Value, here: &str) -> Result<(), Answer> {
    let uid = metadata::text(object, "uid");
    if uid.is_empty() || uid == here {
        return Ok(());
    }
    let kind = at.kind;
    let group = if kind.is_custom() { "chancery.dev/" } else { "" };
    let place = format!("/registry/{group}{}/{}", kind.plural(), key(kind, &at.namespace, name));
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {place}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {here}"
    );
    Err(Answer::conflict(kind, name, &why))
}

/// A version that is sent must be the one of the object, and some kinds want one to be sent.
fn has_version(kind: Kind, name: &str, object: &Value, found: &Value) -> Result<(), Answer> {
    match metadata::text(object, "resourceVersion") {
        "" | "0" if kind.updates_unconditionally() => Ok(()),
        "" | "0" => Err(Answer::unversioned(kind, name)),
        version if version == metadata::text(found, "resourceVersion") => Ok(()),
        _ => {
            let why = "the object has been modified; please apply your changes to the latest version and try again";
            Err(Answer::conflict(kind, name, why))
        }
    }
}

fn patched(at: &Target, name: &str, found: &Value, patch: &Value) -> Result<Value, Answer> {
    let mut object = found.clone();
    shape::merge(&mut object, patch);
    let object =
        shape::read(at.kind, object.clone()).map_err(|why| Answer::invalid_patch(&object, &why))?;
    has_name(&object, name)?;
    in_namespace(at, object)
}

/// The object with everything in it that an update cannot change.
fn prepared(kind: Kind, mut object: Value, found: &Value, is_status: bool) -> Value {
    if is_status {
        let mut whole = found.clone();
        whole["status"] = object["status"].take();
        if whole["status"].is_null()
            && let Some(fields) = whole.as_object_mut()
        {
            fields.remove("status");
        }
        return whole;
    }
    for field in ["generation", "creationTimestamp", "resourceVersion"] {
        metadata::copy_field(found, &mut object, field);
    }
    if metadata::text(&object, "uid").is_empty() {
        metadata::copy_field(found, &mut object, "uid");
    }
    if metadata::is_being_deleted(found) {
        metadata::copy_field(found, &mut object, "deletionTimestamp");
        if object["metadata"].get("deletionGracePeriodSeconds").is_none() {
            metadata::copy_field(found, &mut object, "deletionGracePeriodSeconds");
        }
    }
    let kept: &[&str] = match kind {
        Kind::Namespace => &["spec", "status"],
        Kind::CertificateRequest | Kind::ClusterIssuer | Kind::Issuer => &["status"],
        Kind::ConfigMap | Kind::Event | Kind::Lease | Kind::Secret => &[],
    };
    for field in kept {
        match found.get(field) {
            Some(value) => object[field] = value.clone(),
            None => drop(object.as_object_mut().and_then(|fields| fields.remove(*field))),
        }
    }
    if kind.is_custom() && object["spec"] != found["spec"] {
        let generation = found["metadata"]["generation"].as_i64().unwrap_or_default();
        object["metadata"]["generation"] = (generation + 1).into();
    }
    object
}

fn delete_options(body: &[u8]) -> Result<Value, Answer> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    let options: Value = serde_json::from_slice(body)
        .map_err(|error| Answer::bad_request(format!("the body is not JSON: {error}")))?;
    let known = |(name, value): (&String, &Value)| match name.as_str() {
        "apiVersion" | "gracePeriodSeconds" | "kind" | "preconditions" => true,
        "propagationPolicy" => value == "Background",
        _ => value.is_null(),
    };
    let is_known = options.as_object().is_some_and(|options| options.iter().all(known));
    assert!(is_known, "the model does not know the options {options} of a deletion");
    Ok(options)
}

/// Whether the preconditions of a deletion are met.
fn are_met(kind: Kind, name: &str, wanted: &Value, found: &Value) -> Result<(), Answer> {
    let fields = [
        ("uid", "UID", "deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "modified"),
    ];
    for (field, called, happened) in fields {
        let Some(wanted) = wanted[field].as_str() else { continue };
        let here = metadata::text(found, field);
        if wanted == here {
            continue;
        }
        return Err(if kind == Kind::Namespace {
            let why = format!(
                "Precondition failed: {called} in precondition: {wanted}, {called} in object meta: {here}"
            );
            Answer::conflict(kind, name, &why)
        } else {
            let why = format!(
                "the {called} in the precondition ({wanted}) does not match the {called} in record ({here}). The object might have been {happened}"
            );
            Answer::delete_conflict(kind, name, &why)
        });
    }
    Ok(())
}
