//! The durable schedule as operators see and steer it.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::{
    contradiction::Contradiction,
    id::{FollowUpId, MerchantId, ParseIdError, PaymentId, RefundId, RegistrationId},
    payments::payment::{Payment, PaymentState, REFUSALS_FOR_A_PERSON},
    refunds::refund::{Refund, RefundState},
};

/// What a row of the schedule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A payment whose outcome is open.
    Payment(PaymentId),
    /// A refund whose outcome is open.
    Refund(RefundId),
    /// A registration of a store whose review is open.
    Registration(RegistrationId),
}

impl Subject {
    /// Every kind of row.
    pub const KINDS: [&'static str; 3] = ["payment", "refund", "registration"];

    /// The kind of row: one of [`Subject::KINDS`].
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Payment(_) => "payment",
            Self::Refund(_) => "refund",
            Self::Registration(_) => "registration",
        }
    }

    /// The bare UUID, as the database stores it.
    pub const fn uuid(self) -> Uuid {
        match self {
            Self::Payment(id) => id.uuid(),
            Self::Refund(id) => id.uuid(),
            Self::Registration(id) => id.uuid(),
        }
    }

    /// Reads a stored kind and UUID.
    pub fn from_stored(kind: &str, uuid: Uuid) -> Option<Self> {
        match kind {
            "payment" => Some(Self::Payment(uuid.into())),
            "refund" => Some(Self::Refund(uuid.into())),
            "registration" => Some(Self::Registration(uuid.into())),
            _ => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payment(id) => id.fmt(f),
            Self::Refund(id) => id.fmt(f),
            Self::Registration(id) => id.fmt(f),
        }
    }
}

impl FromStr for Subject {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.starts_with(RefundId::PREFIX) {
            text.parse().map(Self::Refund)
        } else if text.starts_with(RegistrationId::PREFIX) {
            text.parse().map(Self::Registration)
        } else {
            text.parse().map(Self::Payment)
        }
    }
}

/// One row of the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUp {
    pub id: FollowUpId,
    pub merchant_id: MerchantId,
    /// What it is about.
    pub subject: Subject,
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
    pub queries: i32,
    pub cancels: i32,
    /// How often in a row Alipay refused at its door what was asked.
    pub access_refusals: i32,
    pub created_at: DateTime<Utc>,
}

/// Which rows to list. Absent fields do not restrict.
#[derive(Clone, Debug, Default)]
pub struct FollowUpFilter {
    /// Due before this instant.
    pub due_before: Option<DateTime<Utc>>,
    /// What they are about.
    pub kind: Option<String>,
    /// Which payment, refund or registration they are about.
    pub subject: Option<Subject>,
    /// Whether they wait for a person.
    pub parked: Option<bool>,
}

/// What an operator does with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowUpAction {
    /// Visit it now, also when it was parked or abandoned.
    Run,
    /// Not before this instant.
    Snooze(DateTime<Utc>),
    /// Take it off the schedule. What it is about stays owed and stays on the work-list.
    Abandon { reason: String },
}

impl FollowUpAction {
    /// The name in logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Snooze(_) => "snooze",
            Self::Abandon { .. } => "abandon",
        }
    }
}

/// A payment or a refund that needs a person, with what was asked and answered so far.
#[derive(Clone, Debug)]
pub struct Unsettled {
    /// What it is.
    pub case: UnsettledCase,
    /// Its row of the schedule, where it has one.
    pub follow_up: Option<FollowUp>,
    /// What Alipay said against the books, oldest first.
    pub contradictions: Vec<Contradiction>,
    /// How often each kind of answer came, by the name of its class; `none` for calls without one.
    pub answers: Vec<(String, i64)>,
    /// How many calls there were.
    pub attempts: i64,
    /// When the first was sent.
    pub first_asked_at: Option<DateTime<Utc>>,
    /// When the last was sent.
    pub last_asked_at: Option<DateTime<Utc>>,
}

/// Why something needs a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Alipay says what the books do not take.
    Contradicted,
    /// Every planned question was asked.
    Unresolved,
    /// Alipay refuses at its door whatever is asked: the account is at fault.
    RefusedAtTheDoor,
    /// Open for longer than it takes where Alipay answers.
    OpenForTooLong,
    /// Open although Alipay takes no cancel of it any more.
    PastItsCancelWindow,
    /// A refund that failed after callers were told that it is under way, or done.
    FailedLate,
    /// Its follow-up cannot be worked on, or was taken off the schedule.
    Parked,
}

stored_names!(Need {
    Contradicted = "contradicted",
    Unresolved = "unresolved",
    RefusedAtTheDoor = "refused_at_the_door",
    OpenForTooLong = "open_for_too_long",
    PastItsCancelWindow = "past_its_cancel_window",
    FailedLate = "failed_late",
    Parked = "parked",
});

impl Unsettled {
    /// Why it needs a person at `now`, the gravest first.
    pub fn needs(&self, now: DateTime<Utc>) -> Vec<Need> {
        let follow_up = self.follow_up.as_ref();
        let is_parked = follow_up.is_some_and(|row| row.parked_at.is_some());
        let holds = |need: Need| match (&self.case, need) {
            (_, Need::Parked) => is_parked,
            (UnsettledCase::Payment(payment), Need::Contradicted) => {
                payment.contradicted_at.is_some()
            }
            (UnsettledCase::Refund(refund), Need::Contradicted) => refund.contradicted_at.is_some(),
            (UnsettledCase::Payment(payment), Need::Unresolved) => {
                payment.state == PaymentState::Unresolved
            }
            (UnsettledCase::Payment(payment), Need::RefusedAtTheDoor) => {
                payment.is_refused_at_the_door()
            }
            (UnsettledCase::Payment(payment), Need::OpenForTooLong) => {
                payment.is_open_for_too_long(now)
            }
            (UnsettledCase::Payment(payment), Need::PastItsCancelWindow) => {
                payment.is_past_its_cancel_window(now)
            }
            (UnsettledCase::Refund(refund), Need::FailedLate) => refund.failed_late,
            (UnsettledCase::Refund(refund), Need::Unresolved) => {
                refund.state == RefundState::Unresolved
            }
            (UnsettledCase::Refund(_), Need::RefusedAtTheDoor) => {
                follow_up.is_some_and(|row| row.access_refusals >= REFUSALS_FOR_A_PERSON)
            }
            // A refund waits for its night, or for the merchant's balance.
            (UnsettledCase::Refund(_), Need::OpenForTooLong | Need::PastItsCancelWindow)
            // A payment that fails is told so, and nobody was promised money.
            | (UnsettledCase::Payment(_), Need::FailedLate) => false,
        };
        Need::ALL
            .iter()
            .copied()
            .filter(|need| holds(*need))
            .collect()
    }
}

/// What stayed open.
#[derive(Clone, Debug)]
pub enum UnsettledCase {
    Payment(Box<Payment>),
    Refund(Box<Refund>),
}

impl UnsettledCase {
    /// Its id; ids of both kinds sort by creation.
    pub fn id(&self) -> Uuid {
        match self {
            Self::Payment(payment) => payment.id.uuid(),
            Self::Refund(refund) => refund.id.uuid(),
        }
    }

    pub fn merchant_id(&self) -> MerchantId {
        match self {
            Self::Payment(payment) => payment.merchant_id,
            Self::Refund(refund) => refund.merchant_id,
        }
    }
}
