//! When a certificate is renewed.

use jiff::{SignedDuration, Timestamp};

/// How long before its end a certificate is renewed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RenewBefore {
    /// When a third of the lifetime is left.
    #[default]
    AThird,
    /// That long before the end.
    Duration(SignedDuration),
    /// When that share of the lifetime is left, in per cent.
    Percentage(i32),
}

/// A renewal time, and whether the wish could be met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Renewal {
    /// When to renew.
    pub time: Timestamp,
    /// The wished time is at or above the lifetime, so that the default was taken.
    pub fell_back: bool,
}

/// When to renew a certificate that is valid from `not_before` to `not_after` and was delivered at
/// `delivered_at`.
///
/// A jitter derived from `uid` moves the time earlier by up to a twentieth of the lifetime, so that
/// what was issued together is not renewed together. It never falls into the first tenth of what
/// was left at delivery: a CA that backdates or clamps lifetimes cannot make it loop.
///
/// Any dates will do, in any order: they come from objects that others write.
#[must_use]
pub fn renewal(
    not_before: Timestamp,
    not_after: Timestamp,
    delivered_at: Timestamp,
    wish: RenewBefore,
    uid: &str,
) -> Renewal {
    let lifetime = seconds_between(not_before, not_after);
    let (before, fell_back) = match wish {
        RenewBefore::AThird => (lifetime / 3, false),
        RenewBefore::Duration(wish) if wish.as_secs() < lifetime => (wish.as_secs().max(0), false),
        RenewBefore::Duration(_) => (lifetime / 3, true),
        RenewBefore::Percentage(share) => (lifetime * i64::from(share.clamp(0, 100)) / 100, false),
    };
    let jitter = jitter(uid, lifetime / 20);
    let end = not_after.as_second();
    // Not clamp, which panics where the certificate ends before it begins.
    let start = delivered_at.as_second().max(not_before.as_second()).min(end);
    let earliest = start + (end - start) / 10;
    let seconds = (end - before - jitter).max(earliest);
    // Between two valid timestamps, so always one itself.
    Renewal { time: Timestamp::from_second(seconds).unwrap_or(not_after), fell_back }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> i64 {
    (to.as_second() - from.as_second()).max(0)
}

/// Between 0 and `limit` seconds, the same for the same `uid`. FNV-1a with the finish of MurmurHash3:
/// short, and stable across versions, unlike the standard library's hasher.
pub(crate) fn jitter(uid: &str, limit: i64) -> i64 {
    let hash = uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // FNV lets the last bytes reach only some of the upper bits.
    let mix = |hash: u64, factor: u64| (hash ^ (hash >> 33)).wrapping_mul(factor);
    let hash = mix(mix(hash, 0xff51_afd7_ed55_8ccd), 0xc4ce_b9fe_1a85_ec53);
    let share = i64::try_from(hash >> 40).unwrap_or(0);
    limit.saturating_mul(share) >> 24
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    #[test]
    fn the_wish_decides_and_the_jitter_only_moves_it_earlier() {
        let hour = 3600;
        let cases = [
            ("a third by default", RenewBefore::AThird, 20 * hour, false),
            ("a duration", RenewBefore::Duration(SignedDuration::from_hours(6)), 24 * hour, false),
            ("a percentage", RenewBefore::Percentage(50), 15 * hour, false),
            (
                "as long as the lifetime falls back",
                RenewBefore::Duration(SignedDuration::from_hours(30)),
                20 * hour,
                true,
            ),
            (
                "longer falls back",
                RenewBefore::Duration(SignedDuration::from_hours(31)),
                20 * hour,
                true,
            ),
        ];
        for (name, wish, expected, fell_back) in cases {
            for uid in ["a", "b", "6f1c0a2e-7f4b-4f0e-9a54-1f5b4d1f0c11", ""] {
                let got = renewal(at(0), at(30 * hour), at(0), wish, uid);
                assert_eq!(got.fell_back, fell_back, "{name}");
                let late = got.time.as_second();
                assert!(late <= expected && late >= expected - 30 * hour / 20, "{name}: {late}");
            }
        }
    }

    #[test]
    fn a_share_of_a_short_lifetime_is_not_rounded_away() {
        let got = renewal(at(0), at(45), at(0), RenewBefore::Percentage(40), "uid").time;
        assert!((25..=27).contains(&got.as_second()), "{got}");
    }

    #[test]
    fn a_backdated_certificate_does_not_loop() {
        let delivered = at(99_000);
        let got = renewal(at(0), at(100_000), delivered, RenewBefore::AThird, "uid");
        assert_eq!(got.time, at(99_100), "not at once, but when a tenth of the rest has passed");
    }

    #[test]
    fn what_was_issued_together_is_spread() {
        let lifetime = 90 * 24 * 3600;
        let mut times: Vec<i64> = (0..1000)
            .map(|n| format!("00000000-0000-0000-0000-{n:012}"))
            .map(|uid| renewal(at(0), at(lifetime), at(0), RenewBefore::AThird, &uid))
            .map(|renewal| renewal.time.as_second())
            .collect();
        times.sort_unstable();
        let spread = times[999] - times[0];
        assert!(spread > lifetime / 20 * 9 / 10, "the whole window is used: {spread}");
        let fullest = times.chunk_by(|a, b| a / 3600 == b / 3600).map(<[i64]>::len).max();
        assert!(fullest < Some(40), "no hour gets more than four in a hundred: {fullest:?}");
    }

    /// Any time that an object can hold.
    fn any_time() -> impl proptest::strategy::Strategy<Value = Timestamp> {
        use proptest::strategy::Strategy as _;
        let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        proptest::prop_oneof![
            proptest::strategy::Just(Timestamp::MIN),
            proptest::strategy::Just(Timestamp::MAX),
            (first..=last).prop_map(at),
        ]
    }

    proptest::proptest! {
        #[test]
        fn dates_that_make_no_sense_are_survived(
            from in any_time(), to in any_time(), delivered in any_time(),
            share in proptest::num::i32::ANY, wish in proptest::num::i64::ANY,
        ) {
            let wish = RenewBefore::Duration(SignedDuration::from_secs(wish));
            for wish in [RenewBefore::AThird, RenewBefore::Percentage(share), wish] {
                proptest::prop_assert!(renewal(from, to, delivered, wish, "uid").time <= to);
            }
        }

        #[test]
        fn it_is_never_after_the_end_nor_in_the_first_tenth(
            start in 0_i64..2_000_000_000, life in 1_i64..100_000_000, gone in 0_i64..100_000_000,
            share in 1_i32..=90, uid in "[a-f0-9-]{0,36}",
        ) {
            let (from, to, delivered) = (at(start), at(start + life), at(start + gone.min(life)));
            for wish in [RenewBefore::AThird, RenewBefore::Percentage(share), RenewBefore::Duration(SignedDuration::from_secs(life - 1))] {
                let got = renewal(from, to, delivered, wish, &uid).time;
                proptest::prop_assert!(got <= to);
                proptest::prop_assert!(got.as_second() - delivered.as_second() >= (to.as_second() - delivered.as_second()) / 10);
            }
        }
    }
}
