//! The log of purchases: one line of JSON for each event of an order that costs money.
//!
//! It is part of the operator's log and yet none of its levels and formats holds it back.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::issuer::key::IssuerKey;
use crate::issuance::Request;
use crate::issuance::purchases::Entry;
use crate::terminal;

/// By this the lines are told from all others of the log.
const TARGET: &str = "chancery::purchases";

/// Where the lines go.
#[derive(Clone)]
pub struct Purchases(Arc<dyn Fn(String) + Send + Sync>);

impl Purchases {
    /// Gives each line, without its end, to `write`.
    #[must_use]
    pub fn new(write: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// Writes the line of an event.
    pub(super) fn write(
        &self,
        now: Timestamp,
        issuer: &IssuerKey,
        request: &Request,
        entry: Entry,
    ) {
        (self.0)(line(now, issuer, (&request.namespace, &request.name), entry));
    }
}

/// A line. What is not known is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    target: &'static str,
    time: Timestamp,
    event: &'static str,
    namespace: &'a str,
    request: &'a str,
    issuer: OfIssuer<'a>,
    tenant: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
}

#[derive(Serialize)]
struct OfIssuer<'a> {
    kind: String,
    name: &'a str,
}

fn line(now: Timestamp, issuer: &IssuerKey, of: (&str, &str), entry: Entry) -> String {
    // Ids are the CA's words, and whoever reads a log may do so on a terminal.
    let plain = |text: Option<String>| text.map(|text| terminal::line(&text));
    let line = Line {
        target: TARGET,
        time: now,
        event: entry.event.word(),
        namespace: of.0,
        request: of.1,
        issuer: OfIssuer { kind: issuer.kind.to_string(), name: &issuer.name },
        tenant: terminal::line(&entry.tenant),
        product: plain(entry.product),
        kind: entry.kind,
        reference: plain(entry.reference),
        id: plain(entry.id),
        serial: entry.serial,
    };
    // Nothing in it can fail to be written as JSON.
    serde_json::to_string(&line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::IssuerKind;
    use crate::issuance::purchases::OrderEvent;

    #[test]
    fn a_line_is_one_object_with_what_finance_needs_and_nothing_a_terminal_obeys() {
        let issuer =
            IssuerKey { kind: IssuerKind::ClusterIssuer, namespace: None, name: "paid".to_owned() };
        let entry = Entry {
            event: OrderEvent::Issued,
            reference: Some("chancery-u-1".to_owned()),
            kind: Some("new"),
            tenant: "https://ra.example as shop, client Shop\u{1b}[2J AG".to_owned(),
            product: None,
            id: Some("ord-1\n{\"target\":\"forged\"}".to_owned()),
            serial: Some("0abc".to_owned()),
        };
        let now = "2026-06-01T12:00:00Z".parse().expect("a time");
        let line = line(now, &issuer, ("shop", "web"), entry);
        assert_eq!(
            line,
            "{\"target\":\"chancery::purchases\",\"time\":\"2026-06-01T12:00:00Z\",\
             \"event\":\"issued\",\"namespace\":\"shop\",\"request\":\"web\",\
             \"issuer\":{\"kind\":\"ClusterIssuer\",\"name\":\"paid\"},\
             \"tenant\":\"https://ra.example as shop, client Shop\u{fffd}[2J AG\",\
             \"kind\":\"new\",\"reference\":\"chancery-u-1\",\
             \"id\":\"ord-1\u{fffd}{\\\"target\\\":\\\"forged\\\"}\",\"serial\":\"0abc\"}"
        );
    }
}
