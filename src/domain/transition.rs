//! One recorded state change: append-only, with its cause and both clocks
//! (`docs/invariants.md` S8).

use chrono::{DateTime, Utc};

use super::id::{ApiKeyId, AttemptId, FileId, FollowUpId, NotificationId, RefundId};

/// Who caused a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A caller, by its API key.
    ApiKey(ApiKeyId),
    /// The durable schedule.
    FollowUp(FollowUpId),
    /// A verified notification from Alipay.
    Notification(NotificationId),
    /// A line of one of Alipay's daily files.
    File(FileLine),
}

/// What [`Actor`]s there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    ApiKey,
    FollowUp,
    Notification,
    File,
}

stored_names!(ActorKind {
    ApiKey = "api_key",
    FollowUp = "follow_up",
    Notification = "notification",
    File = "file",
});

impl Actor {
    pub const fn kind(self) -> ActorKind {
        match self {
            Self::ApiKey(_) => ActorKind::ApiKey,
            Self::FollowUp(_) => ActorKind::FollowUp,
            Self::Notification(_) => ActorKind::Notification,
            Self::File(_) => ActorKind::File,
        }
    }
}

/// A line of a daily file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLine {
    /// Which content of which file.
    pub file_id: FileId,
    /// The line, from 1.
    pub line: i64,
}

/// A change of a payment's state, or of one of its refunds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The refund that changed; the payment itself where it is absent.
    pub refund_id: Option<RefundId>,
    /// The version of what changed, after the change; 1 is the creation.
    pub version: i64,
    /// The event's name, for example `paid`; `created` for version 1.
    pub event: String,
    /// The status before; absent at creation.
    pub from_status: Option<String>,
    /// The status detail before.
    pub from_status_reason: Option<String>,
    pub to_status: String,
    /// The status detail after.
    pub to_status_reason: Option<String>,
    pub actor: Actor,
    /// The upstream call whose answer caused it.
    pub attempt_id: Option<AttemptId>,
    /// What an operator gave as grounds.
    pub reason: Option<String>,
    /// Where an operator documented the case.
    pub ticket: Option<String>,
    /// When, by the database's clock: the one that counts.
    pub at: DateTime<Utc>,
    /// When, by the replica's clock: shows how far it is off.
    pub gateway_at: DateTime<Utc>,
}

/// The failure code of a payment or a refund that an operator resolved as failed.
pub const RESOLVED_BY_OPERATOR: &str = "RESOLVED_BY_OPERATOR";

/// An event that contradicts a state: an incident, never a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {from} {of} cannot take the event: {event}")]
pub struct InvalidTransition {
    /// What contradicts itself: `payment` or `refund`.
    pub of: &'static str,
    /// The status before.
    pub from: &'static str,
    pub event: &'static str,
}

/// An operator's grounds for a decision; kept in the transition for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Justification {
    pub reason: String,
    /// Where the case is documented.
    pub ticket: String,
}

impl Transition {
    /// The events that are no answer of Alipay's to a payment or a refund: what callers and the books do.
    pub const BOOK_EVENTS: &'static [&'static str] = &[
        "created",
        "contradicted",
        "contradiction_settled",
        "cancel_turned_into_refund",
        "refund_created",
        "refund_reserved",
        "refund_made_in_portal",
        "refund_contradicted",
        "refund_contradiction_settled",
    ];
}
