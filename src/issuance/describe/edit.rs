//! What a request asks for since, and the certificate that is delivered does not have.

use crate::api::DeliveredCertificate;
use crate::issuance::certificate::reissue::{Reissue, edited};
use crate::issuance::certificate::requested::Requested;
use crate::issuance::certificate::standing::{Held, requested};
use crate::issuance::observation::Observation;

/// The request was edited since the certificate was requested.
pub(super) struct Edit {
    /// The first thing that differs.
    reissue: Reissue,
    /// What the certificate was requested with.
    before: Requested,
    /// What would be asked for now.
    now: Requested,
}

/// So many differences are told one by one.
const TOLD: usize = 5;

/// Fields that are lists of names, and how one of them is called.
const LISTS: [(&str, &str); 4] = [
    (Requested::DNS_NAMES, "DNS name"),
    (Requested::URIS, "URI"),
    (Requested::EMAIL_ADDRESSES, "e-mail address"),
    (Requested::IP_ADDRESSES, "IP address"),
];

impl Edit {
    /// What was edited since `certificate` was requested; `None` where it is what is asked for, or
    /// nobody knows.
    pub(super) fn of(
        seen: &Observation,
        held: Option<&Held>,
        certificate: &DeliveredCertificate,
    ) -> Option<Self> {
        let before = match held {
            Some(held) => held.requested.clone(),
            // Of a Secret that cannot be read, the watch still shows the annotations.
            None => seen.cached.as_ref().and_then(|cached| requested(&cached.metadata)),
        }?;
        let now = seen.wanted();
        // Not every run asks the CA what names of issuers and products stand for: what an earlier one
        // found out holds while they are the same others.
        let known = || {
            let is_issuer = before.differs(&now, Requested::ISSUER);
            let field = Reissue::InputsDiffer(Requested::PRODUCT);
            let what = if is_issuer { Reissue::IssuerChanged } else { field };
            let is_asked = seen.products.has(&now.block());
            (certificate.outdated && !is_asked && before.names_otherwise(&now)).then_some(what)
        };
        let reissue = edited(seen, &before).or_else(known)?;
        Some(Self { reissue, before, now })
    }

    /// The names that the certificate was requested with.
    pub(super) fn requested_names(&self) -> Vec<String> {
        let all = LISTS.iter().flat_map(|(field, _)| self.before.texts(field));
        all.map(str::to_owned).collect()
    }

    /// What is asked for and not there, what is there and no longer asked for, and what else
    /// differs.
    pub(super) fn words(&self, certificate: &DeliveredCertificate) -> String {
        let mut all: Vec<String> = LISTS
            .iter()
            .flat_map(|(field, kind)| self.differences(certificate, field, kind))
            .collect();
        let is_told = matches!(self.reissue, Reissue::InputsDiffer(field) if LISTS.iter().any(|(list, _)| *list == field));
        if !is_told || all.is_empty() {
            all.push(self.reissue.to_string());
        }
        if let Some(more) = all.len().checked_sub(TOLD).filter(|more| *more > 0) {
            all.truncate(TOLD);
            all.push(format!("and {more} more"));
        }
        all.join(", ")
    }

    fn differences(
        &self,
        certificate: &DeliveredCertificate,
        field: &str,
        kind: &str,
    ) -> Vec<String> {
        let noted = match field {
            Requested::DNS_NAMES => &certificate.dns_names,
            Requested::EMAIL_ADDRESSES => &certificate.email_addresses,
            Requested::IP_ADDRESSES => &certificate.ip_addresses,
            _ => &certificate.uris,
        };
        let is_there = |name: &str| match noted {
            Some(noted) => noted.iter().any(|one| one.eq_ignore_ascii_case(name)),
            None => self.before.texts(field).any(|one| one == name),
        };
        let missing = self.now.texts(field).filter(|name| !is_there(name));
        let missing = missing.map(|name| format!("{kind} {name} is not in it"));
        let is_asked_for = |name: &str| self.now.texts(field).any(|one| one == name);
        let dropped = self.before.texts(field).filter(|name| !is_asked_for(name));
        let dropped = dropped.map(|name| format!("{kind} {name} is no longer asked for"));
        missing.chain(dropped).collect()
    }
}
