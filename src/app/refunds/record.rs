//! Persisting updates of a refund: the only path to the database for anything Alipay said of it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    alipay::result_code::refusal_claims,
    app::{App, error::RecordError, insistence::Insistence},
    db::{
        contradictions::Opened,
        error::Error as DbError,
        payments::record::{Justification, LeaseToken, Owed, Recorded},
        refunds::{RefundChange, RefundRecord},
    },
    domain::{
        attempt::Answer,
        contradiction::Claim,
        id::AttemptId,
        refunds::{
            plan,
            refund::{Refund, RefundEvent, RefundState},
        },
        transition::Actor,
    },
    failpoint::crashpoint,
};

/// Something that was learnt of a refund.
#[derive(Debug)]
pub(in crate::app) struct RefundUpdate<'a> {
    /// Who asked, or what told.
    pub(in crate::app) actor: Actor,
    /// The call and its answer.
    pub(in crate::app) answered: Option<(AttemptId, &'a Answer)>,
    /// What it means for the refund, if anything.
    pub(in crate::app) event: Option<RefundEvent>,
    /// When the question was sent that this answers (database clock); `None` where it answers none.
    pub(in crate::app) asked_at: Option<DateTime<Utc>>,
    /// Whether a query was answered that there is no such refund.
    pub(in crate::app) not_found: Option<bool>,
    /// What is said of the payment besides; it is held against what the books call refundable.
    pub(in crate::app) of_payment: Option<Claim>,
    /// The claim of the worker that asked.
    pub(in crate::app) fence: Option<LeaseToken>,
    /// Whether the plan goes on from this update: the follow-up is rescheduled.
    pub(in crate::app) reschedule: bool,
    /// What it does to the question that is owed besides the plan.
    pub(in crate::app) owed: Owed,
    /// What an operator gave as grounds.
    pub(in crate::app) justification: Option<&'a Justification>,
    /// The time of the update, near the database's clock: plans the next question.
    pub(in crate::app) now: DateTime<Utc>,
}

impl RefundUpdate<'_> {
    /// The call that was answered.
    pub(in crate::app) fn attempt_id(&self) -> Option<AttemptId> {
        self.answered.map(|(attempt_id, _)| attempt_id)
    }
}

impl App {
    /// Applies an update to a refund and writes it, guarded by the version that was read. Another writer's
    /// change leads to reading and deciding again; an outage or a commit in doubt to repeating the
    /// guarded statement for `insist_for` (`docs/invariants.md` R8). Returns the refund as it
    /// stands.
    pub(in crate::app) async fn record_refund(
        &self,
        mut refund: Refund,
        update: &RefundUpdate<'_>,
        insist_for: Duration,
    ) -> Result<Refund, RecordError> {
        let mut insistence = Insistence::lasting(insist_for);
        loop {
            let decision = self.decide_refund(&refund, update).await;
            let after = match &decision {
                Ok(RefundDecision::Becomes(after)) => Some(after.as_ref().clone()),
                Ok(_) | Err(_) => None,
            };
            let next_check_at = self.next_refund_check(after.as_ref().unwrap_or(&refund), update);
            let question_at = question_besides(after.as_ref(), update);
            // What is said against the books is kept first, and only then is it answered.
            let disputed = self.dispute_payment(&refund, after.as_ref(), update).await;
            let kept = match disputed.and(decision) {
                Ok(RefundDecision::Nothing | RefundDecision::Becomes(_)) => Ok(false),
                Ok(RefundDecision::Contradicts(claim)) => self
                    .contradict_refund(&refund, claim, update)
                    .await
                    .map(|opened| opened != Opened::Known),
                Ok(RefundDecision::Agrees) => self.settle_refund_by_answer(&refund, update).await,
                Err(error) => Err(error),
            };
            let written = match kept {
                Ok(false) => {
                    self.write_refund(&refund, after.as_ref(), next_check_at, question_at, update)
                        .await
                }
                Ok(true) => Ok(Recorded::Stale),
                Err(error) => Err(error),
            };
            match written {
                Ok(Recorded::Written(at)) => {
                    let Some(mut after) = after else {
                        note_plan(&mut refund, next_check_at);
                        if refund.contradicted_at.is_some() {
                            self.refund_notifier.announce(&refund);
                        }
                        return Ok(refund);
                    };
                    crashpoint!(self.db.failpoints, "record_refund.written");
                    note_plan(&mut after, next_check_at);
                    if let Some(question_at) = question_at {
                        after.poll.question_due_at = Some(question_at);
                        after.poll.next_check_at = Some(question_at);
                    }
                    let is_estimated = update
                        .event
                        .as_ref()
                        .is_some_and(RefundEvent::accepts_without_a_time);
                    if is_estimated && refund.accepted_at.is_none() {
                        after.accepted_at = Some(at);
                    }
                    after.updated_at = at;
                    if after.state.status() != refund.state.status() {
                        after.finalized_at = after.finalized_at.map(|_| at);
                        after.succeeded_at = after
                            .succeeded_at
                            .map(|before| refund.succeeded_at.map_or(at, |_| before));
                    }
                    self.announce_refund(&refund, &after);
                    if refund.book_change(&after).reserved_minor < 0 {
                        self.book_after_release(&after).await;
                    }
                    return Ok(after);
                }
                Ok(Recorded::FenceLost) => return Err(RecordError::FenceLost),
                Ok(Recorded::Stale) => {}
                Err(error) => {
                    tracing::warn!(refund.id = %refund.id, error = %error, "recording an answer failed");
                    insistence.outlast(error).await?;
                }
            }
            match self.db.refund(refund.merchant_id, refund.id).await {
                Ok(Some(current)) => refund = current,
                Ok(None) => return Err(RecordError::Missing),
                // Still away: the guarded statement is repeated on what was read last.
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn write_refund(
        &self,
        before: &Refund,
        after: Option<&Refund>,
        next_check_at: Option<DateTime<Utc>>,
        question_at: Option<DateTime<Utc>>,
        update: &RefundUpdate<'_>,
    ) -> Result<Recorded, DbError> {
        let change = after
            .zip(update.event.as_ref())
            .map(|(after, event)| RefundChange {
                before,
                after,
                event: event.name(),
                acceptance_is_estimated: event.accepts_without_a_time(),
                question_at,
                gateway_at: self.clock.now(),
                justification: update.justification,
            });
        self.db
            .record_refund(&RefundRecord {
                merchant_id: before.merchant_id,
                refund_id: before.id,
                payment_id: before.payment_id,
                actor: update.actor,
                answered: update.answered,
                change,
                not_found: update.not_found,
                fence: update.fence,
                next_check_at,
                owed: update.owed,
                question_due_at: before.poll.question_due_at,
            })
            .await
    }

    /// When the follow-up asks next about a refund as it is after the update; `None` leaves that as it
    /// was.
    fn next_refund_check(
        &self,
        refund: &Refund,
        update: &RefundUpdate<'_>,
    ) -> Option<DateTime<Utc>> {
        if !update.reschedule {
            return None;
        }
        let mut refund = refund.clone();
        let poll = &mut refund.poll;
        if let Some(not_found) = update.not_found {
            poll.not_found = not_found;
        }
        poll.question_due_at = update.owed.left_of(poll.question_due_at);
        Some(plan::next_check_at(
            &self.accounts.refund_plan(&refund.partner),
            &refund,
            update.now,
        ))
    }

    /// Tells whoever waits, and counts.
    fn announce_refund(&self, before: &Refund, after: &Refund) {
        if before.state.status() != after.state.status() {
            metrics::counter!("refund_transitions_total",
                "from" => before.state.status(), "to" => after.state.status())
            .increment(1);
        }
        if !before.failed_late && after.failed_late {
            metrics::counter!("refunds_failed_late_total").increment(1);
            tracing::error!(
                refund.id = %after.id,
                "a refund failed after callers were told that it is under way; a person must see to it"
            );
        }
        self.refund_notifier.announce(after);
    }
}

/// Describes the metrics of this module; call once, after the recorder is installed.
pub(super) fn describe_metrics() {
    metrics::describe_counter!(
        "refund_transitions_total",
        metrics::Unit::Count,
        "Changes of a refund's status, by the old and the new one."
    );
    metrics::describe_counter!(
        "refunds_failed_late_total",
        metrics::Unit::Count,
        "Refunds that failed after callers were told that they are under way; each needs a person."
    );
    metrics::describe_counter!(
        "refund_contradictions_total",
        metrics::Unit::Count,
        "What Alipay says against the books of a refund; each is asked about and needs a person."
    );
}

/// When a question is owed besides the plan, of which a settled refund has none: about what was refused, and
/// about what a person decides.
fn question_besides(after: Option<&Refund>, update: &RefundUpdate<'_>) -> Option<DateTime<Utc>> {
    let (after, event) = after.zip(update.event.as_ref())?;
    let is_decided = matches!(event, RefundEvent::Resolved(_));
    after
        .refusal_is_asked_about_at(event)
        .or_else(|| is_decided.then(|| Refund::decision_is_checked_at(update.now)))
}

/// Whoever waits is told of the next question as it was written, not as it was read.
fn note_plan(refund: &mut Refund, next_check_at: Option<DateTime<Utc>>) {
    if next_check_at.is_some() && !refund.state.is_final() {
        refund.poll.next_check_at = next_check_at;
    }
}

/// What an update comes to on a refund as it stands.
enum RefundDecision {
    /// It says nothing new, or nothing at all.
    Nothing,
    /// The refund changes.
    Becomes(Box<Refund>),
    /// It is said against the books.
    Contradicts(Claim),
    /// It says what the books say, to a question that was asked since something else was said.
    Agrees,
}

impl App {
    async fn decide_refund(
        &self,
        refund: &Refund,
        update: &RefundUpdate<'_>,
    ) -> Result<RefundDecision, DbError> {
        let Some(event) = &update.event else {
            return Ok(RefundDecision::Nothing);
        };
        let contradicts =
            || Claim::of_refund(event).map_or(RefundDecision::Nothing, RefundDecision::Contradicts);
        let denies = |asked_at| refund.is_contradicted_by(event, asked_at);
        Ok(match refund.apply(event, update.now) {
            Ok(Some(after)) if self.lacks_room(refund, &after).await? => contradicts(),
            Ok(Some(after)) => RefundDecision::Becomes(Box::new(after)),
            Ok(None) if update.asked_at.is_some_and(denies) => contradicts(),
            Ok(None)
                if refund.was_contradicted_before(update.asked_at) && refund.agrees_with(event) =>
            {
                RefundDecision::Agrees
            }
            Ok(None) => RefundDecision::Nothing,
            Err(_) => contradicts(),
        })
    }

    /// Keeps what the failure of a refund, or an answer about it, says of its payment against books that
    /// call the amount refundable. From there on a question about the payment is due. It is kept before
    /// the refund fails, so that nothing between the two can lose it.
    async fn dispute_payment(
        &self,
        refund: &Refund,
        after: Option<&Refund>,
        update: &RefundUpdate<'_>,
    ) -> Result<(), DbError> {
        let failure = after.and_then(|after| match &after.state {
            RefundState::Failed(failure) => Some(failure),
            RefundState::Pending(_) | RefundState::Succeeded | RefundState::Unresolved => None,
        });
        let by_code = failure.and_then(|failure| {
            let claim = refusal_claims(&failure.code)?;
            Some((claim, failure.code.as_str()))
        });
        let Some((claim, code)) = by_code.or_else(|| update.of_payment.map(|claim| (claim, "")))
        else {
            return Ok(());
        };
        loop {
            let payment = self
                .db
                .payment(refund.merchant_id, refund.payment_id)
                .await?;
            let Some(payment) = payment.filter(|payment| payment.calls_refundable(refund)) else {
                return Ok(());
            };
            let opened = self
                .contradict(&payment, claim, code, update.actor, update.attempt_id())
                .await?;
            if opened != Opened::Stale {
                return Ok(());
            }
        }
    }

    /// Whether the change would book more as returned than the payment has left. Then something else in
    /// the books is wrong, and a person must find out what.
    async fn lacks_room(&self, before: &Refund, after: &Refund) -> Result<bool, DbError> {
        let wanted = before.book_change(after).reserved_minor;
        if wanted <= 0 {
            return Ok(false);
        }
        let payment = self
            .db
            .payment(before.merchant_id, before.payment_id)
            .await?;
        Ok(payment.is_some_and(|payment| payment.bookable_minor() < wanted))
    }

    /// A refund that failed makes room for those of the portal that waited. The schedule tries again
    /// where that is cut.
    async fn book_after_release(&self, refund: &Refund) {
        let tried = match self.db.payment(refund.merchant_id, refund.payment_id).await {
            Ok(Some(payment)) if payment.contradicted_at.is_some() => {
                self.book_waiting_refunds(&payment).await
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = tried {
            tracing::warn!(payment.id = %refund.payment_id, %error, "a refund of the portal was not booked yet");
        }
    }
}
