//! `GET /v1/refunds` and `GET /v1/payments/{id}/refunds`: refunds, newest first, page by page.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::view::RefundView;
use crate::{
    app::{App, RefundFilter},
    domain::{
        audit::Look,
        follow_ups::schedule::Subject,
        id::{MerchantId, PaymentId, RefundId},
        refunds::refund::RefundMode,
    },
    http::{
        extract::{
            AdminCaller, Id, LookAtPayments,
            query::{QueryReader, RawPairs},
        },
        paging::{Paging, cursor_after},
        problem::Problem,
        refusals::refusals,
        trace::RequestContext,
    },
};

/// The public status names.
const STATUSES: [&str; 4] = ["pending", "succeeded", "failed", "unresolved"];

/// A page of refunds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RefundList {
    /// The refunds, newest first.
    pub items: Vec<RefundView>,
    /// Send it as `cursor` to get the next page; `null` on the last.
    #[schema(required = true, example = "AQGZs8HS439Ki2x9jp8KGyw")]
    pub next_cursor: Option<String>,
}

/// List refunds
///
/// The merchant's refunds, newest first. Filters combine. Refunds made while paging do not shift the
/// pages that follow.
#[utoipa::path(
    get,
    path = "/v1/refunds",
    tag = "refunds",
    operation_id = "list_refunds",
    security(("api_key" = ["payments:read"]), ("api_key" = ["support:read"])),
    params(
        ("status" = Option<String>, Query, description = "`pending`, `succeeded`, `failed` or `unresolved`.", example = "pending"),
        ("mode" = Option<String>, Query, description = "`sync` or `async`.", example = "async"),
        ("payment_id" = Option<String>, Query, description = "Whose refunds.", example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("created_from" = Option<DateTime<Utc>>, Query, description = "Created at or after this instant (RFC 3339)."),
        ("created_to" = Option<DateTime<Utc>>, Query, description = "Created before this instant (RFC 3339)."),
        ("merchant_id" = Option<String>, Query, description = "Whose: the operator must say it; a merchant's caller has its own alone.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = RefundList)),
)]
pub async fn list(
    State(app): State<App>,
    caller: AdminCaller<LookAtPayments>,
    query: RawPairs,
) -> Result<Json<RefundList>, Problem> {
    let mut reader = query.reader();
    let a_payment = "must be a payment's id";
    let payment_id = reader.parse("payment_id", a_payment, |text| text.parse().ok());
    let filter = read_filter(&mut reader, payment_id);
    let whose = caller.whose_list(&mut reader);
    let paging = Paging::read(reader)?;
    let Some(merchant_id) = whose else {
        return Ok(Json(RefundList {
            items: Vec::new(),
            next_cursor: None,
        }));
    };
    caller.look_over(&app, Look::Refunds, whose).await?;
    page(&app, merchant_id, &filter, paging).await
}

refusals! {
    ListRefusals:
        [Problem::payment_not_found()],
}

/// List the refunds of a payment
///
/// Newest first. Filters combine.
#[utoipa::path(
    get,
    path = "/v1/payments/{id}/refunds",
    tag = "refunds",
    operation_id = "list_refunds_of_payment",
    security(("api_key" = ["payments:read"]), ("api_key" = ["support:read"])),
    params(
        ("id" = String, Path, description = "The payment's id.", example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("status" = Option<String>, Query, description = "`pending`, `succeeded`, `failed` or `unresolved`.", example = "succeeded"),
        ("mode" = Option<String>, Query, description = "`sync` or `async`.", example = "sync"),
        ("created_from" = Option<DateTime<Utc>>, Query, description = "Created at or after this instant (RFC 3339)."),
        ("created_to" = Option<DateTime<Utc>>, Query, description = "Created before this instant (RFC 3339)."),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses(ListRefusals, (status = 200, description = "A page.", body = RefundList)),
)]
pub async fn list_of_payment(
    State(app): State<App>,
    caller: AdminCaller<LookAtPayments>,
    facts: RequestContext,
    Id(payment_id): Id<PaymentId>,
    query: RawPairs,
) -> Result<Json<RefundList>, Problem> {
    let mut reader = query.reader();
    let filter = read_filter(&mut reader, Some(payment_id));
    let paging = Paging::read(reader)?;
    facts.learn_payment(payment_id);
    // A payment without refunds has an empty list; no payment has none.
    let merchant_id = caller
        .look_at(&app, Look::RefundsOfPayment, Subject::Payment(payment_id))
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    app.get_payment(merchant_id, payment_id, None)
        .await?
        .ok_or_else(Problem::payment_not_found)?;
    page(&app, merchant_id, &filter, paging).await
}

fn read_filter(reader: &mut QueryReader<'_>, payment_id: Option<PaymentId>) -> RefundFilter {
    RefundFilter {
        status: reader.parse("status", "must be a refund status", |text| {
            STATUSES.contains(&text).then(|| text.to_owned())
        }),
        mode: reader.parse("mode", "must be sync or async", RefundMode::from_name),
        payment_id,
        created_from: reader.instant("created_from"),
        created_to: reader.instant("created_to"),
    }
}

async fn page(
    app: &App,
    merchant_id: MerchantId,
    filter: &RefundFilter,
    Paging { after, limit }: Paging<RefundId>,
) -> Result<Json<RefundList>, Problem> {
    let page = app.list_refunds(merchant_id, filter, after, limit).await?;
    let items = page.items.iter();
    Ok(Json(RefundList {
        items: items
            .map(|refund| RefundView::new(refund, app.refund_outlook(refund)))
            .collect(),
        next_cursor: page.next.map(|last| cursor_after(last.uuid())),
    }))
}
