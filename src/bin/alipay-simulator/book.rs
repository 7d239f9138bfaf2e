//! Alipay's ledger: trades and refunds, and nothing else. It is pure: every operation takes `now`,
//! and what time has done (a buyer's confirmation, the three-minute close, a refund batch) is booked
//! with its own instant whenever the book is read.
//!
//! The rules are those of `protocol/operations.md` 1 and 2; where a document leaves a choice, the
//! comment at the rule says which was taken.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use rand::Rng as _;

use crate::{
    clock::{beijing_time, compact, end_of_beijing_day, from_beijing},
    request::{Pay, Refund as RefundRequest},
    scenario::{Buyer, Script},
};

/// How long an unpaid trade lives (`protocol/operations.md` 1.4).
const UNPAID_LIFE: TimeDelta = TimeDelta::minutes(3);
/// How long an unpaid trade may be cancelled, over midnight too (`protocol/operations.md` 1.5).
const UNPAID_CANCEL_BUFFER: TimeDelta = TimeDelta::minutes(15);
/// The contract's refund period; no document fixes it.
const REFUND_PERIOD: TimeDelta = TimeDelta::days(365);
/// How long Alipay retries a refund for which the merchant's money is short.
const REFUND_RETRY_LIFE: TimeDelta = TimeDelta::days(180);
/// A cancel that comes too late; the code that HK uses is not known (`protocol/wire.md` 3.2).
const LATE_CANCEL_CODE: &str = "TRADE_STATUS_ERROR";

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
    pub(crate) status: Status,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) paid_at: Option<DateTime<Utc>>,
    pub(crate) closed_at: Option<DateTime<Utc>>,
    pub(crate) close_reason: Option<CloseReason>,
    /// Money that went back, by refunds or by a cancel.
    pub(crate) refunded_minor: i64,
    /// What the buyer will do, if time comes to it.
    buyer: Buyer,
}

impl Trade {
    /// Books what has happened until `now`.
    fn settle(&mut self, now: DateTime<Utc>) {
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

    fn pay(&mut self, at: DateTime<Utc>) {
        self.status = Status::TradeSuccess;
        self.paid_at = Some(at);
    }

    fn close(&mut self, at: DateTime<Utc>, reason: CloseReason) {
        self.status = Status::TradeClosed;
        self.closed_at = Some(at);
        self.close_reason = Some(reason);
    }

    /// Until when it may be cancelled: paid, to the end of its own day; unpaid, at least 15 minutes
    /// (the help centre's reading, `protocol/operations.md` 1.5).
    fn cancellable_until(&self) -> DateTime<Utc> {
        let midnight = end_of_beijing_day(self.created_at);
        match self.status {
            Status::WaitBuyerPay => midnight.max(self.created_at + UNPAID_CANCEL_BUFFER),
            Status::TradeSuccess | Status::TradeClosed => midnight,
        }
    }
}

/// Where a refund stands. A refused request is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefundStatus {
    /// Accepted; tried again at this instant.
    Processing(DateTime<Utc>),
    /// The money went back.
    Success,
    /// Given up after 180 days without money.
    Failed,
}

impl RefundStatus {
    /// The spelling of `refund_result_code`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Processing(_) => "PROCESSING",
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
        }
    }
}

/// One refund.
#[derive(Clone, Debug)]
pub(crate) struct Refund {
    pub(crate) partner_refund_id: String,
    pub(crate) partner_trans_id: String,
    pub(crate) amount_minor: i64,
    pub(crate) currency: String,
    pub(crate) sync: bool,
    pub(crate) status: RefundStatus,
    pub(crate) accepted_at: DateTime<Utc>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
    /// Whether the last attempt found too little money.
    pub(crate) short_of_funds: bool,
}

/// How a pay request ended in the book.
#[derive(Clone, Debug)]
pub(crate) enum PayOutcome {
    /// A new trade, or the one that this id already had; its status is the answer.
    Trade {
        /// The trade.
        trade: Box<Trade>,
        /// Whether this request created it.
        created: bool,
    },
    /// Refused with this code.
    Refused(&'static str),
}

/// How a cancel ended: SUCCESS has three meanings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CancelOutcome {
    /// There was no trade.
    NeverCreated,
    /// The trade is closed and nobody paid.
    Closed {
        /// Alipay's id.
        trade_no: String,
        /// False when an earlier request did it, or time.
        now: bool,
    },
    /// The trade was paid and the money went back.
    Refunded {
        /// Alipay's id.
        trade_no: String,
        /// False when an earlier request did it.
        now: bool,
    },
    /// Too late, or refunds exist.
    Refused(&'static str),
}

/// How a refund request ended.
#[derive(Clone, Debug)]
pub(crate) enum RefundOutcome {
    /// Recorded, now or before; also the refund's trade.
    Accepted {
        /// The refund.
        refund: Box<Refund>,
        /// Alipay's id of the trade.
        alipay_trans_id: String,
        /// Whether this request recorded it.
        created: bool,
    },
    /// Refused with this code; nothing is recorded.
    Refused(&'static str),
}

/// How refunds behave; set by the control API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefundPolicy {
    /// Whether the merchant's balance covers refunds.
    pub(crate) funds_sufficient: bool,
    /// Whether an asynchronous refund on the day of the payment runs at once
    /// (`protocol/operations.md` 2.2: two documents, two answers).
    pub(crate) same_day_immediate: bool,
}

/// The ledger.
pub(crate) struct Book {
    trades: Vec<Trade>,
    by_partner_id: HashMap<String, usize>,
    by_alipay_id: HashMap<String, usize>,
    refunds: Vec<Refund>,
    policy: RefundPolicy,
    /// Makes the ids of two runs of the simulator differ.
    run: u32,
    sequence: u64,
}

impl Book {
    /// An empty ledger.
    pub(crate) fn new() -> Self {
        Self {
            trades: Vec::new(),
            by_partner_id: HashMap::new(),
            by_alipay_id: HashMap::new(),
            refunds: Vec::new(),
            policy: RefundPolicy {
                funds_sufficient: true,
                same_day_immediate: true,
            },
            run: rand::thread_rng().gen_range(0..1_000_000),
            sequence: 0,
        }
    }

    /// Books a payment request. It is idempotent on `partner_trans_id`: the same buyer and amount get
    /// the trade as it is now (`protocol/operations.md` 1.7).
    pub(crate) fn pay(&mut self, now: DateTime<Utc>, pay: &Pay, script: &Script) -> PayOutcome {
        if let Some(trade) = self.trade(now, &pay.partner_trans_id, None) {
            let trade = trade.clone();
            if trade.buyer_user_id != pay.buyer_user_id {
                return PayOutcome::Refused("TRADE_BUYER_NOT_MATCH");
            }
            if (trade.amount_minor, &trade.currency) != (pay.amount_minor, &pay.currency) {
                return PayOutcome::Refused("CONTEXT_INCONSISTENT");
            }
            if trade.status == Status::TradeClosed {
                return PayOutcome::Refused("TRADE_HAS_CLOSE");
            }
            return PayOutcome::Trade {
                trade: Box::new(trade),
                created: false,
            };
        }
        let mut trade = Trade {
            partner_trans_id: pay.partner_trans_id.clone(),
            alipay_trans_id: self.next_alipay_id(now),
            buyer_user_id: pay.buyer_user_id.clone(),
            amount_minor: pay.amount_minor,
            currency: pay.currency.clone(),
            payment_inst: script.wallet,
            status: Status::WaitBuyerPay,
            created_at: now,
            paid_at: None,
            closed_at: None,
            close_reason: None,
            refunded_minor: 0,
            buyer: script.buyer,
        };
        if script.buyer == Buyer::PaysAtOnce {
            trade.pay(now);
        }
        self.by_partner_id
            .insert(trade.partner_trans_id.clone(), self.trades.len());
        self.by_alipay_id
            .insert(trade.alipay_trans_id.clone(), self.trades.len());
        self.trades.push(trade.clone());
        PayOutcome::Trade {
            trade: Box::new(trade),
            created: true,
        }
    }

    /// The trade, as it is at `now`. Alipay's id is looked up first when it is given.
    pub(crate) fn trade(
        &mut self,
        now: DateTime<Utc>,
        partner_trans_id: &str,
        alipay_trans_id: Option<&str>,
    ) -> Option<&mut Trade> {
        let index = match alipay_trans_id {
            Some(id) => *self.by_alipay_id.get(id)?,
            None => *self.by_partner_id.get(partner_trans_id)?,
        };
        self.trades[index].settle(now);
        self.settle_refunds(now);
        Some(&mut self.trades[index])
    }

    /// Cancels: closes an unpaid trade, pays a paid one back.
    pub(crate) fn cancel(
        &mut self,
        now: DateTime<Utc>,
        out_trade_no: &str,
        trade_no: Option<&str>,
    ) -> CancelOutcome {
        let Some(trade) = self
            .trade(now, out_trade_no, trade_no)
            .map(|trade| trade.clone())
        else {
            return CancelOutcome::NeverCreated;
        };
        if self.refunds.iter().any(|refund| {
            refund.partner_trans_id == trade.partner_trans_id
                && refund.status != RefundStatus::Failed
        }) {
            return CancelOutcome::Refused("TRADE_STATUS_ERROR");
        }
        let trade_no = trade.alipay_trans_id.clone();
        let in_time = now < trade.cancellable_until();
        let index = self.by_alipay_id[&trade_no];
        let trade = &mut self.trades[index];
        match trade.status {
            // A repeated cancel gets the first one's answer, however late it comes.
            Status::TradeClosed if trade.paid_at.is_some() => CancelOutcome::Refunded {
                trade_no,
                now: false,
            },
            Status::TradeClosed => CancelOutcome::Closed {
                trade_no,
                now: false,
            },
            Status::WaitBuyerPay | Status::TradeSuccess if !in_time => {
                CancelOutcome::Refused(LATE_CANCEL_CODE)
            }
            Status::WaitBuyerPay => {
                trade.close(now, CloseReason::CancelledUnpaid);
                CancelOutcome::Closed {
                    trade_no,
                    now: true,
                }
            }
            Status::TradeSuccess => {
                trade.close(now, CloseReason::CancelledPaid);
                trade.refunded_minor = trade.amount_minor;
                CancelOutcome::Refunded {
                    trade_no,
                    now: true,
                }
            }
        }
    }

    /// Books a refund request; idempotent on `partner_refund_id`.
    pub(crate) fn refund(&mut self, now: DateTime<Utc>, request: &RefundRequest) -> RefundOutcome {
        if request.partner_refund_id == request.partner_trans_id {
            return RefundOutcome::Refused("INVALID_PARAMETER");
        }
        let alipay_id = request.alipay_trans_id.as_deref();
        let Some(trade) = self.trade(now, &request.partner_trans_id, alipay_id) else {
            return RefundOutcome::Refused("TRADE_NOT_EXIST");
        };
        let trade = trade.clone();
        if trade.partner_trans_id != request.partner_trans_id {
            return RefundOutcome::Refused("TRADE_NOT_EXIST");
        }
        let accepted = |refund: &Refund, created| RefundOutcome::Accepted {
            refund: Box::new(refund.clone()),
            alipay_trans_id: trade.alipay_trans_id.clone(),
            created,
        };
        let known = self
            .refunds
            .iter()
            .find(|r| r.partner_refund_id == request.partner_refund_id);
        if let Some(refund) = known {
            let same = (
                &refund.partner_trans_id,
                refund.amount_minor,
                &refund.currency,
            ) == (
                &request.partner_trans_id,
                request.amount_minor,
                &request.currency,
            );
            return if same {
                accepted(refund, false)
            } else {
                RefundOutcome::Refused("DISCORDANT_REPEAT_REQUEST")
            };
        }
        if let Some(code) = self.refund_refusal(now, request, &trade) {
            return RefundOutcome::Refused(code);
        }
        let at_once = request.sync || self.runs_at_once(now, &trade);
        self.refunds.push(Refund {
            partner_refund_id: request.partner_refund_id.clone(),
            partner_trans_id: request.partner_trans_id.clone(),
            amount_minor: request.amount_minor,
            currency: request.currency.clone(),
            sync: request.sync,
            status: RefundStatus::Processing(if at_once { now } else { next_batch(now) }),
            accepted_at: now,
            finished_at: None,
            short_of_funds: false,
        });
        self.settle_refunds(now);
        accepted(&self.refunds[self.refunds.len() - 1], true)
    }

    fn refund_refusal(
        &self,
        now: DateTime<Utc>,
        request: &RefundRequest,
        trade: &Trade,
    ) -> Option<&'static str> {
        let reserved: i64 = self
            .refunds
            .iter()
            .filter(|refund| refund.partner_trans_id == trade.partner_trans_id)
            .filter(|refund| refund.status != RefundStatus::Failed)
            .map(|refund| refund.amount_minor)
            .sum();
        match (trade.status, trade.paid_at) {
            (Status::TradeClosed, _) => Some("TRADE_HAS_CLOSE"),
            (Status::WaitBuyerPay, _) | (_, None) => Some("TRADE_STATUS_ERROR"),
            _ if request.currency != trade.currency => Some("CURRENCY_NOT_SAME"),
            (_, Some(paid_at)) if now >= paid_at + REFUND_PERIOD => {
                Some("REFUNDMENT_VALID_DATE_EXCEED")
            }
            _ if reserved + request.amount_minor > trade.amount_minor => {
                Some("RETURN_AMOUNT_EXCEED")
            }
            _ if request.sync && !self.policy.funds_sufficient => {
                Some("MERCHANT_BALANCE_NOT_ENOUGH")
            }
            _ => None,
        }
    }

    fn runs_at_once(&self, now: DateTime<Utc>, trade: &Trade) -> bool {
        let same_day = trade
            .paid_at
            .is_some_and(|paid| beijing_time(paid).date() == beijing_time(now).date());
        // The night's batch, once begun, takes what arrives before midnight.
        let batch_runs = beijing_time(now).hour() == 23;
        batch_runs || (same_day && self.policy.same_day_immediate)
    }

    /// The refund with its trade's Alipay id, as it is at `now`.
    pub(crate) fn find_refund(
        &mut self,
        now: DateTime<Utc>,
        partner_trans_id: &str,
        partner_refund_id: &str,
    ) -> Option<&Refund> {
        self.settle_refunds(now);
        self.refunds.iter().find(|refund| {
            refund.partner_refund_id == partner_refund_id
                && refund.partner_trans_id == partner_trans_id
        })
    }

    /// Books the refunds whose time has come.
    fn settle_refunds(&mut self, now: DateTime<Utc>) {
        for refund in &mut self.refunds {
            while let RefundStatus::Processing(due) = refund.status
                && due <= now
            {
                if self.policy.funds_sufficient {
                    refund.status = RefundStatus::Success;
                    refund.finished_at = Some(due);
                    refund.short_of_funds = false;
                    let trade = &mut self.trades[self.by_partner_id[&refund.partner_trans_id]];
                    trade.refunded_minor += refund.amount_minor;
                    if trade.refunded_minor == trade.amount_minor {
                        trade.close(due, CloseReason::Refunded);
                    }
                } else if due >= refund.accepted_at + REFUND_RETRY_LIFE {
                    refund.status = RefundStatus::Failed;
                    refund.finished_at = Some(due);
                } else {
                    refund.short_of_funds = true;
                    refund.status = RefundStatus::Processing(next_batch(due));
                }
            }
        }
    }

    /// The buyer acts now. `None`: no such trade; `false`: it is not waiting for the buyer.
    pub(crate) fn act(&mut self, now: DateTime<Utc>, id: &str, confirm: bool) -> Option<bool> {
        let trade = self.trade(now, id, None)?;
        if trade.status != Status::WaitBuyerPay {
            return Some(false);
        }
        if confirm {
            trade.pay(now);
        } else {
            trade.close(now, CloseReason::Dismissed);
        }
        Some(true)
    }

    /// Everything, as it is at `now`.
    pub(crate) fn all(&mut self, now: DateTime<Utc>) -> (&[Trade], &[Refund]) {
        for trade in &mut self.trades {
            trade.settle(now);
        }
        self.settle_refunds(now);
        (&self.trades, &self.refunds)
    }

    /// How refunds behave.
    pub(crate) fn policy(&self) -> RefundPolicy {
        self.policy
    }

    /// Changes how refunds behave from `now` on.
    pub(crate) fn set_policy(&mut self, now: DateTime<Utc>, policy: RefundPolicy) {
        self.settle_refunds(now);
        self.policy = policy;
    }

    /// 28 digits that begin with the Beijing date.
    fn next_alipay_id(&mut self, now: DateTime<Utc>) -> String {
        self.sequence += 1;
        format!(
            "{}220014{:06}{:08}",
            &compact(now)[..8],
            self.run,
            self.sequence
        )
    }
}

/// The next 23:00 in Beijing after `at`.
fn next_batch(at: DateTime<Utc>) -> DateTime<Utc> {
    let local = beijing_time(at);
    let today = local
        .date()
        .and_hms_opt(23, 0, 0)
        .expect("23:00 exists on each day");
    let today = from_beijing(today);
    if at < today {
        today
    } else {
        today + TimeDelta::days(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: &str = "2026-01-01T12:00:00+08:00";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn pay(id: &str) -> Pay {
        Pay {
            partner_trans_id: id.to_owned(),
            amount_minor: 1000,
            currency: "HKD".to_owned(),
            buyer_user_id: "2088000000000099".to_owned(),
            ending: "9999".to_owned(),
        }
    }

    fn script(buyer: Buyer) -> Script {
        Script {
            buyer,
            ..Script::PLAIN
        }
    }

    /// A book with one trade `A`, created at `created`.
    fn book(created: &str, buyer: Buyer) -> Book {
        let mut book = Book::new();
        book.pay(at(created), &pay("A"), &script(buyer));
        book
    }

    fn status(book: &mut Book, now: &str) -> (Status, Option<CloseReason>) {
        let trade = book.trade(at(now), "A", None).unwrap();
        (trade.status, trade.close_reason)
    }

    fn refund(id: &str, amount_minor: i64, sync: bool) -> RefundRequest {
        RefundRequest {
            partner_trans_id: "A".to_owned(),
            alipay_trans_id: None,
            partner_refund_id: id.to_owned(),
            amount_minor,
            currency: "HKD".to_owned(),
            sync,
        }
    }

    fn refund_code(outcome: RefundOutcome) -> &'static str {
        match outcome {
            RefundOutcome::Refused(code) => code,
            RefundOutcome::Accepted { refund, .. } => refund.status.label(),
        }
    }

    #[test]
    fn an_unpaid_trade_expires_three_minutes_after_its_creation() {
        let mut book = book(NOON, Buyer::NeverActs);
        assert_eq!(
            status(&mut book, "2026-01-01T12:02:59.999+08:00").0,
            Status::WaitBuyerPay
        );
        let closed = (Status::TradeClosed, Some(CloseReason::Expired));
        assert_eq!(status(&mut book, "2026-01-01T12:30:00+08:00"), closed);
        let trade = book
            .trade(at("2026-01-01T13:00:00+08:00"), "A", None)
            .unwrap();
        assert_eq!(trade.closed_at, Some(at("2026-01-01T12:03:00+08:00")));
    }

    #[test]
    fn the_buyer_confirms_or_dismisses_at_the_planned_instant() {
        let mut confirmed = book(NOON, Buyer::ConfirmsAfter(5));
        assert_eq!(
            status(&mut confirmed, "2026-01-01T12:00:04+08:00").0,
            Status::WaitBuyerPay
        );
        assert_eq!(
            status(&mut confirmed, "2026-01-01T14:00:00+08:00").0,
            Status::TradeSuccess
        );
        let trade = confirmed
            .trade(at("2026-01-01T14:00:00+08:00"), "A", None)
            .unwrap();
        assert_eq!(trade.paid_at, Some(at("2026-01-01T12:00:05+08:00")));
        let mut dismissed = book(NOON, Buyer::DismissesAfter(5));
        let closed = (Status::TradeClosed, Some(CloseReason::Dismissed));
        assert_eq!(status(&mut dismissed, "2026-01-01T12:00:05+08:00"), closed);
    }

    #[test]
    fn a_confirmation_after_the_expiry_comes_too_late() {
        let mut book = book(NOON, Buyer::ConfirmsAfter(180));
        let closed = (Status::TradeClosed, Some(CloseReason::Expired));
        assert_eq!(status(&mut book, "2026-01-01T12:05:00+08:00"), closed);
        assert_eq!(
            book.act(at("2026-01-01T12:05:00+08:00"), "A", true),
            Some(false)
        );
    }

    #[test]
    fn a_repeated_payment_gets_the_trade_as_it_is() {
        let mut book = book(NOON, Buyer::ConfirmsAfter(5));
        let again =
            |book: &mut Book, now: &str, pay: &Pay| match book.pay(at(now), pay, &Script::PLAIN) {
                PayOutcome::Trade { trade, created } => {
                    assert!(!created);
                    trade.status.label()
                }
                PayOutcome::Refused(code) => code,
            };
        assert_eq!(again(&mut book, NOON, &pay("A")), "WAIT_BUYER_PAY");
        assert_eq!(
            again(&mut book, "2026-01-01T12:00:06+08:00", &pay("A")),
            "TRADE_SUCCESS"
        );
        let other_buyer = Pay {
            buyer_user_id: "2088000000000001".to_owned(),
            ..pay("A")
        };
        assert_eq!(
            again(&mut book, NOON, &other_buyer),
            "TRADE_BUYER_NOT_MATCH"
        );
        let other_amount = Pay {
            amount_minor: 1001,
            ..pay("A")
        };
        assert_eq!(
            again(&mut book, NOON, &other_amount),
            "CONTEXT_INCONSISTENT"
        );
        book.cancel(at("2026-01-01T12:00:07+08:00"), "A", None);
        assert_eq!(
            again(&mut book, "2026-01-01T12:00:08+08:00", &pay("A")),
            "TRADE_HAS_CLOSE"
        );
    }

    #[test]
    fn cancel_succeeds_with_three_meanings_and_repeats_itself() {
        let now = at("2026-01-01T12:01:00+08:00");
        assert_eq!(
            Book::new().cancel(now, "A", None),
            CancelOutcome::NeverCreated
        );
        let mut unpaid = book(NOON, Buyer::NeverActs);
        assert!(matches!(
            unpaid.cancel(now, "A", None),
            CancelOutcome::Closed { now: true, .. }
        ));
        assert!(matches!(
            unpaid.cancel(now, "A", None),
            CancelOutcome::Closed { now: false, .. }
        ));
        let mut paid = book(NOON, Buyer::PaysAtOnce);
        let trade_no = paid.trade(now, "A", None).unwrap().alipay_trans_id.clone();
        let first = paid.cancel(now, "something else", Some(&trade_no));
        assert_eq!(
            first,
            CancelOutcome::Refunded {
                trade_no: trade_no.clone(),
                now: true
            }
        );
        let again = paid.cancel(at("2026-01-09T12:00:00+08:00"), "A", None);
        assert_eq!(
            again,
            CancelOutcome::Refunded {
                trade_no,
                now: false
            }
        );
        assert_eq!(paid.trade(now, "A", None).unwrap().refunded_minor, 1000);
    }

    #[test]
    fn a_paid_trade_is_cancellable_until_midnight_only() {
        let created = "2026-01-01T23:50:00+08:00";
        let mut in_time = book(created, Buyer::PaysAtOnce);
        let outcome = in_time.cancel(at("2026-01-01T23:59:59.999+08:00"), "A", None);
        assert!(matches!(outcome, CancelOutcome::Refunded { now: true, .. }));
        let mut late = book(created, Buyer::PaysAtOnce);
        let outcome = late.cancel(at("2026-01-02T00:00:00+08:00"), "A", None);
        assert_eq!(outcome, CancelOutcome::Refused("TRADE_STATUS_ERROR"));
        assert_eq!(
            status(&mut late, "2026-01-02T00:00:00+08:00").0,
            Status::TradeSuccess
        );
    }

    #[test]
    fn an_unpaid_trade_is_cancellable_over_midnight() {
        let mut unpaid = book("2026-01-01T23:59:00+08:00", Buyer::NeverActs);
        let outcome = unpaid.cancel(at("2026-01-02T00:01:00+08:00"), "A", None);
        assert!(matches!(outcome, CancelOutcome::Closed { now: true, .. }));
        // Paid after midnight, it belongs to the day before: too late at once.
        let mut paid = book("2026-01-01T23:59:00+08:00", Buyer::ConfirmsAfter(90));
        let outcome = paid.cancel(at("2026-01-02T00:01:00+08:00"), "A", None);
        assert_eq!(outcome, CancelOutcome::Refused("TRADE_STATUS_ERROR"));
    }

    #[test]
    fn refunds_are_bounded_idempotent_and_close_the_trade() {
        let mut book = book(NOON, Buyer::PaysAtOnce);
        let now = at("2026-01-03T12:00:00+08:00");
        assert_eq!(
            refund_code(book.refund(now, &refund("R1", 400, true))),
            "SUCCESS"
        );
        assert_eq!(
            refund_code(book.refund(now, &refund("R1", 400, true))),
            "SUCCESS"
        );
        let other = book.refund(now, &refund("R1", 401, true));
        assert_eq!(refund_code(other), "DISCORDANT_REPEAT_REQUEST");
        assert_eq!(
            refund_code(book.refund(now, &refund("R2", 601, true))),
            "RETURN_AMOUNT_EXCEED"
        );
        assert_eq!(
            book.cancel(now, "A", None),
            CancelOutcome::Refused("TRADE_STATUS_ERROR")
        );
        assert_eq!(
            refund_code(book.refund(now, &refund("R2", 600, true))),
            "SUCCESS"
        );
        let closed = (Status::TradeClosed, Some(CloseReason::Refunded));
        assert_eq!(status(&mut book, "2026-01-03T12:00:00+08:00"), closed);
        assert_eq!(
            refund_code(book.refund(now, &refund("R3", 1, true))),
            "TRADE_HAS_CLOSE"
        );
    }

    #[test]
    fn an_asynchronous_refund_runs_at_once_on_the_day_and_in_the_batch_later() {
        let mut book = book(NOON, Buyer::PaysAtOnce);
        let same_day = book.refund(at("2026-01-01T13:00:00+08:00"), &refund("R1", 100, false));
        assert_eq!(refund_code(same_day), "SUCCESS");
        let later = book.refund(at("2026-01-02T13:00:00+08:00"), &refund("R2", 100, false));
        assert_eq!(refund_code(later), "PROCESSING");
        let status = |book: &mut Book, now: &str| {
            book.find_refund(at(now), "A", "R2").unwrap().status.label()
        };
        assert_eq!(status(&mut book, "2026-01-02T22:59:59+08:00"), "PROCESSING");
        assert_eq!(status(&mut book, "2026-01-02T23:00:00+08:00"), "SUCCESS");
        let in_the_batch = book.refund(at("2026-01-03T23:30:00+08:00"), &refund("R3", 100, false));
        assert_eq!(refund_code(in_the_batch), "SUCCESS");
    }

    #[test]
    fn short_funds_refuse_a_synchronous_refund_and_delay_an_asynchronous_one() {
        let mut book = book(NOON, Buyer::PaysAtOnce);
        let now = at("2026-01-01T13:00:00+08:00");
        let poor = RefundPolicy {
            funds_sufficient: false,
            same_day_immediate: true,
        };
        book.set_policy(now, poor);
        let sync = book.refund(now, &refund("R1", 100, true));
        assert_eq!(refund_code(sync), "MERCHANT_BALANCE_NOT_ENOUGH");
        assert_eq!(
            refund_code(book.refund(now, &refund("R2", 100, false))),
            "PROCESSING"
        );
        assert_eq!(
            refund_code(book.refund(now, &refund("R3", 100, false))),
            "PROCESSING"
        );
        let night = at("2026-01-02T10:00:00+08:00");
        let waiting = book.find_refund(night, "A", "R2").unwrap();
        assert!(waiting.short_of_funds);
        assert_eq!(
            waiting.status,
            RefundStatus::Processing(at("2026-01-02T23:00:00+08:00"))
        );
        let half_a_year = at("2026-08-01T00:00:00+08:00");
        assert_eq!(
            book.find_refund(half_a_year, "A", "R3").unwrap().status,
            RefundStatus::Failed
        );
    }
}
