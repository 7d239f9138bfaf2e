//! A gateway for AlipayHK in-store barcode payments.

pub mod alipay;
pub mod app;
pub mod clock;
pub mod config;
pub mod db;
pub mod dev;
pub mod domain;
pub mod failpoint;
pub mod http;
pub mod jobs;
pub mod keys;
pub mod shutdown;
pub mod startup;
pub mod telemetry;
