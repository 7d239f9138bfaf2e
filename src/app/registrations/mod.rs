//! The registration of stores with Alipay: the same shape as payments and refunds. The intent commits
//! the data, the call is detached from the caller, what is learnt goes through one record, and a visit
//! of the schedule asks again (`docs/protocol.md` 10).
//!
//! What repeats is identity-stable: a question, or the same data under the same ids, which Alipay takes
//! as an update of what it has.

mod ask;
mod follow_up;
mod job;
mod outcome;
mod read;
mod record;
mod refresh;
mod register;
mod sealing;
mod subject;

use super::error::Error;
use crate::{
    alipay::request::drivers_text,
    domain::{
        id::MerchantId,
        registrations::Driver,
        text::{TooLong, fits_alipay, longest},
    },
};

pub use job::FollowUpRegistration;
pub use register::{Registered, RegistrationWish};

pub(super) use record::describe_metrics;

/// Whether so many drivers fit into one registration, as the text that Alipay takes of them.
pub fn check_drivers(drivers: &[Driver]) -> Result<(), TooLong> {
    fits_alipay(&drivers_text(drivers), longest::DRIVERS)
}

/// Which store is meant, by Alipay's ids and, where those are not enough, its merchant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreRef<'a> {
    /// The merchant at Alipay.
    pub secondary_merchant_id: &'a str,
    pub store_id: &'a str,
    /// The merchant here.
    pub merchant_id: Option<MerchantId>,
}

/// The one that was found; more than one is for the caller to tell apart.
fn only<T>(found: Vec<T>) -> Result<Option<T>, Error> {
    let mut found = found.into_iter();
    let first = found.next();
    if found.next().is_some() {
        return Err(Error::MerchantAmbiguous);
    }
    Ok(first)
}
