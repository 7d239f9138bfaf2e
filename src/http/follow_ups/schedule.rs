//! `/v1/follow-ups`: the durable schedule, readable and steerable.

use axum::{Json as JsonAnswer, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::view::FollowUpView;
use crate::{
    app::App,
    domain::{
        access::principal::Identity,
        audit::Look,
        follow_ups::schedule::{FollowUpAction, FollowUpFilter, Subject},
        id::FollowUpId,
    },
    http::{
        extract::{
            AdminCaller, Id, JsonBody, LookAtWork, Operate,
            members::MAX_REASON,
            query::RawPairs,
            read_request, request,
            rules::{Instant, Note},
        },
        paging::{Paging, cursor_after},
        problem::Problem,
        refusals::{self, refusals},
    },
};

/// A page of follow-ups.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FollowUpList {
    /// The rows, newest first.
    pub items: Vec<FollowUpView>,
    /// Send it as `cursor` to get the next page; `null` on the last.
    #[schema(required = true, example = "AQGZs8HS439Ki2x9jp8KGyw")]
    pub next_cursor: Option<String>,
}

request! {
    /// Until when to leave a follow-up alone.
    struct SnoozeFollowUpRequest {
        /// Not before this instant (RFC 3339).
        required until: DateTime<Utc> = Instant, example "2026-11-22T05:00:00Z";
    }
}

request! {
    /// Why a follow-up is taken off the schedule.
    struct AbandonFollowUpRequest {
        /// Why. Kept with the row.
        required reason: String = Note { max: MAX_REASON }, example "handled by Alipay support";
    }
}

/// List follow-ups
///
/// What the gateway still owes an answer about, newest first. Filters combine.
#[utoipa::path(
    get,
    path = "/v1/follow-ups",
    tag = "operations",
    operation_id = "list_follow_ups",
    security(("api_key" = ["operations"]), ("api_key" = ["support:read"])),
    params(
        ("due_before" = Option<DateTime<Utc>>, Query, description = "Due before this instant (RFC 3339)."),
        ("kind" = Option<String>, Query, description = "What they are about: `payment`, `refund` or `registration`.", example = "payment"),
        ("subject" = Option<String>, Query, description = "The payment, the refund or the registration they are about.", example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("parked" = Option<bool>, Query, description = "Only those that wait for a person (`true`), or only the others (`false`)."),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = FollowUpList)),
)]
pub async fn list(
    State(app): State<App>,
    caller: AdminCaller<LookAtWork>,
    query: RawPairs,
) -> Result<JsonAnswer<FollowUpList>, Problem> {
    let mut reader = query.reader();
    let filter = FollowUpFilter {
        due_before: reader.instant("due_before"),
        kind: reader.parse(
            "kind",
            "must be `payment`, `refund` or `registration`",
            |text| Subject::KINDS.contains(&text).then(|| text.to_owned()),
        ),
        subject: reader.parse(
            "subject",
            "must be a payment's, a refund's or a registration's id",
            |text| text.parse::<Subject>().ok(),
        ),
        parked: reader.parse("parked", "must be true or false", |text| text.parse().ok()),
    };
    let Paging { after, limit } = Paging::read(reader)?;
    caller.look_over(&app, Look::FollowUps, None).await?;
    let page = app
        .list_follow_ups(caller.identity.tenant_scope, &filter, after, limit)
        .await?;
    Ok(JsonAnswer(FollowUpList {
        items: page.items.iter().map(FollowUpView::from).collect(),
        next_cursor: page.next.map(|last| cursor_after(last.uuid())),
    }))
}

refusals! {
    RunRefusals:
        [Problem::follow_up_not_found()],
}

/// Run a follow-up now
///
/// Also puts a parked or abandoned row back on the schedule.
#[utoipa::path(
    post,
    path = "/v1/follow-ups/{id}/run",
    tag = "operations",
    operation_id = "run_follow_up",
    security(("api_key" = ["operations"])),
    params(("id" = String, Path, description = "The follow-up's id.", example = "fup_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")),
    responses(RunRefusals, (status = 200, description = "The row, due now.", body = FollowUpView)),
)]
pub async fn run(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Operate>,
    Id(id): Id<FollowUpId>,
    query: RawPairs,
) -> Result<JsonAnswer<FollowUpView>, Problem> {
    query.reader().finish()?;
    steer(&app, &identity, id, FollowUpAction::Run).await
}

refusals! {
    SnoozeRefusals:
        [
            Problem::follow_up_not_found(),
            refusals::missing_member("/until"),
        ],
}

/// Snooze a follow-up
///
/// Leaves it alone until an instant.
#[utoipa::path(
    post,
    path = "/v1/follow-ups/{id}/snooze",
    tag = "operations",
    operation_id = "snooze_follow_up",
    security(("api_key" = ["operations"])),
    params(("id" = String, Path, description = "The follow-up's id.", example = "fup_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")),
    request_body(content = SnoozeFollowUpRequest, description = "Until when.", content_type = "application/json"),
    responses(SnoozeRefusals, (status = 200, description = "The row, due then.", body = FollowUpView)),
)]
pub async fn snooze(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Operate>,
    Id(id): Id<FollowUpId>,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<JsonAnswer<FollowUpView>, Problem> {
    query.reader().finish()?;
    let until = read_request(&body, |request: SnoozeFollowUpRequest, _| request.until)?;
    steer(&app, &identity, id, FollowUpAction::Snooze(until)).await
}

refusals! {
    AbandonRefusals:
        [
            Problem::follow_up_not_found(),
            refusals::missing_member("/reason"),
        ],
}

/// Abandon a follow-up
///
/// Takes it off the schedule. What it is about stays open and still accepts the truth; a payment or a
/// refund stays on the work-list of `GET /v1/unresolved`.
#[utoipa::path(
    post,
    path = "/v1/follow-ups/{id}/abandon",
    tag = "operations",
    operation_id = "abandon_follow_up",
    security(("api_key" = ["operations"])),
    params(("id" = String, Path, description = "The follow-up's id.", example = "fup_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")),
    request_body(content = AbandonFollowUpRequest, description = "Why.", content_type = "application/json"),
    responses(AbandonRefusals, (status = 200, description = "The row, parked.", body = FollowUpView)),
)]
pub async fn abandon(
    State(app): State<App>,
    AdminCaller { identity, .. }: AdminCaller<Operate>,
    Id(id): Id<FollowUpId>,
    query: RawPairs,
    JsonBody(body): JsonBody,
) -> Result<JsonAnswer<FollowUpView>, Problem> {
    query.reader().finish()?;
    let reason = read_request(&body, |request: AbandonFollowUpRequest, _| request.reason)?;
    steer(&app, &identity, id, FollowUpAction::Abandon { reason }).await
}

async fn steer(
    app: &App,
    identity: &Identity,
    id: FollowUpId,
    steering: FollowUpAction,
) -> Result<JsonAnswer<FollowUpView>, Problem> {
    let row = app
        .steer_follow_up(identity, id, &steering)
        .await?
        .ok_or_else(Problem::follow_up_not_found)?;
    Ok(JsonAnswer(FollowUpView::from(&row)))
}
