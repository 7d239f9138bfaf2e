//! Notifications: what Alipay posts to the merchant once an asynchronous refund has succeeded, and
//! posts again until the merchant says `success` (`docs/protocol.md` 8).
//!
//! Pure, like the book: what is due follows from the simulator's clock alone. [`courier`] does the
//! posting. A clock that jumps over several attempts of a notification makes all of them due: they
//! are sent one after the other, in the order of their instants and each with its own `notify_time`,
//! until one of them is acknowledged.

pub(crate) mod client;
pub(crate) mod courier;
pub(crate) mod fault;
mod form;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use self::fault::{NotificationFault, NotificationFaultRule};
use crate::{
    book::{Refund, Trade},
    request::NotifyTo,
};

/// When a notification is sent, counted from the success: gaps of 2 m, 10 m, 10 m, 1 h, 2 h, 6 h and
/// 15 h (`docs/protocol.md` 8).
const SCHEDULE: [TimeDelta; 8] = [
    TimeDelta::zero(),
    TimeDelta::minutes(2),
    TimeDelta::minutes(12),
    TimeDelta::minutes(22),
    TimeDelta::minutes(82),
    TimeDelta::minutes(202),
    TimeDelta::minutes(562),
    TimeDelta::minutes(1462),
];

/// Whether notifications are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// When they are due.
    On,
    /// Not now: they come late, when the mode is `on` again.
    Hold,
    /// Not at all: what succeeds now is never reported.
    Off,
}

/// How a notification looks: no document shows that of this product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shape {
    /// As five clients of the family read it: `refundFPAction`, the refund's id as `out_biz_no`, and in
    /// `refund_fee` what was refunded so far (`docs/protocol.md` 8).
    Family,
    /// The names of the synchronous answers: an older guess.
    Answer,
}

impl Shape {
    fn notify_type(self) -> &'static str {
        match self {
            Self::Family => "trade_status_sync",
            Self::Answer => "refund_status_sync",
        }
    }
}

/// What is reported, to whom: unchanged over all attempts.
#[derive(Debug)]
pub(crate) struct Announcement {
    pub(crate) notify_id: String,
    pub(crate) refund: Refund,
    /// As it stood when the refund was done.
    trade: Trade,
    notify_to: NotifyTo,
    /// What the schedule counts from.
    pub(crate) at: DateTime<Utc>,
}

/// One refund's success, as it is reported.
#[derive(Debug)]
pub(crate) struct Notification {
    pub(crate) about: Arc<Announcement>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) acknowledged_at: Option<DateTime<Utc>>,
    /// The next attempt of the schedule, if there is one.
    pub(crate) next_at: Option<DateTime<Utc>>,
    /// How many attempts of the schedule were made.
    scheduled: usize,
}

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// When it was due: the instant in `notify_time`.
    pub(crate) at: DateTime<Utc>,
    pub(crate) sent_at: Option<DateTime<Utc>>,
    /// What was wrong with it.
    pub(crate) fault: Option<NotificationFault>,
    pub(crate) result: AttemptResult,
    /// The HTTP status of the answer.
    pub(crate) status: Option<u16>,
    /// The beginning of the answer's body, or why there is none.
    pub(crate) body: Option<String>,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AttemptResult {
    /// Waits until a later one was sent.
    SetAside,
    /// Under way.
    Sending,
    /// The merchant said `success`.
    Acknowledged,
    /// The merchant said something else.
    NotAcknowledged,
    /// The merchant said nothing.
    NoAnswer,
    /// Lost on purpose.
    Lost,
    /// The URL is not on this machine; nothing was sent.
    Undeliverable,
}

/// Something to be posted.
#[derive(Debug)]
pub(crate) struct Parcel {
    index: usize,
    attempt: usize,
    notify_time: DateTime<Utc>,
    fault: Option<NotificationFault>,
    shape: Shape,
    notify_type: String,
    about: Arc<Announcement>,
}

/// All notifications, and how the next ones go.
pub(crate) struct Notifications {
    list: Vec<Notification>,
    by_id: HashMap<String, usize>,
    /// The latest of each refund.
    by_refund: HashMap<String, usize>,
    due: BTreeSet<(DateTime<Utc>, usize)>,
    /// To be sent after whatever is sent next.
    set_aside: Vec<Parcel>,
    /// Set aside long enough.
    overtaken: VecDeque<Parcel>,
    pub(crate) mode: Mode,
    /// How those look that are sent from now on.
    pub(crate) shape: Shape,
    /// Their `notify_type`, if it is another than that of their shape.
    pub(crate) notify_type: Option<String>,
    pub(crate) faults: Vec<NotificationFaultRule>,
}

impl Notifications {
    pub(crate) fn new() -> Self {
        Self {
            list: Vec::new(),
            by_id: HashMap::new(),
            by_refund: HashMap::new(),
            due: BTreeSet::new(),
            set_aside: Vec::new(),
            overtaken: VecDeque::new(),
            mode: Mode::On,
            shape: Shape::Family,
            notify_type: None,
            faults: Vec::new(),
        }
    }

    /// The `notify_type` of those sent from now on.
    pub(crate) fn notify_type(&self) -> &str {
        let own = self.notify_type.as_deref();
        own.unwrap_or_else(|| self.shape.notify_type())
    }

    /// Begins to report a refund. `None` when it carries no URL, or nothing is reported.
    pub(crate) fn announce(
        &mut self,
        at: DateTime<Utc>,
        refund: Refund,
        trade: Trade,
    ) -> Option<&Notification> {
        let notify_to = refund.notify_to.clone()?;
        if self.mode == Mode::Off {
            return None;
        }
        let index = self.list.len();
        let notify_id = hex::encode(rand::random::<[u8; 16]>());
        self.by_id.insert(notify_id.clone(), index);
        self.by_refund
            .insert(refund.partner_refund_id.clone(), index);
        self.due.insert((at, index));
        self.list.push(Notification {
            about: Arc::new(Announcement {
                notify_id,
                refund,
                trade,
                notify_to,
                at,
            }),
            attempts: Vec::new(),
            acknowledged_at: None,
            next_at: Some(at),
            scheduled: 0,
        });
        self.list.last()
    }

    /// What is to be sent next, if anything is due at `now`.
    pub(crate) fn next(&mut self, now: DateTime<Utc>) -> Option<Parcel> {
        if self.mode != Mode::On {
            return None;
        }
        if let Some(parcel) = self.overtaken.pop_front() {
            return Some(parcel);
        }
        while let Some((at, index)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            let notification = &mut self.list[index];
            notification.scheduled += 1;
            notification.next_at = SCHEDULE
                .get(notification.scheduled)
                .map(|after| notification.about.at + *after);
            self.due.extend(notification.next_at.map(|at| (at, index)));
            if let Some(parcel) = self.pack(index, at) {
                return Some(parcel);
            }
        }
        None
    }

    /// Copies of a notification, whatever became of it: `times` new ones that are made `now`, or
    /// replays of its first attempt, byte for byte. `None`: no such notification.
    pub(crate) fn repeat(
        &mut self,
        now: DateTime<Utc>,
        notify_id: &str,
        times: usize,
        replay: bool,
    ) -> Option<Vec<Parcel>> {
        let index = *self.by_id.get(notify_id)?;
        let first = self.list[index].attempts.first().map(|attempt| attempt.at);
        let at = first.filter(|_| replay).unwrap_or(now);
        let parcels = (0..times).filter_map(|_| self.pack(index, at));
        Some(parcels.collect())
    }

    /// Makes an attempt, with the fault that is next. `None` where there is nothing to send now.
    fn pack(&mut self, index: usize, at: DateTime<Utc>) -> Option<Parcel> {
        let notify_type = self.notify_type().to_owned();
        let notification = &mut self.list[index];
        let fault = fault::take(
            &mut self.faults,
            &notification.about.refund.partner_refund_id,
        );
        let result = match fault {
            Some(NotificationFault::Lost) => AttemptResult::Lost,
            Some(NotificationFault::Reorder) => AttemptResult::SetAside,
            _ => AttemptResult::Sending,
        };
        let parcel = Parcel {
            index,
            attempt: notification.attempts.len(),
            notify_time: at,
            fault,
            shape: self.shape,
            notify_type,
            about: Arc::clone(&notification.about),
        };
        notification.attempts.push(Attempt {
            at,
            sent_at: None,
            fault,
            result,
            status: None,
            body: None,
        });
        match result {
            AttemptResult::Lost => None,
            AttemptResult::SetAside => {
                self.set_aside.push(parcel);
                None
            }
            _ => {
                self.overtaken.extend(self.set_aside.drain(..));
                Some(parcel)
            }
        }
    }

    /// Notes what became of a parcel, unless all was forgotten meanwhile.
    pub(crate) fn sent(&mut self, now: DateTime<Utc>, parcel: &Parcel, answer: Answer) {
        let id = &parcel.about.notify_id;
        if self.by_id.get(id) != Some(&parcel.index) {
            return;
        }
        let notification = &mut self.list[parcel.index];
        let stops = matches!(
            answer.result,
            AttemptResult::Acknowledged | AttemptResult::Undeliverable
        );
        if stops && let Some(next_at) = notification.next_at.take() {
            self.due.remove(&(next_at, parcel.index));
        }
        if answer.result == AttemptResult::Acknowledged {
            notification.acknowledged_at.get_or_insert(now);
        }
        if let Some(attempt) = notification.attempts.get_mut(parcel.attempt) {
            attempt.sent_at = Some(now);
            attempt.result = answer.result;
            attempt.status = answer.status;
            attempt.body = answer.body;
        }
    }

    /// Whether a notification is Alipay's: until it is acknowledged (`docs/protocol.md` 3.6).
    pub(crate) fn verify(&self, notify_id: &str) -> bool {
        self.by_id(notify_id)
            .is_some_and(|notification| notification.acknowledged_at.is_none())
    }

    pub(crate) fn by_id(&self, notify_id: &str) -> Option<&Notification> {
        Some(&self.list[*self.by_id.get(notify_id)?])
    }

    /// The latest notification of a refund.
    pub(crate) fn of_refund(&self, partner_refund_id: &str) -> Option<&Notification> {
        Some(&self.list[*self.by_refund.get(partner_refund_id)?])
    }

    /// All of them, in the order in which they were announced.
    pub(crate) fn list(&self) -> &[Notification] {
        &self.list
    }
}

impl Notification {
    /// `waiting` for its next attempt, `acknowledged`, `undeliverable`, or `exhausted`.
    pub(crate) fn state(&self) -> &'static str {
        let undeliverable = |attempt: &Attempt| attempt.result == AttemptResult::Undeliverable;
        if self.acknowledged_at.is_some() {
            "acknowledged"
        } else if self.next_at.is_some() {
            "waiting"
        } else if self.attempts.iter().any(undeliverable) {
            "undeliverable"
        } else {
            "exhausted"
        }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    result: AttemptResult,
    status: Option<u16>,
    body: Option<String>,
}

impl Answer {
    /// The merchant answered. Only `success`, in any case, is an acknowledgement.
    fn received(status: u16, body: &str) -> Self {
        let acknowledged = status == 200 && body.trim().eq_ignore_ascii_case("success");
        Self {
            result: if acknowledged {
                AttemptResult::Acknowledged
            } else {
                AttemptResult::NotAcknowledged
            },
            status: Some(status),
            body: Some(body.chars().take(BODY_KEPT).collect()),
        }
    }

    fn none(why: String) -> Self {
        Self {
            result: AttemptResult::NoAnswer,
            status: None,
            body: Some(why),
        }
    }

    fn undeliverable() -> Self {
        let why = "only http to a loopback address is delivered";
        Self {
            result: AttemptResult::Undeliverable,
            status: None,
            body: Some(why.to_owned()),
        }
    }
}

/// How many characters of an answer are kept.
const BODY_KEPT: usize = 200;
