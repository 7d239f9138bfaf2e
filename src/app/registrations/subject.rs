//! A registration as the pipeline takes it.

use chrono::{DateTime, Utc};

use super::{ask::Begun, record::RegistrationUpdate};
use crate::{
    app::{
        App,
        error::{Interrupted, RecordError},
        pipeline::{Beginning, Initiator, Told, Tracked, Written},
    },
    db::{Db, error::Error as DbError},
    domain::{
        attempt::AttemptKind, follow_ups::lease::LeaseToken, follow_ups::schedule::Subject,
        id::MerchantId, registrations::Registration,
    },
};

impl Tracked for Registration {
    type Update = RegistrationUpdate;
    type Call = AttemptKind;
    type Begun = Begun;
    const QUERY: AttemptKind = AttemptKind::StoreStatus;

    fn name(&self) -> Subject {
        Subject::Registration(self.id)
    }

    fn merchant_id(&self) -> MerchantId {
        self.merchant_id
    }

    async fn read(&self, db: &Db) -> Result<Option<Self>, DbError> {
        db.registration(self.merchant_id, self.id).await
    }

    async fn begin(
        self,
        app: &App,
        initiator: Initiator,
        call: AttemptKind,
    ) -> Result<Beginning<Begun>, Interrupted> {
        app.begin_registration(self, initiator, call).await
    }

    async fn ask(app: &App, begun: Begun, initiator: Initiator) -> Result<Told<Self>, RecordError> {
        app.ask_registration(begun, initiator).await
    }

    async fn write(
        &self,
        app: &App,
        update: &RegistrationUpdate,
    ) -> Result<Written<Self>, DbError> {
        app.write_registration_update(self, update).await
    }

    fn plan_exhausted(&self, lease_token: LeaseToken, now: DateTime<Utc>) -> RegistrationUpdate {
        RegistrationUpdate::plan_exhausted(self, lease_token, now)
    }
}
