//! `GET /v1/payments/{id}/timeline`: what was asked, what was answered, and what that changed.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::{App, Timeline},
    domain::{
        attempt::{AnswerClass, Attempt, AttemptKind},
        audit::Look,
        follow_ups::schedule::Subject,
        id::PaymentId,
        payments::payment::{CancelReason, PaymentState, ProcessingReason},
        reconciliation::{DifferenceClass, ToldDifference, daily_file::RowType},
        refunds::refund::{PendingReason, RefundState},
        transition::{Actor, ActorKind, FileLine, Transition},
    },
    http::{
        answer::timestamp,
        extract::{AdminCaller, Id, LookAtPayments, query::RawPairs},
        problem::Problem,
        refusals::refusals,
        trace::RequestContext,
    },
};

/// Everything that happened to a payment, oldest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Timeline)]
pub struct TimelineView {
    /// What happened. More types may be added.
    pub items: Vec<TimelineItem>,
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TimelineItem {
    /// A call to Alipay.
    Attempt(AttemptView),
    /// A change of the state of the payment or of one of its refunds.
    Transition(TransitionView),
    /// What one of Alipay's daily files says against the books. It changed nothing.
    Difference(TimelineDifferenceView),
}

/// What one of Alipay's daily files says against the books of the payment or of one of its refunds; an
/// incident until somebody has acknowledged it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = TimelineDifference)]
pub struct TimelineDifferenceView {
    /// The difference's id.
    #[schema(example = "dif_00000001000000018b6c7d8e9f0a1b2c")]
    pub id: String,
    /// The reconciliation that found it.
    #[schema(example = "rec_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub reconciliation_id: String,
    /// When that was done.
    #[schema(format = DateTime, example = "2026-03-10T02:15:01.000Z")]
    pub at: String,
    /// In what way, for example `status_differs`.
    #[schema(example = "status_differs", extensions(("x-extensible-enum" = json!(DifferenceClass::NAMES))))]
    pub class: &'static str,
    /// What the row books, or should: `payment`, `cancel`, `reversal` or `refund`.
    #[schema(example = "payment", extensions(("x-extensible-enum" = json!(RowType::NAMES))))]
    pub row_type: &'static str,
    /// In which file.
    #[schema(example = "2088000000000017_transaction_20260309.txt")]
    pub file: String,
    /// On which line; `null` where the file lacks the row.
    #[schema(required = true, example = 3)]
    pub line: Option<i64>,
    /// The refund it is about; `null` where it is about the payment.
    #[schema(required = true, example = json!(null))]
    pub refund_id: Option<String>,
    /// What the books say.
    #[schema(required = true, example = "failed")]
    pub expected: Option<String>,
    /// What the file says.
    #[schema(required = true, example = "payment")]
    pub found: Option<String>,
    /// Whether a person must look: nobody acknowledged it yet.
    #[schema(example = true)]
    pub incident: bool,
    /// When somebody took note of it.
    #[schema(required = true, format = DateTime, example = json!(null))]
    pub acknowledged_at: Option<String>,
    /// Why it is no reason for alarm.
    #[schema(required = true, example = json!(null))]
    pub acknowledged_reason: Option<String>,
}

/// A call to Alipay.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptView {
    /// The call's id.
    #[schema(example = "att_0199b3c1d2e37f4a8b6c7d8e9f0a1b2e")]
    pub id: String,
    /// When the intent to call was stored.
    #[schema(format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub at: String,
    /// The refund it was about; `null` where it was about the payment.
    #[schema(required = true, example = json!(null))]
    pub refund_id: Option<String>,
    /// What was asked: `pay`, `query`, `cancel`, `refund` or `refund_query`.
    #[schema(
        example = "pay",
        extensions(("x-extensible-enum" = json!(AttemptKind::NAMES)))
    )]
    pub kind: &'static str,
    /// When the answer was stored; `null` while the call is open, or after a crash.
    #[schema(required = true, format = DateTime, example = "2026-11-22T04:00:01.234Z")]
    pub answered_at: Option<String>,
    /// What kind of answer came, never what it means: `success`, `pending`, `closed`, `declined`,
    /// `not_found`, `system_error`, `timed_out`, `bad_signature` and others.
    #[schema(required = true, example = "success", extensions(("x-extensible-enum" = json!(AnswerClass::NAMES))))]
    pub answer: Option<&'static str>,
    /// Alipay's code.
    #[schema(required = true, example = "SUCCESS")]
    pub code: Option<String>,
    /// What was wrong with the answer.
    #[schema(required = true, example = json!(null))]
    pub detail: Option<String>,
    /// How long the call took, in milliseconds.
    #[schema(required = true, example = 231)]
    pub duration_ms: Option<i32>,
    /// Whether the answer is one that an honest, healthy Alipay does not give.
    #[schema(example = false)]
    pub incident: bool,
}

/// A change of the state of the payment or of one of its refunds.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Transition)]
pub struct TransitionView {
    /// The refund that changed; `null` where the payment did.
    #[schema(required = true, example = json!(null))]
    pub refund_id: Option<String>,
    /// The version of what changed, after it; 1 is the creation.
    #[schema(example = 2)]
    pub version: i64,
    /// When, by the database's clock: the one that counts.
    #[schema(format = DateTime, example = "2026-11-22T04:00:01.234Z")]
    pub at: String,
    /// When, by the clock of the replica that did it.
    #[schema(format = DateTime, example = "2026-11-22T04:00:01.230Z")]
    pub gateway_at: String,
    /// What happened: `created`, `paid`, `buyer_must_confirm`, `declined`,
    /// `never_sent`, `outcome_became_unknown`, `access_refused`, `cancel_started`, `cancel_refused`, `closed`, `plan_exhausted`,
    /// `wallet_named`, `resolved`; `contradicted` where Alipay says what the books do not take, and
    /// `contradiction_settled` (of refunds `refund_contradicted` and `refund_contradiction_settled`);
    /// of the payment's books `refund_reserved`, `cancel_turned_into_refund` and the
    /// events of its refunds that move money: `refund_created`, `refund_accepted`,
    /// `refund_waiting`, `refund_succeeded`, `refund_refused`, `refund_failed_at_alipay`,
    /// `refund_reversed_by_alipay`, `refund_made_in_portal` and others.
    #[schema(example = "paid", extensions(("x-extensible-enum" = json!(Timeline::event_names()))))]
    pub event: String,
    /// The status before; `null` at creation.
    #[schema(required = true, example = "processing", extensions(("x-extensible-enum" = json!([PaymentState::STATUSES.as_slice(), RefundState::STATUSES.as_slice()].concat()))))]
    pub from_status: Option<String>,
    /// Its detail.
    #[schema(required = true, example = "submitting", extensions(("x-extensible-enum" = json!([ProcessingReason::NAMES, CancelReason::NAMES, PendingReason::NAMES].concat()))))]
    pub from_status_reason: Option<String>,
    /// The status after.
    #[schema(example = "succeeded", extensions(("x-extensible-enum" = json!([PaymentState::STATUSES.as_slice(), RefundState::STATUSES.as_slice()].concat()))))]
    pub to_status: String,
    /// Its detail.
    #[schema(required = true, example = json!(null), extensions(("x-extensible-enum" = json!([ProcessingReason::NAMES, CancelReason::NAMES, PendingReason::NAMES].concat()))))]
    pub to_status_reason: Option<String>,
    /// Who caused it.
    pub actor: ActorView,
    /// The call whose answer caused it, or, for `created` and `cancel_started`, that it led to.
    #[schema(required = true, example = "att_0199b3c1d2e37f4a8b6c7d8e9f0a1b2e")]
    pub attempt_id: Option<String>,
    /// What an operator gave as grounds; only with `resolved`.
    #[schema(required = true, example = json!(null))]
    pub reason: Option<String>,
    /// Where the operator documented the case.
    #[schema(required = true, example = json!(null))]
    pub ticket: Option<String>,
}

/// Who caused a change.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Actor)]
pub struct ActorView {
    /// `api_key`, `follow_up`, `notification` or `file` (one of Alipay's daily files).
    #[serde(rename = "type")]
    #[schema(
        example = "api_key",
        extensions(("x-extensible-enum" = json!(ActorKind::NAMES)))
    )]
    pub kind: &'static str,
    /// Its id.
    #[schema(example = "key_0199b3c1d2e37f4a8b6c7d8e9f0a1b2f")]
    pub id: String,
    /// The line of the file; `null` for other actors.
    #[schema(required = true, example = json!(null))]
    pub line: Option<i64>,
}

refusals! {
    TimelineRefusals:
        [Problem::payment_not_found()],
}

/// Show what happened to a payment
///
/// Every call to Alipay with its kind of answer and duration, every change of state with its cause, and
/// what daily files say against the books, oldest first. Marks what an operator should look at.
#[utoipa::path(
    get,
    path = "/v1/payments/{id}/timeline",
    tag = "payments",
    operation_id = "get_payment_timeline",
    security(("api_key" = ["payments:read"]), ("api_key" = ["support:read"])),
    params(("id" = String, Path, description = "The payment's id.", example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")),
    responses(TimelineRefusals, (status = 200, description = "What happened.", body = TimelineView)),
)]
pub async fn timeline(
    State(app): State<App>,
    caller: AdminCaller<LookAtPayments>,
    facts: RequestContext,
    Id(id): Id<PaymentId>,
    query: RawPairs,
) -> Result<Json<TimelineView>, Problem> {
    query.reader().finish()?;
    facts.learn_payment(id);
    let merchant_id = caller
        .look_at(&app, Look::Timeline, Subject::Payment(id))
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    let timeline = app
        .timeline(merchant_id, id)
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    Ok(Json(TimelineView {
        items: merge(&timeline),
    }))
}

/// All lists as one, by time. In one instant, a call comes after the change that decided it and
/// before the change that its answer caused; changes keep the order of their versions, and calls
/// that of their ids; a file's word comes after both.
fn merge(timeline: &Timeline) -> Vec<TimelineItem> {
    let mut attempts = timeline.attempts.iter().peekable();
    let mut items = Vec::with_capacity(timeline.attempts.len() + timeline.transitions.len());
    let called = |attempt: &Attempt| (attempt.sent_at, TimelineItem::Attempt(attempt.into()));
    for transition in &timeline.transitions {
        while let Some(attempt) = attempts.next_if(|attempt| is_before(attempt, transition)) {
            items.push(called(attempt));
        }
        items.push((transition.at, TimelineItem::Transition(transition.into())));
    }
    items.extend(attempts.map(called));
    for told in &timeline.differences {
        let before = items.iter().rposition(|(at, _)| *at <= told.at);
        let place = before.map_or(0, |before| before + 1);
        items.insert(place, (told.at, TimelineItem::Difference(told.into())));
    }
    items.into_iter().map(|(_, item)| item).collect()
}

fn is_before(attempt: &Attempt, transition: &Transition) -> bool {
    if attempt.sent_at != transition.at {
        return attempt.sent_at < transition.at;
    }
    let decides = matches!(
        transition.event.as_str(),
        "created" | "cancel_started" | "refund_created" | "refund_reserved"
    );
    transition
        .attempt_id
        .is_some_and(|id| attempt.id < id || (attempt.id == id && !decides))
}

impl From<&ToldDifference> for TimelineDifferenceView {
    fn from(told: &ToldDifference) -> Self {
        Self {
            id: told.id.to_string(),
            reconciliation_id: told.reconciliation_id.to_string(),
            at: timestamp(told.at),
            class: told.class.as_str(),
            row_type: told.row_type.as_str(),
            file: told.file_name.clone(),
            line: told.line,
            refund_id: told.refund_id.map(|id| id.to_string()),
            expected: told.expected.clone(),
            found: told.found.clone(),
            incident: told.acknowledged_at.is_none(),
            acknowledged_at: told.acknowledged_at.map(timestamp),
            acknowledged_reason: told.acknowledged_reason.clone(),
        }
    }
}

impl From<&Attempt> for AttemptView {
    fn from(attempt: &Attempt) -> Self {
        let answer = attempt.answer.as_ref();
        Self {
            id: attempt.id.to_string(),
            at: timestamp(attempt.sent_at),
            refund_id: attempt.refund_id.map(|id| id.to_string()),
            kind: attempt.kind.as_str(),
            answered_at: attempt.answered_at.map(timestamp),
            answer: answer.map(|answer| answer.class.as_str()),
            code: answer.and_then(|answer| answer.code.clone()),
            detail: answer.and_then(|answer| answer.detail.clone()),
            duration_ms: answer.map(|answer| answer.duration_ms),
            incident: answer
                .map(|a| a.class)
                .is_some_and(AnswerClass::is_incident),
        }
    }
}

impl From<&Transition> for TransitionView {
    fn from(transition: &Transition) -> Self {
        Self {
            refund_id: transition.refund_id.map(|id| id.to_string()),
            version: transition.version,
            at: timestamp(transition.at),
            gateway_at: timestamp(transition.gateway_at),
            event: transition.event.clone(),
            from_status: transition.from_status.clone(),
            from_status_reason: transition.from_status_reason.clone(),
            to_status: transition.to_status.clone(),
            to_status_reason: transition.to_status_reason.clone(),
            actor: transition.actor.into(),
            attempt_id: transition.attempt_id.map(|id| id.to_string()),
            reason: transition.reason.clone(),
            ticket: transition.ticket.clone(),
        }
    }
}

impl From<Actor> for ActorView {
    fn from(actor: Actor) -> Self {
        let (id, line) = match actor {
            Actor::ApiKey(id) => (id.to_string(), None),
            Actor::FollowUp(id) => (id.to_string(), None),
            Actor::Notification(id) => (id.to_string(), None),
            Actor::File(FileLine { file_id, line }) => (file_id.to_string(), Some(line)),
        };
        Self {
            kind: actor.kind().as_str(),
            id,
            line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        attempt::{Answer, AttemptKind},
        id::{ApiKeyId, AttemptId},
    };
    use chrono::{DateTime, Utc};

    #[test]
    fn calls_and_changes_are_merged_by_time() {
        let at = |seconds: u32| -> DateTime<Utc> {
            format!("2026-11-22T04:00:{seconds:02}Z")
                .parse()
                .expect("an instant")
        };
        let attempt_id = AttemptId::mint();
        let transition = |version, seconds, attempt_id| Transition {
            refund_id: None,
            version,
            event: if version == 1 { "created" } else { "paid" }.to_owned(),
            from_status: None,
            from_status_reason: None,
            to_status: "processing".to_owned(),
            to_status_reason: None,
            actor: Actor::ApiKey(ApiKeyId::mint()),
            attempt_id,
            reason: None,
            ticket: None,
            at: at(seconds),
            gateway_at: at(seconds),
        };
        let attempt = Attempt {
            id: attempt_id,
            payment_id: PaymentId::mint(),
            refund_id: None,
            kind: AttemptKind::Pay,
            sent_at: at(0),
            answered_at: Some(at(1)),
            answer: Some(Answer {
                class: AnswerClass::BadSignature,
                code: None,
                detail: None,
                duration_ms: 7,
            }),
        };
        let items = merge(&Timeline {
            attempts: vec![attempt],
            transitions: vec![transition(1, 0, None), transition(2, 1, Some(attempt_id))],
            differences: vec![],
        });
        let json = serde_json::to_value(items).expect("a timeline is JSON");
        let order: Vec<_> = (0..3)
            .map(|n| json[n]["type"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(order, ["transition", "attempt", "transition"]);
        assert_eq!(json[1]["incident"], true);
        assert_eq!(json[1]["answer"], "bad_signature");
    }
}
