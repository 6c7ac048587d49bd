//! How open orders stand, in few calls.
//!
//! Several orders are looked up by one search for everything of the client that is under way, and
//! only what is missing from it is asked for itself. The search has no filter for our names: how
//! the API reads `chancery-*` there is not known. Whatever a search shows or hides, it costs calls
//! only: an order that it does not show is asked for by its id, and where that happens to most, the
//! search is left alone for some polls.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use jiff::SignedDuration;

use super::client::{Client, PAGES};
use super::errors::Problem;
use super::states::{self, OPEN, Stage};
use super::wire::{ORDER, Order, SearchOrders, is_id};
use crate::ca::{Actor, Failed, FailedKind, OpenOrder, Phase, Progress, Waiting};
use crate::outside::{Disposition, Error};
use crate::reason::Reason;

/// A new order may take so long to show.
const NEW: SignedDuration = SignedDuration::from_mins(10);
/// So often in a row an order has to be unknown before it counts as forgotten.
const FORGOTTEN: u8 = 3;
/// So many polls do without the search after it did not show our orders.
const BLIND: u8 = 9;
/// So many orders are remembered: more than any account has open.
const REMEMBERED: usize = 10_000;

/// What is worth knowing at the next poll. Losing it costs a few calls.
#[derive(Default)]
pub(super) struct Memory {
    orders: Mutex<HashMap<String, Seen>>,
    without_search: Mutex<u8>,
}

#[derive(Clone, Default)]
struct Seen {
    /// The state whose reason is known, and the reason.
    state: String,
    actor: Option<Actor>,
    reason: String,
    /// Polls in a row in which the API did not know the order.
    absences: u8,
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
        orders.insert(id.to_owned(), seen);
    }

    fn forget(&self, id: &str) {
        lock(&self.orders).remove(id);
    }

    /// Counts down the polls that do without the search.
    fn is_search_left_alone(&self) -> bool {
        let mut left = lock(&self.without_search);
        let is_left_alone = *left > 0;
        *left = left.saturating_sub(1);
        is_left_alone
    }

    fn leave_search_alone(&self) {
        *lock(&self.without_search) = BLIND;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows the orders of one account.
pub(super) struct Follower<'a> {
    pub(super) client: &'a Client,
    pub(super) memory: &'a Memory,
    /// Orders carry their names.
    pub(super) are_named: bool,
}

type Answers = Vec<(String, Result<Progress, Error>)>;

impl Follower<'_> {
    /// How `orders` stand; those of a client whose id is `client`.
    pub(super) async fn poll(&self, client: &str, orders: &[OpenOrder]) -> Answers {
        let mut answers = Answers::new();
        let mut asked = Vec::new();
        for order in orders {
            if is_id(ORDER, &order.id) {
                asked.push(order);
            } else {
                let message =
                    format!("the id of order {} is not one of SwissSign's", order.reference);
                answers.push((order.reference.clone(), Err(internal(message))));
            }
        }
        // Asking for a state alone is the cheapest for one.
        if asked.len() < 2 || self.memory.is_search_left_alone() {
            self.ask_each(&asked, &mut answers, false).await;
            return answers;
        }
        let filter =
            SearchOrders { client_references: [client], tags: None, order_status: Some(&OPEN) };
        let pages = asked.len().min(PAGES);
        let ids: HashSet<&str> = asked.iter().map(|order| order.id.as_str()).collect();
        let is_asked = |one: &Order| one.id().is_some_and(|id| ids.contains(id));
        match self.client.orders(&filter, pages, is_asked).await {
            Ok(found) => self.compare(&asked, &found.orders, &mut answers).await,
            Err(problem)
                if !problem.is_of_the_account() && problem.has_status(&[400, 404, 405]) =>
            {
                self.memory.leave_search_alone();
                self.ask_each(&asked, &mut answers, false).await;
            }
            Err(problem) => {
                let all = asked.iter();
                let error = problem.error;
                answers.extend(all.map(|order| (order.reference.clone(), Err(error.clone()))));
            }
        }
        answers
    }

    /// What the search showed, and for the rest the orders themselves.
    async fn compare(&self, asked: &[&OpenOrder], found: &[Order], answers: &mut Answers) {
        let found: HashMap<&str, &Order> =
            found.iter().filter_map(|order| Some((order.id()?, order))).collect();
        let (shown, missing): (Vec<&OpenOrder>, Vec<&OpenOrder>) =
            asked.iter().partition(|order| found.contains_key(order.id.as_str()));
        for order in &shown {
            if let Some(record) = found.get(order.id.as_str()) {
                answers.push((order.reference.clone(), self.progress(order, record).await));
            }
        }
        let before = answers.len();
        self.ask_each(&missing, answers, true).await;
        // What is open by its own word should have been shown.
        let hidden = answers[before..].iter().filter(|(_, answer)| match answer {
            Ok(Progress { phase: Phase::Pending(waiting), .. }) => {
                OPEN.contains(&waiting.state.as_str())
            }
            Ok(_) | Err(_) => false,
        });
        if hidden.count() > shown.len() {
            self.memory.leave_search_alone();
        }
    }

    /// One call for each order; ends early where no call would come through.
    async fn ask_each(&self, orders: &[&OpenOrder], answers: &mut Answers, whole: bool) {
        for order in orders {
            match self.ask(order, whole).await {
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

    async fn ask(&self, open: &OpenOrder, whole: bool) -> Result<Progress, Problem> {
        let answer = if whole {
            self.client.order(&open.id).await
        } else {
            let status = self.client.status(&open.id).await;
            status.map(|status| Order { status: Some(status), ..Order::default() })
        };
        match answer {
            Ok(record) => {
                self.is_the_one(open, &record)?;
                let phase = self.phase(&open.id, &record).await?;
                Ok(self.progress_in(open, &record, phase))
            }
            Err(problem) if problem.is_not_found() => Ok(self.absent(open)),
            Err(problem) => Err(problem),
        }
    }

    /// How an order stands that the API has told of.
    async fn progress(&self, open: &OpenOrder, record: &Order) -> Result<Progress, Error> {
        let phase = async {
            self.is_the_one(open, record)?;
            self.phase(&open.id, record).await
        };
        let phase = phase.await.map_err(|problem| problem.error)?;
        Ok(self.progress_in(open, record, phase))
    }

    fn progress_in(&self, open: &OpenOrder, record: &Order, phase: Phase) -> Progress {
        let named = match &record.tags {
            Some(_) => record.has_tag(&open.reference),
            None => self.are_named,
        };
        Progress { id: Some(open.id.clone()), named, phase }
    }

    /// An order that carries tags and not our name is another, whatever led to it.
    fn is_the_one(&self, open: &OpenOrder, record: &Order) -> Result<(), Problem> {
        if self.are_named && !record.tags().is_empty() && !record.has_tag(&open.reference) {
            return Err(Problem::senseless(format!(
                "SwissSign answers for another order: {} does not carry the tag {}; if somebody removed it, add it again",
                open.id, open.reference
            )));
        }
        Ok(())
    }

    /// Where an order stands, with what its steps say and with its certificates.
    pub(super) async fn phase(&self, id: &str, record: &Order) -> Result<Phase, Problem> {
        let (state, stage) = states::read(record.status.as_deref().unwrap_or_default());
        match stage {
            Stage::Open { actor, words, has_more_to_say } => {
                let (told, reason) = if has_more_to_say {
                    self.reason(id, &state).await
                } else {
                    self.memory.forget(id);
                    (None, String::new())
                };
                let message = joined(words, &reason);
                let actor = told.unwrap_or(actor);
                Ok(Phase::Pending(Waiting {
                    state,
                    actor,
                    message,
                    retry_after: None,
                    challenges: Vec::new(),
                }))
            }
            Stage::Issued => self.issued(id, state).await,
            Stage::Failed(kind, words) => {
                let reason = match kind {
                    FailedKind::Failed | FailedKind::Rejected => self.reason(id, &state).await.1,
                    FailedKind::Revoked | FailedKind::Forgotten => String::new(),
                };
                self.memory.forget(id);
                Ok(Phase::Failed(Failed { state, kind, message: joined(words, &reason) }))
            }
        }
    }

    async fn issued(&self, id: &str, state: String) -> Result<Phase, Problem> {
        // Before the certificate is there, an error may be all the API has to say.
        let chain = match self.client.chain(id).await {
            Err(problem) if problem.has_status(&[400, 404]) => Vec::new(),
            chain => chain?,
        };
        if chain.is_empty() {
            let message = "issued; the chain is not served yet".to_owned();
            let waiting = Waiting {
                state,
                actor: Actor::Ca,
                message,
                retry_after: None,
                challenges: Vec::new(),
            };
            return Ok(Phase::Pending(waiting));
        }
        self.memory.forget(id);
        Ok(Phase::Issued(chain))
    }

    /// What the steps of an order say; asked for once in each state.
    async fn reason(&self, id: &str, state: &str) -> (Option<Actor>, String) {
        let seen = self.memory.seen(id);
        if seen.state == state {
            let (actor, reason) = (seen.actor, seen.reason.clone());
            self.memory.remember(id, Seen { absences: 0, ..seen });
            return (actor, reason);
        }
        let (actor, reason) = match self.client.tasks(id).await {
            Ok(tasks) => states::reason(&tasks, |text| self.client.scrub(text)),
            // It passes: asked again next time.
            Err(Problem {
                error: Error { disposition: Disposition::Retry { .. }, .. }, ..
            }) => {
                return (None, String::new());
            }
            Err(_) => (None, String::new()),
        };
        let state = state.to_owned();
        self.memory.remember(id, Seen { state, actor, reason: reason.clone(), absences: 0 });
        (actor, reason)
    }

    /// The API does not know the order: it is new, or gone.
    fn absent(&self, open: &OpenOrder) -> Progress {
        let is_new = self.client.now().duration_since(open.since) < NEW;
        let mut seen = self.memory.seen(&open.id);
        seen.absences = if is_new { 0 } else { seen.absences.saturating_add(1) };
        let absences = seen.absences;
        self.memory.remember(&open.id, seen);
        let phase = if absences >= FORGOTTEN {
            self.memory.forget(&open.id);
            Phase::Failed(Failed {
                state: ABSENT.to_owned(),
                kind: FailedKind::Forgotten,
                message: format!(
                    "SwissSign no longer knows order {}: ask SwissSign what became of it",
                    open.id
                ),
            })
        } else {
            let message = if is_new {
                "the order is not visible at SwissSign yet".to_owned()
            } else {
                format!(
                    "SwissSign does not know the order; after {FORGOTTEN} such answers in a row it counts as forgotten"
                )
            };
            let state = ABSENT.to_owned();
            Phase::Pending(Waiting {
                state,
                actor: Actor::Ca,
                message,
                retry_after: None,
                challenges: Vec::new(),
            })
        };
        Progress { id: Some(open.id.clone()), named: self.are_named, phase }
    }
}

/// In place of the CA's own word, where it has none.
const ABSENT: &str = "not found";

/// Where an order stands by its state alone, without asking for more.
pub(super) fn plain_phase(status: Option<&str>) -> Phase {
    let (state, stage) = states::read(status.unwrap_or_default());
    let pending = |state, actor, message: &str| {
        Phase::Pending(Waiting {
            state,
            actor,
            message: message.to_owned(),
            retry_after: None,
            challenges: Vec::new(),
        })
    };
    match stage {
        Stage::Open { actor, words, .. } => pending(state, actor, words),
        Stage::Issued => pending(state, Actor::Ca, "issued; the chain is to be fetched"),
        Stage::Failed(kind, words) => {
            Phase::Failed(Failed { state, kind, message: words.to_owned() })
        }
    }
}

fn joined(words: &str, reason: &str) -> String {
    if reason.is_empty() { words.to_owned() } else { format!("{words}: {reason}") }
}

fn internal(message: String) -> Error {
    Error { disposition: Disposition::Internal, reason: Reason::UnexpectedAnswer, message }
}
