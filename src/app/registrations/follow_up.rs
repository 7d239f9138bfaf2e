//! One visit of the schedule to an open registration: the claim is all that it knows.

use crate::{
    app::{App, error::Interrupted},
    db::follow_ups::Claimed,
    domain::{
        attempt::AttemptKind,
        registrations::{Registration, RegistrationStep, next_step},
    },
};

impl App {
    /// Does what the plan asks for now about a claimed registration, and says when to come again.
    pub async fn follow_up_registration(
        &self,
        claimed: Claimed<Registration>,
    ) -> Result<(), Interrupted> {
        let Claimed {
            lease_token,
            subject: registration,
            now,
            ..
        } = claimed;
        let merchant_id = registration.merchant_id;
        let call = match next_step(&registration, now) {
            RegistrationStep::Settled => {
                self.db.complete(merchant_id, lease_token).await?;
                return Ok(());
            }
            RegistrationStep::WaitUntil(due) => {
                self.db.reschedule(merchant_id, lease_token, due).await?;
                return Ok(());
            }
            RegistrationStep::GiveUp => return self.give_up(registration, lease_token, now).await,
            RegistrationStep::Query => AttemptKind::StoreStatus,
            RegistrationStep::Submit => AttemptKind::MaintainStore,
        };
        self.ask_as_worker(registration, lease_token, now, call)
            .await?;
        Ok(())
    }
}
