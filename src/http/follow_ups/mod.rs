//! What operators read and steer: the durable schedule, and the payments and refunds that need a person.

pub mod schedule;
pub mod unresolved;
pub mod view;
