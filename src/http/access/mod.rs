//! `/v1/admin/api-keys`: who may call. Scope `admin`: a merchant's key administers its own merchant, the
//! operator's all of them.

pub mod api_keys;
