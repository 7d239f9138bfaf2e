//! Payments: taken, undone, asked about, and what was learnt of them.
//!
//! | file | use case |
//! |---|---|
//! | `create` | take a payment: intent, call, record |
//! | `cancel` | undo a payment, also one whose answer never arrived |
//! | `ask` | one question to Alipay, by a worker or by a caller |
//! | `outcome` | what an answer means for the payment |
//! | `record` | persist what was learnt; the only such path |
//! | `job` | how the workers claim and run it |
//! | `follow_up` | one visit of the schedule to an open payment |
//! | `refresh` | ask now, for a caller |
//! | `resolve` | an operator decides what stayed open |
//! | `subject` | what the pipeline asks of a payment |
//! | `read` | look without asking Alipay |

pub(in crate::app) mod ask;
pub(in crate::app) mod cancel;
pub(in crate::app) mod create;
pub(in crate::app) mod follow_up;
mod job;
pub(in crate::app) mod outcome;
pub(in crate::app) mod read;
pub(in crate::app) mod record;
pub(in crate::app) mod refresh;
pub(in crate::app) mod resolve;
mod subject;

pub use cancel::{Canceled, Known};
pub use create::Created;
pub use job::{ClosePayment, ConfirmPayment};
pub use read::{Timeline, Wait};
