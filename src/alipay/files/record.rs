//! One line to a row, or to everything that is wrong with it.

use chrono::{DateTime, Utc};

use super::{
    columns::{Column, Columns},
    field,
    head::is_header,
    lines::Line,
};
use crate::domain::{
    money::{Currency, Money},
    reconciliation::daily_file::{
        FieldFault, FileKind, FileRow, Reason, RowFault, RowType, Settlement,
    },
};

/// How long an id may be, in characters: four times what is documented, and what an index can hold.
const ID_LIMIT: usize = 256;

/// Reads a record. Every fault of it is named at once.
pub(super) fn read(line: &Line, columns: &Columns) -> Result<FileRow, RowFault> {
    read_fields(line, columns).map_err(|fields| RowFault {
        line: line.number,
        fields,
    })
}

fn read_fields(line: &Line, columns: &Columns) -> Result<FileRow, Vec<FieldFault>> {
    let whole = |reason| vec![FieldFault::of_line(reason)];
    if !line.ended {
        return Err(whole(Reason::Cut));
    }
    let text = line.text.as_ref().map_err(|reason| whole(reason.clone()))?;
    let values: Vec<&str> = text.split('|').map(str::trim).collect();
    if !columns.fit(text) {
        return Err(whole(if is_header(text) {
            Reason::NotARecord
        } else {
            Reason::ColumnCount {
                found: values.len(),
                expected: columns.count,
            }
        }));
    }
    let mut record = Record {
        columns,
        values,
        faults: vec![],
    };
    let row = record.row(line.number);
    match row {
        Some(row) if record.faults.is_empty() => Ok(row),
        _ if Columns::named(line.number, text).is_some() => Err(whole(Reason::NotARecord)),
        _ => Err(record.faults),
    }
}

/// The fields of one line, and what was found wrong so far.
struct Record<'a> {
    columns: &'a Columns,
    values: Vec<&'a str>,
    faults: Vec<FieldFault>,
}

/// Which columns say the same in the two files.
struct Names {
    amount: Column,
    fee: Column,
    row_type: Column,
    remark: Column,
}

const TRANSACTION: Names = Names {
    amount: Column::TransactionAmount,
    fee: Column::ChargeAmount,
    row_type: Column::TransactionType,
    remark: Column::Remark,
};

const SETTLEMENT: Names = Names {
    amount: Column::Amount,
    fee: Column::Fee,
    row_type: Column::Type,
    remark: Column::Remarks,
};

impl Record<'_> {
    /// The row; `None` if something is wrong, which then is among the faults.
    fn row(&mut self, line: u64) -> Option<FileRow> {
        let kind = self.columns.layout.kind();
        let names = match kind {
            FileKind::Transaction => &TRANSACTION,
            FileKind::Settlement => &SETTLEMENT,
        };
        // Each is tried whatever became of the others, so that all faults are found.
        let partner_trans_id = self.id(Column::PartnerTransactionId);
        let alipay_trans_id = self.id(Column::TransactionId);
        if partner_trans_id.is_none() && alipay_trans_id.is_none() {
            self.fault(Column::PartnerTransactionId, Reason::NoId);
        }
        let row_type = self.read(
            names.row_type,
            match kind {
                FileKind::Transaction => field::transaction_type,
                FileKind::Settlement => field::settlement_type,
            },
        );
        let currency = self.read(Column::Currency, field::currency);
        let amount = self.money(names.amount, currency, row_type);
        let fee = self.money(names.fee, currency, row_type);
        let completed_at = self.time(Column::PaymentTime);
        let settlement = match kind {
            FileKind::Transaction => Some(None),
            FileKind::Settlement => self.settlement(currency, row_type).map(Some),
        };
        let trans_amount = self.trans_amount(row_type);
        Some(FileRow {
            line,
            duplicate_of: None,
            row_type: row_type?,
            partner_trans_id,
            alipay_trans_id,
            amount: amount?,
            fee: fee?,
            completed_at: completed_at?,
            settlement: settlement?,
            remark: self.text(names.remark),
            secondary_merchant_industry: self.text(Column::SecondaryMerchantIndustry),
            secondary_merchant_name: self.text(Column::SecondaryMerchantName),
            secondary_merchant_id: self.text(Column::SecondaryMerchantId),
            store_name: self.text(Column::OperatorName),
            order_scene: self.text(Column::OrderScene),
            trans_amount,
            trans_forex_rate: self.text(Column::TransForexRate),
            wallet: self.text(Column::Issue),
        })
    }

    fn settlement(
        &mut self,
        currency: Option<Currency>,
        row_type: Option<RowType>,
    ) -> Option<Settlement> {
        let net = self.money(Column::Settlement, currency, row_type);
        let settled_at = self.time(Column::SettlementTime);
        self.read(Column::Status, |text| {
            if text.eq_ignore_ascii_case("L") {
                Ok(())
            } else {
                Err(Reason::UnknownStatus(field::quote(text)))
            }
        });
        Some(Settlement {
            net: net?,
            settled_at: settled_at?,
        })
    }

    /// The amount in the currency of the price. It may be absent; an amount needs its currency.
    fn trans_amount(&mut self, row_type: Option<RowType>) -> Option<Money> {
        self.value(Column::TransAmount)?;
        let currency = self.read(Column::TransCurrency, field::currency);
        self.money(Column::TransAmount, currency, row_type)
    }

    /// The absolute amount. A minus is right where money goes back only.
    fn money(
        &mut self,
        column: Column,
        currency: Option<Currency>,
        row_type: Option<RowType>,
    ) -> Option<Money> {
        let comes_in = row_type.is_some_and(|row_type| !row_type.gives_back());
        let money = self.read(column, |text| {
            // Without a readable currency the amount is looked at for its own faults.
            match field::amount(text, currency.unwrap_or(Currency::HKD))? {
                (_, true) if comes_in => Err(Reason::Negative(field::quote(text))),
                (money, _) => Ok(money),
            }
        });
        currency.and(money)
    }

    fn time(&mut self, column: Column) -> Option<DateTime<Utc>> {
        self.read(column, field::time)
    }

    fn id(&mut self, column: Column) -> Option<String> {
        let id = self.text(column)?;
        if id.chars().nth(ID_LIMIT).is_some() {
            self.fault(column, Reason::TooLong { limit: ID_LIMIT });
        }
        Some(id)
    }

    /// Reads a field that must not be empty.
    fn read<T>(
        &mut self,
        column: Column,
        read: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> Option<T> {
        let result = self.value(column).ok_or(Reason::Empty).and_then(read);
        result.map_err(|reason| self.fault(column, reason)).ok()
    }

    fn text(&self, column: Column) -> Option<String> {
        self.value(column).map(str::to_owned)
    }

    fn value(&self, column: Column) -> Option<&str> {
        let value = self.values.get(self.columns.place(column)?)?;
        (!value.is_empty()).then_some(*value)
    }

    fn fault(&mut self, column: Column, reason: Reason) {
        self.faults.push(FieldFault {
            column: Some(column.name()),
            reason,
        });
    }
}
