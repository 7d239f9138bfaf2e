//! How much is let in: so many requests of a key in a second, so much work at once of a merchant and of
//! all, so many who wait. What is refused here was not begun; what was begun is never touched, and the
//! schedule, health and metrics do not pass here (`docs/invariants.md` Q8).
//!
//! Every bound is this replica's own.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{App, error::Error};
use crate::domain::{
    access::principal::Identity,
    admission::LoadLimits,
    id::{ApiKeyId, MerchantId},
};

/// Look-ups of keys that were not made here, at once: a flood of invented keys gets no more of the
/// database than this.
const LOOK_UPS: usize = 4;
/// How many more may wait for their turn.
const LOOK_UPS_WAITING: usize = 1024;

/// Who is let in.
#[derive(Debug)]
pub(super) struct AdmissionControl {
    rates: Option<DefaultKeyedRateLimiter<ApiKeyId>>,
    clock: DefaultClock,
    work: Arc<Semaphore>,
    by_merchant: Arc<Mutex<HashMap<MerchantId, usize>>>,
    work_per_merchant: usize,
    waiting: Semaphore,
    notifications: Semaphore,
    look_ups: Semaphore,
    look_ups_waiting: Semaphore,
}

/// A place among the work under way; given up when dropped, which is when the work ends, whether or
/// not anybody still waits for it.
#[derive(Debug)]
pub(super) struct Permit {
    _of_all: OwnedSemaphorePermit,
    merchant_id: MerchantId,
    by_merchant: Arc<Mutex<HashMap<MerchantId, usize>>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut by_merchant = self
            .by_merchant
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_merchant.get_mut(&self.merchant_id) {
            *count -= 1;
            if *count == 0 {
                by_merchant.remove(&self.merchant_id);
            }
        }
    }
}

impl AdmissionControl {
    pub(super) fn new(bounds: LoadLimits) -> Self {
        let rate = NonZeroU32::new(bounds.requests_per_second);
        let burst = NonZeroU32::new(bounds.burst);
        Self {
            rates: rate.map(|rate| {
                let quota = Quota::per_second(rate).allow_burst(burst.unwrap_or(rate));
                RateLimiter::keyed(quota)
            }),
            clock: DefaultClock::default(),
            work: Arc::new(Semaphore::new(bounds.work)),
            by_merchant: Arc::default(),
            work_per_merchant: bounds.work_per_merchant,
            waiting: Semaphore::new(bounds.waiting),
            notifications: Semaphore::new(bounds.notifications),
            look_ups: Semaphore::new(LOOK_UPS),
            look_ups_waiting: Semaphore::new(LOOK_UPS_WAITING),
        }
    }

    /// Counts a request of a key; says when to come again where there were too many.
    fn count(&self, id: ApiKeyId) -> Result<(), Duration> {
        let Some(rates) = &self.rates else {
            return Ok(());
        };
        rates
            .check_key(&id)
            .map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets keys that have not been used for a while.
    pub(super) fn forget_idle_keys(&self) {
        if let Some(rates) = &self.rates {
            rates.retain_recent();
            rates.shrink_to_fit();
        }
    }

    /// A place for work of a merchant that is about to begin.
    pub(super) fn enter(&self, merchant_id: MerchantId) -> Result<Permit, Error> {
        let of_all = Arc::clone(&self.work)
            .try_acquire_owned()
            .map_err(|_| refused("overloaded", Error::Overloaded))?;
        let mut by_merchant = self
            .by_merchant
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = by_merchant.entry(merchant_id).or_default();
        if *count >= self.work_per_merchant {
            return Err(refused("merchant_busy", Error::MerchantBusy));
        }
        *count += 1;
        Ok(Permit {
            _of_all: of_all,
            merchant_id,
            by_merchant: Arc::clone(&self.by_merchant),
        })
    }

    /// A place among those whose answers are held; without one the answer is given at once.
    pub(super) fn wait(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.waiting.try_acquire().ok()
    }

    /// A place for a notification; without one Alipay repeats it later.
    pub(super) fn take_notification(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Error> {
        self.notifications
            .try_acquire()
            .map_err(|_| refused("notification", Error::Overloaded))
    }

    /// A turn to look up a key that was not made here; refused where too many wait for theirs.
    pub(super) async fn look_up(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Error> {
        let busy = |_| refused("look_up", Error::Overloaded);
        let waiting = self.look_ups_waiting.try_acquire().map_err(busy)?;
        let turn = self.look_ups.acquire().await;
        drop(waiting);
        turn.map_err(|_| Error::Overloaded)
    }
}

fn refused(why: &'static str, error: Error) -> Error {
    metrics::counter!("requests_refused_total", "reason" => why).increment(1);
    error
}

impl App {
    /// Lets a request of a known caller in, or says when to come again.
    pub fn admit(&self, identity: &Identity) -> Result<(), Error> {
        self.admission.count(identity.api_key_id).map_err(|wait| {
            // Whole seconds, rounded up: earlier would be in vain.
            let retry_after_seconds = u32::try_from(wait.as_secs())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            let error = Error::RateLimited {
                retry_after_seconds,
            };
            refused("rate_limited", error)
        })
    }

    /// What is to be done now and then: idle keys are forgotten.
    pub fn upkeep(&self) {
        self.admission.forget_idle_keys();
    }
}

/// Describes the metrics of this module.
pub(super) fn describe_metrics() {
    metrics::describe_counter!(
        "requests_refused_total",
        "Requests that were refused before anything was begun: rate_limited, merchant_busy, overloaded, notification, look_up"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(work: usize, work_per_merchant: usize, burst: u32) -> AdmissionControl {
        AdmissionControl::new(LoadLimits {
            requests_per_second: 1,
            burst,
            work,
            work_per_merchant,
            ..LoadLimits::default()
        })
    }

    #[test]
    fn q8_a_place_is_given_up_when_the_work_ends() {
        let admission = admission(3, 2, 1);
        let (one, other) = (MerchantId::mint(), MerchantId::mint());
        let first = admission.enter(one).expect("a place");
        let _second = admission.enter(one).expect("a place");
        assert!(matches!(admission.enter(one), Err(Error::MerchantBusy)));
        let _third = admission.enter(other).expect("another merchant's place");
        assert!(matches!(admission.enter(other), Err(Error::Overloaded)));
        drop(first);
        let _again = admission.enter(one).expect("the place that was given up");
        assert!(matches!(admission.enter(other), Err(Error::Overloaded)));
    }

    #[test]
    fn q8_a_busy_merchant_leaves_no_place_behind() {
        let admission = admission(2, 1, 1);
        let merchant = MerchantId::mint();
        let place = admission.enter(merchant).expect("a place");
        for _ in 0..10 {
            assert!(matches!(
                admission.enter(merchant),
                Err(Error::MerchantBusy)
            ));
        }
        drop(place);
        assert_eq!(admission.work.available_permits(), 2);
        assert!(admission.by_merchant.lock().expect("free").is_empty());
    }

    #[tokio::test]
    async fn q8_look_ups_of_invented_keys_wait_in_a_bounded_queue() {
        let admission = admission(1, 1, 1);
        let mut turns = vec![];
        for _ in 0..LOOK_UPS {
            turns.push(admission.look_up().await.expect("a turn"));
        }
        let places = admission
            .look_ups_waiting
            .try_acquire_many(u32::try_from(LOOK_UPS_WAITING).expect("a small number"))
            .expect("nobody waits");
        assert!(matches!(admission.look_up().await, Err(Error::Overloaded)));
        drop(places);
        drop(turns.pop());
        let _turn = admission
            .look_up()
            .await
            .expect("the turn that was given up");
    }

    #[test]
    fn q8_each_key_has_a_rate_of_its_own_and_zero_does_not_limit() {
        let limited = admission(1, 1, 2);
        let (one, other) = (ApiKeyId::mint(), ApiKeyId::mint());
        assert_eq!(limited.count(one), Ok(()));
        assert_eq!(limited.count(one), Ok(()));
        let wait = limited.count(one).expect_err("too many");
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(limited.count(other), Ok(()));
        let unlimited = AdmissionControl::new(LoadLimits {
            requests_per_second: 0,
            ..LoadLimits::default()
        });
        for _ in 0..1_000 {
            assert_eq!(unlimited.count(one), Ok(()));
        }
    }
}
