//! What a merchant may do at most.

use serde::Serialize;

/// Limits in minor units; absent ones do not limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Most of one payment.
    pub max_payment_minor: Option<i64>,
    /// Most of one refund.
    pub max_refund_minor: Option<i64>,
    /// Most that refunds of one day in Hong Kong (GMT+8) may come to.
    pub max_refunded_per_day_minor: Option<i64>,
    /// Most that Alipay gives back in one refund: of an account alone, and above its merchants' own
    /// limits. What is paid must be refundable in one piece, so it also limits payments.
    pub largest_refund_minor: Option<i64>,
}

impl Limits {
    /// These limits, and those of `default` where these do not say.
    #[must_use]
    pub fn or(self, default: Self) -> Self {
        Self {
            max_payment_minor: self.max_payment_minor.or(default.max_payment_minor),
            max_refund_minor: self.max_refund_minor.or(default.max_refund_minor),
            max_refunded_per_day_minor: self
                .max_refunded_per_day_minor
                .or(default.max_refunded_per_day_minor),
            largest_refund_minor: self.largest_refund_minor.or(default.largest_refund_minor),
        }
    }

    /// Most that one payment may be: what is allowed, and can be refunded in one piece.
    pub fn most_of_a_payment(&self) -> Option<i64> {
        let most = [self.max_payment_minor, self.largest_refund_minor];
        most.into_iter().flatten().min()
    }
}

/// A limit that refunds can meet (`docs/invariants.md` Q9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefundLimit {
    PerRefund,
    /// Per GMT+8 day.
    PerDay,
    /// What Alipay gives back in one piece.
    PerPiece,
}

impl RefundLimit {
    /// The name in JSON and in metrics: that of the merchant's field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PerRefund => "max_refund_minor",
            Self::PerDay => "max_refunded_per_day_minor",
            Self::PerPiece => "largest_refund_minor",
        }
    }
}

/// A refund that is above a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    /// Which.
    pub limit: RefundLimit,
    /// The limit, in minor units.
    pub most_minor: i64,
    /// What may still be refunded now, in minor units.
    pub left_minor: i64,
}

/// A merchant's limits with what was refunded today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefundAllowance {
    pub limits: Limits,
    /// What the refunds of this GMT+8 day come to, in minor units.
    pub refunded_today_minor: i64,
}

impl RefundAllowance {
    /// The limit that a refund of this amount exceeds. The statement that makes the refund decides the
    /// same; this only says why it did.
    pub fn exceeded_by(&self, wanted_minor: i64) -> Option<LimitExceeded> {
        let left_today = self
            .limits
            .max_refunded_per_day_minor
            .map(|most| (most - self.refunded_today_minor).max(0));
        let at_once = [
            (RefundLimit::PerPiece, self.limits.largest_refund_minor),
            (RefundLimit::PerRefund, self.limits.max_refund_minor),
        ];
        let at_once = at_once
            .into_iter()
            .filter_map(|(limit, most_minor)| Some((limit, most_minor?)))
            .min_by_key(|(_, most_minor)| *most_minor);
        if let Some((limit, most_minor)) = at_once
            && wanted_minor > most_minor
        {
            return Some(LimitExceeded {
                limit,
                most_minor,
                left_minor: left_today.map_or(most_minor, |left| left.min(most_minor)),
            });
        }
        let (most_minor, left_minor) = self.limits.max_refunded_per_day_minor.zip(left_today)?;
        (wanted_minor > left_minor).then_some(LimitExceeded {
            limit: RefundLimit::PerDay,
            most_minor,
            left_minor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q9_the_limit_that_is_exceeded_is_named_with_what_is_left() {
        let allowance = |refund, day, today| RefundAllowance {
            limits: Limits {
                max_payment_minor: None,
                max_refund_minor: refund,
                max_refunded_per_day_minor: day,
                largest_refund_minor: None,
            },
            refunded_today_minor: today,
        };
        for (refund, day, today, wanted, expected) in [
            (None, None, 900, 1_000_000, None),
            (Some(500), None, 0, 500, None),
            (
                Some(500),
                None,
                0,
                501,
                Some((RefundLimit::PerRefund, 500, 500)),
            ),
            (Some(0), None, 0, 1, Some((RefundLimit::PerRefund, 0, 0))),
            (None, Some(1000), 600, 400, None),
            (
                None,
                Some(1000),
                600,
                401,
                Some((RefundLimit::PerDay, 1000, 400)),
            ),
            (
                None,
                Some(1000),
                1000,
                1,
                Some((RefundLimit::PerDay, 1000, 0)),
            ),
            // The limit was lowered during the day.
            (
                None,
                Some(1000),
                1200,
                1,
                Some((RefundLimit::PerDay, 1000, 0)),
            ),
            (
                Some(500),
                Some(1000),
                700,
                600,
                Some((RefundLimit::PerRefund, 500, 300)),
            ),
            (
                Some(500),
                Some(1000),
                700,
                400,
                Some((RefundLimit::PerDay, 1000, 300)),
            ),
        ] {
            let exceeded = allowance(refund, day, today).exceeded_by(wanted);
            let found = exceeded.map(|found| (found.limit, found.most_minor, found.left_minor));
            assert_eq!(found, expected, "{wanted} of {refund:?}, {day:?}, {today}");
        }
    }

    #[test]
    fn what_can_be_paid_can_be_refunded_in_one_piece() {
        for (payment, piece, expected) in [
            (None, None, None),
            (Some(500), None, Some(500)),
            (None, Some(900), Some(900)),
            (Some(500), Some(900), Some(500)),
            (Some(1000), Some(900), Some(900)),
        ] {
            let limits = Limits {
                max_payment_minor: payment,
                largest_refund_minor: piece,
                ..Limits::default()
            };
            assert_eq!(limits.most_of_a_payment(), expected, "{limits:?}");
        }
        let exceeded = |refund, wanted| {
            let limits = Limits {
                max_refund_minor: refund,
                largest_refund_minor: Some(900),
                ..Limits::default()
            };
            let allowance = RefundAllowance {
                limits,
                refunded_today_minor: 0,
            };
            let exceeded = allowance.exceeded_by(wanted);
            exceeded.map(|found| (found.limit, found.most_minor))
        };
        assert_eq!(exceeded(None, 900), None);
        assert_eq!(exceeded(None, 901), Some((RefundLimit::PerPiece, 900)));
        // A merchant's own limit does not go above it.
        assert_eq!(
            exceeded(Some(1000), 950),
            Some((RefundLimit::PerPiece, 900))
        );
        assert_eq!(
            exceeded(Some(500), 901),
            Some((RefundLimit::PerRefund, 500))
        );
    }
}
