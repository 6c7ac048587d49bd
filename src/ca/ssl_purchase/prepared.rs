//! What an order says beside the CSR, and what is refused of it before it costs anything.

use serde::{Deserialize, Serialize};

use super::plans::ChosenBy;
use super::wire::Purchase;
use crate::api::{
    SslPurchase as Settings, SslPurchaseCompany, SslPurchaseContact, SslPurchaseDcv,
    SslPurchaseOrder, SslPurchasePlan, SslPurchaseValidation,
};
use crate::outside::{Disposition, Error};
use crate::pki::Names;
use crate::pki::names::{dns_name_to_ascii, server_name};
use crate::reason::Reason;

/// What a request says, in the words in which it is stored: what it buys, whom the reseller asks
/// about it, and how a domain is shown. The last two start no order by themselves.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Block {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) product: Option<SslPurchasePlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contact: Option<Persons>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    how: Option<How>,
}

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
struct Persons {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person: Option<SslPurchaseContact>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    company: Option<SslPurchaseCompany>,
}

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct How {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dcv_type: Option<SslPurchaseDcv>,
}

impl From<&SslPurchaseOrder> for Block {
    fn from(asked: &SslPurchaseOrder) -> Self {
        let SslPurchaseOrder { plan, contact, company, dcv_type } = asked.clone();
        let has_persons = contact.is_some() || company.is_some();
        Self {
            product: plan,
            contact: has_persons.then_some(Persons { person: contact, company }),
            how: dcv_type.map(|dcv_type| How { dcv_type: Some(dcv_type) }),
        }
    }
}

/// What is stored with an order: all that goes into its request beside the CSR and its name.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Prepared {
    pub(super) plan: String,
    pub(super) chosen_by: ChosenBy,
    dcv_type: SslPurchaseDcv,
    #[serde(default)]
    contact: SslPurchaseContact,
    #[serde(default)]
    company: SslPurchaseCompany,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ee_reference_order_id: Option<String>,
    /// The name that the order has at the reseller that is followed, where the API shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reference_at_ca: Option<String>,
}

impl Prepared {
    /// Of the request, field by field, and else of the issuer.
    pub(super) fn new(
        settings: &Settings,
        block: Block,
        (plan, chosen_by): (String, ChosenBy),
    ) -> Self {
        let own = block.contact.unwrap_or_default();
        let contact =
            (own.person.unwrap_or_default(), settings.contact.clone().unwrap_or_default());
        let company =
            (own.company.unwrap_or_default(), settings.company.clone().unwrap_or_default());
        Self {
            plan,
            chosen_by,
            dcv_type: block.how.and_then(|how| how.dcv_type).unwrap_or(settings.dcv_type),
            contact: SslPurchaseContact {
                first_name: contact.0.first_name.or(contact.1.first_name),
                last_name: contact.0.last_name.or(contact.1.last_name),
                email_address: contact.0.email_address.or(contact.1.email_address),
                phone: contact.0.phone.or(contact.1.phone),
            },
            company: SslPurchaseCompany {
                name: company.0.name.or(company.1.name),
                chamber_of_commerce: company
                    .0
                    .chamber_of_commerce
                    .or(company.1.chamber_of_commerce),
                department: company.0.department.or(company.1.department),
                address: company.0.address.or(company.1.address),
                city: company.0.city.or(company.1.city),
                zip_code: company.0.zip_code.or(company.1.zip_code),
            },
            ee_reference_order_id: settings.ee_reference_order_id.clone(),
            reference_at_ca: None,
        }
    }

    fn body<'a>(&'a self, csr: &'a str, reference: Option<&'a str>) -> Purchase<'a> {
        let (contact, company) = (&self.contact, &self.company);
        Purchase {
            csr,
            plan: Some(&self.plan),
            dcv_type: dcv_word(self.dcv_type),
            client_reference: reference,
            approver_first_name: contact.first_name.as_deref(),
            approver_last_name: contact.last_name.as_deref(),
            approver_email_address: contact.email_address.as_deref(),
            approver_phone_number: contact.phone.as_deref(),
            company_name: company.name.as_deref(),
            chamber_of_commerce: company.chamber_of_commerce.as_deref(),
            department: company.department.as_deref(),
            address: company.address.as_deref(),
            city: company.city.as_deref(),
            zip_code: company.zip_code.as_deref(),
            ee_reference_order_id: None,
        }
    }

    /// A first order, under its name.
    pub(super) fn first<'a>(&'a self, csr: &'a str, reference: &'a str) -> Purchase<'a> {
        let ee_reference_order_id = self.ee_reference_order_id.as_deref();
        Purchase { ee_reference_order_id, ..self.body(csr, Some(reference)) }
    }

    /// Another term of the order that is followed. Its name stays: what the field does there is not
    /// known.
    pub(super) fn renewal<'a>(&'a self, csr: &'a str) -> Purchase<'a> {
        self.body(csr, self.reference_at_ca.as_deref())
    }

    /// Another certificate of the term that is paid, of the plan that it was bought with.
    pub(super) fn reissue<'a>(&'a self, csr: &'a str) -> Purchase<'a> {
        Purchase { plan: None, ..self.renewal(csr) }
    }

    /// Refuses what the API asks for and nobody says.
    pub(super) fn is_complete(&self, level: SslPurchaseValidation) -> Result<(), Error> {
        let mut missing = Vec::new();
        let is_about_organization = match level {
            SslPurchaseValidation::Domain => false,
            SslPurchaseValidation::Organization | SslPurchaseValidation::Extended => true,
        };
        if is_about_organization {
            let fields = [
                ("contact.firstName", &self.contact.first_name),
                ("contact.lastName", &self.contact.last_name),
                ("company.chamberOfCommerce", &self.company.chamber_of_commerce),
                ("company.department", &self.company.department),
            ];
            missing
                .extend(fields.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name));
        }
        if self.dcv_type == SslPurchaseDcv::Email && self.contact.email_address.is_none() {
            missing.push("contact.emailAddress");
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(refused(
            Reason::ContactMissing,
            format!(
                "the API asks for {} with this dcvType and validationLevel: set {} in spec.sslPurchase of the issuer, or of the request",
                missing.join(", "),
                if missing.len() == 1 { "it" } else { "them" }
            ),
        ))
    }

    /// Refuses names that such an order cannot hold.
    pub(super) fn holds(&self, settings: &Settings, names: &Names) -> Result<(), Error> {
        let refuse = |why: String| Err(refused(Reason::NotSupportedByCa, why));
        let others = [
            ("IP addresses", names.ip_addresses.is_empty()),
            ("URIs", names.uris.is_empty()),
            ("e-mail addresses", names.email_addresses.is_empty()),
        ];
        if let Some((what, _)) = others.iter().find(|(_, is_empty)| !is_empty) {
            return refuse(format!(
                "certificates of this API are for DNS names and hold no {what}: leave them out"
            ));
        }
        if settings.require_common_name && names.common_name.is_none() {
            return Err(refused(
                Reason::NamesMissing,
                "the issuer asks for a common name (spec.sslPurchase.requireCommonName): set spec.commonName, or put one into the CSR".to_owned(),
            ));
        }
        let common_name = names.common_name.as_deref().and_then(server_name);
        let alternative = names.dns_names.iter().filter_map(|name| dns_name_to_ascii(name));
        let mut all: Vec<String> = common_name.into_iter().chain(alternative).collect();
        all.sort_unstable();
        all.dedup();
        if all.is_empty() {
            return Err(refused(
                Reason::NamesMissing,
                "certificates of this API are for DNS names: set dnsNames, or a commonName that is one".to_owned(),
            ));
        }
        let is_wildcard = all.iter().any(|name| name.starts_with("*."));
        if is_wildcard && self.dcv_type == SslPurchaseDcv::File {
            return refuse(
                "no CA takes a file for a wildcard name: set dcvType to DNS or EMAIL in spec.sslPurchase of the issuer, or of the request".to_owned(),
            );
        }
        let bases = |name: &String| -> String {
            let base = name.strip_prefix("*.").or_else(|| name.strip_prefix("www."));
            base.unwrap_or(name).to_owned()
        };
        let mut distinct: Vec<String> = all.iter().map(bases).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let kinds = [
            (is_wildcard, settings.wildcard, "wildcard names", "wildcard"),
            (distinct.len() > 1, settings.multi_domain, "several names", "multiDomain"),
        ];
        for (is_asked, held, what, field) in kinds {
            match held {
                Some(false) if is_asked => {
                    return refuse(format!(
                        "certificates of this plan do not hold {what} (spec.sslPurchase.{field} of the issuer): nothing was bought; ask for less, or take another plan and issuer"
                    ));
                }
                None if is_asked && settings.strict_names => {
                    return refuse(format!(
                        "nobody says whether certificates of this plan hold {what}, and the issuer is strict (spec.sslPurchase.strictNames): nothing was bought; set {field} in its spec.sslPurchase"
                    ));
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}

/// The API's word.
pub(super) fn dcv_word(dcv_type: SslPurchaseDcv) -> &'static str {
    match dcv_type {
        SslPurchaseDcv::Dns => "DNS",
        SslPurchaseDcv::Email => "EMAIL",
        SslPurchaseDcv::File => "FILE",
    }
}

fn refused(reason: Reason, message: String) -> Error {
    Error { disposition: Disposition::Reject, reason, message }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(more: Value) -> Settings {
        let mut all = json!({
            "url": "https://reseller.example/api/v1",
            "credentialsSecretRef": { "name": "key" },
            "reseller": "rp-1",
            "dcvType": "DNS",
            "reissuePolicy": "Never",
        });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn prepared(settings: &Settings, order: Value) -> Prepared {
        let order: SslPurchaseOrder = serde_json::from_value(order).unwrap();
        Prepared::new(settings, Block::from(&order), ("p-1".to_owned(), ChosenBy::Issuer))
    }

    fn names(common_name: Option<&str>, dns_names: &[&str]) -> Names {
        Names {
            common_name: common_name.map(str::to_owned),
            dns_names: dns_names.iter().map(|&name| name.to_owned()).collect(),
            ..Names::default()
        }
    }

    #[test]
    fn a_body_says_what_the_issuer_says_and_field_by_field_what_the_request_says() {
        let settings = settings(json!({
            "contact": { "firstName": "Ann", "lastName": "Bee", "emailAddress": "a@b.example" },
            "company": { "name": "Bee BV", "city": "Delft" },
            "eeReferenceOrderId": "ee-1",
        }));
        let order = json!({
            "contact": { "lastName": "Cee", "phone": "+31.612345678" },
            "company": { "zipCode": "2611" },
            "dcvType": "EMAIL",
        });
        let mut prepared = prepared(&settings, order);
        let body = |body: Purchase<'_>| serde_json::to_string(&body).unwrap();
        let contact = r#""approver_first_name":"Ann","approver_last_name":"Cee","approver_email_address":"a@b.example","approver_phone_number":"+31.612345678","company_name":"Bee BV","city":"Delft","zip_code":"2611""#;
        assert_eq!(
            body(prepared.first("CSR", "chancery-x-1")),
            format!(
                r#"{{"csr":"CSR","plan":"p-1","dcv_type":"EMAIL","client_reference":"chancery-x-1",{contact},"ee_reference_order_id":"ee-1"}}"#
            )
        );
        assert_eq!(
            body(prepared.renewal("CSR")),
            format!(r#"{{"csr":"CSR","plan":"p-1","dcv_type":"EMAIL",{contact}}}"#)
        );
        prepared.reference_at_ca = Some("chancery-x-0".to_owned());
        assert_eq!(
            body(prepared.reissue("CSR")),
            format!(
                r#"{{"csr":"CSR","dcv_type":"EMAIL","client_reference":"chancery-x-0",{contact}}}"#
            )
        );
        let stored = serde_json::to_value(&prepared).unwrap();
        let read: Prepared = serde_json::from_value(stored).unwrap();
        assert!(read == prepared, "it is read back as it was");
    }

    #[test]
    fn what_the_api_asks_for_is_asked_for_before_money_is_spent() {
        let all = json!({
            "contact": { "firstName": "Ann", "lastName": "Bee" },
            "company": { "chamberOfCommerce": "1", "department": "IT" },
        });
        let rows = [
            ("domains alone", json!({ "validationLevel": "DV" }), None),
            (
                "an organization",
                json!({ "validationLevel": "OV" }),
                Some(
                    "contact.firstName, contact.lastName, company.chamberOfCommerce, company.department",
                ),
            ),
            (
                "a mail",
                json!({ "dcvType": "EMAIL" }),
                Some("contact.emailAddress with this dcvType and validationLevel: set it in"),
            ),
            (
                "more of it",
                json!({ "validationLevel": "EV", "dcvType": "EMAIL" }),
                Some("company.department, contact.emailAddress"),
            ),
        ];
        for (name, more, missing) in rows {
            let settings = settings(more);
            let told =
                |order: Value| prepared(&settings, order).is_complete(settings.validation_level);
            match (told(json!({})), missing) {
                (Ok(()), None) => {}
                (Err(error), Some(says)) => {
                    assert!(error.message.contains(says), "{name}: {error}");
                    assert_eq!(error.reason, Reason::ContactMissing, "{name}");
                    assert_eq!(error.disposition, Disposition::Reject, "{name}");
                }
                (told, _) => panic!("{name}: {told:?}"),
            }
            let mut whole = all.clone();
            whole["contact"]["emailAddress"] = json!("a@b.example");
            told(whole).unwrap();
        }
    }

    #[test]
    fn names_that_a_plan_does_not_hold_are_refused_before_money_is_spent() {
        let one = names(None, &["a.example"]);
        let several = names(Some("a.example"), &["a.example", "b.example"]);
        let wild = names(None, &["*.a.example", "a.example"]);
        let with = |change: fn(&mut Names)| {
            let mut names = names(None, &["a.example"]);
            change(&mut names);
            names
        };
        let rows = [
            ("one", json!({}), one.clone(), None),
            (
                "a twin",
                json!({ "multiDomain": false, "strictNames": true }),
                names(Some("www.a.example"), &["a.example", "WWW.a.example"]),
                None,
            ),
            ("several, where nobody says", json!({}), several.clone(), None),
            (
                "several, where they are held",
                json!({ "multiDomain": true, "strictNames": true }),
                several.clone(),
                None,
            ),
            (
                "several, where they are not",
                json!({ "multiDomain": false }),
                several.clone(),
                Some("do not hold several names (spec.sslPurchase.multiDomain"),
            ),
            ("several, strictly", json!({ "strictNames": true }), several, Some("set multiDomain")),
            ("a wildcard, where nobody says", json!({}), wild.clone(), None),
            (
                "a wildcard, where it is held",
                json!({ "wildcard": true, "strictNames": true, "multiDomain": false }),
                wild.clone(),
                None,
            ),
            (
                "a wildcard, where it is not",
                json!({ "wildcard": false }),
                wild.clone(),
                Some("do not hold wildcard names (spec.sslPurchase.wildcard"),
            ),
            (
                "a wildcard, strictly",
                json!({ "strictNames": true }),
                wild.clone(),
                Some("set wildcard"),
            ),
            (
                "a wildcard with a file",
                json!({ "wildcard": true, "dcvType": "FILE" }),
                wild,
                Some("no CA takes a file"),
            ),
            (
                "no common name",
                json!({ "requireCommonName": true }),
                one,
                Some("requireCommonName"),
            ),
            (
                "a common name",
                json!({ "requireCommonName": true }),
                names(Some("a.example"), &[]),
                None,
            ),
            (
                "a common name that is no host",
                json!({}),
                names(Some("Ann Bee"), &[]),
                Some("are for DNS names: set dnsNames"),
            ),
            ("nothing", json!({}), Names::default(), Some("are for DNS names: set dnsNames")),
            (
                "an address",
                json!({}),
                with(|names| names.ip_addresses.push([192, 0, 2, 1].into())),
                Some("hold no IP addresses"),
            ),
            (
                "a URI",
                json!({}),
                with(|names| names.uris.push("urn:x:y".to_owned())),
                Some("hold no URIs"),
            ),
            (
                "a mailbox",
                json!({}),
                with(|names| names.email_addresses.push("a@b.example".to_owned())),
                Some("hold no e-mail addresses"),
            ),
        ];
        for (name, more, names, refusal) in rows {
            let settings = settings(more);
            match (prepared(&settings, json!({})).holds(&settings, &names), refusal) {
                (Ok(()), None) => {}
                (Err(error), Some(says)) => {
                    assert!(error.message.contains(says), "{name}: {error}");
                    assert_eq!(error.disposition, Disposition::Reject, "{name}");
                }
                (told, _) => panic!("{name}: {told:?}"),
            }
        }
    }
}
