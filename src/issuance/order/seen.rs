//! What is known of the request's order in one run.

use jiff::{SignedDuration, Timestamp};

use super::record::{Record, RecordRead};
use crate::ca::tenant;
use crate::ca::{Found, KeyEvidence, Lookup, OrderKind, Phase, Progress};
use crate::issuance::certificate::key::Key;
use crate::issuance::certificate::purchase::Purchase;
use crate::issuance::trouble::Trouble;
use crate::pki::Names;

/// What is known of the request's order in this run.
#[derive(Clone, Debug, Default)]
pub struct OrderSeen {
    /// The process that runs.
    pub incarnation: String,
    /// A search of this account has found an order of ours before.
    pub proven: bool,
    /// The accounts whose searches have found orders of ours, each in one line.
    pub found_at: Vec<String>,
    /// The claim that this process won and has not used.
    pub claim: Option<UnusedClaim>,
    /// Since when the order is looked for, where its answer was lost.
    pub sought: Sought,
    /// The reference in the record, by its metadata in the cache.
    pub recorded: Option<String>,
    /// The record, once read in this run.
    pub record: Option<RecordRead>,
    /// How often somebody else wrote the record in this run.
    pub conflicts: u8,
    /// What `stage` and `progress` speak of, where the record was read in this run.
    pub about: Option<OrderAndClaim>,
    /// How far this run has come with the order.
    pub stage: OrderStage,
    /// The order that is to take its place: made ready in this run, and not stored.
    pub prepared: Option<Prepared>,
    /// How the order stands, by the CA's latest word.
    pub progress: Option<Progress>,
    /// What the search for the order before came to, whose certificate is to be delivered again.
    pub before: Option<Result<Lookup, Trouble>>,
}

/// How far a run has come with an order: each stage follows on an earlier one.
#[derive(Clone, Debug, Default)]
pub enum OrderStage {
    /// Nothing was done for it.
    #[default]
    Untouched,
    /// The status says who submits it.
    Announced,
    /// The CA was searched for it.
    Searched {
        /// What the search came to.
        answer: Result<Lookup, Trouble>,
        /// The status said before, or has said since, who submits it.
        announced: bool,
    },
    /// The CA took it.
    Taken,
    /// It was sent, and the CA did not say that it took it.
    NotTaken(Sent, Trouble),
}

/// An order, and the claim on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OrderAndClaim {
    /// The order's reference.
    pub reference: String,
    /// The claim that the stage of the order was reached under ([`Record::claim_id`]).
    pub claim: String,
}

impl OrderAndClaim {
    fn of(record: &Record) -> Self {
        Self { reference: record.next.order.reference.clone(), claim: record.claim_id() }
    }
}

/// A claim that was won and not used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnusedClaim {
    /// Reference of the order.
    pub reference: String,
    /// It was won long ago, and has to be won again before it is used.
    pub is_old: bool,
    /// Nothing was sent under an earlier claim either: this process has had all of them.
    pub is_untouched: bool,
}

/// What became of a submit without an answer that says "taken".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sent {
    /// Provably nothing was ordered.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// A key with everything an order needs.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Whether it follows another order.
    pub kind: OrderKind,
    /// The key.
    pub key: Key,
    /// Names in the CSR.
    pub names: Names,
    /// PKCS #10 request, DER.
    pub csr_der: Vec<u8>,
    /// What the CA's client made of the request.
    pub parameters: serde_json::Value,
    /// What it is ordered for, in ids.
    pub purchase: Purchase,
}

/// How long an order has been looked for, by the process's own monotonic clock.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sought {
    /// The claim whose answer is lost ([`Record::claim_id`]).
    pub of: String,
    /// Since the first look; `None` before it.
    pub elapsed: Option<SignedDuration>,
    /// Since the last look.
    pub since_last: SignedDuration,
    /// Answers "there is none", at least a quarter of the settle window apart.
    pub absent: u32,
}

/// So many answers "there is none", spread over the settle window, make an order absent.
pub(in crate::issuance) const ABSENT_ENOUGH: u32 = 3;
/// An order is not looked for more often than this, where the settle window allows.
pub(super) const SHORTEST_LOOK: SignedDuration = SignedDuration::from_secs(2);
/// An order that was not found within the settle window is looked for at least so often.
const LONGEST_LOOK: SignedDuration = SignedDuration::from_mins(10);

impl Sought {
    /// It is about this claim.
    #[must_use]
    pub fn is_of(&self, claim: &str) -> bool {
        self.of == claim
    }

    /// How long after the last look the next one comes.
    pub(super) fn pause(&self, window: SignedDuration) -> SignedDuration {
        let quarter = window / 4;
        // As of the last look: or one that is due at the end of the window would be put off by it.
        let elapsed = self.elapsed.unwrap_or_default() - self.since_last;
        let longest = if elapsed > window { quarter.max(LONGEST_LOOK) } else { quarter };
        (elapsed / 2).max(SHORTEST_LOOK.min(window / 8)).min(longest)
    }

    /// How long until the next look; `None` where it is due.
    pub(super) fn wait(&self, window: SignedDuration) -> Option<SignedDuration> {
        self.elapsed?;
        let wait = self.pause(window) - self.since_last;
        wait.is_positive().then_some(wait)
    }

    pub(super) fn is_settled(&self, window: SignedDuration) -> bool {
        let is_over = self.elapsed.is_some_and(|elapsed| elapsed >= window);
        self.absent >= ABSENT_ENOUGH && is_over
    }
}

impl OrderSeen {
    /// Whether a search has found an order of ours with this account, by this user of it.
    #[must_use]
    pub fn is_proven_at(&self, account: &str) -> bool {
        self.found_at.iter().any(|found| tenant::is_same_login(found, account))
    }

    /// The status that says who submits was written in this run.
    #[must_use]
    pub fn is_announced(&self) -> bool {
        match &self.stage {
            OrderStage::Announced | OrderStage::NotTaken(..) | OrderStage::Taken => true,
            OrderStage::Searched { announced, .. } => *announced,
            OrderStage::Untouched => false,
        }
    }

    /// What the search of this run came to.
    #[must_use]
    pub fn lookup(&self) -> Option<&Result<Lookup, Trouble>> {
        match &self.stage {
            OrderStage::Searched { answer, .. } => Some(answer),
            OrderStage::Announced
            | OrderStage::NotTaken(..)
            | OrderStage::Taken
            | OrderStage::Untouched => None,
        }
    }

    /// A submit of this run was refused or lost.
    #[must_use]
    pub fn not_taken(&self) -> Option<(Sent, &Trouble)> {
        match &self.stage {
            OrderStage::NotTaken(sent, trouble) => Some((*sent, trouble)),
            OrderStage::Announced
            | OrderStage::Searched { .. }
            | OrderStage::Taken
            | OrderStage::Untouched => None,
        }
    }

    /// Ids of further orders that the search of this run found under the same name.
    #[must_use]
    pub fn others(&self) -> Vec<String> {
        match self.lookup() {
            Some(Ok(Lookup::Found(found))) => others(found),
            Some(_) | None => Vec::new(),
        }
    }

    /// The record as it is now. What was learned of another order, or under another claim, says
    /// nothing of this one: somebody may have put it there, and submitted it, meanwhile. `hinted` is
    /// the order that the status speaks of.
    pub(in crate::issuance) fn read(&mut self, read: RecordRead, hinted: Option<&str>) {
        if let RecordRead::Present(record) = &read {
            let about = OrderAndClaim::of(record);
            let before = self.about.as_ref().map(|one| one.reference.as_str()).or(hinted);
            let is_another = before.is_some_and(|before| before != about.reference);
            let is_under_another = self.about.as_ref().is_some_and(|before| *before != about);
            if is_another {
                self.progress = None;
            }
            let is_outdated = match &self.stage {
                OrderStage::Announced | OrderStage::Searched { .. } => is_under_another,
                OrderStage::NotTaken(..) | OrderStage::Taken => is_another,
                OrderStage::Untouched => false,
            };
            if is_outdated {
                self.stage = OrderStage::Untouched;
            }
            self.about = Some(about);
        }
        self.record = Some(read);
    }

    /// Somebody else wrote the record: what is known of it is out of date.
    pub(in crate::issuance) fn lost_to_another(&mut self) {
        self.record = None;
        self.conflicts += 1;
    }

    /// The claim that was won by writing this record.
    #[must_use]
    pub fn won(&self, record: &Record) -> UnusedClaim {
        let reference = &record.next.order.reference;
        let had_it = matches!(&self.record, Some(RecordRead::Present(before))
            if before.mark.claim == self.incarnation);
        let mut last = self.claim.iter().filter(|last| had_it && last.reference == *reference);
        let is_untouched = record.mark.attempt == 1 || last.any(|last| last.is_untouched);
        UnusedClaim { reference: reference.clone(), is_old: false, is_untouched }
    }

    /// The record was written, and with it the claim won: what was learned before says nothing of it.
    pub(in crate::issuance) fn claimed(self, record: Box<Record>) -> Self {
        let about = OrderAndClaim::of(&record);
        Self {
            claim: Some(self.won(&record)),
            about: Some(about),
            record: Some(RecordRead::Present(record)),
            incarnation: self.incarnation,
            sought: self.sought,
            proven: self.proven,
            found_at: self.found_at,
            conflicts: self.conflicts,
            ..Self::default()
        }
    }

    /// The status says who submits what.
    pub(in crate::issuance) fn announced(&mut self) {
        self.stage = match std::mem::take(&mut self.stage) {
            OrderStage::Searched { answer, .. } => OrderStage::Searched { answer, announced: true },
            OrderStage::Announced
            | OrderStage::NotTaken(..)
            | OrderStage::Taken
            | OrderStage::Untouched => OrderStage::Announced,
        };
    }

    /// The CA was searched.
    pub(in crate::issuance) fn searched(&mut self, answer: Result<Lookup, Trouble>) {
        if let Ok(Lookup::Found(found)) = &answer
            // Where all are for other keys, what was known of ours stands.
            && let Some(found) = adopt(found)
        {
            self.progress = Some(found.progress.clone());
        }
        let announced = self.is_announced();
        self.stage = OrderStage::Searched { answer, announced };
    }

    /// The CA took the order.
    pub(in crate::issuance) fn taken(&mut self, progress: Progress) {
        self.claim = None;
        self.progress = Some(progress);
        self.stage = OrderStage::Taken;
    }

    /// It was sent, and the CA did not say that it took it.
    pub(in crate::issuance) fn not_taken_for(&mut self, sent: Sent, trouble: Trouble) {
        self.claim = None;
        self.stage = OrderStage::NotTaken(sent, trouble);
    }
}

/// The ids of those under our name and not for another's key that are not the one to follow.
#[must_use]
pub fn others(found: &[Found]) -> Vec<String> {
    let followed = adopt(found).and_then(|one| one.progress.id.as_ref());
    found
        .iter()
        .filter(|one| one.evidence != KeyEvidence::Foreign)
        .filter_map(|one| one.progress.id.as_ref())
        .filter(|id| Some(*id) != followed)
        .cloned()
        .collect()
}

/// The one to follow of what a search found: the oldest for our key; where no key is known yet, the
/// oldest; never one for another key.
#[must_use]
pub fn adopt(found: &[Found]) -> Option<&Found> {
    let oldest = |evidence| {
        found
            .iter()
            .filter(|one| one.evidence == evidence)
            // One that came to nothing is no reason to leave one that did not.
            .min_by_key(|one| {
                let has_failed = matches!(one.progress.phase, Phase::Failed(_));
                (has_failed, one.created.unwrap_or(Timestamp::MAX))
            })
    };
    oldest(KeyEvidence::Ours).or_else(|| oldest(KeyEvidence::None))
}
