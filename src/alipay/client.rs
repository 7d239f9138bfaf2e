//! The seven services as functions.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field};
use url::Url;

use super::{
    breaker::{self, CircuitBreaker, NotAdmitted, OpenCircuit},
    error::{Fault, SetupError},
    keyring::Keyring,
    notification::{NotificationError, VerifiedNotification},
    outcome::{
        Call, CancelOutcome, MaintainStoreOutcome, PayOutcome, QueryOutcome, RefundOutcome,
        RefundQueryOutcome, StoreStatusOutcome,
    },
    parameters::{Parameters, service_name},
    request::{
        CancelRequest, MaintainStoreRequest, PayRequest, QueryRequest, RefundQueryRequest,
        RefundRequest, StoreStatusRequest,
    },
    response::{self, Readable, Reading, Reply},
    result_code::{self, Codes},
    sign::canonical,
    transport::Transport,
};
use crate::{
    clock::Clock,
    domain::{
        accounts::timeouts::Timeouts,
        attempt::{Answer, AnswerClass, AttemptKind},
        door::Refusal,
        id::PartnerTransId,
        money::{Currency, Money},
    },
    failpoint::{Failpoints, failpoint},
};

/// An answer above this is parsed off the reactor, in bytes.
const LARGE_ANSWER: usize = 16 * 1024;

/// Where Alipay is and who we are.
#[derive(Clone, Debug)]
pub struct AlipaySettings {
    /// The gateway's address, for example `https://intlmapi.alipay.com/gateway.do`.
    pub endpoint: Url,
    /// Our account, 16 digits.
    pub partner: String,
    pub keys: Keyring,
    /// How long calls may take.
    pub timeouts: Timeouts,
    /// How many calls in a row without an answer stop new work; 0: none do ([`crate::domain::breaker`]).
    pub breaker_calls: u32,
    /// What Alipay's codes mean.
    pub codes: Arc<Codes>,
    /// How many refusals of the account in a row stop new work; 0: none do ([`crate::domain::door`]).
    pub access_refusals: u32,
    /// Further root certificates to trust, PEM; usually none.
    pub extra_root_certificates: Vec<Vec<u8>>,
    /// Where tests stop, break or delay a call; of no size in a release.
    pub failpoints: Failpoints,
}

impl AlipaySettings {
    /// Settings with the default deadlines.
    pub fn new(endpoint: Url, partner: String, keys: impl Into<Keyring>) -> Self {
        Self {
            endpoint,
            partner,
            keys: keys.into(),
            timeouts: Timeouts::default(),
            breaker_calls: 5,
            codes: Arc::default(),
            access_refusals: 3,
            extra_root_certificates: Vec::new(),
            failpoints: Failpoints::default(),
        }
    }
}

/// The client. Cheap to clone; all clones share one pool of connections.
#[derive(Clone)]
pub struct Alipay(Arc<Inner>);

struct Inner {
    settings: AlipaySettings,
    transport: Transport,
    switch: CircuitBreaker,
    clock: Arc<dyn Clock>,
}

impl Alipay {
    /// Builds the client; opens no connection.
    pub fn new(settings: AlipaySettings, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let partner = &settings.partner;
        if partner.is_empty() || !partner.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SetupError::Partner(partner.clone()));
        }
        let transport = Transport::new(
            &settings.endpoint,
            settings.timeouts.connect,
            &settings.extra_root_certificates,
        )?;
        let switch = CircuitBreaker::new(partner, settings.breaker_calls, settings.access_refusals);
        Ok(Self(Arc::new(Inner {
            settings,
            transport,
            switch,
            clock,
        })))
    }

    /// The account that is paid.
    pub fn partner(&self) -> &str {
        &self.0.settings.partner
    }

    /// Where the account is reached.
    pub fn endpoint(&self) -> &Url {
        &self.0.settings.endpoint
    }

    /// The account's keys.
    pub fn keys(&self) -> &Keyring {
        &self.0.settings.keys
    }

    /// Whether there is a key to sign with at this moment.
    pub fn can_sign(&self) -> bool {
        self.keys().at(self.0.clock.now()).can_sign()
    }

    /// What Alipay's codes mean.
    pub fn codes(&self) -> &Codes {
        &self.0.settings.codes
    }

    /// Why new work is refused at present, if it is.
    pub fn circuit_open(&self) -> Option<OpenCircuit> {
        self.0.switch.circuit_open()
    }

    /// The last time Alipay refused the account, by this process's calls.
    pub fn last_refusal(&self) -> Option<Refusal> {
        self.0.switch.last_refusal()
    }

    /// Lets new work through, or says why not and when to come again. Only for what may be refused:
    /// never ask it for a follow-up or a cancel.
    pub fn admit_new_work(&self) -> Result<(), NotAdmitted> {
        self.0.switch.admit(self.0.clock.now())
    }

    /// Lets a caller's question about what exists through, or says in how many seconds to come again
    /// because Alipay does not answer.
    pub fn admit_question(&self) -> Result<(), u32> {
        self.0.switch.admit_question(self.0.clock.now())
    }

    /// What Alipay's server says the time is, where it can be reached and says so. Asks no service.
    pub async fn server_time(&self) -> Option<DateTime<Utc>> {
        let deadline = self.0.settings.timeouts.query;
        self.0.transport.warm_up(deadline).await.ok().flatten()
    }

    /// Asks about a trade that cannot exist: harmless, signed like any question, and answered only where
    /// Alipay knows the account and takes its signature.
    pub async fn probe(&self) -> Answer {
        let request = QueryRequest {
            partner_trans_id: PartnerTransId::of_no_payment(),
            amount: Money::new(1, Currency::HKD),
            alipay_trans_id: None,
        };
        self.query(&request).await.answer
    }

    /// Takes a payment, unless `too_late` says so when the request is about to leave.
    pub async fn pay(
        &self,
        request: &PayRequest,
        too_late: impl Fn() -> bool + Sync,
    ) -> Call<PayOutcome> {
        let parameters = request.to_parameters(self.partner());
        self.call_in_time(request, parameters, &too_late).await
    }

    /// Asks where a trade stands.
    pub async fn query(&self, request: &QueryRequest) -> Call<QueryOutcome> {
        let parameters = request.to_parameters(self.partner());
        self.call(request, parameters).await
    }

    /// Closes an unpaid trade, returns a paid one's money, unless `too_late` says so when the
    /// request is about to leave.
    pub async fn cancel(
        &self,
        request: &CancelRequest,
        too_late: impl Fn() -> bool + Sync,
    ) -> Call<CancelOutcome> {
        let parameters = request.to_parameters(self.partner(), self.0.clock.now());
        self.call_in_time(request, parameters, &too_late).await
    }

    /// Returns money, unless `too_late` says so when the request is about to leave.
    pub async fn refund(
        &self,
        request: &RefundRequest,
        too_late: impl Fn() -> bool + Sync,
    ) -> Call<RefundOutcome> {
        let parameters = request.to_parameters(self.partner());
        self.call_in_time(request, parameters, &too_late).await
    }

    /// Asks where a refund stands.
    pub async fn query_refund(&self, request: &RefundQueryRequest) -> Call<RefundQueryOutcome> {
        let parameters = request.to_parameters(self.partner());
        self.call(request, parameters).await
    }

    /// Verifies what was posted to us as coming from Alipay, with the keys of our account.
    pub fn verify_notification(
        &self,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<VerifiedNotification, NotificationError> {
        let credentials = self.0.settings.keys.at(self.0.clock.now());
        VerifiedNotification::verify(credentials, content_type, body)
    }

    /// Registers or changes a store, unless `too_late` says so when the request is about to leave.
    pub async fn maintain_store(
        &self,
        request: &MaintainStoreRequest,
        too_late: impl Fn() -> bool + Sync,
    ) -> Call<MaintainStoreOutcome> {
        let parameters = request.to_parameters(self.partner(), self.0.clock.now());
        self.call_in_time(request, parameters, &too_late).await
    }

    /// Asks where a store's registration stands.
    pub async fn query_store_status(
        &self,
        request: &StoreStatusRequest,
    ) -> Call<StoreStatusOutcome> {
        let parameters = request.to_parameters(self.partner(), self.0.clock.now());
        self.call(request, parameters).await
    }

    /// Opens a connection and leaves it in the pool, so that the next payment does not wait for a
    /// handshake. Asks no service; failure is only logged.
    pub async fn warm_up(&self) {
        let deadline = self.0.settings.timeouts.query;
        if let Err(fault) = self.0.transport.warm_up(deadline).await {
            tracing::debug!(detail = fault.detail, "no connection to Alipay was opened");
        }
    }

    /// A call that is never too late.
    async fn call<R: Readable>(&self, request: &R, parameters: Parameters) -> Call<R::Outcome> {
        self.call_in_time(request, parameters, &|| false).await
    }

    /// One signed POST, its record, and what it means. Never fails: a fault is an unknown outcome.
    async fn call_in_time<R: Readable>(
        &self,
        request: &R,
        parameters: Parameters,
        too_late: &(dyn Fn() -> bool + Sync),
    ) -> Call<R::Outcome> {
        let span = call_span(&parameters);
        let codes = &self.0.settings.codes;
        async {
            let started = Instant::now();
            let begun = self.0.clock.now();
            let reading = match self.exchange(parameters, too_late).await {
                Ok(reply) => {
                    self.notice_at_the_door(R::SERVICE, &reply, begun);
                    response::interpret(request, &reply, codes)
                }
                Err(fault) => Err(fault),
            };
            let (reading, detail) = match reading {
                Ok(reading) => (reading, None),
                Err(fault) => (
                    Reading {
                        outcome: if fault.class.says_nothing_was_sent() {
                            R::NOT_SENT
                        } else {
                            R::UNKNOWN
                        },
                        class: fault.class,
                        code: fault.code,
                    },
                    Some(fault.detail),
                ),
            };
            let duration = started.elapsed();
            let answer = Answer {
                class: reading.class,
                code: reading.code,
                detail,
                duration_ms: i32::try_from(duration.as_millis()).unwrap_or(i32::MAX),
            };
            observe(R::SERVICE, &answer, duration, codes);
            Call {
                outcome: reading.outcome,
                answer,
            }
        }
        .instrument(span)
        .await
    }

    /// Whether the account is let in, as far as a reply tells.
    fn notice_at_the_door(&self, service: AttemptKind, reply: &Reply, begun: DateTime<Utc>) {
        let now = self.0.clock.now();
        match reply {
            Reply::Refused { code, .. } if result_code::refuses_the_account(service, code) => {
                let code = result_code::presentable(code).unwrap_or_default();
                self.0.switch.refused(&code, begun, now);
            }
            Reply::Accepted(_) | Reply::Refused { verified: true, .. } => {
                self.0.switch.believed(now);
            }
            // Anybody could have said so.
            Reply::Refused {
                verified: false, ..
            } => {}
        }
    }

    async fn exchange(
        &self,
        parameters: Parameters,
        too_late: &(dyn Fn() -> bool + Sync),
    ) -> Result<Reply, Fault> {
        let settings = &self.0.settings;
        // Those of this moment also read the answer: keys may change over meanwhile.
        let credentials = settings.keys.at(self.0.clock.now());
        let signature = credentials
            .sign(canonical(parameters.signed_pairs()).as_bytes())
            .await
            // Nothing was sent, which is what this class says.
            .map_err(|error| Fault::new(AnswerClass::ConnectFailed, error.to_string()))?;
        let form = parameters.to_form(&signature, credentials.sign_type().as_str());
        let deadline = settings.timeouts.of(parameters.service());
        failpoint!(
            settings.failpoints,
            parameters.service().as_str(),
            "before_call"
        );
        // The last moment at which anything can be held back (`docs/invariants.md` M8).
        if too_late() {
            tracing::error!("a request came to its turn too late and was not sent");
            return Err(Fault::new(
                AnswerClass::ConnectFailed,
                "not sent: too long after it was decided",
            ));
        }
        let begun = self.0.clock.now();
        let posted = self.0.transport.post(form, deadline).await;
        let ended = self.0.clock.now();
        match &posted {
            Err(fault) if fault.is_outage => self.0.switch.record_failure(begun, ended),
            _ => self.0.switch.record_success(ended),
        }
        let body = posted?;
        failpoint!(
            settings.failpoints,
            parameters.service().as_str(),
            "after_call"
        );
        if body.bytes.len() <= LARGE_ANSWER {
            return response::read(
                &body.bytes,
                body.charset.as_deref(),
                credentials,
                &parameters,
            );
        }
        let credentials = credentials.clone();
        tokio::task::spawn_blocking(move || {
            response::read(
                &body.bytes,
                body.charset.as_deref(),
                &credentials,
                &parameters,
            )
        })
        .await
        .unwrap_or_else(|_| Err(Fault::malformed("the answer could not be read")))
    }
}

impl fmt::Debug for Alipay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alipay")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

/// Describes the metrics of this module; call once, after the recorder is installed.
pub fn describe_metrics() {
    breaker::describe_metrics();
    metrics::describe_counter!(
        "alipay_calls_total",
        "Calls to Alipay by service and by the kind of answer"
    );
    metrics::describe_counter!(
        "alipay_refund_answers_incomplete_total",
        "Answers to refund queries that name only the refund or only the payment"
    );
    metrics::describe_histogram!(
        "alipay_call_duration_seconds",
        metrics::Unit::Seconds,
        "How long calls to Alipay took, from signing to the verified answer"
    );
}

fn call_span(parameters: &Parameters) -> Span {
    let partner_trans_id = parameters
        .get("partner_trans_id")
        .or_else(|| parameters.get("out_trade_no"));
    tracing::info_span!(
        "alipay.call",
        otel.kind = "client",
        alipay.service = service_name(parameters.service()),
        payment.partner_trans_id = partner_trans_id,
        alipay.class = field::Empty,
        alipay.code = field::Empty,
        duration_ms = field::Empty,
    )
}

/// Counts the call, completes its span, and logs once what an operator should know.
fn observe(service: AttemptKind, answer: &Answer, duration: Duration, codes: &Codes) {
    let (class, code) = (answer.class.as_str(), answer.code.as_deref());
    let span = Span::current();
    span.record("alipay.class", class);
    span.record("alipay.code", code);
    span.record("duration_ms", answer.duration_ms);
    metrics::counter!("alipay_calls_total", "service" => service.as_str(), "class" => class)
        .increment(1);
    metrics::histogram!("alipay_call_duration_seconds", "service" => service.as_str())
        .record(duration);
    let set_up_fault = code.is_some_and(|code| codes.is_set_up_fault(service, code));
    if answer.class.is_incident() || set_up_fault {
        tracing::warn!(
            class,
            code,
            detail = answer.detail.as_deref(),
            "Alipay's answer calls for a look"
        );
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
