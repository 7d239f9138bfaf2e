//! Answers that say less than what happens, and a door that is closed.

use alipayhk_gateway::alipay::{
    outcome::{CancelOutcome, PayOutcome, RefundOutcome},
    request::CancelRequest,
};
use chrono::TimeDelta;
use serde_json::json;

use super::{Store, pay_at};
use crate::support::eventually;

/// A cancel that is answered as asked: how the gateway's client reads it, and the trade's status now, 3 s
/// and 5 s later, where the effect was to come after 4 s.
async fn canceled_late(answer: &str, after_seconds: Option<u32>) -> (CancelOutcome, [String; 3]) {
    let store = Store::open().await;
    let payment = store.pay("0001").await;
    let simulator = &store.simulator;
    simulator
        .script_late("cancel", 1, answer, after_seconds)
        .await;
    let request = CancelRequest {
        partner_trans_id: payment,
        alipay_trans_id: None,
    };
    let outcome = store.alipay.cancel(&request, || false).await.outcome;
    let status = async || {
        simulator.trades().await[0]["status"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    };
    let at_once = status().await;
    simulator.advance_clock(TimeDelta::seconds(3)).await;
    let before = status().await;
    simulator.advance_clock(TimeDelta::seconds(2)).await;
    (outcome, [at_once, before, status().await])
}

#[tokio::test]
async fn a_cancel_takes_effect_later_than_its_answer() {
    for answer in [
        "unknown",
        "system_error",
        "nothing",
        "retry_success",
        "success",
    ] {
        let (outcome, seen) = canceled_late(answer, Some(4)).await;
        let late = ["TRADE_SUCCESS", "TRADE_SUCCESS", "TRADE_CLOSED"];
        assert_eq!(seen, late, "{answer}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_cancel_that_is_to_be_repeated_had_its_effect_or_never_will() {
    let (_, seen) = canceled_late("retry_success", Some(0)).await;
    assert_eq!(seen, ["TRADE_CLOSED"; 3]);
    let (_, seen) = canceled_late("retry_success", None).await;
    assert_eq!(seen, ["TRADE_SUCCESS"; 3]);
}

#[tokio::test]
async fn a_refund_takes_effect_later_than_its_answer() {
    let mut store = Store::open().await;
    let payment = store.pay("0001").await;
    for (number, answer) in ["unknown", "system_error", "nothing"]
        .into_iter()
        .enumerate()
    {
        let request = store.request(&payment, "sync");
        store
            .simulator
            .script_late("refund", 1, answer, Some(4))
            .await;
        let outcome = store.send(&request).await;
        assert!(
            matches!(outcome, RefundOutcome::Unknown),
            "{answer}: {outcome:?}"
        );
        assert_eq!(store.simulator.refunds().await.len(), number, "{answer}");
        let pending = store.simulator.late_effects().await;
        assert_eq!(pending[0]["service"], "refund", "{pending:?}");
        let id = pending[0]["partner_refund_id"].as_str();
        assert_eq!(id, Some(request.partner_refund_id.as_str()));
        store.simulator.advance_clock(TimeDelta::seconds(5)).await;
        assert_eq!(
            store.simulator.refunds().await.len(),
            number + 1,
            "{answer}"
        );
    }
    let requests = store.simulator.requests().await;
    let refund = requests
        .iter()
        .find(|request| request["service"] == "refund");
    assert_eq!(refund.expect("a refund")["effect"], "later");
}

#[tokio::test]
async fn every_service_refuses_an_account_until_it_is_admitted_again() {
    let mut store = Store::open().await;
    let payment = store.pay("0001").await;
    store
        .simulator
        .refuse_access(Some("HAS_NO_PRIVILEGE"))
        .await;
    let (_, outcome) = pay_at(&store.alipay, "0002", "ST01").await;
    assert!(!matches!(outcome, PayOutcome::Paid { .. }), "{outcome:?}");
    let refund = store.request(&payment, "sync");
    store.send(&refund).await;
    store.ask(&refund).await;
    let cancel = CancelRequest {
        partner_trans_id: payment,
        alipay_trans_id: None,
    };
    store.alipay.cancel(&cancel, || false).await;
    let requests = store.simulator.requests().await;
    let refused = requests.iter().filter(|request| {
        request["refusal"]
            .as_str()
            .is_some_and(|it| it.starts_with("HAS_NO_PRIVILEGE"))
    });
    assert_eq!(refused.count(), 4, "{requests:?}");
    assert_eq!(store.simulator.trades().await.len(), 1);
    assert_eq!(store.simulator.trades().await[0]["status"], "TRADE_SUCCESS");
    store.simulator.refuse_access(None).await;
    store.pay("0002").await;
}

#[tokio::test]
async fn alipay_closes_a_paid_trade_with_and_without_its_money() {
    let store = Store::open().await;
    for (money_returned, returned) in [(true, 1000), (false, 0)] {
        let payment = store
            .pay(if money_returned { "0001" } else { "0002" })
            .await;
        let trade = store
            .simulator
            .close_paid(payment.as_str(), money_returned)
            .await;
        assert_eq!(trade["status"], "TRADE_CLOSED", "{trade}");
        assert_eq!(trade["refunded_minor"], returned, "{trade}");
        assert_eq!(trade["charged"], true, "{trade}");
    }
}

#[tokio::test]
async fn signed_refusals_have_any_code() {
    let mut store = Store::open().await;
    let payment = store.pay("0001").await;
    for service in ["pay", "cancel", "refund"] {
        store
            .simulator
            .script_refusal(service, 1, "TRADE_ROLE_ERROR")
            .await;
    }
    pay_at(&store.alipay, "0002", "ST01").await;
    let refund = store.request(&payment, "sync");
    store.send(&refund).await;
    let cancel = CancelRequest {
        partner_trans_id: payment,
        alipay_trans_id: None,
    };
    store.alipay.cancel(&cancel, || false).await;
    let requests = store.simulator.requests().await;
    let spoilt = requests
        .iter()
        .filter(|request| !request["fault"].is_null());
    let effects: Vec<_> = spoilt.map(|request| request["effect"].clone()).collect();
    assert_eq!(effects, [json!("none"), json!("none"), json!("none")]);
}

#[tokio::test]
async fn answers_hang_until_they_are_released() {
    let store = Store::open().await;
    let payment = store.pay("0001").await;
    store.simulator.script_hanging("cancel", 2).await;
    let request = CancelRequest {
        partner_trans_id: payment,
        alipay_trans_id: None,
    };
    let cancel = async || store.alipay.cancel(&request, || false).await.outcome;
    let release = async {
        eventually("both hang", async || {
            let requests = store.simulator.requests().await;
            requests.iter().filter(|it| it["answer"] == "held").count() == 2
        })
        .await;
        store.simulator.release().await;
    };
    let (one, other, ()) = tokio::join!(cancel(), cancel(), release);
    for outcome in [one, other] {
        assert!(
            matches!(outcome, CancelOutcome::Closed { .. }),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_failed_refund_is_done_after_all() {
    let mut store = Store::open().await;
    let payment = store.pay("0001").await;
    let request = store.request(&payment, "sync");
    store.send(&request).await;
    let id = request.partner_refund_id.as_str();
    store.simulator.fail_refund(id, "BUYER_NOT_EXIST").await;
    let refund = store.simulator.succeed_refund(id).await;
    assert_eq!(refund["status"], "SUCCESS", "{refund}");
    assert_eq!(store.simulator.trades().await[0]["refunded_minor"], 100);
}
