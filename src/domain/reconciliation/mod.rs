//! Alipay's daily files against our books: what a row proves, what can differ, and what a comparison
//! found (`docs/protocol.md` 9.6).
//!
//! A file is evidence that money moved. What it proves about an order whose outcome is open goes into
//! the books, through the same [`Payment::apply`](super::payments::payment::Payment::apply) and
//! [`Refund::apply`](super::refunds::refund::Refund::apply) as any truth; what it contradicts is an incident for a
//! person, and changes nothing (`docs/invariants.md` R23, M6).

pub mod csv;
pub mod daily_file;
mod judge;
mod report;
pub mod statement;

pub use judge::{
    SiblingRows, Verdict, judge_payment, judge_portal_refund, judge_refund, tells_of_another,
};
pub use report::{
    Counts, Difference, DifferenceClass, DifferenceFilter, ReconciledFile, Reconciliation,
    ReconciliationFilter, ReconciliationItem, ReconciliationStatus, Source, StoredFault,
    ToldDifference, Total,
};

use chrono::NaiveDate;

use super::reconciliation::daily_file::FileKind;

/// What a file is known by before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    pub partner: String,
    /// Which of the two daily files.
    pub kind: FileKind,
    /// The GMT+8 day it is of.
    pub day: NaiveDate,
    /// What it is called, without its directory.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    pub size_bytes: i64,
}

/// What Alipay does with its fee when a payment is refunded (`docs/protocol.md` 9.6: by contract).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeeOfRefunds {
    /// It gives back its part.
    Returned,
    /// It keeps it.
    Kept,
}

stored_names!(FeeOfRefunds {
    Returned = "returned",
    Kept = "kept",
});

/// How files are compared with the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What Alipay keeps of a payment by contract, in hundredths of a percent, rounded half up; fees
    /// are not checked where it is absent.
    pub fee_basis_points: Option<i32>,
    /// By how much a fee may differ from that, in minor units: Alipay's rounding is not documented.
    pub fee_tolerance_minor: i64,
    /// What becomes of the fee of what is refunded; not checked where it is absent.
    pub fee_of_refunds: Option<FeeOfRefunds>,
    /// After how many days a transaction must have been settled.
    pub settled_within_days: i32,
}

/// The rules that hold where nothing is configured.
impl Default for Rules {
    fn default() -> Self {
        Self {
            fee_basis_points: None,
            fee_tolerance_minor: 0,
            fee_of_refunds: None,
            settled_within_days: 5,
        }
    }
}
