//! How to reach Alipay, and what the contract with it says.

use std::path::PathBuf;

use chrono::TimeDelta;

use super::{
    accounts::{self, Account},
    codes,
    forms::time_of_day,
    read::Reader,
};
use crate::domain::{
    accounts::{codes::AddedCode, timeouts::Timeouts},
    calendar::BatchHours,
    reconciliation::{FeeOfRefunds, Rules},
    refunds::plan::RefundPlan,
};

/// How to reach Alipay.
#[derive(Clone, Debug)]
pub struct Alipay {
    /// The accounts, at least one.
    pub accounts: Vec<Account>,
    /// Deadlines, for every account.
    pub timeouts: Timeouts,
    /// The codes that are added to those the gateway knows.
    pub codes: Vec<AddedCode>,
    /// How many calls in a row without an answer stop new work; 0: none do.
    pub breaker_calls: u32,
    /// Certificate authorities to trust besides the system's.
    pub extra_ca_file: Option<PathBuf>,
}

impl Alipay {
    pub(super) fn read(reader: &mut Reader, refund_plan: Option<RefundPlan>) -> Option<Self> {
        let rules = rules(reader);
        let accounts = accounts::read(reader, refund_plan, rules);
        let codes = codes::read(reader);
        let timeouts = read_timeouts(reader);
        let breaker_calls = reader.number("ALIPAY_BREAKER_CALLS", 0, 1_000);
        let extra_ca_file = reader.optional_file("ALIPAY_EXTRA_CA_FILE");
        Some(Self {
            accounts: accounts?,
            codes: codes?,
            timeouts: timeouts?,
            breaker_calls: breaker_calls?,
            extra_ca_file,
        })
    }
}

fn read_timeouts(reader: &mut Reader) -> Option<Timeouts> {
    let connect = reader.milliseconds("ALIPAY_CONNECT_TIMEOUT_MS");
    let pay = reader.milliseconds("ALIPAY_PAY_TIMEOUT_MS");
    let query = reader.milliseconds("ALIPAY_QUERY_TIMEOUT_MS");
    let cancel = reader.milliseconds("ALIPAY_CANCEL_TIMEOUT_MS");
    let refund = reader.milliseconds("ALIPAY_REFUND_TIMEOUT_MS");
    Some(Timeouts {
        connect: connect?,
        pay: pay?,
        query: query?,
        cancel: cancel?,
        refund: refund?,
    })
}

/// When Alipay does asynchronous refunds, in GMT+8, and for how long it tries
/// (`docs/protocol.md` 6.2). The documents differ, and a contract may say otherwise.
pub(super) fn refund_plan(reader: &mut Reader) -> Option<RefundPlan> {
    let mut time = |name| {
        let form = "a time of day such as 23:00";
        let text = reader.matching(name, form, |text| time_of_day(text).is_some())?;
        time_of_day(&text)
    };
    let opens = time("REFUND_BATCH_OPENS");
    let closes = time("REFUND_BATCH_CLOSES");
    let give_up_days = reader.number("REFUND_GIVE_UP_DAYS", 1, 1_000);
    if opens.is_some() && opens == closes {
        return reader.fault("REFUND_BATCH_CLOSES", "must differ from REFUND_BATCH_OPENS");
    }
    Some(RefundPlan {
        hours: BatchHours {
            opens: opens?,
            closes: closes?,
        },
        horizon: TimeDelta::days(give_up_days?.into()),
    })
}

/// How daily files are compared with the books: what the contract with Alipay says.
pub(super) fn rules(reader: &mut Reader) -> Option<Rules> {
    const RATE: &str = "RECONCILIATION_FEE_BASIS_POINTS";
    const REFUNDS: &str = "RECONCILIATION_FEE_OF_REFUNDS";
    // Absent is none; present and wrong is a fault, and no rules at all.
    let rate = match reader.optional(RATE) {
        None => Some(None),
        Some(_) => reader.number(RATE, 0, 10_000).map(Some),
    };
    let tolerance = reader.number("RECONCILIATION_FEE_TOLERANCE_MINOR", 0, 1_000);
    let of_refunds = match reader.optional(REFUNDS).as_deref() {
        None => Some(None),
        Some(text) => match FeeOfRefunds::from_name(text) {
            Some(fee) => Some(Some(fee)),
            None => reader.fault(REFUNDS, "must be returned or kept"),
        },
    };
    let days = reader.number("RECONCILIATION_SETTLED_WITHIN_DAYS", 1, 60);
    Some(Rules {
        fee_basis_points: rate?.and_then(|points| i32::try_from(points).ok()),
        fee_tolerance_minor: tolerance?.into(),
        fee_of_refunds: of_refunds?,
        settled_within_days: i32::try_from(days?).ok()?,
    })
}
