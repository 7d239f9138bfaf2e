//! Merchants and their stores: who sells, where, and under which rules.

pub mod limits;
pub mod merchant;
pub mod rules;
pub mod store;
