//! Rows to the bytes of a file (`docs/protocol.md` 9.4).

use super::{
    FileId, FileSettings, Kind,
    columns::columns,
    plant::{Plant, Row},
    settings::FileCharset,
};
use crate::charset::Charset;

/// A file, and the line of each row, from 1.
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: Vec<usize>,
}

/// Writes a file.
pub(super) fn write(
    rows: &[Row],
    partner: &str,
    id: FileId,
    settings: &FileSettings,
    plants: &[Plant],
) -> Written {
    let columns = columns(id.kind, settings.layout);
    let mut lines = vec![];
    if settings.header && id.kind == Kind::Transaction {
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let count = count + plants.iter().map(Plant::count_off_by).sum::<i64>();
        let day = id.day.format("%Y-%m-%d");
        lines.push(format!(
            "Partner:{partner}|Payment_time: {day}|Total_count:{count}"
        ));
    }
    if settings.names {
        lines.push(columns.join("|"));
    }
    let head = lines.len();
    lines.extend(rows.iter().map(|row| line(row, &columns, id, settings)));
    let step = if settings.blank_lines { 2 } else { 1 };
    let numbers = (head..lines.len()).map(|index| index * step + 1);
    Written {
        lines: numbers.collect(),
        bytes: encode(&lines, settings),
    }
}

fn line(row: &Row, columns: &[&str], id: FileId, settings: &FileSettings) -> String {
    if let Some(text) = &row.instead {
        return text.clone();
    }
    let fields = columns.iter().map(|column| row.shown(column, id, settings));
    fields.collect::<Vec<_>>().join("|")
}

fn encode(lines: &[String], settings: &FileSettings) -> Vec<u8> {
    let end = if settings.crlf { "\r\n" } else { "\n" };
    let end = if settings.blank_lines {
        end.repeat(2)
    } else {
        end.to_owned()
    };
    let text: String = lines.iter().flat_map(|line| [line, end.as_str()]).collect();
    match settings.charset {
        FileCharset::Utf8 => text.into_bytes(),
        FileCharset::Utf8Mark => format!("\u{feff}{text}").into_bytes(),
        FileCharset::Gbk => Charset::Gbk.encode(&text),
    }
}
