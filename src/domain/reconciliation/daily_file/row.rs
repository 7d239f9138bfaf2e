//! One row of a daily file: one movement of money.

use chrono::{DateTime, Utc};

use crate::domain::money::Money;

/// What a row books. A settlement file knows payments and refunds only; what it calls a refund may be
/// a cancel of a paid trade (`docs/protocol.md` 9.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowType {
    /// A buyer paid (`PAYMENT`, `P`).
    Payment,
    /// A paid trade was cancelled: all of it went back (`CANCEL`).
    Cancel,
    /// The same under its other name (`REVERSAL`, in old text `REVERSE`).
    Reversal,
    /// Money went back, whole or in part (`REFUND`, `R`).
    Refund,
}

stored_names!(RowType {
    Payment = "payment",
    Cancel = "cancel",
    Reversal = "reversal",
    Refund = "refund",
});

impl RowType {
    /// Whether the money went back to the buyer.
    pub const fn gives_back(self) -> bool {
        match self {
            Self::Payment => false,
            Self::Cancel | Self::Reversal | Self::Refund => true,
        }
    }
}

/// What a row says.
///
/// **Signs.** Some files print what goes back with a minus, some do not, and for the settlement file it
/// is not documented. So every amount here is absolute, and the direction is [`RowType::gives_back`]:
/// [`Self::signed_amount`], [`Self::signed_fee`] and [`Self::signed_net`] count it from the merchant's
/// side, with the fee as what Alipay keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    /// The line of the file, from 1, blank ones counted.
    pub line: u64,
    /// The line that this one repeats byte for byte.
    pub duplicate_of: Option<u64>,
    /// What is booked.
    pub row_type: RowType,
    /// Our id: the `partner_trans_id` of payments and cancels, the `partner_refund_id` of refunds. In a
    /// settlement file it may also be the `partner_trans_id` of a refund without an id, or Alipay's own
    /// id for a cancelled trade. Not both ids are absent.
    pub partner_trans_id: Option<String>,
    /// Alipay's id of the trade, also for refunds of it.
    pub alipay_trans_id: Option<String>,
    /// The amount in settlement currency, absolute.
    pub amount: Money,
    /// Alipay's commission in settlement currency, absolute: taken for a payment; for what gives back,
    /// what the contract says (`docs/protocol.md` 9.6: returned on a cancel).
    pub fee: Money,
    /// When Alipay completed it. Its GMT+8 day is the day of the transaction file.
    pub completed_at: DateTime<Utc>,
    /// What the settlement file adds; absent in a transaction file.
    pub settlement: Option<Settlement>,
    /// Free text: of a refund, the reason.
    pub remark: Option<String>,
    /// The merchant category code: 4 digits.
    pub secondary_merchant_industry: Option<String>,
    pub secondary_merchant_name: Option<String>,
    /// The merchant's id at Alipay.
    pub secondary_merchant_id: Option<String>,
    /// The store's name (`Operator_name`); an id of the store is not in the file.
    pub store_name: Option<String>,
    /// Blank for a scanned barcode, `shopQrCode` for the merchant's own code.
    pub order_scene: Option<String>,
    /// The amount in the currency of the price, absolute.
    pub trans_amount: Option<Money>,
    /// Settlement currency against the currency of the price, as written: `1` for HKD.
    pub trans_forex_rate: Option<String>,
    /// Which wallet paid, as written (`Issue`): `ALIPAYCN`, `ALIPAYHK`, or one we do not know.
    pub wallet: Option<String>,
}

/// What a settlement file says of the settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// What is paid out (or taken back), in settlement currency, absolute.
    pub net: Money,
    /// When.
    pub settled_at: DateTime<Utc>,
}

impl FileRow {
    /// What the merchant gains (payments) or loses, in minor units.
    pub fn signed_amount(&self) -> i64 {
        self.signed(self.amount)
    }

    /// What Alipay keeps, in minor units: negative where the row gives it back.
    pub fn signed_fee(&self) -> i64 {
        self.signed(self.fee)
    }

    /// What is paid out in minor units, negative for what is taken back; `None` in a transaction file.
    pub fn signed_net(&self) -> Option<i64> {
        self.settlement
            .map(|settlement| self.signed(settlement.net))
    }

    fn signed(&self, money: Money) -> i64 {
        if self.row_type.gives_back() {
            -money.minor()
        } else {
            money.minor()
        }
    }
}
