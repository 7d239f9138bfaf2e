//! The registration of a store with Alipay and its review (`docs/protocol.md` 10).
//!
//! Registering is an upsert under the ids of the merchant and the store, so sending the same data again
//! is harmless, and a lost answer costs a question. Alipay's `SUCCESS` to it means *accepted*: only a
//! signed answer to the question after its status makes a registration `approved`.
//!
//! What an answer about the status is about is not said by it: an earlier registration, made here or
//! elsewhere, has the same ids. So what it says of a review counts for what was sent last only where
//! that is known to have been heard, or where the registered data that it repeats are those. In doubt
//! the data are sent again.

mod data;
mod plan;
mod registration;
mod review;
#[cfg(test)]
mod tests;

pub use data::{
    Agreement, Driver, MAX_DRIVERS, MerchantType, PersonalData, RegisteredData, StoreFacts, TAXI,
    is_alipay_id, is_same_plate,
};
pub use plan::{RegistrationStep, gives_up_at, next_check_at, next_step};
pub use registration::{
    Approved, Decision, Fingerprint, KNOWN_STORE_STATUSES, Registration, RegistrationActor,
    RegistrationChange, RegistrationFilter, RegistrationStatus, Rejection, Submission,
};
pub use review::RegistrationEvent;
