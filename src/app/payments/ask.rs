//! One question to Alipay about an existing payment: its intent, the call, the record. Workers and
//! callers take the same path; a worker under its claim, a caller under nothing but the payment's
//! version.
//!
//! Questions are identity-stable: a query, or a cancel under the same id
//! (`docs/invariants.md` R11). None mints an id or sends a payment.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{outcome, record::Update};
use crate::app::{
    App,
    accounts::Account,
    deadline::Deadline,
    error::{Interrupted, RecordError},
    pipeline::{Beginning, Initiator, Told},
    policy::{RECORD_ANSWER, RECORD_EFFECT, SEND_UNASKED_CANCEL_WITHIN, SEND_WITHIN},
};
use crate::{
    alipay::{
        client::Alipay,
        request::{CancelRequest, QueryRequest},
    },
    db::{
        payments::record::{Change, NewAttempt},
        recorded::Recorded,
    },
    domain::{
        attempt::{Answer, AttemptKind},
        follow_ups::question::Owed,
        id::{AttemptId, RefundId},
        payments::{
            payment::{CancelReason, Payment, PaymentEvent},
            poll::Asked,
        },
    },
    failpoint::crashpoint,
};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum UpstreamCall {
    /// Where the trade stands.
    Query,
    /// To close or reverse the trade.
    Cancel(CancelReason),
    /// To close or reverse the trade for a caller who, where that comes too late, wants it refunded
    /// under this id.
    Reverse(RefundId),
}

impl UpstreamCall {
    /// How long after it was decided the call may still leave.
    const fn leaves_within(self) -> Duration {
        match self {
            Self::Cancel(CancelReason::Requested) | Self::Reverse(_) | Self::Query => SEND_WITHIN,
            Self::Cancel(
                CancelReason::BuyerDidNotConfirm
                | CancelReason::NeverCreated
                | CancelReason::ClosedAfterPayment,
            ) => SEND_UNASKED_CANCEL_WITHIN,
        }
    }

    const fn kind(self) -> AttemptKind {
        match self {
            Self::Query => AttemptKind::Query,
            Self::Cancel(_) | Self::Reverse(_) => AttemptKind::Cancel,
        }
    }
}

/// A question whose intent is committed.
#[derive(Debug)]
pub(in crate::app) struct Begun {
    /// The payment, with the change that asking made.
    pub(in crate::app) payment: Payment,
    attempt_id: AttemptId,
    asked_at: DateTime<Utc>,
    /// Whether a cancel that was sent before may take effect still.
    earlier_may_act: bool,
    /// Runs since before the intent was committed.
    decided: Deadline,
    /// Whom to ask: the account as it was when the intent was committed.
    account: Arc<Account>,
    ask: UpstreamCall,
}

/// An answer, and what Alipay meant.
struct Reply {
    told: outcome::Told,
    answer: Answer,
}

impl App {
    /// Commits the intent to ask. A first cancel changes the payment in the same statement.
    pub(in crate::app) async fn begin(
        &self,
        payment: Payment,
        initiator: Initiator,
        ask: UpstreamCall,
    ) -> Result<Beginning<Begun>, Interrupted> {
        let account = self.account(&payment.partner)?;
        let decided = Deadline::start(&self.clock);
        let started = match ask {
            UpstreamCall::Cancel(reason) => Some(PaymentEvent::CancelStarted {
                reason,
                reversal: None,
            }),
            UpstreamCall::Reverse(refund_id) => Some(PaymentEvent::CancelStarted {
                reason: CancelReason::Requested,
                reversal: Some(refund_id),
            }),
            UpstreamCall::Query => None,
        };
        // A cancel that is under way already is repeated without a change. The time of the change is
        // the statement's, and only then known.
        let after = started
            .as_ref()
            .and_then(|event| payment.apply(event, payment.updated_at).unwrap_or_default());
        let attempt_id = AttemptId::mint();
        let question = NewAttempt {
            merchant_id: payment.merchant_id,
            payment_id: payment.id,
            actor: initiator.actor(),
            lease_token: initiator.lease_token(),
            ensure_follow_up: after.as_ref().unwrap_or(&payment).owes_a_question()
                || payment.poll.question_due_at.is_some(),
            attempt_id,
            kind: ask.kind(),
            // A repeated cancel changes nothing that would guard it. A claim does not: it outlasts what a
            // caller learns, or a person decides, since the payment was read.
            unchanged: (ask.kind() == AttemptKind::Cancel && after.is_none())
                .then_some(payment.version),
            wakes: !initiator.is_worker()
                && after.as_ref().unwrap_or(&payment).canceling == Some(CancelReason::Requested),
            change: after
                .as_ref()
                .zip(started.as_ref())
                .map(|(after, event)| Change {
                    before: &payment,
                    after,
                    event: event.name(),
                    gateway_at: self.clock.now(),
                    justification: None,
                    question_at: None,
                }),
            deadline_ms: i64::try_from(self.timeouts.of(ask.kind()).as_millis())
                .unwrap_or(i64::MAX),
        };
        Ok(match self.commit_intention(&question).await? {
            Recorded::Written(asked_at) => {
                let after = after.map(|after| Payment {
                    updated_at: asked_at,
                    ..after
                });
                if let Some(after) = &after {
                    self.notifier.announce(after);
                }
                let mut payment = after.unwrap_or(payment);
                let earlier_may_act = payment.poll.cancel_may_act(asked_at);
                count_question(&mut payment, attempt_id, ask.kind(), asked_at);
                Beginning::Begun(Box::new(Begun {
                    payment,
                    attempt_id,
                    asked_at,
                    earlier_may_act,
                    decided,
                    account,
                    ask,
                }))
            }
            Recorded::Stale => Beginning::Changed,
            Recorded::LeaseLost => Beginning::LeaseLost,
        })
    }

    /// Asks and records. No database connection is held during the call.
    pub(in crate::app) async fn ask(
        &self,
        begun: Begun,
        initiator: Initiator,
    ) -> Result<Told<Payment>, RecordError> {
        let Begun {
            payment,
            attempt_id,
            asked_at,
            account,
            ask,
            ..
        } = &begun;
        let (attempt_id, asked_at, ask) = (*attempt_id, *asked_at, *ask);
        crashpoint!(self.db.failpoints, "ask.begun");
        let started = Instant::now();
        let reply = call(&account.alipay, &begun).await;
        crashpoint!(self.db.failpoints, "ask.answered");
        let now = asked_at + started.elapsed();
        let update = Update {
            actor: initiator.actor(),
            answered: Some((attempt_id, reply.answer.clone())),
            told: Some(reply.told),
            lease_token: initiator.lease_token(),
            // A caller's query is besides the plan; his cancel is a step of it.
            reschedule: initiator.is_worker() || ask.kind() == AttemptKind::Cancel,
            keep_to_cancel: ask == UpstreamCall::Query && payment.is_being_closed(now),
            owed: answered(
                ask == UpstreamCall::Query,
                &reply.answer,
                payment.poll.question_due_at,
                asked_at,
            ),
            justification: None,
            now,
        };
        let insist_for = match (initiator, ask.kind()) {
            (Initiator::Caller(_), AttemptKind::Cancel) => RECORD_EFFECT,
            _ => RECORD_ANSWER,
        };
        let subject = self.record(payment.clone(), &update, insist_for).await?;
        let tells_something = reply.answer.class.tells_something();
        Ok(Told {
            subject,
            answer: reply.answer,
            tells_something,
        })
    }
}

/// One upstream call.
async fn call(alipay: &Alipay, begun: &Begun) -> Reply {
    let Begun {
        payment,
        asked_at,
        earlier_may_act,
        decided,
        ask,
        ..
    } = begun;
    let asked_at = *asked_at;
    let partner_trans_id = payment.partner_trans_id.clone();
    let alipay_trans_id = payment.alipay_trans_id.clone();
    match ask {
        UpstreamCall::Cancel(_) | UpstreamCall::Reverse(_) => {
            let request = CancelRequest {
                partner_trans_id,
                alipay_trans_id,
            };
            let too_late = || decided.expired(ask.leaves_within());
            let call = alipay.cancel(&request, too_late).await;
            Reply {
                told: outcome::Told::Cancel {
                    outcome: call.outcome,
                    asked_at,
                    earlier_may_act: *earlier_may_act,
                },
                answer: call.answer,
            }
        }
        UpstreamCall::Query => {
            let amount = payment.amount;
            let request = QueryRequest {
                partner_trans_id,
                amount,
                alipay_trans_id,
            };
            let call = alipay.query(&request).await;
            Reply {
                told: outcome::Told::Query(call.outcome, asked_at),
                answer: call.answer,
            }
        }
    }
}

/// What an answer to a question of `asked_at` does to the one that was owed besides the plan then. One that was
/// asked before its time tells nothing of what may still happen.
pub(in crate::app) fn answered(
    is_query: bool,
    answer: &Answer,
    owed_since: Option<DateTime<Utc>>,
    asked_at: DateTime<Utc>,
) -> Owed {
    owed_since
        .filter(|due| is_query && *due <= asked_at && answer.class.tells_something())
        .map_or(Owed::AsBefore, Owed::Answered)
}

/// Notes in memory what [`crate::db::Db::insert_attempt`] has written, so that the next question is
/// planned from it.
fn count_question(
    payment: &mut Payment,
    id: AttemptId,
    kind: AttemptKind,
    asked_at: DateTime<Utc>,
) {
    let poll = &mut payment.poll;
    poll.note(Asked {
        id,
        kind,
        sent_at: asked_at,
        answer: None,
    });
    match kind {
        AttemptKind::Query => {
            poll.queries += 1;
            poll.last_query_at = Some(asked_at);
        }
        AttemptKind::Cancel => {
            poll.cancels += 1;
            poll.confirming_until = None;
            poll.last_cancel_at = Some(asked_at);
            poll.open_cancel_at = Some(asked_at);
            poll.cancel_refused = false;
        }
        AttemptKind::Pay
        | AttemptKind::Refund
        | AttemptKind::RefundQuery
        | AttemptKind::MaintainStore
        | AttemptKind::StoreStatus => {}
    }
}
