//! Refunds: reading here, the intent and what is learnt in the files beside.

mod follow_up;
mod intent;
mod portal;
mod record;
mod unsettled;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Db, error::Error, run::Statement as _};
use crate::domain::{
    id::{MerchantId, PartnerRefundId, PartnerTransId, RefundId},
    listing::{Page, RefundFilter},
    money::{Currency, Money},
    refunds::refund::{
        PendingReason, Refund, RefundFailure, RefundMode, RefundOrigin, RefundPollState,
        RefundState, UnknownCode,
    },
};
use crate::failpoint::failpoint;

pub use intent::{CommittedRefund, ConflictingRefund, RefundConflict, RefundIntent, TurnedCancel};
pub use portal::PortalRefund;
pub use record::{NewRefundAttempt, RefundChange, RefundRecord};

/// A refund with its follow-up, as every reading statement returns it.
#[derive(Debug)]
pub(super) struct RefundRow {
    pub(super) merchant_id: Uuid,
    pub(super) refund_id: Uuid,
    pub(super) payment_id: Uuid,
    pub(super) version: i64,
    pub(super) origin: String,
    pub(super) mode: String,
    pub(super) amount_minor: i64,
    pub(super) currency: String,
    pub(super) merchant_reference: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) partner: String,
    pub(super) partner_trans_id: String,
    pub(super) partner_refund_id: String,
    pub(super) alipay_trans_id: Option<String>,
    pub(super) status: String,
    pub(super) status_reason: Option<String>,
    pub(super) failure_code: Option<String>,
    pub(super) failure_message: Option<String>,
    pub(super) refusal_code: Option<String>,
    pub(super) refusal_message: Option<String>,
    pub(super) unknown_code: Option<String>,
    pub(super) unknown_code_submits: Option<i32>,
    pub(super) accepted_at: Option<DateTime<Utc>>,
    pub(super) succeeded_at: Option<DateTime<Utc>>,
    pub(super) contradicted_at: Option<DateTime<Utc>>,
    pub(super) decided_by_operator: bool,
    pub(super) failed_late: bool,
    pub(super) submits: i32,
    pub(super) last_submit_at: Option<DateTime<Utc>>,
    pub(super) checks_done: i32,
    pub(super) last_check_at: Option<DateTime<Utc>>,
    pub(super) not_found: bool,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) finalized_at: Option<DateTime<Utc>>,
    pub(super) next_check_at: Option<DateTime<Utc>>,
    pub(super) question_due_at: Option<DateTime<Utc>>,
    pub(super) follow_up_id: Option<Uuid>,
    pub(super) fence: Option<i64>,
    pub(super) error_count: Option<i32>,
    pub(super) now: DateTime<Utc>,
}

/// `query_as!` over the refund's columns and its follow-up: what comes before the `select`, what
/// comes after the joined payment (a `follow_up` must be joined there), and the arguments.
macro_rules! select_refund {
    ($head:literal $(+ $more:literal)*, $tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            RefundRow,
            $head $(+ $more)* + r#"
            select refund.merchant_id, refund.refund_id, refund.payment_id, refund.version,
                refund.origin, refund.mode, refund.amount_minor, refund.currency, refund.merchant_reference,
                refund.reason, refund.partner, refund.partner_trans_id, refund.partner_refund_id,
                payment.alipay_trans_id, refund.status, refund.status_reason,
                refund.failure_code, refund.failure_message, refund.refusal_code,
                refund.refusal_message, refund.unknown_code, refund.unknown_code_submits,
                refund.accepted_at, refund.succeeded_at,
                refund.contradicted_at, refund.decided_by_operator, refund.failed_late, refund.submits,
                refund.last_submit_at, refund.checks_done, refund.last_check_at,
                refund.not_found, refund.created_at, refund.updated_at, refund.finalized_at,
                case when follow_up.abandoned_reason is null then follow_up.due_at end as next_check_at,
                follow_up.question_due_at as "question_due_at?",
                follow_up.follow_up_id as "follow_up_id?", follow_up.fence as "fence?",
                follow_up.error_count as "error_count?", db_now() as "now!"
            from refund
            join payment on payment.merchant_id = refund.merchant_id
                and payment.payment_id = refund.payment_id
            "# + $tail
            $(, $argument)*
        )
    };
}
pub(super) use select_refund;

impl TryFrom<RefundRow> for Refund {
    type Error = Error;

    fn try_from(row: RefundRow) -> Result<Self, Error> {
        let id = RefundId::from(row.refund_id);
        let inconsistent = |column| Error::Inconsistent {
            table: "refund",
            column,
            id: id.to_string(),
        };
        let currency =
            Currency::from_code(&row.currency).ok_or_else(|| inconsistent("currency"))?;
        let state = state_of(&row).ok_or_else(|| inconsistent("status"))?;
        let merchant_reference = row
            .merchant_reference
            .map(|text| text.parse())
            .transpose()
            .map_err(|_| inconsistent("merchant_reference"))?;
        Ok(Self {
            id,
            version: row.version,
            merchant_id: row.merchant_id.into(),
            payment_id: row.payment_id.into(),
            origin: RefundOrigin::from_name(&row.origin).ok_or_else(|| inconsistent("origin"))?,
            mode: RefundMode::from_name(&row.mode).ok_or_else(|| inconsistent("mode"))?,
            amount: Money::new(row.amount_minor, currency),
            merchant_reference,
            reason: row.reason,
            partner: row.partner,
            partner_trans_id: PartnerTransId::from_stored(row.partner_trans_id),
            partner_refund_id: PartnerRefundId::from_stored(row.partner_refund_id),
            alipay_trans_id: row.alipay_trans_id,
            state,
            refusal: failure_of(row.refusal_code, row.refusal_message),
            unknown_code: row
                .unknown_code
                .zip(row.unknown_code_submits)
                .map(|(code, submits)| UnknownCode { code, submits }),
            accepted_at: row.accepted_at,
            succeeded_at: row.succeeded_at,
            contradicted_at: row.contradicted_at,
            decided_by_operator: row.decided_by_operator,
            failed_late: row.failed_late,
            poll: RefundPollState {
                next_check_at: row.next_check_at,
                question_due_at: row.question_due_at,
                submits: row.submits,
                last_submit_at: row.last_submit_at,
                checks_done: row.checks_done,
                last_check_at: row.last_check_at,
                not_found: row.not_found,
            },
            created_at: row.created_at,
            updated_at: row.updated_at,
            finalized_at: row.finalized_at,
        })
    }
}

/// The state that a row's columns spell; `None` for a combination no code of ours writes.
fn state_of(row: &RefundRow) -> Option<RefundState> {
    match row.status.as_str() {
        "pending" => {
            let reason = PendingReason::from_name(row.status_reason.as_deref()?)?;
            Some(RefundState::Pending(reason))
        }
        "succeeded" => Some(RefundState::Succeeded),
        "failed" => failure_of(row.failure_code.clone(), row.failure_message.clone())
            .map(RefundState::Failed),
        "unresolved" => Some(RefundState::Unresolved),
        _ => None,
    }
}

fn failure_of(code: Option<String>, message: Option<String>) -> Option<RefundFailure> {
    Some(RefundFailure {
        code: code?,
        message: message?,
    })
}

impl Db {
    #[tracing::instrument(name = "db.refund.get", skip_all, fields(refund.id = %id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn refund(
        &self,
        merchant_id: MerchantId,
        id: RefundId,
    ) -> Result<Option<Refund>, Error> {
        failpoint!(self.failpoints, "db.refund.before");
        let row = select_refund!(
            "",
            "left join follow_up on follow_up.merchant_id = refund.merchant_id
                and follow_up.kind = 'refund'
                and follow_up.subject_id = refund.refund_id
            where refund.merchant_id = $1 and refund.refund_id = $2",
            merchant_id.uuid(),
            id.uuid()
        )
        .optional(&self.reads)
        .await?;
        failpoint!(self.failpoints, "db.refund.after");
        row.map(Refund::try_from).transpose()
    }

    /// Whether a refund is the only one of its payment.
    #[tracing::instrument(name = "db.refund.is_only", skip_all, fields(refund.id = %id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn is_only_refund(
        &self,
        merchant_id: MerchantId,
        id: RefundId,
    ) -> Result<bool, Error> {
        let is_only = sqlx::query_scalar!(
            r#"select not exists (
                select from refund
                join refund as other on other.merchant_id = refund.merchant_id
                    and other.payment_id = refund.payment_id
                    and other.refund_id <> refund.refund_id
                where refund.merchant_id = $1 and refund.refund_id = $2) as "is_only!""#,
            merchant_id.uuid(),
            id.uuid(),
        )
        .one(&self.reads)
        .await?;
        Ok(is_only)
    }

    /// Lists refunds of a merchant, newest first, after the refund `after`.
    #[tracing::instrument(name = "db.refund.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_refunds(
        &self,
        merchant_id: MerchantId,
        filter: &RefundFilter,
        after: Option<RefundId>,
        limit: u16,
    ) -> Result<Page<Refund, RefundId>, Error> {
        // Ids sort by creation, so a primary key's order is the list's, and its last id the cursor. The
        // refunds of one payment have an index of their own, which one statement for both cases
        // could not be relied on to use.
        let rows = match filter.payment_id {
            Some(payment_id) => {
                select_refund!(
                    "",
                    "left join follow_up on follow_up.merchant_id = refund.merchant_id
                        and follow_up.kind = 'refund'
                        and follow_up.subject_id = refund.refund_id
                    where refund.merchant_id = $1
                        and refund.payment_id = $5
                        and ($2::uuid is null or refund.refund_id < $2)
                        and ($3::text is null or refund.status = $3)
                        and ($4::text is null or refund.mode = $4)
                        and ($6::timestamptz is null or refund.created_at >= $6)
                        and ($7::timestamptz is null or refund.created_at < $7)
                    order by refund.refund_id desc
                    limit $8",
                    merchant_id.uuid(),
                    after.map(RefundId::uuid),
                    filter.status.as_deref(),
                    filter.mode.map(RefundMode::as_str),
                    payment_id.uuid(),
                    filter.created_from,
                    filter.created_to,
                    i64::from(limit) + 1,
                )
                .all(&self.reads)
                .await?
            }
            None => {
                select_refund!(
                    "",
                    "left join follow_up on follow_up.merchant_id = refund.merchant_id
                        and follow_up.kind = 'refund'
                        and follow_up.subject_id = refund.refund_id
                    where refund.merchant_id = $1
                        and ($2::uuid is null or refund.refund_id < $2)
                        and ($3::text is null or refund.status = $3)
                        and ($4::text is null or refund.mode = $4)
                        and ($5::timestamptz is null or refund.created_at >= $5)
                        and ($6::timestamptz is null or refund.created_at < $6)
                    order by refund.refund_id desc
                    limit $7",
                    merchant_id.uuid(),
                    after.map(RefundId::uuid),
                    filter.status.as_deref(),
                    filter.mode.map(RefundMode::as_str),
                    filter.created_from,
                    filter.created_to,
                    i64::from(limit) + 1,
                )
                .all(&self.reads)
                .await?
            }
        };
        let items = rows
            .into_iter()
            .map(Refund::try_from)
            .collect::<Result<Vec<Refund>, Error>>()?;
        Ok(Page::cut(items, limit, |refund| refund.id))
    }
}
