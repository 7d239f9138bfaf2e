//! The payments that need a person.

use sqlx::types::Json;
use uuid::Uuid;

use super::{PaymentRow, select_payment};
use crate::{
    db::{Db, error::Error, run::Statement as _},
    domain::{
        access::principal::TenantScope, follow_ups::schedule::UnsettledCase, id::MerchantId,
        payments::payment::Payment,
    },
};

impl Db {
    /// Those that are open and need a person ([`Payment::needs_a_person`]), contradicted or parked, newest first, after `after`; one more than
    /// `limit` where there are more.
    pub(in crate::db) async fn unsettled_payments(
        &self,
        tenant_scope: TenantScope,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<UnsettledCase>, Error> {
        let rows = select_payment!(
            "",
            "left join follow_up on follow_up.merchant_id = payment.merchant_id
                and follow_up.kind = 'payment'
                and follow_up.subject_id = payment.payment_id
            where ($1::uuid is null or payment.merchant_id = $1)
                and (payment.status in ('processing', 'unresolved')
                    or payment.cancel_reason is not null
                    or payment.contradicted_at is not null)
                and (follow_up.parked_at is not null
                    or payment.contradicted_at is not null
                    or payment_needs_a_person(payment.*, coalesce(follow_up.access_refusals, 0)))
                and ($2::uuid is null or payment.payment_id < $2)
            order by payment.payment_id desc
            limit $3",
            tenant_scope.merchant_id().map(MerchantId::uuid),
            after,
            i64::from(limit) + 1,
            ; "$4"
        )
        .all(&self.reads)
        .await?;
        rows.into_iter()
            .map(|row| Ok(UnsettledCase::Payment(Box::new(Payment::try_from(row)?))))
            .collect()
    }
}
