//! The rows of the schedule: listed, and steered by an operator.

use crate::app::{App, error::Error};
use crate::domain::{
    access::principal::{Identity, TenantScope},
    follow_ups::schedule::{FollowUp, FollowUpAction, FollowUpFilter},
    id::FollowUpId,
    listing::Page,
};

impl App {
    /// Lists the schedule of a merchant, or of all, newest first.
    pub async fn list_follow_ups(
        &self,
        tenant_scope: TenantScope,
        filter: &FollowUpFilter,
        after: Option<FollowUpId>,
        limit: u16,
    ) -> Result<Page<FollowUp, FollowUpId>, Error> {
        let items = self
            .db
            .list_follow_ups(tenant_scope, filter, after, limit)
            .await?;
        Ok(Page::cut(items, limit, |item| item.id))
    }

    /// Steers one row of the schedule. `Ok(None)`: no such row, or what it is about is settled.
    pub async fn steer_follow_up(
        &self,
        identity: &Identity,
        id: FollowUpId,
        steering: &FollowUpAction,
    ) -> Result<Option<FollowUp>, Error> {
        let steered = self
            .db
            .steer_follow_up(identity.tenant_scope, identity.api_key_id, id, steering)
            .await?;
        if steered.is_some() {
            tracing::info!(follow_up.id = %id, api_key.id = %identity.api_key_id, steering = steering.name(), "an operator steered a follow-up");
        }
        Ok(steered)
    }
}
