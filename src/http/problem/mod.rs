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
//! | 409 | look at `payment_id` or `refund_id`: the money question is answered there |
//! | 500, 503 | repeat with the same key: `attempted` is `false` only where it is certain that nothing was begun and nothing can still begin |

mod codes;
mod document;
mod kind;

pub use codes::without_codes;
pub use document::{FieldFault, ProblemDocument};
pub use kind::Kind;

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};

use crate::{
    app::{self, error::Alternative},
    domain::{
        access::{principal::Scope, token::TokenFault},
        attempt::AnswerClass,
        follow_ups::schedule::Subject,
        id::{MerchantId, PaymentId, RefundId},
        merchants::limits::{LimitExceeded, RefundLimit},
        money::{Currency, Money},
    },
};

/// The media type of every refusal.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Whether Alipay was asked to move money because of this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempted {
    No,
    Yes,
    Unknown,
}

impl Attempted {
    const ALL: [Self; 3] = [Self::No, Self::Yes, Self::Unknown];

    const fn as_str(self) -> &'static str {
        match self {
            Self::No => "false",
            Self::Yes => "true",
            Self::Unknown => "unknown",
        }
    }
}

/// A refusal on its way out.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Which row of the status table.
    pub kind: Kind,
    detail: String,
    attempted: Attempted,
    subject: Option<Subject>,
    alternative: Option<&'static str>,
    errors: Vec<FieldFault>,
    authenticate: Option<Box<HeaderValue>>,
    /// When to try again, in seconds, where a second is too soon.
    retry_after: Option<u32>,
}

impl Problem {
    /// A refusal; `detail` says what about *this* request is wrong, without repeating its values.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            attempted: Attempted::No,
            subject: None,
            alternative: None,
            errors: Vec::new(),
            authenticate: None,
            retry_after: None,
        }
    }

    /// Adds the faults of single fields.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldFault>) -> Self {
        self.errors = errors;
        self
    }

    /// Adds the payment or the refund that answers the caller's question.
    #[must_use]
    pub fn about(mut self, subject: Subject) -> Self {
        self.subject = Some(subject);
        self
    }

    /// No API key was presented.
    pub fn authentication_required() -> Self {
        let mut problem = Self::new(
            Kind::AuthenticationRequired,
            "send the header `Authorization: Bearer <api key>`",
        );
        problem.authenticate = Some(Box::new(HeaderValue::from_static(
            "Bearer realm=\"alipayhk-gateway\"",
        )));
        problem
    }

    /// No live API key matches.
    pub fn invalid_api_key() -> Self {
        let mut problem = Self::new(
            Kind::InvalidApiKey,
            "the presented API key is unknown or was revoked",
        );
        problem.authenticate = Some(Box::new(HeaderValue::from_static(
            "Bearer realm=\"alipayhk-gateway\", error=\"invalid_token\"",
        )));
        problem
    }

    /// The access token is not valid.
    pub fn invalid_token(fault: TokenFault) -> Self {
        let mut problem = Self::new(Kind::InvalidToken, fault.detail());
        let challenge = format!(
            "Bearer realm=\"alipayhk-gateway\", error=\"invalid_token\", error_description=\"{}\"",
            fault.detail()
        );
        problem.authenticate = HeaderValue::try_from(challenge).ok().map(Box::new);
        problem
    }

    /// The key is valid but may not do this, which needs all of these scopes.
    pub fn insufficient_scope(scopes: &[Scope]) -> Self {
        let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        let word = if names.len() == 1 { "scope" } else { "scopes" };
        let mut problem = Self::new(
            Kind::InsufficientScope,
            format!(
                "this needs an API key with the {word} `{}`",
                names.join("` and `")
            ),
        );
        let challenge = format!(
            "Bearer realm=\"alipayhk-gateway\", error=\"insufficient_scope\", scope=\"{}\"",
            names.join(" ")
        );
        problem.authenticate = HeaderValue::try_from(challenge).ok().map(Box::new);
        problem
    }

    /// The key is the operator's, and payments are a merchant's.
    pub fn merchant_key_required() -> Self {
        Self::new(
            Kind::MerchantKeyRequired,
            "this needs an API key of a merchant; the presented one is the operator's",
        )
    }

    /// The merchant takes no payments.
    pub fn merchant_disabled() -> Self {
        Self::new(
            Kind::MerchantDisabled,
            "the operator lets this merchant take no payments at present; refunds, cancels and reads go on",
        )
    }

    /// No such merchant: word for word the same for another one than the caller's.
    pub fn merchant_not_found() -> Self {
        Self::new(Kind::MerchantNotFound, "there is no merchant with this id")
    }

    /// No such store.
    pub fn store_not_found() -> Self {
        Self::new(
            Kind::StoreNotFound,
            "the merchant has no store with this id",
        )
    }

    /// The external id is taken by a merchant that is another one than the request describes.
    pub fn merchant_exists(id: MerchantId) -> Self {
        Self::new(
            Kind::MerchantExists,
            format!(
                "the merchant {id} has this external_id and differs from the request; change it by PATCH"
            ),
        )
    }

    /// The store's id is taken by a store that is another one than the request describes.
    pub fn store_exists() -> Self {
        Self::new(
            Kind::StoreExists,
            "the merchant's store of this id differs from the request; change it by PATCH",
        )
    }

    /// The resource has changed since the caller read it.
    pub fn version_mismatch() -> Self {
        Self::new(
            Kind::VersionMismatch,
            "it has changed since the version of If-Match; read it again",
        )
    }

    /// The key is a merchant's, and this is the operator's alone.
    pub fn operator_required() -> Self {
        Self::new(
            Kind::OperatorRequired,
            "this needs an API key of the operator; the presented one is a merchant's",
        )
    }

    /// No such payment: word for word the same for another merchant's (`docs/invariants.md` Q7).
    pub fn payment_not_found() -> Self {
        Self::new(Kind::PaymentNotFound, "there is no payment with this id")
    }

    /// No such follow-up: word for word the same for another merchant's.
    pub fn follow_up_not_found() -> Self {
        Self::new(
            Kind::FollowUpNotFound,
            "there is no follow-up with this id; what is settled has none",
        )
    }

    /// Alipay does not answer, so it is not asked for anything new.
    fn circuit_open(retry_after_seconds: u32) -> Self {
        Self {
            retry_after: Some(retry_after_seconds),
            ..Self::new(
                Kind::UpstreamUnavailable,
                "Alipay does not answer at present; nothing was attempted",
            )
        }
    }

    /// Alipay refuses the account, so it is not asked for anything new.
    fn account_refused(code: &str, retry_after_seconds: u32) -> Self {
        Self {
            retry_after: Some(retry_after_seconds),
            ..Self::new(
                Kind::AccountRefused,
                format!(
                    "Alipay refuses every request of this account ({code}); nothing was attempted. Its operator must correct the account's settings"
                ),
            )
        }
    }

    /// Too much is under way for this to begin.
    fn not_begun(kind: Kind) -> Self {
        Self::new(kind, "nothing was begun; repeat with the same key")
    }

    /// The body names a merchant that does not exist.
    fn no_such_merchant() -> Self {
        Self::validation(vec![FieldFault {
            pointer: Some("/merchant_id".to_owned()),
            parameter: None,
            code: "unknown_merchant",
            detail: "there is no merchant with this id".to_owned(),
        }])
    }

    /// No such API key: word for word the same for another merchant's.
    pub fn api_key_not_found() -> Self {
        Self::new(Kind::ApiKeyNotFound, "there is no API key with this id")
    }

    /// No such reconciliation, or no such difference of it: word for word the same for another merchant's.
    pub fn reconciliation_not_found() -> Self {
        Self::new(
            Kind::ReconciliationNotFound,
            "there is no reconciliation or difference with this id",
        )
    }

    /// An API key that is expired or revoked cannot be replaced.
    pub fn api_key_not_active() -> Self {
        Self::new(
            Kind::InvalidState,
            "the API key is expired or revoked, or is no key but a subject of access tokens, so \
             nothing can overlap; make a new one",
        )
    }

    /// No such refund: word for word the same for another merchant's.
    pub fn refund_not_found() -> Self {
        Self::new(Kind::RefundNotFound, "there is no refund with this id")
    }

    /// No such registration, or no such secondary merchant: word for word the same for another
    /// merchant's.
    pub fn registration_not_found() -> Self {
        Self::new(
            Kind::RegistrationNotFound,
            "there is no registration of such a secondary merchant and store",
        )
    }

    /// Other data of the store are under review.
    fn review_under_way(subject: Subject) -> Self {
        Self::new(
            Kind::ReviewUnderWay,
            "other data of this store are under review, and Alipay takes one registration at a time; \
             read it, and send these when the review has ended",
        )
        .about(subject)
    }

    /// What Alipay takes for one store is one merchant's.
    fn registered_for_another() -> Self {
        Self::new(
            Kind::InvalidState,
            "the store is registered for another merchant of the same Alipay account",
        )
    }

    /// What Alipay does not take of a taxi.
    fn drivers_are_fixed(subject: Subject) -> Self {
        Self::validation(vec![FieldFault {
            pointer: Some("/drivers".to_owned()),
            parameter: None,
            code: "cannot_be_changed",
            detail: "the drivers of a taxi cannot be changed once they are approved".to_owned(),
        }])
        .about(subject)
    }

    /// More than one merchant is meant.
    fn merchant_ambiguous() -> Self {
        let detail = "must be given: more than one merchant has this id at Alipay";
        Self::new(
            Kind::InvalidQuery,
            format!("the parameter `merchant_id` {detail}"),
        )
        .with_errors(vec![FieldFault {
            pointer: None,
            parameter: Some("merchant_id".to_owned()),
            code: "required",
            detail: detail.to_owned(),
        }])
    }

    /// The database did not say whether it did as asked (`docs/invariants.md` R8).
    pub fn in_doubt() -> Self {
        let mut problem = Self::new(
            Kind::ServiceUnavailable,
            "whether this was begun is not known: ask again, with the same idempotency key, or read it",
        );
        problem.attempted = Attempted::Unknown;
        problem
    }

    /// A handler panicked. What it had done is not known here; a repeat with the same key finds
    /// the payment if there is one (`docs/invariants.md` Q21).
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

    /// The body, now that the request id and the path are known. Names and paths are the caller's, so
    /// what looks like a scanned code in them is left out (`docs/invariants.md` Q14).
    pub fn document(&self, request_id: &str, instance: &str) -> ProblemDocument {
        let kind = self.kind;
        ProblemDocument {
            problem_type: self.kind.type_uri(),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail: without_codes(&self.detail).into_owned(),
            instance: without_codes(instance).into_owned(),
            code: kind.code(),
            attempted: self.attempted.as_str(),
            retryable: kind.retryable().as_str(),
            request_id: request_id.to_owned(),
            alternative: self.alternative,
            payment_id: match self.subject {
                Some(Subject::Payment(id)) => Some(id.to_string()),
                Some(Subject::Refund(_) | Subject::Registration(_)) | None => None,
            },
            refund_id: match self.subject {
                Some(Subject::Refund(id)) => Some(id.to_string()),
                Some(Subject::Payment(_) | Subject::Registration(_)) | None => None,
            },
            errors: self.errors.iter().map(FieldFault::without_codes).collect(),
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
        if let Some(challenge) = self.authenticate.as_deref() {
            headers.insert(header::WWW_AUTHENTICATE, challenge.clone());
        }
        let temporary = [
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        let is_temporary = temporary.contains(&self.kind.status());
        if let Some(seconds) = self.retry_after.or(is_temporary.then_some(1)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<app::error::Error> for Problem {
    fn from(error: app::error::Error) -> Self {
        use app::error::Error as E;
        match error {
            E::IdempotencyKeyReused { subject, fields } => {
                let detail = format!(
                    "the key was used for a {} that differs in: {}",
                    subject.kind(),
                    fields.join(", ")
                );
                let errors = fields.iter().map(|field| differing(field)).collect();
                Self::new(Kind::IdempotencyKeyReused, detail)
                    .with_errors(errors)
                    .about(subject)
            }
            E::MerchantReferenceConflict { subject } => merchant_reference_conflict(subject),
            E::AmountExceedsRefundable {
                payment_id,
                refundable,
            } => amount_exceeds_refundable(payment_id, refundable),
            E::RefundLimitExceeded {
                payment_id,
                exceeded,
            } => refund_limit_exceeded(payment_id, exceeded),
            E::SuspectedDuplicate { subject } => suspected_duplicate(subject),
            E::RateLimited {
                retry_after_seconds,
            } => Self {
                retry_after: Some(retry_after_seconds),
                ..Self::new(
                    Kind::RateLimited,
                    "requests of this API key come faster than it may send them; nothing was begun",
                )
            },
            E::InvalidToken(fault) => Self::invalid_token(fault),
            E::IssuerSilent => Self::new(
                Kind::ServiceUnavailable,
                "the issuer of access tokens cannot be reached; nothing was attempted",
            ),
            E::MerchantBusy => Self::not_begun(Kind::MerchantBusy),
            E::Overloaded => Self::not_begun(Kind::Overloaded),
            E::AccountNotConfigured { .. } => Self::new(
                Kind::AccountNotConfigured,
                "the merchant's Alipay account is not configured at this gateway; nothing was attempted",
            ),
            E::UpstreamUnavailable {
                retry_after_seconds,
            } => Self::circuit_open(retry_after_seconds),
            E::AccountRefused {
                code,
                retry_after_seconds,
            } => Self::account_refused(&code, retry_after_seconds),
            E::NoSuchMerchant => Self::no_such_merchant(),
            E::MerchantAmbiguous => Self::merchant_ambiguous(),
            E::ReviewUnderWay { subject } => Self::review_under_way(subject),
            E::DriversAreFixed { subject } => Self::drivers_are_fixed(subject),
            E::RegisteredForAnother => Self::registered_for_another(),
            E::CanceledBeforeCreation => Self::new(
                Kind::CanceledBeforeCreation,
                "a cancel with this reference or key came first; start over with new ones",
            ),
            E::InvalidState { subject, detail } => {
                Self::new(Kind::InvalidState, detail).about(subject)
            }
            E::CancelWindowClosed {
                payment_id,
                alternative,
                was_sent,
            } => cancel_window_closed(payment_id, alternative, was_sent),
            E::RefundRightRequired { payment_id } => refund_right_required(payment_id),
            E::CancelRefused {
                payment_id,
                code,
                reason,
            } => cancel_refused(payment_id, code.as_deref(), &reason),
            E::CancelWithdrawn { payment_id } => cancel_withdrawn(payment_id),
            E::CancelMayAct {
                payment_id,
                retry_after_seconds,
            } => cancel_may_act(payment_id, retry_after_seconds),
            E::RefundRefused {
                refund_id,
                code,
                message,
            } => refund_refused(refund_id, &code, &message),
            E::UpstreamSilent { subject, class } => upstream_silent(subject, class),
            E::Unavailable(source) => {
                tracing::warn!(error = %Chain(&*source), "database unavailable");
                Self::new(
                    Kind::ServiceUnavailable,
                    "this request began nothing, whatever an earlier one began; ask again, with the same idempotency key if it has one",
                )
            }
            E::InDoubt(source) => {
                tracing::warn!(error = %Chain(&*source), "the outcome of a database statement is unknown");
                Self::in_doubt()
            }
            E::Internal(source) => {
                tracing::error!(error = %Chain(&*source), "internal error");
                Self::panicked()
            }
        }
    }
}

fn merchant_reference_conflict(subject: Subject) -> Problem {
    let detail = match subject {
        Subject::Payment(_) => {
            "another payment has this merchant_reference; read it before charging again"
        }
        Subject::Refund(_) => {
            "another refund has this merchant_reference; read it before refunding again"
        }
        Subject::Registration(_) => "something else has this merchant_reference",
    };
    Problem::new(Kind::MerchantReferenceConflict, detail).about(subject)
}

/// Says what to do instead.
fn cancel_window_closed(
    payment_id: PaymentId,
    alternative: Alternative,
    was_sent: bool,
) -> Problem {
    let detail = match alternative {
        Alternative::Refund => "Alipay takes a cancel on the day of the payment only; refund it",
        Alternative::Wait => "Alipay takes no cancel any more; the outcome is being asked for",
    };
    Problem {
        alternative: Some(alternative.as_str()),
        attempted: if was_sent {
            Attempted::Yes
        } else {
            Attempted::No
        },
        ..Problem::new(Kind::CancelWindowClosed, detail).about(Subject::Payment(payment_id))
    }
}

/// Says who may undo the sale still.
fn refund_right_required(payment_id: PaymentId) -> Problem {
    Problem {
        detail: "the payment is paid, and the time in which a till may undo its sale is over: this needs \
                 an API key with the scope `refunds:write`"
            .to_owned(),
        ..Problem::insufficient_scope(&[Scope::RefundsWrite])
    }
    .about(Subject::Payment(payment_id))
}

/// Says what came in place of an answer.
fn upstream_silent(subject: Subject, class: &str) -> Problem {
    let detail = if class == AnswerClass::AccessRefused.as_str() {
        "Alipay refused to be asked (access_refused); nothing was changed".to_owned()
    } else {
        format!("Alipay was asked and did not tell ({class}); nothing was changed")
    };
    Problem::new(Kind::UpstreamSilent, detail).about(subject)
}

/// Says why, with Alipay's code where it gave one.
fn cancel_refused(payment_id: PaymentId, code: Option<&str>, reason: &str) -> Problem {
    let detail = match code {
        Some(code) => format!("{reason} Its code: {code}."),
        None => reason.to_owned(),
    };
    Problem {
        attempted: Attempted::Yes,
        ..Problem::new(Kind::CancelRefused, detail).about(Subject::Payment(payment_id))
    }
}

/// Says what ended the cancel, and what returns the money nevertheless.
fn cancel_withdrawn(payment_id: PaymentId) -> Problem {
    let detail = "an operator has decided that the payment stands, which ended the cancel; a refund returns the money";
    Problem {
        attempted: Attempted::Yes,
        ..Problem::new(Kind::CancelWithdrawn, detail).about(Subject::Payment(payment_id))
    }
}

/// Says until when the money may go back without this refund.
fn cancel_may_act(payment_id: PaymentId, retry_after_seconds: u32) -> Problem {
    let detail = format!(
        "a cancel of the payment was sent within the last minute and may still return the money; ask again in {retry_after_seconds} s"
    );
    Problem {
        retry_after: Some(retry_after_seconds),
        ..Problem::new(Kind::CancelMayAct, detail).about(Subject::Payment(payment_id))
    }
}

/// Says why the payment is not undone, and names the refund that failed.
fn refund_refused(refund_id: RefundId, code: &str, message: &str) -> Problem {
    let detail = format!("{message} Its code: {code}.");
    Problem {
        attempted: Attempted::Yes,
        ..Problem::new(Kind::RefundRefused, detail).about(Subject::Refund(refund_id))
    }
}

/// Says how much is left, which the caller may know: it is in the payment.
fn amount_exceeds_refundable(payment_id: PaymentId, refundable: Money) -> Problem {
    let detail = if refundable.minor() == 0 {
        "nothing is left to refund".to_owned()
    } else {
        format!("at most {refundable} is left to refund")
    };
    Problem::new(Kind::AmountExceedsRefundable, detail.clone())
        .with_errors(vec![FieldFault {
            pointer: Some("/amount".to_owned()),
            parameter: None,
            code: "amount_exceeds_refundable",
            detail,
        }])
        .about(Subject::Payment(payment_id))
}

/// Names what the request seems to repeat, and how to insist.
fn suspected_duplicate(earlier: Subject) -> Problem {
    let detail = match earlier {
        Subject::Refund(_) => {
            "a refund of this amount is open, or was made within the last 60 seconds; read it, and send \
             \"allow_duplicate\": true to refund the same amount once more"
        }
        Subject::Payment(_) | Subject::Registration(_) => {
            "the same code, amount and terminal were used within the last 60 seconds; \
             send \"allow_duplicate\": true to charge nevertheless"
        }
    };
    Problem::new(Kind::SuspectedDuplicate, detail).about(earlier)
}

/// Names the limit and what is left of it.
fn refund_limit_exceeded(payment_id: PaymentId, exceeded: LimitExceeded) -> Problem {
    let hkd = |minor| Money::new(minor, Currency::HKD);
    let (most, left) = (hkd(exceeded.most_minor), hkd(exceeded.left_minor));
    let detail = match exceeded.limit {
        RefundLimit::PerRefund => {
            format!("a refund may be at most {most}; {left} may be refunded now")
        }
        RefundLimit::PerPiece => format!(
            "Alipay gives back at most {most} in one refund: refund in pieces; {left} may be refunded now"
        ),
        RefundLimit::PerDay => format!(
            "the refunds of one GMT+8 day may be at most {most}; {left} may still be refunded today"
        ),
    };
    Problem::new(Kind::RefundLimitExceeded, detail.clone())
        .with_errors(vec![FieldFault {
            pointer: Some("/amount".to_owned()),
            parameter: None,
            code: exceeded.limit.as_str(),
            detail,
        }])
        .about(Subject::Payment(payment_id))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_key_names_the_fields_and_never_their_values() {
        let id = PaymentId::mint();
        let problem = Problem::from(app::error::Error::IdempotencyKeyReused {
            subject: Subject::Payment(id),
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
    fn what_is_in_doubt_is_never_called_not_attempted() {
        for error in [
            app::error::Error::InDoubt("cut".into()),
            app::error::Error::Internal("a defect".into()),
            app::error::Error::Unavailable("later".into()).after_begin(),
        ] {
            let document = Problem::from(error).document("r-1", "/v1/payments");
            assert_eq!(
                (document.attempted, document.retryable),
                ("unknown", "same_key")
            );
        }
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
