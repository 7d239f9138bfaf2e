//! What an operation refuses, stated beside its handler by `refusals!`. The OpenAPI document takes its
//! responses from there: each example is a document as the problem itself writes it.
//!
//! What every operation of a shape refuses (one with a body, one with an idempotency key) follows from
//! the shape, in [`super::openapi`].

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Response};

use super::problem::{FieldFault, MEDIA_TYPE, Problem};
use crate::{
    app::error::Error,
    domain::{
        follow_ups::schedule::Subject,
        id::{MerchantId, PaymentId, RefundId, RegistrationId},
        merchants::limits::{LimitExceeded, RefundLimit},
    },
};

/// The request id of examples.
const REQUEST_ID: &str = "0199b3c1d2e3f4a5b6c7d8e9f0a1b2c3";

/// Names the refusals of an operation, for the `responses` of its annotation: one or more lists of
/// `Problem`s, or of what becomes one.
macro_rules! refusals {
    ($name:ident: $($problems:expr),+ $(,)?) => {
        /// What the operation refuses besides what all of its shape do.
        pub(in crate::http) enum $name {}

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::Response>,
            > {
                let mut problems = Vec::new();
                $(problems.extend($problems.into_iter().map($crate::http::problem::Problem::from));)+
                $crate::http::refusals::responses(problems)
            }
        }
    };
}

pub(in crate::http) use refusals;

/// One response for each status.
pub(in crate::http) fn responses(problems: Vec<Problem>) -> BTreeMap<String, RefOr<Response>> {
    let of_status = by_status(problems).into_iter();
    of_status
        .map(|(status, problems)| {
            let response = serde_json::from_value(response(&problems));
            let response = response.expect("what is built here is a response");
            (status, RefOr::T(response))
        })
        .collect()
}

/// Problems by their status.
pub(in crate::http) fn by_status(problems: Vec<Problem>) -> BTreeMap<String, Vec<Problem>> {
    let mut by_status: BTreeMap<String, Vec<Problem>> = BTreeMap::new();
    for problem in problems {
        let status = problem.kind.status().as_u16().to_string();
        by_status.entry(status).or_default().push(problem);
    }
    by_status
}

/// The response for all refusals of a status, with a whole document of each as an example. Its path is
/// not known here.
pub(in crate::http) fn response(problems: &[Problem]) -> Value {
    let mut titles: Vec<&str> = problems
        .iter()
        .map(|problem| problem.kind.title())
        .collect();
    titles.dedup();
    let mut examples = Map::new();
    for problem in problems {
        let document = problem.document(REQUEST_ID, "");
        let example = json!({"summary": problem.kind.title(), "value": document});
        let code = problem.kind.code();
        let name = if examples.contains_key(code) {
            format!("{code}_in_doubt")
        } else {
            code.to_owned()
        };
        examples.insert(name, example);
    }
    json!({
        "description": format!("{}.", titles.join("; ")),
        "content": {MEDIA_TYPE: {
            "schema": {"$ref": "#/components/schemas/Problem"},
            "examples": examples,
        }},
    })
}

/// A body with one fault.
pub(in crate::http) fn invalid_member(pointer: &str, code: &'static str, detail: &str) -> Problem {
    Problem::validation(vec![FieldFault {
        pointer: Some(pointer.to_owned()),
        parameter: None,
        code,
        detail: detail.to_owned(),
    }])
}

/// A body without a member that it needs.
pub(in crate::http) fn missing_member(pointer: &str) -> Problem {
    invalid_member(pointer, "required", "must be given")
}

/// Of operations that give money back.
pub(in crate::http) fn above_the_limit_of_a_day() -> Error {
    Error::RefundLimitExceeded {
        payment_id: payment_id(),
        exceeded: LimitExceeded {
            limit: RefundLimit::PerDay,
            most_minor: 200_000,
            left_minor: 7850,
        },
    }
}

/// Of operations that take a place among the work under way.
pub(in crate::http) fn begins_work() -> [Error; 2] {
    [Error::MerchantBusy, Error::Overloaded]
}

/// Of operations that ask Alipay at once: refused while it does not answer.
pub(in crate::http) fn needs_alipay() -> [Error; 1] {
    [Error::UpstreamUnavailable {
        retry_after_seconds: 10,
    }]
}

/// Of operations that begin something new: refused also while Alipay refuses the account.
pub(in crate::http) fn needs_account() -> [Error; 2] {
    let [unavailable] = needs_alipay();
    let refused = Error::AccountRefused {
        code: "ILLEGAL_SIGN".to_owned(),
        retry_after_seconds: 10,
    };
    [unavailable, refused]
}

/// The merchant's account is missing in the configuration.
pub(in crate::http) fn not_configured() -> Error {
    Error::AccountNotConfigured {
        partner: String::new(),
    }
}

/// Alipay gave no usable answer.
pub(in crate::http) fn silence(subject: Subject) -> Error {
    let class = "timed_out";
    Error::UpstreamSilent { subject, class }
}

/// The payment of examples.
pub(in crate::http) fn payment_id() -> PaymentId {
    let id = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c";
    id.parse().expect("a payment's id")
}

/// The refund of examples.
pub(in crate::http) fn refund_id() -> RefundId {
    let id = "ref_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d";
    id.parse().expect("a refund's id")
}

/// The merchant of examples.
pub(in crate::http) fn merchant_id() -> MerchantId {
    let id = "mer_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d";
    id.parse().expect("a merchant's id")
}

/// The registration of examples.
pub(in crate::http) fn registration() -> Subject {
    let id = "reg_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c";
    let id: RegistrationId = id.parse().expect("a registration's id");
    Subject::Registration(id)
}
