//! Callers that hold the line for a payment: they are handed each change this replica records, and
//! look for themselves now and then for changes made by another.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::App;
use crate::domain::{id::PaymentId, payment::Payment};
use crate::failpoint::crashpoint;

/// How soon a waiting caller first looks for changes that another replica made; each later look
/// waits twice as long, up to [`LOOK_AT_LEAST_EVERY`].
const FIRST_LOOK_AFTER: Duration = Duration::from_millis(100);
/// The slowest pace of looking.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(1);

type Channels = Mutex<HashMap<PaymentId, watch::Sender<Option<Payment>>>>;

/// The payments somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Waiters(Arc<Channels>);

/// A place in the line; gives it up when dropped.
#[derive(Debug)]
pub(super) struct Waiter {
    id: PaymentId,
    channels: Arc<Channels>,
    changes: watch::Receiver<Option<Payment>>,
}

impl Waiters {
    /// Starts to listen for changes of a payment.
    pub(super) fn listen(&self, id: PaymentId) -> Waiter {
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
    pub(super) fn announce(&self, payment: &Payment) {
        let channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&payment.id) {
            channel.send_replace(Some(payment.clone()));
        }
    }
}

impl Drop for Waiter {
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
    /// Waits until `enough` holds of the payment, the deadline passes or the replica stops, and
    /// returns the newest state seen. Never fails: while the database is away, what was known stays the answer.
    pub(super) async fn wait_until(
        &self,
        mut waiter: Waiter,
        mut payment: Payment,
        deadline: Instant,
        enough: impl Fn(&Payment) -> bool,
    ) -> Payment {
        let mut pause = FIRST_LOOK_AFTER;
        while !enough(&payment) && Instant::now() < deadline {
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
                self.db
                    .payment(payment.merchant_id, payment.id)
                    .await
                    .ok()
                    .flatten()
            };
            if let Some(newer) = newer.filter(|newer| newer.version >= payment.version) {
                payment = newer;
            }
        }
        payment
    }
}
