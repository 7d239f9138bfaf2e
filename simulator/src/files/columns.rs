//! The columns of each kind of file, and what an entry of the ledger shows in them (`docs/protocol.md` 9).

use chrono::{DateTime, NaiveTime, Utc};

use super::{
    FileId, FileSettings, Kind,
    entry::{Entry, EntryKind},
    settings::FileLayout,
};
use crate::clock::{from_beijing, spaced};

const TRANSACTION: [&str; 17] = [
    "Partner_transaction_id",
    "Transaction_id",
    "Transaction_amount",
    "Charge_amount",
    "Currency",
    "Payment_time",
    "Transaction_type",
    "Remark",
    "Secondary_merchant_industry",
    "Secondary_merchant_name",
    "Secondary_merchant_id",
    "Operator_name",
    "Order_scene",
    "Trans_currency",
    "Trans_amount",
    "Trans_forex_rate",
    "Issue",
];

const SETTLEMENT: [&str; 20] = [
    "Partner_transaction_id",
    "Transaction_id",
    "Amount",
    "Fee",
    "Settlement",
    "Currency",
    "Payment_time",
    "Settlement_time",
    "Type",
    "Status",
    "Remarks",
    "Secondary_merchant_industry",
    "Secondary_merchant_name",
    "Secondary_merchant_id",
    "Operator_name",
    "Order_scene",
    "Trans_currency",
    "Trans_amount",
    "Trans_forex_rate",
    "Issue",
];

/// The columns of a file.
pub(super) fn columns(kind: Kind, layout: FileLayout) -> Vec<&'static str> {
    let all: &[&str] = match kind {
        Kind::Transaction => &TRANSACTION,
        Kind::Settlement => &SETTLEMENT,
    };
    let columns = all.iter().copied();
    match (layout, kind) {
        (FileLayout::Hk, _) => columns.collect(),
        (FileLayout::Old, Kind::Transaction) => columns.take(8).collect(),
        (FileLayout::Old | FileLayout::Standard, _) => columns
            .filter(|column| !["Secondary_merchant_id", "Issue"].contains(column))
            .collect(),
    }
}

/// What the ledger's entry shows in a column.
pub(super) fn shown(entry: &Entry, column: &str, id: FileId, settings: &FileSettings) -> String {
    let sign = if settings.signed_refunds && entry.kind.gives_back() {
        "-"
    } else {
        ""
    };
    let amount = |minor: i64| format!("{sign}{}.{:02}", minor / 100, minor % 100);
    let text = match column {
        "Partner_transaction_id" => match (entry.kind, id.kind) {
            // The settlement file's word for a canceled trade.
            (EntryKind::Cancel, Kind::Settlement) => entry.alipay_trans_id.clone(),
            _ => entry.id.clone(),
        },
        "Transaction_id" => entry.alipay_trans_id.clone(),
        "Transaction_amount" | "Amount" | "Trans_amount" => amount(entry.amount_minor),
        "Charge_amount" | "Fee" => amount(entry.fee_minor),
        "Settlement" => amount(entry.amount_minor - entry.fee_minor),
        "Currency" | "Trans_currency" => entry.currency.clone(),
        "Payment_time" => spaced(entry.completed_at),
        "Settlement_time" => spaced(settled_at(id)),
        "Transaction_type" => match entry.kind {
            EntryKind::Payment => "PAYMENT",
            EntryKind::Cancel => settings.cancel_word.word(),
            EntryKind::Refund => "REFUND",
        }
        .to_owned(),
        "Type" => if entry.kind.gives_back() { "R" } else { "P" }.to_owned(),
        "Status" => "L".to_owned(),
        "Remark" => entry.remark.clone(),
        "Remarks" if entry.kind.gives_back() => entry.partner_trans_id.clone(),
        "Secondary_merchant_industry" => entry.place.industry.clone(),
        "Secondary_merchant_name" => entry.place.merchant_name.clone(),
        "Secondary_merchant_id" => entry.place.merchant_id.clone(),
        "Operator_name" => entry.place.store_name.clone(),
        "Trans_forex_rate" => "1".to_owned(),
        "Issue" => entry.wallet.clone(),
        _ => String::new(),
    };
    // There is no quoting.
    text.replace(['|', '\r', '\n'], " ")
}

/// Half past two in the night of the settlement, as in the sample.
fn settled_at(id: FileId) -> DateTime<Utc> {
    let time = NaiveTime::from_hms_opt(2, 30, 0).expect("a time of day");
    from_beijing(id.day.and_time(time))
}
