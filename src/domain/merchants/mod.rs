//! Merchants and their stores: who sells, where, and under which rules.

use chrono::{DateTime, Utc};

pub mod limits;
pub mod merchant;
pub mod rules;
pub mod store;

/// Whether a merchant or a store takes payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    Active,
    Disabled,
}

stored_names!(Activity {
    Active = "active",
    Disabled = "disabled",
});

impl Activity {
    /// Of what was disabled then, if it was.
    pub const fn of(disabled_at: Option<DateTime<Utc>>) -> Self {
        match disabled_at {
            Some(_) => Self::Disabled,
            None => Self::Active,
        }
    }
}
