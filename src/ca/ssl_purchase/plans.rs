//! Plans: which one is meant. And what can be done for an order whose certificate nears its end.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::states::Stage;
use super::wire::Plan;
use crate::api::{SslPurchasePlan, SslPurchaseReissue};
use crate::outside::remote_text::{self, CANDIDATES, shown};
use crate::outside::{Disposition, Error};
use crate::reason::Reason;

/// So much longer another certificate of the same term has to be valid to be worth one that ends at once.
const GAIN: SignedDuration = SignedDuration::from_hours(24);

/// Who chose the plan: whose fault it is where it will not do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) enum ChosenBy {
    Issuer,
    Request,
}

impl ChosenBy {
    /// Where a person changes it.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Issuer => "spec.sslPurchase.plan of the issuer",
            Self::Request => "spec.sslPurchase.plan of the request",
        }
    }

    pub(super) fn disposition(self) -> Disposition {
        match self {
            Self::Issuer => Disposition::BlameIssuer,
            Self::Request => Disposition::Reject,
        }
    }
}

/// The one plan of this name.
pub(super) fn named<'a>(
    plans: &'a [Plan],
    name: &str,
    chosen_by: ChosenBy,
) -> Result<&'a Plan, Error> {
    let found: Vec<&Plan> =
        plans.iter().filter(|plan| plan.name.as_deref() == Some(name)).collect();
    let field = chosen_by.field();
    let message = match found[..] {
        [plan] => return Ok(plan),
        [] => format!(
            "no plan that the account sees is called {}: check {field}; there is {}",
            shown(name),
            listed(plans)
        ),
        _ => {
            let ids: Vec<&str> =
                found.iter().take(CANDIDATES).map(|plan| plan.id.as_str()).collect();
            format!(
                "{} plans are called {}: give the id in {field}, one of {}",
                found.len(),
                shown(name),
                ids.join(", ")
            )
        }
    };
    Err(Error { disposition: chosen_by.disposition(), reason: Reason::ProductNotFound, message })
}

fn listed(plans: &[Plan]) -> String {
    let all: Vec<String> = plans
        .iter()
        .map(|plan| match &plan.name {
            Some(name) => format!("{} ({})", shown(name), plan.id),
            None => plan.id.clone(),
        })
        .collect();
    remote_text::listed(all, "none like it")
}

/// What a plan is called in messages.
pub(super) fn words(plan: &SslPurchasePlan) -> String {
    shown(plan.id.as_deref().or(plan.name.as_deref()).unwrap_or("none"))
}

/// So many months later.
pub(super) fn later(start: Timestamp, months: u8) -> Option<Timestamp> {
    let start = start.to_zoned(jiff::tz::TimeZone::UTC);
    let end = start.checked_add(jiff::Span::new().months(i64::from(months))).ok()?;
    Some(end.timestamp())
}

/// Until when an order is paid: at least as long as its certificate lives. What is told may be the end
/// of a certificate, or nonsense: it can extend that and never shorten it.
pub(super) fn paid_until(not_after: Timestamp, told: [Option<Timestamp>; 2]) -> Timestamp {
    told.into_iter().flatten().fold(not_after, Timestamp::max)
}

/// What a certificate that nears its end needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    /// Another term; whether somebody asked for it now.
    Renewal {
        is_requested: bool,
    },
    Reissue,
}

/// An order whose certificate is there, as it stands now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// `None` where the API no longer knows it.
    pub(super) stage: Option<Stage>,
    /// It is of the plan that is wanted, as far as the API tells.
    pub(super) is_of_plan: bool,
    /// Until when it is paid.
    pub(super) paid_until: Timestamp,
    /// So many days before that it can be renewed.
    pub(super) window: u16,
    /// Its certificate ends then: a reissue would end it at once.
    pub(super) certificate_ends: Timestamp,
}

/// What is done for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// A first order.
    Anew,
    Renew,
    Reissue,
    /// Nothing before something else is under way or stopped at the reseller.
    Busy,
    /// Nothing: it is paid, and can be renewed from then on.
    TooEarly {
        opens: Timestamp,
    },
}

/// What is done for an order, so that nothing is bought that is paid already.
pub(super) fn way(
    wanted: Wanted,
    order: &Standing,
    policy: SslPurchaseReissue,
    now: Timestamp,
) -> Way {
    match order.stage {
        None | Some(Stage::Failed(..)) => return Way::Anew,
        Some(Stage::Open(_) | Stage::Suspended) => return Way::Busy,
        Some(Stage::Issued) => {}
    }
    if order.paid_until <= now {
        return Way::Anew;
    }
    let is_requested = match wanted {
        // It stays with the plan that it was bought for.
        Wanted::Reissue => return if order.is_of_plan { Way::Reissue } else { Way::Anew },
        Wanted::Renewal { is_requested } => is_requested,
    };
    let window = SignedDuration::from_hours(24 * i64::from(order.window));
    let opens = order.paid_until.checked_sub(window).unwrap_or(Timestamp::MIN);
    if opens <= now {
        return Way::Renew;
    }
    // Another certificate of the same term ends with the term.
    let gains = order.certificate_ends < order.paid_until.checked_sub(GAIN).unwrap_or(now);
    match policy {
        _ if order.certificate_ends <= now => Way::Reissue,
        SslPurchaseReissue::Always if gains || is_requested => Way::Reissue,
        SslPurchaseReissue::OnRequest if is_requested => Way::Reissue,
        SslPurchaseReissue::Always | SslPurchaseReissue::OnRequest | SslPurchaseReissue::Never => {
            Way::TooEarly { opens }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::FailedKind;

    fn plan(id: &str, name: &str) -> Plan {
        Plan { id: id.to_owned(), name: Some(name.to_owned()), renew_days: None, months: None }
    }

    #[test]
    fn a_plan_is_the_only_one_of_its_name() {
        let plans = [plan("1", "DV"), plan("2", "DV wildcard"), plan("3", "OV"), plan("4", "OV")];
        assert_eq!(named(&plans, "DV", ChosenBy::Issuer).unwrap().id, "1");
        let rows = [
            (
                "dv",
                "no plan that the account sees is called dv: check spec.sslPurchase.plan of the issuer; there is DV (1), DV wildcard (2), OV (3), OV (4)",
            ),
            (
                "OV",
                "2 plans are called OV: give the id in spec.sslPurchase.plan of the issuer, one of 3, 4",
            ),
        ];
        for (name, says) in rows {
            let error = named(&plans, name, ChosenBy::Issuer).unwrap_err();
            assert_eq!(error.message, says, "{name}");
            assert_eq!(error.disposition, Disposition::BlameIssuer, "{name}");
        }
        let error = named(&[], &"x".repeat(500), ChosenBy::Request).unwrap_err();
        assert_eq!(error.disposition, Disposition::Reject);
        assert!(error.message.len() < 300, "{error}");
        let many: Vec<Plan> = (0..30).map(|at| plan(&at.to_string(), "A\nB")).collect();
        let error = named(&many, "C", ChosenBy::Issuer).unwrap_err();
        assert!(error.message.ends_with(", 22 more") && !error.message.contains('\n'), "{error}");
    }

    #[test]
    fn nothing_is_bought_that_is_paid_already() {
        use SslPurchaseReissue::{Always, Never, OnRequest};
        use Wanted::Reissue;
        const TIMELY: Wanted = Wanted::Renewal { is_requested: false };
        const ASKED: Wanted = Wanted::Renewal { is_requested: true };
        let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let failed = Stage::Failed(FailedKind::Failed, "");
        let (far, near, over) =
            (at("2027-01-01T00:00:00Z"), at("2026-06-20T00:00:00Z"), at("2026-05-01T00:00:00Z"));
        let opens = at("2026-12-02T00:00:00Z");
        let certificate_ends = at("2026-07-01T00:00:00Z");
        let issued = Some(Stage::Issued);
        let rows = [
            ("in the window", TIMELY, issued, near, Never, Way::Renew),
            ("in the window, whatever the policy", TIMELY, issued, near, Always, Way::Renew),
            ("before it, nothing", TIMELY, issued, far, Never, Way::TooEarly { opens }),
            ("before it, another of the same term", TIMELY, issued, far, Always, Way::Reissue),
            ("before it, nobody asked", TIMELY, issued, far, OnRequest, Way::TooEarly { opens }),
            ("before it, somebody asked", ASKED, issued, far, OnRequest, Way::Reissue),
            (
                "before it, somebody asked in vain",
                ASKED,
                issued,
                far,
                Never,
                Way::TooEarly { opens },
            ),
            ("in the window, somebody asked", ASKED, issued, near, OnRequest, Way::Renew),
            ("the term is over", TIMELY, issued, over, Never, Way::Anew),
            ("the term is over, for a reissue", Reissue, issued, over, Always, Way::Anew),
            ("the order is gone", TIMELY, None, near, Always, Way::Anew),
            ("the order has ended", TIMELY, Some(failed), far, Never, Way::Anew),
            ("it is at work", TIMELY, Some(Stage::Open("")), near, Always, Way::Busy),
            ("it is stopped", Reissue, Some(Stage::Suspended), far, Always, Way::Busy),
            ("other names", Reissue, issued, far, Always, Way::Reissue),
            ("other names, near the end", Reissue, issued, near, Always, Way::Reissue),
        ];
        for (name, wanted, stage, paid_until, policy, expected) in rows {
            let order =
                Standing { stage, is_of_plan: true, paid_until, window: 30, certificate_ends };
            assert_eq!(way(wanted, &order, policy, now), expected, "{name}");
        }
        let order = Standing {
            stage: issued,
            is_of_plan: true,
            paid_until: far,
            window: 30,
            certificate_ends,
        };
        let other = Standing { is_of_plan: false, ..order };
        assert_eq!(way(Reissue, &other, Always, now), Way::Anew, "of another plan");
        let endless = Standing { window: u16::MAX, ..order };
        assert_eq!(way(TIMELY, &endless, Never, now), Way::Renew, "a window without end");
        let expired = Standing { certificate_ends: now, ..order };
        assert_eq!(way(TIMELY, &expired, Never, now), Way::Reissue, "there is nothing to end");
        let over = Standing { certificate_ends: now, paid_until: over, ..order };
        assert_eq!(way(TIMELY, &over, Never, now), Way::Anew, "nor is it paid");
        let whole = Standing { certificate_ends: far, ..order };
        let waits = Way::TooEarly { opens };
        assert_eq!(way(TIMELY, &whole, Always, now), waits, "another would end at the same time");
        assert_eq!(way(ASKED, &whole, Always, now), Way::Reissue, "its key may be known");
    }

    #[test]
    fn what_is_told_of_the_end_of_a_term_can_only_extend_it() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (past, middle, late) =
            (at("2020-01-01T00:00:00Z"), at("2026-06-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        let rows = [
            ([None, None], middle),
            ([Some(past), None], middle),
            ([Some(past), Some(past)], middle),
            ([Some(late), Some(past)], late),
            ([Some(past), Some(late)], late),
        ];
        for (told, expected) in rows {
            assert_eq!(paid_until(middle, told), expected, "{told:?}");
        }
    }
}
