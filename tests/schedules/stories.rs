//! Schedules that chance hardly draws: given, with all that happens in them. Most are such that one
//! safeguard stands in them alone.

use crate::plan::Happening::{self, *};
use crate::plan::{Asks, Greed, Greedy as Greediness, Limits, Plan, Refusing, Setting, Tampering};

/// A schedule with a name.
pub struct Story {
    /// What happens, in a few words.
    pub name: &'static str,
    setting: Setting,
    happenings: Vec<(&'static str, Happening)>,
    /// How many orders it comes to, where that is said: of the greedy namespace, and beside it.
    orders: Option<[usize; 2]>,
}

impl Story {
    /// The schedule.
    pub fn plan(&self) -> Plan {
        let happenings = self.happenings.iter().map(|(name, what)| ((*name).to_owned(), *what));
        crate::explore::given(&self.setting, &happenings.collect())
    }

    /// Whether it comes to other orders than it says.
    pub fn has_other_orders(&self, orders: [usize; 2]) -> bool {
        self.orders.is_some_and(|said| said != orders)
    }

    /// What is given and has not happened.
    pub fn missed(&self, happened: &[(String, Happening)]) -> Vec<&'static str> {
        let has = |name: &str| happened.iter().any(|(effect, _)| effect == name);
        self.happenings.iter().map(|(name, _)| *name).filter(|name| !has(name)).collect()
    }
}

/// All of them.
pub fn all() -> Vec<Story> {
    let usual = Setting::default;
    let two = || Setting { replicas: 2, ..Setting::default() };
    let slow = |pending| Setting { pending, ..Setting::default() };
    let limited = |limits| Setting { requests: 2, limits, pending: 100, ..Setting::default() };
    let story = |name, setting, happenings: &[(&'static str, Happening)]| Story {
        name,
        setting,
        happenings: happenings.to_vec(),
        orders: None,
    };
    let shared = |limits| Setting {
        greedy: Some(Greediness { requests: 8, asks: Asks::Later }),
        limits,
        ..Setting::default()
    };
    let with = |orders, story: Story| Story { orders: Some(orders), ..story };
    // What is open is followed, and what is to come after it waits.
    let refused = |name, how| {
        let happenings = [
            ("r0 ca order/ord/status #1", Refuses { how, seconds: 300 }),
            ("r0 ca order/ord/status #2", Renew { request: 0 }),
        ];
        story(name, slow(100), &happenings)
    };
    let (before, after) = (false, true);
    vec![
        // What is ordered.
        story(
            "killed-after-the-submit",
            usual(),
            &[("r0 ca issue #1", Crash { carried_out: after })],
        ),
        story(
            "panics-after-the-submit",
            usual(),
            &[("r0 ca issue #1", Panic { carried_out: after })],
        ),
        story(
            "panics-before-the-submit-and-with-the-record-stored",
            usual(),
            &[
                ("r0 create secrets a.order #1", Panic { carried_out: after }),
                ("r0 ca issue #1", Panic { carried_out: before }),
            ],
        ),
        story(
            "edited-twice-while-it-is-open",
            slow(100),
            &[
                ("r0 ca order/ord/status #1", Edit { request: 0 }),
                ("r0 ca issue #2", Edit { request: 0 }),
            ],
        ),
        // A replica whose watches have told nothing since before an edit takes over when what was
        // ordered for that edit is issued: it must not be put aside for what was once wanted.
        story(
            "taken-over-blind",
            two(),
            &[
                ("r1 get leases/chancery #1", Stale { seconds: 120 }),
                ("r0 ca order/ord/status #1", Edit { request: 0 }),
                ("r0 ca issue #2", Crash { carried_out: after }),
            ],
        ),
        story(
            "the-key-is-cut-out",
            usual(),
            &[
                ("r0 update certificaterequests/a/status #1", Conflict),
                ("r0 get secrets/a.order #1", Record { request: 0, how: Tampering::CutsKey }),
            ],
        ),
        story(
            "the-record-is-lost",
            usual(),
            &[("r0 ca order/ord/status #1", Record { request: 0, how: Tampering::Deletes })],
        ),
        // Who may order it.
        story(
            "two-store-an-order",
            Setting { pending: 100, ..two() },
            &[("r0 create secrets a.order #1", Pause { carried_out: before, seconds: 50 })],
        ),
        story(
            "killed-after-a-submit-that-shows-late",
            Setting { lag: 35, ..usual() },
            &[("r0 ca issue #1", Crash { carried_out: after })],
        ),
        story(
            "refused-and-taken-by-another",
            Setting { pending: 200, ..two() },
            &[
                ("r0 ca issue #1", NotSent),
                ("r0 patch secrets/a.order #1", Pause { carried_out: before, seconds: 160 }),
            ],
        ),
        story(
            "claimed-while-another-looks",
            two(),
            &[
                ("r0 ca issue #1", Crash { carried_out: before }),
                ("r1 patch secrets/a.order #1", CutOff { seconds: 110 }),
                ("r2 ca issue #1", Pause { carried_out: before, seconds: 55 }),
            ],
        ),
        // Whether it was ordered.
        story(
            "a-clone-orders-first",
            slow(100),
            &[
                ("person #1", Cloned { request: 0 }),
                ("person #2", Compacted),
                ("person #3", Compacted),
                ("person #4", Renew { request: 0 }),
            ],
        ),
        story(
            "shows-late",
            Setting { lag: 58, ..usual() },
            &[("r0 ca issue #1", Lost { carried_out: after })],
        ),
        story(
            "blind-once",
            usual(),
            &[
                ("r0 ca issue #1", Lost { carried_out: after }),
                ("r0 ca orders/paged #2", Endless { seconds: 85 }),
                ("r0 ca orders/paged #22", Blind { seconds: 5 }),
            ],
        ),
        story(
            "searches-do-not-end",
            usual(),
            &[
                ("r0 ca issue #1", Lost { carried_out: after }),
                ("r0 ca orders/paged #2", Endless { seconds: 120 }),
            ],
        ),
        story(
            "the-name-is-lost",
            Setting { drops_tags: true, pending: 300, ..usual() },
            &[("r0 ca issue #1", Lost { carried_out: after })],
        ),
        story(
            "no-search-ever-found-one",
            Setting { is_proven: false, omits_open_orders: true, pending: 300, ..usual() },
            &[("r0 ca issue #1", Lost { carried_out: after })],
        ),
        story("made-late", usual(), &[("r0 ca issue #1", Late { seconds: 160 })]),
        story(
            "forgotten-after-it-was-delivered",
            usual(),
            &[("person #1", Forgotten), ("person #2", TargetDeleted { request: 0 })],
        ),
        // What is wanted now.
        story("rejected", usual(), &[("r0 ca order/ord/status #1", Rejected)]),
        story("a-name-is-dropped", usual(), &[("r0 ca issue #1", NameDropped { seconds: 60 })]),
        story(
            "given-up-once",
            usual(),
            &[
                ("r0 ca order/ord/status #1", Released { request: 0 }),
                ("person #1", Renew { request: 0 }),
            ],
        ),
        story(
            "suspended-before-it-is-announced",
            usual(),
            &[("r0 ca validate #1", Suspended { request: 0, seconds: 60 })],
        ),
        refused("renewed-while-the-issuer-is-suspended", Refusing::Suspends),
        refused("renewed-while-no-names-are-allowed", Refusing::Names),
        refused("renewed-while-other-namespaces-are-selected", Refusing::Selector),
        refused("renewed-while-the-namespace-has-lost-its-label", Refusing::Labels),
        // What a run was about to order for one wish is not stored once another was ordered for the next
        // wish: it stood still meanwhile, and has the lease again.
        story(
            "asked-twice-and-stopped-between",
            two(),
            &[
                ("r0 ca order/ord/status #1", Rejected),
                ("person #1", Renew { request: 0 }),
                ("r0 get secrets/a-tls #2", Pause { carried_out: after, seconds: 31 }),
                ("r0 get secrets/a.order #3", Renew { request: 0 }),
                ("r1 ca order/ord/status #1", Rejected),
                ("r1 update certificaterequests/a/status #3", Terminate),
            ],
        ),
        // How much.
        story(
            "one-a-day",
            limited(Limits { orders_per_day: 1, ..Limits::default() }),
            &[("r0 ca issue #1", Crash { carried_out: after })],
        ),
        story("one-at-a-time", limited(Limits { open_orders: 1, ..Limits::default() }), &[]),
        story(
            "one-a-day-for-each",
            limited(Limits { orders_per_request_per_day: 1, ..Limits::default() }),
            &[("person #1", Renew { request: 0 })],
        ),
        // A namespace that asks for eight has its three of the day's ten, and the neighbour what it needs.
        with(
            [2, 3],
            story(
                "a-greedy-namespace-has-its-share",
                shared(Limits {
                    orders_per_day: 10,
                    orders_per_namespace_per_day: 3,
                    ..Limits::default()
                }),
                &[("person #1", Greedy { how: Greed::Asks }), ("person #2", Renew { request: 0 })],
            ),
        ),
        // The neighbour's certificate ends today. Of six orders it has had one, the greedy namespace has
        // four of the five that it may have, and the last is kept for the renewal, minutes later.
        with(
            [2, 4],
            story(
                "a-renewal-that-ends-today-gets-through",
                Setting {
                    lifetime: Some(1200),
                    is_long: true,
                    ..shared(Limits {
                        orders_per_day: 6,
                        orders_per_namespace_per_day: 5,
                        ..Limits::default()
                    })
                },
                &[
                    ("person #1", Refuses { how: Refusing::Greedy, seconds: 120 }),
                    ("person #2", Greedy { how: Greed::Asks }),
                ],
            ),
        ),
        // Statuses that name the neighbour's order as one's own, and as open, take no place of the one
        // that there is; and such as say that a certificate ends today no order but one's own.
        with(
            [2, 3],
            story(
                "lies-take-nothing-of-anothers",
                shared(Limits {
                    orders_per_day: 20,
                    orders_per_namespace_per_day: 3,
                    open_orders: 1,
                    ..Limits::default()
                }),
                &[
                    ("person #1", Greedy { how: Greed::Asks }),
                    ("person #2", Greedy { how: Greed::NamesAnothers }),
                    ("person #3", Greedy { how: Greed::EndsToday }),
                    ("person #4", Renew { request: 0 }),
                ],
            ),
        ),
        // What is read and written in the cluster.
        story(
            "without-rights",
            usual(),
            &[("r0 ca order/ord/status #1", RightsLost { seconds: 120 })],
        ),
        story(
            "replaced-while-it-is-delivered",
            usual(),
            &[("person #1", Renew { request: 0 }), ("r0 patch secrets/a-tls #1", Taken)],
        ),
        story("the-target-is-anothers", usual(), &[("r0 create secrets a-tls #1", Conflict)]),
        story(
            "another-has-the-secret",
            Setting { requests: 2, shares_target: true, ..usual() },
            &[],
        ),
        story("for-another-key", usual(), &[("r0 ca issue #1", WrongKey)]),
        story(
            "edited-there-and-back",
            slow(300),
            &[
                ("person #1", Edit { request: 0 }),
                ("r0 update certificaterequests/a/status #7", EditedBack { request: 0 }),
            ],
        ),
    ]
}
