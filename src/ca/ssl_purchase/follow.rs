//! How open orders stand, in few calls.
//!
//! Where many are open, pages of the list tell of all of them in fewer calls than each by its id; what
//! a page does not show is asked for by itself. Whatever a list shows or hides, it costs calls only.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use jiff::SignedDuration;

use super::challenges;
use super::client::{Client, Downloaded, Filter, Form, PAGE, PAGES};
use super::errors::Problem;
use super::search::{self, Likeness};
use super::states::{Stage, Words};
use super::wire::{self, Sold};
use crate::ca::{Actor, Challenge, Failed, FailedKind, OpenOrder, Phase, Progress, Waiting};
use crate::outside::{Disposition, Error};
use crate::pki::Certificate;
use crate::reason::Reason;

/// A new order may take so long to show.
const NEW: SignedDuration = SignedDuration::from_mins(10);
/// So often in a row an order has to be unknown before it counts as forgotten.
const FORGOTTEN: u8 = 3;
/// So many polls do without the list after it did not show our orders.
const BLIND: u8 = 9;
/// So many orders are remembered: more than any account has open.
const REMEMBERED: usize = 10_000;

/// So many of them with what has to be shown for them.
const WITH_CHALLENGES: usize = 1000;

/// What is worth knowing at the next poll. Losing it costs a few calls.
#[derive(Default)]
pub(super) struct Memory {
    orders: Mutex<HashMap<String, Seen>>,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    /// How many orders it had.
    total: Option<u64>,
    /// Polls that do without it.
    without: u8,
}

#[derive(Clone, Default)]
struct Seen {
    /// Polls in a row in which the API did not know the order.
    absences: u8,
    /// The state whose steps were asked for.
    state: String,
    /// Polls in that state.
    polls: u32,
    challenges: Vec<Challenge>,
}

impl Memory {
    fn seen(&self, id: &str) -> Seen {
        lock(&self.orders).get(id).cloned().unwrap_or_default()
    }

    fn remember(&self, id: &str, seen: Seen) {
        let mut orders = lock(&self.orders);
        if orders.len() >= REMEMBERED {
            orders.clear();
        }
        // What has to be shown takes most of the room: it is asked for anew where it is forgotten.
        let is_long = |seen: &Seen| !seen.challenges.is_empty();
        if orders.len() >= WITH_CHALLENGES
            && is_long(&seen)
            && orders.values().filter(|seen| is_long(seen)).count() >= WITH_CHALLENGES
        {
            orders.retain(|_, seen| !is_long(seen));
        }
        orders.insert(id.to_owned(), seen);
    }

    fn forget(&self, id: &str) {
        lock(&self.orders).remove(id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether pages of the list take fewer calls than each order by its id. `total` is how many orders
/// the list had last.
fn goes_by_list(open: usize, total: Option<u64>) -> bool {
    let pages = total.map_or(1, |total| total.div_ceil(PAGE as u64).max(1));
    pages <= PAGES as u64 && open as u64 > pages
}

/// Follows the orders of one account.
pub(super) struct Follower<'a> {
    pub(super) client: &'a Client,
    pub(super) memory: &'a Memory,
    pub(super) words: &'a Words,
    /// The plan of the account, where it is known: most orders are of it.
    pub(super) plan: Option<&'a str>,
}

type Answers = Vec<(String, Result<Progress, Error>)>;

impl Follower<'_> {
    /// How `orders` stand.
    pub(super) async fn poll(&self, orders: &[OpenOrder]) -> Answers {
        let mut answers = Answers::new();
        let mut asked = Vec::new();
        for order in orders {
            if wire::is_id(&order.id) {
                asked.push(order);
            } else {
                let message =
                    format!("the id of order {} is not one of the reseller's", order.reference);
                answers.push((order.reference.clone(), Err(internal(message))));
            }
        }
        if !self.lists(asked.len()) {
            self.ask_each(&asked, &mut answers).await;
            return answers;
        }
        let ids: HashSet<&str> = asked.iter().map(|order| order.id.as_str()).collect();
        let filter = Filter { plan: self.plan, reference: None };
        let is_asked = |one: &Sold| ids.contains(one.id.as_str());
        match self.client.orders(filter, asked.len().min(PAGES), is_asked).await {
            Ok(listed) => {
                lock(&self.memory.list).total = Some(listed.total);
                self.compare(&asked, &listed.found, &mut answers).await;
            }
            Err(problem) if problem.is_not_offered() => {
                lock(&self.memory.list).without = BLIND;
                self.ask_each(&asked, &mut answers).await;
            }
            Err(problem) => {
                let all = asked.iter();
                let error = problem.error;
                answers.extend(all.map(|order| (order.reference.clone(), Err(error.clone()))));
            }
        }
        answers
    }

    fn lists(&self, open: usize) -> bool {
        let mut list = lock(&self.memory.list);
        if list.without > 0 {
            list.without -= 1;
            return false;
        }
        goes_by_list(open, list.total)
    }

    /// What the list showed, and for the rest the orders themselves.
    async fn compare(&self, asked: &[&OpenOrder], found: &[Sold], answers: &mut Answers) {
        // What it shows without a state is not shown.
        let found: HashMap<&str, &Sold> = found
            .iter()
            .filter(|sold| !sold.status.is_empty())
            .map(|sold| (sold.id.as_str(), sold))
            .collect();
        let mut missing = Vec::new();
        let mut shown = 0_usize;
        for order in asked {
            match found.get(order.id.as_str()) {
                Some(sold) => {
                    shown += 1;
                    let progress = self.progress(order, sold).await;
                    let progress = progress.map_err(|problem| problem.error);
                    answers.push((order.reference.clone(), progress));
                }
                None => missing.push(*order),
            }
        }
        if missing.len() > shown {
            lock(&self.memory.list).without = BLIND;
        }
        self.ask_each(&missing, answers).await;
    }

    /// One call for each order; ends early where no call would come through.
    async fn ask_each(&self, orders: &[&OpenOrder], answers: &mut Answers) {
        for order in orders {
            match self.ask(order).await {
                Ok(progress) => answers.push((order.reference.clone(), Ok(progress))),
                Err(problem) => {
                    let is_of_the_account = problem.is_of_the_account();
                    answers.push((order.reference.clone(), Err(problem.error)));
                    if is_of_the_account {
                        return;
                    }
                }
            }
        }
    }

    /// How one order stands.
    pub(super) async fn ask(&self, open: &OpenOrder) -> Result<Progress, Problem> {
        match self.client.one(&open.id).await {
            Ok(sold) => self.progress(open, &sold).await,
            Err(problem) if problem.is_not_found() => self.absent(open).await,
            Err(problem) => Err(problem),
        }
    }

    async fn progress(&self, open: &OpenOrder, sold: &Sold) -> Result<Progress, Problem> {
        is_the_one(open, sold)?;
        let phase = self.phase(sold, open.replaces.as_deref()).await?;
        Ok(Progress { id: Some(sold.id.clone()), named: true, phase })
    }

    /// Where an order stands, with what has to be shown or with its certificates. `replaces` is the
    /// serial number of the certificate that it is to follow.
    pub(super) async fn phase(
        &self,
        sold: &Sold,
        replaces: Option<&str>,
    ) -> Result<Phase, Problem> {
        let (state, stage) = self.words.read(&sold.status);
        match stage {
            Stage::Open(words) => {
                let challenges = self.challenges(&sold.id, &state).await;
                let told = sold.words(|text| self.client.scrub(text));
                let message = joined(words, &told);
                Ok(waits(state, message, challenges))
            }
            Stage::Issued => self.issued(sold, state, replaces).await,
            Stage::Failed(..) | Stage::Suspended => {
                self.memory.forget(&sold.id);
                Ok(plain_phase(self.words, sold, |text| self.client.scrub(text)))
            }
        }
    }

    async fn issued(
        &self,
        sold: &Sold,
        state: String,
        replaces: Option<&str>,
    ) -> Result<Phase, Problem> {
        let Some(certificates) = certificates(self.client, &sold.id).await? else {
            let message = "the certificate is issued; its files are not served yet".to_owned();
            return Ok(waits(state, message, Vec::new()));
        };
        if replaces.is_some_and(|serial| search::has_serial(&certificates, serial)) {
            let message =
                "the reseller still serves the certificate that is to be replaced".to_owned();
            return Ok(waits(state, message, Vec::new()));
        }
        self.memory.forget(&sold.id);
        Ok(Phase::Issued(certificates))
    }

    /// What has to be shown. It is asked for when an order comes into a state, and then after twice as
    /// many polls each time.
    async fn challenges(&self, id: &str, state: &str) -> Vec<Challenge> {
        let before = self.memory.seen(id);
        let mut seen = if before.state == state {
            Seen { absences: 0, polls: before.polls.saturating_add(1), ..before }
        } else {
            Seen { state: state.to_owned(), polls: 1, ..Seen::default() }
        };
        // Whatever comes of it, the order goes on.
        if seen.polls.is_power_of_two()
            && let Ok(details) = self.client.details(id).await
        {
            seen.challenges = challenges::read(&details);
        }
        let challenges = seen.challenges.clone();
        self.memory.remember(id, seen);
        challenges
    }

    /// Has the steps asked for anew: some were met.
    pub(super) fn forget(&self, id: &str) {
        self.memory.forget(id);
    }

    /// The API does not know the order: it is new, or has another id, or is gone.
    async fn absent(&self, open: &OpenOrder) -> Result<Progress, Problem> {
        // An order that follows another goes by the id alone.
        if open.replaces.is_none() {
            let filter = Filter { plan: None, reference: Some(&open.reference) };
            let is_named = |one: &Sold| search::likeness(one, &open.reference) == Likeness::Named;
            let listed = self.client.orders(filter, PAGES, is_named).await?;
            if let Some(sold) = listed.found.first() {
                return self.progress(open, sold).await;
            }
        }
        let is_new = self.client.now().duration_since(open.since) < NEW;
        let mut seen = self.memory.seen(&open.id);
        seen.absences = if is_new { 0 } else { seen.absences.saturating_add(1) };
        let absences = seen.absences;
        self.memory.remember(&open.id, seen);
        let state = ABSENT.to_owned();
        let phase = if absences >= FORGOTTEN {
            self.memory.forget(&open.id);
            let message =
                format!("the reseller no longer knows order {}: ask what became of it", open.id);
            Phase::Failed(Failed { state, kind: FailedKind::Forgotten, message })
        } else {
            let message = if is_new {
                "the order is not visible at the reseller yet".to_owned()
            } else {
                format!(
                    "the reseller does not know the order; after {FORGOTTEN} such answers in a row it counts as forgotten"
                )
            };
            waits(state, message, Vec::new())
        };
        Ok(Progress { id: Some(open.id.clone()), named: true, phase })
    }
}

/// In place of the API's own word, where it has none.
const ABSENT: &str = "not found";

/// An order that carries another name is another, whatever led to it. One that follows another has the
/// name of that one.
fn is_the_one(open: &OpenOrder, sold: &Sold) -> Result<(), Problem> {
    if open.replaces.is_none() && search::likeness(sold, &open.reference) == Likeness::Another {
        return Err(Problem::senseless(format!(
            "the reseller answers for another order: {} does not carry client_reference {}",
            open.id, open.reference
        )));
    }
    Ok(())
}

/// What is served of an order whose certificate is there: in the form that most have, and then in the
/// others. `None` where nothing is served yet.
pub(super) async fn certificates(
    client: &Client,
    id: &str,
) -> Result<Option<Vec<Certificate>>, Problem> {
    let mut fault: Option<Problem> = None;
    let mut is_awaited = false;
    let mut alone: Option<Vec<Certificate>> = None;
    for form in [Form::Crt, Form::Ca, Form::Pkcs7, Form::Zip] {
        // There is nothing yet that it would be the chain of.
        if form == Form::Ca && alone.is_none() {
            continue;
        }
        let served = match client.download(id, form).await {
            Ok(Downloaded::Certificates(certificates)) => certificates,
            Ok(Downloaded::NotThere) => {
                is_awaited |= fault.is_none();
                continue;
            }
            Ok(Downloaded::Unreadable(why)) => {
                fault.get_or_insert_with(|| Problem::senseless(why));
                continue;
            }
            Err(problem) if problem.is_of_the_address() => {
                // A form that the reseller does not have hides no file that may come yet.
                if !is_awaited {
                    fault.get_or_insert(problem);
                }
                continue;
            }
            Err(problem) => return Err(problem),
        };
        let has_chain = served.iter().any(Certificate::is_ca);
        if let Some(certificates) = &mut alone {
            if has_chain {
                // The rest may be the certificate before.
                certificates.extend(served.into_iter().filter(Certificate::is_ca));
                break;
            }
        } else if served.iter().all(Certificate::is_ca) {
            fault.get_or_insert_with(|| {
                Problem::senseless(format!(
                    "what order {id} is downloaded as holds no certificate of a server"
                ))
            });
        } else {
            alone = Some(served);
            if has_chain {
                break;
            }
        }
    }
    let is_whole = |all: &Vec<Certificate>| all.iter().any(Certificate::is_ca);
    match (alone, fault) {
        // Its chain may be served at the next poll.
        (Some(all), Some(fault)) if !is_whole(&all) && fault.is_of_the_server() => Err(fault),
        (Some(mut all), _) => {
            let mut seen = HashSet::new();
            all.retain(|one| seen.insert(one.clone()));
            Ok(Some(all))
        }
        (None, Some(fault)) => Err(fault),
        (None, None) => Ok(None),
    }
}

/// Where an order stands by its state alone, without asking for more.
pub(super) fn plain_phase(words: &Words, sold: &Sold, scrub: impl Fn(&str) -> String) -> Phase {
    let (state, stage) = words.read(&sold.status);
    let told = sold.words(scrub);
    let failed = |state, kind, words: &str| {
        Phase::Failed(Failed { state, kind, message: joined(words, &told) })
    };
    match stage {
        Stage::Open(words) => waits(state, joined(words, &told), Vec::new()),
        Stage::Issued => waits(state, "issued; its files are to be fetched".to_owned(), Vec::new()),
        Stage::Failed(kind, words) => failed(state, kind, words),
        Stage::Suspended => failed(state, FailedKind::Failed, "the order was suspended"),
    }
}

fn waits(state: String, message: String, challenges: Vec<Challenge>) -> Phase {
    let is_open = challenges.iter().any(|one| !one.is_met);
    let actor = if is_open { Actor::Owner } else { Actor::Ca };
    Phase::Pending(Waiting { state, actor, message, retry_after: None, challenges })
}

fn joined(words: &str, told: &str) -> String {
    if told.is_empty() { words.to_owned() } else { format!("{words}: {told}") }
}

fn internal(message: String) -> Error {
    Error { disposition: Disposition::Internal, reason: Reason::UnexpectedAnswer, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_remembered_of_what_has_to_be_shown_than_there_is_room_for() {
        let memory = Memory::default();
        let proof = crate::ca::Proof::Mailbox { address: "a@b.example".to_owned() };
        let challenge = Challenge { domain: "b.example".to_owned(), proof, is_met: false };
        let long = Seen { challenges: vec![challenge], ..Seen::default() };
        memory.remember("short", Seen { absences: 2, ..Seen::default() });
        for id in 0..2 * WITH_CHALLENGES {
            memory.remember(&id.to_string(), long.clone());
            let orders = lock(&memory.orders);
            assert!(orders.len() <= WITH_CHALLENGES + 1, "{}", orders.len());
        }
        assert_eq!(memory.seen("short").absences, 2, "it takes no room");
    }

    #[test]
    fn many_orders_are_looked_up_by_pages_where_that_takes_fewer_calls() {
        let rows = [
            (0, None, false),
            (1, None, false),
            (2, None, true),
            (2, Some(0), true),
            (2, Some(100), true),
            (2, Some(101), false),
            (3, Some(101), true),
            (10, Some(1000), false),
            (11, Some(1000), true),
            (100, Some(5001), false),
            (100, Some(5000), true),
            (1000, Some(5001), false),
        ];
        for (open, total, expected) in rows {
            assert_eq!(goes_by_list(open, total), expected, "{open} of {total:?}");
        }
    }
}
