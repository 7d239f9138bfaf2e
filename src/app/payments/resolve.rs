//! What operators and impatient callers do: ask now, steer the schedule, look at what stayed open,
//! and decide it on evidence from outside.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    ask::{Beginning, Initiator, UpstreamCall},
    outcome::Told,
    record::{RecordError, Update},
};
use crate::app::{App, error::Error, notifier::Awaited as _};
use crate::{
    db::{
        contradictions::Settlement,
        payments::record::{Justification, Owed},
    },
    domain::{
        access::principal::{Identity, Principal, TenantScope},
        attempt::AnswerClass,
        follow_ups::schedule::{FollowUp, FollowUpAction, FollowUpFilter, Subject, Unsettled},
        id::{FollowUpId, MerchantId, PaymentId},
        listing::Page,
        payments::payment::{Payment, PaymentEvent, PaymentState, Resolution},
        transition::Actor,
    },
    failpoint::crashpoint,
};

/// How long an operator's decision is insisted on while the database is away.
pub(in crate::app) const INSIST_ON_DECIDING: Duration = Duration::from_secs(8);

impl App {
    /// Asks Alipay now where the trade stands, and records what it says. Nothing changes where no
    /// usable answer comes. `Ok(None)`: no such payment.
    pub async fn refresh_payment(
        &self,
        principal: &Principal,
        id: PaymentId,
    ) -> Result<Option<Payment>, Error> {
        // Listen before reading, so that the answer is no older than what others were told meanwhile.
        let waiter = self.notifier.listen(id);
        let Some(payment) = self.db.payment(principal.merchant_id, id).await? else {
            return Ok(None);
        };
        self.admit_question(&payment.partner)?;
        let caller = Initiator {
            actor: Actor::ApiKey(principal.api_key_id),
            fence: None,
        };
        let place = self.admission.enter(principal.merchant_id)?;
        let app = self.clone();
        // Detached: a caller that hangs up must not leave an answer unrecorded.
        let work = async move {
            let _place = place;
            crashpoint!(app.db.failpoints, "refresh.accepted");
            match app.begin(payment, caller, UpstreamCall::Query).await? {
                Beginning::Begun(begun) => app
                    .ask(*begun, caller, UpstreamCall::Query)
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
        let Some((payment, answer)) = outcome? else {
            return Err(Error::Unavailable("the payment kept changing".into()));
        };
        if tells_something(answer.class) {
            // What was learnt may be nothing new, and what was asked about another by now.
            let current = payment.look(&self.db).await;
            Ok(Some(waiter.newest(current.unwrap_or(payment))))
        } else {
            Err(Error::UpstreamSilent {
                subject: Subject::Payment(id),
                class: answer.class.as_str(),
            })
        }
    }

    /// Lists the schedule of a merchant, or of all, newest first.
    pub async fn list_follow_ups(
        &self,
        tenant_scope: TenantScope,
        filter: &FollowUpFilter,
        after: Option<FollowUpId>,
        limit: u16,
    ) -> Result<Page<FollowUp, FollowUpId>, Error> {
        let items = self
            .db
            .list_follow_ups(tenant_scope, filter, after, limit)
            .await?;
        Ok(Page::cut(items, limit, |item| item.id))
    }

    /// Steers one row of the schedule. `Ok(None)`: no such row, or what it is about is settled.
    pub async fn steer_follow_up(
        &self,
        identity: &Identity,
        id: FollowUpId,
        steering: &FollowUpAction,
    ) -> Result<Option<FollowUp>, Error> {
        let steered = self
            .db
            .steer_follow_up(identity.tenant_scope, identity.api_key_id, id, steering)
            .await?;
        if steered.is_some() {
            tracing::info!(follow_up.id = %id, api_key.id = %identity.api_key_id, steering = steering.name(), "an operator steered a follow-up");
        }
        Ok(steered)
    }

    /// The payments and refunds that need a person, with the evidence, newest first, and the time by
    /// which they do.
    pub async fn list_unsettled(
        &self,
        tenant_scope: TenantScope,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<(Page<Unsettled, Uuid>, DateTime<Utc>), Error> {
        let items = self.db.list_unsettled(tenant_scope, after, limit).await?;
        let now = self.db.now().await?;
        Ok((Page::cut(items, limit, |item| item.case.id()), now))
    }

    /// Records an operator's decision about a payment that needs one, or that Alipay contradicts: what
    /// was said is accepted, or the books stand. `Ok(None)`: no such payment.
    pub async fn resolve_payment(
        &self,
        identity: &Identity,
        id: PaymentId,
        resolution: Resolution,
        justification: &Justification,
    ) -> Result<Option<Payment>, Error> {
        let subject = Subject::Payment(id);
        let Some(merchant_id) = self.merchant_of(identity.tenant_scope, subject).await? else {
            return Ok(None);
        };
        let waiter = self.notifier.listen(id);
        let Some(payment) = self.db.payment(merchant_id, id).await? else {
            return Ok(None);
        };
        let now = self.now_by_database().await?;
        if !payment.may_be_decided(now) {
            return Err(needs_nobody(id));
        }
        let stands = resolution.says_what_is(&payment.state) && payment.canceling.is_none();
        if payment.contradicted_at.is_some() && stands {
            return self
                .let_books_stand(identity, &payment, justification)
                .await;
        }
        let update = Update {
            actor: Actor::ApiKey(identity.api_key_id),
            answered: None,
            told: Some(Told::Event(PaymentEvent::Resolved(resolution.clone()))),
            fence: None,
            reschedule: false,
            keep_to_cancel: false,
            owed: Owed::AsBefore,
            justification: Some(justification),
            now,
        };
        let before = payment.version;
        let payment = self
            .record(payment, &update, INSIST_ON_DECIDING)
            .await
            .map_err(unrecorded)?;
        // The truth, or another's decision, may have arrived in between; it wins.
        let is_decided = payment.is_settled() && resolution.says_what_is(&payment.state);
        if payment.version == before || !is_decided {
            return Err(not_decided(&payment, now));
        }
        tracing::warn!(payment.id = %id, api_key.id = %identity.api_key_id, ticket = %justification.ticket, status = payment.state.status(), "an operator resolved a payment");
        Ok(Some(waiter.newest(payment)))
    }

    /// Settles what Alipay said against a payment by a person's word that the books are right.
    async fn let_books_stand(
        &self,
        identity: &Identity,
        payment: &Payment,
        justification: &Justification,
    ) -> Result<Option<Payment>, Error> {
        let settlement = Settlement {
            actor: Actor::ApiKey(identity.api_key_id),
            attempt_id: None,
            justification: Some(justification),
            gateway_at: self.clock.now(),
        };
        let settled = self
            .db
            .settle_payment_contradictions(payment, &settlement)
            .await?;
        if !settled {
            return Err(needs_nobody(payment.id));
        }
        tracing::warn!(payment.id = %payment.id, api_key.id = %identity.api_key_id, ticket = %justification.ticket, "an operator settled what contradicts a payment: the books stand");
        let read = self.db.payment(payment.merchant_id, payment.id).await;
        read.map_err(|error| Error::from(error).after_begin())
    }

    /// Whose object it is that somebody with this reach names; `None` where the operator names nothing.
    /// A merchant can only mean its own: whether it has it shows when it is read.
    pub(in crate::app) async fn merchant_of(
        &self,
        tenant_scope: TenantScope,
        subject: Subject,
    ) -> Result<Option<MerchantId>, Error> {
        match tenant_scope {
            TenantScope::Merchant(id) => Ok(Some(id)),
            TenantScope::Operator => Ok(self.db.merchant_of(subject).await?),
        }
    }

    async fn now_by_database(&self) -> Result<DateTime<Utc>, Error> {
        Ok(self.db.now().await?)
    }
}

fn needs_nobody(payment_id: PaymentId) -> Error {
    Error::InvalidState {
        subject: Subject::Payment(payment_id),
        detail: "the payment needs nobody's decision; what does is on GET /v1/unresolved",
    }
}

/// Why a decision about a payment that needed one was not taken.
fn not_decided(payment: &Payment, now: DateTime<Utc>) -> Error {
    if !payment.may_be_decided(now) {
        return needs_nobody(payment.id);
    }
    Error::InvalidState {
        subject: Subject::Payment(payment.id),
        detail: match payment.state {
            PaymentState::Canceled { .. } => {
                "the payment is closed; a decision can only change its money_returned"
            }
            _ => "the payment was paid, which this decision does not fit",
        },
    }
}

pub(in crate::app) fn unrecorded(error: RecordError) -> Error {
    match error {
        // Alipay was asked, whatever becomes of its answer.
        RecordError::Db(error) => Error::from(error).after_begin(),
        RecordError::FenceLost | RecordError::Missing => Error::Internal(Box::new(error)),
    }
}

/// Whether an answer of this kind says where the trade stands.
pub(in crate::app) const fn tells_something(class: AnswerClass) -> bool {
    match class {
        AnswerClass::Success
        | AnswerClass::Pending
        | AnswerClass::Closed
        | AnswerClass::Declined
        | AnswerClass::NotFound => true,
        AnswerClass::UnknownCode
        | AnswerClass::AccessRefused
        | AnswerClass::SystemError
        | AnswerClass::ConnectFailed
        | AnswerClass::TimedOut
        | AnswerClass::ConnectionLost
        | AnswerClass::HttpStatus
        | AnswerClass::Malformed
        | AnswerClass::BadSignature
        | AnswerClass::Mismatch => false,
    }
}
