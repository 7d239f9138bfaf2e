//! Persisting updates of a registration: the only path to the database for anything Alipay said of it.

use chrono::{DateTime, Utc};

use crate::{
    app::{App, pipeline::Written},
    db::{error::Error as DbError, recorded::Recorded, registrations::RegistrationRecord},
    domain::{
        attempt::Answer,
        follow_ups::lease::LeaseToken,
        id::AttemptId,
        registrations::{
            Registration, RegistrationActor, RegistrationEvent, RegistrationStatus, next_check_at,
        },
    },
};

/// Something that was learnt of a registration.
#[derive(Debug)]
pub(in crate::app) struct RegistrationUpdate {
    pub(super) actor: RegistrationActor,
    /// The call and its answer.
    pub(super) answered: Option<(AttemptId, Answer)>,
    /// What it means, if anything.
    pub(super) event: Option<RegistrationEvent>,
    /// The submission, and how many times it had been sent, when this was asked: an answer says nothing
    /// of what was sent later.
    pub(super) about: (i32, i32),
    /// The claim of the worker that asked.
    pub(super) lease_token: Option<LeaseToken>,
    /// Whether the plan goes on from this update.
    pub(super) reschedule: bool,
    /// The time of the update, near the database's clock.
    pub(super) now: DateTime<Utc>,
}

impl RegistrationUpdate {
    /// The call that was answered, and its answer.
    pub(super) fn answered(&self) -> Option<(AttemptId, &Answer)> {
        let (attempt_id, answer) = self.answered.as_ref()?;
        Some((*attempt_id, answer))
    }

    /// That every planned question was asked in vain.
    pub(super) const fn plan_exhausted(
        registration: &Registration,
        lease_token: LeaseToken,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            actor: RegistrationActor::FollowUp(lease_token.follow_up_id),
            answered: None,
            event: Some(RegistrationEvent::PlanExhausted),
            about: sent(registration),
            lease_token: Some(lease_token),
            reschedule: true,
            now,
        }
    }
}

/// What was sent of a registration so far.
pub(super) const fn sent(registration: &Registration) -> (i32, i32) {
    (
        registration.submission.number,
        registration.submission.submits,
    )
}

impl App {
    /// One try to write an update of a registration.
    pub(super) async fn write_registration_update(
        &self,
        before: &Registration,
        update: &RegistrationUpdate,
    ) -> Result<Written<Registration>, DbError> {
        let after = decide(before, update);
        let standing = after.as_ref().unwrap_or(before);
        let due = update
            .reschedule
            .then(|| next_check_at(standing, update.now));
        let recorded = self
            .write_registration(before, after.as_ref(), due, update)
            .await?;
        let at = match recorded {
            Recorded::Written(at) => at,
            Recorded::Stale => return Ok(Written::Stale),
            Recorded::LeaseLost => return Ok(Written::LeaseLost),
        };
        let mut registration = match after {
            Some(mut after) => {
                after.updated_at = at;
                self.announce_registration(before, &after);
                after
            }
            None => before.clone(),
        };
        if registration.status.is_settled() {
            registration.next_check_at = None;
        } else if due.is_some() {
            registration.next_check_at = due;
        }
        Ok(Written::Done(Box::new(registration)))
    }

    async fn write_registration(
        &self,
        before: &Registration,
        after: Option<&Registration>,
        next_check_at: Option<DateTime<Utc>>,
        update: &RegistrationUpdate,
    ) -> Result<Recorded, DbError> {
        let event = update.event.as_ref().map(RegistrationEvent::name);
        self.db
            .record_registration(&RegistrationRecord {
                before,
                change: after.zip(event),
                actor: update.actor,
                answered: update.answered(),
                lease_token: update.lease_token,
                next_check_at,
                gateway_at: self.clock.now(),
            })
            .await
    }

    /// Counts, and lets payments know.
    fn announce_registration(&self, before: &Registration, after: &Registration) {
        if before.status != after.status {
            metrics::counter!("registration_transitions_total",
                "from" => before.status.as_str(), "to" => after.status.as_str())
            .increment(1);
        }
        match after.status {
            RegistrationStatus::Approved => {
                tracing::info!(registration.id = %after.id, store.id = %after.store_id, "Alipay has approved the registration of a store");
            }
            RegistrationStatus::Rejected => {
                tracing::warn!(registration.id = %after.id, store.id = %after.store_id, "Alipay has refused the registration of a store");
            }
            RegistrationStatus::Unresolved => {
                tracing::error!(registration.id = %after.id, store.id = %after.store_id, "the review of a store's registration did not end in 72 hours: unresolved");
            }
            RegistrationStatus::Submitting
            | RegistrationStatus::Unknown
            | RegistrationStatus::UnderReview
            | RegistrationStatus::ModificationReview => {}
        }
        if before.in_force != after.in_force {
            self.forget_stores(after.merchant_id);
        }
    }
}

/// Describes the metrics of this module; call once, after the recorder is installed.
pub(in crate::app) fn describe_metrics() {
    metrics::describe_counter!(
        "registration_transitions_total",
        metrics::Unit::Count,
        "Changes of the status of a store's registration, by the old and the new one."
    );
}

/// The registration after the update; `None` where it says nothing new, or is about something else.
fn decide(registration: &Registration, update: &RegistrationUpdate) -> Option<Registration> {
    let event = update.event.as_ref()?;
    if sent(registration) != update.about {
        return None;
    }
    let after = registration.apply(event, update.now);
    if after.is_none()
        && *event == RegistrationEvent::NotRegistered
        && registration.status == RegistrationStatus::Approved
    {
        tracing::error!(registration.id = %registration.id, "Alipay does not know a registration that it had approved; nothing was changed and a person must look");
    }
    after
}
