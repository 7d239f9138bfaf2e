//! Reading payments: one row type for every statement that returns one.

mod follow_up;
pub mod intent;
pub mod record;
mod unsettled;

use std::{collections::BTreeMap, sync::LazyLock};

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::{Db, error::Error, run::Statement as _};
use crate::domain::{
    attempt::{Answer, AnswerClass, Attempt, AttemptKind},
    id::{AttemptId, FileId, MerchantId, PartnerTransId, PaymentId, RefundId},
    listing::{Page, PaymentFilter},
    money::{Currency, Money},
    payments::{
        buyer::{BuyerLoginId, BuyerUserId},
        payment::{
            CancelReason, Charge, Failure, Payment, PaymentState, ProcessingReason, RetryAdvice,
        },
        poll::{Asked, PollState},
    },
    transition::{Actor, FileLine, Transition},
};
use crate::failpoint::failpoint;

/// A payment with its follow-up, as every reading statement returns it.
#[derive(Debug)]
pub(super) struct PaymentRow {
    pub(super) merchant_id: Uuid,
    pub(super) payment_id: Uuid,
    pub(super) version: i64,
    pub(super) store_id: String,
    pub(super) terminal_id: Option<String>,
    pub(super) merchant_reference: String,
    pub(super) description: String,
    pub(super) amount_minor: i64,
    pub(super) currency: String,
    pub(super) barcode_hint: String,
    pub(super) partner: String,
    pub(super) partner_trans_id: String,
    pub(super) cancel_after_seconds: i32,
    /// Read as whatever it is: a column that the driver cannot decode would fail the whole statement,
    /// and with it every other row of a claim (`docs/invariants.md` C10).
    pub(super) metadata: Json<serde_json::Value>,
    pub(super) allowed_wallets: Option<Vec<String>>,
    pub(super) status: String,
    pub(super) status_reason: Option<String>,
    pub(super) failure_code: Option<String>,
    pub(super) failure_message: Option<String>,
    pub(super) failure_retry: Option<String>,
    pub(super) money_returned: Option<bool>,
    pub(super) alipay_trans_id: Option<String>,
    pub(super) charged: bool,
    pub(super) paid_at: Option<DateTime<Utc>>,
    pub(super) wallet: Option<String>,
    pub(super) wallet_file_id: Option<Uuid>,
    pub(super) buyer_user_id: Option<String>,
    pub(super) buyer_login_id: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
    pub(super) finalized_at: Option<DateTime<Utc>>,
    pub(super) cancel_reason: Option<String>,
    pub(super) refund_reserved_minor: i64,
    pub(super) refunded_minor: i64,
    pub(super) contradicted_at: Option<DateTime<Utc>>,
    pub(super) proven_returned_minor: i64,
    pub(super) decided_by_operator: bool,
    pub(super) reversal_refund_id: Option<Uuid>,
    pub(super) next_check_at: Option<DateTime<Utc>>,
    pub(super) question_due_at: Option<DateTime<Utc>>,
    pub(super) queries: Option<i32>,
    pub(super) last_query_at: Option<DateTime<Utc>>,
    pub(super) cancels: Option<i32>,
    pub(super) last_cancel_at: Option<DateTime<Utc>>,
    pub(super) cancel_refused: Option<bool>,
    pub(super) open_cancel_at: Option<DateTime<Utc>>,
    pub(super) access_refusals: Option<i32>,
    pub(super) confirming_until: Option<DateTime<Utc>>,
    pub(super) pay_answer: Option<String>,
    pub(super) recent: Option<Json<serde_json::Value>>,
    pub(super) follow_up_id: Option<Uuid>,
    pub(super) fence: Option<i64>,
    pub(super) error_count: Option<i32>,
    pub(super) now: DateTime<Utc>,
}

/// The answers after which a cancel may act still.
pub(super) static CANCEL_MAY_ACT: LazyLock<Vec<String>> =
    LazyLock::new(|| AnswerClass::that_may_act(AttemptKind::Cancel));

/// `query_as!` over the payment's columns and its follow-up: what comes before the `select`, what
/// comes after `from payment` (a `follow_up` must be joined there), the arguments, and the placeholder
/// after them.
macro_rules! select_payment {
    ($head:literal $(+ $more:literal)*, $tail:literal, $($argument:expr,)* ; $next:literal) => {
        sqlx::query_as!(
            PaymentRow,
            $head $(+ $more)* + r#"
            select payment.merchant_id, payment.payment_id, payment.version, payment.store_id,
                payment.terminal_id, payment.merchant_reference, payment.description,
                payment.amount_minor, payment.currency, payment.barcode_hint, payment.partner,
                payment.partner_trans_id, payment.cancel_after_seconds,
                payment.metadata as "metadata: Json<serde_json::Value>",
                payment.allowed_wallets,
                payment.status, payment.status_reason, payment.failure_code,
                payment.failure_message, payment.failure_retry, payment.money_returned,
                payment.alipay_trans_id, payment.charged, payment.paid_at, payment.wallet,
                payment.wallet_file_id, payment.buyer_user_id, payment.buyer_login_id, payment.created_at,
                payment.updated_at, payment.finalized_at, payment.cancel_reason,
                payment.refund_reserved_minor, payment.refunded_minor, payment.contradicted_at,
                payment.proven_returned_minor, payment.decided_by_operator,
                payment.reversal_refund_id,
                case when follow_up.abandoned_reason is null then follow_up.due_at end as next_check_at,
                follow_up.question_due_at as "question_due_at?",
                follow_up.queries as "queries?", follow_up.last_query_at as "last_query_at?",
                follow_up.cancels as "cancels?", follow_up.last_cancel_at as "last_cancel_at?",
                follow_up.cancel_refused as "cancel_refused?",
                case when follow_up.follow_up_id is not null then (
                    select max(attempt.sent_at) from attempt
                    where attempt.merchant_id = payment.merchant_id
                        and attempt.payment_id = payment.payment_id
                        and attempt.kind = 'cancel'
                        and attempt.sent_at > db_now() - interval '5 minutes'
                        and (attempt.answer_class is null
                            or attempt.answer_class = any("# + $next + r#"))
                ) end as "open_cancel_at?",
                follow_up.access_refusals as "access_refusals?",
                follow_up.confirming_until as "confirming_until?",
                case when follow_up.follow_up_id is not null then (
                    select attempt.answer_class from attempt
                    where attempt.merchant_id = payment.merchant_id
                        and attempt.payment_id = payment.payment_id
                        and attempt.kind = 'pay'
                ) end as "pay_answer?",
                case when follow_up.follow_up_id is not null then (
                    select jsonb_agg(jsonb_build_array(attempt.attempt_id, attempt.kind,
                        attempt.sent_at, attempt.answer_class, attempt.sent_at
                            + attempt.duration_ms * interval '1 millisecond'))
                    from attempt
                    where attempt.merchant_id = payment.merchant_id
                        and attempt.payment_id = payment.payment_id
                        and attempt.kind in ('query', 'cancel')
                        and (attempt.sent_at > db_now() - interval '5 minutes'
                            or (attempt.kind = 'cancel'
                                and attempt.answer_class = 'not_found'))
                ) end as "recent?: Json<serde_json::Value>",
                follow_up.follow_up_id as "follow_up_id?", follow_up.fence as "fence?",
                follow_up.error_count as "error_count?", db_now() as "now!"
            from payment
            "# + $tail,
            $($argument,)*
            $crate::db::payments::CANCEL_MAY_ACT.as_slice()
        )
    };
}
pub(super) use select_payment;

impl TryFrom<PaymentRow> for Payment {
    type Error = Error;

    fn try_from(row: PaymentRow) -> Result<Self, Error> {
        let id = PaymentId::from(row.payment_id);
        let inconsistent = |column| Error::Inconsistent {
            table: "payment",
            column,
            id: id.to_string(),
        };
        let currency =
            Currency::from_code(&row.currency).ok_or_else(|| inconsistent("currency"))?;
        let state = state_of(&row).ok_or_else(|| inconsistent("status"))?;
        let pay_answer = row
            .pay_answer
            .map(|class| AnswerClass::from_name(&class).ok_or_else(|| inconsistent("pay_answer")))
            .transpose()?;
        let recent = row.recent.map(|Json(calls)| asked(calls));
        let recent = recent.unwrap_or_else(|| Some(vec![]));
        let recent = recent.ok_or_else(|| inconsistent("recent"))?;
        Ok(Self {
            id,
            version: row.version,
            merchant_id: row.merchant_id.into(),
            store_id: row.store_id,
            terminal_id: row.terminal_id,
            merchant_reference: row
                .merchant_reference
                .parse()
                .map_err(|_| inconsistent("merchant_reference"))?,
            description: row.description,
            amount: Money::new(row.amount_minor, currency),
            barcode_hint: row.barcode_hint,
            partner: row.partner,
            partner_trans_id: PartnerTransId::from_stored(row.partner_trans_id),
            cancel_after_seconds: row.cancel_after_seconds,
            metadata: serde_json::from_value::<BTreeMap<String, String>>(row.metadata.0)
                .map_err(|_| inconsistent("metadata"))?,
            allowed_wallets: row.allowed_wallets,
            state,
            alipay_trans_id: row.alipay_trans_id,
            unpaid_wallet: row.wallet.clone().filter(|_| !row.charged),
            charge: row.charged.then_some(Charge {
                paid_at: row.paid_at,
                wallet: row.wallet,
                wallet_file: row.wallet_file_id.map(FileId::from),
                buyer_user_id: row.buyer_user_id.as_deref().map(BuyerUserId::mask),
                buyer_login_id: row.buyer_login_id.as_deref().map(BuyerLoginId::mask),
            }),
            canceling: row
                .cancel_reason
                .map(|name| {
                    CancelReason::from_name(&name).ok_or_else(|| inconsistent("cancel_reason"))
                })
                .transpose()?,
            reversal: row.reversal_refund_id.map(RefundId::from),
            refund_reserved_minor: row.refund_reserved_minor,
            refunded_minor: row.refunded_minor,
            contradicted_at: row.contradicted_at,
            proven_returned_minor: row.proven_returned_minor,
            decided_by_operator: row.decided_by_operator,
            poll: PollState {
                next_check_at: row.next_check_at,
                question_due_at: row.question_due_at,
                queries: row.queries.unwrap_or(0),
                last_query_at: row.last_query_at,
                confirming_until: row.confirming_until,
                pay_answer,
                recent,
                cancels: row.cancels.unwrap_or(0),
                last_cancel_at: row.last_cancel_at,
                cancel_refused: row.cancel_refused.unwrap_or(false),
                open_cancel_at: row.open_cancel_at,
                access_refusals: row.access_refusals.unwrap_or(0),
            },
            created_at: row.created_at,
            updated_at: row.updated_at,
            finalized_at: row.finalized_at,
        })
    }
}

/// A call as the statement returns it: id, kind, when it was sent, the answer's class, when it came.
type AskedRow = (
    Uuid,
    String,
    DateTime<Utc>,
    Option<String>,
    Option<DateTime<Utc>>,
);

/// The calls of the last minutes, oldest first; `None` where no code of ours wrote them.
fn asked(calls: serde_json::Value) -> Option<Vec<Asked>> {
    let calls: Vec<AskedRow> = serde_json::from_value(calls).ok()?;
    let mut asked = calls
        .into_iter()
        .map(|(id, kind, sent_at, class, answered_at)| {
            let class = match class {
                Some(class) => Some(AnswerClass::from_name(&class)?),
                None => None,
            };
            Some(Asked {
                id: id.into(),
                kind: AttemptKind::from_name(&kind)?,
                sent_at,
                answer: class.zip(answered_at),
            })
        })
        .collect::<Option<Vec<Asked>>>()?;
    asked.sort_by_key(|asked| asked.sent_at);
    Some(asked)
}

/// The state that a row's columns spell; `None` for a combination no code of ours writes.
fn state_of(row: &PaymentRow) -> Option<PaymentState> {
    let reason = row.status_reason.as_deref();
    match row.status.as_str() {
        "processing" => reason
            .and_then(ProcessingReason::from_name)
            .map(PaymentState::Processing),
        "succeeded" => Some(PaymentState::Succeeded),
        "failed" => Some(PaymentState::Failed(Failure {
            code: row.failure_code.clone()?,
            message: row.failure_message.clone()?,
            retry: row
                .failure_retry
                .as_deref()
                .and_then(RetryAdvice::from_name)?,
        })),
        "canceled" => Some(PaymentState::Canceled {
            reason: reason.and_then(CancelReason::from_name)?,
            money_returned: row.money_returned?,
        }),
        "unresolved" => Some(PaymentState::Unresolved),
        _ => None,
    }
}

impl Db {
    #[tracing::instrument(name = "db.payment.get", skip_all, fields(payment.id = %id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn payment(
        &self,
        merchant_id: MerchantId,
        id: PaymentId,
    ) -> Result<Option<Payment>, Error> {
        failpoint!(self.failpoints, "db.payment.before");
        let row = select_payment!(
            "",
            "left join follow_up on follow_up.merchant_id = payment.merchant_id
                and follow_up.kind = 'payment'
                and follow_up.subject_id = payment.payment_id
            where payment.merchant_id = $1 and payment.payment_id = $2",
            merchant_id.uuid(),
            id.uuid(),
            ; "$3"
        )
        .optional(&self.reads)
        .await?;
        failpoint!(self.failpoints, "db.payment.after");
        row.map(Payment::try_from).transpose()
    }

    /// Lists payments of a merchant, newest first, after the payment `after`.
    #[tracing::instrument(name = "db.payment.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_payments(
        &self,
        merchant_id: MerchantId,
        filter: &PaymentFilter,
        after: Option<PaymentId>,
        limit: u16,
    ) -> Result<Page<Payment, PaymentId>, Error> {
        // Ids sort by creation, so the primary key is the order and the cursor.
        let rows = select_payment!(
            "",
            "left join follow_up on follow_up.merchant_id = payment.merchant_id
                and follow_up.kind = 'payment'
                and follow_up.subject_id = payment.payment_id
            where payment.merchant_id = $1
                and ($2::uuid is null or payment.payment_id < $2)
                and ($3::text is null or payment.status = $3)
                and ($4::text is null or payment.merchant_reference = $4)
                and ($5::text is null or payment.alipay_trans_id = $5)
                and ($6::text is null or payment.store_id = $6)
                and ($7::text is null or payment.terminal_id = $7)
                and ($8::timestamptz is null or payment.created_at >= $8)
                and ($9::timestamptz is null or payment.created_at < $9)
            order by payment.payment_id desc
            limit $10",
            merchant_id.uuid(),
            after.map(PaymentId::uuid),
            filter.status.as_deref(),
            filter.merchant_reference.as_deref(),
            filter.alipay_trans_id.as_deref(),
            filter.store_id.as_deref(),
            filter.terminal_id.as_deref(),
            filter.created_from,
            filter.created_to,
            i64::from(limit) + 1,
            ; "$11"
        )
        .all(&self.reads)
        .await?;
        let items = rows
            .into_iter()
            .map(Payment::try_from)
            .collect::<Result<Vec<Payment>, Error>>()?;
        Ok(Page::cut(items, limit, |payment| payment.id))
    }

    /// Every upstream call of a payment and of its refunds, oldest first.
    #[tracing::instrument(name = "db.attempt.list", skip_all, fields(payment.id = %id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn attempts(
        &self,
        merchant_id: MerchantId,
        id: PaymentId,
    ) -> Result<Vec<Attempt>, Error> {
        let rows = sqlx::query!(
            "select attempt_id, refund_id, kind, sent_at, answered_at, answer_class, answer_code,
                answer_detail, duration_ms
            from attempt
            where merchant_id = $1 and payment_id = $2
            order by attempt_id",
            merchant_id.uuid(),
            id.uuid()
        )
        .all(&self.reads)
        .await?;
        rows.into_iter()
            .map(|row| {
                let attempt_id = AttemptId::from(row.attempt_id);
                let inconsistent = |column| Error::Inconsistent {
                    table: "attempt",
                    column,
                    id: attempt_id.to_string(),
                };
                let answer = match (row.answer_class, row.duration_ms) {
                    (Some(class), Some(duration_ms)) => Some(Answer {
                        class: AnswerClass::from_name(&class)
                            .ok_or_else(|| inconsistent("answer_class"))?,
                        code: row.answer_code,
                        detail: row.answer_detail,
                        duration_ms,
                    }),
                    _ => None,
                };
                Ok(Attempt {
                    id: attempt_id,
                    payment_id: id,
                    refund_id: row.refund_id.map(RefundId::from),
                    kind: AttemptKind::from_name(&row.kind).ok_or_else(|| inconsistent("kind"))?,
                    sent_at: row.sent_at,
                    answered_at: row.answered_at,
                    answer,
                })
            })
            .collect()
    }

    /// Every state change of a payment and of its refunds, oldest first.
    #[tracing::instrument(name = "db.transition.list", skip_all, fields(payment.id = %id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn transitions(
        &self,
        merchant_id: MerchantId,
        id: PaymentId,
    ) -> Result<Vec<Transition>, Error> {
        let rows = sqlx::query!(
            r#"select null::uuid as refund_id, version as "version!", event as "event!",
                from_status, from_status_reason, to_status as "to_status!", to_status_reason,
                api_key_id, follow_up_id, notification_id, statement_file_id, statement_line,
                attempt_id, reason, ticket, at as "at!", gateway_at as "gateway_at!"
            from payment_transition
            where merchant_id = $1 and payment_id = $2
            union all
            select refund_id, version, event, from_status, from_status_reason, to_status,
                to_status_reason, api_key_id, follow_up_id, notification_id, statement_file_id,
                statement_line, attempt_id, reason, ticket, at, gateway_at
            from refund_transition
            where merchant_id = $1 and payment_id = $2
            order by 16, 1 nulls first, 2"#,
            merchant_id.uuid(),
            id.uuid()
        )
        .all(&self.reads)
        .await?;
        rows.into_iter()
            .map(|row| {
                let file = row.statement_file_id.zip(row.statement_line);
                let actor = actor_of(row.api_key_id, row.follow_up_id, row.notification_id, file);
                let actor = actor.ok_or_else(|| Error::Inconsistent {
                    table: "payment_transition",
                    column: "api_key_id",
                    id: id.to_string(),
                })?;
                Ok(Transition {
                    refund_id: row.refund_id.map(RefundId::from),
                    version: row.version,
                    event: row.event,
                    from_status: row.from_status,
                    from_status_reason: row.from_status_reason,
                    to_status: row.to_status,
                    to_status_reason: row.to_status_reason,
                    actor,
                    attempt_id: row.attempt_id.map(AttemptId::from),
                    reason: row.reason,
                    ticket: row.ticket,
                    at: row.at,
                    gateway_at: row.gateway_at,
                })
            })
            .collect()
    }
}

/// The actor that a transition row's columns spell.
fn actor_of(
    api_key: Option<Uuid>,
    follow_up: Option<Uuid>,
    notification: Option<Uuid>,
    file: Option<(Uuid, i64)>,
) -> Option<Actor> {
    let api_key = api_key.map(|id| Actor::ApiKey(id.into()));
    let follow_up = follow_up.map(|id| Actor::FollowUp(id.into()));
    let notification = notification.map(|id| Actor::Notification(id.into()));
    let file = file.map(|(file_id, line)| {
        let file_id = file_id.into();
        Actor::File(FileLine { file_id, line })
    });
    api_key.or(follow_up).or(notification).or(file)
}
