//! What was done so far, to be told where the two sides disagree.

use std::collections::BTreeMap;

use http::Method;
use serde_json::Value;

use super::api::Request;
use super::operations::Operation;

/// So many operations on an object are told.
const TOLD: usize = 8;

#[derive(Default)]
pub struct Trace {
    lines: Vec<Line>,
    outcomes: BTreeMap<String, usize>,
}

struct Line {
    place: String,
    namespace: String,
    text: String,
}

impl Trace {
    /// Notes an operation.
    pub fn begin(&mut self, operation: &Operation) {
        let index = self.lines.len();
        let line = match operation {
            Operation::Turn(namespace) => Line {
                place: namespace.clone(),
                namespace: namespace.clone(),
                text: format!("{index}: namespace {namespace}"),
            },
            Operation::Call(request) => Line {
                place: place(request),
                namespace: request.path.split('/').nth_back(1).unwrap_or_default().to_owned(),
                text: format!(
                    "{index}: {:?} {} {}?{} {}",
                    request.user,
                    request.method,
                    request.path,
                    request.query,
                    String::from_utf8_lossy(&request.body)
                ),
            },
        };
        self.lines.push(line);
    }

    /// Notes what came of it.
    pub fn end(&mut self, outcome: &str) {
        if let Some(line) = self.lines.last_mut() {
            line.text.push_str(&format!(" => {outcome}"));
        }
        *self.outcomes.entry(outcome.to_owned()).or_default() += 1;
    }

    /// The last operations on the object of the last one, and those that concern it.
    pub fn of_last(&self) -> String {
        let Some(last) = self.lines.last() else { return String::new() };
        let concerns = |line: &&Line| line.place == last.place || line.place == last.namespace;
        let told: Vec<_> = self.lines.iter().rev().filter(concerns).take(TOLD).collect();
        told.iter().rev().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// How often what came of them.
    pub fn summary(&self) -> String {
        let told = self.outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}"));
        told.collect::<Vec<_>>().join(", ")
    }
}

/// Path of the object that a request is about.
fn place(request: &Request) -> String {
    if request.method != Method::POST {
        return request.path.trim_end_matches("/status").to_owned();
    }
    let object: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    format!("{}/{}", request.path, object["metadata"]["name"].as_str().unwrap_or_default())
}
