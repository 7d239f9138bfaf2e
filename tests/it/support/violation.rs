//! What the oracles find.

use std::{collections::BTreeSet, fmt};

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// The invariant, for example `M2`.
    pub(crate) invariant: &'static str,
    /// What it is about, and what is wrong.
    pub(crate) text: String,
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.text)
    }
}

/// Violations, each named once.
#[derive(Default)]
pub(crate) struct Findings(BTreeSet<Violation>);

impl Findings {
    /// Notes a violation of `invariant` unless it holds.
    pub(crate) fn check(
        &mut self,
        invariant: &'static str,
        holds: bool,
        text: impl FnOnce() -> String,
    ) {
        if !holds {
            let text = text();
            self.0.insert(Violation { invariant, text });
        }
    }

    /// All of them, in order.
    pub(crate) fn into_vec(self) -> Vec<Violation> {
        self.0.into_iter().collect()
    }
}
