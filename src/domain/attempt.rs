//! One upstream call and what came back, as the timeline shows it.

use chrono::{DateTime, Utc};

use super::id::{AttemptId, PaymentId, RefundId};

/// Which of Alipay's services a call asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptKind {
    /// Take the money.
    Pay,
    /// Ask where the trade stands.
    Query,
    /// Close or reverse the trade.
    Cancel,
    /// Return money.
    Refund,
    /// Ask where a refund stands.
    RefundQuery,
    /// Register or change a store.
    MaintainStore,
    /// Ask where the registration of a store stands.
    StoreStatus,
}

/// What kind of answer came back; never what it means for the payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerClass {
    /// A verified answer that the service succeeded.
    Success,
    /// A verified answer that is neither yes nor no: the trade waits for the buyer, a refund is still to
    /// be done, or Alipay wants the call repeated.
    Pending,
    /// A verified answer that the trade is closed.
    Closed,
    /// A verified, definite no: this call did nothing and will do nothing.
    Declined,
    /// A verified no whose code is not documented, so not believed.
    UnknownCode,
    /// A verified answer that the trade does not exist.
    NotFound,
    /// Alipay refused the request at its door (`is_success=F`).
    AccessRefused,
    /// Alipay said it is temporarily unavailable.
    SystemError,
    /// Nothing was sent: no connection could be made, there was no key to sign with, or it was too
    /// long after the request was decided.
    ConnectFailed,
    /// The deadline passed without a whole answer.
    TimedOut,
    /// The connection broke before a whole answer came.
    ConnectionLost,
    /// An HTTP status other than 200, redirects included.
    HttpStatus,
    /// Not the XML that was agreed: another format, cut, too large, ambiguous, wrong charset.
    Malformed,
    /// The signature is missing, wrong, or of another type than configured.
    BadSignature,
    /// The answer is about another trade, amount, currency or partner.
    Mismatch,
}

impl AnswerClass {
    /// Whether what a call of this kind asked for may still happen, or may have happened unseen. Only a
    /// verified "done", a verified "not done", and what never left close that. The one table of it:
    /// statements take their list from [`AnswerClass::that_may_act`].
    pub fn leaves_effect_open(self, kind: AttemptKind) -> bool {
        match kind {
            // They change nothing.
            AttemptKind::Query | AttemptKind::RefundQuery | AttemptKind::StoreStatus => false,
            AttemptKind::Pay
            | AttemptKind::Cancel
            | AttemptKind::Refund
            | AttemptKind::MaintainStore => match self {
                // Done.
                Self::Success
                // Not done, and not to be done by this call.
                | Self::Closed
                | Self::Declined
                | Self::NotFound
                // Nothing was sent.
                | Self::ConnectFailed => false,
                // Neither yes nor no.
                Self::Pending
                | Self::UnknownCode
                | Self::SystemError
                // It need not be signed.
                | Self::AccessRefused
                // No answer of Alipay's own.
                | Self::TimedOut
                | Self::ConnectionLost
                | Self::HttpStatus
                | Self::Malformed
                | Self::BadSignature
                | Self::Mismatch => true,
            },
        }
    }

    /// Whether the answer to a question says where what was asked about stands.
    pub const fn tells_something(self) -> bool {
        match self {
            Self::Success | Self::Pending | Self::Closed | Self::Declined | Self::NotFound => true,
            Self::UnknownCode
            | Self::AccessRefused
            | Self::SystemError
            | Self::ConnectFailed
            | Self::TimedOut
            | Self::ConnectionLost
            | Self::HttpStatus
            | Self::Malformed
            | Self::BadSignature
            | Self::Mismatch => false,
        }
    }

    /// Whether the answer to a query says where the trade stands.
    pub const fn says_where_it_stands(self) -> bool {
        match self {
            Self::Success | Self::Pending | Self::Closed | Self::NotFound => true,
            Self::Declined
            | Self::UnknownCode
            | Self::AccessRefused
            | Self::SystemError
            | Self::ConnectFailed
            | Self::TimedOut
            | Self::ConnectionLost
            | Self::HttpStatus
            | Self::Malformed
            | Self::BadSignature
            | Self::Mismatch => false,
        }
    }

    /// Whether the answer says that Alipay lets the account in: `false` for a refusal at the door, `true`
    /// for what Alipay signed, `None` for silence and whatever anybody could have said.
    pub const fn lets_the_account_in(self) -> Option<bool> {
        match self {
            Self::AccessRefused => Some(false),
            Self::Success
            | Self::Pending
            | Self::Closed
            | Self::Declined
            | Self::UnknownCode
            | Self::NotFound => Some(true),
            Self::SystemError
            | Self::ConnectFailed
            | Self::TimedOut
            | Self::ConnectionLost
            | Self::HttpStatus
            | Self::Malformed
            | Self::BadSignature
            | Self::Mismatch => None,
        }
    }

    /// Whether it is certain that no byte of the request left this process.
    pub const fn says_nothing_was_sent(self) -> bool {
        match self {
            Self::ConnectFailed => true,
            Self::Success
            | Self::Pending
            | Self::Closed
            | Self::Declined
            | Self::UnknownCode
            | Self::NotFound
            | Self::AccessRefused
            | Self::SystemError
            | Self::TimedOut
            | Self::ConnectionLost
            | Self::HttpStatus
            | Self::Malformed
            | Self::BadSignature
            | Self::Mismatch => false,
        }
    }

    /// The stored names of the classes after which a call of this kind may act still: those that leave its
    /// effect open, and "done" where the books do not show it, since that may have been said too early.
    pub fn that_may_act(kind: AttemptKind) -> Vec<String> {
        Self::ALL
            .iter()
            .filter(|class| **class == Self::Success || class.leaves_effect_open(kind))
            .map(|class| class.as_str().to_owned())
            .collect()
    }

    /// Whether the answer is one that an honest, healthy Alipay does not give: counted, logged as a
    /// warning, and shown on the timeline as an incident.
    pub const fn is_incident(self) -> bool {
        match self {
            Self::HttpStatus
            | Self::Malformed
            | Self::BadSignature
            | Self::Mismatch
            | Self::UnknownCode
            | Self::AccessRefused => true,
            Self::Success
            | Self::Pending
            | Self::Closed
            | Self::Declined
            | Self::NotFound
            | Self::SystemError
            | Self::ConnectFailed
            | Self::TimedOut
            | Self::ConnectionLost => false,
        }
    }
}

stored_names!(AttemptKind {
    Pay = "pay",
    Query = "query",
    Cancel = "cancel",
    Refund = "refund",
    RefundQuery = "refund_query",
    MaintainStore = "maintain_store",
    StoreStatus = "store_status",
});
stored_names!(AnswerClass {
    Success = "success",
    Pending = "pending",
    Closed = "closed",
    Declined = "declined",
    UnknownCode = "unknown_code",
    NotFound = "not_found",
    AccessRefused = "access_refused",
    SystemError = "system_error",
    ConnectFailed = "connect_failed",
    TimedOut = "timed_out",
    ConnectionLost = "connection_lost",
    HttpStatus = "http_status",
    Malformed = "malformed",
    BadSignature = "bad_signature",
    Mismatch = "mismatch",
});

/// What one call brought back, for the attempt's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its kind.
    pub class: AnswerClass,
    /// Alipay's code, where one came.
    pub code: Option<String>,
    /// What was wrong, for a person; never a barcode, a key or the answer's text.
    pub detail: Option<String>,
    /// How long the call took, in milliseconds.
    pub duration_ms: i32,
}

/// One upstream call: written before it is sent, completed when it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub id: AttemptId,
    /// Whose call it is.
    pub payment_id: PaymentId,
    /// Which of the payment's refunds it was about, if any.
    pub refund_id: Option<RefundId>,
    pub kind: AttemptKind,
    /// When the intent to ask was committed (database clock).
    pub sent_at: DateTime<Utc>,
    /// When the answer was recorded (database clock); absent while open, or after a crash.
    pub answered_at: Option<DateTime<Utc>>,
    /// What came back.
    pub answer: Option<Answer>,
}
