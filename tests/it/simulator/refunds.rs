//! How refunds run, fail and are answered.

use alipayhk_gateway::alipay::{
    outcome::{RefundOutcome, RefundQueryOutcome},
    request::RefundRequest,
};
use chrono::TimeDelta;
use serde_json::json;

use super::{Store, money, noon, text};

/// A line of the table of refunds.
struct Line {
    ending: String,
    modes: Vec<&'static str>,
    shows: Vec<String>,
}

fn table() -> Vec<Line> {
    let printed = alipay_simulator::scenarios();
    let (_, refunds) = printed.split_once("\n\n").expect("two tables");
    let lines = refunds.lines().skip(2);
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let ["", ending, mode, what, shows, ""] = cells.as_slice() else {
                panic!("not a line of the table: {line}");
            };
            assert!(!what.is_empty(), "{line}");
            Line {
                ending: (*ending).replace("any other", "9999"),
                modes: match *mode {
                    "both" => vec!["sync", "async"],
                    "sync" => vec!["sync"],
                    "async" => vec!["async"],
                    _ => panic!("no mode: {line}"),
                },
                shows: shows.split(", then ").map(str::to_owned).collect(),
            }
        })
        .collect()
}

/// What the gateway will show for the answer to a refund request.
fn first_shown(outcome: &RefundOutcome) -> String {
    match outcome {
        RefundOutcome::Succeeded { .. } => "`succeeded`".to_owned(),
        RefundOutcome::Accepted { .. } => "`pending` / `awaiting_batch`".to_owned(),
        RefundOutcome::Refused(failure) => format!("`failed`, `{}`", failure.code),
        RefundOutcome::BalanceTooLow { code } => format!("`failed`, `{code}`"),
        RefundOutcome::UnknownCode { .. } | RefundOutcome::Unknown => {
            "`pending` / `outcome_unknown`".to_owned()
        }
        RefundOutcome::CheckPayment { .. } => panic!("{outcome:?}"),
    }
}

/// The steps of a refund that asks again each night, and repeats what Alipay does not know.
async fn follow(store: &Store, request: &RefundRequest, shown: &mut Vec<String>) {
    for _ in 0..=181 {
        let outcome = store.ask(request).await;
        let step = match &outcome {
            RefundQueryOutcome::Succeeded { .. } => "`succeeded`".to_owned(),
            RefundQueryOutcome::Failed { code } => {
                format!("`failed`, `{}`", code.as_deref().unwrap_or("-"))
            }
            RefundQueryOutcome::Processing { code: Some(_), .. } => {
                "`pending` / `insufficient_funds`".to_owned()
            }
            RefundQueryOutcome::Processing { code: None, .. } => {
                "`pending` / `awaiting_batch`".to_owned()
            }
            RefundQueryOutcome::NotFound => {
                store.send(request).await;
                continue;
            }
            _ => panic!("{outcome:?}"),
        };
        if shown.last() != Some(&step) {
            shown.push(step.clone());
        }
        if !step.starts_with("`pending`") {
            return;
        }
        store.simulator.advance_clock(TimeDelta::days(1)).await;
    }
    panic!("never ends: {request:?}");
}

#[tokio::test]
async fn every_line_of_the_table_of_refunds_is_true_of_the_wire() {
    let mut store = Store::open().await;
    let table = table();
    assert!(table.len() > 15, "{} lines", table.len());
    for line in table {
        for mode in line.modes {
            store.simulator.set_clock(noon()).await;
            let payment = store.pay(&line.ending).await;
            let request = store.request(&payment, mode);
            let mut shown = vec![first_shown(&store.send(&request).await)];
            if shown[0].starts_with("`pending`") {
                follow(&store, &request, &mut shown).await;
            }
            assert_eq!(shown, line.shows, "{} {mode}", line.ending);
        }
    }
}

#[tokio::test]
async fn what_alipay_does_by_itself_is_seen_by_a_query() {
    let mut store = Store::open().await;
    let payment = store.pay("0001").await;
    let reversed = store.request(&payment, "sync");
    let succeeded = store.send(&reversed).await;
    assert!(matches!(succeeded, RefundOutcome::Succeeded { .. }));
    let shown = store
        .simulator
        .fail_refund(reversed.partner_refund_id.as_str(), "BUYER_NOT_EXIST")
        .await;
    let states = shown["history"].as_array().expect("a list").iter();
    let states: Vec<&str> = states.map(|step| text(step, "status")).collect();
    assert_eq!(states, ["PROCESSING", "SUCCESS", "FAILED"]);
    let code = Some("BUYER_NOT_EXIST".to_owned());
    let failed = RefundQueryOutcome::Failed { code };
    assert_eq!(store.ask(&reversed).await, failed);

    let night = json!({"same_day_immediate": false, "in_window": "next_night"});
    store.simulator.set_refund_policy(&night).await;
    let canceled = store.request(&payment, "async");
    store.send(&canceled).await;
    store
        .simulator
        .cancel_refund(canceled.partner_refund_id.as_str())
        .await;
    assert_eq!(store.ask(&canceled).await, RefundQueryOutcome::Canceled);

    let portal = store.simulator.portal_refund(payment.as_str(), 950).await;
    assert_eq!(
        (&portal["portal"], &portal["status"]),
        (&json!(true), &json!("PROCESSING"))
    );
    let trade = store.simulator.trades().await.remove(0);
    assert_eq!(
        (&trade["refund_pending_minor"], &trade["refunded_minor"]),
        (&json!(950), &json!(0))
    );
    let exceeding = store.request(&payment, "sync");
    let refused = store.send(&exceeding).await;
    assert_eq!(first_shown(&refused), "`failed`, `RETURN_AMOUNT_EXCEED`");
    store.simulator.advance_clock(TimeDelta::days(1)).await;
    let refunds = store.simulator.refunds().await;
    let statuses: Vec<&str> = refunds
        .iter()
        .map(|refund| text(refund, "status"))
        .collect();
    assert_eq!(statuses, ["FAILED", "CANCELED", "SUCCESS"]);
    assert_eq!(store.simulator.trades().await[0]["refunded_minor"], 950);
}

#[tokio::test]
async fn faults_are_scripted_for_refunds_as_for_payments() {
    let mut store = Store::open().await;
    let payment = store.pay("0001").await;
    for (fault, first, known) in [
        (
            json!({"type": "drop_before_effect"}),
            "outcome_unknown",
            false,
        ),
        (
            json!({"type": "drop_after_effect"}),
            "outcome_unknown",
            true,
        ),
        (
            json!({"type": "system_error_before_effect"}),
            "outcome_unknown",
            false,
        ),
        (
            json!({"type": "system_error_after_effect"}),
            "outcome_unknown",
            true,
        ),
        (
            json!({"type": "wrong_signature_key"}),
            "outcome_unknown",
            true,
        ),
        (json!({"type": "wrong_id"}), "outcome_unknown", true),
        (json!({"type": "wrong_amount"}), "outcome_unknown", true),
        (
            json!({"type": "truncate", "bytes": 40}),
            "outcome_unknown",
            true,
        ),
        (json!({"type": "html"}), "outcome_unknown", true),
        (
            json!({"type": "duplicate_element"}),
            "outcome_unknown",
            true,
        ),
        (
            json!({"type": "refund_refuse", "code": "TRADE_NOT_EXIST"}),
            "TRADE_NOT_EXIST",
            false,
        ),
        (
            json!({"type": "result_after_effect", "code": "FAIL", "error": "REPEATED_REFUNDMENT_REQUEST"}),
            "outcome_unknown",
            true,
        ),
    ] {
        let mut request = store.request(&payment, "sync");
        request.amount = money(1);
        let id = request.partner_refund_id.as_str();
        store
            .simulator
            .script_for_refund("refund", id, fault.clone())
            .await;
        let shown = first_shown(&store.send(&request).await);
        assert!(shown.contains(first), "{fault}: {shown}");
        let asked = store.ask(&request).await;
        let succeeded = matches!(asked, RefundQueryOutcome::Succeeded { .. });
        assert_eq!(succeeded, known, "{fault}: {asked:?}");
        assert_eq!(asked == RefundQueryOutcome::NotFound, !known, "{fault}");
    }
}

#[tokio::test]
async fn faults_are_scripted_for_refund_queries_and_repetitions() {
    let mut store = Store::open().await;
    let payment = store.pay("0001").await;
    let request = store.request(&payment, "sync");
    store.send(&request).await;
    for (fault, expected) in [
        (
            json!({"type": "drop_after_effect"}),
            RefundQueryOutcome::Unknown,
        ),
        (json!({"type": "wrong_id"}), RefundQueryOutcome::Unknown),
        (
            json!({"type": "wrong_signature_key"}),
            RefundQueryOutcome::Unknown,
        ),
        (
            json!({"type": "duplicate_element"}),
            RefundQueryOutcome::Unknown,
        ),
        (
            json!({"type": "result", "code": "QUERY_FAILED"}),
            RefundQueryOutcome::Unknown,
        ),
        (
            json!({"type": "system_error_before_effect"}),
            RefundQueryOutcome::Unknown,
        ),
        (json!({"type": "not_exist"}), RefundQueryOutcome::NotFound),
    ] {
        let id = request.partner_refund_id.as_str();
        let service = "refund_query";
        store
            .simulator
            .script_for_refund(service, id, fault.clone())
            .await;
        assert_eq!(store.ask(&request).await, expected, "{fault}");
    }
    let repeats = json!({"repeats": "repeated_refundment_request"});
    store.simulator.set_refund_policy(&repeats).await;
    assert_eq!(store.send(&request).await, RefundOutcome::Unknown);
    assert!(matches!(
        store.ask(&request).await,
        RefundQueryOutcome::Succeeded { .. }
    ));
}
