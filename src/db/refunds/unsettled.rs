//! The refunds that need a person.

use uuid::Uuid;

use super::{RefundRow, select_refund};
use crate::{
    db::{Db, error::Error, run::Statement as _},
    domain::{
        access::principal::TenantScope, follow_ups::schedule::UnsettledCase, id::MerchantId,
        refunds::refund::Refund,
    },
};

impl Db {
    /// Those that are unresolved, contradicted, refused at the door, failed late or parked, newest first, after `after`; one more than
    /// `limit` where there are more.
    pub(in crate::db) async fn unsettled_refunds(
        &self,
        tenant_scope: TenantScope,
        after: Option<Uuid>,
        limit: u16,
    ) -> Result<Vec<UnsettledCase>, Error> {
        let rows = select_refund!(
            "",
            "left join follow_up on follow_up.merchant_id = refund.merchant_id
                and follow_up.kind = 'refund'
                and follow_up.subject_id = refund.refund_id
            where ($1::uuid is null or refund.merchant_id = $1)
                and (refund.status in ('pending', 'unresolved')
                    or refund.contradicted_at is not null or refund.failed_late)
                and (refund.status = 'unresolved' or follow_up.parked_at is not null
                    or refund.contradicted_at is not null or refund.failed_late
                    or follow_up.access_refusals >= 2)
                and ($2::uuid is null or refund.refund_id < $2)
            order by refund.refund_id desc
            limit $3",
            tenant_scope.merchant_id().map(MerchantId::uuid),
            after,
            i64::from(limit) + 1,
        )
        .all(&self.reads)
        .await?;
        rows.into_iter()
            .map(|row| Ok(UnsettledCase::Refund(Box::new(Refund::try_from(row)?))))
            .collect()
    }
}
