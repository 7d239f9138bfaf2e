//! Deadlines of calls to Alipay.

use std::time::Duration;

use crate::domain::attempt::AttemptKind;

/// How long a call may take. What is asked under a lease or a version must be answered before either is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Of making a connection.
    pub connect: Duration,
    /// Of a pay in all.
    pub pay: Duration,
    /// Of any query in all.
    pub query: Duration,
    /// Of a cancel in all.
    pub cancel: Duration,
    /// Of a refund or a registration in all.
    pub refund: Duration,
}

impl Default for Timeouts {
    /// As `docs/protocol.md` 5.4 has them.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            pay: Duration::from_secs(10),
            query: Duration::from_secs(5),
            cancel: Duration::from_secs(10),
            refund: Duration::from_secs(10),
        }
    }
}

impl Timeouts {
    /// Of a whole call, connecting included.
    pub const fn of(&self, call: AttemptKind) -> Duration {
        match call {
            AttemptKind::Pay => self.pay,
            AttemptKind::Query | AttemptKind::RefundQuery | AttemptKind::StoreStatus => self.query,
            AttemptKind::Cancel => self.cancel,
            AttemptKind::Refund | AttemptKind::MaintainStore => self.refund,
        }
    }

    /// The longest call that a follow-up may make.
    pub fn longest_follow_up(&self) -> Duration {
        self.query.max(self.cancel).max(self.refund)
    }
}
