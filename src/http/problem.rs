//! Problem documents (RFC 9457) and the only status table.
//!
//! Handlers and extractors return a [`Problem`]; [`super::trace`] writes its body, because only
//! there the request id and the path are known. Details never repeat a value that the caller sent,
//! since any of them may be a scanned code.
//!
//! | status | the caller should |
//! |---|---|
//! | 400, 404–415, 422 | correct the request; nothing was attempted and no key was used up |
//! | 401, 403 | present a key that may do this |
//! | 409 | look at `payment_id`: the money question is answered there |
//! | 500, 503 | repeat with the same key: either nothing was attempted or the state is safely stored |

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app,
    domain::{id::PaymentId, merchant::Scope},
};

/// The media type of every refusal.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What kind of refusal; one row of the status table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The body is not JSON, repeats a member, or is not an object.
    MalformedJson,
    /// The body could not be read to its end.
    UnreadableBody,
    /// The `Idempotency-Key` header is missing.
    IdempotencyKeyRequired,
    /// The `Idempotency-Key` header is not 1–255 visible characters.
    IdempotencyKeyInvalid,
    /// `Prefer: wait=` is not a number of seconds from 0 to 60.
    PreferInvalid,
    /// A query parameter is unknown, repeated or has a wrong value.
    InvalidQuery,
    /// The cursor was not made by this API.
    InvalidCursor,
    /// No API key was presented.
    AuthenticationRequired,
    /// No live API key matches what was presented.
    InvalidApiKey,
    /// The key lacks a scope.
    InsufficientScope,
    /// The path leads nowhere.
    RouteNotFound,
    /// No such payment, or another merchant's.
    PaymentNotFound,
    /// The path does not know the method.
    MethodNotAllowed,
    /// The `Accept` header takes no JSON.
    NotAcceptable,
    /// The body did not arrive in time.
    RequestTimeout,
    /// Another payment has the merchant reference.
    MerchantReferenceConflict,
    /// The same code, amount and till were just used.
    SuspectedDuplicate,
    /// The body is larger than 64 KiB.
    BodyTooLarge,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// One or more fields are wrong.
    ValidationFailed,
    /// The idempotency key belongs to another request.
    IdempotencyKeyReused,
    /// A fault of ours.
    InternalError,
    /// The database cannot be reached.
    ServiceUnavailable,
    /// This replica must not get requests.
    NotReady,
}

/// What to do with the idempotency key when trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retryable {
    SameKey,
    NewKey,
    No,
}

/// One row: status, code, title, retry advice.
type Row = (StatusCode, &'static str, &'static str, Retryable);

impl Kind {
    /// Every kind, in the order of the table.
    pub const ALL: [Self; 24] = [
        Self::MalformedJson,
        Self::UnreadableBody,
        Self::IdempotencyKeyRequired,
        Self::IdempotencyKeyInvalid,
        Self::PreferInvalid,
        Self::InvalidQuery,
        Self::InvalidCursor,
        Self::AuthenticationRequired,
        Self::InvalidApiKey,
        Self::InsufficientScope,
        Self::RouteNotFound,
        Self::PaymentNotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::RequestTimeout,
        Self::MerchantReferenceConflict,
        Self::SuspectedDuplicate,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::ValidationFailed,
        Self::IdempotencyKeyReused,
        Self::InternalError,
        Self::ServiceUnavailable,
        Self::NotReady,
    ];

    /// The status table (`design/api.md` 5).
    #[rustfmt::skip]
    const fn row(self) -> Row {
        use Retryable::{NewKey, No, SameKey};
        use StatusCode as S;
        match self {
            Self::MalformedJson => (S::BAD_REQUEST, "malformed_json", "The body is not a JSON object", SameKey),
            Self::UnreadableBody => (S::BAD_REQUEST, "unreadable_body", "The body could not be read", SameKey),
            Self::IdempotencyKeyRequired => (S::BAD_REQUEST, "idempotency_key_required", "The Idempotency-Key header is missing", NewKey),
            Self::IdempotencyKeyInvalid => (S::BAD_REQUEST, "idempotency_key_invalid", "The Idempotency-Key header is not usable", NewKey),
            Self::PreferInvalid => (S::BAD_REQUEST, "prefer_invalid", "The Prefer header is not usable", SameKey),
            Self::InvalidQuery => (S::BAD_REQUEST, "invalid_query", "The query string has faults", SameKey),
            Self::InvalidCursor => (S::BAD_REQUEST, "invalid_cursor", "The cursor was not made by this API", No),
            Self::AuthenticationRequired => (S::UNAUTHORIZED, "authentication_required", "An API key is required", SameKey),
            Self::InvalidApiKey => (S::UNAUTHORIZED, "invalid_api_key", "The API key is not valid", SameKey),
            Self::InsufficientScope => (S::FORBIDDEN, "insufficient_scope", "The API key lacks a scope", SameKey),
            Self::RouteNotFound => (S::NOT_FOUND, "route_not_found", "No such path", No),
            Self::PaymentNotFound => (S::NOT_FOUND, "payment_not_found", "No such payment", No),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed", "The path does not know the method", No),
            Self::NotAcceptable => (S::NOT_ACCEPTABLE, "not_acceptable", "Only JSON can be answered", SameKey),
            Self::RequestTimeout => (S::REQUEST_TIMEOUT, "request_timeout", "The body did not arrive in time", SameKey),
            Self::MerchantReferenceConflict => (S::CONFLICT, "merchant_reference_conflict", "The merchant reference belongs to another payment", No),
            Self::SuspectedDuplicate => (S::CONFLICT, "suspected_duplicate", "This looks like a payment that was just made", SameKey),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large", SameKey),
            Self::UnsupportedMediaType => (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be JSON", SameKey),
            Self::ValidationFailed => (S::UNPROCESSABLE_ENTITY, "validation_failed", "The request has faults", SameKey),
            Self::IdempotencyKeyReused => (S::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "The idempotency key belongs to another request", NewKey),
            Self::InternalError => (S::INTERNAL_SERVER_ERROR, "internal_error", "A fault of the gateway", SameKey),
            Self::ServiceUnavailable => (S::SERVICE_UNAVAILABLE, "service_unavailable", "The gateway cannot work at the moment", SameKey),
            Self::NotReady => (S::SERVICE_UNAVAILABLE, "not_ready", "This replica is not ready", SameKey),
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        self.row().0
    }

    /// The stable code.
    pub const fn code(self) -> &'static str {
        self.row().1
    }

    /// The title: the same for every problem of the kind.
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// The stable type URI: `urn:alipayhk-gateway:problem:` and the code with dashes.
    pub fn type_uri(self) -> String {
        let dashed = self.code().replace('_', "-");
        format!("urn:alipayhk-gateway:problem:{dashed}")
    }
}

/// Whether Alipay was asked to move money because of this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempted {
    No,
    Unknown,
}

/// One fault of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldFault {
    /// Where in the body, as a JSON Pointer (RFC 6901). Absent for faults of the query string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/amount/value")]
    pub pointer: Option<String>,
    /// Which query parameter. Absent for faults of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "limit")]
    pub parameter: Option<String>,
    /// What is wrong, for programs. More codes may be added.
    #[schema(example = "out_of_range")]
    pub code: &'static str,
    /// What is wrong, for people. Never repeats the value.
    #[schema(example = "must be an integer from 1 to 10000000000")]
    pub detail: String,
}

/// A refusal on its way out.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Which row of the status table.
    pub kind: Kind,
    detail: String,
    attempted: Attempted,
    payment_id: Option<PaymentId>,
    errors: Vec<FieldFault>,
    authenticate: Option<HeaderValue>,
}

impl Problem {
    /// A refusal; `detail` says what about *this* request is wrong, without repeating its values.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            attempted: Attempted::No,
            payment_id: None,
            errors: Vec::new(),
            authenticate: None,
        }
    }

    /// Adds the faults of single fields.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldFault>) -> Self {
        self.errors = errors;
        self
    }

    /// Adds the payment that answers the caller's question.
    #[must_use]
    pub fn about(mut self, payment_id: PaymentId) -> Self {
        self.payment_id = Some(payment_id);
        self
    }

    /// No API key was presented.
    pub fn authentication_required() -> Self {
        let mut problem = Self::new(
            Kind::AuthenticationRequired,
            "send the header `Authorization: Bearer <api key>`",
        );
        problem.authenticate = Some(HeaderValue::from_static(
            "Bearer realm=\"alipayhk-gateway\"",
        ));
        problem
    }

    /// No live API key matches.
    pub fn invalid_api_key() -> Self {
        let mut problem = Self::new(
            Kind::InvalidApiKey,
            "the presented API key is unknown or was revoked",
        );
        problem.authenticate = Some(HeaderValue::from_static(
            "Bearer realm=\"alipayhk-gateway\", error=\"invalid_token\"",
        ));
        problem
    }

    /// The key is valid but may not do this.
    pub fn insufficient_scope(scope: Scope) -> Self {
        let name = scope.as_str();
        let mut problem = Self::new(
            Kind::InsufficientScope,
            format!("this needs an API key with the scope `{name}`"),
        );
        let challenge = format!(
            "Bearer realm=\"alipayhk-gateway\", error=\"insufficient_scope\", scope=\"{name}\""
        );
        problem.authenticate = HeaderValue::try_from(challenge).ok();
        problem
    }

    /// No such payment: word for word the same for another merchant's (`design/correctness.md` Q7).
    pub fn payment_not_found() -> Self {
        Self::new(Kind::PaymentNotFound, "there is no payment with this id")
    }

    /// A handler panicked. What it had done is not known here; a repeat with the same key finds
    /// the payment if there is one (`design/correctness.md` Q21).
    pub fn panicked() -> Self {
        let mut problem = Self::new(
            Kind::InternalError,
            "an unexpected fault; repeat with the same idempotency key",
        );
        problem.attempted = Attempted::Unknown;
        problem
    }

    /// A refusal that some library answered as plain text.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => {
                Self::new(Kind::RouteNotFound, "there is nothing at this path")
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                Self::new(Kind::MethodNotAllowed, "see the Allow header")
            }
            StatusCode::PAYLOAD_TOO_LARGE => Self::body_too_large(),
            _ => Self::panicked(),
        }
    }

    /// The body is over the limit.
    pub fn body_too_large() -> Self {
        Self::new(Kind::BodyTooLarge, "a body may have at most 64 KiB")
    }

    /// Field faults of the body; all of them.
    pub fn validation(errors: Vec<FieldFault>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("1 fault: {}", one.detail),
            many => format!("{} faults, listed in `errors`", many.len()),
        };
        Self::new(Kind::ValidationFailed, detail).with_errors(errors)
    }

    /// The body, now that the request id and the path are known.
    pub fn document(&self, request_id: &str, instance: &str) -> ProblemDocument {
        let (status, code, title, retryable) = self.kind.row();
        ProblemDocument {
            problem_type: self.kind.type_uri(),
            title,
            status: status.as_u16(),
            detail: self.detail.clone(),
            instance: instance.to_owned(),
            code,
            attempted: match self.attempted {
                Attempted::No => "false",
                Attempted::Unknown => "unknown",
            },
            retryable: match retryable {
                Retryable::SameKey => "same_key",
                Retryable::NewKey => "new_key",
                Retryable::No => "no",
            },
            request_id: request_id.to_owned(),
            payment_id: self.payment_id.map(|id| id.to_string()),
            errors: self.errors.clone(),
        }
    }
}

impl IntoResponse for Problem {
    /// A response without a body that carries the problem as an extension, for
    /// [`super::trace::observe`] to write.
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        if let Some(challenge) = self.authenticate.clone() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.kind.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<app::error::Error> for Problem {
    fn from(error: app::error::Error) -> Self {
        use app::error::Error as E;
        match error {
            E::IdempotencyKeyReused { payment_id, fields } => {
                let detail = format!(
                    "the key was used for a payment that differs in: {}",
                    fields.join(", ")
                );
                let errors = fields.iter().map(|field| differing(field)).collect();
                Self::new(Kind::IdempotencyKeyReused, detail)
                    .with_errors(errors)
                    .about(payment_id)
            }
            E::MerchantReferenceConflict { payment_id } => Self::new(
                Kind::MerchantReferenceConflict,
                "another payment has this merchant_reference; read it before charging again",
            )
            .about(payment_id),
            E::SuspectedDuplicate { payment_id } => Self::new(
                Kind::SuspectedDuplicate,
                "the same code, amount and terminal were used within the last 60 seconds; \
                 send \"allow_duplicate\": true to charge nevertheless",
            )
            .about(payment_id),
            E::Unavailable(source) => {
                tracing::warn!(error = %Chain(&*source), "the database cannot be reached");
                Self::new(
                    Kind::ServiceUnavailable,
                    "nothing was attempted; repeat with the same idempotency key",
                )
            }
            E::Internal(source) => {
                tracing::error!(error = %Chain(&*source), "a request met an internal fault");
                Self::new(
                    Kind::InternalError,
                    "nothing was attempted; repeat with the same idempotency key",
                )
            }
        }
    }
}

fn differing(field: &str) -> FieldFault {
    FieldFault {
        pointer: Some(format!("/{field}")),
        parameter: None,
        code: "differs",
        detail: "differs from the request that used the key first".to_owned(),
    }
}

/// An error with its sources, written once, at the edge.
struct Chain<'e>(&'e (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// A refusal (RFC 9457). Every status of 400 and above has this body, whatever refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
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
    #[schema(example = "validation_failed")]
    pub code: &'static str,
    /// Whether Alipay was asked to move money because of this request: `false`, `true` or
    /// `unknown`. A string, since it has three values.
    #[schema(example = "false")]
    pub attempted: &'static str,
    /// Whether the same request may succeed later, and with which idempotency key: `same_key`,
    /// `new_key` or `no`.
    #[schema(example = "same_key")]
    pub retryable: &'static str,
    /// The value of the `X-Request-Id` header.
    #[schema(example = "0199b3c1d2e3f4a5b6c7d8e9f0a1b2c3")]
    pub request_id: String,
    /// The payment that answers the question, where one exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "pay_0199b3c1d2e37f4a8b6c7d8e9f0a1b2c")]
    pub payment_id: Option<String>,
    /// Faults of single fields, all of them; absent where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldFault>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_every_refusal_is_an_error_status() {
        let codes: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|k| k.code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            let status = kind.status();
            assert!(
                status.is_client_error() || status.is_server_error(),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_reused_key_names_the_fields_and_never_their_values() {
        let id = PaymentId::mint();
        let problem = Problem::from(app::error::Error::IdempotencyKeyReused {
            payment_id: id,
            fields: vec!["amount".to_owned(), "store_id".to_owned()],
        });
        let document = problem.document("r-1", "/v1/payments");
        assert_eq!(document.status, 422);
        assert_eq!(document.payment_id, Some(id.to_string()));
        let pointers: Vec<_> = document
            .errors
            .iter()
            .map(|e| e.pointer.as_deref())
            .collect();
        assert_eq!(pointers, [Some("/amount"), Some("/store_id")]);
    }

    #[test]
    fn nothing_is_attempted_when_the_database_is_away() {
        let problem = Problem::from(app::error::Error::Unavailable("refused".into()));
        let document = problem.document("r-1", "/v1/payments");
        assert_eq!((document.status, document.attempted), (503, "false"));
        assert!(
            !document.detail.contains("refused"),
            "sources stay in the log"
        );
    }
}
