//! What becomes of a guarded write.

use chrono::{DateTime, Utc};

/// What became of something that was to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Written. The time is that of the change by the database's clock.
    Written(DateTime<Utc>),
    /// What it is about has changed since it was read: read it again and decide again.
    Stale,
    /// The claim has passed to another worker: stop.
    LeaseLost,
}
