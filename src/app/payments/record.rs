//! Persisting updates of a payment: the only path to the database for anything Alipay said.

use chrono::{DateTime, Utc};

use super::outcome::{Meaning, Told, event_of_the_door};
use crate::app::{App, pipeline::Written};
use crate::{
    db::{
        contradictions::Opened,
        error::Error as DbError,
        payments::record::{Change, Record},
        recorded::Recorded,
    },
    domain::{
        attempt::Answer,
        contradiction::Claim,
        follow_ups::{lease::LeaseToken, question::Owed},
        id::{AttemptId, RefundId},
        payments::{
            payment::{Payment, PaymentEvent},
            plan::{self, NextStep, Plan},
        },
        transition::{Actor, Justification},
    },
    failpoint::crashpoint,
};

/// Something that was learnt of a payment.
#[derive(Debug)]
pub(in crate::app) struct Update {
    pub(in crate::app) actor: Actor,
    /// The call and its answer.
    pub(in crate::app) answered: Option<(AttemptId, Answer)>,
    /// What was told; what that means is decided on the payment as it is when it is written.
    pub(in crate::app) told: Option<Told>,
    /// The claim of the worker that asked.
    pub(in crate::app) lease_token: Option<LeaseToken>,
    /// Whether the plan goes on from this update: the follow-up is rescheduled.
    pub(in crate::app) reschedule: bool,
    /// Whether the claim is kept where the plan says to cancel now: the same visit does.
    pub(in crate::app) keep_to_cancel: bool,
    /// What it does to the question that is owed besides the plan.
    pub(in crate::app) owed: Owed,
    /// What an operator gave as grounds.
    pub(in crate::app) justification: Option<Justification>,
    /// The time of the update, near the database's clock: plans the next question.
    pub(in crate::app) now: DateTime<Utc>,
}

impl Update {
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
            told: None,
            lease_token: None,
            reschedule: false,
            keep_to_cancel: false,
            owed: Owed::AsBefore,
            justification: None,
            now,
        }
    }

    /// The call that was answered.
    pub(in crate::app) fn attempt_id(&self) -> Option<AttemptId> {
        self.answered().map(|(attempt_id, _)| attempt_id)
    }

    /// Whether it is the answer to a cancel of this payment, and ends it.
    fn cancel_refused(&self, payment: &Payment) -> Option<bool> {
        self.told.as_ref()?.cancel_refused(payment)
    }
}

impl App {
    /// One try to write an update of a payment.
    pub(super) async fn write_update(
        &self,
        payment: &Payment,
        update: &Update,
    ) -> Result<Written<Payment>, DbError> {
        let mut payment = payment.clone();
        if let Some((id, answer)) = update.answered() {
            payment.poll.note_answer(id, answer.class, update.now);
        }
        if let Some(refused) = update.cancel_refused(&payment) {
            payment.poll.cancel_refused = refused;
        }
        let (decision, agrees) = decide(&self.plan, &payment, update);
        // What was said against the books is settled first, and only then is anything else done.
        if agrees && self.settle_by_answer(&payment, update).await? {
            return Ok(Written::Stale);
        }
        let refusals = refusals_after(&payment, update);
        let question_at = match &decision {
            Decision::Becomes(_, PaymentEvent::Resolved(_)) => {
                Some(self.decision_is_checked_at(&payment, update.now))
            }
            Decision::Becomes(..)
            | Decision::Nothing
            | Decision::TurnsInto(_)
            | Decision::Contradicts(_) => None,
        };
        let recorded = match &decision {
            Decision::TurnsInto(refund_id) => {
                self.turn_into_refund(&payment, *refund_id, update).await?
            }
            Decision::Becomes(after, event) => {
                let change = Some((after.as_ref(), event));
                self.write(&payment, change, question_at, update).await?
            }
            Decision::Nothing => self.write(&payment, None, None, update).await?,
            // What is said against the books is kept first, and only then is it answered.
            Decision::Contradicts(claim) => {
                let kept = self.contradict(&payment, *claim, "", update.actor, update.attempt_id());
                match kept.await? {
                    Opened::Known => self.write(&payment, None, None, update).await?,
                    Opened::New | Opened::Stale => Recorded::Stale,
                }
            }
        };
        let at = match recorded {
            Recorded::Written(at) => at,
            Recorded::Stale => return Ok(Written::Stale),
            Recorded::LeaseLost => return Ok(Written::LeaseLost),
        };
        Ok(match decision {
            Decision::TurnsInto(_) => self.turned(&payment).await?,
            Decision::Becomes(mut after, _) => {
                crashpoint!(self.db.failpoints, "record.written");
                if let Some(question_at) = question_at {
                    after.poll = payment.poll.clone();
                    after.poll.question_due_at = Some(question_at);
                    after.poll.next_check_at = Some(question_at);
                }
                after.poll.access_refusals = refusals;
                after.updated_at = at;
                if after.state.status() != payment.state.status() {
                    after.finalized_at = after.finalized_at.map(|_| at);
                }
                self.announce(&payment, &after);
                Written::Done(after)
            }
            Decision::Nothing | Decision::Contradicts(_) => {
                payment.poll.access_refusals = refusals;
                let was_checked = payment.decision_is_being_checked();
                payment.poll.question_due_at = update.owed.left_of(payment.poll.question_due_at);
                if payment.contradicted_at.is_some() || was_checked {
                    self.notifier.announce(&payment);
                }
                Written::Done(Box::new(payment))
            }
        })
    }

    /// When Alipay is asked about what a person decides now.
    pub(in crate::app) fn decision_is_checked_at(
        &self,
        payment: &Payment,
        now: DateTime<Utc>,
    ) -> DateTime<Utc> {
        payment.decision_is_checked_at(now, plan::pay_acts_until(&self.plan, payment))
    }

    /// A payment whose cancel has just become a refund, as it stands.
    async fn turned(&self, before: &Payment) -> Result<Written<Payment>, DbError> {
        let Some(payment) = self.db.payment(before.merchant_id, before.id).await? else {
            return Ok(Written::Stale);
        };
        tracing::info!(payment.id = %payment.id, "the cancel came too late; the payment is refunded instead");
        self.notifier.announce(&payment);
        Ok(Written::Done(Box::new(payment)))
    }

    async fn write(
        &self,
        before: &Payment,
        change: Option<(&Payment, &PaymentEvent)>,
        question_at: Option<DateTime<Utc>>,
        update: &Update,
    ) -> Result<Recorded, DbError> {
        let mut current = change.map_or(before, |(after, _)| after).clone();
        current.poll.question_due_at = update.owed.left_of(current.poll.question_due_at);
        let change = change.map(|(after, event)| Change {
            before,
            after,
            event: event.name(),
            gateway_at: self.clock.now(),
            justification: update.justification.as_ref(),
            question_at,
        });
        self.db
            .record(&Record {
                merchant_id: before.merchant_id,
                payment_id: before.id,
                actor: update.actor,
                answered: update.answered(),
                change,
                lease_token: update.lease_token,
                next_check_at: self.next_check_at(&current, update),
                owed: update.owed,
                question_due_at: before.poll.question_due_at,
                cancel_refused: update.cancel_refused(before),
                // Where nothing was refused before, nothing is to be forgotten.
                lets_in: lets_in(update)
                    .filter(|lets_in| !lets_in || before.poll.access_refusals > 0),
            })
            .await
    }

    /// When the follow-up asks next; `None` leaves the schedule, and a claim on it, as they are.
    fn next_check_at(&self, current: &Payment, update: &Update) -> Option<DateTime<Utc>> {
        let is_kept = || {
            update.keep_to_cancel
                && plan::next_step(&self.plan, current, update.now) == NextStep::Cancel
        };
        (update.reschedule && !is_kept())
            .then(|| plan::next_check_at(&self.plan, current, update.now))
    }

    /// Tells whoever waits, and counts.
    fn announce(&self, before: &Payment, after: &Payment) {
        if before.state.status() != after.state.status() {
            metrics::counter!("payment_transitions_total",
                "from" => before.state.status(), "to" => after.state.status())
            .increment(1);
            if after.state.is_final() {
                let open_for = after.updated_at - after.created_at;
                metrics::histogram!("payment_open_seconds", "status" => after.state.status())
                    .record(open_for.to_std().unwrap_or_default());
            }
        }
        if !before.is_paid_from_unwanted_wallet() && after.is_paid_from_unwanted_wallet() {
            metrics::counter!("payment_wallets_not_allowed_total").increment(1);
            tracing::warn!(
                payment.id = %after.id,
                merchant.id = %after.merchant_id,
                "the payment was made from a wallet that its merchant does not accept; it stays paid until somebody refunds it"
            );
        }
        self.notifier.announce(after);
        if after.was_returned_since(before) {
            let (app, merchant_id) = (self.clone(), after.merchant_id);
            // The money is back: nobody waits for the alarm.
            drop(self.run_detached(async move { app.watch_for_bursts(merchant_id).await }));
        }
    }
}

/// Describes the metrics of this module; call once, after the recorder is installed.
pub(in crate::app) fn describe_metrics() {
    metrics::describe_counter!(
        "payment_transitions_total",
        metrics::Unit::Count,
        "Changes of a payment's status, by the old and the new one."
    );
    metrics::describe_histogram!(
        "payment_open_seconds",
        metrics::Unit::Seconds,
        "Time from a payment's creation to its final status."
    );
    metrics::describe_counter!(
        "payment_wallets_not_allowed_total",
        metrics::Unit::Count,
        "Payments made from a wallet that is none of the merchant's allowed ones."
    );
    metrics::describe_counter!(
        "payment_contradictions_total",
        metrics::Unit::Count,
        "What Alipay says against the books of a payment; each is asked about and needs a person."
    );
}

/// How often in a row Alipay has refused at its door what was asked of the payment, after the update.
fn refusals_after(payment: &Payment, update: &Update) -> i32 {
    let before = payment.poll.access_refusals;
    match lets_in(update) {
        Some(true) => 0,
        Some(false) => before + 1,
        None => before,
    }
}

fn lets_in(update: &Update) -> Option<bool> {
    let (_, answer) = update.answered()?;
    answer.class.lets_the_account_in()
}

/// What an update comes to on a payment as it stands.
enum Decision {
    /// It says nothing new, or nothing at all.
    Nothing,
    /// The payment changes.
    Becomes(Box<Payment>, PaymentEvent),
    /// The cancel under way ends, and this refund is made in its place.
    TurnsInto(RefundId),
    /// It is said against the books.
    Contradicts(Claim),
}

/// What the update comes to, and whether it says what the books say, to a question that was asked since
/// something else was said.
fn decide(plan: &Plan, payment: &Payment, update: &Update) -> (Decision, bool) {
    let Some(told) = &update.told else {
        return (Decision::Nothing, false);
    };
    let event = match told.meaning(plan, payment) {
        Meaning::Nothing => {
            match update
                .answered()
                .and_then(|(_, answer)| event_of_the_door(answer))
            {
                Some(event) => event,
                None => return (Decision::Nothing, false),
            }
        }
        Meaning::Event(event) => payment.beyond_its_end(event),
        Meaning::Claim(claim) => return (Decision::Contradicts(claim), false),
    };
    let was_asked_since = payment.was_contradicted_before(told.asked_at());
    let agrees = was_asked_since && payment.agrees_with(&event);
    if let Some(refund_id) = payment.turns_into(&event) {
        if payment.left_to_return_minor() > 0 {
            return (Decision::TurnsInto(refund_id), false);
        }
        // All of it was said to be back: the wish waits until a question that was asked since proves that the
        // money is with the merchant still.
        return (Decision::Nothing, was_asked_since);
    }
    (decision_on(payment, event, update), agrees)
}

/// What an event comes to.
fn decision_on(payment: &Payment, event: PaymentEvent, update: &Update) -> Decision {
    match payment.apply(&event, update.now) {
        Ok(Some(after)) => Decision::Becomes(Box::new(after), event),
        Ok(None) => Decision::Nothing,
        Err(contradiction) => {
            if let Some(claim) = Claim::of_payment(&event) {
                return Decision::Contradicts(claim);
            }
            tracing::error!(payment.id = %payment.id, %contradiction, "what was decided does not fit the payment; nothing was changed");
            Decision::Nothing
        }
    }
}
