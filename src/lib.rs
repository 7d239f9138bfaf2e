//! A gateway for AlipayHK in-store barcode payments.

pub mod app;
pub mod clock;
pub mod config;
pub mod domain;
pub mod http;
pub mod shutdown;
pub mod startup;
pub mod telemetry;
