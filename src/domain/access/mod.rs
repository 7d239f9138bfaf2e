//! Who may call: keys, access tokens, scopes, and whom they stand for.

pub mod api_key;
pub mod issuer;
pub mod principal;
pub mod token;
