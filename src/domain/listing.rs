//! Which payments or refunds to list, and one page of them.

use chrono::{DateTime, Utc};

use super::{id::PaymentId, refunds::refund::RefundMode};

/// Which payments to list. Absent fields do not restrict.
#[derive(Clone, Debug, Default)]
pub struct PaymentFilter {
    /// A public status name.
    pub status: Option<String>,
    /// The caller's own number.
    pub merchant_reference: Option<String>,
    pub alipay_trans_id: Option<String>,
    pub store_id: Option<String>,
    /// The till.
    pub terminal_id: Option<String>,
    /// Created at or after.
    pub created_from: Option<DateTime<Utc>>,
    /// Created before.
    pub created_to: Option<DateTime<Utc>>,
}

/// Which refunds to list. Absent fields do not restrict.
#[derive(Clone, Debug, Default)]
pub struct RefundFilter {
    /// A public status name.
    pub status: Option<String>,
    /// Now or in the batch.
    pub mode: Option<RefundMode>,
    /// Whose refunds.
    pub payment_id: Option<PaymentId>,
    /// Created at or after.
    pub created_from: Option<DateTime<Utc>>,
    /// Created before.
    pub created_to: Option<DateTime<Utc>>,
}

/// One page of a list, newest first.
#[derive(Clone, Debug)]
pub struct Page<T, I> {
    pub items: Vec<T>,
    /// Where the next page starts: the id of the last item here; absent on the last page.
    pub next: Option<I>,
}

impl<T, I> Page<T, I> {
    /// A list without items.
    pub const fn none() -> Self {
        Self {
            items: Vec::new(),
            next: None,
        }
    }

    /// Cuts what was read, one more than `limit` where there are more, to a page.
    pub fn cut(mut items: Vec<T>, limit: u16, id: impl FnOnce(&T) -> I) -> Self {
        let more = items.len() > usize::from(limit);
        items.truncate(usize::from(limit));
        let next = if more { items.last().map(id) } else { None };
        Self { items, next }
    }

    /// The page with each item in another form.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U, I> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            next: self.next,
        }
    }
}
