//! Registering a store, or changing what is registered: intent, call, record. The work is detached from
//! the caller, so that one who hangs up changes nothing.

use std::sync::Arc;

use super::{
    StoreRef,
    ask::{Begun, UpstreamCall},
    only,
};
use crate::{
    app::{
        App,
        accounts::Account,
        deadline::Deadline,
        error::Error,
        insistence::Insistence,
        pipeline::Initiator,
        policy::{FIRST_REGISTRATION_QUERY_AFTER, INTENT, TRIES},
    },
    db::{
        error::Error as DbError,
        registrations::{SecondaryMerchantOwner, SubmissionIntent},
    },
    domain::{
        access::principal::{Identity, TenantScope},
        audit::AuditActor,
        follow_ups::schedule::Subject,
        id::{AttemptId, RegistrationId},
        registrations::{Decision, Fingerprint, PersonalData, Registration, StoreFacts},
    },
};

/// What somebody wants to be registered.
#[derive(Clone, Debug)]
pub struct RegistrationWish {
    /// What everybody may know of the store.
    pub facts: StoreFacts,
    /// Who is behind it.
    pub personal: PersonalData,
}

/// What became of a wish.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The registration as it stands.
    pub registration: Registration,
    /// Whether nothing was asked, since this is what was sent last.
    pub is_unchanged: bool,
}

/// A wish under the identity it was given when it came in.
struct Incoming {
    wish: RegistrationWish,
    secondary_merchant_id: String,
    store_id: String,
    owner: SecondaryMerchantOwner,
    account: Arc<Account>,
    fingerprint: Fingerprint,
    drivers: Option<Fingerprint>,
    identity: Identity,
    by: AuditActor,
}

/// What the database says of a wish.
enum IntentOutcome {
    /// Committed, and to be sent.
    New(Box<Begun>),
    /// What was sent last is just this.
    Unchanged(Box<Registration>),
}

impl App {
    /// Registers a store with Alipay, or changes what is registered. The answer is awaited for as long as
    /// the call may take; the work goes on whatever happens to the caller. `Ok(None)`: no merchant within
    /// reach is this secondary merchant.
    pub async fn register_store(
        &self,
        identity: &Identity,
        by: &AuditActor,
        store: StoreRef<'_>,
        wish: RegistrationWish,
    ) -> Result<Option<Registered>, Error> {
        let found = self
            .db
            .secondary_merchant(
                identity.tenant_scope,
                store.merchant_id,
                store.secondary_merchant_id,
            )
            .await?;
        let Some(owner) = only(found)? else {
            return Ok(None);
        };
        let account = self.account(&owner.partner)?;
        let (secondary_merchant_id, store_id) = (store.secondary_merchant_id, store.store_id);
        let incoming = Incoming {
            fingerprint: self
                .secret
                .submission_fingerprint(&wish.facts, &wish.personal),
            drivers: self.secret.drivers_fingerprint(&wish.personal.drivers),
            secondary_merchant_id: secondary_merchant_id.to_owned(),
            store_id: store_id.to_owned(),
            wish,
            owner,
            account,
            identity: identity.clone(),
            by: by.clone(),
        };
        let app = self.clone();
        let registered = self.detached_for(incoming.owner.merchant_id, async move {
            app.take_registration(incoming).await
        });
        registered.await.map(Some)
    }

    /// The detached work: writes the intent, calls Alipay, records.
    async fn take_registration(&self, incoming: Incoming) -> Result<Registered, Error> {
        let begun = match self.write_submission(&incoming).await? {
            IntentOutcome::New(begun) => begun,
            IntentOutcome::Unchanged(registration) => {
                return Ok(Registered {
                    registration: *registration,
                    is_unchanged: true,
                });
            }
        };
        let initiator = Initiator::Caller(incoming.identity.api_key_id);
        let submitted = begun.registration.clone();
        let registration = match self.ask_registration(*begun, initiator).await {
            Ok(told) => told.subject,
            Err(error) => {
                // Nothing is lost: the follow-up asks Alipay.
                tracing::error!(registration.id = %submitted.id, error = %error, "the answer was not recorded; the follow-up will ask");
                submitted
            }
        };
        Ok(Registered {
            registration,
            is_unchanged: false,
        })
    }

    /// Commits the intent, or finds that nothing is to be done, or what stands in its way.
    async fn write_submission(&self, incoming: &Incoming) -> Result<IntentOutcome, Error> {
        let merchant = TenantScope::Merchant(incoming.owner.merchant_id);
        let store = StoreRef {
            secondary_merchant_id: &incoming.secondary_merchant_id,
            store_id: &incoming.store_id,
            merchant_id: None,
        };
        let mut insistence = Insistence::lasting(INTENT);
        let mut changes = 0;
        while changes < TRIES {
            let existing = self.find_registration(merchant, store).await?;
            if let Some(existing) = &existing {
                let subject = Subject::Registration(existing.id);
                match existing.resolve_conflict(&incoming.fingerprint, incoming.drivers.as_ref()) {
                    Decision::Unchanged => {
                        return Ok(IntentOutcome::Unchanged(Box::new(existing.clone())));
                    }
                    Decision::ReviewUnderWay => return Err(Error::ReviewUnderWay { subject }),
                    Decision::DriversAreFixed => return Err(Error::DriversAreFixed { subject }),
                    Decision::Submit => {}
                }
            }
            match self.submit_once(incoming, existing.as_ref()).await {
                Ok(Some(begun)) => return Ok(IntentOutcome::New(Box::new(begun))),
                Ok(None) => changes += 1,
                Err(DbError::Constraint(name)) if name == "store_registration_partner_key" => {
                    return Err(Error::RegisteredForAnother);
                }
                // In doubt: what is there now is read again. If it is this submission, it was
                // committed, and the follow-up sends it.
                Err(error) => insistence.outlast(error).await?,
            }
        }
        Err(insistence.exhausted("the registration kept changing"))
    }

    async fn submit_once(
        &self,
        incoming: &Incoming,
        existing: Option<&Registration>,
    ) -> Result<Option<Begun>, DbError> {
        let decided = Deadline::start(&self.clock);
        let attempt_id = AttemptId::mint();
        let new_id = existing.map_or_else(RegistrationId::mint, |existing| existing.id);
        let sealed = self.secret.seal_people(new_id, &incoming.wish.personal);
        let masked = incoming.wish.personal.masked();
        let intent = SubmissionIntent {
            owner: &incoming.owner,
            new_id,
            expected_version: existing.map(|existing| existing.version),
            secondary_merchant_id: &incoming.secondary_merchant_id,
            store_id: &incoming.store_id,
            facts: &incoming.wish.facts,
            masked: &masked,
            sealed: &sealed,
            fingerprint: &incoming.fingerprint,
            drivers: incoming.drivers.as_ref(),
            attempt_id,
            api_key_id: incoming.identity.api_key_id,
            by: &incoming.by,
            first_check_after: FIRST_REGISTRATION_QUERY_AFTER,
            gateway_at: self.clock.now(),
        };
        let Some(committed) = self.db.submit_registration(&intent).await? else {
            return Ok(None);
        };
        let merchant_id = incoming.owner.merchant_id;
        let registration = self
            .db
            .registration(merchant_id, committed.id)
            .await
            .map_err(|error| error.after_doubt(true))?;
        Ok(registration.map(|registration| Begun {
            asked_at: registration.submission.submitted_at,
            registration,
            attempt_id,
            decided,
            account: Arc::clone(&incoming.account),
            ask: UpstreamCall::Submit(Box::new(incoming.wish.personal.clone())),
        }))
    }
}
