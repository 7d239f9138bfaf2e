//! The gateway endpoint: one URL for every service, by GET or POST. A request is authenticated and
//! validated, takes its effect in the book, and is answered, in this order: what the ledger says is
//! true before the first byte of the answer leaves.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, State as Shared},
    http::{HeaderMap, Method, Response, StatusCode, Uri, header},
    routing::get,
};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use crate::{
    answer,
    book::{LateEffect, PayOutcome, Script},
    fault::{self, Fault},
    line::Line,
    params::{Message, Refusal, Service},
    request::Request,
    scenario,
    state::{ParameterFaults, RequestRecord, Simulator, State},
    xml::{self, Content, Fields},
};

/// The gateway endpoint's routes.
pub(crate) fn routes() -> Router<Arc<Simulator>> {
    Router::new().route("/gateway.do", get(gateway).post(gateway))
}

/// An answer that is ready to be rendered and delivered.
struct Reply {
    sequence: u64,
    content: Content,
    forged: Fields,
    fault: Option<Fault>,
}

async fn gateway(
    Shared(simulator): Shared<Arc<Simulator>>,
    ConnectInfo(line): ConnectInfo<Line>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    // Subscribed before the effect: a test that sees the request in the log may release it.
    let releases = simulator.releases.subscribe();
    let post = method == Method::POST;
    let read = read(&uri, &headers, &body, post);
    let (message, unreadable) = match read {
        Ok(message) => (message, None),
        Err(refusal) => (Message::unreadable(), Some(refusal)),
    };
    if message.get("service") == Some("notify_verify") {
        return verify_notification(&simulator, &message);
    }
    let reply = handle(&simulator, &message, unreadable);
    let guard = Guard {
        simulator: &simulator,
        sequence: reply.sequence,
        answer: "abandoned",
    };
    deliver(&simulator, &message, reply, &line, releases, guard).await
}

fn read(uri: &Uri, headers: &HeaderMap, body: &[u8], post: bool) -> Result<Message, Refusal> {
    let form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    if post && !body.is_empty() && !form {
        return Err(Refusal::new("ILLEGAL_ARGUMENT", "the body is not a form"));
    }
    Message::parse(
        uri.query().unwrap_or_default().as_bytes(),
        if post { body } else { b"" },
    )
}

/// Authenticates, validates, books and logs a request.
fn handle(simulator: &Simulator, message: &Message, unreadable: Option<Refusal>) -> Reply {
    let authenticated = match unreadable {
        Some(refusal) => Err(refusal),
        None => authenticate(simulator, message),
    };
    let mut state = simulator.state();
    let now = state.clock.now();
    let mut record = record_of(message, now);
    record.signature_ok = authenticated.is_ok();
    let admitted = match &state.access_refusal {
        Some(code) => Err(Refusal::new(code.clone(), "the account is refused")),
        None => authenticated,
    };
    let validated = admitted.map(|service| (service, Request::validate(service, message, now)));
    let (content, forged) = match validated {
        Err(refusal) => {
            record.refusal = Some(refusal.to_string());
            (Content::Refusal(refusal.code.into_owned()), Fields::new())
        }
        Ok((service, Err(refusal))) => {
            record.refusal = Some(refusal.to_string());
            let content = match state.parameter_faults {
                ParameterFaults::Signed => answer::parameter_fault(service, message, &refusal),
                ParameterFaults::Unsigned => Content::Refusal(refusal.code.into_owned()),
            };
            (content, Fields::new())
        }
        Ok((service, Ok(request))) => {
            let content = execute(&mut state, &mut record, service, &request, message);
            (content, answer::forged(service, message))
        }
    };
    let fault = record.fault.clone();
    Reply {
        sequence: state.record(record),
        content,
        forged,
        fault,
    }
}

/// A request for the log of which nothing is known yet but what it says.
fn record_of(message: &Message, now: DateTime<Utc>) -> RequestRecord {
    RequestRecord {
        sequence: 0,
        service: service_name(message),
        partner_trans_id: message.get("partner_trans_id").map(str::to_owned),
        out_trade_no: message.get("out_trade_no").map(str::to_owned),
        partner_refund_id: message
            .get("partner_refund_id")
            .or_else(|| message.get("out_return_no"))
            .map(str::to_owned),
        received_at: now,
        signature_ok: false,
        effect: "none",
        answer: "pending",
        scenario: None,
        fault: None,
        refusal: None,
        params: message.masked(),
    }
}

/// Answers whether a notification is Alipay's: bare `true` or `false`, to whoever asks, unsigned
/// (`docs/protocol.md` 3.6).
fn verify_notification(simulator: &Simulator, message: &Message) -> Response<Body> {
    let ours = message.get("partner") == Some(simulator.partner.as_str());
    let notify_id = message.get("notify_id").unwrap_or_default();
    let mut state = simulator.state();
    let now = state.settle();
    let genuine = ours && state.notifications.verify(notify_id);
    let mut record = record_of(message, now);
    if let Some(notification) = state.notifications.by_id(notify_id) {
        let refund = &notification.about.refund;
        record.partner_trans_id = Some(refund.partner_trans_id.clone());
        record.partner_refund_id = Some(refund.partner_refund_id.clone());
    }
    record.answer = "sent";
    state.record(record);
    respond(
        StatusCode::OK,
        &[(header::CONTENT_TYPE, "text/html;charset=UTF-8")],
        genuine.to_string().into_bytes(),
    )
}

fn service_name(message: &Message) -> String {
    let name = message.get("service").unwrap_or_default();
    match Service::parse(name) {
        Some(service) => service.short().to_owned(),
        None => name.to_owned(),
    }
}

/// The gateway's own checks, before any service sees the request.
fn authenticate(simulator: &Simulator, message: &Message) -> Result<Service, Refusal> {
    let name = message.get("service").unwrap_or_default();
    let service = Service::parse(name)
        .ok_or_else(|| Refusal::new("ILLEGAL_SERVICE", format!("no such service: {name}")))?;
    if message.get("partner") != Some(simulator.partner.as_str()) {
        return Err(Refusal::new("ILLEGAL_PARTNER", "another partner"));
    }
    let agreed = simulator.keys.sign_type().label();
    if message.get("sign_type") != Some(agreed) {
        return Err(Refusal::new(
            "ILLEGAL_SIGN_TYPE",
            format!("agreed is {agreed}"),
        ));
    }
    let signature = message.get("sign").unwrap_or_default();
    if !simulator.keys.verify(&message.signed_bytes(), signature) {
        return Err(Refusal::new(
            "ILLEGAL_SIGN",
            "the signature does not verify",
        ));
    }
    Ok(service)
}

/// Chooses the fault, lets the request take effect unless the fault prevents it, and answers.
fn execute(
    state: &mut State,
    record: &mut RequestRecord,
    service: Service,
    request: &Request,
    message: &Message,
) -> Content {
    let (script, scenario) = match request {
        Request::Pay(pay) => scenario::chosen_by(&pay.ending),
        _ => (Script::PLAIN, None),
    };
    record.scenario = scenario;
    let (payment, refund) = (answer::payment_of(request), answer::refund_of(request));
    if script.shuts_out
        && let (Some(payment), Some(fault)) = (payment, &script.fault)
    {
        state.shut_out.insert(payment.to_owned(), fault.clone());
    }
    record.fault = payment
        .and_then(|payment| state.shut_out.get(payment).cloned())
        .or_else(|| fault::take(&mut state.faults, service, payment, refund))
        .or_else(|| scripted(state, record.received_at, request, &script));
    if let Some(fault) = &record.fault
        && fault.prevents_effect()
    {
        if let Fault::LateEffect {
            after_seconds: Some(seconds),
            ..
        } = fault
            && let Some(effect) = LateEffect::of(request)
        {
            let at = record.received_at + TimeDelta::seconds((*seconds).into());
            state.book.take_effect_at(at, effect);
            record.effect = "later";
        }
        // A dropped answer is never rendered; any content will do.
        return answer::instead(fault, service, message)
            .unwrap_or_else(|| Content::Refusal("SYSTEM_ERROR".to_owned()));
    }
    let content = book(state, record, request, message, &script);
    match &record.fault {
        Some(fault) => answer::instead(fault, service, message).unwrap_or(content),
        None => content,
    }
}

/// The fault of the scenario. Only the first answer lies: a repeated payment or refund is told what
/// has become of it.
fn scripted(
    state: &mut State,
    now: DateTime<Utc>,
    request: &Request,
    script: &Script,
) -> Option<Fault> {
    match request {
        Request::Pay(pay) => {
            let known = state.book.trade(now, &pay.partner_trans_id, None).is_some();
            script.fault.clone().filter(|_| !known)
        }
        Request::Refund(refund) => state.book.refund_fault(refund),
        _ => None,
    }
}

/// The effect, and the true answer.
fn book(
    state: &mut State,
    record: &mut RequestRecord,
    request: &Request,
    message: &Message,
    script: &Script,
) -> Content {
    let now = record.received_at;
    match request {
        Request::Pay(pay) => {
            let place = (pay.place.merchant_id.clone(), pay.place.store_id.clone());
            let known = state.book.trade(now, &pay.partner_trans_id, None).is_some();
            let outcome = if known || state.merchants.takes_payments(now, &place) {
                state.book.pay(now, pay, script)
            } else {
                PayOutcome::Refused("INVALID_STORE_ID")
            };
            record.effect = answer::pay_effect(&outcome);
            answer::pay(&outcome, script.waiting)
        }
        Request::Query {
            partner_trans_id,
            alipay_trans_id,
        } => {
            let trade = state
                .book
                .trade(now, partner_trans_id, alipay_trans_id.as_deref());
            answer::query(trade.as_deref(), message)
        }
        Request::Cancel {
            out_trade_no,
            trade_no,
        } => {
            let outcome = state.book.cancel(now, out_trade_no, trade_no.as_deref());
            record.effect = answer::cancel_effect(&outcome);
            answer::cancel(&outcome, message)
        }
        Request::Refund(refund) => {
            let outcome = state.book.refund(now, refund);
            record.effect = answer::refund_effect(&outcome);
            answer::refund(&outcome, message)
        }
        Request::RefundQuery {
            out_trade_no,
            out_return_no,
        } => {
            let trade = state.book.trade(now, out_trade_no, None);
            let alipay_trans_id = trade.map(|trade| trade.alipay_trans_id.clone());
            let refund = state.book.find_refund(now, out_trade_no, out_return_no);
            answer::refund_query(alipay_trans_id.as_deref(), refund, message)
        }
        Request::Maintain {
            secondary_merchant_id,
            store_id,
            data,
            drivers,
        } => {
            let place = (secondary_merchant_id.clone(), store_id.clone());
            let outcome = state
                .merchants
                .maintain(now, place, data.clone(), drivers.clone());
            record.effect = answer::maintain_effect(outcome);
            answer::maintain(outcome)
        }
        Request::QueryStatus {
            secondary_merchant_id,
            store_id,
        } => {
            let place = (secondary_merchant_id.clone(), store_id.clone());
            answer::query_status(state.merchants.status(now, &place).as_ref(), message)
        }
    }
}

/// Notes what became of an answer when it goes out of scope, also when the merchant hangs up and the
/// handler is dropped while it waits.
struct Guard<'a> {
    simulator: &'a Simulator,
    sequence: u64,
    answer: &'static str,
}

impl Guard<'_> {
    fn note(&self, answer: &'static str) {
        self.simulator.state().answered(self.sequence, answer);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let mut state = self.simulator.state();
        let Some(record) = state.answered(self.sequence, self.answer).cloned() else {
            return;
        };
        drop(state);
        let (effect, answer) = (record.effect, record.answer);
        tracing::info!(
            sequence = record.sequence,
            service = record.service,
            partner_trans_id = record.partner_trans_id.or(record.out_trade_no),
            partner_refund_id = record.partner_refund_id,
            scenario = record.scenario,
            refusal = record.refusal,
            barcode = record.params.get("buyer_identity_code"),
            effect,
            answer,
            "request {}: effect {effect}, answer {answer}",
            record.sequence,
        );
    }
}

async fn deliver(
    simulator: &Simulator,
    message: &Message,
    reply: Reply,
    line: &Line,
    mut releases: watch::Receiver<u64>,
    mut guard: Guard<'_>,
) -> Response<Body> {
    let fault = reply.fault.as_ref();
    match fault {
        Some(Fault::Delay { ms }) => {
            guard.note("delayed");
            tokio::time::sleep(Duration::from_millis(*ms)).await;
        }
        Some(Fault::SlowAnswer) => {
            guard.note("delayed");
            tokio::time::sleep(simulator.slow_answer).await;
        }
        Some(Fault::Hold) => {
            guard.note("held");
            // An error means that the simulator is going away.
            let _ = releases.changed().await;
        }
        _ => {}
    }
    guard.answer = "sent";
    if fault.is_some_and(Fault::drops_answer) {
        guard.answer = "dropped";
        line.sever();
        return page(StatusCode::OK);
    }
    match fault {
        Some(Fault::HttpStatus { status }) => {
            return page(
                StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            );
        }
        Some(Fault::Html) => return page(StatusCode::OK),
        Some(Fault::Redirect { location }) => return redirect(location),
        Some(Fault::Truncate { bytes }) => {
            guard.answer = "truncated";
            line.cut_after(*bytes);
        }
        _ => {}
    }
    match xml::render(
        &simulator.keys,
        message,
        &reply.content,
        fault,
        &reply.forged,
    ) {
        Ok(body) => respond(
            StatusCode::OK,
            &[(
                header::CONTENT_TYPE,
                &format!("text/xml;charset={}", body.charset),
            )],
            body.bytes,
        ),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot render an answer");
            page(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn page(status: StatusCode) -> Response<Body> {
    let html =
        format!("<!DOCTYPE html><html><body><h1>{status}</h1><p>Please retry.</p></body></html>");
    respond(
        status,
        &[(header::CONTENT_TYPE, "text/html;charset=UTF-8")],
        html.into_bytes(),
    )
}

fn redirect(location: &str) -> Response<Body> {
    respond(
        StatusCode::FOUND,
        &[(header::LOCATION, location)],
        Vec::new(),
    )
}

fn respond(
    status: StatusCode,
    headers: &[(header::HeaderName, &str)],
    body: Vec<u8>,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = header::HeaderValue::from_str(value) {
            response.headers_mut().insert(name.clone(), value);
        }
    }
    response
}
