//! One visit of the schedule to an open refund: the claim is all that it knows.

use super::ask::UpstreamCall;
use crate::{
    app::{App, error::Interrupted},
    db::follow_ups::Claimed,
    domain::refunds::{
        plan::{RefundStep, next_step},
        refund::Refund,
    },
    failpoint::crashpoint,
};

impl App {
    /// Does what the plan asks for now about a claimed refund, and says when to come again.
    pub async fn follow_up_refund(&self, claimed: Claimed<Refund>) -> Result<(), Interrupted> {
        let Claimed {
            lease_token,
            subject: refund,
            now,
            ..
        } = claimed;
        crashpoint!(self.db.failpoints, "refund_visit.claimed");
        let merchant_id = refund.merchant_id;
        let call = match next_step(&self.accounts.refund_plan(&refund.partner), &refund, now) {
            RefundStep::Settled => {
                self.db.complete(merchant_id, lease_token).await?;
                return Ok(());
            }
            RefundStep::WaitUntil(due) => {
                self.db.reschedule(merchant_id, lease_token, due).await?;
                return Ok(());
            }
            RefundStep::GiveUp => {
                crashpoint!(self.db.failpoints, "refund_visit.giving_up");
                return self.give_up(refund, lease_token, now).await;
            }
            RefundStep::Query => UpstreamCall::Query,
            RefundStep::Submit => UpstreamCall::Submit,
        };
        self.ask_as_worker(refund, lease_token, now, call).await?;
        Ok(())
    }
}
