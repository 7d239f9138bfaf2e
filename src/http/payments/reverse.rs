//! `POST /v1/payments/{id}/reverse`: undo a payment by the clock.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{location, view::PaymentView};
use crate::{
    app::{
        App,
        error::{Alternative, Error},
        refunds::{Fee, Reversal, ReversalAction},
    },
    domain::{follow_ups::schedule::Subject, id::PaymentId, refunds::refund::RefundMode},
    http::{
        answer::Resource,
        extract::{Caller, Id, PreferWait, Reverse, query::RawPairs},
        problem::Problem,
        refunds::{self, view::RefundView},
        refusals::{self, refusals},
        trace::RequestContext,
    },
};

/// How a payment is, was or would be undone.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Reversal)]
pub struct ReversalView {
    /// Always `reversal`.
    #[schema(example = "reversal")]
    pub object: &'static str,
    /// `cancel`: Alipay closes the trade, or returns the money of a paid one in full; `refund`: all
    /// that is left is refunded; `none`: it was undone before.
    #[schema(
        example = "cancel",
        extensions(("x-extensible-enum" = json!(ReversalAction::ALL.map(ReversalAction::as_str))))
    )]
    pub action: &'static str,
    /// Whether Alipay's fee comes back: `returned` with a cancel, `by_contract` with a refund.
    #[schema(
        example = "returned",
        extensions(("x-extensible-enum" = json!(Fee::ALL.map(Fee::as_str))))
    )]
    pub fee: &'static str,
    /// Whether this only says what would be done.
    #[schema(example = false)]
    pub preview: bool,
    /// The payment as it stands.
    pub payment: PaymentView,
    /// The refund that undoes it, where one does.
    #[schema(required = true)]
    pub refund: Option<RefundView>,
    /// How the refund is made, where `action` is `refund`, or how the one would be that follows a cancel
    /// which Alipay refuses: `sync` or `async`.
    #[schema(required = true, example = "async", extensions(("x-extensible-enum" = json!(RefundMode::NAMES))))]
    pub refund_mode: Option<&'static str>,
}

impl ReversalView {
    fn new(app: &App, reversal: &Reversal, preview: bool) -> Self {
        let refund = reversal.refund.as_ref();
        Self {
            object: "reversal",
            action: reversal.action.as_str(),
            fee: reversal.fee.as_str(),
            preview,
            payment: PaymentView::from(&reversal.payment),
            refund: refund.map(|refund| RefundView::new(refund, app.refund_outlook(refund))),
            refund_mode: reversal.refund_mode.map(RefundMode::as_str),
        }
    }
}

refusals! {
    ReverseRefusals:
        [Problem::payment_not_found()],
        refusals::begins_work(),
        refusals::needs_account(),
        [
            Error::CancelWindowClosed {
                payment_id: refusals::payment_id(),
                alternative: Alternative::Wait,
                was_sent: false,
            },
            refusals::above_the_limit_of_a_day(),
            Error::CancelRefused {
                payment_id: refusals::payment_id(),
                code: Some("REASON_TRADE_BEEN_FREEZEN".to_owned()),
                reason: "Alipay has frozen the payment.".to_owned(),
            },
            Error::CancelWithdrawn {
                payment_id: refusals::payment_id(),
            },
            Error::CancelMayAct {
                payment_id: refusals::payment_id(),
                retry_after_seconds: 42,
            },
            Error::RefundRefused {
                refund_id: refusals::refund_id(),
                code: "REASON_TRADE_BEEN_FREEZEN".to_owned(),
                message: "Alipay has frozen the payment.".to_owned(),
            },
            Error::InvalidState {
                subject: Subject::Payment(refusals::payment_id()),
                detail: "the payment failed, so there is nothing to undo",
            },
        ],
}

/// Undo a payment
///
/// Chooses by the clock and by the payment's state: a cancel while Alipay takes one (its fee comes
/// back for certain), a refund of all that is left after that. A cancel that Alipay refuses, as too late or
/// because the merchant's balance is too low, becomes an asynchronous refund, and what was accepted is kept
/// until it is done or refused for good, however long Alipay is silent. The two never both run, and asking again is safe: what is under way is shown,
/// and what is undone stays so. Where Alipay refuses the refund at once, nothing went back, and the answer
/// is `409 refund_refused` with the refund that failed. With `preview=true` the answer says what would be done now, and nothing
/// is changed.
///
/// It needs a key with both scopes, since it may do either.
#[utoipa::path(
    post,
    path = "/v1/payments/{id}/reverse",
    tag = "refunds",
    operation_id = "reverse_payment",
    security(("api_key" = ["payments:write", "refunds:write"])),
    params(
        ("id" = String, Path, description = "The payment's id.", example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c"),
        ("preview" = Option<bool>, Query, description = "`true`: only say what would be done.", example = true),
        ("Prefer" = Option<String>, Header, example = "wait=5",
            description = "`wait=N`: for how many seconds (0–60, default 5) the answer may be held while the reversal is under way."),
    ),
    responses(
        ReverseRefusals,
        (status = 200, description = "A preview, or the payment was undone before (`action: \"none\"`).", body = ReversalView,
            headers(("Preference-Applied" = String, description = "The `wait` that was asked for."))),
        (status = 201, description = "Done: the payment is canceled, or its refund has succeeded.", body = ReversalView,
            headers(
                ("Location" = String, description = "Where to read the refund, or, after a cancel, the payment."),
                ("Preference-Applied" = String, description = "The `wait` that was asked for."),
            )),
        (status = 202, description = "Under way; read what `Location` names until it ends.", body = ReversalView,
            headers(
                ("Location" = String, description = "Where to read the refund, or, during a cancel, the payment."),
                ("Retry-After" = i32, description = "After how many seconds to read it again."),
                ("Preference-Applied" = String, description = "The `wait` that was asked for."),
            )),
    ),
)]
pub async fn reverse(
    State(app): State<App>,
    Caller { principal, .. }: Caller<Reverse>,
    facts: RequestContext,
    Id(id): Id<PaymentId>,
    prefer: PreferWait,
    query: RawPairs,
) -> Result<Response, Problem> {
    let preview = read_preview(&query)?;
    facts.learn_payment(id);
    let reversal = if preview {
        app.preview_reversal(&principal, id).await?
    } else {
        app.reverse_payment(&principal, id, prefer.duration())
            .await?
    };
    let reversal = reversal.ok_or_else(Problem::payment_not_found)?;
    if let Some(refund) = &reversal.refund {
        facts.learn_refund(refund.id);
    }
    let view = ReversalView::new(&app, &reversal, preview);
    let resource = Resource::unversioned(view).prefer(prefer);
    Ok(if preview {
        resource.into_response()
    } else {
        answer(&reversal, resource)
    })
}

fn read_preview(query: &RawPairs) -> Result<bool, Problem> {
    let mut reader = query.reader();
    let preview = reader.parse("preview", "must be true or false", |text| text.parse().ok());
    reader.finish()?;
    Ok(preview.unwrap_or(false))
}

/// 201 for what is done, 202 for what is under way, 200 for what was done before.
fn answer(reversal: &Reversal, resource: Resource<ReversalView>) -> Response {
    let standing = reversal.standing();
    let was_done_before = standing.is_settled() && reversal.action == ReversalAction::None;
    let (done, resource) = if was_done_before {
        (StatusCode::OK, resource)
    } else {
        let place = match &reversal.refund {
            Some(refund) => refunds::location(refund.id),
            None => location(reversal.payment.id),
        };
        (StatusCode::CREATED, resource.located(&place))
    };
    resource.standing(standing, done).into_response()
}
