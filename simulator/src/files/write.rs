//! Rows to the bytes of a file (`docs/protocol.md` 9.4).

use chrono::{DateTime, NaiveTime, Utc};

use super::{
    FileId, FileSettings, Kind,
    entry::{Entry, EntryKind},
    plant::{Plant, Row},
    settings::{FileCharset, FileLayout},
};
use crate::{
    charset::Charset,
    clock::{from_beijing, spaced},
};

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

/// A file, and the line of each row, from 1.
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: Vec<usize>,
}

/// Writes a file.
pub(super) fn write(
    rows: &[Row],
    partner: &str,
    id: FileId,
    settings: &FileSettings,
    plants: &[Plant],
) -> Written {
    let columns = columns(id.kind, settings.layout);
    let mut lines = vec![];
    if settings.header && id.kind == Kind::Transaction {
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let count = count + plants.iter().map(Plant::count_off_by).sum::<i64>();
        let day = id.day.format("%Y-%m-%d");
        lines.push(format!(
            "Partner:{partner}|Payment_time: {day}|Total_count:{count}"
        ));
    }
    if settings.names {
        lines.push(columns.join("|"));
    }
    let head = lines.len();
    lines.extend(rows.iter().map(|row| line(row, &columns, id, settings)));
    let step = if settings.blank_lines { 2 } else { 1 };
    let numbers = (head..lines.len()).map(|index| index * step + 1);
    Written {
        lines: numbers.collect(),
        bytes: encode(&lines, settings),
    }
}

fn line(row: &Row, columns: &[&str], id: FileId, settings: &FileSettings) -> String {
    if let Some(text) = &row.instead {
        return text.clone();
    }
    let fields = columns.iter().map(|column| row.shown(column, id, settings));
    fields.collect::<Vec<_>>().join("|")
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

fn encode(lines: &[String], settings: &FileSettings) -> Vec<u8> {
    let end = if settings.crlf { "\r\n" } else { "\n" };
    let end = if settings.blank_lines {
        end.repeat(2)
    } else {
        end.to_owned()
    };
    let text: String = lines.iter().flat_map(|line| [line, end.as_str()]).collect();
    match settings.charset {
        FileCharset::Utf8 => text.into_bytes(),
        FileCharset::Utf8Mark => format!("\u{feff}{text}").into_bytes(),
        FileCharset::Gbk => Charset::Gbk.encode(&text),
    }
}
