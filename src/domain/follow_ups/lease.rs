//! Claims on the rows of the schedule (`docs/invariants.md` R10).

use chrono::{DateTime, Utc};

use crate::domain::id::FollowUpId;

/// A claim on a follow-up: only its holder may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseToken {
    pub follow_up_id: FollowUpId,
    /// The value the claim was given.
    pub fence: i64,
    /// The question besides the plan that was owed when the claim was made.
    pub question_due_at: Option<DateTime<Utc>>,
}
