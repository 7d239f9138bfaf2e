//! Who caused a change, in the columns of every table that says so.

use crate::domain::{
    id::{ApiKeyId, FollowUpId, NotificationId},
    transition::{Actor, FileLine},
};

/// The actor as a transition row's columns; one of them is set.
#[derive(Clone, Copy, Default)]
pub(in crate::db) struct ActorColumns {
    pub(in crate::db) api_key_id: Option<uuid::Uuid>,
    pub(in crate::db) follow_up_id: Option<uuid::Uuid>,
    pub(in crate::db) notification_id: Option<uuid::Uuid>,
    pub(in crate::db) statement_file_id: Option<uuid::Uuid>,
    pub(in crate::db) statement_line: Option<i64>,
}

impl ActorColumns {
    pub(in crate::db) fn of(actor: Actor) -> Self {
        match actor {
            Actor::ApiKey(id) => Self {
                api_key_id: Some(ApiKeyId::uuid(id)),
                ..Self::default()
            },
            Actor::FollowUp(id) => Self {
                follow_up_id: Some(FollowUpId::uuid(id)),
                ..Self::default()
            },
            Actor::Notification(id) => Self {
                notification_id: Some(NotificationId::uuid(id)),
                ..Self::default()
            },
            Actor::File(FileLine { file_id, line }) => Self {
                statement_file_id: Some(file_id.uuid()),
                statement_line: Some(line),
                ..Self::default()
            },
        }
    }
}
