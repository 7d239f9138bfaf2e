//! Repeating a guarded statement until it is certain what became of it (`docs/invariants.md` R8).

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;

use super::{App, error::Error, policy};
use crate::{
    db::{
        Db, error::Error as DbError, payments::record::NewAttempt, recorded::Recorded,
        refunds::NewRefundAttempt,
    },
    domain::{
        follow_ups::lease::LeaseToken,
        id::{AttemptId, MerchantId},
    },
};

/// For how long a statement is repeated, and whether one of the series may have taken effect.
pub(super) struct Insistence {
    pauses: Box<dyn Iterator<Item = Duration> + Send>,
    until: Instant,
    was_in_doubt: bool,
}

impl Insistence {
    /// Repeats for at most so long in all.
    pub(super) fn lasting(insist_for: Duration) -> Self {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times()
            .build();
        Self {
            pauses: Box::new(pauses),
            until: Instant::now() + insist_for,
            was_in_doubt: false,
        }
    }

    /// Waits before the next try, or gives up with what is known by now: once in doubt, the series
    /// stays so.
    pub(super) async fn outlast(&mut self, error: DbError) -> Result<(), DbError> {
        self.was_in_doubt |= error.is_in_doubt();
        // Where something is in doubt, it is still looked for when no time is left to write.
        let may_repeat = match error {
            DbError::NoTimeLeft => self.was_in_doubt,
            _ => error.is_transient(),
        };
        if !may_repeat || !self.pause().await {
            return Err(error.after_doubt(self.was_in_doubt));
        }
        Ok(())
    }

    /// Waits a moment; not where no time is left.
    pub(super) async fn pause(&mut self) -> bool {
        let pause = self.pauses.next().unwrap_or_default();
        let is_in_time = Instant::now() + pause < self.until;
        if is_in_time {
            tokio::time::sleep(pause).await;
        }
        is_in_time
    }

    /// Whether a statement of the series may have taken effect without our knowing.
    pub(super) const fn was_in_doubt(&self) -> bool {
        self.was_in_doubt
    }

    /// The end of a series that ran out of tries.
    pub(super) fn exhausted(&self, why: &'static str) -> Error {
        if self.was_in_doubt {
            Error::InDoubt(why.into())
        } else {
            Error::Unavailable(why.into())
        }
    }
}

/// An intent to ask that is recognised by the id of its attempt.
pub(super) trait Intention: Sync {
    /// Whose it is, and the attempt that it makes.
    fn attempt(&self) -> (MerchantId, AttemptId);

    /// For how long it is insisted on: a worker comes again, and nobody is told anything.
    fn insist_for(&self) -> Duration;

    /// Writes it.
    fn write(&self, db: &Db) -> impl Future<Output = Result<Recorded, DbError>> + Send;
}

impl Intention for NewAttempt<'_> {
    fn attempt(&self) -> (MerchantId, AttemptId) {
        (self.merchant_id, self.attempt_id)
    }

    fn insist_for(&self) -> Duration {
        insist_for(self.lease_token)
    }

    async fn write(&self, db: &Db) -> Result<Recorded, DbError> {
        db.insert_attempt(self).await
    }
}

impl Intention for NewRefundAttempt<'_> {
    fn attempt(&self) -> (MerchantId, AttemptId) {
        (self.refund.merchant_id, self.attempt_id)
    }

    fn insist_for(&self) -> Duration {
        insist_for(self.lease_token)
    }

    async fn write(&self, db: &Db) -> Result<Recorded, DbError> {
        db.insert_refund_attempt(self).await
    }
}

const fn insist_for(worker: Option<LeaseToken>) -> Duration {
    match worker {
        Some(_) => Duration::ZERO,
        None => policy::INTENT,
    }
}

impl App {
    /// Commits an intent to ask. One whose commit is in doubt is looked for on another connection,
    /// and written again only where it is not there; what stays in doubt is told as such, and
    /// nothing is sent.
    pub(super) async fn commit_intention(
        &self,
        intention: &impl Intention,
    ) -> Result<Recorded, DbError> {
        let (merchant_id, attempt_id) = intention.attempt();
        let db = self.db.by(Instant::now() + policy::INTENT);
        let mut insistence = Insistence::lasting(intention.insist_for());
        loop {
            let refused = match intention.write(&db).await {
                Ok(Recorded::Written(at)) => return Ok(Recorded::Written(at)),
                Ok(refused) if !insistence.was_in_doubt() => return Ok(refused),
                // What stands in the way may be this very intent.
                Ok(refused) => Some(refused),
                Err(error) => {
                    insistence.outlast(error).await?;
                    None
                }
            };
            if !insistence.was_in_doubt() {
                continue;
            }
            match (db.attempt_sent_at(merchant_id, attempt_id).await, refused) {
                (Ok(Some(at)), _) => return Ok(Recorded::Written(at)),
                (Ok(None), Some(refused)) => return Ok(refused),
                (Ok(None), None) => {}
                (Err(error), _) => insistence.outlast(error).await?,
            }
        }
    }
}
