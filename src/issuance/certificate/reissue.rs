//! The closed list of what starts an issuance: small predicates in a fixed order, of which the
//! first that fires gives the reason.

use std::fmt;

use jiff::Timestamp;

use crate::issuance::certificate::requested::Requested;
use crate::issuance::certificate::standing::{Held, Standing};
use crate::issuance::observation::Observation;
use crate::reason::Reason;

/// Why a certificate is obtained.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reissue {
    /// There never was one.
    NeverIssued,
    /// The Secret is gone, and nothing else holds the certificate.
    SecretMissing,
    /// The Secret no longer holds what was delivered.
    SecretAltered(&'static str),
    /// Other names, or another user, are asked for.
    InputsDiffer(&'static str),
    /// Another kind of key is asked for.
    KeyKindChanged,
    /// Another issuer is referred to.
    IssuerChanged,
    /// The issuer speaks for another account.
    AccountChanged,
    /// Someone asked for it.
    RenewalRequested,
    /// The renewal time has come.
    NearingExpiry,
}

impl Reissue {
    /// The reason in a condition.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::AccountChanged => Reason::AccountChanged,
            Self::InputsDiffer(_) => Reason::InputsDiffer,
            Self::IssuerChanged => Reason::IssuerChanged,
            Self::KeyKindChanged => Reason::KeyKindChanged,
            Self::NearingExpiry => Reason::NearingExpiry,
            Self::NeverIssued => Reason::NeverIssued,
            Self::RenewalRequested => Reason::RenewalRequested,
            Self::SecretAltered(_) => Reason::SecretAltered,
            Self::SecretMissing => Reason::SecretMissing,
        }
    }

    /// Somebody works against us, or by mistake with us: a limit applies.
    #[must_use]
    pub fn is_repair(&self) -> bool {
        matches!(self, Self::SecretAltered(_) | Self::SecretMissing)
    }
}

impl fmt::Display for Reissue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccountChanged => f.write_str("the issuer now speaks for another account"),
            Self::InputsDiffer(field) => {
                write!(f, "{field} differs from what the certificate was requested with")
            }
            Self::IssuerChanged => f.write_str("issuerRef now names another issuer"),
            Self::KeyKindChanged => f.write_str("another kind of private key is asked for"),
            Self::NearingExpiry => f.write_str("the renewal time has come"),
            Self::NeverIssued => f.write_str("there is no certificate yet"),
            Self::RenewalRequested => f.write_str("a renewal was requested by annotation"),
            Self::SecretAltered(what) => write!(f, "the Secret was altered: {what}"),
            Self::SecretMissing => f.write_str("the Secret was deleted"),
        }
    }
}

impl Observation {
    /// Whether what is to be done now puts in order what somebody else changed.
    #[must_use]
    pub fn is_repair(&self) -> bool {
        match reissue(self, &self.standing()) {
            Some(reissue) => reissue.is_repair(),
            // Nothing new is needed: the old pair is written in better order.
            None => true,
        }
    }
}

/// What the predicates look at.
struct Case<'a> {
    seen: &'a Observation,
    standing: &'a Standing,
    /// What the certificate, or an order, was requested with.
    requested: Option<&'a Requested>,
    wanted: Requested,
}

type Predicate = fn(&Case<'_>) -> Option<Reissue>;

const CHAIN: [Predicate; 8] = [
    never_issued,
    secret_missing,
    secret_altered,
    inputs_differ,
    key_kind_changed,
    bought_for_another,
    renewal_requested,
    nearing_expiry,
];

/// The first reason to obtain a certificate, if there is one.
pub(in crate::issuance) fn reissue(seen: &Observation, standing: &Standing) -> Option<Reissue> {
    let requested = standing.held().and_then(|held| held.requested.as_ref());
    let case = Case { seen, standing, requested, wanted: seen.wanted() };
    CHAIN.iter().find_map(|predicate| predicate(&case))
}

/// What an edit of the request asks for since something was requested with this.
pub(in crate::issuance) fn edited(seen: &Observation, requested: &Requested) -> Option<Reissue> {
    const EDITS: [Predicate; 3] = [inputs_differ, key_kind_changed, bought_for_another];
    // One run reads a CSR and the next does not: what is told of the request does not go by that.
    let (standing, wanted) = (&Standing::Unread, seen.wanted().without_csr_key());
    let case = Case { seen, standing, requested: Some(requested), wanted };
    let edit = EDITS.iter().find_map(|predicate| predicate(&case));
    // Another user of the same issuer is an edit of the issuer.
    edit.filter(|edit| *edit != Reissue::AccountChanged)
}

fn never_issued(case: &Case<'_>) -> Option<Reissue> {
    let is_first = case.seen.previous.certificate.is_none();
    (is_first && matches!(case.standing, Standing::Absent)).then_some(Reissue::NeverIssued)
}

fn secret_missing(case: &Case<'_>) -> Option<Reissue> {
    matches!(case.standing, Standing::Absent).then_some(Reissue::SecretMissing)
}

fn secret_altered(case: &Case<'_>) -> Option<Reissue> {
    match case.standing {
        Standing::Broken(what) => Some(Reissue::SecretAltered(what)),
        Standing::Absent
        | Standing::Foreign(_)
        | Standing::Held(_)
        | Standing::Offered
        | Standing::Unread
        | Standing::Unreadable(_) => None,
    }
}

/// What a user writes and a certificate is made from, but for its key.
const INPUTS: [&str; 9] = [
    Requested::COMMON_NAME,
    Requested::SUBJECT,
    Requested::DNS_NAMES,
    Requested::IP_ADDRESSES,
    Requested::URIS,
    Requested::EMAIL_ADDRESSES,
    Requested::USAGES,
    Requested::DURATION,
    Requested::CREDENTIALS,
];

fn inputs_differ(case: &Case<'_>) -> Option<Reissue> {
    let field = INPUTS.into_iter().find(|field| case.differs(field));
    field
        .or_else(|| case.has(Requested::differs_in_block).then_some(Requested::CA_BLOCK))
        .or_else(|| case.has(Requested::has_other_csr).then_some(Requested::CSR))
        .map(Reissue::InputsDiffer)
}

fn key_kind_changed(case: &Case<'_>) -> Option<Reissue> {
    case.differs(Requested::PRIVATE_KEY).then_some(Reissue::KeyKindChanged)
}

/// Tenant or product are others, by their ids.
fn bought_for_another(case: &Case<'_>) -> Option<Reissue> {
    case.seen.bought_for_another(case.requested?)
}

/// Taking the annotation away asks for nothing.
fn renewal_requested(case: &Case<'_>) -> Option<Reissue> {
    let asked = case.wanted.text(Requested::RENEW).is_some();
    (asked && case.differs(Requested::RENEW)).then_some(Reissue::RenewalRequested)
}

fn nearing_expiry(case: &Case<'_>) -> Option<Reissue> {
    let now: Timestamp = case.seen.now;
    let due = case.held().is_some_and(|held| now >= held.renewal(&case.seen.request).time);
    due.then_some(Reissue::NearingExpiry)
}

impl Case<'_> {
    fn held(&self) -> Option<&Held> {
        self.standing.held()
    }

    fn has(&self, differs: fn(&Requested, &Requested) -> bool) -> bool {
        self.requested.is_some_and(|requested| differs(requested, &self.wanted))
    }

    fn differs(&self, field: &str) -> bool {
        self.requested.is_some_and(|requested| requested.differs(&self.wanted, field))
    }
}
