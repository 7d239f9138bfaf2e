//! One visit of the schedule to an open payment. The input is the claim; everything else was read
//! with it, so the path after a crash and the normal path are one.

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::ask::UpstreamCall;
use crate::{
    app::{
        App,
        error::{Interrupted, unless_lost},
    },
    db::follow_ups::Claimed,
    domain::follow_ups::lease::LeaseToken,
    domain::payments::{
        payment::{CancelReason, Payment, PaymentState},
        plan::{NextStep, next_step},
    },
    failpoint::crashpoint,
};

impl App {
    /// Does what the plan asks for now, and says when to come again.
    pub async fn follow_up(&self, claimed: Claimed<Payment>) -> Result<(), Interrupted> {
        let Claimed {
            lease_token,
            subject: payment,
            now,
            ..
        } = claimed;
        crashpoint!(self.db.failpoints, "visit.claimed");
        if payment.contradicted_at.is_some() {
            unless_lost(self.book_waiting_refunds(&payment).await)?;
        }
        match next_step(&self.plan, &payment, now) {
            NextStep::Settled => {
                self.db.complete(payment.merchant_id, lease_token).await?;
                Ok(())
            }
            NextStep::WaitUntil(due) => {
                self.db
                    .reschedule(payment.merchant_id, lease_token, due)
                    .await?;
                Ok(())
            }
            NextStep::Query => self.ask_then_cancel(payment, lease_token, now).await,
            // A cancel takes none of the places of those who wait at a till.
            NextStep::Cancel if !payment.is_being_closed(now) => {
                self.db
                    .hand_on_to_close(payment.merchant_id, lease_token)
                    .await?;
                Ok(())
            }
            NextStep::Cancel => self.cancel(payment, lease_token, now).await,
            // However late the visit is, it asks before it gives up.
            NextStep::GiveUp => match self
                .ask_as_worker(payment, lease_token, now, UpstreamCall::Query)
                .await?
            {
                Some(payment) if matches!(payment.state, PaymentState::Processing(_)) => {
                    crashpoint!(self.db.failpoints, "visit.giving_up");
                    self.give_up(payment, lease_token, now).await
                }
                Some(_) | None => Ok(()),
            },
        }
    }

    /// Asks where the trade stands; where the answer is that it may be canceled now, the same visit
    /// does, before the answer is an old one.
    async fn ask_then_cancel(
        &self,
        payment: Payment,
        lease_token: LeaseToken,
        now: DateTime<Utc>,
    ) -> Result<(), Interrupted> {
        let started = Instant::now();
        let Some(payment) = self
            .ask_as_worker(payment, lease_token, now, UpstreamCall::Query)
            .await?
        else {
            return Ok(());
        };
        let answered_at = payment.poll.last_answered_at().unwrap_or(now);
        let is_kept = payment.is_being_closed(answered_at)
            && next_step(&self.plan, &payment, answered_at) == NextStep::Cancel;
        if !is_kept {
            return Ok(());
        }
        let now = now + started.elapsed();
        if next_step(&self.plan, &payment, now) == NextStep::Cancel {
            return self.cancel(payment, lease_token, now).await;
        }
        // Recording took too long: the buyer may have paid since.
        self.db
            .reschedule(payment.merchant_id, lease_token, now)
            .await?;
        Ok(())
    }

    async fn cancel(
        &self,
        payment: Payment,
        lease_token: LeaseToken,
        now: DateTime<Utc>,
    ) -> Result<(), Interrupted> {
        // Nobody asked for it, or the cancel that somebody asked for goes on.
        let reason = payment
            .canceling
            .unwrap_or(CancelReason::BuyerDidNotConfirm);
        self.ask_as_worker(payment, lease_token, now, UpstreamCall::Cancel(reason))
            .await?;
        Ok(())
    }
}
