//! A caller who asks Alipay now where a registration stands.

use super::StoreRef;
use crate::app::{App, error::Error};
use crate::domain::{access::principal::Identity, registrations::Registration};

impl App {
    /// Asks Alipay now where the registration of a store stands, and records what it says. Nothing
    /// changes where no usable answer comes. `Ok(None)`: no such registration.
    pub async fn refresh_registration(
        &self,
        identity: &Identity,
        store: StoreRef<'_>,
    ) -> Result<Option<Registration>, Error> {
        // An account that does not answer is asked all the same: whoever administers it wants to know.
        self.refresh(identity.api_key_id, || async move {
            self.find_registration(identity.tenant_scope, store).await
        })
        .await
    }
}
