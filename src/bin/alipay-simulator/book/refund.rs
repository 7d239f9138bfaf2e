//! Refunds: what is accepted, when it runs, and what becomes of it.

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};

use super::{
    Book,
    policy::next_batch,
    trade::{CloseReason, Status, Trade},
};
use crate::{clock::beijing_time, request::Refund as RefundRequest};

/// The contract's refund period; no document fixes it.
const REFUND_PERIOD: TimeDelta = TimeDelta::days(365);
/// How long Alipay retries a refund for which the merchant's money is short.
const REFUND_RETRY_LIFE: TimeDelta = TimeDelta::days(180);

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

impl Book {
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
    pub(super) fn settle_refunds(&mut self, now: DateTime<Utc>) {
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
}
