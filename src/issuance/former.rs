//! Statuses of the versions before: what is a field of its own now was told by a reason then, or by
//! words. Here, and nowhere else, they are read back, where the field is absent. A status of this version
//! may have no such field either, because there is nothing to say: its words come to nothing then.

use jiff::Timestamp;

use crate::api::condition::{self, ISSUING, READY, STALLED};
use crate::api::{CertificateRequestStatus, IssuerStatus, OrderActor, OrderStatus, Wait, WaitsFor};
use crate::ca::Actor;
use crate::reason::Reason;

/// With these the versions before told of attempts that failed.
const FAILURES: [Reason; 46] = [
    Reason::AccessDenied,
    Reason::AddressInvalid,
    Reason::AddressUnknown,
    Reason::BundleUnreadable,
    Reason::BundleUnusable,
    Reason::CertificateNotYetValid,
    Reason::CertificateUnfit,
    Reason::CertificateUnusable,
    Reason::ChainNotTrusted,
    Reason::ClientInvalid,
    Reason::ClientNotFound,
    Reason::CredentialsMissing,
    Reason::CredentialsRefused,
    Reason::CredentialsUnreadable,
    Reason::CredentialsUnusable,
    Reason::CsrUnreadable,
    Reason::CsrUnusable,
    Reason::DurationRefused,
    Reason::KeyFailed,
    Reason::KindUnknown,
    Reason::NamesMissing,
    Reason::NamesUnfit,
    Reason::NoAnswer,
    Reason::NoToken,
    Reason::NotSupportedByCa,
    Reason::OrderBudgetNotReserved,
    Reason::OrderNotAnnounced,
    Reason::OrderRecordContended,
    Reason::OrderRecordNotWritten,
    Reason::OrderUnusable,
    Reason::ProductInvalid,
    Reason::ProductMissing,
    Reason::ProductNotFound,
    Reason::ProductUnusable,
    Reason::Redirected,
    Reason::Refused,
    Reason::RequestNotMade,
    Reason::SearchIncomplete,
    Reason::SecretContended,
    Reason::SecretNotWritten,
    Reason::ServerError,
    Reason::ServerNotTrusted,
    Reason::SettingsInvalid,
    Reason::TooManyRequests,
    Reason::UnexpectedAnswer,
    Reason::Unreachable,
];

/// What the request waited for.
pub(super) fn wait(status: &CertificateRequestStatus) -> Option<Wait> {
    // A fault of the program is told beside what was told before, and nobody is waited for.
    let needs_person = condition::find(&status.conditions, STALLED)
        .is_some_and(|one| one.status == "True" && one.reason != Reason::RunPanicked.word());
    let told = condition::find(&status.conditions, ISSUING)?;
    let reason = Reason::ALL.iter().find(|reason| told.reason == reason.word());
    let on = match reason {
        Some(Reason::ChurnLimitReached) => WaitsFor::OrdersPerRequestPerDay,
        Some(Reason::OpenOrdersLimitReached) => WaitsFor::OpenOrders,
        Some(Reason::NamespaceBudgetSpent) => WaitsFor::OrdersPerNamespacePerDay,
        Some(Reason::OrderBudgetSpent) => WaitsFor::OrdersPerDay,
        Some(Reason::OrderForForeignKey | Reason::OrderLookedFor | Reason::OrderOutcomeUnknown) => {
            WaitsFor::Search
        }
        Some(Reason::SecretNameTaken) => WaitsFor::SecretName,
        Some(Reason::SecretNotOurs) => WaitsFor::Secret,
        Some(Reason::Pending) if needs_person => WaitsFor::Attempt,
        Some(reason) if FAILURES.contains(reason) => WaitsFor::Attempt,
        Some(_) | None if needs_person => WaitsFor::Order,
        Some(_) | None => return None,
    };
    Some(Wait { on, needs_person })
}

/// A certificate was there at the last look, whose renewal time was left out where the target could not
/// be read.
pub(super) fn has_certificate(status: &CertificateRequestStatus) -> bool {
    condition::find(&status.conditions, READY)
        .is_some_and(|ready| ready.status == "True" || ready.reason == Reason::Expired.word())
}

/// Who had to act next for an order to move.
pub(super) fn actor(order: &OrderStatus) -> Option<OrderActor> {
    let words = order.waiting_for.as_deref()?;
    [
        (Actor::Ca, OrderActor::Ca),
        (Actor::Approver, OrderActor::Approver),
        (Actor::Owner, OrderActor::Owner),
    ]
    .into_iter()
    .find_map(|(actor, known)| (actor.words() == words).then_some(known))
}

/// When the CA refused the credentials of an issuer.
pub(super) fn credentials_refused(status: &IssuerStatus) -> Option<Timestamp> {
    condition::find(&status.conditions, READY)
        .filter(|ready| ready.reason == Reason::CredentialsRefused.word())
        .map(|ready| ready.last_transition_time.0)
}

#[cfg(test)]
mod tests;
