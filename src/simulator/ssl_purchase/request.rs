//! Bodies of requests: which fields an operation takes, which it needs, and what they must be.
//!
//! Pure. Every wrong field is named, not the first alone. A `null` is refused, and so is a field
//! that the vendor's tables do not have: what the real server does with one is not known, and a
//! misspelled field that passes in silence helps nobody.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::names::{self, Names};
use super::refusal::{Refusal, Wrong};
use super::settings::{Plan, SiteSettings, ValidationLevel};
use crate::simulator::csr::{self, Csr, Unusable};
use crate::simulator::id;

/// How control over a domain is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DcvType {
    Email,
    File,
    Dns,
}

impl DcvType {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Email => "EMAIL",
            Self::File => "FILE",
            Self::Dns => "DNS",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Email, Self::File, Self::Dns].into_iter().find(|kind| kind.text() == text)
    }
}

/// The fields of an order that every purchase takes.
pub(super) const COMMON: [&str; 13] = [
    "csr",
    "dcv_type",
    "chamber_of_commerce",
    "department",
    "approver_first_name",
    "approver_last_name",
    "approver_email_address",
    "company_name",
    "address",
    "city",
    "zip_code",
    "approver_phone_number",
    "client_reference",
];
/// What a plan that validates the organisation needs beside.
const ORGANISATION: [&str; 4] =
    ["chamber_of_commerce", "department", "approver_first_name", "approver_last_name"];
/// The mailboxes of a domain that an authority may ask.
const APPROVERS: [&str; 5] = ["admin", "administrator", "hostmaster", "postmaster", "webmaster"];

/// What a purchase asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Every field of the body.
    pub(super) fields: BTreeMap<String, String>,
    pub(super) csr: Csr,
    pub(super) csr_der: Vec<u8>,
    pub(super) names: Names,
    pub(super) dcv_type: DcvType,
}

impl Asked {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

/// The body of `validate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Retry {
    pub(super) dcv_type: DcvType,
    pub(super) email_address: Option<String>,
    pub(super) domain: Option<String>,
}

/// The fields of a body, as texts.
fn texts(
    settings: &SiteSettings,
    body: &[u8],
    known: &[&str],
) -> Result<(BTreeMap<String, String>, Vec<Wrong>), Refusal> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|_| Refusal::new(400, "invalid_json", "The body is no JSON."))?;
    let Value::Object(body) = body else {
        return Err(Refusal::new(400, "invalid_json", "The body is no object."));
    };
    let (mut fields, mut wrong) = (BTreeMap::new(), Vec::new());
    for (name, value) in body {
        if !known.contains(&name.as_str()) {
            if !settings.ignores_unknown_fields {
                wrong.push(Wrong::new(&name, "This field is not known.", "unknown"));
            }
            continue;
        }
        match value {
            Value::String(text) if !text.is_empty() => drop(fields.insert(name, text)),
            Value::String(_) => {
                wrong.push(Wrong::new(&name, "This field may not be blank.", "blank"));
            }
            Value::Null => wrong.push(Wrong::new(&name, "This field may not be null.", "null")),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                wrong.push(Wrong::new(&name, "Not a valid string.", "invalid"));
            }
        }
    }
    Ok((fields, wrong))
}

fn required(field: &str) -> Wrong {
    Wrong::new(field, "This field is required.", "required")
}

fn dcv_type(fields: &BTreeMap<String, String>, wrong: &mut Vec<Wrong>) -> Option<DcvType> {
    let Some(text) = fields.get("dcv_type") else {
        wrong.push(required("dcv_type"));
        return None;
    };
    let kind = DcvType::parse(text);
    if kind.is_none() {
        let message = format!("{} is not a valid choice.", json!(text));
        wrong.push(Wrong::new("dcv_type", message, "invalid_choice"));
    }
    kind
}

/// Reads the body of an order or a renewal, and which of these plans it is for.
pub(super) fn for_plan(
    settings: &SiteSettings,
    offers: &[(String, Plan)],
    body: &[u8],
    is_renewal: bool,
) -> Result<(String, Plan, Asked), Refusal> {
    let mut known = COMMON.to_vec();
    known.push("plan");
    if !is_renewal {
        known.push("ee_reference_order_id");
    }
    let (fields, mut wrong) = texts(settings, body, &known)?;
    let offer = match fields.get("plan") {
        None => {
            wrong.push(required("plan"));
            None
        }
        Some(text) if !id::is("", text) => {
            wrong.push(Wrong::new("plan", "This is no UUID.", "invalid"));
            None
        }
        Some(text) => {
            let found = offers.iter().find(|(id, _)| id == text);
            if found.is_none() {
                wrong.push(Wrong::new("plan", "There is no such plan.", "invalid_choice"));
            }
            found
        }
    };
    let asked = asked(settings, offer.map(|(_, plan)| plan), fields, wrong)?;
    match offer {
        Some((id, plan)) => Ok((id.clone(), plan.clone(), asked)),
        None => Err(Refusal::uncaught()),
    }
}

/// Reads the body of a reissue, which has no plan.
pub(super) fn for_reissue(
    settings: &SiteSettings,
    plan: &Plan,
    body: &[u8],
) -> Result<Asked, Refusal> {
    let (fields, wrong) = texts(settings, body, &COMMON)?;
    asked(settings, Some(plan), fields, wrong)
}

/// What the fields ask for, if nothing is wrong with them. Without a plan something is.
fn asked(
    settings: &SiteSettings,
    plan: Option<&Plan>,
    fields: BTreeMap<String, String>,
    mut wrong: Vec<Wrong>,
) -> Result<Asked, Refusal> {
    let dcv_type = dcv_type(&fields, &mut wrong);
    let is_dv = plan.is_none_or(|plan| plan.validation_level == ValidationLevel::Dv);
    let organisation = ORGANISATION.iter().copied().filter(|_| !is_dv);
    let approver = (dcv_type == Some(DcvType::Email)).then_some("approver_email_address");
    let missing = organisation.chain(approver).filter(|name| !fields.contains_key(*name));
    wrong.extend(missing.map(required));
    let csr = request(settings, &fields).map_err(|found| wrong.push(found)).ok();
    let names = plan.zip(csr.as_ref()).and_then(|(plan, (csr, _))| {
        names::of(settings, plan, csr).map_err(|found| wrong.push(found)).ok()
    });
    if let Some(names) = &names {
        let is_wildcard = names.certified.iter().any(|name| name.starts_with("*."));
        if is_wildcard && dcv_type == Some(DcvType::File) {
            let text = "A wildcard cannot be validated with a file.";
            wrong.push(Wrong::new("dcv_type", text, "invalid_choice"));
        }
        let email = fields.get("approver_email_address").filter(|_| settings.checks_approver);
        if email.is_some_and(|email| !may_approve(email, &names.checked)) {
            let text = "This address cannot approve the domain.";
            wrong.push(Wrong::new("approver_email_address", text, "invalid_choice"));
        }
    }
    match (csr, names, dcv_type) {
        (Some((csr, csr_der)), Some(names), Some(dcv_type)) if wrong.is_empty() => {
            Ok(Asked { fields, csr, csr_der, names, dcv_type })
        }
        _ => Err(Refusal::Fields(wrong)),
    }
}

fn request(
    settings: &SiteSettings,
    fields: &BTreeMap<String, String>,
) -> Result<(Csr, Vec<u8>), Wrong> {
    let text = fields.get("csr").ok_or_else(|| required("csr"))?;
    let wrong = |text: &str| Wrong::new("csr", text, "invalid");
    let request = csr::read(text, true).map_err(|unusable| match unusable {
        Unusable::Unreadable => wrong("The CSR cannot be read."),
        Unusable::NotSigned => {
            wrong("The signature of the CSR is wrong, or its key is shorter than 2048 bits.")
        }
    })?;
    if settings.refuses_ecdsa && !request.is_rsa() {
        return Err(wrong("The key must be RSA with at least 2048 bits."));
    }
    let der = csr::decode(text, true).ok_or_else(|| wrong("The CSR cannot be read."))?;
    Ok((request, der))
}

/// Whether this is one of the five addresses of each domain or of one above it.
fn may_approve(email: &str, domains: &[String]) -> bool {
    let Some((mailbox, host)) = email.split_once('@') else {
        return false;
    };
    let is_of = |domain: &String| {
        host.contains('.') && (domain == host || domain.ends_with(&format!(".{host}")))
    };
    APPROVERS.contains(&mailbox) && domains.iter().all(is_of)
}

/// Reads the body of `validate`.
pub(super) fn retry(
    settings: &SiteSettings,
    domains: &[String],
    body: &[u8],
) -> Result<Retry, Refusal> {
    let known = ["dcv_type", "email_address", "domain"];
    let (mut fields, mut wrong) = texts(settings, body, &known)?;
    let dcv_type = dcv_type(&fields, &mut wrong);
    let has_email = fields.contains_key("email_address");
    match dcv_type {
        Some(DcvType::Email) if !has_email => wrong.push(required("email_address")),
        Some(DcvType::File | DcvType::Dns) if has_email => {
            wrong.push(Wrong::new("email_address", "This is for EMAIL only.", "invalid"));
        }
        Some(_) | None => {}
    }
    let domain = fields.remove("domain");
    if domain.as_ref().is_some_and(|domain| !domains.contains(domain)) {
        wrong.push(Wrong::new("domain", "There is no such domain to validate.", "invalid_choice"));
    }
    match dcv_type {
        Some(dcv_type) if wrong.is_empty() => {
            Ok(Retry { dcv_type, email_address: fields.remove("email_address"), domain })
        }
        Some(_) | None => Err(Refusal::Fields(wrong)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named() {
        let settings = SiteSettings::default();
        let offers = settings.offers("demo");
        let fields =
            |body: Value| match for_plan(&settings, &offers, body.to_string().as_bytes(), false) {
                Err(Refusal::Fields(wrong)) => {
                    let mut wrong: Vec<String> =
                        wrong.iter().map(|one| format!("{} {}", one.field, one.code)).collect();
                    wrong.sort();
                    wrong.join(", ")
                }
                other => format!("{other:?}"),
            };
        let ov = &offers[3].0;
        let rows = [
            (json!({}), "csr required, dcv_type required, plan required"),
            (
                json!({"plan": "x", "csr": "y", "dcv_type": "dns", "colour": "red"}),
                "colour unknown, csr invalid, dcv_type invalid_choice, plan invalid",
            ),
            (
                json!({"plan": ov, "csr": null, "dcv_type": "EMAIL", "city": 1, "address": ""}),
                "address blank, approver_email_address required, approver_first_name required, \
                 approver_last_name required, chamber_of_commerce required, city invalid, \
                 csr null, csr required, department required",
            ),
        ];
        for (body, expected) in rows {
            assert_eq!(fields(body.clone()), expected, "{body}");
        }
    }

    #[test]
    fn an_approver_is_one_of_five_addresses_of_the_domain_or_of_one_above_it() {
        let domains = ["a.example.org".to_owned(), "b.example.org".to_owned()];
        let rows = [
            ("admin@example.org", true),
            ("hostmaster@a.example.org", false),
            ("john@example.org", false),
            ("admin@org", false),
            ("admin@ample.org", false),
            ("admin", false),
        ];
        for (email, expected) in rows {
            assert_eq!(may_approve(email, &domains), expected, "{email}");
        }
    }

    #[test]
    fn a_retry_names_an_address_for_email_alone() {
        let settings = SiteSettings::default();
        let rows = [
            (json!({"dcv_type": "DNS"}), true),
            (json!({"dcv_type": "DNS", "domain": "example.org"}), true),
            (json!({"dcv_type": "DNS", "domain": "example.com"}), false),
            (json!({"dcv_type": "DNS", "email_address": "admin@example.org"}), false),
            (json!({"dcv_type": "EMAIL", "email_address": "admin@example.org"}), true),
            (json!({"dcv_type": "EMAIL"}), false),
            (json!({"dcv_type": "DNS", "email_address": null}), false),
            (json!([]), false),
        ];
        for (body, is_taken) in rows {
            let domains = ["example.org".to_owned()];
            let found = retry(&settings, &domains, body.to_string().as_bytes());
            assert_eq!(found.is_ok(), is_taken, "{body}: {found:?}");
        }
    }
}
