//! The site's authorities, and how a purchase becomes a certificate.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::order::{Bought, Certificate};
use super::settings::{SiteSettings, ValidationLevel};
use crate::simulator::Shared;
use crate::simulator::authority::{
    self, CertificateAuthority, DAY, Error, Key, KeyAlgorithm, Template, shifted,
};
use crate::simulator::csr::AltName;
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
        let named = |kind: &str| Name::authority("SSL Purchase", &format!("{site} {kind}"));
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
}

/// Makes the certificate of a purchase, the right one or the one its fault asks for. `of` is the
/// purchase's place in its order; the certificate ends with the subscription at the latest.
pub(super) fn certificate(
    settings: &SiteSettings,
    authorities: &Authorities,
    (bought, of): (&Bought, usize),
    now: Timestamp,
    subscription_ends: Timestamp,
) -> Result<Certificate, Error> {
    let fault = bought.fault.as_ref();
    let (issuer, signer): (&CertificateAuthority, &Key) = match fault {
        Some(Kind::UnrelatedChain) => (&authorities.unrelated, &authorities.unrelated.key),
        Some(Kind::ForgedSignature) => (&authorities.intermediate, &authorities.unrelated.key),
        Some(_) | None => (&authorities.intermediate, &authorities.intermediate.key),
    };
    let spki_der = match fault {
        Some(Kind::WrongKey) => authorities.unrelated.key.spki_der()?,
        Some(_) | None => bought.asked.csr.spki_der.clone(),
    };
    let names = bought.asked.names.certified.iter();
    let alternatives: Vec<Vec<u8>> =
        names.filter_map(|name| Some(AltName::dns(name)?.der().to_vec())).collect();
    let subject = subject(bought)?;
    let (not_before, not_after) = validity(settings, fault, now, subscription_ends);
    let serial = authority::random_serial()?;
    let template = Template {
        serial: &serial,
        issuer: &issuer.name,
        subject: &subject,
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
    let above = match fault {
        Some(Kind::UnrelatedChain) => vec![(authorities.unrelated.der.clone(), false)],
        Some(_) | None => vec![
            (authorities.intermediate.der.clone(), false),
            (authorities.root.der.clone(), true),
        ],
    };
    Ok(Certificate {
        of,
        serial: hex(&serial),
        issued_on: now,
        not_before,
        not_after,
        fingerprint_sha256: authority::sha256_hex(&leaf),
        spki_sha256: authority::sha256_hex(&spki_der),
        leaf,
        above,
        is_reversed: fault == Some(&Kind::WrongChainOrder),
        void_since: None,
    })
}

/// A domain validated certificate names the domain alone, whatever the request says. A name that is
/// too long for a subject is left to the alternative names.
fn subject(bought: &Bought) -> Result<Name, Error> {
    let asked = &bought.asked;
    let of_csr = || {
        let mut components = asked.csr.subject.components().into_iter();
        components.find(|(kind, _)| kind == "O").map(|(_, value)| value)
    };
    let organisation = match bought.plan.validation_level {
        ValidationLevel::Dv => None,
        ValidationLevel::Ov | ValidationLevel::Ev => {
            asked.field("company_name").map(str::to_owned).or_else(of_csr)
        }
    };
    let organisation = organisation.as_deref().map(|name| ("O", name));
    let common_name = asked.names.common_name.as_str();
    let common_name = (common_name.len() <= 64).then_some(("CN", common_name));
    Ok(Name::in_order(organisation.into_iter().chain(common_name))?)
}

/// From when to when, in whole seconds.
fn validity(
    settings: &SiteSettings,
    fault: Option<&Kind>,
    now: Timestamp,
    subscription_ends: Timestamp,
) -> (Timestamp, Timestamp) {
    let whole = |moment: Timestamp| Timestamp::from_second(moment.as_second()).unwrap_or(moment);
    let now = whole(now);
    let begin = match fault {
        Some(Kind::NotYetValid { seconds }) => {
            shifted(now, SignedDuration::from_secs(i64::from(*seconds)))
        }
        Some(_) | None => now,
    };
    let days = i32::try_from(settings.certificate_days).unwrap_or(i32::MAX);
    let end = shifted(begin, DAY * days).min(whole(subscription_ends));
    if fault == Some(&Kind::Expired) {
        let past = shifted(now, -SignedDuration::from_mins(1));
        return (shifted(past, -end.duration_since(begin)), past);
    }
    (begin, end)
}
