//! The workers behind the durable schedule. What a job is, and which kinds there are, is said by
//! [`crate::app::job`]; nothing here names one.
//!
//! | file | what runs |
//! |---|---|
//! | [`worker`] | one loop for each kind of job: claim what is due, run it, give it back |
//! | [`maintenance`] | what keeps the schedule whole, now and then |
//! | [`fetcher`] | daily files, by the hours of each account |
//! | [`backoff`] | how long to wait after our own errors |
//!
//! Two counters are kept apart: our own errors (`error_count`, which parks a row for a person after
//! many of them) and the polite "still waiting" of Alipay (`queries`, and a refund's `checks_done`),
//! which the plan bounds by time.

pub mod backoff;
pub mod fetcher;
pub mod maintenance;
pub mod worker;
