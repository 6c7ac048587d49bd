//! The site's authorities, and how an order becomes a certificate.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use super::order::{Certificate, Ordered};
use super::settings::{SiteSettings, ValidityType};
use crate::simulator::Shared;
use crate::simulator::authority::{
    self, CertificateAuthority, DAY, Error, Key, KeyAlgorithm, Template, shifted,
};
use crate::simulator::csr::AltName;
use crate::simulator::der::{self, Reader};
use crate::simulator::faults::Kind;
use crate::simulator::name::{Name, hex};

/// The authorities of one site.
#[derive(Debug)]
pub(super) struct Authorities {
    pub(super) algorithm: KeyAlgorithm,
    pub(super) root: CertificateAuthority,
    pub(super) intermediate: CertificateAuthority,
    pub(super) unrelated: CertificateAuthority,
}

impl Authorities {
    /// Three keys, so that nothing can be mixed up.
    pub(super) fn generate(
        site: &str,
        algorithm: KeyAlgorithm,
        shared: &Shared,
    ) -> Result<Self, Error> {
        let [root_key, intermediate_key, other_key] = shared.keys.take(algorithm)?;
        let now = shared.now();
        let year = |years: i32| shifted(now, DAY * (365 * years));
        let named = |kind: &str| Name::authority("SwissSign RA", &format!("{site} {kind}"));
        let root = CertificateAuthority::root(root_key, named("Root CA")?, (year(-1), year(60)))?;
        let intermediate =
            root.subordinate(intermediate_key, named("Issuing CA")?, (year(-1), year(50)))?;
        let unrelated = CertificateAuthority::root(
            Arc::clone(&other_key),
            named("Unrelated CA")?,
            (year(-1), year(60)),
        )?;
        Ok(Self { algorithm, root, intermediate, unrelated })
    }

    /// Whether one of the site's authorities has this serial number, in upper-case hexadecimal
    /// without leading zeros.
    pub(super) fn have_serial(&self, wanted: &str) -> bool {
        let serial = |der: &[u8]| {
            let mut fields = Reader(der).expect(der::SEQUENCE)?.reader();
            let mut fields = fields.expect(der::SEQUENCE)?.reader();
            fields.expect(der::CONTEXT_0)?;
            Some(hex(fields.expect(der::INTEGER)?.content).to_ascii_uppercase())
        };
        [&self.root, &self.intermediate].into_iter().any(|authority| {
            serial(&authority.der).is_some_and(|serial| serial.trim_start_matches('0') == wanted)
        })
    }
}

/// Makes the certificate of an order, the right one or the one its fault asks for.
pub(super) fn certificate(
    settings: &SiteSettings,
    authorities: &Authorities,
    ordered: &Ordered,
    now: Timestamp,
) -> Result<Certificate, Error> {
    let fault = ordered.fault.as_ref();
    let (issuer, signer): (&CertificateAuthority, &Key) = match fault {
        Some(Kind::UnrelatedChain) => (&authorities.unrelated, &authorities.unrelated.key),
        Some(Kind::ForgedSignature) => (&authorities.intermediate, &authorities.unrelated.key),
        Some(_) | None => (&authorities.intermediate, &authorities.intermediate.key),
    };
    let spki_der = match fault {
        Some(Kind::WrongKey) => authorities.unrelated.key.spki_der()?,
        Some(_) | None => ordered.csr.spki_der.clone(),
    };
    let names = certified_names(settings, &ordered.csr.names);
    let alternatives: Vec<Vec<u8>> = names.iter().map(|name| name.der().to_vec()).collect();
    let subject = &ordered.csr.subject;
    let (not_before, not_after) = validity(settings, ordered, now);
    let serial = authority::random_serial()?;
    let template = Template {
        serial: &serial,
        issuer: &issuer.name,
        subject,
        not_before,
        not_after,
        spki_der: &spki_der,
        extensions: &authority::end_entity_extensions(
            &spki_der,
            issuer,
            &alternatives,
            subject.components().is_empty(),
        )?,
    };
    let leaf = authority::certificate(&template, signer)?;
    let fingerprint_sha256 = authority::sha256_hex(&leaf);
    let mut chain: Vec<&[u8]> = match fault {
        Some(Kind::UnrelatedChain) => vec![&leaf, &authorities.unrelated.der],
        Some(_) | None => vec![&leaf, &authorities.intermediate.der, &authorities.root.der],
    };
    if fault == Some(&Kind::WrongChainOrder) {
        chain.reverse();
    }
    // The order's own certificate is the leaf whatever the chain looks like.
    let leaf_text = STANDARD.encode(&leaf);
    let labels: Vec<String> = names.iter().map(AltName::label).collect();
    let attributes = subject.components().into_iter().chain(labels.iter().map(|label| {
        let (_, value) = label.split_once(':').unwrap_or(("", label));
        ("2.5.29.17".to_owned(), value.to_owned())
    }));
    Ok(Certificate {
        subject: text(subject),
        issuer: text(&issuer.name),
        serial: format!("{:0>40}", hex(&serial).to_ascii_uppercase()),
        not_before,
        not_after,
        leaf: leaf_text,
        chain: chain.iter().map(|der| STANDARD.encode(der)).collect(),
        fingerprint_sha256,
        attributes: attributes.collect(),
        names: labels,
    })
}

/// The names that end up in the certificate: those asked for, without the dropped ones, and what the
/// settings add.
fn certified_names(settings: &SiteSettings, asked: &[AltName]) -> Vec<AltName> {
    let kept = asked.iter().enumerate().filter(|(at, _)| !settings.drop_sans.contains(at));
    let mut names: Vec<AltName> = kept.map(|(_, name)| name.clone()).collect();
    let www = asked
        .iter()
        .find_map(AltName::as_dns)
        .filter(|_| settings.add_www)
        .map(|first| format!("www.{first}"));
    let added = www.iter().chain(&settings.add_sans).filter_map(|name| AltName::dns(name));
    for name in added {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// From when to when, in whole seconds.
fn validity(settings: &SiteSettings, ordered: &Ordered, now: Timestamp) -> (Timestamp, Timestamp) {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let begin = match ordered.fault {
        Some(Kind::NotYetValid { seconds }) => {
            shifted(now, SignedDuration::from_secs(i64::from(seconds)))
        }
        Some(_) | None => now,
    };
    let mut end = after(begin, ordered.validity);
    if let Some(days) = settings.clamp_validity_days {
        end = end.min(shifted(begin, DAY * i32::try_from(days).unwrap_or(i32::MAX)));
    }
    if ordered.fault == Some(Kind::Expired) {
        let lifetime = end.duration_since(begin);
        let past = shifted(now, -SignedDuration::from_mins(1));
        return (shifted(past, -lifetime), past);
    }
    (begin, end)
}

/// So many units later; the same moment if there is no such time.
fn after(begin: Timestamp, (unit, count): (ValidityType, u32)) -> Timestamp {
    let count = i64::from(count);
    let span = Span::new();
    let span = match unit {
        ValidityType::Years => span.try_years(count),
        ValidityType::Months => span.try_months(count),
        ValidityType::Days => span.try_days(count),
        ValidityType::Hours => span.try_hours(count),
        ValidityType::Minutes => span.try_minutes(count),
        ValidityType::Seconds => span.try_seconds(count),
    };
    span.and_then(|span| begin.to_zoned(TimeZone::UTC).checked_add(span))
        .map_or(begin, |end| end.timestamp())
}

/// A name in text, most specific attribute first.
pub(super) fn text(name: &Name) -> String {
    let parts: Vec<String> =
        name.components().iter().rev().map(|(key, value)| format!("{key}={value}")).collect();
    parts.join(", ")
}

/// The subject of `overrides.subjectDN`, such as `c=CH,o=Example,cn=www.example.org`; `None` if it
/// is none.
pub(super) fn subject(text: &str) -> Option<Name> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut is_escaped = false;
    for character in text.chars() {
        match character {
            ',' if !is_escaped => parts.push(std::mem::take(&mut part)),
            '\\' if !is_escaped => {
                is_escaped = true;
                continue;
            }
            other => part.push(other),
        }
        is_escaped = false;
    }
    parts.push(part);
    for part in parts {
        let (key, value) = part.split_once('=')?;
        attributes.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    Name::in_order(attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validity_counts_in_the_unit_of_its_product() {
        let begin: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let rows = [
            (ValidityType::Years, 1, "2027-01-31T12:00:00Z"),
            (ValidityType::Months, 1, "2026-02-28T12:00:00Z"),
            (ValidityType::Days, 198, "2026-08-17T12:00:00Z"),
            (ValidityType::Hours, 1, "2026-01-31T13:00:00Z"),
            (ValidityType::Minutes, 1, "2026-01-31T12:01:00Z"),
            (ValidityType::Seconds, 1, "2026-01-31T12:00:01Z"),
            (ValidityType::Years, u32::MAX, "2026-01-31T12:00:00Z"),
        ];
        for (unit, count, expected) in rows {
            assert_eq!(after(begin, (unit, count)).to_string(), expected, "{count} {unit:?}");
        }
    }

    #[test]
    fn a_subject_is_read_in_order_and_written_backwards() {
        let rows = [
            ("c=CH,o=Example,cn=www.example.org", Some("CN=www.example.org, O=Example, C=CH")),
            ("CN=a, OU=b, OU=c", Some("OU=c, OU=b, CN=a")),
            (r"o=Example\, Inc.,cn=a", Some("CN=a, O=Example, Inc.")),
            ("cn", None),
            ("nonsense=x", None),
            ("c=CHE", None),
        ];
        for (given, expected) in rows {
            assert_eq!(subject(given).map(|name| text(&name)).as_deref(), expected, "{given}");
        }
    }
}
