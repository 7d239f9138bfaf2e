//! Who may call, and who did what.

mod api_keys;
mod audit;
