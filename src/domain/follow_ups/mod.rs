//! The schedule: what is asked later, and what is owed besides the plan.

pub(in crate::domain) mod question;
pub mod schedule;
