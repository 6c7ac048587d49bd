//! What goes wrong in a schedule, and when.
//!
//! Everything hangs on *effects*: each call of the API server and each request to the CA has a name,
//! such as `r0 create secrets a.order #1`, and right there something may happen. The name depends on
//! nothing but what the process did so far, so that a happening can be taken away, or put elsewhere,
//! without moving the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use crate::dice::Dice;

/// Something that is not as it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Happening {
    /// The process ends, before the request is sent or after it was carried out.
    Crash { carried_out: bool },
    /// The run that makes the call panics, before it is sent or when its answer is there; its process
    /// goes on.
    Panic { carried_out: bool },
    /// The connection breaks, and with it the answer.
    Lost { carried_out: bool },
    /// Nothing comes back, ever.
    Silence { carried_out: bool },
    /// It is carried out so many seconds later.
    Late { seconds: u64 },
    /// It is carried out at once; the answer comes so many seconds later.
    LateAnswer { seconds: u64 },
    /// An error of the server, and nothing is carried out.
    Refused { status: u16 },
    /// No connection comes about.
    NotSent,
    /// Somebody else changes the object right before.
    Conflict,
    /// Somebody puts a Secret of their own in place of the object right before.
    Taken,
    /// The process stands still, before the request is sent or before its answer is read.
    Pause { carried_out: bool, seconds: u64 },
    /// The process is told to end, and does what it can before.
    Terminate,
    /// The process does not reach the API server for so long.
    CutOff { seconds: u64 },
    /// The process may not touch Secrets for so long.
    RightsLost { seconds: u64 },
    /// The watches of the process tell nothing for so long.
    Stale { seconds: u64 },
    /// The watches of the process end; old versions cannot be watched from any more.
    Compacted,
    /// The wall clock of the process jumps.
    ClockJump { seconds: i64 },
    /// A person edits the names of a request.
    Edit { request: usize },
    /// A person has a request name another product, or for so long one that does not exist.
    Product { request: usize, exists: bool, seconds: u64 },
    /// A person asks for a renewal.
    Renew { request: usize },
    /// A request is deleted and created again.
    Recreate { request: usize },
    /// The delivered Secret is deleted.
    TargetDeleted { request: usize },
    /// The delivered Secret is put back as it first was.
    TargetRestored { request: usize },
    /// The issuer's credentials are those of another account for so long.
    AccountSwitched { seconds: u64 },
    /// Somebody edits the issuer, where nobody asks for a certificate; a move ends after so long.
    Issuer { how: IssuerEdit, seconds: u64 },
    /// Somebody has the issuer serve nobody for so long.
    Refuses { how: Refusing, seconds: u64 },
    /// New orders are invisible to searches for so long.
    SearchLag { seconds: u64 },
    /// The CA makes two orders of the next submit.
    Doubled,
    /// The CA forgets its newest order.
    Forgotten,
    /// The CA rejects its newest order.
    Rejected,
    /// A person takes the last edit of the names back.
    EditedBack { request: usize },
    /// A person suspends a request, and so long later does so no more.
    Suspended { request: usize, seconds: u64 },
    /// A person gives the order of a request up.
    Released { request: usize },
    /// Somebody who may do everything changes the record of a request.
    Record { request: usize, how: Tampering },
    /// Another cluster with the same objects makes the order that would be made next.
    Cloned { request: usize },
    /// Searches at the CA find nothing for so long.
    Blind { seconds: u64 },
    /// Searches at the CA do not come to their end for so long.
    Endless { seconds: u64 },
    /// The certificate for the next order is for another key.
    WrongKey,
    /// Certificates that are issued within this time lack a name.
    NameDropped { seconds: u64 },
    /// The greedy namespace does what it may.
    Greedy { how: Greed },
    /// Beyond the promise: the namespace ends.
    NamespaceEnds,
    /// Beyond the promise: the processes are ended, and the store is set back so many seconds.
    SetBack { seconds: u64 },
}

/// What somebody does to a record whom admission does not keep from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tampering {
    /// Takes the private key out.
    CutsKey,
    /// Empties the order.
    Empties,
    /// Takes the label away that makes it a record.
    Unlabels,
    /// Deletes it.
    Deletes,
    /// Puts it back as it first was.
    Restores,
}

/// What somebody does to an issuer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IssuerEdit {
    /// Has it order another product.
    Product,
    /// Names its product by id.
    ById,
    /// Writes the address of the CA in other words.
    Spelling,
    /// Names another address of the same CA.
    Moves,
    /// Deletes it and creates it again.
    Recreates,
    /// Has a request go to a ClusterIssuer for the same client and product.
    Widens,
}

/// What a namespace does that wants more than is its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Greed {
    /// Asks for all of its certificates at once.
    Asks,
    /// Writes into its statuses that its certificates end today.
    EndsToday,
    /// Writes into its statuses that it has the order of another namespace, and that it is open.
    NamesAnothers,
    /// Deletes all of its requests and creates them again.
    MakesAgain,
}

/// How an issuer comes to serve nobody for a while.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusing {
    /// It is suspended.
    Suspends,
    /// It allows no names.
    Names,
    /// A request goes to a ClusterIssuer, which selects other namespaces.
    Selector,
    /// A request goes to a ClusterIssuer, and its namespace loses the label by which it is selected.
    Labels,
    /// It serves one namespace no more, the greedy one.
    Greedy,
}

impl Happening {
    /// Whether the issuer of a request is another one afterwards, for the same account. Where two
    /// namespaces share an issuer, nobody goes to another.
    pub fn makes_another_issuer(self, setting: &Setting) -> bool {
        let is_anew = matches!(self, Self::Issuer { how: IssuerEdit::Recreates, .. });
        let is_moved = matches!(
            self,
            Self::Issuer { how: IssuerEdit::Widens, .. }
                | Self::Refuses { how: Refusing::Selector | Refusing::Labels, .. }
        );
        is_anew || is_moved && setting.greedy.is_none()
    }

    /// For how long it may show, in seconds.
    pub fn lasts(self) -> u64 {
        match self {
            Self::AccountSwitched { seconds }
            | Self::CutOff { seconds }
            | Self::Late { seconds }
            | Self::LateAnswer { seconds }
            | Self::Pause { seconds, .. }
            | Self::RightsLost { seconds }
            | Self::Blind { seconds }
            | Self::Endless { seconds }
            | Self::Issuer { seconds, .. }
            | Self::NameDropped { seconds }
            | Self::Product { seconds, .. }
            | Self::Refuses { seconds, .. }
            | Self::SearchLag { seconds }
            | Self::Stale { seconds }
            | Self::Suspended { seconds, .. } => seconds,
            _ => 10,
        }
    }

    /// Whether nothing, or less, is promised where this happens, given the window in which lost answers
    /// are looked for.
    pub fn is_beyond_promise(self, window: u64) -> bool {
        match self {
            Self::NamespaceEnds | Self::SetBack { .. } => true,
            // Three quarters of the window are for pause and lag together.
            Self::Pause { seconds, .. } | Self::Late { seconds } | Self::SearchLag { seconds } => {
                2 * seconds > window
            }
            _ => false,
        }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = |carried_out: &bool| if *carried_out { "after it" } else { "before it" };
        match self {
            Self::Crash { carried_out } => write!(f, "the process ends {}", done(carried_out)),
            Self::Panic { carried_out } => write!(f, "the run panics {}", done(carried_out)),
            Self::Lost { carried_out } => write!(f, "the connection breaks {}", done(carried_out)),
            Self::Silence { carried_out } => write!(f, "no answer, lost {}", done(carried_out)),
            Self::Late { seconds } => write!(f, "carried out {seconds} s later"),
            Self::LateAnswer { seconds } => write!(f, "answered {seconds} s later"),
            Self::Refused { status } => write!(f, "refused with {status}"),
            Self::NotSent => write!(f, "no connection"),
            Self::Conflict => write!(f, "somebody changes the object before it"),
            Self::Taken => write!(f, "somebody puts another Secret there before it"),
            Self::Pause { carried_out, seconds } => {
                write!(f, "the process stands still for {seconds} s {}", done(carried_out))
            }
            Self::Terminate => write!(f, "the process is told to end"),
            Self::CutOff { seconds } => write!(f, "cut off from the API server for {seconds} s"),
            Self::RightsLost { seconds } => write!(f, "no rights on Secrets for {seconds} s"),
            Self::Stale { seconds } => write!(f, "watches silent for {seconds} s"),
            Self::Compacted => write!(f, "watches end, versions are compacted"),
            Self::ClockJump { seconds } => write!(f, "its clock jumps by {seconds} s"),
            Self::Edit { request } => write!(f, "request {request} is edited"),
            Self::Product { request, exists: true, .. } => {
                write!(f, "request {request} names another product")
            }
            Self::Product { request, exists: false, seconds } => {
                write!(f, "request {request} names no product there is for {seconds} s")
            }
            Self::Renew { request } => write!(f, "request {request} is to be renewed"),
            Self::Recreate { request } => write!(f, "request {request} is deleted and created"),
            Self::TargetDeleted { request } => write!(f, "target {request} is deleted"),
            Self::TargetRestored { request } => write!(f, "target {request} is set back"),
            Self::AccountSwitched { seconds } => write!(f, "another account for {seconds} s"),
            Self::Issuer { how, seconds } => write!(f, "the issuer: {how:?}, {seconds} s"),
            Self::Refuses { how, seconds } => {
                write!(f, "the issuer serves nobody: {how:?}, {seconds} s")
            }
            Self::SearchLag { seconds } => write!(f, "new orders are invisible for {seconds} s"),
            Self::Doubled => write!(f, "the CA will double an order"),
            Self::Forgotten => write!(f, "the CA forgets its newest order"),
            Self::Rejected => write!(f, "the CA rejects its newest order"),
            Self::EditedBack { request } => write!(f, "the edit of {request} is taken back"),
            Self::Suspended { request, seconds } => {
                write!(f, "request {request} is suspended for {seconds} s")
            }
            Self::Released { request } => write!(f, "the order of {request} is given up"),
            Self::Record { request, how } => write!(f, "the record of {request}: {how:?}"),
            Self::Cloned { request } => {
                write!(f, "another cluster makes the next order of {request}")
            }
            Self::Blind { seconds } => write!(f, "searches find nothing for {seconds} s"),
            Self::Endless { seconds } => write!(f, "searches do not end for {seconds} s"),
            Self::WrongKey => write!(f, "the next certificate is for another key"),
            Self::NameDropped { seconds } => write!(f, "certificates lack a name for {seconds} s"),
            Self::Greedy { how } => write!(f, "the greedy namespace: {how:?}"),
            Self::NamespaceEnds => write!(f, "the namespace ends"),
            Self::SetBack { seconds } => write!(f, "the store is set back by {seconds} s"),
        }
    }
}

/// Where an effect goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// Reads of the API server.
    Read,
    /// Writes to the API server.
    Write,
    /// Renewals and looks at the lease.
    Lease,
    /// The CA.
    Ca,
    /// None: a person who looks now and then.
    Person,
}

/// The circumstances of a schedule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setting {
    /// How many requests there are.
    pub requests: usize,
    /// How many replicas run.
    pub replicas: usize,
    /// Whether the account's search has found an order before.
    pub is_proven: bool,
    /// So long an order is under way at the CA, in seconds.
    pub pending: u64,
    /// The account drops the names of orders.
    pub drops_tags: bool,
    /// Searches look at no names.
    pub ignores_tags: bool,
    /// Searches show orders with a certificate only.
    pub omits_open_orders: bool,
    /// Lifetime of the certificates in seconds, where it ends within the schedule.
    pub lifetime: Option<u64>,
    /// So long lost answers are looked for, in seconds.
    pub window: u64,
    /// New orders are invisible to searches for so long, in seconds.
    pub lag: u64,
    /// Things happen that nothing is promised for.
    pub is_beyond: bool,
    /// The limits of the issuer.
    pub limits: Limits,
    /// The day ends soon after it has begun.
    pub is_near_midnight: bool,
    /// All is left to itself for a while before the end.
    pub is_long: bool,
    /// All requests name one Secret.
    pub shares_target: bool,
    /// The operator sees the namespaces that there are at its start, each by watches of its own.
    pub chooses_namespaces: bool,
    /// A second namespace at the same issuer, which is then a ClusterIssuer.
    pub greedy: Option<Greedy>,
    /// Which CA it is where orders cost money.
    pub paid: Paid,
    /// What was bought there can be renewed at any time, where that goes by its id.
    pub is_renewable: bool,
}

/// A CA where orders cost money.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Paid {
    SslPurchase,
    SwissSign,
}

impl Paid {
    /// That of all schedules of this process: `CHANCERY_SCHEDULES_CA`, by default SwissSign.
    pub fn chosen() -> Self {
        static CHOSEN: LazyLock<Paid> =
            LazyLock::new(|| match std::env::var("CHANCERY_SCHEDULES_CA").as_deref() {
                Err(_) | Ok("" | "swisssign") => Paid::SwissSign,
                Ok("ssl-purchase") => Paid::SslPurchase,
                Ok(other) => panic!("there is no CA {other}: swisssign or ssl-purchase"),
            });
        *CHOSEN
    }
}

/// A namespace that asks for more than is its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Greedy {
    /// For so many certificates.
    pub requests: usize,
    /// And when.
    pub asks: Asks,
}

/// When the greedy namespace asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asks {
    /// Right before the others.
    First,
    /// Right after them.
    Last,
    /// When it happens.
    Later,
}

impl Setting {
    /// The Secret that a request names.
    pub fn target(&self, number: usize) -> String {
        format!("{}-tls", crate::world::name(if self.shares_target { 0 } else { number }))
    }
}

/// The limits of an issuer; 0 is none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    pub orders_per_day: u64,
    pub orders_per_namespace_per_day: u64,
    pub open_orders: u64,
    pub orders_per_request_per_day: u64,
    pub requests_per_second: u64,
}

impl Limits {
    fn of(dice: Dice) -> Self {
        let drawn = |choices: &[u64], what: &str| {
            if dice.once_in(2, what) { dice.one_of(choices, &format!("{what} of")) } else { 0 }
        };
        Self {
            orders_per_namespace_per_day: 0,
            orders_per_day: drawn(&[1, 2, 3, 20], "orders per day"),
            open_orders: drawn(&[1, 2], "open orders"),
            orders_per_request_per_day: drawn(&[1, 2, 3], "orders per request"),
            requests_per_second: drawn(&[1, 5], "requests per second"),
        }
    }

    /// So many of a day's orders are reserved at once: a tenth, or five where that is a quarter at most;
    /// ten at most, and at most half of what a namespace may have.
    pub fn block(self) -> u64 {
        let half = match self.orders_per_namespace_per_day {
            0 => u64::MAX,
            share => share / 2,
        };
        // Nothing said is a hundred.
        let day = if self.orders_per_day == 0 { 100 } else { self.orders_per_day };
        (day / 10).max((day / 4).min(5)).min(10).min(half).max(1)
    }

    /// Where two namespaces share an issuer, one of which wants more than there is.
    fn shared(dice: Dice) -> Self {
        let is_scarce = dice.once_in(3, "open orders");
        Self {
            orders_per_day: dice.one_of(&[4, 6, 10, 20], "orders per day"),
            orders_per_namespace_per_day: dice.one_of(&[2, 3, 4], "orders per namespace"),
            open_orders: if is_scarce { dice.one_of(&[1, 2], "open orders of") } else { 0 },
            ..Self::default()
        }
    }
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            requests: 1,
            replicas: 1,
            is_proven: true,
            pending: 5,
            drops_tags: false,
            ignores_tags: false,
            omits_open_orders: false,
            lifetime: None,
            window: WINDOW,
            lag: 0,
            is_beyond: false,
            limits: Limits::default(),
            is_near_midnight: false,
            is_long: false,
            shares_target: false,
            greedy: None,
            chooses_namespaces: false,
            paid: Paid::chosen(),
            is_renewable: true,
        }
    }
}

/// Lost answers are looked for so long, in seconds.
pub const WINDOW: u64 = 80;

impl Setting {
    fn of(dice: Dice) -> Self {
        let greedy = dice.once_in(8, "greedy").then(|| Greedy {
            requests: dice.one_of(&[6, 6, 6, 6, 6, 8, 8, 12], "greedy requests"),
            asks: dice.one_of(&[Asks::First, Asks::Last], "greedy asks"),
        });
        let limits = match greedy {
            Some(_) => Limits::shared(dice),
            None if dice.once_in(4, "limits") => Limits::of(dice),
            None => Limits::default(),
        };
        Self {
            requests: if dice.once_in(3, "requests") { 2 } else { 1 },
            replicas: if dice.once_in(2, "replicas") { 2 } else { 1 },
            is_proven: !dice.once_in(4, "proven"),
            pending: dice.one_of(&[1, 5, 30], "pending"),
            drops_tags: dice.once_in(12, "drops tags"),
            ignores_tags: dice.once_in(12, "ignores tags"),
            omits_open_orders: dice.once_in(12, "omits open orders"),
            lifetime: dice.once_in(6, "lifetime").then(|| dice.one_of(&[300, 1200], "lifetime of")),
            window: WINDOW,
            lag: dice.one_of(&[0, 0, 0, 5, 20, 35], "lag"),
            is_beyond: dice.once_in(8, "beyond"),
            limits,
            is_near_midnight: dice.once_in(8, "midnight"),
            is_long: dice.once_in(4, "long"),
            shares_target: dice.once_in(20, "shares target") && greedy.is_none(),
            greedy,
            chooses_namespaces: dice.once_in(5, "chooses namespaces"),
            paid: Paid::chosen(),
            is_renewable: !dice.once_in(3, "not renewable"),
        }
    }
}

/// A schedule: what it starts from, and what happens where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it starts from.
    pub setting: Setting,
    /// What happens.
    pub source: Source,
}

/// Where happenings come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From a seed; with `only`, no others than those.
    Seed { dice: Dice, only: Option<BTreeSet<String>> },
    /// These, by the name of their effect.
    Given(BTreeMap<String, Happening>),
}

impl Plan {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Self {
        let dice = Dice(seed);
        Self { setting: Setting::of(dice), source: Source::Seed { dice, only: None } }
    }

    /// What happens at an effect, if something does. `second` is the time since the beginning,
    /// `before` how much has happened so far.
    pub fn at(&self, name: &str, peer: Peer, second: u64, before: usize) -> Option<Happening> {
        match &self.source {
            Source::Given(given) => given.get(name).copied(),
            Source::Seed { dice, only } => {
                if only.as_ref().is_some_and(|only| !only.contains(name)) {
                    return None;
                }
                drawn(*dice, &self.setting, name, peer, second, before)
            }
        }
    }
}

/// After this time nothing more goes wrong, and everything has to come to rest.
const TROUBLED: u64 = 240;

type Draw = fn(Dice, &str, &Setting) -> Happening;

/// What can happen to a call.
const TO_CALLS: [(&str, Draw); 11] = [
    ("crash", |d, n, _| Happening::Crash { carried_out: half(d, n) }),
    ("panic", |d, n, _| Happening::Panic { carried_out: half(d, n) }),
    ("lost", |d, n, _| Happening::Lost { carried_out: half(d, n) }),
    ("silence", |d, n, _| Happening::Silence { carried_out: half(d, n) }),
    ("late", |d, n, s| Happening::Late { seconds: seconds(d, n, s) }),
    ("late answer", |d, n, s| Happening::LateAnswer { seconds: seconds(d, n, s) }),
    ("refused", |d, n, _| Happening::Refused { status: d.one_of(&[500, 503, 429], n) }),
    ("pause", |d, n, s| Happening::Pause { carried_out: half(d, n), seconds: seconds(d, n, s) }),
    ("not sent", |_, _, _| Happening::NotSent),
    ("conflict", |_, _, _| Happening::Conflict),
    ("taken", |_, _, _| Happening::Taken),
];

/// What can happen at any time, and leaves the call alone.
const BESIDE: [(&str, Draw); 33] = [
    ("terminate", |_, _, _| Happening::Terminate),
    ("cut off", |d, n, _| Happening::CutOff { seconds: d.one_of(&[5, 20, 70], n) }),
    ("rights lost", |d, n, _| Happening::RightsLost { seconds: d.one_of(&[5, 30, 120], n) }),
    ("stale", |d, n, _| Happening::Stale { seconds: d.one_of(&[1, 10, 40], n) }),
    ("compacted", |_, _, _| Happening::Compacted),
    ("clock", |d, n, _| Happening::ClockJump { seconds: d.one_of(&[-600, -60, 60, 600], n) }),
    ("edit", |d, n, s| Happening::Edit { request: request(d, n, s) }),
    ("product", |d, n, s| Happening::Product {
        request: request(d, n, s),
        exists: half(d, n),
        seconds: d.one_of(&[10, 60], &format!("{n} seconds")),
    }),
    ("renew", |d, n, s| Happening::Renew { request: request(d, n, s) }),
    ("recreate", |d, n, s| Happening::Recreate { request: request(d, n, s) }),
    ("target deleted", |d, n, s| Happening::TargetDeleted { request: request(d, n, s) }),
    ("target restored", |d, n, s| Happening::TargetRestored { request: request(d, n, s) }),
    ("account", |d, n, _| Happening::AccountSwitched { seconds: d.one_of(&[10, 60], n) }),
    ("issuer", |d, n, _| Happening::Issuer {
        how: issuer_edit(d, n),
        seconds: d.one_of(&[10, 60], &format!("{n} seconds")),
    }),
    ("refuses", |d, n, s| Happening::Refuses {
        how: refusing(d, n, s),
        seconds: d.one_of(&[10, 60, 120], &format!("{n} seconds")),
    }),
    ("search lag", |d, n, s| Happening::SearchLag { seconds: seconds(d, n, s) }),
    ("doubled", |_, _, _| Happening::Doubled),
    ("forgotten", |_, _, _| Happening::Forgotten),
    ("rejected", |_, _, _| Happening::Rejected),
    ("edited back", |d, n, s| Happening::EditedBack { request: request(d, n, s) }),
    ("suspended", |d, n, s| Happening::Suspended {
        request: request(d, n, s),
        seconds: d.one_of(&[10, 60], &format!("{n} seconds")),
    }),
    ("released", |d, n, s| Happening::Released { request: request(d, n, s) }),
    ("record", |d, n, s| Happening::Record { request: request(d, n, s), how: tampering(d, n) }),
    ("cloned", |d, n, s| Happening::Cloned { request: request(d, n, s) }),
    ("blind", |d, n, _| Happening::Blind { seconds: d.one_of(&[5, 15], n) }),
    ("endless", |d, n, _| Happening::Endless { seconds: d.one_of(&[5, 60], n) }),
    ("wrong key", |_, _, _| Happening::WrongKey),
    ("name dropped", |d, n, _| Happening::NameDropped { seconds: d.one_of(&[10, 60], n) }),
    ("greedy ends today", |_, _, _| Happening::Greedy { how: Greed::EndsToday }),
    ("greedy names another's", |_, _, _| Happening::Greedy { how: Greed::NamesAnothers }),
    ("greedy makes again", |_, _, _| Happening::Greedy { how: Greed::MakesAgain }),
    ("namespace ends", |_, _, _| Happening::NamespaceEnds),
    ("set back", |d, n, _| Happening::SetBack { seconds: d.one_of(&[1, 10, 60], n) }),
];

/// What a seed has in store for an effect.
fn drawn(
    dice: Dice,
    setting: &Setting,
    name: &str,
    peer: Peer,
    second: u64,
    before: usize,
) -> Option<Happening> {
    // Where renewals are of a kind of their own, there are many.
    let renewals = if setting.paid == Paid::SslPurchase { 3 } else { 0 };
    let most = 1 + renewals + usize::try_from(dice.below(8, "most")).unwrap_or_default();
    if second >= TROUBLED || before >= most {
        return None;
    }
    if renewals > 0 && peer == Peer::Person && dice.once_in(2, &format!("{name} renews")) {
        return Some(Happening::Renew { request: 0 });
    }
    let usual = dice.one_of(&[6, 12, 25, 50], "rate");
    let rate = match peer {
        Peer::Person => 2,
        // Where money is spent, and where it is written down that it is.
        Peer::Ca if name.contains("ca issue") => (usual / 4).max(2),
        Peer::Write if name.contains(".order") || name.contains("-tls") => usual / 2,
        Peer::Ca | Peer::Read | Peer::Write => usual,
        // There are many of them.
        Peer::Lease => 200,
    };
    if !dice.once_in(rate, &format!("{name} happens")) {
        return None;
    }
    let to_calls = TO_CALLS.iter().filter(|_| peer != Peer::Person);
    let beside = BESIDE.iter().filter(|_| peer != Peer::Lease);
    // Each seed knows some kinds only.
    let known: Vec<_> = to_calls
        .chain(beside)
        .filter(|(kind, _)| {
            let rarity = if matches!(*kind, "namespace ends" | "set back") { 2 } else { 3 };
            let is_fit = match *kind {
                "namespace ends" | "set back" => setting.is_beyond,
                "clock" => setting.lifetime.is_none(),
                "greedy ends today" | "greedy names another's" | "greedy makes again" => {
                    setting.greedy.is_some()
                }
                "conflict" => peer == Peer::Write,
                // The watches and the election are no runs.
                "panic" => peer == Peer::Ca || is_of_a_run(name),
                "taken" => peer == Peer::Write && name.contains("-tls"),
                // Who comes first for the Secret must not change, and nobody look at another's.
                "recreate" | "target deleted" | "target restored" => !setting.shares_target,
                // What cannot be found is not told from what is not there.
                "cloned" => !setting.drops_tags && !setting.omits_open_orders,
                _ => true,
            };
            is_fit && dice.once_in(rarity, &format!("knows {kind}"))
        })
        .collect();
    if known.is_empty() {
        return None;
    }
    let count = u64::try_from(known.len()).unwrap_or(1);
    let chosen = dice.below(count, &format!("{name} which"));
    let (_, draw) = known[usize::try_from(chosen).unwrap_or_default()];
    let happening = draw(dice, name, setting);
    let is_fit = setting.is_beyond || !happening.is_beyond_promise(setting.window);
    is_fit.then_some(happening)
}

/// Whether a call of the API server is made by the run of an object: of one object, and not its lease.
pub fn is_of_a_run(name: &str) -> bool {
    let mut words = name.split(' ').skip(1);
    let (verb, what) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_one = verb != "get" || what.contains('/');
    is_one && !what.starts_with("leases")
}

fn tampering(dice: Dice, name: &str) -> Tampering {
    const ALL: [Tampering; 5] = [
        Tampering::CutsKey,
        Tampering::Empties,
        Tampering::Unlabels,
        Tampering::Deletes,
        Tampering::Restores,
    ];
    dice.one_of(&ALL, &format!("{name} tampering"))
}

fn issuer_edit(dice: Dice, name: &str) -> IssuerEdit {
    const ALL: [IssuerEdit; 6] = [
        IssuerEdit::Product,
        IssuerEdit::ById,
        IssuerEdit::Spelling,
        IssuerEdit::Moves,
        IssuerEdit::Recreates,
        IssuerEdit::Widens,
    ];
    dice.one_of(&ALL, &format!("{name} issuer edit"))
}

fn refusing(dice: Dice, name: &str, setting: &Setting) -> Refusing {
    const ALL: [Refusing; 5] = [
        Refusing::Suspends,
        Refusing::Names,
        Refusing::Selector,
        Refusing::Labels,
        Refusing::Greedy,
    ];
    let some = if setting.greedy.is_some() { &ALL[..] } else { &ALL[..4] };
    dice.one_of(some, &format!("{name} refusing"))
}

fn half(dice: Dice, name: &str) -> bool {
    dice.once_in(2, &format!("{name} carried out"))
}

fn seconds(dice: Dice, name: &str, setting: &Setting) -> u64 {
    dice.one_of(&[1, 5, 12, 20, 35, 2 * setting.window], &format!("{name} seconds"))
}

fn request(dice: Dice, name: &str, setting: &Setting) -> usize {
    let count = u64::try_from(setting.requests).unwrap_or(1);
    usize::try_from(dice.below(count, &format!("{name} request"))).unwrap_or_default()
}
