//! A small world to order certificates in: a request, its target, its record, a CA where orders cost
//! money, and processes that die, are paused, and go on.
//!
//! Steps are performed as the shell performs them (`src/controller`). What happens is read from a
//! tape of numbers, of which 0 is always the benign choice; past its end all is well. Orders are
//! counted at the CA, against what the world itself asked for, and not by the code under test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::{OrderSeen, Prepared, Sent, Sought};
use crate::api::condition::{self, READY};
use crate::api::{CertificateRequestStatus, annotation};
use crate::ca::{Actor, Failed, FailedKind, Found, KeyEvidence, Lookup, Phase, Progress, Waiting};
use crate::issuance::certificate::delivery::Delivery;
use crate::issuance::decide::{KeyPlan, Rest, Step, decide};
use crate::issuance::describe::{Description, Requeue, describe};
use crate::issuance::fixtures::{
    account, cached, days, issued, key, names, now, pki, previous, ready, request, stored, written,
};
use crate::issuance::observation::{
    Account, IssuerState, Observation, Outcome, Previous, Read, Request, Target, Trouble,
};
use crate::issuance::order::record::{
    self, Mark, OrderDraft, OrderState, RawRecord, Record, RecordRead, Slot,
};
use crate::issuance::quota::{Limits, QuotaSeen};
use crate::mutant::{self, Mutant};
use crate::outside::Disposition;
use crate::pki::chain::{self, Expected};
use crate::pki::{Certificate, KeyKind, Names, PrivateKey};
use crate::reason::Reason;

/// No run needs more steps, conflicts included.
const MOST_STEPS: usize = 60;
/// The settle window of the CA.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);
const ACCOUNTS: [&str; 2] = ["https://ca.example/ as house", "https://ca.example/ as other"];

/// Choices, one after the other.
#[derive(Clone, Default)]
struct Tape {
    numbers: Vec<u8>,
    read: usize,
    /// The choices that were not benign, and the effects between them.
    trace: String,
    /// Faults at the n-th effect, in place of numbers.
    faults: Vec<(usize, Fault)>,
    effect: usize,
    /// Choices by name, in place of numbers: the how-many-eth of that name, and the choice.
    plan: Vec<(&'static str, usize, u8)>,
    named: BTreeMap<String, usize>,
}

impl Tape {
    fn new(numbers: Vec<u8>) -> Self {
        Self { numbers, ..Self::default() }
    }

    fn with_faults(faults: &[(usize, Fault)]) -> Self {
        Self { faults: faults.to_vec(), ..Self::default() }
    }

    #[cfg(feature = "mutants")]
    fn planned(plan: &[(&'static str, usize, u8)]) -> Self {
        Self { plan: plan.to_vec(), ..Self::default() }
    }

    fn quietly(&mut self, label: &str, choices: u8) -> u8 {
        let number = self.numbers.get(self.read).copied().unwrap_or(0) % choices;
        self.read += 1;
        let nth = self.named.entry(label.to_owned()).or_default();
        *nth += 1;
        let is_this = |(name, at, _): &&(&str, usize, u8)| *name == label && *at == *nth - 1;
        self.plan.iter().find(is_this).map_or(number, |(_, _, planned)| *planned)
    }

    /// A number below `choices`.
    fn choose(&mut self, label: &str, choices: u8) -> u8 {
        let number = self.quietly(label, choices);
        if number > 0 {
            self.note(&format!("{label} {number}"));
        }
        number
    }

    /// What goes wrong with the next effect.
    fn fault(&mut self, effect: &'static str) -> Option<Fault> {
        let here = self.effect;
        self.effect += 1;
        self.note(effect);
        let fault = match self.faults.iter().find(|(at, _)| *at == here) {
            Some((_, fault)) => Some(*fault),
            None => match self.quietly(effect, 24) {
                20 => Some(Fault::CrashBefore),
                21 => Some(Fault::CrashAfter),
                22 => Some(Fault::Lost),
                23 => Some(Fault::Conflict),
                19 => Some(Fault::Pause),
                _ => None,
            },
        };
        if let Some(fault) = fault {
            self.note(&format!("{fault:?}"));
        }
        fault
    }

    fn note(&mut self, what: &str) {
        self.trace.push_str(what);
        self.trace.push_str(" | ");
    }

    fn is_over(&self) -> bool {
        self.read >= self.numbers.len()
    }
}

/// What can go wrong with one effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    /// The process dies before it.
    CrashBefore,
    /// The process dies after it, before it hears of it.
    CrashAfter,
    /// It is done, and the answer says that nobody knows.
    Lost,
    /// Somebody else was faster.
    Conflict,
    /// The process stops before it, and goes on some time later.
    Pause,
}

const FAULTS: [Fault; 4] = [Fault::CrashBefore, Fault::CrashAfter, Fault::Lost, Fault::Conflict];

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Crashed,
    Paused,
    Rested(Rest),
}

/// The request as the API server has it.
#[derive(Clone, Debug)]
struct Object {
    request: Request,
    status: CertificateRequestStatus,
    version: u64,
}

/// What one incarnation of the process remembers.
#[derive(Clone, Debug, Default)]
struct Process {
    incarnation: String,
    /// Reference of the order whose claim is unused, and since when.
    claim: Option<(String, SignedDuration)>,
    /// References of the orders it has submitted.
    used: BTreeSet<String>,
    searches: BTreeMap<String, Search>,
    board: BTreeMap<String, (String, Option<Progress>)>,
    /// A status that could not be written, and into which version.
    unwritten: Option<(u64, CertificateRequestStatus)>,
    /// No decision before this version of the request is in the cache.
    gate: u64,
}

#[derive(Clone, Debug)]
struct Search {
    of: String,
    first: SignedDuration,
    last: SignedDuration,
    counted: Option<SignedDuration>,
    absent: u32,
}

/// A run under way.
#[derive(Clone)]
struct Run {
    process: usize,
    /// The account of the issuer as it was when the run began.
    account: usize,
    seen: Observation,
    object: Object,
    known: CertificateRequestStatus,
    began_at: SignedDuration,
    steps: usize,
    /// When it announced.
    announced_at: Option<SignedDuration>,
    /// The step it stopped before.
    stopped_at: Option<Step>,
}

/// An order at the CA.
#[derive(Clone, Debug)]
struct Order {
    id: String,
    reference: String,
    account: usize,
    csr: Vec<u8>,
    names: Names,
    created: Timestamp,
    visible_at: SignedDuration,
    /// The CA lets it be found by its reference.
    named: bool,
    /// A clone of the cluster made it.
    cloned: bool,
    phase: Phase,
}

/// What the world asked for when a reference was made.
#[derive(Clone, Debug)]
struct Reference {
    epoch: u32,
    csr: Vec<u8>,
    parameters: serde_json::Value,
    names: Names,
    /// Nothing more can come of it, or somebody gave it up.
    closed: bool,
    delivered: bool,
}

#[derive(Clone)]
struct World {
    now: Timestamp,
    /// The monotonic clock.
    elapsed: SignedDuration,
    object: Option<Object>,
    before: Option<Object>,
    issuer: IssuerState,
    /// The account the issuer speaks for.
    account: usize,
    target: Option<Target>,
    old_targets: Vec<Target>,
    record: Option<RawRecord>,
    old_records: Vec<RawRecord>,
    processes: Vec<Process>,
    paused: Vec<Run>,
    /// Accounts of which a search has found an order.
    proven: BTreeSet<usize>,
    orders: Vec<Order>,
    /// The search ignores what it is asked for, and says that there is nothing.
    is_blind: bool,
    /// The search no longer shows orders whose certificate was delivered.
    forgets: bool,
    /// Somebody pinned the root that an order's certificate may lead to.
    trusts_all: bool,
    /// Reads of Secrets fail.
    is_unreadable: bool,
    version: u64,
    /// The version of the request in which somebody last asked for something else, and when.
    asked: (u64, SignedDuration),
    uids: u32,
    keys: Vec<Arc<PrivateKey>>,
    /// The keys as they are stored, by public key.
    pems: BTreeMap<Vec<u8>, Vec<u8>>,
    references: BTreeMap<String, Reference>,
    /// Rises with everything that may start an order.
    epoch: u32,
    /// What the epoch has risen for: fingerprints that came near their end, orders that expired.
    risen: BTreeSet<String>,
    /// Something happened that no promise covers: orders are not counted any more.
    is_beyond: bool,
    effects: Vec<&'static str>,
    pace: SignedDuration,
    puts: usize,
    is_woken: bool,
}

/// The account, made once: its anchors are parsed.
fn orders_account(number: usize, trusts_all: bool) -> Account {
    static ACCOUNT: LazyLock<[Account; 2]> = LazyLock::new(|| {
        let mut account = account();
        let settle_window = Duration::from_secs(15 * 60);
        account.capabilities.billable = true;
        account.capabilities.asynchronous = true;
        account.capabilities.searchable = true;
        account.capabilities.settle_window = settle_window;
        let mut trusting = account.clone();
        trusting.anchors.push(pki().stranger.certificate());
        [account, trusting]
    });
    let account = ACCOUNT[usize::from(trusts_all)].clone();
    Account { name: ACCOUNTS[number].to_owned(), ..account }
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now: now(),
            elapsed: SignedDuration::ZERO,
            object: None,
            before: None,
            issuer: ready(),
            account: 0,
            target: None,
            old_targets: Vec::new(),
            record: None,
            old_records: Vec::new(),
            processes: Vec::new(),
            paused: Vec::new(),
            proven: BTreeSet::from([0]),
            orders: Vec::new(),
            is_blind: false,
            forgets: false,
            trusts_all: false,
            is_unreadable: false,
            version: 1,
            asked: (0, SignedDuration::ZERO),
            uids: 0,
            keys: Vec::new(),
            pems: BTreeMap::new(),
            references: BTreeMap::new(),
            epoch: 0,
            risen: BTreeSet::new(),
            is_beyond: false,
            effects: Vec::new(),
            pace: SignedDuration::from_millis(7),
            puts: 0,
            is_woken: false,
        };
        world.create();
        world.start_process();
        world
    }

    fn create(&mut self) {
        self.uids += 1;
        // Without the status nobody knows that the CA once had an order that it no longer shows.
        self.is_beyond |= self.uids > 1 && self.forgets;
        let uid = format!("00000000-0000-4000-8000-{:012}", self.uids);
        // The same manifest, applied once more.
        let manifest = self.object.take().map_or_else(request, |object| object.request);
        let request = Request { uid, ..manifest };
        let version = self.next_version();
        let status = CertificateRequestStatus::default();
        self.object = Some(Object { request, status, version });
        self.asked = (version, self.elapsed);
        self.before = None;
        self.epoch += 1;
    }

    fn start_process(&mut self) {
        let number = self.processes.len() + 1;
        let is_nobody = mutant::is_removed(Mutant::IncarnationId);
        let incarnation =
            if is_nobody { "process".to_owned() } else { format!("process-{number}") };
        self.processes.push(Process { incarnation, ..Process::default() });
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn tick(&mut self, time: SignedDuration) {
        self.elapsed += time;
        self.now += time;
    }

    // --- one run, as `controller::certificate_request::run` does it ---

    /// A run of the newest process, from the newest object.
    fn run(&mut self, tape: &mut Tape) -> End {
        let newest = self.processes.len() - 1;
        let Some(object) = self.object.clone() else {
            return End::Rested(Rest::Deleted);
        };
        self.begin(tape, newest, object)
    }

    fn begin(&mut self, tape: &mut Tape, process: usize, object: Object) -> End {
        self.effects.clear();
        self.is_woken = false;
        let memory = &self.processes[process];
        if object.version < memory.gate && !mutant::is_removed(Mutant::Expectations) {
            return End::Rested(Rest::Deleted);
        }
        let known = match &memory.unwritten {
            Some((version, status)) if *version == object.version => status.clone(),
            Some(_) | None => object.status.clone(),
        };
        let seen = self.observe(process, &object, previous(&known));
        let run = Run {
            process,
            account: self.account,
            seen,
            object,
            known,
            began_at: self.elapsed,
            steps: 0,
            announced_at: None,
            stopped_at: None,
        };
        self.go_on(tape, run)
    }

    fn observe(&self, process: usize, object: &Object, previous: Previous) -> Observation {
        let memory = &self.processes[process];
        let uid = &object.request.uid;
        let is_watched =
            |target: &&Target| target.metadata.labels.contains_key(annotation::MANAGED_LABEL);
        let cached = self.target.as_ref().filter(is_watched).map(cached);
        let order = OrderSeen {
            incarnation: memory.incarnation.clone(),
            claim: match &memory.claim {
                Some((reference, _)) => Some(reference.clone()),
                None => memory.inherited(previous.order.as_ref().map(|hint| &*hint.reference)),
            },
            sought: memory.searches.get(uid).map(|one| self.sought(one)).unwrap_or_default(),
            proven: self.proven.contains(&self.account),
            progress: previous
                .order
                .as_ref()
                .and_then(|hint| memory.board.get(&hint.reference)?.1.clone()),
            ..OrderSeen::default()
        };
        let request = object.request.clone();
        let limits = Limits { open: Some(1), ..Limits::default() };
        Observation {
            order,
            quota: QuotaSeen { limits, ..QuotaSeen::default() },
            ..Observation::at_start(self.now, request, self.issuer.clone(), previous, cached)
        }
    }

    fn sought(&self, search: &Search) -> Sought {
        Sought {
            of: search.of.clone(),
            elapsed: Some(self.elapsed - search.first),
            since_last: self.elapsed - search.last,
            absent: search.absent,
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all effects are alike here")]
    fn go_on(&mut self, tape: &mut Tape, mut run: Run) -> End {
        loop {
            let (step, mut fault) = match run.stopped_at.take() {
                Some(step) => (step, Some(None)),
                None => (decide(&run.seen), None),
            };
            run.steps += 1;
            assert!(run.steps <= MOST_STEPS, "the run does not end: {:?}", self.effects);
            let rest = match step {
                Step::Rest(rest) => rest,
                // In memory: nothing goes wrong, and it is no effect.
                Step::Reserve => {
                    run.seen = run.seen.after(Outcome::Granted);
                    continue;
                }
                step => {
                    let label = label(&step);
                    self.effects.push(label);
                    let fault = fault.take().unwrap_or_else(|| tape.fault(label));
                    match fault {
                        Some(Fault::CrashBefore) => return self.die(run.process),
                        Some(Fault::Pause) => {
                            run.stopped_at = Some(step);
                            self.paused.push(run);
                            self.start_process();
                            return End::Paused;
                        }
                        Some(Fault::CrashAfter | Fault::Conflict | Fault::Lost) | None => {}
                    }
                    let changes = matches!(
                        step,
                        Step::WriteRecord(_) | Step::Order | Step::Mark(_) | Step::Deliver(_)
                    );
                    let outcome = self.perform(tape, &mut run, step, fault);
                    if changes {
                        self.check_keys();
                    }
                    if fault == Some(Fault::CrashAfter) {
                        return self.die(run.process);
                    }
                    self.tick(self.pace);
                    run.seen.now = self.now;
                    run.seen = run.seen.after(outcome);
                    continue;
                }
            };
            tape.note(&format!("{rest:?}"));
            let end = self.finish(tape, &run, &rest);
            if end != End::Crashed {
                self.follow(&run, &rest);
            }
            return end;
        }
    }

    fn die(&mut self, process: usize) -> End {
        if process == self.processes.len() - 1 {
            self.start_process();
        }
        End::Crashed
    }

    fn finish(&mut self, tape: &mut Tape, run: &Run, rest: &Rest) -> End {
        if matches!(rest, Rest::Deleted | Rest::Abandoned) {
            return End::Rested(Rest::Deleted);
        }
        let seen = &run.seen;
        let before =
            if seen.order.announced { run.object.status.clone() } else { run.known.clone() };
        let Description { status, notices, requeue } = describe(seen, &before.conditions, rest);
        if let Requeue::At(at) = requeue {
            assert!(at > seen.now, "a run that follows at once: {rest:?}");
        }
        self.check_ready(seen, &before, &status, rest);
        let in_store = self.record.as_ref().map(RecordRead::parse);
        let is_older = |stored| matches!(stored, RecordRead::Present(one) if seen.is_older(&one));
        let is_lost = in_store.is_none_or(is_older);
        assert!(
            is_lost || *rest != Rest::Held(super::Hold::RecordLost),
            "the record is called lost and is there"
        );
        let status = stored(&status);
        if status == run.object.status {
            assert_eq!(notices, [], "nothing has changed, so nothing is told");
            return End::Rested(rest.clone());
        }
        let fault = tape.fault("status");
        if matches!(fault, Some(Fault::CrashBefore | Fault::Pause)) {
            return self.die(run.process);
        }
        if fault == Some(Fault::Conflict) {
            self.touch();
        }
        let written = self.put_status(&run.object, status.clone());
        self.effects.push("status");
        match (fault, written) {
            (Some(Fault::CrashAfter), _) => return self.die(run.process),
            (Some(Fault::Lost), _) => {
                self.processes[run.process].unwritten = Some((run.object.version, status));
            }
            (_, Some(version)) => {
                self.processes[run.process].unwritten = None;
                self.processes[run.process].gate = version;
            }
            (_, None) => {}
        }
        End::Rested(rest.clone())
    }

    /// `Ready` says what is so.
    fn check_ready(
        &self,
        seen: &Observation,
        before: &CertificateRequestStatus,
        status: &CertificateRequestStatus,
        rest: &Rest,
    ) {
        let is_ready = condition::is_true(&status.conditions, READY);
        if is_ready {
            let end = status.certificate.as_ref().expect("Ready has a certificate").not_after.0;
            assert!(end > seen.now, "Ready although expired");
        }
        let was_ready = condition::is_true(&before.conditions, READY);
        let is_there = self.target.as_ref().is_some_and(|target| {
            self.is_valid(target) && self.is_ours(target) && !self.is_unreadable
        });
        let was_seen = seen.target.is_none() && seen.standing().held().is_some()
            || matches!(&seen.target, Some(Read::Present(target)) if self.is_valid(target));
        assert!(
            is_ready || !was_ready || !is_there || !was_seen,
            "Ready is lost at {rest:?}: {:#?}",
            status.conditions
        );
    }

    fn put_status(&mut self, object: &Object, status: CertificateRequestStatus) -> Option<u64> {
        let there = self.object.as_ref()?;
        if there.request.uid != object.request.uid || there.version != object.version {
            return None;
        }
        if there.status == status {
            return Some(there.version);
        }
        self.puts += 1;
        self.is_woken = true;
        let next = self.next_version();
        self.before = self.object.clone();
        let there = self.object.as_mut()?;
        there.status = status;
        there.version = next;
        Some(next)
    }

    /// Somebody changes a label of the request.
    fn touch(&mut self) {
        let next = self.next_version();
        self.before = self.object.clone();
        if let Some(object) = &mut self.object {
            object.version = next;
        }
        self.is_woken = true;
    }

    fn follow(&mut self, run: &Run, rest: &Rest) {
        let seen = &run.seen;
        let reference = match (seen.record(), &seen.previous.order) {
            (Some(record), _) => record.next.order.reference.clone(),
            (None, Some(hint)) => hint.reference.clone(),
            (None, None) => return,
        };
        let board = &mut self.processes[run.process].board;
        match seen.order_id() {
            Some(id) if rest.follows_order() => {
                let entry = board.entry(reference).or_insert_with(|| (id.clone(), None));
                entry.0 = id;
                if seen.order.progress.is_some() {
                    entry.1.clone_from(&seen.order.progress);
                }
            }
            _ if matches!(rest, Rest::IssuerNotReady(_) | Rest::IssuerMissing | Rest::Deleted) => {}
            _ => drop(board.remove(&reference)),
        }
    }

    /// The board of the newest process asks the CA. Whether somebody is to be woken.
    fn poll(&mut self) -> bool {
        let mut woken = false;
        if !matches!(self.issuer, IssuerState::Ready { .. }) {
            return false;
        }
        let (account, elapsed) = (self.account, self.elapsed);
        let orders = &self.orders;
        let memory = self.processes.last_mut().expect("a process");
        for (id, progress) in memory.board.values_mut() {
            let found = orders.iter().find(|order| {
                order.id == *id && order.account == account && order.visible_at <= elapsed
            });
            let Some(order) = found else { continue };
            let answer = Some(order.progress());
            if *progress != answer {
                *progress = answer;
                woken = true;
            }
        }
        woken
    }

    // --- effects ---

    fn perform(
        &mut self,
        tape: &mut Tape,
        run: &mut Run,
        step: Step,
        fault: Option<Fault>,
    ) -> Outcome {
        let is_lost = fault == Some(Fault::Lost);
        match step {
            Step::ReadTarget => Outcome::TargetRead(match &self.target {
                _ if self.is_unreadable && mutant::is_removed(Mutant::ForbiddenIsAbsent) => {
                    Read::Absent
                }
                _ if self.is_unreadable || is_lost => {
                    Read::Unreadable("get secrets: 403".to_owned())
                }
                None => Read::Absent,
                Some(target) => Read::Present(target.clone()),
            }),
            Step::OpenAccount if is_lost => Outcome::Failed(Trouble {
                counts: false,
                ..trouble(Disposition::Retry { after: None }, Reason::Unreachable)
            }),
            Step::OpenAccount => Outcome::Opened(orders_account(run.account, self.trusts_all)),
            Step::ReadServedRoots => {
                Outcome::Served(vec![pki().issuing.certificate(), pki().root.certificate()])
            }
            Step::ReadRecord
                if self.is_unreadable && mutant::is_removed(Mutant::ForbiddenIsAbsent) =>
            {
                Outcome::RecordRead(RecordRead::Absent, None)
            }
            Step::ReadRecord if self.is_unreadable || is_lost => {
                Outcome::RecordRead(RecordRead::Unreadable("get secrets: 403".to_owned()), None)
            }
            Step::ReadRecord => match &self.record {
                None => Outcome::RecordRead(RecordRead::Absent, None),
                Some(raw) => {
                    let base = (raw.uid.clone(), raw.resource_version.clone());
                    Outcome::RecordRead(RecordRead::parse(raw), Some(base))
                }
            },
            Step::Prepare(..) if is_lost => {
                failed(Disposition::Retry { after: None }, Reason::NoAnswer)
            }
            Step::Prepare(..) if fault == Some(Fault::Conflict) => {
                failed(Disposition::Internal, Reason::UnexpectedAnswer)
            }
            Step::Prepare(plan, _) => self.prepare(run, plan),
            Step::WriteRecord(draft) => self.write_record(run, &draft, fault),
            Step::Claim => self.claim(run, fault),
            Step::Announce => self.announce(run, fault),
            Step::Find => self.find(tape, run, fault, false),
            Step::FindBefore => self.find(tape, run, fault, true),
            Step::Order => self.submit(tape, run, fault),
            Step::Mark(mark) => self.mark(run, &mark, fault),
            Step::Deliver(delivery) => self.deliver(run, &delivery, fault),
            Step::ReadCsr | Step::Reserve | Step::Submit(..) | Step::Rest(_) => {
                panic!("{step:?} is no effect of a paid CA")
            }
        }
    }

    fn prepare(&mut self, run: &Run, plan: KeyPlan) -> Outcome {
        let key = match plan {
            KeyPlan::Reuse(key) => key,
            KeyPlan::Brought(_) => panic!("nobody brings a CSR here"),
            KeyPlan::Generate(KeyKind::EcdsaP256) if self.keys.len() < 28 => key(self.keys.len()),
            KeyPlan::Generate(kind) => Arc::new(PrivateKey::generate(kind).expect("a key")),
        };
        self.keys.push(Arc::clone(&key));
        let pem = key.to_pkcs8_pem().expose_secret().as_bytes().to_vec();
        self.pems.insert(key.spki_der().to_vec(), pem);
        Outcome::Prepared(Prepared {
            kind: crate::ca::OrderKind::New,
            csr_der: key.spki_der().to_vec(),
            key: key.into(),
            names: run.seen.request.names.clone(),
            parameters: serde_json::json!({ "product": "gold", "key": self.keys.len() }),
        })
    }

    fn write_record(&mut self, run: &Run, draft: &OrderDraft, fault: Option<Fault>) -> Outcome {
        let is_as_seen = self.object.as_ref().is_some_and(|object| {
            let (now, seen) = (&object.request, &run.seen.request);
            now.uid == seen.uid
                && now.generation == seen.generation
                && now.renew == seen.renew
                && now.release == seen.release
        });
        if !is_as_seen && !mutant::is_removed(Mutant::RequestAsSeen) {
            return Outcome::Abandoned;
        }
        let memory = &self.processes[run.process];
        let mark = Mark {
            attempt: 1,
            claim: memory.incarnation.clone(),
            made: draft.made.clone(),
            ..Mark::default()
        };
        if fault == Some(Fault::Conflict) {
            self.touch_record();
        }
        let there = self.record.as_ref().map(|raw| (raw.uid.clone(), raw.resource_version.clone()));
        if there != draft.base && !mutant::is_removed(Mutant::ClaimCompareAndSwap) {
            return Outcome::RecordConflict;
        }
        self.check_displaced(run, draft);
        if mutant::is_removed(Mutant::WriteAhead) {
            let (uid, resource_version) = draft.base.clone().unwrap_or_default();
            let (next, issued) = (draft.next.clone(), draft.displaced.clone());
            let record = Record { uid, resource_version, next, issued, mark };
            return self.claimed(run, Box::new(record));
        }
        let record = self.store(draft, &mark);
        if fault == Some(Fault::Lost) && self.is_unreadable {
            return failed(Disposition::Retry { after: None }, Reason::OrderRecordNotWritten);
        }
        self.claimed(run, record)
    }

    fn store(&mut self, draft: &OrderDraft, mark: &Mark) -> Box<Record> {
        let version = self.next_version().to_string();
        let mut raw = self.record.clone().unwrap_or_else(|| RawRecord {
            uid: format!("record-{version}"),
            labels: BTreeMap::from([(annotation::ORDER_LABEL.to_owned(), "true".to_owned())]),
            ..RawRecord::default()
        });
        raw.resource_version = version;
        for (key, _) in record::EMPTY {
            raw.data.remove(key);
        }
        for (key, value) in draft.data() {
            raw.data.insert(key.to_owned(), value.expose_secret().to_vec());
        }
        raw.annotations.insert(annotation::ORDER_DIGEST.to_owned(), draft.digest());
        annotate(&mut raw, mark);
        self.put_record(raw.clone());
        let RecordRead::Present(record) = RecordRead::parse(&raw) else {
            panic!("what was written reads back");
        };
        record
    }

    /// A new order takes the place of another only where that one has ended.
    fn check_displaced(&mut self, run: &Run, draft: &OrderDraft) {
        let order = &draft.next.order;
        self.rise(run);
        if let Some(RecordRead::Present(old)) = self.record.as_ref().map(RecordRead::parse) {
            let reference = &old.next.order.reference;
            assert_ne!(*reference, order.reference, "a reference is used twice");
            let is_sent = self.orders.iter().any(|one| one.reference == *reference && !one.cloned);
            let known = self.references.get_mut(reference).expect("the world wrote it");
            let is_released = run.seen.request.release.as_deref() == Some(reference.as_str());
            let has_ended = old.mark.state != OrderState::Open;
            assert!(
                has_ended || known.delivered || is_released || !is_sent || self.is_beyond,
                "{reference} is open and is overwritten"
            );
            known.closed = true;
        }
        let known = Reference {
            epoch: self.epoch,
            csr: order.csr_der(),
            parameters: order.parameters.clone(),
            names: run.seen.request.names.clone(),
            closed: false,
            delivered: false,
        };
        assert!(
            !self.references.contains_key(&order.reference)
                || self.is_beyond
                || mutant::is_removed(Mutant::WriteAhead),
            "{} is made twice",
            order.reference
        );
        self.references.insert(order.reference.clone(), known);
    }

    /// Time alone may start an order too: once for each certificate that comes near its end, and
    /// once for each that ended before it was delivered.
    fn rise(&mut self, run: &Run) {
        let mut reasons = Vec::new();
        if let Some(leaf) = self.target.as_ref().and_then(|target| target.chain.first()) {
            let life = leaf.not_after().duration_since(leaf.not_before());
            if run.seen.now >= leaf.not_after() - life / 2 {
                reasons.push(leaf.fingerprint_sha256().to_owned());
            }
        }
        for order in &self.orders {
            let Phase::Issued(certificates) = &order.phase else { continue };
            if certificates.first().is_some_and(|leaf| leaf.not_after() <= run.seen.now) {
                reasons.push(order.id.clone());
            }
        }
        for reason in reasons {
            self.epoch += u32::from(self.risen.insert(reason));
        }
    }

    fn put_record(&mut self, raw: RawRecord) {
        self.old_records.extend(self.record.replace(raw));
        self.is_woken = true;
    }

    fn claimed(&mut self, run: &Run, record: Box<Record>) -> Outcome {
        let elapsed = self.elapsed;
        let memory = &mut self.processes[run.process];
        memory.claim = Some((record.next.order.reference.clone(), elapsed));
        if !mutant::is_removed(Mutant::SearchPerClaim) {
            memory.searches.remove(&run.seen.request.uid);
        }
        Outcome::Claimed(record)
    }

    fn claim(&mut self, run: &Run, fault: Option<Fault>) -> Outcome {
        let Some(record) = run.seen.record() else { return Outcome::RecordConflict };
        let mark = Mark {
            attempt: record.mark.attempt + 1,
            claim: self.processes[run.process].incarnation.clone(),
            id: record.mark.id.clone(),
            made: record.mark.made_again(self.now),
            ..Mark::default()
        };
        if mutant::is_removed(Mutant::SameCsr) {
            self.give_another_key(record);
        }
        let is_conditional = !mutant::is_removed(Mutant::ClaimCompareAndSwap);
        match self.patch(record, &mark, fault, is_conditional) {
            Ok(record) => self.claimed(run, record),
            Err(outcome) => outcome,
        }
    }

    fn mark(&mut self, run: &Run, mark: &Mark, fault: Option<Fault>) -> Outcome {
        let Some(record) = run.seen.record() else { return Outcome::RecordConflict };
        let is_conditional = !mutant::is_removed(Mutant::MarkVersion);
        match self.patch(record, mark, fault, is_conditional) {
            Ok(record) => Outcome::Marked(record),
            Err(outcome) => outcome,
        }
    }

    #[expect(clippy::result_large_err, reason = "an outcome is what the run goes on with")]
    fn patch(
        &mut self,
        record: &Record,
        mark: &Mark,
        fault: Option<Fault>,
        is_conditional: bool,
    ) -> Result<Box<Record>, Outcome> {
        if fault == Some(Fault::Conflict) {
            self.touch_record();
        }
        let is_same = |raw: &RawRecord| {
            raw.uid == record.uid && raw.resource_version == record.resource_version
        };
        let there = self.record.clone().filter(|raw| !is_conditional || is_same(raw));
        let Some(mut raw) = there else { return Err(Outcome::RecordConflict) };
        self.check_mark(record, mark);
        raw.resource_version = self.next_version().to_string();
        annotate(&mut raw, mark);
        self.put_record(raw.clone());
        let RecordRead::Present(record) = RecordRead::parse(&raw) else {
            panic!("what was written reads back");
        };
        if fault == Some(Fault::Lost) {
            return Err(failed(Disposition::Retry { after: None }, Reason::OrderRecordNotWritten));
        }
        Ok(record)
    }

    /// The record at hand gets another key.
    fn give_another_key(&mut self, record: &Record) {
        let key = Arc::new(PrivateKey::generate(KeyKind::EcdsaP256).expect("a key"));
        let pem = key.to_pkcs8_pem().expose_secret().as_bytes().to_vec();
        self.pems.insert(key.spki_der().to_vec(), pem);
        self.keys.push(Arc::clone(&key));
        let next = Slot {
            order: record.next.order.with_csr(key.spki_der()),
            private: Some(key),
            kind: record.next.kind.clone(),
        };
        let (displaced, made) = (record.issued.clone(), record.mark.made.clone());
        let draft = OrderDraft { base: None, next, displaced, made };
        if let Some(raw) = &mut self.record {
            for (key, value) in draft.data() {
                raw.data.insert(key.to_owned(), value.expose_secret().to_vec());
            }
            raw.annotations.insert(annotation::ORDER_DIGEST.to_owned(), draft.digest());
        }
    }

    /// An order is not said to have ended that has not.
    fn check_mark(&self, record: &Record, mark: &Mark) {
        let reference = &record.next.order.reference;
        let ours: Vec<&Order> = self
            .orders
            .iter()
            .filter(|order| order.reference == *reference && !order.cloned)
            .collect();
        let is_live = ours.iter().any(|order| matches!(order.phase, Phase::Pending(_)));
        let is_single = ours.len() < 2;
        let says_ended = !matches!(mark.state, OrderState::Open | OrderState::Superseded);
        assert!(
            !(is_live && is_single && says_ended) || self.is_beyond,
            "{reference} is marked {:?} and is pending at the CA",
            mark.state
        );
    }

    /// Somebody changes a label of the record.
    fn touch_record(&mut self) {
        let version = self.next_version().to_string();
        if let Some(raw) = &mut self.record {
            raw.resource_version = version;
            self.is_woken = true;
        }
    }

    fn announce(&mut self, run: &mut Run, fault: Option<Fault>) -> Outcome {
        if mutant::is_removed(Mutant::Announcement) {
            run.announced_at = Some(self.elapsed);
        }
        let before = run.object.status.clone();
        let status = stored(&describe(&run.seen, &before.conditions, &Rest::Submitting).status);
        if mutant::is_removed(Mutant::Announcement) {
            return Outcome::Announced(Box::new(status));
        }
        if fault == Some(Fault::Conflict) {
            self.touch();
        }
        let version = self.put_status(&run.object, status.clone());
        if fault == Some(Fault::Lost) {
            return failed(Disposition::Retry { after: None }, Reason::OrderNotAnnounced);
        }
        let Some(version) = version else { return Outcome::Abandoned };
        run.object.status = status;
        run.object.version = version;
        run.announced_at = Some(self.elapsed);
        self.processes[run.process].unwritten = None;
        Outcome::Announced(Box::new(run.object.status.clone()))
    }

    fn find(
        &mut self,
        tape: &mut Tape,
        run: &Run,
        fault: Option<Fault>,
        is_before: bool,
    ) -> Outcome {
        let Some(record) = run.seen.record() else { return Outcome::RecordConflict };
        let slot = match &record.issued {
            Some(slot) if is_before => slot,
            Some(_) | None => &record.next,
        };
        let has_claim = run.seen.order.claim.is_some();
        let may_exist = !has_claim || record.mark.attempt > 1;
        let id = run.seen.order_id().filter(|_| !is_before);
        let answer = match fault {
            Some(Fault::Lost) => Err(trouble(Disposition::Retry { after: None }, Reason::NoAnswer)),
            Some(Fault::Conflict) => Ok(Lookup::Absent {
                complete: false,
                doubt: Some("the last page was not there".to_owned()),
            }),
            _ => Ok(self.search(
                tape,
                run.account,
                slot.order.reference.as_str(),
                id,
                may_exist,
                &slot.order.csr_der(),
            )),
        };
        let answer = answer.map(Lookup::or_complete);
        if let Ok(Lookup::Found(found)) = &answer {
            self.proven.insert(run.account);
            let followed = super::adopt(found).map(|one| one.evidence);
            assert_ne!(
                followed,
                Some(KeyEvidence::Foreign),
                "an order for another key is followed"
            );
        }
        if is_before {
            return Outcome::SearchedBefore(answer);
        }
        let is_absent = matches!(answer, Ok(Lookup::Absent { complete: true, .. }));
        let sought = if has_claim {
            run.seen.order.sought.clone()
        } else {
            self.note(run.process, &run.seen.request.uid, &record.claim_id(), is_absent)
        };
        Outcome::Searched(answer, sought)
    }

    /// As `controller::searches` counts.
    fn note(&mut self, process: usize, uid: &str, of: &str, is_absent: bool) -> Sought {
        let elapsed = self.elapsed;
        let searches = &mut self.processes[process].searches;
        searches.retain(|key, search| {
            key != uid || search.of == of || mutant::is_removed(Mutant::SearchPerClaim)
        });
        let search = searches.entry(uid.to_owned()).or_insert_with(|| Search {
            of: of.to_owned(),
            first: elapsed,
            last: elapsed,
            counted: None,
            absent: 0,
        });
        search.last = elapsed;
        if is_absent && search.counted.is_none_or(|counted| elapsed - counted >= WINDOW / 4) {
            search.counted = Some(elapsed);
            search.absent += 1;
        }
        let search = search.clone();
        self.sought(&search)
    }

    fn search(
        &mut self,
        tape: &mut Tape,
        account: usize,
        reference: &str,
        id: Option<String>,
        may_exist: bool,
        csr: &[u8],
    ) -> Lookup {
        if self.is_blind {
            return Lookup::Absent { complete: true, doubt: None };
        }
        let tells = tape.choose("evidence", 3) != 2;
        let visible: Vec<&Order> = self
            .orders
            .iter()
            .filter(|order| order.account == account && order.visible_at <= self.elapsed)
            .filter(|order| {
                let known = self.references.get(&order.reference);
                !self.forgets || !known.is_some_and(|known| known.delivered)
            })
            .collect();
        let found: Vec<Found> = visible
            .iter()
            .filter(|order| {
                order.named && order.reference == reference || Some(&order.id) == id.as_ref()
            })
            .map(|order| Found {
                progress: order.progress(),
                evidence: match order.csr == csr {
                    _ if !tells => KeyEvidence::None,
                    true => KeyEvidence::Ours,
                    false => KeyEvidence::Foreign,
                },
                created: Some(order.created),
            })
            .collect();
        if !found.is_empty() {
            return Lookup::Found(found);
        }
        let may_be_it = visible.iter().any(|order| !order.named);
        if may_exist && may_be_it && !mutant::is_removed(Mutant::UnnamedOrders) {
            let doubt = Some("an order without a name may be it".to_owned());
            return Lookup::Absent { complete: false, doubt };
        }
        Lookup::Absent { complete: true, doubt: None }
    }

    fn submit(&mut self, tape: &mut Tape, run: &Run, fault: Option<Fault>) -> Outcome {
        assert!(run.seen.quota.granted, "a submit without a grant");
        let Some(record) = run.seen.record() else { return Outcome::RecordConflict };
        let order = &record.next.order;
        let memory = &mut self.processes[run.process];
        let inherited = memory.inherited(Some(&order.reference));
        match &memory.claim {
            Some((reference, _))
                if *reference == order.reference && mutant::is_removed(Mutant::ClaimOnce) => {}
            Some((reference, _)) if *reference == order.reference => memory.claim = None,
            None if inherited.is_some() => {}
            Some(_) | None => return Outcome::RecordConflict,
        }
        memory.used.insert(order.reference.clone());
        let (next, displaced) = (record.next.clone(), record.issued.clone());
        let draft = OrderDraft { base: None, next, displaced, made: record.mark.made.clone() };
        let mark = &record.mark;
        let pause = self.elapsed - run.announced_at.expect("announced");
        let known = self.references.get(&order.reference).expect("the record was written");
        assert_eq!(known.csr, order.csr_der(), "another CSR under the same name");
        assert_eq!(known.parameters, order.parameters, "other parameters under the same name");
        assert_eq!(order.names, known.names);
        assert!(!run.seen.request.suspended, "suspended");
        assert_eq!(order.account, ACCOUNTS[run.account], "another account");
        self.check_wanted(run, &order.reference);
        if mutant::is_removed(Mutant::WriteAhead)
            && mark.attempt == 1
            && !matches!(fault, Some(Fault::CrashAfter))
        {
            self.store(&draft, mark);
        }
        let retry = Disposition::Retry { after: None };
        let unknown = if mutant::is_removed(Mutant::UnknownIsRefused) {
            Sent::Refused
        } else {
            Sent::Unknown
        };
        let answer = tape.choose("answer", 16);
        match (fault, answer) {
            (Some(Fault::Lost | Fault::CrashAfter), _) | (_, 9..=11) => {}
            (_, 8) => return sent(unknown, retry, Reason::NoAnswer),
            (Some(Fault::Conflict), _) | (_, 12) => {
                return sent(Sent::Refused, retry, Reason::TooManyRequests);
            }
            (_, 13) => return sent(Sent::Refused, Disposition::Reject, Reason::Refused),
            _ => {}
        }
        let lag = match tape.choose("lag", 4) {
            1 => WINDOW / 8,
            2 => WINDOW / 3,
            3 => WINDOW / 2,
            _ => SignedDuration::ZERO,
        };
        // A process may stand still for most of the window, together with the lag of the CA.
        if pause + lag + WINDOW / 4 >= WINDOW {
            self.is_beyond = true;
        }
        let (order, names) = (order.clone(), order.names.clone());
        let copies = if answer == 14 { 2 } else { 1 };
        for _ in 0..copies {
            let id = format!("id-{}", self.orders.len() + 1);
            self.orders.push(Order {
                id,
                reference: order.reference.clone(),
                account: run.account,
                csr: order.csr_der(),
                names: names.clone(),
                created: self.now,
                visible_at: self.elapsed + lag,
                named: answer != 15,
                cloned: false,
                phase: pending(),
            });
        }
        self.check_orders(&order.reference, copies);
        if fault == Some(Fault::Lost) || matches!(answer, 9..=11) {
            return sent(unknown, retry, Reason::NoAnswer);
        }
        Outcome::Ordered(self.orders.last().expect("an order").progress())
    }

    /// Nothing is submitted that the CA had under this name when the run began, nor what was
    /// withdrawn before it was announced.
    fn check_wanted(&self, run: &Run, reference: &str) {
        let was_there = self.orders.iter().any(|order| {
            order.reference == reference
                && order.account == run.account
                && order.named
                && order.visible_at < run.began_at
        });
        assert!(!was_there || self.is_blind || self.is_beyond, "{reference} is there already");
        let (version, asked_at) = self.asked;
        let is_withdrawn = version > run.object.version
            && run.announced_at.is_some_and(|announced| asked_at < announced);
        assert!(!is_withdrawn, "{reference} was withdrawn before it was announced");
    }

    /// One order for each intent, the CA's own doubles aside.
    fn check_orders(&mut self, reference: &str, copies: usize) {
        if copies > 1 {
            // The CA made two of one submit: more than one is not ours to answer for.
            self.references.get_mut(reference).expect("known").epoch += 1_000_000;
        }
        if self.is_beyond {
            return;
        }
        let ours: Vec<&Order> = self.orders.iter().filter(|order| !order.cloned).collect();
        let of_reference = ours.iter().filter(|order| order.reference == reference).count();
        assert!(of_reference <= copies, "{of_reference} orders for {reference}");
        let epoch = self.references[reference].epoch;
        let of_intent: BTreeSet<&str> = ours
            .iter()
            .map(|order| order.reference.as_str())
            .filter(|one| self.references[*one].epoch == epoch)
            .collect();
        assert!(of_intent.len() <= 1, "one intent bought {of_intent:?}");
    }

    /// Each order that may still come to a certificate has its key somewhere.
    fn check_keys(&self) {
        if self.is_beyond {
            return;
        }
        let target = self.target.as_ref().and_then(|target| target.key.as_ref());
        let is_stored = |spki: &[u8]| {
            let pem = self.pems.get(spki).map(Vec::as_slice);
            let is_in_record = self.record.as_ref().is_some_and(|raw| {
                ["next.key", "issued.key"]
                    .iter()
                    .any(|slot| raw.data.get(*slot).map(Vec::as_slice) == pem)
            });
            is_in_record || target.is_some_and(|key| key.spki_der() == spki)
        };
        for order in self.orders.iter().filter(|order| !order.cloned) {
            let known = &self.references[&order.reference];
            let is_issuable = matches!(order.phase, Phase::Pending(_) | Phase::Issued(_));
            if is_issuable && !known.closed && !known.delivered {
                assert!(is_stored(&order.csr), "the key of {} is lost", order.reference);
            }
        }
    }

    /// As the API server does it: what is there must be what was read.
    fn deliver(&mut self, run: &Run, delivery: &Delivery, fault: Option<Fault>) -> Outcome {
        let is_there =
            self.object.as_ref().is_some_and(|object| object.request.uid == run.seen.request.uid);
        if !is_there {
            return Outcome::Abandoned;
        }
        let leaf = delivery.chain.first().expect("a leaf").clone();
        assert_eq!(leaf.spki_der(), delivery.key.spki_der(), "the leaf comes first");
        let reference = delivery.metadata.annotations.get(annotation::ORDER_REFERENCE).cloned();
        if fault == Some(Fault::Conflict) {
            let version = self.next_version().to_string();
            if let Some(target) = &mut self.target {
                target.resource_version = version;
            }
        }
        let there = self
            .target
            .as_ref()
            .map(|target| (target.uid.clone(), target.resource_version.clone()));
        let is_overwritten =
            there.is_some() && delivery.base.is_some() && mutant::is_removed(Mutant::TargetVersion);
        if there != delivery.base && !is_overwritten {
            return Outcome::Conflict;
        }
        if let Some(old) = &self.target {
            assert!(self.is_ours(old), "a Secret of somebody else is changed");
            if delivery.renewed {
                self.check_better(run, old, &leaf);
            }
        }
        let version = self.next_version();
        let target = written(self.target.as_ref(), delivery, version);
        self.old_targets.extend(self.target.replace(target.clone()));
        self.is_woken = true;
        if let Some(known) = reference.and_then(|one| self.references.get_mut(&one)) {
            known.delivered = true;
        }
        if fault == Some(Fault::Lost) {
            return failed(Disposition::Retry { after: None }, Reason::SecretNotWritten);
        }
        Outcome::Delivered {
            target,
            added_roots: delivery.added_roots.clone(),
            renewed: delivery.renewed,
        }
    }

    /// A certificate that is valid and fits gives way to nothing worse, unless a person wants
    /// another one.
    fn check_better(&self, run: &Run, old: &Target, new: &Certificate) {
        if !self.is_valid(old) {
            return;
        }
        let old_reference = old.metadata.annotations.get(annotation::ORDER_REFERENCE);
        let epoch = |reference: Option<&str>| {
            reference.and_then(|one| self.references.get(one)).map(|one| one.epoch % 1_000_000)
        };
        let names = &run.seen.request.names;
        let old_leaf = old.chain.first().expect("valid");
        let fits =
            |leaf: &Certificate| names.dns_names.iter().all(|name| leaf.dns_names().contains(name));
        assert!(fits(new) || !fits(old_leaf), "a fitting certificate is replaced by another");
        let is_same_wish = epoch(old_reference.map(String::as_str)) == Some(self.epoch % 1_000_000);
        assert!(
            !is_same_wish || new.not_after() >= old_leaf.not_after(),
            "the new certificate ends earlier"
        );
    }

    fn is_ours(&self, target: &Target) -> bool {
        target.metadata.annotations.get(annotation::REQUEST).map(String::as_str) == Some("web")
            && target.kind == "kubernetes.io/tls"
            && !target.immutable
    }

    fn is_valid(&self, target: &Target) -> bool {
        let Some(key) = &target.key else { return false };
        let expected = Expected {
            spki_der: key.spki_der(),
            names: &Names::default(),
            anchors: &target.anchors,
            further_intermediates: &[],
            now: self.now,
        };
        chain::verify(&target.chain, &expected).is_ok()
    }

    // --- what happens between runs ---

    /// Orders move on.
    fn move_on(&mut self, tape: &mut Tape) {
        for at in 0..self.orders.len() {
            if !matches!(self.orders[at].phase, Phase::Pending(_)) {
                continue;
            }
            let failed = |kind| {
                Phase::Failed(Failed {
                    state: "done".to_owned(),
                    kind,
                    message: "the CA said no more".to_owned(),
                })
            };
            self.orders[at].phase = match tape.choose("moves", 12) {
                0..=4 => continue,
                5 => failed(FailedKind::Failed),
                6 => failed(FailedKind::Rejected),
                7 => failed(FailedKind::Revoked),
                8 => failed(FailedKind::Forgotten),
                choice => self.sign(tape, at, choice),
            };
        }
    }

    fn sign(&self, tape: &mut Tape, at: usize, choice: u8) -> Phase {
        let order = &self.orders[at];
        let from = Timestamp::from_second(self.now.as_second()).expect("now");
        let Some(key) = self.keys.iter().find(|key| key.spki_der() == order.csr).cloned() else {
            return Phase::Issued(issued(&key(31), from));
        };
        let fine = |key: &PrivateKey, names: &Names, life| {
            vec![pki().issuing.leaf(key, names, from, from + life), pki().issuing.certificate()]
        };
        let kind = if choice == 11 { tape.choose("certificate", 6) } else { 0 };
        Phase::Issued(match kind {
            1 => fine(&crate::issuance::fixtures::key(31), &order.names, days(30)),
            2 => fine(
                &key,
                &Names { dns_names: vec!["a.example.org".to_owned()], ..order.names.clone() },
                days(30),
            ),
            3 => vec![pki().stranger.leaf(&key, &order.names, from, from + days(30))],
            4 => fine(&key, &order.names, days(3)),
            5 => vec![
                pki().issuing.leaf(&key, &order.names, from + days(1), from + days(31)),
                pki().issuing.certificate(),
            ],
            _ => fine(&key, &order.names, days(30)),
        })
    }

    fn edit(&mut self, change: impl FnOnce(&mut Request)) {
        self.touch();
        self.asked = (self.version, self.elapsed);
        if let Some(object) = &mut self.object {
            change(&mut object.request);
        }
    }

    /// An edit of what is asked for.
    fn ask(&mut self, change: impl FnOnce(&mut Request)) {
        let before = self.object.as_ref().map(|object| object.request.clone());
        self.edit(|request| {
            request.generation += 1;
            change(request);
        });
        let after = self.object.as_ref().map(|object| &object.request);
        let asked = |request: &Request| (request.names.clone(), request.key_kind);
        if before.as_ref().map(asked) != after.map(asked) {
            self.epoch += 1;
        }
    }

    fn happen(&mut self, tape: &mut Tape) {
        let time = match tape.choose("time", 9) {
            0 => SignedDuration::from_millis(300),
            1 => SignedDuration::from_secs(6),
            2 => SignedDuration::from_secs(70),
            3 => WINDOW / 4,
            4 => WINDOW,
            5 => SignedDuration::from_hours(2),
            6 => days(12),
            7 => days(21),
            _ => SignedDuration::ZERO,
        };
        self.tick(time);
        self.move_on(tape);
        if tape.choose("poll", 3) < 2 {
            self.poll();
        }
        match tape.choose("happens", 32) {
            1 => self.ask(|request| request.names.dns_names = vec!["c.example.org".to_owned()]),
            2 => self.ask(|request| request.names = names()),
            3 => self.ask(|request| request.key_kind = Some(KeyKind::EcdsaP384)),
            4 => self.ask(|request| request.key_kind = Some(KeyKind::EcdsaP256)),
            5 => {
                let nonce = tape.choose("which", 5).to_string();
                let is_new = self
                    .object
                    .as_ref()
                    .is_some_and(|object| object.request.renew.as_deref() != Some(nonce.as_str()));
                self.epoch += u32::from(is_new);
                self.edit(|request| request.renew = Some(nonce));
            }
            6 => self.edit(|request| request.renew = None),
            7 => self.edit(|request| request.suspended = !request.suspended),
            8 => self.release(),
            9 => {
                for process in &mut self.processes {
                    process.searches.clear();
                    process.unwritten = None;
                }
                self.create();
                // A request that comes again asks for nothing new.
                self.epoch -= u32::from(self.record.is_some());
            }
            10 => self.target = None,
            11 => {
                let version = self.next_version().to_string();
                if let Some(target) = &mut self.target {
                    target.resource_version = version;
                    match tape.choose("alter", 3) {
                        0 => target.chain.clear(),
                        1 => target.key = None,
                        _ => target.anchors.clear(),
                    }
                }
            }
            12 => {
                let version = self.next_version().to_string();
                if let Some(old) = self.old_targets.first().cloned() {
                    self.target = Some(Target { resource_version: version, ..old });
                }
            }
            13 => self.switch(),
            14 => {
                self.issuer = IssuerState::NotReady("no answer".to_owned());
            }
            15 => self.mend_issuer(),
            16 => self.is_unreadable = !self.is_unreadable,
            17 => {
                self.start_process();
            }
            18 => self.resume(tape),
            19 => self.clone_orders(),
            20 => self.break_record(tape),
            21 => self.now += days(1),
            22 => self.now -= SignedDuration::from_hours(3),
            23 => {
                self.forgets = true;
                self.is_beyond |= self.uids > 1;
            }

            24 => {
                // A second process acts on what the cache showed a moment ago.
                if let Some(object) = self.before.clone() {
                    let process = usize::from(tape.choose("which", 4)) % self.processes.len();
                    self.begin(tape, process, object);
                }
            }
            25 => {
                if let Some(object) = self.object.clone() {
                    let process = usize::from(tape.choose("which", 4)) % self.processes.len();
                    self.begin(tape, process, object);
                }
            }
            _ => {}
        }
    }

    fn release(&mut self) {
        let Some(RecordRead::Present(record)) = self.record.as_ref().map(RecordRead::parse) else {
            return;
        };
        let reference = record.next.order.reference.clone();
        self.epoch += 1;
        self.edit(|request| request.release = Some(reference.clone()));
        if let Some(known) = self.references.get_mut(&reference) {
            known.closed = true;
        }
    }

    fn switch(&mut self) {
        self.account = 1 - self.account;
        self.epoch += 1;
        self.mend_issuer();
    }

    fn mend_issuer(&mut self) {
        self.issuer = IssuerState::Ready {
            version: "7".to_owned(),
            account: Some(ACCOUNTS[self.account].to_owned()),
        };
    }

    /// The oldest process that was stopped in the middle of a run goes on.
    fn resume(&mut self, tape: &mut Tape) {
        if self.paused.is_empty() {
            return;
        }
        let run = self.paused.remove(0);
        tape.note(&format!("process {} goes on", run.process + 1));
        self.go_on(tape, run);
    }

    /// Another cluster with the same objects orders what would be ordered next.
    fn clone_orders(&mut self) {
        let Some(object) = &self.object else { return };
        let number = object.status.orders.unwrap_or_default() + 1;
        let reference = record::reference(&object.request.uid, number);
        if self.references.contains_key(&reference) {
            return;
        }
        self.orders.push(Order {
            id: format!("id-{}", self.orders.len() + 1),
            reference,
            account: self.account,
            csr: key(30).spki_der().to_vec(),
            names: names(),
            created: self.now,
            visible_at: self.elapsed,
            named: true,
            cloned: true,
            phase: pending(),
        });
    }

    /// What no promise covers.
    fn break_record(&mut self, tape: &mut Tape) {
        let version = self.next_version().to_string();
        self.is_beyond = true;
        match tape.choose("record", 5) {
            0 => self.record = None,
            1 => {
                if let Some(old) = self.old_records.first().cloned() {
                    self.record = Some(RawRecord { resource_version: version, ..old });
                }
            }
            2 => {
                if let Some(raw) = &mut self.record {
                    raw.resource_version = version;
                    raw.annotations.remove(annotation::ORDER_STATE);
                }
            }
            3 => {
                if let Some(raw) = &mut self.record {
                    raw.resource_version = version;
                    raw.data.insert("next.json".to_owned(), b"{}".to_vec());
                }
            }
            _ => {
                if let Some(raw) = &mut self.record {
                    raw.resource_version = version;
                    raw.labels.clear();
                }
            }
        }
    }

    // --- at the end ---

    /// All that stood in the way is put out of it, by the people whose task that is; the CA issues
    /// what is open.
    fn mend(&mut self) {
        if self.account == 1 {
            self.switch();
        }
        self.mend_issuer();
        self.is_unreadable = false;
        self.trusts_all = true;
        self.tick(days(1));
        self.forgets = false;
        if self.target.as_ref().is_some_and(|target| !self.is_ours(target)) {
            self.target = None;
        }
        self.edit(|request| {
            request.suspended = false;
            request.generation += 1;
        });
        self.paused.clear();
        self.start_process();
    }

    /// Runs as often as the shell would, the clock jumping from one look to the next.
    fn come_to_rest(&mut self) -> Rest {
        // A hold is looked at again and again; it is at rest while that writes nothing.
        let (mut last, mut still) = (Rest::Deleted, 0);
        for _ in 0..80 {
            let puts = self.puts;
            let End::Rested(rest) = self.run(&mut Tape::default()) else { panic!("no faults") };
            for at in 0..self.orders.len() {
                if matches!(self.orders[at].phase, Phase::Pending(_)) {
                    self.orders[at].phase = self.sign(&mut Tape::default(), at, 9);
                    still = 0;
                }
            }
            let is_woken = self.poll() || self.is_woken;
            still = if self.puts > puts { 0 } else { still + 1 };
            if matches!(rest, Rest::AwaitingChange | Rest::Kept | Rest::Held(_)) {
                last = rest.clone();
                if still >= 4 {
                    return rest;
                }
            }
            if is_woken {
                continue;
            }
            let wait = if let Rest::LookedFor { until, .. } | Rest::BackingOff { until, .. } = rest
            {
                until.duration_since(self.now)
            } else {
                SignedDuration::from_mins(11)
            };
            self.tick(wait.max(SignedDuration::from_secs(1)));
        }
        panic!("no rest: {last:?} {:#?}", self.object.as_ref().map(|object| &object.status));
    }

    /// What was written wakes the next run at once, and what the board learns does too: that ends,
    /// and nothing is ordered, delivered or written by it over and over.
    fn assert_quiet(&self) {
        let mut next = self.clone();
        next.pace = SignedDuration::ZERO;
        let mut trail = Vec::new();
        for _ in 0..10 {
            let puts = next.puts;
            let end = next.run(&mut Tape::default());
            trail.push(format!("{end:?} after {:?}", next.effects));
            if !next.is_woken && !next.poll() && next.puts == puts {
                return;
            }
        }
        panic!("it never becomes quiet: {trail:#?}");
    }
}

impl Process {
    /// An order whose claim another process of the same name won, and this one did not use.
    fn inherited(&self, reference: Option<&str>) -> Option<String> {
        let is_new = |reference: &&str| !self.used.contains(*reference);
        let reference = reference.filter(is_new)?;
        mutant::is_removed(Mutant::IncarnationId).then(|| reference.to_owned())
    }
}

impl Order {
    fn progress(&self) -> Progress {
        Progress { id: Some(self.id.clone()), named: self.named, phase: self.phase.clone() }
    }
}

fn pending() -> Phase {
    Phase::Pending(Waiting {
        state: "waiting".to_owned(),
        actor: Actor::Approver,
        message: "somebody has to approve it".to_owned(),
        retry_after: None,
        challenges: Vec::new(),
    })
}

fn annotate(raw: &mut RawRecord, mark: &Mark) {
    for (key, value) in mark.annotations() {
        match value {
            Some(value) => drop(raw.annotations.insert(key.to_owned(), value)),
            None => drop(raw.annotations.remove(key)),
        }
    }
}

fn label(step: &Step) -> &'static str {
    match step {
        Step::Announce => "announce",
        Step::Claim => "claim",
        Step::Deliver(_) => "deliver",
        Step::Find => "find",
        Step::FindBefore => "find before",
        Step::Mark(_) => "mark",
        Step::OpenAccount => "open account",
        Step::Order => "submit",
        Step::Prepare(..) => "prepare",
        Step::ReadCsr => "read CSR",
        Step::ReadRecord => "read record",
        Step::ReadServedRoots => "read roots",
        Step::ReadTarget => "read target",
        Step::Reserve => "reserve",
        Step::Rest(_) => "rest",
        Step::Submit(..) => "submit for free",
        Step::WriteRecord(_) => "write record",
    }
}

fn trouble(disposition: Disposition, reason: Reason) -> Trouble {
    Trouble { disposition, reason, message: format!("the CA says {reason}"), counts: true }
}

fn failed(disposition: Disposition, reason: Reason) -> Outcome {
    Outcome::Failed(trouble(disposition, reason))
}

fn sent(sent: Sent, disposition: Disposition, reason: Reason) -> Outcome {
    Outcome::NotOrdered(sent, trouble(disposition, reason))
}

#[test]
fn without_faults_an_order_takes_its_effects_one_after_the_other() {
    let mut world = World::new();
    let mut benign = Tape::default();
    assert_eq!(world.run(&mut benign), End::Rested(Rest::Ordered));
    assert_eq!(
        world.effects,
        [
            "read target",
            "open account",
            "prepare",
            "write record",
            "announce",
            "find",
            "submit",
            "status"
        ]
    );
    world.assert_quiet();
    world.orders[0].phase = world.sign(&mut benign, 0, 9);
    assert!(world.poll(), "the board wakes the request");
    assert_eq!(world.run(&mut benign), End::Rested(Rest::Kept));
    assert_eq!(world.effects, ["open account", "read record", "deliver", "status"]);
    world.assert_quiet();
    assert_eq!(world.run(&mut benign), End::Rested(Rest::Kept));
    assert_eq!(world.effects, [""; 0], "nothing is left to do");
    assert_eq!(world.puts, 3);
}

/// A first order, or a renewal, with faults at these effects; then all is well.
fn story(mut world: World, faults: &[(usize, Fault)]) -> (World, Rest) {
    let is_single = faults.len() < 2 || faults[0] == faults[1];
    let mut tape = Tape::with_faults(faults);
    for _ in 0..3 {
        let end = world.run(&mut tape);
        if is_single && matches!(end, End::Rested(_)) {
            world.assert_quiet();
        }
        world.tick(SignedDuration::from_secs(3));
        for at in 0..world.orders.len() {
            if matches!(world.orders[at].phase, Phase::Pending(_)) {
                world.orders[at].phase = world.sign(&mut Tape::default(), at, 9);
            }
        }
        world.poll();
    }
    let rest = world.come_to_rest();
    (world, rest)
}

#[test]
fn any_two_faults_cost_no_second_order_and_no_key() {
    let first = World::new();
    let (mut renewal, _) = story(World::new(), &[]);
    renewal.tick(days(21));
    for (start, is_first) in [(first, true), (renewal, false)] {
        let before = start.orders.len();
        let all: Vec<(usize, Fault)> =
            (0..14).flat_map(|at| FAULTS.map(|fault| (at, fault))).collect();
        for (number, one) in all.iter().enumerate() {
            let later =
                all[number..].iter().filter(|other| *other == one || is_first && other.0 > one.0);
            for other in later {
                let faults = [*one, *other];
                let (world, rest) = story(start.clone(), &faults);
                assert_eq!(rest, Rest::Kept, "{faults:?}");
                assert_eq!(world.orders.len(), before + 1, "{faults:?}");
            }
        }
    }
}

fn live(numbers: Vec<u8>) -> Result<(), String> {
    let mut tape = Tape::new(numbers);
    let mut world = World::new();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        if tape.choose("unproven", 4) == 3 {
            world.proven.clear();
        }
        world.is_blind = tape.choose("blind", 8) == 7;
        if world.is_blind {
            world.proven.clear();
        }
        while !tape.is_over() {
            let end = world.run(&mut tape);
            if matches!(end, End::Rested(_)) {
                world.assert_quiet();
            }
            world.happen(&mut tape);
        }
        tape.note("MEND");
        world.mend();
        world.come_to_rest();
        world.assert_quiet();
    }));
    caught.map_err(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("{}\nwhat happened: {}", words.unwrap_or_default(), tape.trace)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_intent_buys_twice_and_the_world_heals(
        numbers in prop::collection::vec(
            prop_oneof![3 => Just(0_u8), 2 => any::<u8>()], 0..120,
        ),
    ) {
        let lived = live(numbers);
        prop_assert!(lived.is_ok(), "{}", lived.unwrap_err());
    }
}

#[cfg(feature = "mutants")]
mod mutants;
