//! When two answers say the same.

use std::collections::BTreeMap;

use serde_json::Value;

/// What the real API server and the model call the same thing. Each name stands for one of the
/// other side.
#[derive(Default)]
struct Names {
    to_model: BTreeMap<String, String>,
    to_real: BTreeMap<String, String>,
}

impl Names {
    fn pair(&mut self, real: &str, model: &str) -> Result<(), String> {
        match (self.to_model.get(real), self.to_real.get(model)) {
            (None, None) => {
                self.to_model.insert(real.to_owned(), model.to_owned());
                self.to_real.insert(model.to_owned(), real.to_owned());
                Ok(())
            }
            (Some(known), _) if known == model => Ok(()),
            (known, other) => {
                Err(format!("real {real} is known as {known:?}, model {model} as {other:?}"))
            }
        }
    }
}

/// Uids and versions that were seen on both sides.
#[derive(Default)]
pub struct Agreement {
    uids: Names,
    versions: Names,
    /// Which object has a version of the model.
    owners: BTreeMap<String, String>,
    /// Real times of the objects of the model, which their writers send back.
    times: BTreeMap<(String, &'static str), String>,
}

const TIMES: [&str; 2] = ["creationTimestamp", "deletionTimestamp"];

impl Agreement {
    /// Compares what both sides say, and notes which uid and which version is which.
    pub fn hold(&mut self, real: &Value, model: &Value, with_words: bool) -> Result<(), String> {
        self.walk(real, model, &mut Vec::new(), with_words)
    }

    /// The body of a request for the model, and the same for the real API server: with its uids,
    /// versions and times. What only one side can know stays as it is: a version that nobody has, or
    /// a stranger's uid.
    pub fn bodies(&self, body: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let Ok(mut model) = serde_json::from_slice::<Value>(body) else {
            return (body.to_vec(), body.to_vec());
        };
        let mut real = model.clone();
        if let (Some(real), Some(model)) = (real.get_mut("metadata"), model.get_mut("metadata")) {
            self.replace_times(real, model);
        }
        for place in ["metadata", "preconditions"] {
            let Some(place) = real.get_mut(place) else { continue };
            replace(place, "uid", &self.uids);
            replace(place, "resourceVersion", &self.versions);
        }
        (model.to_string().into_bytes(), real.to_string().into_bytes())
    }

    /// A time of an object that is not known is left out on both sides.
    fn replace_times(&self, real: &mut Value, model: &mut Value) {
        let text = |field: &str| model[field].as_str().unwrap_or_default().to_owned();
        let owner = self.owners.get(&text("resourceVersion")).cloned();
        let owner = owner.unwrap_or_else(|| text("uid"));
        for field in TIMES {
            let Some(time) = real.get_mut(field) else { continue };
            if let Some(known) = self.times.get(&(owner.clone(), field)) {
                *time = known.as_str().into();
                continue;
            }
            for side in [&mut *real, &mut *model] {
                side.as_object_mut().map(|fields| fields.remove(field));
            }
        }
    }

    fn note_times(&mut self, real: &Value, model: &Value) {
        let Some(uid) = model["uid"].as_str() else { return };
        if let Some(version) = model["resourceVersion"].as_str() {
            self.owners.insert(version.to_owned(), uid.to_owned());
        }
        for field in TIMES {
            if let Some(time) = real[field].as_str() {
                self.times.insert((uid.to_owned(), field), time.to_owned());
            }
        }
    }

    /// The real version of a version of the model.
    pub fn real_version(&self, model: u64) -> Option<&str> {
        self.versions.to_real.get(&model.to_string()).map(String::as_str)
    }

    /// Versions mean the same order on both sides.
    pub fn assert_same_order(&self) {
        let number = |text: &String| text.parse::<u64>().expect("a version is a number");
        let mut pairs: Vec<_> = self
            .versions
            .to_model
            .iter()
            .map(|(real, model)| (number(real), number(model)))
            .collect();
        pairs.sort_unstable();
        assert!(pairs.is_sorted_by_key(|(_, model)| *model), "versions are in another order");
    }

    /// The newest real version that was seen.
    pub fn newest(&self) -> u64 {
        let number = |text: &String| text.parse().unwrap_or_default();
        self.versions.to_model.keys().map(number).max().unwrap_or_default()
    }

    /// How many versions were seen on both sides.
    pub fn versions(&self) -> usize {
        self.versions.to_model.len()
    }

    fn walk(
        &mut self,
        real: &Value,
        model: &Value,
        path: &mut Vec<String>,
        with_words: bool,
    ) -> Result<(), String> {
        match (real, model) {
            (Value::Object(reals), Value::Object(models)) => {
                let fields: std::collections::BTreeSet<_> = reals
                    .keys()
                    .chain(models.keys())
                    .filter(|field| *field != "managedFields")
                    .collect();
                for field in fields {
                    path.push(field.clone());
                    let (real, model) = (reals.get(field), models.get(field));
                    match (real, model) {
                        (Some(real), Some(model)) => self.field(real, model, path, with_words)?,
                        _ => return Err(difference(real, model, path)),
                    }
                    path.pop();
                }
                Ok(())
            }
            (Value::Array(reals), Value::Array(models)) if reals.len() == models.len() => {
                for (index, (real, model)) in reals.iter().zip(models).enumerate() {
                    path.push(index.to_string());
                    self.walk(real, model, path, with_words)?;
                    path.pop();
                }
                Ok(())
            }
            (real, model) if real == model => Ok(()),
            (real, model) => Err(difference(Some(real), Some(model), path)),
        }
    }

    fn field(
        &mut self,
        real: &Value,
        model: &Value,
        path: &mut Vec<String>,
        with_words: bool,
    ) -> Result<(), String> {
        let (last, before) = path.split_last().expect("a field is somewhere");
        let place = before.last().map_or("", String::as_str);
        let texts = real.as_str().zip(model.as_str());
        if last == "metadata" {
            self.note_times(real, model);
        }
        match (place, last.as_str(), texts) {
            ("metadata" | "details", "uid", Some((real, model))) => self.uids.pair(real, model),
            ("metadata", "resourceVersion", Some((real, model))) => self.versions.pair(real, model),
            ("metadata", "creationTimestamp" | "deletionTimestamp", Some((real, model))) => {
                let is_time = |text: &str| text.len() == 20 && text.ends_with('Z');
                if is_time(real) && is_time(model) {
                    return Ok(());
                }
                Err(format!("{path:?}: the times {real} and {model} are not written alike"))
            }
            (_, "message", Some((real, model)))
                if before.first().is_none_or(|one| one != "status") =>
            {
                if !with_words || self.in_model_words(real) == model {
                    return Ok(());
                }
                Err(difference(Some(&real.into()), Some(&model.into()), path))
            }
            _ => self.walk(real, model, path, with_words),
        }
    }

    /// A message with the uids and versions of the model in it.
    fn in_model_words(&self, message: &str) -> String {
        let tells_versions = message.contains("ResourceVersion in");
        let words = message.split_inclusive([' ', ')', '"', '}']).map(|part| {
            let is_edge = |c: char| !c.is_ascii_alphanumeric() && c != '-';
            let word = part.trim_matches(is_edge);
            let known = self
                .uids
                .to_model
                .get(word)
                .or_else(|| self.versions.to_model.get(word).filter(|_| tells_versions));
            known.map_or_else(|| part.to_owned(), |known| part.replace(word, known))
        });
        words.collect()
    }
}

fn replace(metadata: &mut Value, field: &str, names: &Names) {
    if let Some(name) = metadata.get_mut(field)
        && let Some(real) = name.as_str().and_then(|name| names.to_real.get(name))
    {
        *name = real.as_str().into();
    }
}

fn difference(real: Option<&Value>, model: Option<&Value>, path: &[String]) -> String {
    let told = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    format!(
        "{}: the real API server says {}, the model {}",
        path.join("."),
        told(real),
        told(model)
    )
}
