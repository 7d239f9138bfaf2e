//! A payment as the pipeline takes it.

use chrono::{DateTime, Utc};

use super::{
    ask::{Begun, UpstreamCall},
    outcome,
    record::Update,
};
use crate::{
    app::{
        App,
        error::{Interrupted, RecordError},
        pipeline::{Beginning, Initiator, Told, Tracked, Written},
    },
    db::{Db, error::Error as DbError},
    domain::{
        follow_ups::{lease::LeaseToken, schedule::Subject},
        id::MerchantId,
        payments::payment::{Payment, PaymentEvent},
        transition::Actor,
    },
};

impl Tracked for Payment {
    type Update = Update;
    type Call = UpstreamCall;
    type Begun = Begun;
    const QUERY: UpstreamCall = UpstreamCall::Query;

    fn name(&self) -> Subject {
        Subject::Payment(self.id)
    }

    fn merchant_id(&self) -> MerchantId {
        self.merchant_id
    }

    async fn read(&self, db: &Db) -> Result<Option<Self>, DbError> {
        db.payment(self.merchant_id, self.id).await
    }

    async fn begin(
        self,
        app: &App,
        initiator: Initiator,
        call: UpstreamCall,
    ) -> Result<Beginning<Begun>, Interrupted> {
        app.begin(self, initiator, call).await
    }

    async fn ask(app: &App, begun: Begun, initiator: Initiator) -> Result<Told<Self>, RecordError> {
        app.ask(begun, initiator).await
    }

    async fn write(&self, app: &App, update: &Update) -> Result<Written<Self>, DbError> {
        app.write_update(self, update).await
    }

    fn plan_exhausted(&self, lease_token: LeaseToken, now: DateTime<Utc>) -> Update {
        Update {
            told: Some(outcome::Told::Event(PaymentEvent::PlanExhausted)),
            lease_token: Some(lease_token),
            reschedule: true,
            ..Update::none(Actor::FollowUp(lease_token.follow_up_id), now)
        }
    }
}
