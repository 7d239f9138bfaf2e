//! Who may call: keys made, replaced and revoked, and access tokens read.

pub mod api_keys;
pub(in crate::app) mod tokens;
