//! Differences that tests want: what is in the file is not what is in the ledger, or is not readable.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    FileId, FileSettings, Kind, Ledger,
    columns::{columns, shown},
    entry::{Entry, EntryKind},
};
use crate::{book::Trade, clock::from_beijing, request::Place};

/// One difference; in JSON `{"type": "missing", "row": "HKP-1"}`. A `row` is named by its
/// `Partner_transaction_id`, with the type behind it where that is not enough: `HKP-1 CANCEL`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Plant {
    /// The amount is another.
    WrongAmount {
        row: String,
        /// What is added, in cents.
        by_minor: i64,
    },
    /// The commission is another.
    WrongFee {
        row: String,
        /// What is added, in cents.
        by_minor: i64,
    },
    /// The row is not there.
    Missing { row: String },
    /// The row is there twice.
    Duplicate { row: String },
    /// The row, still in this file, says that it happened on another day.
    OtherDay {
        row: String,
        /// How many days later.
        days: i64,
    },
    /// A payment that no system has asked for, as the portal may make it.
    ExtraPayment {
        /// Under which id.
        id: String,
        /// In cents.
        amount_minor: i64,
    },
    /// A refund that no system has asked for; the ledger knows nothing of it.
    ExtraRefund {
        /// Of which payment, by its `partner_trans_id`.
        of: String,
        /// Under which id.
        id: String,
        /// In cents.
        amount_minor: i64,
    },
    /// A payment is in the file although it was not paid, or was canceled unpaid, or was refused, so
    /// that there is no trade at all.
    PaidAnyway {
        /// Its `partner_trans_id`.
        id: String,
        /// In cents; needed where there is no trade.
        amount_minor: Option<i64>,
    },
    /// A field reads otherwise: anything, also what cannot be read.
    Field {
        row: String,
        /// Which column, by its name in this file.
        column: String,
        /// What stands there.
        value: String,
    },
    /// A line at the end that is not a record, or is one of the test's own.
    Line {
        /// All of it.
        text: String,
    },
    /// The header counts wrong.
    TotalCount {
        /// What is added.
        by: i64,
    },
}

impl Plant {
    /// By how much the header's count is wrong.
    pub(super) fn count_off_by(&self) -> i64 {
        match self {
            Self::TotalCount { by } => *by,
            _ => 0,
        }
    }
}

/// A row on its way into a file.
pub(super) struct Row {
    pub(super) entry: Entry,
    /// Columns that read otherwise.
    pub(super) edits: Vec<(String, String)>,
    /// A line in place of all this.
    pub(super) instead: Option<String>,
    /// The planted differences that are in it.
    marks: Vec<usize>,
}

impl Row {
    pub(super) fn new(entry: Entry) -> Self {
        Self {
            entry,
            edits: vec![],
            instead: None,
            marks: vec![],
        }
    }

    /// What stands in a column.
    pub(super) fn shown(&self, column: &str, id: FileId, settings: &FileSettings) -> String {
        let edit = self.edits.iter().rev().find(|(edited, _)| edited == column);
        match edit {
            Some((_, value)) => value.clone(),
            None => shown(&self.entry, column, id, settings),
        }
    }

    fn marked(entry: Entry, mark: usize) -> Self {
        Self {
            marks: vec![mark],
            ..Self::new(entry)
        }
    }
}

/// What a difference has done. The fields are absent where a row came or went as a whole.
#[derive(Default)]
pub(super) struct Change {
    column: Option<String>,
    was: Option<String>,
    is: Option<String>,
}

/// Makes the rows differ. `None` stands for a difference for which there was no such row or payment.
pub(super) fn apply(
    rows: &mut Vec<Row>,
    plants: &[Plant],
    ledger: &Ledger<'_>,
    id: FileId,
    settings: &FileSettings,
) -> Vec<Option<Change>> {
    let mut field = Field {
        rows,
        ledger,
        id,
        settings,
    };
    let plants = plants.iter().enumerate();
    plants
        .map(|(mark, plant)| field.plant(mark, plant))
        .collect()
}

/// Where differences are planted.
struct Field<'a> {
    rows: &'a mut Vec<Row>,
    ledger: &'a Ledger<'a>,
    id: FileId,
    settings: &'a FileSettings,
}

impl Field<'_> {
    fn plant(&mut self, mark: usize, plant: &Plant) -> Option<Change> {
        match plant {
            Plant::WrongAmount { row, by_minor } => {
                let column = self.column("Transaction_amount", "Amount");
                self.change(mark, row, column, |row| row.entry.amount_minor += by_minor)
            }
            Plant::WrongFee { row, by_minor } => {
                let column = self.column("Charge_amount", "Fee");
                self.change(mark, row, column, |row| row.entry.fee_minor += by_minor)
            }
            Plant::OtherDay { row, days } => self.change(mark, row, "Payment_time", |row| {
                row.entry.completed_at += TimeDelta::days(*days);
            }),
            Plant::Field { row, column, value } => {
                let known = columns(self.id.kind, self.settings.layout);
                known.contains(&column.as_str()).then_some(())?;
                self.change(mark, row, column, |row| {
                    row.edits.push((column.clone(), value.clone()));
                })
            }
            Plant::Missing { row } => {
                let index = self.find(row)?;
                self.rows.remove(index);
                Some(Change::default())
            }
            Plant::Duplicate { row } => {
                let index = self.find(row)?;
                let copy = Row {
                    entry: self.rows[index].entry.clone(),
                    edits: self.rows[index].edits.clone(),
                    instead: None,
                    marks: vec![mark],
                };
                self.rows.insert(index + 1, copy);
                Some(Change::default())
            }
            Plant::ExtraPayment { id, amount_minor } => {
                let entry = self.unknown_payment(mark, id, *amount_minor);
                Some(self.add(mark, entry))
            }
            Plant::ExtraRefund {
                of,
                id,
                amount_minor,
            } => {
                let (trade, at) = (self.trade(of)?, self.noon());
                let entry = Entry::refund_of(trade, id, *amount_minor, at, self.settings);
                Some(self.add(mark, entry))
            }
            Plant::PaidAnyway { id, amount_minor } => {
                let entry = match (self.trade(id), amount_minor) {
                    (Some(trade), _) => Entry::payment(trade, trade.created_at, self.settings),
                    (None, Some(amount)) => self.unknown_payment(mark, id, *amount),
                    (None, None) => return None,
                };
                Some(self.add(mark, entry))
            }
            Plant::Line { text } => {
                let mut row = Row::marked(self.unknown_payment(mark, "", 0), mark);
                row.instead = Some(text.clone());
                self.rows.push(row);
                Some(Change::default())
            }
            Plant::TotalCount { .. } => Some(Change::default()),
        }
    }

    fn column(&self, transaction: &'static str, settlement: &'static str) -> &'static str {
        match self.id.kind {
            Kind::Transaction => transaction,
            Kind::Settlement => settlement,
        }
    }

    fn change(
        &mut self,
        mark: usize,
        row: &str,
        column: &str,
        edit: impl FnOnce(&mut Row),
    ) -> Option<Change> {
        let index = self.find(row)?;
        let row = &mut self.rows[index];
        let was = row.shown(column, self.id, self.settings);
        edit(row);
        row.marks.push(mark);
        Some(Change {
            column: Some(column.to_owned()),
            was: Some(was),
            is: Some(row.shown(column, self.id, self.settings)),
        })
    }

    fn add(&mut self, mark: usize, entry: Entry) -> Change {
        self.rows.push(Row::marked(entry, mark));
        Change::default()
    }

    /// The first row that is named so, `ID` or `ID TYPE`.
    fn find(&self, name: &str) -> Option<usize> {
        let (id, kind) = match name.rsplit_once(' ') {
            Some((id, "PAYMENT")) => (id, Some(EntryKind::Payment)),
            Some((id, "CANCEL")) => (id, Some(EntryKind::Cancel)),
            Some((id, "REFUND")) => (id, Some(EntryKind::Refund)),
            _ => (name, None),
        };
        self.rows.iter().position(|row| {
            let is_kind = kind.is_none_or(|kind| row.entry.kind == kind);
            row.instead.is_none() && row.entry.id == id && is_kind
        })
    }

    fn trade(&self, partner_trans_id: &str) -> Option<&Trade> {
        let mut trades = self.ledger.trades.iter();
        trades.find(|trade| trade.partner_trans_id == partner_trans_id)
    }

    /// An instant that belongs into this file: noon of its day, or of the day before a settlement.
    fn noon(&self) -> DateTime<Utc> {
        let noon = from_beijing(self.id.day.and_time(NaiveTime::MIN)) + TimeDelta::hours(12);
        match self.id.kind {
            Kind::Transaction => noon,
            Kind::Settlement => noon - TimeDelta::days(1),
        }
    }

    /// A payment of which the ledger knows nothing.
    fn unknown_payment(&self, mark: usize, id: &str, amount_minor: i64) -> Entry {
        let day = self.id.day.format("%Y%m%d");
        Entry {
            kind: EntryKind::Payment,
            id: id.to_owned(),
            partner_trans_id: id.to_owned(),
            alipay_trans_id: format!("{day}22001499{mark:012}"),
            amount_minor,
            fee_minor: self.settings.fee(amount_minor),
            currency: "HKD".to_owned(),
            completed_at: self.noon(),
            remark: String::new(),
            place: Place::default(),
            wallet: "ALIPAYHK".to_owned(),
            of_canceled: false,
        }
    }
}

/// What was planted and what came of it: the difference itself, whether there was something to plant
/// it on, the lines it is in, and the column with both values where one field reads otherwise.
pub(super) fn report(
    plants: &[Plant],
    changes: &[Option<Change>],
    rows: &[Row],
    lines: &[usize],
) -> Vec<Value> {
    let reports = plants.iter().zip(changes).enumerate();
    let reports = reports.map(|(mark, (plant, change))| {
        let rows = rows.iter().zip(lines);
        let lines: Vec<usize> = rows
            .filter(|(row, _)| row.marks.contains(&mark))
            .map(|(_, line)| *line)
            .collect();
        let mut report = json!(plant);
        report["applied"] = json!(change.is_some());
        report["lines"] = json!(lines);
        if let Some(Change {
            column: Some(column),
            was,
            is,
        }) = change
        {
            report["column"] = json!(column);
            report["was"] = json!(was);
            report["is"] = json!(is);
        }
        report
    });
    reports.collect()
}
