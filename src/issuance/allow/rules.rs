//! Whether the issuer of a request allows what the request asks for.
//!
//! Everything that may end in a submit passes `gate`, and the shell asks again, with what the
//! caches say then, right before it submits. What is open is followed and delivered, and what is
//! delivered stays, whatever is allowed by now.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::SignedDuration;

use super::pattern::{self, Kind};
use super::{Allowed, Overrides, Refusal, Stage, renewal};
use crate::api::{Allow, IssuerKind, KeyUsage, WaitsFor};
use crate::issuance::certificate::reissue::{Reissue, reissue};
use crate::issuance::certificate::requested::Requested;
use crate::issuance::observation::{IssuerState, Observation};
use crate::issuance::quota::gate::leads_to_submit;
use crate::issuance::step::{Rest, Step};
use crate::pki::csr::{Asked, Csr};
use crate::pki::names::{self, Attribute, AttributeType, Usage};
use crate::pki::{KeyKind, Names};
use crate::reason::Reason;

/// The step, or what is not allowed of it.
pub(in crate::issuance) fn gate(seen: &Observation, step: Step) -> Step {
    // What was looked for long enough and would be made again: it is told what is not allowed, and
    // not both by turns.
    let waits = seen.previous.wait.is_some_and(|wait| wait.on == WaitsFor::Permission);
    let mut look_again = None;
    if let Step::Rest(Rest::LookedFor { until, .. }) = &step
        && waits
    {
        look_again = Some(*until);
    }
    // What may be at the CA is looked for, whatever is allowed by now.
    let is_followed = matches!(step, Step::Find) && seen.has_order_at_large();
    if look_again.is_none() && (is_followed || !leads_to_submit(seen, &step)) {
        return step;
    }
    let stage = if matches!(step, Step::Announce | Step::Claim | Step::Order) {
        Stage::Stored
    } else if matches!(step, Step::Find | Step::Rest(_)) {
        Stage::Early
    } else {
        Stage::Submit
    };
    refusal(&seen.allowed, seen, stage)
        .map_or(step, |refusal| Step::Rest(Rest::NotAllowed(Refusal { look_again, ..refusal })))
}

/// What is known before anything is read or asked.
pub(in crate::issuance) fn early(seen: &Observation) -> Option<Step> {
    if !matches!(seen.issuer, IssuerState::Ready { .. }) {
        return None;
    }
    let refusal = refusal(&seen.allowed, seen, Stage::Early)?;
    Some(Step::Rest(Rest::NotAllowed(refusal)))
}

/// Why an issuer that says this does not serve the request now.
#[must_use]
pub fn refusal(allowed: &Allowed, seen: &Observation, stage: Stage) -> Option<Refusal> {
    let issuer = &seen.request.issuer;
    if allowed.suspended {
        return Some(Refusal {
            reason: Reason::IssuerSuspended,
            message: format!(
                "{issuer} is suspended: nothing is asked of its CA while its spec.suspend is true"
            ),
            needs_person: false,
            look_again: None,
        });
    }
    if let Some(refusal) = seen.template_refused() {
        return Some(refusal);
    }
    let is_strict = allowed.kind == IssuerKind::ClusterIssuer;
    let allow = match &allowed.allow {
        Some(allow) if !is_strict || allow.namespaces.is_some() => allow,
        _ if is_strict => return is_new(seen, stage),
        Some(_) | None => return None,
    };
    let rules = Rules { seen, allow, is_strict };
    if is_strict && let Some(refusal) = rules.namespace(allowed.labels.as_ref()) {
        return Some(refusal);
    }
    rules.request().or_else(|| rules.csr()).or_else(|| rules.stored(stage))
}

/// An issuer that says nothing renews what it delivered, as it was.
fn is_new(seen: &Observation, stage: Stage) -> Option<Refusal> {
    let due = reissue(seen, &seen.standing());
    let is_renewal = matches!(
        due,
        Some(Reissue::AccountChanged | Reissue::NearingExpiry | Reissue::RenewalRequested)
    );
    let new = (is_renewal && stage != Stage::Early).then(|| renewal::new(seen)).flatten();
    if is_renewal && new.is_none() {
        return None;
    }
    let new = new.map_or_else(String::new, |new| format!("; new is {}", shown(new)));
    Some(Refusal {
        reason: Reason::NotAllowed,
        message: format!(
            "{} does not say whom it serves: it renews what it delivered and takes nothing new before its spec.allow.namespaces is set (an empty selector, {{}}, is every namespace){new}",
            seen.request.issuer
        ),
        needs_person: true,
        look_again: None,
    })
}

struct Rules<'a> {
    seen: &'a Observation,
    allow: &'a Allow,
    is_strict: bool,
}

impl Rules<'_> {
    fn namespace(&self, labels: Option<&BTreeMap<String, String>>) -> Option<Refusal> {
        let selector = self.allow.namespaces.as_ref()?;
        if selector.is_empty() {
            return None;
        }
        let (issuer, namespace) = (&self.seen.request.issuer, &self.seen.request.namespace);
        let (message, needs_person) = match labels {
            Some(labels) if selector.selects(labels) => return None,
            Some(_) => (
                format!(
                    "{issuer} does not serve namespace {namespace}: name another issuer in spec.issuerRef, or have whoever runs it select the namespace in its spec.allow.namespaces"
                ),
                true,
            ),
            None => (
                format!(
                    "the labels of namespace {namespace} are not known yet, and {issuer} goes by them (spec.allow.namespaces): nothing is asked of its CA before"
                ),
                false,
            ),
        };
        let reason = Reason::NamespaceNotAllowed;
        Some(Refusal { reason, message, needs_person, look_again: None })
    }

    /// What the fields of the request say.
    fn request(&self) -> Option<Refusal> {
        let request = &self.seen.request;
        let names = &request.names;
        let common_names = names.common_name.as_slice();
        self.names(names, common_names, "spec.")
            .or_else(|| self.subject(&names.subject, "spec.subject"))
            .or_else(|| self.usages(&names.usages, "spec.usages"))
            .or_else(|| self.overrides())
            .or_else(|| self.lifetime(request.duration, "spec.duration"))
            .or_else(|| match (request.csr.is_some(), request.key_kind) {
                (true, _) => None,
                (false, kind) => self.key(kind.or_else(|| self.preferred_key())),
            })
    }

    /// What the CSR that it brings says, where the CA goes by that.
    fn csr(&self) -> Option<Refusal> {
        let csr = self.seen.csr.as_ref()?;
        self.asked(&csr.asked).or_else(|| self.key(KeyKind::of_spki(csr.key.spki_der())))
    }

    /// What an order says that is stored and about to be submitted: the request may say something
    /// else by now.
    fn stored(&self, stage: Stage) -> Option<Refusal> {
        let record = self.seen.record().filter(|_| stage == Stage::Stored)?;
        let order = &record.next.order;
        let place = format!("order {}", order.reference);
        let intent = order.requested();
        let words = intent.product_words();
        let product = words.as_deref().and_then(|words| self.product(words, &place));
        if let Some(refusal) = product
            .or_else(|| self.credentials(intent.text(Requested::CREDENTIALS).map(|_| &*place)))
            .or_else(|| self.contact(intent.names_contact().then_some(&*place)))
            .or_else(|| self.lifetime(intent.duration(), &place))
        {
            return Some(refusal);
        }
        let stored = Csr::from_der(&order.csr_der()).ok()?;
        match stored.asked() {
            Ok(asked) => {
                self.asked(&asked).or_else(|| self.key(KeyKind::of_spki(&stored.spki_der)))
            }
            Err(error) => Some(self.refuse(&format!("{place}: {error}"), None, "", None)),
        }
    }

    fn asked(&self, asked: &Asked) -> Option<Refusal> {
        let account = self.seen.account.as_ref();
        if account.is_some_and(|account| !account.capabilities.names) {
            return None;
        }
        let place = "the CSR";
        self.names(&asked.names, &asked.common_names, place)
            .or_else(|| self.subject(&asked.subject, place))
            .or_else(|| self.usages(&asked.usages, place))
            .or_else(|| {
                let other = asked.others.first().filter(|_| self.is_strict)?;
                Some(self.refuse(other, Some(place), "", None))
            })
    }

    fn names(&self, asked: &Names, common_names: &[String], place: &str) -> Option<Refusal> {
        let allow = self.allow;
        let at = |field: &str| {
            if place.ends_with('.') { format!("{place}{field}") } else { place.to_owned() }
        };
        let texts = |kind: Kind, names: &[String], listed: &Option<Vec<String>>| {
            let name = names.iter().find(|name| !self.fits(kind, name, listed.as_ref()))?;
            let (what, field) = (kind.words(), kind.field());
            let what = format!("{what} {}", shown(name));
            Some(self.refuse(&what, Some(&at(field)), field, listed.as_deref()))
        };
        texts(Kind::Dns, &asked.dns_names, &allow.dns_names)
            .or_else(|| texts(Kind::Uri, &asked.uris, &allow.uris))
            .or_else(|| texts(Kind::Email, &asked.email_addresses, &allow.email_addresses))
            .or_else(|| {
                let networks = &allow.ip_addresses;
                let mut addresses = asked.ip_addresses.iter();
                let address = addresses.find(|one| !self.fits_address(**one))?;
                let what = format!("IP address {address}");
                let listed = networks.as_deref();
                Some(self.refuse(&what, Some(&at("ipAddresses")), "ipAddresses", listed))
            })
            .or_else(|| {
                common_names.iter().find_map(|name| self.common_name(name, &at("commonName")))
            })
    }

    fn fits(&self, kind: Kind, name: &str, listed: Option<&Vec<String>>) -> bool {
        match listed {
            Some(patterns) => pattern::allows(kind, patterns, name),
            None => !self.is_strict,
        }
    }

    fn fits_address(&self, address: IpAddr) -> bool {
        let Some(networks) = &self.allow.ip_addresses else { return !self.is_strict };
        networks.iter().any(|text| {
            let network =
                text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.is_ok_and(|network| network.contains(&address))
        })
    }

    /// A common name that is a name of another kind is one: old software and some CAs take it so.
    fn common_name(&self, name: &str, place: &str) -> Option<Refusal> {
        let allow = self.allow;
        let what = format!("common name {}", shown(name));
        if self.is_strict && !pattern::is_plain(name) {
            let what = format!("{what} with a control character, or a blank at an end,");
            return Some(self.refuse(&what, Some(place), "", None));
        }
        // Whoever reads it may leave the blanks out.
        let name = name.trim();
        let (is_allowed, field) = if names::server_name(name).is_some() {
            (self.fits(Kind::Dns, name, allow.dns_names.as_ref()), "dnsNames")
        } else if let Ok(address) = name.parse() {
            (self.fits_address(address), "ipAddresses")
        } else if names::email_address_to_ascii(name).is_some() {
            (self.fits(Kind::Email, name, allow.email_addresses.as_ref()), "emailAddresses")
        } else if name.contains("://") {
            (self.fits(Kind::Uri, name, allow.uris.as_ref()), "uris")
        } else {
            let is_host = allow
                .dns_names
                .as_ref()
                .is_some_and(|patterns| pattern::allows(Kind::Dns, patterns, name));
            (is_host || self.fits(Kind::Text, name, allow.common_names.as_ref()), "commonNames")
        };
        let listed = match field {
            "commonNames" => allow.common_names.as_deref(),
            _ => None,
        };
        (!is_allowed).then(|| self.refuse(&what, Some(place), field, listed))
    }

    fn subject(&self, subject: &[Attribute], place: &str) -> Option<Refusal> {
        subject.iter().find_map(|Attribute { kind, value }| {
            let field = subject_field(*kind);
            let listed = self.allow.subject.as_ref().and_then(|subject| subject.get(field));
            let what = format!("{kind}={} in the subject", shown(value));
            let field = format!("subject.{field}");
            (!self.fits(Kind::Text, value, listed))
                .then(|| self.refuse(&what, Some(place), &field, listed.map(Vec::as_slice)))
        })
    }

    fn usages(&self, usages: &[Usage], place: &str) -> Option<Refusal> {
        let listed = self.allow.usages.as_ref();
        let is_allowed = |asked: &Usage| match listed {
            Some(listed) => listed.iter().any(|one| usage(*one) == *asked),
            None => !self.is_strict,
        };
        let refused = usages.iter().find(|asked| !is_allowed(asked))?;
        Some(self.refuse(&format!("usage {refused}"), Some(place), "usages", None))
    }

    fn overrides(&self) -> Option<Refusal> {
        let Overrides { product, credentials, contact } = &self.seen.request.overrides;
        let product = product.as_ref().and_then(|(words, field)| self.product(words, field));
        product
            .or_else(|| self.credentials(credentials.as_deref()))
            .or_else(|| self.contact(contact.as_deref()))
    }

    fn product(&self, words: &str, place: &str) -> Option<Refusal> {
        let listed = self.allow.products.as_ref();
        let what = format!("product {}", shown(words));
        (!self.fits(Kind::Text, words, listed))
            .then(|| self.refuse(&what, Some(place), "products", listed.map(Vec::as_slice)))
    }

    /// Whether some may be named, where that is done.
    fn credentials(&self, place: Option<&str>) -> Option<Refusal> {
        let place = place?;
        let is_allowed = self.allow.own_credentials.unwrap_or(!self.is_strict);
        (!is_allowed).then(|| {
            self.refuse("credentials of the request's own", Some(place), "ownCredentials", None)
        })
    }

    /// Whether another person or company may be named for the CA to ask, where that is done.
    fn contact(&self, place: Option<&str>) -> Option<Refusal> {
        let place = place?;
        let is_allowed = self.allow.own_contact.unwrap_or(!self.is_strict);
        (!is_allowed).then(|| {
            let what = "a contact or company of the request's own";
            self.refuse(what, Some(place), "ownContact", None)
        })
    }

    fn lifetime(&self, asked: Option<SignedDuration>, place: &str) -> Option<Refusal> {
        let asked = asked?;
        let is_allowed = match &self.allow.max_duration {
            // Admission let only durations pass.
            Some(most) => most.parse().is_ok_and(|most| asked <= most),
            None => !self.is_strict,
        };
        let what = format!("a lifetime of {asked:#}");
        (!is_allowed).then(|| self.refuse(&what, Some(place), "maxDuration", None))
    }

    /// What the CA takes where a request says nothing, once it is known.
    fn preferred_key(&self) -> Option<KeyKind> {
        self.seen.account.as_ref()?.capabilities.key_kinds.first().copied()
    }

    fn key(&self, kind: Option<KeyKind>) -> Option<Refusal> {
        // It is judged once the account is open.
        let preferred = self.preferred_key()?;
        let is_allowed = match (&self.allow.key_types, kind) {
            (None, _) if !self.is_strict => true,
            (None, kind) => kind == Some(preferred),
            (Some(listed), Some(kind)) => {
                let word = kind.to_string();
                listed.iter().any(|one| {
                    serde_json::to_value(one).is_ok_and(|one| one.as_str() == Some(&word))
                })
            }
            (Some(_), None) => false,
        };
        let what = kind.map_or_else(
            || "a key of an uncommon kind".to_owned(),
            |kind| format!("a key of the kind {kind}"),
        );
        (!is_allowed).then(|| self.refuse(&what, Some("spec.privateKey"), "keyTypes", None))
    }

    /// Whoever runs an issuer for others does not have its list told to all of them.
    fn refuse(
        &self,
        what: &str,
        place: Option<&str>,
        field: &str,
        listed: Option<&[String]>,
    ) -> Refusal {
        let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
        let listed = match listed.filter(|_| !self.is_strict) {
            Some([]) => ", which is empty".to_owned(),
            Some(listed) => {
                let some: Vec<&str> = listed.iter().take(5).map(String::as_str).collect();
                let more = if listed.len() > some.len() { ", …" } else { "" };
                format!(", which has {}{more}", some.join(", "))
            }
            None => String::new(),
        };
        let next = match (field, self.is_strict) {
            ("", _) => "change the request: no field of an issuer allows it".to_owned(),
            (field, true) => format!(
                "change the request, or have whoever runs the issuer allow it in its spec.allow.{field}"
            ),
            (field, false) => {
                format!(
                    "change the request, or allow it in spec.allow.{field} of the issuer{listed}"
                )
            }
        };
        Refusal {
            reason: Reason::NotAllowed,
            message: format!("{} does not allow {what}{place}: {next}", self.seen.request.issuer),
            needs_person: true,
            look_again: None,
        }
    }
}

/// A name in a message: a CSR may have any.
fn shown(text: impl Display) -> String {
    const MOST: usize = 253;
    let text = text.to_string();
    let visible: String = text.chars().flat_map(char::escape_debug).take(MOST).collect();
    visible
}

/// The field of `spec.subject` of a request, and of `spec.allow.subject`.
fn subject_field(kind: AttributeType) -> &'static str {
    match kind {
        AttributeType::BusinessCategory => "businessCategory",
        AttributeType::Country => "countries",
        AttributeType::DomainComponent => "domainComponents",
        AttributeType::EmailAddress => "emailAddresses",
        AttributeType::GivenName => "givenName",
        AttributeType::JurisdictionCountry => "jurisdictionCountry",
        AttributeType::JurisdictionLocality => "jurisdictionLocality",
        AttributeType::JurisdictionStateOrProvince => "jurisdictionProvince",
        AttributeType::Locality => "localities",
        AttributeType::Organization => "organizations",
        AttributeType::OrganizationIdentifier => "organizationIdentifier",
        AttributeType::OrganizationalUnit => "organizationalUnits",
        AttributeType::PostalCode => "postalCodes",
        AttributeType::SerialNumber => "serialNumber",
        AttributeType::StateOrProvince => "provinces",
        AttributeType::Street => "streetAddresses",
        AttributeType::Surname => "surname",
        AttributeType::Title => "title",
        AttributeType::UserId => "userIds",
    }
}

/// The same in both vocabularies.
#[must_use]
pub fn usage(words: KeyUsage) -> Usage {
    match words {
        KeyUsage::Any => Usage::Any,
        KeyUsage::ClientAuth => Usage::ClientAuth,
        KeyUsage::CodeSigning => Usage::CodeSigning,
        KeyUsage::ContentCommitment => Usage::ContentCommitment,
        KeyUsage::DataEncipherment => Usage::DataEncipherment,
        KeyUsage::DecipherOnly => Usage::DecipherOnly,
        KeyUsage::DigitalSignature | KeyUsage::Signing => Usage::DigitalSignature,
        KeyUsage::EmailProtection | KeyUsage::Smime => Usage::EmailProtection,
        KeyUsage::EncipherOnly => Usage::EncipherOnly,
        KeyUsage::IpsecEndSystem => Usage::IpsecEndSystem,
        KeyUsage::IpsecTunnel => Usage::IpsecTunnel,
        KeyUsage::IpsecUser => Usage::IpsecUser,
        KeyUsage::KeyAgreement => Usage::KeyAgreement,
        KeyUsage::KeyEncipherment => Usage::KeyEncipherment,
        KeyUsage::OcspSigning => Usage::OcspSigning,
        KeyUsage::ServerAuth => Usage::ServerAuth,
        KeyUsage::Timestamping => Usage::TimeStamping,
    }
}

#[cfg(test)]
mod tests;
