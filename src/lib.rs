//! A gateway for AlipayHK in-store barcode payments.

pub mod alipay;
pub mod clock;
pub mod domain;
