//! The body of a problem.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Attempted,
    kind::{Kind, Retryable},
    without_codes,
};
use crate::app::error::Alternative;

/// A refusal (RFC 9457). Every status of 400 and above has this body, whatever refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// Identifies the kind for ever: `urn:alipayhk-gateway:problem:` and the code with dashes. It
    /// is a name, not an address.
    #[serde(rename = "type")]
    #[schema(
        format = "uri",
        example = "urn:alipayhk-gateway:problem:validation-failed"
    )]
    pub problem_type: String,
    /// The kind in words; the same for every problem of the kind.
    #[schema(example = "The request has faults")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 422, minimum = 400, maximum = 599)]
    pub status: u16,
    /// What is wrong with this request. Never repeats a value that was sent.
    #[schema(example = "2 faults, listed in `errors`")]
    pub detail: String,
    /// The path that was asked.
    #[schema(format = "uri-reference", example = "/v1/payments")]
    pub instance: String,
    /// The kind for programs. More codes may be added.
    #[schema(
        example = "validation_failed",
        extensions(("x-extensible-enum" = json!(Kind::ALL.map(Kind::code).as_slice())))
    )]
    pub code: &'static str,
    /// Whether Alipay was asked to move money because of this request: `false`, `true` or
    /// `unknown`. A string, since it has three values.
    #[schema(
        example = "false",
        extensions(("x-extensible-enum" = json!(Attempted::ALL.map(Attempted::as_str))))
    )]
    pub attempted: &'static str,
    /// Whether the same request may succeed later, and with which idempotency key: `same_key`,
    /// `new_key` or `no`.
    #[schema(
        example = "same_key",
        extensions(("x-extensible-enum" = json!(Retryable::ALL.map(Retryable::as_str))))
    )]
    pub retryable: &'static str,
    /// The value of the `X-Request-Id` header.
    #[schema(example = "0199b3c1d2e3f4a5b6c7d8e9f0a1b2c3")]
    pub request_id: String,
    /// The payment that answers the question, where one exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub payment_id: Option<String>,
    /// The refund that answers the question, where one exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "ref_0199b3c1d2e37f4a8b6c7d8e9f0a1b2d")]
    pub refund_id: Option<String>,
    /// What to do in place of what was asked: `refund` or `wait`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "refund", extensions(("x-extensible-enum" = json!([Alternative::Refund, Alternative::Wait].map(Alternative::as_str)))))]
    pub alternative: Option<&'static str>,
    /// Faults of single fields, all of them; absent where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldFault>,
}

/// One fault of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldFault {
    /// Where in the body, as a JSON Pointer (RFC 6901). Absent for faults of the query string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "/amount/value")]
    pub pointer: Option<String>,
    /// Which query parameter. Absent for faults of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "limit")]
    pub parameter: Option<String>,
    /// What is wrong, for programs. More codes may be added.
    #[schema(example = "out_of_range")]
    pub code: &'static str,
    /// What is wrong, for people. Never repeats the value.
    #[schema(example = "must be an integer from 1 to 10000000000")]
    pub detail: String,
}

impl FieldFault {
    pub(super) fn without_codes(&self) -> Self {
        let clean = |text: &String| without_codes(text).into_owned();
        Self {
            pointer: self.pointer.as_ref().map(clean),
            parameter: self.parameter.as_ref().map(clean),
            code: self.code,
            detail: clean(&self.detail),
        }
    }
}
