//! A refund as the pipeline takes it.

use chrono::{DateTime, Utc};

use super::{
    ask::{Begun, UpstreamCall},
    record::RefundUpdate,
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
        refunds::refund::{Refund, RefundEvent},
        transition::Actor,
    },
};

impl Tracked for Refund {
    type Update = RefundUpdate;
    type Call = UpstreamCall;
    type Begun = Begun;
    const QUERY: UpstreamCall = UpstreamCall::Query;

    fn name(&self) -> Subject {
        Subject::Refund(self.id)
    }

    fn merchant_id(&self) -> MerchantId {
        self.merchant_id
    }

    async fn read(&self, db: &Db) -> Result<Option<Self>, DbError> {
        db.refund(self.merchant_id, self.id).await
    }

    fn is_to_be_asked_again(&self) -> bool {
        self.is_newly_contradicted()
    }

    async fn begin(
        self,
        app: &App,
        initiator: Initiator,
        call: UpstreamCall,
    ) -> Result<Beginning<Begun>, Interrupted> {
        app.begin_refund(self, initiator, call).await
    }

    async fn ask(app: &App, begun: Begun, initiator: Initiator) -> Result<Told<Self>, RecordError> {
        app.ask_refund(begun, initiator).await
    }

    async fn write(&self, app: &App, update: &RefundUpdate) -> Result<Written<Self>, DbError> {
        app.write_refund_update(self, update).await
    }

    fn plan_exhausted(&self, lease_token: LeaseToken, now: DateTime<Utc>) -> RefundUpdate {
        RefundUpdate {
            event: Some(RefundEvent::PlanExhausted),
            lease_token: Some(lease_token),
            reschedule: true,
            ..RefundUpdate::none(Actor::FollowUp(lease_token.follow_up_id), now)
        }
    }
}
