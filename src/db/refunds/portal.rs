//! A refund that was made in Alipay's merchant portal, taken into the books of its payment.

use chrono::{DateTime, Utc};

use crate::{
    db::{Db, error::Error, recorded::Recorded, run::Statement as _},
    domain::{
        id::RefundId, payments::payment::Payment, reconciliation::daily_file::FileRow,
        transition::FileLine,
    },
    failpoint::failpoint,
};

/// A refund that a file tells of and we did not make.
#[derive(Debug)]
pub struct PortalRefund<'a> {
    /// The payment as it was read; its version guards the write.
    pub payment: &'a Payment,
    pub refund_id: RefundId,
    /// Alipay's id of the refund, as the file has it.
    pub partner_refund_id: &'a str,
    pub row: &'a FileRow,
    /// Where the row stands.
    pub line: FileLine,
    pub gateway_at: DateTime<Utc>,
}

impl Db {
    /// Reserves the amount and books it as returned, with the refund and both histories, unless that
    /// is more than is left of the payment (`docs/invariants.md` M3, R4). A refund with the same id is
    /// refused by its key, so the same row has its effect once.
    #[tracing::instrument(name = "db.refund.portal", skip_all, fields(payment.id = %portal.payment.id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn record_portal_refund(&self, portal: &PortalRefund<'_>) -> Result<Recorded, Error> {
        let payment = portal.payment;
        failpoint!(self.failpoints, "db.record_refund.before");
        let row = sqlx::query!(
            r#"with waited as materialized (
                -- It stood as a contradiction until there was room for it; and it explains why Alipay had
                -- less left than the books.
                select contradiction_id, returned_minor,
                    reference = $5 or claim = 'not_refundable' as is_booked
                from contradiction
                where $12 and merchant_id = $1 and payment_id = $2 and refund_id is null
                    and settled_at is null
            ), booked as (
                update payment
                set refund_reserved_minor = refund_reserved_minor + $6,
                    refunded_minor = refunded_minor + $6, version = version + 1,
                    updated_at = db_now(),
                    contradicted_at = case
                        when exists (select from waited where not is_booked) then contradicted_at
                    end,
                    proven_returned_minor = proven_returned_minor - (
                        select coalesce(sum(returned_minor), 0)::bigint from waited
                        where is_booked)
                where merchant_id = $1 and payment_id = $2 and version = $3
                    and (status = 'succeeded' and cancel_reason is null
                        or status = 'canceled' and status_reason = 'closed_after_payment')
                    and refund_reserved_minor + $6 <= amount_minor
                returning version, partner, partner_trans_id, currency, status, status_reason
            ), explained as (
                update contradiction
                set settled_at = db_now(), settled_by = 'answer'
                where merchant_id = $1
                    and contradiction_id in (
                        select contradiction_id from waited where is_booked)
                    and exists (select from booked)
            ), created as (
                insert into refund (merchant_id, refund_id, payment_id, origin, mode, amount_minor,
                    currency, reason, partner, partner_trans_id, partner_refund_id, status,
                    accepted_at, succeeded_at, finalized_at)
                select $1, $4, $2, 'portal', 'sync', $6, currency, $7, partner, partner_trans_id,
                    $5, 'succeeded', $8, db_now(), db_now()
                from booked
                returning created_at
            ), recorded as (
                insert into refund_transition (merchant_id, refund_id, version, payment_id, event,
                    to_status, gateway_at, statement_file_id, statement_line)
                select $1, $4, 1, $2, 'refund_made_in_portal', 'succeeded', $9, $10, $11
                from created
            ), payment_recorded as (
                insert into payment_transition (merchant_id, payment_id, version, event,
                    from_status, from_status_reason, to_status, to_status_reason, gateway_at,
                    statement_file_id, statement_line)
                select $1, $2, version, 'refund_made_in_portal', status, status_reason, status,
                    status_reason, $9, $10, $11
                from booked
            ), named as (
                update statement_row
                set refund_id = $4
                from booked
                where statement_row.partner = booked.partner and file_id = $10 and line = $11
            )
            select (select created_at from created) as created_at"#,
            payment.merchant_id.uuid(),
            payment.id.uuid(),
            payment.version,
            portal.refund_id.uuid(),
            portal.partner_refund_id,
            portal.row.amount.minor(),
            portal.row.remark.as_deref(),
            portal.row.completed_at,
            portal.gateway_at,
            portal.line.file_id.uuid(),
            portal.line.line,
            payment.contradicted_at.is_some(),
        )
        .one(&self.writes)
        .await?;
        failpoint!(self.failpoints, "db.record_refund.after");
        Ok(row.created_at.map_or(Recorded::Stale, Recorded::Written))
    }
}
