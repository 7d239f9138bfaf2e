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
            r#"with leads_to_a_payment as (
                select 'attempt' as "table", merchant_id, payment_id from attempt
                union all select 'idempotency_key', merchant_id, payment_id from idempotency_key
                union all select 'merchant_reference', merchant_id, payment_id from merchant_reference
                union all
                select 'payment_transition', merchant_id, payment_id from payment_transition
                union all select 'recent_scan', merchant_id, payment_id from recent_scan
            ), leads_to_a_merchant as (
                select 'merchant_reference' as "table", merchant_id from merchant_reference
                union all select 'payment', merchant_id from payment
            ), dangling as (
                select "table", 'payment' as refers_to
                from leads_to_a_payment as row
                where payment_id is not null and not exists (
                    select from payment
                    where payment.merchant_id = row.merchant_id
                        and payment.payment_id = row.payment_id)
                union all
                select "table", 'merchant'
                from leads_to_a_merchant as row
                where not exists (
                    select from merchant where merchant.merchant_id = row.merchant_id)
                union all
                select 'payment', 'store'
                from payment as row
                where not exists (
                    select from store
                    where store.merchant_id = row.merchant_id and store.store_id = row.store_id)
            )
            select "table" as "table!", refers_to as "refers_to!", count(*) as "rows!"
            from dangling
            group by "table", refers_to
            order by "table", refers_to"#,
        )
        .fetch_all(&mut connection)
        .await?;
        Ok(found)
    }
}
