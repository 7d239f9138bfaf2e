//! Callers that hold the line for a payment or a refund: they are handed each change this replica
//! records, and look for themselves now and then for changes made by another.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::App;
use crate::{
    db::Db,
    domain::{
        id::{PaymentId, RefundId},
        payment::Payment,
        refund::Refund,
    },
    failpoint::crashpoint,
};

/// How soon a waiting caller first looks for changes that another replica made; each later look
/// waits twice as long, up to [`LOOK_AT_LEAST_EVERY`].
const FIRST_LOOK_AFTER: Duration = Duration::from_millis(100);
/// The slowest pace of looking.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// What a caller can wait for.
pub(super) trait Awaited: Clone + Debug + Send + Sync + Sized {
    /// What names it.
    type Id: Copy + Debug + Eq + Hash;

    /// Its name.
    fn id(&self) -> Self::Id;

    /// Counts its changes.
    fn version(&self) -> i64;

    /// Reads it again. A failed look is as good as none: the next one, or the caller's, will see.
    fn look(&self, db: &Db) -> impl Future<Output = Option<Self>> + Send;
}

impl Awaited for Payment {
    type Id = PaymentId;

    fn id(&self) -> PaymentId {
        self.id
    }

    fn version(&self) -> i64 {
        self.version
    }

    async fn look(&self, db: &Db) -> Option<Self> {
        db.payment(self.merchant_id, self.id).await.ok().flatten()
    }
}

impl Awaited for Refund {
    type Id = RefundId;

    fn id(&self) -> RefundId {
        self.id
    }

    fn version(&self) -> i64 {
        self.version
    }

    async fn look(&self, db: &Db) -> Option<Self> {
        db.refund(self.merchant_id, self.id).await.ok().flatten()
    }
}

type Channels<T> = Mutex<HashMap<<T as Awaited>::Id, watch::Sender<Option<T>>>>;

/// What somebody waits for.
#[derive(Debug)]
pub(super) struct Waiters<T: Awaited>(Arc<Channels<T>>);

impl<T: Awaited> Default for Waiters<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// A place in the line; gives it up when dropped.
#[derive(Debug)]
pub(super) struct Waiter<T: Awaited> {
    id: T::Id,
    channels: Arc<Channels<T>>,
    changes: watch::Receiver<Option<T>>,
}

impl<T: Awaited> Waiters<T> {
    /// Starts to listen for changes.
    pub(super) fn listen(&self, id: T::Id) -> Waiter<T> {
        let mut channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = channels
            .entry(id)
            .or_insert_with(|| watch::channel(None).0)
            .subscribe();
        Waiter {
            id,
            channels: Arc::clone(&self.0),
            changes,
        }
    }

    /// Hands a change to whoever waits for it.
    pub(super) fn announce(&self, changed: &T) {
        let channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&changed.id()) {
            channel.send_replace(Some(changed.clone()));
        }
    }
}

impl<T: Awaited> Drop for Waiter<T> {
    fn drop(&mut self) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        // This receiver still counts itself.
        if channels
            .get(&self.id)
            .is_some_and(|channel| channel.receiver_count() <= 1)
        {
            channels.remove(&self.id);
        }
    }
}

impl App {
    /// Waits until `enough` holds, the deadline passes or the replica stops, and returns the newest
    /// state seen. Never fails: while the database is away, what was known stays the answer.
    pub(super) async fn wait_until<T: Awaited>(
        &self,
        mut waiter: Waiter<T>,
        mut seen: T,
        deadline: Instant,
        enough: impl Fn(&T) -> bool,
    ) -> T {
        // Where too many wait, the answer is what is known now.
        let Some(_place) = self.gate.wait() else {
            return seen;
        };
        let mut pause = FIRST_LOOK_AFTER;
        while !enough(&seen) && Instant::now() < deadline {
            let look_at = deadline.min(Instant::now() + pause);
            pause = LOOK_AT_LEAST_EVERY.min(pause * 2);
            crashpoint!(self.db.failpoints, "wait.looking");
            let announced = tokio::select! {
                () = self.stopping.cancelled() => break,
                change = timeout_at(look_at, waiter.changes.changed()) => change.is_ok(),
            };
            let newer = if announced {
                waiter.changes.borrow_and_update().clone()
            } else {
                seen.look(&self.db).await
            };
            if let Some(newer) = newer.filter(|newer| newer.version() >= seen.version()) {
                seen = newer;
            }
        }
        seen
    }
}
