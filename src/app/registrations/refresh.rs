//! A caller who asks Alipay now where a registration stands.

use super::{
    Shop,
    ask::{Beginning, Initiator},
};
use crate::{
    app::{App, error::Error, policy::TRIES},
    domain::{
        access::principal::Identity,
        attempt::AttemptKind,
        follow_ups::schedule::Subject,
        registrations::{Registration, RegistrationActor},
    },
};

impl App {
    /// Asks Alipay now where the registration of a shop stands, and records what it says. Nothing
    /// changes where no usable answer comes. `Ok(None)`: no such registration.
    pub async fn refresh_registration(
        &self,
        identity: &Identity,
        shop: Shop<'_>,
    ) -> Result<Option<Registration>, Error> {
        for _ in 0..TRIES {
            let Some(registration) = self.find_registration(identity.tenant_scope, shop).await?
            else {
                return Ok(None);
            };
            let id = registration.id;
            let initiator = Initiator {
                actor: RegistrationActor::ApiKey(identity.api_key_id),
                fence: None,
            };
            let place = self.admission.enter(registration.merchant_id)?;
            let app = self.clone();
            // Detached: a caller that hangs up must not leave an answer unrecorded.
            let work = async move {
                let _place = place;
                let kind = AttemptKind::StoreStatus;
                match app
                    .begin_registration(registration, initiator, kind)
                    .await?
                {
                    Beginning::Begun(begun) => app
                        .ask_registration(*begun, initiator)
                        .await
                        .map(Some)
                        .map_err(Error::from),
                    Beginning::Changed | Beginning::FenceLost | Beginning::NothingToSend => {
                        Ok(None)
                    }
                }
            };
            let outcome: Result<_, Error> = self
                .run_detached(work)
                .await
                .map_err(|error| Error::Internal(Box::new(error)))?;
            let Some(told) = outcome? else {
                continue;
            };
            return if told.tells_something {
                Ok(Some(told.registration))
            } else {
                Err(Error::UpstreamSilent {
                    subject: Subject::Registration(id),
                    class: told.answer.class.as_str(),
                })
            };
        }
        Err(Error::Unavailable("the registration kept changing".into()))
    }
}
