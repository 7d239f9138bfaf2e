//! Claims of refunds from the schedule.

use std::time::Duration;

use super::{RefundRow, select_refund};
use crate::{
    db::{
        Db,
        error::Error,
        follow_ups::{Claims, claim, claimed, claimed_row},
        run::Statement as _,
    },
    domain::{follow_ups::lease::LeaseToken, refunds::refund::Refund},
    failpoint::failpoint,
};

claimed_row!(RefundRow => Refund);

impl Db {
    /// Claims up to `limit` due follow-ups of refunds for `lease`.
    #[tracing::instrument(name = "db.follow_up.claim_refunds", level = "debug", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn claim_due_refunds(
        &self,
        worker: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Claims<Refund>, Error> {
        failpoint!(self.failpoints, "db.claim_refunds.before");
        let rows = claim!(
            select_refund,
            "join claimed as follow_up on follow_up.merchant_id = refund.merchant_id
                and follow_up.subject_id = refund.refund_id",
            limit,
            worker,
            lease,
            "refund",
            ""
        )
        .all(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.claim_refunds.after");
        Ok(rows.into_iter().filter_map(claimed).collect())
    }
}
