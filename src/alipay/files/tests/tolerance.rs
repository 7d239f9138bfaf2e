//! Whatever the documents leave open and is tolerated, a case each.

use super::{
    samples::{SETTLEMENT, TRANSACTION},
    *,
};
use crate::domain::reconciliation::daily_file::{FileHeader, FileKind, RowType, Warning};

#[test]
fn line_ends_blank_lines_marks_and_a_missing_head_change_nothing() {
    let expected = contents(&read_named(NAME, TRANSACTION));
    let without = |lines: usize| -> String {
        let kept: Vec<&str> = TRANSACTION.lines().skip(lines).collect();
        kept.join("\n") + "\n"
    };
    let spaced_names = line(2).to_uppercase().replace('|', " | ").replace('_', " ");
    let variants = [
        ("CRLF", TRANSACTION.replace('\n', "\r\n")),
        ("blank lines", TRANSACTION.replace('\n', "\n\n  \r\n\t\n")),
        ("blank lines first", format!("\n\r\n \n{TRANSACTION}")),
        ("a byte order mark", format!("\u{feff}{TRANSACTION}")),
        ("no header", without(1)),
        ("neither header nor names", without(2)),
        (
            "no names",
            TRANSACTION.replace(&format!("{}\n", line(2)), ""),
        ),
        (
            "names in other words",
            TRANSACTION.replace(line(2), &spaced_names),
        ),
        ("spaces around fields", TRANSACTION.replace('|', " | ")),
        ("a bar at each end", TRANSACTION.replace('\n', "|\n")),
        ("small types", TRANSACTION.replace("PAYMENT", "payment")),
        (
            "a header below the names",
            format!("{}\n{}\n{}", line(2), line(1), without(2)),
        ),
    ];
    for (what, text) in variants {
        if what == "a header below the names" {
            // The one place where a header is not looked for: it is a bad row, and no more.
            let read = read_named(NAME, text);
            assert_eq!(faults(&read), ["line 2: is not a record"], "{what}");
            assert_eq!(contents(&read), expected, "{what}");
            continue;
        }
        let read = read_named(NAME, &text);
        assert_eq!(read.faults, [], "{what}");
        assert_eq!(contents(&read), expected, "{what}");
        assert_eq!(read.summary.warnings, [], "{what}");
        assert_eq!(read.summary.progress.bytes, text.len() as u64, "{what}");
    }
}

#[test]
fn columns_may_stand_in_any_order_and_more_may_be_added() {
    let expected = contents(&read_named(NAME, TRANSACTION));
    let turned = |line: &str| -> String {
        let mut fields: Vec<&str> = line.split('|').collect();
        fields.reverse();
        format!("new|{}|", fields.join("|"))
    };
    let mut text = format!("{}\n{}more\n", line(1), turned(line(2)));
    for number in 3..=6 {
        text += &turned(line(number));
        text.push('\n');
    }
    let read = read_named(NAME, text);
    assert_eq!((faults(&read), contents(&read)), (vec![], expected));
}

#[test]
fn the_settlement_file_needs_no_name_line_and_may_have_a_header() {
    let expected = contents(&read_named(SETTLEMENT_NAME, SETTLEMENT));
    let (_, records) = SETTLEMENT.split_once('\n').expect("a name line");
    let read = read_named(SETTLEMENT_NAME, records);
    assert_eq!(contents(&read), expected);
    let header = "Partner:2088000000000017|Settlement_time:2026-03-10 02:30:00|Total_count:2";
    let read = read_named(SETTLEMENT_NAME, format!("{header}\n{records}"));
    assert_eq!(contents(&read), expected);
    assert_eq!(read.summary.warnings, []);
    assert_eq!(
        read.summary.header.and_then(|header| header.day),
        Some("2026-03-10".parse().unwrap())
    );
}

#[test]
fn refunds_are_read_the_same_signed_or_unsigned() {
    let expected = contents(&read_named(NAME, TRANSACTION));
    let signed = TRANSACTION
        .replace("|28.50|0.23|", "|-28.50|-0.23|")
        .replace("|HKD|28.50|", "|HKD|-28.50|")
        .replace(
            "|60.00|0.48|HKD|2026-03-09 11:04:20",
            "|-60.00|-0.48|HKD|2026-03-09 11:04:20",
        );
    assert_eq!(
        signed.matches('-').count(),
        TRANSACTION.matches('-').count() + 5
    );
    assert_eq!(contents(&read_named(NAME, signed)), expected);

    let expected = contents(&read_named(SETTLEMENT_NAME, SETTLEMENT));
    let signed = SETTLEMENT.replace("|28.50|0.23|28.27|", "|-28.50|-0.23|-28.27|");
    assert_ne!(signed, SETTLEMENT);
    assert_eq!(contents(&read_named(SETTLEMENT_NAME, signed)), expected);
}

#[test]
fn unknown_wallets_scenes_and_rates_are_kept_as_written() {
    let text = edited(
        3,
        "|HKD|128.50|1|ALIPAYHK",
        "shopQrCode|USD|16.47|7.8020|GCASH_2",
    );
    let read = read_named(NAME, text.replace("BranchshopQrCode", "Branch|shopQrCode"));
    assert_eq!(read.faults, []);
    let row = &read.rows[0];
    assert_eq!(row.wallet.as_deref(), Some("GCASH_2"));
    assert_eq!(row.order_scene.as_deref(), Some("shopQrCode"));
    assert_eq!(row.trans_forex_rate.as_deref(), Some("7.8020"));
    assert_eq!(
        row.trans_amount.expect("an amount").to_string(),
        "USD 16.47"
    );
    assert_eq!(row.amount.to_string(), "HKD 128.50");
}

#[test]
fn old_and_new_words_for_a_reversal_are_the_same() {
    for word in ["REVERSAL", "REVERSE", "Reversal"] {
        let read = read_named(NAME, TRANSACTION.replace("CANCEL", word));
        assert_eq!(read.rows[2].row_type, RowType::Reversal, "{word}");
    }
}

#[test]
fn a_wrong_count_is_a_warning_and_bad_rows_count_too() {
    let read = read_named(NAME, TRANSACTION.replace("count:4", "count:5"));
    let warning = Warning::TotalCount {
        said: 5,
        counted: 4,
    };
    // Of what is missing the last row may be a part.
    assert_eq!((read.rows.len(), read.summary.warnings), (3, vec![warning]));
    let read = read_named(NAME, edited(4, "60.00", "sixty"));
    assert_eq!((read.rows.len(), read.summary.warnings), (3, vec![]));
}

#[test]
fn a_header_that_is_not_readable_is_a_warning() {
    let text = TRANSACTION.replace(line(1), "Partner: 20880|Payment_time: today|Total_count:");
    let read = read_named(NAME, text);
    assert_eq!(read.rows.len(), 4);
    assert_eq!(read.summary.header, Some(FileHeader::default()));
    let missing = ["Partner", "Payment_time", "Total_count"].map(Warning::Header);
    assert_eq!(read.summary.warnings, missing);
}

#[test]
fn a_repeated_line_is_read_and_says_which_it_repeats() {
    let text = TRANSACTION.replace(line(4), &format!("{}\n{0}", line(4)));
    let read = read_named(NAME, text.replace("count:4", "count:5"));
    let repeats: Vec<_> = read.rows.iter().map(|row| row.duplicate_of).collect();
    assert_eq!(repeats, [None, None, Some(4), None, None]);
    assert_eq!(read.summary.duplicates, 1);
}

#[test]
fn a_day_of_nothing_is_a_file_without_rows() {
    let head = format!("{}\n{}\n", line(1), line(2));
    let head = head.replace("count:4", "count:0");
    for text in [head.as_str(), &head[..=head.find('\n').expect("two lines")]] {
        let read = read_named(NAME, text);
        assert_eq!(
            (read.rows, read.faults, read.summary.warnings),
            (vec![], vec![], vec![])
        );
        assert_eq!(read.summary.layout.kind(), FileKind::Transaction);
    }
}

#[test]
fn a_column_that_no_row_needs_may_be_missing_with_a_warning() {
    let text: String = TRANSACTION
        .lines()
        .map(|line| {
            let mut fields: Vec<&str> = line.split('|').collect();
            if fields.len() == 17 {
                fields.remove(12);
            }
            fields.join("|") + "\n"
        })
        .collect();
    let read = read_named(NAME, text);
    assert_eq!((read.rows.len(), read.faults.len()), (4, 0));
    assert_eq!(
        read.summary.warnings,
        [Warning::MissingColumn("Order_scene")]
    );
}
