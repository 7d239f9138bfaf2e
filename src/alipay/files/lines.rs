//! Bytes to lines of text. Lines end in LF or CRLF, blank ones are skipped but counted, and none is
//! longer than [`LIMIT`].

use std::{
    borrow::Cow,
    io::{self, BufRead, Read as _},
};

use crate::{
    alipay::charset::Charset,
    domain::daily_file::{Encoding, Reason, Warning},
};

/// How long a line may be, in bytes: the documented columns come to less than 2 KiB.
pub(super) const LIMIT: usize = 64 * 1024;

const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF_16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// A line with something on it.
pub(super) struct Line {
    /// From 1, blank ones counted.
    pub(super) number: u64,
    /// Without its end.
    pub(super) text: Result<String, Reason>,
    /// Whether it had an end. Only the last line of a file may have none.
    pub(super) ended: bool,
}

/// The lines of a file.
pub(super) struct Lines<R> {
    reader: R,
    bytes: u64,
    number: u64,
    /// Whether it begins with the mark of UTF-8, or of UTF-16.
    marked: bool,
    utf_16: bool,
    /// The first line with UTF-8 beyond ASCII.
    utf8_line: Option<u64>,
    /// The first line that is not UTF-8.
    gbk_line: Option<u64>,
    last_without_end: Option<u64>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            bytes: 0,
            number: 0,
            marked: false,
            utf_16: false,
            utf8_line: None,
            gbk_line: None,
            last_without_end: None,
        }
    }

    /// The next line that is not blank; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let Some((mut bytes, ended, too_long)) = self.read()? else {
                return Ok(None);
            };
            self.number += 1;
            if self.number == 1 {
                self.utf_16 = UTF_16_MARKS.iter().any(|mark| bytes.starts_with(mark));
                self.marked = bytes.starts_with(UTF_8_MARK);
                if self.marked {
                    bytes.drain(..UTF_8_MARK.len());
                }
            }
            if bytes.trim_ascii().is_empty() && !too_long {
                continue;
            }
            if !ended {
                self.last_without_end = Some(self.number);
            }
            let text = if too_long {
                Err(Reason::LineTooLong { limit: LIMIT })
            } else {
                self.decode(bytes)
            };
            return Ok(Some(Line {
                number: self.number,
                text,
                ended,
            }));
        }
    }

    /// The bytes of a line without its end, whether it had one, and whether it was too long to be kept.
    fn read(&mut self) -> io::Result<Option<(Vec<u8>, bool, bool)>> {
        let mut bytes = Vec::with_capacity(256);
        let kept = self.read_part(&mut bytes)?;
        if kept == 0 {
            return Ok(None);
        }
        let mut ended = bytes.last() == Some(&b'\n');
        let too_long = !ended && kept > LIMIT;
        if too_long {
            let mut rest = Vec::new();
            while !ended {
                rest.clear();
                if self.read_part(&mut rest)? == 0 {
                    break;
                }
                ended = rest.last() == Some(&b'\n');
            }
        }
        while let Some(b'\n' | b'\r') = bytes.last() {
            bytes.pop();
        }
        Ok(Some((bytes, ended, too_long)))
    }

    /// Reads to the end of the line, but no more than a byte beyond the limit.
    fn read_part(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let limit = LIMIT as u64 + 1;
        let read = (&mut self.reader).take(limit).read_until(b'\n', bytes)?;
        self.bytes += read as u64;
        Ok(read)
    }

    fn decode(&mut self, bytes: Vec<u8>) -> Result<String, Reason> {
        let text = match String::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => text,
            Ok(text) => self.utf8(text),
            Err(_) if self.marked => return Err(Reason::NotText),
            Err(error) => {
                let text = gbk(error.as_bytes()).ok_or(Reason::NotText)?;
                self.gbk_line.get_or_insert(self.number);
                text
            }
        };
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(Reason::ControlCharacter);
        }
        Ok(text)
    }

    /// A line that is UTF-8 beyond ASCII. It may be GBK by chance, which is likely only in a file where
    /// nothing else spoke for UTF-8. But it is not if that reading swallows a bar: what UTF-8 there is
    /// in such a file must not cost its rows.
    fn utf8(&mut self, text: String) -> String {
        let is_gbk_file = self.utf8_line.unwrap_or(u64::MAX) > self.gbk_line.unwrap_or(u64::MAX);
        self.utf8_line.get_or_insert(self.number);
        let bars = |text: &str| text.bytes().filter(|byte| *byte == b'|').count();
        match gbk(text.as_bytes()) {
            Some(by_gbk) if is_gbk_file && bars(&by_gbk) == bars(&text) => by_gbk,
            _ => text,
        }
    }

    pub(super) fn is_utf_16(&self) -> bool {
        self.utf_16
    }

    /// How many bytes were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn encoding(&self) -> Encoding {
        match self.gbk_line {
            Some(_) => Encoding::Gbk,
            None => Encoding::Utf8,
        }
    }

    /// What is to be said of the bytes.
    pub(super) fn warnings(&self) -> impl Iterator<Item = Warning> {
        let gbk = self.gbk_line.map(|line| Warning::Gbk { line });
        let mixed = self
            .utf8_line
            .zip(self.gbk_line)
            .map(|(utf8, gbk)| Warning::MixedEncoding { utf8, gbk });
        let end = self
            .last_without_end
            .map(|line| Warning::NoLineEnd { line });
        gbk.into_iter().chain(mixed).chain(end)
    }
}

fn gbk(bytes: &[u8]) -> Option<String> {
    Charset::Gbk.decode(bytes).map(Cow::into_owned)
}
