//! Effects that come after their answers: a cancel or a refund that Alipay answered without a clear
//! word, and carries out, or does not, some seconds later.

use chrono::{DateTime, Utc};

use super::Book;
use crate::request::{Refund, Request};

/// What is still to be done.
#[derive(Clone)]
pub(crate) enum LateEffect {
    Cancel {
        /// The `partner_trans_id` of the payment.
        out_trade_no: String,
        /// Alipay's id, which wins.
        trade_no: Option<String>,
    },
    Refund(Refund),
}

impl LateEffect {
    /// That of a request, where it moves money back.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        match request {
            Request::Cancel {
                out_trade_no,
                trade_no,
            } => Some(Self::Cancel {
                out_trade_no: out_trade_no.clone(),
                trade_no: trade_no.clone(),
            }),
            Request::Refund(refund) => Some(Self::Refund(refund.clone())),
            _ => None,
        }
    }

    /// The service, the payment and the refund that it is about.
    pub(crate) fn names(&self) -> (&'static str, &str, Option<&str>) {
        match self {
            Self::Cancel { out_trade_no, .. } => ("cancel", out_trade_no, None),
            Self::Refund(refund) => (
                "refund",
                &refund.partner_trans_id,
                Some(&refund.partner_refund_id),
            ),
        }
    }
}

/// Late effects, each with its instant.
#[derive(Default)]
pub(super) struct Late(Vec<(DateTime<Utc>, LateEffect)>);

impl Late {
    /// Takes out the first that is due by `now`.
    fn next(&mut self, now: DateTime<Utc>) -> Option<(DateTime<Utc>, LateEffect)> {
        let instants = self.0.iter().enumerate().map(|(at, (due, _))| (*due, at));
        let (due, at) = instants.min()?;
        (due <= now).then(|| self.0.remove(at))
    }
}

impl Book {
    /// Lets a request take effect at `at`.
    pub(crate) fn take_effect_at(&mut self, at: DateTime<Utc>, effect: LateEffect) {
        self.late.0.push((at, effect));
    }

    /// What is still to take effect, and when.
    pub(crate) fn late_effects(&self) -> &[(DateTime<Utc>, LateEffect)] {
        &self.late.0
    }

    /// Books what has happened until `now` but for what buyers do: late effects and nights, in the order of
    /// time.
    pub(super) fn settle(&mut self, now: DateTime<Utc>) {
        while let Some((at, effect)) = self.late.next(now) {
            // Refused like any other request, if it is no longer possible; nobody hears of it.
            match effect {
                LateEffect::Cancel {
                    out_trade_no,
                    trade_no,
                } => {
                    self.cancel(at, &out_trade_no, trade_no.as_deref());
                }
                LateEffect::Refund(refund) => {
                    self.refund(at, &refund);
                }
            }
        }
        self.settle_refunds(now);
    }
}
