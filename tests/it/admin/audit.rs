//! The audit log: who did what, in one chain that shows when it was tampered with.

use alipayhk_gateway::{
    app::audit::check,
    domain::{access::principal::Scope, audit::BreakKind},
};
use chrono::TimeDelta;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::World;

const ACT: &str = "insert into audit_log (merchant_id, action, subject_kind, subject_id, by, after)
    values (null, 'merchant.created', 'merchant', 'mer_1', '{\"kind\": \"api_key\"}', '{\"name\": \"A\"}')";

/// Q17: acts at the same moment neither fork the chain nor leave a gap in it.
#[sqlx::test]
async fn q17_concurrent_acts_keep_one_chain(pool: PgPool) {
    let world = World::start(pool).await;
    let mut acts = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let pool = world.pool.clone();
        acts.spawn(async move { sqlx::raw_sql(ACT).execute(&pool).await });
    }
    for done in acts.join_all().await {
        done.expect("the entry is written");
    }
    let checked = check(&world.db).await.expect("the log can be read");
    assert_eq!(checked.broken, None);
    assert_eq!(
        checked.entries,
        world.count_rows("select count(*) from audit_log").await
    );
    world.finish().await;
}

/// Q17: no entry can be changed or removed.
#[sqlx::test]
async fn q17_entries_are_append_only(pool: PgPool) {
    let world = World::start(pool).await;
    world.sql(ACT).await;
    for tampering in [
        "update audit_log set after = '{}' where entry_no = 1",
        "delete from audit_log where entry_no = 1",
        "truncate audit_log",
        "delete from audit_head",
        "truncate audit_head",
    ] {
        let refused = sqlx::raw_sql(tampering).execute(&world.pool).await;
        let error = refused.expect_err(tampering).to_string();
        assert!(error.contains("append-only"), "{error}");
    }
    world.finish().await;
}

/// Q17: what somebody with all rights over the database did to the log shows, and where.
#[sqlx::test]
async fn q17_the_first_entry_that_was_tampered_with_is_named(pool: PgPool) {
    let world = World::start(pool).await;
    for _ in 0..5 {
        world.sql(ACT).await;
    }
    world
        .sql(
            "alter table audit_log disable trigger all;
            alter table audit_head disable trigger all;
            create table kept_log as select * from audit_log;
            create table kept_head as select * from audit_head",
        )
        .await;
    let entries = world.count_rows("select count(*) from audit_log").await;
    for (tampering, kind, entry_no) in [
        (
            "update audit_log set after = '{\"name\": \"B\"}' where entry_no = 3",
            BreakKind::Altered,
            3,
        ),
        (
            "update audit_log set by = '{}' where entry_no = 2",
            BreakKind::Altered,
            2,
        ),
        (
            "update audit_log set at = at + interval '1 microsecond' where entry_no = 4",
            BreakKind::Altered,
            4,
        ),
        (
            "delete from audit_log where entry_no = 3",
            BreakKind::Gap,
            3,
        ),
        (
            "delete from audit_log where entry_no = (select max(entry_no) from audit_log)",
            BreakKind::WrongEnd,
            entries,
        ),
        // The hash made to fit: the next entry does not.
        (
            "update audit_log set action = 'x' where entry_no = 3;
            update audit_log as entry set hash = sha256(convert_to(audit_text(entry), 'UTF8'))
            where entry_no = 3",
            BreakKind::NotChained,
            4,
        ),
        (
            "update audit_head set entries = entries + 1",
            BreakKind::WrongEnd,
            entries + 1,
        ),
    ] {
        world.sql(tampering).await;
        let checked = check(&world.db).await.expect("the log can be read");
        let broken = checked.broken.expect(tampering);
        assert_eq!(
            (broken.kind, broken.entry_no),
            (kind, entry_no),
            "{tampering}"
        );
        world
            .sql(
                "delete from audit_log; insert into audit_log select * from kept_log;
                update audit_head set entries = kept_head.entries, hash = kept_head.hash
                from kept_head",
            )
            .await;
    }
    let checked = check(&world.db).await.expect("the log can be read");
    assert_eq!(checked.broken, None, "all is as it was");
    world.finish().await;
}

/// Q17: what an operator decides and steers is in the log, with the grounds; another merchant's
/// administrator does not see it.
#[sqlx::test]
async fn q17_decisions_and_steering_are_audited_with_their_grounds(pool: PgPool) {
    let mut world = World::start(pool).await;
    let overseer = world.overseer(&[Scope::Operations, Scope::Admin]).await;
    world
        .simulator
        .script("any", 1000, json!({"type": "drop_before_effect"}))
        .await;
    let lost = world.till.pay_without_waiting("0001").await;
    world.settle_calls().await;
    world.advance(TimeDelta::days(8)).await;
    world.run_due().await;
    let row = overseer.get("/v1/follow-ups").await.body["items"][0].clone();
    let follow_up = row["id"].as_str().expect("an id").to_owned();
    let abandon = format!("/v1/follow-ups/{follow_up}/abandon");
    let abandoned = overseer
        .post(&abandon, &json!({"reason": "asked by phone"}))
        .await;
    assert_eq!(abandoned.status, 200, "{abandoned:?}");
    let decision = json!({"status": "failed", "reason": "nothing at Alipay", "ticket": "OPS-1"});
    let resolve = format!("/v1/payments/{}/resolve", lost.id());
    let decided = overseer.post(&resolve, &decision).await;
    assert_eq!(decided.status, 200, "{decided:?}");

    let log = overseer
        .get("/v1/admin/audit-log?action=payment.resolved")
        .await;
    let entry = &log.body["items"][0];
    assert_eq!(entry["subject_id"], *lost.id(), "{log:?}");
    assert_eq!(entry["before"]["status"], "unresolved");
    assert_eq!(entry["after"]["status"], "failed");
    assert_eq!(entry["by"]["ticket"], "OPS-1");
    assert_eq!(entry["by"]["reason"], "nothing at Alipay");
    assert_eq!(entry["merchant_id"], lost.body["merchant_id"]);
    let log = overseer
        .get(&format!("/v1/admin/audit-log?subject={follow_up}"))
        .await;
    let entry = &log.body["items"][0];
    assert_eq!(entry["action"], "follow_up.abandon", "{log:?}");
    assert_eq!(entry["by"]["reason"], "asked by phone");
    assert_eq!(entry["by"]["name"], "test");

    let own = world.caller(0, &[Scope::Admin]).await;
    let seen = own.get("/v1/admin/audit-log").await;
    let entries = seen.body["items"].as_array().expect("items");
    assert!(
        entries
            .iter()
            .all(|entry| entry["merchant_id"] == lost.body["merchant_id"]),
        "{seen:?}"
    );
    let first = overseer.get("/v1/admin/audit-log?limit=1").await;
    let cursor = first.body["next_cursor"].as_str().expect("more");
    let second = overseer
        .get(&format!("/v1/admin/audit-log?limit=1&cursor={cursor}"))
        .await;
    assert_eq!(
        second.body["items"][0]["entry_no"].as_i64(),
        first.body["items"][0]["entry_no"].as_i64().map(|no| no - 1)
    );
    assert_ne!(second.body["items"][0]["hash"], Value::Null);
    world.finish().await;
}
