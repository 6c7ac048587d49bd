//! A small world to run the core in: one Secret, one CA, one status, and everything that can go
//! wrong with them.
//!
//! What happens is read from a tape of numbers, of which 0 is always the benign choice; past its
//! end all is well. A crash leaves what the world holds (Secret and status) and loses the rest, so
//! the next run begins with what can be observed.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::Purchase;
use super::certificate::delivery::Delivery;
use super::certificate::key::{BroughtCsr, CsrReference, Key};
use super::decide::decide;
use super::describe::{Description, Requeue, describe};
use super::fixtures::{
    account, cached, days, fresh, issued, key, larger_key, names, now, pki, previous, ready,
    stored, written,
};
use super::observation::{
    Account, IssuerState, Observation, Obtained, Outcome, Read, Request, Target,
};
use super::step::{KeyPlan, Rest, Step};
use super::trouble::Trouble;
use crate::api::condition::{self, READY};
use crate::api::{CertificateRequestStatus, annotation};
use crate::outside::Disposition;
use crate::pki::chain::{self, Expected};
use crate::pki::csr::Asked;
use crate::pki::{Certificate, KeyKind, Names, PrivateKey};
use crate::reason::Reason;

/// No run needs more steps, conflicts included.
const MOST_STEPS: usize = 20;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Choices, one after the other.
struct Tape {
    numbers: Vec<u8>,
    read: usize,
    /// The choices that were not benign, and the effects between them.
    trace: String,
}

impl Tape {
    fn new(numbers: Vec<u8>) -> Self {
        Self { numbers, read: 0, trace: String::new() }
    }

    fn benign() -> Self {
        Self::new(Vec::new())
    }

    /// A number below `choices`.
    fn choose(&mut self, label: &str, choices: u8) -> u8 {
        let number = self.numbers.get(self.read).copied().unwrap_or(0) % choices;
        self.read += 1;
        if number > 0 {
            self.note(&format!("{label} {number}"));
        }
        number
    }

    fn note(&mut self, what: &str) {
        self.trace.push_str(what);
        self.trace.push_str(" | ");
    }

    fn is_over(&self) -> bool {
        self.read >= self.numbers.len()
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("what happened: {}", self.trace);
        }
    }
}

/// How a run ended.
#[derive(Debug, PartialEq)]
enum End {
    Crashed,
    Rested(Rest),
}

#[derive(Clone)]
struct World {
    now: Timestamp,
    request: Request,
    issuer: IssuerState,
    rival: Option<String>,
    target: Option<Target>,
    status: CertificateRequestStatus,
    account: Account,
    /// Reading the Secret fails.
    is_unreadable: bool,
    /// Opening the account fails.
    closed: Option<Trouble>,
    /// Writing the Secret fails.
    is_unwritable: bool,
    /// The versions the API server has given out.
    version: u64,
    keys: usize,
    /// Which key the CSR is for that the request brings, if it does.
    csr: Option<usize>,
    /// Certificates the CA has issued.
    minted: usize,
    /// Effects of the last run, in order.
    effects: Vec<&'static str>,
    /// What each effect takes.
    pace: SignedDuration,
    /// The run crashes at this boundary between two effects.
    crash_at: Option<usize>,
}

impl World {
    fn new() -> Self {
        let Observation { request, .. } = fresh();
        Self {
            now: now(),
            request,
            issuer: ready(),
            rival: None,
            target: None,
            status: CertificateRequestStatus::default(),
            account: account(),
            is_unreadable: false,
            closed: None,
            is_unwritable: false,
            version: 1,
            keys: 0,
            csr: None,
            minted: 0,
            effects: Vec::new(),
            pace: SignedDuration::from_millis(7),
            crash_at: None,
        }
    }

    /// A world in which the request brings a CSR without its key.
    fn with_csr() -> Self {
        let mut world = Self::new();
        world.request.names = Names::default();
        world.request.key_kind = None;
        world.bring_csr();
        world
    }

    /// The Secret with the CSR changes: it is for another key now.
    fn bring_csr(&mut self) {
        self.version += 1;
        self.keys += 1;
        self.csr = Some(self.keys);
        self.request.csr = Some(CsrReference {
            secret: "mine".to_owned(),
            entry: "tls.csr".to_owned(),
            version: Some(self.version.to_string()),
        });
    }

    fn observe(&self) -> Observation {
        let is_watched =
            |target: &&Target| target.metadata.labels.contains_key(annotation::MANAGED_LABEL);
        Observation {
            now: self.now,
            request: self.request.clone(),
            issuer: self.issuer.clone(),
            rival: self.rival.clone(),
            previous: previous(&self.status),
            cached: self.target.as_ref().filter(is_watched).map(cached),
            ..fresh()
        }
    }

    /// One run, with the status at its end.
    fn run(&mut self, tape: &mut Tape) -> End {
        let mut seen = self.observe();
        let mut steps = 0;
        let mut boundary = 0;
        self.effects.clear();
        loop {
            let step = decide(&seen);
            steps += 1;
            assert!(steps <= MOST_STEPS, "the run does not end: {:?}", self.effects);
            if let Step::Rest(rest) = step {
                if self.crashes(tape, &mut boundary) {
                    return End::Crashed;
                }
                tape.note(&format!("{rest:?}"));
                self.finish(&seen, &rest);
                return End::Rested(rest);
            }
            if self.crashes(tape, &mut boundary) {
                return End::Crashed;
            }
            let outcome = self.perform(tape, &seen, step);
            if self.crashes(tape, &mut boundary) {
                return End::Crashed;
            }
            self.now += self.pace;
            seen.now = self.now;
            seen = seen.after(outcome);
        }
    }

    fn crashes(&self, tape: &mut Tape, boundary: &mut usize) -> bool {
        let here = *boundary;
        *boundary += 1;
        self.crash_at == Some(here) || self.crash_at.is_none() && tape.choose("crash", 8) == 7
    }

    fn finish(&mut self, seen: &Observation, rest: &Rest) {
        if matches!(rest, Rest::Deleted | Rest::Abandoned) {
            return;
        }
        let Description { status, notices, requeue } =
            describe(seen, &self.status.conditions, rest);
        if let Requeue::At(at) = requeue {
            assert!(at > seen.now, "a run that follows at once: {rest:?}");
        }
        let was_ready = condition::is_true(&self.status.conditions, READY);
        let is_ready = condition::is_true(&status.conditions, READY);
        if is_ready {
            let end = status.certificate.as_ref().expect("Ready has a certificate").not_after.0;
            assert!(end > seen.now, "Ready although expired");
            assert!(
                matches!(requeue, Requeue::At(at) if at <= end.max(seen.now + SECOND)),
                "nobody looks when the certificate ends: {rest:?}"
            );
        }
        if was_ready && !is_ready {
            assert_ne!(*rest, Rest::Kept, "a kept certificate is Ready");
        }
        if status == self.status {
            assert_eq!(notices, [], "nothing has changed, so nothing is told");
        }
        self.status = stored(&status);
    }

    fn perform(&mut self, tape: &mut Tape, seen: &Observation, step: Step) -> Outcome {
        match step {
            Step::ReadTarget => {
                self.note(tape, "read");
                Outcome::TargetRead(match &self.target {
                    _ if self.is_unreadable => Read::Unreadable("get secrets: 403".to_owned()),
                    None => Read::Absent,
                    Some(target) => Read::Present(target.clone()),
                })
            }
            Step::OpenAccount => {
                self.note(tape, "open");
                assert!(matches!(self.issuer, IssuerState::Ready { .. }));
                match &self.closed {
                    Some(trouble) => Outcome::Failed(trouble.clone()),
                    None => Outcome::Opened(self.account.clone()),
                }
            }
            Step::ReadCsr => {
                self.note(tape, "csr");
                match tape.choose("read the CSR", 8) {
                    6 => refused(Disposition::BlameCredentials, Reason::CsrUnusable),
                    7 => refused(Disposition::Retry { after: None }, Reason::CsrUnreadable),
                    _ => {
                        let key = public(self.csr.expect("a CSR"));
                        let names = Names::default();
                        Outcome::CsrRead(Arc::new(BroughtCsr {
                            der: Vec::new(),
                            key,
                            names,
                            asked: Asked::default(),
                        }))
                    }
                }
            }
            Step::Submit(plan, _) => self.submit(tape, seen, plan),
            Step::ReadServedRoots => {
                self.note(tape, "roots");
                Outcome::Served(vec![pki().issuing.certificate(), pki().root.certificate()])
            }
            Step::Deliver(delivery) => self.deliver(tape, &delivery),
            Step::Announce
            | Step::Claim
            | Step::Find
            | Step::FindBefore
            | Step::Mark(_)
            | Step::Order
            | Step::Prepare(..)
            | Step::ReadRecord
            | Step::Reserve
            | Step::Resolve(_)
            | Step::Rest(_)
            | Step::WriteRecord(_) => panic!("no effect of a free CA"),
        }
    }

    fn note(&mut self, tape: &mut Tape, effect: &'static str) {
        self.effects.push(effect);
        tape.note(effect);
    }

    fn is_ours(&self) -> bool {
        self.target.as_ref().is_some_and(|target| {
            target.metadata.annotations.get(annotation::REQUEST) == Some(&self.request.name)
                && target.kind == if self.csr.is_some() { "Opaque" } else { "kubernetes.io/tls" }
                && !target.immutable
        })
    }

    fn submit(&mut self, tape: &mut Tape, seen: &Observation, plan: KeyPlan) -> Outcome {
        assert!(!self.effects.contains(&"submit"), "two submits in one run");
        assert!(seen.target.is_some() && !self.is_unreadable, "the target is not known");
        assert!(!self.request.suspended, "suspended");
        assert!(matches!(self.issuer, IssuerState::Ready { .. }), "the issuer is not ready");
        assert!(self.target.is_none() || self.is_ours(), "the target is somebody else's");
        assert!(self.rival.is_none() || self.is_ours(), "the name is somebody else's");
        self.note(tape, "submit");
        let key = match plan {
            KeyPlan::Reuse(key) => key,
            KeyPlan::Brought(csr) => {
                let there = key(self.csr.expect("a CSR"));
                assert_eq!(csr.key.spki_der(), there.spki_der());
                there
            }
            KeyPlan::Generate(KeyKind::EcdsaP384) => larger_key(),
            KeyPlan::Generate(_) => {
                self.keys += 1;
                key(self.keys)
            }
        };
        let retry = |after| Disposition::Retry { after };
        match tape.choose("answer", 14) {
            0..=3 => self.issue(key, issued),
            4 => self.issue(key, |_, at| issued(&super::fixtures::key(31), at)),
            5 => self.issue(key, |key, at| issued(key, at - days(31))),
            6 => self
                .issue(key, |key, at| vec![pki().stranger.leaf(key, &names(), at, at + days(30))]),
            7 => self.issue(key, |key, at| issued(key, at).into_iter().take(1).collect()),
            8 => refused(retry(None), Reason::Unreachable),
            9 => refused(retry(Some(Duration::from_secs(900))), Reason::TooManyRequests),
            10 => refused(Disposition::BlameIssuer, Reason::AddressUnknown),
            11 => refused(Disposition::Internal, Reason::UnexpectedAnswer),
            12 => refused(Disposition::Reject, Reason::Refused),
            // The shell holds it against the issuer: nothing is sent before the credentials change.
            _ => {
                let trouble = Trouble {
                    counts: false,
                    ..trouble(Disposition::BlameCredentials, Reason::CredentialsRefused)
                };
                self.closed = Some(trouble.clone());
                Outcome::Failed(trouble)
            }
        }
    }

    fn issue(
        &mut self,
        key: Arc<PrivateKey>,
        sign: impl Fn(&PrivateKey, Timestamp) -> Vec<Certificate>,
    ) -> Outcome {
        self.minted += 1;
        let second = Timestamp::from_second(self.now.as_second()).expect("now");
        let candidates = match sign(&key, second) {
            // The CA signs what was asked for.
            fine if self.request.names != names() => {
                let leaf = &fine[0];
                let (from, to) = (leaf.not_before(), leaf.not_after());
                let leaf = pki().issuing.leaf(&key, &self.request.names, from, to);
                vec![leaf, pki().issuing.certificate()]
            }
            fine => fine,
        };
        let key = match self.csr {
            Some(csr) => public(csr),
            None => key.into(),
        };
        let account = self.account.name.clone();
        let purchase = Purchase { account, product: None };
        Outcome::Issued(Obtained { key, csr_names: None, candidates, purchase })
    }

    /// As the API server does it: what is there must be what was read.
    fn deliver(&mut self, tape: &mut Tape, delivery: &Delivery) -> Outcome {
        self.note(tape, "deliver");
        self.verify(delivery);
        let fault = tape.choose("write", 12);
        if self.is_unwritable || fault == 8 {
            self.is_unwritable = true;
            return refused(Disposition::Retry { after: None }, Reason::SecretNotWritten);
        }
        match fault {
            9 => self.edit(tape),
            10 => self.target = None,
            11 => return Outcome::Abandoned,
            _ => {}
        }
        let there = self
            .target
            .as_ref()
            .map(|target| (target.uid.clone(), target.resource_version.clone()));
        if there != delivery.base {
            return Outcome::Conflict;
        }
        assert!(self.target.is_none() || self.is_ours(), "a Secret of somebody else is changed");
        self.version += 1;
        let target = written(self.target.as_ref(), delivery, self.version);
        self.target = Some(target.clone());
        Outcome::Delivered {
            target,
            added_roots: delivery.added_roots.clone(),
            renewed: delivery.renewed,
            adopted: delivery.adopted,
        }
    }

    /// A pair that belongs together, that is what was asked for, and that verifies as it is.
    fn verify(&self, delivery: &Delivery) {
        let leaf = delivery.chain.first().expect("a leaf");
        assert_eq!(leaf.spki_der(), delivery.key.spki_der(), "the leaf comes first");
        let verified = self.verified(&delivery.chain, delivery.key.spki_der());
        assert!(verified.is_some_and(|chain| delivery.anchors.contains(&chain.anchor)));
    }

    fn verified(
        &self,
        candidates: &[Certificate],
        spki_der: &[u8],
    ) -> Option<chain::VerifiedChain> {
        let expected = Expected {
            spki_der,
            names: &self.request.names,
            anchors: &self.account.anchors,
            further_intermediates: &[],
            now: self.now,
        };
        chain::verify(candidates, &expected).ok()
    }

    /// Somebody else changes the Secret, or makes one.
    fn edit(&mut self, tape: &mut Tape) {
        self.version += 1;
        let version = self.version.to_string();
        let Some(target) = &mut self.target else {
            self.target = Some(Target {
                uid: format!("uid-{version}"),
                resource_version: version,
                kind: "Opaque".to_owned(),
                immutable: false,
                owners: vec![],
                metadata: super::Template::default(),
                key: None,
                chain: vec![],
                anchors: vec![],
            });
            return;
        };
        target.resource_version = version;
        let annotations = &mut target.metadata.annotations;
        match tape.choose("edit", 12) {
            0 => drop(annotations.insert("other".to_owned(), "x".to_owned())),
            1 => target.anchors.push(pki().stranger.certificate()),
            2 => target.anchors.clear(),
            3 => target.chain.truncate(1),
            4 => target.chain.clear(),
            5 => target.key = None,
            6 => {
                target.key = Some(key(30));
                target.chain =
                    vec![pki().stranger.leaf(&key(30), &names(), now(), now() + days(99))];
            }
            7 => drop(annotations.remove(annotation::REQUEST)),
            8 => drop(annotations.insert(annotation::REQUEST.to_owned(), "other".to_owned())),
            9 => drop(target.metadata.labels.remove(annotation::MANAGED_LABEL)),
            10 => drop(target.metadata.labels.insert("team".to_owned(), "other".to_owned())),
            _ => target.immutable = true,
        }
    }

    /// Something happens between two runs.
    fn happen(&mut self, tape: &mut Tape) {
        self.now += match tape.choose("time", 8) {
            0 => SignedDuration::from_millis(300),
            1 => SignedDuration::from_secs(6),
            2 => SignedDuration::from_secs(70),
            3 => SignedDuration::from_hours(2),
            4 => days(12),
            5 => days(21),
            6 => days(40),
            _ => SignedDuration::ZERO,
        };
        match tape.choose("happens", 19) {
            1..=4 => self.edit(tape),
            5 => self.target = None,
            6 => self.change(|request| request.suspended = !request.suspended),
            7 => self.request.renew = Some(format!("{}", tape.choose("which", 3))),
            8 => self.change(|request| request.names.dns_names = vec!["c.example.org".to_owned()]),
            9 => self.change(|request| request.names = names()),
            10 => self.change(|request| request.template.labels.clear()),
            11 => self.change(|request| request.key_kind = Some(KeyKind::EcdsaP384)),
            12 => {
                self.issuer = match tape.choose("which", 3) {
                    0 => IssuerState::Missing,
                    1 => IssuerState::NotReady("no answer".to_owned()),
                    _ => {
                        IssuerState::Ready { version: "8".to_owned(), account: None, anchors: None }
                    }
                }
            }
            13 => self.is_unreadable = !self.is_unreadable,
            14 => self.rival = Some("elder".to_owned()).filter(|_| self.rival.is_none()),
            15 => {
                let counts = tape.choose("counts", 2) == 1;
                let closed = trouble(Disposition::BlameCredentials, Reason::CredentialsUnusable);
                self.closed = Some(Trouble { counts, ..closed });
            }
            16 => self.is_unwritable = !self.is_unwritable,
            17 if self.csr.is_some() => self.bring_csr(),
            _ => {
                self.issuer = ready();
                self.closed = None;
            }
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Request)) {
        change(&mut self.request);
        self.request.generation += 1;
    }

    /// All that stood in the way is put out of it, by the people whose task that is.
    fn mend(&mut self) {
        self.issuer = ready();
        self.rival = None;
        self.is_unreadable = false;
        self.is_unwritable = false;
        self.closed = None;
        if !self.is_ours() {
            self.target = None;
        }
        self.change(|request| request.suspended = false);
        self.now += SignedDuration::from_hours(2);
    }

    fn assert_ready(&self) {
        let ready = condition::find(&self.status.conditions, READY).expect("Ready");
        assert_eq!(ready.status, "True", "{}", ready.message);
        let target = self.target.as_ref().expect("a target");
        let spki_der = match self.csr {
            Some(csr) => key(csr).spki_der().to_vec(),
            None => target.key.as_ref().expect("a key").spki_der().to_vec(),
        };
        assert!(self.verified(&target.chain, &spki_der).is_some(), "the Secret is of no use");
        assert_eq!(target.anchors, self.account.anchors);
    }

    /// A run that changes nothing: not even reads, and the same status.
    fn assert_still(&mut self) {
        let before = self.status.clone();
        assert_eq!(self.run(&mut Tape::benign()), End::Rested(Rest::Kept));
        assert_eq!(self.effects, [""; 0]);
        assert_eq!(self.status, before);
    }

    /// Every status write wakes the next run at once. That one must not act nor write again.
    fn assert_quiet(&self) {
        let mut next = self.clone();
        next.pace = SignedDuration::ZERO;
        next.run(&mut Tape::benign());
        let acts = ["submit", "deliver"];
        assert!(
            !next.effects.iter().any(|effect| acts.contains(effect)),
            "the run right after acts again: {:?}\n{:#?}",
            next.effects,
            self.status
        );
        assert_eq!(next.status, self.status, "the run right after writes another status");
    }
}

/// The `n`-th key, of which only the public half is at hand.
fn public(n: usize) -> Key {
    Key::Public(key(n).spki_der().into())
}

fn trouble(disposition: Disposition, reason: Reason) -> Trouble {
    Trouble { disposition, reason, message: format!("the CA says {reason}"), counts: true }
}

fn refused(disposition: Disposition, reason: Reason) -> Outcome {
    Outcome::Failed(trouble(disposition, reason))
}

#[test]
fn without_faults_one_run_is_enough_and_the_next_does_nothing() {
    let mut world = World::new();
    assert_eq!(world.run(&mut Tape::benign()), End::Rested(Rest::Kept));
    assert_eq!(world.effects, ["read", "open", "submit", "deliver"]);
    world.assert_ready();
    world.assert_still();
    world.now += days(21);
    assert_eq!(world.run(&mut Tape::benign()), End::Rested(Rest::Kept));
    assert_eq!(world.effects, ["read", "open", "submit", "deliver"]);
    assert_eq!(world.status.revision, Some(2));
    world.assert_ready();
    world.assert_still();
    assert_eq!(world.minted, 2);
}

#[test]
fn a_crash_between_any_two_effects_costs_one_certificate_at_most() {
    let issue = World::new();
    let mut renew = World::new();
    renew.run(&mut Tape::benign());
    renew.request.renew = Some("1".to_owned());
    renew.now += days(1);
    let mut lost = 0;
    let mut brought = World::with_csr();
    brought.run(&mut Tape::benign());
    brought.bring_csr();
    brought.now += days(1);
    for start in [issue, renew, World::with_csr(), brought] {
        for first in 0..14 {
            for second in 0..14 {
                let mut world = start.clone();
                let mut crashes = 0;
                for crash_at in [first, second] {
                    world.crash_at = Some(crash_at);
                    crashes += usize::from(world.run(&mut Tape::benign()) == End::Crashed);
                }
                world.crash_at = None;
                world.run(&mut Tape::benign());
                world.assert_ready();
                world.assert_still();
                let minted = world.minted - start.minted;
                assert!(minted <= 1 + crashes, "{minted} certificates for {crashes} crashes");
                let revision = world.status.revision.unwrap_or_default();
                assert_eq!(revision, start.status.revision.unwrap_or_default() + 1);
                lost += minted - 1;
            }
        }
    }
    assert!(lost > 0, "some crashes came after the submit");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_runs_end_and_the_world_heals(
        brings_csr: bool,
        numbers in prop::collection::vec(
            prop_oneof![3 => Just(0_u8), 2 => any::<u8>()], 0..160,
        ),
    ) {
        let mut tape = Tape::new(numbers);
        let mut world = if brings_csr { World::with_csr() } else { World::new() };
        while !tape.is_over() {
            let end = world.run(&mut tape);
            if !matches!(end, End::Crashed | End::Rested(Rest::Deleted | Rest::Abandoned)) {
                world.assert_quiet();
            }
            world.happen(&mut tape);
        }
        world.mend();
        world.run(&mut Tape::benign());
        world.run(&mut Tape::benign());
        world.assert_ready();
        world.assert_still();
    }
}
