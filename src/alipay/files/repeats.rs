//! Which lines were seen before.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

/// How many lines are remembered: what a table of two million places holds, in 36 MB.
const REMEMBERED: usize = 1_835_008;

/// The lines seen so far, by a keyed hash of 64 bits: among a million lines two different ones are taken
/// for the same once in 37 million files, and nothing but a mark on the row comes of it.
pub(super) struct Repeats {
    state: RandomState,
    lines: HashMap<u64, u64>,
    limit: usize,
    found: u64,
}

impl Repeats {
    pub(super) fn new() -> Self {
        Self::up_to(REMEMBERED)
    }

    fn up_to(limit: usize) -> Self {
        Self {
            state: RandomState::new(),
            lines: HashMap::new(),
            limit,
            found: 0,
        }
    }

    /// The first line that was the same, if any. Remembers this one.
    pub(super) fn see(&mut self, number: u64, text: &str) -> Option<u64> {
        let hash = self.state.hash_one(text);
        let first = self.lines.get(&hash).copied();
        if first.is_some() {
            self.found += 1;
        } else if !self.is_full() {
            self.lines.insert(hash, number);
        }
        first
    }

    /// How many lines repeat an earlier one.
    pub(super) fn found(&self) -> u64 {
        self.found
    }

    /// After how many lines no more were remembered, if it came to that.
    pub(super) fn limit_reached(&self) -> Option<u64> {
        self.is_full().then_some(self.lines.len() as u64)
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_line_names_the_first_one_and_memory_is_bounded() {
        let mut repeats = Repeats::up_to(2);
        assert_eq!(repeats.see(1, "a"), None);
        assert_eq!(repeats.limit_reached(), None);
        assert_eq!(repeats.see(2, "b"), None);
        assert_eq!(repeats.see(3, "a"), Some(1));
        assert_eq!(repeats.see(4, "c"), None);
        assert_eq!(repeats.see(5, "c"), None, "beyond what is remembered");
        assert_eq!((repeats.found(), repeats.limit_reached()), (1, Some(2)));
    }
}
