//! One visit of the schedule to an open registration: the claim is all that it knows.

use chrono::{DateTime, Utc};

use super::{
    ask::{Beginning, Initiator},
    record::{RegistrationUpdate, sent},
};
use crate::{
    app::{
        App,
        error::{Interrupted, settle},
        policy::RECORD_ANSWER,
    },
    db::{follow_ups::Claimed, payments::record::LeaseToken},
    domain::{
        attempt::AttemptKind,
        registrations::{
            Registration, RegistrationActor, RegistrationEvent, RegistrationStep, next_step,
        },
    },
};

impl App {
    /// Does what the plan asks for now about a claimed registration, and says when to come again.
    pub async fn follow_up_registration(
        &self,
        claimed: Claimed<Registration>,
    ) -> Result<(), Interrupted> {
        let Claimed {
            fence,
            subject: registration,
            now,
            ..
        } = claimed;
        let merchant_id = registration.merchant_id;
        match next_step(&registration, now) {
            RegistrationStep::Settled => {
                self.db.complete(merchant_id, fence).await?;
                Ok(())
            }
            RegistrationStep::WaitUntil(due) => {
                self.db.reschedule(merchant_id, fence, due).await?;
                Ok(())
            }
            RegistrationStep::Query => {
                let kind = AttemptKind::StoreStatus;
                self.visit_registration(registration, fence, now, kind)
                    .await
            }
            RegistrationStep::Submit => {
                let kind = AttemptKind::MaintainStore;
                self.visit_registration(registration, fence, now, kind)
                    .await
            }
            RegistrationStep::GiveUp => self.give_up_registration(registration, fence, now).await,
        }
    }

    /// Asks one question under the claim.
    async fn visit_registration(
        &self,
        registration: Registration,
        fence: LeaseToken,
        now: DateTime<Utc>,
        kind: AttemptKind,
    ) -> Result<(), Interrupted> {
        let (merchant_id, id) = (registration.merchant_id, registration.id);
        let initiator = Initiator {
            actor: RegistrationActor::FollowUp(fence.follow_up_id),
            fence: Some(fence),
        };
        let before = registration.clone();
        match self
            .begin_registration(registration, initiator, kind)
            .await?
        {
            Beginning::Begun(begun) => {
                settle(self.ask_registration(*begun, initiator).await.map(|_| ()))
            }
            Beginning::Changed => {
                // Somebody changed it meanwhile: look again at once.
                self.db.reschedule(merchant_id, fence, now).await?;
                Ok(())
            }
            Beginning::FenceLost => {
                tracing::warn!(registration.id = %id, "the claim on the follow-up was lost before asking");
                Ok(())
            }
            Beginning::NothingToSend => {
                tracing::error!(registration.id = %id, "the data of a registration cannot be opened to be sent again; register it once more");
                self.give_up_registration(before, fence, now).await
            }
        }
    }

    /// The plan is exhausted: a person must look, and the slow questions go on.
    async fn give_up_registration(
        &self,
        registration: Registration,
        fence: LeaseToken,
        now: DateTime<Utc>,
    ) -> Result<(), Interrupted> {
        let about = sent(&registration);
        let update = RegistrationUpdate {
            actor: RegistrationActor::FollowUp(fence.follow_up_id),
            answered: None,
            event: Some(RegistrationEvent::PlanExhausted),
            about,
            fence: Some(fence),
            reschedule: true,
            now,
        };
        let recorded = self
            .record_registration(registration, &update, RECORD_ANSWER)
            .await;
        settle(recorded.map(|_| ()))
    }
}
