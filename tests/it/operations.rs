//! What operators do: ask now, steer the schedule, look at what stayed open, and decide it.

use alipayhk_gateway::domain::access::principal::Scope;
use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::World;

#[sqlx::test]
async fn refresh_asks_alipay_now(pool: PgPool) {
    let world = World::start(pool).await;
    let pending = world.till.pay_without_waiting("0102").await;
    world.settle_calls().await;
    let partner_trans_id = pending.body["partner_trans_id"].as_str().expect("an id");
    world.simulator.confirm(partner_trans_id).await;
    let path = format!("/v1/payments/{}/refresh", pending.id());
    let paid = world.till.post(&path, &Value::Null).await;
    assert_eq!(paid.summary("status"), (200, "succeeded"), "{paid:?}");
    world.finish().await;
}

#[sqlx::test]
async fn a_refresh_that_meets_silence_changes_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    let pending = world.till.pay_without_waiting("0102").await;
    world.settle_calls().await;
    let before = world.till.payment(pending.id()).await;
    world
        .simulator
        .script("query", 1, json!({"type": "drop_before_effect"}))
        .await;
    let path = format!("/v1/payments/{}/refresh", pending.id());
    let silent = world.till.post(&path, &Value::Null).await;
    assert_eq!(
        silent.summary("code"),
        (504, "upstream_silent"),
        "{silent:?}"
    );
    assert_eq!(
        world.till.payment(pending.id()).await["version"],
        before["version"]
    );
    world.finish().await;
}

#[sqlx::test]
async fn the_schedule_can_be_read_and_steered(pool: PgPool) {
    let mut world = World::start(pool).await;
    let operator = world.caller(0, &[Scope::Operations]).await;
    let pending = world.till.pay_without_waiting("0102").await;
    world.settle_calls().await;
    let list = operator
        .get(&format!("/v1/follow-ups?subject={}", pending.id()))
        .await;
    assert_eq!(list.status, 200, "{list:?}");
    let row = list.body["items"][0].clone();
    let id = row["id"].as_str().expect("an id").to_owned();
    assert_eq!(row["subject_id"], *pending.id());

    let until = "2026-01-02T03:30:00.000Z";
    let path = |verb: &str| format!("/v1/follow-ups/{id}/{verb}");
    let snoozed = operator
        .post(&path("snooze"), &json!({"until": until}))
        .await;
    assert_eq!(
        (snoozed.status, &snoozed.body["due_at"]),
        (200, &json!(until)),
        "{snoozed:?}"
    );
    world.advance(TimeDelta::seconds(30)).await;
    world.run_due().await;
    assert_eq!(world.simulator.count("query").await, 0, "it was left alone");

    let run = operator.post(&path("run"), &Value::Null).await;
    assert_eq!(run.status, 200, "{run:?}");
    world.run_due().await;
    assert_eq!(world.simulator.count("query").await, 1, "it was visited");

    let refused = operator.post(&path("abandon"), &json!({})).await;
    assert_eq!(
        refused.summary("code"),
        (422, "validation_failed"),
        "a reason is required"
    );
    let abandoned = operator
        .post(&path("abandon"), &json!({"reason": "case 7"}))
        .await;
    assert_eq!(
        abandoned.body["abandoned_reason"], "case 7",
        "{abandoned:?}"
    );
    world.advance(TimeDelta::seconds(300)).await;
    world.run_due().await;
    assert_eq!(
        world.simulator.count("query").await,
        1,
        "it is off the schedule"
    );
    let work_list = operator.get("/v1/unresolved").await;
    assert_eq!(
        work_list.body["items"][0]["payment"]["id"],
        *pending.id(),
        "{work_list:?}"
    );
    assert_eq!(work_list.body["items"][0]["evidence"]["attempts"], 2);

    operator.post(&path("run"), &Value::Null).await;
    world.run_due().await;
    let closed = world.till.payment(pending.id()).await;
    assert_eq!(
        closed["status"], "canceled",
        "the obligation was never lost: {closed}"
    );
    let gone = operator.post(&path("run"), &Value::Null).await;
    assert_eq!(gone.summary("code"), (404, "follow_up_not_found"));
    world.finish().await;
}

/// S4: a week of silence ends unresolved, visible with its evidence; an operator decides, audited.
#[sqlx::test]
async fn s4_an_unresolved_payment_is_decided_by_an_operator(pool: PgPool) {
    let mut world = World::start(pool).await;
    let operator = world.caller(0, &[Scope::Operations]).await;
    world
        .simulator
        .script("any", 1000, json!({"type": "drop_before_effect"}))
        .await;
    let lost = world.till.pay_without_waiting("0001").await;
    world.settle_calls().await;
    let resolve = format!("/v1/payments/{}/resolve", lost.id());
    let decision = json!({"status": "failed", "reason": "nothing at Alipay", "ticket": "OPS-1"});
    let early = operator.post(&resolve, &decision).await;
    assert_eq!(early.summary("code"), (409, "invalid_state"), "{early:?}");
    world.advance(TimeDelta::days(8)).await;
    world.run_due().await;
    let unresolved = world.till.payment(lost.id()).await;
    assert_eq!(unresolved["status"], "unresolved", "{unresolved}");
    assert_eq!(unresolved["next_action"]["type"], "call_operator");
    let work_list = operator.get("/v1/unresolved").await;
    assert_eq!(
        work_list.body["items"][0]["payment"]["id"],
        *lost.id(),
        "{work_list:?}"
    );
    assert!(work_list.body["items"][0]["evidence"]["answers"]["connection_lost"].is_number());

    let refused = world.till.post(&resolve, &decision).await;
    assert_eq!(refused.summary("code"), (403, "insufficient_scope"));
    let decided = operator.post(&resolve, &decision).await;
    assert_eq!(decided.summary("status"), (200, "failed"), "{decided:?}");
    let timeline = world.till.timeline(lost.id()).await;
    let last = timeline
        .iter()
        .rfind(|item| item["type"] == "transition")
        .expect("a change");
    assert_eq!(last["event"], "resolved", "{last}");
    assert_eq!(last["ticket"], "OPS-1", "{last}");
    assert_eq!(last["reason"], "nothing at Alipay", "{last}");
    world.finish().await;
}

/// Q7: the operator looks after all merchants; a merchant's operations key sees its own only.
#[sqlx::test]
async fn q7_the_operator_sees_all_merchants_and_a_merchant_its_own(pool: PgPool) {
    let mut world = World::start(pool).await;
    let own = world.caller(0, &[Scope::Operations]).await;
    let overseer = world.overseer(&[Scope::Operations, Scope::Admin]).await;
    let stranger = world.stranger().await;
    world
        .simulator
        .script("any", 1000, json!({"type": "drop_before_effect"}))
        .await;
    let lost = world.till.pay_without_waiting("0001").await;
    let theirs = stranger.pay_without_waiting("0001").await;
    world.settle_calls().await;
    let subjects = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("items").iter();
        items
            .map(|item| item["subject_id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let all = overseer.get("/v1/follow-ups").await;
    assert_eq!(subjects(&all.body), [theirs.id(), lost.id()], "{all:?}");
    let first = overseer.get("/v1/follow-ups?limit=1").await;
    assert_eq!(subjects(&first.body), [theirs.id()], "{first:?}");
    let cursor = first.body["next_cursor"].as_str().expect("a second page");
    let second = overseer
        .get(&format!("/v1/follow-ups?limit=1&cursor={cursor}"))
        .await;
    assert_eq!(subjects(&second.body), [lost.id()], "{second:?}");
    let mine = own.get("/v1/follow-ups").await;
    assert_eq!(subjects(&mine.body), [lost.id()], "{mine:?}");

    let row = &all.body["items"][0];
    assert_eq!(row["merchant_id"], theirs.body["merchant_id"]);
    let run = format!("/v1/follow-ups/{}/run", row["id"].as_str().expect("an id"));
    let hidden = own.post(&run, &Value::Null).await;
    assert_eq!(hidden.summary("code"), (404, "follow_up_not_found"));
    let steered = overseer.post(&run, &Value::Null).await;
    assert_eq!(steered.status, 200, "{steered:?}");

    world.advance(TimeDelta::days(8)).await;
    world.run_due().await;
    let work_list = overseer.get("/v1/unresolved").await;
    let items = work_list.body["items"].as_array().expect("items");
    assert_eq!(items.len(), 2, "{work_list:?}");
    for item in items {
        assert!(
            item["evidence"]["answers"]["connection_lost"].is_number(),
            "{item}"
        );
        assert_eq!(item["follow_up"]["subject_id"], item["payment"]["id"]);
    }
    let decision = json!({"status": "failed", "reason": "nothing at Alipay", "ticket": "OPS-1"});
    let resolve = format!("/v1/payments/{}/resolve", theirs.id());
    let hidden = own.post(&resolve, &decision).await;
    assert_eq!(hidden.summary("code"), (404, "payment_not_found"));
    let decided = overseer.post(&resolve, &decision).await;
    assert_eq!(decided.summary("status"), (200, "failed"), "{decided:?}");

    // The operator makes and reads no payments: that takes a merchant's key.
    let refused = overseer.get("/v1/payments").await;
    assert_eq!(refused.summary("code"), (403, "insufficient_scope"));
    world.finish().await;
}

/// Q6: a key of the operator cannot be stored with a merchant's scopes, whoever writes it.
#[sqlx::test]
async fn q6_no_key_of_the_operator_can_pay(pool: PgPool) {
    let world = World::start(pool).await;
    let stored = sqlx::raw_sql(
        "insert into api_key (api_key_id, name, key_hash, scopes)
        values (gen_random_uuid(), 'wrong', 'hash', array['admin', 'payments:write'])",
    )
    .execute(&world.pool)
    .await;
    let error = stored.expect_err("the table refuses it").to_string();
    assert!(error.contains("api_key_operator_check"), "{error}");
    world.finish().await;
}

/// S4: what is unresolved still accepts the truth.
#[sqlx::test]
async fn s4_an_unresolved_payment_still_accepts_the_truth(pool: PgPool) {
    let mut world = World::start(pool).await;
    let lost = world.till.pay_without_waiting("2003").await;
    world.settle_calls().await;
    world
        .simulator
        .script("any", 1, json!({"type": "drop_before_effect"}))
        .await;
    world.advance(TimeDelta::days(8)).await;
    // The plan ends at the first visit; the slow query after it brings the truth.
    world.run_due().await;
    world.advance(TimeDelta::hours(7)).await;
    world.run_due().await;
    world.advance(TimeDelta::hours(7)).await;
    world.run_due().await;
    let paid = world.till.payment(lost.id()).await;
    assert_eq!(paid["status"], "succeeded", "{paid}");
    let events = world.events(lost.id()).await;
    assert_eq!(
        events.last().map(String::as_str),
        Some("paid"),
        "{events:?}"
    );
    world.finish().await;
}
