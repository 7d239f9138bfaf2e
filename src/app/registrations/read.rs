//! Reading registrations: nothing here calls Alipay.

use chrono::{DateTime, Utc};

use super::{StoreRef, only};
use crate::{
    app::{App, Page, error::Error},
    domain::{
        access::principal::TenantScope,
        id::RegistrationId,
        registrations::{
            self, Registration, RegistrationChange, RegistrationFilter, RegistrationStatus,
        },
    },
};

impl App {
    /// When a registration becomes `unresolved`, if nothing is learnt before; `None` where nothing is
    /// owed, or that has come.
    pub fn registration_gives_up_at(&self, registration: &Registration) -> Option<DateTime<Utc>> {
        let is_open = !registration.status.is_settled()
            && registration.status != RegistrationStatus::Unresolved;
        is_open.then(|| registrations::gives_up_at(registration))
    }

    /// Reads the registration of a store. `Ok(None)`: there is none within `tenant_scope`.
    pub async fn find_registration(
        &self,
        tenant_scope: TenantScope,
        store: StoreRef<'_>,
    ) -> Result<Option<Registration>, Error> {
        let found = self
            .db
            .registrations_of_store(
                tenant_scope,
                store.merchant_id,
                store.secondary_merchant_id,
                store.store_id,
            )
            .await?;
        only(found)
    }

    /// What happened to a registration, newest first.
    pub async fn registration_history(
        &self,
        registration: &Registration,
    ) -> Result<Vec<RegistrationChange>, Error> {
        let (merchant_id, id) = (registration.merchant_id, registration.id);
        Ok(self.db.registration_history(merchant_id, id).await?)
    }

    /// Lists registrations, newest first, from after `after`.
    pub async fn list_registrations(
        &self,
        tenant_scope: TenantScope,
        filter: &RegistrationFilter,
        after: Option<RegistrationId>,
        limit: u16,
    ) -> Result<Page<Registration, RegistrationId>, Error> {
        let items = self
            .db
            .list_registrations(tenant_scope, filter, after, limit)
            .await?;
        Ok(Page::cut(items, limit, |item| item.id))
    }
}
