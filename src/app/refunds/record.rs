//! Persisting updates of a refund: the only path to the database for anything Alipay said of it.

use chrono::{DateTime, Utc};

use crate::{
    alipay::result_code::refusal_claims,
    app::{App, pipeline::Written},
    db::{
        contradictions::Opened,
        error::Error as DbError,
        recorded::Recorded,
        refunds::{RefundChange, RefundRecord},
    },
    domain::{
        attempt::Answer,
        contradiction::Claim,
        follow_ups::{lease::LeaseToken, question::Owed},
        id::AttemptId,
        refunds::{
            plan,
            refund::{Refund, RefundEvent, RefundState},
        },
        transition::{Actor, Justification},
    },
    failpoint::crashpoint,
};

/// Something that was learnt of a refund.
#[derive(Debug)]
pub(in crate::app) struct RefundUpdate {
    /// Who asked, or what told.
    pub(in crate::app) actor: Actor,
    /// The call and its answer.
    pub(in crate::app) answered: Option<(AttemptId, Answer)>,
    /// What it means for the refund, if anything.
    pub(in crate::app) event: Option<RefundEvent>,
    /// When the question was sent that this answers (database clock); `None` where it answers none.
    pub(in crate::app) asked_at: Option<DateTime<Utc>>,
    /// Whether a query was answered that there is no such refund.
    pub(in crate::app) not_found: Option<bool>,
    /// What is said of the payment besides; it is held against what the books call refundable.
    pub(in crate::app) of_payment: Option<Claim>,
    /// The claim of the worker that asked.
    pub(in crate::app) lease_token: Option<LeaseToken>,
    /// Whether the plan goes on from this update: the follow-up is rescheduled.
    pub(in crate::app) reschedule: bool,
    /// What it does to the question that is owed besides the plan.
    pub(in crate::app) owed: Owed,
    /// What an operator gave as grounds.
    pub(in crate::app) justification: Option<Justification>,
    /// The time of the update, near the database's clock: plans the next question.
    pub(in crate::app) now: DateTime<Utc>,
}

impl RefundUpdate {
    /// The call that was answered, and its answer.
    pub(in crate::app) fn answered(&self) -> Option<(AttemptId, &Answer)> {
        let (attempt_id, answer) = self.answered.as_ref()?;
        Some((*attempt_id, answer))
    }

    /// Nothing, learnt now: what was is put in its place.
    pub(in crate::app) const fn none(actor: Actor, now: DateTime<Utc>) -> Self {
        Self {
            actor,
            answered: None,
            event: None,
            asked_at: None,
            not_found: None,
            of_payment: None,
            lease_token: None,
            reschedule: false,
            owed: Owed::AsBefore,
            justification: None,
            now,
        }
    }

    /// The call that was answered.
    pub(in crate::app) fn attempt_id(&self) -> Option<AttemptId> {
        self.answered().map(|(attempt_id, _)| attempt_id)
    }
}

impl App {
    /// One try to write an update of a refund.
    pub(super) async fn write_refund_update(
        &self,
        refund: &Refund,
        update: &RefundUpdate,
    ) -> Result<Written<Refund>, DbError> {
        let decision = self.decide_refund(refund, update).await;
        let after = match &decision {
            Ok(RefundDecision::Becomes(after)) => Some(after.as_ref()),
            Ok(_) | Err(_) => None,
        };
        // What is said against the books is kept first, and only then is it answered.
        self.dispute_payment(refund, after, update).await?;
        let decision = decision?;
        let is_kept_now = match &decision {
            RefundDecision::Nothing | RefundDecision::Becomes(_) => false,
            RefundDecision::Contradicts(claim) => {
                self.contradict_refund(refund, *claim, update).await? != Opened::Known
            }
            RefundDecision::Agrees => self.settle_refund_by_answer(refund, update).await?,
        };
        if is_kept_now {
            return Ok(Written::Stale);
        }
        let after = match decision {
            RefundDecision::Becomes(after) => Some(after),
            RefundDecision::Nothing | RefundDecision::Contradicts(_) | RefundDecision::Agrees => {
                None
            }
        };
        let next_check_at = self.next_refund_check(after.as_deref().unwrap_or(refund), update);
        let question_at = question_besides(after.as_deref(), update);
        let recorded = self
            .write_refund(refund, after.as_deref(), next_check_at, question_at, update)
            .await?;
        let at = match recorded {
            Recorded::Written(at) => at,
            Recorded::Stale => return Ok(Written::Stale),
            Recorded::LeaseLost => return Ok(Written::LeaseLost),
        };
        let Some(mut after) = after else {
            let mut refund = Box::new(refund.clone());
            note_plan(&mut refund, next_check_at);
            if refund.contradicted_at.is_some() {
                self.refund_notifier.announce(&refund);
            }
            return Ok(Written::Done(refund));
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
        self.announce_refund(refund, &after);
        if refund.book_change(&after).reserved_minor < 0 {
            self.book_after_release(&after).await;
        }
        Ok(Written::Done(after))
    }

    async fn write_refund(
        &self,
        before: &Refund,
        after: Option<&Refund>,
        next_check_at: Option<DateTime<Utc>>,
        question_at: Option<DateTime<Utc>>,
        update: &RefundUpdate,
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
                justification: update.justification.as_ref(),
            });
        self.db
            .record_refund(&RefundRecord {
                merchant_id: before.merchant_id,
                refund_id: before.id,
                payment_id: before.payment_id,
                actor: update.actor,
                answered: update.answered(),
                change,
                not_found: update.not_found,
                lease_token: update.lease_token,
                next_check_at,
                owed: update.owed,
                question_due_at: before.poll.question_due_at,
            })
            .await
    }

    /// When the follow-up asks next about a refund as it is after the update; `None` leaves that as it
    /// was.
    fn next_refund_check(&self, refund: &Refund, update: &RefundUpdate) -> Option<DateTime<Utc>> {
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
fn question_besides(after: Option<&Refund>, update: &RefundUpdate) -> Option<DateTime<Utc>> {
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
        update: &RefundUpdate,
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
        update: &RefundUpdate,
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
