//! Who sells, who may call, and who did what.

mod api_keys;
mod audit;
mod merchants;
