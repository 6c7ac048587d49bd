//! Who is killed, stopped and told to end, and started again.

use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::random::Random;
use super::{CA_TIMEOUT, LEASE};
use crate::support::control_plane::ControlPlane;
use crate::support::operator::Operator;
use crate::support::program;

/// How far the soak has come. At first things are set up, and nobody is harmed yet.
#[derive(Default)]
pub struct Stage(AtomicU8);

impl Stage {
    /// Everything may happen.
    pub const FAULTS: u8 = 1;
    /// Nothing happens any more, and everything has to come to its end.
    pub const MENDED: u8 = 2;
    /// The operators end, and nobody changes anything any more.
    pub const OVER: u8 = 3;

    pub fn reach(&self, stage: u8) {
        self.0.store(stage, Ordering::SeqCst);
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::SeqCst)
    }
}

/// How often it happened.
#[derive(Default)]
pub struct Kills {
    /// kill -9, SIGTERM, SIGSTOP.
    operators: [AtomicU64; 3],
    api_server: AtomicU64,
    etcd: AtomicU64,
}

impl Kills {
    /// Operators that were killed, told to end or stopped for a while.
    pub fn operators(&self) -> u64 {
        self.operators.iter().map(|count| count.load(Ordering::SeqCst)).sum()
    }

    pub fn api_server(&self) -> u64 {
        self.api_server.load(Ordering::SeqCst)
    }

    pub fn etcd(&self) -> u64 {
        self.etcd.load(Ordering::SeqCst)
    }

    /// In words.
    pub fn told(&self) -> String {
        let [kill, term, stop] = &self.operators;
        let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
        format!(
            "operators {} (-9 {}, TERM {}, STOP {}), API server {}, etcd {}",
            self.operators(),
            of(kill),
            of(term),
            of(stop),
            self.api_server(),
            self.etcd()
        )
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

/// From one event to the next, in seconds.
pub type Pace = (f64, f64);

/// A replica is stopped for as long as this at most, in seconds. With what a submit takes at the CA
/// and what the search lags it stays within three quarters of the settle window.
const LONGEST_STOP: f64 = 4.0;
/// Longer than an operator takes that was told to end.
const FAREWELL: Duration = Duration::from_secs(60);

enum Replica {
    Up(Operator),
    Stopped { operator: Operator, until: Instant },
    Ending { operator: Operator, since: Instant },
    Down { until: Instant },
}

/// Runs two replicas until the soak is over.
pub fn replicas(
    plane: &ControlPlane,
    kubeconfig: &Path,
    (stage, kills): (&Stage, &Kills),
    (mut random, pace): (Random, Pace),
) {
    let start = || {
        let (lease, timeout) = (format!("{LEASE}s"), format!("{CA_TIMEOUT}s"));
        let env = [
            ("CHANCERY_LEASE_DURATION", lease.as_str()),
            ("CHANCERY_CA_TIMEOUT", timeout.as_str()),
        ];
        Operator::spawn_as(kubeconfig, plane.dir(), &program("chancery"), &env)
    };
    let mut replicas = [Replica::Up(start()), Replica::Up(start())];
    let mut next = Instant::now();
    while stage.get() != Stage::OVER {
        replicas = replicas.map(|replica| replica.looked_after(&mut random, start));
        if stage.get() == Stage::FAULTS && Instant::now() >= next {
            strike(&mut replicas, kills, &mut random);
            next = Instant::now() + random.duration(pace.0, pace.1);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    for replica in replicas {
        match replica {
            Replica::Up(operator) => {
                operator.process.stop();
            }
            Replica::Stopped { operator, .. } => {
                operator.process.signal("CONT");
                operator.process.stop();
            }
            Replica::Ending { mut operator, .. } => {
                operator.process.wait(FAREWELL);
            }
            Replica::Down { .. } => {}
        }
    }
}

impl Replica {
    /// What a kubelet does: what has ended is started again.
    fn looked_after(self, random: &mut Random, start: impl FnOnce() -> Operator) -> Self {
        let now = Instant::now();
        match self {
            Self::Up(mut operator) => match operator.process.has_ended() {
                true => Self::Down { until: now + Duration::from_millis(500) },
                false => Self::Up(operator),
            },
            Self::Stopped { operator, until } if until <= now => {
                operator.process.signal("CONT");
                Self::Up(operator)
            }
            Self::Ending { mut operator, since } => {
                if operator.process.has_ended() {
                    return Self::Down { until: now + random.duration(0.0, 1.5) };
                }
                assert!(since.elapsed() < FAREWELL, "told to end, an operator did not");
                Self::Ending { operator, since }
            }
            Self::Down { until } if until <= now => Self::Up(start()),
            waiting @ (Self::Down { .. } | Self::Stopped { .. }) => waiting,
        }
    }
}

/// Something happens to a replica, more often to the one that acts.
fn strike(replicas: &mut [Replica; 2], kills: &Kills, random: &mut Random) {
    let acts = |replica: &Replica| match replica {
        Replica::Up(operator) => operator.acts() == Some(true),
        Replica::Down { .. } | Replica::Ending { .. } | Replica::Stopped { .. } => false,
    };
    let leader = replicas.iter().position(acts).filter(|_| !random.is_one_in(3));
    let victim = &mut replicas[leader.unwrap_or_else(|| random.below(2))];
    let down = Replica::Down { until: Instant::now() + random.duration(0.0, 1.5) };
    *victim = match std::mem::replace(victim, down) {
        Replica::Up(mut operator) => match random.below(20) {
            0..8 => {
                count(&kills.operators[0]);
                operator.process.signal("KILL");
                operator.process.wait(FAREWELL).expect("it is gone");
                Replica::Down { until: Instant::now() + random.duration(0.0, 1.5) }
            }
            8..13 => {
                count(&kills.operators[1]);
                operator.process.signal("TERM");
                Replica::Ending { operator, since: Instant::now() }
            }
            _ => {
                count(&kills.operators[2]);
                operator.process.signal("STOP");
                let until = Instant::now() + random.duration(0.5, LONGEST_STOP);
                Replica::Stopped { operator, until }
            }
        },
        other @ (Replica::Down { .. } | Replica::Ending { .. } | Replica::Stopped { .. }) => other,
    };
}

/// What of the control plane goes away.
#[derive(Clone, Copy)]
enum Part {
    ApiServer(&'static str),
    Etcd,
    Both,
}

/// By turns, so that all happen in a short time too.
const PARTS: [Part; 5] =
    [Part::ApiServer("KILL"), Part::Etcd, Part::ApiServer("TERM"), Part::Both, Part::Etcd];

/// Kills the API server and etcd now and then, until the faults cease.
pub fn control_plane(
    plane: &ControlPlane,
    (stage, kills): (&Stage, &Kills),
    (mut random, pace): (Random, Pace),
) {
    let mut next = None;
    let mut turns = PARTS.into_iter().cycle().skip(random.below(PARTS.len()));
    while stage.get() <= Stage::FAULTS {
        std::thread::sleep(Duration::from_millis(50));
        if stage.get() != Stage::FAULTS {
            continue;
        }
        let due = *next.get_or_insert_with(|| Instant::now() + random.duration(pace.0, pace.1));
        if Instant::now() < due {
            continue;
        }
        next = None;
        let away = random.duration(0.0, 2.5);
        let what = turns.next().expect("for ever");
        match what {
            Part::ApiServer(signal) => plane.end_api_server(signal),
            Part::Etcd => plane.kill_etcd(),
            Part::Both => {
                plane.kill_etcd();
                plane.kill_api_server();
            }
        }
        if !matches!(what, Part::Etcd) {
            count(&kills.api_server);
        }
        if !matches!(what, Part::ApiServer(_)) {
            count(&kills.etcd);
        }
        std::thread::sleep(away);
        match what {
            Part::ApiServer(_) => plane.restart_api_server(),
            Part::Etcd => plane.restart_etcd(),
            Part::Both => plane.restart_both(),
        }
    }
}
