//! What earlier runs left in the status, as plain values.

use jiff::Timestamp;

use super::former;
use crate::api::condition::{self, ISSUING};
use crate::api::{
    AttemptInputs, CertificateRequestStatus, DeliveredCertificate, IssuerStatus, OrderStatus, Wait,
};

/// What earlier runs wrote into the status.
#[derive(Clone, Debug, Default)]
pub struct Previous {
    /// Certificates delivered so far.
    pub revision: i64,
    /// The certificate delivered last.
    pub certificate: Option<DeliveredCertificate>,
    /// Failed attempts since the last success.
    pub failed_attempts: i32,
    /// When the last of them was.
    pub last_failure: Option<Timestamp>,
    /// When the next one is due.
    pub next_attempt: Option<Timestamp>,
    /// What the last failed attempt was made with.
    pub last_attempt: Option<AttemptInputs>,
    /// What is waited for.
    pub wait: Option<Wait>,
    /// Reason and message of the condition `Issuing`: to be said again, and not to be looked into.
    pub said: Option<(String, String)>,
    /// When the certificate will be renewed.
    pub renewal: Option<Timestamp>,
    /// The certificate was there at the last look.
    pub has_certificate: bool,
    /// The order that was open.
    pub order: Option<OrderStatus>,
    /// Number of the order made last.
    pub orders: i64,
}

impl Previous {
    /// A limit of the issuer was reached.
    #[must_use]
    pub fn waits_for_limit(&self) -> bool {
        self.wait.is_some_and(|wait| wait.on.limit().is_some())
    }
}

/// What a request waits for, by its status.
#[must_use]
pub fn waits_for(status: &CertificateRequestStatus) -> Option<Wait> {
    status.wait.or_else(|| former::wait(status))
}

/// When the CA refused the credentials of an issuer, by its status.
#[must_use]
pub(super) fn credentials_refused(status: &IssuerStatus) -> Option<Timestamp> {
    let refused = status.credentials_refused_at.as_ref().map(|time| time.0);
    refused.or_else(|| former::credentials_refused(status))
}

impl From<&CertificateRequestStatus> for Previous {
    fn from(status: &CertificateRequestStatus) -> Self {
        let issuing = condition::find(&status.conditions, ISSUING);
        let order = status.order.clone().map(|order| OrderStatus {
            actor: order.actor.or_else(|| former::actor(&order)),
            ..order
        });
        Self {
            revision: status.revision.unwrap_or_default().max(0),
            certificate: status.certificate.clone(),
            failed_attempts: status.failed_attempts.unwrap_or_default().max(0),
            last_failure: status.last_failure_time.as_ref().map(|time| time.0),
            next_attempt: status.next_attempt_time.as_ref().map(|time| time.0),
            last_attempt: status.last_attempt.clone(),
            wait: waits_for(status),
            said: issuing.map(|found| (found.reason.clone(), found.message.clone())),
            renewal: status.renewal_time.as_ref().map(|time| time.0),
            has_certificate: status.renewal_time.is_some() || former::has_certificate(status),
            order,
            orders: status.orders.unwrap_or_default().max(0),
        }
    }
}
