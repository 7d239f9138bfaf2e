//! What Alipay meant. Every outcome has an `Unknown`, and nothing but a verified, matching answer
//! ever becomes anything else (`docs/invariants.md` S3, S9, V1). Which kind of silence or lie an
//! `Unknown` was stands in [`Call::answer`].

use chrono::{DateTime, Utc};

use crate::domain::{
    attempt::Answer,
    payments::payment::{Charge, Failure},
    registrations::RegisteredData,
};

/// One call: what it means, and the record for the attempt's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<T> {
    /// What Alipay meant.
    pub outcome: T,
    /// What came back, for the timeline.
    pub answer: Answer,
}

/// What a pay answer means (`docs/protocol.md` 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayOutcome {
    /// The money was taken.
    Paid {
        /// What the answer says of the charge.
        charge: Charge,
        alipay_trans_id: Option<String>,
    },
    /// The trade exists and the buyer must confirm, or Alipay does not know yet: query.
    BuyerMustConfirm {
        /// Alipay's id, where the answer carried it.
        alipay_trans_id: Option<String>,
        /// The wallet whose code was scanned, where the answer carried it.
        wallet: Option<String>,
    },
    /// Said to be paid, without the ids, the amount or the currency that would confirm it: query at once.
    Unconfirmed,
    /// A definite, verified refusal: nothing was taken.
    Declined(Failure),
    /// The request never left: there is no trade, and there will be none.
    NotSent,
    /// Anything else: the trade may exist, or not.
    Unknown,
}

/// What a query answer means (`docs/protocol.md` 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryOutcome {
    /// The money was taken and is still with the merchant.
    Paid {
        /// What the answer says of the charge.
        charge: Charge,
        alipay_trans_id: Option<String>,
    },
    /// The trade waits for the buyer.
    BuyerMustConfirm {
        alipay_trans_id: Option<String>,
        /// The wallet whose code was scanned, where the answer carried it.
        wallet: Option<String>,
    },
    /// The trade is closed: timed out, canceled or fully refunded.
    Closed {
        alipay_trans_id: Option<String>,
        /// The charge that had taken place; present exactly when the answer carries a pay time.
        charge: Option<Charge>,
    },
    /// No such trade *yet*; conclusive only after the window and a cancel
    /// (`docs/invariants.md` R13).
    NotFound,
    /// The query told nothing.
    Unknown,
}

/// What a cancel answer means (`docs/protocol.md` 5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// The trade is closed, or never existed.
    Closed {
        /// What the cancel did.
        action: CancelAction,
        /// Alipay's id, where a trade existed.
        alipay_trans_id: Option<String>,
    },
    /// Not canceled; the same cancel may be sent again.
    Retry {
        /// Alipay's code.
        code: Option<String>,
    },
    /// Not canceled, since the merchant's balance is too low to return the money: the same cancel may
    /// be sent again, or the money returned by an asynchronous refund.
    BalanceTooLow {
        /// Whether Alipay invites the repeat.
        may_retry: bool,
    },
    /// Not canceled, and repeating does not help: query.
    Refused {
        /// Alipay's code.
        code: Option<String>,
    },
    /// Silence or an unusable answer: the same cancel may be sent again.
    Unknown,
}

/// What a successful cancel did (`docs/protocol.md` 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelAction {
    /// There was no trade: neither `action` nor `trade_no` was answered.
    NothingExisted,
    /// An unpaid trade was closed.
    Closed,
    /// A paid trade was refunded in full.
    Refunded,
    /// The answer does not say (an unknown `action`, or none though a trade exists): query.
    Unstated,
}

/// What a refund answer means (`docs/protocol.md` 6.2, 6.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundOutcome {
    /// A synchronous refund was done.
    Succeeded {
        /// Alipay's id of the payment.
        alipay_trans_id: Option<String>,
    },
    /// An asynchronous refund was recorded and will be done later.
    Accepted {
        /// Alipay's id of the payment.
        alipay_trans_id: Option<String>,
    },
    /// A definite refusal: nothing was refunded under this refund id.
    Refused(Failure),
    /// The merchant's balance is too low: nothing was refunded now, later it may be.
    BalanceTooLow {
        /// Alipay's code.
        code: String,
    },
    /// The payment's state does not allow it: query the payment.
    CheckPayment {
        /// Alipay's code.
        code: String,
    },
    /// Refused with a code of which nobody has said what it means: ask, and where there is no such
    /// refund, send it again; a refusal that is repeated word for word is one.
    UnknownCode {
        /// Alipay's code.
        code: String,
    },
    /// Anything else: ask with `query_refund`.
    Unknown,
}

/// What a refund query's answer means (`docs/protocol.md` 4.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundQueryOutcome {
    /// The money went back.
    Succeeded {
        /// Alipay's id of the payment.
        alipay_trans_id: Option<String>,
        /// When Alipay accepted the refund.
        accepted_at: Option<DateTime<Utc>>,
    },
    /// Accepted and still to be done; alive even where a code says why it waits.
    Processing {
        /// Why it waits, for example `MERCHANT_BALANCE_NOT_ENOUGH`.
        code: Option<String>,
        /// When Alipay accepted the refund.
        accepted_at: Option<DateTime<Utc>>,
    },
    /// It failed for good.
    Failed {
        /// Alipay's code.
        code: Option<String>,
    },
    /// It was canceled at Alipay.
    Canceled,
    /// No such refund: the same request may be sent again.
    NotFound,
    /// No such payment.
    PaymentNotFound,
    /// This, of the payment's only refund: the answer does not name which. Where there is another, it tells nothing.
    OfTheOnlyRefund(Box<Self>),
    /// The query told nothing.
    Unknown,
}

/// What the registration of a store brought (`docs/protocol.md` 10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaintainStoreOutcome {
    /// Taken and under review; not yet approved.
    Accepted,
    /// An earlier registration is still under review: wait for it, then send again.
    ReviewUnderWay,
    /// A definite refusal.
    Refused {
        /// Alipay's code.
        code: String,
    },
    /// Anything else: the same request may be sent again.
    Unknown,
}

/// Where the registration of a store stands (`docs/protocol.md` 10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreStatusOutcome {
    Approved {
        echo: Box<RegisteredData>,
        /// `ARCHIVED`, `ACTIVATED`, `INACTIVATE`, or a value not yet known to us.
        store_status: Option<String>,
    },
    /// The first registration is under review.
    UnderReview { echo: Box<RegisteredData> },
    /// A change is under review; what was approved before holds.
    ModificationUnderReview { echo: Box<RegisteredData> },
    /// Refused.
    Rejected {
        /// Alipay's reason.
        reason: Option<String>,
        echo: Box<RegisteredData>,
    },
    /// No such merchant and store.
    NotRegistered,
    /// The question itself was refused.
    Refused {
        /// Alipay's code.
        code: String,
    },
    /// The query told nothing.
    Unknown,
}
