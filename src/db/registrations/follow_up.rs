//! Claims of registrations from the schedule.

use std::time::Duration;

use super::{RegistrationRow, select_registration};
use crate::{
    db::{
        Db,
        error::Error,
        follow_ups::{Claims, claim, claimed, claimed_row},
        run::Statement as _,
    },
    domain::{follow_ups::lease::LeaseToken, registrations::Registration},
};

claimed_row!(RegistrationRow => Registration);

impl Db {
    /// Claims up to `limit` due follow-ups of registrations for `lease`.
    #[tracing::instrument(name = "db.follow_up.claim_registrations", level = "debug", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn claim_due_registrations(
        &self,
        worker: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Claims<Registration>, Error> {
        let rows = claim!(
            select_registration,
            "join claimed as follow_up on follow_up.merchant_id = store_registration.merchant_id
                and follow_up.subject_id = store_registration.registration_id",
            limit,
            worker,
            lease,
            "registration",
            ""
        )
        .all(&self.writes)
        .await?;
        Ok(rows.into_iter().filter_map(claimed).collect())
    }
}
