//! Clients and products: which ones the Issuer means, and whether Chancery can order them.

use jiff::{SignedDuration, Timestamp};

use super::wire::{self, CLIENT, Client, PRODUCT, Product, Validity};
use crate::api::{SwissSignClient, SwissSignProduct};
use crate::outside::remote_text::{self, shown};
use crate::outside::{Disposition, Error};
use crate::reason::Reason;

/// So long before a product ends a remark says so.
const NEAR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Who chose the product: whose fault it is where it will not do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub(super) enum ChosenBy {
    Issuer,
    Request,
}

impl ChosenBy {
    /// Where a person changes it.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Issuer => "spec.swissSign.product of the issuer",
            Self::Request => "spec.swissSign.product of the request",
        }
    }

    pub(super) fn disposition(self) -> Disposition {
        match self {
            Self::Issuer => Disposition::BlameIssuer,
            Self::Request => Disposition::Reject,
        }
    }
}

/// The one client of this name.
pub(super) fn client_named<'a>(clients: &'a [Client], name: &str) -> Result<&'a Client, Error> {
    let is_it = |client: &&Client| {
        client.name.as_deref() == Some(name)
            && client.uuid.as_deref().is_some_and(|id| wire::is_id(CLIENT, id))
    };
    let found: Vec<&Client> = clients.iter().filter(is_it).collect();
    let message = match found[..] {
        [client] => return Ok(client),
        [] => format!(
            "no client of SwissSign that the account sees is called {}: check spec.swissSign.client.name; it sees {}",
            shown(name),
            listed(clients.iter().map(|client| (client.name.as_deref(), client.uuid.as_deref())))
        ),
        _ => format!(
            "{} clients of SwissSign are called {}: give spec.swissSign.client.id instead, one of {}",
            found.len(),
            shown(name),
            listed(found.iter().map(|client| (None, client.uuid.as_deref())))
        ),
    };
    Err(Error { disposition: Disposition::BlameIssuer, reason: Reason::ClientNotFound, message })
}

/// What a client is called in messages.
pub(super) fn client_words(wanted: &SwissSignClient) -> String {
    match (&wanted.id, &wanted.name) {
        (Some(id), _) => id.clone(),
        (None, Some(name)) => shown(name),
        (None, None) => "none".to_owned(),
    }
}

/// The one product that is meant, among those of a client.
pub(super) fn product<'a>(
    products: &'a [Product],
    wanted: &SwissSignProduct,
    chosen_by: ChosenBy,
) -> Result<&'a Product, Error> {
    let is_it = |product: &&Product| {
        let id = product.uuid.as_deref().filter(|id| wire::is_id(PRODUCT, id));
        match (&wanted.id, &wanted.name) {
            (Some(wanted), _) => id == Some(wanted),
            (None, Some(name)) => id.is_some() && product.product_name.as_ref() == Some(name),
            (None, None) => false,
        }
    };
    let found: Vec<&Product> = products.iter().filter(is_it).collect();
    let field = chosen_by.field();
    let called = match (&wanted.id, &wanted.name) {
        (Some(id), _) => format!("has the id {id}"),
        (None, Some(name)) => format!("is called {}", shown(name)),
        (None, None) => "is named".to_owned(),
    };
    let message = match found[..] {
        [product] => return Ok(product),
        [] => format!(
            "no product of the client {called}: check {field}; it has {}",
            listed(products.iter().map(|one| (one.product_name.as_deref(), one.uuid.as_deref())))
        ),
        _ => format!(
            "{} products of the client fit, for each {called}: give the id in {field}, one of {}",
            found.len(),
            listed(found.iter().map(|one| (None, one.uuid.as_deref())))
        ),
    };
    Err(Error { disposition: chosen_by.disposition(), reason: Reason::ProductNotFound, message })
}

/// Refuses a product that no CSR of ours can be ordered with.
pub(super) fn is_orderable(
    product: &Product,
    chosen_by: ChosenBy,
    now: Timestamp,
) -> Result<(), Error> {
    let refuse = |why: String| {
        Err(Error {
            disposition: chosen_by.disposition(),
            reason: Reason::ProductUnusable,
            message: format!(
                "product {} {why}: choose another in {}",
                product_words(product),
                chosen_by.field()
            ),
        })
    };
    if let Some(kind) = &product.key_generation_type
        && !kind.to_ascii_uppercase().contains("PKCS10")
    {
        return refuse(format!("has SwissSign make the key ({}) and takes no CSR", shown(kind)));
    }
    match product.expiration_date.as_deref().and_then(wire::time) {
        Some(end) if end <= now => refuse(format!("could be ordered only until {end}")),
        Some(_) | None => Ok(()),
    }
}

/// What makes orders of a product wait for a person, and what ends soon.
pub(super) fn remarks(product: &Product, now: Timestamp) -> Vec<String> {
    let is = |flag: Option<bool>| flag == Some(true);
    let words = product_words(product);
    let mut remarks = Vec::new();
    if is(product.authorization) {
        remarks.push(format!("each order of product {words} waits until a person approves it"));
    }
    if is(product.email_link) {
        remarks.push(format!(
            "orders of product {words} wait until the owner of the domain follows a link in a mail"
        ));
    }
    if is(product.email_box) {
        remarks.push(format!(
            "orders of product {words} wait until the owner of the mailbox follows a link in a mail"
        ));
    }
    if is(product.requires_registration_documents)
        || is(product.requires_registration_documents_on_register)
    {
        remarks.push(format!(
            "product {words} asks for documents, which Chancery does not hand in: orders may wait or be refused"
        ));
    }
    if let Some(end) = product.expiration_date.as_deref().and_then(wire::time)
        && end < now + NEAR
    {
        remarks.push(format!("product {words} can be ordered only until {end}"));
    }
    remarks
}

/// What a product is called in messages.
pub(super) fn product_words(product: &Product) -> String {
    match (&product.product_name, &product.uuid) {
        (Some(name), _) => shown(name),
        (None, Some(id)) => shown(id),
        (None, None) => "without a name".to_owned(),
    }
}

/// Lengths of time in the units of products.
const UNITS: [(&str, i64); 6] = [
    ("SECONDS", 1),
    ("MINUTES", 60),
    ("HOURS", 3600),
    ("DAYS", 86_400),
    // A twelfth of the year below.
    ("MONTHS", 2_629_800),
    // 365.25 days.
    ("YEARS", 31_557_600),
];

/// So far a duration may be from a whole number of months or years: they differ in length.
const CALENDAR_TOLERANCE: i64 = 3 * 86_400;

/// `duration` in the product's own unit. `None` where it is what the product gives unasked, which
/// needs no right to ask for something else.
pub(super) fn validity(product: &Product, duration: SignedDuration) -> Result<Option<i64>, Error> {
    let none = Validity::default();
    let stated = product.product_validity.as_ref().unwrap_or(&none);
    let refuse = |why: String| {
        Err(Error {
            disposition: Disposition::Reject,
            reason: Reason::DurationRefused,
            message: format!(
                "product {} {why}: change the duration of the request, or leave it out",
                product_words(product)
            ),
        })
    };
    let unit = stated.validity_type.as_deref().unwrap_or_default().to_ascii_uppercase();
    let Some((unit, length)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
        return refuse("does not say in which unit its certificates' lifetime is given".to_owned());
    };
    let seconds = duration.as_secs();
    let tolerance = if matches!(unit, "MONTHS" | "YEARS") { CALENDAR_TOLERANCE } else { 0 };
    let number = seconds.saturating_add(length / 2) / length;
    let unit = unit.to_ascii_lowercase();
    if number < 1
        || number.saturating_mul(length).saturating_sub(seconds).saturating_abs() > tolerance
    {
        return refuse(format!("gives lifetimes in whole {unit}, and this is not one"));
    }
    match &stated.validity_options {
        Some(options) if !options.is_empty() && !options.contains(&number) => {
            let options: Vec<String> = options.iter().take(20).map(i64::to_string).collect();
            refuse(format!("gives {} {unit}, not {number}", options.join(", ")))
        }
        Some(_) | None => Ok(Some(number).filter(|number| stated.validity != Some(*number))),
    }
}

/// Candidates for a message: what came from the API is bounded and loses what no name has.
fn listed<'a>(candidates: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>) -> String {
    let all: Vec<String> = candidates
        .filter_map(|(name, id)| match (name, id) {
            (Some(name), Some(id)) => Some(format!("{} ({})", shown(name), shown(id))),
            (Some(one), None) | (None, Some(one)) => Some(shown(one)),
            (None, None) => None,
        })
        .collect();
    remote_text::listed(all, "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(prefix: &str, number: u8) -> String {
        format!("{prefix}00000000-0000-4000-8000-0000000000{number:02}")
    }

    fn client(number: u8, name: &str) -> Client {
        Client { uuid: Some(id("cli-", number)), name: Some(name.to_owned()), products: None }
    }

    fn made(number: u8, name: &str) -> Product {
        Product {
            uuid: Some(id("pma-", number)),
            product_name: Some(name.to_owned()),
            key_generation_type: Some("PKCS10or12withPIN".to_owned()),
            ..Product::default()
        }
    }

    #[test]
    fn a_client_is_the_only_one_of_its_name() {
        let mut odd = client(9, "Odd");
        odd.uuid = Some("cli-../..".to_owned());
        let clients = [client(1, "A"), client(2, "B"), client(3, "B"), client(4, "A "), odd];
        let cases = [
            ("one fits", "A", Ok(id("cli-", 1))),
            (
                "two fit",
                "B",
                Err(
                    "2 clients of SwissSign are called B: give spec.swissSign.client.id instead, one of cli-00000000-0000-4000-8000-000000000002, cli-00000000-0000-4000-8000-000000000003",
                ),
            ),
            (
                "none fits",
                "a",
                Err(
                    "no client of SwissSign that the account sees is called a: check spec.swissSign.client.name; it sees A  (cli-",
                ),
            ),
            ("one whose id would lead elsewhere", "Odd", Err("no client")),
        ];
        for (name, wanted, expected) in cases {
            match (client_named(&clients, wanted), expected) {
                (Ok(found), Ok(id)) => assert_eq!(found.uuid.as_ref(), Some(&id), "{name}"),
                (Err(error), Err(says)) => {
                    assert!(error.message.starts_with(says), "{name}: {error}");
                    assert_eq!(error.disposition, Disposition::BlameIssuer, "{name}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn candidates_are_few_and_plain() {
        let clients: Vec<Client> = (0..30).map(|n| client(n, &format!("C\n{n:02}"))).collect();
        let error = client_named(&clients, &"x".repeat(500)).unwrap_err();
        assert!(error.message.ends_with(", 22 more"), "{error}");
        assert!(error.message.len() < 800 && !error.message.contains('\n'), "{error}");
    }

    #[test]
    fn a_product_is_meant_by_id_or_by_a_name_of_its_own() {
        let products = [made(1, "DV"), made(2, "OV"), made(3, "OV")];
        let by_id = |number| SwissSignProduct { id: Some(id("pma-", number)), name: None };
        let named = |name: &str| SwissSignProduct { id: None, name: Some(name.to_owned()) };
        let cases = [
            ("by id", by_id(2), Ok(2)),
            ("by name", named("DV"), Ok(1)),
            (
                "two of the name",
                named("OV"),
                Err(
                    "2 products of the client fit, for each is called OV: give the id in spec.swissSign.product of the request",
                ),
            ),
            (
                "no such name",
                named("EV"),
                Err(
                    "no product of the client is called EV: check spec.swissSign.product of the request; it has DV (pma-",
                ),
            ),
            ("no such id", by_id(7), Err("no product of the client has the id pma-")),
        ];
        for (name, wanted, expected) in cases {
            match (product(&products, &wanted, ChosenBy::Request), expected) {
                (Ok(found), Ok(number)) => {
                    assert_eq!(found.uuid, Some(id("pma-", number)), "{name}")
                }
                (Err(error), Err(says)) => {
                    assert!(error.message.starts_with(says), "{name}: {error}");
                    assert_eq!(error.disposition, Disposition::Reject, "{name}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
        let error = product(&products, &named("EV"), ChosenBy::Issuer).unwrap_err();
        assert_eq!(error.disposition, Disposition::BlameIssuer);
    }

    #[test]
    fn what_cannot_be_ordered_is_refused_and_what_waits_for_people_is_remarked() {
        let now: Timestamp = "2026-05-28T00:00:00Z".parse().unwrap();
        type Change = fn(&mut Product);
        let cases: [(&str, Change, Result<&str, &str>); 11] = [
            ("a plain one passes", |_| {}, Ok("")),
            ("approval", |p| p.authorization = Some(true), Ok("waits until a person approves it")),
            ("link", |p| p.email_link = Some(true), Ok("the owner of the domain follows a link")),
            ("mailbox", |p| p.email_box = Some(true), Ok("the owner of the mailbox follows")),
            (
                "documents",
                |p| p.requires_registration_documents = Some(true),
                Ok("asks for documents"),
            ),
            (
                "documents first",
                |p| p.requires_registration_documents_on_register = Some(true),
                Ok("asks for documents"),
            ),
            (
                "ends soon",
                |p| p.expiration_date = Some("2026-06-10T00:00:00Z".to_owned()),
                Ok("can be ordered only until 2026-06-10T00:00:00Z"),
            ),
            ("ends later", |p| p.expiration_date = Some("2026-09-10T00:00:00Z".to_owned()), Ok("")),
            (
                "is over",
                |p| p.expiration_date = Some("2026-05-10T00:00:00Z".to_owned()),
                Err("could be ordered only until 2026-05-10T00:00:00Z"),
            ),
            (
                "the CA makes the key",
                |p| p.key_generation_type = Some("PKCS12withPIN".to_owned()),
                Err("takes no CSR"),
            ),
            ("nothing is said of the key", |p| p.key_generation_type = None, Ok("")),
        ];
        for (name, change, expected) in cases {
            let mut product = made(1, "DV");
            change(&mut product);
            let told = is_orderable(&product, ChosenBy::Issuer, now).map_err(|error| error.message);
            match expected {
                Err(says) => assert!(told.unwrap_err().contains(says), "{name}"),
                Ok(says) => {
                    told.unwrap();
                    let remarks = remarks(&product, now).join("; ");
                    assert!(
                        remarks.contains(says) && remarks.is_empty() == says.is_empty(),
                        "{name}: {remarks}"
                    );
                }
            }
        }
    }

    #[test]
    fn durations_are_told_in_the_unit_of_the_product() {
        let hours = SignedDuration::from_hours;
        let in_unit =
            |unit: &str| Validity { validity_type: Some(unit.to_owned()), ..Validity::default() };
        let of = |options: &[i64]| Validity {
            validity: Some(90),
            validity_options: Some(options.to_vec().into()),
            ..in_unit("DAYS")
        };
        let cases = [
            ("days", in_unit("DAYS"), hours(90 * 24), Ok(Some(90))),
            (
                "no whole days",
                in_unit("DAYS"),
                hours(90 * 24 + 1),
                Err("in whole days, and this is not one"),
            ),
            ("hours", in_unit("HOURS"), hours(36), Ok(Some(36))),
            ("minutes, in lower case", in_unit("minutes"), hours(1), Ok(Some(60))),
            ("seconds", in_unit("SECONDS"), hours(1), Ok(Some(3600))),
            ("a month of 30 days", in_unit("MONTHS"), hours(30 * 24), Ok(Some(1))),
            ("a month of 28 days", in_unit("MONTHS"), hours(28 * 24), Ok(Some(1))),
            ("six months", in_unit("MONTHS"), hours(183 * 24), Ok(Some(6))),
            ("a month and a half", in_unit("MONTHS"), hours(45 * 24), Err("whole months")),
            ("a year of 365 days", in_unit("YEARS"), hours(365 * 24), Ok(Some(1))),
            ("two years of 365 days", in_unit("YEARS"), hours(730 * 24), Ok(Some(2))),
            ("90 days as years", in_unit("YEARS"), hours(90 * 24), Err("whole years")),
            ("nothing", in_unit("DAYS"), hours(0), Err("whole days")),
            ("one of the options", of(&[30, 90, 198]), hours(198 * 24), Ok(Some(198))),
            ("what comes unasked", of(&[30, 90, 198]), hours(90 * 24), Ok(None)),
            (
                "none of the options",
                of(&[30, 90, 198]),
                hours(91 * 24),
                Err("gives 30, 90, 198 days, not 91"),
            ),
            ("no unit", Validity::default(), hours(24), Err("does not say in which unit")),
            ("an unknown unit", in_unit("MOONS"), hours(24), Err("does not say in which unit")),
        ];
        for (name, stated, duration, expected) in cases {
            let product = Product { product_validity: Some(stated), ..made(1, "DV") };
            match (validity(&product, duration), expected) {
                (Ok(number), Ok(expected)) => assert_eq!(number, expected, "{name}"),
                (Err(error), Err(says)) => {
                    assert!(error.message.contains(says), "{name}: {error}");
                    assert_eq!(error.disposition, Disposition::Reject, "{name}");
                }
                (told, _) => panic!("{name}: {told:?}"),
            }
        }
    }
}
