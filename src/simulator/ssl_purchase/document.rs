//! How orders, plans and checks look on the wire.
//!
//! The vendor's page of the order was not to be had: beyond `id` and `status` its fields are
//! predicted, and so are those of `validation-details`. The plan's are documented.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::order::{Bought, Check, Order, Subject};
use super::request::{COMMON, DcvType};
use super::settings::{
    DateForm, DetailsShape, DetailsStatus, Plan, SiteSettings, StatusForm, ValidationLevel,
};
use crate::simulator::authority::sha256_hex;
use crate::simulator::id;
use crate::simulator::name::{hex, md5};

/// A plan.
pub(super) fn plan(settings: &SiteSettings, site: &str, id: &str, plan: &Plan) -> Value {
    let number = |value: u32| match settings.numbers_as_text {
        true => json!(value.to_string()),
        false => json!(value),
    };
    let part = |kind: &str| id::derived("", &format!("{site}/{kind}"));
    json!({
        "id": id,
        "name": plan.name,
        "description": plan.description,
        "brand": plan.brand,
        "renew_days_before_expiration": number(plan.renew_days_before_expiration),
        "interval": number(plan.interval),
        "actions": [
            { "id": part("action/create"), "name": "create" },
            { "id": part("action/renew"), "name": "renew" },
        ],
        "product": { "id": part("product"), "name": "SSL certificate" },
        "provisioner": { "id": part("provisioner") },
    })
}

/// An order, in a list or by itself.
pub(super) fn order(settings: &SiteSettings, order: &Order, in_list: bool) -> Value {
    let mut fields = Map::new();
    fields.insert("id".to_owned(), order_id(settings, order));
    fields.insert("status".to_owned(), status(settings, order.state()));
    fields.insert("status_message".to_owned(), json!(order.message()));
    fields.insert("created_at".to_owned(), date(settings, Some(order.created_on)));
    fields.insert("order_id".to_owned(), json!(format!("SSL-{}", order.number)));
    let certificate = order.certificates.last();
    let issued = certificate.map(|certificate| certificate.issued_on);
    let expires = certificate.map(|certificate| certificate.not_after);
    fields.insert("issued_at".to_owned(), date(settings, issued));
    fields.insert("expires".to_owned(), date(settings, expires));
    fields.insert("subscription_expires".to_owned(), date(settings, order.subscription_ends));
    if let Some(bought) = order.shown() {
        of_purchase(settings, bought, &mut fields);
    }
    fields.insert("client_reference".to_owned(), json!(order.reference));
    fields.retain(|name, _| {
        !(settings.omits.contains(name) || in_list && settings.list_omits.contains(name))
    });
    for (name, other) in &settings.renames {
        if let Some(value) = fields.remove(name) {
            fields.insert(other.clone(), value);
        }
    }
    Value::Object(fields)
}

/// What an order shows of the purchase that it is about.
fn of_purchase(settings: &SiteSettings, bought: &Bought, fields: &mut Map<String, Value>) {
    for name in COMMON.iter().chain(&["ee_reference_order_id"]) {
        fields.insert((*name).to_owned(), json!(bought.asked.field(name)));
    }
    if !settings.echoes_csr {
        fields.remove("csr");
    }
    fields.insert("common_name".to_owned(), json!(bought.asked.names.common_name));
    let plan = match settings.plan_as_text {
        true => json!(bought.plan_id),
        false => json!({ "id": bought.plan_id, "name": bought.plan.name }),
    };
    fields.insert("plan".to_owned(), plan);
}

/// The id as it is sent.
fn order_id(settings: &SiteSettings, order: &Order) -> Value {
    match settings.numeric_ids {
        true => json!(order.number),
        false => json!(order.id),
    }
}

fn status(settings: &SiteSettings, state: &str) -> Value {
    let word = settings.status_words.get(state).map_or(state, String::as_str);
    match settings.status_form {
        StatusForm::Text => json!(word),
        StatusForm::Name => json!({ "name": word }),
        StatusForm::Code => json!({ "code": word }),
    }
}

fn date(settings: &SiteSettings, moment: Option<Timestamp>) -> Value {
    let Some(moment) = moment else {
        return Value::Null;
    };
    let moment = Timestamp::from_second(moment.as_second()).unwrap_or(moment);
    let utc = moment.to_zoned(TimeZone::UTC);
    match settings.dates {
        DateForm::Rfc3339 => json!(moment),
        DateForm::Blank => json!(utc.strftime("%Y-%m-%d %H:%M:%S").to_string()),
        DateForm::Day => json!(utc.strftime("%Y-%m-%d").to_string()),
    }
}

/// How far the checks of an order have come.
pub(super) fn details(settings: &SiteSettings, order: &Order) -> Value {
    let csr = order.shown().map_or(&[][..], |bought| &bought.asked.csr_der);
    if settings.details_shape == DetailsShape::Steps {
        return steps(&order.checks, csr);
    }
    let mut details = Map::new();
    let domains: Vec<&Check> =
        order.checks.iter().filter(|check| check.subject == Subject::Domain).collect();
    let is_met = domains.iter().all(|check| check.counts_since().is_some());
    let mut dcv = state(settings, is_met);
    dcv.insert(
        "domains".to_owned(),
        domains.into_iter().map(|check| domain(settings, check, csr)).collect(),
    );
    details.insert("dcv".to_owned(), Value::Object(dcv));
    for check in &order.checks {
        let kind = match check.subject {
            Subject::Domain => continue,
            Subject::Organization => "organization",
            Subject::Phone => "phone",
            Subject::Docs => "docs",
        };
        details.insert(
            kind.to_owned(),
            Value::Object(state(settings, check.counts_since().is_some())),
        );
    }
    let needs_action = order.checks.iter().any(|check| check.counts_since().is_none());
    details.insert("brandValidation".to_owned(), json!(is_extended(order)));
    details.insert("requiresAction".to_owned(), json!(needs_action));
    match settings.details_shape {
        DetailsShape::Camel => Value::Object(details),
        DetailsShape::Snake | DetailsShape::Steps => snake(Value::Object(details)),
    }
}

fn is_extended(order: &Order) -> bool {
    order.shown().is_some_and(|bought| bought.plan.validation_level == ValidationLevel::Ev)
}

fn state(settings: &SiteSettings, is_met: bool) -> Map<String, Value> {
    let status = match settings.details_status {
        DetailsStatus::Bool => json!(is_met),
        DetailsStatus::Number => json!(u8::from(is_met)),
        DetailsStatus::Word => json!(if is_met { "validated" } else { "pending" }),
    };
    let (detail, message) = if is_met { (1, "Validated") } else { (-1, "Waiting for customer") };
    Map::from_iter([
        ("status".to_owned(), status),
        ("statusDetail".to_owned(), json!(detail)),
        ("statusMessage".to_owned(), json!(message)),
    ])
}

/// A domain with what its owner must do. The values are those that a large authority derives from
/// the request.
fn domain(settings: &SiteSettings, check: &Check, csr: &[u8]) -> Value {
    let mut fields = state(settings, check.counts_since().is_some());
    fields.insert("domain".to_owned(), json!(check.domain));
    fields.insert("dcvType".to_owned(), json!(check.dcv_type.text()));
    for (name, value) in task(check, csr) {
        fields.insert(name.to_owned(), json!(value));
    }
    Value::Object(fields)
}

fn task(check: &Check, csr: &[u8]) -> Vec<(&'static str, String)> {
    let (short, long) = (hex(&md5(csr)), sha256_hex(csr));
    match check.dcv_type {
        DcvType::Email => {
            vec![("dcvEmail", check.email.clone().unwrap_or_else(|| "Not Yet Set".to_owned()))]
        }
        DcvType::Dns => {
            let (left, right) = long.split_at(long.len() / 2);
            vec![
                ("dnsRecord", format!("_{short}.{}", check.domain)),
                ("dnsCnameValue", format!("{left}.{right}.dcv.example")),
            ]
        }
        DcvType::File => {
            let file = short.to_ascii_uppercase();
            let location = format!("{}/.well-known/pki-validation/{file}.txt", check.domain);
            vec![("fileLocation", location), ("fileContents", format!("{long}\ndcv.example"))]
        }
    }
}

/// A shape that nobody expects.
fn steps(checks: &[Check], csr: &[u8]) -> Value {
    let steps: Vec<Value> = checks
        .iter()
        .map(|check| {
            let what: Vec<String> = task(check, csr).into_iter().map(|(_, value)| value).collect();
            json!({
                "title": format!("Check {} {}", check.dcv_type.text(), check.domain),
                "progress": if check.counts_since().is_some() { 100 } else { 0 },
                "instructions": what,
            })
        })
        .collect();
    json!({ "steps": steps })
}

/// The same with snake_case names.
fn snake(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                let mut out = String::new();
                for character in name.chars() {
                    if character.is_ascii_uppercase() {
                        out.push('_');
                    }
                    out.push(character.to_ascii_lowercase());
                }
                (out, snake(value))
            });
            Value::Object(fields.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(snake).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
