//! Alipay's ledger: trades and refunds, and nothing else. It is pure: every operation takes `now`,
//! and what time has done (a buyer's confirmation, the three-minute close, a refund batch) is booked
//! with its own instant whenever the book is read.
//!
//! The rules are those of `docs/protocol.md` 5 and 6; where a document leaves a choice, the
//! comment at the rule says which was taken.

mod batch;
mod late;
mod policy;
mod refund;
mod script;
#[cfg(test)]
mod tests;
mod trade;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use rand::Rng as _;

use self::{batch::Batches, late::Late};
use crate::{clock::compact, request::Pay};

pub(crate) use self::{
    late::LateEffect,
    policy::{Plan, RefundPolicy},
    refund::{Origin, Refund, RefundOutcome, RefundStatus},
    script::{Buyer, RefundScript, Script},
    trade::{CloseReason, Status, Trade},
};

/// A cancel that comes too late; the code that HK uses is not known (`docs/protocol.md` 4.3).
const LATE_CANCEL_CODE: &str = "TRADE_STATUS_ERROR";

/// How a pay request ended in the book.
#[derive(Clone, Debug)]
pub(crate) enum PayOutcome {
    /// A new trade, or the one that this id already had; its status is the answer.
    Trade {
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

/// The ledger.
pub(crate) struct Book {
    trades: Vec<Trade>,
    by_partner_id: HashMap<String, usize>,
    by_alipay_id: HashMap<String, usize>,
    refunds: Vec<Refund>,
    by_refund_id: HashMap<String, usize>,
    batches: Batches,
    late: Late,
    policy: RefundPolicy,
    /// Refunds whose success is to be reported, when they succeeded, and how their trades stood then.
    to_announce: Vec<(DateTime<Utc>, usize, Trade)>,
    /// Ids of refunds about which a scenario has lied already.
    asked_for: HashSet<String>,
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
            by_refund_id: HashMap::new(),
            batches: Batches::default(),
            late: Late::default(),
            policy: RefundPolicy::default(),
            to_announce: Vec::new(),
            asked_for: HashSet::new(),
            run: rand::thread_rng().gen_range(0..1_000_000),
            sequence: 0,
        }
    }

    /// Books a payment request. It is idempotent on `partner_trans_id`: the same buyer and amount get
    /// the trade as it is now (`docs/protocol.md` 5.7).
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
            place: pay.place.clone(),
            status: Status::WaitBuyerPay,
            created_at: now,
            paid_at: None,
            closed_at: None,
            close_reason: None,
            refunded_minor: 0,
            canceled_minor: 0,
            refund_pending_minor: 0,
            buyer: script.buyer,
            refunds: script.refunds,
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
        self.settle(now);
        self.trades[index].settle(now);
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
        if trade.has_refunds() {
            return CancelOutcome::Refused("TRADE_STATUS_ERROR");
        }
        let trade_no = trade.alipay_trans_id.clone();
        let in_time = now < trade.cancellable_until();
        let index = self.by_alipay_id[&trade_no];
        let trade = &mut self.trades[index];
        match trade.status {
            Status::TradeClosed if trade.close_reason == Some(CloseReason::AlipayKept) => {
                CancelOutcome::Refused("TRADE_HAS_CLOSE")
            }
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
                trade.canceled_minor = trade.amount_minor;
                CancelOutcome::Refunded {
                    trade_no,
                    now: true,
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

    /// Alipay closes a paid trade, and returns what no refund holds, or nothing. `None`: no such trade;
    /// `false`: it is not paid, or closed already.
    pub(crate) fn close_paid(
        &mut self,
        now: DateTime<Utc>,
        id: &str,
        return_money: bool,
    ) -> Option<bool> {
        let trade = self.trade(now, id, None)?;
        if trade.status != Status::TradeSuccess {
            return Some(false);
        }
        trade.close_by_alipay(now, return_money);
        Some(true)
    }

    /// Every trade, as it is at `now`.
    pub(crate) fn all(&mut self, now: DateTime<Utc>) -> &[Trade] {
        self.settle(now);
        for trade in &mut self.trades {
            trade.settle(now);
        }
        &self.trades
    }

    /// Every trade, as it was when the book was last read.
    pub(crate) fn trades(&self) -> &[Trade] {
        &self.trades
    }

    /// Every refund, as it was when the book was last read.
    pub(crate) fn refunds(&self) -> &[Refund] {
        &self.refunds
    }

    /// How refunds behave.
    pub(crate) fn policy(&self) -> &RefundPolicy {
        &self.policy
    }

    /// Changes how refunds behave from `now` on.
    pub(crate) fn set_policy(&mut self, now: DateTime<Utc>, policy: RefundPolicy) {
        self.settle(now);
        self.policy = policy;
    }

    /// The refunds that have succeeded since the last time, by `now`, and want it reported; each with
    /// the instant, and its trade as it stood then.
    pub(crate) fn take_announcements(
        &mut self,
        now: DateTime<Utc>,
    ) -> Vec<(DateTime<Utc>, Refund, Trade)> {
        self.settle(now);
        let successes = std::mem::take(&mut self.to_announce);
        let successes = successes
            .into_iter()
            .map(|(at, number, trade)| (at, self.refunds[number].clone(), trade));
        successes.collect()
    }

    fn trade_of(&mut self, partner_trans_id: &str) -> &mut Trade {
        &mut self.trades[self.by_partner_id[partner_trans_id]]
    }

    /// An id as the merchant portal would give it to a refund.
    fn next_portal_id(&mut self) -> String {
        self.sequence += 1;
        format!("PORTAL{:06}{:08}", self.run, self.sequence)
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
