//! A gateway for AlipayHK in-store barcode payments.

pub mod dev;
pub mod keys;
