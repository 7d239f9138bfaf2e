//! `GET /v1/payments`: payments, newest first, page by page.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{cursor, view::PaymentView};
use crate::{
    app::{App, PaymentFilter},
    domain::id::{MerchantReference, PaymentId},
    http::{
        extract::{
            Caller, ReadPayments,
            query::{QueryReader, RawPairs},
        },
        problem::{Kind, Problem},
    },
};

/// Items on a page where the caller does not say.
const DEFAULT_LIMIT: u16 = 50;
/// Most items on a page.
const MAX_LIMIT: u16 = 200;
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
    security(("api_key" = ["payments:read"])),
    params(
        ("status" = Option<String>, Query, description = "`processing`, `succeeded`, `failed`, `canceled` or `unresolved`.", example = "processing"),
        ("merchant_reference" = Option<String>, Query, pattern = "^[A-Za-z0-9._-]{1,64}$", description = "The caller's own number."),
        ("alipay_trans_id" = Option<String>, Query, min_length = 1, max_length = 64, description = "Alipay's id."),
        ("store_id" = Option<String>, Query, min_length = 1, max_length = 64, description = "The shop."),
        ("terminal_id" = Option<String>, Query, min_length = 1, max_length = 64, description = "The till."),
        ("created_from" = Option<DateTime<Utc>>, Query, description = "Created at or after this instant (RFC 3339)."),
        ("created_to" = Option<DateTime<Utc>>, Query, description = "Created before this instant (RFC 3339)."),
        ("limit" = Option<i32>, Query, minimum = 1, maximum = 200, description = "Most items on the page; 50 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = PaymentList)),
)]
pub async fn list(
    State(app): State<App>,
    Caller { principal, .. }: Caller<ReadPayments>,
    query: RawPairs,
) -> Result<Json<PaymentList>, Problem> {
    let asked = Asked::read(&query)?;
    let page = app
        .list_payments(
            principal.merchant_id,
            &asked.filter,
            asked.after,
            asked.limit,
        )
        .await?;
    Ok(Json(PaymentList {
        items: page.items.iter().map(PaymentView::from).collect(),
        next_cursor: page.next.map(|last| cursor::encode(last.uuid())),
    }))
}

/// The query string, read.
#[derive(Debug)]
struct Asked {
    filter: PaymentFilter,
    after: Option<PaymentId>,
    limit: u16,
}

impl Asked {
    fn read(query: &RawPairs) -> Result<Self, Problem> {
        let mut reader = query.reader();
        let a_time =
            "must be an RFC 3339 instant such as 2026-11-22T04:00:00Z, with `+` sent as %2B";
        let a_name = "must have 1 to 64 printable ASCII characters";
        let filter = PaymentFilter {
            status: reader.parse("status", "must be a payment status", status),
            merchant_reference: reader.parse(
                "merchant_reference",
                "must be 1 to 64 of A-Z a-z 0-9 . _ -",
                |text| Some(text.parse::<MerchantReference>().ok()?.to_string()),
            ),
            alipay_trans_id: reader.parse("alipay_trans_id", a_name, name),
            store_id: reader.parse("store_id", a_name, name),
            terminal_id: reader.parse("terminal_id", a_name, name),
            created_from: reader.parse("created_from", a_time, instant),
            created_to: reader.parse("created_to", a_time, instant),
        };
        let Paging { after, limit } = Paging::read(reader)?;
        Ok(Self {
            filter,
            after,
            limit,
        })
    }
}

/// Where a page starts and how long it is: the last parameters of every list.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Paging<T> {
    /// After which item.
    pub(in crate::http) after: Option<T>,
    /// Most items.
    pub(in crate::http) limit: u16,
}

impl<T: From<Uuid>> Paging<T> {
    /// Reads `limit` and `cursor`, and ends the reading: every fault of the query is named.
    pub(in crate::http) fn read(mut reader: QueryReader<'_>) -> Result<Self, Problem> {
        let limit = reader.parse("limit", "must be a number from 1 to 200", limit);
        let cursor = reader.text("cursor");
        reader.finish()?;
        let after = cursor.map(|text| {
            let detail = "send `next_cursor` exactly as it was answered";
            cursor::decode(text).ok_or_else(|| Problem::new(Kind::InvalidCursor, detail))
        });
        Ok(Self {
            after: after.transpose()?,
            limit: limit.unwrap_or(DEFAULT_LIMIT),
        })
    }
}

fn status(text: &str) -> Option<String> {
    STATUSES.contains(&text).then(|| text.to_owned())
}

fn name(text: &str) -> Option<String> {
    let printable = text.bytes().all(|b| matches!(b, b' '..=b'~'));
    (printable && (1..=64).contains(&text.len())).then(|| text.to_owned())
}

/// An RFC 3339 instant.
pub(in crate::http) fn instant(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|at| at.to_utc())
}

fn limit(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
}
