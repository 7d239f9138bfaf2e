//! The daily files of the simulator, read by the gateway's reader: neither has a line of code of the
//! other.

use std::{fs, path::PathBuf};

use alipayhk_gateway::{
    alipay::{
        files::{Entry, FileReader, ReadOptions},
        outcome::RefundOutcome,
    },
    domain::{
        id::PartnerTransId,
        reconciliation::daily_file::{FileRow, FileSummary, RowFault, RowType},
    },
};
use serde_json::json;

use super::{Store, hk};
use crate::support::{PARTNER, alipay::Simulator};

/// All that the gateway finds in a file.
struct Found {
    rows: Vec<FileRow>,
    faults: Vec<RowFault>,
    summary: FileSummary,
}

fn read(name: &str, bytes: &[u8]) -> Found {
    let options = ReadOptions {
        name: Some(name.parse().expect("a file name")),
        other_layouts: true,
    };
    let mut reader = FileReader::open(bytes, &options).expect("a daily file");
    let (mut rows, mut faults) = (vec![], vec![]);
    for entry in &mut reader {
        match entry.expect("memory is readable") {
            Entry::Row(row) => rows.push(row),
            Entry::Fault(fault) => faults.push(fault),
        }
    }
    let summary = reader.finish();
    Found {
        rows,
        faults,
        summary,
    }
}

fn name(kind: &str, day: &str) -> String {
    format!("{PARTNER}_{kind}_{day}.txt")
}

async fn found(store: &Store, kind: &str, day: &str) -> Found {
    let bytes = store.simulator.daily_file(kind, day).await;
    read(&name(kind, day), &bytes.expect("a file"))
}

/// What matters for the books, in short.
fn short(found: &Found) -> Vec<(RowType, String, i64, i64)> {
    let rows = found.rows.iter();
    rows.map(|row| {
        let id = row.partner_trans_id.clone().unwrap_or_default();
        (row.row_type, id, row.signed_amount(), row.signed_fee())
    })
    .collect()
}

/// Two payments of 10.00 on Friday, 2 January 2026; the second is refunded in part, by us and in the
/// portal, at once.
async fn friday() -> (Store, PartnerTransId, PartnerTransId) {
    let mut store = Store::open().await;
    let first = store.pay("0001").await;
    let second = store.pay("0001").await;
    let refund = store.request(&second, "sync");
    let outcome = store.send(&refund).await;
    assert!(matches!(outcome, RefundOutcome::Succeeded { .. }));
    store.simulator.portal_refund(second.as_str(), 250).await;
    (store, first, second)
}

#[tokio::test]
async fn the_gateway_reads_both_files_as_they_are_in_the_ledger() {
    let (store, first, second) = friday().await;
    let ledger = store.simulator.refunds().await;
    let portal = ledger[1]["partner_refund_id"].as_str().expect("an id");
    let transactions = found(&store, "transaction", "20260102").await;
    let expected = [
        (RowType::Payment, first.as_str().to_owned(), 1000, 8),
        (RowType::Payment, second.as_str().to_owned(), 1000, 8),
        (RowType::Refund, "R1".to_owned(), -100, -1),
        (RowType::Refund, portal.to_owned(), -250, -2),
    ];
    assert_eq!(short(&transactions), expected);
    let row = &transactions.rows[2];
    assert_eq!(row.completed_at, hk("01-02 12:00:00"));
    assert_eq!(row.remark.as_deref(), Some("soup missing"));
    assert_eq!(row.secondary_merchant_id.as_deref(), Some("SM001"));
    assert_eq!(
        row.secondary_merchant_name.as_deref(),
        Some("Demo Cafe Ltd")
    );
    assert_eq!(row.store_name.as_deref(), Some("Demo Cafe Central"));
    assert_eq!(row.wallet.as_deref(), Some("ALIPAYHK"));

    let settlement = found(&store, "settlement", "20260105").await;
    assert_eq!(short(&settlement), expected, "on Monday");
    let nets: Vec<_> = settlement.rows.iter().map(FileRow::signed_net).collect();
    assert_eq!(nets, [Some(992), Some(992), Some(-99), Some(-248)]);
    for found in [transactions, settlement] {
        assert_eq!((found.faults, found.summary.warnings), (vec![], vec![]));
    }
    assert_eq!(
        store.simulator.file_names().await,
        [
            name("transaction", "20260102"),
            name("settlement", "20260105")
        ]
    );
    assert!(
        store
            .simulator
            .daily_file("transaction", "20260103")
            .await
            .is_none()
    );
    assert!(
        store
            .simulator
            .daily_file("settlement", "20260102")
            .await
            .is_none()
    );
}

#[tokio::test]
async fn however_a_file_is_written_the_gateway_reads_the_same() {
    let (store, _, _) = friday().await;
    let plain = short(&found(&store, "transaction", "20260102").await);
    let settled = short(&found(&store, "settlement", "20260105").await);
    for settings in [
        json!({"crlf": true, "blank_lines": true, "charset": "UTF-8-BOM"}),
        json!({"header": false, "names": false, "signed_refunds": true}),
        json!({"charset": "GBK", "cancel_word": "REVERSE"}),
        json!({"layout": "standard"}),
        json!({"layout": "old", "names": true}),
        json!({"layout": "old", "names": false, "signed_refunds": false}),
    ] {
        store.simulator.set_files(&settings).await;
        let found_now = found(&store, "transaction", "20260102").await;
        assert_eq!(short(&found_now), plain, "{settings}");
        let found_now = found(&store, "settlement", "20260105").await;
        assert_eq!(short(&found_now), settled, "{settings}");
    }
}

#[tokio::test]
async fn a_planted_fault_is_found_at_the_line_that_the_simulator_names() {
    let (store, first, second) = friday().await;
    let day = ("transaction", "20260102");
    for plant in [
        json!({"type": "field", "row": first.as_str(), "column": "Transaction_amount", "value": "10,00"}),
        json!({"type": "field", "row": "R1", "column": "Payment_time", "value": "yesterday"}),
        json!({"type": "duplicate", "row": second.as_str()}),
        json!({"type": "line", "text": "cut off|in the"}),
        json!({"type": "total_count", "by": -1}),
    ] {
        store.simulator.plant(day.0, day.1, &plant).await;
    }
    let planted = store
        .simulator
        .plant(day.0, day.1, &json!({"type": "missing", "row": "X"}))
        .await;
    let line = |index: usize| {
        planted["planted"][index]["lines"][0]
            .as_u64()
            .expect("a line")
    };
    let found = found(&store, day.0, day.1).await;
    let faults: Vec<String> = found.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            format!("line {}: Transaction_amount: not an amount: 10,00", line(0)),
            format!(
                "line {}: Payment_time: not a time yyyy-MM-dd HH:mm:ss: yesterday",
                line(1)
            ),
            format!("line {}: has 2 columns instead of 17", line(3)),
        ]
    );
    let repeated = found.rows.iter().find(|row| row.duplicate_of.is_some());
    assert_eq!(repeated.map(|row| row.line), Some(line(2)));
    assert_eq!(planted["planted"][5]["applied"], false);
    let warnings: Vec<String> = found
        .summary
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        warnings,
        ["the file says that it has 5 records, but there are 6"]
    );
}

#[tokio::test]
async fn files_are_laid_out_at_half_past_nine_and_again_when_asked() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("daily-files-{}", std::process::id()));
    let simulator = Simulator::start_laying_out(hk("01-02 12:00:00"), &directory).await;
    let (store, first) = Store::with_payment(simulator).await;
    let names = || -> Vec<String> {
        let Ok(entries) = fs::read_dir(&directory) else {
            return vec![];
        };
        let names = entries.map(|entry| entry.expect("readable").file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into()).collect();
        names.sort();
        names
    };
    store.simulator.set_clock(hk("01-03 09:29:59")).await;
    assert_eq!(names(), [""; 0]);
    store.simulator.set_clock(hk("01-03 09:30:00")).await;
    assert_eq!(names(), [name("transaction", "20260102")]);
    store.simulator.set_clock(hk("01-06 09:30:00")).await;
    let both = [
        name("settlement", "20260105"),
        name("transaction", "20260102"),
    ];
    assert_eq!(names(), both);

    let file = directory.join(name("transaction", "20260102"));
    let rows = || {
        read(
            &name("transaction", "20260102"),
            &fs::read(&file).expect("laid out"),
        )
        .rows
    };
    assert_eq!(rows().len(), 1);
    let plant = json!({"type": "duplicate", "row": first.as_str()});
    store
        .simulator
        .plant("transaction", "20260102", &plant)
        .await;
    assert_eq!(rows().len(), 1, "what lies there stays");
    store
        .simulator
        .publish_file("transaction", "20260102")
        .await;
    assert_eq!(rows().len(), 2);
    fs::remove_dir_all(&directory).expect("removable");
}
