//! Admission: namespaces that end take nothing new, and `deploy/admission.yaml` keeps the records of
//! paid orders.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::answer::Answer;
use super::kind::Kind;
use super::{User, metadata};

const POLICY: &str = "order-records.chancery.dev";
const OWN_POLICY: &str = "own-secrets.chancery.dev";
const LABEL: &str = "chancery.dev/order";
const RELEASE: &str = "chancery.dev/release";

/// A write as the policy sees it.
pub(super) struct Write<'a> {
    pub(super) kind: Kind,
    pub(super) user: User,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// The namespace is being deleted.
    pub(super) namespace_ends: bool,
    pub(super) old: Option<&'a Value>,
    pub(super) new: Option<&'a Value>,
}

impl Write<'_> {
    /// Lets the write pass, or refuses it as the policy does.
    pub(super) fn admit(&self) -> Result<(), Answer> {
        let is_record = |object: Option<&Value>| {
            object.is_some_and(|object| metadata::entry(object, "labels", LABEL) == Some("true"))
        };
        if self.kind != Kind::Secret {
            return Ok(());
        }
        self.admit_own()?;
        if !(is_record(self.old) || is_record(self.new)) {
            return Ok(());
        }
        let is_operator = self.user == User::Operator;
        let words = &*WORDS;
        let why = match (self.old, self.new) {
            (None, _) if is_operator => return Ok(()),
            (None, _) => words.create.clone(),
            (Some(_), Some(_)) if is_operator => return Ok(()),
            (Some(old), Some(new)) if keeps_what_counts(old, new) => return Ok(()),
            (Some(_), Some(_)) if is_record(self.old) => self.told(&words.change),
            (Some(_), Some(_)) => self.told(&words.mark),
            (Some(old), None)
                if self.namespace_ends
                    || metadata::entry(old, "annotations", RELEASE).is_some() =>
            {
                return Ok(());
            }
            (Some(_), None) => self.told(&words.delete),
        };
        Err(Answer::denied(self.kind, self.name, POLICY, &why))
    }

    /// The operator writes only Secrets that are its own.
    fn admit_own(&self) -> Result<(), Answer> {
        let (Some(judged), Some(_)) = (self.old.or(self.new), self.new) else { return Ok(()) };
        let has = |field: &str, key: &str| metadata::entry(judged, field, key).is_some();
        let is_its = metadata::entry(judged, "labels", LABEL) == Some("true")
            || has("annotations", "chancery.dev/certificate-request")
            || self.old.is_some() && has("annotations", "chancery.dev/adopt");
        if self.user != User::Operator || is_its {
            return Ok(());
        }
        Err(Answer::denied(self.kind, self.name, OWN_POLICY, &self.told(&WORDS.own)))
    }

    fn told(&self, words: &str) -> String {
        words.replace("{namespace}", self.namespace).replace("{name}", self.name)
    }
}

/// The policy's variables `keepsContents`, `keepsLabels` and `keepsAnnotations`.
fn keeps_what_counts(old: &Value, new: &Value) -> bool {
    let none = Map::new();
    let data = |object: &Value| object["data"].as_object().cloned().unwrap_or_default();
    let immutable = |object: &Value| object["immutable"] == true;
    let entries = |field: &str| {
        let old = metadata::entries(old, field).unwrap_or(&none).clone();
        (old, metadata::entries(new, field).unwrap_or(&none).clone())
    };
    let is_ours = |key: &str| key.starts_with("chancery.dev/");
    let keeps = |field: &str, may_be_added: &str| {
        let (old, new) = entries(field);
        old.iter().filter(|(key, _)| is_ours(key)).all(|(key, value)| new.get(key) == Some(value))
            && new.keys().all(|key| !is_ours(key) || key == may_be_added || old.contains_key(key))
    };
    data(old) == data(new)
        && old["type"] == new["type"]
        && immutable(old) == immutable(new)
        && keeps("labels", "")
        && keeps("annotations", RELEASE)
}

/// The messages of the policies, with `{namespace}` and `{name}` in them.
struct Words {
    create: String,
    change: String,
    mark: String,
    delete: String,
    own: String,
}

static WORDS: LazyLock<Words> = LazyLock::new(|| {
    let yaml = include_str!("../../../deploy/admission.yaml");
    let documents: Vec<&str> = yaml.split("\n---\n").collect();
    let [policy, own, _, _] = documents[..] else { panic!("two policies with their bindings") };
    let [policy, own]: [Value; 2] =
        [policy, own].map(|policy| serde_yaml::from_str(policy).expect("a policy is YAML"));
    let [create, update, delete] = [0, 1, 2].map(|index| &policy["spec"]["validations"][index]);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let update = text(&update["messageExpression"]);
    let (_, update) = update.split_once('?').expect("a choice");
    let (change, mark) = update.split_once("\n: ").expect("two texts");
    Words {
        create: text(&create["message"]),
        change: words_of(change),
        mark: words_of(mark),
        delete: words_of(&text(&delete["messageExpression"])),
        own: words_of(&text(&own["spec"]["validations"][0]["messageExpression"])),
    }
});

/// The text that a sum of texts and names in CEL makes.
fn words_of(expression: &str) -> String {
    let mut words = String::new();
    for (index, part) in expression.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push_str(part);
            continue;
        }
        for name in part.split('+').map(str::trim).filter(|name| !name.is_empty()) {
            words.push_str(match name {
                "namespaceObject.metadata.name" => "{namespace}",
                "object.metadata.name" | "oldObject.metadata.name" => "{name}",
                other => panic!("the model does not know {other} in the policy's messages"),
            });
        }
    }
    words
}
