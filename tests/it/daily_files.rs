//! A daily file of any length takes the same memory, and not long.

use std::{
    env,
    io::{BufReader, Read},
    process::Command,
    time::Instant,
};

use alipayhk_gateway::alipay::files::{Entry, FileReader, ReadOptions};

/// Tells the measured process how many rows to read.
const ROWS: &str = "DAILY_FILE_ROWS";

/// A transaction file that is made while it is read.
struct Generated {
    next: u64,
    rows: u64,
    line: Vec<u8>,
    read: usize,
}

impl Generated {
    fn new(rows: u64) -> Self {
        let head = format!(
            "Partner:2088000000000017|Payment_time: 2026-03-09|Total_count:{rows}\n\
             Partner_transaction_id|Transaction_id|Transaction_amount|Charge_amount|Currency|Payment_time|Transaction_type|Remark|Secondary_merchant_industry|Secondary_merchant_name|Secondary_merchant_id|Operator_name|Order_scene|Trans_currency|Trans_amount|Trans_forex_rate|Issue\n"
        );
        Self {
            next: 0,
            rows,
            line: head.into_bytes(),
            read: 0,
        }
    }

    /// Every thousandth row cannot be read.
    fn line(number: u64) -> String {
        let amount = if number.is_multiple_of(1000) {
            "x"
        } else {
            "128.50"
        };
        format!(
            "HKP-260309-{number:09}|2026030922001304{number:012}|{amount}|1.03|HKD|2026-03-09 10:{:02}:{:02}|PAYMENT||5812|Harbour Noodles Ltd|M0001|Central Branch||HKD|128.50|1|ALIPAYHK\n",
            number / 60 % 60,
            number % 60,
        )
    }
}

impl Read for Generated {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.read == self.line.len() && self.next < self.rows {
            self.line = Self::line(self.next).into_bytes();
            self.read = 0;
            self.next += 1;
        }
        let read = (&self.line[self.read..]).read(into)?;
        self.read += read;
        Ok(read)
    }
}

/// What a process of its own needed for a file.
struct Measured {
    peak_kib: u64,
    rows_per_second: u64,
}

/// Reads a file in another process, because the memory of this one is that of other tests too.
fn measure(rows: u64) -> Measured {
    let output = Command::new(env::current_exe().expect("this is a program"))
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("daily_files::reads_a_generated_file_and_prints_what_it_took")
        .env(ROWS, rows.to_string())
        .output()
        .expect("this program starts");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    let number = |label: &str| -> u64 {
        let (_, rest) = text.split_once(label).expect(label);
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect(label)
    };
    Measured {
        peak_kib: number("peak_kib="),
        rows_per_second: number("rows_per_second="),
    }
}

/// The greatest amount of memory that this process has had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .expect("VmHWM")
}

#[test]
#[ignore = "run by the tests below, in a process of its own"]
#[expect(clippy::print_stdout, reason = "the tests below read it")]
#[expect(
    clippy::disallowed_methods,
    reason = "the environment of this test alone"
)]
fn reads_a_generated_file_and_prints_what_it_took() {
    let Some(rows) = env::var(ROWS).ok().and_then(|rows| rows.parse().ok()) else {
        return;
    };
    let begun = Instant::now();
    let file = BufReader::with_capacity(64 * 1024, Generated::new(rows));
    let mut reader = FileReader::open(file, &ReadOptions::default()).expect("a file");
    let mut amount = 0;
    for entry in &mut reader {
        if let Entry::Row(row) = entry.expect("nothing breaks") {
            amount += row.signed_amount();
        }
    }
    let took = u64::try_from(begun.elapsed().as_millis()).expect("not for ever");
    let summary = reader.finish();
    let bad = rows.div_ceil(1000);
    assert_eq!(summary.progress.rows, rows - bad);
    assert_eq!(summary.progress.faults, bad);
    assert_eq!(
        amount,
        12850 * i64::try_from(rows - bad).expect("not that many")
    );
    assert_eq!(summary.warnings, []);
    println!(
        "peak_kib={} rows_per_second={}",
        peak_kib(),
        rows * 1000 / took.max(1)
    );
}

/// The file is 18 MB. What may grow is the memory of the lines that were seen.
#[test]
fn a_hundred_thousand_rows_take_little_more_memory_than_a_hundred() {
    let (few, many) = (measure(100), measure(100_000));
    let growth = many.peak_kib.saturating_sub(few.peak_kib);
    assert!(growth < 6 * 1024, "{growth} KiB for 100,000 rows");
}

/// How fast it is: `cargo test --release --test it -- --ignored --nocapture
/// daily_files::more`.
#[test]
#[ignore = "by hand, in a release build: it prints how fast it is"]
#[expect(clippy::print_stdout, reason = "it is run for what it prints")]
fn more_a_million_rows_take_bounded_memory() {
    let few = measure(100);
    for rows in [1_000_000, 3_000_000] {
        let many = measure(rows);
        let growth = many.peak_kib.saturating_sub(few.peak_kib);
        println!(
            "{rows} rows: {growth} KiB more than 100 rows, {} rows per second",
            many.rows_per_second
        );
        assert!(growth < 64 * 1024, "{growth} KiB for {rows} rows");
    }
}
