//! `GET /v1/unresolved`: the payments and refunds that need a person, with the evidence.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::view::FollowUpView;
use crate::{
    app::App,
    domain::schedule::{Unsettled, UnsettledCase},
    http::{
        answer::timestamp,
        extract::{Operate, Overseer, query::RawPairs},
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
    /// The payment, `unresolved` or open with a parked follow-up; `null` where it is a refund.
    #[schema(required = true)]
    pub payment: Option<PaymentView>,
    /// The refund, `unresolved` or open with a parked follow-up; `null` where it is a payment.
    #[schema(required = true)]
    pub refund: Option<RefundView>,
    /// Its row of the schedule.
    #[schema(required = true)]
    pub follow_up: Option<FollowUpView>,
    /// What was asked and answered.
    pub evidence: EvidenceView,
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
    fn new(app: &App, unsettled: &Unsettled) -> Self {
        let (payment, refund) = match &unsettled.case {
            UnsettledCase::Payment(payment) => (Some(payment.as_ref().into()), None),
            UnsettledCase::Refund(refund) => {
                let view = RefundView::new(refund, app.refund_outlook(refund));
                (None, Some(view))
            }
        };
        Self {
            payment,
            refund,
            follow_up: unsettled.follow_up.as_ref().map(FollowUpView::from),
            evidence: EvidenceView {
                attempts: unsettled.attempts,
                answers: unsettled.answers.iter().cloned().collect(),
                first_asked_at: unsettled.first_asked_at.map(timestamp),
                last_asked_at: unsettled.last_asked_at.map(timestamp),
            },
        }
    }
}

/// List what needs a person
///
/// Payments and refunds that are `unresolved`, and open ones whose follow-up is parked, newest first.
#[utoipa::path(
    get,
    path = "/v1/unresolved",
    tag = "operations",
    operation_id = "list_unresolved",
    security(("api_key" = ["operations"])),
    params(
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = UnresolvedList)),
)]
pub async fn list(
    State(app): State<App>,
    Overseer { identity, .. }: Overseer<Operate>,
    query: RawPairs,
) -> Result<Json<UnresolvedList>, Problem> {
    let Paging { after, limit } = Paging::read(query.reader())?;
    let page = app.list_unsettled(identity.reach, after, limit).await?;
    Ok(Json(UnresolvedList {
        items: page
            .items
            .iter()
            .map(|unsettled| UnresolvedView::new(&app, unsettled))
            .collect(),
        next_cursor: page.next.map(cursor_after),
    }))
}
