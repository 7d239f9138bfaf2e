//! One visit of the schedule to an open refund: the claim is all that it knows.

use chrono::{DateTime, Utc};

use super::{
    ask::{Beginning, UpstreamCall},
    record::RefundUpdate,
};
use crate::{
    app::{
        App,
        error::{Interrupted, settle},
        payments::ask::Initiator,
        policy::RECORD_ANSWER,
    },
    db::{
        follow_ups::Claimed,
        payments::record::{LeaseToken, Owed},
    },
    domain::{
        refunds::{
            plan::{RefundStep, next_step},
            refund::{Refund, RefundEvent},
        },
        transition::Actor,
    },
    failpoint::crashpoint,
};

impl App {
    /// Does what the plan asks for now about a claimed refund, and says when to come again.
    pub async fn follow_up_refund(&self, claimed: Claimed<Refund>) -> Result<(), Interrupted> {
        let Claimed {
            fence,
            subject: refund,
            now,
            ..
        } = claimed;
        crashpoint!(self.db.failpoints, "refund_visit.claimed");
        let merchant_id = refund.merchant_id;
        match next_step(&self.accounts.refund_plan(&refund.partner), &refund, now) {
            RefundStep::Settled => {
                self.db.complete(merchant_id, fence).await?;
                Ok(())
            }
            RefundStep::WaitUntil(due) => {
                self.db.reschedule(merchant_id, fence, due).await?;
                Ok(())
            }
            RefundStep::Query => {
                self.visit_refund(refund, fence, now, UpstreamCall::Query)
                    .await
            }
            RefundStep::Submit => {
                self.visit_refund(refund, fence, now, UpstreamCall::Submit)
                    .await
            }
            RefundStep::GiveUp => self.give_up_refund(refund, fence, now).await,
        }
    }

    /// Asks one question under the claim.
    async fn visit_refund(
        &self,
        refund: Refund,
        fence: LeaseToken,
        now: DateTime<Utc>,
        ask: UpstreamCall,
    ) -> Result<(), Interrupted> {
        let (merchant_id, refund_id) = (refund.merchant_id, refund.id);
        let initiator = Initiator {
            actor: Actor::FollowUp(fence.follow_up_id),
            fence: Some(fence),
        };
        match self.begin_refund(refund, initiator, ask).await? {
            Beginning::Begun(begun) => {
                settle(self.ask_refund(*begun, initiator, ask).await.map(|_| ()))
            }
            Beginning::Changed => {
                // Somebody settled or changed it meanwhile: look again at once.
                self.db.reschedule(merchant_id, fence, now).await?;
                Ok(())
            }
            Beginning::FenceLost => {
                tracing::warn!(refund.id = %refund_id, "the claim on the follow-up was lost before asking");
                Ok(())
            }
        }
    }

    /// The plan is exhausted: a person must look, and the slow queries go on.
    async fn give_up_refund(
        &self,
        refund: Refund,
        fence: LeaseToken,
        now: DateTime<Utc>,
    ) -> Result<(), Interrupted> {
        crashpoint!(self.db.failpoints, "refund_visit.giving_up");
        tracing::error!(refund.id = %refund.id, "every planned question was asked without an answer: unresolved");
        let update = RefundUpdate {
            actor: Actor::FollowUp(fence.follow_up_id),
            answered: None,
            event: Some(RefundEvent::PlanExhausted),
            asked_at: None,
            not_found: None,
            of_payment: None,
            fence: Some(fence),
            reschedule: true,
            owed: Owed::AsBefore,
            justification: None,
            now,
        };
        settle(
            self.record_refund(refund, &update, RECORD_ANSWER)
                .await
                .map(|_| ()),
        )
    }
}
