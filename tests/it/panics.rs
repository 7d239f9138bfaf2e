//! A panic where nobody expects one: the caller gets a problem document, the log the place, and neither
//! the words, which may be anything (`docs/invariants.md` Q14, Q21).

use alipayhk_gateway::failpoint::{Action, PANIC_TEXT};
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{
    World,
    alipay::JsonBody as _,
    http::{Answer, Caller, body},
    watched::Program,
};

fn assert_tells_nothing(answer: &Answer) {
    assert_eq!(
        answer.summary("code"),
        (500, "internal_error"),
        "{answer:?}"
    );
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(!answer.header("x-request-id").is_empty());
    let told = answer.body.to_string();
    for word in ["cannot cut", "281234567890120001", "panic", ".rs"] {
        assert!(!told.contains(word), "{told}");
    }
}

/// Q21: in a handler, in the work that a handler waits for, in a follow-up: whatever panics, what was
/// begun is found out afterwards. That neither the log nor the database has its words is what every world
/// looks at.
#[sqlx::test]
async fn q14_q21_a_panic_tells_nothing_and_loses_nothing(pool: PgPool) {
    let mut world = World::start(pool).await;
    let points = world.replicas[0].app.failpoints().clone();
    let panic = Action::Panic(PANIC_TEXT);

    // Before anybody is known.
    points.arm("db.api_key.before", 0, panic);
    let stranger = world
        .caller(
            0,
            &[alipayhk_gateway::domain::access::principal::Scope::PaymentsRead],
        )
        .await;
    assert_tells_nothing(&stranger.get("/v1/payments").await);
    assert_eq!(points.fired("db.api_key.before"), 1);

    // In the work of a payment, before and after its intent is committed.
    let request = body("0001");
    for point in ["db.intent.before", "db.intent.after"] {
        points.arm(point, 0, panic);
        let answer = world.till.create("key-1", &request, 5).await;
        assert_tells_nothing(&answer);
        assert_eq!(points.fired(point), 1, "{point}");
    }
    let repeated = world.till.create("key-1", &request, 0).await;
    assert_eq!(repeated.summary("status"), (202, "processing"));
    let payment = repeated.id().to_owned();

    // In the follow-up, once: the row is kept and visited again.
    let point = "db.question.before";
    points.arm(point, 0, panic);
    world.advance(TimeDelta::minutes(1)).await;
    world.run_due().await;
    assert_eq!(points.fired(point), 1, "{:?}", points.hits());
    let error: Option<String> =
        sqlx::query_scalar("select last_error from follow_up where last_error is not null")
            .fetch_optional(&world.pool)
            .await
            .expect("the database answers");
    assert_eq!(error.as_deref(), Some("the visit panicked"));
    let ended = world
        .run_until_final(&payment, TimeDelta::minutes(20))
        .await;
    assert_eq!(ended["status"], "canceled", "{ended}");
    world.finish().await;
}

/// Q14: the program as people run it says where it panicked, and nothing of what it had in hand.
#[sqlx::test]
async fn q14_the_log_of_a_panic_has_its_place_and_not_its_words(pool: PgPool) {
    let mut program = Program::start(&pool, &[("FAILPOINT", "db.intent.after:1:panic")]).await;
    let till = program.till.clone();
    let request = till
        .request(Method::POST, "/v1/payments")
        .header("idempotency-key", "key-1")
        .header("prefer", "wait=5")
        .json_body(&body("0001"));
    assert_tells_nothing(&Caller::send(request).await);
    let output = program.stop().await;
    let events = output.events();
    let panics: Vec<&Value> = events
        .iter()
        .filter(|event| event["message"] == "a task panicked")
        .collect();
    assert_eq!(panics.len(), 1, "{panics:?}");
    assert_eq!(panics[0]["panic"], json!("its words are withheld"));
    let place = panics[0]["location"].as_str().expect("a place");
    assert!(place.starts_with("src/failpoint.rs:"), "{place}");
    assert!(!output.stderr.contains("281234567890120001"));
}
