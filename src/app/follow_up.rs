//! One visit of the schedule to an open payment. The input is the claim; everything else was read
//! with it, so the path after a crash and the normal path are one.
//!
//! A visit makes identity-stable calls only: a query, or a cancel under the same id
//! (`design/correctness.md` R11). It never mints an id and never sends a payment.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{
    App,
    outcome::{cancel_event, query_event},
    record::{News, RecordError},
};
use crate::{
    alipay::request::{CancelRequest, QueryRequest},
    db::{
        error::Error as DbError,
        follow_ups::Claimed,
        record::{Change, Fence, Question, Recorded},
    },
    domain::{
        attempt::{Answer, AttemptKind},
        follow_up::{NextStep, next_check_at, next_step},
        id::AttemptId,
        payment::{Payment, PaymentEvent},
        transition::Actor,
    },
    failpoint::{crashpoint, planted},
};

/// Why a visit ended early; the worker tries again later.
#[derive(Debug, thiserror::Error)]
#[error("the follow-up was interrupted")]
pub struct Interrupted(#[from] DbError);

impl From<RecordError> for Result<(), Interrupted> {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::FenceLost => {
                tracing::warn!("the claim on the follow-up was lost; another worker goes on");
                Ok(())
            }
            RecordError::Missing => Ok(()),
            RecordError::Db(error) => Err(Interrupted(error)),
        }
    }
}

impl App {
    /// Does what the plan asks for now, and says when to come again.
    pub async fn follow_up(&self, claimed: Claimed) -> Result<(), Interrupted> {
        let Claimed {
            fence,
            payment,
            now,
            ..
        } = claimed;
        crashpoint!(self.db.failpoints, "visit.claimed");
        match next_step(&self.plan, &payment, now) {
            NextStep::Settled => {
                self.db.complete(payment.merchant_id, fence).await?;
                Ok(())
            }
            NextStep::WaitUntil(due) => {
                self.db.reschedule(payment.merchant_id, fence, due).await?;
                Ok(())
            }
            NextStep::Query => self.ask(payment, fence, now, AttemptKind::Query).await,
            NextStep::Cancel => self.ask(payment, fence, now, AttemptKind::Cancel).await,
            NextStep::GiveUp => self.give_up(payment, fence, now).await,
        }
    }

    /// Writes the intent to ask, asks, and records the answer.
    async fn ask(
        &self,
        payment: Payment,
        fence: Fence,
        now: DateTime<Utc>,
        kind: AttemptKind,
    ) -> Result<(), Interrupted> {
        let attempt_id = AttemptId::mint();
        let Some((mut payment, asked_at)) =
            self.begin(payment, fence, now, kind, attempt_id).await?
        else {
            return Ok(());
        };
        crashpoint!(self.db.failpoints, "visit.begun");
        let started = Instant::now();
        let (event, answer) = self.call(&payment, kind, asked_at).await;
        crashpoint!(self.db.failpoints, "visit.answered");
        let now = asked_at + started.elapsed();
        count_question(&mut payment, kind, asked_at);
        let news = News {
            actor: Actor::FollowUp(fence.follow_up_id),
            answered: Some((attempt_id, &answer)),
            event,
            fence: Some(fence),
            now,
        };
        match self.record(payment, &news, Duration::from_secs(10)).await {
            Ok(_) => Ok(()),
            Err(error) => error.into(),
        }
    }

    /// Commits the intent to ask. A first cancel changes the payment's state in the same statement.
    /// `None` when the question is no longer ours to ask.
    async fn begin(
        &self,
        payment: Payment,
        fence: Fence,
        now: DateTime<Utc>,
        kind: AttemptKind,
        attempt_id: AttemptId,
    ) -> Result<Option<(Payment, DateTime<Utc>)>, DbError> {
        let event = PaymentEvent::CancelStarted;
        let after = match kind {
            AttemptKind::Cancel => payment.apply(&event, now).unwrap_or_default(),
            AttemptKind::Query | AttemptKind::Pay => None,
        };
        let question = Question {
            merchant_id: payment.merchant_id,
            payment_id: payment.id,
            fence,
            attempt_id,
            kind,
            change: after.as_ref().map(|after| Change {
                before: &payment,
                after,
                event: event.name(),
                gateway_at: self.clock.now(),
            }),
            deadline_ms: i64::try_from(self.deadlines.of(kind).as_millis()).unwrap_or(i64::MAX),
        };
        match self.db.begin_question(&question).await? {
            Recorded::Written(at) => {
                if let Some(after) = &after {
                    self.waiters.announce(after);
                }
                Ok(Some((after.unwrap_or(payment), at)))
            }
            Recorded::Stale => {
                // Somebody settled or changed it meanwhile: look again at once.
                self.db.reschedule(payment.merchant_id, fence, now).await?;
                Ok(None)
            }
            Recorded::FenceLost => {
                tracing::warn!(payment.id = %payment.id, "the claim on the follow-up was lost before asking");
                Ok(None)
            }
        }
    }

    /// One upstream call. No database connection is held.
    async fn call(
        &self,
        payment: &Payment,
        kind: AttemptKind,
        asked_at: DateTime<Utc>,
    ) -> (Option<PaymentEvent>, Answer) {
        match kind {
            AttemptKind::Cancel => {
                let request = CancelRequest {
                    partner_trans_id: payment.partner_trans_id.clone(),
                    alipay_trans_id: payment.alipay_trans_id.clone(),
                };
                let call = self.alipay.cancel(&request).await;
                (cancel_event(call.outcome, payment, asked_at), call.answer)
            }
            // A payment is sent by the caller's request alone; asked again, it is queried.
            AttemptKind::Query | AttemptKind::Pay => {
                let request = QueryRequest {
                    partner_trans_id: payment.partner_trans_id.clone(),
                    amount: payment.amount,
                    alipay_trans_id: payment.alipay_trans_id.clone(),
                };
                let call = self.alipay.query(&request).await;
                (query_event(call.outcome), call.answer)
            }
        }
    }

    /// The plan is exhausted: a person must look, and the slow queries go on.
    async fn give_up(
        &self,
        payment: Payment,
        fence: Fence,
        now: DateTime<Utc>,
    ) -> Result<(), Interrupted> {
        crashpoint!(self.db.failpoints, "visit.giving_up");
        tracing::error!(payment.id = %payment.id, "every planned question was asked without an answer: unresolved");
        let news = News {
            actor: Actor::FollowUp(fence.follow_up_id),
            answered: None,
            event: Some(if planted!(ExhaustionIsFailure) {
                PaymentEvent::Declined(super::outcome::guess())
            } else {
                PaymentEvent::PlanExhausted
            }),
            fence: Some(fence),
            now,
        };
        match self.record(payment, &news, Duration::from_secs(10)).await {
            Ok(_) => Ok(()),
            Err(error) => error.into(),
        }
    }

    /// When the plan next has something to do about a payment; for tests and tools.
    pub fn next_check_at(&self, payment: &Payment, now: DateTime<Utc>) -> DateTime<Utc> {
        next_check_at(&self.plan, payment, now)
    }
}

/// Notes in memory what [`crate::db::Db::begin_question`] has written, so that the next visit is
/// planned from it.
fn count_question(payment: &mut Payment, kind: AttemptKind, asked_at: DateTime<Utc>) {
    let inquiry = &mut payment.inquiry;
    match kind {
        AttemptKind::Query => {
            inquiry.queries += 1;
            inquiry.last_query_at = Some(asked_at);
        }
        AttemptKind::Cancel => {
            inquiry.cancels += 1;
            inquiry.last_cancel_at = Some(asked_at);
        }
        AttemptKind::Pay => {}
    }
}
