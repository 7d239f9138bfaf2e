//! A daily file, row by row.

use std::{
    collections::VecDeque,
    io::{self, BufRead},
};

use super::{
    columns::Columns,
    head::{Head, trailer, what_is_no_text},
    lines::{Line, Lines},
    open::{OpenError, ReadOptions},
    record,
    repeats::Repeats,
};
use crate::domain::reconciliation::daily_file::{
    FieldFault, FileHeader, FileRow, FileSummary, Layout, Progress, Reason, RowFault, Warning,
};

/// So many lines at the end that are no text are damage to the file.
const DAMAGED: u64 = 3;

/// One record of a file.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are rows, which a box would cost an allocation each"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Row(FileRow),
    Fault(RowFault),
}

/// Reads a file once, from the start to the end, as an iterator over its records in their order. An
/// error of `reader` is given as such, once, and ends it: what was read until then is not the whole
/// file, and [`FileSummary::complete`] is not set.
pub struct FileReader<R> {
    lines: Lines<R>,
    /// Lines that were read to find the head.
    first: VecDeque<Line>,
    columns: Columns,
    header: Option<FileHeader>,
    warnings: Vec<Warning>,
    repeats: Repeats,
    /// How many records a line at the end says there are.
    trailer: Option<u64>,
    /// The lines since the last one that was text: the first of them, and how many.
    garbled: Option<(u64, u64)>,
    /// The record read last: whether it is the file's last one, the next line tells.
    held: Option<Entry>,
    /// What came in the place of the next line, once `held` was given.
    broken: Option<io::Error>,
    rows: u64,
    faults: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Broken,
    Complete,
}

impl<R: BufRead> FileReader<R> {
    /// Reads what stands above the records.
    pub fn open(mut reader: R, options: &ReadOptions) -> Result<Self, OpenError> {
        if let Some(fault) = what_is_no_text(reader.fill_buf()?) {
            return Err(fault.into());
        }
        let mut lines = Lines::new(reader);
        let head = Head::read(&mut lines, options)?;
        Ok(Self {
            lines,
            first: head.lines,
            columns: head.columns,
            header: head.header,
            warnings: head.warnings,
            repeats: Repeats::new(),
            trailer: None,
            garbled: None,
            held: None,
            broken: None,
            rows: 0,
            faults: 0,
            state: State::Reading,
        })
    }

    /// What the columns are, which also says the kind.
    pub fn layout(&self) -> Layout {
        self.columns.layout
    }

    /// What the first line says, if there is such a line.
    pub fn header(&self) -> Option<&FileHeader> {
        self.header.as_ref()
    }

    /// How far the reading has come. Cheap; see [`super::progress`].
    pub fn progress(&self) -> Progress {
        Progress {
            bytes: self.lines.bytes(),
            rows: self.rows,
            faults: self.faults,
        }
    }

    /// The line that would be read next, or where reading broke off.
    pub fn next_line(&self) -> u64 {
        self.lines.number() + 1
    }

    /// From which line to its end the file is no text, if it is so for some lines: it was damaged there, and
    /// is no file with bad rows.
    pub fn unreadable_from(&self) -> Option<u64> {
        let is_over = self.state == State::Complete;
        let tail = self
            .garbled
            .filter(|(_, lines)| is_over && *lines >= DAMAGED);
        tail.map(|(first, _)| first)
    }

    /// What is known now of the file as a whole.
    pub fn finish(self) -> FileSummary {
        let complete = self.state == State::Complete;
        let said = self.said();
        let mut warnings = self.warnings;
        let counted = self.rows + self.faults;
        if let Some(said) = said.filter(|said| complete && *said != counted) {
            warnings.push(Warning::TotalCount { said, counted });
        }
        warnings.extend(self.lines.warnings());
        let unchecked = self.repeats.limit_reached();
        warnings.extend(unchecked.map(|rows| Warning::DuplicatesUnchecked { rows }));
        FileSummary {
            layout: self.columns.layout,
            header: self.header,
            encoding: self.lines.encoding(),
            progress: Progress {
                bytes: self.lines.bytes(),
                rows: self.rows,
                faults: self.faults,
            },
            duplicates: self.repeats.found(),
            warnings,
            complete,
        }
    }

    /// How many records the file says it has.
    fn said(&self) -> Option<u64> {
        let in_head = self.header.as_ref().and_then(|header| header.total_count);
        self.trailer.or(in_head)
    }

    /// The last record. Of a file that lacks rows it may be cut too, though somebody put an end to its line:
    /// what is left of its last field can look whole.
    fn last(&mut self) -> Option<Entry> {
        let lacks_rows = self
            .said()
            .is_some_and(|said| said > self.rows + self.faults);
        match self.held.take()? {
            Entry::Row(row) if lacks_rows && self.trailer.is_none() => {
                self.rows -= 1;
                self.faults += 1;
                Some(Entry::Fault(RowFault {
                    line: row.line,
                    fields: vec![FieldFault::of_line(Reason::LastOfTooFew)],
                }))
            }
            entry => Some(entry),
        }
    }

    fn line(&mut self) -> io::Result<Option<Line>> {
        let mut line = match self.first.pop_front() {
            Some(line) => Some(line),
            None => self.lines.next()?,
        };
        if let Some(line) = &mut line {
            self.lines.choose(line, |text| self.columns.fit(text));
        }
        Ok(line)
    }

    fn entry(&mut self, line: &Line) -> Entry {
        self.garbled = match (&line.text, self.garbled) {
            (Ok(_), _) => None,
            (Err(_), None) => Some((line.number, 1)),
            (Err(_), Some((first, lines))) => Some((first, lines + 1)),
        };
        match record::read(line, &self.columns) {
            Ok(mut row) => {
                self.rows += 1;
                let text = line.text.as_deref().unwrap_or_default();
                row.duplicate_of = self.repeats.see(line.number, text);
                Entry::Row(row)
            }
            Err(fault) => {
                self.faults += 1;
                Entry::Fault(fault)
            }
        }
    }
}

impl<R: BufRead> Iterator for FileReader<R> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.state == State::Reading {
            match self.line() {
                Ok(Some(line)) => {
                    if let Some(count) = trailer(&line) {
                        self.trailer = Some(count);
                        continue;
                    }
                    let entry = self.entry(&line);
                    if let Some(before) = self.held.replace(entry) {
                        return Some(Ok(before));
                    }
                }
                Ok(None) => {
                    self.state = State::Complete;
                    return self.last().map(Ok);
                }
                Err(error) => {
                    self.state = State::Broken;
                    self.broken = Some(error);
                    if let Some(before) = self.held.take() {
                        return Some(Ok(before));
                    }
                }
            }
        }
        self.broken.take().map(Err)
    }
}
