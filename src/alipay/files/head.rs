//! What stands above the records: a header, a name line, both or neither. It decides the layout.

use std::{collections::VecDeque, io::BufRead};

use chrono::NaiveDate;

use super::{
    columns::{Columns, plain},
    lines::{Line, Lines},
    open::{OpenError, ReadOptions},
};
use crate::domain::reconciliation::daily_file::{
    FileFault, FileHeader, FileKind, FileName, Layout, Reason, Warning,
};

/// Among how many lines the name line is looked for.
const LOOKED_AT: usize = 20;

/// What the first lines of a file tell.
pub(super) struct Head {
    pub(super) columns: Columns,
    pub(super) header: Option<FileHeader>,
    pub(super) warnings: Vec<Warning>,
    /// The lines that were read and are no part of the head.
    pub(super) lines: VecDeque<Line>,
}

impl Head {
    pub(super) fn read<R: BufRead>(
        lines: &mut Lines<R>,
        options: &ReadOptions,
    ) -> Result<Self, OpenError> {
        let first = First::read(lines)?;
        let columns = first.columns(options)?;
        let layout = columns.layout;
        if !layout.is_hk() && !options.other_layouts {
            return Err(FileFault::OtherLayout(layout).into());
        }
        let mut warnings: Vec<Warning> = columns
            .missing
            .iter()
            .map(|column| Warning::MissingColumn(column.name()))
            .collect();
        if let Some(header) = &first.header {
            warnings.extend(unreadable(header));
        }
        if let Some(name) = &options.name {
            warnings.extend(contradiction(name, layout, first.header.as_ref())?);
        }
        Ok(Self {
            columns,
            header: first.header,
            warnings,
            lines: first.lines,
        })
    }
}

/// The first lines, up to the name line if there is one.
struct First {
    header: Option<FileHeader>,
    named: Option<Columns>,
    /// All but header and name line.
    lines: VecDeque<Line>,
}

impl First {
    fn read<R: BufRead>(lines: &mut Lines<R>) -> Result<Self, OpenError> {
        let mut first = Self {
            header: None,
            named: None,
            lines: VecDeque::new(),
        };
        while first.named.is_none()
            && first.lines.len() < LOOKED_AT
            && let Some(line) = lines.next()?
        {
            if lines.is_utf_16() {
                return Err(FileFault::Utf16.into());
            }
            first.take(line)?;
        }
        if first.named.is_some() {
            // What stands above the names and is no header, is nothing that can be read.
            for line in &mut first.lines {
                if line.text.is_ok() {
                    line.text = Err(Reason::NotARecord);
                }
            }
        }
        Ok(first)
    }

    fn take(&mut self, line: Line) -> Result<(), FileFault> {
        if let Ok(text) = &line.text {
            if self.header.is_none() && is_header(text) {
                self.header = Some(header(text));
                return Ok(());
            }
            self.named = Columns::named(line.number, text).transpose()?;
            if self.named.is_some() {
                return Ok(());
            }
        }
        self.lines.push_back(line);
        Ok(())
    }

    /// Where the columns are: by name, or else by the number that most lines have.
    fn columns(&self, options: &ReadOptions) -> Result<Columns, FileFault> {
        match &self.named {
            Some(named) => Ok(named.clone()),
            None => self.layout(options).map(Columns::documented),
        }
    }

    fn layout(&self, options: &ReadOptions) -> Result<Layout, FileFault> {
        let kind = options.name.as_ref().map(|name| name.kind);
        // A line without end may be cut, so it has a say only where there is no other.
        let counts = |ended: bool| -> Vec<usize> {
            let lines = self.lines.iter().filter(|line| line.ended == ended);
            lines.filter_map(columns_of).collect()
        };
        let counts = [counts(true), counts(false)];
        let counts = counts.iter().find(|counts| !counts.is_empty());
        let counts = counts.map_or(&[][..], Vec::as_slice);
        let lines_of = |layout: &Layout| {
            let columns = layout.columns();
            counts.iter().filter(|count| **count == columns).count()
        };
        // Of equals it takes the last one: a layout of the HK product.
        let layouts = Layout::ALL.iter().rev().copied();
        let layout = layouts.max_by_key(|layout| (lines_of(layout), Some(layout.kind()) == kind));
        if let Some(layout) = layout.filter(|layout| lines_of(layout) > 0) {
            return Ok(layout);
        }
        match (self.lines.front(), &self.header) {
            (Some(line), _) => Err(FileFault::UnknownLayout {
                line: line.number,
                columns: counts.first().copied().unwrap_or(0),
            }),
            (None, None) => Err(FileFault::Empty),
            // A header and nothing else: a day of nothing.
            (None, Some(_)) => Ok(match kind {
                Some(FileKind::Settlement) => Layout::HkSettlement,
                Some(FileKind::Transaction) | None => Layout::HkTransaction,
            }),
        }
    }
}

/// How many columns a line has, in the reading that is of the HK product if only one of them is.
fn columns_of(line: &Line) -> Option<usize> {
    let count = |text: &str| text.split('|').count();
    let is_hk = |count: &usize| {
        let mut layouts = Layout::ALL.iter();
        layouts.any(|layout| layout.is_hk() && layout.columns() == *count)
    };
    let first = count(line.text.as_ref().ok()?);
    if is_hk(&first) {
        return Some(first);
    }
    let other = line.other().map(|other| count(&other));
    Some(other.filter(is_hk).unwrap_or(first))
}

/// Where the content contradicts the name of the file; a fault where it is another's or another kind.
fn contradiction(
    name: &FileName,
    layout: Layout,
    header: Option<&FileHeader>,
) -> Result<Option<Warning>, FileFault> {
    if name.kind != layout.kind() {
        return Err(FileFault::Kind {
            by_name: name.kind,
            by_content: layout.kind(),
        });
    }
    let partner = header.and_then(|header| header.partner.as_ref());
    if let Some(partner) = partner.filter(|partner| **partner != name.partner) {
        return Err(FileFault::Partner {
            by_name: name.partner.clone(),
            by_header: partner.clone(),
        });
    }
    let day = header.and_then(|header| header.day);
    Ok(day.filter(|day| *day != name.day).map(|day| Warning::Day {
        by_name: name.day,
        by_header: day,
    }))
}

/// What a file is that is no text, by its first bytes.
pub(super) fn what_is_no_text(first: &[u8]) -> Option<FileFault> {
    const GZIP: &[u8] = b"\x1f\x8b";
    const ZIP: [&[u8]; 3] = [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"];
    const OLD_SPREADSHEET: &[u8] = b"\xd0\xcf\x11\xe0";
    const IN_SPREADSHEETS: [&[u8]; 3] =
        [b"[Content_Types].xml", b"xl/", b"opendocument.spreadsheet"];
    let has = |part: &[u8]| first.windows(part.len()).any(|window| window == part);
    if first.starts_with(GZIP) {
        Some(FileFault::Gzip)
    } else if first.starts_with(OLD_SPREADSHEET) {
        Some(FileFault::Spreadsheet)
    } else if ZIP.iter().any(|magic| first.starts_with(magic)) {
        Some(if IN_SPREADSHEETS.iter().any(|part| has(part)) {
            FileFault::Spreadsheet
        } else {
            FileFault::Zip
        })
    } else {
        let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
        text.trim_ascii_start()
            .starts_with(b"<")
            .then_some(FileFault::Html)
    }
}

/// What a line `Total_count:4` at the end says.
pub(super) fn trailer(line: &Line) -> Option<u64> {
    let text = line.text.as_deref().ok().filter(|_| line.ended)?;
    let text = text.trim_start_matches('|');
    // Every record of a file passes here, and its times have colons.
    if text
        .find(['|', ':', '：'])
        .is_none_or(|at| text[at..].starts_with('|'))
    {
        return None;
    }
    let (label, value) = labelled(text)?;
    let value = value.trim_end_matches('|').trim();
    (label == "totalcount").then(|| value.parse().ok())?
}

/// Whether a line is `Partner:2088...|...`.
pub(super) fn is_header(line: &str) -> bool {
    let field = line.split('|').next().unwrap_or(line);
    labelled(field).is_some_and(|(label, _)| label == "partner")
}

fn header(line: &str) -> FileHeader {
    let mut header = FileHeader::default();
    for (label, value) in line.split('|').filter_map(labelled) {
        match label.as_str() {
            "partner" => header.partner = partner(value),
            "paymenttime" | "settlementtime" => header.day = day(value),
            "totalcount" => header.total_count = value.parse().ok(),
            _ => {}
        }
    }
    header
}

fn unreadable(header: &FileHeader) -> impl Iterator<Item = Warning> {
    let parts = [
        ("Partner", header.partner.is_none()),
        ("Payment_time", header.day.is_none()),
        ("Total_count", header.total_count.is_none()),
    ];
    let missing = parts.into_iter().filter(|(_, missing)| *missing);
    missing.map(|(label, _)| Warning::Header(label))
}

/// Label and value of `Total_count: 4`.
fn labelled(field: &str) -> Option<(String, &str)> {
    let (label, value) = field.split_once([':', '：'])?;
    Some((plain(label), value.trim()))
}

fn partner(value: &str) -> Option<String> {
    let is_id = value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_digit());
    is_id.then(|| value.to_owned())
}

/// The day of `2026-03-09`, or of a longer form of it: one page prints a time behind it.
fn day(value: &str) -> Option<NaiveDate> {
    let date = value.get(..10).unwrap_or(value);
    ["%Y-%m-%d", "%Y%m%d"]
        .iter()
        .find_map(|format| NaiveDate::parse_from_str(date, format).ok())
}
