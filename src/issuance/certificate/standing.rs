//! How things stand with the target: what is known of the Secret, and whether it is ours.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::condition::{TEXT_LIMIT, shortened};
use crate::api::{DeliveredCertificate, annotation};
use crate::issuance::certificate::key::Key;
use crate::issuance::certificate::renewal::{Renewal, renewal};
use crate::issuance::certificate::requested::Requested;
use crate::issuance::observation::{Observation, Obtained, Read, Request, Target, Template};
use crate::pki::chain::rustls_refusal;

/// Type of a Secret with certificate and key; the API server sees to it that it has both.
pub(in crate::issuance) const TLS: &str = "kubernetes.io/tls";
/// Type of a Secret with certificates alone.
const OPAQUE: &str = "Opaque";

/// How things stand with the target.
#[derive(Clone, Debug)]
pub(in crate::issuance) enum Standing {
    /// Not known without a read.
    Unread,
    /// A read failed.
    Unreadable(String),
    /// There is none.
    Absent,
    /// It is not ours, for this reason.
    Foreign(String),
    /// Somebody gives it to the request.
    Offered,
    /// It is ours and does not hold what was delivered.
    Broken(&'static str),
    /// It holds a certificate and its key.
    Held(Box<Held>),
}

/// A delivered certificate.
#[derive(Clone, Debug)]
pub(in crate::issuance) struct Held {
    pub(in crate::issuance) certificate: DeliveredCertificate,
    pub(in crate::issuance) requested: Option<Requested>,
    /// Reference of the order it came from.
    pub(in crate::issuance) order: Option<String>,
}

impl Held {
    pub(in crate::issuance) fn renewal(&self, request: &Request) -> Renewal {
        let certificate = &self.certificate;
        renewal(
            certificate.not_before.0,
            certificate.not_after.0,
            certificate.delivered_at.0,
            request.renew_before,
            &request.uid,
        )
    }
}

impl Standing {
    /// Whether it is what was obtained.
    pub(in crate::issuance) fn holds(&self, obtained: &Obtained) -> bool {
        self.held().is_some_and(|held| {
            let there = &held.certificate.fingerprint_sha256;
            obtained.candidates.iter().any(|one| one.fingerprint_sha256() == there)
        })
    }

    pub(in crate::issuance) fn held(&self) -> Option<&Held> {
        match self {
            Self::Held(held) => Some(held),
            Self::Absent
            | Self::Broken(_)
            | Self::Foreign(_)
            | Self::Offered
            | Self::Unread
            | Self::Unreadable(_) => None,
        }
    }
}

impl Observation {
    /// How things stand with the target.
    pub(in crate::issuance) fn standing(&self) -> Standing {
        match &self.target {
            None => self.cached_standing(),
            Some(Read::Absent) => Standing::Absent,
            Some(Read::Unreadable(why)) => Standing::Unreadable(why.clone()),
            Some(Read::Present(target)) => self.live_standing(target),
        }
    }

    /// While the resourceVersion is the one we delivered, so is the content.
    fn cached_standing(&self) -> Standing {
        match (&self.cached, &self.previous.certificate) {
            (Some(cached), Some(certificate))
                if cached.resource_version == certificate.secret_resource_version
                    && certificate.not_before.0 <= certificate.not_after.0 =>
            {
                Standing::Held(Box::new(Held {
                    certificate: certificate.clone(),
                    requested: requested(&cached.metadata),
                    order: cached.metadata.annotations.get(annotation::ORDER_REFERENCE).cloned(),
                }))
            }
            // Nothing was delivered, and the watch knows of nothing of ours: the first delivery is a
            // create, and finds out whether that is so.
            (None, None) if self.previous.order.is_some() && self.conflicts == 0 => {
                Standing::Absent
            }
            _ => Standing::Unread,
        }
    }

    fn live_standing(&self, target: &Target) -> Standing {
        if self.is_offered(target) {
            return Standing::Offered;
        }
        if let Some(why) = self.foreign(target) {
            return Standing::Foreign(why);
        }
        let Some(key) = self.key_in(target) else {
            return Standing::Broken("tls.key is missing or cannot be read");
        };
        let Some(leaf) = target.chain.iter().find(|one| one.spki_der() == key.spki_der()) else {
            return Standing::Broken("tls.crt holds no certificate for tls.key");
        };
        if leaf.not_before() > leaf.not_after() {
            return Standing::Broken("the certificate in tls.crt ends before it begins");
        }
        let known = self.previous.certificate.as_ref();
        let is_delivered = self.delivered.is_some();
        let is_known =
            known.is_some_and(|known| known.fingerprint_sha256 == leaf.fingerprint_sha256());
        // The status lags behind the Secret when a process died between the two writes.
        let is_stamped =
            target.metadata.annotations.get(annotation::FINGERPRINT).map(String::as_str)
                == Some(leaf.fingerprint_sha256());
        if !is_delivered && !is_known && !is_stamped {
            return Standing::Broken("tls.crt is not the certificate that was delivered");
        }
        let delivered_at = match known {
            Some(known) if is_known => known.delivered_at.clone(),
            _ if is_delivered => Time(self.now),
            _ => Time(leaf.not_before()),
        };
        Standing::Held(Box::new(Held {
            certificate: DeliveredCertificate {
                subject: text(leaf.subject()),
                common_name: leaf.common_name().map(text),
                dns_names: noted(leaf.dns_names()),
                ip_addresses: noted(leaf.ip_addresses()),
                uris: noted(leaf.uris()),
                email_addresses: noted(leaf.email_addresses()),
                issuer: text(leaf.issuer()),
                serial_number: text(leaf.serial_number()),
                not_before: Time(leaf.not_before()),
                not_after: Time(leaf.not_after()),
                fingerprint_sha256: leaf.fingerprint_sha256().to_owned(),
                private_key: key.kind(),
                refused_by: rustls_refusal(&target.chain, target.anchors.first()),
                outdated: known.is_some_and(|known| is_known && known.outdated),
                delivered_at,
                secret_resource_version: target.resource_version.clone(),
            },
            requested: requested(&target.metadata),
            order: target.metadata.annotations.get(annotation::ORDER_REFERENCE).cloned(),
        }))
    }

    /// The key of the certificate in the target. One for a CSR that came without its key is that of
    /// the certificate itself, which must be the one that was delivered.
    pub(in crate::issuance) fn key_in(&self, target: &Target) -> Option<Key> {
        if let Some(key) = &target.key {
            return Some(Key::Pair(Arc::clone(key)));
        }
        let has_none = self.request.csr.is_some() && target.kind == OPAQUE;
        let leaf = target.chain.iter().find(|one| has_none && !one.is_ca())?;
        Some(Key::Public(leaf.spki_der().into()))
    }

    fn foreign(&self, target: &Target) -> Option<String> {
        let name = &self.request.secret_name;
        let advice =
            "it was not touched; delete it, or choose another spec.secretName in a new request";
        let marker = target.metadata.annotations.get(annotation::REQUEST);
        let may_lack_its_key = self.request.csr.is_some() && target.kind == OPAQUE;
        if target.kind != TLS && !may_lack_its_key {
            return Some(format!(
                "Secret {name} exists with type {}, not kubernetes.io/tls: {advice}",
                target.kind
            ));
        }
        match marker {
            None => Some(format!("Secret {name} exists and is not Chancery's: {advice}")),
            Some(owner) if *owner != self.request.name => Some(format!(
                "Secret {name} holds the certificate of CertificateRequest {owner}: {advice}"
            )),
            Some(_) => None,
        }
    }

    /// The target as read in this run.
    pub(in crate::issuance) fn live_target(&self) -> Option<&Target> {
        match &self.target {
            Some(Read::Present(target)) => Some(target),
            Some(Read::Absent | Read::Unreadable(_)) | None => None,
        }
    }
}

/// What a CA wrote into a certificate, for the status: it may be without end.
fn text(of_the_certificate: &str) -> String {
    shortened(of_the_certificate.to_owned(), TEXT_LIMIT)
}

/// So many names of a kind are noted: as many as can be asked for.
const NAMES: usize = 100;
/// The longest name that can be asked for is a URI.
const LONGEST_NAME: usize = 1024;

/// Names of a certificate for the status. A CA may write what it likes: what nobody can ask for is
/// left out.
fn noted<T: ToString>(names: &[T]) -> Option<Vec<String>> {
    let can_be_asked_for = |name: &String| {
        name.len() <= LONGEST_NAME && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    Some(names.iter().map(T::to_string).filter(can_be_asked_for).take(NAMES).collect())
}

pub(in crate::issuance) fn requested(metadata: &Template) -> Option<Requested> {
    metadata.annotations.get(annotation::REQUESTED).and_then(|text| Requested::parse(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuance::fixtures::{altered, days, key, now, pki};
    use crate::pki::Names;

    #[test]
    fn names_without_end_get_into_the_status_in_a_kilobyte() {
        let common_name = Some("ö".repeat(300_000));
        let names = Names { common_name, ..Names::default() };
        let seen = altered(|target| {
            let leaf = pki().issuing.leaf(&key(0), &names, now(), now() + days(30));
            let stamp = leaf.fingerprint_sha256().to_owned();
            target.metadata.annotations.insert(annotation::FINGERPRINT.to_owned(), stamp);
            target.chain = vec![leaf];
        });
        let standing = seen.standing();
        let certificate = &standing.held().expect("it is ours").certificate;
        for text in [&certificate.subject, certificate.common_name.as_ref().expect("a name")] {
            assert!(text.len() <= TEXT_LIMIT && text.ends_with("ö…"), "{} bytes", text.len());
        }
    }
}
