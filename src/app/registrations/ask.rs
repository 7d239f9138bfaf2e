//! One question to Alipay about a registration, or the data sent again: its intent, the call, the
//! record; by a worker under its claim, or by a caller under nothing but the registration's version.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{
    outcome::{maintain_event, status_event},
    record::{RegistrationUpdate, sent},
};
use crate::{
    alipay::request::{MaintainStoreRequest, StoreStatusRequest},
    app::{
        App,
        accounts::Account,
        deadline::Deadline,
        error::{Interrupted, RecordError},
        policy::{RECORD_ANSWER, SEND_WITHIN},
    },
    db::{
        payments::record::LeaseToken,
        registrations::{Asked, RegistrationQuestion},
    },
    domain::{
        attempt::{Answer, AttemptKind},
        id::AttemptId,
        registrations::{PersonalData, Registration, RegistrationActor, RegistrationEvent},
    },
};

/// Who asks, and in what standing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Initiator {
    /// For the history.
    pub(super) actor: RegistrationActor,
    /// A worker's claim.
    pub(super) fence: Option<LeaseToken>,
}

/// What is asked.
#[derive(Debug)]
pub(super) enum UpstreamCall {
    /// To register these people's shop.
    Submit(Box<PersonalData>),
    /// Where it stands.
    Status,
}

/// A question whose intent is committed.
pub(super) struct Begun {
    pub(super) registration: Registration,
    pub(super) attempt_id: AttemptId,
    pub(super) asked_at: DateTime<Utc>,
    /// Runs since before the intent was committed.
    pub(super) decided: Deadline,
    /// Whom to ask: the account as it was when the intent was committed.
    pub(super) account: Arc<Account>,
    pub(super) ask: UpstreamCall,
}

/// What became of the intent to ask.
pub(super) enum Beginning {
    /// Committed: ask.
    Begun(Box<Begun>),
    /// It has changed since it was read: read and decide again.
    Changed,
    /// The claim passed to another worker: stop.
    FenceLost,
    /// It was to be sent again and cannot be: people are not kept, or cannot be opened.
    NothingToSend,
}

impl App {
    /// Commits the intent to ask.
    pub(super) async fn begin_registration(
        &self,
        mut registration: Registration,
        initiator: Initiator,
        kind: AttemptKind,
    ) -> Result<Beginning, Interrupted> {
        let account = self.account(&registration.partner)?;
        let decided = Deadline::start(&self.clock);
        let attempt_id = AttemptId::mint();
        let question = RegistrationQuestion {
            registration: &registration,
            fence: initiator.fence,
            attempt_id,
            kind,
            deadline_ms: i64::try_from(self.deadlines.of(kind).as_millis()).unwrap_or(i64::MAX),
        };
        let (asked_at, sealed) = match self.db.insert_registration_attempt(&question).await? {
            Asked::Begun { at, sealed } => (at, sealed),
            Asked::Stale => return Ok(Beginning::Changed),
            Asked::FenceLost => return Ok(Beginning::FenceLost),
        };
        let submission = &mut registration.submission;
        let ask = if kind == AttemptKind::MaintainStore {
            submission.submits += 1;
            submission.last_submit_at = Some(asked_at);
            submission.to_send = false;
            let people = sealed.map(|sealed| self.secret.unseal_people(registration.id, &sealed));
            match people {
                Some(Ok(people)) => UpstreamCall::Submit(Box::new(people)),
                Some(Err(_)) | None => return Ok(Beginning::NothingToSend),
            }
        } else {
            submission.checks_done += 1;
            submission.last_check_at = Some(asked_at);
            UpstreamCall::Status
        };
        Ok(Beginning::Begun(Box::new(Begun {
            registration,
            attempt_id,
            asked_at,
            decided,
            account,
            ask,
        })))
    }

    /// Asks and records. No database connection is held during the call.
    pub(super) async fn ask_registration(
        &self,
        begun: Begun,
        initiator: Initiator,
    ) -> Result<Told, RecordError> {
        let Begun {
            registration,
            attempt_id,
            asked_at,
            decided,
            account,
            ask,
        } = begun;
        let started = Instant::now();
        let is_submission = matches!(ask, UpstreamCall::Submit(_));
        let (event, answer) = call(&account, &registration, ask, &decided).await;
        let tells_something = event.is_some();
        let update = RegistrationUpdate {
            actor: initiator.actor,
            answered: Some((attempt_id, &answer)),
            event,
            about: sent(&registration),
            fence: initiator.fence,
            // A caller's question is besides the plan; what was sent is its beginning.
            reschedule: initiator.fence.is_some() || is_submission,
            now: asked_at + started.elapsed(),
        };
        let registration = self
            .record_registration(registration, &update, RECORD_ANSWER)
            .await?;
        Ok(Told {
            registration,
            tells_something,
            answer,
        })
    }
}

/// A registration after a question about it.
pub(super) struct Told {
    pub(super) registration: Registration,
    pub(super) tells_something: bool,
    pub(super) answer: Answer,
}

/// One upstream call.
async fn call(
    account: &Account,
    registration: &Registration,
    ask: UpstreamCall,
    decided: &Deadline,
) -> (Option<RegistrationEvent>, Answer) {
    let secondary_merchant_id = registration.secondary_merchant_id.clone();
    let store_id = registration.store_id.clone();
    match ask {
        UpstreamCall::Submit(people) => {
            let request = MaintainStoreRequest {
                secondary_merchant_id,
                store_id,
                facts: registration.facts.clone(),
                personal: *people,
            };
            let too_late = || decided.expired(SEND_WITHIN);
            let call = account.alipay.maintain_store(&request, too_late).await;
            (Some(maintain_event(call.outcome)), call.answer)
        }
        UpstreamCall::Status => {
            let request = StoreStatusRequest {
                secondary_merchant_id,
                store_id,
                partner: registration.partner.clone(),
            };
            let call = account.alipay.query_store_status(&request).await;
            (status_event(call.outcome), call.answer)
        }
    }
}
