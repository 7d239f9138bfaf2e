//! `GET /v1/unresolved`: the payments and refunds that need a person, with the evidence.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::view::FollowUpView;
use crate::{
    app::App,
    domain::{
        audit::Look,
        contradiction::{Claim, Contradiction, Source},
        follow_ups::schedule::{Need, Unsettled, UnsettledCase},
        payments::payment::{CancelReason, PaymentState, ProcessingReason},
        refunds::refund::{PendingReason, RefundState},
    },
    http::{
        answer::timestamp,
        extract::{AdminCaller, LookAtWork, query::RawPairs},
        paging::{Paging, cursor_after},
        payments::view::PaymentView,
        problem::Problem,
        refunds::view::RefundView,
    },
};

/// A page of what needs a person.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UnresolvedList {
    /// The payments and refunds with their evidence, newest first.
    pub items: Vec<UnresolvedView>,
    /// Send it as `cursor` to get the next page; `null` on the last.
    #[schema(required = true, example = "AQGZs8HS439Ki2x9jp8KGyw")]
    pub next_cursor: Option<String>,
}

/// A payment or a refund that needs a person.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Unresolved)]
pub struct UnresolvedView {
    /// Why: `unresolved`: every planned question was asked; `refused_at_the_door`: Alipay refuses whatever
    /// the account asks; `open_for_too_long`: for more than ten minutes; `past_its_cancel_window`: Alipay
    /// takes no cancel any more; `parked`: its follow-up is; `contradicted`: Alipay says what the books do
    /// not take; `failed_late`: a refund of which callers were told that it is under way, or done, has failed.
    /// More may be added.
    #[schema(example = json!(["refused_at_the_door"]), extensions(("x-extensible-enum" = json!(Need::NAMES))))]
    pub needs: Vec<&'static str>,
    /// The payment; `null` where it is a refund.
    #[schema(required = true)]
    pub payment: Option<PaymentView>,
    /// The refund; `null` where it is a payment.
    #[schema(required = true)]
    pub refund: Option<RefundView>,
    /// Its row of the schedule.
    #[schema(required = true)]
    pub follow_up: Option<FollowUpView>,
    /// What was asked and answered.
    pub evidence: EvidenceView,
    /// What Alipay verifiably said against the books and nobody has settled, oldest first.
    pub contradictions: Vec<ContradictionView>,
}

/// What Alipay verifiably said against the books. It is asked about until an answer, or a person by
/// `resolve`, has settled it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Contradiction)]
pub struct ContradictionView {
    /// The contradiction's id.
    #[schema(
        example = "con_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c",
        pattern = "^con_[0-9a-f]{32}$"
    )]
    pub id: String,
    /// What was said: of a payment `paid`, `buyer_must_confirm`, `declined`, `closed`, `not_found`,
    /// `not_refundable` (Alipay refused a refund that the books call possible) or
    /// `refund_made_in_portal`; of a refund `refund_succeeded`, `refund_accepted`, `refund_waiting` or
    /// `refund_not_found` (it is called done, and Alipay does not know it).
    #[schema(
        example = "paid",
        extensions(("x-extensible-enum" = json!(Claim::NAMES)))
    )]
    pub claim: &'static str,
    /// Alipay's id of the refund that was made in its portal, or the code with which it refused a refund;
    /// `null` with other claims.
    #[schema(required = true, example = json!(null))]
    pub reference: Option<String>,
    /// How much is proven to be back besides what the refunds in the books have, in minor units; it cannot
    /// be refunded meanwhile.
    #[schema(example = 0)]
    pub returned: i64,
    /// What the books said.
    #[schema(example = "canceled", extensions(("x-extensible-enum" = json!([PaymentState::STATUSES.as_slice(), RefundState::STATUSES.as_slice()].concat()))))]
    pub books_status: String,
    /// Its detail.
    #[schema(required = true, example = "buyer_did_not_confirm", extensions(("x-extensible-enum" = json!([ProcessingReason::NAMES, CancelReason::NAMES, PendingReason::NAMES].concat()))))]
    pub books_status_reason: Option<String>,
    /// Where it was said: `attempt` (the answer to a call), `notification` or `file`.
    #[schema(example = "attempt", extensions(("x-extensible-enum" = json!(Source::NAMES))))]
    pub source: &'static str,
    /// The call, the notification or the file.
    #[schema(example = "att_0199b3c1d2e37f4a8b6c7d8e9f0a1b2e")]
    pub source_id: String,
    /// The line of the file; `null` for other sources.
    #[schema(required = true, example = json!(null))]
    pub line: Option<i64>,
    /// Since when it stands.
    #[schema(format = DateTime, example = "2026-11-22T04:00:05.000Z")]
    pub opened_at: String,
}

impl From<&Contradiction> for ContradictionView {
    fn from(said: &Contradiction) -> Self {
        let (source_id, line) = match said.source {
            Source::Attempt(id) => (id.to_string(), None),
            Source::Notification(id) => (id.to_string(), None),
            Source::File(at) => (at.file_id.to_string(), Some(at.line)),
        };
        Self {
            id: said.id.to_string(),
            claim: said.claim.as_str(),
            reference: Some(said.reference.clone()).filter(|reference| !reference.is_empty()),
            returned: said.returned_minor,
            books_status: said.books_status.clone(),
            books_status_reason: said.books_status_reason.clone(),
            source: said.source.name(),
            source_id,
            line,
            opened_at: timestamp(said.opened_at),
        }
    }
}

/// What was asked of Alipay and what came back; the timeline has each call.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Evidence)]
pub struct EvidenceView {
    /// How many calls there were.
    #[schema(example = 37)]
    pub attempts: i64,
    /// How often each kind of answer came; `none` counts calls without a recorded answer.
    #[schema(example = json!({"timed_out": 30, "system_error": 7}))]
    pub answers: BTreeMap<String, i64>,
    /// When the first call was sent.
    #[schema(required = true, format = DateTime, example = "2026-11-22T04:00:00.000Z")]
    pub first_asked_at: Option<String>,
    /// When the last call was sent.
    #[schema(required = true, format = DateTime, example = "2026-11-29T04:00:00.000Z")]
    pub last_asked_at: Option<String>,
}

impl UnresolvedView {
    fn new(app: &App, unsettled: &Unsettled, now: DateTime<Utc>) -> Self {
        let (payment, refund) = match &unsettled.case {
            UnsettledCase::Payment(payment) => (Some(payment.as_ref().into()), None),
            UnsettledCase::Refund(refund) => {
                let view = RefundView::new(refund, app.refund_outlook(refund));
                (None, Some(view))
            }
        };
        let needs = unsettled.needs(now);
        Self {
            needs: needs.into_iter().map(Need::as_str).collect(),
            payment,
            refund,
            follow_up: unsettled.follow_up.as_ref().map(FollowUpView::from),
            evidence: EvidenceView {
                attempts: unsettled.attempts,
                answers: unsettled.answers.iter().cloned().collect(),
                first_asked_at: unsettled.first_asked_at.map(timestamp),
                last_asked_at: unsettled.last_asked_at.map(timestamp),
            },
            contradictions: unsettled
                .contradictions
                .iter()
                .map(ContradictionView::from)
                .collect(),
        }
    }
}

/// List what needs a person
///
/// Payments and refunds that will not be settled by waiting a moment, newest first: those that are
/// `unresolved`, payments that have been open for more than ten minutes or past their cancel window (also
/// paid ones whose cancel does not end), those whose account Alipay refuses at its door, those that Alipay
/// contradicts, refunds that failed after callers were told that they are under way, and those whose
/// follow-up is parked. `needs` says which of these.
#[utoipa::path(
    get,
    path = "/v1/unresolved",
    tag = "operations",
    operation_id = "list_unresolved",
    security(("api_key" = ["operations"]), ("api_key" = ["support:read"])),
    params(
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = UnresolvedList)),
)]
pub async fn list(
    State(app): State<App>,
    caller: AdminCaller<LookAtWork>,
    query: RawPairs,
) -> Result<Json<UnresolvedList>, Problem> {
    let Paging { after, limit } = Paging::read(query.reader())?;
    caller.look_over(&app, Look::Unresolved, None).await?;
    let (page, now) = app
        .list_unsettled(caller.identity.tenant_scope, after, limit)
        .await?;
    Ok(Json(UnresolvedList {
        items: page
            .items
            .iter()
            .map(|unsettled| UnresolvedView::new(&app, unsettled, now))
            .collect(),
        next_cursor: page.next.map(cursor_after),
    }))
}
