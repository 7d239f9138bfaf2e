//! What a payment costs: two round trips to Postgres, and no connection while Alipay thinks.

use serde_json::json;
use sqlx::PgPool;
use tokio_util::task::TaskTracker;

use crate::support::{Options, World, proxy::Passed};

/// One statement before the call to Alipay and one after it, each a round trip of its own.
#[sqlx::test]
async fn a_paid_payment_costs_two_statements_in_two_round_trips(pool: PgPool) {
    let options = Options {
        proxied: 1,
        // One connection: every statement is prepared once and for all.
        connections: 1,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    for code in ["0001", "1016"] {
        world.pay(code).await;
    }
    world.settle_calls().await;
    for (code, status) in [("0001", "succeeded"), ("1016", "failed")] {
        world.proxy().reset();
        let answer = world.pay(code).await;
        world.settle_calls().await;
        assert_eq!(answer.summary("status"), (201, status));
        let two = Passed {
            executes: 2,
            round_trips: 2,
        };
        assert_eq!(world.proxy().passed(), two, "{code}");
    }
    world.finish().await;
}

/// R2: with a single connection to Postgres, payments whose answer Alipay holds back keep nobody
/// from anything.
#[sqlx::test]
async fn r2_no_connection_is_held_while_alipay_thinks(pool: PgPool) {
    let options = Options {
        connections: 1,
        ..Options::default()
    };
    let world = World::start_with(pool, options).await;
    let hold = json!({"type": "hold"});
    world.simulator.script("pay", 5, hold).await;
    let calls = TaskTracker::new();
    for _ in 0..5 {
        let till = world.till.clone();
        calls.spawn(async move {
            let answer = till.pay("0001").await;
            assert_eq!(answer.summary("status"), (201, "succeeded"), "{answer:?}");
        });
    }
    world.until_received("pay", 5).await;
    let other = world.pay("0001").await;
    assert_eq!(other.summary("status"), (201, "succeeded"), "{other:?}");
    let read = world.till.get("/v1/payments?status=processing").await;
    assert_eq!(read.body["items"].as_array().map(Vec::len), Some(5));
    let idle = "select count(*) from pg_stat_activity
        where datname = current_database() and application_name = 'alipayhk-gateway'
            and (state like '%in transaction%' or state = 'active')
            and pid <> pg_backend_pid()";
    assert_eq!(world.count_rows(idle).await, 0, "nobody holds anything");
    world.simulator.release().await;
    calls.close();
    calls.wait().await;
    world.settle_calls().await;
    let paid = "select count(*) from payment where status = 'succeeded'";
    assert_eq!(world.count_rows(paid).await, 6);
    world.finish().await;
}

/// How many payments the fresh database of the next test takes.
const FRESH: i64 = 300;

/// On a fresh database, whose tables nobody has analysed, a payment costs what it does later: no statement, and no
/// check of a foreign key, walks what was there before. Plans that are made while the tables are empty are kept.
#[sqlx::test]
async fn a_payment_on_a_fresh_database_walks_no_index(pool: PgPool) {
    let world = World::start(pool).await;
    let tables = "do $$ declare name regclass; begin
        for name in select oid from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace loop
            execute format('alter table %s set (autovacuum_enabled = false)', name);
        end loop; end $$";
    world.sql(tables).await;
    for _ in 0..FRESH {
        let paid = world.pay("0001").await;
        assert_eq!(paid.summary("status"), (201, "succeeded"), "{paid:?}");
    }
    world.settle_calls().await;
    // What a session has read is counted when it ends, at the latest.
    let ended =
        "select count(*) filter (where pg_terminate_backend(pid, 10000)) from pg_stat_activity
        where datname = current_database() and application_name = 'alipayhk-gateway'
            and pid <> pg_backend_pid()";
    assert!(world.count_rows(ended).await > 0, "sessions ended");
    let walked = sqlx::query_as::<_, (String, i64)>(
        "select indexrelname::text, idx_tup_read from pg_stat_user_indexes where idx_tup_read > 20 * $1",
    )
    .bind(FRESH)
    .fetch_all(&world.pool)
    .await
    .expect("statistics");
    assert_eq!(walked, [], "entries read of these in {FRESH} payments");
    let scanned = sqlx::query_scalar::<_, String>(
        "select relname::text from pg_stat_user_tables
        where seq_scan > $1 / 10 and relname <> 'clock_of_test'",
    )
    .bind(FRESH)
    .fetch_all(&world.pool)
    .await
    .expect("statistics");
    assert_eq!(scanned, [""; 0], "tables read from end to end");
    world.end_without_checks().await;
}
