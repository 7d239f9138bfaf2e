//! How much time has passed since a decision, for calls that must leave soon after it or not at
//! all. Never compared with the database's time.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::clock::Clock;

/// Runs from a decision on, by the clock that cannot be set and by the one that goes on while the
/// machine sleeps; the longer time counts.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    clock: Arc<dyn Clock>,
    instant: Instant,
    at: DateTime<Utc>,
}

impl Deadline {
    pub(super) fn start(clock: &Arc<dyn Clock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            instant: Instant::now(),
            at: clock.now(),
        }
    }

    /// Whether more than `limit` has passed.
    pub(super) fn expired(&self, limit: Duration) -> bool {
        let by_the_wall = (self.clock.now() - self.at).to_std().unwrap_or_default();
        self.instant.elapsed().max(by_the_wall) > limit
    }
}
