//! The second line of defence: what the database itself refuses, whoever asks, by raw SQL.

use alipayhk_gateway::domain::payments::{
    payment::{OPEN_FOR_TOO_LONG, REFUSALS_FOR_A_PERSON},
    poll::CANCEL_ACTS_WITHIN,
};
use sqlx::PgPool;

use crate::support::World;

/// Every payment there is, changed by raw SQL; `None` where the database lets it pass.
async fn refusal(world: &World, sql: &str) -> Option<String> {
    let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
    match statement.execute(&world.pool).await {
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

async fn assert_refused(world: &World, sql: &str, why: &str) {
    let error = refusal(world, sql).await;
    let error = error.unwrap_or_else(|| panic!("the database allows: {sql}"));
    assert!(
        error.contains(why),
        "{sql}\nrefused for another reason: {error}"
    );
}

/// A world with one payment that ended with this code, and its status.
async fn with_one(pool: PgPool, code: &str) -> World {
    let world = World::start(pool).await;
    world.pay(code).await;
    world
}

/// What each status needs in its other columns.
const COMPLETE: &[(&str, &str)] = &[
    (
        "processing",
        "status_reason = 'submitting', failure_code = null, failure_message = null,
        failure_retry = null, money_returned = null, finalized_at = null",
    ),
    (
        "succeeded",
        "status_reason = null, failure_code = null, failure_message = null,
        failure_retry = null, money_returned = null, charged = true, finalized_at = db_now()",
    ),
    (
        "failed",
        "status_reason = null, failure_code = 'X', failure_message = 'x', failure_retry = 'no',
        money_returned = null, finalized_at = db_now()",
    ),
    (
        "canceled",
        "status_reason = 'never_created', failure_code = null, failure_message = null,
        failure_retry = null, money_returned = false, finalized_at = db_now()",
    ),
    (
        "unresolved",
        "status_reason = null, failure_code = null, failure_message = null,
        failure_retry = null, money_returned = null, finalized_at = null",
    ),
];

/// S1: from each status only the documented moves are possible, tried as complete rows.
async fn only_these_moves(world: &World, from: &str, allowed: &[&str]) {
    for (to, columns) in COMPLETE {
        let sql = format!("update payment set status = '{to}', version = version + 1, {columns}");
        let mut tried = world.pool.begin().await.expect("a transaction");
        let moved = sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut *tried)
            .await;
        tried.rollback().await.expect("the try is undone");
        assert_eq!(
            moved.is_ok(),
            allowed.contains(to),
            "{from} to {to}: {moved:?}"
        );
    }
}

#[sqlx::test]
async fn s1_an_open_payment_may_go_anywhere(pool: PgPool) {
    let world = with_one(pool, "2003").await;
    let everywhere = [
        "processing",
        "succeeded",
        "failed",
        "canceled",
        "unresolved",
    ];
    only_these_moves(&world, "processing", &everywhere).await;
    world.finish().await;
}

#[sqlx::test]
async fn s1_a_paid_payment_may_only_stay_or_be_canceled(pool: PgPool) {
    let world = with_one(pool, "0001").await;
    only_these_moves(&world, "succeeded", &["succeeded", "canceled"]).await;
    world.finish().await;
}

#[sqlx::test]
async fn s1_a_failed_payment_stays_failed(pool: PgPool) {
    let world = with_one(pool, "1016").await;
    only_these_moves(&world, "failed", &[]).await;
    world.finish().await;
}

#[sqlx::test]
async fn s1_a_canceled_payment_stays_canceled(pool: PgPool) {
    use chrono::TimeDelta;
    let mut world = World::start(pool).await;
    let open = world.till.pay_without_waiting("0104").await;
    let end = world
        .run_until_final(open.id(), TimeDelta::seconds(30))
        .await;
    assert_eq!(end["status"], "canceled");
    only_these_moves(&world, "canceled", &[]).await;
    world.finish().await;
}

/// S1: what was an end moves only where Alipay's own word stands against it.
#[sqlx::test]
async fn s1_an_end_moves_only_where_alipay_contradicts_it(pool: PgPool) {
    let world = with_one(pool, "1016").await;
    world
        .sql("update payment set contradicted_at = db_now(), version = version + 1")
        .await;
    only_these_moves(&world, "failed", &["succeeded", "failed", "canceled"]).await;
    world.end_without_checks().await;
}

#[sqlx::test]
async fn s1_every_change_is_the_next_version(pool: PgPool) {
    let world = with_one(pool, "2003").await;
    for step in ["version", "version + 2", "version - 1", "1"] {
        let sql = format!("update payment set version = {step}");
        assert_refused(&world, &sql, "skips a version").await;
    }
    world.finish().await;
}

/// M2, M4, M9: what a payment is, it stays.
#[sqlx::test]
async fn m9_identity_and_amount_never_change(pool: PgPool) {
    let world = with_one(pool, "2003").await;
    for change in [
        "amount_minor = amount_minor + 1",
        "amount_minor = 1",
        "merchant_reference = 'ANOTHER'",
        "partner_trans_id = 'P00000000000000000000000000000000'",
        "partner = '2088000000000002'",
        "payment_id = gen_random_uuid()",
        "created_at = created_at + interval '1 second'",
    ] {
        let sql = format!("update payment set {change}, version = version + 1");
        assert_refused(&world, &sql, "changes what may not change").await;
    }
    world.finish().await;
}

/// S5: money that was taken is not forgotten, and Alipay's id is not exchanged.
#[sqlx::test]
async fn s5_a_charge_and_alipays_id_are_not_forgotten(pool: PgPool) {
    let world = with_one(pool, "0001").await;
    let canceled = "update payment set status = 'canceled', status_reason = 'requested',
        money_returned = true, version = version + 1";
    for change in [
        "charged = false",
        "alipay_trans_id = null",
        "alipay_trans_id = '1'",
    ] {
        let sql = format!("{canceled}, {change}");
        assert_refused(&world, &sql, "changes what may not change").await;
    }
    world.finish().await;
}

/// M5: amounts are positive and bounded, and HKD; unchecked by the trigger, which guards updates
/// only.
#[sqlx::test]
async fn m5_no_payment_has_an_impossible_amount(pool: PgPool) {
    let world = with_one(pool, "0001").await;
    let copy = |amount: &str, currency: &str, tail: &str| {
        format!(
            "insert into payment (merchant_id, payment_id, store_id, merchant_reference,
                description, amount_minor, currency, barcode_hint, partner, partner_trans_id,
                cancel_after_seconds, status, status_reason)
            select merchant_id, gen_random_uuid(), store_id, merchant_reference || '-{tail}',
                description, {amount}, {currency}, barcode_hint, partner,
                partner_trans_id || '{tail}', cancel_after_seconds, 'processing', 'submitting'
            from payment"
        )
    };
    for amount in ["0", "-1", "-9223372036854775808", "10000000001"] {
        assert_refused(
            &world,
            &copy(amount, "currency", "x"),
            "payment_amount_check",
        )
        .await;
    }
    let usd = copy("amount_minor", "'USD'", "x");
    assert_refused(&world, &usd, "payment_currency_check").await;
    world.finish().await;
}

/// M9, D3: ids and references are unique for ever.
#[sqlx::test]
async fn m9_d3_ids_and_references_are_unique_for_ever(pool: PgPool) {
    let world = with_one(pool, "0001").await;
    let copy = |reference: &str, id: &str| {
        format!(
            "insert into payment (merchant_id, payment_id, store_id, merchant_reference,
                description, amount_minor, currency, barcode_hint, partner, partner_trans_id,
                cancel_after_seconds, status, status_reason)
            select merchant_id, gen_random_uuid(), store_id, {reference}, description,
                amount_minor, currency, barcode_hint, partner, {id}, cancel_after_seconds,
                'processing', 'submitting'
            from payment"
        )
    };
    let same_id = copy("'NEW'", "partner_trans_id");
    assert_refused(&world, &same_id, "payment_partner_trans_id_key").await;
    let same_reference = copy("merchant_reference", "'NEW'");
    assert_refused(&world, &same_reference, "payment_merchant_reference_key").await;
    let key_again = "insert into idempotency_key select * from idempotency_key";
    assert_refused(&world, key_again, "idempotency_key_pkey").await;
    let pay_again = "insert into attempt (merchant_id, attempt_id, payment_id, kind)
        select merchant_id, gen_random_uuid(), payment_id, 'pay' from attempt";
    assert_refused(&world, pay_again, "attempt_pay_key").await;
    world.finish().await;
}

/// Unique keys that cannot begin with the merchant. Their tables are small, and would be kept whole
/// everywhere where the others are distributed; so would those of an account (its daily files) and of
/// everybody (API keys, the audit log), whose rows need not be a merchant's at all.
const KEYS_OF_ALL: [(&str, &str); 3] = [
    ("merchant_default_key", "one merchant is the environment's"),
    ("merchant_external_id_key", "merchants are told apart by it"),
    (
        "store_registration_partner_key",
        "Alipay takes a store for one merchant of the account",
    ),
];

/// `docs/invariants.md` R24: a table that is split by merchant keeps only keys with the merchant in them.
#[sqlx::test]
async fn merchant_id_is_in_every_key_of_what_is_a_merchants(pool: PgPool) {
    let world = World::start(pool).await;
    let others: Vec<String> = sqlx::query_scalar(
        "select index_class.relname::text
        from pg_index
        join pg_class as index_class on index_class.oid = indexrelid
        join pg_class as of_table on of_table.oid = indrelid
        join pg_namespace on pg_namespace.oid = of_table.relnamespace and nspname = 'public'
        join pg_attribute as merchant on merchant.attrelid = indrelid
            and merchant.attname = 'merchant_id' and merchant.attnotnull
        where indisunique and merchant.attnum <> all(indkey)
        order by 1",
    )
    .fetch_all(&world.pool)
    .await
    .expect("the catalogue");
    assert_eq!(others, KEYS_OF_ALL.map(|(name, _reason)| name));
    world.finish().await;
}

/// S8: what happened stays written.
#[sqlx::test]
async fn s8_payments_and_transitions_cannot_be_removed_or_rewritten(pool: PgPool) {
    let world = with_one(pool, "0001").await;
    for sql in [
        "delete from payment_transition",
        "update payment_transition set event = 'never_mind'",
        "update payment_transition set at = at - interval '1 day'",
    ] {
        assert_refused(&world, sql, "payment_transition is append-only").await;
    }
    assert_refused(&world, "delete from payment", "append-only").await;
    for sql in ["truncate payment_transition", "truncate payment cascade"] {
        assert_refused(&world, sql, "append-only").await;
    }
    let nobody = "insert into payment_transition (merchant_id, payment_id, version, event,
            to_status, gateway_at)
        select merchant_id, payment_id, 99, 'paid', 'succeeded', db_now() from payment";
    assert_refused(&world, nobody, "payment_transition_actor_check").await;
    world.finish().await;
}

/// S3, S6: a state comes with what proves it.
#[sqlx::test]
async fn s3_s6_a_state_without_its_evidence_is_refused(pool: PgPool) {
    let world = with_one(pool, "2003").await;
    for (columns, constraint) in [
        (
            "status = 'succeeded', status_reason = null, finalized_at = db_now()",
            "payment_charged_check",
        ),
        (
            "status = 'failed', status_reason = null, finalized_at = db_now()",
            "payment_failure_check",
        ),
        (
            "status = 'canceled', status_reason = 'requested', finalized_at = db_now()",
            "payment_money_returned_check",
        ),
        (
            "status = 'unresolved', status_reason = null, finalized_at = db_now()",
            "payment_finalized_check",
        ),
        ("status_reason = 'nothing'", "payment_status_check"),
    ] {
        let sql = format!("update payment set {columns}, version = version + 1");
        assert_refused(&world, &sql, constraint).await;
    }
    world.finish().await;
}

#[sqlx::test]
async fn the_schema_and_the_domain_have_the_same_numbers(pool: PgPool) {
    let numbers: (i64, i32, i64) = sqlx::query_as(
        "select extract(epoch from open_for_too_long())::bigint, refusals_for_a_person(),
            extract(epoch from cancel_acts_within())::bigint",
    )
    .fetch_one(&pool)
    .await
    .expect("the numbers");
    assert_eq!(
        numbers,
        (
            OPEN_FOR_TOO_LONG.num_seconds(),
            REFUSALS_FOR_A_PERSON,
            CANCEL_ACTS_WITHIN.num_seconds()
        )
    );
}
