//! Chance, as a function of a seed and of what is asked: the same question always has the same
//! answer, whatever else was asked before. So a schedule stays the same where a part is taken away.

/// The dice of one schedule.
#[derive(Clone, Copy, Debug)]
pub struct Dice(pub u64);

impl Dice {
    fn draw(self, what: &str) -> u64 {
        // FNV-1a, then the last step of SplitMix64: the same with every compiler.
        let start = 0xCBF2_9CE4_8422_2325 ^ self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let hash = what
            .bytes()
            .fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        hash ^ (hash >> 31)
    }

    /// A number below `bound`.
    pub fn below(self, bound: u64, what: &str) -> u64 {
        self.draw(what) % bound.max(1)
    }

    /// True once in `times`.
    pub fn once_in(self, times: u64, what: &str) -> bool {
        self.below(times, what) == 0
    }

    /// One of these.
    pub fn one_of<T: Copy>(self, choices: &[T], what: &str) -> T {
        let count = u64::try_from(choices.len()).expect("a few choices");
        choices[usize::try_from(self.below(count, what)).expect("a small number")]
    }
}
