//! What went wrong, counted by what the CA and the API server say.

use std::path::Path;
use std::process::{Command, Stdio};

use jiff::{SignedDuration, Timestamp};

use super::snapshot::{Order, Seen, Snapshot};
use super::users::{Wanted, Wants};

/// All of it, in words.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How many orders there are to be.
    pub intents: usize,
    pub duplicates: Vec<String>,
    pub lost_keys: Vec<String>,
    pub stuck: Vec<String>,
}

impl Verdict {
    pub fn of(wants: &Wants, seen: &Seen, snapshot: &Snapshot) -> Self {
        let mut verdict = Self::default();
        for wanted in wants.values() {
            let orders = snapshot.orders.iter().filter(|order| order.request == wanted.name);
            let mut orders: Vec<&Order> = orders.collect();
            orders.sort_by_key(|order| order.created);
            verdict.count(wanted, &orders);
            verdict.look_for_keys(&orders, seen, snapshot);
            verdict.look_at(wanted, &orders, snapshot);
        }
        let strangers = snapshot.orders.iter().filter(|order| !wants.contains_key(&order.request));
        verdict.duplicates.extend(strangers.map(|order| format!("nobody asked for {order:?}")));
        verdict
    }

    /// One order for each intent.
    fn count(&mut self, wanted: &Wanted, orders: &[&Order]) {
        if wanted.is_short {
            self.intents += 1;
            for at in 1..orders.len() {
                let (before, order) = (&orders[..at], orders[at]);
                let is_known = before.iter().any(|one| one.reference == order.reference);
                if !is_known && replaces_in_time(before, order.created) {
                    self.intents += 1;
                } else {
                    self.duplicates.push(format!("nobody asked for {order:?} after {before:?}"));
                }
            }
            if orders.is_empty() {
                self.stuck.push(format!("{} has no order", wanted.name));
            }
            return;
        }
        for (names, intents) in &wanted.intents {
            self.intents += intents;
            let found: Vec<_> = orders.iter().filter(|order| order.names == *names).collect();
            for extra in found.iter().skip(*intents) {
                let told = format!("{names:?}: {} orders for {intents}", found.len());
                self.duplicates.push(format!("{told}, such as {extra:?}"));
            }
            for _ in found.len()..*intents {
                let told = format!("{names:?}: {} orders for {intents}", found.len());
                self.stuck.push(told);
            }
        }
        let others = orders.iter().filter(|order| !wanted.intents.contains_key(&order.names));
        self.duplicates.extend(others.map(|order| format!("nobody asked for {order:?}")));
    }

    /// Every order has its key in some Secret; or had it, and has been replaced by the next.
    fn look_for_keys(&mut self, orders: &[&Order], seen: &Seen, snapshot: &Snapshot) {
        let is_delivered = |order: &Order| {
            let certificate = order.certificate.as_ref();
            certificate.is_some_and(|one| seen.delivered.contains(&one.fingerprint))
        };
        for (at, order) in orders.iter().enumerate() {
            if snapshot.keys.contains(&order.spki) {
                continue;
            }
            // What it is for was edited while it was open, and a valid certificate was there: it came
            // to its end, was of no use, and made room for the next.
            let had_one = orders[..at].iter().any(|before| is_delivered(before));
            let is_over = |later: &Order| {
                let issued = order.certificate.as_ref().map(|certificate| certificate.not_before);
                later.names != order.names && issued.is_some_and(|issued| issued <= later.created)
            };
            let later = &orders[at + 1..];
            let was_of_no_use = had_one
                && later.iter().any(|later| is_over(later))
                && seen.keys.contains(&order.spki);
            let was_replaced = is_delivered(order) && !later.is_empty();
            if !was_replaced && !was_of_no_use {
                self.lost_keys.push(format!("the key of {order:?} is in no Secret"));
            }
        }
    }

    /// The request is Ready with the certificate of its last order.
    fn look_at(&mut self, wanted: &Wanted, orders: &[&Order], snapshot: &Snapshot) {
        let name = &wanted.name;
        let Some(standing) = snapshot.requests.get(name) else {
            self.stuck.push(format!("{name} is not there"));
            return;
        };
        let last = orders.last().and_then(|order| order.certificate.as_ref());
        let last = last.map(|certificate| &certificate.fingerprint);
        let delivered = snapshot.delivered.iter().find(|delivered| delivered.request == *name);
        let is_last = last.is_some() && delivered.map(|delivered| &delivered.fingerprint) == last;
        if !standing.is_ready || standing.stalled.is_some() || !is_last {
            let order = orders.last().map(|order| format!("{} {}", order.id, order.state));
            let is_delivered = if is_last { "delivered" } else { "not delivered" };
            self.stuck.push(format!("{name}: {order:?} {is_delivered}; {}", standing.says));
        }
    }
}

/// Whether a certificate was due for renewal when the next was ordered: a third of its life before its
/// end, and up to a twentieth earlier, so that not all are renewed at once.
fn replaces_in_time(before: &[&Order], ordered: Timestamp) -> bool {
    let latest = before.iter().map(|order| order.certificate.as_ref()).max_by_key(|certificate| {
        // What was not issued yet is not due.
        certificate.map_or(Timestamp::MAX, |certificate| certificate.not_after)
    });
    latest.flatten().is_some_and(|latest| {
        let life = latest.not_after.duration_since(latest.not_before);
        let earliest = latest.not_after - life / 3 - life / 20 - SignedDuration::from_secs(2);
        ordered >= earliest
    })
}

/// What is wrong with what is delivered: seen on the way, or found now with OpenSSL's help.
pub fn wrong_deliveries(
    seen: &Seen,
    snapshot: &Snapshot,
    (root, dir): (&str, &Path),
) -> Vec<String> {
    let mut wrong: Vec<String> = seen.wrong.iter().cloned().collect();
    let of = |fingerprint: &str| {
        let is_it = |order: &&Order| {
            let certificate = order.certificate.as_ref();
            certificate.is_some_and(|certificate| certificate.fingerprint == fingerprint)
        };
        snapshot.orders.iter().find(is_it)
    };
    for delivered in &snapshot.delivered {
        let request = &delivered.request;
        if of(&delivered.fingerprint).is_none_or(|order| order.request != *request) {
            wrong.push(format!("{request} holds {}, which is not its own", delivered.fingerprint));
        }
        if delivered.anchors != root.as_bytes()
            || !is_verified(delivered.chain.as_slice(), root, dir)
        {
            wrong.push(format!("the chain of {request} does not end at the root of the CA"));
        }
    }
    wrong
}

fn is_verified(chain: &[u8], root: &str, dir: &Path) -> bool {
    let (chain_file, root_file) = (dir.join("soak-chain.pem"), dir.join("soak-root.pem"));
    std::fs::write(&chain_file, chain).expect("writes");
    std::fs::write(&root_file, root).expect("writes");
    // What has expired by now was good in its time.
    let verified = Command::new("openssl")
        .args(["verify", "-no_check_time", "-CAfile"])
        .arg(&root_file)
        .arg("-untrusted")
        .arg(&chain_file)
        .arg(&chain_file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    verified.expect("openssl starts").success()
}
