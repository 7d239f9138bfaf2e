//! An account at Alipay as it is set up: how it signs, what its codes mean, how long its calls may take.

pub mod codes;
pub mod host_key;
pub mod signing;
pub mod timeouts;
