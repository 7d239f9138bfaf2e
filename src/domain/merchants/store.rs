//! The store that a payment is taken in, as Alipay must be told of it, and as one look-up finds it.

use super::rules::{Breach, Rules};
use crate::domain::money::Money;

/// A store as Alipay must be told of it in each payment: partner, secondary merchant and store pin
/// down one place (`docs/protocol.md` 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Unique within the merchant, for example `ST01`.
    pub store_id: String,
    pub store_name: String,
    /// The Alipay account that is paid: 16 digits.
    pub partner: String,
    /// The merchant's id at Alipay.
    pub secondary_merchant_id: String,
    /// The merchant's legal name.
    pub secondary_merchant_name: String,
    /// The merchant category code: 4 digits.
    pub secondary_merchant_industry: String,
}

/// A store as a payment needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreForPayment {
    /// What Alipay must be told of it.
    pub store: Store,
    /// What its merchant asks of payments.
    pub rules: Rules,
    /// Whether the merchant takes no payments.
    pub merchant_disabled: bool,
    /// Whether the store takes no payments.
    pub store_disabled: bool,
}

impl StoreForPayment {
    /// The rules that a payment here breaks.
    pub fn breaches(&self, terminal_id: Option<&str>, amount: Option<Money>) -> Vec<Breach> {
        let closed = self.store_disabled.then_some(Breach::StoreDisabled);
        let broken = self.rules.breaches(terminal_id, amount);
        closed.into_iter().chain(broken).collect()
    }
}
