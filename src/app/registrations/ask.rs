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
        pipeline::{Beginning, Initiator, Told},
        policy::{RECORD_ANSWER, SEND_WITHIN},
    },
    db::registrations::{Asked, RegistrationQuestion},
    domain::{
        attempt::{Answer, AnswerClass, AttemptKind},
        id::AttemptId,
        registrations::{PersonalData, Registration, RegistrationActor, RegistrationEvent},
    },
};

/// What is asked.
#[derive(Debug)]
pub(in crate::app) enum UpstreamCall {
    /// To register these people's store.
    Submit(Box<PersonalData>),
    /// Nothing: the people are not kept any more, or cannot be opened.
    NothingToSend,
    /// Where it stands.
    Status,
}

/// A question whose intent is committed.
pub(in crate::app) struct Begun {
    pub(super) registration: Registration,
    pub(super) attempt_id: AttemptId,
    pub(super) asked_at: DateTime<Utc>,
    /// Runs since before the intent was committed.
    pub(super) decided: Deadline,
    /// Whom to ask: the account as it was when the intent was committed.
    pub(super) account: Arc<Account>,
    pub(super) ask: UpstreamCall,
}

impl App {
    /// Commits the intent to ask.
    pub(super) async fn begin_registration(
        &self,
        mut registration: Registration,
        initiator: Initiator,
        kind: AttemptKind,
    ) -> Result<Beginning<Begun>, Interrupted> {
        let account = self.account(&registration.partner)?;
        let decided = Deadline::start(&self.clock);
        let attempt_id = AttemptId::mint();
        let question = RegistrationQuestion {
            registration: &registration,
            lease_token: initiator.lease_token(),
            attempt_id,
            kind,
            deadline_ms: i64::try_from(self.timeouts.of(kind).as_millis()).unwrap_or(i64::MAX),
        };
        let (asked_at, sealed) = match self.db.insert_registration_attempt(&question).await? {
            Asked::Begun { at, sealed } => (at, sealed),
            Asked::Stale => return Ok(Beginning::Changed),
            Asked::LeaseLost => return Ok(Beginning::LeaseLost),
        };
        let submission = &mut registration.submission;
        let ask = if kind == AttemptKind::MaintainStore {
            submission.submits += 1;
            submission.last_submit_at = Some(asked_at);
            submission.to_send = false;
            let people = sealed.map(|sealed| self.secret.unseal_people(registration.id, &sealed));
            match people {
                Some(Ok(people)) => UpstreamCall::Submit(Box::new(people)),
                Some(Err(_)) | None => UpstreamCall::NothingToSend,
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
    ) -> Result<Told<Registration>, RecordError> {
        let Begun {
            registration,
            attempt_id,
            asked_at,
            decided,
            account,
            ask,
        } = begun;
        let started = Instant::now();
        let is_submission = !matches!(ask, UpstreamCall::Status);
        let (event, answer) = call(&account, &registration, ask, &decided).await;
        let tells_something = event.is_some();
        let update = RegistrationUpdate {
            actor: actor(initiator),
            answered: Some((attempt_id, answer.clone())),
            event,
            about: sent(&registration),
            lease_token: initiator.lease_token(),
            // A caller's question is besides the plan; what was sent is its beginning.
            reschedule: initiator.is_worker() || is_submission,
            now: asked_at + started.elapsed(),
        };
        let subject = self.record(registration, &update, RECORD_ANSWER).await?;
        Ok(Told {
            subject,
            answer,
            tells_something,
        })
    }
}

/// For the history.
const fn actor(initiator: Initiator) -> RegistrationActor {
    match initiator {
        Initiator::Caller(id) => RegistrationActor::ApiKey(id),
        Initiator::Worker(lease_token) => RegistrationActor::FollowUp(lease_token.follow_up_id),
    }
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
        UpstreamCall::NothingToSend => {
            tracing::error!(registration.id = %registration.id, "the data of a registration cannot be opened to be sent again; register it once more");
            let answer = Answer {
                class: AnswerClass::ConnectFailed,
                code: None,
                detail: Some("the data to be sent cannot be opened".to_owned()),
                duration_ms: 0,
            };
            (Some(RegistrationEvent::PlanExhausted), answer)
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
