//! The work-list: the payments and refunds that need a person.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::app::{App, error::Error};
use crate::domain::{
    access::principal::TenantScope, follow_ups::schedule::Unsettled, listing::Page,
};

impl App {
    /// The payments and refunds that need a person, with the evidence, newest first, and the time by
    /// which they do.
    pub async fn list_unsettled(
        &self,
        tenant_scope: TenantScope,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<(Page<Unsettled, Uuid>, DateTime<Utc>), Error> {
        let items = self.db.list_unsettled(tenant_scope, after, limit).await?;
        let now = self.db.now().await?;
        Ok((Page::cut(items, limit, |item| item.case.id()), now))
    }
}
