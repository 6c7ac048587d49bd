//! The client register: which TLS client may ask for certificates of which users.
//!
//! Pure. As in the real service the chain of the client's certificate is nobody's concern here, and
//! neither is the password.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};

use super::subject::sorted_slash_form;
use crate::simulator::der::{self, Element, Reader};
use crate::simulator::name::Name;

/// Whether the register has this user under the subject of this certificate, and the certificate is
/// in its validity.
pub(super) fn allows(
    register: &BTreeMap<String, Vec<String>>,
    certificate_der: Option<&[u8]>,
    user: Option<&str>,
    now: Timestamp,
) -> bool {
    let (Some(client), Some(user)) = (certificate_der.and_then(parse), user) else {
        return false;
    };
    let subject = sorted_slash_form(&client.subject.slash_form());
    let is_listed = register.iter().any(|(dn, users)| {
        sorted_slash_form(dn) == subject && users.iter().any(|listed| listed == user)
    });
    is_listed && client.not_before <= now && now <= client.not_after
}

/// What the register looks at in a client certificate.
struct ClientCertificate {
    subject: Name,
    not_before: Timestamp,
    not_after: Timestamp,
}

fn parse(certificate_der: &[u8]) -> Option<ClientCertificate> {
    let mut tbs =
        Reader(certificate_der).expect(der::SEQUENCE)?.reader().expect(der::SEQUENCE)?.reader();
    let _version = tbs.optional(der::CONTEXT_0);
    let _serial = tbs.expect(der::INTEGER)?;
    let _signature_algorithm = tbs.expect(der::SEQUENCE)?;
    let _issuer = tbs.expect(der::SEQUENCE)?;
    let mut validity = tbs.expect(der::SEQUENCE)?.reader();
    let (not_before, not_after) = (moment(validity.element()?)?, moment(validity.element()?)?);
    let subject = Name::from_element(tbs.expect(der::SEQUENCE)?);
    Some(ClientCertificate { subject, not_before, not_after })
}

fn moment(element: Element<'_>) -> Option<Timestamp> {
    let text = std::str::from_utf8(element.content).ok()?;
    let civil = match element.tag {
        // RFC 5280, section 4.1.2.5.1: years from 50 on belong to the last century.
        der::UTC_TIME if text < "5" => DateTime::strptime("%Y%m%d%H%M%SZ", format!("20{text}")),
        der::UTC_TIME => DateTime::strptime("%Y%m%d%H%M%SZ", format!("19{text}")),
        der::GENERALIZED_TIME => DateTime::strptime("%Y%m%d%H%M%SZ", text),
        _ => return None,
    };
    Some(civil.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tag: u8, text: &str) -> Option<String> {
        let encoded = der::element(tag, text.as_bytes());
        Reader(&encoded).element().and_then(moment).map(|moment| moment.to_string())
    }

    #[test]
    fn both_forms_of_time_are_read() {
        assert_eq!(read(der::UTC_TIME, "260102030405Z").as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(read(der::UTC_TIME, "500102030405Z").as_deref(), Some("1950-01-02T03:04:05Z"));
        assert_eq!(
            read(der::GENERALIZED_TIME, "20560102030405Z").as_deref(),
            Some("2056-01-02T03:04:05Z")
        );
        for (tag, text) in [
            (der::UTC_TIME, "nonsense"),
            (der::GENERALIZED_TIME, ""),
            (der::INTEGER, "260102030405Z"),
        ] {
            assert_eq!(read(tag, text), None);
        }
    }
}
