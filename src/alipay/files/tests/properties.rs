//! Files that nobody wrote by hand: whatever rows are written are read, whatever bytes come do no
//! harm, and a cut or a spoilt line costs no other.

use chrono::DateTime;
use proptest::prelude::*;

use super::{
    samples::{SETTLEMENT, TRANSACTION},
    *,
};
use crate::domain::{
    calendar::beijing,
    money::{Currency, Money},
    reconciliation::daily_file::{FileKind, RowType, Settlement},
};

const TRANSACTION_NAMES: &str = "Partner_transaction_id|Transaction_id|Transaction_amount|Charge_amount|Currency|Payment_time|Transaction_type|Remark|Secondary_merchant_industry|Secondary_merchant_name|Secondary_merchant_id|Operator_name|Order_scene|Trans_currency|Trans_amount|Trans_forex_rate|Issue";
const SETTLEMENT_NAMES: &str = "Partner_transaction_id|Transaction_id|Amount|Fee|Settlement|Currency|Payment_time|Settlement_time|Type|Status|Remarks|Secondary_merchant_industry|Secondary_merchant_name|Secondary_merchant_id|Operator_name|Order_scene|Trans_currency|Trans_amount|Trans_forex_rate|Issue";

/// How a generated file is written.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is thrown by itself")]
struct Writing {
    kind: FileKind,
    gbk: bool,
    crlf: bool,
    header: bool,
    names: bool,
    signed: bool,
    blank_lines: bool,
}

fn writing() -> impl Strategy<Value = Writing> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let more = (any::<bool>(), any::<bool>(), any::<bool>());
    (flags, more).prop_map(
        |((settlement, gbk, crlf, header), (names, signed, blank_lines))| Writing {
            kind: if settlement {
                FileKind::Settlement
            } else {
                FileKind::Transaction
            },
            gbk,
            crlf,
            header,
            names,
            signed,
            blank_lines,
        },
    )
}

/// Text of a field, trimmed: what GBK and UTF-8 can both write. More than half of the characters are
/// such that GBK bytes of them are no UTF-8.
fn text() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        Just(None),
        "[A-Za-z0-9 .,;:'()#&/-]{1,30}".prop_map(Some),
        "[一-龥]{1,12}".prop_map(Some),
    ]
    .prop_map(|text| {
        text.map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    })
}

fn money() -> impl Strategy<Value = Money> {
    prop_oneof![0_i64..1000, 0_i64..=99_999_999_999]
        .prop_map(|minor| Money::new(minor, Currency::HKD))
}

fn row(kind: FileKind) -> impl Strategy<Value = FileRow> {
    let types = match kind {
        FileKind::Transaction => RowType::ALL.to_vec(),
        FileKind::Settlement => vec![RowType::Payment, RowType::Refund],
    };
    let instant = (1_600_000_000_i64..2_000_000_000)
        .prop_map(|at| DateTime::from_timestamp(at, 0).expect("an instant of our time"));
    let ids = ("[A-Za-z0-9_-]{1,64}", "[0-9]{16,28}");
    let texts = (text(), text(), text(), text());
    let amounts = (money(), money(), money(), money());
    let wallet = proptest::option::of("[A-Z0-9_]{1,20}");
    let times = (instant.clone(), instant);
    (
        proptest::sample::select(types),
        ids,
        texts,
        amounts,
        wallet,
        times,
    )
        .prop_map(
            move |(row_type, ids, texts, amounts, wallet, times)| FileRow {
                line: 0,
                duplicate_of: None,
                row_type,
                partner_trans_id: Some(ids.0),
                alipay_trans_id: Some(ids.1),
                amount: amounts.0,
                fee: amounts.1,
                completed_at: times.0,
                settlement: (kind == FileKind::Settlement).then_some(Settlement {
                    net: amounts.2,
                    settled_at: times.1,
                }),
                remark: texts.0,
                secondary_merchant_industry: Some("5812".to_owned()),
                secondary_merchant_name: texts.1,
                secondary_merchant_id: texts.2,
                store_name: texts.3,
                order_scene: None,
                trans_amount: Some(amounts.3),
                trans_forex_rate: Some("1".to_owned()),
                wallet,
            },
        )
}

fn file() -> impl Strategy<Value = (Writing, Vec<FileRow>)> {
    writing().prop_flat_map(|writing| {
        let rows = proptest::collection::vec(row(writing.kind), 1..20);
        (Just(writing), rows)
    })
}

/// A record, as Alipay would write it.
fn record(row: &FileRow, writing: Writing) -> String {
    let sign = if writing.signed && row.row_type.gives_back() {
        "-"
    } else {
        ""
    };
    let amount = |money: Money| format!("{sign}{}", money.to_decimal());
    let time = |at: DateTime<chrono::Utc>| {
        at.with_timezone(&beijing())
            .format("%Y-%m-%d %H:%M:%S")
            .to_string()
    };
    let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
    let word = match (row.row_type, writing.kind) {
        (RowType::Payment, FileKind::Settlement) => "P",
        (_, FileKind::Settlement) => "R",
        (RowType::Payment, _) => "PAYMENT",
        (RowType::Cancel, _) => "CANCEL",
        (RowType::Reversal, _) => "REVERSAL",
        (RowType::Refund, _) => "REFUND",
    };
    let mut fields = vec![
        or_empty(&row.partner_trans_id),
        or_empty(&row.alipay_trans_id),
        amount(row.amount),
        amount(row.fee),
    ];
    match row.settlement {
        Some(settlement) => fields.extend([
            amount(settlement.net),
            "HKD".to_owned(),
            time(row.completed_at),
            time(settlement.settled_at),
            word.to_owned(),
            "L".to_owned(),
        ]),
        None => fields.extend(["HKD".to_owned(), time(row.completed_at), word.to_owned()]),
    }
    fields.extend([
        or_empty(&row.remark),
        or_empty(&row.secondary_merchant_industry),
        or_empty(&row.secondary_merchant_name),
        or_empty(&row.secondary_merchant_id),
        or_empty(&row.store_name),
        or_empty(&row.order_scene),
        "HKD".to_owned(),
        row.trans_amount.map(amount).unwrap_or_default(),
        or_empty(&row.trans_forex_rate),
        or_empty(&row.wallet),
    ]);
    fields.join("|")
}

fn write(writing: Writing, rows: &[FileRow]) -> Vec<u8> {
    let mut lines = vec![];
    if writing.header {
        let count = rows.len();
        lines.push(format!(
            "Partner:2088000000000017|Payment_time: 2026-03-09|Total_count:{count}"
        ));
    }
    if writing.names {
        let names = match writing.kind {
            FileKind::Transaction => TRANSACTION_NAMES,
            FileKind::Settlement => SETTLEMENT_NAMES,
        };
        lines.push(names.to_owned());
    }
    lines.extend(rows.iter().map(|row| record(row, writing)));
    let end = match (writing.crlf, writing.blank_lines) {
        (false, false) => "\n",
        (true, false) => "\r\n",
        (false, true) => "\n\n",
        (true, true) => "\r\n \r\n",
    };
    let text = lines.join(end) + end;
    if writing.gbk {
        encoding_rs::GBK.encode(&text).0.into_owned()
    } else {
        text.into_bytes()
    }
}

/// Reads whatever it is, if it is anything.
fn try_read(bytes: &[u8], options: &ReadOptions) -> Option<Read> {
    FileReader::open(bytes, options).ok()?;
    Some(read_with(bytes, options))
}

/// Rows without the numbers of lines.
fn contents(rows: &[FileRow]) -> Vec<FileRow> {
    let plain = |row: FileRow| FileRow {
        line: 0,
        duplicate_of: None,
        ..row
    };
    rows.iter().cloned().map(plain).collect()
}

/// Whether the rows are all there, names and remarks aside if the encoding is in doubt: a line of GBK
/// that happens to be UTF-8 is read as such until another one is not.
fn money_of(rows: &[FileRow]) -> Vec<(Option<String>, i64, i64, DateTime<chrono::Utc>)> {
    let plain = |row: &FileRow| {
        let id = row.partner_trans_id.clone();
        (id, row.signed_amount(), row.signed_fee(), row.completed_at)
    };
    rows.iter().map(plain).collect()
}

proptest! {
    #[test]
    fn whatever_rows_are_written_are_read((writing, rows) in file()) {
        let bytes = write(writing, &rows);
        let read = read(&bytes);
        prop_assert_eq!(&read.faults, &[]);
        if writing.gbk {
            prop_assert_eq!(money_of(&read.rows), money_of(&rows));
        } else {
            prop_assert_eq!(contents(&read.rows), rows);
        }
        prop_assert_eq!(read.summary.progress.bytes, bytes.len() as u64);
        prop_assert!(read.summary.complete);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let options = ReadOptions { other_layouts: true, ..ReadOptions::default() };
        try_read(&bytes, &options);
        // Below a name line, where they are taken for records.
        let below = [TRANSACTION_NAMES.as_bytes(), b"\n", &bytes].concat();
        try_read(&below, &options);
    }

    #[test]
    fn random_fields_never_panic(
        fields in proptest::collection::vec("[-0-9.:| A-ZPRL]{0,25}", 17..21),
        settlement in any::<bool>(),
    ) {
        let names = if settlement { SETTLEMENT_NAMES } else { TRANSACTION_NAMES };
        try_read(format!("{names}\n{}\n", fields.join("|")).as_bytes(), &ReadOptions::default());
        try_read(fields.join("|").as_bytes(), &ReadOptions::default());
    }

    /// The line that is spoilt may become anything, also two lines; the others are read as before.
    #[test]
    fn a_spoilt_line_costs_no_other(
        (writing, rows) in file(),
        which in any::<proptest::sample::Index>(),
        spoil in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        // Without a count: of a file that has fewer rows than it says the last one is not taken.
        let writing = Writing { names: true, gbk: false, header: false, ..writing };
        let bytes = write(writing, &rows);
        let text = String::from_utf8(bytes).expect("written as UTF-8");
        let spoilt = which.index(rows.len());
        let line = record(&rows[spoilt], writing);
        let at = text.find(&line).expect("written");
        let file = [&text.as_bytes()[..at], &spoil, &text.as_bytes()[at + line.len()..]].concat();
        let read = read(&file);
        let mut expected = rows.clone();
        expected.remove(spoilt);
        // An invalid byte switches the encoding, so names below it may be garbled; money is not.
        let found = money_of(&read.rows);
        let mut expected = money_of(&expected).into_iter().peekable();
        for row in found {
            if expected.peek() == Some(&row) {
                expected.next();
            }
        }
        prop_assert!(expected.next().is_none());
    }

    #[test]
    fn a_changed_byte_costs_at_most_its_own_and_the_next_line(
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        settlement in any::<bool>(),
    ) {
        let sample = if settlement { SETTLEMENT } else { TRANSACTION };
        let mut file = sample.as_bytes().to_vec();
        let at = at.index(file.len());
        file[at] = byte;
        let expected = read(sample);
        let line = sample[..at].split('\n').count() as u64;
        let head = if settlement { 1 } else { 2 };
        let options = ReadOptions { other_layouts: true, ..ReadOptions::default() };
        match try_read(&file, &options) {
            // The name line says another thing now.
            _ if line <= head => {}
            None => prop_assert!(false, "not read"),
            Some(read) => {
                let untouched = |rows: &[FileRow]| -> Vec<_> {
                    let kept = rows.iter().filter(|row| row.line < line);
                    kept.cloned().collect()
                };
                prop_assert_eq!(untouched(&read.rows), untouched(&expected.rows));
                let after = money_of(&expected.rows[usize::try_from(line - head).unwrap_or(0)..]);
                let found = money_of(&read.rows);
                let skipped = usize::from(sample.as_bytes()[at] == b'\n');
                let rest = &after[skipped.min(after.len())..];
                // Of a file that has fewer rows than its header says, the last one may be cut.
                let is_short = found.len() < expected.rows.len();
                let but_the_last = &rest[..rest.len().saturating_sub(1)];
                prop_assert!(
                    found.ends_with(rest) || is_short && found.ends_with(but_the_last)
                );
            }
        }
    }
}

#[test]
fn a_cut_at_any_byte_loses_no_complete_row_and_invents_none() {
    for sample in [TRANSACTION, SETTLEMENT] {
        let all = read(sample).rows;
        for with_names in [true, false] {
            let head = match sample.find("HKP-") {
                Some(at) if !with_names => at,
                _ => 0,
            };
            let sample = &sample.as_bytes()[head..];
            for cut in 0..=sample.len() {
                let bytes = &sample[..cut];
                let complete = bytes
                    .split_inclusive(|byte| *byte == b'\n')
                    .filter(|line| line.starts_with(b"HK") && line.ends_with(b"\n"))
                    .count();
                let rows =
                    try_read(bytes, &ReadOptions::default()).map_or(vec![], |read| read.rows);
                let rows = contents(&rows);
                let expected = contents(&all);
                // A cut behind a line leaves fewer rows than the header says, and then the last one may
                // be cut too.
                let is_counted = bytes.starts_with(b"Partner:") && bytes.ends_with(b"\n");
                let is_short = is_counted && complete < all.len();
                let taken = complete.saturating_sub(usize::from(is_short));
                assert_eq!(rows, expected[..taken], "cut at {cut}");
            }
        }
    }
}
