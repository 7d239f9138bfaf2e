//! Bytes to lines of text. Lines end in LF or CRLF, blank ones are skipped but counted, and none is
//! longer than [`LIMIT`].

use std::{
    borrow::Cow,
    io::{self, BufRead, Read as _},
};

use crate::{
    alipay::charset::Charset,
    domain::reconciliation::daily_file::{Encoding, Reason, Warning},
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
    other: Other,
    /// Whether it had an end. Only the last line of a file may have none.
    pub(super) ended: bool,
}

/// How else the bytes of a line can be read.
enum Other {
    /// Not at all, or the same.
    None,
    /// They were read as UTF-8, but may be GBK.
    Gbk,
    /// They were read as GBK, but are this in UTF-8.
    Utf8(String),
}

impl Line {
    /// The other reading, if there is one.
    pub(super) fn other(&self) -> Option<Cow<'_, str>> {
        match &self.other {
            Other::None => None,
            Other::Gbk => gbk(self.text.as_ref().ok()?.as_bytes()).map(Cow::Owned),
            Other::Utf8(text) => Some(Cow::Borrowed(text)),
        }
    }
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
            let (text, other) = if too_long {
                (Err(Reason::LineTooLong { limit: LIMIT }), Other::None)
            } else {
                self.decode(bytes)
            };
            return Ok(Some(Line {
                number: self.number,
                text: text.and_then(without_controls),
                other,
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

    fn decode(&mut self, bytes: Vec<u8>) -> (Result<String, Reason>, Other) {
        match String::from_utf8(bytes) {
            Ok(text) if text.is_ascii() => (Ok(text), Other::None),
            Ok(text) => {
                let (text, other) = self.utf8(text);
                (Ok(text), other)
            }
            Err(_) if self.marked => (Err(Reason::NotText), Other::None),
            Err(error) => {
                let text = gbk(error.as_bytes()).ok_or(Reason::NotText);
                if text.is_ok() {
                    self.gbk_line.get_or_insert(self.number);
                }
                (text, Other::None)
            }
        }
    }

    /// A line that is UTF-8 beyond ASCII. It may be GBK by chance, and likely is in a file where GBK
    /// was found and nothing else spoke for UTF-8, or where UTF-8 finds control characters in it.
    fn utf8(&mut self, text: String) -> (String, Other) {
        let is_gbk_file = self.utf8_line.unwrap_or(u64::MAX) > self.gbk_line.unwrap_or(u64::MAX);
        let by_gbk = || gbk(text.as_bytes()).filter(|_| !self.marked);
        if has_controls(&text)
            && let Some(by_gbk) = by_gbk().filter(|by_gbk| !has_controls(by_gbk))
        {
            self.gbk_line.get_or_insert(self.number);
            return (by_gbk, Other::None);
        }
        // Decoded only where it may be wanted: most files are UTF-8 throughout.
        let by_gbk = if is_gbk_file { by_gbk() } else { None };
        self.utf8_line.get_or_insert(self.number);
        match by_gbk {
            Some(by_gbk) => (by_gbk, Other::Utf8(text)),
            None if self.marked => (text, Other::None),
            None => (text, Other::Gbk),
        }
    }

    /// Takes the other reading of a line if that fits and the first does not: the wrong one may find
    /// a bar within a character, or swallow the one behind it.
    pub(super) fn choose(&mut self, line: &mut Line, fits: impl Fn(&str) -> bool) {
        if line.text.as_deref().map_or(true, &fits) {
            return;
        }
        let Some(other) = line.other().filter(|other| fits(other)) else {
            return;
        };
        let text = without_controls(other.into_owned());
        if matches!(line.other, Other::Gbk) {
            self.gbk_line.get_or_insert(line.number);
            self.utf8_line = self.utf8_line.filter(|number| *number != line.number);
        }
        line.text = text;
        line.other = Other::None;
    }

    pub(super) fn is_utf_16(&self) -> bool {
        self.utf_16
    }

    /// How many lines were read.
    pub(super) fn number(&self) -> u64 {
        self.number
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

fn without_controls(text: String) -> Result<String, Reason> {
    if has_controls(&text) {
        return Err(Reason::ControlCharacter);
    }
    Ok(text)
}

fn has_controls(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && c != '\t')
}

fn gbk(bytes: &[u8]) -> Option<String> {
    Charset::Gbk.decode(bytes).map(Cow::into_owned)
}
