//! Callers that hold the line for a payment or a refund: they are handed each change this replica
//! records, and look for themselves now and then for changes made by another.
//!
//! Whoever is about to answer listens too, from before it reads: what another caller was told
//! meanwhile is told to this one, so that no answer shows an older version than one already given.

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

use super::{App, pipeline::Tracked};
use crate::{
    domain::{
        id::{PaymentId, RefundId},
        payments::payment::Payment,
        refunds::refund::Refund,
    },
    failpoint::crashpoint,
};

/// How soon a waiting caller first looks for changes that another replica made; each later look
/// waits twice as long, up to [`LOOK_AT_LEAST_EVERY`].
const FIRST_LOOK_AFTER: Duration = Duration::from_millis(100);
/// The slowest pace of looking.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// What a caller can wait for.
pub(super) trait Awaited: Tracked {
    /// What names it.
    type Id: Copy + Debug + Eq + Hash;

    /// Its name.
    fn id(&self) -> Self::Id;

    /// Counts its changes.
    fn version(&self) -> i64;
}

impl Awaited for Payment {
    type Id = PaymentId;

    fn id(&self) -> PaymentId {
        self.id
    }

    fn version(&self) -> i64 {
        self.version
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
}

type Channels<T> = Mutex<HashMap<<T as Awaited>::Id, watch::Sender<Option<T>>>>;

/// What somebody waits for.
#[derive(Debug)]
pub(super) struct ChangeNotifier<T: Awaited>(Arc<Channels<T>>);

impl<T: Awaited> Default for ChangeNotifier<T> {
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

impl<T: Awaited> ChangeNotifier<T> {
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

    /// Hands a change to whoever waits for it and does not know a later one.
    pub(super) fn announce(&self, changed: &T) {
        let channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&changed.id()) {
            channel.send_if_modified(|known| {
                let is_news = known
                    .as_ref()
                    .is_none_or(|known| known.version() < changed.version());
                if is_news {
                    *known = Some(changed.clone());
                }
                is_news
            });
        }
    }

    /// What to show in place of what was read: the newest that was announced or shown to anybody who
    /// listens. Whoever listens is told of what was read in turn.
    pub(super) fn newest(&self, read: T) -> T {
        let known = {
            let channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let channel = channels.get(&read.id());
            channel.and_then(|channel| channel.borrow().clone())
        };
        match known {
            Some(known) if known.version() > read.version() => known,
            _ => {
                self.announce(&read);
                read
            }
        }
    }
}

impl<T: Awaited> Waiter<T> {
    /// [`ChangeNotifier::newest`] of what is listened to.
    pub(super) fn newest(&self, read: T) -> T {
        ChangeNotifier(Arc::clone(&self.channels)).newest(read)
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
        seen = waiter.newest(seen);
        // Where too many wait, the answer is what is known now.
        let Some(_place) = self.admission.wait() else {
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
                // A failed look is as good as none: the next one, or the caller's, will see.
                seen.read(&self.db).await.ok().flatten()
            };
            if let Some(newer) = newer.filter(|newer| newer.version() >= seen.version()) {
                seen = newer;
            }
        }
        waiter.newest(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::payments::payment::{PaymentState, tests::payment};

    fn version_of(payment: &Payment, version: i64) -> Payment {
        Payment {
            version,
            ..payment.clone()
        }
    }

    #[test]
    fn nobody_who_listens_shows_an_older_version_than_was_shown() {
        let notifier = ChangeNotifier::<Payment>::default();
        let payment = payment(PaymentState::Succeeded);
        let two = version_of(&payment, 2);
        let four = version_of(&payment, 4);
        let waiter = notifier.listen(payment.id);
        assert_eq!(waiter.newest(two.clone()), two);
        assert_eq!(notifier.newest(four.clone()), four, "read by somebody else");
        assert_eq!(waiter.newest(two.clone()), four);
        notifier.announce(&version_of(&payment, 3));
        assert_eq!(waiter.newest(two.clone()), four, "a late announcement");
        drop(waiter);
        assert!(notifier.0.lock().expect("a lock").is_empty());
        assert_eq!(notifier.newest(two.clone()), two, "nothing is remembered");
    }
}
