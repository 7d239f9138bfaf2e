//! One question to Alipay about an existing refund, or the request sent again: its intent, the call, the
//! record; by a worker under its claim, or by a caller under nothing but the refund's version.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{
    outcome::{query_event, refund_event},
    record::RefundUpdate,
};
use crate::{
    alipay::{
        outcome::{Call, RefundOutcome, RefundQueryOutcome},
        request::{RefundMode as WireMode, RefundQueryRequest, RefundRequest},
    },
    app::{
        App,
        accounts::Account,
        deadline::Deadline,
        error::{Interrupted, RecordError},
        payments::ask::answered,
        pipeline::{Beginning, Initiator, Told},
        policy::{RECORD_ANSWER, SEND_WITHIN},
    },
    db::{recorded::Recorded, refunds::NewRefundAttempt},
    domain::{
        attempt::AttemptKind,
        contradiction::Claim,
        id::AttemptId,
        refunds::refund::{Refund, RefundMode},
    },
    failpoint::crashpoint,
};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum UpstreamCall {
    /// To do it, under the id and with the amount it has.
    Submit,
    /// Where it stands.
    Query,
}

/// A question whose intent is committed.
pub(in crate::app) struct Begun {
    refund: Refund,
    attempt_id: AttemptId,
    asked_at: DateTime<Utc>,
    /// Runs since before the intent was committed.
    decided: Deadline,
    /// Whom to ask: the account as it was when the intent was committed.
    account: Arc<Account>,
    ask: UpstreamCall,
}

impl App {
    /// Commits the intent to ask.
    pub(super) async fn begin_refund(
        &self,
        mut refund: Refund,
        initiator: Initiator,
        ask: UpstreamCall,
    ) -> Result<Beginning<Begun>, Interrupted> {
        let account = self.account(&refund.partner)?;
        let decided = Deadline::start(&self.clock);
        let attempt_id = AttemptId::mint();
        let kind = match ask {
            UpstreamCall::Submit => AttemptKind::Refund,
            UpstreamCall::Query => AttemptKind::RefundQuery,
        };
        let question = NewRefundAttempt {
            refund: &refund,
            lease_token: initiator.lease_token(),
            attempt_id,
            kind,
            deadline_ms: i64::try_from(self.timeouts.of(kind).as_millis()).unwrap_or(i64::MAX),
        };
        Ok(match self.commit_intention(&question).await? {
            Recorded::Written(asked_at) => {
                count_question(&mut refund, ask, asked_at);
                Beginning::Begun(Box::new(Begun {
                    refund,
                    attempt_id,
                    asked_at,
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
    pub(super) async fn ask_refund(
        &self,
        begun: Begun,
        initiator: Initiator,
    ) -> Result<Told<Refund>, RecordError> {
        let Begun {
            refund,
            attempt_id,
            asked_at,
            decided,
            account,
            ask,
        } = begun;
        crashpoint!(self.db.failpoints, "refund_ask.begun");
        let started = Instant::now();
        let (told, of_payment, answer) = match ask {
            UpstreamCall::Submit => {
                let call = send_refund(&account, &refund, &decided).await;
                let event = refund_event(call.outcome, &refund);
                ((Some(event), None), None, call.answer)
            }
            UpstreamCall::Query => {
                let request = RefundQueryRequest {
                    partner_trans_id: refund.partner_trans_id.clone(),
                    partner_refund_id: refund.partner_refund_id.clone(),
                    alipay_trans_id: refund.alipay_trans_id.clone(),
                };
                let call = account.alipay.query_refund(&request).await;
                let outcome = self.of_this_refund(call.outcome, &refund).await;
                let of_payment =
                    (outcome == RefundQueryOutcome::PaymentNotFound).then_some(Claim::NotFound);
                (query_event(outcome, &refund), of_payment, call.answer)
            }
        };
        let (event, not_found) = told;
        crashpoint!(self.db.failpoints, "refund_ask.answered");
        let update = RefundUpdate {
            actor: initiator.actor(),
            answered: Some((attempt_id, answer.clone())),
            event,
            asked_at: (ask == UpstreamCall::Query).then_some(asked_at),
            not_found,
            of_payment,
            lease_token: initiator.lease_token(),
            // A caller's query is besides the plan.
            reschedule: initiator.is_worker(),
            owed: answered(
                ask == UpstreamCall::Query,
                &answer,
                refund.poll.question_due_at,
                asked_at,
            ),
            justification: None,
            now: asked_at + started.elapsed(),
        };
        let subject = self.record(refund, &update, RECORD_ANSWER).await?;
        let tells_something = answer.class.tells_something();
        Ok(Told {
            subject,
            answer,
            tells_something,
        })
    }

    /// What an answer means for this refund: one that names only the payment tells nothing where that has another
    /// refund, or may have.
    async fn of_this_refund(
        &self,
        outcome: RefundQueryOutcome,
        refund: &Refund,
    ) -> RefundQueryOutcome {
        let RefundQueryOutcome::OfTheOnlyRefund(outcome) = outcome else {
            return outcome;
        };
        match self.db.is_only_refund(refund.merchant_id, refund.id).await {
            Ok(true) => *outcome,
            Ok(false) => RefundQueryOutcome::Unknown,
            Err(error) => {
                tracing::warn!(refund.id = %refund.id, %error, "whether the payment has another refund is not known; its answer is not taken");
                RefundQueryOutcome::Unknown
            }
        }
    }
}

/// Sends the request, unless too much time has passed since it was decided.
pub(super) async fn send_refund(
    account: &Account,
    refund: &Refund,
    decided: &Deadline,
) -> Call<RefundOutcome> {
    let request = refund_request(account, refund);
    let too_late = || decided.expired(SEND_WITHIN);
    account.alipay.refund(&request, too_late).await
}

/// The request, the same each time it is sent (`docs/invariants.md` M4).
fn refund_request(account: &Account, refund: &Refund) -> RefundRequest {
    RefundRequest {
        partner_trans_id: refund.partner_trans_id.clone(),
        partner_refund_id: refund.partner_refund_id.clone(),
        amount: refund.amount,
        reason: refund.reason.clone(),
        mode: match refund.mode {
            RefundMode::Sync => WireMode::Synchronous,
            RefundMode::Async => WireMode::Asynchronous {
                notify_url: account.notify_url.clone(),
            },
        },
        alipay_trans_id: refund.alipay_trans_id.clone(),
    }
}

/// Notes in memory what [`crate::db::Db::insert_refund_attempt`] has written, so that the answer is
/// judged and the next question planned from it.
fn count_question(refund: &mut Refund, ask: UpstreamCall, asked_at: DateTime<Utc>) {
    let poll = &mut refund.poll;
    match ask {
        UpstreamCall::Submit => {
            poll.submits += 1;
            poll.last_submit_at = Some(asked_at);
            poll.not_found = false;
        }
        UpstreamCall::Query => {
            poll.checks_done += 1;
            poll.last_check_at = Some(asked_at);
        }
    }
}
