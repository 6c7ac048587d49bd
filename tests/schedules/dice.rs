//! Chance, as a function of a seed and of what is asked: the same question always has the same
//! answer, whatever else was asked before. So a schedule stays the same where a part is taken away.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The dice of one schedule.
#[derive(Clone, Copy, Debug)]
pub struct Dice(pub u64);

impl Dice {
    fn draw(self, what: &str) -> u64 {
        // Its keys are constant, unlike those of a map's hasher.
        let mut hasher = DefaultHasher::new();
        (self.0, what).hash(&mut hasher);
        hasher.finish()
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
