//! What Alipay posts to us (`docs/protocol.md` 8): hints.
//!
//! The signature is verified before anything. What is ours and about a payment that is known is noted, whatever its
//! shape, and the payment or the refunds that it is about are asked about at once; the answer to that question is
//! what settles them, never the notification. Alipay is told `success` once the note and the question are
//! committed (`docs/invariants.md` V4), and for what was noted before.
//!
//! What is not believed, or is about somebody else, changes nothing and is counted. It is not
//! acknowledged, so Alipay repeats it for a day, in which a person can look.

use super::{App, error::Error};
use crate::{
    alipay::notification::{NoticeKind, NotificationError, VerifiedNotification},
    db::notifications::{Note, Noted},
    domain::id::NotificationId,
    failpoint::crashpoint,
};

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
    /// It is noted, and what it is about is asked about now.
    Hint,
    /// It was noted before.
    Repeated,
    /// Its signature does not verify, or it could be read in two ways.
    Unverified,
    /// It is about another account.
    OtherPartner,
    /// It names no payment that was asked for here.
    UnknownPayment,
}

impl Notified {
    /// Whether Alipay is told `success`.
    pub const fn is_acknowledged(self) -> bool {
        match self {
            Self::Hint | Self::Repeated => true,
            Self::Unverified | Self::OtherPartner | Self::UnknownPayment => false,
        }
    }

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hint => "hint",
            Self::Repeated => "repeated",
            Self::Unverified => "unverified",
            Self::OtherPartner => "other_partner",
            Self::UnknownPayment => "unknown_payment",
        }
    }
}

impl App {
    /// Takes a notification. An error means that nothing of it is committed: Alipay repeats it.
    pub async fn receive_notification(&self, posted: Posted<'_>) -> Result<Notified, Error> {
        let received = match self.admission.take_notification() {
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
                tracing::warn!(error = %error, "a notification could not be noted; it will be repeated");
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
        if !notification.is_for(posted.partner) {
            return Ok(Notified::OtherPartner);
        }
        if self.db.has_noted(posted.partner, notification.id()).await? {
            return Ok(Notified::Repeated);
        }
        let app = self.clone();
        let partner = posted.partner.to_owned();
        // Detached: Alipay may hang up, and a note that has begun is brought to its end.
        let work = async move { app.note(&partner, &notification).await };
        self.detached(work).await
    }

    async fn note(
        &self,
        partner: &str,
        notification: &VerifiedNotification,
    ) -> Result<Notified, Error> {
        let kind = notification.kind();
        let unknown_fields = notification.unknown_fields();
        if kind == NoticeKind::Other || !unknown_fields.is_empty() {
            metrics::counter!("alipay_notifications_unfamiliar_total", "kind" => kind.as_str())
                .increment(1);
            tracing::info!(
                kind = kind.as_str(),
                ?unknown_fields,
                "a notification has a shape that no document shows"
            );
        }
        let note = Note {
            id: NotificationId::mint(),
            partner,
            notify_id: notification.id(),
            kind: kind.as_str(),
            is_about_the_payment: kind != NoticeKind::Refund,
            payment_ids: &notification.payment_ids(),
            trade_ids: &notification.trade_ids(),
            refund_ids: &notification.refund_ids(),
            unknown_fields: &unknown_fields,
        };
        let noted = self.db.note_notification(&note).await?;
        crashpoint!(self.db.failpoints, "notify.recorded");
        Ok(match noted {
            Noted::Raised(questions) => {
                tracing::debug!(
                    questions,
                    kind = kind.as_str(),
                    "a notification raises questions"
                );
                Notified::Hint
            }
            Noted::Before => Notified::Repeated,
            Noted::Unknown => Notified::UnknownPayment,
        })
    }
}

/// Describes the metrics of this module; call once, after the recorder is installed.
pub(super) fn describe_metrics() {
    metrics::describe_counter!(
        "alipay_notifications_total",
        metrics::Unit::Count,
        "Notifications from Alipay by what became of them."
    );
    metrics::describe_counter!(
        "alipay_notifications_unfamiliar_total",
        metrics::Unit::Count,
        "Verified notifications from Alipay with an action or a field that no document names, by what they are about."
    );
}
