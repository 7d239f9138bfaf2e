//! What Alipay posted to us and was believed, and the questions that it raises.

use super::{Db, error::Error, run::Statement as _};
use crate::{domain::id::NotificationId, failpoint::failpoint};

/// A notification, as it is noted.
#[derive(Debug)]
pub struct Note<'a> {
    /// Our identity for it.
    pub id: NotificationId,
    /// The account that it is about.
    pub partner: &'a str,
    /// Alipay's id of it, the same in every repeat.
    pub notify_id: &'a str,
    /// What it is about: `refund`, `paid`, `closed`, `finished` or `other`.
    pub kind: &'a str,
    /// Whether the payment itself is to be asked about where no refund of it is named.
    pub is_about_the_payment: bool,
    /// Our ids of the payment that it names.
    pub payment_ids: &'a [String],
    /// Alipay's ids of the payment; looked at where none of ours is named.
    pub trade_ids: &'a [String],
    /// Our ids of refunds that it may name.
    pub refund_ids: &'a [String],
    /// The names of fields that no document of ours names.
    pub unknown_fields: &'a [String],
}

/// What became of a [`Note`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// Noted, and so many payments and refunds are asked about now.
    Raised(i64),
    /// It was noted before, and raised its questions then.
    Before,
    /// It names no payment of ours.
    Unknown,
}

impl Db {
    /// Whether a notification is noted: a flood of repeats costs one look at an index each.
    #[tracing::instrument(name = "db.notification.seen", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn has_noted(&self, partner: &str, notify_id: &str) -> Result<bool, Error> {
        failpoint!(self.failpoints, "db.notification.before");
        let seen = sqlx::query_scalar!(
            r#"select exists (
                select from notification where partner = $1 and notify_id = $2) as "seen!""#,
            partner,
            notify_id
        )
        .one(&self.reads)
        .await?;
        failpoint!(self.failpoints, "db.notification.after");
        Ok(seen)
    }

    /// Notes a notification, once, and makes the questions that it raises due now: about the refunds that it
    /// names; where it names none that is known, about the open refunds of its payment; and about the payment where
    /// it is about that, or has no open refund. A settled payment or refund is asked about as well.
    #[tracing::instrument(name = "db.notification.note", skip_all, fields(notification.id = %note.id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn note_notification(&self, note: &Note<'_>) -> Result<Noted, Error> {
        failpoint!(self.failpoints, "db.note.before");
        let row = sqlx::query!(
            r#"with paid as materialized (
                select merchant_id, payment_id from payment
                where partner = $1 and partner_trans_id = any($2)
                union
                select merchant_id, payment_id from payment
                where partner = $1 and alipay_trans_id = any($3) and cardinality($2) = 0
                union
                select merchant_id, payment_id from refund
                where partner = $1 and partner_refund_id = any($4)
                    and cardinality($2) = 0 and cardinality($3) = 0
            ), named as materialized (
                select refund.merchant_id, refund.refund_id
                from refund
                join paid on paid.merchant_id = refund.merchant_id
                    and paid.payment_id = refund.payment_id
                where refund.partner_refund_id = any($4)
            ), open as materialized (
                select refund.merchant_id, refund.refund_id
                from refund
                join paid on paid.merchant_id = refund.merchant_id
                    and paid.payment_id = refund.payment_id
                where refund.status in ('pending', 'unresolved')
                    and not exists (select from named)
            ), noted as (
                insert into notification (merchant_id, notification_id, partner, notify_id,
                    payment_id, refund_id, kind, unknown_fields)
                select paid.merchant_id, $5, $1, $6, paid.payment_id,
                    (select named.refund_id from named
                    where named.merchant_id = paid.merchant_id limit 1), $7, $8
                from paid
                order by paid.payment_id
                limit 1
                on conflict (merchant_id, partner, notify_id) do nothing
                returning merchant_id
            ), subject as (
                select merchant_id, 'refund' as kind, refund_id as subject_id from named
                union
                select merchant_id, 'refund', refund_id from open
                union
                select merchant_id, 'payment', payment_id from paid
                where not exists (select from named)
                    and ($9 or not exists (select from open))
            ), asked as (
                -- In one order, so that two notifications never wait for each other in a circle.
                insert into follow_up as planned (merchant_id, follow_up_id, kind, subject_id,
                    due_at, question_due_at)
                select merchant_id, gen_random_uuid(), kind, subject_id, db_now(), db_now()
                from subject
                where exists (select from noted)
                order by kind, subject_id
                on conflict (merchant_id, kind, subject_id) do update
                    set due_at = least(planned.due_at, excluded.due_at),
                        -- A question that waits for what may still act is not asked before.
                        question_due_at = greatest(planned.question_due_at,
                            excluded.question_due_at),
                        -- What was parked is looked at again.
                        parked_at = null, abandoned_reason = null, abandoned_by = null,
                        error_count = 0
                returning 1
            )
            select exists (select from paid) as "is_known!",
                exists (select from noted) as "is_new!",
                (select count(*) from asked) as "asked!""#,
            note.partner,
            note.payment_ids,
            note.trade_ids,
            note.refund_ids,
            note.id.uuid(),
            note.notify_id,
            note.kind,
            note.unknown_fields,
            note.is_about_the_payment,
        )
        .one(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.note.after");
        Ok(match (row.is_known, row.is_new) {
            (_, true) => Noted::Raised(row.asked),
            (true, false) => Noted::Before,
            (false, false) => Noted::Unknown,
        })
    }
}
