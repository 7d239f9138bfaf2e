//! How a payment and its refunds go, as the book is told with the payment.

use super::policy::Plan;
use crate::fault::Fault;

/// What the buyer does with a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buyer {
    /// No confirmation is needed.
    PaysAtOnce,
    /// Confirms this many seconds after the trade's creation.
    ConfirmsAfter(i64),
    /// Declines this many seconds after the trade's creation.
    DismissesAfter(i64),
    /// Looks at the telephone and does nothing.
    NeverActs,
}

/// How a payment goes.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// What the buyer does.
    pub(crate) buyer: Buyer,
    /// `payment_inst`.
    pub(crate) wallet: &'static str,
    /// How the answer spells "waiting": `UNKNOW` or `UNKNOWN`.
    pub(crate) waiting: &'static str,
    /// What goes wrong with the first answer.
    pub(crate) fault: Option<Fault>,
    /// Whether that fault is the account's, so that it meets whatever is asked about the payment.
    pub(crate) shuts_out: bool,
    /// How its refunds go, if the code chose that.
    pub(crate) refunds: Option<&'static RefundScript>,
}

impl Script {
    /// Paid at once from an AlipayHK wallet, answered truthfully.
    pub(crate) const PLAIN: Self = Self {
        buyer: Buyer::PaysAtOnce,
        wallet: "ALIPAYHK",
        waiting: "UNKNOW",
        fault: None,
        shuts_out: false,
        refunds: None,
    };
}

/// How the refunds of a payment go.
#[derive(Debug)]
pub(crate) struct RefundScript {
    /// What goes wrong with the first answer to a refund request.
    pub(crate) fault: Option<Fault>,
    /// What is in store for an asynchronous refund.
    pub(crate) plan: Plan,
}
