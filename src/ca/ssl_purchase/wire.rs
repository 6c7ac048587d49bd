//! The bodies of the API, read leniently: its documentation leaves every answer empty.
//!
//! What is known is the envelope, from public clients of the same platform, and the object of a plan.
//! Of an order nothing is required but its id; every other field may have one of several names.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::outside::remote_text;

/// So many values a body may hold: a value of two bytes takes a hundred times as many once it is
/// read.
const MOST: usize = 200_000;
/// So many errors of one answer are told.
const ERRORS: usize = 12;
/// So many values are looked at for them.
const VISITED: usize = 1000;
/// So long a CSR, or what is said of a state, may be.
const TEXT: usize = 16 * 1024;

/// A request that buys: what is not asked for is left out.
#[derive(Debug, Serialize)]
pub(super) struct Purchase<'a> {
    pub(super) csr: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) plan: Option<&'a str>,
    pub(super) dcv_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) approver_first_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) approver_last_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) approver_email_address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) approver_phone_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) company_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) chamber_of_commerce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) department: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) city: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) zip_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ee_reference_order_id: Option<&'a str>,
}

/// A request to look at a domain again.
#[derive(Debug, Serialize)]
pub(super) struct Validate<'a> {
    pub(super) dcv_type: &'a str,
    pub(super) domain: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email_address: Option<&'a str>,
}

/// What an answer holds, without the envelope.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    pub(super) result: Value,
    /// Of a list: how many there are in all.
    pub(super) total: Option<u64>,
    /// Of a list: how many come at once.
    pub(super) limit: Option<u64>,
    /// Of a list: how many come before these.
    pub(super) offset: u64,
}

/// A failure in the API's own words.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct ApiError {
    /// In snake case.
    pub(super) code: Option<String>,
    /// For people, not yet scrubbed.
    pub(super) words: String,
}

/// A body as JSON; in words why it is none.
pub(super) fn json(body: &[u8]) -> Result<Value, &'static str> {
    let begins = |byte: &&u8| matches!(**byte, b',' | b'[' | b'{');
    if body.iter().filter(begins).count() > MOST {
        return Err("its body holds more values than are read");
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    serde_json::from_slice(body).map_err(|_| "its body is no JSON that can be understood")
}

impl ApiError {
    /// The failure that a body tells of. An error can come with any status, 200 too: what is no
    /// failure by its own word is one where `is_error` says so, and it is the API's own all the same.
    pub(super) fn read(value: &Value, is_error: bool) -> Option<Self> {
        let object = value.as_object()?;
        let error = object.get("error");
        let is_told = object.get("success").is_some_and(is_false);
        // The API's codes are words; those of gateways are numbers.
        let is_coded = error.and_then(|error| error.get("code")?.as_str()).is_some();
        // An old form says it in the status, which orders have too.
        let is_marked = || {
            let status = object.get("status").and_then(Value::as_str).unwrap_or_default();
            ["error", "fail", "failure"].contains(&status) && id(object).is_none()
        };
        // Without any envelope: codes of the API are in snake case, those of gateways hardly ever.
        let is_bare = || {
            let code = object.get("code").and_then(Value::as_str).unwrap_or_default();
            let is_snake = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            object.contains_key("message") && !code.is_empty() && code.bytes().all(is_snake)
        };
        let is_one = is_told || is_coded && (is_error || is_marked()) || is_error && is_bare();
        if !is_one {
            return None;
        }
        let (code, words) = match error {
            Some(Value::Object(error)) => (text(error, &["code"]), error.get("message")),
            Some(words @ Value::String(_)) => (text(object, &["code"]), Some(words)),
            _ => (text(object, &["code", "error_code"]), object.get("message")),
        };
        let mut told = Told::default();
        flatten("", words.unwrap_or(&Value::Null), &mut told, 0);
        Some(Self { code, words: told.words.join("; ") })
    }
}

/// Whether it says no, in whatever way.
fn is_false(value: &Value) -> bool {
    match value {
        Value::Bool(told) => !told,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.eq_ignore_ascii_case("false") || text == "0",
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// What is told of errors.
#[derive(Default)]
struct Told {
    words: Vec<String>,
    /// So many values were looked at.
    visited: usize,
}

impl Told {
    fn is_enough(&self) -> bool {
        self.words.len() >= ERRORS || self.visited >= VISITED
    }
}

/// A field within a place, cut to what somebody may read.
fn within(place: &str, field: &str) -> String {
    const FIELD: usize = 64;
    const PLACE: usize = 256;
    let dot = if place.is_empty() { "" } else { "." };
    let field = field.chars().take(FIELD);
    place.chars().chain(dot.chars()).chain(field).take(PLACE).collect()
}

/// Errors of fields, each as `field.sub: text (code)`.
fn flatten(place: &str, value: &Value, told: &mut Told, depth: usize) {
    const DEEPEST: usize = 6;
    if told.is_enough() || depth > DEEPEST {
        return;
    }
    told.visited += 1;
    let at = |words: String| if place.is_empty() { words } else { format!("{place}: {words}") };
    match value {
        Value::String(words) => told.words.push(at(words.clone())),
        Value::Number(number) => told.words.push(at(number.to_string())),
        Value::Array(all) => {
            for one in all {
                if told.is_enough() {
                    return;
                }
                flatten(place, one, told, depth + 1);
            }
        }
        Value::Object(object) => match object.get("message") {
            Some(Value::String(words)) => {
                let code =
                    text(object, &["code"]).map_or_else(String::new, |code| format!(" ({code})"));
                told.words.push(at(format!("{words}{code}")));
            }
            _ => {
                for (field, inner) in object {
                    if told.is_enough() || depth >= DEEPEST {
                        return;
                    }
                    flatten(&within(place, field), inner, told, depth + 1);
                }
            }
        },
        Value::Null | Value::Bool(_) => {}
    }
}

impl Envelope {
    /// Takes off whatever envelope there is.
    pub(super) fn open(value: Value) -> Self {
        let Value::Object(mut object) = value else {
            return Self { result: value, ..Self::default() };
        };
        let total = number(&object, &["total", "total_count"]);
        let limit = number(&object, &["limit", "per_page"]);
        let offset = number(&object, &["offset"]).unwrap_or_default();
        let is_envelope = object.contains_key("success");
        let inner = ["result", "data", "items"].into_iter().find(|key| match object.get(*key) {
            Some(Value::Array(_) | Value::Object(_)) => true,
            Some(_) => is_envelope,
            None => false,
        });
        let result = match inner {
            Some(key) => object.remove(key).unwrap_or_default(),
            None if is_envelope && object.len() == 1 => Value::Null,
            None => Value::Object(object),
        };
        Self { result, total, limit, offset }
    }

    /// The elements of a list; what is alone is a list of one.
    pub(super) fn elements(self) -> Option<Vec<Value>> {
        match self.result {
            Value::Array(all) => Some(all),
            Value::Null => Some(Vec::new()),
            Value::Object(object) if id(&object).is_some() => Some(vec![Value::Object(object)]),
            Value::Object(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }
}

/// An order, as far as the API tells of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sold {
    pub(super) id: String,
    /// In the API's own words; empty where it says nothing.
    pub(super) status: String,
    /// Our name for it, where the API shows one.
    pub(super) reference: Option<String>,
    pub(super) plan: Option<String>,
    /// In PEM, whatever it is worth.
    pub(super) csr: Option<String>,
    pub(super) created: Option<Timestamp>,
    /// Until when it is paid, as far as the API tells.
    pub(super) paid_until: Option<Timestamp>,
    /// What the API says of its state.
    pub(super) message: Option<String>,
}

impl Sold {
    /// `None` where it has no id that can be used.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        let said = |key: &str, keys: &[&str]| {
            let value = object.get(key)?;
            value.as_object().map_or_else(|| plain(value), |inner| text(inner, keys))
        };
        let is_short = |text: &String| text.len() <= TEXT;
        let plan = said("plan", &["id", "uuid"]);
        let status = ["status", "state"].into_iter().find_map(|key| said(key, &["code", "name"]));
        let times = |keys: &[&str]| keys.iter().find_map(|key| time(object.get(*key)?));
        // The end of a subscription counts for more than that of a certificate.
        let paid_until = times(&[
            "date_subscription_expired",
            "subscription_expires",
            "subscription_expires_at",
            "subscription_end_date",
        ]);
        let ends = || {
            times(&[
                "expires",
                "expiration_date",
                "expires_at",
                "valid_to",
                "end_date",
                "date_expired",
            ])
        };
        Some(Self {
            id: id(object)?,
            status: status.unwrap_or_default(),
            reference: text(object, &["client_reference"]),
            plan: plan.or_else(|| text(object, &["plan_id"])),
            csr: text(object, &["csr"]).filter(is_short),
            created: times(&[
                "created",
                "created_at",
                "date_created",
                "creation_date",
                "ordered_at",
                "date_ordered",
            ]),
            paid_until: paid_until.or_else(ends),
            message: text(object, &["status_message", "message", "error"]).filter(is_short),
        })
    }

    /// What the API says of its state, fit for a condition.
    pub(super) fn words(&self, scrub: impl Fn(&str) -> String) -> String {
        let message = self.message.as_deref().unwrap_or_default();
        remote_text::excerpt(message.as_bytes(), scrub).unwrap_or_default()
    }
}

/// A plan.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Plan {
    pub(super) id: String,
    pub(super) name: Option<String>,
    /// So many days before its end an order can be renewed.
    pub(super) renew_days: Option<u16>,
    /// So many months an order is paid at once.
    pub(super) months: Option<u8>,
}

impl Plan {
    /// `None` where it has no id that can be used.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        let days = number(object, &["renew_days_before_expiration"]);
        Some(Self {
            id: id(object)?,
            name: text(object, &["name"]),
            renew_days: days.and_then(|days| u16::try_from(days).ok()),
            months: number(object, &["interval"]).and_then(|months| u8::try_from(months).ok()),
        })
    }
}

fn id(object: &Map<String, Value>) -> Option<String> {
    text(object, &["id", "uuid"]).filter(|id| is_id(id))
}

/// Whether it can be the id of an order or a plan: what passes here leads nowhere else in a path.
pub(super) fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=128).contains(&text.len())
        && text.bytes().all(is_plain)
        && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

/// The first of these that says something.
fn text(object: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| plain(object.get(*key)?))
}

/// A text or a number; nothing where it is empty.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn number(object: &Map<String, Value>, keys: &[&str]) -> Option<u64> {
    keys.iter().find_map(|key| match object.get(*key)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    })
}

/// A time: RFC 3339, a date with or without a time (UTC), or seconds since 1970.
fn time(value: &Value) -> Option<Timestamp> {
    let text = match value {
        Value::Number(number) => return Timestamp::from_second(number.as_i64()?).ok(),
        Value::String(text) => text.trim(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let civil = || -> Option<Timestamp> {
        let date = || text.parse::<jiff::civil::Date>().ok().map(|date| date.at(0, 0, 0, 0));
        let civil = text.parse::<jiff::civil::DateTime>().ok().or_else(date)?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    text.parse().ok().or_else(civil)
}

/// A token of OpenID Connect.
#[derive(serde::Deserialize)]
pub(super) struct TokenReply {
    #[serde(deserialize_with = "secret")]
    pub(super) access_token: secrecy::SecretString,
    /// Seconds, as a number or a text.
    #[serde(default)]
    expires_in: Value,
}

fn secret<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<secrecy::SecretString, D::Error> {
    <String as serde::Deserialize>::deserialize(deserializer).map(Into::into)
}

impl TokenReply {
    /// So many seconds it lives, where that is told.
    pub(super) fn lifetime(&self) -> Option<i64> {
        match &self.expires_in {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_envelope_there_is_comes_off() {
        let one = json!({ "id": "a", "status": "pending" });
        let all = json!([one]);
        let rows = [
            ("bare", one.clone(), one.clone()),
            ("a bare list", all.clone(), all.clone()),
            ("an envelope", json!({ "success": true, "result": one }), one.clone()),
            (
                "an envelope of a list",
                json!({ "success": true, "result": all, "total": 1, "limit": 100, "offset": 0 }),
                all.clone(),
            ),
            ("without success", json!({ "result": all }), all.clone()),
            ("data", json!({ "data": one }), one.clone()),
            ("items", json!({ "items": all, "total": "1" }), all.clone()),
            ("nothing", json!({ "success": true, "result": null }), Value::Null),
            ("nothing at all", json!({ "success": true }), Value::Null),
            ("an old marker", json!({ "status": "success", "result": one }), one.clone()),
        ];
        for (name, body, expected) in rows {
            assert!(ApiError::read(&body, false).is_none(), "{name}");
            assert_eq!(Envelope::open(body).result, expected, "{name}");
        }
        let open = Envelope::open(
            json!({ "success": true, "result": [], "total": "7", "limit": 5, "offset": 5 }),
        );
        assert_eq!((open.total, open.limit, open.offset), (Some(7), Some(5), 5));
        let page = Envelope::open(json!({ "success": true, "result": [1], "count": 1 }));
        assert_eq!(page.total, None, "it may be how many are on the page");
    }

    #[test]
    fn lists_may_be_one_or_none_and_anything_else_is_no_list() {
        let count = |body: Value| Envelope::open(body).elements().map(|all| all.len());
        assert_eq!(count(json!([{ "id": 1 }, { "id": 2 }])), Some(2));
        assert_eq!(count(json!({ "id": 1 })), Some(1));
        assert_eq!(count(json!({ "success": true, "result": null })), Some(0));
        assert_eq!(count(json!({ "hello": "world" })), None);
        assert_eq!(count(json!("hello")), None);
    }

    #[test]
    fn failures_are_told_field_by_field() {
        let nested = json!({ "success": false, "error": {
            "code": "request_validation_failed",
            "message": {
                "plan": [{ "message": "Invalid choice", "code": "invalid_choice" }],
                "approver": { "email": ["Not an address", "Too short"] },
            },
        } });
        let rows = [
            (
                nested,
                Some((
                    Some("request_validation_failed"),
                    "approver.email: Not an address; approver.email: Too short; plan: Invalid choice (invalid_choice)",
                )),
            ),
            (
                json!({ "success": false, "error": { "code": "no_credit", "message": "Top up" } }),
                Some((Some("no_credit"), "Top up")),
            ),
            (json!({ "success": "false", "error": "no" }), Some((None, "no"))),
            (json!({ "success": 0, "message": "no", "code": "x" }), Some((Some("x"), "no"))),
            (json!({ "success": false }), Some((None, ""))),
            (json!({ "success": true, "error": { "code": "x" } }), None),
            (json!({ "id": "a", "error": "of its state" }), None),
            (json!({ "message": "no route" }), None),
            (json!([1]), None),
        ];
        for (body, expected) in rows {
            let told = ApiError::read(&body, false);
            let told = told.as_ref().map(|error| (error.code.as_deref(), error.words.as_str()));
            assert_eq!(told, expected, "{body}");
        }
        let marked = json!({ "status": "error", "error": { "code": "x", "message": "no" } });
        assert_eq!(ApiError::read(&marked, false).unwrap().words, "no");
        let ended = json!({ "id": 1, "status": "error", "error": { "code": "x" } });
        assert!(ApiError::read(&ended, false).is_none(), "an order that failed");
        let bare = json!({ "code": "not_found", "message": "no" });
        assert!(ApiError::read(&bare, false).is_none());
        assert_eq!(ApiError::read(&bare, true).unwrap().code.as_deref(), Some("not_found"));
        assert!(ApiError::read(&json!({ "code": "NotFound", "message": "no" }), true).is_none());
        let coded = json!({ "error": { "code": "not_found", "message": "Gone" } });
        assert!(ApiError::read(&coded, false).is_none());
        assert_eq!(ApiError::read(&coded, true).unwrap().code.as_deref(), Some("not_found"));
        let gateways = json!({ "error": { "code": 404, "message": "no such route" } });
        assert!(ApiError::read(&gateways, true).is_none());
        let endless = json!({ "success": false, "error": { "message": vec!["x"; 5000] } });
        assert!(ApiError::read(&endless, false).unwrap().words.len() < 100);
    }

    #[test]
    fn an_order_is_read_under_whatever_names_its_fields_have() {
        let rows = [
            (json!({ "id": "a-1" }), ("a-1", "", None, None)),
            (json!({ "id": 7, "status": "active" }), ("7", "active", None, None)),
            (
                json!({ "uuid": "a", "state": { "name": "pending" }, "plan": { "id": "p" } }),
                ("a", "pending", None, Some("p")),
            ),
            (
                json!({ "id": "a", "client_reference": "r", "plan": "p", "status": null }),
                ("a", "", Some("r"), Some("p")),
            ),
            (json!({ "id": "a", "client_reference": "" }), ("a", "", None, None)),
        ];
        for (body, expected) in rows {
            let sold = Sold::read(&body).unwrap();
            let told = (
                sold.id.as_str(),
                sold.status.as_str(),
                sold.reference.as_deref(),
                sold.plan.as_deref(),
            );
            assert_eq!(told, expected, "{body}");
        }
        for body in [
            json!({}),
            json!({ "id": "../x" }),
            json!({ "id": ".." }),
            json!("a"),
            json!({ "id": "a b" }),
        ] {
            assert!(Sold::read(&body).is_none(), "{body}");
        }
    }

    #[test]
    fn errors_without_end_cost_no_time_without_end() {
        let long = "k".repeat(500_000);
        let many: Map<String, Value> =
            (0..100_000).map(|at| (at.to_string(), Value::Bool(true))).collect();
        let deep = json!({ &long: { &long: many } });
        let flat = json!(vec![true; 100_000]);
        for body in [&deep, &flat] {
            let mut told = Told::default();
            flatten("", body, &mut told, 0);
            assert_eq!((told.visited, told.words.len()), (VISITED, 0));
        }
        let place = within(&within(&within(&within(&long, &long), &long), &long), "x");
        assert_eq!(place.len(), 256);
        let mut told = Told::default();
        flatten("", &json!({ &long: { &long: "no" } }), &mut told, 0);
        assert_eq!(told.words, [format!("{0}.{0}: no", "k".repeat(64))]);
    }

    #[test]
    fn what_is_too_long_for_a_csr_or_a_state_is_not_kept() {
        let sold = |length: usize| {
            let text = "x".repeat(length);
            Sold::read(&json!({ "id": "a", "csr": text, "message": text })).unwrap()
        };
        assert!(sold(TEXT).csr.is_some() && sold(TEXT).message.is_some());
        assert!(sold(TEXT + 1).csr.is_none() && sold(TEXT + 1).message.is_none());
    }

    #[test]
    fn times_are_read_in_the_forms_that_occur() {
        let expected = "2026-05-28T00:00:00Z".parse().ok();
        for value in [
            json!("2026-05-28T00:00:00Z"),
            json!("2026-05-28T02:00:00+02:00"),
            json!("2026-05-28 00:00:00"),
            json!(" 2026-05-28 "),
            json!(1_779_926_400),
        ] {
            assert_eq!(time(&value), expected, "{value}");
        }
        for value in [json!("soon"), json!(null), json!(""), json!({})] {
            assert_eq!(time(&value), None, "{value}");
        }
        let sold = Sold::read(&json!({
            "id": "a", "expires": "2026-05-28", "date_subscription_expired": "2027-05-28",
        }));
        let until = sold.unwrap().paid_until.unwrap();
        assert_eq!(until.to_string(), "2027-05-28T00:00:00Z");
    }

    #[test]
    fn plans_say_how_long_before_its_end_an_order_can_be_renewed() {
        let plan = |days: Value| {
            let body = json!({ "id": "p", "name": "DV", "renew_days_before_expiration": days });
            Plan::read(&body).unwrap().renew_days
        };
        assert_eq!(plan(json!(30)), Some(30));
        assert_eq!(plan(json!("30")), Some(30));
        assert_eq!(plan(json!(-1)), None);
        assert_eq!(plan(json!(null)), None);
    }

    #[test]
    fn what_would_take_too_much_room_is_not_read() {
        let many = format!("[{}1]", "1,".repeat(MOST + 1));
        assert!(json(many.as_bytes()).is_err());
        assert!(json(b"<html>").is_err());
        assert!(json(b"\xef\xbb\xbf{}").is_ok());
    }
}
