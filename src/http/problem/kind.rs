//! The status table: the one place that knows a status code.

use axum::http::StatusCode;

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
    /// The access token is not valid.
    InvalidToken,
    /// The key lacks a scope.
    InsufficientScope,
    /// The operator's key where a merchant's is needed.
    MerchantKeyRequired,
    /// A merchant's key where the operator's is needed.
    OperatorRequired,
    /// The merchant takes no payments at present.
    MerchantDisabled,
    /// The path leads nowhere.
    RouteNotFound,
    /// No such payment, or another merchant's.
    PaymentNotFound,
    /// No such refund, or another merchant's.
    RefundNotFound,
    /// No such follow-up, or another merchant's, or its payment is settled.
    FollowUpNotFound,
    /// No such API key, or another merchant's.
    ApiKeyNotFound,
    /// No such reconciliation or difference, or none of this merchant.
    ReconciliationNotFound,
    /// No such merchant, or another one than the caller's.
    MerchantNotFound,
    /// No such store of the merchant.
    StoreNotFound,
    /// No such registration of a store, or another merchant's.
    RegistrationNotFound,
    /// The path does not know the method.
    MethodNotAllowed,
    /// The `Accept` header excludes the answer.
    NotAcceptable,
    /// The body did not arrive in time.
    RequestTimeout,
    /// Another payment has the merchant reference.
    MerchantReferenceConflict,
    /// The same code, amount and till were just used, or the same amount was just refunded.
    SuspectedDuplicate,
    /// A cancel by reference or key came first.
    CanceledBeforeCreation,
    /// The payment's state does not allow the request.
    InvalidState,
    /// Alipay no longer takes a cancel.
    CancelWindowClosed,
    /// Alipay refused the cancel for another reason than the time.
    CancelRefused,
    /// An operator ended the cancel.
    CancelWithdrawn,
    /// A cancel of the payment may act still.
    CancelMayAct,
    /// Alipay refused the refund by which the payment was to be undone.
    RefundRefused,
    /// The external id belongs to another merchant.
    MerchantExists,
    /// The merchant has another store of this id.
    StoreExists,
    /// The resource has another version than the caller knows.
    VersionMismatch,
    /// Other data of the store are under review.
    ReviewUnderWay,
    /// The body is larger than 64 KiB.
    BodyTooLarge,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// One or more fields are wrong.
    ValidationFailed,
    /// The idempotency key belongs to another request.
    IdempotencyKeyReused,
    /// More than is left to refund.
    AmountExceedsRefundable,
    /// The refund is above a limit of the merchant.
    RefundLimitExceeded,
    /// The API key's requests came too fast.
    RateLimited,
    /// The merchant has as much under way as it may.
    MerchantBusy,
    /// A fault of ours.
    InternalError,
    /// The database cannot be reached.
    ServiceUnavailable,
    /// The merchant's Alipay account is not configured here.
    AccountNotConfigured,
    /// This replica has as much under way as it takes.
    Overloaded,
    /// Alipay does not answer at present; it was not asked.
    UpstreamUnavailable,
    /// Alipay refuses whatever the account asks; it was not asked.
    AccountRefused,
    /// This replica must not get requests.
    NotReady,
    /// Alipay gave no usable answer; nothing was changed.
    UpstreamSilent,
}

/// What to do with the idempotency key when trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retryable {
    SameKey,
    NewKey,
    No,
}

impl Retryable {
    pub(super) const ALL: [Self; 3] = [Self::SameKey, Self::NewKey, Self::No];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::SameKey => "same_key",
            Self::NewKey => "new_key",
            Self::No => "no",
        }
    }
}

/// One row: status, code, title, retry advice.
type Row = (StatusCode, &'static str, &'static str, Retryable);

impl Kind {
    /// Every kind, in the order of the table.
    pub const ALL: [Self; 55] = [
        Self::MalformedJson,
        Self::UnreadableBody,
        Self::IdempotencyKeyRequired,
        Self::IdempotencyKeyInvalid,
        Self::PreferInvalid,
        Self::InvalidQuery,
        Self::InvalidCursor,
        Self::AuthenticationRequired,
        Self::InvalidApiKey,
        Self::InvalidToken,
        Self::InsufficientScope,
        Self::MerchantKeyRequired,
        Self::OperatorRequired,
        Self::MerchantDisabled,
        Self::RouteNotFound,
        Self::PaymentNotFound,
        Self::RefundNotFound,
        Self::FollowUpNotFound,
        Self::ApiKeyNotFound,
        Self::ReconciliationNotFound,
        Self::MerchantNotFound,
        Self::StoreNotFound,
        Self::RegistrationNotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::RequestTimeout,
        Self::MerchantReferenceConflict,
        Self::SuspectedDuplicate,
        Self::CanceledBeforeCreation,
        Self::InvalidState,
        Self::CancelWindowClosed,
        Self::CancelRefused,
        Self::CancelWithdrawn,
        Self::CancelMayAct,
        Self::RefundRefused,
        Self::MerchantExists,
        Self::StoreExists,
        Self::VersionMismatch,
        Self::ReviewUnderWay,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::ValidationFailed,
        Self::IdempotencyKeyReused,
        Self::AmountExceedsRefundable,
        Self::RefundLimitExceeded,
        Self::RateLimited,
        Self::MerchantBusy,
        Self::InternalError,
        Self::ServiceUnavailable,
        Self::AccountNotConfigured,
        Self::Overloaded,
        Self::UpstreamUnavailable,
        Self::AccountRefused,
        Self::NotReady,
        Self::UpstreamSilent,
    ];

    /// The whole status table.
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
            Self::InvalidToken => (S::UNAUTHORIZED, "invalid_token", "The access token is not valid", SameKey),
            Self::InsufficientScope => (S::FORBIDDEN, "insufficient_scope", "The API key lacks a scope", SameKey),
            Self::MerchantKeyRequired => (S::FORBIDDEN, "merchant_key_required", "A merchant's API key is required", SameKey),
            Self::OperatorRequired => (S::FORBIDDEN, "operator_required", "The operator's API key is required", SameKey),
            Self::MerchantDisabled => (S::FORBIDDEN, "merchant_disabled", "The merchant takes no payments", SameKey),
            Self::RouteNotFound => (S::NOT_FOUND, "route_not_found", "No such path", No),
            Self::PaymentNotFound => (S::NOT_FOUND, "payment_not_found", "No such payment", No),
            Self::RefundNotFound => (S::NOT_FOUND, "refund_not_found", "No such refund", No),
            Self::FollowUpNotFound => (S::NOT_FOUND, "follow_up_not_found", "No such follow-up", No),
            Self::ApiKeyNotFound => (S::NOT_FOUND, "api_key_not_found", "No such API key", No),
            Self::ReconciliationNotFound => (S::NOT_FOUND, "reconciliation_not_found", "No such reconciliation or difference", No),
            Self::MerchantNotFound => (S::NOT_FOUND, "merchant_not_found", "No such merchant", No),
            Self::StoreNotFound => (S::NOT_FOUND, "store_not_found", "No such store", No),
            Self::RegistrationNotFound => (S::NOT_FOUND, "registration_not_found", "No such registration", No),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed", "The path does not know the method", No),
            Self::NotAcceptable => (S::NOT_ACCEPTABLE, "not_acceptable", "The Accept header excludes the answer", SameKey),
            Self::RequestTimeout => (S::REQUEST_TIMEOUT, "request_timeout", "The body did not arrive in time", SameKey),
            Self::MerchantReferenceConflict => (S::CONFLICT, "merchant_reference_conflict", "The merchant reference belongs to something else", No),
            Self::SuspectedDuplicate => (S::CONFLICT, "suspected_duplicate", "This looks like something that was just made", SameKey),
            Self::CanceledBeforeCreation => (S::CONFLICT, "canceled_before_creation", "The order was canceled before it was created", No),
            Self::InvalidState => (S::CONFLICT, "invalid_state", "The state does not allow this", No),
            Self::CancelWindowClosed => (S::CONFLICT, "cancel_window_closed", "The payment can no longer be canceled", No),
            Self::CancelRefused => (S::CONFLICT, "cancel_refused", "Alipay refused the cancel", No),
            Self::CancelWithdrawn => (S::CONFLICT, "cancel_withdrawn", "An operator ended the cancel", No),
            Self::CancelMayAct => (S::CONFLICT, "cancel_may_act", "A cancel of the payment may still act", SameKey),
            Self::RefundRefused => (S::CONFLICT, "refund_refused", "Alipay refused the refund", No),
            Self::MerchantExists => (S::CONFLICT, "merchant_exists", "The external id belongs to another merchant", No),
            Self::StoreExists => (S::CONFLICT, "store_exists", "The merchant has a store of this id", No),
            Self::VersionMismatch => (S::PRECONDITION_FAILED, "version_mismatch", "The version is another one", No),
            Self::ReviewUnderWay => (S::CONFLICT, "review_under_way", "Other data are under review", SameKey),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large", SameKey),
            Self::UnsupportedMediaType => (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be JSON", SameKey),
            Self::ValidationFailed => (S::UNPROCESSABLE_ENTITY, "validation_failed", "The request has faults", SameKey),
            Self::IdempotencyKeyReused => (S::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "The idempotency key belongs to another request", NewKey),
            Self::AmountExceedsRefundable => (S::UNPROCESSABLE_ENTITY, "amount_exceeds_refundable", "The amount is more than what is left to refund", SameKey),
            Self::RefundLimitExceeded => (S::UNPROCESSABLE_ENTITY, "refund_limit_exceeded", "The refund is above the merchant's limit", SameKey),
            Self::RateLimited => (S::TOO_MANY_REQUESTS, "rate_limited", "Too many requests of this API key", SameKey),
            Self::MerchantBusy => (S::TOO_MANY_REQUESTS, "merchant_busy", "Too much of this merchant is under way", SameKey),
            Self::InternalError => (S::INTERNAL_SERVER_ERROR, "internal_error", "A fault of the gateway", SameKey),
            Self::ServiceUnavailable => (S::SERVICE_UNAVAILABLE, "service_unavailable", "The gateway cannot work at the moment", SameKey),
            Self::AccountNotConfigured => (S::SERVICE_UNAVAILABLE, "account_not_configured", "The Alipay account is not configured", SameKey),
            Self::Overloaded => (S::SERVICE_UNAVAILABLE, "overloaded", "Too much is under way", SameKey),
            Self::UpstreamUnavailable => (S::SERVICE_UNAVAILABLE, "upstream_unavailable", "Alipay does not answer at present", SameKey),
            Self::AccountRefused => (S::SERVICE_UNAVAILABLE, "account_refused", "Alipay refuses the account", SameKey),
            Self::NotReady => (S::SERVICE_UNAVAILABLE, "not_ready", "This replica is not ready", SameKey),
            Self::UpstreamSilent => (S::GATEWAY_TIMEOUT, "upstream_silent", "Alipay gave no usable answer", SameKey),
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

    /// Whether the same request may succeed later, and with which key.
    pub(super) const fn retryable(self) -> Retryable {
        self.row().3
    }

    /// The stable type URI: `urn:alipayhk-gateway:problem:` and the code with dashes.
    pub fn type_uri(self) -> String {
        let dashed = self.code().replace('_', "-");
        format!("urn:alipayhk-gateway:problem:{dashed}")
    }
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
}
