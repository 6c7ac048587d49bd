//! An order and its life: what was bought under it, a script of states that passes with the clock
//! or waits for the management API, the checks that hold it up, and its certificates.
//!
//! Pure: the time is a parameter, and whoever settles an order says how its certificate is made.

use std::collections::{BTreeSet, VecDeque};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use serde::{Deserialize, Serialize};

use super::request::{Asked, DcvType, Retry};
use super::settings::{Plan, SiteSettings, Step, Validation, ValidationLevel};
use crate::simulator::authority::{DAY, shifted};
use crate::simulator::faults::Kind;

/// Statuses in which a certificate exists.
const ISSUED: [&str; 4] = ["active", "completed", "issued", "valid"];

/// Whether the answer to a purchase reached its client as far as the simulator can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// A whole answer with this order was handed to the connection.
    Delivered,
    /// The answer was dropped, damaged or about another order, or the client had gone away.
    Dropped,
}

/// What a purchase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Deed {
    /// The order itself.
    Create,
    /// One more subscription under it.
    Renew,
    /// Another certificate within the subscription.
    Reissue,
}

/// A status an order was in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// The status as the script spells it.
    pub state: String,
    /// When the order came to it.
    pub entered: Timestamp,
    /// What it said.
    pub message: Option<String>,
}

/// What is checked before a certificate is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// Control over a domain.
    Domain,
    /// That the organisation exists.
    Organization,
    /// That it answers the telephone.
    Phone,
    /// That it signed.
    Docs,
}

/// Something to be shown before a certificate is issued.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) subject: Subject,
    /// Empty unless a domain is checked.
    pub(super) domain: String,
    pub(super) dcv_type: DcvType,
    pub(super) email: Option<String>,
    /// When it is met by itself.
    due: Option<Timestamp>,
    met: Option<Timestamp>,
    /// Whether it counts only once somebody has asked for it.
    needs_asking: bool,
    asked: Option<Timestamp>,
}

impl Check {
    /// Since when it counts.
    pub(super) fn counts_since(&self) -> Option<Timestamp> {
        let met = self.met?;
        match self.needs_asking && self.subject == Subject::Domain {
            true => self.asked.filter(|asked| *asked >= met),
            false => Some(met),
        }
    }

    pub(super) fn is_met(&self) -> bool {
        self.met.is_some()
    }
}

/// One purchase.
#[derive(Clone, Debug)]
pub(super) struct Bought {
    pub(super) deed: Deed,
    pub(super) on: Timestamp,
    pub(super) asked: Asked,
    pub(super) plan_id: String,
    pub(super) plan: Plan,
    /// The fault that spoils its certificate.
    pub(super) fault: Option<Kind>,
    pub(super) delivery: Delivery,
}

/// A certificate with its chain.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// Which purchase it is of.
    pub(super) of: usize,
    pub(super) serial: String,
    pub(super) issued_on: Timestamp,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) leaf: Vec<u8>,
    /// The authorities above it, the issuer first, and which of them is the root.
    pub(super) above: Vec<(Vec<u8>, bool)>,
    /// The chain comes the wrong way round.
    pub(super) is_reversed: bool,
    pub(super) fingerprint_sha256: String,
    pub(super) spki_sha256: String,
    /// Since when a reissue has made it void.
    pub(super) void_since: Option<Timestamp>,
}

/// An order.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) number: u64,
    pub(super) reseller: String,
    pub(super) created_on: Timestamp,
    pub(super) reference: Option<String>,
    /// The first is the order itself.
    pub(super) bought: Vec<Bought>,
    /// The place of the purchase that the status is about.
    begun: usize,
    step: Step,
    entered: Timestamp,
    remaining: VecDeque<Step>,
    /// A renewal that is not to be seen yet.
    unseen: Option<(Timestamp, Vec<Step>)>,
    past: Vec<Past>,
    pub(super) checks: Vec<Check>,
    /// Domains of checks that were met and have made room for others; empty for those of the
    /// organisation.
    validated: BTreeSet<String>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) subscription_ends: Option<Timestamp>,
    pub(super) deleted_on: Option<Timestamp>,
    pub(super) is_refunded: bool,
    pub(super) deletions: u64,
    pub(super) validations: u64,
    /// The API has never heard of it any more; the record stays.
    pub(super) is_forgotten: bool,
}

impl Order {
    /// An order at the beginning of its life.
    pub(super) fn new(
        settings: &SiteSettings,
        (id, number): (String, u64),
        reseller: String,
        bought: Bought,
    ) -> Self {
        let mut remaining = VecDeque::from(settings.life(false));
        let step = remaining.pop_front().unwrap_or_else(|| Step::waiting("pending"));
        let entered = bought.on;
        Self {
            id,
            number,
            reseller,
            created_on: entered,
            reference: bought.asked.field("client_reference").map(str::to_owned),
            checks: checks(settings, &bought, entered),
            bought: vec![bought],
            begun: 0,
            step,
            entered,
            remaining,
            unseen: None,
            past: Vec::new(),
            validated: BTreeSet::new(),
            certificates: Vec::new(),
            subscription_ends: None,
            deleted_on: None,
            is_refunded: false,
            deletions: 0,
            validations: 0,
            is_forgotten: false,
        }
    }

    /// The status, as the script spells it.
    pub(super) fn state(&self) -> &str {
        &self.step.state
    }

    pub(super) fn message(&self) -> Option<&str> {
        self.step.message.as_deref()
    }

    /// Whether the status is one in which a certificate exists.
    pub(super) fn is_issued(&self) -> bool {
        is_issued(&self.step)
    }

    /// Whether a purchase is being worked on.
    pub(super) fn is_busy(&self) -> bool {
        self.unseen.is_some() || !self.remaining.is_empty()
    }

    /// The purchase that the status is about.
    pub(super) fn shown(&self) -> Option<&Bought> {
        self.bought.get(self.begun)
    }

    /// Brings the order to where it is at this time. `make` makes the certificate of a purchase.
    pub(super) fn settle<E>(
        &mut self,
        settings: &SiteSettings,
        now: Timestamp,
        mut make: impl FnMut(&Bought, usize, Timestamp, Timestamp) -> Result<Certificate, E>,
    ) -> Result<(), E> {
        if self.deleted_on.is_some() {
            return Ok(());
        }
        if let Some((start, steps)) = self.unseen.take_if(|(start, _)| *start <= now) {
            self.begin(settings, start, steps);
        }
        loop {
            for check in self.checks.iter_mut().filter(|check| check.met.is_none()) {
                check.met = check.due.filter(|due| *due <= now);
            }
            if self.is_issued() {
                self.issue(&mut make)?;
            }
            match self.due() {
                Some(due) if due <= now && !self.remaining.is_empty() => self.next(due),
                Some(_) | None => break,
            }
        }
        let ended = self.subscription_ends.filter(|end| *end <= now);
        if let Some(end) = ended.filter(|_| self.is_issued() && !self.is_busy()) {
            self.enter(Step::waiting("expired"), end);
        }
        Ok(())
    }

    /// When the present step is over, if the clock or a check ends it.
    fn due(&self) -> Option<Timestamp> {
        let seconds = self.step.seconds?;
        let mut begin = self.entered;
        if self.remaining.front().is_some_and(is_issued) {
            for check in &self.checks {
                begin = begin.max(check.counts_since()?);
            }
        }
        Some(shifted(begin, duration(seconds)))
    }

    /// Makes the certificate of the purchase that the status is about, unless it has one.
    fn issue<E>(
        &mut self,
        make: &mut impl FnMut(&Bought, usize, Timestamp, Timestamp) -> Result<Certificate, E>,
    ) -> Result<(), E> {
        let of = self.begun;
        if self.certificates.iter().any(|certificate| certificate.of == of) {
            return Ok(());
        }
        let Some(bought) = self.bought.get(of) else {
            return Ok(());
        };
        let ends = match (bought.deed, self.subscription_ends) {
            (Deed::Reissue, Some(ends)) => ends,
            (Deed::Create | Deed::Renew | Deed::Reissue, before) => {
                let begin = before.map_or(self.entered, |before| before.max(self.entered));
                months_after(begin, bought.plan.interval)
            }
        };
        self.certificates.push(make(bought, of, self.entered, ends)?);
        self.subscription_ends = Some(ends);
        Ok(())
    }

    fn begin(&mut self, settings: &SiteSettings, start: Timestamp, steps: Vec<Step>) {
        self.remaining = VecDeque::from(steps);
        self.begun = self.bought.len().saturating_sub(1);
        if let Some(bought) = self.bought.last() {
            self.checks = checks(settings, bought, start);
        }
        self.next(start);
    }

    fn next(&mut self, at: Timestamp) {
        if let Some(step) = self.remaining.pop_front() {
            self.enter(step, at);
        }
    }

    fn enter(&mut self, step: Step, at: Timestamp) {
        let left = std::mem::replace(&mut self.step, step);
        self.past.push(Past { state: left.state, entered: self.entered, message: left.message });
        self.entered = at;
    }

    /// One more subscription.
    pub(super) fn renew(&mut self, settings: &SiteSettings, bought: Bought) {
        let start = shifted(bought.on, duration(settings.renewal_unseen_seconds));
        self.bought.push(bought);
        self.unseen = Some((start, settings.life(true)));
    }

    /// Another certificate: those before are void from now on. Domains that were validated for this
    /// order need no second validation.
    pub(super) fn reissue(&mut self, settings: &SiteSettings, bought: Bought) {
        let on = bought.on;
        for certificate in &mut self.certificates {
            certificate.void_since.get_or_insert(on);
        }
        let shown = self.checks.iter().filter(|check| check.counts_since().is_some());
        self.validated.extend(shown.map(|check| check.domain.clone()));
        self.bought.push(bought);
        let steps =
            vec![Step::passing("pending", settings.reissue_seconds), Step::waiting("active")];
        self.begin(settings, on, steps);
        self.checks.retain(|check| !self.validated.contains(&check.domain));
    }

    /// Disables the order.
    pub(super) fn delete(&mut self, state: &str, now: Timestamp) {
        self.deletions += 1;
        self.deleted_on = Some(now);
        self.unseen = None;
        self.remaining.clear();
        self.enter(Step::waiting(state), now);
    }

    /// Whether a deletion gives money back: the last thing that was paid is young enough.
    pub(super) fn is_refundable(&self, now: Timestamp) -> bool {
        let paid = self.bought.iter().rev().find(|bought| bought.deed != Deed::Reissue);
        paid.is_some_and(|paid| {
            let days = i32::try_from(paid.plan.grace_days).unwrap_or(i32::MAX);
            now < shifted(paid.on, DAY * days)
        })
    }

    /// Asks for the checks of these domains to be looked at again.
    pub(super) fn ask_again(&mut self, retry: &Retry, now: Timestamp) {
        self.validations += 1;
        for check in &mut self.checks {
            let is_meant = check.subject == Subject::Domain
                && retry.domain.as_ref().is_none_or(|domain| *domain == check.domain);
            if is_meant && check.counts_since().is_none() {
                check.dcv_type = retry.dcv_type;
                check.email = retry.email_address.clone().or_else(|| check.email.take());
                check.asked = Some(now);
            }
        }
    }

    /// Meets the checks of this domain, or all of them; `false` if there was none to meet.
    pub(super) fn meet(&mut self, domain: Option<&str>, now: Timestamp) -> bool {
        let open = self.checks.iter_mut().filter(|check| check.met.is_none());
        let mut meant: Vec<&mut Check> =
            open.filter(|check| domain.is_none_or(|domain| domain == check.domain)).collect();
        for check in &mut meant {
            check.met = Some(now);
        }
        !meant.is_empty()
    }

    /// Moves on to the next state of the script; `false` if there is none.
    pub(super) fn advance(&mut self, settings: &SiteSettings, now: Timestamp) -> bool {
        if let Some((_, steps)) = self.unseen.take() {
            self.begin(settings, now, steps);
            return true;
        }
        let has_next = !self.remaining.is_empty();
        self.next(now);
        has_next
    }

    /// Ends the script in this state.
    pub(super) fn end(&mut self, state: &str, message: Option<String>, now: Timestamp) {
        self.unseen = None;
        self.remaining.clear();
        self.enter(Step { state: state.to_owned(), seconds: None, message }, now);
    }

    /// Puts a state in between: the script goes on behind it when it is advanced.
    pub(super) fn put(&mut self, state: &str, now: Timestamp) {
        self.enter(Step::waiting(state), now);
    }

    /// All states, the present one last.
    pub(super) fn history(&self) -> Vec<Past> {
        let present = Past {
            state: self.step.state.clone(),
            entered: self.entered,
            message: self.step.message.clone(),
        };
        self.past.iter().cloned().chain([present]).collect()
    }

    /// The certificate whose files are handed out.
    pub(super) fn served(&self, settings: &SiteSettings, now: Timestamp) -> Option<&Certificate> {
        let newest = self.certificates.last()?;
        let lag = match self.certificates.len() {
            1 => settings.files_lag_seconds,
            _ => settings.old_files_seconds,
        };
        if shifted(newest.issued_on, duration(lag)) <= now {
            return Some(newest);
        }
        self.certificates.iter().rev().nth(1)
    }
}

fn is_issued(step: &Step) -> bool {
    ISSUED.iter().any(|state| step.state.eq_ignore_ascii_case(state))
}

/// What must be shown for this purchase.
fn checks(settings: &SiteSettings, bought: &Bought, start: Timestamp) -> Vec<Check> {
    let due = match settings.validation {
        Validation::Nothing => return Vec::new(),
        Validation::After { seconds } => Some(shifted(start, duration(seconds))),
        Validation::Manual => None,
    };
    let names = &bought.asked.names;
    let approver = bought.asked.field("approver_email_address");
    // An address is that of the first domain, and of others that it can speak for.
    let speaks_for = |email: &str, domain: &str| {
        let host = email.rsplit('@').next().unwrap_or_default();
        names.checked.first().is_some_and(|first| first == domain)
            || domain == host
            || domain.ends_with(&format!(".{host}"))
    };
    let check = |subject: Subject, domain: &str| Check {
        subject,
        domain: domain.to_owned(),
        dcv_type: bought.asked.dcv_type,
        email: approver.filter(|email| speaks_for(email, domain)).map(str::to_owned),
        due,
        met: None,
        needs_asking: settings.counts_when_asked,
        asked: None,
    };
    let domains = names.checked.iter();
    let mut checks: Vec<Check> = domains.map(|domain| check(Subject::Domain, domain)).collect();
    let further: &[Subject] = match bought.plan.validation_level {
        ValidationLevel::Dv => &[],
        ValidationLevel::Ov => &[Subject::Organization, Subject::Phone],
        ValidationLevel::Ev => &[Subject::Organization, Subject::Phone, Subject::Docs],
    };
    checks.extend(further.iter().map(|subject| check(*subject, "")));
    checks
}

/// So many months later; the same moment if there is no such time.
fn months_after(begin: Timestamp, months: u32) -> Timestamp {
    Span::new()
        .try_months(i64::from(months))
        .and_then(|span| begin.to_zoned(TimeZone::UTC).checked_add(span))
        .map_or(begin, |end| end.timestamp())
}

/// A span of time from seconds that were checked when they were set.
pub(super) fn duration(seconds: f64) -> SignedDuration {
    SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::ZERO)
}
