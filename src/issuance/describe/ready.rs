//! The condition `Ready`: whether a valid certificate for what is asked for is delivered.

use std::net::IpAddr;

use super::edit::Edit;
use super::issuing::Issuing;
use crate::api::condition::{READY, Verdict};
use crate::api::{DeliveredCertificate, annotation};
use crate::issuance::certificate::standing::Held;
use crate::issuance::observation::{Observation, Request};
use crate::issuance::step::Rest;
use crate::pki::Names;
use crate::pki::names::server_name;
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
    edit: Option<&Edit>,
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
        named(certificate, &seen.request.names, edit),
        certificate.issuer,
        certificate.not_after.0
    );
    if let Some(edit) = edit {
        let is_over = *rest == Rest::Kept;
        let next = if is_over { "another is obtained next" } else { &issuing.message };
        let what = edit.words(certificate);
        message.push_str(&format!("; the request asks for something else since: {what}; {next}"));
        return Verdict::new(READY, false, Reason::Outdated, message);
    }
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
    if let Some(name) = unseen_by_clients(&seen.request, certificate) {
        message.push_str(&format!(
            "; TLS clients refuse it for {name}, which the CA put into the common name only: they look at alternative names alone, so ask the CA for a profile with them"
        ));
    }
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

/// A name of the request that is in the certificate and that no TLS client looks for there (RFC 9525
/// section 2).
pub(super) fn unseen_by_clients<'a>(
    request: &Request,
    certificate: &'a DeliveredCertificate,
) -> Option<&'a str> {
    let name = certificate.common_name.as_deref()?;
    let (names, addresses) = (certificate.dns_names.as_ref()?, certificate.ip_addresses.as_ref()?);
    // What a CA calls a user is its own affair.
    let is_asked_for = request.names.common_name.is_some() || request.csr.is_some();
    let address: Option<IpAddr> = name.parse().ok();
    let is_unseen = match address {
        Some(address) => !addresses.contains(&address.to_string()),
        None => server_name(name)
            .is_some_and(|server| !names.iter().any(|one| one.eq_ignore_ascii_case(&server))),
    };
    (is_asked_for && is_unseen && request.names.may_be_of_a_server()).then_some(name)
}

/// The subject, or the names in the certificate where it is empty.
pub(super) fn named(
    certificate: &DeliveredCertificate,
    asked: &Names,
    edit: Option<&Edit>,
) -> String {
    if !certificate.subject.is_empty() {
        return certificate.subject.clone();
    }
    let all = match (known_names(certificate), edit) {
        (Some(known), _) => known,
        // What the version that delivered it did not note is what it was requested with.
        (None, Some(edit)) => edit.requested_names(),
        (None, None) => names_asked_for(asked),
    };
    match all.split_first() {
        None => "a certificate without a subject".to_owned(),
        Some((first, [])) => first.clone(),
        Some((first, more)) => format!("{first} and {} more", more.len()),
    }
}

/// What it is valid for, where that was noted.
fn known_names(certificate: &DeliveredCertificate) -> Option<Vec<String>> {
    let lists = [
        certificate.dns_names.as_ref()?,
        certificate.uris.as_ref()?,
        certificate.email_addresses.as_ref()?,
        certificate.ip_addresses.as_ref()?,
    ];
    Some(lists.into_iter().flatten().cloned().collect())
}

fn names_asked_for(names: &Names) -> Vec<String> {
    let addresses = names.ip_addresses.iter().map(ToString::to_string);
    let texts = names.dns_names.iter().chain(&names.uris).chain(&names.email_addresses);
    texts.cloned().chain(addresses).collect()
}
