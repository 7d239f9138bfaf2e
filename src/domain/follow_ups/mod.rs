//! The schedule: what is asked later, and what is owed besides the plan.

pub mod lease;
pub mod question;
pub mod schedule;
