//! Asks each CA about its open orders.
//!
//! One task per account asks the CA, for many orders in few calls, and wakes the reconciles of those
//! that moved. It writes nothing and holds no keys: the reconciler alone acts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::ca::{OpenOrder, Progress};
use crate::controller::caught::caught;
use crate::controller::context::Context;
use crate::controller::issuer::accounts::{Account, IssuerNow};
use crate::controller::issuer::found::FoundIssuer;
use crate::controller::issuer::key::IssuerKey;
use crate::controller::issuer::order_poller::Unanswered;
use crate::outside::{Disposition, Error};

/// An answer is looked at again after this time, where the CA did not say when.
const FAULT: Duration = Duration::from_secs(60);

/// What it is called where it panics.
const PART: &str = "order poller";
/// An order whose answer made it panic is asked about again after this time.
const AFTER_A_PANIC: Duration = Duration::from_secs(600);

/// Has the CA asked about `open` until the order poller forgets it; `progress` is what was learned
/// otherwise.
pub(in crate::controller) fn follow(
    context: &Arc<Context>,
    issuer: &IssuerKey,
    open: (OpenOrder, String),
    request: (String, String),
    progress: Option<Progress>,
) {
    let now = context.clock.now();
    context.order_poller.put(issuer, open, request, progress, now, |changed| {
        let (key, shared) = (issuer.clone(), Arc::clone(context));
        let asking = async move { ask(&shared, &key, &changed).await };
        tokio::spawn(context.process.within(asking)).abort_handle()
    });
}

/// Asks about the orders of one account for as long as there are some.
async fn ask(context: &Context, issuer: &IssuerKey, changed: &Notify) {
    while let Some(due) = context.order_poller.due(issuer) {
        match due {
            Err(at) => {
                tokio::select! {
                    biased;
                    () = changed.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                }
            }
            Ok(_) if context.is_stopping() => return,
            Ok(orders) => {
                context.order_poller.keep(issuer, |namespace, name| {
                    context.stores.request(namespace, name).is_some()
                });
                let asked = ask_once(context, issuer, &orders);
                if caught(&context.metrics, PART, asked).await.is_none() {
                    ask_apart(context, issuer, &orders).await;
                }
            }
        }
    }
}

/// Asking about all of them panicked. One by one, the one that it is about costs no other its answer.
async fn ask_apart(context: &Context, issuer: &IssuerKey, orders: &[OpenOrder]) {
    let is_one = orders.len() == 1;
    for order in orders {
        let alone = ask_once(context, issuer, std::slice::from_ref(order));
        if is_one || caught(&context.metrics, PART, alone).await.is_none() {
            let later = Err(Unanswered::Failed(Some(AFTER_A_PANIC)));
            context.order_poller.note(issuer, &order.reference, later, context.clock.now());
        }
    }
}

async fn ask_once(context: &Context, issuer: &IssuerKey, orders: &[OpenOrder]) {
    let found = FoundIssuer::by_key(context, issuer);
    let account = match found.now(context) {
        Some(now) if context.accounts.blamed(&now).is_none() => {
            context.accounts.open(&context.cluster, &now).await.ok().map(|open| (now, open))
        }
        Some(_) | None => None,
    };
    let now = context.clock.now();
    let mut answers = match account {
        Some((issuer, account)) => asked(context, &issuer, &account, orders).await,
        None => BTreeMap::new(),
    };
    // A pause that the CA asks for is the whole account's.
    let pause = answers.values().filter_map(|answer| asked_for(answer.as_ref().err()?)).max();
    for order in orders {
        let answer = match answers.remove(&order.reference) {
            Some(Ok(progress)) => Ok(progress),
            Some(Err(error)) => Err(Unanswered::Failed(match error.disposition {
                Disposition::Retry { .. } => asked_for(&error),
                Disposition::BlameCredentials
                | Disposition::BlameIssuer
                | Disposition::Internal
                | Disposition::Reject => Some(FAULT),
            })),
            None => Err(Unanswered::NotAsked(pause)),
        };
        if let Some((namespace, name)) =
            context.order_poller.note(issuer, &order.reference, answer, now)
        {
            context.wake.request(&namespace, &name);
        }
    }
}

/// How long the CA wants to be left alone.
fn asked_for(error: &Error) -> Option<Duration> {
    match error.disposition {
        Disposition::Retry { after } => after,
        Disposition::BlameCredentials
        | Disposition::BlameIssuer
        | Disposition::Internal
        | Disposition::Reject => None,
    }
}

/// The answers about the orders that were made at this account, by reference.
async fn asked(
    context: &Context,
    issuer: &IssuerNow<'_>,
    account: &Account,
    orders: &[OpenOrder],
) -> BTreeMap<String, Result<Progress, Error>> {
    let key = &issuer.key;
    let _permit = account.permits.turn().await;
    let start = tokio::time::Instant::now();
    let at_account: Vec<OpenOrder> = orders
        .iter()
        .filter(|order| {
            let made_at = context.order_poller.made_at(key, &order.reference);
            made_at.is_some_and(|made_at| context.accounts.stand_for(issuer, account, &made_at))
        })
        .cloned()
        .collect();
    let answers =
        if at_account.is_empty() { Vec::new() } else { account.ca.poll(&at_account).await };
    let failed = answers.iter().find_map(|(_, answer)| answer.as_ref().err());
    let disposition = failed.map_or("ok", |error| error.disposition.label());
    context.metrics.ca_request(&key.labels(), "poll", disposition, start.elapsed());
    if account.ca.has_found_orders() {
        context.prove(issuer, account);
    }
    if let Some(error) = failed {
        tracing::warn!(orders = orders.len(), %error, "open orders could not be asked about");
        if error.disposition == Disposition::BlameCredentials {
            context.accounts.blame(issuer, error.clone());
            context.wake.issuer(key.kind, key.namespace.as_deref(), &key.name);
        }
    }
    answers.into_iter().collect()
}
