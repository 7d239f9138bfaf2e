//! The samples of `docs/protocol.md` 9.5, field by field.

use super::*;
use crate::domain::{
    money::{Currency, Money},
    reconciliation::daily_file::{Encoding, FileHeader, FileKind, Layout, RowType, Settlement},
};

pub(super) const TRANSACTION: &str =
    include_str!("../samples/2088000000000017_transaction_20260309.txt");
pub(super) const SETTLEMENT: &str =
    include_str!("../samples/2088000000000017_settlement_20260310.txt");

fn hkd(minor: i64) -> Money {
    Money::new(minor, Currency::HKD)
}

/// The first record of the transaction file.
fn noodles() -> FileRow {
    let text = |text: &str| Some(text.to_owned());
    FileRow {
        line: 3,
        duplicate_of: None,
        row_type: RowType::Payment,
        partner_trans_id: text("HKP-260309-000041"),
        alipay_trans_id: text("2026030922001304180500771201"),
        amount: hkd(12850),
        fee: hkd(103),
        completed_at: "2026-03-09T02:14:07Z".parse().unwrap(),
        settlement: None,
        remark: None,
        secondary_merchant_industry: text("5812"),
        secondary_merchant_name: text("Harbour Noodles Ltd"),
        secondary_merchant_id: text("M0001"),
        store_name: text("Central Branch"),
        order_scene: None,
        trans_amount: Some(hkd(12850)),
        trans_forex_rate: text("1"),
        wallet: text("ALIPAYHK"),
    }
}

#[test]
fn the_transaction_sample_is_read_field_by_field() {
    let read = read_named("2088000000000017_transaction_20260309.txt", TRANSACTION);
    assert_eq!(read.faults, []);
    assert_eq!(read.rows[0], noodles());
    let short: Vec<_> = read
        .rows
        .iter()
        .map(|row| {
            let id = row.partner_trans_id.as_deref().unwrap_or_default();
            let wallet = row.wallet.as_deref().unwrap_or_default();
            (row.line, row.row_type, id, row.signed_amount(), wallet)
        })
        .collect();
    assert_eq!(
        short,
        [
            (3, RowType::Payment, "HKP-260309-000041", 12850, "ALIPAYHK"),
            (4, RowType::Payment, "HKP-260309-000042", 6000, "ALIPAYCN"),
            (5, RowType::Cancel, "HKP-260309-000042", -6000, "ALIPAYCN"),
            (6, RowType::Refund, "HKR-260309-000007", -2850, "ALIPAYHK"),
        ]
    );
    assert_eq!(read.rows[3].remark.as_deref(), Some("soup missing"));
    assert_eq!(read.rows[3].signed_fee(), -23);
    let summary = read.summary;
    assert_eq!(
        summary.header,
        Some(FileHeader {
            partner: Some("2088000000000017".to_owned()),
            day: Some("2026-03-09".parse().unwrap()),
            total_count: Some(4),
        })
    );
    assert_eq!(summary.layout, Layout::HkTransaction);
    assert_eq!(summary.encoding, Encoding::Utf8);
    assert_eq!(summary.warnings, []);
    assert_eq!(summary.progress.bytes, TRANSACTION.len() as u64);
    assert!(summary.complete);
}

#[test]
fn the_settlement_sample_is_read_field_by_field() {
    let read = read_named("2088000000000017_settlement_20260310.txt", SETTLEMENT);
    assert_eq!(read.faults, []);
    let settled_at = "2026-03-09T18:30:00Z".parse().unwrap();
    let settlement = |minor| {
        Some(Settlement {
            net: hkd(minor),
            settled_at,
        })
    };
    let payment = FileRow {
        line: 2,
        settlement: settlement(12747),
        ..noodles()
    };
    let refund = FileRow {
        line: 3,
        row_type: RowType::Refund,
        partner_trans_id: Some("HKR-260309-000007".to_owned()),
        amount: hkd(2850),
        fee: hkd(23),
        completed_at: "2026-03-09T09:40:31Z".parse().unwrap(),
        settlement: settlement(2827),
        remark: Some("HKP-260309-000041".to_owned()),
        trans_amount: Some(hkd(2850)),
        ..noodles()
    };
    assert_eq!(refund.signed_net(), Some(-2827));
    assert_eq!(read.rows, [payment, refund]);
    let summary = read.summary;
    assert_eq!(
        (summary.layout, summary.header, summary.warnings),
        (Layout::HkSettlement, None, vec![])
    );
}

#[test]
fn without_a_file_name_the_content_says_which_kind_it_is() {
    assert_eq!(read(TRANSACTION).rows.len(), 4);
    assert_eq!(read(SETTLEMENT).rows.len(), 2);
}

#[test]
fn a_file_under_the_name_of_the_other_kind_is_refused() {
    let options = named("2088000000000017_settlement_20260309.txt");
    assert_eq!(
        refused(TRANSACTION, &options),
        FileFault::Kind {
            by_name: FileKind::Settlement,
            by_content: FileKind::Transaction,
        }
    );
}
