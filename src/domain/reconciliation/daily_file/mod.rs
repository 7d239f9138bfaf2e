//! Alipay's daily files in our words: what a file is called, what a row of it says, what can be
//! wrong with either. Read by [`crate::alipay::files`] (`docs/protocol.md` 9).
//!
//! There are two kinds ([`FileKind`]). The *transaction* file of a GMT+8 day holds whatever
//! happened on it, the *settlement* file whatever one settlement paid out. Both tell of the same
//! movements of money, so a row of either is a [`FileRow`]; only what is said of the settlement
//! itself is extra.

mod fault;
mod fetch_hours;
mod file_name;
mod row;

use std::fmt;

use chrono::NaiveDate;

pub use fault::{FaultLog, FieldFault, FileFault, Reason, RowFault, Warning};
pub use fetch_hours::FetchHours;
pub use file_name::{FileName, FileNameError};
pub use row::{FileRow, RowType, Settlement};

/// Which of the two daily files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// Payments, cancels and refunds of one GMT+8 day.
    Transaction,
    /// Payments and refunds of one settlement; each is settled once.
    Settlement,
}

stored_names!(FileKind {
    Transaction = "transaction",
    Settlement = "settlement",
});

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The columns of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The transaction file of the HK product: 17 columns.
    HkTransaction,
    /// The settlement file of the HK product: 20 columns.
    HkSettlement,
    /// The transaction file of the other products: neither `Secondary_merchant_id` nor `Issue`.
    StandardTransaction,
    /// The settlement file of the other products, likewise.
    StandardSettlement,
    /// The oldest transaction file: 8 columns, up to `Remark`.
    OldTransaction,
}

stored_names!(Layout {
    HkTransaction = "hk_transaction",
    HkSettlement = "hk_settlement",
    StandardTransaction = "standard_transaction",
    StandardSettlement = "standard_settlement",
    OldTransaction = "old_transaction",
});

impl Layout {
    /// Which file has these columns.
    pub const fn kind(self) -> FileKind {
        match self {
            Self::HkTransaction | Self::StandardTransaction | Self::OldTransaction => {
                FileKind::Transaction
            }
            Self::HkSettlement | Self::StandardSettlement => FileKind::Settlement,
        }
    }

    /// Whether it is a layout of the HK product, which is what we expect.
    pub const fn is_hk(self) -> bool {
        matches!(self, Self::HkTransaction | Self::HkSettlement)
    }

    /// How many columns the documents list.
    pub const fn columns(self) -> usize {
        match self {
            Self::HkTransaction => 17,
            Self::HkSettlement => 20,
            Self::StandardTransaction => 15,
            Self::StandardSettlement => 18,
            Self::OldTransaction => 8,
        }
    }
}

/// How the bytes of a file were read. Which one it is, is not documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, of which ASCII is a part.
    Utf8,
    /// GBK, in whole or in part ([`Warning::Gbk`], [`Warning::MixedEncoding`]).
    Gbk,
}

stored_names!(Encoding { Utf8 = "utf-8", Gbk = "gbk" });

/// The labelled line that a transaction file begins with. What it does not say, or not readably, is
/// absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileHeader {
    /// The partner whose file this is: 16 digits.
    pub partner: Option<String>,
    /// The GMT+8 day.
    pub day: Option<NaiveDate>,
    /// How many records Alipay says there are; the documents' own sample has it wrong.
    pub total_count: Option<u64>,
}

/// How far the reading of a file has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read, of whatever `reader` gives.
    pub bytes: u64,
    /// Rows read well.
    pub rows: u64,
    /// Rows that could not be read.
    pub faults: u64,
}

/// What is known of a file once it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSummary {
    /// What its columns are.
    pub layout: Layout,
    /// What its first line says, if it has one.
    pub header: Option<FileHeader>,
    /// How it was read.
    pub encoding: Encoding,
    /// How much was read.
    pub progress: Progress,
    /// How many lines repeat an earlier one byte for byte ([`FileRow::duplicate_of`]).
    pub duplicates: u64,
    /// What a person should know, though the rows could be read.
    pub warnings: Vec<Warning>,
    /// Whether the end of the file was reached.
    pub complete: bool,
}

impl FileSummary {
    /// Whether all of the file is there, as far as it can be seen: its last line is ended, and it has as
    /// many records as it says.
    pub fn is_whole(&self) -> bool {
        let lacks = |warning: &Warning| match warning {
            Warning::NoLineEnd { .. } => true,
            Warning::TotalCount { said, counted } => said > counted,
            Warning::Header(_)
            | Warning::Day { .. }
            | Warning::MissingColumn(_)
            | Warning::Gbk { .. }
            | Warning::MixedEncoding { .. }
            | Warning::DuplicatesUnchecked { .. } => false,
        };
        self.complete && !self.warnings.iter().any(lacks)
    }
}
