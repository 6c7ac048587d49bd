//! The condition `Ready`: whether a valid certificate is delivered.

use super::issuing::Issuing;
use crate::api::condition::{READY, Verdict};
use crate::api::{DeliveredCertificate, annotation};
use crate::issuance::certificate::standing::Held;
use crate::issuance::observation::Observation;
use crate::issuance::step::Rest;
use crate::reason::Reason;

/// The certificate that `Ready` speaks of.
pub(super) fn delivered<'a>(
    seen: &'a Observation,
    held: Option<&'a Held>,
    rest: &Rest,
) -> Option<&'a DeliveredCertificate> {
    let is_unclear = matches!(rest, Rest::TargetUnreadable(_));
    match held {
        Some(held) => Some(&held.certificate),
        // What cannot be looked at is as it was: nobody took the certificate away.
        None if is_unclear && seen.previous.has_certificate => seen.previous.certificate.as_ref(),
        None => None,
    }
}

/// What the condition says.
pub(super) fn ready(
    seen: &Observation,
    held: Option<&Held>,
    delivered: Option<&DeliveredCertificate>,
    issuing: &Issuing,
    rest: &Rest,
) -> Verdict {
    let Some(certificate) = delivered else {
        return Verdict::new(READY, false, issuing.reason.clone(), issuing.message.clone());
    };
    if certificate.not_after.0 <= seen.now {
        let message =
            format!("the certificate expired at {}; {}", certificate.not_after.0, issuing.message);
        return Verdict::new(READY, false, Reason::Expired, message);
    }
    let mut message = format!(
        "{} from {}, valid until {}",
        named(seen, certificate),
        certificate.issuer,
        certificate.not_after.0
    );
    if let Some(renewal) = held.map(|held| held.renewal(&seen.request)) {
        message.push_str(&format!(", renews at {}", renewal.time));
        if renewal.fell_back {
            message.push_str("; spec.renewBefore is not shorter than the certificate's lifetime, so a third of the lifetime is used instead");
        }
    }
    if let Some(clients) = &certificate.refused_by {
        message.push_str(&format!("; {clients}"));
    }
    message.push_str(&at_the_renewal(seen, held).unwrap_or_default());
    if let Rest::Withheld(withheld) = rest {
        message.push_str(&format!("; the renewal is held ({})", withheld.reason()));
    }
    Verdict::new(READY, true, Reason::Issued, message)
}

/// What will be different at the next issuance, because the issuer is.
fn at_the_renewal(seen: &Observation, held: Option<&Held>) -> Option<String> {
    let other = seen.waits_for_renewal(held?.requested.as_ref()?)?;
    let request = &seen.request;
    Some(format!(
        "; the issuer has changed: from the renewal on the certificate is for {other}; to have it now: kubectl annotate certificaterequests.chancery.dev -n {} {} --overwrite {}=$(date +%s)",
        request.namespace,
        request.name,
        annotation::RENEW
    ))
}

/// The subject, or the names that were asked for where it is empty.
pub(super) fn named(seen: &Observation, certificate: &DeliveredCertificate) -> String {
    let names = &seen.request.names;
    let addresses = names.ip_addresses.iter().map(ToString::to_string);
    let mut all = names
        .dns_names
        .iter()
        .chain(&names.uris)
        .chain(&names.email_addresses)
        .cloned()
        .chain(addresses);
    match (certificate.subject.as_str(), all.next()) {
        ("", Some(first)) => match all.count() {
            0 => first,
            more => format!("{first} and {more} more"),
        },
        ("", None) => "a certificate without a subject".to_owned(),
        (subject, _) => subject.to_owned(),
    }
}
