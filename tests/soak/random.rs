//! Numbers that a seed decides.

use std::time::Duration;

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// One of the independent sequences of a seed.
    pub fn new(seed: u64, sequence: u64) -> Self {
        let mut random = Self(seed ^ sequence.wrapping_mul(0xd6e8_feb8_6659_fd93));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mix = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mix = (mix ^ (mix >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mix ^ (mix >> 31)
    }

    /// From 0 to below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    /// Between two numbers of seconds.
    pub fn seconds(&mut self, from: f64, to: f64) -> f64 {
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        from + (to - from) * share
    }

    pub fn duration(&mut self, from: f64, to: f64) -> Duration {
        Duration::from_secs_f64(self.seconds(from, to))
    }

    pub fn is_one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}
