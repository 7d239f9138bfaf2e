//! The columns of each layout, and where they are in a file.

use crate::domain::reconciliation::daily_file::{FileFault, FileKind, Layout};

/// The columns that we read, under their documented names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    PartnerTransactionId,
    TransactionId,
    TransactionAmount,
    ChargeAmount,
    Amount,
    Fee,
    Settlement,
    Currency,
    PaymentTime,
    SettlementTime,
    TransactionType,
    Type,
    Status,
    Remark,
    Remarks,
    SecondaryMerchantIndustry,
    SecondaryMerchantName,
    SecondaryMerchantId,
    OperatorName,
    OrderScene,
    TransCurrency,
    TransAmount,
    TransForexRate,
    Issue,
}

use Column::{
    Amount, ChargeAmount, Currency, Fee, Issue, OperatorName, OrderScene, PartnerTransactionId,
    PaymentTime, Remark, Remarks, SecondaryMerchantId, SecondaryMerchantIndustry,
    SecondaryMerchantName, Settlement, SettlementTime, Status, TransAmount, TransCurrency,
    TransForexRate, TransactionAmount, TransactionId, TransactionType, Type,
};

/// The 17 columns of the transaction file (`docs/protocol.md` 9.4).
const TRANSACTION: [Column; 17] = [
    PartnerTransactionId,
    TransactionId,
    TransactionAmount,
    ChargeAmount,
    Currency,
    PaymentTime,
    TransactionType,
    Remark,
    SecondaryMerchantIndustry,
    SecondaryMerchantName,
    SecondaryMerchantId,
    OperatorName,
    OrderScene,
    TransCurrency,
    TransAmount,
    TransForexRate,
    Issue,
];

/// The 20 columns of the settlement file.
const SETTLEMENT: [Column; 20] = [
    PartnerTransactionId,
    TransactionId,
    Amount,
    Fee,
    Settlement,
    Currency,
    PaymentTime,
    SettlementTime,
    Type,
    Status,
    Remarks,
    SecondaryMerchantIndustry,
    SecondaryMerchantName,
    SecondaryMerchantId,
    OperatorName,
    OrderScene,
    TransCurrency,
    TransAmount,
    TransForexRate,
    Issue,
];

/// What is found in the HK product's files alone.
const HK_ONLY: [Column; 2] = [SecondaryMerchantId, Issue];

/// How many columns the oldest transaction file has.
const OLD_COLUMNS: usize = 8;

impl Column {
    pub(super) const fn name(self) -> &'static str {
        match self {
            PartnerTransactionId => "Partner_transaction_id",
            TransactionId => "Transaction_id",
            TransactionAmount => "Transaction_amount",
            ChargeAmount => "Charge_amount",
            Amount => "Amount",
            Fee => "Fee",
            Settlement => "Settlement",
            Currency => "Currency",
            PaymentTime => "Payment_time",
            SettlementTime => "Settlement_time",
            TransactionType => "Transaction_type",
            Type => "Type",
            Status => "Status",
            Remark => "Remark",
            Remarks => "Remarks",
            SecondaryMerchantIndustry => "Secondary_merchant_industry",
            SecondaryMerchantName => "Secondary_merchant_name",
            SecondaryMerchantId => "Secondary_merchant_id",
            OperatorName => "Operator_name",
            OrderScene => "Order_scene",
            TransCurrency => "Trans_currency",
            TransAmount => "Trans_amount",
            TransForexRate => "Trans_forex_rate",
            Issue => "Issue",
        }
    }

    /// Whether no row can be read without it.
    const fn is_needed(self) -> bool {
        matches!(
            self,
            PartnerTransactionId
                | TransactionId
                | TransactionAmount
                | ChargeAmount
                | Amount
                | Fee
                | Settlement
                | Currency
                | PaymentTime
                | SettlementTime
                | TransactionType
                | Type
                | Status
        )
    }
}

/// Where each column of a layout is.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) layout: Layout,
    /// How many columns a record has, also those that nobody reads.
    pub(super) count: usize,
    /// The places, by the discriminant of [`Column`].
    places: [Option<usize>; Issue as usize + 1],
    /// What the layout has and the file has not.
    pub(super) missing: Vec<Column>,
}

impl Columns {
    /// The documented order of a layout.
    pub(super) fn documented(layout: Layout) -> Self {
        let mut places = [None; Issue as usize + 1];
        let columns = of_layout(layout);
        for (place, column) in columns.iter().enumerate() {
            places[*column as usize] = Some(place);
        }
        Self {
            layout,
            count: columns.len(),
            places,
            missing: vec![],
        }
    }

    /// What a name line says; `None` if the line is none.
    pub(super) fn named(number: u64, line: &str) -> Option<Result<Self, FileFault>> {
        let mut names: Vec<String> = line.split('|').map(plain).collect();
        let has = |column: Column| names.contains(&plain(column.name()));
        if !has(PartnerTransactionId) || !has(TransactionId) {
            return None;
        }
        // A bar at the end of the line.
        if names.last().is_some_and(String::is_empty) {
            names.pop();
        }
        Some(Self::of_names(number, &names))
    }

    fn of_names(line: u64, names: &[String]) -> Result<Self, FileFault> {
        let has = |column: &Column| names.contains(&plain(column.name()));
        let of_transactions = [TransactionType, TransactionAmount, ChargeAmount];
        let kind = if of_transactions.iter().any(has) {
            FileKind::Transaction
        } else {
            FileKind::Settlement
        };
        let mut places = [None; Issue as usize + 1];
        let mut missing = vec![];
        for column in all(kind) {
            let name = plain(column.name());
            let mut found = (0..names.len()).filter(|place| names[*place] == name);
            places[*column as usize] = found.next();
            if found.next().is_some() {
                let column = column.name();
                return Err(FileFault::RepeatedColumn { line, column });
            }
            if places[*column as usize].is_none() {
                missing.push(*column);
            }
        }
        let needed: Vec<_> = missing.iter().filter(|column| column.is_needed()).collect();
        if !needed.is_empty() {
            let columns = needed.iter().map(|column| column.name()).collect();
            return Err(FileFault::MissingColumns { line, columns });
        }
        let layout = layout(kind, &missing);
        missing.retain(|column| of_layout(layout).contains(column));
        Ok(Self {
            layout,
            count: names.len(),
            places,
            missing,
        })
    }

    /// Whether a record has as many columns; a bar at the end of the line is none.
    pub(super) fn fit(&self, text: &str) -> bool {
        let found = text.split('|').count();
        let bar = text.trim_end().ends_with('|');
        found == self.count || (bar && found == self.count + 1)
    }

    /// Where a column is, if the file has it.
    pub(super) fn place(&self, column: Column) -> Option<usize> {
        self.places[column as usize]
    }
}

/// Which layout of a kind it is that lacks these columns.
fn layout(kind: FileKind, missing: &[Column]) -> Layout {
    let lacks = |column: &Column| missing.contains(column);
    let is_hk = !HK_ONLY.iter().all(lacks);
    match kind {
        FileKind::Transaction if is_hk => Layout::HkTransaction,
        FileKind::Transaction if TRANSACTION[OLD_COLUMNS..].iter().all(lacks) => {
            Layout::OldTransaction
        }
        FileKind::Transaction => Layout::StandardTransaction,
        FileKind::Settlement if is_hk => Layout::HkSettlement,
        FileKind::Settlement => Layout::StandardSettlement,
    }
}

fn all(kind: FileKind) -> &'static [Column] {
    match kind {
        FileKind::Transaction => &TRANSACTION,
        FileKind::Settlement => &SETTLEMENT,
    }
}

/// The documented columns of a layout, in their order.
fn of_layout(layout: Layout) -> Vec<Column> {
    let columns = all(layout.kind()).iter().copied();
    match layout {
        Layout::HkTransaction | Layout::HkSettlement => columns.collect(),
        Layout::OldTransaction => columns.take(OLD_COLUMNS).collect(),
        Layout::StandardTransaction | Layout::StandardSettlement => {
            columns.filter(|column| !HK_ONLY.contains(column)).collect()
        }
    }
}

/// A name without what may differ: case, spaces, underscores.
pub(super) fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}
