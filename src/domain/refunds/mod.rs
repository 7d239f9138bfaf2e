//! Refunds: what is asked, its states, and when Alipay is asked about it.

pub mod plan;
pub mod refund;
