//! Why a use case was refused; free of HTTP.

use crate::{
    db,
    domain::{
        access::token::TokenFault,
        follow_ups::schedule::Subject,
        id::{PaymentId, RefundId},
        merchants::limits::LimitExceeded,
        money::Money,
    },
};

/// A refusal or a fault. A declined payment is a result, not an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The idempotency key was used for another request.
    #[error("the idempotency key belongs to another request")]
    IdempotencyKeyReused {
        /// What the key made.
        subject: Subject,
        /// The request fields that differ.
        fields: Vec<String>,
    },
    /// The merchant reference belongs to another payment, or to another refund.
    #[error("the merchant reference belongs to another {}", subject.kind())]
    MerchantReferenceConflict {
        /// What has it.
        subject: Subject,
    },
    /// More than is left of the payment.
    #[error("the amount is more than what is left to refund: {refundable}")]
    AmountExceedsRefundable {
        payment_id: PaymentId,
        /// What is left.
        refundable: Money,
    },
    /// A cancel by reference or key came before this request; the order is closed for ever.
    #[error("the order was canceled before it was created")]
    CanceledBeforeCreation,
    /// The state of the payment or the refund does not allow the request.
    #[error("the state of the {} does not allow this: {detail}", subject.kind())]
    InvalidState {
        /// Whose state.
        subject: Subject,
        /// What stands in the way.
        detail: &'static str,
    },
    /// Alipay no longer takes a cancel of the payment.
    #[error("the payment can no longer be canceled")]
    CancelWindowClosed {
        payment_id: PaymentId,
        /// What to do in its place.
        alternative: Alternative,
        /// Whether this request's cancel went to Alipay all the same.
        was_sent: bool,
    },
    /// The payment is paid, and the time in which whoever takes payments may undo a sale is over: giving
    /// its money back needs the right to refund.
    #[error("canceling a paid payment needs the right to refund")]
    RefundRightRequired {
        /// The payment.
        payment_id: PaymentId,
    },
    /// Alipay refused the cancel of the payment, which was sent, and not for the time.
    #[error("Alipay refused the cancel: {reason}")]
    CancelRefused {
        payment_id: PaymentId,
        /// Alipay's code, where it gave one.
        code: Option<String>,
        /// Why, in one sentence.
        reason: String,
    },
    /// An operator decided that the payment stands, which ended the cancel that was sent.
    #[error("an operator ended the cancel")]
    CancelWithdrawn { payment_id: PaymentId },
    /// A cancel of the payment has left a moment ago and may return the money still.
    #[error("a cancel may act for {retry_after_seconds} s still")]
    CancelMayAct {
        payment_id: PaymentId,
        /// After how many seconds it is known.
        retry_after_seconds: u32,
    },
    /// Alipay refused the refund by which a payment was to be undone: nothing went back.
    #[error("Alipay refused the refund: {code}")]
    RefundRefused {
        /// The refund that failed.
        refund_id: RefundId,
        /// Alipay's code.
        code: String,
        /// What to do about it.
        message: String,
    },
    /// Alipay was asked and gave no answer that could be used.
    #[error("no usable answer came from Alipay: {class}")]
    UpstreamSilent {
        /// What was asked about.
        subject: Subject,
        /// What came in place of an answer.
        class: &'static str,
    },
    /// The access token is not believed.
    #[error("{}", .0.detail())]
    InvalidToken(TokenFault),
    /// The issuer of access tokens was never reached, so no token can be judged; nothing was attempted.
    #[error("the keys of the token issuer are not known")]
    IssuerSilent,
    /// The key's requests came too fast; nothing was begun.
    #[error("too many requests of this API key")]
    RateLimited {
        /// When to come again.
        retry_after_seconds: u32,
    },
    /// The merchant has as much under way as it may; nothing was begun.
    #[error("too much of this merchant is under way")]
    MerchantBusy,
    /// This replica has as much under way as it takes; nothing was begun.
    #[error("too much is under way")]
    Overloaded,
    /// The Alipay account is not among those configured, so nothing can be asked for it; nothing was
    /// attempted.
    #[error("no Alipay account {partner} is configured")]
    AccountNotConfigured { partner: String },
    /// The merchant does not let so much go back (`docs/invariants.md` Q9).
    #[error("the refund is above the merchant's limit `{}`", exceeded.limit.as_str())]
    RefundLimitExceeded {
        payment_id: PaymentId,
        /// Which limit, and what is left.
        exceeded: LimitExceeded,
    },
    /// Alipay does not answer for the account at present; nothing was attempted.
    #[error("Alipay does not answer at present")]
    UpstreamUnavailable {
        /// When to come again.
        retry_after_seconds: u32,
    },
    /// Alipay refuses whatever the account asks; nothing was attempted.
    #[error("Alipay refuses the account: {code}")]
    AccountRefused {
        /// Alipay's last code.
        code: String,
        /// When to come again.
        retry_after_seconds: u32,
    },
    /// More than one merchant is this secondary merchant: the caller must say which is meant.
    #[error("more than one merchant is this secondary merchant")]
    MerchantAmbiguous,
    /// Other data of the store are under review, and Alipay takes one registration at a time.
    #[error("other data of the {} are under review", subject.kind())]
    ReviewUnderWay {
        /// Which registration.
        subject: Subject,
    },
    /// The drivers of a taxi cannot be changed once they are approved.
    #[error("the drivers of the {} cannot be changed", subject.kind())]
    DriversAreFixed {
        /// Which registration.
        subject: Subject,
    },
    /// The store is registered for another merchant of the same Alipay account.
    #[error("the store is registered for another merchant of the Alipay account")]
    RegisteredForAnother,
    /// There is no such merchant.
    #[error("there is no such merchant")]
    NoSuchMerchant,
    /// The same code, amount and till were used within the last minute; or a refund of the same amount
    /// of the payment is open, or was made within the last minute.
    #[error("it looks like the {} that was made before it", subject.kind())]
    SuspectedDuplicate {
        /// The earlier payment or refund.
        subject: Subject,
    },
    /// The database cannot be reached, and nothing was attempted: what was asked for was not begun,
    /// and nothing that is under way can still begin it.
    #[error("the database cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was asked for may have been begun, or may still be: the database did not say. A repeat
    /// with the same key, or a look, finds out.
    #[error("whether it was begun is not known")]
    InDoubt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A fault of ours; what it left behind is not known.
    #[error("internal fault")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What to do where a cancel is no longer possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alternative {
    /// The payment is paid: return the money by a refund.
    Refund,
    /// The outcome is open: the follow-up will find it, and Alipay closes what is unpaid.
    Wait,
}

impl Alternative {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refund => "refund",
            Self::Wait => "wait",
        }
    }
}

impl Error {
    /// The same fault after something was begun: "nothing was attempted" would be wrong.
    #[must_use]
    pub fn after_begin(self) -> Self {
        match self {
            Self::Unavailable(source) => Self::InDoubt(source),
            other => other,
        }
    }
}

impl From<db::error::Error> for Error {
    fn from(error: db::error::Error) -> Self {
        if error.is_in_doubt() {
            Self::InDoubt(Box::new(error))
        } else if error.is_transient() {
            Self::Unavailable(Box::new(error))
        } else {
            Self::Internal(Box::new(error))
        }
    }
}

/// Why a visit ended early; the worker tries again later.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// The database did not do its part.
    #[error("the follow-up was interrupted")]
    Db(#[from] db::error::Error),
    /// Alipay cannot be asked: the account is not among those configured. What it is about stays owed.
    #[error("no Alipay account {0} is configured")]
    AccountNotConfigured(String),
}

impl Interrupted {
    /// Whether what was visited itself cannot be worked on; else it is a fault of the environment, which
    /// passes.
    pub const fn is_of_the_row(&self) -> bool {
        match self {
            Self::Db(error) => error.is_of_the_row(),
            Self::AccountNotConfigured(_) => false,
        }
    }
}

impl From<Interrupted> for Error {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::Db(error) => error.into(),
            Interrupted::AccountNotConfigured(partner) => Self::AccountNotConfigured { partner },
        }
    }
}

/// Why an update could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// The claim passed to another worker, which will learn the truth itself.
    #[error("the claim on the follow-up was lost")]
    LeaseLost,
    /// What it is about vanished, which the schema forbids.
    #[error("what it is about does not exist")]
    Missing,
    /// The database stayed away for longer than we insist.
    #[error("the database could not record the answer")]
    Db(#[from] db::error::Error),
}

impl From<RecordError> for Error {
    fn from(error: RecordError) -> Self {
        match error {
            // Alipay was asked, or a person has decided, whatever becomes of it.
            RecordError::Db(error) => Self::from(error).after_begin(),
            RecordError::LeaseLost | RecordError::Missing => Self::Internal(Box::new(error)),
        }
    }
}

/// What was recorded; `None` where another worker goes on: a lost claim is no error of the visit.
pub(super) fn unless_lost<T>(recorded: Result<T, RecordError>) -> Result<Option<T>, Interrupted> {
    match recorded {
        Ok(recorded) => Ok(Some(recorded)),
        Err(RecordError::Missing) => Ok(None),
        Err(RecordError::LeaseLost) => {
            tracing::warn!("the claim on the follow-up was lost; another worker goes on");
            Ok(None)
        }
        Err(RecordError::Db(error)) => Err(Interrupted::Db(error)),
    }
}
