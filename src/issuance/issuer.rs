//! The pure core for issuers: when an account is checked, and what its status says.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::describe::notices::Notice;
use super::describe::requeue::Requeue;
use super::previous::credentials_refused;
use crate::api::condition::{self, READY, STALLED, Verdict};
use crate::api::{IssuerStatus, TrustAnchors};
use crate::ca::tenant;
use crate::outside::{Disposition, Error};
use crate::reason::Reason;

/// An account that works is checked so often.
pub const CHECK_INTERVAL: SignedDuration = SignedDuration::from_mins(7);
/// Refused credentials are tried once more after this time, should the CA have changed its mind.
const PARDON: SignedDuration = SignedDuration::from_hours(1);

const NAMES_NOBODY: &str = "it does not say whom it serves: it renews what it delivered and takes nothing new before spec.allow.namespaces is set (an empty selector, {}, is every namespace)";
const SUSPENDED: &str = "; nothing new is asked of it while spec.suspend is true";

/// What is known of an issuer.
#[derive(Clone, Debug)]
pub struct IssuerObservation {
    /// The wall clock.
    pub now: Timestamp,
    /// `Issuer` or `ClusterIssuer`, and its name.
    pub name: String,
    /// Generation of the spec.
    pub generation: i64,
    /// The status so far.
    pub status: IssuerStatus,
    /// resourceVersion of the credentials Secret, from the watch.
    pub credentials_version: Option<String>,
    /// A ConfigMap with trust anchors has changed since they were read.
    pub has_other_bundles: bool,
    /// The CA refused these credentials in this process.
    pub blamed: Option<Error>,
    /// When the next check is due, as far as this process knows.
    pub next_check: Option<Timestamp>,
    /// Failed checks in a row in this process.
    pub failures: u32,
    /// The account whose search has found an order of ours in this process.
    pub order_found_at: Option<String>,
    /// The trust anchors against which this process has verified a chain last.
    pub trust_verified: Option<String>,
    /// Orders that its limits allow on one day.
    pub orders_per_day: Option<u32>,
    /// A request of the issuer has a certificate: a version that noted no anchors may have verified
    /// its chain.
    pub has_certificates: bool,
    /// `spec.suspend`.
    pub suspended: bool,
    /// It serves other namespaces and does not say which.
    pub names_nobody: bool,
}

impl IssuerObservation {
    /// The status with what a search has found out, and with the limit of the day, where it does not say
    /// so yet.
    #[must_use]
    pub fn with_news(&self) -> Option<IssuerStatus> {
        let mut status =
            IssuerStatus { orders_per_day: self.orders_per_day, ..self.status.clone() };
        let account = self.status.account.as_ref();
        let is_its =
            |found: &&String| account.is_some_and(|account| tenant::is_same_login(found, account));
        if let Some(found) = self.order_found_at.as_ref().filter(is_its) {
            status.order_found_at = Some(found.clone());
        }
        (status != self.status).then_some(status)
    }

    /// A chain was verified against anchors that the status does not name yet.
    #[must_use]
    pub fn has_verified_trust(&self) -> bool {
        self.trust_verified.is_some() && self.trust_verified != self.status.trust_verified
    }

    /// What is to be said of the trust anchors `now`.
    fn untested(&self, now: &str) -> Option<&'static str> {
        let verified = self.trust_verified.as_ref().or(self.status.trust_verified.as_ref());
        match verified {
            Some(verified) if verified == now => None,
            Some(_) => Some(
                "no chain was verified against spec.trust.bundle since it has changed: the next certificate shows whether it is the right one",
            ),
            None if self.has_certificates => None,
            None => Some(
                "no chain was verified against spec.trust.bundle yet: the first certificate shows whether it is the right one",
            ),
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IssuerStep {
    /// Check the account.
    Check,
    /// The credentials were refused an hour ago: let them be tried again.
    Forgive,
    /// Nothing, before then.
    Rest(Timestamp),
}

/// What a check found out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checked {
    /// The account in one line.
    pub account: String,
    /// The CA has looked at the credentials. Where it has not, they may be wrong.
    pub credentials_tried: bool,
    /// Findings that hinder nothing.
    pub remarks: Vec<String>,
    /// Id of the product that is ordered where a request names none.
    pub product: Option<String>,
    /// The trust anchors by [`super::trust::trust`], where they are given and not the system's.
    pub trust: Option<String>,
    /// They are all that is trusted: `ca.crt` of what is delivered follows them.
    pub follows: bool,
}

/// The next step.
#[must_use]
pub fn decide(seen: &IssuerObservation) -> IssuerStep {
    let status = &seen.status;
    let is_current = status.observed_generation == seen.generation
        && status.credentials_resource_version == seen.credentials_version;
    let ready = condition::find(&status.conditions, READY);
    if let Some(refused) = credentials_refused(status).filter(|_| is_current) {
        let pardon = seen.next_check.unwrap_or_else(|| plus(refused, PARDON));
        return if seen.now < pardon { IssuerStep::Rest(pardon) } else { IssuerStep::Forgive };
    }
    if seen.blamed.is_some() {
        // Described at once, from what the request found out.
        return IssuerStep::Rest(plus(seen.now, PARDON));
    }
    let works =
        is_current && !seen.has_other_bundles && ready.is_some_and(|ready| ready.status == "True");
    match seen.next_check {
        // A process that has just started believes the status: a restart asks nothing of a CA.
        None if works => IssuerStep::Rest(plus(seen.now, CHECK_INTERVAL)),
        Some(due) if seen.now < due && (works || seen.failures > 0 && is_current) => {
            IssuerStep::Rest(due)
        }
        None | Some(_) => IssuerStep::Check,
    }
}

/// The status after a check, or after the CA refused the credentials; with the next look.
#[must_use]
pub fn describe(
    seen: &IssuerObservation,
    result: Result<Checked, Error>,
) -> (IssuerStatus, Vec<Notice>, Requeue) {
    let pause = match &result {
        Ok(_) => CHECK_INTERVAL,
        Err(error) => pause_after(error.disposition, seen.failures),
    };
    let next = plus(seen.now, pause);
    let is_refused = matches!(&result, Err(error) if error.reason == Reason::CredentialsRefused);
    // The first time counts: a refusal that stands changes nothing.
    let refused_at = credentials_refused(&seen.status).unwrap_or(seen.now);
    let trust_anchors = match &result {
        Ok(checked) => checked
            .trust
            .clone()
            .filter(|_| checked.follows)
            .map(|sha256| trusted(&seen.status, sha256, seen.now)),
        Err(_) => seen.status.trust_anchors.clone(),
    };
    let (account, product, verdicts) = match result {
        Ok(checked) => {
            let mut message = if checked.credentials_tried {
                format!("{} answers", checked.account)
            } else {
                format!(
                    "the CA of {} answers; credentials are not tried before a certificate is asked for",
                    checked.account
                )
            };
            let untested = checked.trust.as_deref().and_then(|trust| seen.untested(trust));
            let remarks = checked.remarks.iter().map(String::as_str).chain(untested);
            for remark in remarks.chain(seen.names_nobody.then_some(NAMES_NOBODY)) {
                message.push_str("; note: ");
                message.push_str(remark);
            }
            let reason = if seen.suspended { Reason::Suspended } else { Reason::Checked };
            if seen.suspended {
                message.push_str(SUSPENDED);
            }
            let verdicts = vec![Verdict::new(READY, true, reason, message)];
            (Some(checked.account), checked.product, verdicts)
        }
        Err(error) => {
            (seen.status.account.clone(), seen.status.product.clone(), failed(&error, pause))
        }
    };
    let notices = notices(&seen.status, &verdicts);
    let status = IssuerStatus {
        observed_generation: seen.generation,
        conditions: condition::merge(&seen.status.conditions, verdicts, seen.generation, seen.now),
        account,
        product,
        order_found_at: seen.status.order_found_at.clone(),
        trust_anchors,
        trust_verified: seen.trust_verified.clone().or_else(|| seen.status.trust_verified.clone()),
        credentials_resource_version: seen.credentials_version.clone(),
        credentials_refused_at: is_refused.then_some(Time(refused_at)),
        orders_per_day: seen.orders_per_day,
        budget: seen.status.budget.clone(),
    };
    (status, notices, Requeue::At(next))
}

/// The anchors of now, and since when they are these.
fn trusted(status: &IssuerStatus, sha256: String, now: Timestamp) -> TrustAnchors {
    match &status.trust_anchors {
        Some(before) if before.sha256 == sha256 => before.clone(),
        Some(_) => TrustAnchors { sha256, since: Some(Time(now)) },
        // What was delivered before they were noted is not known to lack any.
        None => TrustAnchors { sha256, since: None },
    }
}

fn failed(error: &Error, pause: SignedDuration) -> Vec<Verdict> {
    let message = format!(
        "{} (tried again within {}, or when issuer or credentials change)",
        error.message,
        spoken(pause)
    );
    let ready = Verdict::new(READY, false, error.reason, message.clone());
    let needs_a_person = match error.disposition {
        Disposition::BlameCredentials | Disposition::BlameIssuer | Disposition::Reject => true,
        Disposition::Internal | Disposition::Retry { .. } => false,
    };
    let stalled = needs_a_person.then(|| Verdict::new(STALLED, true, error.reason, message));
    [Some(ready), stalled].into_iter().flatten().collect()
}

fn spoken(pause: SignedDuration) -> String {
    match pause.as_secs() {
        seconds @ 0..120 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds / 60),
    }
}

fn pause_after(disposition: Disposition, failures: u32) -> SignedDuration {
    let usual = SignedDuration::from_secs((5_i64 << failures.min(6)).min(300));
    match disposition {
        Disposition::BlameCredentials => PARDON,
        Disposition::Retry { after: Some(after) } => {
            usual.max(SignedDuration::try_from(after).unwrap_or(usual))
        }
        Disposition::BlameIssuer
        | Disposition::Internal
        | Disposition::Reject
        | Disposition::Retry { after: None } => usual,
    }
}

fn notices(before: &IssuerStatus, verdicts: &[Verdict]) -> Vec<Notice> {
    let old = condition::find(&before.conditions, READY);
    verdicts
        .iter()
        .filter(|verdict| verdict.kind == READY)
        .filter(|verdict| old.is_none_or(|old| old.reason != verdict.reason))
        .map(|verdict| Notice {
            warning: !verdict.holds,
            reason: verdict.reason.clone(),
            message: verdict.message.clone(),
        })
        .collect()
}

fn plus(from: Timestamp, pause: SignedDuration) -> Timestamp {
    from.checked_add(pause).unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    fn seen() -> IssuerObservation {
        IssuerObservation {
            now: at(10_000),
            name: "Issuer a".to_owned(),
            generation: 2,
            status: IssuerStatus { observed_generation: -1, ..IssuerStatus::default() },
            credentials_version: Some("7".to_owned()),
            has_other_bundles: false,
            blamed: None,
            next_check: None,
            failures: 0,
            order_found_at: None,
            trust_verified: None,
            orders_per_day: None,
            has_certificates: false,
            suspended: false,
            names_nobody: false,
        }
    }

    fn checked() -> Checked {
        Checked {
            account: "https://ca.example/certificate/ as jdoe".to_owned(),
            credentials_tried: true,
            remarks: vec![],
            product: None,
            trust: None,
            follows: true,
        }
    }

    fn refused() -> Error {
        Error {
            disposition: Disposition::BlameCredentials,
            reason: Reason::CredentialsRefused,
            message: "401".to_owned(),
        }
    }

    fn unreachable() -> Error {
        Error {
            disposition: Disposition::Retry { after: None },
            reason: Reason::Unreachable,
            message: "no route".to_owned(),
        }
    }

    fn working() -> IssuerObservation {
        let status = describe(&seen(), Ok(checked())).0;
        IssuerObservation { status, ..seen() }
    }

    fn refused_now() -> IssuerObservation {
        let status = describe(&working(), Err(refused())).0;
        IssuerObservation { status, ..seen() }
    }

    #[test]
    fn checks_happen_when_something_is_unknown() {
        use IssuerStep::{Check, Forgive, Rest};
        let cases = [
            ("a new issuer is checked", seen(), Check),
            ("a restart believes the status", working(), Rest(at(10_420))),
            (
                "until the interval is over",
                IssuerObservation { next_check: Some(at(10_001)), ..working() },
                Rest(at(10_001)),
            ),
            (
                "then it is checked",
                IssuerObservation { next_check: Some(at(10_000)), ..working() },
                Check,
            ),
            (
                "an edited one is checked at once",
                IssuerObservation { generation: 3, next_check: Some(at(20_000)), ..working() },
                Check,
            ),
            (
                "other trust anchors are checked at once",
                IssuerObservation {
                    has_other_bundles: true,
                    next_check: Some(at(20_000)),
                    ..working()
                },
                Check,
            ),
            (
                "refused credentials are not tried again because of them",
                IssuerObservation { has_other_bundles: true, ..refused_now() },
                Rest(at(13_600)),
            ),
            (
                "new credentials are checked at once",
                IssuerObservation {
                    credentials_version: Some("8".to_owned()),
                    next_check: Some(at(20_000)),
                    failures: 3,
                    ..working()
                },
                Check,
            ),
            (
                "one that is not ready is checked after a restart",
                IssuerObservation { status: describe(&seen(), Err(unreachable())).0, ..seen() },
                Check,
            ),
            (
                "a failed check is not repeated at once",
                IssuerObservation {
                    status: describe(&seen(), Err(unreachable())).0,
                    failures: 1,
                    next_check: Some(at(10_005)),
                    ..seen()
                },
                Rest(at(10_005)),
            ),
            ("refused credentials rest, across restarts", refused_now(), Rest(at(13_600))),
            ("for an hour", IssuerObservation { now: at(13_600), ..refused_now() }, Forgive),
            (
                "or until they change",
                IssuerObservation { credentials_version: Some("8".to_owned()), ..refused_now() },
                Check,
            ),
        ];
        for (name, seen, step) in cases {
            assert_eq!(decide(&seen), step, "{name}");
        }
    }

    #[test]
    fn an_unchanged_result_changes_nothing() {
        let later = IssuerObservation { now: at(20_000), ..working() };
        let (status, notices, _) = describe(&later, Ok(checked()));
        assert_eq!(status, later.status);
        assert_eq!(notices, vec![]);
    }

    #[test]
    fn a_check_keeps_what_is_reserved() {
        let budget = Some(crate::api::DayBudget { reserved: 7, ..Default::default() });
        let status = IssuerStatus { budget: budget.clone(), ..working().status };
        let checked_again = IssuerObservation { status, ..working() };
        for result in [Ok(checked()), Err(unreachable())] {
            assert_eq!(describe(&checked_again, result).0.budget, budget);
        }
    }

    #[test]
    fn a_person_is_asked_for_only_where_one_is_needed() {
        for (error, stalled) in [(refused(), true), (unreachable(), false)] {
            let (status, notices, _) = describe(&working(), Err(error));
            assert!(!condition::is_true(&status.conditions, READY));
            assert_eq!(condition::is_true(&status.conditions, STALLED), stalled);
            assert_eq!(notices.len(), 1);
        }
    }

    #[test]
    fn what_a_search_found_is_told_once_and_of_the_account_of_now() {
        let account = Some(checked().account);
        let found = IssuerObservation { order_found_at: account.clone(), ..working() };
        let told = found.with_news().expect("news");
        assert_eq!(told.order_found_at, account);
        let again = IssuerObservation { status: told.clone(), ..found.clone() };
        assert_eq!(again.with_news(), None);
        assert_eq!(describe(&again, Ok(checked())).0.order_found_at, account, "a check keeps it");
        let other = IssuerObservation { order_found_at: Some("another".to_owned()), ..found };
        assert_eq!(other.with_news(), None);
    }

    #[test]
    fn nobody_is_said_to_answer_whose_password_was_not_tried() {
        let told = |credentials_tried| {
            let (status, ..) = describe(&seen(), Ok(Checked { credentials_tried, ..checked() }));
            condition::find(&status.conditions, READY).map(|ready| ready.message.clone())
        };
        assert_eq!(told(true).unwrap(), "https://ca.example/certificate/ as jdoe answers");
        assert_eq!(
            told(false).unwrap(),
            "the CA of https://ca.example/certificate/ as jdoe answers; credentials are not tried before a certificate is asked for"
        );
    }

    #[test]
    fn a_ca_that_asks_to_be_left_alone_is_not_checked_before() {
        let after = Some(std::time::Duration::from_secs(1800));
        let rows = [
            (Disposition::Retry { after }, 0, 1800),
            (Disposition::Retry { after: Some(std::time::Duration::from_secs(1)) }, 3, 40),
            (Disposition::Retry { after: None }, 9, 300),
            (Disposition::BlameIssuer, 0, 5),
            (Disposition::BlameCredentials, 0, 3600),
        ];
        for (disposition, failures, seconds) in rows {
            assert_eq!(pause_after(disposition, failures).as_secs(), seconds, "{disposition:?}");
        }
    }

    #[test]
    fn anchors_that_no_chain_was_verified_against_are_told_of_until_one_was() {
        let with_bundle = |trust: &str| Checked { trust: Some(trust.to_owned()), ..checked() };
        let told = |seen: &IssuerObservation, checked: Checked| {
            let (status, ..) = describe(seen, Ok(checked));
            let ready = condition::find(&status.conditions, READY).expect("Ready").clone();
            assert_eq!(ready.status, "True", "a remark hinders nothing");
            (ready.message.split("; note: ").nth(1).map(str::to_owned), status)
        };
        let yet = "no chain was verified against spec.trust.bundle yet: the first certificate shows whether it is the right one";
        assert_eq!(told(&seen(), checked()).0, None, "the system's roots");
        let (note, status) = told(&seen(), with_bundle("a"));
        assert_eq!(note.as_deref(), Some(yet));
        let older = IssuerObservation { has_certificates: true, ..seen() };
        assert_eq!(told(&older, with_bundle("a")).0, None, "a version that did not note it");

        let verified = IssuerObservation { trust_verified: Some("a".to_owned()), status, ..seen() };
        assert!(verified.has_verified_trust());
        let (note, status) = told(&verified, with_bundle("a"));
        assert_eq!((note, status.trust_verified.as_deref()), (None, Some("a")));
        let restarted = IssuerObservation { status, ..seen() };
        assert!(!restarted.has_verified_trust());
        assert_eq!(told(&restarted, with_bundle("a")).0, None, "the status remembers");
        let (note, status) = told(&restarted, with_bundle("b"));
        assert!(note.is_some_and(|note| note.contains("since it has changed")));
        assert_eq!(status.trust_verified.as_deref(), Some("a"));
        let failed = describe(&restarted, Err(unreachable())).0;
        assert_eq!(failed.trust_verified.as_deref(), Some("a"), "a failed check keeps it");
    }

    #[test]
    fn whom_an_issuer_serves_now_is_in_its_condition() {
        let told = |seen: IssuerObservation| {
            let ready =
                condition::find(&describe(&seen, Ok(checked())).0.conditions, READY).cloned();
            let ready = ready.expect("it is there");
            (ready.status, ready.reason, ready.message)
        };
        let (status, reason, message) = told(IssuerObservation { suspended: true, ..seen() });
        assert_eq!((status.as_str(), reason.as_str()), ("True", "Suspended"));
        assert!(message.contains("while spec.suspend is true"), "{message}");
        let (_, reason, message) = told(IssuerObservation { names_nobody: true, ..seen() });
        assert_eq!(reason, "Checked");
        assert!(message.contains("takes nothing new before spec.allow.namespaces"), "{message}");
        let (_, _, message) = told(seen());
        assert!(!message.contains("spec.allow") && !message.contains("suspend"), "{message}");
    }

    #[test]
    fn remarks_are_in_the_message() {
        let remarks = vec!["ca.key holds a PRIVATE KEY".to_owned()];
        let (status, ..) = describe(&seen(), Ok(Checked { remarks, ..checked() }));
        let ready = condition::find(&status.conditions, READY).map(|ready| ready.message.clone());
        assert_eq!(
            ready.as_deref(),
            Some(
                "https://ca.example/certificate/ as jdoe answers; note: ca.key holds a PRIVATE KEY"
            )
        );
    }
}
