//! The registration of shops with Alipay: the same shape as payments and refunds. The intent commits
//! the data, the call is detached from the caller, what is learnt goes through one record, and a visit
//! of the schedule asks again (`docs/protocol.md` 10).
//!
//! What repeats is identity-stable: a question, or the same data under the same ids, which Alipay takes
//! as an update of what it has.

mod ask;
mod outcome;
mod record;
mod register;
mod sealing;

use chrono::{DateTime, Utc};

use super::{App, Page, error::Error};
use crate::{
    alipay::request::drivers_text,
    domain::{
        access::principal::TenantScope,
        id::{MerchantId, RegistrationId},
        registrations::{
            self, Driver, Registration, RegistrationChange, RegistrationFilter, RegistrationStatus,
        },
        text::{TooLong, fits_alipay, longest},
    },
};

pub use register::{Registered, RegistrationWish};

pub(super) use record::describe_metrics;

/// Whether so many drivers fit into one registration, as the text that Alipay takes of them.
pub fn check_drivers(drivers: &[Driver]) -> Result<(), TooLong> {
    fits_alipay(&drivers_text(drivers), longest::DRIVERS)
}

/// Which shop is meant, by Alipay's ids and, where those are not enough, its merchant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shop<'a> {
    /// The merchant at Alipay.
    pub secondary_merchant_id: &'a str,
    /// The shop.
    pub store_id: &'a str,
    /// The merchant here.
    pub merchant_id: Option<MerchantId>,
}

impl App {
    /// When a registration becomes `unresolved`, if nothing is learnt before; `None` where nothing is
    /// owed, or that has come.
    pub fn registration_gives_up_at(&self, registration: &Registration) -> Option<DateTime<Utc>> {
        let is_open = !registration.status.is_settled()
            && registration.status != RegistrationStatus::Unresolved;
        is_open.then(|| registrations::gives_up_at(registration))
    }

    /// Reads the registration of a shop. `Ok(None)`: there is none within `tenant_scope`.
    pub async fn find_registration(
        &self,
        tenant_scope: TenantScope,
        shop: Shop<'_>,
    ) -> Result<Option<Registration>, Error> {
        let found = self
            .db
            .registrations_of_store(
                tenant_scope,
                shop.merchant_id,
                shop.secondary_merchant_id,
                shop.store_id,
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

/// The one that was found; more than one is for the caller to tell apart.
fn only<T>(found: Vec<T>) -> Result<Option<T>, Error> {
    let mut found = found.into_iter();
    let first = found.next();
    if found.next().is_some() {
        return Err(Error::MerchantAmbiguous);
    }
    Ok(first)
}
