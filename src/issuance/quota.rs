//! What the limits of an issuer leave: of the day's orders, of open orders, and of orders for one
//! request.
//!
//! # Guarantees
//! - What is drawn of a day was reserved in the issuer's status before. The sum of all blocks is at
//!   most the limit, and a process spends its own block only: whatever dies, no more is submitted
//!   than the limit allows.
//! - A day that has begun in the status stays, whatever a clock that was set back says.
//! - Everything that may end in a submit passes one gate.
//! - What a namespace has of a day is counted with the blocks ([`namespaces`]).

pub(super) mod gate;
pub mod made;
pub mod namespaces;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::certificate::renewal::jitter;
use crate::api::{DayBudget, Limits as LimitsSpec, OrderPhase, OrderStatus};
use crate::reason::Reason;
use crate::turns::end_of_day;

/// So many orders a day has, where they cost money and the issuer says nothing.
const ORDERS_PER_DAY: u32 = 100;
/// So many orders a request may have in a day, where they cost money and the issuer says nothing.
const ORDERS_PER_REQUEST: u32 = 10;
/// The window in which the orders for one request are counted.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);
/// A block is this part of the limit: so much a process that dies may lose.
const BLOCKS: u32 = 10;
/// And a block has at most so many orders: processes that die often must not spend the day.
const LARGEST: u32 = 10;
/// A block costs one API request. Of so many orders it costs 0.2 an order: a tenth that is fewer grows
/// to it,
const ENOUGH: u32 = 5;
/// as far as it is this part of the limit at most: a process that dies must not take half a day along.
const LARGEST_PART: u32 = 4;
/// Who is not called asks again after this time and a little more.
const PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// What waits for a new day goes on within so many seconds after midnight, and not all of it at once.
const MORNING: i64 = 300;

/// The limits of an issuer that bear on its requests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Orders on one UTC day.
    pub per_day: Option<u32>,
    /// Orders of one namespace on one UTC day.
    pub per_namespace: Option<u32>,
    /// Orders open at once.
    pub open: Option<u32>,
    /// Orders for one request within 24 hours.
    pub per_request: Option<u32>,
}

impl Limits {
    /// Of an issuer whose CA takes orders that cost money, or does not.
    #[must_use]
    pub fn of(spec: Option<&LimitsSpec>, has_orders: bool) -> Self {
        let limit = |field: fn(&LimitsSpec) -> Option<u32>| spec.and_then(field);
        let of_orders = |limit: Option<u32>| limit.filter(|_| has_orders);
        Self {
            per_day: limit(|spec| spec.orders_per_day)
                .or_else(|| has_orders.then_some(ORDERS_PER_DAY)),
            per_namespace: limit(|spec| spec.orders_per_namespace_per_day),
            open: of_orders(limit(|spec| spec.open_orders)),
            per_request: of_orders(
                limit(|spec| spec.orders_per_request_per_day).or(Some(ORDERS_PER_REQUEST)),
            ),
        }
    }

    /// A submit needs a grant.
    #[must_use]
    pub fn need_grant(&self) -> bool {
        self.per_day.is_some() || self.open.is_some()
    }
}

/// What a run knows of the limits that bear on it.
#[derive(Clone, Debug, Default)]
pub struct QuotaSeen {
    /// The limits.
    pub limits: Limits,
    /// This run has a grant.
    pub granted: bool,
    /// There was none, for this reason.
    pub withheld: Option<Withheld>,
    /// What the metadata watch knows of the record: when orders were made. `None` where it knows of
    /// no record.
    pub made: Option<Vec<Timestamp>>,
}

/// The limit that a request waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Withheld {
    /// The day's orders are spent.
    Day {
        /// `ordersPerDay`.
        limit: u32,
        /// The UTC day.
        day: Date,
        /// When the next begins for this request.
        until: Timestamp,
    },
    /// The day's orders of the request's namespace are spent.
    Namespace {
        /// `ordersPerNamespacePerDay`.
        limit: u32,
        /// The UTC day.
        day: Date,
        /// When the next begins for this request.
        until: Timestamp,
    },
    /// As many orders are open as may be.
    Open {
        /// `openOrders`.
        limit: u32,
        /// So many are.
        open: u32,
    },
    /// As many orders were made for this request as may be.
    Churn {
        /// `ordersPerRequestPerDay`.
        limit: u32,
        /// So many were.
        made: u32,
        /// When the next may be made.
        until: Timestamp,
    },
    /// What is left is for renewals of certificates that end today, or for others whose turn is before.
    Turn {
        /// It is what `ordersPerDay` leaves; what `openOrders` leaves otherwise.
        of_day: bool,
        /// The limit.
        limit: u32,
        /// When it asks again by itself, should nobody call it before.
        until: Timestamp,
    },
}

impl Withheld {
    /// The reason in a condition.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Day { .. } | Self::Turn { of_day: true, .. } => Reason::OrderBudgetSpent,
            Self::Open { .. } | Self::Turn { of_day: false, .. } => Reason::OpenOrdersLimitReached,
            Self::Namespace { .. } => Reason::NamespaceBudgetSpent,
            Self::Churn { .. } => Reason::ChurnLimitReached,
        }
    }

    /// It is a limit that the request shares with others.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Day { .. } | Self::Open { .. } | Self::Turn { .. } => true,
            Self::Churn { .. } | Self::Namespace { .. } => false,
        }
    }

    /// When it passes by itself, where that is known.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Day { until, .. }
            | Self::Churn { until, .. }
            | Self::Namespace { until, .. }
            | Self::Turn { until, .. } => Some(*until),
            Self::Open { .. } => None,
        }
    }
}

/// The UTC day of a moment.
#[must_use]
pub fn day_of(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

/// What is known to be reserved of one day, and how much of it this process has not spent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reserved {
    /// The UTC day.
    pub day: Date,
    /// By all processes together.
    pub reserved: u32,
    /// The rest of this process's block.
    pub unspent: u32,
}

/// What a draw on the day's orders comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Draw {
    /// One of the block that is reserved.
    FromBlock(Reserved),
    /// A block has to be reserved first.
    Reserve(Reserved),
    /// Nothing is left of that day.
    Spent(Date),
}

impl Reserved {
    /// What the status says, and what this process knows beyond it.
    ///
    /// Later days win, and more of the same day: a cache may lag. A day in the status that cannot be
    /// read is taken for today: what is reserved counts.
    #[must_use]
    pub fn known(today: Date, status: Option<&DayBudget>, memory: Option<Self>) -> Self {
        let stored = status.map(|budget| Self {
            day: budget.day.parse().unwrap_or(today),
            reserved: budget.reserved,
            unspent: 0,
        });
        let begun = |one: &Self| one.day >= today;
        let (stored, memory) = (stored.filter(begun), memory.filter(begun));
        match (stored, memory) {
            (Some(stored), Some(memory)) if stored.day == memory.day => {
                Self { reserved: stored.reserved.max(memory.reserved), ..memory }
            }
            (Some(one), Some(other)) => {
                if one.day > other.day {
                    one
                } else {
                    other
                }
            }
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => Self { day: today, reserved: 0, unspent: 0 },
        }
    }

    /// This process knows of more than the status says: whatever showed that status is behind.
    #[must_use]
    pub fn is_beyond(&self, today: Date, status: Option<&DayBudget>) -> bool {
        let told = Self::known(today, status, None);
        let known = Self::known(today, status, Some(*self));
        (known.day, known.reserved) != (told.day, told.reserved)
    }

    /// So many of the limit are neither submitted nor on their way.
    #[must_use]
    pub fn left(&self, limit: u32) -> u32 {
        limit.saturating_sub(self.reserved.saturating_sub(self.unspent))
    }

    /// Whether one more may be submitted, and what has to be written first.
    #[must_use]
    pub fn draw(self, limit: u32, per_namespace: Option<u32>) -> Draw {
        // A limit that was lowered binds what is left of a block too.
        if self.reserved.saturating_sub(self.unspent) >= limit {
            return Draw::Spent(self.day);
        }
        if self.unspent > 0 {
            return Draw::FromBlock(Self { unspent: self.unspent - 1, ..self });
        }
        let block = Self::block(limit, per_namespace).min(limit - self.reserved);
        Draw::Reserve(Self { reserved: self.reserved + block, unspent: block, ..self })
    }

    /// So many are reserved at once, where there are as many.
    #[must_use]
    pub fn block(limit: u32, per_namespace: Option<u32>) -> u32 {
        let half = per_namespace.map_or(u32::MAX, |limit| limit / 2);
        let block = (limit / BLOCKS).max(ENOUGH.min(limit / LARGEST_PART));
        block.min(LARGEST).min(half).max(1)
    }

    /// As it is written into the status.
    #[must_use]
    pub fn stored(&self, by: &str) -> DayBudget {
        DayBudget {
            day: self.day.to_string(),
            reserved: self.reserved,
            by: by.to_owned(),
            ..DayBudget::default()
        }
    }
}

/// Whether there may be orders of the day for who had none. What is reserved and counted only grows
/// with each block, and frees nobody.
#[must_use]
pub fn frees(before: Option<&DayBudget>, now: Option<&DayBudget>) -> bool {
    let Some(before) = before else { return false };
    let Some(now) = now else { return true };
    let has_less = |(namespace, count): (&String, &u32)| {
        now.namespaces.get(namespace).copied().unwrap_or_default() < *count
    };
    now.day != before.day
        || now.reserved < before.reserved
        || now.others < before.others
        || before.namespaces.iter().any(has_less)
}

/// The day's orders are spent, for the request of this uid.
#[must_use]
pub fn spent(limit: u32, day: Date, uid: &str) -> Withheld {
    Withheld::Day { limit, day, until: next_day(day, uid) }
}

/// The day's orders of its namespace are spent, for the request of this uid.
#[must_use]
pub fn spent_by_namespace(limit: u32, day: Date, uid: &str) -> Withheld {
    Withheld::Namespace { limit, day, until: next_day(day, uid) }
}

/// When the day after `day` begins for the request of this uid.
fn next_day(day: Date, uid: &str) -> Timestamp {
    let midnight = end_of_day(day);
    let spread = SignedDuration::from_secs(jitter(uid, MORNING));
    midnight.checked_add(spread).unwrap_or(midnight)
}

/// There is room, and it is for others first.
#[must_use]
pub fn not_its_turn(of_day: bool, limit: u32, now: Timestamp, uid: &str) -> Withheld {
    let pause = PAUSE.saturating_add(SignedDuration::from_secs(jitter(uid, MORNING)));
    Withheld::Turn { of_day, limit, until: now.checked_add(pause).unwrap_or(now) }
}

/// The order is at the CA, or may be, and has neither been issued nor ended. One that was stored and
/// never announced is neither.
#[must_use]
pub fn is_open(order: Option<&OrderStatus>) -> bool {
    order.is_some_and(|order| match order.phase {
        OrderPhase::Pending => true,
        OrderPhase::Submitting | OrderPhase::Unknown => order.submitted_at.is_some(),
        OrderPhase::Issued | OrderPhase::Failed => false,
    })
}

/// Whether one more may be made. What is ahead of a clock that was set back counts as well.
#[must_use]
pub fn churn(limit: Option<u32>, made: &[Timestamp], now: Timestamp) -> Option<Withheld> {
    let limit = limit?;
    let mut within: Vec<_> =
        made.iter().copied().filter(|at| now.duration_since(*at) < WINDOW).collect();
    within.sort();
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    // The one that has to leave the window before there is room.
    let last = within.len().checked_sub(most).and_then(|at| within.get(at))?;
    Some(Withheld::Churn {
        limit,
        made: u32::try_from(within.len()).unwrap_or(u32::MAX),
        until: last.checked_add(WINDOW).unwrap_or(Timestamp::MAX),
    })
}

#[cfg(test)]
mod tests;
