//! Keys, and who they stand for.

pub mod api_keys;
