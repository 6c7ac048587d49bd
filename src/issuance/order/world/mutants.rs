//! The world without one of the safeguards: it notices.
//!
//! Those that are the shell's are taken out of the world's own shell. Out of its reach are those of
//! what it does not have: a lease, a second request for the same Secret, free certificates, and claims
//! that grow old.

use super::*;

/// More than any of those needs that are noticed by chance, which is 200.
const TAPES: usize = 3000;
const CRASH_BEFORE: u8 = 20;
const LOST: u8 = 22;
const CONFLICT: u8 = 23;
const PAUSE: u8 = 19;

/// Tapes as the property test draws them, the same ones each time.
struct Tapes(u64);

impl Tapes {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn draw(&mut self) -> Vec<u8> {
        let length = self.number() % 120;
        let byte = |tapes: &mut Self| match tapes.number() % 5 {
            0..3 => 0,
            _ => u8::try_from(tapes.number() % 256).expect("a byte"),
        };
        (0..length).map(|_| byte(self)).collect()
    }
}

/// Lives through many tapes, until something is noticed.
fn explore() {
    let mut drawn = Tapes(0x9E37_79B9_7F4A_7C15);
    for number in 0..TAPES {
        if let Err(words) = live(drawn.draw()) {
            panic!("tape {number}: {words}");
        }
    }
}

/// How the world notices that a safeguard is gone.
enum Notices {
    /// In some tape drawn by chance, in these words.
    ByChance(&'static str),
    /// In this story, in these words; with the safeguard it ends well.
    InAStory(&'static str, fn()),
    /// It does not, for this reason.
    Not(&'static str),
}

use Notices::{ByChance, InAStory, Not};

fn notices(mutant: Mutant) -> Notices {
    match mutant {
        Mutant::AccountCheck => InAStory("another account", the_account_changes),
        Mutant::Announcement => InAStory("was withdrawn before", edited_before_it_is_announced),
        Mutant::ChurnBreaker | Mutant::DayBudget | Mutant::OpenOrders => {
            Not("there are no limits in this world")
        }
        Mutant::ClaimAge => Not("claims do not grow old in this world"),
        Mutant::ClaimCompareAndSwap => ByChance("a reference is used twice"),
        Mutant::ClaimOnce => ByChance("2 orders for"),
        Mutant::DeliveredOnce => InAStory("is there already", forgotten_after_delivery),
        Mutant::EndedHold => ByChance("one intent bought"),
        Mutant::EveryPage => InAStory("is there already", the_search_does_not_end),
        Mutant::FindFirst => ByChance("is there already"),
        Mutant::ForbiddenIsAbsent => InAStory("is called lost", without_rights),
        Mutant::ForeignTarget => InAStory("of somebody else", the_target_is_anothers),
        Mutant::IncarnationId => ByChance("is there already"),
        Mutant::IssuedKey => ByChance("the leaf comes first"),
        Mutant::KeyEvidence => ByChance("for another key is followed"),
        Mutant::LeaseCheck => Not("processes act at the same time in this world as they like"),
        Mutant::LostRecord => InAStory("one intent bought", the_record_is_lost),
        Mutant::MarkVersion => InAStory("is marked Refused", refused_and_taken_by_another),
        Mutant::NeverWorse => InAStory("is replaced by another", edited_there_and_back),
        Mutant::PositiveControl => ByChance("2 orders for"),
        Mutant::RecordDigest => InAStory("is lost", the_key_is_cut_out),
        Mutant::ReleaseByName => ByChance("is open and is overwritten"),
        Mutant::RequestAsSeen => InAStory("one intent bought", asked_twice_and_stopped_between),
        Mutant::Rival => Not("there is one request only"),
        Mutant::SameCsr => ByChance("another CSR under the same name"),
        Mutant::SearchPerClaim => InAStory("2 orders for", claimed_while_another_looks),
        Mutant::SettleWindow => InAStory("2 orders for", stopped_for_half_the_window),
        Mutant::Suspend => ByChance("suspended"),
        Mutant::TargetVersion => InAStory("of somebody else", replaced_while_it_is_delivered),
        Mutant::TerminalCheck => ByChance("is open and is overwritten"),
        Mutant::ThreeAnswers => InAStory("2 orders for", blind_once),
        Mutant::Undelivered => Not("certificates cost money here, and are fetched again"),
        Mutant::UnknownIsRefused => ByChance("is marked Refused"),
        Mutant::UnnamedOrders => InAStory("2 orders for", the_name_is_lost),
        Mutant::UnusableHold => ByChance("one intent bought"),
        Mutant::WriteAhead => ByChance("is lost"),
        Mutant::Expectations => Not("what is decided on the past ends at the condition of a write"),
    }
}

/// What the world says of `happens` without this safeguard; `None` where it notices nothing.
fn without(mutant: Option<Mutant>, happens: impl FnOnce()) -> Option<String> {
    mutant::set(mutant);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(happens));
    mutant::set(None);
    let panic = caught.err()?;
    let words = panic.downcast_ref::<String>().cloned();
    words.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
}

/// What is wrong with the table, if something is.
fn check(mutant: Mutant) -> Option<String> {
    let (words, noticed) = match notices(mutant) {
        ByChance(words) => (words, without(Some(mutant), explore)),
        InAStory(words, story) => {
            if let Some(said) = without(None, story) {
                return Some(format!("with {} in place: {said}", mutant.name()));
            }
            (words, without(Some(mutant), story))
        }
        Not(why) => {
            println!("{:24} not noticed here: {why}", mutant.name());
            return None;
        }
    };
    match noticed {
        Some(said) if said.contains(words) => {
            println!("{:24} noticed: {}", mutant.name(), said.lines().next().unwrap_or_default());
            None
        }
        said => Some(format!("{}: {said:?}", mutant.name())),
    }
}

#[test]
fn each_safeguard_is_missed() {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let at = || next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                while let Some(mutant) = Mutant::ALL.get(at()) {
                    wrong.lock().expect("nobody panics").extend(check(*mutant));
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("nobody panics");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

impl World {
    fn planned(&mut self, plan: &[(&'static str, usize, u8)]) -> End {
        self.run(&mut Tape::planned(plan))
    }

    /// So long the newest process runs as the shell would run it, always with this plan.
    fn pass(&mut self, time: SignedDuration, plan: &[(&'static str, usize, u8)]) -> End {
        let end = self.elapsed + time;
        loop {
            let ended = self.planned(plan);
            let wait = match &ended {
                End::Rested(Rest::LookedFor { until, .. }) => until.duration_since(self.now),
                End::Paused => return ended,
                End::Crashed | End::Rested(_) => WINDOW / 4,
            };
            if self.elapsed + wait >= end {
                self.tick(end - self.elapsed);
                return ended;
            }
            self.tick(wait);
        }
    }

    /// What was stopped goes on.
    fn goes_on(&mut self) {
        self.tick(SignedDuration::from_secs(1));
        self.resume(&mut Tape::default());
    }

    /// The order comes to nothing, and that is noted.
    fn fails(&mut self, at: usize) {
        self.orders[at].phase = Phase::Failed(Failed {
            state: "done".to_owned(),
            kind: FailedKind::Failed,
            message: String::new(),
        });
        self.poll();
        self.run(&mut Tape::default());
    }

    /// A person asks for another certificate.
    fn renew(&mut self, nonce: &str) {
        self.epoch += 1;
        self.edit(|request| request.renew = Some(nonce.to_owned()));
    }

    /// The CA issues what is open, and it is delivered.
    fn issues(&mut self, plan: &[(&'static str, usize, u8)]) -> End {
        for at in 0..self.orders.len() {
            if matches!(self.orders[at].phase, Phase::Pending(_)) {
                self.orders[at].phase = self.sign(&mut Tape::default(), at, 9);
            }
        }
        self.poll();
        self.planned(plan)
    }

    /// Somebody changes the target.
    fn change_target(&mut self, change: impl FnOnce(&mut Target)) {
        let version = self.next_version().to_string();
        let target = self.target.as_mut().expect("a target");
        target.resource_version = version;
        change(target);
    }
}

/// With one order made and delivered.
fn delivered() -> World {
    let mut world = World::new();
    world.run(&mut Tape::default());
    assert_eq!(world.issues(&[]), End::Rested(Rest::Kept));
    world
}

fn the_account_changes() {
    let mut world = World::new();
    world.planned(&[("submit", 0, LOST)]);
    world.switch();
    world.proven.insert(1);
    world.pass(WINDOW * 2, &[]);
}

fn edited_before_it_is_announced() {
    let mut world = World::new();
    assert_eq!(world.planned(&[("announce", 0, PAUSE)]), End::Paused);
    world.ask(|request| request.names.dns_names = vec!["c.example.org".to_owned()]);
    world.goes_on();
}

fn forgotten_after_delivery() {
    let mut world = delivered();
    world.forgets = true;
    world.target = None;
    world.start_process();
    world.pass(WINDOW * 2, &[]);
}

fn the_search_does_not_end() {
    let mut world = World::new();
    world.planned(&[("submit", 0, LOST)]);
    world.pass(WINDOW * 2, &[("find", 0, CONFLICT), ("find", 1, CONFLICT)]);
}

fn without_rights() {
    let mut world = delivered();
    world.change_target(|_| {});
    world.is_unreadable = true;
    world.tick(SignedDuration::from_hours(1));
    world.run(&mut Tape::default());
}

fn the_target_is_anothers() {
    let mut world = delivered();
    world.change_target(|target| drop(target.metadata.annotations.remove(annotation::REQUEST)));
    world.run(&mut Tape::default());
}

fn the_record_is_lost() {
    let mut world = World::new();
    world.run(&mut Tape::default());
    world.record = None;
    world.fails(0);
    world.run(&mut Tape::default());
}

fn refused_and_taken_by_another() {
    let mut world = World::new();
    assert_eq!(world.planned(&[("answer", 0, 12), ("mark", 0, PAUSE)]), End::Paused);
    world.pass(WINDOW * 2, &[]);
    assert_eq!(world.orders.len(), 1);
    world.goes_on();
}

fn edited_there_and_back() {
    let mut world = delivered();
    world.ask(|request| request.names.dns_names = vec!["c.example.org".to_owned()]);
    assert_eq!(world.run(&mut Tape::default()), End::Rested(Rest::Ordered));
    world.ask(|request| request.names = names());
    world.issues(&[]);
}

fn the_key_is_cut_out() {
    let mut world = World::new();
    world.planned(&[("announce", 0, CONFLICT)]);
    world.record.as_mut().expect("a record").data.remove("next.key");
    world.touch_record();
    world.run(&mut Tape::default());
}

fn asked_twice_and_stopped_between() {
    let mut world = World::new();
    world.run(&mut Tape::default());
    world.fails(0);
    world.renew("1");
    assert_eq!(world.planned(&[("write record", 0, PAUSE)]), End::Paused);
    world.renew("2");
    world.run(&mut Tape::default());
    world.fails(1);
    world.goes_on();
    world.pass(WINDOW * 2, &[]);
}

fn claimed_while_another_looks() {
    let mut world = World::new();
    world.planned(&[("submit", 0, CRASH_BEFORE)]);
    assert_eq!(world.pass(WINDOW * 2, &[("claim", 0, PAUSE)]), End::Paused);
    assert_eq!(world.pass(WINDOW * 2, &[("submit", 0, PAUSE)]), End::Paused);
    world.goes_on();
    let object = world.object.clone().expect("a request");
    world.begin(&mut Tape::default(), 1, object);
    world.goes_on();
}

fn stopped_for_half_the_window() {
    let mut world = World::new();
    assert_eq!(world.planned(&[("submit", 0, PAUSE)]), End::Paused);
    world.pass(WINDOW * 3 / 5, &[]);
    world.goes_on();
}

fn replaced_while_it_is_delivered() {
    let mut world = delivered();
    world.renew("1");
    world.run(&mut Tape::default());
    assert_eq!(world.issues(&[("deliver", 0, PAUSE)]), End::Paused);
    world.change_target(|target| drop(target.metadata.annotations.remove(annotation::REQUEST)));
    world.goes_on();
}

fn blind_once() {
    let mut world = World::new();
    world.planned(&[("submit", 0, LOST)]);
    world.pass(WINDOW * 2, &[("find", 0, LOST)]);
    world.tick(WINDOW);
    world.is_blind = true;
    world.run(&mut Tape::default());
}

fn the_name_is_lost() {
    let mut world = World::new();
    world.planned(&[("submit", 0, LOST), ("answer", 0, 15)]);
    world.pass(WINDOW * 2, &[]);
}
