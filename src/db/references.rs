//! Rows that lead nowhere. The statements that write a payment write or find the row they refer to
//! themselves, and no constraint looks it up once more (`migrations/0031_references.sql`); this looks
//! them all up, for whoever wants to be sure after a restore or after somebody's own SQL.

use super::{Db, error::Error};

/// How many rows of a table refer to a row that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dangling {
    /// The table.
    pub table: String,
    /// The table that lacks the row.
    pub refers_to: String,
    /// How many.
    pub rows: i64,
}

impl Db {
    /// What leads nowhere, by table; reads whole tables, without any deadline.
    pub async fn dangling_references(&self) -> Result<Vec<Dangling>, Error> {
        let mut connection = self.connection_for_the_schema().await?;
        let found = sqlx::query_as!(
            Dangling,
            r#"select "table" as "table!", refers_to as "refers_to!", count(*) as "rows!"
            from (
                select 'payment' as "table", 'merchant' as refers_to
                from payment as row
                where not exists (
                    select from merchant where merchant.merchant_id = row.merchant_id)
                union all
                select 'payment', 'store'
                from payment as row
                where not exists (
                    select from store
                    where store.merchant_id = row.merchant_id and store.store_id = row.store_id)
                union all
                select 'merchant_reference', 'merchant'
                from merchant_reference as row
                where not exists (
                    select from merchant where merchant.merchant_id = row.merchant_id)
                union all
                select 'merchant_reference', 'payment'
                from merchant_reference as row
                where payment_id is not null and not exists (
                    select from payment
                    where payment.merchant_id = row.merchant_id
                        and payment.payment_id = row.payment_id)
                union all
                select 'idempotency_key', 'payment'
                from idempotency_key as row
                where payment_id is not null and not exists (
                    select from payment
                    where payment.merchant_id = row.merchant_id
                        and payment.payment_id = row.payment_id)
                union all
                select 'recent_scan', 'payment'
                from recent_scan as row
                where not exists (
                    select from payment
                    where payment.merchant_id = row.merchant_id
                        and payment.payment_id = row.payment_id)
                union all
                select 'attempt', 'payment'
                from attempt as row
                where not exists (
                    select from payment
                    where payment.merchant_id = row.merchant_id
                        and payment.payment_id = row.payment_id)
                union all
                select 'payment_transition', 'payment'
                from payment_transition as row
                where not exists (
                    select from payment
                    where payment.merchant_id = row.merchant_id
                        and payment.payment_id = row.payment_id)
            ) as dangling
            group by "table", refers_to
            order by "table", refers_to"#,
        )
        .fetch_all(&mut connection)
        .await?;
        Ok(found)
    }
}
