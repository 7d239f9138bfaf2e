//! How far the reading of a file is, as one line on a terminal.

use std::{
    io::{self, IsTerminal as _, Write},
    time::{Duration, Instant},
};

use crate::domain::reconciliation::daily_file::Progress;

/// How often the line is written anew.
const EVERY: Duration = Duration::from_millis(100);

/// After how many rows the time is looked at.
const ROWS: u64 = 512;

/// A line that is written over and over: `march.txt: 41 %, 410000 rows, 2 bad`.
pub struct ProgressLine<W: Write> {
    out: W,
    name: String,
    /// The size of the file in bytes, if it is known.
    size: Option<u64>,
    shown_at: Option<Instant>,
}

/// Shows progress on standard error if that is a terminal, and nothing otherwise.
pub fn on_terminal(name: &str, size: Option<u64>) -> Option<ProgressLine<io::Stderr>> {
    let out = io::stderr();
    out.is_terminal()
        .then(|| ProgressLine::new(out, name, size))
}

impl<W: Write> ProgressLine<W> {
    /// A line on `out` about the file `name`.
    pub fn new(out: W, name: &str, size: Option<u64>) -> Self {
        Self {
            out,
            name: name.to_owned(),
            size: size.filter(|size| *size > 0),
            shown_at: None,
        }
    }

    /// To be called after each record: writes now and then. A terminal that went away is no reason to
    /// stop, so errors are not told.
    pub fn show(&mut self, progress: Progress) {
        let is_due = (progress.rows + progress.faults).is_multiple_of(ROWS)
            && self.shown_at.is_none_or(|at| at.elapsed() >= EVERY);
        if is_due {
            self.shown_at = Some(Instant::now());
            let _ = self.write(progress);
        }
    }

    /// Takes the line away again.
    pub fn clear(mut self) {
        if self.shown_at.is_some() {
            let _ = write!(self.out, "\r\x1b[K").and_then(|()| self.out.flush());
        }
    }

    fn write(&mut self, progress: Progress) -> io::Result<()> {
        let Progress {
            bytes,
            rows,
            faults,
        } = progress;
        write!(self.out, "\r\x1b[K{}: ", self.name)?;
        match self.size {
            Some(size) => {
                let percent = u128::from(bytes) * 100 / u128::from(size);
                write!(self.out, "{} %, ", percent.min(100))?;
            }
            None => write!(self.out, "{} MB, ", bytes / 1_000_000)?,
        }
        write!(self.out, "{rows} rows")?;
        if faults > 0 {
            write!(self.out, ", {faults} bad")?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(bytes: u64, rows: u64, faults: u64) -> Progress {
        Progress {
            bytes,
            rows,
            faults,
        }
    }

    #[test]
    fn the_line_says_percent_rows_and_bad_rows_and_is_taken_away() {
        let mut out = vec![];
        let mut line = ProgressLine::new(&mut out, "march.txt", Some(200));
        line.show(progress(82, ROWS - 2, 2));
        line.show(progress(83, ROWS - 1, 2));
        line.clear();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\r\x1b[Kmarch.txt: 41 %, 510 rows, 2 bad\r\x1b[K"
        );
    }

    #[test]
    fn without_a_size_the_line_says_megabytes() {
        let mut out = vec![];
        let mut line = ProgressLine::new(&mut out, "march.txt", None);
        line.show(progress(3_400_000, ROWS, 0));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\r\x1b[Kmarch.txt: 3 MB, 512 rows"
        );
    }
}
