//! What each service answers: from the outcome in the book, or from a fault, to the fields of the
//! business element (`docs/protocol.md` 4.2 to 4.8). Spellings are the defaults of 3.0.

use crate::{
    book::{CancelOutcome, PayOutcome, Refund, RefundOutcome, RefundStatus, Status, Trade},
    clock::{compact, spaced},
    fault::{Fault, LateAnswer},
    merchants::{Maintained, Standing, Status as Review},
    params::{Message, Refusal, Service},
    request::{Pay, Request},
    xml::{CDATA, Content, Fields},
};

/// Cents as `39.25`.
pub(crate) fn amount(minor: i64) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}

/// `852-****0001` for a Hong Kong wallet, `132****0001` for a mainland one.
fn login_id(trade: &Trade) -> String {
    let last = &trade.buyer_user_id[trade.buyer_user_id.len() - 4..];
    match trade.payment_inst {
        "ALIPAYCN" => format!("132****{last}"),
        _ => format!("852-****{last}"),
    }
}

fn fields<const N: usize>(fields: [(&'static str, &str); N]) -> Fields {
    fields
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
}

/// The answer to spot.pay; `waiting` is how it spells UNKNOW.
pub(crate) fn pay(outcome: &PayOutcome, waiting: &str) -> Content {
    let trade = match outcome {
        PayOutcome::Refused(code) => {
            return Content::Business(fields([("error", code), ("result_code", "FAILED")]));
        }
        PayOutcome::Trade { trade, .. } => trade,
    };
    Content::Business(match (trade.status, trade.paid_at) {
        (Status::TradeSuccess, Some(paid_at)) => fields([
            ("alipay_buyer_login_id", &login_id(trade)),
            ("alipay_buyer_user_id", &trade.buyer_user_id),
            ("alipay_pay_time", &compact(paid_at)),
            ("alipay_trans_id", &trade.alipay_trans_id),
            ("currency", &trade.currency),
            ("partner_trans_id", &trade.partner_trans_id),
            ("payment_inst", trade.payment_inst),
            ("result_code", "SUCCESS"),
            ("trans_amount", &amount(trade.amount_minor)),
        ]),
        // The wallet is not named while the status is unknown.
        _ => fields([
            ("alipay_trans_id", &trade.alipay_trans_id),
            ("partner_trans_id", &trade.partner_trans_id),
            ("result_code", waiting),
        ]),
    })
}

/// The answer to overseas.query.
pub(crate) fn query(trade: Option<&Trade>, message: &Message) -> Content {
    let Some(trade) = trade else {
        return failure(Service::Query, message, "FAIL", Some("TRADE_NOT_EXIST"));
    };
    let mut answer = fields([
        ("alipay_buyer_login_id", &login_id(trade)),
        ("alipay_buyer_user_id", &trade.buyer_user_id),
        ("alipay_trans_id", &trade.alipay_trans_id),
        ("alipay_trans_status", trade.status.label()),
        ("currency", &trade.currency),
        ("out_trade_no", &trade.partner_trans_id),
        ("partner_trans_id", &trade.partner_trans_id),
        ("payment_inst", trade.payment_inst),
        ("result_code", "SUCCESS"),
        ("trans_amount", &amount(trade.amount_minor)),
    ]);
    if let Some(paid_at) = trade.paid_at {
        answer.insert("alipay_pay_time", compact(paid_at));
    }
    Content::Business(answer)
}

/// The answer to cancel.
pub(crate) fn cancel(outcome: &CancelOutcome, message: &Message) -> Content {
    let done = |action: Option<(&str, &str)>| {
        let mut answer = fields([
            (
                "out_trade_no",
                message.get("out_trade_no").unwrap_or_default(),
            ),
            ("result_code", "SUCCESS"),
            ("retry_flag", "N"),
        ]);
        if let Some((action, trade_no)) = action {
            answer.insert("action", action.to_owned());
            answer.insert("trade_no", trade_no.to_owned());
        }
        Content::Business(answer)
    };
    match outcome {
        CancelOutcome::NeverCreated => done(None),
        CancelOutcome::Closed { trade_no, .. } => done(Some(("close", trade_no))),
        CancelOutcome::Refunded { trade_no, .. } => done(Some(("refund", trade_no))),
        CancelOutcome::Refused(code) => failure(Service::Cancel, message, "FAIL", Some(code)),
    }
}

/// The answer to spot.refund. A repeated request is told what has become of the refund.
pub(crate) fn refund(outcome: &RefundOutcome, message: &Message) -> Content {
    match outcome {
        RefundOutcome::Refused(code) => failure(Service::Refund, message, "FAIL", Some(code)),
        RefundOutcome::Accepted { refund, .. }
            if matches!(refund.status, RefundStatus::Failed | RefundStatus::Canceled) =>
        {
            failure(
                Service::Refund,
                message,
                "FAIL",
                refund.error_code.as_deref(),
            )
        }
        RefundOutcome::Accepted {
            refund,
            alipay_trans_id,
            ..
        } => Content::Business(fields([
            ("alipay_trans_id", alipay_trans_id),
            ("currency", &refund.currency),
            ("partner_refund_id", &refund.partner_refund_id),
            ("partner_trans_id", &refund.partner_trans_id),
            ("refund_amount", &amount(refund.amount_minor)),
            ("result_code", "SUCCESS"),
        ])),
    }
}

/// The answer to refund.query; `alipay_trans_id` is `None` when there is no such payment.
pub(crate) fn refund_query(
    alipay_trans_id: Option<&str>,
    refund: Option<&Refund>,
    message: &Message,
) -> Content {
    let (Some(trade_no), Some(refund)) = (alipay_trans_id, refund) else {
        let code = if alipay_trans_id.is_none() {
            "TRADE_NOT_EXIST"
        } else {
            "NOT_FOUND"
        };
        return failure(Service::RefundQuery, message, code, None);
    };
    let mut answer = fields([
        ("gmt_create", &spaced(refund.accepted_at)),
        ("out_return_no", &refund.partner_refund_id),
        ("out_trade_no", &refund.partner_trans_id),
        ("refund_result_code", refund.status.label()),
        ("response_code", "SUCCESS"),
        ("trade_no", trade_no),
    ]);
    if let Some(code) = &refund.error_code {
        answer.insert("refund_error_code", code.clone().into_owned());
    }
    Content::Business(answer)
}

/// The answer to offline.maintain: accepted, under review.
pub(crate) fn maintain(outcome: Maintained) -> Content {
    let refusal = |code: &str| Content::Refusal(code.to_owned());
    match outcome {
        Maintained::Accepted => Content::Business(fields([("result_code", "SUCCESS")])),
        Maintained::Duplicate => refusal("DUPLICATE_REQUEST"),
        Maintained::DriversAreFixed => refusal("PARAM_ILLEGAL"),
    }
}

/// As [`pay_effect`], for a registration.
pub(crate) fn maintain_effect(outcome: Maintained) -> &'static str {
    match outcome {
        Maintained::Accepted => "registered",
        Maintained::Duplicate | Maintained::DriversAreFixed => "none",
    }
}

/// The answer to maintain.queryStatus.
pub(crate) fn query_status(status: Option<&Review<'_>>, message: &Message) -> Content {
    let Some(review) = status else {
        return Content::Refusal("DATA_NOT_EXIST".to_owned());
    };
    let mut answer: Fields = review.data.iter().cloned().collect();
    answer.insert(
        "partner",
        message.get("partner").unwrap_or_default().to_owned(),
    );
    answer.insert("payment_method", "INSTORE_PAYMENT".to_owned());
    answer.insert("status", review.standing.label().to_owned());
    let store_status = match review.standing {
        Standing::Success | Standing::ModificationReview => "ACTIVATED",
        Standing::UnderReview | Standing::Failed => "INACTIVATE",
    };
    answer.insert("store_status", store_status.to_owned());
    if let Some(reason) = review.reason {
        answer.insert("reject_reason", reason.to_owned());
    }
    Content::Business(answer)
}

/// What a fault answers instead of the book; `None` when the book's answer stands.
pub(crate) fn instead(fault: &Fault, service: Service, message: &Message) -> Option<Content> {
    let partner_trans_id = message.get("partner_trans_id").unwrap_or_default();
    match fault {
        Fault::SystemErrorBeforeEffect | Fault::SystemErrorAfterEffect => {
            Some(system_error(service, message))
        }
        Fault::Result { code, error } | Fault::ResultAfterEffect { code, error } => {
            Some(failure(service, message, code, error.as_deref()))
        }
        Fault::LateEffect { answer, .. } => late(*answer, service, message),
        Fault::RefundRefuse { code } => Some(failure(service, message, "FAIL", Some(code))),
        Fault::AccessError { code } => Some(Content::Refusal(code.clone().into_owned())),
        Fault::NotExist if service == Service::RefundQuery => {
            Some(failure(service, message, "NOT_FOUND", None))
        }
        Fault::NotExist if service == Service::QueryStatus => {
            Some(Content::Refusal("DATA_NOT_EXIST".to_owned()))
        }
        Fault::NotExist => Some(failure(service, message, "FAIL", Some("TRADE_NOT_EXIST"))),
        Fault::CancelFail { code, retry_flag } => {
            let mut content = failure(service, message, "FAIL", Some(code));
            if let Content::Business(answer) = &mut content {
                answer.insert("retry_flag", retry_flag.clone().into_owned());
            }
            Some(content)
        }
        Fault::CommentSuccess => Some(Content::Business(fields([(
            "partner_trans_id",
            partner_trans_id,
        )]))),
        Fault::CdataSuccess => Some(Content::Business(fields([
            ("memo", CDATA),
            ("partner_trans_id", partner_trans_id),
        ]))),
        Fault::ForgedSuccess => Some(Content::Business(forged(service, message))),
        _ => None,
    }
}

/// What is answered before the effect. A dropped answer is never rendered.
fn late(answer: LateAnswer, service: Service, message: &Message) -> Option<Content> {
    let success = |retry_flag: &str| {
        let mut answer = forged(service, message);
        if service == Service::Cancel {
            answer.insert("action", "close".to_owned());
            answer.insert("retry_flag", retry_flag.to_owned());
        }
        Content::Business(answer)
    };
    match answer {
        LateAnswer::Unknown => Some(failure(service, message, "UNKNOWN", None)),
        LateAnswer::SystemError => Some(system_error(service, message)),
        LateAnswer::Nothing => None,
        LateAnswer::RetrySuccess => Some(success("Y")),
        LateAnswer::Success => Some(success("N")),
    }
}

fn system_error(service: Service, message: &Message) -> Content {
    match service {
        Service::Pay => failure(service, message, "FAILED", Some("SYSTEM_ERROR")),
        Service::Query | Service::Cancel | Service::Refund => {
            failure(service, message, "FAIL", Some("SYSTEM_ERROR"))
        }
        Service::RefundQuery | Service::Maintain | Service::QueryStatus => {
            Content::Refusal("SYSTEM_ERROR".to_owned())
        }
    }
}

/// A fault of a business parameter, which says what is wrong.
pub(crate) fn parameter_fault(service: Service, message: &Message, refusal: &Refusal) -> Content {
    let (result, error) = match service {
        Service::RefundQuery => (refusal.code.as_ref(), None),
        // Its status is that of the registration.
        Service::QueryStatus => ("", Some(refusal.code.as_ref())),
        Service::Pay | Service::Query | Service::Cancel | Service::Refund | Service::Maintain => {
            ("FAILED", Some(refusal.code.as_ref()))
        }
    };
    let mut content = failure(service, message, result, error);
    if let Content::Business(answer) = &mut content {
        answer.insert("detail_error_des", refusal.reason.clone());
    }
    content
}

/// An unsuccessful business answer in the shape of `service`.
fn failure(service: Service, message: &Message, result: &str, error: Option<&str>) -> Content {
    let mut answer = Fields::new();
    let mut echo = |name: &'static str, from: &str| {
        answer.insert(name, message.get(from).unwrap_or_default().to_owned());
    };
    match service {
        Service::Query => {
            echo("out_trade_no", "partner_trans_id");
            echo("partner_trans_id", "partner_trans_id");
        }
        Service::Cancel => echo("out_trade_no", "out_trade_no"),
        Service::RefundQuery => {
            echo("out_trade_no", "out_trade_no");
            echo("out_return_no", "out_return_no");
        }
        Service::QueryStatus => {
            echo("secondary_merchant_id", "secondary_merchant_id");
            echo("store_id", "store_id");
        }
        Service::Pay | Service::Refund | Service::Maintain => {}
    }
    let (result_field, error_field) = match service {
        Service::RefundQuery => ("response_code", "refund_error_code"),
        Service::Query | Service::Cancel => ("result_code", "detail_error_code"),
        Service::QueryStatus => ("status", "error"),
        _ => ("result_code", "error"),
    };
    answer.insert(result_field, result.to_owned());
    if let Some(error) = error {
        answer.insert(error_field, error.to_owned());
        if error_field == "detail_error_code" {
            answer.insert("detail_error_des", description(error).to_owned());
        }
    }
    if service == Service::Cancel {
        let again = error == Some("SYSTEM_ERROR");
        answer.insert("retry_flag", if again { "Y" } else { "N" }.to_owned());
    }
    Content::Business(answer)
}

/// `detail_error_des` is Chinese, which is where a wrong charset shows.
fn description(code: &str) -> &'static str {
    match code {
        "TRADE_NOT_EXIST" => "交易不存在",
        "SYSTEM_ERROR" => "系统错误",
        "TRADE_STATUS_ERROR" => "交易状态不合法",
        _ => "交易失败",
    }
}

/// What a liar would answer: everything went well.
pub(crate) fn forged(service: Service, message: &Message) -> Fields {
    let param = |name: &str| message.get(name).unwrap_or_default();
    let paid = [
        ("alipay_buyer_login_id", "852-****0000"),
        ("alipay_buyer_user_id", "2088000000000000"),
        ("alipay_pay_time", "20260101000000"),
        ("alipay_trans_id", "2026010122001400000000000000"),
        ("currency", "HKD"),
        ("partner_trans_id", param("partner_trans_id")),
        ("payment_inst", "ALIPAYHK"),
        ("result_code", "SUCCESS"),
    ];
    let mut answer = fields(paid);
    match service {
        Service::Pay => {
            answer.insert("trans_amount", param("trans_amount").to_owned());
            answer
        }
        Service::Query => {
            answer.insert("alipay_trans_status", "TRADE_SUCCESS".to_owned());
            answer
        }
        Service::Cancel => fields([
            ("out_trade_no", param("out_trade_no")),
            ("result_code", "SUCCESS"),
            ("retry_flag", "N"),
        ]),
        Service::Refund => fields([
            ("currency", "HKD"),
            ("partner_refund_id", param("partner_refund_id")),
            ("partner_trans_id", param("partner_trans_id")),
            ("refund_amount", param("refund_amount")),
            ("result_code", "SUCCESS"),
        ]),
        Service::RefundQuery => fields([
            ("out_return_no", param("out_return_no")),
            ("out_trade_no", param("out_trade_no")),
            ("refund_result_code", "SUCCESS"),
            ("response_code", "SUCCESS"),
        ]),
        Service::Maintain => fields([("result_code", "SUCCESS")]),
        Service::QueryStatus => fields([
            ("secondary_merchant_id", param("secondary_merchant_id")),
            ("status", "SUCCESS"),
            ("store_id", param("store_id")),
        ]),
    }
}

/// What a request did, for the request log.
pub(crate) fn pay_effect(outcome: &PayOutcome) -> &'static str {
    match outcome {
        PayOutcome::Trade {
            trade,
            created: true,
        } if trade.paid_at.is_some() => "paid",
        PayOutcome::Trade { created: true, .. } => "created",
        PayOutcome::Trade { created: false, .. } | PayOutcome::Refused(_) => "none",
    }
}

/// As [`pay_effect`], for a cancel.
pub(crate) fn cancel_effect(outcome: &CancelOutcome) -> &'static str {
    match outcome {
        CancelOutcome::Closed { now: true, .. } => "closed",
        CancelOutcome::Refunded { now: true, .. } => "refunded",
        _ => "none",
    }
}

/// As [`pay_effect`], for a refund.
pub(crate) fn refund_effect(outcome: &RefundOutcome) -> &'static str {
    match outcome {
        RefundOutcome::Accepted {
            refund,
            created: true,
            ..
        } => {
            if refund.finished_at.is_some() {
                "refunded"
            } else {
                "accepted"
            }
        }
        _ => "none",
    }
}

/// The refund that a request is about.
pub(crate) fn refund_of(request: &Request) -> Option<&str> {
    match request {
        Request::Refund(refund) => Some(&refund.partner_refund_id),
        Request::RefundQuery { out_return_no, .. } => Some(out_return_no),
        Request::Pay(_)
        | Request::Query { .. }
        | Request::Cancel { .. }
        | Request::Maintain { .. }
        | Request::QueryStatus { .. } => None,
    }
}

/// The payment that a request is about.
pub(crate) fn payment_of(request: &Request) -> Option<&str> {
    match request {
        Request::Pay(Pay {
            partner_trans_id, ..
        })
        | Request::Query {
            partner_trans_id, ..
        }
        | Request::Cancel {
            out_trade_no: partner_trans_id,
            ..
        }
        | Request::RefundQuery {
            out_trade_no: partner_trans_id,
            ..
        } => Some(partner_trans_id),
        Request::Refund(refund) => Some(&refund.partner_trans_id),
        Request::Maintain { .. } | Request::QueryStatus { .. } => None,
    }
}
