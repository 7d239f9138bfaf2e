//! Alipay's daily files, read row by row (`docs/protocol.md` 9.4).
//!
//! [`FileReader`] is the whole of it: it takes any [`BufRead`](std::io::BufRead), says at once if the
//! file is not one of ours, and then gives each record as a [`FileRow`] or as a
//! [`RowFault`] that names line, column and reason. A bad row never costs a good one, and a
//! file of any length takes the same memory: lines are bounded, and so is what is remembered of them.
//!
//! ```
//! use alipayhk_gateway::{
//!     alipay::files::{Entry, FileReader, ReadOptions},
//!     domain::reconciliation::daily_file::FaultLog,
//! };
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let text = include_str!("samples/2088000000000017_transaction_20260309.txt");
//! let options = ReadOptions::of_name("2088000000000017_transaction_20260309.txt".parse()?);
//! let mut reader = FileReader::open(text.as_bytes(), &options)?;
//! let mut faults = FaultLog::default();
//! let mut sum = 0;
//! for entry in &mut reader {
//!     match entry? {
//!         Entry::Row(row) => sum += row.signed_amount(),
//!         Entry::Fault(fault) => faults.push(fault),
//!     }
//! }
//! let summary = reader.finish();
//! assert_eq!((sum, summary.progress.rows, faults.total()), (10_000, 4, 0));
//! # Ok(()) }
//! ```
//!
//! | file | what |
//! |---|---|
//! | `lines.rs` | bytes to bounded lines of text |
//! | `columns.rs` | the columns of each layout, and where they are |
//! | `head.rs` | what stands above the records, and which layout it tells of |
//! | `field.rs` | one field to an amount, a time, a currency |
//! | `record.rs` | one line to a row |
//! | `repeats.rs` | which lines were seen before |
//! | `reader.rs` | all of it together |
//! | [`progress`] | how far it is, on a terminal |
//!
//! What the documents leave open is decided so:
//!
//! - **Encoding**, of which they say nothing. A file is UTF-8 (a byte order mark is skipped) until a line
//!   is not. That line is GBK, and a warning says so. So is the rest of the file, unless a line is UTF-8
//!   beyond ASCII and such a line stood above the GBK too; another warning says that both were found.
//!   Where a line can be read as either, and only one reading has the right number of columns, it is
//!   that one: the second byte of a GBK character can be that of `|`, so a line is decoded before it is
//!   split, and the wrong reading may find a bar or lose one. Only names and remarks can come out wrong
//!   by all this. A line that is neither is a fault. After a byte order mark there is UTF-8 alone.
//! - **Columns** are found by the name line, whatever its order, case, spaces and additions. Without
//!   one the order is the documented one, and the number of columns must be too.
//! - **Fields** may have spaces around them. Amounts have at most two decimals, none missing after a
//!   point, no thousands separator, and at most nine digits before the point. A minus is taken where
//!   money goes back and refused where it comes in ([`FileRow`], on signs).
//! - **The header's** partner must be that of the file name; its day and its count may be wrong, and are
//!   warnings. A line `Total_count:N` at the end counts too. A file with fewer rows than it says is not
//!   whole ([`FileSummary::is_whole`](crate::domain::reconciliation::daily_file::FileSummary::is_whole)).
//! - **The last line** must be ended. If it is not, nothing of it is taken, since any field of it may be
//!   cut, and the file is not whole.
//! - **What is no text** (packed, a spreadsheet, a web page) is told by its first bytes, in one sentence.
//!
//! [`FileRow`]: crate::domain::reconciliation::daily_file::FileRow
//! [`RowFault`]: crate::domain::reconciliation::daily_file::RowFault

mod columns;
mod field;
mod head;
mod lines;
mod open;
pub mod progress;
mod reader;
mod record;
mod repeats;

#[cfg(test)]
mod tests;

pub use open::{OpenError, ReadOptions};
pub use reader::{Entry, FileReader};
