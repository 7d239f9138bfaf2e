//! Payments: what is asked, its states, and when Alipay is asked about it.

pub mod barcode;
pub mod buyer;
pub mod payment;
pub mod plan;
pub mod poll;
