//! What can be wrong with a daily file, from the whole of it down to one field of one row.

use std::fmt;

use chrono::NaiveDate;

use super::{FileKind, Layout};

/// Why a file is not read at all. Nothing of it may be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// There is nothing in it but blank lines.
    #[error("the file is empty: fetch it again")]
    Empty,
    /// It is packed.
    #[error("this is a gzip file: unpack it first")]
    Gzip,
    /// It is packed.
    #[error("this is a zip file: unpack it first")]
    Zip,
    /// It was opened and saved by a spreadsheet program, which also rewrites ids and amounts.
    #[error("this is a spreadsheet file: bring the text file as it came from Alipay")]
    Spreadsheet,
    /// A page of a portal or a proxy was saved in its place.
    #[error("this is an HTML page: bring the file itself, it was probably saved while logged out")]
    Html,
    /// It is UTF-16, which no document speaks of.
    #[error("the file is UTF-16: UTF-8 or GBK is expected")]
    Utf16,
    /// Neither a name line nor records of a known number of columns.
    #[error(
        "no line with the column names was found, and line {line} has {columns} columns: a transaction file of the HK product has 17, a settlement file 20"
    )]
    UnknownLayout {
        /// The first record's line.
        line: u64,
        columns: usize,
    },
    /// The name line lacks what every row needs.
    #[error("line {line} names the columns, but not {}", .columns.join(", "))]
    MissingColumns {
        /// The name line.
        line: u64,
        /// What is not there.
        columns: Vec<&'static str>,
    },
    /// The name line has a column twice, so there is no telling which is meant.
    #[error("line {line} names the column {column} twice")]
    RepeatedColumn {
        /// The name line.
        line: u64,
        /// Which.
        column: &'static str,
    },
    /// The columns are those of another product, which the options do not allow.
    #[error(
        "this is not a file of the HK product but {}: it has no Secondary_merchant_id and no Issue (wallet); read it only if other layouts are allowed",
        describe(*.0)
    )]
    OtherLayout(Layout),
    /// The name says one kind, the content is of the other.
    #[error("the file name says {by_name}, but the columns are those of a {by_content} file")]
    Kind {
        /// What the name says.
        by_name: FileKind,
        /// What is in it.
        by_content: FileKind,
    },
    /// The header names another partner than the file name: somebody else's books.
    #[error("the file name is of partner {by_name}, but the first line says {by_header}")]
    Partner {
        /// What the name says.
        by_name: String,
        /// What the header says.
        by_header: String,
    },
}

fn describe(layout: Layout) -> &'static str {
    match layout {
        Layout::HkTransaction | Layout::HkSettlement => "of it",
        Layout::StandardTransaction => "the transaction file of other products (15 columns)",
        Layout::StandardSettlement => "the settlement file of other products (18 columns)",
        Layout::OldTransaction => "the oldest transaction file (8 columns)",
    }
}

/// A row that could not be read. The rows around it are read all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFault {
    /// The line of the file, from 1, blank ones counted.
    pub line: u64,
    /// Everything that is wrong with it; not empty.
    pub fields: Vec<FieldFault>,
}

/// One thing that is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// The column's documented name; `None` if the line as a whole is meant.
    pub column: Option<&'static str>,
    /// What is wrong.
    pub reason: Reason,
}

impl FieldFault {
    /// A fault of the line as a whole.
    pub const fn of_line(reason: Reason) -> Self {
        Self {
            column: None,
            reason,
        }
    }
}

impl fmt::Display for RowFault {
    /// `line 7: Transaction_amount: not an amount: 1,50; Currency: is empty`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        for (index, field) in self.fields.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{field}")?;
        }
        Ok(())
    }
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "{column}: {}", self.reason),
            None => self.reason.fmt(f),
        }
    }
}

/// What is wrong with a row or one of its fields. Values are quoted up to a few characters, and only
/// those of columns without personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The line was not kept.
    #[error("longer than {limit} bytes")]
    LineTooLong {
        /// How long a line may be.
        limit: usize,
    },
    /// The bytes are not text.
    #[error("neither UTF-8 nor GBK")]
    NotText,
    /// There is a control character, such as a NUL, in it.
    #[error("has a control character")]
    ControlCharacter,
    /// There is no quoting, so a `|` too many or too few leaves open which field is which.
    #[error("has {found} columns instead of {expected}")]
    ColumnCount {
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// The file ends without a line end, so this line may be cut anywhere, also within its last field.
    #[error(
        "the file ends in this line, without a line end: it may be cut, and nothing of it is taken"
    )]
    Cut,
    /// The file lacks rows, so its last line may be cut, though it is ended.
    #[error(
        "the file has fewer rows than it says, so its last line may be cut, and nothing of it is taken"
    )]
    LastOfTooFew,
    /// A line above the column names that is not the header, or a second header or name line.
    #[error("is not a record")]
    NotARecord,
    /// A value is needed.
    #[error("is empty")]
    Empty,
    /// Both ids are missing, so there is no telling what the row is of.
    #[error("is empty, and so is Transaction_id")]
    NoId,
    /// Longer than anything that can be stored and compared.
    #[error("longer than {limit} characters")]
    TooLong {
        /// How long it may be.
        limit: usize,
    },
    /// Not digits with at most two decimals after a point.
    #[error("not an amount: {0}")]
    NotAnAmount(String),
    /// More decimals than the currency has.
    #[error("more decimals than {1} has: {0}")]
    Decimals(String, &'static str),
    /// More digits than a `Number(9,2)` has.
    #[error("too large: {0}")]
    TooLarge(String),
    /// A minus, though money came in.
    #[error("negative, though it is a payment: {0}")]
    Negative(String),
    /// Not an ISO 4217 code.
    #[error("not a currency: {0}")]
    NotACurrency(String),
    /// Not `yyyy-MM-dd HH:mm:ss`, or no such time.
    #[error("not a time yyyy-MM-dd HH:mm:ss: {0}")]
    NotATime(String),
    /// A type that no document names.
    #[error("not a known type: {0}")]
    UnknownType(String),
    /// Not `L`, the one documented status of a settled row.
    #[error("not L, the status of what is settled: {0}")]
    UnknownStatus(String),
}

/// What a person should know of a file whose rows were read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// The header, or a line at the end, counts differently. Known of Alipay's own sample, so no fault; but
    /// where rows are missing the file is not whole.
    #[error("the file says that it has {said} records, but there are {counted}")]
    TotalCount {
        /// What the file says.
        said: u64,
        /// Records in the file, also those that could not be read.
        counted: u64,
    },
    /// A part of the header could not be read.
    #[error("the first line has no readable {0}")]
    Header(&'static str),
    /// The header names another day than the file name.
    #[error("the file name is of {by_name}, but the first line says {by_header}")]
    Day {
        /// What the name says.
        by_name: NaiveDate,
        /// What the header says.
        by_header: NaiveDate,
    },
    /// A column of the layout that no row needs is not there.
    #[error("there is no column {0}")]
    MissingColumn(&'static str),
    /// The file was read as GBK, because this line is not UTF-8.
    #[error("read as GBK: line {line} is not UTF-8")]
    Gbk {
        /// The first such line.
        line: u64,
    },
    /// There are lines that are GBK and lines that are UTF-8, perhaps by chance: some names and remarks
    /// may be garbled. Ids, amounts and times are ASCII in either, and right.
    #[error("line {utf8} is UTF-8, line {gbk} is GBK: names and remarks may be garbled")]
    MixedEncoding {
        /// The first line with UTF-8 beyond ASCII.
        utf8: u64,
        /// The first line that is not UTF-8.
        gbk: u64,
    },
    /// The last line has no end: the file was cut, or an editor took it off.
    #[error("the last line, {line}, has no line end: the file is not complete")]
    NoLineEnd {
        /// The last line.
        line: u64,
    },
    /// Duplicates were looked for among the first so many rows only.
    #[error("repeated lines were looked for among the first {rows} rows only")]
    DuplicatesUnchecked {
        /// How many.
        rows: u64,
    },
}

/// The first faults of a file, and the number of all: a file of garbage must not fill the memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultLog {
    limit: usize,
    kept: Vec<RowFault>,
    total: u64,
}

impl FaultLog {
    /// Keeps up to `limit` faults.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: Vec::new(),
            total: 0,
        }
    }

    /// Counts a fault, and keeps it if there is room.
    pub fn push(&mut self, fault: RowFault) {
        self.total += 1;
        if self.kept.len() < self.limit {
            self.kept.push(fault);
        }
    }

    /// The first faults, in the order of the file.
    pub fn kept(&self) -> &[RowFault] {
        &self.kept
    }

    /// How many there were in all.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// How many were counted but not kept.
    pub fn not_kept(&self) -> u64 {
        self.total - self.kept.len() as u64
    }
}

impl Default for FaultLog {
    /// Keeps a thousand.
    fn default() -> Self {
        Self::new(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_line_column_and_reason_of_each_field() {
        let field = |column, reason| FieldFault { column, reason };
        let fault = RowFault {
            line: 7,
            fields: vec![
                field(
                    Some("Transaction_amount"),
                    Reason::NotAnAmount("1,50".to_owned()),
                ),
                field(Some("Currency"), Reason::Empty),
            ],
        };
        assert_eq!(
            fault.to_string(),
            "line 7: Transaction_amount: not an amount: 1,50; Currency: is empty"
        );
        let fault = RowFault {
            line: 8,
            fields: vec![field(None, Reason::NotText)],
        };
        assert_eq!(fault.to_string(), "line 8: neither UTF-8 nor GBK");
    }

    #[test]
    fn a_log_keeps_the_first_faults_and_counts_the_rest() {
        let mut log = FaultLog::new(2);
        for line in 1..=5 {
            log.push(RowFault {
                line,
                fields: vec![],
            });
        }
        let lines: Vec<u64> = log.kept().iter().map(|fault| fault.line).collect();
        assert_eq!((lines, log.total(), log.not_kept()), (vec![1, 2], 5, 3));
    }
}
