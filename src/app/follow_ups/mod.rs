//! The schedule as operators see and steer it, and what on it needs a person.

mod schedule;
mod unresolved;
