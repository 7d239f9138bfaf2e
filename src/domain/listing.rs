//! Which payments to list, and one page of them.

use chrono::{DateTime, Utc};

use super::id::PaymentId;

/// Which payments to list. Absent fields do not restrict.
#[derive(Clone, Debug, Default)]
pub struct PaymentFilter {
    /// A public status name.
    pub status: Option<String>,
    /// The caller's own number.
    pub merchant_reference: Option<String>,
    /// Alipay's id.
    pub alipay_trans_id: Option<String>,
    /// The shop.
    pub store_id: Option<String>,
    /// The till.
    pub terminal_id: Option<String>,
    /// Created at or after.
    pub created_from: Option<DateTime<Utc>>,
    /// Created before.
    pub created_to: Option<DateTime<Utc>>,
}

/// One page of a list, newest first.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts: the id of the last item here; absent on the last page.
    pub next: Option<PaymentId>,
}
