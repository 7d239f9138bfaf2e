//! What a merchant may do at most.

/// Limits in minor units; absent ones do not limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most of one payment.
    pub max_payment_minor: Option<i64>,
    /// Most of one refund.
    pub max_refund_minor: Option<i64>,
    /// Most that refunds of one day in Hong Kong (GMT+8) may come to.
    pub max_refunded_per_day_minor: Option<i64>,
}

impl Limits {
    /// These limits, and those of `default` where these do not say.
    #[must_use]
    pub fn or(self, default: Self) -> Self {
        Self {
            max_payment_minor: self.max_payment_minor.or(default.max_payment_minor),
            max_refund_minor: self.max_refund_minor.or(default.max_refund_minor),
            max_refunded_per_day_minor: self
                .max_refunded_per_day_minor
                .or(default.max_refunded_per_day_minor),
        }
    }
}
