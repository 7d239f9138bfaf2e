//! `/v1/admin`: who may call, and who did what. Scope `admin`: a merchant's key administers its own
//! merchant, the operator's all of them.

pub mod api_keys;
pub mod audit_log;
pub mod merchant_body;
pub mod merchants;
pub mod partners;
pub mod stores;
