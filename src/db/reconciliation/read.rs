//! What comparisons found, and who took note of it.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use super::{ReconciliationStore, run};
use crate::{
    db::{
        Db,
        error::Error,
        run::{Command as _, Statement as _},
    },
    domain::{
        access::principal::TenantScope,
        audit::AuditActor,
        id::{DifferenceId, MerchantId, PaymentId, ReconciliationId, RefundId},
        money::{Currency, Money},
        reconciliation::{
            Counts, Difference, DifferenceClass, DifferenceFilter, ReconciledFile, Reconciliation,
            ReconciliationFilter, ReconciliationItem, ReconciliationStatus, Source, StoredFault,
            ToldDifference, Total,
            daily_file::{FileKind, RowType},
        },
    },
};

impl ReconciliationStore {
    /// Lists reconciliations, newest first, after `after`; one more than `limit` where there are more. A
    /// merchant's reach is what has rows of it.
    #[expect(clippy::too_many_lines, reason = "one statement")]
    #[tracing::instrument(name = "db.reconciliation.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_reconciliations(
        &mut self,
        tenant_scope: TenantScope,
        filter: ReconciliationFilter<'_>,
        after: Option<ReconciliationId>,
        limit: u16,
    ) -> Result<Vec<ReconciliationItem>, Error> {
        let rows = run!(
            self,
            sqlx::query_as!(
                HeadRow,
                r#"select r.reconciliation_id, r.partner, r.source, r.fee_basis_points,
                    r.created_at, r.completed_at, r.failure, status.name as "status!",
                    (select jsonb_object_agg(class, jsonb_build_array(total, open)) from (
                        select class, count(*) as total,
                            count(*) filter (
                                where acknowledged_at is null and class <> 'corrected'
                                    and of_file.superseded_at is null) as open
                        from reconciliation_difference as d
                        join statement_file as of_file on of_file.partner = d.partner
                            and of_file.file_id = d.file_id
                        where d.partner = r.partner
                            and d.reconciliation_id = r.reconciliation_id
                            and ($1::uuid is null or d.merchant_id = $1)
                        group by class) as counted)
                        as "counts: Json<BTreeMap<String, (i64, i64)>>",
                    (select jsonb_agg(jsonb_build_object(
                            'id', f.file_id, 'kind', f.kind, 'day', f.day, 'name', f.name,
                            'sha256', encode(f.sha256, 'hex'), 'version', f.version,
                            'is_superseded', f.superseded_at is not null,
                            'is_provisional', f.is_provisional,
                            'open', (select count(*) from reconciliation_difference as d
                                where d.partner = r.partner
                                    and d.reconciliation_id = r.reconciliation_id
                                    and d.file_id = f.file_id and d.acknowledged_at is null
                                    and d.class <> 'corrected' and f.superseded_at is null
                                    and ($1::uuid is null or d.merchant_id = $1)),
                            'rows', case when $1::uuid is null then coalesce(f.row_count, 0)
                                else own.rows end,
                            'faults', case when $1::uuid is null then coalesce(f.fault_count, 0)
                                else 0 end,
                            'matched', case when rf.matched_at is null then 0
                                when $1::uuid is null then f.row_count else own.rows end
                                - (select count(distinct d.line)
                                    from reconciliation_difference as d
                                    where d.partner = r.partner
                                        and d.reconciliation_id = r.reconciliation_id
                                        and d.file_id = f.file_id
                                        and d.class <> 'corrected'
                                        and ($1::uuid is null or d.merchant_id = $1)),
                            'warnings', case when $1::uuid is null then f.warnings else '{}' end)
                            order by rf.position)
                        from reconciliation_file as rf
                        join statement_file as f on f.partner = rf.partner
                            and f.file_id = rf.file_id
                        cross join lateral (
                            select coalesce(sum(t.row_count), 0)::bigint as rows
                            from reconciliation_total as t
                            where t.partner = r.partner
                                and t.reconciliation_id = r.reconciliation_id
                                and t.file_id = f.file_id and t.merchant_id = $1) as own
                        where rf.partner = r.partner
                            and rf.reconciliation_id = r.reconciliation_id)
                        as "files: Json<Vec<FileJson>>"
                from reconciliation as r
                cross join lateral (select case
                    when r.completed_at is not null then 'complete'
                    when r.failure is not null then 'failed'
                    when r.touched_at >= db_now() - interval '10 minutes' then 'running'
                    when not exists (
                        select from reconciliation as later
                        where later.partner = r.partner and later.completed_at is not null
                            and later.reconciliation_id > r.reconciliation_id)
                        or exists (
                            select from reconciliation_file as rf
                            join statement_file as f on f.partner = rf.partner
                                and f.file_id = rf.file_id
                            where rf.partner = r.partner
                                and rf.reconciliation_id = r.reconciliation_id
                                and not exists (
                                    select from statement_file as other
                                    join reconciliation_file as placed
                                        on placed.partner = other.partner
                                        and placed.file_id = other.file_id
                                    join reconciliation as later
                                        on later.partner = placed.partner
                                        and later.reconciliation_id = placed.reconciliation_id
                                    where other.partner = f.partner and other.kind = f.kind
                                        and other.day = f.day and other.imported_at is not null
                                        and later.completed_at is not null
                                        and later.reconciliation_id > r.reconciliation_id))
                        then 'interrupted'
                    else 'superseded' end as name) as status
                where ($1::uuid is null or exists (
                        select from reconciliation_total as t
                        where t.merchant_id = $1 and t.reconciliation_id = r.reconciliation_id))
                    and ($2::uuid is null or r.reconciliation_id < $2)
                    and ($3::text is null or r.partner = $3)
                    and ($4::text is null or status.name = $4)
                    and (($5::date is null and $6::text is null) or exists (
                        select from reconciliation_file as rf
                        join statement_file as f on f.partner = rf.partner
                            and f.file_id = rf.file_id
                        where rf.partner = r.partner
                            and rf.reconciliation_id = r.reconciliation_id
                            and ($5::date is null or f.day = $5)
                            and ($6::text is null or f.kind = $6)))
                    and ($7::uuid is null or r.reconciliation_id = $7)
                order by r.reconciliation_id desc
                limit $8"#,
                tenant_scope.merchant_id().map(MerchantId::uuid),
                after.map(ReconciliationId::uuid),
                filter.partner,
                filter.status.map(ReconciliationStatus::as_str),
                filter.day,
                filter.kind.map(FileKind::as_str),
                filter.id.map(ReconciliationId::uuid),
                i64::from(limit) + 1,
            ),
            fetch_all
        )?;
        rows.into_iter().map(ReconciliationItem::try_from).collect()
    }

    /// Whether there is such a reconciliation in reach: of a merchant, one that has rows of it.
    pub async fn has_reconciliation(
        &mut self,
        tenant_scope: TenantScope,
        id: ReconciliationId,
    ) -> Result<bool, Error> {
        Ok(run!(
            self,
            sqlx::query_scalar!(
                r#"select exists (
                    select from reconciliation
                    where reconciliation_id = $1
                        and ($2::uuid is null or exists (
                            select from reconciliation_total as t
                            where t.merchant_id = $2 and t.reconciliation_id = $1))
                ) as "found!""#,
                id.uuid(),
                tenant_scope.merchant_id().map(MerchantId::uuid),
            ),
            fetch_one
        )?)
    }

    /// Reads a reconciliation with its faults and sums: of a merchant's reach, its own sums alone.
    #[tracing::instrument(name = "db.reconciliation.get", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn reconciliation(
        &mut self,
        tenant_scope: TenantScope,
        id: ReconciliationId,
    ) -> Result<Option<Reconciliation>, Error> {
        let filter = ReconciliationFilter {
            id: Some(id),
            ..ReconciliationFilter::default()
        };
        let mut items = self
            .list_reconciliations(tenant_scope, filter, None, 1)
            .await?;
        let Some(item) = items.pop() else {
            return Ok(None);
        };
        let faults = match tenant_scope {
            // Which lines are whose cannot be told.
            TenantScope::Merchant(_) => vec![],
            TenantScope::Operator => self.faults(&item.partner, id).await?,
        };
        let totals = self.totals(&item.partner, id, tenant_scope).await?;
        Ok(Some(Reconciliation {
            item,
            faults,
            totals,
        }))
    }

    async fn faults(
        &mut self,
        partner: &str,
        id: ReconciliationId,
    ) -> Result<Vec<StoredFault>, Error> {
        Ok(run!(
            self,
            sqlx::query_as!(
                StoredFault,
                r#"select f.name as file_name, fault.line, fault.column_name as column,
                    fault.reason
                from reconciliation_file as rf
                join statement_file as f on f.partner = rf.partner and f.file_id = rf.file_id
                join statement_fault as fault on fault.partner = rf.partner
                    and fault.file_id = rf.file_id
                where rf.partner = $1 and rf.reconciliation_id = $2
                order by rf.position, fault.line, fault.position
                limit 1000"#,
                partner,
                id.uuid(),
            ),
            fetch_all
        )?)
    }

    async fn totals(
        &mut self,
        partner: &str,
        id: ReconciliationId,
        tenant_scope: TenantScope,
    ) -> Result<Vec<Total>, Error> {
        let rows = run!(
            self,
            sqlx::query!(
                r#"select f.kind, t.day, t.merchant_id, t.store, t.wallet, t.currency,
                    t.row_count, t.amount_minor, t.fee_minor, t.net_minor, t.expected_net_minor
                from reconciliation_total as t
                join statement_file as f on f.partner = t.partner and f.file_id = t.file_id
                where t.partner = $1 and t.reconciliation_id = $2
                    and ($3::uuid is null or t.merchant_id = $3)
                order by f.kind desc, t.day, t.store, t.wallet, t.currency, t.merchant_id"#,
                partner,
                id.uuid(),
                tenant_scope.merchant_id().map(MerchantId::uuid),
            ),
            fetch_all
        )?;
        rows.into_iter()
            .map(|row| {
                Ok(Total {
                    kind: FileKind::from_name(&row.kind)
                        .ok_or_else(|| inconsistent("statement_file", "kind", &id))?,
                    day: row.day,
                    merchant_id: row.merchant_id.map(MerchantId::from),
                    store: row.store,
                    wallet: row.wallet,
                    currency: row.currency,
                    rows: row.row_count,
                    amount_minor: row.amount_minor,
                    fee_minor: row.fee_minor,
                    net_minor: row.net_minor,
                    expected_net_minor: row.expected_net_minor,
                })
            })
            .collect()
    }

    /// Lists differences by file and line, after `after`; one more than `limit` where there are more.
    #[tracing::instrument(name = "db.difference.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_differences(
        &mut self,
        tenant_scope: TenantScope,
        id: ReconciliationId,
        filter: DifferenceFilter<'_>,
        after: Option<DifferenceId>,
        limit: u16,
    ) -> Result<Vec<Difference>, Error> {
        let rows = run!(
            self,
            sqlx::query_as!(
                DifferenceRow,
                r#"select d.difference_id, d.file_id, f.name as file_name, d.line, d.class,
                    d.row_type, d.merchant_id, d.payment_id, d.refund_id, d.store_id,
                    d.partner_trans_id, d.alipay_trans_id, d.amount_minor, d.currency,
                    d.expected, d.found, d.acknowledged_at,
                    d.acknowledged_by as "acknowledged_by: Json<serde_json::Value>",
                    d.acknowledged_reason
                from reconciliation as r
                join reconciliation_difference as d on d.partner = r.partner
                    and d.reconciliation_id = r.reconciliation_id
                join statement_file as f on f.partner = d.partner and f.file_id = d.file_id
                where r.reconciliation_id = $1
                    and ($2::uuid is null or d.merchant_id = $2)
                    and ($3::uuid is null or d.difference_id > $3)
                    and ($4::text is null or d.class = $4)
                    and ($5::uuid is null or d.merchant_id = $5)
                    and ($6::text is null or d.store_id = $6)
                    and ($7::boolean is null or (d.acknowledged_at is not null) = $7)
                order by d.difference_id
                limit $8"#,
                id.uuid(),
                tenant_scope.merchant_id().map(MerchantId::uuid),
                after.map(DifferenceId::uuid),
                filter.class.map(DifferenceClass::as_str),
                filter.merchant_id.map(MerchantId::uuid),
                filter.store,
                filter.acknowledged,
                i64::from(limit) + 1,
            ),
            fetch_all
        )?;
        rows.into_iter().map(Difference::try_from).collect()
    }

    /// Notes who took note of a difference, and why; the first one stays. The audit log has it in the same
    /// statement. `None`: there is no such difference in reach.
    #[tracing::instrument(name = "db.difference.acknowledge", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn acknowledge(
        &mut self,
        tenant_scope: TenantScope,
        reconciliation: ReconciliationId,
        id: DifferenceId,
        reason: &str,
        by: &AuditActor,
    ) -> Result<Option<Difference>, Error> {
        run!(
            self,
            sqlx::query!(
                r#"with noted as (
                    update reconciliation_difference as d
                    set acknowledged_at = db_now(), acknowledged_by = $4, acknowledged_reason = $5
                    from reconciliation as r
                    where r.reconciliation_id = $1 and d.partner = r.partner
                        and d.reconciliation_id = r.reconciliation_id and d.difference_id = $2
                        and ($3::uuid is null or d.merchant_id = $3)
                        and d.acknowledged_at is null
                    returning d.merchant_id, d.class, d.line
                )
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select merchant_id, 'difference.acknowledged', 'difference', public_id('dif_', $2),
                    $4, null,
                    jsonb_build_object('reconciliation_id', public_id('rec_', $1),
                        'class', class, 'line', line, 'acknowledged_reason', $5::text)
                from noted"#,
                reconciliation.uuid(),
                id.uuid(),
                tenant_scope.merchant_id().map(MerchantId::uuid),
                Json(by) as _,
                reason,
            ),
            execute
        )?;
        let before = DifferenceId::from(Uuid::from_u128(id.uuid().as_u128().wrapping_sub(1)));
        let found = self
            .list_differences(
                tenant_scope,
                reconciliation,
                DifferenceFilter::default(),
                Some(before),
                1,
            )
            .await?;
        Ok(found.into_iter().find(|difference| difference.id == id))
    }
}

fn inconsistent(table: &'static str, column: &'static str, id: &impl ToString) -> Error {
    Error::Inconsistent {
        table,
        column,
        id: id.to_string(),
    }
}

#[derive(Debug, serde::Deserialize)]
struct FileJson {
    id: Uuid,
    kind: String,
    day: NaiveDate,
    name: String,
    sha256: String,
    version: Option<i32>,
    is_superseded: bool,
    is_provisional: bool,
    open: i64,
    rows: i64,
    faults: i64,
    matched: i64,
    warnings: Vec<String>,
}

struct HeadRow {
    reconciliation_id: Uuid,
    partner: String,
    source: String,
    fee_basis_points: Option<i32>,
    created_at: DateTime<Utc>,
    completed_at: Option<DateTime<Utc>>,
    failure: Option<String>,
    status: String,
    counts: Option<Json<BTreeMap<String, (i64, i64)>>>,
    files: Option<Json<Vec<FileJson>>>,
}

impl TryFrom<HeadRow> for ReconciliationItem {
    type Error = Error;

    fn try_from(row: HeadRow) -> Result<Self, Error> {
        let id = ReconciliationId::from(row.reconciliation_id);
        let wrong = |column| inconsistent("reconciliation", column, &id);
        let mut counts = Counts::new();
        let mut open = 0;
        for (class, (total, unnoted)) in row.counts.map(|json| json.0).unwrap_or_default() {
            let class = DifferenceClass::from_name(&class).ok_or_else(|| wrong("class"))?;
            counts.insert(class, total);
            open += unnoted;
        }
        let files = row.files.map(|json| json.0).unwrap_or_default();
        let files = files
            .into_iter()
            .map(|file| {
                Ok(ReconciledFile {
                    id: file.id.into(),
                    kind: FileKind::from_name(&file.kind).ok_or_else(|| wrong("kind"))?,
                    day: file.day,
                    name: file.name,
                    sha256: hex::decode(&file.sha256).map_err(|_| wrong("sha256"))?,
                    version: file.version,
                    is_superseded: file.is_superseded,
                    is_provisional: file.is_provisional,
                    open: file.open,
                    rows: file.rows,
                    faults: file.faults,
                    matched: file.matched,
                    warnings: file.warnings,
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            id: Some(id),
            partner: row.partner,
            source: Source::from_name(&row.source).ok_or_else(|| wrong("source"))?,
            status: ReconciliationStatus::from_name(&row.status).ok_or_else(|| wrong("status"))?,
            failure: row.failure,
            fee_basis_points: row.fee_basis_points,
            created_at: row.created_at,
            completed_at: row.completed_at,
            files,
            counts,
            open,
        })
    }
}

impl Db {
    /// What daily files say against the books of a payment and its refunds, oldest first. What they
    /// settled or added is told by the changes that they caused.
    #[tracing::instrument(name = "db.difference.of_payment", skip_all, fields(payment.id = %payment_id, otel.kind = "client", db.system = "postgresql"))]
    pub async fn differences_of_payment(
        &self,
        merchant_id: MerchantId,
        payment_id: PaymentId,
    ) -> Result<Vec<ToldDifference>, Error> {
        let rows = sqlx::query!(
            r#"select d.difference_id, d.reconciliation_id, d.class, d.row_type, d.line,
                d.refund_id, d.expected, d.found, d.acknowledged_at, d.acknowledged_reason,
                f.name, coalesce(r.completed_at, r.created_at) as "at!"
            from reconciliation_difference as d
            join reconciliation as r on r.partner = d.partner
                and r.reconciliation_id = d.reconciliation_id
            join statement_file as f on f.partner = d.partner and f.file_id = d.file_id
            where d.merchant_id = $1 and d.payment_id = $2
                and d.class not in ('corrected', 'portal_refund')
            order by 12, d.difference_id"#,
            merchant_id.uuid(),
            payment_id.uuid(),
        )
        .all(&self.reads)
        .await?;
        rows.into_iter()
            .map(|row| {
                let id = DifferenceId::from(row.difference_id);
                let wrong = |column| inconsistent("reconciliation_difference", column, &id);
                Ok(ToldDifference {
                    id,
                    reconciliation_id: row.reconciliation_id.into(),
                    at: row.at,
                    class: DifferenceClass::from_name(&row.class).ok_or_else(|| wrong("class"))?,
                    row_type: RowType::from_name(&row.row_type).ok_or_else(|| wrong("row_type"))?,
                    file_name: row.name,
                    line: row.line,
                    refund_id: row.refund_id.map(RefundId::from),
                    expected: row.expected,
                    found: row.found,
                    acknowledged_at: row.acknowledged_at,
                    acknowledged_reason: row.acknowledged_reason,
                })
            })
            .collect()
    }
}

struct DifferenceRow {
    difference_id: Uuid,
    file_id: Uuid,
    file_name: String,
    line: Option<i64>,
    class: String,
    row_type: String,
    merchant_id: Option<Uuid>,
    payment_id: Option<Uuid>,
    refund_id: Option<Uuid>,
    store_id: Option<String>,
    partner_trans_id: Option<String>,
    alipay_trans_id: Option<String>,
    amount_minor: i64,
    currency: String,
    expected: Option<String>,
    found: Option<String>,
    acknowledged_at: Option<DateTime<Utc>>,
    acknowledged_by: Option<Json<serde_json::Value>>,
    acknowledged_reason: Option<String>,
}

impl TryFrom<DifferenceRow> for Difference {
    type Error = Error;

    fn try_from(row: DifferenceRow) -> Result<Self, Error> {
        let id = DifferenceId::from(row.difference_id);
        let wrong = |column| inconsistent("reconciliation_difference", column, &id);
        let currency = Currency::from_code(&row.currency).ok_or_else(|| wrong("currency"))?;
        Ok(Self {
            id,
            file_id: row.file_id.into(),
            file_name: row.file_name,
            line: row.line,
            class: DifferenceClass::from_name(&row.class).ok_or_else(|| wrong("class"))?,
            row_type: RowType::from_name(&row.row_type).ok_or_else(|| wrong("row_type"))?,
            merchant_id: row.merchant_id.map(MerchantId::from),
            payment_id: row.payment_id.map(PaymentId::from),
            refund_id: row.refund_id.map(RefundId::from),
            store: row.store_id,
            partner_trans_id: row.partner_trans_id,
            alipay_trans_id: row.alipay_trans_id,
            amount: Money::new(row.amount_minor, currency),
            expected: row.expected,
            found: row.found,
            acknowledged_at: row.acknowledged_at,
            acknowledged_by: row.acknowledged_by.map(|json| json.0),
            acknowledged_reason: row.acknowledged_reason,
        })
    }
}
