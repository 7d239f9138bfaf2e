//! Why a use case was refused; free of HTTP.

use crate::{db, domain::id::PaymentId};

/// A refusal or a fault. A declined payment is a result, not an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The idempotency key was used for another request.
    #[error("the idempotency key belongs to another request")]
    IdempotencyKeyReused {
        /// The payment the key made.
        payment_id: PaymentId,
        /// The request fields that differ.
        fields: Vec<String>,
    },
    /// The merchant reference belongs to another payment.
    #[error("the merchant reference belongs to another payment")]
    MerchantReferenceConflict {
        /// The payment that has it.
        payment_id: PaymentId,
    },
    /// The same code, amount and till were used within the last minute.
    #[error("the same code, amount and terminal were used within the last 60 seconds")]
    SuspectedDuplicate {
        /// The earlier payment.
        payment_id: PaymentId,
    },
    /// The database cannot be reached, and nothing was attempted.
    #[error("the database cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A fault of ours; nothing was attempted.
    #[error("internal fault")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<db::error::Error> for Error {
    fn from(error: db::error::Error) -> Self {
        if error.is_transient() {
            Self::Unavailable(Box::new(error))
        } else {
            Self::Internal(Box::new(error))
        }
    }
}
