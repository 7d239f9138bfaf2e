//! What an operator sees of a payment: one trace, honest counters, one log line per answer.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use alipayhk_gateway::domain::access::principal::Scope;

use crate::{
    reconciliation::{one_row_at, upload},
    support::{
        PARTNER,
        alipay::{JsonBody as _, client},
        collector::attribute,
        http::{Answer, Caller, body},
        program::Stage,
        watched::Program,
    },
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLERS_SPAN: &str = "b7ad6b7169203331";

/// Late enough that a payment's own call is over and recorded before the first question, also on a
/// busy machine.
const FIRST_QUERY_LATE: &[(&str, &str)] = &[("FOLLOW_UP_FIRST_QUERY_MS", "3000")];

/// A create with the scenario's code and a header more.
async fn create(till: &Caller, code: &str, header: (&str, &str)) -> Answer {
    let request = till
        .request(Method::POST, "/v1/payments")
        .header("idempotency-key", uuid::Uuid::now_v7().to_string())
        .header("prefer", "wait=20")
        .header(header.0, header.1);
    Caller::send(request.json_body(&body(code))).await
}

/// A notification that nobody signed.
async fn notify(url: &str, partner: &str) -> Answer {
    let path = format!("{url}/alipay/notify/{partner}");
    Caller::send(client().post(path).body("notify_id=1")).await
}

fn children<'s>(spans: &'s [Span], parent: &Span) -> Vec<&'s Span> {
    let mut children: Vec<_> = spans
        .iter()
        .filter(|span| span.parent_span_id == parent.span_id)
        .collect();
    children.sort_by_key(|span| span.start_time_unix_nano);
    children
}

fn one<'s>(spans: &[&'s Span], name: &str) -> &'s Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} among {spans:#?}");
    found[0]
}

#[sqlx::test]
async fn a_payment_is_one_trace_that_continues_the_callers(pool: PgPool) {
    let mut program = Program::start(&pool, &[]).await;
    let traceparent = format!("00-{TRACE}-{CALLERS_SPAN}-01");
    let paid = create(&program.till, "0001", ("traceparent", &traceparent)).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"));
    program.stop().await;
    let spans = program.collector.spans();
    let spans: Vec<Span> = spans
        .into_iter()
        .filter(|span| hex::encode(&span.trace_id) == TRACE)
        .collect();
    let all: Vec<_> = spans.iter().collect();
    let server = one(&all, "POST /v1/payments");
    assert_eq!(hex::encode(&server.parent_span_id), CALLERS_SPAN);
    assert_eq!(server.kind, SpanKind::Server as i32);
    assert_eq!(
        paid.header("traceparent"),
        format!("00-{TRACE}-{}-01", hex::encode(&server.span_id)),
        "the answer names the server's span"
    );
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/payments"),
        ("http.response.status_code", "201"),
        ("request_id", paid.header("x-request-id")),
    ] {
        assert_eq!(attribute(server, name), value, "{name}");
    }
    let steps = children(&spans, server);
    let names: Vec<_> = steps.iter().map(|span| span.name.as_str()).collect();
    let expected = [
        "db.api_key.find",
        "db.store.find",
        "db.intent.insert",
        "alipay.call",
        "db.payment.record",
    ];
    assert_eq!(names, expected, "one span for each step, in this order");
    assert_eq!(spans.len(), 1 + expected.len(), "and nothing else");
    for pair in steps.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        assert!(
            first.end_time_unix_nano <= second.start_time_unix_nano,
            "R2: {} is over before {} begins",
            first.name,
            second.name
        );
    }
    for step in &steps {
        assert_eq!(step.kind, SpanKind::Client as i32, "{}", step.name);
        if step.name.starts_with("db.") {
            assert_eq!(attribute(step, "db.system"), "postgresql");
        }
    }
    let call = one(&steps, "alipay.call");
    for (name, value) in [
        ("alipay.service", "alipay.acquire.overseas.spot.pay"),
        ("alipay.class", "success"),
        (
            "payment.partner_trans_id",
            paid.body["partner_trans_id"].as_str().unwrap_or_default(),
        ),
    ] {
        assert_eq!(attribute(call, name), value, "{name}");
    }
    let intent = one(&steps, "db.intent.insert");
    assert_eq!(attribute(intent, "payment.id"), paid.id());
}

#[sqlx::test]
async fn a_follow_up_is_a_trace_of_its_own_that_names_the_payment(pool: PgPool) {
    let mut program = Program::start(&pool, FIRST_QUERY_LATE).await;
    let traceparent = format!("00-{TRACE}-{CALLERS_SPAN}-01");
    let paid = create(&program.till, "2002", ("traceparent", &traceparent)).await;
    assert_eq!(
        paid.summary("status"),
        (201, "succeeded"),
        "settled within the wait"
    );
    program.stop().await;
    let spans = program.collector.spans();
    let all: Vec<_> = spans.iter().collect();
    let visit = one(&all, "follow_up.visit");
    assert_ne!(hex::encode(&visit.trace_id), TRACE);
    assert!(visit.parent_span_id.is_empty());
    assert_eq!(attribute(visit, "payment.id"), paid.id());
    assert!(attribute(visit, "follow_up.id").starts_with("fup_"));
    let steps = children(&spans, visit);
    let names: Vec<_> = steps.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(
        names,
        ["db.attempt.insert", "alipay.call", "db.payment.record"]
    );
    let call = one(&steps, "alipay.call");
    assert_eq!(
        attribute(call, "alipay.service"),
        "alipay.acquire.overseas.query"
    );
    assert_eq!(
        attribute(call, "payment.partner_trans_id"),
        paid.body["partner_trans_id"].as_str().unwrap_or_default()
    );
}

/// The Prometheus text format, read strictly: samples by name and labels.
struct Metrics(BTreeMap<String, String>);

impl Metrics {
    async fn read(till: &Caller) -> Self {
        let answer = till.get("/metrics").await;
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .header("content-type")
                .starts_with("text/plain; version=0.0.4")
        );
        Self::parse(answer.body.as_str().expect("text"))
    }

    fn parse(text: &str) -> Self {
        let (mut helps, mut types) = (BTreeSet::new(), BTreeMap::new());
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("HELP has a text");
                assert!(!help.is_empty() && helps.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("TYPE has a type");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(
                    types.insert(name.to_owned(), kind.to_owned()).is_none(),
                    "{line}"
                );
            } else {
                let (sample, value) = line.rsplit_once(' ').expect("a sample has a value");
                let name = sample.split('{').next().unwrap_or_default();
                let family = ["_bucket", "_sum", "_count"]
                    .iter()
                    .filter_map(|suffix| name.strip_suffix(suffix))
                    .find(|family| types.get(*family).is_some_and(|kind| kind == "histogram"))
                    .unwrap_or(name);
                assert!(helps.contains(family), "no HELP: {line}");
                assert!(types.contains_key(family), "no TYPE: {line}");
                assert!(value.parse::<f64>().is_ok(), "no number: {line}");
                assert!(
                    samples
                        .insert(sample.to_owned(), value.to_owned())
                        .is_none(),
                    "twice: {line}"
                );
            }
        }
        Self(samples)
    }

    /// The one sample with these labels, which must be a count; 0 where it does not exist yet.
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        let found: Vec<_> = self
            .0
            .iter()
            .filter(|(sample, _)| sample.split('{').next() == Some(name))
            .filter(|(sample, _)| {
                labels
                    .iter()
                    .all(|(label, value)| sample.contains(&format!("{label}=\"{value}\"")))
            })
            .collect();
        assert!(found.len() <= 1, "{name} {labels:?}: {found:?}");
        found.first().map_or(0, |(sample, value)| {
            value
                .parse()
                .unwrap_or_else(|_| panic!("no count: {sample} {value}"))
        })
    }
}

/// Q9: what looks like a stolen key is told, once.
#[sqlx::test]
async fn q9_a_burst_of_refunds_is_counted_and_logged(pool: PgPool) {
    let mut program = Program::start(&pool, FIRST_QUERY_LATE).await;
    let till = &program.till;
    let paid = create(till, "0001", ("prefer", "handling=strict")).await;
    let small = json!({"amount": {"value": 1, "currency": "HKD"}, "allow_duplicate": true});
    for made in 1..=31 {
        let refund = till.refund(paid.id(), &small, 20).await;
        assert_eq!(refund.status, 201, "{refund:?}");
        let bursts = Metrics::read(till).await.get("refund_bursts_total", &[]);
        assert_eq!(bursts, i64::from(made >= 30), "after {made}");
    }
    let output = program.stop().await;
    let told = "the merchant made 30 refunds within ten minutes";
    assert_eq!(output.stdout.matches(told).count(), 1);
}

#[sqlx::test]
async fn metrics_are_described_and_move(pool: PgPool) {
    type Labels = &'static [(&'static str, &'static str)];
    const MOVES: &[(&str, Labels, i64)] = &[
        (
            "http_requests_total",
            &[
                ("method", "POST"),
                ("route", "/v1/payments"),
                ("status", "201"),
            ],
            4,
        ),
        (
            "http_requests_total",
            &[("method", "GET"), ("route", "unmatched"), ("status", "404")],
            1,
        ),
        (
            "http_request_duration_seconds_count",
            &[("method", "POST"), ("route", "/v1/payments")],
            4,
        ),
        (
            "alipay_calls_total",
            &[("service", "pay"), ("class", "success")],
            2,
        ),
        (
            "alipay_calls_total",
            &[("service", "pay"), ("class", "declined")],
            1,
        ),
        (
            "alipay_calls_total",
            &[("service", "pay"), ("class", "system_error")],
            1,
        ),
        (
            "alipay_calls_total",
            &[("service", "query"), ("class", "success")],
            1,
        ),
        (
            "alipay_call_duration_seconds_count",
            &[("service", "pay")],
            4,
        ),
        (
            "payment_transitions_total",
            &[("from", "processing"), ("to", "succeeded")],
            3,
        ),
        (
            "payment_transitions_total",
            &[("from", "processing"), ("to", "failed")],
            1,
        ),
        ("payment_open_seconds_count", &[("status", "succeeded")], 3),
        (
            "alipay_calls_total",
            &[("service", "refund"), ("class", "success")],
            1,
        ),
        (
            "refund_transitions_total",
            &[("from", "pending"), ("to", "succeeded")],
            1,
        ),
        (
            "alipay_notifications_total",
            &[("outcome", "unverified")],
            1,
        ),
        (
            "alipay_notifications_total",
            &[("outcome", "other_partner")],
            1,
        ),
    ];
    let mut program = Program::start(&pool, FIRST_QUERY_LATE).await;
    let till = &program.till;
    let before = Metrics::read(till).await;
    for code in ["0001", "0002", "1016", "2002"] {
        let answer = create(till, code, ("prefer", "handling=strict")).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        if code == "0001" {
            let refund = till.refund(answer.id(), &json!({}), 20).await;
            assert_eq!(refund.summary("status"), (201, "succeeded"));
        }
    }
    for (partner, status) in [(PARTNER, 200), ("2088000000000002", 404)] {
        let answer = notify(&program.url, partner).await;
        assert_eq!((answer.status, &answer.body), (status, &json!("fail")));
    }
    assert_eq!(till.get("/nothing/281234567890123456").await.status, 404);
    let after = Metrics::read(till).await;
    for (name, labels, by) in MOVES {
        let moved = after.get(name, labels) - before.get(name, labels);
        assert_eq!(moved, *by, "{name} {labels:?}");
    }
    // Only the question itself is under way.
    assert_eq!(after.get("http_requests_in_flight", &[]), 1);
    for gauge in [
        "follow_ups_due",
        "follow_ups_parked",
        "alipay_circuit_breakers_open",
    ] {
        assert!(after.0.contains_key(gauge), "{gauge} is set from the start");
    }
    let ids = after.0.keys().find(|sample| {
        [
            "\"pay_", "\"ref_", "\"key_", "\"fup_", "\"ntf_", "2812345", "2088",
        ]
        .iter()
        .any(|id| sample.contains(id))
    });
    assert_eq!(ids, None, "Q23: no label carries an id");
    program.stop().await;
}

/// What a file makes of the books is counted by closed lists, and once.
#[sqlx::test]
async fn a_reconciliation_is_counted_once(pool: PgPool) {
    type Labels = &'static [(&'static str, &'static str)];
    const COUNTS: &[(&str, Labels, i64)] = &[
        (
            "reconciliation_files_total",
            &[("kind", "transaction"), ("source", "upload")],
            1,
        ),
        (
            "reconciliation_rows_total",
            &[("kind", "transaction"), ("readable", "yes")],
            2,
        ),
        (
            "reconciliation_rows_total",
            &[("kind", "transaction"), ("readable", "no")],
            1,
        ),
        (
            "reconciliation_differences_total",
            &[("class", "unknown_to_us")],
            1,
        ),
        (
            "reconciliation_differences_total",
            &[("class", "corrected")],
            1,
        ),
        ("reconciliation_settled_total", &[("of", "payment")], 1),
    ];
    let stage = Stage::set(pool).await;
    // Nobody asks before the file says it.
    let program = stage
        .gateway(&[("FOLLOW_UP_FIRST_QUERY_MS", "600000")])
        .await;
    let open = stage.till(&program).pay_without_waiting("2003").await;
    assert_eq!(open.status, 202, "{open:?}");
    let operator = stage.operator(&program, &[Scope::Reconciliation]).await;
    let payment = json!({"alipay_trans_id": "ALI1"});
    let id = open.body["partner_trans_id"].as_str().expect("an id");
    let at = open.body["created_at"].as_str().expect("an instant");
    let at: chrono::DateTime<chrono::Utc> = at.parse().expect("an RFC 3339 instant");
    let mut file = one_row_at(at, "PAYMENT", &payment, "39.25", id);
    for (id, amount) in [("STRANGER", "1.00"), ("BROKEN", "much")] {
        let other = one_row_at(at, "PAYMENT", &json!({}), amount, id);
        let row = other.split(|byte| *byte == b'\n').nth(2).expect("a row");
        file.extend_from_slice(row);
        file.push(b'\n');
    }
    let day = (at + chrono::TimeDelta::hours(8)).format("%Y%m%d");
    let name = format!("{PARTNER}_transaction_{day}.txt");
    for _ in 0..2 {
        let told = upload(&operator, &name, &file, false).await;
        assert!(matches!(told.status, 200 | 201), "{told:?}");
    }
    let metrics = Metrics::read(&operator).await;
    for (name, labels, count) in COUNTS {
        assert_eq!(metrics.get(name, labels), *count, "{name} {labels:?}");
    }
    program.stop().await;
    stage.close().await;
}

#[sqlx::test]
async fn each_answer_leaves_one_wide_event(pool: PgPool) {
    let mut program = Program::start(&pool, &[]).await;
    let till = &program.till;
    let paid = create(till, "0001", ("x-request-id", "till-1/42")).await;
    let read = till.get(&format!("/v1/payments/{}", paid.id())).await;
    let mut broken = body("0001");
    broken["amount"] = json!(1);
    let refused = till.create("key-1", &broken, 0).await;
    let nowhere = till.get("/nowhere").await;
    let refund = till.refund(paid.id(), &json!({}), 20).await;
    let refund_read = till.get(&format!("/v1/refunds/{}", refund.id())).await;
    let notified = notify(&program.url, PARTNER).await;
    let answers = [
        &paid,
        &read,
        &refused,
        &nowhere,
        &refund,
        &refund_read,
        &notified,
    ];
    let output = program.stop().await;
    let events = output.events();
    let wide: Vec<&Value> = events
        .iter()
        .filter(|event| event["target"] == "http.access")
        .collect();
    assert_eq!(wide.len(), answers.len(), "one event per answer: {wide:#?}");
    for ((event, answer), (method, route, problem)) in wide.iter().zip(answers).zip([
        ("POST", "/v1/payments", Value::Null),
        ("GET", "/v1/payments/{id}", Value::Null),
        ("POST", "/v1/payments", json!("validation_failed")),
        ("GET", "unmatched", json!("route_not_found")),
        ("POST", "/v1/payments/{id}/refunds", Value::Null),
        ("GET", "/v1/refunds/{id}", Value::Null),
        ("POST", "/alipay/notify/{partner}", Value::Null),
    ]) {
        assert_eq!(event["level"], "INFO", "{event}");
        assert_eq!(event["method"], method, "{event}");
        assert_eq!(event["route"], route, "{event}");
        assert_eq!(event["status"], answer.status, "{event}");
        assert_eq!(event["problem"], problem, "{event}");
        assert_eq!(
            event["request_id"],
            answer.header("x-request-id"),
            "{event}"
        );
        let trace = answer.header("traceparent").split('-').nth(1);
        assert_eq!(event["trace_id"].as_str(), trace, "{event}");
        assert_eq!(
            event["bytes"].to_string(),
            answer.header("content-length"),
            "{event}"
        );
        assert!(event["duration_ms"].is_u64(), "{event}");
        let at = event["timestamp"].as_str().unwrap_or_default();
        assert!(
            at.parse::<chrono::DateTime<chrono::Utc>>().is_ok(),
            "{event}"
        );
    }
    assert_eq!(wide[0]["request_id"], "till-1/42");
    for event in &wide[..2] {
        assert_eq!(event["payment.id"], paid.body["id"], "{event}");
        assert!(
            event["api_key_id"]
                .as_str()
                .is_some_and(|id| id.starts_with("key_")),
            "{event}"
        );
    }
    assert!(wide[2].get("payment.id").is_none(), "{}", wide[2]);
    for event in &wide[4..6] {
        assert_eq!(event["payment.id"], paid.body["id"], "{event}");
        assert_eq!(event["refund.id"], refund.body["id"], "{event}");
    }
    assert!(wide[6].get("api_key_id").is_none(), "{}", wide[6]);
    assert_eq!(output.stderr, "");
}

#[sqlx::test]
async fn q15_a_request_id_is_echoed_only_when_well_formed(pool: PgPool) {
    let mut program = Program::start(&pool, &[]).await;
    let till = &program.till;
    for id in ["till-1/42", "\u{7e}", &"x".repeat(128)] {
        let request = till.request(Method::GET, "/health/live");
        let answer = Caller::send(request.header("x-request-id", id)).await;
        assert_eq!(answer.header("x-request-id"), id);
    }
    for id in [
        "",
        "two words",
        &"x".repeat(129),
        "caf\u{e9}",
        "281234567890123456",
    ] {
        let request = till.request(Method::GET, "/nowhere");
        let answer = Caller::send(request.header("x-request-id", id)).await;
        let given = answer.header("x-request-id");
        assert!(
            given.len() == 32 && given.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id:?}: {given}"
        );
        assert_eq!(answer.body["request_id"], given);
    }
    let without = till.get("/health/live").await;
    assert_eq!(without.header("x-request-id").len(), 32);
    assert!(!without.header("traceparent").is_empty());
    program.stop().await;
}

/// Q23: what callers invent makes no label. Every label says which of a few things it was, and the only
/// id among them is that of the configured account.
#[sqlx::test]
async fn q23_no_label_of_a_metric_is_a_callers_to_invent(pool: PgPool) {
    let mut program = Program::start(&pool, &[]).await;
    let (till, url) = (program.till.clone(), program.url.clone());
    let operator = program
        .caller(&["--operator", "--scopes", "operations,reconciliation,admin"])
        .await;
    let paid = create(&till, "0001", ("x-request-id", "invented-request")).await;
    for code in ["1016", "2002", "9999"] {
        create(&till, code, ("x-request-id", "invented-request")).await;
    }
    let small = json!({"amount": {"value": 1, "currency": "HKD"}});
    till.refund(paid.id(), &small, 20).await;
    for path in [
        format!("/v1/payments/{}", paid.id()),
        "/v1/payments/invented-payment".to_owned(),
        "/invented-path".to_owned(),
        "/v1/payments?invented-parameter=1".to_owned(),
        "/v1/admin/merchants/invented-merchant/stores/invented-store".to_owned(),
    ] {
        till.get(&path).await;
        operator.get(&path).await;
    }
    notify(&url, "invented-partner").await;
    notify(&url, PARTNER).await;
    let method = Method::from_bytes(b"INVENTED").expect("a method");
    Caller::send(till.request(method, "/v1/payments")).await;
    Caller::new(&url, "ahk_invented-key")
        .get("/v1/payments")
        .await;
    let metrics = Metrics::read(&till).await;
    program.stop().await;
    let mut values = 0;
    for sample in metrics.0.keys() {
        let Some((_, labels)) = sample.split_once('{') else {
            continue;
        };
        for label in labels.trim_end_matches('}').split("\",") {
            let (name, value) = label.split_once("=\"").expect("a label");
            let value = value.trim_end_matches('"');
            let digits = value.bytes().filter(u8::is_ascii_digit).count();
            let is_bound = name == "le" || value == PARTNER || digits <= 4;
            assert!(is_bound, "an id? {sample}");
            assert!(!value.to_lowercase().contains("invented"), "{sample}");
            assert!(value.len() <= 80, "{sample}");
            values += 1;
        }
    }
    assert!(values > 50, "{values}");
}
