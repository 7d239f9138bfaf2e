//! The audit log: who did what, in one chain that shows when it was tampered with.

use sqlx::PgPool;

use crate::support::World;

const ACT: &str = "insert into audit_log (merchant_id, action, subject_kind, subject_id, by, after)
    values (null, 'merchant.created', 'merchant', 'mer_1', '{\"kind\": \"api_key\"}', '{\"name\": \"A\"}')";

/// How many entries do not continue the chain, and whether the head is the last one's.
const BROKEN: &str = "select (
        select count(*) from (
            select entry.hash <> sha256(convert_to(audit_text(entry), 'UTF8'))
                or entry.previous_hash <> coalesce(lag(entry.hash) over ordered, '\\x')
                or entry.entry_no <> row_number() over ordered as broken
            from audit_log as entry
            window ordered as (order by entry_no)) as checked
        where broken)
    + (select count(*) from audit_head
        where entries <> (select count(*) from audit_log)
            or hash <> (select hash from audit_log order by entry_no desc limit 1))";

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
    assert_eq!(world.count_rows("select count(*) from audit_log").await, 20);
    assert_eq!(world.count_rows(BROKEN).await, 0);
    world.finish().await;
}

/// Q17: no entry can be changed or removed, and one that was shows.
#[sqlx::test]
async fn q17_entries_are_append_only_and_tampering_shows(pool: PgPool) {
    let world = World::start(pool).await;
    for _ in 0..3 {
        world.sql(ACT).await;
    }
    for tampering in [
        "update audit_log set after = '{}' where entry_no = 2",
        "delete from audit_log where entry_no = 2",
        "truncate audit_log",
        "delete from audit_head",
    ] {
        let refused = sqlx::raw_sql(tampering).execute(&world.pool).await;
        let error = refused.expect_err(tampering).to_string();
        assert!(error.contains("append-only"), "{error}");
    }
    assert_eq!(world.count_rows(BROKEN).await, 0);
    world
        .sql(
            "alter table audit_log disable trigger audit_log_append_only;
            update audit_log set after = '{}' where entry_no = 2",
        )
        .await;
    assert_eq!(world.count_rows(BROKEN).await, 1);
    world.finish().await;
}
