//! A reconciliation and its differences as callers see them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    domain::reconciliation::{
        Difference, DifferenceClass, ReconciledFile, Reconciliation, ReconciliationItem,
        ReconciliationStatus, Source, Total,
        daily_file::{FileKind, RowType},
    },
    http::answer::{MoneyView, timestamp},
};

/// A file of a reconciliation.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ReconciledFile)]
pub struct FileView {
    /// This content of the file.
    #[schema(example = "fil_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub id: String,
    /// `transaction` or `settlement`.
    #[schema(
        example = "transaction",
        extensions(("x-extensible-enum" = json!(FileKind::NAMES)))
    )]
    pub kind: &'static str,
    /// The GMT+8 day it is of.
    #[schema(format = Date, example = "2026-03-09")]
    pub day: String,
    /// What it is called.
    #[schema(example = "2088000000000017_transaction_20260309.txt")]
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal.
    #[schema(example = "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865")]
    pub sha256: String,
    /// Counts the contents under this name; `null` until it was read.
    #[schema(required = true, example = 1)]
    pub version: Option<i32>,
    /// Whether another version has its place: a later one, or a whole one where this lacks rows.
    #[schema(example = false)]
    pub superseded: bool,
    /// Whether it lacks rows, by its own count or its cut end: a whole version is still to come, and takes
    /// its place.
    #[schema(example = false)]
    pub provisional: bool,
    /// Rows that were read; a merchant's key counts its own.
    #[schema(example = 4)]
    pub rows: i64,
    /// Rows that agree with the books.
    #[schema(example = 4)]
    pub matched: i64,
    /// Rows that could not be read.
    #[schema(example = 0)]
    pub faults: i64,
    /// What a person should know of it.
    pub warnings: Vec<String>,
}

impl From<&ReconciledFile> for FileView {
    fn from(file: &ReconciledFile) -> Self {
        Self {
            id: file.id.to_string(),
            kind: file.kind.as_str(),
            day: file.day.to_string(),
            name: file.name.clone(),
            sha256: hex::encode(&file.sha256),
            version: file.version,
            superseded: file.is_superseded,
            provisional: file.is_provisional,
            rows: file.rows,
            matched: file.matched,
            faults: file.faults,
            warnings: file.warnings.clone(),
        }
    }
}

/// A reconciliation without its sums.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ReconciliationSummary)]
pub struct SummaryView {
    /// Its id; `null` for a dry run, which is stored nowhere.
    #[schema(required = true, example = "rec_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub id: Option<String>,
    /// Always `reconciliation`.
    #[schema(example = "reconciliation")]
    pub object: &'static str,
    /// The Alipay account.
    #[schema(example = "2088000000000017")]
    pub partner: String,
    /// How the files came: `upload`, `command_line` or `sftp`.
    #[schema(
        example = "upload",
        extensions(("x-extensible-enum" = json!(Source::NAMES)))
    )]
    pub source: &'static str,
    /// `running`, `complete`, `failed` (see `error`), or `interrupted`: bring the same files again to continue it.
    /// `superseded`: it was interrupted, and other files of all its days were reconciled since.
    #[schema(
        example = "complete",
        extensions(("x-extensible-enum" = json!(ReconciliationStatus::NAMES)))
    )]
    pub status: &'static str,
    /// What is wrong with which file, and from which line on, where it `failed`: nothing of that file was taken.
    #[schema(required = true, example = json!(null))]
    pub error: Option<String>,
    /// Whether it is complete, no difference is open, and no row of its files could not be read or is missing; of
    /// a version that others took the place of, too.
    #[schema(example = true)]
    pub agrees: bool,
    /// How many differences there are of each class.
    #[schema(example = json!({"missing_in_file": 1}))]
    pub differences: BTreeMap<&'static str, i64>,
    /// How many of them nobody acknowledged yet; what was `corrected` needs no acknowledgement, nor what a
    /// version said whose place a later one took.
    #[schema(example = 1)]
    pub open_differences: i64,
    /// The rate that fees were checked against, in hundredths of a percent; `null` where none was
    /// configured, and so none was checked.
    #[schema(required = true, example = 80)]
    pub fee_basis_points: Option<i32>,
    /// The files.
    pub files: Vec<FileView>,
    /// When it began.
    #[schema(format = DateTime, example = "2026-03-10T02:15:00.000Z")]
    pub created_at: String,
    /// When it was done.
    #[schema(required = true, format = DateTime, example = "2026-03-10T02:15:01.000Z")]
    pub completed_at: Option<String>,
}

impl From<&ReconciliationItem> for SummaryView {
    fn from(item: &ReconciliationItem) -> Self {
        let counts = item.counts.iter();
        Self {
            id: item.id.map(|id| id.to_string()),
            object: "reconciliation",
            partner: item.partner.clone(),
            source: item.source.as_str(),
            status: item.status.as_str(),
            error: item.failure.clone(),
            agrees: item.agrees(),
            differences: counts.map(|(class, n)| (class.as_str(), *n)).collect(),
            open_differences: item.open,
            fee_basis_points: item.fee_basis_points,
            files: item.files.iter().map(FileView::from).collect(),
            created_at: timestamp(item.created_at),
            completed_at: item.completed_at.map(timestamp),
        }
    }
}

/// The sum over one day, store, wallet and currency of one kind of file, in minor units: what came in less
/// what went back.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ReconciliationTotal)]
pub struct TotalView {
    /// `transaction` or `settlement`.
    #[schema(
        example = "transaction",
        extensions(("x-extensible-enum" = json!(FileKind::NAMES)))
    )]
    pub kind: &'static str,
    /// The GMT+8 day on which Alipay completed it.
    #[schema(format = Date, example = "2026-03-09")]
    pub day: String,
    /// Whose; `null` for what is unknown to us.
    #[schema(required = true, example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub merchant_id: Option<String>,
    /// The store.
    #[schema(required = true, example = "ST01")]
    pub store: Option<String>,
    /// Which wallet paid.
    #[schema(required = true, example = "ALIPAYHK")]
    pub wallet: Option<String>,
    /// ISO 4217.
    #[schema(example = "HKD")]
    pub currency: String,
    /// How many rows.
    #[schema(example = 3)]
    pub rows: i64,
    /// What was paid less what went back.
    #[schema(example = 10000)]
    pub amount: i64,
    /// What Alipay keeps.
    #[schema(example = 80)]
    pub fee: i64,
    /// What Alipay pays out.
    #[schema(example = 9920)]
    pub net: i64,
    /// What it should pay out by our books.
    #[schema(example = 9920)]
    pub expected_net: i64,
    /// `net` less `expected_net`.
    #[schema(example = 0)]
    pub difference: i64,
}

impl From<&Total> for TotalView {
    fn from(total: &Total) -> Self {
        Self {
            kind: total.kind.as_str(),
            day: total.day.to_string(),
            merchant_id: total.merchant_id.map(|id| id.to_string()),
            store: total.store.clone(),
            wallet: total.wallet.clone(),
            currency: total.currency.clone(),
            rows: total.rows,
            amount: total.amount_minor,
            fee: total.fee_minor,
            net: total.net_minor,
            expected_net: total.expected_net_minor,
            difference: total.net_minor - total.expected_net_minor,
        }
    }
}

/// A row that could not be read.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RowFault)]
pub struct FaultView {
    /// In which file.
    #[schema(example = "2088000000000017_transaction_20260309.txt")]
    pub file: String,
    /// On which line, from 1.
    #[schema(example = 7)]
    pub line: i64,
    /// In which column; `null` where the line as a whole is meant.
    #[schema(required = true, example = "Transaction_amount")]
    pub column: Option<String>,
    /// What is wrong.
    #[schema(example = "not an amount: 1,50")]
    pub reason: String,
}

/// What files and books say of one another.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Reconciliation)]
pub struct ReconciliationView {
    /// The reconciliation as in a list.
    #[serde(flatten)]
    pub summary: SummaryView,
    /// The sums.
    pub totals: Vec<TotalView>,
    /// Rows that could not be read: the first thousand. Not shown to a merchant's key.
    pub row_faults: Vec<FaultView>,
    /// Of a dry run, the first thousand differences; else they are at `/differences`.
    pub found: Vec<DifferenceView>,
}

impl ReconciliationView {
    /// A report, and the differences of a dry run.
    pub fn new(report: &Reconciliation, found: &[Difference]) -> Self {
        let faults = report.faults.iter().map(|fault| FaultView {
            file: fault.file_name.clone(),
            line: fault.line,
            column: fault.column.clone(),
            reason: fault.reason.clone(),
        });
        Self {
            summary: (&report.item).into(),
            totals: report.totals.iter().map(TotalView::from).collect(),
            row_faults: faults.collect(),
            found: found.iter().map(DifferenceView::from).collect(),
        }
    }
}

/// One difference.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Difference)]
pub struct DifferenceView {
    /// Its id; sorts by file and line.
    #[schema(example = "dif_00000001000000018b6c7d8e9f0a1b2c")]
    pub id: String,
    /// Always `difference`.
    #[schema(example = "difference")]
    pub object: &'static str,
    /// `identity_differs` (another trade, wallet or merchant), `amount_differs`, `currency_differs`, `fee_differs`, `net_differs`, `status_differs`,
    /// `day_differs`, `missing_in_file`, `unknown_to_us`, `portal_refund`, `duplicate`,
    /// `settled_twice`, `not_settled`, or `corrected`: the order was open, and the row settled it.
    #[schema(
        example = "missing_in_file",
        extensions(("x-extensible-enum" = json!(DifferenceClass::NAMES)))
    )]
    pub class: &'static str,
    /// In which file.
    #[schema(example = "2088000000000017_transaction_20260309.txt")]
    pub file: String,
    /// On which line; `null` where the file lacks the row.
    #[schema(required = true, example = json!(null))]
    pub line: Option<i64>,
    /// What the row books, or should: `payment`, `cancel`, `reversal` or `refund`.
    #[schema(
        example = "payment",
        extensions(("x-extensible-enum" = json!(RowType::NAMES)))
    )]
    pub row_type: &'static str,
    /// Whose; `null` where that is not known.
    #[schema(required = true, example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub merchant_id: Option<String>,
    /// Which payment.
    #[schema(required = true, example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub payment_id: Option<String>,
    /// Which refund.
    #[schema(required = true, example = json!(null))]
    pub refund_id: Option<String>,
    /// The store.
    #[schema(required = true, example = "ST01")]
    pub store: Option<String>,
    /// Our id, as the file has it or should: of a refund it is the `partner_refund_id`.
    #[schema(required = true, example = "P0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub partner_trans_id: Option<String>,
    /// Alipay's id.
    #[schema(required = true, example = "2026030922001304180500771201")]
    pub alipay_trans_id: Option<String>,
    /// Of the row, or of ours where there is no row.
    pub amount: MoneyView,
    /// What the books say.
    #[schema(required = true, example = "2026-03-09")]
    pub expected: Option<String>,
    /// What the file says.
    #[schema(required = true, example = json!(null))]
    pub found: Option<String>,
    /// When it was acknowledged.
    #[schema(required = true, format = DateTime, example = json!(null))]
    pub acknowledged_at: Option<String>,
    /// By whom: `kind`, `id`, `name`.
    #[schema(required = true, value_type = Option<Object>, example = json!(null))]
    pub acknowledged_by: Option<Value>,
    /// Why.
    #[schema(required = true, example = json!(null))]
    pub acknowledged_reason: Option<String>,
}

impl From<&Difference> for DifferenceView {
    fn from(difference: &Difference) -> Self {
        Self {
            id: difference.id.to_string(),
            object: "difference",
            class: difference.class.as_str(),
            file: difference.file_name.clone(),
            line: difference.line,
            row_type: difference.row_type.as_str(),
            merchant_id: difference.merchant_id.map(|id| id.to_string()),
            payment_id: difference.payment_id.map(|id| id.to_string()),
            refund_id: difference.refund_id.map(|id| id.to_string()),
            store: difference.store.clone(),
            partner_trans_id: difference.partner_trans_id.clone(),
            alipay_trans_id: difference.alipay_trans_id.clone(),
            amount: difference.amount.into(),
            expected: difference.expected.clone(),
            found: difference.found.clone(),
            acknowledged_at: difference.acknowledged_at.map(timestamp),
            acknowledged_by: difference.acknowledged_by.clone(),
            acknowledged_reason: difference.acknowledged_reason.clone(),
        }
    }
}
