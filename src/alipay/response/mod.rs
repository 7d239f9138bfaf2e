//! Answers: bytes to a verified set of fields, and fields to what they mean.
//!
//! The order is fixed: decode by the declared charset, parse once, verify over the fields that were
//! parsed, compare with what was sent, and only then read a meaning (`docs/invariants.md` R15).
//! `<request>`, `is_success` and `error` are not signed: they can only make an answer less
//! believable.

mod envelope;
mod fields;
mod pay_query_cancel;
mod refund;
mod store;

#[cfg(test)]
pub(super) mod tests;

use crate::domain::attempt::{AnswerClass, AttemptKind};

pub(super) use envelope::{Reply, read};
pub(super) use fields::Fields;

use super::{
    error::Fault,
    result_code::{self, Codes},
};

/// What an answer means, and how the attempt's row names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading<T> {
    pub(super) outcome: T,
    pub(super) class: AnswerClass,
    pub(super) code: Option<String>,
}

impl<T> Reading<T> {
    fn new(outcome: T, class: AnswerClass, code: Option<&str>) -> Self {
        Self {
            outcome,
            class,
            code: code.and_then(result_code::presentable),
        }
    }
}

/// A typed request that knows how to read its answer.
pub(super) trait Readable {
    /// What its answers mean.
    type Outcome;
    /// The outcome of silence.
    const UNKNOWN: Self::Outcome;
    /// The outcome of a request that never left.
    const NOT_SENT: Self::Outcome = Self::UNKNOWN;
    /// Which service it asks.
    const SERVICE: AttemptKind;

    /// Reads a verified business answer.
    fn read(&self, fields: &Fields, codes: &Codes) -> Result<Reading<Self::Outcome>, Fault>;

    /// Reads a refusal at the door (`is_success=F`) whose signature was verified. A refusal without
    /// one never comes here: it is unknown.
    fn read_refusal(&self, code: &str, codes: &Codes) -> Self::Outcome;

    /// Reads a refusal at the door that need not be signed, where the service is documented to give
    /// its business refusals so and nothing is lost by believing one (`docs/protocol.md` 3.4, 4.7).
    fn read_business_refusal(&self, _code: &str, _codes: &Codes) -> Option<Reading<Self::Outcome>> {
        None
    }
}

/// Reads any reply. A refusal at the door is believed only if it is signed and its code documented;
/// the registration of stores, by which no money moves, has refusals that are not signed.
pub(super) fn interpret<R: Readable>(
    request: &R,
    reply: &Reply,
    codes: &Codes,
) -> Result<Reading<R::Outcome>, Fault> {
    let (code, verified) = match reply {
        Reply::Accepted(fields) => return request.read(fields, codes),
        Reply::Refused { code, verified } => (code, *verified),
    };
    if let Some(reading) = request.read_business_refusal(code, codes) {
        return Ok(reading);
    }
    let class = if result_code::is_system_error(code) {
        AnswerClass::SystemError
    } else {
        AnswerClass::AccessRefused
    };
    let believed = verified && result_code::is_access_refusal(code);
    let outcome = if believed {
        request.read_refusal(code, codes)
    } else {
        R::UNKNOWN
    };
    Ok(Reading::new(outcome, class, Some(code)))
}
