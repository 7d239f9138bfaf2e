//! A gateway for AlipayHK in-store barcode payments.
