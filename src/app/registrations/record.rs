//! Persisting updates of a registration: the only path to the database for anything Alipay said of it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    app::{App, error::RecordError, insistence::Insistence},
    db::{
        error::Error as DbError,
        payments::record::{LeaseToken, Recorded},
        registrations::RegistrationRecord,
    },
    domain::{
        attempt::Answer,
        id::AttemptId,
        registrations::{
            Registration, RegistrationActor, RegistrationEvent, RegistrationStatus, next_check_at,
        },
    },
};

/// Something that was learnt of a registration.
#[derive(Debug)]
pub(super) struct RegistrationUpdate<'a> {
    /// Who asked.
    pub(super) actor: RegistrationActor,
    /// The call and its answer.
    pub(super) answered: Option<(AttemptId, &'a Answer)>,
    /// What it means, if anything.
    pub(super) event: Option<RegistrationEvent>,
    /// The submission, and how many times it had been sent, when this was asked: an answer says nothing
    /// of what was sent later.
    pub(super) about: (i32, i32),
    /// The claim of the worker that asked.
    pub(super) fence: Option<LeaseToken>,
    /// Whether the plan goes on from this update.
    pub(super) reschedule: bool,
    /// The time of the update, near the database's clock.
    pub(super) now: DateTime<Utc>,
}

/// What was sent of a registration so far.
pub(super) const fn sent(registration: &Registration) -> (i32, i32) {
    (
        registration.submission.number,
        registration.submission.submits,
    )
}

impl App {
    /// Applies an update to a registration and writes it, guarded by the version that was read. Another
    /// writer's change leads to reading and deciding again; an outage or a commit in doubt to repeating
    /// the guarded statement for `insist_for` (`docs/invariants.md` R8). Returns the registration as
    /// it stands.
    pub(super) async fn record_registration(
        &self,
        mut registration: Registration,
        update: &RegistrationUpdate<'_>,
        insist_for: Duration,
    ) -> Result<Registration, RecordError> {
        let mut insistence = Insistence::lasting(insist_for);
        loop {
            let after = decide(&registration, update);
            let standing = after.as_ref().unwrap_or(&registration);
            let due = update
                .reschedule
                .then(|| next_check_at(standing, update.now));
            match self
                .write_registration(&registration, after.as_ref(), due, update)
                .await
            {
                Ok(Recorded::Written(at)) => {
                    let mut registration = match after {
                        Some(mut after) => {
                            after.updated_at = at;
                            self.announce_registration(&registration, &after);
                            after
                        }
                        None => registration,
                    };
                    if registration.status.is_settled() {
                        registration.next_check_at = None;
                    } else if due.is_some() {
                        registration.next_check_at = due;
                    }
                    return Ok(registration);
                }
                Ok(Recorded::FenceLost) => return Err(RecordError::FenceLost),
                Ok(Recorded::Stale) => {}
                Err(error) => {
                    tracing::warn!(registration.id = %registration.id, error = %error, "recording an answer failed");
                    insistence.outlast(error).await?;
                }
            }
            let (merchant_id, id) = (registration.merchant_id, registration.id);
            match self.db.registration(merchant_id, id).await {
                Ok(Some(current)) => registration = current,
                Ok(None) => return Err(RecordError::Missing),
                // Still away: the guarded statement is repeated on what was read last.
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn write_registration(
        &self,
        before: &Registration,
        after: Option<&Registration>,
        next_check_at: Option<DateTime<Utc>>,
        update: &RegistrationUpdate<'_>,
    ) -> Result<Recorded, DbError> {
        let event = update.event.as_ref().map(RegistrationEvent::name);
        self.db
            .record_registration(&RegistrationRecord {
                before,
                change: after.zip(event),
                actor: update.actor,
                answered: update.answered,
                fence: update.fence,
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
                tracing::info!(registration.id = %after.id, store.id = %after.store_id, "Alipay has approved the registration of a shop");
            }
            RegistrationStatus::Rejected => {
                tracing::warn!(registration.id = %after.id, store.id = %after.store_id, "Alipay has refused the registration of a shop");
            }
            RegistrationStatus::Unresolved => {
                tracing::error!(registration.id = %after.id, store.id = %after.store_id, "the review of a shop's registration did not end in 72 hours: unresolved");
            }
            RegistrationStatus::Submitting
            | RegistrationStatus::Unknown
            | RegistrationStatus::UnderReview
            | RegistrationStatus::ModificationReview => {}
        }
        if before.in_force != after.in_force {
            self.forget_shops(after.merchant_id);
        }
    }
}

/// Describes the metrics of this module; call once, after the recorder is installed.
pub(in crate::app) fn describe_metrics() {
    metrics::describe_counter!(
        "registration_transitions_total",
        metrics::Unit::Count,
        "Changes of the status of a shop's registration, by the old and the new one."
    );
}

/// The registration after the update; `None` where it says nothing new, or is about something else.
fn decide(registration: &Registration, update: &RegistrationUpdate<'_>) -> Option<Registration> {
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
