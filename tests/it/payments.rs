//! A payment from the till's request to the buyer's money: paid, declined, waiting, never confirmed.

use chrono::TimeDelta;
use serde_json::json;
use sqlx::PgPool;
use tokio_util::task::TaskTracker;

use crate::support::{
    World,
    alipay::JsonBody as _,
    http::{Caller, body},
};

#[sqlx::test]
async fn a_paid_payment_answers_201_with_everything_alipay_said(pool: PgPool) {
    let world = World::start(pool).await;
    let answer = world.pay("0001").await;
    assert_eq!(answer.summary("status"), (201, "succeeded"), "{answer:?}");
    let payment = &answer.body;
    assert_eq!(payment["outcome_certainty"], "final");
    assert_eq!(payment["amount"], json!({"value": 3925, "currency": "HKD"}));
    assert_eq!(payment["wallet"], "ALIPAYHK");
    assert_eq!(payment["next_action"]["type"], "done");
    assert_eq!(payment["business_date"], "2026-01-02");
    assert_eq!(payment["store_id"], "ST01");
    assert_eq!(payment["version"], 2);
    assert_eq!(
        payment["refunds"],
        json!({"refunded": 0, "pending": 0, "refundable": 3925})
    );
    let trades = world.simulator.trades().await;
    assert_eq!(trades.len(), 1);
    assert_eq!(trades[0]["alipay_trans_id"], payment["alipay_trans_id"]);
    assert_eq!(trades[0]["amount_minor"], 3925);
    assert_eq!(
        world.till.payment(answer.id()).await,
        *payment,
        "GET agrees with POST"
    );
    world.finish().await;
}

#[sqlx::test]
async fn hk_13_every_wallet_is_taken_and_reported(pool: PgPool) {
    let world = World::start(pool).await;
    assert_eq!(world.pay("0002").await.summary("wallet"), (201, "ALIPAYCN"));
    let unknown = world.pay("0003").await;
    assert_eq!(unknown.summary("status"), (201, "succeeded"));
    assert!(
        !unknown.body["wallet"].is_null(),
        "a wallet not yet known to us is kept: {unknown:?}"
    );
    world.finish().await;
}

#[sqlx::test]
async fn iv_2_a_24_digit_code_is_accepted(pool: PgPool) {
    let world = World::start(pool).await;
    let mut request = body("0001");
    request["barcode"] = json!("301234567890123456780001");
    let answer = world.till.create("24-digits", &request, 5).await;
    assert_eq!(answer.summary("status"), (201, "succeeded"), "{answer:?}");
    world.finish().await;
}

#[sqlx::test]
async fn a_declined_payment_is_a_201_that_says_what_to_do(pool: PgPool) {
    let world = World::start(pool).await;
    let answer = world.pay("1001").await;
    assert_eq!(answer.summary("status"), (201, "failed"), "{answer:?}");
    let failure = &answer.body["failure"];
    assert!(
        failure["code"]
            .as_str()
            .is_some_and(|code| !code.is_empty())
    );
    assert!(
        failure["message"]
            .as_str()
            .is_some_and(|message| message.len() > 10)
    );
    assert!(failure["retry"].is_string());
    assert_eq!(answer.body["cancelable_until"], json!(null));
    world.finish().await;
}

#[sqlx::test]
async fn iv_3_a_buyer_who_confirms_in_the_wallet_pays(pool: PgPool) {
    let mut world = World::start(pool).await;
    let pending = world.till.pay_without_waiting("0101").await;
    assert_eq!(pending.status, 202);
    assert_eq!(
        pending.header("location"),
        format!("/v1/payments/{}", pending.id())
    );
    assert!(!pending.header("retry-after").is_empty());
    world.settle_calls().await;
    let waiting = world.till.payment(pending.id()).await;
    assert_eq!(waiting["status_reason"], "awaiting_buyer");
    assert_eq!(waiting["outcome_certainty"], "pending");
    assert_eq!(waiting["next_action"]["type"], "ask_buyer_to_confirm");
    let paid = world
        .run_until_final(pending.id(), TimeDelta::seconds(15))
        .await;
    assert_eq!(paid["status"], "succeeded");
    world.finish().await;
}

#[sqlx::test]
async fn a_caller_who_waits_gets_the_answer_as_soon_as_the_buyer_confirms(pool: PgPool) {
    let mut world = World::start(pool).await;
    let pending = world.till.pay_without_waiting("0102").await;
    world.settle_calls().await;
    let partner_trans_id = pending.body["partner_trans_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let version = world.till.payment(pending.id()).await["version"].clone();
    let till = world.till.clone();
    let path = format!("/v1/payments/{}?wait=30", pending.id());
    let waiting = TaskTracker::new().spawn(async move { till.get(&path).await });
    world.simulator.confirm(&partner_trans_id).await;
    world.advance(TimeDelta::seconds(5)).await;
    world.run_due().await;
    let answer = waiting.await.expect("the wait ends");
    assert_eq!(answer.summary("status"), (200, "succeeded"));
    assert_ne!(answer.body["version"], version);
    world.finish().await;
}

#[sqlx::test]
async fn the_wallet_of_an_unpaid_payment_is_shown_once_a_query_names_it(pool: PgPool) {
    let mut world = World::start(pool).await;
    let pending = world.till.pay_without_waiting("0102").await;
    world.settle_calls().await;
    let unasked = world.till.payment(pending.id()).await;
    assert_eq!(unasked["wallet"], json!(null), "the pay answer names none");
    world.advance(TimeDelta::seconds(5)).await;
    world.run_due().await;
    let named = world.till.payment(pending.id()).await;
    assert_eq!(named["status_reason"], "awaiting_buyer");
    assert_eq!(named["wallet"], "ALIPAYHK");
    assert_eq!(named["wallet_allowed"], true);
    world.advance(TimeDelta::seconds(3)).await;
    world.run_due().await;
    let again = world.till.payment(pending.id()).await;
    assert_eq!(again["version"], named["version"], "said once");
    world
        .simulator
        .confirm(named["partner_trans_id"].as_str().expect("an id"))
        .await;
    let paid = world
        .run_until_final(pending.id(), TimeDelta::seconds(15))
        .await;
    assert_eq!(
        (&paid["status"], &paid["wallet"]),
        (&json!("succeeded"), &json!("ALIPAYHK"))
    );
    world.finish().await;
}

#[sqlx::test]
async fn iv_4_a_buyer_who_never_confirms_is_not_charged(pool: PgPool) {
    let mut world = World::start(pool).await;
    let pending = world.till.pay_without_waiting("0102").await;
    let closed = world
        .run_until_final(pending.id(), TimeDelta::seconds(90))
        .await;
    assert_eq!(closed["status"], "canceled");
    assert_eq!(closed["status_reason"], "buyer_did_not_confirm");
    assert_eq!(closed["money_returned"], false);
    let trades = world.simulator.trades().await;
    assert_eq!(trades[0]["status"], "TRADE_CLOSED");
    assert_eq!(trades[0]["charged"], false);
    world.finish().await;
}

#[sqlx::test]
async fn a_buyer_who_dismisses_is_not_charged(pool: PgPool) {
    let mut world = World::start(pool).await;
    let pending = world.till.pay_without_waiting("0104").await;
    let closed = world
        .run_until_final(pending.id(), TimeDelta::seconds(30))
        .await;
    assert_eq!(closed["status"], "canceled");
    world.finish().await;
}

#[sqlx::test]
async fn iv_5_a_system_error_is_settled_by_query_or_cancel(pool: PgPool) {
    let mut world = World::start(pool).await;
    let charged = world.till.pay_without_waiting("2002").await;
    let nothing = world.till.pay_without_waiting("2001").await;
    world.settle_calls().await;
    for id in [charged.id(), nothing.id()] {
        let open = world.till.payment(id).await;
        assert_eq!(open["status"], "processing");
        assert_eq!(open["outcome_certainty"], "unknown");
    }
    let paid = world
        .run_until_final(charged.id(), TimeDelta::seconds(10))
        .await;
    assert_eq!(paid["status"], "succeeded");
    let never = world
        .run_until_final(nothing.id(), TimeDelta::seconds(300))
        .await;
    assert_eq!(never["status"], "canceled");
    assert_eq!(never["status_reason"], "never_created");
    world.finish().await;
}

#[sqlx::test]
async fn s9_v1_an_answer_that_lies_changes_nothing_and_is_shown_as_an_incident(pool: PgPool) {
    let mut world = World::start(pool).await;
    for (code, class) in [
        ("3001", "bad_signature"),
        ("3002", "mismatch"),
        ("3003", "mismatch"),
        ("3004", "malformed"),
        ("3007", "bad_signature"),
        ("3008", "bad_signature"),
        ("3009", "malformed"),
        ("3011", "mismatch"),
        ("3012", "malformed"),
        ("3015", "malformed"),
        ("2006", "http_status"),
        ("2007", "malformed"),
        ("2008", "http_status"),
    ] {
        let pending = world.till.pay_without_waiting(code).await;
        world.settle_calls().await;
        let open = world.till.payment(pending.id()).await;
        assert_eq!(open["status_reason"], "outcome_unknown", "{code}: {open}");
        let timeline = world.till.timeline(pending.id()).await;
        let attempt = timeline.iter().find(|item| item["type"] == "attempt");
        let attempt = attempt.unwrap_or_else(|| panic!("{code}: no attempt in {timeline:?}"));
        assert_eq!(attempt["answer"], class, "{code}: {attempt}");
        assert_eq!(attempt["incident"], true, "{code}: {attempt}");
        let paid = world
            .run_until_final(pending.id(), TimeDelta::seconds(10))
            .await;
        assert_eq!(paid["status"], "succeeded", "{code}");
    }
    world.finish().await;
}

#[sqlx::test]
async fn a_success_nobody_signed_is_not_believed(pool: PgPool) {
    let mut world = World::start(pool).await;
    for code in ["3010", "3013"] {
        let pending = world.till.pay_without_waiting(code).await;
        let end = world
            .run_until_final(pending.id(), TimeDelta::seconds(300))
            .await;
        assert_eq!(end["status"], "canceled", "{code}");
        assert_eq!(end["status_reason"], "never_created", "{code}");
    }
    assert!(
        world
            .simulator
            .trades()
            .await
            .iter()
            .all(|trade| trade["charged"] == false)
    );
    world.finish().await;
}

#[sqlx::test]
async fn answers_in_gbk_and_with_unknown_fields_are_read(pool: PgPool) {
    let world = World::start(pool).await;
    for code in ["3005", "3006", "3014"] {
        let answer = world.pay(code).await;
        assert_eq!(
            answer.summary("status"),
            (201, "succeeded"),
            "{code}: {answer:?}"
        );
    }
    world.finish().await;
}

#[sqlx::test]
async fn an_unreachable_alipay_leaves_the_payment_open_never_failed(pool: PgPool) {
    let mut world = World::start(pool).await;
    world
        .simulator
        .script("any", 6, json!({"type": "drop_before_effect"}))
        .await;
    let pending = world.pay("0001").await;
    assert_eq!(
        pending.summary("status"),
        (202, "processing"),
        "{pending:?}"
    );
    let end = world
        .run_until_final(pending.id(), TimeDelta::seconds(300))
        .await;
    assert_eq!(end["status_reason"], "never_created");
    world.finish().await;
}

#[sqlx::test]
async fn a_list_is_newest_first_filtered_and_paged(pool: PgPool) {
    let world = World::start(pool).await;
    let mut ids = vec![];
    for code in ["0001", "1001", "0001", "0001", "1001"] {
        ids.push(world.pay(code).await.id().to_owned());
    }
    ids.reverse();
    let mut found = vec![];
    let mut path = "/v1/payments?limit=2".to_owned();
    loop {
        let page = world.till.get(&path).await;
        assert_eq!(page.status, 200, "{page:?}");
        let items = page.body["items"].as_array().expect("a list");
        found.extend(
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap_or_default().to_owned()),
        );
        match page.body["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/payments?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(found, ids);
    let failed = world.till.get("/v1/payments?status=failed").await;
    assert_eq!(failed.body["items"].as_array().map(Vec::len), Some(2));
    let bad = world.till.get("/v1/payments?cursor=nonsense").await;
    assert_eq!(bad.status, 400, "{bad:?}");
    world.finish().await;
}

#[sqlx::test]
async fn an_etag_spares_an_unchanged_payment(pool: PgPool) {
    let world = World::start(pool).await;
    let paid = world.pay("0001").await;
    let path = format!("/v1/payments/{}", paid.id());
    let etag = world.till.get(&path).await.header("etag").to_owned();
    assert!(!etag.is_empty());
    let request = world
        .till
        .request(reqwest::Method::GET, &path)
        .header("if-none-match", &etag);
    assert_eq!(Caller::send(request).await.status, 304);
    world.finish().await;
}

#[sqlx::test]
async fn a_code_can_be_inspected_without_a_payment(pool: PgPool) {
    let world = World::start(pool).await;
    let inspect = |code: &str| {
        let request = world
            .till
            .request(reqwest::Method::POST, "/v1/barcodes/inspect");
        Caller::send(request.json_body(&json!({"barcode": code})))
    };
    let good = inspect("2812 3456 7890 1234 56").await;
    assert_eq!(
        (good.status, &good.body["acceptable"]),
        (200, &json!(true)),
        "{good:?}"
    );
    let other = inspect("134567890123456789").await;
    assert_eq!(
        (other.status, &other.body["acceptable"]),
        (200, &json!(false)),
        "{other:?}"
    );
    world.finish().await;
}

#[sqlx::test]
async fn a_till_with_the_wrong_key_or_scope_is_refused(pool: PgPool) {
    use alipayhk_gateway::domain::access::principal::Scope;
    let world = World::start(pool).await;
    let stranger = Caller::new(&world.replicas[0].url, "ahk_nobody");
    assert_eq!(stranger.pay("0001").await.status, 401);
    let reader = world.caller(0, &[Scope::PaymentsRead]).await;
    let refused = reader.pay("0001").await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(
        refused.body.to_string().contains("payments:write"),
        "{refused:?}"
    );
    assert!(
        world.simulator.requests().await.is_empty(),
        "nothing was sent"
    );
    world.finish().await;
}
