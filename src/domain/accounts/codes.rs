//! Codes of Alipay's answers, and what they mean.

use std::borrow::Cow;

use crate::domain::{attempt::AttemptKind, payments::payment::RetryAdvice};

/// What a code means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Refused for good: nothing was done and nothing will be.
    Definite {
        retry: RetryAdvice,
        /// Why, in one sentence for the person at the till. What to do follows from `retry`.
        reason: Cow<'static, str>,
    },
    /// Refused for a fault of the request, the contract or the set-up: nothing was done, and an
    /// operator must look.
    NotExecuted {
        /// Why, in one sentence for the person at the till.
        reason: Cow<'static, str>,
    },
    /// The state does not allow it as it stands: it must be asked for.
    InProgress,
    /// What was asked about does not exist.
    NotFound,
    /// Not now; the same request may succeed later.
    Later,
    /// Says nothing about what was done.
    Unknown,
}

impl Meaning {
    /// The name in the file of added codes.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Definite { .. } => "definite",
            Self::NotExecuted { .. } => "not_executed",
            Self::InProgress => "in_progress",
            Self::NotFound => "not_found",
            Self::Later => "later",
            Self::Unknown => "unknown",
        }
    }

    /// What may be tried after this refusal, and why it was refused; `None` where it is none.
    pub fn refusal(&self) -> Option<(RetryAdvice, &str)> {
        match self {
            Self::Definite { retry, reason } => Some((*retry, reason)),
            // The till can change neither the request nor the set-up.
            Self::NotExecuted { reason } => Some((RetryAdvice::No, reason)),
            Self::InProgress | Self::NotFound | Self::Later | Self::Unknown => None,
        }
    }
}

/// A code that an operator added, or a sentence of his own for one that is documented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedCode {
    /// The service whose answers contain the code.
    pub service: AttemptKind,
    pub code: String,
    pub meaning: Meaning,
}
