//! What a comparison found.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;

use crate::domain::{
    id::{DifferenceId, FileId, MerchantId, PaymentId, ReconciliationId, RefundId},
    money::Money,
    reconciliation::daily_file::{FileKind, RowType},
};

/// How the files came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Upload,
    /// By `alipayhk-gateway reconcile`.
    CommandLine,
    /// Fetched from Alipay.
    Sftp,
}

stored_names!(Source {
    Upload = "upload",
    CommandLine = "command_line",
    Sftp = "sftp",
});

/// Where a comparison stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconciliationStatus {
    /// The files are being read or compared.
    Running,
    /// Nothing was done for ten minutes: the process died. The same files again continue it.
    Interrupted,
    /// It was interrupted, and other files of all its days were reconciled since: nobody need continue it.
    Superseded,
    /// A file of it cannot be read, and nothing of it was taken.
    Failed,
    Complete,
}

stored_names!(ReconciliationStatus {
    Running = "running",
    Interrupted = "interrupted",
    Superseded = "superseded",
    Failed = "failed",
    Complete = "complete",
});

/// In what way a row and the books differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DifferenceClass {
    /// The row names our order, and beside it Alipay's id of another trade, another wallet or another
    /// merchant. It settles nothing.
    IdentityDiffers,
    AmountDiffers,
    CurrencyDiffers,
    /// Alipay keeps another fee than the configured rate makes.
    FeeDiffers,
    /// What is paid out is not the amount less the fee.
    NetDiffers,
    /// The file says that money moved, the books that it did not, or has not yet.
    StatusDiffers,
    DayDiffers,
    /// Ours, and not in the file.
    MissingInFile,
    /// In the file, and not ours.
    UnknownToUs,
    /// A refund that was made in Alipay's merchant portal and is now in the books.
    PortalRefund,
    /// The same row again, in this file or in an earlier one.
    Duplicate,
    SettledTwice,
    /// Due for settlement, and in no settlement file.
    NotSettled,
    /// The order was open, and the row settled it.
    Corrected,
}

stored_names!(DifferenceClass {
    IdentityDiffers = "identity_differs",
    AmountDiffers = "amount_differs",
    CurrencyDiffers = "currency_differs",
    FeeDiffers = "fee_differs",
    NetDiffers = "net_differs",
    StatusDiffers = "status_differs",
    DayDiffers = "day_differs",
    MissingInFile = "missing_in_file",
    UnknownToUs = "unknown_to_us",
    PortalRefund = "portal_refund",
    Duplicate = "duplicate",
    SettledTwice = "settled_twice",
    NotSettled = "not_settled",
    Corrected = "corrected",
});

impl DifferenceClass {
    /// In words, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::IdentityDiffers => "the file has another trade, wallet or merchant",
            Self::AmountDiffers => "the file has another amount",
            Self::CurrencyDiffers => "the file has another currency",
            Self::FeeDiffers => "Alipay keeps another fee than the configured rate makes",
            Self::NetDiffers => "what is paid out is not the amount less the fee",
            Self::StatusDiffers => "money moved by the file, and did not by the books",
            Self::DayDiffers => "the file has another day",
            Self::MissingInFile => "ours, and not in the file",
            Self::UnknownToUs => "in the file, and not ours",
            Self::PortalRefund => "refunded in Alipay's merchant portal, and now in the books",
            Self::Duplicate => "the same row again",
            Self::SettledTwice => "paid out before",
            Self::NotSettled => "due to be paid out, and in no settlement file",
            Self::Corrected => "was open in the books, and the row settled it",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Sorts by file and line.
    pub id: DifferenceId,
    pub file_id: FileId,
    pub file_name: String,
    /// Its line; absent where the file lacks the row.
    pub line: Option<i64>,
    /// In what way.
    pub class: DifferenceClass,
    /// What the row books, or should.
    pub row_type: RowType,
    /// Whose it is, where that is known.
    pub merchant_id: Option<MerchantId>,
    /// Which payment, where that is known.
    pub payment_id: Option<PaymentId>,
    pub refund_id: Option<RefundId>,
    /// The store, as we know it or as the file names it.
    pub store: Option<String>,
    /// Our id as the file has it, or should: of a refund it is the `partner_refund_id`.
    pub partner_trans_id: Option<String>,
    pub alipay_trans_id: Option<String>,
    /// Of the row, or of ours where there is no row.
    pub amount: Money,
    /// What the books say.
    pub expected: Option<String>,
    /// What the file says.
    pub found: Option<String>,
    /// When somebody took note of it.
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// Who: a [`AuditActor`](crate::domain::audit::AuditActor) as it was stored.
    pub acknowledged_by: Option<Value>,
    /// Why it is no reason for alarm.
    pub acknowledged_reason: Option<String>,
}

/// A difference as it belongs to one payment: where it was told, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct ToldDifference {
    /// Which.
    pub id: DifferenceId,
    /// By which comparison.
    pub reconciliation_id: ReconciliationId,
    /// When that was done, or begun where it is not.
    pub at: DateTime<Utc>,
    /// In what way.
    pub class: DifferenceClass,
    /// What the row books, or should.
    pub row_type: RowType,
    pub file_name: String,
    /// Its line; absent where the file lacks the row.
    pub line: Option<i64>,
    pub refund_id: Option<RefundId>,
    /// What the books say.
    pub expected: Option<String>,
    /// What the file says.
    pub found: Option<String>,
    /// When somebody took note of it.
    pub acknowledged_at: Option<DateTime<Utc>>,
    /// Why it is no reason for alarm.
    pub acknowledged_reason: Option<String>,
}

/// Which differences to list. Absent fields do not restrict.
#[derive(Clone, Copy, Debug, Default)]
pub struct DifferenceFilter<'a> {
    /// In this way.
    pub class: Option<DifferenceClass>,
    pub merchant_id: Option<MerchantId>,
    pub store: Option<&'a str>,
    /// Whether somebody took note of it.
    pub acknowledged: Option<bool>,
}

/// Which reconciliations to list. Absent fields do not restrict.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReconciliationFilter<'a> {
    /// Of this Alipay account.
    pub partner: Option<&'a str>,
    /// With a file of this day.
    pub day: Option<NaiveDate>,
    pub kind: Option<FileKind>,
    /// That stand so.
    pub status: Option<ReconciliationStatus>,
    /// This one alone.
    pub id: Option<ReconciliationId>,
}

/// A row that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFault {
    pub file_name: String,
    pub line: i64,
    /// The column; absent where the line as a whole is meant.
    pub column: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// A file of a reconciliation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconciledFile {
    /// Which content.
    pub id: FileId,
    /// Which of the two daily files.
    pub kind: FileKind,
    /// The GMT+8 day it is of.
    pub day: NaiveDate,
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: Vec<u8>,
    /// Counts the contents under this name; absent until it was read.
    pub version: Option<i32>,
    /// Whether a later version took its place.
    pub is_superseded: bool,
    /// Whether it lacks rows, so that a whole version is still to come.
    pub is_provisional: bool,
    /// Rows that were read.
    pub rows: i64,
    /// Rows that could not be read.
    pub faults: i64,
    /// Rows that agree with the books.
    pub matched: i64,
    /// Differences that nobody took note of yet; none where a later version took its place.
    pub open: i64,
    /// What a person should know of it.
    pub warnings: Vec<String>,
}

impl ReconciledFile {
    /// Whether it counts, and lacks rows.
    pub const fn lacks_rows(&self) -> bool {
        self.is_provisional && !self.is_superseded
    }

    /// Whether something of it waits for a person: of what is not whole, nothing yet.
    pub const fn needs_a_person(&self) -> bool {
        !self.is_superseded && !self.is_provisional && (self.open > 0 || self.faults > 0)
    }
}

/// How many differences there are of each class, and how many of them wait for a person.
pub type Counts = BTreeMap<DifferenceClass, i64>;

/// The sum over one day, store, wallet and currency of one file, in minor units: what came in less what
/// went back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    /// Of which of the two files.
    pub kind: FileKind,
    /// The GMT+8 day on which Alipay completed it.
    pub day: NaiveDate,
    /// Whose; absent for what is unknown to us.
    pub merchant_id: Option<MerchantId>,
    /// The store, as we know it or as the file names it.
    pub store: Option<String>,
    pub wallet: Option<String>,
    pub currency: String,
    /// How many rows.
    pub rows: i64,
    /// What was paid less what went back.
    pub amount_minor: i64,
    /// What Alipay keeps.
    pub fee_minor: i64,
    /// What Alipay pays out.
    pub net_minor: i64,
    /// What it should pay out by our books.
    pub expected_net_minor: i64,
}

/// A reconciliation in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ReconciliationItem {
    /// Its identity; absent for a dry run.
    pub id: Option<ReconciliationId>,
    pub partner: String,
    /// How the files came.
    pub source: Source,
    pub status: ReconciliationStatus,
    /// What is wrong with which file, and from which line on, where it failed.
    pub failure: Option<String>,
    /// The rate that fees were checked against.
    pub fee_basis_points: Option<i32>,
    pub created_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
    pub files: Vec<ReconciledFile>,
    /// Its differences by class.
    pub counts: Counts,
    /// How many of them nobody took note of yet, but for those of versions that others took the place of.
    pub open: i64,
}

/// All that one reconciliation found, but for the differences themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconciliation {
    /// As in a list.
    pub item: ReconciliationItem,
    /// Rows that could not be read: the first of each file.
    pub faults: Vec<StoredFault>,
    pub totals: Vec<Total>,
}

impl Reconciliation {
    /// [`ReconciliationItem::agrees`].
    pub fn agrees(&self) -> bool {
        self.item.agrees()
    }
}

impl ReconciliationItem {
    /// Whether all of the files could be read and nothing waits for a person. A file with rows that could not
    /// be read, or are missing, never agrees, not even once another version has its place.
    pub fn agrees(&self) -> bool {
        let is_good = |file: &ReconciledFile| file.faults == 0 && !file.is_provisional;
        self.status == ReconciliationStatus::Complete
            && self.open == 0
            && self.files.iter().all(is_good)
    }

    /// Whether a file of it counts and lacks rows.
    pub fn lacks_rows(&self) -> bool {
        self.files.iter().any(ReconciledFile::lacks_rows)
    }

    /// Whether something waits for a person.
    pub fn needs_a_person(&self) -> bool {
        self.files.iter().any(ReconciledFile::needs_a_person)
    }
}
