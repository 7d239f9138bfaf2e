//! How long the comparison of a daily file takes, with as many rows as the largest merchant may have.

use std::time::Instant;

use alipayhk_gateway::{
    db::reconciliation::FileRef,
    domain::reconciliation::{Rules, daily_file::FileKind},
};
use chrono::NaiveDate;
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{PARTNER, roles::as_owner};

/// So many payments of a day and their file, in which one row of a thousand says another amount and one of
/// two thousand is missing.
fn a_day_of(rows: u32) -> String {
    let merchant = "'00000000-0000-7000-8000-000000000001'::uuid";
    let payment = "('00000000-0000-7000-8001-' || lpad(to_hex(n), 12, '0'))::uuid";
    let paid_at = "'2026-11-29 17:00+00'::timestamptz + n * interval '50 milliseconds'";
    format!(
        "insert into merchant (merchant_id, name, partner, secondary_merchant_id,
            secondary_merchant_name, secondary_merchant_industry, default_store_id, is_default)
        values ({merchant}, 'Cafe', '{PARTNER}', 'SM001', 'Cafe', '5812', 'ST01', true);
        insert into store (merchant_id, store_id, store_name) values ({merchant}, 'ST01', 'Cafe');
        insert into payment (merchant_id, payment_id, store_id, merchant_reference, description,
            amount_minor, currency, barcode_hint, partner, partner_trans_id, cancel_after_seconds,
            status, charged, paid_at, created_at, finalized_at, wallet, alipay_trans_id)
        select {merchant}, {payment}, 'ST01', 'R' || n, 'tea', 1000 + n % 5000, 'HKD', '28',
            '{PARTNER}', 'P' || n, 60, 'succeeded', true, {paid_at}, {paid_at}, {paid_at},
            'ALIPAYHK', '20261129' || n
        from generate_series(1, {rows}) as n;
        insert into statement_file (partner, file_id, kind, day, name, sha256, size_bytes, version,
            row_count, fault_count, duplicate_count, imported_at)
        values ('{PARTNER}', '{FILE}', 'transaction', '2026-11-30', 'file', '', 1, 1, {rows}, 0, 0,
            now());
        insert into statement_row (partner, file_id, line, row_type, partner_trans_id,
            alipay_trans_id, amount_minor, fee_minor, currency, completed_at, secondary_merchant_id,
            wallet, merchant_id, payment_id)
        select '{PARTNER}', '{FILE}', n, 'payment', 'P' || n, '20261129' || n,
            1000 + n % 5000 + (n % 1000 = 0)::integer, 0, 'HKD', {paid_at}, 'SM001', 'ALIPAYHK',
            {merchant}, {payment}
        from generate_series(1, {rows}) as n where n % 2000 <> 7;
        insert into reconciliation (partner, reconciliation_id, fingerprint, source, by)
        values ('{PARTNER}', '{RECONCILIATION}', '', 'upload', '{{}}');
        insert into reconciliation_file (partner, reconciliation_id, position, file_id)
        values ('{PARTNER}', '{RECONCILIATION}', 1, '{FILE}');
        analyze payment, statement_row, statement_file, merchant"
    )
}

const FILE: &str = "00000000-0000-7000-8002-000000000001";
const RECONCILIATION: &str = "00000000-0000-7000-8003-000000000001";

async fn compare_a_day_of(pool: &PgPool, rows: u32) -> u128 {
    let made = sqlx::raw_sql(sqlx::AssertSqlSafe(a_day_of(rows)));
    made.execute(pool).await.expect("a day of payments");
    let db = as_owner(pool);
    let id = |text: &str| text.parse::<Uuid>().expect("an id");
    let at = FileRef {
        partner: PARTNER,
        reconciliation: id(RECONCILIATION).into(),
        position: 1,
        file: id(FILE).into(),
        day: NaiveDate::from_ymd_opt(2026, 11, 30).expect("a day"),
    };
    let begun = Instant::now();
    let mut books = db.books();
    let compared = books.compare(at, FileKind::Transaction, Rules::default());
    compared.await.expect("it is compared in time");
    let took = begun.elapsed().as_millis();
    db.close().await;
    let found: Vec<(String, i64)> = sqlx::query_as(
        "select class, count(*) from reconciliation_difference group by class order by class",
    )
    .fetch_all(pool)
    .await
    .expect("differences");
    let expected = [
        ("amount_differs", rows.div_euclid(1000)),
        ("missing_in_file", (rows + 1993).div_euclid(2000)),
    ]
    .map(|(class, count)| (class.to_owned(), i64::from(count)));
    assert_eq!(found, expected);
    took
}

#[sqlx::test]
async fn ten_thousand_rows_are_compared_each_once(pool: PgPool) {
    compare_a_day_of(&pool, 10_000).await;
}

/// How fast it is: `cargo test --release --test it -- --ignored --nocapture million_rows::more`.
#[sqlx::test]
#[ignore = "by hand: it takes minutes, and prints how long the comparison took"]
#[expect(clippy::print_stdout, reason = "it is run for what it prints")]
async fn more_a_million_rows_are_compared(pool: PgPool) {
    let took = compare_a_day_of(&pool, 1_000_000).await;
    println!("1,000,000 rows were compared in {took} ms");
}
