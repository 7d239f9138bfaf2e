//! What is not read, and that it says why.

use super::{
    samples::{SETTLEMENT, TRANSACTION},
    *,
};
use crate::domain::reconciliation::daily_file::{Layout, Reason, Warning};

#[test]
fn another_day_in_the_header_is_a_warning_and_another_partner_a_fault() {
    let read = read_named(
        NAME,
        TRANSACTION.replace("_time: 2026-03-09", "_time: 2026-03-08"),
    );
    let day = |text: &str| text.parse().expect("a day");
    assert_eq!(
        read.summary.warnings,
        [Warning::Day {
            by_name: day("2026-03-09"),
            by_header: day("2026-03-08"),
        }]
    );
    let foreign = TRANSACTION.replace("Partner:2088000000000017", "Partner:2088000000000018");
    assert_eq!(
        refused(&foreign, &named(NAME)).to_string(),
        "the file name is of partner 2088000000000017, but the first line says 2088000000000018"
    );
    assert_eq!(read_with(&foreign, &ReadOptions::default()).rows.len(), 4);
}

#[test]
fn a_line_without_end_is_not_kept_in_memory_and_costs_no_other() {
    let long = "x".repeat(200_000);
    let text = edited(4, "Central Branch", &long);
    let read = read_named(NAME, text);
    assert_eq!(faults(&read), ["line 4: longer than 65536 bytes"]);
    assert_eq!(read.rows.len(), 3);
    let at_limit = "x".repeat(65536 - line(4).len() + "Central Branch".len());
    assert_eq!(
        read_named(NAME, edited(4, "Central Branch", &at_limit)).faults,
        []
    );
    let over = format!("{at_limit}x");
    assert_eq!(
        read_named(NAME, edited(4, "Central Branch", &over))
            .rows
            .len(),
        3
    );
    // Longer than the file's other lines, and last.
    let read = read_named(NAME, format!("{TRANSACTION}{long}"));
    assert_eq!((read.rows.len(), read.faults.len()), (4, 1));
}

#[test]
fn every_fault_of_a_row_is_named_with_line_column_and_reason() {
    for (number, from, to, fault) in [
        (
            3,
            "128.50",
            "1,28.50",
            "Transaction_amount: not an amount: 1,28.50",
        ),
        (
            3,
            "128.50",
            "128.505",
            "Transaction_amount: more decimals than HKD has: 128.505",
        ),
        (3, "128.50", "", "Transaction_amount: is empty"),
        (
            3,
            "128.50",
            "12345678901.50",
            "Transaction_amount: too large: 12345678901.50",
        ),
        (
            3,
            "128.50",
            "-128.50",
            "Transaction_amount: negative, though it is a payment: -128.50",
        ),
        (3, "1.03", "1.0x", "Charge_amount: not an amount: 1.0x"),
        (3, "|HKD|2026", "|XHK|2026", "Currency: not a currency: XHK"),
        (3, "|HKD|2026", "||2026", "Currency: is empty"),
        (
            3,
            "10:14:07",
            "10:14",
            "Payment_time: not a time yyyy-MM-dd HH:mm:ss: 2026-03-09 10:14",
        ),
        (
            3,
            "PAYMENT",
            "CHARGEBACK",
            "Transaction_type: not a known type: CHARGEBACK",
        ),
        (3, "HKD|128.50|1|", "|128.50|1|", "Trans_currency: is empty"),
        (
            3,
            "HKD|128.50|1|",
            "HKD|128.5.0|1|",
            "Trans_amount: not an amount: 128.5.0",
        ),
        (3, "|ALIPAYHK", "", "has 16 columns instead of 17"),
        (3, "Noodles", "Noo|dles", "has 18 columns instead of 17"),
        (
            6,
            "HKR-260309-000007|2026030922001304180500771201|28.50|0.23|HKD",
            "||28,50|0.234|hk",
            "Partner_transaction_id: is empty, and so is Transaction_id; Currency: not a currency: hk; Transaction_amount: not an amount: 28,50; Charge_amount: more decimals than HKD has: 0.234",
        ),
    ] {
        let read = read_named(NAME, edited(number, from, to));
        assert_eq!(faults(&read), [format!("line {number}: {fault}")], "{to}");
        assert_eq!(read.rows.len(), 3, "{to}");
        assert!(
            read.rows.iter().all(|row| row.line != number as u64),
            "{to}"
        );
    }
    let read = read_named(SETTLEMENT_NAME, SETTLEMENT.replace("|P|L|", "|P|W|"));
    assert_eq!(
        faults(&read),
        ["line 2: Status: not L, the status of what is settled: W"]
    );
    let read = read_named(SETTLEMENT_NAME, SETTLEMENT.replace("|127.47|", "|-0.04|"));
    assert_eq!(
        faults(&read),
        ["line 2: Settlement: negative, though it is a payment: -0.04"]
    );
}

#[test]
fn one_id_is_enough_and_an_endless_one_is_a_fault() {
    let read = read_named(NAME, edited(3, "HKP-260309-000041", ""));
    assert_eq!(read.rows[0].partner_trans_id, None);
    let read = read_named(NAME, edited(3, "HKP-260309-000041", &"9".repeat(257)));
    let too_long = Reason::TooLong { limit: 256 };
    assert_eq!(read.faults[0].fields[0].reason, too_long);
    assert_eq!(
        read_named(NAME, edited(3, "HKP-260309-000041", &"9".repeat(256))).faults,
        []
    );
}

#[test]
fn repeated_heads_and_lines_above_the_names_are_no_records() {
    let read = read_named(NAME, format!("{TRANSACTION}{TRANSACTION}"));
    assert_eq!(
        faults(&read),
        ["line 7: is not a record", "line 8: is not a record"]
    );
    assert_eq!((read.rows.len(), read.summary.duplicates), (8, 4));
    let read = read_named(NAME, format!("#comment\n{TRANSACTION}"));
    assert_eq!(faults(&read), ["line 1: is not a record"]);
    assert_eq!(read.rows.len(), 4);
}

#[test]
fn the_layouts_of_other_products_are_read_only_where_that_is_allowed() {
    let keep = |places: &[usize]| -> String {
        let kept = TRANSACTION.lines().skip(1).map(|line| {
            let fields: Vec<&str> = line.split('|').collect();
            let kept: Vec<&str> = places.iter().map(|place| fields[*place]).collect();
            kept.join("|") + "\n"
        });
        kept.collect()
    };
    let standard: Vec<usize> = (0..16).filter(|place| *place != 10).collect();
    let old: Vec<usize> = (0..8).collect();
    let settlement: String = SETTLEMENT
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('|').collect();
            [&fields[..13], &fields[14..19]].concat().join("|") + "\n"
        })
        .collect();
    for (layout, text, rows) in [
        (Layout::StandardTransaction, keep(&standard), 4),
        (Layout::OldTransaction, keep(&old), 4),
        (Layout::StandardSettlement, settlement, 2),
    ] {
        let (_, without_names) = text.split_once('\n').expect("a name line");
        for text in [text.as_str(), without_names] {
            let fault = refused(text, &ReadOptions::default());
            assert_eq!(fault, FileFault::OtherLayout(layout));
            assert!(
                fault
                    .to_string()
                    .starts_with("this is not a file of the HK product but the "),
                "{fault}"
            );
            let options = ReadOptions {
                other_layouts: true,
                ..ReadOptions::default()
            };
            let read = read_with(text, &options);
            assert_eq!((read.summary.layout, read.rows.len()), (layout, rows));
            assert_eq!((read.faults, read.summary.warnings), (vec![], vec![]));
            let row = &read.rows[0];
            assert_eq!((&row.wallet, &row.secondary_merchant_id), (&None, &None));
            assert_eq!(row.amount.to_string(), "HKD 128.50");
            let is_old = layout == Layout::OldTransaction;
            assert_eq!(row.store_name.is_none(), is_old);
            assert_eq!(row.trans_amount.is_none(), is_old);
        }
    }
}

#[test]
fn what_is_no_daily_file_is_refused_with_the_reason() {
    let names = line(2);
    let lacking = names.replace("|Transaction_amount|Charge_amount", "");
    let twice = names.replace("Remark", "Currency");
    for (bytes, message) in [
        (b"".to_vec(), "the file is empty: fetch it again"),
        (b"\n \r\n\n".to_vec(), "the file is empty: fetch it again"),
        (
            b"\x1f\x8b\x08\0rows".to_vec(),
            "this is a gzip file: unpack it first",
        ),
        (
            b"PK\x03\x04\x14\0\0\x002088000000000017_transaction_20260309.txt".to_vec(),
            "this is a zip file: unpack it first",
        ),
        (
            b"PK\x03\x04\x14\0\0\0[Content_Types].xml".to_vec(),
            "this is a spreadsheet file: bring the text file as it came from Alipay",
        ),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec(),
            "this is a spreadsheet file: bring the text file as it came from Alipay",
        ),
        (
            b"\xef\xbb\xbf\r\n<!DOCTYPE html>\n<html>a|b</html>".to_vec(),
            "this is an HTML page: bring the file itself, it was probably saved while logged out",
        ),
        (
            b"\n \r\n\xef\xbb\xbf".to_vec(),
            "no line with the column names was found, and line 3 has 1 columns: a transaction file of the HK product has 17, a settlement file 20",
        ),
        (
            b"\xff\xfeP\0a\0".to_vec(),
            "the file is UTF-16: UTF-8 or GBK is expected",
        ),
        (
            b"a,b,c\n1,2,3\n".to_vec(),
            "no line with the column names was found, and line 1 has 1 columns: a transaction file of the HK product has 17, a settlement file 20",
        ),
        (
            lacking.into_bytes(),
            "line 1 names the columns, but not Transaction_amount, Charge_amount",
        ),
        (twice.into_bytes(), "line 1 names the column Currency twice"),
    ] {
        let fault = refused(&bytes, &ReadOptions::default());
        assert_eq!(fault.to_string(), message);
    }
}

#[test]
fn nothing_is_taken_of_a_last_line_without_end_and_the_file_is_not_whole() {
    assert!(read_named(NAME, TRANSACTION).summary.is_whole());
    // Nothing is cut but the line's end, a letter of the wallet, all of it, or most of the line.
    for cut in [1, 2, 9, 30, 100] {
        let read = read_named(NAME, &TRANSACTION[..TRANSACTION.len() - cut]);
        assert_eq!(read.rows.len(), 3, "{cut}");
        assert_eq!(
            faults(&read),
            [
                "line 6: the file ends in this line, without a line end: it may be cut, and nothing of it is taken"
            ],
            "{cut}"
        );
        assert_eq!(read.summary.warnings, [Warning::NoLineEnd { line: 6 }]);
        assert!(!read.summary.is_whole());
    }
    let names: usize = line(1).len() + 1 + line(2).len() + 1;
    let read = read_named(NAME, &TRANSACTION[..names - 1]);
    assert!(!read.summary.is_whole());
}

#[test]
fn a_file_with_fewer_rows_than_it_says_is_not_whole() {
    let head = format!("{}\n{}\n", line(1), line(2));
    let trailer = |count: &str| format!("{TRANSACTION}Total_count: {count}\n");
    for (text, rows, is_whole) in [
        (TRANSACTION.replace("count:4", "count:5"), 3, false),
        // It says less than it has: nothing is missing.
        (TRANSACTION.replace("count:4", "count:3"), 4, true),
        (head.clone(), 0, false),
        (head.replace("count:4", "count:0"), 0, true),
        (trailer("4"), 4, true),
        (trailer("5"), 4, false),
        (trailer("7|"), 4, false),
    ] {
        let read = read_named(NAME, &text);
        assert_eq!(read.rows.len(), rows, "{text}");
        assert_eq!(read.summary.is_whole(), is_whole, "{text}");
    }
    // What is left of the wallet looks whole, and is not.
    let cut = TRANSACTION.replace("count:4", "count:6");
    let cut = format!("{}\n", &cut[..cut.len() - 3]);
    let read = read_named(NAME, cut);
    assert_eq!(read.rows.len(), 3);
    assert_eq!(
        faults(&read),
        [
            "line 6: the file has fewer rows than it says, so its last line may be cut, and nothing of it is taken"
        ]
    );
}

#[test]
fn an_error_of_the_reader_is_told_once_and_the_file_is_not_complete() {
    struct Breaks<'a>(&'a [u8]);
    impl std::io::Read for Breaks<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(into)? {
                0 => Err(std::io::Error::other("gone")),
                read => Ok(read),
            }
        }
    }
    let broken = std::io::BufReader::new(Breaks(TRANSACTION.as_bytes()));
    let mut reader = FileReader::open(broken, &named(NAME)).expect("the head is there");
    assert_eq!(reader.by_ref().take(4).flatten().count(), 4);
    assert!(reader.next().is_some_and(|entry| entry.is_err()));
    assert!(reader.next().is_none());
    let summary = reader.finish();
    assert!(!summary.complete);
    assert_eq!(summary.warnings, [], "nothing is counted");
}
