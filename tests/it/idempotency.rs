//! One key, one payment: replays, mismatches, conflicts, twins.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    Options, World,
    alipay::JsonBody as _,
    all,
    http::{Caller, barcode, body},
};

const PAY: &str = "pay";

#[sqlx::test]
async fn d5_a_replay_answers_the_current_state(pool: PgPool) {
    let world = World::start(pool).await;
    let request = body("0001");
    let first = world.till.create("key-1", &request, 5).await;
    let again = world.till.create("key-1", &request, 5).await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(first.body, again.body);
    let quoted = world.till.create("\"key-1\"", &request, 5).await;
    assert_eq!(quoted.body, first.body, "both header forms name one key");
    assert_eq!(world.simulator.count(PAY).await, 1);
    world.finish().await;
}

#[sqlx::test]
async fn d5_a_replay_follows_the_payment_from_open_to_final(pool: PgPool) {
    let mut world = World::start(pool).await;
    let request = body("0101");
    let first = world.till.create("key-1", &request, 0).await;
    world.settle_calls().await;
    let open = world.till.create("key-1", &request, 0).await;
    assert_eq!(open.status, 202);
    assert_eq!(open.header("idempotent-replayed"), "true");
    world
        .run_until_final(first.id(), TimeDelta::seconds(15))
        .await;
    let paid = world.till.create("key-1", &request, 0).await;
    assert_eq!(paid.summary("status"), (200, "succeeded"));
    world.finish().await;
}

#[sqlx::test]
async fn d2_a_key_with_another_body_is_refused_and_names_the_fields(pool: PgPool) {
    let world = World::start(pool).await;
    let request = body("0001");
    let first = world.till.create("key-1", &request, 5).await;
    let mut other = request.clone();
    other["amount"]["value"] = json!(99);
    other["barcode"] = json!("281111111111110001");
    let refused = world.till.create("key-1", &other, 5).await;
    assert_eq!(
        refused.summary("code"),
        (422, "idempotency_key_reused"),
        "{refused:?}"
    );
    assert_eq!(refused.body["payment_id"], first.body["id"]);
    let text = refused.body.to_string();
    assert!(
        text.contains("amount") && text.contains("barcode"),
        "{text}"
    );
    assert!(
        !text.contains("281111111111110001") && !text.contains("description"),
        "{text}"
    );
    assert_eq!(world.simulator.count(PAY).await, 1);
    world.finish().await;
}

#[sqlx::test]
async fn d3_another_key_with_the_same_reference_is_a_conflict(pool: PgPool) {
    let world = World::start(pool).await;
    let mut request = body("0001");
    let first = world.till.create("key-1", &request, 5).await;
    request["barcode"] = body("0001")["barcode"].clone();
    let refused = world.till.create("key-2", &request, 5).await;
    assert_eq!(
        refused.summary("code"),
        (409, "merchant_reference_conflict"),
        "{refused:?}"
    );
    assert_eq!(refused.body["payment_id"], first.body["id"]);
    assert_eq!(refused.body["attempted"], "false", "{refused:?}");
    world.finish().await;
}

#[sqlx::test]
async fn the_same_code_amount_and_till_within_a_minute_is_suspected(pool: PgPool) {
    let mut world = World::start(pool).await;
    let request = body("0001");
    let first = world.till.create("key-1", &request, 5).await;
    let mut again = request.clone();
    again["merchant_reference"] = json!("ANOTHER-1");
    let refused = world.till.create("key-2", &again, 5).await;
    assert_eq!(
        refused.summary("code"),
        (409, "suspected_duplicate"),
        "{refused:?}"
    );
    assert_eq!(refused.body["payment_id"], first.body["id"]);
    again["allow_duplicate"] = json!(true);
    let allowed = world.till.create("key-2", &again, 5).await;
    assert_eq!(allowed.status, 201, "{allowed:?}");
    world.advance(TimeDelta::seconds(61)).await;
    again["merchant_reference"] = json!("ANOTHER-2");
    again["allow_duplicate"] = json!(false);
    let later = world.till.create("key-3", &again, 5).await;
    assert_eq!(later.status, 201, "{later:?}");
    world.finish().await;
}

/// A duplicate is suspected only where the earlier payment is open or charged: what took nothing, or gave
/// it back, may be tried again with the same code at once, as `same_barcode` says.
#[sqlx::test]
async fn a_rescan_after_a_payment_that_took_nothing_is_no_duplicate(pool: PgPool) {
    let world = World::start(pool).await;
    let mut request = body("0001");
    world
        .simulator
        .script_refusal("pay", 1, "EXIST_FORBIDDEN_WORD")
        .await;
    let refused = world.till.create("key-1", &request, 5).await;
    assert_eq!(refused.summary("status"), (201, "failed"), "{refused:?}");
    assert_eq!(refused.body["failure"]["retry"], "same_barcode");
    request["merchant_reference"] = json!("RESCAN-1");
    let paid = world.till.create("key-2", &request, 5).await;
    assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    request["merchant_reference"] = json!("RESCAN-2");
    let suspected = world.till.create("key-3", &request, 5).await;
    assert_eq!(suspected.summary("code"), (409, "suspected_duplicate"));
    assert_eq!(suspected.body["payment_id"], paid.body["id"]);
    let path = format!("/v1/payments/{}/cancel", paid.id());
    let cancel = world.till.request(reqwest::Method::POST, &path);
    let canceled = Caller::send(cancel.header("prefer", "wait=5")).await;
    assert_eq!(canceled.summary("status"), (200, "canceled"));
    let again = world.till.create("key-4", &request, 5).await;
    assert_ne!(again.status, 409, "{again:?}");
    world.finish().await;
}

#[sqlx::test]
async fn a_refused_request_does_not_use_up_its_key(pool: PgPool) {
    let world = World::start(pool).await;
    let mut request = body("0001");
    request["amount"]["value"] = json!(0);
    assert_eq!(world.till.create("key-1", &request, 5).await.status, 422);
    request["amount"]["value"] = json!(3925);
    assert_eq!(world.till.create("key-1", &request, 5).await.status, 201);
    world.finish().await;
}

/// Seen: a repeat under its key after the store was renamed or another was made the default was
/// `422 idempotency_key_reused`. What counts is what was sent.
#[sqlx::test]
async fn a_repeat_is_the_same_request_whatever_the_defaults_are_by_then(pool: PgPool) {
    let options = Options {
        replicas: 2,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    let mut request = body("0001");
    request["description"] = Value::Null;
    request["terminal_id"] = Value::Null;
    let first = world.till.create("key-1", &request, 5).await;
    assert_eq!(first.status, 201, "{first:?}");
    let refund = json!({"amount": {"value": 1000, "currency": "HKD"}});
    let back = world
        .till
        .refund_under(first.id(), "back-1", &refund, 5)
        .await;
    assert_eq!(back.status, 201, "{back:?}");
    world
        .sql(
            "update store set store_name = 'Renamed';
            insert into store (merchant_id, store_id, store_name)
            select merchant_id, 'ST77', 'Another' from merchant where is_default;
            update merchant set default_store_id = 'ST77' where is_default;",
        )
        .await;
    // The other replica remembers nothing of the store as it was.
    let till = world.till_at(1);
    let again = till.create("key-1", &request, 5).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.body["id"], first.body["id"]);
    assert_eq!(again.body["store_id"], "ST01", "it is the payment of then");
    let back_again = till.refund_under(first.id(), "back-1", &refund, 5).await;
    assert_eq!(back_again.status, 200, "{back_again:?}");
    world.finish().await;
}

/// A field that was not sent is no part of what makes two requests the same, so a field that is new one
/// day makes no request of before another one.
#[sqlx::test]
async fn a_fingerprint_has_the_fields_that_were_sent_and_no_others(pool: PgPool) {
    let world = World::start(pool).await;
    let mut bare = body("0001");
    for optional in ["description", "terminal_id"] {
        bare.as_object_mut().expect("an object").remove(optional);
    }
    let full = json!({
        "amount": {"value": 1000, "currency": "HKD"}, "barcode": barcode("0001"),
        "merchant_reference": "FULL-1", "description": "tea", "store_id": "ST01",
        "terminal_id": "T1", "cancel_after_seconds": 60, "metadata": {}, "allow_duplicate": false,
    });
    let paid = world.till.create("bare", &bare, 5).await;
    assert_eq!(paid.status, 201, "{paid:?}");
    assert_eq!(world.till.create("full", &full, 5).await.status, 201);
    let all = world
        .till
        .refund_under(paid.id(), "all", &json!({}), 5)
        .await;
    assert_eq!(all.status, 201, "{all:?}");
    for (key, sent) in [
        ("bare", "amount barcode merchant_reference"),
        (
            "full",
            "allow_duplicate amount barcode cancel_after_seconds description merchant_reference \
             metadata store_id terminal_id",
        ),
        ("all", "payment_id"),
    ] {
        let fields: String = sqlx::query_scalar(
            "select string_agg(field, ' ' order by field collate \"C\")
            from idempotency_key, jsonb_object_keys(fingerprint) as field
            where idempotency_key = $1",
        )
        .bind(key)
        .fetch_one(&world.pool)
        .await
        .expect("the database answers");
        assert_eq!(fields, sent, "{key}");
    }
    // Saying what would be so anyway is another request.
    let mut said = bare.clone();
    said["cancel_after_seconds"] = json!(60);
    let refused = world.till.create("bare", &said, 5).await;
    assert_eq!(
        refused.summary("code"),
        (422, "idempotency_key_reused"),
        "{refused:?}"
    );
    assert_eq!(
        refused.body["errors"][0]["pointer"],
        "/cancel_after_seconds"
    );
    world.finish().await;
}

/// D1, M1: twins of one request on three replicas at the same moment make one charge, and every
/// caller gets the same payment.
#[sqlx::test]
async fn d1_m1_concurrent_twins_on_three_replicas_make_one_charge(pool: PgPool) {
    let options = Options {
        replicas: 3,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    for round in 0..10 {
        let request = body("0001");
        let twins = (0..24).map(|twin| {
            let replica = &world.replicas[twin % 3];
            let call = world
                .till
                .request(reqwest::Method::POST, "/v1/payments")
                .header("idempotency-key", format!("round-{round}"))
                .header("prefer", "wait=10")
                .json_body(&request)
                .build()
                .expect("a request");
            at(&replica.url, call)
        });
        let answers = all(twins).await;
        let ids: BTreeSet<String> = answers
            .iter()
            .map(|(_, body)| body["id"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(ids.len(), 1, "{answers:?}");
        let made = answers.iter().filter(|(status, _)| *status == 201).count();
        assert_eq!(made, 1, "one caller made it: {answers:?}");
        assert!(
            answers
                .iter()
                .all(|(_, body)| body["status"] == "succeeded"),
            "{answers:?}"
        );
    }
    assert_eq!(world.simulator.trades().await.len(), 10);
    world.finish().await;
}

/// D3: different keys for one order at the same moment on three replicas.
#[sqlx::test]
async fn d3_a_race_for_one_reference_has_one_winner(pool: PgPool) {
    let options = Options {
        replicas: 3,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    let reference = body("0001")["merchant_reference"].clone();
    let rivals = (0..18).map(|rival| {
        let mut request = body("0001");
        request["merchant_reference"] = reference.clone();
        let call = world
            .till
            .request(reqwest::Method::POST, "/v1/payments")
            .header("idempotency-key", format!("rival-{rival}"))
            .json_body(&request)
            .build()
            .expect("a request");
        at(&world.replicas[rival % 3].url, call)
    });
    let answers = all(rivals).await;
    let winners = answers.iter().filter(|(status, _)| *status == 201).count();
    let losers = answers.iter().filter(|(status, _)| *status == 409).count();
    assert_eq!((winners, losers), (1, 17), "{answers:?}");
    assert_eq!(world.simulator.trades().await.len(), 1);
    world.finish().await;
}

/// The same code scanned at once under different orders: one passes the duplicate check.
#[sqlx::test]
async fn a_race_of_one_scan_has_one_winner(pool: PgPool) {
    let options = Options {
        replicas: 3,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    let scanned = body("0001")["barcode"].clone();
    let rivals = (0..18).map(|rival| {
        let mut request = body("0001");
        request["barcode"] = scanned.clone();
        let call = world
            .till
            .request(reqwest::Method::POST, "/v1/payments")
            .header("idempotency-key", format!("rival-{rival}"))
            .json_body(&request)
            .build()
            .expect("a request");
        at(&world.replicas[rival % 3].url, call)
    });
    let answers = all(rivals).await;
    let winners = answers.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(winners, 1, "{answers:?}");
    let suspected = answers
        .iter()
        .filter(|(_, body)| body["code"] == "suspected_duplicate")
        .count();
    assert_eq!(suspected, 17, "{answers:?}");
    world.finish().await;
}

/// Sends a built request to one replica.
async fn at(url: &str, mut call: reqwest::Request) -> (u16, Value) {
    let mut target: url::Url = url.parse().expect("an address");
    target.set_path(call.url().path());
    *call.url_mut() = target;
    let answer = crate::support::alipay::client()
        .execute(call)
        .await
        .expect("an answer");
    let status = answer.status().as_u16();
    let body = serde_json::from_str(&answer.text().await.expect("text")).expect("JSON");
    (status, body)
}
