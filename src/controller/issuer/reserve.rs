//! Takes a grant for a run, and reserves in the issuer's status what grants are drawn on.

use jiff::Timestamp;
use jiff::civil::Date;
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use crate::api::{CertificateRequest, ClusterIssuer, DayBudget, Issuer, IssuerKind};
use crate::controller::cluster::{Error, ErrorKind};
use crate::controller::context::Context;
use crate::controller::issuer::object::IssuerObject;
use crate::controller::issuer::quota::{Allowance, Limited};
use crate::controller::process::failpoint::failpoint;
use crate::issuance::quota::namespaces::Shares;
use crate::issuance::quota::{self, Draw, Reserved};
use crate::issuance::{Outcome, Read, Trouble};
use crate::outside::Disposition;
use crate::reason::Reason;

/// So often a reservation may lose to another writer before the run ends.
const CONFLICTS: usize = 8;

/// Where a reservation begins.
#[derive(Clone, Copy)]
enum Look {
    /// With the issuer in the cache. The resourceVersion of the write is the condition: what succeeds
    /// was written to that object, and by the limits of that object.
    Cached,
    /// With a look at the issuer, where the cache is known to be behind.
    Live,
}

/// Takes a grant, and reserves a block of the day's orders where there is none.
pub(in crate::controller) async fn reserve(
    context: &Context,
    issuer: &Limited<'_>,
    request: &CertificateRequest,
    allowance: &mut Allowance,
) -> Outcome {
    // One that has lapsed goes back, and is of no use any more.
    allowance.give_back();
    let turn = context.quotas.turn(&context.stores, issuer);
    let mut look = Look::Cached;
    for _ in 0..CONFLICTS {
        let _turn = turn.turn().await;
        let now = context.clock.now();
        let mut called = Vec::new();
        let asked = (request, now);
        let taken = context.quotas.take(&context.stores, issuer, asked, allowance, &mut called);
        context.wake.requests(called);
        match taken {
            Err(withheld) => return Outcome::Withheld(withheld),
            Ok(true) => return Outcome::Granted,
            Ok(false) => {}
        }
        let (Some(limit), uid) = (issuer.limits.per_day, request.uid().unwrap_or_default()) else {
            return Outcome::Granted;
        };
        let reserved = match issuer.key.kind {
            IssuerKind::Issuer => reserve_block::<Issuer>(context, issuer, limit, now, look).await,
            IssuerKind::ClusterIssuer => {
                reserve_block::<ClusterIssuer>(context, issuer, limit, now, look).await
            }
        };
        match reserved {
            Ok(()) => {}
            Err(Unreserved::Changed) => look = Look::Live,
            Err(Unreserved::Spent(limit, day)) => {
                return Outcome::Withheld(quota::spent(limit, day, &uid));
            }
            Err(Unreserved::Gone) => return Outcome::Abandoned,
            Err(Unreserved::Failed(why)) => return Outcome::Failed(not_reserved(why)),
        }
    }
    Outcome::Failed(not_reserved(format!(
        "somebody else changed the status of {} {} {CONFLICTS} times in the meantime",
        issuer.key.kind, issuer.key.name
    )))
}

/// Why there is no block.
enum Unreserved {
    /// By the limit and the day of now nothing is left.
    Spent(u32, Date),
    /// Somebody else has changed the issuer: it has to be looked at.
    Changed,
    /// The issuer is gone, or another has its name.
    Gone,
    /// It could not be read or written.
    Failed(String),
}

fn not_reserved(why: String) -> Trouble {
    Trouble {
        disposition: Disposition::Retry { after: None },
        reason: Reason::OrderBudgetNotReserved,
        message: format!(
            "nothing was ordered, because no part of the day's orders could be reserved: {why}"
        ),
        counts: true,
    }
}

/// Writes into the status that one more block is reserved: one API request, unless the issuer has to be
/// looked at before. Where the status tells of more than was known, that is noted, and there is no
/// block.
async fn reserve_block<K: IssuerObject>(
    context: &Context,
    issuer: &Limited<'_>,
    limit: u32,
    now: Timestamp,
    look: Look,
) -> Result<(), Unreserved> {
    let today = quota::day_of(now);
    let (reserved, shares) = context.quotas.reserved(&context.stores, issuer);
    let cached = match look {
        Look::Cached => cached::<K>(context, issuer),
        Look::Live => None,
    };
    let is_behind = |cached: &K| {
        let told = cached.status().and_then(|status| status.budget.as_ref());
        reserved.is_some_and(|own| own.is_beyond(today, told))
    };
    let found = match cached.filter(|cached| !is_behind(cached)) {
        Some(found) => found,
        None => read::<K>(context, issuer).await?,
    };
    let limits = found.spec().limits.as_ref();
    let limit = limits.and_then(|limits| limits.orders_per_day).map_or(limit, |one| one.min(limit));
    // The run may not have seen yet that there is one.
    let per_namespace = limits
        .and_then(|limits| limits.orders_per_namespace_per_day)
        .or(issuer.limits.per_namespace);
    let stored = found.status().and_then(|status| status.budget.as_ref());
    let known = Reserved::known(today, stored, reserved);
    let me = issuer.claimant;
    let is_counted = per_namespace.is_some() || stored.is_some_and(is_counted);
    let shares = is_counted.then(|| Shares::known(&known, stored, shares.as_ref(), me));
    let note = |reserved: Reserved, block, written| {
        let noted = (reserved, block);
        context.quotas.note_reserved(&context.stores, issuer, noted, stored, written);
    };
    // What the run has seen may be less.
    let seen = (issuer.limits.per_day.unwrap_or(limit), issuer.limits.per_namespace);
    let block_of_limit = Reserved::block(limit, per_namespace).min(Reserved::block(seen.0, seen.1));
    let next = match known.draw(limit, per_namespace) {
        Draw::Reserve(next) => next,
        // The block is there, and the status has yet to tell that nobody has counted it.
        Draw::FromBlock(_)
            if per_namespace.is_some()
                && shares.as_ref().is_some_and(|shares| !shares.is_told(block_of_limit)) =>
        {
            known
        }
        Draw::FromBlock(_) => {
            note(known, 0, None);
            return Ok(());
        }
        Draw::Spent(day) => return Err(Unreserved::Spent(limit, day)),
    };
    let block = next.unspent - known.unspent;
    let wanted = match &shares {
        Some(shares) => shares.stored(&next, me),
        None => next.stored(me),
    };
    match write(context, &found, wanted.clone()).await {
        Ok(()) => note(next, block, Some(&wanted)),
        Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => {
            return Err(Unreserved::Changed);
        }
        // Whether it was written nobody knows, until it is looked at. Only this process writes its
        // own name, and one reservation at a time.
        Err(error) => {
            let now = read::<K>(context, issuer).await?;
            if now.status().and_then(|status| status.budget.as_ref()) != Some(&wanted) {
                return Err(Unreserved::Failed(error.to_string()));
            }
            note(next, block, Some(&wanted));
        }
    }
    Ok(())
}

/// Somebody counted namespaces: what they had stays known where the limit is away for a while.
fn is_counted(budget: &DayBudget) -> bool {
    !budget.namespaces.is_empty() || budget.others > 0
}

/// The issuer as the cache has it.
fn cached<K: IssuerObject>(context: &Context, issuer: &Limited<'_>) -> Option<K> {
    let name = ObjectRef::new(&issuer.key.name);
    let name = match &issuer.key.namespace {
        Some(namespace) => name.within(namespace),
        None => name,
    };
    let found = K::store(&context.stores).get(&name)?;
    found.0.as_ref().ok().filter(|found| found.uid().as_deref() == Some(issuer.uid)).cloned()
}

async fn read<K: IssuerObject>(context: &Context, issuer: &Limited<'_>) -> Result<K, Unreserved> {
    let namespace = issuer.key.namespace.as_deref();
    let api = K::api(context.cluster.client(), namespace);
    let name = (namespace.unwrap_or_default(), issuer.key.name.as_str());
    match context.cluster.object(api, K::RESOURCE, name).await {
        Read::Present(found) if found.uid().as_deref() == Some(issuer.uid) => Ok(found),
        Read::Present(_) | Read::Absent => Err(Unreserved::Gone),
        Read::Unreadable(why) => Err(Unreserved::Failed(why)),
    }
}

async fn write<K: IssuerObject>(
    context: &Context,
    found: &K,
    budget: DayBudget,
) -> Result<(), Error> {
    let mut changed = found.clone();
    let mut status = found.status().cloned().unwrap_or_default();
    status.budget = Some(budget);
    changed.set_status(status);
    let api = K::api(context.cluster.client(), found.namespace().as_deref());
    failpoint("before-reserve");
    let written = context.cluster.put_status(api, K::STATUS_RESOURCE, &changed).await;
    failpoint("after-reserve");
    written.map(drop)
}
