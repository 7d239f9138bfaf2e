//! One question to Alipay about an existing refund: its intent, the call, the record; by a worker
//! under its claim, or by a caller under nothing but the refund's version.

use std::{sync::Arc, time::Duration};

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
        error::Error,
        notifier::Awaited as _,
        payments::{
            ask::{INSIST_ON_RECORDING, Initiator, answered},
            follow_up::{Interrupted, settle},
            record::RecordError,
            resolve::{tells_something, unrecorded},
        },
    },
    db::{
        follow_ups::Claimed,
        payments::record::{LeaseToken, Owed, Recorded},
        refunds::NewRefundAttempt,
    },
    domain::{
        access::principal::Principal,
        attempt::{Answer, AttemptKind},
        contradiction::Claim,
        follow_ups::schedule::Subject,
        id::{AttemptId, RefundId},
        refunds::{
            plan::{RefundStep, next_step},
            refund::{Refund, RefundEvent, RefundMode},
        },
        transition::Actor,
    },
    failpoint::crashpoint,
};

/// How often a refund that keeps changing is read again before the caller is told to try later.
const TRIES: usize = 5;
/// How long after it was decided a request may still leave: a process that was held in between must
/// not send what others have given up meanwhile (`docs/invariants.md` C6).
pub(in crate::app) const SEND_WITHIN: Duration = Duration::from_secs(12);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UpstreamCall {
    /// To do it, under the id and with the amount it has.
    Submit,
    /// Where it stands.
    Query,
}

/// A question whose intent is committed.
struct Begun {
    refund: Refund,
    attempt_id: AttemptId,
    asked_at: DateTime<Utc>,
    /// Runs since before the intent was committed.
    decided: Deadline,
    /// Whom to ask: the account as it was when the intent was committed.
    account: Arc<Account>,
}

/// What became of the intent to ask.
enum Beginning {
    /// Committed: ask.
    Begun(Box<Begun>),
    /// The refund has changed since it was read: read and decide again.
    Changed,
    /// The claim passed to another worker: stop.
    FenceLost,
}

impl App {
    /// Asks Alipay now where the refund stands, and records what it says. Nothing changes where no
    /// usable answer comes. `Ok(None)`: no such refund.
    pub async fn refresh_refund(
        &self,
        principal: &Principal,
        id: RefundId,
    ) -> Result<Option<Refund>, Error> {
        // Listen before reading, so that the answer is no older than what others were told meanwhile.
        let waiter = self.refund_notifier.listen(id);
        let mut contradicted = None;
        for _ in 0..TRIES {
            let Some(refund) = self.db.refund(principal.merchant_id, id).await? else {
                return Ok(None);
            };
            self.admit_question(&refund.partner)?;
            let caller = Initiator {
                actor: Actor::ApiKey(principal.api_key_id),
                fence: None,
            };
            let place = self.admission.enter(principal.merchant_id)?;
            let app = self.clone();
            // Detached: a caller that hangs up must not leave an answer unrecorded.
            let work = async move {
                let _place = place;
                match app
                    .begin_refund(refund, caller, UpstreamCall::Query)
                    .await?
                {
                    Beginning::Begun(begun) => app
                        .ask_refund(*begun, caller, UpstreamCall::Query)
                        .await
                        .map(Some)
                        .map_err(unrecorded),
                    Beginning::Changed | Beginning::FenceLost => Ok(None),
                }
            };
            let outcome: Result<_, Error> = self
                .run_detached(work)
                .await
                .map_err(|error| Error::Internal(Box::new(error)))?;
            let Some((refund, answer)) = outcome? else {
                continue;
            };
            let has_told = tells_something(answer.class);
            if has_told && refund.is_newly_contradicted() && contradicted.is_none() {
                // What was said against the books is asked about once more before it is shown.
                contradicted = Some(refund);
                continue;
            }
            return if has_told || contradicted.is_some() {
                // What was learnt may be nothing new, and what was asked about another by now.
                let current = refund.look(&self.db).await;
                Ok(Some(waiter.newest(current.unwrap_or(refund))))
            } else {
                Err(Error::UpstreamSilent {
                    subject: Subject::Refund(id),
                    class: answer.class.as_str(),
                })
            };
        }
        match contradicted {
            Some(refund) => Ok(Some(waiter.newest(refund))),
            None => Err(Error::Unavailable("the refund kept changing".into())),
        }
    }

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
            self.record_refund(refund, &update, INSIST_ON_RECORDING)
                .await
                .map(|_| ()),
        )
    }

    /// Commits the intent to ask.
    async fn begin_refund(
        &self,
        mut refund: Refund,
        initiator: Initiator,
        ask: UpstreamCall,
    ) -> Result<Beginning, Interrupted> {
        let account = self.account(&refund.partner)?;
        let decided = Deadline::start(&self.clock);
        let attempt_id = AttemptId::mint();
        let kind = match ask {
            UpstreamCall::Submit => AttemptKind::Refund,
            UpstreamCall::Query => AttemptKind::RefundQuery,
        };
        let question = NewRefundAttempt {
            refund: &refund,
            fence: initiator.fence,
            attempt_id,
            kind,
            deadline_ms: i64::try_from(self.deadlines.of(kind).as_millis()).unwrap_or(i64::MAX),
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
                }))
            }
            Recorded::Stale => Beginning::Changed,
            Recorded::FenceLost => Beginning::FenceLost,
        })
    }

    /// Asks and records. No database connection is held during the call.
    async fn ask_refund(
        &self,
        begun: Begun,
        initiator: Initiator,
        ask: UpstreamCall,
    ) -> Result<(Refund, Answer), RecordError> {
        let Begun {
            refund,
            attempt_id,
            asked_at,
            decided,
            account,
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
            actor: initiator.actor,
            answered: Some((attempt_id, &answer)),
            event,
            asked_at: (ask == UpstreamCall::Query).then_some(asked_at),
            not_found,
            of_payment,
            fence: initiator.fence,
            // A caller's query is besides the plan.
            reschedule: initiator.fence.is_some(),
            owed: answered(
                ask == UpstreamCall::Query,
                &answer,
                refund.poll.question_due_at,
            ),
            justification: None,
            now: asked_at + started.elapsed(),
        };
        let refund = self
            .record_refund(refund, &update, INSIST_ON_RECORDING)
            .await?;
        Ok((refund, answer))
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
