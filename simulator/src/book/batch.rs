//! The nightly batch: who waits for it, who is in it, and what time does to both.
//!
//! Refunds are looked at once a night, not once a reading: reading the book costs nothing while
//! nothing is due, however many refunds wait and for however long.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::{
    Book,
    policy::{InWindow, RefundPolicy, closing, next_opening, open_since},
    refund::{BALANCE_TOO_LOW, Refund, RefundStatus},
};
use crate::clock::beijing_time;

/// How long Alipay retries a refund for which the merchant's money is short.
const RETRY_LIFE: TimeDelta = TimeDelta::days(180);

/// The refunds that no one has finished yet, by their number in the book.
#[derive(Default)]
pub(super) struct Batches {
    /// Waiting for a night, in the order of their acceptance.
    waiting: BTreeSet<(DateTime<Utc>, usize)>,
    /// In the batch, by the instant at which the batch is done with each.
    placed: BTreeSet<(DateTime<Utc>, usize)>,
    /// The first opening that nobody has seen yet; of no meaning while nothing waits.
    opens_at: DateTime<Utc>,
    tonight: Tonight,
}

/// The batch that opened last.
#[derive(Default)]
struct Tonight {
    opened_at: DateTime<Utc>,
    /// When it is done with all that it has taken.
    free_at: DateTime<Utc>,
    /// How many more it will get done, if not all.
    left: Option<u32>,
}

/// What happens next.
enum Step {
    /// The batch is done with this refund.
    Finish(usize),
    /// A batch opens.
    Open,
    /// Alipay gives this refund up.
    GiveUp(usize),
}

impl Batches {
    fn next_step(&self) -> Option<(DateTime<Utc>, Step)> {
        let finish = self
            .placed
            .first()
            .map(|(at, number)| (*at, Step::Finish(*number)));
        let (open, give_up) = match self.waiting.first() {
            Some((accepted_at, number)) => (
                Some((self.opens_at, Step::Open)),
                Some((*accepted_at + RETRY_LIFE, Step::GiveUp(*number))),
            ),
            None => (None, None),
        };
        // The first of equals: what is begun is finished before anything else.
        [finish, open, give_up]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    fn wait(&mut self, now: DateTime<Utc>, accepted_at: DateTime<Utc>, number: usize) {
        let opens_at = next_opening(now);
        self.opens_at = if self.waiting.is_empty() {
            opens_at
        } else {
            // Earlier only where somebody has put the clock back.
            self.opens_at.min(opens_at)
        };
        self.waiting.insert((accepted_at, number));
    }

    /// Takes a refund out, as if it were done.
    pub(super) fn forget(&mut self, number: usize, refund: &Refund) {
        self.waiting.remove(&(refund.accepted_at, number));
        if let Some(at) = refund.done_at {
            self.placed.remove(&(at, number));
        }
    }

    /// When something happens to a refund that is processed.
    pub(super) fn next_try(&self, refund: &Refund) -> DateTime<Utc> {
        refund.done_at.unwrap_or(self.opens_at)
    }
}

impl Tonight {
    fn opened(at: DateTime<Utc>, policy: &RefundPolicy) -> Self {
        Self {
            opened_at: at,
            free_at: at,
            left: policy.batch_limit,
        }
    }

    /// Tries a refund at `at`: when the batch is done with it, if it takes it.
    fn place(
        &mut self,
        at: DateTime<Utc>,
        refund: &mut Refund,
        policy: &RefundPolicy,
    ) -> Option<DateTime<Utc>> {
        if !policy.funds_sufficient || refund.batches_tried < refund.plan.short_nights {
            refund.batches_tried += 1;
            refund.error_code = Some(BALANCE_TOO_LOW.into());
            return None;
        }
        let work = TimeDelta::seconds(policy.batch_delay_seconds.into());
        let done_at = self.free_at.max(at) + work;
        if self.left == Some(0) || done_at > closing(self.opened_at) {
            return None;
        }
        self.left = self.left.map(|left| left - 1);
        self.free_at = done_at;
        refund.batches_tried += 1;
        refund.done_at = Some(done_at);
        Some(done_at)
    }
}

fn beijing_day(at: DateTime<Utc>) -> NaiveDate {
    beijing_time(at).date()
}

impl Book {
    /// Lets an asynchronous refund run when its policy says: at once, in the batch that is open, or
    /// in one that will open.
    pub(super) fn enqueue(
        &mut self,
        now: DateTime<Utc>,
        number: usize,
        paid_at: Option<DateTime<Utc>>,
    ) {
        let same_day = paid_at.map(beijing_day) == Some(beijing_day(now));
        let plan = &self.refunds[number].plan;
        if same_day && self.policy.same_day_immediate && !plan.batch_only {
            if self.policy.funds_sufficient && plan.short_nights == 0 {
                return self.finish(now, number);
            }
            self.refunds[number].error_code = Some(BALANCE_TOO_LOW.into());
        } else if self.policy.in_window == InWindow::RunsNow
            && let Some(opened_at) = open_since(now)
        {
            let (batches, refund) = (&mut self.batches, &mut self.refunds[number]);
            if batches.tonight.opened_at != opened_at {
                batches.tonight = Tonight::opened(opened_at, &self.policy);
            }
            if let Some(done_at) = batches.tonight.place(now, refund, &self.policy) {
                batches.placed.insert((done_at, number));
                return self.settle_refunds(now);
            }
        }
        let accepted_at = self.refunds[number].accepted_at;
        self.batches.wait(now, accepted_at, number);
    }

    /// Books what the nights until `now` did.
    pub(super) fn settle_refunds(&mut self, now: DateTime<Utc>) {
        while let Some((at, step)) = self.batches.next_step()
            && at <= now
        {
            match step {
                Step::Finish(number) => {
                    self.batches.placed.pop_first();
                    self.finish(at, number);
                }
                Step::Open => self.open_batch(at),
                Step::GiveUp(number) => {
                    self.batches.waiting.pop_first();
                    let code = self.refunds[number].error_code.clone();
                    self.end(at, number, RefundStatus::Failed, code);
                }
            }
        }
    }

    fn open_batch(&mut self, at: DateTime<Utc>) {
        let Batches {
            waiting,
            placed,
            opens_at,
            tonight,
        } = &mut self.batches;
        *tonight = Tonight::opened(at, &self.policy);
        *opens_at = at + TimeDelta::days(1);
        let refunds = &mut self.refunds;
        waiting.retain(|(_, number)| {
            match tonight.place(at, &mut refunds[*number], &self.policy) {
                Some(done_at) => {
                    placed.insert((done_at, *number));
                    false
                }
                None => true,
            }
        });
    }

    fn finish(&mut self, at: DateTime<Utc>, number: usize) {
        match self.refunds[number].plan.fails_with.clone() {
            Some(code) => self.end(at, number, RefundStatus::Failed, Some(code)),
            None => self.end(at, number, RefundStatus::Success, None),
        }
    }
}
