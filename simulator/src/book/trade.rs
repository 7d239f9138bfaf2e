//! A trade, and what time does to it.

use chrono::{DateTime, TimeDelta, Utc};

use super::script::{Buyer, RefundScript};
use crate::{clock::end_of_beijing_day, request::Place};

/// How long an unpaid trade lives (`docs/protocol.md` 5.4).
const UNPAID_LIFE: TimeDelta = TimeDelta::minutes(3);
/// How long an unpaid trade may be cancelled, over midnight too (`docs/protocol.md` 5.5).
const UNPAID_CANCEL_BUFFER: TimeDelta = TimeDelta::minutes(15);

/// Where a trade stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The buyer has to confirm.
    WaitBuyerPay,
    /// The money is taken.
    TradeSuccess,
    /// Expired, cancelled or fully refunded.
    TradeClosed,
}

impl Status {
    /// The spelling on the wire.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::WaitBuyerPay => "WAIT_BUYER_PAY",
            Self::TradeSuccess => "TRADE_SUCCESS",
            Self::TradeClosed => "TRADE_CLOSED",
        }
    }
}

/// Why a trade was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// Three minutes passed.
    Expired,
    /// The buyer said no.
    Dismissed,
    /// Cancelled before it was paid.
    CancelledUnpaid,
    /// Cancelled after it was paid: the money went back.
    CancelledPaid,
    /// Refunds add up to the amount.
    Refunded,
    /// Alipay closed it after it was paid, and returned what was left of the money.
    AlipayReturned,
    /// Alipay closed it after it was paid, and kept the money.
    AlipayKept,
}

impl CloseReason {
    /// The spelling in the control API.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Dismissed => "dismissed",
            Self::CancelledUnpaid => "canceled_unpaid",
            Self::CancelledPaid => "canceled_paid",
            Self::Refunded => "refunded",
            Self::AlipayReturned => "closed_returned",
            Self::AlipayKept => "closed_kept",
        }
    }
}

/// One trade.
#[derive(Clone, Debug)]
pub(crate) struct Trade {
    pub(crate) partner_trans_id: String,
    pub(crate) alipay_trans_id: String,
    pub(crate) buyer_user_id: String,
    pub(crate) amount_minor: i64,
    pub(crate) currency: String,
    pub(crate) payment_inst: &'static str,
    pub(crate) place: Place,
    pub(crate) status: Status,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) paid_at: Option<DateTime<Utc>>,
    pub(crate) closed_at: Option<DateTime<Utc>>,
    pub(crate) close_reason: Option<CloseReason>,
    /// Money that went back, by refunds or by a cancel.
    pub(crate) refunded_minor: i64,
    /// What of it went back when the trade was closed: by a cancel, or by Alipay itself.
    pub(crate) canceled_minor: i64,
    /// Money that accepted refunds will send back.
    pub(crate) refund_pending_minor: i64,
    /// How its refunds go, if the code of the payment chose that.
    pub(crate) refunds: Option<&'static RefundScript>,
    /// What the buyer will do, if time comes to it.
    pub(super) buyer: Buyer,
}

impl Trade {
    /// Books what has happened until `now`.
    pub(super) fn settle(&mut self, now: DateTime<Utc>) {
        if self.status != Status::WaitBuyerPay {
            return;
        }
        let expiry = self.created_at + UNPAID_LIFE;
        let act = match self.buyer {
            Buyer::PaysAtOnce | Buyer::NeverActs => None,
            Buyer::ConfirmsAfter(seconds) => Some((seconds, true)),
            Buyer::DismissesAfter(seconds) => Some((seconds, false)),
        };
        let act = act
            .map(|(seconds, pays)| (self.created_at + TimeDelta::seconds(seconds), pays))
            .filter(|(at, _)| *at <= now && *at < expiry);
        match act {
            Some((at, true)) => self.pay(at),
            Some((at, false)) => self.close(at, CloseReason::Dismissed),
            None if expiry <= now => self.close(expiry, CloseReason::Expired),
            None => {}
        }
    }

    pub(super) fn pay(&mut self, at: DateTime<Utc>) {
        self.status = Status::TradeSuccess;
        self.paid_at = Some(at);
    }

    pub(super) fn close(&mut self, at: DateTime<Utc>, reason: CloseReason) {
        self.status = Status::TradeClosed;
        self.closed_at = Some(at);
        self.close_reason = Some(reason);
    }

    /// Alipay closes it after it was paid, and returns what no refund holds, or nothing.
    pub(super) fn close_by_alipay(&mut self, at: DateTime<Utc>, return_money: bool) {
        if return_money {
            self.canceled_minor =
                self.amount_minor - self.refunded_minor - self.refund_pending_minor;
            self.refunded_minor += self.canceled_minor;
            self.close(at, CloseReason::AlipayReturned);
        } else {
            self.close(at, CloseReason::AlipayKept);
        }
    }

    /// Whether money went back or will, by a refund and not by a cancel.
    pub(super) fn has_refunds(&self) -> bool {
        self.refund_pending_minor > 0 || self.refunded_minor > self.canceled_minor
    }

    /// Books a refund that is done. The trade closes when all of its money is back.
    pub(super) fn give_back(&mut self, at: DateTime<Utc>, amount_minor: i64) {
        self.refunded_minor += amount_minor;
        if self.refunded_minor == self.amount_minor && self.status != Status::TradeClosed {
            self.close(at, CloseReason::Refunded);
        }
    }

    /// Books back a refund that had been done: its money is with the merchant again.
    pub(super) fn take_back(&mut self, amount_minor: i64) {
        self.refunded_minor -= amount_minor;
        if self.close_reason == Some(CloseReason::Refunded) {
            self.status = Status::TradeSuccess;
            self.closed_at = None;
            self.close_reason = None;
        }
    }

    /// Until when it may be cancelled: paid, to the end of its own day; unpaid, at least 15 minutes
    /// (the help centre's reading, `docs/protocol.md` 5.5).
    pub(super) fn cancellable_until(&self) -> DateTime<Utc> {
        let midnight = end_of_beijing_day(self.created_at);
        match self.status {
            Status::WaitBuyerPay => midnight.max(self.created_at + UNPAID_CANCEL_BUFFER),
            Status::TradeSuccess | Status::TradeClosed => midnight,
        }
    }
}
