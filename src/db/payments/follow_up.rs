//! Claims of payments from the schedule, in two lanes.

use std::time::Duration;

use sqlx::types::Json;

use super::{PaymentRow, select_payment};
use crate::{
    db::{
        Db,
        error::Error,
        follow_ups::{Claims, claim, claimed, claimed_row},
        run::{Command as _, Statement as _},
    },
    domain::{follow_ups::lease::LeaseToken, id::MerchantId, payments::payment::Payment},
    failpoint::failpoint,
};

claimed_row!(PaymentRow => Payment);

impl Db {
    /// Claims up to `limit` due follow-ups, for `lease`, of payments whose buyer may still confirm.
    #[tracing::instrument(name = "db.follow_up.claim_confirming", level = "debug", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn claim_confirming_payments(
        &self,
        worker: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Claims<Payment>, Error> {
        failpoint!(self.failpoints, "db.claim_confirming.before");
        let rows = claim!(
            select_payment,
            "join claimed as follow_up on follow_up.merchant_id = payment.merchant_id
                and follow_up.subject_id = payment.payment_id",
            limit,
            worker,
            lease,
            "payment",
            " and confirming_until > db_now()"; "$5"
        )
        .all(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.claim_confirming.after");
        Ok(rows.into_iter().filter_map(claimed).collect())
    }

    /// Claims up to `limit` due follow-ups, for `lease`, of payments that are to be closed, and of
    /// those whose cancel window is over.
    #[tracing::instrument(name = "db.follow_up.claim", level = "debug", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn claim_due_payments(
        &self,
        worker: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Claims<Payment>, Error> {
        failpoint!(self.failpoints, "db.claim.before");
        let rows = claim!(
            select_payment,
            "join claimed as follow_up on follow_up.merchant_id = payment.merchant_id
                and follow_up.subject_id = payment.payment_id",
            limit,
            worker,
            lease,
            "payment",
            " and (confirming_until is null or confirming_until <= db_now())"; "$5"
        )
        .all(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.claim.after");
        Ok(rows.into_iter().filter_map(claimed).collect())
    }

    /// Gives a claim back for a visit at once, in the places of payments that are to be closed.
    /// `false` when the claim was lost.
    #[tracing::instrument(name = "db.follow_up.hand_on", level = "debug", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn hand_on_to_close(
        &self,
        merchant_id: MerchantId,
        lease_token: LeaseToken,
    ) -> Result<bool, Error> {
        failpoint!(self.failpoints, "db.hand_on.before");
        let done = sqlx::query!(
            "update follow_up
            set due_at = db_now(), confirming_until = null, leased_until = null, worker = null,
                parked_at = null
            where merchant_id = $1 and follow_up_id = $2 and fence = $3",
            merchant_id.uuid(),
            lease_token.follow_up_id.uuid(),
            lease_token.fence,
        )
        .run(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.hand_on.after");
        Ok(done.rows_affected() == 1)
    }
}
