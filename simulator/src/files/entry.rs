//! What happened, one entry each, from the ledger.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};

use super::{FileSettings, Ledger, calendar::settlement_day};
use crate::{
    book::{Refund, RefundStatus, Trade},
    clock::beijing_time,
    request::Place,
};

/// What kind of movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    Payment,
    Cancel,
    Refund,
}

impl EntryKind {
    /// Whether money goes back to the buyer.
    pub(super) fn gives_back(self) -> bool {
        self != Self::Payment
    }
}

/// One movement of money.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) kind: EntryKind,
    /// Of payment and cancel the `partner_trans_id`, of a refund the `partner_refund_id`.
    pub(super) id: String,
    /// The payment that it belongs to.
    pub(super) partner_trans_id: String,
    pub(super) alipay_trans_id: String,
    pub(super) amount_minor: i64,
    pub(super) fee_minor: i64,
    pub(super) currency: String,
    pub(super) completed_at: DateTime<Utc>,
    pub(super) remark: String,
    pub(super) place: Place,
    pub(super) wallet: String,
    /// Whether its payment was canceled after it was paid.
    pub(super) of_canceled: bool,
}

impl Entry {
    /// The payment of a trade, as if it had been made at `at`.
    pub(super) fn payment(trade: &Trade, at: DateTime<Utc>, settings: &FileSettings) -> Self {
        Self {
            kind: EntryKind::Payment,
            id: trade.partner_trans_id.clone(),
            partner_trans_id: trade.partner_trans_id.clone(),
            alipay_trans_id: trade.alipay_trans_id.clone(),
            amount_minor: trade.amount_minor,
            fee_minor: settings.fee(trade.amount_minor),
            currency: trade.currency.clone(),
            completed_at: at,
            remark: String::new(),
            place: trade.place.clone(),
            wallet: trade.payment_inst.to_owned(),
            of_canceled: trade.canceled_minor > 0,
        }
    }

    fn cancel(trade: &Trade, at: DateTime<Utc>, settings: &FileSettings) -> Self {
        Self {
            kind: EntryKind::Cancel,
            amount_minor: trade.canceled_minor,
            ..Self::payment(trade, at, settings)
        }
    }

    fn refund(trade: &Trade, refund: &Refund, at: DateTime<Utc>, settings: &FileSettings) -> Self {
        Self {
            remark: refund.reason.clone(),
            ..Self::refund_of(
                trade,
                &refund.partner_refund_id,
                refund.amount_minor,
                at,
                settings,
            )
        }
    }

    /// A refund of a trade under some id.
    pub(super) fn refund_of(
        trade: &Trade,
        id: &str,
        amount_minor: i64,
        at: DateTime<Utc>,
        settings: &FileSettings,
    ) -> Self {
        let fee_minor = if settings.fee_returned_on_refund {
            settings.fee(amount_minor)
        } else {
            0
        };
        Self {
            kind: EntryKind::Refund,
            id: id.to_owned(),
            amount_minor,
            fee_minor,
            ..Self::payment(trade, at, settings)
        }
    }

    /// Its day in GMT+8.
    pub(super) fn day(&self) -> NaiveDate {
        beijing_time(self.completed_at).date()
    }

    /// The day on which it is paid out.
    pub(super) fn settled_on(&self, settings: &FileSettings) -> NaiveDate {
        settlement_day(self.day(), &settings.holidays)
    }
}

/// All that ever happened, in the order of completion.
pub(super) fn of_ledger(ledger: &Ledger<'_>, settings: &FileSettings) -> Vec<Entry> {
    let mut entries = vec![];
    let mut by_id = HashMap::new();
    for trade in ledger.trades {
        by_id.insert(trade.partner_trans_id.as_str(), trade);
        if let Some(at) = trade.paid_at {
            entries.push(Entry::payment(trade, at, settings));
        }
        if let (true, Some(at)) = (trade.canceled_minor > 0, trade.closed_at) {
            entries.push(Entry::cancel(trade, at, settings));
        }
    }
    for refund in ledger.refunds {
        if let (RefundStatus::Success, Some(at)) = (refund.status, refund.finished_at)
            && let Some(trade) = by_id.get(refund.partner_trans_id.as_str())
        {
            entries.push(Entry::refund(trade, refund, at, settings));
        }
    }
    entries.sort_by_key(|entry| entry.completed_at);
    entries
}
