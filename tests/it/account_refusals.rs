//! A closed door is told apart from a slow buyer: what happens where Alipay refuses whatever an account
//! asks, by a refusal that nobody signed and that is therefore believed of no payment.

use alipayhk_gateway::domain::access::principal::Scope;
use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    Options, PARTNER, World,
    http::{Answer, body},
};

const CODE: &str = "HAS_NO_PRIVILEGE";

async fn world(pool: PgPool) -> World {
    let options = Options {
        access_refusals: 3,
        ..Options::default()
    };
    World::start_with(pool, options).await
}

/// A sale whose pay was refused at the door.
async fn refused_sale(world: &World) -> Answer {
    let sent = world.till.pay_without_waiting("0001").await;
    assert_eq!(sent.summary("status"), (202, "processing"), "{sent:?}");
    world.settle_calls().await;
    sent
}

async fn account(world: &World) -> Value {
    let operator = world.overseer(&[Scope::Admin]).await;
    let partners = operator.get("/v1/admin/partners").await;
    let account = partners.body["items"][0].clone();
    assert_eq!(account["partner"], PARTNER);
    account
}

async fn work_list(world: &World) -> Vec<(Value, Value)> {
    let operator = world.caller(0, &[Scope::Operations]).await;
    let list = operator.get("/v1/unresolved").await;
    let items = list.body["items"].as_array().expect("items").iter();
    items
        .map(|item| (item["payment"]["id"].clone(), item["needs"].clone()))
        .collect()
}

fn assert_refused(answer: &Answer) {
    assert_eq!(
        answer.summary("code"),
        (503, "account_refused"),
        "{answer:?}"
    );
    assert_eq!(answer.body["attempted"], "false");
    let detail = answer.body["detail"].as_str().expect("words");
    assert!(detail.contains(CODE), "{detail}");
    assert_eq!(answer.header("retry-after"), "10");
}

/// The pay and the question after it were refused: the till is told at once to call somebody, and it
/// stands on the work-list. Nothing is believed of the payment itself.
#[sqlx::test]
async fn a_payment_refused_twice_at_the_door_needs_a_person_at_once(pool: PgPool) {
    let mut world = world(pool).await;
    world.simulator.refuse_access(Some(CODE)).await;
    let sale = refused_sale(&world).await;
    let waits = world.till.payment(sale.id()).await;
    assert_eq!(waits["next_action"]["type"], "wait", "{waits}");
    assert!(work_list(&world).await.is_empty());
    world.advance(TimeDelta::seconds(5)).await;
    world.run_due().await;
    let told = world.till.payment(sale.id()).await;
    assert_eq!(told["next_action"]["type"], "call_operator", "{told}");
    assert_eq!(told["status"], "processing");
    assert_eq!(told["outcome_certainty"], "unknown");
    assert_ne!(told["version"], waits["version"], "who polls sees it");
    let listed = (json!(sale.id()), json!(["refused_at_the_door"]));
    assert_eq!(work_list(&world).await, [listed]);
    assert!(
        world
            .events(sale.id())
            .await
            .contains(&"access_refused".to_owned())
    );

    // Also while it is being canceled.
    world.advance(TimeDelta::seconds(56)).await;
    world.run_due().await;
    let told = world.till.payment(sale.id()).await;
    assert_eq!(told["next_action"]["type"], "call_operator", "{told}");

    // The door opens: nothing had been done.
    world.simulator.refuse_access(None).await;
    let end = world
        .run_until_final(sale.id(), TimeDelta::minutes(5))
        .await;
    assert_eq!(end["status"], "canceled", "{end}");
    assert!(work_list(&world).await.is_empty());
    world.finish().await;
}

/// A refusal that is not signed is believed of no payment: what Alipay took all the same is found.
#[sqlx::test]
async fn s3_a_payment_that_was_taken_behind_a_closed_door_is_found(pool: PgPool) {
    let mut world = world(pool).await;
    let sale = world.pay_unheard().await;
    world.simulator.refuse_access(Some(CODE)).await;
    for _ in 0..4 {
        world.advance(TimeDelta::seconds(5)).await;
        world.run_due().await;
    }
    let told = world.till.payment(sale.id()).await;
    assert_eq!(told["next_action"]["type"], "call_operator", "{told}");
    world.simulator.refuse_access(None).await;
    let end = world
        .run_until_final(sale.id(), TimeDelta::minutes(5))
        .await;
    assert_eq!(end["status"], "succeeded", "{end}");
    world.finish().await;
}

/// After three refusals in a row the account is held back: new work is refused before anything is
/// stored, with the reason; what exists is asked about, and the first verified answer lets work in again.
#[sqlx::test]
async fn an_account_that_alipay_refuses_is_held_back_until_it_is_let_in(pool: PgPool) {
    let mut world = world(pool).await;
    let paid = world.pay("0001").await;
    assert_eq!(account(&world).await["last_refusal"], Value::Null);
    world.simulator.refuse_access(Some(CODE)).await;
    for _ in 0..3 {
        refused_sale(&world).await;
    }
    let rows = world.rows().await;
    assert_refused(&world.till.create("new", &body("0001"), 0).await);
    assert_refused(&world.till.refund(paid.id(), &json!({}), 0).await);
    assert_eq!(world.rows().await, rows, "nothing was stored");
    let shown = account(&world).await;
    assert_eq!(shown["circuit_open"], true, "{shown}");
    assert_eq!(shown["circuit_open_because"], "refused");
    assert_eq!(shown["last_refusal"]["code"], CODE);
    let check = shown["last_refusal"]["check"].as_str().expect("words");
    assert!(check.starts_with("contract:"), "{check}");

    // What exists is read, replayed, canceled and asked about.
    let cancel = format!("/v1/payments/{}/cancel", paid.id());
    let pending = world.till.post(&cancel, &Value::Null).await;
    assert_eq!(pending.status, 202, "{pending:?}");
    world.simulator.refuse_access(None).await;
    world.advance(TimeDelta::seconds(5)).await;
    world.run_due().await;
    let taken = world.till.create("new", &body("0001"), 10).await;
    assert_eq!(taken.summary("status"), (201, "succeeded"), "{taken:?}");
    let shown = account(&world).await;
    assert_eq!(shown["circuit_open"], false, "{shown}");
    assert_eq!(shown["circuit_open_because"], Value::Null);
    assert_eq!(shown["last_refusal"]["code"], CODE, "what was is kept");
    world.finish().await;
}

/// Where nothing is open that could be asked about, whoever is refused has a harmless question asked in
/// the place of the sale, once in ten seconds: no sale is a trial.
#[sqlx::test]
async fn a_question_about_nothing_finds_out_that_the_account_is_let_in(pool: PgPool) {
    let mut world = world(pool).await;
    world.simulator.refuse_access(Some(CODE)).await;
    for _ in 0..3 {
        refused_sale(&world).await;
    }
    // Off the schedule, so that nothing else asks.
    world
        .sql("update follow_up set due_at = db_now() + interval '1 day'")
        .await;
    for (seconds, asked) in [(0, 1), (9, 1), (1, 2)] {
        world.advance(TimeDelta::seconds(seconds)).await;
        assert_refused(&world.till.create("new", &body("0001"), 0).await);
        world.settle_calls().await;
        assert_eq!(world.simulator.count("query").await, asked);
    }
    world.simulator.refuse_access(None).await;
    world.advance(TimeDelta::seconds(10)).await;
    assert_refused(&world.till.create("new", &body("0001"), 0).await);
    world.settle_calls().await;
    let taken = world.till.create("new", &body("0001"), 10).await;
    assert_eq!(taken.summary("status"), (201, "succeeded"), "{taken:?}");
    world.finish().await;
}

/// Faults of one request are the till's, and hold back nobody.
#[sqlx::test]
async fn refusals_of_single_requests_hold_back_nobody(pool: PgPool) {
    let world = world(pool).await;
    world
        .simulator
        .refuse_access(Some("INVALID_PARAMETER"))
        .await;
    for _ in 0..5 {
        refused_sale(&world).await;
    }
    world.simulator.refuse_access(None).await;
    assert_eq!(account(&world).await["circuit_open"], false);
    world.finish().await;
}

/// What has been open for ten minutes needs a person, who may decide; before, nobody may.
#[sqlx::test]
async fn a_payment_open_for_ten_minutes_is_listed_and_may_be_decided(pool: PgPool) {
    let mut world = world(pool).await;
    let operator = world.caller(0, &[Scope::Operations]).await;
    let silence = json!({"type": "drop_before_effect"});
    world.simulator.script("any", 100_000, silence).await;
    let lost = refused_sale(&world).await;
    let resolve = format!("/v1/payments/{}/resolve", lost.id());
    let decision = json!({"status": "failed", "reason": "nothing at Alipay", "ticket": "OPS-1"});
    world.advance(TimeDelta::seconds(599)).await;
    world.run_due().await;
    let early = operator.post(&resolve, &decision).await;
    assert_eq!(early.summary("code"), (409, "invalid_state"), "{early:?}");
    assert!(work_list(&world).await.is_empty());
    world.advance(TimeDelta::seconds(1)).await;
    let listed = (json!(lost.id()), json!(["open_for_too_long"]));
    assert_eq!(work_list(&world).await, [listed]);
    let decided = operator.post(&resolve, &decision).await;
    assert_eq!(decided.summary("status"), (200, "failed"), "{decided:?}");
    assert!(work_list(&world).await.is_empty());
    world.finish().await;
}

/// A paid payment whose cancel does not end needs a person once its day is over.
#[sqlx::test]
async fn a_cancel_that_does_not_end_is_listed_past_its_window(pool: PgPool) {
    let mut world = world(pool).await;
    let operator = world.caller(0, &[Scope::Operations]).await;
    let paid = world.pay("0001").await;
    let silence = json!({"type": "drop_before_effect"});
    world.simulator.script("any", 100_000, silence).await;
    let cancel = format!("/v1/payments/{}/cancel", paid.id());
    let pending = world.till.post(&cancel, &Value::Null).await;
    assert_eq!(pending.status, 202, "{pending:?}");
    assert!(work_list(&world).await.is_empty());
    world.advance(TimeDelta::days(1)).await;
    let needs = json!(["open_for_too_long", "past_its_cancel_window"]);
    assert_eq!(work_list(&world).await, [(json!(paid.id()), needs)]);
    let resolve = format!("/v1/payments/{}/resolve", paid.id());
    let stays = json!({"status": "succeeded", "reason": "the portal shows it", "ticket": "OPS-2"});
    let decided = operator.post(&resolve, &stays).await;
    assert_eq!(decided.summary("status"), (200, "succeeded"), "{decided:?}");
    assert_eq!(decided.body["cancel_pending"], false);
    world.simulator.clear_faults().await;
    world.finish().await;
}

/// The schema refuses a decision that nothing calls for, whoever writes it.
#[sqlx::test]
async fn the_schema_takes_no_decision_about_a_young_payment(pool: PgPool) {
    let world = world(pool).await;
    let open = world.till.pay_without_waiting("0102").await;
    world.settle_calls().await;
    for (justification, refused_by) in [
        ("null, null", "payment_resolution_grounds"),
        ("'because', 'OPS-1'", "payment_resolution_time"),
    ] {
        let statement = format!(
            "insert into payment_transition (merchant_id, payment_id, version, event, from_status,
                to_status, gateway_at, api_key_id, reason, ticket)
            select merchant_id, payment_id, 99, 'resolved', 'processing', 'failed', now(),
                gen_random_uuid(), {justification}
            from payment"
        );
        let statement = sqlx::AssertSqlSafe(statement);
        let refused = sqlx::raw_sql(statement).execute(&world.pool).await;
        let error = refused.expect_err("refused").to_string();
        assert!(
            error.contains(refused_by) || error.contains("decision"),
            "{error}"
        );
    }
    let id = open.id().to_owned();
    assert_eq!(world.till.payment(&id).await["status"], "processing");
    world.finish().await;
}
