//! The durable schedule as operators see and steer it.

use chrono::{DateTime, Utc};

use super::{
    id::{FollowUpId, PaymentId},
    payment::Payment,
};

/// One row of the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUp {
    /// Its identity.
    pub id: FollowUpId,
    /// What it is about; `payment` today.
    pub kind: String,
    /// The payment it is about.
    pub subject_id: PaymentId,
    /// When it is visited next.
    pub due_at: DateTime<Utc>,
    /// Until when a worker holds it.
    pub leased_until: Option<DateTime<Utc>>,
    /// Which worker holds it.
    pub worker: Option<String>,
    /// The gateway's own errors since the last success.
    pub error_count: i32,
    /// The last of them.
    pub last_error: Option<String>,
    /// Since when it waits for a person.
    pub parked_at: Option<DateTime<Utc>>,
    /// Why an operator took it off the schedule.
    pub abandoned_reason: Option<String>,
    /// How many queries it sent.
    pub queries: i32,
    /// How many cancels it sent.
    pub cancels: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Which rows to list. Absent fields do not restrict.
#[derive(Clone, Debug, Default)]
pub struct FollowUpFilter {
    /// Due before this instant.
    pub due_before: Option<DateTime<Utc>>,
    /// What they are about.
    pub kind: Option<String>,
    /// Which payment they are about.
    pub subject: Option<PaymentId>,
    /// Whether they wait for a person.
    pub parked: Option<bool>,
}

/// What an operator does with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steering {
    /// Visit it now, also when it was parked or abandoned.
    Run,
    /// Not before this instant.
    Snooze(DateTime<Utc>),
    /// Take it off the schedule. The payment stays owed and stays on the work-list.
    Abandon {
        /// Why.
        reason: String,
    },
}

impl Steering {
    /// The name in logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Snooze(_) => "snooze",
            Self::Abandon { .. } => "abandon",
        }
    }
}

/// A payment that needs a person, with what was asked and answered so far.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// The payment.
    pub payment: Payment,
    /// Its row of the schedule, where it has one.
    pub follow_up: Option<FollowUp>,
    /// How often each kind of answer came, by the name of its class; `none` for calls without one.
    pub answers: Vec<(String, i64)>,
    /// How many calls there were.
    pub attempts: i64,
    /// When the first was sent.
    pub first_asked_at: Option<DateTime<Utc>>,
    /// When the last was sent.
    pub last_asked_at: Option<DateTime<Utc>>,
}
