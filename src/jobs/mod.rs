//! The workers behind the durable schedule.
//!
//! Contract: a visit is a reconciler. It takes a claim and nothing else, reads what is true, asks
//! the next question of the plan, and writes what it learnt under the claim's fence. It may be cut
//! anywhere and visited again by another replica once the lease is over; two visits at once do no
//! harm because questions are identity-stable and results are fenced
//! (`docs/invariants.md` R10–R12).
//!
//! Two counters are kept apart: our own errors (`error_count`, which parks a row for a person after
//! many of them) and the polite "still waiting" of Alipay (`queries`, and a refund's `checks_done`),
//! which the plan bounds by time.

//!
//! [`fetcher`] is a loop of its own: it fetches daily files, by the hours of each account.

pub mod backoff;
pub mod fetcher;
pub mod worker;
