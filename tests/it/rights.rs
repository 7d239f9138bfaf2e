//! Who may give money back, and what the operator may read of what it must decide
//! (`docs/invariants.md` Q6, Q7, Q9).

use alipayhk_gateway::domain::access::principal::Scope;
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};

use crate::support::{
    World,
    alipay::JsonBody as _,
    http::{Answer, Caller, body},
};

async fn cancel(caller: &Caller, id: &str) -> Answer {
    let path = format!("/v1/payments/{id}/cancel");
    caller.post(&path, &Value::Null).await
}

/// A till undoes its own mistake; a while later the same is giving money back.
#[sqlx::test]
async fn q9_a_paid_sale_is_canceled_by_its_till_for_a_while_and_then_by_who_may_refund(
    pool: PgPool,
) {
    let mut world = World::start(pool).await;
    let till = world
        .caller(0, &[Scope::PaymentsWrite, Scope::PaymentsRead])
        .await;
    let (fresh, old, open) = (
        till.pay("0001").await,
        till.pay("0001").await,
        till.pay_without_waiting("0102").await,
    );
    world.settle_calls().await;
    world.advance(TimeDelta::seconds(899)).await;
    assert_eq!(
        cancel(&till, fresh.id()).await.summary("status"),
        (200, "canceled")
    );
    world.advance(TimeDelta::seconds(1)).await;
    let rows = world.rows().await;
    let calls = world.simulator.requests().await.len();
    let refused = cancel(&till, old.id()).await;
    assert_eq!(
        refused.summary("code"),
        (403, "insufficient_scope"),
        "{refused:?}"
    );
    assert_eq!(refused.body["attempted"], "false");
    assert_eq!(refused.body["payment_id"], old.id());
    assert!(refused.header("www-authenticate").contains("refunds:write"));
    let known = json!({"merchant_reference": old.body["merchant_reference"]});
    let by_reference = till.post("/v1/payments/cancel", &known).await;
    assert_eq!(by_reference.summary("code"), (403, "insufficient_scope"));
    assert_eq!(world.rows().await, rows, "nothing was stored");
    assert_eq!(
        world.simulator.requests().await.len(),
        calls,
        "nothing was sent"
    );
    // What is not paid gives nothing back.
    assert_ne!(cancel(&till, open.id()).await.status, 403);
    // Whoever may refund may.
    assert_eq!(
        cancel(&world.till, old.id()).await.summary("status"),
        (200, "canceled")
    );
    // A repeat of a cancel that was done is answered with it.
    assert_eq!(
        cancel(&till, old.id()).await.summary("status"),
        (200, "canceled")
    );
    world
        .run_until_final(open.id(), TimeDelta::minutes(30))
        .await;
    world.finish().await;
}

/// What a cancel gives back is in the day's sum, and a late one stays within the limits.
#[sqlx::test]
async fn q9_cancels_of_paid_sales_count_in_the_day_and_late_ones_stay_within_it(pool: PgPool) {
    let mut world = World::start(pool).await;
    let (one, two, three) = (
        world.pay("0001").await,
        world.pay("0001").await,
        world.pay("0001").await,
    );
    let amount = one.body["amount"]["value"].as_i64().expect("cents");
    sqlx::query_scalar::<_, i64>(
        "update merchant set max_refunded_per_day_minor = $1 returning version",
    )
    .bind(2 * amount - 1)
    .fetch_one(&world.pool)
    .await
    .expect("limited");
    assert_eq!(cancel(&world.till, one.id()).await.status, 200);
    world.settle_calls().await;
    let counted = "select refunded_minor from refund_day";
    assert_eq!(world.count_rows(counted).await, amount);
    // A refund sees what the cancel gave back.
    let refused = world.till.refund(two.id(), &json!({}), 5).await;
    assert_eq!(
        refused.summary("code"),
        (422, "refund_limit_exceeded"),
        "{refused:?}"
    );
    // A till undoes its mistake whatever was given back.
    assert_eq!(cancel(&world.till, two.id()).await.status, 200);
    world.settle_calls().await;
    assert_eq!(world.count_rows(counted).await, 2 * amount);
    world.advance(TimeDelta::minutes(15)).await;
    for path in ["cancel", "reverse", "reverse?preview=true"] {
        let path = format!("/v1/payments/{}/{path}", three.id());
        let refused = world.till.post(&path, &Value::Null).await;
        assert_eq!(
            refused.summary("code"),
            (422, "refund_limit_exceeded"),
            "{path}: {refused:?}"
        );
        assert_eq!(refused.body["attempted"], "false");
    }
    assert_eq!(world.count_rows(counted).await, 2 * amount);
    world.finish().await;
}

/// A stolen key that cancels is told as one that refunds, once for each burst.
#[sqlx::test]
async fn q9_a_burst_of_cancels_is_told_once(pool: PgPool) {
    let world = World::start(pool).await;
    let noted = "select count(*) from refund_day where burst_noted_since = burst_since";
    for made in 1..=31 {
        let paid = world.pay("0001").await;
        assert_eq!(cancel(&world.till, paid.id()).await.status, 200);
        world.settle_calls().await;
        assert_eq!(
            world.count_rows(noted).await,
            i64::from(made >= 30),
            "after {made}"
        );
    }
    let news = world.db.note_refund_burst(world.merchant_id, 30).await;
    assert!(!news.expect("the database answers"), "it was told");
    world.finish().await;
}

/// Who must decide what stayed open can see it; every look is written down, and no money moves.
#[sqlx::test]
async fn q7_the_operator_reads_what_it_must_decide_and_each_look_is_audited(pool: PgPool) {
    let world = World::start(pool).await;
    let support = world.overseer(&[Scope::SupportRead]).await;
    let operations = world.overseer(&[Scope::Operations]).await;
    let paid = world.pay("0001").await;
    let part = json!({"amount": {"value": 100, "currency": "HKD"}});
    let refund = world.till.refund(paid.id(), &part, 10).await;
    world.settle_calls().await;
    let (payment, refund) = (paid.id().to_owned(), refund.id().to_owned());
    let merchant = world.merchant_id.to_string();
    let audited = "select count(*) from audit_log";
    for (path, action, subject) in [
        (format!("/v1/payments/{payment}"), "payment.read", &payment),
        (
            format!("/v1/payments/{payment}/timeline"),
            "payment.timeline_read",
            &payment,
        ),
        (
            format!("/v1/payments/{payment}/refunds"),
            "payment.refunds_listed",
            &payment,
        ),
        (format!("/v1/refunds/{refund}"), "refund.read", &refund),
        (
            format!("/v1/payments?merchant_id={merchant}"),
            "payments.listed",
            &merchant,
        ),
        (
            format!("/v1/refunds?merchant_id={merchant}"),
            "refunds.listed",
            &merchant,
        ),
        (
            "/v1/follow-ups".to_owned(),
            "follow_ups.listed",
            &"all".to_owned(),
        ),
        (
            "/v1/unresolved".to_owned(),
            "unresolved.listed",
            &"all".to_owned(),
        ),
    ] {
        let before = world.count_rows(audited).await;
        let seen = support.get(&path).await;
        assert_eq!(seen.status, 200, "{path}: {seen:?}");
        assert_eq!(world.count_rows(audited).await, before + 1, "{path}");
        let last: (String, String, String) = sqlx::query_as(
            "select action, subject_id, by ->> 'kind' from audit_log order by entry_no desc limit 1",
        )
        .fetch_one(&world.pool)
        .await
        .expect("an entry");
        assert_eq!(
            last,
            (action.to_owned(), subject.clone(), "api_key".to_owned()),
            "{path}"
        );
        // The merchant's own look is nobody else's affair.
        if !path.contains("follow-ups") && !path.contains("unresolved") {
            let own = world.till.get(&path).await;
            assert_eq!(own.status, 200, "{path}: {own:?}");
            assert_eq!(own.body, seen.body, "{path}");
        }
        assert_eq!(world.count_rows(audited).await, before + 1, "{path}");
    }
    let nobodys = support.get("/v1/payments").await;
    assert_eq!(nobodys.summary("code"), (400, "invalid_query"), "whose?");
    for (path, caller, status) in [
        (format!("/v1/payments/{payment}/refresh"), &operations, 200),
        (format!("/v1/refunds/{refund}/refresh"), &operations, 200),
        (format!("/v1/payments/{payment}/refresh"), &support, 403),
        (format!("/v1/payments/{payment}/cancel"), &operations, 403),
        (format!("/v1/payments/{payment}/reverse"), &operations, 403),
        (format!("/v1/payments/{payment}/refunds"), &operations, 403),
        ("/v1/payments".to_owned(), &operations, 403),
    ] {
        let request = caller
            .request(Method::POST, &path)
            .header("idempotency-key", "k");
        let answer = Caller::send(request.json_body(&body("0001"))).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    let refreshed = "select count(*) from audit_log where action like '%.refreshed'";
    assert_eq!(world.count_rows(refreshed).await, 2);
    world.finish().await;
}

/// Nobody makes a dead key live again, not even in the service's name.
#[sqlx::test]
async fn q6_a_key_that_is_refused_stays_refused_whoever_speaks_for_the_service(pool: PgPool) {
    let world = World::start(pool).await;
    let service = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(world.connect.clone());
    world.caller(0, &[Scope::PaymentsRead]).await;
    world
        .sql(
            "update api_key set revoked_at = db_now(), expires_at = db_now() + interval '1 hour'
            where api_key_id = (select api_key_id from api_key order by api_key_id desc limit 1)",
        )
        .await;
    for (sql, is_refused) in [
        ("update api_key set revoked_at = null", true),
        (
            "update api_key set revoked_at = revoked_at + interval '1 second'",
            true,
        ),
        ("update api_key set expires_at = null", true),
        (
            "update api_key set expires_at = expires_at + interval '1 second'",
            true,
        ),
        (
            "update api_key set expires_at = expires_at - interval '1 second'",
            false,
        ),
        ("update api_key set last_used_at = db_now()", false),
    ] {
        for pool in [&service, &world.pool] {
            let sql = format!("{sql} where revoked_at is not null");
            let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone()))
                .execute(pool)
                .await;
            assert_eq!(done.is_err(), is_refused, "{sql}: {done:?}");
        }
    }
    service.close().await;
    world.finish().await;
}
