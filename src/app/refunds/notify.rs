//! What Alipay posts about refunds (`protocol/operations.md` 4).
//!
//! The signature is verified before anything; then the notification is matched with the refund it
//! names. One that says everything (both ids, amount, currency, success) settles the refund; one that
//! leaves something out is a hint, and a query follows at once. The answer is `success` only after the
//! effect is committed (`design/correctness.md` V4), and for what had its effect before.
//!
//! What is not believed, or is about somebody else, changes nothing and is counted. It is not
//! acknowledged, so Alipay repeats it for a day, in which a person can look.

use std::time::Duration;

use super::record::{NextQuestion, RefundNews};
use crate::{
    alipay::notification::{NotificationError, VerifiedNotification},
    app::{App, error::Error, operate::unrecorded},
    domain::{
        id::NotificationId,
        money::Money,
        refund::{Refund, RefundEvent},
        transition::Actor,
    },
    failpoint::{crashpoint, planted},
};

/// How long a notification's effect is insisted on; Alipay repeats what was not acknowledged.
const INSIST_ON_RECORDING: Duration = Duration::from_secs(5);
/// Longest `notify_id` that is stored.
const MAX_NOTIFY_ID: usize = 128;
/// What a refund's success is called in a notification; the documents do not show it
/// (`protocol/wire.md` 4), so each spelling is taken, and anything else is a hint.
const SUCCESS: [&str; 2] = ["SUCCESS", "REFUND_SUCCESS"];

/// A notification as it came. No `Debug`: the body says who was paid back.
#[derive(Clone, Copy)]
#[expect(
    missing_debug_implementations,
    reason = "the body says who was paid back"
)]
pub struct Posted<'a> {
    /// The account named in the path.
    pub partner: &'a str,
    /// The `Content-Type`, which may name a charset.
    pub content_type: Option<&'a str>,
    /// The form, still encoded.
    pub body: &'a [u8],
}

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notified {
    /// It settled its refund.
    Settled,
    /// Its refund is asked for now.
    Hint,
    /// It said what was known.
    Known,
    /// It had its effect before.
    Repeated,
    /// Its signature does not verify, or the form cannot be read.
    Unverified,
    /// It is about another account.
    OtherPartner,
    /// It names a refund that was never asked for here.
    UnknownRefund,
    /// It does not agree with the refund it names, or names none.
    Mismatch,
}

impl Notified {
    /// Whether Alipay is told `success`.
    pub const fn is_acknowledged(self) -> bool {
        match self {
            Self::Settled | Self::Hint | Self::Known | Self::Repeated => true,
            Self::Unverified | Self::OtherPartner | Self::UnknownRefund | Self::Mismatch => false,
        }
    }

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Hint => "hint",
            Self::Known => "known",
            Self::Repeated => "repeated",
            Self::Unverified => "unverified",
            Self::OtherPartner => "other_partner",
            Self::UnknownRefund => "unknown_refund",
            Self::Mismatch => "mismatch",
        }
    }
}

impl App {
    /// Takes a notification. An error means that its effect is not committed: Alipay repeats it.
    pub async fn receive_notification(&self, posted: Posted<'_>) -> Result<Notified, Error> {
        let received = match self.gate.take_notification() {
            Ok(_place) => self.judge_notification(posted).await,
            Err(error) => Err(error),
        };
        let outcome = match &received {
            Ok(notified) => notified.name(),
            Err(_) => "not_recorded",
        };
        metrics::counter!("alipay_notifications_total", "outcome" => outcome).increment(1);
        match &received {
            Ok(notified) if !notified.is_acknowledged() => {
                tracing::warn!(
                    outcome,
                    "a notification was not believed, and changed nothing"
                );
            }
            Ok(_) => tracing::info!(outcome, "a notification was taken"),
            Err(error) => {
                tracing::warn!(error = %error, "a notification could not be recorded; it will be repeated");
            }
        }
        received
    }

    async fn judge_notification(&self, posted: Posted<'_>) -> Result<Notified, Error> {
        let Some(account) = self.accounts.of(posted.partner) else {
            return Ok(Notified::OtherPartner);
        };
        let verified = account
            .alipay
            .verify_notification(posted.content_type, posted.body);
        let notification = match verified {
            Ok(notification) => notification,
            Err(error) => {
                if !matches!(error, NotificationError::Signature(_)) {
                    tracing::debug!(%error, "a notification could not be read");
                }
                return Ok(Notified::Unverified);
            }
        };
        crashpoint!(self.db.failpoints, "notify.verified");
        if !names_partner(&notification, posted.partner) {
            return Ok(Notified::OtherPartner);
        }
        let Some(notify_id) = notification
            .get("notify_id")
            .filter(|id| id.len() <= MAX_NOTIFY_ID)
        else {
            return Ok(Notified::Mismatch);
        };
        if self
            .db
            .has_seen_notification(posted.partner, notify_id)
            .await?
        {
            return Ok(Notified::Repeated);
        }
        let Some(refund_id) = agreed(&notification, &["partner_refund_id", "out_return_no"]) else {
            return Ok(Notified::Mismatch);
        };
        let refund = self
            .db
            .refund_by_partner_id(posted.partner, refund_id)
            .await?;
        let Some(refund) = refund else {
            return Ok(Notified::UnknownRefund);
        };
        match compare(&notification, &refund) {
            Agreement::None => Ok(Notified::Mismatch),
            Agreement::Partial => self.take_notification(refund, notify_id, None).await,
            Agreement::Full => {
                let event = RefundEvent::Succeeded { accepted_at: None };
                self.take_notification(refund, notify_id, Some(event)).await
            }
        }
    }

    /// Commits the effect: the success, or the question that confirms the hint.
    async fn take_notification(
        &self,
        refund: Refund,
        notify_id: &str,
        event: Option<RefundEvent>,
    ) -> Result<Notified, Error> {
        let is_hint = event.is_none() && !refund.state.is_final();
        let before = refund.version;
        let now = self.db.now().await?;
        let app = self.clone();
        let notify_id = notify_id.to_owned();
        // Detached: Alipay may hang up, and an effect that has begun is brought to its end.
        let work = async move {
            let news = RefundNews {
                actor: Actor::Notification(NotificationId::mint()),
                notify_id: Some(&notify_id),
                answered: None,
                event,
                not_found: None,
                fence: None,
                next: if is_hint {
                    NextQuestion::Now
                } else {
                    NextQuestion::AsPlanned
                },
                grounds: None,
                now,
            };
            let taken = app
                .record_refund(refund, &news, INSIST_ON_RECORDING)
                .await
                .map_err(unrecorded);
            crashpoint!(app.db.failpoints, "notify.recorded");
            taken
        };
        if planted!(AcknowledgedEarly) {
            self.tasks.spawn(work);
            return Ok(Notified::Settled);
        }
        let refund = self
            .run_detached(work)
            .await
            .map_err(|error| Error::Internal(Box::new(error)))??;
        Ok(if is_hint {
            Notified::Hint
        } else if refund.version == before {
            Notified::Known
        } else {
            Notified::Settled
        })
    }
}

/// How far a notification agrees with the refund it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreement {
    /// Something contradicts.
    None,
    /// Nothing contradicts, and something is left out.
    Partial,
    /// It says everything, and everything agrees.
    Full,
}

/// Compares every id and the money; which of the documented names carries them does not matter.
fn compare(notification: &VerifiedNotification, refund: &Refund) -> Agreement {
    let same = |names: &[&str], expected: Option<&str>| -> Option<bool> {
        let expected = expected?;
        let mut told = names
            .iter()
            .filter_map(|name| notification.get(name))
            .peekable();
        told.peek()?;
        Some(told.all(|value| value == expected))
    };
    let amount = notification
        .get("refund_amount")
        .or_else(|| notification.get("refund_fee"))
        .map(|text| Money::from_decimal(text, refund.amount.currency()) == Ok(refund.amount));
    let currency = same(&["currency"], Some(refund.amount.currency().code()));
    let payment = same(
        &["partner_trans_id", "out_trade_no"],
        Some(refund.partner_trans_id.as_str()),
    );
    let refund_id = same(
        &["partner_refund_id", "out_return_no"],
        Some(refund.partner_refund_id.as_str()),
    );
    let trade = same(
        &["alipay_trans_id", "trade_no"],
        refund.alipay_trans_id.as_deref(),
    );
    let compared = [amount, currency, payment, refund_id, trade];
    if compared.contains(&Some(false)) {
        return Agreement::None;
    }
    let says_success = ["refund_status", "refund_result_code", "result_code"]
        .iter()
        .filter_map(|name| notification.get(name))
        .map(|status| SUCCESS.contains(&status))
        .reduce(|one, other| one && other)
        .unwrap_or(false);
    let is_complete = [amount, currency, payment, refund_id]
        .iter()
        .all(Option::is_some);
    if is_complete && says_success {
        Agreement::Full
    } else {
        Agreement::Partial
    }
}

/// Whether the fields name no other account than the path does.
fn names_partner(notification: &VerifiedNotification, partner: &str) -> bool {
    ["partner", "seller_id", "alipay_seller_id"]
        .iter()
        .filter_map(|name| notification.get(name))
        .all(|named| named == partner)
}

/// The one value of several names; `None` where they differ or none is there.
fn agreed<'n>(notification: &'n VerifiedNotification, names: &[&str]) -> Option<&'n str> {
    let mut values = names.iter().filter_map(|name| notification.get(name));
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

/// Describes the metrics of this module and of the records; call once, after the recorder is
/// installed.
pub(in crate::app) fn describe_metrics() {
    super::record::describe_metrics();
    metrics::describe_counter!(
        "alipay_notifications_total",
        metrics::Unit::Count,
        "Notifications from Alipay by what became of them."
    );
}
