//! What a file may look like, and what is read of it.

mod encoding;
mod faults;
mod properties;
mod samples;
mod tolerance;

use self::samples::TRANSACTION;
use super::{Entry, FileReader, OpenError, ReadOptions};
use crate::domain::reconciliation::daily_file::{FileFault, FileRow, FileSummary, RowFault};

/// All that is in a file.
struct Read {
    rows: Vec<FileRow>,
    faults: Vec<RowFault>,
    summary: FileSummary,
}

/// Reads a file without a name.
fn read(bytes: impl AsRef<[u8]>) -> Read {
    read_with(bytes, &ReadOptions::default())
}

fn read_named(name: &str, bytes: impl AsRef<[u8]>) -> Read {
    read_with(bytes, &named(name))
}

fn named(name: &str) -> ReadOptions {
    ReadOptions::of_name(name.parse().expect("a file name"))
}

fn read_with(bytes: impl AsRef<[u8]>, options: &ReadOptions) -> Read {
    let mut reader = FileReader::open(bytes.as_ref(), options).expect("a readable file");
    let (mut rows, mut faults) = (vec![], vec![]);
    for entry in &mut reader {
        match entry.expect("memory is readable") {
            Entry::Row(row) => rows.push(row),
            Entry::Fault(fault) => faults.push(fault),
        }
    }
    let summary = reader.finish();
    Read {
        rows,
        faults,
        summary,
    }
}

/// Why a file is not read.
fn refused(bytes: impl AsRef<[u8]>, options: &ReadOptions) -> FileFault {
    match FileReader::open(bytes.as_ref(), options) {
        Err(OpenError::File(fault)) => fault,
        Err(OpenError::Io(error)) => panic!("memory is readable: {error}"),
        Ok(reader) => panic!("read as {:?}", reader.layout()),
    }
}

const NAME: &str = "2088000000000017_transaction_20260309.txt";
const SETTLEMENT_NAME: &str = "2088000000000017_settlement_20260310.txt";

/// The rows without the numbers of their lines, to compare files that look different.
fn contents(read: &Read) -> Vec<FileRow> {
    let rows = read.rows.iter().cloned();
    rows.map(|row| FileRow { line: 0, ..row }).collect()
}

/// Line `number` of the transaction sample, from 1.
fn line(number: usize) -> &'static str {
    TRANSACTION.lines().nth(number - 1).expect("a line")
}

/// The transaction sample with the `from` of its line replaced.
fn edited(number: usize, from: &str, to: &str) -> String {
    let edited = line(number).replacen(from, to, 1);
    assert_ne!(edited, line(number), "{from} is not in line {number}");
    TRANSACTION.replace(line(number), &edited)
}

fn faults(read: &Read) -> Vec<String> {
    read.faults.iter().map(ToString::to_string).collect()
}
