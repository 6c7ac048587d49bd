//! What has to be shown for a domain, out of an answer whose form is documented nowhere.
//!
//! The reseller may pass through what the API behind it says, or spell it in another way: whatever
//! object has a key that names a record, a file or a mailbox is a step, and the nearest domain around
//! it is the one it is for. A form that is not known tells nothing and harms nothing.

use serde_json::{Map, Value};

use crate::ca::{Challenge, Proof};
use crate::terminal;

/// So many steps are read.
const MOST: usize = 100;
/// So deep an answer is looked into.
const DEEPEST: usize = 16;
/// So long a text may be.
const LONGEST: usize = 1024;

/// The steps, those that are done too.
pub(super) fn read(value: &Value) -> Vec<Challenge> {
    let mut found = Vec::new();
    walk(value, None, 0, &mut found);
    found.dedup();
    found
}

fn walk(value: &Value, domain: Option<&str>, depth: usize, found: &mut Vec<Challenge>) {
    if depth > DEEPEST || found.len() >= MOST {
        return;
    }
    match value {
        Value::Array(all) => all.iter().for_each(|one| walk(one, domain, depth + 1, found)),
        Value::Object(object) => {
            let own = field(object, &["domain", "domainname"]);
            let domain = own.as_deref().or(domain);
            if let Some(proof) = proof(object) {
                let domain = domain.unwrap_or_default().to_owned();
                found.push(Challenge { domain, proof, is_met: is_done(object) });
            }
            for inner in object.values() {
                walk(inner, domain, depth + 1, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn proof(object: &Map<String, Value>) -> Option<Proof> {
    let name = field(object, &["dnsrecord", "dnscname", "cnamerecord", "cnamename", "cname"]);
    let value = field(object, &["dnscnamevalue", "dnsvalue", "cnamevalue"]);
    if let (Some(name), Some(value)) = (name, value) {
        return Some(Proof::Dns { kind: "CNAME".to_owned(), name, value });
    }
    let location = field(object, &["filelocation"]);
    let content = field(object, &["filecontents", "filecontent"]);
    if let (Some(location), Some(content)) = (location, content) {
        let url = match location.contains("://") {
            true => location,
            false => format!("http://{location}"),
        };
        return Some(Proof::File { url, content });
    }
    // "Not Yet Set" is what stands there where nobody was mailed.
    let address = field(object, &["dcvemail"]).filter(|address| address.contains('@'));
    address.map(|address| Proof::Mailbox { address })
}

fn is_done(object: &Map<String, Value>) -> bool {
    let status = object.iter().find(|(key, _)| plain(key) == "status").map(|(_, status)| status);
    match status {
        Some(Value::Bool(done)) => *done,
        Some(Value::Number(number)) => number.as_i64() == Some(1),
        Some(Value::String(text)) => {
            let text = text.trim().to_ascii_lowercase();
            ["true", "1", "done", "ok", "valid", "validated", "complete", "completed"]
                .contains(&text.as_str())
        }
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => false,
    }
}

/// The text under the first of these keys, whatever their spelling. What holds control characters,
/// or is longer than anything of this kind, is none; a file may have lines.
fn field(object: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|wanted| {
        let (_, value) = object.iter().find(|(key, _)| plain(key) == *wanted)?;
        let is_content = wanted.starts_with("filecontent");
        let text = value.as_str()?;
        // A file is served to the byte.
        let text = if is_content { text } else { text.trim() };
        let is_fit = |c: char| !terminal::is_obeyed(c) || is_content && matches!(c, '\n' | '\r');
        let is_text = !text.is_empty() && text.len() <= LONGEST && text.chars().all(is_fit);
        is_text.then(|| text.to_owned())
    })
}

fn plain(key: &str) -> String {
    key.chars().filter(|c| *c != '_' && *c != '-').collect::<String>().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dns(domain: &str) -> Challenge {
        let proof =
            Proof::Dns { kind: "CNAME".to_owned(), name: "_x".to_owned(), value: "y".to_owned() };
        Challenge { domain: domain.to_owned(), proof, is_met: false }
    }

    #[test]
    fn steps_are_found_wherever_they_stand_and_however_they_are_spelt() {
        let file = |domain: &str, url: &str| Challenge {
            domain: domain.to_owned(),
            proof: Proof::File { url: url.to_owned(), content: "a\nb".to_owned() },
            is_met: false,
        };
        let mailbox = |domain: &str| Challenge {
            domain: domain.to_owned(),
            proof: Proof::Mailbox { address: "admin@a.example".to_owned() },
            is_met: false,
        };
        let met = |challenge: Challenge| Challenge { is_met: true, ..challenge };
        let rows = [
            (
                "as the API behind it says it",
                json!({ "organization": { "status": true }, "dcv": { "status": false, "domains": [
                    { "domain": "a.example", "status": false, "statusDetail": -1, "dcvType": "DNS",
                      "dnsRecord": "_x", "dnsCnameValue": "y" },
                    { "domain": "b.example", "status": true, "dnsRecord": "_x", "dnsCnameValue": "y" },
                    { "domain": "c.example", "status": 0, "fileLocation": "c.example/.well-known/z",
                      "fileContents": "a\nb" },
                ] } }),
                vec![
                    dns("a.example"),
                    met(dns("b.example")),
                    file("c.example", "http://c.example/.well-known/z"),
                ],
            ),
            (
                "in snake case, the domain around it",
                json!([{ "domain_name": "a.example", "steps": [{ "dns_record": "_x", "dns_cname_value": "y" }] }]),
                vec![dns("a.example")],
            ),
            (
                "without a domain",
                json!({ "dns_record": "_x", "dns_cname_value": "y", "status": "waiting" }),
                vec![dns("")],
            ),
            (
                "with a scheme",
                json!({ "domain": "a", "file_location": "http://a/z", "file_contents": "a\nb" }),
                vec![file("a", "http://a/z")],
            ),
            (
                "a mail",
                json!({ "domain": "a.example", "dcvEmail": "admin@a.example" }),
                vec![mailbox("a.example")],
            ),
            ("nobody was mailed", json!({ "domain": "a", "dcvEmail": "Not Yet Set" }), vec![]),
            (
                "done",
                json!({ "status": "Validated", "domain": "a", "dcvEmail": "admin@a.example" }),
                vec![met(mailbox("a"))],
            ),
            ("half a record", json!({ "dnsRecord": "_x" }), vec![]),
            (
                "a record that plays tricks",
                json!({ "dnsRecord": "\u{1b}[2J", "dnsCnameValue": "y" }),
                vec![],
            ),
            ("something else", json!({ "hello": ["world", 1, null] }), vec![]),
            ("no object", json!("hello"), vec![]),
        ];
        for (name, body, expected) in rows {
            assert_eq!(read(&body), expected, "{name}");
        }
    }

    #[test]
    fn nothing_without_end_is_walked_through() {
        let step = json!({ "dnsRecord": "_x", "dnsCnameValue": "y" });
        let mut deep = step.clone();
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert!(read(&deep).is_empty());
        let many: Vec<Value> = (0..5000)
            .map(|at| json!({ "dnsRecord": format!("_{at}"), "dnsCnameValue": "y" }))
            .collect();
        assert!(read(&json!(many)).len() <= MOST);
    }
}
