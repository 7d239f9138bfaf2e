//! Refunds: the same shape as payments. The intent reserves the amount, the call is detached from
//! the caller, what is learnt goes through one record, and a visit of the schedule asks again.
//!
//! What repeats is identity-stable: a query, or the request under the refund's own id and with its
//! own amount (`docs/invariants.md` R11, M4). The request is sent again only where a query said that
//! Alipay knows no such refund, or where it was never sent.

mod ask;
mod create;
mod follow_up;
mod job;
mod limits;
mod outcome;
mod read;
mod record;
mod refresh;
mod resolve;
mod reverse;
mod subject;

pub use create::CreatedRefund;
pub use job::FollowUpRefund;
pub use read::RefundOutlook;
pub use reverse::{Fee, Reversal, ReversalAction};

pub(super) use record::RefundUpdate;

/// Describes the metrics of refunds; call once, after the recorder is installed.
pub(super) fn describe_metrics() {
    limits::describe_metrics();
    record::describe_metrics();
}
