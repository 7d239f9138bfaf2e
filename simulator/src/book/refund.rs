//! Refunds: what is accepted, and what becomes of it.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Book,
    policy::Plan,
    trade::{Status, Trade},
};
use crate::{
    fault::{Fault, Text},
    request::{NotifyTo, Refund as RefundRequest},
};

/// The contract's refund period; no document fixes it.
const REFUND_PERIOD: TimeDelta = TimeDelta::days(365);

/// Why a refund waits for the merchant's money.
pub(super) const BALANCE_TOO_LOW: &str = "MERCHANT_BALANCE_NOT_ENOUGH";

/// Where a refund stands. A refused request is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefundStatus {
    /// Accepted, not done.
    Processing,
    /// The money went back.
    Success,
    /// It did not, or not for good.
    Failed,
    /// Withdrawn at Alipay.
    Canceled,
}

impl RefundStatus {
    /// The spelling of `refund_result_code`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Processing => "PROCESSING",
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }
}

/// Who asked for a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The merchant's system, by a request.
    Request,
    /// A person, in the merchant portal.
    Portal,
}

/// One refund.
#[derive(Clone, Debug)]
pub(crate) struct Refund {
    pub(crate) partner_refund_id: String,
    pub(crate) partner_trans_id: String,
    pub(crate) amount_minor: i64,
    pub(crate) currency: String,
    pub(crate) reason: String,
    pub(crate) sync: bool,
    pub(crate) origin: Origin,
    /// Where its success is to be reported.
    pub(crate) notify_to: Option<NotifyTo>,
    pub(crate) status: RefundStatus,
    pub(crate) accepted_at: DateTime<Utc>,
    /// When it came to the state in which it is, if that is not `Processing`.
    pub(crate) finished_at: Option<DateTime<Utc>>,
    /// `refund_error_code`: why it waits, or why it failed.
    pub(crate) error_code: Option<Text>,
    /// Every state it had, and since when.
    pub(crate) history: Vec<(RefundStatus, DateTime<Utc>)>,
    /// How many batches have tried it.
    pub(crate) batches_tried: u32,
    /// When the batch that has taken it is done with it.
    pub(super) done_at: Option<DateTime<Utc>>,
    pub(super) plan: Plan,
}

impl Refund {
    fn accepted(
        now: DateTime<Utc>,
        request: &RefundRequest,
        trade: &Trade,
        plan: Plan,
        origin: Origin,
    ) -> Self {
        Self {
            partner_refund_id: request.partner_refund_id.clone(),
            partner_trans_id: trade.partner_trans_id.clone(),
            amount_minor: request.amount_minor,
            currency: request.currency.clone(),
            reason: request.reason.clone(),
            sync: request.sync,
            origin,
            notify_to: request.notify_to.clone().filter(|_| !request.sync),
            status: RefundStatus::Processing,
            accepted_at: now,
            finished_at: None,
            error_code: None,
            history: vec![(RefundStatus::Processing, now)],
            batches_tried: 0,
            done_at: None,
            plan,
        }
    }

    fn is_asked_for_by(&self, request: &RefundRequest) -> bool {
        (&self.partner_trans_id, self.amount_minor, &self.currency)
            == (
                &request.partner_trans_id,
                request.amount_minor,
                &request.currency,
            )
    }
}

/// How a refund request ended.
#[derive(Clone, Debug)]
pub(crate) enum RefundOutcome {
    /// Recorded, now or before; also the refund's trade.
    Accepted {
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
        self.take_refund(now, request, Origin::Request)
    }

    /// A person refunds in the merchant portal: asynchronous, under an id that the merchant's system
    /// may never have seen (`docs/protocol.md` 6.1). `None`: no such trade.
    pub(crate) fn portal_refund(
        &mut self,
        now: DateTime<Utc>,
        partner_trans_id: &str,
        amount_minor: i64,
        partner_refund_id: Option<String>,
    ) -> Option<RefundOutcome> {
        let currency = self.trade(now, partner_trans_id, None)?.currency.clone();
        let partner_refund_id = partner_refund_id.unwrap_or_else(|| self.next_portal_id());
        let request = RefundRequest {
            partner_trans_id: partner_trans_id.to_owned(),
            alipay_trans_id: None,
            partner_refund_id,
            amount_minor,
            currency,
            reason: String::new(),
            sync: false,
            notify_to: None,
        };
        Some(self.take_refund(now, &request, Origin::Portal))
    }

    fn take_refund(
        &mut self,
        now: DateTime<Utc>,
        request: &RefundRequest,
        origin: Origin,
    ) -> RefundOutcome {
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
        let (number, created) = match self.by_refund_id.get(&request.partner_refund_id) {
            Some(number) => {
                if !self.refunds[*number].is_asked_for_by(request) {
                    return RefundOutcome::Refused("DISCORDANT_REPEAT_REQUEST");
                }
                if let Some(code) = self.policy.repeats.code() {
                    return RefundOutcome::Refused(code);
                }
                (*number, false)
            }
            None => match self.refund_refusal(now, request, &trade) {
                Some(code) => return RefundOutcome::Refused(code),
                None => (self.record(now, request, &trade, origin), true),
            },
        };
        RefundOutcome::Accepted {
            refund: Box::new(self.refunds[number].clone()),
            alipay_trans_id: trade.alipay_trans_id,
            created,
        }
    }

    fn refund_refusal(
        &self,
        now: DateTime<Utc>,
        request: &RefundRequest,
        trade: &Trade,
    ) -> Option<&'static str> {
        let reserved = trade.refunded_minor + trade.refund_pending_minor;
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
            _ if request.sync && self.is_short_for(trade) => Some(BALANCE_TOO_LOW),
            _ => None,
        }
    }

    /// Whether the balance is too low to refund `trade` now.
    fn is_short_for(&self, trade: &Trade) -> bool {
        !self.policy.funds_sufficient || self.plan_for(trade).short_nights > 0
    }

    fn plan_for(&self, trade: &Trade) -> Plan {
        let scenario = trade.refunds.map_or(&Plan::PLAIN, |refunds| &refunds.plan);
        scenario.under(&self.policy)
    }

    fn record(
        &mut self,
        now: DateTime<Utc>,
        request: &RefundRequest,
        trade: &Trade,
        origin: Origin,
    ) -> usize {
        let plan = if request.sync {
            Plan::PLAIN
        } else {
            self.plan_for(trade)
        };
        let number = self.refunds.len();
        let refund = Refund::accepted(now, request, trade, plan, origin);
        self.by_refund_id
            .insert(refund.partner_refund_id.clone(), number);
        self.trade_of(&refund.partner_trans_id).refund_pending_minor += refund.amount_minor;
        self.refunds.push(refund);
        if request.sync {
            self.end(now, number, RefundStatus::Success, None);
        } else {
            self.enqueue(now, number, trade.paid_at);
        }
        number
    }

    /// Brings a refund to another state, and moves the money accordingly.
    pub(super) fn end(
        &mut self,
        at: DateTime<Utc>,
        number: usize,
        status: RefundStatus,
        error_code: Option<Text>,
    ) {
        let refund = &mut self.refunds[number];
        let before = std::mem::replace(&mut refund.status, status);
        refund.history.push((status, at));
        refund.finished_at = Some(at);
        refund.error_code = error_code;
        let amount = refund.amount_minor;
        let is_announced = status == RefundStatus::Success && refund.notify_to.is_some();
        let id = refund.partner_trans_id.clone();
        let trade = self.trade_of(&id);
        match before {
            RefundStatus::Processing => trade.refund_pending_minor -= amount,
            RefundStatus::Success => trade.take_back(amount),
            RefundStatus::Failed | RefundStatus::Canceled => {}
        }
        if status == RefundStatus::Success {
            trade.give_back(at, amount);
        }
        if is_announced {
            let trade = trade.clone();
            self.to_announce.push((at, number, trade));
        }
    }

    /// Alipay changes its mind: a refund ends as `status`. `None`: no such refund; `false`: it has ended so
    /// already, or failed and may not fail otherwise.
    pub(crate) fn undo_refund(
        &mut self,
        now: DateTime<Utc>,
        partner_refund_id: &str,
        status: RefundStatus,
        error_code: Option<String>,
    ) -> Option<bool> {
        self.settle(now);
        let number = *self.by_refund_id.get(partner_refund_id)?;
        let refund = &self.refunds[number];
        let succeeds = status == RefundStatus::Success;
        let (of_trade, amount) = (refund.partner_trans_id.clone(), refund.amount_minor);
        match refund.status {
            RefundStatus::Success if succeeds => return Some(false),
            RefundStatus::Failed | RefundStatus::Canceled if !succeeds => return Some(false),
            RefundStatus::Failed | RefundStatus::Canceled => {
                let trade = self.trade_of(&of_trade);
                if trade.refunded_minor + trade.refund_pending_minor + amount > trade.amount_minor {
                    return Some(false);
                }
            }
            RefundStatus::Processing => self.batches.forget(number, refund),
            RefundStatus::Success => {}
        }
        self.end(now, number, status, error_code.map(Text::from));
        Some(true)
    }

    /// The refund of a payment, as it is at `now`.
    pub(crate) fn find_refund(
        &mut self,
        now: DateTime<Utc>,
        partner_trans_id: &str,
        partner_refund_id: &str,
    ) -> Option<&Refund> {
        self.refund_by_id(now, partner_refund_id)
            .filter(|refund| refund.partner_trans_id == partner_trans_id)
    }

    /// The refund, as it is at `now`.
    pub(crate) fn refund_by_id(
        &mut self,
        now: DateTime<Utc>,
        partner_refund_id: &str,
    ) -> Option<&Refund> {
        self.settle(now);
        let number = *self.by_refund_id.get(partner_refund_id)?;
        Some(&self.refunds[number])
    }

    /// When something happens next to a refund that is processed.
    pub(crate) fn next_try(&self, refund: &Refund) -> Option<DateTime<Utc>> {
        (refund.status == RefundStatus::Processing).then(|| self.batches.next_try(refund))
    }

    /// What the payment's scenario does to the answer to this request, the first time that the
    /// refund is asked for.
    pub(crate) fn refund_fault(&mut self, request: &RefundRequest) -> Option<Fault> {
        let trade = *self.by_partner_id.get(&request.partner_trans_id)?;
        let fault = self.trades[trade].refunds?.fault.clone()?;
        self.asked_for
            .insert(request.partner_refund_id.clone())
            .then_some(fault)
    }
}
