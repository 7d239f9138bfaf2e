//! `GET /v1/payments`: payments, newest first, page by page.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::view::PaymentView;
use crate::{
    app::{App, Page, PaymentFilter},
    domain::{audit::Look, id::MerchantReference},
    http::{
        extract::{
            AdminCaller, LookAtPayments,
            query::{QueryReader, RawPairs},
        },
        paging::{Paging, cursor_after},
        problem::Problem,
    },
};

/// The public status names.
const STATUSES: [&str; 5] = [
    "processing",
    "succeeded",
    "failed",
    "canceled",
    "unresolved",
];

/// A page of payments.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PaymentList {
    /// The payments, newest first.
    pub items: Vec<PaymentView>,
    /// Send it as `cursor` to get the next page; `null` on the last.
    #[schema(required = true, example = "AQGZs8HS439Ki2x9jp8KGyw")]
    pub next_cursor: Option<String>,
}

/// List payments
///
/// The merchant's payments, newest first. Filters combine. Payments made while paging do not shift
/// the pages that follow.
#[utoipa::path(
    get,
    path = "/v1/payments",
    tag = "payments",
    operation_id = "list_payments",
    security(("api_key" = ["payments:read"]), ("api_key" = ["support:read"])),
    params(
        ("status" = Option<String>, Query, description = "`processing`, `succeeded`, `failed`, `canceled` or `unresolved`.", example = "processing"),
        ("merchant_reference" = Option<String>, Query, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "The caller's own number."),
        ("alipay_trans_id" = Option<String>, Query, min_length = 1, max_length = 64, description = "Alipay's id."),
        ("store_id" = Option<String>, Query, min_length = 1, max_length = 64, description = "The store."),
        ("terminal_id" = Option<String>, Query, min_length = 1, max_length = 64, description = "The till."),
        ("created_from" = Option<DateTime<Utc>>, Query, description = "Created at or after this instant (RFC 3339)."),
        ("created_to" = Option<DateTime<Utc>>, Query, description = "Created before this instant (RFC 3339)."),
        ("merchant_id" = Option<String>, Query, description = "Whose: the operator must say it; a merchant's caller has its own alone.", example = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = PaymentList)),
)]
pub async fn list(
    State(app): State<App>,
    caller: AdminCaller<LookAtPayments>,
    query: RawPairs,
) -> Result<Json<PaymentList>, Problem> {
    let mut reader = query.reader();
    let filter = read_filter(&mut reader);
    let whose = caller.whose_list(&mut reader);
    let Paging { after, limit } = Paging::read(reader)?;
    let page = match whose {
        Some(merchant_id) => {
            caller.look_over(&app, Look::Payments, whose).await?;
            app.list_payments(merchant_id, &filter, after, limit)
                .await?
        }
        None => Page::none(),
    };
    Ok(Json(PaymentList {
        items: page.items.iter().map(PaymentView::from).collect(),
        next_cursor: page.next.map(|last| cursor_after(last.uuid())),
    }))
}

fn read_filter(reader: &mut QueryReader<'_>) -> PaymentFilter {
    let a_name = "must have 1 to 64 printable ASCII characters";
    PaymentFilter {
        status: reader.parse("status", "must be a payment status", status),
        merchant_reference: reader.parse(
            "merchant_reference",
            "must be 1 to 64 of A-Z a-z 0-9 . _ -",
            |text| Some(text.parse::<MerchantReference>().ok()?.to_string()),
        ),
        alipay_trans_id: reader.parse("alipay_trans_id", a_name, name),
        store_id: reader.parse("store_id", a_name, name),
        terminal_id: reader.parse("terminal_id", a_name, name),
        created_from: reader.instant("created_from"),
        created_to: reader.instant("created_to"),
    }
}

fn status(text: &str) -> Option<String> {
    STATUSES.contains(&text).then(|| text.to_owned())
}

fn name(text: &str) -> Option<String> {
    let printable = text.bytes().all(|b| matches!(b, b' '..=b'~'));
    (printable && (1..=64).contains(&text.len())).then(|| text.to_owned())
}
